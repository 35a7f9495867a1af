/*
** stripe.h: the state of a dict (dict.h), for the rooms that keep it.
**
** stripe.c has the tables, their locks and what is mended after a death; recency.c what a cache
** has besides; dict.c does what is asked.
*/
#ifndef MP_ENGINE_STRIPE_H
#define MP_ENGINE_STRIPE_H

#include "engine/dict.h"
#include "engine/gate.h"
#include "engine/lock.h"
#include "engine/name.h"
#include "engine/table.h"

enum { MP_STRIPES = 64 };

#define MP_NEVER_USED UINT64_MAX /* a stamp */
#define MP_SLOT_GONE 1u          /* a slot whose entry went */

typedef struct entry {
    mp_stored value; /* the key lies before its bytes */
    uint64_t hash;
    _Atomic mp_name updater;
    uint32_t key_type, key_len;
} entry;

/* An entry of a cache. */
typedef struct cached {
    entry e;
    _Atomic uint64_t stamp; /* the number of its word in the order of use */
    mp_time end;            /* 0: none */
} cached;

typedef struct stripe {
    _Alignas(64) mp_lock lock;
    _Atomic mp_ref table;       /* 0: none */
    uint32_t count;             /* keys with a value */
    uint32_t used;              /* slots that are not free */
    _Atomic uint32_t n_updated; /* entries with an updater, at most */
    _Atomic uint32_t ends;      /* of updates: moves on with each */
    mp_gate gate;
} stripe;

typedef struct dict_shared {
    uint64_t seed; /* of hashes */
    uint32_t n_stripes;
    uint32_t is_cache;
    uint64_t max;
    mp_time ttl;
    mp_list order;        /* the block of a ring of uses, as a list of it alone; empty: none */
    uint64_t first, next; /* of these uses that may be there, and the number of the next one */
    uint64_t hand;        /* the slot that is looked at next for an end */
    uint64_t hits, misses, evictions;
    stripe stripes[];
} dict_shared;

/* Where a key is, or would be. */
typedef struct mp_place {
    stripe *s;
    uint32_t number; /* of the stripe */
    uint64_t hash;
    mp_ref block; /* its entry; 0: none */
    entry *e;
    uint64_t slot, gap; /* of the entry; where one may be put, or UINT64_MAX: nowhere */
} mp_place;

static inline dict_shared *mp_stripe_dict(mp_ref dict) {
    return mp_arena_bytes(dict);
}

static inline table *mp_stripe_table(const stripe *s) {
    const mp_ref t = atomic_load_explicit(&s->table, memory_order_relaxed);
    return t == 0 ? NULL : mp_arena_bytes(t);
}

static inline entry *mp_stripe_entry(mp_ref block) {
    return mp_arena_bytes(block);
}

static inline const char *mp_stripe_key(const entry *e) {
    return (const char *)e + e->value.offset - e->key_len;
}

/* Takes the lock of a stripe, and mends what a dead owner left; of all of them; gives it back. */
void mp_stripe_lock(mp_ref dict, uint32_t number);
void mp_stripe_lock_all(mp_ref dict);
void mp_stripe_unlock(mp_ref dict, uint32_t number);
void mp_stripe_unlock_all(mp_ref dict);

uint64_t mp_stripe_hash(const dict_shared *d, const mp_key *key);

/* Finds the key whose hash is in the place. In the lock. */
void mp_stripe_find(mp_ref dict, const mp_key *key, mp_place *p);

/* Where that entry is. */
void mp_stripe_place_of(mp_ref dict, uint32_t number, mp_ref block, mp_place *p);

/* Puts an entry in the place of what is there; 0: takes that out, into this process's hands. */
void mp_stripe_put(mp_ref dict, const mp_place *p, mp_ref block);

/* How many slots the stripe's table is to have for what is in it and one more; 0: as many as now.
 */
uint64_t mp_stripe_wants(const stripe *s, int for_more);
/* The stripe goes on with that table; the one before is in hand, to be freed: *old, or 0. */
void mp_stripe_grow(mp_ref dict, uint32_t number, mp_ref block, mp_ref *old);

/* The stripe is without a table, which is in hand: *old, or 0. */
void mp_stripe_empty(mp_ref dict, uint32_t number, mp_ref *old);

/* Whether a living process updates the entry. */
int mp_stripe_is_updated(const entry *e);

#endif
