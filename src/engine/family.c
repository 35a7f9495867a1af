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
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "engine/page.h"

_Static_assert(sizeof(member_shared) == RECORD, "eight records to a page");
_Static_assert(ATOMIC_INT_LOCK_FREE == 2, "shared atomics need no lock");

family_shared *mp_page;
uint32_t mp_page_self = MP_NOBODY;
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
    mp_page->free = MP_NOBODY;
    mp_page->n_extents = 0;
    mp_page->n_members = mp_page->high;
    for (uint32_t i = mp_page->high; i-- > 0;) {
        member_shared *m = &mp_page->members[i];
        if (atomic_load_explicit(&m->state, memory_order_relaxed) == FREE) {
            m->next_free = mp_page->free;
            mp_page->free = i;
            mp_page->n_members--;
        } else if (m->extent.len > 0) {
            mp_page->n_extents++;
            if (m->extent.start + m->extent.len > mp_page->extents_end)
                mp_page->extents_end = m->extent.start + m->extent.len;
        }
    }
}

static void guard_lock(void) {
    int rc = pthread_mutex_lock(&mp_page->guard);
    if (rc == EOWNERDEAD) {
        repair();
        pthread_mutex_consistent(&mp_page->guard);
    } else if (rc != 0) {
        mp_panic("the family's guard cannot be locked");
    }
}

static void guard_unlock(void) {
    pthread_mutex_unlock(&mp_page->guard);
}

/* --- records ------------------------------------------------------------- */

static member_shared *member(uint32_t index) {
    if (index >= N_MEMBERS)
        mp_panic("no such record in the family");
    return &mp_page->members[index];
}

/*
** Takes a record off the free list, or the first unused one. Its life word is
** made once: a late looker may still have it in its hands when the record is
** used again, and the newborn waits for that. In guard.
*/
static uint32_t take_free(void) {
    uint32_t index = mp_page->free;
    if (index != MP_NOBODY) {
        mp_page->free = mp_page->members[index].next_free;
    } else if (mp_page->high < N_MEMBERS) {
        robust_init(&mp_page->members[mp_page->high].life);
        index = mp_page->high++;
    }
    return index;
}

/* Fills a taken record in for a process to be born. In guard. */
static void prepare(uint32_t index, uint32_t creator, int detached) {
    member_shared *m = &mp_page->members[index];
    m->pid = 0;
    m->creator = creator;
    m->detached = detached != 0;
    m->overran = 0;
    m->serial++;
    m->extent.len = 0;
    m->len = 0;
    atomic_store_explicit(&m->deadline, 0, memory_order_relaxed);
    atomic_store_explicit(&m->n_started, 0, memory_order_relaxed);
    atomic_store_explicit(&m->status, -1, memory_order_relaxed);
    atomic_store_explicit(&m->outcome, MP_OUTCOME_NONE, memory_order_relaxed);
    atomic_store_explicit(&m->state, BORN, memory_order_release);
    mp_page->n_members++;
}

int mp_family_open(void) {
    if (mp_page != NULL)
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
    mp_page = page;
    robust_init(&page->guard);
    robust_init(&page->streams_guard);
    page->free = MP_NOBODY;
    for (int i = 0; i < N_STREAMS; i++)
        page->streams[i].holder = MP_NOBODY;
    mp_sys_random(&page->id, sizeof page->id);
    robust_init(&page->keeper);
    prepare(take_free(), MP_NOBODY, 0);
    mp_family_enter(0);
    return 0;
}

unsigned mp_family_members(void) {
    return mp_page_self == MP_NOBODY ? 0 : mp_page->n_members;
}

int mp_family_alone(void) {
    return mp_family_members() <= 1;
}

void mp_family_forget(void) {
    mp_page = NULL; /* the mapping stays: whoever reads it now must not fault */
    mp_page_self = MP_NOBODY;
    outcomes_fd = -1;
}

/*
** Takes the records of `creator` into the caller's hands that are of the dead,
** one by one and in guard, so that each comes into one process's hands; those
** of the living are nobody's from now on. Returns how many it gave back.
*/
static int inherit(uint32_t creator) {
    int n = 0;
    for (uint32_t i = 0; i < mp_page->high; i++) {
        guard_lock();
        member_shared *m = &mp_page->members[i];
        uint32_t state = atomic_load_explicit(&m->state, memory_order_acquire);
        int is_its = i != mp_page_self && m->creator == creator && state != FREE;
        int is_dead = is_its && (state == PROGRAM || !mp_family_alive(i));
        if (is_its)
            m->creator = is_dead ? mp_page_self : MP_NOBODY;
        guard_unlock();
        if (is_dead) {
            mp_family_free(i);
            n++;
        }
    }
    return n;
}

static uint32_t try_birth(int detached) {
    guard_lock();
    mp_fault("family.birth.B1");
    uint32_t index = take_free();
    mp_fault("family.birth.B2");
    if (index != MP_NOBODY) {
        prepare(index, mp_page_self, detached);
        mp_fault("family.birth.B3");
    }
    guard_unlock();
    mp_fault("family.birth.B4");
    return index;
}

int mp_family_birth(uint32_t *child, int detached) {
    atomic_store_explicit(&member(mp_page_self)->n_started, 1, memory_order_relaxed);
    *child = try_birth(detached);
    if (*child == MP_NOBODY && inherit(MP_NOBODY) > 0)
        *child = try_birth(detached);
    return *child != MP_NOBODY ? 0 : -EAGAIN;
}

