/*
** keeper.c: one process that ends what the dead have started; see keeper.h.
**
** It runs in the image of whoever made it, alone with the family page: no
** descriptor but its own, no signal, and no memory of the heap, which it gives
** up at once so that its creator has nothing to copy. It allocates nothing.
*/
#include "engine/keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/family.h"
#include "engine/page.h"

#define PAUSE (MP_SECOND / 5)  /* between two looks at all processes */
#define GRACE (5 * MP_SECOND)  /* from SIGTERM to SIGKILL when a time limit is reached */
#define BIRTH (10 * MP_SECOND) /* that a detached process without a creator has to be born */
#define SMALL ((uintptr_t)256 * 1024)

/* --- what it knows of each record ---------------------------------------- */

/* A program is held by a pidfd, and a death that was seen is not seen again. */
static struct known {
    uint32_t serial;      /* of the program that fd is, or was */
    uint32_t dead_serial; /* of the process whose death was seen */
    int fd;               /* + 1; 0: none */
    uint32_t born_serial; /* of the process that was seen to be born, and when */
    mp_time born;
} known[N_MEMBERS];

static uint32_t state_of(uint32_t i) {
    return atomic_load_explicit(&mp_page->members[i].state, memory_order_acquire); /* (B) */
}

static int has_ended(int pidfd) {
    struct pollfd ended = {.fd = pidfd, .events = POLLIN};
    return poll(&ended, 1, 0) == 1;
}

static int open_pidfd(pid_t pid) {
    return (int)syscall(SYS_pidfd_open, pid, 0);
}

static void let_go(struct known *k) {
    if (k->fd > 0)
        close(k->fd - 1);
    k->fd = 0;
}

static int lives(uint32_t i);

static int creator_lives(uint32_t i) {
    uint32_t creator = mp_page->members[i].creator;
    return creator < N_MEMBERS && lives(creator);
}

/*
** Whether the pid of a record that says PROGRAM is the program's. A creator that lives would have
** said otherwise before it reaped it; without one only a detached program lives on, as the leader
** of a session.
*/
static int owns_pid(uint32_t i) {
    const member_shared *m = &mp_page->members[i];
    return creator_lives(i) || (m->detached && getsid(m->pid) == m->pid);
}

/* Holds the program of a record; looked at after the open, because then it was so at the open. */
static void hold(uint32_t i) {
    struct known *k = &known[i];
    uint32_t serial = mp_page->members[i].serial;
    if (k->fd > 0 && k->serial == serial)
        return;
    let_go(k);
    int fd = open_pidfd(mp_page->members[i].pid);
    if (fd >= 0 && owns_pid(i) && state_of(i) == PROGRAM && mp_page->members[i].serial == serial) {
        k->fd = fd + 1;
        k->serial = serial;
    } else if (fd >= 0) {
        close(fd);
    }
}

/* One that cannot be held has ended, and its creator, if that lives, will say so. */
static int program_lives(uint32_t i) {
    hold(i);
    return known[i].fd > 0 ? !has_ended(known[i].fd - 1)
                           : state_of(i) == PROGRAM && creator_lives(i);
}

/* --- programs without an owner ------------------------------------------- */

static char tag_name[MP_TAG_SIZE];
static size_t tag_name_len;

/* The path in a piece of an environment, or NULL. What may be cut off at the end does not count. */
static const char *find_tag(const char *text, size_t len) {
    const char *at = text;
    while ((at = memmem(at, len - (size_t)(at - text), tag_name, tag_name_len)) != NULL) {
        if ((at == text || at[-1] == '\0') && memchr(at, '\0', len - (size_t)(at - text)) != NULL)
            return at + tag_name_len;
        at++;
    }
    return NULL;
}

/* The path in the tag of a process, by /proc/PID/environ; 0 if it has none that may be read. */
static int read_tag(pid_t pid, char path[static MP_TAG_SIZE]) {
    static char text[256 * 1024 + 1];
    size_t kept = 0;
    const char *tag = NULL;
    char name[32];
    snprintf(name, sizeof name, "/proc/%d/environ", (int)pid);
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    for (ssize_t n; tag == NULL && (n = read(fd, text + kept, sizeof text - 1 - kept)) > 0;) {
        size_t len = kept + (size_t)n;
        text[len] = '\0';
        tag = find_tag(text, len);
        kept = len < MP_TAG_SIZE ? len : MP_TAG_SIZE; /* a tag may lie across the border */
        if (tag == NULL)
            memmove(text, text + len - kept, kept);
    }
    close(fd);
    if (tag != NULL)
        snprintf(path, MP_TAG_SIZE, "%s", tag);
    return tag != NULL;
}

