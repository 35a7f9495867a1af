/*
** owner.h: what the owner of a board (board.h) keeps for itself, for the rooms that keep it.
**
** board.c makes boards, and puts tasks and takes them back; ends.c gives out what came of them;
** bell.c says when there is something to do.
*/
#ifndef MP_ENGINE_OWNER_H
#define MP_ENGINE_OWNER_H

#include "engine/batch.h"
#include "engine/name.h"

typedef struct own_lane {
    uint64_t n_taken; /* places of its ring so far */
    uint64_t n_ended;
    _Atomic mp_name worker; /* for bell.c; 0: there was none */
} own_lane;

/* Zero at first. What is not used is not touched: of a large board it takes no memory. */
struct mp_board {
    board_shared *shared;
    uint32_t n_free;         /* of the slots that were used before */
    uint64_t changes;        /* of lanes, that were seen */
    uint32_t turn;           /* whose results come next */
    struct {                 /* a dead worker's, which is gone through */
        uint32_t lane, slot; /* slot: where the look goes on */
        int is_on;
    } burial;
    struct { /* whose tasks are given out */
        mp_batch_reader reader;
        uint32_t slot, lane;
    } batch;
    _Atomic int64_t due; /* for bell.c; 0: no time is planned for; less: nothing is wanted */
    uint64_t n_bytes;    /* in blocks of what tasks are given */
    mp_time waited;      /* for news */
    uint64_t n_kept;     /* functions so far */
    own_lane lanes[MP_BOARD_LANES];
    mp_call_count counts[MP_BOARD_CALLS];
    mp_task ledger[MP_BOARD_SLOTS];
    uint16_t free[MP_BOARD_SLOTS];
    uint16_t turns[MP_BOARD_SLOTS]; /* tasks that each slot has had */
};

static inline slot *mp_owner_slot(const mp_board *b, uint32_t i) {
    return &b->shared->slots[i];
}

static inline uint32_t mp_owner_state(const mp_board *b, uint32_t i) {
    return atomic_load_explicit(&mp_owner_slot(b, i)->state, memory_order_acquire);
}

static inline lane_shared *mp_owner_lane(const mp_board *b, uint32_t lane) {
    return lane < b->shared->n_lanes && b->shared->lanes[lane] != 0
               ? mp_arena_bytes(b->shared->lanes[lane])
               : NULL;
}

/* Ends that block of the list, if there is one, when nothing names it any more. */
void mp_owner_free(mp_list *list, mp_ref *block);
/* Frees the slot, which is the owner's alone by now, and what its task was given and gave. */
void mp_owner_clear(mp_board *b, uint32_t i, lane_shared *l);

/* Counts the workers that serve: how many there are says whether a task may be left to another one.
 */
void mp_owner_count(mp_board *b);

/* Some task may be where the order does not lead any more: all are to be looked at. */
void mp_owner_look(board_shared *s);

#endif
