/*
 * cpu_map KIND COUNT: two processes of bare Lua, each of which does half of row 19's tasks.
 *
 * Nobody hands anything out: each has its half before the time begins, with as much to do as
 * the other one's. Prints the seconds that one of COUNT tasks took, from when the first process
 * begins until the last one has ended.
 */
#include "bench.h"

#include <lauxlib.h>
#include <lualib.h>

static const char *kind;
static int count;
static lua_State *L;

static void check(int status) {
    if (status == LUA_OK)
        return;
    fprintf(stderr, "%s\n", lua_tostring(L, -1));
    exit(1);
}

/* Leaves the function, which does the half on top of it, on the stack. */
static void prepare(int i) {
    L = luaL_newstate();
    if (L == NULL)
        bench_die("luaL_newstate");
    luaL_openlibs(L);
    check(luaL_dofile(L, TASKS));
    lua_getfield(L, 1, "run_all");
    lua_getfield(L, 1, "half");
    lua_pushstring(L, kind);
    lua_getfield(L, 1, "list");
    lua_pushstring(L, kind);
    lua_pushinteger(L, count);
    check(lua_pcall(L, 2, 1, 0));
    lua_pushinteger(L, i);
    check(lua_pcall(L, 3, 1, 0));
}

static void work(int i) {
    (void)i;
    check(lua_pcall(L, 1, 0, 0));
}

int main(int argc, char **argv) {
    count = bench_count(argc == 3 ? argv[2] : NULL);
    kind = argv[1];
    printf("%.12f\n", bench_together(2, prepare, work) / count);
    return 0;
}
