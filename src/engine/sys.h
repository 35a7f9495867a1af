/*
** sys.h: the kernel made regular.
**
** Time, descriptors, waiting, signals and the words for errors that every
** other room uses. No function here knows of processes of a family.
**
** The one idiom for results: a function that can fail returns 0 or a count,
** or a negative errno. These have one meaning each throughout the engine:
**   -EINTR      a signal arrived; the caller looks what it means
**   -ETIMEDOUT  the deadline passed
**   -ESRCH      the process has ended
**   -EBADMSG    the bytes are not what they should be
*/
#ifndef MP_ENGINE_SYS_H
#define MP_ENGINE_SYS_H

#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

/* What each process has of its own; in the stress in threads (spec/engine), each thread. */
#ifdef MP_THREADS
#define MP_OWN _Thread_local
#else
#define MP_OWN
#endif

/* Absolute points in time, in nanoseconds of CLOCK_MONOTONIC. */
typedef int64_t mp_time;
#define MP_NOWAIT ((mp_time)0)
#define MP_FOREVER ((mp_time)INT64_MAX)
#define MP_SECOND ((mp_time)1000000000)

/* A moment of a loop that waits for another CPU. */
#if defined(__x86_64__)
#define mp_sys_relax() __builtin_ia32_pause()
#else
#define mp_sys_relax() __asm__ volatile("yield")
#endif

/* How often a wait that a death could end looks at who is still alive. */
#define MP_LOOK (MP_SECOND / 20)

mp_time mp_sys_now(void);

/* The deadline `seconds` from now: not a number of seconds below 0, never early. */
mp_time mp_sys_deadline(double seconds);

/*
** Moves a descriptor to 10 or above, close-on-exec, so that it can never be
** taken for a standard stream. Returns the new one, or -errno with fd closed;
** -1, a call that failed, is turned into its -errno.
*/
int mp_sys_high_fd(int fd);

/* Allows more descriptors, as far as the hard limit does: 0, or -EMFILE at that limit. */
int mp_sys_raise_file_limit(void);

/* In a child that is to exec: the limit that the process began with. */
void mp_sys_restore_file_limit(void);

/*
** Fills closed standard streams with /dev/null opened for the wrong
** direction: nothing else can become descriptor 0, 1 or 2, and a write still
** fails with EBADF as it would on a closed one.
*/
void mp_sys_fill_std(void);

/* Writes all pieces, in one system call where the kernel takes them so. */
struct iovec;
int mp_sys_write(int fd, struct iovec *pieces, int n);

/*
** For files: the size, and the bytes from an offset on. 0 or -errno; beyond
** `ulimit -f` that is -EFBIG, and not the signal that kills.
*/
int mp_sys_resize(int fd, size_t size);
int mp_sys_write_at(int fd, int64_t offset, const struct iovec *pieces, int n);

/* Gives a part of a file memory, making it longer if need be. 0; -ENOMEM or -EFBIG. */
int mp_sys_allocate(int fd, int64_t offset, int64_t len);

/*
** Between hold and release, writing to a pipe without a reader gives EPIPE and
** no SIGPIPE, whatever the program has decided for its own streams.
*/
void mp_sys_sigpipe_hold(sigset_t *before);
void mp_sys_sigpipe_release(const sigset_t *before);

/*
** Waits for events on the descriptors (n may be 0). Returns how many have
** some, 0 at the deadline, -EINTR when a signal arrived, or one is pending as
** an interruption or for a handler: what comes between the look and the wait is
** not lost.
*/
int mp_sys_poll(struct pollfd *fds, size_t n, mp_time deadline);

/* Sleeps while *word == value, until the deadline, a wake, or a signal. */
int mp_sys_futex_wait(_Atomic uint32_t *word, uint32_t value, mp_time deadline);
/* Returns how many it woke. */
int mp_sys_futex_wake(_Atomic uint32_t *word, int n);

/* Whether the process has ended as a whole, reaped or not; 0 if no descriptor is left to see by. */
int mp_sys_has_ended(pid_t pid);

