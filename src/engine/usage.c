/*
** usage.c: what a process has used; usage.h has the promise.
**
** The process's CPU clock counts nanoseconds. Of its children the kernel tells in ticks, mostly of
** 10 ms, and so it does in /proc of the process where it has no such clock to give.
*/
#include "engine/usage.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* A small file of /proc as a text, at most size - 1 bytes of it. */
static int read_text(pid_t pid, const char *name, char *text, size_t size) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    const ssize_t n = read(fd, text, size - 1);
    const int rc = n < 0 ? -errno : 0;
    close(fd);
    text[n < 0 ? 0 : n] = '\0';
    return rc;
}

static mp_time of_ticks(unsigned long ticks) {
    return (mp_time)ticks * (MP_SECOND / sysconf(_SC_CLK_TCK));
}

static int own_cpu(pid_t pid, mp_time *cpu) {
    clockid_t id;
    struct timespec used;
    if (clock_getcpuclockid(pid, &id) != 0 || clock_gettime(id, &used) != 0)
        return -ESRCH;
    *cpu = used.tv_sec * MP_SECOND + used.tv_nsec;
    return 0;
}

int mp_usage_of(pid_t pid, mp_usage *u) {
    char text[4096];
    unsigned long user, system, of_children[2];
    int rc = read_text(pid, "stat", text, sizeof text);
    const char *fields = rc < 0 ? NULL : strrchr(text, ')'); /* a name may have any characters */
    if (fields == NULL ||
        sscanf(fields, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu %lu %lu", &user,
               &system, &of_children[0], &of_children[1]) != 4)
        return rc < 0 ? rc : -EBADMSG;
    if (own_cpu(pid, &u->cpu) < 0)
        u->cpu = of_ticks(user + system);
    u->cpu += of_ticks(of_children[0] + of_children[1]);
    rc = read_text(pid, "status", text, sizeof text);
    const char *peak = rc < 0 ? NULL : strstr(text, "VmHWM:"); /* a zombie has none */
    u->peak_rss = peak == NULL ? 0 : strtol(peak + sizeof "VmHWM:" - 1, NULL, 10) * 1024;
    return 0;
}
