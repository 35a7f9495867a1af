/*
 * command COUNT: what running an external program cannot do without.
 *
 * posix_spawn, which glibc does by CLONE_VFORK as luamp does, and waitpid, of
 * /bin/true. Prints the mean time over COUNT such rounds in seconds.
 */
#include "bench.h"

#include <spawn.h>
#include <sys/wait.h>

extern char **environ;

static void run(void) {
    int status;
    pid_t pid;
    char *argv[] = {"true", NULL};
    if (posix_spawn(&pid, "/bin/true", NULL, NULL, argv, environ) != 0)
        bench_die("posix_spawn");
    if (waitpid(pid, &status, 0) != pid)
        bench_die("waitpid");
    if (status != 0)
        exit(1);
}

int main(int argc, char **argv) {
    bench_rounds(argc, argv, run);
    return 0;
}
