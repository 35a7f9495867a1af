/*
** heap.c: size classes over a region that grows in order; see heap.h.
**
**   region:   [base ........ inherited ........ top ....... committed ... end)
**             parent's blocks (in a child)      free pages  PROT_NONE
**
** Classes are 16 bytes apart up to 512 and 128 bytes apart up to 2048. Freed
** blocks wait in their class's list; the first word links them. Memory is not
** given back: a Lua heap that was large will be again.
*/
#include "engine/heap.h"

#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "engine/sys.h"

#define FINE_LIMIT 512u
#define COARSE_LIMIT 2048u
#define N_FINE (FINE_LIMIT / 16)
#define N_CLASSES (N_FINE + (COARSE_LIMIT - FINE_LIMIT) / 128)
#define RESERVE ((size_t)64 << 30)
#define FIRST_STEP ((size_t)1 << 20)
#define LAST_STEP ((size_t)64 << 20)
#define PAGE ((uintptr_t)4096)

typedef struct free_block {
    struct free_block *next;
} free_block;

static char *base, *inherited, *top, *committed, *end;
static free_block *lists[N_CLASSES];
/* Whether this is the thread that the region is for. With a place from the start, also in the
 * module: one that is made at the first use is asked of malloc, and the program dies without. */
static _Thread_local int here __attribute__((tls_model("initial-exec")));
static mp_heap_function outer; /* serves large blocks, and those from before us */
static void *outer_data;

#if defined(__SANITIZE_ADDRESS__)
#define USE_REGION 0
#else
#define USE_REGION 1
#endif

static unsigned class_of(size_t size) {
    return (unsigned)(size <= FINE_LIMIT ? (size - 1) / 16
                                         : N_FINE + (size - FINE_LIMIT - 1) / 128);
}

static size_t size_of_class(unsigned class) {
    return class < N_FINE ? (class + 1) * 16u : FINE_LIMIT + (class - N_FINE + 1) * 128u;
}

static int is_small(size_t size) {
    return size <= COARSE_LIMIT;
}

static int in_region(const void *block) {
    return (const char *)block >= base && (const char *)block < end;
}

/* With `ulimit -v`, reserved addresses count: a quarter of them is enough. */
static size_t addresses_to_reserve(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY)
        return RESERVE;
    size_t quarter = (size_t)limit.rlim_cur / 4 / FIRST_STEP * FIRST_STEP;
    return quarter < RESERVE ? quarter : RESERVE;
}

static int reserve(void) {
    size_t len = addresses_to_reserve();
    char *region =
        len == 0 ? MAP_FAILED
                 : mmap(NULL, len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (region == MAP_FAILED)
        return 0;
    base = inherited = top = committed = region;
    end = region + len;
    return 1;
}

/* Makes more of the region usable. Equal flags to its neighbour: one mapping. */
static int commit(void) {
    static size_t step = FIRST_STEP;
    if (base == NULL && !reserve())
        return 0;
    size_t room = (size_t)(end - committed);
    size_t len = step < room ? step : room;
    if (len == 0 || mprotect(committed, len, PROT_READ | PROT_WRITE) != 0)
        return 0;
    committed += len;
    if (step < LAST_STEP)
        step *= 2;
    return 1;
}

static void *take_new(unsigned class) {
    size_t size = size_of_class(class);
    if ((size_t)(committed - top) < size && !commit())
        return NULL;
    void *block = top;
    top += size;
    return block;
}

static void *take(size_t size) {
    if (mp_fault_memory())
        return NULL;
    if (!USE_REGION || !here || !is_small(size))
        return outer(outer_data, NULL, 0, size);
    unsigned class = class_of(size);
    free_block *block = lists[class];
    if (block != NULL) {
        lists[class] = block->next;
        return block;
    }
    void *fresh = take_new(class);
    return fresh != NULL ? fresh : outer(outer_data, NULL, 0, size);
}

static void give_back(void *block, size_t size) {
    if (!in_region(block)) {
        outer(outer_data, block, size, 0);
    } else if (here && (char *)block >= inherited) {
        free_block *b = block;
        unsigned class = class_of(size);
        b->next = lists[class];
        lists[class] = b;
    }
}

/* Whether a block serves for the new size where it is. */
static int stays(const void *block, size_t old_size, size_t size) {
    return in_region(block) && is_small(size) && class_of(old_size) == class_of(size);
}

static void *resize(void *block, size_t old_size, size_t size) {
    if (stays(block, old_size, size))
        return block;
    if (!in_region(block) && (!USE_REGION || !here || !is_small(size)))
        return outer(outer_data, block, old_size, size);
    void *moved = take(size);
    if (moved == NULL)
        return size <= old_size ? block : NULL;
    memcpy(moved, block, old_size < size ? old_size : size);
    give_back(block, old_size);
    return moved;
}

int mp_heap_adopt(mp_heap_function own, void *data) {
    if (outer != NULL && (outer != own || outer_data != data))
        return 0;
    outer = own;
    outer_data = data;
    here = 1;
    return 1;
}

void *mp_heap_alloc(void *unused, void *block, size_t old_size, size_t size) {
    (void)unused;
    if (size == 0) {
        if (block != NULL)
            give_back(block, old_size);
        return NULL;
    }
    return block == NULL ? take(size) : resize(block, old_size, size);
}

void mp_heap_fork(void) {
    uintptr_t next_page = ((uintptr_t)top + PAGE - 1) / PAGE * PAGE;
    memset(lists, 0, sizeof lists);
    inherited = top = (char *)next_page;
}
