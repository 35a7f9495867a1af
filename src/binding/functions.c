/*
** functions.c: Lua functions in a message: their code, and their upvalues.
**
** Code is what string.dump gives, with debug information, so that tracebacks name
** lines. Closures of the same code have it once in a message: it is found again
** by a hash, and compared. An upvalue is numbered like a table, by its identity,
** so closures that share a variable share it on the other side, too.
**
** A forkserver gets code once. Globals are looked for in it, so it is written into the message
** all the same, and replaced by its place in the forkserver's store when the message is whole.
*/
#include <stdlib.h>

#include "binding/encoder.h"
#include "engine/store.h"

enum { CODE_HEAD = 1 + sizeof(uint32_t) }; /* bytes before code: its tag and length */

typedef struct dump {
    mp_encoder *e;
    int is_short; /* of memory: nothing is raised through lua_dump */
} dump;

/* Room for n bytes more, or 0. */
static int has_room(mp_encoder *e, size_t n) {
    if (e->size - e->len >= n)
        return 1;
    size_t size = 2 * (e->len + n);
    unsigned char *bytes = realloc(e->bytes, size);
    if (bytes == NULL)
        return 0;
    e->bytes = bytes;
    e->size = size;
    return 1;
}

static int write_dump(lua_State *L, const void *bytes, size_t n, void *arg) {
    (void)L;
    dump *d = arg;
    if (!has_room(d->e, n)) {
        d->is_short = 1;
        return 1;
    }
    if (n > 0)
        memcpy(d->e->bytes + d->e->len, bytes, n);
    d->e->len += n;
    return 0;
}

/* FNV-1a over words of eight bytes, the last one filled up by zeros. */
static uint64_t hash(const unsigned char *bytes, size_t len) {
    uint64_t h = 0xcbf29ce484222325u ^ len;
    for (size_t i = 0; i < len; i += 8) {
        uint64_t word = 0;
        memcpy(&word, bytes + i, len - i < 8 ? len - i : 8);
        h = (h ^ word) * 0x100000001b3u;
        h ^= h >> 29;
    }
    return h;
}

static mp_code *find_code(const mp_encoder *e, const mp_code *code) {
    for (mp_code *c = e->codes; c < e->codes + e->n_codes; c++)
        if (c->hash == code->hash && c->len == code->len &&
            memcmp(e->bytes + c->at, e->bytes + code->at, code->len) == 0)
            return c;
    return NULL;
}

static void keep_code(mp_encoder *e, mp_code code) {
    if (e->n_codes == e->size_codes) {
        size_t size = e->size_codes == 0 ? 8 : 2 * e->size_codes;
        mp_code *codes = realloc(e->codes, size * sizeof *codes);
        if (codes == NULL)
            mp_raise_memory(e->L);
        e->codes = codes;
        e->size_codes = size;
    }
    code.serial = e->serial++;
    e->codes[e->n_codes++] = code;
}

/* Where the bytes of a message go that becomes shorter, and the next piece to end. */
typedef struct move {
    size_t from, to, piece;
} move;

/* Moves what there is up to that offset. */
static void move_up(mp_encoder *e, move *m, size_t upto) {
    memmove(e->bytes + m->to, e->bytes + m->from, upto - m->from);
    for (; m->piece < e->n_pieces && e->pieces[m->piece].iov_len <= upto; m->piece += 2)
        e->pieces[m->piece].iov_len -= m->from - m->to;
    m->to += upto - m->from;
    m->from = upto;
}

void mp_put_known(mp_encoder *e) {
    move m = {0, 0, 0};
    for (const mp_code *c = e->codes; c < e->codes + e->n_codes; c++) {
        const uint32_t place = mp_store_put(e->bytes + c->at, (uint32_t)c->len, c->hash);
        if (place == 0)
            continue;
        move_up(e, &m, c->at - CODE_HEAD);
        e->bytes[m.to] = MP_TAG_KNOWN;
        memcpy(e->bytes + m.to + 1, &place, sizeof place);
        memcpy(e->bytes + m.to + 1 + sizeof place, &c->hash, sizeof c->hash);
        m.to += 1 + sizeof place + sizeof c->hash;
        m.from = c->at + c->len;
    }
    move_up(e, &m, e->len);
    e->len = m.to;
}

/* Which upvalues of the function on top are the global environment. */
static mp_bits environments(const mp_encoder *e) {
    mp_bits env = {{0}};
    for (int i = 1; lua_getupvalue(e->L, -1, i) != NULL; i++) {
        if (lua_topointer(e->L, -1) == e->environment)
            mp_bits_add(&env, (unsigned)i - 1);
        lua_pop(e->L, 1);
    }
    return env;
}

/* The code of the function on top: MP_TAG_CODE with its length and bytes, or where it was before.
 */
static void put_code(mp_encoder *e) {
    const size_t head = e->len;
    dump d = {.e = e};
    uint32_t len = 0;
    mp_put_word(e, MP_TAG_CODE, &len, sizeof len);
    mp_code code = {.at = e->len, .env = environments(e)};
    lua_dump(e->L, write_dump, &d, 0);
    code.len = e->len - code.at;
    if (d.is_short || code.len > UINT32_MAX)
        mp_raise_memory(e->L);
    code.hash = hash(e->bytes + code.at, code.len);
    mp_code *same = find_code(e, &code);
    if (same != NULL) {
        for (int i = 0; i < 4; i++)
            same->env.words[i] |= code.env.words[i];
        e->len = head;
        mp_put_ref(e, MP_TAG_REF, same->serial - e->base);
        return;
    }
    len = (uint32_t)code.len;
    memcpy(e->bytes + head + 1, &len, sizeof len);
    keep_code(e, code);
}

int mp_put_upvalues(mp_encoder *e, int index, int depth) {
    lua_State *L = e->L;
    index = lua_absindex(L, index);
    for (int i = 1; lua_getupvalue(L, index, i) != NULL; i++) {
        uint64_t number;
        if (mp_encoder_knows(e, lua_upvalueid(L, index, i), &number))
            mp_put_ref(e, MP_TAG_UPVALUE, number);
        else if (!mp_put_value(e, -1, depth + 1))
            return 0;
        lua_pop(L, 1);
    }
    return 1;
}

int mp_put_function(mp_encoder *e, int index, int depth) {
    lua_State *L = e->L;
    lua_Debug ar;
    e->is_plain = 0;
    lua_pushvalue(L, index);
    lua_pushvalue(L, -1);
    lua_getinfo(L, ">u", &ar);
    mp_put_byte(e, depth < MP_MAX_DEPTH ? MP_TAG_FUNCTION : MP_TAG_LATER);
    mp_put_byte(e, ar.nups);
    put_code(e);
    if (depth == MP_MAX_DEPTH)
        mp_encoder_defer(e, -1);
    else if (!mp_put_upvalues(e, -1, depth))
        return 0;
    lua_pop(L, 1);
    return 1;
}
