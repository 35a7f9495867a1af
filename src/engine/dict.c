/*
** dict.c: what is asked of dicts and caches; the rules and the steps stand in dict.h.
*/
#include "engine/dict.h"

#include <errno.h>
#include <string.h>

#include "engine/edit.h"
#include "engine/recency.h"

/* --- making --------------------------------------------------------------- */

static void init(dict_shared *d, int is_cache, uint64_t max, mp_time ttl) {
    *d = (dict_shared){
        .is_cache = is_cache != 0, .n_stripes = is_cache ? 1 : MP_STRIPES, .max = max, .ttl = ttl};
    mp_sys_random(&d->seed, sizeof d->seed);
    for (uint32_t i = 0; i < d->n_stripes; i++) {
        d->stripes[i] = (stripe){.gate.cpu = -1};
        mp_lock_init(&d->stripes[i].lock);
    }
}

/* The ring of uses, which the dict has from its making. */
static int make_order(dict_shared *d) {
    if (d->max == 0)
        return 0;
    mp_ref ring;
    if (d->max > UINT32_MAX)
        return -ENOMEM;
    int rc = mp_arena_alloc(mp_recency_size(d->max), MP_KIND_BYTES, &d->order, &ring);
    if (rc == 0)
        mp_recency_init(ring);
    return rc;
}

int mp_dict_make(int is_cache, uint64_t max, mp_time ttl, mp_ref *dict, mp_ref *hold) {
    const size_t size = sizeof(dict_shared) + (is_cache ? 1 : MP_STRIPES) * sizeof(stripe);
    int rc = mp_arena_open();
    if (rc == 0) /* it is what it is to be when its first bytes say so */
        rc = mp_arena_alloc(size, MP_KIND_BYTES, mp_arena_hands(), dict);
    if (rc < 0)
        return rc;
    dict_shared *d = mp_stripe_dict(*dict);
    init(d, is_cache, max, ttl);
    atomic_signal_fence(memory_order_seq_cst);
    mp_arena_block(*dict)->kind = is_cache ? MP_KIND_CACHE : MP_KIND_DICT;
    rc = make_order(d);
    if (rc == 0)
        rc = mp_arena_hold(mp_arena_holds(), *dict, hold);
    if (rc == 0) {
        mp_arena_unlink(mp_arena_hands(), *dict);
        return 0;
    }
    const mp_ref order = mp_arena_first(&d->order);
    if (order != 0)
        mp_arena_free(&d->order, order);
    mp_arena_free(mp_arena_hands(), *dict);
    return rc;
}

/* --- changes -------------------------------------------------------------- */

int mp_dict_set(mp_ref dict, const mp_key *key, const mp_value *value, mp_time deadline) {
    mp_edit c = mp_edit_of(dict, key, deadline);
    int rc = 0;
    if (value->type != MP_VALUE_BYTES && c.d->ttl == 0) {
        rc = mp_edit_lock(&c);
        if (rc < 0)
            return rc;
        rc = mp_edit_word(&c, value);
        mp_edit_unlock(&c);
        if (rc == 1)
            return 0;
    }
    rc = mp_edit_prepare(&c, value);
    if (rc == 0) {
        mp_edit_put(&c);
        mp_edit_unlock(&c);
    }
    return mp_edit_finish(&c, rc);
}

/* A smaller table, where few are left; without memory for it, another time. */
static void tidy(mp_edit *c) {
    const uint64_t wanted = mp_stripe_wants(c->p.s, 0);
    if (wanted == 0 || mp_table_make(wanted, &c->table) < 0)
        return;
    mp_stripe_lock(c->dict, c->p.number);
    if (mp_stripe_wants(c->p.s, 0) == wanted) {
        mp_stripe_grow(c->dict, c->p.number, c->table, &c->gone[0]);
        c->table = 0;
        c->n_gone = 1;
    }
    mp_edit_unlock(c);
    mp_edit_finish(c, 0);
}

