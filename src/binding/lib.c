/*
** lib.c: loading, classes and results, shared by all faces.
**
** A class is made by Lua: an object is a userdata without bytes whose one user
** value is its state, a table that only luamp's modules can reach. So objects
** can be told from tables, have no fields to be overwritten, and their methods
** are Lua.
*/
#include "binding/lib.h"

#include <stdarg.h>
#include <string.h>

#include "binding/codec.h"
#include "binding/names.h"
#include "engine/heap.h"
#include "engine/proc.h"

void mp_lib_adopt_heap(lua_State *L) {
    void *data;
    lua_Alloc own = lua_getallocf(L, &data);
    if (own != mp_heap_alloc && mp_heap_adopt(own, data))
        lua_setallocf(L, mp_heap_alloc, NULL);
}

static void set_bytes(lua_State *L, const char *name, uint64_t value) {
    lua_pushinteger(L, (lua_Integer)value);
    lua_setfield(L, -2, name);
}

/* heap_usage(): what mp.memory tells of this process's own memory for Lua; bytes. */
static int heap_usage(lua_State *L) {
    mp_heap_usage usage;
    mp_heap_breathe();
    mp_heap_count(&usage);
    lua_createtable(L, 0, 5);
    set_bytes(L, "lua",
              (uint64_t)lua_gc(L, LUA_GCCOUNT) * 1024 + (uint64_t)lua_gc(L, LUA_GCCOUNTB));
    set_bytes(L, "used", usage.used);
    set_bytes(L, "held", usage.held);
    set_bytes(L, "inherited", usage.inherited);
    if (usage.dirtied >= 0)
        set_bytes(L, "dirtied", (uint64_t)usage.dirtied);
    return 1;
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

int mp_lib_misuse(lua_State *L) {
    lua_Debug ar;
    int level = 1;
    while (lua_getstack(L, level, &ar) && is_ours(L, &ar))
        level++;
    luaL_where(L, level);
    lua_insert(L, -2);
    lua_concat(L, 2);
    return lua_error(L);
}

int mp_lib_raise(lua_State *L, const char *format, ...) {
    va_list args;
    va_start(args, format);
    lua_pushvfstring(L, format, args);
    va_end(args);
    return mp_lib_misuse(L);
}

const char *mp_lib_describe(lua_State *L, int index) {
    enum { SHOWN = 40 };
    switch (lua_type(L, index)) {
    case LUA_TNUMBER:
        if (lua_tonumber(L, index) != lua_tonumber(L, index))
            return lua_pushliteral(L, "NaN");
        return luaL_tolstring(L, index, NULL);
    case LUA_TSTRING:
        lua_pushlstring(L, lua_tostring(L, index), strnlen(lua_tostring(L, index), SHOWN));
        return lua_pushfstring(L, "the string \"%s\"", lua_tostring(L, -1));
    case LUA_TBOOLEAN:
        return lua_pushstring(L, lua_toboolean(L, index) ? "true" : "false");
    default:
        if (lua_isnoneornil(L, index))
            return lua_pushliteral(L, "nil");
        if (luaL_getmetafield(L, index, "__name") == LUA_TSTRING)
            return lua_tostring(L, -1);
        return lua_pushstring(L, luaL_typename(L, index));
    }
}

/* misuse(message) */
static int misuse(lua_State *L) {
    luaL_checkstring(L, 1);
    lua_settop(L, 1);
    return mp_lib_misuse(L);
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

/* state(value, metatable): the state of an object of that class, and this process's pid; else nil.
 */
static int state(lua_State *L) {
    luaL_checktype(L, 2, LUA_TTABLE);
    if (lua_type(L, 1) == LUA_TUSERDATA && lua_getmetatable(L, 1)) {
        if (lua_rawequal(L, -1, 2)) {
            lua_getiuservalue(L, 1, 1);
            lua_pushinteger(L, mp_proc_self());
            return 2;
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

/*
** Upvalues: a mp_baked, and what it returned, or nil until it is loaded. So there is one of each
** in a state, also when a script clears package.loaded, as busted does between files.
*/
static int load_baked(lua_State *L) {
    const mp_baked *module = lua_touserdata(L, lua_upvalueindex(1));
    lua_pushvalue(L, lua_upvalueindex(2));
    if (!lua_isnil(L, -1))
        return 1;
    lua_pushfstring(L, "=luamp:%s", module->name);
    if (luaL_loadbufferx(L, (const char *)module->bytes, module->len, lua_tostring(L, -1), NULL) !=
        LUA_OK)
        return lua_error(L);
    lua_pushstring(L, module->name);
    lua_call(L, 1, 1);
    lua_copy(L, -1, lua_upvalueindex(2));
    return 1;
}

static void push_loader(lua_State *L, const mp_baked *module) {
    lua_pushlightuserdata(L, (void *)module);
    lua_pushnil(L);
    lua_pushcclosure(L, load_baked, 2);
}

/* All modules but the first, `luamp` itself, wait in package.preload. */
static void preload(lua_State *L) {
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
    for (const mp_baked *module = mp_baked_modules + 1; module->name != NULL; module++) {
        push_loader(L, module);
        lua_setfield(L, -2, module->name);
    }
    lua_pop(L, 1);
}

void mp_lib_push_part(lua_State *L, const void *key, const char *name) {
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, key) != LUA_TNIL)
        return;
    lua_pop(L, 1);
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
    lua_getfield(L, -1, name);
    lua_remove(L, -2);
    lua_call(L, 0, 1);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, key);
}

static const luaL_Reg functions[] = {{"misuse", misuse},         {"object", object},
                                     {"state", state},           {"address", address},
                                     {"heap_usage", heap_usage}, {NULL, NULL}};

static void open_core(lua_State *L) {
    luaL_checkversion(L);
    static void (*const openers[])(lua_State *) = {
        mp_codec_open,      mp_names_open,      mp_interrupt_open, mp_output_open,
        mp_life_open,       mp_process_open,    mp_system_open,    mp_shared_open,
        mp_queue_open,      mp_pipe_open,       mp_waiting_open,   mp_inheriting_open,
        mp_parcel_open,     mp_board_face_open, mp_bell_face_open, mp_worker_open,
        mp_statistics_open, mp_ends_face_open,  mp_future_open,    mp_cells_open,
        mp_buffer_open,     mp_acquiring_open,  mp_mutex_open,     mp_semaphore_open,
        mp_event_open,      mp_rwlock_open,     mp_barrier_open,   mp_condition_open,
        mp_dict_open,       mp_list_open,       mp_journal_open,   mp_footer_open,
        mp_relay_face_open, mp_link_face_open,  mp_collector_open};
    lua_createtable(L, 0, 150); /* with room for all */
    luaL_setfuncs(L, functions, 0);
    luaL_newmetatable(L, "luamp.error");
    lua_setfield(L, -2, "error_metatable");
    lua_pushliteral(L, LUAMP_VERSION);
    lua_setfield(L, -2, "version");
    for (size_t i = 0; i < sizeof openers / sizeof openers[0]; i++)
        openers[i](L);
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
    lua_pushnil(L);
    lua_rotate(L, -3, -1);
    lua_pushcclosure(L, load_baked, 2);
    lua_setfield(L, -2, "luamp.core");
    lua_pop(L, 1);
}

int luaopen_luamp(lua_State *L) {
    if (lua_getfield(L, LUA_REGISTRYINDEX, "luamp") == LUA_TTABLE)
        return 1; /* required a second time, perhaps after package.loaded was cleared */
    mp_lib_adopt_heap(L);
    mp_proc_open();
    open_core(L);
    preload(L);
    push_loader(L, mp_baked_modules);
    lua_call(L, 0, 1);
    lua_pushvalue(L, -1);
    lua_setfield(L, LUA_REGISTRYINDEX, "luamp");
    return 1;
}
