/*
** process.c: child processes for Lua: fork, outcome, waiting, the end.
**
** What runs in a child runs on a Lua thread of its own, made before the fork,
** inside a protected call on the *main* thread of the copied state. So an
** error has nowhere to jump but into that call: one on an unprotected thread
** goes to the main thread's innermost handler, which without it would be the
** parent's, and the parent's frames would run on in the child. The fresh
** thread also gives a fresh count of C calls and a traceback of the child's
** own frames only.
**
** lua_close in a child (by an os.exit that was saved before we replaced it, or
** by C code) would run what the parent left to be closed and finalized. Two
** guards leave at once instead: a call hook on the main thread, which runs
** nothing else in a child, for `__close`; and a sentinel made in the child, so
** the first to be finalized, for `__gc`.
*/
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "binding/codec.h"
#include "binding/lib.h"
#include "engine/family.h"
#include "engine/proc.h"

#define HANDLE "luamp.handle"
#define HOOKS "luamp.hooks" /* {enter=, caught=, finish=, leave=, at_end=} */
#define STOCK_EXIT "luamp.exit"

/* A child as Lua holds it. Closed, and in another process than `owner`, p is not to be used. */
typedef struct handle {
    mp_proc *p;
    pid_t owner;
} handle;

static lua_State *main_thread(lua_State *L) {
    lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_MAINTHREAD);
    lua_State *main = lua_tothread(L, -1);
    lua_pop(L, 1);
    return main;
}

static handle *check_handle(lua_State *L) {
    handle *h = luaL_checkudata(L, 1, HANDLE);
    if (h->p == NULL || h->owner != mp_proc_self())
        luaL_error(L, "no such child of this process");
    return h;
}

/* --- the child's life ---------------------------------------------------- */

typedef struct birth {
    lua_State *L; /* the thread that called fork */
    lua_State *T; /* the child's: state, target and arguments wait on it */
    int n_args;
} birth;

static void push_hook(lua_State *L, const char *name) {
    lua_getfield(L, LUA_REGISTRYINDEX, HOOKS);
    lua_getfield(L, -1, name);
    lua_replace(L, -2);
}

/* The status that a stock os.exit is about to leave with: its first argument. */
static int status_of_stock_exit(lua_State *L) {
    lua_Debug ar;
    if (lua_getstack(L, 0, &ar) == 0 || lua_getlocal(L, &ar, 1) == NULL)
        return EXIT_SUCCESS;
    if (lua_isboolean(L, -1))
        return lua_toboolean(L, -1) ? EXIT_SUCCESS : EXIT_FAILURE;
    return (int)luaL_optinteger(L, -1, EXIT_SUCCESS);
}

static lua_State *childs_main; /* the main thread of a child's state; NULL in a main process */

static int is_in_stock_exit(lua_State *L) {
    lua_State *running = mp_interrupt_running();
    lua_Debug ar;
    if (lua_getstack(running, 0, &ar) == 0)
        return 0;
    lua_getinfo(running, "f", &ar);
    lua_getfield(L, LUA_REGISTRYINDEX, STOCK_EXIT);
    int same = lua_tocfunction(running, -1) == lua_tocfunction(L, -1);
    lua_pop(running, 1);
    lua_pop(L, 1);
    return same;
}

static void leave_by_stock_exit(lua_State *L) {
    int known = is_in_stock_exit(L);
    int status = known ? status_of_stock_exit(mp_interrupt_running()) : EXIT_FAILURE;
    mp_proc_end(1);
    mp_proc_leave(status);
}

/* A function is called on the main thread: by lua_close alone, or by C code of others. */
static void main_thread_hook(lua_State *L, lua_Debug *ar) {
    (void)ar;
    if (is_in_stock_exit(L))
        leave_by_stock_exit(L);
}

/* The sentinel's __gc: it is anchored, so only lua_close gets here. */
static int state_closes(lua_State *L) {
    if (childs_main == main_thread(L))
        leave_by_stock_exit(L);
    mp_interrupt_run_on(NULL);
    mp_lib_end(L, -1);
    return 0;
}

static void plant_sentinel(lua_State *L) {
    lua_newuserdatauv(L, 0, 0);
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, state_closes);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    luaL_ref(L, LUA_REGISTRYINDEX);
}

