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
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <unistd.h>

#include "engine/lock.h"
#include "engine/page.h"

_Static_assert(sizeof(member_shared) == RECORD, "eight records to a page");
_Static_assert(ATOMIC_INT_LOCK_FREE == 2, "shared atomics need no lock");

family_shared *mp_page;
MP_OWN uint32_t mp_page_self = MP_NOBODY;
static int outcomes_fd = -1;
int mp_page_fd = -1;

/* --- robust locks -------------------------------------------------------- */

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
        mp_lock_init_mutex(&mp_page->members[mp_page->high].life);
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
    m->born = m->eldest = 0;
    m->watches = m->wait_verb = 0;
    m->wait_looked = 0;
    atomic_store_explicit(&m->deadline, 0, memory_order_relaxed);
    atomic_store_explicit(&m->n_started, 0, memory_order_relaxed);
    atomic_store_explicit(&m->status, -1, memory_order_relaxed);
    atomic_store_explicit(&m->outcome, MP_OUTCOME_NONE, memory_order_relaxed);
    atomic_store_explicit(&m->state, BORN, memory_order_release);
    mp_page->n_members++;
}

/* A file without a name, of that size, which nobody can make smaller. */
static int make_file(const char *name, size_t size) {
    int fd = mp_sys_high_fd(memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
    int rc = fd < 0 ? fd : mp_sys_resize(fd, size);
    if (rc < 0 && fd >= 0)
        close(fd);
    if (rc < 0)
        return rc;
    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_SEAL);
    return fd;
}

/* The page, and room for the arena behind it, in the file or in none. */
static int map_page(int fd, size_t size) {
    family_shared *page = mmap(NULL, size, PROT_READ | PROT_WRITE,
                               MAP_SHARED | MAP_NORESERVE | (fd < 0 ? MAP_ANONYMOUS : 0), fd, 0);
    if (page == MAP_FAILED)
        return -errno;
    mp_page = page;
    mp_page_fd = fd;
    return 0;
}

static uint64_t limit_of(int resource) {
    struct rlimit r;
    return getrlimit(resource, &r) == 0 && r.rlim_cur != RLIM_INFINITY ? r.rlim_cur : UINT64_MAX;
}

/*
** How much the mapping is to have room for: more than there is memory, which costs addresses only;
** of these (ulimit -v) a part, and no more than a file may have (ulimit -f).
*/
static uint64_t choose_reserve(int is_file) {
    const uint64_t memory = (uint64_t)sysconf(_SC_PHYS_PAGES) * PAGE;
    const uint64_t of_addresses = limit_of(RLIMIT_AS) / 8;
    const uint64_t of_files = is_file ? limit_of(RLIMIT_FSIZE) : UINT64_MAX;
    uint64_t reserve = of_addresses < 4 * memory ? of_addresses : 4 * memory;
    reserve = of_files < reserve ? of_files : reserve;
    if (reserve < sizeof(family_shared))
        reserve = sizeof(family_shared);
    return reserve / PAGE * PAGE;
}

/* Both files and the mapping, or nothing. */
static int make_page(void) {
    int outcomes = make_file("luamp-outcomes", 0);
    if (outcomes < 0)
        return outcomes;
    int page = make_file("luamp-family", sizeof(family_shared));
    const uint64_t reserve = choose_reserve(page >= 0);
    int rc = page < 0 && page != -EFBIG ? page : map_page(page < 0 ? -1 : page, reserve);
    if (rc < 0) {
        close(outcomes);
        if (page >= 0)
            close(page);
        return rc;
    }
    outcomes_fd = outcomes;
    mp_page->reserve = reserve;
    return 0;
}

int mp_family_open(void) {
    if (mp_page != NULL)
        return 0;
    int rc = make_page();
    if (rc < 0)
        return rc;
    family_shared *page = mp_page;
    snprintf(page->version, sizeof page->version, "%s", LUAMP_VERSION);
    mp_lock_init_mutex(&page->guard);
    mp_lock_init_mutex(&page->streams_guard);
    page->free = MP_NOBODY;
    for (int i = 0; i < N_STREAMS; i++)
        page->streams[i].holder = MP_NOBODY;
    mp_sys_random(&page->id, sizeof page->id);
    mp_lock_init_mutex(&page->keeper);
    mp_lock_init_mutex(&page->opening);
    prepare(take_free(), MP_NOBODY, 0);
    mp_family_enter(0);
    return 0;
}

int mp_family_files(int files[2]) {
    int rc = mp_family_open();
    files[0] = mp_page_fd;
    files[1] = outcomes_fd;
    return rc == 0 && mp_page_fd < 0 ? -EFBIG : rc;
}

