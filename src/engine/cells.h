/*
** cells.h: numbers of one type in shared memory: an object of the arena that is an array of
** them, or one value, or a buffer of bytes.
**
** Promise: an element is always whole. It is read and written by one access of its size, also in
** bulk, so a process that is killed in the middle leaves each element as it was or as it was to be,
** and nobody ever reads half of one. There is no lock, and nothing to mend.
**
** What is done to one element (load, store, add, cas) is atomic, and all processes see such
** operations in one order. What is done to many (bulk.c) is done element by element, in any order,
** and others see it happen. A bulk write is seen by who sees a later operation on an element.
**
** A value is an int64_t for integers (of uint64 its bits), a double for the others. One that the
** type cannot hold is refused: of integers what is out of range, of float a finite number beyond
** its greatest. Floats are rounded to the nearest one.
*/
#ifndef MP_ENGINE_CELLS_H
#define MP_ENGINE_CELLS_H

#include <math.h>

#include "engine/arena.h"

/* The order is known to C modules: include/luamp.h. */
enum mp_cell_type {
    MP_INT8,
    MP_UINT8,
    MP_INT16,
    MP_UINT16,
    MP_INT32,
    MP_UINT32,
    MP_INT64,
    MP_UINT64,
    MP_FLOAT,
    MP_DOUBLE,
    MP_CELL_TYPES
};

/* The C type of each, and the member of mp_cell that has its values. */
#define MP_EACH_CELL_TYPE(X)                                                                       \
    X(MP_INT8, int8_t, i)                                                                          \
    X(MP_UINT8, uint8_t, i)                                                                        \
    X(MP_INT16, int16_t, i)                                                                        \
    X(MP_UINT16, uint16_t, i)                                                                      \
    X(MP_INT32, int32_t, i)                                                                        \
    X(MP_UINT32, uint32_t, i)                                                                      \
    X(MP_INT64, int64_t, i)                                                                        \
    X(MP_UINT64, uint64_t, i)                                                                      \
    X(MP_FLOAT, float, d)                                                                          \
    X(MP_DOUBLE, double, d)

typedef union mp_cell {
    int64_t i;
    double d;
} mp_cell;

/* Never changes but in its elements. These begin a cache line of their own. */
typedef struct mp_cells {
    uint32_t type;
    uint64_t n;
    _Alignas(64) unsigned char bytes[];
} mp_cells;

/* A range: n elements from the first one, counted from 0. The caller has seen that it is there. */
typedef struct mp_range {
    uint64_t first, n;
} mp_range;

/*
** Makes n elements, all zero, as an object of that kind, which the calling process holds. 0, or as
** mp_arena_alloc.
*/
int mp_cells_make(enum mp_kind kind, enum mp_cell_type type, uint64_t n, mp_ref *object,
                  mp_ref *hold);

static inline mp_cells *mp_cells_of(mp_ref object) {
    return mp_arena_bytes(object);
}

const char *mp_cells_name(uint32_t type);
size_t mp_cells_size(uint32_t type); /* of an element, in bytes */

static inline int mp_cells_is_float(uint32_t type) {
    return type >= MP_FLOAT;
}

/* The range of an integer type as Lua's integers have it; uint64 has all of them. */
int64_t mp_cells_least(uint32_t type);
int64_t mp_cells_greatest(uint32_t type);

/* Whether the type can hold the value. The functions below expect it. */
int mp_cells_fits(uint32_t type, mp_cell value);
/* The value that an element has to which that one is stored. */
mp_cell mp_cells_rounded(uint32_t type, mp_cell value);
/* The bits of an element that has it; as many of the low ones count as the type has. */
uint64_t mp_cells_bits(uint32_t type, mp_cell value);

/* Whether two are equal: -0.0 is 0.0, and a NaN is any other, so that what was read is found again.
 */
static inline int mp_cells_is_same(uint32_t type, mp_cell a, mp_cell b) {
    if (!mp_cells_is_float(type))
        return a.i == b.i;
    return a.d == b.d || (isnan(a.d) && isnan(b.d));
}

/* --- one element, counted from 0 ---------------------------------------------------------------
 */

mp_cell mp_cells_load(const mp_cells *c, uint64_t at);
void mp_cells_store(mp_cells *c, uint64_t at, mp_cell value);

/*
** Adds, and tells what there is now. Of 64 bits it wraps around; else -ERANGE: the type could not
** hold the sum, and nothing has changed. `d` may be any number.
*/
int mp_cells_add(mp_cells *c, uint64_t at, mp_cell d, mp_cell *now);

/*
** Stores the new value if there is one that is the same as the expected one; whether it was so.
*/
int mp_cells_cas(mp_cells *c, uint64_t at, mp_cell expected, mp_cell value);

/* --- many: bulk.c ------------------------------------------------------------------------------
 */

#define MP_CELLS_NONE UINT64_MAX

void mp_cells_fill(mp_cells *c, mp_range r, mp_cell value);

/*
** Copies a range to where `at` begins in another array or the same one, where they may overlap.
** 0; or, between types, -ERANGE when the other one cannot hold the element at *bad, of the value
** *value: nothing is copied then, unless somebody changes what is copied meanwhile.
*/
int mp_cells_copy(mp_cells *to, uint64_t at, const mp_cells *from, mp_range r, uint64_t *bad,
                  mp_cell *value);

/* Integers wrap around at 64 bits. Floats are added in four strands, which then are added. */
mp_cell mp_cells_sum(const mp_cells *c, mp_range r);

/*
** The first of the least, or greatest, elements, with its value. A NaN is neither.
** MP_CELLS_NONE: there is none.
*/
uint64_t mp_cells_least_of(const mp_cells *c, mp_range r, mp_cell *value);
uint64_t mp_cells_greatest_of(const mp_cells *c, mp_range r, mp_cell *value);

/* The first one that is the same as the value, or MP_CELLS_NONE. */
uint64_t mp_cells_find(const mp_cells *c, mp_range r, mp_cell value);

/*
** Puts the range in rising order, NaNs last: what it was at the beginning of the call, whatever
** others write meanwhile. 0, or -ENOMEM: it takes 16 bytes for each element.
*/
int mp_cells_sort(mp_cells *c, mp_range r);

#endif
