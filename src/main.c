/*
** main.c: the program `luamp`: stock lua, to the letter, plus mp.
**
** What a user of lua 5.4 knows holds here: options, `arg`, LUA_INIT, error
** texts, exit status, the interactive mode. Where patch releases of 5.4 differ
** we follow the one that we are built with, so that luamp and the lua beside
** it agree; spec/program_spec.lua compares the two. What is more than lua:
**
**   - the module is loaded before any Lua code runs: `mp`, require "luamp";
**   - it also sees to it that descriptors 0 to 2 are never free, or the next
**     file that a script opens would become its standard output;
**   - run with --luamp-child by a process of a family, and only then, it is a child
**     of that, or its forkserver; see engine/image.h;
**   - the end of a script is told to the module, which joins or stops the
**     children, and an interrupted script ends with 128 + the signal;
**   - as the first process of a container it leaves the script to a child, and
**     reaps strangers; see init.h;
**   - as one of several ranks of a launcher it runs the script, or serves who does; see
**     cluster.h;
**   - at the prompt of the interactive mode lines can be edited, and Ctrl-C
**     leads back to it; see console.h.
*/
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lua.h"
#include "lauxlib.h"
#include "lualib.h"

#include "binding/lib.h"
#include "cluster.h"
#include "console.h"
#include "init.h"

#define INIT_VARIABLE "LUA_INIT"
#define INIT_VARIABLE_54 "LUA_INIT_5_4"

#if LUA_VERSION_RELEASE_NUM >= 50407
#define NO_MESSAGE "(error message not a string)"
#else
#define NO_MESSAGE "(null)"
#endif

/* Stands before each message; NULL at the prompt, where none is wanted. */
static const char *progname = "luamp";

/*
** How the script ended. `status` is that of the last uncaught error, 0 when
** there was none; only an interruption's, above EXIT_FAILURE, decides over the
** exit status, since in stock lua a failed script on stdin ends with 0.
*/
static struct {
    bool failed;
    int status;
} ending;

/* The exit status that the error last seen by describe_error asks for. */
static int error_status = EXIT_FAILURE;

/* Whether the state holds our module, and so must be told of the end. */
static bool module_open;

/* ---------- errors ---------- */

static void tell(const char *message) {
    mp_lib_make_room();
    if (progname != NULL)
        fprintf(stderr, "%s: %s\n", progname, message);
    else
        fprintf(stderr, "%s\n", message);
    fflush(stderr);
}

/* Pushes the calls that led to the error of which describe_error is told: without luamp's own. */
static void push_traceback(lua_State *L) {
    lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    if (module_open && lua_getfield(L, -1, "luamp.errors") == LUA_TTABLE) {
        lua_getfield(L, -1, "traceback");
        lua_pushinteger(L, 2); /* its caller's caller */
        if (lua_pcall(L, 1, 1, 0) == LUA_OK && lua_isstring(L, -1))
            return;
    }
    luaL_traceback(L, L, NULL, 1);
}

/*
** The message handler of every chunk: text gets a traceback, an object that
** can describe itself does so alone. The object is seen here for the last
** time, therefore its exit status is noted here.
*/
static int describe_error(lua_State *L) {
    error_status = mp_lib_status(L, 1);
    const char *message = lua_tostring(L, 1);
    if (message == NULL) {
        if (luaL_callmeta(L, 1, "__tostring") && lua_type(L, -1) == LUA_TSTRING)
            return 1;
        message = lua_pushfstring(L, "(error object is a %s value)", luaL_typename(L, 1));
    }
    push_traceback(L);
    lua_pushfstring(L, "%s\n%s", message, lua_tostring(L, -1));
    return 1;
}

/* A protected call, whose error comes back as the text to print. */
static int call(lua_State *L, int nargs, int nresults) {
    int handler = lua_gettop(L) - nargs;
    error_status = EXIT_FAILURE;
    lua_pushcfunction(L, describe_error);
    lua_insert(L, handler);
    int rc = lua_pcall(L, nargs, nresults, handler);
    lua_remove(L, handler);
    return rc;
}

