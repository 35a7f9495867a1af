/*
** sys.c: the kernel made regular. The contract of each call is in sys.h.
*/
#include "engine/sys.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* --- time ---------------------------------------------------------------- */

mp_time mp_sys_now(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (mp_time)ts.tv_sec * MP_SECOND + ts.tv_nsec;
}

mp_time mp_sys_deadline(double seconds) {
    if (seconds <= 0)
        return MP_NOWAIT;
    mp_time now = mp_sys_now();
    double ns = ceil(seconds * 1e9);
    return ns < (double)(MP_FOREVER - now) ? now + (mp_time)ns : MP_FOREVER;
}

/* What is left until the deadline, never negative; NULL when it is for ever. */
static struct timespec *time_left(mp_time deadline, struct timespec *ts) {
    if (deadline == MP_FOREVER)
        return NULL;
    mp_time left = deadline == MP_NOWAIT ? 0 : deadline - mp_sys_now();
    if (left < 0)
        left = 0;
    ts->tv_sec = left / MP_SECOND;
    ts->tv_nsec = left % MP_SECOND;
    return ts;
}

/* --- descriptors --------------------------------------------------------- */

int mp_sys_high_fd(int fd) {
    if (fd < 0 || fd >= 10)
        return fd < 0 ? -errno : fd;
    int high = fcntl(fd, F_DUPFD_CLOEXEC, 10);
    int rc = high >= 0 ? high : errno == EINVAL ? -EMFILE : -errno; /* a limit below 10 */
    close(fd);
    return rc;
}

static rlim_t files_before; /* the limit before it was raised; 0: it was not */

int mp_sys_raise_file_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= limit.rlim_max)
        return -EMFILE;
    if (files_before == 0)
        files_before = limit.rlim_cur;
    limit.rlim_cur = limit.rlim_cur < limit.rlim_max / 4 ? limit.rlim_cur * 4 : limit.rlim_max;
    return setrlimit(RLIMIT_NOFILE, &limit) == 0 ? 0 : -EMFILE;
}

void mp_sys_restore_file_limit(void) {
    struct rlimit limit;
    if (files_before == 0 || getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    limit.rlim_cur = files_before < limit.rlim_max ? files_before : limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

void mp_sys_fill_std(void) {
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) == -1 && errno == EBADF)
            if (open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY) < 0)
                return; /* no /dev/null: the streams stay closed, as they were */
}

/* Drops the first `done` bytes of the pieces; returns how many pieces begin now. */
static int skip_written(struct iovec *pieces, int n, size_t done) {
    int i = 0;
    while (i < n && done >= pieces[i].iov_len)
        done -= pieces[i++].iov_len;
    if (i < n) {
        pieces[i].iov_base = (char *)pieces[i].iov_base + done;
        pieces[i].iov_len -= done;
    }
    return i;
}

int mp_sys_write(int fd, struct iovec *pieces, int n) {
    while (n > 0) {
        ssize_t done = writev(fd, pieces, n < IOV_MAX ? n : IOV_MAX);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0 && errno == EAGAIN) { /* somebody made the stream non-blocking */
            struct pollfd writable = {.fd = fd, .events = POLLOUT};
            poll(&writable, 1, -1);
            continue;
        }
        if (done < 0)
            return -errno;
        int skipped = skip_written(pieces, n, (size_t)done);
        pieces += skipped;
        n -= skipped;
    }
    return 0;
}

static void ignore_file_limit(struct sigaction *before) {
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigaction(SIGXFSZ, &ignore, before);
}

int mp_sys_resize(int fd, size_t size) {
    struct sigaction before;
    ignore_file_limit(&before);
    int rc = ftruncate(fd, (off_t)size) == 0 ? 0 : -errno;
    sigaction(SIGXFSZ, &before, NULL);
    return rc;
}

/* In parts: the kernel takes back what it has done of one that a signal ends. */
static int allocate_part(int fd, int64_t offset, int64_t len) {
    int rc;
    do
        rc = fallocate(fd, 0, offset, len);
    while (rc != 0 && errno == EINTR);
    return rc == 0 ? 0 : errno == EFBIG ? -EFBIG : -ENOMEM;
}

int mp_sys_allocate(int fd, int64_t offset, int64_t len) {
    const int64_t part = 16 << 20;
    struct sigaction before;
    int rc = 0;
    ignore_file_limit(&before);
    for (int64_t done = 0; done < len && rc == 0; done += part)
        rc = allocate_part(fd, offset + done, len - done < part ? len - done : part);
    sigaction(SIGXFSZ, &before, NULL);
    return rc;
}

