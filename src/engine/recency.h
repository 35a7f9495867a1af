/*
** recency.h: which entry of a cache was used least recently, and which have lived long enough;
** the rules stand in dict.h. All of it in the lock.
*/
#ifndef MP_ENGINE_RECENCY_H
#define MP_ENGINE_RECENCY_H

#include "engine/stripe.h"

static inline cached *mp_recency_entry(mp_ref block) {
    return mp_arena_bytes(block);
}

/* The entry, which is in the table, is used now. */
void mp_recency_use(dict_shared *d, mp_ref block);
/* It is taken out; so are all. */
void mp_recency_forget(dict_shared *d, mp_ref block);
void mp_recency_clear(dict_shared *d);
/* The entry that was used least recently and that nobody updates; 0: there is none. */
mp_ref mp_recency_least(dict_shared *d);
/* After a death: the ring as the stamps say. */
void mp_recency_mend(dict_shared *d);
/* When an entry that is set now is over; 0: never. */
mp_time mp_recency_end(const dict_shared *d);
int mp_recency_is_over(const dict_shared *d, mp_ref block, mp_time now);
/* The first that is over and that nobody updates, of the next n slots; 0: none is. */
mp_ref mp_recency_next_over(dict_shared *d, uint64_t n, mp_time now);
/* The bytes of a ring for so many entries. */
size_t mp_recency_size(uint64_t max);
void mp_recency_init(mp_ref ring);

#endif
