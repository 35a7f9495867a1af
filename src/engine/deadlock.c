/*
** deadlock.c: looking at who waits for what; deadlock.h has the rules.
*/
#include "engine/deadlock.h"

#include <errno.h>

#include "engine/family.h"
#include "engine/page.h"

enum { REAPED = UINT16_MAX }; /* a record's wait_verb, when its process will wait no more */

static MP_OWN uint64_t wave; /* read before the look that comes next */

static member_shared *me(void) {
    return &mp_page->members[mp_page_self];
}

/* Without a family there is nobody else to wait for. */
static int is_member(void) {
    return mp_page != NULL && mp_page_self != MP_NOBODY;
}

void mp_deadlock_change(void) {
    if (is_member())
        atomic_fetch_add(&me()->wait_epoch, 1);
}

void mp_deadlock_acts(void) {
    if (is_member() && atomic_load_explicit(&me()->wait_verb, memory_order_relaxed) != 0)
        mp_deadlock_change();
}

void mp_deadlock_enter(uint32_t verb, uint64_t object) {
    wave = 0;
    if (!is_member())
        return;
    me()->wait_object = object;
    mp_deadlock_change();
    atomic_store(&me()->wait_verb, mp_sys_signal_handled() ? 0 : verb);
}

void mp_deadlock_leave(void) {
    mp_deadlock_change();
    if (is_member())
        atomic_store(&me()->wait_verb, 0);
}

void mp_deadlock_reaped(uint32_t child) {
    atomic_store(&mp_page->members[child].wait_verb, REAPED);
    mp_deadlock_change();
}

/* Whether it waits, and nothing but another process can help it. */
static int is_waiting(const member_shared *m) {
    return atomic_load_explicit(&m->state, memory_order_acquire) == ALIVE &&
           atomic_load(&m->wait_verb) != 0 && !m->detached && m->deadline == 0;
}

/*
** Whether it has ended. With the life of a large process its memory is not gone yet, and
** who waits for its end goes on only then.
*/
static int has_ended(uint32_t i, uint32_t state) {
    const member_shared *m = &mp_page->members[i];
    return m->wait_verb == REAPED ||
           (state != BORN && !mp_family_alive(i) && mp_sys_has_ended(m->pid));
}

/* Whether it has, and has left nothing to be given back. */
static int is_gone(uint32_t i) {
    const uint32_t state = atomic_load_explicit(&mp_page->members[i].state, memory_order_acquire);
    return state == FREE || (state != PROGRAM && has_ended(i, state) && !mp_arena_has_left(i));
}

/* What tells two looks apart, if all are gone or wait; else 0. */
static uint64_t look(void) {
    uint64_t sum = 1469598103934665603u; /* FNV-1a (Fowler, Noll, Vo) */
    for (uint32_t i = 0; i < mp_page->high; i++) {
        const member_shared *m = &mp_page->members[i];
        const uint64_t epoch = atomic_load(&m->wait_epoch);
        const int is_out = is_gone(i);
        if (!is_out && !is_waiting(m))
            return 0;
        sum = (sum ^ epoch) * 1099511628211u;
        sum = (sum ^ m->serial) * 1099511628211u;
        sum = (sum ^ (uint64_t)is_out) * 1099511628211u;
    }
    return sum | 1;
}

/* Whether all that wait have looked in this wave. */
static int have_looked(uint64_t number) {
    for (uint32_t i = 0; i < mp_page->high; i++)
        if (is_waiting(&mp_page->members[i]) && mp_family_alive(i) &&
            atomic_load(&mp_page->members[i].wait_looked) != number)
            return 0;
    return 1;
}

/* They have looked before the sum is taken again: who went on since then has another. */
static int is_deadlock(void) {
    static MP_OWN uint64_t before;
    const uint64_t number = atomic_load(&mp_page->wave);
    const int has_come_back = before != 0 && have_looked(number);
    const uint64_t sum = look();
    if (sum != 0 && sum == before)
        return has_come_back;
    before = sum;
    if (sum != 0)
        atomic_store(&mp_page->wave, number + 1);
    return 0;
}

int mp_deadlock_look(void) {
    if (!is_member())
        return 0;
    atomic_store(&me()->wait_looked, wave);
    const int is_told = mp_family_creator() == MP_NOBODY && is_deadlock();
    wave = atomic_load(&mp_page->wave);
    return is_told;
}

static int wait_once(const mp_await *a, mp_time deadline) {
    return mp_gate_wait(a->mine, a->theirs, a->is_ready, a->arg, deadline);
}

/* Who has waited for long says so. */
int mp_deadlock_wait(const mp_await *a, mp_time deadline) {
    int rc = wait_once(a, deadline);
    if (rc != -ETIMEDOUT || deadline <= MP_NOWAIT)
        return rc;
    if (deadline == MP_FOREVER)
        mp_deadlock_enter(MP_WAITS_OBJECT + (uint32_t)a->what % MP_AWAIT_MORE, a->object);
    while (rc == -ETIMEDOUT && mp_sys_now() < deadline) {
        if (mp_arena_sweep_dead())
            mp_deadlock_change();
        rc = wait_once(a, deadline);
        if (rc == -ETIMEDOUT && deadline == MP_FOREVER && mp_deadlock_look())
            rc = -EDEADLK;
    }
    if (deadline == MP_FOREVER && rc != -EDEADLK) /* of which is told first */
        mp_deadlock_leave();
    return rc;
}

int32_t mp_deadlock_waiter(uint32_t *i, uint32_t *verb, uint64_t *object) {
    for (; *i < mp_page->high; ++*i) {
        const member_shared *m = &mp_page->members[*i];
        *verb = m->wait_verb;
        *object = m->wait_object;
        if (m->state == ALIVE && *verb != 0 && *verb != REAPED) {
            ++*i;
            return m->pid;
        }
    }
    return 0;
}
