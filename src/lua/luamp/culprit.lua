-- luamp.culprit: which part of some values cannot be sent, in words.
--
-- The codec says no more than that one cannot. This walks the values again,
-- breadth first, so that the shortest path to a culprit is the one named:
--
--   cannot send result 1: opts.cache[3].conn is a userdata (luasql.connection); send ...
--
-- It refuses what codec.c refuses and nothing else. It looks by raw access
-- only, so nothing of the values runs: what a hook __mp_send gave, or why it gave
-- nothing, is known from the encoding that was refused. An upvalue is named by itself:
--
--   cannot send upvalue log of function script.lua:3: it is an open file; open it ...
--   cannot send result 1: file of argument 2 from __mp_send of opts.conn is an open file; ...
--   cannot send result 1: opts.conn: its __mp_send failed: script.lua:7: not connected

local core = require "luamp.core"

local getmetatable, getinfo, getupvalue = debug.getmetatable, debug.getinfo, debug.getupvalue
local name_of_object, hook_of = core.name_of, core.hook_of

local registry = debug.getregistry()

-- Longer strings, and paths of more steps, lose their middle.
local longest_key, longest_path, longest_phrase = 40, 40, 10

local advice = {
    ["function"] = "put it into a module that is loaded there, or register it by mp.register",
    shared = "send what it holds; on another host it is not there",
    thread = "send what it yields or returns instead",
    userdata = "send what it was made from, or open it in the process that uses it",
    metatable = "send the plain data, and set the metatable where it arrives",
}

local function name_of(value)
    local meta = getmetatable(value)
    local name = type(meta) == "table" and rawget(meta, "__name")
    return type(name) == "string" and (" (%s)"):format(name) or ""
end

local describe = {}

describe["function"] = function()
    return "a C function that no module exports"
end

-- Where a Lua function stands.
local function place_of(f)
    local info = getinfo(f, "S")
    return info.what == "main" and info.short_src or info.short_src .. ":" .. info.linedefined
end

function describe.userdata(u)
    local file = io.type(u)
    if file then return file == "file" and "an open file" or "a closed file" end
    if core.is_handle(u) then return ("an object that this process has closed%s"):format(name_of(u)) end
    return "a userdata" .. name_of(u)
end

function describe.thread()
    return "a coroutine"
end

local function escape(char)
    return ("\\x%02X"):format(char:byte())
end

local function quote(key)
    local tail = ""
    if #key > longest_key then
        key, tail = key:sub(1, longest_key):gsub("[\xC0-\xFF][\x80-\xBF]*$", ""), "..."
    end
    key = key:gsub('["\\]', "\\%0"):gsub("\n", "\\n"):gsub("%c", escape)
    if not utf8.len(key) then key = key:gsub("[\x80-\xFF]", escape) end
    return ('["%s%s"]'):format(key, tail)
end

-- A key as it stands in a path.
local function step(key)
    if type(key) == "string" then
        local plain = #key <= longest_key and key:find("^[%a_][%w_]*$")
        return plain and "." .. key or quote(key)
    elseif type(key) == "table" then
        return "[table]"
    end
    return ("[%s]"):format(key)
end

