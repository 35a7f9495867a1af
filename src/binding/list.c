/*
** list.c: mp.list: values by position in the engine's lists.
*/
#include "engine/list.h"

#include <errno.h>
#include <stdlib.h>

#include "binding/values.h"
#include "engine/proc.h"

static mp_handle *check(lua_State *L, const char *method) {
    return mp_shared_check(L, MP_KIND_LIST, "mp.list", method);
}

/* new_list() */
static int new_list(lua_State *L) {
    mp_ref list, hold;
    mp_handle *h = mp_shared_new(L, MP_KIND_LIST);
    int rc = mp_list_make(&list, &hold);
    if (mp_shared_makes_room(L, rc))
        rc = mp_list_make(&list, &hold);
    if (rc < 0)
        return mp_shared_fail(L, "mp.list", rc);
    mp_shared_set(L, h, list, hold);
    return 1;
}

/* --- items ------------------------------------------------------------------ */

static void check_value(lua_State *L, int index, const char *where) {
    if (lua_isnoneornil(L, index))
        mp_lib_raise(L, "%s: a list cannot hold nil", where);
}

/* What the value at `index` is in a list. */
static mp_item wrap(lua_State *L, int index, const char *where) {
    mp_given given;
    mp_item item = 0;
    int rc = 0, has_collected = 0;
    do {
        mp_values_give(L, index, &given);
        rc = mp_list_wrap(&given.value, &item);
    } while (rc < 0 && has_collected++ == 0 && mp_shared_makes_room(L, rc));
    if (rc < 0)
        mp_shared_fail(L, where, rc);
    return item;
}

static void unwrap(mp_item item) {
    if (mp_list_entry(item) != 0)
        mp_arena_free(mp_arena_hands(), mp_list_entry(item));
}

/* The position at that index. */
static lua_Integer check_position(lua_State *L, int index, const char *where) {
    int is_integer;
    const lua_Integer i = lua_tointegerx(L, index, &is_integer);
    if (lua_type(L, index) != LUA_TNUMBER || !is_integer)
        mp_lib_raise(L, "%s: a position must be an integer, not %s", where,
                     mp_lib_describe(L, index));
    return i;
}

static int fail(lua_State *L, const char *where, lua_Integer i, int rc) {
    if (rc == -ERANGE)
        return mp_lib_raise(L, "%s: position %I is out of bounds", where, i);
    return mp_shared_fail(L, where, rc);
}

/* --- changes ---------------------------------------------------------------- */

typedef int change(mp_ref list, int64_t i, mp_item item);

/* The value at `index` goes into the list, by that function; once more when memory was short. */
static int change_list(lua_State *L, const mp_handle *h, change *f, lua_Integer i, int index,
                       const char *where) {
    const mp_item item = wrap(L, index, where);
    int rc = f(h->object, i, item);
    if (rc == -ENOMEM || rc == -EDQUOT || rc == -EFBIG) {
        unwrap(item); /* what collects garbage may raise */
        if (mp_shared_makes_room(L, rc)) {
            const mp_item once_more = wrap(L, index, where);
            rc = f(h->object, i, once_more);
            if (rc < 0)
                unwrap(once_more);
        }
    } else if (rc < 0) {
        unwrap(item);
    }
    return rc < 0 ? fail(L, where, i, rc) : 0;
}

/* l[i] = value */
static int list_newindex(lua_State *L) {
    const mp_handle *h = check(L, "[]");
    static const char where[] = "mp.list: l[i] = value";
    const lua_Integer i = check_position(L, 2, where);
    check_value(L, 3, where);
    return change_list(L, h, mp_list_put, i, 3, where);
}

/* l:insert([i,] value) */
static int list_insert(lua_State *L) {
    const mp_handle *h = check(L, "insert");
    static const char where[] = "mp.list: insert";
    const int n = lua_gettop(L);
    if (n != 2 && n != 3)
        return mp_lib_raise(L, "%s: expected a value, or a position and a value", where);
    const lua_Integer i = n == 3 ? check_position(L, 2, where) : 0;
    check_value(L, n, where);
    if (n == 3 && i == 0) /* for the engine that is the end */
        return fail(L, where, i, -ERANGE);
    return change_list(L, h, mp_list_insert, i, n, where);
}

