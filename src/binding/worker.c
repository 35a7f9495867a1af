/*
** worker.c: a worker of a board (engine/board.h): the loop that runs its tasks.
**
** Many tasks run under one protected call; an error ends that call, and the next tasks run under
** another. What seldom happens is Lua code, luamp.worker, whose functions are the hooks:
**
**   prepare(values...)      a function that is kept, as it is to be called, and whether all of its
**                           results are wanted
**   before(index, call_id)  before each task, where there is something to be done; or nil
**   after()                 after each task, where there is something to be done; or nil.
**                           Returns true when this worker is to be replaced
**   ended(call, index, attempt, how)
**                           when a task has ended, where somebody is told of that besides; or nil
**   set_hook()              after a task with a debug hook: sets the one before it; or nil
**   end_children()          after a task that has left processes, or has made pools
**   caught(value)           a message handler: gives the error object
**   failure(e)              that error object, as it can be sent
**   unsendable(n, ...)      the error object for n results that cannot be
**
** and a field is_far: results are to be such as another host could have.
*/
#include "engine/board.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "binding/codec.h"
#include "binding/shared.h"
#include "engine/family.h"
#include "engine/keeper.h"
#include "engine/proc.h"

/* What this worker is about. The numbers of Lua values are references in the registry. */
static struct {
    int slot;     /* of the task that it runs, or of the batch that it is in; -1: none */
    int is_begun; /* that task, or one of the batch */
    int is_timed; /* and its function has ended */
    mp_given given;
    lua_Integer left;         /* tasks until it is replaced; 0: any number */
    unsigned long n_programs; /* that tasks have run, of which nothing is left */
    unsigned long n_hooks;    /* that tasks have set, and that were taken off */
    unsigned long n_boards;   /* of pools that were made here, and have ended */
    int hooks, functions, before, after, ended;
    int is_far;                   /* what comes of its tasks is for another host */
    int has_learned;              /* some of those ids are set */
    uint64_t ids[MP_BOARD_CALLS]; /* of the functions that are known here */
    signed char n_results[MP_BOARD_CALLS];
} me = {.slot = -1};

static void push(lua_State *L, int reference) {
    lua_rawgeti(L, LUA_REGISTRYINDEX, reference);
}

static void push_hook(lua_State *L, const char *name) {
    push(L, me.hooks);
    lua_getfield(L, -1, name);
    lua_remove(L, -2);
}

/* --- what it spends its time on (engine/times.h) -------------------------------- */

/* More bytes, of what a task is given, are not had in no time. */
enum { SMALL = 64 };

/* What it is about between two tasks. */
static enum mp_doing between(void) {
    return me.given.is_batch ? MP_WORKS : MP_WAITS;
}

/* What comes of the task takes no time to send: nothing, or one small value. */
static int is_small(lua_State *L, int first, int n) {
    const int type = n == 1 ? lua_type(L, first) : LUA_TTABLE;
    return n == 0 || type == LUA_TNIL || type == LUA_TBOOLEAN || type == LUA_TNUMBER ||
           (type == LUA_TSTRING && lua_rawlen(L, first) < SMALL);
}

/* Notes a task that has taken long, while what it was given is there. */
static void note(mp_time took) {
    const int has_function = me.given.task.call == MP_BOARD_NOT_KEPT;
    mp_slow slow = {.took = took,
                    .call_id = me.given.call_id,
                    .index = me.given.task.index,
                    .attempt = me.given.task.attempt};
    if (me.given.bytes != NULL)
        mp_codec_glimpse(me.given.bytes, me.given.len, has_function ? 2 : 1, slow.input,
                         sizeof slow.input);
    mp_times_note(&slow);
}

/* The task's function has ended, one way or the other, and the worker turns to that. */
static void time_task(enum mp_doing next) {
    if (me.is_timed)
        return mp_times_turn_once(next);
    const mp_time took = mp_times_end_task(next);
    me.is_timed = 1;
    if (took > 0)
        note(took);
}

/* --- what a task is given ----------------------------------------------------- */

