/*
** statistics.c: what the time of a board's workers went into (engine/times.h), for
** luamp.statistics. Times are integers, nanoseconds.
*/
#include <string.h>

#include "binding/board.h"
#include "binding/codec.h"

/* The counts of a lane: whether there ever was one. */
static int read_lane(const mp_board_owner *o, uint32_t lane, mp_time now, mp_spent *spent) {
    const mp_times *t = mp_board_times(o->b, lane);
    if (t != NULL)
        mp_times_read(t, now, spent);
    return t != NULL;
}

/* times(board, id): start, init, wait, work, send; tasks; bytes given and returned; and the time
 * that those who have left could have run and had no CPU. Of all workers with that number. */
static int times(lua_State *L) {
    mp_spent s = {.doing = MP_IS_GONE};
    read_lane(mp_board_check(L), mp_board_check_lane(L, 2), mp_sys_now(), &s);
    for (int i = MP_STARTS; i < MP_N_DOING; i++)
        lua_pushinteger(L, s.of[i]);
    lua_pushinteger(L, (lua_Integer)s.n_tasks);
    lua_pushinteger(L, (lua_Integer)s.n_given);
    lua_pushinteger(L, (lua_Integer)s.n_returned);
    lua_pushinteger(L, s.delayed);
    return MP_N_DOING - MP_STARTS + 4;
}

static void add(mp_spent *all, enum mp_doing to, mp_time took) {
    all->of[to] = (mp_time)((uint64_t)all->of[to] + (uint64_t)took);
}

/* share(board): how long all workers together were busy so far, and how long they had nothing to
 * do; tasks; bytes given and returned; and how long their owner waited for them. */
static int share(lua_State *L) {
    const mp_board_owner *o = mp_board_check(L);
    const mp_time now = mp_sys_now();
    mp_spent all = {.n_tasks = 0}, s;
    for (uint32_t i = 0; i < mp_board_n_lanes(o->b); i++) {
        if (!read_lane(o, i, now, &s))
            continue;
        add(&all, MP_WORKS, s.of[MP_WORKS]);
        add(&all, MP_WORKS, s.of[MP_SENDS]);
        add(&all, MP_WAITS, s.of[MP_WAITS]);
        all.n_tasks += s.n_tasks;
        all.n_given += s.n_given;
        all.n_returned += s.n_returned;
    }
    lua_pushinteger(L, all.of[MP_WORKS]);
    lua_pushinteger(L, all.of[MP_WAITS]);
    lua_pushinteger(L, (lua_Integer)all.n_tasks);
    lua_pushinteger(L, (lua_Integer)all.n_given);
    lua_pushinteger(L, (lua_Integer)all.n_returned);
    lua_pushinteger(L, mp_board_waited(o->b));
    return 6;
}

/*
** tail(board, from): of the workers that wait now, and had something to do since that time: for how
** long, together, and the longest of these; and how many have waited all the time.
*/
static int tail(lua_State *L) {
    const mp_board_owner *o = mp_board_check(L);
    const mp_time now = mp_sys_now(), from = luaL_checkinteger(L, 2);
    mp_time lost = 0, longest = 0;
    lua_Integer n_unused = 0;
    for (uint32_t i = 0; i < mp_board_n_lanes(o->b); i++) {
        mp_spent s;
        if (!read_lane(o, i, now, &s) || s.doing != MP_WAITS)
            continue;
        if (s.since <= from) {
            n_unused++;
        } else if (now > s.since) {
            lost += now - s.since;
            longest = now - s.since > longest ? now - s.since : longest;
        }
    }
    lua_pushinteger(L, lost);
    lua_pushinteger(L, longest);
    lua_pushinteger(L, n_unused);
    return 3;
}

/* Puts a task among those that took longest, if it is one; `lanes` says whose each is. */
static void sort_in(mp_slow *slowest, lua_Integer *ids, const mp_slow *task, lua_Integer id) {
    int at = MP_TIMES_SLOWEST;
    while (at > 0 && task->took > slowest[at - 1].took)
        at--;
    if (at == MP_TIMES_SLOWEST)
        return;
    const size_t n = (size_t)(MP_TIMES_SLOWEST - 1 - at);
    memmove(&slowest[at + 1], &slowest[at], n * sizeof *slowest);
    memmove(&ids[at + 1], &ids[at], n * sizeof *ids);
    slowest[at] = *task;
    ids[at] = id;
}