static int write_piece(int fd, int64_t offset, const char *bytes, size_t len) {
    while (len > 0) {
        ssize_t n = pwrite(fd, bytes, len, offset);
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

int mp_sys_write_at(int fd, int64_t offset, const struct iovec *pieces, int n) {
    struct sigaction before;
    int rc = 0;
    ignore_file_limit(&before);
    for (int i = 0; i < n && rc == 0; i++) {
        rc = write_piece(fd, offset, pieces[i].iov_base, pieces[i].iov_len);
        offset += (int64_t)pieces[i].iov_len;
    }
    sigaction(SIGXFSZ, &before, NULL);
    return rc;
}

static sigset_t only(int signo) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, signo);
    return set;
}

void mp_sys_sigpipe_hold(sigset_t *before) {
    sigset_t sigpipe = only(SIGPIPE);
    sigprocmask(SIG_BLOCK, &sigpipe, before);
}

void mp_sys_sigpipe_release(const sigset_t *before) {
    sigset_t sigpipe = only(SIGPIPE);
    struct timespec at_once = {0, 0};
    if (!sigismember(before, SIGPIPE))
        while (sigtimedwait(&sigpipe, NULL, &at_once) < 0 && errno == EINTR)
            continue;
    sigprocmask(SIG_SETMASK, before, NULL);
}

/* --- interruptions ------------------------------------------------------- */

static const int interrupts[] = {SIGINT, SIGTERM, SIGHUP};
#define N_INTERRUPTS (sizeof interrupts / sizeof interrupts[0])

static void (*interrupt_wake)(int signo);
static volatile sig_atomic_t interrupt_pending;
static volatile sig_atomic_t interrupt_is_child;
static volatile mp_time interrupt_noted = -2 * MP_SECOND;

static void disposition(int signo, void (*handler)(int)) {
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    sigaction(signo, &action, NULL);
}

static void die_of(int signo) {
    disposition(signo, SIG_DFL);
    raise(signo);
}

/* A child only notes SIGINT; in the main process a second one means it. */
static void on_interrupt(int signo) {
    int saved = errno;
    if (interrupt_is_child && signo == SIGINT) {
        interrupt_noted = mp_sys_now();
    } else if (interrupt_is_child || interrupt_pending != 0) {
        die_of(signo);
    } else {
        interrupt_pending = signo;
        interrupt_wake(signo);
    }
    errno = saved;
}

static int interrupt_open[N_INTERRUPTS]; /* those that are ours */
static sigset_t watched;                 /* signals that a wait must not miss */

void mp_sys_interrupts_open(void (*wake)(int signo)) {
    if (interrupt_wake != NULL)
        return;
    interrupt_wake = wake;
    for (size_t i = 0; i < N_INTERRUPTS; i++) {
        struct sigaction old;
        sigaction(interrupts[i], NULL, &old);
        /* Of a host's own handlers only that for Ctrl-C is replaced, as stock lua's. */
        interrupt_open[i] =
            old.sa_handler == SIG_DFL || (interrupts[i] == SIGINT && old.sa_handler != SIG_IGN);
        if (interrupt_open[i])
            disposition(interrupts[i], on_interrupt);
        sigaddset(&watched, interrupts[i]);
    }
}

void mp_sys_interrupts_reopen(void) {
    for (size_t i = 0; i < N_INTERRUPTS; i++) {
        struct sigaction now;
        sigaction(interrupts[i], NULL, &now);
        if (interrupt_open[i] && now.sa_handler == SIG_DFL)
            disposition(interrupts[i], on_interrupt);
    }
}

void mp_sys_interrupts_child(void) {
    mp_sys_signals_restore();
    interrupt_is_child = 1;
    interrupt_pending = 0;
}

int mp_sys_interrupt_pending(void) {
    return interrupt_pending;
}

int mp_sys_interrupt_take(void) {
    int signo = interrupt_pending;
    interrupt_pending = 0;
    return signo;
}

int mp_sys_interrupted_lately(void) {
    return mp_sys_now() - interrupt_noted < MP_SECOND;
}

/* --- signals that the program handles ------------------------------------ */

#define BIT(signo) ((uint64_t)1 << ((signo)-1)) /* the kernel's signals are 1 to 64 */

static struct sigaction before_ours[NSIG];
static uint64_t changed;         /* signals whose action before ours is kept there */
static uint64_t held;            /* those whose handler runs */
static _Atomic uint64_t arrived; /* and has not been taken */

