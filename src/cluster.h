/*
** cluster.h: the program under a launcher of MPI: mpirun, or srun.
**
** Every rank runs the same command line. Rank 0 runs the script; each other serves pools of it,
** and never sees the script. Each is two processes: the launched one becomes its agent
** (mpi/agent.h), and what goes on in the other, its child. So all that luamp forks is forked from
** a process that has never called MPI.
**
** Which ranks there are is told by the launcher's environment. One rank, or LUAMP_ENGINE=local:
** nothing happens here. More ranks than one, and no plug-in or an MPI that this is not built for:
** an error, by each rank, so that no script runs N times.
*/
#ifndef LUAMP_CLUSTER_H
#define LUAMP_CLUSTER_H

/*
** To be called first of all, while the process is nothing yet. Returns in the process that is to
** work, with what binding/cluster.h tells set; or does not return: in an agent, and after an
** error, which it has told.
*/
void cluster_take_over(void);

#endif
