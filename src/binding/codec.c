/*
** codec.c: Lua values to bytes. wire.h has the format, decode.c the way back.
**
** One walk over the values, depth first, writes them into a buffer that is
** kept from message to message. Each table gets a number as it is met, found
** again by its address, and a table met again is written as that number: so
** shared and cyclic references come out as they went in.
**
** One lua_next walk finds both counts of a table (the run is what it meets
** before any other key), and they are written into the table's head
** afterwards. That head has a byte for each and is widened, which moves what
** follows, when the 256th comes: once in a table, and cheaper than a wide
** head for every small one.
**
** Strings of at least MP_BIG bytes are not copied: the message is a list of
** pieces, and they are pieces of their own. Numbered like tables, such a
** string goes once however often it is met.
**
** Encoding runs no Lua code: no metamethod, and no call that steps the
** collector, so no finalizer changes a table under the walk, or encodes. Where
** the walk meets an object with a hook __mp_send, it stops; the hooks are called,
** by sending.c, and the message begins anew. So it does after it met a function of a module
** of which it is not known whether it has a file.
*/
#include "binding/codec.h"

#include <stdlib.h>

#include "binding/encoder.h"
#include "binding/shared.h"

static void put_number(mp_encoder *e, int index) {
    if (lua_isinteger(e->L, index)) {
        mp_put_integer(e, lua_tointeger(e->L, index));
    } else {
        lua_Number value = lua_tonumber(e->L, index);
        mp_put_word(e, MP_TAG_FLOAT, &value, sizeof(value));
    }
}

static void put_string(mp_encoder *e, int index) {
    size_t len;
    uint64_t number;
    const char *s = lua_tolstring(e->L, index, &len);
    if (len <= MP_SHORT) {
        unsigned char *to = mp_encoder_room(e, 1 + len);
        *to = (unsigned char)(MP_TAG_STRING + len);
        memcpy(to + 1, s, len);
        e->len += 1 + len;
    } else if (len < MP_BIG) {
        mp_put_word(e, MP_TAG_STRING16, &len, sizeof(uint16_t));
        memcpy(mp_encoder_room(e, len), s, len);
        e->len += len;
    } else if (mp_encoder_knows(e, s, &number)) {
        mp_put_ref(e, MP_TAG_REF, number);
    } else {
        mp_put_word(e, MP_TAG_STRING64, &len, sizeof(len));
        mp_encoder_piece(e, s, len);
    }
}

/* Makes room for two u64 in the head of a table. */
static void widen(mp_encoder *e, size_t head) {
    mp_encoder_insert(e, head + 3, 14);
    e->bytes[head] = MP_TAG_TABLE64;
}

/* The table on top, without its metatable. Returns as mp_put_value. */
static int put_fields(mp_encoder *e, int depth) {
    lua_State *L = e->L;
    const size_t head = e->len;
    uint64_t n[2] = {0, 0}; /* run, pairs */
    int wide = 0;
    mp_put_word(e, MP_TAG_TABLE, n, 2);
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
        if (n[1] == 0 && lua_isinteger(L, -2) && (uint64_t)lua_tointeger(L, -2) == n[0] + 1) {
            n[0]++;
        } else {
            n[1]++;
            if (!mp_put_value(e, -2, depth + 1))
                return 0;
        }
        if (!wide && (n[0] | n[1]) > UINT8_MAX) {
            widen(e, head);
            wide = 1;
        }
        if (!mp_put_value(e, -1, depth + 1))
            return 0;
    }
    if (wide) {
        memcpy(e->bytes + head + 1, n, sizeof(n));
    } else {
        e->bytes[head + 1] = (unsigned char)n[0];
        e->bytes[head + 2] = (unsigned char)n[1];
    }
    return 1;
}

/* Has the table on top the field whose name the encoder keeps? */
static int has_field(mp_encoder *e, int name) {
    lua_getiuservalue(e->L, e->self, name);
    int has = lua_rawget(e->L, -2) != LUA_TNIL;
    lua_pop(e->L, 1);
    return has;
}

/* Is the object sent as what the hook __mp_send of its metatable returns? */
static int has_hook(mp_encoder *e, int index) {
    if (!lua_getmetatable(e->L, index))
        return 0;
    int has = has_field(e, MP_ENCODER_SEND);
    lua_pop(e->L, 1);
    return has;
}

