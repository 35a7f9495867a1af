/*
** lock_stress.c: the engine's locks, semaphores and events under a sanitizer, without Lua.
**
** Two numbers are changed one after the other in a lock: they are alike whenever it is acquired,
** but by who is told that its holder has ended, and who makes them so again. Never are more in a
** semaphore than it has units. Who waits for an event goes on. At the end all is free, and the
** memory is back. Prints "ok" and how often each was done.
*/
#include "engine/event.h"
#include "engine/mutex.h"
#include "engine/semaphore.h"
#include "stress.h"

enum { UNITS = 3 };

typedef struct shared {
    _Atomic int is_over;
    uint64_t pair[2]; /* in the lock */
    _Atomic int64_t inside;
    _Atomic uint64_t n_locked, n_units, n_events, n_told;
} shared;

static shared *all;
static mp_ref mutex, semaphore, event;
static int is_recursive;

static void use_lock(unsigned *seed) {
    const int rc = mp_mutex_acquire(mutex, mp_sys_deadline(PATIENCE));
    if (rc < 0)
        fail("the lock is stuck");
    if (rc == 0 && all->pair[0] != all->pair[1])
        fail("a change is half done, and nobody was told");
    if (is_recursive && mp_mutex_acquire(mutex, MP_FOREVER) != 0)
        fail("its holder does not get it again");
    if (rc == 1)
        all->pair[1] = all->pair[0];
    all->pair[0]++;
    if (rand_r(seed) % 16 == 0)
        usleep(50); /* with a half-done change: some are killed here */
    all->pair[1]++;
    for (int depth = 0; depth <= is_recursive; depth++)
        if (mp_mutex_release(mutex) != 0)
            fail("its holder does not have it");
    atomic_fetch_add(&all->n_locked, 1);
    atomic_fetch_add(&all->n_told, (uint64_t)rc);
}

static void use_semaphore(mp_ref hold) {
    if (mp_semaphore_acquire(semaphore, hold, mp_sys_deadline(PATIENCE)) < 0)
        fail("no unit comes");
#ifdef MP_THREADS /* nobody is killed in between */
    if (atomic_fetch_add(&all->inside, 1) >= UNITS)
        fail("there are more than units");
    atomic_fetch_sub(&all->inside, 1);
#endif
    if (mp_semaphore_release(semaphore, hold, 1) < 0)
        fail("a unit cannot be given back");
    atomic_fetch_add(&all->n_units, 1);
}

static void use_event(unsigned *seed) {
    if (rand_r(seed) % 4 > 0) {
        mp_event_set(event);
        if (rand_r(seed) % 2 == 0)
            mp_event_clear(event);
        return;
    }
    if (mp_event_wait(event, mp_event_begin(event), mp_sys_deadline(PATIENCE)) < 0)
        fail("a wait for an event does not end");
    atomic_fetch_add(&all->n_events, 1);
}

/* What a thread or a process does, with holds of its own. */
static void work(uint32_t number, int place) {
    (void)place;
    unsigned seed = number * 2654435761u;
    const mp_ref objects[] = {mutex, semaphore, event};
    mp_ref holds[3];
    for (int i = 0; i < 3; i++) {
        if (mp_arena_hold(mp_arena_holds(), objects[i], &holds[i]) < 0)
            fail("no hold");
        ((mp_hold *)mp_arena_bytes(holds[i]))->is_claimed = 1;
    }
    while (!all->is_over)
        switch (rand_r(&seed) % 4) {
        case 0:
            use_event(&seed);
            break;
        case 1:
            use_semaphore(holds[1]);
            break;
        default:
            use_lock(&seed);
        }
    mp_event_set(event); /* nobody waits any more */
    for (int i = 0; i < 3; i++)
        mp_arena_leave(holds[i]);
}

static void stop(void) {
    all->is_over = 1;
}

static void set_event(void) {
    mp_event_set(event);
}

static void stress(arguments a) {
    static const members m = {work, stop, set_event, 2000};
    mp_arena_usage before;
    mp_ref holds[3];
    if (mp_arena_count(&before) < 0 || mp_mutex_make(is_recursive, &mutex, &holds[0]) < 0 ||
        mp_semaphore_make(is_recursive, UNITS, &semaphore, &holds[1]) < 0 ||
        mp_event_make(&event, &holds[2]) < 0)
        fail("no memory");
    all->is_over = 0;
    all->pair[0] = all->pair[1] = 0;
    if (run_members(&m, a) == 0 && all->pair[0] != all->pair[1])
        fail("a change is half done");
    mp_arena_sweep_dead();
    if (mp_semaphore_value(semaphore) != UNITS)
        fail("not all units are back");
    if (mp_mutex_acquire(mutex, MP_NOWAIT) < 0 || mp_mutex_release(mutex) < 0)
        fail("the lock is not free");
    for (int i = 0; i < 3; i++)
        mp_arena_leave(holds[i]);
    check_usage(&before);
}

int main(int argc, char **argv) {
    void *mapping;
    arguments a = begin(argc, argv, sizeof *all, &mapping);
    all = mapping;
    a.seconds /= 2;
    for (is_recursive = 0; is_recursive < 2; is_recursive++)
        stress(a);
    printf("ok %llu %llu %llu, %llu told\n", (unsigned long long)all->n_locked,
           (unsigned long long)all->n_units, (unsigned long long)all->n_events,
           (unsigned long long)all->n_told);
    return 0;
}
