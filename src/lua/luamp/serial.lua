-- luamp.serial: a crew without workers, for debugging (LUAMP_BACKEND=serial).
--
-- Every task runs in this process, one after the other, in a call of the script's: its errors have the
-- real stack, and a debugger finds it. The methods are those of crew.lua. Functions and items go
-- through the codec as they would to a worker, so the results are the same; a task runs when somebody
-- waits for what comes of it. Time limits do not hold, and what ends a worker ends the program.

local core = require "luamp.core"
local errors = require "luamp.errors"
local life = require "luamp.life"
local statistics = require "luamp.statistics"
local worker = require "luamp.worker"

local serial = {}
local methods = {}
local meta = { __index = methods }

local NOT_KEPT <const> = 0
-- Well below a power of two: a full table in which places come and go is made anew again and again.
local MOST_SLOTS <const> = 3000

-- The values as they come out of a message, and that.
local function copy(...)
    local bytes, culprit = core.encode(...)
    if not bytes then return nil, culprit end
    return table.pack(core.decode(bytes, true)), bytes
end

local function copy_if_possible(value)
    local copied = copy(value)
    if copied then return copied[1] end
    return value
end

-- A function and a list of items as a fork of this process would inherit them. What cannot be copied is the same.
function serial.inherited(f, list)
    local copied = copy(f, list)
    if copied then return copied[1], copied[2] end
    return copy_if_possible(f), setmetatable({}, { __index = function(_, i) return copy_if_possible(list[i]) end })
end

-- --- what the time goes into ------------------------------------------------------

-- As a worker of another crew counts it (engine/times.h); what the script does in between is not its time.
local SLOWEST <const> = 5

local function now() return math.floor(core.clock() * 1e9) end

-- The process turns to that: how long it was about what was before.
local function turn(c, doing)
    local at = now()
    local took = at - c.since
    c.spent[c.doing], c.doing, c.since = c.spent[c.doing] + took, doing, at
    return took
end

