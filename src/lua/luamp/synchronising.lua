-- luamp.synchronising: how the objects are made by which processes wait for each other.
--
-- What is done with them is done in C (binding/acquiring.c and the faces of the kinds).

local core = require "luamp.core"
local options = require "luamp.options"

local synchronising = {}

local misuse = options.misuse

-- Raises that a call takes nothing, if it was given something, but for an empty table of options.
local function check_nothing(where, ...)
    local given = ...
    if select("#", ...) > 1 or given ~= nil and (type(given) ~= "table" or next(given) ~= nil) then
        misuse(where, "it takes no options and no arguments")
    end
end

-- mp.lock()
function synchronising.lock(...)
    check_nothing("mp.lock", ...)
    return core.new_lock(false)
end

-- mp.rlock()
function synchronising.rlock(...)
    check_nothing("mp.rlock", ...)
    return core.new_lock(true)
end

local function count_of(where, name, value, least, most)
    local n = type(value) == "number" and math.tointeger(value)
    if not n or n < least or most and n > most then
        misuse(where, "%s must be an integer from %d %s, not %s", name, least,
            n and n > least and "to " .. most or "on", options.describe(value))
    end
    return n
end

local function semaphore(where, is_bounded, given, ...)
    if select("#", ...) > 0 then
        misuse(where, "expected a number of units or a table of options, and nothing else")
    end
    if given == nil then return core.new_semaphore(is_bounded, 1) end
    if type(given) ~= "table" then
        return core.new_semaphore(is_bounded, count_of(where, "the number of units", given, 0))
    end
    options.check(where, given, { value = "any" })
    return core.new_semaphore(is_bounded, given.value == nil and 1
        or count_of(where, "option 'value'", given.value, 0))
end

-- mp.semaphore([n = 1]), mp.semaphore{value=}
function synchronising.semaphore(given, ...)
    return semaphore("mp.semaphore", false, given, ...)
end

-- mp.bounded_semaphore: the same.
function synchronising.bounded_semaphore(given, ...)
    return semaphore("mp.bounded_semaphore", true, given, ...)
end

-- mp.event()
function synchronising.event(...)
    check_nothing("mp.event", ...)
    return core.new_event()
end

local function no_field(_, key)
    misuse("mp.rwlock", "its fields cannot be assigned ('%s')", tostring(key))
end

local sides = setmetatable({}, { __mode = "k" }) -- of each rwlock of this process
local rwlocks = setmetatable({}, { __mode = "kv" }) -- by the side to write

-- What two sides are together. It travels as both of them, and is one object in each process.
local class = { __name = "mp.rwlock", __metatable = false, __newindex = no_field }

function class:__index(key)
    return key == "close" and class.__close or sides[self][key]
end

function class:__tostring()
    local write, read = tostring(sides[self].write), tostring(sides[self].read)
    return ("mp.rwlock: %p (write %s, read %s)"):format(self, write:match "%b()$", read:match "%b()$")
end

function class:__close()
    sides[self].read:close()
    sides[self].write:close()
end

-- The rwlock with these sides.
function synchronising.joined(read, write)
    local known = rwlocks[write]
    if known and sides[known].read == read then return known end
    local rw = setmetatable({}, class)
    sides[rw], rwlocks[write] = { read = read, write = write }, rw
    return rw
end

function class:__mp_send()
    return synchronising.joined, sides[self].read, sides[self].write
end

-- mp.rwlock()
function synchronising.rwlock(...)
    check_nothing("mp.rwlock", ...)
    return synchronising.joined(core.new_rwlock())
end

local MOST_PARTIES <const> = 0x7fffffff
local of_barrier = { parties = "any", action = "any", timeout = "any" }

local function check_action(action)
    local meta = type(action) ~= "function" and getmetatable(action)
    if action == nil or type(action) == "function" or type(meta) == "table" and meta.__call then return action end
    misuse("mp.barrier", "option 'action' must be a function, not %s", options.describe(action))
end

local function seconds_of(timeout)
    if timeout == nil then return nil end
    if type(timeout) ~= "number" or timeout ~= timeout then
        misuse("mp.barrier", "option 'timeout' must be a number of seconds, not %s", options.describe(timeout))
    end
    return math.max(timeout, 0)
end

-- mp.barrier(parties), mp.barrier{parties=, action=, timeout=}
function synchronising.barrier(given, ...)
    if select("#", ...) > 0 then
        misuse("mp.barrier", "expected a number of processes or a table of options, and nothing else")
    elseif type(given) ~= "table" then
        return core.new_barrier(count_of("mp.barrier", "the number of processes", given, 1, MOST_PARTIES))
    end
    options.check("mp.barrier", given, of_barrier)
    return core.new_barrier(count_of("mp.barrier", "option 'parties'", given.parties, 1, MOST_PARTIES),
        check_action(given.action), seconds_of(given.timeout))
end

-- mp.condition([lock or rlock])
function synchronising.condition(...)
    local lock = ...
    if select("#", ...) > 1 or lock ~= nil and not core.is_lock(lock) then
        misuse("mp.condition", "expected an mp.lock or mp.rlock that is open, and nothing else; the first is %s",
            options.describe(lock))
    end
    return core.new_condition(lock or core.new_lock(true))
end

return synchronising
