/*
** mutex.c: mp.lock and mp.rlock: the engine's locks (engine/mutex.h), acquired as acquiring.c says.
*/
#include "engine/mutex.h"

#include "binding/acquiring.h"

/* new_lock(is_recursive) */
static int new_lock(lua_State *L) {
    mp_ref mutex, hold;
    const int is_recursive = lua_toboolean(L, 1);
    const enum mp_kind kind = is_recursive ? MP_KIND_RLOCK : MP_KIND_LOCK;
    mp_handle *h = mp_shared_new(L, kind);
    int rc = mp_mutex_make(is_recursive, &mutex, &hold);
    if (mp_shared_makes_room(L, rc))
        rc = mp_mutex_make(is_recursive, &mutex, &hold);
    if (rc < 0)
        return mp_shared_fail(L, mp_shared_names[kind], rc);
    mp_shared_set(L, h, mutex, hold);
    return 1;
}

static int acquire(const mp_handle *h, mp_time deadline) {
    return mp_mutex_acquire(h->object, deadline);
}

static int release(const mp_handle *h) {
    return mp_mutex_release(h->object);
}

static int leave(const mp_handle *h) {
    return mp_mutex_leave(h->object);
}

/* l:is_locked(): whether a living process holds it. */
static int lock_is_locked(lua_State *L) {
    const mp_name holder = mp_mutex_holder(mp_acquiring_check(L, "is_locked")->object);
    lua_pushboolean(L, holder != 0 && holder != MP_MUTEX_ABANDONED);
    return 1;
}

/* Pushes who holds it. */
static void push_state(lua_State *L, mp_name holder) {
    if (holder == 0) {
        lua_pushliteral(L, "free");
    } else if (holder == MP_MUTEX_ABANDONED) {
        lua_pushliteral(L, "abandoned");
    } else {
        lua_pushliteral(L, "held by ");
        mp_shared_push_process(L, *mp_family_pid(mp_name_member(holder)));
        lua_concat(L, 2);
    }
}

static int lock_tostring(lua_State *L) {
    const mp_handle *h = mp_shared_handle(L, 1);
    if (h != NULL && h->is_closed)
        lua_pushliteral(L, "closed");
    else
        push_state(L, mp_mutex_holder(mp_acquiring_check(L, "tostring")->object));
    return mp_shared_describe(L);
}

static const mp_acquirable acquirable = {.acquire = acquire, .release = release, .leave = leave};

static const luaL_Reg methods[] = {MP_ACQUIRING,
                                   {"is_locked", lock_is_locked},
                                   {"close", mp_shared_drop},
                                   {"pollfd", mp_shared_pollfd},
                                   {"events", mp_shared_events},
                                   {NULL, NULL}};

static const luaL_Reg metamethods[] = {{"__tostring", lock_tostring}, {NULL, NULL}};

static const luaL_Reg functions[] = {{"new_lock", new_lock}, {NULL, NULL}};

void mp_mutex_open(lua_State *L) {
    mp_acquirables[MP_KIND_LOCK] = mp_acquirables[MP_KIND_RLOCK] = &acquirable;
    mp_shared_class(L, mp_shared_names[MP_KIND_LOCK], methods, metamethods);
    mp_shared_class(L, mp_shared_names[MP_KIND_RLOCK], methods, metamethods);
    luaL_setfuncs(L, functions, 0);
}
