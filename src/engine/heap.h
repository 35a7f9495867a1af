/*
** heap.h: memory for Lua states, cheap to fork.
**
** Why not malloc: it keeps its lists inside the blocks, all over the heap, so
** a forked child that allocates a little writes to many of its parent's pages,
** and each of these is copied (2 us a page). Here small blocks have no headers,
** since Lua tells the old size; they lie close together in the order of their
** making; and a child takes only fresh pages and never writes to an inherited
** block that it frees: what it would gain is shared with its parent anyway.
**
** Blocks of up to 2048 bytes come from size classes in one reserved region
** (64 GiB of addresses, or as many as `ulimit -v` leaves room for); larger
** ones, and all when the region is used up, from the state's own allocator. An
** address tells where a block came from, so a state may change over to this
** allocator at any time. The region is for the thread that adopts it; on others
** (a library may make states there, with the allocator of ours) the state's own
** allocator does all.
**
** Under a sanitizer, which must see every block, all is left to the other one.
*/
#ifndef MP_ENGINE_HEAP_H
#define MP_ENGINE_HEAP_H

#include <stddef.h>

/* An allocator, of the shape that Lua gives it: old and new size in bytes. */
typedef void *(*mp_heap_function)(void *data, void *block, size_t old_size, size_t size);

/*
** Takes over from a state's own allocator, which goes on to serve what is
** large. Returns 0 if it serves a state with another one already: then the
** state is to keep its own.
*/
int mp_heap_adopt(mp_heap_function own, void *data);

/* The allocator. Returns NULL when there is no memory, never when a block shrinks. */
void *mp_heap_alloc(void *unused, void *block, size_t old_size, size_t size);

/* In a forked child: from here on only fresh pages are written to. */
void mp_heap_fork(void);

#endif
