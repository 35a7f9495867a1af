/*
** times.h: what a worker spends its time on, and its slowest tasks.
**
** A worker is always about one thing: it counts the time of that when it turns to the next, by one
** look at the clock. What it is about now, and since when, stands there too; so its owner knows to
** the moment what the time went into, also of a task that is running. The counts go on when another
** worker comes in its place, and they outlive both: they lie in the lane (lane.h).
**
**   field            who writes                                      who reads
**   all              its worker; the owner, before one comes and     owner, at any time
**                    after it is dead
**
** Invariants:
**   I1  `since` is stored before the count of what has ended (T): who reads the count first and
**       then `since` never counts a stretch twice
**   I2  a slow task's `turn` is odd while it is being written: then, and when it has moved on, what
**       was read is no such task
**
** A worker that damages its counts harms nobody: they are figures and nothing hangs on them.
*/
#ifndef MP_ENGINE_TIMES_H
#define MP_ENGINE_TIMES_H

#include <stdatomic.h>

#include "engine/sys.h"

/* What a worker is about. WAITS: it has no task, looks for one, or hands in what came of one. */
enum mp_doing { MP_IS_GONE = 0, MP_STARTS, MP_INITS, MP_WAITS, MP_WORKS, MP_SENDS, MP_N_DOING };

enum { MP_TIMES_SLOWEST = 5, MP_TIMES_INPUT = 96 };

/* A task that took long. */
typedef struct mp_slow {
    mp_time took, began;
    uint64_t call_id, index;
    uint32_t attempt;
    char input[MP_TIMES_INPUT]; /* a text of what it was given, with a 0 */
} mp_slow;

typedef struct mp_times {
    _Alignas(64) _Atomic uint32_t doing;
    _Atomic int64_t since;
    _Atomic int64_t spent[MP_N_DOING];
    _Atomic uint64_t n_tasks;
    _Atomic uint64_t n_given, n_returned; /* bytes */
    _Atomic int64_t delayed;              /* of those that have left: nanoseconds without a CPU */
    struct {
        _Atomic uint32_t turn;
        mp_slow task;
    } slowest[MP_TIMES_SLOWEST];
} mp_times;

/* --- a worker's, which has said by `begin` that these are its own ------------ */

void mp_times_begin(mp_times *t);
/* It turns to that. */
void mp_times_turn(enum mp_doing next);
/* The same, unless it is about that already: then the clock is not looked at. */
void mp_times_turn_once(enum mp_doing next);

/* A task begins with what its function is given. */
void mp_times_begin_task(size_t n_given);
/* It ends, and the worker turns to that: how long it took, if that is worth a note; or 0. */
mp_time mp_times_end_task(enum mp_doing next);
/* Bytes that it was given besides, and that it gave. */
void mp_times_given(size_t n);
void mp_times_returned(size_t n);
/* Notes it; `task->began` is filled in. */
void mp_times_note(mp_slow *task);

/* It leaves by itself. */
void mp_times_leave(void);

/* --- the owner's ------------------------------------------------------------ */

/* The worker of these is about that from now on: one is started, or has died. */
void mp_times_set(mp_times *t, enum mp_doing next);
/* A task has taken its worker with it. */
void mp_times_note_lost(mp_times *t, mp_slow *task);

/* The counts, with what goes on just now. */
typedef struct mp_spent {
    mp_time of[MP_N_DOING];
    enum mp_doing doing;
    mp_time since;
    uint64_t n_tasks, n_given, n_returned;
    mp_time delayed;
} mp_spent;
void mp_times_read(const mp_times *t, mp_time now, mp_spent *spent);

/* The i-th of those that took long, in no order: whether there is one. */
int mp_times_slow(const mp_times *t, int i, mp_slow *task);

#endif
