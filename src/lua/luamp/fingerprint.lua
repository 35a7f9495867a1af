-- luamp.fingerprint: what stands for a value in a journal: a digest, which is the same in every run of a program, and
-- a text to be read.
--
-- A message of the codec will not do for a digest: it depends on the order in which Lua goes through a table, and on
-- the lines where functions stand. Here a value is written in an order of its own, and its bytes are hashed.
--
--   numbers, strings, booleans   as they are: 1 and 1.0 differ
--   tables           what they hold, their metatable too; what is met again, by the number of its first meeting
--   modules, what was registered, C functions      by name (names.h)
--   Lua functions    their code without the places where it stands and without names of local variables, the values
--                    of their upvalues, and of the globals that go with them; one that a module exports by its name
--                    and its code
--   all else         (open files, coroutines, shared objects) by its kind: no program has the same twice

local core = require "luamp.core"

local fingerprint = {}

local getmetatable, getupvalue = debug.getmetatable, debug.getupvalue
local pack, dump, byte = string.pack, string.dump, string.byte
local mathtype, rawget, next, type, tostring = math.type, rawget, next, type, tostring
local name_of = core.name_of
local globals = debug.getregistry()[2] -- LUA_RIDX_GLOBALS

-- --- code -----------------------------------------------------------------------

local HEADER <const> = 4 + 1 + 1 + 6 + 3 + 8 + 8 + 1 -- bytes before the function; as globals.c has it
local FLOAT <const>, INTEGER <const>, SHORT <const>, LONG <const> = 0x13, 0x03, 0x04, 0x14 -- constants

-- Seven bits in a byte, the last of which has the eighth set: the number, and where it ends.
local function size(code, at)
    local n = 0
    while true do
        local b = byte(code, at)
        n, at = n << 7 | b & 0x7f, at + 1
        if b >= 0x80 then return n, at end
    end
end

local function skip_sizes(code, at, n)
    for _ = 1, n do at = select(2, size(code, at)) end
    return at
end

-- A string's length is written with one more; 0 is none.
local function skip_string(code, at)
    local n
    n, at = size(code, at)
    return at + math.max(0, n - 1)
end

local function skip_constants(code, at)
    local n
    n, at = size(code, at)
    for _ = 1, n do
        local kind = byte(code, at)
        at = at + 1
        if kind == FLOAT or kind == INTEGER then at = at + 8 end
        if kind == SHORT or kind == LONG then at = skip_string(code, at) end
    end
    return at
end

local function skip_debug_information(code, at)
    local n
    n, at = size(code, at)
    n, at = size(code, at + n)
    n, at = size(code, skip_sizes(code, at, 2 * n))
    for _ = 1, n do at = skip_sizes(code, skip_string(code, at), 2) end
    n, at = size(code, at)
    for _ = 1, n do at = skip_string(code, at) end
    return at
end

