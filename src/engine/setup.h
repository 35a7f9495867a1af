/*
** setup.h: what a child is to be, beside what it runs.
**
** Applied by the child itself, before the first instruction of its user's
** code, and without memory being allocated: it may share its parent's (vfork).
*/
#ifndef MP_ENGINE_SETUP_H
#define MP_ENGINE_SETUP_H

#include <sched.h>
#include <stdint.h>

/* Limits of the kernel, which it can neither exceed nor lift; -1: as the parent. */
typedef struct mp_limits {
    int64_t memory;    /* bytes of private memory beyond what it inherits */
    int64_t cpu;       /* seconds of CPU: SIGXCPU then, SIGKILL a second later */
    int64_t files;     /* descriptors are below this */
    int64_t processes; /* of its user, all together */
    int64_t core;      /* bytes of a core file */
} mp_limits;

/* Zero and -1 mean "as the parent". */
typedef struct mp_setup {
    int cwd;               /* a descriptor of the folder to work in, or -1 */
    int streams[3];        /* descriptors that become 0, 1, 2, or -1 */
    int nice;              /* added to the nice value */
    const cpu_set_t *cpus; /* NULL: all of the parent's */
    mp_limits limits;
} mp_setup;

int mp_setup_is_empty(const mp_setup *setup);
int mp_setup_has_limits(const mp_setup *setup);

/*
** Applies it to the calling process, which is to go on in its parent's image
** (`inherits`) or to exec. 0, or -errno and in *step what could not be done:
** "cwd", "stdout", "limit of files", ...
*/
int mp_setup_apply(const mp_setup *setup, int inherits, const char **step);

/* In a forked child: applies it and tells the creator by a pipe how that went. */
int mp_setup_report(const mp_setup *setup, int pipe);

/*
** The creator waits for that word: 0, or -errno and *step. A child that was
** killed before it could say has none: 0, and waiting for it tells.
*/
int mp_setup_hear(int pipe, const char **step);

#endif
