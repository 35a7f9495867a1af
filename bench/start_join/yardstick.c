/*
 * start_join [METHOD] COUNT: what a start and a join of a process cannot do without.
 *
 * The same kind of executable as luamp (see CMakeLists.txt) with an open Lua
 * state, as small as a script's at its beginning. Prints the mean time over
 * COUNT rounds in seconds. Without METHOD it forks; the child leaves at once,
 * the parent waits.
 *
 * forkserver: a zygote, forked before the state was made, forks at a byte from
 * a socket; the child makes a Lua state with its libraries and leaves, the
 * zygote waits and answers by a byte.
 *
 * spawn: this very executable is started, makes a Lua state with its
 * libraries, runs an empty chunk and ends; the parent waits.
 */
#include "bench.h"

#include <lauxlib.h>
#include <lualib.h>
#include <spawn.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static lua_State *new_state(void) {
    lua_State *L = luaL_newstate();
    if (!L)
        bench_die("luaL_newstate");
    luaL_openlibs(L);
    return L;
}

static void await(pid_t pid) {
    int status;
    if (waitpid(pid, &status, 0) != pid)
        bench_die("waitpid");
    if (status != 0)
        exit(1);
}

/* --- fork ----------------------------------------------------------------- */

static void start_join(void) {
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    if (pid < 0)
        bench_die("fork");
    await(pid);
}

/* --- forkserver ----------------------------------------------------------- */

static int zygote = -1; /* the socket to it */

static void serve(int fd) {
    char word;
    while (read(fd, &word, 1) == 1) {
        pid_t pid = fork();
        if (pid == 0) {
            new_state();
            _exit(0);
        }
        if (pid < 0)
            bench_die("fork");
        await(pid);
        if (write(fd, &word, 1) != 1)
            bench_die("write");
    }
    _exit(0);
}

static void make_zygote(void) {
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0)
        bench_die("socketpair");
    pid_t pid = fork();
    if (pid < 0)
        bench_die("fork");
    close(pair[pid == 0 ? 0 : 1]);
    if (pid == 0)
        serve(pair[1]);
    zygote = pair[0];
}

static void ask_zygote(void) {
    char word = 'f';
    if (write(zygote, &word, 1) != 1 || read(zygote, &word, 1) != 1)
        bench_die("zygote");
}

/* --- spawn ---------------------------------------------------------------- */

static void spawn(void) {
    pid_t pid;
    char *argv[] = {"start_join", "child", NULL};
    if (posix_spawn(&pid, "/proc/self/exe", NULL, NULL, argv, environ) != 0)
        bench_die("posix_spawn");
    await(pid);
}

static int run_empty_chunk(void) {
    lua_State *L = new_state();
    return luaL_dostring(L, "") == LUA_OK ? 0 : 1;
}

int main(int argc, char **argv) {
    const char *method = argc > 1 ? argv[1] : "";
    void (*once)(void) = start_join;
    if (strcmp(method, "child") == 0)
        return run_empty_chunk();
    if (strcmp(method, "forkserver") == 0) {
        make_zygote();
        once = ask_zygote;
    } else if (strcmp(method, "spawn") == 0) {
        once = spawn;
    }
    new_state();
    if (once != start_join)
        argc--, argv++;
    bench_rounds(argc, argv, once);
    return 0;
}
