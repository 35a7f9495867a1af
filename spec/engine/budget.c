/*
** budget.c: says what mp_budget_left does. With a number, first takes so many bytes of
** shared memory, and says it again; in a forked child, to which it must be the same.
*/
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/budget.h"

static void say(void) {
    printf("%lld\n", (long long)mp_budget_left());
    fflush(stdout);
}

int main(int argc, char **argv) {
    say();
    if (argc < 2)
        return 0;
    size_t size = (size_t)atoll(argv[1]);
    void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED)
        return 1;
    memset(at, 1, size);
    say();
    if (fork() == 0) {
        say();
        _exit(0);
    }
    wait(NULL);
    return 0;
}
