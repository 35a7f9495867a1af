/*
** mutex.c: locks that programs wait for; mutex.h has the rules and the steps.
*/
#include "engine/mutex.h"

#include <errno.h>

#include "engine/deadlock.h"
#include "engine/gate.h"
#include "engine/watch.h"

typedef struct mutex_shared {
    _Atomic mp_name word;
    uint32_t depth;
    uint32_t is_recursive;
    mp_gate gate;
    mp_watch watch;
} mutex_shared;

_Static_assert(sizeof(mutex_shared) <= 64, "a lock lies in one cache line");

static mutex_shared *mutex_of(mp_ref mutex) {
    return mp_arena_bytes(mutex);
}

/* Whether that word is of nobody who could still release the lock. */
static int is_left(mp_name word) {
    return word == MP_MUTEX_ABANDONED || mp_name_has_died(word);
}

static int take(mutex_shared *m, mp_name before, mp_name own) {
    if (!atomic_compare_exchange_strong_explicit(&m->word, &before, own, memory_order_acq_rel,
                                                 memory_order_acquire))
        return 0;
    mp_fault("mutex.acquire.A1");
    m->depth = 1;
    mp_fault("mutex.acquire.A2");
    mp_gate_pass(&m->gate);
    return 1;
}

/* 0, 1 or -EALREADY as mp_mutex_acquire, or -EBUSY. */
static int try_acquire(mutex_shared *m) {
    const mp_name own = mp_name_own();
    if (take(m, 0, own))
        return 0;
    const mp_name word = atomic_load_explicit(&m->word, memory_order_acquire);
    if (word == own) {
        m->depth += m->is_recursive;
        return m->is_recursive ? 0 : -EALREADY;
    }
    return word != 0 && is_left(word) && take(m, word, own) ? 1 : -EBUSY;
}

static int is_ready(const void *arg) {
    const mutex_shared *m = arg;
    const mp_name word = atomic_load_explicit(&m->word, memory_order_acquire);
    return word == 0 || word == mp_name_own() || is_left(word);
}

int mp_mutex_acquire(mp_ref mutex, mp_time deadline) {
    mutex_shared *m = mutex_of(mutex);
    int rc = try_acquire(m);
    while (rc == -EBUSY) {
        const mp_await await = {.mine = &m->gate,
                                .theirs = &m->gate,
                                .is_ready = is_ready,
                                .arg = m,
                                .what = MP_AWAIT,
                                .object = mutex};
        rc = mp_deadlock_wait(&await, deadline);
        if (rc == 0)
            rc = try_acquire(m);
    }
    if (rc < 0)
        mp_watch_look(&m->watch);
    return rc;
}

static void tell(mutex_shared *m) {
    mp_deadlock_acts(); /* by a finalizer, for example, while the process waits */
    mp_gate_open(&m->gate, 1);
    mp_watch_tell(&m->watch);
}

/* It is free from now on, or left, by that word. */
static void let_go(mutex_shared *m, mp_name word) {
    atomic_store_explicit(&m->word, word, memory_order_release);
    mp_fault("mutex.release.R1");
    tell(m);
}

static int is_own(mutex_shared *m) {
    return atomic_load_explicit(&m->word, memory_order_relaxed) == mp_name_own();
}

static int release(mutex_shared *m, mp_name word) {
    if (!is_own(m))
        return -EPERM;
    if (--m->depth == 0)
        let_go(m, word);
    return 0;
}

int mp_mutex_release(mp_ref mutex) {
    return release(mutex_of(mutex), 0);
}

int mp_mutex_leave(mp_ref mutex) {
    return release(mutex_of(mutex), MP_MUTEX_ABANDONED);
}

int mp_mutex_give_up(mp_ref mutex) {
    mutex_shared *m = mutex_of(mutex);
    if (!is_own(m))
        return -EPERM;
    const int depth = (int)m->depth;
    let_go(m, 0);
    return depth;
}

int mp_mutex_take_back(mp_ref mutex, int depth, mp_time deadline) {
    const int rc = mp_mutex_acquire(mutex, deadline);
    if (rc >= 0)
        mutex_of(mutex)->depth = (uint32_t)depth;
    return rc;
}

mp_name mp_mutex_holder(mp_ref mutex) {
    const mp_name word = atomic_load_explicit(&mutex_of(mutex)->word, memory_order_acquire);
    mp_watch_look(&mutex_of(mutex)->watch);
    return word != 0 && is_left(word) ? MP_MUTEX_ABANDONED : word;
}

int mp_mutex_is_ready(mp_ref mutex, int what) {
    (void)what;
    return is_ready(mutex_of(mutex));
}

/* --- the kind ------------------------------------------------------------- */

int mp_mutex_make(int is_recursive, mp_ref *mutex, mp_ref *hold) {
    int rc = mp_arena_make(sizeof(mutex_shared), is_recursive ? MP_KIND_RLOCK : MP_KIND_LOCK, mutex,
                           hold);
    if (rc < 0)
        return rc;
    mutex_of(*mutex)->is_recursive = is_recursive != 0;
    mutex_of(*mutex)->gate.cpu = -1;
    return 0;
}

/* Its holder has died, or this process drops a handle: one that came later may have it. */
static void abandon(uint32_t member, mp_ref hold) {
    mutex_shared *m = mutex_of(((mp_hold *)mp_arena_bytes(hold))->object);
    mp_name name = mp_name_of(member);
    if (member == mp_page_self && (!is_own(m) || mp_arena_holds_also(hold)))
        return;
    if (atomic_compare_exchange_strong(&m->word, &name, MP_MUTEX_ABANDONED)) {
        mp_fault("mutex.abandon.B1");
        tell(m);
    }
}

static int watch(mp_ref mutex, int what) {
    (void)what;
    return mp_watch_fd(&mutex_of(mutex)->watch, is_ready, mutex_of(mutex));
}

static void unwatch(mp_ref mutex, int verb) {
    if (verb == MP_AWAIT)
        mp_watch_close(&mutex_of(mutex)->watch);
}

static const mp_kind_class class = {
    .abandon = abandon, .is_ready = mp_mutex_is_ready, .watch = watch, .unwatch = unwatch};

__attribute__((constructor)) static void open_class(void) {
    mp_arena_classes[MP_KIND_LOCK] = mp_arena_classes[MP_KIND_RLOCK] = &class;
}
