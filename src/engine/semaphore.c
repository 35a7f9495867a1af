/*
** semaphore.c: units that processes take and give back; semaphore.h has the rules and the steps.
*/
#include "engine/semaphore.h"

#include <errno.h>
#include <limits.h>

#include "engine/deadlock.h"
#include "engine/gate.h"
#include "engine/lock.h"
#include "engine/page.h"
#include "engine/watch.h"

typedef struct semaphore_shared {
    mp_lock lock;
    int is_bounded;
    _Atomic uint64_t value;
    uint64_t began; /* with so many */
    struct {        /* the change that is being made */
        mp_ref hold;
        uint64_t units, value;
        _Atomic uint32_t is_on;
    } doing;
    _Alignas(64) mp_gate gate;
    mp_watch watch;
} semaphore_shared;

static semaphore_shared *semaphore_of(mp_ref semaphore) {
    return mp_arena_bytes(semaphore);
}

static mp_hold *hold_of(mp_ref hold) {
    return mp_arena_bytes(hold);
}

/* --- changes -------------------------------------------------------------- */

static void do_over(semaphore_shared *s) {
    if (!atomic_load_explicit(&s->doing.is_on, memory_order_acquire))
        return;
    hold_of(s->doing.hold)->units = s->doing.units;
    atomic_store_explicit(&s->value, s->doing.value, memory_order_release);
    mp_fault("semaphore.change.S3");
    atomic_store_explicit(&s->doing.is_on, 0, memory_order_release);
}

/* Takes the lock, from a holder that is stopped perhaps: 0, -ETIMEDOUT or -EINTR. */
static int lock(semaphore_shared *s, mp_time deadline, int may_end) {
    uint32_t dead;
    int rc = mp_lock_take(&s->lock, mp_page_self, MP_NOWAIT, 0, &dead);
    if (rc == -ETIMEDOUT) {
        const mp_time moments = mp_sys_now() + MP_LOOK;
        rc = mp_lock_take(&s->lock, mp_page_self, deadline > moments ? deadline : moments, may_end,
                          &dead);
    }
    if (rc == 1) {
        do_over(s);
        mp_lock_mended(&s->lock, mp_page_self);
    }
    return rc < 0 ? rc : 0;
}

static void unlock(semaphore_shared *s) {
    mp_lock_give(&s->lock);
    mp_fault("semaphore.change.S4");
}

/* The hold has so many units from now on, and the semaphore that value. In the lock. */
static void change(semaphore_shared *s, mp_ref hold, uint64_t units, uint64_t value) {
    s->doing.hold = hold;
    s->doing.units = units;
    s->doing.value = value;
    mp_fault("semaphore.change.S1");
    atomic_store_explicit(&s->doing.is_on, 1, memory_order_release);
    mp_fault("semaphore.change.S2");
    do_over(s);
}

/* --- acquiring ------------------------------------------------------------ */

static uint64_t value_of(const semaphore_shared *s) {
    return atomic_load_explicit(&s->value, memory_order_acquire);
}

static int is_ready(const void *semaphore) {
    return value_of(semaphore) > 0;
}

/* 1: there is none. */
static int try_acquire(semaphore_shared *s, mp_ref hold, mp_time deadline) {
    if (!is_ready(s))
        return 1;
    int rc = lock(s, deadline, 1);
    if (rc < 0)
        return rc;
    rc = !is_ready(s);
    if (rc == 0)
        change(s, hold, hold_of(hold)->units + 1, value_of(s) - 1);
    unlock(s);
    mp_gate_pass(&s->gate);
    return rc;
}

static int acquire(mp_ref semaphore, mp_ref hold, mp_time deadline) {
    semaphore_shared *s = semaphore_of(semaphore);
    int rc = try_acquire(s, hold, deadline);
    while (rc == 1) {
        const mp_await await = {.mine = &s->gate,
                                .theirs = &s->gate,
                                .is_ready = is_ready,
                                .arg = s,
                                .what = MP_AWAIT,
                                .object = semaphore};
        rc = mp_deadlock_wait(&await, deadline);
        if (rc == 0)
            rc = try_acquire(s, hold, deadline);
    }
    return rc;
}