static void tell_top(lua_State *L) {
    const char *message = lua_tostring(L, -1);
    tell(message != NULL ? message : NO_MESSAGE);
    lua_pop(L, 1);
}

static void fail_with(int status) {
    ending.failed = true;
    ending.status = status;
}

/* Prints and pops the message of a failure, which the script has ended by. */
static int report(lua_State *L, int rc) {
    if (rc != LUA_OK) {
        tell_top(L);
        fail_with(error_status);
    }
    return rc;
}

/* ---------- the command line ---------- */

enum { OPT_ASK = 1, OPT_VERSION = 2, OPT_STATEMENT = 4, OPT_NO_ENV = 8 };

/* `script` is the index of the first argument that is no option: the script's
   name, or argc when there is none. `bad` is that of the last option seen. */
typedef struct options {
    unsigned flags;
    int script;
    int bad;
} options;

static void print_version(void) {
    puts("luamp " LUAMP_VERSION);
    puts(LUA_COPYRIGHT);
    fflush(stdout);
}

static void print_usage(const char *bad) {
    bool wants_argument = bad[1] == 'e' || bad[1] == 'l';
    fprintf(stderr, wants_argument ? "%s: '%s' needs argument\n" : "%s: unrecognized option '%s'\n",
            progname, bad);
    fprintf(stderr,
            "usage: %s [options] [script [args]]\n"
            "Available options are:\n"
#if LUA_VERSION_RELEASE_NUM >= 50404
            "  -e stat   execute string 'stat'\n"
            "  -i        enter interactive mode after executing 'script'\n"
            "  -l mod    require library 'mod' into global 'mod'\n"
            "  -l g=mod  require library 'mod' into global 'g'\n"
            "  -v        show version information\n"
            "  -E        ignore environment variables\n"
            "  -W        turn warnings on\n"
            "  --        stop handling options\n"
            "  -         stop handling options and execute stdin\n",
#else
            "  -e stat  execute string 'stat'\n"
            "  -i       enter interactive mode after executing 'script'\n"
            "  -l name  require library 'name' into global 'name'\n"
            "  -v       show version information\n"
            "  -E       ignore environment variables\n"
            "  -W       turn warnings on\n"
            "  --       stop handling options\n"
            "  -        stop handling options and execute stdin\n",
#endif
            progname);
    fflush(stderr);
}

/* The flag of an option that stands alone; false for an unknown one. */
static bool plain_option(const char *option, unsigned *flags) {
    if (option[2] != '\0')
        return false;
    switch (option[1]) {
    case 'i':
        *flags |= OPT_ASK | OPT_VERSION;
        return true;
    case 'v':
        *flags |= OPT_VERSION;
        return true;
    case 'E':
        *flags |= OPT_NO_ENV;
        return true;
    case 'W':
        return true;
    default:
        return false;
    }
}

/* Looks at all options before any runs; false when `bad` is a wrong one. */
static bool parse_options(char **argv, options *o) {
    int i = argv[0] != NULL;
    for (; argv[i] != NULL && argv[i][0] == '-' && argv[i][1] != '\0'; i++) {
        const char *option = argv[i];
        o->bad = i;
        if (strcmp(option, "--") == 0) {
            i++;
            break;
        }
        if (option[1] == 'e' || option[1] == 'l') {
            if (option[1] == 'e')
                o->flags |= OPT_STATEMENT;
            if (option[2] == '\0' && (argv[++i] == NULL || argv[i][0] == '-'))
                return false;
        } else if (!plain_option(option, &o->flags))
            return false;
    }
    o->script = i;
    return true;
}

/* The global `arg`: the script's name at 0, what stands before it below. */
static void set_arg(lua_State *L, char **argv, int argc, int script) {
    int zero = script < argc ? script : 0;
    lua_createtable(L, argc - zero, zero + 1);
    for (int i = 0; i < argc; i++) {
        lua_pushstring(L, argv[i]);
        lua_rawseti(L, -2, i - zero);
    }
    lua_setglobal(L, "arg");
}

/* ---------- running ---------- */

static int run_chunk(lua_State *L, int rc) {
    return report(L, rc == LUA_OK ? call(L, 0, 0) : rc);
}

