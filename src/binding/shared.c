/*
** shared.c: handles of the family's objects as Lua holds them.
**
** A handle is a userdata. A process has one for each object, however often that came:
** `all` finds it by the object. What keeps the object alive is a hold of the process,
** which the handle has from its making, from the message that it came in, or, when it
** was inherited by fork, from its first use; until then the object is kept for all that
** may use it (arena.h).
**
** The object is gone for a process that other code forked: it has no place in the family.
*/
#include "binding/shared.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "binding/codec.h"
#include "engine/deadlock.h"
#include "engine/family.h"
#include "engine/proc.h"
#include "engine/watch.h"

#define MAGIC 0x6c75616d7068646cu /* "luamphdl" */
#define ALL "luamp.shared"        /* in the registry: object -> handle, by weak references */

const char *const mp_shared_names[MP_KINDS] = {[MP_KIND_QUEUE] = "mp.queue",
                                               [MP_KIND_END] = "mp.pipe",
                                               [MP_KIND_BOARD] = "mp.board",
                                               [MP_KIND_VALUE] = "mp.value",
                                               [MP_KIND_ARRAY] = "mp.array",
                                               [MP_KIND_BUFFER] = "mp.buffer",
                                               [MP_KIND_NAMED] = "mp.buffer",
                                               [MP_KIND_LOCK] = "mp.lock",
                                               [MP_KIND_RLOCK] = "mp.rlock",
                                               [MP_KIND_SEMAPHORE] = "mp.semaphore",
                                               [MP_KIND_BOUNDED] = "mp.bounded_semaphore",
                                               [MP_KIND_EVENT] = "mp.event",
                                               [MP_KIND_WRITE_SIDE] = "mp.rwlock.write",
                                               [MP_KIND_READ_SIDE] = "mp.rwlock.read",
                                               [MP_KIND_BARRIER] = "mp.barrier",
                                               [MP_KIND_CONDITION] = "mp.condition",
                                               [MP_KIND_DICT] = "mp.dict",
                                               [MP_KIND_CACHE] = "mp.cache",
                                               [MP_KIND_LIST] = "mp.list"};

static int n_ends;

int mp_shared_n_ends(void) {
    return n_ends;
}

mp_handle *mp_shared_handle(lua_State *L, int index) {
    mp_handle *h = lua_touserdata(L, index);
    return h != NULL && lua_rawlen(L, index) == sizeof *h && h->magic == MAGIC ? h : NULL;
}

void mp_shared_push_all(lua_State *L) {
    if (luaL_getsubtable(L, LUA_REGISTRYINDEX, ALL))
        return;
    lua_createtable(L, 0, 1);
    lua_pushliteral(L, "v");
    lua_setfield(L, -2, "__mode");
    lua_setmetatable(L, -2);
}

/* The collector does not see what an object takes outside of Lua: it is told that it was so much.
 */
static void tell_collector(lua_State *L) {
    enum { KILOBYTES = 2 };
    if (lua_gc(L, LUA_GCISRUNNING))
        lua_gc(L, LUA_GCSTEP, KILOBYTES);
}

mp_handle *mp_shared_new(lua_State *L, enum mp_kind kind) {
    tell_collector(L);
    mp_handle *h = lua_newuserdatauv(L, sizeof *h, 1);
    *h = (mp_handle){.magic = MAGIC, .kind = kind, .is_closed = 1};
    luaL_setmetatable(L, mp_shared_names[kind]);
    mp_shared_push_all(L);
    lua_pop(L, 1);
    return h;
}

void mp_shared_own(mp_handle *h, mp_ref object, mp_ref hold) {
    ((mp_hold *)mp_arena_bytes(hold))->is_claimed = 1;
    h->object = object;
    h->hold = hold;
    h->family = mp_family_id();
    h->owner = mp_proc_self();
    h->is_closed = 0;
    n_ends += h->kind == MP_KIND_END;
}

void mp_shared_set(lua_State *L, mp_handle *h, mp_ref object, mp_ref hold) {
    mp_shared_own(h, object, hold); /* first: what follows may raise */
    mp_shared_push_all(L);
    lua_pushvalue(L, -2);
    lua_rawseti(L, -2, (lua_Integer)object);
    lua_pop(L, 1);
}

