/*
** luamp.h: the memory of luamp's values, arrays and buffers, for C modules of Lua.
**
** A module includes this file and needs nothing else of luamp, neither to be compiled nor to be
** linked. It works in the program luamp and in a stock lua5.4 with the module:
**
**   #include <luamp.h>
**
**   static int total(lua_State *L) {
**       luamp_memory m;
**       luamp_checkmemory(L, 1, &m);
**       luaL_argcheck(L, m.type == LUAMP_DOUBLE, 1, "an array of double expected");
**       ...
**
** Where it is. `pointer` is valid in this process, and in those that it forks from then on, as long
** as the object is on the stack or anchored elsewhere, and not closed (obj:close(), a <close>
** variable). In another process, to which the object travels, it is another one. The memory itself
** stays as long as any process has the object.
**
** Others use it, too. There is no lock. An element is aligned to its size, the first one to 64
** bytes (of a named buffer: to a page): use atomic operations (__atomic_load_n, __atomic_fetch_add)
** where another process may write. luamp's own do it so, in sequentially consistent order for those
** of one element.
**
** The memory of a *named* buffer is a file in /dev/shm. If a program shortens it, what touches the
** memory behind its end is killed by SIGBUS. luamp itself reads and writes such a file by system
** calls, which fail instead.
**
** Versions. LUAMP_HEADER_VERSION is that of this file. A later luamp knows all earlier versions; to
** an older one that does not know this version, the functions say that it is no such object.
*/
#ifndef LUAMP_H
#define LUAMP_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
#include "lua.hpp"
#else
#include "lua.h"

#include "lauxlib.h"
#endif

#define LUAMP_HEADER_VERSION 1

/* What the elements are. Of a buffer: LUAMP_UINT8. */
enum luamp_type {
    LUAMP_INT8,
    LUAMP_UINT8,
    LUAMP_INT16,
    LUAMP_UINT16,
    LUAMP_INT32,
    LUAMP_UINT32,
    LUAMP_INT64,
    LUAMP_UINT64,
    LUAMP_FLOAT,
    LUAMP_DOUBLE
};

typedef struct luamp_memory {
    void *pointer; /* of the first element */
    size_t bytes;  /* of all elements */
    size_t n;      /* how many there are; of a value: 1 */
    size_t size;   /* of one, in bytes */
    int type;      /* of luamp_type */
} luamp_memory;

/* What the metatables of such objects have in the field "luamp.memory", a light userdata. */
typedef struct luamp_interface {
    uint32_t magic, version;
    /* Fills *m, and returns NULL; or why there is no memory, and leaves it alone. Raises nothing.
     */
    const char *(*memory)(lua_State *L, int index, luamp_memory *m);
} luamp_interface;

#define LUAMP_MAGIC 0x706d756cu /* "lump" */

/*
** The memory of the value at that index. Returns NULL; or, when there is none, why, in words: it is
** no such object, or was closed. It raises nothing but for want of memory.
*/
static inline const char *luamp_tomemory(lua_State *L, int index, luamp_memory *m) {
    const luamp_interface *i = NULL;
    if (lua_type(L, index) == LUA_TUSERDATA &&
        luaL_getmetafield(L, index, "luamp.memory") != LUA_TNIL) {
        if (lua_islightuserdata(L, -1))
            i = (const luamp_interface *)lua_touserdata(L, -1);
        lua_pop(L, 1);
    }
    if (i == NULL || i->magic != LUAMP_MAGIC || i->version < LUAMP_HEADER_VERSION)
        return "value, array or buffer of luamp expected";
    return i->memory(L, index, m);
}

/* The same for an argument of a function: raises, and names it, when there is none. */
static inline void luamp_checkmemory(lua_State *L, int arg, luamp_memory *m) {
    const char *why = luamp_tomemory(L, arg, m);
    if (why != NULL)
        luaL_argerror(L, arg, why);
}

#endif
