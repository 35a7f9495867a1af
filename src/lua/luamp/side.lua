-- luamp.side: the part of a pool that is on another host (cluster.lua): what that was given, and its messages.
--
-- A side is a table: host; n workers there, with the numbers after `first`; credit, for chunks; what is out there:
-- n_out chunks, which are n_tasks tasks; of each call, by its id, single tasks by their numbers (open) and stretches of
-- them (batches); n_asked of these, which it is asked to give back, and that are awaited until the time waits_until;
-- asks_from: when it may be asked again, and the pause that is then made after an answer without any; an inbox of
-- messages that were sorted out for this pool; its state: "starts", "serves", and in the end "refused", "broken",
-- "gone" or "lost"; and the last figures that it told.
--
-- A task is a table: slot, call and its id, limit, chunk, excluded, attempt, index, bytes, and the side that has it.
-- A stretch has also its last index, most, goes_on, the set of those that have ended, and n_left.

local core = require "luamp.core"
local hosts = require "luamp.hosts"
local life = require "luamp.life"

local link = core.link
local side = {}

local FIRST_SLOT <const> = 1 << 24 -- of tasks that are not on this host's board

side.FIRST_SLOT = FIRST_SLOT

-- --- hosts -----------------------------------------------------------------------

-- n workers for the hosts, by their CPUs: the same number for each CPU, as far as that goes.
function side.shares(n, list)
    local cpus, given, shared = 0, 0, {}
    for _, h in ipairs(list) do cpus = cpus + h.cpus end
    for i, h in ipairs(list) do
        shared[i] = n * h.cpus // cpus
        given = given + shared[i]
    end
    for i = 1, n - given do shared[i] = shared[i] + 1 end -- fewer than there are hosts
    return shared
end

-- A number of workers of that host, as the pool has it now: after those of the hosts before it.
function side.worker_number(s, id) return s.first + id end

-- What that host has told of its workers and their tasks, whose numbers are the pool's from here on.
function side.note_figures(s, figures)
    for _, w in ipairs(figures.workers) do w.id, w.host = side.worker_number(s, w.id), s.host.name end
    s.last = figures
end

function side.send(s, ...)
    hosts.send(s.host, (hosts.message("mp.pool", "argument %d", ...)))
end

-- The options as another host is to have them.
local function options_for(c, h, n, first)
    local given = {}
    for key, value in next, c.given do given[key] = value end
    given.from, given.marks, given.cpu_divisor, given.first = nil, nil, n, first
    local o = { n = n, name = h.name .. ":" .. c.name, given = given, process_options = c.process_options,
        path = package.path, cpath = package.cpath, seed = life.now.seed, method = life.now.method, log = life.now.log,
        registered = {} }
    for name, object in next, core.registered() do
        if link.message(object) then o.registered[name] = object end
    end
    return o
end

-- The functions among them go as messages of their own, which workers decode: so nothing of them, such as globals that
-- they use, stays with the process that serves there, and so with the workers of later pools.
function side.order(c, h, n, first)
    local function name_of(i) return i == 3 and "the options of the pool" or "it" end
    local o = options_for(c, h, n, first)
    local given = o.given
    local message = hosts.message("mp.pool", name_of, "open", c.number, o)
    if not (given.init or given.exit) then return message end
    given.init = given.init and link.message(given.init, given.initargs)
    given.exit, given.initargs = given.exit and link.message(given.exit), nil
    return hosts.message("mp.pool", name_of, "open", c.number, o)
end

