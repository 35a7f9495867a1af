/*
** acquiring.h: the methods of all that is acquired and released, for the faces of its kinds. The
** subject of acquiring.c.
*/
#ifndef MP_BINDING_ACQUIRING_H
#define MP_BINDING_ACQUIRING_H

#include "binding/shared.h"

/* How a kind does it, by a handle that is ready for use. */
typedef struct mp_acquirable {
    /* 0; 1: abandoned; -EALREADY, -EBUSY: it would wait for itself; else as mp_deadlock_wait */
    int (*acquire)(const mp_handle *h, mp_time deadline);
    int (*release)(const mp_handle *h); /* 0; -EPERM: this process does not hold it; or -errno */
    int (*leave)(const mp_handle *h); /* as release, and the next one is told that it was abandoned;
                                         NULL where that is never told */
    /* Of what is waited for in line: takes a place there, for a wait in Lua; gives it up. Or NULL.
     */
    void (*stand)(const mp_handle *h);
    void (*give_up)(const mp_handle *h);
} mp_acquirable;
extern const mp_acquirable *mp_acquirables[MP_KINDS];

/*
** o:acquire([timeout]): true, and "abandoned" if its last holder ended while it held it; or nil and
**   "timeout"
** o:release()
** o:with(f, ...): f's results; that it was abandoned is told to the next who can be told
** o:hold([timeout]): what is to be a <close> variable; nil and "timeout"
*/
int mp_acquiring_acquire(lua_State *L);
int mp_acquiring_release(lua_State *L);
int mp_acquiring_with(lua_State *L);
int mp_acquiring_hold(lua_State *L);
#define MP_ACQUIRING                                                                               \
    {"acquire", mp_acquiring_acquire}, {"release", mp_acquiring_release},                          \
        {"with", mp_acquiring_with}, {                                                             \
        "hold", mp_acquiring_hold                                                                  \
    }

/* The handle at index 1 of a method, of any of these kinds, ready for use; raises misuse. */
mp_handle *mp_acquiring_check(lua_State *L, const char *method);

/* Raises what acquire or release says that failed, in that method of it. */
int mp_acquiring_fail(lua_State *L, const mp_handle *h, const char *method, int rc);

#endif
