/*
** queue.pml: the protocol of the queue and of its locks, for the model checker spin.
**
** Idea: two processes put and two get; at most KILLS die, each between any two of its
** stores. A sweeper, which may die as well, clears away what the dead had, while the
** others go on, and the main process does so at the end. spin looks at every order of
** all that. ../model_spec.lua runs it, and demands that each of the wrong protocols
** (-DWRONG=n) is found out.
**
** What is abstract. A wait is one for its condition, since a waiter looks again 20 times
** a second; wake.pml is about wake-ups. A step of the arena, a block made on a list or
** taken off it and freed, is one, as the arena's own intents promise. Every put has a
** message block and needs a new segment, which has room for one record, so both sides
** move two blocks at once. The lowest bit of a side's state is that of its count, for
** every put and get moves one item. Several STEPs are in one atomic where nobody else
** could see those before the last, unless their process dies, which it may before each.
**
** What must hold:
**   - nobody waits for ever (spin: no invalid end state)
**   - items are gotten in the order in which they were put, whole, and none twice
**   - those whose put has returned were gotten, or are in the queue
**   - no block is used that is free, or freed twice; in the end those are in use that
**     the queue has, and no others
**   - items that dead getters took and did not finish are counted as abandoned
*/
#ifndef WRONG
#define WRONG 0
#endif
#ifndef KILLS
#define KILLS 2
#endif
#ifndef ROOM
#define ROOM 1 /* of the queue, in items */
#endif
#ifndef EACH
#define EACH 1 /* items of each putter */
#endif

#define SWEEPER 4 /* 0 and 1 put, 2 and 3 get */
#define MAIN 5
#define MEMBERS 6
#define NOBODY 6
#define ITEMS (2 * EACH)
#define BLOCKS (1 + 2 * ITEMS)
#define MESSAGE(item) (1 + 2 * item)
#define SEGMENT(item) (2 + 2 * item)
#define NOWHERE BLOCKS
#define NEVER 255

#define TAIL 0 /* the sides and their locks; places, too */
#define HEAD 1
#define SWEEP 2
#define IN_HAND 2
#define LEFT 3

/* Blocks: a message has an item, a segment has a message (its record) and a successor. */
bool used[BLOCKS];
byte next[BLOCKS];
byte content[BLOCKS];
byte successor[BLOCKS];

/* Of each member: the list of what it moves, what it took and finished. */
byte place[MEMBERS];
byte as_of[MEMBERS]; /* the state of the place when the move began */
byte list[MEMBERS];
byte taken[MEMBERS];
byte new_taken[MEMBERS];
byte finished[MEMBERS];
byte base[MEMBERS]; /* n_abandoned before its sweep */
bool dead[MEMBERS];
bool swept[MEMBERS];
bool ended[MEMBERS];

/* Of the locks: owner is what the kernel knows. */
byte owner[3];
byte holder[2];

/* Of the sides. */
byte state[2];
byte position[4]; /* a segment; two for each side */
byte n_abandoned;

byte sweeping; /* the dead one whose sweep has begun and not ended */

/* What nobody but the assertions knows. */
byte kills;
byte order[ITEMS];  /* in which they were put */
bool gotten[ITEMS];
byte committed_to[MEMBERS];
byte owed; /* what the count of abandoned items should be */

#define VALID(side) position[side * 2 + (state[side] & 1)]
#define SPARE(side) position[side * 2 + 1 - (state[side] & 1)]
#define N_ITEMS (state[TAIL] - state[HEAD])
#define PUTTERS_GONE ((ended[0] || dead[0]) && (ended[1] || dead[1]))
#define GETTERS_GONE (dead[2] && dead[3])
#define UNSWEPT(w) (dead[w] && !swept[w])
#define OVER(w) (ended[w] || swept[w])

/* A step of a process, which may die in place of it. */
#define MAY_DIE kills < KILLS && me != MAIN
#define STEP(what) atomic { if :: true -> what :: MAY_DIE -> goto death fi }
#define WAIT(condition, what) atomic { if :: condition -> what :: MAY_DIE -> goto death fi }