-- Notes a task that has taken long.
local function note(c, task, took)
    local list = c.slow
    if list[SLOWEST] and took <= list[SLOWEST].took then return end
    list[math.min(SLOWEST, #list + 1)] = { took = took, began = c.since - took, call_id = task.call, task = task.index,
        attempt = task.attempt, worker = 1, input = task.input }
    table.sort(list, function(a, b) return a.took > b.took end)
end

function methods.times(c)
    local spent, n = c.spent, c.n_bytes
    return 0, spent.init, spent.wait, spent.work, spent.send, c.workers[1].tasks, n.given, n.returned, 0
end

function methods.share(c)
    return c.spent.work + c.spent.send, c.spent.wait, c.workers[1].tasks, c.n_bytes.given, c.n_bytes.returned, 0
end

function methods.tail() return 0, 0, 0 end
function methods.slowest(c) return table.move(c.slow, 1, #c.slow, 1, {}) end
function methods.call_id(_, call) return call end

-- --- the crew ---------------------------------------------------------------------

local function caught(value)
    local own = life.own()
    return errors.caught(value, life.name(own), own.pid, errors.traceback(2))
end

function serial.new(_, _, given)
    local c = setmetatable({ n = 1, given = given, kept = {}, n_kept = 0, tasks = {}, first = 1, last = 0, n_tasks = 0,
        ended = {}, restarts = 0, running = nil, n_listed = {}, broken = nil, doing = "other", since = now(),
        spent = { other = 0, init = 0, wait = 0, work = 0, send = 0 }, n_bytes = { given = 0, returned = 0 }, slow = {},
        is_serial = true, workers = { { id = 1, tasks = 0 } } }, meta)
    life.own()
    c.hooks = worker.hooks(given)
    return c
end

-- Calls f, while mp.worker is there. Returns what xpcall does, with an error object.
local function as_worker(c, f, ...)
    local mp = package.loaded.luamp
    local outer = mp.worker
    mp.worker = c.state
    local result = table.pack(xpcall(f, caught, ...))
    mp.worker = outer
    return table.unpack(result, 1, result.n)
end

function methods.await_up(c)
    c.state = worker.make_state(1, function() return c.running end)
    local given = c.given
    if not given.init then return end
    local args = given.initargs or {}
    turn(c, "init")
    local ok, e = as_worker(c, given.init, table.unpack(args, 1, args.n or #args))
    turn(c, "other")
    if not ok then error(e, 0) end
end

function methods.keep(c, mode, f, reader, is_measured)
    local copied = copy(f)
    if not copied then return nil end
    c.n_kept = c.n_kept + 1
    local call, is_whole = c.hooks.prepare(mode, copied[1], reader, is_measured)
    c.kept[c.n_kept] = { f = call, is_whole = is_whole, n_done = 0, n_nil = 0, n_arrived = 0 }
    return c.n_kept
end

function methods.unkeep(c, call) c.kept[call] = nil end

function methods.put(c, call, _, _, _, attempt, index, ...)
    if c.n_tasks >= MOST_SLOTS then return false end
    turn(c, "send")
    local values, bytes = copy(...)
    turn(c, "other")
    if not values then return nil end
    c.last, c.n_tasks, c.n_bytes.given = c.last + 1, c.n_tasks + 1, c.n_bytes.given + #bytes
    c.tasks[c.last] = { call = call, attempt = attempt, index = index, values = values, slot = c.last,
        input = core.board.glimpse(bytes, call == NOT_KEPT and 2 or 1) }
    return c.last
end

local function read_item(list, index)
    if list then return list[index] end
    return index
end

function methods.feed(c, call, limit, chunk, excluded, attempt, index, last, list)
    while index <= last do
        local ok, item = pcall(read_item, list, index)
        if not ok then return index, false, 1, nil, true, item end
        local slot = c:put(call, limit, chunk, excluded, attempt, index, item)
        if not slot then return index, slot == nil, 1 end
        index = index + 1
    end
    return index, false, 1
end

function methods.put_parcel(c, call, limit, chunk, excluded, attempt, index, parcel)
    return c:put(call, limit, chunk, excluded, attempt, index, core.unpack(parcel))
end

function methods.recall(c, slot)
    local task = c.tasks[slot]
    return task and c:retract(slot) and core.pack(table.unpack(task.values, 1, task.values.n))
end

function methods.tell() end
function methods.plan() end
function methods.leave() end
function methods.split() end
function methods.room(c) return MOST_SLOTS - c.n_tasks end
function methods.n_waiting(c) return c.n_tasks end
function methods.n_unheard(c, call)
    local n = 0
    for _, e in ipairs(c.ended) do n = n + (e.task.call == call and 1 or 0) end
    return n
end
function methods.usage() return core.usage(core.getpid()) end

function methods.retract(c, slot)
    if not c.tasks[slot] then return false end
    c.tasks[slot], c.n_tasks = nil, c.n_tasks - 1
    return true
end

function methods.withdraw(c, call)
    local n = 0
    for slot, task in pairs(c.tasks) do
        if task.call == call and c:retract(slot) then n = n + 1 end
    end
    return n
end

function methods.runner(c, slot) return c.running and c.running.slot == slot and 1 or nil end
function methods.is_running(c, call) return c.running ~= nil and c.running.call == call end
function methods.doom() return nil end
function methods.doom_call() return {} end
function methods.n_done(c, call)
    local kept = c.kept[call]
    if kept then return kept.n_done, kept.n_nil end
    return 0, 0
end
function methods.keep_limits() end
function methods.kill_worker() end
function methods.needs_look() return false end
function methods.is_renewing() return false end
function methods.look() end
function methods.resize() end

local function call_task(c, task)
    local values = task.values
    if c.hooks.before then c.hooks.before(task.index, task.call) end
    if task.call == NOT_KEPT then return as_worker(c, table.unpack(values, 1, values.n)) end
    return as_worker(c, c.kept[task.call].f, table.unpack(values, 1, values.n))
end

-- What came of the task, as it would have come from a worker.
local function end_of(c, task, ok, ...)
    c.end_children()
    local n = select("#", ...)
    local kept = c.kept[task.call]
    if ok and kept and not kept.is_whole then n = 1 end
    local results = { ... }
    if ok then
        local copied, bytes = copy(table.unpack(results, 1, n))
        if not copied then ok, results[1] = false, c.hooks.unsendable(n, table.unpack(results, 1, n)) end
        if copied then results, c.n_bytes.returned = copied, c.n_bytes.returned + #bytes end
    end
    if not ok then
        results[1].item = worker.item
        worker.note_measures(results[1])
    end
    c.ended[#c.ended + 1] = { task = task, how = ok and "done" or "failed", n = ok and n or 1, results = results }
end

-- Runs the next task, if there is one. An interruption is the failure of the task, and the script's, too.
local function run_next(c)
    while c.first <= c.last and not c.tasks[c.first] do c.first = c.first + 1 end
    local task = c.tasks[c.first]
    if not task then return false end
    c.tasks[c.first], c.first, c.n_tasks = nil, c.first + 1, c.n_tasks - 1
    c.running, c.end_children = task, worker.ender()
    turn(c, "work")
    local ended = table.pack(call_task(c, task))
    local took = turn(c, "send")
    note(c, task, took)
    c.running = nil
    c.workers[1].tasks = c.workers[1].tasks + 1
    end_of(c, task, table.unpack(ended, 1, ended.n))
    turn(c, "other")
    if not ended[1] and errors.is_error(ended[2]) and ended[2].kind == "interrupted" then error(ended[2], 0) end
    return true
end

local function arrive(kept, arrivals, index)
    kept.n_arrived = kept.n_arrived + 1
    arrivals[kept.n_arrived] = index
end

function methods.arrived(c, call, index, arrivals) arrive(c.kept[call], arrivals, index) end

function methods.collect(c, lists, arrivals, futures, hear)
    local n = 0
    while c.ended[1] do
        local e = table.remove(c.ended, 1)
        local task = e.task
        local list, kept = lists[task.call], c.kept[task.call]
        if list and e.how == "done" and e.n == 1 then
            local result = e.results[1]
            if result == nil then result, kept.n_nil = list[0], kept.n_nil + 1 end
            list[task.index], kept.n_done = result, kept.n_done + 1
            if arrivals[task.call] then arrive(kept, arrivals[task.call], task.index) end
        else
            local whose = futures[task.slot + 1]
            futures[task.slot + 1] = nil
            if whose == nil then whose = task.call end
            hear(whose, task.index, e.how, 1, task.attempt, table.unpack(e.results, 1, e.n))
        end
        n = n + 1
    end
    return n
end

-- To wait is to run tasks: as many as the owner wants to hear of at once.
function methods.await(c, quota, deadline)
    local n = 0
    while n < quota and run_next(c) do n = n + 1 end
    if n > 0 then return true end
    turn(c, "wait")
    local ready = core.poll({}, math.min(deadline, core.deadline(0.05)))
    turn(c, "other")
    return ready and false
end

-- Who waits for other things, too, runs a task, and waits no longer.
function methods.watch(c)
    c.null = c.null or core.open("/dev/null", "read")
    return not c.running and run_next(c) and c.null or -1
end

function methods.close(c)
    if c.is_closing then return end
    c.is_closing = true
    local ok, e = true, nil
    if c.given.exit then ok, e = as_worker(c, c.given.exit) end
    if not ok then error(e, 0) end
end

function methods.is_gone(c) return c.is_closing == true end

function methods.kill(c)
    c.is_closing, c.tasks, c.n_tasks = true, {}, 0
    if c.null then core.close(c.null) end
    c.null = nil
end

methods.abandon = methods.kill

function methods.state_of(c)
    local w = c.workers[1]
    return { statistics.of_worker(c, w, { id = 1, pid = core.getpid(), state = c.running and "busy" or "idle",
        tasks = w.tasks }) }, c.running and 1 or 0
end

return serial