/* From now on T is where this process's code runs, and the state is a child's. */
static void settle_in(lua_State *L, birth *b) {
    childs_main = L;
    mp_interrupt_run_on(b->T);
    plant_sentinel(L);
    lua_pushthread(b->T);
    lua_xmove(b->T, L, 1);
    lua_setfield(L, LUA_REGISTRYINDEX, "luamp.root");
    lua_sethook(L, main_thread_hook, LUA_MASKCALL, 0);
}

/*
** The barrier: a child's whole life, on the main thread. T holds: state,
** target, arguments. enter(state) prepares, the target runs under the message
** handler `caught`, finish(state, ok, ...) makes the outcome and the status.
*/
static int live(lua_State *L) {
    birth *b = lua_touserdata(L, 1);
    lua_State *T = b->T;
    mp_lib_adopt_heap(L);
    settle_in(L, b);
    push_hook(T, "finish");
    lua_insert(T, 1);
    push_hook(T, "enter");
    lua_pushvalue(T, 2);
    lua_call(T, 1, 0);
    push_hook(T, "caught");
    lua_insert(T, 3);
    int status = lua_pcall(T, b->n_args, LUA_MULTRET, 3);
    lua_pushboolean(T, status == LUA_OK);
    lua_replace(T, 3);
    lua_call(T, lua_gettop(T) - 1, 1);
    lua_pushinteger(L, lua_tointeger(T, -1));
    return 1;
}

/* Nothing could be done about an error in the library's own part of a child. */
static int last_words(lua_State *L) {
    const char *message = lua_tostring(L, -1);
    if (message == NULL)
        message = "an error that is not a string";
    struct iovec text[] = {{"luamp: ", 7}, {(void *)message, strlen(message)}, {"\n", 1}};
    mp_sys_write(STDERR_FILENO, text, 3);
    return EXIT_FAILURE;
}

static int child_body(void *arg) {
    birth *b = arg;
    lua_State *L = main_thread(b->L);
    lua_pushcfunction(L, live);
    lua_pushlightuserdata(L, b);
    int ok = lua_pcall(L, 1, 1, 0) == LUA_OK;
    int status = ok ? (int)lua_tointeger(L, -1) : last_words(L);
    mp_output_flush_all(L);
    return status;
}

/* --- fork ---------------------------------------------------------------- */

/* handle(): a closed one, for fork to open. */
static int new_handle(lua_State *L) {
    handle *h = lua_newuserdatauv(L, sizeof *h, 0);
    h->p = NULL;
    h->owner = mp_proc_self();
    luaL_setmetatable(L, HANDLE);
    return 1;
}

static int optional_int(lua_State *L, int table, const char *name, int otherwise) {
    int value = lua_getfield(L, table, name) == LUA_TNIL ? otherwise : (int)lua_tointeger(L, -1);
    lua_pop(L, 1);
    return value;
}

static const cpu_set_t *read_cpus(lua_State *L, int spec, cpu_set_t *set) {
    if (lua_getfield(L, spec, "cpus") == LUA_TNIL) {
        lua_pop(L, 1);
        return NULL;
    }
    CPU_ZERO(set);
    for (lua_Integer i = 1; lua_rawgeti(L, -1, i) != LUA_TNIL; i++) {
        CPU_SET((size_t)lua_tointeger(L, -1), set);
        lua_pop(L, 1);
    }
    lua_pop(L, 2);
    return set;
}

static mp_proc_spec read_spec(lua_State *L, int spec, cpu_set_t *cpus) {
    return (mp_proc_spec){.detached = optional_int(L, spec, "detached", 0),
                          .daemon = optional_int(L, spec, "daemon", 0),
                          .cwd = optional_int(L, spec, "cwd", -1),
                          .nice = optional_int(L, spec, "nice", 0),
                          .cpus = read_cpus(L, spec, cpus),
                          .streams = {optional_int(L, spec, "stdin", -1),
                                      optional_int(L, spec, "stdout", -1),
                                      optional_int(L, spec, "stderr", -1)}};
}