/*
** A member that runs a program by exec in its own place (a C module can) has
** no life word any more, which is the kernel's doing, and yet it lives: as a
** process of its pid whose tag ends with it.
*/
static int has_become_program(uint32_t i) {
    char path[MP_TAG_SIZE], own[32];
    int own_len = snprintf(own, sizeof own, "%x.%x/", i, mp_page->members[i].serial);
    if (state_of(i) == FREE || !read_tag(mp_page->members[i].pid, path))
        return 0;
    size_t len = strlen(path);
    return len >= (size_t)own_len && strcmp(path + len - own_len, own) == 0;
}

static int lives(uint32_t i) {
    if (state_of(i) == PROGRAM)
        return program_lives(i);
    if (mp_family_alive(i))
        return 1;
    return known[i].dead_serial != mp_page->members[i].serial && has_become_program(i);
}

/* Whether each process of the path "index.serial/index.serial/" lives. */
static int all_live(const char *path) {
    while (*path != '\0') {
        char *end;
        unsigned long index = strtoul(path, &end, 16);
        if (*end != '.' || index >= N_MEMBERS)
            return 1; /* not ours to judge */
        unsigned long serial = strtoul(end + 1, &end, 16);
        if (*end != '/')
            return 1;
        if (mp_page->members[index].serial != serial || !lives((uint32_t)index))
            return 0;
        path = end + 1;
    }
    return 1;
}

static int is_orphan(pid_t pid) {
    char path[MP_TAG_SIZE];
    return read_tag(pid, path) && !all_live(path);
}

/* Kills the process if it is one; asked again when it cannot be another any more. */
static int kill_orphan(pid_t pid) {
    if (!is_orphan(pid))
        return 0;
    int fd = open_pidfd(pid);
    int killed =
        fd >= 0 && is_orphan(pid) && syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0) == 0;
    if (fd >= 0)
        close(fd);
    return killed;
}

struct entry { /* as getdents64 gives them: readdir would allocate */
    uint64_t ino;
    int64_t off;
    unsigned short len;
    unsigned char type;
    char name[];
};

/* One look at all processes; how many it killed. */
static int sweep_once(void) {
    static _Alignas(struct entry) char entries[32 * 1024];
    int n_killed = 0;
    long n;
    int proc = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (proc < 0)
        return 0;
    while ((n = syscall(SYS_getdents64, proc, entries, sizeof entries)) > 0)
        for (long at = 0; at < n;) {
            struct entry *e = (struct entry *)(entries + at);
            if (e->name[0] >= '1' && e->name[0] <= '9')
                n_killed += kill_orphan((pid_t)strtol(e->name, NULL, 10));
            at += e->len;
        }
    close(proc);
    return n_killed;
}

/* What is killed cannot start more; what it started before is found by the next look. Whether
 * the last two found nothing: a process that the kernel cannot end now is not waited for. */
static int sweep(void) {
    static const struct timespec a_moment = {0, 2000000};
    int killed_before = 0;
    for (int rounds = 0; rounds < 100; rounds++) {
        int killed = sweep_once();
        if (killed == 0 && killed_before == 0)
            return 1;
        killed_before = killed;
        nanosleep(&a_moment, NULL);
    }
    return 0;
}

/* --- time limits --------------------------------------------------------- */

static int is_stopped(pid_t pid) {
    char path[32], text[512];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t len = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
    if (fd >= 0)
        close(fd);
    text[len > 0 ? len : 0] = '\0';
    const char *state = strrchr(text, ')');
    return state != NULL && (state[2] == 'T' || state[2] == 't');
}

static int creator_is_stopped(const member_shared *m) {
    uint32_t creator = m->creator;
    return creator < N_MEMBERS && is_stopped(mp_page->members[creator].pid);
}

/* The limit of a process is reached: ends it, if it is still there. */
static void enforce(uint32_t i, mp_time deadline, mp_time now) {
    member_shared *m = &mp_page->members[i];
    uint32_t serial = m->serial;
    int first = m->overran != serial;
    int postponed = creator_is_stopped(m);
    mp_time next = postponed ? now + MP_SECOND : first ? now + GRACE : 0;
    int fd = open_pidfd(m->pid);
    if (fd < 0)
        return;
    if (m->serial == serial && lives(i) && !has_ended(fd)) {
        if (!postponed)
            m->overran = serial; /* first: a process that has lost its deadline sees why */
        if (!atomic_compare_exchange_strong(&m->deadline, &deadline, next))
            m->overran = first ? 0 : serial;
        else if (!postponed)
            syscall(SYS_pidfd_send_signal, fd, first ? SIGTERM : SIGKILL, NULL, 0);
    }
    close(fd);
}

