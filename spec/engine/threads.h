/*
** threads.h: comes before each source of a stress in threads. The thread sanitizer does not
** know pthread_mutex_clocklock; a lock without a deadline does as well there.
*/
#ifndef SPEC_ENGINE_THREADS_H
#define SPEC_ENGINE_THREADS_H

#include <pthread.h>
#include <time.h>

#define pthread_mutex_clocklock(mutex, clock, at) ((void)(at), pthread_mutex_lock(mutex))

#endif
