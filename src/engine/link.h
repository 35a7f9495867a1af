/*
** link.h: messages over a stream socket, to a process that is no member of the family.
**
** Promise: a message arrives whole, in order, or not at all. Neither side waits for the other: what
** the other does not take now is kept here, and goes when it does. The other's end, whichever
** way it came, is told after the last whole message.
**
**   message  u64 length, little endian, and so many bytes; no length is believed before the bytes
**            are there, so a wrong one takes no memory
**
** A link is its process's alone. A forked child has none: there its descriptor is closed, or the
** other side would not see the end.
*/
#ifndef MP_ENGINE_LINK_H
#define MP_ENGINE_LINK_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

typedef struct mp_link mp_link;

/* Takes over a connected stream socket. NULL when there is no memory; then it is the caller's. */
mp_link *mp_link_new(int fd);
void mp_link_free(mp_link *l);

/*
** A message of these pieces is to be sent: what is not much goes with the next flush. They are
** copied; but the last one, if it is lent, has to stay as it is until it is given back. 0, -ENOMEM,
** or -EPIPE when the other end is gone: then nothing was lent.
*/
int mp_link_put(mp_link *l, const struct iovec *pieces, int n, int is_lent);

/* How many of all pieces that were lent are given back: the oldest ones. */
uint64_t mp_link_given_back(const mp_link *l);

/* Sends what is kept, as far as the other side takes it: how many bytes are left, or -EPIPE. The
 * link's set tells when it takes more. */
int64_t mp_link_flush(mp_link *l);

/*
** The next message: 1 and its bytes, which stay until the next call for this link, or longer if
** they are held; 0 when there is none yet; -EPIPE when none comes any more; -ENOMEM, after which it
** may be asked for again.
*/
int mp_link_take(mp_link *l, const unsigned char **bytes, size_t *len);

/*
** Whoever reads the bytes of a message, and may thereby come to ask the same link again, or free
** it, holds them: until they are released they stay where they are. The last hold goes first.
*/
typedef struct mp_link_hold {
    mp_link *link; /* NULL: it was freed */
    struct mp_link_hold *outer;
    unsigned char *bytes; /* what the link has left to this hold, or NULL */
} mp_link_hold;

void mp_link_keep(mp_link *l, mp_link_hold *hold);
void mp_link_release(mp_link_hold *hold);

/* Whether the other end is gone, also before all that it has sent was taken. */
int mp_link_is_left(const mp_link *l);

/* Its descriptor, readable when there is something to take; -1 in a child. */
int mp_link_fd(const mp_link *l);

/*
** Several links as one descriptor: readable when one has something to take, or takes again what a
** flush has left. A link is in one set at most, and leaves it when it is freed.
*/
int mp_link_set(void);
int mp_link_join(mp_link *l, int set);

/* Any other descriptor, too, makes the set readable when it is. 0 or -errno; one that is in it
 * already is fine. */
int mp_link_add(int set, int fd);

#endif
