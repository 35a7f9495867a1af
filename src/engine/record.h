/*
** record.h: the state of a queue (queue.h), for the rooms that keep it.
**
** queue.c makes and ends queues, has their locks and what is mended after a death, and
** counts what is done; record.c puts and takes.
*/
#ifndef MP_ENGINE_RECORD_H
#define MP_ENGINE_RECORD_H

#include "engine/gate.h"
#include "engine/lock.h"
#include "engine/page.h"
#include "engine/priority.h"
#include "engine/queue.h"
#include "engine/watch.h"

enum { MP_Q_TAIL = MP_NOTE_IN, MP_Q_HEAD = MP_NOTE_OUT };
/* What a record is: its bytes, the place of its block, or none: the next segment goes on. */
enum { MP_Q_BYTES = 0, MP_Q_BLOCK, MP_Q_NEXT };
enum {
    MP_Q_SEGMENT = 16384 - sizeof(mp_block),
    MP_Q_FIRST_SEGMENT = 1024 - sizeof(mp_block),
    MP_Q_RANKS = 30, /* entries of a priority queue at first */
};

typedef struct position {
    mp_ref segment;
    uint64_t offset;
    uint64_t bytes; /* of all records that came by */
} position;

/* What a side has seen of the other one spares a look there, as long as that will do. */
typedef struct side {
    _Alignas(64) mp_lock lock;
    _Atomic uint64_t commit;
    position pos[2];
    uint64_t seen, seen_bytes; /* count and bytes of the other side, at least */
} side;

/* Where one waits: putters for room, getters for items, joiners until all is done. */
typedef struct point {
    mp_gate gate;
    mp_watch watch;
} point;

typedef struct queue_shared {
    side sides[2];
    _Alignas(64) point points[MP_QUEUE_WAITS];
    _Alignas(64) uint64_t max_items; /* 0: no bound */
    uint64_t max_bytes;
    mp_ref ends[2]; /* of a pipe: who writes and who reads; 0: no matter who */
    _Atomic uint32_t closed;
    uint32_t has_priorities;
    _Atomic uint32_t is_made; /* the last thing in its making */
    mp_ranks ranks;
    mp_ref taker; /* where the hold is whose count of what was taken changes, or 0 */
    _Atomic uint64_t n_done;
    _Atomic uint32_t abandoned; /* not told yet */
    struct {                    /* a change of what is done, to be done over */
        _Atomic uint32_t is_on;
        uint32_t abandons;
        mp_ref hold;
        uint64_t done, n_done;
    } doing;
} queue_shared;

/* The first one lies in the queue's own block, the others in blocks of theirs. */
typedef struct segment {
    mp_ref next;
    uint32_t room;
    uint32_t is_in_queue;
    char bytes[];
} segment;

static inline queue_shared *mp_record_queue(mp_ref queue) {
    return mp_arena_bytes(queue);
}

static inline side *mp_record_side(queue_shared *q, int which) {
    return &q->sides[which];
}

static inline uint64_t mp_record_commit(queue_shared *q, int which) {
    return atomic_load_explicit(&q->sides[which].commit, memory_order_acquire);
}

/* What a change on that side moves on: of a priority queue the sides are one. */
static inline uint64_t mp_record_version(queue_shared *q, int which) {
    return q->has_priorities ? mp_record_commit(q, MP_Q_TAIL) + mp_record_commit(q, MP_Q_HEAD)
                             : mp_record_commit(q, which);
}

static inline position *mp_record_state(queue_shared *q, int which) {
    return &q->sides[which].pos[mp_record_commit(q, which) & 1];
}

static inline uint64_t mp_record_count(queue_shared *q, int which) {
    return mp_record_commit(q, which) >> 1;
}

static inline segment *mp_record_segment(mp_ref at) {
    return mp_arena_at(at);
}

/*
** Takes the lock that guards a side, and mends what a dead owner left. A caller that does
** not wait gives its holder the moments that it needs. 0, -ETIMEDOUT, -EINTR.
*/
int mp_record_lock(mp_ref queue, int which, mp_time deadline, int may_end);
void mp_record_unlock(mp_ref queue, int which);

/* Both counts at one moment, and the bytes that a side has seen. */
uint64_t mp_record_n_items(queue_shared *q);
uint64_t mp_record_bytes(queue_shared *q, int which);
int mp_record_is_closed(queue_shared *q);
/* Whether somebody holds the end of a pipe. */
int mp_record_has_end(queue_shared *q, int which);

/*
** Waits for room for `len` bytes, for an item, or until all is done, and meanwhile sweeps
** the dead. 0, -ETIMEDOUT at the deadline, -EINTR.
*/
int mp_record_wait(mp_ref queue, enum mp_queue_wait what, uint64_t len, mp_time deadline);

/* A put of so many bytes found no room: that is what a watch for room is for. */
void mp_record_wants(uint64_t len);

/* After a change: wakes up to n of those who wait for it, and tells those who watch. */
void mp_record_tell(queue_shared *q, enum mp_queue_wait what, int n);

/* Takes all that is there, and frees it: the queue is over. */
void mp_record_drain(mp_ref queue);

#endif
