/*
** record.c: records into queues and out of them; the rules and the steps stand in queue.h.
**
** A record in a segment is a word (its length and what it is), then its bytes, or the place
** of its block, or, at the end of a segment, nothing: the next one goes on.
**
** A priority queue has the same two counters, and one lock for both sides; its records
** are all blocks, in a heap (priority.h).
*/
#include "engine/record.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

/* --- putting -------------------------------------------------------------- */

static uint64_t padded(uint64_t len) {
    return (len + 7) & ~(uint64_t)7;
}

static void put_word(char *at, uint64_t word) {
    memcpy(at, &word, sizeof word);
}

static void gather(char *to, const mp_record *record) {
    for (int i = 0; i < record->n_pieces; i++) {
        memcpy(to, record->pieces[i].iov_base, record->pieces[i].iov_len);
        to += record->pieces[i].iov_len;
    }
}

/* Whether a record of `len` bytes, and the word that ends a segment, go behind the position. */
static int fits(const position *p, uint64_t len) {
    return p->offset + 2 * sizeof(uint64_t) + padded(len) <= mp_record_segment(p->segment)->room;
}

static uint64_t len_of(const mp_record *record, mp_ref block) {
    return block != 0 ? sizeof block : record->len;
}

static void append(position *p, const mp_record *record, mp_ref block) {
    char *at = mp_record_segment(p->segment)->bytes + p->offset;
    put_word(at, record->len << 2 | (block != 0 ? MP_Q_BLOCK : MP_Q_BYTES));
    if (block != 0)
        put_word(at + sizeof(uint64_t), block);
    else
        gather(at + sizeof(uint64_t), record);
    p->offset += sizeof(uint64_t) + padded(len_of(record, block));
    p->bytes += record->len;
}

/* The position goes on in the segment of that block. */
static void go_on(position *p, mp_ref block) {
    segment *s = mp_arena_bytes(block);
    s->room = (uint32_t)(mp_arena_block(block)->size - sizeof *s);
    s->is_in_queue = 0; /* a large block comes as it is */
    put_word(mp_record_segment(p->segment)->bytes + p->offset, MP_Q_NEXT);
    mp_record_segment(p->segment)->next = mp_arena_ref(s);
    p->segment = mp_arena_ref(s);
    p->offset = 0;
}

static void commit(queue_shared *q, int which, const position *p, uint64_t n) {
    const uint64_t before = mp_record_commit(q, which);
    q->sides[which].pos[~before & 1] = *p;
    mp_fault(which == MP_Q_TAIL ? "queue.put.P3" : "queue.get.G3");
    /* (C) with the load in mp_record_commit: who sees the count sees the records and the position.
     */
    atomic_store_explicit(&q->sides[which].commit, ((before >> 1) + n) << 1 | (~before & 1),
                          memory_order_release);
    mp_fault(which == MP_Q_TAIL ? "queue.put.P4" : "queue.get.G4");
}

/* How many of the records there is room for, given what was seen of the getters. */
static int n_fitting(const queue_shared *q, const side *tail, const mp_record *records, int n) {
    const uint64_t items = (tail->commit >> 1) - tail->seen;
    uint64_t bytes = tail->pos[tail->commit & 1].bytes - tail->seen_bytes;
    int i = 0;
    for (; i < n; i++) {
        const int is_first = items == 0 && i == 0;
        bytes += records[i].len;
        if (!is_first && ((q->max_items != 0 && items + (uint64_t)i >= q->max_items) ||
                          (q->max_bytes != 0 && bytes > q->max_bytes)))
            break;
    }
    return i;
}

/* How many of the records there is room for. In the tail's lock. */
static int n_allowed(queue_shared *q, const mp_record *records, int n) {
    side *tail = mp_record_side(q, MP_Q_TAIL);
    if ((q->max_items | q->max_bytes) == 0)
        return n;
    int fitting = n_fitting(q, tail, records, n);
    if (fitting < n) {
        tail->seen_bytes = mp_record_bytes(q, MP_Q_HEAD);
        tail->seen = mp_record_count(q, MP_Q_HEAD);
        fitting = n_fitting(q, tail, records, n);
    }
    return fitting;
}

