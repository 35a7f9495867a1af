/*
** lane.c: a worker's side of a board; board.h has the rules.
*/
#include "engine/batch.h"

#include <errno.h>
#include <string.h>

#include "engine/deadlock.h"
#include "engine/family.h"
#include "engine/page.h"

_Static_assert(sizeof(slot) == 64, "a slot is a cache line");

enum {
    MOST_AT_ONCE = 64,       /* places of the order that a worker takes by itself */
    WORTH = MP_SECOND / 1000 /* nanoseconds of work that it takes by itself */
};

/* What the worker is about. */
static MP_OWN struct {
    board_shared *board;
    lane_shared *lane;
    uint32_t member; /* the worker's own record: a process that it forks is none */
    uint32_t number;
    uint32_t from, to;  /* of the places that it has taken: those that it has not come to */
    uint64_t passed_by; /* as of when it last looked at all slots */
    uint32_t n_untold;  /* ends of which the owner was not told */
    int most_looking;   /* of its kind at once: more would keep others from their CPUs */
    int takes_all;      /* also what others are to take, who have been busy for a look */
    mp_time taken_at;   /* when it has last taken places, */
    uint64_t n_taken;   /* and how many */
    uint32_t places[MP_BOARD_SLOTS];
} me;

void mp_lane_gather(char *to, const mp_record *record) {
    for (int i = 0; i < record->n_pieces; i++) {
        memcpy(to, record->pieces[i].iov_base, record->pieces[i].iov_len);
        to += record->pieces[i].iov_len;
    }
}

int mp_lane_wrap(mp_list *list, const mp_record *record, mp_ref *block) {
    int rc = mp_arena_alloc(record->len, MP_KIND_MESSAGE, list, block);
    if (rc < 0)
        return rc;
    mp_lane_gather(mp_arena_bytes(*block), record);
    for (size_t i = 0; i < record->n_objects && rc == 0; i++) {
        mp_ref hold;
        rc = mp_arena_hold(&mp_arena_block(*block)->holds, record->objects[i], &hold);
    }
    if (rc < 0)
        mp_arena_free(list, *block);
    return rc;
}

const char *mp_lane_bytes(const slot *s, mp_ref block, size_t *len) {
    *len = block != 0 ? mp_arena_block(block)->size : s->len;
    return block != 0 ? mp_arena_bytes(block) : s->bytes;
}

static lane_shared *lane_at(const board_shared *b, uint32_t i) {
    return b->lanes[i] == 0 ? NULL : mp_arena_bytes(b->lanes[i]);
}

static int n_looking(const board_shared *b) {
    const uint32_t n_lanes = atomic_load_explicit(&b->n_lanes, memory_order_acquire);
    int n = 0;
    for (uint32_t i = 0; i < n_lanes; i++) {
        const lane_shared *l = lane_at(b, i);
        n += l != NULL && atomic_load_explicit(&l->is_looking, memory_order_relaxed) != 0;
    }
    return n;
}

/* One that is killed while it looks takes none: then the look of another finds the task. */
void mp_lane_wake(board_shared *b, int n) {
    if (!mp_gate_has_sleepers(&b->work))
        return;
    n -= n_looking(b);
    if (n > 0)
        mp_gate_open(&b->work, n);
}

/* --- telling the owner -------------------------------------------------------- */

static void tell(void) {
    board_shared *b = me.board;
    me.n_untold = 0;
    mp_deadlock_acts();
    atomic_fetch_add_explicit(&b->told, 1, memory_order_release);
    mp_gate_open(&b->news, 1);
    mp_watch_tell(&b->watch);
}

static void become(mp_ref board, uint32_t lane, enum mp_lane_state state) {
    me.board = mp_arena_bytes(board);
    me.lane = mp_arena_bytes(me.board->lanes[lane]);
    me.member = mp_family_self();
    me.number = lane;
    me.from = me.to = 0;
    const int n_cpus = mp_sys_cpu_count();
    me.most_looking = n_cpus > 3 ? n_cpus / 2 : 1;
    me.passed_by = UINT64_MAX;
    atomic_store_explicit(&me.lane->state, state, memory_order_release);
    atomic_fetch_add_explicit(&me.board->changes, 1, memory_order_release);
    tell();
}

mp_times *mp_board_own_times(mp_ref board, uint32_t lane) {
    return &lane_at(mp_arena_bytes(board), lane)->times;
}

void mp_board_serve(mp_ref board, uint32_t lane) {
    become(board, lane, MP_LANE_SERVES);
}