/* l:remove([i]): what was there */
static int list_remove(lua_State *L) {
    const mp_handle *h = check(L, "remove");
    static const char where[] = "mp.list: remove";
    const int is_last = lua_isnoneornil(L, 2);
    const lua_Integer i = is_last ? 0 : check_position(L, 2, where);
    mp_item item = 0;
    luaL_checkstack(L, 8, NULL);
    lua_pushnil(L);
    if (!is_last && i == 0 && mp_list_len(h->object) == 0)
        return 1; /* as table.remove */
    const int64_t at = !is_last && i == 0 ? -1 : i;
    int rc = mp_list_remove(h->object, at, &item);
    if (mp_shared_makes_room(L, rc))
        rc = mp_list_remove(h->object, at, &item);
    if (rc < 0)
        return fail(L, where, i, rc);
    if (rc == 0)
        return 1;
    if (mp_list_entry(item) != 0) {
        mp_values_take(L, mp_list_entry(item), where);
    } else {
        const mp_value word = mp_list_word(item);
        mp_values_push_word(L, &word);
    }
    return 1;
}

/* --- many at once ----------------------------------------------------------- */

/* Items on their way into a list; a userdata that frees what did not get there. */
typedef struct load {
    mp_item *items;
    size_t n;
    pid_t owner;
} load;

#define LOAD "luamp.items"

static int load_gc(lua_State *L) {
    load *l = luaL_checkudata(L, 1, LOAD);
    for (size_t i = 0; i < l->n && l->owner == mp_proc_self(); i++)
        unwrap(l->items[i]);
    free(l->items);
    *l = (load){.n = 0};
    return 0;
}

static load *new_load(lua_State *L, size_t n) {
    load *l = lua_newuserdatauv(L, sizeof *l, 0);
    *l = (load){.owner = mp_proc_self()};
    luaL_setmetatable(L, LOAD);
    lua_toclose(L, -1);
    l->items = calloc(n + 1, sizeof *l->items);
    if (l->items == NULL)
        luaL_error(L, "not enough memory");
    return l;
}

/* l:extend(list): all of its values go to the end */
static int list_extend(lua_State *L) {
    const mp_handle *h = check(L, "extend");
    static const char where[] = "mp.list: extend";
    if (lua_type(L, 2) != LUA_TTABLE)
        return mp_lib_raise(L, "%s: expected a list of values, not %s", where,
                            mp_lib_describe(L, 2));
    const lua_Integer n = luaL_len(L, 2);
    lua_settop(L, 2);
    lua_pushnil(L);
    if (n == 0 && lua_next(L, 2) != 0)
        return mp_lib_raise(L, "%s: the table has keys, and no values in order", where);
    lua_settop(L, 2);
    load *l = new_load(L, (size_t)n);
    for (lua_Integer i = 1; i <= n; i++) {
        lua_geti(L, 2, i);
        check_value(L, -1, where);
        l->items[l->n] = wrap(L, lua_gettop(L), where);
        l->n++;
        lua_pop(L, 1);
    }
    mp_shared_check_open(L); /* hooks have run */
    int rc = mp_list_append(h->object, l->items, l->n);
    if (mp_shared_makes_room(L, rc))
        rc = mp_list_append(h->object, l->items, l->n);
    if (rc < 0)
        return mp_shared_fail(L, where, rc);
    l->n = 0;
    return 0;
}

/* l:clear() */
static int list_clear(lua_State *L) {
    int rc = mp_list_clear(check(L, "clear")->object);
    return rc < 0 ? mp_shared_fail(L, "mp.list: clear", rc) : 0;
}

/* --- reading ---------------------------------------------------------------- */

