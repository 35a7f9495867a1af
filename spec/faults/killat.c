/*
** killat.c: runs a program and kills one of its processes at one of that one's
** system calls, while all others run on.
**
**   killat REPORT LIMIT GRACE PROCESS POINT program [argument...]
**
** PROCESS is named by births: "0" is the program itself, "0.2" the second that
** it starts, "0.2.1" the first that this one starts. A name depends on what a
** process does and not on who is faster, so it means the same in every run. Who
** makes a process counts, and not whose child it is: what a forkserver makes has a
** name below its own, and the next forkserver's has another. An exec changes none.
**
** POINT "iN" is the N-th instruction in the parts of the program that the variable
** KILLAT_RANGES names (hexadecimal addresses "from-to,from-to"; KILLAT_ENTRIES are the
** functions there, "address,address"), counted from a process's attempt to remove the file
** /killat/begin to that of /killat/end; every process that is watched does so. i0 counts, and
** writes the address of each into the file that KILLAT_STEPS names. There "at" is the address, and
** there are lines "NAME steps=N". On x86-64 only.
**
** Else POINT counts the boundaries of system calls from 1: each call has two, its
** entry, where a death means that it was not made, and its exit, where it means
** that nobody has looked at the result. The process gets SIGKILL there, or, with a number in
** KILLAT_SIGNAL, that signal, and runs on; so at instructions, too. A
** PROCESS "all" is every one, to count them (POINT 0); "none" only watches.
**
** The program has LIMIT seconds to end, and its processes GRACE seconds more.
** The file REPORT holds a line
**
**   end=WHAT:STATUS killed=0|1 at=CALL:entry|exit left=N gone=SECONDS
**
** where WHAT is exit, signal or hang, CALL a number of this machine, left says
** how many processes there still were, and gone when the last one had ended;
** a line "NAME points=N comm=TEXT" for each process that was counted; and one
** "left NAME ..." for each that was left.
**
** All that it started is gone when it ends: what it traces dies with it, and
** orphans are its own children, to be reaped.
*/
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_PROCESSES 512
#define MAX_RANGES 64
#define MAX_BREAKS 512
#define NAME 64

/* A process, or a thread of one, whose calls are no points. Nameless: seen before the event of its
 * birth. */
typedef struct process {
    pid_t pid;
    char name[NAME];
    char comm[32];
    int waits; /* in its first stop, for its name */
    int ended, status;
    int is_thread;
    int n_births;
    long points, steps;
    unsigned long call; /* the system call that it is in */
    int is_stepped, begins;
} process;

static process processes[MAX_PROCESSES];
static int n_processes;

static const char *wanted; /* the name of the process that is watched, "all" or "none" */
static long point;         /* where it is killed */
static const char *killed_in;
static unsigned long killed_at;
static int by_steps; /* the point is an instruction */
static int signo_there = SIGKILL;
static FILE *steps_file;

static struct { unsigned long from, to; } ranges[MAX_RANGES];
static int n_ranges;

static double now(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

_Noreturn static void fail(const char *what) {
    fprintf(stderr, "killat: %s: %s\n", what, strerror(errno));
    exit(125);
}

/* --- the processes ------------------------------------------------------- */

/* The living one of that pid; or a new one, which has no name yet. */
static process *find(pid_t pid) {
    for (int i = 0; i < n_processes; i++)
        if (processes[i].pid == pid && (!processes[i].ended || processes[i].name[0] == '\0'))
            return &processes[i];
    if (n_processes == MAX_PROCESSES) {
        errno = E2BIG;
        fail("too many processes");
    }
    processes[n_processes] = (process){.pid = pid};
    return &processes[n_processes++];
}

static int is_watched(const process *p) {
    return strcmp(wanted, "all") == 0 || strcmp(wanted, p->name) == 0;
}

static int n_left(void) {
    int n = 0;
    for (int i = 0; i < n_processes; i++)
        n += !processes[i].ended && !processes[i].is_thread;
    return n;
}

/* At the end of a process that is counted: what it was called last. */
static void read_comm(process *p) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/comm", (int)p->pid);
    FILE *file = fopen(path, "r");
    if (file != NULL && fgets(p->comm, sizeof p->comm, file) != NULL)
        p->comm[strcspn(p->comm, "\n")] = '\0';
    if (file != NULL)
        fclose(file);
}

static void resume(process *p, int signo) {
    int step = is_watched(p) && !p->is_thread && killed_in == NULL;
    p->waits = 0;
    ptrace(step ? PTRACE_SYSCALL : PTRACE_CONT, p->pid, 0, signo);
}

/* --- the events ---------------------------------------------------------- */

