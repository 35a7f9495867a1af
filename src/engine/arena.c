/*
** arena.c: blocks of the family's shared memory. The rules and the steps stand in
** arena.h; which memory is in use is spans.c's, who holds objects is hold.c's.
**
** The guard is held for a few stores. Memory is had from the system, and given back to
** it, outside, while the span is in the caller's hands: such a span has no head yet, or
** none any more, so it stands in the member's record (`growing`).
*/
#include "engine/arena.h"

#include <errno.h>
#include <string.h>
#include <sys/resource.h>

#include "engine/budget.h"
#include "engine/family.h"
#include "engine/guard.h"

_Static_assert(sizeof(mp_block) == 64, "what follows is aligned to a cache line");

enum {
    GROWTH = 256,    /* pages that the arena grows by at least: 1 MiB */
    KEPT = 64 << 20, /* bytes of free memory that it may keep */
    PART = 4096,     /* pages that get memory at once: 16 MiB */
    PUNCHED = 16,    /* pages from which on a span is worth giving back */
};

void *mp_arena_at(mp_ref ref) {
    return (char *)mp_page + ref;
}

mp_block *mp_arena_block(mp_ref block) {
    return mp_arena_at(block);
}

void *mp_arena_bytes(mp_ref block) {
    return mp_arena_block(block) + 1;
}

mp_ref mp_arena_ref(const void *at) {
    return (mp_ref)((const char *)at - (const char *)mp_page);
}

mp_list *mp_arena_hands(void) {
    return &mp_guard_me()->hands;
}

mp_list *mp_arena_holds(void) {
    return &mp_guard_me()->holds;
}

mp_list *mp_arena_hands_of(uint32_t member) {
    return &mp_page->members[member].hands;
}

mp_list *mp_arena_holds_of(uint32_t member) {
    return &mp_page->members[member].holds;
}

mp_list *mp_arena_parcel(uint32_t member) {
    return &mp_page->members[member].parcel;
}

mp_ref mp_arena_first(const mp_list *list) {
    return mp_guard_first(list);
}

mp_ref mp_arena_next(mp_ref block) {
    return mp_guard_first(&mp_arena_block(block)->next);
}

void mp_arena_unlink(mp_list *list, mp_ref block) {
    mp_guard_unlink(list, block);
}

/* --- opening -------------------------------------------------------------- */

/* Why the mapping has no more room: a limit of file sizes made it as small as it is, or not. */
static int no_room(void) {
    struct rlimit r;
    const int is_limited = mp_page_fd >= 0 && getrlimit(RLIMIT_FSIZE, &r) == 0 &&
                           r.rlim_cur < mp_page->reserve + MP_SPAN_PAGE;
    return is_limited ? -EFBIG : -ENOMEM;
}

/* The file must be long enough for the head and the page map. */
static int make_room(void) {
    const uint64_t size =
        sizeof(family_shared) + sizeof(mp_arena_shared) + 2 * (uint64_t)MP_SPAN_PAGE;
    if (mp_page->reserve < size + (uint64_t)GROWTH * MP_SPAN_PAGE)
        return no_room();
    const uint64_t map_end = size + mp_page->reserve / MP_SPAN_PAGE * 16;
    int rc = mp_page_fd < 0 ? 0 : mp_sys_resize(mp_page_fd, map_end);
    return rc == -EPERM ? 0 : rc; /* it has grown already, and cannot be made smaller */
}

int mp_arena_open(void) {
    int rc = mp_family_open();
    if (rc < 0 || mp_guard_is_open())
        return rc;
    rc = make_room();
    if (rc < 0)
        return rc;
    if (pthread_mutex_lock(&mp_page->opening) == EOWNERDEAD)
        pthread_mutex_consistent(&mp_page->opening);
    if (!mp_guard_is_open())
        mp_guard_make();
    pthread_mutex_unlock(&mp_page->opening);
    return 0;
}

/* --- growth --------------------------------------------------------------- */

static uint64_t limit_of(const mp_arena_shared *a) {
    const uint64_t room = a->spans.n_pages * MP_SPAN_PAGE;
    const uint64_t limit = atomic_load_explicit(&a->limit, memory_order_relaxed);
    return limit == 0 || limit > room ? room : limit;
}

/* Pages that others are giving memory just now. */
static uint64_t n_growing(const mp_arena_shared *a) {
    uint64_t n = 0;
    for (uint32_t i = 0; i < mp_page->high; i++)
        if (mp_page->members[i].growing != 0)
            n += mp_spans_size(&a->spans, mp_page->members[i].growing) / MP_SPAN_PAGE;
    return n;
}