static void decode(lua_State *L, const char *bytes, size_t len) {
    if (bytes == NULL || (!mp_codec_plain(L, bytes, len) && mp_codec_decode(L, bytes, len, 1) < 0))
        luaL_error(L, "a task is damaged");
}

/* Makes the function of that call: nobody needs the one any more that had its number before. */
static void learn(lua_State *L, uint32_t call) {
    size_t len;
    const char *bytes = mp_board_function(call, &len);
    mp_times_turn(MP_SENDS);
    mp_times_given(len);
    push(L, me.functions);
    lua_pushnil(L);
    lua_rawseti(L, -2, call);
    push_hook(L, "prepare");
    const int first = lua_gettop(L);
    decode(L, bytes, len);
    lua_call(L, lua_gettop(L) - first, 2);
    me.n_results[call] = lua_toboolean(L, -1) ? LUA_MULTRET : 1;
    lua_pop(L, 1);
    lua_rawseti(L, -2, call);
    lua_pop(L, 1);
    me.ids[call] = me.given.call_id;
    me.has_learned = 1;
    mp_times_turn(MP_WORKS);
}

/* Pushes the task's function, of the list at 1, and what that is given. */
static void push_task(lua_State *L) {
    const uint32_t call = me.given.task.call;
    if (call != MP_BOARD_NOT_KEPT) {
        if (me.ids[call] != me.given.call_id)
            learn(L, call);
        lua_rawgeti(L, 1, call);
    }
    const int is_small = me.given.len <= SMALL;
    if (!is_small)
        mp_times_turn(MP_SENDS);
    if (me.given.is_batch && me.given.bytes == NULL)
        lua_pushinteger(L, (lua_Integer)me.given.task.index);
    else
        decode(L, me.given.bytes, me.given.len);
    if (!is_small)
        mp_times_turn(MP_WORKS);
}

/* --- what comes of it ----------------------------------------------------------- */

/* Ends what is in the slot. */
static int finish_slot(enum mp_task_end end, const mp_record *record) {
    const int rc = mp_board_finish((uint32_t)me.slot, end, record);
    if (rc == -ECANCELED)
        raise(SIGKILL); /* as the owner is about to do */
    if (rc == 0)
        me.slot = -1;
    return rc;
}

static int finish(enum mp_task_end end, const mp_message *m) {
    const mp_record record = {.pieces = m->pieces,
                              .n_pieces = m->n_pieces,
                              .len = m->len,
                              .objects = m->objects,
                              .n_objects = m->n_objects};
    const int rc = me.given.is_batch ? mp_board_leave(end, &record) : finish_slot(end, &record);
    if (rc == 0) {
        me.is_begun = 0;
        mp_times_returned(m->len);
        mp_times_turn_once(between());
    }
    return rc;
}

/* What was not begun of the batch is others'. */
static void leave_batch(void) {
    if (me.slot < 0 || !me.given.is_batch)
        return;
    mp_times_turn(MP_WAITS);
    finish_slot(MP_TASK_DONE, NULL);
}

static void refuse_results(lua_State *L, int first, int n) {
    lua_settop(L, first + n - 1);
    push_hook(L, "unsendable");
    lua_insert(L, first);
    lua_pushinteger(L, n);
    lua_insert(L, first + 1);
    lua_call(L, n + 1, 1);
    lua_error(L);
}

/* Whether the values can be had by who is to have them. What a host's processes share stays there.
 */
static int encode(lua_State *L, int first, int n, mp_message *m) {
    return me.is_far ? mp_codec_encode_fresh(L, first, n, m) && m->n_objects == 0
                     : mp_codec_encode(L, first, n, m);
}

/* Leaves the n values from `first` on, which are on top: 0, or what mp_arena_alloc says. */
static int try_to_leave(lua_State *L, enum mp_task_end end, int first, int n) {
    unsigned char scalar[MP_CODEC_SCALAR];
    struct iovec piece = {scalar, n == 1 ? mp_codec_scalar(L, first, scalar) : 0};
    mp_message m = {.pieces = &piece, .n_pieces = 1, .len = piece.iov_len};
    if (m.len == 0 && !encode(L, first, n, &m))
        refuse_results(L, first, n);
    return finish(end, &m);
}

