/*
** names.c: which objects travel by name; promises in names.h.
**
** An index tells from an object its name. It is filled from package.loaded when a
** message first meets something that might have a name and is not in it: data
** alone costs nothing. Finding takes no memory, so it may happen in the midst of a walk.
** What it says is looked at once more when it is used, because a script may put another
** function in a module's field at any time.
*/
#include "binding/names.h"

#include <string.h>

#include "binding/exports.h"

/*
** The user values of the index. The first maps lead to {name, module, field}; then
** the registered objects by name, and their names by object; and which modules can
** be required anew.
*/
enum { OBJECTS = 1, METAS, REGISTERED, REGISTERED_NAMES, FOUND, N_USER_VALUES = FOUND };

enum { NAME = 1, MODULE, FIELD };

static char names_key; /* its address is the index's key in the registry */

/* --- the index ------------------------------------------------------------ */

static void push_map(lua_State *L, int names, int is_meta) {
    lua_getiuservalue(L, names, is_meta ? METAS : OBJECTS);
}

/* A table in a module's field has its name as a metatable alone. */
static int is_meta_only(lua_State *L, int object, int field) {
    return field != 0 && lua_istable(L, object);
}

static int is_indexed(lua_State *L, int names, int module, int field) {
    (void)module;
    push_map(L, names, is_meta_only(L, -1, field));
    lua_pushvalue(L, -2);
    int is = lua_rawget(L, -2) != LUA_TNIL;
    lua_pop(L, 2);
    return is;
}

int mp_names_are_current(lua_State *L, int names) {
    const mp_names *n = lua_touserdata(L, names);
    return n->is_filled && mp_exports_each(L, is_indexed, names, 0);
}

/* Of several names the shortest is taken, and of those the first. */
static int comes_before(lua_State *L, int a, int b) {
    size_t len_a = lua_rawlen(L, a), len_b = lua_rawlen(L, b);
    return len_a != len_b ? len_a < len_b
                          : memcmp(lua_tostring(L, a), lua_tostring(L, b), len_a) < 0;
}

/* Gives the object at `object` the name on top, which goes. */
static void enter(lua_State *L, int names, int object, int is_meta, int module, int field) {
    const int name = lua_gettop(L);
    push_map(L, names, is_meta);
    lua_pushvalue(L, object);
    if (lua_rawget(L, -2) == LUA_TTABLE) {
        lua_rawgeti(L, -1, NAME);
        if (!comes_before(L, name, -1)) {
            lua_settop(L, name - 1);
            return;
        }
    }
    lua_settop(L, name + 1);
    lua_pushvalue(L, object);
    lua_createtable(L, 3, 0);
    lua_pushvalue(L, name);
    lua_rawseti(L, -2, NAME);
    if (module != 0) {
        lua_pushvalue(L, module);
        lua_rawseti(L, -2, MODULE);
    }
    if (field != 0) {
        lua_pushvalue(L, field);
        lua_rawseti(L, -2, FIELD);
    }
    lua_rawset(L, -3);
    lua_settop(L, name - 1);
}

static void set_bit(lua_State *L, int names, int table) {
    mp_names *n = lua_touserdata(L, names);
    unsigned bit = mp_names_bit(lua_topointer(L, table));
    n->tables[bit / 64] |= (uint64_t)1 << bit % 64;
}

/* A field is "x" module "\0" field, a module "m" module. */
static int enter_export(lua_State *L, int names, int module, int field) {
    const int object = lua_gettop(L);
    lua_pushstring(L, field == 0 ? "m" : "x");
    lua_pushvalue(L, module);
    if (field != 0) {
        lua_pushlstring(L, "", 1);
        lua_pushvalue(L, field);
    }
    lua_concat(L, lua_gettop(L) - object);
    enter(L, names, object, is_meta_only(L, object, field), module, field);
    return 1;
}

