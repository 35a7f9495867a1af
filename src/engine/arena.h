/*
** arena.h: the memory that a family shares.
**
** It lies behind the family page, in the same file without a name and the same
** mapping, so every member sees it, whatever its start method. It is reserved
** large and backed as it grows; what is freed is used again, and large parts of it
** go back to the system. Nothing in it is an address: a place is an offset into
** the mapping (mp_ref), since members may have it at different addresses.
**
** Promise: any member may be killed at any instruction; nobody finds a list torn,
** a block in use twice, or one lost for longer than until the death is seen.
**
** Memory comes in blocks. Each is in exactly one place:
**   - in the hands of one member, which is how it begins and how it ends: on the
**     list of that member's record. A death frees what is in hand
**   - part of a structure (a queue, or another block), which knows it
**   - on its way from one to the other, noted in the member's record: which structure,
**     and in what state that was before. A dead one's note is settled by that: the
**     structure has moved on, or not. It is on no list then, for as soon as the
**     structure has it another process may put it on one of its own
**
** Objects are blocks that several processes have handles of. A handle is a hold: a
** block on the list `holds` of its process, or on a message's, or on the one of a
** record's order and outcome. An object lives as long as it has a hold, and after
** that as long as a process lives that was forked between its making and its last
** hold's end: that one may have inherited a handle. So fork copies no counts.
**
** What the guard protects is changed in steps that the next owner finishes or undoes,
** by the intent that is written before (see `mend`):
**   alloc A1 intent written           nothing has happened
**         A2 marked as used           not on its list yet: marked as free again
**         A3 on its list              done
**   free  F1 intent written           is done now
**         F2 off its list             the same
**         F3 marked as free           done
**   hold  H1 intent written           is done now: the object and its count are
**         H2 hold tied (or untied)    stored again, which changes nothing
**         H3 count stored             done
**   move  M1 intent written           is done now: an object that is over goes from limbo
**         M2 out of limbo             to the hands of who ends it
**         M3 in hand                  done
**   grow  G1 span noted               nothing has happened: the note goes
**         G2 marked as used           in hand: what it has by then goes back with it
**         G3 marked as free           the note goes: done
**   trim  T1 span noted               nothing has happened: the note goes
**         T2 marked as used           it goes back as one without memory, as in the end
** Free spans, partly used slabs and their lists are found anew from what is marked.
*/
#ifndef MP_ENGINE_ARENA_H
#define MP_ENGINE_ARENA_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/gate.h"
#include "engine/sys.h"

/* An offset into the mapping; 0 is nowhere. */
typedef uint64_t mp_ref;
typedef _Atomic uint64_t mp_list; /* a list of blocks by its first one */

enum mp_kind {
    MP_KIND_FREE = 0,
    MP_KIND_BYTES, /* of a structure, which gives it back itself */
    MP_KIND_MESSAGE,
    MP_KIND_HOLD,
    MP_KIND_ENTRY, /* a value that lies in a structure; see value.h */
    MP_KIND_TABLE, /* of entries, which it has */
    MP_KIND_QUEUE, /* objects from here on */
    MP_KIND_END,
    MP_KIND_BOARD,
    MP_KIND_VALUE,
    MP_KIND_ARRAY,
    MP_KIND_BUFFER,
    MP_KIND_NAMED, /* a buffer that lies in a file of its own */
    MP_KIND_LOCK,
    MP_KIND_RLOCK,
    MP_KIND_SEMAPHORE,
    MP_KIND_BOUNDED,
    MP_KIND_EVENT,
    MP_KIND_WRITE_SIDE, /* of a rwlock: it has the state of both sides */
    MP_KIND_READ_SIDE,
    MP_KIND_BARRIER,
    MP_KIND_CONDITION,
    MP_KIND_DICT,
    MP_KIND_CACHE,
    MP_KIND_LIST,
    MP_KINDS
};

