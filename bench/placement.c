/*
 * placement A B: how far apart CPU A and CPU B are.
 *
 * Two processes, pinned to one CPU each, hand a number to and fro through
 * shared memory without ever sleeping. Prints the median time of a round trip
 * in seconds. On a virtual machine this tells where the host has put the CPUs
 * at the moment (about 0.1 us: neighbours), which moves every measurement of
 * two processes, so that runs are comparable only where it is alike.
 *
 * The two counters lie on cache lines of their own. Each has one writer: the
 * parent stores `ping` (release), which the child reads (acquire), and the
 * child answers in `pong` likewise.
 */
#include "bench.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BATCHES = 21, TRIPS = 2000 };

struct court {
    _Alignas(64) _Atomic uint32_t ping;
    _Alignas(64) _Atomic uint32_t pong;
};

static void relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void await(_Atomic uint32_t *word, uint32_t value) {
    while (atomic_load_explicit(word, memory_order_acquire) != value)
        relax();
}

static void pin(const char *cpu) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((size_t)atoi(cpu), &set);
    if (sched_setaffinity(0, sizeof set, &set) != 0)
        bench_die("sched_setaffinity");
}

/* The child would spin for ever on a parent that is gone. */
static void answer(struct court *court, const char *cpu, pid_t parent) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    pin(cpu);
    for (uint32_t i = 1; i <= BATCHES * TRIPS; i++) {
        await(&court->ping, i);
        atomic_store_explicit(&court->pong, i, memory_order_release);
    }
    _exit(0);
}

static double play(struct court *court) {
    double seconds[BATCHES];
    uint32_t i = 0;
    for (int batch = 0; batch < BATCHES; batch++) {
        double start = bench_now();
        for (int trip = 0; trip < TRIPS; trip++) {
            atomic_store_explicit(&court->ping, ++i, memory_order_release);
            await(&court->pong, i);
        }
        seconds[batch] = (bench_now() - start) / TRIPS;
    }
    return bench_median(seconds, BATCHES);
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: placement CPU CPU\n");
        return 1;
    }
    struct court *court =
        mmap(NULL, sizeof *court, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (court == MAP_FAILED)
        bench_die("mmap");
    /* Before the fork: a child whose parent could not be pinned would spin. */
    pin(argv[1]);
    pid_t parent = getpid(), pid = fork();
    if (pid < 0)
        bench_die("fork");
    if (pid == 0)
        answer(court, argv[2], parent);
    double seconds = play(court);
    waitpid(pid, NULL, 0);
    printf("%.12f\n", seconds);
    return 0;
}
