/*
** bulk.c: many numbers at once; the rules stand in cells.h.
**
** Elements of one byte are moved by the system's memmove, which may move them one by one, and so
** may not have larger ones: where the kernel kills in the middle of its `rep movsb`, half of an
** element would be new. Those are moved in words, or vectors of words, which is as fast; if the two
** places lie differently to a word, one by one.
*/
#include "engine/cells.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/budget.h"

enum { WORD = 8, VECTORS = 4, BLOCK = VECTORS * 2 * WORD };

typedef uint64_t vector __attribute__((vector_size(2 * WORD), aligned(WORD), may_alias));

/* The thread sanitizer takes an access to a vector for one that may be torn. */
#define BY_VECTORS __attribute__((no_sanitize("thread")))

static unsigned char *place(const mp_cells *c, uint64_t at) {
    return (unsigned char *)(uintptr_t)c->bytes + at * mp_cells_size(c->type);
}

/* --- moving --------------------------------------------------------------- */

static void move_one(unsigned char *to, const unsigned char *from, size_t size) {
    switch (size) {
    case 2:
        __atomic_store_n((uint16_t *)to, __atomic_load_n((const uint16_t *)from, __ATOMIC_RELAXED),
                         __ATOMIC_RELAXED);
        break;
    case 4:
        __atomic_store_n((uint32_t *)to, __atomic_load_n((const uint32_t *)from, __ATOMIC_RELAXED),
                         __ATOMIC_RELAXED);
        break;
    default:
        __atomic_store_n((uint64_t *)to, __atomic_load_n((const uint64_t *)from, __ATOMIC_RELAXED),
                         __ATOMIC_RELAXED);
        break;
    }
}

BY_VECTORS static void move_block(unsigned char *to, const unsigned char *from) {
    vector v[VECTORS];
    for (int i = 0; i < VECTORS; i++)
        v[i] = ((const vector *)from)[i];
    for (int i = 0; i < VECTORS; i++)
        ((vector *)to)[i] = v[i];
}

/* The unit in which the rest can be moved; `size` while a word is not reached, or never is. */
static size_t unit_of(uintptr_t at, size_t left, size_t size, int is_aligned) {
    if (!is_aligned || at % WORD != 0 || left < WORD)
        return size;
    return left < BLOCK ? WORD : BLOCK;
}

static void move(unsigned char *to, const unsigned char *from, size_t unit) {
    if (unit == BLOCK)
        move_block(to, from);
    else
        move_one(to, from, unit);
}

/* Whole blocks, upward. In `rep movsq` each step, between two of which one may be killed, is a
 * word. */
static void move_blocks(unsigned char *to, const unsigned char *from, size_t len) {
#if defined(__x86_64__)
    size_t n = len / WORD;
    __asm__ volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
#else
    for (size_t done = 0; done < len; done += BLOCK)
        move_block(to + done, from + done);
#endif
}

static void move_up(unsigned char *to, const unsigned char *from, size_t len, size_t size) {
    const int is_aligned = ((uintptr_t)to - (uintptr_t)from) % WORD == 0;
    for (size_t done = 0, unit; done < len; done += unit) {
        unit = unit_of((uintptr_t)to + done, len - done, size, is_aligned);
        if (unit == BLOCK) {
            unit = (len - done) / BLOCK * BLOCK;
            move_blocks(to + done, from + done, unit);
        } else {
            move_one(to + done, from + done, unit);
        }
    }
}

/* From the end, for what would be overwritten before it was read. */
static void move_down(unsigned char *to, const unsigned char *from, size_t len, size_t size) {
    const int is_aligned = ((uintptr_t)to - (uintptr_t)from) % WORD == 0;
    for (size_t left = len, unit; left > 0; left -= unit) {
        unit = unit_of((uintptr_t)to + left, left, size, is_aligned);
        move(to + left - unit, from + left - unit, unit);
    }
}

static void move_all(unsigned char *to, const unsigned char *from, size_t len, size_t size) {
    if (size == 1)
        memmove(to, from, len);
    else if ((uintptr_t)to - (uintptr_t)from >= len)
        move_up(to, from, len, size);
    else
        move_down(to, from, len, size);
}

/* --- filling and copying -------------------------------------------------- */

