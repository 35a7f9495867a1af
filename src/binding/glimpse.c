/*
** glimpse.c: a short text of the values in a message, for people.
**
** It is made from the bytes alone (wire.h): no value is made, no function of a section is called,
** nothing is changed, and it takes no longer than some hundred values do. What is too long, lies
** too deep or is a section ends the text with "...".
*/
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "binding/codec.h"
#include "binding/wire.h"

enum { LONGEST = 40, MOST_STEPS = 500, DEEPEST = 8, ELLIPSIS = 4 };

typedef struct glimpse {
    const unsigned char *at, *end;
    char *to;
    size_t used, room; /* without what is left for the ellipsis */
    int is_mute;       /* what is read now is not said */
    int n_steps;
} glimpse;

/* Each of these returns 0 when the text ends there: what does not fit as a whole is left out. */
static int say(glimpse *g, const char *text, size_t len) {
    if (g->is_mute)
        return 1;
    if (len > g->room - g->used)
        return 0;
    memcpy(g->to + g->used, text, len);
    g->used += len;
    return 1;
}

static int say_word(glimpse *g, const char *word) {
    return say(g, word, strlen(word));
}

static const unsigned char *take(glimpse *g, size_t n) {
    const unsigned char *at = g->at;
    if ((size_t)(g->end - at) < n)
        return NULL;
    g->at += n;
    return at;
}

/* A number of so many bytes. */
static int take_count(glimpse *g, size_t size, uint64_t *n) {
    const unsigned char *at = take(g, size);
    *n = 0;
    if (at != NULL)
        memcpy(n, at, size);
    return at != NULL;
}

/* --- scalars ---------------------------------------------------------------- */

static int take_integer(glimpse *g, int tag, int64_t *value) {
    const size_t size = tag == MP_TAG_INT16 ? 2 : tag == MP_TAG_INT32 ? 4 : 8;
    uint64_t n;
    if (tag < MP_TAG_NIL) {
        *value = tag <= 127 ? tag : tag - MP_TAG_NIL;
        return 1;
    }
    if ((tag != MP_TAG_INT16 && tag != MP_TAG_INT32 && tag != MP_TAG_INT64) ||
        !take_count(g, size, &n))
        return 0;
    *value = size == 2 ? (int16_t)n : size == 4 ? (int32_t)n : (int64_t)n;
    return 1;
}

static int say_integer(glimpse *g, int tag) {
    char text[32];
    int64_t value;
    if (!take_integer(g, tag, &value))
        return 0;
    snprintf(text, sizeof text, "%lld", (long long)value);
    return say_word(g, text);
}

static int say_float(glimpse *g) {
    char text[40];
    double value;
    const unsigned char *at = take(g, sizeof value);
    if (at == NULL)
        return 0;
    memcpy(&value, at, sizeof value);
    snprintf(text, sizeof text - 2, "%.14g", value);
    if (text[strspn(text, "-0123456789")] == '\0')
        strcat(text, ".0");
    return say_word(g, text);
}

/* Whole characters of UTF-8 only, as far as the bytes are that. */
static size_t cut(const unsigned char *at, size_t len, size_t most) {
    if (len <= most)
        return len;
    size_t n = most;
    while (n > 0 && n > most - 3 && (at[n] & 0xc0) == 0x80)
        n--;
    return n;
}

static int say_escaped(glimpse *g, int c) {
    char escape[8];
    snprintf(escape, sizeof escape, c == '"' || c == '\\' ? "\\%c" : "\\%03d", c);
    return say_word(g, escape);
}

static int say_quoted(glimpse *g, const unsigned char *at, size_t len) {
    int goes_on = say_word(g, "\"");
    for (size_t i = 0, n; i < len && goes_on; i += n) {
        const int is_plain = at[i] >= 0x20 && at[i] != '"' && at[i] != '\\' && at[i] != 0x7f;
        for (n = 1; is_plain && i + n < len && (at[i + n] & 0xc0) == 0x80;)
            n++;
        goes_on = is_plain ? say(g, (const char *)at + i, n) : say_escaped(g, at[i]);
    }
    return goes_on && say_word(g, "\"");
}

