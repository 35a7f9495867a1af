/*
** queue.c: the making and the end of queues, what is mended in them, and what is done with
** their items; the rules and the steps stand in queue.h.
*/
#include "engine/queue.h"

#include <errno.h>
#include <limits.h>

#include "engine/deadlock.h"
#include "engine/family.h"
#include "engine/record.h"

/* --- locks ---------------------------------------------------------------- */

/* The side whose lock guards this one. */
static side *guard_of(queue_shared *q, int which) {
    return mp_record_side(q, q->has_priorities ? MP_Q_HEAD : which);
}

static void do_over(queue_shared *q) {
    if (!atomic_load_explicit(&q->doing.is_on, memory_order_acquire))
        return;
    ((mp_hold *)mp_arena_bytes(q->doing.hold))->done = q->doing.done;
    atomic_store_explicit(&q->n_done, q->doing.n_done, memory_order_release);
    if (q->doing.abandons)
        atomic_store_explicit(&q->abandoned, 1, memory_order_release);
    atomic_store_explicit(&q->doing.is_on, 0, memory_order_release);
}

/* Whose blocks those in the dead one's note are: the commit has moved on, or not. */
static void settle_note(mp_ref queue, int which, uint32_t dead) {
    mp_note *note = mp_arena_note_of(dead, which);
    if (atomic_load_explicit(&note->place, memory_order_acquire) != queue || note->fate != 0)
        return;
    const int has_moved = mp_record_version(mp_record_queue(queue), which) != note->commit;
    note->fate = has_moved == (which == MP_Q_TAIL) ? MP_FATE_LEFT : MP_FATE_FREED;
}

/* What the dead one took counts as taken. */
static void settle_hold(queue_shared *q) {
    mp_hold *hold = q->taker == 0 ? NULL : mp_arena_at(q->taker);
    if (hold != NULL && hold->commit != mp_record_commit(q, MP_Q_HEAD))
        hold->taken = hold->new_taken;
    q->taker = 0;
}

static void recover(mp_ref queue, int which, uint32_t dead) {
    queue_shared *q = mp_record_queue(queue);
    if (q->has_priorities) {
        settle_note(queue, MP_Q_TAIL, dead);
        mp_priority_mend(&q->ranks, mp_record_version(q, MP_Q_TAIL));
    }
    settle_note(queue, q->has_priorities ? MP_Q_HEAD : which, dead);
    if (q->has_priorities || which == MP_Q_HEAD) {
        settle_hold(q);
        do_over(q);
    }
}

int mp_record_lock(mp_ref queue, int which, mp_time deadline, int may_end) {
    uint32_t dead;
    mp_lock *l = &guard_of(mp_record_queue(queue), which)->lock;
    int rc = mp_lock_take(l, mp_page_self, MP_NOWAIT, 0, &dead);
    if (rc == -ETIMEDOUT) {
        const mp_time moments = mp_sys_now() + MP_LOOK;
        rc = mp_lock_take(l, mp_page_self, deadline > moments ? deadline : moments, may_end, &dead);
    }
    if (rc == 1) {
        if (dead != MP_NOBODY)
            recover(queue, which, dead);
        mp_lock_mended(l, mp_page_self);
    }
    return rc < 0 ? rc : 0;
}

void mp_record_unlock(mp_ref queue, int which) {
    mp_lock_give(&guard_of(mp_record_queue(queue), which)->lock);
}

/* --- questions ------------------------------------------------------------ */

/* Both counts at one moment. */
uint64_t mp_record_n_items(queue_shared *q) {
    for (;;) {
        const uint64_t got = mp_record_count(q, MP_Q_HEAD), put = mp_record_count(q, MP_Q_TAIL);
        atomic_thread_fence(memory_order_acquire);
        if (got == mp_record_count(q, MP_Q_HEAD))
            return put - got;
    }
}

/* Bytes that a side has seen, read without its lock. */
uint64_t mp_record_bytes(queue_shared *q, int which) {
    for (;;) {
        const uint64_t commit = mp_record_commit(q, which);
        const uint64_t bytes = *(volatile uint64_t *)&q->sides[which].pos[commit & 1].bytes;
        atomic_thread_fence(memory_order_acquire);
        if (commit == mp_record_commit(q, which))
            return bytes;
    }
}

int mp_record_has_end(queue_shared *q, int which) {
    return q->ends[which] == 0 || mp_arena_n_holds(q->ends[which]) > 0;
}

int mp_record_is_closed(queue_shared *q) {
    return atomic_load_explicit(&q->closed, memory_order_acquire) != 0;
}

/* Whether `len` bytes more have room. */
static int has_room(queue_shared *q, uint64_t len) {
    const uint64_t n = mp_record_n_items(q);
    if (n == 0)
        return 1;
    if (q->max_items != 0 && n >= q->max_items)
        return 0;
    return q->max_bytes == 0 ||
           mp_record_bytes(q, MP_Q_TAIL) + len - mp_record_bytes(q, MP_Q_HEAD) <= q->max_bytes;
}

/* --- waiting -------------------------------------------------------------- */

