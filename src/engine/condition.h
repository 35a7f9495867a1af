/*
** condition.h: processes that wait until another one tells them, with a lock that they give up
** meanwhile.
**
** Who waits stands in line (line.h), with its name, and then gives up the lock; so whoever gets
** the lock after that finds it there: nothing is lost between the two. To notify is to take the
** first living one out of the line: a hold that `has` a name and does not wait was told. A dead
** one, and one that has given up, is in the line no more, or is passed by.
**
** Who was told and dies before it has gone on, or goes on with an error, has told its program
** nothing: its notification passes to the next in line.
**
** All words change as change.h says. Steps that are not one change, and a death right after:
**   wait    W1 in line             taken out by the sweep, or passed by
**           W2 lock given up       the same
**           W3 told, lock not back  the next in line is told
**   notify  N1 told, not woken      who waits looks, at most 50 ms later
*/
#ifndef MP_ENGINE_CONDITION_H
#define MP_ENGINE_CONDITION_H

#include "engine/arena.h"

enum { MP_CONDITION_WAIT = MP_AWAIT + 1 }; /* what is waited for there; mp.wait does not */

/* Makes one with that lock, which it holds. 0, or as mp_arena_alloc. */
int mp_condition_make(mp_ref lock, mp_ref *condition, mp_ref *hold);
mp_ref mp_condition_lock(mp_ref condition);

/*
** The parts of a wait, in this order: in line, by who has the lock (which is given up then, and
** taken back at last); sleeping until told: 0, -ETIMEDOUT, -EINTR or -EDEADLK; and the end: whether
** it was told, which it `keeps`, or passes on.
*/
void mp_condition_join(mp_ref condition, mp_ref hold);
int mp_condition_sleep(mp_ref condition, mp_ref hold, mp_time deadline);
int mp_condition_leave(mp_ref condition, mp_ref hold, int keeps);

/* Tells so many of those that wait, the first first; how many there were. */
uint64_t mp_condition_notify(mp_ref condition, uint64_t n);

/* Whether the hold's process waits there; how many do. */
int mp_condition_waits(mp_ref hold);
uint64_t mp_condition_waiting(mp_ref condition);

#endif
