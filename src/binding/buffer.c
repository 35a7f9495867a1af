/*
** buffer.c: mp.buffer: bytes in shared memory, with a name (engine/named.h) or without; and the
** memory of values, arrays and buffers for C modules (include/luamp.h).
**
** The handle of a named buffer has a file of this process's in its user value: a userdata, which is
** there before the file is opened and after the handle is closed, and without a descriptor then.
** Where a handle arrives whose file cannot be had, its use says why.
*/
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "luamp.h"

#include "binding/shared.h"
#include "engine/cells.h"
#include "engine/named.h"
#include "engine/proc.h"

#define CLASS "mp.buffer"

typedef struct file {
    int fd;       /* -1: none */
    int rc;       /* why not */
    pid_t noted;  /* the process that others can find it by */
    void *memory; /* NULL: nobody has asked for it */
    uint64_t size;
} file;

/* --- errors ---------------------------------------------------------------- */

static const char *words(int rc) {
    switch (rc) {
    case -EINVAL:
        return "that is no name of a file: it must not be '.', '..', or contain '/'";
    case -ELOOP:
        return "it is a symbolic link";
    case -EMEDIUMTYPE:
        return "it is no regular file";
    case -EPERM:
        return "it belongs to another user";
    case -ESTALE:
        return "it was unlinked, and no process of the family that has it was found";
    case -ENXIO:
        return "its file was made shorter by somebody";
    case -ENOMEM:
    case -EDQUOT:
    case -EFBIG:
        return mp_shared_words(rc);
    default:
        return strerror(-rc);
    }
}

/* Raises what cannot be done about a name, and why. */
static int fail(lua_State *L, const char *what, const char *name, int rc) {
    lua_pushfstring(L, CLASS ": %s '%s': %s", what, name, words(rc));
    return mp_lib_misuse(L);
}

/* --- files ----------------------------------------------------------------- */

static file *new_file(lua_State *L) {
    file *f = lua_newuserdatauv(L, sizeof *f, 0);
    *f = (file){.fd = -1};
    return f;
}

static file *file_of(lua_State *L, int index) {
    lua_getiuservalue(L, index, 1);
    file *f = lua_touserdata(L, -1);
    lua_pop(L, 1);
    return f;
}

/* Makes sure that this process has the file of the object, and can be found by it. */
static int open_file(file *f, mp_ref object) {
    if (f->fd < 0) {
        f->rc = f->fd = mp_named_reopen(object);
        f->size = mp_named_size(object);
    }
    if (f->fd >= 0 && f->noted != mp_proc_self()) {
        mp_named_note(object, f->fd);
        f->noted = mp_proc_self();
    }
    return f->fd < 0 ? f->rc : 0;
}

static void close_file(file *f) {
    if (f->memory != NULL)
        munmap(f->memory, f->size);
    if (f->fd >= 0)
        close(f->fd);
    *f = (file){.fd = -1};
}

void mp_buffer_open_file(lua_State *L, int index) {
    index = lua_absindex(L, index);
    if (file_of(L, index) == NULL) {
        new_file(L);
        lua_setiuservalue(L, index, 1);
    }
    open_file(file_of(L, index), mp_shared_handle(L, index)->object);
}

/* --- handles --------------------------------------------------------------- */

static int is_named(const mp_handle *h) {
    return h != NULL && h->kind == MP_KIND_NAMED;
}

static mp_handle *check(lua_State *L, const char *method) {
    const int has_name = is_named(mp_shared_handle(L, 1));
    return mp_shared_check(L, has_name ? MP_KIND_NAMED : MP_KIND_BUFFER, CLASS, method);
}

/* The file of the named buffer at index 1, which is open. */
static file *check_file(lua_State *L, const mp_handle *h) {
    file *f = file_of(L, 1);
    const int rc = open_file(f, h->object);
    if (rc < 0)
        fail(L, "cannot have", mp_named_name(h->object), rc);
    return f;
}

static uint64_t size_of(const mp_handle *h) {
    return is_named(h) ? mp_named_size(h->object) : mp_cells_of(h->object)->n;
}

/* --- reading and writing ---------------------------------------------------- */

/*
** A short string is made from a copy: Lua looks at it twice, and another process may write between.
** A long one is copied once.
*/
static void push_bytes(lua_State *L, const unsigned char *bytes, size_t len) {
    enum { SHORT = 256 };
    char copy[SHORT];
    if (len <= sizeof copy)
        memcpy(copy, bytes, len);
    lua_pushlstring(L, len <= sizeof copy ? copy : (const char *)bytes, len);
}

static void push_from_file(lua_State *L, const mp_handle *h, uint64_t first, size_t len) {
    luaL_Buffer b;
    char *bytes = luaL_buffinitsize(L, &b, len);
    mp_shared_check_open(L); /* finalizers have run */
    const int rc = mp_named_read(check_file(L, h)->fd, first, bytes, len);
    if (rc < 0)
        fail(L, "cannot read", mp_named_name(h->object), rc);
    luaL_pushresultsize(&b, len);
}

