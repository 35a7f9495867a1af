-- luamp.calls: functions over many inputs: what each call of a pool makes of its tasks' results.
--
-- Each takes the state of a pool (pool.lua), what it is called (for errors), the script's function
-- and input, and the options of the call.

local core = require "luamp.core"
local errors = require "luamp.errors"
local failures = require "luamp.failures"
local future = require "luamp.future"
local inputs = require "luamp.inputs"
local life = require "luamp.life"
local options = require "luamp.options"
local pool_options = require "luamp.pool_options"
local progress = require "luamp.progress"

local calls = {}

local misuse = options.misuse

-- How workers call the function of each call: see worker.lua.
local modes = { map = "one", starmap = "star", each = "one", filter = "truth", find = "truth", reduce = "fold",
    imap = "all", imap_unordered = "all" }

-- How workers call the function of a call over such an input, and that function. Where the items are read by the
-- worker, those that are wanted come from there.
function calls.as_called(name, f, source)
    if not source.in_worker or modes[name] ~= "truth" then return modes[name], f end
    return "one", function(item) return f(item) and item or false end
end

local function raise(e)
    local own = life.own()
    errors.raise(e, life.name(own), own.pid)
end

-- What an input has raised, as an error object.
local function caught(e)
    local own = life.own()
    return errors.caught(e, life.name(own), own.pid, "")
end

-- --- common ---------------------------------------------------------------------

local function check_function(where, f)
    if not options.is_callable(f) then misuse(where, "expected a function, not %s", options.describe(f)) end
end

-- A call that is not begun. `ahead` of its fields is its window when the script says nothing of that. Where the
-- workers have inherited its items and its function, neither is sent.
local function prepare(p, where, name, f, input, given, fields)
    check_function(where, f)
    local source = fields.source or p.from and p.from.source or inputs.source(where, input) -- before `pairs(t)`'s t
    local call = pool_options.call(where, given, p.defaults)
    call.source, call.where = source, where
    local mode
    mode, call.f = calls.as_called(name, f, source)
    call.mode = mode
    for key, value in next, fields do call[key] = value end
    call.has_window, call.window = call.window ~= nil, call.window or call.ahead
    if call.source.read then call.saved = {} end
    if call.list and call.source.n and not call.is_stream then call.list = core.board.list(call.source.n) end
    if call.weight then pool_options.arrange(where, call) end
    if p.from and p.from.source.list then
        call.is_inherited, call.f, call.mode = true, nil, "inherited"
    end
    if call.journal then require "luamp.recorder".attach(call, mode, f, p.crew.given.seed) end
    return call
end

local function is_over(call)
    return call.phase ~= "active" and call.phase ~= "stopping"
end

-- Begins the call, if nobody has, and waits until it, or what is asked, is over. Stops the call when something
-- ends that: a handler of a signal may do so at any moment.
local function await(p, call, has_come)
    has_come = has_come or function() return is_over(call) or call.broken ~= nil end
    local ok, e = pcall(function()
        if not call.phase then p.dispatch:add(call) end
        p.dispatch:await(has_come, core.deadline(), call)
    end)
    if not ok then
        p.dispatch:stop(call)
        progress.leave(call)
        error(e, 0)
    end
end

local function in_order(list)
    table.sort(list, function(a, b) return a.task < b.task end)
    return list
end

-- Raises what ended the call before its time, if anything did: what its input raised as it is.
local function raise_failure(call)
    if call.broken and not errors.is_error(call.broken) then error(call.broken, 0) end
    if call.broken then raise(call.broken) end
    if call.on_error ~= "collect" and call.failures[1] then raise(failures.earliest(call.failures)) end
end

-- What a call that has ended answers: that, and the failures that were collected; or raises.
local function answer(call, value)
    raise_failure(call)
    if call.on_error == "collect" then return value, in_order(call.failures) end
    return value
end

-- How many items there were, when that is known.
local function n_items(call)
    return call.last or call.next - 1
end

-- The list of results; with nil among them it says how many there are.
local function complete(call)
    if call.has_holes or call.failures[1] then call.list.n = n_items(call) end
    return call.list
end

-- --- map and its like -------------------------------------------------------------

local function map(p, where, name, f, input, given)
    local call = prepare(p, where, name, f, input, given, { list = {} })
    await(p, call)
    return answer(call, complete(call))
end

-- The first results of all calls, in the order of the input.
function calls.map(p, where, f, input, given)
    return map(p, where, "map", f, input, given)
end

-- The same, with lists of arguments.
function calls.starmap(p, where, f, input, given)
    return map(p, where, "starmap", f, input, given)
end

-- How many items there were.
function calls.each(p, where, f, input, given)
    local call = prepare(p, where, "each", f, input, given, { done = function() end })
    await(p, call)
    return answer(call, n_items(call))
end

