/*
** deadlock.h: when nobody of the family can go on.
**
** Who waits for something shared, or for a process, without a time limit, says so in its
** record once it has waited for a while. A main process that waits looks whether all do:
** whether each living process waits, for what is not there. Then nobody is left who could
** bring it.
**
** Each looks for itself whether what it waits for is there, at most 200 ms after its last
** look; nobody looks at another's. So the main process sends out a wave: a number. Who
** has read it, then looked, in vain, and still waits, writes it into its record.
**
** Promise: no false alarm, however slowly any of them runs. It is none when
**   - all waited when the wave was sent, or had ended to the last, and nothing that a dead
**     process left was still to be given back, which might be what somebody waits for;
**   - each has looked since then, and nobody went on, not even for a moment: wait_epoch
**     moves on with each beginning and end of a wait, and when somebody gives back what a
**     process left that has died meanwhile;
**   - there is nobody else who could do something: no program runs, no process is being
**     born, is detached, has a time limit or handles signals, and none waits with a limit.
** Who waits for several things waits if none is a file's descriptor. Other waits (for a file, for
** time, of a process at its end for its children) are none here, so such a deadlock is not told.
*/
#ifndef MP_ENGINE_DEADLOCK_H
#define MP_ENGINE_DEADLOCK_H

#include <stdint.h>

#include "engine/arena.h"
#include "engine/gate.h"

/* What is waited for: a verb of an object of the arena (MP_AWAIT), the end of the process with a
 * record, several things, a task of a board, or the end of an update of a dict. */
enum {
    MP_WAITS_OBJECT = 1,
    MP_WAITS_PROCESS = 8,
    MP_WAITS_SEVERAL = 16,
    MP_WAITS_TASK = 32,
    MP_WAITS_UPDATE = 64
};

/* Creator: the child has ended, perhaps before it had a life word that tells so; it was swept. */
void mp_deadlock_reaped(uint32_t child);

/* This process waits; in its wait it has perhaps changed something for others; it waits no more. */
void mp_deadlock_enter(uint32_t verb, uint64_t object);
void mp_deadlock_change(void);
void mp_deadlock_acts(void); /* it has, if it waits */
void mp_deadlock_leave(void);

/* A wait at a gate (gate.h) for what is asked of an object. */
typedef struct mp_await {
    mp_gate *mine;
    const mp_gate *theirs;
    int (*is_ready)(const void *);
    const void *arg;
    int what; /* as MP_AWAIT */
    mp_ref object;
} mp_await;

/*
** Waits so until it is ready, or the deadline. 0; -ETIMEDOUT; -EINTR: there is a signal to be
** served; -EDEADLK: nobody can go on, and this process waits still, until that is reported.
*/
int mp_deadlock_wait(const mp_await *a, mp_time deadline);

/*
** In a wait, after each look that was in vain, none older than the last call: whether there
** is a deadlock. Always 0 but in a main process.
*/
int mp_deadlock_look(void);

/* What the i-th of those that wait waits for: its pid, or 0 when there are no more. */
int32_t mp_deadlock_waiter(uint32_t *i, uint32_t *verb, uint64_t *object);

#endif
