/*
** budget.h: how much memory may still be taken.
**
** Memory of a file that grows past a limit of its control group, or past what the machine
** has, does not fail: the kernel kills, and not always whoever was too greedy. So shared
** memory is compared with this before it grows.
*/
#ifndef MP_ENGINE_BUDGET_H
#define MP_ENGINE_BUDGET_H

#include <stdint.h>

/*
** The bytes that this process may still allocate without the kernel killing somebody:
** the least of what the machine has available and what each memory control group from
** its own upward has left, files that the kernel can drop counted as free, each less a
** reserve (1/32, but 4 to 64 MiB) for what others take meanwhile. Never below 0;
** INT64_MAX where nothing can be read. Swap is not counted: shared memory out there is
** no faster than a file. Some 50 us; touches nothing but its own memory and the stack.
*/
int64_t mp_budget_left(void);

#endif
