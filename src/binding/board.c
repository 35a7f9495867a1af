/*
** board.c: the owner's side of a board of tasks (engine/board.h), for luamp.pool.
**
** What a task is given, its function and what comes of it go through the codec. Here are workers
** and tasks; what comes of these is the subject of ends.c.
*/
#include "binding/board.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#include "binding/codec.h"
#include "binding/shared.h"
#include "engine/proc.h"

static const char BOARD[] = "luamp.board";

/* No other userdata has that size and begins with that word: its class would take longer to ask. */
mp_board_owner *mp_board_at(lua_State *L, int index) {
    mp_board_owner *o = lua_touserdata(L, index);
    luaL_argcheck(
        L, o != NULL && lua_rawlen(L, index) == sizeof *o && o->magic == BOARD && o->b != NULL, 1,
        "a board expected");
    return o;
}

/* Of a crew (crew.lua) the board is the first item. */
mp_board_owner *mp_board_check(lua_State *L) {
    if (lua_type(L, 1) == LUA_TTABLE) {
        lua_rawgeti(L, 1, 1);
        lua_replace(L, 1);
    }
    mp_board_owner *o = mp_board_at(L, 1);
    luaL_argcheck(L, o->pid == mp_proc_self(), 1, "a board of this process expected");
    return o;
}

static int owner_gc(lua_State *L) {
    mp_board_owner *o = luaL_checkudata(L, 1, BOARD);
    if (o->b != NULL && o->pid == mp_proc_self())
        mp_board_forget(o->b);
    o->b = NULL;
    return 0;
}

/* The handle of the board at index 1 is its user value. */
static void leave(lua_State *L, mp_board_owner *o) {
    mp_board_forget(o->b);
    o->b = NULL;
    lua_getiuservalue(L, 1, 1);
    mp_handle *h = mp_shared_handle(L, -1);
    if (h != NULL)
        mp_shared_close(h);
    lua_pop(L, 1);
}

/* forget(board): it is of no use any more, and its memory goes; when it is in use just now, after
 * that. */
static int forget(lua_State *L) {
    mp_board_owner *o = mp_board_check(L);
    o->is_leaving = 1;
    if (o->n_inside == 0)
        leave(L, o);
    return 0;
}

mp_board_owner *mp_board_use(lua_State *L) {
    mp_board_owner *o = mp_board_check(L);
    lua_toclose(L, 1);
    o->n_inside++;
    return o;
}

/* __close: one use is over. */
static int end_use(lua_State *L) {
    mp_board_owner *o = mp_board_check(L);
    if (--o->n_inside == 0 && o->is_leaving)
        leave(L, o);
    return 0;
}

/* new(): its owner's part, and a handle, for its workers. */
static int new_board(lua_State *L) {
    mp_ref hold;
    mp_board_owner *o = lua_newuserdatauv(L, sizeof *o, 1);
    *o = (mp_board_owner){.magic = BOARD, .pid = mp_proc_self()};
    if (luaL_newmetatable(L, BOARD)) {
        lua_pushcfunction(L, owner_gc);
        lua_setfield(L, -2, "__gc");
        lua_pushcfunction(L, end_use);
        lua_setfield(L, -2, "__close");
    }
    lua_setmetatable(L, -2);
    mp_handle *h = mp_shared_new(L, MP_KIND_BOARD);
    int rc = mp_board_make(&o->b, &hold);
    if (mp_shared_makes_room(L, rc))
        rc = mp_board_make(&o->b, &hold);
    if (rc < 0)
        return mp_shared_fail(L, "mp.pool", rc);
    mp_shared_set(L, h, mp_board_ref(o->b), hold);
    lua_pushvalue(L, -1);
    lua_setiuservalue(L, -3, 1);
    mp_lib_n_boards++;
    return 2;
}

/* --- workers ---------------------------------------------------------------- */

uint32_t mp_board_check_lane(lua_State *L, int index) {
    const lua_Integer id = luaL_checkinteger(L, index);
    luaL_argcheck(L, id >= 1 && id <= MP_BOARD_LANES, index, "a worker's number expected");
    return (uint32_t)id - 1;
}