/* A clone makes a thread, or a process that is not its maker's child. */
static int is_thread_of(const process *maker, pid_t pid) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/task/%d", (int)maker->pid, (int)pid);
    return access(path, F_OK) == 0;
}

static void on_birth(process *parent) {
    unsigned long pid;
    if (ptrace(PTRACE_GETEVENTMSG, parent->pid, 0, &pid) != 0)
        return; /* it was killed meanwhile */
    process *p = find((pid_t)pid);
    p->is_thread = is_thread_of(parent, (pid_t)pid);
    if (p->is_thread)
        memcpy(p->name, parent->name, NAME);
    else
        snprintf(p->name, NAME, "%.50s.%d", parent->name, ++parent->n_births);
    if (p->waits)
        resume(p, 0);
}

/* --- instructions -------------------------------------------------------- */

static void read_ranges(const char *text) {
    while (text != NULL && *text != '\0' && n_ranges < MAX_RANGES) {
        char *end;
        ranges[n_ranges].from = strtoul(text, &end, 16);
        ranges[n_ranges++].to = strtoul(end + (*end == '-'), &end, 16);
        text = end + (*end == ',');
    }
}

/* The call that removes a file; arm64 has none for that alone. */
#ifdef SYS_unlink
#define REMOVES SYS_unlink
#else
#define REMOVES (-1UL)
#endif

/* Whether the text at that address of the process is this one. */
static int is_text(const process *p, unsigned long at, const char *text) {
    for (size_t i = 0; i <= strlen(text); i += sizeof(long)) {
        errno = 0;
        long word = ptrace(PTRACE_PEEKDATA, p->pid, at + i, 0);
        size_t left = strlen(text) + 1 - i;
        if (errno != 0 || memcmp(&word, text + i, left < sizeof word ? left : sizeof word) != 0)
            return 0;
    }
    return 1;
}

static int is_in_range(unsigned long at) {
    for (int i = 0; i < n_ranges; i++)
        if (at >= ranges[i].from && at < ranges[i].to)
            return 1;
    return 0;
}

/*
** Only what lies in the ranges is stepped. While the process is elsewhere, breakpoints stand
** where it comes back: at the functions that KILLAT_ENTRIES names, or, when it was called
** from the ranges, at its return there.
*/
static unsigned long breaks[MAX_BREAKS];
static long texts[MAX_BREAKS];
static int n_breaks;
static unsigned long entries[MAX_BREAKS];
static int n_entries;

static void read_entries(const char *text) {
    while (text != NULL && *text != '\0' && n_entries < MAX_BREAKS) {
        char *end;
        entries[n_entries++] = strtoul(text, &end, 16);
        text = end + (*end == ',');
    }
}

/* Takes the breakpoints away, and sets others. */
static void set_breaks(const process *p, const unsigned long *at, int n) {
    while (n_breaks > 0) {
        n_breaks--;
        ptrace(PTRACE_POKETEXT, p->pid, breaks[n_breaks], texts[n_breaks]);
    }
    for (; n_breaks < n; n_breaks++) {
        breaks[n_breaks] = at[n_breaks];
        texts[n_breaks] = ptrace(PTRACE_PEEKTEXT, p->pid, at[n_breaks], 0);
        ptrace(PTRACE_POKETEXT, p->pid, at[n_breaks], (texts[n_breaks] & ~0xffL) | 0xcc);
    }
}

#ifdef __x86_64__
/* It is outside the ranges, and runs until it comes back. */
static void run_outside(const process *p, unsigned long stack) {
    errno = 0;
    unsigned long back = (unsigned long)ptrace(PTRACE_PEEKDATA, p->pid, stack, 0);
    if (errno == 0 && is_in_range(back))
        set_breaks(p, &back, 1);
    else
        set_breaks(p, entries, n_entries);
    ptrace(PTRACE_SYSCALL, p->pid, 0, 0);
}

/* Nothing of it is watched any more. */
static void run_on(process *p) {
    p->is_stepped = 0;
    ptrace(PTRACE_CONT, p->pid, 0, 0);
}

/* It has stopped before an instruction, or behind a breakpoint. Says whether it goes on by steps.
 */
static int on_step(process *p) {
    struct user_regs_struct regs;
    if (ptrace(PTRACE_GETREGS, p->pid, 0, &regs) != 0)
        return 0;
    for (int i = 0; i < n_breaks; i++)
        if (regs.rip == breaks[i] + 1) {
            regs.rip--;
            ptrace(PTRACE_SETREGS, p->pid, 0, &regs);
        }
    if (!is_in_range(regs.rip)) {
        run_outside(p, regs.rsp);
        return 0;
    }
    set_breaks(p, NULL, 0);
    if (steps_file != NULL)
        fprintf(steps_file, "%llx\n", regs.rip);
    if (++p->steps != point || killed_in != NULL)
        return 1;
    killed_in = "step";
    killed_at = regs.rip;
    kill(p->pid, signo_there);
    if (signo_there != SIGKILL)
        run_on(p);
    return 0;
}
#else
static int on_step(process *p) {
    (void)p, (void)set_breaks, (void)is_in_range;
    return 0;
}
#endif

