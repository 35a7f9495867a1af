/*
** edit.c: changes of one key; edit.h has the rules.
*/
#include "engine/edit.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#include "engine/deadlock.h"
#include "engine/recency.h"

enum { LOOKS = 4 }; /* slots of a cache that a put looks at for what is over */

/* --- waiting for an update ---------------------------------------------------- */

static int is_ended(const void *arg) {
    const mp_update *a = arg;
    return atomic_load_explicit(&a->s->ends, memory_order_acquire) != a->ends ||
           mp_name_is_gone(a->updater);
}

int mp_edit_wait(mp_ref dict, const mp_update *a, mp_time deadline) {
    stripe *s = a->s;
    int rc = mp_gate_wait(&s->gate, NULL, is_ended, a, deadline);
    if (rc != -ETIMEDOUT || deadline <= MP_NOWAIT)
        return rc;
    if (deadline == MP_FOREVER)
        mp_deadlock_enter(MP_WAITS_UPDATE, dict);
    while (rc == -ETIMEDOUT && mp_sys_now() < deadline) {
        if (mp_arena_sweep_dead())
            mp_deadlock_change();
        rc = mp_gate_wait(&s->gate, NULL, is_ended, a, deadline);
        if (rc == -ETIMEDOUT && deadline == MP_FOREVER && mp_deadlock_look())
            rc = -EDEADLK;
    }
    if (deadline == MP_FOREVER && rc != -EDEADLK) /* of which is told first */
        mp_deadlock_leave();
    return rc;
}

void mp_edit_tell(stripe *s) {
    mp_deadlock_acts();
    mp_gate_open(&s->gate, INT_MAX);
}

/* --- changes -------------------------------------------------------------- */

mp_edit mp_edit_of(mp_ref dict, const mp_key *key, mp_time deadline) {
    dict_shared *d = mp_stripe_dict(dict);
    mp_edit c = {.dict = dict, .d = d, .key = key, .deadline = deadline};
    c.p.hash = mp_stripe_hash(d, key);
    c.p.number = (uint32_t)(c.p.hash % d->n_stripes);
    c.p.s = &d->stripes[c.p.number];
    return c;
}

void mp_edit_take_out(mp_edit *c, const mp_place *p) {
    if (c->d->is_cache)
        mp_recency_forget(c->d, p->block);
    mp_stripe_put(c->dict, p, 0);
    c->gone[c->n_gone++] = p->block;
}

void mp_edit_find(mp_edit *c) {
    mp_stripe_find(c->dict, c->key, &c->p);
    if (c->p.e != NULL && c->d->is_cache && c->n_gone < MP_EDIT_GONE / 2 &&
        !mp_stripe_is_updated(c->p.e) && mp_recency_is_over(c->d, c->p.block, mp_sys_now())) {
        mp_edit_take_out(c, &c->p);
        mp_stripe_find(c->dict, c->key, &c->p);
    }
}

/* An entry that is updated stays when it is over. */
int mp_edit_has_value(const mp_edit *c) {
    return c->p.e != NULL && c->p.e->value.type != MP_VALUE_NONE &&
           !(c->d->ttl != 0 && mp_recency_is_over(c->d, c->p.block, mp_sys_now()));
}

void mp_edit_unlock(mp_edit *c) {
    mp_stripe_unlock(c->dict, c->p.number);
    while (c->n_gone > 0)
        mp_arena_free(mp_arena_hands(), c->gone[--c->n_gone]);
}

int mp_edit_finish(mp_edit *c, int rc) {
    if (c->fresh != 0)
        mp_arena_free(mp_arena_hands(), c->fresh);
    if (c->table != 0)
        mp_arena_free(mp_arena_hands(), c->table);
    c->fresh = c->table = 0;
    return rc;
}

int mp_edit_lock(mp_edit *c) {
    for (;;) {
        mp_stripe_lock(c->dict, c->p.number);
        mp_edit_find(c);
        if (c->is_end || c->p.e == NULL || !mp_stripe_is_updated(c->p.e))
            return 0;
        const mp_update a = {c->p.s, c->p.s->ends, c->p.e->updater};
        mp_edit_unlock(c);
        if (a.updater == mp_name_own())
            return -EBUSY;
        int rc = mp_edit_wait(c->dict, &a, c->deadline);
        if (rc < 0)
            return rc;
    }
}

