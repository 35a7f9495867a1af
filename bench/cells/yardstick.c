/*
 * cells KIND COUNT: what numbers in shared memory cannot do without, when Lua has them. KIND is
 *   add      an atomic addition in C, and the call of an empty method, o:m(1), which checks
 *            what it is called with: the sum of both
 *   element  o[1], answered by an empty function that checks what it is called with
 *   assign   o[1] = 1, the same
 *   copy     the copying of 1 MiB of shared memory by memcpy
 * Prints the mean time of one in seconds, after a tenth to warm up. The object is empty: there is
 * no length, no type, and no other process. The loops are Lua's, as luamp's are.
 */
#include "bench.h"

#include <lauxlib.h>
#include <lualib.h>
#include <stdint.h>
#include <string.h>

enum { BYTES = 1 << 20 };

static const char *const SCRIPT =
    "function add(o, n) for _ = 1, n do o:m(1) end end\n"
    "function element(o, n) local x for _ = 1, n do x = o[1] end return x end\n"
    "function assign(o, n) for _ = 1, n do o[1] = 1 end end\n";

static lua_State *L;
static _Atomic int64_t *counter;
static char *from, *to;

static int empty(lua_State *l) {
    luaL_checkudata(l, 1, "object");
    luaL_checkinteger(l, 2);
    return 1;
}

/* The object, with the function as the method m, or in the place of indexing. */
static void push_object(int is_method) {
    lua_newuserdatauv(L, sizeof(void *), 0);
    luaL_newmetatable(L, "object");
    if (is_method)
        lua_newtable(L);
    lua_pushcfunction(L, empty);
    if (is_method)
        lua_setfield(L, -2, "m");
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, empty);
    lua_setfield(L, -2, "__newindex");
    lua_setmetatable(L, -2);
}

static void add(int n) {
    for (int i = 0; i < n; i++)
        atomic_fetch_add(counter, 1);
}

static void copy(int n) {
    for (int i = 0; i < n; i++) {
        memcpy(to, from, BYTES);
        __asm__ volatile("" ::"r"(to) : "memory");
    }
}

static void call(const char *kind, int n) {
    lua_getglobal(L, kind);
    lua_pushvalue(L, 1);
    lua_pushinteger(L, n);
    if (lua_pcall(L, 2, 0, 0) != LUA_OK) {
        fprintf(stderr, "%s\n", lua_tostring(L, -1));
        exit(1);
    }
}

static void run(const char *kind, int n) {
    if (strcmp(kind, "copy") == 0)
        copy(n);
    else
        call(kind, n);
    if (strcmp(kind, "add") == 0)
        add(n);
}

int main(int argc, char **argv) {
    const int count = bench_count(argc == 3 ? argv[2] : NULL);
    L = luaL_newstate();
    luaL_openlibs(L);
    if (luaL_dostring(L, SCRIPT) != LUA_OK)
        bench_die("the script");
    push_object(strcmp(argv[1], "add") == 0);
    counter = bench_shared(sizeof *counter);
    from = bench_shared(BYTES);
    to = bench_shared(BYTES);
    memset(from, 1, BYTES);
    memset(to, 2, BYTES);
    run(argv[1], count / 10 + 1);
    const double start = bench_now();
    run(argv[1], count);
    printf("%.12f\n", (bench_now() - start) / count);
    return 0;
}
