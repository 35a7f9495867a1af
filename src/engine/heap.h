/*
** heap.h: memory for Lua states, cheap to fork.
**
** Why not malloc: it keeps its lists inside the blocks, all over the heap, so
** a forked child that allocates a little writes to many of its parent's pages,
** and each of these is copied (2 us a page); and what it has is in small pages, of
** which a fork copies an entry each (36 ms for a GiB). Here blocks have no headers,
** since Lua tells the old size; what is known of them lies in a table apart (region.h); and a
** child takes only fresh pages and never writes to an inherited block that it frees: what it
** would gain is shared with its parent anyway. The parent goes on with its own, holes and all.
**
** The first megabytes are small blocks, of up to 2048 bytes, in the order of their making; larger
** ones come from the state's own allocator, but for those of 128 KiB and more. Later all
** blocks come from spans: those of up to 32 KiB from chunks for one size class each,
** larger ones have a span of their own. A chunk that has come to be empty is free
** for any class, and memory that stays free goes back to the kernel.
**
** When the region is used up, or a limit leaves it no memory, the state's own allocator is
** asked. An address tells where a block came from, so a state may change over to this
** allocator at any time. The region is for the thread that adopts it; on others
** (a library may make states there, with the allocator of ours) the state's own
** allocator does all.
**
** Under a sanitizer, which must see every block, and in a build with LUAMP_HEAP=OFF, for
** valgrind and the like, all is left to the other one.
*/
#ifndef MP_ENGINE_HEAP_H
#define MP_ENGINE_HEAP_H

#include <stddef.h>
#include <stdint.h>

#include "engine/sys.h"

/* An allocator, of the shape that Lua gives it: old and new size in bytes. */
typedef void *(*mp_heap_function)(void *data, void *block, size_t old_size, size_t size);

/*
** Takes over from a state's own allocator, which goes on to serve what the region does
** not. Returns 0 if it serves a state with another one already, or on another thread: then the
** state is to keep its own.
*/
int mp_heap_adopt(mp_heap_function own, void *data);

/* The allocator. Returns NULL when there is no memory, never when a block shrinks. */
void *mp_heap_alloc(void *unused, void *block, size_t old_size, size_t size);

/* In a forked child: from here on only fresh pages are written to. */
void mp_heap_fork(void);

/*
** A moment at which time does not matter, as before a wait: memory that has been free for long may
** go back. Returns the time of the next one that is of use, or MP_FOREVER: when more is freed.
*/
mp_time mp_heap_breathe(void);

/* What this process has in the region; bytes. */
typedef struct mp_heap_usage {
    uint64_t used;      /* in blocks that it has made itself */
    uint64_t held;      /* taken from the kernel for them */
    uint64_t inherited; /* of its parents' */
    int64_t dirtied;    /* of those, no longer shared with anybody; -1: the kernel does not tell */
} mp_heap_usage;

void mp_heap_count(mp_heap_usage *usage);

#endif