/* In the lock: whether there is a place for the key; else, without it, -EAGAIN or why not. */
static int make_place(mp_edit *c) {
    const uint64_t wanted = c->p.block != 0 ? 0 : mp_stripe_wants(c->p.s, 1);
    if (wanted == 0)
        return 0;
    if (c->table != 0 && ((const table *)mp_arena_bytes(c->table))->n_slots >= wanted) {
        mp_ref old;
        mp_stripe_grow(c->dict, c->p.number, c->table, &old);
        c->table = 0;
        if (old != 0)
            c->gone[c->n_gone++] = old;
        mp_stripe_find(c->dict, c->key, &c->p);
        return 0;
    }
    mp_edit_unlock(c);
    if (c->table != 0)
        mp_arena_free(mp_arena_hands(), c->table);
    c->table = 0;
    int rc = mp_table_make(wanted, &c->table);
    return rc < 0 ? rc : -EAGAIN;
}

/* What a cache has too much: more entries than may be, and some that are over. */
static void trim(mp_edit *c) {
    mp_place p;
    mp_ref block = mp_recency_next_over(c->d, c->d->ttl == 0 ? 0 : LOOKS, mp_sys_now());
    if (block != 0) {
        mp_stripe_place_of(c->dict, c->p.number, block, &p);
        mp_edit_take_out(c, &p);
    }
    while (c->d->max != 0 && c->p.s->count > c->d->max && c->n_gone < MP_EDIT_GONE &&
           (block = mp_recency_least(c->d)) != 0) {
        mp_stripe_place_of(c->dict, c->p.number, block, &p);
        mp_edit_take_out(c, &p);
        c->d->evictions++;
    }
}

void mp_edit_put(mp_edit *c) {
    const mp_ref block = c->fresh, old = c->p.block;
    if (c->d->is_cache && old != 0)
        mp_recency_forget(c->d, old);
    mp_stripe_put(c->dict, &c->p, block);
    c->fresh = 0;
    if (old != 0)
        c->gone[c->n_gone++] = old;
    if (c->d->is_cache && mp_stripe_entry(block)->value.type != MP_VALUE_NONE) {
        mp_recency_use(c->d, block);
        trim(c);
    }
}

/* An entry in hand, with the key and a value, that lives from now on. */
static int make_entry(mp_edit *c, const mp_value *v) {
    const size_t head = c->d->is_cache ? sizeof(cached) : sizeof(entry);
    if (c->fresh != 0)
        return 0;
    int rc = mp_value_make(head + c->key->len, v, &c->fresh);
    if (rc < 0)
        return rc;
    entry *e = mp_stripe_entry(c->fresh);
    e->hash = c->p.hash;
    e->updater = 0;
    e->key_type = c->key->type;
    e->key_len = (uint32_t)c->key->len;
    memcpy((char *)e + head, c->key->bytes, c->key->len);
    if (c->d->is_cache) {
        mp_recency_entry(c->fresh)->stamp = MP_NEVER_USED;
        mp_recency_entry(c->fresh)->end = mp_recency_end(c->d);
    }
    return 0;
}

int mp_edit_prepare(mp_edit *c, const mp_value *v) {
    int rc;
    do {
        rc = make_entry(c, v);
        if (rc == 0)
            rc = mp_edit_lock(c);
        if (rc == 0)
            rc = make_place(c);
    } while (rc == -EAGAIN);
    return rc;
}

void mp_edit_use(const mp_edit *c) {
    if (c->d->is_cache)
        mp_recency_use(c->d, c->p.block);
}

int mp_edit_word(const mp_edit *c, const mp_value *v) {
    if (c->p.e == NULL || c->p.e->value.type != v->type || v->type == MP_VALUE_BYTES ||
        v->type == MP_VALUE_NONE)
        return 0;
    atomic_store_explicit(&c->p.e->value.word, v->word, memory_order_release);
    mp_fault("dict.word.W1");
    mp_edit_use(c);
    return 1;
}
