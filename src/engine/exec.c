/*
** exec.c: a program in a process of its own; see exec.h.
*/
#include "engine/exec.h"

#include <errno.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/sys.h"

size_t mp_exec_env_size(char *const *env) {
    size_t n = 1;
    for (; env != NULL && *env != NULL; env++)
        n++;
    return n * sizeof *env;
}

void mp_exec_copy_env(char **to, char *const *from, const char *tag) {
    size_t len = (size_t)(strchr(tag, '=') - tag) + 1;
    for (; from != NULL && *from != NULL; from++)
        if (strncmp(*from, tag, len) != 0)
            *to++ = *from;
    *to = NULL;
}

/* What the child tells its parent, in whose memory it runs. */
typedef struct launch {
    const mp_setup *setup;
    const mp_program *program;
    int detached;
    pid_t creator;
    volatile int rc;
    const char *volatile step;
} launch;

/*
** As execvp: a file that may not be run is the reason only if there is no other.
** A folder of PATH that may not be searched is one where the program is not.
*/
static int try_paths(const mp_program *program) {
    int failure = -ENOENT;
    for (char *const *path = program->paths; *path != NULL; path++) {
        execve(*path, program->argv, program->env);
        if (errno != ENOENT && errno != ENOTDIR && errno != EACCES)
            return -errno;
        if (errno == EACCES && (program->paths[1] == NULL || access(*path, F_OK) == 0))
            failure = -EACCES;
    }
    return failure;
}

static int pass_files(const mp_program *program) {
    for (int i = 0; i < program->n_files; i++)
        if (dup2(program->files[i], 3 + i) < 0)
            return -errno;
    return 0;
}

_Noreturn static void become(launch *l) {
    const char *step = "fork";
    int rc = 0;
    if (l->detached)
        setsid();
    else if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != l->creator)
        rc = -ESRCH;
    if (rc == 0) {
        if (l->setup->limits.files < 0)
            mp_sys_restore_file_limit();
        rc = mp_setup_apply(l->setup, 0, &step);
    }
    if (rc == 0) {
        step = "command";
        close_range(3, ~0u, CLOSE_RANGE_CLOEXEC);
        mp_sys_signals_exec(l->program->n_files > 0); /* no handler of the parent may run here */
        rc = pass_files(l->program);
    }
    if (rc == 0)
        rc = try_paths(l->program);
    l->rc = rc;
    l->step = step;
    _exit(EXIT_FAILURE);
}

pid_t mp_exec_run(const mp_setup *setup, int detached, const mp_program *program,
                  const char **step) {
    launch l = {.setup = setup, .program = program, .detached = detached, .creator = getpid()};
    sigset_t all, before;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, &before);
    pid_t pid = vfork();
    if (pid == 0)
        become(&l);
    int failure = -errno;
    sigprocmask(SIG_SETMASK, &before, NULL);
    *step = pid < 0 ? "fork" : l.step;
    if (pid < 0 || l.rc == 0)
        return pid < 0 ? failure : pid;
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        continue;
    return l.rc;
}
