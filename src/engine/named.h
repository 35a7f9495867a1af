/*
** named.h: memory under a name, for programs that are not of one family.
**
** It is a file in /dev/shm of the name's own, which holds the bytes and nothing else, so programs
** that know nothing of luamp can have it, too (shm_open). It belongs to its user (mode 0600), and
** lasts until it is unlinked, whoever ends before; who has it then keeps it. It has all of its
** memory from the beginning: writing to it never fails for want of any.
**
** Making it is one step for all others: the file has no name before it has its memory.
**   make  N1 the file is whole, and has no name    it is gone
**         N2 it has its name                       it lasts, and can be had and unlinked
**
** Anybody may shorten a file, and the kernel kills who touches memory behind its end. So it is read
** and written by system calls, which fail instead. Who asks for its address is in danger of that.
**
** A process has a descriptor of it. The family knows it as an object, which travels; where one
** arrives it is opened by its name or, if that is another file's or nobody's by now, by the
** descriptor of a process that has it: those are noted in the object. A note may be old, and what
** it leads to is looked at before it is believed.
*/
#ifndef MP_ENGINE_NAMED_H
#define MP_ENGINE_NAMED_H

#include "engine/arena.h"

enum { MP_NAMED_LENGTH = 255 }; /* bytes of a name */

/*
** Besides the system's, these have one meaning each:
**   -ENAMETOOLONG, -EINVAL  that is no name of a file in a folder
**   -EEXIST      to make: there is one of the name
**   -ENOENT      to have: there is none
**   -ELOOP       it is a symbolic link
**   -EMEDIUMTYPE it is no regular file
**   -EPERM       it is another user's
**   -ESTALE      the name is another file's or gone, and nobody who has it was found
**   -ENXIO       the file was shortened
*/

/*
** Makes the file, of that size, which has no name yet: it is gone if its descriptor is closed. A
** descriptor or -errno.
*/
int mp_named_make(const char *name, uint64_t size);
/* Gives it the name. 0 or -errno. */
int mp_named_link(const char *name, int fd);

/* Opens one, and tells its size. A descriptor or -errno. */
int mp_named_open(const char *name, uint64_t *size);

/* Makes the object of a descriptor, which the calling process holds. 0 or as mp_arena_alloc. */
int mp_named_share(const char *name, int fd, mp_ref *object, mp_ref *hold);

const char *mp_named_name(mp_ref object);
uint64_t mp_named_size(mp_ref object);

/* A descriptor for a process to which the object has come; or -errno. */
int mp_named_reopen(mp_ref object);

/* This process has it by that descriptor, or has no more. */
void mp_named_note(mp_ref object, int fd);
void mp_named_forget(mp_ref object);

/* Bytes from an offset on, which are within its size. 0, or -errno: what was written may be a part.
 */
int mp_named_read(int fd, uint64_t offset, char *bytes, size_t len);
int mp_named_write(int fd, uint64_t offset, const char *bytes, size_t len, uint64_t size);

/* Where it is in memory; until munmap. Or NULL, and errno. */
void *mp_named_map(int fd, uint64_t size);

/* Removes the name if it is still this file's: whether it was. */
int mp_named_unlink(mp_ref object);

#endif
