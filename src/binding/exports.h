/*
** exports.h: what the loaded modules export, for names.c: what can go by name.
**
** Of the global table only the basic library's functions count: what a script has
** there itself is no module's. Nor is a Lua function that it adds to Lua's libraries.
*/
#ifndef MP_BINDING_EXPORTS_H
#define MP_BINDING_EXPORTS_H

#include "binding/lib.h"

/* Is given the indices of an export's module's name and of its field's, or 0 for a module. */
typedef int mp_exports_visitor(lua_State *L, int names, int module, int field);

/*
** Visits each export, on top of the stack; those of fixed modules only when `all`. Ends, and
** returns 0, when a visitor does. Takes no memory, if none does.
*/
int mp_exports_each(lua_State *L, mp_exports_visitor *visit, int names, int all);

/* Whether the module whose name is at `index` is one of Lua's libraries. */
int mp_exports_is_standard(lua_State *L, int index);

/* Whether it is one of those, or ours: it does not change. */
int mp_exports_is_fixed(lua_State *L, int index);

#endif
