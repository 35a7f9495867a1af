/*
 * cube_square: the example of two processes that print, in C and Lua.
 *
 * The same kind of executable as luamp (see CMakeLists.txt) opens a Lua state,
 * compiles two functions and calls each in a forked child, which flushes and
 * leaves; the parent waits for both and prints DONE. The state is not closed
 * at the end: the kernel takes the memory back faster.
 */
#include "bench.h"

#include <lauxlib.h>
#include <lualib.h>
#include <sys/wait.h>
#include <unistd.h>

static const char functions[] = "function print_cube(n) print('Cube: ' .. n * n * n) end\n"
                                "function print_square(n) print('Square: ' .. n * n) end\n";

static void fail(lua_State *L) {
    fprintf(stderr, "%s\n", lua_tostring(L, -1));
    _exit(1);
}

static pid_t start(lua_State *L, const char *function, lua_Integer n) {
    fflush(stdout);
    pid_t pid = fork();
    if (pid < 0)
        bench_die("fork");
    if (pid > 0)
        return pid;
    lua_getglobal(L, function);
    lua_pushinteger(L, n);
    if (lua_pcall(L, 1, 0, 0) != LUA_OK)
        fail(L);
    fflush(stdout);
    _exit(0);
}

static void join(pid_t pid) {
    int status;
    if (waitpid(pid, &status, 0) != pid || status != 0)
        exit(1);
}

int main(void) {
    lua_State *L = luaL_newstate();
    if (!L)
        bench_die("luaL_newstate");
    luaL_openlibs(L);
    if (luaL_dostring(L, functions) != LUA_OK)
        fail(L);
    pid_t cube = start(L, "print_cube", 10);
    pid_t square = start(L, "print_square", 10);
    join(cube);
    join(square);
    puts("DONE");
    return 0;
}