static int say_string(glimpse *g, size_t len) {
    char size[48];
    const unsigned char *at = take(g, len);
    if (at == NULL)
        return 0;
    const size_t n = cut(at, len, LONGEST);
    if (!say_quoted(g, at, n))
        return 0;
    snprintf(size, sizeof size, "... (%zu bytes)", len);
    return n == len || say_word(g, size);
}

static int say_long_string(glimpse *g, size_t size) {
    uint64_t len;
    return take_count(g, size, &len) && say_string(g, len);
}

/* --- tables, functions and others --------------------------------------------- */

static int say_value(glimpse *g, int depth);

static int is_name(const unsigned char *at, size_t len) {
    for (size_t i = 0; i < len; i++) {
        const int c = at[i] | 0x20;
        if ((c < 'a' || c > 'z') && at[i] != '_' && (i == 0 || at[i] < '0' || at[i] > '9'))
            return 0;
    }
    return len > 0;
}

static int say_key(glimpse *g, int depth) {
    const int tag = g->at < g->end ? *g->at : 0;
    const size_t len = tag >= MP_TAG_STRING ? (size_t)(tag - MP_TAG_STRING) : 0;
    if (len > 0 && (size_t)(g->end - g->at) > len && is_name(g->at + 1, len)) {
        const unsigned char *at = take(g, 1 + len) + 1;
        return say(g, (const char *)at, len) && say_word(g, "=");
    }
    return say_word(g, "[") && say_value(g, depth) && say_word(g, "]=");
}

static int say_fields(glimpse *g, uint64_t n_run, uint64_t n_pairs, int depth) {
    int goes_on = say_word(g, "{");
    for (uint64_t i = 0; i < n_run && goes_on; i++)
        goes_on = (i == 0 || say_word(g, ", ")) && say_value(g, depth + 1);
    for (uint64_t i = 0; i < n_pairs && goes_on; i++)
        goes_on = ((i == 0 && n_run == 0) || say_word(g, ", ")) && say_key(g, depth + 1) &&
                  say_value(g, depth + 1);
    return goes_on && say_word(g, "}");
}

static int say_table(glimpse *g, int tag, int depth) {
    const int kind = tag;
    uint64_t n[2];
    if (kind == MP_TAG_META || kind == MP_TAG_ERROR) {
        const unsigned char *next = take(g, 1);
        tag = next == NULL ? 0 : *next;
    }
    const size_t size = tag == MP_TAG_TABLE ? 1 : 8;
    if ((tag != MP_TAG_TABLE && tag != MP_TAG_TABLE64) || depth == DEEPEST ||
        !take_count(g, size, &n[0]) || !take_count(g, size, &n[1]) ||
        !say_fields(g, n[0], n[1], depth))
        return 0;
    g->is_mute += kind == MP_TAG_META;
    const int goes_on = kind != MP_TAG_META || say_value(g, depth + 1);
    g->is_mute -= kind == MP_TAG_META;
    return goes_on;
}

static int skip_number(glimpse *g) {
    int64_t value;
    const unsigned char *tag = take(g, 1);
    return tag != NULL && take_integer(g, *tag, &value);
}

static int skip_code(glimpse *g) {
    uint64_t len;
    const unsigned char *tag = take(g, 1);
    if (tag == NULL || *tag == MP_TAG_REF)
        return tag != NULL && skip_number(g);
    if (*tag == MP_TAG_KNOWN)
        return take(g, 12) != NULL;
    return *tag == MP_TAG_CODE && take_count(g, 4, &len) && take(g, len) != NULL;
}

