/*
** system.c: the kernel for Lua: waiting, this process, descriptors.
*/
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "binding/lib.h"
#include "engine/family.h"
#include "engine/proc.h"

/* --- waiting ------------------------------------------------------------- */

/* deadline([seconds]): for the waits here; nil is for ever. */
static int deadline(lua_State *L) {
    mp_time at = lua_isnoneornil(L, 1) ? MP_FOREVER : mp_sys_deadline(luaL_checknumber(L, 1));
    lua_pushinteger(L, at);
    return 1;
}

/*
** poll(descriptors, deadline): the list of positions (from 1) that are ready to
** be read, have ended or are bad, nil when a signal came.
*/
static int poll_descriptors(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    size_t n = lua_rawlen(L, 1);
    struct pollfd *fds = lua_newuserdatauv(L, (n + 1) * sizeof *fds, 0);
    for (size_t i = 0; i < n; i++) {
        lua_rawgeti(L, 1, (lua_Integer)i + 1);
        fds[i] = (struct pollfd){.fd = (int)lua_tointeger(L, -1), .events = POLLIN};
        lua_pop(L, 1);
    }
    int rc = mp_proc_poll(fds, n, (mp_time)luaL_checkinteger(L, 2));
    if (rc < 0 && rc != -EINTR)
        return luaL_error(L, "poll: %s", strerror(-rc));
    if (rc < 0) {
        mp_interrupt_check(L);
        return 0;
    }
    lua_createtable(L, rc, 0);
    for (size_t i = 0, ready = 0; i < n; i++)
        if (fds[i].revents != 0) {
            lua_pushinteger(L, (lua_Integer)i + 1);
            lua_rawseti(L, -2, (lua_Integer)++ready);
        }
    return 1;
}

static int is_open(lua_State *L) {
    lua_Integer fd = luaL_checkinteger(L, 1);
    lua_pushboolean(L, fd >= 0 && fd <= INT_MAX && fcntl((int)fd, F_GETFD) != -1);
    return 1;
}

/* clock(): seconds of the monotonic clock. */
static int clock_seconds(lua_State *L) {
    lua_pushnumber(L, (lua_Number)mp_sys_now() / 1e9);
    return 1;
}

/* wall(): seconds since 1970 by the wall clock, and the milliseconds. */
static int wall(lua_State *L) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    lua_pushinteger(L, now.tv_sec);
    lua_pushinteger(L, now.tv_nsec / 1000000);
    return 2;
}

/* --- this process -------------------------------------------------------- */

static int getpid_(lua_State *L) {
    lua_pushinteger(L, mp_proc_self());
    return 1;
}

static int getppid_(lua_State *L) {
    lua_pushinteger(L, getppid());
    return 1;
}

/* creator(): the pid of who started this process and whether it lives; nil in a main one. */
static int creator(lua_State *L) {
    uint32_t member = mp_family_creator();
    if (!mp_proc_is_child())
        return 0;
    lua_pushboolean(L, member != MP_NOBODY && mp_family_alive(member));
    return 1;
}

/* members(): how many processes the family has a record of. */
static int members(lua_State *L) {
    lua_pushinteger(L, mp_family_members());
    return 1;
}

static int affinity_count(lua_State *L) {
    int rc = mp_sys_cpu_count();
    lua_pushinteger(L, rc > 0 ? rc : 1);
    return 1;
}

static int random_integers(lua_State *L) {
    lua_Integer words[2];
    mp_sys_random(words, sizeof words);
    lua_pushinteger(L, words[0]);
    lua_pushinteger(L, words[1]);
    return 2;
}

static char *library_path; /* NULL in a program */

/* environment(): the list of "NAME=value". */
static int environment(lua_State *L) {
    lua_Integer n = 0;
    lua_newtable(L);
    for (char **entry = environ; entry != NULL && *entry != NULL; entry++) {
        lua_pushstring(L, *entry);
        lua_rawseti(L, -2, ++n);
    }
    return 1;
}

/* executable(): the file that this process runs; nil if the kernel does not tell. */
static int executable(lua_State *L) {
    char path[PATH_MAX];
    ssize_t len = readlink("/proc/self/exe", path, sizeof path);
    if (len <= 0 || (size_t)len == sizeof path)
        return 0;
    lua_pushlstring(L, path, (size_t)len);
    return 1;
}

/* is_program(): whether that can be run as a child of the family. */
static int is_program(lua_State *L) {
    lua_pushboolean(L, mp_lib_is_program);
    return 1;
}

/* library(): the shared library that this module is, by its whole path as of its loading; or nil.
 */
static int library(lua_State *L) {
    lua_pushstring(L, library_path);
    return 1;
}

/* can_read(path): whether there is a file that may be read. */
static int can_read(lua_State *L) {
    lua_pushboolean(L, access(luaL_checkstring(L, 1), R_OK) == 0);
    return 1;
}

/* folder(): the path of the working folder; nil, message, name where it has none. */
static int folder(lua_State *L) {
    char path[PATH_MAX];
    if (getcwd(path, sizeof path) == NULL)
        return mp_lib_result(L, -errno, "the working folder");
    lua_pushstring(L, path);
    return 1;
}

/* is_root(): whether the kernel holds the limit of processes to be none of this user's. */
static int is_root(lua_State *L) {
    lua_pushboolean(L, getuid() == 0);
    return 1;
}