/* Fills buf with random bytes of the kernel. */
void mp_sys_random(void *buf, size_t len);

/* The CPUs that this process may run on: their number, or -errno. */
int mp_sys_cpu_count(void);

/* "SIGTERM" or "TERM" to its number, -EINVAL if there is none such. */
int mp_sys_signal_number(const char *name);
/* The number's name ("SIGTERM", "SIGRTMIN+3"), written to buf. */
const char *mp_sys_signal_name(int number, char buf[static 16]);

/* "ENOENT" for -ENOENT. */
const char *mp_sys_error_name(int rc);

/*
** Interruptions: SIGINT, SIGTERM and SIGHUP, which end a family from its main
** process. `wake` runs inside the signal handler with the signal's number and
** may do only what a handler may. A second signal while one is pending kills
** at once. Signals that were ignored when the process began stay ignored.
** Returns without effect when it was called before.
*/
void mp_sys_interrupts_open(void (*wake)(int signo));

/*
** Takes back the signals that a host has given their default action meanwhile
** (stock lua does with SIGINT when a script has ended).
*/
void mp_sys_interrupts_reopen(void);

/* The pending interruption's number, or 0; take also ends its being pending. */
int mp_sys_interrupt_pending(void);
int mp_sys_interrupt_take(void);

/*
** In a forked child of the family: the terminal's SIGINT is only noted, the
** main process decides; SIGTERM and SIGHUP kill, as if there were no handler.
** What the parent handles itself is not the child's to handle.
*/
void mp_sys_interrupts_child(void);

/* Whether the terminal's SIGINT reached this child within the last second. */
int mp_sys_interrupted_lately(void);

/*
** Signals that the program handles itself. One that arrives is noted, `wake`
** (above) is called, and it is pending until it is taken. While it is held,
** which is while its handler runs, it is not pending again.
*/
enum mp_signal_action {
    MP_SIGNAL_RESTORE, /* as it was before the first of these */
    MP_SIGNAL_NOTE,
    MP_SIGNAL_IGNORE
};

/* 0, or -EINVAL for a signal that only the kernel handles. */
int mp_sys_signal_set(int signo, enum mp_signal_action action);

/* Whether the program handles or ignores some. */
int mp_sys_signal_handled(void);

/* Restores all; what was pending is forgotten. */
void mp_sys_signals_restore(void);

/* They do nothing from now on; a handled SIGCHLD is as it was. */
void mp_sys_signals_ignore(void);

/* Whether one is pending; the lowest of these, held from then on, or 0; its release. */
int mp_sys_signal_pending(void);
int mp_sys_signal_take(void);
void mp_sys_signal_release(int signo);

/*
** In a child that is to exec, which may share its parent's memory: signals
** have the default action and none is blocked (or all are, as now); those stay
** ignored that were so before the program decided anything.
*/
void mp_sys_signals_exec(int stay_blocked);

/* A broken invariant: says where, and aborts. */
#define mp_panic(what) mp_sys_panic(what, __FILE__, __LINE__)
_Noreturn void mp_sys_panic(const char *what, const char *file, int line);

/*
** Fault points. In the fault build the process kills itself by SIGKILL at the
** point whose name stands in LUAMP_FAULT ("name", or "name:3" for the third
** time that this process passes it; "name:3=15" sends it signal 15 in place of
** SIGKILL); in the product they are nothing. There
** memory can be short as well, at any allocation of the heap: what is preloaded
** (spec/faults/nomemory.c) says at which. What else can fail asks mp_fault_is_here.
*/
#ifdef MP_FAULTS
void mp_sys_fault(const char *name);
int mp_sys_fault_is_here(const char *name);
int mp_sys_fault_memory(void);
#define mp_fault(name) mp_sys_fault(name)
#define mp_fault_is_here(name) mp_sys_fault_is_here(name)
#define mp_fault_memory() mp_sys_fault_memory()
#else
#define mp_fault(name) ((void)0)
#define mp_fault_is_here(name) 0
#define mp_fault_memory() 0
#endif

#endif