/* open_lane(board, id): a worker may come. */
static int open_lane(lua_State *L) {
    const int rc = mp_board_open(mp_board_check(L)->b, mp_board_check_lane(L, 2));
    return rc < 0 ? mp_shared_fail(L, "mp.pool", rc) : 0;
}

/* lane(board, id): its state, and, of what it runs, the call, the index, the slot, and the deadline
 * or 0. */
static int lane(lua_State *L) {
    static const char *const states[] = {"empty", "starts", "serves", "refuses"};
    mp_at_work w;
    lua_pushstring(L, states[mp_board_lane(mp_board_check(L)->b, mp_board_check_lane(L, 2), &w)]);
    if (w.task.attempt == 0)
        return 1;
    lua_pushinteger(L, w.task.call);
    lua_pushinteger(L, (lua_Integer)w.task.index);
    lua_pushinteger(L, w.slot);
    lua_pushinteger(L, w.until);
    return 5;
}

/* n_ended(board, id): how many tasks have ended in the worker that is there. */
static int n_ended(lua_State *L) {
    lua_pushinteger(L,
                    (lua_Integer)mp_board_n_ended(mp_board_check(L)->b, mp_board_check_lane(L, 2)));
    return 1;
}

/* refusal(board, id): why a worker does not serve: an error object. */
static int refusal(lua_State *L) {
    size_t len;
    const char *bytes = mp_board_refusal(mp_board_check(L)->b, mp_board_check_lane(L, 2), &len);
    if (bytes == NULL)
        return 0;
    return mp_codec_decode(L, bytes, len, 1) == 1;
}

/* words(board, id): the end of what a worker has written to its standard error. */
static int words(lua_State *L) {
    char bytes[MP_BOARD_WORDS];
    const size_t n = mp_board_words(mp_board_check(L)->b, mp_board_check_lane(L, 2), bytes);
    lua_pushlstring(L, bytes, n);
    return 1;
}

static int bury(lua_State *L) {
    mp_board_bury(mp_board_check(L)->b, mp_board_check_lane(L, 2));
    return 0;
}

static int dismiss(lua_State *L) {
    mp_board_dismiss(mp_board_check(L)->b, mp_board_check_lane(L, 2));
    return 0;
}

static int close_board(lua_State *L) {
    mp_board_close(mp_board_check(L)->b);
    return 0;
}

/* --- tasks ------------------------------------------------------------------ */

mp_record mp_board_record(const mp_message *m) {
    return (mp_record){.pieces = m->pieces,
                       .n_pieces = m->n_pieces,
                       .len = m->len,
                       .objects = m->objects,
                       .n_objects = m->n_objects};
}

/* keep(board, ...): those values, a function's, for tasks to come: a call's number; nil: they
 * cannot be sent; false: too many are kept. */
static int keep(lua_State *L) {
    mp_board_owner *o = mp_board_use(L);
    mp_message m;
    uint32_t call;
    const int n = lua_gettop(L) - 1;
    if (!mp_codec_encode(L, 2, n, &m))
        return 0;
    const mp_record record = mp_board_record(&m);
    int rc = mp_board_keep(o->b, &record, &call);
    if (rc == -EAGAIN) {
        lua_pushboolean(L, 0);
        return 1;
    }
    if (rc < 0)
        return mp_shared_fail(L, "mp.pool", rc);
    *mp_board_count(o->b, call) = (mp_call_count){0};
    lua_pushinteger(L, call);
    return 1;
}

static int unkeep(lua_State *L) {
    mp_board_unkeep(mp_board_check(L)->b, (uint32_t)luaL_checkinteger(L, 2));
    return 0;
}

enum { LONGEST = 1000000000 }; /* seconds: what is longer than 30 years is no limit */

static float limit_at(lua_State *L, int index) {
    const lua_Number limit = luaL_optnumber(L, index, 0);
    return limit < LONGEST ? (float)limit : 0;
}

mp_task mp_board_check_task(lua_State *L) {
    return (mp_task){.call = (uint32_t)luaL_checkinteger(L, MP_TASK_CALL),
                     .limit = limit_at(L, MP_TASK_LIMIT),
                     .chunk = (uint32_t)luaL_optinteger(L, MP_TASK_CHUNK, 0),
                     .excluded = (uint32_t)luaL_optinteger(L, MP_TASK_EXCLUDED, 0),
                     .attempt = (uint32_t)luaL_checkinteger(L, MP_TASK_ATTEMPT),
                     .index = (uint64_t)luaL_checkinteger(L, MP_TASK_INDEX)};
}

