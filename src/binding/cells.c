/*
** cells.c: mp.value and mp.array: numbers in shared memory (engine/cells.h) as Lua has them.
**
** A value of Lua becomes one of the type before anything is written, so what does not fit changes
** nothing; lists are read without metamethods, so no Lua code runs in between. An array is indexed
** by C functions, for integers at once and for what else it may be later.
*/
#include "engine/cells.h"

#include <float.h>

#include "binding/shared.h"

static mp_cells *check_value(lua_State *L, const char *method) {
    return mp_cells_of(mp_shared_check(L, MP_KIND_VALUE, "mp.value", method)->object);
}

static mp_cells *check_array(lua_State *L, const char *method) {
    return mp_cells_of(mp_shared_check(L, MP_KIND_ARRAY, "mp.array", method)->object);
}

/* --- values --------------------------------------------------------------- */

/* What Lua has at that index as a value of a type of integers, or of floats: whether it is one. */
static int to_cell(lua_State *L, int index, int is_float, mp_cell *value) {
    int is_one;
    if (is_float)
        value->d = lua_tonumberx(L, index, &is_one);
    else
        value->i = lua_tointegerx(L, index, &is_one);
    return is_one && lua_type(L, index) == LUA_TNUMBER;
}

static void push_cell(lua_State *L, uint32_t type, mp_cell value) {
    if (mp_cells_is_float(type))
        lua_pushnumber(L, value.d);
    else
        lua_pushinteger(L, value.i);
}

/* Pushes the name of a type with what it can hold, where that is less than all numbers. */
static const char *push_type(lua_State *L, uint32_t type) {
    const char *name = mp_cells_name(type);
    if (type == MP_FLOAT)
        return lua_pushfstring(L, "%s (up to %f)", name, (lua_Number)FLT_MAX);
    if (mp_cells_size(type) == 8)
        return lua_pushstring(L, name);
    return lua_pushfstring(L, "%s (%I to %I)", name, (lua_Integer)mp_cells_least(type),
                           (lua_Integer)mp_cells_greatest(type));
}

/* Raises that something does not fit; `at` is the index, or 0 where there is none. */
static int misfit(lua_State *L, const char *where, const char *what, uint32_t type, uint64_t at) {
    lua_pushfstring(L, "%s: %s %s", where, what, push_type(L, type));
    if (at != 0)
        lua_pushfstring(L, "%s, at index %I", lua_tostring(L, -1), (lua_Integer)at);
    return mp_lib_misuse(L);
}

/* The value at that index for an element of the type; raises for one that does not fit. */
static mp_cell check_cell(lua_State *L, int index, uint32_t type, const char *where, uint64_t at) {
    mp_cell value;
    if (!to_cell(L, index, mp_cells_is_float(type), &value) || !mp_cells_fits(type, value))
        misfit(L, where, lua_pushfstring(L, "%s does not fit", mp_lib_describe(L, index)), type,
               at);
    return value;
}

/* --- operations on one element, with their values from `arg` on ------------------------------- */

static int add(lua_State *L, mp_cells *c, uint64_t at, int arg, const char *where, uint64_t told) {
    mp_cell d, now;
    if (!to_cell(L, arg, mp_cells_is_float(c->type), &d))
        misfit(L, where, lua_pushfstring(L, "%s does not fit", mp_lib_describe(L, arg)), c->type,
               told);
    if (mp_cells_add(c, at, d, &now) < 0)
        misfit(L, where, lua_pushfstring(L, "adding %s would leave", mp_lib_describe(L, arg)),
               c->type, told);
    push_cell(L, c->type, now);
    return 1;
}

static int cas(lua_State *L, mp_cells *c, uint64_t at, int arg, const char *where, uint64_t told) {
    const mp_cell expected = check_cell(L, arg, c->type, where, told);
    lua_pushboolean(L, mp_cells_cas(c, at, expected, check_cell(L, arg + 1, c->type, where, told)));
    return 1;
}

/* --- mp.value ------------------------------------------------------------- */

static int value_get(lua_State *L) {
    const mp_cells *c = check_value(L, "get");
    push_cell(L, c->type, mp_cells_load(c, 0));
    return 1;
}

static int value_set(lua_State *L) {
    mp_cells *c = check_value(L, "set");
    mp_cells_store(c, 0, check_cell(L, 2, c->type, "mp.value: set", 0));
    return 0;
}

