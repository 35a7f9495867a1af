/*
** output.c: whole writes to shared streams; the promise stands in output.h.
*/
#include "engine/output.h"

#include <errno.h>
#include <stdio_ext.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "engine/family.h"
#include "engine/footer.h"
#include "engine/sys.h"

#define BUFFER 4096 /* what stdio makes for a pipe or a file, at least */

/* Whether stdio can keep the bytes without handing anything over. */
static int fits(FILE *stream, const char *bytes, size_t len) {
    size_t room = __fbufsize(stream);
    if (__fpending(stream) + len >= room)
        return 0;
    return !__flbf(stream) || memchr(bytes, '\n', len) == NULL;
}

/* A turn at a stream, and what is written in it. */
typedef struct turn {
    FILE *stream;
    struct stat identity;
    int ticket;
    enum mp_footer_end end; /* of what was written */
} turn;

/* What is buffered goes first. */
static int begin(turn *t, FILE *stream) {
    *t = (turn){.stream = stream, .ticket = -1};
    if (fstat(fileno(stream), &t->identity) == 0)
        t->ticket = mp_family_stream_lock(&t->identity, MP_FOREVER);
    t->end = __fpending(stream) > 0 ? MP_FOOTER_OPEN : MP_FOOTER_NOTHING;
    mp_footer_lift(fileno(stream), &t->identity);
    return fflush(stream) == 0 ? 0 : -errno;
}

static void end(const turn *t) {
    mp_footer_lower(fileno(t->stream), &t->identity, t->end);
    mp_family_stream_unlock(t->ticket);
}

/* Those bytes are on their way. */
static void note(turn *t, const char *bytes, size_t len) {
    t->end = bytes[len - 1] == '\n' ? MP_FOOTER_LINE : MP_FOOTER_OPEN;
}

/*
** Past the buffer, which is empty. stdio may remember where a file stands, so
** it is told the new place.
*/
static int write_through(FILE *stream, const char *bytes, size_t len) {
    int fd = fileno(stream);
    struct iovec piece = {.iov_base = (void *)bytes, .iov_len = len};
    int rc = mp_sys_write(fd, &piece, 1);
    off_t at = lseek(fd, 0, SEEK_CUR);
    if (rc == 0 && at >= 0 && fseeko(stream, at, SEEK_SET) != 0)
        rc = -errno;
    return rc;
}

/*
** The first bytes of a stream: stdio makes its buffer, and chooses its mode,
** as it writes. What would not fit a buffer of the usual size goes out whole.
*/
static int write_first(FILE *stream, const char *bytes, size_t len) {
    if (fwrite(bytes, 1, len, stream) != len)
        return -errno;
    return len < BUFFER && !__flbf(stream) ? 0 : fflush(stream) == 0 ? 0 : -errno;
}

int mp_output_write(FILE *stream, const char *bytes, size_t len) {
    if (len == 0)
        return 0;
    if (fileno(stream) < 0 || fits(stream, bytes, len))
        return fwrite(bytes, 1, len, stream) == len ? 0 : -errno;
    turn t;
    int rc = begin(&t, stream);
    if (rc == 0 && __fbufsize(stream) == 0)
        rc = write_first(stream, bytes, len);
    else if (rc == 0 && fits(stream, bytes, len))
        rc = fwrite(bytes, 1, len, stream) == len ? 0 : -errno;
    else if (rc == 0)
        rc = write_through(stream, bytes, len);
    if (__fpending(stream) == 0)
        note(&t, bytes, len);
    end(&t);
    return rc;
}

int mp_output_flush(FILE *stream) {
    if (__fpending(stream) == 0)
        return 0;
    turn t;
    int rc = begin(&t, stream);
    end(&t);
    return rc;
}
