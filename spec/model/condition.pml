/*
** condition.pml: the protocol of a condition (src/engine/condition.h), for the model checker spin.
**
** Idea: two processes wait for an item each, one of them perhaps only until a time limit; another
** brings ITEMS, one after the other, and tells one of those that wait each time. At most KILLS die,
** between any two changes; who brings is followed by another one then, who tells all. Who waits does
** not look for items, only whether it was told: so a notification that is lost is seen. Whoever is
** dead is swept at any later time.
**
** What is abstract. A change is one step, as change.pml shows that it may be; the lock is taken over
** from a dead one by whoever comes next; a line is the numbers of who stands in it.
**
** What must hold:
**   - nobody waits for ever while there is an item
**   - who comes back from a wait has the lock
*/
#ifndef WRONG
#define WRONG 0
#endif
#ifndef KILLS
#define KILLS 1
#endif

#ifndef ITEMS
#define ITEMS 1
#endif

#define N 2
#define ACTOR N
#define NOBODY 9
#define ACTORS 2

byte lock = NOBODY;
byte brought;
byte items;
byte number;
byte waits[N]; /* its number in line, or 0 */
bool has[N];   /* waits, or was told and has not gone on */

byte kills;
bool dead[N + ACTORS];
bool swept[N];
byte late; /* waits that ended by a time limit */

inline may_die() {
    if
    :: kills < KILLS -> atomic { kills++; dead[me] = true; goto end }
    :: true
    fi
}

inline take_lock() {
    atomic {
        lock == NOBODY || dead[lock] -> lock = me
    }
}

#define IS_FIRST(p) (waits[p] != 0 && (waits[1 - p] == 0 || waits[p] <= waits[1 - p]))

#if WRONG == 1 /* that it was told is not kept until it has gone on */
#define TELL(p) waits[p] = 0; has[p] = false; break
#else
#define TELL(p) waits[p] = 0; break
#endif

/* In one step: passes by the dead, and tells the first that lives. */
inline tell_one() {
    do
    :: IS_FIRST(0) && dead[0] -> waits[0] = 0; has[0] = false
    :: IS_FIRST(1) && dead[1] -> waits[1] = 0; has[1] = false
    :: IS_FIRST(0) && !dead[0] -> TELL(0)
    :: IS_FIRST(1) && !dead[1] -> TELL(1)
    :: else -> break
    od
}

proctype waiter(byte me) {
    bool is_told = false;
    may_die();
    take_lock();
    do
    :: items > 0 -> break
    :: else ->
        may_die();
#if WRONG == 2 /* the lock is given up, and then it stands in line */
        lock = NOBODY;
        may_die();
        atomic { number++; waits[me] = number; has[me] = true }
#else
        atomic { number++; waits[me] = number; has[me] = true }
        may_die();
        lock = NOBODY;
#endif
        may_die();
end_sleep:
        if
        :: waits[me] == 0
        :: late < 1 -> late++ /* it has waited for long enough */
        fi;
        may_die();
#if WRONG == 3 /* it has gone on before it has the lock */
        atomic { is_told = (waits[me] == 0); waits[me] = 0; has[me] = false }
        may_die();
        take_lock();
#else
        take_lock();
        may_die();
#if WRONG == 4 /* what it was told at the last moment is forgotten */
        atomic { is_told = (waits[me] == 0 && late == 0); waits[me] = 0; has[me] = false }
#else
        atomic { is_told = (waits[me] == 0); waits[me] = 0; has[me] = false }
#endif
#endif
        assert(lock == me);
        if
        :: is_told
        :: !is_told -> goto leave
        fi
    od;
    items--;
leave:
    lock = NOBODY;
end:
    skip
}

inline first_may_die() {
    if
    :: me == ACTOR && kills < KILLS -> atomic { kills++; dead[me] = true; goto end }
    :: true
    fi
}

proctype actor(byte me) {
    byte n = 0;
    if
    :: me > ACTOR -> /* the second one */
end_idle:
        dead[ACTOR];
        take_lock();
        do
        :: n < N -> atomic { tell_one(); n++ }
        :: else -> break
        od;
        lock = NOBODY
    :: else
    fi;
    do
    :: brought < ITEMS ->
        take_lock();
        first_may_die();
        atomic { items++; brought++ }
        first_may_die();
        atomic { tell_one() }
        first_may_die();
        lock = NOBODY;
        first_may_die()
    :: else -> break
    od;
end:
    skip
}

/* What a dead one was told is told to another. */
inline sweep(p) {
    atomic {
        dead[p] && !swept[p] -> swept[p] = true;
        if
#if WRONG != 5 /* (there it is not) */
        :: has[p] && waits[p] == 0 -> tell_one()
#endif
        :: else
        fi;
        waits[p] = 0;
        has[p] = false
    }
}

proctype sweeper() {
end:
    do
    :: sweep(0)
    :: sweep(1)
    od
}

init {
    atomic {
        run waiter(0);
        run waiter(1);
        run actor(ACTOR);
        run actor(ACTOR + 1);
        run sweeper()
    }
    timeout;
    assert(items == 0 || (waits[0] == 0 && waits[1] == 0))
}
