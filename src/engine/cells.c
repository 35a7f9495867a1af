/*
** cells.c: numbers in shared memory, one at a time; the rules stand in cells.h.
*/
#include "engine/cells.h"

#include <errno.h>
#include <float.h>
#include <string.h>

_Static_assert(offsetof(mp_cells, bytes) == 64, "elements begin a cache line");
_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "elements are atomic by themselves");

/* --- types ---------------------------------------------------------------- */

static const struct {
    const char *name;
    size_t size;
    int64_t least, greatest;
} types[MP_CELL_TYPES] = {
    [MP_INT8] = {"int8", 1, INT8_MIN, INT8_MAX},
    [MP_UINT8] = {"uint8", 1, 0, UINT8_MAX},
    [MP_INT16] = {"int16", 2, INT16_MIN, INT16_MAX},
    [MP_UINT16] = {"uint16", 2, 0, UINT16_MAX},
    [MP_INT32] = {"int32", 4, INT32_MIN, INT32_MAX},
    [MP_UINT32] = {"uint32", 4, 0, UINT32_MAX},
    [MP_INT64] = {"int64", 8, INT64_MIN, INT64_MAX},
    [MP_UINT64] = {"uint64", 8, INT64_MIN, INT64_MAX},
    [MP_FLOAT] = {"float", sizeof(float), 0, 0},
    [MP_DOUBLE] = {"double", sizeof(double), 0, 0},
};

const char *mp_cells_name(uint32_t type) {
    return types[type].name;
}

size_t mp_cells_size(uint32_t type) {
    return types[type].size;
}

int64_t mp_cells_least(uint32_t type) {
    return types[type].least;
}

int64_t mp_cells_greatest(uint32_t type) {
    return types[type].greatest;
}

int mp_cells_fits(uint32_t type, mp_cell value) {
    if (!mp_cells_is_float(type))
        return value.i >= types[type].least && value.i <= types[type].greatest;
    return type == MP_DOUBLE || isinf((float)value.d) == isinf(value.d);
}

mp_cell mp_cells_rounded(uint32_t type, mp_cell value) {
    if (type == MP_FLOAT)
        value.d = (double)(float)value.d;
    return value;
}

/* --- making --------------------------------------------------------------- */

int mp_cells_make(enum mp_kind kind, enum mp_cell_type type, uint64_t n, mp_ref *object,
                  mp_ref *hold) {
    int rc = mp_arena_open();
    if (rc == 0 && n > (SIZE_MAX / 4) / types[type].size)
        rc = -ENOMEM;
    if (rc < 0)
        return rc;
    const size_t len = n * types[type].size;
    rc = mp_arena_alloc(sizeof(mp_cells) + len, kind, mp_arena_hands(), object);
    if (rc < 0)
        return rc;
    mp_cells *c = mp_cells_of(*object);
    c->type = type;
    c->n = n;
    memset(c->bytes, 0, len);
    rc = mp_arena_hold(mp_arena_holds(), *object, hold);
    if (rc < 0)
        mp_arena_free(mp_arena_hands(), *object);
    else
        mp_arena_unlink(mp_arena_hands(), *object);
    return rc;
}

/* --- values and bits ------------------------------------------------------ */

static mp_cell value_of(uint32_t type, uint64_t bits) {
    const uint32_t low = (uint32_t)bits;
    mp_cell value = {.i = (int64_t)bits};
    float f;
    switch (type) {
    case MP_INT8:
        value.i = (int8_t)bits;
        break;
    case MP_INT16:
        value.i = (int16_t)bits;
        break;
    case MP_INT32:
        value.i = (int32_t)bits;
        break;
    case MP_FLOAT:
        memcpy(&f, &low, sizeof f);
        value.d = (double)f;
        break;
    default: /* the bits are the value */
        break;
    }
    return value;
}

uint64_t mp_cells_bits(uint32_t type, mp_cell value) {
    if (type != MP_FLOAT)
        return (uint64_t)value.i;
    const float f = (float)value.d;
    uint32_t low;
    memcpy(&low, &f, sizeof low);
    return low;
}

