/*
 * dict KIND PROCESSES COUNT: what a table that processes share cannot do without.
 *
 * Numbers by numbers, in shared memory, in slots that are looked for from the key's hash on; 64
 * robust locks, because processes die, each for its part of the slots. It holds nothing else, does
 * not grow, and is not whole after a death. KIND is
 *   set     gives a key a number
 *   get     looks it up
 *   update  adds 1 to it
 * Prints the mean time of one in seconds, over about COUNT in all, after a tenth to warm up.
 */
#include "bench.h"

#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>

enum { KEYS = 1000, PARTS = 64, SLOTS = 64 };

typedef struct slot {
    int64_t key, number; /* no key is 0 */
} slot;

typedef struct part {
    _Alignas(64) pthread_mutex_t lock;
    slot slots[SLOTS];
} part;

static part *parts;
static const char *kind;
static int share, n_processes;
static volatile int64_t seen;

static void lock(part *p) {
    if (pthread_mutex_lock(&p->lock) == EOWNERDEAD)
        pthread_mutex_consistent(&p->lock);
}

static void call(int64_t key, int64_t number) {
    const uint64_t hash = (uint64_t)key * UINT64_C(0x9e3779b97f4a7c15);
    part *p = &parts[hash >> 58];
    lock(p);
    size_t i = hash >> 32 & (SLOTS - 1);
    while (p->slots[i].key != key && p->slots[i].key != 0)
        i = (i + 1) & (SLOTS - 1);
    p->slots[i].key = key;
    if (*kind == 's')
        p->slots[i].number = number;
    else if (*kind == 'u')
        p->slots[i].number++;
    else
        seen = p->slots[i].number;
    pthread_mutex_unlock(&p->lock);
}

static void calls(int i, int n) {
    const int first = i * KEYS / n_processes;
    for (int k = first; k < first + n; k++)
        call(k % KEYS + 1, k);
}

static void prepare(int i) {
    calls(i, share / 10);
}

static void work(int i) {
    calls(i, share);
}

static void init(void) {
    pthread_mutexattr_t attr;
    parts = bench_shared(PARTS * sizeof *parts);
    pthread_mutexattr_init(&attr);
    pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
    for (int i = 0; i < PARTS; i++)
        pthread_mutex_init(&parts[i].lock, &attr);
}

int main(int argc, char **argv) {
    const int count = bench_count(argc == 4 ? argv[3] : NULL);
    n_processes = bench_count(argv[2]);
    const int tens = count / (10 * n_processes);
    share = tens > 0 ? 10 * tens : 10;
    kind = argv[1];
    init();
    printf("%.12f\n", bench_together(n_processes, prepare, work) / (share * n_processes));
    return 0;
}
