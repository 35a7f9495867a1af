/*
** image.c: processes that begin in a fresh image; promises in image.h.
**
** The forkserver's children are made by the bare system call, because fork()
** has no CLONE_PARENT. What glibc's fork does besides, and what matters to a
** process of one thread, is done here: its thread learns its new id, by
** CLONE_CHILD_SETTID at the address that the kernel knows (robust locks name
** their owner by it), and the kernel learns its robust list.
*/
#include "engine/image.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/family.h"
#include "engine/picture.h"
#include "engine/store.h"
#include "engine/sys.h"

#define MAGIC 0x6c75616d702d3031u      /* "luamp-01" */
#define LESSON (MAGIC + 1)             /* of a packet with bytes for the store, and no order */
#define INLINE_MESSAGE ((size_t)32768) /* a longer one goes by a file */
#define MAX_PIECES 16
/* F_SEAL_WRITE would wait for pins of pages, and so for all CPUs; nobody has mapped it yet. */
#define SEALS (F_SEAL_FUTURE_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)
#define PATIENCE (60 * MP_SECOND) /* with a forkserver that lives and does not answer */

/* The descriptors of a fresh image. */
enum { ORDER = 3, FAMILY = 4, REPORT = 6, N_FILES = 4 };

/* What an order may bring along. */
enum { STREAMS, CWD = 3, REPORT_PIPE, MESSAGE, N_BROUGHT };

typedef struct header {
    uint64_t magic;
    uint64_t len; /* of the message */
    mp_limits limits;
    cpu_set_t cpus;
    uint32_t member;
    int32_t detached, nice, has_cpus;
    int32_t brought[N_BROUGHT]; /* the place among the descriptors that come with it, or -1 */
} header;

#define DIED (-EOWNERDEAD) /* the forkserver, and it has made no child */

static const mp_limits no_limits = {-1, -1, -1, -1, -1};
static const mp_setup unchanged = {
    .cwd = -1, .streams = {-1, -1, -1}, .limits = {-1, -1, -1, -1, -1}};

static header make_header(const mp_order *order) {
    header h = {.magic = MAGIC,
                .len = order->len,
                .limits = order->setup->limits,
                .member = order->member,
                .detached = order->detached};
    memset(h.brought, -1, sizeof h.brought);
    return h;
}