/*
** Whether a detached process is on its way: of one that begins in a fresh image the creator
** may be gone before it has a life word. Its pid may be a stranger's by then, so nothing is
** done to it, and one does not wait for long.
*/
static int is_being_born(uint32_t i, mp_time now) {
    const member_shared *m = &mp_page->members[i];
    struct known *k = &known[i];
    if (state_of(i) != BORN || !m->detached || m->pid == 0 || kill(m->pid, 0) != 0)
        return 0;
    if (k->born_serial != m->serial) {
        k->born_serial = m->serial;
        k->born = now;
    }
    return now - k->born < BIRTH;
}

/* --- the loop ------------------------------------------------------------ */

/* A look at all records: keeps the limits, and says what there is to do. */
typedef struct look {
    mp_time next; /* when to look again at the latest */
    int living;   /* members that live, and programs with a time limit */
    int deaths;   /* that were not seen before, and may have left programs */
} look;

static void look_at(uint32_t i, mp_time now, look *l) {
    member_shared *m = &mp_page->members[i];
    uint32_t serial = m->serial;
    uint32_t state = state_of(i);
    if (state != PROGRAM)
        let_go(&known[i]);
    if (state == FREE)
        return;
    mp_time deadline = atomic_load_explicit(&m->deadline, memory_order_acquire);
    if (deadline != 0 && m->pid != 0 && now >= deadline)
        enforce(i, deadline, now);
    else if (deadline != 0 && deadline > now && deadline < l->next)
        l->next = deadline;
    int alive = lives(i) || is_being_born(i, now);
    if (alive && (state != PROGRAM || deadline != 0))
        l->living++;
    if (!alive && known[i].dead_serial != serial) {
        known[i].dead_serial = serial;
        l->deaths++;
    }
}

static look look_at_all(void) {
    mp_time now = mp_sys_now();
    look l = {.next = now + MP_LOOK};
    for (uint32_t i = 0; i < mp_page->high; i++)
        look_at(i, now, &l);
    return l;
}

static void watch(void) {
    uint32_t n_ended = 0;
    int dirty = 1;
    mp_time swept = 0;
    for (;;) {
        uint32_t bell = atomic_load_explicit(&mp_page->bell, memory_order_acquire);
        uint32_t n = atomic_load_explicit(&mp_page->n_ended, memory_order_acquire);
        look l = look_at_all();
        dirty = dirty || l.deaths > 0 || n != n_ended;
        n_ended = n;
        if (dirty && (l.living == 0 || mp_sys_now() - swept >= PAUSE)) {
            dirty = !sweep();
            swept = mp_sys_now();
        }
        if (l.living == 0)
            return;
        mp_sys_futex_wait(&mp_page->bell, bell, l.next);
    }
}

/* --- its birth ----------------------------------------------------------- */

#if defined(__SANITIZE_ADDRESS__) /* whose own memory is among it */

static void drop_memory(void) {
}

#else

/*
** Whether the keeper itself needs it: its statics lie in a mapping of no file,
** and so do its thread's variables; a neighbour of either may be one with it.
*/
static int is_mine(uintptr_t from, uintptr_t to) {
    const void *const mine[] = {known, &errno, &environ, &from};
    for (size_t i = 0; i < sizeof mine / sizeof *mine; i++)
        if ((uintptr_t)mine[i] >= from && (uintptr_t)mine[i] < to)
            return 1;
    return 0;
}

/* Gives up a private mapping that is of no file and not small: a line of /proc/self/maps. */
static void drop_mapping(const char *line) {
    char *end;
    uintptr_t from = strtoul(line, &end, 16);
    uintptr_t to = strtoul(end + 1, &end, 16);
    const char *eol = strchr(line, '\n');
    int is_private = strncmp(end, " rw-p 00000000 00:00 0 ", 23) == 0;
    int is_plain = eol != NULL && (eol[-1] == ' ' || strncmp(eol - 6, "[heap]", 6) == 0);
    if (is_private && is_plain && to - from >= SMALL && !is_mine(from, to))
        madvise((void *)from, to - from, MADV_DONTNEED);
}

