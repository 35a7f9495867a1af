/*
** bell.c: descriptors of boards and of single tasks, for event loops.
*/
#include <string.h>

#include "binding/board.h"
#include "binding/shared.h"

/* Pushes a descriptor; one that others wait for is looked after while this process does nothing. */
static int push_watch(lua_State *L, int fd, int is_for_others) {
    const int rc = fd < 0 || !is_for_others ? fd : mp_watch_keep();
    if (rc < 0)
        return mp_shared_fail(L, "mp.pool", rc);
    lua_pushinteger(L, fd);
    return 1;
}

/* watch(board, [is_for_others]): a descriptor that is readable when there is something to do. */
static int watch_board(lua_State *L) {
    const int is_for_others = lua_toboolean(L, 2);
    return push_watch(L, mp_board_watch(mp_board_check(L)->b), is_for_others);
}

/* employ(board, id, member): that worker has come, with that record in the family. */
static int employ(lua_State *L) {
    mp_board *b = mp_board_check(L)->b;
    mp_board_employ(b, mp_board_check_lane(L, 2), (uint32_t)luaL_checkinteger(L, 3));
    return 0;
}

/* plan(board, seconds): see mp_board_plan; by the clock. */
static int plan(lua_State *L) {
    mp_board_plan(mp_board_check(L)->b, (mp_time)(luaL_checknumber(L, 2) * 1e9));
    return 0;
}

static const char BELL[] = "luamp.bell";

static int bell_gc(lua_State *L) {
    mp_task_watch *t = luaL_checkudata(L, 1, BELL);
    mp_watch_close(&t->watch);
    return 0;
}

/* bell([board]): for the descriptor of a task that is not on the board. */
static int new_bell(lua_State *L) {
    mp_board *b = lua_isnoneornil(L, 1) ? NULL : mp_board_check(L)->b;
    lua_settop(L, 1);
    mp_task_watch *t = lua_newuserdatauv(L, sizeof *t, 1);
    memset((void *)t, 0, sizeof *t);
    t->board = b;
    t->slot = -1;
    if (luaL_newmetatable(L, BELL)) {
        lua_pushcfunction(L, bell_gc);
        lua_setfield(L, -2, "__gc");
    }
    lua_setmetatable(L, -2);
    lua_pushvalue(L, 1); /* the board lives as long */
    lua_setiuservalue(L, -2, 1);
    return 1;
}

/* bell_at(bell, [slot]): where the task is now; nil: it is not on the board. */
static int bell_at(lua_State *L) {
    mp_task_watch *t = luaL_checkudata(L, 1, BELL);
    t->slot = (int32_t)luaL_optinteger(L, 2, -1);
    return 0;
}

/* bell_end(bell): it has ended. */
static int bell_end(lua_State *L) {
    mp_task_watch *t = luaL_checkudata(L, 1, BELL);
    t->has_ended = 1;
    mp_board_watch_task(t);
    return 0;
}

/* bell_fd(bell): the descriptor. */
static int bell_fd(lua_State *L) {
    return push_watch(L, mp_board_watch_task(luaL_checkudata(L, 1, BELL)), 1);
}

/* All are functions of boards. */
void mp_bell_face_open(lua_State *L) {
    static const luaL_Reg functions[] = {
        {"watch", watch_board}, {"employ", employ},     {"plan", plan},       {"bell", new_bell},
        {"bell_at", bell_at},   {"bell_end", bell_end}, {"bell_fd", bell_fd}, {NULL, NULL}};
    lua_getfield(L, -1, "board");
    luaL_setfuncs(L, functions, 0);
    lua_pop(L, 1);
}