static void leave(lua_State *L, enum mp_task_end end, int first, int n) {
    int rc = try_to_leave(L, end, first, n);
    if (rc == -ENOMEM || rc == -EDQUOT || rc == -EFBIG) {
        lua_gc(L, LUA_GCCOLLECT);
        rc = try_to_leave(L, end, first, n);
    }
    if (rc < 0)
        luaL_error(L, "cannot send the results: %s", mp_shared_words(rc));
}

/* leave_words(what kept the error from being told): that is told in its place. */
static int leave_words(lua_State *L) {
    lua_pushfstring(L, "the task has failed, and its error cannot be told: %s",
                    luaL_tolstring(L, 1, NULL));
    leave(L, MP_TASK_FAILED, lua_gettop(L), 1);
    return 0;
}

/* leave_failure(e) */
static int leave_failure(lua_State *L) {
    push_hook(L, "failure");
    lua_insert(L, 1);
    lua_call(L, 1, 1);
    leave(L, MP_TASK_FAILED, 1, 1);
    return 0;
}

/* An error, on top, has ended the task. What is too short of memory to tell why says that. */
static void fail(lua_State *L) {
    static const unsigned char short_of_memory[] = "\1" /* one value, a string: */
                                                   "\xd1not enough memory";
    lua_pushcfunction(L, leave_failure);
    lua_insert(L, -2);
    int rc = lua_pcall(L, 1, 0, 0);
    if (rc != LUA_OK && rc != LUA_ERRMEM) {
        lua_pushcfunction(L, leave_words);
        lua_insert(L, -2);
        rc = lua_pcall(L, 1, 0, 0);
    }
    if (rc == LUA_OK)
        return;
    struct iovec piece = {(void *)short_of_memory, sizeof short_of_memory - 1};
    const mp_message m = {.pieces = &piece, .n_pieces = 1, .len = piece.iov_len};
    finish(MP_TASK_FAILED, &m);
}

/* --- the loop ------------------------------------------------------------------- */

/* Takes the next slot: 1; or 0: there are no more for this worker. */
static int take(lua_State *L) {
    mp_times_turn_once(MP_WAITS);
    while ((me.slot = mp_board_take(&me.given)) < 0) {
        if (me.slot == -EPIPE)
            return 0;
        if (me.slot == -EINTR)
            mp_interrupt_check(L);
    }
    mp_times_turn(MP_WORKS);
    return 1;
}

/* Begins the next task: 1; or 0: there are no more for this worker. */
static int begin(lua_State *L) {
    for (;;) {
        if (me.slot < 0 && !take(L))
            return 0;
        if (!me.given.is_batch || mp_board_begin(&me.given))
            break;
        leave_batch();
    }
    mp_times_begin_task(me.given.len);
    me.is_timed = 0;
    return me.is_begun = 1;
}

static void call_before(lua_State *L) {
    if (me.given.task.limit > 0 && me.given.task.limit < 1)
        mp_keeper_ring();
    if (me.before == LUA_NOREF)
        return;
    push(L, me.before);
    lua_pushinteger(L, (lua_Integer)me.given.task.index);
    lua_pushinteger(L, (lua_Integer)me.given.call_id);
    lua_call(L, 2, 0);
}

/* A debug hook that the task has set ends with it, before it meets any of our own code. */
static void end_hook(lua_State *L) {
    if (mp_interrupt_n_hooks == me.n_hooks)
        return;
    mp_interrupt_end_hook(L);
    push_hook(L, "set_hook");
    if (lua_isnil(L, -1))
        lua_pop(L, 1);
    else
        lua_call(L, 0, 0);
    me.n_hooks = mp_interrupt_n_hooks;
}

/* The message handler: the hook `caught`. */
static int caught(lua_State *L) {
    end_hook(L);
    push_hook(L, "caught");
    lua_insert(L, 1);
    lua_call(L, 1, 1);
    return 1;
}