int mp_dict_remove(mp_ref dict, const mp_key *key, mp_ref *block, mp_time deadline) {
    mp_edit c = mp_edit_of(dict, key, deadline);
    int rc = mp_edit_lock(&c);
    if (rc < 0)
        return rc;
    const int is_there = mp_edit_has_value(&c);
    *block = is_there ? c.p.block : 0;
    if (is_there) {
        mp_edit_take_out(&c, &c.p);
        c.n_gone--; /* it is the caller's */
    }
    const int is_sparse = mp_stripe_wants(c.p.s, 0) != 0;
    mp_edit_unlock(&c);
    if (is_sparse)
        tidy(&c);
    return is_there;
}

/* --- numbers -------------------------------------------------------------- */

static double float_of(const mp_value *v) {
    double d;
    memcpy(&d, &v->word, sizeof d);
    return v->type == MP_VALUE_FLOAT ? d : (double)(int64_t)v->word;
}

static mp_value sum_of(const mp_value *a, const mp_value *b) {
    mp_value sum = {.type = MP_VALUE_INTEGER, .word = a->word + b->word};
    if (a->type == MP_VALUE_INTEGER && b->type == MP_VALUE_INTEGER)
        return sum;
    const double d = float_of(a) + float_of(b);
    sum.type = MP_VALUE_FLOAT;
    memcpy(&sum.word, &d, sizeof d);
    return sum;
}

/* In the lock: what the key's number is then. 0, or -EINVAL: it has none. */
static int add_up(const mp_edit *c, const mp_value *by, mp_value *sum) {
    const mp_value zero = {.type = MP_VALUE_INTEGER};
    if (!mp_edit_has_value(c)) {
        *sum = by->type == MP_VALUE_INTEGER ? *by : sum_of(&zero, by);
        return 0;
    }
    const mp_value now = {.type = c->p.e->value.type, .word = c->p.e->value.word};
    *sum = sum_of(&now, by);
    return now.type == MP_VALUE_INTEGER || now.type == MP_VALUE_FLOAT ? 0 : -EINVAL;
}

/* The fresh entry has the sum, and lives as long as the one before. */
static void put_sum(mp_edit *c, const mp_value *sum) {
    entry *e = mp_stripe_entry(c->fresh);
    e->value.type = sum->type;
    e->value.word = sum->word;
    if (c->d->is_cache && mp_edit_has_value(c))
        mp_recency_entry(c->fresh)->end = mp_recency_entry(c->p.block)->end;
    mp_edit_put(c);
}

int mp_dict_add(mp_ref dict, const mp_key *key, const mp_value *by, mp_value *sum,
                mp_time deadline) {
    mp_edit c = mp_edit_of(dict, key, deadline);
    int rc = mp_edit_lock(&c);
    if (rc < 0)
        return rc;
    rc = add_up(&c, by, sum);
    if (rc == 0)
        rc = mp_edit_word(&c, sum);
    mp_edit_unlock(&c);
    if (rc != 0)
        return rc < 0 ? rc : 0;
    rc = mp_edit_prepare(&c, by);
    if (rc < 0)
        return mp_edit_finish(&c, rc);
    rc = add_up(&c, by, sum);
    if (rc == 0 && !mp_edit_word(&c, sum))
        put_sum(&c, sum);
    mp_edit_unlock(&c);
    return mp_edit_finish(&c, rc);
}

/* --- reading -------------------------------------------------------------- */

/* Of a cache only: there is one lock for all keys. */
static void count_look(dict_shared *d, int is_hit) {
    if (d->is_cache)
        ++*(is_hit ? &d->hits : &d->misses);
}

/* In the lock: copies the value, if there is one. 1, 0 or -ENOSPC. */
static int copy_value(const mp_edit *c, mp_copies *copies) {
    mp_value_copies_begin(copies);
    if (!mp_edit_has_value(c))
        return 0;
    mp_value_copies_add(copies, c->p.block, NULL, 0, NULL, 0);
    int rc = mp_value_copies_end(copies);
    return rc < 0 ? rc : 1;
}