int mp_board_encode(lua_State *L, int first, int n, mp_values *v) {
    v->piece = (struct iovec){v->scalar, n == 1 ? mp_codec_scalar(L, first, v->scalar) : 0};
    mp_message m = {.pieces = &v->piece, .n_pieces = 1, .len = v->piece.iov_len};
    if (m.len == 0 && !mp_codec_encode(L, first, n, &m))
        return -EINVAL;
    v->record = mp_board_record(&m);
    return 0;
}

int mp_board_put_values(lua_State *L, mp_board_owner *o, const mp_task *task, int first, int n) {
    mp_values v;
    const int rc = mp_board_encode(L, first, n, &v);
    if (rc < 0 || o->b == NULL) /* what was encoded may have ended the pool */
        return rc < 0 ? rc : -ECANCELED;
    return mp_board_put(o->b, task, &v.record);
}

int mp_board_may_wait(const mp_board_owner *o, int rc) {
    return (rc == -ENOMEM || rc == -EDQUOT || rc == -EFBIG) && mp_board_n_tasks(o->b) > 0;
}

/* What a put says: its slot; false: there is no room; nil: they cannot be sent; nil, why: never. */
static int push_slot(lua_State *L, const mp_board_owner *o, int rc) {
    if (rc == -EINVAL)
        return 0;
    if (rc < 0 && rc != -EAGAIN && !mp_board_may_wait(o, rc)) {
        lua_pushnil(L);
        lua_pushstring(L, mp_shared_words(rc));
        return 2;
    }
    if (rc < 0)
        lua_pushboolean(L, 0);
    else
        lua_pushinteger(L, rc);
    return 1;
}

/* Puts a task; where memory is short garbage is collected before. As mp_board_put. */
static int put_message(lua_State *L, mp_board_owner *o, const mp_task *task,
                       int (*try)(lua_State *, mp_board_owner *, const mp_task *, int), int first) {
    const int rc = try(L, o, task, first);
    if (rc != -ENOMEM && rc != -EDQUOT)
        return rc;
    lua_gc(L, LUA_GCCOLLECT);
    return try(L, o, task, first);
}

static int try_values(lua_State *L, mp_board_owner *o, const mp_task *task, int first) {
    return mp_board_put_values(L, o, task, first, lua_gettop(L) - first + 1);
}

static int try_parcel(lua_State *L, mp_board_owner *o, const mp_task *task, int parcel) {
    struct iovec piece;
    mp_message m;
    mp_parcel_message(L, parcel, &piece, &m);
    const mp_record record = mp_board_record(&m);
    return mp_board_put(o->b, task, &record);
}

/* put(board, call, limit, chunk, excluded, attempt, index, ...): see push_slot. */
static int put(lua_State *L) {
    mp_board_owner *o = mp_board_check(L);
    const mp_task task = mp_board_check_task(L);
    return push_slot(L, o, put_message(L, o, &task, try_values, MP_TASK_VALUES));
}

/* put_parcel(board, call, limit, chunk, excluded, attempt, index, parcel): the same. */
static int put_parcel(lua_State *L) {
    mp_board_owner *o = mp_board_check(L);
    const mp_task task = mp_board_check_task(L);
    return push_slot(L, o, put_message(L, o, &task, try_parcel, MP_TASK_VALUES));
}

/* split(board): tasks of a batch that nobody has begun, for a worker that has none: the call, the
 * first and the last; or nothing. */
static int split(lua_State *L) {
    mp_task rest;
    if (!mp_board_split(mp_board_check(L)->b, &rest))
        return 0;
    lua_pushinteger(L, rest.call);
    lua_pushinteger(L, (lua_Integer)rest.index);
    lua_pushinteger(L, (lua_Integer)(rest.index + rest.n - 1));
    return 3;
}