-- Adds the parts of a function that do not tell where it stands, and of those in it; where it ends.
local function add_parts(code, at, parts)
    local n
    local from = skip_sizes(code, skip_string(code, at), 2) -- its file, and its first and last line
    n, at = size(code, from + 3)
    n, at = size(code, skip_constants(code, at + 4 * n)) -- after instructions and constants
    n, at = size(code, at + 3 * n) -- after upvalues
    parts[#parts + 1] = code:sub(from, at - 1)
    for _ = 1, n do at = add_parts(code, at, parts) end
    return skip_debug_information(code, at)
end

-- The code of a Lua function, wherever it stands.
local function code_of(f)
    local code, parts = dump(f, true), {}
    local ok, at = pcall(add_parts, code, HEADER + 1, parts)
    if not ok or at ~= #code + 1 then return code end -- of a Lua that writes it in another way
    return table.concat(parts)
end

-- --- values ---------------------------------------------------------------------

local put -- (s, value): adds it. s: the parts so far; what was met, by its number; and n, how many that are

local function put_string(s, text)
    s[#s + 1] = pack("<s8", text)
end

-- Writes it apart from all others, for an order of what has none.
local function apart(s, value)
    local own = { met = setmetatable({}, { __index = s.met }), n = s.n }
    put(own, value)
    return table.concat(own)
end

local ranks = { number = 1, string = 2, boolean = 3 }

-- The keys of a table but 1 to n, in an order that does not depend on the run: a list of {key, rank, text}. At most so
-- many of them, whichever they are.
local function other_keys(s, t, n, most)
    local keys = {}
    for key in next, t do
        local is_in_run = mathtype(key) == "integer" and key >= 1 and key <= n
        local rank = ranks[type(key)] or 4
        if #keys == most then break end
        if not is_in_run then
            keys[#keys + 1] = { key, rank, rank == 3 and tostring(key) or rank == 4 and apart(s, key) or key }
        end
    end
    table.sort(keys, function(a, b)
        if a[2] ~= b[2] then return a[2] < b[2] end
        return a[3] < b[3]
    end)
    return keys
end

local function put_fields(s, t)
    local n = 0
    while rawget(t, n + 1) ~= nil do
        n = n + 1
        put(s, rawget(t, n))
    end
    s[#s + 1] = ";"
    for _, key in ipairs(other_keys(s, t, n)) do
        put(s, key[1])
        put(s, rawget(t, key[1]))
    end
    s[#s + 1] = "."
end

-- Whether it was met before, and is written by its number.
local function is_met(s, object)
    local number = s.met[object]
    if number then
        s[#s + 1] = pack("<c1i8", "^", number)
        return true
    end
    s.n = s.n + 1
    s.met[object] = s.n
    return false
end

local function put_name(s, name)
    s[#s + 1] = "n"
    put_string(s, name)
end

local function put_meta(s, mt)
    local name = name_of(mt, true)
    s[#s + 1] = "m"
    if name then put_name(s, name) else put(s, mt) end
end

local function put_table(s, t)
    if t == globals then
        s[#s + 1] = "G"
        return
    elseif is_met(s, t) then
        return
    end
    local name = name_of(t)
    if name then return put_name(s, name) end
    s[#s + 1] = "t"
    put_fields(s, t)
    local mt = getmetatable(t)
    if mt then put_meta(s, mt) end
end

local function put_upvalues(s, f)
    local i = 1
    while true do
        local name, value = getupvalue(f, i)
        if not name then break end
        put(s, value)
        i = i + 1
    end
    local names = core.globals_of(f)
    table.sort(names)
    for _, global in ipairs(names) do
        put_string(s, global)
        put(s, rawget(globals, global))
    end
end

-- is_first: it is what a call runs, and no matter how it is called all of it counts.
local function put_function(s, f, is_first)
    if is_met(s, f) then return end
    local name = name_of(f)
    local is_lua = debug.getinfo(f, "S").what ~= "C"
    if name and not (is_first and is_lua) then put_name(s, name) else s[#s + 1] = "f" end
    if not is_lua then return end
    put_string(s, code_of(f))
    if is_first or not name then put_upvalues(s, f) end
end

local function put_kind(s, value)
    local mt = getmetatable(value)
    local name = name_of(value)
    if name then return put_name(s, name) end
    s[#s + 1] = "u"
    put_string(s, type(mt) == "table" and tostring(rawget(mt, "__name")) or type(value))
end

local puts = {
    ["nil"] = function(s) s[#s + 1] = "0" end,
    boolean = function(s, v) s[#s + 1] = v and "+" or "-" end,
    string = function(s, v)
        s[#s + 1] = "s"
        put_string(s, v)
    end,
    number = function(s, v)
        if v ~= v then
            s[#s + 1] = "N"
        else
            s[#s + 1] = mathtype(v) == "integer" and pack("<c1i8", "i", v) or pack("<c1d", "d", v)
        end
    end,
    table = put_table,
    ["function"] = put_function,
    userdata = put_kind,
    thread = put_kind,
}

function put(s, value)
    return puts[type(value)](s, value)
end

-- The digest of those values. Names are as of the last core.renew_names.
function fingerprint.of(...)
    local s = { met = {}, n = 0 }
    for i = 1, select("#", ...) do put(s, (select(i, ...))) end
    return core.journal.digest(table.concat(s))
end

-- The digest of a function that a call runs, in that way.
function fingerprint.of_function(f, ...)
    local s = { met = {}, n = 0 }
    core.renew_names(false)
    if type(f) == "function" then put_function(s, f, true) else put(s, f) end
    for i = 1, select("#", ...) do put(s, (select(i, ...))) end
    return core.journal.digest(table.concat(s))
end

-- --- text -----------------------------------------------------------------------

local LONGEST <const>, DEEPEST <const>, MOST_KEYS <const> = 200, 3, 16 -- bytes, tables in one another, names in a table

local function cut(text)
    if #text <= LONGEST then return text end
    return text:sub(1, (utf8.offset(text, 0, LONGEST + 1) or LONGEST + 1) - 1) .. "..."
end

local function plain(text)
    if utf8.len(text) then return text end
    return (text:gsub("[\x80-\xFF]", function(char) return ("\\x%02X"):format(byte(char)) end))
end

local words -- (value, depth): what is shown of it, `depth` tables deep

-- What a table holds: a list of texts, which is cut where it becomes long.
local function parts_of(t, depth)
    local list, length, n = {}, 0, 0
    local function add(text)
        list[#list + 1], length = text, length + #text
    end
    while rawget(t, n + 1) ~= nil and length < LONGEST do
        n = n + 1
        add(words(rawget(t, n), depth + 1))
    end
    for _, entry in ipairs(other_keys({ met = {}, n = 0 }, t, rawget(t, n + 1) == nil and n or #t, MOST_KEYS)) do
        local key = entry[1]
        local name = type(key) == "string" and key:find "^[%a_][%w_]*$" and key or "[" .. words(key, depth + 1) .. "]"
        if length < LONGEST then add(name .. " = " .. words(rawget(t, key), depth + 1)) end
    end
    if length >= LONGEST then add "..." end
    return list
end

function words(value, depth)
    local kind = type(value)
    if kind == "string" then
        local text = cut(plain(value))
        return depth == 0 and text or '"' .. text .. '"'
    elseif kind ~= "table" then
        return (kind == "number" or kind == "boolean" or value == nil) and tostring(value) or kind
    elseif depth == DEEPEST then
        return "{...}"
    end
    return "{" .. table.concat(parts_of(value, depth), ", ") .. "}"
end

-- The values in a line to be read, of some hundred bytes at most.
function fingerprint.text(...)
    local list = {}
    for i = 1, math.min(select("#", ...), 8) do list[i] = cut(words((select(i, ...)), 0)) end
    return table.concat(list, ", ")
end

return fingerprint
