/*
** output.h: output streams that several processes of a family share.
**
** Promise: what one call writes to a stream, up to 64 KiB and beyond, arrives
** unbroken by other members. stdio alone cannot promise that: it hands its
** buffer to the kernel wherever it is full, in the middle of a line.
**
** So a buffer is handed over at the borders of calls only, and while the
** writer has the turn at that stream (family.h); a pipe takes more than 4096
** bytes in parts. A writer that is killed in the middle of a system call may
** leave a part of a line. Strangers to the family keep no turns.
*/
#ifndef MP_ENGINE_OUTPUT_H
#define MP_ENGINE_OUTPUT_H

#include <stddef.h>
#include <stdio.h>

/* Writes as one. Buffering is the stream's own. 0 or -errno. */
int mp_output_write(FILE *stream, const char *bytes, size_t len);

/* Hands over what is buffered, in turn. 0 or -errno. */
int mp_output_flush(FILE *stream);

#endif
