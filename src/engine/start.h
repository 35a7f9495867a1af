/*
** start.h: how a process begins: by fork, in a fresh image, or as a program by exec.
**
** Promises:
**   - A forked child runs its body and leaves: nothing of it ever returns into
**     the parent's frames, and no handler of the parent's runs in it.
**   - A child dies with its creator, however that dies, unless it is detached:
**     the kernel sends it SIGKILL (PR_SET_PDEATHSIG), and a creator that died
**     before that was set is noticed by its changed parent. Two limits are the
**     kernel's: it means the death of the thread that forked, and Lua hosts
**     start processes from the one that stays; and it forgets the signal of a
**     child that changes its user or group.
**   - A start either succeeds whole, or fails and leaves nothing.
*/
#ifndef MP_ENGINE_START_H
#define MP_ENGINE_START_H

#include "engine/exec.h"
#include "engine/proc.h"
#include "engine/setup.h"

/* How a child is to live. */
typedef struct mp_start_spec {
    int detached;    /* lives on when its creator ends; in a session of its own */
    int daemon;      /* stopped at the creator's normal end, instead of joined */
    mp_time timeout; /* how long it may run; 0: for ever */
    mp_setup setup;
    const uint64_t *objects; /* of the arena, that a forked child holds from the start on */
    size_t n_objects;
} mp_start_spec;

/*
** Forks. The child runs body(arg) and leaves with the status that it returns,
** through mp_proc_leave. In the parent returns 0 and the new child in *child,
** or -errno and in *step what failed: "fork" or an option ("cwd", ...).
*/
int mp_start_fork(const mp_start_spec *spec, int (*body)(void *), void *arg, mp_proc **child,
                  const char **step);

/* How a process begins in a fresh image (image.h). */
enum mp_start_method { MP_START_FORKSERVER, MP_START_SPAWN };

/* The message for one. */
struct iovec;
typedef struct mp_start_message {
    const struct iovec *pieces;
    int n_pieces;
    size_t len;
    const uint64_t *objects; /* of the arena, that are in it */
    size_t n_objects;
} mp_start_message;

/*
** Starts a process in a fresh image, by exec of `image` or by the forkserver, which
** is made of it. Results as above.
*/
int mp_start_fresh(const mp_start_spec *spec, enum mp_start_method method, const mp_program *image,
                   const mp_start_message *message, mp_proc **child, const char **step);

/*
** In a fresh image: each process that is born in it runs body(arg), as a forked one,
** and can ask for its message (mp_image_message). Returns only in a process that
** never was one, with the status to exit with, or -errno.
*/
int mp_start_serve(int (*body)(void *), void *arg);

/* Runs a program (exec.h). Results as above; *step is "command" when it is that. */
int mp_start_exec(const mp_start_spec *spec, const mp_program *program, mp_proc **child,
                  const char **step);

#endif
