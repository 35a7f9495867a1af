/*
** frame.c: the head and the checksum of a frame; promises in frame.h.
**
** The checksum takes eight bytes at a time by a table for each ("slicing by 8", Kounavis and
** Berry 2005). Its bits are in the order of the wire, lowest first, and so is the polynomial.
** The tables are constants, as the compiler can work them out: checksums add up by XOR, so that
** of a byte is made of those of its bits, and these are one step each from the next.
*/
#include "engine/frame.h"

#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "frames are little endian");

#define MAGIC 0x6d7266706d61756cu /* "luampfrm" */
#define VERSION 1
#define POLYNOMIAL 0x82f63b78u /* 0x1edc6f41, mirrored */

/* Bkb: the checksum of bit b of a byte that k others, all 0, follow. */
#define STEP(c) ((c) >> 1 ^ ((c)&1) * POLYNOMIAL)
#define BITS(k, after)                                                                             \
    B##k##7 = STEP(after), B##k##6 = STEP(B##k##7), B##k##5 = STEP(B##k##6),                       \
    B##k##4 = STEP(B##k##5), B##k##3 = STEP(B##k##4), B##k##2 = STEP(B##k##3),                     \
    B##k##1 = STEP(B##k##2), B##k##0 = STEP(B##k##1)
enum {
    BITS(0, 1u),
    BITS(1, B00),
    BITS(2, B10),
    BITS(3, B20),
    BITS(4, B30),
    BITS(5, B40),
    BITS(6, B50),
    BITS(7, B60)
};

#define BIT(k, i, b) ((i) >> b & 1 ? (uint32_t)B##k##b : 0)
#define BYTE(k, i)                                                                                 \
    BIT(k, i, 0) ^ BIT(k, i, 1) ^ BIT(k, i, 2) ^ BIT(k, i, 3) ^ BIT(k, i, 4) ^ BIT(k, i, 5) ^      \
        BIT(k, i, 6) ^ BIT(k, i, 7)
#define BYTES4(k, i) BYTE(k, i), BYTE(k, i + 1), BYTE(k, i + 2), BYTE(k, i + 3)
#define BYTES16(k, i) BYTES4(k, i), BYTES4(k, i + 4), BYTES4(k, i + 8), BYTES4(k, i + 12)
#define BYTES64(k, i) BYTES16(k, i), BYTES16(k, i + 16), BYTES16(k, i + 32), BYTES16(k, i + 48)
#define BYTES(k) BYTES64(k, 0), BYTES64(k, 64), BYTES64(k, 128), BYTES64(k, 192)

static const uint32_t table[8][256] = {{BYTES(0)}, {BYTES(1)}, {BYTES(2)}, {BYTES(3)},
                                       {BYTES(4)}, {BYTES(5)}, {BYTES(6)}, {BYTES(7)}};

/* Goes on from the checksum of what is before. */
static uint32_t go_on(uint32_t sum, const void *bytes, size_t n) {
    const unsigned char *at = bytes;
    for (; n >= 8; n -= 8, at += 8) {
        uint64_t word;
        memcpy(&word, at, sizeof word);
        word ^= sum;
        sum = 0;
        for (int k = 0; k < 8; k++)
            sum ^= table[7 - k][word >> 8 * k & 0xff];
    }
    while (n-- > 0)
        sum = sum >> 8 ^ table[0][(sum ^ *at++) & 0xff];
    return sum;
}

static uint32_t checksum(mp_frame_head head, const struct iovec *pieces, int n) {
    head.checksum = 0;
    uint32_t sum = go_on(UINT32_MAX, &head, sizeof head);
    for (int i = 0; i < n; i++)
        sum = go_on(sum, pieces[i].iov_base, pieces[i].iov_len);
    return ~sum;
}

mp_frame_head mp_frame_make(const struct iovec *pieces, int n) {
    mp_frame_head head = {.magic = MAGIC, .version = VERSION};
    for (int i = 0; i < n; i++)
        head.len += pieces[i].iov_len;
    head.checksum = checksum(head, pieces, n);
    return head;
}

const char *mp_frame_open(const char **bytes, size_t *len) {
    mp_frame_head head;
    if (*len < sizeof head)
        return "its length is wrong";
    memcpy(&head, *bytes, sizeof head);
    const struct iovec payload = {(char *)*bytes + sizeof head, *len - sizeof head};
    if (head.magic != MAGIC)
        return "it does not begin as one";
    if (head.version != VERSION)
        return "its version is another";
    if (head.len != payload.iov_len)
        return "its length is wrong";
    if (head.checksum != checksum(head, &payload, 1))
        return "its checksum is wrong";
    *bytes = payload.iov_base;
    *len = payload.iov_len;
    return NULL;
}
