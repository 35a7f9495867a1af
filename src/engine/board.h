/*
** board.h: tasks from one process to many workers, and their ends back.
**
** A board has slots, each of which holds one task, or a batch of small ones (batch.h): first what
** it is given, then what it gave.
** The owner fills slots in, workers take the tasks, in the order in which they were put, and
** leave what comes of them in the same slot. A slot's state is one word, and it alone decides:
**
**   FREE     is the owner's
**   READY    a task, which a worker may begin, or the owner may take back; perhaps not this worker
**   RUNNING  has been begun, by the worker whose lane that is
**   DOOMED   so has this, but its end is not wanted any more: the worker does not get past it
**   DONE, FAILED  has ended there; what came of it is in the slot
**
** READY and RUNNING become something else by one compare-and-swap. So each task is begun once,
** whoever meets there, and of a dead worker is known what it had begun: nothing that it merely
** meant to do is lost, and nothing that it did is done again. And who kills a worker for what it
** runs has made sure before that it runs that and nothing else. All else is a hint, and may be
** wrong:
**
**   order    which slots to look at next. Workers take several places of it at once; a task whose
**            place was passed by is found by who has nothing to do and looks at all slots. So what
**            a worker took and comes late to is done by others, and so is what a dead one took
**   ring     of a lane: which slots have ended there. A dead one's are found by their state
**
** The owner keeps for itself which task is in which slot (`ledger`), so that nothing which a
** worker may damage says to whom a result belongs.
**
** Promise: a worker may be killed at any instruction. Each of its tasks has then been answered, or
** is known to be lost, or was not begun and is another's; memory that it had in hand comes back.
** When the owner dies, all goes with it.
**
** Bytes that do not fit into a slot lie in blocks: those of tasks and functions are on the board's
** list, those of results on their lane's. They are put there in the arena's guard as they are
** made, so none of them is ever on its way: what no slot names when a worker has died is freed.
**
**   put    P1 slot filled in, FREE yet          nothing has happened
**          P2 READY                             to be taken: found by a look at all slots
**          P3 in the order                      the same
**   take   T1 places of the order taken         others find the tasks by a look at all slots
**          T2 RUNNING                           begun: lost with the worker
**   finish F1 result's block made               lost: the block is freed, for no slot names it
**          F2 slot has the result               the same
**          F3 DONE or FAILED                    answered: found by its state
**          F4 in the ring                       answered
*/
#ifndef MP_ENGINE_BOARD_H
#define MP_ENGINE_BOARD_H

#include "engine/arena.h"
#include "engine/queue.h"
#include "engine/times.h"
#include "engine/watch.h"

enum {
    MP_BOARD_LANES = 4096, /* workers of a board, at most */
    MP_BOARD_SLOTS = 4096, /* tasks on it at once, at most */
    MP_BOARD_CALLS = 1024, /* functions that are kept for its tasks, at most */
    MP_BOARD_INLINE = 23,  /* bytes that a slot holds itself */
    MP_BOARD_WORDS = 1024, /* bytes that are kept of what a worker says on its standard error */
    MP_BOARD_NOT_KEPT = 0, /* a call: the task brings its function along */
};

/* What a worker is, as its lane says. */
enum mp_lane_state { MP_LANE_EMPTY = 0, MP_LANE_STARTS, MP_LANE_SERVES, MP_LANE_REFUSES };

/* How a task has ended; LOST: its worker died in it; and UNBEGUN: of a batch, to be put again. */
enum mp_task_end { MP_TASK_DONE = 1, MP_TASK_FAILED, MP_TASK_LOST, MP_TASK_UNBEGUN };

typedef struct mp_task {
    uint64_t index;    /* its number in its call, for its worker and for the owner */
    float limit;       /* seconds that it may run; 0: as long as it likes */
    uint32_t call;     /* of mp_board_keep, or MP_BOARD_NOT_KEPT */
    uint32_t attempt;  /* which run of it this is, from 1 on */
    uint32_t chunk;    /* how many such tasks a worker is to take at once; 0: as it sees fit */
    uint32_t excluded; /* lane + 1 of who is not to take it, if there is another; 0: none */
    uint32_t n;        /* of a batch: how many tasks, numbered on from `index`; 0: it is none */
} mp_task;

/* A task that has ended. */
typedef struct mp_ended {
    mp_task task; /* as it was put; of a batch, one of its own; or n that were not begun */
    enum mp_task_end end;
    uint32_t slot, lane;
    const char *bytes; /* what came of it */
    size_t len;
} mp_ended;

/* --- the owner's ------------------------------------------------------------ */

typedef struct mp_board mp_board;

