/*
** hold.c: who holds the objects of the arena, and what becomes of what the dead had. The
** rules and the steps stand in arena.h.
*/
#include "engine/arena.h"

#include <linux/futex.h>
#include <stddef.h>

#include "engine/family.h"
#include "engine/guard.h"

const mp_kind_class *mp_arena_classes[MP_KINDS];

/* --- objects -------------------------------------------------------------- */

static void change_hold(mp_ref hold, mp_ref object, mp_ref tied, uint32_t count) {
    mp_intent *i = &mp_guard_arena()->intent;
    i->object = object;
    i->tied = tied;
    i->count = count;
    mp_guard_intend(MP_HOLDING, hold, &mp_guard_arena()->limbo);
    mp_fault("arena.hold.H1");
    ((mp_hold *)mp_arena_bytes(hold))->object = tied;
    mp_fault("arena.hold.H2");
    mp_guard_finish_hold(i);
    mp_fault("arena.hold.H3");
    mp_guard_done();
}

int mp_arena_hold(mp_list *list, mp_ref object, mp_ref *hold) {
    int rc = mp_arena_alloc(sizeof(mp_hold), MP_KIND_HOLD, list, hold);
    if (rc < 0)
        return rc;
    mp_arena_tie(*hold, object);
    return 0;
}

int mp_arena_make(size_t size, enum mp_kind kind, mp_ref *object, mp_ref *hold) {
    int rc = mp_arena_open();
    if (rc == 0)
        rc = mp_arena_alloc(size, kind, mp_arena_hands(), object);
    if (rc < 0)
        return rc;
    rc = mp_arena_hold(mp_arena_holds(), *object, hold);
    if (rc < 0)
        mp_arena_free(mp_arena_hands(), *object);
    else
        mp_arena_unlink(mp_arena_hands(), *object);
    return rc;
}

void mp_arena_tie(mp_ref hold, mp_ref object) {
    mp_guard_lock();
    change_hold(hold, object, object, mp_arena_n_holds(object) + 1);
    mp_guard_unlock();
}

uint32_t mp_arena_n_holds(mp_ref object) {
    return atomic_load_explicit(&mp_arena_block(object)->n_holds, memory_order_acquire);
}

static MP_OWN uint32_t swept = MP_NOBODY; /* the dead one that is being swept */

/*
** Whether a living process may have inherited a handle of an object that has no hold, and not
** used it yet; also this one, if it is not the one that has just let its own handle go.
*/
static int may_be_inherited(const mp_block *object, uint32_t leaver) {
    for (uint32_t i = 0; i < mp_page->high; i++) {
        const member_shared *m = &mp_page->members[i];
        if (i != leaver && i != swept && m->born > object->made && m->eldest <= object->unheld)
            return 1;
    }
    return 0;
}

/* From limbo to the hands, if nobody can have it. In guard. */
static void take_if_over(mp_ref object, uint32_t leaver) {
    mp_block *b = mp_arena_block(object);
    if (mp_arena_n_holds(object) > 0 || may_be_inherited(b, leaver))
        return;
    mp_guard_intend(MP_MOVING, object, &mp_guard_me()->hands);
    mp_fault("arena.move.M1");
    mp_guard_unlink(&mp_guard_arena()->limbo, object);
    mp_fault("arena.move.M2");
    mp_guard_push(&mp_guard_me()->hands, object);
    mp_fault("arena.move.M3");
    mp_guard_done();
}

static void end_ended(void);

/* An object without a hold: in limbo, or in the hands of this process, which ends it later. */
static void tell_unheld(mp_ref object) {
    const mp_kind_class *class = mp_arena_classes[mp_arena_block(object)->kind];
    if (class != NULL && class->unheld != NULL)
        class->unheld(object);
}

/* The hold goes; it was the leaver's handle, or nobody's. */
static void drop(mp_list *list, mp_ref hold, uint32_t leaver) {
    const mp_ref object = ((mp_hold *)mp_arena_bytes(hold))->object;
    if (object != 0) {
        mp_guard_lock();
        change_hold(hold, object, 0, mp_arena_n_holds(object) - 1);
        const int is_unheld = mp_arena_n_holds(object) == 0;
        if (is_unheld) /* in guard: nobody ends it meanwhile, and to wake waits for nothing */
            tell_unheld(object);
        take_if_over(object, leaver);
        mp_guard_unlock();
    }
    mp_arena_free(list, hold);
    end_ended();
}

