/*
** names.h: objects that travel by name, and so are the same object on the other
** side: modules, what they export, and what was given to mp.register.
**
** A name is a string: its first byte says what it names.
**   "m" module                 the module's table
**   "x" module "\0" field      its function, light userdata or metatable there
**   "r" name                   what is registered under it
**   "g"                        the global environment
*/
#ifndef MP_BINDING_NAMES_H
#define MP_BINDING_NAMES_H

#include "binding/lib.h"

/*
** The index of names, in a userdata. `tables` has a bit for each table in it, by
** its address: one that is not set is an ordinary table, and most are.
*/
enum { MP_NAMES_BITS = 1024 };

typedef struct mp_names {
    uint64_t tables[MP_NAMES_BITS / 64];
    int is_filled; /* before that it has no name at all, and is not current */
    int for_fresh; /* the receiver has a fresh interpreter; see mp_names_address */
} mp_names;

/* Pushes the state's index. */
mp_names *mp_names_push(lua_State *L);

static inline unsigned mp_names_bit(const void *table) {
    return (unsigned)((uint64_t)(uintptr_t)table * 0x9e3779b97f4a7c15u >> 54);
}

static inline int mp_names_may_have(const mp_names *names, const void *table) {
    unsigned bit = mp_names_bit(table);
    return (int)(names->tables[bit / 64] >> bit % 64 & 1);
}

/*
** Pushes the name of the value at `index`, as of a metatable or as of any value, and
** returns 1, if the index (the userdata at `names`) has one that still holds; or
** returns 0. Takes no memory.
*/
int mp_names_find(lua_State *L, int names, int index, int is_meta);

/*
** Of a function that has a name: whether a receiver finds it, if it has not loaded it. 0 when
** its module has no file along the paths, which was made by hand; -1 when that is not known
** before mp_names_seek. Takes no memory.
*/
int mp_names_is_found(lua_State *L, int names, int index);

/* Looks for the modules that are loaded along the paths. Runs Lua code, of this library. */
void mp_names_seek(lua_State *L);

/* Whether every receiver has that global, its name at `name` and its value above it: a function
 * of the basic library or a table of another of Lua's, or the environment. */
int mp_names_is_everywhere(lua_State *L, int names, int name);

/* Whether the index has all that is exported now. Takes no memory. */
int mp_names_are_current(lua_State *L, int names);

/*
** Whom names are for from now on. A process that begins in a fresh image has no
** registered objects yet, and of modules those that it can require: for it nothing
** else has a name.
*/
void mp_names_address(lua_State *L, int for_fresh);

/* Makes the index anew. */
void mp_names_renew(lua_State *L);

/*
** Pushes the object of a name, for which a module may be loaded, and returns 1; or
** pushes in words why there is none, and returns 0.
*/
int mp_names_resolve(lua_State *L, const char *name, size_t len);

/* Pushes the object of a module's name if the module is loaded, or waits in package.preload,
 * and has it, and returns 1; or returns 0. Raises what kept such a module from loading. */
int mp_names_have(lua_State *L, const char *name, size_t len);

/* Puts its Lua functions into the table on top, luamp.core. */
void mp_names_open(lua_State *L);

#endif
