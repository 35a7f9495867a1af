/*
** values.c: between Lua and the values that lie in shared structures; values.h has the rules.
**
** While there is something in this process's hands, holds for copies or an entry that was taken
** out, what may raise is protected.
*/
#include "binding/values.h"

#include <errno.h>
#include <string.h>

static char part_key; /* its address is the module's key in the registry */

/* --- giving ----------------------------------------------------------------- */

/* A number or a boolean is a word. */
static int give_word(lua_State *L, int index, mp_value *v) {
    *v = (mp_value){.type = MP_VALUE_NONE};
    switch (lua_type(L, index)) {
    case LUA_TNONE:
    case LUA_TNIL:
        return 1;
    case LUA_TBOOLEAN:
        v->type = MP_VALUE_BOOLEAN;
        v->word = lua_toboolean(L, index) != 0;
        return 1;
    case LUA_TNUMBER:
        v->type = lua_isinteger(L, index) ? MP_VALUE_INTEGER : MP_VALUE_FLOAT;
        const lua_Number number = lua_tonumber(L, index);
        memcpy(&v->word, &number, sizeof v->word);
        if (v->type == MP_VALUE_INTEGER)
            v->word = (uint64_t)lua_tointeger(L, index);
        return 1;
    default:
        return 0;
    }
}

void mp_values_give(lua_State *L, int index, mp_given *g) {
    if (give_word(L, index, &g->value))
        return;
    g->piece = (struct iovec){g->scalar, mp_codec_scalar(L, index, g->scalar)};
    g->message =
        (mp_message){.pieces = &g->piece, .n_pieces = 1, .len = g->piece.iov_len, .is_plain = 1};
    if (g->message.len == 0 && !mp_codec_encode(L, index, 1, &g->message)) {
        lua_pop(L, 1);
        mp_shared_unsendable(L, index);
    }
    mp_shared_check_open(L); /* hooks have run */
    g->value = (mp_value){.type = MP_VALUE_BYTES,
                          .pieces = g->message.pieces,
                          .n_pieces = g->message.n_pieces,
                          .len = g->message.len,
                          .objects = g->message.objects,
                          .n_objects = g->message.n_objects};
}

/* --- copies ----------------------------------------------------------------- */

void mp_values_open_room(mp_room *room) {
    room->copies = (mp_copies){.bytes = room->bytes, .size = sizeof room->bytes};
}

void mp_values_make_room(lua_State *L, mp_room *room, const char *where) {
    mp_copies *c = &room->copies;
    mp_value_copies_drop(c);
    if (c->len > c->size) {
        const size_t size = c->len + c->len / 4; /* there may be more by then */
        luaL_checkstack(L, 4, NULL);
        c->bytes = lua_newuserdatauv(L, size, 0);
        c->size = size;
    }
    int rc = mp_value_copies_make_holds(c);
    if (mp_shared_makes_room(L, rc))
        rc = mp_value_copies_make_holds(c);
    if (rc < 0)
        mp_shared_fail(L, where, rc);
}

void mp_values_push_word(lua_State *L, const mp_value *v) {
    lua_Number number;
    memcpy(&number, &v->word, sizeof number);
    if (v->type == MP_VALUE_INTEGER)
        lua_pushinteger(L, (lua_Integer)v->word);
    else if (v->type == MP_VALUE_FLOAT)
        lua_pushnumber(L, number);
    else if (v->type == MP_VALUE_BOOLEAN)
        lua_pushboolean(L, v->word != 0);
    else
        lua_pushnil(L);
}

static void push_value(lua_State *L, uint32_t type, uint64_t word, const char *bytes, size_t len) {
    const mp_value v = {.type = type, .word = word};
    if (type != MP_VALUE_BYTES)
        mp_values_push_word(L, &v);
    else if (!mp_codec_plain(L, bytes, len) && mp_codec_decode(L, bytes, len, 1) != 1)
        luaL_error(L, "a shared value is damaged");
}

