/*
** forget.c: Ctrl-C at the one moment at which it can be missed, after the wait for a
** key and before its read: the terminal forgets the key, and SIGINT comes. Preloaded
** into the program by console_spec.lua.
**
** It happens at the first key for which the file exists that FORGET names, which goes then.
*/
#include <dlfcn.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

__attribute__((visibility("default"))) int
ppoll(struct pollfd *fds, nfds_t n_fds, const struct timespec *timeout, const sigset_t *mask) {
    static int (*real)(struct pollfd *, nfds_t, const struct timespec *, const sigset_t *);
    if (real == NULL) {
        void *symbol = dlsym(RTLD_NEXT, "ppoll");
        memcpy(&real, &symbol, sizeof real);
    }
    int n = real(fds, n_fds, timeout, mask);
    const char *file = getenv("FORGET");
    if (n > 0 && file != NULL && unlink(file) == 0) {
        tcflush(STDIN_FILENO, TCIFLUSH);
        raise(SIGINT);
    }
    return n;
}
