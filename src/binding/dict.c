/*
** dict.c: mp.dict and mp.cache: values by keys in the engine's dicts.
**
** Lua code runs in update and get_or while the key says that this process updates it. It runs in
** a protected call, so that this ends however the call does:
**   - it returns: the key has the new value
**   - it raises, also for an interruption, or returns what cannot be sent: nothing is changed, and
**     the error goes on as it was
**   - it yields: Lua refuses that across a call of C; that is an error like others
**   - it closes the handle: nothing is changed, and the call raises
**   - its process is killed: the key has the old value, and who waits for it goes on
** Meanwhile it may read the same key, and do as it likes with others; to change the same one
** raises, since it could only wait for itself.
*/
#include "engine/dict.h"

#include <errno.h>
#include <string.h>

#include "binding/values.h"

/* --- calls ------------------------------------------------------------------ */

/* The handle at index 1 of a method, which caches and dicts have. */
static mp_handle *check(lua_State *L, const char *method) {
    const mp_handle *h = mp_shared_handle(L, 1);
    const int is_cache = h != NULL && h->kind == MP_KIND_CACHE;
    return mp_shared_check(L, is_cache ? MP_KIND_CACHE : MP_KIND_DICT,
                           is_cache ? "mp.cache" : "mp.dict", method);
}

/* What a call is, with its class, in errors. */
#define WHERE(h, method) ((h)->kind == MP_KIND_CACHE ? "mp.cache: " method : "mp.dict: " method)

/* A key, and what one that is no string consists of. */
typedef struct named {
    mp_key k;
    uint64_t word;
} named;

static void check_number(lua_State *L, int index, const char *where, named *key) {
    int is_integer;
    lua_Number number = lua_tonumber(L, index);
    key->word = (uint64_t)lua_tointegerx(L, index, &is_integer);
    key->k = (mp_key){is_integer ? MP_KEY_INTEGER : MP_KEY_FLOAT, &key->word, sizeof key->word};
    if (number != number)
        mp_lib_raise(L, "%s: a key cannot be NaN", where);
    if (!is_integer)
        memcpy(&key->word, &number, sizeof key->word);
}

static void check_key(lua_State *L, int index, const char *where, named *key) {
    size_t len;
    switch (lua_type(L, index)) {
    case LUA_TSTRING:
        key->k = (mp_key){MP_KEY_STRING, lua_tolstring(L, index, &len), 0};
        key->k.len = len;
        if (len > MP_KEY_LONGEST)
            mp_lib_raise(L, "%s: a key has 1 GiB at most", where);
        break;
    case LUA_TNUMBER:
        check_number(L, index, where, key);
        break;
    case LUA_TBOOLEAN:
        key->word = lua_toboolean(L, index) != 0;
        key->k = (mp_key){MP_KEY_BOOLEAN, &key->word, sizeof key->word};
        break;
    case LUA_TNONE:
    case LUA_TNIL:
        mp_lib_raise(L, "%s: a key cannot be nil", where);
        break;
    default:
        mp_lib_raise(L, "%s: a key must be a string, a number or a boolean, not %s", where,
                     luaL_typename(L, index));
    }
}

static int fail(lua_State *L, const char *where, int rc) {
    if (rc != -EBUSY)
        return mp_shared_fail(L, where, rc);
    lua_pushfstring(L, "%s: this process is updating that key: it could only wait for itself",
                    where);
    return mp_lib_misuse(L);
}

/*
** Whether a call whose engine part returned rc is to be done again: after a wait, or once after
** garbage was collected that held memory.
*/
static int again(lua_State *L, int rc, int *has_collected) {
    return mp_values_goes_on(L, rc) || ((*has_collected)++ == 0 && mp_shared_makes_room(L, rc));
}

/* --- making ----------------------------------------------------------------- */

/* new_dict(is_cache, size, ttl): 0 is no bound; the ttl in seconds. */
static int new_dict(lua_State *L) {
    mp_ref dict, hold;
    const int is_cache = lua_toboolean(L, 1);
    const uint64_t size = (uint64_t)luaL_optinteger(L, 2, 0);
    const lua_Number seconds = luaL_optnumber(L, 3, 0);
    const mp_time now = mp_sys_now(), ttl = seconds == 0 ? 0 : mp_sys_deadline(seconds) - now;
    mp_handle *h = mp_shared_new(L, is_cache ? MP_KIND_CACHE : MP_KIND_DICT);
    int rc = mp_dict_make(is_cache, size, ttl, &dict, &hold);
    if (mp_shared_makes_room(L, rc))
        rc = mp_dict_make(is_cache, size, ttl, &dict, &hold);
    if (rc < 0)
        return mp_shared_fail(L, is_cache ? "mp.cache" : "mp.dict", rc);
    mp_shared_set(L, h, dict, hold);
    return 1;
}