/* Of several names that one object is registered under, the first is taken. */
static void enter_registered(lua_State *L, int names) {
    lua_getiuservalue(L, names, REGISTERED_NAMES);
    const int map = lua_gettop(L);
    lua_getiuservalue(L, names, REGISTERED);
    for (lua_pushnil(L); lua_next(L, map + 1); lua_settop(L, map + 2)) {
        const int object = map + 3;
        lua_pushvalue(L, object);
        lua_pushliteral(L, "r");
        lua_pushvalue(L, object - 1);
        lua_concat(L, 2);
        lua_pushvalue(L, object);
        if (lua_rawget(L, map) == LUA_TNIL || comes_before(L, object + 2, object + 3)) {
            lua_pop(L, 1);
            lua_rawset(L, map);
        }
    }
    lua_settop(L, map - 1);
}

static void enter_globals(lua_State *L, int names) {
    lua_pushglobaltable(L);
    lua_pushliteral(L, "g");
    enter(L, names, lua_gettop(L) - 1, 0, 0, 0);
    lua_pop(L, 1);
}

/* A map that does not keep its objects. */
static void new_map(lua_State *L, int names, int which) {
    lua_newtable(L);
    lua_createtable(L, 0, 1);
    lua_pushliteral(L, "k");
    lua_setfield(L, -2, "__mode");
    lua_setmetatable(L, -2);
    lua_setiuservalue(L, names, which);
}

/* Marks the tables among the values of the one on top, which goes. */
static void mark_values(lua_State *L, int names) {
    if (lua_istable(L, -1))
        for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1))
            if (lua_istable(L, -1))
                set_bit(L, names, lua_gettop(L));
    lua_pop(L, 1);
}

/* Without names, but the tables that have one are marked. */
static void clear(lua_State *L, int names) {
    mp_names *n = lua_touserdata(L, names);
    n->is_filled = 0;
    memset(n->tables, 0, sizeof n->tables);
    new_map(L, names, OBJECTS);
    new_map(L, names, METAS);
    new_map(L, names, REGISTERED_NAMES);
    lua_pushglobaltable(L);
    set_bit(L, names, lua_gettop(L));
    lua_pop(L, 1);
    lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    mark_values(L, names);
    lua_getiuservalue(L, names, REGISTERED);
    mark_values(L, names);
}

static void fill(lua_State *L, int names) {
    clear(L, names);
    mp_exports_each(L, enter_export, names, 1);
    enter_registered(L, names);
    enter_globals(L, names);
    ((mp_names *)lua_touserdata(L, names))->is_filled = 1; /* not if memory was short */
}

mp_names *mp_names_push(lua_State *L) {
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &names_key) == LUA_TUSERDATA)
        return lua_touserdata(L, -1);
    lua_pop(L, 1);
    mp_names *names = lua_newuserdatauv(L, sizeof *names, N_USER_VALUES);
    names->for_fresh = names->is_filled = 0;
    lua_newtable(L);
    lua_setiuservalue(L, -2, REGISTERED);
    lua_newtable(L);
    lua_setiuservalue(L, -2, FOUND);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX,
                &names_key); /* a finalizer from here on is to find this one */
    clear(L, lua_gettop(L));
    return names;
}

void mp_names_renew(lua_State *L) {
    mp_names_push(L);
    fill(L, lua_gettop(L));
    lua_pop(L, 1);
}

void mp_names_address(lua_State *L, int for_fresh) {
    mp_names_push(L);
    ((mp_names *)lua_touserdata(L, -1))->for_fresh = for_fresh;
    lua_pop(L, 1);
}

/* --- from an object to its name ------------------------------------------- */

/* Whether the entry on top still leads to the object. */
static int holds(lua_State *L, int object) {
    const int entry = lua_gettop(L);
    if (lua_rawgeti(L, entry, MODULE) != LUA_TSTRING) {
        lua_pop(L, 1);
        return 1; /* the globals */
    }
    lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    lua_insert(L, -2);
    lua_rawget(L, -2);
    int is_there = lua_rawgeti(L, entry, FIELD) == LUA_TNIL;
    if (is_there)
        lua_pop(L, 1);
    else if ((is_there = lua_istable(L, -2)))
        lua_rawget(L, -2);
    int same = is_there && lua_rawequal(L, -1, object);
    lua_settop(L, entry);
    return same;
}

