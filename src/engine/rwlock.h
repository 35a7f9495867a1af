/*
** rwlock.h: many readers, or one writer.
**
** It has two sides, which are objects of their own: who holds one may send it alone. The state
** lies in the write side, which the read side holds. What a process has and waits for is in its
** hold on that side, so its death gives that back: a writer's death is told, to the next who gets
** in on either side; a reader's is not. Who was told and dies with its share has told nobody: the
** next is told again.
**
** Who cannot get in waits in line (line.h), with a number that counts both sides. A reader gets
** in when nobody writes and no writer came before it; a writer when nobody writes or reads and
** nobody came before it. So nobody starves, on either side, and readers go in together.
**
** A process may read more than once at a time, which never waits, not even for a writer in line,
** for that one waits for it; and may read while it writes, also beyond the end of that. It may
** not write while it reads: it could only wait for itself.
**
** Promise: a process killed at any instruction leaves the lock whole; what it had or waited for
** is given back as soon as anybody looks, which who waits does 20 times a second.
**
** All words change as change.h says. Steps that are not one change:
**   acquire  A1 in line          waits: is taken out by the sweep, after which others may go
**            A2 has its share    holds: given back by the sweep
**   release  R1 given back       nobody was woken: who waits looks, at most 50 ms later
*/
#ifndef MP_ENGINE_RWLOCK_H
#define MP_ENGINE_RWLOCK_H

#include "engine/arena.h"
#include "engine/name.h"

enum { MP_RWLOCK_READ, MP_RWLOCK_WRITE, MP_RWLOCK_SIDES };

/* Makes one, whose sides the calling process holds. 0, or as mp_arena_alloc. */
int mp_rwlock_make(mp_ref sides[MP_RWLOCK_SIDES], mp_ref holds[MP_RWLOCK_SIDES]);

/*
** Gets a share of that side, whose hold is the process's. 0; 1: a writer has died before;
** -ETIMEDOUT; -EINTR; -EALREADY: it writes; -EBUSY: it reads, and cannot write; -EDEADLK.
*/
int mp_rwlock_acquire(mp_ref side, mp_ref hold, mp_time deadline);

/*
** Gives it back. 0, or -EPERM: the process has none. To leave it is the same, but the next one is
** told again that a writer has died.
*/
int mp_rwlock_release(mp_ref side, mp_ref hold);
int mp_rwlock_leave(mp_ref side, mp_ref hold);

/*
** For waits elsewhere, between tries without a wait: takes its place in line, and gives it up
** unless it has got in.
*/
void mp_rwlock_stand(mp_ref side, mp_ref hold);
void mp_rwlock_give_up(mp_ref side, mp_ref hold);

/* Shares of that side that processes have. */
uint64_t mp_rwlock_shares(mp_ref side);
/* How many wait for it. */
uint64_t mp_rwlock_waiting(mp_ref side);
/* Who writes, or 0. */
mp_name mp_rwlock_writer(mp_ref side);

/* Whether the hold's process would get in now. */
int mp_rwlock_is_ready(const void *hold);

#endif
