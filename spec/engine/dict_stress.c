/*
** dict_stress.c: the engine's dicts, caches and lists under a sanitizer, without Lua.
**
** Values of one byte to 16 KiB, and numbers, by few keys and at few places. Every value is whole;
** counters have what was added, and what updates added, but for what a killed one did last. At the
** end the memory is back. Prints "ok" and how many calls there were.
*/
#include "engine/dict.h"
#include "engine/list.h"
#include "stress.h"

enum { KEYS = 24, LONGEST = 16384, ENTRIES = 10, ITEMS = 50 };

typedef struct shared {
    _Atomic int is_over;
    _Atomic uint64_t n_calls, n_added, n_updated;
} shared;

static shared *all;
static mp_ref dict, cache, list;

/* --- values ----------------------------------------------------------------- */

static char byte_of(unsigned first, size_t i) {
    return (char)(first * 31 + i * 7);
}

/* A value of which each byte follows from the first one. */
typedef struct made {
    mp_value value;
    struct iovec piece;
    char bytes[LONGEST];
} made;

static const mp_value *make(made *m, unsigned *seed) {
    const size_t len = (size_t)1 << rand_r(seed) % 15;
    const unsigned first = (unsigned char)rand_r(seed);
    m->value = (mp_value){.type = MP_VALUE_INTEGER, .word = first};
    if (rand_r(seed) % 3 == 0)
        return &m->value;
    m->bytes[0] = (char)first;
    for (size_t i = 1; i < len; i++)
        m->bytes[i] = byte_of(first, i);
    m->piece = (struct iovec){m->bytes, len};
    m->value = (mp_value){.type = MP_VALUE_BYTES, .pieces = &m->piece, .n_pieces = 1, .len = len};
    return &m->value;
}

static void check_bytes(const char *bytes, size_t len) {
    for (size_t i = 1; i < len; i++)
        if (bytes[i] != byte_of((unsigned char)bytes[0], i))
            fail("a value is damaged");
}

static void check_copies(const mp_copies *c) {
    for (size_t at = 0; at < c->len;) {
        const mp_copied *one = (const void *)(c->bytes + at);
        check_bytes(one->bytes + one->key_len, one->len);
        at += mp_value_copies_size(one->key_len, one->len);
    }
}

static void free_entry(mp_ref block) {
    const mp_stored *s = mp_value_at(block);
    check_bytes((const char *)s + s->offset, s->len);
    mp_arena_free(mp_arena_hands(), block);
}

/* --- calls ------------------------------------------------------------------ */

static void use_dict(mp_ref d, unsigned *seed, made *m, mp_copies *c) {
    const uint64_t number = (uint64_t)rand_r(seed) % KEYS;
    const mp_key key = {MP_KEY_INTEGER, &number, sizeof number};
    mp_ref block;
    switch (rand_r(seed) % 6) {
    case 0:
    case 1:
        must(mp_dict_set(d, &key, make(m, seed), MP_FOREVER), "set");
        break;
    case 2:
        if (mp_dict_get(d, &key, c) > 0)
            check_copies(c);
        break;
    case 3:
        if (mp_dict_remove(d, &key, &block, MP_FOREVER) > 0)
            free_entry(block);
        break;
    case 4:
        must(mp_dict_begin(d, &key, 0, c, MP_FOREVER), "begin");
        must(mp_dict_end(d, &key, rand_r(seed) % 3 == 0 ? NULL : make(m, seed)), "end");
        break;
    default:
        if (rand_r(seed) % 20 == 0 && mp_dict_copy(d, 0, c) >= 0)
            check_copies(c);
    }
}

static void count(unsigned *seed, mp_copies *c) {
    static const mp_value one = {.type = MP_VALUE_INTEGER, .word = 1};
    const mp_key added = {MP_KEY_STRING, "added", 5}, updated = {MP_KEY_STRING, "updated", 7};
    mp_value sum = one;
    if (rand_r(seed) % 2 == 0) {
        must(mp_dict_add(dict, &added, &one, &sum, MP_FOREVER), "add");
        atomic_fetch_add(&all->n_added, 1);
        return;
    }
    const int rc = mp_dict_begin(dict, &updated, 0, c, MP_FOREVER);
    must(rc, "begin");
    sum.word = rc == 0 ? 1 : ((const mp_copied *)(const void *)c->bytes)->word + 1;
    must(mp_dict_end(dict, &updated, &sum), "end");
    atomic_fetch_add(&all->n_updated, 1);
}