/* Pushes the name that the object is registered under, if there is one. */
static int find_registered(lua_State *L, int names, int object) {
    lua_getiuservalue(L, names, REGISTERED_NAMES);
    lua_pushvalue(L, object);
    int found = lua_rawget(L, -2) == LUA_TSTRING;
    lua_remove(L, -2);
    if (!found)
        lua_pop(L, 1);
    return found;
}

/* Whether the receiver can load the module of the entry on top, if it is of one. */
static int is_reachable(lua_State *L, int names) {
    const int entry = lua_gettop(L);
    int is = 1;
    if (((mp_names *)lua_touserdata(L, names))->for_fresh &&
        lua_rawgeti(L, entry, MODULE) == LUA_TSTRING) {
        lua_getiuservalue(L, names, FOUND);
        lua_insert(L, -2);
        lua_rawget(L, -2);
        is = lua_toboolean(L, -1);
    }
    lua_settop(L, entry);
    return is;
}

int mp_names_find(lua_State *L, int names, int index, int is_meta) {
    const int top = lua_gettop(L);
    const int object = lua_absindex(L, index);
    if (!((mp_names *)lua_touserdata(L, names))->for_fresh && find_registered(L, names, object))
        return 1;
    for (int as_meta = is_meta; as_meta >= 0; as_meta--) {
        push_map(L, names, as_meta);
        lua_pushvalue(L, object);
        if (lua_rawget(L, -2) == LUA_TTABLE && holds(L, object) && is_reachable(L, names)) {
            lua_rawgeti(L, -1, NAME);
            lua_replace(L, top + 1);
            lua_settop(L, top + 1);
            return 1;
        }
        lua_settop(L, top);
    }
    return 0;
}

/* Whether the paths are those along which modules were looked for, the set of which is on top. */
static int paths_are_same(lua_State *L) {
    const int found = lua_gettop(L);
    int same = lua_rawgeti(L, found, 1) == LUA_TTABLE;
    for (int i = 2; same && i <= 4; i += 2) {
        lua_rawgeti(L, found, i);
        lua_rawget(L, found + 1);
        lua_rawgeti(L, found, i + 1);
        same = lua_rawequal(L, -1, -2);
        lua_settop(L, found + 1);
    }
    lua_settop(L, found);
    return same;
}

int mp_names_is_found(lua_State *L, int names, int index) {
    const int top = lua_gettop(L), object = lua_absindex(L, index);
    int is = 1;
    push_map(L, names, 0);
    lua_pushvalue(L, object);
    if (lua_rawget(L, -2) == LUA_TTABLE && lua_rawgeti(L, -1, MODULE) == LUA_TSTRING &&
        !mp_exports_is_fixed(L, -1) && !find_registered(L, names, object)) {
        lua_getiuservalue(L, names, FOUND);
        is = paths_are_same(L) ? 0 : -1;
        lua_insert(L, -2);
        if (is == 0)
            is = lua_rawget(L, -2) == LUA_TNIL ? -1 : lua_toboolean(L, -1);
    }
    lua_settop(L, top);
    return is;
}

static char modules_key; /* its address is the key in the registry of what luamp.modules returns */

void mp_names_seek(lua_State *L) {
    luaL_checkstack(L, 100, "looking for modules");
    mp_lib_push_part(L, &modules_key, "luamp.modules");
    lua_call(L, 0, 0);
}

