/*
** init.h: the program as the first process of a container.
**
** Process 1 has two duties that a script should not have: it reaps what others
** leave to it, or a container fills with zombies; and signals that it does not
** handle do not reach it. So it takes them on, and the script runs in a child.
*/
#ifndef LUAMP_INIT_H
#define LUAMP_INIT_H

/*
** Returns at once, unless this is process 1: then it returns in a child of it
** only, and process 1 reaps whatever ends, passes signals on to that child,
** and ends as it does, 128 + n if signal n killed it. Those that the terminal
** sends reach the child by themselves.
*/
void init_take_over(void);

#endif
