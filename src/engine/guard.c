/*
** guard.c: the arena's lock, its intents and its lists; guard.h has the rules.
*/
#include "engine/guard.h"

#include <stddef.h>
#include <string.h>

#include "engine/family.h"

/* --- lists ---------------------------------------------------------------- */

static void set(mp_list *list, mp_ref block) {
    atomic_store_explicit(list, block, memory_order_release);
}

/*
** The word that leads to the block: by what it knows of the one before it, if that is true,
** else by a search. NULL: it is not on the list.
*/
static mp_list *find_link(mp_list *list, mp_ref block) {
    const mp_ref before = mp_arena_block(block)->before;
    mp_list *link = before == 0 ? list : &mp_arena_block(before)->next;
    if (mp_guard_first(link) == block)
        return link;
    for (link = list; mp_guard_first(link) != block;
         link = &mp_arena_block(mp_guard_first(link))->next)
        if (mp_guard_first(link) == 0)
            return NULL;
    return link;
}

/* The block behind the link, if there is one, learns what is before it. */
static void tell_next(const mp_list *list, mp_list *link, mp_ref next) {
    if (next != 0)
        mp_arena_block(next)->before =
            link == list ? 0 : mp_arena_ref(link) - offsetof(mp_block, next);
}

void mp_guard_push(mp_list *list, mp_ref block) {
    const mp_ref next = mp_guard_first(list);
    mp_block *b = mp_arena_block(block);
    b->before = 0;
    atomic_store_explicit(&b->next, next, memory_order_relaxed);
    set(list, block);
    tell_next(list, &b->next, next); /* late: a death before leaves it with what is not true */
}

int mp_guard_unlink(mp_list *list, mp_ref block) {
    mp_list *link = find_link(list, block);
    if (link == NULL)
        return 0;
    const mp_ref next = mp_guard_first(&mp_arena_block(block)->next);
    tell_next(list, link, next); /* early: it does not know the block when that is gone */
    set(link, next);
    return 1;
}

int mp_guard_has(const mp_list *list, mp_ref block) {
    mp_ref i = mp_guard_first(list);
    while (i != 0 && i != block)
        i = mp_guard_first(&mp_arena_block(i)->next);
    return i != 0;
}

/* --- the guard ------------------------------------------------------------ */

static void set_limbo(mp_ref object) {
    mp_block *b = mp_arena_block(object);
    b->unheld = atomic_load_explicit(&mp_page->births, memory_order_relaxed);
    if (!b->is_over) {
        mp_guard_push(&mp_guard_arena()->limbo, object);
        atomic_signal_fence(memory_order_seq_cst); /* who is there and does not say so, see mend */
        b->is_over = 1;
    }
}

void mp_guard_finish_hold(const mp_intent *i) {
    mp_block *object = mp_arena_block(i->object);
    ((mp_hold *)mp_arena_bytes(i->block))->object = i->tied;
    atomic_store_explicit(&object->n_holds, i->count, memory_order_relaxed);
    if (i->count == 0)
        set_limbo(i->object);
}

void mp_guard_finish_growth(const mp_intent *i) {
    mp_spans *s = &mp_guard_arena()->spans;
    if (mp_spans_is_used(s, i->block)) {
        if (i->count != 0)
            mp_spans_backed(s, mp_spans_size(s, i->block) / MP_SPAN_PAGE);
        mp_spans_give(s, i->block, i->count != 0);
    }
    mp_fault("arena.grow.G3");
    *(uint64_t *)mp_arena_at(i->list) = 0;
}

static void finish(mp_intent *i, uint32_t dead) {
    mp_spans *s = &mp_guard_arena()->spans;
    mp_list *list = mp_arena_at(i->list);
    switch (i->op) {
    case MP_ALLOC:
        if (mp_guard_first(list) != i->block && mp_spans_is_used(s, i->block))
            mp_spans_give(s, i->block, 1);
        break;
    case MP_FREEING:
        mp_guard_unlink(list, i->block);
        if (mp_spans_is_used(s, i->block))
            mp_spans_give(s, i->block, 1);
        break;
    case MP_HOLDING:
        mp_guard_finish_hold(i);
        break;
    case MP_GROWING:
        mp_guard_finish_growth(i);
        break;
    case MP_MOVING:
        mp_guard_unlink(&mp_guard_arena()->limbo, i->block);
        if (mp_guard_first(&mp_page->members[dead].hands) != i->block)
            mp_guard_push(&mp_page->members[dead].hands, i->block);
        break;
    default:
        break;
    }
}

/* After the death of its owner, whose record is `dead`. */
static void mend(uint32_t dead) {
    mp_arena_shared *a = mp_guard_arena();
    if (dead == MP_NOBODY)
        return;
    mp_spans_rebuild(&a->spans);
    for (mp_ref i = mp_guard_first(&a->limbo); i != 0; i = mp_guard_first(&mp_arena_block(i)->next))
        mp_arena_block(i)->is_over = 1;
    finish(&a->intent, dead);
    a->intent.op = MP_IDLE;
    member_shared *m = &mp_page->members[dead];
    if (m->growing != 0 && !mp_spans_is_used(&a->spans, m->growing))
        m->growing = 0;
}

void mp_guard_lock(void) {
    uint32_t dead;
    if (mp_lock_take(&mp_guard_arena()->guard, mp_page_self, MP_FOREVER, 0, &dead) == 1) {
        mend(dead);
        mp_lock_mended(&mp_guard_arena()->guard, mp_page_self);
    }
}

void mp_guard_unlock(void) {
    mp_lock_give(&mp_guard_arena()->guard);
}

/* The intent is whole before its op says that there is one. */
void mp_guard_intend(enum mp_intent_op op, mp_ref block, mp_list *list) {
    mp_intent *i = &mp_guard_arena()->intent;
    i->block = block;
    i->list = mp_arena_ref(list);
    atomic_store_explicit(&i->op, op, memory_order_release);
}

void mp_guard_done(void) {
    atomic_store_explicit(&mp_guard_arena()->intent.op, MP_IDLE, memory_order_release);
}

/* --- opening -------------------------------------------------------------- */

int mp_guard_is_open(void) {
    return mp_page != NULL && mp_page_self != MP_NOBODY &&
           atomic_load_explicit(&mp_page->has_arena, memory_order_acquire) != 0;
}

void mp_guard_make(void) {
    mp_arena_shared *a = mp_guard_arena();
    const uint64_t end = sizeof(family_shared) + sizeof(mp_arena_shared);
    const uint64_t start = (end + MP_SPAN_PAGE - 1) / MP_SPAN_PAGE * MP_SPAN_PAGE;
    memset((void *)a, 0, sizeof *a);
    mp_lock_init(&a->guard);
    mp_lock_init(&a->sweeper);
    mp_spans_init(&a->spans, start, mp_page->reserve - start);
    atomic_store_explicit(&mp_page->has_arena, 1, memory_order_release);
}
