/*
** agent.c: the process of a rank that speaks MPI, for the one that works (agent.h).
**
** A process that has called MPI_Init must not fork, and luamp's workers are forked for as long as
** it runs. So each rank is two processes: the launched one forks the other first, stays behind as
** its agent, and pumps bytes between the child's stream sockets and the other ranks' agents.
**
** Promise: bytes of a stream come in order; its end comes after its last byte. Who is silent for
** `patience` seconds is lost for good: its stream ends here, and nothing is expected of it any
** more, for MPI itself tells of no death (a receive from a dead rank never returns). A rank that
** is alone without rank 0 ends. Nobody waits in MPI: all is asked for with MPI_Test. Between two
** looks the agent gives way to others, and when there has been nothing for a while it sleeps, the
** longer the less there is to do; so an idle rank burns no CPU.
** After the start there are no collective calls but MPI_Finalize, and that only if nobody was
** lost.
**
** Two kinds of messages: DATA, at most PIECE bytes of the stream, or none: its end; and BEAT, a
** byte that says that the rank lives. They have receives of their own, so that no beat waits
** behind data that the child does not take.
*/
#include "mpi/agent.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <mpi.h>

enum {
    TAG_DATA = 1,
    TAG_BEAT,
    PIECE = 1024 * 1024,
    DEPTH = 2, /* pieces that are on their way to a rank */
    BEATS = 5, /* within the patience */
};

#define SECOND INT64_C(1000000000)
#define MICROSECOND INT64_C(1000)
/* How long it looks without a sleep, after the last look that found something. */
#define WATCH (1000 * MICROSECOND)
#define SHORTEST (20 * MICROSECOND) /* sleeps */
#define LONGEST (1000 * MICROSECOND)

typedef struct peer {
    int rank;
    int fd; /* -1: closed */
    int is_lost;
    int has_sent_end, has_got_end;
    unsigned char *out[DEPTH];
    MPI_Request sending[DEPTH]; /* in the order of `turn`: the oldest first */
    int turn;
    unsigned char *in; /* from in_at to in_end it is still to go to the child */
    int in_at, in_end;
    MPI_Request receiving;
    unsigned char beat_out, beat_in;
    MPI_Request beating, hearing;
    int64_t heard; /* when */
} peer;

static struct {
    const mp_agent_job *job;
    peer *peers;
    int n_peers;
    struct pollfd *polled; /* room for one of each */
    int64_t patience, now, last_round, last_beat;
    int64_t busy;  /* when there was something to do last */
    int64_t sleep; /* the next one */
    int n_lost;
    int status, has_status; /* the child's end */
    int64_t child_due;      /* when a child whose streams have ended is killed; 0: not yet */
} agent;

static volatile sig_atomic_t child_pid, child_changed;

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * SECOND + t.tv_nsec;
}

/* --- the child ------------------------------------------------------------------ */

/* What the launcher sends the rank is for the child. */
static void forward(int signo) {
    const int before = errno;
    if (child_pid > 0)
        kill((pid_t)child_pid, signo);
    errno = before;
}

static void note_child(int signo) {
    (void)signo;
    child_changed = 1;
}

