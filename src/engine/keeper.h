/*
** keeper.h: the end of what the dead have started.
**
** A process dies with its creator by the kernel's doing (proc.h), but a program
** that it ran by os.execute or through a shell has nobody whose death would end
** it. The keeper is one small process that sees to that: nobody's child, in a
** session of its own, made when a family first runs a program or sets a time
** limit, gone when no member lives any more, nor a program with a time limit.
**
** Whatever a member runs by exec carries a tag in its environment (family.h)
** that names each process whose end is to end it. So whether it may live is
** told by the tag and the family page alone: the keeper reads the environment
** of every process (/proc/PID/environ), and kills those of whose tag a process
** has ended, by pidfd, until a look finds none. It looks when somebody has died
** that may have left some, at most five times a second.
**
** Promise: what has lost an owner is gone within 500 ms, also when the main
** process is killed or busy. A program that cleans its environment or is
** set-uid, or whose environment may not be read, escapes; detached processes
** are ends of tags, so what goes with them does not go with their creators.
**
** It also keeps the time limits of processes (SIGTERM, SIGKILL five seconds
** later), so they hold whatever the creator is doing. Time counts while a
** process is stopped; but while its creator is (Ctrl-Z stops both), and for a
** second after that, no limit is enforced.
*/
#ifndef MP_ENGINE_KEEPER_H
#define MP_ENGINE_KEEPER_H

/*
** Makes sure that a keeper watches over the family of the calling process,
** which is about to run something that needs it. 0 or -errno. Costs a lock's
** look when there is one.
*/
int mp_keeper_open(void);

/* Makes one anew, without a wait for it, if there was one and it was killed. */
void mp_keeper_renew(void);

/* Makes the keeper look at once: there is a time limit that may be near. */
void mp_keeper_ring(void);

#endif
