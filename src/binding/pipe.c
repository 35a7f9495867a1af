/*
** pipe.c: mp.pipe: two ends, whose messages go as items of a queue do (queue.c).
*/
#include "engine/pipe.h"

#include "binding/shared.h"
#include "engine/queue.h"

/* The end at index 1, and the queue that it writes or reads. */
static mp_ref check_end(lua_State *L, const char *method, int way) {
    mp_ref queues[2];
    mp_pipe_queues(mp_shared_check(L, MP_KIND_END, "mp.pipe", method)->object, queues);
    if (queues[way] == 0)
        mp_lib_raise(L, "mp.pipe: %s: this end only %s", method,
                     way == MP_END_WRITES ? "receives" : "sends");
    return queues[way];
}

/* new_pipe(is_duplex): both ends. */
static int new_pipe(lua_State *L) {
    mp_ref ends[2], holds[2];
    const int is_duplex = lua_toboolean(L, 1);
    mp_handle *h[2];
    for (int i = 0; i < 2; i++)
        h[i] = mp_shared_new(L, MP_KIND_END);
    int rc = mp_pipe_make(is_duplex, ends, holds);
    if (mp_shared_makes_room(L, rc))
        rc = mp_pipe_make(is_duplex, ends, holds);
    if (rc < 0)
        return mp_shared_fail(L, "mp.pipe", rc);
    for (int i = 0; i < 2; i++)
        mp_shared_own(h[i], ends[i], holds[i]);
    for (int i = 0; i < 2; i++) {
        lua_pushvalue(L, -2 + i);
        mp_shared_set(L, h[i], ends[i], holds[i]);
        lua_pop(L, 1);
    }
    return 2;
}

/* e:send(value, [timeout]) */
static int pipe_send(lua_State *L) {
    const mp_ref queue = check_end(L, "send", MP_END_WRITES);
    mp_shared_check_item(L, 2, "mp.pipe: send");
    const int rc = mp_shared_put(L, queue, 2, 0, mp_shared_deadline(L, 3, "mp.pipe: send"));
    if (rc < 0)
        return mp_shared_put_failed(L, "mp.pipe: send", rc);
    lua_pushboolean(L, 1);
    return 1;
}

/* e:recv([timeout]) */
static int pipe_recv(lua_State *L) {
    const mp_ref queue = check_end(L, "recv", MP_END_READS);
    return mp_shared_get(L, queue, 0, mp_shared_deadline(L, 2, "mp.pipe: recv"), "mp.pipe: recv");
}

/* e:poll(): whether recv would not wait. */
static int pipe_poll(lua_State *L) {
    const mp_ref queue = check_end(L, "poll", MP_END_READS);
    mp_queue_look(queue);
    lua_pushboolean(L, mp_queue_is_ready(queue, MP_QUEUE_GET));
    return 1;
}

static int pipe_close(lua_State *L) {
    mp_handle *h = luaL_checkudata(L, 1, "mp.pipe");
    if (!h->is_closed)
        mp_shared_close(mp_shared_check(L, MP_KIND_END, "mp.pipe", "close"));
    return 0;
}

static int pipe_tostring(lua_State *L) {
    const mp_handle *h = luaL_checkudata(L, 1, "mp.pipe");
    mp_ref queues[2] = {0, 0};
    if (!h->is_closed)
        mp_pipe_queues(mp_shared_check(L, MP_KIND_END, "mp.pipe", "tostring")->object, queues);
    if (h->is_closed)
        lua_pushfstring(L, "mp.pipe: %p (closed)", (const void *)h);
    else if (queues[MP_END_READS] == 0)
        lua_pushfstring(L, "mp.pipe: %p (sends)", (const void *)h);
    else
        lua_pushfstring(L, "mp.pipe: %p (%I unread)", (const void *)h,
                        (lua_Integer)mp_queue_len(queues[MP_END_READS]));
    return 1;
}

static const luaL_Reg pipe_methods[] = {
    {"send", pipe_send},   {"recv", pipe_recv},          {"poll", pipe_poll},
    {"close", pipe_close}, {"pollfd", mp_shared_pollfd}, {"events", mp_shared_events},
    {NULL, NULL}};

static const luaL_Reg pipe_metamethods[] = {{"__tostring", pipe_tostring}, {NULL, NULL}};

static const luaL_Reg functions[] = {{"new_pipe", new_pipe}, {NULL, NULL}};

void mp_pipe_open(lua_State *L) {
    mp_shared_class(L, "mp.pipe", pipe_methods, pipe_metamethods);
    luaL_setfuncs(L, functions, 0);
}
