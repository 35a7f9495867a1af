/*
** value.c: values at rest, and copies of them; value.h has the rules.
*/
#include "engine/value.h"

#include <errno.h>
#include <string.h>

static void gather(char *to, const mp_value *v) {
    for (int i = 0; i < v->n_pieces; i++) {
        memcpy(to, v->pieces[i].iov_base, v->pieces[i].iov_len);
        to += v->pieces[i].iov_len;
    }
}

int mp_value_make(size_t before, const mp_value *v, mp_ref *block) {
    if (v->len > SIZE_MAX / 2)
        return -ENOMEM;
    int rc = mp_arena_alloc(before + v->len, MP_KIND_ENTRY, mp_arena_hands(), block);
    if (rc < 0)
        return rc;
    mp_stored *s = mp_value_at(*block);
    *s = (mp_stored){.type = v->type, .offset = (uint32_t)before, .len = v->len, .word = v->word};
    gather((char *)s + before, v);
    for (size_t i = 0; i < v->n_objects && rc == 0; i++) {
        mp_ref hold;
        rc = mp_arena_hold(&mp_arena_block(*block)->holds, v->objects[i], &hold);
    }
    if (rc < 0)
        mp_arena_free(mp_arena_hands(), *block);
    return rc;
}

/* --- copies --------------------------------------------------------------- */

void mp_value_copies_begin(mp_copies *c) {
    c->len = 0;
    c->n_objects = 0;
    c->next_hold = c->holder == 0 ? 0 : mp_arena_first(&mp_arena_block(c->holder)->holds);
}

static void hold_objects(mp_copies *c, mp_ref block) {
    for (mp_ref i = mp_arena_first(&mp_arena_block(block)->holds); i != 0; i = mp_arena_next(i)) {
        c->n_objects++;
        if (c->next_hold != 0) {
            mp_arena_tie(c->next_hold, ((mp_hold *)mp_arena_bytes(i))->object);
            c->next_hold = mp_arena_next(c->next_hold);
        }
    }
}

static void write_copy(mp_copied *to, mp_ref block, const mp_value *word, uint32_t key_type,
                       const void *key, size_t key_len) {
    const mp_stored *s = block == 0 ? NULL : mp_value_at(block);
    to->type = s == NULL ? word->type : s->type;
    to->word = s == NULL ? word->word : s->word;
    to->len = s == NULL ? 0 : s->len;
    to->key_type = key_type;
    to->key_len = key_len;
    if (key_len > 0)
        memcpy(to->bytes, key, key_len);
    if (to->len > 0)
        memcpy(to->bytes + key_len, (const char *)s + s->offset, to->len);
}

void mp_value_copies_add(mp_copies *c, mp_ref block, const mp_value *word, uint32_t key_type,
                         const void *key, size_t key_len) {
    const size_t size = mp_value_copies_size(key_len, block == 0 ? 0 : mp_value_at(block)->len);
    if (c->len + size <= c->size)
        write_copy((mp_copied *)(void *)(c->bytes + c->len), block, word, key_type, key, key_len);
    c->len += size;
    if (block != 0)
        hold_objects(c, block);
}

int mp_value_copies_end(const mp_copies *c) {
    return c->len <= c->size && c->n_objects <= c->n_room ? 0 : -ENOSPC;
}

void mp_value_copies_drop(mp_copies *c) {
    if (c->holder != 0)
        mp_arena_free(mp_arena_hands(), c->holder);
    c->holder = 0;
    c->n_room = 0;
}

int mp_value_copies_make_holds(mp_copies *c) {
    int rc =
        c->n_objects == 0 ? 0 : mp_arena_alloc(0, MP_KIND_MESSAGE, mp_arena_hands(), &c->holder);
    for (; rc == 0 && c->n_room < c->n_objects; c->n_room += rc == 0) {
        mp_ref hold;
        rc =
            mp_arena_alloc(sizeof(mp_hold), MP_KIND_HOLD, &mp_arena_block(c->holder)->holds, &hold);
    }
    if (rc < 0)
        mp_value_copies_drop(c);
    return rc;
}
