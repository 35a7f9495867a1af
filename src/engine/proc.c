/*
** proc.c: children and their ends; promises in proc.h.
**
** Each child is held by a pidfd, which is opened before anybody could reap it.
*/
#include "engine/proc.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/deadlock.h"
#include "engine/family.h"
#include "engine/gate.h"
#include "engine/heap.h"
#include "engine/image.h"
#include "engine/keeper.h"
#include "engine/page.h"
#include "engine/output.h"

#define GRACE_AT_END (5 * MP_SECOND) /* of daemons, as for stop() */
#define GRACE_AFTER_FAILURE (MP_SECOND / 2)

struct mp_proc {
    mp_proc *next, **link; /* among the children that have not been reaped */
    pid_t pid;
    int pidfd;
    mp_kin kin;
    int ended;
    int exitcode;
    int stolen;
    mp_time cpu_time; /* that it has used, with its own children's; after the end */
    uint64_t peak;    /* of its memory, in bytes; after the end */
};

static mp_proc *children;
static pid_t self_pid;
static int is_child;
static int forking;        /* tells our fork from a foreign one */
static int wants_keeper;   /* this process has asked for one */
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
    return p->kin.member;
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

mp_proc *mp_proc_new(void) {
    mp_proc *p = spare;
    if (p == NULL)
        return calloc(1, sizeof *p);
    spare = p->next;
    return p;
}

void mp_proc_free(mp_proc *p) {
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

int mp_proc_has_children(void) {
    return children != NULL;
}

void mp_proc_adopt_orphans(void) {
    prctl(PR_SET_CHILD_SUBREAPER, 1);
}

/* A look takes nobody's status away. */
int mp_proc_has_orphans(void) {
    siginfo_t info;
    return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
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
        mp_proc_end(1, NULL, NULL);
        mp_proc_leave(status, 0);
    }
    int interrupted = mp_proc_end(status != 0, NULL, NULL);
    if (interrupted == 0 && status != 0)
        interrupted = interrupted_by;
    if (interrupted != 0)
        _exit(128 + interrupted);
}

static void guard_exit(void) {
    on_exit(at_exit, (void *)(intptr_t)self_pid);
}

pid_t mp_proc_clone(void) {
    forking = 1;
    pid_t pid = fork();
    forking = 0;
    return pid;
}

/* Its forks are ours, and tell nobody. */
int mp_proc_watch(void) {
    forking = 1;
    int rc = mp_keeper_open();
    forking = 0;
    wants_keeper |= rc == 0;
    return rc;
}

/* Once a second of a wait, and at each end, it is seen to that the keeper was not killed. */
static void renew_keeper(void) {
    forking = 1;
    mp_keeper_renew();
    forking = 0;
}

/* Many short waits are a long one. Returns when to look again. */
static mp_time look_after_keeper(void) {
    static mp_time look;
    const mp_time now = mp_sys_now();
    if (now >= look) {
        renew_keeper();
        look = now + MP_SECOND;
    }
    return look;
}

/* Other code of a child's forks: it may be about to run a program. */
static void before_any_fork(void) {
    if (is_child && !forking)
        mp_proc_watch();
}

static void after_any_fork(void) {
    if (forking)
        return;
    self_pid = getpid();
    is_child = 0;
    forget_children();
    mp_image_forget();
    mp_family_forget();
}

static void look_in_wait(void);

void mp_proc_open(void) {
    if (self_pid != 0)
        return;
    self_pid = getpid();
    mp_gate_look = look_in_wait;
    mp_sys_fill_std();
    pthread_atfork(before_any_fork, NULL, after_any_fork);
    guard_exit();
}

void mp_proc_begin(void) {
    self_pid = getpid();
    is_child = 1;
    forget_children();
    mp_image_forget();
    guard_exit();
}

void mp_proc_interrupted(int signo) {
    interrupted_by = signo;
}

/* --- the end of a child -------------------------------------------------- */

