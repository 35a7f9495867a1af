/*
** footer.c: the line at the foot of the terminal (engine/footer.h), and what processes have used,
** for luamp.progress.
*/
#include <string.h>
#include <unistd.h>

#include "binding/lib.h"
#include "engine/footer.h"
#include "engine/usage.h"

void mp_lib_make_room(void) {
    mp_footer_hide(0);
}

/* columns(): how many the terminal on standard error has, 0: it does not say; nil: it is none. */
static int columns(lua_State *L) {
    const int n = mp_footer_columns(STDERR_FILENO);
    if (n < 0)
        return 0;
    lua_pushinteger(L, n);
    return 1;
}

/* claim_footer(): whether it is this process's from now on. */
static int claim(lua_State *L) {
    lua_pushboolean(L, mp_footer_claim(STDERR_FILENO) == 0);
    return 1;
}

/* show_footer(line, cells, reflows): whether it was drawn. */
static int show(lua_State *L) {
    size_t len;
    const char *line = luaL_checklstring(L, 1, &len);
    const int rc = mp_footer_show(STDERR_FILENO, line, len, (unsigned)luaL_checkinteger(L, 2),
                                  lua_toboolean(L, 3));
    lua_pushboolean(L, rc == 0);
    return 1;
}

/* hide_footer(): what comes next begins a row. */
static int hide(lua_State *L) {
    (void)L;
    mp_footer_hide(1);
    return 0;
}

/* usage(pid): seconds of CPU time with those of the children, and the most bytes resident; nil: it
 * is not there any more. */
static int usage(lua_State *L) {
    mp_usage u;
    if (mp_usage_of((pid_t)luaL_checkinteger(L, 1), &u) < 0)
        return 0;
    lua_pushnumber(L, (lua_Number)u.cpu / 1e9);
    lua_pushinteger(L, (lua_Integer)u.peak_rss);
    return 2;
}

void mp_footer_open(lua_State *L) {
    static const luaL_Reg functions[] = {{"columns", columns},  {"claim_footer", claim},
                                         {"show_footer", show}, {"hide_footer", hide},
                                         {"usage", usage},      {NULL, NULL}};
    luaL_setfuncs(L, functions, 0);
}
