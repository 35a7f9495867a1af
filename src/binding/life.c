/*
** life.c: a child's life, from the fork to the end, and the end of every process.
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
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "binding/codec.h"
#include "binding/lib.h"
#include "engine/family.h"
#include "engine/proc.h"

#define HOOKS "luamp.hooks" /* {enter=, caught=, refused=, finish=, failed=, leave=, at_end=} */
#define STOCK_EXIT "luamp.exit"
#define SENTINEL "luamp.sentinel"

lua_State *mp_lib_main_thread(lua_State *L) {
    lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_MAINTHREAD);
    lua_State *main = lua_tothread(L, -1);
    lua_pop(L, 1);
    return main;
}

/* --- the child's life ---------------------------------------------------- */

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
    mp_proc_leave(status, 0);
}

/* A function is called on the main thread: by lua_close alone, or by C code of others. */
static void main_thread_hook(lua_State *L, lua_Debug *ar) {
    (void)ar;
    if (is_in_stock_exit(L))
        leave_by_stock_exit(L);
}

/* The sentinel's __gc: it is anchored, so only lua_close gets here. */
static int state_closes(lua_State *L) {
    if (childs_main == mp_lib_main_thread(L))
        leave_by_stock_exit(L);
    mp_interrupt_forget(L);
    mp_lib_end(L, -1);
    return 0;
}

/* Leaves a sentinel on the stack; whoever calls this anchors it. */
static void push_sentinel(lua_State *L) {
    lua_newuserdatauv(L, 0, 0);
    if (luaL_newmetatable(L, SENTINEL)) {
        lua_pushcfunction(L, state_closes);
        lua_setfield(L, -2, "__gc");
    }
    lua_setmetatable(L, -2);
}

/*
** From now on T is where this process's code runs, and the state is a child's.
** T and the sentinel are anchored by stacks that are not left any more: the
** thread's that forked, and the main thread's below the barrier. The program
** replaces os.exit before any script runs, so there is none to be caught.
*/
static void settle_in(lua_State *L, mp_birth *b) {
    childs_main = L;
    mp_interrupt_run_on(b->T);
    push_sentinel(L);
    if (!mp_lib_has_heap(L))
        lua_sethook(L, main_thread_hook, LUA_MASKCALL, 0);
    mp_lib_adopt_heap(L);
}

/* The values from index `first` on, as a table with n. */
static void pack(lua_State *L, int first) {
    int n = lua_gettop(L) - first + 1;
    lua_createtable(L, n, 1);
    for (int i = 1; i <= n; i++) {
        lua_pushvalue(L, first + i - 1);
        lua_rawseti(L, -2, i);
    }
    lua_pushinteger(L, n);
    lua_setfield(L, -2, "n");
}

/*
** Leaves the target's results, from index `first` on, to the parent: straight
** from the stack, however many. What cannot be sent is for `refused` to tell.
*/
static void leave_results(lua_State *T, int first) {
    mp_message message;
    int rc = 0;
    if (lua_gettop(T) < first)
        return; /* an end in order without an outcome is no results */
    luaL_checkstack(T, 64, "too many results");
    if (mp_codec_encode(T, first, lua_gettop(T) - first + 1, &message)) {
        rc = mp_family_put(MP_OUTCOME_RESULT, message.pieces, message.n_pieces, message.len);
        if (rc == 0)
            return;
    } else {
        lua_pop(T, 1); /* the culprit: it is looked for again, with its path */
    }
    pack(T, first);
    lua_replace(T, first);
    lua_settop(T, first);
    push_hook(T, "refused");
    lua_insert(T, first);
    lua_pushstring(T, rc < 0 ? strerror(-rc) : NULL);
    lua_pushboolean(T, rc == -EFBIG);
    lua_call(T, 3, 0);
}