int mp_board_refuse(mp_ref board, uint32_t lane, const mp_record *why) {
    board_shared *b = mp_arena_bytes(board);
    lane_shared *l = mp_arena_bytes(b->lanes[lane]);
    mp_ref block;
    int rc = mp_lane_wrap(&l->blocks, why, &block);
    if (rc == 0) {
        l->refusal_len = why->len;
        l->refusal = block;
        become(board, lane, MP_LANE_REFUSES);
    }
    return rc;
}

void mp_board_say(const char *bytes, size_t len) {
    if (me.lane == NULL || me.member != mp_family_self())
        return;
    const uint64_t n = atomic_load_explicit(&me.lane->n_said, memory_order_relaxed);
    for (size_t i = len > MP_BOARD_WORDS ? len - MP_BOARD_WORDS : 0; i < len; i++)
        me.lane->said[(n + i) % MP_BOARD_WORDS] = bytes[i];
    atomic_store_explicit(&me.lane->n_said, n + len, memory_order_release);
}

/* --- taking -------------------------------------------------------------------- */

static int is_for_me(uint32_t state) {
    return mp_lane_kind(state) == MP_SLOT_READY &&
           (mp_lane_of(state) != me.number + 1 || me.takes_all ||
            atomic_load_explicit(&me.board->n_serving, memory_order_relaxed) < 2);
}

/* Begins the task in the slot, if there is one for this worker. */
static int begin(uint32_t i) {
    slot *s = &me.board->slots[i];
    uint32_t state = atomic_load_explicit(&s->state, memory_order_relaxed);
    if (!is_for_me(state))
        return 0;
    /* First, so that the owner finds what runs; what it finds is true when the state says so. */
    atomic_store_explicit(&me.lane->running, i + 1, memory_order_release);
    return atomic_compare_exchange_strong_explicit(/* (B) */
                                                   &s->state, &state,
                                                   MP_SLOT_RUNNING + MP_STATES * me.number,
                                                   memory_order_acq_rel, memory_order_relaxed);
}

/* A task that only others may begin: the order does not lead there any more. */
static void leave_to_others(void) {
    atomic_fetch_add_explicit(&me.board->passed_by, 1, memory_order_release);
    mp_gate_open(&me.board->work, INT32_MAX);
}

/*
** The next of the places that it has taken: a slot whose task has begun, or -1. A place whose task
** went back, or was begun elsewhere, leads nowhere: another one in that slot has its own.
*/
static int next_taken(void) {
    while (me.from < me.to) {
        const uint32_t place = me.places[me.from++], i = place % MP_BOARD_SLOTS;
        atomic_store_explicit(&me.lane->ahead, me.to - me.from, memory_order_relaxed);
        const uint32_t state =
            atomic_load_explicit(&me.board->slots[i].state, memory_order_relaxed);
        if (mp_lane_kind(state) != MP_SLOT_READY || state / MP_TURN != place / MP_TURN)
            continue;
        if (begin(i))
            return (int)i;
        if (!is_for_me(state))
            leave_to_others();
    }
    return -1;
}

/* How many tasks like those that it took last are worth one look at the order. */
static uint64_t n_fitting(void) {
    const mp_time took = me.n_taken == 0 ? 0 : mp_sys_now() - me.taken_at;
    return took <= 0 ? MOST_AT_ONCE : (uint64_t)WORTH * me.n_taken / (uint64_t)took;
}

static uint32_t wish_at(uint64_t place) {
    const uint32_t i =
        atomic_load_explicit(&me.board->order[place % MP_BOARD_SLOTS], memory_order_relaxed);
    return me.board->slots[i % MP_BOARD_SLOTS].chunk;
}

/* How many places to take when n lie ahead: as the first task wishes, else a share of what is
 * there. */
static uint64_t share(uint64_t head, uint64_t n) {
    const uint64_t wish = wish_at(head);
    const uint32_t n_serving = atomic_load_explicit(&me.board->n_serving, memory_order_relaxed);
    uint64_t k = wish;
    if (wish == 0) {
        k = n / (4 * (uint64_t)(n_serving > 0 ? n_serving : 1));
        k = k < MOST_AT_ONCE ? k : MOST_AT_ONCE;
        const uint64_t fitting = n_fitting();
        k = k < fitting ? k : fitting;
    }
    k = k < 1 ? 1 : k;
    return k < n ? k : n;
}

/*
** What stands in n places from the head on: which may be others by now if the order has gone round
** since. How long these take is of interest where the next ones are fitted to that.
*/
static void note_taken(uint64_t head, uint64_t n) {
    board_shared *b = me.board;
    me.n_taken = wish_at(head) == 0 ? n : 0;
    for (uint64_t i = 0; i < n; i++)
        me.places[i] =
            atomic_load_explicit(&b->order[(head + i) % MP_BOARD_SLOTS], memory_order_acquire);
    if (atomic_load_explicit(&b->tail, memory_order_relaxed) > head + MP_BOARD_SLOTS)
        atomic_fetch_add_explicit(&b->passed_by, 1, memory_order_release);
    me.from = 0;
    me.to = (uint32_t)n;
    atomic_store_explicit(&me.lane->ahead, me.to, memory_order_relaxed);
    if (me.n_taken > 0)
        me.taken_at = mp_sys_now();
}

