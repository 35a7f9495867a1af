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

local all, owner -- the list: the own host first; and the process that it is for
local set -- the descriptor of their links

-- The name of this process's host.
function hosts.name()
    local file <close> = io.open "/proc/sys/kernel/hostname"
    return file and file:read "l" or "localhost"
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

local function wait_for_hello(h, ours)
    while not h.is_lost do
        local is_there, op, hello = hosts.take(h)
        if is_there then
            if op ~= "hello" then error(("luamp: rank %d is no luamp of this build: %s"):format(h.rank, hello), 0) end
            if hello.build ~= ours.build then
                error(("luamp: host %s (rank %d) runs another build of luamp than %s: the same is to be on all hosts")
                    :format(hello.name, h.rank, ours.name), 0)
            end
            h.name, h.cpus, h.pid = hello.name, hello.cpus, hello.pid
            return
        end
        if not core.poll({ h.link and link.fd(h.link) or -1 }, core.deadline(0.05)) then core.serve_signals() end
    end
end

-- The list: of each its name, rank, number of usable CPUs; is_lost. Waits for those that are not there yet. A child of
-- the script has no links, so it has its own host alone, as what runs on other hosts has.
function hosts.list()
    if all and owner == core.getpid() then return all end
    local list = { { rank = 0, name = hosts.name(), cpus = cpu.count(), is_here = true } }
    local _, size = link.rank()
    if hosts.are_there() and size > 1 then
        set = set or assert(link.set())
        local ours = hosts.hello()
        for rank = 1, size - 1 do
            local h = { rank = rank, name = "rank " .. rank, cpus = 0, link = link.new(link.stream(rank)) }
            assert(link.join(h.link, set))
            list[rank + 1] = h
        end
        for rank = 1, size - 1 do wait_for_hello(list[rank + 1], ours) end
    end
    all, owner = list, core.getpid()
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
        list[i] = { name = h.name, rank = h.rank, cpus = h.cpus, lost = h.is_lost or false }
    end
    return list
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
            local names = {}
            for i, h in ipairs(known) do names[i] = h.name .. (h.is_lost and " (lost)" or "") end
            options.misuse(where, "option 'hosts': there is no host %s; there are %s", options.describe(wanted),
                table.concat(names, ", "))
        end
    end
    if not list[1] then options.misuse(where, "option 'hosts' names no host") end
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