static void set_integer(lua_State *L, const char *name, lua_Integer value) {
    lua_pushinteger(L, value);
    lua_setfield(L, -2, name);
}

static void push_slow(lua_State *L, const mp_slow *task, lua_Integer id) {
    lua_createtable(L, 0, 7);
    set_integer(L, "took", task->took);
    set_integer(L, "began", task->began);
    set_integer(L, "call_id", (lua_Integer)task->call_id);
    set_integer(L, "task", (lua_Integer)task->index);
    set_integer(L, "attempt", task->attempt);
    set_integer(L, "worker", id);
    lua_pushstring(L, task->input);
    lua_setfield(L, -2, "input");
}

/* slowest(board): the tasks of all workers that took longest: a list of tables, the longest first.
 */
static int slowest(lua_State *L) {
    const mp_board_owner *o = mp_board_check(L);
    mp_slow all[MP_TIMES_SLOWEST] = {{.took = 0}}, task;
    lua_Integer ids[MP_TIMES_SLOWEST] = {0};
    for (uint32_t lane = 0; lane < mp_board_n_lanes(o->b); lane++) {
        const mp_times *t = mp_board_times(o->b, lane);
        for (int i = 0; t != NULL && i < MP_TIMES_SLOWEST; i++)
            if (mp_times_slow(t, i, &task))
                sort_in(all, ids, &task, (lua_Integer)lane + 1);
    }
    lua_newtable(L);
    for (int i = 0; i < MP_TIMES_SLOWEST && all[i].took > 0; i++) {
        push_slow(L, &all[i], ids[i]);
        lua_rawseti(L, -2, i + 1);
    }
    return 1;
}

/* call_id(board, call): tells the functions apart that have that number in turn. */
static int call_id(lua_State *L) {
    const uint32_t call = (uint32_t)luaL_checkinteger(L, 2) % MP_BOARD_CALLS;
    lua_pushinteger(L, (lua_Integer)mp_board_call_id(mp_board_check(L)->b, call));
    return 1;
}

/* Notes the task that a dead worker had begun, if that has a slot for itself. */
static void note_lost(const mp_board_owner *o, uint32_t lane, mp_times *t) {
    char own[MP_BOARD_INLINE];
    const mp_list *holds;
    mp_at_work w;
    size_t len;
    if (!mp_board_lost(o->b, lane, &w) || w.task.n > 0)
        return;
    const int has_function = w.task.call == MP_BOARD_NOT_KEPT;
    mp_slow slow = {.call_id = mp_board_call_id(o->b, w.task.call),
                    .index = w.task.index,
                    .attempt = w.task.attempt};
    const char *bytes = mp_board_given(o->b, w.slot, own, &len, &holds);
    mp_codec_glimpse(bytes, len, has_function ? 2 : 1, slow.input, sizeof slow.input);
    mp_times_note_lost(t, &slow);
}

/* ended(board, id): the worker is dead: so its time ends, and that of what it had begun. */
static int ended(lua_State *L) {
    const mp_board_owner *o = mp_board_check(L);
    const uint32_t lane = mp_board_check_lane(L, 2);
    mp_times *t = mp_board_times(o->b, lane);
    if (t != NULL) {
        note_lost(o, lane, t);
        mp_times_set(t, MP_IS_GONE);
    }
    return 0;
}

/* glimpse(message): a short text of its values. */
static int glimpse(lua_State *L) {
    char text[MP_TIMES_INPUT];
    size_t len;
    const char *bytes = luaL_checklstring(L, 1, &len);
    mp_codec_glimpse(bytes, len, (uint64_t)luaL_optinteger(L, 2, 1), text, sizeof text);
    lua_pushstring(L, text);
    return 1;
}

/* All are functions of boards, but for the last. */
void mp_statistics_open(lua_State *L) {
    static const luaL_Reg functions[] = {
        {"times", times},     {"share", share}, {"tail", tail},       {"slowest", slowest},
        {"call_id", call_id}, {"ended", ended}, {"glimpse", glimpse}, {NULL, NULL}};
    lua_getfield(L, -1, "board");
    luaL_setfuncs(L, functions, 0);
    lua_pop(L, 1);
}
