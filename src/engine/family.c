/*
** family.c: process records, outcomes and output turns in shared memory. The
** protocol and its steps stand in family.h.
**
** Two robust locks guard the page; each is held for a few stores only, never
** across a system call that can wait. Nobody waits on them for another
** process to do something: those waits are futex words with a deadline.
*/
#include "engine/family.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#define N_MEMBERS 32768u
#define N_STREAMS 64
#define RECORD 512      /* bytes of a record: none lies across two pages */
#define INLINE_ROOM 416 /* bytes of an outcome that need no file: what a record has left */
#define PAGE 4096u

enum state { FREE = 0, BORN, ALIVE, DEAD };

typedef struct extent {
    int64_t start;
    int64_t len; /* 0: none */
} extent;

typedef struct member_shared {
    pthread_mutex_t life;
    _Atomic uint32_t state;
    _Atomic uint32_t outcome; /* (A) release: the bytes before it are whole */
    _Atomic int32_t status;   /* -1 until the process leaves in order */
    int32_t pid;
    uint32_t creator;
    uint32_t serial; /* tells the processes apart that had this record in turn */
    uint32_t next_free;
    _Atomic uint32_t n_started; /* whether it may have left children behind */
    extent extent;
    uint64_t len;
    char inline_bytes[INLINE_ROOM];
} member_shared;

typedef struct stream_shared {
    uint64_t dev, ino;
    uint32_t holder; /* MP_NOBODY: a free place */
    uint32_t holder_serial;
    _Atomic uint32_t turn; /* moves on when the holder has finished */
} stream_shared;

typedef struct family_shared {
    pthread_mutex_t guard; /* free list, high water, extents */
    uint32_t free;         /* head of the list of FREE records below high */
    uint32_t high;         /* records from here on were never used */
    uint32_t n_members;    /* records that are not FREE */
    uint32_t n_extents;
    int64_t extents_end; /* where the next extent begins */
    pthread_mutex_t streams_guard;
    stream_shared streams[N_STREAMS];
    _Alignas(PAGE) member_shared members[N_MEMBERS];
} family_shared;

_Static_assert(sizeof(member_shared) == RECORD, "eight records to a page");
_Static_assert(ATOMIC_INT_LOCK_FREE == 2, "shared atomics need no lock");

static family_shared *family;
static uint32_t self = MP_NOBODY;
static int outcomes_fd = -1;

/* --- robust locks -------------------------------------------------------- */

static void robust_init(pthread_mutex_t *mutex) {
    pthread_mutexattr_t attr;
    pthread_mutexattr_init(&attr);
    pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
    if (pthread_mutex_init(mutex, &attr) != 0)
        mp_panic("a robust lock cannot be made");
    pthread_mutexattr_destroy(&attr);
}

/* Rebuilds what a holder that died may have left half done: I1, extents. */
static void repair(void) {
    family->free = MP_NOBODY;
    family->n_extents = 0;
    family->n_members = family->high;
    for (uint32_t i = family->high; i-- > 0;) {
        member_shared *m = &family->members[i];
        if (atomic_load_explicit(&m->state, memory_order_relaxed) == FREE) {
            m->next_free = family->free;
            family->free = i;
            family->n_members--;
        } else if (m->extent.len > 0) {
            family->n_extents++;
            if (m->extent.start + m->extent.len > family->extents_end)
                family->extents_end = m->extent.start + m->extent.len;
        }
    }
}

static void guard_lock(void) {
    int rc = pthread_mutex_lock(&family->guard);
    if (rc == EOWNERDEAD) {
        repair();
        pthread_mutex_consistent(&family->guard);
    } else if (rc != 0) {
        mp_panic("the family's guard cannot be locked");
    }
}

static void guard_unlock(void) {
    pthread_mutex_unlock(&family->guard);
}

/* --- records ------------------------------------------------------------- */

static member_shared *member(uint32_t index) {
    if (index >= N_MEMBERS)
        mp_panic("no such record in the family");
    return &family->members[index];
}

