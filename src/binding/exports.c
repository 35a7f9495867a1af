/*
** exports.c: what the loaded modules export; see exports.h.
*/
#include "binding/exports.h"

#include <string.h>

/* Whether the global of that name, a C function, is one of the basic library's: all have it. */
static int is_basic(const char *name) {
    static const char *const functions[] = {
        "assert",       "collectgarbage", "dofile",   "error",  "getmetatable", "ipairs",
        "load",         "loadfile",       "next",     "pairs",  "pcall",        "print",
        "rawequal",     "rawget",         "rawlen",   "rawset", "require",      "select",
        "setmetatable", "tonumber",       "tostring", "type",   "warn",         "xpcall",
    };
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++)
        if (strcmp(name, functions[i]) == 0)
            return 1;
    return 0;
}

/* Of a field on top, its name below it. A Lua function of Lua's own modules is a script's. */
static int is_exported(lua_State *L, int of_globals, int of_standard) {
    const int type = lua_type(L, -1);
    const int is_c = lua_iscfunction(L, -1);
    if (lua_type(L, -2) != LUA_TSTRING)
        return 0;
    if (of_globals)
        return is_c && is_basic(lua_tostring(L, -2));
    return type == LUA_TLIGHTUSERDATA || type == LUA_TTABLE ||
           (type == LUA_TFUNCTION && (is_c || !of_standard));
}

/* A module's name ends at a zero byte in the names of its fields, and has none. */
static int has_plain_name(lua_State *L, int index) {
    return lua_type(L, index) == LUA_TSTRING &&
           strlen(lua_tostring(L, index)) == lua_rawlen(L, index);
}

/* What is loaded, on top, may be anything: a function too is the same on the other side. */
static int is_module(lua_State *L) {
    return lua_istable(L, -1) || lua_isfunction(L, -1) || lua_islightuserdata(L, -1);
}

int mp_exports_is_standard(lua_State *L, int index) {
    static const char *const libraries[] = {
        LUA_STRLIBNAME, LUA_TABLIBNAME,  LUA_MATHLIBNAME, LUA_IOLIBNAME,   LUA_OSLIBNAME,
        LUA_COLIBNAME,  LUA_UTF8LIBNAME, LUA_DBLIBNAME,   LUA_LOADLIBNAME,
    };
    const char *name = lua_tostring(L, index);
    for (size_t i = 0; i < sizeof libraries / sizeof *libraries; i++)
        if (strcmp(name, libraries[i]) == 0)
            return 1;
    return 0;
}

int mp_exports_is_fixed(lua_State *L, int index) {
    const char *name = lua_tostring(L, index);
    return mp_exports_is_standard(L, index) ||
           (strncmp(name, "luamp", 5) == 0 && (name[5] == '\0' || name[5] == '.'));
}

/* Visits what the module on top exports; 0 when a visitor said so. */
static int each_field(lua_State *L, mp_exports_visitor *visit, int names, int of_globals) {
    const int module = lua_gettop(L) - 1;
    const int of_standard = mp_exports_is_standard(L, module);
    for (lua_pushnil(L); lua_next(L, module + 1); lua_pop(L, 1)) {
        if (is_exported(L, of_globals, of_standard) && !visit(L, names, module, lua_gettop(L) - 1))
            return 0;
    }
    return 1;
}

int mp_exports_each(lua_State *L, mp_exports_visitor *visit, int names, int all) {
    const int top = lua_gettop(L);
    luaL_checkstack(L, 16, "names of objects");
    lua_pushglobaltable(L);
    lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    int goes_on = lua_istable(L, -1);
    if (goes_on)
        lua_pushnil(L);
    while (goes_on && lua_next(L, top + 2)) {
        int of_globals = lua_rawequal(L, -1, top + 1);
        if (has_plain_name(L, -2) && is_module(L) && (all || !mp_exports_is_fixed(L, -2)))
            goes_on = (of_globals || visit(L, names, lua_gettop(L) - 1, 0)) &&
                      (!lua_istable(L, -1) || each_field(L, visit, names, of_globals));
        lua_settop(L, top + 3);
    }
    lua_settop(L, top);
    return goes_on;
}
