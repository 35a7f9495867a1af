/*
** start.c: how a process begins; promises in start.h.
**
** fork() and not a raw clone: glibc must learn the child's thread id and give
** it a robust list of its own, or the kernel never marks its life word.
**
** A birth is written into the family before there is a child, and taken back
** if there is none. What the child needs besides is made sure of before the
** fork, and what it says about its options is heard before the start returns.
*/
#include "engine/start.h"

#include <alloca.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "engine/arena.h"
#include "engine/family.h"
#include "engine/heap.h"
#include "engine/image.h"
#include "engine/keeper.h"
#include "engine/output.h"

/* What a birth holds until it has succeeded or failed. */
typedef struct birth {
    const mp_start_spec *spec;
    mp_proc *proc;
    uint32_t member;
    int is_program;
    int is_fresh;  /* in the child: it did not inherit the setup's descriptors from its creator */
    int report[2]; /* the child's word about its options; only when it has some */
} birth;

static void close_report(int *end) {
    if (*end >= 0)
        close(*end);
    *end = -1;
}

/*
** Bytes that could not be flushed before the fork are the parent's to write;
** what it has read ahead belongs to a stdin that the child may not have.
*/
static void drop_buffers(const mp_start_spec *spec) {
    if (spec->setup.streams[0] >= 0)
        __fpurge(stdin);
    if (__fpending(stdout) > 0)
        __fpurge(stdout);
    if (__fpending(stderr) > 0)
        __fpurge(stderr);
}

/* The setup has been applied: what it brought along is not needed any more. */
static void close_setup(const mp_setup *setup) {
    for (int i = 0; i < 3; i++)
        if (setup->streams[i] >= 0)
            close(setup->streams[i]);
    if (setup->cwd >= 0)
        close(setup->cwd);
}

/* Tells the creator whether the options could be applied; leaves if not. */
static void report_set_up(birth *b) {
    if (mp_setup_report(&b->spec->setup, b->report[1]) != 0)
        _exit(EXIT_FAILURE);
    close_report(&b->report[0]);
    close_report(&b->report[1]);
    if (b->is_fresh)
        close_setup(&b->spec->setup);
}

/* A child's end comes with its creator's, or has nothing to do with it. */
static void tie(const mp_start_spec *spec, pid_t creator) {
    if (spec->detached)
        setsid();
    else if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != creator)
        _exit(EXIT_FAILURE); /* the creator is gone already */
}

/*
** What this process runs from now on carries its tag. The environment is not
** changed in place, nor by setenv, which would copy it on the heap: the list
** with one entry more lies on a stack that is not left.
*/
_Noreturn static void live(birth *b, int (*body)(void *), void *arg) {
    char tag[MP_TAG_SIZE];
    mp_family_tag(b->member, tag);
    /* cppcheck-suppress allocaCalled ; no larger than exec allows, in a frame that is not left */
    char **list = alloca(mp_exec_env_size(environ) + sizeof *list);
    list[0] = tag;
    mp_exec_copy_env(list + 1, environ, tag);
    environ = list;
    mp_proc_leave(body(arg), 0);
}

_Noreturn static void child(birth *b, pid_t creator, int (*body)(void *), void *arg) {
    mp_proc_begin();
    tie(b->spec, creator);
    mp_family_enter(b->member);
    if (b->report[1] >= 0)
        report_set_up(b);
    mp_sys_interrupts_child();
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    live(b, body, arg);
}

/* Makes sure of a descriptor before there is a child that would need it. */
static int ensure_fd(void) {
    for (;;) {
        int fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 10);
        if (fd >= 0)
            return close(fd);
        if (errno == EINVAL) /* the limit is below 10 */
            errno = EMFILE;
        if (errno != EMFILE || mp_sys_raise_file_limit() != 0)
            return -errno;
    }
}