typedef struct mp_block {
    _Alignas(64) uint32_t kind;
    _Atomic uint32_t n_holds; /* of an object */
    uint64_t size;            /* of what follows */
    _Atomic mp_ref next;      /* on its list */
    mp_ref before;            /* the one whose next it is, or 0; true unless somebody died */
    mp_list holds;            /* of a message: on the objects in it */
    uint64_t made, unheld;    /* of an object: when it was made and lost its last hold, in births */
    uint32_t is_alone;        /* of a message: it is taken by itself, see queue.h */
    uint32_t is_over;         /* of an object: is in limbo, or was taken from there to be ended */
} mp_block;

/* What is on its way: into a structure, or out of it. */
enum { MP_NOTE_IN, MP_NOTE_OUT };

/* What becomes of it when the process dies. */
enum mp_fate {
    MP_FATE_UNKNOWN = 0, /* to be found out */
    MP_FATE_LEFT,        /* the structure has it */
    MP_FATE_FREED        /* the structure does not have it */
};

enum mp_claim { MP_CLAIMED = 1, MP_KEPT };

/* A process's or a message's hold on an object; kinds of objects add what they need. */
typedef struct mp_hold {
    mp_ref object;
    uint64_t is_claimed; /* MP_CLAIMED by a handle, or MP_KEPT for what is none; 0: it was given at
                          * a fork, or holds for a message */
    union {
        struct {
            uint64_t taken,
                new_taken; /* items of a queue, as of which of its states: see queue.h */
            uint64_t commit;
            uint64_t done;
        };
        uint64_t units;                    /* of a semaphore, that its process has */
        struct {                           /* changed as change.h says */
            _Atomic uint64_t has;          /* of a rwlock, a barrier, a condition: see there */
            _Atomic uint64_t waits;        /* its number in line, or its round; 0: it does not */
            _Atomic uint64_t before, next; /* in line: see line.h */
            mp_gate gate;                  /* where it waits */
        };
    };
} mp_hold;

/* Makes sure of the family and its arena. 0 or -errno. */
int mp_arena_open(void);

/* Where that is in this process. */
void *mp_arena_at(mp_ref ref);
mp_block *mp_arena_block(mp_ref block);
void *mp_arena_bytes(mp_ref block); /* what follows the head */
mp_ref mp_arena_ref(const void *at);

/*
** Makes a block of `size` bytes, zeroed when they are less than a page, and puts it on
** the list (of the calling process's hands, for most). 0, or -ENOMEM: there is no more
** memory; -EDQUOT: luamp's own limit; -EFBIG: the limit of file sizes.
*/
int mp_arena_alloc(size_t size, enum mp_kind kind, mp_list *list, mp_ref *block);

/* The blocks in the hands of the calling process, and of a member. */
mp_list *mp_arena_hands(void);
mp_list *mp_arena_hands_of(uint32_t member);
/* The first of a list, and the next; 0: there is none. */
mp_ref mp_arena_first(const mp_list *list);
mp_ref mp_arena_next(mp_ref block);

/*
** Notes blocks of this process (in hand, if they are to move in) before they move, or 0
** for none; and says that they have: what came out is in hand.
*/
void mp_arena_move(int direction, mp_ref place, uint64_t commit, mp_ref block, mp_ref other);
void mp_arena_moved(int direction);
/* A member's note of that direction. */
struct mp_note *mp_arena_note_of(uint32_t member, int direction);

/* Takes a block off a list that the caller alone changes; it is elsewhere from now on. */
void mp_arena_unlink(mp_list *list, mp_ref block);

/* Ends a block, with what it holds, that is on that list. */
void mp_arena_free(mp_list *list, mp_ref block);

/* --- objects -------------------------------------------------------------- */

/*
** Holds an object: on the list of this process (mp_arena_holds), of a message, or of
** a record. 0 or as mp_arena_alloc.
*/
int mp_arena_hold(mp_list *list, mp_ref object, mp_ref *hold);
mp_list *mp_arena_holds(void);
mp_list *mp_arena_holds_of(uint32_t member);
mp_list *mp_arena_parcel(uint32_t member);