/* Takes in how the child ended; its pidfd is not needed any more. */
static void settle(mp_proc *p, const siginfo_t *info) {
    if (info == NULL) {
        int status = mp_family_status(p->kin.member);
        p->stolen = status < 0;
        p->exitcode = status < 0 ? -SIGKILL : status;
    } else {
        p->exitcode = info->si_code == CLD_EXITED ? info->si_status : -info->si_status;
    }
    p->ended = 1;
    mp_page_sweep(p->kin.member);
    mp_deadlock_reaped(p->kin.member);
    if (p->pidfd >= 0)
        close(p->pidfd);
    p->pidfd = -1;
    list_remove(p);
    if (wants_keeper)
        renew_keeper(); /* for what this one has left */
}

int mp_proc_adopt(mp_proc *p, pid_t pid, const mp_kin *kin) {
    *p = (mp_proc){.pid = pid, .pidfd = (int)syscall(SYS_pidfd_open, pid, 0), .kin = *kin};
    p->pidfd = mp_sys_high_fd(p->pidfd);
    list_add(p);
    if (p->pidfd != -ESRCH)
        return p->pidfd < 0 ? p->pidfd : 0;
    settle(p, NULL); /* SIGCHLD is ignored: it has ended, and is gone already */
    return 0;
}

/* One that has ended already is gone, and its pid may be another's. */
void mp_proc_undo(mp_proc *p) {
    if (!p->ended) {
        kill(p->pid, SIGKILL);
        while (waitpid(p->pid, NULL, 0) < 0 && errno == EINTR)
            continue;
        if (p->pidfd >= 0)
            close(p->pidfd);
        list_remove(p);
    }
    mp_family_free(p->kin.member);
    mp_proc_free(p);
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
    int keep = p->kin.is_program ? WNOWAIT : 0; /* the family is told before the pid is free */
    struct rusage used;                         /* glibc's waitid does not tell it */
    long rc = syscall(SYS_waitid, P_PIDFD, p->pidfd, &info, WEXITED | WNOHANG | keep, &used);
    if (rc == 0 && info.si_pid == 0)
        return 0;
    if (rc != 0 && !end_of_stolen(p))
        return 0;
    if (rc == 0) {
        p->cpu_time = cpu_time_of(&used);
        p->peak = (uint64_t)used.ru_maxrss * 1024;
    }
    if (p->kin.is_program) {
        mp_family_ended(p->kin.member);
        waitid(P_PIDFD, (id_t)p->pidfd, &info, WEXITED | WNOHANG);
    }
    settle(p, rc == 0 ? &info : NULL);
    return 1;
}

/* What a wait is good for besides. Returns when to look again. */
static mp_time look_besides(void) {
    const mp_time heap = mp_heap_breathe();
    const mp_time keeper = wants_keeper ? look_after_keeper() : MP_FOREVER;
    return heap < keeper ? heap : keeper;
}

/*
** In a wait for what is shared: programs that have ended are seen to have, for as long as one
** may run there is somebody who could act.
*/
static void look_in_wait(void) {
    for (mp_proc *p = children, *next; p != NULL; p = next) {
        next = p->next;
        if (p->kin.is_program)
            mp_proc_ended(p);
    }
    look_besides();
}

int mp_proc_poll(struct pollfd *fds, size_t n, mp_time deadline) {
    for (;;) {
        const mp_time look = look_besides();
        int rc = mp_sys_poll(fds, n, look < deadline ? look : deadline);
        if (rc != 0 || deadline <= look)
            return rc;
    }
}

/* Under a tracer a child that has ended cannot be reaped before that one has seen its end. */
int mp_proc_wait(mp_proc *p, mp_time deadline) {
    struct pollfd ended = {.fd = p->pidfd, .events = POLLIN};
    for (int rc = 0; !p->ended;) {
        rc = mp_proc_poll(&ended, 1, deadline);
        if (rc <= 0)
            return rc;
        if (!mp_proc_ended(p))
            rc = mp_sys_poll(NULL, 0, mp_sys_now() + MP_SECOND / 1000);
        if (rc < 0 || (!p->ended && mp_sys_now() >= deadline))
            return rc;
    }
    return 1;
}