/* --- one key ---------------------------------------------------------------- */

/* d:get(key) */
static int dict_get(lua_State *L) {
    const mp_handle *h = check(L, "get");
    const char *where = WHERE(h, "get");
    named key;
    mp_room room;
    check_key(L, 2, where, &key);
    mp_values_open_room(&room);
    int rc;
    while ((rc = mp_dict_get(h->object, &key.k, &room.copies)) == -ENOSPC)
        mp_values_make_room(L, &room, where);
    if (rc == 1) {
        mp_values_push(L, &room, where);
    } else {
        mp_value_copies_drop(&room.copies);
        lua_pushnil(L);
    }
    return 1;
}

static void remove_key(lua_State *L, mp_handle *h, const named *key, const char *where,
                       mp_ref *block) {
    int rc;
    do
        rc = mp_dict_remove(h->object, &key->k, block, mp_values_deadline());
    while (mp_values_goes_on(L, rc));
    if (rc < 0)
        fail(L, where, rc);
}

/* d:set(key, value) */
static int dict_set(lua_State *L) {
    mp_handle *h = check(L, "set");
    const char *where = WHERE(h, "set");
    named key;
    mp_given given;
    mp_ref block = 0;
    check_key(L, 2, where, &key);
    if (lua_isnone(L, 3))
        return mp_lib_raise(L, "%s: expected a key and a value (nil removes)", where);
    if (lua_isnil(L, 3)) {
        remove_key(L, h, &key, where, &block);
        if (block != 0)
            mp_arena_free(mp_arena_hands(), block);
        return 0;
    }
    int rc, has_collected = 0;
    do {
        mp_values_give(L, 3, &given);
        rc = mp_dict_set(h->object, &key.k, &given.value, mp_values_deadline());
    } while (again(L, rc, &has_collected));
    return rc < 0 ? fail(L, where, rc) : 0;
}

/* d:remove(key): the old value */
static int dict_remove(lua_State *L) {
    mp_handle *h = check(L, "remove");
    const char *where = WHERE(h, "remove");
    named key;
    mp_ref block = 0;
    check_key(L, 2, where, &key);
    luaL_checkstack(L, 8, NULL);
    remove_key(L, h, &key, where, &block);
    if (block != 0)
        mp_values_take(L, block, where);
    else
        lua_pushnil(L);
    return 1;
}

/* d:add(key, [n = 1]): the new value */
static int dict_add(lua_State *L) {
    const mp_handle *h = check(L, "add");
    const char *where = WHERE(h, "add");
    named key;
    mp_given by;
    mp_value sum;
    check_key(L, 2, where, &key);
    if (lua_isnoneornil(L, 3)) {
        by.value = (mp_value){.type = MP_VALUE_INTEGER, .word = 1};
    } else {
        if (lua_type(L, 3) != LUA_TNUMBER)
            return mp_lib_raise(L, "%s: what is added must be a number, not %s", where,
                                luaL_typename(L, 3));
        mp_values_give(L, 3, &by);
    }
    int rc, has_collected = 0;
    do
        rc = mp_dict_add(h->object, &key.k, &by.value, &sum, mp_values_deadline());
    while (again(L, rc, &has_collected));
    if (rc == -EINVAL)
        return mp_lib_raise(L, "%s: the value of key '%s' is not a number", where,
                            luaL_tolstring(L, 2, NULL));
    if (rc < 0)
        return fail(L, where, rc);
    mp_values_push_word(L, &sum);
    return 1;
}

/* --- updates ---------------------------------------------------------------- */

/* An update, on the way of which anything may raise. */
typedef struct update {
    const mp_handle *h;
    const char *where;
    named key;
    mp_room room;
    int if_absent; /* a value that is there is not updated */
    int is_on;
} update;

/* Begins it: 1: there is a value; 0; or, not begun, -EEXIST. */
static int begin(lua_State *L, update *u) {
    int rc, has_collected = 0;
    do {
        rc = mp_dict_begin(u->h->object, &u->key.k, u->if_absent, &u->room.copies,
                           mp_values_deadline());
        u->is_on = rc >= 0;
        if (rc == -ENOSPC)
            mp_values_make_room(L, &u->room, u->where);
    } while (rc == -ENOSPC || again(L, rc, &has_collected));
    if (rc < 0 && rc != -EEXIST)
        fail(L, u->where, rc);
    return rc;
}

