/*
** queue.c: mp.queue and mp.priority_queue: values of Lua in the engine's queues.
**
** A value is encoded before anything is locked and decoded after everything is unlocked:
** no Lua call runs in between. What lies in a block in this process's hands (a long item)
** is freed on every way out: calls that may raise are protected while there is one.
**
** A wait that a signal ends goes on when its handler has run, or ends with the error that
** this raised; what was not put by then is not in the queue.
*/
#include "engine/queue.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "binding/codec.h"
#include "binding/shared.h"
#include "engine/pipe.h"
#include "engine/proc.h"

enum { ROOM = 16 * 1024 }; /* for short items that are taken together */

static mp_handle *check(lua_State *L, const char *method) {
    return mp_shared_check(L, MP_KIND_QUEUE, "mp.queue", method);
}

/* What a call is, with its class, in errors. */
#define WHERE(h, method)                                                                           \
    (mp_queue_has_priorities((h)->object) ? "mp.priority_queue: " method : "mp.queue: " method)

/* --- making --------------------------------------------------------------- */

/* new_queue(has_priorities, max_items, max_bytes) */
static int new_queue(lua_State *L) {
    mp_ref queue, hold;
    mp_handle *h = mp_shared_new(L, MP_KIND_QUEUE);
    const int has_priorities = lua_toboolean(L, 1);
    const uint64_t max_items = (uint64_t)luaL_checkinteger(L, 2);
    const uint64_t max_bytes = (uint64_t)luaL_checkinteger(L, 3);
    int rc = mp_queue_make(has_priorities, max_items, max_bytes, &queue, &hold);
    if (mp_shared_makes_room(L, rc))
        rc = mp_queue_make(has_priorities, max_items, max_bytes, &queue, &hold);
    if (rc < 0)
        return mp_shared_fail(L, has_priorities ? "mp.priority_queue" : "mp.queue", rc);
    mp_shared_set(L, h, queue, hold);
    return 1;
}

/* --- putting -------------------------------------------------------------- */

static mp_record record_of(const mp_message *m, long double priority) {
    return (mp_record){.pieces = m->pieces,
                       .n_pieces = m->n_pieces,
                       .len = m->len,
                       .objects = m->objects,
                       .n_objects = m->n_objects,
                       .priority = priority,
                       .is_alone = !m->is_plain};
}

static void free_blocks(const mp_ref *blocks, int n) {
    for (int i = 0; i < n; i++)
        if (blocks[i] != 0)
            mp_arena_free(mp_arena_hands(), blocks[i]);
}

static int put_record(mp_ref queue, const mp_record *record, mp_time deadline) {
    mp_ref block;
    int rc = mp_queue_wrap(record, mp_queue_has_priorities(queue), &block);
    if (rc == 0)
        rc = mp_queue_put(queue, record, &block, 1, deadline);
    if (rc < 0 && block != 0)
        free_blocks(&block, 1);
    return rc;
}

/* Encodes the value at `index` and puts it once: 1, or what the engine says. */
static int put_once(lua_State *L, mp_ref queue, int index, long double priority, mp_time deadline) {
    unsigned char scalar[MP_CODEC_SCALAR];
    struct iovec piece = {scalar, mp_codec_scalar(L, index, scalar)};
    mp_message m = {.pieces = &piece, .n_pieces = 1, .len = piece.iov_len, .is_plain = 1};
    if (m.len == 0 && !mp_codec_encode(L, index, 1, &m)) {
        lua_pop(L, 1);
        mp_shared_unsendable(L, index);
    }
    mp_shared_check_open(L); /* hooks have run */
    const mp_record record = record_of(&m, priority);
    return put_record(queue, &record, deadline);
}

/* The same, also after signals and waits in Lua, and after garbage was collected that held memory.
 */
int mp_shared_put(lua_State *L, mp_ref queue, int index, long double priority, mp_time deadline) {
    for (int has_collected = 0;;) {
        const int rc = put_once(L, queue, index, priority, mp_shared_wait(deadline));
        if (!mp_shared_goes_on(L, rc, MP_QUEUE_PUT, deadline) &&
            (has_collected++ > 0 || !mp_shared_makes_room(L, rc)))
            return rc;
    }
}