void mp_arena_drop(mp_list *list, mp_ref hold) {
    drop(list, hold, MP_NOBODY);
}

static void leave(uint32_t member, mp_list *holds, mp_ref hold) {
    const mp_ref object = ((mp_hold *)mp_arena_bytes(hold))->object;
    const mp_kind_class *class =
        object == 0 ? NULL : mp_arena_classes[mp_arena_block(object)->kind];
    if (class != NULL && class->abandon != NULL)
        class->abandon(member, hold);
    drop(holds, hold, member);
}

void mp_arena_leave(mp_ref hold) {
    leave(mp_page_self, mp_arena_holds(), hold);
}

mp_ref mp_arena_claim(const mp_list *list, mp_ref object) {
    for (mp_ref i = mp_guard_first(list); i != 0; i = mp_arena_next(i)) {
        mp_hold *hold = mp_arena_bytes(i);
        if (hold->object == object && !hold->is_claimed) {
            hold->is_claimed = 1;
            return i;
        }
    }
    return 0;
}

mp_ref mp_arena_own(mp_ref object) {
    mp_ref any = 0;
    for (mp_ref i = mp_guard_first(mp_arena_holds()); i != 0; i = mp_arena_next(i)) {
        const mp_hold *hold = mp_arena_bytes(i);
        if (hold->object == object && (hold->has != 0 || hold->waits != 0))
            return i;
        if (hold->object == object)
            any = i;
    }
    return any;
}

mp_ref mp_arena_holds_also(mp_ref hold) {
    const mp_ref object = ((mp_hold *)mp_arena_bytes(hold))->object;
    for (mp_ref i = mp_guard_first(mp_arena_holds()); i != 0; i = mp_arena_next(i)) {
        const mp_hold *other = mp_arena_bytes(i);
        if (i != hold && other->object == object && other->is_claimed == MP_CLAIMED)
            return i;
    }
    return 0;
}

int mp_arena_is(mp_ref object, enum mp_kind kind) {
    return mp_guard_is_open() && mp_spans_is_block(&mp_guard_arena()->spans, object) &&
           mp_arena_block(object)->kind == kind;
}

static void end_object(mp_list *list, mp_ref block) {
    const mp_kind_class *class = mp_arena_classes[mp_arena_block(block)->kind];
    if (class != NULL && class->end != NULL)
        class->end(block);
    mp_arena_free(list, block);
}

/* The first object in hand that nobody holds any more, or 0. */
static mp_ref find_ended(void) {
    for (mp_ref i = mp_guard_first(&mp_guard_me()->hands); i != 0;
         i = mp_guard_first(&mp_arena_block(i)->next))
        if (mp_guard_is_object(mp_arena_block(i)) && mp_arena_block(i)->is_over)
            return i;
    return 0;
}

/* Ends those objects, one after the other: what one held may be the next. */
static void end_ended(void) {
    static MP_OWN int is_ending;
    if (is_ending)
        return;
    is_ending = 1;
    for (mp_ref object; (object = find_ended()) != 0;)
        end_object(&mp_guard_me()->hands, object);
    is_ending = 0;
}

/* --- after a death -------------------------------------------------------- */

/* Blocks that moved: whoever does not have them, the dead one or the structure, is found out. */
static void sweep_note(member_shared *m, int direction) {
    mp_note *note = &m->notes[direction];
    if (note->place == 0)
        return;
    if (note->fate == MP_FATE_UNKNOWN)
        mp_arena_classes[mp_arena_block(note->place)->kind]->settle(note, direction);
    for (int i = 0; i < 2 && note->fate == MP_FATE_FREED; i++)
        if (note->blocks[i] != 0 && !mp_guard_has(&m->hands, note->blocks[i]))
            mp_guard_push(&m->hands, note->blocks[i]);
    note->place = 0;
}

static void sweep_hands(member_shared *m) {
    while (mp_guard_first(&m->hands) != 0) {
        const mp_ref block = mp_guard_first(&m->hands);
        const mp_block *b = mp_arena_block(block);
        if (mp_guard_is_object(b) && mp_arena_n_holds(block) > 0)
            mp_arena_unlink(&m->hands, block);
        else
            end_object(&m->hands, block);
    }
}

static void sweep_holds(uint32_t member, mp_list *holds) {
    while (mp_guard_first(holds) != 0)
        leave(member, holds, mp_guard_first(holds));
}

