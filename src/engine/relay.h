/*
** relay.h: what workers write, kept for their owner, who gives it to its own streams.
**
** Each stream of a worker is a file in memory, written at its end, which the worker and all that
** it runs have in the place of a terminal or pipe. So nobody who writes waits for who reads; what a
** killed one has written is there; and a place in the file says exactly what came before it. The
** owner reads from such a place to another, and gives the memory of what it has given out back.
**
** The file cannot be made shorter: what was written stays, and places stay true. Who opens
** /dev/stdout anew to begin it afresh (`>` of a shell, not `>>` and not `>&2`) is refused for that.
*/
#ifndef MP_ENGINE_RELAY_H
#define MP_ENGINE_RELAY_H

#include <stddef.h>
#include <stdint.h>

/* A new file: a descriptor that close-on-exec takes, or -errno. */
int mp_relay_open(void);

/* How far it is written, and how many bytes of memory it takes; 0 for what is no file. */
int64_t mp_relay_size(int fd);
int64_t mp_relay_memory(int fd);

/* Where the last line ends of those that end between the two; `from`: none does; or -errno. */
int64_t mp_relay_end_of_lines(int fd, int64_t from, int64_t to);

/* Nobody reads what lies between any more. */
void mp_relay_free(int fd, int64_t from, int64_t to);

enum mp_relay_how {
    MP_RELAY_BYTES = 0, /* as they are */
    MP_RELAY_LINES,     /* whole lines, and not the beginning of the last one */
    MP_RELAY_END,       /* all, and a last line that has no end is given one */
};

typedef struct mp_relay_part {
    int source;
    int64_t from, to;
    int64_t known;   /* up to there, from `from` on, no line ends */
    const char *tag; /* begins each line; or NULL */
    size_t tag_len;
    enum mp_relay_how how;
} mp_relay_part;

/*
** Writes the part to the descriptor, in its turn there (output.h): nobody of the family comes in
** between. *reached is how far that went, also after an error. 0 or -errno. Where it has a tag,
** bytes are given as lines up to the last end of one, and END is of use for the rest.
*/
int mp_relay_give(const mp_relay_part *part, int to, int64_t *reached);

#endif
