/*
** exec.h: a program in a process of its own, by vfork and exec.
**
** vfork, because the parent's heap does not matter to it: no page table is
** copied. The child runs on its parent's stack while that waits; it makes system
** calls only, and leaves by exec or _exit.
*/
#ifndef MP_ENGINE_EXEC_H
#define MP_ENGINE_EXEC_H

#include <sys/types.h>

#include "engine/setup.h"

/* A program to run. The lists end with NULL. */
typedef struct mp_program {
    char *const *paths; /* where it may be: the first that can be run is */
    char *const *argv;
    char **env;       /* "NAME=value"; the first place is free, for the family's tag */
    const int *files; /* descriptors from 10 on: 3, 4, ... for a fresh image (image.h) */
    int n_files;
} mp_program;

/*
** Runs it. Returns when it runs: its pid, or -errno and in *step what could
** not be done: "fork", "command", or as mp_setup_apply. Its signals have their
** default actions, but for those that were ignored; it gets the descriptors 0
** to 2, its files and no other, and the limit of descriptors that this process
** began with. It dies with the calling process, or has a session of its own. In
** a fresh image, which has files, all signals are blocked until it is born.
*/
pid_t mp_exec_run(const mp_setup *setup, int detached, const mp_program *program,
                  const char **step);

/* The bytes of an environment's list of pointers, NULL at the end included. */
size_t mp_exec_env_size(char *const *env);

/* Copies the list to `to` (which may be the same) but for entries of the tag's name. */
void mp_exec_copy_env(char **to, char *const *from, const char *tag);

#endif
