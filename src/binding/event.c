/*
** event.c: mp.event: the engine's flags (engine/event.h).
*/
#include "engine/event.h"

#include <errno.h>

#include "binding/shared.h"

static mp_ref check(lua_State *L, const char *method) {
    return mp_shared_check(L, MP_KIND_EVENT, "mp.event", method)->object;
}

/* new_event() */
static int new_event(lua_State *L) {
    mp_ref event, hold;
    lua_settop(L, 1); /* what is at index 1 must be open, see mp_shared_check_open */
    mp_handle *h = mp_shared_new(L, MP_KIND_EVENT);
    int rc = mp_event_make(&event, &hold);
    if (mp_shared_makes_room(L, rc))
        rc = mp_event_make(&event, &hold);
    if (rc < 0)
        return mp_shared_fail(L, "mp.event", rc);
    mp_shared_set(L, h, event, hold);
    return 1;
}

static int event_set(lua_State *L) {
    mp_event_set(check(L, "set"));
    return 0;
}

static int event_clear(lua_State *L) {
    mp_event_clear(check(L, "clear"));
    return 0;
}

static int event_is_set(lua_State *L) {
    lua_pushboolean(L, mp_event_is_set(check(L, "is_set")));
    return 1;
}

/* e:wait([timeout]): true, or nil and "timeout". */
static int event_wait(lua_State *L) {
    const mp_ref event = check(L, "wait");
    const mp_time deadline = mp_shared_deadline(L, 2, "mp.event: wait");
    const int what = mp_event_begin(event);
    int rc;
    do
        rc = mp_event_wait(event, what, mp_shared_wait(deadline));
    while (mp_shared_goes_on(L, rc, what, deadline));
    if (rc < 0 && rc != -ETIMEDOUT)
        return mp_shared_fail(L, "mp.event: wait", rc);
    if (rc < 0) {
        lua_pushnil(L);
        lua_pushliteral(L, "timeout");
        return 2;
    }
    lua_pushboolean(L, 1);
    return 1;
}

static int event_tostring(lua_State *L) {
    const mp_handle *h = mp_shared_handle(L, 1);
    if (h != NULL && h->is_closed)
        lua_pushliteral(L, "closed");
    else
        lua_pushstring(L, mp_event_is_set(check(L, "tostring")) ? "set" : "not set");
    return mp_shared_describe(L);
}

static const luaL_Reg methods[] = {{"set", event_set},           {"clear", event_clear},
                                   {"is_set", event_is_set},     {"wait", event_wait},
                                   {"close", mp_shared_drop},    {"pollfd", mp_shared_pollfd},
                                   {"events", mp_shared_events}, {NULL, NULL}};

static const luaL_Reg metamethods[] = {{"__tostring", event_tostring}, {NULL, NULL}};

static const luaL_Reg functions[] = {{"new_event", new_event}, {NULL, NULL}};

void mp_event_open(lua_State *L) {
    mp_shared_class(L, "mp.event", methods, metamethods);
    luaL_setfuncs(L, functions, 0);
}
