-- luamp.future: what will come of a task, and waits for several of them.
--
-- A future is a task (submit.lua), or that of a map that runs beside the script, its `call`
-- (dispatch.lua). Its `phase` is "pending", "done", "failed" or "cancelled"; it changes once.

local core = require "luamp.core"
local errors = require "luamp.errors"
local life = require "luamp.life"
local options = require "luamp.options"

local future = {}

local misuse = options.misuse
local unpack = table.unpack

local methods = {}
local class = core.future.class
local class_of_failed = {} -- whose `error` is noticed when it is read
local get, set, is_pending, value_of = core.future.getter(methods), core.future.set, core.future.is_pending,
    core.future.value

local function raise(e)
    local own = life.own()
    errors.raise(e, life.name(own), own.pid)
end

-- new(pool, terms, kept): a future, of a task on those terms. kept: the number of its function on the board. More
-- fields are set when they are needed:
--   number, slot     which task it is; where it is on the board, or nil
--   values           what came of it: the one value; or, where there is n_values, a list of so many
--   failure          the error object
--   parcel           what it is made of, while that waits here or may be wanted again
--   again            how it is to be run the next time, if not for the first
--   hooks, signal    what on_done was given; the descriptor of its own
--   lists            which take it when it has ended
--   call, where      of a map
-- What ends as most do has its value without a call of Lua code: see binding/future.c.
future.new = core.future.new

-- A new future of a map's results.
function future.of_call(pool, where, call)
    local fut = future.new(pool, nil, 0)
    set(fut, "where", where)
    set(fut, "call", call)
    return fut
end

future.is_future = core.future.is

-- What stands for it with the pool.
local function task_of(fut)
    return fut.call or fut
end

local function where_of(fut)
    return fut.where or fut.terms.where
end

local function check(fut, name)
    if not future.is_future(fut) then
        misuse("mp.future", "'%s' must be called on a future, as in f:%s()", name, name)
    elseif fut.pool.owner ~= core.getpid() then
        misuse("mp.future", "the future belongs to process %d, which alone can use it", fut.pool.owner)
    end
    return fut
end

local function report(e)
    core.report("luamp: a function of on_done failed: " .. tostring(e) .. "\n")
end

local function caught(value)
    local own = life.own()
    return errors.caught(value, life.name(own), own.pid, errors.traceback(2))
end

local function tell(fut, f)
    local ok, e = xpcall(f, caught, fut)
    if not ok and errors.is_error(e) and e.kind == "interrupted" then error(e, 0) end
    if not ok then report(e) end
end