/*
** A file without a name that holds the header, if any, and the message, and that nobody can
** change any more: or -errno.
*/
static int make_file(const header *h, const mp_order *order) {
    struct iovec head = {(void *)h, h == NULL ? 0 : sizeof *h};
    int fd = mp_sys_high_fd(memfd_create("luamp-order", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    if (fd < 0)
        return fd;
    int rc = mp_sys_write_at(fd, 0, &head, 1);
    if (rc == 0)
        rc = mp_sys_write_at(fd, (int64_t)head.iov_len, order->message, order->n_pieces);
    if (rc == 0 && fcntl(fd, F_ADD_SEALS, SEALS) != 0)
        rc = -errno;
    if (rc < 0)
        close(fd);
    return rc < 0 ? rc : fd;
}

/* --- spawn --------------------------------------------------------------- */

pid_t mp_image_spawn(const mp_order *order, const mp_program *image, const char **step) {
    int files[N_FILES] = {-1, -1, -1, order->report};
    header h = make_header(order);
    h.brought[REPORT_PIPE] = order->report < 0 ? -1 : REPORT - ORDER;
    mp_setup before = *order->setup;
    mp_program program = *image;
    *step = "family";
    int rc = mp_family_files(&files[1]);
    if (rc == 0) {
        *step = "order";
        files[0] = make_file(&h, order);
        rc = files[0] < 0 ? files[0] : 0;
    }
    if (rc == 0) {
        before.limits = no_limits;
        program.files = files;
        program.n_files = order->report < 0 ? N_FILES - 1 : N_FILES;
        rc = mp_exec_run(&before, order->detached, &program, step);
        close(files[0]);
    }
    return rc;
}

/* --- the forkserver's creator -------------------------------------------- */

static struct server {
    int socket; /* -1: there is none */
    int pidfd;
    size_t taught; /* bytes of the store that it has */
    mp_picture of;
} server = {.socket = -1};

void mp_image_forget(void) {
    if (server.socket < 0)
        return;
    close(server.socket);
    close(server.pidfd);
    server.socket = -1;
}

/*
** It is killed, and has ended when this returns, also if other code has reaped it. One
** that is not this process's to kill, whose user has changed, ends by its socket.
*/
void mp_image_close(void) {
    if (server.socket < 0)
        return;
    struct pollfd ended = {.fd = server.pidfd, .events = POLLIN};
    siginfo_t info;
    syscall(SYS_pidfd_send_signal, server.pidfd, SIGKILL, NULL, 0);
    shutdown(server.socket, SHUT_RDWR);
    while (poll(&ended, 1, -1) < 0 && errno == EINTR)
        continue;
    while (waitid(P_PIDFD, (id_t)server.pidfd, &info, WEXITED) < 0 && errno == EINTR)
        continue;
    mp_image_forget();
}

/* Both ends of the server's socket, or -errno. */
static int make_socket(int ends[2]) {
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
        return -errno;
    ends[0] = mp_sys_high_fd(ends[0]);
    ends[1] = mp_sys_high_fd(ends[1]);
    int rc = ends[0] < 0 ? ends[0] : ends[1] < 0 ? ends[1] : 0;
    for (int i = 0; i < 2 && rc < 0; i++)
        if (ends[i] >= 0)
            close(ends[i]);
    return rc;
}

/* Its pidfd; without one it ends. DIED: where SIGCHLD is ignored it may be gone already. */
static int hold_server(pid_t pid) {
    int pidfd = mp_sys_high_fd((int)syscall(SYS_pidfd_open, pid, 0));
    if (pidfd == -ESRCH)
        return DIED;
    if (pidfd < 0) {
        kill(pid, SIGKILL);
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
            continue;
    }
    return pidfd;
}

static int run_server(const mp_program *image, int socket, const char **step) {
    int files[3] = {socket, -1, -1};
    char tag[MP_TAG_SIZE];
    mp_program program = *image;
    int rc = mp_family_files(&files[1]);
    if (rc < 0)
        return rc;
    program.env = malloc(mp_exec_env_size(environ));
    if (program.env == NULL)
        return -ENOMEM;
    mp_family_tag_name(tag);
    mp_exec_copy_env(program.env, environ, tag);
    program.files = files;
    program.n_files = 3;
    pid_t pid = mp_exec_run(&unchanged, 0, &program, step);
    free(program.env);
    return pid < 0 ? pid : hold_server(pid);
}

/* Makes sure of a server that is as this process is now. */
static int open_server(const mp_program *image, const char **step) {
    mp_picture now;
    int ends[2];
    mp_picture_take(&now);
    if (server.socket >= 0 && memcmp(&now, &server.of, sizeof now) == 0)
        return 0;
    mp_image_close();
    *step = "forkserver";
    int rc = make_socket(ends);
    if (rc < 0)
        return rc;
    rc = run_server(image, ends[1], step);
    close(ends[1]);
    if (rc < 0)
        close(ends[0]);
    else
        server = (struct server){.socket = ends[0], .pidfd = rc, .of = now};
    return rc < 0 ? rc : 0;
}

/* The control message that carries the descriptors. */
typedef union parcel {
    struct cmsghdr head;
    char room[CMSG_SPACE(N_BROUGHT * sizeof(int))];
} parcel;

/* Those that the order brings; h learns their places. */
static int collect(const mp_order *order, int message, header *h, int files[N_BROUGHT]) {
    const mp_setup *s = order->setup;
    const int all[N_BROUGHT] = {s->streams[0], s->streams[1], s->streams[2],
                                s->cwd,        order->report, message};
    int n = 0;
    for (int i = 0; i < N_BROUGHT; i++)
        if (all[i] >= 0) {
            h->brought[i] = n;
            files[n++] = all[i];
        }
    return n;
}

static void wrap(struct msghdr *m, parcel *p, const int *files, int n) {
    if (n == 0)
        return;
    memset(p, 0, sizeof *p);
    m->msg_control = p;
    m->msg_controllen = CMSG_SPACE((size_t)n * sizeof(int));
    struct cmsghdr *c = CMSG_FIRSTHDR(m);
    *c = (struct cmsghdr){.cmsg_level = SOL_SOCKET,
                          .cmsg_type = SCM_RIGHTS,
                          .cmsg_len = CMSG_LEN((size_t)n * sizeof(int))};
    memcpy(CMSG_DATA(c), files, (size_t)n * sizeof(int));
}

/*
** Waits for the server, until its socket is ready; 0 when it is dead or mute. One that was
** stopped goes on. An interruption has little patience. That it is dead the socket alone does
** not tell: a child that is stopped before its first step has it open as well.
*/
static int await_server(short events) {
    const mp_time began = mp_sys_now();
    struct pollfd either[] = {{.fd = server.socket, .events = events},
                              {.fd = server.pidfd, .events = POLLIN}};
    while (mp_sys_now() < began + (mp_sys_interrupt_pending() != 0 ? MP_SECOND : PATIENCE)) {
        int n = poll(either, 2, (int)(MP_LOOK / 1000000));
        if (n > 0)
            return either[0].revents != 0;
        if (n == 0)
            syscall(SYS_pidfd_send_signal, server.pidfd, SIGCONT, NULL, 0);
    }
    return 0;
}

/* 0, or -errno; -EPIPE and -ECONNRESET: the server is dead. */
static int send_packet(const struct msghdr *m) {
    while (sendmsg(server.socket, m, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
        const int error = errno;
        if (error == EAGAIN && !await_server(POLLOUT))
            return -EPIPE;
        if (error != EAGAIN && error != EINTR)
            return -error;
    }
    return 0;
}

/* Sends what the server's store lacks. Results as above. */
static int teach(void) {
    size_t left;
    const void *rest;
    while (rest = mp_store_rest(server.taught, &left), left > 0) {
        header h = {.magic = LESSON, .len = left < INLINE_MESSAGE ? left : INLINE_MESSAGE};
        struct iovec pieces[] = {{&h, sizeof h}, {(void *)rest, h.len}};
        const struct msghdr m = {.msg_iov = pieces, .msg_iovlen = 2};
        int rc = send_packet(&m);
        if (rc < 0)
            return rc;
        server.taught += h.len;
    }
    return 0;
}

/* Results as above. */
static int send_order(const mp_order *order, int message) {
    header h = make_header(order);
    h.nice = order->setup->nice;
    h.has_cpus = order->setup->cpus != NULL;
    if (h.has_cpus)
        h.cpus = *order->setup->cpus;
    int files[N_BROUGHT], n = collect(order, message, &h, files);
    int n_pieces = message >= 0 ? 0 : order->n_pieces;
    struct iovec pieces[1 + MAX_PIECES] = {{&h, sizeof h}};
    for (int i = 0; i < n_pieces; i++)
        pieces[1 + i] = order->message[i];
    struct msghdr m = {.msg_iov = pieces, .msg_iovlen = (size_t)n_pieces + 1};
    parcel p;
    wrap(&m, &p, files, n);
    return send_packet(&m);
}

/* Its answer in *pid; 0 when there is none. */
static int hear(int *pid) {
    return await_server(POLLIN) &&
           recv(server.socket, pid, sizeof *pid, MSG_DONTWAIT) == sizeof *pid;
}

/* One try: the pid, -errno, or DIED. */
static pid_t request(const mp_order *order, int message) {
    int rc = teach(), pid = 0;
    if (rc == 0)
        rc = send_order(order, message);
    if (rc == 0 && hear(&pid))
        return pid;
    if (rc < 0 && rc != -EPIPE && rc != -ECONNRESET)
        return rc;
    mp_image_close();
    pid = *(volatile int32_t *)mp_family_pid(order->member);
    return pid > 0 ? pid : DIED;
}

pid_t mp_image_fork(const mp_order *order, const mp_program *image, const char **step) {
    int is_large = order->len > INLINE_MESSAGE || order->n_pieces > MAX_PIECES;
    *step = "order";
    int message = is_large ? make_file(NULL, order) : -1;
    pid_t pid = is_large && message < 0 ? message : DIED;
    for (int tries = 0; tries < 3 && pid == DIED; tries++) {
        int rc = open_server(image, step);
        if (rc == 0)
            *step = "forkserver";
        pid = rc < 0 ? rc : request(order, message);
    }
    if (message >= 0)
        close(message);
    return pid == DIED ? -ECONNRESET : pid;
}

/* --- in a fresh image ---------------------------------------------------- */

static const char *message_bytes;
static size_t message_len;
static void *mapped; /* what it lies in, if not in a buffer */
static size_t mapped_len;

const char *mp_image_message(size_t *len) {
    *len = message_len;
    return message_bytes;
}

void mp_image_drop_message(void) {
    if (mapped != NULL)
        munmap(mapped, mapped_len);
    mapped = NULL;
    message_bytes = NULL;
    message_len = 0;
}

/* The file, which its maker has sealed: the whole of it in memory, or NULL. */
static header *map_order(int fd, size_t *size) {
    struct stat s;
    if (fcntl(fd, F_GET_SEALS) != SEALS || fstat(fd, &s) != 0 || (size_t)s.st_size < sizeof(header))
        return NULL;
    *size = (size_t)s.st_size;
    header *h = mmap(NULL, *size, PROT_READ, MAP_PRIVATE, fd, 0);
    return h == MAP_FAILED ? NULL : h;
}

static int is_order(const header *h, size_t size) {
    return h->magic == MAGIC && h->len <= size - sizeof *h;
}

static int is_servers_socket(int fd) {
    int type = 0;
    struct ucred peer = {.pid = 0};
    socklen_t len = sizeof type, peer_len = sizeof peer;
    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_SEQPACKET &&
           getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &peer_len) == 0 && peer.pid == getppid();
}

int mp_image_is_server(void) {
    return is_servers_socket(ORDER);
}

int mp_image_is_fresh(void) {
    size_t size;
    header *h = map_order(ORDER, &size);
    int is = h != NULL ? is_order(h, size) : is_servers_socket(ORDER);
    if (h != NULL)
        munmap(h, size);
    return is;
}

/* The process that spawn has made: its order is in the file. */
static int begin_spawned(void (*begin)(const mp_arrival *, void *), void *arg) {
    size_t size;
    header *h = map_order(ORDER, &size);
    if (h == NULL || !is_order(h, size))
        return -EBADMSG;
    close(ORDER);
    mapped = h;
    mapped_len = size;
    int report = h->brought[REPORT_PIPE] < 0 ? -1 : mp_sys_high_fd(REPORT);
    if (report < -1)
        return report;
    prctl(PR_SET_NAME, program_invocation_short_name); /* and not "exe" */
    message_bytes = (const char *)(h + 1);
    message_len = h->len;
    mp_arrival a = {.creator = getppid(),
                    .member = h->member,
                    .detached = h->detached,
                    .setup = unchanged,
                    .report = report};
    a.setup.limits = h->limits;
    begin(&a, arg);
    return EXIT_FAILURE;
}

/* --- the forkserver ------------------------------------------------------ */

/* What has come by the socket. */
typedef struct received {
    header h;
    char inline_message[INLINE_MESSAGE];
    int files[N_BROUGHT];
    int n_files;
    int is_short; /* there were more, and no descriptors for them */
} received;

static void take_files(struct msghdr *m, received *r) {
    r->n_files = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c != NULL; c = CMSG_NXTHDR(m, c))
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
            r->n_files = (int)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
            memcpy(r->files, CMSG_DATA(c), (size_t)r->n_files * sizeof(int));
        }
}

