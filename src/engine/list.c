/*
** list.c: lists of values; the rules and the steps stand in list.h.
*/
#include "engine/list.h"

#include <errno.h>

#include "engine/family.h"
#include "engine/lock.h"
#include "engine/page.h"
#include "engine/table.h"

/* What the lowest bits of an item say that is no entry. */
enum { SMALL = 1, FALSE, TRUE, KIND = 7, SHIFT = 3 };

typedef struct list_shared {
    mp_lock lock;
    _Atomic mp_ref table; /* there is one as soon as there was an item */
} list_shared;

#define SMALL_END (INT64_C(1) << (63 - SHIFT))

/* A part of a table's slots. */
typedef struct span {
    uint64_t first, count;
} span;

static list_shared *list_of(mp_ref list) {
    return mp_arena_bytes(list);
}

static table *table_of(const list_shared *l) {
    const mp_ref t = atomic_load_explicit(&l->table, memory_order_relaxed);
    return t == 0 ? NULL : mp_arena_bytes(t);
}

static span span_of(const table *t) {
    const uint64_t word = t == NULL ? 0 : atomic_load_explicit(&t->span, memory_order_relaxed);
    return (span){word >> 32, word & UINT32_MAX};
}

static void set_span(table *t, uint64_t first, uint64_t count) {
    atomic_store_explicit(&t->span, first << 32 | count, memory_order_release);
}

static void set_slot(table *t, uint64_t slot, mp_item item) {
    atomic_store_explicit(&t->slots[slot], item, memory_order_release);
}

static mp_item item_at(const table *t, uint64_t slot) {
    return atomic_load_explicit(&t->slots[slot], memory_order_relaxed);
}

/* --- items ---------------------------------------------------------------- */

int mp_list_wrap(const mp_value *v, mp_item *item) {
    const int64_t integer = (int64_t)v->word;
    if (v->type == MP_VALUE_BOOLEAN) {
        *item = v->word != 0 ? TRUE : FALSE;
        return 0;
    }
    if (v->type == MP_VALUE_INTEGER && integer >= -SMALL_END && integer < SMALL_END) {
        *item = v->word << SHIFT | SMALL;
        return 0;
    }
    return mp_value_make(sizeof(mp_stored), v, item);
}

mp_ref mp_list_entry(mp_item item) {
    return (item & KIND) == 0 ? item : 0;
}

mp_value mp_list_word(mp_item item) {
    if ((item & KIND) == SMALL)
        return (mp_value){.type = MP_VALUE_INTEGER, .word = (uint64_t)((int64_t)item >> SHIFT)};
    return (mp_value){.type = MP_VALUE_BOOLEAN, .word = item == TRUE};
}

/* --- after a death -------------------------------------------------------- */

static int has(const list_shared *l, mp_ref block) {
    const table *t = table_of(l);
    const span s = span_of(t);
    if (mp_arena_block(block)->kind != MP_KIND_ENTRY)
        return atomic_load_explicit(&l->table, memory_order_relaxed) == block;
    for (uint64_t i = 0; i < s.count; i++)
        if (item_at(t, s.first + i) == block)
            return 1;
    return 0;
}

static void settle_note(mp_ref list, uint32_t dead, int direction) {
    mp_note *note = mp_arena_note_of(dead, direction);
    if (atomic_load_explicit(&note->place, memory_order_acquire) != list ||
        note->fate != MP_FATE_UNKNOWN)
        return;
    note->fate = has(list_of(list), note->blocks[0]) ? MP_FATE_LEFT : MP_FATE_FREED;
}

static void recover(mp_ref list, uint32_t dead) {
    list_shared *l = list_of(list);
    table *t = table_of(l);
    const span s = span_of(t);
    if (t != NULL)
        mp_arena_block(l->table)->kind = MP_KIND_TABLE; /* also if it is the one before */
    settle_note(list, dead, MP_NOTE_IN);
    settle_note(list, dead, MP_NOTE_OUT);
    for (uint64_t i = 0; t != NULL && i < t->n_slots; i++)
        if (i < s.first || i >= s.first + s.count)
            set_slot(t, i, 0);
}

static void lock(mp_ref list) {
    uint32_t dead;
    mp_lock *l = &list_of(list)->lock;
    if (mp_lock_take(l, mp_page_self, MP_FOREVER, 0, &dead) == 1) {
        if (dead != MP_NOBODY)
            recover(list, dead);
        mp_lock_mended(l, mp_page_self);
    }
}

static void unlock(mp_ref list) {
    mp_lock_give(&list_of(list)->lock);
}

/* --- changes at a place ----------------------------------------------------- */

static void note(int direction, mp_ref list, mp_ref block, mp_ref other) {
    if (block != 0 || other != 0)
        mp_arena_move(direction, list, 0, block != 0 ? block : other, block != 0 ? other : 0);
}

