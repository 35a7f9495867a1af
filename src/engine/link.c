/*
** link.c: messages over a stream socket; see link.h.
*/
#include "engine/link.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/sys.h"

enum {
    HEAD = sizeof(uint64_t),
    READ_AHEAD = 64 * 1024,      /* bytes that are asked for at least */
    KEPT_ROOM = 4 * 1024 * 1024, /* of a buffer that has become empty */
    MOST_PIECES = 64,
};

/* Bytes from `at` to `end`, in memory of that size. */
typedef struct buffer {
    unsigned char *bytes;
    size_t at, end, size;
} buffer;

struct mp_link {
    mp_link *next;
    int fd;        /* -1 in a child */
    int is_broken; /* nothing goes out any more */
    int has_ended; /* nothing comes in any more */
    int set;       /* the descriptor of its set, or -1 */
    int is_eager;  /* its set tells when it takes again what is kept */
    size_t taken;  /* bytes of `in` that the last message has, and that go with the next call */
    buffer in, out;
};

static mp_link *links; /* of this process */

/* --- a child has none ------------------------------------------------------ */

static void close_in_child(void) {
    for (mp_link *l = links; l != NULL; l = l->next) {
        if (l->fd >= 0)
            close(l->fd);
        l->fd = l->set = -1;
        l->is_broken = l->has_ended = 1;
    }
    links = NULL;
}

mp_link *mp_link_new(int fd) {
    static int is_watched;
    mp_link *l = calloc(1, sizeof *l);
    if (l == NULL || (!is_watched && pthread_atfork(NULL, NULL, close_in_child) != 0)) {
        free(l);
        return NULL;
    }
    is_watched = 1;
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    *l = (mp_link){.next = links, .fd = fd, .set = -1};
    links = l;
    return l;
}

void mp_link_free(mp_link *l) {
    for (mp_link **at = &links; *at != NULL; at = &(*at)->next)
        if (*at == l) {
            *at = l->next;
            break;
        }
    if (l->fd >= 0)
        close(l->fd);
    free(l->in.bytes);
    free(l->out.bytes);
    free(l);
}

int mp_link_fd(const mp_link *l) {
    return l->fd;
}

/* --- buffers ----------------------------------------------------------------- */

/* Makes room for `more` bytes behind the last one: 0 or -ENOMEM. */
static int make_room(buffer *b, size_t more) {
    if (b->at > 0 && (b->at == b->end || b->size - b->end < more)) {
        memmove(b->bytes, b->bytes + b->at, b->end - b->at);
        b->end -= b->at;
        b->at = 0;
    }
    if (b->size - b->end >= more)
        return 0;
    size_t size = b->size == 0 ? READ_AHEAD : b->size;
    while (size - b->end < more)
        size *= 2;
    unsigned char *bytes = realloc(b->bytes, size);
    if (bytes == NULL)
        return -ENOMEM;
    b->bytes = bytes;
    b->size = size;
    return 0;
}

/* So many of its first bytes are not needed any more. */
static void drop(buffer *b, size_t n) {
    b->at += n;
    if (b->at < b->end)
        return;
    b->at = b->end = 0;
    if (b->size > KEPT_ROOM) {
        free(b->bytes);
        *b = (buffer){.bytes = NULL};
    }
}

/* --- sets ---------------------------------------------------------------------- */

int mp_link_set(void) {
    return mp_sys_high_fd(epoll_create1(EPOLL_CLOEXEC));
}

static int note(mp_link *l, int op, int is_eager) {
    struct epoll_event event = {.events = EPOLLIN | (is_eager ? EPOLLOUT : 0u)};
    l->is_eager = is_eager;
    return epoll_ctl(l->set, op, l->fd, &event) < 0 ? -errno : 0;
}

int mp_link_join(mp_link *l, int set) {
    l->set = set;
    return note(l, EPOLL_CTL_ADD, l->out.at < l->out.end);
}

int mp_link_add(int set, int fd) {
    struct epoll_event event = {.events = EPOLLIN};
    return epoll_ctl(set, EPOLL_CTL_ADD, fd, &event) == 0 || errno == EEXIST ? 0 : -errno;
}

/* Its set is to tell of room for what is kept, while something is. */
static void tell_set(mp_link *l) {
    const int is_eager = !l->is_broken && l->out.at < l->out.end;
    if (l->set >= 0 && l->fd >= 0 && is_eager != l->is_eager)
        note(l, EPOLL_CTL_MOD, is_eager);
}

/* --- out ------------------------------------------------------------------------ */

static int gone(mp_link *l) {
    l->is_broken = 1;
    drop(&l->out, l->out.end - l->out.at);
    tell_set(l);
    return -EPIPE;
}