static int run_file(lua_State *L, const char *name) {
    return run_chunk(L, luaL_loadfile(L, name));
}

static int run_string(lua_State *L, const char *code, const char *name) {
    return run_chunk(L, luaL_loadbuffer(L, code, strlen(code), name));
}

/* `-l mod` and `-l global=mod`. Since 5.4.7 a suffix "-v2" is no part of the
   global's name, and before 5.4.4 an equals sign was nothing special. */
static int run_require(lua_State *L, const char *spec) {
    const char *module = spec;
    size_t len = strlen(spec);
#if LUA_VERSION_RELEASE_NUM >= 50404
    const char *equals = strchr(spec, '=');
    if (equals != NULL) {
        module = equals + 1;
        len = (size_t)(equals - spec);
    }
#endif
#if LUA_VERSION_RELEASE_NUM >= 50407
    else
        len = strcspn(spec, LUA_IGMARK);
#endif
    lua_getglobal(L, "require");
    lua_pushstring(L, module);
    int rc = call(L, 1, 1);
    if (rc == LUA_OK) {
        lua_pushlstring(L, spec, len);
        lua_insert(L, -2);
        lua_setglobal(L, lua_tostring(L, -2));
        lua_pop(L, 1);
    }
    return report(L, rc);
}

static int run_init(lua_State *L) {
    const char *name = "=" INIT_VARIABLE_54;
    const char *init = getenv(INIT_VARIABLE_54);
    if (init == NULL) {
        name = "=" INIT_VARIABLE;
        init = getenv(INIT_VARIABLE);
    }
    if (init == NULL)
        return LUA_OK;
    return init[0] == '@' ? run_file(L, init + 1) : run_string(L, init, name);
}

/* The options that act, in their order; `--` falls through the switch. */
static int run_options(lua_State *L, char **argv, int script) {
    int rc = LUA_OK;
    for (int i = 1; i < script && rc == LUA_OK; i++) {
        char option = argv[i][1];
        if (option == 'W')
            lua_warning(L, "@on", 0);
        if (option != 'e' && option != 'l')
            continue;
        const char *argument = argv[i][2] != '\0' ? argv[i] + 2 : argv[++i];
        rc = option == 'e' ? run_string(L, argument, "=(command line)") : run_require(L, argument);
    }
    return rc;
}

/* The script's arguments are what `arg` holds by now: LUA_INIT may change it. */
static int push_args(lua_State *L) {
    if (lua_getglobal(L, "arg") != LUA_TTABLE)
        return luaL_error(L, "'arg' is not a table");
    int n = (int)luaL_len(L, -1);
    luaL_checkstack(L, n + 3, "too many arguments to script");
    int table = lua_gettop(L);
    for (int i = 1; i <= n; i++)
        lua_rawgeti(L, table, i);
    lua_remove(L, table);
    return n;
}

/* `-` is stdin, unless it follows `--`: then it is a file of that name. */
static int run_script(lua_State *L, char **argv, int script) {
    const char *name = argv[script];
    if (strcmp(name, "-") == 0 && strcmp(argv[script - 1], "--") != 0)
        name = NULL;
    int rc = luaL_loadfile(L, name);
    if (rc == LUA_OK)
        rc = call(L, push_args(L), LUA_MULTRET);
    return report(L, rc);
}

/* ---------- the interactive mode ---------- */

typedef enum { LINE_READ, LINE_END, LINE_DROPPED } line_result;

/* Pushes what the prompt was made of: a string, or nil for the default. */
static const char *push_prompt(lua_State *L, bool first) {
    if (lua_getglobal(L, first ? "_PROMPT" : "_PROMPT2") == LUA_TNIL)
        return first ? "> " : ">> ";
    const char *prompt = luaL_tolstring(L, -1, NULL);
    lua_remove(L, -2);
    return prompt;
}

