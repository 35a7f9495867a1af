/*
** link.c: messages over a stream socket; see link.h.
*/
#include "engine/link.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/sys.h"

enum {
    HEAD = sizeof(uint64_t),
    READ_AHEAD = 64 * 1024,       /* bytes that are asked for at least */
    KEPT_ROOM = 32 * 1024 * 1024, /* of a buffer that has become empty */
    SEGMENT = 16 * 1024,          /* room for messages that are not large */
    MOST_PIECES = 16,             /* that are sent by one call */
};

/* Bytes from `at` to `end`, in memory of that size. */
typedef struct buffer {
    unsigned char *bytes;
    size_t at, end, size;
} buffer;

/* Bytes that are to go out: its own, with room for more behind them, or lent ones. */
typedef struct segment {
    struct segment *next;
    const unsigned char *at;
    size_t len, room;
    int is_lent;
    unsigned char bytes[];
} segment;

struct mp_link {
    mp_link *next;
    int fd;        /* -1 in a child */
    int is_broken; /* nothing goes out any more */
    int has_ended; /* nothing comes in any more */
    int is_dry;    /* all that was there has been read: not to be asked again at once */
    int set;       /* the descriptor of its set, or -1 */
    int is_eager;  /* its set tells when it takes again what is kept */
    size_t taken;  /* bytes of `in` that the last message has, and that go with the next call */
    buffer in;
    segment *first, *last; /* of what goes out */
    size_t kept;           /* bytes in them */
    uint64_t given_back;
    mp_link_hold *hold; /* of the bytes that were taken last */
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

static void free_first(mp_link *l) {
    segment *s = l->first;
    l->first = s->next;
    if (l->first == NULL)
        l->last = NULL;
    l->given_back += (uint64_t)s->is_lent;
    free(s);
}

void mp_link_free(mp_link *l) {
    for (mp_link **at = &links; *at != NULL; at = &(*at)->next)
        if (*at == l) {
            *at = l->next;
            break;
        }
    if (l->fd >= 0)
        close(l->fd);
    while (l->first != NULL)
        free_first(l);
    if (l->hold != NULL && l->hold->bytes == NULL) {
        l->hold->bytes = l->in.bytes;
        l->in.bytes = NULL;
    }
    for (mp_link_hold *hold = l->hold; hold != NULL; hold = hold->outer)
        hold->link = NULL;
    free(l->in.bytes);
    free(l);
}

int mp_link_is_left(const mp_link *l) {
    struct pollfd p = {.fd = l->fd, .events = POLLRDHUP};
    return l->fd < 0 || l->has_ended || (poll(&p, 1, 0) > 0 && (p.revents & (POLLRDHUP | POLLHUP)));
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
    return note(l, EPOLL_CTL_ADD, l->kept > 0);
}

int mp_link_add(int set, int fd) {
    struct epoll_event event = {.events = EPOLLIN};
    return epoll_ctl(set, EPOLL_CTL_ADD, fd, &event) == 0 || errno == EEXIST ? 0 : -errno;
}

/* Its set is to tell of room for what is kept, while something is. */
static void tell_set(mp_link *l) {
    const int is_eager = !l->is_broken && l->kept > 0;
    if (l->set >= 0 && l->fd >= 0 && is_eager != l->is_eager)
        note(l, EPOLL_CTL_MOD, is_eager);
}

/* --- out ------------------------------------------------------------------------ */

static int gone(mp_link *l) {
    l->is_broken = 1;
    while (l->first != NULL)
        free_first(l);
    l->kept = 0;
    tell_set(l);
    return -EPIPE;
}

/* How many bytes of the first segments the other side takes, or -EPIPE. */
static ssize_t send_some(mp_link *l) {
    struct iovec pieces[MOST_PIECES];
    struct msghdr message = {.msg_iov = pieces};
    for (segment *s = l->first; s != NULL && message.msg_iovlen < MOST_PIECES; s = s->next)
        pieces[message.msg_iovlen++] = (struct iovec){(void *)s->at, s->len};
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

static void drop_sent(mp_link *l, size_t n) {
    l->kept -= n;
    while (l->first != NULL && n >= l->first->len) {
        n -= l->first->len;
        free_first(l);
    }
    if (n > 0) {
        l->first->at += n;
        l->first->len -= n;
    }
}

int64_t mp_link_flush(mp_link *l) {
    while (!l->is_broken && l->kept > 0) {
        const ssize_t sent = send_some(l);
        if (sent <= 0)
            break;
        drop_sent(l, (size_t)sent);
    }
    tell_set(l);
    return l->is_broken ? -EPIPE : (int64_t)l->kept;
}

static segment *new_segment(size_t room) {
    segment *s = malloc(sizeof *s + room);
    if (s != NULL)
        *s = (segment){.at = s->bytes, .room = room};
    return s;
}

static void append(mp_link *l, segment *s) {
    *(l->last != NULL ? &l->last->next : &l->first) = s;
    l->last = s;
}

/* The last segment, with room for so many bytes more, or NULL. */
static segment *segment_with(mp_link *l, size_t len) {
    if (l->last != NULL && l->last->room >= len)
        return l->last;
    segment *s = new_segment(len < SEGMENT ? SEGMENT : len);
    if (s != NULL)
        append(l, s);
    return s;
}

static void copy(segment *s, const struct iovec *pieces, int n) {
    for (int i = 0; i < n; i++) {
        const size_t len = pieces[i].iov_len;
        if (len > 0)
            memcpy((unsigned char *)s->at + s->len, pieces[i].iov_base, len);
        s->len += len;
        s->room -= len;
    }
}

/* The pieces behind their head. Memory for all is there before anything is kept: it goes whole or
 * not at all. */
static int keep(mp_link *l, uint64_t len, const struct iovec *pieces, int n, int is_lent) {
    const struct iovec head = {&len, HEAD};
    const size_t lent = is_lent ? pieces[n - 1].iov_len : 0;
    segment *tail = is_lent ? new_segment(0) : NULL;
    segment *s = is_lent && tail == NULL ? NULL : segment_with(l, HEAD + len - lent);
    if (s == NULL) {
        free(tail);
        return -ENOMEM;
    }
    copy(s, &head, 1);
    copy(s, pieces, n - is_lent);
    if (is_lent) {
        tail->at = pieces[n - 1].iov_base;
        tail->len = lent;
        tail->is_lent = 1;
        append(l, tail);
    }
    l->kept += HEAD + len;
    return 0;
}

int mp_link_put(mp_link *l, const struct iovec *pieces, int n, int is_lent) {
    uint64_t len = 0;
    for (int i = 0; i < n; i++)
        len += pieces[i].iov_len;
    if (l->is_broken)
        return -EPIPE;
    const int rc = keep(l, len, pieces, n, is_lent && pieces[n - 1].iov_len > 0);
    if (is_lent && rc == 0 && pieces[n - 1].iov_len == 0)
        l->given_back++;
    if (rc == 0 && len >= READ_AHEAD)
        mp_link_flush(l); /* a break is told when something is taken */
    return rc;
}

uint64_t mp_link_given_back(const mp_link *l) {
    return l->given_back;
}

/* --- in ------------------------------------------------------------------------- */

/* Whether the first message is whole; else *wanted is how many bytes more it needs. */
static int has_message(const buffer *b, uint64_t *len, size_t *wanted) {
    const size_t there = b->end - b->at;
    *wanted = READ_AHEAD;
    if (there < HEAD)
        return 0;
    memcpy(len, b->bytes + b->at, HEAD);
    if (*len <= there - HEAD)
        return 1;
    *wanted = *len - (there - HEAD);
    return 0;
}

/* How many bytes are asked for: what belongs to a large message and not to the next one, which so
 * need not be moved; and no more than have come of it, for its length may be wrong. */
static size_t amount(const buffer *b, size_t wanted) {
    const size_t had = b->end - b->at;
    const size_t most = had > READ_AHEAD ? had : READ_AHEAD;
    return wanted < READ_AHEAD ? READ_AHEAD : wanted < most ? wanted : most;
}

/* Reads what is there, up to about so many bytes: 1, 0 when there is nothing now, or an error. */
static int read_more(mp_link *l, size_t wanted) {
    const size_t n_asked = amount(&l->in, wanted);
    const int rc = make_room(&l->in, n_asked);
    if (rc < 0)
        return rc;
    for (;;) {
        const ssize_t n = recv(l->fd, l->in.bytes + l->in.end, n_asked, MSG_DONTWAIT);
        if (n > 0) {
            l->in.end += (size_t)n;
            l->is_dry = (size_t)n < n_asked;
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

void mp_link_keep(mp_link *l, mp_link_hold *hold) {
    *hold = (mp_link_hold){.link = l, .outer = l->hold};
    l->hold = hold;
}

void mp_link_release(mp_link_hold *hold) {
    if (hold->link != NULL)
        hold->link->hold = hold->outer;
    free(hold->bytes);
}

/* The bytes that are held stay with their hold, and what is behind them goes on in others: 0 or
 * -ENOMEM. */
static int leave_held(mp_link *l) {
    buffer rest = {.bytes = NULL};
    const size_t at = l->in.at + l->taken, n = l->in.end - at;
    if (make_room(&rest, n + 1) < 0)
        return -ENOMEM;
    memcpy(rest.bytes, l->in.bytes + at, n);
    rest.end = n;
    l->hold->bytes = l->in.bytes;
    l->in = rest;
    l->taken = 0;
    return 0;
}

int mp_link_take(mp_link *l, const unsigned char **bytes, size_t *len) {
    uint64_t n;
    size_t wanted;
    if (l->hold != NULL && l->hold->bytes == NULL && leave_held(l) < 0)
        return -ENOMEM;
    drop(&l->in, l->taken);
    l->taken = 0;
    while (!has_message(&l->in, &n, &wanted)) {
        const int is_dry = l->is_dry && !l->has_ended;
        l->is_dry = 0;
        if (is_dry)
            return 0;
        const int rc = l->has_ended ? -EPIPE : read_more(l, wanted);
        if (rc < 0 || (rc == 0 && !l->has_ended))
            return rc;
    }
    *bytes = l->in.bytes + l->in.at + HEAD;
    *len = n;
    l->taken = HEAD + n;
    return 1;
}