/* Whether n pages more are within the limits. In guard. */
static int may_grow(uint64_t n) {
    const mp_arena_shared *a = mp_guard_arena();
    const uint64_t wanted = (a->spans.n_backed + n_growing(a) + n) * MP_SPAN_PAGE;
    if (wanted > a->spans.n_pages * MP_SPAN_PAGE)
        return no_room();
    return wanted > limit_of(a) ? -EDQUOT : 0;
}

void mp_guard_end_growth(member_shared *m, int has_memory) {
    mp_intent *i = &mp_guard_arena()->intent;
    if (m->growing != 0 && !has_memory) /* what it has got by then */
        mp_spans_punch(m->growing, mp_spans_size(&mp_guard_arena()->spans, m->growing));
    mp_guard_lock();
    if (m->growing != 0) {
        i->count = has_memory != 0;
        mp_guard_intend(MP_GROWING, m->growing, &m->growing);
        mp_guard_finish_growth(i);
        mp_guard_done();
    }
    mp_guard_unlock();
}

/* Notes a span without memory that is to have some. */
static int begin_growth(uint64_t n) {
    mp_spans *s = &mp_guard_arena()->spans;
    mp_guard_lock();
    int rc = may_grow(n);
    mp_guard_me()->growing = rc < 0 ? 0 : mp_spans_find_bare(s, n);
    mp_fault("arena.grow.G1");
    if (mp_guard_me()->growing != 0)
        mp_spans_take_bare(s, mp_guard_me()->growing, n);
    mp_guard_unlock();
    return rc == 0 && mp_guard_me()->growing == 0 ? -ENOMEM : rc;
}

/* Gives it memory part by part: others take of what there is meanwhile, too. */
static int back(uint64_t at, uint64_t n) {
    int rc = 0;
    for (uint64_t part; n > 0 && rc == 0; n -= part, at += part * MP_SPAN_PAGE) {
        part = n < PART ? n : PART;
        rc = mp_budget_left() < (int64_t)(part * MP_SPAN_PAGE) ? -ENOMEM : mp_spans_back(at, part);
    }
    return rc;
}

/* Adds n pages with memory to the free ones. */
static int grow(uint64_t n) {
    if (mp_budget_left() < (int64_t)(n * MP_SPAN_PAGE))
        return -ENOMEM;
    int rc = begin_growth(n);
    if (rc < 0)
        return rc;
    mp_fault("arena.grow.G2");
    rc = back(mp_guard_me()->growing, n);
    mp_guard_end_growth(mp_guard_me(), rc == 0);
    return rc;
}

static int grow_for(size_t size) {
    const uint64_t n = size <= MP_SLOT_MAX ? 4 : (size + MP_SPAN_PAGE - 1) / MP_SPAN_PAGE;
    int rc = grow(n > GROWTH ? n : GROWTH);
    if (rc < 0 && mp_arena_sweep_dead())
        return 0; /* what they had may do */
    return rc < 0 && n < GROWTH ? grow(n) : rc;
}

/* --- blocks --------------------------------------------------------------- */

static void fill(mp_ref at, size_t size, enum mp_kind kind) {
    mp_block *b = mp_arena_block(at);
    memset(b, 0, size < MP_SPAN_PAGE ? size : sizeof *b);
    b->kind = kind;
    b->size = size - sizeof *b;
    b->made = atomic_load_explicit(&mp_page->births, memory_order_relaxed);
}

static mp_ref try_alloc(size_t size, enum mp_kind kind, mp_list *list) {
    mp_spans *s = &mp_guard_arena()->spans;
    mp_guard_lock();
    const mp_ref at = mp_spans_find(s, size);
    if (at != 0) {
        mp_guard_intend(MP_ALLOC, at, list);
        mp_fault("arena.alloc.A1");
        mp_spans_take(s, at, size);
        mp_fault("arena.alloc.A2");
        fill(at, size, kind);
        mp_guard_push(list, at);
        mp_fault("arena.alloc.A3");
        mp_guard_done();
    }
    mp_guard_unlock();
    return at;
}

int mp_arena_alloc(size_t size, enum mp_kind kind, mp_list *list, mp_ref *block) {
    if (size > SIZE_MAX / 2 || mp_fault_is_here("arena.memory"))
        return -ENOMEM;
    size += sizeof(mp_block);
    for (;;) {
        *block = try_alloc(size, kind, list);
        if (*block != 0)
            return 0;
        int rc = grow_for(size);
        if (rc < 0)
            return rc;
    }
}

