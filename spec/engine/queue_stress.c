/*
** queue_stress.c: the engine's queues under a sanitizer, without Lua.
**
** Four put and four get: first in, first out, then by priority; records of one byte to 64 KiB,
** short ones in batches. Every record is whole, and of each putter a getter sees them in order. At
*the end
** the queue is empty and the memory back. Prints "ok" and how many there were.
*/
#include "engine/queue.h"
#include "stress.h"

enum { PUTTERS = 4, LONGEST = 65536, BATCH = 8, MAX_PUTTERS = 100000 };

/* What begins a record that has room for it. */
typedef struct head {
    uint32_t putter, n;
} head;

typedef struct shared {
    _Atomic uint64_t n_put, n_got;
} shared;

static shared *all;
static mp_ref queue;
static int has_priorities;

static unsigned char byte_of(head h, size_t i) {
    return (unsigned char)(h.putter * 31 + h.n * 7 + i);
}

static size_t fill(char *bytes, head h, unsigned *seed) {
    const size_t len = sizeof h + ((size_t)1 << rand_r(seed) % 17) - 1;
    memcpy(bytes, &h, sizeof h);
    for (size_t i = sizeof h; i < len; i++)
        bytes[i] = (char)byte_of(h, i);
    return len;
}

/* Puts one record or some. */
static int put(uint32_t putter, uint32_t *n, unsigned *seed) {
    static _Thread_local char bytes[BATCH][LONGEST + sizeof(head)];
    struct iovec pieces[BATCH];
    mp_record records[BATCH];
    mp_ref blocks[BATCH];
    const int count = has_priorities ? 1 : 1 + rand_r(seed) % BATCH;
    for (int i = 0; i < count; i++) {
        const size_t len = fill(bytes[i], (head){putter, *n + (uint32_t)i}, seed);
        pieces[i] = (struct iovec){bytes[i], len};
        records[i] = (mp_record){
            .pieces = &pieces[i], .n_pieces = 1, .len = len, .priority = *n + (uint32_t)i};
        if (mp_queue_wrap(&records[i], has_priorities, &blocks[i]) < 0)
            fail("no memory for a record");
    }
    int done = 0, rc = 0;
    while (done < count && rc >= 0) {
        rc = mp_queue_put(queue, records + done, blocks + done, count - done, MP_FOREVER);
        done += rc > 0 ? rc : 0;
    }
    for (int i = done; i < count; i++)
        if (blocks[i] != 0)
            mp_arena_free(mp_arena_hands(), blocks[i]);
    *n += (uint32_t)done;
    atomic_fetch_add(&all->n_put, (uint64_t)done);
    return rc;
}

static void check(const mp_taken *t, uint32_t *last) {
    head h;
    memcpy(&h, t->bytes, sizeof h);
    if (t->len < sizeof h || h.putter >= MAX_PUTTERS || h.n < last[h.putter])
        fail("a record is out of order, or comes twice");
    for (size_t i = sizeof h; i < t->len; i++)
        if ((unsigned char)t->bytes[i] != byte_of(h, i))
            fail("a record is damaged");
    last[h.putter] = h.n + 1;
}

static int get(mp_ref hold, uint32_t *last) {
    char room[4 * MP_QUEUE_INLINE];
    mp_taken taken[BATCH];
    int n = mp_queue_take(queue, hold, taken, BATCH, 0, room, sizeof room, MP_FOREVER);
    for (int i = 0; i < n; i++) {
        check(&taken[i], last);
        if (taken[i].block != 0)
            mp_arena_free(mp_arena_hands(), taken[i].block);
    }
    atomic_fetch_add(&all->n_got, (uint64_t)(n > 0 ? n : 0));
    return n;
}

/* What a thread or a process does, with a hold of its own, until the queue is closed. */
static void work(uint32_t number, int place) {
    if (number == MAX_PUTTERS)
        fail("too many processes");
    unsigned seed = number * 2654435761u;
    uint32_t n = 1, *last = calloc(MAX_PUTTERS, sizeof *last);
    mp_ref hold;
    int rc = last == NULL ? -ENOMEM : mp_arena_hold(mp_arena_holds(), queue, &hold);
    while (rc >= 0)
        rc = place < PUTTERS ? put(number, &n, &seed) : get(hold, last);
    if (rc != -EPIPE)
        fail(strerror(-rc));
    mp_arena_drop(mp_arena_holds(), hold);
    free(last);
}

static void make_queue(mp_ref *hold) {
    if (mp_queue_make(has_priorities, 50, 1 << 20, &queue, hold) < 0)
        fail("no queue");
}

static void stop(void) {
    mp_queue_close(queue);
}

static void stress(arguments a) {
    static const members m = {work, stop, NULL, 20000};
    mp_arena_usage before;
    mp_ref hold;
    if (mp_arena_count(&before) < 0)
        fail("no arena");
    make_queue(&hold);
    if (run_members(&m, a) == 0 && all->n_put != all->n_got)
        fail("not all that was put was got");
    if (mp_queue_len(queue) != 0)
        fail("a queue that is drained is not empty");
    mp_arena_drop(mp_arena_holds(), hold);
    check_usage(&before);
}

int main(int argc, char **argv) {
    void *mapping;
    arguments a = begin(argc, argv, sizeof *all, &mapping);
    all = mapping;
    a.seconds /= 2;
    for (has_priorities = 0; has_priorities < 2; has_priorities++)
        stress(a);
    printf("ok %llu %llu\n", (unsigned long long)all->n_put, (unsigned long long)all->n_got);
    return 0;
}
