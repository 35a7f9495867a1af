/*
** board.pml: the protocol by which workers take tasks and leave results, for the checker spin.
**
** Idea: an owner puts tasks into two slots, two workers take them; at most KILLS workers die,
** each between any two of its stores, and another one comes in the same lane. The owner takes
** tasks back that nobody has begun, and kills workers for the sake of a task that is not wanted
** any more. spin looks at every order of all that. ../model_spec.lua runs it, and demands that
** each of the wrong protocols (-DWRONG=n) is found out.
**
** What is abstract. A sleep ends by a wake-up alone, which comes even if it is due between the
** last look and the sleep (wake.pml is about that). So one that is missing is seen; with -DLOOKS
** it ends as well, as it does 20 times a second, when there is a task for the sleeper. A
** compare-and-swap is one step with the load before it, and so is a look at a place of the order
** with one at its slot. A block is made on its lane's list, or freed, in one step, as the arena
** promises; which one it is, slot and lane tell. How many places a worker takes at once is left
** open, and when the owner does what. Several STEPs are in one atomic where nobody else could see
** those before the last, unless their worker dies, which it may before each.
**
** What must hold:
**   - nobody waits for ever (spin: no invalid end state): all tasks are answered in the end
**   - each task is begun once, unless the owner has put it again
**   - each is answered once: as done by who has begun and finished it; as lost, if who has
**     begun it has not finished it; or as taken back, if nobody has begun it
**   - what is given out belongs to the task that the owner has in its ledger for that slot
**   - who is killed for the sake of a task has begun no other one
**   - no block is used that is free, or freed twice; in the end none is in use
*/
#ifndef WRONG
#define WRONG 0
#endif
#ifndef KILLS
#define KILLS 1 /* by anybody, of any worker */
#endif
#ifndef ACTS
#define ACTS 0 /* of the owner's: a task is taken back, or doomed, or its end stays for a while */
#endif
#ifndef AGAIN
#define AGAIN 0 /* lost tasks that are put again, for another worker */
#endif
#ifndef TASKS
#define TASKS 2
#endif
#ifndef ALONE
#define ALONE 0 /* nobody comes in the place of a dead worker while the other one lives */
#endif
#ifndef LATE
#define LATE 0 /* the first task goes on until the others are answered */
#endif
#ifndef LOOKS
#define LOOKS 0
#endif

#define SLOTS 2
#define LANES 2
#define NOBODY LANES
#define NOTHING 255

/* A slot's state: one of these, and STATES times a lane (of READY: one more than who is not to
 * take it, or 0). */
#define FREE 0
#define READY 1
#define RUNNING 2
#define DOOMED 3 /* runs, and is not to end */
#define DONE 4
#define GIVEN 5
#define STATES 8
#define KIND(slot) (state[slot] % STATES)
#define LANE(slot) (state[slot] / STATES)
#define SOME(kind) (KIND(0) == kind || KIND(1) == kind)

/* Slots, and of each lane a block for what comes of the task there. */
byte state[SLOTS];
byte content[SLOTS] = NOTHING; /* a task */
byte out[SLOTS] = NOTHING;     /* a block */
bool used[SLOTS * LANES];
byte result[SLOTS * LANES] = NOTHING; /* of which task */
#define BLOCK(slot, lane) (slot * LANES + lane)

/* The order, from `head` on, and places of it that workers have taken. */
byte order[SLOTS];
byte head;
byte n_lined;
byte place[LANES];
byte n_places[LANES];
bool passed_by[LANES]; /* has moved on since that worker began to look at all slots */

/* Lanes. */
byte ring[LANES * SLOTS];
byte n_ended[LANES];
bool is_closed;
bool asleep[LANES];
bool serves[LANES];
byte n_serving;

/* What the kernel knows. */
bool dead[LANES];
bool left[LANES];
byte unwanted[LANES] = NOTHING; /* the task for which the owner has killed it: it dies soon */

/* The owner's own. */
byte ledger[SLOTS] = NOTHING;
byte taken[LANES];
bool buried[LANES];

/* What nobody but the assertions, and the owner of the tasks, knows. */
byte kills;
byte phase[TASKS];
#define WAITS 0
#define PUT 1
#define BEGUN 2
#define ENDED 3
#define ANSWERED 4

#define IS_LATE(task) (LATE && task == 0 && !(phase[1] == ANSWERED && phase[TASKS - 1] == ANSWERED))

/* --- wake-ups --- */

inline wake_one() {
    if
    :: asleep[0] -> asleep[0] = false
    :: asleep[1] -> asleep[1] = false
    :: else
    fi
}

inline wake_all() {
    asleep[0] = false;
    asleep[1] = false
}