/* Whether the entry on top is of what all have as the global whose name is at `name`. */
static int is_global_everywhere(lua_State *L, int name) {
    const int entry = lua_gettop(L);
    int is = 0;
    if (lua_rawgeti(L, entry, MODULE) == LUA_TSTRING) {
        if (lua_rawgeti(L, entry, FIELD) == LUA_TNIL)
            is = mp_exports_is_standard(L, entry + 1) && lua_rawequal(L, entry + 1, name);
        else
            is = strcmp(lua_tostring(L, entry + 1), LUA_GNAME) == 0 &&
                 lua_rawequal(L, entry + 2, name);
    } else {
        is = lua_rawgeti(L, entry, NAME) == LUA_TSTRING && *lua_tostring(L, -1) == 'g';
    }
    lua_settop(L, entry);
    return is;
}

int mp_names_is_everywhere(lua_State *L, int names, int name) {
    const int object = name + 1, top = lua_gettop(L);
    if (lua_type(L, object) != LUA_TTABLE && lua_type(L, object) != LUA_TFUNCTION)
        return 0;
    push_map(L, names, 0);
    lua_pushvalue(L, object);
    int is = lua_rawget(L, -2) == LUA_TTABLE && is_global_everywhere(L, name);
    lua_settop(L, top);
    return is;
}

/* --- from a name to its object -------------------------------------------- */

/* Pushes the module, loaded if it was not; or says why not. */
static int push_module(lua_State *L, const char *name, size_t len) {
    lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    lua_pushlstring(L, name, len);
    if (lua_rawget(L, -2) != LUA_TNIL)
        return 1;
    if (lua_getglobal(L, "require") != LUA_TFUNCTION) {
        lua_pushlstring(L, name, len);
        lua_pushfstring(L, "module '%s' is not loaded, and there is no 'require'",
                        lua_tostring(L, -1));
        return 0;
    }
    lua_pushlstring(L, name, len);
    return lua_pcall(L, 1, 1, 0) == LUA_OK;
}

/* Pushes a module's field, or says that it is not there. */
static int push_field(lua_State *L, const char *module, const char *field, size_t field_len) {
    if (!push_module(L, module, strlen(module)))
        return 0;
    lua_pushlstring(L, field, field_len);
    if (lua_istable(L, -2)) {
        lua_pushvalue(L, -1);
        if (lua_rawget(L, -3) != LUA_TNIL)
            return 1;
        lua_pop(L, 1);
    }
    lua_pushfstring(L, "module '%s' has no field '%s' here", module, lua_tostring(L, -1));
    return 0;
}

static int push_registered(lua_State *L, const char *name, size_t len) {
    mp_names_push(L);
    lua_getiuservalue(L, -1, REGISTERED);
    lua_pushlstring(L, name, len);
    lua_pushvalue(L, -1);
    if (lua_rawget(L, -3) != LUA_TNIL)
        return 1;
    lua_pushfstring(L, "nothing is registered here as '%s'", lua_tostring(L, -2));
    return 0;
}

/* Of a name without its first byte. */
static int push_object(lua_State *L, int kind, const char *name, size_t len) {
    const char *end = memchr(name, '\0', len);
    switch (kind) {
    case 'g':
        lua_pushglobaltable(L);
        return 1;
    case 'r':
        return push_registered(L, name, len);
    case 'm':
        return push_module(L, name, len);
    case 'x':
        if (end != NULL)
            return push_field(L, name, end + 1, len - (size_t)(end - name) - 1);
        /* fall through */
    default:
        lua_pushliteral(L, "a name of a kind that is not known");
        return 0;
    }
}

int mp_names_resolve(lua_State *L, const char *name, size_t len) {
    const int top = lua_gettop(L);
    luaL_checkstack(L, 10, "an object by name");
    int ok = len == 0 ? push_object(L, 0, name, 0) : push_object(L, *name, name + 1, len - 1);
    lua_copy(L, -1, top + 1);
    lua_settop(L, top + 1);
    return ok;
}

