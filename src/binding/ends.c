/*
** ends.c: what came of a board's tasks (engine/board.h), for luamp.pool.
**
** Results of the plainest kind, one value for a place of a list or for a future, go there without a
** call of Lua code; of all other ends Lua code is told.
*/
#include <errno.h>
#include <string.h>

#include "binding/board.h"
#include "binding/codec.h"
#include "binding/shared.h"

/* decode(ended): the values */
static int decode(lua_State *L) {
    const mp_ended *e = lua_touserdata(L, 1);
    const int n = mp_codec_decode(L, e->bytes, e->len, 1);
    return n < 0 ? luaL_error(L, "it is damaged") : n;
}

/* The end is passed on: its slot is free. */
static void let_go(mp_board_owner *o, const mp_ended *e) {
    mp_board_release(o->b, e->slot);
    o->is_in_hand &= e != &o->ended;
}

/*
** Pushes what an end is: how, id, attempt, values..., and frees its slot. How: "done", "failed",
** "lost", or "damaged", with the error, of what cannot be had here; or "unbegun", with how many,
** from that one on. Whether the error is an interruption, which is to go on.
*/
static int push_end(lua_State *L, mp_board_owner *o, const mp_ended *e) {
    static const char *const names[] = {NULL, "done", "failed", "lost", "unbegun"};
    const int first = lua_gettop(L) + 1;
    int rc = LUA_OK;
    if (e->end == MP_TASK_UNBEGUN)
        lua_pushinteger(L, e->task.n);
    else if (e->end != MP_TASK_LOST && !mp_codec_plain(L, e->bytes, e->len)) {
        lua_pushcfunction(L, decode);
        lua_pushlightuserdata(L, (void *)e);
        rc = lua_pcall(L, 1, LUA_MULTRET, 0);
    }
    if (!lua_checkstack(L, 8)) {
        lua_settop(L, first - 1);
        lua_pushliteral(L, "not enough memory");
        rc = LUA_ERRMEM;
    }
    const int is_interruption = rc != LUA_OK && lua_type(L, -1) != LUA_TSTRING;
    lua_pushstring(L, rc != LUA_OK ? "damaged" : names[e->end]);
    lua_pushinteger(L, (lua_Integer)e->lane + 1);
    lua_pushinteger(L, e->task.attempt);
    lua_rotate(L, first, 3);
    let_go(o, e); /* here, where nothing can raise any more */
    return is_interruption;
}

/* Where things are on the stack of `collect`. */
enum { LISTS = 2, ARRIVALS, FUTURES, HEAR, LIST_OF_CALL, ARRIVALS_OF_CALL, FUTURE };

/* Nothing stands for the task among the futures any more. */
static void forget_future(lua_State *L, const mp_ended *e) {
    if (lua_isnil(L, FUTURE))
        return;
    lua_pushnil(L);
    lua_rawseti(L, FUTURES, (lua_Integer)e->slot + 1);
}

/* Tells of an end by hear(whose, index, how, id, attempt, values...), and raises what came in
 * between. whose: what stands for the task among the futures, or else its call. */
static void hear(lua_State *L, mp_board_owner *o, const mp_ended *e) {
    const int first = lua_gettop(L) + 1;
    lua_pushvalue(L, HEAR);
    if (lua_isnil(L, FUTURE))
        lua_pushinteger(L, e->task.call);
    else
        lua_pushvalue(L, FUTURE);
    lua_pushinteger(L, (lua_Integer)e->task.index);
    const int is_interruption = push_end(L, o, e);
    forget_future(L, e);
    if (is_interruption) {
        lua_pushvalue(L, -1);
        lua_insert(L, first);
    }
    lua_call(L, lua_gettop(L) - first - is_interruption, 0);
    if (is_interruption)
        lua_error(L);
}

/* The values from `first` on become a list with n. */
static void pack(lua_State *L, int first) {
    const int n = lua_gettop(L) - first + 1;
    lua_createtable(L, n, 1);
    lua_insert(L, first);
    for (int i = n; i > 0; i--)
        lua_rawseti(L, first, i);
    lua_pushinteger(L, n);
    lua_setfield(L, first, "n");
}

/* What came of a task: true and its result, if it is done with one; else false, nil, and what its
 * end is, as a list. */
