/*
** family.h: what all processes of a family see of each other.
**
** The family page is one shared mapping of an anonymous file, made by the first
** process that starts another and inherited by all after it, or handed to those
** that run in a fresh image (image.h): no name, nothing that could be left
** behind. It holds a record for each process, the outcome that a process leaves
** for its creator, and the turns at output streams.
**
** Promise: any member may be killed at any instruction; the others go on, and
** what the dead one held is found and given back.
**
**   field of a record   who writes               who reads
**   life                its process, for life    all: trylock tells life from death
**   state               creator, then process,   all
**                       then whoever sees it dead
**   creator, serial,    creator, before birth    all
**     detached
**   deadline            creator, then keeper     keeper
**   overran             keeper                   creator, after the end
**   extent              its process, in guard    creator, after the end
**   outcome, inline     its process              creator, after the end
**   status              its process, at its end  creator, after the end
**
** Invariants:
**   I1  a record is in exactly one of: the free list, the hands of one living
**       creator, the hands of nobody. When a process has ended, its creator
**       takes over the records of the dead that it had started; those of the
**       living (detached) become nobody's, to be taken over when records run out
**   I2  an outcome is read only after its process has ended, so a half-written
**       one is never seen: outcome is stored last, and its absence means none
**   I3  an extent is recorded before its first byte is written and freed by
**       punching a hole before it is forgotten: a death in between leaves
**       bytes that the next sweep of that record gives back
**
**   I4  a program (run by exec) has no life word. Its record says PROGRAM from
**       when it runs until its creator has seen its end, and says otherwise
**       before the creator reaps it; so while it says PROGRAM, and its creator
**       lives, its pid is its own
**
** Steps, each a fault point, and what a death right after it means:
**   birth B1 guard locked                 the next owner rebuilds the free list
**         B2 record taken off the list    still FREE in its state: rebuilt into it
**         B3 record filled in, BORN       creator dead: goes to its creator's creator
**         B4 guard unlocked               the same
**   child C1 life locked                  dead as any process is
**         C2 ALIVE                        the same
**   put   P1 extent recorded              no outcome: the creator tells a death
**         P2 bytes written                the same
**         P3 outcome published            the outcome is whole, but the process
**                                         was killed, and that is what counts
**   leave L1 status recorded              ended as it said, if it was reaped by
**                                         others; killed, if the kernel says so
**   free  F1 hole punched                 record swept with its creator
**         F2 record FREE, not yet listed  rebuilt into the list
*/
#ifndef MP_ENGINE_FAMILY_H
#define MP_ENGINE_FAMILY_H

#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "engine/sys.h"

#define MP_NOBODY UINT32_MAX

/* What a process left for its creator. */
enum mp_outcome {
    MP_OUTCOME_NONE = 0, /* nothing: it was killed, or left by an exit */
    MP_OUTCOME_RESULT,   /* the target's return values */
    MP_OUTCOME_ERROR,    /* the error object that ended it */
    MP_OUTCOME_UNSENT,   /* the error object that says why the results cannot be sent */
    MP_OUTCOME_WORDS     /* the bare text of an error for which there was no memory */
};

/*
** Makes the family page if this process has none yet, with a record for
** itself. Every call below but the stream turns needs it. 0 or -errno.
*/
int mp_family_open(void);

/*
** The descriptors of the family's two files: what a fresh image joins it by. Opens
** the family. 0 or -errno (-EFBIG: by the limit of file sizes the page is no file).
*/
int mp_family_files(int files[2]);

/* Fresh image: joins the family of those files, as nobody yet. 0, or -errno: they are none. */
int mp_family_join(const int files[2]);

/* What tells families apart; 0: there is none. */
uint64_t mp_family_id(void);

/* This process's record, or MP_NOBODY. */
uint32_t mp_family_self(void);

/* How many records are in use: processes, and ended ones that are still held. */
unsigned mp_family_members(void);

/* Whether no other process of the family has a record: nobody to share with. */
int mp_family_alone(void);

