/*
** rwlock.c: many readers, or one writer; rwlock.h has the rules and the steps.
*/
#include "engine/rwlock.h"

#include <errno.h>
#include <limits.h>

#include "engine/deadlock.h"
#include "engine/family.h"
#include "engine/line.h"
#include "engine/watch.h"

enum { TOLD = 1, SHARE = 2 }; /* what a hold `has`: shares, and whether it was told of a death */

typedef struct rwlock_shared {
    mp_change change;
    mp_word writer;  /* its name */
    mp_word readers; /* shares of all */
    mp_word number;  /* of the last one in line */
    mp_word abandoned;
    mp_line lines[MP_RWLOCK_SIDES];
    mp_gate place; /* where the last one runs who got in */
    mp_watch watches[MP_RWLOCK_SIDES];
} rwlock_shared;

typedef struct read_side {
    mp_ref rwlock;
} read_side;

static int side_of(mp_ref side) {
    return mp_arena_block(side)->kind == MP_KIND_READ_SIDE ? MP_RWLOCK_READ : MP_RWLOCK_WRITE;
}

static rwlock_shared *rwlock_of(mp_ref side) {
    const read_side *r = mp_arena_bytes(side);
    return side_of(side) == MP_RWLOCK_WRITE ? mp_arena_bytes(side) : mp_arena_bytes(r->rwlock);
}

/* --- whose turn it is ----------------------------------------------------- */

/* Whether somebody waits there who came before that number; 0: all have. */
static int has_before(const mp_line *line, uint64_t number) {
    const uint64_t first = mp_change_get(&line->first);
    return first != 0 && (number == 0 || first < number);
}

static int may_read(const rwlock_shared *rw, uint64_t number) {
    return mp_change_get(&rw->writer) == 0 && !has_before(&rw->lines[MP_RWLOCK_WRITE], number);
}

static int may_write(const rwlock_shared *rw, uint64_t number) {
    return mp_change_get(&rw->writer) == 0 && mp_change_get(&rw->readers) == 0 &&
           !has_before(&rw->lines[MP_RWLOCK_WRITE], number) &&
           !has_before(&rw->lines[MP_RWLOCK_READ], number);
}

int mp_rwlock_is_ready(const void *hold) {
    const mp_hold *h = hold;
    const rwlock_shared *rw = rwlock_of(h->object);
    const uint64_t number = mp_change_get(&h->waits);
    if (side_of(h->object) == MP_RWLOCK_WRITE)
        return may_write(rw, number);
    return may_read(rw, number) || mp_change_get(&h->has) != 0 ||
           mp_change_get(&rw->writer) == mp_name_own();
}

/* --- changes, in the lock ------------------------------------------------- */

static void leave_line(rwlock_shared *rw, int side, mp_ref hold) {
    if (mp_change_get(&mp_line_hold(hold)->waits) != 0)
        mp_line_leave(&rw->change, &rw->lines[side], hold);
}

static void join_line(rwlock_shared *rw, int side, mp_ref hold) {
    const uint64_t number = mp_change_get(&rw->number) + 1;
    mp_change_set(&rw->change, &rw->number, number);
    mp_line_join(&rw->change, &rw->lines[side], hold, number);
    mp_change_make(&rw->change);
    mp_fault("rwlock.acquire.A1");
}

/* The hold has one share more, and leaves the line. Whether it is told of a death. */
static int take(rwlock_shared *rw, int side, mp_ref hold) {
    mp_hold *h = mp_line_hold(hold);
    mp_change *c = &rw->change;
    const int is_told = mp_change_get(&rw->abandoned) != 0;
    if (side == MP_RWLOCK_READ)
        mp_change_set(c, &rw->readers, mp_change_get(&rw->readers) + 1);
    else
        mp_change_set(c, &rw->writer, mp_name_own());
    mp_change_set(c, &h->has, (mp_change_get(&h->has) + SHARE) | (is_told ? TOLD : 0));
    if (is_told)
        mp_change_set(c, &rw->abandoned, 0);
    leave_line(rw, side, hold);
    mp_change_make(c);
    return is_told;
}

