/*
** feed.c: puts the items of a list on a board, one by one or in batches.
*/
#include <errno.h>
#include <string.h>

#include "binding/board.h"
#include "binding/codec.h"
#include "binding/shared.h"

static void push_item(lua_State *L, int list, int is_plain, uint64_t index) {
    if (is_plain)
        lua_rawgeti(L, list, (lua_Integer)index);
    else if (lua_isnil(L, list))
        lua_pushinteger(L, (lua_Integer)index);
    else
        lua_geti(L, list, (lua_Integer)index);
}

/* What feed() is about. */
typedef struct feeding {
    mp_board_owner *o;
    mp_task task; /* the next one */
    uint64_t last;
    uint32_t most; /* tasks of a batch; 0: there are none */
    int is_plain, goes_on;
    lua_Integer n_slots; /* that were taken */
    int rc;              /* of the item at fault, or >= 0 */
    mp_message extra; /* of the next item, which was encoded and did not go into the batch before */
    int has_extra;    /* whether there is one; -1: that item cannot be sent */
} feeding;

enum { LAST = MP_TASK_VALUES, LIST, MOST, GOES_ON, FEEDING };
enum { BATCH_BYTES = 32 * 1024, BATCH_ITEM = 1024 };

/*
** Appends the item on top to the bytes of a batch: whether it fits and may lie there. If it does
** not, what was made of it is kept: its hooks (__mp_send) are not called a second time for that.
*/
static int append(lua_State *L, feeding *f, char *bytes, uint32_t *size) {
    unsigned char scalar[MP_CODEC_SCALAR];
    struct iovec piece = {scalar, mp_codec_scalar(L, -1, scalar)};
    mp_message m = {.pieces = &piece, .n_pieces = 1, .len = piece.iov_len};
    if (m.len == 0) {
        f->has_extra = mp_codec_encode(L, lua_gettop(L), 1, &f->extra) ? 1 : -1;
        if (f->has_extra < 0)
            return 0;
        m = f->extra;
    }
    const uint32_t len = (uint32_t)m.len;
    if (m.n_objects > 0 || m.len > BATCH_ITEM || *size + sizeof len + m.len > BATCH_BYTES)
        return 0;
    f->has_extra = 0;
    memcpy(bytes + *size, &len, sizeof len);
    *size += (uint32_t)sizeof len;
    for (int i = 0; i < m.n_pieces; i++) {
        memcpy(bytes + *size, m.pieces[i].iov_base, m.pieces[i].iov_len);
        *size += (uint32_t)m.pieces[i].iov_len;
    }
    return 1;
}

/*
** Puts a batch of the next items, as many as go into one: how many; or as put_values. The item that
** ends it stays on the stack, for what was made of that.
*/
static int put_batch(lua_State *L, feeding *f) {
    char bytes[BATCH_BYTES];
    uint32_t size = 0, n = 0;
    const int is_numbers = lua_isnil(L, LIST);
    const uint64_t left = f->last - f->task.index + 1;
    const uint32_t most = left < f->most ? (uint32_t)left : f->most;
    if (is_numbers)
        n = most;
    for (int fits = !is_numbers; fits && n < most; n += fits != 0) {
        lua_settop(L, GOES_ON);
        push_item(L, LIST, f->is_plain, f->task.index + n);
        fits = append(L, f, bytes, &size);
    }
    if (n == 0)
        return 0;
    mp_task task = f->task;
    task.n = n;
    task.chunk = 1;
    const int rc = mp_board_put_batch(f->o->b, &task, bytes, size, f->goes_on);
    return rc < 0 ? rc : (int)n;
}

/* The same for the item that was encoded. */
static int put_extra(feeding *f) {
    if (f->has_extra < 0)
        return -EINVAL;
    const mp_record record = mp_board_record(&f->extra);
    f->has_extra = 0;
    const int rc = mp_board_put(f->o->b, &f->task, &record);
    return rc < 0 ? rc : 1;
}

/* Puts the next item or items: how many; or as put_values. A batch leaves room for its extra. */
static int put_next(lua_State *L, feeding *f) {
    if (f->has_extra != 0)
        return put_extra(f);
    int rc = f->most == 0 || mp_board_room(f->o->b) < 2 ? 0 : put_batch(L, f);
    if (rc != 0)
        return rc;
    if (f->has_extra != 0)
        return put_extra(f);
    push_item(L, LIST, f->is_plain, f->task.index);
    rc = mp_board_put_values(L, f->o, &f->task, lua_gettop(L), 1);
    return rc < 0 ? rc : 1;
}

/* feed_all(what feed is given, feeding): puts them. It raises what the list does. */
static int feed_all(lua_State *L) {
    feeding *f = lua_touserdata(L, FEEDING);
    lua_settop(L, GOES_ON);
    for (f->rc = 0; f->task.index <= f->last && mp_board_room(f->o->b) > 0; f->n_slots++) {
        if (f->has_extra == 0)
            lua_settop(L, GOES_ON);
        f->rc = put_next(L, f);
        if (f->rc < 0)
            break;
        f->task.index += (uint64_t)f->rc;
    }
    return 0;
}

/*
** feed(board, call, limit, chunk, excluded, attempt, index, last, list, most, goes_on): puts the
** items of the list from `index` to `last`, each as a task of that index; without a list, their
** numbers. Up to `most` of them are put as a batch, which goes on when one fails, or not. Returns
** the first index that was not put; whether it cannot be sent; how many slots were taken; if there
** is no memory for that one, nor will there be, the words for that, or nil; and whether the list
** has raised something there, and that.
*/
int mp_board_feed(lua_State *L) {
    feeding f = {.o = mp_board_use(L), .task = mp_board_check_task(L)};
    lua_settop(L, GOES_ON);
    f.last = (uint64_t)luaL_checkinteger(L, LAST);
    f.most = (uint32_t)luaL_optinteger(L, MOST, 0);
    f.goes_on = lua_toboolean(L, GOES_ON);
    f.is_plain = lua_istable(L, LIST) && !lua_getmetatable(L, LIST);
    lua_settop(L, GOES_ON);
    lua_pushcfunction(L, feed_all);
    for (int i = 1; i <= GOES_ON; i++)
        lua_pushvalue(L, i);
    lua_pushlightuserdata(L, &f);
    const int has_raised = lua_pcall(L, FEEDING, 0, 0) != LUA_OK;
    const int is_hopeless =
        f.rc < 0 && f.rc != -EINVAL && f.rc != -EAGAIN && !mp_board_may_wait(f.o, f.rc);
    lua_pushinteger(L, (lua_Integer)f.task.index);
    lua_pushboolean(L, f.rc == -EINVAL);
    lua_pushinteger(L, f.n_slots);
    lua_pushstring(L, is_hopeless ? mp_shared_words(f.rc) : NULL);
    lua_pushboolean(L, has_raised);
    if (has_raised)
        lua_rotate(L, -6, 5);
    return 5 + has_raised;
}
