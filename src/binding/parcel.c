/*
** parcel.c: values that were encoded to be sent later, or more than once, as they were then.
**
** A parcel is the message, a string. One with objects is a userdata that has the message, and its
** own holds on these: whoever had them may let them go meanwhile.
*/
#include <errno.h>
#include <stdlib.h>

#include "binding/codec.h"
#include "binding/shared.h"
#include "engine/proc.h"

static const char PARCEL[] = "luamp.parcel";

typedef struct parcel {
    mp_ref *objects, *holds; /* n of them */
    size_t n;
    pid_t pid; /* whose holds they are */
} parcel;

static int parcel_gc(lua_State *L) {
    parcel *p = luaL_checkudata(L, 1, PARCEL);
    for (size_t i = 0; i < p->n && p->pid == mp_proc_self(); i++)
        mp_arena_drop(mp_arena_holds(), p->holds[i]);
    free(p->objects);
    free(p->holds);
    *p = (parcel){.n = 0};
    return 0;
}

static parcel *new_parcel(lua_State *L) {
    parcel *p = lua_newuserdatauv(L, sizeof *p, 1);
    *p = (parcel){.pid = mp_proc_self()};
    if (luaL_newmetatable(L, PARCEL)) {
        lua_pushcfunction(L, parcel_gc);
        lua_setfield(L, -2, "__gc");
    }
    lua_setmetatable(L, -2);
    return p;
}

/* Holds n objects more, and calls nothing of Lua's: 0, or as mp_arena_alloc. */
static int hold(parcel *p, const mp_ref *objects, size_t n) {
    if (n == 0)
        return 0;
    p->objects = calloc(n, sizeof *p->objects);
    p->holds = calloc(n, sizeof *p->holds);
    int rc = p->objects == NULL || p->holds == NULL ? -ENOMEM : 0;
    for (; rc == 0 && p->n < n; p->n += rc == 0) {
        p->objects[p->n] = objects[p->n];
        rc = mp_arena_hold(mp_arena_holds(), objects[p->n], &p->holds[p->n]);
        if (rc == 0) /* no handle is to take it over */
            ((mp_hold *)mp_arena_bytes(p->holds[p->n]))->is_claimed = MP_KEPT;
    }
    return rc;
}

/* The objects on that list of holds, in memory of the parcel's. */
static int hold_list(parcel *p, const mp_list *list) {
    size_t n = 0;
    for (mp_ref at = mp_arena_first(list); at != 0; at = mp_arena_next(at))
        n++;
    mp_ref *objects = n == 0 ? NULL : calloc(n, sizeof *objects);
    if (objects == NULL)
        return n == 0 ? 0 : -ENOMEM;
    n = 0;
    for (mp_ref at = mp_arena_first(list); at != 0; at = mp_arena_next(at))
        objects[n++] = ((const mp_hold *)mp_arena_bytes(at))->object;
    const int rc = hold(p, objects, n);
    free(objects);
    return rc;
}

void mp_parcel_copy(lua_State *L, const char *bytes, size_t len, const mp_list *holds) {
    if (holds == NULL || mp_arena_first(holds) == 0) {
        lua_pushlstring(L, bytes, len);
        return;
    }
    parcel *p = new_parcel(L);
    const int rc = hold_list(p, holds);
    if (rc < 0)
        mp_shared_fail(L, "mp.pool", rc);
    lua_pushlstring(L, bytes, len);
    lua_setiuservalue(L, -2, 1);
}

void mp_parcel_message(lua_State *L, int index, struct iovec *piece, mp_message *m) {
    *m = (mp_message){.pieces = piece, .n_pieces = 1};
    if (lua_type(L, index) == LUA_TSTRING) {
        lua_pushvalue(L, index);
    } else {
        const parcel *p = luaL_checkudata(L, index, PARCEL);
        m->objects = p->objects;
        m->n_objects = p->n;
        lua_getiuservalue(L, index, 1);
    }
    piece->iov_base = (char *)luaL_checklstring(L, -1, &piece->iov_len);
    m->len = piece->iov_len;
    lua_pop(L, 1); /* the parcel has it */
}

/* Pushes the parcel that is kept to be filled in, which nobody else has then; or a new one. */
static parcel *take_spare(lua_State *L) {
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_pushnil(L);
    lua_replace(L, lua_upvalueindex(1));
    if (!lua_isnil(L, -1))
        return lua_touserdata(L, -1);
    lua_pop(L, 1);
    return new_parcel(L);
}

/*
** pack(...): a parcel of those values; or nil and the one that cannot be sent. What is to have the
** holds is there before the objects are known: who makes it then may lose the message.
*/
static int pack(lua_State *L) {
    const int n = lua_gettop(L), at = n + 1;
    mp_message m;
    parcel *p = take_spare(L);
    if (!mp_codec_encode(L, 1, n, &m)) { /* which may leave something on the stack */
        lua_pushnil(L);
        lua_insert(L, -2);
        return 2;
    }
    const int rc = hold(p, m.objects, m.n_objects);
    if (rc < 0)
        return mp_shared_fail(L, "mp.pool", rc);
    mp_codec_push(L, &m);
    if (p->n == 0) {
        lua_pushvalue(L, at);
        lua_replace(L, lua_upvalueindex(1));
    } else {
        lua_setiuservalue(L, at, 1);
        lua_settop(L, at);
    }
    return 1;
}

/* unpack(parcel): the values, as who gets it has them. */
static int unpack(lua_State *L) {
    struct iovec piece;
    mp_message m;
    mp_parcel_message(L, 1, &piece, &m);
    const int n = mp_codec_decode(L, piece.iov_base, piece.iov_len, 1);
    return n < 0 ? luaL_error(L, "it is damaged") : n;
}

void mp_parcel_open(lua_State *L) {
    lua_pushnil(L);
    lua_pushcclosure(L, pack, 1);
    lua_setfield(L, -2, "pack");
    lua_pushcfunction(L, unpack);
    lua_setfield(L, -2, "unpack");
}
