/*
 * pool KIND WORKERS COUNT: what a pool cannot do without. KIND is
 *   open   so many forks, each of which leaves at once, and the waits for them: of one COUNT
 *   map    no pool: a Lua loop over a list, in this process
 *   map1   a Lua list through slots in shared memory into another one: so many processes
 *          claim the slots one by one, by an atomic step, and call a Lua function for each
 * Prints the mean time of one in seconds, after a tenth to warm up. Nobody knows what a process
 * that dies had claimed, and nothing but integers goes through.
 *
 * A slot is claimed by counting `left` down, which is set when the slots are filled in; the last
 * step is a new `round`, for which the workers wait. Who does the last task says so in `is_done`,
 * for which the owner waits. Who waits looks again for a while, and then sleeps.
 */
#include "bench.h"

#include <lauxlib.h>
#include <limits.h>
#include <linux/futex.h>
#include <lualib.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>

enum { MOST = 100000 /* tasks of a call */, PATIENCE = 50 /* us */ };

typedef struct board {
    _Alignas(64) _Atomic uint32_t round;
    _Alignas(64) _Atomic int32_t left;
    _Alignas(64) _Atomic int32_t n_done;
    _Alignas(64) _Atomic uint32_t is_done;
    int32_t n;
    int64_t in[MOST], out[MOST];
} board;

static const char *const SCRIPT = "function twice(x) return 2 * x end\n"
                                  "function fill(n) list = {} for i = 1, n do list[i] = i end end\n"
                                  "function map()\n"
                                  "    local results, twice = {}, twice\n"
                                  "    for i = 1, #list do results[i] = twice(list[i]) end\n"
                                  "    return results\n"
                                  "end\n";

static lua_State *L;
static board *shared;
static int n_workers;

static void check(int status) {
    if (status == LUA_OK)
        return;
    fprintf(stderr, "%s\n", lua_tostring(L, -1));
    exit(1);
}

/* --- open ----------------------------------------------------------------- */

static void open_close(void) {
    for (int i = 0; i < n_workers; i++) {
        pid_t pid = fork();
        if (pid == 0)
            _exit(0);
        if (pid < 0)
            bench_die("fork");
    }
    for (int i = 0; i < n_workers; i++)
        bench_await();
}

/* --- map ------------------------------------------------------------------ */

static void loop(int n) {
    (void)n;
    lua_getglobal(L, "map");
    check(lua_pcall(L, 0, 1, 0));
}

/* --- map1 ----------------------------------------------------------------- */

/* Returns when the word is another one. */
static void await(_Atomic uint32_t *word, uint32_t old) {
    const double end = bench_now() + PATIENCE / 1e6;
    while (atomic_load_explicit(word, memory_order_acquire) == old)
        if (bench_now() > end)
            syscall(SYS_futex, word, FUTEX_WAIT, old, NULL, NULL, 0);
}

static void wake(_Atomic uint32_t *word) {
    syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

static void call(int32_t i) {
    lua_getglobal(L, "twice");
    lua_pushinteger(L, shared->in[i]);
    check(lua_pcall(L, 1, 1, 0));
    shared->out[i] = lua_tointeger(L, -1);
    lua_pop(L, 1);
    if (atomic_fetch_add(&shared->n_done, 1) + 1 == shared->n) {
        atomic_store(&shared->is_done, 1);
        wake(&shared->is_done);
    }
}

_Noreturn static void work(void) {
    bench_pin(1);
    for (uint32_t round = 0;; round++) {
        await(&shared->round, round);
        for (int32_t left; (left = atomic_fetch_sub(&shared->left, 1)) > 0;)
            call(left - 1);
    }
}

/* A worker that is still looking for tasks of the round before may begin at once. */
static void fill(int32_t n) {
    lua_getglobal(L, "list");
    for (int32_t i = 0; i < n; i++) {
        lua_rawgeti(L, -1, i + 1);
        shared->in[i] = lua_tointeger(L, -1);
        lua_pop(L, 1);
    }
    shared->n = n;
    shared->n_done = 0;
    shared->is_done = 0;
    shared->left = n;
}

static void claim(int n) {
    fill(n);
    atomic_fetch_add(&shared->round, 1);
    wake(&shared->round);
    await(&shared->is_done, 0);
    lua_createtable(L, n, 0);
    for (int i = 0; i < n; i++) {
        lua_pushinteger(L, shared->out[i]);
        lua_rawseti(L, -2, i + 1);
    }
}

static void start_workers(void) {
    shared = bench_shared(sizeof *shared);
    for (int i = 0; i < n_workers; i++)
        if (bench_fork() == 0)
            work();
}

/* --- the time ------------------------------------------------------------- */

static void make_list(int n) {
    lua_getglobal(L, "fill");
    lua_pushinteger(L, n);
    check(lua_pcall(L, 1, 0, 0));
}

static void map(void (*once)(int), int n) {
    once(n);
    lua_rawgeti(L, -1, n);
    if (lua_tointeger(L, -1) != 2 * n)
        exit(1);
    lua_settop(L, 0);
}

static void time_maps(void (*once)(int), int count) {
    const int n = count < MOST ? count : MOST, few = n > 10 ? n / 10 : 1;
    make_list(few);
    map(once, few);
    make_list(n);
    double start = bench_now();
    for (int i = 0; i < count / n; i++)
        map(once, n);
    printf("%.12f\n", (bench_now() - start) / (count / n * n));
}

int main(int argc, char **argv) {
    const int count = bench_count(argc == 4 ? argv[3] : NULL);
    n_workers = bench_count(argv[2]);
    L = luaL_newstate();
    if (L == NULL)
        bench_die("luaL_newstate");
    luaL_openlibs(L);
    if (strcmp(argv[1], "open") == 0) {
        bench_rounds(2, argv + 2, open_close);
        return 0;
    }
    check(luaL_dostring(L, SCRIPT));
    bench_pin(0);
    if (strcmp(argv[1], "map") == 0) {
        time_maps(loop, count);
        return 0;
    }
    if (strcmp(argv[1], "map1") != 0)
        return 1;
    start_workers();
    time_maps(claim, count);
    return 0;
}
