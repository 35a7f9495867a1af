-- luamp.hosts: the hosts that a script's pools may use: its own, and those of the other ranks of its job.
--
-- Under a launcher of MPI (src/cluster.h) the script runs at rank 0, and each other rank is a host that serves
-- (host.lua). To each there is a link; how its bytes get there is nothing that is known here. A host says first
-- who it is. One with another build of luamp, or another Lua, is refused: functions travel as bytecode.
--
-- A link that ends is a host that is lost, for good: its rank died, or was silent for too long.

local core = require "luamp.core"
local cpu = require "luamp.cpu"
local errors = require "luamp.errors"
local options = require "luamp.options"

local link = core.link
local hosts = {}

local all -- the list: the own host first
local owner -- the process that made it
local are_known -- each has said who it is
local set -- the descriptor of their links

-- The name of this process's host.
function hosts.name()
    local file <close> = io.open "/proc/sys/kernel/hostname"
    return file and file:read "l" or "localhost"
end

-- The seconds after which a silent host is given up, by its agents (src/cluster.c, which has checked it).
function hosts.patience()
    return tonumber(os.getenv "LUAMP_HOST_TIMEOUT") or 10
end

-- What both sides must have in common: the same program, to the byte.
local function build()
    local file <close> = io.open("/proc/self/exe", "rb")
    return core.version .. " " .. core.journal.digest(file and file:read "a" or "")
end

-- What this process says of itself at the beginning.
function hosts.hello()
    return { build = build(), name = hosts.name(), cpus = cpu.count(), pid = core.getpid() }
end

-- Whether this is rank 0 of several, or LUAMP_ENGINE has asked for ranks.
function hosts.are_there()
    local rank, size = link.rank()
    return rank == 0 and size >= 1
end

-- The launcher's ranks, where this process is one of several that luamp itself has not taken over: in a stock
-- interpreter each would run the script.
function hosts.refuse_copies()
    local size = math.tointeger(tonumber(os.getenv "OMPI_COMM_WORLD_SIZE")
        or os.getenv "PMIX_RANK" and tonumber(os.getenv "SLURM_STEP_NUM_TASKS"))
    if not size or size < 2 or os.getenv "LUAMP_ENGINE" == "local" or os.getenv "LUAMP_RANK" then return end
    error(("luamp: %d ranks of a launcher would each run this script: let it start luamp, as in mpirun luamp job.lua, "
        .. "or set LUAMP_ENGINE=local"):format(size), 0)
end

local function lose(h, why)
    h.is_lost, h.why = true, h.why or why
    if h.link then link.close(h.link) end
    h.link = nil
end

-- The next message of the host, as link.take; its end makes it lost.
function hosts.take(h)
    if not h.link then return nil end
    local message = table.pack(link.take(h.link))
    if message[1] == false then
        lose(h, ("host %s (rank %d) is lost: it ended, or was silent for too long"):format(h.name, h.rank))
        return nil
    end
    return table.unpack(message, 1, message.n)
end

-- Sends a message (link.message), and maybe a tail; a host that is gone is seen when something is taken.
function hosts.send(h, message, tail)
    if h.link then link.send(h.link, message, tail) end
end

function hosts.flush(h)
    if h.link then link.flush(h.link) end
end

-- What has come first: who the host is, or why it is not to be used.
local function note_hello(h, ours, op, hello)
    h.is_known = true
    if op ~= "hello" then
        h.misfit = ("luamp: rank %d is no luamp of this build: %s"):format(h.rank, hello)
    elseif hello.build ~= ours.build then
        h.misfit = ("luamp: host %s (rank %d) runs another build of luamp than %s: the same is to be on all hosts")
            :format(hello.name, h.rank, ours.name)
    else
        h.name, h.cpus, h.pid = hello.name, hello.cpus, hello.pid
    end
end

local function wait_for_hello(h, ours)
    while not (h.is_lost or h.is_known) do
        local is_there, op, hello = hosts.take(h)
        if is_there then
            note_hello(h, ours, op, hello)
        elseif not core.poll({ h.link and link.fd(h.link) or -1 }, core.deadline(0.05)) then
            core.serve_signals()
        end
    end
    if h.misfit then error(h.misfit, 0) end
end

-- A list of all ranks; of each that is another one there is a link.
local function open_all()
    local list = { { rank = 0, name = hosts.name(), cpus = cpu.count(), is_here = true } }
    local _, size = link.rank()
    owner = core.getpid()
    if not hosts.are_there() or size == 1 then return list end
    set = assert(link.set())
    for rank = 1, size - 1 do
        local h = { rank = rank, name = "rank " .. rank, cpus = 0, link = link.new(link.stream(rank)) }
        assert(link.join(h.link, set))
        list[rank + 1] = h
    end
    return list
end

-- The list: of each its name, rank, number of usable CPUs; is_lost. Waits for those that are not there yet; what is
-- raised meanwhile, as by a signal's handler, leaves it to the next call. A child of the script's process has no other
-- host.
function hosts.list()
    if owner ~= core.getpid() then all, are_known = open_all(), false end
    if are_known then return all end
    local ours = all[2] and hosts.hello()
    for i = 2, #all do wait_for_hello(all[i], ours) end
    are_known = true
    return all
end

-- A descriptor that is readable when a host has sent something, or takes again what was sent.
function hosts.set()
    return set
end

-- mp.hosts(): a list of {name=, rank=, cpus=, lost=}, the script's own host first.
function hosts.describe()
    local list = {}
    for i, h in ipairs(hosts.list()) do
        if h.link then hosts.flush(h) end
        local is_lost = h.is_lost or h.link and link.is_left(h.link) or false
        list[i] = { name = h.name, rank = h.rank, cpus = h.cpus, lost = is_lost }
    end
    return list
end

-- Names and ranks, in words.
function hosts.listed(list)
    local words = {}
    for i, h in ipairs(list) do
        words[i] = ("%s (rank %d%s)"):format(h.name, h.rank, h.is_lost and ", lost" or "")
    end
    return table.concat(words, ", ")
end

-- Those that the option `hosts` of a pool names, of those that are there: names, or ranks as numbers. Each once,
-- however often it is named.
function hosts.chosen(where, given)
    local list, known = {}, hosts.list()
    if given == nil then
        for _, h in ipairs(known) do
            if not h.is_lost then list[#list + 1] = h end
        end
        return list
    end
    local chosen = {}
    for _, wanted in ipairs(given) do
        local is_there = false
        for _, h in ipairs(known) do
            local is_meant = (h.name == wanted or h.rank == wanted) and not h.is_lost
            if is_meant and not chosen[h] then list[#list + 1] = h end
            if is_meant then chosen[h], is_there = true, true end
        end
        if not is_there then
            options.misuse(where, "option 'hosts': there is no host %s; there are %s", options.describe(wanted),
                hosts.listed(known))
        end
    end
    if not list[1] then options.misuse(where, "option 'hosts' names no host") end
    table.sort(list, function(a, b) return a.rank < b.rank end)
    return list
end

-- A message of those values. Raises in words what cannot be sent; name(i): what the value is called.
function hosts.message(where, name, ...)
    local message = link.message(...)
    if message then return message end
    local words = require "luamp.culprit" ({ ... }, select("#", ...), name, "far") or "it changed meanwhile"
    error(errors.new { kind = "unsendable", message = where .. ": " .. words }, 0)
end

return hosts
