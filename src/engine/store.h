/*
** store.h: bytes that go to a receiver once, although many messages need them.
**
** The receiver is one that outlives a message: a forkserver, whose children have its memory. The
** bytes are pieces of code, and the engine does not look into them. They lie in a store, one
** behind the other; a message refers to one by its place there and its hash.
**
** The sender fills its store, and teaches the receiver what that lacks before a message that may
** refer to it, in the order in which it lies there. So a place means the same to both, and no
** two pieces can be taken for one another, whatever their hashes: the sender has compared them.
** A receiver that takes the place of another is taught all, from the beginning. A store only
** grows, up to a limit: what has no room in it goes in the messages.
**
** A process has two, of what it teaches and of what it was taught. A forked child has its
** parent's, and its own forkserver is taught all that its parent's was.
*/
#ifndef MP_ENGINE_STORE_H
#define MP_ENGINE_STORE_H

#include <stddef.h>
#include <stdint.h>

#define MP_STORE_SIZE ((size_t)4 * 1024 * 1024)

/* --- what it teaches ------------------------------------------------------ */

/*
** The place of the bytes, which are added if they are not there: they are found by the hash, and
** compared. 0: there is no room for them, or no memory.
*/
uint32_t mp_store_put(const void *bytes, uint32_t len, uint64_t hash);

/* What is there from an offset on, and *len, how much that is. */
const void *mp_store_rest(size_t offset, size_t *len);

/* --- what it was taught --------------------------------------------------- */

/* The next bytes of the store. 0 or -errno. */
int mp_store_learn(const void *bytes, size_t len);

/* The piece at that place: its length as a u32, then its bytes. NULL when it is not there. */
const unsigned char *mp_store_get(uint32_t place, uint64_t hash);

#endif