/*
** fork(handle, spec, state, target, args, n): starts a child that runs
** target(args[1], ..., args[n]) and opens the handle onto it. Returns true, or
** nil, message, error name.
*/
static int process_fork(lua_State *L) {
    handle *h = luaL_checkudata(L, 1, HANDLE);
    int n = (int)luaL_checkinteger(L, 6);
    cpu_set_t cpus;
    mp_proc_spec spec = read_spec(L, 2, &cpus);
    lua_State *main = main_thread(L);
    birth b = {.L = L, .T = lua_newthread(L), .n_args = n};
    if (!lua_checkstack(main, 8) || !lua_checkstack(b.T, n + 16) || !lua_checkstack(L, n + 4))
        return luaL_error(L, "too many arguments for a process");
    lua_pushvalue(L, 3);
    lua_pushvalue(L, 4);
    for (int i = 1; i <= n; i++)
        lua_geti(L, 5, i);
    lua_xmove(L, b.T, n + 2);
    mp_output_flush_all(L);
    const char *step;
    h->owner = mp_proc_self();
    int rc = mp_proc_fork(&spec, child_body, &b, &h->p, &step);
    return mp_lib_result(L, rc, rc < 0 ? step : NULL);
}

/* --- a child seen by its parent ------------------------------------------ */

/*
** await(handle, deadline): true when the child has ended, false at the
** deadline, nil when a signal came (what it means, the next instruction tells).
*/
static int await(lua_State *L) {
    handle *h = check_handle(L);
    mp_time until = (mp_time)luaL_checkinteger(L, 2);
    int rc = until == MP_NOWAIT ? mp_proc_ended(h->p) : mp_proc_wait(h->p, until);
    if (rc == -EINTR)
        lua_pushnil(L);
    else
        lua_pushboolean(L, rc > 0);
    return 1;
}

/* pid(handle) */
static int handle_pid(lua_State *L) {
    lua_pushinteger(L, mp_proc_pid(check_handle(L)->p));
    return 1;
}

/* pidfd(handle): the descriptor, or nil once the child was reaped. */
static int handle_pidfd(lua_State *L) {
    int fd = mp_proc_pidfd(check_handle(L)->p);
    if (fd < 0)
        return 0;
    lua_pushinteger(L, fd);
    return 1;
}

/* exitcode(handle): after the end: the exit code, and whether others took it. */
static int exitcode(lua_State *L) {
    int stolen;
    lua_pushinteger(L, mp_proc_exitcode(check_handle(L)->p, &stolen));
    lua_pushboolean(L, stolen);
    return 2;
}

/* signal(handle, number): true when it was sent, false when the child has ended. */
static int send_signal(lua_State *L) {
    int rc = mp_proc_signal(check_handle(L)->p, (int)luaL_checkinteger(L, 2));
    lua_pushboolean(L, rc == 0);
    return 1;
}

static int handle_close(lua_State *L) {
    handle *h = luaL_checkudata(L, 1, HANDLE);
    if (h->p != NULL && h->owner == mp_proc_self())
        mp_proc_close(h->p);
    h->p = NULL;
    return 0;
}

/* --- outcomes ------------------------------------------------------------ */

static const char *const outcome_names[] = {"none", "result", "error", "unsent", NULL};

/*
** leave_outcome(kind, ...): in a child: what its parent is to get. Returns
** true; or false and the value that cannot be sent; or nil, message, name.
*/
static int leave_outcome(lua_State *L) {
    enum mp_outcome kind = (enum mp_outcome)luaL_checkoption(L, 1, NULL, outcome_names);
    mp_message message;
    if (!mp_codec_encode(L, 2, lua_gettop(L) - 1, &message)) {
        lua_pushboolean(L, 0);
        lua_insert(L, -2);
        return 2;
    }
    int rc = mp_family_put(kind, message.pieces, message.n_pieces, message.len);
    return mp_lib_result(L, rc, NULL);
}

