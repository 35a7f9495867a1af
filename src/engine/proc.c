/*
** proc.c: birth, end and signals of child processes; promises in proc.h.
**
** fork() and not a raw clone: glibc must learn the child's thread id and give
** it a robust list of its own, or the kernel never marks its life word. The
** pidfd is opened at once, before anybody could reap the child.
*/
#include "engine/proc.h"

#include <alloca.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/exec.h"
#include "engine/family.h"
#include "engine/heap.h"
#include "engine/keeper.h"
#include "engine/output.h"

#define GRACE_AT_END (5 * MP_SECOND) /* of daemons, as for stop() */
#define GRACE_AFTER_FAILURE (MP_SECOND / 2)

struct mp_proc {
    mp_proc *next, **link; /* among the children that have not been reaped */
    pid_t pid;
    int pidfd;
    uint32_t member;
    int ended;
    int exitcode;
    int stolen;
    int detached;
    int daemon;
    int is_program;
    mp_time cpu_time; /* that it has used, with its own children's; after the end */
};

static mp_proc *children;
static pid_t self_pid;
static int is_child;
static int forking;        /* tells our fork from a foreign one */
static int interrupted_by; /* for a host whose exit status is not ours to choose */

pid_t mp_proc_self(void) {
    return self_pid;
}

int mp_proc_is_child(void) {
    return is_child;
}

pid_t mp_proc_pid(const mp_proc *p) {
    return p->pid;
}

uint32_t mp_proc_member(const mp_proc *p) {
    return p->member;
}

int mp_proc_pidfd(const mp_proc *p) {
    return p->pidfd;
}

int mp_proc_exitcode(const mp_proc *p, int *stolen) {
    *stolen = p->stolen;
    return p->exitcode;
}

/*
** Structs of ended children wait here for the next: the C heap, which every
** fork would have to copy from, is left alone.
*/
static mp_proc *spare;

static mp_proc *proc_new(void) {
    mp_proc *p = spare;
    if (p == NULL)
        return calloc(1, sizeof *p);
    spare = p->next;
    p->is_program = 0;
    return p;
}

static void proc_free(mp_proc *p) {
    p->next = spare;
    spare = p;
}

/* --- the list of children ------------------------------------------------ */

static void list_add(mp_proc *p) {
    p->next = children;
    p->link = &children;
    if (children != NULL)
        children->link = &p->next;
    children = p;
}

static void list_remove(mp_proc *p) {
    *p->link = p->next;
    if (p->next != NULL)
        p->next->link = p->link;
}

/* In a fresh process: the parent's children are not its own. */
static void forget_children(void) {
    children = NULL;
}

/* --- leaving ------------------------------------------------------------- */

/* Tells on stderr that output was lost, and makes the status say so. */
static int output_lost(int rc, int status) {
    char text[160];
    int len = snprintf(text, sizeof text, "luamp: process %d: its last output was lost: %s\n",
                       (int)self_pid, strerror(-rc));
    if (write(STDERR_FILENO, text, (size_t)len) < 0)
        return EXIT_FAILURE; /* nobody can be told */
    return status != 0 ? status : EXIT_FAILURE;
}

void mp_proc_leave(int status, int lost) {
    int rc = mp_output_flush(stdout);
    if (fflush(NULL) != 0 && rc == 0)
        rc = -errno;
    lost = lost != 0 ? lost : rc;
    if (lost != 0 && lost != -EBADF) /* EBADF: it had no such stream from the beginning */
        status = output_lost(lost, status);
    mp_family_leave(status);
    _exit(status);
}

/* The C library's exit was called, by code that does not know us. */
static void at_exit(int status, void *registered_by) {
    if (getpid() != (pid_t)(intptr_t)registered_by)
        return; /* a foreign fork's exit, or the parent's registration in a child */
    fflush(NULL);
    if (is_child) {
        mp_proc_end(1);
        mp_proc_leave(status, 0);
    }
    int interrupted = mp_proc_end(status != 0);
    if (interrupted == 0 && status != 0)
        interrupted = interrupted_by;
    if (interrupted != 0)
        _exit(128 + interrupted);
}

static void guard_exit(void) {
    on_exit(at_exit, (void *)(intptr_t)self_pid);
}

/* Its forks are ours, and tell nobody. */
static int open_keeper(void) {
    forking = 1;
    int rc = mp_keeper_open();
    forking = 0;
    return rc;
}

/* Other code of a child's forks: it may be about to run a program. */
static void before_any_fork(void) {
    if (is_child && !forking)
        open_keeper();
}

static void after_any_fork(void) {
    if (forking)
        return;
    self_pid = getpid();
    is_child = 0;
    forget_children();
    mp_family_forget();
}

void mp_proc_open(void) {
    if (self_pid != 0)
        return;
    self_pid = getpid();
    mp_sys_fill_std();
    pthread_atfork(before_any_fork, NULL, after_any_fork);
    guard_exit();
}

