/*
** interrupt.c: signals in Lua. Ctrl-C, SIGTERM and SIGHUP become an error in the
** running code of the main process, also inside a coroutine; for signals of
** mp.on_signal its function is called there.
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
** The library's own Lua code is passed over: its tables are whole again where it
** waits, which is where it looks for signals itself, and where it returns.
**
** A handler runs on a Lua thread of its own, for in a hook Lua runs no hooks, and
** a handler's loop has to be interruptible, too; the thread is made with the
** handler, so that short memory keeps none from running. While it runs its signal
** is held: it comes again once, afterwards, however often it has arrived. Handlers
** belong to one state of the program, and run in no other.
**
** While a hook is being set or taken back, a signal only notes itself: who changes
** hooks looks afterwards whether one is to be set (rearm). The script's debug.sethook
** is one of those.
*/
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>

#include "binding/lib.h"
#include "engine/proc.h"

#define HOOKED (LUA_MASKCALL | LUA_MASKRET | LUA_MASKLINE | LUA_MASKCOUNT)

/* In the registry: number -> function, or false: ignored; and -number -> the thread it runs on. */
#define HANDLERS "luamp.handlers"
#define INHERITED                                                                                  \
    "luamp.handlers.inherited" /* in a child: those of its creators, which keep the threads */

static lua_State *running;
static lua_State *root;    /* in a child: the thread that its function runs on */
static lua_State *main_of; /* the main thread of that state: all control comes back to it */

/* Of a program with several states that which was opened last is taken for the one that runs. */
enum { MAX_STATES = 32 };
static lua_State *states[MAX_STATES]; /* main threads */
static size_t n_states;

static lua_State *handlers_of;   /* the main thread of the state that has handlers, or NULL */
static lua_State *threads[NSIG]; /* those that they run on */

static volatile sig_atomic_t changing; /* hooks: a signal's handler leaves them alone */

static void change_begin(void) {
    changing = 1;
    atomic_signal_fence(memory_order_seq_cst);
}

static void change_end(void) {
    atomic_signal_fence(memory_order_seq_cst);
    changing = 0;
}

/* Where our hook is set, and what the script had there: on `running` and on `main_of`. */
static struct replaced {
    lua_State *L; /* or NULL */
    lua_Hook hook;
    int mask;
    int count;
} replaced[2];

static void interrupt_hook(lua_State *L, lua_Debug *ar);

/* Between change_begin and change_end. */
static void restore(void) {
    for (struct replaced *r = replaced; r < replaced + 2; r++) {
        if (r->L != NULL)
            lua_sethook(r->L, r->hook, r->mask, r->count);
        r->L = NULL;
    }
}

/* What stands in `r` stays there while our hook is set, whatever has become of that. */
static void arm_on(struct replaced *r, lua_State *L) {
    if (L == NULL || (lua_gethook(L) == interrupt_hook && lua_gethookmask(L) == HOOKED))
        return;
    if (r->L != L) {
        r->hook = lua_gethook(L);
        r->mask = lua_gethookmask(L);
        r->count = lua_gethookcount(L);
        r->L = L;
    }
    lua_sethook(L, interrupt_hook, HOOKED, 1);
}

/* In a signal handler, and after it was kept from this. */
static void arm(void) {
    change_begin();
    arm_on(&replaced[0], running);
    if (main_of != running)
        arm_on(&replaced[1], main_of);
    change_end();
}

static void wake(int signo) {
    (void)signo;
    if (!changing)
        arm();
}

/* After a change: what came during it has set no hook. One that comes after the question does. */
static void arm_if_pending(void) {
    if (mp_sys_interrupt_pending() != 0 || mp_sys_signal_pending())
        arm();
}

static void rearm(void) {
    change_begin();
    restore();
    change_end();
    arm_if_pending();
}

static void run_on(lua_State *L) {
    change_begin();
    restore();
    running = L;
    change_end();
    arm_if_pending();
}

