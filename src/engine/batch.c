/*
** batch.c: batches of tasks; batch.h has the rules.
**
** Results lie behind the items, or, when they need more room, in a block of their own, and then in
** a larger one. Each is a word, its length and what it is, then its bytes, or the place of its
** block; all are multiples of 8 bytes. There is always room for one more that says that memory is
** short.
*/
#include "engine/batch.h"

#include <errno.h>
#include <string.h>

enum { INLINE = 2048, USUAL = 16, RESERVE = 64 }; /* bytes; USUAL: of a result */
enum { IS_BLOCK = 1, HAS_FAILED = 2, SHIFT = 2 };

static size_t padded(size_t len) {
    return (len + 7) & ~(size_t)7;
}

/* Where the results are. */
static char *results_of(batch *b) {
    const mp_ref out = atomic_load_explicit(&b->out, memory_order_acquire);
    return out != 0 ? mp_arena_bytes(out) : b->bytes + padded(b->size);
}

mp_claims mp_batch_claims(batch *b) {
    const uint64_t claims = atomic_load_explicit(&b->claims, memory_order_acquire);
    const uint32_t next = (uint32_t)claims, end = (uint32_t)(claims >> 32);
    return (mp_claims){.begun = next < end ? next : end, .end = end};
}

/* --- the owner's ------------------------------------------------------------ */

int mp_batch_fill(slot *s, mp_list *list, const char *bytes, uint32_t size, uint32_t n,
                  int goes_on) {
    const size_t room = padded(size) + (size_t)n * USUAL + RESERVE;
    int rc = mp_arena_alloc(sizeof(batch) + room, MP_KIND_BYTES, list, &s->in);
    if (rc < 0)
        return rc;
    batch *b = mp_arena_bytes(s->in);
    b->claims = (uint64_t)n << 32;
    b->n_done = 0;
    b->size = size;
    b->goes_on = goes_on != 0;
    b->out = 0;
    memcpy(b->bytes, bytes, size);
    s->len = MP_LANE_BATCH;
    return 0;
}

uint32_t mp_batch_shrink(batch *b, uint32_t *first) {
    uint64_t claims = atomic_load_explicit(&b->claims, memory_order_relaxed);
    for (;;) {
        const uint32_t next = (uint32_t)claims, end = (uint32_t)(claims >> 32);
        if (next >= end)
            return 0;
        *first = next + (end - next) / 2;
        if (atomic_compare_exchange_weak_explicit(&b->claims, &claims,
                                                  (uint64_t)*first << 32 | next,
                                                  memory_order_acq_rel, memory_order_relaxed))
            return end - *first;
    }
}

void mp_batch_read(mp_batch_reader *r, batch *b, int is_lost) {
    *r = (mp_batch_reader){.batch = b, .claims = mp_batch_claims(b)};
    r->n_done = atomic_load_explicit(&b->n_done, memory_order_acquire); /* (K) */
    if (!is_lost)
        r->claims.begun = r->n_done;
}

static void read_result(mp_batch_reader *r) {
    const char *place = results_of(r->batch) + r->at;
    uint64_t word;
    memcpy(&word, place, sizeof word);
    place += sizeof word;
    r->result =
        (mp_result){.bytes = place, .len = word >> SHIFT, .has_failed = (word & HAS_FAILED) != 0};
    r->at += sizeof word + ((word & IS_BLOCK) != 0 ? sizeof(mp_ref) : padded(r->result.len));
    if ((word & IS_BLOCK) != 0) {
        memcpy(&r->result.block, place, sizeof r->result.block);
        r->result.bytes = mp_arena_bytes(r->result.block);
    }
}

enum mp_task_end mp_batch_next(mp_batch_reader *r) {
    const uint32_t i = r->i++;
    r->result = (mp_result){.bytes = NULL};
    if (i >= r->n_done)
        return i < r->claims.begun ? MP_TASK_LOST : i < r->claims.end ? MP_TASK_UNBEGUN : 0;
    read_result(r);
    return r->result.has_failed ? MP_TASK_FAILED : MP_TASK_DONE;
}

/* --- a worker's ------------------------------------------------------------- */

/* The batch that the worker is in. */
static MP_OWN struct {
    slot *slot;
    batch *batch;
    int is_over; /* no more items are to be begun here: one has failed, or memory is short */
    mp_list *results;
    size_t at;         /* of the next item's bytes */
    size_t used, room; /* of the block with the results */
} my;

void mp_batch_enter(slot *s, mp_list *results) {
    my.slot = s;
    my.batch = mp_batch_of(s);
    my.results = results;
    my.at = my.used = 0;
    my.room = mp_arena_block(s->in)->size - sizeof(batch) - padded(my.batch->size);
    my.is_over = 0;
}

int mp_batch_begin(mp_given *given) {
    if (my.is_over)
        return 0;
    const uint64_t claims = atomic_fetch_add_explicit(&my.batch->claims, 1, memory_order_acq_rel);
    const uint32_t next = (uint32_t)claims;
    if (next >= claims >> 32)
        return 0;
    mp_fault("batch.begin.K1");
    given->task.index = my.slot->index + next;
    given->len = 0;
    given->bytes = NULL;
    if (my.batch->size > 0) {
        uint32_t len;
        memcpy(&len, my.batch->bytes + my.at, sizeof len);
        given->bytes = my.batch->bytes + my.at + sizeof len;
        given->len = len;
        my.at += sizeof len + len;
    }
    return 1;
}

/* Makes sure of so many bytes more. What is there is in both places, until the new one counts. */
static int make_room(size_t wanted) {
    const mp_ref old = my.batch->out;
    mp_ref larger;
    if (my.used + wanted <= my.room)
        return 0;
    int rc = mp_arena_alloc(2 * my.room + wanted, MP_KIND_BYTES, my.results, &larger);
    if (rc < 0)
        return rc;
    my.room = mp_arena_block(larger)->size;
    memcpy(mp_arena_bytes(larger), results_of(my.batch), my.used);
    atomic_store_explicit(&my.batch->out, larger, memory_order_release);
    if (old != 0)
        mp_arena_free(my.results, old);
    return 0;
}

int mp_batch_leave(const mp_record *record, int has_failed) {
    const int is_block = record->n_objects > 0 || record->len > INLINE;
    const size_t len = is_block ? sizeof(mp_ref) : padded(record->len);
    uint64_t word =
        (uint64_t)record->len << SHIFT | (is_block ? IS_BLOCK : 0) | (has_failed ? HAS_FAILED : 0);
    mp_ref block;
    const size_t reserve = has_failed && len <= RESERVE / 2 ? 0 : RESERVE;
    int rc = make_room(sizeof word + len + reserve);
    if (rc == 0 && is_block)
        rc = mp_lane_wrap(my.results, record, &block);
    if (rc < 0)
        return rc;
    char *place = results_of(my.batch) + my.used;
    memcpy(place, &word, sizeof word);
    if (is_block)
        memcpy(place + sizeof word, &block, sizeof block);
    else
        mp_lane_gather(place + sizeof word, record);
    my.used += sizeof word + len;
    mp_fault("batch.leave.K2");
    /* (K) with the owner's load: who sees the number sees the result. */
    atomic_store_explicit(&my.batch->n_done, my.batch->n_done + 1, memory_order_release);
    mp_fault("batch.leave.K3");
    my.is_over = (has_failed && !my.batch->goes_on) || my.used + RESERVE > my.room;
    return 0;
}
