/*
** interrupt.c: Ctrl-C, SIGTERM and SIGHUP become an error in the running Lua
** code of the main process, also inside a coroutine.
**
** The signal handler may only set a hook (lua_sethook is made for that), and
** it must be on the thread that runs: stock lua sets it on the main thread and
** never gets into a coroutine's loop. So coroutine.resume, wrap and close are
** replaced by ones that keep `running` true; they behave as the stock ones.
**
** A debug hook of the script is put back before the error is raised. Inside a
** finalizer Lua runs no hooks: the interruption stays pending until it is over.
*/
#include "binding/lib.h"
#include "engine/proc.h"

static lua_State *running;
static lua_State *root; /* in a child: the thread that its function runs on */

static struct {
    lua_State *L; /* where our hook is set, or NULL */
    lua_Hook hook;
    int mask;
    int count;
} replaced;

static void disarm(void) {
    lua_State *L = replaced.L;
    if (L != NULL)
        lua_sethook(L, replaced.hook, replaced.mask, replaced.count);
    replaced.L = NULL;
}

/* Calls the Lua function that raises the error object for a signal. */
static int raise_interruption(lua_State *L, int signo) {
    char name[16];
    mp_proc_interrupted(signo);
    lua_getfield(L, LUA_REGISTRYINDEX, "luamp.interrupted");
    lua_pushstring(L, mp_sys_signal_name(signo, name));
    lua_call(L, 1, 1);
    return lua_error(L);
}

static void interrupt_hook(lua_State *L, lua_Debug *ar) {
    (void)ar;
    disarm();
    int signo = mp_sys_interrupt_take();
    if (signo != 0)
        raise_interruption(L, signo);
}

/* In a signal handler, and wherever the running thread changes meanwhile. */
static void arm(lua_State *L) {
    if (L == NULL || replaced.L != NULL)
        return;
    replaced.hook = lua_gethook(L);
    replaced.mask = lua_gethookmask(L);
    replaced.count = lua_gethookcount(L);
    replaced.L = L;
    lua_sethook(L, interrupt_hook, LUA_MASKCALL | LUA_MASKRET | LUA_MASKLINE | LUA_MASKCOUNT, 1);
}

static void wake(int signo) {
    (void)signo;
    arm(running);
}

int mp_interrupt_take(lua_State *L) {
    (void)L;
    disarm();
    mp_proc_interrupted(0);
    return mp_sys_interrupt_take();
}

static void run_on(lua_State *L) {
    disarm();
    running = L;
    if (mp_sys_interrupt_pending() != 0)
        arm(L);
}

void mp_interrupt_run_on(lua_State *L) {
    root = L;
    run_on(L);
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
    running = co;
    int status = lua_resume(co, L, n_args, &n_results);
    running = L;
    if (mp_sys_interrupt_pending() != 0)
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
        status = close_thread(L, co);
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
        running = co;
    int n = lua_tocfunction(L, lua_upvalueindex(1))(L);
    running = L;
    if (mp_sys_interrupt_pending() != 0)
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

/* Replaces coroutine.NAME if it is there and is a C function, as in stock Lua. */
static void replace(lua_State *L, const char *name, lua_CFunction f) {
    if (lua_getfield(L, -1, name) == LUA_TFUNCTION && lua_iscfunction(L, -1)) {
        lua_pushcclosure(L, f, 1);
        lua_setfield(L, -2, name);
    } else {
        lua_pop(L, 1);
    }
}

static void replace_all(lua_State *L) {
    if (lua_getglobal(L, LUA_COLIBNAME) == LUA_TTABLE) {
        replace(L, "resume", coroutine_resume);
        replace(L, "wrap", coroutine_wrap);
        replace(L, "close", coroutine_close);
        replace(L, "running", coroutine_running);
        replace(L, "yield", coroutine_yield);
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

/* went_on(): the program caught an interruption and goes on. */
static int went_on(lua_State *L) {
    (void)L;
    mp_proc_interrupted(0);
    return 0;
}

static const luaL_Reg functions[] = {{"on_interruption", on_interruption},
                                     {"interrupted_lately", interrupted_lately},
                                     {"went_on", went_on},
                                     {NULL, NULL}};

int mp_interrupt_open(lua_State *L) {
    running = L; /* if it is a coroutine that requires us, it is the one that runs */
    replace_all(L);
    luaL_newlib(L, functions);
    return 1;
}
