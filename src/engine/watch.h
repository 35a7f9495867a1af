/*
** watch.h: descriptors that are readable when something shared is ready, for event loops
** and for waits over several things.
**
** What is shared cannot be polled, and a process made later has no descriptor of mine that
** it could write to. So who watches leaves its name where it watches, and who makes a
** change there sends it a signal, SIGURG, which does nothing to whoever does not expect it
** (so it does not matter whether the pid is still its own). Its handler looks which of the
** watched are ready, and makes their descriptors readable. A name is struck out by the signal
** that it caused, until its owner looks again: so a busy queue costs one signal a look, and
** none when nobody watches.
**
** Names are few for each place; when they are taken, whoever else watches is found among all
** members. Nobody tells of what a process killed half way has done, so for descriptors that
** leave the library a timer sends the same signal at each look, 20 times a second.
**
** Promise: a descriptor is readable when its subject is ready, and not any more when its owner
** has looked and it was not. It may be readable longer than that is true, when another process
** was faster. A forked process gets descriptors of its own.
*/
#ifndef MP_ENGINE_WATCH_H
#define MP_ENGINE_WATCH_H

#include <stdatomic.h>
#include <stdint.h>

enum { MP_WATCHERS = 3 };

/* Where changes are told: in shared memory, all zero at first. */
typedef struct mp_watch {
    _Atomic uint64_t names[MP_WATCHERS]; /* of processes (name.h); 0: none */
    _Atomic uint32_t more;               /* there are others, somewhere */
} mp_watch;

/*
** This process's descriptor for what is_ready(arg) says, whose changes are told at `watch`;
** up to date, and told of the next change. Both stay where they are until mp_watch_close.
** Returns it, or -errno.
*/
int mp_watch_fd(mp_watch *watch, int (*is_ready)(const void *), const void *arg);

/*
** This process has looked itself: its descriptor, if it has one, is not readable before the
** subject is ready.
*/
void mp_watch_look(mp_watch *watch);

/* The same for all that this process watches. */
void mp_watch_renew(void);

/* Whether this process watches anything. */
int mp_watch_is_used(void);

/* From now on there are descriptors that somebody else waits for. 0 or -errno. */
int mp_watch_keep(void);

/* Closes it, if there is one. */
void mp_watch_close(mp_watch *watch);

/* After a change. */
void mp_watch_tell(mp_watch *watch);

#endif