/* Ends it with the value on top, which may be nil. */
static void end(lua_State *L, update *u) {
    mp_given given;
    int rc = 0, has_collected = 0;
    mp_shared_check_open(L);
    do {
        mp_values_give(L, lua_gettop(L), &given);
        rc = mp_dict_end(u->h->object, &u->key.k, &given.value);
        u->is_on = rc < 0;
    } while (rc < 0 && has_collected++ == 0 && mp_shared_makes_room(L, rc));
    if (rc < 0)
        fail(L, u->where, rc);
}

/* run(handle, key, f, update): what f returns, given the old value or the key. */
static int run(lua_State *L) {
    update *u = lua_touserdata(L, 4);
    const int rc = begin(L, u);
    if (rc == -EEXIST) {
        mp_values_push(L, &u->room, u->where);
        return 1;
    }
    lua_pushvalue(L, 3);
    if (u->if_absent)
        lua_pushvalue(L, 2);
    else if (rc == 1)
        mp_values_push(L, &u->room, u->where);
    else
        lua_pushnil(L);
    mp_value_copies_drop(&u->room.copies);
    lua_call(L, 1, 1);
    end(L, u);
    return 1;
}

/*
** Not by a variable that is to be closed: of a coroutine that an error ends, these are closed only
** when somebody asks for it.
*/
static int run_protected(lua_State *L, const mp_handle *h, int if_absent, const char *where) {
    update u = {.h = h, .where = where, .if_absent = if_absent};
    check_key(L, 2, where, &u.key);
    if (lua_type(L, 3) != LUA_TFUNCTION)
        mp_lib_raise(L, "%s: expected a key and a function, not %s", where,
                     lua_isnone(L, 3) ? "nothing" : luaL_typename(L, 3));
    mp_values_open_room(&u.room);
    lua_settop(L, 3);
    lua_pushcfunction(L, run);
    for (int i = 1; i <= 3; i++)
        lua_pushvalue(L, i);
    lua_pushlightuserdata(L, &u);
    if (lua_pcall(L, 4, 1, 0) == LUA_OK)
        return 1;
    mp_value_copies_drop(&u.room.copies);
    if (u.is_on && !h->is_closed) /* else closing it has ended that */
        mp_dict_end(h->object, &u.key.k, NULL);
    return lua_error(L);
}

/* d:update(key, f): the new value, which is what f returns, given the old one */
static int dict_update(lua_State *L) {
    const mp_handle *h = check(L, "update");
    return run_protected(L, h, 0, WHERE(h, "update"));
}

/* c:get_or(key, f): the value, or else the one that f returns, given the key */
static int cache_get_or(lua_State *L) {
    const mp_handle *h = check(L, "get_or");
    return run_protected(L, h, 1, WHERE(h, "get_or"));
}

/* --- all keys --------------------------------------------------------------- */

static int push_all(lua_State *L, const mp_handle *h, int keys_only, const char *where) {
    mp_room room;
    mp_values_open_room(&room);
    while (mp_dict_copy(h->object, keys_only, &room.copies) == -ENOSPC)
        mp_values_make_room(L, &room, where);
    mp_values_push_all(L, &room, keys_only, where);
    return 1;
}

/* d:keys(): a list of them, in no order */
static int dict_keys(lua_State *L) {
    const mp_handle *h = check(L, "keys");
    return push_all(L, h, 1, WHERE(h, "keys"));
}

static int next_pair(lua_State *L) {
    lua_settop(L, 2);
    if (lua_next(L, 1) != 0)
        return 2;
    lua_pushnil(L);
    return 1;
}

/* pairs(d): over what there is now */
static int dict_pairs(lua_State *L) {
    const mp_handle *h = check(L, "pairs");
    push_all(L, h, 0, WHERE(h, "pairs"));
    lua_pushcfunction(L, next_pair);
    lua_insert(L, -2);
    lua_pushnil(L);
    return 3;
}

/* d:clear() */
static int dict_clear(lua_State *L) {
    const mp_handle *h = check(L, "clear");
    const char *where = WHERE(h, "clear");
    int rc;
    do
        rc = mp_dict_clear(h->object, mp_values_deadline());
    while (mp_values_goes_on(L, rc));
    return rc < 0 ? fail(L, where, rc) : 0;
}