/*
** A foreign fork (not luamp's) made this process: it is no member, and forgets
** the page. It may open a family of its own.
*/
void mp_family_forget(void);

/* Parent, before the fork: takes a record for a child. -EAGAIN: all are in use. */
int mp_family_birth(uint32_t *child, int detached);

/* Parent, before a fork: the child will have all that this process holds. */
void mp_family_inherits(uint32_t child);

/*
** Where the pid of a child to be is kept: 0 until there is one. The kernel writes it
** there as it makes a forkserver's child, so it is known whatever becomes of that.
*/
int32_t *mp_family_pid(uint32_t child);

/* Child, first thing: the record is its own from now on. */
void mp_family_enter(uint32_t self);

/* Whether the record's process is alive or being born. Never waits. */
int mp_family_alive(uint32_t member);

/* A process that was to be born, and whose creator is dead, is dead: it ends where it enters. */
void mp_family_bury(uint32_t member);

/* This process has what its order brought: what that held is let go. */
void mp_family_received(void);

/* Creator: whether the forked child is in the family, and tied to its creator. */
int mp_family_has_entered(uint32_t child);

/*
** Creator: the child is a program, running as `pid`. It has no life word: its
** creator says when it has ended, before it reaps it, so that the pid of a
** record that says PROGRAM is never a stranger's.
*/
void mp_family_program(uint32_t child, pid_t pid);
void mp_family_ended(uint32_t child);

/*
** Creator: when the keeper is to end the child (SIGTERM, and after a grace
** SIGKILL), and whether it did.
*/
void mp_family_limit(uint32_t child, mp_time deadline);
int mp_family_overran(uint32_t child);

/*
** The tag of what a child runs by exec: an environment entry that names the
** family and, from the outermost on, each process whose end is to end it.
** It stays findable whatever becomes of its parents; see keeper.h.
*/
#define MP_TAG_PREFIX "LUAMP_FAMILY_"
#define MP_TAG_DEPTH 250
#define MP_TAG_SIZE 4096
void mp_family_tag(uint32_t child, char tag[static MP_TAG_SIZE]);
/* What the tag of each program of the family begins with: "LUAMP_FAMILY_<id>="; its length. */
int mp_family_tag_name(char name[static MP_TAG_SIZE]);

/* Who started the calling process: a record, or MP_NOBODY for a main process. */
uint32_t mp_family_creator(void);

/*
** Child: leaves an outcome, replacing an earlier one. The pieces are n_pieces
** of len bytes in all. 0 or -errno (-EFBIG: beyond the file size limit,
** -ENOSPC: no memory), with no outcome left.
*/
struct iovec; /* what the bytes hold of the arena is in the parcel of the record by then */
int mp_family_put(enum mp_outcome kind, const struct iovec *pieces, int n_pieces, size_t len);

/* Child: records the status that it is about to leave with. */
void mp_family_leave(int status);

/* Creator, after the child's end: what it left, and how many bytes that is. */
enum mp_outcome mp_family_outcome(uint32_t child, size_t *len);
/* Copies those bytes out. 0 or -errno. */
int mp_family_read(uint32_t child, char *buf, size_t len);

/* Creator, once it has read: gives the outcome's memory back. */
void mp_family_drop_outcome(uint32_t child);

/* The status that the child recorded, or -ESRCH if it left without a word. */
int mp_family_status(uint32_t child);

/*
** Creator, or fork that failed: gives the record back, and with it the
** outcome and the records of those that a dead child had started.
*/
void mp_family_free(uint32_t child);

/*
** Takes the turn to write to a stream (named by its device and inode), so
** that what several members write stays whole. Waits for a living holder, not
** for a dead one, and not beyond the deadline. Returns a ticket for the unlock; without a
** family, or when more streams are being written than there are places for, the ticket is -1
** and the caller writes without a turn.
*/
int mp_family_stream_lock(const struct stat *stream, mp_time deadline);
void mp_family_stream_unlock(int ticket);

#endif