void mp_proc_interrupted(int signo) {
    interrupted_by = signo;
}

/* --- birth --------------------------------------------------------------- */

/* What a birth holds until it has succeeded or failed. */
typedef struct birth {
    const mp_proc_spec *spec;
    mp_proc *proc;
    uint32_t member;
    int report[2]; /* the child's word about its options; only when it has some */
} birth;

static void close_report(int *end) {
    if (*end >= 0)
        close(*end);
    *end = -1;
}

/*
** Bytes that could not be flushed before the fork are the parent's to write;
** what it has read ahead belongs to a stdin that the child may not have.
*/
static void drop_buffers(const mp_proc_spec *spec) {
    if (spec->setup.streams[0] >= 0)
        __fpurge(stdin);
    if (__fpending(stdout) > 0)
        __fpurge(stdout);
    if (__fpending(stderr) > 0)
        __fpurge(stderr);
}

/* Tells the creator whether the options could be applied; leaves if not. */
static void report_set_up(birth *b) {
    if (mp_setup_report(&b->spec->setup, b->report[1]) != 0)
        _exit(EXIT_FAILURE);
    close_report(&b->report[0]);
    close_report(&b->report[1]);
}

/* A child's end comes with its creator's, or has nothing to do with it. */
static void tie(const mp_proc_spec *spec, pid_t creator) {
    if (spec->detached)
        setsid();
    else if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != creator)
        _exit(EXIT_FAILURE); /* the creator is gone already */
}

/*
** What this process runs from now on carries its tag. The environment is not
** changed in place, nor by setenv, which would copy it on the heap: the list
** with one entry more lies on a stack that is not left.
*/
_Noreturn static void live(birth *b, int (*body)(void *), void *arg) {
    char tag[MP_TAG_SIZE];
    mp_family_tag(b->member, tag);
    /* cppcheck-suppress allocaCalled ; no larger than exec allows, in a frame that is not left */
    char **list = alloca(mp_exec_env_size(environ) + sizeof *list);
    list[0] = tag;
    mp_exec_copy_env(list + 1, environ, tag);
    environ = list;
    mp_proc_leave(body(arg), 0);
}

_Noreturn static void child(birth *b, int (*body)(void *), void *arg) {
    pid_t creator = self_pid;
    self_pid = getpid();
    is_child = 1;
    forget_children();
    mp_heap_fork();
    tie(b->spec, creator);
    mp_family_enter(b->member);
    drop_buffers(b->spec);
    if (b->report[1] >= 0)
        report_set_up(b);
    mp_sys_interrupts_child();
    guard_exit();
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    live(b, body, arg);
}

/* Makes sure of a descriptor before there is a child that would need it. */
static int ensure_fd(void) {
    for (;;) {
        int fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 10);
        if (fd >= 0)
            return close(fd);
        if (errno == EINVAL) /* the limit is below 10 */
            errno = EMFILE;
        if (errno != EMFILE || mp_sys_raise_file_limit() != 0)
            return -errno;
    }
}

static pid_t fork_child(birth *b, int (*body)(void *), void *arg) {
    sigset_t all, before;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, &before);
    forking = 1;
    pid_t pid = fork();
    forking = 0;
    if (pid == 0)
        child(b, body, arg);
    int failure = errno;
    sigprocmask(SIG_SETMASK, &before, NULL);
    return pid > 0 ? pid : -failure;
}

static void adopt(pid_t pid, uint32_t member, const mp_proc_spec *spec, mp_proc *p) {
    *p = (mp_proc){.is_program = p->is_program,
                   .pid = pid,
                   .pidfd = (int)syscall(SYS_pidfd_open, pid, 0),
                   .member = member,
                   .detached = spec->detached,
                   .daemon = spec->daemon};
    p->pidfd = mp_sys_high_fd(p->pidfd);
    list_add(p);
}

/* A start that failed after the fork: the child is not to be seen again. */
static void undo(mp_proc *p) {
    kill(p->pid, SIGKILL);
    while (waitpid(p->pid, NULL, 0) < 0 && errno == EINTR)
        continue;
    p->ended = 1;
    if (p->pidfd >= 0)
        close(p->pidfd);
    list_remove(p);
    mp_family_free(p->member);
    proc_free(p);
}

static void settle(mp_proc *p, const siginfo_t *info);

/* A time limit is the keeper's to enforce; under other limits none could be made. */
static int needs_keeper(const mp_proc_spec *spec) {
    const mp_limits *l = &spec->setup.limits;
    return spec->timeout > 0 || l->memory >= 0 || l->cpu >= 0 || l->files >= 0 || l->processes >= 0;
}

