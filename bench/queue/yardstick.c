/*
 * queue KIND PUTTERS GETTERS COUNT: what passing things between processes cannot do without.
 *
 * A ring in shared memory with a lock for putters and one for getters. The locks are
 * robust, because processes die; who waits looks again for a while if the other side
 * runs on another CPU, and else sleeps on a futex; a wake-up is a system call only if
 * somebody sleeps. It holds nothing but the kind of thing that is passed, and is never
 * closed. KIND is
 *   each     integers, one with each call
 *   strings  of 1 MiB, copied in and copied out
 *   trip     an integer there and back, by two rings
 *   hops     the same, many on their way at once, there by one ring and back by another, as
 *            a pool's tasks and results
 *   kib, mib strings of 1 KiB and 1 MiB like that
 *   pipe     no ring, but the strings through a pipe of the system
 * Prints the mean time of one in seconds, over about COUNT in all, after a tenth to warm up.
 * With BENCH_CPUS=A/B putters run on CPU A and getters on B.
 */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>

enum { SLOTS = 4096, STRING = 1 << 20, STRINGS = 16, PATIENCE = 50 /* us */ };

typedef struct side {
    _Alignas(64) pthread_mutex_t lock;
    _Alignas(64) _Atomic uint64_t count;
    _Alignas(64) _Atomic uint32_t seq; /* where those sleep who wait for the other side */
    _Atomic int has_sleepers;          /* maybe */
    _Atomic int cpu;                   /* where who came here last ran */
} side;

typedef struct ring {
    side put, get;
    uint64_t size;
    int64_t slots[SLOTS];
    char strings[STRINGS * STRING];
} ring;

static ring *rings;        /* two */
static size_t string_size; /* 0: integers */
static char *private_string;

/* --- waiting -------------------------------------------------------------- */

static uint64_t n_items(const ring *r) {
    return atomic_load(&r->put.count) - atomic_load(&r->get.count);
}

static int is_ready(const ring *r, const side *mine) {
    return mine == &r->put ? n_items(r) < r->size : n_items(r) > 0;
}

static int look_again(const ring *r, const side *mine, const side *theirs) {
    const double end = bench_now() + PATIENCE / 1e6;
    while (atomic_load(&theirs->cpu) != sched_getcpu() && bench_now() < end)
        for (int i = 0; i < 64; i++)
            if (is_ready(r, mine))
                return 1;
    return 0;
}

static void await(const ring *r, side *mine, const side *theirs) {
    while (!is_ready(r, mine) && !look_again(r, mine, theirs)) {
        const uint32_t seq = atomic_load(&mine->seq);
        atomic_store(&mine->has_sleepers, 1);
        if (!is_ready(r, mine))
            syscall(SYS_futex, &mine->seq, FUTEX_WAIT, seq, NULL, NULL, 0);
    }
}

static void wake(side *s) {
    atomic_thread_fence(memory_order_seq_cst);
    if (atomic_load(&s->has_sleepers) == 0)
        return;
    atomic_store(&s->has_sleepers, 0);
    atomic_fetch_add(&s->seq, 1);
    if (syscall(SYS_futex, &s->seq, FUTEX_WAKE, 1, NULL, NULL, 0) > 0)
        atomic_store(&s->has_sleepers, 1);
}

/* The lock of a side, when there is something for it to do. */
static void lock(const ring *r, side *mine, const side *theirs) {
    const int cpu = sched_getcpu();
    if (atomic_load_explicit(&mine->cpu, memory_order_relaxed) != cpu)
        atomic_store_explicit(&mine->cpu, cpu, memory_order_relaxed);
    for (;;) {
        if (pthread_mutex_lock(&mine->lock) != 0)
            bench_die("lock");
        if (is_ready(r, mine))
            return;
        pthread_mutex_unlock(&mine->lock);
        await(r, mine, theirs);
    }
}

static void pass(side *mine, side *theirs) {
    atomic_fetch_add_explicit(&mine->count, 1, memory_order_release);
    pthread_mutex_unlock(&mine->lock);
    wake(theirs);
}

/* --- the ring ------------------------------------------------------------- */

static char *string_at(ring *r, uint64_t count) {
    return r->strings + count % r->size * string_size;
}

