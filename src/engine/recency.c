/*
** recency.c: the order of use in a cache, and the ends of its entries; recency.h says what for.
*/
#include "engine/recency.h"

#include <string.h>

typedef struct ring {
    uint64_t mask;
    mp_ref uses[];
} ring;

/* So many more than entries that it is made anew seldom. */
static uint64_t n_uses(uint64_t max) {
    uint64_t n = 16;
    while (n < 2 * max + 4)
        n *= 2;
    return n;
}

size_t mp_recency_size(uint64_t max) {
    return sizeof(ring) + n_uses(max) * sizeof(mp_ref);
}

void mp_recency_init(mp_ref block) {
    ring *r = mp_arena_bytes(block);
    r->mask = (mp_arena_block(block)->size - sizeof(ring)) / sizeof(mp_ref) - 1;
    memset(r->uses, 0, (r->mask + 1) * sizeof(mp_ref));
}

static ring *ring_of(const dict_shared *d) {
    const mp_ref order = mp_arena_first(&d->order);
    return order == 0 ? NULL : mp_arena_bytes(order);
}

static void stamp(mp_ref block, uint64_t number) {
    atomic_store_explicit(&mp_recency_entry(block)->stamp, number, memory_order_relaxed);
}

/* Closes the gaps: the order is the same, the numbers are less. */
static void close_gaps(dict_shared *d, ring *r) {
    uint64_t to = d->first;
    for (uint64_t from = d->first; from < d->next; from++) {
        const mp_ref block = r->uses[from & r->mask];
        if (block == 0)
            continue;
        r->uses[from & r->mask] = 0;
        r->uses[to & r->mask] = block;
        stamp(block, to++);
    }
    d->next = to;
}

void mp_recency_forget(dict_shared *d, mp_ref block) {
    ring *r = ring_of(d);
    const uint64_t number = mp_recency_entry(block)->stamp;
    if (r != NULL && number != MP_NEVER_USED && r->uses[number & r->mask] == block)
        r->uses[number & r->mask] = 0;
}

void mp_recency_use(dict_shared *d, mp_ref block) {
    ring *r = ring_of(d);
    if (r == NULL)
        return;
    if (d->next - d->first > r->mask)
        close_gaps(d, r);
    mp_recency_forget(d, block);
    r->uses[d->next & r->mask] = block;
    stamp(block, d->next);
    d->next++;
}

void mp_recency_clear(dict_shared *d) {
    ring *r = ring_of(d);
    if (r != NULL)
        memset(r->uses, 0, (r->mask + 1) * sizeof(mp_ref));
    d->first = d->next = 0;
}

mp_ref mp_recency_least(dict_shared *d) {
    const ring *r = ring_of(d);
    while (d->first < d->next && r->uses[d->first & r->mask] == 0)
        d->first++;
    for (uint64_t i = d->first; i < d->next; i++) {
        const mp_ref block = r->uses[i & r->mask];
        if (block != 0 && !mp_stripe_is_updated(mp_stripe_entry(block)))
            return block;
    }
    return 0;
}

void mp_recency_mend(dict_shared *d) {
    const table *t = mp_stripe_table(&d->stripes[0]);
    ring *r = ring_of(d);
    uint64_t first = MP_NEVER_USED, next = 0;
    memset(r->uses, 0, (r->mask + 1) * sizeof(mp_ref));
    for (uint64_t i = 0; t != NULL && i < t->n_slots; i++) {
        const mp_ref block = mp_table_ref(t, i);
        const uint64_t number = block == 0 ? MP_NEVER_USED : mp_recency_entry(block)->stamp;
        if (number == MP_NEVER_USED)
            continue;
        r->uses[number & r->mask] = block;
        first = number < first ? number : first;
        next = number >= next ? number + 1 : next;
    }
    d->next = next;
    d->first = first < next ? first : next;
    for (uint64_t i = 0; t != NULL && i < t->n_slots; i++) {
        const mp_ref block = mp_table_ref(t, i);
        if (block != 0 && mp_recency_entry(block)->stamp == MP_NEVER_USED &&
            mp_stripe_entry(block)->value.type != MP_VALUE_NONE)
            mp_recency_use(d, block); /* it was put just now */
    }
}

mp_time mp_recency_end(const dict_shared *d) {
    const mp_time now = mp_sys_now();
    return d->ttl == 0 || d->ttl >= MP_FOREVER - now ? 0 : now + d->ttl;
}

int mp_recency_is_over(const dict_shared *d, mp_ref block, mp_time now) {
    return d->ttl != 0 && mp_recency_entry(block)->end != 0 && now >= mp_recency_entry(block)->end;
}

mp_ref mp_recency_next_over(dict_shared *d, uint64_t n, mp_time now) {
    const table *t = mp_stripe_table(&d->stripes[0]);
    for (; t != NULL && n > 0; n--) {
        const mp_ref block = mp_table_ref(t, d->hand++ & (t->n_slots - 1));
        if (block != 0 && mp_recency_is_over(d, block, now) &&
            !mp_stripe_is_updated(mp_stripe_entry(block)))
            return block;
    }
    return 0;
}