/* Its creator's memory, so that no page has to be copied when that changes it. */
static void drop_memory(void) {
    static char text[256 * 1024];
    int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    size_t len = 0;
    for (ssize_t n; fd >= 0 && (n = read(fd, text + len, sizeof text - 1 - len)) > 0;)
        len += (size_t)n;
    if (fd >= 0)
        close(fd);
    if (strstr(text, "valgrind") != NULL)
        return; /* it keeps its own there */
    for (const char *line = text; line != NULL && *line != '\0';) {
        const char *eol = strchr(line, '\n');
        drop_mapping(line);
        line = eol != NULL ? eol + 1 : NULL;
    }
}

#endif

static void let_go_of_all(void) {
    close_range(0, ~0u, 0);
    for (int fd = 0; fd <= 2; fd++)
        if (open("/dev/null", O_RDWR) < 0)
            break;
    if (chdir("/") != 0)
        return; /* there is no other folder to stay in */
}

/* Takes the place, for life; a second keeper waits a second for it in vain. */
static int take_place(void) {
    struct timespec until;
    mp_time at = mp_sys_now() + MP_SECOND;
    until.tv_sec = at / MP_SECOND;
    until.tv_nsec = at % MP_SECOND;
    int rc = pthread_mutex_clocklock(&mp_page->keeper, CLOCK_MONOTONIC, &until);
    if (rc == EOWNERDEAD)
        rc = pthread_mutex_consistent(&mp_page->keeper);
    return rc;
}

_Noreturn static void keep(void) {
    mp_page_self = MP_NOBODY;
    setsid();
    prctl(PR_SET_NAME, "luamp-keeper");
    let_go_of_all();
    if (take_place() == 0) {
        mp_keeper_ring(); /* its creator waits for it */
        drop_memory();
        tag_name_len = (size_t)mp_family_tag_name(tag_name);
        while (mp_sys_raise_file_limit() == 0)
            continue;
        watch();
    }
    _exit(EXIT_SUCCESS);
}

static int is_held(void) {
    int rc = pthread_mutex_trylock(&mp_page->keeper);
    if (rc == EOWNERDEAD)
        pthread_mutex_consistent(&mp_page->keeper);
    if (rc != EBUSY)
        pthread_mutex_unlock(&mp_page->keeper);
    return rc == EBUSY;
}

/* Another one that asks this holds it for a moment: twice in a row is the keeper. */
static int is_there(void) {
    return is_held() && is_held();
}

/* Forks twice, so that it is nobody's child. */
static int start(void) {
    pid_t pid = _Fork();
    if (pid == 0) {
        pid = _Fork();
        if (pid == 0)
            keep();
        _exit(pid > 0 ? 0 : errno);
    }
    int status = 0;
    if (pid < 0)
        return -errno;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    return WIFEXITED(status) ? -WEXITSTATUS(status) : 0;
}

/* All signals are blocked, and stay so in it. */
static int start_blocked(void) {
    sigset_t all, before;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, &before);
    int rc = start();
    sigprocmask(SIG_SETMASK, &before, NULL);
    return rc;
}

/* Waits a second at most. One that was killed at its birth cannot be told from a slow one. */
static int comes(void) {
    mp_time until = mp_sys_now() + MP_SECOND;
    for (;;) {
        uint32_t bell = atomic_load_explicit(&mp_page->bell, memory_order_acquire);
        if (is_there())
            return 1;
        if (mp_sys_now() >= until)
            return 0;
        mp_sys_futex_wait(&mp_page->bell, bell, mp_sys_now() + MP_LOOK);
    }
}

int mp_keeper_open(void) {
    int rc = mp_family_open();
    if (rc < 0)
        return rc;
    if (mp_page_self != MP_NOBODY)
        atomic_store_explicit(&mp_page->members[mp_page_self].n_started, 1, memory_order_relaxed);
    if (is_there())
        return 0;
    for (int tries = 0; tries < 5; tries++) { /* of several the first has the place, others go */
        rc = start_blocked();
        if (rc < 0 || comes())
            return rc;
    }
    return -ETIMEDOUT;
}

void mp_keeper_renew(void) {
    if (mp_page != NULL && !is_there())
        start_blocked();
}

void mp_keeper_ring(void) {
    if (mp_page == NULL)
        return;
    atomic_fetch_add_explicit(&mp_page->bell, 1, memory_order_release);
    mp_sys_futex_wake(&mp_page->bell, 1);
}