/* What a dead one had may be the unit that there is none of. */
int mp_semaphore_acquire(mp_ref semaphore, mp_ref hold, mp_time deadline) {
    int rc = acquire(semaphore, hold, deadline);
    if (rc == -ETIMEDOUT && mp_arena_has_dead() && mp_arena_sweep_dead())
        rc = acquire(semaphore, hold, MP_NOWAIT);
    mp_watch_look(&semaphore_of(semaphore)->watch);
    return rc;
}

static void tell(semaphore_shared *s, uint64_t n) {
    mp_deadlock_acts(); /* by a finalizer, for example, while the process waits */
    mp_gate_open(&s->gate, n < INT_MAX ? (int)n : INT_MAX);
    mp_watch_tell(&s->watch);
}

static uint64_t most(const semaphore_shared *s) {
    return s->is_bounded ? s->began : MP_SEMAPHORE_MAX;
}

int mp_semaphore_release(mp_ref semaphore, mp_ref hold, uint64_t n) {
    semaphore_shared *s = semaphore_of(semaphore);
    int rc = lock(s, MP_FOREVER, 0);
    if (rc < 0)
        return rc;
    const uint64_t units = hold_of(hold)->units, value = value_of(s);
    rc = value > most(s) || n > most(s) - value ? -EOVERFLOW : 0;
    if (rc == 0)
        change(s, hold, units > n ? units - n : 0, value + n);
    unlock(s);
    if (rc == 0)
        tell(s, n);
    return rc;
}

uint64_t mp_semaphore_value(mp_ref semaphore) {
    return value_of(semaphore_of(semaphore));
}

int mp_semaphore_is_bounded(mp_ref semaphore) {
    return semaphore_of(semaphore)->is_bounded;
}

uint64_t mp_semaphore_bound(mp_ref semaphore) {
    return semaphore_of(semaphore)->began;
}

/* --- the kind ------------------------------------------------------------- */

int mp_semaphore_make(int is_bounded, uint64_t value, mp_ref *semaphore, mp_ref *hold) {
    int rc = mp_arena_make(sizeof(semaphore_shared),
                           is_bounded ? MP_KIND_BOUNDED : MP_KIND_SEMAPHORE, semaphore, hold);
    if (rc < 0)
        return rc;
    semaphore_shared *s = semaphore_of(*semaphore);
    mp_lock_init(&s->lock);
    s->is_bounded = is_bounded != 0;
    s->value = s->began = value;
    s->gate.cpu = -1;
    return 0;
}

/*
** A process has ended, or this one drops its handle: its units come back. Those that somebody else
** has released for it were added before, and a bounded semaphore has no room for them twice.
*/
static void abandon(uint32_t member, mp_ref hold) {
    semaphore_shared *s = semaphore_of(hold_of(hold)->object);
    if (member == mp_page_self && hold_of(hold)->units == 0)
        return;
    lock(s, MP_FOREVER, 0);
    const uint64_t value = value_of(s), room = most(s) > value ? most(s) - value : 0;
    const uint64_t units = hold_of(hold)->units, back = units < room ? units : room;
    if (units > 0)
        change(s, hold, 0, value + back);
    unlock(s);
    if (back > 0)
        tell(s, back);
}

static int is_object_ready(mp_ref semaphore, int what) {
    (void)what;
    return is_ready(semaphore_of(semaphore));
}

/* A signal handler asks. Who died may have had units: who then looks gives them back. */
static int may_be_ready(const void *semaphore) {
    return is_ready(semaphore) || mp_arena_has_dead();
}

static int watch(mp_ref semaphore, int what) {
    (void)what;
    return mp_watch_fd(&semaphore_of(semaphore)->watch, may_be_ready, semaphore_of(semaphore));
}

static void unwatch(mp_ref semaphore, int verb) {
    if (verb == MP_AWAIT)
        mp_watch_close(&semaphore_of(semaphore)->watch);
}

static const mp_kind_class class = {
    .abandon = abandon, .is_ready = is_object_ready, .watch = watch, .unwatch = unwatch};

__attribute__((constructor)) static void open_class(void) {
    mp_arena_classes[MP_KIND_SEMAPHORE] = mp_arena_classes[MP_KIND_BOUNDED] = &class;
}
