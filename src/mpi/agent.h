/*
** agent.h: what the program and the plug-in for MPI (luamp_mpi.so) agree on.
**
** The plug-in alone is linked with an MPI, and the program opens it only under a launcher. It has
** never heard of Lua, nor of what goes over the streams.
*/
#ifndef MP_MPI_AGENT_H
#define MP_MPI_AGENT_H

#include <sys/types.h>

/* Both sides were built from the same of this file. */
#define MP_AGENT_VERSION 1

/*
** The agent of a rank. fds: by rank a stream socket whose other end the child has, for the
** process at that rank; -1 where there is none. Between rank 0 and each other there is one, and
** no others.
*/
typedef struct mp_agent_job {
    int version; /* MP_AGENT_VERSION */
    int rank, size;
    int *fds;
    pid_t child;     /* its exit status is the rank's */
    double patience; /* seconds without a word of another rank, after which that is given up */
} mp_agent_job;

/* Serves until the child and all streams have ended; returns the rank's exit status. */
typedef int mp_agent_run(const mp_agent_job *job);

#define MP_AGENT_SYMBOL "luamp_agent_run"

#endif