/*
** Makes a board, which the calling process holds by *hold. It has no lanes yet. 0, or as
** mp_arena_alloc; -ENOMEM.
*/
int mp_board_make(mp_board **b, mp_ref *hold);
mp_ref mp_board_ref(const mp_board *b);
/* Forgets the owner's own part. In the owner, which drops its hold. */
void mp_board_forget(mp_board *b);

/*
** Makes a lane ready for a worker to come: a new one, or one that was buried. 0, or as
** mp_arena_alloc.
*/
int mp_board_open(mp_board *b, uint32_t lane);

/*
** Keeps a function for tasks to come: *call names it. 0, -EAGAIN: so many are kept
** already; or as mp_arena_alloc. And ends that; no task of it is on the board any more.
*/
int mp_board_keep(mp_board *b, const mp_record *function, uint32_t *call);
void mp_board_unkeep(mp_board *b, uint32_t call);

/* Puts a task: its slot, -EAGAIN: all are taken; or as mp_arena_alloc. Workers are told by tell. */
int mp_board_put(mp_board *b, const mp_task *task, const mp_record *record);
/*
** Puts a batch of task->n tasks: of each the length of its bytes, 4 bytes, and these; without bytes
** workers are given their numbers alone. goes_on: when one has failed, too. As mp_board_put.
*/
int mp_board_put_batch(mp_board *b, const mp_task *task, const char *bytes, uint32_t size,
                       int goes_on);
/*
** For a worker that has nothing to do where no task is left for it: takes a part of what another
** one has in a batch and has not begun away, to be put again: 1, and the tasks; or 0.
*/
int mp_board_split(mp_board *b, mp_task *rest);
/*
** The same for workers of another board, whatever they do here, where no task waits as a whole.
*/
int mp_board_halve(mp_board *b, mp_task *rest);
/* The task, or whole batch, that was put last of those that nobody has begun: its slot; -1: there
 * is none. It may be begun at any moment, unless mp_board_retract takes it back. */
int mp_board_last_ready(const mp_board *b, mp_task *task);

/* Wakes up to n workers, for tasks that were put. */
void mp_board_tell(mp_board *b, int n);

/* How many more tasks may be put, as far as places and the bytes of those that are there go. */
uint32_t mp_board_room(const mp_board *b);
/* How many slots are in use. */
uint32_t mp_board_n_tasks(const mp_board *b);

/* Takes a task back that has not been begun: 1, and its slot is free; or 0. */
int mp_board_retract(mp_board *b, uint32_t slot);
/*
** What the task in the slot is given, none of a batch: true, if it is taken back after that. Bytes
** that the slot holds itself go to `own`; *holds is those on the objects in a block, or NULL.
*/
const char *mp_board_given(const mp_board *b, uint32_t slot, char own[static MP_BOARD_INLINE],
                           size_t *len, const mp_list **holds);

/* Takes all tasks of a call back that have not been begun: how many. Not out of a batch that has.
 */
uint32_t mp_board_withdraw(mp_board *b, uint32_t call);

/* Whether any task of a call is on the board, in whichever state: its number is in use. */
int mp_board_has_tasks(const mp_board *b, uint32_t call);

/* How many tasks there are that nobody has begun. */
uint32_t mp_board_n_waiting(const mp_board *b);

/* How many tasks of a call have ended that mp_board_next has not given out, batches that run
 * included. */
uint32_t mp_board_n_unheard(const mp_board *b, uint32_t call);

/* The lane + 1 of the worker that runs the task in the slot; 0: none does. */
uint32_t mp_board_runner(const mp_board *b, uint32_t slot);

/*
** The same, and that worker does not begin another one: it is to be killed. 0: none runs it, or it
** has ended by now.
*/
uint32_t mp_board_doom(mp_board *b, uint32_t slot);
/* The same for the next slot from *slot on with a task of that call, which *slot is then. */
uint32_t mp_board_doom_call(mp_board *b, uint32_t call, uint32_t *slot);

/*
** The next task that has ended, and was not given out: 1, or 0. What came of it stays where it is
** until mp_board_release. A batch gives out its tasks one by one.
*/
int mp_board_next(mp_board *b, mp_ended *ended);
void mp_board_release(mp_board *b, uint32_t slot);

/*
** Waits until there is a next one, a lane's state has changed, or the look (50 ms) is over in
** which the caller is to look who has died. Workers tell of every `quota`-th end, and when they
** have nothing to do. 0; -ETIMEDOUT: after a look or at the deadline; -EINTR.
*/
int mp_board_wait(mp_board *b, uint32_t quota, mp_time deadline);
/* How long the owner has done that so far. */
mp_time mp_board_waited(const mp_board *b);

/* A descriptor that is readable when there is something for the owner to do (bell.c), or -errno. */
int mp_board_watch(mp_board *b);
/* The worker of the lane has that record of the family, until its owner closes it. */
void mp_board_employ(mp_board *b, uint32_t lane, uint32_t member);
/*
** The owner has done what there is, and will have something to do at that time; 0: not by itself;
** less: nothing that comes is wanted.
*/
void mp_board_plan(mp_board *b, mp_time due);

