/*
** change.c: words that change as one; change.h has the rules.
*/
#include "engine/change.h"

#include "engine/family.h"
#include "engine/page.h"

void mp_change_init(mp_change *c) {
    *c = (mp_change){.n = 0};
    mp_lock_init(&c->lock);
}

/* What is valid is stored, perhaps again. */
static void store(mp_change *c) {
    if (!atomic_load_explicit(&c->is_valid, memory_order_acquire))
        return;
    for (uint32_t i = 0; i < c->n; i++) {
        atomic_store_explicit((mp_word *)mp_arena_at(c->stores[i].word), c->stores[i].value,
                              memory_order_release);
        mp_fault("change.make.M3");
    }
    atomic_store_explicit(&c->is_valid, 0, memory_order_release);
}

int mp_change_lock(mp_change *c, mp_time deadline, int may_end) {
    uint32_t dead;
    int rc = mp_lock_take(&c->lock, mp_page_self, deadline, may_end, &dead);
    if (rc == 1) {
        store(c);
        mp_lock_mended(&c->lock, mp_page_self);
    }
    if (rc >= 0)
        c->n = 0;
    return rc < 0 ? rc : 0;
}

void mp_change_unlock(mp_change *c) {
    mp_lock_give(&c->lock);
}

void mp_change_set(mp_change *c, mp_word *word, uint64_t value) {
    if (c->n == MP_CHANGE_STORES)
        mp_panic("a change has too many stores");
    c->stores[c->n].word = mp_arena_ref(word);
    c->stores[c->n++].value = value;
}

void mp_change_make(mp_change *c) {
    mp_fault("change.make.M1");
    atomic_store_explicit(&c->is_valid, 1, memory_order_release);
    mp_fault("change.make.M2");
    store(c);
    c->n = 0;
}