/* It has n shares less; if it `tells`, the next one is told what it was told itself. */
static void give(rwlock_shared *rw, int side, mp_ref hold, uint64_t n, int tells) {
    mp_hold *h = mp_line_hold(hold);
    const uint64_t left = mp_change_get(&h->has) - n * SHARE;
    if (side == MP_RWLOCK_READ)
        mp_change_set(&rw->change, &rw->readers, mp_change_get(&rw->readers) - n);
    else
        mp_change_set(&rw->change, &rw->writer, 0);
    mp_change_set(&rw->change, &h->has, left < SHARE || tells ? left & ~(uint64_t)TOLD : left);
    if (tells)
        mp_change_set(&rw->change, &rw->abandoned, 1);
}

/* --- waking --------------------------------------------------------------- */

/* Whoever may get in now is woken, each at its own gate. In the lock: their holds stay. */
static void wake(rwlock_shared *rw) {
    const mp_line *lines = rw->lines;
    const mp_ref writer = mp_change_get(&lines[MP_RWLOCK_WRITE].head);
    mp_ref i = mp_change_get(&lines[MP_RWLOCK_READ].head);
    for (; i != 0 && may_read(rw, mp_change_get(&mp_line_hold(i)->waits));
         i = mp_change_get(&mp_line_hold(i)->next))
        mp_gate_open(&mp_line_hold(i)->gate, 1);
    if (writer != 0 && may_write(rw, mp_change_get(&mp_line_hold(writer)->waits)))
        mp_gate_open(&mp_line_hold(writer)->gate, 1);
}

/* The end of a change that may let others in. */
static void unlock_for_others(rwlock_shared *rw) {
    mp_deadlock_acts();
    wake(rw);
    mp_change_unlock(&rw->change);
    for (int side = MP_RWLOCK_READ; side < MP_RWLOCK_SIDES; side++)
        mp_watch_tell(&rw->watches[side]);
}

/* --- getting in ----------------------------------------------------------- */

/* Whether this process reads: by a hold on the other side of the lock. */
static int reads(mp_ref write_side) {
    for (mp_ref i = mp_arena_first(mp_arena_holds()); i != 0; i = mp_arena_next(i)) {
        const mp_hold *h = mp_arena_bytes(i);
        if (h->object != 0 && mp_arena_block(h->object)->kind == MP_KIND_READ_SIDE &&
            ((read_side *)mp_arena_bytes(h->object))->rwlock == write_side &&
            mp_change_get(&h->has) != 0)
            return 1;
    }
    return 0;
}

/* What is wrong with such a wish, for this process alone knows it. */
static int check(const rwlock_shared *rw, mp_ref side) {
    if (side_of(side) == MP_RWLOCK_READ)
        return 0;
    if (mp_change_get(&rw->writer) == mp_name_own())
        return -EALREADY;
    return mp_change_get(&rw->readers) != 0 && reads(side) ? -EBUSY : 0;
}

/* Gets in, or stands in line if it `waits`. 0, 1, -EAGAIN or -EINTR. */
static int try_once(mp_ref side, mp_ref hold, int waits) {
    rwlock_shared *rw = rwlock_of(side);
    int rc = mp_change_lock(&rw->change, mp_sys_now() + MP_LOOK, 1);
    if (rc < 0)
        return rc == -ETIMEDOUT ? -EAGAIN : rc;
    rc = -EAGAIN;
    if (mp_rwlock_is_ready(mp_line_hold(hold)))
        rc = take(rw, side_of(side), hold);
    else if (waits && mp_change_get(&mp_line_hold(hold)->waits) == 0)
        join_line(rw, side_of(side), hold);
    mp_change_unlock(&rw->change);
    if (rc < 0)
        return rc;
    mp_fault("rwlock.acquire.A2");
    mp_gate_pass(&rw->place);
    return rc;
}

