/*
** priority.c: a binary heap with a log; priority.h has the rules.
*/
#include "engine/priority.h"

#include <string.h>

enum { NOTHING = 0, ADD, REMOVE, ORDER };
#define NO_HOLE UINT64_MAX

static mp_rank *entries_of(const mp_ranks *r) {
    return mp_arena_bytes(mp_priority_entries(r));
}

uint64_t mp_priority_room(const mp_ranks *r) {
    const mp_ref entries = mp_priority_entries(r);
    return entries == 0 ? 0 : mp_arena_block(entries)->size / sizeof(mp_rank);
}

size_t mp_priority_size(uint64_t n) {
    return n * sizeof(mp_rank);
}

static int is_before(const mp_rank *a, const mp_rank *b) {
    return a->priority < b->priority || (a->priority == b->priority && a->serial < b->serial);
}

/* The entry goes into the hole, whose place it leaves as the hole. */
static void move(mp_ranks *r, mp_rank *e, uint64_t from) {
    e[r->log.hole] = e[from];
    mp_fault("priority.change.C3");
    atomic_signal_fence(memory_order_seq_cst);
    r->log.hole = from;
}

static void fill(mp_ranks *r, mp_rank *e) {
    e[r->log.hole] = r->log.item;
    mp_fault("priority.change.C4");
}

static void begin(mp_ranks *r, uint32_t op, uint64_t n, uint64_t hole, const mp_rank *item,
                  uint64_t commit) {
    r->log.commit = commit;
    r->log.n = n;
    r->log.hole = hole;
    r->log.item = *item;
    atomic_store_explicit(&r->log.op, op, memory_order_release);
    mp_fault("priority.change.C1");
}

static void sift_up(mp_ranks *r, mp_rank *e) {
    while (r->log.hole > 0 && is_before(&r->log.item, &e[(r->log.hole - 1) / 2]))
        move(r, e, (r->log.hole - 1) / 2);
    fill(r, e);
}

static void sift_down(mp_ranks *r, mp_rank *e, uint64_t n) {
    for (uint64_t child; (child = 2 * r->log.hole + 1) < n; move(r, e, child)) {
        if (child + 1 < n && is_before(&e[child + 1], &e[child]))
            child++;
        if (!is_before(&e[child], &r->log.item))
            break;
    }
    fill(r, e);
}

void mp_priority_add(mp_ranks *r, uint64_t n, const mp_rank *item, mp_ref entries,
                     uint64_t commit) {
    if (entries != 0 && n > 0)
        memcpy(mp_arena_bytes(entries), entries_of(r), n * sizeof(mp_rank));
    r->log.before = r->entries;
    r->log.after = entries;
    begin(r, ADD, n, n, item, commit);
    if (entries != 0)
        r->entries = entries;
    mp_fault("priority.change.C2");
    sift_up(r, entries_of(r));
}

const mp_rank *mp_priority_first(const mp_ranks *r) {
    return entries_of(r);
}

/* The last one is put where the first one was. */
void mp_priority_remove(mp_ranks *r, uint64_t n, uint64_t commit) {
    mp_rank *e = entries_of(r);
    const mp_rank last = e[n - 1];
    r->log.after = 0;
    r->log.removed = e[0];
    begin(r, REMOVE, n, 0, &last, commit);
    sift_down(r, e, n - 1);
}

void mp_priority_done(mp_ranks *r) {
    atomic_store_explicit(&r->log.op, NOTHING, memory_order_release);
}

static void set_hole(mp_ranks *r, uint64_t hole) {
    atomic_signal_fence(memory_order_seq_cst);
    r->log.hole = hole;
    atomic_signal_fence(memory_order_seq_cst);
}

/* Puts the entries in order. Who dies here leaves a hole, or none, and all is done again. */
static void order(mp_ranks *r) {
    mp_rank *e = entries_of(r);
    if (r->log.hole != NO_HOLE)
        e[r->log.hole] = r->log.item;
    for (uint64_t i = r->log.n / 2; i-- > 0;) {
        set_hole(r, NO_HOLE);
        r->log.item = e[i];
        set_hole(r, i);
        sift_down(r, e, r->log.n);
    }
    mp_priority_done(r);
}

mp_ref mp_priority_entries(const mp_ranks *r) {
    return mp_arena_first(&r->entries);
}

/* The block is on a list, so that it leaves that in the same change in which it is freed. */
void mp_priority_end(mp_ranks *r) {
    const mp_ref entries = mp_priority_entries(r);
    if (entries != 0) {
        atomic_store_explicit(&mp_arena_block(entries)->next, 0, memory_order_release);
        mp_arena_free(&r->entries, entries);
    }
}

static void take_back(mp_ranks *r, uint32_t op) {
    if (op == ADD)
        r->log.item = entries_of(r)[r->log.n]; /* the one that was moved behind the others */
    else if (op == REMOVE)
        r->log.item = r->log.removed;
    if (op == ADD && r->log.hole == r->log.n)
        set_hole(r, NO_HOLE);
    atomic_store_explicit(&r->log.op, ORDER, memory_order_release);
    order(r);
}

void mp_priority_mend(mp_ranks *r, uint64_t commit) {
    const uint32_t op = atomic_load_explicit(&r->log.op, memory_order_acquire);
    if (op == ADD && r->log.commit == commit && r->log.after != 0)
        r->entries = r->log.before; /* they are as they were */
    else if (op == ORDER || (op != NOTHING && r->log.commit == commit))
        take_back(r, op);
    mp_priority_done(r);
}