static int value_add(lua_State *L) {
    return add(L, check_value(L, "add"), 0, 2, "mp.value: add", 0);
}

static int value_cas(lua_State *L) {
    return cas(L, check_value(L, "cas"), 0, 2, "mp.value: cas", 0);
}

static int value_tostring(lua_State *L) {
    const mp_handle *h = luaL_checkudata(L, 1, "mp.value");
    if (h->is_closed) {
        lua_pushfstring(L, "mp.value: %p (closed)", (const void *)h);
        return 1;
    }
    const mp_cells *c = check_value(L, "tostring");
    push_cell(L, c->type, mp_cells_load(c, 0));
    lua_pushfstring(L, "mp.value: %p (%s %s)", (const void *)h, mp_cells_name(c->type),
                    luaL_tolstring(L, -1, NULL));
    return 1;
}

/* --- places in an array --------------------------------------------------- */

static int is_index(lua_State *L, int arg, lua_Integer *i) {
    int is_one;
    *i = lua_tointegerx(L, arg, &is_one);
    return is_one && lua_type(L, arg) == LUA_TNUMBER;
}

/* The index at `arg`, which is to be from `least` to `most`, in an array of n. */
static uint64_t check_index(lua_State *L, int arg, uint64_t least, uint64_t most, uint64_t n,
                            const char *where) {
    lua_Integer i;
    if (!is_index(L, arg, &i)) {
        lua_pushfstring(L, "%s: %s is no index", where, mp_lib_describe(L, arg));
        mp_lib_misuse(L);
    }
    if (i < (lua_Integer)least || (uint64_t)i > most) {
        lua_pushfstring(L, "%s: index %I is outside 1 to %I", where, i, (lua_Integer)n);
        mp_lib_misuse(L);
    }
    return (uint64_t)i;
}

static uint64_t check_at(lua_State *L, int arg, const mp_cells *c, const char *where) {
    return check_index(L, arg, 1, c->n, c->n, where) - 1;
}

/*
** The range from the index at `arg` to the one behind it, by default from the first to the last. It
** is empty where the second is less, as in string.sub; yet both are to be in the array, or next to
** it.
*/
static mp_range check_range(lua_State *L, int arg, const mp_cells *c, const char *where) {
    const uint64_t n = c->n;
    const uint64_t i = lua_isnoneornil(L, arg) ? 1 : check_index(L, arg, 1, n + 1, n, where);
    const uint64_t j = lua_isnoneornil(L, arg + 1) ? n : check_index(L, arg + 1, 0, n, n, where);
    return (mp_range){i - 1, j < i ? 0 : j - i + 1};
}

/* --- indexing: upvalue 1 is the table of methods --------------------------- */

/* a[key], for what is no index: a method. */
static int array_field(lua_State *L) {
    lua_pushvalue(L, 2);
    if (lua_rawget(L, lua_upvalueindex(1)) == LUA_TNIL) {
        lua_pushfstring(L, "mp.array: %s is no index, and no method's name", mp_lib_describe(L, 2));
        return mp_lib_misuse(L);
    }
    return 1;
}

static int array_index(lua_State *L) {
    lua_Integer i;
    if (!is_index(L, 2, &i))
        return array_field(L);
    const mp_cells *c = check_array(L, "[]");
    if ((uint64_t)i - 1 < c->n)
        push_cell(L, c->type, mp_cells_load(c, (uint64_t)i - 1));
    else if ((uint64_t)i - 1 == c->n)
        lua_pushnil(L); /* where ipairs ends */
    else
        check_at(L, 2, c, "mp.array");
    return 1;
}

/* a[key] = value, for what is no index: misuse, whatever it is. */
static int array_newfield(lua_State *L) {
    lua_pushfstring(L, "mp.array: %s is no index: only elements can be assigned",
                    mp_lib_describe(L, 2));
    return mp_lib_misuse(L);
}

static int array_newindex(lua_State *L) {
    lua_Integer i;
    if (!is_index(L, 2, &i))
        return array_newfield(L);
    mp_cells *c = check_array(L, "[]");
    const uint64_t at = (uint64_t)i - 1 < c->n ? (uint64_t)i - 1 : check_at(L, 2, c, "mp.array");
    mp_cells_store(c, at, check_cell(L, 3, c->type, "mp.array", at + 1));
    return 0;
}

