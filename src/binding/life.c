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
#include "binding/shared.h"
#include "binding/lib.h"
#include "engine/family.h"
#include "engine/image.h"
#include "engine/proc.h"
#include "engine/start.h"

/* {enter=, caught=, refused=, finish=, failed=, leave=, at_end=, serve=}; and, from arrival.lua,
 * {arrive=, receive=} */
#define HOOKS "luamp.hooks"
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
    mp_proc_end(1, NULL, NULL);
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
    if (!mp_lib_is_program)
        lua_sethook(L, main_thread_hook, LUA_MASKCALL, 0);
    if (b->allowance > 0)
        mp_collector_in_child(L, b->allowance);
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

#define NO_MEMORY "not enough memory for the results"

static int leaving_results; /* what memory is short for */

static const char *reason_of(int rc) {
    if (rc == -EDQUOT)
        return mp_shared_words(rc);
    return rc == -ENOSPC || rc == -ENOMEM ? "not enough memory for them" : strerror(-rc);
}

/* What is shared in the message is held for the parent until it has that. */
static int put_outcome(enum mp_outcome kind, const mp_message *m) {
    mp_family_received(); /* also what an outcome before this one held */
    int rc = mp_shared_pack(m, mp_family_self());
    return rc < 0 ? rc : mp_family_put(kind, m->pieces, m->n_pieces, m->len);
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
    leaving_results = 1;
    if (!lua_checkstack(T, 64))
        luaL_error(T, lua_gettop(T) + 64 > LUAI_MAXSTACK ? "too many results" : NO_MEMORY);
    if (mp_codec_encode(T, first, lua_gettop(T) - first + 1, &message)) {
        rc = put_outcome(MP_OUTCOME_RESULT, &message);
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
    lua_pushstring(T, rc < 0 ? reason_of(rc) : NULL);
    lua_pushboolean(T, rc == -EFBIG);
    lua_call(T, 3, 0);
}

/* --- in a fresh image ---------------------------------------------------- */

/*
** The message of an order: the length of the first part, as a u64; that part, which
** is a frame with plain data; and a second one with the function and its arguments.
*/
static const char *order_part(int part, size_t *len) {
    size_t all;
    uint64_t first = 0;
    const char *bytes = mp_image_message(&all);
    if (all >= sizeof first)
        memcpy(&first, bytes, sizeof first);
    if (all < sizeof first || first > all - sizeof first)
        mp_panic("an order without its parts");
    *len = part == 0 ? first : all - sizeof first - first;
    return bytes + sizeof first + (part == 0 ? 0 : first);
}

/* Pushes the values of a part. Raises in words what keeps them from being had here. */
static int push_part(lua_State *L, int part) {
    size_t len;
    const char *bytes = order_part(part, &len);
    int n = mp_codec_decode(L, bytes, len, part != 0);
    return n >= 0 ? n : luaL_error(L, "they are not a message");
}

static int decode_order(lua_State *L) {
    int n = push_part(L, 1);
    mp_image_drop_message();
    mp_family_received(); /* the handles hold themselves now */
    return n;
}

/* arrive(settings) makes the state of this process, as if it had been forked. */
static void arrive(lua_State *T) {
    push_hook(T, "arrive");
    lua_call(T, push_part(T, 0), 1);
}

/* receive(decode): the target and its arguments. Returns whether they are there, or an error is. */
static int receive(mp_birth *b) {
    push_hook(b->T, "receive");
    lua_pushcfunction(b->T, decode_order);
    int ok = lua_pcall(b->T, 1, LUA_MULTRET, 2) == LUA_OK;
    b->n_args = lua_gettop(b->T) - 3;
    return ok;
}

/* --- the child's life, whole --------------------------------------------- */

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
    if (b->is_fresh)
        arrive(T);
    push_hook(T, "enter");
    lua_pushvalue(T, 1);
    lua_call(T, 1, 0);
    push_hook(T, "caught");
    lua_insert(T, 2);
    int ok = !b->is_fresh || receive(b);
    lua_sethook(T, hook, mask, count);
    ok = ok && lua_pcall(T, b->n_args, LUA_MULTRET, 2) == LUA_OK;
    lua_sethook(T, NULL, 0, 0);
    if (ok) {
        leave_results(T, 3);
        leaving_results = 0;
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
    const char *message = lua_tostring(L, 1);
    if (leaving_results && message != NULL && strcmp(message, "not enough memory") == 0) {
        lua_pushliteral(L, NO_MEMORY);
        lua_replace(L, 1);
    }
    push_hook(L, "failed");
    lua_insert(L, 1);
    lua_call(L, 1, 0);
    return 0;
}

/* When even that fails: an error's bare text, which needs no memory. */
static struct iovec last_words(lua_State *L) {
    const char *message = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
    if (message == NULL)
        message = "an error that is not a string";
    struct iovec text[] = {{"luamp: ", 7}, {(void *)message, strlen(message)}, {"\n", 1}};
    struct iovec words = text[1];
    mp_sys_write(STDERR_FILENO, text, 3);
    return words;
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
        if (lua_pcall(fresh, 1, 0, 0) != LUA_OK) {
            struct iovec words = last_words(fresh);
            mp_family_put(MP_OUTCOME_WORDS, &words, 1, words.iov_len);
        }
    }
    mp_proc_leave(status, mp_output_flush_all(L));
}