/* Whether free memory is more than may stay: as much as is in use, or a fixed sum. */
static int has_too_much(const mp_spans *s) {
    const uint64_t used = s->n_backed - s->n_free, kept = KEPT / MP_SPAN_PAGE;
    return s->n_free > (used > kept ? used : kept);
}

/* Gives the memory of the largest free span back to the system, if there is too much. */
static int trim(void) {
    mp_spans *s = &mp_guard_arena()->spans;
    member_shared *m = mp_guard_me();
    mp_guard_lock();
    m->growing = has_too_much(s) ? mp_spans_find_largest(s, PUNCHED) : 0;
    mp_fault("arena.trim.T1");
    const uint64_t size = m->growing == 0 ? 0 : mp_spans_size(s, m->growing);
    if (size > 0)
        mp_spans_take(s, m->growing, size);
    mp_fault("arena.trim.T2");
    mp_guard_unlock();
    if (size > 0)
        mp_guard_end_growth(m, 0);
    return size > 0;
}

static void free_block(mp_list *list, mp_ref block) {
    mp_spans *s = &mp_guard_arena()->spans;
    mp_guard_lock();
    const int is_large = mp_spans_size(s, block) >= PUNCHED * MP_SPAN_PAGE;
    mp_guard_intend(MP_FREEING, block, list);
    mp_fault("arena.free.F1");
    mp_guard_unlink(list, block);
    mp_fault("arena.free.F2");
    mp_spans_give(s, block, 1);
    mp_fault("arena.free.F3");
    mp_guard_done();
    mp_guard_unlock();
    while (is_large && trim())
        ;
}

void mp_arena_free(mp_list *list, mp_ref block) {
    mp_list *holds = &mp_arena_block(block)->holds;
    while (mp_guard_first(holds) != 0)
        mp_arena_drop(holds, mp_guard_first(holds));
    free_block(list, block);
}

/* --- moving --------------------------------------------------------------- */

mp_note *mp_arena_note_of(uint32_t member, int direction) {
    return &mp_page->members[member].notes[direction];
}

void mp_arena_move(int direction, mp_ref place, uint64_t commit, mp_ref block, mp_ref other) {
    mp_note *note = &mp_guard_me()->notes[direction];
    note->commit = commit;
    note->blocks[0] = block;
    note->blocks[1] = other;
    atomic_store_explicit(&note->fate, MP_FATE_UNKNOWN, memory_order_relaxed);
    atomic_store_explicit(&note->place, place, memory_order_release);
    for (int i = 0; i < 2 && direction == MP_NOTE_IN; i++)
        if (note->blocks[i] != 0)
            mp_guard_unlink(&mp_guard_me()->hands, note->blocks[i]);
}

/* Puts noted blocks in hand. */
static void take_noted(mp_note *note) {
    for (int i = 0; i < 2; i++)
        if (note->blocks[i] != 0)
            mp_guard_push(&mp_guard_me()->hands, note->blocks[i]);
}

void mp_arena_moved(int direction) {
    mp_note *note = &mp_guard_me()->notes[direction];
    if (direction == MP_NOTE_OUT)
        take_noted(note);
    atomic_store_explicit(&note->place, 0, memory_order_release);
}

/* --- numbers -------------------------------------------------------------- */

static void count(uint64_t at, uint64_t size, void *arg) {
    mp_arena_usage *usage = arg;
    const uint32_t kind = mp_arena_block(at)->kind;
    if (kind < MP_KINDS) {
        usage->n[kind]++;
        usage->bytes[kind] += size;
    }
}

int mp_arena_count(mp_arena_usage *usage) {
    *usage = (mp_arena_usage){.backed = 0};
    int rc = mp_arena_open();
    if (rc < 0)
        return rc;
    mp_guard_lock();
    mp_spans_each(&mp_guard_arena()->spans, count, usage);
    usage->backed = mp_guard_arena()->spans.n_backed * MP_SPAN_PAGE;
    usage->limit = limit_of(mp_guard_arena());
    mp_guard_unlock();
    return 0;
}

int mp_arena_limit(uint64_t bytes) {
    int rc = mp_arena_open();
    if (rc == 0)
        atomic_store_explicit(&mp_guard_arena()->limit, bytes, memory_order_relaxed);
    return rc;
}