int mp_shared_put_failed(lua_State *L, const char *where, int rc) {
    if (rc == -ETIMEDOUT) {
        lua_pushnil(L);
        lua_pushliteral(L, "timeout");
        return 2;
    }
    return rc == -EPIPE ? mp_shared_is_closed_error(L, where) : mp_shared_fail(L, where, rc);
}

void mp_shared_check_item(lua_State *L, int index, const char *where) {
    if (lua_isnoneornil(L, index))
        mp_lib_raise(L, "%s: nil is no item", where);
}

static long double check_priority(lua_State *L, int index, const char *where) {
    const long double priority =
        lua_isinteger(L, index) ? (long double)lua_tointeger(L, index) : lua_tonumber(L, index);
    if (lua_type(L, index) != LUA_TNUMBER)
        mp_lib_raise(L, "%s: the priority must be a number, not %s", where,
                     luaL_typename(L, index));
    if (isnan(priority))
        mp_lib_raise(L, "%s: the priority is not a number (NaN)", where);
    return priority;
}

/* q:put(value, [timeout]), or q:put(value, priority, [timeout]) */
static int queue_put(lua_State *L) {
    const mp_handle *h = check(L, "put");
    const char *where = WHERE(h, "put");
    const int is_ranked = mp_queue_has_priorities(h->object);
    mp_shared_check_item(L, 2, where);
    const long double priority = is_ranked ? check_priority(L, 3, where) : 0;
    const mp_time deadline = mp_shared_deadline(L, is_ranked ? 4 : 3, where);
    const int rc = mp_shared_put(L, h->object, 2, priority, deadline);
    if (rc < 0)
        return mp_shared_put_failed(L, where, rc);
    lua_pushboolean(L, 1);
    return 1;
}

/* Many items on their way into a queue; a userdata that frees what did not get there. */
typedef struct load {
    mp_record *records;
    struct iovec *pieces; /* of short ones: in `bytes` */
    mp_ref *blocks;
    char *bytes;
    size_t len, size;
    int n, done;
    pid_t owner;
} load;

#define LOAD "luamp.load"

static int load_gc(lua_State *L) {
    load *l = luaL_checkudata(L, 1, LOAD);
    if (l->owner == mp_proc_self())
        free_blocks(l->blocks + l->done, l->n - l->done);
    free(l->records);
    free(l->pieces);
    free(l->blocks);
    free(l->bytes);
    *l = (load){.n = 0};
    return 0;
}

static load *new_load(lua_State *L, size_t n) {
    load *l = lua_newuserdatauv(L, sizeof *l, 0);
    *l = (load){.owner = mp_proc_self()};
    luaL_setmetatable(L, LOAD);
    l->records = calloc(n + 1, sizeof *l->records);
    l->pieces = calloc(n + 1, sizeof *l->pieces);
    l->blocks = calloc(n + 1, sizeof *l->blocks);
    if (l->records == NULL || l->pieces == NULL || l->blocks == NULL)
        luaL_error(L, "not enough memory");
    return l;
}

/* A copy of a short message; where it lies is known when all are there. */
static void keep_bytes(lua_State *L, load *l, const mp_message *m) {
    if (l->size - l->len < m->len) {
        const size_t size = 2 * (l->len + m->len) + 256;
        char *bytes = realloc(l->bytes, size);
        if (bytes == NULL)
            luaL_error(L, "not enough memory");
        l->bytes = bytes;
        l->size = size;
    }
    for (int i = 0; i < m->n_pieces; i++) {
        memcpy(l->bytes + l->len, m->pieces[i].iov_base, m->pieces[i].iov_len);
        l->len += m->pieces[i].iov_len;
    }
}

/* Encodes the item on top, the short way into `scalar`, and wraps it. */
static int wrap_item(lua_State *L, load *l, struct iovec *scalar, mp_message *m) {
    scalar->iov_len = mp_codec_scalar(L, -1, scalar->iov_base);
    *m = (mp_message){.pieces = scalar, .n_pieces = 1, .len = scalar->iov_len, .is_plain = 1};
    if (m->len == 0 && !mp_codec_encode(L, -1, 1, m)) {
        lua_pop(L, 1);
        mp_shared_unsendable(L, -1);
    }
    const mp_record record = record_of(m, 0);
    return mp_queue_wrap(&record, 0, &l->blocks[l->n]);
}

