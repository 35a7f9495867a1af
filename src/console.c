/*
** console.c: the lines typed at the prompt.
**
** The module's handlers turn SIGINT, SIGTERM and SIGHUP into an error in the
** running chunk. At the prompt nothing runs, so here we wait for input in
** ppoll and let these signals in only during that wait: none slips between
** the look at the flag and the wait. Nor between the wait and the read: Ctrl-C
** makes the terminal forget the keys that ended the wait, so the read must not
** wait for others. It has the terminal opened once more, without blocking,
** which the shell and its other programs, who share stdin, do not notice.
**
** libedit is used by its own interface and asks us for each character. Its
** readline face will not do: it passes signals on to the whole process group,
** it cannot be told of a resized window, and it blocks in the middle of an
** escape sequence, where Ctrl-C would go unheard.
*/
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <langinfo.h>
#include <locale.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>
#include <wchar.h>

#include "binding/lib.h"
#include "console.h"

typedef struct editline EditLine;
typedef struct history History;
typedef struct histevent {
    int number;
    const char *text;
} histevent;
typedef struct lineinfo {
    const char *buffer, *cursor, *end;
} lineinfo;

/* The part of libedit's interface that we use, with the numbers of its ABI. */
enum {
    EL_EDITOR = 2,
    EL_BIND = 4,
    EL_HIST = 10,
    EL_GETCFN = 13,
    EL_PREP_TERM = 16,
    EL_REFRESH = 20,
    EL_PROMPT_ESC = 21
};
enum { H_SETSIZE = 1, H_ENTER = 10, H_SETUNIQUE = 20 };

/* Encloses the parts of a prompt that take no room. */
enum { HIDDEN = '\1' };

static struct {
    EditLine *(*el_init)(const char *, FILE *, FILE *, FILE *);
    int (*el_set)(EditLine *, int, ...);
    char *(*el_gets)(EditLine *, int *);
    void (*el_resize)(EditLine *);
    int (*el_source)(EditLine *, const char *);
    const lineinfo *(*el_line)(EditLine *);
    History *(*history_init)(void);
    int (*history)(History *, histevent *, int, ...);
} lib;

static struct {
    lua_State *L;
    bool terminal;
    int keys;         /* the terminal, read without blocking; stdin, where it cannot be opened */
    int interrupted;  /* by this signal, while the present line was typed */
    EditLine *editor; /* NULL where lines are read plainly */
    History *history;
    char *prompt;       /* as the editor wants it */
    locale_t locale;    /* the terminal's encoding */
    struct termios own; /* the terminal's mode outside the editor */
} console;

/* Set by the handlers of SIGWINCH and SIGTSTP, which are ours while a line is
   edited; looked at by read_byte. */
static volatile sig_atomic_t resized, stopped;
static struct sigaction outer_winch, outer_tstp;

static void on_terminal(int sig) {
    if (sig == SIGWINCH)
        resized = 1;
    else
        stopped = 1;
}

static void catch_terminal(void) {
    struct sigaction ours = {.sa_handler = on_terminal, .sa_flags = SA_RESTART};
    sigaction(SIGWINCH, &ours, &outer_winch);
    sigaction(SIGTSTP, &ours, &outer_tstp);
}

static void release_terminal(void) {
    sigaction(SIGWINCH, &outer_winch, NULL);
    sigaction(SIGTSTP, &outer_tstp, NULL);
}

/* ---------- waiting ---------- */

/*
** Waits until stdin can be read without blocking, or a handler has set its
** flag. False when a signal of the module's came first: console.interrupted.
** What stdio has read ahead from a file or pipe cannot be known: there we only
** look, and a signal during the read is met before the next one.
*/
static bool await_input(void) {
    if (!console.terminal)
        return (console.interrupted = mp_interrupt_take(console.L)) == 0;
    sigset_t ours, outer;
    sigemptyset(&ours);
    sigaddset(&ours, SIGINT);
    sigaddset(&ours, SIGTERM);
    sigaddset(&ours, SIGHUP);
    sigaddset(&ours, SIGWINCH);
    sigaddset(&ours, SIGTSTP);
    sigprocmask(SIG_BLOCK, &ours, &outer);
    struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
    bool done = false;
    while (!done && (console.interrupted = mp_interrupt_take(console.L)) == 0)
        done = resized || stopped || ppoll(&in, 1, NULL, &outer) > 0;
    sigprocmask(SIG_SETMASK, &outer, NULL);
    return console.interrupted == 0;
}

static void redraw(void) {
    lib.el_resize(console.editor);
    lib.el_set(console.editor, EL_REFRESH);
}

