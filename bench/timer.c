/*
 * timer RUNS PROGRAM [ARGUMENT...]: the median wall time of a whole process.
 *
 * Runs PROGRAM once untimed, so that its files are in memory, then RUNS times,
 * each from before the spawn until after the wait, with stdout going to
 * /dev/null. Prints the median in seconds. posix_spawn does not copy this
 * program's memory, so that hardly anything but PROGRAM is measured. Any run
 * that does not end with status 0 ends it all with status 1.
 */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

static double run(char **argv, const posix_spawn_file_actions_t *actions) {
    pid_t pid;
    int status;
    double start = bench_now();
    errno = posix_spawnp(&pid, argv[0], actions, NULL, argv, environ);
    if (errno)
        bench_die(argv[0]);
    if (waitpid(pid, &status, 0) != pid)
        bench_die("waitpid");
    double seconds = bench_now() - start;
    if (status != 0) {
        fprintf(stderr, "%s ended with wait status 0x%x\n", argv[0], (unsigned)status);
        exit(1);
    }
    return seconds;
}

int main(int argc, char **argv) {
    int runs = bench_count(argv[1]);
    if (argc < 3) {
        fprintf(stderr, "usage: timer RUNS PROGRAM [ARGUMENT...]\n");
        return 1;
    }
    double *seconds = calloc((size_t)runs, sizeof *seconds);
    posix_spawn_file_actions_t actions;
    if (!seconds || posix_spawn_file_actions_init(&actions) != 0 ||
        posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0) != 0)
        bench_die("timer");
    run(argv + 2, &actions);
    for (int i = 0; i < runs; i++)
        seconds[i] = run(argv + 2, &actions);
    printf("%.9f\n", bench_median(seconds, runs));
    return 0;
}
