/*
** journal.c: files of SQLite, for luamp.journal.
**
** The library is opened when the first journal is, so that a program without one pays nothing for
** it; where it is not there, or was not when this was built, that is what opening a journal says.
** Here are its calls, what a value is in a file, and a hash; what the file holds is Lua code's.
**
** A connection belongs to the process that has opened it. A forked child has a copy of its memory
** and of its descriptors, and leaves both alone: no statement of it is run, finalized or closed
** there. Nor may a child open the same file by itself, for the library remembers locks of it that
** the child does not have: `look` tells of that. So there is a list of what is open, or was when
** this process was forked.
**
** Locks are SQLite's own, by fcntl: they are not inherited, and the kernel drops them when their
** process ends, but also when that process closes any descriptor of the file. So nothing here opens
** a file by itself of which there is a connection.
*/
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "binding/codec.h"
#include "engine/frame.h"
#include "engine/proc.h"

/* --- what a value is in a file ------------------------------------------------ */

/* pack(...): the values as a frame, which is data wherever it is read; nil: they are not plain
 * data, but need more of a reader than memory. */
static int pack(lua_State *L) {
    mp_message m;
    if (!mp_codec_encode(L, 1, lua_gettop(L), &m) || !m.is_plain)
        return 0;
    const mp_frame_head head = mp_frame_make(m.pieces, m.n_pieces);
    mp_codec_push(L, &m);
    lua_pushlstring(L, (const char *)&head, sizeof head);
    lua_insert(L, -2);
    lua_concat(L, 2);
    return 1;
}

static uint64_t mixed(uint64_t h) {
    h ^= h >> 32;
    h *= 0xd6e8feb86659fd93u;
    h ^= h >> 32;
    h *= 0xd6e8feb86659fd93u;
    return h ^ h >> 32;
}

/* digest(text): 16 digits that stand for it, the same in every run. By accident, two texts have
 * the same with a probability of 2^-64. */
static int digest(lua_State *L) {
    size_t len;
    const char *bytes = luaL_checklstring(L, 1, &len);
    uint64_t h = 0x9e3779b97f4a7c15u ^ len;
    for (size_t i = 0; i < len; i += sizeof h) {
        uint64_t word = 0;
        memcpy(&word, bytes + i, len - i < sizeof word ? len - i : sizeof word);
        h = mixed(h ^ word) + 0x9e3779b97f4a7c15u;
    }
    char text[17];
    snprintf(text, sizeof text, "%016llx", (unsigned long long)mixed(h));
    lua_pushstring(L, text);
    return 1;
}

/* now(): the time of day, in seconds since 1970. */
static int now(lua_State *L) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    lua_pushnumber(L, (lua_Number)t.tv_sec + (lua_Number)t.tv_nsec / 1e9);
    return 1;
}

/* state_of(path): what changes when somebody writes to that file: its size and its time, in
 * words; nil: it cannot be had. */
static int state_of(lua_State *L) {
    struct stat s;
    if (stat(luaL_checkstring(L, 1), &s) != 0)
        return 0;
    lua_pushfstring(L, "%I %I.%I", (LUAI_UACINT)s.st_size, (LUAI_UACINT)s.st_mtim.tv_sec,
                    (LUAI_UACINT)s.st_mtim.tv_nsec);
    return 1;
}

#ifdef MP_SQLITE

#include <dlfcn.h>
#include <sqlite3.h>

/* --- the library -------------------------------------------------------------- */

#define CALLS(X)                                                                                   \
    X(open_v2)                                                                                     \
    X(close)                                                                                       \
    X(exec)                                                                                        \
    X(prepare_v3)                                                                                  \
    X(step)                                                                                        \
    X(reset)                                                                                       \
    X(clear_bindings)                                                                              \
    X(finalize)                                                                                    \
    X(bind_int64)                                                                                  \
    X(bind_double)                                                                                 \
    X(bind_text64)                                                                                 \
    X(column_count)                                                                                \
    X(column_type)                                                                                 \
    X(column_int64)                                                                                \
    X(column_double)                                                                               \
    X(column_blob)                                                                                 \
    X(column_bytes)                                                                                \
    X(errmsg)                                                                                      \
    X(errstr)                                                                                      \
    X(system_errno)                                                                                \
    X(busy_timeout)                                                                                \
    X(db_readonly)                                                                                 \
    X(stmt_readonly)                                                                               \
    X(db_filename)                                                                                 \
    X(db_config)                                                                                   \
    X(file_control)