static int may_put(queue_shared *q, uint64_t len) {
    return mp_record_is_closed(q) || !mp_record_has_end(q, MP_Q_HEAD) || has_room(q, len);
}

static int may_get(queue_shared *q) {
    return mp_record_count(q, MP_Q_TAIL) != mp_record_count(q, MP_Q_HEAD) ||
           mp_record_is_closed(q) || !mp_record_has_end(q, MP_Q_TAIL);
}

static int is_done(queue_shared *q) {
    return atomic_load_explicit(&q->n_done, memory_order_acquire) >= mp_record_count(q, MP_Q_TAIL);
}

static int is_ready(queue_shared *q, enum mp_queue_wait what, uint64_t len) {
    return what == MP_QUEUE_PUT ? may_put(q, len) : what == MP_QUEUE_GET ? may_get(q) : is_done(q);
}

typedef struct question {
    queue_shared *q;
    enum mp_queue_wait what;
    uint64_t len;
} question;

static int ask(const void *arg) {
    const question *a = arg;
    return is_ready(a->q, a->what, a->len);
}

int mp_record_wait(mp_ref queue, enum mp_queue_wait what, uint64_t len, mp_time deadline) {
    const question a = {mp_record_queue(queue), what, len};
    const mp_await await = {.mine = &a.q->points[what].gate,
                            .theirs = what == MP_QUEUE_JOIN ? NULL : &a.q->points[!what].gate,
                            .is_ready = ask,
                            .arg = &a,
                            .what = (int)what,
                            .object = queue};
    return mp_deadlock_wait(&await, deadline);
}

void mp_record_tell(queue_shared *q, enum mp_queue_wait what, int n) {
    mp_deadlock_acts(); /* by a finalizer, for example, while the process waits */
    mp_gate_open(&q->points[what].gate, n);
    mp_watch_tell(&q->points[what].watch);
}

/* Bytes that this process's last put found no room for: what it waits for in other ways. */
static MP_OWN uint64_t wanted;

void mp_record_wants(uint64_t len) {
    wanted = len;
}

/* The same questions for watches, which know the queue alone. */
static int watch_put(const void *q) {
    return may_put((queue_shared *)q, wanted);
}

/* A death may be that of the last who holds the other end: who then looks will see. */
static int watch_get(const void *arg) {
    queue_shared *q = (queue_shared *)arg;
    return may_get(q) || (q->ends[MP_Q_TAIL] != 0 && mp_arena_has_dead());
}

static int watch_join(const void *q) {
    return is_done((queue_shared *)q);
}

static int watch(mp_ref queue, int what) {
    static int (*const questions[])(const void *) = {watch_put, watch_get, watch_join};
    queue_shared *q = mp_record_queue(queue);
    return mp_watch_fd(&q->points[what].watch, questions[what], q);
}

void mp_queue_look(mp_ref queue) {
    queue_shared *q = mp_record_queue(queue);
    if (!mp_watch_is_used())
        return;
    if (!may_get(q) && watch_get(q))
        mp_arena_sweep_dead();
    mp_watch_look(&q->points[MP_QUEUE_GET].watch);
}

static void unwatch(mp_ref queue, int verb) {
    mp_watch_close(&mp_record_queue(queue)->points[verb].watch);
}

int mp_queue_is_ready(mp_ref queue, int what) {
    return is_ready(mp_record_queue(queue), (enum mp_queue_wait)what, wanted);
}

/* --- what is done --------------------------------------------------------- */

/* `n` items more are done, by the hold's process, of those that were taken. In the head's lock. */
static void count_done(queue_shared *q, mp_ref hold, uint64_t n, int abandons) {
    q->doing.hold = hold;
    q->doing.done = ((mp_hold *)mp_arena_bytes(hold))->done + n;
    q->doing.n_done = q->n_done + n;
    q->doing.abandons = abandons != 0;
    mp_fault("queue.done.D1");
    atomic_store_explicit(&q->doing.is_on, 1, memory_order_release);
    mp_fault("queue.done.D2");
    do_over(q);
}

int mp_queue_done(mp_ref queue, mp_ref hold) {
    queue_shared *q = mp_record_queue(queue);
    int rc = mp_record_lock(queue, MP_Q_HEAD, MP_FOREVER, 0);
    if (rc < 0)
        return rc;
    if (q->n_done >= mp_record_count(q, MP_Q_HEAD))
        rc = -EINVAL;
    else
        count_done(q, hold, 1, 0);
    mp_record_unlock(queue, MP_Q_HEAD);
    if (rc == 0 && q->n_done >= mp_record_count(q, MP_Q_TAIL))
        mp_record_tell(q, MP_QUEUE_JOIN, INT_MAX);
    return rc;
}

