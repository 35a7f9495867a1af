/*
** codec.c: Lua values to bytes, and the codec's Lua functions. wire.h has the
** format, decode.c the way back.
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
** Strings of at least BIG bytes are not copied: the message is a list of
** pieces, and they are pieces of their own. Numbered like tables, such a
** string goes once however often it is met.
**
** Encoding runs no Lua code: no metamethod, and no call that steps the
** collector, so no finalizer changes a table under the walk, or encodes.
*/
#include "binding/codec.h"

#include <stdlib.h>
#include <string.h>

#include "binding/wire.h"

static int raise_memory(lua_State *L) {
    lua_pushliteral(L, "not enough memory");
    return lua_error(L);
}

void mp_wire_need_stack(lua_State *L, int n) {
    if (!lua_checkstack(L, n))
        raise_memory(L);
}

/*
** The encoder: all memory that encoding takes, one userdata in the registry.
** A message that begins sets anew all but the memory, which is whole at every
** moment: an encode that raised leaves nothing to mend.
**
** `slots` finds the number of an object by its address: open addressing, at
** most half full. A slot is in use when its serial number is not below
** `base`; the next message has a higher base, so nothing needs clearing.
**
** In `pieces`, one of the buffer and one of a string alternate. Until the
** message is finished, a piece of the buffer has only its end, in iov_len.
*/
typedef struct slot {
    const void *object;
    uint64_t serial;
} slot;

typedef struct encoder {
    lua_State *L;
    int self; /* stack index of this userdata */
    unsigned char *bytes;
    size_t len, size;
    struct iovec *pieces;
    size_t n_pieces, size_pieces;
    slot *slots;
    size_t n_slots;         /* a power of two, or 0 */
    uint64_t base, serial;  /* this message gave out the serials [base, serial) */
    lua_Integer n_deferred; /* in the list of deferred tables */
    uint64_t n_refs, n_metas;
    const void *error_meta; /* the metatable of error objects, once asked for */
    char *flat;             /* see push_message */
} encoder;

enum {
    BIG = 32 * 1024,    /* strings from here on are not copied */
    KEEP = 1024 * 1024, /* bytes of memory that stay for the next message */
};

/* The user values of the encoder: two names, and the list of deferred tables. */
enum { NAME_GC = 1, NAME_CLOSE, DEFERRED, USER_VALUES = DEFERRED };

static char encoder_key; /* its address is the encoder's key in the registry */

static void free_buffer(encoder *e) {
    free(e->bytes);
    free(e->pieces);
    e->bytes = NULL;
    e->pieces = NULL;
    e->size = e->size_pieces = 0;
}

static void free_slots(encoder *e) {
    free(e->slots);
    e->slots = NULL;
    e->n_slots = 0;
}

static int encoder_gc(lua_State *L) {
    encoder *e = lua_touserdata(L, 1);
    free_buffer(e);
    free_slots(e);
    free(e->flat);
    e->flat = NULL;
    return 0;
}

static encoder *encoder_new(lua_State *L) {
    encoder *e = lua_newuserdatauv(L, sizeof(*e), USER_VALUES);
    memset(e, 0, sizeof(*e));
    e->base = e->serial = 1;
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, encoder_gc);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    lua_pushliteral(L, "__gc");
    lua_setiuservalue(L, -2, NAME_GC);
    lua_pushliteral(L, "__close");
    lua_setiuservalue(L, -2, NAME_CLOSE);
    lua_newtable(L);
    lua_setiuservalue(L, -2, DEFERRED);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &encoder_key);
    return e;
}

/* Pushes the encoder, ready for a message. What collects, does so in here. */
static encoder *encoder_begin(lua_State *L) {
    mp_wire_need_stack(L, MP_LEVEL_SLOTS);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &encoder_key);
    encoder *e = lua_touserdata(L, -1);
    if (e == NULL) {
        lua_pop(L, 1);
        e = encoder_new(L);
    }
    if (e->n_deferred > 0) {
        lua_newtable(L);
        lua_setiuservalue(L, -2, DEFERRED);
    }
    if (e->size > KEEP || e->size_pieces * sizeof(*e->pieces) > KEEP)
        free_buffer(e);
    e->L = L;
    e->self = lua_gettop(L);
    e->base = e->serial;
    e->len = e->n_pieces = 0;
    e->n_deferred = 0;
    e->n_refs = e->n_metas = 0;
    e->error_meta = NULL;
    return e;
}