function side.open(c, h, n, first, message)
    local s = { host = h, n = n, first = first, credit = 0, n_out = 0, n_tasks = 0, open = {}, batches = {},
        n_asked = 0, waits_until = 0, asks_from = 0, pause = 0, inbox = {}, state = "starts", last = nil }
    hosts.send(h, message)
    c.others[#c.others + 1], c.by_rank[h.rank] = s, s
end

-- From now on so many workers, with the numbers after `first`. What a host has that has none any more is asked back.
function side.resize(c, s, n, first)
    s.credit = s.credit + 2 * (n - s.n)
    s.n, s.first = n, first
    side.send(s, "resize", c.number, n, first)
end

-- --- tasks that are out ------------------------------------------------------------

function side.new_slot(c)
    local slot = c.next_slot
    c.next_slot = slot + 1
    return slot
end

-- How many tasks of it are out.
function side.n_left(task) return task.last and task.n_left or 1 end

-- The task, or stretch of them, is with that host from now on.
function side.note_out(c, s, task)
    local id = task.id
    s.credit, s.n_out, task.side = s.credit - 1, s.n_out + 1, s
    s.n_tasks, s.pause, s.asks_from = s.n_tasks + side.n_left(task), 0, 0 -- there may be something to spare
    c.by_slot[task.slot] = task
    if task.last then
        s.batches[id] = s.batches[id] or {}
        table.insert(s.batches[id], task)
    else
        s.open[id] = s.open[id] or {}
        s.open[id][task.index] = task
    end
end

-- It is not any more.
function side.note_in(c, task)
    local s, id = task.side, task.id
    s.credit, s.n_out, task.side = s.credit + 1, s.n_out - 1, nil
    s.n_tasks = s.n_tasks - side.n_left(task)
    c.by_slot[task.slot] = nil
    if not task.last then
        s.open[id][task.index] = nil
        return
    end
    for i, other in ipairs(s.batches[id]) do
        if other == task then return table.remove(s.batches[id], i) end
    end
end

-- What the host has of the call, by the number of a task of it.
function side.find_out(s, id, index)
    local task = s.open[id] and s.open[id][index]
    if task then return task end
    for _, batch in ipairs(s.batches[id] or {}) do
        if index >= batch.index and index <= batch.last and not batch.ended[index] then return batch end
    end
end

-- All that the host has of a call, or of all: a list.
function side.list_out(s, id)
    local list = {}
    for _, of in ipairs { s.open, s.batches } do
        for of_id, tasks in next, of do
            for _, task in next, (id == nil or of_id == id) and tasks or {} do list[#list + 1] = task end
        end
    end
    return list
end

-- Sends a task to that host.
function side.put_there(c, s, task)
    side.note_out(c, s, task)
    local excluded = task.excluded > s.first and task.excluded <= s.first + s.n and task.excluded - s.first or 0
    if task.last then
        hosts.send(s.host, link.message("feed", c.number, task.id, task.limit, task.chunk, task.attempt, task.index,
            task.last, task.most, task.goes_on), task.bytes)
    else
        hosts.send(s.host, link.message("put", c.number, task.id, task.limit, task.chunk, excluded, task.attempt,
            task.index), task.bytes)
    end
end

-- So many tasks of a stretch have come back from there: whether nothing more of it is out.
function side.note_ended(task, n)
    task.n_left, task.side.n_tasks = task.n_left - n, task.side.n_tasks - n
    return task.n_left <= 0
end

local ANSWER <const> = 0.2 -- seconds in which a host that is well has answered
local SHORTEST <const>, LONGEST <const> = 0.01, 1 -- pauses, in seconds

-- Asks it for so many tasks which nobody has begun, and notes its answer.
function side.ask(c, s, n)
    s.n_asked, s.waits_until = n, core.clock() + ANSWER
    side.send(s, "spare", c.number, n)
    hosts.flush(s.host)
end

function side.note_spared(s, n)
    s.n_asked = 0
    s.pause = n == 0 and math.min(LONGEST, math.max(SHORTEST, 2 * s.pause)) or 0
    s.asks_from = core.clock() + s.pause
end

-- How many tasks it is about to give back.
function side.n_coming(s) return s.waits_until > core.clock() and s.n_asked or 0 end

-- How many workers there nothing has been sent for, and how many tasks wait there for sure.
function side.n_idle(s) return s.state == "serves" and math.max(0, s.n - s.n_out) or 0 end
function side.n_spare(s) return s.state == "serves" and s.n_tasks - math.min(s.n_out, s.n) or 0 end

-- Whether nothing comes from that host any more.
function side.is_over(s) return s.state == "gone" or s.state == "lost" or s.state == "refused" or s.host.is_lost end

-- --- messages ------------------------------------------------------------------------

-- The pools, by their numbers.
side.by_number = setmetatable({}, { __mode = "v" })

-- Sorts what has come from the host to the pools that it is for.
function side.take_messages(h)
    while true do
        local message = table.pack(hosts.take(h))
        if not message[1] then return end
        if message[2] == nil then error(("luamp: a message of host %s: %s"):format(h.name, message[3]), 0) end
        local c = side.by_number[message[3]]
        local s = c and c.by_rank[h.rank]
        if s then s.inbox[#s.inbox + 1] = message end
    end
end

function side.read_hosts(c)
    for _, s in ipairs(c.others) do
        if s.host.link then hosts.flush(s.host) end
        side.take_messages(s.host)
        if s.host.is_lost and s.state ~= "lost" then c.must_look = true end
    end
end

return side
