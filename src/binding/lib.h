/*
** lib.h: what all faces share: loading, classes, results, and the few calls
** that the program needs.
*/
#ifndef MP_BINDING_LIB_H
#define MP_BINDING_LIB_H

#include <stddef.h>
#include <sys/types.h>

#include "lua.h"

#include "lauxlib.h"
#include "lualib.h"

#include "engine/sys.h"

#define MP_EXPORT __attribute__((visibility("default")))

/* A Lua module that the build baked in; see bake.c. The list ends with NULL. */
typedef struct mp_baked {
    const char *name;
    const unsigned char *bytes;
    size_t len;
} mp_baked;

extern const mp_baked mp_baked_modules[];

/* The module: pushes the table that `require "luamp"` returns. */
MP_EXPORT int luaopen_luamp(lua_State *L);

/*
** Changes the state over to the engine's heap, which is cheap to fork. For a
** host at the birth of a state; in others the module does it when it is loaded.
*/
void mp_lib_adopt_heap(lua_State *L);

/*
** The collector around a fork (collector.c). Before it: the heap is made ready for a child that
** `lasts`, or is not known to be short; finalizers may run, and a bad LUAMP_COLLECTOR raises.
** Returns by how many KiB the next collection of both is to be put off, which each then does
** itself, and cannot fail in; 0: not at all.
*/
int mp_collector_before_fork(lua_State *L, int lasts);
void mp_collector_after_fork(lua_State *L, int allowance);
void mp_collector_in_child(lua_State *L, int allowance);

/*
** Turns an engine's result into Lua's idiom: rc >= 0 pushes true, a negative
** errno pushes nil, "what: message", "ECODE". Returns the number of values.
*/
int mp_lib_result(lua_State *L, int rc, const char *what);

/*
** The end of a script, for a host that knows how it ended (the program, and
** os.exit): runs the atexit hooks, then joins the children that are left, or
** stops them all when `failed`. Never raises. Returns 0, or the exit status that it asks for:
** 128 + the signal that interrupted the wait, or EXIT_FAILURE where a handler of
** the script's raised an error meanwhile.
*/
int mp_lib_end(lua_State *L, int failed);

/*
** The exit status for an uncaught error object at `index`: 128 + signal for
** an interruption, else EXIT_FAILURE.
*/
int mp_lib_status(lua_State *L, int index);

/* The host is about to write on standard error by itself: no line at the terminal's foot is in the
 * way (engine/footer.h). */
void mp_lib_make_room(void);

/*
** The number of a signal (SIGINT, SIGTERM, SIGHUP) that arrived and was not
** raised as an error yet, or 0; the caller takes it over. For the prompt of
** an interactive host, where no Lua code runs that it could interrupt.
*/
int mp_interrupt_take(lua_State *L);

/*
** Tells which thread runs from here on, where that changes outside of
** coroutine.resume and its like: in a forked child.
*/
void mp_interrupt_run_on(lua_State *L);
/* L's state closes: none of its threads is to be interrupted any more. */
void mp_interrupt_forget(lua_State *L);
lua_State *mp_interrupt_running(void);

/* After a wait that a signal ended: runs its handler, or raises the interruption. */
void mp_interrupt_check(lua_State *L);

/* How often the script has called debug.sethook; and takes its hook off the thread. */
extern unsigned long mp_interrupt_n_hooks;
void mp_interrupt_end_hook(lua_State *L);

/*
** Raises the message on top with the position of the script's line that called into the
** library, however deep inside we are.
*/
int mp_lib_misuse(lua_State *L);
/* The same for a message that is made as lua_pushfstring does. */
int mp_lib_raise(lua_State *L, const char *format, ...);

/* Pushes how a message speaks of the value at that index. */
const char *mp_lib_describe(lua_State *L, int index);

/* Writes out, in turn, what streams of this state have buffered. 0, or the first -errno. */
int mp_output_flush_all(lua_State *L);

/*
** In the table on top, puts a closure of f in the place of a stock C function
** of that name, which is its upvalue. What a script has put there stays.
*/
void mp_lib_wrap(lua_State *L, const char *name, lua_CFunction f);

/* Pushes what the Lua module of ours returns, which is kept in the registry under the key. */
void mp_lib_push_part(lua_State *L, const void *key, const char *name);

/* The script is about to run a program by os.execute or io.popen; raises if that cannot be kept. */
void mp_lib_runs_program(lua_State *L);
/* How many this process has run so. */
extern unsigned long mp_lib_n_programs;
/* How many boards, for pools, this process has made. */
extern unsigned long mp_lib_n_boards;

/* The names of enum mp_outcome, for Lua; the list ends with NULL. */
extern const char *const mp_life_outcomes[];

/* The main thread of L's state. */
lua_State *mp_lib_main_thread(lua_State *L);

/*
** What a fork takes along for the child. T is a thread made for the child's
** function, and holds its state, the function and n_args arguments.
*/
typedef struct mp_birth {
    lua_State *L; /* the thread that forked */
    lua_State *T;
    int n_args;
    int allowance; /* of mp_collector_before_fork */
    int is_fresh;  /* in a fresh image: what T is to hold comes by a message */
} mp_birth;

/* The body of a forked child: lives the life of an mp_birth, and does not return. */
int mp_life(void *birth);

/*
** In a fresh image (engine/image.h): lives the lives of the processes that begin in it.
** `is_program`: a host that serves as one when it is run with the option MP_LIB_CHILD says
** so before it opens the module.
*/
#define MP_LIB_CHILD "--luamp-child"
extern int mp_lib_is_program;

/*
** A rank of several: which one, of how many, and by rank the stream to that, -1 where there is
** none. For the program, which sets it before a state is opened; size is 0 where there are no
** ranks. It is of that process, and of none that this one forks.
*/
typedef struct mp_cluster {
    pid_t pid;
    int rank, size;
    int *fds;
} mp_cluster;
extern mp_cluster mp_lib_cluster;
int mp_lib_is_fresh(void);
_Noreturn void mp_lib_serve(lua_State *L);

/* The same for a stock interpreter, which opens this in place of the module. */
MP_EXPORT int luaopen_luamp_child(lua_State *L);

/* Openers of the faces: each puts its functions into the table on top. */
void mp_collector_open(lua_State *L);
void mp_interrupt_open(lua_State *L);
void mp_output_open(lua_State *L);
void mp_life_open(lua_State *L);
void mp_process_open(lua_State *L);
void mp_system_open(lua_State *L);
void mp_shared_open(lua_State *L);
void mp_queue_open(lua_State *L);
void mp_pipe_open(lua_State *L);
void mp_waiting_open(lua_State *L);
void mp_inheriting_open(lua_State *L);
void mp_parcel_open(lua_State *L);
void mp_bell_face_open(lua_State *L);
void mp_ends_face_open(lua_State *L);
void mp_future_open(lua_State *L);
void mp_board_face_open(lua_State *L);
void mp_worker_open(lua_State *L);
void mp_statistics_open(lua_State *L);
void mp_cells_open(lua_State *L);
void mp_buffer_open(lua_State *L);
void mp_acquiring_open(lua_State *L);
void mp_mutex_open(lua_State *L);
void mp_semaphore_open(lua_State *L);
void mp_event_open(lua_State *L);
void mp_rwlock_open(lua_State *L);
void mp_barrier_open(lua_State *L);
void mp_condition_open(lua_State *L);
void mp_dict_open(lua_State *L);
void mp_list_open(lua_State *L);
void mp_journal_open(lua_State *L);
void mp_footer_open(lua_State *L);
void mp_relay_face_open(lua_State *L);
void mp_link_face_open(lua_State *L);

#endif