static int dict_len(lua_State *L) {
    lua_pushinteger(L, (lua_Integer)mp_dict_len(check(L, "#")->object));
    return 1;
}

/* c:stats() */
static int cache_stats(lua_State *L) {
    mp_cache_stats s;
    mp_dict_stats(check(L, "stats")->object, &s);
    lua_createtable(L, 0, 3);
    lua_pushinteger(L, (lua_Integer)s.hits);
    lua_setfield(L, -2, "hits");
    lua_pushinteger(L, (lua_Integer)s.misses);
    lua_setfield(L, -2, "misses");
    lua_pushinteger(L, (lua_Integer)s.evictions);
    lua_setfield(L, -2, "evictions");
    return 1;
}

/* --- the face --------------------------------------------------------------- */

static int dict_close(lua_State *L) {
    mp_handle *h = mp_shared_handle(L, 1);
    if (h != NULL && (h->kind == MP_KIND_DICT || h->kind == MP_KIND_CACHE) && h->is_closed)
        return 0;
    mp_shared_close(check(L, "close"));
    return 0;
}

static int dict_tostring(lua_State *L) {
    const mp_handle *h = mp_shared_handle(L, 1);
    const char *name = h != NULL && h->kind == MP_KIND_CACHE ? "mp.cache" : "mp.dict";
    if (h != NULL && h->is_closed) {
        lua_pushfstring(L, "%s: %p (closed)", name, (const void *)h);
        return 1;
    }
    const mp_ref dict = check(L, "tostring")->object;
    mp_cache_stats s;
    mp_dict_stats(dict, &s);
    lua_pushfstring(L, "%s: %p (%I", name, (const void *)h, (lua_Integer)mp_dict_len(dict));
    if (s.size != 0)
        lua_pushfstring(L, "/%I)", (lua_Integer)s.size);
    else
        lua_pushliteral(L, ")");
    lua_concat(L, 2);
    return 1;
}

static int advise(lua_State *L, const char *name, const char *what) {
    return mp_lib_raise(
        L, "%s: '%s' %s: values are read with get(key) and written with set(key, value)", name,
        luaL_tolstring(L, 2, NULL), what);
}

/* What is no method: upvalue 1 is the class. */
static int dict_index(lua_State *L) {
    return advise(L, lua_tostring(L, lua_upvalueindex(1)), "is no method");
}

static int dict_newindex(lua_State *L) {
    const char *name = lua_tostring(L, lua_upvalueindex(1)), *field = luaL_tolstring(L, 2, NULL);
    if (strcmp(name, "mp.cache") == 0 && (strcmp(field, "size") == 0 || strcmp(field, "ttl") == 0))
        return mp_lib_raise(L, "%s: '%s' is read-only; it is given as an option: %s{%s=...}", name,
                            field, name, field);
    return advise(L, name, "cannot be assigned");
}

/* Indexing is misuse, which says how values are read and written. */
static void forbid_index(lua_State *L, const char *name) {
    luaL_getmetatable(L, name);
    lua_pushstring(L, name);
    lua_pushcclosure(L, dict_newindex, 1);
    lua_setfield(L, -2, "__newindex");
    lua_getfield(L, -1, "__index");
    lua_createtable(L, 0, 1);
    lua_pushstring(L, name);
    lua_pushcclosure(L, dict_index, 1);
    lua_setfield(L, -2, "__index");
    lua_setmetatable(L, -2);
    lua_pop(L, 2);
}

#define METHODS                                                                                    \
    {"get", dict_get}, {"set", dict_set}, {"remove", dict_remove}, {"add", dict_add},              \
        {"update", dict_update}, {"keys", dict_keys}, {"clear", dict_clear}, {                     \
        "close", dict_close                                                                        \
    }

static const luaL_Reg dict_methods[] = {METHODS, {NULL, NULL}};
static const luaL_Reg cache_methods[] = {
    METHODS, {"get_or", cache_get_or}, {"stats", cache_stats}, {NULL, NULL}};
static const luaL_Reg metamethods[] = {
    {"__len", dict_len}, {"__pairs", dict_pairs}, {"__tostring", dict_tostring}, {NULL, NULL}};

static const luaL_Reg functions[] = {{"new_dict", new_dict}, {NULL, NULL}};

void mp_dict_open(lua_State *L) {
    mp_shared_class(L, "mp.dict", dict_methods, metamethods);
    mp_shared_class(L, "mp.cache", cache_methods, metamethods);
    forbid_index(L, "mp.dict");
    forbid_index(L, "mp.cache");
    luaL_setfuncs(L, functions, 0);
}
