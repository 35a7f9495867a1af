/*
** lock_stress.c: the engine's locks, semaphores and events under a sanitizer, without Lua.
**
**   lock_stress_threads SECONDS SEED      8 threads; each is a member of the family of its own
**                                         (MP_THREADS, see page.h)
**   lock_stress_processes SECONDS SEED    8 processes; one after the other is killed
**
** Two numbers are changed one after the other in a lock: they are alike whenever it is acquired,
** but by who is told that its holder has ended, and who makes them so again. Never are more in a
** semaphore than it has units. Who waits for an event goes on. At the end all is free, and the
** memory is back. Prints "ok" and how often each was done.
*/
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/event.h"
#include "engine/family.h"
#include "engine/mutex.h"
#include "engine/page.h"
#include "engine/semaphore.h"

enum { WORKERS = 8, UNITS = 3, PATIENCE = 30 };

typedef struct shared {
    _Atomic int is_over;
    uint64_t pair[2]; /* in the lock */
    _Atomic int64_t inside;
    _Atomic uint64_t n_locked, n_units, n_events, n_told;
} shared;

static shared *all;
static mp_ref mutex, semaphore, event;
static int is_recursive;

_Noreturn static void fail(const char *what) {
    fprintf(stderr, "%s\n", what);
    fflush(stderr);
    abort();
}

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
static void work(uint32_t number) {
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

/* --- threads -------------------------------------------------------------- */

#ifdef MP_THREADS
typedef struct job {
    pthread_t thread;
    uint32_t member, number;
} job;

static void *run(void *arg) {
    const job *j = arg;
    mp_page_self = j->member;
    work(j->number);
    return NULL;
}

static void stress(double seconds, unsigned seed) {
    job jobs[WORKERS];
    (void)seed;
    for (uint32_t i = 0; i < WORKERS; i++) {
        jobs[i].number = i;
        if (mp_family_birth(&jobs[i].member, 0) < 0)
            fail("no record");
    }
    for (uint32_t i = 0; i < WORKERS; i++)
        if (pthread_create(&jobs[i].thread, NULL, run, &jobs[i]) != 0)
            fail("no thread");
    const mp_time until = mp_sys_deadline(seconds);
    while (mp_sys_now() < until) {
        usleep(1000);
        mp_event_set(event); /* all may wait */
    }
    all->is_over = 1;
    for (uint32_t i = 0; i < WORKERS; i++) {
        pthread_join(jobs[i].thread, NULL);
        mp_family_free(jobs[i].member);
    }
    if (all->pair[0] != all->pair[1])
        fail("a change is half done");
}
#else

/* --- processes ------------------------------------------------------------ */

typedef struct job {
    pid_t pid;
    uint32_t member;
} job;

static uint32_t number; /* of the processes so far */

static void start(job *j) {
    const uint32_t mine = number++;
    if (mp_family_birth(&j->member, 0) < 0)
        fail("no record");
    j->pid = fork();
    if (j->pid == 0) {
        mp_family_enter(j->member);
        work(mine);
        _exit(0);
    }
}

static void end(job *j, int is_killed) {
    int status;
    if (waitpid(j->pid, &status, 0) != j->pid)
        fail("waitpid");
    if (status != 0 && !(is_killed && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL))
        fail("a process has failed");
    mp_family_free(j->member);
}

static void stress(double seconds, unsigned seed) {
    job jobs[WORKERS];
    for (int i = 0; i < WORKERS; i++)
        start(&jobs[i]);
    const mp_time until = mp_sys_deadline(seconds);
    while (mp_sys_now() < until) {
        usleep((useconds_t)(rand_r(&seed) % 2000));
        mp_event_set(event); /* all may wait */
        const int i = rand_r(&seed) % WORKERS;
        kill(jobs[i].pid, SIGKILL);
        end(&jobs[i], 1);
        start(&jobs[i]);
    }
    all->is_over = 1;
    for (int i = 0; i < WORKERS; i++)
        end(&jobs[i], 0);
}
#endif

static void stress_whole(double seconds, unsigned seed) {
    mp_arena_usage before, after;
    mp_ref holds[3];
    if (mp_arena_count(&before) < 0 || mp_mutex_make(is_recursive, &mutex, &holds[0]) < 0 ||
        mp_semaphore_make(is_recursive, UNITS, &semaphore, &holds[1]) < 0 ||
        mp_event_make(&event, &holds[2]) < 0)
        fail("no memory");
    all->is_over = 0;
    all->pair[0] = all->pair[1] = 0;
    stress(seconds, seed);
    mp_arena_sweep_dead();
    if (mp_semaphore_value(semaphore) != UNITS)
        fail("not all units are back");
    if (mp_mutex_acquire(mutex, MP_NOWAIT) < 0 || mp_mutex_release(mutex) < 0)
        fail("the lock is not free");
    for (int i = 0; i < 3; i++)
        mp_arena_leave(holds[i]);
    mp_arena_count(&after);
    if (memcmp(before.n, after.n, sizeof before.n) != 0)
        fail("blocks are left");
}

int main(int argc, char **argv) {
    const double seconds = argc > 1 ? atof(argv[1]) : 2;
    const unsigned seed = argc > 2 ? (unsigned)atoi(argv[2]) : (unsigned)mp_sys_now();
    printf("seed %u\n", seed);
    all = mmap(NULL, sizeof *all, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (all == MAP_FAILED || mp_arena_open() < 0)
        fail("no family");
    for (is_recursive = 0; is_recursive < 2; is_recursive++)
        stress_whole(seconds / 2, seed);
    printf("ok %llu %llu %llu, %llu told\n", (unsigned long long)all->n_locked,
           (unsigned long long)all->n_units, (unsigned long long)all->n_events,
           (unsigned long long)all->n_told);
    return 0;
}
