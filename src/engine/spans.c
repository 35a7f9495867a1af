/*
** spans.c: spans of pages and slabs of slots; spans.h has the rules.
**
** Free spans hang in lists by the power of two of their size (two-level, segregated fit)
** and are joined with free neighbours of their sort. The word at the last page of a free
** span says how long it is, for the neighbour behind it.
*/
#include "engine/spans.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#include "engine/page.h"
#include "engine/sys.h"

/* What the word of a page says, in its lower bits; the upper ones are a number of pages. */
enum { INSIDE = 0, FREE_SPAN, USED, SLAB, REST, FOOT };
enum { KIND = 0x7, BACKED = 0x8, CLASS = 0xf0, CLASS_SHIFT = 4, N_SHIFT = 8 };

enum { SLAB_PAGES = 4, SLAB_SIZE = SLAB_PAGES * MP_SPAN_PAGE, SEARCHED = 64 };

typedef struct entry {
    _Atomic uint64_t word;
    uint32_t next, prev; /* in the list that it is in: page + 1 */
} entry;

/* A slab's head takes its first slot. */
typedef struct slab {
    _Atomic uint64_t used[2];
    uint32_t n_used;
} slab;

static entry *entry_of(const mp_spans *s, uint64_t page) {
    return (entry *)((char *)mp_page + s->map) + page;
}

static uint64_t word_of(const mp_spans *s, uint64_t page) {
    return atomic_load_explicit(&entry_of(s, page)->word, memory_order_relaxed);
}

static void set_word(mp_spans *s, uint64_t page, uint64_t n, unsigned bits) {
    atomic_store_explicit(&entry_of(s, page)->word, n << N_SHIFT | bits, memory_order_relaxed);
}

static uint64_t place_of(const mp_spans *s, uint64_t page) {
    return s->first + page * MP_SPAN_PAGE;
}

static uint64_t page_of(const mp_spans *s, uint64_t at) {
    return (at - s->first) / MP_SPAN_PAGE;
}

/* --- lists ---------------------------------------------------------------- */

static void push(mp_spans *s, uint32_t *list, uint64_t page) {
    entry *e = entry_of(s, page);
    e->next = *list;
    e->prev = 0;
    if (*list != 0)
        entry_of(s, *list - 1)->prev = (uint32_t)page + 1;
    *list = (uint32_t)page + 1;
}

static void drop(mp_spans *s, uint32_t *list, uint64_t page) {
    const entry *e = entry_of(s, page);
    if (e->prev != 0)
        entry_of(s, e->prev - 1)->next = e->next;
    else
        *list = e->next;
    if (e->next != 0)
        entry_of(s, e->next - 1)->prev = e->prev;
}

static int bin_of(uint64_t n) {
    int bin = 63 - __builtin_clzll(n);
    return bin < MP_SPAN_BINS ? bin : MP_SPAN_BINS - 1;
}

static uint32_t *list_of(mp_spans *s, uint64_t word) {
    return &s->bins[(word & BACKED) != 0][bin_of(word >> N_SHIFT)];
}

/* --- spans ---------------------------------------------------------------- */

static void add_free(mp_spans *s, uint64_t page, uint64_t n, unsigned backed) {
    if (n > 1)
        set_word(s, page + n - 1, n, FOOT | backed);
    set_word(s, page, n, FREE_SPAN | backed);
    push(s, list_of(s, n << N_SHIFT | backed), page);
    s->n_free += backed != 0 ? n : 0;
}

static void remove_free(mp_spans *s, uint64_t page) {
    const uint64_t word = word_of(s, page);
    drop(s, list_of(s, word), page);
    s->n_free -= (word & BACKED) != 0 ? word >> N_SHIFT : 0;
}

/* The free span of that sort which ends before the page, or UINT64_MAX. */
static uint64_t free_before(const mp_spans *s, uint64_t page, unsigned backed) {
    if (page == 0)
        return UINT64_MAX;
    const uint64_t word = word_of(s, page - 1);
    const uint64_t n = (word & KIND) == FOOT ? word >> N_SHIFT : 1;
    if (n > page || word_of(s, page - n) != (n << N_SHIFT | FREE_SPAN | backed))
        return UINT64_MAX;
    return page - n;
}

