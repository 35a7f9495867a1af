/*
** output.c: print, io.write and file:write, whole among the processes of a
** family, and the Lua files that a child does not share with its parent.
**
** As long as the process is the only one of its family, and has no line at the foot of the
** terminal (engine/footer.h), the stock functions do the work. After that each call's text is
** put together first and written as one by the engine, with the stock functions' results and
** errors. What makes stdio hand its buffer over (flush, close, seek, setvbuf) does that in turn.
**
** Two weak tables in the registry hold files: those with buffered output, to
** be written out in turn before a fork and at a child's end; and the private
** ones, pipes to other programs and processes, whose inherited copies would
** keep the pipe open for as long as a child lives. A child finds them closed,
** unless they are its arguments or upvalues of its function.
*/
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <string.h>
#include <unistd.h>

#include "binding/lib.h"
#include "engine/family.h"
#include "engine/footer.h"
#include "engine/board.h"
#include "engine/output.h"

#define BUFFERED "luamp.buffered"
#define PRIVATE "luamp.private"

/* Whether there is nobody, and nothing on the screen, to take care of. */
static int is_stock(void) {
    return mp_family_alone() && !mp_footer_is_there();
}

static luaL_Stream *to_stream(lua_State *L, int index) {
    return luaL_testudata(L, index, LUA_FILEHANDLE);
}

static FILE *open_file(lua_State *L, int index) {
    luaL_Stream *s = to_stream(L, index);
    return s != NULL && s->closef != NULL ? s->f : NULL;
}

static void remember(lua_State *L, const char *table, int index) {
    index = lua_absindex(L, index);
    lua_getfield(L, LUA_REGISTRYINDEX, table);
    lua_pushvalue(L, index);
    lua_pushboolean(L, 1);
    lua_rawset(L, -3);
    lua_pop(L, 1);
}

static int call_stock(lua_State *L) {
    return lua_tocfunction(L, lua_upvalueindex(1))(L);
}

/* --- pipes of a child ---------------------------------------------------- */

static int close_pipe(lua_State *L);

/*
** Whether the file is a pipe to or from a child (open_stream). One that has
** died is an error of the call, EPIPE, and no signal that ends its parent.
*/
static int is_pipe(lua_State *L, int index) {
    luaL_Stream *s = to_stream(L, index);
    return s != NULL && s->closef == close_pipe;
}

static int close_pipe(lua_State *L) {
    luaL_Stream *s = luaL_checkudata(L, 1, LUA_FILEHANDLE);
    sigset_t before;
    mp_sys_sigpipe_hold(&before);
    int ok = fclose(s->f) == 0;
    int failure = errno;
    mp_sys_sigpipe_release(&before);
    errno = failure;
    return luaL_fileresult(L, ok, NULL);
}

/*
** Of a worker whose output is relayed, stdout and stderr are two files, and what stands in both is
** told by marks: a function that is called before stdout is written to after stderr was, or may
** have been by a program.
*/
static struct {
    int mark; /* a reference in the registry, or 0: there is none */
    int is_stdout_last;
    unsigned long n_programs;
} streams;

static void before_write(lua_State *L, FILE *f) {
    if (streams.mark == 0 || (f != stdout && f != stderr))
        return;
    if (f == stderr) {
        mp_output_flush(stdout);
    } else if (!streams.is_stdout_last || streams.n_programs != mp_lib_n_programs) {
        lua_rawgeti(L, LUA_REGISTRYINDEX, streams.mark);
        lua_call(L, 0, 0);
    }
    streams.is_stdout_last = f == stdout;
    streams.n_programs = mp_lib_n_programs;
}

/* mark_streams(f): that is the function from now on. */
static int mark_streams(lua_State *L) {
    luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_settop(L, 1);
    streams.mark = luaL_ref(L, LUA_REGISTRYINDEX);
    streams.is_stdout_last = 0;
    return 0;
}

/* The engine's write (of len bytes) or flush (without bytes) of the file at `index`. */
static int hand_over(lua_State *L, int index, FILE *f, const char *bytes, size_t len) {
    sigset_t before;
    int guarded = is_pipe(L, index);
    if (bytes != NULL)
        before_write(L, f);
    if (guarded)
        mp_sys_sigpipe_hold(&before);
    int rc = bytes != NULL ? mp_output_write(f, bytes, len) : mp_output_flush(f);
    if (f == stderr && bytes != NULL)
        mp_board_say(bytes, len);
    if (guarded)
        mp_sys_sigpipe_release(&before);
    return rc;
}

/* --- writing ------------------------------------------------------------- */