/* --- the arena --- */

inline alloc(block) {
    d_step {
        assert(!used[block]);
        used[block] = true;
        next[block] = list[me];
        list[me] = block
    }
}

inline free_first(whose) {
    d_step {
        b = list[whose];
        assert(b < BLOCKS && used[b]);
        list[whose] = next[b];
        used[b] = false;
        next[b] = NOWHERE;
        content[b] = NOWHERE;
        successor[b] = NOWHERE;
        b = NOWHERE
    }
}

inline free_all(whose) {
    do
    :: list[whose] != NOWHERE -> STEP(free_first(whose))
    :: else -> break
    od
}

/* What nobody will look at again is one and the same, for there to be fewer states. */
inline forget(whose) {
    as_of[whose] = 0;
    base[whose] = NEVER;
    taken[whose] = 0;
    new_taken[whose] = 0;
    finished[whose] = 0;
    committed_to[whose] = 0
}

inline forget_spare(side) {
    d_step {
        SPARE(side) = NOWHERE;
        if
        :: side == TAIL -> successor[VALID(TAIL)] = NOWHERE
        :: else
        fi
    }
}

/* --- the locks --- */

#if WRONG == 5 /* the kernel does not pass on a dead one's lock */
#define CAN_TAKE(lock) owner[lock] == NOBODY
#else
#define CAN_TAKE(lock) (owner[lock] == NOBODY || dead[owner[lock]])
#endif

/* Before anything else it is decided what became of a dead holder's move. */
inline take(side) {
    atomic {
        WAIT(CAN_TAKE(side), d = (owner[side] == NOBODY -> NOBODY : holder[side]); owner[side] = me);
#if WRONG == 8 /* who mends is the holder from the start */
        STEP(holder[side] = me);
#endif
        if
        :: d != NOBODY && WRONG != 2 ->
            assert(dead[d]);
            resolve(side)
        :: else
        fi;
        STEP(holder[side] = me);
        forget_spare(side);
        d = NOBODY
    }
}

/* One store decides about all that d was moving there. */
inline resolve(side) {
    if
    :: place[d] != side
    :: place[d] == side && side == TAIL ->
        STEP(place[d] = (state[TAIL] == as_of[d] -> IN_HAND : LEFT))
    :: place[d] == side && side == HEAD && state[HEAD] == as_of[d] -> STEP(place[d] = LEFT)
    :: place[d] == side && side == HEAD && state[HEAD] != as_of[d] ->
        STEP(taken[d] = new_taken[d]);
        STEP(place[d] = IN_HAND)
    fi
}

inline give(side) {
#if WRONG != 9 /* it still says whose it was when it is free */
    STEP(holder[side] = NOBODY);
#endif
    STEP(owner[side] = NOBODY; forget_spare(side))
}

/* The block list is moving now, as of this state. */
inline begin_move(side) {
#if WRONG == 7 /* the place is told first */
    STEP(place[me] = side);
    STEP(as_of[me] = state[side]);
#else
    STEP(as_of[me] = state[side]);
    STEP(place[me] = side);
#endif
}

inline end_move() {
    STEP(place[me] = IN_HAND; as_of[me] = 0)
}

/* --- put --- */

inline commit_put() {
    STEP(d_step {
        order[state[TAIL]] = item;
        state[TAIL] = state[TAIL] + 1
    })
}