/* The next order or lesson; 0 when there will be none, or it is none. */
static int receive(int socket, received *r) {
    parcel p;
    struct iovec piece = {r, offsetof(received, files)};
    struct msghdr m = {
        .msg_iov = &piece, .msg_iovlen = 1, .msg_control = &p, .msg_controllen = sizeof p};
    ssize_t n = recvmsg(socket, &m, MSG_CMSG_CLOEXEC);
    if (n < (ssize_t)sizeof r->h || (r->h.magic != MAGIC && r->h.magic != LESSON))
        return 0;
    take_files(&m, r);
    r->is_short = (m.msg_flags & MSG_CTRUNC) != 0;
    return 1;
}

static int brought(const received *r, int what) {
    int place = r->h.brought[what];
    return place >= 0 && place < r->n_files ? r->files[place] : -1;
}

static int take_message(const received *r) {
    int fd = brought(r, MESSAGE);
    message_bytes = r->inline_message;
    message_len = r->h.len;
    if (fd < 0)
        return r->h.len <= sizeof r->inline_message ? 0 : -EBADMSG;
    mapped = mmap(NULL, r->h.len, PROT_READ, MAP_PRIVATE, fd, 0);
    mapped_len = r->h.len;
    message_bytes = mapped;
    close(fd);
    return mapped == MAP_FAILED ? -errno : 0;
}