-- The item that the function was given, of a call that keeps its items.
local function item_of(call, index)
    if call.source.in_worker then return call.list[index] end
    return (call.saved or call.source.list)[index]
end

-- Of what is read, no more is kept than what is wanted.
local function keep_if_true(call, index, is_true)
    if is_true then call.list[index] = is_true elseif call.saved then call.saved[index] = nil end
end

-- The items of which f is true.
function calls.filter(p, where, f, input, given)
    local kept = {}
    local call = prepare(p, where, "filter", f, input, given, { list = {}, keeps_items = true,
        done = keep_if_true })
    await(p, call)
    local list = call.list
    for i = 1, n_items(call) do
        if list[i] then kept[#kept + 1] = item_of(call, i) end
    end
    return answer(call, kept)
end

local MOST_AHEAD <const> = 4096

-- The first item of which f is true, and its index. A failure counts when nothing is known to be found before
-- it, whichever comes first; so it does not stop the others at once.
function calls.find(p, where, f, input, given)
    local failed, at = {}, 1
    local call = prepare(p, where, "find", f, input, given, { list = {}, keeps_items = true, taken = 0,
        is_stream = true, ahead = MOST_AHEAD, failed = function(_, index, e) failed[index] = e end })
    local list, stops = call.list, call.on_error ~= "collect"
    call.on_error = "collect"
    local function has_come()
        while list[at] == false or failed[at] and not stops do
            if call.saved then call.saved[at] = nil end
            list[at], failed[at], at = nil, nil, at + 1
        end
        local is_known = list[at] ~= nil or failed[at] ~= nil or is_over(call)
        if is_known or call.taken == at - 1 then return is_known end
        call.taken = at - 1
        p.dispatch:pump() -- there is room in the window: nobody is to wait for a look
        return has_come()
    end
    await(p, call, has_come)
    local is_found, item, failure = list[at], list[at] and item_of(call, at), failed[at]
    p.dispatch:stop(call)
    await(p, call)
    if is_found and not call.has_told_in_vain then return item, at end
    if failure then raise(failure) end
    raise_failure(call)
    if stops then return nil end
    return nil, nil, in_order(call.failures)
end

-- The future of a map that runs beside the script.
function calls.map_async(p, where, f, input, given)
    local fut
    local call = prepare(p, where, "map", f, input, given, { list = {}, patience = 0, finished = function(call)
        if fut.phase ~= "pending" then return end
        local failure = call.broken or call.on_error ~= "collect" and failures.earliest(call.failures)
        if failure then return future.failed(fut, caught(failure), call.is_cancelled) end
        if call.phase == "stopped" then return end -- it is cancelled, and who does that says so
        local list = complete(call)
        if call.on_error == "collect" then return future.done(fut, list, in_order(call.failures)) end
        future.done(fut, list)
    end })
    fut = future.of_call(p, where, call)
    p.dispatch:add(call)
    p.dispatch:run_beside()
    p.dispatch:pump()
    return fut
end

-- --- reduce ---------------------------------------------------------------------

-- Groups of a list's items: {n=, ...}, or, if those are inherited, the numbers of the first and the last.
local function groups_of_list(source, size, is_inherited)
    local list, n = source.list, source.n
    return setmetatable({}, { __index = function(_, k)
        local first, last = (k - 1) * size + 1, math.min(k * size, n)
        if is_inherited then return { first, last } end
        local group = { n = last - first + 1 }
        for i = first, last do group[i - first + 1] = list[i] end
        return group
    end })
end

-- Reads groups. What has been read of one stays for the next time, when there is no item just now.
local function reader_of_groups(source, size)
    local group, has_ended = { n = 0 }, false
    return function(timeout)
        while group.n < size and not has_ended do
            local item, word = source.read(timeout)
            if word == "wait" then return nil, "wait" end
            has_ended = item == nil
            if not has_ended then
                group.n, timeout, source.n_read = group.n + 1, 0, (source.n_read or 0) + 1
                group[group.n] = item
            end
        end
        local whole = group
        group = { n = 0 }
        return whole.n > 0 and whole or nil
    end
end

local GROUP <const> = 64 -- items of an input whose length is not known
local FIXED_GROUPS <const> = 64

local function grouped(p, source, size, is_fixed)
    local grown = { in_worker = source.in_worker, group = size or GROUP, items = source }
    if source.list then
        -- With a seed the groups, which have the random numbers, do not depend on the number of workers; nor do those
        -- that a journal has.
        size = size or math.max(1, math.ceil(source.n / (is_fixed and FIXED_GROUPS or 4 * p.crew.n)))
        grown.group = size
        grown.n, grown.list = (source.n + size - 1) // size, groups_of_list(source, size, p.from ~= nil)
    else
        grown.read = reader_of_groups(source, size or GROUP)
    end
    return grown
end

-- Raises unless that can be the function that combines.
function calls.check_combine(where, combine, given)
    if combine == nil or options.is_callable(combine) then return end
    if type(combine) == "table" and given == nil then
        misuse(where, "the options come after 'combine': give nil before them")
    end
    misuse(where, "'combine' must be a function, not %s", options.describe(combine))
end

-- f(acc, item) over each group from the identity, and what comes of that combined in order.
function calls.reduce(p, where, f, input, identity, combine, given)
    check_function(where, f)
    local source = p.from and p.from.source or inputs.source(where, input)
    calls.check_combine(where, combine, given)
    local of_call = pool_options.call(where, given, p.defaults)
    source = grouped(p, source, of_call.chunksize, p.crew.given.seed or of_call.journal)
    local call = prepare(p, where, "reduce", f, nil, given, { list = {}, source = source, identity = { identity },
        chunksize = 1, group = source.group })
    await(p, call)
    raise_failure(call)
    local acc, is_first, list = identity, true, call.list
    for i = 1, n_items(call) do
        if list[i] ~= nil then
            acc, is_first = is_first and list[i] or (combine or f)(acc, list[i]), false
        end
    end
    return answer(call, acc)
end

-- --- iterators --------------------------------------------------------------------

local FIRST_WINDOW <const>, LARGEST_WINDOW <const> = 4, 2048 -- for each worker, and in all

-- A window that nobody has set grows when the workers have found nothing to do.
local function widen(p, call)
    if call.has_window or call.n_out > 0 or call.window >= LARGEST_WINDOW then return end
    call.window = math.min(LARGEST_WINDOW, 2 * call.window)
    p.dispatch:pump()
end

-- What an iterator has of its call. Leaving the loop cancels the rest, and so does a look at the call when nobody
-- has the iterator any more: the call itself must not know of this.
local reading = { __name = "mp.pool: results" }

reading.__close = function(r)
    if r.p.owner ~= core.getpid() then return end
    r.p.dispatch:stop(r.call)
    await(r.p, r.call)
    if r.p.ends then r.p:ends() end
end

reading.__gc = function(r) r.call.is_abandoned = true end

-- What stands in a list of results for nil, and for what is not one value.
local NIL <const> = {}
local several = {}

local function pack(...)
    return setmetatable({ n = select("#", ...), ... }, several)
end

-- The number, and the results that stand for it.
local function unpacked(i, result)
    if type(result) ~= "table" then return i, result end
    if rawequal(result, NIL) then return i, nil end
    if rawequal(getmetatable(result), several) then return i, table.unpack(result, 1, result.n) end
    return i, result
end

local function check_owner(r)
    if r.p.owner == core.getpid() then return end
    misuse("mp.pool", "the pool belongs to process %d, which alone can use it", r.p.owner)
end

-- An iterator over results: next_index() gives the number of the next one that is there, or nil.
local function iterate(r, next_index)
    local p, call, index = r.p, r.call, nil
    local list = call.list
    local function has_come()
        index = index or next_index()
        return index ~= nil or is_over(call)
    end
    local function step()
        check_owner(r)
        if not has_come() then
            widen(p, call)
            await(p, call, has_come)
        end
        if not index then -- what came before a failure was given out
            raise_failure(call)
            if p.ends then p:ends() end
            return nil
        end
        local i, result = index, list[index]
        index, list[i], call.taken = nil, nil, call.taken + 1
        if call.saved then call.saved[i] = nil end
        return unpacked(i, result)
    end
    return step, nil, nil, r
end

local function stream(p, where, name, f, input, given, arrivals)
    local is_arranged = type(given) == "table" and given.weight and not arrivals
    local function ready(call, index, ...)
        call.list[index] = pack(...)
        if arrivals then p.crew:arrived(call.call, index, arrivals) end
    end
    local call = prepare(p, where, name, f, input, given, { taken = 0, list = { [0] = NIL }, is_stream = true,
        ahead = is_arranged and LARGEST_WINDOW or FIRST_WINDOW * p.crew.n, arrivals = arrivals, done = ready,
        failed = function(call, index, e)
            if call.on_error == "collect" then ready(call, index, nil, e) end
        end })
    local r = setmetatable({ p = p, call = call }, reading)
    p.dispatch:add(call)
    p.dispatch:run_beside() -- a loop's body may wait for what its tasks do
    return r
end

-- An iterator of i, results... in order.
function calls.imap(p, where, f, input, given)
    local r, at = stream(p, where, "imap", f, input, given), 0
    local list = r.call.list
    return iterate(r, function()
        if list[at + 1] == nil then return nil end
        at = at + 1
        return at
    end)
end

-- The same, as they finish.
function calls.imap_unordered(p, where, f, input, given)
    local arrivals, at = {}, 0
    return iterate(stream(p, where, "imap_unordered", f, input, given, arrivals), function()
        local index = arrivals[at + 1]
        if index then at, arrivals[at + 1] = at + 1, nil end
        return index
    end)
end

return calls