/* l[i]; upvalue 1: the methods */
static int list_index(lua_State *L) {
    static const char where[] = "mp.list: l[i]";
    mp_room room;
    if (lua_type(L, 2) == LUA_TSTRING) {
        const char *field = lua_tostring(L, 2);
        lua_settop(L, 2);
        lua_pushvalue(L, 2);
        lua_rawget(L, lua_upvalueindex(1));
        if (lua_isnil(L, -1))
            return mp_lib_raise(L,
                                "mp.list: '%s' is no method: values are read by their positions, "
                                "and added by insert and extend",
                                field);
        return 1;
    }
    const mp_handle *h = check(L, "[]");
    int is_integer, rc;
    const lua_Integer i = lua_tointegerx(L, 2, &is_integer);
    if (!is_integer)
        return 0;
    mp_values_open_room(&room);
    while ((rc = mp_list_get(h->object, i, &room.copies)) == -ENOSPC)
        mp_values_make_room(L, &room, where);
    if (rc == 0) {
        mp_value_copies_drop(&room.copies);
        return 0;
    }
    mp_values_push(L, &room, where);
    return 1;
}

static int list_len(lua_State *L) {
    lua_pushinteger(L, (lua_Integer)mp_list_len(check(L, "#")->object));
    return 1;
}

/* next_of(values, i): in order */
static int next_of(lua_State *L) {
    const lua_Integer i = luaL_checkinteger(L, 2) + 1;
    lua_pushinteger(L, i);
    if (lua_rawgeti(L, 1, i) != LUA_TNIL)
        return 2;
    lua_pushnil(L);
    return 1;
}

/* pairs(l): over what there is now */
static int list_pairs(lua_State *L) {
    const mp_handle *h = check(L, "pairs");
    mp_room room;
    mp_values_open_room(&room);
    while (mp_list_copy(h->object, &room.copies) == -ENOSPC)
        mp_values_make_room(L, &room, "mp.list: pairs");
    mp_values_push_all(L, &room, 0, "mp.list: pairs");
    lua_pushcfunction(L, next_of);
    lua_insert(L, -2);
    lua_pushinteger(L, 0);
    return 3;
}

/* --- the face --------------------------------------------------------------- */

static int list_close(lua_State *L) {
    const mp_handle *h = mp_shared_handle(L, 1);
    if (h != NULL && h->kind == MP_KIND_LIST && h->is_closed)
        return 0;
    mp_shared_close(check(L, "close"));
    return 0;
}

static int list_tostring(lua_State *L) {
    const mp_handle *h = mp_shared_handle(L, 1);
    if (h != NULL && h->is_closed)
        lua_pushfstring(L, "mp.list: %p (closed)", (const void *)h);
    else
        lua_pushfstring(L, "mp.list: %p (%I)", (const void *)h,
                        (lua_Integer)mp_list_len(check(L, "tostring")->object));
    return 1;
}

static const luaL_Reg methods[] = {{"insert", list_insert}, {"remove", list_remove},
                                   {"extend", list_extend}, {"clear", list_clear},
                                   {"close", list_close},   {NULL, NULL}};

static const luaL_Reg metamethods[] = {
    {"__len", list_len}, {"__pairs", list_pairs}, {"__tostring", list_tostring}, {NULL, NULL}};

static const luaL_Reg functions[] = {{"new_list", new_list}, {NULL, NULL}};

void mp_list_open(lua_State *L) {
    luaL_newmetatable(L, LOAD);
    lua_pushcfunction(L, load_gc);
    lua_setfield(L, -2, "__gc");
    lua_pushcfunction(L, load_gc);
    lua_setfield(L, -2, "__close");
    lua_pop(L, 1);
    mp_shared_class(L, "mp.list", methods, metamethods);
    luaL_getmetatable(L, "mp.list");
    lua_getfield(L, -1, "__index");
    lua_pushcclosure(L, list_index, 1);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, list_newindex);
    lua_setfield(L, -2, "__newindex");
    lua_pop(L, 1);
    luaL_setfuncs(L, functions, 0);
}
