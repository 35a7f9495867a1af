/*
** board.c: the owner's side of a board, but for the ends of tasks (ends.c); board.h has the rules,
** lane.c is the workers' side.
*/
#include "engine/owner.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>

enum { MOST_BYTES = 64 << 20 };

void mp_owner_look(board_shared *s) {
    atomic_fetch_add_explicit(&s->passed_by, 1, memory_order_release);
    mp_gate_open(&s->work, INT32_MAX);
}

/* --- making and ending ------------------------------------------------------- */

/* In pages of its own, of which most are never touched. */
static mp_board *new_board(board_shared *shared) {
    mp_board *b = mmap(NULL, sizeof *b, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (b == MAP_FAILED)
        return NULL;
    b->shared = shared;
    return b;
}

int mp_board_make(mp_board **b, mp_ref *hold) {
    mp_ref ref;
    int rc = mp_arena_open();
    if (rc == 0)
        rc = mp_arena_alloc(sizeof(board_shared), MP_KIND_BOARD, mp_arena_hands(), &ref);
    if (rc < 0)
        return rc;
    board_shared *s = mp_arena_bytes(ref);
    memset((void *)s, 0, offsetof(board_shared, calls));
    s->work.cpu = s->news.cpu = -1;
    s->quota = 1;
    *b = new_board(s);
    rc = *b == NULL ? -ENOMEM : mp_arena_hold(mp_arena_holds(), ref, hold);
    if (rc < 0) {
        if (*b != NULL)
            munmap(*b, sizeof **b);
        mp_arena_free(mp_arena_hands(), ref);
    } else {
        mp_arena_unlink(mp_arena_hands(), ref);
    }
    return rc;
}

mp_ref mp_board_ref(const mp_board *b) {
    return mp_arena_ref(b->shared) - sizeof(mp_block);
}

void mp_board_forget(mp_board *b) {
    mp_watch_close(&b->shared->watch);
    munmap(b, sizeof *b);
}

/* A lane goes by its place first: what is left of it when this is done again is a part like others.
 */
static void end(mp_ref ref) {
    board_shared *s = mp_arena_bytes(ref);
    for (uint32_t i = 0; i < s->n_lanes; i++)
        if (s->lanes[i] != 0) {
            lane_shared *l = mp_arena_bytes(s->lanes[i]);
            while (mp_arena_first(&l->blocks) != 0)
                mp_arena_free(&l->blocks, mp_arena_first(&l->blocks));
            s->lanes[i] = 0;
            atomic_signal_fence(memory_order_seq_cst);
        }
    while (mp_arena_first(&s->parts) != 0)
        mp_arena_free(&s->parts, mp_arena_first(&s->parts));
}

static const mp_kind_class class = {.end = end};

__attribute__((constructor)) static void open_class(void) {
    mp_arena_classes[MP_KIND_BOARD] = &class;
}

/* --- lanes ------------------------------------------------------------------- */

void mp_owner_count(mp_board *b) {
    board_shared *s = b->shared;
    uint32_t n = 0;
    for (uint32_t i = 0; i < b->shared->n_lanes; i++) {
        const lane_shared *l = mp_owner_lane(b, i);
        n += l != NULL && atomic_load_explicit(&l->state, memory_order_acquire) == MP_LANE_SERVES;
    }
    if (n == atomic_load_explicit(&s->n_serving, memory_order_relaxed))
        return;
    atomic_store_explicit(&s->n_serving, n, memory_order_relaxed);
    mp_owner_look(s);
}

int mp_board_open(mp_board *b, uint32_t lane) {
    board_shared *s = b->shared;
    for (uint32_t i = s->n_lanes; i <= lane; i++)
        s->lanes[i] = 0;
    if (lane >= s->n_lanes)
        atomic_store_explicit(&s->n_lanes, lane + 1, memory_order_release);
    if (s->lanes[lane] == 0) {
        mp_ref ref;
        int rc = mp_arena_alloc(sizeof(lane_shared), MP_KIND_BYTES, &s->parts, &ref);
        if (rc < 0)
            return rc;
        memset(mp_arena_bytes(ref), 0, offsetof(lane_shared, ring));
        s->lanes[lane] = ref;
    }
    lane_shared *l = mp_owner_lane(b, lane);
    b->lanes[lane].n_taken = b->lanes[lane].n_ended = 0;
    atomic_store_explicit(&l->n_ended, 0, memory_order_relaxed);
    atomic_store_explicit(&l->running, 0, memory_order_relaxed);
    atomic_store_explicit(&l->until, 0, memory_order_relaxed);
    atomic_store_explicit(&l->is_dismissed, 0, memory_order_relaxed);
    atomic_store_explicit(&l->is_looking, 0, memory_order_relaxed);
    atomic_store_explicit(&l->ahead, 0, memory_order_relaxed);
    atomic_store_explicit(&l->n_said, 0, memory_order_relaxed);
    mp_times_set(&l->times, MP_STARTS);
    atomic_store_explicit(&l->state, MP_LANE_STARTS, memory_order_release);
    return 0;
}

mp_call_count *mp_board_count(mp_board *b, uint32_t call) {
    return &b->counts[call];
}

uint32_t mp_board_n_lanes(const mp_board *b) {
    return b->shared->n_lanes;
}

enum mp_lane_state mp_board_lane(const mp_board *b, uint32_t lane, mp_at_work *at_work) {
    const lane_shared *l = mp_owner_lane(b, lane);
    *at_work = (mp_at_work){.slot = 0};
    if (l == NULL)
        return MP_LANE_EMPTY;
    const uint32_t running = atomic_load_explicit(&l->running, memory_order_acquire);
    if (running > 0 && running <= MP_BOARD_SLOTS && mp_board_runner(b, running - 1) == lane + 1) {
        at_work->slot = running - 1;
        at_work->task = b->ledger[running - 1];
        if (at_work->task.limit > 0)
            at_work->until = atomic_load_explicit(&l->until, memory_order_relaxed);
    }
    return atomic_load_explicit(&l->state, memory_order_acquire);
}

uint64_t mp_board_n_ended(const mp_board *b, uint32_t lane) {
    return b->lanes[lane].n_ended;
}

int mp_board_lost(const mp_board *b, uint32_t lane, mp_at_work *at_work) {
    const lane_shared *l = mp_owner_lane(b, lane);
    const uint32_t running = atomic_load_explicit(&l->running, memory_order_acquire);
    if (running == 0 || running > MP_BOARD_SLOTS)
        return 0;
    const uint32_t state = mp_owner_state(b, running - 1), kind = mp_lane_kind(state);
    *at_work = (mp_at_work){.slot = running - 1, .task = b->ledger[running - 1]};
    return mp_lane_of(state) == lane && (kind == MP_SLOT_RUNNING || kind == MP_SLOT_DOOMED);
}

mp_times *mp_board_times(const mp_board *b, uint32_t lane) {
    lane_shared *l = mp_owner_lane(b, lane);
    return l == NULL ? NULL : &l->times;
}

uint64_t mp_board_call_id(const mp_board *b, uint32_t call) {
    return call == MP_BOARD_NOT_KEPT ? 0 : b->shared->calls[call % MP_BOARD_CALLS].id;
}

const char *mp_board_refusal(const mp_board *b, uint32_t lane, size_t *len) {
    const lane_shared *l = mp_owner_lane(b, lane);
    *len = l->refusal == 0 ? 0 : l->refusal_len;
    return l->refusal == 0 ? NULL : mp_arena_bytes(l->refusal);
}

size_t mp_board_words(const mp_board *b, uint32_t lane, char words[static MP_BOARD_WORDS]) {
    const lane_shared *l = mp_owner_lane(b, lane);
    const uint64_t n = l == NULL ? 0 : atomic_load_explicit(&l->n_said, memory_order_acquire);
    const uint64_t from = n > MP_BOARD_WORDS ? n - MP_BOARD_WORDS : 0;
    for (uint64_t i = from; i < n; i++)
        words[i - from] = l->said[i % MP_BOARD_WORDS];
    return n - from;
}

void mp_board_dismiss(mp_board *b, uint32_t lane) {
    lane_shared *l = mp_owner_lane(b, lane);
    if (l != NULL)
        atomic_store_explicit(&l->is_dismissed, 1, memory_order_release);
    mp_gate_open(&b->shared->work, INT32_MAX);
}

void mp_board_close(mp_board *b) {
    atomic_store_explicit(&b->shared->is_closed, 1, memory_order_release);
    mp_gate_open(&b->shared->work, INT32_MAX);
}

/* --- functions --------------------------------------------------------------- */

int mp_board_keep(mp_board *b, const mp_record *function, uint32_t *call) {
    board_shared *s = b->shared;
    for (uint32_t i = MP_BOARD_NOT_KEPT + 1; i < MP_BOARD_CALLS; i++) {
        if (i < s->n_calls && s->calls[i].block != 0)
            continue;
        mp_ref block;
        int rc = mp_lane_wrap(&s->parts, function, &block);
        if (rc < 0)
            return rc;
        if (i >= s->n_calls)
            s->n_calls = i + 1;
        s->calls[i] = (kept_call){.block = block, .len = function->len, .id = ++b->n_kept};
        *call = i;
        return 0;
    }
    return -EAGAIN;
}

void mp_board_unkeep(mp_board *b, uint32_t call) {
    const mp_ref block = b->shared->calls[call].block;
    b->shared->calls[call].block = 0;
    if (block != 0)
        mp_arena_free(&b->shared->parts, block);
}

/* --- putting ----------------------------------------------------------------- */

uint32_t mp_board_n_tasks(const mp_board *b) {
    return atomic_load_explicit(&b->shared->n_slots, memory_order_relaxed) - b->n_free;
}

/* What tasks are given may take so much, beyond two for each worker. */
uint32_t mp_board_room(const mp_board *b) {
    const int is_heavy = b->n_bytes > MOST_BYTES && mp_board_n_tasks(b) >= 2 * b->shared->n_lanes;
    return is_heavy ? 0 : MP_BOARD_SLOTS - mp_board_n_tasks(b);
}

/* Names the slot as one to look at; where there is no room for that, all are to be looked at. */
static void line_up(board_shared *s, uint32_t i, uint32_t turn) {
    const uint64_t tail = atomic_load_explicit(&s->tail, memory_order_relaxed);
    if (tail - atomic_load_explicit(&s->head, memory_order_acquire) == MP_BOARD_SLOTS) {
        atomic_fetch_add_explicit(&s->passed_by, 1, memory_order_release);
        return;
    }
    atomic_store_explicit(&s->order[tail % MP_BOARD_SLOTS], i + MP_TURN * turn,
                          memory_order_relaxed);
    atomic_store_explicit(&s->tail, tail + 1, memory_order_release);
}

static int fill(mp_board *b, slot *s, const mp_record *record) {
    s->in = 0;
    if (record->len > MP_BOARD_INLINE || record->n_objects > 0) {
        int rc = mp_lane_wrap(&b->shared->parts, record, &s->in);
        if (rc < 0)
            return rc;
    } else {
        mp_lane_gather(s->bytes, record);
    }
    s->len = s->in != 0 ? 0 : (uint8_t)record->len;
    return 0;
}

static void describe(slot *s, const mp_task *task) {
    s->out = 0;
    s->index = task->index;
    s->call = (uint16_t)task->call;
    s->chunk = (uint16_t)(task->chunk < UINT16_MAX ? task->chunk : UINT16_MAX);
    s->attempt = task->attempt;
    s->limit = task->limit;
}

/* The one that was free last, whose memory is near, or else one that was never used. */
static uint32_t next_slot(const mp_board *b) {
    return b->n_free > 0 ? b->free[b->n_free - 1]
                         : atomic_load_explicit(&b->shared->n_slots, memory_order_relaxed);
}

/* Makes the task known whose slot, the next one, has been filled in. */
static int put(mp_board *b, const mp_task *task) {
    const uint32_t i = next_slot(b);
    slot *s = mp_owner_slot(b, i);
    describe(s, task);
    b->n_bytes += s->in == 0 ? 0 : mp_arena_block(s->in)->size;
    b->ledger[i] = *task;
    if (b->n_free > 0) {
        b->n_free--;
    } else {
        atomic_store_explicit(&s->state, MP_SLOT_FREE, memory_order_relaxed);
        atomic_store_explicit(&b->shared->n_slots, i + 1, memory_order_release);
    }
    mp_fault("board.put.P1");
    /* (B) with the worker's swap: who begins it sees the task. */
    const uint32_t turn = ++b->turns[i];
    atomic_store_explicit(&s->state, MP_SLOT_READY + MP_STATES * task->excluded + MP_TURN * turn,
                          memory_order_release);
    mp_fault("board.put.P2");
    line_up(b->shared, i, turn);
    mp_fault("board.put.P3");
    return (int)i;
}

int mp_board_put(mp_board *b, const mp_task *task, const mp_record *record) {
    if (mp_board_room(b) == 0)
        return -EAGAIN;
    const int rc = fill(b, mp_owner_slot(b, next_slot(b)), record);
    return rc < 0 ? rc : put(b, task);
}

int mp_board_put_batch(mp_board *b, const mp_task *task, const char *bytes, uint32_t size,
                       int goes_on) {
    if (mp_board_room(b) == 0)
        return -EAGAIN;
    slot *s = mp_owner_slot(b, next_slot(b));
    const int rc = mp_batch_fill(s, &b->shared->parts, bytes, size, task->n, goes_on);
    return rc < 0 ? rc : put(b, task);
}

void mp_board_tell(mp_board *b, int n) {
    mp_gate_pass(&b->shared->news);
    mp_lane_wake(b->shared, n);
}

void mp_owner_free(mp_list *list, mp_ref *block) {
    const mp_ref old = *block;
    *block = 0;
    if (old != 0)
        mp_arena_free(list, old);
}

void mp_owner_clear(mp_board *b, uint32_t i, lane_shared *l) {
    slot *s = mp_owner_slot(b, i);
    b->n_bytes -= s->in == 0 ? 0 : mp_arena_block(s->in)->size;
    mp_owner_free(&b->shared->parts, &s->in);
    if (l != NULL)
        mp_owner_free(&l->blocks, &s->out);
    atomic_store_explicit(&s->state, MP_SLOT_FREE, memory_order_relaxed);
    b->free[b->n_free++] = (uint16_t)i;
}

int mp_board_retract(mp_board *b, uint32_t i) {
    uint32_t state = mp_owner_state(b, i);
    if (mp_lane_kind(state) != MP_SLOT_READY ||
        !atomic_compare_exchange_strong(&mp_owner_slot(b, i)->state, &state, MP_SLOT_FREE))
        return 0;
    mp_owner_clear(b, i, NULL);
    return 1;
}

/* The block is the owner's. The other bytes may change when the task is begun, and do not before.
 */
const char *mp_board_given(const mp_board *b, uint32_t i, char own[static MP_BOARD_INLINE],
                           size_t *len, const mp_list **holds) {
    const slot *s = mp_owner_slot(b, i);
    const char *bytes = mp_lane_bytes(s, s->in, len);
    *holds = s->in != 0 ? &mp_arena_block(s->in)->holds : NULL;
    if (s->in != 0)
        return bytes;
    *len = *len < MP_BOARD_INLINE ? *len : MP_BOARD_INLINE;
    return memcpy(own, bytes, *len);
}

uint32_t mp_board_withdraw(mp_board *b, uint32_t call) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < b->shared->n_slots; i++)
        if (b->ledger[i].call == call && mp_board_retract(b, i))
            n += b->ledger[i].n > 0 ? b->ledger[i].n : 1;
    return n;
}

