/*
** future.c: futures of a pool's tasks (luamp.future), and the straight way of a task to its board.
**
** A future is a userdata: what each has is in its struct and in the first of its user values. What
** few have is in a table, its last one, which is made when it is needed. To Lua code all are
** fields.
**
** Most tasks go straight: a function that is known, on the pool's own terms, while none waits for
** room. As long as that is so, `is_straight` is set in what the pool's single tasks are
** (submit.lua), and they need no Lua code, nor does what comes of them, if that is one value and
** only the future is told of it (ends.c).
*/
#include <string.h>

#include "binding/board.h"
#include "binding/shared.h"
#include "engine/proc.h"

static const char FUTURE[] = "luamp.future";

typedef enum phase { PENDING = 0, DONE, FAILED, CANCELLED } phase;
static const char *const phases[] = {"pending", "done", "failed", "cancelled", NULL};

typedef struct future {
    const char *magic; /* FUTURE */
    uint64_t number;   /* of the task in its pool */
    int32_t slot;      /* of the board, or -1 */
    uint32_t kept;     /* its function there */
    pid_t pid;
    uint8_t phase;
    uint8_t is_watched; /* others are told of its end, too */
} future;

/* Its user values. REST: a table, or nil. */
enum { VALUES = 1, POOL, TERMS, REST };

/* No other userdata has that size and begins with that word. */
static future *future_at(lua_State *L, int index) {
    future *f = lua_touserdata(L, index);
    return f != NULL && lua_rawlen(L, index) == sizeof *f && f->magic == FUTURE ? f : NULL;
}

static future *check(lua_State *L) {
    future *f = future_at(L, 1);
    luaL_argcheck(L, f != NULL, 1, "a future expected");
    return f;
}

/* Pushes a future of the pool at that index, on those terms. */
static future *new_future(lua_State *L, int pool, int terms) {
    future *f = lua_newuserdatauv(L, sizeof *f, REST);
    *f = (future){.magic = FUTURE, .slot = -1, .pid = mp_proc_self()};
    lua_pushvalue(L, pool);
    lua_setiuservalue(L, -2, POOL);
    lua_pushvalue(L, terms);
    lua_setiuservalue(L, -2, TERMS);
    lua_rawgetp(L, LUA_REGISTRYINDEX, FUTURE);
    lua_setmetatable(L, -2);
    return f;
}

/* --- fields ------------------------------------------------------------------- */

/* Pushes what the struct or a user value has by that name: whether there is such a field. */
static int push_own(lua_State *L, const future *f, const char *key) {
    if (strcmp(key, "phase") == 0)
        lua_pushstring(L, phases[f->phase]);
    else if (strcmp(key, "values") == 0)
        lua_getiuservalue(L, 1, VALUES);
    else if (strcmp(key, "pool") == 0)
        lua_getiuservalue(L, 1, POOL);
    else if (strcmp(key, "terms") == 0)
        lua_getiuservalue(L, 1, TERMS);
    else if (strcmp(key, "number") == 0)
        lua_pushinteger(L, (lua_Integer)f->number);
    else if (strcmp(key, "kept") == 0)
        lua_pushinteger(L, f->kept);
    else if (strcmp(key, "slot") != 0)
        return 0;
    else if (f->slot >= 0)
        lua_pushinteger(L, f->slot);
    else
        lua_pushnil(L);
    return 1;
}

/* __index, with the methods as its upvalue: a method, or a field. */
static int get(lua_State *L) {
    lua_settop(L, 2);
    lua_pushvalue(L, 2);
    if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL)
        return 1;
    const future *f = check(L);
    if (lua_type(L, 2) != LUA_TSTRING || push_own(L, f, lua_tostring(L, 2)) ||
        lua_getiuservalue(L, 1, REST) != LUA_TTABLE)
        return 1;
    lua_pushvalue(L, 2);
    lua_rawget(L, -2);
    return 1;
}

/* getter(methods): __index. */
static int getter(lua_State *L) {
    lua_settop(L, 1);
    lua_pushcclosure(L, get, 1);
    return 1;
}