_Noreturn static void begin_forked(const received *r, pid_t creator,
                                   void (*begin)(const mp_arrival *, void *), void *arg) {
    mp_arrival a = {.creator = creator,
                    .is_forked = 1,
                    .member = r->h.member,
                    .detached = r->h.detached,
                    .setup = {.cwd = brought(r, CWD),
                              .streams = {brought(r, STREAMS), brought(r, STREAMS + 1),
                                          brought(r, STREAMS + 2)},
                              .nice = r->h.nice,
                              .cpus = r->h.has_cpus ? &r->h.cpus : NULL,
                              .limits = r->h.limits},
                    .report = brought(r, REPORT_PIPE)};
    prctl(PR_SET_NAME, program_invocation_short_name);
    if (take_message(r) == 0)
        begin(&a, arg);
    _exit(EXIT_FAILURE);
}

/*
** Forks a child of this process's parent, whose pid the kernel writes to *pid: there,
** and to be written, so that it has not to be fetched first by a process that is killed.
*/
static pid_t fork_sibling(int32_t *pid) {
    const unsigned long flags =
        CLONE_PARENT | CLONE_PARENT_SETTID | CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID;
    int *thread_id = NULL;
    struct robust_list_head *robust = NULL;
    size_t len = 0;
    if (prctl(PR_GET_TID_ADDRESS, &thread_id) != 0 ||
        syscall(SYS_get_robust_list, 0, &robust, &len) != 0)
        return -errno;
    *pid = 0;
#if defined(__x86_64__)
    long made = syscall(SYS_clone, flags, NULL, pid, thread_id, NULL);
#else
    long made = syscall(SYS_clone, flags, NULL, pid, NULL, thread_id);
#endif
    if (made == 0)
        syscall(SYS_set_robust_list, robust, len);
    return made < 0 ? -errno : (pid_t)made;
}

