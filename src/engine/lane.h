/*
** lane.h: the state of a board (board.h), for the rooms that keep it.
**
** board.c is the owner's side, lane.c the workers'. A worker writes to its lane, to the slots
** whose tasks it has begun, and takes places of the order; the owner writes the rest.
*/
#ifndef MP_ENGINE_LANE_H
#define MP_ENGINE_LANE_H

#include "engine/board.h"
#include "engine/gate.h"
#include "engine/watch.h"

/*
** A slot's state: one of these, and MP_STATES times a lane (of READY: one more than who is not to
** take it, or 0); of READY, and of its place in the order, MP_TURN times a number that tells the
** tasks apart that had the slot in turn. GIVEN: the owner reads what came of it.
*/
enum {
    MP_SLOT_FREE = 0,
    MP_SLOT_READY,
    MP_SLOT_RUNNING,
    MP_SLOT_DOOMED,
    MP_SLOT_DONE,
    MP_SLOT_FAILED,
    MP_SLOT_GIVEN
};
enum { MP_STATES = 8, MP_TURN = 1 << 16 };
enum { MP_LANE_BATCH = 255 }; /* a slot's length: `in` has a batch (batch.h) */

static inline uint32_t mp_lane_kind(uint32_t state) {
    return state % MP_STATES;
}

static inline uint32_t mp_lane_of(uint32_t state) {
    return state % MP_TURN / MP_STATES;
}

typedef struct slot {
    _Alignas(64) _Atomic uint32_t state;
    uint16_t call, chunk;
    uint64_t index;
    mp_ref in, out; /* blocks with what it is given, and with what came of it; 0: see `bytes` */
    uint32_t attempt;
    float limit; /* seconds; 0: none */
    uint8_t len; /* of `bytes` */
    char bytes[MP_BOARD_INLINE];
} slot;

typedef struct lane_shared {
    _Alignas(64) _Atomic uint64_t n_ended; /* tasks, in the ring */
    _Atomic uint32_t state;
    _Atomic uint32_t running; /* slot + 1 */
    _Atomic int64_t until;    /* when that is to have ended, if it has a limit */
    _Atomic uint32_t is_dismissed;
    _Atomic uint32_t ahead;      /* places that it has taken and not come to */
    _Atomic uint32_t is_looking; /* for work, awake: see mp_lane_wake */
    mp_list blocks;              /* what came of its tasks, where that is long */
    mp_ref refusal;              /* why it does not serve, one of these blocks */
    uint64_t refusal_len;
    _Atomic uint64_t n_said; /* bytes so far; the last of them are in `said`, a ring */
    mp_times times;          /* of all workers that the lane has had */
    _Alignas(64) uint16_t ring[MP_BOARD_SLOTS];
    char said[MP_BOARD_WORDS];
} lane_shared;

typedef struct kept_call {
    mp_ref block;
    uint64_t len;
    uint64_t id;
} kept_call;

/* What is behind `calls` is zero only as far as it was used. */
typedef struct board_shared {
    _Alignas(64) _Atomic uint64_t head;
    _Alignas(64) _Atomic uint64_t tail;
    _Atomic uint64_t passed_by; /* moves on when all slots are to be looked at */
    _Atomic uint32_t n_slots;   /* slots from here on were never used */
    _Atomic uint32_t n_lanes;
    uint32_t n_calls;
    _Atomic uint32_t is_closed;
    _Atomic uint32_t quota; /* ends of which each worker tells the owner once */
    _Atomic uint32_t n_serving;
    _Alignas(64) mp_gate work;
    _Alignas(64) mp_gate news;
    _Atomic uint64_t changes;     /* of what lanes are */
    _Atomic uint32_t told, heard; /* for the watch */
    mp_watch watch;
    _Alignas(64) mp_list parts; /* lanes, functions, and what tasks are given */
    kept_call calls[MP_BOARD_CALLS];
    mp_ref lanes[MP_BOARD_LANES];
    _Atomic uint32_t order[MP_BOARD_SLOTS]; /* slots, and MP_TURN times their turns */
    slot slots[MP_BOARD_SLOTS];
} board_shared;

/*
** There are n tasks more: wakes workers, unless so many look for work already. Who takes some and
** leaves others wakes the next one.
*/
void mp_lane_wake(board_shared *b, int n);

/* A block on that list with the record's bytes and holds on its objects. 0, or as mp_arena_alloc.
 */
int mp_lane_wrap(mp_list *list, const mp_record *record, mp_ref *block);
void mp_lane_gather(char *to, const mp_record *record);

/* What the block has, or else the slot. */
const char *mp_lane_bytes(const slot *s, mp_ref block, size_t *len);

#endif
