/*
** spans.h: which parts of the arena are in use.
**
** Memory is given out in spans of pages, and below that in slots of slabs. What is
** authoritative are the marks: one word for each span in the page map, one bit for
** each slot in its slab, each changed by a single store. Everything else (the lists of
** what is free, counts, the words at the ends of free spans) follows from the marks, and
** is made anew from them when somebody died while he changed it.
**
** The caller has the arena's guard, but for back and punch: these change memory alone,
** in a span that is the caller's.
**
** A span is backed when it has memory. Where there is none, touching it could kill, so
** only backed spans are given out.
*/
#ifndef MP_ENGINE_SPANS_H
#define MP_ENGINE_SPANS_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define MP_SPAN_PAGE 4096u
#define MP_SLOT_MIN 128u
enum { MP_SPAN_CLASSES = 5, MP_SPAN_BINS = 40 };
#define MP_SLOT_MAX (MP_SLOT_MIN << (MP_SPAN_CLASSES - 1))

typedef struct mp_spans {
    uint64_t map;                      /* offset of the page map */
    uint64_t first;                    /* offset of the first page */
    uint64_t n_pages;                  /* that there is room for */
    uint32_t bins[2][MP_SPAN_BINS];    /* free spans without and with memory, by size: page + 1 */
    uint32_t partial[MP_SPAN_CLASSES]; /* slabs with free slots: page + 1 */
    uint64_t n_backed;                 /* pages that have memory */
    uint64_t n_free;                   /* of these those in free spans */
} mp_spans;

/* Of `size` bytes of the mapping, from offset `start` on. */
void mp_spans_init(mp_spans *s, uint64_t start, uint64_t size);

/* Finds anew what follows from the marks. */
void mp_spans_rebuild(mp_spans *s);

/* Where a block of that size could be had, from backed memory; 0: there is none. Not marked yet. */
uint64_t mp_spans_find(mp_spans *s, size_t size);
/* Marks it as used. */
void mp_spans_take(mp_spans *s, uint64_t at, size_t size);

/* Marks what begins there as free. */
void mp_spans_give(mp_spans *s, uint64_t at, int has_memory);
int mp_spans_is_used(const mp_spans *s, uint64_t at);
/* Whether a block begins there, of any place that there might be: nothing is touched there. */
int mp_spans_is_block(const mp_spans *s, uint64_t at);
/* How many bytes it has. */
uint64_t mp_spans_size(const mp_spans *s, uint64_t at);

/*
** The same for a span of n pages without memory. mp_spans_back gives it some: 0 or
** -errno; then, or else, it is to be given.
*/
uint64_t mp_spans_find_bare(mp_spans *s, uint64_t n);
void mp_spans_take_bare(mp_spans *s, uint64_t at, uint64_t n);
int mp_spans_back(uint64_t at, uint64_t n);
void mp_spans_backed(mp_spans *s, uint64_t n); /* counts it */

/* The largest free span with memory, if it has n pages or more; or 0. */
uint64_t mp_spans_find_largest(const mp_spans *s, uint64_t n);

/* Gives the memory of a used span of that size back. */
void mp_spans_punch(uint64_t at, uint64_t size);

/* Calls f for each block in use. */
void mp_spans_each(const mp_spans *s, void (*f)(uint64_t at, uint64_t size, void *arg), void *arg);

#endif