static void set_rest(lua_State *L) {
    if (lua_getiuservalue(L, 1, REST) != LUA_TTABLE) {
        lua_newtable(L);
        lua_pushvalue(L, -1);
        lua_setiuservalue(L, 1, REST);
    }
    lua_pushvalue(L, 2);
    lua_pushvalue(L, 3);
    lua_rawset(L, -3);
}

/* set(future, key, value): sets a field; `pool`, `terms` and `kept` are what they are. */
static int set(lua_State *L) {
    future *f = check(L);
    const char *key = luaL_checkstring(L, 2);
    lua_settop(L, 3);
    if (strcmp(key, "phase") == 0)
        f->phase = (uint8_t)luaL_checkoption(L, 3, NULL, phases);
    else if (strcmp(key, "slot") == 0)
        f->slot = (int32_t)luaL_optinteger(L, 3, -1);
    else if (strcmp(key, "number") == 0)
        f->number = (uint64_t)luaL_checkinteger(L, 3);
    else if (strcmp(key, "values") == 0)
        lua_setiuservalue(L, 1, VALUES);
    else
        set_rest(L);
    return 0;
}

/* watch(future): others are told of its end. */
static int watch(lua_State *L) {
    check(L)->is_watched = 1;
    return 0;
}

/* new(pool, terms, kept): a future. */
static int new (lua_State *L) {
    lua_settop(L, 3);
    new_future(L, 1, 2)->kept = (uint32_t)luaL_checkinteger(L, 3);
    return 1;
}

/* --- questions ---------------------------------------------------------------- */

static int is_future(lua_State *L) {
    lua_pushboolean(L, future_at(L, 1) != NULL);
    return 1;
}

static int is_pending(lua_State *L) {
    lua_pushboolean(L, check(L)->phase == PENDING);
    return 1;
}

/* value(future): true and its value, if it is done with one, in this process; else nil. */
static int value(lua_State *L) {
    const future *f = future_at(L, 1);
    if (f == NULL || f->phase != DONE || f->pid != mp_proc_self() ||
        lua_getiuservalue(L, 1, REST) != LUA_TNIL)
        return 0;
    lua_pushboolean(L, 1);
    lua_getiuservalue(L, 1, VALUES);
    return 2;
}

int mp_future_is_alone(lua_State *L, int index) {
    const future *f = future_at(L, index);
    return f != NULL && !f->is_watched;
}

int mp_future_done(lua_State *L, int index) {
    future *f = future_at(L, index);
    if (f->phase != PENDING) {
        lua_pop(L, 1);
        return 0;
    }
    lua_setiuservalue(L, index, VALUES);
    lua_pushnil(L);
    lua_setiuservalue(L, index, REST);
    f->slot = -1;
    f->phase = DONE;
    return 1;
}

/* --- the straight way --------------------------------------------------------- */

/* Items of what a pool's single tasks are (submit.lua), which is the first one of the pool's state.
 */
enum { BOARD = 1, KEPT, NEEDS, FUTURES, OWN_TERMS };
/* Upvalues of `straight`: the class of pools, and names of fields. */
enum { CLASS = 1, IS_STRAIGHT, NUMBER };

/* is_met(needs): whether the globals of these names, each followed by its value, have these values.
 */
static int is_met(lua_State *L) {
    const int needs = lua_gettop(L);
    lua_rawgeti(L, needs, 0);
    const lua_Integer n = lua_tointeger(L, -1);
    lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS);
    int is = 1;
    for (lua_Integer i = 1; i < n && is; i += 2) {
        lua_rawgeti(L, needs, i);
        lua_rawget(L, needs + 2);
        lua_rawgeti(L, needs, i + 1);
        is = lua_rawequal(L, -1, -2);
        lua_settop(L, needs + 2);
    }
    lua_settop(L, needs);
    lua_pushboolean(L, is);
    return 1;
}

/* Pushes the pool's state and its single tasks' from the pool at 1, if these go straight: whether.
 */
