/*
** rwlock.pml: the protocol of a rwlock (src/engine/rwlock.h), for the model checker spin.
**
** Idea: two processes read and two write, once each; one of them may give up its place in line, and
** at most KILLS die, between any two changes. Whoever is dead is swept at any later time.
**
** What is abstract. A change is one step, as change.pml shows that it may be, and a wait one for
** its condition. A line is the numbers of who stands in it.
**
** What must hold:
**   - nobody waits for ever (spin: no invalid end state)
**   - who writes is alone
**   - nobody is passed by in line by one who came later and keeps it out
**   - the death of a writer is told to one who lives to know it, and to one only
*/
#ifndef WRONG
#define WRONG 0
#endif
#ifndef KILLS
#define KILLS 1
#endif

#define N 4
#define WRITES(p) (p >= 2)

byte writer;  /* 0: none; else the process + 1 */
byte readers; /* shares */
byte number;
bool abandoned;
byte waits[N]; /* its number in line, or 0 */
bool has[N];
bool told[N];

byte kills;
bool dead[N];
bool swept[N];
byte n_ended;
bool given_up; /* one has: by a time limit */
bool news; /* a writer has died, and nobody who lives has been told */

#define IN_LINE_BEFORE(q, n) (waits[q] != 0 && (n == 0 || waits[q] < n))
#define WRITER_BEFORE(n) (IN_LINE_BEFORE(2, n) || IN_LINE_BEFORE(3, n))
#define READER_BEFORE(n) (IN_LINE_BEFORE(0, n) || IN_LINE_BEFORE(1, n))

#if WRONG == 1 /* readers do not look who waits */
#define MAY_READ(n) (writer == 0)
#else
#define MAY_READ(n) (writer == 0 && !WRITER_BEFORE(n))
#endif
#if WRONG == 2 /* writers do not look for readers that wait */
#define MAY_WRITE(n) (writer == 0 && readers == 0 && !WRITER_BEFORE(n))
#else
#define MAY_WRITE(n) (writer == 0 && readers == 0 && !WRITER_BEFORE(n) && !READER_BEFORE(n))
#endif
#define MAY(p) ((WRITES(p) && MAY_WRITE(waits[p])) || (!WRITES(p) && MAY_READ(waits[p])))

inline may_die() {
    if
    :: kills < KILLS -> atomic { kills++; dead[me] = true; goto end }
    :: true
    fi
}

/* In one change: a share, out of the line, and the word of a death. */
inline take() {
    assert(writer == 0 && (!WRITES(me) || readers == 0));
    assert(!WRITER_BEFORE(waits[me]) && (!WRITES(me) || !READER_BEFORE(waits[me])));
    if
    :: WRITES(me) -> writer = me + 1
    :: else -> readers++
    fi;
    has[me] = true;
    waits[me] = 0;
    told[me] = abandoned;
    abandoned = false
}

inline give() {
    if
    :: WRITES(me) -> writer = 0
    :: else -> readers--
    fi;
    has[me] = false;
    told[me] = false
}

proctype process(byte me) {
    may_die();
    atomic { /* the first try */
        if
        :: MAY(me) -> take(); goto got
        :: else -> number++; waits[me] = number
        fi
    }
    may_die();
    if
    :: atomic { MAY(me) -> take() }
    :: atomic { !given_up -> given_up = true; waits[me] = 0; goto end }
    fi;
got:
    may_die();
    atomic { /* it knows */
        assert(news == told[me] || !told[me]);
        if
        :: told[me] -> news = false
        :: else
        fi
    }
#if WRONG == 6 /* the share is counted back, and then noted */
    atomic {
        if
        :: WRITES(me) -> writer = 0
        :: else -> readers--
        fi
    }
    may_die();
    atomic { has[me] = false; told[me] = false }
#else
    atomic { give() }
#endif
    may_die();
end:
    n_ended++
}

/* What a dead one had, in one change. */
inline sweep(p) {
    atomic {
        dead[p] && !swept[p] -> swept[p] = true;
        if
        :: has[p] && WRITES(p) ->
            news = true;
#if WRONG != 3 /* (there the name of a dead writer stays) */
            writer = 0;
#endif
#if WRONG != 7 /* (there nobody is told) */
            abandoned = true
#endif
        :: has[p] && !WRITES(p) ->
#if WRONG != 4 /* (there the share of a dead reader stays) */
            readers--
#endif
        :: else
        fi;
#if WRONG != 8 /* (there who was told, and died, was told for good) */
        abandoned = abandoned || told[p];
#endif
#if WRONG != 5 /* (there the dead keep their place) */
        waits[p] = 0;
#endif
        has[p] = false;
        told[p] = false
    }
}

proctype sweeper() {
end:
    do
    :: sweep(0)
    :: sweep(1)
    :: sweep(2)
    :: sweep(3)
    od
}

init {
    atomic {
        run process(0);
        run process(1);
        run process(2);
        run process(3);
        run sweeper()
    }
    n_ended == N && swept[0] == dead[0] && swept[1] == dead[1] && swept[2] == dead[2] &&
        swept[3] == dead[3];
    assert(writer == 0 && readers == 0 && !news == !abandoned)
}