/* Adds the item on top. */
static void add_item(lua_State *L, load *l, const char *where) {
    unsigned char bytes[MP_CODEC_SCALAR];
    struct iovec scalar = {bytes, 0};
    mp_message m;
    int rc = wrap_item(L, l, &scalar, &m);
    if (mp_shared_makes_room(L, rc))
        rc = wrap_item(L, l, &scalar, &m);
    if (rc < 0)
        mp_shared_put_failed(L, where, rc);
    l->records[l->n] = (mp_record){.pieces = &l->pieces[l->n], .n_pieces = 1, .len = m.len};
    l->n++;
    if (l->blocks[l->n - 1] == 0)
        keep_bytes(L, l, &m);
}

static void place_bytes(load *l) {
    char *at = l->bytes;
    for (int i = 0; i < l->n; i++) {
        l->pieces[i] = (struct iovec){at, l->records[i].len};
        at += l->blocks[i] == 0 ? l->records[i].len : 0;
    }
}

/* Puts what is left of the load: 0, or what kept it from going in. */
static int put_load(lua_State *L, mp_ref queue, load *l, mp_time deadline) {
    int has_collected = 0;
    while (l->done < l->n) {
        const int rc = mp_queue_put(queue, l->records + l->done, l->blocks + l->done,
                                    l->n - l->done, mp_shared_wait(deadline));
        l->done += rc > 0 ? rc : 0;
        if (rc < 0 && !mp_shared_goes_on(L, rc, MP_QUEUE_PUT, deadline) &&
            (has_collected++ > 0 || !mp_shared_makes_room(L, rc)))
            return rc;
    }
    return 0;
}

/* q:put_many(list, [timeout]): how many went in. */
static int queue_put_many(lua_State *L) {
    const mp_handle *h = check(L, "put_many");
    const char *where = WHERE(h, "put_many");
    if (mp_queue_has_priorities(h->object))
        return mp_lib_raise(L, "%s: each item needs a priority of its own: put them one by one",
                            where);
    if (lua_type(L, 2) != LUA_TTABLE)
        return mp_lib_raise(L, "%s: expected a list of items, not %s", where, luaL_typename(L, 2));
    const mp_time deadline = mp_shared_deadline(L, 3, where);
    const lua_Integer n = luaL_len(L, 2);
    lua_pushnil(L);
    if (n == 0 && lua_next(L, 2) != 0)
        return mp_lib_raise(L, "%s: the table has keys, and no items", where);
    lua_settop(L, 3);
    load *l = new_load(L, (size_t)n);
    lua_toclose(L, -1);
    for (lua_Integer i = 1; i <= n; i++) {
        lua_geti(L, 2, i);
        mp_shared_check_item(L, -1, where);
        add_item(L, l, where);
        lua_pop(L, 1);
    }
    place_bytes(l);
    mp_shared_check_open(L); /* hooks have run */
    const int rc = put_load(L, h->object, l, deadline);
    if (rc < 0 && rc != -ETIMEDOUT)
        return mp_shared_put_failed(L, where, rc);
    lua_pushinteger(L, l->done);
    return 1;
}

/* --- getting -------------------------------------------------------------- */

/* What was taken, to be decoded where an error is caught. */
typedef struct catch {
    const mp_taken *taken;
    int n;
    lua_Integer before; /* items in the list already */
}
catch;

static void decode_taken(lua_State *L, const mp_taken *t) {
    if (mp_codec_decode(L, t->bytes, t->len, 1) != 1)
        luaL_error(L, "an item of a queue is damaged");
}

/* decode_one(catch): the value */
static int decode_one(lua_State *L) {
    decode_taken(L, ((const catch *)lua_touserdata(L, 1))->taken);
    return 1;
}

/* decode_all(catch, list): adds the values to the list */
static int decode_all(lua_State *L) {
    const catch *c = lua_touserdata(L, 1);
    for (int i = 0; i < c->n; i++) {
        decode_taken(L, &c->taken[i]);
        lua_rawseti(L, 2, c->before + i + 1);
    }
    return 0;
}

static void free_taken(const mp_taken *taken, int n) {
    for (int i = 0; i < n; i++)
        if (taken[i].block != 0)
            mp_arena_free(mp_arena_hands(), taken[i].block);
}

/* Raises, at the script's line, the words of an error on top that has none of its own. */
static int raise_decoding(lua_State *L, const char *where) {
    if (lua_type(L, -1) != LUA_TSTRING)
        return lua_error(L);
    lua_pushfstring(L, "%s: cannot receive an item: %s", where, lua_tostring(L, -1));
    return mp_lib_misuse(L);
}