int mp_dict_get(mp_ref dict, const mp_key *key, mp_copies *copies) {
    mp_edit c = mp_edit_of(dict, key, MP_NOWAIT);
    mp_stripe_lock(dict, c.p.number);
    mp_edit_find(&c);
    int rc = copy_value(&c, copies);
    if (rc == 1)
        mp_edit_use(&c);
    if (rc >= 0)
        count_look(c.d, rc);
    mp_edit_unlock(&c);
    return rc;
}

/* Whether the block is an entry that a reader would find. */
static int is_found(const dict_shared *d, mp_ref block, mp_time now) {
    return block != 0 && mp_stripe_entry(block)->value.type != MP_VALUE_NONE &&
           !(d->is_cache && mp_recency_is_over(d, block, now));
}

static int64_t copy_stripe(const dict_shared *d, const stripe *s, int keys_only, mp_time now,
                           mp_copies *copies) {
    static const mp_value nothing = {.type = MP_VALUE_NONE};
    const table *t = mp_stripe_table(s);
    int64_t n = 0;
    for (uint64_t i = 0; t != NULL && i < t->n_slots; i++) {
        const mp_ref block = mp_table_ref(t, i);
        if (!is_found(d, block, now))
            continue;
        const entry *e = mp_stripe_entry(block);
        if (copies != NULL)
            mp_value_copies_add(copies, keys_only ? 0 : block, &nothing, e->key_type,
                                mp_stripe_key(e), e->key_len);
        n++;
    }
    return n;
}

int64_t mp_dict_copy(mp_ref dict, int keys_only, mp_copies *copies) {
    const dict_shared *d = mp_stripe_dict(dict);
    const mp_time now = d->ttl == 0 ? 0 : mp_sys_now();
    int64_t n = 0;
    mp_stripe_lock_all(dict);
    mp_value_copies_begin(copies);
    for (uint32_t i = 0; i < d->n_stripes; i++)
        n += copy_stripe(d, &d->stripes[i], keys_only, now, copies);
    mp_stripe_unlock_all(dict);
    int rc = mp_value_copies_end(copies);
    return rc < 0 ? rc : n;
}

uint64_t mp_dict_len(mp_ref dict) {
    const dict_shared *d = mp_stripe_dict(dict);
    uint64_t n = 0;
    mp_stripe_lock_all(dict);
    if (d->ttl != 0)
        n = (uint64_t)copy_stripe(d, &d->stripes[0], 1, mp_sys_now(), NULL);
    for (uint32_t i = 0; i < d->n_stripes && d->ttl == 0; i++)
        n += d->stripes[i].count;
    mp_stripe_unlock_all(dict);
    return n;
}

void mp_dict_stats(mp_ref dict, mp_cache_stats *stats) {
    const dict_shared *d = mp_stripe_dict(dict);
    mp_stripe_lock(dict, 0);
    *stats = (mp_cache_stats){d->hits, d->misses, d->evictions, d->max, d->ttl};
    mp_stripe_unlock(dict, 0);
}

/* --- updates -------------------------------------------------------------- */

static int pin(mp_edit *c) {
    atomic_fetch_add_explicit(&c->p.s->n_updated, c->p.e->updater == 0, memory_order_relaxed);
    atomic_store_explicit(&c->p.e->updater, mp_name_own(), memory_order_release);
    mp_fault("dict.update.U1");
    return mp_edit_has_value(c);
}

/* In the lock, for a key that is not there: an entry without a value. */
static void pin_absent(mp_edit *c) {
    mp_stripe_entry(c->fresh)->updater = mp_name_own();
    mp_edit_put(c);
    mp_fault("dict.update.U1");
}

/* In the lock: the key is there, and is looked at or updated. */
static int begin_present(mp_edit *c, int if_absent, mp_copies *copies) {
    int rc = copy_value(c, copies);
    if (rc == 1)
        mp_edit_use(c);
    if (rc >= 0)
        count_look(c->d, rc);
    if (rc < 0)
        return rc;
    return rc == 1 && if_absent ? -EEXIST : pin(c);
}

