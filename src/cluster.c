/*
** cluster.c: the program under a launcher of MPI; see cluster.h.
*/
#include "cluster.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "binding/lib.h"
#include "mpi/agent.h"

/* Names this rank of this job in the environment of what it starts, which are no ranks. */
#define TAKEN "LUAMP_RANK"
#define ENGINE "LUAMP_ENGINE"
#define PLUGIN "LUAMP_MPI_PLUGIN"
#define WATCHED "LUAMP_MPIRUN" /* by luamp-mpirun, which an agent tells the script's end */
#define PATIENCE "LUAMP_HOST_TIMEOUT"
#define SHORTEST_PATIENCE 0.1
#define DEFAULT_PATIENCE 10.0 /* seconds */

__attribute__((format(printf, 1, 2))) _Noreturn static void refuse(const char *format, ...) {
    va_list values;
    va_start(values, format);
    fputs("luamp: ", stderr);
    vfprintf(stderr, format, values);
    fputc('\n', stderr);
    va_end(values);
    exit(EXIT_FAILURE);
}

/* --- what the launcher says ----------------------------------------------------- */

/* The variable as a number from 0 on, or -1. */
static int number_of(const char *name) {
    char *end;
    const char *text = getenv(name);
    if (text == NULL || *text == '\0')
        return -1;
    const long n = strtol(text, &end, 10);
    return *end != '\0' || n < 0 || n > INT_MAX ? -1 : (int)n;
}

typedef struct ranks {
    int rank, size;
    const char *job;
} ranks;

/* Open MPI's mpirun. */
static int told_by_mpirun(ranks *r) {
    *r = (ranks){number_of("OMPI_COMM_WORLD_RANK"), number_of("OMPI_COMM_WORLD_SIZE"),
                 getenv("PMIX_NAMESPACE")};
    return r->rank >= 0 && r->size > 0;
}

/* `srun --mpi=pmix`. In a batch script without srun there are Slurm's variables, and no PMIx: that
 * is one process. */
static int told_by_srun(ranks *r) {
    *r = (ranks){number_of("PMIX_RANK"), number_of("SLURM_STEP_NUM_TASKS"),
                 getenv("PMIX_NAMESPACE")};
    return r->rank >= 0 && r->size > 0;
}

/* Another MPI's launcher, of more ranks than one. */
static const char *other_launcher(void) {
    if (number_of("PMI_SIZE") > 1)
        return "PMI_SIZE";
    return getenv("SLURM_PROCID") != NULL && number_of("SLURM_STEP_NUM_TASKS") > 1
               ? "SLURM_STEP_NUM_TASKS"
               : NULL;
}

/* What LUAMP_ENGINE asks for: NULL for nothing. */
static const char *engine(void) {
    const char *name = getenv(ENGINE);
    if (name == NULL || *name == '\0')
        return NULL;
    if (strcmp(name, "local") != 0 && strcmp(name, "mpi") != 0)
        refuse(ENGINE " must be 'local' or 'mpi', not '%s'", name);
    return name;
}

static void name_rank(const ranks *r, char name[static 256]) {
    snprintf(name, 256, "%d/%d@%s", r->rank, r->size, r->job != NULL ? r->job : "");
}

/* No launcher that luamp knows has started this process. */
static void refuse_others(const char *wanted) {
    const char *other = other_launcher();
    if (other != NULL)
        refuse("there are several ranks (%s), of no launcher that luamp knows: mpirun of Open MPI, "
               "or srun "
               "--mpi=pmix; " ENGINE "=local runs the script in each of them",
               other);
    if (wanted != NULL)
        refuse(ENGINE "=%s: no launcher has started this process (mpirun, or srun --mpi=pmix)",
               wanted);
}

/* Whether this process is started as a rank, and not by something that is one. */
static int is_rank(ranks *r) {
    char name[256];
    const char *wanted = engine(), *taken = getenv(TAKEN);
    if (wanted != NULL && strcmp(wanted, "local") == 0)
        return 0;
    if (!told_by_mpirun(r) && !told_by_srun(r)) {
        refuse_others(wanted);
        return 0;
    }
    name_rank(r, name);
    return (taken == NULL || strcmp(taken, name) != 0) &&
           (r->size > 1 || wanted != NULL || getenv(WATCHED) != NULL);
}

/* --- the plug-in ------------------------------------------------------------------- */

/* Beside the program, or where it is installed. */
static void find_plugin(char path[static PATH_MAX + 64]) {
    static const char *const places[] = {"/luamp_mpi.so", "/../lib/luamp/luamp_mpi.so",
                                         "/../" LUAMP_LIBDIR "/luamp/luamp_mpi.so"};
    char folder[PATH_MAX];
    const char *given = getenv(PLUGIN);
    const ssize_t len = readlink("/proc/self/exe", folder, sizeof folder - 1);
    snprintf(path, PATH_MAX, "%s", given != NULL ? given : "luamp_mpi.so");
    if (given != NULL || len < 0)
        return;
    folder[len] = '\0';
    *strrchr(folder, '/') = '\0';
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        snprintf(path, PATH_MAX + 64, "%s%s", folder, places[i]);
        if (access(path, R_OK) == 0)
            return;
    }
}

