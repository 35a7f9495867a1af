/*
** heap.c: size classes over the region's spans; see heap.h.
**
** Classes are 16 bytes apart up to 512, 128 bytes apart up to 2048, and above that four for
** each doubling. A chunk is a span for blocks of one class. In the first unit's entry it has
** its freed blocks, of which the first word links them, and how many there are in use:
**
**   current   new blocks of its class come from it
**   partial   has freed blocks, and is in the list of its class
**   full      had none when it was current last
**
** One without a block in use that is not the current one is given back. Blocks of the small
** zone wait in the list of their class, and are taken first.
*/
#include "engine/heap.h"

#include <string.h>

#include "engine/region.h"

#define FINE_LIMIT 512u
#define COARSE_LIMIT 2048u
#define CLASS_LIMIT 32768u
#define N_FINE (FINE_LIMIT / 16)
#define N_COARSE (N_FINE + (COARSE_LIMIT - FINE_LIMIT) / 128)
#define N_CLASSES (N_COARSE + 4 * 4)
#define SPAN_LIMIT ((size_t)128 * 1024) /* so large has a span, and not malloc's memory */
#define SMALL_CHUNK 4u                  /* units: for classes up to COARSE_LIMIT */
#define LARGE_CHUNK 16u
#define NONE 0u

enum { CURRENT = MP_UNIT_STATES, PARTIAL, FULL };

typedef struct free_block {
    struct free_block *next;
} free_block;

/* Of a size class; the entries are of chunks. */
typedef struct size_class {
    free_block *loose; /* freed blocks of the small zone */
    mp_unit *current;
    uint32_t partial;
} size_class;

static size_class classes[N_CLASSES];
static int small_is_full; /* the small zone; no more is asked of it */
/* Whether this is the thread that the region is for. With a place from the start, also in the
 * module: one that is made at the first use is asked of malloc, and the program dies without. */
static _Thread_local int here __attribute__((tls_model("initial-exec")));
static mp_heap_function outer; /* serves what the region does not, and blocks from before us */
static void *outer_data;

#if defined(__SANITIZE_ADDRESS__) || defined(MP_NO_HEAP)
#define USE_REGION 0
#else
#define USE_REGION 1
#endif

/* --- sizes --------------------------------------------------------------- */

static unsigned class_of(size_t size) {
    if (size <= FINE_LIMIT)
        return (unsigned)(size - 1) / 16;
    if (size <= COARSE_LIMIT)
        return N_FINE + (unsigned)(size - FINE_LIMIT - 1) / 128;
    unsigned log = 63u - (unsigned)__builtin_clzll(size - 1); /* 11 to 14 */
    return N_COARSE + (log - 11) * 4 + ((unsigned)((size - 1) >> (log - 2)) & 3);
}

static size_t size_of_class(unsigned class) {
    if (class < N_FINE)
        return (class + 1) * 16u;
    if (class < N_COARSE)
        return FINE_LIMIT + (class - N_FINE + 1) * 128u;
    unsigned log = 11 + (class - N_COARSE) / 4, quarter = (class - N_COARSE) % 4;
    return (5u + quarter) << (log - 2);
}

static int has_class(size_t size) {
    return size <= CLASS_LIMIT;
}

static size_t units_for(size_t size) {
    return (size + MP_REGION_UNIT - 1) / MP_REGION_UNIT;
}

static size_t units_of_chunk(unsigned class) {
    return class < N_COARSE ? SMALL_CHUNK : LARGE_CHUNK;
}

/* --- chunks -------------------------------------------------------------- */

static mp_unit *chunk_of(const void *block) {
    mp_unit *u = mp_region_unit(block);
    return u - u->first;
}

static void link_partial(mp_unit *u) {
    size_class *c = &classes[u->class];
    u->state = PARTIAL;
    u->prev = NONE;
    u->next = c->partial;
    c->partial = mp_region_index(u);
    if (u->next != NONE)
        mp_region_entry(u->next)->prev = c->partial;
}

static void unlink_partial(mp_unit *u) {
    if (u->next != NONE)
        mp_region_entry(u->next)->prev = u->prev;
    if (u->prev != NONE)
        mp_region_entry(u->prev)->next = u->next;
    else
        classes[u->class].partial = u->next;
}

static mp_unit *new_chunk(unsigned class) {
    const uint32_t n = (uint32_t)units_of_chunk(class);
    void *span = mp_region_take(n);
    if (span == NULL)
        return NULL;
    mp_unit *u = mp_region_unit(span);
    for (uint32_t i = 1; i < n; i++)
        u[i].first = i;
    u->free = NULL;
    u->live = u->carved = 0;
    u->class = (uint8_t) class;
    return u;
}

/* Another current chunk for a class of which it has none with room. */
static mp_unit *next_chunk(unsigned class) {
    size_class *c = &classes[class];
    mp_unit *u = c->partial != NONE ? mp_region_entry(c->partial) : new_chunk(class);
    if (u == NULL)
        return NULL;
    if (u->state == PARTIAL)
        unlink_partial(u);
    if (c->current != NULL)
        c->current->state = FULL;
    u->state = CURRENT;
    c->current = u;
    return u;
}