-- It has ended so. What is to be done then is done when the pool's work is not in the middle of it.
local function complete(fut, phase)
    if fut.phase ~= "pending" then return end
    set(fut, "phase", phase)
    if fut.lists then
        for _, list in ipairs(fut.lists) do list[#list + 1] = fut end
    end
    if fut.signal then core.board.bell_end(fut.signal) end
    if fut.hooks then fut.pool.dispatch.ended[#fut.pool.dispatch.ended + 1] = fut end
end

-- One value stands there as it is, others as a list.
function future.done(fut, ...)
    local n = select("#", ...)
    if n == 1 then
        set(fut, "values", (...))
    else
        set(fut, "values", { ... })
        set(fut, "n_values", n)
    end
    complete(fut, "done")
end

local function first_value(fut)
    if fut.n_values then return fut.values[1] end
    return fut.values
end

local n_failures = 0 -- of all futures

-- The task has failed; or it was cancelled, or its pool terminated: that is no failure that must be told.
function future.failed(fut, e, is_cancelled)
    n_failures = n_failures + 1
    set(debug.setmetatable(fut, class_of_failed), "failure", e)
    if not is_cancelled then fut.pool.dispatch.unasked[fut] = true end
    complete(fut, is_cancelled and "cancelled" or "failed")
end

-- The script knows of its failure.
local function asked(fut)
    if fut.failure then fut.pool.dispatch.unasked[fut] = nil end
end

-- Reports the failures that nobody asked for, when the pool ends.
function future.report_unasked(d)
    local list = {}
    for fut in pairs(d.unasked) do list[#list + 1] = fut end
    table.sort(list, function(a, b) return (a.failure.task or 0) < (b.failure.task or 0) end)
    d.unasked = {}
    for _, fut in ipairs(list) do
        core.report(("luamp: a failure of %s that nobody asked for: %s\n"):format(where_of(fut), tostring(fut.failure)))
    end
end

-- Calls the next function that on_done was given: whether there was one. When Ctrl-C ends that, the others come
-- when they are asked for again.
function future.run_hook(fut)
    local f = fut.hooks and table.remove(fut.hooks, 1)
    if not f then
        set(fut, "hooks", nil)
        return false
    end
    asked(fut)
    tell(fut, f)
    return true
end

-- --- methods --------------------------------------------------------------------

local function await(fut, timeout, where)
    if not is_pending(fut) and timeout == nil then return true end
    local deadline = options.deadline(where, timeout)
    if not is_pending(fut) then return true end
    return fut.pool.dispatch:await(function() return not is_pending(fut) end, deadline, task_of(fut))
end

function methods.wait(fut, timeout)
    if await(check(fut, "wait"), timeout, "mp.future: wait") then return true end
    return nil, "timeout"
end

function methods.result(fut, timeout)
    if timeout == nil then
        local is_here, value = value_of(fut)
        if is_here then return value end
    end
    if not await(check(fut, "result"), timeout, "mp.future: result") then
        raise(errors.new { kind = "pending", message = where_of(fut) .. ": the result is still pending" })
    end
    if fut.failure then
        asked(fut)
        raise(fut.failure)
    end
    if not fut.n_values then return fut.values end
    return unpack(fut.values, 1, fut.n_values)
end

function methods.is_done(fut)
    check(fut, "is_done")
    if fut.phase == "pending" then fut.pool.dispatch:pump() end
    return fut.phase ~= "pending"
end

function methods.is_running(fut)
    check(fut, "is_running")
    if fut.phase == "pending" then fut.pool.dispatch:pump() end
    return fut.phase == "pending" and fut.pool.dispatch:is_running(task_of(fut))
end

function methods.is_cancelled(fut)
    return check(fut, "is_cancelled").phase == "cancelled"
end

function methods.cancel(fut)
    check(fut, "cancel")
    if fut.phase == "pending" then fut.pool.dispatch:pump() end
    if fut.phase ~= "pending" then return false end
    local was_stopped = fut.pool.dispatch:stop(task_of(fut))
    if was_stopped then
        future.failed(fut, errors.new { kind = "cancelled", message = where_of(fut) .. " was cancelled" }, true)
        fut.pool.dispatch:run_ended()
    end
    return was_stopped
end

function methods.on_done(fut, f)
    check(fut, "on_done")
    if not options.is_callable(f) then
        misuse("mp.future: on_done", "expected a function, not %s", options.describe(f))
    end
    if fut.phase ~= "pending" then
        asked(fut)
        tell(fut, f)
        return fut
    end
    core.future.watch(fut)
    if not fut.hooks then set(fut, "hooks", {}) end
    table.insert(fut.hooks, f)
    return fut
end

-- fut:pollfd(): a descriptor that is readable when it has ended, or may have: to look, in a call of luamp, says so.
function methods.pollfd(fut)
    check(fut, "pollfd")
    if fut.phase == "pending" and fut.pool.crew.is_cluster then return fut.pool.dispatch:pollfd() end
    if not fut.signal then
        fut.pool.dispatch:pollfd() -- by which workers tell
        core.future.watch(fut)
        set(fut, "signal", core.board.bell(fut.pool.crew.board))
        core.board.bell_at(fut.signal, fut.slot)
        if fut.phase ~= "pending" then core.board.bell_end(fut.signal) end
    end
    return core.board.bell_fd(fut.signal)
end

function methods.events(fut)
    check(fut, "events")
    return "r"
end

class.__index = get

class_of_failed.__index = function(fut, key)
    if key ~= "error" then return get(fut, key) end
    asked(fut)
    return get(fut, "failure")
end

for _, of in ipairs { class, class_of_failed } do
    of.__name = "mp.future"

    of.__close = function() end -- with this, the codec refuses to send it

    of.__newindex = function(_, key)
        misuse("mp.future", "a future has no field '%s' that could be set", tostring(key))
    end

    of.__tostring = function(fut)
        return ("mp.future: %s (%s)"):format(where_of(fut), fut.phase)
    end
end

-- --- several --------------------------------------------------------------------

local function check_list(where, futures)
    if type(futures) ~= "table" then
        misuse(where, "expected a list of futures, not %s", options.describe(futures))
    end
    for i = 1, #futures do
        if not future.is_future(futures[i]) then
            misuse(where, "item %d is %s, and no future", i, options.describe(futures[i]))
        end
        check(futures[i], where)
    end
    return futures
end

-- The work of all pools that the futures are of: a list.
local function works_of(futures)
    local pools, list = {}, {}
    for _, fut in ipairs(futures) do
        if not pools[fut.pool] then
            pools[fut.pool] = true
            list[#list + 1] = fut.pool.dispatch
        end
    end
    return list
end

-- Waits until is_over(), by those.
local function await_works(list, is_over, deadline)
    local first = list[1]
    if #list <= 1 then return not first or first:await(is_over, deadline) end
    return first:await(function()
        for i = 2, #list do list[i]:pump() end
        return is_over()
    end, deadline)
end

local function await_any(futures, is_over, deadline)
    return await_works(works_of(futures), is_over, deadline)
end

-- For mp.wait of other things as well: a descriptor that is readable when there may be an end; true: it has ended.
function future.watch(fut)
    check(fut, "mp.wait")
    if fut.phase == "pending" then fut.pool.dispatch:pump() end
    return fut.phase ~= "pending" or fut.pool.dispatch.crew:watch()
end

function future.is_ready(fut)
    return fut.phase ~= "pending"
end

-- mp.wait of futures: those that have ended.
function future.ready(futures, timeout)
    local deadline = options.deadline("mp.wait", timeout)
    check_list("mp.wait", futures)
    local function list()
        local ready = {}
        for _, fut in ipairs(futures) do
            if not is_pending(fut) then ready[#ready + 1] = fut end
        end
        return ready
    end
    await_any(futures, function() return list()[1] ~= nil end, deadline)
    return list()
end

local function pending(where, n)
    raise(errors.new { kind = "pending", message = ("%s: %d futures are still pending"):format(where, n) })
end

-- A list of those that have ended, in that order, to which the others come by themselves.
local function list_of_ended(futures)
    local ended = {}
    for _, fut in ipairs(futures) do
        if is_pending(fut) then
            core.future.watch(fut)
            if not fut.lists then set(fut, "lists", {}) end
            table.insert(fut.lists, ended)
        else
            ended[#ended + 1] = fut
        end
    end
    return ended
end

-- mp.as_completed(futures, [timeout]): an iterator of futures, as they end.
function future.as_completed(futures, timeout)
    check_list("mp.as_completed", futures)
    local deadline = options.deadline("mp.as_completed", timeout)
    local ended, n, works, at = list_of_ended(futures), #futures, works_of(futures), 1
    local function look() return ended[at] ~= nil end
    return function()
        if at <= n and not look() and not await_works(works, look, deadline) then
            pending("mp.as_completed", n - at + 1)
        end
        if at > n then return nil end
        at = at + 1
        return ended[at - 1]
    end
end

local function first_failure(futures)
    for _, fut in ipairs(futures) do
        if fut.phase ~= "done" and fut.failure then return fut.failure end
    end
end

local function n_pending(futures)
    local n = 0
    for _, fut in ipairs(futures) do
        if is_pending(fut) then n = n + 1 end
    end
    return n
end

-- mp.all(futures, [timeout]): their first results, or raises the first failure.
function future.all(futures, timeout)
    check_list("mp.all", futures)
    local deadline = options.deadline("mp.all", timeout)
    local at, n_known, failure = 1, nil, nil -- the first that was pending still; the failures that were looked at
    local function look()
        while futures[at] and not is_pending(futures[at]) do at = at + 1 end
        if n_known ~= n_failures then failure, n_known = first_failure(futures), n_failures end
        return failure ~= nil or not futures[at]
    end
    if not look() and not await_any(futures, look, deadline) then pending("mp.all", n_pending(futures)) end
    for _, fut in ipairs(futures) do asked(fut) end
    if failure then raise(failure) end
    local results, n, is_whole = {}, #futures, true
    for i = 1, n do
        results[i] = first_value(futures[i])
        is_whole = is_whole and results[i] ~= nil
    end
    if not is_whole then results.n = n end
    return results
end

return future