/* Takes places of the order: whether there were some. */
static int take_places(void) {
    board_shared *b = me.board;
    uint64_t head = atomic_load_explicit(&b->head, memory_order_relaxed);
    for (;;) {
        const uint64_t tail = atomic_load_explicit(&b->tail, memory_order_acquire);
        if (head >= tail)
            return 0;
        const uint64_t n = share(head, tail - head);
        if (atomic_compare_exchange_weak_explicit(&b->head, &head, head + n, memory_order_acq_rel,
                                                  memory_order_relaxed)) {
            note_taken(head, n);
            if (head + n < tail)
                mp_lane_wake(b, 1);
            mp_fault("board.take.T1");
            return 1;
        }
    }
}

/* Whether another worker has taken places that it has not come to. */
static int is_one_ahead(void) {
    const uint32_t n = atomic_load_explicit(&me.board->n_lanes, memory_order_acquire);
    for (uint32_t i = 0; i < n; i++) {
        const lane_shared *l = lane_at(me.board, i);
        if (l != NULL && l != me.lane && atomic_load_explicit(&l->ahead, memory_order_relaxed) != 0)
            return 1;
    }
    return 0;
}

/* Looks at all slots, if there may be a task where the order does not lead: one that has begun now,
 * or -1. */
static int find(void) {
    const uint64_t passed_by = atomic_load_explicit(&me.board->passed_by, memory_order_acquire);
    if (passed_by == me.passed_by && !me.takes_all && !is_one_ahead())
        return -1;
    const uint32_t n = atomic_load_explicit(&me.board->n_slots, memory_order_acquire);
    for (uint32_t i = 0; i < n; i++)
        if (begin(i))
            return (int)i;
    me.passed_by = passed_by;
    return -1;
}

static int is_dismissed(void) {
    return atomic_load_explicit(&me.lane->is_dismissed, memory_order_acquire) != 0;
}

static int has_work(const void *arg) {
    const board_shared *b = arg;
    return atomic_load_explicit(&b->head, memory_order_relaxed) !=
               atomic_load_explicit(&b->tail, memory_order_acquire) ||
           atomic_load_explicit(&b->passed_by, memory_order_relaxed) != me.passed_by ||
           atomic_load_explicit(&b->is_closed, memory_order_relaxed) != 0 || is_dismissed();
}

/* A slot whose task this worker has begun, or -1. */
static int look_for_task(void) {
    int i = next_taken();
    while (i < 0 && take_places())
        i = next_taken();
    return i >= 0 ? i : find();
}

/* Who looks says so, and nobody is woken in its place; it says that it does not before it sleeps.
 */
static int look_or_sleep(void) {
    board_shared *b = me.board;
    if (has_work(b))
        return 0;
    if (n_looking(b) < me.most_looking) {
        atomic_store_explicit(&me.lane->is_looking, 1, memory_order_relaxed);
        const int is_ready = mp_gate_look_again(&b->news, has_work, b);
        atomic_store_explicit(&me.lane->is_looking, 0, memory_order_relaxed);
        if (is_ready)
            return 0;
    }
    return mp_gate_sleep(&b->work, has_work, b, MP_FOREVER);
}

/*
** One sleep: 0, -EINTR, or -ETIMEDOUT after a look at all slots that was in vain: what a worker has
** taken and comes late to may be done here, and so may what others were to take.
*/
static int sleep_once(void) {
    const int rc = look_or_sleep();
    const uint32_t n = atomic_load_explicit(&me.board->n_slots, memory_order_acquire);
    me.takes_all = rc == -ETIMEDOUT;
    for (uint32_t i = 0; i < n && rc == -ETIMEDOUT; i++)
        if (is_for_me(atomic_load_explicit(&me.board->slots[i].state, memory_order_relaxed)))
            return 0;
    return rc;
}

/* Waits until there may be a task: 0, or -EINTR. Who has waited for long says so: see deadlock.h.
 */
static int await_work(void) {
    if (me.n_untold > 0)
        tell();
    int rc = sleep_once();
    if (rc != -ETIMEDOUT)
        return rc;
    mp_deadlock_enter(MP_WAITS_TASK, 0);
    while (rc == -ETIMEDOUT) {
        if (mp_arena_sweep_dead())
            mp_deadlock_change();
        rc = sleep_once();
        if (rc == -ETIMEDOUT)
            mp_deadlock_look();
    }
    mp_deadlock_leave();
    return rc;
}

