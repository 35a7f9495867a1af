/*
** wake.pml: wake-ups and the close of a queue, for the model checker spin.
**
** Idea: two processes put and two get, nobody dies, and a wait ends by a wake-up alone. So
** one that is lost is seen; the queue's waiters, who look again 20 times a second, would
** feel it as slowness only, and queue.pml, for that reason, cannot see it. Getters wait
** for items, putters for room, in the same way.
**
** A waiter remembers `seq`, announces itself, looks again, and sleeps while seq is the same.
** A waker has changed the queue; then it looks whether somebody was announced since it was
** last found that nobody slept, and if so moves seq on and wakes one.
**
** What must hold: nobody sleeps for ever (spin: no invalid end state). With -DCLOSE there is
** in place of one putter a process that closes the queue, at any time, and what was put is
** gotten nevertheless. ../model_spec.lua runs both, and demands that each wrong protocol (-DWRONG=n) is found out.
*/
#ifndef WRONG
#define WRONG 0
#endif

#ifndef EACH
#define EACH 1 /* items of each putter, and without a close of each getter */
#endif
#ifndef ROOM
#define ROOM 1
#endif
#define ITEMS 0 /* what is waited for */
#define SPACE 1

byte n_put;
byte n_got;
bool tail_taken;
bool closed;

byte seq[2];
byte announced[2]; /* waiters so far */
byte cleared[2];   /* so many of them at least no longer sleep */
bool asleep[8];    /* who * 2 + word */

byte n_returned;
byte n_ended;

#define N_ITEMS (n_put - n_got)
#define CAN_GO(what) (closed || (what == ITEMS -> N_ITEMS > 0 : N_ITEMS < ROOM))

/* --- the kernel: compares and sleeps in one step, and wakes anyone --- */

inline futex_wait(word) {
    atomic {
        if
        :: seq[word] == seen -> asleep[me * 2 + word] = true
        :: else
        fi
    }
    !asleep[me * 2 + word]
}

#define IF_ASLEEP(who, word) asleep[who * 2 + word] -> asleep[who * 2 + word] = false

inline futex_wake(word) {
    atomic {
        woken = true;
        if
        :: IF_ASLEEP(0, word)
        :: IF_ASLEEP(1, word)
        :: IF_ASLEEP(2, word)
        :: IF_ASLEEP(3, word)
        :: else -> woken = false
        fi
    }
}

/* --- waiters and wakers --- */

inline wait(what) {
    do
    :: CAN_GO(what) -> break
    :: else ->
#if WRONG == 1 /* what will be compared is read after the look */
        announced[what]++;
        if
        :: CAN_GO(what) -> break
        :: else
        fi;
        seen = seq[what];
#elif WRONG == 2 /* the look comes before the announcement, as without a fence */
        seen = seq[what];
        if
        :: CAN_GO(what) -> break
        :: else
        fi;
        announced[what]++;
#else
        atomic { seen = seq[what]; announced[what]++ } /* in whatever order */
        if
        :: CAN_GO(what) -> break
        :: else
        fi;
#endif
        futex_wait(what)
    od;
    seen = 0
}

inline look_for_waiters(what) {
    seen = announced[what]
}

#if WRONG == 3 /* a flag, which is down while one is being woken */
inline wake(what) {
    atomic {
        woken = announced[what] > 0;
        announced[what] = 0
    }
    if
    :: woken ->
        seq[what]++;
        futex_wake(what);
        if
        :: woken -> announced[what] = 1
        :: else
        fi
    :: else
    fi;
    atomic { seen = 0; woken = false }
}
#else
inline wake(what) {
#if WRONG != 4 /* (there the look comes before the change, as without a fence) */
    look_for_waiters(what);
#endif
    if
    :: seen != cleared[what] ->
#if WRONG != 5 /* (there the word does not move on) */
        seq[what]++;
#endif
        futex_wake(what);
        if
        :: !woken -> cleared[what] = seen
        :: else
        fi
    :: else
    fi;
    atomic { seen = 0; woken = false }
}
#endif

/* --- the processes --- */

inline put() {
    do
    :: atomic { !tail_taken -> tail_taken = true; refused = closed }
        if
        :: refused -> break
        :: !refused && N_ITEMS < ROOM ->
#if WRONG == 4
            look_for_waiters(ITEMS);
#endif
            atomic { n_put++; n_returned++; tail_taken = false }
            wake(ITEMS);
            goto done
        :: else ->
            tail_taken = false;
            wait(SPACE)
        fi
    od;
    tail_taken = false;
done:
    i++
}

proctype putter(byte me) {
    byte i = 0;
    bool refused = false;
    byte seen = 0;
    bool woken = false;
    do
    :: i < EACH -> put()
    :: else -> break
    od;
    atomic { i = 0; n_ended++ }
}

/* With a close until it is seen, and then nothing; what came before the close is in the queue. */
proctype getter(byte me) {
    byte i = 0;
    byte seen = 0;
    bool woken = false;
    do
    :: i == EACH -> break
    :: else ->
        wait(ITEMS);
#if WRONG == 4
        look_for_waiters(SPACE);
#endif
        atomic {
            if
            :: N_ITEMS > 0 -> n_got++
            :: else -> goto nothing
            fi
        }
        wake(SPACE);
#ifndef CLOSE
        i++;
#endif
        goto again;
nothing:
        if
        :: closed ->
            if
            :: N_ITEMS == 0 -> break
            :: else
            fi
        :: else
        fi;
again:
        skip
    od;
    atomic { i = 0; n_ended++ }
}

#ifdef CLOSE
inline wake_all(word) {
    atomic {
        seq[word]++;
        i = 0;
        do
        :: i < 4 -> asleep[i * 2 + word] = false; i++
        :: else -> break
        od
    }
}

proctype closer() {
    byte i = 0;
#if WRONG == 6 /* not under the lock that a put has from its look at `closed` to its commit */
    closed = true;
#else
    atomic { !tail_taken -> closed = true } /* it takes the lock, and gives it back */
#endif
    wake_all(ITEMS);
    wake_all(SPACE);
    n_ended++
}
#endif

init {
    atomic {
        run putter(0);
        run getter(2);
        run getter(3);
#ifdef CLOSE
        run closer()
#else
        run putter(1)
#endif
    }
    n_ended == 4;
    assert(n_got == n_returned)
}