/* How many tasks of the slot nobody has begun. */
static uint32_t n_unbegun(const mp_board *b, uint32_t i) {
    const uint32_t kind = mp_lane_kind(mp_owner_state(b, i));
    if (b->ledger[i].n == 0)
        return kind == MP_SLOT_READY;
    if (kind != MP_SLOT_READY && kind != MP_SLOT_RUNNING)
        return 0;
    const mp_claims claims = mp_batch_claims(mp_batch_of(mp_owner_slot(b, i)));
    return claims.end - claims.begun;
}

int mp_board_has_tasks(const mp_board *b, uint32_t call) {
    for (uint32_t i = 0; i < b->shared->n_slots; i++)
        if (b->ledger[i].call == call && mp_lane_kind(mp_owner_state(b, i)) != MP_SLOT_FREE)
            return 1;
    return 0;
}

uint32_t mp_board_n_waiting(const mp_board *b) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < b->shared->n_slots; i++)
        n += n_unbegun(b, i);
    return n;
}

/* What a batch gives out is counted as it goes; it is never half given out between two looks. */
uint32_t mp_board_n_unheard(const mp_board *b, uint32_t call) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < b->shared->n_slots; i++) {
        const uint32_t kind = mp_lane_kind(mp_owner_state(b, i));
        const int has_ended = kind == MP_SLOT_DONE || kind == MP_SLOT_FAILED;
        if (b->ledger[i].call != call || (kind != MP_SLOT_RUNNING && !has_ended))
            continue;
        if (b->ledger[i].n > 0)
            n += atomic_load_explicit(&mp_batch_of(mp_owner_slot(b, i))->n_done,
                                      memory_order_acquire);
        else
            n += has_ended != 0;
    }
    return n;
}