inline pass_by() { passed_by[0] = true; passed_by[1] = true }

/* What nobody will look at again is one and the same, for there to be fewer states. */
inline forget_order() {
    if
    :: n_lined == 0 && n_places[0] == 0 && n_places[1] == 0 ->
        head = 0;
        order[0] = 0;
        order[1] = 0
    :: else
    fi
}

/* --- a worker --- */

/* A step of a worker, which may die in place of it. */
#define MAY_DIE (kills < KILLS || unwanted[me] != NOTHING)
#define STEP(what) atomic { if :: true -> what :: MAY_DIE -> goto death fi }
#define WAIT(condition, what) atomic { if :: condition -> what :: MAY_DIE -> goto death fi }

#define IS_FOR_ME(slot) (KIND(slot) == READY && (LANE(slot) != me + 1 || n_serving < 2))

inline begin() {
    d_step {
        state[i] = RUNNING + STATES * me;
        assert(content[i] != NOTHING && phase[content[i]] == PUT);
        phase[content[i]] = BEGUN
    }
}

/* Begins the task in slot i, if there is one for this worker. */
inline try_to_begin() {
    if
    :: IS_FOR_ME(i) ->
#if WRONG == 1 /* the state is read, and then stored */
        goto seen
#else
        STEP(begin());
        passed_by[me] = true; /* it has not looked at all */
        goto begun
#endif
    :: else
    fi
}

/* The next of the places that it has taken: others are to look for a task that is not for it. */
inline try_next_taken() {
    STEP(d_step {
        i = order[place[me]];
        n_places[me] = n_places[me] - 1;
        place[me] = (n_places[me] == 0 -> 0 : (place[me] + 1) % SLOTS);
        forget_order()
    });
    try_to_begin();
#if AGAIN && WRONG != 11 /* (there it is left alone) */
    if
    :: KIND(i) == READY -> STEP(d_step { pass_by(); wake_all() })
    :: else
    fi;
#endif
    i = 0
}

inline take_places(n) {
    STEP(d_step {
        place[me] = head;
        n_places[me] = n;
        head = (head + n) % SLOTS;
        n_lined = n_lined - n
    })
}

inline make_block() {
    d_step {
        assert(!used[BLOCK(i, me)]);
        used[BLOCK(i, me)] = true;
        result[BLOCK(i, me)] = content[i]
    }
}

inline end_task() {
    d_step {
        state[i] = DONE + STATES * me;
        assert(content[i] != NOTHING && phase[content[i]] == BEGUN);
        phase[content[i]] = ENDED
    }
}

inline ring_in() {
    d_step {
        ring[me * SLOTS + n_ended[me] % SLOTS] = i;
        n_ended[me] = n_ended[me] + 1
    }
}

/* Who finds that its task is doomed ends itself. */
inline finish() {
    atomic {
        WAIT(!IS_LATE(content[i]), skip);
        STEP(make_block());                                     /* F1 */
#if WRONG == 2 /* it is in the ring before it is done */
        STEP(out[i] = BLOCK(i, me));
        STEP(ring_in())
    }
    atomic {
        STEP(end_task());
#elif WRONG == 7 /* it is done before it has its result */
        STEP(end_task())
    }
    atomic {
        STEP(out[i] = BLOCK(i, me));
        STEP(ring_in());
#else
        STEP(out[i] = BLOCK(i, me));                            /* F2 */
        if                                                      /* F3 */
        :: KIND(i) != DOOMED || WRONG == 14 -> end_task()
        :: KIND(i) == DOOMED && WRONG != 14 -> goto death
        :: MAY_DIE -> goto death
        fi;
        STEP(ring_in());                                        /* F4 */
#endif
        i = 0
    }
}

