/*
 * heap KIND [MIB] COUNT: what processes over a heap of 1 GiB, or of MIB, cannot do without.
 * BENCH_QUICK: of a fiftieth.
 *
 * The heap is in huge pages, as far as the kernel gives them.
 *
 * start, first: fork, _exit, wait; the mean time over COUNT, or of the first.
 *
 * read, allocate: the part of the heap that a child makes its own by reading all of it, and by
 * writing 1 MiB of new memory many times over: that is none, of which a page is shown.
 */
#include "bench.h"

#include <stdint.h>
#include <string.h>

#define HUGE_PAGE ((size_t)2 << 20)

static char *heap;
static size_t size = (size_t)1 << 30;

static void make_heap(void) {
    if (getenv("BENCH_QUICK"))
        size /= 50;
    size = (size + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
    heap = mmap(NULL, size + HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (heap == MAP_FAILED)
        bench_die("mmap");
    heap += HUGE_PAGE - (uintptr_t)heap % HUGE_PAGE;
    madvise(heap, size, MADV_HUGEPAGE);
    memset(heap, 1, size);
}

static void start_join(void) {
    if (bench_fork() == 0)
        _exit(0);
    bench_await();
}

/* Bytes that this process shares with others. */
static size_t shared(void) {
    char line[256];
    size_t sum = 0, kib;
    FILE *file = fopen("/proc/self/smaps_rollup", "r");
    if (!file)
        bench_die("smaps_rollup");
    while (fgets(line, sizeof line, file))
        if (strncmp(line, "Shared_", 7) == 0 && sscanf(line, "%*s %zu", &kib) == 1)
            sum += kib * 1024;
    fclose(file);
    return sum;
}

static void read_all(void) {
    size_t sum = 0;
    for (size_t i = 0; i < size; i += 64)
        sum += (size_t)heap[i];
    if (sum != size / 64)
        exit(1);
}

static void allocate(void) {
    for (int i = 0; i < 100; i++) {
        char *fresh = malloc(1 << 20);
        if (!fresh)
            bench_die("malloc");
        memset(fresh, i, 1 << 20);
        free(fresh);
    }
}

static double dirtied_by(void (*work)(void)) {
    double *part = bench_shared(sizeof *part);
    if (bench_fork() == 0) {
        size_t before = shared();
        work();
        size_t after = shared();
        *part = (double)(before > after + 4096 ? before - after : 4096) / (double)size;
        _exit(0);
    }
    bench_await();
    return *part;
}

int main(int argc, char **argv) {
    const char *kind = argc > 2 ? argv[1] : "";
    int count = bench_count(argc > 2 ? argv[argc - 1] : NULL);
    if (argc > 3)
        size = (size_t)atoi(argv[2]) << 20;
    make_heap();
    if (strcmp(kind, "read") == 0 || strcmp(kind, "allocate") == 0) {
        printf("%.9f\n", dirtied_by(*kind == 'r' ? read_all : allocate));
        return 0;
    }
    if (strcmp(kind, "first") == 0)
        count = 1;
    double start = bench_now();
    for (int i = 0; i < count; i++)
        start_join();
    printf("%.9f\n", (bench_now() - start) / count);
    return 0;
}