/* Pushes what was taken, and frees its block, whatever happens. */
static void push_taken(lua_State *L, const mp_taken *t, const char *where) {
    if (t->block == 0) {
        decode_taken(L, t);
        return;
    }
    catch c = {t, 1, 0};
    lua_pushcfunction(L, decode_one);
    lua_pushlightuserdata(L, &c);
    const int failed = lua_pcall(L, 1, 1, 0);
    free_taken(t, 1);
    if (failed)
        raise_decoding(L, where);
}

/* Takes up to max items at once: how many, or a negative errno but -EINTR. */
static int take(lua_State *L, mp_ref queue, mp_ref hold, mp_taken *taken, int max, int is_more,
                char *room, size_t size, mp_time deadline) {
    int rc;
    luaL_checkstack(L, 8, NULL);
    do
        rc = mp_queue_take(queue, hold, taken, max, is_more, room, size, mp_shared_wait(deadline));
    while (mp_shared_goes_on(L, rc, MP_QUEUE_GET, deadline));
    return rc;
}

static int push_end(lua_State *L, const char *where, int rc) {
    if (rc != -ETIMEDOUT && rc != -EPIPE)
        return mp_shared_fail(L, where, rc);
    lua_pushnil(L);
    lua_pushstring(L, rc == -EPIPE ? "closed" : "timeout");
    return 2;
}

int mp_shared_get(lua_State *L, mp_ref queue, mp_ref hold, mp_time deadline, const char *where) {
    char room[MP_QUEUE_INLINE];
    mp_taken taken;
    int rc = take(L, queue, hold, &taken, 1, 0, room, sizeof room, deadline);
    if (rc < 0)
        return push_end(L, where, rc);
    push_taken(L, &taken, where);
    return 1;
}

/* q:get([timeout]) */
static int queue_get(lua_State *L) {
    const mp_handle *h = check(L, "get");
    const char *where = WHERE(h, "get");
    return mp_shared_get(L, h->object, h->hold, mp_shared_deadline(L, 2, where), where);
}

/* Adds to the list on top, which has n items, those that can be had now. Returns how many, or a
 * negative errno. */
static int take_more(lua_State *L, const mp_handle *h, lua_Integer n, lua_Integer max,
                     mp_time deadline) {
    char room[ROOM];
    mp_taken taken[MP_QUEUE_BATCH];
    const int wanted = max - n < MP_QUEUE_BATCH ? (int)(max - n) : MP_QUEUE_BATCH;
    int rc = take(L, h->object, h->hold, taken, wanted, n > 0, room, sizeof room, deadline);
    if (rc <= 0)
        return rc;
    catch c = {taken, rc, n};
    lua_pushcfunction(L, decode_all);
    lua_pushlightuserdata(L, &c);
    lua_pushvalue(L, -3);
    const int failed = lua_pcall(L, 2, 0, 0);
    free_taken(taken, rc);
    return failed ? raise_decoding(L, WHERE(h, "get_many")) : rc;
}

/* q:get_many(max, [timeout]): a list of 1 to max items. */
static int queue_get_many(lua_State *L) {
    const mp_handle *h = check(L, "get_many");
    const char *where = WHERE(h, "get_many");
    int is_integer;
    const lua_Integer max = lua_tointegerx(L, 2, &is_integer);
    if (!is_integer || max < 1)
        return mp_lib_raise(L, "%s: the number of items must be an integer from 1 on, not %s",
                            where, lua_isnone(L, 2) ? "nil" : luaL_tolstring(L, 2, NULL));
    const mp_time deadline = mp_shared_deadline(L, 3, where);
    lua_createtable(L, max < MP_QUEUE_BATCH ? (int)max : MP_QUEUE_BATCH, 0);
    lua_Integer n = 0;
    int rc = 1;
    while (n < max && (rc = take_more(L, h, n, max, n == 0 ? deadline : MP_NOWAIT)) > 0)
        n += rc;
    if (n == 0)
        return push_end(L, where, rc);
    return 1;
}

static int next_item(lua_State *L) {
    lua_settop(L, 0);
    lua_pushvalue(L, lua_upvalueindex(1));
    if (queue_get(L) == 1)
        return 1;
    lua_pop(L, 1); /* "closed" */
    return 1;
}

