/*
** condition.c: mp.condition: the engine's conditions (engine/condition.h), with a lock as
** engine/mutex.h has them.
**
** acquire, release, with and hold are those of the lock: its handle, which that of the condition
** keeps, takes its place. A wait is over when the lock is back, whatever ended it: also an error,
** which goes on then, so that a scope that holds the lock finds it held. But who has the lock may
** keep it for ever, and an error, Ctrl-C for example, is not to wait for that: it goes on without
** the lock after PATIENCE, and at once where a second one comes, or the deadlock is reported. The
** lock is there as long as the condition's handle or its own is open; a handler may close both.
*/
#include "engine/condition.h"

#include <errno.h>

#include "binding/acquiring.h"
#include "engine/mutex.h"

static mp_handle *check(lua_State *L, const char *method) {
    return mp_shared_check(L, MP_KIND_CONDITION, "mp.condition", method);
}

/* --- making --------------------------------------------------------------- */

/* new_condition(lock): with that handle. */
static int new_condition(lua_State *L) {
    mp_ref condition, hold;
    const mp_ref lock = mp_acquiring_check(L, "condition")->object;
    mp_handle *h = mp_shared_new(L, MP_KIND_CONDITION);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1);
    int rc = mp_condition_make(lock, &condition, &hold);
    if (mp_shared_makes_room(L, rc))
        rc = mp_condition_make(lock, &condition, &hold);
    if (rc < 0)
        return mp_shared_fail(L, "mp.condition", rc);
    mp_shared_set(L, h, condition, hold);
    return 1;
}

/* is_lock(value): whether it is what a condition can have. */
static int is_lock(lua_State *L) {
    const mp_handle *h = mp_shared_handle(L, 1);
    lua_pushboolean(L, h != NULL && !h->is_closed &&
                           (h->kind == MP_KIND_LOCK || h->kind == MP_KIND_RLOCK));
    return 1;
}

/* --- the lock ------------------------------------------------------------- */

/* Pushes this process's handle of the lock, which the condition's at index 1 keeps. */
static void push_lock(lua_State *L, const char *method) {
    const mp_handle *h = check(L, method);
    mp_shared_push(L, mp_condition_lock(h->object));
    lua_pushvalue(L, -1);
    lua_setiuservalue(L, 1, 1);
}

static int by_lock(lua_State *L, const char *method, lua_CFunction of_lock) {
    push_lock(L, method);
    lua_replace(L, 1);
    return of_lock(L);
}

static int condition_acquire(lua_State *L) {
    return by_lock(L, "acquire", mp_acquiring_acquire);
}

static int condition_release(lua_State *L) {
    return by_lock(L, "release", mp_acquiring_release);
}

static int condition_with(lua_State *L) {
    return by_lock(L, "with", mp_acquiring_with);
}

static int condition_hold(lua_State *L) {
    return by_lock(L, "hold", mp_acquiring_hold);
}

/* The handle at index 1 of a method for which this process must hold the lock. */
static mp_handle *check_held(lua_State *L, const char *method) {
    mp_handle *h = check(L, method);
    if (mp_mutex_holder(mp_condition_lock(h->object)) != mp_name_own())
        mp_lib_raise(L, "mp.condition: %s: this process does not hold its lock", method);
    return h;
}

/* --- waiting -------------------------------------------------------------- */

/* For how long an error that ends a wait waits for the lock. */
#define PATIENCE (MP_SECOND / 3)

/* A wait on its way: at index `error` of the stack is what ends it, if that is an error. */
typedef struct wait {
    const mp_handle *h, *of_lock;
    mp_ref lock;
    int error; /* 0: there is none */
} wait;

/* fail(condition, rc): what the engine says that failed. */
static int fail(lua_State *L) {
    return mp_shared_fail(L, "mp.condition: wait", (int)lua_tointeger(L, 2));
}

/* The error on top ends the wait, also if another one has done so before. */
static void keep_error(lua_State *L, wait *w) {
    if (w->error == 0)
        w->error = lua_gettop(L);
    else
        lua_replace(L, w->error);
}