static void noted(int direction, mp_ref block) {
    if (block != 0)
        mp_arena_moved(direction);
}

/* The item takes the place of what is in that slot of the list, which the caller has then. */
static mp_item replace(mp_ref list, table *t, uint64_t slot, mp_item item) {
    const mp_item old = item_at(t, slot);
    const mp_ref in = mp_list_entry(item), out = mp_list_entry(old);
    note(MP_NOTE_OUT, list, out, 0);
    note(MP_NOTE_IN, list, in, 0);
    mp_fault("list.put.P1");
    set_slot(t, slot, item);
    mp_fault("list.put.P2");
    noted(MP_NOTE_IN, in);
    noted(MP_NOTE_OUT, out);
    mp_fault("list.put.P4");
    return old;
}

/* The item goes into a slot next to the span, which it belongs to then. */
static void extend(mp_ref list, table *t, uint64_t slot, mp_item item) {
    const span s = span_of(t);
    const mp_ref in = mp_list_entry(item);
    note(MP_NOTE_IN, list, in, 0);
    mp_fault("list.put.P1");
    set_slot(t, slot, item);
    mp_fault("list.put.P2");
    set_span(t, slot < s.first ? slot : s.first, s.count + 1);
    mp_fault("list.put.P3");
    noted(MP_NOTE_IN, in);
    mp_fault("list.put.P4");
}

/* The first item, or the last one, goes; the caller has it. */
static mp_item shorten(mp_ref list, table *t, uint64_t slot) {
    const span s = span_of(t);
    const mp_item item = item_at(t, slot);
    const mp_ref out = mp_list_entry(item);
    note(MP_NOTE_OUT, list, out, 0);
    mp_fault("list.take.T1");
    set_span(t, slot == s.first ? s.first + 1 : s.first, s.count - 1);
    mp_fault("list.take.T2");
    set_slot(t, slot, 0);
    mp_fault("list.take.T3");
    noted(MP_NOTE_OUT, out);
    mp_fault("list.take.T4");
    return item;
}

/* --- other tables ----------------------------------------------------------- */

/* What is to be different in another table: an item more before position `at`, or one less there.
 */
typedef struct difference {
    uint64_t at;
    mp_item more; /* 0: none */
    int is_less;
} difference;

/* Writes the items, with that difference, from slot `first` on. Returns how many. */
static uint64_t fill(table *to, uint64_t first, const table *from, const difference *x) {
    const span s = span_of(from);
    uint64_t n = 0;
    for (uint64_t i = 0; i <= s.count; i++) {
        if (i == x->at && x->more != 0)
            set_slot(to, first + n++, x->more);
        if (i < s.count && !(i == x->at && x->is_less))
            set_slot(to, first + n++, item_at(from, s.first + i));
    }
    return n;
}

/*
** The list goes on with the table in that block, in which it begins at `first`. The table
** before is in hand, to be freed without its items: *old, or 0.
*/
static void move(mp_ref list, mp_ref block, uint64_t first, const difference *x, mp_ref *old) {
    list_shared *l = list_of(list);
    table *t = table_of(l), *to = mp_arena_bytes(block);
    *old = l->table;
    set_span(to, first, fill(to, first, t, x));
    if (*old != 0)
        mp_arena_block(*old)->kind = MP_KIND_BYTES;
    const mp_ref out = x->is_less ? mp_list_entry(item_at(t, span_of(t).first + x->at)) : 0;
    note(MP_NOTE_OUT, list, *old, out);
    note(MP_NOTE_IN, list, block, mp_list_entry(x->more));
    mp_fault("list.move.M1");
    atomic_store_explicit(&l->table, block, memory_order_release);
    mp_fault("list.move.M2");
    mp_arena_block(block)->kind = MP_KIND_TABLE;
    mp_arena_moved(MP_NOTE_IN);
    noted(MP_NOTE_OUT, *old);
    mp_fault("list.move.M3");
}

static const difference nothing = {UINT64_MAX, 0, 0};

static uint64_t n_slots_for(uint64_t n) {
    uint64_t slots = MP_TABLE_LEAST;
    while (slots < 2 * n)
        slots *= 2;
    return slots;
}

/* A change that may need another table, and has one before the lock is taken: in hand. */
typedef struct change {
    mp_ref list, spare, old;
} change;

/* In the lock: whether the spare table has so many slots; else, without it, -EAGAIN or why not. */
static int need_table(change *c, uint64_t n_slots) {
    if (n_slots > UINT32_MAX)
        n_slots = UINT64_MAX; /* there is no memory for that */
    if (c->spare != 0 && ((const table *)mp_arena_bytes(c->spare))->n_slots >= n_slots)
        return 0;
    unlock(c->list);
    if (c->spare != 0)
        mp_arena_free(mp_arena_hands(), c->spare);
    c->spare = 0;
    int rc = mp_table_make(n_slots, &c->spare);
    return rc < 0 ? rc : -EAGAIN;
}

