/*
** init.c: the program as the first process of a container; see init.h.
*/
#include "init.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* Reaps all that have ended, and ends with the one that runs the script. */
static void reap(pid_t script) {
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        if (pid == script)
            _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

_Noreturn static void serve(pid_t script, const sigset_t *all) {
    for (;;) {
        siginfo_t info;
        int signo = sigwaitinfo(all, &info);
        reap(script);
        if (signo > 0 && signo != SIGCHLD && info.si_code != SI_KERNEL)
            kill(script, signo);
    }
}

void init_take_over(void) {
    sigset_t all, before;
    if (getpid() != 1)
        return;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, &before);
    pid_t script = fork();
    if (script > 0)
        serve(script, &all);
    if (script < 0)
        perror("luamp: cannot fork from process 1");
    sigprocmask(SIG_SETMASK, &before, NULL);
}
