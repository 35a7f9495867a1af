/*
** region.c: see region.h.
**
** Free spans are in lists by their length: one for each up to 32 units, above that four for
** each doubling. A bit says which lists hold any.
*/
#include "engine/region.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define MIB ((size_t)1 << 20)
#define PAGE ((uintptr_t)4096)
#define HUGE_PAGE (2 * MIB)
#define RESERVE ((size_t)64 << 30)
#define SMALL_ZONE (4 * MIB)
#define SMALL_STEP MIB
#define LEAST_ZONE (MIB / 2)  /* a child whose small zone would be less gets another one */
#define PLAIN_SPANS (4 * MIB) /* spans begin with so much in small pages */
#define MOST_STEP (64 * MIB)
#define TABLE_STEP ((size_t)64 * 1024)
#define COLD_FOR (32 * MIB)
#define COLD_TIME                                                                                  \
    1000000 /* ns of CPU for the first touch of a huge page: warm, it is a fifth of that */
#define GIVEN_AT_ONCE (32 * MIB)
#define KEPT (16 * MIB)                       /* of free memory, whatever is in use */
#define SHRUNK_FOR ((mp_time)10 * 1000000000) /* ns that most is free before it goes back */

#define N_EXACT 32u
#define N_LISTS 120u
#define NONE 0u /* unit 0 is the table's */

_Alignas(128) mp_region mp_region_is; /* in one page: a child writes to it */
static mp_region *const region = &mp_region_is;
static mp_zone *const small = &mp_region_is.small, *const spans = &mp_region_is.spans;
static char *table_open;
static char *first_byte; /* behind the table */
static char *inherited_end;

static uint32_t lists[N_LISTS];
static uint64_t filled[(N_LISTS + 63) / 64];
static size_t free_units, dirty_units; /* free; of them, in memory as far as is known */
static mp_time shrunk_since;           /* since when most is free; 0: it is not */
static char *cold_until;

static size_t round_up(size_t n, size_t to) {
    return (n + to - 1) / to * to;
}

_Static_assert(sizeof(mp_unit) == 32, "a table of 1/512 of the region");

static char *align(char *at, size_t to) {
    return (char *)round_up((uintptr_t)at, to);
}

/* --- addresses ----------------------------------------------------------- */

/* With `ulimit -v`, reserved addresses count: a quarter of them is enough. */
static size_t addresses_to_reserve(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY)
        return RESERVE;
    size_t quarter = (size_t)limit.rlim_cur / 4 / HUGE_PAGE * HUGE_PAGE;
    return quarter < RESERVE ? quarter : RESERVE;
}

static void place_zones(char *from) {
    char *behind = align(from + SMALL_ZONE, HUGE_PAGE);
    *small = (mp_zone){from, from, from, behind < region->end ? behind : region->end};
    *spans = (mp_zone){small->end, small->end, small->end, region->end};
}

int mp_region_open(void) {
    static int tried;
    if (tried)
        return region->base != NULL;
    tried = 1;
    size_t len = addresses_to_reserve();
    char *at = len < 2 * HUGE_PAGE
                   ? MAP_FAILED
                   : mmap(NULL, len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED)
        return 0;
    region->base = align(at, HUGE_PAGE);
    region->end = at + len;
    region->table = (mp_unit *)region->base;
    table_open = region->base;
    first_byte = align(region->base + len / MP_REGION_UNIT * sizeof *region->table, MP_REGION_UNIT);
    inherited_end = first_byte;
    place_zones(first_byte);
    return 1;
}

/* --- memory -------------------------------------------------------------- */

static int open_up(char *from, size_t len) {
    return mprotect(from, len, PROT_READ | PROT_WRITE) == 0;
}

/* Opens more of the zone: a step, or what is needed at least where limits leave no more. */
static int extend(mp_zone *z, size_t needed, size_t step) {
    size_t room = (size_t)(z->end - z->open);
    size_t len = step < needed ? needed : step;
    if (needed > room)
        return 0;
    if (len > room)
        len = room;
    if (!open_up(z->open, len)) {
        len = needed;
        if (!open_up(z->open, len))
            return 0;
    }
    z->open += len;
    return 1;
}

