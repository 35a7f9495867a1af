/*
** named.c: memory under a name; the rules stand in named.h.
**
** A file is opened twice, first without being touched (O_PATH), so that what is no regular file is
** left alone: to open a device may do something, and a symbolic link leads elsewhere.
*/
#include "engine/named.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "engine/budget.h"
#include "engine/name.h"

#define FOLDER "/dev/shm"
enum { FINDERS = 8, PATH_ROOM = 64 };

/* A process that has it, and by which descriptor. */
typedef struct finder {
    _Atomic mp_name name; /* 0: none */
    _Atomic int32_t pid, fd;
} finder;

typedef struct named_shared {
    uint64_t dev, ino, size;
    finder finders[FINDERS];
    char name[MP_NAMED_LENGTH + 1];
} named_shared;

static named_shared *shared_of(mp_ref object) {
    return mp_arena_bytes(object);
}

const char *mp_named_name(mp_ref object) {
    return shared_of(object)->name;
}

uint64_t mp_named_size(mp_ref object) {
    return shared_of(object)->size;
}

/* --- files ---------------------------------------------------------------- */

static int check_name(const char *name) {
    if (strlen(name) > MP_NAMED_LENGTH)
        return -ENAMETOOLONG;
    const int is_folder = strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
    return *name == '\0' || is_folder || strchr(name, '/') != NULL ? -EINVAL : 0;
}

static int open_folder(void) {
    return mp_sys_high_fd(open(FOLDER, O_PATH | O_DIRECTORY | O_CLOEXEC));
}

/* What the descriptor of a file that may be anything is of. */
static int check_file(int fd, struct stat *st) {
    if (fstat(fd, st) != 0)
        return -errno;
    if (S_ISLNK(st->st_mode))
        return -ELOOP;
    if (!S_ISREG(st->st_mode))
        return -EMEDIUMTYPE;
    return st->st_uid == geteuid() ? 0 : -EPERM;
}

/* The path by which what a descriptor is of can be opened anew. */
static const char *path_of(int fd, char path[static PATH_ROOM]) {
    snprintf(path, PATH_ROOM, "/proc/self/fd/%d", fd);
    return path;
}

/* Opens what is at the path, if it is as it should be. A descriptor or -errno. */
static int open_checked(int folder, const char *path, int flags, struct stat *st) {
    char again[PATH_ROOM];
    const int look = mp_sys_high_fd(openat(folder, path, O_PATH | O_CLOEXEC | flags));
    if (look < 0)
        return look;
    int rc = check_file(look, st);
    if (rc == 0)
        rc = mp_sys_high_fd(open(path_of(look, again), O_RDWR | O_CLOEXEC));
    close(look);
    return rc;
}

/* In parts: the kernel takes back what it has done of one that a signal ends. */
static int allocate(int fd, uint64_t size) {
    const uint64_t part = 16 << 20;
    if (size > INT64_MAX)
        return -EFBIG;
    if (mp_budget_left() < (int64_t)size)
        return -ENOMEM;
    int rc = mp_sys_resize(fd, size); /* the limit of file sizes is an error here, and no signal */
    for (uint64_t done = 0; done < size && rc == 0; done += part)
        do
            rc =
                -posix_fallocate(fd, (off_t)done, (off_t)(size - done < part ? size - done : part));
        while (rc == -EINTR);
    return rc;
}