/* A copy of what the task in the slot is given, for which it must not be a batch. */
static void push_given(lua_State *L, const mp_board_owner *o, uint32_t slot) {
    char own[MP_BOARD_INLINE];
    const mp_list *holds;
    size_t len;
    const char *bytes = mp_board_given(o->b, slot, own, &len, &holds);
    mp_parcel_copy(L, bytes, len, holds);
}

/* A task of which nobody has begun anything, and which is back, as put_parcel has it, and its last
 * index, if it is a batch. */
static int push_spare(lua_State *L, const mp_task *t) {
    lua_pushinteger(L, t->call);
    lua_pushinteger(L, (lua_Integer)t->index);
    if (t->n > 0)
        lua_pushinteger(L, (lua_Integer)(t->index + t->n - 1));
    else
        lua_pushnil(L);
    lua_pushinteger(L, t->attempt);
    lua_pushnumber(L, (lua_Number)t->limit);
    lua_pushinteger(L, t->chunk);
    lua_pushinteger(L, t->excluded);
    return 7;
}

/*
** spare(board, has_parcel): takes one back that nobody has begun, for workers of another board: the
** last one that was put, or of what is begun a part of the largest rest. The call, its index; its
** last index, if it is a batch; attempt, limit, chunk, excluded; and of a single one the slot that
** it had, and a parcel, if that is asked for. Nothing where there is none.
*/
static int spare(lua_State *L) {
    const mp_board_owner *o = mp_board_check(L);
    const int has_parcel = lua_toboolean(L, 2);
    mp_task task;
    int i;
    while (o->b != NULL && (i = mp_board_last_ready(o->b, &task)) >= 0) {
        lua_settop(L, 1);
        if (has_parcel && task.n == 0)
            push_given(L, o, (uint32_t)i); /* a collection in there may end the pool */
        if (o->b == NULL || !mp_board_retract(o->b, (uint32_t)i))
            continue;
        const int n = push_spare(L, &task);
        lua_pushinteger(L, i);
        lua_pushvalue(L, 2);
        return n + 2;
    }
    return o->b != NULL && mp_board_halve(o->b, &task) ? push_spare(L, &task) : 0;
}

/* tell(board, n): for n tasks that were put. */
static int tell(lua_State *L) {
    mp_board_tell(mp_board_check(L)->b, (int)luaL_checkinteger(L, 2));
    return 0;
}

static int room(lua_State *L) {
    lua_pushinteger(L, mp_board_room(mp_board_check(L)->b));
    return 1;
}

/* retract(board, slot): whether the task there was not begun, and is back. */
static int retract(lua_State *L) {
    lua_pushboolean(L, mp_board_retract(mp_board_check(L)->b, (uint32_t)luaL_checkinteger(L, 2)));
    return 1;
}

/* recall(board, slot): the task there as a parcel, if it was not begun, and is back; or nil. */
static int recall(lua_State *L) {
    const mp_board_owner *o = mp_board_check(L);
    const uint32_t slot = (uint32_t)luaL_checkinteger(L, 2);
    push_given(L, o, slot);
    return o->b != NULL && mp_board_retract(o->b, slot);
}

/* n_waiting(board): how many tasks there were not begun. */
static int n_waiting(lua_State *L) {
    lua_pushinteger(L, mp_board_n_waiting(mp_board_check(L)->b));
    return 1;
}

/* n_unheard(board, call): how many of its tasks have ended of which `collect` has not told yet. */
static int n_unheard(lua_State *L) {
    const mp_board_owner *o = mp_board_check(L);
    lua_pushinteger(L, mp_board_n_unheard(o->b, (uint32_t)luaL_checkinteger(L, 2)));
    return 1;
}

/* withdraw(board, call): takes all of its tasks back that were not begun: how many. */
static int withdraw(lua_State *L) {
    mp_board_owner *o = mp_board_check(L);
    lua_pushinteger(L, mp_board_withdraw(o->b, (uint32_t)luaL_checkinteger(L, 2)));
    return 1;
}

/* doom(board, slot): the number of the worker that runs that, and gets no further; or nil. */
static int doom(lua_State *L) {
    const uint32_t id = mp_board_doom(mp_board_check(L)->b, (uint32_t)luaL_checkinteger(L, 2));
    if (id == 0)
        return 0;
    lua_pushinteger(L, id);
    return 1;
}