/* What any birth needs. */
static int birth_open(birth *b) {
    b->proc = proc_new();
    if (b->proc == NULL)
        return -ENOMEM;
    int rc = mp_family_open();
    if (rc == 0)
        rc = ensure_fd();
    if (rc == 0)
        rc = mp_family_birth(&b->member, b->spec->detached);
    if (rc == 0 && b->spec->timeout > 0)
        mp_family_limit(b->member, mp_sys_now() + b->spec->timeout);
    return rc;
}

/* A forked child tells about its options by a pipe. */
static int birth_open_report(birth *b) {
    if (mp_setup_is_empty(&b->spec->setup))
        return 0;
    if (pipe2(b->report, O_CLOEXEC) != 0)
        return -errno;
    b->report[1] = mp_sys_high_fd(b->report[1]); /* a dup2 onto a stream must not hit it */
    return b->report[1] < 0 ? b->report[1] : 0;
}

static int keep_watch(const char **step) {
    int rc = open_keeper();
    *step = rc < 0 ? "keeper" : "fork";
    return rc;
}

static void birth_fail(birth *b) {
    close_report(&b->report[0]);
    close_report(&b->report[1]);
    if (b->member != MP_NOBODY)
        mp_family_free(b->member);
    if (b->proc != NULL)
        proc_free(b->proc);
}

/* After the fork: holds the child by a pidfd and hears its word. */
static int birth_finish(birth *b, pid_t pid, const char **step) {
    adopt(pid, b->member, b->spec, b->proc);
    if (b->spec->timeout > 0 && b->spec->timeout <= 2 * MP_LOOK)
        mp_keeper_ring(); /* it might look too late */
    close_report(&b->report[1]);
    int rc = b->proc->pidfd < 0 ? b->proc->pidfd : 0;
    if (rc == -ESRCH) { /* SIGCHLD is ignored: it has ended, and is gone already */
        settle(b->proc, NULL);
        rc = 0;
    }
    if (rc == 0 && b->report[0] >= 0)
        rc = mp_setup_hear(b->report[0], step);
    close_report(&b->report[0]);
    if (rc < 0)
        undo(b->proc);
    return rc;
}

/* The end of a start: rc is the child's pid, or what failed. */
static int birth_end(birth *b, int rc, mp_proc **child_out, const char **step) {
    if (rc < 0) {
        birth_fail(b);
        return rc;
    }
    rc = birth_finish(b, rc, step);
    if (rc == 0)
        *child_out = b->proc;
    return rc;
}

int mp_proc_fork(const mp_proc_spec *spec, int (*body)(void *), void *arg, mp_proc **child_out,
                 const char **step) {
    birth b = {.spec = spec, .member = MP_NOBODY, .report = {-1, -1}};
    *step = "fork";
    int rc = needs_keeper(spec) ? keep_watch(step) : 0;
    if (rc == 0)
        rc = birth_open_report(&b);
    if (rc == 0)
        rc = birth_open(&b);
    if (rc == 0) {
        mp_output_flush(stdout);
        fflush(NULL);
        rc = fork_child(&b, body, arg);
    }
    return birth_end(&b, rc, child_out, step);
}

/* Puts the child's tag first, or leaves it out: a detached program is nobody's. */
static char **tag_program(const birth *b, char **env, char *tag) {
    mp_family_tag(b->member, tag);
    env[0] = tag;
    mp_exec_copy_env(env + 1, env + 1, tag);
    return b->spec->detached ? env + 1 : env;
}

int mp_proc_exec(const mp_proc_spec *spec, const mp_program *program, mp_proc **child_out,
                 const char **step) {
    char tag[MP_TAG_SIZE];
    birth b = {.spec = spec, .member = MP_NOBODY, .report = {-1, -1}};
    int rc = keep_watch(step);
    if (rc == 0)
        rc = birth_open(&b);
    if (rc == 0) {
        mp_program tagged = *program;
        tagged.env = tag_program(&b, program->env, tag);
        mp_output_flush(stdout);
        fflush(NULL);
        rc = mp_exec_run(&spec->setup, spec->detached, &tagged, step);
    }
    if (rc > 0) {
        mp_family_program(b.member, rc);
        b.proc->is_program = 1;
    }
    return birth_end(&b, rc, child_out, step);
}

/* --- the end of a child -------------------------------------------------- */

/* Takes in how the child ended; its pidfd is not needed any more. */
static void settle(mp_proc *p, const siginfo_t *info) {
    if (info == NULL) {
        int status = mp_family_status(p->member);
        p->stolen = status < 0;
        p->exitcode = status < 0 ? -SIGKILL : status;
    } else {
        p->exitcode = info->si_code == CLD_EXITED ? info->si_status : -info->si_status;
    }
    p->ended = 1;
    if (p->pidfd >= 0)
        close(p->pidfd);
    p->pidfd = -1;
    list_remove(p);
}

