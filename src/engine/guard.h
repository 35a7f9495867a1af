/*
** guard.h: the state of the arena (arena.h), for the rooms that keep it.
**
** arena.c makes and frees blocks, hold.c has what holds objects. What they change
** together is guarded by one robust lock. Before each change stands what is intended, so
** that who takes the lock after a death finishes it, or undoes it.
*/
#ifndef MP_ENGINE_GUARD_H
#define MP_ENGINE_GUARD_H

#include "engine/arena.h"
#include "engine/lock.h"
#include "engine/page.h"
#include "engine/spans.h"

enum mp_intent_op { MP_IDLE = 0, MP_ALLOC, MP_FREEING, MP_HOLDING, MP_MOVING, MP_GROWING };

/* What the guard's owner is about to do; arena.h lists the steps. */
typedef struct mp_intent {
    _Atomic uint32_t op;
    uint32_t count; /* of holds; or whether the block has memory */
    mp_ref block, list;
    mp_ref object,
        tied; /* what the hold is about, and what it is to be tied to: that, or nothing */
} mp_intent;

typedef struct mp_arena_shared {
    mp_lock guard, sweeper;
    _Atomic uint64_t limit; /* bytes; 0: none */
    mp_intent intent;
    mp_list limbo; /* objects without a hold that somebody may have inherited */
    mp_spans spans;
} mp_arena_shared;

static inline mp_arena_shared *mp_guard_arena(void) {
    return (mp_arena_shared *)(mp_page + 1);
}

static inline member_shared *mp_guard_me(void) {
    return &mp_page->members[mp_page_self];
}

/* Whether there is an arena, and this process of the family. */
int mp_guard_is_open(void);

/* Makes the arena's state, in a page that has none. */
void mp_guard_make(void);

void mp_guard_lock(void);
void mp_guard_unlock(void);

/* In guard: says what is to be done, and that it was. */
void mp_guard_intend(enum mp_intent_op op, mp_ref block, mp_list *list);
void mp_guard_done(void);

/* Ties a hold as intended, or unties it: an object without a hold is in limbo. In guard. */
void mp_guard_finish_hold(const mp_intent *i);

/* Lists: a block comes first; a block goes, by one store, and whether it was there. */
static inline mp_ref mp_guard_first(const mp_list *list) {
    return atomic_load_explicit(list, memory_order_relaxed);
}
void mp_guard_push(mp_list *list, mp_ref block);
int mp_guard_unlink(mp_list *list, mp_ref block);
int mp_guard_has(const mp_list *list, mp_ref block);

/* What stands in `growing` is a free span with memory; or goes back as it came. */
void mp_guard_end_growth(member_shared *m, int has_memory);

/* The same as intended. In guard. */
void mp_guard_finish_growth(const mp_intent *i);

static inline int mp_guard_is_object(const mp_block *b) {
    return b->kind >= MP_KIND_QUEUE;
}

#endif