static lua_Integer check_place(lua_State *L, int arg, const char *where) {
    int is_one = lua_type(L, arg) == LUA_TNUMBER;
    const lua_Integer i = is_one ? lua_tointegerx(L, arg, &is_one) : 0;
    if (!is_one) {
        lua_pushfstring(L, "%s: %s is no index", where, mp_lib_describe(L, arg));
        mp_lib_misuse(L);
    }
    return i;
}

/* A place as string.sub has it: from the end, if it is negative. */
static lua_Integer place(lua_State *L, int arg, lua_Integer otherwise, lua_Integer size) {
    const lua_Integer i = lua_isnoneornil(L, arg) ? otherwise : check_place(L, arg, CLASS ": read");
    return i >= 0 ? i : i < -size ? 0 : size + i + 1;
}

/* b:read([i], [j]) */
static int buffer_read(lua_State *L) {
    const mp_handle *h = check(L, "read");
    const lua_Integer size = (lua_Integer)size_of(h);
    lua_Integer i = place(L, 2, 1, size), j = place(L, 3, -1, size);
    i = i < 1 ? 1 : i;
    j = j > size ? size : j;
    const size_t len = j < i ? 0 : (size_t)(j - i) + 1;
    if (len == 0)
        lua_pushliteral(L, "");
    else if (is_named(h))
        push_from_file(L, h, (uint64_t)i - 1, len);
    else
        push_bytes(L, mp_cells_of(h->object)->bytes + i - 1, len);
    return 1;
}

/* b:write(i, s) */
static int buffer_write(lua_State *L) {
    const mp_handle *h = check(L, "write");
    size_t len;
    const lua_Integer i = check_place(L, 2, CLASS ": write");
    if (lua_type(L, 3) != LUA_TSTRING) {
        lua_pushfstring(L, CLASS ": write: a string is expected, not %s", mp_lib_describe(L, 3));
        return mp_lib_misuse(L);
    }
    const char *bytes = lua_tolstring(L, 3, &len);
    const uint64_t size = size_of(h), first = (uint64_t)i - 1;
    if (first > size || len > size - first) {
        lua_pushfstring(L, CLASS ": write: %I bytes have no room from %I on, in a buffer of %I",
                        (lua_Integer)len, i, (lua_Integer)size);
        return mp_lib_misuse(L);
    }
    if (!is_named(h)) {
        memcpy(mp_cells_of(h->object)->bytes + first, bytes, len);
        return 0;
    }
    const int rc = mp_named_write(check_file(L, h)->fd, first, bytes, len, size);
    return rc < 0 ? fail(L, "cannot write to", mp_named_name(h->object), rc) : 0;
}

static int buffer_len(lua_State *L) {
    lua_pushinteger(L, (lua_Integer)size_of(check(L, "#")));
    return 1;
}

/* b:unlink(): whether the name was there. */
static int buffer_unlink(lua_State *L) {
    const mp_handle *h = check(L, "unlink");
    if (!is_named(h)) {
        lua_pushliteral(L, CLASS ": unlink: it has no name");
        return mp_lib_misuse(L);
    }
    const int rc = mp_named_unlink(h->object);
    if (rc < 0)
        return fail(L, "cannot unlink", mp_named_name(h->object), rc);
    lua_pushboolean(L, rc);
    return 1;
}

/* Drops the handle, and the file; also in the end by collection and <close>. */
static int buffer_end(lua_State *L) {
    mp_handle *h = mp_shared_handle(L, 1);
    if (h == NULL || (h->kind != MP_KIND_NAMED && h->kind != MP_KIND_BUFFER))
        return 0;
    file *f = is_named(h) ? file_of(L, 1) : NULL;
    if (f != NULL && f->noted == mp_proc_self() && mp_shared_wrong(h, MP_KIND_NAMED) == NULL)
        mp_named_forget(h->object);
    if (f != NULL)
        close_file(f);
    mp_shared_close(h);
    return 0;
}

static int buffer_close(lua_State *L) {
    const mp_handle *h = mp_shared_handle(L, 1);
    if (h == NULL || !h->is_closed)
        check(L, "close");
    return buffer_end(L);
}

static int buffer_tostring(lua_State *L) {
    const mp_handle *h = luaL_checkudata(L, 1, CLASS);
    if (h->is_closed) {
        lua_pushfstring(L, CLASS ": %p (closed)", (const void *)h);
        return 1;
    }
    check(L, "tostring");
    lua_pushfstring(L, CLASS ": %p (%I bytes", (const void *)h, (lua_Integer)size_of(h));
    if (is_named(h))
        lua_pushfstring(L, ", '%s')", mp_named_name(h->object));
    else
        lua_pushliteral(L, ")");
    lua_concat(L, 2);
    return 1;
}

/* --- making named ones ------------------------------------------------------ */

/* The handle on top, and its file, of that name, with an object of the family. */
static void share(lua_State *L, mp_handle *h, file *f, const char *what, const char *name) {
    mp_ref object, hold;
    int rc = mp_named_share(name, f->fd, &object, &hold);
    if (mp_shared_makes_room(L, rc))
        rc = mp_named_share(name, f->fd, &object, &hold);
    if (rc < 0) {
        close_file(f);
        fail(L, what, name, rc);
    }
    mp_shared_set(L, h, object, hold);
    open_file(f, object);
}

