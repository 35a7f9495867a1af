/*
** event.c: flags that processes wait for; event.h has the rules.
*/
#include "engine/event.h"

#include <limits.h>

#include "engine/deadlock.h"
#include "engine/gate.h"
#include "engine/watch.h"

enum { SET = 1, ONCE = 2 }; /* in the word: the flag, and one of the times that it was set */

typedef struct event_shared {
    _Atomic uint32_t word;
    mp_gate gate;
    mp_watch watch;
} event_shared;

static event_shared *event_of(mp_ref event) {
    return mp_arena_bytes(event);
}

static uint32_t word_of(const event_shared *e) {
    return atomic_load_explicit(&e->word, memory_order_acquire);
}

int mp_event_is_set(mp_ref event) {
    mp_watch_look(&event_of(event)->watch);
    return (word_of(event_of(event)) & SET) != 0;
}

void mp_event_set(mp_ref event) {
    event_shared *e = event_of(event);
    uint32_t word = word_of(e);
    while ((word & SET) == 0 &&
           !atomic_compare_exchange_weak_explicit(&e->word, &word, (word + ONCE) | SET,
                                                  memory_order_acq_rel, memory_order_acquire))
        ;
    if ((word & SET) != 0)
        return;
    mp_fault("event.set.E1");
    mp_deadlock_acts(); /* by a finalizer, for example, while the process waits */
    mp_gate_pass(&e->gate);
    mp_gate_open(&e->gate, INT_MAX);
    mp_watch_tell(&e->watch);
}

void mp_event_clear(mp_ref event) {
    atomic_fetch_and_explicit(&event_of(event)->word, ~(uint32_t)SET, memory_order_acq_rel);
    mp_watch_look(&event_of(event)->watch);
}

/* --- waiting -------------------------------------------------------------- */

/* Of how often it was set, what an int has room for besides the verb. */
enum { COUNTED = INT_MAX / MP_AWAIT_MORE };

static int since(uint32_t word) {
    return MP_AWAIT + (int)(word / ONCE % COUNTED + 1) * MP_AWAIT_MORE;
}

int mp_event_begin(mp_ref event) {
    return since(word_of(event_of(event)));
}

static int is_ready(mp_ref event, int what) {
    const uint32_t word = word_of(event_of(event));
    return (word & SET) != 0 || (what >= MP_AWAIT_MORE && since(word) != what);
}

typedef struct question {
    mp_ref event;
    int what;
} question;

static int ask(const void *arg) {
    const question *q = arg;
    return is_ready(q->event, q->what);
}

int mp_event_wait(mp_ref event, int what, mp_time deadline) {
    event_shared *e = event_of(event);
    const question q = {event, what};
    const mp_await await = {.mine = &e->gate,
                            .theirs = &e->gate,
                            .is_ready = ask,
                            .arg = &q,
                            .what = what,
                            .object = event};
    const int rc = mp_deadlock_wait(&await, deadline);
    mp_watch_look(&e->watch);
    return rc;
}

/* --- the kind ------------------------------------------------------------- */

int mp_event_make(mp_ref *event, mp_ref *hold) {
    int rc = mp_arena_make(sizeof(event_shared), MP_KIND_EVENT, event, hold);
    if (rc == 0)
        event_of(*event)->gate.cpu = -1;
    return rc;
}

static int is_set(const void *event) {
    return (word_of(event) & SET) != 0;
}

static int watch(mp_ref event, int what) {
    (void)what;
    return mp_watch_fd(&event_of(event)->watch, is_set, event_of(event));
}

static void unwatch(mp_ref event, int verb) {
    if (verb == MP_AWAIT)
        mp_watch_close(&event_of(event)->watch);
}

static const mp_kind_class class = {.is_ready = is_ready, .watch = watch, .unwatch = unwatch};

__attribute__((constructor)) static void open_class(void) {
    mp_arena_classes[MP_KIND_EVENT] = &class;
}