int mp_named_make(const char *name, uint64_t size) {
    int rc = check_name(name);
    const int fd = rc < 0 ? rc : mp_sys_high_fd(open(FOLDER, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
    if (fd < 0)
        return fd;
    rc = fchmod(fd, 0600) == 0 ? allocate(fd, size) : -errno;
    mp_fault("named.make.N1");
    if (rc == 0)
        return fd;
    close(fd);
    return rc;
}

int mp_named_link(const char *name, int fd) {
    char path[PATH_ROOM];
    const int folder = open_folder();
    if (folder < 0)
        return folder;
    const int rc =
        linkat(AT_FDCWD, path_of(fd, path), folder, name, AT_SYMLINK_FOLLOW) == 0 ? 0 : -errno;
    mp_fault("named.make.N2");
    close(folder);
    return rc;
}

int mp_named_open(const char *name, uint64_t *size) {
    struct stat st;
    const int rc = check_name(name), folder = rc < 0 ? rc : open_folder();
    if (folder < 0)
        return folder;
    const int fd = open_checked(folder, name, O_NOFOLLOW, &st);
    close(folder);
    if (fd >= 0)
        *size = (uint64_t)st.st_size;
    return fd;
}

/* --- the object ----------------------------------------------------------- */

int mp_named_share(const char *name, int fd, mp_ref *object, mp_ref *hold) {
    struct stat st;
    int rc = fstat(fd, &st) == 0 ? mp_arena_open() : -errno;
    if (rc == 0)
        rc = mp_arena_alloc(sizeof(named_shared), MP_KIND_NAMED, mp_arena_hands(), object);
    if (rc < 0)
        return rc;
    named_shared *n = shared_of(*object);
    n->dev = (uint64_t)st.st_dev;
    n->ino = (uint64_t)st.st_ino;
    n->size = (uint64_t)st.st_size;
    strcpy(n->name, name);
    rc = mp_arena_hold(mp_arena_holds(), *object, hold);
    if (rc < 0)
        mp_arena_free(mp_arena_hands(), *object);
    else
        mp_arena_unlink(mp_arena_hands(), *object);
    return rc;
}

/* Whether it is the file of the object. */
static int is_its_file(const named_shared *n, const struct stat *st) {
    return (uint64_t)st->st_dev == n->dev && (uint64_t)st->st_ino == n->ino;
}

static int open_its_file(const named_shared *n, int folder, const char *path, int flags) {
    struct stat st;
    const int fd = open_checked(folder, path, flags, &st);
    if (fd < 0 || is_its_file(n, &st))
        return fd;
    close(fd);
    return -ESTALE;
}

static int open_by_name(const named_shared *n) {
    const int folder = open_folder();
    if (folder < 0)
        return folder;
    const int fd = open_its_file(n, folder, n->name, O_NOFOLLOW);
    close(folder);
    return fd;
}

int mp_named_reopen(mp_ref object) {
    named_shared *n = shared_of(object);
    int fd = open_by_name(n);
    const int is_elsewhere =
        fd == -ENOENT || fd == -ESTALE || fd == -ELOOP || fd == -EPERM || fd == -EMEDIUMTYPE;
    for (int i = 0; i < FINDERS && fd < 0 && is_elsewhere; i++) {
        const mp_name name = atomic_load(&n->finders[i].name);
        char path[PATH_ROOM];
        if (name == 0 || mp_name_is_gone(name))
            continue;
        snprintf(path, sizeof path, "/proc/%d/fd/%d", atomic_load(&n->finders[i].pid),
                 atomic_load(&n->finders[i].fd));
        fd = open_its_file(n, AT_FDCWD, path, 0);
    }
    return fd < 0 && is_elsewhere ? -ESTALE : fd;
}

/* The place of this process's note: the one that it has, or else a free one. NULL: there is none.
 */
static finder *find_note(named_shared *n, int makes) {
    const mp_name own = mp_name_own();
    for (int i = 0; i < FINDERS; i++)
        if (atomic_load(&n->finders[i].name) == own)
            return &n->finders[i];
    for (int i = 0; i < FINDERS && makes; i++) {
        mp_name name = atomic_load(&n->finders[i].name);
        if ((name == 0 || mp_name_is_gone(name)) &&
            atomic_compare_exchange_strong(&n->finders[i].name, &name, own))
            return &n->finders[i];
    }
    return NULL;
}

void mp_named_note(mp_ref object, int fd) {
    finder *f = find_note(shared_of(object), 1);
    if (f == NULL)
        return; /* so many others have it */
    atomic_store(&f->pid, (int32_t)getpid());
    atomic_store(&f->fd, fd);
}

void mp_named_forget(mp_ref object) {
    finder *f = find_note(shared_of(object), 0);
    if (f != NULL)
        atomic_store(&f->name, 0);
}

int mp_named_unlink(mp_ref object) {
    const named_shared *n = shared_of(object);
    struct stat st;
    const int folder = open_folder();
    if (folder < 0)
        return folder;
    int rc = fstatat(folder, n->name, &st, AT_SYMLINK_NOFOLLOW) == 0 ? is_its_file(n, &st) : -errno;
    if (rc == 1)
        rc = unlinkat(folder, n->name, 0) == 0 ? 1 : -errno;
    close(folder);
    return rc == -ENOENT ? 0 : rc;
}

/* --- bytes ---------------------------------------------------------------- */

int mp_named_read(int fd, uint64_t offset, char *bytes, size_t len) {
    for (ssize_t n; len > 0; len -= (size_t)n, bytes += n, offset += (uint64_t)n) {
        n = pread(fd, bytes, len, (off_t)offset);
        if (n == 0)
            return -ENXIO;
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n < 0)
            n = 0;
    }
    return 0;
}

int mp_named_write(int fd, uint64_t offset, const char *bytes, size_t len, uint64_t size) {
    const struct iovec piece = {(void *)(uintptr_t)bytes, len};
    struct stat st;
    if (fstat(fd, &st) != 0)
        return -errno;
    if ((uint64_t)st.st_size < size) /* it is not to be made longer again, with a hole */
        return -ENXIO;
    return mp_sys_write_at(fd, (int64_t)offset, &piece, 1);
}

void *mp_named_map(int fd, uint64_t size) {
    void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    return at == MAP_FAILED ? NULL : at;
}
