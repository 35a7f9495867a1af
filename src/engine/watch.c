/*
** watch.c: names, signals and descriptors; watch.h has the rules.
**
** The handler reads the table of what this process watches. An entry is complete before
** its descriptor is stored, and has none before it changes.
*/
#include "engine/watch.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "engine/name.h"

typedef struct watched {
    mp_watch *watch;
    int (*is_ready)(const void *);
    const void *arg;
    _Atomic int fd; /* -1: the entry is free */
} watched;

static watched *_Atomic table;
static _Atomic size_t n_watched, n_room;
static mp_name owner; /* the name of whose descriptors these are */
static timer_t looks; /* while has_looks */
static int has_looks;

static void set_readable(int fd) {
    const uint64_t one = 1;
    ssize_t n = write(fd, &one, sizeof one);
    (void)n; /* it is readable already */
}

static void clear(int fd) {
    uint64_t count;
    ssize_t n = read(fd, &count, sizeof count);
    (void)n; /* it was not readable */
}

static void on_tell(int signo) {
    const int saved = errno;
    (void)signo;
    for (size_t i = 0; mp_page != NULL && owner == mp_name_own() && i < n_watched; i++) {
        const watched *w = &table[i];
        const int fd = atomic_load_explicit(&w->fd, memory_order_acquire);
        if (fd >= 0 && w->is_ready(w->arg))
            set_readable(fd);
    }
    errno = saved;
}

/* The handler, and none of another process's descriptors. */
static void open_table(void) {
    if (owner == mp_name_own())
        return;
    for (size_t i = 0; i < n_watched; i++)
        if (table[i].fd >= 0)
            close(table[i].fd);
    n_watched = 0;
    has_looks = 0; /* timers are not inherited */
    owner = mp_name_own();
    struct sigaction action = {.sa_handler = on_tell, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    sigaction(SIGURG, &action, NULL);
}

static watched *find(const mp_watch *watch) {
    for (size_t i = 0; i < n_watched; i++)
        if (table[i].fd >= 0 && table[i].watch == watch)
            return &table[i];
    return NULL;
}

/* A larger table; the one before stays, for a handler on another thread may read it. */
static int make_room(void) {
    const size_t room = n_room == 0 ? 16 : 2 * n_room;
    watched *larger = calloc(room, sizeof *larger);
    if (larger == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < n_watched; i++)
        larger[i] = table[i];
    table = larger;
    n_room = room;
    return 0;
}

/* A free entry, which the handler does not see yet. */
static watched *add(void) {
    for (size_t i = 0; i < n_watched; i++)
        if (table[i].fd < 0)
            return &table[i];
    if (n_watched == n_room && make_room() < 0)
        return NULL;
    table[n_watched].fd = -1;
    return &table[n_watched++];
}

static int begin(mp_watch *watch, int (*is_ready)(const void *), const void *arg, watched **out) {
    const int fd = mp_sys_high_fd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    watched *w = fd < 0 ? NULL : add();
    if (w == NULL && fd >= 0)
        close(fd);
    if (w == NULL)
        return fd < 0 ? fd : -ENOMEM;
    w->watch = watch;
    w->is_ready = is_ready;
    w->arg = arg;
    atomic_store_explicit(&w->fd, fd, memory_order_release);
    *out = w;
    return 0;
}

/* --- names ---------------------------------------------------------------- */

/* Puts the own name where changes are told. */
static void sign(mp_watch *watch) {
    const mp_name name = mp_name_own();
    for (int i = 0; i < MP_WATCHERS; i++)
        if (watch->names[i] == name)
            return;
    for (int i = 0; i < MP_WATCHERS; i++) {
        mp_name other = watch->names[i]; /* a dead one's name may be overwritten */
        if ((other == 0 || mp_name_is_gone(other)) &&
            atomic_compare_exchange_strong(&watch->names[i], &other, name))
            return;
    }
    mp_page->members[mp_page_self].watches = 1;
    watch->more = 1;
}

static void tell(uint32_t member) {
    const pid_t pid = mp_page->members[member].pid;
    if (pid > 0)
        kill(pid, SIGURG);
}

void mp_watch_tell(mp_watch *watch) {
    for (int i = 0; i < MP_WATCHERS; i++) {
        const mp_name name = watch->names[i] == 0 ? 0 : atomic_exchange(&watch->names[i], 0);
        if (name != 0 && mp_name_of(mp_name_member(name)) == name)
            tell(mp_name_member(name));
    }
    if (watch->more == 0 || atomic_exchange(&watch->more, 0) == 0)
        return;
    for (uint32_t i = 0; i < mp_page->high; i++)
        if (mp_page->members[i].watches)
            tell(i);
}

/* --- descriptors ---------------------------------------------------------- */

/* Up to date, and told of the next change. */
static void renew(const watched *w) {
    clear(w->fd);
    sign(w->watch);
    atomic_thread_fence(memory_order_seq_cst); /* (W) with the one in mp_gate_open, before tell */
    if (w->is_ready(w->arg))
        set_readable(w->fd);
}

int mp_watch_fd(mp_watch *watch, int (*is_ready)(const void *), const void *arg) {
    open_table();
    watched *w = find(watch);
    int rc = w != NULL ? 0 : begin(watch, is_ready, arg, &w);
    if (rc < 0)
        return rc;
    renew(w);
    return w->fd;
}

int mp_watch_is_used(void) {
    return n_watched != 0;
}

void mp_watch_look(mp_watch *watch) {
    const watched *w = find(watch);
    if (w != NULL && owner == mp_name_own() && !w->is_ready(w->arg))
        renew(w);
}

void mp_watch_renew(void) {
    for (size_t i = 0; owner == mp_name_own() && i < n_watched; i++)
        if (table[i].fd >= 0 && !table[i].is_ready(table[i].arg))
            renew(&table[i]);
}

int mp_watch_keep(void) {
    const struct timespec look = {.tv_nsec = MP_LOOK};
    const struct itimerspec each = {.it_interval = look, .it_value = look};
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGURG};
    event._sigev_un._tid = gettid();
    if (has_looks)
        return 0;
    if (timer_create(CLOCK_MONOTONIC, &event, &looks) != 0)
        return -errno;
    has_looks = 1;
    return timer_settime(looks, 0, &each, NULL) == 0 ? 0 : -errno;
}

static int is_empty(void) {
    for (size_t i = 0; i < n_watched; i++)
        if (table[i].fd >= 0)
            return 0;
    return 1;
}

void mp_watch_close(mp_watch *watch) {
    watched *w = n_watched > 0 && owner == mp_name_own() ? find(watch) : NULL;
    if (w == NULL)
        return;
    close(atomic_exchange(&w->fd, -1));
    if (has_looks && is_empty()) {
        timer_delete(looks);
        has_looks = 0;
    }
}