static void push_key(lua_State *L, const mp_copied *c) {
    mp_value v = {.type = c->key_type == MP_KEY_INTEGER ? MP_VALUE_INTEGER
                          : c->key_type == MP_KEY_FLOAT ? MP_VALUE_FLOAT
                                                        : MP_VALUE_BOOLEAN};
    if (c->key_type == MP_KEY_STRING) {
        lua_pushlstring(L, c->bytes, c->key_len);
        return;
    }
    memcpy(&v.word, c->bytes, sizeof v.word);
    mp_values_push_word(L, &v);
}

static void push_copied(lua_State *L, const mp_copied *c) {
    push_value(L, c->type, c->word, c->bytes + c->key_len, c->len);
}

/* What is to be decoded where an error is caught. */
typedef struct catch {
    const mp_copies *copies;
    int keys_only;
    mp_ref block;
}
catch;

static int decode_one(lua_State *L) {
    push_copied(L, (const mp_copied *)(const void *)((catch *)lua_touserdata(L, 1))->copies->bytes);
    return 1;
}

static int decode_all(lua_State *L) {
    const catch *a = lua_touserdata(L, 1);
    const char *at = a->copies->bytes, *end = at + a->copies->len;
    lua_newtable(L);
    for (lua_Integer n = 1; at < end; n++) {
        const mp_copied *c = (const void *)at;
        if (c->key_type != 0)
            push_key(L, c);
        else
            lua_pushinteger(L, n);
        if (a->keys_only) {
            lua_rawseti(L, -2, n);
        } else {
            push_copied(L, c);
            lua_rawset(L, -3);
        }
        at += mp_value_copies_size(c->key_len, c->len);
    }
    return 1;
}

static int decode_block(lua_State *L) {
    const mp_stored *s = mp_value_at(((catch *)lua_touserdata(L, 1))->block);
    push_value(L, s->type, s->word, (const char *)s + s->offset, s->len);
    return 1;
}

/* Raises, at the script's line, the words of an error on top that has none of its own. */
static void raise_decoding(lua_State *L, const char *where) {
    if (lua_type(L, -1) != LUA_TSTRING)
        lua_error(L);
    lua_pushfstring(L, "%s: cannot receive a value: %s", where, lua_tostring(L, -1));
    mp_lib_misuse(L);
}

static int decode(lua_State *L, lua_CFunction f, catch *a) {
    lua_pushcfunction(L, f);
    lua_pushlightuserdata(L, a);
    return lua_pcall(L, 1, 1, 0);
}

void mp_values_push(lua_State *L, mp_room *room, const char *where) {
    const mp_copied *c = (const void *)room->copies.bytes;
    if (c->type != MP_VALUE_BYTES || mp_codec_plain(L, c->bytes + c->key_len, c->len)) {
        if (c->type != MP_VALUE_BYTES)
            push_copied(L, c);
        mp_value_copies_drop(&room->copies);
        return;
    }
    catch a = {.copies = &room->copies};
    const int failed = decode(L, decode_one, &a);
    mp_value_copies_drop(&room->copies);
    if (failed)
        raise_decoding(L, where);
}

void mp_values_push_all(lua_State *L, mp_room *room, int keys_only, const char *where) {
    catch a = {.copies = &room->copies, .keys_only = keys_only};
    const int failed = decode(L, decode_all, &a);
    mp_value_copies_drop(&room->copies);
    if (failed)
        raise_decoding(L, where);
}

void mp_values_take(lua_State *L, mp_ref block, const char *where) {
    catch a = {.block = block};
    const int failed = decode(L, decode_block, &a);
    mp_arena_free(mp_arena_hands(), block);
    if (failed)
        raise_decoding(L, where);
}

/* --- waiting ---------------------------------------------------------------- */

/* While there are scopes, a look at a time: between them their failures are raised. */
mp_time mp_values_deadline(void) {
    return mp_shared_wait(MP_FOREVER) == MP_FOREVER ? MP_FOREVER : mp_sys_now() + MP_LOOK;
}

int mp_values_goes_on(lua_State *L, int rc) {
    if (rc == -EINTR) {
        mp_interrupt_check(L);
    } else if (rc == -ETIMEDOUT) {
        mp_lib_push_part(L, &part_key, "luamp.sharing");
        lua_getfield(L, -1, "pause");
        lua_call(L, 0, 0);
        lua_pop(L, 1);
    } else {
        return 0;
    }
    mp_shared_check_open(L);
    return 1;
}
