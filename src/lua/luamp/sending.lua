-- luamp.sending: calls the hooks __mp_send of what is to be sent.
--
-- An object whose metatable has the field goes as what the function there returns
-- for it: a function and arguments, which the receiver calls. The codec calls no Lua
-- code while it walks the values, so they are walked here first, as it would:
-- depth first, and with an explicit stack. What a hook returned is walked in its
-- turn, and the object comes into the record when that is done: behind all that
-- its arguments need.
--
-- A hook is called once in a message, however often its values are walked. An
-- object that is needed to make itself is refused. For that, objects that can
-- reach each other are found as Tarjan's algorithm does; one that has not left
-- its stack, and was met outside of the hooks at work, leads back to one of them.
--
-- What fails in a global, or cannot be sent at all, leaves out that global and
-- nothing else; and in a function that goes by name and by value, its value. Apart from
-- that, what cannot be sent is the codec's to refuse.

local core = require "luamp.core"
local errors = require "luamp.errors"
local options = require "luamp.options"

local getmetatable, getinfo, getupvalue = debug.getmetatable, debug.getinfo, debug.getupvalue
local name_of, hook_of, is_either = core.name_of, core.hook_of, core.is_either

local registry = debug.getregistry()
local globals = registry[2] -- LUA_RIDX_GLOBALS

local longest_chain = 200 -- of hooks, each one's object in what another returned
local most_rounds = 10 -- in which hooks change what was walked before

local objects = { table = true, ["function"] = true, userdata = true, thread = true }

-- The objects whose hook is running. It may send values, but not that object.
local at_work = {}

-- --- calling a hook ----------------------------------------------------------

local function packed(ok, ...) return ok, table.pack(...) end

-- In a protected call: whatever fails, also for want of memory, the object is not at work after it. The hook
-- has a protected call of its own, so that what it raises has no word of this place.
local function results_of(hook, object)
    at_work[object] = true
    return packed(pcall(hook, object))
end

-- What a hook raised, in words; an interruption, and memory that was short, are no
-- failures of it.
local function describe(e)
    if e == "not enough memory" or (errors.is_error(e) and e.kind == "interrupted") then error(e, 0) end
    return ": its __mp_send failed: " .. errors.caught(e).message
end

-- A table of what the hook returned, or words.
local function call(object, hook, for_fresh)
    if at_work[object] then return ": its __mp_send sends it itself" end
    local had_memory, ok, results = pcall(results_of, hook, object)
    at_work[object] = nil
    core.address_names(for_fresh) -- the hook may have sent something elsewhere
    if not had_memory then return describe(ok) elseif not ok then return describe(results[1]) end
    if type(results[1]) ~= "function" then
        return ": its __mp_send has to return a function first, not " .. options.describe(results[1])
    end
    return results
end

-- --- the walk ----------------------------------------------------------------

-- A walk has a stack of frames, one for each object on the way to the present one:
--   value, children   the object, and those in it; `names` of those that are globals
--   at                the child that is looked into
--   index, low        the order in which objects were met; the first that it leads back to
--   hooks             how many hooks were at work when the object was met
--   inner             and how many for its children
--   owner             what may be left out and in which it lies, if any: a global, by its name, or
--                     a function that goes by name, too
--   results           of an object with a hook: what that returned
-- `met` has the frame of an object, or false when all that it leads to is done;
-- `open` those for which that is not known yet; `followed` the owners that were gone to.
local walk = {}
walk.__index = walk

