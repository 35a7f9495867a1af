/*
** interrupt.c: Ctrl-C, SIGTERM and SIGHUP become an error in the running Lua
** code of the main process, also inside a coroutine.
**
** The signal handler may only set a hook (lua_sethook is made for that), and
** it must be on the thread that runs: stock lua sets it on the main thread and
** never gets into a coroutine's loop. So coroutine.resume, wrap and close are
** replaced by ones that keep `running` true; they behave as the stock ones.
**
** What they do not see (a function that was saved before, coroutines of C code)
** has a second hook on the main thread, where control comes back to; and every
** wait of ours raises on the thread that waits, whichever it is.
**
** A debug hook of the script is put back before the error is raised. Inside a
** finalizer Lua runs no hooks: the interruption stays pending until it is over.
*/
#include <string.h>

#include "binding/lib.h"
#include "engine/proc.h"

static lua_State *running;
static lua_State *root; /* in a child: the thread that its function runs on */

static lua_State *main_of; /* the main thread of that state: all control comes back to it */

/* Where our hook is set, and what the script had there: on `running` and on `main_of`. */
static struct replaced {
    lua_State *L; /* or NULL */
    lua_Hook hook;
    int mask;
    int count;
} replaced[2];

static void disarm(void) {
    for (struct replaced *r = replaced; r < replaced + 2; r++) {
        if (r->L != NULL)
            lua_sethook(r->L, r->hook, r->mask, r->count);
        r->L = NULL;
    }
}

/* Pushes the error object for a signal and raises it. */
static int raise_interruption(lua_State *L, int signo) {
    char name[16];
    lua_getfield(L, LUA_REGISTRYINDEX, "luamp.interrupted");
    lua_pushstring(L, mp_sys_signal_name(signo, name));
    lua_call(L, 1, 1);
    return lua_error(L);
}

/* Whether a finalizer runs: an error in it is only a warning. */
static int in_finalizer(lua_State *L) {
    lua_Debug ar;
    for (int level = 0; lua_getstack(L, level, &ar); level++)
        if (lua_getinfo(L, "n", &ar) && ar.name != NULL && strcmp(ar.name, "__gc") == 0 &&
            strcmp(ar.namewhat, "metamethod") == 0)
            return 1;
    return 0;
}

void mp_interrupt_check(lua_State *L) {
    int signo = mp_sys_interrupt_pending();
    if (signo == 0)
        return;
    if (!in_finalizer(L)) { /* else it stays pending, to be raised after it */
        disarm();
        mp_sys_interrupt_take();
    }
    raise_interruption(L, signo);
}

static void interrupt_hook(lua_State *L, lua_Debug *ar) {
    (void)ar;
    disarm();
    int signo = mp_sys_interrupt_take();
    if (signo != 0)
        raise_interruption(L, signo);
}

static void arm_on(struct replaced *r, lua_State *L) {
    if (L == NULL || lua_gethook(L) == interrupt_hook)
        return;
    r->hook = lua_gethook(L);
    r->mask = lua_gethookmask(L);
    r->count = lua_gethookcount(L);
    r->L = L;
    lua_sethook(L, interrupt_hook, LUA_MASKCALL | LUA_MASKRET | LUA_MASKLINE | LUA_MASKCOUNT, 1);
}

/* In a signal handler, and wherever the running thread changes meanwhile. */
static void arm(void) {
    arm_on(&replaced[0], running);
    arm_on(&replaced[1], main_of);
}

static void wake(int signo) {
    (void)signo;
    arm();
}

int mp_interrupt_take(lua_State *L) {
    (void)L;
    disarm();
    mp_proc_interrupted(0);
    return mp_sys_interrupt_take();
}

/* A signal before the store armed the other thread; one after it arms this one. */
static void run_on(lua_State *L) {
    running = L;
    if (mp_sys_interrupt_pending() != 0) {
        disarm();
        arm();
    }
}

void mp_interrupt_run_on(lua_State *L) {
    root = main_of = L;
    disarm();
    run_on(L);
}

void mp_interrupt_forget(lua_State *L) {
    if (main_of == mp_lib_main_thread(L)) {
        disarm();
        running = main_of = NULL;
    }
}

lua_State *mp_interrupt_running(void) {
    return running;
}

/* --- coroutines ---------------------------------------------------------- */

/* Resumes as coroutine.resume does; returns the number of results, or -1. */
static int resume(lua_State *L, lua_State *co, int n_args) {
    int n_results;
    if (!lua_checkstack(co, n_args)) {
        lua_pushliteral(L, "too many arguments to resume");
        return -1;
    }
    lua_xmove(L, co, n_args);
    run_on(co);
    int status = lua_resume(co, L, n_args, &n_results);
    run_on(L);
    if (status != LUA_OK && status != LUA_YIELD) {
        lua_xmove(co, L, 1);
        return -1;
    }
    if (!lua_checkstack(L, n_results + 1)) {
        lua_pop(co, n_results);
        lua_pushliteral(L, "too many results to resume");
        return -1;
    }
    lua_xmove(co, L, n_results);
    return n_results;
}

