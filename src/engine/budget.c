/*
** budget.c: how much memory may still be taken; the contract is in budget.h.
**
** A limit may stand in any group above the process's own, so the whole way up is read.
** Control groups have a version 1, in which memory is a hierarchy of its own, and a
** version 2; where both are mounted, the one without the controller has no files of it.
** Where a container shows its group as the root of the mount, the path that the process
** is told leads nowhere below the mount: what cannot be read sets no limit, and the
** mount's root is the group.
*/
#include "engine/budget.h"

#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MIB ((int64_t)1 << 20)

/* Where the process's group is, as a path that is as long as its mount's at least. */
typedef struct group {
    size_t mount; /* 0: there is none */
    char path[PATH_MAX];
} group;

/* The files of one version. */
typedef struct version {
    const char *limits[2], *usage, *cache;
} version;

static const version versions[2] = {
    {{"memory.limit_in_bytes", NULL}, "memory.usage_in_bytes", "total_inactive_file "},
    {{"memory.max", "memory.high"}, "memory.current", "inactive_file "},
};
static group groups[2];
static pid_t found_by; /* whoever is forked may be put into another group */

/* --- files, line by line ------------------------------------------------- */

typedef struct lines {
    int fd;
    size_t at, len; /* the line begins at `at`; read are `len` bytes */
    char bytes[4096 + PATH_MAX];
} lines;

static int open_lines(lines *file, const char *path) {
    file->at = file->len = 0;
    file->fd = open(path, O_RDONLY | O_CLOEXEC);
    return file->fd >= 0;
}

/* More bytes behind those of an unfinished line. 0 at the end, or if there is no room. */
static int read_more(lines *file) {
    memmove(file->bytes, file->bytes + file->at, file->len - file->at);
    file->len -= file->at;
    file->at = 0;
    ssize_t n = read(file->fd, file->bytes + file->len, sizeof file->bytes - file->len);
    file->len += n > 0 ? (size_t)n : 0;
    return n > 0;
}

/* The next whole line without its end, or NULL, with the file closed. */
static char *next_line(lines *file) {
    char *end;
    while ((end = memchr(file->bytes + file->at, '\n', file->len - file->at)) == NULL)
        if (!read_more(file)) {
            close(file->fd);
            return NULL;
        }
    char *line = file->bytes + file->at;
    *end = '\0';
    file->at = (size_t)(end + 1 - file->bytes);
    return line;
}

/* The number in the line of a file that begins with `name`; -1 without one, or "max". */
static int64_t number_in(const char *path, const char *name) {
    lines file;
    if (!open_lines(&file, path))
        return -1;
    int64_t found = -1;
    size_t len = strlen(name);
    for (char *line; (line = next_line(&file)) != NULL;)
        if (found < 0 && strncmp(line, name, len) == 0 && line[len] != 'm')
            found = strtoll(line + len, NULL, 10);
    return found;
}

/* --- where the groups are ------------------------------------------------ */

/* Whether a word is in a list with commas. */
static int has_word(const char *list, const char *word) {
    size_t len = strlen(word);
    for (const char *at = list; (at = strstr(at, word)) != NULL; at += len)
        if ((at == list || at[-1] == ',') && (at[len] == ',' || at[len] == '\0'))
            return 1;
    return 0;
}

/* Splits a line in place at a character; returns what is behind it, or an end. */
static char *cut(char *line, char at) {
    char *end = strchrnul(line, at);
    if (*end != '\0')
        *end++ = '\0';
    return end;
}

/* Blanks and the like stand in mountinfo as \040. */
static void unescape(char *path) {
    char *to = path;
    for (; *path != '\0'; path++)
        if (*path == '\\' && strnlen(path, 4) == 4) {
            *to++ = (char)((path[1] - '0') * 64 + (path[2] - '0') * 8 + (path[3] - '0'));
            path += 3;
        } else {
            *to++ = *path;
        }
    *to = '\0';
}

/* The process's path in each version's hierarchy; place_group makes its group's of it. */
static void read_paths(void) {
    lines file;
    if (!open_lines(&file, "/proc/self/cgroup"))
        return;
    for (char *line; (line = next_line(&file)) != NULL;) {
        char *controllers = cut(line, ':'), *path = cut(controllers, ':');
        int v2 = *controllers == '\0';
        if ((v2 || has_word(controllers, "memory")) && strlen(path) < PATH_MAX)
            strcpy(groups[v2].path, path);
    }
}

