/*
** bake.c: at build time, Lua modules into a C file.
**
**   luamp_baker bytecode|source OUTPUT name=file...
**
** Bytecode loads about ten times faster than source, but only into the very
** Lua that made it; see CMakeLists.txt for who gets which. Debug information
** stays in: errors name their line, and misuse is told apart from the
** library's own frames by the chunk name "=luamp:NAME".
*/
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lua.h"
#include "lauxlib.h"

static FILE *out;

static void fail(const char *what, const char *why) {
    fprintf(stderr, "luamp_baker: %s: %s\n", what, why);
    exit(EXIT_FAILURE);
}

static int put_bytes(lua_State *L, const void *data, size_t len, void *unused) {
    (void)L;
    (void)unused;
    for (size_t i = 0; i < len; i++)
        fprintf(out, "%u,", ((const unsigned char *)data)[i]);
    return 0;
}

static void bake(lua_State *L, int number, const char *name, const char *file, int as_source) {
    lua_pushfstring(L, "=luamp:%s", name);
    FILE *in = fopen(file, "rb");
    if (in == NULL)
        fail(file, "cannot be read");
    luaL_Buffer text;
    luaL_buffinit(L, &text);
    for (int c; (c = getc(in)) != EOF;)
        luaL_addchar(&text, (char)c);
    fclose(in);
    luaL_pushresult(&text);
    size_t len;
    const char *source = lua_tolstring(L, -1, &len);
    if (luaL_loadbufferx(L, source, len, lua_tostring(L, -2), "t") != LUA_OK)
        fail(file, lua_tostring(L, -1));
    fprintf(out, "static const unsigned char baked_%d[] = {", number);
    if (as_source)
        put_bytes(L, source, len, NULL);
    else
        lua_dump(L, put_bytes, NULL, 0);
    fprintf(out, "};\n");
    lua_settop(L, 0);
}

int main(int argc, char **argv) {
    lua_State *L = luaL_newstate();
    if (argc < 4 || L == NULL)
        fail("usage", "luamp_baker bytecode|source OUTPUT name=file...");
    out = fopen(argv[2], "wb");
    if (out == NULL)
        fail(argv[2], "cannot be written");
    fprintf(out, "#include \"binding/lib.h\"\n");
    for (int i = 3; i < argc; i++) {
        char *eq = strchr(argv[i], '=');
        if (eq == NULL)
            fail(argv[i], "not of the form name=file");
        *eq = '\0';
        bake(L, i, argv[i], eq + 1, strcmp(argv[1], "source") == 0);
    }
    fprintf(out, "const mp_baked mp_baked_modules[] = {\n");
    for (int i = 3; i < argc; i++)
        fprintf(out, "    {\"%s\", baked_%d, sizeof(baked_%d)},\n", argv[i], i, i);
    fprintf(out, "    {NULL, NULL, 0}};\n");
    lua_close(L);
    return fclose(out) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
