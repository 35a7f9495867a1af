/*
 * What the C programs of the benchmarks need: a clock, an end that the runner
 * takes for a failure, and processes that work together. A program prints one
 * number on stdout, the seconds that one operation took, and nothing else.
 */
#ifndef BENCH_H
#define BENCH_H

#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Seconds on the monotonic clock. */
static inline double bench_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Ends the program with status 1 and the system's words for errno. */
_Noreturn static inline void bench_die(const char *what) {
    perror(what);
    exit(1);
}

/* The count in `text`, at least 1; anything else ends the program. */
static inline int bench_count(const char *text) {
    int count = text ? atoi(text) : 0;
    if (count < 1) {
        fprintf(stderr, "a count of at least 1 is needed\n");
        exit(1);
    }
    return count;
}

/*
** The whole of a "loop" program after its preparations: a few rounds to warm
** up, then the mean time over the count in argv[1] is printed.
*/
static inline void bench_rounds(int argc, char **argv, void (*once)(void)) {
    enum { WARM_UP = 5 };
    int count = bench_count(argc == 2 ? argv[1] : NULL);
    for (int i = 0; i < WARM_UP; i++)
        once();
    double start = bench_now();
    for (int i = 0; i < count; i++)
        once();
    printf("%.9f\n", (bench_now() - start) / count);
}

static inline int bench_compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The median of n >= 1 values, which are sorted in place. */
static inline double bench_median(double *values, int n) {
    qsort(values, (size_t)n, sizeof *values, bench_compare);
    return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

/* Shared, anonymous, zeroed memory, which children inherit. */
static inline void *bench_shared(size_t size) {
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        bench_die("mmap");
    return p;
}

/* With BENCH_CPUS=A/B puts this process on CPU A (side 0) or B (side 1). */
static inline void bench_pin(int side) {
    int cpus[2];
    const char *text = getenv("BENCH_CPUS");
    if (text == NULL || sscanf(text, "%d/%d", &cpus[0], &cpus[1]) != 2)
        return;
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((size_t)cpus[side], &set);
    if (sched_setaffinity(0, sizeof set, &set) != 0)
        bench_die("sched_setaffinity");
}

/* A fork whose child does not outlive its parent, for which it may wait in vain. */
static inline pid_t bench_fork(void) {
    pid_t parent = getpid(), pid = fork();
    if (pid < 0)
        bench_die("fork");
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(1);
    }
    return pid;
}

/* Waits for a child, which must end with status 0. */
static inline void bench_await(void) {
    int status;
    if (wait(&status) < 0 || status != 0)
        exit(1);
}

enum { BENCH_MOST = 64 }; /* processes at once */

/*
** Forks n processes. Each calls prepare(i) and, when all have done so, work(i).
** Returns the seconds from when the first began that until the last had ended it.
*/
static inline double bench_together(int n, void (*prepare)(int), void (*work)(int)) {
    struct {
        _Atomic int n_ready;
        double start[BENCH_MOST], end[BENCH_MOST];
    } *all = bench_shared(sizeof *all);
    for (int i = 0; i < n; i++) {
        if (bench_fork() > 0)
            continue;
        prepare(i);
        all->n_ready++;
        while (all->n_ready < n)
            sched_yield();
        all->start[i] = bench_now();
        work(i);
        all->end[i] = bench_now();
        _exit(0);
    }
    for (int i = 0; i < n; i++)
        bench_await();
    double start = all->start[0], end = all->end[0];
    for (int i = 1; i < n; i++) {
        start = all->start[i] < start ? all->start[i] : start;
        end = all->end[i] > end ? all->end[i] : end;
    }
    return end - start;
}

#endif