/* --- outcomes ------------------------------------------------------------ */

const char *const mp_life_outcomes[] = {"none", "result", "error", "unsent", "words", NULL};

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
    return mp_lib_result(L, put_outcome(kind, &message), NULL);
}

/* --- the end ------------------------------------------------------------- */

/* leave(status): the orderly end of a child, from wherever it is. */
static int leave(lua_State *L) {
    int status = (int)luaL_checkinteger(L, 1);
    mp_proc_leave(status, mp_output_flush_all(L));
}

/* What serves signals while a process ends: a state, and the status after a handler's failure. */
typedef struct service {
    lua_State *L;
    int status;
} service;

static int call_serve(lua_State *L) {
    push_hook(L, "serve");
    lua_call(L, 0, 1);
    return 1;
}

static int serve(void *arg) {
    service *s = arg;
    lua_pushcfunction(s->L, call_serve);
    if (lua_pcall(s->L, 0, 1, 0) == LUA_OK) {
        s->status = (int)lua_tointeger(s->L, -1);
    } else {
        last_words(s->L);
        s->status = EXIT_FAILURE;
    }
    lua_pop(s->L, 1);
    return s->status;
}

/* Ends the children. Returns 0, or the status after an interruption or a handler's failure. */
static int end_family(lua_State *L, int failed) {
    service s = {.L = L, .status = 0};
    int signo = mp_proc_end(failed, serve, &s);
    return signo != 0 ? 128 + signo : s.status;
}

/* end_children(failed): the status that its end asks for, or 0. */
static int end_children(lua_State *L) {
    lua_pushinteger(L, end_family(L, lua_toboolean(L, 1)));
    return 1;
}

/* at_end(failed): failed -1 when the host does not know: hooks only. The number of a signal that
 * has interrupted it; 0: something else has failed there; or nil. */
static int call_at_end(lua_State *L) {
    push_hook(L, "at_end");
    lua_pushvalue(L, 1);
    lua_call(L, 1, 1);
    return 1;
}

int mp_lib_end(lua_State *L, int failed) {
    int interrupted = failed >= 0 ? mp_interrupt_take(L) : 0, has_ended = 1;
    failed = interrupted != 0 ? 1 : failed;
    lua_pushcfunction(L, call_at_end);
    lua_pushinteger(L, failed);
    if (lua_pcall(L, 1, 1, 0) != LUA_OK)
        last_words(L);
    else if (lua_isinteger(L, -1)) {
        interrupted = (int)lua_tointeger(L, -1);
        has_ended = interrupted != 0;
        failed = has_ended ? 1 : failed;
    }
    lua_pop(L, 1);
    int status = failed >= 0 ? end_family(L, failed) : 0;
    if (status == 0 && interrupted != 0)
        status = 128 + interrupted;
    return status == 0 && !has_ended ? EXIT_FAILURE : status;
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

unsigned long mp_lib_n_programs;
unsigned long mp_lib_n_boards;

void mp_lib_runs_program(lua_State *L) {
    mp_lib_n_programs++;
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

/* set_hooks{enter=, ...}: the Lua parts of a process's life, as named at the top; more to come. */
static int set_hooks(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    lua_setfield(L, LUA_REGISTRYINDEX, HOOKS);
    push_sentinel(L);
    luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
}

/* set_hook(name, f): one more. */
static int set_hook(lua_State *L) {
    luaL_checkstring(L, 1);
    lua_settop(L, 2);
    lua_getfield(L, LUA_REGISTRYINDEX, HOOKS);
    lua_insert(L, 1);
    lua_rawset(L, 1);
    return 0;
}

int mp_lib_is_program;

int mp_lib_is_fresh(void) {
    return mp_image_is_fresh();
}

static void load(lua_State *L, const char *module) {
    lua_getglobal(L, "require");
    lua_pushstring(L, module);
    lua_call(L, 1, 0);
}

/*
** arrival.lua brings the two hooks that only a fresh image needs. The forkserver has loaded for
** its children what they are likely to use, wait.lua with all that it requires. What there is by
** then is old to the collector: they do not touch it, and so do not copy it.
*/
void mp_lib_serve(lua_State *L) {
    load(L, "luamp.arrival");
    if (mp_image_is_server())
        load(L, "luamp.wait");
    mp_birth b = {.L = L, .T = lua_newthread(L), .is_fresh = 1};
    lua_gc(L, LUA_GCRESTART);
    lua_gc(L, LUA_GCGEN, 0, 0);
    int status = mp_start_serve(mp_life, &b);
    if (status < 0)
        luaL_error(L, "this process cannot join its family: %s (was luamp replaced while it ran?)",
                   strerror(-status));
    _exit(status);
}

int luaopen_luamp_child(lua_State *L) {
    if (!mp_lib_is_fresh())
        return luaL_error(L, "luaopen_luamp_child: not started by luamp");
    luaL_requiref(L, "luamp", luaopen_luamp, 0);
    mp_lib_serve(L);
}

static const luaL_Reg functions[] = {{"leave_outcome", leave_outcome}, {"leave", leave},
                                     {"end_children", end_children},   {"set_hooks", set_hooks},
                                     {"set_hook", set_hook},           {NULL, NULL}};

void mp_life_open(lua_State *L) {
    replace_os_functions(L);
    luaL_setfuncs(L, functions, 0);
}