/* The list goes on with the spare table. */
static void use_spare(change *c, uint64_t first, const difference *x) {
    move(c->list, c->spare, first, x, &c->old);
    c->spare = 0;
}

static int finish(change *c, int rc) {
    if (c->spare != 0)
        mp_arena_free(mp_arena_hands(), c->spare);
    if (c->old != 0)
        mp_arena_free(mp_arena_hands(), c->old);
    return rc;
}

/* In the lock: whether there is room for n more at the end; else as need_table. */
static int need_room(change *c, uint64_t n) {
    const table *t = table_of(list_of(c->list));
    const span s = span_of(t);
    if (t != NULL && s.first + s.count + n <= t->n_slots)
        return 0;
    int rc = need_table(c, n_slots_for(s.count + n));
    if (rc == 0)
        use_spare(c, 0, &nothing);
    return rc;
}

static void append(mp_ref list, mp_item item) {
    table *t = table_of(list_of(list));
    extend(list, t, span_of(t).first + span_of(t).count, item);
}

int mp_list_append(mp_ref list, const mp_item *items, size_t n) {
    change c = {.list = list};
    int rc;
    do {
        lock(list);
        rc = n == 0 ? 0 : need_room(&c, n);
    } while (rc == -EAGAIN);
    if (rc < 0)
        return finish(&c, rc);
    for (size_t i = 0; i < n; i++)
        append(list, items[i]);
    unlock(list);
    return finish(&c, 0);
}

/* One try, in the lock, which is given back unless this returns 0. *old: what was there. */
static int put_at(change *c, int64_t i, mp_item item, mp_item *old) {
    table *t = table_of(list_of(c->list));
    const span s = span_of(t);
    if (i < 1 || (uint64_t)i > s.count + 1) {
        unlock(c->list);
        return -ERANGE;
    }
    if ((uint64_t)i <= s.count) {
        *old = replace(c->list, t, s.first + (uint64_t)i - 1, item);
        return 0;
    }
    int rc = need_room(c, 1);
    if (rc == 0)
        append(c->list, item);
    return rc;
}

int mp_list_put(mp_ref list, int64_t i, mp_item item) {
    change c = {.list = list};
    mp_item old = SMALL;
    int rc;
    do {
        lock(list);
        rc = put_at(&c, i, item, &old);
    } while (rc == -EAGAIN);
    if (rc == 0)
        unlock(list);
    if (mp_list_entry(old) != 0)
        mp_arena_free(mp_arena_hands(), mp_list_entry(old));
    return finish(&c, rc);
}

/* Before the first one, where there may be room, or else in the middle. */
static int insert_before(change *c, uint64_t at, mp_item item) {
    table *t = table_of(list_of(c->list));
    const span s = span_of(t);
    const difference x = {at, item, 0};
    if (at == 0 && s.first > 0) {
        extend(c->list, t, s.first - 1, item);
        return 0;
    }
    const uint64_t n_slots = n_slots_for(s.count + 1);
    int rc = need_table(c, n_slots);
    if (rc == 0)
        use_spare(c, at == 0 ? (n_slots - s.count - 1) / 2 : 0, &x);
    return rc;
}

static int insert_at(change *c, int64_t i, mp_item item) {
    const uint64_t count = span_of(table_of(list_of(c->list))).count;
    const uint64_t at = i == 0 ? count : (uint64_t)i - 1;
    if (i < 0 || at > count) {
        unlock(c->list);
        return -ERANGE;
    }
    if (at < count)
        return insert_before(c, at, item);
    int rc = need_room(c, 1);
    if (rc == 0)
        append(c->list, item);
    return rc;
}

int mp_list_insert(mp_ref list, int64_t i, mp_item item) {
    change c = {.list = list};
    int rc;
    do {
        lock(list);
        rc = insert_at(&c, i, item);
    } while (rc == -EAGAIN);
    if (rc == 0)
        unlock(list);
    return finish(&c, rc);
}

/* --- taking out ------------------------------------------------------------- */

static int remove_at(change *c, int64_t i, mp_item *item) {
    table *t = table_of(list_of(c->list));
    const span s = span_of(t);
    const uint64_t at = i == 0 ? s.count - 1 : (uint64_t)i - 1;
    if (i < 0 || at >= s.count)
        return i == 0 || (uint64_t)i == s.count + 1 ? 0 : -ERANGE;
    if (at == 0 || at == s.count - 1) {
        *item = shorten(c->list, t, s.first + at);
        return 1;
    }
    const difference x = {at, 0, 1};
    int rc = need_table(c, n_slots_for(s.count));
    if (rc < 0)
        return rc;
    *item = item_at(t, s.first + at);
    use_spare(c, 0, &x);
    return 1;
}

