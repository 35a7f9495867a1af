/*
** change.h: several words of shared memory that change as one.
**
** They are guarded by one lock. What is to be stored is noted first, then said to be valid, then
** stored; who takes the lock after a death stores again what was valid. So a change is made as a
** whole or not at all, whatever lies where: in an object, and in the holds of its processes.
**
** Promise: whoever is killed, and wherever, the next one in the lock finds a state between two
** changes. Who looks without the lock may see a part of one.
**
** Steps, and what a death right after each means:
**   make  M1 stores noted      nothing has happened: they are noted anew
**         M2 said to be valid  is done by the next owner of the lock
**         M3 some are stored   is done by the next owner, some again, which changes nothing
*/
#ifndef MP_ENGINE_CHANGE_H
#define MP_ENGINE_CHANGE_H

#include "engine/arena.h"
#include "engine/lock.h"

enum { MP_CHANGE_STORES = 16 };

typedef _Atomic uint64_t mp_word;

typedef struct mp_change {
    mp_lock lock;
    _Atomic uint32_t is_valid;
    uint32_t n;
    struct {
        mp_ref word;
        uint64_t value;
    } stores[MP_CHANGE_STORES];
} mp_change;

void mp_change_init(mp_change *c);

/*
** Takes the lock, as mp_lock_take, and does what a dead owner has begun. 0, -ETIMEDOUT, -EINTR;
** always 0 with MP_FOREVER and without `may_end`.
*/
int mp_change_lock(mp_change *c, mp_time deadline, int may_end);
void mp_change_unlock(mp_change *c);

/* In the lock: notes a store (each word once in a change); and makes all that were noted. */
void mp_change_set(mp_change *c, mp_word *word, uint64_t value);
void mp_change_make(mp_change *c);

static inline uint64_t mp_change_get(const mp_word *word) {
    return atomic_load_explicit(word, memory_order_acquire);
}

#endif