/* outcome(handle): after the end: its kind, and the values that were left. */
static int outcome(lua_State *L) {
    handle *h = check_handle(L);
    uint32_t member = mp_proc_member(h->p);
    size_t len;
    enum mp_outcome kind = mp_family_outcome(member, &len);
    lua_pushstring(L, outcome_names[kind]);
    if (kind == MP_OUTCOME_NONE)
        return 1;
    char small[512];
    char *bytes = len <= sizeof small ? small : lua_newuserdatauv(L, len, 0);
    int rc = mp_family_read(member, bytes, len);
    int n = rc < 0 ? rc : mp_codec_decode(L, bytes, len);
    if (n < 0)
        return luaL_error(L, "the outcome of process %d cannot be read: %s", (int)mp_proc_pid(h->p),
                          strerror(-n));
    lua_pushvalue(L, 2);
    lua_insert(L, -(n + 1));
    return n + 1;
}

/* --- waiting ------------------------------------------------------------- */

/* deadline([seconds]): for the waits here; nil is for ever. */
static int deadline(lua_State *L) {
    mp_time at = lua_isnoneornil(L, 1) ? MP_FOREVER : mp_sys_deadline(luaL_checknumber(L, 1));
    lua_pushinteger(L, at);
    return 1;
}

/*
** poll(descriptors, deadline): the list of positions (from 1) that are ready to
** be read, have ended or are bad, nil when a signal came.
*/
static int poll_descriptors(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    size_t n = lua_rawlen(L, 1);
    struct pollfd *fds = lua_newuserdatauv(L, (n + 1) * sizeof *fds, 0);
    for (size_t i = 0; i < n; i++) {
        lua_rawgeti(L, 1, (lua_Integer)i + 1);
        fds[i] = (struct pollfd){.fd = (int)lua_tointeger(L, -1), .events = POLLIN};
        lua_pop(L, 1);
    }
    int rc = mp_sys_poll(fds, n, (mp_time)luaL_checkinteger(L, 2));
    if (rc < 0 && rc != -EINTR)
        return luaL_error(L, "poll: %s", strerror(-rc));
    if (rc < 0)
        return 0;
    lua_createtable(L, rc, 0);
    for (size_t i = 0, ready = 0; i < n; i++)
        if (fds[i].revents != 0) {
            lua_pushinteger(L, (lua_Integer)i + 1);
            lua_rawseti(L, -2, (lua_Integer)++ready);
        }
    return 1;
}

static int is_open(lua_State *L) {
    lua_pushboolean(L, fcntl((int)luaL_checkinteger(L, 1), F_GETFD) != -1);
    return 1;
}

/* clock(): seconds of the monotonic clock. */
static int clock_seconds(lua_State *L) {
    lua_pushnumber(L, (lua_Number)mp_sys_now() / 1e9);
    return 1;
}

/* --- this process -------------------------------------------------------- */

static int getpid_(lua_State *L) {
    lua_pushinteger(L, mp_proc_self());
    return 1;
}

static int getppid_(lua_State *L) {
    lua_pushinteger(L, getppid());
    return 1;
}

static int is_child(lua_State *L) {
    lua_pushboolean(L, mp_proc_is_child());
    return 1;
}

/* creator(): the pid of who started this process and whether it lives; nil in a main one. */
static int creator(lua_State *L) {
    uint32_t member = mp_family_creator();
    if (!mp_proc_is_child())
        return 0;
    lua_pushboolean(L, member != MP_NOBODY && mp_family_alive(member));
    return 1;
}

static int affinity_count(lua_State *L) {
    int rc = mp_sys_cpu_count();
    lua_pushinteger(L, rc > 0 ? rc : 1);
    return 1;
}

static int random_integers(lua_State *L) {
    lua_Integer words[2];
    mp_sys_random(words, sizeof words);
    lua_pushinteger(L, words[0]);
    lua_pushinteger(L, words[1]);
    return 2;
}

/* set_env(name, value or nil) */
static int set_env(lua_State *L) {
    const char *name = luaL_checkstring(L, 1);
    int rc = lua_isnil(L, 2) ? unsetenv(name) : setenv(name, luaL_checkstring(L, 2), 1);
    return mp_lib_result(L, rc == 0 ? 0 : -errno, name);
}

/* signal_number(name): nil if there is none such. */
static int signal_number(lua_State *L) {
    int number = mp_sys_signal_number(luaL_checkstring(L, 1));
    if (number < 0)
        return 0;
    lua_pushinteger(L, number);
    return 1;
}

static int signal_name(lua_State *L) {
    char name[16];
    lua_pushstring(L, mp_sys_signal_name((int)luaL_checkinteger(L, 1), name));
    return 1;
}

