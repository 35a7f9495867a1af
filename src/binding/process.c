/*
** process.c: child processes as Lua holds them: start, waiting, outcome.
**
** A handle is the C side of a process object: closed at first, opened by fork,
** and of use only in the process that opened it. What runs in the child is
** life.c's.
*/
#include <errno.h>
#include <math.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "binding/codec.h"
#include "binding/lib.h"
#include "binding/shared.h"
#include "engine/deadlock.h"
#include "engine/family.h"
#include "engine/proc.h"
#include "engine/start.h"

#define HANDLE "luamp.handle"
#define MAX_ARGS (LUAI_MAXSTACK - 1000) /* Lua's own limit of a stack, less what else is on it */

/* A child as Lua holds it. Closed, and in another process than `owner`, p is not to be used. */
typedef struct handle {
    mp_proc *p;
    pid_t owner;
    int is_launching;
    int pollfd; /* for event loops: its own descriptor, until close; -1: not asked for */
} handle;

static handle *check_handle(lua_State *L) {
    handle *h = luaL_checkudata(L, 1, HANDLE);
    if (h->p == NULL || h->owner != mp_proc_self())
        luaL_error(L, "no such child of this process");
    return h;
}

/* handle(): a closed one, for fork to open. */
static int new_handle(lua_State *L) {
    handle *h = lua_newuserdatauv(L, sizeof *h, 0);
    *h = (handle){.p = NULL, .owner = mp_proc_self(), .pollfd = -1};
    luaL_setmetatable(L, HANDLE);
    return 1;
}

/* --- fork ---------------------------------------------------------------- */

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

static int64_t optional_limit(lua_State *L, int spec, const char *name) {
    int64_t value = lua_getfield(L, spec, name) == LUA_TNIL ? -1 : lua_tointeger(L, -1);
    lua_pop(L, 1);
    return value;
}

static mp_time optional_seconds(lua_State *L, int spec, const char *name) {
    lua_Number seconds = lua_getfield(L, spec, name) == LUA_TNIL ? 0 : lua_tonumber(L, -1);
    lua_pop(L, 1);
    return seconds < 1e9 ? (mp_time)ceil(seconds * 1e9) : 0;
}

static mp_setup read_setup(lua_State *L, int spec, cpu_set_t *cpus) {
    return (mp_setup){.cwd = optional_int(L, spec, "cwd", -1),
                      .nice = optional_int(L, spec, "nice", 0),
                      .cpus = read_cpus(L, spec, cpus),
                      .streams = {optional_int(L, spec, "stdin", -1),
                                  optional_int(L, spec, "stdout", -1),
                                  optional_int(L, spec, "stderr", -1)},
                      .limits = {.memory = optional_limit(L, spec, "memory"),
                                 .cpu = optional_limit(L, spec, "cpu"),
                                 .files = optional_limit(L, spec, "files"),
                                 .processes = optional_limit(L, spec, "processes"),
                                 .core = optional_limit(L, spec, "core")}};
}

static mp_start_spec read_spec(lua_State *L, int spec, cpu_set_t *cpus) {
    return (mp_start_spec){.detached = optional_int(L, spec, "detached", 0),
                           .daemon = optional_int(L, spec, "daemon", 0),
                           .timeout = optional_seconds(L, spec, "timeout"),
                           .setup = read_setup(L, spec, cpus)};
}

/* The objects of a list of handles, or none; they live as long as what is left on the stack. */
static void read_objects(lua_State *L, int list, mp_start_spec *spec) {
    if (!lua_istable(L, list))
        return;
    const size_t n = lua_rawlen(L, list);
    uint64_t *objects = lua_newuserdatauv(L, (n + 1) * sizeof *objects, 0);
    for (size_t i = 0; i < n; i++) {
        lua_rawgeti(L, list, (lua_Integer)i + 1);
        objects[i] = mp_shared_object(L, -1);
        lua_pop(L, 1);
    }
    spec->objects = objects;
    spec->n_objects = n;
}

