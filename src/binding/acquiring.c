/*
** acquiring.c: acquire, release, with and hold, for all that has them.
**
** What is held for a scope stands in a userdata that the scope closes: it is made before the
** object is acquired, so that nothing can fail between that and the scope. A coroutine that yields
** in the scope holds on, as its process does; who closes or drops it ends the scope.
*/
#include "binding/acquiring.h"

#include <errno.h>

#include "engine/proc.h"

#define HELD "luamp.held"

const mp_acquirable *mp_acquirables[MP_KINDS];

typedef struct held {
    pid_t owner;   /* who has acquired it; 0: it was not, or is released */
    int is_untold; /* it was abandoned before, and the script does not know */
} held;

mp_handle *mp_acquiring_check(lua_State *L, const char *method) {
    const mp_handle *h = mp_shared_handle(L, 1);
    const enum mp_kind kind =
        h == NULL || mp_acquirables[h->kind] == NULL ? MP_KIND_LOCK : (enum mp_kind)h->kind;
    return mp_shared_check(L, kind, mp_shared_names[kind], method);
}

int mp_acquiring_fail(lua_State *L, const mp_handle *h, const char *method, int rc) {
    const char *where = lua_pushfstring(L, "%s: %s", mp_shared_names[h->kind], method);
    if (rc == -EALREADY)
        lua_pushfstring(L, "%s: this process holds it, and would wait for itself", where);
    else if (rc == -EBUSY)
        lua_pushfstring(L, "%s: this process reads, and would wait for itself", where);
    else if (rc == -EPERM)
        lua_pushfstring(L, "%s: this process does not hold it", where);
    else if (rc == -EOVERFLOW)
        lua_pushfstring(L, "%s: it would have more units than it %s", where,
                        h->kind == MP_KIND_BOUNDED ? "began with" : "can have");
    else
        return mp_shared_fail(L, where, rc);
    return mp_lib_misuse(L);
}

/* Whether to try again, as mp_shared_goes_on says, in line meanwhile where there is one. */
static int goes_on(lua_State *L, const mp_handle *h, int rc, mp_time deadline) {
    const mp_acquirable *how = mp_acquirables[h->kind];
    if (how->stand == NULL || rc != -ETIMEDOUT || mp_shared_wait(deadline) == deadline)
        return mp_shared_goes_on(L, rc, MP_AWAIT, deadline);
    how->stand(h);
    const int again = mp_shared_try_on(L, rc, MP_AWAIT, deadline);
    if (again <= 0 && !h->is_closed)
        how->give_up(h);
    return again >= 0 ? again : lua_error(L);
}

/* Acquires the object at index 1, also after signals and waits in Lua: 0, 1 or -ETIMEDOUT. */
static int acquire(lua_State *L, const mp_handle *h, mp_time deadline, const char *method) {
    int rc;
    do
        rc = mp_acquirables[h->kind]->acquire(h, mp_shared_wait(deadline));
    while (rc < 0 && goes_on(L, h, rc, deadline));
    if (rc < 0 && rc != -ETIMEDOUT)
        mp_acquiring_fail(L, h, method, rc);
    return rc;
}

/* The deadline of a timeout at index 2. */
static mp_time deadline_of(lua_State *L, const mp_handle *h, const char *method) {
    if (lua_isnoneornil(L, 2))
        return MP_FOREVER;
    return mp_shared_deadline(L, 2, lua_pushfstring(L, "%s: %s", mp_shared_names[h->kind], method));
}

static int push_timeout(lua_State *L) {
    lua_pushnil(L);
    lua_pushliteral(L, "timeout");
    return 2;
}

/* Adds to what is on top, the one result, that it was abandoned. */
static int push_word(lua_State *L, int rc) {
    if (rc == 0)
        return 1;
    lua_pushliteral(L, "abandoned");
    return 2;
}

