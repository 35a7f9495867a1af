/*
** link.c: messages to and from other hosts (engine/link.h), for luamp.hosts and luamp.host.
**
** What goes to another host goes to a fresh interpreter: with the globals that its functions use,
** and without what the family shares, which is on this host.
*/
#include <errno.h>
#include <unistd.h>

#include "binding/codec.h"
#include "engine/link.h"
#include "engine/proc.h"

static const char LINK[] = "luamp.link";

mp_cluster mp_lib_cluster;

typedef struct link_box {
    mp_link *link; /* NULL: closed */
} link_box;

static link_box *check_box(lua_State *L) {
    return luaL_checkudata(L, 1, LINK);
}

static mp_link *check_link(lua_State *L) {
    link_box *box = check_box(L);
    luaL_argcheck(L, box->link != NULL, 1, "an open link expected");
    return box->link;
}

static int link_close(lua_State *L) {
    link_box *box = check_box(L);
    if (box->link != NULL)
        mp_link_free(box->link);
    box->link = NULL;
    return 0;
}

/* new(descriptor): a link over a connected stream socket, which it takes over. */
static int link_new(lua_State *L) {
    const int fd = (int)luaL_checkinteger(L, 1);
    link_box *box = lua_newuserdatauv(L, sizeof *box, 0);
    box->link = NULL;
    luaL_setmetatable(L, LINK);
    box->link = mp_link_new(fd);
    return box->link != NULL ? 1 : luaL_error(L, "not enough memory");
}

/*
** message(...): the values as a string for another host; nil and the value that cannot be sent;
** or false: an object that this host's processes share is among them.
*/
static int message(lua_State *L) {
    mp_message m;
    if (!mp_codec_encode_fresh(L, 1, lua_gettop(L), &m)) {
        lua_pushnil(L);
        lua_insert(L, -2);
        return 2;
    }
    if (m.n_objects > 0)
        lua_pushboolean(L, 0);
    else
        mp_codec_push(L, &m);
    return 1;
}

/* send(link, message...): as one message each. False when the other end is gone. */
static int link_send(lua_State *L) {
    mp_link *l = check_link(L);
    int rc = 0;
    for (int i = 2; i <= lua_gettop(L) && rc == 0; i++) {
        struct iovec piece;
        piece.iov_base = (char *)luaL_checklstring(L, i, &piece.iov_len);
        rc = mp_link_put(l, &piece, 1);
    }
    if (rc == -ENOMEM)
        return luaL_error(L, "not enough memory");
    lua_pushboolean(L, rc == 0);
    return 1;
}

/* flush(link): how many bytes the other side does not take yet; nil when it is gone. */
static int link_flush(lua_State *L) {
    const int64_t left = mp_link_flush(check_link(L));
    if (left < 0)
        luaL_pushfail(L);
    else
        lua_pushinteger(L, left);
    return 1;
}

/* decode(bytes, length) */
static int decode(lua_State *L) {
    const char *bytes = lua_touserdata(L, 1);
    const int n = mp_codec_decode(L, bytes, (size_t)lua_tointeger(L, 2), 1);
    return n < 0 ? luaL_error(L, "it is damaged") : n;
}

/*
** take(link): the next message: true and its values; true, nil and why, if they cannot be had here;
** nothing when there is none yet, and false when there will be none.
*/
static int link_take(lua_State *L) {
    const unsigned char *bytes;
    size_t len;
    const int rc = mp_link_take(check_link(L), &bytes, &len);
    if (rc == -ENOMEM)
        return luaL_error(L, "not enough memory");
    lua_settop(L, 1);
    if (rc == 0)
        return 0;
    lua_pushboolean(L, rc > 0);
    if (rc < 0)
        return 1;
    lua_pushcfunction(L, decode);
    lua_pushlightuserdata(L, (void *)bytes);
    lua_pushinteger(L, (lua_Integer)len);
    if (lua_pcall(L, 2, LUA_MULTRET, 0) != LUA_OK) {
        if (lua_type(L, -1) != LUA_TSTRING)
            return lua_error(L); /* an interruption */
        lua_pushnil(L);
        lua_insert(L, -2);
    }
    return lua_gettop(L) - 1;
}

static int link_fd(lua_State *L) {
    lua_pushinteger(L, mp_link_fd(check_link(L)));
    return 1;
}

/* set(): a descriptor for several links. */
static int link_set(lua_State *L) {
    const int fd = mp_link_set();
    if (fd < 0)
        return mp_lib_result(L, fd, "a descriptor for links");
    lua_pushinteger(L, fd);
    return 1;
}

/* join(link, set) */
static int link_join(lua_State *L) {
    return mp_lib_result(L, mp_link_join(check_link(L), (int)luaL_checkinteger(L, 2)), "a link");
}

/* add(set, descriptor): one that is no link's, so that the set is readable when that is. */
static int add(lua_State *L) {
    return mp_lib_result(L, mp_link_add((int)luaL_checkinteger(L, 1), (int)luaL_checkinteger(L, 2)),
                         "a descriptor");
}

/* rank(): which one this is, and of how many; nothing where there are none. */
static int rank(lua_State *L) {
    if (mp_lib_cluster.size == 0 || mp_lib_cluster.pid != mp_proc_self())
        return 0;
    lua_pushinteger(L, mp_lib_cluster.rank);
    lua_pushinteger(L, mp_lib_cluster.size);
    return 2;
}

/* stream(rank): the descriptor of the stream to that rank, once. */
static int stream(lua_State *L) {
    const lua_Integer of = luaL_checkinteger(L, 1);
    luaL_argcheck(L, of >= 0 && of < mp_lib_cluster.size && mp_lib_cluster.fds[of] >= 0, 1,
                  "a rank expected");
    lua_pushinteger(L, mp_lib_cluster.fds[of]);
    mp_lib_cluster.fds[of] = -1;
    return 1;
}

static const luaL_Reg functions[] = {
    {"new", link_new},     {"message", message},  {"send", link_send}, {"take", link_take},
    {"flush", link_flush}, {"fd", link_fd},       {"set", link_set},   {"add", add},
    {"join", link_join},   {"close", link_close}, {"rank", rank},      {"stream", stream},
    {NULL, NULL}};

void mp_link_face_open(lua_State *L) {
    if (luaL_newmetatable(L, LINK)) {
        lua_pushcfunction(L, link_close);
        lua_setfield(L, -2, "__gc");
    }
    lua_pop(L, 1);
    luaL_newlib(L, functions);
    lua_setfield(L, -2, "link");
}