/* Whether a worker has nothing to do. */
static int has_idle(const mp_board *b) {
    mp_at_work w;
    for (uint32_t i = 0; i < b->shared->n_lanes; i++)
        if (mp_board_lane(b, i, &w) == MP_LANE_SERVES && w.task.attempt == 0)
            return 1;
    return 0;
}

/* Of the batches that have been begun that of which most is left, if no task waits; or NULL. */
static batch *largest_rest(const mp_board *b, uint32_t *where) {
    uint32_t most = 0;
    for (uint32_t i = 0; i < b->shared->n_slots; i++) {
        if (mp_lane_kind(mp_owner_state(b, i)) == MP_SLOT_READY)
            return NULL;
        const uint32_t n = n_unbegun(b, i);
        if (n > most) {
            most = n;
            *where = i;
        }
    }
    return most > 0 ? mp_batch_of(mp_owner_slot(b, *where)) : NULL;
}

int mp_board_split(mp_board *b, mp_task *rest) {
    return has_idle(b) && mp_board_halve(b, rest);
}

/* Places before the head were taken by workers, who may have begun something else. */
int mp_board_last_ready(const mp_board *b, mp_task *task) {
    const board_shared *s = b->shared;
    const uint64_t tail = atomic_load_explicit(&s->tail, memory_order_relaxed);
    for (uint64_t n = 1; n <= tail && n <= MP_BOARD_SLOTS; n++) {
        const uint32_t place =
            atomic_load_explicit(&s->order[(tail - n) % MP_BOARD_SLOTS], memory_order_relaxed);
        const uint32_t i = place % MP_TURN, state = mp_owner_state(b, i);
        if (mp_lane_kind(state) == MP_SLOT_READY && state / MP_TURN == place / MP_TURN) {
            *task = b->ledger[i];
            return (int)i;
        }
    }
    return -1;
}

