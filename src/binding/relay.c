/*
** relay.c: what workers write (engine/relay.h), for luamp.relay.
*/
#include "binding/lib.h"
#include "engine/output.h"
#include "engine/relay.h"

/* open(): the descriptor of a new file. */
static int open_file(lua_State *L) {
    const int fd = mp_relay_open();
    if (fd < 0)
        return mp_lib_result(L, fd, "a file for output");
    lua_pushinteger(L, fd);
    return 1;
}

static int size(lua_State *L) {
    lua_pushinteger(L, mp_relay_size((int)luaL_checkinteger(L, 1)));
    return 1;
}

static int memory(lua_State *L) {
    lua_pushinteger(L, mp_relay_memory((int)luaL_checkinteger(L, 1)));
    return 1;
}

/* end_of_lines(descriptor, from, to): where the last line ends of those that end in between; `from`
 * if none does, or that cannot be read. */
static int end_of_lines(lua_State *L) {
    const int64_t from = luaL_checkinteger(L, 2);
    const int64_t end =
        mp_relay_end_of_lines((int)luaL_checkinteger(L, 1), from, luaL_checkinteger(L, 3));
    lua_pushinteger(L, end < from ? from : end);
    return 1;
}

/* free(descriptor, from, to) */
static int free_part(lua_State *L) {
    mp_relay_free((int)luaL_checkinteger(L, 1), luaL_checkinteger(L, 2), luaL_checkinteger(L, 3));
    return 0;
}

/*
** give(descriptor, from, to, stream, how, [tag, [known]]): to descriptor 1 or 2, after what this
** process has written itself: how far it went; nil, message and the error's name.
*/
static int give(lua_State *L) {
    static const char *const hows[] = {"bytes", "lines", "end", NULL};
    mp_relay_part part = {.source = (int)luaL_checkinteger(L, 1),
                          .from = luaL_checkinteger(L, 2),
                          .to = luaL_checkinteger(L, 3),
                          .how = (enum mp_relay_how)luaL_checkoption(L, 5, NULL, hows)};
    part.tag = luaL_optlstring(L, 6, NULL, &part.tag_len);
    part.known = luaL_optinteger(L, 7, part.from);
    const int to = (int)luaL_checkinteger(L, 4);
    int64_t reached;
    mp_output_flush(stdout);
    const int rc = mp_relay_give(&part, to, &reached);
    if (rc < 0)
        return mp_lib_result(L, rc, to == 1 ? "stdout" : "stderr");
    lua_pushinteger(L, reached);
    return 1;
}

void mp_relay_face_open(lua_State *L) {
    static const luaL_Reg functions[] = {
        {"open", open_file}, {"size", size}, {"memory", memory}, {"end_of_lines", end_of_lines},
        {"free", free_part}, {"give", give}, {NULL, NULL}};
    luaL_newlib(L, functions);
    lua_setfield(L, -2, "relay");
}