int mp_acquiring_acquire(lua_State *L) {
    const mp_handle *h = mp_acquiring_check(L, "acquire");
    const int rc = acquire(L, h, deadline_of(L, h, "acquire"), "acquire");
    if (rc < 0)
        return push_timeout(L);
    lua_pushboolean(L, 1);
    return push_word(L, rc);
}

int mp_acquiring_release(lua_State *L) {
    const mp_handle *h = mp_acquiring_check(L, "release");
    const int rc = mp_acquirables[h->kind]->release(h);
    return rc < 0 ? mp_acquiring_fail(L, h, "release", rc) : 0;
}

/* --- scopes --------------------------------------------------------------- */

/* What will be held of the object at index 1, on top. */
static held *new_held(lua_State *L) {
    held *it = lua_newuserdatauv(L, sizeof *it, 1);
    *it = (held){.owner = 0};
    luaL_setmetatable(L, HELD);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1);
    return it;
}

/* Releases what is held: 0, or what is wrong. */
static int end_hold(lua_State *L, held *it, const mp_handle **h) {
    if (it->owner != mp_proc_self())
        return 0; /* nor may a forked child end what its parent holds */
    it->owner = 0;
    lua_getiuservalue(L, 1, 1);
    *h = mp_shared_handle(L, -1);
    const mp_acquirable *kind = mp_acquirables[(*h)->kind];
    if ((*h)->is_closed)
        return -EBADF;
    return it->is_untold && kind->leave != NULL ? kind->leave(*h) : kind->release(*h);
}

/* At the end of a scope, which an error may have ended: that goes on then. */
static int held_close(lua_State *L) {
    held *it = luaL_checkudata(L, 1, HELD);
    const int is_error = !lua_isnoneornil(L, 2);
    const mp_handle *h = NULL;
    const int rc = end_hold(L, it, &h);
    if (rc == 0 || is_error)
        return 0;
    if (rc != -EBADF)
        return mp_acquiring_fail(L, h, "release", rc);
    lua_pushfstring(L, "%s: release: it is closed in this process", mp_shared_names[h->kind]);
    return mp_lib_misuse(L);
}

/* What no scope has closed goes when it is collected. */
static int held_gc(lua_State *L) {
    const mp_handle *h;
    end_hold(L, luaL_checkudata(L, 1, HELD), &h);
    return 0;
}

int mp_acquiring_hold(lua_State *L) {
    const mp_handle *h = mp_acquiring_check(L, "hold");
    const mp_time deadline = deadline_of(L, h, "hold");
    held *it = new_held(L);
    const int rc = acquire(L, h, deadline, "hold");
    if (rc < 0)
        return push_timeout(L);
    it->owner = mp_proc_self();
    return push_word(L, rc);
}

/* The stack of `with`: what f returns follows. */
enum { HELD_AT = 2 };

static int return_results(lua_State *L, int status, lua_KContext context) {
    (void)status;
    (void)context;
    return lua_gettop(L) - HELD_AT;
}

int mp_acquiring_with(lua_State *L) {
    const mp_handle *h = mp_acquiring_check(L, "with");
    if (lua_type(L, 2) != LUA_TFUNCTION && luaL_getmetafield(L, 2, "__call") == LUA_TNIL)
        return mp_lib_raise(L, "%s: with: expected a function, not %s", mp_shared_names[h->kind],
                            luaL_typename(L, 2));
    const int n_args = lua_gettop(L) - HELD_AT;
    held *it = new_held(L);
    lua_insert(L, HELD_AT);
    lua_toclose(L, HELD_AT);
    it->is_untold = acquire(L, h, MP_FOREVER, "with");
    it->owner = mp_proc_self();
    lua_callk(L, n_args, LUA_MULTRET, 0, return_results);
    return return_results(L, LUA_OK, 0);
}

void mp_acquiring_open(lua_State *L) {
    static const luaL_Reg metamethods[] = {
        {"__close", held_close}, {"__gc", held_gc}, {NULL, NULL}};
    luaL_newmetatable(L, HELD);
    luaL_setfuncs(L, metamethods, 0);
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
}
