/*
 * lock KIND COUNT: the mean time, in seconds, of acquiring and releasing a lock from Lua: the least
 * that a lock can do which outlives its holder, a robust mutex in shared memory, by two methods
 * that check their object and do nothing else. KIND: `free`, by one process, or `contended`, by two
 * at once. With BENCH_CPUS=A/B the one runs on CPU A and the other on B.
 */
#include "bench.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "lua.h"

#include "lauxlib.h"

#define CLASS "bench.lock"

static pthread_mutex_t *mutex;
static lua_State *L;
static int share;

static int acquire(lua_State *of) {
    luaL_checkudata(of, 1, CLASS);
    if (pthread_mutex_lock(mutex) == EOWNERDEAD)
        pthread_mutex_consistent(mutex);
    lua_pushboolean(of, 1);
    return 1;
}

static int release(lua_State *of) {
    luaL_checkudata(of, 1, CLASS);
    pthread_mutex_unlock(mutex);
    return 0;
}

static void make_mutex(void) {
    pthread_mutexattr_t attr;
    mutex = bench_shared(sizeof *mutex);
    pthread_mutexattr_init(&attr);
    pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(mutex, &attr);
}

static void make_state(void) {
    static const luaL_Reg methods[] = {{"acquire", acquire}, {"release", release}, {NULL, NULL}};
    static const char loop[] =
        "local lock = ...\n"
        "return function(n) for _ = 1, n do lock:acquire() lock:release() end end";
    L = luaL_newstate();
    if (L == NULL || luaL_loadstring(L, loop) != LUA_OK)
        bench_die("lua");
    lua_newuserdatauv(L, 1, 0);
    luaL_newmetatable(L, CLASS);
    luaL_newlib(L, methods);
    lua_setfield(L, -2, "__index");
    lua_setmetatable(L, -2);
    lua_call(L, 1, 1);
}

static void run(int n) {
    lua_pushvalue(L, -1);
    lua_pushinteger(L, n);
    lua_call(L, 1, 0);
}

static void prepare(int i) {
    bench_pin(i);
    run(share / 10);
}

static void work(int i) {
    (void)i;
    run(share);
}

int main(int argc, char **argv) {
    const int count = bench_count(argc == 3 ? argv[2] : NULL);
    const int n = strcmp(argv[1], "free") == 0 ? 1 : 2;
    share = count / n + 10;
    make_mutex();
    make_state();
    printf("%.12f\n", bench_together(n, prepare, work) / (share * n));
    return 0;
}