void *mp_region_small(size_t size) {
    size_t room = (size_t)(small->open - small->top);
    if (room < size && !extend(small, round_up(size - room, PAGE), SMALL_STEP))
        return NULL;
    void *block = small->top;
    small->top += size;
    return block;
}

static int64_t cpu_time(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Huge pages for what has just been opened, if its first one is warm. */
static void make_huge(char *from, char *to) {
    from = align(from, HUGE_PAGE);
    if (from < spans->begin + PLAIN_SPANS || from < cold_until || to < from + HUGE_PAGE ||
        madvise(from, HUGE_PAGE, MADV_HUGEPAGE) != 0)
        return;
    int64_t began = cpu_time();
    *(volatile char *)from = 0;
    if (cpu_time() - began > COLD_TIME)
        cold_until = from + COLD_FOR;
    else if (to > from + HUGE_PAGE)
        madvise(from + HUGE_PAGE, (size_t)(to - from) - HUGE_PAGE, MADV_HUGEPAGE);
}

/* The table's entries up to that address. */
static int open_table(const char *to) {
    char *needed = (char *)(mp_region_unit(to) + 1);
    if (needed <= table_open)
        return 1;
    char *from = table_open, *until = align(needed, TABLE_STEP);
    if (until > first_byte)
        until = align(needed, PAGE);
    if (!open_up(from, (size_t)(until - from)))
        return 0;
    table_open = until;
    return 1;
}

static int extend_spans(size_t needed) {
    size_t step = (size_t)(spans->open - spans->begin) / 8 / HUGE_PAGE * HUGE_PAGE;
    char *from = spans->open;
    if (step < HUGE_PAGE)
        step = HUGE_PAGE;
    if (!extend(spans, needed, step < MOST_STEP ? step : MOST_STEP))
        return 0;
    make_huge(from, spans->open);
    return 1;
}

/* Whole huge pages in the middle of a free span. Whether there were any. */
static int give_back(mp_unit *unit) {
    char *from = mp_region_address(unit), *to = from + unit->n * MP_REGION_UNIT;
    from = align(from, HUGE_PAGE);
    to -= (uintptr_t)to % HUGE_PAGE;
    return from < to && madvise(from, (size_t)(to - from), MADV_DONTNEED) == 0;
}

/* --- lists of free spans -------------------------------------------------- */

static unsigned list_of(size_t n) {
    if (n <= N_EXACT)
        return (unsigned)n - 1;
    unsigned log = 63u - (unsigned)__builtin_clzll(n);
    unsigned list = N_EXACT + (log - 5) * 4 + ((unsigned)(n >> (log - 2)) & 3);
    return list < N_LISTS ? list : N_LISTS - 1;
}

/* `dirty`: how many of its units are in memory, which `live` and `carved` keep as one number. */
static uint32_t dirty_of(const mp_unit *u) {
    return (uint32_t)u->carved << 16 | u->live;
}

static void set_dirty(mp_unit *u, size_t dirty) {
    u->live = (uint16_t)dirty;
    u->carved = (uint16_t)(dirty >> 16);
}

static void put_free(mp_unit *u, size_t n, size_t dirty) {
    unsigned list = list_of(n);
    u->n = u[n - 1].n = (uint32_t)n;
    u->state = u[n - 1].state = MP_UNIT_FREE;
    set_dirty(u, dirty);
    u->prev = NONE;
    u->next = lists[list];
    if (u->next != NONE)
        region->table[u->next].prev = mp_region_index(u);
    lists[list] = mp_region_index(u);
    filled[list / 64] |= (uint64_t)1 << list % 64;
    free_units += n;
    dirty_units += dirty;
}

static void take_free(mp_unit *u) {
    unsigned list = list_of(u->n);
    if (u->next != NONE)
        region->table[u->next].prev = u->prev;
    if (u->prev != NONE)
        region->table[u->prev].next = u->next;
    else
        lists[list] = u->next;
    if (lists[list] == NONE)
        filled[list / 64] &= ~((uint64_t)1 << list % 64);
    free_units -= u->n;
    dirty_units -= dirty_of(u);
}

/* The first list from that one on that holds any, or N_LISTS. */
static unsigned filled_from(unsigned list) {
    for (unsigned word = list / 64; word < sizeof filled / sizeof filled[0]; word++) {
        uint64_t bits = filled[word];
        if (word == list / 64)
            bits &= ~(uint64_t)0 << list % 64;
        if (bits != 0)
            return word * 64 + (unsigned)__builtin_ctzll(bits);
    }
    return N_LISTS;
}

/* A free span of at least n units, or NULL: of its own list the first ones, where that is of
 * several lengths; any of the next lists. */
static mp_unit *find_free(size_t n) {
    unsigned list = list_of(n);
    int tries = 16;
    for (uint32_t i = lists[list]; i != NONE && tries > 0; i = region->table[i].next, tries--)
        if (region->table[i].n >= n)
            return &region->table[i];
    list = filled_from(list + 1);
    return list < N_LISTS ? &region->table[lists[list]] : NULL;
}

/* --- spans --------------------------------------------------------------- */

static void mark_used(mp_unit *u, size_t n) {
    u[n - 1].state = MP_UNIT_SPAN;
    u->state = MP_UNIT_SPAN;
    u->n = (uint32_t)n;
    u->first = 0;
}

/* What is left of a free span goes back to the lists; what is in memory is taken first. */
static void split(mp_unit *u, size_t n) {
    size_t all = u->n, dirty = dirty_of(u);
    take_free(u);
    mark_used(u, n);
    if (all > n)
        put_free(u + n, all - n, dirty > n ? dirty - n : 0);
}

static void *take_new(size_t n) {
    size_t len = n * MP_REGION_UNIT, room = (size_t)(spans->open - spans->top);
    if (room < len && len <= (size_t)(spans->end - spans->top)) {
        size_t needed = round_up(len - room, HUGE_PAGE);
        size_t left = (size_t)(spans->end - spans->open);
        if (!extend_spans(needed < left ? needed : left))
            return NULL;
    }
    if ((size_t)(spans->open - spans->top) < len || !open_table(spans->top + len - 1))
        return NULL;
    void *span = spans->top;
    spans->top += len;
    mark_used(mp_region_unit(span), n);
    return span;
}

void *mp_region_take(size_t n) {
    if (n == 0 || n > RESERVE / MP_REGION_UNIT || !mp_region_open())
        return NULL;
    mp_unit *u = find_free(n);
    if (u == NULL)
        return take_new(n);
    split(u, n);
    return mp_region_address(u);
}

/* The free neighbours of a span, or NULL. */
static mp_unit *free_before(mp_unit *u) {
    if (mp_region_address(u) == spans->begin || u[-1].state != MP_UNIT_FREE)
        return NULL;
    return u - u[-1].n;
}

static mp_unit *free_after(mp_unit *u, size_t n) {
    if (mp_region_address(u + n) >= spans->top || u[n].state != MP_UNIT_FREE)
        return NULL;
    return u + n;
}

/* A span that is free from here on, with its neighbours. */
static void set_free(mp_unit *u, size_t n, size_t dirty) {
    mp_unit *after = free_after(u, n), *before = free_before(u);
    if (after != NULL) {
        take_free(after);
        dirty += dirty_of(after);
        n += after->n;
    }
    if (before != NULL) {
        take_free(before);
        dirty += dirty_of(before);
        n += before->n;
        u = before;
    }
    put_free(u, n, dirty);
}

void mp_region_give(void *span) {
    mp_unit *u = mp_region_unit(span);
    size_t n = u->n;
    int is_given = n * MP_REGION_UNIT >= GIVEN_AT_ONCE && give_back(u);
    set_free(u, n, is_given ? 0 : n);
    mp_region_breathe();
}

static int grow(mp_unit *u, size_t n) {
    mp_unit *after = free_after(u, u->n);
    size_t more = n - u->n;
    if (after == NULL && mp_region_address(u + u->n) == spans->top) {
        if (take_new(more) == NULL)
            return 0;
    } else if (after != NULL && after->n >= more) {
        split(after, more);
    } else {
        return 0;
    }
    mark_used(u, n);
    return 1;
}

int mp_region_resize(void *span, size_t n) {
    mp_unit *u = mp_region_unit(span);
    size_t before = u->n;
    if (n > before)
        return grow(u, n);
    if (n < before) {
        mark_used(u, n);
        mark_used(u + n, before - n);
        mp_region_give(mp_region_address(u + n));
    }
    return 1;
}

void mp_region_each(void (*f)(const mp_unit *unit, void *arg), void *arg) {
    for (const char *at = spans->begin; at < spans->top;) {
        const mp_unit *u = mp_region_unit(at);
        f(u, arg);
        at += u->n * MP_REGION_UNIT;
    }
}

/* --- giving back ---------------------------------------------------------- */

static void give_back_all(void) {
    for (unsigned list = 0; list < N_LISTS; list++)
        for (uint32_t i = lists[list]; i != NONE; i = region->table[i].next)
            if (dirty_of(&region->table[i]) > 0 && give_back(&region->table[i])) {
                dirty_units -= dirty_of(&region->table[i]);
                set_dirty(&region->table[i], 0);
            }
}

mp_time mp_region_breathe(void) {
    size_t held = (size_t)(spans->top - spans->begin) / MP_REGION_UNIT - (free_units - dirty_units);
    if (dirty_units * MP_REGION_UNIT <= KEPT || dirty_units <= held / 2) {
        shrunk_since = 0;
        return MP_FOREVER;
    }
    mp_time now = mp_sys_now();
    if (shrunk_since == 0)
        shrunk_since = now;
    if (now - shrunk_since < SHRUNK_FOR)
        return shrunk_since + SHRUNK_FOR;
    give_back_all();
    shrunk_since = 0;
    return MP_FOREVER;
}

/* --- children ------------------------------------------------------------ */

/*
** A small zone with room left goes on where the parent's ended: it is open, mostly, and costs
** the child nothing. Spans begin behind all that the parent has opened.
*/
void mp_region_fork(void) {
    if (region->base == NULL)
        return;
    char *fresh = align(small->top, PAGE), *behind = align(spans->open, HUGE_PAGE);
    if (free_units > 0) { /* else they are empty, and a page less is written to */
        memset(lists, 0, sizeof lists);
        memset(filled, 0, sizeof filled);
        free_units = dirty_units = 0;
        shrunk_since = 0;
    }
    if (spans->open > spans->begin || inherited_end < fresh)
        inherited_end = spans->open > spans->begin ? spans->open : fresh;
    if (behind > region->end)
        behind = region->end;
    if (small->end - fresh < (ptrdiff_t)LEAST_ZONE) {
        place_zones(behind);
        return;
    }
    small->begin = small->top = fresh;
    *spans = (mp_zone){behind, behind, behind, region->end};
}

void mp_region_count(mp_region_usage *usage) {
    size_t given = (free_units - dirty_units) * MP_REGION_UNIT;
    usage->small = (uint64_t)(small->top - small->begin);
    usage->held = usage->small + (uint64_t)(spans->top - spans->begin) - given;
    usage->inherited = (uint64_t)(inherited_end - first_byte);
}

/* Of pages from one address on, as many as are told at once; by the kernel's pagemap. */
static int64_t count_own_pages(int fd, const char *from, const char *to) {
    uint64_t words[1024];
    int64_t n = 0;
    while (from < to) {
        size_t wanted = (size_t)(to - from) / PAGE;
        size_t len = (wanted < 1024 ? wanted : 1024) * sizeof words[0];
        ssize_t got = pread(fd, words, len, (off_t)((uintptr_t)from / PAGE * sizeof words[0]));
        if (got <= 0)
            return -1;
        for (size_t i = 0; i < (size_t)got / sizeof words[0]; i++)
            n += (words[i] >> 63 & 1) && (words[i] >> 56 & 1); /* present; mapped here alone */
        from += (size_t)got / sizeof words[0] * PAGE;
    }
    return n;
}

int64_t mp_region_dirtied(void) {
    if (region->base == NULL || inherited_end == first_byte)
        return 0;
    int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    const char *hole = small->begin < inherited_end ? small->begin : inherited_end;
    const char *behind = small->end < inherited_end ? small->end : inherited_end;
    int64_t before = count_own_pages(fd, first_byte, hole);
    int64_t after = count_own_pages(fd, behind, inherited_end);
    close(fd);
    return before < 0 || after < 0 ? -1 : (before + after) * (int64_t)PAGE;
}
