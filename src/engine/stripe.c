/*
** stripe.c: tables of entries, and their locks; the rules and the steps stand in dict.h.
*/
#include "engine/stripe.h"

#include <string.h>

#include "engine/recency.h"

/* --- after a death -------------------------------------------------------- */

/* The slot with that entry, or UINT64_MAX. */
static uint64_t slot_of(const table *t, mp_ref block) {
    const uint64_t mask = t->n_slots - 1, hash = mp_stripe_entry(block)->hash;
    for (uint64_t i = 0, at = hash >> 6 & mask; i <= mask; i++, at = (at + 1) & mask) {
        const uint64_t word = atomic_load_explicit(&t->slots[at], memory_order_relaxed);
        if (word == 0)
            return UINT64_MAX;
        if ((word & MP_TABLE_REF) == block)
            return at;
    }
    return UINT64_MAX;
}

/* Whether the stripe has that table or that entry. */
static int has(const stripe *s, mp_ref block) {
    const table *t = mp_stripe_table(s);
    if (mp_arena_block(block)->kind != MP_KIND_ENTRY)
        return atomic_load_explicit(&s->table, memory_order_relaxed) == block;
    return t != NULL && slot_of(t, block) != UINT64_MAX;
}

/* The dead one's blocks that moved in this stripe: it has them, or not. */
static void settle_note(mp_ref dict, uint32_t number, uint32_t dead, int direction) {
    mp_note *note = mp_arena_note_of(dead, direction);
    if (atomic_load_explicit(&note->place, memory_order_acquire) != dict ||
        note->commit != number || note->fate != MP_FATE_UNKNOWN)
        return;
    const int is_there = has(&mp_stripe_dict(dict)->stripes[number], note->blocks[0]);
    note->fate = is_there ? MP_FATE_LEFT : MP_FATE_FREED;
}

static void count_anew(stripe *s) {
    table *t = mp_stripe_table(s);
    s->count = s->used = s->n_updated = 0;
    for (uint64_t i = 0; t != NULL && i < t->n_slots; i++) {
        const mp_ref block = mp_table_ref(t, i);
        s->used += atomic_load_explicit(&t->slots[i], memory_order_relaxed) != 0;
        s->count += block != 0 && mp_stripe_entry(block)->value.type != MP_VALUE_NONE;
        s->n_updated += block != 0 && mp_stripe_entry(block)->updater != 0;
    }
}

static void recover(mp_ref dict, uint32_t number, uint32_t dead) {
    dict_shared *d = mp_stripe_dict(dict);
    stripe *s = &d->stripes[number];
    if (s->table != 0)
        mp_arena_block(s->table)->kind = MP_KIND_TABLE; /* also if it is the one before */
    settle_note(dict, number, dead, MP_NOTE_IN);
    settle_note(dict, number, dead, MP_NOTE_OUT);
    count_anew(s);
    if (d->order != 0)
        mp_recency_mend(d);
}

/* --- locks ---------------------------------------------------------------- */

void mp_stripe_lock(mp_ref dict, uint32_t number) {
    uint32_t dead;
    mp_lock *l = &mp_stripe_dict(dict)->stripes[number].lock;
    if (mp_lock_take(l, mp_page_self, MP_FOREVER, 0, &dead) == 1) {
        if (dead != MP_NOBODY)
            recover(dict, number, dead);
        mp_lock_mended(l, mp_page_self);
    }
}

void mp_stripe_unlock(mp_ref dict, uint32_t number) {
    mp_lock_give(&mp_stripe_dict(dict)->stripes[number].lock);
}

void mp_stripe_lock_all(mp_ref dict) {
    for (uint32_t i = 0; i < mp_stripe_dict(dict)->n_stripes; i++)
        mp_stripe_lock(dict, i);
}

void mp_stripe_unlock_all(mp_ref dict) {
    for (uint32_t i = mp_stripe_dict(dict)->n_stripes; i-- > 0;)
        mp_stripe_unlock(dict, i);
}

/* --- keys ----------------------------------------------------------------- */