static void fill_in(uint32_t i, mp_given *given) {
    const slot *s = &me.board->slots[i];
    given->task = (mp_task){.index = s->index,
                            .limit = s->limit,
                            .call = s->call % MP_BOARD_CALLS,
                            .attempt = s->attempt};
    given->is_batch = s->len == MP_LANE_BATCH;
    if (given->is_batch)
        mp_batch_enter(&me.board->slots[i], &me.lane->blocks);
    else
        given->bytes = mp_lane_bytes(s, s->in, &given->len);
    given->call_id =
        given->task.call == MP_BOARD_NOT_KEPT ? 0 : me.board->calls[given->task.call].id;
    if (s->limit != 0) {
        const mp_time until = mp_sys_now() + (mp_time)((double)s->limit * MP_SECOND);
        atomic_store_explicit(&me.lane->until, until, memory_order_relaxed);
        mp_family_limit(mp_family_self(), until);
    }
}

int mp_board_take(mp_given *given) {
    for (;;) {
        if (is_dismissed()) {
            mp_lane_wake(me.board, 1); /* who saw it look has woken nobody else */
            return -EPIPE;
        }
        const int i = look_for_task();
        if (i >= 0) {
            me.takes_all = 0;
            mp_fault("board.take.T2");
            fill_in((uint32_t)i, given);
            return i;
        }
        atomic_store_explicit(&me.lane->running, 0, memory_order_relaxed);
        if (atomic_load_explicit(&me.board->is_closed, memory_order_acquire) != 0)
            return -EPIPE;
        const int rc = await_work();
        if (rc < 0)
            return rc;
    }
}

const char *mp_board_function(uint32_t call, size_t *len) {
    const kept_call *c = &me.board->calls[call];
    *len = c->block == 0 ? 0 : c->len;
    return c->block == 0 ? NULL : mp_arena_bytes(c->block);
}

/* --- finishing ------------------------------------------------------------------ */

/* The owner is told of every so many ends. */
static void ring(uint32_t i) {
    lane_shared *l = me.lane;
    const uint64_t n = atomic_load_explicit(&l->n_ended, memory_order_relaxed);
    l->ring[n % MP_BOARD_SLOTS] = (uint16_t)i;
    /* (R) with the owner's load: who sees the number sees the slot's. */
    atomic_store_explicit(&l->n_ended, n + 1, memory_order_release);
    mp_fault("board.finish.F4");
    if (++me.n_untold >= atomic_load_explicit(&me.board->quota, memory_order_relaxed))
        tell();
}

/* The time limit is over, also one that was put off: whether nobody has begun to end the worker for
 * it.
 */
static int clear_limit(void) {
    member_shared *m = &mp_page->members[me.member];
    int64_t deadline = atomic_load(&m->deadline);
    atomic_store_explicit(&me.lane->until, 0, memory_order_relaxed);
    while (m->overran != m->serial)
        if (atomic_compare_exchange_strong(&m->deadline, &deadline, 0))
            return 1;
    return 0;
}

int mp_board_begin(mp_given *given) {
    return !is_dismissed() && mp_batch_begin(given);
}

int mp_board_leave(enum mp_task_end end, const mp_record *record) {
    return mp_batch_leave(record, end == MP_TASK_FAILED);
}

/* Lays what came of the task into its slot. */
static int fill_out(slot *s, const mp_record *record) {
    mp_ref out = 0;
    if (record->len > MP_BOARD_INLINE || record->n_objects > 0) {
        int rc = mp_lane_wrap(&me.lane->blocks, record, &out);
        if (rc < 0)
            return rc;
        mp_fault("board.finish.F1");
    } else {
        mp_lane_gather(s->bytes, record);
    }
    s->out = out;
    s->len = out != 0 ? 0 : (uint8_t)record->len;
    mp_fault("board.finish.F2");
    return 0;
}

int mp_board_finish(uint32_t i, enum mp_task_end end, const mp_record *record) {
    slot *s = &me.board->slots[i];
    const int rc = record == NULL ? 0 : fill_out(s, record);
    if (rc < 0)
        return rc;
    if (s->limit != 0 && !clear_limit())
        return -ECANCELED;
    uint32_t state = MP_SLOT_RUNNING + MP_STATES * me.number;
    const uint32_t ended =
        (end == MP_TASK_DONE ? MP_SLOT_DONE : MP_SLOT_FAILED) + MP_STATES * me.number;
    /* (B) with the owner's look at the state: who sees that it has ended sees what came of it. */
    if (!atomic_compare_exchange_strong_explicit(&s->state, &state, ended, memory_order_release,
                                                 memory_order_relaxed))
        return -ECANCELED;
    mp_fault("board.finish.F3");
    ring(i);
    return 0;
}
