/*
** region.h: the addresses that the heap (heap.h) takes memory from, and the spans in them.
**
** One reservation for good, of 64 GiB or as many as `ulimit -v` leaves room for, none of
** which is memory: what a process uses is opened in order, next to what is open already
** and with the same rights, so that it stays few mappings to be copied by a fork.
**
**   | table | inherited ... | small | spans ->        reserved |
**
** `small` is for a process's first megabytes: it is handed out byte by byte, in pages of
** 4 KiB, since a process that stays small must not pay for a page of 2 MiB. Spans are units
** of 16 KiB, each known to the table: so nothing is written into free memory, and none of
** what a parent has is written to by a child, which takes both of its zones from what comes
** after (mp_region_fork).
**
** Spans past their first megabytes lie in huge pages, of which a fork copies one entry and
** not 512, if these are warm: the first touch of one is timed. One that the host below a
** virtual machine has to find first takes ten times as long as small pages do, so then the
** next 32 MiB are small pages, and after them it is tried again.
**
** Free spans join with free neighbours. They stay in memory, for a heap that was large will
** be again; but a span of 32 MiB or more goes back to the kernel at once, and all of them do
** after most of the heap has been free for 10 s, in a wait or as soon as another one is freed.
*/
#ifndef MP_ENGINE_REGION_H
#define MP_ENGINE_REGION_H

#include <stddef.h>
#include <stdint.h>

#include "engine/sys.h"

#define MP_REGION_UNIT ((size_t)16 * 1024)

/*
** An entry of the table: of a span's first unit, and what the heap keeps there about a chunk
** of blocks. Only `first` counts in the units after it.
*/
typedef struct mp_unit {
    uint32_t n;          /* units of the span; also in the last unit of a free one */
    uint32_t first;      /* chunks: how many units before this one the chunk begins */
    uint32_t next, prev; /* the heap's, or of the list of free spans; an index, or 0 */
    void *free;          /* chunks: freed blocks */
    uint16_t live;       /* chunks: blocks in use */
    uint16_t carved;     /* chunks: blocks that have been in use ever */
    uint8_t class;
    uint8_t state; /* MP_UNIT_FREE, or a state of the heap's above it */
} mp_unit;

enum { MP_UNIT_FREE = 1, MP_UNIT_SPAN, MP_UNIT_STATES };

/* Part of the region: bytes from `begin` to `top` are in use, as far as `open` may be. */
typedef struct mp_zone {
    char *begin, *top, *open, *end;
} mp_zone;

/* region.c's own to write to; here for what is asked at each block. */
typedef struct mp_region {
    char *base, *end; /* base: of unit 0, the table, aligned to a huge page */
    mp_unit *table;
    mp_zone small, spans;
} mp_region;

extern mp_region mp_region_is;

/* Whether a block is of the region; and whether of a zone of this process's own. */
static inline int mp_region_has(const void *block) {
    return (const char *)block >= mp_region_is.base && (const char *)block < mp_region_is.end;
}

static inline int mp_region_is_in(const mp_zone *zone, const void *block) {
    return (const char *)block >= zone->begin && (const char *)block < zone->end;
}

static inline int mp_region_has_span(const void *block) {
    return mp_region_is_in(&mp_region_is.spans, block);
}

static inline int mp_region_has_small(const void *block) {
    return mp_region_is_in(&mp_region_is.small, block);
}

/* The entry of the unit that the block begins in. */
static inline mp_unit *mp_region_unit(const void *block) {
    return &mp_region_is.table[(size_t)((const char *)block - mp_region_is.base) / MP_REGION_UNIT];
}

static inline mp_unit *mp_region_entry(uint32_t index) {
    return &mp_region_is.table[index];
}

static inline uint32_t mp_region_index(const mp_unit *unit) {
    return (uint32_t)(unit - mp_region_is.table);
}

static inline char *mp_region_address(const mp_unit *unit) {
    return mp_region_is.base + (size_t)mp_region_index(unit) * MP_REGION_UNIT;
}

/* Whether this process has outgrown its first megabytes, or begun with spans for another reason. */
static inline int mp_region_has_spans(void) {
    return mp_region_is.spans.top > mp_region_is.spans.begin;
}

/* Reserves. Once, at the first use; 0 if there are no addresses. */
int mp_region_open(void);

/* Bytes from the small zone, a multiple of 16; NULL when it is used up. */
void *mp_region_small(size_t size);

/* A span of n units, or NULL: no memory, or no addresses. Its entry says MP_UNIT_SPAN. */
void *mp_region_take(size_t n);
void mp_region_give(void *span);

/* Makes a span longer or shorter where it is; 0 if it cannot be. */
int mp_region_resize(void *span, size_t n);

/* Calls it for the first unit of each span, free ones included. */
void mp_region_each(void (*f)(const mp_unit *unit, void *arg), void *arg);

/* In a forked child: all so far is inherited, and never touched by what comes. */
void mp_region_fork(void);

/* A moment to give back what has been free for long. Returns when the next one is of use. */
mp_time mp_region_breathe(void);

typedef struct mp_region_usage {
    uint64_t held;      /* bytes that this process has taken from the kernel and not given back */
    uint64_t inherited; /* bytes of its parents', at most, that it began with */
    uint64_t small;     /* bytes of `held` that the small zone has handed out */
} mp_region_usage;

void mp_region_count(mp_region_usage *usage);

/*
** How many bytes of what this process inherited are no longer shared with anybody: copied
** since, by this process or by all others that had them. -1 if the kernel does not tell.
*/
int64_t mp_region_dirtied(void);

#endif