/*
** fork(handle, spec, state, target, args, n, ends): starts a child that runs
** target(args[1], ..., args[n]) and holds the ends of the list from the start on, and
** opens the handle onto it. Returns true, or nil, message, error name.
*/
static int process_fork(lua_State *L) {
    handle *h = luaL_checkudata(L, 1, HANDLE);
    lua_Integer wanted = luaL_checkinteger(L, 6);
    int n = wanted >= 0 && wanted < MAX_ARGS ? (int)wanted : MAX_ARGS;
    cpu_set_t cpus;
    mp_start_spec spec = read_spec(L, 2, &cpus);
    read_objects(L, 7, &spec);
    const int allowance = mp_collector_before_fork(L, spec.daemon || spec.detached);
    lua_State *main = mp_lib_main_thread(L);
    mp_birth b = {.L = L, .T = lua_newthread(L), .n_args = n, .allowance = allowance};
    if (n == MAX_ARGS)
        return luaL_error(L, "too many arguments for a process");
    if (!lua_checkstack(main, 8) || !lua_checkstack(b.T, n + 16) || !lua_checkstack(L, n + 4))
        return luaL_error(L, "not enough memory for the arguments of a process");
    lua_pushvalue(L, 3);
    lua_pushvalue(L, 4);
    for (int i = 1; i <= n; i++)
        lua_geti(L, 5, i);
    lua_xmove(L, b.T, n + 2);
    mp_output_flush_all(L);
    const char *step;
    h->owner = mp_proc_self();
    int rc = mp_start_fork(&spec, mp_life, &b, &h->p, &step);
    mp_collector_after_fork(L, allowance);
    return mp_lib_result(L, rc, rc < 0 ? step : NULL);
}

/* --- exec ---------------------------------------------------------------- */

/* The strings of a list as C's, with NULL at the end; they live as long as the list. */
static char **read_strings(lua_State *L, int list, size_t before) {
    size_t n = lua_rawlen(L, list);
    char **strings = lua_newuserdatauv(L, (before + n + 1) * sizeof *strings, 0);
    for (size_t i = 0; i < n; i++) {
        lua_rawgeti(L, list, (lua_Integer)i + 1);
        strings[before + i] = (char *)lua_tostring(L, -1);
        lua_pop(L, 1);
    }
    strings[before + n] = NULL;
    return strings;
}

/*
** exec(handle, spec, paths, argv, env): starts a program and opens the handle
** onto it; `env` is a list of "NAME=value". Returns true, or nil, message,
** error name.
*/
static int process_exec(lua_State *L) {
    handle *h = luaL_checkudata(L, 1, HANDLE);
    cpu_set_t cpus;
    mp_start_spec spec = read_spec(L, 2, &cpus);
    for (int i = 3; i <= 5; i++)
        luaL_checktype(L, i, LUA_TTABLE);
    mp_program program = {.paths = read_strings(L, 3, 0),
                          .argv = read_strings(L, 4, 0),
                          .env = read_strings(L, 5, 1)};
    mp_output_flush_all(L);
    const char *step;
    h->owner = mp_proc_self();
    int rc = mp_start_exec(&spec, &program, &h->p, &step);
    return mp_lib_result(L, rc, rc < 0 ? step : NULL);
}

/* --- in a fresh image ---------------------------------------------------- */

/* The pieces of an order's message: see life.c. They are freed by who asked for them. */
static struct iovec *join_parts(const uint64_t *len, const char *settings, const mp_message *m) {
    struct iovec *pieces = malloc((size_t)(m->n_pieces + 2) * sizeof *pieces);
    if (pieces == NULL)
        return NULL;
    pieces[0] = (struct iovec){(void *)len, sizeof *len};
    pieces[1] = (struct iovec){(void *)settings, *len};
    memcpy(pieces + 2, m->pieces, (size_t)m->n_pieces * sizeof *pieces);
    return pieces;
}

/*
** fresh(handle, spec, method, paths, argv, env, settings, value...): starts a child in
** a fresh image, "forkserver" or "spawn", and opens the handle onto it. The image is
** the program of paths, argv and env, as for exec; settings are a message in a
** frame, the values go in one after it. Returns true; nil, message, error name; or nil alone when
** a value cannot be sent.
*/
static int process_fresh(lua_State *L) {
    static const char *const names[] = {"forkserver", "spawn", NULL};
    static const enum mp_start_method methods[] = {MP_START_FORKSERVER, MP_START_SPAWN};
    handle *h = luaL_checkudata(L, 1, HANDLE);
    cpu_set_t cpus;
    mp_start_spec spec = read_spec(L, 2, &cpus);
    int method = luaL_checkoption(L, 3, NULL, names);
    size_t settings_len;
    const char *settings = luaL_checklstring(L, 7, &settings_len);
    const uint64_t len = settings_len;
    const int n = lua_gettop(L) - 7;
    mp_program image = {.paths = read_strings(L, 4, 0),
                        .argv = read_strings(L, 5, 0),
                        .env = read_strings(L, 6, 1)};
    mp_output_flush_all(L);
    mp_message values;
    int sent = methods[method] == MP_START_FORKSERVER ? mp_codec_encode_server(L, 8, n, &values)
                                                      : mp_codec_encode_fresh(L, 8, n, &values);
    if (!sent)
        return 0;
    struct iovec *pieces = join_parts(&len, settings, &values);
    if (pieces == NULL)
        return luaL_error(L, "not enough memory");
    const mp_start_message message = {.pieces = pieces,
                                      .n_pieces = values.n_pieces + 2,
                                      .len = values.len + settings_len + sizeof len,
                                      .objects = values.objects,
                                      .n_objects = values.n_objects};
    const char *step;
    h->owner = mp_proc_self();
    int rc = mp_start_fresh(&spec, methods[method], &image, &message, &h->p, &step);
    free(pieces);
    return mp_lib_result(L, rc, rc < 0 ? step : NULL);
}

