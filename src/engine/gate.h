/*
** gate.h: where processes wait for each other.
**
** A gate is a word in shared memory at which those sleep who wait for one kind of
** change, and which those open who have made it. To wake costs a system call only
** when somebody sleeps; to wait costs none when what one waits for comes at once from
** another CPU, for then one looks again for a while before one sleeps. Which CPU the
** other side ran on last is written at its gate: measured on two CPUs, a round trip
** takes 0.09 us so and 51 us by sleeping at once; on one CPU it takes 5 us by sleeping
** at once and 208 us by looking again first.
**
** Promise: nobody waits for long whom somebody else's death has cheated of a wake-up.
** Each sleep ends after 50 ms, and the waiter looks itself.
**
** The words pair like this: a waiter announces itself (G1), then looks whether what it
** waits for is there, then sleeps on `seq` as it was before. A waker makes its change, then
** looks whether anybody was announced since a wake-up found nobody (G2). Both have a full
** barrier between: one of them sees the other. When wakers meet, `cleared` may be less than
** it could be, which costs a futile wake-up; it is never more.
*/
#ifndef MP_ENGINE_GATE_H
#define MP_ENGINE_GATE_H

#include <stdatomic.h>
#include <stdint.h>

#include "engine/sys.h"

typedef struct mp_gate {
    _Atomic uint32_t seq;       /* moves on with each wake-up */
    _Atomic uint32_t announced; /* waiters so far */
    _Atomic uint32_t cleared;   /* those of them of which none sleeps any more */
    _Atomic int32_t cpu;        /* where who came here last ran */
} mp_gate;

/*
** Waits until is_ready(arg) says so. `theirs` is the gate of those who make it so, or
** NULL. Returns 0; -ETIMEDOUT at the deadline, or, so that the caller may look after
** what else can have happened, when it slept a whole look (50 ms); -EINTR when there
** is a signal to be served.
*/
int mp_gate_wait(mp_gate *mine, const mp_gate *theirs, int (*is_ready)(const void *),
                 const void *arg, mp_time deadline);

/*
** The two halves of that: looking again for a while, if there is hope, whether it is so; and
** sleeping until it is, with the same results.
*/
int mp_gate_look_again(const mp_gate *theirs, int (*is_ready)(const void *), const void *arg);
int mp_gate_sleep(mp_gate *mine, int (*is_ready)(const void *), const void *arg, mp_time deadline);

/* What besides is to be looked after in a long wait, once a look; or NULL. */
extern void (*mp_gate_look)(void);

/* Says where the caller runs: who waits at it for others passes by with each of its calls. */
void mp_gate_pass(mp_gate *mine);

/* Whether somebody may sleep there, for who has made a change. */
int mp_gate_has_sleepers(const mp_gate *gate);

/* After a change: wakes up to n of those who sleep there. */
void mp_gate_open(mp_gate *gate, int n);

#endif
