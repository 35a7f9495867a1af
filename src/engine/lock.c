/*
** lock.c: robust locks; promises in lock.h.
**
** A blocked pthread_mutex_lock would swallow signals (measured: five of Ctrl-C, until
** its holder let go), so a wait is cut into slices.
*/
#include "engine/lock.h"

#include <errno.h>
#include <time.h>

enum { SPINS = 100 }; /* a holder on another CPU needs less time than a sleep */

void mp_lock_init_mutex(pthread_mutex_t *mutex) {
    pthread_mutexattr_t attr;
    pthread_mutexattr_init(&attr);
    pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
    if (pthread_mutex_init(mutex, &attr) != 0)
        mp_panic("a robust lock cannot be made");
    pthread_mutexattr_destroy(&attr);
}

void mp_lock_init(mp_lock *lock) {
    mp_lock_init_mutex(&lock->mutex);
    lock->holder = UINT32_MAX;
}

static int spin(pthread_mutex_t *mutex) {
    int rc = EBUSY;
    for (int i = 0; i < SPINS && rc == EBUSY; i++) {
        mp_sys_relax();
        rc = pthread_mutex_trylock(mutex);
    }
    return rc;
}

/* Waits for it until the deadline, in slices after each of which signals are looked for. */
static int wait_for(pthread_mutex_t *mutex, mp_time deadline, int may_end) {
    int rc = ETIMEDOUT;
    while (rc == ETIMEDOUT) {
        mp_time now = mp_sys_now();
        if (may_end && (mp_sys_interrupt_pending() != 0 || mp_sys_signal_pending()))
            return EINTR;
        if (now >= deadline)
            return ETIMEDOUT;
        mp_time end = deadline - now < MP_LOOK ? deadline : now + MP_LOOK;
        struct timespec at = {.tv_sec = end / MP_SECOND, .tv_nsec = end % MP_SECOND};
        rc = pthread_mutex_clocklock(mutex, CLOCK_MONOTONIC, &at);
    }
    return rc;
}

int mp_lock_take(mp_lock *lock, uint32_t self, mp_time deadline, int may_end, uint32_t *dead) {
    int rc = pthread_mutex_trylock(&lock->mutex);
    if (rc == EBUSY)
        rc = spin(&lock->mutex);
    if (rc == EBUSY)
        rc = wait_for(&lock->mutex, deadline, may_end);
    if (rc != 0 && rc != EOWNERDEAD) {
        if (rc != ETIMEDOUT && rc != EINTR)
            mp_panic("a shared lock cannot be taken");
        return -rc;
    }
    *dead = lock->holder;
    if (rc == 0)
        lock->holder = self;
    return rc == EOWNERDEAD;
}

/* The holder first: who dies between has nothing to mend. */
void mp_lock_mended(mp_lock *lock, uint32_t self) {
    lock->holder = self;
    atomic_signal_fence(memory_order_seq_cst);
    pthread_mutex_consistent(&lock->mutex);
}

void mp_lock_give(mp_lock *lock) {
    lock->holder = UINT32_MAX;
    atomic_signal_fence(memory_order_seq_cst);
    pthread_mutex_unlock(&lock->mutex);
}
