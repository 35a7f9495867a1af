/*
** table.h: words of which some are places of entries, in a block: what dicts and lists consist of.
**
** A table that ends takes its entries along. While it is grown, two tables have the same entries:
** the kind of their blocks says whose they are, MP_KIND_TABLE, or MP_KIND_BYTES for the one that is
** not part of a structure, or is to be so no more. Who mends a structure whose lock's owner died
** gives its table the first.
**
** The entries go one by one, so a death leaves the others:
**
**   free  E1 entry noted                 the table has it
**         E2 slot cleared                it is freed; who ends the table goes on with the next
*/
#ifndef MP_ENGINE_TABLE_H
#define MP_ENGINE_TABLE_H

#include "engine/arena.h"

enum { MP_TABLE_LEAST = 8 }; /* slots */

/* The bits of a word that are a place, if it is one; of others the lowest of them are not 0. */
#define MP_TABLE_REF ((UINT64_C(1) << 48) - 1)
#define MP_TABLE_MARK UINT64_C(63)

typedef struct table {
    uint64_t n_slots;
    _Atomic uint64_t span; /* of a list: which of them are in use */
    _Atomic uint64_t slots[];
} table;

static inline mp_ref mp_table_of(uint64_t word) {
    return (word & MP_TABLE_MARK) != 0 ? 0 : word & MP_TABLE_REF;
}

static inline mp_ref mp_table_ref(const table *t, uint64_t slot) {
    return mp_table_of(atomic_load_explicit(&t->slots[slot], memory_order_relaxed));
}

/* An empty table in hand, of kind MP_KIND_BYTES. 0, or as mp_arena_alloc. */
int mp_table_make(uint64_t n_slots, mp_ref *block);

/* Ends a table in hand, with its entries. */
void mp_table_end(mp_ref block);

#endif
