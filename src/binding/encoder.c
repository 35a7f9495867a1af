/*
** encoder.c: the memory of a message that is written; see encoder.h.
*/
#include "binding/encoder.h"

#include <stdlib.h>

#include "binding/codec.h"

int mp_raise_memory(lua_State *L) {
    lua_pushliteral(L, "not enough memory");
    return lua_error(L);
}

void mp_wire_need_stack(lua_State *L, int n) {
    if (!lua_checkstack(L, n))
        mp_raise_memory(L);
}

/* The second look is for the case that memory was short in the first. */
int mp_codec_has_room(lua_State *L, int n) {
    if (lua_checkstack(L, n))
        return 1;
    lua_newuserdatauv(L, (size_t)n * 2 * sizeof(lua_Number), 0);
    lua_pop(L, 1);
    return lua_checkstack(L, n);
}

enum { KEEP = 1024 * 1024 }; /* bytes of memory that stay for the next message */

static char encoder_key; /* its address is the encoder's key in the registry */

static void free_buffer(mp_encoder *e) {
    free(e->bytes);
    free(e->pieces);
    e->bytes = NULL;
    e->pieces = NULL;
    e->size = e->size_pieces = 0;
}

static void free_slots(mp_encoder *e) {
    free(e->slots);
    e->slots = NULL;
    e->n_slots = 0;
}

static void free_used(mp_encoder *e) {
    free(e->used);
    e->used = NULL;
    e->n_used = e->size_used = 0;
}

static int encoder_gc(lua_State *L) {
    mp_encoder *e = lua_touserdata(L, 1);
    free_buffer(e);
    free_slots(e);
    free(e->codes);
    free_used(e);
    free(e->flat);
    free(e->objects);
    e->objects = NULL;
    e->size_objects = 0;
    e->codes = NULL; /* lua_close may run this before a hook that sends */
    e->size_codes = 0;
    e->flat = NULL;
    return 0;
}

static mp_encoder *encoder_new(lua_State *L) {
    mp_encoder *e = lua_newuserdatauv(L, sizeof(*e), MP_ENCODER_REFUSED);
    memset(e, 0, sizeof(*e));
    e->base = e->serial = 1;
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, encoder_gc);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    lua_pushliteral(L, "__gc");
    lua_setiuservalue(L, -2, MP_ENCODER_GC);
    lua_pushliteral(L, "__close");
    lua_setiuservalue(L, -2, MP_ENCODER_CLOSE);
    lua_pushliteral(L, "__mp_send");
    lua_setiuservalue(L, -2, MP_ENCODER_SEND);
    lua_newtable(L);
    lua_setiuservalue(L, -2, MP_ENCODER_DEFERRED);
    e->get_global = mp_globals_instruction(L);
    e->names = mp_names_push(L);
    lua_setiuservalue(L, -2, MP_ENCODER_NAMES);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &encoder_key);
    return e;
}

mp_encoder *mp_encoder_push(lua_State *L) {
    mp_wire_need_stack(L, MP_LEVEL_SLOTS);
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &encoder_key) == LUA_TUSERDATA)
        return lua_touserdata(L, -1);
    lua_pop(L, 1);
    return encoder_new(L);
}

mp_encoder *mp_encoder_begin(lua_State *L) {
    mp_encoder *e = mp_encoder_push(L);
    if (e->n_deferred > 0) {
        lua_newtable(L);
        lua_setiuservalue(L, -2, MP_ENCODER_DEFERRED);
    }
    if (e->size > KEEP || e->size_pieces * sizeof(*e->pieces) > KEEP)
        free_buffer(e);
    e->L = L;
    e->self = lua_gettop(L);
    e->base = e->serial;
    e->len = e->n_pieces = e->n_codes = e->n_objects = 0;
    e->n_deferred = e->n_items = 0;
    e->n_searched = 0;
    e->is_plain = 1;
    e->n_refs = e->n_metas = e->n_globals = 0;
    e->error_meta = NULL;
    e->names_are_current = e->is_stale = e->is_hooked = 0;
    e->is_sought = e->is_unsought = e->owner = 0;
    lua_pushglobaltable(L);
    e->environment = lua_topointer(L, -1);
    lua_pop(L, 1);
    return e;
}

void mp_encoder_end(mp_encoder *e) {
    if (e->n_deferred > 0) {
        lua_pushnil(e->L);
        lua_setiuservalue(e->L, e->self, MP_ENCODER_DEFERRED);
    }
    if (e->n_slots * sizeof(mp_slot) > KEEP)
        free_slots(e);
    if (e->size_used * sizeof(mp_used) > KEEP)
        free_used(e);
}

static size_t slot_of(size_t n_slots, const void *object) {
    return ((uint64_t)(uintptr_t)object * 0x9e3779b97f4a7c15u >> 32) & (n_slots - 1);
}