/* Returns what it has stopped with that is no step, or 0: it runs elsewhere, or was killed. */
static int step(process *p) {
    int status;
    while (on_step(p)) {
        ptrace(PTRACE_SINGLESTEP, p->pid, 0, 0);
        if (waitpid(p->pid, &status, __WALL) != p->pid)
            return 0;
        if (!WIFSTOPPED(status) || status >> 8 != SIGTRAP)
            return status;
    }
    return 0;
}

/* In a system call of a process in whose steps the point lies: where they begin and end. */
static void on_mark(process *p, const struct __ptrace_syscall_info *info, int entry) {
    if (!entry && p->begins) {
        p->is_stepped = 1;
        set_breaks(p, entries, n_entries);
    }
    const int removes = entry && info->entry.nr == REMOVES;
    p->begins = removes && is_text(p, info->entry.args[0], "/killat/begin");
    if (removes && is_text(p, info->entry.args[0], "/killat/end")) {
        set_breaks(p, NULL, 0);
        p->is_stepped = 0;
    }
}

/* At the boundary of a system call: whether the process was killed there. */
static int on_call(process *p) {
    struct __ptrace_syscall_info info;
    if (ptrace(PTRACE_GET_SYSCALL_INFO, p->pid, sizeof info, &info) <= 0)
        return 0;
    int entry = info.op == PTRACE_SYSCALL_INFO_ENTRY;
    if (entry)
        p->call = info.entry.nr;
    if (by_steps) {
        on_mark(p, &info, entry);
        return 0;
    }
    if (++p->points != point || killed_in != NULL)
        return 0;
    killed_in = entry ? "entry" : "exit";
    killed_at = p->call;
    kill(p->pid, signo_there);
    return signo_there == SIGKILL;
}

/* It has stopped in an event of PTRACE_EVENT_*, with that signal in its status. */
static void on_event(process *p, int event, int signo) {
    switch (event) {
    case PTRACE_EVENT_FORK:
    case PTRACE_EVENT_VFORK:
    case PTRACE_EVENT_CLONE:
        on_birth(p);
        break;
    case PTRACE_EVENT_EXIT:
        read_comm(p);
        break;
    case PTRACE_EVENT_STOP:
        if (signo != SIGTRAP) { /* stopped by a signal, until it is told to go on */
            ptrace(PTRACE_LISTEN, p->pid, 0, 0);
            return;
        }
        if (p->name[0] == '\0') {
            p->waits = 1;
            return;
        }
        break;
    default:
        break;
    }
    resume(p, 0);
}

static void on_status(pid_t pid, int status) {
    process *p = find(pid);
    if (WIFEXITED(status) || WIFSIGNALED(status)) {
        p->ended = 1;
        p->status = status;
    } else if (status >> 16 != 0) {
        on_event(p, status >> 16, WSTOPSIG(status));
    } else if (WSTOPSIG(status) == SIGTRAP && p->is_stepped) {
        status = step(p);
        if (status != 0)
            on_status(pid, status);
    } else if (WSTOPSIG(status) != (SIGTRAP | 0x80)) {
        resume(p, WSTOPSIG(status)); /* a signal on its way to it */
    } else if (!on_call(p)) {
        resume(p, 0);
    }
}

/* Those whose parent was killed before its event was seen have no name, and go on. */
static void release_orphans(void) {
    for (int i = 0; i < n_processes; i++) {
        process *p = &processes[i];
        char path[64];
        int parent = 0;
        if (!p->waits || p->ended)
            continue;
        snprintf(path, sizeof path, "/proc/%d/stat", (int)p->pid);
        FILE *file = fopen(path, "r");
        if (file != NULL && fscanf(file, "%*d (%*[^)]) %*c %d", &parent) == 1 &&
            parent == getpid()) {
            strcpy(p->name, "?");
            resume(p, 0);
        }
        if (file != NULL)
            fclose(file);
    }
}

/* --- the run ------------------------------------------------------------- */

static sigset_t sigchld, mask_before;

/* Handles what has happened until it is so, or time is up: whether it is so. */
static int run_until(int (*is_so)(void), double deadline) {
    int status;
    for (;;) {
        for (pid_t pid; (pid = waitpid(-1, &status, __WALL | WNOHANG)) > 0;)
            on_status(pid, status);
        release_orphans();
        double left = deadline - now();
        if (is_so() || left <= 0)
            return is_so();
        struct timespec ts = {(time_t)left, (long)((left - (double)(time_t)left) * 1e9)};
        sigtimedwait(&sigchld, NULL, &ts);
    }
}