/*
** The same for one task: a descriptor that is readable when it has ended, or may have. It does
** not move, and is closed by mp_watch_close.
*/
typedef struct mp_task_watch {
    mp_watch watch;       /* zero at first */
    mp_board *board;      /* or NULL: there is none */
    _Atomic int32_t slot; /* -1: the task is not on the board */
    _Atomic int has_ended;
} mp_task_watch;
int mp_board_watch_task(mp_task_watch *t);

/* What the owner counts of a call, for its face; zero at first. */
typedef struct mp_call_count {
    uint64_t n_done;    /* results that went into the call's list, */
    uint64_t n_nil;     /* of which so many are nil */
    uint64_t n_arrived; /* indexes in the call's list of arrivals */
} mp_call_count;
mp_call_count *mp_board_count(mp_board *b, uint32_t call);

/* Lanes from there on were never opened. */
uint32_t mp_board_n_lanes(const mp_board *b);

/* What the worker of a lane is; the task that it runs, in which slot, and until when it may. */
typedef struct mp_at_work {
    mp_task task; /* attempt 0: it runs none */
    uint32_t slot;
    mp_time until; /* 0: as long as it likes */
} mp_at_work;
enum mp_lane_state mp_board_lane(const mp_board *b, uint32_t lane, mp_at_work *at_work);
/* How many tasks have ended there since the lane was opened. */
uint64_t mp_board_n_ended(const mp_board *b, uint32_t lane);
/* What the worker of a lane had begun, also if that does not get past it: whether there is such.
 * For one that is dead. */
int mp_board_lost(const mp_board *b, uint32_t lane, mp_at_work *at_work);

/* What the workers of the lane have spent their time on; NULL: it was never opened. */
mp_times *mp_board_times(const mp_board *b, uint32_t lane);
/* Tells the functions apart that have that call's number in turn: as mp_given has it. */
uint64_t mp_board_call_id(const mp_board *b, uint32_t call);
/* Bytes that it left when it refused to serve. */
const char *mp_board_refusal(const mp_board *b, uint32_t lane, size_t *len);

/* The last bytes that the worker of a lane has said (mp_board_say), at most MP_BOARD_WORDS: how
 * many. */
size_t mp_board_words(const mp_board *b, uint32_t lane, char words[static MP_BOARD_WORDS]);

/*
** The worker of that lane is dead, and was swept. What it had done is given out by mp_board_next,
** then what it had begun, as LOST; all of that before another one is buried.
*/
void mp_board_bury(mp_board *b, uint32_t lane);

/* Asks the worker of a lane to leave before it begins another task; all of them, when they find
 * none. */
void mp_board_dismiss(mp_board *b, uint32_t lane);
void mp_board_close(mp_board *b);

/* --- a worker's ------------------------------------------------------------- */

/* A task as its worker sees it. */
typedef struct mp_given {
    mp_task task;
    const char *bytes;
    size_t len;
    uint64_t call_id; /* tells the functions apart that had this call's number in turn */
    int is_batch;     /* its tasks are begun by mp_board_begin, and ended by mp_board_leave */
} mp_given;

/* The times of the worker that the calling process is to be. */
mp_times *mp_board_own_times(mp_ref board, uint32_t lane);

/*
** The calling process serves that lane from now on; or says that it will not, and why: 0, or as
** mp_arena_alloc, and it has not said so.
*/
void mp_board_serve(mp_ref board, uint32_t lane);
int mp_board_refuse(mp_ref board, uint32_t lane, const mp_record *why);

/*
** Begins a task, and waits for one: its slot, and what is in it. -EPIPE: it is to leave; -EINTR:
** there is a signal to be served.
*/
int mp_board_take(mp_given *given);

/* The bytes of a function that is kept. */
const char *mp_board_function(uint32_t call, size_t *len);

/* The calling process has written that to its standard error: kept for its owner, if it is a
 * worker. */
void mp_board_say(const char *bytes, size_t len);

/*
** The task in that slot has ended so. 0; as mp_arena_alloc: it is running still; -ECANCELED: the
** worker is to be killed for it, and may as well end.
*/
int mp_board_finish(uint32_t slot, enum mp_task_end end, const mp_record *record);

/*
** Begins the next task of the batch that was taken: 1, and what it is given; 0: there is no more
** for this worker, and mp_board_finish, without a record, ends the batch.
*/
int mp_board_begin(mp_given *given);
/* So has it ended: 0, or as mp_arena_alloc. Whether the next one may be begun is what `begin` says.
 */
int mp_board_leave(enum mp_task_end end, const mp_record *record);

#endif
