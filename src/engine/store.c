/*
** store.c: bytes that go to a receiver once; promises in store.h.
**
** The memory is reserved at once and taken page by page, so that nothing in it ever moves.
*/
#include "engine/store.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

enum { N_CHAINS = 1024 };

/* The head of a piece, before its bytes. What follows begins at a multiple of 8. */
typedef struct piece {
    uint64_t hash;
    uint32_t next; /* place of another with the same end of the hash, or 0; the sender's */
    uint32_t len;
} piece;

typedef struct store {
    unsigned char *bytes; /* NULL: there is none yet */
    size_t len;
} store;

static store taught, known;
static uint32_t chains[N_CHAINS];

/* Makes sure of it. */
static int open_store(store *s) {
    if (s->bytes != NULL)
        return 0;
    void *bytes = mmap(NULL, MP_STORE_SIZE, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (bytes == MAP_FAILED)
        return -errno;
    *s = (store){bytes, 0};
    return 0;
}

/* Places are counted from 1, in units of 8 bytes. */
static size_t offset_of(uint32_t place) {
    return ((size_t)place - 1) * 8;
}

static piece *piece_at(const store *s, uint32_t place) {
    return (piece *)(s->bytes + offset_of(place));
}

static size_t size_of(uint32_t len) {
    return (sizeof(piece) + len + 7) & ~(size_t)7;
}

uint32_t mp_store_put(const void *bytes, uint32_t len, uint64_t hash) {
    uint32_t *chain = &chains[hash % N_CHAINS];
    if (open_store(&taught) < 0)
        return 0;
    for (uint32_t place = *chain; place != 0; place = piece_at(&taught, place)->next) {
        const piece *p = piece_at(&taught, place);
        if (p->hash == hash && p->len == len && memcmp(p + 1, bytes, len) == 0)
            return place;
    }
    if (size_of(len) > MP_STORE_SIZE - taught.len)
        return 0;
    const uint32_t place = (uint32_t)(taught.len / 8) + 1;
    *piece_at(&taught, place) = (piece){hash, *chain, len};
    memcpy(piece_at(&taught, place) + 1, bytes, len);
    taught.len += size_of(len);
    *chain = place;
    return place;
}

const void *mp_store_rest(size_t offset, size_t *len) {
    *len = taught.len - offset;
    return *len > 0 ? taught.bytes + offset : NULL;
}

int mp_store_learn(const void *bytes, size_t len) {
    int rc = open_store(&known);
    if (rc < 0)
        return rc;
    if (len > MP_STORE_SIZE - known.len)
        return -EBADMSG;
    memcpy(known.bytes + known.len, bytes, len);
    known.len += len;
    return 0;
}

const unsigned char *mp_store_get(uint32_t place, uint64_t hash) {
    if (place == 0 || offset_of(place) + sizeof(piece) > known.len)
        return NULL;
    const piece *p = piece_at(&known, place);
    if (p->hash != hash || size_of(p->len) > known.len - offset_of(place))
        return NULL;
    return (const unsigned char *)&p->len;
}