static int is_stop(int signo) {
    return signo == SIGSTOP || signo == SIGTSTP || signo == SIGTTIN || signo == SIGTTOU;
}

/* A child that is stopped at its birth has no tie to its creator yet, and no time limit. */
static void await_birth(mp_proc *p) {
    mp_time until = mp_sys_now() + MP_SECOND;
    while (!mp_family_has_entered(p->kin.member) && !mp_proc_ended(p) && mp_sys_now() < until)
        mp_sys_poll(NULL, 0, mp_sys_now() + MP_SECOND / 10000);
}

int mp_proc_signal(mp_proc *p, int signo) {
    if (!p->ended && is_stop(signo))
        await_birth(p);
    if (p->ended)
        return -ESRCH;
    return syscall(SYS_pidfd_send_signal, p->pidfd, signo, NULL, 0) == 0 ? 0 : -errno;
}

mp_time mp_proc_cpu_time(const mp_proc *p) {
    return p->cpu_time;
}

uint64_t mp_proc_peak(const mp_proc *p) {
    return p->peak;
}

int mp_proc_overran(const mp_proc *p) {
    return mp_family_overran(p->kin.member);
}

int mp_proc_runs_program(void) {
    return is_child ? mp_proc_watch() : 0;
}

void mp_proc_close(mp_proc *p) {
    if (!p->ended)
        mp_panic("a child that runs is dropped");
    mp_family_free(p->kin.member);
    mp_proc_free(p);
}

/* --- the end of a process that has children ------------------------------ */

static void signal_children(int signo, int daemons_only) {
    for (mp_proc *p = children; p != NULL; p = p->next)
        if (!p->kin.detached && (p->kin.daemon || !daemons_only))
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

/* How the end of a process goes. */
typedef struct ending {
    int stopping; /* the children are told to stop, and no longer just waited for */
    mp_time deadline;
    int interrupted; /* by this signal, or 0 */
    int (*serve)(void *);
    void *arg;
} ending;

static void stop_children(ending *e, int signo) {
    signal_children(signo, 0);
    e->stopping = 1;
    e->deadline = mp_sys_now() + GRACE_AFTER_FAILURE;
}

/*
** Children that are waited for are told to stop by an interruption. One that
** comes while they are being stopped kills them: it may be a child's that would
** keep its parent so. After a handler that failed no other is called.
*/
static void answer_signal(ending *e) {
    if (mp_sys_interrupt_pending() != 0) {
        e->interrupted = mp_sys_interrupt_take();
        if (!e->stopping)
            tell_interruption(e->interrupted);
        stop_children(e, e->stopping ? SIGKILL : SIGTERM);
    } else if (mp_sys_signal_pending() && e->serve(e->arg) != 0) {
        mp_sys_signals_ignore();
        stop_children(e, SIGTERM);
    }
}

static int end_children(int failed, int (*serve)(void *), void *arg) {
    ending e = {.stopping = failed, .serve = serve, .arg = arg};
    if (children == NULL)
        return 0;
    if (serve == NULL)
        mp_sys_signals_restore();
    if (!is_child)
        mp_sys_interrupts_reopen();
    e.deadline = mp_sys_now() + (failed ? GRACE_AFTER_FAILURE : GRACE_AT_END);
    signal_children(SIGTERM, !failed);
    for (mp_proc *p = children; p != NULL;) {
        mp_proc *next = p->next;
        int rc = p->kin.detached ? 1 : wait_or_kill(p, e.stopping || p->kin.daemon, e.deadline);
        if (rc == -EINTR)
            answer_signal(&e);
        p = rc > 0 ? next : children; /* a handler may have changed the list */
    }
    return e.interrupted;
}

int mp_proc_end(int failed, int (*serve)(void *), void *arg) {
    int interrupted = end_children(failed, serve, arg);
    mp_image_close();
    return interrupted;
}