static lua_State *check_coroutine(lua_State *L) {
    lua_State *co = lua_tothread(L, 1);
    luaL_argexpected(L, co, 1, "coroutine");
    return co;
}

static int coroutine_resume(lua_State *L) {
    lua_State *co = check_coroutine(L);
    int n = resume(L, co, lua_gettop(L) - 1);
    lua_pushboolean(L, n >= 0);
    lua_insert(L, n >= 0 ? -(n + 1) : -2);
    return n >= 0 ? n + 1 : 2;
}

static int close_thread(lua_State *L, lua_State *co) {
#if LUA_VERSION_RELEASE_NUM >= 50406
    return lua_closethread(co, L);
#else
    (void)L;
    return lua_resetthread(co);
#endif
}

static int wrapped(lua_State *L) {
    lua_State *co = lua_tothread(L, lua_upvalueindex(1));
    int n = resume(L, co, lua_gettop(L));
    if (n >= 0)
        return n;
    int status = lua_status(co);
    if (status != LUA_OK && status != LUA_YIELD) { /* it failed: its variables are to be closed */
        run_on(co);
        status = close_thread(L, co);
        run_on(L);
        lua_xmove(co, L, 1); /* the error, perhaps another one now */
    }
    if (status != LUA_ERRMEM && lua_type(L, -1) == LUA_TSTRING) {
        luaL_where(L, 1);
        lua_insert(L, -2);
        lua_concat(L, 2);
    }
    return lua_error(L);
}

static int coroutine_wrap(lua_State *L) {
    luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_State *co = lua_newthread(L);
    lua_pushvalue(L, 1);
    lua_xmove(L, co, 1);
    lua_pushcclosure(L, wrapped, 1);
    return 1;
}

/*
** The stock function does the work; `__close` handlers run on the coroutine,
** which has some only if it has yielded or failed: then nothing is raised here.
*/
static int coroutine_close(lua_State *L) {
    lua_State *co = check_coroutine(L);
    if (lua_status(co) != LUA_OK)
        run_on(co);
    int n = lua_tocfunction(L, lua_upvalueindex(1))(L);
    run_on(L);
    return n;
}

/* A child's function runs on a thread of its own; to the script it is the main one. */
static int coroutine_running(lua_State *L) {
    int is_main = lua_pushthread(L);
    lua_pushboolean(L, is_main || L == root);
    return 2;
}

static int coroutine_yield(lua_State *L) {
    if (L == root)
        return luaL_error(L, "attempt to yield from outside a coroutine");
    return lua_yield(L, lua_gettop(L));
}

static void replace_all(lua_State *L) {
    if (lua_getglobal(L, LUA_COLIBNAME) == LUA_TTABLE) {
        mp_lib_wrap(L, "resume", coroutine_resume);
        mp_lib_wrap(L, "wrap", coroutine_wrap);
        mp_lib_wrap(L, "close", coroutine_close);
        mp_lib_wrap(L, "running", coroutine_running);
        mp_lib_wrap(L, "yield", coroutine_yield);
    }
    lua_pop(L, 1);
}

/* --- the face ------------------------------------------------------------ */

/* on_interruption(f): f(signal name) makes the error object to be raised. */
static int on_interruption(lua_State *L) {
    luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_settop(L, 1);
    lua_setfield(L, LUA_REGISTRYINDEX, "luamp.interrupted");
    mp_sys_interrupts_open(wake);
    return 0;
}

/* interrupted_lately(): whether Ctrl-C reached this child within a second. */
static int interrupted_lately(lua_State *L) {
    lua_pushboolean(L, mp_sys_interrupted_lately());
    return 1;
}

/* told(signal): the error object of an interruption was asked for its text, as hosts do at the end.
 */
static int told(lua_State *L) {
    mp_proc_interrupted(mp_sys_signal_number(luaL_checkstring(L, 1)));
    return 0;
}

/* went_on(): the program caught an interruption and goes on. */
static int went_on(lua_State *L) {
    (void)L;
    mp_proc_interrupted(0);
    return 0;
}

static const luaL_Reg functions[] = {{"on_interruption", on_interruption},
                                     {"interrupted_lately", interrupted_lately},
                                     {"told", told},
                                     {"went_on", went_on},
                                     {NULL, NULL}};

int mp_interrupt_open(lua_State *L) {
    running = main_of = mp_lib_main_thread(L);
    replace_all(L);
    luaL_newlib(L, functions);
    return 1;
}