/*
** The barrier: a child's whole life, on the main thread. T holds: state,
** target, arguments. enter(state) prepares, the target runs under the message
** handler `caught`, finish(state, ok, error) leaves its error and tells the
** status. A debug hook that the parent had set is for the target alone.
*/
static int live(lua_State *L) {
    mp_birth *b = lua_touserdata(L, 1);
    lua_State *T = b->T;
    lua_Hook hook = lua_gethook(T);
    int mask = lua_gethookmask(T), count = lua_gethookcount(T);
    lua_sethook(T, NULL, 0, 0);
    settle_in(L, b);
    push_hook(T, "enter");
    lua_pushvalue(T, 1);
    lua_call(T, 1, 0);
    push_hook(T, "caught");
    lua_insert(T, 2);
    lua_sethook(T, hook, mask, count);
    int ok = lua_pcall(T, b->n_args, LUA_MULTRET, 2) == LUA_OK;
    lua_sethook(T, NULL, 0, 0);
    if (ok) {
        leave_results(T, 3);
        lua_settop(T, 2);
        lua_pushnil(T);
    }
    push_hook(T, "finish");
    lua_pushvalue(T, 1);
    lua_pushboolean(T, ok);
    lua_pushvalue(T, 3);
    lua_call(T, 3, 1);
    lua_pushinteger(L, lua_tointeger(T, -1));
    return 1;
}

/* failed(message): an error in the library's own part of a child's life. */
static int tell_failure(lua_State *L) {
    push_hook(L, "failed");
    lua_insert(L, 1);
    lua_call(L, 1, 0);
    return 0;
}

/* When even that fails: an error's bare text. */
static void last_words(lua_State *L) {
    const char *message = lua_tostring(L, -1);
    if (message == NULL)
        message = "an error that is not a string";
    struct iovec text[] = {{"luamp: ", 7}, {(void *)message, strlen(message)}, {"\n", 1}};
    mp_sys_write(STDERR_FILENO, text, 3);
}

int mp_life(void *arg) {
    mp_birth *b = arg;
    lua_State *L = mp_lib_main_thread(b->L);
    int status = EXIT_FAILURE;
    lua_pushcfunction(L, live);
    lua_pushlightuserdata(L, b);
    if (lua_pcall(L, 1, 1, 0) == LUA_OK) {
        status = (int)lua_tointeger(L, -1);
    } else {
        lua_State *fresh = mp_interrupt_running(); /* with a count of C calls of its own */
        lua_settop(fresh, 0);
        lua_pushcfunction(fresh, tell_failure);
        lua_xmove(L, fresh, 1);
        if (lua_pcall(fresh, 1, 0, 0) != LUA_OK)
            last_words(fresh);
    }
    mp_proc_leave(status, mp_output_flush_all(L));
}

/* --- outcomes ------------------------------------------------------------ */

const char *const mp_life_outcomes[] = {"none", "result", "error", "unsent", NULL};

/*
** leave_outcome(kind, ...): in a child: what its parent is to get. Returns
** true; or false and the value that cannot be sent; or nil, message, name.
*/
static int leave_outcome(lua_State *L) {
    enum mp_outcome kind = (enum mp_outcome)luaL_checkoption(L, 1, NULL, mp_life_outcomes);
    mp_message message;
    if (!mp_codec_encode(L, 2, lua_gettop(L) - 1, &message)) {
        lua_pushboolean(L, 0);
        lua_insert(L, -2);
        return 2;
    }
    int rc = mp_family_put(kind, message.pieces, message.n_pieces, message.len);
    return mp_lib_result(L, rc, NULL);
}

/* --- the end ------------------------------------------------------------- */

/* leave(status): the orderly end of a child, from wherever it is. */
static int leave(lua_State *L) {
    int status = (int)luaL_checkinteger(L, 1);
    mp_proc_leave(status, mp_output_flush_all(L));
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

void mp_lib_runs_program(lua_State *L) {
    int rc = mp_proc_runs_program();
    if (rc < 0)
        luaL_error(L, "cannot run a program: keeper: %s", strerror(-rc));
}

static int os_execute(lua_State *L) {
    if (!lua_isnoneornil(L, 1))
        mp_lib_runs_program(L);
    return lua_tocfunction(L, lua_upvalueindex(1))(L);
}

static void replace_os_functions(lua_State *L) {
    if (lua_getglobal(L, LUA_OSLIBNAME) == LUA_TTABLE) {
        mp_lib_wrap(L, "execute", os_execute);
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

/* set_hooks{enter=, caught=, refused=, finish=, failed=, leave=, at_end=}: the Lua parts of a
 * process's life. */
static int set_hooks(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    lua_setfield(L, LUA_REGISTRYINDEX, HOOKS);
    push_sentinel(L);
    luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
}

static const luaL_Reg functions[] = {{"leave_outcome", leave_outcome},
                                     {"leave", leave},
                                     {"end_children", end_children},
                                     {"set_hooks", set_hooks},
                                     {NULL, NULL}};

int mp_life_open(lua_State *L) {
    replace_os_functions(L);
    luaL_newlib(L, functions);
    return 1;
}
