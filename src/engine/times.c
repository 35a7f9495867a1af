/*
** times.c: what a worker spends its time on; times.h has the rules.
*/
#include "engine/times.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What the worker keeps for itself. */
static MP_OWN struct {
    mp_times *times;
    mp_time work;  /* that it had done when its task began */
    mp_time least; /* that a task must take to be noted: */
    int shortest;  /* in place of that one */
} my;

static int64_t load(const _Atomic int64_t *from) {
    return atomic_load_explicit(from, memory_order_relaxed);
}

/* From one moment to another. What was damaged gives some number, and no overflow. */
static mp_time from_to(int64_t from, mp_time to) {
    return (mp_time)((uint64_t)to - (uint64_t)from);
}

static mp_time sum(int64_t a, int64_t b) {
    return (mp_time)((uint64_t)a + (uint64_t)b);
}

/* One writer: no other count can come in between. */
static void add(_Atomic uint64_t *to, uint64_t n) {
    atomic_store_explicit(to, atomic_load_explicit(to, memory_order_relaxed) + n,
                          memory_order_relaxed);
}

static void turn(mp_times *t, enum mp_doing next, mp_time now) {
    const uint32_t doing = atomic_load_explicit(&t->doing, memory_order_relaxed) % MP_N_DOING;
    const mp_time took = from_to(load(&t->since), now);
    atomic_store_explicit(&t->since, now, memory_order_relaxed);
    atomic_store_explicit(&t->doing, next, memory_order_relaxed);
    /* (T) with the owner's load: who sees the count sees since when it is complete. */
    atomic_store_explicit(&t->spent[doing], sum(load(&t->spent[doing]), took),
                          memory_order_release);
}

void mp_times_set(mp_times *t, enum mp_doing next) {
    turn(t, next, mp_sys_now());
}

/* --- a worker's ------------------------------------------------------------- */

/* Of those that are noted the one to make room for another. */
static int shortest_of(const mp_times *t) {
    int shortest = 0;
    for (int i = 1; i < MP_TIMES_SLOWEST; i++)
        if (t->slowest[i].task.took < t->slowest[shortest].task.took)
            shortest = i;
    return shortest;
}

/* What is hardly longer is not worth its place: so a row of tasks that take longer and longer does
 * not cost a note for each. */
static void find_shortest(void) {
    my.shortest = shortest_of(my.times);
    const mp_time took = my.times->slowest[my.shortest].task.took;
    my.least = took + took / 16;
}

void mp_times_begin(mp_times *t) {
    my.times = t;
    find_shortest();
    turn(t, MP_INITS, mp_sys_now());
}

void mp_times_turn(enum mp_doing next) {
    turn(my.times, next, mp_sys_now());
}

void mp_times_turn_once(enum mp_doing next) {
    if (atomic_load_explicit(&my.times->doing, memory_order_relaxed) != next)
        mp_times_turn(next);
}

void mp_times_begin_task(size_t n_given) {
    add(&my.times->n_given, n_given);
    my.work = load(&my.times->spent[MP_WORKS]);
}

mp_time mp_times_end_task(enum mp_doing next) {
    add(&my.times->n_tasks, 1);
    mp_times_turn(next);
    const mp_time took = load(&my.times->spent[MP_WORKS]) - my.work;
    return took > my.least ? took : 0;
}

void mp_times_given(size_t n) {
    add(&my.times->n_given, n);
}

void mp_times_returned(size_t n) {
    add(&my.times->n_returned, n);
}

/* (S) with the owner's loads: who finds the same even number twice has read a whole task. */
static void note(mp_times *t, int i, const mp_slow *task) {
    _Atomic uint32_t *at = &t->slowest[i].turn;
    const uint32_t n = atomic_load_explicit(at, memory_order_relaxed) | 1;
    atomic_store_explicit(at, n, memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
    t->slowest[i].task = *task;
    atomic_store_explicit(at, n + 1, memory_order_release);
}

void mp_times_note(mp_slow *task) {
    task->began = load(&my.times->since) - task->took;
    note(my.times, my.shortest, task);
    find_shortest();
}

/* The second word of /proc/self/schedstat: nanoseconds that the process could have run and did not.
 * 0 where the kernel does not tell. */
static mp_time waited_for_cpu(void) {
    char text[128];
    const int fd = open("/proc/self/schedstat", O_RDONLY | O_CLOEXEC);
    const ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (fd >= 0)
        close(fd);
    if (n <= 0)
        return 0;
    text[n] = '\0';
    const char *second = strchr(text, ' ');
    return second == NULL ? 0 : strtoll(second, NULL, 10);
}

void mp_times_leave(void) {
    mp_times_turn(MP_IS_GONE);
    atomic_store_explicit(&my.times->delayed, load(&my.times->delayed) + waited_for_cpu(),
                          memory_order_relaxed);
}

/* --- the owner's ------------------------------------------------------------ */

void mp_times_note_lost(mp_times *t, mp_slow *task) {
    const int shortest = shortest_of(t);
    if (atomic_load_explicit(&t->doing, memory_order_relaxed) != MP_WORKS)
        return;
    task->began = load(&t->since);
    task->took = from_to(task->began, mp_sys_now());
    if (task->took > t->slowest[shortest].task.took)
        note(t, shortest, task);
}

void mp_times_read(const mp_times *t, mp_time now, mp_spent *s) {
    for (int i = 0; i < MP_N_DOING; i++)
        s->of[i] = atomic_load_explicit(&t->spent[i], memory_order_acquire); /* (T) */
    s->doing = atomic_load_explicit(&t->doing, memory_order_relaxed) % MP_N_DOING;
    s->since = load(&t->since);
    if (s->doing != MP_IS_GONE && now > s->since)
        s->of[s->doing] = sum(s->of[s->doing], from_to(s->since, now));
    s->n_tasks = atomic_load_explicit(&t->n_tasks, memory_order_relaxed);
    s->n_given = atomic_load_explicit(&t->n_given, memory_order_relaxed);
    s->n_returned = atomic_load_explicit(&t->n_returned, memory_order_relaxed);
    s->delayed = load(&t->delayed);
}

int mp_times_slow(const mp_times *t, int i, mp_slow *task) {
    const _Atomic uint32_t *at = &t->slowest[i].turn;
    const uint32_t n = atomic_load_explicit(at, memory_order_acquire); /* (S) */
    if (n == 0 || n % 2 != 0)
        return 0;
    *task = t->slowest[i].task;
    atomic_thread_fence(memory_order_acquire);
    task->input[MP_TIMES_INPUT - 1] = '\0';
    return atomic_load_explicit(at, memory_order_relaxed) == n;
}