/* A process has ended, or the caller drops its handle: what it took and was not done with. */
static void abandon(uint32_t member, mp_ref hold) {
    const mp_hold *h = mp_arena_bytes(hold);
    if (member == mp_page_self && h->taken <= h->done)
        return;
    const mp_ref queue = h->object;
    queue_shared *q = mp_record_queue(queue);
    mp_record_lock(queue, MP_Q_HEAD, MP_FOREVER, 0);
    const uint64_t open = mp_record_count(q, MP_Q_HEAD) - q->n_done;
    const uint64_t left = h->taken > h->done ? h->taken - h->done : 0;
    if (left > 0 && open > 0)
        count_done(q, hold, left < open ? left : open, 1);
    mp_record_unlock(queue, MP_Q_HEAD);
    mp_record_tell(q, MP_QUEUE_JOIN, INT_MAX);
}

int mp_queue_join(mp_ref queue, mp_time deadline) {
    queue_shared *q = mp_record_queue(queue);
    int rc = mp_record_wait(queue, MP_QUEUE_JOIN, 0, deadline);
    return rc < 0 ? rc : (int)atomic_exchange_explicit(&q->abandoned, 0, memory_order_acq_rel);
}

/* --- the whole ------------------------------------------------------------ */

int mp_queue_make(int has_priorities, uint64_t max_items, uint64_t max_bytes, mp_ref *queue,
                  mp_ref *hold) {
    int rc = mp_arena_open();
    if (rc == 0)
        rc = mp_arena_alloc(sizeof(queue_shared) + MP_Q_FIRST_SEGMENT, MP_KIND_QUEUE,
                            mp_arena_hands(), queue);
    if (rc < 0)
        return rc;
    queue_shared *q = mp_record_queue(*queue);
    segment *s = (segment *)(q + 1);
    *q = (queue_shared){
        .max_items = max_items, .max_bytes = max_bytes, .has_priorities = has_priorities != 0};
    *s = (segment){.room = MP_Q_FIRST_SEGMENT - sizeof *s, .is_in_queue = 1};
    for (int i = MP_Q_TAIL; i <= MP_Q_HEAD; i++) {
        mp_lock_init(&q->sides[i].lock);
        q->sides[i].pos[0].segment = q->sides[i].pos[1].segment = mp_arena_ref(s);
        q->points[i].gate.cpu = -1;
    }
    atomic_store_explicit(&q->is_made, 1, memory_order_release);
    rc = mp_arena_hold(mp_arena_holds(), *queue, hold);
    if (rc < 0)
        mp_arena_free(mp_arena_hands(), *queue);
    else
        mp_arena_unlink(mp_arena_hands(), *queue);
    return rc;
}

/* A dead one's note, for the sweep: taking the lock finds out, if it died with it. */
static void settle(mp_note *note, int direction) {
    const mp_ref queue = note->place;
    mp_record_lock(queue, direction, MP_FOREVER, 0);
    mp_record_unlock(queue, direction);
    if (note->fate == MP_FATE_UNKNOWN)
        mp_panic("a note that nobody can settle");
}

static const mp_kind_class class = {.end = mp_record_drain,
                                    .abandon = abandon,
                                    .settle = settle,
                                    .is_ready = mp_queue_is_ready,
                                    .watch = watch,
                                    .unwatch = unwatch};

__attribute__((constructor)) static void open_class(void) {
    mp_arena_classes[MP_KIND_QUEUE] = &class;
}

uint64_t mp_queue_len(mp_ref queue) {
    return mp_record_n_items(mp_record_queue(queue));
}

uint64_t mp_queue_max(mp_ref queue) {
    return mp_record_queue(queue)->max_items;
}

int mp_queue_has_priorities(mp_ref queue) {
    return mp_record_queue(queue)->has_priorities != 0;
}

int mp_queue_is_full(mp_ref queue) {
    return !has_room(mp_record_queue(queue), 1);
}

int mp_queue_is_closed(mp_ref queue) {
    return mp_record_is_closed(mp_record_queue(queue));
}

/* In the putters' lock: who has passed their look at `closed` has delivered before. */
void mp_queue_close(mp_ref queue) {
    queue_shared *q = mp_record_queue(queue);
    mp_record_lock(queue, MP_Q_TAIL, MP_FOREVER, 0);
    atomic_store_explicit(&q->closed, 1, memory_order_release);
    mp_record_unlock(queue, MP_Q_TAIL);
    mp_queue_tell(queue);
}

void mp_queue_tell(mp_ref queue) {
    queue_shared *q = mp_record_queue(queue);
    for (int i = MP_QUEUE_PUT; i < MP_QUEUE_WAITS; i++)
        mp_record_tell(q, i, INT_MAX);
}

void mp_queue_set_ends(mp_ref queue, mp_ref writer, mp_ref reader) {
    mp_record_queue(queue)->ends[MP_Q_TAIL] = writer;
    mp_record_queue(queue)->ends[MP_Q_HEAD] = reader;
}

mp_ref mp_queue_end(mp_ref queue, enum mp_queue_wait what) {
    return mp_record_queue(queue)->ends[what == MP_QUEUE_PUT ? MP_Q_TAIL : MP_Q_HEAD];
}

void mp_queue_forget_end(mp_ref queue, mp_ref end) {
    queue_shared *q = mp_record_queue(queue);
    for (int i = MP_Q_TAIL; i <= MP_Q_HEAD; i++)
        if (q->ends[i] == end)
            q->ends[i] = 0;
}