proctype worker(byte me) {
    byte i = 0;
birth:
    passed_by[me] = true;
#if AGAIN
    STEP(serves[me] = true);
#endif
take:
    do
    :: atomic { n_places[me] > 0 -> try_next_taken() }
    :: atomic { n_places[me] == 0 && n_lined > 0 -> take_places(1) }
    :: atomic { n_places[me] == 0 && n_lined > 1 -> take_places(2) }
#if WRONG == 12 /* that it has looked at all is told after it has looked */
    :: atomic { n_places[me] == 0 && n_lined == 0 -> break }
    od;
    atomic { try_to_begin(); i = 1 }
    atomic { try_to_begin(); i = 0 }
    STEP(passed_by[me] = false);
#else
    :: atomic { n_places[me] == 0 && n_lined == 0 && !passed_by[me] -> goto rest }
    :: atomic { n_places[me] == 0 && n_lined == 0 && passed_by[me] -> STEP(passed_by[me] = false); break }
    od;
    atomic { try_to_begin(); i = 1 }
    atomic { try_to_begin(); i = 0 }
#endif
rest:
    do
    :: atomic { is_closed -> goto gone }
    :: atomic { !is_closed && (n_lined > 0 || passed_by[me]) -> goto take }
    :: atomic { !is_closed && n_lined == 0 && !passed_by[me] -> STEP(asleep[me] = true) }
        atomic {
            if
            :: !asleep[me]
#if LOOKS
            :: asleep[me] && (IS_FOR_ME(0) || IS_FOR_ME(1)) -> asleep[me] = false; passed_by[me] = true; goto take
#endif
            :: MAY_DIE -> goto death
            fi
        }
    od;
#if WRONG == 1
seen:
    STEP(begin());
#endif
begun:
    finish();
    goto take;
death:
    atomic {
        dead[me] = true;
        kills = (unwanted[me] != NOTHING || state[i] == DOOMED + STATES * me -> kills : kills + 1);
        asleep[me] = false;
        i = 0;
        place[me] = 0;
        n_places[me] = 0;
        forget_order();
        if
        :: !dead[me] -> goto birth
        :: is_closed && buried[me]
        fi
    }
gone:
    left[me] = true
}

/* --- the owner: puts, and takes back --- */

inline pick(kind) {
    if
    :: KIND(0) == kind -> i = 0
    :: KIND(1) == kind -> i = 1
    fi
}

/* Where the order has no room, all slots are to be looked at. */
inline line_up() {
    atomic {
        if
        :: n_lined < SLOTS -> order[(head + n_lined) % SLOTS] = i; n_lined++
        :: else -> pass_by()
        fi;
        wake_one()
    }
}

/* The next task that waits goes into a slot. */
inline put() {
    d_step {
        n_waiting > 0 && SOME(FREE) ->
        n_waiting--;
        do
        :: phase[t] != WAITS -> t++
        :: else -> break
        od;
        i = (KIND(0) == FREE -> 0 : 1);
        phase[t] = PUT;
        ledger[i] = t;
        content[i] = t;                                         /* P1 */
#if WRONG == 13 /* it is told of before it is ready */
        t = 0
    }
    line_up();
    d_step {
        state[i] = READY + STATES * excluded[ledger[i]];
        i = 0
    }
#else
        state[i] = READY + STATES * excluded[t];                /* P2 */
        t = 0
    }
    line_up();                                                  /* P3 */
    i = 0
#endif
}

inline answer() {
    phase[ledger[i]] = ANSWERED;
    n_answered++
}

/* The slot is the owner's alone by now. */
inline clear() {
    content[i] = NOTHING;
    ledger[i] = NOTHING;
    out[i] = NOTHING;
    state[i] = FREE;
    i = 0
}

inline retract() {
    atomic {
        n_acts < ACTS && SOME(READY) -> n_acts++; pick(READY);
#if WRONG == 5 /* by a store */
        skip
    }
    atomic {
#endif
        assert(phase[ledger[i]] == PUT);
        if
        :: phase[ledger[i]] = WAITS; n_waiting++
        :: answer()
        fi;
        clear()
    }
}

/* The task is not wanted any more: once its slot says so, its worker does nothing else. */
inline doom() {
    atomic {
        n_acts < ACTS && SOME(RUNNING) -> n_acts++; pick(RUNNING);
        t = ledger[i];
        w = LANE(i);
#if WRONG != 10 /* (there it is only killed) */
        state[i] = DOOMED + STATES * w;
#endif
        i = 0
    }
    d_step {
        if
        :: !dead[w] -> unwanted[w] = t
        :: else
        fi;
        w = 0;
        t = 0
    }
}

/* --- the owner: ends, and the dead --- */

inline free_block(b) {
    assert(used[b]);
    used[b] = false;
    result[b] = NOTHING
}

inline release() {
    if
    :: out[i] != NOTHING -> free_block(out[i])
    :: else
    fi;
    clear()
}

/* What came of the task in slot i, which the lane's worker has begun. */
inline give_out(lane) {
    assert(ledger[i] != NOTHING);
    if
    :: KIND(i) == DONE && !(WRONG == 15 && burial == lane) ->
        assert(phase[ledger[i]] == ENDED);
        assert(out[i] != NOTHING && used[out[i]] && result[out[i]] == ledger[i]);
        answer()
    :: else ->
        assert(phase[ledger[i]] == BEGUN);
        assert(unwanted[lane] == NOTHING || unwanted[lane] == ledger[i]);
        out[i] = NOTHING;
#if AGAIN
        if
        :: n_again < AGAIN ->
            n_again++;
            phase[ledger[i]] = WAITS;
            excluded[ledger[i]] = lane + 1;
            n_waiting++
        :: else -> answer()
        fi
#else
        answer()
#endif
    fi;
    state[i] = GIVEN + STATES * lane
}

