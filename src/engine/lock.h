/*
** lock.h: locks in shared memory that outlive whoever held them.
**
** A robust mutex (measured: 20,000 kills, none stuck) that also says whose it was,
** so that the next one can finish or undo what a dead holder left half done. It
** guards a few stores. What a program waits for are other words, with a deadline;
** here one waits for a living holder only, and not longer than that takes, or than
** a stopped one may keep it.
*/
#ifndef MP_ENGINE_LOCK_H
#define MP_ENGINE_LOCK_H

#include <pthread.h>
#include <stdint.h>

#include "engine/sys.h"

typedef struct mp_lock {
    pthread_mutex_t mutex;
    uint32_t holder; /* of who has it, the record; or of nobody, while there is nothing to mend */
} mp_lock;

/* A robust mutex for processes. */
void mp_lock_init_mutex(pthread_mutex_t *mutex);

void mp_lock_init(mp_lock *lock);

/*
** Takes it for the process with the record `self`. Returns 0; or 1 when the last
** holder died with it: *dead is its record (UINT32_MAX: it had done nothing yet), and the
** caller, after repair, calls mp_lock_mended. -ETIMEDOUT at the deadline, -EINTR when a
** signal is to be served, which is looked for 20 times a second; never with MP_FOREVER and
** without `may_end`.
*/
int mp_lock_take(mp_lock *lock, uint32_t self, mp_time deadline, int may_end, uint32_t *dead);
void mp_lock_mended(mp_lock *lock, uint32_t self);
void mp_lock_give(mp_lock *lock);

#endif