void mp_cells_fill(mp_cells *c, mp_range r, mp_cell value) {
    const size_t size = mp_cells_size(c->type), len = r.n * size;
    unsigned char *to = place(c, r.first);
    _Alignas(WORD) unsigned char pattern[BLOCK];
    const uint64_t bits = mp_cells_bits(c->type, value);
    if (size == 1) {
        memset(to, (int)(bits & UINT8_MAX), len);
        return;
    }
    for (size_t i = 0; i < BLOCK; i += size)
        memcpy(pattern + i, &bits, size);
    for (size_t done = 0, unit; done < len; done += unit) {
        unit = unit_of((uintptr_t)to + done, len - done, size, 1);
        move(to + done, pattern, unit);
    }
}

/* Whether what one type holds is held by the other in the same way. */
static int is_alike(uint32_t a, uint32_t b) {
    const int are_words = !mp_cells_is_float(a) && !mp_cells_is_float(b) && mp_cells_size(a) == 8;
    return a == b || (are_words && mp_cells_size(b) == 8);
}

/* The value as the other kind of type has it. 0, or -ERANGE: none is equal to it. */
static int convert(uint32_t from, uint32_t to, mp_cell *value) {
    const double limit = 0x1p63;
    if (mp_cells_is_float(from) && !mp_cells_is_float(to)) {
        const double d = value->d;
        if (!(d >= -limit && d < limit) || d != floor(d))
            return -ERANGE;
        value->i = (int64_t)d;
    } else if (!mp_cells_is_float(from) && mp_cells_is_float(to)) {
        const int64_t i = value->i;
        value->d = (double)i;
    }
    return mp_cells_fits(to, *value) ? 0 : -ERANGE;
}

/* Converts all, and stores them if it is told to. */
static int convert_all(mp_cells *to, uint64_t at, const mp_cells *from, mp_range r, int stores,
                       uint64_t *bad, mp_cell *value) {
    for (uint64_t i = 0; i < r.n; i++) {
        mp_cell converted = *value = mp_cells_load(from, r.first + i);
        *bad = r.first + i;
        if (convert(from->type, to->type, &converted) < 0)
            return -ERANGE;
        if (stores)
            mp_cells_store(to, at + i, converted);
    }
    return 0;
}

int mp_cells_copy(mp_cells *to, uint64_t at, const mp_cells *from, mp_range r, uint64_t *bad,
                  mp_cell *value) {
    const size_t size = mp_cells_size(to->type);
    if (is_alike(to->type, from->type)) {
        move_all(place(to, at), place(from, r.first), r.n * size, size);
        return 0;
    }
    const int rc = convert_all(to, at, from, r, 0, bad, value);
    return rc < 0 ? rc : convert_all(to, at, from, r, 1, bad, value);
}

/* --- looking -------------------------------------------------------------- */

/* With `x` the value of element i of the range, as the type has it. */
#define EACH(T, do)                                                                                \
    for (uint64_t i = 0; i < r.n; i++) {                                                           \
        T x;                                                                                       \
        __atomic_load((const T *)c->bytes + r.first + i, &x, __ATOMIC_RELAXED);                    \
        do                                                                                         \
            ;                                                                                      \
    }