/* --- descriptors for streams and folders --------------------------------- */

static int push_descriptor(lua_State *L, int fd, const char *path) {
    int rc = mp_sys_high_fd(fd);
    if (rc < 0)
        return mp_lib_result(L, fd < 0 ? -errno : rc, path);
    lua_pushinteger(L, rc);
    return 1;
}

/* open(path, "read" | "write" | "folder"): a descriptor; writing truncates, then appends. */
static int open_descriptor(lua_State *L) {
    static const char *const names[] = {"read", "write", "folder", NULL};
    static const int flags[] = {O_RDONLY, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND,
                                O_RDONLY | O_DIRECTORY};
    const char *path = luaL_checkstring(L, 1);
    int kind = luaL_checkoption(L, 2, NULL, names);
    return push_descriptor(L, open(path, flags[kind] | O_CLOEXEC, 0666), path);
}

/* memory_file(): a descriptor of an anonymous file, written at its end. */
static int memory_file(lua_State *L) {
    int fd = mp_sys_high_fd(memfd_create("luamp-capture", MFD_CLOEXEC));
    if (fd >= 0)
        fcntl(fd, F_SETFL, O_APPEND);
    return push_descriptor(L, fd, "capture");
}

/* pipe(): its reading and its writing descriptor. */
static int make_pipe(lua_State *L) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return mp_lib_result(L, -errno, "pipe");
    for (int i = 0; i < 2; i++)
        ends[i] = mp_sys_high_fd(ends[i]);
    if (ends[0] < 0 || ends[1] < 0) {
        int rc = ends[0] < 0 ? ends[0] : ends[1];
        close(ends[0]);
        close(ends[1]);
        return mp_lib_result(L, rc, "pipe");
    }
    lua_pushinteger(L, ends[0]);
    lua_pushinteger(L, ends[1]);
    return 2;
}

static int close_descriptor(lua_State *L) {
    close((int)luaL_checkinteger(L, 1));
    return 0;
}

/* duplicate(descriptor): another one for the same thing. */
static int duplicate(lua_State *L) {
    int fd = fcntl((int)luaL_checkinteger(L, 1), F_DUPFD_CLOEXEC, 10);
    return push_descriptor(L, fd, "a descriptor");
}

/* ended_descriptor(): one that is always ready, as that of an ended process. */
static int ended_descriptor(lua_State *L) {
    if (make_pipe(L) != 2)
        return lua_error(L);
    close((int)lua_tointeger(L, -1));
    lua_pop(L, 1);
    return 1;
}

/* read_file(descriptor): the whole of a memory file. */
static int read_file(lua_State *L) {
    int fd = (int)luaL_checkinteger(L, 1);
    off_t len = lseek(fd, 0, SEEK_END);
    luaL_Buffer text;
    char *bytes = luaL_buffinitsize(L, &text, len > 0 ? (size_t)len : 0);
    size_t got = 0;
    for (ssize_t n = 1; n > 0 && got<(size_t)len; got += n> 0 ? (size_t)n : 0)
        n = pread(fd, bytes + got, (size_t)len - got, (off_t)got);
    luaL_pushresultsize(&text, got);
    return 1;
}

/* --- the end ------------------------------------------------------------- */

/* leave(status): the orderly end of a child, from wherever it is. */
static int leave(lua_State *L) {
    mp_output_flush_all(L);
    mp_proc_leave((int)luaL_checkinteger(L, 1));
}

/* end_children(failed): the signal's number that interrupted it, or 0. */
static int end_children(lua_State *L) {
    lua_pushinteger(L, mp_proc_end(lua_toboolean(L, 1)));
    return 1;
}

/* at_end(failed): failed -1 when the host does not know: hooks only. */
static int call_at_end(lua_State *L) {
    push_hook(L, "at_end");
    lua_pushvalue(L, 1);
    lua_call(L, 1, 1);
    return 1;
}

