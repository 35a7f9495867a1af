/*
** globals.c: the globals that functions of a message use, which go with it.
**
** A global is looked for in the code of the functions: in what string.dump gives,
** it is read by the instruction GETTABUP, from an upvalue that is the environment,
** by a constant. The instruction's number is learnt from a known piece of code. A
** function with so many constants that some do not fit into an instruction has
** all of those taken for names.
**
** The globals are gone through, and not the names in the code: that makes no
** string, and collects nothing. What every receiver has is passed over. The format
** of code is that of lundump.c of Lua 5.4.
*/
#include <stdint.h>
#include <stdlib.h>

#include "binding/encoder.h"

enum {
    HEADER = 4 + 1 + 1 + 6 + 3 + 8 + 8 + 1, /* bytes before the function, with n_upvalues */
    MAX_IN_INSTRUCTION = 255,               /* constants that an instruction can name */
    MAX_DEPTH = 200,                        /* of functions in functions, as the compiler has it */
};

enum constant {
    NUMBER_FLOAT = 0x13,
    NUMBER_INTEGER = 0x03,
    STRING_SHORT = 0x04,
    STRING_LONG = 0x14
};

/* --- the names that are used ---------------------------------------------- */

typedef struct text {
    const char *s; /* or NULL: another constant */
    size_t len;
} text;

/* FNV-1a. */
static size_t hash(text t) {
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < t.len; i++)
        h = (h ^ (unsigned char)t.s[i]) * 0x100000001b3u;
    return (size_t)(h ^ h >> 32);
}

/* The place of a name in the set: where it is, or a free one. */
static mp_used *place_of(const mp_encoder *e, text t) {
    size_t at = hash(t) & (e->size_used - 1);
    while (e->used[at].len != 0 &&
           (e->used[at].len != t.len || memcmp(e->bytes + e->used[at].at, t.s, t.len) != 0))
        at = (at + 1) & (e->size_used - 1);
    return &e->used[at];
}

static void more_used(mp_encoder *e) {
    mp_used *before = e->used;
    size_t n = e->size_used;
    mp_used *used = calloc(n == 0 ? 64 : 2 * n, sizeof *used);
    if (used == NULL)
        mp_raise_memory(e->L);
    e->used = used;
    e->size_used = n == 0 ? 64 : 2 * n;
    for (size_t i = 0; i < n; i++)
        if (before[i].len != 0)
            *place_of(e, (text){(const char *)e->bytes + before[i].at, before[i].len}) = before[i];
    free(before);
}

static void add_used(mp_encoder *e, text t) {
    if (2 * e->n_used >= e->size_used)
        more_used(e);
    mp_used *place = place_of(e, t);
    e->n_used += place->len == 0;
    *place = (mp_used){(size_t)((const unsigned char *)t.s - e->bytes), t.len};
}

/* --- reading code --------------------------------------------------------- */

typedef struct reader {
    mp_encoder *e;
    const unsigned char *at, *end;
    unsigned get_global; /* the number of the instruction */
    int depth;
} reader;

static const unsigned char *skip(reader *r, size_t n) {
    const unsigned char *at = r->at;
    r->at = (size_t)(r->end - at) < n ? r->end : at + n;
    return at;
}

/* Seven bits in a byte, the last of which has the eighth set. */
static size_t size(reader *r) {
    size_t n = 0;
    while (r->at < r->end) {
        unsigned char byte = *r->at++;
        n = n << 7 | (byte & 0x7f);
        if (byte & 0x80)
            break;
    }
    return n;
}

/* A string's length is written with one more; 0 is none. */
static const char *string(reader *r, size_t *len) {
    size_t n = size(r);
    *len = n > 0 ? n - 1 : 0;
    return (const char *)skip(r, *len);
}

static text constant(reader *r) {
    text t = {NULL, 0};
    switch (*skip(r, 1)) {
    case NUMBER_FLOAT:
    case NUMBER_INTEGER:
        skip(r, 8);
        break;
    case STRING_SHORT:
    case STRING_LONG:
        t.s = string(r, &t.len);
        break;
    default: /* nil, false, true */
        break;
    }
    return t;
}

