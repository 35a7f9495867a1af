/*
** heap.c: the heap alone, against a model: of each block, where it is, its size and the bytes
** that it must have.
**
**   heap random SEED ROUNDS    allocates, resizes and frees at random
**   heap forks SEED ROUNDS     the same, and in children that go on with what they inherited
**   heap short SEED ROUNDS     the same, where opening memory fails at times, and malloc too
**   heap narrow                takes small blocks where a page at a time can be opened
**   heap nowhere SEED ROUNDS   the same, also in children, where no addresses can be reserved
**   heap wide                  takes nearly all of the region, and gives it back
**
** Says "good", or what is not.
*/
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/heap.h"
#include "engine/region.h"

#define N_BLOCKS 6000

typedef struct block {
    unsigned char *at;
    size_t size;
    unsigned char mark;
} block;

static block blocks[N_BLOCKS];
static uint64_t state;
/* Memory: 1: two openings in three fail; 2: all do; 3: those of more than a page. */
static int is_short;
static int is_nowhere; /* nothing can be mapped */

static uint64_t random_below(uint64_t n) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state % n;
}

/* In the place of the C library's: what the engine opens memory with. */
int mprotect(void *at, size_t len, int protection) {
    if (is_short == 2 || (is_short == 1 && random_below(3) != 0) || (is_short == 3 && len > 4096))
        return -1;
    return (int)syscall(SYS_mprotect, at, len, protection);
}

void *mmap(void *at, size_t len, int protection, int flags, int fd, off_t offset) {
    if (is_nowhere)
        return MAP_FAILED;
    return (void *)syscall(SYS_mmap, at, len, protection, flags, fd, offset);
}

static void *by_malloc(void *data, void *at, size_t old_size, size_t size) {
    (void)data, (void)old_size;
    if (size == 0) {
        free(at);
        return NULL;
    }
    if (size > old_size && (is_short == 2 || (is_short == 1 && random_below(2) != 0)))
        return NULL;
    return realloc(at, size);
}

static void fail(const char *what) {
    printf("%s\n", what);
    fflush(stdout);
    _exit(1);
}

/* Mostly small, as Lua's are; the larger the rarer. */
static size_t random_size(void) {
    static const size_t limits[] = {64, 64, 64, 512, 512, 2048, 9000, 40000, 200000, 3000000};
    size_t limit = limits[random_below(sizeof limits / sizeof limits[0])];
    if (limit == 3000000 && random_below(20) != 0)
        limit = 100;
    return 1 + random_below(limit);
}

/* The first and the last bytes, and some between: all of a large one would take long. */
static void each_byte(const block *b, int is_check) {
    for (size_t i = 0; i<b->size; i += i> 64 && i + 300 < b->size ? 251 : 1) {
        if (!is_check)
            b->at[i] = (unsigned char)(b->mark + i);
        else if (b->at[i] != (unsigned char)(b->mark + i))
            fail("a block has other bytes than it was given");
    }
}

static void set(block *b, void *at, size_t size) {
    *b = (block){at, size, (unsigned char)random_below(256)};
    if ((uintptr_t)at % 16 != 0)
        fail("a block is not aligned");
    each_byte(b, 0);
}

/* What a resized block must still have. */
static void check_kept(const block *before, const unsigned char *at, size_t size) {
    size_t kept = before->size < size ? before->size : size;
    for (size_t i = 0; i < kept && (i <= 64 || i + 300 < kept); i += i > 64 ? 251 : 1)
        if (at[i] != (unsigned char)(before->mark + i))
            fail("a resized block has other bytes than before");
}

static void free_block(block *b) {
    each_byte(b, 1);
    mp_heap_alloc(NULL, b->at, b->size, 0);
    b->at = NULL;
}

static void resize_block(block *b) {
    size_t size = random_size();
    each_byte(b, 1);
    void *at = mp_heap_alloc(NULL, b->at, b->size, size);
    if (at == NULL && (size <= b->size || !is_short))
        fail("a block could not be resized");
    if (at == NULL)
        return;
    check_kept(b, at, size);
    set(b, at, size);
}

static void step(void) {
    block *b = &blocks[random_below(N_BLOCKS)];
    if (b->at != NULL && random_below(3) != 0) {
        free_block(b);
    } else if (b->at != NULL) {
        resize_block(b);
    } else {
        size_t size = random_size();
        void *at = mp_heap_alloc(NULL, NULL, 0, size);
        if (at != NULL)
            set(b, at, size);
        else if (!is_short)
            fail("there is no memory");
    }
}

static void check_all(void) {
    for (int i = 0; i < N_BLOCKS; i++)
        if (blocks[i].at != NULL)
            each_byte(&blocks[i], 1);
}

static int by_place(const void *a, const void *b) {
    const block *x = a, *y = b;
    return (x->at > y->at) - (x->at < y->at);
}

/* No two blocks share a byte, and the heap counts no less than they have. */
static void check_apart(void) {
    static block sorted[N_BLOCKS];
    uint64_t in_region = 0;
    memcpy(sorted, blocks, sizeof sorted);
    qsort(sorted, N_BLOCKS, sizeof sorted[0], by_place);
    for (int i = 1; i < N_BLOCKS; i++)
        if (sorted[i - 1].at != NULL && sorted[i - 1].at + sorted[i - 1].size > sorted[i].at)
            fail("two blocks overlap");
    for (int i = 0; i < N_BLOCKS; i++)
        if (blocks[i].at != NULL &&
            (mp_region_has_span(blocks[i].at) || mp_region_has_small(blocks[i].at)))
            in_region += blocks[i].size;
    mp_heap_usage usage;
    mp_heap_count(&usage);
    if (usage.used < in_region || usage.held < usage.used)
        fail("the heap counts less than there is");
}