/*
** Raises the error object for the signal that is pending. It is taken when there is
** the object: short memory does not lose it.
*/
static int raise_interruption(lua_State *L, int is_taken) {
    char name[16];
    lua_getfield(L, LUA_REGISTRYINDEX, "luamp.interrupted");
    lua_pushstring(L, mp_sys_signal_name(mp_sys_interrupt_pending(), name));
    lua_call(L, 1, 1);
    if (is_taken) {
        mp_sys_interrupt_take();
        rearm();
    }
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

/* handler(number): what mp.on_signal was given for the signal is called with its name. */
static int run_handler(lua_State *T) {
    char name[16];
    lua_getfield(T, LUA_REGISTRYINDEX, HANDLERS);
    lua_pushvalue(T, 1);
    lua_rawget(T, -2);
    lua_pushstring(T, mp_sys_signal_name((int)lua_tointeger(T, 1), name));
    lua_call(T, 1, 0);
    return 0;
}

/* Raises in L what was raised in T, perhaps a thread of another state. */
static int pass_on(lua_State *L, lua_State *T) {
    if (mp_lib_main_thread(L) == handlers_of)
        lua_xmove(T, L, 1);
    else
        lua_pushstring(L,
                       lua_isstring(T, -1) ? lua_tostring(T, -1) : "a handler of a signal failed");
    return lua_error(L);
}

/* Runs the handlers of what has arrived, all but those that run already. Raises what they raise. */
static void serve(lua_State *L) {
    lua_State *outer = running;
    if (!mp_sys_signal_pending())
        return;
    for (int signo; (signo = mp_sys_signal_take()) != 0;) {
        lua_State *T = threads[signo];
        lua_settop(T, 0);
        lua_pushcfunction(T, run_handler);
        lua_pushinteger(T, signo);
        run_on(T);
        int status = lua_pcall(T, 1, 0, 0);
        mp_sys_signal_release(signo);
        run_on(outer);
        if (status != LUA_OK)
            pass_on(L, T);
    }
    rearm();
}

void mp_interrupt_check(lua_State *L) {
    serve(L);
    if (mp_sys_interrupt_pending() != 0) /* in a finalizer it stays so, to be raised after it */
        raise_interruption(L, !in_finalizer(L));
}

/* Whether the innermost Lua function is one of the script's, and not the library's. */
static int in_script(lua_State *L) {
    lua_Debug ar;
    for (int level = 0; lua_getstack(L, level, &ar); level++) {
        lua_getinfo(L, "S", &ar);
        if (*ar.what != 'C')
            return strncmp(ar.source, "=luamp:", 7) != 0;
    }
    return 0;
}

static void interrupt_hook(lua_State *L, lua_Debug *ar) {
    (void)ar;
    if (!in_script(L))
        return;
    serve(L);
    if (mp_sys_interrupt_pending() != 0)
        raise_interruption(L, 1);
    rearm();
}

int mp_interrupt_take(lua_State *L) {
    (void)L;
    mp_proc_interrupted(0);
    int signo = mp_sys_interrupt_take();
    run_on(running);
    return signo;
}

/* The handlers go; what their signals do is as it was before. */
static void forget_handlers(void) {
    mp_sys_signals_restore();
    handlers_of = NULL;
}

void mp_interrupt_run_on(lua_State *L) {
    root = main_of = L;
    run_on(L);
    if (handlers_of == mp_lib_main_thread(L)) { /* on a thread there the parent may have forked */
        lua_getfield(L, LUA_REGISTRYINDEX, HANDLERS);
        lua_getfield(L, LUA_REGISTRYINDEX, INHERITED);
        lua_rawseti(L, -2, 0);
        lua_setfield(L, LUA_REGISTRYINDEX, INHERITED);
        lua_pushnil(L);
        lua_setfield(L, LUA_REGISTRYINDEX, HANDLERS);
    }
    forget_handlers();
}

void mp_interrupt_forget(lua_State *L) {
    lua_State *main = mp_lib_main_thread(L);
    if (handlers_of == main)
        forget_handlers();
    size_t kept = 0;
    for (size_t i = 0; i < n_states; i++)
        if (states[i] != main)
            states[kept++] = states[i];
    n_states = kept;
    if (main_of == main) {
        main_of = n_states > 0 ? states[n_states - 1] : NULL;
        run_on(main_of);
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

unsigned long mp_interrupt_n_hooks;

void mp_interrupt_end_hook(lua_State *L) {
    change_begin();
    restore();
    lua_sethook(L, NULL, 0, 0);
    change_end();
    arm_if_pending();
}

/* The stock function does the work. Its misuse is raised by a second call, under its own name. */
static int debug_sethook(lua_State *L) {
    const int n = lua_gettop(L);
    luaL_checkstack(L, n + 1, "a hook");
    lua_pushvalue(L, lua_upvalueindex(1));
    for (int i = 1; i <= n; i++)
        lua_pushvalue(L, i);
    mp_interrupt_n_hooks++;
    change_begin();
    restore();
    int status = lua_pcall(L, n, 0, 0);
    change_end();
    arm_if_pending();
    lua_settop(L, n);
    return status == LUA_OK ? 0 : lua_tocfunction(L, lua_upvalueindex(1))(L);
}

static void replace_all(lua_State *L) {
    if (lua_getglobal(L, LUA_COLIBNAME) == LUA_TTABLE) {
        mp_lib_wrap(L, "resume", coroutine_resume);
        mp_lib_wrap(L, "wrap", coroutine_wrap);
        mp_lib_wrap(L, "close", coroutine_close);
        mp_lib_wrap(L, "running", coroutine_running);
        mp_lib_wrap(L, "yield", coroutine_yield);
    }
    if (lua_getglobal(L, LUA_DBLIBNAME) == LUA_TTABLE)
        mp_lib_wrap(L, "sethook", debug_sethook);
    lua_pop(L, 2);
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

/* Pushes the table of handlers. */
static void push_handlers(lua_State *L) {
    if (lua_getfield(L, LUA_REGISTRYINDEX, HANDLERS) == LUA_TTABLE)
        return;
    lua_pop(L, 1);
    lua_newtable(L);
    lua_pushvalue(L, -1);
    lua_setfield(L, LUA_REGISTRYINDEX, HANDLERS);
}

/* Gives the signal a thread, from the table of handlers on top. */
static void prepare_thread(lua_State *L, int signo) {
    if (lua_rawgeti(L, -1, -signo) != LUA_TTHREAD) {
        lua_pop(L, 1);
        lua_newthread(L);
        lua_pushvalue(L, -1);
        lua_rawseti(L, -3, -signo);
    }
    threads[signo] = lua_tothread(L, -1);
    lua_pop(L, 1);
}

/*
** on_signal(number, f): f is called at the signal, false ignores it, nil restores
** what was there. Returns true and what stood before; or nil, message, error name.
*/
static int on_signal(lua_State *L) {
    int signo = (int)luaL_checkinteger(L, 1);
    lua_State *main = mp_lib_main_thread(L);
    lua_settop(L, 2);
    if (handlers_of != NULL && handlers_of != main)
        return mp_lib_result(L, -EBUSY, "another Lua state of this program has handlers");
    push_handlers(L);
    prepare_thread(L, signo);
    handlers_of = main;
    lua_rawgeti(L, 3, signo);
    lua_pushvalue(L, 2);
    lua_rawseti(L, 3, signo); /* before a signal could ask for it */
    int rc = mp_sys_signal_set(signo, lua_isnil(L, 2)       ? MP_SIGNAL_RESTORE
                                      : lua_toboolean(L, 2) ? MP_SIGNAL_NOTE
                                                            : MP_SIGNAL_IGNORE);
    if (rc < 0) {
        lua_rawseti(L, 3, signo);
        return mp_lib_result(L, rc, NULL);
    }
    lua_pushboolean(L, 1);
    lua_insert(L, -2);
    return 2;
}

/* serve_signals(): handlers run and an interruption is raised now, if one is pending. */
static int serve_signals(lua_State *L) {
    mp_interrupt_check(L);
    return 0;
}

/* run_handlers(): of what is pending. */
static int run_handlers(lua_State *L) {
    serve(L);
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
                                     {"on_signal", on_signal},
                                     {"serve_signals", serve_signals},
                                     {"run_handlers", run_handlers},
                                     {"interrupted_lately", interrupted_lately},
                                     {"told", told},
                                     {"went_on", went_on},
                                     {NULL, NULL}};

void mp_interrupt_open(lua_State *L) {
    main_of = mp_lib_main_thread(L);
    if (n_states < MAX_STATES)
        states[n_states++] = main_of;
    run_on(main_of);
    replace_all(L);
    luaL_setfuncs(L, functions, 0);
}