static file *new_handle(lua_State *L, mp_handle **h) {
    *h = mp_shared_new(L, MP_KIND_NAMED);
    file *f = new_file(L);
    lua_setiuservalue(L, -2, 1);
    return f;
}

/* After a failure: whether it was for want of descriptors, of which there may be some by now. */
static int makes_descriptors(lua_State *L, int rc) {
    if (rc != -EMFILE)
        return 0;
    lua_gc(L, LUA_GCCOLLECT); /* handles that are garbage have some */
    mp_sys_raise_file_limit();
    return 1;
}

/* make_named(name, size) */
static int make_named(lua_State *L) {
    static const char what[] = "cannot make";
    mp_handle *h;
    const char *name = luaL_checkstring(L, 1);
    file *f = new_handle(L, &h);
    f->size = (uint64_t)luaL_checkinteger(L, 2);
    f->fd = mp_named_make(name, f->size);
    if (makes_descriptors(L, f->fd))
        f->fd = mp_named_make(name, f->size);
    if (f->fd < 0)
        return fail(L, what, name, f->fd);
    share(L, h, f, what, name);
    const int rc = mp_named_link(name, f->fd); /* last: what fails leaves nothing behind */
    return rc < 0 ? fail(L, what, name, rc) : 1;
}

/* open_named(name, [size]) */
static int open_named(lua_State *L) {
    static const char what[] = "cannot attach";
    mp_handle *h;
    const char *name = luaL_checkstring(L, 1);
    file *f = new_handle(L, &h);
    f->fd = mp_named_open(name, &f->size);
    if (makes_descriptors(L, f->fd))
        f->fd = mp_named_open(name, &f->size);
    if (f->fd < 0)
        return fail(L, what, name, f->fd);
    if (!lua_isnoneornil(L, 2) && (uint64_t)lua_tointeger(L, 2) != f->size) {
        const uint64_t size = f->size;
        close_file(f);
        lua_pushfstring(L, CLASS ": %s '%s': it has %I bytes, and not %I", what, name,
                        (lua_Integer)size, lua_tointeger(L, 2));
        return mp_lib_misuse(L);
    }
    share(L, h, f, what, name);
    return 1;
}

/* --- for C modules ---------------------------------------------------------- */

static const char *memory_of_file(lua_State *L, int index, mp_ref object, luamp_memory *m) {
    file *f = file_of(L, index);
    int rc = open_file(f, object);
    if (rc == 0 && f->memory == NULL && f->size > 0) {
        f->memory = mp_named_map(f->fd, f->size);
        rc = f->memory == NULL ? -errno : 0;
    }
    if (rc < 0)
        return words(rc);
    *m = (luamp_memory){f->memory, f->size, f->size, 1, LUAMP_UINT8};
    return NULL;
}

static const char *memory(lua_State *L, int index, luamp_memory *m) {
    mp_handle *h = mp_shared_handle(L, index);
    const enum mp_kind kind = h == NULL ? MP_KIND_ARRAY : h->kind;
    const char *wrong = mp_shared_wrong(h, kind);
    if (wrong != NULL || kind == MP_KIND_NAMED)
        return wrong != NULL ? wrong : memory_of_file(L, index, h->object, m);
    mp_cells *c = mp_cells_of(h->object);
    const size_t size = mp_cells_size(c->type);
    *m = (luamp_memory){c->bytes, c->n * size, c->n, size, (int)c->type};
    return NULL;
}

_Static_assert((int)LUAMP_DOUBLE == (int)MP_DOUBLE, "the types are those of the engine");

void mp_buffer_lends(lua_State *L, const char *name) {
    static const luamp_interface interface = {LUAMP_MAGIC, LUAMP_HEADER_VERSION, memory};
    luaL_getmetatable(L, name);
    lua_pushlightuserdata(L, (void *)(uintptr_t)&interface);
    lua_setfield(L, -2, "luamp.memory");
    lua_pop(L, 1);
}

/* --- the class -------------------------------------------------------------- */

static const luaL_Reg methods[] = {{"read", buffer_read},
                                   {"write", buffer_write},
                                   {"unlink", buffer_unlink},
                                   {"close", buffer_close},
                                   {NULL, NULL}};
static const luaL_Reg metamethods[] = {
    {"__len", buffer_len}, {"__tostring", buffer_tostring}, {NULL, NULL}};
static const luaL_Reg ends[] = {{"__gc", buffer_end}, {"__close", buffer_end}, {NULL, NULL}};

void mp_buffer_open(lua_State *L) {
    static const luaL_Reg functions[] = {
        {"make_named", make_named}, {"open_named", open_named}, {NULL, NULL}};
    mp_shared_class(L, CLASS, methods, metamethods);
    luaL_getmetatable(L, CLASS);
    luaL_setfuncs(L, ends, 0);
    lua_pop(L, 1);
    mp_buffer_lends(L, CLASS);
    luaL_setfuncs(L, functions, 0);
}
