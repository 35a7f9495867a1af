/*
** dict.h: values by keys, shared: mp.dict; and with bounds of size and time: mp.cache.
**
** A dict has stripes, each with a lock, a table of entries and a count; the hash of a key says
** which is its own. So processes meet at a lock only when they are at keys of one stripe at one
** moment. A table is a block of words: 0 is a free slot, 1 one whose entry went, anything else the
** place of an entry, with 16 bits of its hash above it. An entry is a block with a key and a value
** (value.h), written whole before it is published; after that only three words of it change, each
** by one store: a number or a boolean in place, who updates it, and when a cache used it.
**
** Promise: a process killed at any instruction leaves each key with its old or its new value, and
** all counts, holds and memory as that says. To put, to replace and to remove is to store one
** word, which the dead one has done or not:
**
**   put    P1 blocks noted               neither is: the new entry is freed with the hand
**          P2 slot stored                done: whoever settles the note sees that the table has
**                                        the new entry, and not the old one, which is freed
**          P3 blocks no longer moving    done; the old entry is in hand
**          P4 counts stored              done; they are counted anew anyway
**   word   W1 word stored in place       done
**   grow   G1 tables noted               the new table is freed; the other one has its entries
**          G2 new one published          done: the old one is freed, and says that what it has
**                                        is not its own any more
**          G3 tables no longer moving    the same; the old one is in hand
**   clear  C1 table noted                nothing has happened
**          C2 stripe without a table     this stripe is empty, those before it too; others are not
**          C3 table no longer moving     the same; it is freed with the hand, and its entries
**   update U1 updater noted              the key has its old value, and waits for nobody
**          U2 updater taken away         the same
**
** Who takes a lock whose owner died settles what that had moving there, and counts the stripe
** anew (`recover` in stripe.c).
**
** update: the key's entry (one without a value, for a key that is not there) carries the name of
** who updates it (name.h). No lock is held meanwhile. Readers have the old value; who would change
** the key waits at the gate of its stripe, until the updater is done or dead; who finds the name
** of a dead one goes on. An updater that would wait for itself is told so (-EBUSY), and a
** deadlock of several, crosswise, is reported as others are (deadlock.h). An entry without a
** value goes with its updater's hold of the dict.
**
** Locks are taken in the order of the stripes, when all are; then the guard of the arena. No
** memory is had or given back while one is held, and nothing waits there.
**
** A cache has one stripe, and besides:
**   - the order of use: a ring of words, one for each use, with the entry that was used last then;
**     its entry has the number of that word (`stamp`). A word whose entry has another number is 0.
**     So the first word that is not 0 is the entry used least recently. After a death the ring
**     is made anew from the stamps.
**   - how long entries live: each has its end. Who finds one that is over takes it out; with
**     each put some more slots are looked at, so those that nobody asks for go as well.
*/
#ifndef MP_ENGINE_DICT_H
#define MP_ENGINE_DICT_H

#include "engine/value.h"

typedef enum mp_key_type {
    MP_KEY_STRING = 1,
    MP_KEY_INTEGER,
    MP_KEY_FLOAT,
    MP_KEY_BOOLEAN
} mp_key_type;

/* Equal keys have equal bytes: an integer and its float are one key, so the caller writes the
 * integer. */
typedef struct mp_key {
    uint32_t type;
    const void *bytes;
    size_t len;
} mp_key;

enum { MP_KEY_LONGEST = 1 << 30 };

/*
** Makes a dict; or, with `is_cache`, a cache of at most `max` entries (0: no bound) that live
** `ttl` (0: for ever). The calling process holds it. 0, or as mp_arena_alloc.
*/
int mp_dict_make(int is_cache, uint64_t max, mp_time ttl, mp_ref *dict, mp_ref *hold);

/* How many keys have a value, at one moment. */
uint64_t mp_dict_len(mp_ref dict);

/*
** Copies the value of a key, without the key. 1; 0: there is none; -ENOSPC: copies->len or
** ->n_objects are more than there is room for, to be tried again.
*/
int mp_dict_get(mp_ref dict, const mp_key *key, mp_copies *copies);

/* Copies all values with their keys, of one moment; or the keys alone. How many, or -ENOSPC. */
int64_t mp_dict_copy(mp_ref dict, int keys_only, mp_copies *copies);

/*
** These wait while another process updates the key. They return -ETIMEDOUT at the deadline;
** -EINTR for a signal; -EBUSY: this process updates it; -EDEADLK; or as mp_arena_alloc, with
** nothing changed.
**
** set: gives the key that value. remove: takes it out: 1, and its block in hand, to be freed; or 0.
** add: adds to a number, from 0 on (integers wrap around, one with a float is a float), and *sum is
** what it is then; -EINVAL: it is no number. clear: all keys go.
*/
int mp_dict_set(mp_ref dict, const mp_key *key, const mp_value *value, mp_time deadline);
int mp_dict_remove(mp_ref dict, const mp_key *key, mp_ref *block, mp_time deadline);
int mp_dict_add(mp_ref dict, const mp_key *key, const mp_value *by, mp_value *sum,
                mp_time deadline);
int mp_dict_clear(mp_ref dict, mp_time deadline);

/*
** Begins an update by this process, which ends it: with a value (type MP_VALUE_NONE: the key
** goes), or with NULL: as it was. begin copies the value that there is: 1; 0: there is none; or
** as above, with nothing begun. `if_absent`: there is a value, and none is begun, -EEXIST.
*/
int mp_dict_begin(mp_ref dict, const mp_key *key, int if_absent, mp_copies *copies,
                  mp_time deadline);
int mp_dict_end(mp_ref dict, const mp_key *key, const mp_value *value);

/* Of a cache: so often a key was found, and not; and so many went for want of room. */
typedef struct mp_cache_stats {
    uint64_t hits, misses, evictions, size;
    mp_time ttl;
} mp_cache_stats;
void mp_dict_stats(mp_ref dict, mp_cache_stats *stats);

#endif
