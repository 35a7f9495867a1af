/*
 * relay COUNT: what it costs to bring lines of two programs into one stream.
 *
 * Two cats write COUNT MiB of lines together, from a file in memory, into one
 * pipe, which is read in pieces of 1 MiB. Prints the mean time of 1 MiB in
 * seconds, programs' starts included.
 */
#include "bench.h"

#include <fcntl.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MIB = 1 << 20, LINE = 64, SIDES = 2 };

static char bytes[MIB];

static int make_file(void) {
    int fd = memfd_create("lines", 0);
    memset(bytes, 'x', sizeof bytes);
    for (int i = LINE - 1; i < MIB; i += LINE)
        bytes[i] = '\n';
    if (fd < 0 || write(fd, bytes, sizeof bytes) != MIB)
        bench_die("memfd");
    return fd;
}

/* cat FILE FILE ..., n times, into the pipe. */
static void start(int fd, int n, const int ends[2]) {
    char path[32];
    char **argv = calloc((size_t)n + 2, sizeof *argv);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (argv == NULL)
        bench_die("calloc");
    argv[0] = "cat";
    for (int i = 1; i <= n; i++)
        argv[i] = path;
    if (fork() == 0) {
        dup2(ends[1], STDOUT_FILENO);
        close(ends[0]);
        close(ends[1]);
        execvp("cat", argv);
        _exit(127);
    }
    free(argv);
}

static double relay(int fd, int count) {
    int ends[2];
    long long total = 0;
    double begun = bench_now();
    if (pipe(ends) != 0)
        bench_die("pipe");
    for (int side = 0; side < SIDES; side++)
        start(fd, count / SIDES, ends);
    close(ends[1]);
    for (ssize_t n; (n = read(ends[0], bytes, sizeof bytes)) > 0;)
        total += n;
    close(ends[0]);
    for (int side = 0; side < SIDES; side++)
        wait(NULL);
    if (total != (long long)(count / SIDES) * SIDES * MIB)
        exit(1);
    return (bench_now() - begun) / count;
}

int main(int argc, char **argv) {
    int count = bench_count(argc == 2 ? argv[1] : NULL), fd = make_file();
    relay(fd, SIDES);
    printf("%.9f\n", relay(fd, count));
    return 0;
}