static int array_len(lua_State *L) {
    lua_pushinteger(L, (lua_Integer)check_array(L, "#")->n);
    return 1;
}

/* The next index and its element, for loops. */
static int array_next(lua_State *L) {
    const mp_cells *c = check_array(L, "pairs");
    const uint64_t at = check_index(L, 2, 0, c->n, c->n, "mp.array: pairs");
    if (at == c->n)
        return 0;
    lua_pushinteger(L, (lua_Integer)at + 1);
    push_cell(L, c->type, mp_cells_load(c, at));
    return 2;
}

static int array_pairs(lua_State *L) {
    check_array(L, "pairs");
    lua_pushcfunction(L, array_next);
    lua_pushvalue(L, 1);
    lua_pushinteger(L, 0);
    return 3;
}

/* --- methods: elements ----------------------------------------------------- */

static int array_add(lua_State *L) {
    mp_cells *c = check_array(L, "add");
    const uint64_t at = check_at(L, 2, c, "mp.array: add");
    return add(L, c, at, 3, "mp.array: add", at + 1);
}

static int array_cas(lua_State *L) {
    mp_cells *c = check_array(L, "cas");
    const uint64_t at = check_at(L, 2, c, "mp.array: cas");
    return cas(L, c, at, 3, "mp.array: cas", at + 1);
}

