/*
** decode.c: a fuzzer of the decoder for messages from outside the family.
**
** Of any bytes it demands, under sanitizers: they are no frame, but for those to the bit
** that are made around what is in them; and in a frame with one wrong bit they are refused.
** The decoder gets them in a sound one. Then they are no message, or check.lua is
** content with their values; nothing is called, no code loaded and no name looked
** up meanwhile; the stack is as promised; and memory is taken in proportion to the
** bytes, with the collector stopped. Lua itself has no sanitizer in it, so a thread
** of its own, whose stack is small, decodes each, and blocks of memory have a margin
** that nobody may write to. Some inputs (their bytes say which, so that each
** can be repeated) have all garbage collected at each allocation instead, and some
** run out of memory.
**
** The codec alone is linked to Lua: a state is made in no time, and often.
*/
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "binding/codec.h"
#include "binding/names.h"
#include "engine/frame.h"
#include "binding/shared.h"

enum {
    INPUTS_OF_A_STATE = 20000,
    INPUTS_BETWEEN_COLLECTIONS = 500,
    BYTES_PER_BYTE = 128, /* a list in which each byte is a deferred table comes near it */
    BYTES_PER_MESSAGE = 4096,
    MARGIN = 256, /* bytes after each block */
    MARGIN_BYTE = 0xa5,
};

enum mode { PLAIN, COLLECTING, SHORT };

/* What Lua has, and what the allocator does. */
static struct {
    size_t used, peak;
    enum mode mode;
    unsigned n_growths, limit; /* of mode SHORT */
} heap;

static lua_State *L;
static int is_decoding, n_calls;

_Noreturn static void die(const char *what) {
    fprintf(stderr, "fuzz: %s\n", what);
    abort();
}

static int is_refused(void) {
    heap.n_growths++;
    return heap.mode == COLLECTING ? heap.n_growths % 2 == 1
                                   : heap.mode == SHORT && heap.n_growths > heap.limit;
}

static void look_at_margin(const unsigned char *block, size_t size) {
    static unsigned char sound[MARGIN];
    if (sound[0] != MARGIN_BYTE)
        memset(sound, MARGIN_BYTE, sizeof sound);
    if (block != NULL && memcmp(block + size, sound, sizeof sound) != 0)
        die("something was written behind a block of Lua's");
}

static void *allocate(void *arg, void *block, size_t old, size_t size) {
    (void)arg;
    if (block == NULL)
        old = 0;
    look_at_margin(block, old);
    if (size == 0) {
        free(block);
        heap.used -= old;
        return NULL;
    }
    if (size > old && is_refused())
        return NULL;
    unsigned char *moved = realloc(block, size + MARGIN);
    if (moved == NULL)
        die("the machine has no memory");
    memset(moved + size, MARGIN_BYTE, MARGIN);
    heap.used += size - old;
    if (heap.used > heap.peak)
        heap.peak = heap.used;
    return moved;
}

/* --- what must not be called (the linker puts these before the real ones) -- */

int __real_luaL_loadbufferx(lua_State *, const char *, size_t, const char *, const char *);
int __wrap_luaL_loadbufferx(lua_State *, const char *, size_t, const char *, const char *);
int __wrap_luaL_loadbufferx(lua_State *S, const char *code, size_t len, const char *name,
                            const char *mode) {
    if (is_decoding)
        die("a message from outside brought code");
    return __real_luaL_loadbufferx(S, code, len, name, mode);
}

int __wrap_mp_names_resolve(lua_State *, const char *, size_t);
int __wrap_mp_names_resolve(lua_State *S, const char *name, size_t len) {
    (void)S, (void)name, (void)len;
    die("a message from outside brought a name");
}

/* Of shared.c, which is not here: nothing is shared, and a message from outside brings none. */
mp_ref mp_shared_object(lua_State *S, int index) {
    (void)S, (void)index;
    return 0;
}

int mp_shared_push(lua_State *S, mp_ref object) {
    (void)S, (void)object;
    die("a message from outside brought a handle");
}

/* Of lib.c, which is not here: the codec has no Lua modules at hand, and needs none. */
void mp_lib_push_part(lua_State *S, const void *key, const char *name) {
    (void)S, (void)key;
    die(name);
}

static void on_call(lua_State *S, lua_Debug *ar) {
    (void)S, (void)ar;
    n_calls++;
}

/* --- a state -------------------------------------------------------------- */

static int open_state(lua_State *S) {
    luaL_openlibs(S);
    lua_getglobal(S, "package");
    lua_pushliteral(S, FUZZ_ROOT "/?.lua");
    lua_setfield(S, -2, "path");
    luaL_newmetatable(S, "luamp.error");
    if (luaL_loadfile(S, FUZZ_ROOT "/spec/fuzz/check.lua") != LUA_OK)
        return lua_error(S);
    lua_newtable(S);
    mp_codec_open(S);
    lua_getfield(S, -1, "encode");
    lua_getfield(S, -2, "frame");
    lua_getfield(S, -3, "decode");
    lua_remove(S, -4);
    lua_call(S, 3, 1);
    return 1;
}

