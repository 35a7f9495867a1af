/*
** list.h: values by position, shared: mp.list.
**
** A list has a lock and a table (table.h) with room at both ends. One word of the table, the span,
** says where the list begins and how long it is. A slot has a small integer or a boolean itself,
** or the place of an entry (value.h). So what happens at an end is one store of the span, a
** replaced value is one store of a slot, and what happens in the middle is one store as well: of
** the place of a new table, in which all behind it have moved.
**
** Promise: a process killed at any instruction leaves each change done or not done.
**
**   put    P1 entry noted               not in the list: freed with the hand
**          P2 slot stored               at a place in the list: done. Else the same
**          P3 span stored               done, the list is longer
**          P4 entry no longer moving    done; what was there before is in hand
**   take   T1 entry noted               nothing has happened
**          T2 span stored               done, the list is shorter
**          T3 slot cleared              the same
**          T4 entry no longer moving    the same; it is in hand
**   move   M1 tables and entry noted    nothing has happened
**          M2 new table published       done
**          M3 nothing moving            done; the table before and what was taken are in hand
**
** Who takes the lock after a death settles what the dead one had moving, and clears the slots that
** are not in the span.
*/
#ifndef MP_ENGINE_LIST_H
#define MP_ENGINE_LIST_H

#include "engine/value.h"

/* A value as a list has it: itself, or an entry, which is in hand as long as no list has it. */
typedef uint64_t mp_item;

/* Makes a list, which the calling process holds. 0, or as mp_arena_alloc. */
int mp_list_make(mp_ref *list, mp_ref *hold);

/* 0, or as mp_arena_alloc. */
int mp_list_wrap(const mp_value *value, mp_item *item);
/* The entry of an item, or 0; and what it is itself then. */
mp_ref mp_list_entry(mp_item item);
mp_value mp_list_word(mp_item item);

uint64_t mp_list_len(mp_ref list);

/* Copies the value at i: 1; 0: there is none; -ENOSPC as mp_dict_get. Copies all: how many. */
int mp_list_get(mp_ref list, int64_t i, mp_copies *copies);
int64_t mp_list_copy(mp_ref list, mp_copies *copies);

/*
** These return -ERANGE when there is no such place, and as mp_arena_alloc: the items are in hand
** still then. put: at i, in place of what is there, up to one beyond the end. insert: before
** what is at i, or, with i = 0, at the end. append: all of them, at the end, at one moment; one
** that is killed meanwhile leaves some, from the first on. remove: what was at i, or, with
** i = 0, the last one: 1, and its entry is in hand; 0: there is none.
*/
int mp_list_put(mp_ref list, int64_t i, mp_item item);
int mp_list_insert(mp_ref list, int64_t i, mp_item item);
int mp_list_append(mp_ref list, const mp_item *items, size_t n);
int mp_list_remove(mp_ref list, int64_t i, mp_item *item);

/* What is in it goes. 0, or as mp_arena_alloc. */
int mp_list_clear(mp_ref list);

#endif