int mp_board_halve(mp_board *b, mp_task *rest) {
    uint32_t i, first;
    batch *largest = largest_rest(b, &i);
    const uint32_t n = largest == NULL ? 0 : mp_batch_shrink(largest, &first);
    if (n == 0)
        return 0;
    *rest = b->ledger[i];
    rest->index += first;
    rest->n = n;
    return 1;
}

uint32_t mp_board_runner(const mp_board *b, uint32_t i) {
    const uint32_t state = mp_owner_state(b, i);
    return mp_lane_kind(state) == MP_SLOT_RUNNING ? mp_lane_of(state) + 1 : 0;
}

uint32_t mp_board_doom(mp_board *b, uint32_t i) {
    uint32_t state = mp_owner_state(b, i);
    const uint32_t lane = mp_lane_of(state);
    return mp_lane_kind(state) == MP_SLOT_RUNNING &&
                   atomic_compare_exchange_strong(&mp_owner_slot(b, i)->state, &state,
                                                  MP_SLOT_DOOMED + MP_STATES * lane)
               ? lane + 1
               : 0;
}

uint32_t mp_board_doom_call(mp_board *b, uint32_t call, uint32_t *i) {
    for (uint32_t lane; *i < b->shared->n_slots; ++*i)
        if (b->ledger[*i].call == call && (lane = mp_board_doom(b, *i)) != 0)
            return lane;
    return 0;
}