/* The function of check.lua is alone on its stack. */
static void begin_state(void) {
    heap.mode = PLAIN;
    L = lua_newstate(allocate, NULL);
    lua_gc(L, LUA_GCSTOP);
    lua_pushcfunction(L, open_state);
    if (lua_pcall(L, 0, 1, 0) != LUA_OK)
        die(lua_tostring(L, -1));
}

static void end_state(void) {
    lua_close(L);
    if (heap.used != 0)
        die("a closed state has left memory");
}

/* --- frames --------------------------------------------------------------- */

enum { HEAD = sizeof(mp_frame_head) };

/* A frame around the bytes, in memory that ends where it does. */
static char *frame(const void *bytes, size_t len) {
    const struct iovec payload = {(void *)bytes, len};
    const mp_frame_head head = mp_frame_make(&payload, 1);
    char *framed = malloc(HEAD + len);
    if (framed == NULL)
        die("the machine has no memory");
    memcpy(framed, &head, HEAD);
    if (len > 0)
        memcpy(framed + HEAD, bytes, len);
    return framed;
}

static int is_sound(const char *bytes, size_t len) {
    return mp_frame_open(&bytes, &len) == NULL;
}

static void demand_of_frames(const char *bytes, size_t len, uint32_t h) {
    if (is_sound(bytes, len)) {
        char *same = frame(bytes + HEAD, len - HEAD);
        if (memcmp(same, bytes, len) != 0)
            die("what is no frame was taken for one");
        free(same);
    }
    char *framed = frame(bytes, len);
    framed[h / 8 % (HEAD + len)] ^= (char)(1 << h % 8);
    if (is_sound(framed, HEAD + len))
        die("a frame with a wrong bit was taken for sound");
    free(framed);
}

/* --- an input ------------------------------------------------------------- */

typedef struct input {
    const char *bytes;
    size_t len;
    char *framed;
    int n; /* its values, or -EBADMSG */
} input;

static int decode(lua_State *S) {
    input *in = lua_touserdata(S, 1);
    in->n = mp_codec_decode(S, in->framed, HEAD + in->len, 0);
    if (lua_gettop(S) != 1 + (in->n > 0 ? in->n : 0))
        die("the stack is not as promised");
    return in->n > 0 ? in->n : 0;
}

/* FNV-1a */
static uint32_t hash(const uint8_t *bytes, size_t len) {
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < len; i++)
        h = (h ^ bytes[i]) * 16777619u;
    return h ^ h >> 15;
}

static void choose_mode(const input *in) {
    uint32_t h = hash((const uint8_t *)in->bytes, in->len);
    heap.mode = h % 64 == 0 ? COLLECTING : h % 64 == 1 ? SHORT : PLAIN;
    heap.limit = h >> 6 & 63;
    heap.n_growths = 0;
}

/* Leaves the input's values on the thread's stack, or what was raised. */
static int run(lua_State *T, input *in) {
    lua_pushcfunction(T, decode);
    lua_pushlightuserdata(T, in);
    choose_mode(in);
    const size_t before = heap.peak = heap.used;
    n_calls = 0;
    is_decoding = 1;
    lua_sethook(T, on_call, LUA_MASKCALL, 0);
    int rc = lua_pcall(T, 1, LUA_MULTRET, 0);
    lua_sethook(T, NULL, 0, 0);
    is_decoding = 0;
    if (heap.mode == PLAIN && heap.peak - before > BYTES_PER_BYTE * in->len + BYTES_PER_MESSAGE)
        die("too much memory was taken");
    if (n_calls > 1)
        die("something was called");
    return rc;
}

/* Calls the function of check.lua with the values, if there are some. */
static void demand(lua_State *T, int rc, const input *in) {
    const enum mode mode = heap.mode;
    heap.mode = PLAIN;
    if (rc == LUA_OK && in->n >= 0) {
        lua_pushvalue(L, 1);
        lua_xmove(L, T, 1);
        lua_insert(T, 1);
        rc = lua_pcall(T, in->n, 0, 0);
    } else if (mode == SHORT && rc == LUA_ERRMEM) {
        rc = LUA_OK;
    }
    if (rc != LUA_OK)
        die(lua_tostring(T, -1));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len) {
    static unsigned n_inputs;
    input in = {.bytes = (const char *)bytes, .len = len};
    demand_of_frames(in.bytes, len, hash(bytes, len));
    in.framed = frame(bytes, len);
    if (n_inputs % INPUTS_OF_A_STATE == 0)
        begin_state();
    lua_State *T = lua_newthread(L);
    demand(T, run(T, &in), &in);
    free(in.framed);
    lua_pop(L, 1);
    if (++n_inputs % INPUTS_BETWEEN_COLLECTIONS == 0)
        lua_gc(L, LUA_GCCOLLECT);
    if (n_inputs % INPUTS_OF_A_STATE == 0)
        end_state();
    return 0;
}