static void keep_failure(lua_State *L, wait *w, int rc) {
    lua_pushcfunction(L, fail);
    lua_pushvalue(L, 1);
    lua_pushinteger(L, rc);
    if (lua_pcall(L, 2, 0, 0) != LUA_OK)
        keep_error(L, w);
}

/* Sleeps until it was told, or the deadline, or an error. */
static void sleep_until(lua_State *L, wait *w, mp_time deadline) {
    for (int again = 1; again > 0;) {
        const int rc = mp_condition_sleep(w->h->object, w->h->hold, mp_shared_wait(deadline));
        if (rc == 0)
            return;
        if (rc != -EINTR && rc != -ETIMEDOUT) {
            keep_failure(L, w, rc);
            return;
        }
        again = mp_shared_try_on(L, rc, MP_CONDITION_WAIT, deadline);
        if (again < 0)
            keep_error(L, w);
    }
}

/* Has the lock back, of that depth, until then: 1 if it was abandoned; else 0, or the failure. */
static int take_back_until(lua_State *L, wait *w, int depth, mp_time deadline) {
    for (int again = 1; again > 0;) {
        if (w->h->is_closed && w->of_lock->is_closed)
            return -EBADF;
        const mp_time until = deadline == MP_FOREVER ? mp_shared_wait(deadline) : deadline;
        const int rc = mp_mutex_take_back(w->lock, depth, until);
        if (rc != -EINTR && rc != -ETIMEDOUT) {
            if (rc < 0)
                keep_failure(L, w, rc);
            return rc;
        }
        again =
            rc == -ETIMEDOUT && until == deadline ? 0 : mp_shared_try_on(L, rc, MP_AWAIT, deadline);
        if (again < 0)
            keep_error(L, w);
    }
    return -ETIMEDOUT;
}

/* The same, for a wait in which the lock's handle is at index 1. */
static int take_back(lua_State *L, wait *w, int depth) {
    int rc = -ETIMEDOUT;
    if (w->error == 0)
        rc = take_back_until(L, w, depth, MP_FOREVER);
    if (rc == -ETIMEDOUT)
        rc = take_back_until(L, w, depth, mp_sys_now() + PATIENCE);
    return rc;
}

/* What is at index 1 and at that one, each in the other's place. */
static void exchange(lua_State *L, int index) {
    lua_pushvalue(L, 1);
    lua_copy(L, index, 1);
    lua_replace(L, index);
}

/* Waits with the lock given up; is_told: whether it was. 1 if the lock was abandoned, or 0. */
static int wait_once(lua_State *L, const mp_handle *h, mp_time deadline, int *is_told) {
    const int top = lua_gettop(L);
    luaL_checkstack(L, 16, NULL);
    push_lock(L, "wait");
    wait w = {.h = h, .of_lock = lua_touserdata(L, -1), .lock = mp_condition_lock(h->object)};
    mp_condition_join(h->object, h->hold);
    const int depth = mp_mutex_give_up(w.lock);
    sleep_until(L, &w, deadline);
    exchange(L, top + 1);
    const int rc = take_back(L, &w, depth);
    exchange(L, top + 1);
    *is_told = !h->is_closed && mp_condition_leave(h->object, h->hold, w.error == 0);
    lua_settop(L, w.error != 0 ? w.error : top);
    return w.error != 0 ? lua_error(L) : rc;
}

static int push_word(lua_State *L, int n, int is_abandoned) {
    if (!is_abandoned)
        return n;
    lua_pushliteral(L, "abandoned");
    return n + 1;
}

static int push_timeout(lua_State *L, int is_abandoned) {
    lua_pushnil(L);
    lua_pushliteral(L, "timeout");
    return push_word(L, 2, is_abandoned);
}

static const mp_handle *check_wait(lua_State *L, const char *method) {
    const mp_handle *h = check_held(L, method);
    if (mp_condition_waits(h->hold))
        mp_lib_raise(L, "mp.condition: %s: this process waits there already", method);
    return h;
}

