/*
** mutex.h: locks that programs wait for, and hold as long as they like.
**
** The word of a lock is the name of its holder (name.h), or 0. To acquire is one store from 0 to
** the own name, and to release one back. So a holder that is killed at any instruction leaves its
** name there, and whoever waits looks at least every 50 ms whether that is a dead one's, and takes
** the lock over by one store from that name to its own. Nothing has to be mended: there is no step
** between holding and not holding.
**
** Promise: the first who acquires it after its holder has ended while it held it, in any way, is
** told so, and nobody else is. A process that drops its handle while it holds the lock has ended
** for it; then, and when a dead one's holds are swept, the word says ABANDONED until then.
**
**   acquire A1 word: 0 -> own             held; whatever its holder leaves is abandoned
**           A2 depth stored               the same
**   release R1 word: own -> 0, or left    free; nobody was woken: who waits looks itself, at most
**                                         50 ms later
**   abandon B1 word: name -> ABANDONED    the same
**
** Who wakes up finds the lock taken perhaps: it goes to whoever comes first. The holder alone
** writes the depth of a recursive one. All threads and handlers of a process are one holder.
*/
#ifndef MP_ENGINE_MUTEX_H
#define MP_ENGINE_MUTEX_H

#include "engine/arena.h"
#include "engine/name.h"

/* The word of a lock whose holder has ended: no process has that name. */
#define MP_MUTEX_ABANDONED ((mp_name)1 << 32)

/* Makes a lock, which the calling process holds by *hold. 0, or as mp_arena_alloc. */
int mp_mutex_make(int is_recursive, mp_ref *mutex, mp_ref *hold);

/*
** Acquires it until the deadline. 0; 1: and its last holder ended while it held it; -ETIMEDOUT;
** -EINTR: there is a signal to be served; -EALREADY: this process holds it, and it is not
** recursive; -EDEADLK: nobody of the family can go on (see mp_deadlock_wait).
*/
int mp_mutex_acquire(mp_ref mutex, mp_time deadline);

/*
** Releases it, or one acquisition of several. 0; -EPERM: this process does not hold it. To leave it
** is the same, but the next one is told again that it was abandoned.
*/
int mp_mutex_release(mp_ref mutex);
int mp_mutex_leave(mp_ref mutex);

/* Who has it: a living process's name; 0: nobody; or MP_MUTEX_ABANDONED. */
mp_name mp_mutex_holder(mp_ref mutex);

/*
** For a wait in which others may have it: releases it whatever its depth, which is returned
** (-EPERM: this process does not hold it); and acquires it as before, with results as above.
*/
int mp_mutex_give_up(mp_ref mutex);
int mp_mutex_take_back(mp_ref mutex, int depth, mp_time deadline);

/* Whether to acquire it would not wait, for a signal handler too. */
int mp_mutex_is_ready(mp_ref mutex, int what);

#endif