/* The constants that instructions read from an upvalue that is the environment. */
static mp_bits read_from(const reader *r, const unsigned char *code, size_t n, const mp_bits *env) {
    mp_bits constants = {{0}};
    for (size_t k = 0; k < n; k++) {
        uint32_t word;
        memcpy(&word, code + 4 * k, sizeof word);
        if ((word & 0x7f) == r->get_global && mp_bits_has(env, word >> 16 & 0xff))
            mp_bits_add(&constants, word >> 24);
    }
    return constants;
}

static void find_in_code(const reader *r, const unsigned char *code, size_t n, reader constants,
                         const mp_bits *env) {
    const mp_bits read = read_from(r, code, n, env);
    size_t n_constants = size(&constants);
    for (size_t i = 0; i < n_constants && constants.at < constants.end; i++) {
        text t = constant(&constants);
        if (t.s != NULL && t.len > 0 && (i > MAX_IN_INSTRUCTION || mp_bits_has(&read, (unsigned)i)))
            add_used(r->e, t);
    }
}

static void skip_debug_information(reader *r) {
    size_t len;
    skip(r, size(r)); /* lines */
    for (size_t n = size(r); n > 0 && r->at < r->end; n--)
        size(r), size(r);
    for (size_t n = size(r); n > 0 && r->at < r->end; n--) /* local variables */
        string(r, &len), size(r), size(r);
    for (size_t n = size(r); n > 0 && r->at < r->end; n--) /* upvalues */
        string(r, &len);
}

/* Which upvalues of the function, whose descriptions come next, are the environment. */
static mp_bits inherited(reader *r, const mp_bits *env) {
    mp_bits mine = {{0}};
    size_t n = size(r);
    for (size_t i = 0; i < n && i <= UINT8_MAX && r->at < r->end; i++) {
        const unsigned char *u = skip(r, 3); /* in stack, index, kind */
        if (u[0] == 0 && mp_bits_has(env, u[1]))
            mp_bits_add(&mine, (unsigned)i);
    }
    return mine;
}

/* A function whose creator has the environment in the upvalues `env`; of the outermost, its own. */
static void function(reader *r, const mp_bits *env) {
    size_t len;
    string(r, &len); /* source */
    size(r), size(r), skip(r, 3);
    size_t n = size(r);
    const unsigned char *code = skip(r, 4 * n);
    reader constants = *r; /* read when it is known which upvalue is the environment */
    for (size_t i = size(r); i > 0 && r->at < r->end; i--)
        constant(r);
    mp_bits mine = inherited(r, env);
    if (r->depth == 0)
        mine = *env;
    if (mp_bits_any(&mine) && r->at < r->end)
        find_in_code(r, code, n, constants, &mine);
    for (size_t i = size(r); i > 0 && r->at < r->end && r->depth < MAX_DEPTH; i--) {
        r->depth++;
        function(r, &mine);
        r->depth--;
    }
    skip_debug_information(r);
}

static void search(mp_encoder *e, const mp_code *code) {
    const unsigned char *bytes = e->bytes + code->at;
    reader r = {
        .e = e, .at = bytes + HEADER, .end = bytes + code->len, .get_global = e->get_global};
    if (mp_bits_any(&code->env) && code->len > HEADER)
        function(&r, &code->env);
}

/* --- the instruction ------------------------------------------------------ */

typedef struct known_code {
    unsigned char bytes[128];
    size_t len;
} known_code;

static int keep_instruction(lua_State *L, const void *bytes, size_t n, void *arg) {
    (void)L;
    known_code *known = arg;
    for (size_t i = 0; i < n && known->len < sizeof known->bytes; i++)
        known->bytes[known->len++] = ((const unsigned char *)bytes)[i];
    return 0;
}

/* It is the second of "return x": the first one prepares for varargs. */
unsigned mp_globals_instruction(lua_State *L) {
    known_code known = {.len = 0};
    if (luaL_loadbufferx(L, "return x", 8, "=", "t") == LUA_OK)
        lua_dump(L, keep_instruction, &known, 1);
    lua_pop(L, 1);
    reader r = {.at = known.bytes + HEADER, .end = known.bytes + known.len};
    size_t len;
    if (known.len <= HEADER)
        return UINT32_MAX;
    string(&r, &len);
    size(&r), size(&r), skip(&r, 3);
    uint32_t word;
    if (size(&r) < 2 || (size_t)(r.end - r.at) < 2 * sizeof word)
        return UINT32_MAX;
    memcpy(&word, r.at + sizeof word, sizeof word);
    return word & 0x7f;
}