/*
** Makes an object of that size, zeroed when that is less than a page, which this process holds.
** 0, or as mp_arena_alloc.
*/
int mp_arena_make(size_t size, enum mp_kind kind, mp_ref *object, mp_ref *hold);

/* The hold by which this process has something of an object or waits there, or else any; or 0. */
mp_ref mp_arena_own(mp_ref object);

/* Another hold on the object of that one, which a handle of this process has; or 0. */
mp_ref mp_arena_holds_also(mp_ref hold);

/*
** Ties a hold that was made as a block of that kind, and is about nothing yet, to an object that
** somebody holds: takes no memory, and no lock but the guard.
*/
void mp_arena_tie(mp_ref hold, mp_ref object);

/* Ends a hold, and the object if it was the last. */
void mp_arena_drop(mp_list *list, mp_ref hold);

/* Ends a hold of this process, which has done with the object, as its death would. */
void mp_arena_leave(mp_ref hold);

/* A hold on the object in that list that no handle has, which one has from now on; or 0. */
mp_ref mp_arena_claim(const mp_list *list, mp_ref object);

/* Whether that is an object of this kind, for a handle that came in a message. */
int mp_arena_is(mp_ref object, enum mp_kind kind);

/* How many holds there are. */
uint32_t mp_arena_n_holds(mp_ref object);

/*
** What is waited for at an object: a verb of its kind, of which MP_AWAIT is what mp.wait waits for.
** A kind may add multiples of MP_AWAIT_MORE, whose meaning is its own.
*/
enum { MP_AWAIT = 1, MP_AWAIT_VERBS = 3, MP_AWAIT_MORE = 8 };

/* What the rooms above do for a kind. What cannot be waited for has neither awaited nor is_ready.
 */
typedef struct mp_kind_class {
    void (*end)(mp_ref block);                     /* frees what the block has; may be done twice */
    void (*unheld)(mp_ref block);                  /* has no hold any more, but may be inherited */
    void (*abandon)(uint32_t member, mp_ref hold); /* its holder died or leaves; before it goes */
    void (*settle)(struct mp_note *note, int direction); /* finds out the fate of a dead one's */
    mp_ref (*awaited)(mp_ref object,
                      int what); /* whose questions these are; 0: nobody's; NULL: its */
    int (*is_ready)(mp_ref object, int what); /* who waited for that would go on */
    int (*watch)(mp_ref object, int what);    /* a descriptor for that (watch.h), or -errno */
    void (*unwatch)(mp_ref object, int verb); /* and its end */
} mp_kind_class;
extern const mp_kind_class *mp_arena_classes[MP_KINDS];

/* Frees what the dead had in hand and held, all whose death can be seen. Whether there was one. */
int mp_arena_sweep_dead(void);

/* Whether a member that is dead has still something to be swept. */
int mp_arena_has_left(uint32_t member);

/* Whether somebody has died and was not swept yet: a signal handler may ask. */
int mp_arena_has_dead(void);

/* The same as mp_arena_sweep_dead for who only asks, mostly in vain: by loads alone then. */
static inline void mp_arena_look(void) {
    if (mp_arena_has_dead())
        mp_arena_sweep_dead();
}

/* --- numbers -------------------------------------------------------------- */

typedef struct mp_arena_usage {
    uint64_t n[MP_KINDS], bytes[MP_KINDS]; /* blocks in use, and what they take */
    uint64_t backed;                       /* bytes of memory that the arena has */
    uint64_t limit;                        /* how many it may have */
} mp_arena_usage;
int mp_arena_count(mp_arena_usage *usage);

/* Sets the family's own limit in bytes; 0: as much as there is room for. */
int mp_arena_limit(uint64_t bytes);

#endif
