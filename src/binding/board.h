/*
** board.h: the owner's side of a board for Lua, for the files that make it up: board.c, feed.c,
** which puts the items of a list, ends.c, what came of them, future.c, the futures of single tasks,
** bell.c, the descriptors for event loops, and statistics.c, what the workers' time went into.
*/
#ifndef MP_BINDING_BOARD_H
#define MP_BINDING_BOARD_H

#include <lua.h>
#include <sys/types.h>

#include "binding/codec.h"
#include "engine/board.h"

typedef struct mp_board_owner {
    const char *magic; /* BOARD */
    mp_board *b;
    pid_t pid;
    mp_ended ended; /* what was given out last, */
    int is_in_hand; /* and whether that is nobody's yet: memory was short when it was passed on */
    int n_inside;   /* calls that use the board and run Lua code meanwhile, */
    int is_leaving; /* after which it is to be forgotten */
    uint64_t n_settled; /* futures that have got their values, of which nobody was told */
} mp_board_owner;

/* The board at that stack index, of whatever process. */
mp_board_owner *mp_board_at(lua_State *L, int index);
/* The board at stack index 1, or of the crew there, which is this process's; raises otherwise. */
mp_board_owner *mp_board_check(lua_State *L);
/* The same for a C function that runs Lua code while it uses the board, which stays until its end.
 */
mp_board_owner *mp_board_use(lua_State *L);
/* The lane of the worker whose number is at that stack index; raises for what is none. */
uint32_t mp_board_check_lane(lua_State *L, int index);

/* The fields of a task from stack index 2 on: call, limit, chunk, excluded, attempt, index. */
enum {
    MP_TASK_CALL = 2,
    MP_TASK_LIMIT,
    MP_TASK_CHUNK,
    MP_TASK_EXCLUDED,
    MP_TASK_ATTEMPT,
    MP_TASK_INDEX,
    MP_TASK_VALUES
};
mp_task mp_board_check_task(lua_State *L);

/* A message as the board takes it. */
mp_record mp_board_record(const mp_message *m);

/* Values that were encoded, as long as mp_message says. */
typedef struct mp_values {
    mp_record record;
    struct iovec piece;
    unsigned char scalar[MP_CODEC_SCALAR];
} mp_values;
/* Encodes n values from `first` on: 0, or -EINVAL: they cannot be sent. */
int mp_board_encode(lua_State *L, int first, int n, mp_values *v);

/*
** Encodes n values from `first` on and puts them: a slot, -EAGAIN, -EINVAL (they cannot be sent:
** the culprit is on top), -ECANCELED: the board is gone, or what mp_arena_alloc says.
*/
int mp_board_put_values(lua_State *L, mp_board_owner *o, const mp_task *task, int first, int n);

/* Whether what has ended, by and by, makes room where memory is short now. */
int mp_board_may_wait(const mp_board_owner *o, int rc);

/*
** Futures (future.c). Whether there is one at that index, and nobody else is told of its end; then
** it can be done, with the value on top, which goes: whether it was pending, for to decode
** the value may have run what has cancelled it.
*/
int mp_future_is_alone(lua_State *L, int index);
int mp_future_done(lua_State *L, int index);

/* Of feed.c. */
int mp_board_feed(lua_State *L);

#endif