#define MEMBER(name) typeof(sqlite3_##name) *name;
static struct {
    void *library;
    CALLS(MEMBER)
} sqlite;

/* 1; or 0, and the reason is pushed. */
static int load(lua_State *L) {
    if (sqlite.library != NULL)
        return 1;
    void *library = dlopen("libsqlite3.so.0", RTLD_NOW | RTLD_LOCAL);
    const char *why = library == NULL ? dlerror() : NULL;
#define LOOK_UP(name)                                                                              \
    if (library != NULL && (*(void **)&sqlite.name = dlsym(library, "sqlite3_" #name)) == NULL)    \
        why = "it is too old, and has no sqlite3_" #name;
    CALLS(LOOK_UP)
    if (library == NULL || why != NULL) {
        lua_pushfstring(L, "SQLite is not there (%s)", why != NULL ? why : "libsqlite3.so.0");
        return 0;
    }
    sqlite.library = library;
    return 1;
}

/* --- connections -------------------------------------------------------------- */

/* A file that is open, or was when this process was forked from the one that has it open. */
typedef struct file {
    struct file *next;
    pid_t pid; /* whose connection that is */
    dev_t dev;
    ino_t ino;
} file;

static file *files;

typedef struct connection {
    sqlite3 *db; /* NULL: it is closed */
    file *file;
    ino_t wal; /* its log's, once that is known; or 0 */
} connection;

static const char CLASS[] = "luamp.journal";

/* A write past `ulimit -f` is an error, and no signal that kills. */
static void ignore_file_limit(struct sigaction *before) {
    const struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigaction(SIGXFSZ, &ignore, before);
}

static int is_mine(const connection *c) {
    return c->db != NULL && c->file->pid == mp_proc_self();
}

static connection *check(lua_State *L) {
    connection *c = luaL_checkudata(L, 1, CLASS);
    luaL_argcheck(L, is_mine(c), 1, "an open journal of this process expected");
    return c;
}

/* What went wrong, in SQLite's words and the system's: nil, them, and the number. */
static int fail(lua_State *L, sqlite3 *db, int rc) {
    const int why = db != NULL ? sqlite.system_errno(db) : 0;
    lua_pushnil(L);
    lua_pushstring(L, db != NULL ? sqlite.errmsg(db) : sqlite.errstr(rc));
    if (why != 0 && ((rc & 0xff) == SQLITE_IOERR || (rc & 0xff) == SQLITE_FULL))
        lua_pushfstring(L, "%s: %s", lua_tostring(L, -1), strerror(why));
    else
        lua_pushvalue(L, -1);
    lua_remove(L, -2);
    lua_pushinteger(L, rc & 0xff);
    return 3;
}

static void forget(file *f) {
    file **at = &files;
    while (*at != f)
        at = &(*at)->next;
    *at = f->next;
    free(f);
}

/* Closes it: 0, or what SQLite says. Its statements are the table that is its user value. */
static int shut(lua_State *L, int index, connection *c) {
    struct sigaction before;
    if (!is_mine(c))
        return SQLITE_OK;
    ignore_file_limit(&before);
    lua_getiuservalue(L, index, 1);
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1))
        sqlite.finalize(lua_touserdata(L, -1));
    lua_pop(L, 1);
    lua_newtable(L);
    lua_setiuservalue(L, index, 1);
    const int rc = sqlite.close(c->db);
    sigaction(SIGXFSZ, &before, NULL);
    c->db = NULL;
    forget(c->file);
    return rc;
}

static int connection_gc(lua_State *L) {
    connection *c = luaL_checkudata(L, 1, CLASS);
    shut(L, 1, c);
    return 0;
}

/* close(journal, as it is): with true, nothing that is in its log goes into the file. */
static int close_connection(lua_State *L) {
    connection *c = luaL_checkudata(L, 1, CLASS);
    if (lua_toboolean(L, 2) && is_mine(c))
        sqlite.db_config(c->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    lua_settop(L, 1);
    const int rc = shut(L, 1, c);
    if (rc != SQLITE_OK)
        return fail(L, NULL, rc);
    lua_pushboolean(L, 1);
    return 1;
}

/* Pushes a connection that is closed. */
static connection *push_connection(lua_State *L) {
    connection *c = lua_newuserdatauv(L, sizeof *c, 1);
    *c = (connection){.db = NULL};
    lua_newtable(L);
    lua_setiuservalue(L, -2, 1);
    if (luaL_newmetatable(L, CLASS)) {
        lua_pushcfunction(L, connection_gc);
        lua_setfield(L, -2, "__gc");
    }
    lua_setmetatable(L, -2);
    return c;
}

/* Opens it: 0, or what SQLite says. */
static int open_file(connection *c, const char *path, int flags) {
    struct sigaction before;
    struct stat s;
    ignore_file_limit(&before);
    int rc = sqlite.open_v2(path, &c->db, flags, NULL);
    sigaction(SIGXFSZ, &before, NULL);
    if (rc == SQLITE_OK && stat(sqlite.db_filename(c->db, "main"), &s) != 0)
        rc = SQLITE_CANTOPEN;
    file *f = rc == SQLITE_OK ? malloc(sizeof *f) : NULL;
    if (f == NULL)
        return rc == SQLITE_OK ? SQLITE_NOMEM : rc;
    *f = (file){.next = files, .pid = mp_proc_self(), .dev = s.st_dev, .ino = s.st_ino};
    c->file = files = f;
    sqlite.busy_timeout(c->db, 1000);
    return SQLITE_OK;
}

/*
** open(path, mode): a connection; or nil, why, and SQLite's number for it. Modes: "write", which
** makes the file if there is none; "read"; "image": the file as it lies there, without its log
** and without locks, which changes nothing anywhere.
*/
static int open_connection(lua_State *L) {
    static const char *const modes[] = {"write", "read", "image", NULL};
    static const int flags[] = {SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, SQLITE_OPEN_READWRITE,
                                SQLITE_OPEN_READONLY | SQLITE_OPEN_URI};
    const char *path = luaL_checkstring(L, 1);
    const int mode = luaL_checkoption(L, 2, NULL, modes);
    if (!load(L)) {
        lua_pushnil(L);
        lua_insert(L, -2);
        return 2;
    }
    connection *c = push_connection(L);
    const int rc = open_file(c, path, flags[mode]);
    if (rc == SQLITE_OK)
        return 1;
    const int n = fail(L, c->db, rc);
    sqlite.close(c->db);
    c->db = NULL;
    return n;
}

/* is_readonly(journal): whether it was opened for writing in vain. */
static int is_readonly(lua_State *L) {
    lua_pushboolean(L, sqlite.db_readonly(check(L)->db, "main"));
    return 1;
}

/* has_moved(journal): whether its file or its log is not where it was opened any more. */
static int has_moved(lua_State *L) {
    connection *c = check(L);
    struct stat s;
    int has = 0;
    sqlite.file_control(c->db, "main", SQLITE_FCNTL_HAS_MOVED, &has);
    lua_pushfstring(L, "%s-wal", sqlite.db_filename(c->db, "main"));
    const ino_t wal = stat(lua_tostring(L, -1), &s) == 0 ? s.st_ino : 0;
    if (c->wal == 0)
        c->wal = wal;
    lua_pushboolean(L, has || wal != c->wal);
    return 1;
}

/* --- statements --------------------------------------------------------------- */

/* The statement for the text at 2, which is kept; NULL: what is wrong is pushed as by fail. */
static sqlite3_stmt *prepare(lua_State *L, connection *c) {
    size_t len;
    const char *text = luaL_checklstring(L, 2, &len);
    sqlite3_stmt *s = NULL;
    lua_getiuservalue(L, 1, 1);
    lua_pushvalue(L, 2);
    if (lua_rawget(L, -2) == LUA_TLIGHTUSERDATA) {
        s = lua_touserdata(L, -1);
        lua_pop(L, 2);
        return s;
    }
    lua_pop(L, 1);
    const int rc =
        sqlite.prepare_v3(c->db, text, (int)len + 1, SQLITE_PREPARE_PERSISTENT, &s, NULL);
    if (rc != SQLITE_OK) {
        fail(L, c->db, rc);
        return NULL;
    }
    lua_pushvalue(L, 2);
    lua_pushlightuserdata(L, s);
    lua_rawset(L, -3);
    lua_pop(L, 1);
    return s;
}

/* The value at that index for the i-th place; what stays on the stack until the step. */
static int bind(lua_State *L, sqlite3_stmt *s, int i, int index) {
    size_t len;
    const char *text;
    switch (lua_type(L, index)) {
    case LUA_TNIL:
        return SQLITE_OK; /* which it is already */
    case LUA_TNUMBER:
        if (lua_isinteger(L, index))
            return sqlite.bind_int64(s, i, lua_tointeger(L, index));
        return sqlite.bind_double(s, i, lua_tonumber(L, index));
    case LUA_TSTRING:
        text = lua_tolstring(L, index, &len);
        return sqlite.bind_text64(s, i, text, len, SQLITE_STATIC, SQLITE_UTF8);
    default:
        return luaL_argerror(L, index, "nil, a number or a string expected");
    }
}

static void push_column(lua_State *L, sqlite3_stmt *s, int i) {
    switch (sqlite.column_type(s, i)) {
    case SQLITE_INTEGER:
        lua_pushinteger(L, sqlite.column_int64(s, i));
        break;
    case SQLITE_FLOAT:
        lua_pushnumber(L, sqlite.column_double(s, i));
        break;
    case SQLITE_NULL:
        lua_pushnil(L);
        break;
    default: { /* a length of 0 has no bytes */
        const void *bytes = sqlite.column_blob(s, i);
        lua_pushlstring(L, bytes != NULL ? bytes : "", (size_t)sqlite.column_bytes(s, i));
    }
    }
}

/* push_row(statement): its columns. */
static int push_row(lua_State *L) {
    sqlite3_stmt *s = lua_touserdata(L, 1);
    const int n = sqlite.column_count(s);
    luaL_checkstack(L, n, NULL);
    for (int i = 0; i < n; i++)
        push_column(L, s, i);
    return n;
}

/* After a step that gave a row: true and its columns. What raises (memory) does so when the
 * statement is at rest again. */
static int answer(lua_State *L, sqlite3_stmt *s) {
    const int top = lua_gettop(L);
    lua_pushboolean(L, 1);
    lua_pushcfunction(L, push_row);
    lua_pushlightuserdata(L, s);
    const int rc = lua_pcall(L, 1, LUA_MULTRET, 0);
    sqlite.reset(s);
    return rc == LUA_OK ? lua_gettop(L) - top : lua_error(L);
}

/*
** run(journal, sql, ...): one statement with those values in its places. true and the columns of
** its first row; false: there is none; nil, why and SQLite's number: it has failed.
*/
static int run(lua_State *L) {
    connection *c = check(L);
    struct sigaction before;
    const int top = lua_gettop(L);
    sqlite3_stmt *s = prepare(L, c);
    if (s == NULL)
        return 3;
    int rc = SQLITE_OK;
    for (int i = 3; i <= top && rc == SQLITE_OK; i++)
        rc = bind(L, s, i - 2, i);
    const int writes = !sqlite.stmt_readonly(s);
    if (writes)
        ignore_file_limit(&before);
    if (rc == SQLITE_OK)
        rc = sqlite.step(s);
    if (writes)
        sigaction(SIGXFSZ, &before, NULL);
    const int n = rc == SQLITE_ROW ? answer(L, s) : 0;
    const int failure = rc == SQLITE_ROW || rc == SQLITE_DONE ? 0 : fail(L, c->db, rc);
    if (n == 0)
        sqlite.reset(s);
    sqlite.clear_bindings(s);
    if (rc == SQLITE_DONE)
        lua_pushboolean(L, 0);
    return rc == SQLITE_ROW ? n : rc == SQLITE_DONE ? 1 : failure;
}

/* exec(journal, sql): statements of which no answer is wanted: true; or as run. */
static int exec(lua_State *L) {
    connection *c = check(L);
    const char *text = luaL_checkstring(L, 2);
    struct sigaction before;
    ignore_file_limit(&before);
    const int rc = sqlite.exec(c->db, text, NULL, NULL, NULL);
    sigaction(SIGXFSZ, &before, NULL);
    if (rc != SQLITE_OK)
        return fail(L, c->db, rc);
    lua_pushboolean(L, 1);
    return 1;
}

/* --- before it is opened ------------------------------------------------------ */

/* Pushes where the file lies, whatever the folder is later, if it is there or may be. */
static void push_full(lua_State *L, const char *path) {
    char full[PATH_MAX];
    if (realpath(path, full) != NULL) {
        lua_pushstring(L, full);
        return;
    }
    const char *slash = strrchr(path, '/');
    lua_pushlstring(L, path, slash == NULL ? 0 : (size_t)(slash - path) + 1);
    const char *folder = lua_tostring(L, -1);
    if (realpath(*folder != '\0' ? folder : ".", full) == NULL)
        lua_pushstring(L, path);
    else
        lua_pushfstring(L, "%s/%s", full, slash == NULL ? path : slash + 1);
    lua_remove(L, -2);
}

/* What the first bytes of a file say. */
static const char *kind_of(const unsigned char head[static 100], ssize_t n, uint32_t application) {
    if (n == 0)
        return "empty";
    if (n < 100 || memcmp(head, "SQLite format 3", 16) != 0)
        return "other";
    const uint32_t id = (uint32_t)head[68] << 24 | (uint32_t)head[69] << 16 |
                        (uint32_t)head[70] << 8 | (uint32_t)head[71];
    return id == application ? "ours" : "database";
}

static int system_failure(lua_State *L, const char *full) {
    lua_pushnil(L);
    lua_pushstring(L, strerror(errno));
    lua_pushstring(L, full);
    return 3;
}

/* Reads the file's head without SQLite, which mends what it opens. As look. */
static int look_into(lua_State *L, const char *full, uint32_t application) {
    unsigned char head[100];
    const int fd = open(full, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return system_failure(L, full);
    const ssize_t n = pread(fd, head, sizeof head, 0);
    const int why = errno;
    close(fd);
    errno = why;
    if (n < 0)
        return system_failure(L, full);
    lua_pushstring(L, kind_of(head, n, application));
    lua_pushstring(L, full);
    return 2;
}

/*
** look(path, application): what is there, and where that is, from the root. "absent", "empty";
** "ours": a database of that application; "database": another one; "other": no database; "special":
** no file; "open": a connection of this process has it; "inherited": one has it that this process
** has by a fork, and third whose that is. Or nil, the system's words, and where.
*/
static int look(lua_State *L) {
    struct stat s;
    const char *path = luaL_checkstring(L, 1);
    const uint32_t application = (uint32_t)luaL_checkinteger(L, 2);
    push_full(L, path);
    const char *full = lua_tostring(L, -1);
    const int is_there = stat(full, &s) == 0;
    if (!is_there && errno != ENOENT)
        return system_failure(L, full);
    if (!is_there || !S_ISREG(s.st_mode)) {
        lua_pushstring(L, is_there ? "special" : "absent");
        lua_insert(L, -2);
        return 2;
    }
    for (const file *f = files; f != NULL; f = f->next)
        if (f->dev == s.st_dev && f->ino == s.st_ino) {
            lua_pushstring(L, f->pid == mp_proc_self() ? "open" : "inherited");
            lua_insert(L, -2);
            lua_pushinteger(L, f->pid);
            return 3;
        }
    return look_into(L, full, application);
}

#else

static int no_sqlite(lua_State *L) {
    lua_pushnil(L);
    lua_pushliteral(L, "this luamp was built without SQLite");
    return 2;
}
static int look(lua_State *L) {
    return no_sqlite(L);
}
#define open_connection no_sqlite
#define close_connection no_sqlite
#define is_readonly no_sqlite
#define has_moved no_sqlite
#define run no_sqlite
#define exec no_sqlite

#endif

void mp_journal_open(lua_State *L) {
    static const luaL_Reg functions[] = {{"pack", pack},
                                         {"digest", digest},
                                         {"now", now},
                                         {"state_of", state_of},
                                         {"look", look},
                                         {"open", open_connection},
                                         {"close", close_connection},
                                         {"is_readonly", is_readonly},
                                         {"has_moved", has_moved},
                                         {"run", run},
                                         {"exec", exec},
                                         {NULL, NULL}};
    luaL_newlib(L, functions);
    lua_setfield(L, -2, "journal");
}