/* Ctrl-Z: the shell gets the terminal as it was. */
static void suspend(void) {
    struct termios raw;
    stopped = 0;
    tcgetattr(STDIN_FILENO, &raw);
    tcsetattr(STDIN_FILENO, TCSADRAIN, &console.own);
    release_terminal();
    raise(SIGTSTP);
    catch_terminal();
    tcsetattr(STDIN_FILENO, TCSADRAIN, &raw);
    redraw();
}

/* The columns that the text takes, if each character takes one. */
static int columns(const char *text, const char *end) {
    int n = 0;
    bool hidden = false;
    for (; text < end; text++) {
        if (*text == HIDDEN)
            hidden = !hidden;
        else
            n += !hidden && (*text & 0xc0) != 0x80;
    }
    return n;
}

/*
** The window has another width, and the terminal has wrapped the line anew:
** libedit must start again from its first row. What sends SIGWINCH is a
** terminal that understands these sequences.
*/
static void follow_window(void) {
    struct winsize size;
    resized = 0;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) {
        const lineinfo *line = lib.el_line(console.editor);
        int before = columns(console.prompt, strchr(console.prompt, '\0')) +
                     columns(line->buffer, line->cursor);
        if (before >= size.ws_col)
            printf("\033[%dA", before / size.ws_col);
        fputs("\r\033[J", stdout);
    }
    redraw();
}

/* A byte of input: 1, 0 at the end of the input, -1 when it is to be given up. */
static int read_byte(char *byte) {
    for (;;) {
        if (!await_input())
            return -1;
        if (resized)
            follow_window();
        else if (stopped)
            suspend();
        else {
            ssize_t n = read(console.keys, byte, 1);
            if (n >= 0)
                return (int)n;
            if (errno != EINTR && errno != EAGAIN)
                return -1;
        }
    }
}

/* The editor asks for a character; returns as read_byte. Bytes that are none
   in the terminal's encoding are dropped. */
static int read_key(EditLine *editor, wchar_t *key) {
    (void)editor;
    mbstate_t partial = {0};
    char byte;
    int rc;
    while ((rc = read_byte(&byte)) > 0) {
        size_t len = mbrtowc(key, &byte, 1, &partial);
        if (len <= 1)
            return 1;
        if (len == (size_t)-1)
            partial = (mbstate_t){0};
    }
    return rc;
}

/* ---------- the editor ---------- */

static bool find_symbols(void *handle) {
    const struct {
        const char *name;
        void *slot;
    } symbols[] = {
        {"el_init", &lib.el_init},     {"el_set", &lib.el_set},
        {"el_gets", &lib.el_gets},     {"el_resize", &lib.el_resize},
        {"el_source", &lib.el_source}, {"el_line", &lib.el_line},
        {"history", &lib.history},     {"history_init", &lib.history_init},
    };
    for (size_t i = 0; i < sizeof symbols / sizeof *symbols; i++) {
        void *symbol = dlsym(handle, symbols[i].name);
        if (symbol == NULL)
            return false;
        memcpy(symbols[i].slot, &symbol, sizeof symbol);
    }
    return true;
}

static bool open_library(void) {
    void *handle = dlopen("libedit.so.2", RTLD_NOW | RTLD_LOCAL);
    if (handle == NULL)
        handle = dlopen("libedit.so.0", RTLD_NOW | RTLD_LOCAL);
    return handle != NULL && find_symbols(handle);
}

/* The encoding is the environment's, or UTF-8 where that does not say. */
static locale_t open_locale(void) {
    locale_t locale = newlocale(LC_CTYPE_MASK, "", (locale_t)0);
    if (locale != (locale_t)0 && strcmp(nl_langinfo_l(CODESET, locale), "ANSI_X3.4-1968") != 0)
        return locale;
    locale_t utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
    return utf8 != (locale_t)0 ? utf8 : locale;
}

/* Keys that users expect and libedit leaves out; ~/.editrc has the last word. */
static void bind_keys(EditLine *editor) {
    static const char *const keys[][2] = {
        {"^I", "ed-insert"},
        {"^R", "em-inc-search-prev"},
        {"\\e[3~", "ed-delete-next-char"},
        {"\\e[1~", "ed-move-to-beg"},
        {"\\e[4~", "ed-move-to-end"},
        {"\\e[1;5C", "em-next-word"},
        {"\\e[1;5D", "ed-prev-word"},
    };
    lib.el_set(editor, EL_EDITOR, "emacs");
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        lib.el_set(editor, EL_BIND, keys[i][0], keys[i][1], NULL);
    lib.el_source(editor, NULL);
}