static int main_has_ended(void) {
    return processes[0].ended;
}

static int none_is_left(void) {
    return n_left() == 0;
}

/* The program, traced from its exec on: until then it waits for a byte. */
static void start(char **argv) {
    int go[2];
    char byte;
    if (pipe(go) != 0)
        fail("pipe");
    pid_t pid = fork();
    if (pid == 0) {
        close(go[1]);
        if (read(go[0], &byte, 1) != 1)
            _exit(125);
        close(go[0]);
        sigprocmask(SIG_SETMASK, &mask_before, NULL);
        execvp(argv[0], argv);
        _exit(127);
    }
    int count = strcmp(wanted, "all") == 0 ? PTRACE_O_TRACEEXIT : 0;
    if (pid < 0 ||
        ptrace(PTRACE_SEIZE, pid, 0,
               PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC |
                   PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL | count) != 0)
        fail("cannot trace the program");
    strcpy(find(pid)->name, "0");
    if (write(go[1], "", 1) != 1)
        fail("cannot start the program");
    close(go[0]);
    close(go[1]);
}

/* Ends what is left; the report is written by then. */
static void clear_away(void) {
    for (int i = 0; i < n_processes; i++)
        if (!processes[i].ended)
            kill(processes[i].pid, SIGKILL);
    run_until(none_is_left, now() + 5);
}

static void report_left(FILE *file, process *p) {
    char path[64], line[128];
    snprintf(path, sizeof path, "/proc/%d/status", (int)p->pid);
    read_comm(p);
    fprintf(file, "left %s comm=%s", p->name, p->comm);
    FILE *status = fopen(path, "r");
    while (status != NULL && fgets(line, sizeof line, status) != NULL)
        if (strncmp(line, "State:", 6) == 0 || strncmp(line, "PPid:", 5) == 0)
            fprintf(file, " %.*s", (int)strcspn(line, "\n"), line);
    if (status != NULL)
        fclose(status);
    fprintf(file, "\n");
}

static void report(const char *path, double gone) {
    FILE *file = fopen(path, "w");
    if (file == NULL)
        fail(path);
    int status = processes[0].status;
    if (!main_has_ended())
        fprintf(file, "end=hang:0");
    else if (WIFEXITED(status))
        fprintf(file, "end=exit:%d", WEXITSTATUS(status));
    else
        fprintf(file, "end=signal:%d", WTERMSIG(status));
    fprintf(file, " killed=%d ", killed_in != NULL);
    fprintf(file, by_steps ? "at=%lx" : "at=%lu", killed_at);
    fprintf(file, ":%s left=%d gone=%.3f\n", killed_in != NULL ? killed_in : "nowhere", n_left(),
            gone);
    for (int i = 0; i < n_processes; i++)
        if (processes[i].points > 0)
            fprintf(file, "%s points=%ld comm=%s\n", processes[i].name, processes[i].points,
                    processes[i].comm);
    for (int i = 0; i < n_processes; i++)
        if (processes[i].steps > 0)
            fprintf(file, "%s steps=%ld\n", processes[i].name, processes[i].steps);
    for (int i = 0; i < n_processes; i++)
        if (!processes[i].ended)
            report_left(file, &processes[i]);
    if (fclose(file) != 0)
        fail(path);
}

int main(int argc, char **argv) {
    if (argc < 7) {
        fprintf(stderr, "usage: killat REPORT LIMIT GRACE PROCESS POINT program [argument...]\n");
        return 125;
    }
    double limit = atof(argv[2]), grace = atof(argv[3]);
    wanted = argv[4];
    by_steps = argv[5][0] == 'i';
    point = atol(argv[5] + by_steps);
    const char *steps = getenv("KILLAT_STEPS");
    if (steps != NULL && *steps != '\0' && (steps_file = fopen(steps, "we")) == NULL)
        fail(steps);
    read_ranges(getenv("KILLAT_RANGES"));
    read_entries(getenv("KILLAT_ENTRIES"));
    const char *signo = getenv("KILLAT_SIGNAL");
    if (signo != NULL && *signo != '\0')
        signo_there = atoi(signo);
    sigemptyset(&sigchld);
    sigaddset(&sigchld, SIGCHLD);
    sigprocmask(SIG_BLOCK, &sigchld, &mask_before);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    start(argv + 6);
    int hangs = !run_until(main_has_ended, now() + limit);
    double ended = now();
    if (!hangs)
        run_until(none_is_left, ended + grace);
    if (steps_file != NULL && fclose(steps_file) != 0)
        fail(steps);
    report(argv[1], now() - ended);
    clear_away();
    return 0;
}
