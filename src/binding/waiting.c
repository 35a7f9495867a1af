/*
** waiting.c: shared objects in waits: what mp.wait, event loops and the report of a deadlock
** ask of them.
*/
#include <string.h>

#include "binding/shared.h"
#include "engine/deadlock.h"
#include "engine/family.h"
#include "engine/queue.h"
#include "engine/watch.h"

/* The process's handle of the object, or nil. */
static void push_handle(lua_State *L, mp_ref object) {
    mp_shared_push_all(L);
    lua_rawgeti(L, -1, (lua_Integer)object);
    lua_remove(L, -2);
}

static const mp_kind_class *class_of(mp_ref object) {
    return mp_arena_classes[mp_arena_block(object)->kind];
}

/* What is asked of the handle at index 1, and what for: the integer at 2, or as mp.wait. */
static mp_ref check_awaited(lua_State *L, int *what) {
    const char *why;
    *what = (int)luaL_optinteger(L, 2, MP_AWAIT);
    const mp_ref object = mp_shared_awaited(mp_shared_handle(L, 1), *what, &why);
    if (object == 0)
        luaL_error(L, "%s", why);
    return object;
}

/*
** watch(object, [what]): a descriptor that is readable when it is ready; or true: it is.
** nil for no handle; nil and why for one that cannot be waited for.
*/
static int watch(lua_State *L) {
    const int what = (int)luaL_optinteger(L, 2, MP_AWAIT);
    const char *why;
    if (mp_shared_handle(L, 1) == NULL)
        return 0;
    const mp_ref object = mp_shared_awaited(mp_shared_handle(L, 1), what, &why);
    lua_pushnil(L);
    lua_pushstring(L, why);
    if (object == 0)
        return 2;
    const int fd = class_of(object)->watch(object, what);
    if (fd < 0)
        return mp_shared_fail(L, "cannot watch a shared object", fd);
    if (class_of(object)->is_ready(object, what))
        lua_pushboolean(L, 1);
    else
        lua_pushinteger(L, fd);
    return 1;
}

/* is_ready(object, [what]) */
static int is_ready(lua_State *L) {
    int what;
    const mp_ref object = check_awaited(L, &what);
    lua_pushboolean(L, class_of(object)->is_ready(object, what));
    return 1;
}

/* sweep_shared(): a look at who is alive, in a wait. */
static int sweep_shared(lua_State *L) {
    const int any = mp_family_self() != MP_NOBODY && mp_arena_sweep_dead();
    if (any)
        mp_deadlock_change();
    lua_pushboolean(L, any);
    return 1;
}

/* begin_wait([object, what]): for ever, for that, or for several things; and its end. */
static int begin_wait(lua_State *L) {
    int what;
    if (lua_gettop(L) == 0)
        mp_deadlock_enter(MP_WAITS_SEVERAL, 0);
    else {
        const mp_ref object = check_awaited(L, &what);
        mp_deadlock_enter(MP_WAITS_OBJECT + (uint32_t)what % MP_AWAIT_MORE, object);
    }
    return 0;
}

static int end_wait(lua_State *L) {
    (void)L;
    mp_deadlock_leave();
    return 0;
}

/* is_deadlock(): after a look in such a wait that was in vain, none older than the last call. */
static int is_deadlock(lua_State *L) {
    lua_pushboolean(L, mp_deadlock_look());
    return 1;
}

/* The end of a pipe that waits at its queue, or the object itself. */
static mp_ref who_waits(mp_ref object, int what) {
    const mp_ref end =
        mp_arena_is(object, MP_KIND_QUEUE) ? mp_queue_end(object, (enum mp_queue_wait)what) : 0;
    return end != 0 ? end : object;
}

/* Pushes what is waited for, and its kind. */
static void push_awaited(lua_State *L, uint32_t verb, uint64_t object) {
    if (verb == MP_WAITS_SEVERAL || verb == MP_WAITS_TASK) {
        lua_pushnil(L);
        lua_pushnil(L);
    } else if (verb == MP_WAITS_PROCESS) {
        lua_pushinteger(L, *mp_family_pid((uint32_t)object));
        lua_pushliteral(L, "process");
    } else {
        const mp_ref shown = who_waits(object, (int)(verb - MP_WAITS_OBJECT));
        push_handle(L, shown);
        lua_pushstring(L, mp_shared_names[mp_arena_block(shown)->kind] + strlen("mp."));
    }
}

/* In which way it is waited for: a verb of queues, or the kind of the object on top. */
static const char *way(lua_State *L, uint32_t verb, uint64_t object) {
    static const char *const of_queues[] = {"put", "get", "join"};
    switch (verb) {
    case MP_WAITS_PROCESS:
        return "end";
    case MP_WAITS_SEVERAL:
        return "several";
    case MP_WAITS_TASK:
        return "task";
    case MP_WAITS_UPDATE:
        return "update";
    default:
        return mp_arena_is(object, MP_KIND_QUEUE) ? of_queues[verb - MP_WAITS_OBJECT]
                                                  : lua_tostring(L, -1);
    }
}

/*
** waits(): of all who wait for ever: pid, what for, and the kind of the object; that is the
** pid of a process, or a handle, or nil if this process has none. This one, which tells of
** it, waits no more.
*/
static int waits(lua_State *L) {
    uint32_t i = 0, verb;
    uint64_t object;
    lua_newtable(L);
    for (int32_t pid; (pid = mp_deadlock_waiter(&i, &verb, &object)) != 0;) {
        lua_createtable(L, 0, 4);
        lua_pushinteger(L, pid);
        lua_setfield(L, -2, "pid");
        push_awaited(L, verb, object);
        lua_pushstring(L, way(L, verb, object));
        lua_setfield(L, -4, "what");
        lua_setfield(L, -3, "kind");
        lua_setfield(L, -2, "object");
        lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
    }
    mp_deadlock_leave();
    return 1;
}

int mp_shared_pollfd(lua_State *L) {
    const mp_handle *h = mp_shared_handle(L, 1);
    const char *class = h == NULL ? "mp.queue" : mp_shared_names[h->kind], *why;
    lua_settop(L, 1);
    const mp_ref object = mp_shared_awaited(mp_shared_handle(L, 1), MP_AWAIT, &why);
    if (object == 0)
        return mp_lib_raise(L, "%s: pollfd: %s", class, why);
    const int fd = class_of(object)->watch(object, MP_AWAIT);
    const int rc = fd < 0 ? fd : mp_watch_keep();
    if (rc < 0)
        return mp_shared_fail(L, class, rc);
    lua_pushinteger(L, fd);
    return 1;
}

int mp_shared_events(lua_State *L) {
    lua_pushliteral(L, "r");
    return 1;
}

void mp_waiting_open(lua_State *L) {
    static const luaL_Reg functions[] = {{"waits", waits},
                                         {"watch", watch},
                                         {"is_ready", is_ready},
                                         {"sweep_shared", sweep_shared},
                                         {"begin_wait", begin_wait},
                                         {"end_wait", end_wait},
                                         {"is_deadlock", is_deadlock},
                                         {NULL, NULL}};
    luaL_setfuncs(L, functions, 0);
}