static mp_agent_run *open_plugin(int size) {
    char path[PATH_MAX + 64];
    find_plugin(path);
    void *plugin = dlopen(path, RTLD_NOW | RTLD_GLOBAL);
    if (plugin == NULL)
        refuse("%s, and the plug-in for MPI cannot be loaded: %s (" ENGINE
               "=local runs the script in each of them)",
               size > 1 ? "there are several ranks" : "there is a launcher", dlerror());
    void *run = dlsym(plugin, MP_AGENT_SYMBOL);
    if (run == NULL)
        refuse("%s is no plug-in of luamp", path);
    mp_agent_run *f;
    memcpy(&f, &run, sizeof f); /* ISO C knows no cast between them */
    return f;
}

static double patience(void) {
    const char *text = getenv(PATIENCE);
    char *end;
    if (text == NULL || *text == '\0')
        return DEFAULT_PATIENCE;
    const double seconds = strtod(text, &end);
    if (*end != '\0' || !(seconds >= SHORTEST_PATIENCE && seconds < 1e6))
        refuse(PATIENCE " must be a number of seconds from 0.1 on, not '%s'", text);
    return seconds;
}

/* --- two processes ------------------------------------------------------------------- */

/* A stream for each rank that this one speaks with: what the child has, and what the agent. */
static void open_streams(const ranks *r, int *of_child, int *of_agent) {
    for (int rank = 0; rank < r->size; rank++) {
        int ends[2] = {-1, -1};
        const int is_spoken_to = r->rank == 0 ? rank != 0 : rank == 0;
        if (is_spoken_to && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
            refuse("cannot make the streams to the other ranks: %s", strerror(errno));
        if (is_spoken_to)
            setsockopt(ends[1], SOL_SOCKET, SO_SNDBUF, &(int){1 << 20}, sizeof(int));
        of_child[rank] = ends[0];
        of_agent[rank] = ends[1];
    }
}

static void close_all(const int *fds, int n) {
    for (int i = 0; i < n; i++)
        if (fds[i] >= 0)
            close(fds[i]);
}

_Noreturn static void be_agent(const ranks *r, int *fds, pid_t child, mp_agent_run *run) {
    for (int i = 0; i < r->size; i++)
        if (fds[i] >= 0 && fcntl(fds[i], F_SETFL, O_NONBLOCK) < 0)
            refuse("cannot set up a stream: %s", strerror(errno));
    const mp_agent_job job = {.version = MP_AGENT_VERSION,
                              .rank = r->rank,
                              .size = r->size,
                              .fds = fds,
                              .child = child,
                              .patience = patience()};
    exit(run(&job));
}

/* A forked child has no part in them: one that outlives its parent would keep the job going. */
static void close_in_child(void) {
    close_all(mp_lib_cluster.fds, mp_lib_cluster.size);
    for (int i = 0; i < mp_lib_cluster.size; i++)
        mp_lib_cluster.fds[i] = -1;
}

/* The other process is to end with its agent, which may have ended already. */
static void be_child(const ranks *r, int *fds, pid_t parent) {
    char name[256];
    name_rank(r, name);
    setenv(TAKEN, name, 1);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent)
        raise(SIGTERM);
    mp_lib_cluster = (mp_cluster){.pid = getpid(), .rank = r->rank, .size = r->size, .fds = fds};
    if (pthread_atfork(NULL, NULL, close_in_child) != 0)
        refuse("not enough memory");
}

/* One for each rank and both ends of it, besides what a program needs. */
static void allow_files(int n) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= (rlim_t)n)
        return;
    limit.rlim_cur = limit.rlim_max < (rlim_t)n ? limit.rlim_max : (rlim_t)n;
    setrlimit(RLIMIT_NOFILE, &limit);
}

void cluster_take_over(void) {
    ranks r;
    if (!is_rank(&r))
        return;
    mp_agent_run *run = open_plugin(r.size);
    patience(); /* a wrong one is told by all */
    int *of_child = calloc((size_t)r.size, sizeof(int)),
        *of_agent = calloc((size_t)r.size, sizeof(int));
    if (of_child == NULL || of_agent == NULL)
        refuse("not enough memory");
    allow_files(2 * r.size + 256);
    open_streams(&r, of_child, of_agent);
    const pid_t parent = getpid(), child = fork();
    if (child < 0)
        refuse("cannot fork: %s", strerror(errno));
    close_all(child > 0 ? of_child : of_agent, r.size);
    if (child > 0)
        be_agent(&r, of_agent, child, run);
    free(of_agent);
    be_child(&r, of_child, parent);
}
