/*
** times.c: what it costs to time a task, in nanoseconds of CPU time: one of many that go
** together, one that comes alone; and how long one of the slowest took: it was noted.
*/
#include <stdio.h>
#include <sys/resource.h>

#include "engine/times.h"

enum { ROUNDS = 300000 };

static double used(void) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1e9 +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1e3;
}

static void task(enum mp_doing next) {
    mp_times_begin_task(8);
    mp_slow slow = {.took = mp_times_end_task(next), .index = 1};
    if (slow.took > 0)
        mp_times_note(&slow);
    mp_times_returned(8);
}

int main(void) {
    static mp_times t;
    mp_times_set(&t, MP_STARTS);
    mp_times_begin(&t);
    mp_times_turn(MP_WORKS);
    double at = used();
    for (int i = 0; i < ROUNDS; i++)
        task(MP_WORKS);
    printf("%.1f ", (used() - at) / ROUNDS);
    at = used();
    for (int i = 0; i < ROUNDS; i++) {
        mp_times_turn_once(MP_WAITS);
        mp_times_turn(MP_WORKS);
        task(MP_WAITS);
    }
    printf("%.1f ", (used() - at) / ROUNDS);
    mp_slow slow = {.took = 0};
    mp_times_slow(&t, 0, &slow);
    printf("%lld\n", (long long)slow.took);
    return 0;
}
