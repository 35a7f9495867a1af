/*
** barrier.pml: the protocol of a barrier (src/engine/barrier.h), for the model checker spin.
**
** Idea: three processes come to a barrier of two parties, twice each if they can; one wait may end
** by a time limit, and at most KILLS die, between any two changes. Whoever is dead is swept at any
** later time; and somebody makes the barrier whole again, at any time, but RESETS times only. In the
** end, when nobody else can come, it is broken, so nobody waits for ever.
**
** What is abstract. A change is one step, as change.pml shows that it may be, and a wait one for its
** condition. With -DACTION the last one to come does something, in which it may fail or die.
**
** What must hold:
**   - nobody waits for ever (spin: no invalid end state)
**   - who is let go was in a round to which all had come, and whose action was done; who finds it
**     broken was not
**   - the places in a round are different
*/
#ifndef WRONG
#define WRONG 0
#endif
#ifndef KILLS
#define KILLS 1
#endif
#ifndef RESETS
#define RESETS 1
#endif

#define N 3
#define PARTIES 2
#define ROUNDS 8

#define FILLING 0
#define ACTING 1
#define BROKEN 2
#define DRAINING 3

byte round = 1;
byte arrived;
byte state;
byte waits[N]; /* the round, or 0 */
byte place[N];

byte kills;
byte late; /* waits that ended by a time limit */
byte resets;
bool dead[N];
bool swept[N];
byte n_ended;
bool is_whole[ROUNDS]; /* the round came to its end */
bool has_acted[ROUNDS];
bool is_lost[ROUNDS]; /* one has died in it, which was seen */
byte let_go[ROUNDS]; /* places, as bits */

inline may_die() {
    if
    :: kills < KILLS -> atomic { kills++; dead[me] = true; goto end }
    :: true
    fi
}

inline move_on() {
    round++;
    assert(round < ROUNDS);
    arrived = 0;
    state = FILLING
}

/* In one change: out of the round, if it is in it. */
inline leave(p, breaks) {
    if
    :: waits[p] == round && arrived == 1 && state == DRAINING && !(breaks) -> move_on()
    :: else ->
        if
        :: waits[p] == round -> arrived--
        :: else
        fi;
        if
        :: (breaks) -> state = BROKEN
        :: else
        fi
    fi;
    waits[p] = 0
}

inline is_let_go(r, at) {
    assert(is_whole[r]);
#ifdef ACTION
    assert(has_acted[r]);
#endif
    assert((let_go[r] & (1 << at)) == 0);
    let_go[r] = let_go[r] | (1 << at)
}

inline complete() {
    assert(!is_lost[round]);
    is_whole[round] = true;
    move_on()
}

/* The last one has come, with the change that it makes. */
#ifdef ACTION
#if WRONG == 5 /* they are let go before the action */
#define COME_LAST atomic { state == FILLING && arrived + 1 >= PARTIES -> mine = round; complete(); waits[me] = 0; goto act }
#else
#define COME_LAST atomic { state == FILLING && arrived + 1 >= PARTIES -> mine = round; arrived = PARTIES; waits[me] = round; state = ACTING; goto act }
#endif
#else
#define COME_LAST atomic { state == FILLING && arrived + 1 >= PARTIES -> mine = round; complete(); is_let_go(mine, PARTIES); goto next }
#endif

proctype process(byte me) {
    byte n = 0;
    byte mine = 0;
    do
    :: n < 2 ->
        may_die();
        if
        :: atomic { state == BROKEN -> goto next }
#if WRONG == 1 /* it counts, and then notes that it waits */
        :: atomic { state == FILLING && arrived + 1 < PARTIES -> mine = round; arrived++; place[me] = arrived }
            may_die();
            waits[me] = mine
#else
        :: atomic {
            state == FILLING && arrived + 1 < PARTIES ->
            mine = round;
            arrived++;
            waits[me] = round;
            place[me] = arrived
        }
#endif
        :: COME_LAST
        fi;
        may_die();
        if
        :: waits[me] != round -> goto whole
        :: waits[me] == round && (state == BROKEN || state == DRAINING) -> goto broken
        :: late < 1 ->
#if WRONG == 7 /* it does not look whether the round is over by now */
            late++;
            atomic { assert(!is_whole[mine]); leave(me, true); goto next }
#else
            late++;
            atomic {
                if
                :: waits[me] == round -> leave(me, state != DRAINING); goto next
                :: else -> goto whole
                fi
            }
#endif
        fi;
whole:
        may_die();
        atomic { is_let_go(mine, place[me]); waits[me] = 0; goto next }
broken:
        may_die();
#if WRONG == 2 /* who leaves is counted, and then noted */
        atomic {
            assert(!is_whole[mine]);
            if
            :: arrived == 1 && state == DRAINING -> move_on()
            :: else -> arrived--
            fi
        }
        may_die();
        waits[me] = 0;
        goto next;
#else
        atomic { assert(!is_whole[mine]); leave(me, false); goto next }
#endif
act:
#ifdef ACTION
        may_die();
        if
        :: has_acted[mine] = true
        :: late < 1 -> /* it fails */
            atomic { late++; leave(me, true); goto next }
        fi;
        may_die();
#if WRONG == 5
        atomic { is_let_go(mine, PARTIES); goto next }
#elif WRONG == 6 /* it does not look whether that was broken meanwhile */
        atomic { complete(); is_let_go(mine, PARTIES); waits[me] = 0; goto next }
#else
        atomic {
            if
            :: state == ACTING && waits[me] == round ->
                complete();
                is_let_go(mine, PARTIES);
                waits[me] = 0
            :: else -> leave(me, false)
            fi;
            goto next
        }
#endif
#endif
next:
        n++
    :: else -> break
    od;
end:
    n_ended++
}

inline sweep(p) {
    atomic {
        dead[p] && !swept[p] -> swept[p] = true;
        is_lost[waits[p]] = true;
#if WRONG == 3 /* a death does not break it */
        leave(p, false)
#else
        leave(p, waits[p] == round && state <= ACTING)
#endif
    }
}

proctype sweeper() {
end:
    do
    :: sweep(0)
    :: sweep(1)
    :: sweep(2)
    od
}

/* Makes it whole again, at any time; and breaks it when nobody else can come. */
proctype keeper() {
end:
    do
    :: atomic {
        resets < RESETS -> resets++;
        if
#if WRONG == 4 /* it is whole at once, whoever has not left yet */
        :: arrived > 0 || state == BROKEN -> move_on()
#else
        :: arrived > 0 -> state = DRAINING
        :: arrived == 0 && state == BROKEN -> move_on()
#endif
        :: else
        fi
    }
    :: atomic { n_ended == N - 1 && state == FILLING && arrived > 0 -> state = BROKEN }
    od
}

init {
    atomic {
        run process(0);
        run process(1);
        run process(2);
        run sweeper();
        run keeper()
    }
    n_ended == N && swept[0] == dead[0] && swept[1] == dead[1] && swept[2] == dead[2];
    assert(arrived == 0 && (state == FILLING || state == BROKEN))
}
