/*
** line.c: who waits in line; line.h has the rules.
*/
#include "engine/line.h"

void mp_line_join(mp_change *c, mp_line *line, mp_ref hold, uint64_t number) {
    mp_hold *h = mp_line_hold(hold);
    const mp_ref last = mp_change_get(&line->tail);
    mp_change_set(c, &h->waits, number);
    mp_change_set(c, &h->before, last);
    mp_change_set(c, &h->next, 0);
    mp_change_set(c, last == 0 ? &line->head : &mp_line_hold(last)->next, hold);
    mp_change_set(c, &line->tail, hold);
    mp_change_set(c, &line->n, mp_change_get(&line->n) + 1);
    if (last == 0)
        mp_change_set(c, &line->first, number);
}

void mp_line_leave(mp_change *c, mp_line *line, mp_ref hold) {
    mp_hold *h = mp_line_hold(hold);
    const mp_ref before = mp_change_get(&h->before), next = mp_change_get(&h->next);
    mp_change_set(c, &h->waits, 0);
    mp_change_set(c, &line->n, mp_change_get(&line->n) - 1);
    mp_change_set(c, before == 0 ? &line->head : &mp_line_hold(before)->next, next);
    mp_change_set(c, next == 0 ? &line->tail : &mp_line_hold(next)->before, before);
    if (before == 0)
        mp_change_set(c, &line->first, next == 0 ? 0 : mp_change_get(&mp_line_hold(next)->waits));
}