/* The task has ended so, and what it wrote is out. */
static void call_ended(lua_State *L, const char *how) {
    if (me.ended == LUA_NOREF)
        return;
    push(L, me.ended);
    lua_pushinteger(L, me.given.task.call);
    lua_pushinteger(L, (lua_Integer)me.given.task.index);
    lua_pushinteger(L, me.given.task.attempt);
    lua_pushstring(L, how);
    lua_call(L, 4, 0);
}

/* What a task has begun ends with it; what it wrote is out before anybody knows of its end. */
static void clear_up(lua_State *L, const char *how) {
    if (mp_proc_has_children() || mp_lib_n_boards != me.n_boards) {
        push_hook(L, "end_children");
        lua_call(L, 0, 0);
        me.n_boards = mp_lib_n_boards;
    }
    if (__fpending(stdout) > 0)
        mp_output_flush_all(L);
    call_ended(L, how);
}

/* Whether programs of the task are left, which go with this worker and not before. */
static int has_left_programs(void) {
    if (mp_lib_n_programs == me.n_programs)
        return 0;
    me.n_programs = mp_lib_n_programs;
    return mp_proc_has_orphans();
}

static int is_worn_out(lua_State *L) {
    if ((me.left > 0 && --me.left == 0) || has_left_programs())
        return 1;
    if (me.after == LUA_NOREF)
        return 0;
    push(L, me.after);
    lua_call(L, 0, 1);
    const int is = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return is;
}

/* run(): tasks, until there are no more for this worker. */
static int run(lua_State *L) {
    push(L, me.functions);
    do {
        lua_settop(L, 1);
        if (!begin(L))
            return 0;
        call_before(L);
        push_task(L);
        const uint32_t call = me.given.task.call;
        lua_call(L, lua_gettop(L) - 2,
                 call == MP_BOARD_NOT_KEPT ? LUA_MULTRET : me.n_results[call]);
        end_hook(L);
        clear_up(L, "done");
        time_task(is_small(L, 2, lua_gettop(L) - 1) ? between() : MP_SENDS);
        leave(L, MP_TASK_DONE, 2, lua_gettop(L) - 1);
    } while (!is_worn_out(L));
    leave_batch();
    return 0;
}

static int clear_up_protected(lua_State *L) {
    clear_up(L, "failed");
    return 0;
}

/* With the arguments of serve on the stack, of which three stay: what this process is as a worker.
 */
static void become_worker(lua_State *L) {
    me.left = luaL_optinteger(L, 4, 0);
    me.slot = -1;
    me.is_begun = 0;
    me.n_programs = mp_lib_n_programs;
    me.n_boards = mp_lib_n_boards;
    me.n_hooks = mp_interrupt_n_hooks;
    mp_proc_adopt_orphans();
    if (me.has_learned) /* a worker's child, which has them, may be a worker, too */
        memset(me.ids, 0, sizeof me.ids);
    me.has_learned = 0;
    lua_settop(L, 3);
    lua_getfield(L, 3, "before");
    me.before = lua_isnil(L, -1) ? LUA_NOREF : luaL_ref(L, LUA_REGISTRYINDEX);
    lua_getfield(L, 3, "after");
    me.after = lua_isnil(L, -1) ? LUA_NOREF : luaL_ref(L, LUA_REGISTRYINDEX);
    lua_settop(L, 3);
    lua_getfield(L, 3, "is_far");
    me.is_far = lua_toboolean(L, -1);
    lua_settop(L, 3);
    lua_getfield(L, 3, "ended");
    me.ended = lua_isnil(L, -1) ? LUA_NOREF : luaL_ref(L, LUA_REGISTRYINDEX);
    lua_newtable(L);
    me.functions = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_settop(L, 3);
    me.hooks = luaL_ref(L, LUA_REGISTRYINDEX);
}

