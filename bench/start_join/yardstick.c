/*
 * start_join COUNT: what a start and a join of a process cannot do without.
 *
 * The same kind of executable as luamp (see CMakeLists.txt) with an open Lua
 * state, as small as a script's at its beginning, forks; the child leaves at
 * once, the parent waits. Prints the mean time over COUNT such rounds in
 * seconds.
 */
#include "bench.h"

#include <lauxlib.h>
#include <lualib.h>
#include <sys/wait.h>
#include <unistd.h>

static void start_join(void) {
    int status;
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    if (pid < 0)
        bench_die("fork");
    if (waitpid(pid, &status, 0) != pid)
        bench_die("waitpid");
    if (status != 0)
        exit(1);
}

int main(int argc, char **argv) {
    lua_State *L = luaL_newstate();
    if (!L)
        bench_die("luaL_newstate");
    luaL_openlibs(L);
    bench_rounds(argc, argv, start_join);
    return 0;
}