/* The first free span of n pages or more; UINT64_MAX: there is none. */
static uint64_t find_span(const mp_spans *s, uint64_t n, unsigned backed) {
    const uint32_t *bins = s->bins[backed != 0];
    uint32_t at = bins[bin_of(n)];
    for (int i = 0; at != 0 && i < SEARCHED; i++, at = entry_of(s, at - 1)->next)
        if (word_of(s, at - 1) >> N_SHIFT >= n)
            return at - 1;
    for (int bin = bin_of(n) + 1; bin < MP_SPAN_BINS; bin++)
        if (bins[bin] != 0)
            return bins[bin] - 1;
    return UINT64_MAX;
}

/* The first n pages of a free span are used from now on: the last store says so. */
static void take_span(mp_spans *s, uint64_t page, uint64_t n, unsigned bits) {
    const uint64_t word = word_of(s, page), rest = (word >> N_SHIFT) - n;
    remove_free(s, page);
    if (rest > 0)
        add_free(s, page + n, rest, word & BACKED);
    for (uint64_t i = 1; i < n && (bits & KIND) == SLAB; i++)
        set_word(s, page + i, i, REST);
    if (n > 1 && (bits & KIND) == USED)
        set_word(s, page + n - 1, 0, INSIDE);
    set_word(s, page, n, bits);
}

/*
** It is free before it is joined with its neighbours: behind the head of a larger span no
** word may be left that calls it used.
*/
static void give_span(mp_spans *s, uint64_t page, unsigned backed) {
    uint64_t n = word_of(s, page) >> N_SHIFT;
    set_word(s, page, n, FREE_SPAN | backed);
    const uint64_t behind = page + n;
    if (behind < s->n_pages && (word_of(s, behind) & (KIND | BACKED)) == (FREE_SPAN | backed)) {
        n += word_of(s, behind) >> N_SHIFT;
        remove_free(s, behind);
    }
    const uint64_t before = free_before(s, page, backed);
    if (before != UINT64_MAX) {
        remove_free(s, before);
        n += page - before;
        page = before;
    }
    add_free(s, page, n, backed);
}

/* --- slabs ---------------------------------------------------------------- */

static int class_of(size_t size) {
    int class = 0;
    while (MP_SLOT_MIN << class < size)
        class ++;
    return class;
}

static slab *slab_at(const mp_spans *s, uint64_t page) {
    return (slab *)((char *)mp_page + place_of(s, page));
}

static unsigned n_slots(int class) {
    return SLAB_SIZE / (MP_SLOT_MIN << class);
}

static int class_at(const mp_spans *s, uint64_t page) {
    return (int)((word_of(s, page) & CLASS) >> CLASS_SHIFT);
}

/* The page where the slab of that place begins, and the number of the slot. */
static uint64_t slab_of(const mp_spans *s, uint64_t at, unsigned *slot) {
    uint64_t page = page_of(s, at);
    const uint64_t word = word_of(s, page);
    if ((word & KIND) == REST)
        page -= word >> N_SHIFT;
    *slot = (unsigned)((at - place_of(s, page)) / (MP_SLOT_MIN << class_at(s, page)));
    return page;
}

/* A slab of the class out of a backed span: visible when it is whole. */
static int add_slab(mp_spans *s, int class) {
    const uint64_t page = find_span(s, SLAB_PAGES, BACKED);
    if (page == UINT64_MAX)
        return 0;
    slab *b = slab_at(s, page);
    *b = (slab){.used = {1, 0}, .n_used = 1};
    for (unsigned i = n_slots(class); i < 128; i++)
        b->used[i / 64] |= (uint64_t)1 << i % 64;
    take_span(s, page, SLAB_PAGES, SLAB | BACKED | (unsigned)class << CLASS_SHIFT);
    push(s, &s->partial[class], page);
    return 1;
}

