/*
** lib.c: loading, classes and results, shared by all faces.
**
** A class is made by Lua: an object is a userdata without bytes whose one user
** value is its state, a table that only luamp's modules can reach. So objects
** can be told from tables, have no fields to be overwritten, and their methods
** are Lua.
*/
#include "binding/lib.h"

#include <string.h>

#include "binding/codec.h"
#include "engine/heap.h"
#include "engine/proc.h"

void mp_lib_adopt_heap(lua_State *L) {
    void *data;
    lua_Alloc own = lua_getallocf(L, &data);
    if (own != mp_heap_alloc && mp_heap_adopt(own, data))
        lua_setallocf(L, mp_heap_alloc, NULL);
}

int mp_lib_has_heap(lua_State *L) {
    return lua_getallocf(L, NULL) == mp_heap_alloc;
}

void mp_lib_wrap(lua_State *L, const char *name, lua_CFunction f) {
    if (lua_getfield(L, -1, name) == LUA_TFUNCTION && lua_iscfunction(L, -1)) {
        lua_pushcclosure(L, f, 1);
        lua_setfield(L, -2, name);
    } else {
        lua_pop(L, 1);
    }
}

/* --- results ------------------------------------------------------------- */

int mp_lib_result(lua_State *L, int rc, const char *what) {
    if (rc >= 0) {
        lua_pushboolean(L, 1);
        return 1;
    }
    luaL_pushfail(L);
    if (what != NULL)
        lua_pushfstring(L, "%s: %s", what, strerror(-rc));
    else
        lua_pushstring(L, strerror(-rc));
    lua_pushstring(L, mp_sys_error_name(rc));
    return 3;
}

/* Whether a stack level is the library's own, and not the script that calls it. */
static int is_ours(lua_State *L, lua_Debug *ar) {
    lua_getinfo(L, "S", ar);
    return *ar->what == 'C' || strncmp(ar->source, "=luamp", 6) == 0;
}

/*
** misuse(message): raises the message with the position of the script's line
** that called into the library, however deep inside we are.
*/
static int misuse(lua_State *L) {
    luaL_checkstring(L, 1);
    lua_Debug ar;
    int level = 1;
    while (lua_getstack(L, level, &ar) && is_ours(L, &ar))
        level++;
    luaL_where(L, level);
    lua_pushvalue(L, 1);
    lua_concat(L, 2);
    return lua_error(L);
}

/* --- classes ------------------------------------------------------------- */

/* object(metatable, state): a new object. */
static int object(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_newuserdatauv(L, 0, 1);
    lua_pushvalue(L, 2);
    lua_setiuservalue(L, -2, 1);
    lua_pushvalue(L, 1);
    lua_setmetatable(L, -2);
    return 1;
}

/* state(value, metatable): the state of an object of that class, else nil. */
static int state(lua_State *L) {
    luaL_checktype(L, 2, LUA_TTABLE);
    if (lua_type(L, 1) == LUA_TUSERDATA && lua_getmetatable(L, 1)) {
        if (lua_rawequal(L, -1, 2)) {
            lua_getiuservalue(L, 1, 1);
            return 1;
        }
    }
    luaL_pushfail(L);
    return 1;
}

/* address(value): "0x..." as tostring shows it. */
static int address(lua_State *L) {
    lua_pushfstring(L, "%p", lua_topointer(L, 1));
    return 1;
}

/* --- loading ------------------------------------------------------------- */

static int load_baked(lua_State *L) {
    const mp_baked *module = lua_touserdata(L, lua_upvalueindex(1));
    lua_pushfstring(L, "=luamp:%s", module->name);
    if (luaL_loadbufferx(L, (const char *)module->bytes, module->len, lua_tostring(L, -1), NULL) !=
        LUA_OK)
        return lua_error(L);
    lua_pushstring(L, module->name);
    lua_call(L, 1, 1);
    return 1;
}

/* All modules but the first, `luamp` itself, wait in package.preload. */
static void preload(lua_State *L) {
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
    for (const mp_baked *module = mp_baked_modules + 1; module->name != NULL; module++) {
        lua_pushlightuserdata(L, (void *)module);
        lua_pushcclosure(L, load_baked, 1);
        lua_setfield(L, -2, module->name);
    }
    lua_pop(L, 1);
}

static const luaL_Reg functions[] = {
    {"misuse", misuse}, {"object", object}, {"state", state}, {"address", address}, {NULL, NULL}};

/* Moves the functions of the table on top into the one below it. */
static void merge(lua_State *L) {
    for (lua_pushnil(L); lua_next(L, -2) != 0;) {
        lua_pushvalue(L, -2);
        lua_insert(L, -2);
        lua_rawset(L, -5);
    }
    lua_pop(L, 1);
}

static void open_core(lua_State *L) {
    static int (*const openers[])(lua_State *) = {mp_codec_open, mp_interrupt_open, mp_output_open,
                                                  mp_life_open,  mp_process_open,   mp_system_open};
    lua_newtable(L);
    luaL_setfuncs(L, functions, 0);
    luaL_newmetatable(L, "luamp.error");
    lua_setfield(L, -2, "error_metatable");
    lua_pushliteral(L, LUAMP_VERSION);
    lua_setfield(L, -2, "version");
    for (size_t i = 0; i < sizeof openers / sizeof openers[0]; i++) {
        openers[i](L);
        merge(L);
    }
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    lua_pushvalue(L, -2);
    lua_setfield(L, -2, "luamp.core");
    lua_pop(L, 2);
}

int luaopen_luamp(lua_State *L) {
    if (lua_getfield(L, LUA_REGISTRYINDEX, "luamp") == LUA_TTABLE)
        return 1; /* required a second time, perhaps after package.loaded was cleared */
    mp_proc_open();
    open_core(L);
    preload(L);
    lua_pushlightuserdata(L, (void *)mp_baked_modules);
    lua_pushcclosure(L, load_baked, 1);
    lua_call(L, 0, 1);
    lua_pushvalue(L, -1);
    lua_setfield(L, LUA_REGISTRYINDEX, "luamp");
    return 1;
}
