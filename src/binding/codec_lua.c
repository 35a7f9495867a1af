/*
** codec_lua.c: the codec's Lua functions.
*/
#include <stdlib.h>

#include "binding/codec.h"
#include "binding/encoder.h"
#include "engine/frame.h"

/*
** It is joined in memory of the encoder, not in a buffer of Lua's, because making
** that could collect: a finalizer may encode in its turn, and a long string that only
** a weak table holds may go.
*/
static void push_joined(lua_State *L, const mp_message *message) {
    mp_encoder *e = mp_encoder_push(L);
    free(e->flat);
    char *to = e->flat = malloc(message->len);
    if (to == NULL)
        mp_raise_memory(L);
    for (int i = 0; i < message->n_pieces; i++) {
        memcpy(to, message->pieces[i].iov_base, message->pieces[i].iov_len);
        to += message->pieces[i].iov_len;
    }
    lua_pushlstring(L, e->flat, message->len);
    free(e->flat);
    e->flat = NULL;
}

void mp_codec_push(lua_State *L, const mp_message *message) {
    if (message->n_pieces == 1)
        lua_pushlstring(L, message->pieces[0].iov_base, message->len);
    else
        push_joined(L, message);
}

/* encode(...): the message as a string; or nil and the value that cannot be sent. */
static int codec_encode(lua_State *L) {
    mp_message message;
    if (!mp_codec_encode(L, 1, lua_gettop(L), &message)) {
        lua_pushnil(L);
        lua_insert(L, -2);
        return 2;
    }
    mp_codec_push(L, &message);
    return 1;
}

/* frame(message): the message in a frame, for those who cannot know that it is ours. */
static int codec_frame(lua_State *L) {
    size_t len;
    const char *bytes = luaL_checklstring(L, 1, &len);
    const struct iovec payload = {(char *)bytes, len};
    const mp_frame_head head = mp_frame_make(&payload, 1);
    lua_pushlstring(L, (const char *)&head, sizeof head);
    lua_pushvalue(L, 1);
    lua_concat(L, 2);
    return 1;
}

/* decode(bytes, is_ours): the values of a message, or of a frame with one; raises when it is
 * none. Only what was encoded in this family may be called ours. */
static int codec_decode(lua_State *L) {
    size_t len;
    const char *bytes = luaL_checklstring(L, 1, &len);
    int n = mp_codec_decode(L, bytes, len, lua_toboolean(L, 2));
    if (n >= 0)
        return n;
    lua_pushliteral(L, "not a luamp message");
    return lua_error(L);
}

/* can_send_fresh(value): whether a receiver with a fresh interpreter could have it. */
static int can_send_fresh(lua_State *L) {
    mp_message message;
    luaL_checkany(L, 1);
    lua_settop(L, 1);
    lua_pushboolean(L, mp_codec_encode_fresh(L, 1, 1, &message));
    return 1;
}

void mp_codec_open(lua_State *L) {
    static const luaL_Reg functions[] = {{"encode", codec_encode},
                                         {"frame", codec_frame},
                                         {"decode", codec_decode},
                                         {"can_send_fresh", can_send_fresh},
                                         {"hook_of", mp_hook_of},
                                         {"refused_hooks", mp_refused_hooks},
                                         {"globals_of", mp_globals_of},
                                         {"names_used", mp_names_used},
                                         {NULL, NULL}};
    luaL_setfuncs(L, functions, 0);
}