int mp_lib_end(lua_State *L, int failed) {
    int interrupted = failed >= 0 ? mp_interrupt_take(L) : 0;
    failed = interrupted != 0 ? 1 : failed;
    lua_pushcfunction(L, call_at_end);
    lua_pushinteger(L, failed);
    if (lua_pcall(L, 1, 1, 0) != LUA_OK)
        last_words(L);
    lua_pop(L, 1);
    if (failed >= 0) {
        int signo = mp_proc_end(failed);
        interrupted = signo != 0 ? signo : interrupted;
    }
    return interrupted != 0 ? 128 + interrupted : 0;
}

int mp_lib_status(lua_State *L, int index) {
    int top = lua_gettop(L), status = EXIT_FAILURE;
    lua_pushvalue(L, index);
    if (lua_type(L, -1) == LUA_TTABLE && lua_getmetatable(L, -1)) {
        luaL_getmetatable(L, "luamp.error");
        lua_getfield(L, -3, "kind");
        lua_getfield(L, -4, "exitcode");
        const char *kind = lua_tostring(L, -2);
        if (lua_rawequal(L, -3, -4) && kind != NULL && strcmp(kind, "interrupted") == 0)
            status = (int)lua_tointeger(L, -1);
    }
    lua_settop(L, top);
    return status;
}

/*
** os.exit: in a child its orderly end, in the main process the end of the
** family; then the stock function, which reads the arguments anew.
*/
static int os_exit(lua_State *L) {
    int status = EXIT_SUCCESS;
    if (lua_isboolean(L, 1))
        status = lua_toboolean(L, 1) ? EXIT_SUCCESS : EXIT_FAILURE;
    else
        status = (int)luaL_optinteger(L, 1, EXIT_SUCCESS);
    if (mp_proc_is_child()) {
        push_hook(L, "leave");
        lua_pushinteger(L, status);
        lua_call(L, 1, 0);
    }
    mp_lib_end(L, 1);
    return lua_tocfunction(L, lua_upvalueindex(1))(L);
}

static void replace_exit(lua_State *L) {
    if (lua_getglobal(L, LUA_OSLIBNAME) == LUA_TTABLE) {
        lua_getfield(L, -1, "exit");
        lua_pushvalue(L, -1);
        lua_setfield(L, LUA_REGISTRYINDEX, STOCK_EXIT);
        if (lua_iscfunction(L, -1)) {
            lua_pushcclosure(L, os_exit, 1);
            lua_setfield(L, -2, "exit");
        } else {
            lua_pop(L, 1);
        }
    }
    lua_pop(L, 1);
}

/* set_hooks{enter=, caught=, finish=, leave=, at_end=}: the Lua parts of a process's life. */
static int set_hooks(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    lua_setfield(L, LUA_REGISTRYINDEX, HOOKS);
    plant_sentinel(L);
    return 0;
}

static const luaL_Reg functions[] = {{"handle", new_handle},
                                     {"fork", process_fork},
                                     {"await", await},
                                     {"pid", handle_pid},
                                     {"pidfd", handle_pidfd},
                                     {"exitcode", exitcode},
                                     {"signal", send_signal},
                                     {"close_handle", handle_close},
                                     {"leave_outcome", leave_outcome},
                                     {"outcome", outcome},
                                     {"deadline", deadline},
                                     {"poll", poll_descriptors},
                                     {"is_open", is_open},
                                     {"clock", clock_seconds},
                                     {"getpid", getpid_},
                                     {"getppid", getppid_},
                                     {"is_child", is_child},
                                     {"creator", creator},
                                     {"affinity_count", affinity_count},
                                     {"random_integers", random_integers},
                                     {"set_env", set_env},
                                     {"signal_number", signal_number},
                                     {"signal_name", signal_name},
                                     {"open", open_descriptor},
                                     {"memory_file", memory_file},
                                     {"pipe", make_pipe},
                                     {"duplicate", duplicate},
                                     {"ended_descriptor", ended_descriptor},
                                     {"close", close_descriptor},
                                     {"read_file", read_file},
                                     {"leave", leave},
                                     {"end_children", end_children},
                                     {"set_hooks", set_hooks},
                                     {NULL, NULL}};

int mp_process_open(lua_State *L) {
    luaL_newmetatable(L, HANDLE);
    lua_pushcfunction(L, handle_close);
    lua_setfield(L, -2, "__gc");
    lua_pop(L, 1);
    replace_exit(L);
    luaL_newlib(L, functions);
    return 1;
}
