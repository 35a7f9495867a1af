-- luamp.sharing: the errors of objects that processes share, and how these are made.
--
-- The objects are the binding's (shared.c): what is done with them is done in C. Here
-- are their options, and the words for what seldom happens.

local core = require "luamp.core"
local errors = require "luamp.errors"
local life = require "luamp.life"
local options = require "luamp.options"

local sharing = {}

local misuse = options.misuse

local function raise(fields)
    local own = life.own()
    fields.process, fields.pid = life.name(own), own.pid
    errors.raise(errors.new(fields), life.name(own), own.pid)
end

-- Raises that the value cannot be an item, and why.
function sharing.unsendable(value)
    raise { kind = "unsendable", message = require "luamp.culprit" ({ value }, 1, function() return "item" end)
        or "cannot send item: it changed meanwhile" }
end

-- Raises that the object does not take anything more.
function sharing.closed(where)
    raise { kind = "closed", message = where .. ": it is closed" }
end

local words = {
    put = "waits for room in %s", get = "waits for an item of %s", join = "waits until all of %s is done",
    ["end"] = "waits for the end of %s", several = "waits for one of several things",
    task = "waits for a task of its pool", update = "waits for the end of an update of %s",
}

-- The words for the process with that pid, with its name if that is known here.
function sharing.process_of(pid)
    local own, creator = life.own(), life.now.creator
    local function words_of(s) return ("process '%s' (pid %d)"):format(life.name(s), pid) end
    if pid == own.pid then return words_of(own) end
    if creator and pid == creator.pid then return words_of(creator) end
    for _, s in ipairs(life.now.running) do
        if s.pid == pid then return words_of(s) end
    end
    return ("process %d"):format(pid)
end