static pid_t fork_child(birth *b, int (*body)(void *), void *arg) {
    pid_t creator = mp_proc_self();
    sigset_t all, before;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, &before);
    mp_family_inherits(b->member);
    pid_t pid = mp_proc_clone();
    if (pid == 0) {
        mp_heap_fork();
        drop_buffers(b->spec);
        child(b, creator, body, arg);
    }
    int failure = errno;
    sigprocmask(SIG_SETMASK, &before, NULL);
    return pid > 0 ? pid : -failure;
}

/* A time limit is the keeper's to enforce; under other limits none could be made. */
static int needs_keeper(const mp_start_spec *spec) {
    return spec->timeout > 0 || mp_setup_has_limits(&spec->setup);
}

/* What any birth needs. */
static int birth_open(birth *b) {
    b->proc = mp_proc_new();
    if (b->proc == NULL)
        return -ENOMEM;
    int rc = mp_family_open();
    if (rc == 0)
        rc = ensure_fd();
    if (rc == 0)
        rc = mp_family_birth(&b->member, b->spec->detached);
    if (rc == 0 && b->spec->timeout > 0)
        mp_family_limit(b->member, mp_sys_now() + b->spec->timeout);
    return rc;
}

/* A child that applies its options itself tells about them by a pipe. */
static int birth_open_report(birth *b) {
    if (pipe2(b->report, O_CLOEXEC) != 0)
        return -errno;
    b->report[1] = mp_sys_high_fd(b->report[1]); /* a dup2 onto a stream must not hit it */
    return b->report[1] < 0 ? b->report[1] : 0;
}

static int keep_watch(const char **step) {
    int rc = mp_proc_watch();
    *step = rc < 0 ? "keeper" : "fork";
    return rc;
}

static void birth_fail(birth *b) {
    close_report(&b->report[0]);
    close_report(&b->report[1]);
    if (b->member != MP_NOBODY)
        mp_family_free(b->member);
    if (b->proc != NULL)
        mp_proc_free(b->proc);
}

/* After the fork: holds the child by a pidfd and hears its word. */
static int birth_finish(birth *b, pid_t pid, const char **step) {
    const mp_kin kin = {.member = b->member,
                        .detached = b->spec->detached,
                        .daemon = b->spec->daemon,
                        .is_program = b->is_program};
    int rc = mp_proc_adopt(b->proc, pid, &kin);
    if (b->spec->timeout > 0 && b->spec->timeout <= 2 * MP_LOOK)
        mp_keeper_ring(); /* it might look too late */
    close_report(&b->report[1]);
    if (rc == 0 && b->report[0] >= 0)
        rc = mp_setup_hear(b->report[0], step);
    close_report(&b->report[0]);
    if (rc < 0)
        mp_proc_undo(b->proc);
    return rc;
}

/* The end of a start: rc is the child's pid, or what failed. */
static int birth_end(birth *b, int rc, mp_proc **child_out, const char **step) {
    if (rc < 0) {
        birth_fail(b);
        return rc;
    }
    rc = birth_finish(b, rc, step);
    if (rc == 0)
        *child_out = b->proc;
    return rc;
}

/* All that a process that runs a function needs before it is made; `reports`: its options apply
 * later. */
static int prepare(birth *b, int reports, const char **step) {
    *step = "fork";
    int rc = needs_keeper(b->spec) ? keep_watch(step) : 0;
    if (rc == 0 && reports)
        rc = birth_open_report(b);
    if (rc == 0)
        rc = birth_open(b);
    if (rc == 0) {
        mp_output_flush(stdout);
        fflush(NULL);
    }
    return rc;
}

/* Holds objects for a child to be. 0, or -errno in the system's words. */
static int hold_all(mp_list *list, const mp_ref *objects, size_t n) {
    int rc = 0;
    mp_ref hold;
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = objects[i] == 0 ? 0 : mp_arena_hold(list, objects[i], &hold);
    return rc == -EDQUOT ? -ENOMEM : rc;
}