static int print(lua_State *L) {
    if (is_stock())
        return call_stock(L);
    int n = lua_gettop(L);
    luaL_Buffer text;
    luaL_buffinit(L, &text);
    for (int i = 1; i <= n; i++) {
        if (i > 1)
            luaL_addchar(&text, '\t');
        luaL_tolstring(L, i, NULL);
        luaL_addvalue(&text);
    }
    luaL_addchar(&text, '\n');
    luaL_pushresult(&text);
    size_t len;
    const char *bytes = lua_tolstring(L, -1, &len);
    before_write(L, stdout);
    mp_output_write(stdout, bytes, len); /* stock print does not look either */
    mp_output_flush(stdout);
    return 0;
}

/* Adds argument `arg` as the stock write puts it; 0 if it is no string or number. */
static int add_argument(lua_State *L, luaL_Buffer *text, int arg) {
    char number[64];
    if (lua_isinteger(L, arg))
        snprintf(number, sizeof number, LUA_INTEGER_FMT, lua_tointeger(L, arg));
    else if (lua_type(L, arg) == LUA_TNUMBER)
        snprintf(number, sizeof number, LUA_NUMBER_FMT, lua_tonumber(L, arg));
    else if (lua_type(L, arg) == LUA_TSTRING) {
        lua_pushvalue(L, arg);
        luaL_addvalue(text);
        return 1;
    } else {
        return 0;
    }
    luaL_addstring(text, number);
    return 1;
}

/*
** Writes arguments first..n to the file at index `file`. Those before a bad
** argument are written and then it is complained about, as stock Lua does.
*/
static int write_arguments(lua_State *L, FILE *f, int file, int first, int n) {
    luaL_Buffer text;
    luaL_buffinit(L, &text);
    int arg = first;
    while (arg <= n && add_argument(L, &text, arg))
        arg++;
    luaL_pushresult(&text);
    size_t len;
    const char *bytes = lua_tolstring(L, -1, &len);
    size_t before = __fpending(f);
    int rc = hand_over(L, file, f, bytes, len);
    if (before == 0 && __fpending(f) > 0 && f != stdout && f != stderr)
        remember(L, BUFFERED, file);
    if (arg <= n)
        luaL_checkstring(L, arg); /* raises */
    errno = rc < 0 ? -rc : 0;
    if (rc < 0)
        return luaL_fileresult(L, 0, NULL);
    lua_pushvalue(L, file);
    return 1;
}

static int file_write(lua_State *L) {
    FILE *f = open_file(L, 1);
    if (f == NULL || (is_stock() && !is_pipe(L, 1)))
        return call_stock(L);
    return write_arguments(L, f, 1, 2, lua_gettop(L));
}

static void push_default_output(lua_State *L) {
    lua_getfield(L, LUA_REGISTRYINDEX, "_IO_output");
}

static int io_write(lua_State *L) {
    if (is_stock())
        return call_stock(L);
    int n = lua_gettop(L);
    push_default_output(L);
    FILE *f = open_file(L, -1);
    if (f == NULL) {
        lua_settop(L, n);
        return call_stock(L); /* which says that it is closed */
    }
    return write_arguments(L, f, n + 1, 1, n);
}

/* --- handing over what is buffered --------------------------------------- */

/*
** flush, close, seek, setvbuf of a file; io.flush and io.close of the default
** output too. If the buffer cannot be written that is the call's failure, after
** the stock function has done its part: a file is closed nevertheless.
*/
static int flush_first(lua_State *L) {
    int n = lua_gettop(L), rc = 0;
    if (!is_stock() || is_pipe(L, 1)) {
        if (n == 0)
            push_default_output(L);
        FILE *f = open_file(L, 1);
        rc = f != NULL ? hand_over(L, 1, f, NULL, 0) : 0;
        lua_settop(L, n);
    }
    int results = call_stock(L);
    if (rc == 0)
        return results;
    errno = -rc;
    return luaL_fileresult(L, 0, NULL);
}

int mp_output_flush_all(lua_State *L) {
    int rc = mp_output_flush(stdout);
    lua_getfield(L, LUA_REGISTRYINDEX, BUFFERED);
    for (lua_pushnil(L); lua_next(L, -2) != 0; lua_pop(L, 1)) {
        FILE *f = open_file(L, -2);
        int failed = f != NULL ? mp_output_flush(f) : 0;
        rc = rc != 0 ? rc : failed;
    }
    lua_pop(L, 1);
    return rc;
}

/* report(text): on standard error, in one piece. */
static int report(lua_State *L) {
    size_t len;
    const char *text = luaL_checklstring(L, 1, &len);
    return mp_lib_result(L, mp_output_write(stderr, text, len), NULL);
}