/*
** Pushes the next line. Without one the prompt's value is left in its place:
** the input has ended, or a signal has dropped what was typed. Any signal but
** SIGINT ends the program.
*/
static line_result push_line(lua_State *L, bool first) {
    int interrupted;
    mp_lib_make_room();
    const char *line = console_read(push_prompt(L, first), &interrupted);
    if (interrupted != 0) {
        if (interrupted != SIGINT)
            fail_with(128 + interrupted);
        return LINE_DROPPED;
    }
    if (line == NULL)
        return LINE_END;
    if (first && line[0] == '=')
        lua_pushfstring(L, "return %s", line + 1);
    else
        lua_pushstring(L, line);
    lua_remove(L, -2);
    return LINE_READ;
}

static int load_line(lua_State *L, const char *code) {
    return luaL_loadbuffer(L, code, strlen(code), "=stdin");
}

/* Compiles the line on top as an expression; if it is none, pushes nothing. */
static bool load_expression(lua_State *L) {
    const char *line = lua_tostring(L, -1);
    bool valid = load_line(L, lua_pushfstring(L, "return %s;", line)) == LUA_OK;
    lua_remove(L, -2);
    if (!valid)
        lua_pop(L, 1);
    else if (line[0] != '\0')
        console_remember(line);
    return valid;
}

static bool is_incomplete(lua_State *L, int rc) {
    static const char mark[] = "<eof>";
    size_t len, tail = sizeof mark - 1;
    if (rc != LUA_ERRSYNTAX)
        return false;
    const char *message = lua_tolstring(L, -1, &len);
    return len >= tail && strcmp(message + len - tail, mark) == 0;
}

/*
** Compiles the statement that begins with the line in slot 1, and reads more
** lines while it is incomplete. Leaves the function or the message on top and
** the text below it. When the input ends half way, releases before 5.4.8 have
** lost the message and print the prompt's value instead.
*/
static line_result load_statement(lua_State *L, int *rc) {
    enum { MESSAGE = 2, PROMPT = 3, LOST = LUA_VERSION_RELEASE_NUM >= 50408 ? PROMPT : MESSAGE };
    line_result got = LINE_READ;
    while (is_incomplete(L, *rc = load_line(L, lua_tostring(L, 1)))) {
        got = push_line(L, false);
        if (got != LINE_READ) {
            lua_remove(L, LOST);
            break;
        }
        lua_remove(L, MESSAGE);
        lua_pushliteral(L, "\n");
        lua_insert(L, 2);
        lua_concat(L, 3);
    }
    if (got != LINE_DROPPED)
        console_remember(lua_tostring(L, 1));
    return got == LINE_END ? LINE_READ : got;
}

/* Reads a statement or expression and leaves it, compiled, alone in the stack,
   or the message; how compiling went is in *rc. */
static line_result read_statement(lua_State *L, int *rc) {
    lua_settop(L, 0);
    *rc = LUA_OK;
    line_result got = push_line(L, true);
    if (got != LINE_READ)
        return got;
    if (!load_expression(L))
        got = load_statement(L, rc);
    lua_remove(L, 1);
    return got;
}

/* Prints what the chunk returned, by whatever `print` is. */
static void print_results(lua_State *L) {
    int n = lua_gettop(L);
    if (n == 0)
        return;
    luaL_checkstack(L, LUA_MINSTACK, "too many results to print");
    lua_getglobal(L, "print");
    lua_insert(L, 1);
    if (lua_pcall(L, n, 0, 0) == LUA_OK)
        return;
    error_status = mp_lib_status(L, -1);
    if (error_status > EXIT_FAILURE)
        tell(luaL_tolstring(L, -1, NULL));
    else
        tell(lua_pushfstring(L, "error calling 'print' (%s)", lua_tostring(L, -1)));
}

static void interact(lua_State *L) {
    const char *name = progname;
    int rc;
    progname = NULL;
    console_open(L);
    for (line_result got; !ending.failed && (got = read_statement(L, &rc)) != LINE_END;) {
        if (got == LINE_DROPPED)
            continue;
        if (rc == LUA_OK)
            rc = call(L, 0, LUA_MULTRET);
        if (rc == LUA_OK)
            print_results(L);
        else
            tell_top(L);
        if (error_status > EXIT_FAILURE && error_status != 128 + SIGINT)
            fail_with(error_status);
    }
    lua_settop(L, 0);
    if (!ending.failed)
        putchar('\n');
    fflush(stdout);
    progname = name;
}

