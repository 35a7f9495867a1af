/*
** gate.c: waiting that adapts to where the other side runs; gate.h has the rules.
*/
#include "engine/gate.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>

enum {
    LOOKS = 64,      /* between two readings of the clock */
    LONGEST = 50000, /* ns of looking again: about what a wake-up across CPUs costs */
    SHORTEST = 1000,
};

/* How long it is worth looking again; halved when it was in vain. */
static MP_OWN mp_time patience = LONGEST;

void (*mp_gate_look)(void);

void mp_gate_pass(mp_gate *mine) {
    const int cpu = sched_getcpu();
    if (atomic_load_explicit(&mine->cpu, memory_order_relaxed) != cpu)
        atomic_store_explicit(&mine->cpu, cpu, memory_order_relaxed);
}

static int is_elsewhere(const mp_gate *theirs) {
    return theirs != NULL &&
           atomic_load_explicit(&theirs->cpu, memory_order_relaxed) != sched_getcpu();
}

/* Looks again while the others run on another CPU and there is hope. */
int mp_gate_look_again(const mp_gate *theirs, int (*is_ready)(const void *), const void *arg) {
    const mp_time start = mp_sys_now();
    for (mp_time now = start; now - start < patience && is_elsewhere(theirs); now = mp_sys_now())
        for (int i = 0; i < LOOKS; i++) {
            if (is_ready(arg)) {
                patience = patience * 2 < LONGEST ? patience * 2 : LONGEST;
                return 1;
            }
            mp_sys_relax();
        }
    patience = patience / 2 > SHORTEST ? patience / 2 : SHORTEST;
    return 0;
}

static int has_signal(void) {
    return mp_sys_interrupt_pending() != 0 || mp_sys_signal_pending();
}

/* One sleep, of a look at most. */
static int sleep_once(mp_gate *mine, int (*is_ready)(const void *), const void *arg,
                      mp_time deadline) {
    const uint32_t seq = atomic_load_explicit(&mine->seq, memory_order_acquire);
    atomic_fetch_add_explicit(&mine->announced, 1, memory_order_seq_cst); /* G1 */
    atomic_thread_fence(memory_order_seq_cst);
    if (is_ready(arg))
        return 0;
    const mp_time now = mp_sys_now(), end = deadline - now < MP_LOOK ? deadline : now + MP_LOOK;
    if (now >= deadline)
        return -ETIMEDOUT;
    if (has_signal())
        return -EINTR;
    int rc = mp_sys_futex_wait(&mine->seq, seq, end);
    if (is_ready(arg))
        return 0;
    return rc == 0 ? -EAGAIN : rc;
}

int mp_gate_wait(mp_gate *mine, const mp_gate *theirs, int (*is_ready)(const void *),
                 const void *arg, mp_time deadline) {
    if (is_ready(arg) || (deadline > MP_NOWAIT && mp_gate_look_again(theirs, is_ready, arg)))
        return 0;
    return mp_gate_sleep(mine, is_ready, arg, deadline);
}

int mp_gate_sleep(mp_gate *mine, int (*is_ready)(const void *), const void *arg, mp_time deadline) {
    const mp_time start = deadline > MP_NOWAIT ? mp_sys_now() : 0;
    int rc = -EAGAIN;
    while (rc == -EAGAIN)
        rc = sleep_once(mine, is_ready, arg, deadline);
    if (rc == 0 && start > 0 && mp_sys_now() - start < LONGEST)
        patience = LONGEST; /* it came so soon that it would have been worth it */
    if (rc == -ETIMEDOUT && deadline > MP_NOWAIT && mp_gate_look != NULL)
        mp_gate_look();
    return rc == -EINTR && !has_signal() ? -ETIMEDOUT : rc;
}

int mp_gate_has_sleepers(const mp_gate *gate) {
    atomic_thread_fence(memory_order_seq_cst); /* G2 */
    return atomic_load_explicit(&gate->announced, memory_order_relaxed) !=
           atomic_load_explicit(&gate->cleared, memory_order_relaxed);
}

void mp_gate_open(mp_gate *gate, int n) {
    if (!mp_gate_has_sleepers(gate))
        return;
    const uint32_t announced = atomic_load_explicit(&gate->announced, memory_order_relaxed);
    atomic_fetch_add_explicit(&gate->seq, 1, memory_order_release);
    if (mp_sys_futex_wake(&gate->seq, n) == 0)
        atomic_store_explicit(&gate->cleared, announced, memory_order_relaxed);
}
