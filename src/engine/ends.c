/*
** ends.c: what came of a board's tasks, for its owner; board.h has the rules.
*/
#include "engine/owner.h"

static void leave_batch(mp_board *b, lane_shared *l) {
    mp_ref results = b->batch.reader.batch->out;
    mp_owner_free(&l->blocks, &results);
    b->batch.reader.batch = NULL;
    mp_owner_clear(b, b->batch.slot, l);
}

/* The next task of the batch; when all are given out, what was not begun. */
static int next_of_batch(mp_board *b, mp_ended *ended) {
    mp_batch_reader *r = &b->batch.reader;
    lane_shared *l = mp_owner_lane(b, b->batch.lane);
    mp_owner_free(&l->blocks, &r->result.block);
    *ended =
        (mp_ended){.task = b->ledger[b->batch.slot], .slot = b->batch.slot, .lane = b->batch.lane};
    ended->task.index += r->i;
    ended->end = mp_batch_next(r);
    ended->bytes = r->result.bytes;
    ended->len = r->result.len;
    ended->task.n = ended->end == MP_TASK_UNBEGUN ? r->claims.end - r->claims.begun : 0;
    if (ended->end == 0 || ended->end == MP_TASK_UNBEGUN)
        leave_batch(b, l);
    else
        b->lanes[b->batch.lane].n_ended++;
    return ended->end != 0;
}

static int give_out(mp_board *b, uint32_t i, uint32_t lane, enum mp_task_end how, mp_ended *ended) {
    slot *s = mp_owner_slot(b, i);
    if (b->ledger[i].n > 0) {
        atomic_store_explicit(&s->state, MP_SLOT_GIVEN + MP_STATES * lane, memory_order_relaxed);
        b->batch.slot = i;
        b->batch.lane = lane;
        mp_batch_read(&b->batch.reader, mp_batch_of(s), how == MP_TASK_LOST);
        return next_of_batch(b, ended);
    }
    b->lanes[lane].n_ended++;
    *ended = (mp_ended){.task = b->ledger[i], .end = how, .slot = i, .lane = lane};
    if (how != MP_TASK_LOST) {
        ended->bytes = mp_lane_bytes(s, s->out, &ended->len);
    } else {
        s->out = 0; /* half there, perhaps: it is freed with what no slot names */
    }
    atomic_store_explicit(&s->state, MP_SLOT_GIVEN + MP_STATES * lane, memory_order_relaxed);
    return 1;
}

static enum mp_task_end end_of(uint32_t kind) {
    return kind == MP_SLOT_DONE ? MP_TASK_DONE : kind == MP_SLOT_FAILED ? MP_TASK_FAILED : 0;
}

/* The next of the lane's ring. What stands there is what the slot's state says, too. */
static int next_of_lane(mp_board *b, uint32_t lane, mp_ended *ended) {
    const lane_shared *l = mp_owner_lane(b, lane);
    while (l != NULL && b->lanes[lane].n_taken !=
                            atomic_load_explicit(&l->n_ended, memory_order_acquire)) { /* (R) */
        const uint32_t i = l->ring[b->lanes[lane].n_taken++ % MP_BOARD_SLOTS] % MP_BOARD_SLOTS;
        const uint32_t state = mp_owner_state(b, i);
        if (end_of(mp_lane_kind(state)) != 0 && mp_lane_of(state) == lane &&
            give_out(b, i, lane, end_of(mp_lane_kind(state)), ended))
            return 1;
    }
    return 0;
}

/* What no slot of the dead worker names is nobody's. */
static void free_rest(mp_board *b, uint32_t lane) {
    lane_shared *l = mp_owner_lane(b, lane);
    for (mp_ref at = mp_arena_first(&l->blocks), next; at != 0; at = next) {
        int is_named = 0;
        next = mp_arena_next(at);
        for (uint32_t i = 0; i < b->shared->n_slots && !is_named; i++)
            is_named = mp_owner_slot(b, i)->out == at &&
                       mp_lane_kind(mp_owner_state(b, i)) == MP_SLOT_GIVEN;
        if (!is_named)
            mp_arena_free(&l->blocks, at);
    }
    l->refusal = 0;
}

static int next_of_dead(mp_board *b, mp_ended *ended) {
    const uint32_t lane = b->burial.lane;
    if (next_of_lane(b, lane, ended))
        return 1;
    while (b->burial.slot < b->shared->n_slots) {
        const uint32_t i = b->burial.slot++, state = mp_owner_state(b, i),
                       kind = mp_lane_kind(state);
        const int is_lost = kind == MP_SLOT_RUNNING || kind == MP_SLOT_DOOMED;
        if (mp_lane_of(state) == lane && (is_lost || end_of(kind) != 0) &&
            give_out(b, i, lane, is_lost ? MP_TASK_LOST : end_of(kind), ended))
            return 1;
    }
    b->burial.is_on = 0;
    free_rest(b, lane);
    return 0;
}

int mp_board_next(mp_board *b, mp_ended *ended) {
    const uint32_t told = atomic_load_explicit(&b->shared->told, memory_order_acquire);
    if (b->batch.reader.batch != NULL && next_of_batch(b, ended))
        return 1;
    if (b->burial.is_on && next_of_dead(b, ended))
        return 1;
    for (uint32_t n = 0; n < b->shared->n_lanes; n++) {
        if (next_of_lane(b, b->turn, ended))
            return 1;
        b->turn = b->turn + 1 < b->shared->n_lanes ? b->turn + 1 : 0;
    }
    atomic_store_explicit(&b->shared->heard, told, memory_order_release);
    return 0;
}

void mp_board_release(mp_board *b, uint32_t i) {
    if (b->ledger[i].n == 0)
        mp_owner_clear(b, i, mp_owner_lane(b, mp_lane_of(mp_owner_state(b, i))));
}

void mp_board_bury(mp_board *b, uint32_t lane) {
    lane_shared *l = mp_owner_lane(b, lane);
    b->burial.lane = lane;
    b->burial.slot = 0;
    b->burial.is_on = l != NULL;
    if (l == NULL)
        return;
    atomic_store_explicit(&l->running, 0, memory_order_relaxed);
    atomic_store_explicit(&l->is_looking, 0, memory_order_relaxed);
    atomic_store_explicit(&l->ahead, 0, memory_order_relaxed);
    atomic_store_explicit(&l->state, MP_LANE_EMPTY, memory_order_relaxed);
    /* Nobody is to be told of it any more. */
    atomic_store_explicit(&b->lanes[lane].worker, 0, memory_order_relaxed);
    mp_owner_count(b);
    mp_owner_look(b->shared); /* what it had taken and not begun */
}