/* --- failures ------------------------------------------------------------- */

static char part_key; /* its address is the module's key in the registry */

static void push_part(lua_State *L, const char *name) {
    luaL_checkstack(L, 8, NULL);
    mp_lib_push_part(L, &part_key, "luamp.sharing");
    lua_getfield(L, -1, name);
    lua_remove(L, -2);
}

const char *mp_shared_words(int rc) {
    switch (rc) {
    case -ENOMEM:
        return "not enough memory to share";
    case -EDQUOT:
        return "not enough memory to share (the family's own limit)";
    case -EFBIG:
        return "not enough memory to share (the limit of file sizes, ulimit -f)";
    default:
        return strerror(-rc);
    }
}

int mp_shared_fail(lua_State *L, const char *where, int rc) {
    if (rc == -EDEADLK) {
        push_part(L, "deadlock");
        lua_call(L, 0, 0);
    }
    lua_pushfstring(L, "%s: %s", where, mp_shared_words(rc));
    return mp_lib_misuse(L);
}

void mp_shared_check_open(lua_State *L) {
    const mp_handle *h = mp_shared_handle(L, 1);
    if (h != NULL && h->is_closed)
        mp_lib_raise(L, "%s: it was closed meanwhile", mp_shared_names[h->kind]);
}

int mp_shared_makes_room(lua_State *L, int rc) {
    if (rc != -ENOMEM && rc != -EDQUOT && rc != -EFBIG)
        return 0;
    lua_gc(L, LUA_GCCOLLECT);
    mp_shared_check_open(L);
    return 1;
}

mp_time mp_shared_deadline(lua_State *L, int index, const char *where) {
    if (lua_isnoneornil(L, index))
        return MP_FOREVER;
    const lua_Number seconds = lua_tonumber(L, index);
    if (lua_type(L, index) != LUA_TNUMBER)
        mp_lib_raise(L, "%s: the timeout must be a number of seconds, not %s", where,
                     luaL_typename(L, index));
    if (seconds != seconds)
        mp_lib_raise(L, "%s: the timeout is not a number (NaN)", where);
    return mp_sys_deadline(seconds);
}

int mp_shared_unsendable(lua_State *L, int index) {
    index = lua_absindex(L, index);
    push_part(L, "unsendable");
    lua_pushvalue(L, index);
    lua_call(L, 1, 0);
    return 0;
}

void mp_shared_push_process(lua_State *L, int32_t pid) {
    push_part(L, "process_of");
    lua_pushinteger(L, pid);
    lua_call(L, 1, 1);
}

int mp_shared_is_closed_error(lua_State *L, const char *where) {
    push_part(L, "closed");
    lua_pushstring(L, where);
    lua_call(L, 1, 0);
    return 0;
}

/* --- waiting -------------------------------------------------------------- */

static int waits_in_lua;

mp_time mp_shared_wait(mp_time deadline) {
    return waits_in_lua ? MP_NOWAIT : deadline;
}

int mp_shared_goes_on(lua_State *L, int rc, int what, mp_time deadline) {
    if (rc == -EINTR) {
        mp_interrupt_check(L);
        mp_shared_check_open(L);
        return 1;
    }
    if (rc != -ETIMEDOUT || !waits_in_lua || mp_sys_now() >= deadline)
        return 0;
    push_part(L, "await");
    lua_pushvalue(L, 1);
    lua_pushinteger(L, what);
    lua_pushinteger(L, deadline);
    lua_call(L, 3, 0);
    mp_shared_check_open(L);
    return 1;
}

/* try_on(object, rc, what, deadline): whether to go on */
static int try_on(lua_State *L) {
    const int rc = (int)lua_tointeger(L, 2), what = (int)lua_tointeger(L, 3);
    lua_pushboolean(L, mp_shared_goes_on(L, rc, what, lua_tointeger(L, 4)));
    return 1;
}