static void more_slots(mp_encoder *e) {
    size_t n = e->n_slots == 0 ? 64 : 2 * e->n_slots;
    mp_slot *slots = calloc(n, sizeof(*slots));
    if (slots == NULL)
        mp_raise_memory(e->L);
    for (size_t i = 0; i < e->n_slots; i++) {
        if (e->slots[i].serial < e->base)
            continue;
        size_t at = slot_of(n, e->slots[i].object);
        while (slots[at].serial != 0)
            at = (at + 1) & (n - 1);
        slots[at] = e->slots[i];
    }
    free(e->slots);
    e->slots = slots;
    e->n_slots = n;
}

int mp_encoder_knows(mp_encoder *e, const void *object, uint64_t *number) {
    if (2 * (e->serial - e->base) >= e->n_slots)
        more_slots(e);
    size_t at = slot_of(e->n_slots, object);
    while (e->slots[at].serial >= e->base) {
        if (e->slots[at].object == object) {
            *number = e->slots[at].serial - e->base;
            return 1;
        }
        at = (at + 1) & (e->n_slots - 1);
    }
    e->slots[at] = (mp_slot){object, e->serial++};
    return 0;
}

void mp_encoder_grow(mp_encoder *e, size_t n) {
    size_t size = e->size == 0 ? 512 : 2 * e->size;
    while (size - e->len < n)
        size *= 2;
    unsigned char *bytes = realloc(e->bytes, size);
    if (bytes == NULL)
        mp_raise_memory(e->L);
    e->bytes = bytes;
    e->size = size;
}

size_t mp_wire_word(unsigned char *to, int tag, const void *bytes, size_t n) {
    *to = (unsigned char)tag;
    memcpy(to + 1, bytes, n);
    return 1 + n;
}

size_t mp_wire_integer(unsigned char *to, lua_Integer value) {
    if (value >= -32 && value <= 127)
        return mp_wire_word(to, (int)(value >= 0 ? value : value + MP_TAG_NIL), &value, 0);
    if (value == (int16_t)value)
        return mp_wire_word(to, MP_TAG_INT16, &value, sizeof(int16_t));
    if (value == (int32_t)value)
        return mp_wire_word(to, MP_TAG_INT32, &value, sizeof(int32_t));
    return mp_wire_word(to, MP_TAG_INT64, &value, sizeof value);
}

void mp_put_integer(mp_encoder *e, lua_Integer value) {
    e->len += mp_wire_integer(mp_encoder_room(e, 1 + sizeof value), value);
}

void mp_put_ref(mp_encoder *e, int tag, uint64_t number) {
    e->n_refs++;
    mp_put_byte(e, tag);
    mp_put_integer(e, (lua_Integer)number);
}

void mp_encoder_shares(mp_encoder *e, uint64_t object) {
    if (e->n_objects == e->size_objects) {
        const size_t size = e->size_objects == 0 ? 8 : 2 * e->size_objects;
        uint64_t *objects = realloc(e->objects, size * sizeof *objects);
        if (objects == NULL)
            mp_raise_memory(e->L);
        e->objects = objects;
        e->size_objects = size;
    }
    e->objects[e->n_objects++] = object;
}

void mp_encoder_piece(mp_encoder *e, const char *s, size_t len) {
    if (e->size_pieces - e->n_pieces < 3) {
        size_t size = e->size_pieces == 0 ? 16 : 2 * e->size_pieces;
        struct iovec *pieces = realloc(e->pieces, size * sizeof(*pieces));
        if (pieces == NULL)
            mp_raise_memory(e->L);
        e->pieces = pieces;
        e->size_pieces = size;
    }
    e->pieces[e->n_pieces++] = (struct iovec){NULL, e->len};
    if (s != NULL)
        e->pieces[e->n_pieces++] = (struct iovec){(char *)s, len};
}

void mp_encoder_insert(mp_encoder *e, size_t at, size_t more) {
    mp_encoder_room(e, more);
    memmove(e->bytes + at + more, e->bytes + at, e->len - at);
    e->len += more;
    for (size_t i = e->n_pieces; i >= 2 && e->pieces[i - 2].iov_len >= at; i -= 2)
        e->pieces[i - 2].iov_len += more;
    for (size_t i = e->n_codes; i >= 1 && e->codes[i - 1].at >= at; i--)
        e->codes[i - 1].at += more;
}

void mp_encoder_defer(mp_encoder *e, int index) {
    lua_State *L = e->L;
    lua_pushvalue(L, index);
    lua_getiuservalue(L, e->self, MP_ENCODER_DEFERRED);
    lua_insert(L, -2);
    lua_rawseti(L, -2, 2 * ++e->n_deferred - 1);
    if (e->owner != 0)
        lua_pushvalue(L, e->owner);
    else
        lua_pushboolean(L, 0);
    lua_rawseti(L, -2, 2 * e->n_deferred);
    lua_pop(L, 1);
}

int mp_encoder_leaves_out(const mp_encoder *e, int index) {
    lua_State *L = e->L;
    index = lua_absindex(L, index);
    if (!lua_istable(L, mp_encoder_left_out(e)))
        return 0;
    lua_pushvalue(L, index);
    int is = lua_rawget(L, mp_encoder_left_out(e)) != LUA_TNIL;
    lua_pop(L, 1);
    return is;
}