mp_cell mp_cells_sum(const mp_cells *c, mp_range r) {
    uint64_t sum = 0;
    double strands[4] = {0};
    switch (c->type) {
#define ADD_i(x) sum += (uint64_t)(x)
#define ADD_d(x) strands[i % 4] += (double)(x)
#define SUM(type, T, field)                                                                        \
    case type:                                                                                     \
        EACH(T, ADD_##field(x))                                                                    \
        break;
        MP_EACH_CELL_TYPE(SUM)
    default:
        break;
    }
    if (!mp_cells_is_float(c->type))
        return (mp_cell){.i = (int64_t)sum};
    return (mp_cell){.d = strands[0] + strands[1] + (strands[2] + strands[3])};
}

/* The first one that nothing is before in that order. */
#define EXTREME(name, order)                                                                       \
    uint64_t name(const mp_cells *c, mp_range r, mp_cell *value) {                                 \
        uint64_t at = MP_CELLS_NONE;                                                               \
        switch (c->type) {                                                                         \
            MP_EACH_CELL_TYPE(order)                                                               \
        default:                                                                                   \
            break;                                                                                 \
        }                                                                                          \
        return at == MP_CELLS_NONE ? at : r.first + at;                                            \
    }
#define IS_NAN_i(x) 0
#define IS_NAN_d(x) isnan(x)
#define BEST(type, T, field, is_better)                                                            \
    case type: {                                                                                   \
        T best = 0;                                                                                \
        EACH(                                                                                      \
            T, if (!IS_NAN_##field(x) && (at == MP_CELLS_NONE || x is_better best)) {              \
                best = x;                                                                          \
                at = i;                                                                            \
            })                                                                                     \
        value->field = (__typeof__(value->field))best;                                             \
        break;                                                                                     \
    }
#define LEAST(type, T, field) BEST(type, T, field, <)
#define GREATEST(type, T, field) BEST(type, T, field, >)

EXTREME(mp_cells_least_of, LEAST)
EXTREME(mp_cells_greatest_of, GREATEST)

uint64_t mp_cells_find(const mp_cells *c, mp_range r, mp_cell value) {
    const mp_cell wanted = mp_cells_rounded(c->type, value);
    mp_cell here = {.i = 0};
    switch (c->type) {
#define FIND(type, T, field)                                                                       \
    case type:                                                                                     \
        EACH(T, here.field = (__typeof__(here.field))x;                                            \
             if (mp_cells_is_same(type, here, wanted)) return r.first + i)                         \
        break;
        MP_EACH_CELL_TYPE(FIND)
    default:
        break;
    }
    return MP_CELLS_NONE;
}

/* --- sorting -------------------------------------------------------------- */

/*
** By radix: a value is turned into a key, an unsigned number in the same order. The range is
** changed at the end only, element by element, so that one that is killed before has done nothing.
*/
enum { DIGIT = 8, DIGITS = 1 << DIGIT, TOP = 63 };

static uint64_t key_of(uint32_t type, mp_cell value) {
    const uint64_t bits = (uint64_t)value.i, sign = 1ULL << TOP;
    if (type == MP_UINT64)
        return bits;
    if (!mp_cells_is_float(type))
        return bits ^ sign;
    if (isnan(value.d))
        return UINT64_MAX;
    return bits & sign ? ~bits : bits | sign;
}

static mp_cell value_of(uint32_t type, uint64_t key) {
    const uint64_t sign = 1ULL << TOP;
    uint64_t bits = key;
    if (mp_cells_is_float(type))
        bits = key & sign ? key ^ sign : ~key;
    else if (type != MP_UINT64)
        bits = key ^ sign;
    return (mp_cell){.i = (int64_t)bits};
}

/* Puts the keys in the order of one digit, into `to`; or returns 0: they are, all have the same. */
static int sort_by(const uint64_t *from, uint64_t *to, uint64_t n, int shift) {
    uint64_t starts[DIGITS + 1] = {0};
    for (uint64_t i = 0; i < n; i++)
        starts[(from[i] >> shift) % DIGITS + 1]++;
    if (starts[(from[0] >> shift) % DIGITS + 1] == n)
        return 0;
    for (int i = 1; i < DIGITS; i++)
        starts[i] += starts[i - 1];
    for (uint64_t i = 0; i < n; i++)
        to[starts[(from[i] >> shift) % DIGITS]++] = from[i];
    return 1;
}

int mp_cells_sort(mp_cells *c, mp_range r) {
    if (r.n < 2)
        return 0;
    const uint64_t len = 2 * r.n * sizeof(uint64_t);
    uint64_t *keys = mp_budget_left() < (int64_t)len ? NULL : malloc(len);
    if (keys == NULL)
        return -ENOMEM;
    uint64_t *from = keys, *to = keys + r.n;
    for (uint64_t i = 0; i < r.n; i++)
        from[i] = key_of(c->type, mp_cells_load(c, r.first + i));
    for (int shift = 0; shift <= TOP; shift += DIGIT)
        if (sort_by(from, to, r.n, shift)) {
            uint64_t *sorted = to;
            to = from;
            from = sorted;
        }
    for (uint64_t i = 0; i < r.n; i++)
        mp_cells_store(c, r.first + i, value_of(c->type, from[i]));
    free(keys);
    return 0;
}