static const char *shown_prompt(EditLine *editor) {
    (void)editor;
    return console.prompt;
}

static EditLine *open_editor(void) {
    histevent event;
    EditLine *editor = lib.el_init("luamp", stdin, stdout, stderr);
    console.history = lib.history_init();
    if (editor == NULL || console.history == NULL)
        return NULL;
    lib.history(console.history, &event, H_SETSIZE, 10000);
    lib.history(console.history, &event, H_SETUNIQUE, 1);
    lib.el_set(editor, EL_HIST, lib.history, console.history);
    lib.el_set(editor, EL_GETCFN, read_key);
    lib.el_set(editor, EL_PROMPT_ESC, shown_prompt, HIDDEN);
    bind_keys(editor);
    return editor;
}

/*
** Lines of the prompt before its last are printed as they are: libedit drops
** newlines. readline encloses what takes no room in \1 and \2, libedit in
** twice the same mark.
*/
static bool set_prompt(const char *prompt) {
    const char *newline = strrchr(prompt, '\n');
    const char *last = newline != NULL ? newline + 1 : prompt;
    fwrite(prompt, 1, (size_t)(last - prompt), stdout);
    free(console.prompt);
    console.prompt = strdup(last);
    if (console.prompt == NULL)
        return false;
    for (char *c = console.prompt; *c != '\0'; c++) {
        if (*c == '\2')
            *c = HIDDEN;
    }
    return true;
}

static char *edit_line(const char *prompt) {
    static int len; /* of no use to us, but libedit writes it */
    if (!set_prompt(prompt))
        return NULL;
    fflush(stdout);
    tcgetattr(STDIN_FILENO, &console.own);
    catch_terminal();
    /* Or it would happen after the prompt, when keys may have been typed. */
    lib.el_set(console.editor, EL_PREP_TERM, 1);
    char *line = lib.el_gets(console.editor, &len);
    release_terminal();
    return line;
}

/* ---------- without an editor ---------- */

/* A line of the terminal, which has edited it. Its end is a newline or Ctrl-D. */
static bool type_line(char **line, size_t *size) {
    size_t len = 0;
    char byte = '\0';
    int rc = 1;
    while (byte != '\n' && (rc = read_byte(&byte)) > 0) {
        if (len + 1 >= *size) {
            char *longer = realloc(*line, *size = 2 * *size + 128);
            if (longer == NULL)
                return false;
            *line = longer;
        }
        (*line)[len++] = byte;
    }
    if (len > 0)
        (*line)[len] = '\0';
    return rc >= 0 && len > 0;
}

static char *plain_line(const char *prompt) {
    static char *line;
    static size_t size;
    fputs(prompt, stdout);
    fflush(stdout);
    if (console.terminal)
        return type_line(&line, &size) ? line : NULL;
    return await_input() && getline(&line, &size, stdin) >= 0 ? line : NULL;
}

/* ---------- the console ---------- */

static int open_keys(void) {
    int keys = open("/proc/self/fd/0", O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    return keys >= 0 ? keys : STDIN_FILENO;
}

/*
** The locale is the terminal's while a line is typed, and in this thread
** only: scripts stay in the C locale, as always.
*/
void console_open(lua_State *L) {
    console.L = L;
    console.terminal = isatty(STDIN_FILENO);
    console.keys = console.terminal ? open_keys() : STDIN_FILENO;
    if (!console.terminal || !isatty(STDOUT_FILENO) || !open_library())
        return;
    console.locale = open_locale();
    locale_t outer = uselocale(console.locale);
    console.editor = open_editor();
    uselocale(outer);
}

/* The lines of a file or pipe are echoed, as by a lua that is linked with
   readline; those of the distributions are. */
const char *console_read(const char *prompt, int *interrupted) {
    console.interrupted = 0;
    locale_t outer = uselocale(console.locale);
    char *line = console.editor != NULL ? edit_line(prompt) : plain_line(prompt);
    uselocale(outer);
    *interrupted = console.interrupted;
    if (line != NULL) {
        size_t len = strlen(line);
        if (len > 0 && line[len - 1] == '\n')
            line[len - 1] = '\0';
    }
    if (line != NULL && !console.terminal)
        puts(line);
    else if (console.interrupted != 0)
        putchar('\n');
    fflush(stdout);
    return line;
}

void console_remember(const char *statement) {
    histevent event;
    if (console.editor != NULL)
        lib.history(console.history, &event, H_ENTER, statement);
}
