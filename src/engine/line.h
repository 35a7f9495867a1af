/*
** line.h: processes that wait at an object, in the order in which they came.
**
** Who waits is the hold of its process: it has a number, and leads to those before and behind
** it. A line is changed with what else its object changes (change.h), in the lock, and needs no
** memory. Each process waits at a gate in its own hold, so whose turn it is can be woken alone.
** A dead one is taken out of the line by the sweep, before its hold goes.
**
** `first` is the number of the first one, or 0, for those who look without the lock.
*/
#ifndef MP_ENGINE_LINE_H
#define MP_ENGINE_LINE_H

#include "engine/change.h"

typedef struct mp_line {
    mp_word head, tail; /* holds; 0: nobody waits */
    mp_word first;
    mp_word n; /* how many wait */
} mp_line;

static inline mp_hold *mp_line_hold(mp_ref hold) {
    return mp_arena_bytes(hold);
}

/* In the lock, as parts of a change: comes last with that number; leaves, wherever it stands. */
void mp_line_join(mp_change *c, mp_line *line, mp_ref hold, uint64_t number);
void mp_line_leave(mp_change *c, mp_line *line, mp_ref hold);

#endif
