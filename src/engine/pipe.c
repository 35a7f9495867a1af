/*
** pipe.c: ends of pipes; pipe.h has the rules.
*/
#include "engine/pipe.h"

#include "engine/queue.h"

typedef struct end_shared {
    mp_ref queues[2];
} end_shared;

void mp_pipe_queues(mp_ref end, mp_ref queues[2]) {
    const end_shared *e = mp_arena_bytes(end);
    queues[0] = e->queues[0];
    queues[1] = e->queues[1];
}

/* A new end in hand. */
static int make_end(mp_ref *end, mp_ref *hold) {
    int rc = mp_arena_alloc(sizeof(end_shared), MP_KIND_END, mp_arena_hands(), end);
    if (rc < 0)
        return rc;
    rc = mp_arena_hold(mp_arena_holds(), *end, hold);
    if (rc < 0)
        mp_arena_free(mp_arena_hands(), *end);
    else
        mp_arena_unlink(mp_arena_hands(), *end);
    return rc;
}

static int give_queue(mp_ref end, int way, mp_ref queue) {
    mp_ref hold;
    int rc = mp_arena_hold(&mp_arena_block(end)->holds, queue, &hold);
    if (rc == 0)
        ((end_shared *)mp_arena_bytes(end))->queues[way] = queue;
    return rc;
}

/* A queue that one end writes and the other reads. */
static int connect(mp_ref writer, mp_ref reader) {
    mp_ref queue, hold;
    int rc = mp_queue_make(0, 0, MP_PIPE_UNREAD, &queue, &hold);
    if (rc < 0)
        return rc;
    mp_queue_set_ends(queue, writer, reader);
    rc = give_queue(writer, MP_END_WRITES, queue);
    if (rc == 0)
        rc = give_queue(reader, MP_END_READS, queue);
    mp_arena_drop(mp_arena_holds(), hold);
    return rc;
}

int mp_pipe_make(int is_duplex, mp_ref ends[2], mp_ref holds[2]) {
    int rc = mp_arena_open(), n = 0;
    while (rc == 0 && n < 2) {
        rc = make_end(&ends[n], &holds[n]);
        n += rc == 0;
    }
    if (rc == 0)
        rc = connect(ends[1], ends[0]);
    if (rc == 0 && is_duplex)
        rc = connect(ends[0], ends[1]);
    while (rc < 0 && n > 0)
        mp_arena_drop(mp_arena_holds(), holds[--n]);
    return rc;
}

/*
** Nobody holds it any more: its queues are closed, and know no end of that name. It knows
** them no more either: when this is done again they may be over.
*/
static void end(mp_ref block) {
    end_shared *e = mp_arena_bytes(block);
    for (int way = MP_END_WRITES; way <= MP_END_READS; way++)
        if (e->queues[way] != 0) {
            mp_queue_close(e->queues[way]);
            mp_queue_forget_end(e->queues[way], block);
            atomic_signal_fence(memory_order_seq_cst);
            e->queues[way] = 0;
        }
}

/* Who waits at the other end is told at once. */
static void unheld(mp_ref block) {
    mp_ref queues[2];
    mp_pipe_queues(block, queues);
    for (int way = MP_END_WRITES; way <= MP_END_READS; way++)
        if (queues[way] != 0)
            mp_queue_tell(queues[way]);
}

/* What is waited for at an end is at one of its queues. */
static mp_ref awaited(mp_ref block, int what) {
    const end_shared *e = mp_arena_bytes(block);
    return e->queues[what == MP_QUEUE_PUT ? MP_END_WRITES : MP_END_READS];
}

static const mp_kind_class class = {.end = end, .unheld = unheld, .awaited = awaited};

__attribute__((constructor)) static void open_class(void) {
    mp_arena_classes[MP_KIND_END] = &class;
}