static void free_all(void) {
    for (int i = 0; i < N_BLOCKS; i++)
        if (blocks[i].at != NULL)
            free_block(&blocks[i]);
}

static void run(uint64_t rounds) {
    for (uint64_t i = 0; i < rounds; i++) {
        step();
        if (i % 20000 == 0)
            check_apart();
    }
    check_all();
}

static void wait_for_child(void) {
    int status;
    if (wait(&status) < 0 || status != 0)
        fail("a child has failed");
}

/* Children have their own seed; the parent goes on besides. */
static void run_forks(uint64_t rounds, int depth) {
    for (int i = 0; i < 4; i++) {
        run(rounds / 4);
        state += 1;
        if (fork() == 0) {
            mp_heap_fork();
            mp_heap_usage usage;
            mp_heap_count(&usage);
            if (usage.used != 0)
                fail("a child begins with blocks of its own");
            run(rounds / 4);
            check_apart();
            if (depth > 0)
                run_forks(rounds / 4, depth - 1);
            free_all();
            _exit(0);
        }
        run(rounds / 8);
        wait_for_child();
        check_all();
    }
}

/* All that can be had in blocks of that size; the first word of each leads to the next. */
static void *take_all(size_t size) {
    void *all = NULL, *block;
    while ((block = mp_heap_alloc(NULL, NULL, 0, size)) != NULL) {
        *(void **)block = all;
        all = block;
    }
    return all;
}

static void give_all(void *all, size_t size) {
    while (all != NULL) {
        void *next = *(void **)all;
        mp_heap_alloc(NULL, all, size, 0);
        all = next;
    }
}

static void run_short(uint64_t rounds) {
    static const size_t sizes[] = {100000, 9000, 64};
    void *taken[3];
    run(rounds / 4);
    is_short = 1;
    run(rounds / 4);
    is_short = 2;
    for (int i = 0; i < 3; i++)
        taken[i] = take_all(sizes[i]);
    run(rounds / 4);
    for (int i = 0; i < 3; i++)
        give_all(taken[i], sizes[i]);
    is_short = 0;
    run(rounds / 4);
}

/* Where limits leave no more than a page at a time. */
static void run_narrow(void) {
    is_short = 3;
    for (int i = 0; i < N_BLOCKS; i++) {
        void *at = mp_heap_alloc(NULL, NULL, 0, 64);
        if (!mp_region_has_small(at))
            fail("a page that can be opened is not");
        set(&blocks[i], at, 64);
    }
    check_all();
}

/* All is malloc's then. */
static void run_nowhere(uint64_t rounds) {
    is_nowhere = 1;
    run(rounds);
    run_forks(rounds / 4, 1);
    mp_heap_usage usage;
    mp_heap_count(&usage);
    if (mp_region_is.base != NULL || usage.held != 0 || usage.dirtied != 0)
        fail("there is a region that was not reserved");
}

static size_t count_lines(const char *path) {
    size_t n = 0;
    FILE *file = fopen(path, "r");
    for (int c; file != NULL && (c = fgetc(file)) != EOF;)
        n += c == '\n';
    if (file != NULL)
        fclose(file);
    return n;
}

/* 58 GiB of blocks, of which only some bytes are touched. */
static void run_wide(void) {
    static void *large[58];
    const size_t gib = (size_t)1 << 30;
    for (int i = 0; i < 58; i++) {
        large[i] = mp_heap_alloc(NULL, NULL, 0, gib);
        if (!mp_region_has_span(large[i]))
            fail("58 GiB do not fit into the region");
        memset(large[i], i + 1, 100);
    }
    if (count_lines("/proc/self/maps") > 500)
        fail("the region has been split into too many mappings");
    for (int i = 0; i < 58; i++) {
        if (*(unsigned char *)large[i] != i + 1)
            fail("a block has other bytes than it was given");
        mp_heap_alloc(NULL, large[i], gib, 0);
    }
    if (mp_heap_alloc(NULL, NULL, 0, 50 * gib) == NULL)
        fail("what was freed has not joined");
}

int main(int argc, char **argv) {
    if (argc < 2 || !mp_heap_adopt(by_malloc, NULL))
        fail("usage: heap WHAT SEED ROUNDS");
    state = (argc > 2 ? strtoull(argv[2], NULL, 10) : 1) * 2654435761u + 88172645463325252u;
    uint64_t rounds = argc > 3 ? strtoull(argv[3], NULL, 10) : 0;
    if (strcmp(argv[1], "random") == 0)
        run(rounds);
    else if (strcmp(argv[1], "forks") == 0)
        run_forks(rounds, 1);
    else if (strcmp(argv[1], "short") == 0)
        run_short(rounds);
    else if (strcmp(argv[1], "narrow") == 0)
        run_narrow();
    else if (strcmp(argv[1], "nowhere") == 0)
        run_nowhere(rounds);
    else
        run_wide();
    free_all();
    check_apart();
    printf("good\n");
    return 0;
}