/* A smaller table, where little is left; without memory for it, another time. */
static void tidy(mp_ref list) {
    change c = {.list = list};
    int rc;
    do {
        lock(list);
        const table *t = table_of(list_of(list));
        const uint64_t n_slots = n_slots_for(span_of(t).count);
        rc = t == NULL || 4 * n_slots > t->n_slots ? 1 : need_table(&c, n_slots);
        if (rc == 0)
            use_spare(&c, 0, &nothing);
    } while (rc == -EAGAIN);
    if (rc >= 0)
        unlock(list);
    finish(&c, 0);
}

int mp_list_remove(mp_ref list, int64_t i, mp_item *item) {
    change c = {.list = list};
    int rc;
    do {
        lock(list);
        rc = remove_at(&c, i, item);
    } while (rc == -EAGAIN);
    const table *t = rc < 0 ? NULL : table_of(list_of(list));
    const int is_sparse = t != NULL && 4 * n_slots_for(span_of(t).count) <= t->n_slots;
    if (rc >= 0 || rc == -ERANGE)
        unlock(list);
    if (is_sparse)
        tidy(list);
    return finish(&c, rc);
}

/* The list is without a table, which is in hand. */
static mp_ref take_all(mp_ref list) {
    list_shared *l = list_of(list);
    const mp_ref old = l->table;
    if (old == 0)
        return 0;
    note(MP_NOTE_OUT, list, old, 0);
    mp_fault("list.move.M1");
    atomic_store_explicit(&l->table, 0, memory_order_release);
    mp_fault("list.move.M2");
    mp_arena_moved(MP_NOTE_OUT);
    mp_fault("list.move.M3");
    return old;
}

int mp_list_clear(mp_ref list) {
    lock(list);
    const mp_ref old = take_all(list);
    unlock(list);
    if (old != 0)
        mp_table_end(old);
    return 0;
}

/* --- reading -------------------------------------------------------------- */

uint64_t mp_list_len(mp_ref list) {
    lock(list);
    const uint64_t n = span_of(table_of(list_of(list))).count;
    unlock(list);
    return n;
}

static void copy(mp_item item, mp_copies *copies) {
    const mp_ref block = mp_list_entry(item);
    const mp_value word = block == 0 ? mp_list_word(item) : (mp_value){.type = MP_VALUE_NONE};
    mp_value_copies_add(copies, block, &word, 0, NULL, 0);
}

int mp_list_get(mp_ref list, int64_t i, mp_copies *copies) {
    lock(list);
    const table *t = table_of(list_of(list));
    const span s = span_of(t);
    const int is_there = i >= 1 && (uint64_t)i <= s.count;
    mp_value_copies_begin(copies);
    if (is_there)
        copy(item_at(t, s.first + (uint64_t)i - 1), copies);
    unlock(list);
    int rc = mp_value_copies_end(copies);
    return rc < 0 ? rc : is_there;
}

int64_t mp_list_copy(mp_ref list, mp_copies *copies) {
    lock(list);
    const table *t = table_of(list_of(list));
    const span s = span_of(t);
    mp_value_copies_begin(copies);
    for (uint64_t i = 0; i < s.count; i++)
        copy(item_at(t, s.first + i), copies);
    unlock(list);
    int rc = mp_value_copies_end(copies);
    return rc < 0 ? rc : (int64_t)s.count;
}

/* --- the whole ------------------------------------------------------------ */

int mp_list_make(mp_ref *list, mp_ref *hold) {
    int rc = mp_arena_open();
    if (rc == 0)
        rc = mp_arena_alloc(sizeof(list_shared), MP_KIND_BYTES, mp_arena_hands(), list);
    if (rc < 0)
        return rc;
    mp_lock_init(&list_of(*list)->lock);
    mp_arena_block(*list)->kind = MP_KIND_LIST;
    rc = mp_arena_hold(mp_arena_holds(), *list, hold);
    if (rc < 0)
        mp_arena_free(mp_arena_hands(), *list);
    else
        mp_arena_unlink(mp_arena_hands(), *list);
    return rc;
}

static void end(mp_ref list) {
    mp_list_clear(list);
}

static void settle(mp_note *n, int direction) {
    (void)direction;
    lock(n->place);
    unlock(n->place);
    if (n->fate == MP_FATE_UNKNOWN)
        mp_panic("a note that nobody can settle");
}

static const mp_kind_class class = {.end = end, .settle = settle};

__attribute__((constructor)) static void open_class(void) {
    mp_arena_classes[MP_KIND_LIST] = &class;
}