/* --- a child seen by its parent ------------------------------------------ */

/*
** A wait without a time limit is one of looks: others may have come to wait for ever, too.
** As mp_proc_wait, or -EDEADLK.
*/
static int wait_for_ever(mp_proc *p) {
    int rc = mp_proc_wait(p, mp_sys_now() + MP_LOOK);
    if (rc != 0)
        return rc;
    mp_deadlock_enter(MP_WAITS_PROCESS, mp_proc_member(p));
    while (rc == 0) {
        rc = mp_proc_wait(p, mp_sys_now() + 4 * MP_LOOK);
        if (rc == 0 && mp_deadlock_look())
            rc = -EDEADLK;
    }
    if (rc != -EDEADLK) /* of which is told first */
        mp_deadlock_leave();
    return rc;
}

/*
** await(handle, deadline): true when the child has ended, false at the
** deadline, nil when a signal came; raises when that was an interruption, and the report
** of a deadlock.
*/
static int await(lua_State *L) {
    handle *h = check_handle(L);
    mp_time until = (mp_time)luaL_checkinteger(L, 2);
    int rc = until == MP_NOWAIT    ? mp_proc_ended(h->p)
             : until == MP_FOREVER ? wait_for_ever(h->p)
                                   : mp_proc_wait(h->p, until);
    if (rc == -EINTR) {
        mp_interrupt_check(L);
        return 0;
    }
    if (rc < 0)
        return mp_shared_fail(L, "cannot wait for a process", rc);
    lua_pushboolean(L, rc > 0);
    return 1;
}

/*
** launch(handle, f, ...): pcall(f, ...), which is to open the handle. Whatever runs
** meanwhile, a finalizer for example, can ask is_held.
*/
static int launch(lua_State *L) {
    handle *h = luaL_checkudata(L, 1, HANDLE);
    h->is_launching = 1;
    int ok = lua_pcall(L, lua_gettop(L) - 2, LUA_MULTRET, 0) == LUA_OK;
    h->is_launching = 0;
    lua_pushboolean(L, ok);
    lua_replace(L, 1);
    return lua_gettop(L);
}

/* is_held(handle): whether a fork has opened it; nil while that is not known yet. */
static int is_held(lua_State *L) {
    handle *h = luaL_checkudata(L, 1, HANDLE);
    if (h->p == NULL && h->is_launching)
        return 0;
    lua_pushboolean(L, h->p != NULL);
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

/* overran(handle): after the end: whether it was told to end because of its time limit. */
static int overran(lua_State *L) {
    lua_pushboolean(L, mp_proc_overran(check_handle(L)->p));
    return 1;
}

/* member(handle): the child's record in the family. */
static int member(lua_State *L) {
    lua_pushinteger(L, mp_proc_member(check_handle(L)->p));
    return 1;
}

/* has_entered(handle): whether the child has come to be; a fresh image may fail before that. */
static int has_entered(lua_State *L) {
    lua_pushboolean(L, mp_family_has_entered(mp_proc_member(check_handle(L)->p)));
    return 1;
}

/* cpu_time(handle): after the end: seconds; and the most memory that it had at once, in bytes. */
static int cpu_time(lua_State *L) {
    const mp_proc *p = check_handle(L)->p;
    lua_pushnumber(L, (lua_Number)mp_proc_cpu_time(p) / 1e9);
    lua_pushinteger(L, (lua_Integer)mp_proc_peak(p));
    return 2;
}

/* signal(handle, number): true when it was sent, false when the child has ended. */
static int send_signal(lua_State *L) {
    int rc = mp_proc_signal(check_handle(L)->p, (int)luaL_checkinteger(L, 2));
    lua_pushboolean(L, rc == 0);
    return 1;
}

/* close_handle(handle) */
static int handle_close(lua_State *L) {
    handle *h = luaL_checkudata(L, 1, HANDLE);
    if (h->p != NULL && h->owner == mp_proc_self())
        mp_proc_close(h->p);
    if (h->pollfd >= 0)
        close(h->pollfd);
    h->p = NULL;
    h->pollfd = -1;
    return 0;
}

/*
** The list of running children keeps their handles alive: one that is finalized
** while its child runs belongs to a state that closes. It stays as it is, for
** the hooks that are still to run; the child is the end of the process's to see to.
*/
static int handle_gc(lua_State *L) {
    handle *h = luaL_checkudata(L, 1, HANDLE);
    if (h->p != NULL && h->owner == mp_proc_self() && mp_proc_pidfd(h->p) >= 0)
        return 0;
    return handle_close(L);
}

/* One that is always ready, as that of an ended process: a pipe without a writer. */
static int ended_descriptor(void) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return -errno;
    close(ends[1]);
    return mp_sys_high_fd(ends[0]);
}