static void on_signal(int signo) {
    int saved = errno;
    atomic_fetch_or(&arrived, BIT(signo));
    interrupt_wake(signo);
    errno = saved;
}

int mp_sys_signal_set(int signo, enum mp_signal_action what) {
    struct sigaction action = {.sa_handler = what == MP_SIGNAL_NOTE ? on_signal : SIG_IGN,
                               .sa_flags = SA_RESTART};
    struct sigaction before;
    sigemptyset(&action.sa_mask);
    if (what == MP_SIGNAL_RESTORE && !(changed & BIT(signo)))
        return 0;
    if (sigaction(signo, what == MP_SIGNAL_RESTORE ? &before_ours[signo] : &action, &before) != 0)
        return -errno;
    if (!(changed & BIT(signo)))
        before_ours[signo] = before;
    changed = what == MP_SIGNAL_RESTORE ? changed & ~BIT(signo) : changed | BIT(signo);
    if (what != MP_SIGNAL_NOTE)
        atomic_fetch_and(&arrived, ~BIT(signo));
    sigaddset(&watched, signo);
    return 0;
}

int mp_sys_signal_handled(void) {
    return changed != 0;
}

/* What others have set meanwhile stays: it is the host's, which took the signal back. */
void mp_sys_signals_restore(void) {
    for (int signo = 1; changed != 0 && signo < NSIG; signo++) {
        struct sigaction now;
        if (!(changed & BIT(signo)))
            continue;
        sigaction(signo, NULL, &now);
        if (now.sa_handler == on_signal || now.sa_handler == SIG_IGN)
            mp_sys_signal_set(signo, MP_SIGNAL_RESTORE);
        changed &= ~BIT(signo);
    }
    held = 0;
    atomic_store(&arrived, 0);
}

void mp_sys_signals_ignore(void) {
    for (int signo = 1; signo < NSIG; signo++)
        if (changed & BIT(signo))
            mp_sys_signal_set(signo, signo == SIGCHLD ? MP_SIGNAL_RESTORE : MP_SIGNAL_IGNORE);
}

void mp_sys_signals_exec(int stay_blocked) {
    for (int signo = 1; signo < NSIG; signo++) {
        struct sigaction now, action = {.sa_handler = SIG_DFL};
        if (sigaction(signo, NULL, &now) != 0)
            continue;
        if ((changed & BIT(signo) ? &before_ours[signo] : &now)->sa_handler == SIG_IGN)
            action.sa_handler = SIG_IGN;
        if (now.sa_handler != action.sa_handler)
            sigaction(signo, &action, NULL);
    }
    sigset_t none;
    sigemptyset(&none);
    if (!stay_blocked)
        sigprocmask(SIG_SETMASK, &none, NULL);
}

int mp_sys_signal_pending(void) {
    return (atomic_load(&arrived) & ~held) != 0;
}

int mp_sys_signal_take(void) {
    uint64_t free = atomic_load(&arrived) & ~held;
    if (free == 0)
        return 0;
    int signo = __builtin_ctzll(free) + 1;
    held |= BIT(signo);
    atomic_fetch_and(&arrived, ~BIT(signo));
    return signo;
}

void mp_sys_signal_release(int signo) {
    held &= ~BIT(signo);
}

/* --- waiting ------------------------------------------------------------- */

int mp_sys_poll(struct pollfd *fds, size_t n, mp_time deadline) {
    sigset_t before;
    struct timespec ts;
    mp_fault("sys.poll.W1");
    sigprocmask(SIG_BLOCK, &watched, &before);
    mp_fault("sys.poll.W2");
    int rc = -EINTR;
    if (interrupt_pending == 0 && !mp_sys_signal_pending()) {
        rc = ppoll(fds, n, time_left(deadline, &ts), &before);
        if (rc < 0)
            rc = -errno;
    }
    sigprocmask(SIG_SETMASK, &before, NULL);
    return interrupt_pending != 0 ? -EINTR : rc; /* which goes before what is ready with it */
}

int mp_sys_futex_wait(_Atomic uint32_t *word, uint32_t value, mp_time deadline) {
    struct timespec ts;
    long rc = syscall(SYS_futex, word, FUTEX_WAIT, value, time_left(deadline, &ts), NULL, 0);
    return rc == 0 || errno == EAGAIN ? 0 : -errno;
}

int mp_sys_futex_wake(_Atomic uint32_t *word, int n) {
    return (int)syscall(SYS_futex, word, FUTEX_WAKE, n, NULL, NULL, 0);
}