inline put() {
    atomic {
        STEP(alloc(MESSAGE(item)); content[MESSAGE(item)] = item);
        WAIT(N_ITEMS < ROOM && CAN_TAKE(TAIL) || GETTERS_GONE, skip);
        if
        :: GETTERS_GONE -> break
        :: else
        fi;
        take(TAIL);
        STEP(alloc(SEGMENT(item)));
        begin_move(TAIL);                                                       /* P1 */
        assert(used[VALID(TAIL)]);
        STEP(content[SEGMENT(item)] = MESSAGE(item));                           /* P2 */
        STEP(successor[VALID(TAIL)] = SEGMENT(item));
#if WRONG == 1 /* the commit comes before the position */
        commit_put()
    }
    atomic {
        STEP(VALID(TAIL) = SEGMENT(item));
#elif WRONG == 3 /* the blocks leave the hand before the commit */
        STEP(SPARE(TAIL) = SEGMENT(item));
        STEP(list[me] = NOWHERE);
        commit_put()
    }
    atomic {
#else
        STEP(SPARE(TAIL) = SEGMENT(item));                                      /* P3 */
        commit_put()                                                            /* P4 */
    }
#if WRONG == 6 /* the blocks leave the hand one by one after the commit */
    STEP(list[me] = next[list[me]]);
    STEP(list[me] = next[list[me]]);
    atomic {
#else
    atomic {
        STEP(list[me] = NOWHERE);                                               /* P5 */
#endif
#endif
        end_move();
        give(TAIL);                                                             /* P6 */
        item++
    }
}

proctype putter(byte me) {
    byte item = me * EACH;
    byte b = NOWHERE;
    byte d = NOBODY;
    do
    :: item == (me + 1) * EACH -> break
    :: else -> put()
    od;
    atomic { free_all(me); ended[me] = true; item = 0; goto out }
death:
    atomic { dead[me] = true; kills++; item = 0; d = NOBODY }
out:
    skip
}

/* --- get --- */

/* The record's message and the segment before it go onto the list. */
inline pick() {
    d_step {
        b = VALID(HEAD);
        s = successor[b];
        assert(used[b] && s < BLOCKS && used[s]);
        list[me] = content[s];
        assert(list[me] < BLOCKS && used[list[me]]);
        next[list[me]] = b;
        next[b] = NOWHERE;
        b = NOWHERE
    }
}

inline commit_get() {
    STEP(d_step {
        item = order[state[HEAD]];
        order[state[HEAD]] = 0;
        assert(!gotten[item]);
        gotten[item] = true;
        committed_to[me] = committed_to[me] + 1;
        state[HEAD] = state[HEAD] + 1
    })
}

inline get() {
    atomic {
        WAIT(N_ITEMS > 0 && CAN_TAKE(HEAD) || N_ITEMS == 0 && PUTTERS_GONE, skip);
        if
        :: N_ITEMS == 0 -> break
        :: else
        fi;
        take(HEAD);
        STEP(new_taken[me] = taken[me] + 1);
        begin_move(HEAD);                                           /* G1 */
        STEP(pick());
#if WRONG == 11 /* the commit comes before the position */
        commit_get()
    }
    atomic {
        STEP(VALID(HEAD) = s);
#else
        STEP(SPARE(HEAD) = s);                                      /* G3 */
        commit_get()                                                /* G4 */
    }
    atomic {
#endif
        STEP(taken[me] = new_taken[me]);                            /* G5 */
        end_move();
        give(HEAD);                                                 /* G6 */
        s = NOWHERE;
        assert(used[list[me]] && content[list[me]] == item);
        free_all(me);
        STEP(d_step { finished[me] = finished[me] + 1; item = 0; forget(me) })
    }
}

proctype getter(byte me) {
    byte item = 0;
    byte b = NOWHERE;
    byte s = NOWHERE;
    byte d = NOBODY;
    do
    :: get()
    od;
    atomic { ended[me] = true; goto out }
death:
    atomic { dead[me] = true; kills++; item = 0; s = NOWHERE; d = NOBODY }
out:
    skip
}

/* --- the sweep --- */

/* Whoever takes the lock decides about the dead holder's move. */
inline settle(side) {
    atomic {
        WAIT(CAN_TAKE(side), skip);
        take(side);
#if WRONG == 2 /* it is left to the sweep to decide */
        d = w;
        resolve(side);
        d = NOBODY;
#endif
        assert(place[w] == IN_HAND || place[w] == LEFT);
        give(side)
    }
}

inline abandon() {
#if WRONG == 10 /* what the count was before is not written down */
    STEP(n_abandoned = n_abandoned + taken[w] - finished[w]);
#else
    if
    :: base[w] == NEVER -> STEP(base[w] = n_abandoned)
    :: else
    fi;
    STEP(n_abandoned = base[w] + taken[w] - finished[w]);
#endif
    STEP(d_step { swept[w] = true; owed = owed + committed_to[w] - finished[w]; forget(w) })
}

inline clear_away() {
    if
    :: place[w] == LEFT -> STEP(list[w] = NOWHERE); STEP(place[w] = IN_HAND)
    :: else
    fi;
    free_all(w);
    abandon()
}

/* From any step on it can be done again, by another, who begins with it. */
inline sweep() {
    atomic {
        WAIT(CAN_TAKE(SWEEP), owner[SWEEP] = me);
        if
        :: sweeping != NOBODY && WRONG != 12 -> w = sweeping
        :: else -> STEP(sweeping = w)
        fi
    }
    if
    :: !swept[w] && place[w] == TAIL -> settle(TAIL)
    :: !swept[w] && place[w] == HEAD -> settle(HEAD)
    :: else
    fi;
    atomic {
        if
        :: !swept[w] -> clear_away()
        :: else
        fi;
        STEP(sweeping = NOBODY);
        STEP(owner[SWEEP] = NOBODY; w = 0)
    }
}

proctype sweeper(byte me) {
    byte b = NOWHERE;
    byte d = NOBODY;
    byte w = 0;
    do
    :: atomic {
            if
            :: UNSWEPT(0) -> w = 0
            :: UNSWEPT(1) -> w = 1
            :: UNSWEPT(2) -> w = 2
            :: UNSWEPT(3) -> w = 3
            :: OVER(0) && OVER(1) && OVER(2) && OVER(3) -> break
            fi
        }
        sweep()
    od;
    atomic { ended[me] = true; goto out }
death:
    atomic { dead[me] = true; kills++; w = 0; d = NOBODY }
out:
    skip
}

/* --- the end --- */

/* Of the blocks in use n are the queue's. */
inline look_at_blocks() {
    d_step {
        b = VALID(HEAD);
        w = state[HEAD];
        do
        :: w < state[TAIL] ->
            b = successor[b];
            assert(used[b] && used[content[b]] && content[content[b]] == order[w]);
            n = n + 2;
            w++
        :: else -> break
        od;
        assert(b == VALID(TAIL) && used[VALID(HEAD)]);
        w = 0;
        do
        :: w < BLOCKS -> n = n - used[w]; w++
        :: else -> break
        od;
        assert(n == 0)
    }
}

proctype main(byte me) {
    byte b = NOWHERE;
    byte d = NOBODY;
    byte w = 0;
    short n = 1;
    (ended[0] || dead[0]) && (ended[1] || dead[1]) && (ended[2] || dead[2]) && (ended[3] || dead[3]);
    ended[SWEEPER] || dead[SWEEPER];
    do
    :: w < MAIN && UNSWEPT(w) -> sweep()
    :: w < MAIN && !UNSWEPT(w) -> w++
    :: else -> break
    od;
    w = 0;
    look_at_blocks();
    assert(n_abandoned == owed);
    goto out;
death:
    skip;
out:
    skip
}

init {
    byte i = 0;
    d_step {
        do
        :: i < BLOCKS -> next[i] = NOWHERE; content[i] = NOWHERE; successor[i] = NOWHERE; i++
        :: else -> break
        od;
        i = 0;
        do
        :: i < MEMBERS -> place[i] = IN_HAND; list[i] = NOWHERE; base[i] = NEVER; i++
        :: else -> break
        od;
        i = 0;
        owner[TAIL] = NOBODY;
        owner[HEAD] = NOBODY;
        owner[SWEEP] = NOBODY;
        sweeping = NOBODY;
        holder[TAIL] = NOBODY;
        holder[HEAD] = NOBODY;
        used[0] = true /* the first segment; no record is in it */
    }
    atomic {
        run putter(0);
        run putter(1);
        run getter(2);
        run getter(3);
        run sweeper(SWEEPER);
        run main(MAIN)
    }
}