/* Whether the table of that name in the registry has the field; then pushes that, too. */
static int has_entry(lua_State *L, const char *table, const char *name) {
    int has = lua_getfield(L, LUA_REGISTRYINDEX, table) == LUA_TTABLE;
    if (has) {
        lua_pushstring(L, name);
        has = lua_rawget(L, -2) != LUA_TNIL;
    }
    return has;
}

int mp_names_have(lua_State *L, const char *name, size_t len) {
    const int top = lua_gettop(L);
    luaL_checkstack(L, 10, "an object by name");
    int has =
        len > 0 && (*name == 'm' || *name == 'x') &&
        (has_entry(L, LUA_LOADED_TABLE, name + 1) || has_entry(L, LUA_PRELOAD_TABLE, name + 1));
    if (has && !push_module(L, name + 1, strlen(name + 1)))
        lua_error(L);
    if (has && *name == 'x') {
        const size_t module = strlen(name) + 1;
        has = module < len && lua_istable(L, -1);
        if (has) {
            lua_pushlstring(L, name + module, len - module);
            has = lua_rawget(L, -2) != LUA_TNIL;
        }
    }
    if (has)
        lua_replace(L, top + 1);
    lua_settop(L, top + has);
    return has;
}

/* --- for Lua -------------------------------------------------------------- */

/* name_of(value, as metatable): its name, or nil, as of the last renew_names(). */
static int name_of(lua_State *L) {
    lua_settop(L, 2);
    mp_names_push(L);
    return mp_names_find(L, 3, 1, lua_toboolean(L, 2));
}

/* is_either(f): of a function that has a name, whether it goes by value, too. */
static int is_either(lua_State *L) {
    lua_settop(L, 1);
    int is = lua_isfunction(L, 1) && !lua_iscfunction(L, 1) && !mp_names_push(L)->for_fresh;
    if (is && mp_names_is_found(L, 2, 1) < 0)
        mp_names_seek(L);
    lua_pushboolean(L, is && mp_names_is_found(L, 2, 1) == 0);
    return 1;
}

/* renew_names(for_fresh): names are as of now, and for a receiver with a fresh interpreter or not.
 */
static int renew_names(lua_State *L) {
    mp_names_renew(L);
    mp_names_address(L, lua_toboolean(L, 1));
    return 0;
}

/* address_names(for_fresh): whom names are for from now on. */
static int address_names(lua_State *L) {
    mp_names_address(L, lua_toboolean(L, 1));
    return 0;
}

/* The user value of the index on the stack. */
static int push_part(lua_State *L, int part) {
    mp_names_push(L);
    lua_getiuservalue(L, -1, part);
    return 1;
}

/* registered(): the table of registered objects, by name. */
static int registered(lua_State *L) {
    return push_part(L, REGISTERED);
}

/* found_modules(): the set of loaded modules that can be required anew, to be filled in. */
static int found_modules(lua_State *L) {
    return push_part(L, FOUND);
}

/* register(name, object): what is registered under the name from now on; nil, what was before. */
static int set_registered(lua_State *L) {
    luaL_checkstring(L, 1);
    lua_settop(L, 2);
    mp_names_push(L);
    lua_getiuservalue(L, 3, REGISTERED);
    lua_pushvalue(L, 1);
    if (lua_rawget(L, 4) != LUA_TNIL && !lua_rawequal(L, 5, 2)) {
        lua_pushboolean(L, 0);
        return 1;
    }
    lua_pushvalue(L, 1);
    lua_pushvalue(L, 2);
    lua_rawset(L, 4);
    clear(L, 3);
    lua_pushboolean(L, 1);
    return 1;
}

void mp_names_open(lua_State *L) {
    static const luaL_Reg functions[] = {{"name_of", name_of},
                                         {"is_either", is_either},
                                         {"renew_names", renew_names},
                                         {"register", set_registered},
                                         {"address_names", address_names},
                                         {"registered", registered},
                                         {"found_modules", found_modules},
                                         {NULL, NULL}};
    luaL_setfuncs(L, functions, 0);
}