/* Carries out one order: the child's pid, or -errno. */
static int32_t carry_out(const received *r, int socket, pid_t creator,
                         void (*begin)(const mp_arrival *, void *), void *arg) {
    mp_fault("image.serve.S1");
    int32_t pid = r->is_short ? -EMFILE : fork_sibling(mp_family_pid(r->h.member));
    if (pid == 0) {
        close(socket);
        begin_forked(r, creator, begin, arg);
    }
    mp_fault("image.serve.S2");
    for (int i = 0; i < r->n_files; i++)
        close(r->files[i]);
    return pid;
}

/* Whether it keeps what a lesson has. */
static int learn(const received *r) {
    int keeps =
        r->h.len <= sizeof r->inline_message && mp_store_learn(r->inline_message, r->h.len) == 0;
    mp_fault("image.serve.S0");
    return keeps;
}

static int serve(int socket, void (*begin)(const mp_arrival *, void *), void *arg) {
    static received r;
    const pid_t creator = getppid();
    prctl(PR_SET_NAME, "luamp-server");
    while (receive(socket, &r)) {
        if (r.h.magic == LESSON && learn(&r))
            continue;
        if (r.h.magic == LESSON)
            break;
        int32_t answer = carry_out(&r, socket, creator, begin, arg);
        if (send(socket, &answer, sizeof answer, MSG_NOSIGNAL) < 0)
            break;
        mp_fault("image.serve.S3");
    }
    return EXIT_SUCCESS;
}

int mp_image_serve(void (*begin)(const mp_arrival *, void *), void *arg) {
    int is_server = is_servers_socket(ORDER);
    int files[2] = {mp_sys_high_fd(FAMILY), mp_sys_high_fd(FAMILY + 1)};
    int rc = mp_family_join(files);
    if (rc < 0)
        return rc;
    if (!is_server)
        return begin_spawned(begin, arg);
    int socket = mp_sys_high_fd(ORDER);
    return socket < 0 ? socket : serve(socket, begin, arg);
}