/* How many bytes of the pieces went at once, or -EPIPE. */
static ssize_t send_pieces(mp_link *l, const struct iovec *pieces, int n) {
    const struct msghdr message = {.msg_iov = (struct iovec *)pieces, .msg_iovlen = (size_t)n};
    for (;;) {
        const ssize_t sent = sendmsg(l->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent >= 0)
            return sent;
        if (errno == EAGAIN || errno == ENOBUFS || errno == ENOMEM)
            return 0;
        if (errno != EINTR)
            return gone(l);
    }
}

int64_t mp_link_flush(mp_link *l) {
    while (!l->is_broken && l->out.at < l->out.end) {
        const struct iovec rest = {l->out.bytes + l->out.at, l->out.end - l->out.at};
        const ssize_t sent = send_pieces(l, &rest, 1);
        if (sent <= 0)
            break;
        drop(&l->out, (size_t)sent);
    }
    tell_set(l);
    return l->is_broken ? -EPIPE : (int64_t)(l->out.end - l->out.at);
}

/* Keeps what is behind the first `sent` bytes of the pieces, for which there is room. */
static void keep(buffer *b, const struct iovec *pieces, int n, size_t sent) {
    for (int i = 0; i < n; i++) {
        const size_t skipped = sent < pieces[i].iov_len ? sent : pieces[i].iov_len;
        const size_t len = pieces[i].iov_len - skipped;
        sent -= skipped;
        if (len > 0)
            memcpy(b->bytes + b->end, (const char *)pieces[i].iov_base + skipped, len);
        b->end += len;
    }
}

/* With its head as the first piece: room is made before anything goes, so it goes whole or not. */
static int put_all(mp_link *l, const struct iovec *all, int n, size_t len) {
    size_t sent = 0;
    const int goes_at_once = l->out.at == l->out.end && len >= READ_AHEAD;
    const int rc = make_room(&l->out, len);
    if (rc < 0)
        return rc;
    if (goes_at_once) {
        const ssize_t first = send_pieces(l, all, n);
        if (first < 0)
            return (int)first;
        sent = (size_t)first;
    }
    keep(&l->out, all, n, sent);
    tell_set(l);
    return 0;
}

int mp_link_put(mp_link *l, const struct iovec *pieces, int n) {
    struct iovec all[MOST_PIECES];
    uint64_t len = 0;
    for (int i = 0; i < n; i++)
        len += pieces[i].iov_len;
    if (l->is_broken)
        return -EPIPE;
    all[0] = (struct iovec){&len, HEAD};
    if (n >= MOST_PIECES)
        mp_panic("a message of too many pieces");
    if (n > 0)
        memcpy(all + 1, pieces, (size_t)n * sizeof *pieces);
    return put_all(l, all, n + 1, HEAD + len);
}

/* --- in ------------------------------------------------------------------------- */

/* Whether the first message is whole; else *wanted is how many bytes more it needs. */
static int has_message(const buffer *b, uint64_t *len, size_t *wanted) {
    const size_t there = b->end - b->at;
    *wanted = HEAD;
    if (there < HEAD)
        return 0;
    memcpy(len, b->bytes + b->at, HEAD);
    if (*len <= there - HEAD)
        return 1;
    *wanted = *len - (there - HEAD) < READ_AHEAD ? READ_AHEAD : *len - (there - HEAD);
    return 0;
}

/* Reads what is there, up to so many bytes or the room that there is: 1, 0 when there is nothing
 * now, or an error. */
static int read_more(mp_link *l, size_t wanted) {
    const size_t had = l->in.end - l->in.at;
    const size_t most = had > READ_AHEAD ? had : READ_AHEAD; /* memory grows with what has come */
    const int rc =
        make_room(&l->in, wanted < most ? (wanted < READ_AHEAD ? READ_AHEAD : wanted) : most);
    if (rc < 0)
        return rc;
    for (;;) {
        const ssize_t n =
            recv(l->fd, l->in.bytes + l->in.end, l->in.size - l->in.end, MSG_DONTWAIT);
        if (n > 0) {
            l->in.end += (size_t)n;
            return 1;
        }
        if (n < 0 && errno == EAGAIN)
            return 0;
        if (n == 0 || errno != EINTR) {
            l->has_ended = 1;
            return 0;
        }
    }
}

int mp_link_take(mp_link *l, const unsigned char **bytes, size_t *len) {
    uint64_t n;
    size_t wanted;
    drop(&l->in, l->taken);
    l->taken = 0;
    while (!has_message(&l->in, &n, &wanted)) {
        const int rc = l->has_ended ? -EPIPE : read_more(l, wanted);
        if (rc < 0 || (rc == 0 && !l->has_ended))
            return rc;
    }
    *bytes = l->in.bytes + l->in.at + HEAD;
    *len = n;
    l->taken = HEAD + n;
    return 1;
}