/* A block of a chunk, or NULL when it has none. */
static void *take_of(mp_unit *u, unsigned class) {
    free_block *block = u->free;
    if (block != NULL) {
        u->free = block->next;
    } else {
        size_t size = size_of_class(class), at = u->carved * size;
        if (at + size > units_of_chunk(class) * MP_REGION_UNIT)
            return NULL;
        block = (free_block *)(mp_region_address(u) + at);
        u->carved++;
    }
    u->live++;
    return block;
}

static void *take_of_chunks(unsigned class) {
    mp_unit *u = classes[class].current;
    void *block = u != NULL ? take_of(u, class) : NULL;
    if (block == NULL && (u = next_chunk(class)) != NULL)
        block = take_of(u, class);
    return block;
}

static void give_to_chunk(void *block) {
    mp_unit *u = chunk_of(block);
    if (u->state == MP_UNIT_SPAN) { /* one that could not be moved when it shrank */
        mp_region_give(block);
        return;
    }
    free_block *b = block;
    b->next = u->free;
    u->free = b;
    u->live--;
    if (u->state == FULL)
        link_partial(u);
    if (u->live == 0 && u->state == PARTIAL) {
        unlink_partial(u);
        mp_region_give(mp_region_address(u));
    }
}

/* --- blocks -------------------------------------------------------------- */

/* The first megabytes hold what is small. */
static void *take_small(size_t size, unsigned class) {
    size_class *c = &classes[class];
    free_block *block = c->loose;
    if (block != NULL) {
        c->loose = block->next;
        return block;
    }
    if (small_is_full || size > COARSE_LIMIT || !mp_region_open())
        return NULL;
    void *fresh = mp_region_small(size_of_class(class));
    small_is_full = fresh == NULL;
    return fresh;
}

static void *take_of_region(size_t size) {
    if (!USE_REGION || !here)
        return NULL;
    if (has_class(size)) {
        unsigned class = class_of(size);
        void *block = take_small(size, class);
        if (block != NULL)
            return block;
        return size <= COARSE_LIMIT || mp_region_has_spans() ? take_of_chunks(class) : NULL;
    }
    return size >= SPAN_LIMIT || mp_region_has_spans() ? mp_region_take(units_for(size)) : NULL;
}

static void *take(size_t size) {
    if (mp_fault_memory())
        return NULL;
    void *block = take_of_region(size);
    return block != NULL ? block : outer(outer_data, NULL, 0, size);
}

static void give_back(void *block, size_t size) {
    if (!mp_region_has(block)) {
        outer(outer_data, block, size, 0);
    } else if (!here) {
        return;
    } else if (mp_region_has_span(block)) {
        if (has_class(size))
            give_to_chunk(block);
        else
            mp_region_give(block);
    } else if (mp_region_has_small(block)) {
        free_block *b = block;
        size_class *c = &classes[class_of(size)];
        b->next = c->loose;
        c->loose = b;
    }
}

/* Whether a block serves for the new size where it is. */
static int stays(void *block, size_t old_size, size_t size) {
    if (!mp_region_has(block))
        return 0;
    if (has_class(size) || has_class(old_size))
        return has_class(size) && has_class(old_size) && class_of(old_size) == class_of(size);
    size_t n = units_for(size);
    return n == units_for(old_size) ||
           (here && mp_region_has_span(block) && mp_region_resize(block, n));
}

/* Whether a block of the state's own allocator is to have its new size there. */
static int is_outers(size_t size) {
    return !USE_REGION || !here ||
           (size > COARSE_LIMIT && size < SPAN_LIMIT && !mp_region_has_spans());
}

static void *resize(void *block, size_t old_size, size_t size) {
    if (stays(block, old_size, size))
        return block;
    const int is_ours = mp_region_has(block);
    if (!is_ours && is_outers(size))
        return outer(outer_data, block, old_size, size);
    if (mp_fault_memory())
        return size <= old_size ? block : NULL;
    void *moved = take_of_region(size);
    if (moved == NULL && !is_ours)
        return outer(outer_data, block, old_size, size);
    if (moved == NULL)
        moved = outer(outer_data, NULL, 0, size);
    if (moved == NULL)
        return size <= old_size ? block : NULL;
    memcpy(moved, block, old_size < size ? old_size : size);
    give_back(block, old_size);
    return moved;
}

int mp_heap_adopt(mp_heap_function own, void *data) {
    if (outer != NULL && (!here || outer != own || outer_data != data))
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
    memset(classes, 0, sizeof classes);
    small_is_full = 0;
    mp_region_fork();
}

mp_time mp_heap_breathe(void) {
    return here ? mp_region_breathe() : MP_FOREVER;
}

/* --- counts -------------------------------------------------------------- */

static void add_used(const mp_unit *u, void *arg) {
    uint64_t *used = arg;
    if (u->state == MP_UNIT_SPAN)
        *used += u->n * MP_REGION_UNIT;
    else if (u->state != MP_UNIT_FREE)
        *used += u->live * size_of_class(u->class);
}

static uint64_t loose_bytes(void) {
    uint64_t n = 0;
    for (unsigned class = 0; class < N_CLASSES; class ++)
        for (const free_block *b = classes[class].loose; b != NULL; b = b->next)
            n += size_of_class(class);
    return n;
}

void mp_heap_count(mp_heap_usage *usage) {
    mp_region_usage region;
    mp_region_count(&region);
    usage->used = region.small - loose_bytes();
    mp_region_each(add_used, &usage->used);
    usage->held = region.held;
    usage->inherited = region.inherited;
    usage->dirtied = mp_region_dirtied();
}