static int skip_upvalues(glimpse *g, int n, int depth) {
    int goes_on = 1;
    g->is_mute++;
    for (int i = 0; i < n && goes_on; i++) {
        const int is_shared = g->at < g->end && *g->at == MP_TAG_UPVALUE;
        g->at += is_shared;
        goes_on = is_shared ? skip_number(g) : say_value(g, depth + 1);
    }
    g->is_mute--;
    return goes_on;
}

static int say_function(glimpse *g, int tag, int depth) {
    uint64_t n;
    return depth < DEEPEST && take_count(g, 1, &n) && skip_code(g) && say_word(g, "function") &&
           (tag == MP_TAG_LATER || skip_upvalues(g, (int)n, depth));
}

static int skip_name(glimpse *g) {
    const unsigned char *tag = take(g, 1);
    uint64_t len = 0;
    if (tag != NULL && *tag >= MP_TAG_STRING)
        return take(g, (size_t)(*tag - MP_TAG_STRING)) != NULL;
    return tag != NULL && *tag == MP_TAG_STRING16 && take_count(g, 2, &len) && take(g, len) != NULL;
}

static int say_either(glimpse *g, int depth) {
    const unsigned char *tag;
    return skip_name(g) && (tag = take(g, 1)) != NULL &&
           (*tag == MP_TAG_FUNCTION || *tag == MP_TAG_LATER) && say_function(g, *tag, depth);
}

static int say_scalar(glimpse *g, int tag) {
    switch (tag) {
    case MP_TAG_NIL:
        return say_word(g, "nil");
    case MP_TAG_FALSE:
        return say_word(g, "false");
    case MP_TAG_TRUE:
        return say_word(g, "true");
    case MP_TAG_FLOAT:
        return say_float(g);
    case MP_TAG_STRING16:
        return say_long_string(g, 2);
    case MP_TAG_STRING64:
        return say_long_string(g, 8);
    default:
        return say_integer(g, tag);
    }
}

static int say_value(glimpse *g, int depth) {
    const unsigned char *next = take(g, 1);
    if (next == NULL || ++g->n_steps > MOST_STEPS)
        return 0;
    const int tag = *next;
    if (tag >= MP_TAG_STRING)
        return say_string(g, (size_t)(tag - MP_TAG_STRING));
    if (tag <= MP_TAG_STRING64)
        return say_scalar(g, tag);
    switch (tag) {
    case MP_TAG_TABLE:
    case MP_TAG_TABLE64:
    case MP_TAG_META:
    case MP_TAG_ERROR:
        return say_table(g, tag, depth);
    case MP_TAG_DEFER:
        return say_word(g, "{...}");
    case MP_TAG_REF:
        return skip_number(g) && say_word(g, "(as before)");
    case MP_TAG_SHARED:
        return take(g, 8) != NULL && say_word(g, "(shared)");
    case MP_TAG_NAMED:
        return skip_name(g) && say_word(g, "(by name)");
    case MP_TAG_FUNCTION:
    case MP_TAG_LATER:
        return say_function(g, tag, depth);
    case MP_TAG_EITHER:
        return depth < DEEPEST && say_either(g, depth);
    default:
        return 0;
    }
}

static int say_message(glimpse *g, uint64_t from) {
    uint64_t n;
    const unsigned char *head = take(g, 1);
    if (head == NULL)
        return 0;
    n = *head & MP_MANY;
    if (n == MP_MANY && !take_count(g, 8, &n))
        return 0;
    for (uint64_t i = 1; i <= n; i++) {
        g->is_mute = i < from;
        if ((i > from && !say_word(g, ", ")) || !say_value(g, 0))
            return 0;
    }
    return 1;
}

void mp_codec_glimpse(const char *bytes, size_t len, uint64_t from, char *to, size_t room) {
    const unsigned char *at = (const unsigned char *)bytes;
    glimpse g = {.at = at, .end = at + len, .to = to, .room = room - ELLIPSIS};
    const int is_all = say_message(&g, from);
    if (!is_all) {
        memcpy(to + g.used, "...", 3);
        g.used += 3;
    }
    to[g.used] = '\0';
}
