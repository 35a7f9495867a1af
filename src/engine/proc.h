/*
** proc.h: child processes, their signals and their ends. How they begin is
** start.h's.
**
** Promises:
**   - A signal never reaches a stranger: each child is held by a pidfd.
**   - No status is taken from others' children: only the pidfd is waited for,
**     and no handler for SIGCHLD is installed.
*/
#ifndef MP_ENGINE_PROC_H
#define MP_ENGINE_PROC_H

#include <stdint.h>
#include <sys/types.h>

#include "engine/sys.h"

typedef struct mp_proc mp_proc;

/* What a child is to its creator and in the family. */
typedef struct mp_kin {
    uint32_t member; /* its record in the family */
    int detached;    /* lives on when its creator ends */
    int daemon;      /* stopped at the creator's normal end, instead of joined */
    int is_program;  /* runs by exec */
} mp_kin;

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
uint32_t mp_proc_member(const mp_proc *p);
int mp_proc_pidfd(const mp_proc *p); /* -1 once it was reaped */

/* Reaps without waiting: 1 when the child has ended, 0 while it lives. */
int mp_proc_ended(mp_proc *p);

/*
** After the end: the exit status, or -s when signal s killed it. *stolen tells
** that other code took the status and none was recorded: it was killed, by an
** unknown signal, and -SIGKILL stands for that.
*/
int mp_proc_exitcode(const mp_proc *p, int *stolen);

/* mp_sys_poll, by which a process waits: its keeper is kept alive, and its heap breathes. */
int mp_proc_poll(struct pollfd *fds, size_t n, mp_time deadline);

/* Waits for the end: 1, 0 at the deadline, -EINTR. */
int mp_proc_wait(mp_proc *p, mp_time deadline);

/* Whether it has children that it has not seen to end. */
int mp_proc_has_children(void);

/*
** What its programs leave becomes its own, and whether there is any process that is: of programs
** that others run for it (os.execute), and of what those have left.
*/
void mp_proc_adopt_orphans(void);
int mp_proc_has_orphans(void);

/* Sends a signal: 0, or -ESRCH when the child has ended. */
int mp_proc_signal(mp_proc *p, int signo);

/* After the end: the CPU time that it used (its own ended children's included); 0 if unknown. */
mp_time mp_proc_cpu_time(const mp_proc *p);

/* After the end: the most memory that it, or one of its own ended children, had at once, in bytes;
 * of a program also its creator's before that; 0 if unknown. */
uint64_t mp_proc_peak(const mp_proc *p);

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
** Detached ones are left alone. A pending signal that the program handles is
** served by serve(arg), after whose failure (not 0) all are stopped; without
** it such signals are restored first. Returns 0, or the number of the
** interruption that turned the joining into stopping.
*/
int mp_proc_end(int failed, int (*serve)(void *), void *arg);

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

/* --- for start.c --------------------------------------------------------- */

/* Room for a child that is to be, or NULL; free gives it back if there is none. */
mp_proc *mp_proc_new(void);
void mp_proc_free(mp_proc *p);

/* fork(), with the guards of foreign forks silent. */
pid_t mp_proc_clone(void);

/* First in a forked child: the process is a new one, without children. */
void mp_proc_begin(void);

/* Makes sure that the keeper runs: 0 or -errno. */
int mp_proc_watch(void);

/* The room becomes the child `pid`, which a pidfd holds from here on: 0 or -errno. */
int mp_proc_adopt(mp_proc *p, pid_t pid, const mp_kin *kin);

/* A start has failed after the fork: the child ends, and is not to be seen again. */
void mp_proc_undo(mp_proc *p);

#endif