/* --- private files ------------------------------------------------------- */

/* Also tells that this process runs a program, whose end comes with its own. */
static int io_popen(lua_State *L) {
    mp_lib_runs_program(L);
    int n = call_stock(L);
    if (to_stream(L, -n) != NULL)
        remember(L, PRIVATE, -n);
    return n;
}

/* open_stream(descriptor, mode): a private Lua file that owns the descriptor. */
static int open_stream(lua_State *L) {
    int fd = (int)luaL_checkinteger(L, 1);
    luaL_Stream *s = lua_newuserdatauv(L, sizeof *s, 0);
    s->closef = NULL;
    luaL_setmetatable(L, LUA_FILEHANDLE);
    s->f = fdopen(fd, luaL_checkstring(L, 2));
    if (s->f == NULL)
        return luaL_fileresult(L, 0, NULL);
    s->closef = close_pipe;
    remember(L, PRIVATE, -1);
    return 1;
}

/*
** share_stream(file): another descriptor of an open Lua file, for a process to
** have as a stream, and "pipe" when it is a pipe of a process.
*/
static int share_stream(lua_State *L) {
    FILE *f = open_file(L, 1);
    if (f == NULL)
        return mp_lib_result(L, -EBADF, "a closed file");
    int rc = hand_over(L, 1, f, NULL, 0);
    if (rc >= 0)
        fflush(f); /* what was read ahead of a file is the process's to read */
    int fd = rc < 0 ? -1 : fcntl(fileno(f), F_DUPFD_CLOEXEC, 10);
    if (fd < 0)
        return mp_lib_result(L, rc < 0 ? rc : -errno, "a file");
    lua_pushinteger(L, fd);
    lua_pushnil(L);
    lua_pushstring(L, is_pipe(L, 1) ? "pipe" : NULL);
    return 3;
}

/*
** close_private(keep): in a child; files that are keys of the table `keep`
** stay open. The parent's buffer is not written a second time: the descriptor
** is closed beneath it.
*/
static int close_private(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_getfield(L, LUA_REGISTRYINDEX, PRIVATE);
    for (lua_pushnil(L); lua_next(L, 2) != 0; lua_pop(L, 1)) {
        luaL_Stream *s = to_stream(L, 3);
        lua_pushvalue(L, 3);
        int kept = lua_rawget(L, 1) != LUA_TNIL;
        lua_pop(L, 1);
        if (!kept && s->closef != NULL) {
            s->closef = NULL;
            __fpurge(s->f);
            close(fileno(s->f));
        }
    }
    return 0;
}

/* has_private(): whether there may be any. */
static int has_private(lua_State *L) {
    lua_getfield(L, LUA_REGISTRYINDEX, PRIVATE);
    lua_pushnil(L);
    lua_pushboolean(L, lua_next(L, -2) != 0);
    return 1;
}

/* --- the face ------------------------------------------------------------ */

static void wrap_io(lua_State *L) {
    if (lua_getglobal(L, LUA_IOLIBNAME) == LUA_TTABLE) {
        mp_lib_wrap(L, "write", io_write);
        mp_lib_wrap(L, "flush", flush_first);
        mp_lib_wrap(L, "close", flush_first);
        mp_lib_wrap(L, "popen", io_popen);
    }
    lua_pop(L, 1);
    if (luaL_getmetatable(L, LUA_FILEHANDLE) == LUA_TTABLE &&
        lua_getfield(L, -1, "__index") == LUA_TTABLE) {
        static const char *const names[] = {"flush", "close", "seek", "setvbuf"};
        mp_lib_wrap(L, "write", file_write);
        for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
            mp_lib_wrap(L, names[i], flush_first);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

static void make_weak_table(lua_State *L, const char *name) {
    lua_newtable(L);
    lua_createtable(L, 0, 1);
    lua_pushliteral(L, "k");
    lua_setfield(L, -2, "__mode");
    lua_setmetatable(L, -2);
    lua_setfield(L, LUA_REGISTRYINDEX, name);
}

static const luaL_Reg functions[] = {{"report", report},
                                     {"mark_streams", mark_streams},
                                     {"open_stream", open_stream},
                                     {"share_stream", share_stream},
                                     {"close_private", close_private},
                                     {"has_private", has_private},
                                     {NULL, NULL}};

void mp_output_open(lua_State *L) {
    make_weak_table(L, BUFFERED);
    make_weak_table(L, PRIVATE);
    lua_pushglobaltable(L);
    mp_lib_wrap(L, "print", print);
    lua_pop(L, 1);
    wrap_io(L);
    luaL_setfuncs(L, functions, 0);
}
