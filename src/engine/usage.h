/*
** usage.h: what a process that runs has used so far.
*/
#ifndef MP_ENGINE_USAGE_H
#define MP_ENGINE_USAGE_H

#include "engine/sys.h"

typedef struct mp_usage {
    mp_time cpu;      /* its own, and that of its children that it has waited for */
    int64_t peak_rss; /* bytes: the most that it has had resident at once */
} mp_usage;

/* 0, or -errno: it is not there any more, or /proc is not. */
int mp_usage_of(pid_t pid, mp_usage *u);

#endif
