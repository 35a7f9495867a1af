-- luamp.worker: a process of a pool, which runs tasks.
--
-- The loop is the binding's (worker.c); here are the turns of a worker's life, and what
-- seldom happens in it.

local core = require "luamp.core"
local errors = require "luamp.errors"
local life = require "luamp.life"

local worker = {}

local unpack, next = table.unpack, next
local now = life.now

-- --- functions ------------------------------------------------------------------

-- How a function that is kept is called with a task's item, by the mode of its call.
local modes = {}

function modes.one(f) return f, false end

function modes.all(f) return f, true end

function modes.star(f)
    return function(list)
        if type(list) ~= "table" then
            error("an item of starmap must be a list of arguments, and this is a " .. type(list), 0)
        end
        return f(unpack(list, 1, list.n or #list))
    end, false
end

function modes.truth(f)
    return function(...) return not not f(...) end, false
end

-- A part of a reduction: from its own copy of the identity over some items. `worker.item` is the one of
-- them that it has come to.
function modes.fold(f)
    return function(acc, items)
        for i = 1, items.n do
            worker.item = i
            acc = f(acc, items[i])
        end
        return acc
    end, false
end

-- What a worker makes of an item before the function has it.
local readers = {}

function readers.chunk(f)
    local read = require "luamp.inputs".read_chunk
    return function(item) return f(read(item)) end
end

-- The function as a worker calls it, and whether all of its results are wanted.
function worker.function_of(mode, f, reader)
    if reader and mode == "fold" then
        local read = require "luamp.inputs".read_chunk
        local inner = f
        f = function(acc, item) return inner(acc, read(item)) end
    elseif reader then
        f = readers[reader](f)
    end
    return modes[mode](f)
end

-- The same for items that this process has inherited: it is told their numbers.
local function inherited(from)
    local f, list = from.f, from.list
    return function(a, b)
        if b == nil then return f(list[a]) end
        local group = { n = b[2] - b[1] + 1 } -- of a reduction, from `a` on
        for i = b[1], b[2] do group[i - b[1] + 1] = list[i] end
        return f(a, group)
    end, from.is_whole
end

-- --- measures -------------------------------------------------------------------

local usage = core.worker.usage
local began, cpu_before -- of the last measured task that has begun here

local function measured_results(from, cpu_at, ...)
    local at, cpu_now, most = usage()
    return from, at, cpu_now - cpu_at, most, ...
end

-- The function of a call that wants to know when a task began and ended (time of day, in seconds), how much CPU time
-- it took, and the largest memory of the process until then, in bytes: they come before the results.
local function measured(f, is_whole)
    if is_whole then
        return function(...)
            began, cpu_before = usage()
            return measured_results(began, cpu_before, f(...))
        end
    end
    return function(...)
        began, cpu_before = usage()
        return measured_results(began, cpu_before, (f(...)))
    end
end

-- Those of a task that has failed, in an error object's field for the pool.
function worker.note_measures(e)
    if not began then return end
    local at, cpu_now, most = usage()
    e.measures = { began, at, cpu_now - cpu_before, most }
end

-- --- randomness -----------------------------------------------------------------

-- Random numbers of a task, and of what it starts, depend on the seed, the call and the task's number.
local function seeding(seed, is_process)
    local randomseed, random = math.randomseed, math.random
    return function(index, call)
        local of_call = seed ~ (call * 0x9E3779B97F4A7C15)
        randomseed(of_call, index)
        if not is_process then return end
        now.seed, now.started, now.n_pools = random(0), 0, 0
        randomseed(of_call, index)
    end
end

-- --- what a worker leaves ---------------------------------------------------------

-- Resident memory of this process, in bytes.
local function rss()
    local file <close> = io.open "/proc/self/statm"
    local pages = file and file:read "a":match "^%d+ (%d+)"
    return (tonumber(pages) or 0) * 4096 -- the page of the machines that luamp runs on
end

-- Looks now and then whether the process has grown too large.
local function grown(limit)
    local clock, last = core.clock, 0
    return function()
        local at = clock()
        if at - last < 0.01 then return false end
        last = at
        return rss() > limit
    end
end

-- A function that ends the pools and processes that a task has left: not those that were there before it was
-- asked for, which are the worker's (of its `init`), nor what is detached.
function worker.ender()
    local kept = setmetatable({}, { __mode = "k" })
    for _, s in ipairs(now.running) do kept[s] = true end
    for p in pairs(now.pools or {}) do kept[p] = true end
    return function() worker.end_children(kept) end
end

function worker.end_children(kept)
    local list = {}
    for p, object in pairs(now.pools or {}) do
        if not kept[p] then object:terminate() end
    end
    for _, s in ipairs(now.running) do
        if not kept[s] and not s.detached then list[#list + 1] = s end
    end
    for _, s in ipairs(list) do core.signal(s.handle, 15) end
    local deadline = core.deadline(0.5)
    for _, s in ipairs(list) do
        while s.status == "running" and core.await(s.handle, deadline) == nil do end
        core.signal(s.handle, 9)
        while s.status == "running" and not core.await(s.handle, core.deadline()) do end
    end
    require "luamp.process".active()
end

local function caught(value)
    return errors.caught(value, life.name(life.own()), now.this.pid, errors.traceback(2))
end

-- An error object as it can be sent: without its value, if that cannot.
local function failure(e)
    if not errors.is_error(e) then e = life.explain(errors.caught(e, life.name(life.own()), now.this.pid, "")) end
    e.item = worker.item
    worker.note_measures(e)
    if not core.worker.can_send(e) then
        local plain = {}
        for key, value in next, e do plain[key] = value end
        plain.value = nil
        e = errors.new(plain)
    end
    return e
end

-- Of n results for who is within that reach; of a measured task the first ones are its measures, of which the script
-- knows nothing.
local function unsendable(reach, n, ...)
    if n >= 4 and began and (...) == began then return unsendable(reach, n - 4, select(5, ...)) end
    local values = { n = n, ... }
    return errors.new { kind = "unsendable", process = life.name(life.own()), pid = now.this.pid,
        message = require "luamp.culprit" (values, n, "result %d", reach)
            or "cannot send the results: they changed meanwhile" }
end

-- --- its life ---------------------------------------------------------------------

-- mp.worker of worker `id`. running() gives a table that says which task runs there, or nil; else the
-- binding knows that.
function worker.make_state(id, running)
    return setmetatable({ id = id }, { __index = function(_, key)
        if key ~= "task" and key ~= "attempt" then return nil end
        local index, attempt
        if running then
            local task = running() or {}
            index, attempt = task.index, task.attempt
        else
            index, attempt = core.worker.task()
        end
        return key == "task" and index or key == "attempt" and attempt or nil
    end })
end

-- A function that sets the debug hook which the worker had before its tasks; or nil.
local function hook_of_script()
    local sethook, hook, mask, count = debug.sethook, debug.gethook()
    if type(hook) ~= "function" then return nil end
    return function() sethook(hook, mask, count) end
end

-- One function that does what both do; either may be nil. What the second one says is its answer.
local function both(f, g)
    return f and g and function(...)
        f(...)
        return g(...)
    end or f or g
end

-- A function of another host's script, which comes as a message. One that cannot be had here fails each task, and says
-- why.
local function received(given, f)
    if type(f) ~= "string" then return f end
    local ok, value = pcall(core.decode, f, true)
    if ok then return value end
    if errors.is_error(value) and value.kind == "interrupted" then error(value, 0) end
    local words = ("host %s cannot receive the function: %s"):format(given.host, value)
    return function() error(errors.new { kind = "unsendable", message = words }, 0) end
end

-- Its `init`, with its arguments, and `exit`, which come so, too.
local function call_init(given)
    local init, args = given.init, given.initargs or {}
    if type(init) == "string" then
        init, args = core.decode(init, true)
        args = args or {}
    end
    init(unpack(args, 1, args.n or #args))
end

-- What the binding calls: see worker.c. number: as of worker.main.
function worker.hooks(given, is_process, number)
    local begun, ended, paused
    if number then begun, ended, paused = require "luamp.relay".serve(given, number) end
    return {
        prepare = function(mode, f, reader, is_measured)
            local call, is_whole
            f = received(given, f)
            if mode == "inherited" then
                call, is_whole = inherited(given.from)
            else
                call, is_whole = worker.function_of(mode, f, reader)
            end
            if is_measured then return measured(call, is_whole), true end
            return call, is_whole
        end,
        before = both(begun, given.seed and seeding(given.seed, is_process) or nil), ended = ended,
        after = both(paused, given.max_rss and grown(given.max_rss) or nil),
        end_children = worker.ender(), set_hook = hook_of_script(), caught = function(value)
            return errors.caught(value, life.name(life.own()), now.this.pid, errors.traceback(3))
        end, failure = failure, is_far = given.reach == "far",
        unsendable = function(...) return unsendable(given.reach, ...) end,
    }
end

local LONGEST <const> = 1000 -- bytes of a message, where there is no memory for all of it

-- Says that this process will not serve, because of that error.
local function refuse(board, id, e)
    if pcall(core.worker.refuse, board, id, e) then return end
    core.worker.refuse(board, id, errors.new { kind = e.kind, process = e.process, pid = e.pid,
        message = e.message:sub(1, LONGEST), traceback = e.traceback and e.traceback:sub(1, LONGEST) })
end

-- The body of a worker: for the board, as number `id`, to which come those of other hosts before it (given.first);
-- `number`: of its files, if its output is relayed.
function worker.main(board, id, given, number)
    core.worker.begin(board, id)
    now.worker_of = package.loaded.luamp
    now.worker_of.worker = worker.make_state(id + (given.first or 0))
    now.cpu_divisor = given.cpu_divisor
    if given.init then
        local ok, e = xpcall(call_init, caught, given)
        if not ok then return refuse(board, id, failure(e)) end
    end
    core.worker.serve(board, id, worker.hooks(given, true, number), given.max_tasks)
    if given.exit then received(given, given.exit)() end
end

return worker
