/*
** change.pml: words that change as one (src/engine/change.h), for the model checker spin.
**
** Idea: three processes take the lock one after the other, and each changes three words, to what
** the last one left and one more; at most KILLS die, between any two stores. The lock is robust:
** who takes it after a death is told so, and mends first.
**
** What must hold: in the lock, after mending, the words are equal, and as many changes were made as
** became valid.
*/
#ifndef WRONG
#define WRONG 0
#endif
#ifndef KILLS
#define KILLS 2
#endif

#define N 3
#define NOBODY 9

byte words[3];
byte noted[3];
bool is_valid;
byte owner = NOBODY;
bool owner_died;

byte kills;
byte n_made;
byte n_ended;

inline may_die() {
    if
    :: kills < KILLS -> atomic { kills++; owner_died = (owner == me); n_ended++; goto dead }
    :: true
    fi
}

inline store() {
    if
    :: is_valid ->
#if WRONG == 1 /* it is no longer valid before all is stored */
        is_valid = false;
        may_die();
#endif
#if WRONG == 4 /* what is noted is a difference */
        words[0]++;
#else
        words[0] = noted[0];
#endif
        may_die();
        words[1] = noted[1];
        may_die();
        words[2] = noted[2];
        may_die();
        is_valid = false
    :: else
    fi
}

inline change() {
    atomic { noted[0] = words[0] + 1; noted[1] = words[1] + 1 }
    may_die();
#if WRONG == 2 /* it is said to be valid before all is noted */
    atomic { is_valid = true; n_made++ }
    may_die();
    noted[2] = words[2] + 1;
#else
    noted[2] = words[2] + 1;
    may_die();
    atomic { is_valid = true; n_made++ }
    may_die();
#endif
    store();
    may_die()
}

proctype process(byte me) {
    bool is_after = false;
    atomic { owner == NOBODY || owner_died -> is_after = owner_died; owner = me; owner_died = false }
    may_die();
#if WRONG != 3 /* (there nobody mends) */
    if
    :: is_after -> store()
    :: else
    fi;
#endif
    assert(words[0] == words[1] && words[1] == words[2] && words[0] == n_made);
    change();
    assert(words[0] == words[1] && words[1] == words[2] && words[0] == n_made);
    owner = NOBODY;
    n_ended++;
dead:
    skip
}

init {
    atomic {
        run process(0);
        run process(1);
        run process(2)
    }
    n_ended == N
}
