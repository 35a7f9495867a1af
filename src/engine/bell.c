/*
** bell.c: when a board has something for its owner to do, as descriptors say it (watch.h); the
** calls are in board.h.
**
** That is when a worker has told of something, when one has died and was not closed, or when a
** time has come that the owner has planned for. The owner says who its workers are, and when it
** has done what there is. A signal handler may ask: what is read here is read atomically, and
** lies still as long as the board.
*/
#include "engine/owner.h"

#include "engine/name.h"

/* Its record is its own until its owner closes it. */
static int has_died(mp_name worker) {
    return mp_name_of(mp_name_member(worker)) == worker && mp_name_has_died(worker);
}

static int has_lost(const mp_board *b, uint32_t lane) {
    const mp_name worker = atomic_load_explicit(&b->lanes[lane].worker, memory_order_relaxed);
    return worker != 0 && has_died(worker);
}

/* Apart from what workers tell. */
static int is_wanted(const mp_board *b) {
    const int64_t due = atomic_load_explicit(&b->due, memory_order_relaxed);
    for (uint32_t i = 0; i < b->shared->n_lanes; i++)
        if (has_lost(b, i))
            return 1;
    return due > 0 && mp_sys_now() >= due;
}

static int rings(const void *arg) {
    const mp_board *b = arg;
    if (atomic_load_explicit(&b->due, memory_order_relaxed) < 0)
        return 0;
    return atomic_load_explicit(&b->shared->told, memory_order_acquire) !=
               atomic_load_explicit(&b->shared->heard, memory_order_acquire) ||
           is_wanted(b);
}

/* Whether there is something to do for the task in that slot. */
static int rings_for(const mp_board *b, uint32_t i) {
    const uint32_t state = mp_owner_state(b, i);
    switch (mp_lane_kind(state)) {
    case MP_SLOT_READY:
        return is_wanted(b); /* it may need another worker */
    case MP_SLOT_RUNNING:
    case MP_SLOT_DOOMED:
        return has_lost(b, mp_lane_of(state));
    default:
        return 1;
    }
}

static int is_task_ready(const void *arg) {
    const mp_task_watch *t = arg;
    if (t->has_ended || t->board == NULL)
        return t->has_ended;
    return t->slot < 0 ? rings(t->board) : rings_for(t->board, (uint32_t)t->slot);
}

int mp_board_watch(mp_board *b) {
    return mp_watch_fd(&b->shared->watch, rings, b);
}

int mp_board_watch_task(mp_task_watch *t) {
    return mp_watch_fd(&t->watch, is_task_ready, t);
}

void mp_board_employ(mp_board *b, uint32_t lane, uint32_t member) {
    atomic_store_explicit(&b->lanes[lane].worker, mp_name_of(member), memory_order_relaxed);
}

void mp_board_plan(mp_board *b, mp_time due) {
    atomic_store_explicit(&b->due, due, memory_order_relaxed);
    mp_watch_renew();
}
