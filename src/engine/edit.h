/*
** edit.h: a change of one key of a dict (dict.h), from the lock to what is freed after it.
**
** What a change needs, an entry and perhaps a larger table, is made before the lock is taken,
** and what it takes out is freed when that is given back: nothing in the lock takes long.
*/
#ifndef MP_ENGINE_EDIT_H
#define MP_ENGINE_EDIT_H

#include "engine/stripe.h"

enum { MP_EDIT_GONE = 8 }; /* blocks that one change takes out, at most */

typedef struct mp_edit {
    mp_ref dict;
    dict_shared *d;
    const mp_key *key;
    mp_time deadline;
    mp_place p;
    int is_end;          /* of an update, which this process has begun */
    mp_ref fresh, table; /* in hand, to be put */
    mp_ref gone[MP_EDIT_GONE];
    int n_gone;
} mp_edit;

/* An update that somebody waits for. */
typedef struct mp_update {
    stripe *s;
    uint32_t ends; /* of updates, before */
    mp_name updater;
} mp_update;

/* Waits until it has ended. 0; -ETIMEDOUT, -EINTR; -EDEADLK. */
int mp_edit_wait(mp_ref dict, const mp_update *u, mp_time deadline);
/* An update has ended there. */
void mp_edit_tell(stripe *s);

mp_edit mp_edit_of(mp_ref dict, const mp_key *key, mp_time deadline);

/* Takes the lock when nobody else updates the key: 0; or, without the lock, as dict.h says. */
int mp_edit_lock(mp_edit *c);
/* In the lock, however that was taken: where the key is. An entry that is over is there no more. */
void mp_edit_find(mp_edit *c);
int mp_edit_has_value(const mp_edit *c);
/* Takes the lock, and has an entry for the value and a place for it: 0; or, without it, why not. */
int mp_edit_prepare(mp_edit *c, const mp_value *v);

/* In the lock: puts the fresh entry there; takes one out; a word takes the place of a word of its
 * type, if it is one; a cache's entry is used. */
void mp_edit_put(mp_edit *c);
void mp_edit_take_out(mp_edit *c, const mp_place *p);
int mp_edit_word(const mp_edit *c, const mp_value *v);
void mp_edit_use(const mp_edit *c);

/* Gives the lock back, and frees what was taken out; what was not needed. The latter returns rc. */
void mp_edit_unlock(mp_edit *c);
int mp_edit_finish(mp_edit *c, int rc);

#endif
