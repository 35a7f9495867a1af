/*
** together_stress.c: the engine's rwlocks, barriers and conditions under a sanitizer, without Lua.
**
** Two numbers are changed one after the other by who writes, and are alike for who reads, unless
** a writer's death was told. Who waits at a barrier of two goes on with another one, or it breaks.
** Who waits for an item at a condition gets one. At the end nobody waits or holds anything, and the
** memory is back. Prints "ok" and how often each was done.
*/
#include "engine/barrier.h"
#include "engine/condition.h"
#include "engine/mutex.h"
#include "engine/rwlock.h"
#include "stress.h"

enum { OBJECTS = 5 };
enum { READ, WRITE, BARRIER, CONDITION, LOCK }; /* of OBJECTS */

typedef struct shared {
    _Atomic int is_over;
    _Atomic uint64_t pair[2]; /* of who writes */
    _Atomic int is_torn;      /* who reads was told that they may not be alike */
    _Atomic int64_t items;    /* in the lock of the condition */
    _Atomic uint64_t n_written, n_read, n_rounds, n_items, n_told;
} shared;

static shared *all;
static mp_ref objects[OBJECTS];

static mp_time patience(void) {
    return mp_sys_deadline(PATIENCE);
}

static void do_write(mp_ref hold, unsigned *seed) {
    const int rc = mp_rwlock_acquire(objects[WRITE], hold, patience());
    if (rc < 0)
        fail("nobody can write");
    if (rc == 0 && !all->is_torn && all->pair[0] != all->pair[1])
        fail("a change is half done, and nobody was told");
    all->pair[1] = all->pair[0];
    all->is_torn = 0;
    all->pair[0]++;
    if (rand_r(seed) % 16 == 0)
        usleep(50); /* with a half-done change: some are killed here */
    all->pair[1]++;
    if (mp_rwlock_release(objects[WRITE], hold) != 0)
        fail("who writes does not have it");
    all->n_written++;
    all->n_told += (uint64_t)rc;
}

/* One of those who read now was told of a writer's death, or, if that one has died, is. */
static void hear_of_it(mp_ref hold) {
    const mp_time end = mp_sys_deadline(1);
    while (!all->is_torn) {
        if (mp_sys_now() > end)
            fail("somebody writes while another reads");
        if (mp_rwlock_acquire(objects[READ], hold, patience()) == 1)
            all->is_torn = 1;
        if (mp_rwlock_release(objects[READ], hold) != 0)
            fail("who reads does not have it");
    }
}

static void do_read(mp_ref hold) {
    const int rc = mp_rwlock_acquire(objects[READ], hold, patience());
    if (rc < 0 || mp_rwlock_acquire(objects[READ], hold, patience()) != 0)
        fail("nobody can read");
    if (rc == 1)
        all->is_torn = 1;
    if (all->pair[0] != all->pair[1])
        hear_of_it(hold);
    for (int i = 0; i < 2; i++)
        if (mp_rwlock_release(objects[READ], hold) != 0)
            fail("who reads does not have it");
    all->n_read++;
    all->n_told += (uint64_t)rc;
}

static void use_barrier(mp_ref hold) {
    int acts;
    const int rc = mp_barrier_wait(objects[BARRIER], hold, &acts, patience());
    if (rc == -EPIPE)
        mp_barrier_reset(objects[BARRIER]);
    else if (rc != 1 && rc != 2)
        fail("a barrier keeps its processes");
    else
        all->n_rounds++;
}

/* Takes the lock, or has it back: what a dead one had not told is told. */
static void has_lock(int rc) {
    if (rc < 0)
        fail("the lock of a condition is stuck");
    if (rc == 1)
        mp_condition_notify(objects[CONDITION], UINT64_MAX);
}

static void bring(int is_last) {
    has_lock(mp_mutex_acquire(objects[LOCK], patience()));
    if (!is_last)
        all->items++;
    mp_condition_notify(objects[CONDITION], is_last ? UINT64_MAX : 1);
    mp_mutex_release(objects[LOCK]);
}