int mp_shared_try_on(lua_State *L, int rc, int what, mp_time deadline) {
    luaL_checkstack(L, 8, NULL);
    lua_pushcfunction(L, try_on);
    lua_pushvalue(L, 1);
    lua_pushinteger(L, rc);
    lua_pushinteger(L, what);
    lua_pushinteger(L, deadline);
    if (lua_pcall(L, 4, 1, 0) != LUA_OK)
        return -1;
    const int again = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return again;
}

/* wait_in_lua(whether): there are scopes, or there are none any more. */
static int wait_in_lua(lua_State *L) {
    waits_in_lua = lua_toboolean(L, 1);
    return 0;
}

/* --- use ------------------------------------------------------------------ */

static int is_of_family(const mp_handle *h) {
    return mp_family_id() == h->family;
}

/* An inherited handle is used for the first time: the process holds its object now. */
static int take_hold(mp_handle *h) {
    mp_ref hold = mp_arena_claim(mp_arena_holds(), h->object);
    int rc = hold != 0 ? 0 : mp_arena_hold(mp_arena_holds(), h->object, &hold);
    if (rc == 0) {
        ((mp_hold *)mp_arena_bytes(hold))->is_claimed = 1;
        h->hold = hold;
        h->owner = mp_proc_self();
    }
    return rc;
}

static void ensure_hold(lua_State *L, mp_handle *h) {
    int rc = h->owner == mp_proc_self() ? 0 : take_hold(h);
    if (rc < 0)
        mp_shared_fail(L, mp_shared_names[h->kind], rc);
}

/* What is wrong with the handle for such a call, or NULL. */
static const char *wrong_with(const mp_handle *h, enum mp_kind kind) {
    if (h == NULL || h->kind != (uint32_t)kind)
        return "it must be called with a colon, on such an object";
    if (h->is_closed)
        return "it is closed in this process";
    return is_of_family(h) ? NULL : "this process is not of the family that it belongs to";
}

const char *mp_shared_wrong(mp_handle *h, enum mp_kind kind) {
    const char *wrong = wrong_with(h, kind);
    const int rc = wrong != NULL || h->owner == mp_proc_self() ? 0 : take_hold(h);
    return rc < 0 ? mp_shared_words(rc) : wrong;
}

mp_handle *mp_shared_check(lua_State *L, enum mp_kind kind, const char *class, const char *method) {
    mp_handle *h = mp_shared_handle(L, 1);
    const char *wrong = wrong_with(h, kind);
    if (wrong != NULL)
        mp_lib_raise(L, "%s: %s: %s", class, method, wrong);
    ensure_hold(L, h);
    return h;
}

/* What is asked in a wait for that at the handle's object; 0: there is nothing. */
static mp_ref awaited(const mp_handle *h, int what) {
    const mp_kind_class *class = mp_arena_classes[h->kind];
    if (class == NULL)
        return 0;
    if (class->awaited != NULL)
        return class->awaited(h->object, what);
    return class->is_ready != NULL ? h->object : 0;
}

mp_ref mp_shared_awaited(mp_handle *h, int what, const char **why) {
    *why = wrong_with(h, h == NULL ? MP_KIND_QUEUE : h->kind);
    if (*why != NULL)
        return 0;
    const mp_ref object = awaited(h, what);
    const int rc = object == 0 || h->owner == mp_proc_self() ? 0 : take_hold(h);
    if (object == 0)
        *why = h->kind == MP_KIND_END ? "this end only sends: there is nothing to be waited for"
                                      : "there is nothing to be waited for";
    else if (rc < 0)
        *why = mp_shared_words(rc);
    return rc < 0 ? 0 : object;
}

mp_ref mp_shared_object(lua_State *L, int index) {
    const mp_handle *h = mp_shared_handle(L, index);
    if (h == NULL || h->is_closed || !is_of_family(h))
        return 0;
    if (h->kind == MP_KIND_NAMED)
        mp_buffer_open_file(L, index);
    return h->object;
}

/* Pushes the handle that this process has and has not closed, which holds the object from now on.
 */
