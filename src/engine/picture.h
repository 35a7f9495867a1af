/*
** picture.h: what a child has of its parent that an exec does not change, to see whether a process
** is still as it was when its forkserver was made of it (image.h).
*/
#ifndef MP_ENGINE_PICTURE_H
#define MP_ENGINE_PICTURE_H

#include <sched.h>
#include <stdint.h>
#include <sys/types.h>

/* Two of them are alike if all their bytes are. */
typedef struct mp_picture {
    uint64_t environment;
    dev_t dev[4]; /* of the standard streams and the folder */
    ino_t ino[4];
    uid_t uid[2];
    gid_t gid[2];
    mode_t mask;
    int nice;
    cpu_set_t cpus;
} mp_picture;

/* Of this process, as it is now. */
void mp_picture_take(mp_picture *p);

#endif