-- The metatable too, unless it goes by name. Whether it may go.
local function metatable_child(t, children)
    local meta = getmetatable(t)
    if not meta or meta == registry["luamp.error"] or name_of(meta, true) then return true end
    children[#children + 1] = meta
    return hook_of(meta) ~= nil or (rawget(meta, "__gc") == nil and rawget(meta, "__close") == nil)
end

local function table_children(t)
    local children, n = {}, 0
    for key, value in next, t do
        if objects[type(key)] then
            n = n + 1
            children[n] = key
        end
        if objects[type(value)] then
            n = n + 1
            children[n] = value
        end
    end
    return children, metatable_child(t, children)
end

-- The names of the globals that a function uses; closures of the same code use the same.
function walk:globals_of(f)
    local code = string.dump(f, true)
    local names = self.uses[code] or core.globals_of(f)
    self.uses[code] = names
    return names
end

local function function_children(self, f)
    local children, names, has_globals = {}, {}, false
    local i, name, value = 1, getupvalue(f, 1)
    while name do
        if value == globals then has_globals = true end
        if objects[type(value)] then children[#children + 1] = value end
        i = i + 1
        name, value = getupvalue(f, i)
    end
    for _, global in ipairs(has_globals and self:globals_of(f) or {}) do
        value = rawget(globals, global)
        if objects[type(value)] and not self.record.left_out[global] then
            children[#children + 1] = value
            names[#children] = global
        end
    end
    return children, names
end

local function result_children(results)
    local children = {}
    for i = 1, results.n do
        if objects[type(results[i])] then children[#children + 1] = results[i] end
    end
    return children
end

-- A receiver with a fresh interpreter has nothing that could be left out.
function walk:leave_out(owner)
    self.left_out = not self.record.for_fresh and owner or nil
end

-- The walk ends: without the owner in which this is, or with the words about an object.
function walk:fail(frame, object, words)
    self:leave_out(frame.owner)
    self.record.failures[object] = words
    self.has_failed = true
end

-- What cannot be sent ends it only in an owner.
function walk:refuse(frame)
    if frame.owner and not self.record.for_fresh then self:fail(frame, frame, "") end
end

function walk:push(frame)
    self.n_met = self.n_met + 1
    frame.at, frame.index, frame.low = 0, self.n_met, self.n_met
    self.met[frame.value] = frame
    self.open[#self.open + 1] = frame
    self.stack[#self.stack + 1] = frame
end

-- The object whose hook was the one called after the first n of those at work.
function walk:at_work_after(n)
    for _, frame in ipairs(self.stack) do
        if frame.results and frame.hooks == n then return frame.value end
    end
end

function walk:enter_hooked(frame, hook)
    local results = self.record.results[frame.value] or call(frame.value, hook, self.record.for_fresh)
    self.record.results[frame.value] = results
    if type(results) == "string" then
        return self:fail(frame, frame.value, results)
    elseif frame.hooks == longest_chain then
        return self:fail(frame, self:at_work_after(0), (": its __mp_send comes to no end: "
            .. "more than %d are called, each for what another one returned"):format(longest_chain))
    end
    frame.results, frame.children, frame.inner = results, result_children(results), frame.hooks + 1
    self:push(frame)
end

-- One that was not met before and has no name.
function walk:enter(value, frame)
    local hook, kind = hook_of(value), type(value)
    if hook ~= nil then
        self:enter_hooked(frame, hook)
    elseif kind == "table" then
        local may_go
        frame.children, may_go = table_children(value)
        self:push(frame)
        if not may_go then self:refuse(frame) end
    elseif kind == "function" and getinfo(value, "S").what ~= "C" then
        frame.children, frame.names = function_children(self, value)
        self:push(frame)
    else
        self:refuse(frame)
    end
end

-- The last owner by which what is open leads on to what is open, if any does.
function walk:open_owner()
    for i = #self.followed, 1, -1 do
        if self.met[self.followed[i].value] then return self.followed[i].owner end
    end
end

-- One that was met before, from the frame: it may be needed to make itself.
function walk:meet_again(earlier, frame)
    frame.low = math.min(frame.low, earlier.index)
    if earlier.hooks < frame.inner then
        self:fail(frame, self:at_work_after(earlier.hooks), ": what its __mp_send returned holds it again")
        self:leave_out(frame.owner or self:open_owner())
    end
end

-- Whether it goes by its name alone; and whether its value may be left out.
function walk:is_named(value)
    if type(value) == "thread" or not name_of(value) then return false, false end
    local both = is_either(value) and not self.record.left_out[value]
    return not both, both
end

function walk:look_into(value, frame)
    local earlier, owner = self.met[value], frame.names and frame.names[frame.at]
    if owner then self.followed[#self.followed + 1] = { owner = owner, value = value } end
    if earlier then return self:meet_again(earlier, frame) end
    if earlier == false then return end
    local is_named, is_owner = self:is_named(value)
    if is_owner then
        owner = value
        self.followed[#self.followed + 1] = { owner = owner, value = value }
    end
    if not is_named then
        self:enter(value, { value = value, hooks = frame.inner, inner = frame.inner, owner = owner or frame.owner })
    end
end

-- The frame on top, whose children are done.
function walk:leave(frame)
    local stack, open, record = self.stack, self.open, self.record
    stack[#stack] = nil
    if frame.results then record[#record + 1] = { frame.value, frame.results, frame.results.n } end
    local below = stack[#stack]
    if below then below.low = math.min(below.low, frame.low) end
    if frame.low < frame.index then return end
    local done
    repeat
        done = open[#open]
        open[#open] = nil
        self.met[done.value] = false
    until done == frame
end

-- Over all the values, from a list of those that are objects.
function walk:run(children)
    self:push { value = self, children = children, hooks = 0, inner = 0 }
    while self.stack[1] and not self.has_failed do
        local frame = self.stack[#self.stack]
        frame.at = frame.at + 1
        local child = frame.children[frame.at]
        if child == nil then self:leave(frame) else self:look_into(child, frame) end
    end
    return not self.has_failed
end

-- Walks the values until nothing more is to be left out.
local function prepare(record, children)
    local w
    repeat
        record = { results = record.results, left_out = record.left_out, rounds = record.rounds,
            for_fresh = record.for_fresh, failures = {} }
        w = setmetatable({ record = record, stack = {}, open = {}, met = {}, n_met = 0, uses = {},
            followed = {} }, walk)
        local ok = w:run(children)
        if w.left_out then record.left_out[w.left_out] = true end
    until ok or not w.left_out
    return record, not w.has_failed
end

-- prepare(record, values, n, for_fresh): the record with all that hooks among the n values gave, and whether
-- all is well. A record is a list of sections, {object, results, how many}, each behind those
-- that it needs, with
--   results    by object: what its hook returned, or words
--   failures   by object: in words, why it cannot be sent
--   left_out   the names of globals that do not go with the functions, and functions that go by name alone
--   for_fresh  whether the receiver has a fresh interpreter
--   rounds     how often the values were walked for this message; at last in vain
-- The one before, of the same message, or nil, knows the hooks that were called already.
return function(record, values, n, for_fresh)
    record = record or { results = {}, left_out = {}, rounds = 0, for_fresh = for_fresh }
    record.rounds = record.rounds + 1
    if record.rounds > most_rounds then return record, false end
    values.n = n
    return prepare(record, result_children(values))
end
