/*
** link.c: messages to and from other hosts (engine/link.h), for luamp.hosts and luamp.host.
**
** What goes to another host goes to a fresh interpreter: with the globals that its functions use,
** and without what the family shares, which is on this host.
**
** A message is values, and may have a tail: another message, of what a task was given or has come
** to, which is passed on as it is, or decoded here by itself. What is wrong with it is then that
** task's affair. Over the link:
**
**   u64 length of the values' message << 1 | whether the tail is to be decoded
**   the values' message, and the tail, if there is one
**
** A long tail is lent to the link, not copied: until it has gone a list keeps its string.
*/
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "binding/codec.h"
#include "engine/link.h"
#include "engine/proc.h"

static const char LINK[] = "luamp.link";

mp_cluster mp_lib_cluster;

typedef struct link_box {
    mp_link *link;          /* NULL: closed */
    uint64_t lent, n_freed; /* tails; and how many of them are not on the list any more */
} link_box;

/* Shorter tails are copied. */
enum { LEAST_LENT = 64 * 1024 };

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
    link_box *box = lua_newuserdatauv(L, sizeof *box, 1);
    *box = (link_box){.link = NULL};
    luaL_setmetatable(L, LINK);
    lua_newtable(L);
    lua_setiuservalue(L, -2, 1);
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

/* Strings that the link has given back are not kept any more. */
static void let_go(lua_State *L, link_box *box) {
    if (box->n_freed == box->lent)
        return;
    lua_getiuservalue(L, 1, 1);
    for (; box->n_freed < mp_link_given_back(box->link); box->n_freed++) {
        lua_pushnil(L);
        lua_rawseti(L, -2, (lua_Integer)box->n_freed + 1);
    }
    lua_pop(L, 1);
}

/* Keeps the string at that index until it is given back. */
static void keep_string(lua_State *L, link_box *box, int index) {
    lua_getiuservalue(L, 1, 1);
    lua_pushvalue(L, index);
    lua_rawseti(L, -2, (lua_Integer)box->lent + 1);
    lua_pop(L, 1);
}

/* send(link, message, tail, is_decoded): a message, maybe with a tail. False when the other end is
 * gone. */
static int link_send(lua_State *L) {
    mp_link *l = check_link(L);
    link_box *box = check_box(L);
    struct iovec pieces[3];
    pieces[1].iov_base = (char *)luaL_checklstring(L, 2, &pieces[1].iov_len);
    pieces[2].iov_base = (char *)luaL_optlstring(L, 3, "", &pieces[2].iov_len);
    uint64_t head = (uint64_t)pieces[1].iov_len << 1 | (uint64_t)lua_toboolean(L, 4);
    pieces[0] = (struct iovec){&head, sizeof head};
    const int is_lent = pieces[2].iov_len >= LEAST_LENT;
    if (is_lent)
        keep_string(L, box, 3);
    const int rc = mp_link_put(l, pieces, 3, is_lent);
    box->lent += (uint64_t)(is_lent && rc == 0);
    let_go(L, box);
    if (rc == -ENOMEM)
        return luaL_error(L, "not enough memory");
    lua_pushboolean(L, rc == 0);
    return 1;
}

/* flush(link): how many bytes the other side does not take yet; nil when it is gone. */
static int link_flush(lua_State *L) {
    const int64_t left = mp_link_flush(check_link(L));
    let_go(L, check_box(L));
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

/* Pushes the values of a message: true; or false and what is wrong with it, in words or an
 * interruption. */
static int push_values(lua_State *L, const void *bytes, uint64_t len) {
    lua_pushcfunction(L, decode);
    lua_pushlightuserdata(L, (void *)bytes);
    lua_pushinteger(L, (lua_Integer)len);
    return lua_pcall(L, 2, LUA_MULTRET, 0) == LUA_OK;
}

/* Pushes a tail: as a string; or whether it could be decoded, and its values or why not. */
static void push_tail(lua_State *L, const unsigned char *bytes, uint64_t len, int is_decoded) {
    if (!is_decoded) {
        lua_pushlstring(L, (const char *)bytes, len);
        return;
    }
    lua_pushboolean(L, 0);
    const int at = lua_gettop(L), is_sound = push_values(L, bytes, len);
    lua_pushboolean(L, is_sound);
    lua_replace(L, at);
}

/* Pushes the message's values, and its tail, behind true; or nil and what is wrong. */
static void push_message(lua_State *L, const unsigned char *bytes, uint64_t len) {
    uint64_t head = 0;
    if (len >= sizeof head)
        memcpy(&head, bytes, sizeof head);
    const uint64_t n_values = head >> 1, rest = len - sizeof head;
    if (len < sizeof head || n_values > rest) {
        lua_pushnil(L);
        lua_pushliteral(L, "it is damaged");
    } else if (!push_values(L, bytes + sizeof head, n_values)) {
        if (lua_type(L, -1) != LUA_TSTRING)
            lua_error(L); /* an interruption */
        lua_pushnil(L);
        lua_insert(L, -2);
    } else if (n_values < rest) {
        luaL_checkstack(L, 4, NULL);
        push_tail(L, bytes + sizeof head + n_values, rest - n_values, (int)(head & 1));
    }
}

/* decode_message(bytes, length): what push_message pushes. */
static int decode_message(lua_State *L) {
    const unsigned char *bytes = lua_touserdata(L, 1);
    push_message(L, bytes, (uint64_t)lua_tointeger(L, 2));
    return lua_gettop(L) - 2;
}

/*
** take(link): the next message: true and its values, and its tail behind them, as push_tail says;
** true, nil and why, if they cannot be had here; nothing when there is none yet, and false when
** there will be none.
*/
static int link_take(lua_State *L) {
    const unsigned char *bytes;
    size_t len;
    mp_link *l = check_link(L);
    const int rc = mp_link_take(l, &bytes, &len);
    if (rc == -ENOMEM)
        return luaL_error(L, "not enough memory");
    lua_settop(L, 1);
    if (rc == 0)
        return 0;
    lua_pushboolean(L, rc > 0);
    if (rc < 0)
        return 1;
    /* A collection in there may end a pool, which asks this link for its hosts' answers. */
    mp_link_hold hold;
    lua_pushcfunction(L, decode_message);
    lua_pushlightuserdata(L, (void *)bytes);
    lua_pushinteger(L, (lua_Integer)len);
    mp_link_keep(l, &hold);
    const int error = lua_pcall(L, 2, LUA_MULTRET, 0);
    mp_link_release(&hold);
    if (error != LUA_OK)
        return lua_error(L);
    return lua_gettop(L) - 1;
}

static int link_fd(lua_State *L) {
    lua_pushinteger(L, mp_link_fd(check_link(L)));
    return 1;
}

/* is_left(link): whether nobody is at the other end any more. */
static int link_is_left(lua_State *L) {
    lua_pushboolean(L, mp_link_is_left(check_link(L)));
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
    {"new", link_new},   {"message", message},  {"send", link_send},
    {"take", link_take}, {"flush", link_flush}, {"is_left", link_is_left},
    {"fd", link_fd},     {"set", link_set},     {"add", add},
    {"join", link_join}, {"close", link_close}, {"rank", rank},
    {"stream", stream},  {NULL, NULL}};

void mp_link_face_open(lua_State *L) {
    if (luaL_newmetatable(L, LINK)) {
        lua_pushcfunction(L, link_close);
        lua_setfield(L, -2, "__gc");
    }
    lua_pop(L, 1);
    luaL_newlib(L, functions);
    lua_setfield(L, -2, "link");
}
