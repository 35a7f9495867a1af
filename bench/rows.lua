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
--               "/s", "k/s", "M/s"; "%" where the programs print no time, but a part
--   output      for "whole": what the program has to print, the last line
--               last, the others in any order
--   yardstick   what the C program does, in words
--   needs       the command without which the row is left out, unless it is asked for
--   args        what the yardstick and luamp get before the count (none: nothing)
--   base        where the yardstick is another program than the folder's, or
--               gets other args: its folder, its args, and its host, if that is
--               not C: luamp, or lua, which runs luamp's program as well
--   target      luamp against the yardstick: at_most = times its time (and
--               plus = seconds), or at_least = times its speed; it also says in
--               which of the two the row's ratios are shown. Where the goal is a
--               time that was set beforehand: within = seconds. None: nothing is
--               promised
--   peers       in order: host (see machine.lua), file in the folder (none for
--               host C, which is the yardstick's program) and its args, label,
--               count, and lead: how many times as fast as it luamp has to be
--               (none: shown, and nothing is promised)
local rows = {
    {
        id = "0",
        name = "an empty script, whole process",
        folder = "empty",
        how = "whole",
        count = 50,
        unit = "us",
        output = {},
        yardstick = "lua5.4",
        base = { host = "lua" },
        peers = {},
    },
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
            { host = "python3", file = "python3.py", args = { "fork" }, label = "fork", count = 40, lead = 15 },
            { host = "perl", file = "perl.pl", args = { "_exit" }, label = "fork + _exit", count = 100, lead = 5 },
            { host = "perl", file = "perl.pl", args = { "exit" }, label = "fork + exit", count = 50 },
            { host = "lanes", file = "lanes.lua", label = "all libraries", count = 100, lead = 1 },
            { host = "node", file = "node.js", label = "worker thread", count = 8 },
        },
    },
    {
        id = "2",
        name = "start + join over a heap of 1 GiB",
        folder = "heap",
        how = "loop",
        count = 50,
        unit = "us",
        yardstick = "fork, _exit, wait; huge pages",
        args = { "start" },
        target = { at_most = 1.8 },
        peers = {
            { host = "python3", file = "python3.py", args = { "start" }, label = "fork", count = 10, lead = 25 },
        },
    },
    {
        id = "2b",
        name = "the first start + join over it",
        folder = "heap",
        how = "loop",
        count = 1,
        unit = "ms",
        yardstick = "fork, _exit, wait; huge pages",
        args = { "first" },
        target = { within = 3e-3 },
        peers = {
            { host = "python3", file = "python3.py", args = { "first" }, label = "fork", count = 1 },
        },
    },
    {
        id = "3",
        name = "start + join, forkserver",
        folder = "start_join",
        how = "loop",
        count = 200,
        unit = "us",
        yardstick = "a zygote's fork, new Lua state",
        args = { "forkserver" },
        target = { at_most = 1.5 },
        peers = {
            { host = "python3", file = "python3.py", args = { "forkserver" }, label = "forkserver", count = 10,
                lead = 80 },
        },
    },
    {
        id = "3s",
        name = "start + join, spawn",
        folder = "start_join",
        how = "loop",
        count = 100,
        unit = "us",
        yardstick = "posix_spawn of C and Lua",
        args = { "spawn" },
        target = { at_most = 1.3 },
        peers = {
            { host = "python3", file = "python3.py", args = { "spawn" }, label = "spawn", count = 4, lead = 40 },
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
            { host = "parallel", file = "parallel.pl", label = "one at a time", count = 100, lead = 6 },
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

-- Growth: starts over heaps of so many MiB, and so many processes at once.
for _, mib in ipairs { 16, 64, 256 } do
    rows[#rows + 1] = {
        id = ("2g%d"):format(mib), name = ("start + join over a heap of %d MiB"):format(mib), folder = "heap",
        how = "loop", count = 50, unit = "us", yardstick = "fork, _exit, wait; huge pages",
        args = { "start", tostring(mib) }, target = { at_most = 1.8 }, peers = {},
    }
end
for _, n in ipairs { 10, 100 } do
    rows[#rows + 1] = {
        id = ("20n%d"):format(n), name = ("%d processes at once, each"):format(n), folder = "crowd", how = "loop",
        count = n, unit = "us", yardstick = "fork, pause; kill, wait", peers = {},
    }
end

-- Queues, a row for each thing that is passed. `kind`, and how many put and get, are what
-- the programs are told.
local function add_queue(row, kind, n_putters, n_getters, peers)
    row.folder, row.how = "queue", "loop"
    row.args = { kind, tostring(n_putters), tostring(n_getters) }
    row.peers = peers
    for _, peer in ipairs(peers) do
        peer.args = peer.args or { kind }
        peer.file = peer.file or peer.host .. (peer.host == "node" and ".js" or ".lua")
    end
    rows[#rows + 1] = row
end

local function python(class, kind, n_putters, n_getters, count, lead)
    return { host = "python3", file = "python3.py", label = class, count = count, lead = lead,
        args = { class, kind, tostring(n_putters), tostring(n_getters) } }
end

add_queue({ id = "11", name = "integers through a queue", count = 200000, unit = "M/s",
    yardstick = "C ring with two locks", target = { at_least = 0.3 } }, "each", 1, 1, {
    python("Queue", "each", 1, 1, 20000, 30),
    python("SimpleQueue", "each", 1, 1, 20000),
    python("Pipe", "each", 1, 1, 20000),
    { host = "node", label = "postMessage", count = 50000, lead = 5 },
    { host = "lanes", label = "linda", count = 50000, lead = 4 },
    { host = "erlang", file = "erlang.escript", label = "message", count = 100000 },
})
add_queue({ id = "11b", name = "integers through a queue, a thousand with each call", count = 400000, unit = "M/s",
    yardstick = "C ring, one with each call", target = { at_least = 0.9 } }, "many", 1, 1, {
    python("Queue", "many", 1, 1, 200000),
    python("Pipe", "many", 1, 1, 200000),
    { host = "node", label = "postMessage", count = 200000 },
    { host = "lanes", label = "linda", count = 50000 },
})
for _, n in ipairs { { 4, 1 }, { 1, 4 }, { 4, 4 } } do
    local n_putters, n_getters = n[1], n[2]
    add_queue({ id = ("11m%d%d"):format(n_putters, n_getters), count = 100000, unit = "M/s",
        name = ("integers through a queue, %d putters, %d getters"):format(n_putters, n_getters),
        yardstick = "C ring with two locks", target = { at_least = 0.3 } }, "each", n_putters, n_getters, {
        python("Queue", "each", n_putters, n_getters, 10000),
        python("SimpleQueue", "each", n_putters, n_getters, 10000),
    })
end
add_queue({ id = "12", name = "there and back through two queues", count = 20000, unit = "us",
    yardstick = "two C rings with locks", target = { at_most = 4 } }, "trip", 1, 1, {
    python("Queue", "trip", 1, 1, 1000, 100),
    python("Pipe", "trip", 1, 1, 2000),
    { host = "node", label = "postMessage", count = 2000 },
    { host = "lanes", label = "linda", count = 2000 },
    { host = "erlang", file = "erlang.escript", label = "message", count = 20000 },
})
add_queue({ id = "13", name = "strings of 1 MiB through a queue", count = 200, unit = "us",
    yardstick = "C ring, copied in and out", target = { at_least = 0.4 } }, "strings", 1, 1, {
    { host = "C", label = "pipe", args = { "pipe", "1", "1" }, count = 100, lead = 3 },
    python("Queue", "strings", 1, 1, 100, 15),
    python("Pipe", "strings", 1, 1, 100),
    { host = "node", label = "postMessage", count = 100 },
    { host = "lanes", label = "linda", count = 100 },
    { host = "erlang", file = "erlang.escript", label = "binary, shared", count = 1000 },
})

-- Dicts: a row for each kind of call and number of processes.
for _, kind in ipairs { "set", "get", "update" } do
    for _, n in ipairs { 1, 2, 8 } do
        local args = { kind, tostring(n) }
        rows[#rows + 1] = {
            id = ("16d%s%d"):format(kind:sub(1, 1), n), folder = "dict", how = "loop", count = 200000, unit = "ns",
            name = ("%s of a dict, %d process%s"):format(kind, n, n == 1 and "" or "es"), args = args,
            yardstick = "C table with 64 locks",
            peers = {
                { host = "python3", file = "python3.py", label = "Manager().dict()", count = 2000, args = args },
            },
        }
    end
end

-- Pools. `kind` is what the programs are told, and how many workers there are; `peers` are
-- lists of host, label, count, lead, the class of Python being its label.
local pool_files = { python3 = "python3.py", node = "node.js", erlang = "erlang.escript", mce = "mce.pl" }

local function add_pool(row, kind, n_workers, peers)
    local words = { kind, tostring(n_workers) }
    row.folder, row.how, row.args, row.peers = "pool", "loop", words, {}
    for i, peer in ipairs(peers) do
        local host, label, count, lead = table.unpack(peer)
        row.peers[i] = { host = host, file = pool_files[host], label = label, count = count, lead = lead,
            args = host == "python3" and { label, table.unpack(words) } or words }
    end
    rows[#rows + 1] = row
end

local function hops(kind, n_workers)
    return { folder = "queue", args = { kind, "1", tostring(n_workers) } }
end

add_pool({ id = "5", name = "pool of 2: open, close, join", count = 100, unit = "us",
    yardstick = "2 forks, _exit, wait", target = { at_most = 2 } }, "open", 2, {
    { "python3", "Pool", 20, 15 },
    { "node", "worker threads", 2 },
})
add_pool({ id = "6", name = "map, default chunks", count = 500000, unit = "M/s",
    yardstick = "Lua loop in one process", target = { at_least = 0.6 } }, "map", 2, {
    { "python3", "Pool", 200000, 2.5 },
    { "python3", "ProcessPoolExecutor", 200000 },
    { "node", "worker threads", 200000 },
    { "mce", "MCE::Map", 200000, 9 },
})
add_pool({ id = "6k", name = "map of strings of 1 KiB, there and back", count = 20000, unit = "us",
    yardstick = "C rings, copied in and out", base = hops("kib", 2) }, "kib", 2, {
    { "python3", "Pool", 20000 },
    { "python3", "ProcessPoolExecutor", 20000 },
    { "node", "worker threads", 20000 },
})
add_pool({ id = "6m", name = "map of strings of 1 MiB, there and back", count = 100, unit = "us",
    yardstick = "C rings, copied in and out", base = hops("mib", 2) }, "mib", 2, {
    { "python3", "Pool", 100 },
    { "python3", "ProcessPoolExecutor", 100 },
    { "node", "worker threads", 100 },
})
add_pool({ id = "7", name = "map, chunks of one", count = 500000, unit = "M/s",
    yardstick = "C, slots claimed", target = { at_least = 0.5 } }, "map1", 2, {
    { "python3", "Pool", 20000, 100 },
    { "python3", "ProcessPoolExecutor", 2000 },
    { "node", "worker threads", 100000, 15 },
    { "erlang", "messages", 100000, 2 },
    { "mce", "MCE::Map", 5000 },
})
for _, n in ipairs { 100, 1000, 10000 } do
    add_pool({ id = ("6g%d"):format(n), name = ("map of %d tasks, default chunks"):format(n), count = n, unit = "M/s",
        yardstick = "Lua loop in one process", base = { args = { "map", "2" } } }, "map", 2, {})
end
for i, kind in ipairs { "imap", "imap_unordered" } do
    add_pool({ id = i == 1 and "8" or "8u", name = kind .. ", chunks of one", count = 100000, unit = "M/s",
        yardstick = "C rings, there and back", base = hops("hops", 2), target = { at_least = 0.15 } }, kind, 2, {
        { "python3", "Pool", 10000, 40 },
    })
end
add_pool({ id = "9", name = "20,000 submits, then the results", count = 20000, unit = "k/s",
    yardstick = "C rings, there and back", base = hops("hops", 2), target = { at_least = 1 / 14 } }, "submit", 2, {
    { "python3", "Pool", 10000, 40 },
    { "python3", "ProcessPoolExecutor", 3000 },
    { "node", "worker threads", 20000 },
})
for _, n_workers in ipairs { 1, 2 } do
    add_pool({ id = n_workers == 1 and "10" or "10w2", count = 10000, unit = "us",
        name = n_workers == 1 and "apply, there and back" or "apply, of two workers",
        yardstick = "two C rings with locks", base = { folder = "queue", args = { "trip", "1", "1" } },
        target = n_workers == 1 and { at_most = 3, plus = 0.5e-6 } or nil }, "apply", n_workers, {
        { "python3", "Pool", 1000, n_workers == 1 and 60 or nil },
        { "python3", "ProcessPoolExecutor", 500 },
        { "node", "worker threads", 2000 },
        { "erlang", "messages", 20000 },
    })
end

-- Locks: `kind` is what the programs are told.
for i, kind in ipairs { "free", "contended" } do
    rows[#rows + 1] = {
        id = i == 1 and "14" or "14c", name = "a lock, acquired and released, " .. kind, folder = "lock", how = "loop",
        count = i == 1 and 2000000 or 200000, unit = "ns", args = { kind }, target = { at_most = 1.4 },
        yardstick = "robust mutex, 2 checked calls",
        peers = { { host = "python3", file = "python3.py", args = { kind }, label = "Lock",
            count = i == 1 and 500000 or 50000, lead = i == 1 and 0.8 or 1.5 } },
    }
end

-- Work for two CPUs. Only what runs the same Lua is a peer.
local function add_cpu(row, args, peers)
    row.folder, row.how, row.args, row.peers = "cpu_map", "loop", args, peers or {}
    row.yardstick = row.yardstick or "2 of bare Lua, half each"
    row.target = row.target or { at_least = 0.97 }
    rows[#rows + 1] = row
end

add_cpu({ id = "19", name = "map, 2 workers, tasks of 50 ms", count = 10, unit = "ms" }, { "long" }, {
    { host = "parallel", file = "parallel.pl", args = { "long" }, label = "lua5.4, its own start, too", count = 10 },
})
add_cpu({ id = "19s", name = "map, 2 workers, tasks of 100 us", count = 4000, unit = "us" }, { "short" })
add_cpu({ id = "19u", name = "map, 2 workers, one task in 100 longer", count = 8000, unit = "us" }, { "uneven" })
add_cpu({ id = "19k", name = "map, 2 workers, one killed every 100 ms", count = 20000, unit = "us",
    yardstick = "luamp, none killed", base = { host = "luamp", args = { "short" } },
    target = { at_least = 0.8 } }, { "short", "killed" })
add_cpu({ id = "19b", name = "map, 2 workers, tasks of 10 us, with a bar", count = 1000000, unit = "us",
    yardstick = "luamp, without a bar", base = { host = "luamp", args = { "tiny" } }, needs = "script",
    target = { at_least = 0.99 } }, { "tiny", "barred" })

rows[#rows + 1] = {
    id = "22", name = "the words of 200 MB, counted by a pool", folder = "words", how = "loop", count = 1, unit = "s",
    yardstick = "luamp, one loop", args = { "pool" }, base = { host = "luamp", args = { "serial" } }, peers = {},
}

-- What a child copies of its parent's heap: parts, and no times.
for i, kind in ipairs { "read", "allocate" } do
    rows[#rows + 1] = {
        id = i == 1 and "17" or "17a", folder = "heap", how = "loop",
        name = "copied of 1 GiB by a child that " .. (i == 1 and "reads it" or "makes 30 M tables"),
        count = 1, unit = "%", yardstick = "a page", args = { kind }, target = { within = i == 1 and 0.005 or 0.02 },
        peers = { { host = "python3", file = "python3.py", args = { kind }, label = "fork", count = 1,
            lead = kind == "read" and 100 or nil } },
    }
end

-- Lua that allocates, by the collector's modes.
for _, mode in ipairs { "incremental", "generational" } do
    for _, kind in ipairs { "trees", "strings", "mixed" } do
        rows[#rows + 1] = {
            id = ("18%s%s"):format(kind:sub(1, 1), mode:sub(1, 1)), name = ("%s in Lua, %s"):format(kind, mode),
            folder = "alloc", how = "loop", count = 10, unit = "ms", yardstick = "lua5.4", args = { kind, mode },
            base = { host = "lua" }, target = { at_most = mode == "incremental" and 0.72 or 0.88 }, peers = {},
        }
    end
end

-- Numbers in shared memory, a row for each thing that is done with them.
local function add_cells(row, kind, peers)
    row.folder, row.how, row.args, row.peers = "cells", "loop", { kind }, {}
    for i, peer in ipairs(peers) do
        local class, count, lead = table.unpack(peer)
        row.peers[i] = { host = "python3", file = "python3.py", args = { class, kind }, label = class, count = count,
            lead = lead }
    end
    rows[#rows + 1] = row
end

add_cells({ id = "15", name = "a shared counter, added to", count = 2000000, unit = "ns",
    yardstick = "fetch_add, empty method", target = { at_most = 1.4 } }, "add", { { "Value", 100000, 15 } })
add_cells({ id = "16", name = "an element of a shared array, read", count = 2000000, unit = "ns",
    yardstick = "empty function for o[1]", target = { at_most = 1.3 } }, "element", {
    { "Array", 200000, 1.5 },
    { "RawArray", 1000000 },
})
add_cells({ id = "16w", name = "an element of a shared array, written", count = 2000000, unit = "ns",
    yardstick = "empty function, o[1] = 1" }, "assign", {
    { "Array", 200000 },
    { "RawArray", 1000000 },
})
add_cells({ id = "16b", name = "1 MiB of a shared array, copied", count = 2000, unit = "us",
    yardstick = "memcpy", target = { at_least = 0.8 } }, "copy", { { "SharedMemory", 2000 } })

-- What workers write: each 1 MiB of it, as cat would write it, and the peer with its options.
local function add_relay(id, mode, tag, options, lead)
    rows[#rows + 1] = {
        id = id, name = ("1 MiB of lines, relayed: %s%s"):format(mode, tag == "yes" and ", with tags" or ""),
        folder = "relay", how = "loop", count = 400, unit = "ms", args = { mode, tag }, base = { args = {} },
        yardstick = "two cats into one pipe", target = { within = 1 / 200 },
        peers = {
            { host = "parallel", file = "parallel.pl", args = options, label = table.concat(options, " "), count = 40,
                lead = lead },
        },
    }
end

add_relay("21", "line", "no", { "--line-buffer" })
add_relay("21t", "line", "yes", { "--line-buffer", "--tag" }, 5)
add_relay("21o", "ordered", "no", { "--keep-order" })

-- Tasks for other hosts, which are ranks of this machine.
local function add_cluster(row, kind)
    row.folder, row.how, row.args, row.needs = "cluster", "loop", { kind }, "mpirun"
    row.peers = row.base and {} or { { host = "mpi4py", file = "futures.py", args = { kind }, label = "MPIPoolExecutor",
        count = row.count // 10 } }
    row.yardstick = row.yardstick or "C, a farm of MPI"
    rows[#rows + 1] = row
end

add_cluster({ id = "23", name = "a task on one of two other hosts, of many", count = 20000, unit = "us",
    target = { at_least = 0.8 } }, "rate")
add_cluster({ id = "23t", name = "a task on another host, there and back", count = 2000, unit = "us",
    target = { at_most = 1.5 } }, "trip")
add_cluster({ id = "23m", name = "1 MiB to another host, and back", count = 200, unit = "us",
    target = { at_least = 0.8 } }, "mib")
add_cluster({ id = "23n", name = "16 MiB to another host, and back", count = 20, unit = "ms",
    target = { at_least = 0.8 } }, "mib16")
add_cluster({ id = "23l", name = "map by engine mpi, on one host", count = 200000, unit = "us",
    yardstick = "luamp, engine local", base = { host = "luamp", args = { "local" } } }, "host")

-- The codec, a row for each value and direction. Functions are beyond all peers.
local function add_codec(id, case, what, count, unit, options)
    for _, operation in ipairs { "encode", "decode" } do
        local words, peers = { operation, case }, {}
        for i, peer in ipairs(options.peers or {}) do
            peers[i] = { host = peer.host, file = peer.host .. ".lua", args = words, label = peer.label,
                count = peer.count }
        end
        rows[#rows + 1] = {
            id = id .. operation:sub(1, 1), name = operation .. " " .. what, folder = "codec", how = "loop",
            count = count, unit = unit, args = words, target = options.target, peers = peers,
            yardstick = operation == "encode" and "walk, copy, one string" or "built by Lua's C API",
        }
    end
end

-- Those that copy: how often each of them in a round.
local function serialisers(cjson, others)
    return {
        { host = "cjson", label = "Lua 5.4", count = cjson },
        { host = "cmsgpack", label = "Lua 5.4", count = others },
        { host = "luajit", label = "string.buffer", count = others },
    }
end

add_codec("c1", "fields", "a table of 5 fields", 100000, "us",
    { target = { within = 0.5e-6 }, peers = serialisers(50000, 100000) })
add_codec("c2", "nested", "100 tables of 10 fields", 1000, "us", { peers = serialisers(400, 1000) })
add_codec("c3", "integers", "a million integers", 5, "ms", { peers = serialisers(1, 3) })
add_codec("c4", "string", "a string of 1 MiB", 200, "us", { peers = serialisers(20, 200) })
add_codec("c5", "closure", "a closure of ten upvalues", 20000, "us", {})

return rows