/* --- odds and ends of the kernel ----------------------------------------- */

int mp_sys_has_ended(pid_t pid) {
    struct pollfd end = {.fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN};
    if (end.fd < 0)
        return errno == ESRCH;
    const int n = poll(&end, 1, 0);
    close(end.fd);
    return n == 1;
}

void mp_sys_random(void *buf, size_t len) {
    for (size_t got = 0; got < len;) {
        ssize_t n = getrandom((char *)buf + got, len - got, 0);
        if (n < 0 && errno != EINTR)
            mp_panic("getrandom failed");
        got += n > 0 ? (size_t)n : 0;
    }
}

int mp_sys_cpu_count(void) {
    cpu_set_t few;
    if (sched_getaffinity(0, sizeof few, &few) == 0)
        return CPU_COUNT(&few);
    for (int room = 2048; room <= 1 << 20; room *= 2) {
        cpu_set_t *set = CPU_ALLOC((size_t)room);
        if (set == NULL)
            return -ENOMEM;
        size_t size = CPU_ALLOC_SIZE((size_t)room);
        int rc = sched_getaffinity(0, size, set) == 0 ? CPU_COUNT_S(size, set) : -errno;
        CPU_FREE(set);
        if (rc != -EINVAL) /* EINVAL: the kernel's mask is longer */
            return rc;
    }
    return -EINVAL;
}

int mp_sys_signal_number(const char *name) {
    if (strncmp(name, "SIG", 3) == 0)
        name += 3;
    for (int signo = 1; signo < NSIG; signo++) {
        const char *abbreviation = sigabbrev_np(signo);
        if (abbreviation != NULL && strcmp(abbreviation, name) == 0)
            return signo;
    }
    static const struct {
        const char *name;
        int signo;
    } others[] = {{"IO", SIGIO}, {"CLD", SIGCHLD}, {"IOT", SIGABRT}};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (strcmp(name, others[i].name) == 0)
            return others[i].signo;
    if (strcmp(name, "RTMIN") == 0)
        return SIGRTMIN;
    if (strcmp(name, "RTMAX") == 0)
        return SIGRTMAX;
    if (strncmp(name, "RTMIN+", 6) == 0 && isdigit((unsigned char)name[6])) {
        long above = strtol(name + 6, NULL, 10);
        return above <= SIGRTMAX - SIGRTMIN ? SIGRTMIN + (int)above : -EINVAL;
    }
    return -EINVAL;
}

const char *mp_sys_signal_name(int number, char buf[static 16]) {
    const char *abbreviation = sigabbrev_np(number);
    if (abbreviation != NULL)
        snprintf(buf, 16, "SIG%s", abbreviation);
    else if (number >= SIGRTMIN && number <= SIGRTMAX)
        snprintf(buf, 16, number > SIGRTMIN ? "SIGRTMIN+%d" : "SIGRTMIN", number - SIGRTMIN);
    else
        snprintf(buf, 16, "signal %d", number);
    return buf;
}

const char *mp_sys_error_name(int rc) {
    const char *name = strerrorname_np(-rc);
    return name != NULL ? name : "EUNKNOWN";
}

void mp_sys_panic(const char *what, const char *file, int line) {
    fprintf(stderr, "luamp: broken invariant: %s (%s:%d)\n", what, file, line);
    abort();
}

#ifdef MP_FAULTS
#include <dlfcn.h>

int mp_sys_fault_is_here(const char *name) {
    static int passed;
    const char *wanted = getenv("LUAMP_FAULT");
    size_t len = strlen(name);
    if (wanted == NULL || strncmp(wanted, name, len) != 0)
        return 0;
    if (wanted[len] != '\0' && wanted[len] != ':')
        return 0;
    int nth = wanted[len] == ':' ? atoi(wanted + len + 1) : 1;
    return ++passed == nth;
}

void mp_sys_fault(const char *name) {
    if (!mp_sys_fault_is_here(name))
        return;
    const char *signo = strchr(getenv("LUAMP_FAULT"), '=');
    kill(getpid(), signo != NULL ? atoi(signo + 1) : SIGKILL);
}

int mp_sys_fault_memory(void) {
    static int (*is_short)(void);
    static int looked;
    if (!looked)
        is_short = (int (*)(void))(uintptr_t)dlsym(RTLD_DEFAULT, "nomemory_heap");
    looked = 1;
    return is_short != NULL && is_short();
}
#endif
