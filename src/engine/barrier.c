/*
** barrier.c: processes that go on together; barrier.h has the rules and the steps.
*/
#include "engine/barrier.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#include "engine/change.h"
#include "engine/deadlock.h"
#include "engine/page.h"
#include "engine/watch.h"

enum phase { FILLING, ACTING, BROKEN, DRAINING };

typedef struct barrier_shared {
    mp_change change;
    mp_word round; /* from 1 on */
    mp_word arrived;
    mp_word state;
    uint32_t parties;
    double seconds;
    mp_gate gate;
    mp_watch watch;
    size_t len; /* of the action; 0: there is none */
    char action[];
} barrier_shared;

static barrier_shared *barrier_of(mp_ref barrier) {
    return mp_arena_bytes(barrier);
}

static mp_hold *hold_of(mp_ref hold) {
    return mp_arena_bytes(hold);
}

static uint64_t state_of(const barrier_shared *b) {
    return mp_change_get(&b->state);
}

/* Whether the hold's process is in the round that is now. */
static int is_in(const barrier_shared *b, const mp_hold *h) {
    return mp_change_get(&h->waits) == mp_change_get(&b->round);
}

/* --- changes, in the lock ------------------------------------------------- */

static void set_state(barrier_shared *b, enum phase state) {
    mp_change_set(&b->change, &b->state, state);
}

/* Another round begins, for which nobody has come yet. */
static void move_on(barrier_shared *b) {
    mp_change_set(&b->change, &b->round, mp_change_get(&b->round) + 1);
    mp_change_set(&b->change, &b->arrived, 0);
    set_state(b, FILLING);
}

/* The hold is in no round any more, and breaks it if it `breaks`. */
static void leave(barrier_shared *b, mp_hold *h, int breaks) {
    const uint64_t state = state_of(b), arrived = mp_change_get(&b->arrived);
    const int was_in = is_in(b, h);
    mp_change_set(&b->change, &h->waits, 0);
    if (was_in && arrived == 1 && state == DRAINING && !breaks) {
        move_on(b);
        return;
    }
    if (was_in)
        mp_change_set(&b->change, &b->arrived, arrived - 1);
    if (breaks)
        set_state(b, BROKEN);
}

/* The end of a change that others wait for. */
static void unlock_for_others(barrier_shared *b) {
    mp_change_unlock(&b->change);
    mp_deadlock_acts();
    mp_gate_open(&b->gate, INT_MAX);
    mp_watch_tell(&b->watch);
}

/* --- waiting -------------------------------------------------------------- */

/* In the round: it is over, or broken. Before it: it may come, or never. */
static int is_over(const void *arg) {
    const mp_hold *h = arg;
    const barrier_shared *b = barrier_of(h->object);
    const uint64_t state = state_of(b);
    if (mp_change_get(&h->waits) == 0)
        return state == FILLING || state == BROKEN;
    return !is_in(b, h) || state == BROKEN || state == DRAINING;
}

/* The last one has come, with the lock. */
static int come_last(barrier_shared *b, mp_hold *h, int *acts) {
    if (b->len == 0) {
        move_on(b);
        mp_change_make(&b->change);
        mp_fault("barrier.wait.W2");
        unlock_for_others(b);
        return (int)b->parties;
    }
    mp_change_set(&b->change, &b->arrived, b->parties);
    mp_change_set(&b->change, &h->waits, mp_change_get(&b->round));
    mp_change_set(&b->change, &h->has, b->parties);
    set_state(b, ACTING);
    mp_change_make(&b->change);
    mp_change_unlock(&b->change);
    mp_fault("barrier.act.A1");
    *acts = 1;
    return (int)b->parties;
}

/* Nobody completes a round in which a dead one is. */
static void look_for_the_dead(const barrier_shared *b) {
    if (mp_change_get(&b->arrived) + 1 >= b->parties && mp_arena_has_dead())
        mp_arena_sweep_dead();
}