-- The list with its middle replaced, joined.
local function join(list, between, longest)
    if #list <= longest then return table.concat(list, between) end
    local half = longest // 2
    return table.concat(list, between, 1, half) .. " ... " .. table.concat(list, between, #list - half + 1)
end

-- A place is where a value was found: the place of the table that holds it,
-- and how ("field" with its key, "key", "metatable", "sent": a result of its hook, with its
-- number as key); or a root: its number, or what it is called.

-- The fields from place up to the one that is none: their path, and that one.
local function path_to(place)
    local steps = {}
    while place.how == "field" do
        steps[#steps + 1] = step(place.key)
        place = place.parent
    end
    for i = 1, #steps // 2 do
        steps[i], steps[#steps + 1 - i] = steps[#steps + 1 - i], steps[i]
    end
    return join(steps, "", longest_path):gsub("^%.", ""), place
end

-- What a place that is no field is called, also in a root itself.
local function name_of_step(place, is_in_root)
    if place.how == "sent" then
        local what = place.key == 1 and "the function" or "argument " .. place.key - 1
        return what .. (is_in_root and " from its __mp_send" or " from __mp_send")
    elseif place.how == "key" then
        return is_in_root and "one of its keys" or "a key"
    end
    return is_in_root and "its metatable" or "the metatable"
end

-- What stands at the place, from its root: "__index of the metatable of opts.p".
-- Returns the root's number besides.
local function phrase(place)
    local words, last = {}, nil
    while true do
        local path
        path, place = path_to(place)
        if path ~= "" then words[#words + 1] = path end
        if place.root then
            if #words == 0 then return "it", place.root end
            if path == "" then words[#words] = name_of_step(last, true) end
            return join(words, " of ", longest_phrase), place.root
        end
        words[#words + 1] = name_of_step(place)
        place, last = place.parent, place
    end
end

-- What forbids the metatable to travel, if anything does.
local function finalizer(meta)
    return rawget(meta, "__gc") ~= nil and "__gc" or rawget(meta, "__close") ~= nil and "__close"
end

-- A walk has a `queue` of tables and their `places`, in the order in which
-- they were met, and holds the first culprit: what it `is`, where, and advice.
local walk = {}
walk.__index = walk

function walk:refuse(place, text, why)
    self.text, self.place, self.why = text, place, why
    while place.how == "field" do place = place.parent end
    if place.how == "metatable" and why ~= "" then self.why = advice.metatable end
    return true
end

-- Whether its contents travel: those of a table and of a Lua function.
local function is_open(value, kind)
    return kind == "table" or (kind == "function" and getinfo(value, "S").what ~= "C")
end

function walk:queue_once(value, place)
    if self.seen[value] then return end
    self.seen[value] = true
    self.queue[#self.queue + 1], self.places[#self.places + 1] = value, place
end

-- Whether it goes as what its hook returned.
local function has_hook(value, kind)
    return (kind == "table" or kind == "userdata") and hook_of(value) ~= nil and not name_of_object(value)
end

-- Looks at a value; what it holds is looked into later. True when it is the culprit.
function walk:visit(value, place)
    local kind = type(value)
    if has_hook(value, kind) then
        if self.failures[value] then return self:refuse(place, self.failures[value], "") end
        self:queue_once(value, place)
    elseif kind == "userdata" and core.is_shared(value) then
        if not self.for_far then return nil end
        return self:refuse(place, (" is shared by the processes of this host%s"):format(name_of(value)), advice.shared)
    elseif advice[kind] and not is_open(value, kind) and not (kind ~= "thread" and name_of_object(value)) then
        return self:refuse(place, " is " .. describe[kind](value), advice[kind])
    elseif is_open(value, kind) and not name_of_object(value) then
        self:queue_once(value, place)
    end
end

-- An upvalue is a root of its own, so that what is told of it is short; so is a global,
-- which matters when the receiver is known to lack it.
function walk:look_into_function(f)
    for _, name in ipairs(self.for_fresh and core.globals_of(f) or {}) do
        local root = ("global %s used by function %s"):format(name, place_of(f))
        if self:visit(_G[name], { root = root }) then return true end
    end
    local i, name, value = 1, getupvalue(f, 1)
    while name do
        local known = name:find "^[%a_]" and name or i
        if self:visit(value, { root = ("upvalue %s of function %s"):format(known, place_of(f)) }) then return true end
        i = i + 1
        name, value = getupvalue(f, i)
    end
end

function walk:look_into_results(results, place)
    for i = 1, results.n or 0 do
        if self:visit(results[i], { parent = place, how = "sent", key = i }) then return true end
    end
end

function walk:look_into(value, place)
    if type(value) == "function" then return self:look_into_function(value) end
    if has_hook(value, type(value)) then return self:look_into_results(self.results[value] or {}, place) end
    local meta = getmetatable(value)
    if meta and not rawequal(meta, registry["luamp.error"]) and not name_of_object(meta, true) then
        local its = { parent = place, how = "metatable" }
        local field = hook_of(meta) == nil and finalizer(meta)
        if field then return self:refuse(its, name_of(value) .. " has " .. field) end
        if self:visit(meta, its) then return true end
    end
    for key, v in next, value do
        if self:visit(key, { parent = place, how = "key" })
            or self:visit(v, { parent = place, how = "field", key = key }) then
            return true
        end
    end
end

function walk:run(values, n)
    for i = 1, n do
        if self:visit(values[i], { root = i }) then return true end
    end
    local i = 1
    while self.queue[i] do
        if self:look_into(self.queue[i], self.places[i]) then return true end
        i = i + 1
    end
end

-- Hooks that change what was walked, again and again, leave no culprit.
local unsteady = " is changed by each __mp_send that is called for it"

-- culprit(values, n, root, for_fresh): the message about the first culprit among the n
-- values, or nil when all can be sent. `root` names a value by its number: a
-- format ("result %d") or a function. `for_fresh`: to a fresh interpreter; "far": to one on another host.
return function(values, n, root, for_fresh)
    core.renew_names(for_fresh and true)
    local hooks = core.refused_hooks() or {}
    local found = setmetatable({ queue = {}, places = {}, seen = {}, failures = hooks.failures or {},
        results = hooks.results or {}, for_fresh = for_fresh, for_far = for_fresh == "far" }, walk)
    if not found:run(values, n) and not (hooks.rounds and found:refuse({ root = 1 }, unsteady, "")) then return nil end
    local where, of = phrase(found.place)
    local name = type(of) == "string" and of or type(root) == "function" and root(of) or root:format(of)
    local words = (where .. found.text):gsub("^it: ", "")
    return ("cannot send %s: %s%s"):format(name, words, found.why == "" and "" or "; " .. found.why)
end
