-- The rows of the table: one entry each.
--
--   id, name    what stands in the table; `bench/run ID` runs it alone
--   folder      where its programs lie; the C yardstick is built by that name
--   how         "loop": a program gets the count of operations as its last
--               argument, times them itself and prints the seconds that one
--               took. "whole": the program is timed from outside, from spawn
--               to exit, `count` runs in each round.
--   count       operations or runs in a round; a peer may have its own
--   unit        how medians are shown: "ns", "us", "ms", "s", or as a rate,
--               "/s", "k/s", "M/s"
--   output      for "whole": what the program has to print, the last line
--               last, the others in any order
--   yardstick   what the C program does, in words
--   target      luamp against the yardstick: at_most = times its time, or
--               at_least = times its speed; it also says in which of the two
--               the row's ratios are shown
--   peers       in order: host (see machine.lua), file in the folder and its
--               args, label, count, and lead: how many times as fast as it
--               luamp has to be (none: shown, and nothing is promised)
return {
    {
        id = "1",
        name = "start + join, small state",
        folder = "start_join",
        how = "loop",
        count = 200,
        unit = "us",
        yardstick = "fork, _exit, wait",
        target = { at_most = 1.35 },
        peers = {
            { host = "python3", file = "python3.py", label = "fork", count = 40, lead = 15 },
            { host = "perl", file = "perl.pl", args = { "_exit" }, label = "fork + _exit", count = 100, lead = 5 },
            { host = "perl", file = "perl.pl", args = { "exit" }, label = "fork + exit", count = 50 },
            { host = "lanes", file = "lanes.lua", label = "all libraries", count = 100, lead = 1 },
            { host = "node", file = "node.js", label = "worker thread", count = 8 },
        },
    },
    {
        id = "4",
        name = "cube and square example, whole process",
        folder = "cube_square",
        how = "whole",
        count = 20,
        unit = "ms",
        output = { "Cube: 1000", "Square: 100", "DONE" },
        yardstick = "the same in C and Lua",
        target = { at_most = 1.25 },
        peers = {
            { host = "python3", file = "python3.py", label = "fork", count = 4, lead = 35 },
            { host = "perl", file = "perl.pl", label = "fork", count = 10 },
            { host = "node", file = "node.js", label = "worker threads", count = 2 },
        },
    },
    {
        id = "20",
        name = "external command",
        folder = "command",
        how = "loop",
        count = 100,
        unit = "us",
        yardstick = "posix_spawn, wait",
        target = { at_most = 1.1 },
        peers = {
            { host = "python3", file = "python3.py", label = "subprocess", count = 40 },
            { host = "perl", file = "xargs.pl", label = "xargs", count = 100, lead = 1.1 },
        },
    },
    {
        id = "20c",
        name = "external command, captured",
        folder = "command_captured",
        how = "loop",
        count = 100,
        unit = "us",
        yardstick = "posix_spawn, pipe, wait",
        target = { at_most = 1.25 },
        peers = {
            { host = "python3", file = "python3.py", label = "subprocess", count = 40 },
        },
    },
    {
        id = "20n",
        name = "1,000 processes at once, each",
        folder = "crowd",
        how = "loop",
        count = 1000,
        unit = "us",
        yardstick = "fork, pause; kill, wait",
        target = { at_most = 4 },
        peers = {
            { host = "python3", file = "python3.py", label = "fork", count = 200, lead = 5 },
        },
    },
}
