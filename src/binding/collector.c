/*
** collector.c: what becomes of Lua's collector around a fork. All of the policy is here.
**
** Reading copies no page of what a child shares with its parent. Collecting does: a cycle
** marks every object, in its header, so that a child that allocates enough for one copies most
** of what it inherited; and so does a cycle of the parent's while the child lives. Heaps of
** less than 16 MiB are left alone. Over a larger one:
**
**   a lone process     the child's next collection, and the parent's, are put off by half of
**                      the heap. This costs nothing, and a short process ends before.
**   a daemon, detached one, worker of a pool:
**                      the heap is settled before the fork: one full cycle, after which
**                      all objects are old, and the young collections of child and parent
**                      leave them alone. This costs 0.25 to 0.5 s per GiB, and is done
**                      again only after a growth by a quarter. What has come since then is
**                      made old by young collections, whose time is for that alone.
**
** When a lone process, or its parent while it ran, did come to a collection, what is started
** after that is not taken for short any more, and the heap is settled for it, too.
**
** Settled is: in generational mode, entered anew. Not entered before the heap grew: Lua 5.4.4
** falls into full cycles when the heap doubles, and stays there until it is entered again. So all
** is known to be old only as long as no cycle has ended and the heap has hardly grown. The
** mode is the script's. Where it is incremental, or the script has called collectgarbage to set
** anything, or the collector does not run, or LUAMP_COLLECTOR is "off", none of this is done.
** collectgarbage itself does what it did: in a child, a full one copies the heap.
**
** In which forks cycles were seen is counted in a page that all share who came after; it is made
** by the first fork that needs it. Without that memory nothing is known of them.
*/
#include <limits.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "binding/lib.h"
#include "engine/heap.h"
#include "engine/proc.h"

#define LARGE (16 * 1024) /* KiB, as all sizes here */
#define SLACK (4 * 1024)
#define YOUNG_PART 64 /* so small a part of the heap may be young */
#define AGES 3        /* young collections until an object is old, and is not looked at any more */

typedef struct collector {
    int is_scripts; /* the script has set the collector */
    int is_watched; /* a cycle of this process's, or of one forked since, is to be seen */
    int is_put_off; /* this process's, and no cycle has ended since */
    int is_due;     /* that is to be done after the fork */
    int is_another; /* the mode, in which nothing is made old */
    int is_asked;   /* a cycle that runs is one that the script or we have asked for */
    int is_old;     /* all that was there at a size of `old`: no cycle has ended since */
    int old;
    int settled;     /* the size when the heap was settled, or after a full cycle since; 0: never */
    int collected;   /* the size after the script's own full cycle; 0: not since it was settled */
    unsigned n_seen; /* cycles in forks that are accounted for */
} collector;

static const char KEY = 0;
static _Atomic unsigned *n_cycles; /* shared; NULL: not yet, or no memory */

static collector *collector_of(lua_State *L) {
    lua_rawgetp(L, LUA_REGISTRYINDEX, &KEY);
    collector *c = lua_touserdata(L, -1);
    lua_pop(L, 1);
    return c;
}

static int size_now(lua_State *L) {
    return lua_gc(L, LUA_GCCOUNT);
}

/* --- what the script does -------------------------------------------------- */

static int full_collection(lua_State *L, lua_CFunction stock, collector *c) {
    c->is_asked++;
    int n = stock(L);
    c->is_asked--;
    *(c->settled != 0 ? &c->settled : &c->collected) = size_now(L);
    mp_heap_breathe();
    return n;
}

/* The stock function with the same messages; what it does is only noted. */
static int collect_garbage(lua_State *L) {
    static const char *const settings[] = {"stop",       "restart",     "step",         "setpause",
                                           "setstepmul", "incremental", "generational", NULL};
    lua_CFunction stock = lua_tocfunction(L, lua_upvalueindex(1));
    collector *c = collector_of(L);
    const char *what = luaL_optstring(L, 1, "collect");
    if (strcmp(what, "collect") == 0)
        return full_collection(L, stock, c);
    for (int i = 0; settings[i] != NULL; i++)
        if (strcmp(what, settings[i]) == 0)
            c->is_scripts = 1;
    return stock(L);
}

/* --- what is seen of cycles ------------------------------------------------- */

/* __gc of a sentinel: a cycle has ended in the process that made it, or in one forked after that.
 */
static int cycle_ended(lua_State *L) {
    collector *c = collector_of(L);
    if (c == NULL)
        return 0;
    c->is_old = 0;
    if (!c->is_watched)
        return 0;
    c->is_watched = c->is_put_off = 0;
    if (n_cycles != NULL && !c->is_asked && (mp_proc_is_child() || mp_proc_has_children()))
        atomic_fetch_add(n_cycles, 1);
    return 0;
}

