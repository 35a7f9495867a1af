/*
** footer.c: the line at the foot of a terminal; footer.h has the rules.
**
** All but the owner changes only in the turn at the terminal. A death in between leaves marks that
** say less than what is to be seen, and at worst one line of it stays on the screen.
*/
#include "engine/footer.h"

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "engine/family.h"
#include "engine/page.h"

#define HOME "\r"
#define UP "\033[A"
#define WIPE_ROW "\033[K"
#define NEXT_ROW "\033D\033[A" /* there is one more below, and the cursor is where it was */
#define SAVE "\0337"
#define RESTORE "\0338"

enum {
    WIDEST = 1024,                                /* columns of a terminal that are looked at */
    MOST_WAY = 512,                               /* bytes that lead to the line's place */
    LONGEST = MP_FOOTER_BYTES + WIDEST + MOST_WAY /* with these */
};

int mp_footer_columns(int fd) {
    struct winsize size;
    if (ioctl(fd, TIOCGWINSZ, &size) != 0)
        return -errno;
    return size.ws_col;
}

/* --- whose it is --------------------------------------------------------------- */

/* A process of the family, also when its record is another's by now. 0: nobody. */
static uint64_t name_of(uint32_t member) {
    return (uint64_t)mp_page->members[member].serial << 32 | (member + 1);
}

static int is_alive(uint64_t name) {
    const uint32_t member = (uint32_t)name - 1;
    return member < N_MEMBERS && name == name_of(member) && mp_family_alive(member);
}

int mp_footer_is_there(void) {
    return mp_page != NULL && mp_page_self != MP_NOBODY &&
           atomic_load_explicit(&mp_page->footer.owner, memory_order_acquire) != 0;
}

static int is_mine(void) {
    return mp_footer_is_there() &&
           atomic_load_explicit(&mp_page->footer.owner, memory_order_relaxed) ==
               name_of(mp_page_self);
}

static int is_at(const footer_shared *f, const struct stat *stream) {
    return atomic_load_explicit(&f->dev, memory_order_relaxed) == (uint64_t)stream->st_dev &&
           atomic_load_explicit(&f->ino, memory_order_relaxed) == (uint64_t)stream->st_ino;
}

/* The footer, if it is at that stream. */
static footer_shared *at(const struct stat *stream) {
    return mp_footer_is_there() && is_at(&mp_page->footer, stream) ? &mp_page->footer : NULL;
}

/* Makes it the calling process's, at that stream. */
static int claim(footer_shared *f, const struct stat *stream) {
    uint64_t owner = atomic_load_explicit(&f->owner, memory_order_acquire);
    const uint64_t self = name_of(mp_page_self);
    if (owner == self)
        return 0;
    if ((owner != 0 && is_alive(owner)) || !atomic_compare_exchange_strong(&f->owner, &owner, self))
        return -EBUSY;
    if (owner != 0 && is_at(f, stream)) /* what a dead one has drawn is this one's to draw over */
        return 0;
    f->is_drawn = f->is_saved = 0;
    f->above = MP_FOOTER_NOTHING;
    f->len = 0;
    atomic_store_explicit(&f->dev, (uint64_t)stream->st_dev, memory_order_relaxed);
    atomic_store_explicit(&f->ino, (uint64_t)stream->st_ino, memory_order_relaxed);
    return 0;
}

/* --- drawing ------------------------------------------------------------------- */

/* Whether another job has the terminal, and the screen. */
static int is_in_background(int fd) {
    const pid_t group = tcgetpgrp(fd);
    return group > 0 && group != getpgrp();
}

static size_t append(char *to, size_t n, const char *bytes, size_t len) {
    memcpy(to + n, bytes, len);
    return n + len;
}

static size_t append_text(char *to, size_t n, const char *text) {
    return append(to, n, text, strlen(text));
}

/* How many rows above the cursor's the line begins by now. */
static unsigned rows_above(const footer_shared *f, int fd) {
    const int columns = mp_footer_columns(fd);
    return f->reflows && columns > 0 && f->cells > 0 ? (f->cells - 1) / (unsigned)columns : 0;
}

/*
** To the beginning of what is drawn, over rows that are wiped on the way: one by one, for some
** terminals keep a screen that is wiped as a whole.
*/
static size_t append_way(char *to, const footer_shared *f, int fd) {
    size_t n = append_text(to, 0, HOME);
    for (unsigned i = rows_above(f, fd); i > 0 && n < MOST_WAY; i--)
        n = append_text(to, n, WIPE_ROW UP);
    return n;
}

static void put(int fd, char *bytes, size_t len) {
    struct iovec piece = {.iov_base = bytes, .iov_len = len};
    mp_sys_write(fd, &piece, 1); /* a terminal that is gone shows nothing */
}

/* Wherever the cursor is, to the beginning of a row: of this one, if it is there. */
static size_t append_fresh_row(char *to, int fd) {
    const int columns = mp_footer_columns(fd);
    const size_t n = columns > 1 && columns <= WIDEST ? (size_t)columns - 1 : 0;
    memset(to, ' ', n);
    return append_text(to, n, HOME);
}

