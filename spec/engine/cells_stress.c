/*
** cells_stress.c: numbers in shared memory under a sanitizer, without Lua.
**
** Of each type there is a counter to which some add, one array over which others copy and fill, and
** those who read it: an element is always one of two numbers whose bytes are all alike. At the end
** a counter has what was added to it, or for each that was killed one more. Prints "ok" and how
** many additions and looks there were.
*/
#include "engine/cells.h"
#include "stress.h"

enum { N = 1000, STEPS = 200 };

typedef struct shared {
    _Atomic int is_over;
    _Atomic uint64_t n_looks;
    _Atomic uint64_t added[MP_CELL_TYPES]; /* said after an addition */
} shared;

static shared *all;
static mp_ref counters[MP_CELL_TYPES], places[MP_CELL_TYPES], sources[MP_CELL_TYPES];

/* The number of a type whose bytes are all this one. */
static mp_cell pattern(uint32_t type, int byte) {
    const uint64_t bits = 0x0101010101010101u * (uint64_t)byte;
    const uint32_t low = (uint32_t)bits;
    mp_cell value = {.i = (int64_t)bits};
    float f;
    memcpy(&f, &low, sizeof f);
    if (type == MP_FLOAT)
        value.d = (double)f;
    else if (mp_cells_size(type) < 8)
        value.i = (int64_t)(bits & ((1ULL << 8 * mp_cells_size(type)) - 1));
    return value;
}

static void add(uint32_t type) {
    mp_cell now, one = {.i = 1};
    if (mp_cells_is_float(type))
        one.d = 1;
    if (mp_cells_add(mp_cells_of(counters[type]), 0, one, &now) == 0)
        atomic_fetch_add(&all->added[type], 1);
    else if (mp_cells_size(type) > 2)
        fail("a counter is full");
}

/* Bytes, which nothing can tear, are moved as the system likes: the thread sanitizer sees races. */
static int is_moved(uint32_t type) {
#ifdef MP_THREADS
    const size_t least = 2;
#else
    const size_t least = 1;
#endif
    return mp_cells_size(type) >= least;
}

static void move(uint32_t type, unsigned *seed) {
    mp_cells *c = mp_cells_of(places[type]);
    const uint64_t at = (uint64_t)rand_r(seed) % N, first = (uint64_t)rand_r(seed) % N;
    const uint64_t more = at > first ? at : first, n = (uint64_t)rand_r(seed) % (N - more + 1);
    uint64_t bad;
    mp_cell value;
    if (!is_moved(type))
        return;
    if (rand_r(seed) % 3 == 0)
        mp_cells_fill(c, (mp_range){at, n}, pattern(type, 1 + rand_r(seed) % 2));
    else
        mp_cells_copy(c, at, rand_r(seed) % 2 ? c : mp_cells_of(sources[type]),
                      (mp_range){first, n}, &bad, &value);
}

static int is_whole(uint32_t type, mp_cell value) {
    return mp_cells_is_same(type, value, pattern(type, 1)) ||
           mp_cells_is_same(type, value, pattern(type, 2));
}

static void look(uint32_t type) {
    const mp_cells *c = mp_cells_of(places[type]);
    mp_cell least, greatest;
    mp_cells_least_of(c, (mp_range){0, N}, &least);
    mp_cells_greatest_of(c, (mp_range){0, N}, &greatest);
    if (!is_whole(type, least) || !is_whole(type, greatest))
        fail("an element is torn");
    atomic_fetch_add(&all->n_looks, 1);
}

/* What a thread or a process does: half of them count, the others move or look. */
static void work(uint32_t number, int place) {
    unsigned seed = number * 2654435761u;
    while (!atomic_load(&all->is_over))
        for (uint32_t type = 0; type < MP_CELL_TYPES; type++)
            if (place % 4 == 1)
                move(type, &seed);
            else if (place % 4 == 2)
                look(type);
            else
                for (int k = 0; k < STEPS; k++)
                    add(type);
}

static void stop(void) {
    atomic_store(&all->is_over, 1);
}

static void make(enum mp_cell_type type, mp_ref holds[3]) {
    if (mp_cells_make(MP_KIND_VALUE, type, 1, &counters[type], &holds[0]) < 0 ||
        mp_cells_make(MP_KIND_ARRAY, type, N, &places[type], &holds[1]) < 0 ||
        mp_cells_make(MP_KIND_ARRAY, type, N, &sources[type], &holds[2]) < 0)
        fail("no memory");
    mp_cells_fill(mp_cells_of(places[type]), (mp_range){0, N}, pattern(type, 1));
    mp_cells_fill(mp_cells_of(sources[type]), (mp_range){0, N}, pattern(type, 2));
}

static void check_counter(uint32_t type, uint64_t kills) {
    const mp_cell value = mp_cells_load(mp_cells_of(counters[type]), 0);
    const double n = mp_cells_is_float(type) ? value.d : (double)value.i;
    const double said = (double)all->added[type];
    if (type == MP_FLOAT && n >= 0x1p24)
        return; /* one more is no other float from there on */
    if (n < said || n > said + (double)kills)
        fail("additions are lost, or too many");
}

int main(int argc, char **argv) {
    static const members m = {work, stop, NULL, 20000};
    mp_ref holds[MP_CELL_TYPES][3];
    uint64_t n_added = 0;
    void *mapping;
    const arguments a = begin(argc, argv, sizeof *all, &mapping);
    mp_arena_usage before;
    all = mapping;
    must(mp_arena_count(&before), "count");
    for (uint32_t type = 0; type < MP_CELL_TYPES; type++)
        make(type, holds[type]);
    const uint64_t kills = run_members(&m, a);
    for (uint32_t type = 0; type < MP_CELL_TYPES; type++) {
        check_counter(type, kills);
        look(type);
        n_added += all->added[type];
        for (int i = 0; i < 3; i++)
            mp_arena_drop(mp_arena_holds(), holds[type][i]);
    }
    check_usage(&before);
    printf("ok %llu %llu\n", (unsigned long long)n_added, (unsigned long long)all->n_looks);
    return 0;
}
