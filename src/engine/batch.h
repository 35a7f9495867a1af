/*
** batch.h: many small tasks of one call in one slot of a board (board.h).
**
** A batch has items, numbered on from its slot's index. Who has begun it begins them one after the
** other, and leaves the results one behind the other. One word, `claims`, says which item comes
** next and where the batch ends; the worker moves the one on, the owner the other back, each by
** one atomic step. So each item is begun once, the owner can give the rest of a batch to others
** who have nothing to do, and of a dead worker is known what it had done, what it had begun, and
** what not:
**
**   begin  K1 claims moved on              begun: lost with the worker
**   leave  K2 result written               the same
**          K3 counted                      answered
**
** The owner moves them back, and dies with all.
**
** A worker that stops early (an item has failed, or it is to be replaced) ends the batch as done:
** what it has not begun is put again, too.
*/
#ifndef MP_ENGINE_BATCH_H
#define MP_ENGINE_BATCH_H

#include "engine/lane.h"

typedef struct batch {
    _Atomic uint64_t claims; /* which comes next, and in the upper half: where they end */
    _Atomic uint32_t n_done; /* items with a result */
    uint32_t size;           /* bytes of the items; 0: they are their numbers */
    uint32_t goes_on;        /* after an item has failed */
    _Atomic mp_ref out;      /* block with the results, on the worker's list; 0: behind the items */
    char bytes[];            /* of each item: length, bytes */
} batch;

/* Of a slot that has one. */
static inline batch *mp_batch_of(const slot *s) {
    return s->len == MP_LANE_BATCH ? mp_arena_bytes(s->in) : NULL;
}

/* How many items there were begun, and where they end, at one moment. */
typedef struct mp_claims {
    uint32_t begun, end;
} mp_claims;
mp_claims mp_batch_claims(batch *b);

/* Fills a slot in with n items in so many bytes. 0, or as mp_arena_alloc. */
int mp_batch_fill(slot *s, mp_list *list, const char *bytes, uint32_t size, uint32_t n,
                  int goes_on);

/* Takes the later half of what was not begun away: how many items, from *first on, which end the
 * batch. */
uint32_t mp_batch_shrink(batch *b, uint32_t *first);

/* --- a worker's: the batch that it is in ------------------------------------ */

/* Enters the batch of a slot that it has begun; its results go to blocks on that list. */
void mp_batch_enter(slot *s, mp_list *results);
/* Begins the next item, which is filled in: 1; 0: there is none, or one has failed and that is
 * enough. */
int mp_batch_begin(mp_given *given);
/* Leaves what came of it. 0, or as mp_arena_alloc. */
int mp_batch_leave(const mp_record *record, int has_failed);

/* --- results ---------------------------------------------------------------- */

/* A result: its bytes, and the block in which they lie, or 0. */
typedef struct mp_result {
    const char *bytes;
    size_t len;
    mp_ref block;
    int has_failed;
} mp_result;

/* What is read of a batch that has ended, or whose worker has died. */
typedef struct mp_batch_reader {
    batch *batch; /* or NULL */
    uint32_t i, n_done;
    mp_claims claims;
    size_t at; /* of the next result */
    mp_result result;
} mp_batch_reader;
void mp_batch_read(mp_batch_reader *r, batch *b, int is_lost);
/* How the next item, r->i before, has ended, with its result; UNBEGUN: that and the others; 0: that
 * was all. */
enum mp_task_end mp_batch_next(mp_batch_reader *r);

#endif
