/*
** semaphore.h: units that processes take and give back.
**
** A unit belongs to the process that acquired it until that process releases one: its hold on the
** semaphore counts them (mp_hold.units). Those of a process that has ended, or has dropped its
** handle, come back. A release by a process that has none adds one, which a bounded semaphore
** refuses beyond what it began with.
**
** Promise: a process killed at any instruction leaves each unit either free or in a hold, and never
** in both or in neither.
**
** The value and the count in a hold are changed together, under a lock (lock.h) that is held for
** these stores alone, in steps that its next owner does over (`doing`):
**
**   change S1 both worked out        nothing has happened
**          S2 their change begins    is done now
**          S3 both stored            done
**          S4 lock released          done; nobody was woken: who waits looks itself, at most 50 ms
**                                    later
*/
#ifndef MP_ENGINE_SEMAPHORE_H
#define MP_ENGINE_SEMAPHORE_H

#include "engine/arena.h"

#define MP_SEMAPHORE_MAX INT64_MAX

/*
** Makes one with that many units, up to MP_SEMAPHORE_MAX, which the calling process holds by *hold.
** 0, or as mp_arena_alloc.
*/
int mp_semaphore_make(int is_bounded, uint64_t value, mp_ref *semaphore, mp_ref *hold);

/*
** Takes a unit, by the process's hold, until the deadline. 0; -ETIMEDOUT; -EINTR: there is a signal
** to be served; -EDEADLK: nobody of the family can go on (see mp_deadlock_wait).
*/
int mp_semaphore_acquire(mp_ref semaphore, mp_ref hold, mp_time deadline);

/* Gives n units back, or adds those that the process does not have. 0; -EOVERFLOW: too many. */
int mp_semaphore_release(mp_ref semaphore, mp_ref hold, uint64_t n);

/* How many are free; whether it is bounded, and how many it began with. */
uint64_t mp_semaphore_value(mp_ref semaphore);
int mp_semaphore_is_bounded(mp_ref semaphore);
uint64_t mp_semaphore_bound(mp_ref semaphore);

#endif
