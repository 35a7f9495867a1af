/*
** barrier.h: processes that go on together.
**
** So many wait, and go on when the last of them has come. Rounds are numbered. Who comes notes
** the round in its hold with the same change that counts it, so a process is in the round or not,
** whenever it dies; and the last one moves the round on, by which the others see that they may go.
** They leave without another step, so a fast one may come to the next round before they do.
**
** A round breaks: by the death of one that is in it, by a time limit, by whoever says so; but not
** when it is over: all of a round are let go, or none. Then who is in it leaves, counted; and it
** is broken until it is made whole again. That waits until all
** have left (DRAINING): the round moves on only then, so no slow one takes it for a success.
**
**   state     arrived                  who comes
**   FILLING   those who wait           waits with them; the last one moves on, or acts first
**   ACTING    all                      waits until the round is over
**   BROKEN    those who have not left  does not wait
**   DRAINING  the same, at least one   waits until they have left
**
** Promise: a process killed at any instruction leaves the barrier whole or broken, and nobody
** waits for it for longer than until somebody looks, which who waits does 20 times a second.
**
** All words change as change.h says. Steps that are not one change:
**   wait   W1 has come               is in the round: its death breaks it
**          W2 the round moved on     nobody was woken: who waits looks, at most 50 ms later
**          W3 woke up, not noted     in a round that is over: nothing
**   act    A1 the action is to begin  breaks the round
**   break  B1 broken                 nobody was woken, the same
*/
#ifndef MP_ENGINE_BARRIER_H
#define MP_ENGINE_BARRIER_H

#include "engine/arena.h"
#include "engine/queue.h"

enum { MP_BARRIER_WAIT = MP_AWAIT + 1 }; /* what is waited for there; mp.wait does not */

/*
** Makes one for so many, with an action (NULL: none) and the seconds that a wait may take unless it
** says so (less than 0: any). 0, or as mp_arena_alloc.
*/
int mp_barrier_make(uint32_t parties, const mp_record *action, double seconds, mp_ref *barrier,
                    mp_ref *hold);

/* As it was made; the action's bytes, or NULL. */
uint32_t mp_barrier_parties(mp_ref barrier);
double mp_barrier_seconds(mp_ref barrier);
const char *mp_barrier_action(mp_ref barrier, size_t *len);

/*
** Comes, if its process is not there yet, and waits until the round is over. Returns the place in
** which it came, from 1 on; with *acts, this process is to do the action now, and then to say so.
** -EPIPE: it is broken, and this process has left; -ETIMEDOUT and -EINTR: it waits still, and
** comes back or leaves; -EALREADY: it is to do the action; -EDEADLK.
*/
int mp_barrier_wait(mp_ref barrier, mp_ref hold, int *acts, mp_time deadline);

/* The action is done. The place, or -EPIPE: the round was broken meanwhile. */
int mp_barrier_acted(mp_ref barrier, mp_ref hold);

/* Breaks it. */
void mp_barrier_abort(mp_ref barrier);

/*
** The hold's process waits no longer, which breaks the round that it is in, or the barrier if it
** has not come yet: -EPIPE. But its place when that round is over: all were let go, and the next
** round is not its own to break; nor is one that begins when a broken one, which it leaves, is made
** whole.
*/
int mp_barrier_break(mp_ref barrier, mp_ref hold);

/* Breaks the round, if somebody is in it, and makes the barrier whole. */
void mp_barrier_reset(mp_ref barrier);

/* Whether the hold's process waits there; how many do; whether it is broken. */
int mp_barrier_waits(mp_ref hold);
uint64_t mp_barrier_waiting(mp_ref barrier);
int mp_barrier_is_broken(mp_ref barrier);

#endif