static void handle_signals(void) {
    static const int forwarded[] = {SIGINT,  SIGTERM, SIGHUP,  SIGQUIT,
                                    SIGUSR1, SIGUSR2, SIGCONT, SIGWINCH};
    struct sigaction action = {.sa_handler = forward, .sa_flags = SA_RESTART};
    for (size_t i = 0; i < sizeof forwarded / sizeof *forwarded; i++)
        sigaction(forwarded[i], &action, NULL);
    action.sa_handler = note_child;
    sigaction(SIGCHLD, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
}

static void look_at_child(void) {
    int status;
    if (agent.has_status || !child_changed)
        return;
    child_changed = 0;
    if (waitpid(agent.job->child, &status, WNOHANG) != agent.job->child)
        return;
    child_pid = 0;
    agent.has_status = 1;
    agent.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* --- loss ------------------------------------------------------------------------ */

static void lose(peer *p) {
    p->is_lost = 1;
    agent.n_lost++;
    if (p->fd >= 0)
        close(p->fd);
    p->fd = -1;
}

/* Whether an MPI call went well; else the rank is lost. */
static int is_fine(peer *p, int rc) {
    if (rc == MPI_SUCCESS)
        return 1;
    lose(p);
    return 0;
}

/* Whether the request is over. */
static int is_over(peer *p, MPI_Request *request, MPI_Status *status) {
    int flag = 1;
    if (*request == MPI_REQUEST_NULL)
        return 1;
    return is_fine(p, MPI_Test(request, &flag, status)) && flag;
}

/* --- from the child to a rank ------------------------------------------------------ */

static int send_piece(peer *p, int slot, int len) {
    p->turn = (slot + 1) % DEPTH;
    p->has_sent_end = len == 0;
    return is_fine(p, MPI_Isend(p->out[slot], len, MPI_BYTE, p->rank, TAG_DATA, MPI_COMM_WORLD,
                                &p->sending[slot]));
}

/* Whether something went. */
static int pump_out(peer *p) {
    const int slot = p->turn;
    if (p->has_sent_end || p->fd < 0 || !is_over(p, &p->sending[slot], MPI_STATUS_IGNORE) ||
        p->is_lost)
        return 0;
    const ssize_t n = read(p->fd, p->out[slot], PIECE);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    return send_piece(p, slot, n > 0 ? (int)n : 0);
}

static int is_all_sent(peer *p) {
    int all = p->has_sent_end;
    for (int i = 0; i < DEPTH; i++)
        all = is_over(p, &p->sending[i], MPI_STATUS_IGNORE) && all;
    return all;
}

/* --- from a rank to the child ------------------------------------------------------ */

static int expect_piece(peer *p) {
    p->in_at = p->in_end = 0;
    return is_fine(
        p, MPI_Irecv(p->in, PIECE, MPI_BYTE, p->rank, TAG_DATA, MPI_COMM_WORLD, &p->receiving));
}

/* What has come: 1, or 0 for nothing. */
static int receive_piece(peer *p) {
    MPI_Status status;
    if (p->receiving == MPI_REQUEST_NULL || !is_over(p, &p->receiving, &status) || p->is_lost)
        return 0;
    MPI_Get_count(&status, MPI_BYTE, &p->in_end);
    p->heard = agent.now;
    if (p->in_end == 0) {
        p->has_got_end = 1;
        shutdown(p->fd, SHUT_WR);
    }
    return 1;
}

/* What the child does not take any more is dropped: it has ended, and its end goes the other way.
 */
static int give_to_child(peer *p) {
    const ssize_t n =
        send(p->fd, p->in + p->in_at, (size_t)(p->in_end - p->in_at), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    p->in_at = n < 0 ? p->in_end : p->in_at + (int)n;
    return 1;
}

static int pump_in(peer *p) {
    if (p->has_got_end)
        return 0;
    int did = receive_piece(p);
    if (p->in_at < p->in_end)
        did |= give_to_child(p);
    if (!p->is_lost && !p->has_got_end && p->receiving == MPI_REQUEST_NULL && p->in_at == p->in_end)
        expect_piece(p);
    return did;
}

/* --- life and death of others -------------------------------------------------------- */

static void hear_beats(peer *p) {
    if (!is_over(p, &p->hearing, MPI_STATUS_IGNORE) || p->is_lost)
        return;
    p->heard = agent.now;
    is_fine(p, MPI_Irecv(&p->beat_in, 1, MPI_BYTE, p->rank, TAG_BEAT, MPI_COMM_WORLD, &p->hearing));
}

static void beat(peer *p) {
    if (is_over(p, &p->beating, MPI_STATUS_IGNORE) && !p->is_lost)
        is_fine(p, MPI_Isend(&p->beat_out, 1, MPI_BYTE, p->rank, TAG_BEAT, MPI_COMM_WORLD,
                             &p->beating));
}

static int is_ended(peer *p) {
    return p->is_lost || (p->has_got_end && is_all_sent(p));
}

/* Of the time in which this process was stopped nobody's silence tells anything. */
static void judge(void) {
    const int64_t gap = agent.now - agent.last_round;
    const int must_beat = agent.now - agent.last_beat >= agent.patience / BEATS;
    agent.last_round = agent.now;
    for (peer *p = agent.peers; p < agent.peers + agent.n_peers; p++) {
        if (is_ended(p))
            continue;
        if (gap > agent.patience / BEATS)
            p->heard += gap;
        hear_beats(p);
        if (must_beat && !p->is_lost)
            beat(p);
        if (!p->is_lost && agent.now - p->heard > agent.patience)
            lose(p);
    }
    if (must_beat)
        agent.last_beat = agent.now;
}

/* --- rounds ----------------------------------------------------------------------------- */

static int pump(void) {
    int did = 0;
    for (peer *p = agent.peers; p < agent.peers + agent.n_peers; p++) {
        if (p->is_lost)
            continue;
        did |= pump_in(p);
        if (!p->is_lost)
            did |= pump_out(p);
    }
    return did;
}

/* Sleeps until the child has something or takes something, or it is time to ask MPI again. */
static void rest(void) {
    nfds_t n = 0;
    if (agent.now - agent.busy < WATCH) {
        sched_yield();
        return;
    }
    for (peer *p = agent.peers; p < agent.peers + agent.n_peers; p++) {
        const int wants =
            (p->has_sent_end || p->sending[p->turn] != MPI_REQUEST_NULL ? 0 : POLLIN) |
            (p->in_at < p->in_end ? POLLOUT : 0);
        if (p->fd >= 0 && wants != 0)
            agent.polled[n++] = (struct pollfd){.fd = p->fd, .events = (short)wants};
    }
    ppoll(agent.polled, n, &(struct timespec){.tv_nsec = agent.sleep}, NULL);
    agent.sleep = agent.sleep * 9 / 8 < LONGEST ? agent.sleep * 9 / 8 : LONGEST;
}

/* Rank 0 is gone for one that serves: so is what it serves for. A child that does not end is ended.
 */
static void end_child(void) {
    const int is_alone = agent.job->rank != 0 && (agent.peers->is_lost || agent.peers->has_got_end);
    if (agent.has_status || !is_alone)
        return;
    if (agent.child_due == 0) {
        agent.child_due = agent.now + agent.patience;
        if (agent.peers->is_lost)
            kill(agent.job->child, SIGTERM);
    } else if (agent.now > agent.child_due) {
        kill(agent.job->child, SIGKILL);
    }
}

static int is_finished(void) {
    int all = agent.has_status;
    for (peer *p = agent.peers; p < agent.peers + agent.n_peers; p++)
        all = all && is_ended(p);
    return all;
}

static void serve(void) {
    while (!is_finished()) {
        agent.now = now();
        if (pump()) {
            agent.busy = agent.now;
            agent.sleep = SHORTEST;
        } else {
            rest();
        }
        judge();
        look_at_child();
        end_child();
    }
}

/* --- the beginning and the end ------------------------------------------------------------ */

static int open_peer(peer *p, int rank) {
    *p = (peer){.rank = rank,
                .fd = agent.job->fds[rank],
                .receiving = MPI_REQUEST_NULL,
                .beating = MPI_REQUEST_NULL,
                .hearing = MPI_REQUEST_NULL,
                .heard = now(),
                .in = malloc(PIECE)};
    int has_memory = p->in != NULL;
    for (int i = 0; i < DEPTH; i++) {
        p->out[i] = malloc(PIECE);
        p->sending[i] = MPI_REQUEST_NULL;
        has_memory = has_memory && p->out[i] != NULL;
    }
    return has_memory && expect_piece(p);
}

static int open_peers(void) {
    const mp_agent_job *job = agent.job;
    agent.peers = calloc((size_t)job->size, sizeof *agent.peers);
    agent.polled = calloc((size_t)job->size, sizeof *agent.polled);
    if (agent.peers == NULL || agent.polled == NULL)
        return 0;
    for (int rank = 0; rank < job->size; rank++)
        if (job->fds[rank] >= 0 && !open_peer(&agent.peers[agent.n_peers++], rank))
            return 0;
    return 1;
}

/* See sched_setattr(2), whose type the C library has only of late. */
struct attributes {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
};

/*
** Short sleeps are to be short; and who yields gives up the rest of a time slice: from Linux 6.18
** on for good, so that whoever has yielded a thousand times in an idle second would be let run when
** those who compute have had as many slices of 3 ms. With slices of 100 us (from Linux 6.12 on;
** before that yielding costs no more than a turn) it is a tenth of a second at most, and WATCH
** bounds it. MPI is to yield in none of its tests.
*/
static void take_short_turns(void) {
    const struct attributes a = {.size = sizeof a,
                                 .policy = SCHED_OTHER,
                                 .nice = getpriority(PRIO_PROCESS, 0),
                                 .runtime = 100 * (uint64_t)MICROSECOND};
    prctl(PR_SET_TIMERSLACK, 1UL);
    if (sched_getscheduler(0) == SCHED_OTHER) /* who has chosen another policy has his reasons */
        syscall(SYS_sched_setattr, 0, &a, 0); /* where it is refused all is as it was */
    setenv("OMPI_MCA_mpi_yield_when_idle", "0", 1);
}

static int fail(const char *why) {
    fprintf(stderr, "luamp: rank %d: %s\n", agent.job->rank, why);
    kill(agent.job->child, SIGKILL);
    MPI_Abort(MPI_COMM_WORLD, EXIT_FAILURE);
    return EXIT_FAILURE;
}

/* MPI_Finalize waits for all, and one may have died just now. */
static void leave_at_alarm(int signo) {
    (void)signo;
    _exit(agent.status);
}

/* Where it has asked for that: luamp-mpirun tells of a launcher that starts nothing, ends one that
 * waits for what is lost; and one that recovers has no exit status of its own. */
static int is_asked_to_tell(void) {
    return agent.job->rank == 0 && getenv("LUAMP_MPIRUN") != NULL;
}

static void tell_end(void) {
    if (is_asked_to_tell())
        fprintf(stderr, "\001luamp-end %d\n", agent.status);
}

static int leave(void) {
    fflush(NULL);
    tell_end();
    if (agent.n_lost > 0)
        _exit(agent.job->rank != 0 && agent.status == 0 ? EXIT_FAILURE : agent.status);
    signal(SIGALRM, leave_at_alarm);
    alarm((unsigned)(agent.job->patience + 1));
    MPI_Finalize();
    alarm(0);
    return agent.status;
}

__attribute__((visibility("default"))) mp_agent_run luamp_agent_run;

int luamp_agent_run(const mp_agent_job *job) {
    int rank = -1, size = -1;
    agent.job = job;
    agent.patience = (int64_t)(job->patience * (double)SECOND);
    child_pid = (sig_atomic_t)job->child;
    child_changed = 1;
    take_short_turns();
    if (MPI_Init(NULL, NULL) != MPI_SUCCESS)
        return fail("MPI_Init failed");
    handle_signals();
    if (is_asked_to_tell())
        fputs("\001luamp-begin\n", stderr);
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    if (rank != job->rank || size != job->size)
        return fail("the launcher and the MPI of luamp_mpi.so do not fit together");
    if (!open_peers())
        return fail("not enough memory");
    agent.last_round = agent.last_beat = agent.busy = now();
    agent.sleep = SHORTEST;
    serve();
    return leave();
}