/*
** Appends up to n records and commits them: no more than end with the segment and the
** first block but one. Returns how many, or -EAGAIN: there is need of a segment.
*/
static int put_in_order(mp_ref queue, const mp_record *records, const mp_ref *blocks, int n,
                        mp_ref *spare) {
    queue_shared *q = mp_record_queue(queue);
    position p = *mp_record_state(q, MP_Q_TAIL);
    const int needs = !fits(&p, len_of(&records[0], blocks[0]));
    if (needs && *spare == 0)
        return -EAGAIN;
    mp_arena_move(MP_NOTE_IN, queue, mp_record_commit(q, MP_Q_TAIL), blocks[0], needs ? *spare : 0);
    mp_fault("queue.put.P1");
    if (needs)
        go_on(&p, *spare);
    int done = 0;
    do {
        append(&p, &records[done], blocks[done]);
        done++;
    } while (done < n && blocks[done] == 0 && fits(&p, records[done].len));
    mp_fault("queue.put.P2");
    commit(q, MP_Q_TAIL, &p, (uint64_t)done);
    mp_arena_moved(MP_NOTE_IN);
    mp_fault("queue.put.P5");
    *spare = needs ? 0 : *spare;
    return done;
}

static int put_by_rank(mp_ref queue, const mp_record *record, mp_ref block, mp_ref *spare) {
    queue_shared *q = mp_record_queue(queue);
    const uint64_t n = mp_record_n_items(q);
    const int needs = n == mp_priority_room(&q->ranks);
    if (needs && (*spare == 0 || mp_arena_block(*spare)->size < mp_priority_size(n + 1)))
        return -EAGAIN;
    const mp_rank rank = {record->priority, mp_record_count(q, MP_Q_TAIL), block};
    position p = *mp_record_state(q, MP_Q_TAIL);
    p.bytes += record->len;
    const mp_ref old = needs ? mp_priority_entries(&q->ranks) : 0; /* moves out, for a larger one */
    const uint64_t version = mp_record_version(q, MP_Q_TAIL);
    mp_arena_move(MP_NOTE_OUT, queue, version, old, 0);
    mp_arena_move(MP_NOTE_IN, queue, version, block, needs ? *spare : 0);
    mp_fault("queue.put.P1");
    mp_priority_add(&q->ranks, n, &rank, needs ? *spare : 0, version);
    mp_fault("queue.put.P2");
    commit(q, MP_Q_TAIL, &p, 1);
    mp_arena_moved(MP_NOTE_IN);
    mp_arena_moved(MP_NOTE_OUT);
    mp_priority_done(&q->ranks);
    mp_fault("queue.put.P5");
    if (old != 0)
        mp_arena_free(mp_arena_hands(), old);
    *spare = needs ? 0 : *spare;
    return 1;
}

/* What a put needs besides: another segment, or a larger heap. */
typedef struct spare_block {
    mp_ref block; /* 0: there is none yet */
    size_t size;  /* as it was wanted last */
} spare_block;

/* In the lock, for the heap may be another one, and its memory something else, right after it. */
static size_t wanted(const queue_shared *q) {
    const uint64_t room = mp_priority_room(&q->ranks);
    return q->has_priorities ? mp_priority_size(room == 0 ? MP_Q_RANKS : 2 * room) : MP_Q_SEGMENT;
}

/* What can be put now: how many; 0: there is no room; or a negative errno. */
static int put_now(mp_ref queue, const mp_record *records, const mp_ref *blocks, int n,
                   mp_time deadline, spare_block *spare) {
    queue_shared *q = mp_record_queue(queue);
    int rc = mp_record_lock(queue, MP_Q_TAIL, deadline, 1);
    if (rc < 0)
        return rc;
    mp_gate_pass(&q->points[MP_QUEUE_PUT].gate);
    if (mp_record_is_closed(q) || !mp_record_has_end(q, MP_Q_HEAD))
        rc = -EPIPE;
    else if ((rc = n_allowed(q, records, n)) > 0)
        rc = q->has_priorities ? put_by_rank(queue, records, blocks[0], &spare->block)
                               : put_in_order(queue, records, blocks, rc, &spare->block);
    spare->size = wanted(q);
    mp_record_unlock(queue, MP_Q_TAIL);
    mp_fault("queue.put.P6");
    if (rc > 0)
        mp_record_tell(q, MP_QUEUE_GET, rc);
    return rc;
}

static int make_spare(spare_block *spare) {
    if (spare->block != 0)
        mp_arena_free(mp_arena_hands(), spare->block);
    spare->block = 0;
    return mp_arena_alloc(spare->size, MP_KIND_BYTES, mp_arena_hands(), &spare->block);
}

int mp_queue_put(mp_ref queue, const mp_record *records, const mp_ref *blocks, int n,
                 mp_time deadline) {
    spare_block spare = {0};
    int done = 0, rc = 0;
    while (done < n && rc >= 0) {
        rc = put_now(queue, records + done, blocks + done, n - done, deadline, &spare);
        done += rc > 0 ? rc : 0;
        if (rc == -EAGAIN)
            rc = make_spare(&spare);
        else if (rc == 0) {
            mp_record_wants(records[done].len);
            rc = mp_record_wait(queue, MP_QUEUE_PUT, records[done].len, deadline);
        }
    }
    if (spare.block != 0)
        mp_arena_free(mp_arena_hands(), spare.block);
    return done > 0 ? done : rc;
}