int mp_dict_begin(mp_ref dict, const mp_key *key, int if_absent, mp_copies *copies,
                  mp_time deadline) {
    static const mp_value nothing = {.type = MP_VALUE_NONE};
    mp_edit c = mp_edit_of(dict, key, deadline);
    int rc = mp_edit_lock(&c);
    if (rc < 0)
        return rc;
    if (c.p.e != NULL) {
        rc = begin_present(&c, if_absent, copies);
        mp_edit_unlock(&c);
        return rc;
    }
    mp_edit_unlock(&c);
    rc = mp_edit_prepare(&c, &nothing);
    if (rc < 0)
        return mp_edit_finish(&c, rc);
    if (c.p.e != NULL) {
        rc = begin_present(&c, if_absent, copies);
    } else {
        count_look(c.d, 0);
        pin_absent(&c);
    }
    mp_edit_unlock(&c);
    return mp_edit_finish(&c, rc);
}

/* In the lock: nobody updates the key any more. */
static void unpin(mp_edit *c) {
    if (c->p.e == NULL || c->p.e->updater != mp_name_own())
        return;
    if (c->p.e->value.type == MP_VALUE_NONE) {
        mp_edit_take_out(c, &c->p);
    } else {
        atomic_store_explicit(&c->p.e->updater, 0, memory_order_release);
        atomic_fetch_sub_explicit(&c->p.s->n_updated, 1, memory_order_relaxed);
    }
    mp_fault("dict.update.U2");
}

/* In the lock: what needs no entry of its own is done at once. */
static int end_in_place(mp_edit *c, const mp_value *value) {
    if (value != NULL && value->type == MP_VALUE_NONE) {
        if (c->p.e != NULL)
            mp_edit_take_out(c, &c->p);
        return 1;
    }
    if (value != NULL && (c->d->ttl != 0 || !mp_edit_word(c, value)))
        return 0;
    unpin(c);
    return 1;
}

int mp_dict_end(mp_ref dict, const mp_key *key, const mp_value *value) {
    mp_edit c = mp_edit_of(dict, key, MP_FOREVER);
    c.is_end = 1;
    int rc = mp_edit_lock(&c);
    const int is_done = end_in_place(&c, value);
    if (!is_done) {
        mp_edit_unlock(&c);
        rc = mp_edit_prepare(&c, value);
        if (rc < 0)
            return mp_edit_finish(&c, rc);
        mp_edit_put(&c);
    }
    atomic_fetch_add_explicit(&c.p.s->ends, 1, memory_order_release);
    mp_edit_unlock(&c);
    mp_edit_tell(c.p.s);
    return mp_edit_finish(&c, rc);
}

/* --- clearing ------------------------------------------------------------- */

/* With all locks: whether a key is updated, and where. */
static int find_update(dict_shared *d, mp_update *a) {
    for (uint32_t i = 0; i < d->n_stripes; i++) {
        stripe *s = &d->stripes[i];
        const table *t = s->n_updated == 0 ? NULL : mp_stripe_table(s);
        for (uint64_t j = 0; t != NULL && j < t->n_slots; j++) {
            const mp_ref block = mp_table_ref(t, j);
            if (block == 0 || !mp_stripe_is_updated(mp_stripe_entry(block)))
                continue;
            *a = (mp_update){s, s->ends, mp_stripe_entry(block)->updater};
            return 1;
        }
    }
    return 0;
}

int mp_dict_clear(mp_ref dict, mp_time deadline) {
    dict_shared *d = mp_stripe_dict(dict);
    mp_ref old[MP_STRIPES];
    mp_update a;
    mp_stripe_lock_all(dict);
    while (find_update(d, &a)) {
        mp_stripe_unlock_all(dict);
        if (a.updater == mp_name_own())
            return -EBUSY;
        int rc = mp_edit_wait(dict, &a, deadline);
        if (rc < 0)
            return rc;
        mp_stripe_lock_all(dict);
    }
    if (d->is_cache)
        mp_recency_clear(d);
    for (uint32_t i = 0; i < d->n_stripes; i++)
        mp_stripe_empty(dict, i, &old[i]);
    mp_stripe_unlock_all(dict);
    for (uint32_t i = 0; i < d->n_stripes; i++)
        if (old[i] != 0)
            mp_table_end(old[i]);
    return 0;
}
