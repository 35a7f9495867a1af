/*
** queue.h: records between processes, first in, first out.
**
** Any number of processes put, any number get. The records lie one after the other in
** a chain of segments; a short one lies there itself, a long one, or one that holds
** objects, is a block of its own whose place is written there. Putters share one lock
** and getters another, so that a putter and a getter do not meet but at the counters.
**
** Promise: a process killed at any instruction leaves the queue whole. A record is in it
** or not; what a getter had taken goes with it, and nothing else does; nobody waits for
** ever for what the dead one would have done.
**
** Each side's state is a position and a count. It is there twice, and one word, `commit`,
** says which one holds, together with the count: state = pos[commit & 1], count = commit >> 1.
** So a change is one store, which the dead one has done or not, and no position needs repair.
**
**   put   P1 blocks say that they move in     not in the queue: freed with the putter's hand
**         P2 records written behind the end   the same: nobody reads there
**         P3 the other position filled in     the same
**         P4 commit stored                    they are in the queue, and in hand: found out
**                                             from the commit that the blocks have noted
**         P5 blocks out of hand               they are in the queue
**         P6 lock released                    the same; nobody was woken: who waits looks
**                                             itself, at most 50 ms later
**   get   G1 blocks noted, moving out         still in the queue
**         G2 bytes copied, hold noted         the same
**         G3 the other position filled in     the same
**         G4 commit stored                    taken: they go with the getter
**         G5 blocks no longer moving          the same
**         G6 lock released                    the same
**
** Who takes a lock whose owner has died settles first what that had moving there
** (`recover`), before the commit goes on: for after that nobody could tell.
**
** task_done and join count items of which a getter said that it was done with them. A hold
** counts what its process has taken and done; what it leaves undone when it ends or drops its
** handle counts as done, and is told once as abandoned. These counts are changed in steps that
** the next owner of the getters' lock does over (`doing`):
**
**   done  D1 counts worked out                nothing has happened
**         D2 their change begins              is done now
*/
#ifndef MP_ENGINE_QUEUE_H
#define MP_ENGINE_QUEUE_H

#include <sys/uio.h>

#include "engine/arena.h"

/* A record to be put: bytes in pieces, and the objects that it holds. */
typedef struct mp_record {
    const struct iovec *pieces;
    int n_pieces;
    size_t len;
    const mp_ref *objects;
    size_t n_objects;
    long double priority; /* of a priority queue: exact for integers and floats of 64 bits */
    int is_alone; /* what its getter does with it may fail: nothing else is to be lost with it */
} mp_record;

/* One that was taken: its bytes, and the block in hand in which they lie, or 0. */
typedef struct mp_taken {
    const char *bytes;
    size_t len;
    mp_ref block;
} mp_taken;

/* What one waits for at a queue. */
enum mp_queue_wait { MP_QUEUE_PUT, MP_QUEUE_GET = MP_AWAIT, MP_QUEUE_JOIN, MP_QUEUE_WAITS };

enum {
    MP_QUEUE_INLINE = 2048, /* bytes of a record that lies in the queue itself, at most */
    MP_QUEUE_BATCH = 64     /* records that are taken at once, at most */
};

/*
** Makes a queue, which the calling process holds. max_items and max_bytes bound it (0:
** memory alone does). 0, or as mp_arena_alloc.
*/
int mp_queue_make(int has_priorities, uint64_t max_items, uint64_t max_bytes, mp_ref *queue,
                  mp_ref *hold);

/*
** Prepares a record for the queue: what is long becomes a block in hand, *block, or 0. To
** be put, or freed. 0, or as mp_arena_alloc.
*/
int mp_queue_wrap(const mp_record *record, int has_priorities, mp_ref *block);

/*
** Puts n records, all with the block that mp_queue_wrap has made for them, or as many as
** there is room for until the deadline. Returns how many (the blocks of the others are
** still in hand); -ETIMEDOUT: none; -EPIPE: it is closed; -EINTR: none, there is a signal;
** or as mp_arena_alloc.
*/
int mp_queue_put(mp_ref queue, const mp_record *records, const mp_ref *blocks, int n,
                 mp_time deadline);

/*
** Takes up to max records (of MP_QUEUE_BATCH), and waits for the first one only. Short
** ones are copied to `room`, of which there must be MP_QUEUE_INLINE bytes; what does not
** fit is not taken. A record that is to be taken alone ends what is taken before it; `is_more`:
** so does it when others were taken by calls before. `hold` is the process's. Returns how many;
** -ETIMEDOUT; -EPIPE: it is closed and empty; -EINTR.
*/
int mp_queue_take(mp_ref queue, mp_ref hold, mp_taken *taken, int max, int is_more, char *room,
                  size_t size, mp_time deadline);

/* Items in it, and whether a put would wait. */
uint64_t mp_queue_len(mp_ref queue);
int mp_queue_is_full(mp_ref queue);
uint64_t mp_queue_max(mp_ref queue);
int mp_queue_has_priorities(mp_ref queue);

/* Whether it would not wait: there is room for something; an item, or none will come; all is done.
 */
int mp_queue_is_ready(mp_ref queue, int what);
/* This process has looked for an item: what it watches is up to date. */
void mp_queue_look(mp_ref queue);

/* Nothing more goes in; getters drain it. */
void mp_queue_close(mp_ref queue);
int mp_queue_is_closed(mp_ref queue);

/* One item more is done. 0, or -EINVAL: no more were taken. */
int mp_queue_done(mp_ref queue, mp_ref hold);

/* Waits until all are done. 0; 1: some were abandoned, which is told once; -ETIMEDOUT; -EINTR. */
int mp_queue_join(mp_ref queue, mp_time deadline);

/*
** For pipes: the ends whose holders write it and read it. It counts as closed when nobody
** holds the one or the other. 0: any process may.
*/
void mp_queue_set_ends(mp_ref queue, mp_ref writer, mp_ref reader);
/* Whoever waits for something looks again. */
void mp_queue_tell(mp_ref queue);
/* The end that waits there to put or to get; 0: it is no pipe's, or that is over. */
mp_ref mp_queue_end(mp_ref queue, enum mp_queue_wait what);
/* That end is over. The queue is closed before. */
void mp_queue_forget_end(mp_ref queue, mp_ref end);

#endif
