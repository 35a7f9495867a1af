/*
** table.c: the making and the end of tables; the rules and the steps stand in table.h.
*/
#include "engine/table.h"

#include <errno.h>
#include <string.h>

#include "engine/page.h"

int mp_table_make(uint64_t n_slots, mp_ref *block) {
    if (n_slots > SIZE_MAX / 4 / sizeof(uint64_t))
        return -ENOMEM;
    const size_t size = sizeof(table) + n_slots * sizeof(uint64_t);
    int rc = mp_arena_alloc(size, MP_KIND_BYTES, mp_arena_hands(), block);
    if (rc < 0)
        return rc;
    table *t = mp_arena_bytes(*block);
    memset((void *)t, 0, size); /* a large block comes as it is */
    t->n_slots = n_slots;
    return 0;
}

/* Nobody else has it: it is in hand, or was in those of a dead one. */
static void end(mp_ref block) {
    table *t = mp_arena_bytes(block);
    for (uint64_t i = 0; i < t->n_slots; i++) {
        const mp_ref entry = mp_table_ref(t, i);
        if (entry == 0)
            continue;
        mp_arena_move(MP_NOTE_OUT, block, i, entry, 0);
        mp_fault("table.free.E1");
        atomic_store_explicit(&t->slots[i], 0, memory_order_release);
        mp_fault("table.free.E2");
        mp_arena_moved(MP_NOTE_OUT);
        mp_arena_free(mp_arena_hands(), entry);
    }
}

void mp_table_end(mp_ref block) {
    end(block);
    mp_arena_free(mp_arena_hands(), block);
}

static void settle(mp_note *note, int direction) {
    (void)direction;
    const int is_there = mp_table_ref(mp_arena_bytes(note->place), note->commit) == note->blocks[0];
    note->fate = is_there ? MP_FATE_LEFT : MP_FATE_FREED;
}

static const mp_kind_class class = {.end = end, .settle = settle};

__attribute__((constructor)) static void open_class(void) {
    mp_arena_classes[MP_KIND_TABLE] = &class;
}