/* a:get([i], [j]): a list. */
static int array_get(lua_State *L) {
    const mp_cells *c = check_array(L, "get");
    const mp_range r = check_range(L, 2, c, "mp.array: get");
    lua_createtable(L, r.n < INT32_MAX ? (int)r.n : INT32_MAX, 0);
    mp_shared_check_open(L); /* finalizers have run */
    for (uint64_t i = 0; i < r.n; i++) {
        push_cell(L, c->type, mp_cells_load(c, r.first + i));
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

/* Stores the list at that place of the stack from `at` on: all of it, or nothing. */
static void store_list(lua_State *L, int list, mp_cells *c, uint64_t at, const char *where) {
    const uint64_t n = lua_rawlen(L, list);
    for (int stores = 0; stores <= 1; stores++)
        for (uint64_t i = 0; i < n; i++) {
            lua_rawgeti(L, list, (lua_Integer)i + 1);
            const mp_cell value = check_cell(L, -1, c->type, where, at + i + 1);
            if (stores)
                mp_cells_store(c, at + i, value);
            lua_pop(L, 1);
        }
}

/* Raises unless n elements have room from `at` on. */
static void check_room(lua_State *L, const mp_cells *c, uint64_t at, uint64_t n,
                       const char *where) {
    if (n <= c->n - at)
        return;
    lua_pushfstring(L, "%s: %I elements have no room from index %I on, in an array of %I", where,
                    (lua_Integer)n, (lua_Integer)at + 1, (lua_Integer)c->n);
    mp_lib_misuse(L);
}

/* a:set(i, list) */
static int array_set(lua_State *L) {
    static const char where[] = "mp.array: set";
    mp_cells *c = check_array(L, "set");
    const uint64_t at = check_index(L, 2, 1, c->n + 1, c->n, where) - 1;
    if (lua_type(L, 3) != LUA_TTABLE) {
        lua_pushfstring(L, "%s: a list is expected, not %s", where, mp_lib_describe(L, 3));
        return mp_lib_misuse(L);
    }
    check_room(L, c, at, lua_rawlen(L, 3), where);
    store_list(L, 3, c, at, where);
    return 0;
}

/* --- methods: many elements ------------------------------------------------ */

/* a:fill(x, [i], [j]) */
static int array_fill(lua_State *L) {
    mp_cells *c = check_array(L, "fill");
    const mp_range r = check_range(L, 3, c, "mp.array: fill");
    mp_cells_fill(c, r, check_cell(L, 2, c->type, "mp.array: fill", 0));
    return 0;
}

/* The array at index 2, ready for use as the one at 1 is. */
static const mp_cells *check_source(lua_State *L, const char *where) {
    mp_handle *h = mp_shared_handle(L, 2);
    const char *wrong = h == NULL || h->kind != MP_KIND_ARRAY
                            ? "an mp.array is expected to copy from"
                            : mp_shared_wrong(h, MP_KIND_ARRAY);
    if (wrong != NULL) {
        lua_pushfstring(L, "%s: %s", where, wrong);
        mp_lib_misuse(L);
    }
    return mp_cells_of(h->object);
}

/* a:copy(from, [i], [j], [at]) */
static int array_copy(lua_State *L) {
    static const char where[] = "mp.array: copy";
    mp_cells *c = check_array(L, "copy");
    const mp_cells *from = check_source(L, where);
    const mp_range r = check_range(L, 3, from, where);
    const uint64_t at = lua_isnoneornil(L, 5) ? 0 : check_index(L, 5, 1, c->n + 1, c->n, where) - 1;
    uint64_t bad;
    mp_cell value;
    check_room(L, c, at, r.n, where);
    if (mp_cells_copy(c, at, from, r, &bad, &value) == 0)
        return 0;
    push_cell(L, from->type, value);
    return misfit(L, where, lua_pushfstring(L, "%s does not fit", mp_lib_describe(L, -1)), c->type,
                  bad + 1);
}

/* a:sum([i], [j]) */
static int array_sum(lua_State *L) {
    const mp_cells *c = check_array(L, "sum");
    push_cell(L, c->type, mp_cells_sum(c, check_range(L, 2, c, "mp.array: sum")));
    return 1;
}

/* Pushes a value and its index; or nothing where there is none. */
static int push_found(lua_State *L, const mp_cells *c, uint64_t at, mp_cell value) {
    if (at == MP_CELLS_NONE) {
        lua_pushnil(L);
        return 1;
    }
    push_cell(L, c->type, value);
    lua_pushinteger(L, (lua_Integer)at + 1);
    return 2;
}

/* a:min([i], [j]) */
static int array_min(lua_State *L) {
    const mp_cells *c = check_array(L, "min");
    mp_cell value;
    const uint64_t at = mp_cells_least_of(c, check_range(L, 2, c, "mp.array: min"), &value);
    return push_found(L, c, at, value);
}

/* a:max([i], [j]) */
static int array_max(lua_State *L) {
    const mp_cells *c = check_array(L, "max");
    mp_cell value;
    const uint64_t at = mp_cells_greatest_of(c, check_range(L, 2, c, "mp.array: max"), &value);
    return push_found(L, c, at, value);
}

/* a:find(x, [i], [j]) */
static int array_find(lua_State *L) {
    const mp_cells *c = check_array(L, "find");
    const mp_range r = check_range(L, 3, c, "mp.array: find");
    const uint64_t at = mp_cells_find(c, r, check_cell(L, 2, c->type, "mp.array: find", 0));
    if (at == MP_CELLS_NONE)
        lua_pushnil(L);
    else
        lua_pushinteger(L, (lua_Integer)at + 1);
    return 1;
}

/* a:sort([i], [j]) */
static int array_sort(lua_State *L) {
    mp_cells *c = check_array(L, "sort");
    const int rc = mp_cells_sort(c, check_range(L, 2, c, "mp.array: sort"));
    if (rc < 0) {
        lua_pushliteral(L, "mp.array: sort: not enough memory");
        return mp_lib_misuse(L);
    }
    return 0;
}

static int array_tostring(lua_State *L) {
    const mp_handle *h = luaL_checkudata(L, 1, "mp.array");
    if (h->is_closed) {
        lua_pushfstring(L, "mp.array: %p (closed)", (const void *)h);
        return 1;
    }
    const mp_cells *c = check_array(L, "tostring");
    lua_pushfstring(L, "mp.array: %p (%I of %s)", (const void *)h, (lua_Integer)c->n,
                    mp_cells_name(c->type));
    return 1;
}

/* --- making and closing ---------------------------------------------------- */

/* Makes n elements of a kind; the handle is on top. */
static mp_cells *make(lua_State *L, enum mp_kind kind, uint32_t type, uint64_t n) {
    mp_ref object, hold;
    mp_handle *h = mp_shared_new(L, kind);
    int rc = mp_cells_make(kind, type, n, &object, &hold);
    if (mp_shared_makes_room(L, rc))
        rc = mp_cells_make(kind, type, n, &object, &hold);
    if (rc < 0)
        mp_shared_fail(L, mp_shared_names[kind], rc);
    mp_shared_set(L, h, object, hold);
    return mp_cells_of(object);
}

/* new_value(type, [init]); the type is its number. */
static int new_value(lua_State *L) {
    const uint32_t type = (uint32_t)luaL_checkinteger(L, 1);
    const int has_init = !lua_isnoneornil(L, 2);
    const mp_cell init = has_init ? check_cell(L, 2, type, "mp.value", 0) : (mp_cell){.i = 0};
    mp_cells *c = make(L, MP_KIND_VALUE, type, 1);
    if (has_init)
        mp_cells_store(c, 0, init);
    return 1;
}

/* new_array(type, n or list) */
static int new_array(lua_State *L) {
    const uint32_t type = (uint32_t)luaL_checkinteger(L, 1);
    const int is_list = lua_type(L, 2) == LUA_TTABLE;
    const uint64_t n = is_list ? lua_rawlen(L, 2) : (uint64_t)luaL_checkinteger(L, 2);
    mp_cells *c = make(L, MP_KIND_ARRAY, type, n);
    if (is_list)
        store_list(L, 2, c, 0, "mp.array");
    return 1;
}

/* new_bytes(n): a buffer without a name. */
static int new_bytes(lua_State *L) {
    make(L, MP_KIND_BUFFER, MP_UINT8, (uint64_t)luaL_checkinteger(L, 1));
    return 1;
}

/* obj:close(): drops this process's handle; again is harmless. */
static int close_handle(lua_State *L, enum mp_kind kind, const char *class) {
    mp_handle *h = mp_shared_handle(L, 1);
    if (h == NULL || h->kind != (uint32_t)kind || !h->is_closed)
        mp_shared_close(mp_shared_check(L, kind, class, "close"));
    return 0;
}

static int value_close(lua_State *L) {
    return close_handle(L, MP_KIND_VALUE, "mp.value");
}

static int array_close(lua_State *L) {
    return close_handle(L, MP_KIND_ARRAY, "mp.array");
}

/* --- classes --------------------------------------------------------------- */

static const luaL_Reg value_methods[] = {{"get", value_get},     {"set", value_set},
                                         {"add", value_add},     {"cas", value_cas},
                                         {"close", value_close}, {NULL, NULL}};
static const luaL_Reg value_metamethods[] = {{"__tostring", value_tostring}, {NULL, NULL}};

static const luaL_Reg array_methods[] = {
    {"get", array_get},   {"set", array_set},   {"add", array_add},   {"cas", array_cas},
    {"fill", array_fill}, {"copy", array_copy}, {"sum", array_sum},   {"min", array_min},
    {"max", array_max},   {"sort", array_sort}, {"find", array_find}, {"close", array_close},
    {NULL, NULL}};
static const luaL_Reg array_metamethods[] = {
    {"__len", array_len}, {"__pairs", array_pairs}, {"__tostring", array_tostring}, {NULL, NULL}};

/* In place of the table of methods the functions that index. */
static void index_arrays(lua_State *L) {
    luaL_getmetatable(L, "mp.array");
    lua_getfield(L, -1, "__index");
    lua_pushcclosure(L, array_index, 1);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, array_newindex);
    lua_setfield(L, -2, "__newindex");
    lua_pop(L, 1);
}

/* The types' numbers by their names, and by those that Lua has for two of them. */
static void push_types(lua_State *L) {
    lua_createtable(L, 0, MP_CELL_TYPES + 2);
    for (uint32_t type = 0; type < MP_CELL_TYPES; type++) {
        lua_pushinteger(L, type);
        lua_setfield(L, -2, mp_cells_name(type));
    }
    lua_pushinteger(L, MP_INT64);
    lua_setfield(L, -2, "integer");
    lua_pushinteger(L, MP_DOUBLE);
    lua_setfield(L, -2, "number");
}

void mp_cells_open(lua_State *L) {
    static const luaL_Reg functions[] = {
        {"new_value", new_value}, {"new_array", new_array}, {"new_bytes", new_bytes}, {NULL, NULL}};
    mp_shared_class(L, "mp.value", value_methods, value_metamethods);
    mp_shared_class(L, "mp.array", array_methods, array_metamethods);
    index_arrays(L);
    mp_buffer_lends(L, "mp.value");
    mp_buffer_lends(L, "mp.array");
    luaL_setfuncs(L, functions, 0);
    push_types(L);
    lua_setfield(L, -2, "cell_types");
}