static int push_known(lua_State *L, mp_ref object) {
    mp_shared_push_all(L);
    lua_rawgeti(L, -1, (lua_Integer)object);
    lua_remove(L, -2);
    mp_handle *h = mp_shared_handle(L, -1);
    if (h != NULL && !h->is_closed && is_of_family(h)) {
        ensure_hold(L, h);
        if (h->kind == MP_KIND_NAMED)
            mp_buffer_open_file(L, -1);
        return 1;
    }
    lua_pop(L, 1);
    return 0;
}

int mp_shared_push(lua_State *L, mp_ref object) {
    enum mp_kind kind = MP_KIND_QUEUE;
    while (kind < MP_KINDS && !mp_arena_is(object, kind))
        kind++;
    if (kind == MP_KINDS || mp_shared_names[kind] == NULL)
        return 0;
    if (push_known(L, object))
        return 1;
    mp_handle *h = mp_shared_new(L, kind);
    mp_ref hold;
    int rc = mp_arena_hold(mp_arena_holds(), object, &hold);
    if (mp_shared_makes_room(L, rc))
        rc = mp_arena_hold(mp_arena_holds(), object, &hold);
    if (rc < 0)
        mp_shared_fail(L, mp_shared_names[kind], rc);
    mp_shared_set(L, h, object, hold);
    if (kind == MP_KIND_NAMED)
        mp_buffer_open_file(L, -1);
    return 1;
}

int mp_shared_pack(const mp_message *m, uint32_t member) {
    int rc = 0;
    mp_ref hold;
    for (size_t i = 0; i < m->n_objects && rc == 0; i++)
        rc = mp_arena_hold(mp_arena_parcel(member), m->objects[i], &hold);
    return rc;
}

/* The other end of a pipe may be here, too, and is watched still. */
static void unwatch(const mp_handle *h) {
    for (int verb = 0; verb < MP_AWAIT_VERBS; verb++) {
        const mp_ref object = awaited(h, verb);
        if (object != 0)
            mp_arena_classes[mp_arena_block(object)->kind]->unwatch(object, verb);
    }
}

/* What the process holds the object by: of an inherited handle, what it was given at the fork. */
static mp_ref hold_of(const mp_handle *h) {
    return h->owner == mp_proc_self() ? h->hold : mp_arena_claim(mp_arena_holds(), h->object);
}

void mp_shared_close(mp_handle *h) {
    if (!h->is_closed && is_of_family(h))
        unwatch(h);
    const mp_ref hold = h->is_closed || !is_of_family(h) ? 0 : hold_of(h);
    if (hold != 0)
        mp_arena_leave(hold);
    n_ends -= h->kind == MP_KIND_END && !h->is_closed;
    h->hold = 0;
    h->is_closed = 1;
}

/* --- classes -------------------------------------------------------------- */

static int handle_gc(lua_State *L) {
    mp_handle *h = mp_shared_handle(L, 1);
    if (h != NULL)
        mp_shared_close(h);
    return 0;
}

int mp_shared_drop(lua_State *L) {
    mp_handle *h = mp_shared_handle(L, 1);
    const enum mp_kind kind = h == NULL ? MP_KIND_QUEUE : (enum mp_kind)h->kind;
    if (h == NULL || !h->is_closed)
        mp_shared_close(mp_shared_check(L, kind, mp_shared_names[kind], "close"));
    return 0;
}

int mp_shared_describe(lua_State *L) {
    const mp_handle *h = mp_shared_handle(L, 1);
    lua_pushfstring(L, "%s: %p (%s)", mp_shared_names[h->kind], (const void *)h,
                    lua_tostring(L, -1));
    return 1;
}