/*
** c:wait([timeout]): true, and "abandoned" if the lock's holder ended while it held it meanwhile;
** or nil, "timeout", and that
*/
static int condition_wait(lua_State *L) {
    const mp_handle *h = check_wait(L, "wait");
    const mp_time deadline = mp_shared_deadline(L, 2, "mp.condition: wait");
    int is_told;
    const int is_abandoned = wait_once(L, h, deadline, &is_told);
    if (!is_told)
        return push_timeout(L, is_abandoned);
    lua_pushboolean(L, 1);
    return push_word(L, 1, is_abandoned);
}

/* Pushes what the function at index 2 returns: whether that is true. */
static int asks(lua_State *L) {
    lua_pushvalue(L, 2);
    lua_call(L, 0, 1);
    mp_shared_check_open(L);
    if (lua_toboolean(L, -1))
        return 1;
    lua_pop(L, 1);
    return 0;
}

/* c:wait_for(f, [timeout]): what f returned that is true; or nil, "timeout"; and "abandoned" */
static int condition_wait_for(lua_State *L) {
    const mp_handle *h = check_wait(L, "wait_for");
    if (lua_type(L, 2) != LUA_TFUNCTION && luaL_getmetafield(L, 2, "__call") == LUA_TNIL)
        return mp_lib_raise(L, "mp.condition: wait_for: expected a function, not %s",
                            luaL_typename(L, 2));
    const mp_time deadline = mp_shared_deadline(L, 3, "mp.condition: wait_for");
    int is_abandoned = 0;
    for (int is_told = 1; !asks(L); is_abandoned |= wait_once(L, h, deadline, &is_told)) {
        check_held(L, "wait_for"); /* f has run */
        if (!is_told)
            return push_timeout(L, is_abandoned);
    }
    return push_word(L, 1, is_abandoned);
}

/* c:notify([n = 1]) */
static int condition_notify(lua_State *L) {
    const mp_handle *h = check_held(L, "notify");
    int is_integer = 1;
    const lua_Integer n = lua_isnoneornil(L, 2) ? 1 : lua_tointegerx(L, 2, &is_integer);
    if (!is_integer || lua_type(L, 2) == LUA_TSTRING || n < 0)
        return mp_lib_raise(L,
                            "mp.condition: notify: the number must be an integer from 0 on, not %s",
                            mp_lib_describe(L, 2));
    mp_condition_notify(h->object, (uint64_t)n);
    return 0;
}

/* c:notify_all() */
static int condition_notify_all(lua_State *L) {
    mp_condition_notify(check_held(L, "notify_all")->object, UINT64_MAX);
    return 0;
}

/* --- the end -------------------------------------------------------------- */

/* c:close(): this process's handle; that of the lock stays. */
static int condition_close(lua_State *L) {
    mp_handle *h = mp_shared_handle(L, 1);
    if (h == NULL || h->kind != MP_KIND_CONDITION || !h->is_closed)
        mp_shared_close(check(L, "close"));
    return 0;
}

static int condition_tostring(lua_State *L) {
    const mp_handle *h = luaL_checkudata(L, 1, "mp.condition");
    if (h->is_closed) {
        lua_pushfstring(L, "mp.condition: %p (closed)", (const void *)h);
        return 1;
    }
    push_lock(L, "tostring");
    lua_pushfstring(L, "mp.condition: %p (%I waiting, %s)", (const void *)h,
                    (lua_Integer)mp_condition_waiting(h->object), luaL_tolstring(L, -1, NULL));
    return 1;
}

static const luaL_Reg methods[] = {
    {"acquire", condition_acquire}, {"release", condition_release},
    {"with", condition_with},       {"hold", condition_hold},
    {"wait", condition_wait},       {"wait_for", condition_wait_for},
    {"notify", condition_notify},   {"notify_all", condition_notify_all},
    {"close", condition_close},     {NULL, NULL}};

static const luaL_Reg metamethods[] = {{"__tostring", condition_tostring}, {NULL, NULL}};

static const luaL_Reg functions[] = {
    {"new_condition", new_condition}, {"is_lock", is_lock}, {NULL, NULL}};

void mp_condition_open(lua_State *L) {
    mp_shared_class(L, "mp.condition", methods, metamethods);
    luaL_setfuncs(L, functions, 0);
}