int mp_queue_wrap(const mp_record *record, int has_priorities, mp_ref *block) {
    *block = 0;
    if (!has_priorities && record->len <= MP_QUEUE_INLINE && record->n_objects == 0 &&
        !record->is_alone)
        return 0;
    int rc = mp_arena_alloc(record->len, MP_KIND_MESSAGE, mp_arena_hands(), block);
    if (rc < 0)
        return rc;
    gather(mp_arena_bytes(*block), record);
    mp_arena_block(*block)->is_alone = record->is_alone != 0;
    for (size_t i = 0; i < record->n_objects && rc == 0; i++) {
        mp_ref hold;
        rc = mp_arena_hold(&mp_arena_block(*block)->holds, record->objects[i], &hold);
    }
    if (rc < 0) {
        mp_arena_free(mp_arena_hands(), *block);
        *block = 0;
    }
    return rc;
}

/* --- taking --------------------------------------------------------------- */

/* What is read and not committed yet. */
typedef struct reading {
    position p;
    mp_ref block, old; /* a message's, and a segment's that has been read */
    int has_crossed;
    int is_more, is_full; /* whether others were taken before; and no more are to be */
    int n;
    size_t used; /* of the room */
} reading;

static uint64_t word_at(const position *p) {
    uint64_t word;
    memcpy(&word, mp_record_segment(p->segment)->bytes + p->offset, sizeof word);
    return word;
}

static int cross(reading *r) {
    segment *s = mp_record_segment(r->p.segment);
    if (r->has_crossed)
        return 0;
    r->has_crossed = 1;
    r->old = s->is_in_queue ? 0 : r->p.segment - sizeof(mp_block);
    r->p.segment = s->next;
    r->p.offset = 0;
    return 1;
}

/* Reads the next record. 0: that is for another time. */
static int read_next(reading *r, mp_taken *taken, char *room, size_t size) {
    if (word_at(&r->p) == MP_Q_NEXT && !cross(r))
        return 0;
    const uint64_t word = word_at(&r->p), len = word >> 2;
    const char *bytes = mp_record_segment(r->p.segment)->bytes + r->p.offset + sizeof word;
    if ((word & 3) == MP_Q_BLOCK) {
        mp_ref block;
        memcpy(&block, bytes, sizeof block);
        const int is_alone = mp_arena_block(block)->is_alone != 0;
        if (r->block != 0 || (is_alone && (r->n > 0 || r->is_more)))
            return 0;
        r->block = block;
        r->is_full = is_alone;
        *taken = (mp_taken){mp_arena_bytes(r->block), len, r->block};
    } else {
        if (len > size - r->used)
            return 0;
        *taken = (mp_taken){memcpy(room + r->used, bytes, len), len, 0};
        r->used += len;
    }
    r->p.offset += sizeof word + padded((word & 3) == MP_Q_BLOCK ? sizeof r->block : len);
    r->p.bytes += len;
    r->n++;
    return 1;
}

/* What was read is taken. In the head's lock. */
static void take_read(mp_ref queue, mp_hold *hold, const reading *r) {
    queue_shared *q = mp_record_queue(queue);
    mp_arena_move(MP_NOTE_OUT, queue, mp_record_version(q, MP_Q_HEAD), r->block, r->old);
    mp_fault("queue.get.G1");
    if (hold != NULL) {
        hold->new_taken = hold->taken + (uint64_t)r->n;
        hold->commit = mp_record_commit(q, MP_Q_HEAD);
        atomic_signal_fence(memory_order_seq_cst);
        q->taker = mp_arena_ref(hold); /* last: who is noted has noted both */
    }
    mp_fault("queue.get.G2");
    commit(q, MP_Q_HEAD, &r->p, (uint64_t)r->n);
    if (hold != NULL) {
        hold->taken = hold->new_taken;
        atomic_signal_fence(memory_order_seq_cst);
        q->taker = 0;
    }
    mp_arena_moved(MP_NOTE_OUT);
    mp_fault("queue.get.G5");
}