static uint64_t find_slot(mp_spans *s, int class) {
    if (s->partial[class] == 0 && !add_slab(s, class))
        return 0;
    const uint64_t page = s->partial[class] - 1;
    const slab *b = slab_at(s, page);
    const uint64_t low = b->used[0], high = b->used[1];
    const unsigned slot =
        ~low != 0 ? (unsigned)__builtin_ctzll(~low) : 64u + (unsigned)__builtin_ctzll(~high);
    return place_of(s, page) + slot * (MP_SLOT_MIN << class);
}

static void take_slot(mp_spans *s, uint64_t at) {
    unsigned slot;
    const uint64_t page = slab_of(s, at, &slot);
    slab *b = slab_at(s, page);
    b->used[slot / 64] |= (uint64_t)1 << slot % 64;
    if (++b->n_used == n_slots(class_at(s, page)))
        drop(s, &s->partial[class_at(s, page)], page);
}

/* An empty slab is a free span again, unless it is the only one with free slots. */
static void give_slot(mp_spans *s, uint64_t at) {
    unsigned slot;
    const uint64_t page = slab_of(s, at, &slot);
    const int class = class_at(s, page);
    slab *b = slab_at(s, page);
    b->used[slot / 64] &= ~((uint64_t)1 << slot % 64);
    if (b->n_used-- == n_slots(class))
        push(s, &s->partial[class], page);
    const entry *e = entry_of(s, page);
    if (b->n_used == 1 && (e->next != 0 || e->prev != 0)) {
        drop(s, &s->partial[class], page);
        give_span(s, page, BACKED);
    }
}

/* --- blocks --------------------------------------------------------------- */

static uint64_t pages_for(size_t size) {
    return (size + MP_SPAN_PAGE - 1) / MP_SPAN_PAGE;
}

uint64_t mp_spans_find(mp_spans *s, size_t size) {
    if (size <= MP_SLOT_MAX)
        return find_slot(s, class_of(size));
    const uint64_t page = find_span(s, pages_for(size), BACKED);
    return page == UINT64_MAX ? 0 : place_of(s, page);
}

void mp_spans_take(mp_spans *s, uint64_t at, size_t size) {
    if (size <= MP_SLOT_MAX)
        take_slot(s, at);
    else
        take_span(s, page_of(s, at), pages_for(size), USED | BACKED);
}

/* Pages of a slab that is no more may still say that they were its rest. */
static int is_slot(const mp_spans *s, uint64_t at) {
    unsigned slot;
    const unsigned state = word_of(s, page_of(s, at)) & KIND;
    return state == SLAB || (state == REST && (word_of(s, slab_of(s, at, &slot)) & KIND) == SLAB);
}

void mp_spans_give(mp_spans *s, uint64_t at, int has_memory) {
    const uint64_t page = page_of(s, at);
    if (is_slot(s, at)) {
        give_slot(s, at);
        return;
    }
    if (!has_memory && (word_of(s, page) & BACKED) != 0)
        s->n_backed -= word_of(s, page) >> N_SHIFT;
    give_span(s, page, has_memory ? BACKED : 0);
}

int mp_spans_is_used(const mp_spans *s, uint64_t at) {
    unsigned slot;
    if (!is_slot(s, at))
        return (word_of(s, page_of(s, at)) & KIND) == USED;
    const slab *b = slab_at(s, slab_of(s, at, &slot));
    return (b->used[slot / 64] >> slot % 64 & 1) != 0;
}

int mp_spans_is_block(const mp_spans *s, uint64_t at) {
    unsigned slot;
    if (at < s->first || at >= place_of(s, s->n_pages))
        return 0;
    if (!is_slot(s, at))
        return mp_spans_is_used(s, at) && at == place_of(s, page_of(s, at));
    const uint64_t page = slab_of(s, at, &slot);
    const int class = class_at(s, page);
    return slot > 0 && slot < n_slots(class) &&
           at == place_of(s, page) + slot * (MP_SLOT_MIN << class) && mp_spans_is_used(s, at);
}

uint64_t mp_spans_size(const mp_spans *s, uint64_t at) {
    unsigned slot;
    if (is_slot(s, at))
        return MP_SLOT_MIN << class_at(s, slab_of(s, at, &slot));
    return (word_of(s, page_of(s, at)) >> N_SHIFT) * MP_SPAN_PAGE;
}

