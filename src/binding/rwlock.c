/*
** rwlock.c: the sides of mp.rwlock: the engine's (engine/rwlock.h), acquired as acquiring.c says.
*/
#include "engine/rwlock.h"

#include "binding/acquiring.h"

static const enum mp_kind kinds[] = {
    [MP_RWLOCK_READ] = MP_KIND_READ_SIDE, [MP_RWLOCK_WRITE] = MP_KIND_WRITE_SIDE};

/* new_rwlock(): the side to read and the side to write */
static int new_rwlock(lua_State *L) {
    mp_ref sides[MP_RWLOCK_SIDES], holds[MP_RWLOCK_SIDES];
    mp_handle *h[MP_RWLOCK_SIDES];
    for (int i = MP_RWLOCK_READ; i < MP_RWLOCK_SIDES; i++)
        h[i] = mp_shared_new(L, kinds[i]);
    int rc = mp_rwlock_make(sides, holds);
    if (mp_shared_makes_room(L, rc))
        rc = mp_rwlock_make(sides, holds);
    if (rc < 0)
        return mp_shared_fail(L, "mp.rwlock", rc);
    for (int i = MP_RWLOCK_READ; i < MP_RWLOCK_SIDES; i++)
        mp_shared_own(h[i], sides[i], holds[i]); /* first: what follows may raise */
    for (int i = MP_RWLOCK_READ; i < MP_RWLOCK_SIDES; i++) {
        lua_pushvalue(L, i - MP_RWLOCK_SIDES);
        mp_shared_set(L, h[i], sides[i], holds[i]);
        lua_pop(L, 1);
    }
    return MP_RWLOCK_SIDES;
}

static int acquire(const mp_handle *h, mp_time deadline) {
    return mp_rwlock_acquire(h->object, h->hold, deadline);
}

static int release(const mp_handle *h) {
    return mp_rwlock_release(h->object, h->hold);
}

static int leave(const mp_handle *h) {
    return mp_rwlock_leave(h->object, h->hold);
}

static void stand(const mp_handle *h) {
    mp_rwlock_stand(h->object, h->hold);
}

static void give_up(const mp_handle *h) {
    mp_rwlock_give_up(h->object, h->hold);
}

/* side:is_locked(): whether a living process has it. */
static int side_is_locked(lua_State *L) {
    const mp_ref side = mp_acquiring_check(L, "is_locked")->object;
    mp_arena_look();
    lua_pushboolean(L, mp_rwlock_shares(side) != 0);
    return 1;
}

/* side:close(): this process's handle; what it has of that side is given back as at its end. */
static int side_close(lua_State *L) {
    mp_handle *h = mp_shared_handle(L, 1);
    if (h == NULL || !h->is_closed)
        mp_shared_close(mp_acquiring_check(L, "close"));
    return 0;
}

/* Pushes who writes, or how many read. */
static void push_state(lua_State *L, mp_ref side) {
    mp_arena_look(); /* first: what a dead one has is nobody's */
    const mp_name writer = mp_rwlock_writer(side);
    const uint64_t shares = mp_rwlock_shares(side);
    if (mp_arena_is(side, MP_KIND_READ_SIDE)) {
        lua_pushfstring(L, shares == 0 ? "free" : "%I held", (lua_Integer)shares);
    } else if (writer == 0) {
        lua_pushliteral(L, "free");
    } else {
        lua_pushliteral(L, "held by ");
        mp_shared_push_process(L, *mp_family_pid(mp_name_member(writer)));
        lua_concat(L, 2);
    }
    if (mp_rwlock_waiting(side) != 0) {
        lua_pushfstring(L, ", %I waiting", (lua_Integer)mp_rwlock_waiting(side));
        lua_concat(L, 2);
    }
}

static int side_tostring(lua_State *L) {
    const mp_handle *h = mp_shared_handle(L, 1);
    if (h != NULL && h->is_closed)
        lua_pushliteral(L, "closed");
    else
        push_state(L, mp_acquiring_check(L, "tostring")->object);
    return mp_shared_describe(L);
}

static const mp_acquirable acquirable = {
    .acquire = acquire, .release = release, .leave = leave, .stand = stand, .give_up = give_up};

static const luaL_Reg methods[] = {MP_ACQUIRING,
                                   {"is_locked", side_is_locked},
                                   {"close", side_close},
                                   {"pollfd", mp_shared_pollfd},
                                   {"events", mp_shared_events},
                                   {NULL, NULL}};

static const luaL_Reg metamethods[] = {{"__tostring", side_tostring}, {NULL, NULL}};

static const luaL_Reg functions[] = {{"new_rwlock", new_rwlock}, {NULL, NULL}};

void mp_rwlock_open(lua_State *L) {
    for (int i = MP_RWLOCK_READ; i < MP_RWLOCK_SIDES; i++) {
        mp_acquirables[kinds[i]] = &acquirable;
        mp_shared_class(L, mp_shared_names[kinds[i]], methods, metamethods);
    }
    luaL_setfuncs(L, functions, 0);
}