/* serve(board, id, hooks, tasks): until it is to leave. */
static int serve(lua_State *L) {
    const mp_handle *h = mp_shared_handle(L, 1);
    luaL_argcheck(L, h != NULL && h->kind == MP_KIND_BOARD, 1, "a board expected");
    const uint32_t lane = (uint32_t)luaL_checkinteger(L, 2) - 1;
    become_worker(L);
    lua_pushcfunction(L, caught);
    mp_times_turn(MP_WAITS); /* before anybody knows that it does */
    mp_board_serve(h->object, lane);
    for (;;) {
        lua_settop(L, 3);
        lua_pushcfunction(L, run);
        if (lua_pcall(L, 0, 0, 3) == LUA_OK)
            break;
        if (!me.is_begun)
            return lua_error(L);
        lua_pushcfunction(L, clear_up_protected);
        if (lua_pcall(L, 0, 0, 0) != LUA_OK)
            lua_pop(L, 1);
        time_task(MP_SENDS);
        fail(L);
        if ((me.left > 0 && --me.left == 0) || has_left_programs()) {
            leave_batch();
            break;
        }
    }
    mp_times_leave();
    return 0;
}

/* begin(board, id): this process is the worker of that number, and has its `init` before it. */
static int begin_worker(lua_State *L) {
    const mp_handle *h = mp_shared_handle(L, 1);
    luaL_argcheck(L, h != NULL && h->kind == MP_KIND_BOARD, 1, "a board expected");
    mp_times_begin(mp_board_own_times(h->object, (uint32_t)luaL_checkinteger(L, 2) - 1));
    return 0;
}

/* refuse(board, id, e): this process will not serve, because of that error object. */
static int refuse(lua_State *L) {
    const mp_handle *h = mp_shared_handle(L, 1);
    luaL_argcheck(L, h != NULL && h->kind == MP_KIND_BOARD, 1, "a board expected");
    mp_message m;
    if (!mp_codec_encode(L, 3, 1, &m))
        return luaL_error(L, "the error object cannot be sent");
    const mp_record record = {.pieces = m.pieces,
                              .n_pieces = m.n_pieces,
                              .len = m.len,
                              .objects = m.objects,
                              .n_objects = m.n_objects};
    const int rc = mp_board_refuse(h->object, (uint32_t)luaL_checkinteger(L, 2) - 1, &record);
    return rc < 0 ? mp_shared_fail(L, "mp.pool", rc) : 0;
}

/* can_send(value): whether it can be what comes of a task. */
static int can_send(lua_State *L) {
    mp_message m;
    lua_settop(L, 1);
    lua_pushboolean(L, encode(L, 1, 1, &m));
    return 1;
}

/* task(): index and attempt of the task that runs here; nothing when there is none. */
static int task(lua_State *L) {
    if (!me.is_begun)
        return 0;
    lua_pushinteger(L, (lua_Integer)me.given.task.index);
    lua_pushinteger(L, me.given.task.attempt);
    return 2;
}

static lua_Number seconds_of(struct timeval t) {
    return (lua_Number)t.tv_sec + (lua_Number)t.tv_usec / 1e6;
}

/* usage(): the time of day, in seconds since 1970; the CPU time of this process, in seconds; and
 * its largest resident memory so far, in bytes. */
static int usage(lua_State *L) {
    struct timespec t;
    struct rusage u;
    clock_gettime(CLOCK_REALTIME, &t);
    getrusage(RUSAGE_SELF, &u);
    lua_pushnumber(L, (lua_Number)t.tv_sec + (lua_Number)t.tv_nsec / 1e9);
    lua_pushnumber(L, seconds_of(u.ru_utime) + seconds_of(u.ru_stime));
    lua_pushinteger(L, (lua_Integer)u.ru_maxrss * 1024);
    return 3;
}

void mp_worker_open(lua_State *L) {
    static const luaL_Reg functions[] = {
        {"begin", begin_worker}, {"serve", serve}, {"refuse", refuse}, {"task", task},
        {"can_send", can_send},  {"usage", usage}, {NULL, NULL}};
    luaL_newlib(L, functions);
    lua_setfield(L, -2, "worker");
}