uint64_t mp_spans_find_bare(mp_spans *s, uint64_t n) {
    const uint64_t page = find_span(s, n, 0);
    return page == UINT64_MAX ? 0 : place_of(s, page);
}

/* Of those in the list of the largest the first: none is half as large as another. */
uint64_t mp_spans_find_largest(const mp_spans *s, uint64_t n) {
    for (int bin = MP_SPAN_BINS - 1; bin >= bin_of(n); bin--)
        if (s->bins[1][bin] != 0)
            return place_of(s, s->bins[1][bin] - 1);
    return 0;
}

void mp_spans_take_bare(mp_spans *s, uint64_t at, uint64_t n) {
    take_span(s, page_of(s, at), n, USED);
}

void mp_spans_backed(mp_spans *s, uint64_t n) {
    s->n_backed += n;
}

/* --- memory --------------------------------------------------------------- */

int mp_spans_back(uint64_t at, uint64_t n) {
    if (mp_page_fd >= 0)
        return mp_sys_allocate(mp_page_fd, (int64_t)at, (int64_t)(n * MP_SPAN_PAGE));
    int rc;
    do
        rc = madvise((char *)mp_page + at, n * MP_SPAN_PAGE, MADV_POPULATE_WRITE);
    while (rc != 0 && (errno == EINTR || errno == EAGAIN));
    return rc == 0 ? 0 : -ENOMEM;
}

void mp_spans_punch(uint64_t at, uint64_t size) {
    madvise((char *)mp_page + at, size, MADV_REMOVE);
}

/* --- all of them ---------------------------------------------------------- */

void mp_spans_init(mp_spans *s, uint64_t start, uint64_t size) {
    const uint64_t n = size / (MP_SPAN_PAGE + sizeof(entry));
    const uint64_t map_pages = (n * sizeof(entry) + MP_SPAN_PAGE - 1) / MP_SPAN_PAGE;
    *s = (mp_spans){.map = start, .first = start + map_pages * MP_SPAN_PAGE};
    s->n_pages = n > 1 ? n - 1 : 0;
    if (s->n_pages > 0)
        set_word(s, 0, s->n_pages, FREE_SPAN);
    mp_spans_rebuild(s);
}

static void count_slab(mp_spans *s, uint64_t page) {
    const int class = class_at(s, page);
    slab *b = slab_at(s, page);
    b->n_used = (unsigned)(__builtin_popcountll(b->used[0]) + __builtin_popcountll(b->used[1])) -
                (128 - n_slots(class));
    if (b->n_used < n_slots(class))
        push(s, &s->partial[class], page);
}

void mp_spans_rebuild(mp_spans *s) {
    memset(s->bins, 0, sizeof s->bins);
    memset(s->partial, 0, sizeof s->partial);
    s->n_free = s->n_backed = 0;
    for (uint64_t page = 0, n; page < s->n_pages; page += n) {
        const uint64_t word = word_of(s, page);
        n = word >> N_SHIFT;
        if ((word & KIND) == FREE_SPAN)
            add_free(s, page, n, word & BACKED);
        else if ((word & KIND) == SLAB)
            count_slab(s, page);
        s->n_backed += (word & BACKED) != 0 ? n : 0;
    }
}

static void each_slot(const mp_spans *s, uint64_t page,
                      void (*f)(uint64_t at, uint64_t size, void *arg), void *arg) {
    const uint64_t size = MP_SLOT_MIN << class_at(s, page);
    const slab *b = slab_at(s, page);
    for (unsigned i = 1; i < SLAB_SIZE / size; i++)
        if ((b->used[i / 64] >> i % 64 & 1) != 0)
            f(place_of(s, page) + i * size, size, arg);
}

void mp_spans_each(const mp_spans *s, void (*f)(uint64_t at, uint64_t size, void *arg), void *arg) {
    for (uint64_t page = 0, n; page < s->n_pages; page += n) {
        const uint64_t word = word_of(s, page);
        n = word >> N_SHIFT;
        if ((word & (KIND | BACKED)) == (USED | BACKED))
            f(place_of(s, page), n * MP_SPAN_PAGE, arg);
        else if ((word & KIND) == SLAB)
            each_slot(s, page, f, arg);
    }
}