/* object[key] = value: misuse, which names the option if it is one. */
static int handle_newindex(lua_State *L) {
    static const char *const options[MP_KINDS] = {[MP_KIND_QUEUE] = " maxsize maxbytes ",
                                                  [MP_KIND_END] = " duplex ",
                                                  [MP_KIND_BUFFER] = " name size create ",
                                                  [MP_KIND_NAMED] = " name size create ",
                                                  [MP_KIND_SEMAPHORE] = " value ",
                                                  [MP_KIND_BOUNDED] = " value ",
                                                  [MP_KIND_BARRIER] = " parties action timeout "};
    const mp_handle *h = mp_shared_handle(L, 1);
    luaL_argexpected(L, h != NULL, 1, "object of luamp");
    const char *key = luaL_tolstring(L, 2, NULL), *name = mp_shared_names[h->kind];
    if (options[h->kind] == NULL ||
        strstr(options[h->kind], lua_pushfstring(L, " %s ", key)) == NULL)
        return mp_lib_raise(L, "%s: its fields cannot be assigned ('%s')", name, key);
    return mp_lib_raise(L, "%s: field '%s' is read-only; it is given as an option: %s{%s=...}",
                        name, key, name, key);
}

void mp_shared_class(lua_State *L, const char *name, const luaL_Reg *methods,
                     const luaL_Reg *metamethods) {
    luaL_newmetatable(L, name);
    luaL_setfuncs(L, metamethods, 0);
    lua_newtable(L);
    luaL_setfuncs(L, methods, 0);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, handle_gc);
    lua_setfield(L, -2, "__gc");
    lua_pushcfunction(L, handle_gc);
    lua_setfield(L, -2, "__close");
    lua_pushcfunction(L, handle_newindex);
    lua_setfield(L, -2, "__newindex");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
}

/* --- numbers -------------------------------------------------------------- */

static void set_number(lua_State *L, const char *name, uint64_t value) {
    lua_pushinteger(L, (lua_Integer)value);
    lua_setfield(L, -2, name);
}

/* What mp.memory calls the kinds of blocks. */
static const char *const kinds[MP_KINDS] = {NULL,
                                            "structures",
                                            "messages",
                                            "handles",
                                            "entries",
                                            "tables",
                                            "queues",
                                            "pipe_ends",
                                            "boards",
                                            "values",
                                            "arrays",
                                            "buffers",
                                            "named_buffers",
                                            "locks",
                                            "rlocks",
                                            "semaphores",
                                            "bounded_semaphores",
                                            "events",
                                            "rwlocks",
                                            "read_sides",
                                            "barriers",
                                            "conditions",
                                            "dicts",
                                            "caches",
                                            "lists"};

/* shared_usage(): what mp.memory tells. */
static int shared_usage(lua_State *L) {
    mp_arena_usage usage;
    int rc = mp_arena_count(&usage);
    if (rc < 0)
        return mp_shared_fail(L, "mp.memory", rc);
    uint64_t used = 0;
    lua_newtable(L);
    lua_newtable(L);
    for (int i = MP_KIND_BYTES; i < MP_KINDS; i++) {
        lua_createtable(L, 0, 2);
        set_number(L, "count", usage.n[i]);
        set_number(L, "bytes", usage.bytes[i]);
        lua_setfield(L, -2, kinds[i]);
        used += usage.bytes[i];
    }
    lua_setfield(L, -2, "kinds");
    set_number(L, "used", used);
    set_number(L, "backed", usage.backed);
    set_number(L, "limit", usage.limit);
    return 1;
}

/* limit_shared(bytes) */
static int limit_shared(lua_State *L) {
    int rc = mp_arena_limit((uint64_t)luaL_checkinteger(L, 1));
    return rc < 0 ? mp_shared_fail(L, "mp.memory", rc) : 0;
}

/* is_handle(value): whether it is a handle, perhaps a closed one. */
static int is_handle(lua_State *L) {
    lua_pushboolean(L, mp_shared_handle(L, 1) != NULL);
    return 1;
}

/* is_shared(value): whether it is a handle that can be sent. */
static int is_shared(lua_State *L) {
    lua_pushboolean(L, mp_shared_object(L, 1) != 0);
    return 1;
}

void mp_shared_open(lua_State *L) {
    static const luaL_Reg functions[] = {
        {"shared_usage", shared_usage}, {"limit_shared", limit_shared}, {"is_shared", is_shared},
        {"is_handle", is_handle},       {"wait_in_lua", wait_in_lua},   {NULL, NULL}};
    luaL_setfuncs(L, functions, 0);
}