/* set_env(name, value or nil) */
static int set_env(lua_State *L) {
    const char *name = luaL_checkstring(L, 1);
    int rc = lua_isnil(L, 2) ? unsetenv(name) : setenv(name, luaL_checkstring(L, 2), 1);
    return mp_lib_result(L, rc == 0 ? 0 : -errno, name);
}

/* signal_number(name): nil if there is none such. */
static int signal_number(lua_State *L) {
    size_t len;
    const char *name = luaL_checklstring(L, 1, &len);
    int number = strlen(name) == len ? mp_sys_signal_number(name) : -EINVAL;
    if (number < 0)
        return 0;
    lua_pushinteger(L, number);
    return 1;
}

static int signal_name(lua_State *L) {
    char name[16];
    lua_pushstring(L, mp_sys_signal_name((int)luaL_checkinteger(L, 1), name));
    return 1;
}

/* --- descriptors for streams and folders --------------------------------- */

static int push_descriptor(lua_State *L, int fd, const char *path) {
    int rc = mp_sys_high_fd(fd);
    if (rc < 0)
        return mp_lib_result(L, rc, path);
    lua_pushinteger(L, rc);
    return 1;
}

/* open(path, "read" | "write" | "folder"): a descriptor; writing truncates, then appends. */
static int open_descriptor(lua_State *L) {
    static const char *const names[] = {"read", "write", "folder", NULL};
    static const int flags[] = {O_RDONLY, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND,
                                O_RDONLY | O_DIRECTORY};
    const char *path = luaL_checkstring(L, 1);
    int kind = luaL_checkoption(L, 2, NULL, names);
    return push_descriptor(L, open(path, flags[kind] | O_CLOEXEC, 0666), path);
}

/* memory_file(): a descriptor of an anonymous file, written at its end. */
static int memory_file(lua_State *L) {
    int fd = memfd_create("luamp-capture", MFD_CLOEXEC);
    if (fd >= 0)
        fcntl(fd, F_SETFL, O_APPEND);
    return push_descriptor(L, fd, "capture");
}

/* pipe(): its reading and its writing descriptor. */
static int make_pipe(lua_State *L) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return mp_lib_result(L, -errno, "pipe");
    for (int i = 0; i < 2; i++)
        ends[i] = mp_sys_high_fd(ends[i]);
    if (ends[0] < 0 || ends[1] < 0) {
        int rc = ends[0] < 0 ? ends[0] : ends[1];
        close(ends[0]);
        close(ends[1]);
        return mp_lib_result(L, rc, "pipe");
    }
    lua_pushinteger(L, ends[0]);
    lua_pushinteger(L, ends[1]);
    return 2;
}

static int close_descriptor(lua_State *L) {
    close((int)luaL_checkinteger(L, 1));
    return 0;
}

/* duplicate(descriptor): another one for the same thing. */
static int duplicate(lua_State *L) {
    int fd = fcntl((int)luaL_checkinteger(L, 1), F_DUPFD_CLOEXEC, 10);
    return push_descriptor(L, fd, "a descriptor");
}

/* read_file(descriptor): the whole of a memory file. */
static int read_file(lua_State *L) {
    int fd = (int)luaL_checkinteger(L, 1);
    off_t end = lseek(fd, 0, SEEK_END);
    size_t len = end > 0 ? (size_t)end : 0, got = 0;
    luaL_Buffer text;
    char *bytes = luaL_buffinitsize(L, &text, len);
    while (got < len) {
        ssize_t n = pread(fd, bytes + got, len - got, (off_t)got);
        if (n <= 0)
            break; /* it became shorter: the child truncated it */
        got += (size_t)n;
    }
    luaL_pushresultsize(&text, got);
    return 1;
}

/* raise_file_limit(): whether more descriptors are allowed now than before. */
static int raise_file_limit(lua_State *L) {
    lua_pushboolean(L, mp_sys_raise_file_limit() == 0);
    return 1;
}

/* --- the face ------------------------------------------------------------ */

static const luaL_Reg functions[] = {{"deadline", deadline},
                                     {"poll", poll_descriptors},
                                     {"is_open", is_open},
                                     {"clock", clock_seconds},
                                     {"wall", wall},
                                     {"getpid", getpid_},
                                     {"getppid", getppid_},
                                     {"creator", creator},
                                     {"affinity_count", affinity_count},
                                     {"random_integers", random_integers},
                                     {"set_env", set_env},
                                     {"environment", environment},
                                     {"folder", folder},
                                     {"is_root", is_root},
                                     {"executable", executable},
                                     {"is_program", is_program},
                                     {"library", library},
                                     {"can_read", can_read},
                                     {"signal_number", signal_number},
                                     {"signal_name", signal_name},
                                     {"open", open_descriptor},
                                     {"memory_file", memory_file},
                                     {"pipe", make_pipe},
                                     {"duplicate", duplicate},
                                     {"close", close_descriptor},
                                     {"read_file", read_file},
                                     {"raise_file_limit", raise_file_limit},
                                     {"members", members},
                                     {NULL, NULL}};

/* A relative path leads elsewhere once the folder has changed. */
static void note_library(void) {
    Dl_info info;
    struct link_map *map;
    if (library_path == NULL &&
        dladdr1((void *)(uintptr_t)note_library, &info, (void **)&map, RTLD_DL_LINKMAP) != 0 &&
        map->l_name[0] != '\0')
        library_path = realpath(map->l_name, NULL);
}

void mp_system_open(lua_State *L) {
    note_library();
    luaL_setfuncs(L, functions, 0);
}