void mp_rwlock_give_up(mp_ref side, mp_ref hold) {
    rwlock_shared *rw = rwlock_of(side);
    if (mp_change_get(&mp_line_hold(hold)->waits) == 0)
        return;
    mp_change_lock(&rw->change, MP_FOREVER, 0);
    leave_line(rw, side_of(side), hold);
    mp_change_make(&rw->change);
    unlock_for_others(rw);
}

void mp_rwlock_stand(mp_ref side, mp_ref hold) {
    rwlock_shared *rw = rwlock_of(side);
    mp_change_lock(&rw->change, MP_FOREVER, 0);
    if (mp_change_get(&mp_line_hold(hold)->waits) == 0)
        join_line(rw, side_of(side), hold);
    mp_change_unlock(&rw->change);
}

/* In line: until it has got in, or why not. */
static int wait_in_line(mp_ref side, mp_ref hold, mp_time deadline) {
    const mp_await await = {.mine = &mp_line_hold(hold)->gate,
                            .theirs = &rwlock_of(side)->place,
                            .is_ready = mp_rwlock_is_ready,
                            .arg = mp_line_hold(hold),
                            .what = MP_AWAIT,
                            .object = side};
    int rc = try_once(side, hold, 1);
    while (rc == -EAGAIN) {
        rc = mp_deadlock_wait(&await, deadline);
        if (rc == 0)
            rc = try_once(side, hold, 1);
        if (rc == -EAGAIN && mp_sys_now() >= deadline)
            rc = -ETIMEDOUT;
    }
    return rc;
}

int mp_rwlock_acquire(mp_ref side, mp_ref hold, mp_time deadline) {
    int rc = check(rwlock_of(side), side);
    if (rc < 0)
        return rc;
    rc = try_once(side, hold, 0);
    if (rc == -EAGAIN && deadline <= MP_NOWAIT && mp_arena_sweep_dead())
        rc = try_once(side, hold, 0);
    if (rc == -EAGAIN)
        rc = deadline <= MP_NOWAIT ? -ETIMEDOUT : wait_in_line(side, hold, deadline);
    if (rc < 0 && deadline > MP_NOWAIT)
        mp_rwlock_give_up(side, hold);
    return rc;
}

static int release(mp_ref side, mp_ref hold, int tells) {
    rwlock_shared *rw = rwlock_of(side);
    if (mp_change_get(&mp_line_hold(hold)->has) == 0)
        hold = mp_arena_own(side); /* of a handle before, which was not collected yet */
    if (mp_change_get(&mp_line_hold(hold)->has) == 0)
        return -EPERM;
    mp_change_lock(&rw->change, MP_FOREVER, 0);
    give(rw, side_of(side), hold, 1, tells);
    mp_change_make(&rw->change);
    mp_fault("rwlock.release.R1");
    unlock_for_others(rw);
    return 0;
}

int mp_rwlock_release(mp_ref side, mp_ref hold) {
    return release(side, hold, 0);
}

int mp_rwlock_leave(mp_ref side, mp_ref hold) {
    return release(side, hold, 1);
}

/* What a hold has is given back, a writer's as abandoned, and its place in line. In the lock. */
static void give_all(rwlock_shared *rw, int side, mp_ref hold) {
    const uint64_t has = mp_change_get(&mp_line_hold(hold)->has);
    if (has != 0)
        give(rw, side, hold, has / SHARE, side == MP_RWLOCK_WRITE || (has & TOLD) != 0);
    leave_line(rw, side, hold);
    mp_change_make(&rw->change);
}

/* A handle of this process goes, and another one has come for the same side: it has all now. */
static void pass_on(rwlock_shared *rw, mp_ref from, mp_ref to) {
    mp_hold *h = mp_line_hold(from), *other = mp_line_hold(to);
    const uint64_t a = mp_change_get(&h->has), b = mp_change_get(&other->has);
    mp_change_set(&rw->change, &other->has, (a / SHARE + b / SHARE) * SHARE | ((a | b) & TOLD));
    mp_change_set(&rw->change, &h->has, 0);
    mp_change_make(&rw->change);
}

