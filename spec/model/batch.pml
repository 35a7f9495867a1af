/*
** batch.pml: the protocol of a batch of tasks (src/engine/batch.h): a worker begins its items one by
** one, the owner takes the later half of what was not begun away, and the worker may die at any step.
**
** One batch of ITEMS items, the worker that has begun it, the owner, and another worker who does what
** the owner has taken back, by the owner's word. `claims` is one word of two numbers.
**
** Holds: no item is begun twice, each has been answered once, or was lost with who had begun it; no
** result is counted before it is there.
**
**   spin -run -DWRONG=N batch.pml    with one of the faults that must be found
*/
#ifndef WRONG
#define WRONG 0
#endif
#define ITEMS 4

byte next, end = ITEMS; /* claims */
byte n_done;            /* results that count */
bool result[ITEMS];     /* is written */
byte begun[ITEMS];      /* how often */
byte answered[ITEMS];   /* how often, as the owner sees it */
bool is_dead, has_ended;
byte kills = 1;

#define DIES (kills > 0)

proctype worker() {
    byte k, e;
    do
    ::
#if WRONG == 1 /* the end is read before the claim is made */
        atomic { e = end }
        atomic { k = next; next++ }
#else
        atomic { k = next; e = end; next++ }                    /* K1 */
#endif
        if
        :: k >= e -> break
        :: else
        fi;
        begun[k]++;
        assert(begun[k] == 1);
        if
        :: DIES -> kills--; goto death
        :: true
        fi;
#if WRONG == 2 /* it counts before it is written */
        n_done = k + 1;
        if
        :: DIES -> kills--; goto death
        :: true
        fi;
        result[k] = true;
#else
        result[k] = true;                                       /* K2 */
        if
        :: DIES -> kills--; goto death
        :: true
        fi;
        n_done = k + 1;                                         /* K3 */
#endif
        if
        :: DIES -> kills--; goto death
        :: true -> break /* it is to be replaced, or an item has failed */
        :: true
        fi
    od;
    has_ended = true;
    goto gone;
death:
    is_dead = true;
gone:
    skip
}

/* Others do that item. */
inline do_elsewhere(i) {
    begun[i]++;
    assert(begun[i] == 1);
    answered[i]++
}

proctype owner() {
    byte n, e, first, i, last;
    byte splits = 2;
    do
    :: splits > 0 && !is_dead && !has_ended ->
        splits--;
        atomic { n = next; e = end }
        if
        :: n < e ->
            first = n + (e - n) / 2;
#if WRONG == 3 /* the end is stored, whatever has been begun since */
            end = first;
#else
            atomic {
                if
                :: next == n && end == e -> end = first
                :: else -> first = e /* another time */
                fi
            }
#endif
            i = first;
            do
            :: i < e -> do_elsewhere(i); i++
            :: else -> break
            od
        :: else
        fi
    :: is_dead || has_ended -> break
    od;
    /* Reads it: who died had begun one more than it had done, perhaps. */
    i = 0;
    do
    :: i < n_done -> assert(result[i]); answered[i]++; i++
    :: else -> break
    od;
    last = (next < end -> next : end);
    if
    :: has_ended -> last = n_done
    :: is_dead && last > n_done ->
        answered[n_done]++; /* as lost */
        i = n_done + 1
#if WRONG == 4 /* what the dead one had begun is put again */
        ; answered[n_done]--; i = n_done
#endif
    :: else
    fi;
    do
    :: i < end -> do_elsewhere(i); i++
    :: else -> break
    od;
    i = 0;
    do
    :: i < ITEMS -> assert(answered[i] == 1); i++
    :: else -> break
    od
}

init {
    atomic { run worker(); run owner() }
}