/*
** Its place if it is through, 0 when it has come, -EPIPE; -EAGAIN: the round is not for it, or
** somebody was stopped in the lock; -EINTR.
*/
static int come(barrier_shared *b, mp_hold *h, int *acts) {
    const int rc = mp_change_lock(&b->change, mp_sys_now() + MP_LOOK, 1);
    if (rc < 0)
        return rc == -ETIMEDOUT ? -EAGAIN : rc;
    const uint64_t state = state_of(b), place = mp_change_get(&b->arrived) + 1;
    mp_gate_pass(&b->gate);
    if (state == FILLING && place == b->parties)
        return come_last(b, h, acts);
    if (state == FILLING) {
        mp_change_set(&b->change, &b->arrived, place);
        mp_change_set(&b->change, &h->waits, mp_change_get(&b->round));
        mp_change_set(&b->change, &h->has, place);
        mp_change_make(&b->change);
    }
    mp_change_unlock(&b->change);
    mp_fault("barrier.wait.W1");
    return state == FILLING ? 0 : state == BROKEN ? -EPIPE : -EAGAIN;
}

/* A round that is over has let its processes go, or is broken. */
static int go(barrier_shared *b, mp_hold *h) {
    if (!is_in(b, h)) {
        mp_fault("barrier.wait.W3");
        atomic_store_explicit(&h->waits, 0, memory_order_release);
        return (int)mp_change_get(&h->has);
    }
    mp_change_lock(&b->change, MP_FOREVER, 0);
    leave(b, h, 0);
    mp_change_make(&b->change);
    unlock_for_others(b);
    return -EPIPE;
}

int mp_barrier_wait(mp_ref barrier, mp_ref hold, int *acts, mp_time deadline) {
    barrier_shared *b = barrier_of(barrier);
    mp_hold *h = hold_of(hold);
    const mp_await await = {.mine = &b->gate,
                            .theirs = &b->gate,
                            .is_ready = is_over,
                            .arg = h,
                            .what = MP_BARRIER_WAIT,
                            .object = barrier};
    *acts = 0;
    for (;;) {
        look_for_the_dead(b);
        int rc = mp_change_get(&h->waits) == 0 ? come(b, h, acts) : 0;
        if (rc > 0 || rc == -EPIPE || rc == -EINTR)
            return rc;
        const int is_late = rc == -EAGAIN && deadline > MP_NOWAIT && mp_sys_now() >= deadline;
        rc = is_late ? -ETIMEDOUT : mp_deadlock_wait(&await, deadline);
        if (rc < 0)
            return rc;
        if (mp_change_get(&h->waits) != 0)
            return go(b, h);
    }
}

int mp_barrier_acted(mp_ref barrier, mp_ref hold) {
    barrier_shared *b = barrier_of(barrier);
    mp_hold *h = hold_of(hold);
    mp_change_lock(&b->change, MP_FOREVER, 0);
    const int is_whole = state_of(b) == ACTING && is_in(b, h);
    if (is_whole) {
        mp_change_set(&b->change, &h->waits, 0);
        move_on(b);
    } else {
        leave(b, h, 0);
    }
    mp_change_make(&b->change);
    mp_fault("barrier.wait.W2");
    unlock_for_others(b);
    return is_whole ? (int)b->parties : -EPIPE;
}

int mp_barrier_break(mp_ref barrier, mp_ref hold) {
    barrier_shared *b = barrier_of(barrier);
    mp_hold *h = hold_of(hold);
    mp_change_lock(&b->change, MP_FOREVER, 0);
    const int is_through = mp_change_get(&h->waits) != 0 && !is_in(b, h);
    leave(b, h, !is_through && !(is_in(b, h) && state_of(b) == DRAINING));
    mp_change_make(&b->change);
    mp_fault("barrier.break.B1");
    unlock_for_others(b);
    return is_through ? (int)mp_change_get(&h->has) : -EPIPE;
}

void mp_barrier_abort(mp_ref barrier) {
    barrier_shared *b = barrier_of(barrier);
    mp_change_lock(&b->change, MP_FOREVER, 0);
    set_state(b, BROKEN);
    mp_change_make(&b->change);
    mp_fault("barrier.break.B1");
    unlock_for_others(b);
}

void mp_barrier_reset(mp_ref barrier) {
    barrier_shared *b = barrier_of(barrier);
    mp_change_lock(&b->change, MP_FOREVER, 0);
    if (mp_change_get(&b->arrived) > 0)
        set_state(b, DRAINING);
    else if (state_of(b) == BROKEN)
        move_on(b);
    mp_change_make(&b->change);
    unlock_for_others(b);
}

