/*
** queue_stress.c: the engine's queues under a sanitizer, without Lua.
**
**   queue_stress_threads SECONDS SEED      4 threads put and 4 get; each thread is a member
**                                          of the family of its own (MP_THREADS, see page.h)
**   queue_stress_processes SECONDS SEED    4 processes put and 4 get; one after the other is killed
**
** First in, first out, then by priority; records of one byte to 64 KiB, short ones in
** batches. Every record is whole, and of each putter a getter sees them in order. At the end
** the queue is empty and the memory back. Prints "ok" and how many there were.
*/
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/family.h"
#include "engine/page.h"
#include "engine/queue.h"

enum { WORKERS = 8, PUTTERS = 4, LONGEST = 65536, BATCH = 8, MAX_PUTTERS = 100000 };

/* What begins a record that has room for it. */
typedef struct head {
    uint32_t putter, n;
} head;

typedef struct shared {
    _Atomic int is_over;
    _Atomic uint64_t n_put, n_got;
} shared;

static shared *all;
static mp_ref queue;
static int has_priorities;

_Noreturn static void fail(const char *what) {
    fprintf(stderr, "%s\n", what);
    fflush(stderr);
    abort();
}

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
static void work(uint32_t number, int puts) {
    unsigned seed = number * 2654435761u;
    uint32_t n = 1, *last = calloc(MAX_PUTTERS, sizeof *last);
    mp_ref hold;
    int rc = last == NULL ? -ENOMEM : mp_arena_hold(mp_arena_holds(), queue, &hold);
    while (rc >= 0)
        rc = puts ? put(number, &n, &seed) : get(hold, last);
    if (rc != -EPIPE)
        fail(strerror(-rc));
    mp_arena_drop(mp_arena_holds(), hold);
    free(last);
}

static void make_queue(mp_ref *hold) {
    if (mp_queue_make(has_priorities, 50, 1 << 20, &queue, hold) < 0)
        fail("no queue");
    atomic_store(&all->is_over, 0);
}

/* --- threads -------------------------------------------------------------- */

#ifdef MP_THREADS
typedef struct job {
    pthread_t thread;
    uint32_t member, number;
} job;

static void *run(void *arg) {
    const job *j = arg;
    mp_page_self = j->member;
    work(j->number, j->number < PUTTERS);
    return NULL;
}

static void stress(double seconds, unsigned seed) {
    job jobs[WORKERS];
    for (uint32_t i = 0; i < WORKERS; i++) {
        jobs[i].number = i;
        if (mp_family_birth(&jobs[i].member, 0) < 0)
            fail("no record");
    }
    for (uint32_t i = 0; i < WORKERS; i++)
        if (pthread_create(&jobs[i].thread, NULL, run, &jobs[i]) != 0)
            fail("no thread");
    (void)seed;
    usleep((useconds_t)(seconds * 1e6));
    mp_queue_close(queue);
    for (uint32_t i = 0; i < WORKERS; i++) {
        pthread_join(jobs[i].thread, NULL);
        mp_family_free(jobs[i].member);
    }
    if (all->n_put != all->n_got)
        fail("not all that was put was got");
}
#else

/* --- processes ------------------------------------------------------------ */

typedef struct job {
    pid_t pid;
    uint32_t member;
} job;

static uint32_t number; /* of the processes so far: the first putters have the first ones */

static void start(job *j, int puts) {
    const uint32_t mine = number++;
    if (mine == MAX_PUTTERS || mp_family_birth(&j->member, 0) < 0)
        fail("no record");
    j->pid = fork();
    if (j->pid == 0) {
        mp_family_enter(j->member);
        work(mine, puts);
        _exit(0);
    }
}

static void end(job *j, int is_killed) {
    int status;
    if (waitpid(j->pid, &status, 0) != j->pid)
        fail("waitpid");
    if (status != 0 && !(is_killed && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL))
        fail("a process has failed");
    mp_family_free(j->member);
}

static void stress(double seconds, unsigned seed) {
    job jobs[WORKERS];
    for (int i = 0; i < WORKERS; i++)
        start(&jobs[i], i < PUTTERS);
    const mp_time until = mp_sys_deadline(seconds);
    while (mp_sys_now() < until) {
        usleep((useconds_t)(rand_r(&seed) % 20000));
        const int i = rand_r(&seed) % WORKERS;
        kill(jobs[i].pid, SIGKILL);
        end(&jobs[i], 1);
        start(&jobs[i], i < PUTTERS);
    }
    mp_queue_close(queue);
    for (int i = 0; i < WORKERS; i++)
        end(&jobs[i], 0);
}
#endif

static void stress_whole(double seconds, unsigned seed) {
    mp_arena_usage before, after;
    mp_ref hold;
    if (mp_arena_count(&before) < 0)
        fail("no arena");
    make_queue(&hold);
    stress(seconds, seed);
    if (mp_queue_len(queue) != 0)
        fail("a queue that is drained is not empty");
    mp_arena_drop(mp_arena_holds(), hold);
    mp_arena_sweep_dead();
    mp_arena_count(&after);
    if (memcmp(before.n, after.n, sizeof before.n) != 0)
        fail("blocks are left");
}

int main(int argc, char **argv) {
    const double seconds = argc > 1 ? atof(argv[1]) : 2;
    const unsigned seed = argc > 2 ? (unsigned)atoi(argv[2]) : (unsigned)mp_sys_now();
    printf("seed %u\n", seed);
    all = mmap(NULL, sizeof *all, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (all == MAP_FAILED || mp_arena_open() < 0)
        fail("no family");
    for (has_priorities = 0; has_priorities < 2; has_priorities++)
        stress_whole(seconds / 2, seed);
    printf("ok %llu %llu\n", (unsigned long long)all->n_put, (unsigned long long)all->n_got);
    return 0;
}