/* doom_call(board, call): the same for all tasks of a call: a list. */
static int doom_call(lua_State *L) {
    mp_board_owner *o = mp_board_check(L);
    const uint32_t call = (uint32_t)luaL_checkinteger(L, 2);
    lua_Integer n = 0;
    lua_newtable(L);
    for (uint32_t slot = 0, id; (id = mp_board_doom_call(o->b, call, &slot)) != 0;) {
        lua_pushinteger(L, id);
        lua_rawseti(L, -2, ++n);
    }
    return 1;
}

/* is_running(board, call): whether a worker runs a task of it. */
static int is_running(lua_State *L) {
    const mp_board_owner *o = mp_board_check(L);
    const uint32_t call = (uint32_t)luaL_checkinteger(L, 2);
    int is = 0;
    for (uint32_t i = 0; i < mp_board_n_lanes(o->b) && !is; i++) {
        mp_at_work w;
        mp_board_lane(o->b, i, &w);
        is = w.task.attempt != 0 && w.task.call == call;
    }
    lua_pushboolean(L, is);
    return 1;
}

/* has_tasks(board, call): whether any of it is on the board. */
static int has_tasks(lua_State *L) {
    const mp_board_owner *o = mp_board_check(L);
    lua_pushboolean(L, mp_board_has_tasks(o->b, (uint32_t)luaL_checkinteger(L, 2)));
    return 1;
}

/* runner(board, slot): the number of the worker that has begun it, or nil. */
static int runner(lua_State *L) {
    const uint32_t id = mp_board_runner(mp_board_check(L)->b, (uint32_t)luaL_checkinteger(L, 2));
    if (id == 0)
        return 0;
    lua_pushinteger(L, id);
    return 1;
}

/* --- calls ------------------------------------------------------------------ */

/* list(n): an empty list, with room for n values. */
static int list(lua_State *L) {
    const lua_Integer n = luaL_checkinteger(L, 1);
    lua_createtable(L, n < INT_MAX ? (int)n : 0, 0);
    return 1;
}

/* await(board, quota, deadline): true; false after a look or at the deadline; nil after a
 * signal. */
static int await_news(lua_State *L) {
    mp_board_owner *o = mp_board_check(L);
    const int rc =
        mp_board_wait(o->b, (uint32_t)luaL_checkinteger(L, 2), (mp_time)luaL_checkinteger(L, 3));
    if (rc == -EINTR) {
        mp_interrupt_check(L);
        return 0;
    }
    lua_pushboolean(L, rc == 0);
    return 1;
}

/* keep_limits(): the time limits of tasks hold whatever this process does. */
static int keep_limits(lua_State *L) {
    const int rc = mp_proc_watch();
    return rc < 0 ? mp_shared_fail(L, "mp.pool", rc) : 0;
}

void mp_board_face_open(lua_State *L) {
    static const luaL_Reg functions[] = {{"new", new_board},
                                         {"forget", forget},
                                         {"open_lane", open_lane},
                                         {"lane", lane},
                                         {"n_ended", n_ended},
                                         {"refusal", refusal},
                                         {"words", words},
                                         {"bury", bury},
                                         {"dismiss", dismiss},
                                         {"close", close_board},
                                         {"keep", keep},
                                         {"unkeep", unkeep},
                                         {"put", put},
                                         {"put_parcel", put_parcel},
                                         {"feed", mp_board_feed},
                                         {"split", split},
                                         {"spare", spare},
                                         {"tell", tell},
                                         {"room", room},
                                         {"retract", retract},
                                         {"recall", recall},
                                         {"runner", runner},
                                         {"doom", doom},
                                         {"doom_call", doom_call},
                                         {"is_running", is_running},
                                         {"has_tasks", has_tasks},
                                         {"n_waiting", n_waiting},
                                         {"n_unheard", n_unheard},
                                         {"withdraw", withdraw},
                                         {"list", list},
                                         {"await", await_news},
                                         {"keep_limits", keep_limits},
                                         {NULL, NULL}};
    static const luaL_Reg none[] = {{NULL, NULL}};
    mp_shared_class(L, mp_shared_names[MP_KIND_BOARD], none, none);
    luaL_newlib(L, functions);
    lua_setfield(L, -2, "board");
}