static void use_list(unsigned *seed, made *m, mp_copies *c) {
    const int64_t i = rand_r(seed) % 10;
    const int act = rand_r(seed) % 5;
    mp_item item;
    if (act == 0) {
        if (mp_list_get(list, i, c) > 0)
            check_copies(c);
    } else if (act <= 2 || mp_list_len(list) > ITEMS) {
        if (mp_list_remove(list, i, &item) > 0 && mp_list_entry(item) != 0)
            free_entry(mp_list_entry(item));
    } else {
        must(mp_list_wrap(make(m, seed), &item), "wrap");
        const int rc = act == 3 ? mp_list_insert(list, i, item) : mp_list_put(list, i + 1, item);
        if (rc < 0 && mp_list_entry(item) != 0)
            free_entry(mp_list_entry(item));
    }
}

/* What a thread or a process does, with holds of its own, until all is over. */
static void work(uint32_t number, int place) {
    (void)place;
    unsigned seed = number * 2654435761u;
    made *m = malloc(sizeof *m);
    mp_copies c = {.size = (KEYS + 2) * (LONGEST + sizeof(mp_copied) + 64)};
    mp_ref holds[3], objects[] = {dict, cache, list};
    c.bytes = malloc(c.size);
    if (m == NULL || c.bytes == NULL)
        fail("no memory");
    for (int i = 0; i < 3; i++)
        must(mp_arena_hold(mp_arena_holds(), objects[i], &holds[i]), "hold");
    while (!atomic_load(&all->is_over)) {
        use_dict(dict, &seed, m, &c);
        use_dict(cache, &seed, m, &c);
        use_list(&seed, m, &c);
        count(&seed, &c);
        if (rand_r(&seed) % 5000 == 0)
            must(mp_dict_clear(cache, MP_FOREVER), "clear");
        atomic_fetch_add(&all->n_calls, 4);
    }
    for (int i = 0; i < 3; i++)
        mp_arena_leave(holds[i]);
    free(c.bytes);
    free(m);
}

static uint64_t sum_at(const char *name) {
    char bytes[sizeof(mp_copied) + 64] __attribute__((aligned(8)));
    mp_copies c = {.bytes = bytes, .size = sizeof bytes};
    const mp_key key = {MP_KEY_STRING, name, strlen(name)};
    return mp_dict_get(dict, &key, &c) > 0 ? ((const mp_copied *)(const void *)bytes)->word : 0;
}

static void check_sum(const char *name, uint64_t told, uint64_t n_killed) {
    const uint64_t sum = sum_at(name);
    if (sum < told || sum > told + n_killed)
        fail("a counter has not what was added");
}

static void stop(void) {
    atomic_store(&all->is_over, 1);
}

/* A copy holds the objects in it, also when the entry is gone. */
static void check_holds(void) {
    const mp_key key = {MP_KEY_STRING, "object", 6};
    mp_ref inner, inner_hold, outer, outer_hold, entry;
    must(mp_list_make(&inner, &inner_hold), "list");
    must(mp_dict_make(0, 0, 0, &outer, &outer_hold), "dict");
    struct iovec piece = {"x", 1};
    const mp_value value = {.type = MP_VALUE_BYTES,
                            .pieces = &piece,
                            .n_pieces = 1,
                            .len = 1,
                            .objects = &inner,
                            .n_objects = 1};
    char bytes[sizeof(mp_copied) + 8] __attribute__((aligned(8)));
    mp_copies c = {.bytes = bytes, .size = sizeof bytes};
    must(mp_dict_set(outer, &key, &value, MP_FOREVER), "set");
    mp_arena_leave(inner_hold);
    if (mp_dict_get(outer, &key, &c) != -ENOSPC || mp_value_copies_make_holds(&c) < 0 ||
        mp_dict_get(outer, &key, &c) != 1 || mp_dict_remove(outer, &key, &entry, MP_FOREVER) != 1)
        fail("a value with an object is not copied");
    mp_arena_free(mp_arena_hands(), entry);
    if (!mp_arena_is(inner, MP_KIND_LIST) || mp_arena_n_holds(inner) != 1)
        fail("a copy does not hold the object in it");
    mp_value_copies_drop(&c);
    mp_arena_leave(outer_hold);
}

int main(int argc, char **argv) {
    static const members m = {work, stop, NULL, 20000};
    void *mapping;
    const arguments a = begin(argc, argv, sizeof *all, &mapping);
    mp_arena_usage before;
    mp_ref holds[3];
    all = mapping;
    must(mp_arena_count(&before), "count");
    check_holds();
    must(mp_dict_make(0, 0, 0, &dict, &holds[0]), "dict");
    must(mp_dict_make(1, ENTRIES, MP_SECOND / 100, &cache, &holds[1]), "cache");
    must(mp_list_make(&list, &holds[2]), "list");
    const uint64_t n_killed = run_members(&m, a);
    check_sum("added", all->n_added, n_killed);
    check_sum("updated", all->n_updated, n_killed);
    if (mp_dict_len(cache) > ENTRIES)
        fail("a cache has more entries than it may");
    for (int i = 0; i < 3; i++)
        mp_arena_leave(holds[i]);
    check_usage(&before);
    printf("ok %llu\n", (unsigned long long)all->n_calls);
    return 0;
}