static void make_sentinel(lua_State *L) {
    lua_newuserdatauv(L, 0, 0);
    if (luaL_newmetatable(L, "luamp.cycle")) {
        lua_pushcfunction(L, cycle_ended);
        lua_setfield(L, -2, "__gc");
    }
    lua_setmetatable(L, -2);
    lua_pop(L, 1);
}

static void share_count(void) {
    if (n_cycles != NULL)
        return;
    void *page =
        mmap(NULL, sizeof *n_cycles, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (page != MAP_FAILED)
        n_cycles = page;
}

/* --- policy ----------------------------------------------------------------- */

static int is_off(lua_State *L) {
    const char *wish = getenv("LUAMP_COLLECTOR");
    if (wish == NULL || strcmp(wish, "auto") == 0)
        return 0;
    if (strcmp(wish, "off") != 0)
        luaL_error(L, "LUAMP_COLLECTOR must be 'auto' or 'off', not '%s'", wish);
    return 1;
}

static int is_left_alone(lua_State *L, const collector *c) {
    return c->is_scripts || lua_gc(L, LUA_GCISRUNNING) != 1 || is_off(L);
}

static int is_near(int size, int before) {
    return before != 0 && size - before <= before / 4 + SLACK;
}

/* Whether all was made old, and what has come since is next to nothing. */
static int is_all_old(const collector *c, int size) {
    return c->is_old && size - c->old <= c->old / YOUNG_PART;
}

/* Generational mode, entered anew. 0 in another mode, the script's, or while a finalizer runs. */
static int make_all_old(lua_State *L) {
    if (lua_gc(L, LUA_GCINC, 0, 0, 0) != LUA_GCGEN)
        return 0;
    lua_gc(L, LUA_GCGEN, 0, 0);
    lua_gc(L, LUA_GCSTEP, 0); /* a young collection, which sets when the next one is due */
    return 1;
}

/*
** Where a full cycle has made most of it old. Lua is told that this was none of the bad ones; a
** heap that has fallen into these pays for another one. 0 in another mode.
*/
static int make_rest_old(lua_State *L) {
    if (lua_gc(L, LUA_GCGEN, 0, 0) == LUA_GCINC) {
        lua_gc(L, LUA_GCINC, 0, 0, 0);
        return 0;
    }
    for (int i = 0; i < AGES; i++)
        lua_gc(L, LUA_GCSTEP, 0);
    return 1;
}

/* The size after the full cycle that most of the heap is from, or 0. */
static int size_settled(const collector *c, int size) {
    if (is_near(size, c->settled))
        return size < c->settled ? size : c->settled;
    return is_near(size, c->collected) ? c->collected : 0;
}

static int settle(lua_State *L, collector *c, int size) {
    const int before = size_settled(c, size);
    c->is_asked++;
    int is_settled = before != 0 ? make_rest_old(L) : make_all_old(L);
    c->is_asked--;
    c->is_another = !is_settled;
    if (!is_settled)
        return 0;
    make_sentinel(L);
    c->is_old = 1;
    c->old = size_now(L);
    c->settled = before != 0 ? before : c->old;
    c->collected = 0;
    return 1;
}

int mp_collector_before_fork(lua_State *L, int lasts) {
    int size = size_now(L);
    collector *c = collector_of(L);
    if (size < LARGE || c == NULL || is_left_alone(L, c) || is_all_old(c, size))
        return 0;
    share_count();
    unsigned n = n_cycles != NULL ? atomic_load(n_cycles) : 0;
    if ((lasts || n != c->n_seen) && !c->is_another && settle(L, c, size)) {
        c->n_seen = n;
        return 0;
    }
    if (!c->is_watched) /* now, since after the fork nothing may fail; the child has it, too */
        make_sentinel(L);
    c->is_watched = 1;
    if (is_near(size, c->settled)) /* a young collection copies what is young: not much */
        return 0;
    if (!c->is_put_off)
        c->is_put_off = c->is_due = 1;
    return size / 2;
}

/* Once for each collection of this process. */
void mp_collector_after_fork(lua_State *L, int allowance) {
    if (allowance == 0)
        return;
    collector *c = collector_of(L);
    if (c->is_due)
        lua_gc(L, LUA_GCSTEP, -allowance);
    c->is_due = 0;
}

void mp_collector_in_child(lua_State *L, int allowance) {
    collector_of(L)->is_due = 0;
    lua_gc(L, LUA_GCSTEP, -allowance);
}

void mp_collector_open(lua_State *L) {
    memset(lua_newuserdatauv(L, sizeof(collector), 0), 0, sizeof(collector));
    lua_rawsetp(L, LUA_REGISTRYINDEX, &KEY);
    lua_pushglobaltable(L);
    mp_lib_wrap(L, "collectgarbage", collect_garbage);
    lua_pop(L, 1);
}
