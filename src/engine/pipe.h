/*
** pipe.h: two ends, and between them a queue each way.
**
** An end is an object of its own, and its holds say who holds it. When nobody does, the
** queue that it wrote counts as closed (the other end drains it, and meets the end), and so
** does the one that it read (the other end's writing fails). A message on its way is a
** holder; a process that has inherited an end by fork is none before it uses it.
**
** An end holds its queues. They know their ends, but hold none.
*/
#ifndef MP_ENGINE_PIPE_H
#define MP_ENGINE_PIPE_H

#include "engine/arena.h"

enum { MP_PIPE_UNREAD = 1 << 20 }; /* bytes, from which on a sender waits */

/* Which of an end's queues: the one that it writes, and the one that it reads. */
enum { MP_END_WRITES, MP_END_READS };

/*
** Makes a pipe, whose ends the calling process holds. Of one that goes one way, the first
** end reads, and the second writes. 0, or as mp_arena_alloc.
*/
int mp_pipe_make(int is_duplex, mp_ref ends[2], mp_ref holds[2]);

/* The queues of an end; 0 where it has none. */
void mp_pipe_queues(mp_ref end, mp_ref queues[2]);

#endif