/*
** Takes a record off the free list, or the first unused one. Its life word is
** made once: a late looker may still have it in its hands when the record is
** used again, and the newborn waits for that. In guard.
*/
static uint32_t take_free(void) {
    uint32_t index = family->free;
    if (index != MP_NOBODY) {
        family->free = family->members[index].next_free;
    } else if (family->high < N_MEMBERS) {
        robust_init(&family->members[family->high].life);
        index = family->high++;
    }
    return index;
}

/* Fills a taken record in for a process to be born. In guard. */
static void prepare(uint32_t index, uint32_t creator) {
    member_shared *m = &family->members[index];
    m->pid = 0;
    m->creator = creator;
    m->serial++;
    m->extent.len = 0;
    m->len = 0;
    atomic_store_explicit(&m->n_started, 0, memory_order_relaxed);
    atomic_store_explicit(&m->status, -1, memory_order_relaxed);
    atomic_store_explicit(&m->outcome, MP_OUTCOME_NONE, memory_order_relaxed);
    atomic_store_explicit(&m->state, BORN, memory_order_release);
    family->n_members++;
}

int mp_family_open(void) {
    if (family != NULL)
        return 0;
    int fd = mp_sys_high_fd(memfd_create("luamp-outcomes", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    if (fd < 0)
        return fd;
    family_shared *page = mmap(NULL, sizeof(family_shared), PROT_READ | PROT_WRITE,
                               MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (page == MAP_FAILED) {
        int rc = -errno;
        close(fd);
        return rc;
    }
    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_SEAL);
    outcomes_fd = fd;
    family = page;
    robust_init(&page->guard);
    robust_init(&page->streams_guard);
    page->free = MP_NOBODY;
    for (int i = 0; i < N_STREAMS; i++)
        page->streams[i].holder = MP_NOBODY;
    prepare(take_free(), MP_NOBODY);
    mp_family_enter(0);
    return 0;
}

unsigned mp_family_members(void) {
    return self == MP_NOBODY ? 0 : family->n_members;
}

int mp_family_alone(void) {
    return mp_family_members() <= 1;
}

void mp_family_forget(void) {
    family = NULL; /* the mapping stays: whoever reads it now must not fault */
    self = MP_NOBODY;
    outcomes_fd = -1;
}

/*
** Takes the records of `creator` into the caller's hands that are of the dead,
** one by one and in guard, so that each comes into one process's hands; those
** of the living are nobody's from now on. Returns how many it gave back.
*/
static int inherit(uint32_t creator) {
    int n = 0;
    for (uint32_t i = 0; i < family->high; i++) {
        guard_lock();
        member_shared *m = &family->members[i];
        int is_its = i != self && m->creator == creator &&
                     atomic_load_explicit(&m->state, memory_order_acquire) != FREE;
        int is_dead = is_its && !mp_family_alive(i);
        if (is_its)
            m->creator = is_dead ? self : MP_NOBODY;
        guard_unlock();
        if (is_dead) {
            mp_family_free(i);
            n++;
        }
    }
    return n;
}

static uint32_t try_birth(void) {
    guard_lock();
    mp_fault("family.birth.B1");
    uint32_t index = take_free();
    mp_fault("family.birth.B2");
    if (index != MP_NOBODY) {
        prepare(index, self);
        mp_fault("family.birth.B3");
    }
    guard_unlock();
    mp_fault("family.birth.B4");
    return index;
}

int mp_family_birth(uint32_t *child) {
    atomic_store_explicit(&member(self)->n_started, 1, memory_order_relaxed);
    *child = try_birth();
    if (*child == MP_NOBODY && inherit(MP_NOBODY) > 0)
        *child = try_birth();
    return *child != MP_NOBODY ? 0 : -EAGAIN;
}

void mp_family_enter(uint32_t index) {
    member_shared *m = member(index);
    self = index;
    m->pid = (int32_t)getpid();
    if (pthread_mutex_lock(&m->life) == EOWNERDEAD) /* a curious sibling died while looking */
        pthread_mutex_consistent(&m->life);
    mp_fault("family.child.C1");
    atomic_store_explicit(&m->state, ALIVE, memory_order_release);
    mp_fault("family.child.C2");
}

int mp_family_alive(uint32_t index) {
    member_shared *m = member(index);
    uint32_t state = atomic_load_explicit(&m->state, memory_order_acquire);
    if (state == FREE || state == DEAD)
        return 0;
    if (index == self)
        return 1;
    if (state == BORN) /* its life word is not locked yet: it is as alive as its creator */
        return m->creator == self || (m->creator != MP_NOBODY && mp_family_alive(m->creator));
    int rc = pthread_mutex_trylock(&m->life);
    if (rc == EBUSY)
        return 1;
    if (rc == EOWNERDEAD) { /* with its life in hand nobody else gets this record alive */
        atomic_compare_exchange_strong_explicit(&m->state, &state, DEAD, memory_order_acq_rel,
                                                memory_order_acquire);
        pthread_mutex_consistent(&m->life);
    }
    pthread_mutex_unlock(&m->life);
    return rc != EOWNERDEAD && atomic_load_explicit(&m->state, memory_order_acquire) == ALIVE;
}

uint32_t mp_family_creator(void) {
    return self == MP_NOBODY ? MP_NOBODY : member(self)->creator;
}

void mp_family_leave(int status) {
    if (self == MP_NOBODY)
        return;
    atomic_store_explicit(&member(self)->status, status & 0xff, memory_order_release);
    mp_fault("family.leave.L1");
}

int mp_family_status(uint32_t child) {
    int status = atomic_load_explicit(&member(child)->status, memory_order_acquire);
    return status >= 0 ? status : -ESRCH;
}

/* --- outcomes ------------------------------------------------------------ */

/* Extents lie one after the other in the file, and begin anew when none is left. */
static void extent_take(member_shared *m, size_t len) {
    guard_lock();
    if (family->n_extents == 0)
        family->extents_end = 0;
    m->extent.start = family->extents_end;
    m->extent.len = (int64_t)((len + PAGE - 1) / PAGE * PAGE);
    family->extents_end += m->extent.len;
    family->n_extents++;
    guard_unlock();
}

static void extent_drop(member_shared *m) {
    if (m->extent.len == 0)
        return;
    fallocate(outcomes_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, m->extent.start,
              m->extent.len);
    mp_fault("family.free.F1");
    guard_lock();
    m->extent.len = 0;
    family->n_extents--;
    guard_unlock();
}

static int write_at(int64_t offset, const char *bytes, size_t len) {
    while (len > 0) {
        ssize_t n = pwrite(outcomes_fd, bytes, len, offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -ENOSPC;
        bytes += n;
        offset += n;
        len -= (size_t)n;
    }
    return 0;
}

static int write_extent(const extent *e, const struct iovec *pieces, int n) {
    int64_t at = e->start;
    int rc = 0;
    /* Beyond `ulimit -f` the kernel sends SIGXFSZ, which kills; ignored, it is EFBIG. */
    struct sigaction ignore = {.sa_handler = SIG_IGN}, before;
    sigaction(SIGXFSZ, &ignore, &before);
    for (int i = 0; i < n && rc == 0; i++) {
        rc = write_at(at, pieces[i].iov_base, pieces[i].iov_len);
        at += (int64_t)pieces[i].iov_len;
    }
    sigaction(SIGXFSZ, &before, NULL);
    return rc;
}

static void copy_inline(char *to, const struct iovec *pieces, int n) {
    for (int i = 0; i < n; i++) {
        memcpy(to, pieces[i].iov_base, pieces[i].iov_len);
        to += pieces[i].iov_len;
    }
}

int mp_family_put(enum mp_outcome kind, const struct iovec *pieces, int n, size_t len) {
    if (self == MP_NOBODY)
        return 0; /* a foreign fork's copy of a child: nobody waits for its outcome */
    member_shared *m = member(self);
    atomic_store_explicit(&m->outcome, MP_OUTCOME_NONE, memory_order_release);
    extent_drop(m);
    if (len <= INLINE_ROOM) {
        copy_inline(m->inline_bytes, pieces, n);
    } else {
        extent_take(m, len);
        mp_fault("family.put.P1");
        int rc = write_extent(&m->extent, pieces, n);
        mp_fault("family.put.P2");
        if (rc != 0) {
            extent_drop(m);
            return rc;
        }
    }
    m->len = len;
    /* (A) with the load in mp_family_outcome: who sees the kind sees the bytes. */
    atomic_store_explicit(&m->outcome, kind, memory_order_release);
    mp_fault("family.put.P3");
    return 0;
}

enum mp_outcome mp_family_outcome(uint32_t child, size_t *len) {
    member_shared *m = member(child);
    enum mp_outcome kind = atomic_load_explicit(&m->outcome, memory_order_acquire); /* (A) */
    *len = kind == MP_OUTCOME_NONE ? 0 : m->len;
    return kind;
}

int mp_family_read(uint32_t child, char *buf, size_t len) {
    member_shared *m = member(child);
    if (m->extent.len == 0) {
        memcpy(buf, m->inline_bytes, len);
        return 0;
    }
    for (size_t got = 0; got < len;) {
        ssize_t n = pread(outcomes_fd, buf + got, len - got, m->extent.start + (int64_t)got);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -EBADMSG;
        got += (size_t)n;
    }
    return 0;
}

void mp_family_drop_outcome(uint32_t child) {
    member_shared *m = member(child);
    atomic_store_explicit(&m->outcome, MP_OUTCOME_NONE, memory_order_relaxed);
    extent_drop(m);
}

void mp_family_free(uint32_t child) {
    member_shared *m = member(child);
    if (atomic_load_explicit(&m->n_started, memory_order_relaxed) != 0)
        inherit(child);
    extent_drop(m);
    guard_lock();
    atomic_store_explicit(&m->state, FREE, memory_order_release);
    mp_fault("family.free.F2");
    m->next_free = family->free;
    family->free = child;
    family->n_members--;
    guard_unlock();
}

/* --- turns at output streams --------------------------------------------- */

static void streams_guard_lock(void) {
    if (pthread_mutex_lock(&family->streams_guard) == EOWNERDEAD)
        pthread_mutex_consistent(&family->streams_guard); /* each place is whole by itself */
}

/* Whether nobody living writes there. In guard. */
static int is_free(const stream_shared *s) {
    return s->holder == MP_NOBODY || member(s->holder)->serial != s->holder_serial ||
           !mp_family_alive(s->holder);
}

/* The place where the stream is being written, else a free one, else -1. In guard. */
static int find_place(const struct stat *stream) {
    int place = -1;
    for (int i = 0; i < N_STREAMS; i++) {
        stream_shared *s = &family->streams[i];
        if (s->holder != MP_NOBODY && s->dev == stream->st_dev && s->ino == stream->st_ino)
            return i;
        if (place < 0 && is_free(s))
            place = i;
    }
    return place;
}

int mp_family_stream_lock(const struct stat *stream) {
    if (self == MP_NOBODY)
        return -1;
    for (;;) {
        streams_guard_lock();
        int place = find_place(stream);
        stream_shared *s = place < 0 ? NULL : &family->streams[place];
        int taken = s != NULL && is_free(s);
        uint32_t turn = s == NULL ? 0 : atomic_load_explicit(&s->turn, memory_order_relaxed);
        if (taken) {
            s->dev = stream->st_dev;
            s->ino = stream->st_ino;
            s->holder = self;
            s->holder_serial = member(self)->serial;
        }
        pthread_mutex_unlock(&family->streams_guard);
        if (taken || s == NULL)
            return place;
        if (mp_sys_interrupt_pending() != 0)
            return -1; /* the holder may be stopped, and the user wants to end */
        mp_sys_futex_wait(&s->turn, turn, mp_sys_now() + MP_LOOK);
    }
}

void mp_family_stream_unlock(int ticket) {
    if (ticket < 0)
        return;
    stream_shared *s = &family->streams[ticket];
    streams_guard_lock();
    s->holder = MP_NOBODY;
    atomic_fetch_add_explicit(&s->turn, 1, memory_order_release);
    pthread_mutex_unlock(&family->streams_guard);
    mp_sys_futex_wake(&s->turn, 1);
}
