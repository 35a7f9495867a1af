/*
** proc.h: birth, end and signals of child processes.
**
** Promises:
**   - A forked child runs its body and leaves: nothing of it ever returns into
**     the parent's frames, and no handler of the parent's runs in it.
**   - A child dies with its creator, however that dies, unless it is detached:
**     the kernel sends it SIGKILL (PR_SET_PDEATHSIG), and a creator that died
**     before that was set is noticed by its changed parent. Two limits are the
**     kernel's: it means the death of the thread that forked, and Lua hosts
**     start processes from the one that stays; and it forgets the signal of a
**     child that changes its user or group.
**   - A signal never reaches a stranger: each child is held by a pidfd.
**   - No status is taken from others' children: only the pidfd is waited for,
**     and no handler for SIGCHLD is installed.
*/
#ifndef MP_ENGINE_PROC_H
#define MP_ENGINE_PROC_H

#include <stdint.h>
#include <sys/types.h>

#include "engine/exec.h"
#include "engine/setup.h"
#include "engine/sys.h"

typedef struct mp_proc mp_proc;

/* How a child is to live. */
typedef struct mp_proc_spec {
    int detached;    /* lives on when its creator ends; in a session of its own */
    int daemon;      /* stopped at the creator's normal end, instead of joined */
    mp_time timeout; /* how long it may run; 0: for ever */
    mp_setup setup;
} mp_proc_spec;

/*
** Forks. The child runs body(arg) and leaves with the status that it returns,
** through mp_proc_leave. In the parent returns 0 and the new child in *child,
** or -errno and in *step what failed: "fork" or an option ("cwd", ...).
*/
int mp_proc_fork(const mp_proc_spec *spec, int (*body)(void *), void *arg, mp_proc **child,
                 const char **step);

/* Runs a program (exec.h). Results as above; *step is "command" when it is that. */
int mp_proc_exec(const mp_proc_spec *spec, const mp_program *program, mp_proc **child,
                 const char **step);

/*
** The end of a child in order. `lost` is 0, or the -errno of output that could
** not be written: that is told on stderr, and the status is not 0 then.
*/
_Noreturn void mp_proc_leave(int status, int lost);

/* Whether the calling process is a child of the family. */
int mp_proc_is_child(void);

/* The calling process's id, without a system call. */
pid_t mp_proc_self(void);

pid_t mp_proc_pid(const mp_proc *p);
uint32_t mp_proc_member(const mp_proc *p); /* its record in the family */
int mp_proc_pidfd(const mp_proc *p);       /* -1 once it was reaped */

/* Reaps without waiting: 1 when the child has ended, 0 while it lives. */
int mp_proc_ended(mp_proc *p);

/*
** After the end: the exit status, or -s when signal s killed it. *stolen tells
** that other code took the status and none was recorded: it was killed, by an
** unknown signal, and -SIGKILL stands for that.
*/
int mp_proc_exitcode(const mp_proc *p, int *stolen);

/* Waits for the end: 1, 0 at the deadline, -EINTR. */
int mp_proc_wait(mp_proc *p, mp_time deadline);

/* Sends a signal: 0, or -ESRCH when the child has ended. */
int mp_proc_signal(mp_proc *p, int signo);

/* After the end: the CPU time that it used (its own ended children's included); 0 if unknown. */
mp_time mp_proc_cpu_time(const mp_proc *p);

/* After the end: whether its time limit had been reached, and it was told to end. */
int mp_proc_overran(const mp_proc *p);

/*
** The calling process is about to run a program by other means (os.execute):
** what a child runs is tagged, and ended with it. 0 or -errno.
*/
int mp_proc_runs_program(void);

/* Drops a child that has ended. */
void mp_proc_close(mp_proc *p);

/*
** The end of a process: daemons are stopped and the other children joined, or
** all are stopped when it failed: SIGTERM, then SIGKILL after `grace`.
** Detached ones are left alone. Returns 0, or the number of the interruption
** that turned the joining into stopping.
*/
int mp_proc_end(int failed);

/*
** Guards the C library's exit: in a child it leaves at once (handlers of the
** parent do not run), in the main process it is the end above. Called by
** luaopen; once counts.
*/
void mp_proc_open(void);

/*
** An interruption was raised as an error, or with 0: the program went on after
** it. If the host then exits with a failure, its status is 128 + signo.
*/
void mp_proc_interrupted(int signo);

#endif