int mp_family_join(const int files[2]) {
    struct stat page;
    if (fstat(files[0], &page) != 0)
        return -errno;
    if ((uint64_t)page.st_size < sizeof(family_shared))
        return -EBADMSG;
    struct {
        char version[sizeof mp_page->version];
        uint64_t reserve;
    } head;
    if (pread(files[0], &head, sizeof head, 0) != (ssize_t)sizeof head ||
        strncmp(head.version, LUAMP_VERSION, sizeof head.version) != 0)
        return -EBADMSG;
    outcomes_fd = files[1];
    return map_page(files[0], head.reserve);
}

void mp_family_inherits(uint32_t child) {
    member_shared *m = member(child);
    const uint64_t eldest = member(mp_page_self)->eldest;
    m->born = atomic_fetch_add_explicit(&mp_page->births, 1, memory_order_relaxed) + 1;
    m->eldest = eldest != 0 ? eldest : m->born;
}

int32_t *mp_family_pid(uint32_t child) {
    return &member(child)->pid;
}

uint64_t mp_family_id(void) {
    return mp_page_self == MP_NOBODY ? 0 : mp_page->id;
}

uint32_t mp_family_self(void) {
    return mp_page_self;
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
    outcomes_fd = mp_page_fd = -1;
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
    uint32_t state = BORN;
    if (!atomic_compare_exchange_strong(&m->state, &state, ALIVE))
        _exit(EXIT_FAILURE); /* buried: its creator is dead */
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

void mp_family_bury(uint32_t index) {
    member_shared *m = member(index);
    uint32_t state = BORN;
    guard_lock(); /* meanwhile nobody else is born with that record */
    if (!m->detached && m->creator != MP_NOBODY && !mp_family_alive(index))
        atomic_compare_exchange_strong(&m->state, &state, DEAD);
    guard_unlock();
}

void mp_family_received(void) {
    if (mp_page_self != MP_NOBODY)
        mp_page_drop_parcel(mp_page_self);
}

int mp_family_has_entered(uint32_t child) {
    return atomic_load_explicit(&member(child)->state, memory_order_acquire) != BORN;
}

void mp_family_program(uint32_t child, pid_t pid) {
    member(child)->pid = pid;
    /* (B) with the keeper's load: who sees a program sees its pid. */
    atomic_store_explicit(&member(child)->state, PROGRAM, memory_order_release);
}

void mp_family_ended(uint32_t child) {
    atomic_store_explicit(&member(child)->state, DEAD, memory_order_release);
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

/* As "%0*lx": every child makes its tag, and snprintf would cost it six page faults. */
static int put_hex(char *text, int width, uint64_t value) {
    while (width < 16 && value >> 4 * width != 0)
        width++;
    for (int i = width; i-- > 0; value >>= 4)
        text[i] = "0123456789abcdef"[value % 16];
    return width;
}

int mp_family_tag_name(char name[static MP_TAG_SIZE]) {
    int len = sizeof MP_TAG_PREFIX - 1;
    memcpy(name, MP_TAG_PREFIX, sizeof MP_TAG_PREFIX);
    len += put_hex(name + len, 16, mp_page->id);
    strcpy(name + len, "=");
    return len + 1;
}

_Static_assert(N_MEMBERS <= 0x10000 &&
                   MP_TAG_DEPTH * (sizeof "ffff.ffffffff/" - 1) < MP_TAG_SIZE - 64,
               "the longest tag fits");

void mp_family_tag(uint32_t child, char tag[static MP_TAG_SIZE]) {
    uint32_t path[MP_TAG_DEPTH];
    int len = mp_family_tag_name(tag);
    for (int i = lineage(child, path); i-- > 0;) {
        len += put_hex(tag + len, 1, path[i]);
        tag[len++] = '.';
        len += put_hex(tag + len, 1, member(path[i])->serial);
        tag[len++] = '/';
    }
    tag[len] = '\0';
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
        int rc = mp_sys_write_at(outcomes_fd, m->extent.start, pieces, n);
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
    mp_page_drop_parcel(child);
}

void mp_family_free(uint32_t child) {
    member_shared *m = member(child);
    if (atomic_load_explicit(&m->n_started, memory_order_relaxed) != 0) {
        inherit(child);
        atomic_fetch_add_explicit(&mp_page->n_ended, 1, memory_order_release);
    }
    mp_page_sweep(child);
    mp_page_drop_parcel(child);
    extent_drop(m);
    m->born = 0; /* also where there is no arena yet */
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

int mp_family_stream_lock(const struct stat *stream, mp_time deadline) {
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
        if (mp_sys_interrupt_pending() != 0 || mp_sys_now() >= deadline)
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