static int take_in_order(mp_ref queue, mp_hold *hold, mp_taken *taken, int max, int is_more,
                         char *room, size_t size, mp_ref *old) {
    queue_shared *q = mp_record_queue(queue);
    side *head = mp_record_side(q, MP_Q_HEAD);
    const uint64_t got = mp_record_count(q, MP_Q_HEAD);
    if (head->seen - got < (uint64_t)max)
        head->seen = mp_record_count(q, MP_Q_TAIL);
    const uint64_t there = head->seen - got;
    reading r = {.p = *mp_record_state(q, MP_Q_HEAD), .is_more = is_more};
    while (r.n < max && (uint64_t)r.n < there && !r.is_full &&
           read_next(&r, &taken[r.n], room, size))
        ;
    if (r.n > 0) { /* else no step was taken, over the end of a segment either */
        take_read(queue, hold, &r);
        *old = r.old;
    }
    return r.n;
}

static int take_by_rank(mp_ref queue, mp_hold *hold, mp_taken *taken, int is_more) {
    queue_shared *q = mp_record_queue(queue);
    const uint64_t n = mp_record_n_items(q);
    if (n == 0)
        return 0;
    reading r = {
        .p = *mp_record_state(q, MP_Q_HEAD), .block = mp_priority_first(&q->ranks)->block, .n = 1};
    if (is_more && mp_arena_block(r.block)->is_alone)
        return 0;
    *taken = (mp_taken){mp_arena_bytes(r.block), mp_arena_block(r.block)->size, r.block};
    r.p.bytes += taken->len;
    mp_priority_remove(&q->ranks, n, mp_record_version(q, MP_Q_HEAD));
    take_read(queue, hold, &r);
    mp_priority_done(&q->ranks);
    return 1;
}

/* What can be taken now: how many; 0: there is nothing; or a negative errno. */
static int take_now(mp_ref queue, mp_ref hold, mp_taken *taken, int max, int is_more, char *room,
                    size_t size, mp_time deadline) {
    queue_shared *q = mp_record_queue(queue);
    mp_hold *h = hold == 0 ? NULL : mp_arena_bytes(hold);
    mp_ref old = 0;
    int rc = mp_record_lock(queue, MP_Q_HEAD, deadline, 1);
    if (rc < 0)
        return rc;
    mp_gate_pass(&q->points[MP_QUEUE_GET].gate);
    const int is_over = mp_record_is_closed(q) ||
                        !mp_record_has_end(q, MP_Q_TAIL); /* before the look for what is there */
    rc = q->has_priorities ? take_by_rank(queue, h, taken, is_more)
                           : take_in_order(queue, h, taken, max, is_more, room, size, &old);
    mp_record_unlock(queue, MP_Q_HEAD);
    mp_fault("queue.get.G6");
    if (old != 0)
        mp_arena_free(mp_arena_hands(), old);
    if (rc > 0 && (q->max_items | q->max_bytes) != 0)
        mp_record_tell(q, MP_QUEUE_PUT, q->max_bytes != 0 ? INT_MAX : rc);
    return rc == 0 && is_over ? -EPIPE : rc;
}

int mp_queue_take(mp_ref queue, mp_ref hold, mp_taken *taken, int max, int is_more, char *room,
                  size_t size, mp_time deadline) {
    int rc = take_now(queue, hold, taken, max, is_more, room, size, deadline);
    while (rc == 0 && !is_more) {
        rc = mp_record_wait(queue, MP_QUEUE_GET, 0, deadline);
        if (rc == 0)
            rc = take_now(queue, hold, taken, max, is_more, room, size, deadline);
    }
    mp_queue_look(queue);
    return rc == 0 ? -ETIMEDOUT : rc;
}

/* --- the end -------------------------------------------------------------- */

/* The last segment goes as a record would. */
static void end_segment(mp_ref queue) {
    queue_shared *q = mp_record_queue(queue);
    reading r = {.p = *mp_record_state(q, MP_Q_HEAD)};
    if (!mp_record_segment(r.p.segment)->is_in_queue) {
        r.old = r.p.segment - sizeof(mp_block);
        r.p.segment = mp_arena_ref(q + 1);
        take_read(queue, NULL, &r);
        mp_arena_free(mp_arena_hands(), r.old);
    }
}

void mp_record_drain(mp_ref queue) {
    char room[MP_QUEUE_INLINE];
    mp_taken taken;
    queue_shared *q = mp_record_queue(queue);
    if (!atomic_load_explicit(&q->is_made, memory_order_acquire))
        return;
    int rc;
    while ((rc = take_now(queue, 0, &taken, 1, 0, room, sizeof room, MP_FOREVER)) > 0 ||
           rc == -EINTR)
        if (rc > 0 && taken.block != 0)
            mp_arena_free(mp_arena_hands(), taken.block);
    mp_record_lock(queue, MP_Q_HEAD, MP_FOREVER, 0);
    end_segment(queue);
    mp_priority_end(&q->ranks);
    mp_record_unlock(queue, MP_Q_HEAD);
}