/*
** ECHILD means that other code waited for any child and took the status, or
** that SIGCHLD is ignored: then the pidfd says whether there was an end.
*/
static int end_of_stolen(const mp_proc *p) {
    struct pollfd ended = {.fd = p->pidfd, .events = POLLIN};
    return poll(&ended, 1, 0) == 1;
}

static mp_time cpu_time_of(const struct rusage *used) {
    return (used->ru_utime.tv_sec + used->ru_stime.tv_sec) * MP_SECOND +
           (used->ru_utime.tv_usec + used->ru_stime.tv_usec) * 1000;
}

int mp_proc_ended(mp_proc *p) {
    if (p->ended)
        return 1;
    siginfo_t info = {.si_pid = 0};
    int keep = p->is_program ? WNOWAIT : 0; /* the family is told before the pid is free */
    struct rusage used;                     /* glibc's waitid does not tell it */
    long rc = syscall(SYS_waitid, P_PIDFD, p->pidfd, &info, WEXITED | WNOHANG | keep, &used);
    if (rc == 0 && info.si_pid == 0)
        return 0;
    if (rc != 0 && !end_of_stolen(p))
        return 0;
    if (rc == 0)
        p->cpu_time = cpu_time_of(&used);
    if (p->is_program) {
        mp_family_ended(p->member);
        waitid(P_PIDFD, (id_t)p->pidfd, &info, WEXITED | WNOHANG);
    }
    settle(p, rc == 0 ? &info : NULL);
    return 1;
}

int mp_proc_wait(mp_proc *p, mp_time deadline) {
    if (p->ended)
        return 1;
    struct pollfd ended = {.fd = p->pidfd, .events = POLLIN};
    int rc = mp_sys_poll(&ended, 1, deadline);
    return rc > 0 ? mp_proc_ended(p) : rc;
}

int mp_proc_signal(mp_proc *p, int signo) {
    if (p->ended)
        return -ESRCH;
    return syscall(SYS_pidfd_send_signal, p->pidfd, signo, NULL, 0) == 0 ? 0 : -errno;
}

mp_time mp_proc_cpu_time(const mp_proc *p) {
    return p->cpu_time;
}

int mp_proc_overran(const mp_proc *p) {
    return mp_family_overran(p->member);
}

int mp_proc_runs_program(void) {
    return is_child ? open_keeper() : 0;
}

void mp_proc_close(mp_proc *p) {
    if (!p->ended)
        mp_panic("a child that runs is dropped");
    mp_family_free(p->member);
    proc_free(p);
}

/* --- the end of a process that has children ------------------------------ */

static void signal_children(int signo, int daemons_only) {
    for (mp_proc *p = children; p != NULL; p = p->next)
        if (!p->detached && (p->daemon || !daemons_only))
            mp_proc_signal(p, signo);
}

/* Waits for one child; when it was told to stop, no longer than until `deadline`. */
static int wait_or_kill(mp_proc *p, int stopping, mp_time deadline) {
    int rc = mp_proc_wait(p, stopping ? deadline : MP_FOREVER);
    if (rc == 0) {
        mp_proc_signal(p, SIGKILL);
        rc = mp_proc_wait(p, MP_FOREVER);
    }
    return rc;
}

/* On stderr, as for an interruption that ended the script itself. */
static void tell_interruption(int signo) {
    char name[16], text[64];
    int len = signo == SIGINT ? snprintf(text, sizeof text, "luamp: interrupted\n")
                              : snprintf(text, sizeof text, "luamp: interrupted by %s\n",
                                         mp_sys_signal_name(signo, name));
    mp_output_write(stderr, text, (size_t)len);
}

/* Children that are waited for are told to stop by it. One that comes while they are being
 * stopped kills them: it may be a child's that would keep its parent so. */
static void interrupt_end(int signo, int stopping) {
    if (!stopping)
        tell_interruption(signo);
    signal_children(stopping ? SIGKILL : SIGTERM, 0);
}

int mp_proc_end(int failed) {
    int interrupted = 0;
    if (children == NULL)
        return 0;
    if (!is_child)
        mp_sys_interrupts_reopen();
    mp_time deadline = mp_sys_now() + (failed ? GRACE_AFTER_FAILURE : GRACE_AT_END);
    signal_children(SIGTERM, !failed);
    for (mp_proc *p = children, *next; p != NULL; p = next) {
        next = p->next;
        if (p->detached)
            continue;
        int rc = wait_or_kill(p, failed || p->daemon, deadline);
        if (rc == -EINTR && mp_sys_interrupt_pending() != 0) {
            interrupted = mp_sys_interrupt_take();
            interrupt_end(interrupted, failed);
            failed = 1;
            deadline = mp_sys_now() + GRACE_AFTER_FAILURE;
        }
        if (rc <= 0)
            next = p; /* not yet: look at it again */
    }
    return interrupted;
}
