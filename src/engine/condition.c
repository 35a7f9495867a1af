/*
** condition.c: who waits until it is told; condition.h has the rules and the steps.
*/
#include "engine/condition.h"

#include <errno.h>

#include "engine/deadlock.h"
#include "engine/line.h"
#include "engine/name.h"
#include "engine/watch.h"

typedef struct condition_shared {
    mp_change change;
    mp_word number; /* of the last one in line */
    mp_line line;
    mp_ref lock;
    mp_watch watch;
} condition_shared;

static condition_shared *condition_of(mp_ref condition) {
    return mp_arena_bytes(condition);
}

static int is_in_line(const mp_hold *h) {
    return mp_change_get(&h->waits) != 0;
}

static int is_told(const void *hold) {
    const mp_hold *h = hold;
    return mp_change_get(&h->has) != 0 && !is_in_line(h);
}

/* --- in the lock ---------------------------------------------------------- */

/* Takes those out of the line that are dead and come first. */
static void pass_by_the_dead(condition_shared *c) {
    mp_ref first;
    while ((first = mp_change_get(&c->line.head)) != 0 &&
           mp_name_is_gone(mp_change_get(&mp_line_hold(first)->has))) {
        mp_line_leave(&c->change, &c->line, first);
        mp_change_set(&c->change, &mp_line_hold(first)->has, 0);
        mp_change_make(&c->change);
    }
}

/* Tells the first in line; `instead` of one that was told, or 0. Whether there was one. */
static int tell_first(condition_shared *c, mp_ref instead) {
    pass_by_the_dead(c);
    const mp_ref first = mp_change_get(&c->line.head);
    if (first != 0)
        mp_line_leave(&c->change, &c->line, first);
    if (instead != 0)
        mp_change_set(&c->change, &mp_line_hold(instead)->has, 0);
    mp_change_make(&c->change);
    mp_fault("condition.notify.N1");
    if (first != 0)
        mp_gate_open(&mp_line_hold(first)->gate, 1); /* in the lock: its hold stays */
    return first != 0;
}

/* --- waiting -------------------------------------------------------------- */

void mp_condition_join(mp_ref condition, mp_ref hold) {
    condition_shared *c = condition_of(condition);
    mp_change_lock(&c->change, MP_FOREVER, 0);
    const uint64_t number = mp_change_get(&c->number) + 1;
    mp_change_set(&c->change, &c->number, number);
    mp_change_set(&c->change, &mp_line_hold(hold)->has, mp_name_own());
    mp_line_join(&c->change, &c->line, hold, number);
    mp_change_make(&c->change);
    mp_change_unlock(&c->change);
    mp_fault("condition.wait.W1");
}

int mp_condition_sleep(mp_ref condition, mp_ref hold, mp_time deadline) {
    mp_hold *h = mp_line_hold(hold);
    const mp_await await = {.mine = &h->gate,
                            .is_ready = is_told,
                            .arg = h,
                            .what = MP_CONDITION_WAIT,
                            .object = condition};
    mp_fault("condition.wait.W2");
    return mp_deadlock_wait(&await, deadline);
}

/* The hold waits no more. Whether it was told, which passes on unless it `keeps` that. */
static int leave(condition_shared *c, mp_ref hold, int keeps) {
    mp_hold *h = mp_line_hold(hold);
    const int was_told = is_told(h);
    if (was_told && !keeps) {
        tell_first(c, hold);
        return 1;
    }
    if (is_in_line(h))
        mp_line_leave(&c->change, &c->line, hold);
    mp_change_set(&c->change, &h->has, 0);
    mp_change_make(&c->change);
    return was_told;
}

int mp_condition_leave(mp_ref condition, mp_ref hold, int keeps) {
    condition_shared *c = condition_of(condition);
    mp_fault("condition.wait.W3");
    mp_change_lock(&c->change, MP_FOREVER, 0);
    const int was_told = leave(c, hold, keeps);
    mp_change_unlock(&c->change);
    if (was_told && !keeps)
        mp_watch_tell(&c->watch);
    return was_told;
}

uint64_t mp_condition_notify(mp_ref condition, uint64_t n) {
    condition_shared *c = condition_of(condition);
    uint64_t told = 0;
    mp_deadlock_acts();
    mp_change_lock(&c->change, MP_FOREVER, 0);
    while (told < n && tell_first(c, 0))
        told++;
    mp_change_unlock(&c->change);
    if (told > 0)
        mp_watch_tell(&c->watch);
    return told;
}

/* Its process has died, or leaves: it waits no more, and what it was told is told to another. */
static void abandon(uint32_t member, mp_ref hold) {
    const mp_hold *h = mp_line_hold(hold);
    condition_shared *c = condition_of(h->object);
    (void)member;
    mp_change_lock(&c->change, MP_FOREVER, 0);
    leave(c, hold, 0);
    mp_change_unlock(&c->change);
    mp_watch_tell(&c->watch);
}

int mp_condition_waits(mp_ref hold) {
    return mp_change_get(&mp_line_hold(hold)->has) != 0;
}

uint64_t mp_condition_waiting(mp_ref condition) {
    return mp_change_get(&condition_of(condition)->line.n);
}

/* --- the whole ------------------------------------------------------------ */

int mp_condition_make(mp_ref lock, mp_ref *condition, mp_ref *hold) {
    mp_ref held;
    int rc = mp_arena_make(sizeof(condition_shared), MP_KIND_CONDITION, condition, hold);
    if (rc < 0)
        return rc;
    condition_shared *c = condition_of(*condition);
    mp_change_init(&c->change);
    rc = mp_arena_hold(&mp_arena_block(*condition)->holds, lock, &held);
    if (rc < 0)
        mp_arena_drop(mp_arena_holds(), *hold);
    else
        c->lock = lock;
    return rc;
}

mp_ref mp_condition_lock(mp_ref condition) {
    return condition_of(condition)->lock;
}

/* --- the kind ------------------------------------------------------------- */

static mp_ref awaited(mp_ref condition, int what) {
    return what == MP_CONDITION_WAIT ? condition : 0;
}

static int is_ready(mp_ref condition, int what) {
    (void)what;
    return is_told(mp_line_hold(mp_arena_own(condition)));
}

static int watch(mp_ref condition, int what) {
    (void)what;
    return mp_watch_fd(&condition_of(condition)->watch, is_told,
                       mp_line_hold(mp_arena_own(condition)));
}

static void unwatch(mp_ref condition, int verb) {
    if (verb == MP_CONDITION_WAIT)
        mp_watch_close(&condition_of(condition)->watch);
}

static const mp_kind_class class = {.abandon = abandon,
                                    .awaited = awaited,
                                    .is_ready = is_ready,
                                    .watch = watch,
                                    .unwatch = unwatch};

__attribute__((constructor)) static void open_class(void) {
    mp_arena_classes[MP_KIND_CONDITION] = &class;
}