static void fetch(mp_ref hold) {
    has_lock(mp_mutex_acquire(objects[LOCK], patience()));
    while (all->items == 0 && !all->is_over) {
        mp_condition_join(objects[CONDITION], hold);
        const int depth = mp_mutex_give_up(objects[LOCK]);
        if (mp_condition_sleep(objects[CONDITION], hold, patience()) < 0)
            fail("who waits is not told");
        has_lock(mp_mutex_take_back(objects[LOCK], depth, patience()));
        if (!mp_condition_leave(objects[CONDITION], hold, 1))
            fail("who was told does not know it");
    }
    if (all->items > 0) {
        all->items--;
        all->n_items++;
    }
    mp_mutex_release(objects[LOCK]);
}

/* What a thread or a process does, with holds of its own. */
static void work(uint32_t number, int place) {
    (void)place;
    unsigned seed = number * 2654435761u;
    mp_ref holds[OBJECTS];
    for (int i = 0; i < OBJECTS; i++) {
        if (mp_arena_hold(mp_arena_holds(), objects[i], &holds[i]) < 0)
            fail("no hold");
        ((mp_hold *)mp_arena_bytes(holds[i]))->is_claimed = MP_CLAIMED;
    }
    while (!all->is_over)
        switch (rand_r(&seed) % 6) {
        case 0:
            do_write(holds[WRITE], &seed);
            break;
        case 1:
            use_barrier(holds[BARRIER]);
            break;
        case 2:
            fetch(holds[CONDITION]);
            break;
        case 3:
            bring(0);
            break;
        default:
            do_read(holds[READ]);
        }
    bring(1); /* nobody waits any more */
    mp_barrier_abort(objects[BARRIER]);
    for (int i = 0; i < OBJECTS; i++)
        mp_arena_leave(holds[i]);
}

/* All may wait for each other. */
static void help(void) {
    bring(0);
    mp_barrier_abort(objects[BARRIER]);
    mp_barrier_reset(objects[BARRIER]);
}

static void stop(void) {
    all->is_over = 1;
}

static void check_end(const mp_ref holds[OBJECTS]) {
    if (mp_rwlock_shares(objects[READ]) != 0 || mp_rwlock_waiting(objects[WRITE]) != 0 ||
        mp_rwlock_waiting(objects[READ]) != 0 || mp_condition_waiting(objects[CONDITION]) != 0 ||
        mp_barrier_waiting(objects[BARRIER]) != 0)
        fail("somebody waits or has something still");
    if (mp_rwlock_acquire(objects[WRITE], holds[WRITE], MP_NOWAIT) < 0 ||
        mp_rwlock_release(objects[WRITE], holds[WRITE]) < 0)
        fail("the rwlock is not free");
}

static void stress(arguments a) {
    static const members m = {work, stop, help, 2000};
    mp_arena_usage before;
    mp_ref holds[OBJECTS];
    if (mp_arena_count(&before) < 0 || mp_rwlock_make(objects, holds) < 0 ||
        mp_barrier_make(2, NULL, -1, &objects[BARRIER], &holds[BARRIER]) < 0 ||
        mp_mutex_make(0, &objects[LOCK], &holds[LOCK]) < 0 ||
        mp_condition_make(objects[LOCK], &objects[CONDITION], &holds[CONDITION]) < 0)
        fail("no memory");
    run_members(&m, a);
    mp_arena_sweep_dead();
    check_end(holds);
    for (int i = 0; i < OBJECTS; i++)
        mp_arena_leave(holds[i]);
    check_usage(&before);
}

int main(int argc, char **argv) {
    void *mapping;
    const arguments a = begin(argc, argv, sizeof *all, &mapping);
    all = mapping;
    stress(a);
    printf("ok %llu %llu %llu %llu, %llu told\n", (unsigned long long)all->n_written,
           (unsigned long long)all->n_read, (unsigned long long)all->n_rounds,
           (unsigned long long)all->n_items, (unsigned long long)all->n_told);
    return 0;
}