/* ---------- the program ---------- */

/* Nothing of this is garbage, so none is looked for: the caller restarts the collector. */
static void open_libraries(lua_State *L, unsigned flags) {
    lua_gc(L, LUA_GCSTOP);
    if (flags & OPT_NO_ENV) {
        lua_pushboolean(L, 1);
        lua_setfield(L, LUA_REGISTRYINDEX, "LUA_NOENV");
    }
    luaL_openlibs(L);
    luaL_requiref(L, "luamp", luaopen_luamp, 0);
    lua_setglobal(L, "mp");
    module_open = true;
}

/* A process of a family that begins in a fresh image: lives its life. */
static int child_program(lua_State *L) {
    open_libraries(L, OPT_NO_ENV);
    mp_lib_serve(L);
}

/* A host that serves the script of rank 0 (luamp.host); returns as `program`. */
static int host_program(lua_State *L) {
    open_libraries(L, 0);
    lua_gc(L, LUA_GCRESTART);
    lua_gc(L, LUA_GCGEN, 0, 0);
    lua_getglobal(L, "require");
    lua_pushliteral(L, "luamp.host");
    lua_call(L, 1, 1);
    lua_getfield(L, -1, "serve");
    lua_call(L, 0, 0);
    lua_pushboolean(L, 1);
    return 1;
}

/* What is left to do when all options have run. */
static bool run_rest(lua_State *L, char **argv, const options *o, bool has_script) {
    if (has_script && run_script(L, argv, o->script) != LUA_OK)
        return false;
    if (o->flags & OPT_ASK)
        interact(L);
    else if (!has_script && !(o->flags & (OPT_STATEMENT | OPT_VERSION))) {
        if (isatty(STDIN_FILENO)) {
            print_version();
            interact(L);
        } else
            run_file(L, NULL);
    }
    return true;
}

/* The program in a protected call; returns whether all went well. */
static int program(lua_State *L) {
    int argc = (int)lua_tointeger(L, 1);
    char **argv = lua_touserdata(L, 2);
    options o = {0};
    bool valid = parse_options(argv, &o);
    luaL_checkversion(L);
    if (argc > 0 && argv[0][0] != '\0')
        progname = argv[0];
    if (!valid) {
        print_usage(argv[o.bad]);
        return 0;
    }
    if (o.flags & OPT_VERSION)
        print_version();
    open_libraries(L, o.flags);
    set_arg(L, argv, argc, o.script);
    lua_gc(L, LUA_GCRESTART);
    lua_gc(L, LUA_GCGEN, 0, 0);
    bool fine = ((o.flags & OPT_NO_ENV) || run_init(L) == LUA_OK) &&
                run_options(L, argv, o.script) == LUA_OK && run_rest(L, argv, &o, o.script < argc);
    lua_pushboolean(L, fine);
    return 1;
}

/* What the process is: one of a family, a host that serves, or the one that runs the script. */
static lua_CFunction role(int is_child) {
    if (is_child && mp_lib_is_fresh())
        return child_program;
    return mp_lib_cluster.rank > 0 ? host_program : program;
}

int main(int argc, char **argv) {
    int is_child = argc > 1 && strcmp(argv[1], MP_LIB_CHILD) == 0;
    init_take_over();
    if (!is_child)
        cluster_take_over();
    lua_State *L = luaL_newstate();
    if (L == NULL) {
        tell("cannot create state: not enough memory");
        return EXIT_FAILURE;
    }
    mp_lib_adopt_heap(L);
    mp_lib_is_program = 1;
    lua_pushcfunction(L, role(is_child));
    lua_pushinteger(L, argc);
    lua_pushlightuserdata(L, argv);
    int rc = lua_pcall(L, 2, 1, 0);
    int status = rc == LUA_OK && lua_toboolean(L, -1) ? EXIT_SUCCESS : EXIT_FAILURE;
    report(L, rc);
    if (ending.status > EXIT_FAILURE)
        status = ending.status;
    if (module_open) {
        int interrupted = mp_lib_end(L, ending.failed);
        if (interrupted > 0)
            status = interrupted;
    }
    lua_close(L);
    return status;
}