/* Its process has died, or leaves: who was in the round breaks it, unless that is broken already.
 */
static void abandon(uint32_t member, mp_ref hold) {
    mp_hold *h = hold_of(hold);
    barrier_shared *b = barrier_of(h->object);
    if (member == mp_page_self && mp_change_get(&h->waits) == 0)
        return;
    mp_change_lock(&b->change, MP_FOREVER, 0);
    leave(b, h, is_in(b, h) && state_of(b) <= ACTING);
    mp_change_make(&b->change);
    unlock_for_others(b);
}

int mp_barrier_waits(mp_ref hold) {
    return mp_change_get(&hold_of(hold)->waits) != 0;
}

uint64_t mp_barrier_waiting(mp_ref barrier) {
    const barrier_shared *b = barrier_of(barrier);
    return state_of(b) <= ACTING ? mp_change_get(&b->arrived) : 0;
}

int mp_barrier_is_broken(mp_ref barrier) {
    return state_of(barrier_of(barrier)) == BROKEN;
}

/* --- the whole ------------------------------------------------------------ */

static void copy_action(barrier_shared *b, const mp_record *action) {
    for (int i = 0; i < action->n_pieces; i++) {
        memcpy(b->action + b->len, action->pieces[i].iov_base, action->pieces[i].iov_len);
        b->len += action->pieces[i].iov_len;
    }
}

/* The barrier holds what its action holds. */
static int hold_objects(mp_ref barrier, const mp_record *action) {
    mp_ref held;
    int rc = 0;
    for (size_t i = 0; i < action->n_objects && rc == 0; i++)
        rc = mp_arena_hold(&mp_arena_block(barrier)->holds, action->objects[i], &held);
    return rc;
}

int mp_barrier_make(uint32_t parties, const mp_record *action, double seconds, mp_ref *barrier,
                    mp_ref *hold) {
    const size_t len = action == NULL ? 0 : action->len;
    int rc = mp_arena_make(sizeof(barrier_shared) + len, MP_KIND_BARRIER, barrier, hold);
    if (rc < 0)
        return rc;
    barrier_shared *b = barrier_of(*barrier);
    memset(b, 0, sizeof *b);
    mp_change_init(&b->change);
    b->round = 1;
    b->parties = parties;
    b->seconds = seconds;
    b->gate.cpu = -1;
    rc = action == NULL ? 0 : hold_objects(*barrier, action);
    if (rc < 0)
        mp_arena_drop(mp_arena_holds(), *hold);
    else if (action != NULL)
        copy_action(b, action);
    return rc;
}

uint32_t mp_barrier_parties(mp_ref barrier) {
    return barrier_of(barrier)->parties;
}

double mp_barrier_seconds(mp_ref barrier) {
    return barrier_of(barrier)->seconds;
}

const char *mp_barrier_action(mp_ref barrier, size_t *len) {
    const barrier_shared *b = barrier_of(barrier);
    *len = b->len;
    return b->len == 0 ? NULL : b->action;
}

/* --- the kind ------------------------------------------------------------- */

static mp_ref awaited(mp_ref barrier, int what) {
    return what == MP_BARRIER_WAIT ? barrier : 0;
}

static int is_ready(mp_ref barrier, int what) {
    (void)what;
    return is_over(hold_of(mp_arena_own(barrier)));
}

static int watch(mp_ref barrier, int what) {
    (void)what;
    return mp_watch_fd(&barrier_of(barrier)->watch, is_over, hold_of(mp_arena_own(barrier)));
}

static void unwatch(mp_ref barrier, int verb) {
    if (verb == MP_BARRIER_WAIT)
        mp_watch_close(&barrier_of(barrier)->watch);
}

static const mp_kind_class class = {.abandon = abandon,
                                    .awaited = awaited,
                                    .is_ready = is_ready,
                                    .watch = watch,
                                    .unwatch = unwatch};

__attribute__((constructor)) static void open_class(void) {
    mp_arena_classes[MP_KIND_BARRIER] = &class;
}