static void put(ring *r, int64_t value) {
    lock(r, &r->put, &r->get);
    if (string_size > 0)
        memcpy(string_at(r, r->put.count), private_string, string_size);
    else
        r->slots[r->put.count % SLOTS] = value;
    pass(&r->put, &r->get);
}

static int64_t get(ring *r) {
    lock(r, &r->get, &r->put);
    int64_t value = r->slots[r->get.count % SLOTS];
    if (string_size > 0)
        memcpy(private_string, string_at(r, r->get.count), string_size);
    pass(&r->get, &r->put);
    return value;
}

static void init_side(side *s) {
    pthread_mutexattr_t attr;
    pthread_mutexattr_init(&attr);
    pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(&s->lock, &attr);
    s->cpu = -1;
}

/* --- the pipe ------------------------------------------------------------- */

static int ends[2];

static void write_string(void) {
    for (ssize_t done = 0, n; done < STRING; done += n)
        if ((n = write(ends[1], private_string + done, (size_t)(STRING - done))) < 0)
            bench_die("write");
}

static void read_string(void) {
    for (ssize_t done = 0, n; done < STRING; done += n)
        if ((n = read(ends[0], private_string + done, (size_t)(STRING - done))) <= 0)
            bench_die("read");
}

/* --- what the processes do ------------------------------------------------ */

static const char *kind;
static int n_sides[2]; /* putters, getters */
static int share;

static int is_kind(const char *name) {
    return strcmp(kind, name) == 0;
}

static int is_hops(void) {
    return is_kind("hops") || is_kind("kib") || is_kind("mib");
}

/* As many are on their way as one ring holds, so that none waits for room in the other. */
static void put_hops(int n) {
    const int window = (int)rings[0].size;
    for (int i = 0; i < n + window; i++) {
        if (i >= window && i - window < n)
            get(&rings[1]);
        if (i < n)
            put(&rings[0], i);
    }
}

static void put_all(int n) {
    for (int i = 0; i < n; i++)
        if (is_kind("pipe"))
            write_string();
        else if (is_kind("trip"))
            put(&rings[0], i), get(&rings[1]);
        else
            put(&rings[0], i);
}

static void get_all(int n) {
    const int has_way_back = is_kind("trip") || is_hops();
    for (int i = 0; i < n; i++)
        if (is_kind("pipe"))
            read_string();
        else if (has_way_back)
            put(&rings[1], get(&rings[0]));
        else
            get(&rings[0]);
}

/* What process i has to do, or a part of it. */
static void run(int i, int part) {
    const int is_getter = i >= n_sides[0], n = share * n_sides[!is_getter] / part;
    void (*put_some)(int) = is_hops() ? put_hops : put_all;
    (is_getter ? get_all : put_some)(n);
}

static void prepare(int i) {
    bench_pin(i >= n_sides[0]);
    run(i, 10);
}

static void work(int i) {
    run(i, 1);
}

static void init(void) {
    rings = bench_shared(2 * sizeof *rings);
    private_string = malloc(STRING);
    if (private_string == NULL || pipe(ends) != 0)
        bench_die("memory");
    memset(private_string, 'x', STRING);
    fcntl(ends[1], F_SETPIPE_SZ, STRING);
    string_size = is_kind("kib") ? 1 << 10 : is_kind("mib") || is_kind("strings") ? STRING : 0;
    for (int i = 0; i < 2; i++) {
        const uint64_t n_strings = string_size > 0 ? sizeof rings->strings / string_size : SLOTS;
        rings[i].size = n_strings < SLOTS ? n_strings : SLOTS;
        init_side(&rings[i].put);
        init_side(&rings[i].get);
    }
}

int main(int argc, char **argv) {
    const int count = bench_count(argc == 5 ? argv[4] : NULL);
    n_sides[0] = bench_count(argv[2]);
    n_sides[1] = bench_count(argv[3]);
    const int pairs = n_sides[0] * n_sides[1], tens = count / (10 * pairs);
    share = tens > 0 ? 10 * tens : 10;
    kind = argv[1];
    init();
    printf("%.12f\n", bench_together(n_sides[0] + n_sides[1], prepare, work) / (share * pairs));
    return 0;
}