static uint64_t bits_at(const mp_cells *c, uint64_t at) {
    switch (types[c->type].size) {
    case 1:
        return __atomic_load_n((const uint8_t *)c->bytes + at, __ATOMIC_SEQ_CST);
    case 2:
        return __atomic_load_n((const uint16_t *)c->bytes + at, __ATOMIC_SEQ_CST);
    case 4:
        return __atomic_load_n((const uint32_t *)c->bytes + at, __ATOMIC_SEQ_CST);
    default:
        return __atomic_load_n((const uint64_t *)c->bytes + at, __ATOMIC_SEQ_CST);
    }
}

/* If the element has these bits, it gets the others; whether it had. */
static int swap(mp_cells *c, uint64_t at, uint64_t old, uint64_t bits) {
    switch (types[c->type].size) {
#define SWAP(T)                                                                                    \
    {                                                                                              \
        T expected = (T)old;                                                                       \
        return __atomic_compare_exchange_n((T *)c->bytes + at, &expected, (T)bits, 0,              \
                                           __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);                    \
    }
    case 1:
        SWAP(uint8_t)
    case 2:
        SWAP(uint16_t)
    case 4:
        SWAP(uint32_t)
    default:
        SWAP(uint64_t)
#undef SWAP
    }
}

/* --- one element ---------------------------------------------------------- */

mp_cell mp_cells_load(const mp_cells *c, uint64_t at) {
    return value_of(c->type, bits_at(c, at));
}

void mp_cells_store(mp_cells *c, uint64_t at, mp_cell value) {
    const uint64_t bits = mp_cells_bits(c->type, value);
    switch (types[c->type].size) {
    case 1:
        __atomic_store_n((uint8_t *)c->bytes + at, (uint8_t)bits, __ATOMIC_SEQ_CST);
        break;
    case 2:
        __atomic_store_n((uint16_t *)c->bytes + at, (uint16_t)bits, __ATOMIC_SEQ_CST);
        break;
    case 4:
        __atomic_store_n((uint32_t *)c->bytes + at, (uint32_t)bits, __ATOMIC_SEQ_CST);
        break;
    default:
        __atomic_store_n((uint64_t *)c->bytes + at, bits, __ATOMIC_SEQ_CST);
        break;
    }
}

/* What both make together, or -ERANGE. */
static int add(uint32_t type, mp_cell a, mp_cell b, mp_cell *both) {
    if (mp_cells_is_float(type))
        both->d = a.d + b.d;
    else if (__builtin_add_overflow(a.i, b.i, &both->i))
        return -ERANGE;
    return mp_cells_fits(type, *both) ? 0 : -ERANGE;
}

int mp_cells_add(mp_cells *c, uint64_t at, mp_cell d, mp_cell *now) {
    if (c->type == MP_INT64 || c->type == MP_UINT64) {
        uint64_t *place = (uint64_t *)c->bytes + at;
        now->i = (int64_t)__atomic_add_fetch(place, (uint64_t)d.i, __ATOMIC_SEQ_CST);
        return 0;
    }
    uint64_t old, bits;
    do {
        old = bits_at(c, at);
        const int rc = add(c->type, value_of(c->type, old), d, now);
        if (rc < 0)
            return rc;
        bits = mp_cells_bits(c->type, *now);
    } while (!swap(c, at, old, bits));
    *now = value_of(c->type, bits);
    return 0;
}

int mp_cells_cas(mp_cells *c, uint64_t at, mp_cell expected, mp_cell value) {
    const mp_cell wanted = mp_cells_rounded(c->type, expected);
    const uint64_t bits = mp_cells_bits(c->type, value);
    uint64_t old;
    do {
        old = bits_at(c, at);
        if (!mp_cells_is_same(c->type, value_of(c->type, old), wanted))
            return 0;
    } while (!swap(c, at, old, bits));
    return 1;
}
