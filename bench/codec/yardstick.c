/*
 * codec OPERATION CASE COUNT: what encoding and decoding cannot do without.
 *
 * Encoding is a walk over the value by lua_next that copies what its numbers and strings
 * hold (of a function: its code by lua_dump, and its upvalues) into memory that is there,
 * and then a Lua string of those bytes. They say nothing of kinds, lengths or shared
 * references, so no value could be made from them. Decoding makes the value by Lua's C
 * API from constants, in tables of the right size, and reads nothing.
 *
 * Both are C functions that the loop of cases.lua calls, as it calls luamp and the peers.
 * The allocator is that of stock Lua.
 */
#include "bench.h"

#include <lauxlib.h>
#include <lualib.h>
#include <string.h>

enum { RECORDS = 100, INTEGERS = 1000000, STRING = 1 << 20, UPVALUES = 10 };

static char room[16 << 20]; /* for the largest of the cases */
static size_t used;

/* --- encoding ------------------------------------------------------------- */

static void copy(const void *bytes, size_t n) {
    memcpy(room + used, bytes, n);
    used += n;
}

static int copy_code(lua_State *L, const void *bytes, size_t n, void *arg) {
    (void)L;
    (void)arg;
    copy(bytes, n);
    return 0;
}

static void copy_number(lua_State *L, int index) {
    lua_Integer i = lua_tointeger(L, index);
    lua_Number n = lua_tonumber(L, index);
    if (lua_isinteger(L, index))
        copy(&i, sizeof i);
    else
        copy(&n, sizeof n);
}

static void copy_string(lua_State *L, int index) {
    size_t len;
    const char *s = lua_tolstring(L, index, &len);
    copy(s, len);
}

static void walk(lua_State *L, int index);

static void walk_table(lua_State *L, int index) {
    for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
        int value = lua_gettop(L);
        walk(L, value - 1);
        walk(L, value);
    }
}

static void walk_function(lua_State *L, int index) {
    lua_pushvalue(L, index);
    lua_dump(L, copy_code, NULL, 0);
    for (int i = 1; lua_getupvalue(L, index, i) != NULL; i++) {
        walk(L, lua_gettop(L));
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

static void walk(lua_State *L, int index) {
    switch (lua_type(L, index)) {
    case LUA_TNUMBER:
        copy_number(L, index);
        break;
    case LUA_TSTRING:
        copy_string(L, index);
        break;
    case LUA_TTABLE:
        walk_table(L, index);
        break;
    case LUA_TFUNCTION:
        walk_function(L, index);
        break;
    default: /* a boolean */
        copy(lua_toboolean(L, index) ? "1" : "0", 1);
    }
}

static int encode(lua_State *L) {
    used = 0;
    walk(L, 1);
    lua_pushlstring(L, room, used);
    return 1;
}

/* --- decoding: each makes the value that cases.lua has under the name ----- */

static void set_integer(lua_State *L, const char *field, lua_Integer value) {
    lua_pushinteger(L, value);
    lua_setfield(L, -2, field);
}

static void set_number(lua_State *L, const char *field, lua_Number value) {
    lua_pushnumber(L, value);
    lua_setfield(L, -2, field);
}

static void set_string(lua_State *L, const char *field, const char *value) {
    lua_pushstring(L, value);
    lua_setfield(L, -2, field);
}

static void set_boolean(lua_State *L, const char *field, int value) {
    lua_pushboolean(L, value);
    lua_setfield(L, -2, field);
}

static int make_fields(lua_State *L) {
    lua_createtable(L, 0, 5);
    set_integer(L, "id", 4711);
    set_string(L, "name", "pear");
    set_number(L, "price", 0.25);
    set_boolean(L, "ripe", 1);
    set_string(L, "origin", "Lake Constance");
    return 1;
}

static char names[RECORDS + 1][16];

static void make_record(lua_State *L, int i) {
    lua_createtable(L, 0, 10);
    set_integer(L, "id", i);
    set_string(L, "name", names[i]);
    set_number(L, "price", i + 0.25);
    set_boolean(L, "ripe", i % 2 == 0);
    set_string(L, "origin", "Lake Constance");
    set_integer(L, "x", -i);
    set_integer(L, "y", 1000 * i);
    set_integer(L, "z", 100000 * i);
    set_string(L, "kind", "fruit");
    set_number(L, "weight", i / 4.0);
}

static int make_nested(lua_State *L) {
    lua_createtable(L, RECORDS, 0);
    for (int i = 1; i <= RECORDS; i++) {
        make_record(L, i);
        lua_rawseti(L, -2, i);
    }
    return 1;
}

static int make_integers(lua_State *L) {
    lua_createtable(L, INTEGERS, 0);
    for (int i = 1; i <= INTEGERS; i++) {
        lua_pushinteger(L, i);
        lua_rawseti(L, -2, i);
    }
    return 1;
}

/* `room` holds what encoding has just left there: the string, or first of all the code. */
static int make_string(lua_State *L) {
    lua_pushlstring(L, room, STRING);
    return 1;
}

static int make_closure(lua_State *L) {
    const size_t code = used - UPVALUES * sizeof(lua_Integer);
    luaL_loadbufferx(L, room, code, "=?", "b");
    for (int i = 1; i <= UPVALUES; i++) {
        lua_pushinteger(L, i);
        lua_setupvalue(L, -2, i);
    }
    return 1;
}

static lua_CFunction maker(const char *name) {
    static const luaL_Reg makers[] = {{"fields", make_fields},     {"nested", make_nested},
                                      {"integers", make_integers}, {"string", make_string},
                                      {"closure", make_closure},   {NULL, NULL}};
    for (const luaL_Reg *m = makers; m->name != NULL; m++)
        if (strcmp(m->name, name) == 0)
            return m->func;
    fprintf(stderr, "there is no case %s\n", name);
    exit(1);
}

int main(int argc, char **argv) {
    bench_count(argc == 4 ? argv[3] : NULL);
    lua_State *L = luaL_newstate();
    if (!L)
        bench_die("luaL_newstate");
    luaL_openlibs(L);
    for (int i = 1; i <= RECORDS; i++)
        snprintf(names[i], sizeof names[i], "record %d", i);
    int failed = luaL_dofile(L, CASES);
    lua_createtable(L, 3, 0);
    for (int i = 1; i <= 3 && !failed; i++) {
        lua_pushstring(L, argv[i]);
        lua_rawseti(L, -2, i);
    }
    lua_pushcfunction(L, encode);
    lua_pushcfunction(L, maker(argv[2]));
    if (failed || lua_pcall(L, 3, 0, 0) != LUA_OK) {
        fprintf(stderr, "%s\n", lua_tostring(L, failed ? 1 : -1));
        return 1;
    }
    return 0;
}