void mp_family_enter(uint32_t index) {
    member_shared *m = member(index);
    mp_page_self = index;
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
    if (index == mp_page_self || state == PROGRAM)
        return 1;
    if (state == BORN) /* its life word is not locked yet: it is as alive as its creator */
        return m->creator == mp_page_self ||
               (m->creator != MP_NOBODY && mp_family_alive(m->creator));
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

void mp_family_program(uint32_t child, pid_t pid) {
    member_shared *m = member(child);
    m->pid = pid;
    /* (B) with the keeper's load: who sees a program sees its pid. */
    atomic_store_explicit(&m->state, PROGRAM, memory_order_release);
}

void mp_family_ended(uint32_t child) {
    member_shared *m = member(child);
    atomic_store_explicit(&m->state, DEAD, memory_order_release);
    atomic_fetch_add_explicit(&mp_page->n_ended, 1, memory_order_release);
}

void mp_family_limit(uint32_t child, mp_time deadline) {
    atomic_store_explicit(&member(child)->deadline, deadline, memory_order_release);
}

int mp_family_overran(uint32_t child) {
    return member(child)->overran == member(child)->serial;
}

uint32_t mp_family_creator(void) {
    return mp_page_self == MP_NOBODY ? MP_NOBODY : member(mp_page_self)->creator;
}

void mp_family_leave(int status) {
    if (mp_page_self == MP_NOBODY)
        return;
    atomic_store_explicit(&member(mp_page_self)->status, status & 0xff, memory_order_release);
    mp_fault("family.leave.L1");
}

int mp_family_status(uint32_t child) {
    int status = atomic_load_explicit(&member(child)->status, memory_order_acquire);
    return status >= 0 ? status : -ESRCH;
}

/* --- tags ---------------------------------------------------------------- */

/* The records from the one whose death ends the child, down to the child. */
static int lineage(uint32_t child, uint32_t path[static MP_TAG_DEPTH]) {
    int n = 0;
    for (uint32_t i = child; i != MP_NOBODY && n < MP_TAG_DEPTH; i = member(i)->creator) {
        path[n++] = i;
        if (member(i)->detached)
            break;
    }
    return n;
}

int mp_family_tag_name(char name[static MP_TAG_SIZE]) {
    return snprintf(name, MP_TAG_SIZE, MP_TAG_PREFIX "%016llx=", (unsigned long long)mp_page->id);
}

void mp_family_tag(uint32_t child, char tag[static MP_TAG_SIZE]) {
    uint32_t path[MP_TAG_DEPTH];
    int len = mp_family_tag_name(tag);
    for (int i = lineage(child, path); i-- > 0;)
        len += snprintf(tag + len, MP_TAG_SIZE - (size_t)len, "%x.%x/", path[i],
                        member(path[i])->serial);
}

/* --- outcomes ------------------------------------------------------------ */

/* Extents lie one after the other in the file, and begin anew when none is left. */
static void extent_take(member_shared *m, size_t len) {
    guard_lock();
    if (mp_page->n_extents == 0)
        mp_page->extents_end = 0;
    m->extent.start = mp_page->extents_end;
    m->extent.len = (int64_t)((len + PAGE - 1) / PAGE * PAGE);
    mp_page->extents_end += m->extent.len;
    mp_page->n_extents++;
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
    mp_page->n_extents--;
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
    if (mp_page_self == MP_NOBODY)
        return 0; /* a foreign fork's copy of a child: nobody waits for its outcome */
    member_shared *m = member(mp_page_self);
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
    if (atomic_load_explicit(&m->n_started, memory_order_relaxed) != 0) {
        inherit(child);
        atomic_fetch_add_explicit(&mp_page->n_ended, 1, memory_order_release);
    }
    extent_drop(m);
    guard_lock();
    atomic_store_explicit(&m->state, FREE, memory_order_release);
    mp_fault("family.free.F2");
    m->next_free = mp_page->free;
    mp_page->free = child;
    mp_page->n_members--;
    guard_unlock();
}

/* --- turns at output streams --------------------------------------------- */

static void streams_guard_lock(void) {
    if (pthread_mutex_lock(&mp_page->streams_guard) == EOWNERDEAD)
        pthread_mutex_consistent(&mp_page->streams_guard); /* each place is whole by itself */
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
        stream_shared *s = &mp_page->streams[i];
        if (s->holder != MP_NOBODY && s->dev == stream->st_dev && s->ino == stream->st_ino)
            return i;
        if (place < 0 && is_free(s))
            place = i;
    }
    return place;
}

int mp_family_stream_lock(const struct stat *stream) {
    if (mp_page_self == MP_NOBODY)
        return -1;
    for (;;) {
        streams_guard_lock();
        int place = find_place(stream);
        stream_shared *s = place < 0 ? NULL : &mp_page->streams[place];
        int taken = s != NULL && is_free(s);
        uint32_t turn = s == NULL ? 0 : atomic_load_explicit(&s->turn, memory_order_relaxed);
        if (taken) {
            s->dev = stream->st_dev;
            s->ino = stream->st_ino;
            s->holder = mp_page_self;
            s->holder_serial = member(mp_page_self)->serial;
        }
        pthread_mutex_unlock(&mp_page->streams_guard);
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
    stream_shared *s = &mp_page->streams[ticket];
    streams_guard_lock();
    s->holder = MP_NOBODY;
    atomic_fetch_add_explicit(&s->turn, 1, memory_order_release);
    pthread_mutex_unlock(&mp_page->streams_guard);
    mp_sys_futex_wake(&s->turn, 1);
}