static int push_answer(lua_State *L, mp_board_owner *o, const mp_ended *e) {
    enum { OWNER = 1, HOW, VALUE_OF_ONE = HOW + 3 };
    lua_settop(L, OWNER);
    push_end(L, o, e);
    if (e->end == MP_TASK_DONE && lua_gettop(L) == VALUE_OF_ONE &&
        strcmp(lua_tostring(L, HOW), "done") == 0) {
        lua_pushboolean(L, 1);
        lua_replace(L, VALUE_OF_ONE - 1);
        return 2;
    }
    pack(L, HOW);
    lua_pushboolean(L, 0);
    lua_insert(L, HOW);
    lua_pushnil(L);
    lua_insert(L, HOW + 1);
    return 3;
}

/* Pushes what came of a task that is done, if that is one value; or else 0. */
static int push_value(lua_State *L, const mp_ended *e) {
    if (e->end != MP_TASK_DONE || e->len == 0 || (e->bytes[0] & MP_CODEC_COUNT) != 1)
        return 0;
    if (!mp_codec_plain(L, e->bytes, e->len)) {
        lua_pushcfunction(L, decode);
        lua_pushlightuserdata(L, (void *)e);
        if (lua_pcall(L, 1, 1, 0) != LUA_OK) {
            lua_pop(L, 1);
            return 0; /* and what is wrong is found again */
        }
    }
    return 1;
}

/* The index comes next in the call's list of arrivals. */
static void arrive(lua_State *L, mp_board_owner *o, int arrivals, uint32_t call,
                   lua_Integer index) {
    mp_call_count *count = mp_board_count(o->b, call);
    lua_pushinteger(L, index);
    lua_rawseti(L, arrivals, (lua_Integer)count->n_arrived + 1);
    count->n_arrived++;
}

/*
** Whether it was one value for the call's list, and has gone there, and its index to the arrivals,
** if there are such. A nil is what the list has at 0, which is nil for most. Where memory is short
** for that it is in hand as before.
*/
static int goes_into_list(lua_State *L, mp_board_owner *o, const mp_ended *e) {
    const lua_Integer index = (lua_Integer)e->task.index;
    if (lua_type(L, LIST_OF_CALL) != LUA_TTABLE || !push_value(L, e))
        return 0;
    const int is_nil = lua_isnil(L, -1);
    if (is_nil) {
        lua_pop(L, 1);
        lua_rawgeti(L, LIST_OF_CALL, 0);
    }
    lua_rawseti(L, LIST_OF_CALL, index);
    if (lua_istable(L, ARRIVALS_OF_CALL))
        arrive(L, o, ARRIVALS_OF_CALL, e->task.call, index);
    let_go(o, e);
    mp_call_count *count = mp_board_count(o->b, e->task.call);
    count->n_nil += (uint64_t)is_nil;
    count->n_done++;
    return 1;
}

/* Whether it was one value for a future, of whose end nobody else is told, and has gone there. */
static int goes_into_future(lua_State *L, mp_board_owner *o, const mp_ended *e) {
    if (!mp_future_is_alone(L, FUTURE) || !push_value(L, e))
        return 0;
    o->n_settled += (uint64_t)mp_future_done(L, FUTURE);
    forget_future(L, e);
    let_go(o, e);
    return 1;
}

/* arrived(board, call, index, arrivals): so has one that hear was told of. */
static int arrived(lua_State *L) {
    mp_board_owner *o = mp_board_check(L);
    lua_settop(L, 4);
    luaL_checktype(L, 4, LUA_TTABLE);
    arrive(L, o, 4, (uint32_t)luaL_checkinteger(L, 2) % MP_BOARD_CALLS, luaL_checkinteger(L, 3));
    return 0;
}

/* hear(true, n): so many futures have got their values. */
static void tell_of_settled(lua_State *L, mp_board_owner *o) {
    if (o->n_settled == 0)
        return;
    lua_pushvalue(L, HEAR);
    lua_pushboolean(L, 1);
    lua_pushinteger(L, (lua_Integer)o->n_settled);
    o->n_settled = 0;
    lua_call(L, 2, 0);
}

