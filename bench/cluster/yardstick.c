/*
 * cluster KIND COUNT: what a farm of MPI costs: one rank that gives out tasks, and two that double
 * an integer, or give a string back.
 *
 *   rate    COUNT integers, two on their way to each rank at once
 *   trip    one after the other, to one rank
 *   mib     strings of 1 MiB there and back, two on their way to each rank
 *   mib16   of 16 MiB
 *
 * Prints the mean time of one, in seconds. Started by itself it runs mpirun, with which it is three
 * ranks of this machine.
 */
#include "bench.h"

#include <string.h>

#include <mpi.h>

enum { RANKS = 3, WINDOW = 2, WARM_UP = 20, TAG_TASK = 1, TAG_END, MIB = 1 << 20 };

static void launch(char **argv) {
    char *words[] = {"mpirun", "--oversubscribe", "--bind-to", "none",  "-np",
                     "3",      "/proc/self/exe",  argv[1],     argv[2], NULL};
    char path[4096];
    const ssize_t len = readlink("/proc/self/exe", path, sizeof path - 1);
    if (len < 0)
        bench_die("readlink");
    path[len] = '\0';
    words[6] = path;
    setenv("OMPI_ALLOW_RUN_AS_ROOT", "1", 1);
    setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1", 1);
    execvp("mpirun", words);
    bench_die("mpirun");
}

/* Touched, so that no page is new when the time runs; it stays. */
static char *buffer(int size) {
    char *bytes = malloc((size_t)size);
    if (bytes == NULL)
        bench_die("malloc");
    memset(bytes, 'x', (size_t)size);
    return bytes;
}

/* The rank doubles integers, or gives back what it gets, until it is told to end. */
static void work(int size) {
    char *bytes = buffer(size);
    MPI_Status status;
    for (;;) {
        MPI_Recv(bytes, size, MPI_BYTE, 0, MPI_ANY_TAG, MPI_COMM_WORLD, &status);
        if (status.MPI_TAG == TAG_END)
            return;
        if (size == (int)sizeof(long long))
            *(long long *)(void *)bytes *= 2;
        MPI_Send(bytes, size, MPI_BYTE, 0, TAG_TASK, MPI_COMM_WORLD);
    }
}

/* What is on its way to one rank. Answers come in the order of the tasks: the slots take turns. */
struct lane {
    char *bytes[WINDOW];
    MPI_Request sent[WINDOW];
    int next;
};

/* Without waiting, or a rank that is about to answer, and this one, wait for each other. */
static void give(struct lane *lane, int size, int rank, long long i) {
    const int slot = lane->next++ % WINDOW;
    memcpy(lane->bytes[slot], &i, sizeof i);
    MPI_Wait(&lane->sent[slot], MPI_STATUS_IGNORE);
    MPI_Isend(lane->bytes[slot], size, MPI_BYTE, rank, TAG_TASK, MPI_COMM_WORLD, &lane->sent[slot]);
}

/* n tasks, `window` at once on their way to each of the ranks. */
static void farm(struct lane *lanes, char *bytes, int size, int n_ranks, int window, int n) {
    int given = 0;
    MPI_Status status;
    for (int k = 0; k < window; k++)
        for (int rank = 1; rank <= n_ranks && given < n; rank++)
            give(&lanes[rank], size, rank, given++);
    for (int ended = 0; ended < n; ended++) {
        MPI_Recv(bytes, size, MPI_BYTE, MPI_ANY_SOURCE, TAG_TASK, MPI_COMM_WORLD, &status);
        if (given < n)
            give(&lanes[status.MPI_SOURCE], size, status.MPI_SOURCE, given++);
    }
}

static void direct(int size, int n_ranks, int window, int count) {
    struct lane lanes[RANKS];
    char *bytes = buffer(size);
    for (int rank = 1; rank < RANKS; rank++)
        for (int slot = lanes[rank].next = 0; slot < WINDOW; slot++) {
            lanes[rank].bytes[slot] = buffer(size);
            lanes[rank].sent[slot] = MPI_REQUEST_NULL;
        }
    farm(lanes, bytes, size, RANKS - 1, WINDOW, WARM_UP);
    const double start = bench_now();
    farm(lanes, bytes, size, n_ranks, window, count);
    printf("%.9f\n", (bench_now() - start) / count);
    for (int rank = 1; rank < RANKS; rank++) {
        MPI_Waitall(WINDOW, lanes[rank].sent, MPI_STATUSES_IGNORE);
        MPI_Send(bytes, 0, MPI_BYTE, rank, TAG_END, MPI_COMM_WORLD);
    }
}

int main(int argc, char **argv) {
    int rank;
    const int count = bench_count(argc == 3 ? argv[2] : NULL);
    const int is_trip = strcmp(argv[1], "trip") == 0;
    const int size = strcmp(argv[1], "mib") == 0     ? MIB
                     : strcmp(argv[1], "mib16") == 0 ? 16 * MIB
                                                     : (int)sizeof(long long);
    if (getenv("OMPI_COMM_WORLD_RANK") == NULL)
        launch(argv);
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    if (rank > 0)
        work(size);
    else
        direct(size, is_trip ? 1 : RANKS - 1, is_trip ? 1 : WINDOW, count);
    MPI_Finalize();
    return 0;
}
