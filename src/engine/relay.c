/*
** relay.c: what workers write, given on; see relay.h.
**
** Bytes are copied, and not moved as pages: pages that lie in a pipe would change when their
** memory is given back.
*/
#include "engine/relay.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "engine/family.h"
#include "engine/footer.h"
#include "engine/sys.h"

enum { PIECE = 256 * 1024, PAGE = 4096, BLOCK = 512 };

int mp_relay_open(void) {
    const int fd = mp_sys_high_fd(memfd_create("luamp-relay", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    if (fd < 0)
        return fd;
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_SEAL) == 0 &&
        fcntl(fd, F_SETFL, O_APPEND) == 0)
        return fd;
    const int rc = -errno;
    close(fd);
    return rc;
}

int64_t mp_relay_size(int fd) {
    struct stat s;
    return fstat(fd, &s) == 0 && S_ISREG(s.st_mode) ? s.st_size : 0;
}

int64_t mp_relay_memory(int fd) {
    struct stat s;
    return fstat(fd, &s) == 0 && S_ISREG(s.st_mode) ? s.st_blocks * BLOCK : 0;
}

void mp_relay_free(int fd, int64_t from, int64_t to) {
    from -= from % PAGE;
    to -= to % PAGE;
    if (from < to) /* without it memory is kept for longer, no more */
        fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, from, to - from);
}

/* --- reading ----------------------------------------------------------------- */

/* Up to PIECE bytes from there on: how many, at least 1, or -errno. */
static ssize_t read_piece(int fd, int64_t from, int64_t to, char *bytes) {
    const size_t len = to - from < PIECE ? (size_t)(to - from) : PIECE;
    ssize_t n;
    do
        n = pread(fd, bytes, len, from);
    while (n < 0 && errno == EINTR);
    return n > 0 ? n : n == 0 ? -EIO : -errno;
}

/* Where the last line that has an end ends: `from` if none does; or -errno. */
static int64_t end_of_lines(const mp_relay_part *p, char *bytes) {
    const int64_t first = p->known > p->from ? p->known : p->from;
    int64_t to = p->to;
    while (to > first) {
        const int64_t from = to - first > PIECE ? to - PIECE : first;
        const ssize_t n = read_piece(p->source, from, to, bytes);
        if (n < 0)
            return n;
        if (n < to - from)
            return -EIO;
        const char *end = memrchr(bytes, '\n', (size_t)n);
        if (end != NULL)
            return from + (end - bytes) + 1;
        to = from;
    }
    return p->from;
}

/* --- writing ----------------------------------------------------------------- */

typedef struct writer {
    const mp_relay_part *part;
    int to;
    int is_inside; /* a line that has begun */
    size_t len;
    char *bytes; /* that are to be written: up to PIECE */
} writer;

static int write_all(int fd, const char *bytes, size_t len) {
    struct iovec piece = {(void *)bytes, len};
    return len == 0 ? 0 : mp_sys_write(fd, &piece, 1);
}

static int flush(writer *w) {
    const int rc = write_all(w->to, w->bytes, w->len);
    w->len = 0;
    return rc;
}

static int add(writer *w, const char *bytes, size_t len) {
    if (w->len + len > PIECE) {
        const int rc = flush(w);
        if (rc < 0 || len > PIECE)
            return rc < 0 ? rc : write_all(w->to, bytes, len);
    }
    memcpy(w->bytes + w->len, bytes, len);
    w->len += len;
    return 0;
}

/* Bytes of lines, each of which begins with the tag. */
static int add_lines(writer *w, const char *bytes, size_t len) {
    const char *end = bytes + len;
    int rc = 0;
    while (bytes < end && rc == 0) {
        const char *newline = memchr(bytes, '\n', (size_t)(end - bytes));
        const char *next = newline != NULL ? newline + 1 : end;
        if (!w->is_inside)
            rc = add(w, w->part->tag, w->part->tag_len);
        if (rc == 0)
            rc = add(w, bytes, (size_t)(next - bytes));
        w->is_inside = newline == NULL;
        bytes = next;
    }
    return rc;
}

/* Copies from *at up to there. */
static int copy(writer *w, int64_t *at, int64_t to, char *bytes) {
    while (*at < to) {
        const ssize_t n = read_piece(w->part->source, *at, to, bytes);
        if (n < 0)
            return (int)n;
        int rc = 0;
        if (w->part->tag != NULL) {
            rc = add_lines(w, bytes, (size_t)n);
        } else {
            rc = write_all(w->to, bytes, (size_t)n);
            w->is_inside = bytes[n - 1] != '\n';
        }
        if (rc < 0)
            return rc;
        *at += n;
    }
    return 0;
}

static int give(writer *w, int64_t *at, int64_t to, char *bytes) {
    int rc = copy(w, at, to, bytes);
    if (rc == 0 && w->is_inside && w->part->how == MP_RELAY_END)
        rc = w->part->tag != NULL ? add(w, "\n", 1) : write_all(w->to, "\n", 1);
    const int last = flush(w);
    return rc < 0 ? rc : last;
}

/* Two pieces, made once in each process that relays, and kept. */
static char *pieces(void) {
    static char *bytes;
    if (bytes == NULL) {
        bytes = mmap(NULL, 2 * PIECE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (bytes == MAP_FAILED)
            bytes = NULL;
    }
    return bytes;
}

int64_t mp_relay_end_of_lines(int fd, int64_t from, int64_t to) {
    const mp_relay_part part = {.source = fd, .from = from, .to = to};
    char *bytes = pieces();
    return bytes == NULL ? -ENOMEM : end_of_lines(&part, bytes);
}

static int has_parts_of_lines(const mp_relay_part *p) {
    return p->how == MP_RELAY_LINES || (p->tag != NULL && p->how == MP_RELAY_BYTES);
}

static enum mp_footer_end how_it_ends(const writer *w, int64_t reached) {
    if (reached == w->part->from)
        return MP_FOOTER_NOTHING;
    return w->is_inside && w->part->how != MP_RELAY_END ? MP_FOOTER_OPEN : MP_FOOTER_LINE;
}

int mp_relay_give(const mp_relay_part *p, int to, int64_t *reached) {
    char *bytes = pieces();
    *reached = p->from;
    if (bytes == NULL)
        return -ENOMEM;
    const int64_t end = has_parts_of_lines(p) ? end_of_lines(p, bytes) : p->to;
    if (end <= p->from)
        return end < 0 ? (int)end : 0;
    writer w = {.part = p, .to = to, .bytes = bytes + PIECE};
    struct stat stream;
    if (fstat(to, &stream) < 0)
        return give(&w, reached, end, bytes);
    const int turn = mp_family_stream_lock(&stream, MP_FOREVER);
    mp_footer_lift(to, &stream);
    const int rc = give(&w, reached, end, bytes);
    mp_footer_lower(to, &stream, how_it_ends(&w, *reached));
    mp_family_stream_unlock(turn);
    return rc;
}
