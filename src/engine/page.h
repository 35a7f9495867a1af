/*
** page.h: the layout of the family page, for the rooms that keep it.
**
** family.c owns the records and makes the page; keeper.c reads them to end what
** the dead have left behind; arena.c has its lists in them, and in the same mapping,
** behind the page, all that the family shares. Nobody else looks inside. The protocol
** and what a death means after each step stand in family.h and in arena.h.
*/
#ifndef MP_ENGINE_PAGE_H
#define MP_ENGINE_PAGE_H

#include <pthread.h>
#include <stdint.h>

#include "engine/sys.h"

#define N_MEMBERS 32768u
#define N_STREAMS 64
#define RECORD 512      /* bytes of a record: none lies across two pages */
#define INLINE_ROOM 240 /* bytes of an outcome that need no file: what a record has left */
#define PAGE 4096u

/* PROGRAM: runs by exec, so without a life word; its creator says when it has ended. */
enum state { FREE = 0, BORN, ALIVE, DEAD, PROGRAM };

typedef struct extent {
    int64_t start;
    int64_t len; /* 0: none */
} extent;

/* Blocks of the arena on their way to or from a structure; see arena.h. */
typedef struct mp_note {
    _Atomic uint64_t place; /* the structure; 0: none are */
    uint64_t commit;        /* its state before */
    uint64_t blocks[2];     /* 0: none */
    _Atomic uint32_t fate;  /* what becomes of them if the process dies */
} mp_note;

typedef struct member_shared {
    pthread_mutex_t life;
    _Atomic uint32_t state;
    _Atomic uint32_t outcome; /* (A) release: the bytes before it are whole */
    _Atomic int32_t status;   /* -1 until the process leaves in order */
    int32_t pid;
    uint32_t creator;
    uint32_t serial; /* tells the processes apart that had this record in turn */
    uint32_t next_free;
    _Atomic uint32_t n_started; /* whether it may have left children behind */
    _Atomic int64_t deadline;   /* of its timeout, then of its grace; 0: none */
    uint32_t detached;          /* its end does not come with its creator's */
    _Atomic uint32_t overran;   /* the keeper has ended it */
    extent extent;
    uint64_t len;
    uint64_t born;               /* when, in births; 0: it has inherited no memory */
    uint64_t eldest;             /* when the first of the forks was that led to it */
    _Atomic uint32_t watches;    /* whether it watches where there was no place for its name */
    _Atomic uint32_t wait_verb;  /* what it waits for without a time limit; see deadlock.h */
    _Atomic uint64_t wait_epoch; /* moves on with each beginning and end of such a wait */
    uint64_t wait_object;
    _Atomic uint64_t wait_looked; /* the wave in which it has last looked, in vain */
    _Atomic uint64_t growing;     /* a span on its way to or from having memory */
    mp_note notes[2];
    _Atomic uint64_t hands; /* lists of the arena: blocks that nothing else has yet, or any more, */
    _Atomic uint64_t holds; /* what it holds, */
    _Atomic uint64_t parcel; /* and what its order or outcome holds */
    char inline_bytes[INLINE_ROOM];
} member_shared;

typedef struct stream_shared {
    uint64_t dev, ino;
    uint32_t holder; /* MP_NOBODY: a free place */
    uint32_t holder_serial;
    _Atomic uint32_t turn; /* moves on when the holder has finished */
} stream_shared;

/* The line at the foot of a terminal (footer.h). All but the owner changes in the turn there. */
typedef struct footer_shared {
    _Atomic uint64_t owner; /* its serial, and in the lower half its record + 1; 0: nobody */
    _Atomic uint64_t dev, ino;
    uint32_t is_drawn;
    uint32_t above;    /* how what was written there last ends, */
    uint32_t is_saved; /* and whether the terminal knows where */
    uint32_t reflows;
    uint32_t cells; /* columns that it takes */
    uint32_t len;
    char bytes[1024];
} footer_shared;

typedef struct family_shared {
    char version[16];      /* of the luamp that made it */
    uint64_t reserve;      /* bytes of the whole mapping, this page and the arena */
    pthread_mutex_t guard; /* free list, high water, extents */
    uint32_t free;         /* head of the list of FREE records below high */
    uint32_t high;         /* records from here on were never used */
    uint32_t n_members;    /* records that are not FREE */
    uint32_t n_extents;
    int64_t extents_end;     /* where the next extent begins */
    uint64_t id;             /* names the family in the tags of programs */
    _Atomic uint64_t births; /* forks so far: a clock */
    _Atomic uint64_t wave;   /* of looks at who waits; see deadlock.h */
    _Atomic uint32_t has_arena;
    pthread_mutex_t opening;  /* of the arena */
    pthread_mutex_t keeper;   /* held by the keeper for life */
    _Atomic uint32_t bell;    /* moves on when the keeper is to look at once */
    _Atomic uint32_t n_ended; /* deaths that may have left programs behind */
    pthread_mutex_t streams_guard;
    stream_shared streams[N_STREAMS];
    footer_shared footer;
    _Alignas(PAGE) member_shared members[N_MEMBERS];
} family_shared;

/* This process's mapping of the page and its own record in it; NULL without a family. */
extern family_shared *mp_page;
extern MP_OWN uint32_t mp_page_self;
extern int mp_page_fd; /* -1: by the limit of file sizes it lies in none */

/* Of hold.c, for a record whose process is dead: gives back what that had in hand and held... */
void mp_page_sweep(uint32_t member);
/* ...and what its order holds, when that was received, and its outcome, when nobody needs it. */
void mp_page_drop_parcel(uint32_t member);

#endif