-- Raises that all wait, and for what.
function sharing.deadlock()
    local lines = {}
    for _, wait in ipairs(core.waits()) do
        local object = wait.kind == "process" and sharing.process_of(wait.object)
            or tostring(wait.object or ("a %s that is unknown here"):format(wait.kind or "thing"))
        lines[#lines + 1] = sharing.process_of(wait.pid) .. " " .. (words[wait.what] or "waits for %s"):format(object)
    end
    raise { kind = "deadlock", message = "deadlock, nobody can go on:\n\t" .. table.concat(lines, "\n\t") }
end

local ending = setmetatable({}, { __close = function() core.end_wait() end })

-- Calls look until it returns true, for a wait for ever; it returns false when it has looked
-- in vain, and nil when it was interrupted. What follows is what core.begin_wait is told.
-- Raises the report of a deadlock, which is none while the process itself will go on with something.
function sharing.wait_for_ever(look, ...)
    core.begin_wait(...)
    local _ <close> = ending
    repeat
        local is_there = look()
        local has_plans = is_there == false and life.now.beside and life.has_plans()
        if is_there == false and not has_plans and core.is_deadlock() then sharing.deadlock() end
    until is_there
end

local function bytes_of(where, name, value)
    local n = options.bytes(value)
    if not n or n < 1 then
        misuse(where, "option '%s' must be a number of bytes from 1 on, or a text as \"512M\" (K, M, G, T), not %s",
            name, options.describe(value))
    end
    return n
end

-- Waits until the object is ready (what: a number of the core's) or the deadline has passed,
-- by the wait in which failures of a scope are raised.
function sharing.await(object, what, deadline)
    local function look()
        local fd = core.watch(object, what)
        if fd == true then return true end
        local moment = core.deadline(0.05)
        local polled = life.poll({ fd }, math.min(deadline, moment))
        core.sweep_shared()
        if core.is_ready(object, what) or deadline <= moment then return true end
        return polled and false
    end
    if deadline == core.deadline() then
        sharing.wait_for_ever(look, object, what)
    else
        repeat until look()
    end
end

-- A moment in the wait of a call that looks from time to time whether it may go on: signals are
-- served, and failures of a scope raised.
function sharing.pause()
    life.poll({}, core.deadline(0))
end

local function count_of(where, name, value)
    local n = type(value) == "number" and math.tointeger(value)
    if not n or n < 1 then
        misuse(where, "%s must be an integer from 1 on, not %s", name, options.describe(value))
    end
    return n
end

local known = { maxsize = "any", maxbytes = "any" }

local function queue(where, has_priorities, given, ...)
    if select("#", ...) > 0 then
        misuse(where, "expected a number of items or a table of options, and nothing else")
    end
    if given == nil then return core.new_queue(has_priorities, 0, 0) end
    if type(given) ~= "table" then
        return core.new_queue(has_priorities, count_of(where, "the greatest number of items", given), 0)
    end
    options.check(where, given, known)
    return core.new_queue(has_priorities,
        given.maxsize ~= nil and count_of(where, "option 'maxsize'", given.maxsize) or 0,
        given.maxbytes ~= nil and bytes_of(where, "maxbytes", given.maxbytes) or 0)
end

-- mp.queue([maxsize]), mp.queue{maxsize=, maxbytes=}
function sharing.queue(given, ...)
    return queue("mp.queue", false, given, ...)
end

-- mp.priority_queue: the same.
function sharing.priority_queue(given, ...)
    return queue("mp.priority_queue", true, given, ...)
end

-- mp.pipe(), mp.pipe{duplex=}: two ends.
function sharing.pipe(given)
    if given == nil then return core.new_pipe(true) end
    if type(given) ~= "table" then
        misuse("mp.pipe", "expected a table of options, not %s", options.describe(given))
    end
    options.check("mp.pipe", given, { duplex = "boolean" })
    return core.new_pipe(given.duplex ~= false)
end

local function takes_nothing(where, advice, ...)
    if select("#", ...) > 0 then misuse(where, "takes no arguments: %s", advice) end
end

-- mp.dict()
function sharing.dict(...)
    takes_nothing("mp.dict", "it is filled with set(key, value)", ...)
    return core.new_dict(false)
end

-- mp.list()
function sharing.list(...)
    takes_nothing("mp.list", "it is filled with insert(value), or with extend(list)", ...)
    return core.new_list()
end

local function seconds_of(where, name, value)
    if type(value) ~= "number" or value ~= value or value <= 0 then
        misuse(where, "option '%s' must be a number of seconds above 0, not %s", name, options.describe(value))
    end
    return value
end

-- mp.cache([size]), mp.cache{size=, ttl=}
function sharing.cache(given, ...)
    local where = "mp.cache"
    if select("#", ...) > 0 then
        misuse(where, "expected a number of entries or a table of options, and nothing else")
    end
    if type(given) == "number" then
        return core.new_dict(true, count_of(where, "the greatest number of entries", given))
    end
    if type(given) ~= "table" then
        misuse(where, "expected a number of entries or a table of options, not %s", options.describe(given))
    end
    options.check(where, given, { size = "any", ttl = "any" })
    if given.size == nil and given.ttl == nil then
        misuse(where, "give it a size, a ttl or both: without one it is a dict (mp.dict)")
    end
    return core.new_dict(true, given.size ~= nil and count_of(where, "option 'size'", given.size) or 0,
        given.ttl ~= nil and seconds_of(where, "ttl", given.ttl) or 0)
end

-- mp.memory(), mp.memory{limit=}: what the family shares, in bytes and by kind, and what this process's
-- own heap is.
function sharing.memory(given)
    if given ~= nil then
        if type(given) ~= "table" then
            misuse("mp.memory", "expected a table of options, not %s", options.describe(given))
        end
        options.check("mp.memory", given, { limit = "any" })
        if given.limit ~= nil then core.limit_shared(bytes_of("mp.memory", "limit", given.limit)) end
    end
    local usage = core.shared_usage()
    usage.heap = core.heap_usage()
    return usage
end

return sharing
