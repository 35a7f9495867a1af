/*
 * command_captured COUNT: what the output of an external program costs.
 *
 * posix_spawn of /bin/echo with a pipe for its stdout, read to its end, and
 * waitpid. Prints the mean time over COUNT such rounds in seconds.
 */
#include "bench.h"

#include <fcntl.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static void run(void) {
    int status, ends[2];
    pid_t pid;
    char *argv[] = {"echo", "hello", NULL};
    char text[4096];
    size_t len = 0;
    posix_spawn_file_actions_t actions;
    if (pipe2(ends, O_CLOEXEC) != 0)
        bench_die("pipe2");
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    if (posix_spawn(&pid, "/bin/echo", &actions, NULL, argv, environ) != 0)
        bench_die("posix_spawn");
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    for (ssize_t n; (n = read(ends[0], text + len, sizeof text - len)) > 0;)
        len += (size_t)n;
    close(ends[0]);
    if (waitpid(pid, &status, 0) != pid)
        bench_die("waitpid");
    if (status != 0 || len != 6 || memcmp(text, "hello\n", 6) != 0)
        exit(1);
}

int main(int argc, char **argv) {
    bench_rounds(argc, argv, run);
    return 0;
}
