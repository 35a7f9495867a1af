/*
** nomemory.c: memory that is short, at the allocations of one process of a
** family that are named; preloaded into the host by memory_spec.lua.
**
**   NOMEMORY="FILE PROCESS KIND FIRST COUNT"
**
** PROCESS is named by births: "0" is the program, "0.2" the second process that it
** forks, "0.x2" the second fresh image that it runs, and "0.x1.c2" the second that a
** forkserver makes, or other code by a bare clone. KIND is "libc": malloc and its like,
** mmap and mprotect, as anybody may call them; or "heap": the engine's heap for Lua,
** which asks here in the build with fault points (mp_fault_memory). The allocations of
** that kind from FIRST on, COUNT of them, fail with ENOMEM; none does when COUNT is 0.
**
** Lua collects all garbage when an allocation fails, and tries once more: one
** failure is not seen by a script, two are its "not enough memory".
**
** FILE, of 64 KiB, is shared by all: for each process, in 64 bytes, its name in 40 and,
** as u32, its pid, how many images it has run and clones it has made, how many
** allocations of libc and of the heap it has made, and how many have failed here.
**
** Programs that are run by exec, but for fresh images, have all the memory there is.
*/
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define N_RECORDS 1024u

enum kind { LIBC, HEAP };

typedef struct record {
    char name[40];
    uint32_t pid;
    _Atomic uint32_t n_images, n_clones;
    uint32_t made[2];
    uint32_t failed;
} record;

_Static_assert(sizeof(record) == 64, "as the specs read it");

static record *records; /* of all processes, in the file */
static record *mine;    /* NULL: nothing is counted yet */
static unsigned n_forks;
static int is_chosen; /* whether it is this process's memory that is short */

static char chosen[sizeof mine->name];
static enum kind kind;
static unsigned first, count;

/* glibc's own, which need not be looked for. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *block, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
size_t malloc_usable_size(void *block);

/* What the host is to find here. */
#pragma GCC visibility push(default)
int nomemory_heap(void);
void *malloc(size_t size);
void *calloc(size_t n, size_t size);
void *realloc(void *block, size_t size);
void *aligned_alloc(size_t alignment, size_t size);
void *mmap(void *at, size_t len, int protection, int flags, int fd, off_t offset);
int mprotect(void *at, size_t len, int protection);
#pragma GCC visibility pop

static void enter(const char *name);

/* A child that was made by other means than fork() has told nobody. */
static void enter_clone(void) {
    char name[sizeof mine->name] = "";
    snprintf(name, sizeof name, "%.28s.c%u", mine->name, atomic_fetch_add(&mine->n_clones, 1) + 1);
    enter(name);
}

/* Counts an allocation: whether it is to fail. */
static int is_short(enum kind of) {
    if (mine == NULL)
        return 0;
    if (mine->pid != (uint32_t)getpid())
        enter_clone();
    unsigned n = ++mine->made[of];
    if (!is_chosen || of != kind || n < first || n - first >= count)
        return 0;
    mine->failed++;
    errno = ENOMEM;
    return 1;
}

int nomemory_heap(void) {
    return is_short(HEAP);
}

/* --- in the place of the C library's ------------------------------------- */

void *malloc(size_t size) {
    return is_short(LIBC) ? NULL : __libc_malloc(size);
}

void *calloc(size_t n, size_t size) {
    return is_short(LIBC) ? NULL : __libc_calloc(n, size);
}

/* A block that shrinks stays where it is. */
void *realloc(void *block, size_t size) {
    int grows = block == NULL || size > malloc_usable_size(block);
    return grows && is_short(LIBC) ? NULL : __libc_realloc(block, size);
}

void *aligned_alloc(size_t alignment, size_t size) {
    return is_short(LIBC) ? NULL : __libc_memalign(alignment, size);
}

void *mmap(void *at, size_t len, int protection, int flags, int fd, off_t offset) {
    if (is_short(LIBC))
        return MAP_FAILED;
    return (void *)syscall(SYS_mmap, at, len, protection, flags, fd, offset);
}

int mprotect(void *at, size_t len, int protection) {
    return is_short(LIBC) ? -1 : (int)syscall(SYS_mprotect, at, len, protection);
}

/* --- processes ----------------------------------------------------------- */

/* The first bytes of the file count the records. */
static _Atomic uint32_t *records_used(void) {
    return (_Atomic uint32_t *)records;
}

/* A record for this process, of that name. */
static void enter(const char *name) {
    uint32_t index = atomic_fetch_add(records_used(), 1) + 1;
    if (index >= N_RECORDS)
        abort();
    memcpy(records[index].name, name, sizeof records[index].name);
    records[index].pid = (uint32_t)getpid();
    is_chosen = strcmp(name, chosen) == 0;
    n_forks = 0;
    mine = &records[index];
}

static void before_fork(void) {
    n_forks++;
}

static void after_fork_in_child(void) {
    char name[sizeof mine->name] = "";
    snprintf(name, sizeof name, "%.28s.%u", mine->name, n_forks);
    enter(name);
}

/* The record of the process that runs this image, or NULL. */
static record *find_runner(void) {
    for (uint32_t i = *records_used(); i > 0; i--)
        if (records[i].pid == (uint32_t)getppid())
            return &records[i];
    return NULL;
}

static int is_image(int argc, char **argv) {
    for (int i = 1; i < argc; i++)
        if (strstr(argv[i], "luamp-child") != NULL || strstr(argv[i], "luamp_child") != NULL)
            return 1;
    return 0;
}

__attribute__((constructor)) static void open_file(int argc, char **argv) {
    const char *wish = getenv("NOMEMORY");
    char path[256], what[8], name[sizeof mine->name] = "0";
    if (wish == NULL ||
        sscanf(wish, "%255s %39s %7s %u %u", path, chosen, what, &first, &count) != 5)
        return;
    kind = strcmp(what, "heap") == 0 ? HEAP : LIBC;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    records = mmap(NULL, N_RECORDS * sizeof *records, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (fd < 0 || records == MAP_FAILED)
        abort();
    close(fd);
    record *runner = find_runner();
    int is_first = *records_used() == 0;
    if (!is_first && (runner == NULL || !is_image(argc, argv)))
        return;
    if (!is_first)
        snprintf(name, sizeof name, "%.28s.x%u", runner->name,
                 atomic_fetch_add(&runner->n_images, 1) + 1);
    pthread_atfork(before_fork, NULL, after_fork_in_child);
    enter(name);
}
