/*
** name.h: names of processes, for what lies in shared memory.
**
** A name is a word that one store writes: the record of the process, and the serial number that
** tells it from others that had the record before. So it is never another process's, whatever
** pids and records are used again; and who reads it sees whether its process is dead.
*/
#ifndef MP_ENGINE_NAME_H
#define MP_ENGINE_NAME_H

#include <linux/futex.h>

#include "engine/family.h"
#include "engine/page.h"

typedef uint64_t mp_name; /* serial << 32 | record + 1; 0: nobody's */

static inline mp_name mp_name_of(uint32_t member) {
    return (mp_name)mp_page->members[member].serial << 32 | (member + 1);
}

static inline mp_name mp_name_own(void) {
    return mp_name_of(mp_page_self);
}

/* The record; its process may be another one's by now. */
static inline uint32_t mp_name_member(mp_name name) {
    return (uint32_t)name - 1;
}

/* Whether its process is dead: what it wrote its name at is nobody's. */
static inline int mp_name_is_gone(mp_name name) {
    return mp_name_of(mp_name_member(name)) != name || !mp_family_alive(mp_name_member(name));
}

/*
** The same by loads alone, so that a signal handler may ask: the kernel has marked the life word,
** or somebody has seen that already. Who looks just then may see it at the next look only.
*/
static inline int mp_name_has_died(mp_name name) {
    member_shared *m = &mp_page->members[mp_name_member(name)];
    const uint32_t state = atomic_load_explicit(&m->state, memory_order_acquire);
    const int word = *(volatile int *)&m->life.__data.__lock;
    return mp_name_of(mp_name_member(name)) != name || state == DEAD || state == FREE ||
           (state == ALIVE && (word & FUTEX_OWNER_DIED) != 0);
}

#endif
