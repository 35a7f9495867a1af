/*
** stress.h: what every stress of the engine is made of; each is one program of its own.
**
**   NAME_threads SECONDS SEED      8 threads; each is a member of the family of its own
**                                  (MP_THREADS, see page.h): for the thread sanitizer
**   NAME_processes SECONDS SEED    8 processes; one after the other is killed: for the others
**
** A stress says what its members do, in `members`, and what must hold at the end, after
*`run_members`.
** What does not hold aborts, with a word about it.
*/
#ifndef SPEC_ENGINE_STRESS_H
#define SPEC_ENGINE_STRESS_H

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/arena.h"
#include "engine/family.h"
#include "engine/page.h"

enum { WORKERS = 8, PATIENCE = 30 };

typedef struct members {
    /* What the number-th member does, in its place (0 to 7), until `stop` was called. */
    void (*work)(uint32_t number, int place);
    void (*stop)(void);
    void (*help)(void); /* now and then, where all may wait for each other; or NULL */
    int pause;          /* microseconds from one kill to the next, at most */
} members;

_Noreturn static inline void fail(const char *what) {
    fprintf(stderr, "%s\n", what);
    fflush(stderr);
    abort();
}

static inline void must(int64_t rc, const char *what) {
    if (rc < 0)
        fail(what);
}

typedef struct arguments {
    double seconds;
    unsigned seed;
} arguments;

/* The arguments of the program, and a family with so many bytes that all of it share, zero at
 * first. */
static inline arguments begin(int argc, char **argv, size_t size, void **shared) {
    const arguments a = {argc > 1 ? atof(argv[1]) : 2,
                         argc > 2 ? (unsigned)atoi(argv[2]) : (unsigned)mp_sys_now()};
    printf("seed %u\n", a.seed);
    fflush(stdout);
    *shared = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (*shared == MAP_FAILED || mp_arena_open() < 0)
        fail("no family");
    return a;
}

/* The arena holds what it held before. */
static inline void check_usage(const mp_arena_usage *before) {
    mp_arena_usage after;
    mp_arena_sweep_dead();
    mp_arena_count(&after);
    if (memcmp(before->n, after.n, sizeof before->n) != 0)
        fail("blocks are left");
}

static inline void help_until(const members *m, mp_time until) {
    while (mp_sys_now() < until) {
        usleep(1000);
        if (m->help != NULL)
            m->help();
    }
}

/* --- threads -------------------------------------------------------------- */

#ifdef MP_THREADS
typedef struct job {
    pthread_t thread;
    const members *members;
    uint32_t member, number;
} job;

static inline void *run_job(void *arg) {
    const job *j = arg;
    mp_page_self = j->member;
    j->members->work(j->number, (int)j->number);
    return NULL;
}

/* Runs them for so long: how many were killed. */
static inline uint64_t run_members(const members *m, arguments a) {
    job jobs[WORKERS];
    for (uint32_t i = 0; i < WORKERS; i++) {
        jobs[i] = (job){.members = m, .number = i};
        must(mp_family_birth(&jobs[i].member, 0), "no record");
    }
    for (uint32_t i = 0; i < WORKERS; i++)
        must(-pthread_create(&jobs[i].thread, NULL, run_job, &jobs[i]), "no thread");
    help_until(m, mp_sys_deadline(a.seconds));
    m->stop();
    for (uint32_t i = 0; i < WORKERS; i++) {
        pthread_join(jobs[i].thread, NULL);
        mp_family_free(jobs[i].member);
    }
    return 0;
}
#else

/* --- processes ------------------------------------------------------------ */

typedef struct job {
    pid_t pid;
    uint32_t member;
} job;

static inline void start_job(job *j, const members *m, uint32_t number, int place) {
    must(mp_family_birth(&j->member, 0), "no record");
    j->pid = fork();
    must(j->pid, "no process");
    if (j->pid > 0)
        return;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    mp_family_enter(j->member);
    m->work(number, place);
    _exit(0);
}

static inline void end_job(job *j, int is_killed) {
    int status;
    if (waitpid(j->pid, &status, 0) != j->pid)
        fail("waitpid");
    if (status != 0 && !(is_killed && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL))
        fail("a process has failed");
    mp_family_free(j->member);
}

/* Runs them for so long: how many were killed. */
static inline uint64_t run_members(const members *m, arguments a) {
    job jobs[WORKERS];
    uint32_t number = 0;
    for (int i = 0; i < WORKERS; i++)
        start_job(&jobs[i], m, number++, i);
    const mp_time until = mp_sys_deadline(a.seconds);
    while (mp_sys_now() < until) {
        help_until(m, mp_sys_deadline(rand_r(&a.seed) % m->pause / 1e6));
        const int i = rand_r(&a.seed) % WORKERS;
        kill(jobs[i].pid, SIGKILL);
        end_job(&jobs[i], 1);
        start_job(&jobs[i], m, number++, i);
    }
    m->stop();
    for (int i = 0; i < WORKERS; i++)
        end_job(&jobs[i], 0);
    return number - WORKERS;
}
#endif

#endif