static int push_tasks(lua_State *L) {
    if (lua_type(L, 1) != LUA_TUSERDATA || !lua_getmetatable(L, 1) ||
        !lua_rawequal(L, -1, lua_upvalueindex(CLASS)))
        return 0;
    lua_pop(L, 1);
    lua_getiuservalue(L, 1, 1);
    lua_rawgeti(L, -1, 1);
    lua_pushvalue(L, lua_upvalueindex(IS_STRAIGHT));
    lua_rawget(L, -2);
    const int is = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return is;
}

/* The number of the function at 2 on the board; -1: it is not known, or not as it was. */
static lua_Integer call_of(lua_State *L, int tasks) {
    lua_rawgeti(L, tasks, KEPT);
    lua_pushvalue(L, 2);
    const int is_known = lua_rawget(L, -2) != LUA_TNIL;
    const lua_Integer call = is_known ? lua_tointeger(L, -1) : -1;
    if (call > MP_BOARD_NOT_KEPT) {
        lua_rawgeti(L, tasks, NEEDS);
        if (lua_rawgeti(L, -1, call) == LUA_TTABLE) {
            is_met(L);
            if (!lua_toboolean(L, -1))
                return -1;
        }
    }
    lua_settop(L, tasks);
    return call;
}

/* Puts the task of a future, with the n values from `first` on: whether it is on the board. */
static int put(lua_State *L, future *f, mp_board_owner *o, int tasks, int first, int n) {
    mp_values v;
    if (mp_board_encode(L, first, n, &v) < 0 || o->b == NULL)
        return 0;                               /* what was encoded may have ended the pool */
    lua_pushvalue(L, lua_upvalueindex(NUMBER)); /* ...or have had tasks of its own */
    lua_rawget(L, tasks);
    f->number = (uint64_t)lua_tointeger(L, -1) + 1;
    const mp_task task = {.call = f->kept, .chunk = 1, .attempt = 1, .index = f->number};
    f->slot = mp_board_put(o->b, &task, &v.record);
    if (f->slot < 0)
        return 0;
    lua_pushvalue(L, lua_upvalueindex(NUMBER));
    lua_pushinteger(L, (lua_Integer)f->number);
    lua_rawset(L, tasks);
    return 1;
}

/*
** straight(pool, f, ...): the future of a task, which is on the board; or nothing: it is to go
** another way. The future is there before its task is put: what collects garbage may meet its end.
*/
static int straight(lua_State *L) {
    const int n = lua_gettop(L), tasks = n + 2, fut = n + 3;
    if (!push_tasks(L))
        return 0;
    const lua_Integer call = call_of(L, tasks);
    if (call < 0)
        return 0;
    lua_rawgeti(L, tasks, OWN_TERMS);
    future *f = new_future(L, n + 1, fut);
    lua_replace(L, fut);
    lua_rawgeti(L, tasks, BOARD);
    mp_board_owner *o = mp_board_at(L, -1);
    f->kept = (uint32_t)call;
    const int first = call == MP_BOARD_NOT_KEPT ? 2 : 3;
    if (o->pid != f->pid || !put(L, f, o, tasks, first, n - first + 1))
        return 0;
    lua_rawgeti(L, tasks, FUTURES);
    lua_pushvalue(L, fut);
    lua_rawseti(L, -2, (lua_Integer)f->slot + 1);
    mp_board_tell(o->b, 1);
    lua_settop(L, fut);
    return 1;
}

/* straightener(class): the function `straight` for pools, which are objects of that class. */
static int straightener(lua_State *L) {
    lua_settop(L, 1);
    lua_pushliteral(L, "is_straight");
    lua_pushliteral(L, "n");
    lua_pushcclosure(L, straight, NUMBER);
    return 1;
}

void mp_future_open(lua_State *L) {
    static const luaL_Reg functions[] = {
        {"new", new},     {"getter", getter}, {"set", set},
        {"watch", watch}, {"is", is_future},  {"is_pending", is_pending},
        {"value", value}, {"is_met", is_met}, {"straightener", straightener},
        {NULL, NULL}};
    luaL_newlib(L, functions);
    lua_newtable(L); /* the metatable, for luamp.future to fill in */
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, FUTURE);
    lua_setfield(L, -2, "class");
    lua_setfield(L, -2, "future");
}