/* Objects in limbo that the dead one may have inherited are over now. */
static void sweep_limbo(void) {
    mp_guard_lock();
    for (mp_ref i = mp_guard_first(&mp_guard_arena()->limbo), next; i != 0; i = next) {
        next = mp_guard_first(&mp_arena_block(i)->next);
        if (mp_arena_n_holds(i) > 0) {
            mp_arena_block(i)->is_over = 0;
            mp_guard_unlink(&mp_guard_arena()->limbo, i);
        } else {
            take_if_over(i, MP_NOBODY);
        }
    }
    mp_guard_unlock();
    end_ended();
}

static void drop_parcel(uint32_t member) {
    mp_list *parcel = &mp_page->members[member].parcel;
    while (mp_guard_first(parcel) != 0)
        mp_arena_drop(parcel, mp_guard_first(parcel));
}

static void sweep(uint32_t member) {
    member_shared *m = &mp_page->members[member];
    mp_guard_lock(); /* if it died with the guard, that is mended while its record is its own */
    mp_guard_unlock();
    swept = member;
    if (m->growing != 0)
        mp_guard_end_growth(m, 0);
    sweep_note(m, MP_NOTE_IN);
    sweep_note(m, MP_NOTE_OUT);
    sweep_hands(m);
    sweep_holds(member, &m->holds);
    if (m->outcome == 0) /* its order was not received, and it left nothing */
        drop_parcel(member);
    if (m->born != 0)
        sweep_limbo();
    m->born = 0;
    swept = MP_NOBODY;
}

/*
** Each step of a sweep stands for itself. But what a dead sweeper had moving may have been in a
** block of the one that it swept, which may be the next to go: it is settled first.
*/
static void mend_sweep(uint32_t dead) {
    mp_guard_lock();
    mp_guard_unlock();
    sweep_note(&mp_page->members[dead], MP_NOTE_IN);
    sweep_note(&mp_page->members[dead], MP_NOTE_OUT);
}

static void sweeper_lock(void) {
    uint32_t dead;
    mp_lock *sweeper = &mp_guard_arena()->sweeper;
    if (mp_lock_take(sweeper, mp_page_self, MP_FOREVER, 0, &dead) == 1) {
        if (dead != MP_NOBODY)
            mend_sweep(dead);
        mp_lock_mended(sweeper, mp_page_self);
    }
}

void mp_page_sweep(uint32_t member) {
    if (!mp_guard_is_open() || member == mp_page_self)
        return;
    sweeper_lock();
    sweep(member);
    mp_lock_give(&mp_guard_arena()->sweeper);
}

/* As a sweeper: another one may find that nobody needs the parcel any more. */
void mp_page_drop_parcel(uint32_t member) {
    if (!mp_guard_is_open() || mp_guard_first(&mp_page->members[member].parcel) == 0)
        return;
    sweeper_lock();
    drop_parcel(member);
    mp_lock_give(&mp_guard_arena()->sweeper);
}

static int has_something(const member_shared *m) {
    return m->hands != 0 || m->holds != 0 || m->born != 0 || m->growing != 0 ||
           (m->parcel != 0 && m->outcome == 0);
}

int mp_arena_has_left(uint32_t member) {
    return has_something(&mp_page->members[member]);
}

/* The kernel has marked the life word, or somebody has seen that already. */
int mp_arena_has_dead(void) {
    for (uint32_t i = 0; i < mp_page->high; i++) {
        member_shared *m = &mp_page->members[i];
        const uint32_t state = atomic_load_explicit(&m->state, memory_order_acquire);
        const int word = *(volatile int *)&m->life.__data.__lock;
        if ((state == DEAD || (state == ALIVE && (word & FUTEX_OWNER_DIED) != 0)) &&
            has_something(m))
            return 1;
    }
    return 0;
}

int mp_arena_sweep_dead(void) {
    int any = 0;
    for (uint32_t i = 0; i < mp_page->high; i++) {
        member_shared *m = &mp_page->members[i];
        if (i == mp_page_self || !has_something(m) || mp_family_alive(i))
            continue;
        mp_family_bury(i);
        sweeper_lock();
        if (has_something(m) && atomic_load_explicit(&m->state, memory_order_acquire) == DEAD) {
            sweep(i);
            any = 1;
        }
        mp_lock_give(&mp_guard_arena()->sweeper);
    }
    return any;
}
