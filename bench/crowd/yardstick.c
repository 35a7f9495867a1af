/*
 * crowd COUNT: what COUNT processes that live at once cost, each.
 *
 * The same kind of executable as luamp with an open Lua state forks COUNT
 * times; the children wait. When all live they are killed and reaped. Prints
 * the mean time of one, from its start to its end, in seconds.
 */
#include "bench.h"

#include <lauxlib.h>
#include <lualib.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv) {
    int count = bench_count(argc == 2 ? argv[1] : NULL);
    lua_State *L = luaL_newstate();
    pid_t *pids = calloc((size_t)count, sizeof *pids);
    if (!L || !pids)
        bench_die("memory");
    luaL_openlibs(L);
    double start = bench_now();
    for (int i = 0; i < count; i++) {
        pids[i] = fork();
        if (pids[i] == 0)
            pause();
        if (pids[i] < 0)
            bench_die("fork");
    }
    for (int i = 0; i < count; i++)
        kill(pids[i], SIGKILL);
    for (int i = 0; i < count; i++)
        waitpid(pids[i], NULL, 0);
    printf("%.9f\n", (bench_now() - start) / count);
    return 0;
}