/* The part of its hierarchy `root` is mounted at `point`. */
static void place_group(group *g, char *root, char *point) {
    char path[PATH_MAX];
    strcpy(path, g->path);
    unescape(root);
    unescape(point);
    size_t below = strcmp(root, "/") == 0 ? 0 : strlen(root);
    if (strncmp(path, root, below) != 0 || (path[below] != '/' && path[below] != '\0'))
        below = 0;
    if (strncmp(path, "/..", 3) == 0 || strlen(point) + strlen(path + below) >= PATH_MAX)
        path[below] = '\0'; /* outside of what is mounted */
    g->mount = strlen(point);
    strcpy(stpcpy(g->path, point), path + below);
}

static void read_mounts(void) {
    lines file;
    if (!open_lines(&file, "/proc/self/mountinfo"))
        return;
    for (char *line; (line = next_line(&file)) != NULL;) {
        char *tail = strstr(line, " - cgroup");
        if (tail == NULL)
            continue;
        int v2 = tail[strlen(" - cgroup")] == '2';
        char *options = strrchr(tail, ' ') + 1;
        char *root = cut(cut(cut(line, ' '), ' '), ' '), *point = cut(root, ' ');
        cut(point, ' ');
        if ((v2 || has_word(options, "memory")) && groups[v2].mount == 0 &&
            groups[v2].path[0] == '/' && strlen(point) < PATH_MAX)
            place_group(&groups[v2], root, point);
    }
}

static void find_groups(void) {
    memset(groups, 0, sizeof groups);
    read_paths();
    read_mounts();
    found_by = getpid();
}

/* --- what is left -------------------------------------------------------- */

static int64_t less_reserve(int64_t left, int64_t limit) {
    int64_t reserve = limit / 32;
    if (reserve < 4 * MIB)
        reserve = 4 * MIB;
    if (reserve > 64 * MIB)
        reserve = 64 * MIB;
    return left > reserve ? left - reserve : 0;
}

static int64_t number_of(const char *folder, const char *name, const char *key) {
    char path[PATH_MAX + 32];
    stpcpy(stpcpy(stpcpy(path, folder), "/"), name);
    return number_in(path, key);
}

/* Beyond memory.high nobody is killed, but whoever allocates is all but stopped. */
static int64_t left_in(const char *folder, const version *files) {
    int64_t limit = INT64_MAX, usage = number_of(folder, files->usage, "");
    for (int i = 0; i < 2 && files->limits[i] != NULL; i++) {
        int64_t one = number_of(folder, files->limits[i], "");
        if (one >= 0 && one < limit)
            limit = one;
    }
    if (usage < 0 || limit >= INT64_MAX / 2) /* version 1 says "none" by a huge one */
        return INT64_MAX;
    int64_t cache = number_of(folder, "memory.stat", files->cache);
    return less_reserve(limit - usage + (cache > 0 ? cache : 0), limit);
}

/* The least on the way from the group to the mount's root. */
static int64_t left_above(const group *g, const version *files) {
    char folder[PATH_MAX];
    int64_t least = INT64_MAX;
    strcpy(folder, g->path);
    for (char *end = folder + strlen(folder); g->mount > 0 && end >= folder + g->mount; end--)
        if (*end == '\0' || *end == '/' || end == folder + g->mount) {
            *end = '\0';
            int64_t left = left_in(folder, files);
            least = left < least ? left : least;
        }
    return least;
}

static int64_t left_in_machine(void) {
    int64_t available = number_in("/proc/meminfo", "MemAvailable:");
    int64_t total = number_in("/proc/meminfo", "MemTotal:");
    return available < 0 ? INT64_MAX : less_reserve(available * 1024, total * 1024);
}

int64_t mp_budget_left(void) {
    if (found_by != getpid())
        find_groups();
    int64_t least = left_in_machine();
    for (int v = 0; v < 2; v++) {
        int64_t left = left_above(&groups[v], &versions[v]);
        least = left < least ? left : least;
    }
    return least;
}
