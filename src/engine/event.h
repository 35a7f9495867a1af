/*
** event.h: a flag that processes wait for.
**
** One word: whether it is set, and how often it has been. Who waits goes on when it is set or was
** since the wait began, so that none of those that waited misses it, however soon it is cleared.
** Each change is one store.
**
**   set E1 word stored   it is set; nobody was woken: who waits looks itself, at most 50 ms later
*/
#ifndef MP_ENGINE_EVENT_H
#define MP_ENGINE_EVENT_H

#include "engine/arena.h"

/* Makes one that is not set, which the calling process holds. 0, or as mp_arena_alloc. */
int mp_event_make(mp_ref *event, mp_ref *hold);

void mp_event_set(mp_ref event);
void mp_event_clear(mp_ref event);
int mp_event_is_set(mp_ref event);

/*
** What a wait that begins now waits for (as MP_AWAIT): that it is set, or was after this call; and
** the wait for that. 0; -ETIMEDOUT; -EINTR: there is a signal to be served; -EDEADLK: nobody of the
** family can go on (see mp_deadlock_wait).
*/
int mp_event_begin(mp_ref event);
int mp_event_wait(mp_ref event, int what, mp_time deadline);

#endif
