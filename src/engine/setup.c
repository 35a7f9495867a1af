/*
** setup.c: what a child is to be; see setup.h.
*/
#include "engine/setup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

int mp_setup_has_limits(const mp_setup *s) {
    const mp_limits *l = &s->limits;
    return l->memory >= 0 || l->cpu >= 0 || l->files >= 0 || l->processes >= 0 || l->core >= 0;
}

int mp_setup_is_empty(const mp_setup *s) {
    return s->cwd < 0 && s->cpus == NULL && s->nice == 0 && s->streams[0] < 0 &&
           s->streams[1] < 0 && s->streams[2] < 0 && !mp_setup_has_limits(s);
}

/*
** Private memory that the calling process has already, by the count that
** RLIMIT_DATA is held to: VmData of /proc/self/status. -errno without it.
*/
static int64_t inherited_memory(void) {
    char text[4096];
    int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    int failure = n < 0 ? -errno : -EIO;
    if (fd >= 0)
        close(fd);
    if (n < 0)
        return failure;
    text[n] = '\0';
    const char *field = strstr(text, "\nVmData:");
    return field != NULL ? strtoll(field + strlen("\nVmData:"), NULL, 10) * 1024 : failure;
}

/* Both limits, soft and hard: the child cannot lift it again. */
static int limit(int resource, int64_t value, int64_t beyond) {
    struct rlimit l = {(rlim_t)value, (rlim_t)(value + beyond)};
    return value < 0 || setrlimit((__rlimit_resource_t)resource, &l) == 0 ? 0 : -errno;
}

static int limit_memory(int64_t bytes, int inherits) {
    if (bytes < 0)
        return 0;
    int64_t has = inherits ? inherited_memory() : 0;
    return has < 0 ? (int)has : limit(RLIMIT_DATA, has + bytes, 0);
}

static int apply_limits(const mp_limits *l, int inherits, const char **step) {
    *step = "limit of CPU time";
    int rc = limit(RLIMIT_CPU, l->cpu, 1);
    if (rc == 0) {
        *step = "limit of processes";
        rc = limit(RLIMIT_NPROC, l->processes, 0);
    }
    if (rc == 0) {
        *step = "limit of core files";
        rc = limit(RLIMIT_CORE, l->core, 0);
    }
    if (rc == 0) { /* reading what it has needs a descriptor: before their limit */
        *step = "limit of memory";
        rc = limit_memory(l->memory, inherits);
    }
    if (rc == 0) {
        *step = "limit of files";
        rc = limit(RLIMIT_NOFILE, l->files, 0);
    }
    return rc;
}

static int apply_streams(const int streams[3], const char **step) {
    static const char *const names[] = {"stdin", "stdout", "stderr"};
    for (int i = 0; i < 3; i++) {
        *step = names[i];
        if (streams[i] >= 0 && dup2(streams[i], i) < 0)
            return -errno;
    }
    return 0;
}

int mp_setup_apply(const mp_setup *s, int inherits, const char **step) {
    *step = "cwd";
    if (s->cwd >= 0 && fchdir(s->cwd) != 0)
        return -errno;
    *step = "cpus";
    if (s->cpus != NULL && sched_setaffinity(0, sizeof *s->cpus, s->cpus) != 0)
        return -errno;
    *step = "nice";
    errno = 0;
    if (s->nice != 0 && nice(s->nice) == -1 && errno != 0)
        return -errno;
    int rc = apply_streams(s->streams, step);
    return rc < 0 ? rc : apply_limits(&s->limits, inherits, step);
}

typedef struct verdict {
    int rc;
    char step[24];
} verdict;

int mp_setup_report(const mp_setup *setup, int pipe) {
    const char *step;
    verdict v = {.rc = mp_setup_apply(setup, 1, &step)};
    strncpy(v.step, step, sizeof v.step - 1);
    return write(pipe, &v, sizeof v) < 0 ? -errno : v.rc;
}

int mp_setup_hear(int pipe, const char **step) {
    static verdict v;
    ssize_t n;
    do
        n = read(pipe, &v, sizeof v);
    while (n < 0 && errno == EINTR);
    *step = n == sizeof v && v.rc != 0 ? v.step : "fork";
    return n == sizeof v ? v.rc : 0;
}
