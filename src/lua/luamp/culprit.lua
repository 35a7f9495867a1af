-- luamp.culprit: which part of some values cannot be sent, in words.
--
-- The codec says no more than that one cannot. This walks the values again,
-- breadth first, so that the shortest path to a culprit is the one named:
--
--   cannot send result 1: opts.cache[3].conn is a userdata (luasql.connection); send ...
--
-- It refuses what codec.c refuses and nothing else. It looks by raw access
-- only, so nothing of the values runs.

local getmetatable, getinfo = debug.getmetatable, debug.getinfo

local registry = debug.getregistry()

-- Longer strings, and paths of more steps, lose their middle.
local longest_key, longest_path, longest_phrase = 40, 40, 10

local advice = {
    ["function"] = "send its name or its result instead",
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

describe["function"] = function(f)
    local info = getinfo(f, "S")
    if info.what == "C" then return "a C function" end
    local where = info.what == "main" and info.short_src or info.short_src .. ":" .. info.linedefined
    return ("a function (%s)"):format(where)
end

function describe.userdata(u)
    local file = io.type(u)
    if file then return file == "file" and "an open file" or "a closed file" end
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
-- and how ("field" with its key, "key", "metatable"); or the number of a root.

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

-- What stands at the place, from its root: "__index of the metatable of opts.p".
-- Returns the root's number besides.
local function phrase(place)
    local words = {}
    while true do
        local path
        path, place = path_to(place)
        if path ~= "" then words[#words + 1] = path end
        if place.root then
            if #words == 0 then return "it", place.root end
            if path == "" then
                words[#words] = words[#words] == "a key" and "one of its keys" or "its metatable"
            end
            return join(words, " of ", longest_phrase), place.root
        end
        words[#words + 1] = place.how == "key" and "a key" or "the metatable"
        place = place.parent
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
    if place.how == "metatable" then self.why = advice.metatable end
    return true
end

-- Looks at a value; a table is looked into later. True when it is the culprit.
function walk:visit(value, place)
    local kind = type(value)
    if describe[kind] then return self:refuse(place, " is " .. describe[kind](value), advice[kind]) end
    if kind == "table" and not self.seen[value] then
        self.seen[value] = true
        self.queue[#self.queue + 1], self.places[#self.places + 1] = value, place
    end
end

function walk:look_into(value, place)
    local meta = getmetatable(value)
    if meta and meta ~= registry["luamp.error"] then
        local its = { parent = place, how = "metatable" }
        local field = finalizer(meta)
        if field then return self:refuse(its, name_of(value) .. " has " .. field) end
        self:visit(meta, its)
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

-- culprit(values, n, root): the message about the first culprit among the n
-- values, or nil when all can be sent. `root` names a value by its number: a
-- format ("result %d") or a function.
return function(values, n, root)
    local found = setmetatable({ queue = {}, places = {}, seen = {} }, walk)
    if not found:run(values, n) then return nil end
    local where, number = phrase(found.place)
    local name = type(root) == "function" and root(number) or root:format(number)
    return ("cannot send %s: %s%s; %s"):format(name, where, found.text, found.why)
end
