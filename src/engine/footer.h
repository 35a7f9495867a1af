/*
** footer.h: one line at the foot of a terminal, below all that a family writes there.
**
** One process has the footer, draws it, and changes it as it likes. Whoever of the family writes to
** that terminal (output.h) lifts it before and lowers it after, in the turn at that stream, so what
** is written scrolls by above it, whole, whatever its owner is doing.
**
** What does not end a line is not torn either: the footer then stays away until its owner draws it
** again, one line below, and what comes next goes on where that text had ended. So a question is
** asked, and answered, at its own line. What was there before the footer was claimed stays, too.
**
** Promise: any process may be killed at any instruction. What is drawn then is drawn again, or
** wiped away, by the next one; the footer of a dead owner is nobody's. To draw is never to wait:
** not for the turn, nor for a terminal that is held (Ctrl-S). In the background (Ctrl-Z and bg)
** nothing is drawn.
**
** A terminal that has become narrower has broken the line into several. Those that put the parts
** below each other have them wiped away together; which do is the owner's to say.
**
** Strangers to the family, programs among them, do not lift it: their first line begins behind it.
*/
#ifndef MP_ENGINE_FOOTER_H
#define MP_ENGINE_FOOTER_H

#include <stddef.h>
#include <sys/stat.h>

#define MP_FOOTER_BYTES 1024 /* of the line, at most */

/* How many columns the terminal of the descriptor has; 0: it is none, or does not say; -ENOTTY. */
int mp_footer_columns(int fd);

/*
** The footer is the calling process's from now on, at the terminal of that descriptor, with nothing
** to be seen yet. 0; -EBUSY: another process has it; or -errno.
*/
int mp_footer_claim(int fd);

/*
** Draws the line there, as the footer of the calling process from now on. `cells`: how many columns
** it takes, fewer than there are. `reflows`: whether the terminal breaks lines anew when its width
** changes. 0; -EBUSY: another process has it; -EAGAIN: not just now; -EMSGSIZE; or -errno.
*/
int mp_footer_show(int fd, const char *line, size_t len, unsigned cells, int reflows);

/* Wipes it away, if the calling process has it. With `begins_row` what comes next begins a row,
 * also where the text above ends no line. */
void mp_footer_hide(int begins_row);

/* Whether there is one, on whatever terminal. */
int mp_footer_is_there(void);

/* How what was written ends: it was nothing, so nobody knows; a line; or a part of one. */
enum mp_footer_end { MP_FOOTER_NOTHING, MP_FOOTER_LINE, MP_FOOTER_OPEN };

/*
** In the turn at a stream, for who writes there: takes the footer away if it is there, and brings
** it back.
*/
void mp_footer_lift(int fd, const struct stat *stream);
void mp_footer_lower(int fd, const struct stat *stream, enum mp_footer_end end);

#endif