static int is_error_meta(mp_encoder *e) {
    if (e->error_meta == NULL) {
        luaL_getmetatable(e->L, "luamp.error");
        e->error_meta = lua_topointer(e->L, -1);
        lua_pop(e->L, 1);
    }
    return lua_topointer(e->L, -1) == e->error_meta;
}

/* Pushes what is to be told of a value that cannot be sent. */
static int refuse(mp_encoder *e, int index) {
    lua_pushvalue(e->L, index);
    return 0;
}

static int put_meta(mp_encoder *e, int depth);
static int put_table(mp_encoder *e, int index, int depth);

/* The table on top, by its contents. Returns as mp_put_value. */
static int put_contents(mp_encoder *e, int depth) {
    lua_State *L = e->L;
    if (!lua_getmetatable(L, -1))
        return put_fields(e, depth);
    if (is_error_meta(e)) {
        lua_pop(L, 1);
        mp_put_byte(e, MP_TAG_ERROR);
        return put_fields(e, depth);
    }
    if (has_field(e, MP_ENCODER_SEND)) {
        lua_pop(L, 1);
        e->is_hooked = 1;
        return refuse(e, -1);
    }
    lua_insert(L, -2);
    mp_put_byte(e, MP_TAG_META);
    e->n_metas++;
    if (!put_fields(e, depth))
        return 0;
    lua_insert(L, -2);
    if (!put_meta(e, depth + 1))
        return 0;
    lua_pop(L, 1);
    return 1;
}

