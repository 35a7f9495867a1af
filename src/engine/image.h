/*
** image.h: processes that begin in a fresh image: by spawn, and by the forkserver.
**
** A fresh image is the program (or a stock interpreter with the module) run anew
** by exec, so nothing of its creator's memory is in it, and how much that has
** does not matter. It joins the family by its two files, and is told by an order
** what it is to be: its record, how it is set up, and a message of whoever
** starts it, which the engine does not look into.
**
** The environment of an image has no tag of the family (keeper.h), by which those are
** judged that are no members: its processes are, and die with their creators by the
** kernel's doing. What they run is tagged as what any member runs.
**
**   spawn       one image for each process. The order lies in a file without a
**               name, descriptor 3; the family's files are 4 and 5
**   forkserver  one image for all, which forks one process for each order that
**               comes by a socket, descriptor 3. It makes them children of its
**               creator (CLONE_PARENT): reaping, signals and deaths are as after
**               a fork, and its own death is nothing to them
**
** Each process that asks for one has a forkserver of its own, from then on until
** its end. It is a picture of its creator: when that has another environment,
** folder, user, CPUs, niceness, file mask or standard streams meanwhile, a new
** one takes its place.
**
** Code is sent to a forkserver once: before an order comes what its creator's store (store.h)
** has and its own lacks, as lessons, and what is in the store the message of the order may refer
** to.
**
** Promises:
**   - A forkserver that dies, at whatever moment, is made anew by the next start.
**     An order that it had in its hands is carried out once: the kernel writes a
**     child's pid into its record as it makes it, so a child without an answer is
**     known, and without a child the order goes to the next server.
**   - Nobody but its creator reaches a forkserver: its socket has no name.
**   - It has its creator's end as its own: by the kernel's doing, and because its
**     socket has nobody at the other end then.
**
** Steps of a request, each a fault point of the server's:
**   serve S0 lesson learnt      the next server is taught all, from the beginning
**         S1 order received   no child: the creator sends it to another server
**         S2 child made       the child lives; its creator finds its pid in its record
**         S3 answered         as if nothing had been: the next order finds nobody
*/
#ifndef MP_ENGINE_IMAGE_H
#define MP_ENGINE_IMAGE_H

#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "engine/exec.h"
#include "engine/setup.h"

/* What a process is to be that begins in a fresh image. */
typedef struct mp_order {
    uint32_t member; /* its record in the family */
    int detached;
    const mp_setup *setup;
    int report; /* where it tells how that went (mp_setup_report), or -1 */
    const struct iovec *message;
    int n_pieces;
    size_t len;
} mp_order;

/*
** Starts it by exec of `image`. Returns its pid, or -errno and in *step what could
** not be done. Of the setup, limits are the fresh image's to apply, and report.
*/
pid_t mp_image_spawn(const mp_order *order, const mp_program *image, const char **step);

/* Has the forkserver start it, which is made of `image` if there is none. Results as above. */
pid_t mp_image_fork(const mp_order *order, const mp_program *image, const char **step);

/* In a process that a fork has made: the parent's forkserver is not its own. */
void mp_image_forget(void);

/* The end of the process: its forkserver goes. */
void mp_image_close(void);

/* --- in a fresh image ---------------------------------------------------- */

/* Whether this process is one: descriptor 3 is an order, or a forkserver's socket. */
int mp_image_is_fresh(void);

/* Whether it is the forkserver. */
int mp_image_is_server(void);

/* One that was born there. */
typedef struct mp_arrival {
    pid_t creator;
    int is_forked; /* by the forkserver */
    uint32_t member;
    int detached;
    mp_setup setup; /* what is to be applied yet */
    int report;
} mp_arrival;

/*
** Lives the life of a fresh image: begin(arrival, arg), which does not return, in
** each process that is born. A status to exit with, when there is none (any more),
** or -errno when the image is of no family.
*/
int mp_image_serve(void (*begin)(const mp_arrival *, void *), void *arg);

/* The message of the order that this process was born by; NULL without one. */
const char *mp_image_message(size_t *len);

/* It is not needed any more. */
void mp_image_drop_message(void);

#endif