/* --- in a message --------------------------------------------------------- */

/* Looks which names the code uses. What is looked at does not move before the next look. */
static void search_all(mp_encoder *e, size_t from, size_t upto) {
    if (e->n_used > 0)
        memset(e->used, 0, e->size_used * sizeof *e->used);
    e->n_used = 0;
    for (size_t i = from; i < upto; i++)
        search(e, &e->codes[i]);
}

/* Of a global, name and value on top: whether any of the code uses it. */
static int is_used(const mp_encoder *e) {
    text t;
    if (lua_type(e->L, -2) != LUA_TSTRING)
        return 0;
    t.s = lua_tolstring(e->L, -2, &t.len);
    return t.len > 0 && place_of(e, t)->len != 0;
}

/* Whether the receiver has it in any case. */
static int is_everywhere(mp_encoder *e) {
    lua_getiuservalue(e->L, e->self, MP_ENCODER_NAMES);
    int is = mp_names_is_everywhere(e->L, lua_gettop(e->L), lua_gettop(e->L) - 2);
    lua_pop(e->L, 1);
    return is;
}

/* Writes the global on top, name and value. Returns as mp_put_value. */
static int put_global(mp_encoder *e) {
    const int name = lua_gettop(e->L) - 1;
    e->owner = name;
    mp_put_byte(e, MP_TAG_GLOBAL);
    e->n_globals++;
    if (!mp_put_value(e, name, 0) || !mp_put_value(e, name + 1, 0))
        return 0;
    e->owner = 0;
    return 1;
}

int mp_put_globals(mp_encoder *e, size_t from, size_t upto) {
    lua_State *L = e->L;
    mp_wire_need_stack(L, MP_LEVEL_SLOTS);
    search_all(e, from, upto);
    if (e->n_used == 0)
        return 1;
    lua_pushglobaltable(L);
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
        if (is_used(e) && !is_everywhere(e) && !mp_encoder_leaves_out(e, -2) && !put_global(e))
            return 0;
    }
    lua_pop(L, 1);
    return 1;
}

/* Looks which names the function at 1 uses, which is alone on the stack; a result comes at 2. */
static mp_encoder *search_function(lua_State *L) {
    luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_settop(L, 1);
    lua_newtable(L);
    mp_encoder *e = mp_encoder_begin(L);
    mp_put_function(e, 1, MP_MAX_DEPTH); /* its code alone */
    search_all(e, 0, 1);
    return e;
}

int mp_names_used(lua_State *L) {
    mp_encoder *e = search_function(L);
    size_t len = 0;
    for (size_t i = 0; e->n_used > 0 && i < e->size_used; i++)
        len += e->used[i].len != 0 ? sizeof(uint32_t) + e->used[i].len : 0;
    free(e->flat);
    char *to = e->flat = malloc(len + 1);
    if (to == NULL)
        mp_raise_memory(L);
    for (size_t i = 0; e->n_used > 0 && i < e->size_used; i++) {
        const uint32_t n = (uint32_t)e->used[i].len;
        if (n == 0)
            continue;
        memcpy(to, &n, sizeof n);
        memcpy(to + sizeof n, e->bytes + e->used[i].at, n);
        to += sizeof n + n;
    }
    lua_pushlstring(L, e->flat, len);
    free(e->flat);
    e->flat = NULL;
    mp_encoder_end(e);
    return 1;
}

int mp_globals_of(lua_State *L) {
    lua_Integer n = 0;
    mp_encoder *e = search_function(L);
    lua_pushglobaltable(L);
    for (lua_pushnil(L); e->n_used > 0 && lua_next(L, -2); lua_pop(L, 1)) {
        if (is_used(e) && !is_everywhere(e)) {
            lua_pushvalue(L, -2);
            lua_rawseti(L, 2, ++n);
        }
    }
    mp_encoder_end(e);
    lua_settop(L, 2);
    return 1;
}
