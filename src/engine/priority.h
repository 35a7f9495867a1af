/*
** priority.h: blocks by rank, in shared memory: a binary heap that survives the death
** of who changes it.
**
** Whoever changes it has the lock of its owner, and a number of that owner (`commit`) that
** moves on when the change is to hold. A change moves entries one by one over a hole, and
** which slot the hole is stands in the log before it moves; so a dead one's change can be
** taken back: the hole is filled, and the heap put in order anew.
**
**   change C1 logged                    the entries are as they were
**          C2 larger block in place     the one before is put back
**          C3 an entry moved            the hole is filled with what was there, then all
**                                       are put in order
**          C4 hole filled               the same
**
** Of equal priority that comes first which was added first.
*/
#ifndef MP_ENGINE_PRIORITY_H
#define MP_ENGINE_PRIORITY_H

#include "engine/arena.h"

typedef struct mp_rank {
    long double priority;
    uint64_t serial;
    mp_ref block;
} mp_rank;

typedef struct mp_ranks {
    mp_list entries; /* a block with them, as a list of it alone */
    struct {
        _Atomic uint32_t op;
        uint64_t commit; /* of the owner, before */
        uint64_t n;      /* entries, before */
        uint64_t hole;
        mp_rank item; /* that is to fill it */
        mp_rank removed;
        mp_ref before, after; /* the entries' block, if they get another: 0 if not */
    } log;
} mp_ranks;

/* Entries that there is room for. */
uint64_t mp_priority_room(const mp_ranks *r);

/* The size of a block with room for n. */
size_t mp_priority_size(uint64_t n);

/* Adds one to n; `entries`: a larger block for them, or 0. Holds from the owner's commit on. */
void mp_priority_add(mp_ranks *r, uint64_t n, const mp_rank *item, mp_ref entries, uint64_t commit);

/* The first of n, and its removal. */
const mp_rank *mp_priority_first(const mp_ranks *r);
void mp_priority_remove(mp_ranks *r, uint64_t n, uint64_t commit);

/* The owner has moved on. */
void mp_priority_done(mp_ranks *r);

/* Their block, or 0. */
mp_ref mp_priority_entries(const mp_ranks *r);

/* After a death: takes back what does not hold, given the owner's commit of now. */
void mp_priority_mend(mp_ranks *r, uint64_t commit);

/* Frees them: the owner is over. */
void mp_priority_end(mp_ranks *r);

#endif