/* for item in q:iter() do: until it is closed and drained. */
static int queue_iter(lua_State *L) {
    check(L, "iter");
    lua_settop(L, 1);
    lua_pushcclosure(L, next_item, 1);
    return 1;
}

/* --- what is done --------------------------------------------------------- */

static int queue_task_done(lua_State *L) {
    const mp_handle *h = check(L, "task_done");
    const char *where = WHERE(h, "task_done");
    int rc = mp_queue_done(h->object, h->hold);
    if (rc == -EINVAL)
        return mp_lib_raise(L, "%s: called more often than items were taken", where);
    return rc < 0 ? mp_shared_fail(L, where, rc) : 0;
}

/* q:join([timeout]) */
static int queue_join(lua_State *L) {
    const mp_handle *h = check(L, "join");
    const char *where = WHERE(h, "join");
    const mp_time deadline = mp_shared_deadline(L, 2, where);
    int rc;
    do
        rc = mp_queue_join(h->object, mp_shared_wait(deadline));
    while (mp_shared_goes_on(L, rc, MP_QUEUE_JOIN, deadline));
    if (rc < 0)
        return push_end(L, where, rc);
    lua_pushboolean(L, 1);
    if (rc > 0)
        lua_pushliteral(L, "abandoned");
    return rc > 0 ? 2 : 1;
}

/* --- questions and the end ------------------------------------------------ */

static int queue_len(lua_State *L) {
    lua_pushinteger(L, (lua_Integer)mp_queue_len(check(L, "#")->object));
    return 1;
}

static int queue_is_empty(lua_State *L) {
    const mp_ref queue = check(L, "is_empty")->object;
    mp_queue_look(queue);
    lua_pushboolean(L, mp_queue_len(queue) == 0);
    return 1;
}

static int queue_is_full(lua_State *L) {
    lua_pushboolean(L, mp_queue_is_full(check(L, "is_full")->object));
    return 1;
}

static int queue_close(lua_State *L) {
    const mp_handle *h = mp_shared_handle(L, 1);
    if (h != NULL && h->kind == MP_KIND_QUEUE && h->is_closed)
        return 0; /* by this process */
    mp_queue_close(check(L, "close")->object);
    return 0;
}

static int queue_tostring(lua_State *L) {
    const mp_handle *h = luaL_checkudata(L, 1, "mp.queue");
    if (h->is_closed) {
        lua_pushfstring(L, "mp.queue: %p (gone)", (const void *)h);
        return 1;
    }
    const mp_ref q = check(L, "tostring")->object;
    const uint64_t max = mp_queue_max(q);
    lua_pushfstring(L, "%s: %p (%I", mp_queue_has_priorities(q) ? "mp.priority_queue" : "mp.queue",
                    (const void *)h, (lua_Integer)mp_queue_len(q));
    if (max != 0)
        lua_pushfstring(L, "/%I", (lua_Integer)max);
    else
        lua_pushliteral(L, "");
    lua_pushstring(L, mp_queue_is_closed(q) ? ", closed)" : ")");
    lua_concat(L, 3);
    return 1;
}

/* --- the face ------------------------------------------------------------- */

static const luaL_Reg queue_methods[] = {{"put", queue_put},
                                         {"put_many", queue_put_many},
                                         {"get", queue_get},
                                         {"get_many", queue_get_many},
                                         {"iter", queue_iter},
                                         {"task_done", queue_task_done},
                                         {"join", queue_join},
                                         {"is_empty", queue_is_empty},
                                         {"is_full", queue_is_full},
                                         {"close", queue_close},
                                         {"pollfd", mp_shared_pollfd},
                                         {"events", mp_shared_events},
                                         {NULL, NULL}};

static const luaL_Reg queue_metamethods[] = {
    {"__len", queue_len}, {"__tostring", queue_tostring}, {NULL, NULL}};

static const luaL_Reg functions[] = {{"new_queue", new_queue}, {NULL, NULL}};

void mp_queue_open(lua_State *L) {
    luaL_newmetatable(L, LOAD);
    lua_pushcfunction(L, load_gc);
    lua_setfield(L, -2, "__gc");
    lua_pushcfunction(L, load_gc);
    lua_setfield(L, -2, "__close");
    lua_pop(L, 1);
    mp_shared_class(L, "mp.queue", queue_methods, queue_metamethods);
    luaL_setfuncs(L, functions, 0);
}