/*
** collect(board, lists, arrivals, futures, hear): gives out all ends. One result of a call that
** has a list goes there, and the index to the call's arrivals, if it has those; one of a task that
** has a future, at the slot + 1, goes into that. Of others hear is told. Returns how many tasks
** have ended.
*/
static int collect(lua_State *L) {
    mp_board_owner *o = mp_board_use(L);
    lua_Integer n = 0;
    uint32_t call = MP_BOARD_CALLS; /* whose lists are on the stack */
    mp_ended *e = &o->ended;
    for (; o->is_in_hand || mp_board_next(o->b, e); n += e->end != MP_TASK_UNBEGUN) {
        o->is_in_hand = 1;
        if (e->task.call != call) {
            call = e->task.call;
            lua_settop(L, HEAR);
            lua_rawgeti(L, LISTS, call);
            lua_rawgeti(L, ARRIVALS, call);
        }
        if (goes_into_list(L, o, e))
            continue;
        lua_rawgeti(L, FUTURES, (lua_Integer)e->slot + 1);
        if (!goes_into_future(L, o, e)) {
            hear(L, o, e); /* which may end the call */
            call = MP_BOARD_CALLS;
        }
        lua_settop(L, ARRIVALS_OF_CALL);
    }
    tell_of_settled(L, o);
    lua_pushinteger(L, n);
    return 1;
}

/*
** forward(board, hear): tells of all ends as hear(call, index, how, id, attempt, message), for a
** call of another host: what a task has come to stays in the bytes that its worker has sent.
** Returns how many tasks have ended.
*/
static int forward(lua_State *L) {
    static const char *const names[] = {NULL, "done", "failed", "lost", "unbegun"};
    mp_board_owner *o = mp_board_use(L);
    mp_ended *e = &o->ended;
    lua_Integer n = 0;
    for (; o->is_in_hand || mp_board_next(o->b, e); n += e->end != MP_TASK_UNBEGUN) {
        o->is_in_hand = 1;
        lua_settop(L, 2);
        lua_pushvalue(L, 2);
        lua_pushinteger(L, e->task.call);
        lua_pushinteger(L, (lua_Integer)e->task.index);
        lua_pushstring(L, names[e->end]);
        lua_pushinteger(L, (lua_Integer)e->lane + 1);
        lua_pushinteger(L, e->task.attempt);
        if (e->end == MP_TASK_UNBEGUN)
            lua_pushinteger(L, e->task.n);
        else
            lua_pushlstring(L, e->bytes, e->len);
        let_go(o, e);
        lua_call(L, 6, 0);
    }
    lua_pushinteger(L, n);
    return 1;
}

/*
** apply(board, call, limit, chunk, excluded, attempt, index, deadline, ...): puts a task on a board
** that has no other, and waits for its end, once: true and its result, if it is one; false, nil and
** what its end is; or false and its slot; nil: it cannot be put.
*/
static int apply(lua_State *L) {
    enum { DEADLINE = MP_TASK_VALUES };
    mp_board_owner *o = mp_board_use(L);
    const mp_task task = mp_board_check_task(L);
    const mp_time deadline = (mp_time)luaL_checkinteger(L, DEADLINE);
    const int slot = mp_board_put_values(L, o, &task, DEADLINE + 1, lua_gettop(L) - DEADLINE);
    mp_ended e;
    if (slot < 0)
        return 0;
    mp_board_tell(o->b, 1);
    if (mp_board_wait(o->b, 1, deadline) == 0 && mp_board_next(o->b, &e))
        return push_answer(L, o, &e);
    lua_pushboolean(L, 0);
    lua_pushinteger(L, slot);
    return 2;
}

/* n_done(board, call): how many of its results went into its list, and how many of them are nil. */
static int n_done(lua_State *L) {
    const mp_board_owner *o = mp_board_check(L);
    const uint32_t call = (uint32_t)luaL_checkinteger(L, 2) % MP_BOARD_CALLS;
    const mp_call_count *count = mp_board_count(o->b, call);
    lua_pushinteger(L, (lua_Integer)count->n_done);
    lua_pushinteger(L, (lua_Integer)count->n_nil);
    return 2;
}

/* All are functions of boards. */
void mp_ends_face_open(lua_State *L) {
    static const luaL_Reg functions[] = {{"collect", collect}, {"forward", forward},
                                         {"arrived", arrived}, {"apply", apply},
                                         {"n_done", n_done},   {NULL, NULL}};
    lua_getfield(L, -1, "board");
    luaL_setfuncs(L, functions, 0);
    lua_pop(L, 1);
}