/*
** After a message, also a refused one. Its bytes stay for the caller. A list
** of deferred tables would keep them alive: it goes, the next message brings
** another.
*/
static void encoder_end(encoder *e) {
    if (e->n_deferred > 0) {
        lua_pushnil(e->L);
        lua_setiuservalue(e->L, e->self, DEFERRED);
    }
    if (e->n_slots * sizeof(slot) > KEEP)
        free_slots(e);
}

static size_t slot_of(size_t n_slots, const void *object) {
    return ((uint64_t)(uintptr_t)object * 0x9e3779b97f4a7c15u >> 32) & (n_slots - 1);
}

static void more_slots(encoder *e) {
    size_t n = e->n_slots == 0 ? 64 : 2 * e->n_slots;
    slot *slots = calloc(n, sizeof(*slots));
    if (slots == NULL)
        raise_memory(e->L);
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

/* Is the object in the message already? Then *number is its number; else it gets the next. */
static int known(encoder *e, const void *object, uint64_t *number) {
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
    e->slots[at] = (slot){object, e->serial++};
    return 0;
}

static void more_room(encoder *e, size_t n) {
    size_t size = e->size == 0 ? 512 : 2 * e->size;
    while (size - e->len < n)
        size *= 2;
    unsigned char *bytes = realloc(e->bytes, size);
    if (bytes == NULL)
        raise_memory(e->L);
    e->bytes = bytes;
    e->size = size;
}

/* The end of the buffer, where n more bytes have room. */
static inline unsigned char *room(encoder *e, size_t n) {
    if (e->size - e->len < n)
        more_room(e, n);
    return e->bytes + e->len;
}

static inline void put_byte(encoder *e, int byte) {
    *room(e, 1) = (unsigned char)byte;
    e->len++;
}

/* A tag and the n low bytes of a word. */
static inline void put_word(encoder *e, int tag, const void *word, size_t n) {
    unsigned char *to = room(e, 1 + n);
    *to = (unsigned char)tag;
    memcpy(to + 1, word, n);
    e->len += 1 + n;
}

static void put_integer(encoder *e, lua_Integer value) {
    if (value >= -32 && value <= 127)
        put_byte(e, (int)(value >= 0 ? value : value + MP_TAG_NIL));
    else if (value == (int16_t)value)
        put_word(e, MP_TAG_INT16, &value, sizeof(int16_t));
    else if (value == (int32_t)value)
        put_word(e, MP_TAG_INT32, &value, sizeof(int32_t));
    else
        put_word(e, MP_TAG_INT64, &value, sizeof(value));
}

static void put_number(encoder *e, int index) {
    if (lua_isinteger(e->L, index)) {
        put_integer(e, lua_tointeger(e->L, index));
    } else {
        lua_Number value = lua_tonumber(e->L, index);
        put_word(e, MP_TAG_FLOAT, &value, sizeof(value));
    }
}

static void put_ref(encoder *e, uint64_t number) {
    e->n_refs++;
    put_byte(e, MP_TAG_REF);
    put_integer(e, (lua_Integer)number);
}

static void put_piece(encoder *e, const char *s, size_t len) {
    if (e->size_pieces - e->n_pieces < 3) {
        size_t size = e->size_pieces == 0 ? 16 : 2 * e->size_pieces;
        struct iovec *pieces = realloc(e->pieces, size * sizeof(*pieces));
        if (pieces == NULL)
            raise_memory(e->L);
        e->pieces = pieces;
        e->size_pieces = size;
    }
    e->pieces[e->n_pieces++] = (struct iovec){NULL, e->len};
    if (s != NULL)
        e->pieces[e->n_pieces++] = (struct iovec){(char *)s, len};
}

static void put_string(encoder *e, int index) {
    size_t len;
    uint64_t number;
    const char *s = lua_tolstring(e->L, index, &len);
    if (len <= MP_SHORT) {
        unsigned char *to = room(e, 1 + len);
        *to = (unsigned char)(MP_TAG_STRING + len);
        memcpy(to + 1, s, len);
        e->len += 1 + len;
    } else if (len < BIG) {
        put_word(e, MP_TAG_STRING16, &len, sizeof(uint16_t));
        memcpy(room(e, len), s, len);
        e->len += len;
    } else if (known(e, s, &number)) {
        put_ref(e, number);
    } else {
        put_word(e, MP_TAG_STRING64, &len, sizeof(len));
        put_piece(e, s, len);
    }
}

static int put_value(encoder *e, int index, int depth);

/* Makes room for two u64 in the head of a table: what follows moves up. */
static void widen(encoder *e, size_t head) {
    const size_t narrow = 3, wide = 17, more = wide - narrow;
    room(e, more);
    unsigned char *at = e->bytes + head;
    memmove(at + wide, at + narrow, e->len - head - narrow);
    *at = MP_TAG_TABLE64;
    e->len += more;
    for (size_t i = e->n_pieces; i >= 2 && e->pieces[i - 2].iov_len > head; i -= 2)
        e->pieces[i - 2].iov_len += more;
}

/* The table on top, without its metatable. Returns as put_value. */
static int put_fields(encoder *e, int depth) {
    lua_State *L = e->L;
    const size_t head = e->len;
    uint64_t n[2] = {0, 0}; /* run, pairs */
    int wide = 0;
    put_word(e, MP_TAG_TABLE, n, 2);
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
        if (n[1] == 0 && lua_isinteger(L, -2) && (uint64_t)lua_tointeger(L, -2) == n[0] + 1) {
            n[0]++;
        } else {
            n[1]++;
            if (!put_value(e, -2, depth + 1))
                return 0;
        }
        if (!wide && (n[0] | n[1]) > UINT8_MAX) {
            widen(e, head);
            wide = 1;
        }
        if (!put_value(e, -1, depth + 1))
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
static int has_field(encoder *e, int name) {
    lua_getiuservalue(e->L, e->self, name);
    int has = lua_rawget(e->L, -2) != LUA_TNIL;
    lua_pop(e->L, 1);
    return has;
}

static int is_error_meta(encoder *e) {
    if (e->error_meta == NULL) {
        luaL_getmetatable(e->L, "luamp.error");
        e->error_meta = lua_topointer(e->L, -1);
        lua_pop(e->L, 1);
    }
    return lua_topointer(e->L, -1) == e->error_meta;
}

/* The table on top, by its contents. Returns as put_value. */
static int put_contents(encoder *e, int depth) {
    lua_State *L = e->L;
    if (!lua_getmetatable(L, -1))
        return put_fields(e, depth);
    if (is_error_meta(e)) {
        lua_pop(L, 1);
        put_byte(e, MP_TAG_ERROR);
        return put_fields(e, depth);
    }
    if (has_field(e, NAME_GC) || has_field(e, NAME_CLOSE))
        return 0;
    lua_insert(L, -2);
    put_byte(e, MP_TAG_META);
    e->n_metas++;
    if (!put_fields(e, depth))
        return 0;
    lua_insert(L, -2);
    if (!put_value(e, -1, depth + 1))
        return 0;
    lua_pop(L, 1);
    return 1;
}

static void put_defer(encoder *e, int index) {
    put_byte(e, MP_TAG_DEFER);
    lua_pushvalue(e->L, index);
    lua_getiuservalue(e->L, e->self, DEFERRED);
    lua_insert(e->L, -2);
    lua_rawseti(e->L, -2, ++e->n_deferred);
    lua_pop(e->L, 1);
}

/* Writes a value. Returns 1, or 0 with one that cannot be sent on top of the stack. */
static int put_value(encoder *e, int index, int depth) {
    lua_State *L = e->L;
    uint64_t number;
    switch (lua_type(L, index)) {
    case LUA_TNUMBER:
        put_number(e, index);
        return 1;
    case LUA_TSTRING:
        put_string(e, index);
        return 1;
    case LUA_TBOOLEAN:
        put_byte(e, lua_toboolean(L, index) ? MP_TAG_TRUE : MP_TAG_FALSE);
        return 1;
    case LUA_TNIL:
        put_byte(e, MP_TAG_NIL);
        return 1;
    case LUA_TTABLE:
        break;
    default:
        lua_pushvalue(L, index);
        return 0;
    }
    mp_wire_need_stack(L, MP_LEVEL_SLOTS);
    if (known(e, lua_topointer(L, index), &number)) {
        put_ref(e, number);
    } else if (depth == MP_MAX_DEPTH) {
        put_defer(e, index);
    } else {
        lua_pushvalue(L, index);
        if (!put_contents(e, depth))
            return 0;
        lua_pop(L, 1);
    }
    return 1;
}

/* The contents of the deferred tables, and of those that they defer. */
static int put_items(encoder *e) {
    lua_State *L = e->L;
    uint64_t number;
    for (lua_Integer i = 1; i <= e->n_deferred; i++) {
        lua_getiuservalue(L, e->self, DEFERRED);
        lua_rawgeti(L, -1, i);
        known(e, lua_topointer(L, -1), &number);
        put_integer(e, (lua_Integer)number);
        if (!put_contents(e, 0))
            return 0;
        lua_pop(L, 2);
    }
    return 1;
}

static int put_values(encoder *e, int first, int n) {
    if (n < MP_MANY) {
        put_byte(e, n);
    } else {
        uint64_t many = (uint64_t)n;
        put_word(e, MP_MANY, &many, sizeof(many));
    }
    for (int i = 0; i < n; i++) {
        if (!put_value(e, first + i, 0))
            return 0;
    }
    return put_items(e);
}

static void put_trailer(encoder *e) {
    int listed = e->n_refs > 0 || e->n_deferred > 0;
    if (!listed && e->n_metas == 0)
        return;
    mp_trailer end = {listed ? e->serial - e->base : 0, (uint64_t)e->n_deferred, e->n_metas};
    memcpy(room(e, sizeof(end)), &end, sizeof(end));
    e->len += sizeof(end);
    e->bytes[0] |= MP_LINKED;
}

static void finish(encoder *e, mp_message *message) {
    put_trailer(e);
    put_piece(e, NULL, 0);
    size_t from = 0, len = e->len;
    for (size_t i = 0; i < e->n_pieces; i += 2) {
        size_t to = e->pieces[i].iov_len;
        e->pieces[i] = (struct iovec){e->bytes + from, to - from};
        from = to;
        if (i > 0)
            len += e->pieces[i - 1].iov_len;
    }
    *message = (mp_message){e->pieces, (int)e->n_pieces, len};
}

int mp_codec_encode(lua_State *L, int first, int n, mp_message *message) {
    first = lua_absindex(L, first);
    encoder *e = encoder_begin(L);
    int sent = put_values(e, first, n);
    if (sent)
        finish(e, message);
    encoder_end(e);
    if (!sent)
        lua_replace(L, e->self);
    lua_settop(L, sent ? e->self - 1 : e->self);
    return sent;
}

/*
** Pushes a message as one string. It is joined in memory of the encoder, not
** in a buffer of Lua's, because making that could collect: a finalizer may
** encode in its turn, and a long string that only a weak table holds may go.
*/
static void push_message(lua_State *L, const mp_message *message) {
    lua_rawgetp(L, LUA_REGISTRYINDEX, &encoder_key);
    encoder *e = lua_touserdata(L, -1);
    free(e->flat);
    char *to = e->flat = malloc(message->len);
    if (to == NULL)
        raise_memory(L);
    for (int i = 0; i < message->n_pieces; i++) {
        memcpy(to, message->pieces[i].iov_base, message->pieces[i].iov_len);
        to += message->pieces[i].iov_len;
    }
    lua_pushlstring(L, e->flat, message->len);
    free(e->flat);
    e->flat = NULL;
}

/* encode(...): the message as a string; or nil and the value that cannot be sent. */
static int codec_encode(lua_State *L) {
    mp_message message;
    if (!mp_codec_encode(L, 1, lua_gettop(L), &message)) {
        lua_pushnil(L);
        lua_insert(L, -2);
        return 2;
    }
    if (message.n_pieces == 1)
        lua_pushlstring(L, message.pieces[0].iov_base, message.len);
    else
        push_message(L, &message);
    return 1;
}

/* decode(message): its values; raises when it is none. */
static int codec_decode(lua_State *L) {
    size_t len;
    const char *bytes = luaL_checklstring(L, 1, &len);
    int n = mp_codec_decode(L, bytes, len);
    if (n >= 0)
        return n;
    lua_pushliteral(L, "not a luamp message");
    return lua_error(L);
}

int mp_codec_open(lua_State *L) {
    static const luaL_Reg functions[] = {
        {"encode", codec_encode}, {"decode", codec_decode}, {NULL, NULL}};
    luaL_newlib(L, functions);
    return 1;
}