static void draw(footer_shared *f, int fd) {
    char bytes[LONGEST];
    size_t n = 0;
    if (f->is_drawn) {
        n = append_way(bytes, f, fd);
    } else if (f->above == MP_FOOTER_OPEN) {
        n = append_text(bytes, 0, NEXT_ROW SAVE "\r\n");
        f->is_saved = 1;
    } else if (f->above == MP_FOOTER_NOTHING) {
        n = append_fresh_row(bytes, fd);
        f->above = MP_FOOTER_LINE;
    } else {
        n = append_text(bytes, 0, HOME);
    }
    n = append(bytes, n, f->bytes, f->len <= sizeof f->bytes ? f->len : 0);
    n = append_text(bytes, n, WIPE_ROW);
    f->is_drawn = 1;
    put(fd, bytes, n);
}

static void wipe(footer_shared *f, int fd) {
    char bytes[LONGEST];
    if (f->is_drawn && !is_in_background(fd)) {
        size_t n = append_way(bytes, f, fd);
        n = append_text(bytes, n, WIPE_ROW);
        if (f->is_saved)
            n = append_text(bytes, n, RESTORE);
        put(fd, bytes, n);
    }
    f->is_drawn = f->is_saved = 0;
}

static int is_writable(int fd) {
    struct pollfd ready = {.fd = fd, .events = POLLOUT};
    return poll(&ready, 1, 0) == 1 && (ready.revents & POLLOUT) != 0;
}

/* In the turn. */
static int show(int fd, const struct stat *stream, const char *line, size_t len, unsigned cells,
                int reflows) {
    footer_shared *f = &mp_page->footer;
    const int rc = claim(f, stream);
    if (rc < 0)
        return rc;
    if (is_in_background(fd) || !is_writable(fd)) {
        f->is_drawn = f->is_drawn && !is_in_background(fd);
        return -EAGAIN;
    }
    f->reflows = reflows != 0;
    if (f->is_drawn && rows_above(f, fd) > 0)
        wipe(f, fd);
    memcpy(f->bytes, line, len);
    f->len = (uint32_t)len;
    f->cells = cells;
    draw(f, fd);
    return 0;
}

/* At a stream, and the turn there, for a footer of the calling process. */
static int enter(int fd, struct stat *stream, mp_time deadline) {
    const int rc = mp_family_open();
    if (rc < 0)
        return rc;
    if (fstat(fd, stream) != 0)
        return -errno;
    const int turn = mp_family_stream_lock(stream, deadline);
    return turn < 0 ? -EAGAIN : turn;
}

int mp_footer_claim(int fd) {
    struct stat stream;
    const int turn = enter(fd, &stream, mp_sys_now() + MP_SECOND / 20);
    if (turn < 0)
        return turn;
    const int rc = claim(&mp_page->footer, &stream);
    mp_family_stream_unlock(turn);
    return rc;
}

int mp_footer_show(int fd, const char *line, size_t len, unsigned cells, int reflows) {
    struct stat stream;
    const int turn = len > MP_FOOTER_BYTES ? -EMSGSIZE : enter(fd, &stream, 0);
    if (turn < 0)
        return turn;
    const int rc = show(fd, &stream, line, len, cells, reflows);
    mp_family_stream_unlock(turn);
    return rc;
}

/* Behind text that ends no line. */
static void begin_row(const footer_shared *f, int fd) {
    char bytes[LONGEST];
    if (f->above == MP_FOOTER_OPEN && !is_in_background(fd))
        put(fd, bytes, append_fresh_row(bytes, fd));
}

void mp_footer_hide(int begins_row) {
    struct stat stream;
    if (!is_mine())
        return;
    footer_shared *f = &mp_page->footer;
    if (fstat(STDERR_FILENO, &stream) == 0 && at(&stream) == f) {
        const int turn = mp_family_stream_lock(&stream, mp_sys_now() + MP_SECOND);
        wipe(f, STDERR_FILENO);
        if (begins_row)
            begin_row(f, STDERR_FILENO);
        mp_family_stream_unlock(turn);
    }
    atomic_store_explicit(&f->owner, 0, memory_order_release);
}

/* --- who writes there ------------------------------------------------------------ */

void mp_footer_lift(int fd, const struct stat *stream) {
    footer_shared *f = at(stream);
    if (f == NULL)
        return;
    uint64_t owner = atomic_load_explicit(&f->owner, memory_order_relaxed);
    wipe(f, fd);
    if (!is_alive(owner))
        atomic_compare_exchange_strong(&f->owner, &owner, 0);
}

void mp_footer_lower(int fd, const struct stat *stream, enum mp_footer_end end) {
    footer_shared *f = at(stream);
    if (f == NULL)
        return;
    if (end != MP_FOOTER_NOTHING)
        f->above = end;
    const int columns = mp_footer_columns(fd);
    const int fits = columns <= 0 || (unsigned)columns > f->cells;
    if (f->above == MP_FOOTER_LINE && f->len > 0 && fits && !is_in_background(fd))
        draw(f, fd);
}
