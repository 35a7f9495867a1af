/*
 * What every C program of the benchmarks needs: a clock, and an end that the
 * runner takes for a failure. A program prints one number on stdout, the
 * seconds that one operation took, and nothing else.
 */
#ifndef BENCH_H
#define BENCH_H

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

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

#endif