/* It is released at once, or later. */
inline take_in() {
    if
    :: n_acts < ACTS -> n_acts++; i = 0
    :: d_step { true -> release() }
    fi
}

inline next_of_lane(lane) {
    d_step {
        i = ring[lane * SLOTS + taken[lane] % SLOTS];
        ring[lane * SLOTS + taken[lane] % SLOTS] = 0;
        taken[lane] = taken[lane] + 1;
        if
        :: taken[lane] == n_ended[lane] -> taken[lane] = 0; n_ended[lane] = 0
        :: else
        fi
    }
    d_step { assert(state[i] == DONE + STATES * lane); give_out(lane) }
    take_in()
}

/* The worker is dead. */
inline bury(lane) {
    d_step {
        burial == NOBODY && dead[lane] && !buried[lane] ->
        burial = lane;
        serves[lane] = false;
        n_serving = serves[0] + serves[1];
#if WRONG != 6 /* (there nobody looks for what it had taken and not begun) */
        pass_by();
        wake_all()
#endif
    }
}

#define IS_NAMED(slot, lane) (KIND(slot) == GIVEN && out[slot] == BLOCK(slot, lane))

/* What no slot names is nobody's. */
inline free_rest(lane) {
    do
    :: i < SLOTS ->
        if
        :: used[BLOCK(i, lane)] && (!IS_NAMED(i, lane) || WRONG == 8) ->
            free_block(BLOCK(i, lane))
        :: else
        fi;
        i++
    :: else -> break
    od;
    i = 0
}

#define WAS_OF(slot, lane) (KIND(slot) >= RUNNING && KIND(slot) <= DONE && LANE(slot) == lane)
#define HAS_BEGUN(lane) ((WAS_OF(0, lane) || WAS_OF(1, lane)) && WRONG != 4)

/* First what is in its ring, then what its slots say. */
inline next_of_dead(lane) {
    if
    :: taken[lane] != n_ended[lane] && WRONG != 3 -> next_of_lane(lane)
    :: (taken[lane] == n_ended[lane] || WRONG == 3) && HAS_BEGUN(lane) ->
        d_step { i = (WAS_OF(0, lane) -> 0 : 1); give_out(lane) }
        take_in()
    :: else ->
        d_step { free_rest(lane); buried[lane] = true; burial = NOBODY }
    fi
}

/* How many there are says whether a task may be left to another one. */
inline count_serving() {
    d_step {
        n_serving != serves[0] + serves[1] -> n_serving = serves[0] + serves[1];
        pass_by();
        wake_all()
    }
}

/* Another worker may come. */
inline open(lane) {
    d_step {
#if WRONG == 9 /* before the dead one is buried */
        !is_closed && dead[lane] && burial == lane ->
#else
        !is_closed && dead[lane] && buried[lane] && (!ALONE || dead[1 - lane]) ->
#endif
        taken[lane] = 0;
        n_ended[lane] = 0;
        buried[lane] = false;
        unwanted[lane] = NOTHING;
        dead[lane] = false
    }
}

inline close() {
    d_step { n_answered == TASKS && !is_closed -> is_closed = true; wake_all() }
}

proctype owner() {
    byte i, t, w;
    byte burial = NOBODY; /* the lane */
    byte n_waiting = TASKS;
    byte n_answered, n_acts, n_again;
    byte excluded[TASKS]; /* lane + 1 of who is not to take it, or 0 */
    do
    :: put()
    :: atomic { burial == NOBODY && taken[0] != n_ended[0] -> next_of_lane(0) }
    :: atomic { burial == NOBODY && taken[1] != n_ended[1] -> next_of_lane(1) }
    :: atomic { SOME(GIVEN) -> pick(GIVEN); d_step { release() } }
    :: retract()
    :: doom()
    :: n_acts < ACTS -> n_acts = ACTS
    :: bury(0)
    :: bury(1)
    :: atomic { burial == 0 -> next_of_dead(0) }
    :: atomic { burial == 1 -> next_of_dead(1) }
    :: open(0)
    :: open(1)
#if AGAIN
    :: count_serving()
#endif
    :: close()
    :: left[0] && left[1] && burial == NOBODY && !SOME(GIVEN) -> break
    od;
    assert(!used[0] && !used[1] && !used[2] && !used[3] && n_waiting == 0)
}

init {
    atomic {
        run worker(0);
        run worker(1);
        run owner()
    }
}