static uint64_t mix(uint64_t a, uint64_t b) {
    const unsigned __int128 product =
        (unsigned __int128)(a ^ UINT64_C(0x9e3779b97f4a7c15)) * (b ^ UINT64_C(0xd6e8feb86659fd93));
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

uint64_t mp_stripe_hash(const dict_shared *d, const mp_key *key) {
    const char *at = key->bytes;
    uint64_t hash = mix(d->seed ^ key->type, key->len), word;
    for (size_t left = key->len; left > 0;) {
        const size_t n = left < sizeof word ? left : sizeof word;
        word = 0;
        memcpy(&word, at, n);
        hash = mix(hash, word);
        at += n;
        left -= n;
    }
    return hash;
}

static int is_key(const entry *e, const mp_key *key, uint64_t hash) {
    return e->hash == hash && e->key_type == key->type && e->key_len == key->len &&
           memcmp(mp_stripe_key(e), key->bytes, key->len) == 0;
}

static uint64_t tagged(mp_ref block, uint64_t hash) {
    return (hash & ~MP_TABLE_REF) | block;
}

void mp_stripe_find(mp_ref dict, const mp_key *key, mp_place *p) {
    dict_shared *d = mp_stripe_dict(dict);
    p->s = &d->stripes[p->number];
    p->block = 0;
    p->e = NULL;
    p->gap = p->slot = UINT64_MAX;
    const table *t = mp_stripe_table(p->s);
    if (t == NULL)
        return;
    const uint64_t mask = t->n_slots - 1, tag = p->hash & ~MP_TABLE_REF;
    for (uint64_t i = 0, at = p->hash >> 6 & mask; i <= mask; i++, at = (at + 1) & mask) {
        const uint64_t word = atomic_load_explicit(&t->slots[at], memory_order_relaxed);
        if (word <= MP_SLOT_GONE) {
            p->gap = p->gap == UINT64_MAX ? at : p->gap;
            if (word == 0)
                return;
        } else if ((word & ~MP_TABLE_REF) == tag &&
                   is_key(mp_stripe_entry(word & MP_TABLE_REF), key, p->hash)) {
            p->block = word & MP_TABLE_REF;
            p->e = mp_stripe_entry(p->block);
            p->slot = at;
            return;
        }
    }
}

int mp_stripe_is_updated(const entry *e) {
    const mp_name name = atomic_load_explicit(&e->updater, memory_order_relaxed);
    return name != 0 && (name == mp_name_own() || !mp_name_is_gone(name));
}

void mp_stripe_place_of(mp_ref dict, uint32_t number, mp_ref block, mp_place *p) {
    stripe *s = &mp_stripe_dict(dict)->stripes[number];
    entry *e = mp_stripe_entry(block);
    *p = (mp_place){s, number, e->hash, block, e, slot_of(mp_stripe_table(s), block), UINT64_MAX};
}

/* --- changes -------------------------------------------------------------- */

/* What an empty slot becomes: free, if who looks for a key ends there anyway. */
static uint64_t emptied(const table *t, uint64_t slot) {
    const uint64_t next = t->slots[(slot + 1) & (t->n_slots - 1)];
    return next == 0 ? 0 : MP_SLOT_GONE;
}

static void count_change(stripe *s, uint64_t before, uint64_t after, const entry *old,
                         const entry *e) {
    s->used += (uint32_t)(after != 0) - (uint32_t)(before != 0);
    s->count += (uint32_t)(e != NULL && e->value.type != MP_VALUE_NONE) -
                (uint32_t)(old != NULL && old->value.type != MP_VALUE_NONE);
    s->n_updated +=
        (uint32_t)(e != NULL && e->updater != 0) - (uint32_t)(old != NULL && old->updater != 0);
}

void mp_stripe_put(mp_ref dict, const mp_place *p, mp_ref block) {
    table *t = mp_stripe_table(p->s);
    const uint64_t at = p->block != 0 ? p->slot : p->gap, before = t->slots[at];
    const uint64_t after = block != 0 ? tagged(block, p->hash) : emptied(t, at);
    if (p->block != 0)
        mp_arena_move(MP_NOTE_OUT, dict, p->number, p->block, 0);
    if (block != 0)
        mp_arena_move(MP_NOTE_IN, dict, p->number, block, 0);
    mp_fault("dict.put.P1");
    atomic_store_explicit(&t->slots[at], after, memory_order_release);
    mp_fault("dict.put.P2");
    if (block != 0)
        mp_arena_moved(MP_NOTE_IN);
    if (p->block != 0)
        mp_arena_moved(MP_NOTE_OUT);
    mp_fault("dict.put.P3");
    count_change(p->s, before, after, p->e, block == 0 ? NULL : mp_stripe_entry(block));
    mp_fault("dict.put.P4");
}

/* --- tables --------------------------------------------------------------- */

/* At most three quarters of the slots are used; one that is to be made is half full, at most. */
uint64_t mp_stripe_wants(const stripe *s, int for_more) {
    const table *t = mp_stripe_table(s);
    const uint64_t n = t == NULL ? 0 : t->n_slots, kept = (uint64_t)s->count + s->n_updated + 1;
    const int is_full = for_more && 4 * ((uint64_t)s->used + 1) > 3 * n;
    const int is_empty = !for_more && n > 2 * MP_TABLE_LEAST && 8 * kept < n;
    uint64_t wanted = MP_TABLE_LEAST;
    while (wanted < 2 * kept)
        wanted *= 2;
    return is_full || is_empty ? wanted : 0;
}

static uint64_t free_slot(const table *t, uint64_t hash) {
    uint64_t at = hash >> 6 & (t->n_slots - 1);
    while (t->slots[at] != 0)
        at = (at + 1) & (t->n_slots - 1);
    return at;
}

/* The entries of the one are the other's, too. Returns how many. */
static uint32_t fill(table *to, const table *from) {
    uint32_t n = 0;
    for (uint64_t i = 0; i < from->n_slots; i++) {
        const mp_ref block = mp_table_ref(from, i);
        if (block != 0) {
            atomic_store_explicit(&to->slots[free_slot(to, mp_stripe_entry(block)->hash)],
                                  from->slots[i], memory_order_relaxed);
            n++;
        }
    }
    return n;
}

void mp_stripe_grow(mp_ref dict, uint32_t number, mp_ref block, mp_ref *old) {
    stripe *s = &mp_stripe_dict(dict)->stripes[number];
    table *t = mp_stripe_table(s);
    *old = atomic_load_explicit(&s->table, memory_order_relaxed);
    const uint32_t used = t == NULL ? 0 : fill(mp_arena_bytes(block), t);
    if (t != NULL) {
        mp_arena_block(*old)->kind = MP_KIND_BYTES;
        mp_arena_move(MP_NOTE_OUT, dict, number, *old, 0);
    }
    mp_arena_move(MP_NOTE_IN, dict, number, block, 0);
    mp_fault("dict.grow.G1");
    atomic_store_explicit(&s->table, block, memory_order_release);
    mp_fault("dict.grow.G2");
    mp_arena_block(block)->kind = MP_KIND_TABLE;
    mp_arena_moved(MP_NOTE_IN);
    if (t != NULL)
        mp_arena_moved(MP_NOTE_OUT);
    mp_fault("dict.grow.G3");
    s->used = used;
}

void mp_stripe_empty(mp_ref dict, uint32_t number, mp_ref *old) {
    stripe *s = &mp_stripe_dict(dict)->stripes[number];
    *old = atomic_load_explicit(&s->table, memory_order_relaxed);
    if (*old == 0)
        return;
    mp_arena_move(MP_NOTE_OUT, dict, number, *old, 0);
    mp_fault("dict.clear.C1");
    atomic_store_explicit(&s->table, 0, memory_order_release);
    mp_fault("dict.clear.C2");
    mp_arena_moved(MP_NOTE_OUT);
    mp_fault("dict.clear.C3");
    s->count = s->used = s->n_updated = 0;
}

/* Taking the lock finds out, if it died with it. */
static void settle(mp_note *note, int direction) {
    (void)direction;
    const mp_ref dict = note->place;
    mp_stripe_lock(dict, (uint32_t)note->commit);
    mp_stripe_unlock(dict, (uint32_t)note->commit);
    if (note->fate == MP_FATE_UNKNOWN)
        mp_panic("a note that nobody can settle");
}

/* --- the end of a dict ------------------------------------------------------ */

static void end_dict(mp_ref dict) {
    dict_shared *d = mp_stripe_dict(dict);
    for (uint32_t i = 0; i < d->n_stripes; i++) {
        mp_ref old;
        mp_stripe_lock(dict, i);
        mp_stripe_empty(dict, i, &old);
        mp_stripe_unlock(dict, i);
        if (old != 0)
            mp_table_end(old);
    }
    const mp_ref order = mp_arena_first(&d->order);
    if (order != 0)
        mp_arena_free(&d->order, order);
}

/* Whoever waits at a stripe looks again. */
static void end_updates(mp_ref dict, uint32_t number, uint32_t member) {
    stripe *s = &mp_stripe_dict(dict)->stripes[number];
    if (s->n_updated == 0)
        return;
    for (mp_ref old = UINT64_MAX; old != 0;) {
        old = 0;
        mp_stripe_lock(dict, number);
        table *t = mp_stripe_table(s);
        for (uint64_t i = 0; t != NULL && i < t->n_slots && old == 0; i++) {
            const mp_ref block = mp_table_ref(t, i);
            entry *e = block == 0 ? NULL : mp_stripe_entry(block);
            const mp_name name = e == NULL ? 0 : e->updater;
            if (name == 0 || (name != mp_name_of(member) && !mp_name_is_gone(name)))
                continue;
            if (e->value.type == MP_VALUE_NONE) {
                const mp_place p = {.s = s, .number = number, .block = block, .e = e, .slot = i};
                mp_stripe_put(dict, &p, 0);
                old = block;
            } else {
                atomic_store_explicit(&e->updater, 0, memory_order_release);
                s->n_updated--;
            }
        }
        atomic_fetch_add_explicit(&s->ends, 1, memory_order_release);
        mp_stripe_unlock(dict, number);
        if (old != 0)
            mp_arena_free(mp_arena_hands(), old);
    }
    mp_gate_open(&s->gate, INT32_MAX);
}

/*
** A process has ended, or drops its handle: what it was updating is as it was. But not that of a
** handle that came while the one before was collected.
*/
static void abandon(uint32_t member, mp_ref hold) {
    const mp_ref dict = ((mp_hold *)mp_arena_bytes(hold))->object;
    if (member == mp_page_self && mp_arena_holds_also(hold) != 0)
        return;
    for (uint32_t i = 0; i < mp_stripe_dict(dict)->n_stripes; i++)
        end_updates(dict, i, member);
}

static const mp_kind_class class = {.end = end_dict, .abandon = abandon, .settle = settle};

__attribute__((constructor)) static void open_class(void) {
    mp_arena_classes[MP_KIND_DICT] = mp_arena_classes[MP_KIND_CACHE] = &class;
}