int mp_start_fork(const mp_start_spec *spec, int (*body)(void *), void *arg, mp_proc **child_out,
                  const char **step) {
    birth b = {.spec = spec, .member = MP_NOBODY, .report = {-1, -1}};
    int rc = prepare(&b, !mp_setup_is_empty(&spec->setup), step);
    if (rc == 0) {
        *step = "ends of pipes";
        rc = hold_all(mp_arena_holds_of(b.member), spec->objects, spec->n_objects);
    }
    if (rc == 0) {
        *step = "fork";
        rc = fork_child(&b, body, arg);
    }
    return birth_end(&b, rc, child_out, step);
}

/* Puts the child's tag first. */
static void tag_program(const birth *b, char **env, char *tag) {
    mp_family_tag(b->member, tag);
    env[0] = tag;
    mp_exec_copy_env(env + 1, env + 1, tag);
}

int mp_start_exec(const mp_start_spec *spec, const mp_program *program, mp_proc **child_out,
                  const char **step) {
    char tag[MP_TAG_SIZE];
    birth b = {.spec = spec, .member = MP_NOBODY, .report = {-1, -1}};
    int rc = keep_watch(step);
    if (rc == 0)
        rc = birth_open(&b);
    if (rc == 0) {
        mp_program tagged = *program;
        tag_program(&b, program->env, tag);
        tagged.env += spec->detached; /* a detached program is nobody's: without the tag */
        mp_output_flush(stdout);
        fflush(NULL);
        rc = mp_exec_run(&spec->setup, spec->detached, &tagged, step);
    }
    if (rc > 0) {
        mp_family_program(b.member, rc);
        b.is_program = 1;
    }
    return birth_end(&b, rc, child_out, step);
}

/* --- in a fresh image ---------------------------------------------------- */

static pid_t begin_fresh(const birth *b, enum mp_start_method method, const mp_program *image,
                         const mp_start_message *message, const char **step) {
    char tag[MP_TAG_SIZE];
    *step = "arguments";
    int rc = hold_all(mp_arena_parcel(b->member), message->objects, message->n_objects);
    if (rc < 0)
        return rc;
    const mp_order order = {.member = b->member,
                            .detached = b->spec->detached,
                            .setup = &b->spec->setup,
                            .report = b->report[1],
                            .message = message->pieces,
                            .n_pieces = message->n_pieces,
                            .len = message->len};
    if (method == MP_START_FORKSERVER)
        return mp_image_fork(&order, image, step);
    mp_program untagged = *image;
    tag_program(b, image->env, tag);
    untagged.env++;
    pid_t pid = mp_image_spawn(&order, &untagged, step);
    if (pid > 0)
        *mp_family_pid(b->member) = pid;
    return pid;
}

int mp_start_fresh(const mp_start_spec *spec, enum mp_start_method method, const mp_program *image,
                   const mp_start_message *message, mp_proc **child_out, const char **step) {
    birth b = {.spec = spec, .member = MP_NOBODY, .report = {-1, -1}};
    const int reports = method == MP_START_FORKSERVER ? !mp_setup_is_empty(&spec->setup)
                                                      : mp_setup_has_limits(&spec->setup);
    int rc = prepare(&b, reports, step);
    if (rc == 0)
        rc = begin_fresh(&b, method, image, message, step);
    return birth_end(&b, rc, child_out, step);
}

typedef struct life {
    int (*body)(void *);
    void *arg;
} life;

static void arrive(const mp_arrival *a, void *arg) {
    const life *l = arg;
    const mp_start_spec spec = {.detached = a->detached, .setup = a->setup};
    birth b = {.spec = &spec, .member = a->member, .is_fresh = 1, .report = {-1, a->report}};
    if (a->is_forked)
        mp_heap_fork();
    child(&b, a->creator, l->body, l->arg);
}

int mp_start_serve(int (*body)(void *), void *arg) {
    life l = {body, arg};
    return mp_image_serve(arrive, &l);
}
