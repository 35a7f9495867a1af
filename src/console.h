/*
** console.h: the lines typed at the prompt.
**
** At a terminal they are edited by libedit, with a history, where that is
** installed. It is opened when the first prompt appears and never linked,
** because every library in the image makes every fork dearer. Elsewhere
** lines are read as they come.
*/
#ifndef MP_CONSOLE_H
#define MP_CONSOLE_H

#include "lua.h"

/* Call it once, before the others. Leaves the terminal as it is. */
void console_open(lua_State *L);

/*
** Shows the prompt and returns the next line without its end, or NULL at the
** end of the input. A signal that the module catches (SIGINT, SIGTERM, SIGHUP)
** makes it return NULL at once, with its number in *interrupted, which is 0
** otherwise; what was typed is lost. The line belongs to the console, until
** the next one is read. The terminal is back in its own mode on each return.
*/
const char *console_read(const char *prompt, int *interrupted);

/* Adds a statement to the history. */
void console_remember(const char *statement);

#endif