/* Writes a value that is not there yet by its name, if it has one. */
static int put_by_name(mp_encoder *e, int index, int is_meta) {
    lua_State *L = e->L;
    index = lua_absindex(L, index);
    lua_getiuservalue(L, e->self, MP_ENCODER_NAMES);
    int found = mp_names_find(L, lua_gettop(L), index, is_meta);
    if (found) {
        e->is_plain = 0;
        mp_put_byte(e, MP_TAG_NAMED);
        put_string(e, -1);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    return found;
}

/*
** After a name was not found: whether there really is none. It is looked at once in
** a message whether the index has all that is exported; if not, the message begins
** anew with another.
*/
static int has_no_name(mp_encoder *e) {
    if (!e->names_are_current) {
        lua_getiuservalue(e->L, e->self, MP_ENCODER_NAMES);
        e->names_are_current = mp_names_are_current(e->L, lua_gettop(e->L));
        e->is_stale = !e->names_are_current;
        lua_pop(e->L, 1);
    }
    return !e->is_stale;
}

/* The metatable on top: by name, else by its contents. Returns as mp_put_value. */
static int put_meta(mp_encoder *e, int depth) {
    uint64_t number;
    mp_wire_need_stack(e->L, MP_LEVEL_SLOTS);
    if (mp_encoder_knows(e, lua_topointer(e->L, -1), &number)) {
        mp_put_ref(e, MP_TAG_REF, number);
        return 1;
    }
    if (put_by_name(e, -1, 1))
        return 1;
    if (!has_no_name(e) ||
        (!has_hook(e, -1) && (has_field(e, MP_ENCODER_GC) || has_field(e, MP_ENCODER_CLOSE))))
        return refuse(e, -1);
    return put_table(e, -1, depth);
}

/* A table that is not there yet. */
static int put_table(mp_encoder *e, int index, int depth) {
    if (depth == MP_MAX_DEPTH) {
        mp_put_byte(e, MP_TAG_DEFER);
        mp_encoder_defer(e, index);
        return 1;
    }
    lua_pushvalue(e->L, index);
    if (!put_contents(e, depth))
        return 0;
    lua_pop(e->L, 1);
    return 1;
}

/*
** After the name of a Lua function, which was written at `head`: its value as well, if the
** receiver may have nothing of that name. The value has a number of its own.
*/
static int put_value_too(mp_encoder *e, size_t head, int index, int depth) {
    lua_State *L = e->L;
    index = lua_absindex(L, index);
    lua_getiuservalue(L, e->self, MP_ENCODER_NAMES);
    const int is_found = mp_names_is_found(L, lua_gettop(L), index);
    lua_pop(L, 1);
    e->is_unsought = is_found < 0 && !e->is_sought;
    if (e->is_unsought)
        return refuse(e, index);
    if (is_found != 0 || mp_encoder_leaves_out(e, index))
        return 1;
    const int owner = e->owner;
    lua_pushvalue(L, index);
    e->owner = lua_gettop(L);
    e->bytes[head] = MP_TAG_EITHER;
    e->serial++;
    if (!mp_put_function(e, e->owner, depth))
        return 0;
    e->owner = owner;
    lua_pop(L, 1);
    return 1;
}

static int put_function(mp_encoder *e, int index, int depth) {
    const size_t head = e->len;
    if (put_by_name(e, index, 0))
        return e->is_fresh || lua_iscfunction(e->L, index) || put_value_too(e, head, index, depth);
    if (!has_no_name(e) || lua_iscfunction(e->L, index))
        return refuse(e, index);
    return mp_put_function(e, index, depth);
}

/* A table or a function, either of them numbered. */
static int put_object(mp_encoder *e, int index, int depth) {
    const void *object = lua_topointer(e->L, index);
    uint64_t number;
    mp_wire_need_stack(e->L, MP_LEVEL_SLOTS);
    if (mp_encoder_knows(e, object, &number)) {
        mp_put_ref(e, MP_TAG_REF, number);
        return 1;
    }
    if (lua_isfunction(e->L, index))
        return put_function(e, index, depth);
    if (mp_names_may_have(e->names, object)) {
        if (put_by_name(e, index, 0))
            return 1;
        if (!has_no_name(e))
            return refuse(e, index);
    }
    return put_table(e, index, depth);
}

/* A userdata, by name; a light one each time. */
static int put_userdata(mp_encoder *e, int index) {
    const int is_light = lua_islightuserdata(e->L, index);
    uint64_t number;
    mp_wire_need_stack(e->L, MP_LEVEL_SLOTS);
    if (!is_light && mp_encoder_knows(e, lua_topointer(e->L, index), &number)) {
        mp_put_ref(e, MP_TAG_REF, number);
        return 1;
    }
    const mp_ref shared = is_light ? 0 : mp_shared_object(e->L, index);
    if (shared != 0) {
        e->is_plain = 0;
        mp_put_word(e, MP_TAG_SHARED, &shared, sizeof shared);
        mp_encoder_shares(e, shared);
        return 1;
    }
    if (!put_by_name(e, index, 0)) {
        e->is_hooked = has_no_name(e) && !is_light && has_hook(e, index);
        return refuse(e, index);
    }
    e->serial += (uint64_t)is_light;
    return 1;
}

int mp_put_value(mp_encoder *e, int index, int depth) {
    switch (lua_type(e->L, index)) {
    case LUA_TNUMBER:
        put_number(e, index);
        return 1;
    case LUA_TSTRING:
        put_string(e, index);
        return 1;
    case LUA_TBOOLEAN:
        mp_put_byte(e, lua_toboolean(e->L, index) ? MP_TAG_TRUE : MP_TAG_FALSE);
        return 1;
    case LUA_TNIL:
        mp_put_byte(e, MP_TAG_NIL);
        return 1;
    case LUA_TTABLE:
    case LUA_TFUNCTION:
        return put_object(e, index, depth);
    case LUA_TUSERDATA:
    case LUA_TLIGHTUSERDATA:
        return put_userdata(e, index);
    default:
        return refuse(e, index);
    }
}

/* The contents of the deferred object of that place in the list. A function that is its own
 * owner goes by name, too: its value has the number after that of its name. */
static int put_deferred(mp_encoder *e, lua_Integer i) {
    lua_State *L = e->L;
    uint64_t number;
    lua_getiuservalue(L, e->self, MP_ENCODER_DEFERRED);
    lua_rawgeti(L, -1, 2 * i);
    e->owner = lua_toboolean(L, -1) ? lua_gettop(L) : 0;
    lua_rawgeti(L, -2, 2 * i - 1);
    mp_encoder_knows(e, lua_topointer(L, -1), &number);
    mp_put_integer(e, (lua_Integer)number + lua_rawequal(L, -1, -2));
    if (!(lua_isfunction(L, -1) ? mp_put_upvalues(e, -1, 0) : put_contents(e, 0)))
        return 0;
    e->owner = 0;
    lua_pop(L, 3);
    return 1;
}

/* The contents of the deferred objects, and of those that they defer, and the globals of all. */
int mp_put_items(mp_encoder *e) {
    while (e->n_items < e->n_deferred || e->n_searched < e->n_codes) {
        while (e->n_items < e->n_deferred)
            if (!put_deferred(e, ++e->n_items))
                return 0;
        const size_t n_codes = e->n_codes;
        if (e->n_searched < n_codes && !mp_put_globals(e, e->n_searched, n_codes))
            return 0;
        e->n_searched = n_codes;
    }
    return 1;
}

static int put_values(mp_encoder *e, int first, int n) {
    if (n < MP_MANY) {
        mp_put_byte(e, n);
    } else {
        uint64_t many = (uint64_t)n;
        mp_put_word(e, MP_MANY, &many, sizeof(many));
    }
    if (!mp_put_sections(e))
        return 0;
    for (int i = 0; i < n; i++) {
        if (!mp_put_value(e, first + i, 0))
            return 0;
    }
    return mp_put_items(e);
}

static void put_trailer(mp_encoder *e) {
    int listed = e->n_refs > 0 || e->n_deferred > 0;
    if (!listed && e->n_metas == 0 && e->n_globals == 0)
        return;
    mp_trailer end = {listed ? e->serial - e->base : 0, (uint64_t)e->n_deferred + e->n_globals,
                      e->n_metas};
    memcpy(mp_encoder_room(e, sizeof(end)), &end, sizeof(end));
    e->len += sizeof(end);
    e->bytes[0] |= MP_LINKED;
}

static void finish(mp_encoder *e, mp_message *message) {
    put_trailer(e);
    mp_encoder_piece(e, NULL, 0);
    size_t from = 0, len = e->len;
    for (size_t i = 0; i < e->n_pieces; i += 2) {
        size_t to = e->pieces[i].iov_len;
        e->pieces[i] = (struct iovec){e->bytes + from, to - from};
        from = to;
        if (i > 0)
            len += e->pieces[i - 1].iov_len;
    }
    *message = (mp_message){.pieces = e->pieces,
                            .n_pieces = (int)e->n_pieces,
                            .len = len,
                            .objects = e->objects,
                            .n_objects = e->n_objects,
                            .is_plain = e->is_plain};
}

/* What was done for a message before it begins anew. */
typedef struct preparation {
    int is_fresh, is_server; /* whom it is for */
    int names_are_current, is_sought;
} preparation;

/* Whether what cannot be sent is in something that may be left out. */
static int is_in_owner(const mp_encoder *e) {
    return e->owner != 0 && !e->is_fresh && !e->is_hooked && !e->is_stale && !e->is_unsought;
}

/* Encodes once; what stood in the way is in the encoder, and on top: itself, or its owner. */
static int encode(lua_State *L, int first, int n, mp_message *message, preparation done,
                  mp_encoder **encoder) {
    mp_encoder *e = *encoder = mp_encoder_begin(L);
    e->is_fresh = e->names->for_fresh = done.is_fresh;
    e->names_are_current = done.names_are_current;
    e->is_sought = done.is_sought;
    int sent = put_values(e, first, n);
    if (sent && done.is_server)
        mp_put_known(e);
    if (sent)
        finish(e, message);
    else if (is_in_owner(e))
        lua_pushvalue(L, e->owner);
    mp_encoder_end(e);
    if (!sent)
        lua_replace(L, e->self);
    lua_settop(L, sent ? e->self - 1 : e->self);
    return sent;
}

/* After what cannot be sent, its owner on top: the next message is without that. */
static void leave_out(lua_State *L) {
    const int set = lua_gettop(L) - 2;
    if (!lua_istable(L, set)) {
        lua_newtable(L);
        lua_replace(L, set);
    }
    lua_pushboolean(L, 1);
    lua_rawset(L, set);
}

/*
** Encodes until nothing more is to be left out and all hooks were called, with names that
** are current and modules that were looked for. On top of the stack stand what is left out
** and what hooks gave, both nil at first.
*/
static int encode_whole(lua_State *L, int first, int n, mp_message *message, preparation whom) {
    preparation done = whom;
    for (;;) {
        mp_encoder *e = NULL;
        if (encode(L, first, n, message, done, &e))
            return 1;
        if (e->is_hooked) {
            if (!mp_prepare_hooks(L, first, n, whom.is_fresh))
                return 0;
            lua_pop(L, 1);
            done = whom;
        } else if (e->is_stale) {
            lua_pop(L, 1);
            mp_names_renew(L);
            done.names_are_current = 1;
        } else if (e->is_unsought) {
            lua_pop(L, 1);
            mp_names_seek(L);
            done.is_sought = 1;
        } else if (is_in_owner(e)) {
            leave_out(L);
        } else {
            return 0;
        }
    }
}

/* What hooks gave stays for the words about the culprit, which are to call none. */
static void keep_refused(lua_State *L, int record) {
    lua_pushvalue(L, record);
    mp_encoder_push(L);
    lua_insert(L, -2);
    lua_setiuservalue(L, -2, MP_ENCODER_REFUSED);
    lua_pop(L, 1);
}

static int encode_for(lua_State *L, int first, int n, mp_message *message, preparation whom) {
    first = lua_absindex(L, first);
    mp_wire_need_stack(L, MP_LEVEL_SLOTS);
    lua_pushnil(L);
    lua_pushnil(L);
    int sent = encode_whole(L, first, n, message, whom);
    if (sent) {
        lua_pop(L, 2);
    } else {
        keep_refused(L, -2);
        lua_replace(L, -3);
        lua_pop(L, 1);
    }
    return sent;
}

int mp_codec_encode(lua_State *L, int first, int n, mp_message *message) {
    return encode_for(L, first, n, message, (preparation){.is_fresh = 0});
}

int mp_codec_encode_fresh(lua_State *L, int first, int n, mp_message *message) {
    return encode_for(L, first, n, message, (preparation){.is_fresh = 1});
}

int mp_codec_encode_server(lua_State *L, int first, int n, mp_message *message) {
    return encode_for(L, first, n, message, (preparation){.is_fresh = 1, .is_server = 1});
}

/* --- scalars -------------------------------------------------------------- */

static size_t put_scalar_number(lua_State *L, int index, unsigned char *to) {
    const lua_Number value = lua_tonumber(L, index);
    if (lua_isinteger(L, index))
        return mp_wire_integer(to, lua_tointeger(L, index));
    return mp_wire_word(to, MP_TAG_FLOAT, &value, sizeof value);
}

size_t mp_codec_scalar(lua_State *L, int index, unsigned char bytes[static MP_CODEC_SCALAR]) {
    size_t len = 0;
    bytes[0] = 1;
    switch (lua_type(L, index)) {
    case LUA_TNUMBER:
        len = put_scalar_number(L, index, bytes + 1);
        break;
    case LUA_TBOOLEAN:
        len =
            mp_wire_word(bytes + 1, lua_toboolean(L, index) ? MP_TAG_TRUE : MP_TAG_FALSE, bytes, 0);
        break;
    case LUA_TSTRING:
        if (lua_rawlen(L, index) > MP_SHORT)
            return 0;
        const char *s = lua_tolstring(L, index, &len);
        len = mp_wire_word(bytes + 1, MP_TAG_STRING + (int)len, s, len);
        break;
    default:
        return 0;
    }
    return 1 + len;
}

/* An integer or a float of so many bytes behind its tag, or a boolean. */
static int push_word(lua_State *L, int tag, const char *bytes, size_t n) {
    int16_t i16;
    int32_t i32;
    lua_Integer i64;
    lua_Number number;
    if (tag == MP_TAG_INT16 && n == sizeof i16)
        lua_pushinteger(L, *(int16_t *)memcpy(&i16, bytes, n));
    else if (tag == MP_TAG_INT32 && n == sizeof i32)
        lua_pushinteger(L, *(int32_t *)memcpy(&i32, bytes, n));
    else if (tag == MP_TAG_INT64 && n == sizeof i64)
        lua_pushinteger(L, *(lua_Integer *)memcpy(&i64, bytes, n));
    else if (tag == MP_TAG_FLOAT && n == sizeof number)
        lua_pushnumber(L, *(lua_Number *)memcpy(&number, bytes, n));
    else if ((tag == MP_TAG_TRUE || tag == MP_TAG_FALSE) && n == 0)
        lua_pushboolean(L, tag == MP_TAG_TRUE);
    else
        return 0;
    return 1;
}

int mp_codec_plain(lua_State *L, const char *bytes, size_t len) {
    if (len < 2 || bytes[0] != 1)
        return 0;
    const int tag = (unsigned char)bytes[1];
    if (tag >= MP_TAG_NIL)
        return push_word(L, tag, bytes + 2, len - 2);
    if (len != 2)
        return 0;
    lua_pushinteger(L, tag < 0x80 ? tag : tag - 0xa0);
    return 1;
}