/* Its process has died, or leaves. */
static void abandon(uint32_t member, mp_ref hold) {
    const mp_hold *h = mp_line_hold(hold);
    const mp_ref side = h->object;
    rwlock_shared *rw = rwlock_of(side);
    const int is_own = member == mp_page_self;
    if (is_own && mp_change_get(&h->has) == 0 && mp_change_get(&h->waits) == 0)
        return;
    const mp_ref other = is_own ? mp_arena_holds_also(hold) : 0;
    mp_change_lock(&rw->change, MP_FOREVER, 0);
    if (other != 0)
        pass_on(rw, hold, other);
    else
        give_all(rw, side_of(side), hold);
    unlock_for_others(rw);
}

uint64_t mp_rwlock_shares(mp_ref side) {
    const rwlock_shared *rw = rwlock_of(side);
    return side_of(side) == MP_RWLOCK_READ ? mp_change_get(&rw->readers)
                                           : mp_change_get(&rw->writer) != 0;
}

uint64_t mp_rwlock_waiting(mp_ref side) {
    return mp_change_get(&rwlock_of(side)->lines[side_of(side)].n);
}

mp_name mp_rwlock_writer(mp_ref side) {
    return mp_change_get(&rwlock_of(side)->writer);
}

/* --- the whole ------------------------------------------------------------ */

static int make_write_side(mp_ref *side, mp_ref *hold) {
    int rc = mp_arena_make(sizeof(rwlock_shared), MP_KIND_WRITE_SIDE, side, hold);
    if (rc < 0)
        return rc;
    rwlock_shared *rw = mp_arena_bytes(*side);
    mp_change_init(&rw->change);
    rw->place.cpu = -1;
    return 0;
}

static int make_read_side(mp_ref rwlock, mp_ref *side, mp_ref *hold) {
    mp_ref held;
    int rc = mp_arena_make(sizeof(read_side), MP_KIND_READ_SIDE, side, hold);
    if (rc < 0)
        return rc;
    rc = mp_arena_hold(&mp_arena_block(*side)->holds, rwlock, &held);
    if (rc < 0)
        mp_arena_drop(mp_arena_holds(), *hold);
    else
        ((read_side *)mp_arena_bytes(*side))->rwlock = rwlock;
    return rc;
}

int mp_rwlock_make(mp_ref sides[MP_RWLOCK_SIDES], mp_ref holds[MP_RWLOCK_SIDES]) {
    int rc = make_write_side(&sides[MP_RWLOCK_WRITE], &holds[MP_RWLOCK_WRITE]);
    if (rc < 0)
        return rc;
    rc = make_read_side(sides[MP_RWLOCK_WRITE], &sides[MP_RWLOCK_READ], &holds[MP_RWLOCK_READ]);
    if (rc < 0)
        mp_arena_drop(mp_arena_holds(), holds[MP_RWLOCK_WRITE]);
    return rc;
}

/* --- the kind ------------------------------------------------------------- */

static int is_ready(mp_ref side, int what) {
    (void)what;
    return mp_rwlock_is_ready(mp_line_hold(mp_arena_own(side)));
}

/* A death may let others in: who then looks will see. */
static int may_be_ready(const void *hold) {
    return mp_rwlock_is_ready(hold) || mp_arena_has_dead();
}

static int watch(mp_ref side, int what) {
    (void)what;
    return mp_watch_fd(&rwlock_of(side)->watches[side_of(side)], may_be_ready,
                       mp_line_hold(mp_arena_own(side)));
}

static void unwatch(mp_ref side, int verb) {
    if (verb == MP_AWAIT)
        mp_watch_close(&rwlock_of(side)->watches[side_of(side)]);
}

static const mp_kind_class class = {
    .abandon = abandon, .is_ready = is_ready, .watch = watch, .unwatch = unwatch};

__attribute__((constructor)) static void open_class(void) {
    mp_arena_classes[MP_KIND_WRITE_SIDE] = mp_arena_classes[MP_KIND_READ_SIDE] = &class;
}