static int duplicate_pidfd(int pidfd) {
    int fd = fcntl(pidfd, F_DUPFD_CLOEXEC, 10);
    return fd >= 0 ? fd : -errno;
}

/*
** pollfd(handle): a descriptor for event loops, which stays the same and is
** ready from the child's end on, until the handle is closed.
*/
static int handle_pollfd(lua_State *L) {
    handle *h = check_handle(L);
    if (h->pollfd < 0) {
        int pidfd = mp_proc_pidfd(h->p);
        int fd = pidfd < 0 ? ended_descriptor() : duplicate_pidfd(pidfd);
        if (fd < 0)
            return luaL_error(L, "pollfd: %s", strerror(-fd));
        h->pollfd = fd;
    }
    lua_pushinteger(L, h->pollfd);
    return 1;
}

/* --- outcomes ------------------------------------------------------------ */

/* What the message ran may have closed the handle. */
static void drop_outcome(const handle *h, uint32_t member) {
    if (h->p != NULL)
        mp_family_drop_outcome(member);
}

/*
** outcome(handle): after the end, once: a table with n, of its kind and the values that were
** left. They are on the stack once, which may have no room for more.
*/
static int outcome(lua_State *L) {
    handle *h = check_handle(L);
    const uint32_t member = mp_proc_member(h->p);
    const int pid = (int)mp_proc_pid(h->p);
    size_t len;
    enum mp_outcome kind = mp_family_outcome(member, &len);
    char small[512];
    char *bytes = len <= sizeof small ? small : lua_newuserdatauv(L, len, 0);
    lua_settop(L, 2);
    lua_pushnil(L); /* the table's place */
    int n = kind == MP_OUTCOME_NONE ? 0 : mp_family_read(member, bytes, len);
    if (n == 0 && kind == MP_OUTCOME_WORDS)
        n = lua_pushlstring(L, bytes, len) != NULL;
    else if (n == 0 && kind != MP_OUTCOME_NONE)
        n = mp_codec_decode(L, bytes, len, 1);
    if (n < 0)
        return luaL_error(L, "the outcome of process %d cannot be read: %s", pid, strerror(-n));
    if (kind != MP_OUTCOME_NONE)
        drop_outcome(h, member);
    lua_createtable(L, n + 1, 1);
    lua_replace(L, 3);
    for (int i = n + 1; i > 1; i--)
        lua_rawseti(L, 3, i);
    lua_pushstring(L, mp_life_outcomes[kind]);
    lua_rawseti(L, 3, 1);
    lua_pushinteger(L, n + 1);
    lua_setfield(L, 3, "n");
    return 1;
}

/* has_room(n): whether the stack has room for so many values more. */
static int has_room(lua_State *L) {
    lua_pushboolean(L, mp_codec_has_room(L, (int)luaL_checkinteger(L, 1) + LUA_MINSTACK));
    return 1;
}

static const luaL_Reg functions[] = {{"handle", new_handle},
                                     {"fork", process_fork},
                                     {"await", await},
                                     {"launch", launch},
                                     {"is_held", is_held},
                                     {"pid", handle_pid},
                                     {"pidfd", handle_pidfd},
                                     {"pollfd", handle_pollfd},
                                     {"exitcode", exitcode},
                                     {"signal", send_signal},
                                     {"exec", process_exec},
                                     {"overran", overran},
                                     {"fresh", process_fresh},
                                     {"member", member},
                                     {"has_entered", has_entered},
                                     {"cpu_time", cpu_time},
                                     {"close_handle", handle_close},
                                     {"outcome", outcome},
                                     {"has_room", has_room},
                                     {NULL, NULL}};

void mp_process_open(lua_State *L) {
    luaL_newmetatable(L, HANDLE);
    lua_pushcfunction(L, handle_gc);
    lua_setfield(L, -2, "__gc");
    lua_pop(L, 1);
    luaL_setfuncs(L, functions, 0);
}
