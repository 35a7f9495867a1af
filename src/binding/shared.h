/*
** shared.h: handles of objects that the family shares, for the faces of their kinds and
** for the codec. The subject of shared.c.
*/
#ifndef MP_BINDING_SHARED_H
#define MP_BINDING_SHARED_H

#include "binding/lib.h"
#include "engine/arena.h"

typedef struct mp_handle {
    uint64_t magic;
    mp_ref object;
    mp_ref hold;     /* of process `owner`; 0: none */
    uint64_t family; /* whose object it is */
    pid_t owner;
    uint32_t kind;
    int is_closed;
} mp_handle;

/*
** The handle at index 1 of a method of that kind, ready for use: this process holds its
** object. Raises misuse for what is none, closed, or of another family; and for memory.
*/
mp_handle *mp_shared_check(lua_State *L, enum mp_kind kind, const char *class, const char *method);

/* The handle at that index, or NULL. */
mp_handle *mp_shared_handle(lua_State *L, int index);

/* What is wrong with a handle, or NULL: it is ready for use as that kind. Raises nothing. */
const char *mp_shared_wrong(mp_handle *h, enum mp_kind kind);

/* What a kind of object is called, or NULL. */
extern const char *const mp_shared_names[MP_KINDS];

/* How many handles of ends of pipes this process has that are not closed. */
int mp_shared_n_ends(void);

/* Pushes the table of this process's handles, by their objects. */
void mp_shared_push_all(lua_State *L);

/*
** What is asked in a wait for `what` (MP_AWAIT) at a handle, which may be NULL; this process holds
** its object from now on. Or 0, and why there is nothing.
*/
mp_ref mp_shared_awaited(mp_handle *h, int what, const char **why);

/* Pushes the words for a process: "process 'name' (pid 7)", or "process 7" if it is unknown here.
 */
void mp_shared_push_process(lua_State *L, int32_t pid);

/* Makes a handle, which is on top of the stack, for an object to come (mp_shared_set). */
mp_handle *mp_shared_new(lua_State *L, enum mp_kind kind);
/* It is the process's handle of that object from now on, which it holds by `hold`. */
void mp_shared_set(lua_State *L, mp_handle *h, mp_ref object, mp_ref hold);
/* The same, without a call of Lua's, for one that is to be set then. */
void mp_shared_own(mp_handle *h, mp_ref object, mp_ref hold);

/* The object at that index, if it is a handle that can be sent; or 0. */
mp_ref mp_shared_object(lua_State *L, int index);

/*
** Pushes the process's handle of an object that has come in a message: the one that
** there is, or a new one. Returns 0 when there is no such object. Raises for memory.
*/
int mp_shared_push(lua_State *L, mp_ref object);

/* Holds the objects of a message for who gets it, with the record of a process. 0 or -errno. */
struct mp_message;
int mp_shared_pack(const struct mp_message *m, uint32_t member);

/*
** Parcels (parcel.c): values that were encoded, to be sent later, as they were then. `copy` pushes
** one with the bytes of a message, and its objects by the holds on them, or NULL. Raises for
** memory.
*/
void mp_parcel_copy(lua_State *L, const char *bytes, size_t len, const mp_list *holds);
/* The message of the parcel at `index`, which is to stay there as long; raises for none. */
struct iovec;
void mp_parcel_message(lua_State *L, int index, struct iovec *piece, struct mp_message *m);

/* Methods: pollfd and events, for event loops. */
int mp_shared_pollfd(lua_State *L);
int mp_shared_events(lua_State *L);

/* Method: close, of what has no other end: this process's handle goes. */
int mp_shared_drop(lua_State *L);

/* Returns from tostring, for the handle at index 1: its name, its address and the state on top. */
int mp_shared_describe(lua_State *L);

/*
** After a failure: whether it was for want of memory, and garbage has been collected, which may
** have held some.
*/
int mp_shared_makes_room(lua_State *L, int rc);

/* Drops this process's hold; the handle is closed. */
void mp_shared_close(mp_handle *h);

/* Makes the metatable of that name, with methods that are C functions. */
void mp_shared_class(lua_State *L, const char *name, const luaL_Reg *methods,
                     const luaL_Reg *metamethods);

/* After Lua code ran in a call: raises if the handle at index 1 was closed by that. */
void mp_shared_check_open(lua_State *L);

/* What an engine call says that failed. */
const char *mp_shared_words(int rc);

/* Raises what an engine call that failed at `where` says. */
int mp_shared_fail(lua_State *L, const char *where, int rc);

/* The deadline of the timeout at that index, nil is for ever; raises misuse. */
mp_time mp_shared_deadline(lua_State *L, int index, const char *where);

/*
** Whether a call whose engine part returned rc is to be done again: after a signal, whose
** handler has run; and, while there are scopes (then the engine is asked without a
** wait, see mp_shared_wait), after a wait in Lua for the object at index 1, in which failures of a
** scope are raised. `what` is as MP_AWAIT.
*/
int mp_shared_goes_on(lua_State *L, int rc, int what, mp_time deadline);

/* The same for who has something to undo after an error: that is on top then, and the result -1. */
int mp_shared_try_on(lua_State *L, int rc, int what, mp_time deadline);

/* How long the engine is to wait itself. */
mp_time mp_shared_wait(mp_time deadline);

/* Raises the error object that cannot send the value at `index`, or that the object is closed. */
int mp_shared_unsendable(lua_State *L, int index);
int mp_shared_is_closed_error(lua_State *L, const char *where);

/* --- numbers and bytes (cells.c, buffer.c) ------------------------------------------------ */

/*
** The handle of a named buffer at that index has come, or is about to be sent: this process opens
** its file, if it can, so that others find it here. Raises for memory alone.
*/
void mp_buffer_open_file(lua_State *L, int index);

/* Gives the metatable of that name what C modules ask for the memory of its objects. */
void mp_buffer_lends(lua_State *L, const char *name);

/* --- values into queues and out of them (queue.c), for the faces that do so --------------- */

/* Raises that nil is no item. */
void mp_shared_check_item(lua_State *L, int index, const char *where);

/* Puts the value at `index`, also after signals. 1, or a negative errno, for mp_shared_put_failed.
 */
int mp_shared_put(lua_State *L, mp_ref queue, int index, long double priority, mp_time deadline);

/* Pushes nil, "timeout", or raises what kept it from going in. */
int mp_shared_put_failed(lua_State *L, const char *where, int rc);

/* Pushes what is taken, or nil and "timeout" or "closed". `hold`: by which that is counted, or 0.
 */
int mp_shared_get(lua_State *L, mp_ref queue, mp_ref hold, mp_time deadline, const char *where);

#endif