/* --- waiting ----------------------------------------------------------------- */

static int has_news(const void *arg) {
    const mp_board *b = arg;
    if (b->burial.is_on || b->batch.reader.batch != NULL ||
        b->changes != atomic_load_explicit(&b->shared->changes, memory_order_acquire))
        return 1;
    for (uint32_t i = 0; i < b->shared->n_lanes; i++) {
        const lane_shared *l = mp_owner_lane(b, i);
        if (l != NULL &&
            b->lanes[i].n_taken != atomic_load_explicit(&l->n_ended, memory_order_acquire))
            return 1;
    }
    return 0;
}

mp_time mp_board_waited(const mp_board *b) {
    return b->waited;
}

int mp_board_wait(mp_board *b, uint32_t quota, mp_time deadline) {
    board_shared *s = b->shared;
    if (quota != atomic_load_explicit(&s->quota, memory_order_relaxed))
        atomic_store_explicit(&s->quota, quota, memory_order_relaxed);
    const mp_time from = has_news(b) ? 0 : mp_sys_now();
    const int rc = mp_gate_wait(&s->news, &s->work, has_news, b, deadline);
    b->waited += from == 0 ? 0 : mp_sys_now() - from;
    const uint64_t changes = atomic_load_explicit(&s->changes, memory_order_acquire);
    if (changes != b->changes)
        mp_owner_count(b);
    b->changes = changes;
    return rc;
}
