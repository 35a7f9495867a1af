-- luamp.options: reading option tables and arguments. Misuse raises a plain
-- string at the script's line and names the culprit.

local core = require "luamp.core"

local options = {}

-- Raises misuse: `where` is the call as the user knows it ("mp.process").
function options.misuse(where, text, ...)
    core.misuse(where .. ": " .. text:format(...))
end

-- The number of single-letter edits (swaps of neighbours too) from a to b:
-- optimal string alignment distance.
local function distance(a, b)
    local d = {}
    for i = 0, #a do d[i] = { [0] = i } end
    for j = 0, #b do d[0][j] = j end
    for i = 1, #a do
        for j = 1, #b do
            local same = a:byte(i) == b:byte(j)
            d[i][j] = math.min(d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + (same and 0 or 1))
            if i > 1 and j > 1 and a:byte(i) == b:byte(j - 1) and a:byte(i - 1) == b:byte(j) then
                d[i][j] = math.min(d[i][j], d[i - 2][j - 2] + 1)
            end
        end
    end
    return d[#a][#b]
end

-- The key of `known` that is nearest to the word, and how far it is.
function options.nearest(word, known)
    local best, least
    for name in pairs(known) do
        local d = distance(word, name)
        if not least or d < least or (d == least and name < best) then best, least = name, d end
    end
    return best, least
end

-- Asks in brackets for the key of `known` that was meant: one that the word begins, else the nearest, if half of
-- the word is right.
function options.meant(word, known)
    local found
    for name in pairs(known) do
        if name:sub(1, #word) == word and (not found or name < found) then found = name end
    end
    local near, far = options.nearest(word, known)
    found = found or far <= (#word + 1) // 2 and near
    return found and (" (did you mean '%s'?)"):format(found) or ""
end

local function unknown(where, key, known)
    if type(key) ~= "string" then
        options.misuse(where, "options are named, and one is given for the key %s", tostring(key))
    end
    options.misuse(where, "unknown option '%s'%s", key, options.meant(key, known))
end

local function article(kind)
    return (kind:find("^[aeio]") and "an " or "a ") .. kind
end

-- How a message speaks of a value that is not what it should be.
function options.describe(value)
    local kind = type(value)
    if value == nil then return "nothing" end
    if kind == "string" then return ("the string %q"):format(#value < 40 and value or value:sub(1, 40) .. "...") end
    if value ~= value then return "NaN" end
    if kind == "number" or kind == "boolean" then return tostring(value) end
    local mt = debug.getmetatable(value)
    local name = type(mt) == "table" and rawget(mt, "__name")
    if type(name) == "string" and name:find "^mp%." then return "an " .. name end
    return article(kind)
end

-- Whether the value is what the word says, and how to say that it must be.
local is = {}

function is.callable(v)
    local mt = type(v) ~= "function" and debug.getmetatable(v)
    return type(v) == "function" or (type(mt) == "table" and mt.__call ~= nil), "a function"
end

function is.integer(v)
    return math.type(v) == "integer", "an integer"
end

function is.text(v)
    return type(v) == "string" and v ~= "" and not v:find("\0"),
        "a string, not empty and without zero bytes"
end

function is.stream(v)
    if io.type(v) then return true end
    local ok, wanted = is.text(v)
    return ok, wanted .. ", or a file"
end

function is.any()
    return true
end

local function matches(value, kind)
    if is[kind] then return is[kind](value) end
    return type(value) == kind, article(kind)
end

function options.is_callable(v)
    return (is.callable(v))
end

-- Raises unless every key of `given` is in `known`, which maps option names to
-- what the value must be: a type's name, "callable", "integer", "text".
function options.check(where, given, known)
    for key, value in next, given do
        local kind = known[key]
        if not kind then unknown(where, key, known) end
        local ok, wanted = matches(value, kind)
        if not ok then
            options.misuse(where, "option '%s' must be %s, not %s", key, wanted, options.describe(value))
        end
    end
end

local units = { [""] = 1, K = 2 ^ 10, M = 2 ^ 20, G = 2 ^ 30, T = 2 ^ 40 }

-- Bytes of a number, or of a text as "512M"; nil for what is neither.
function options.bytes(value)
    local number, unit = value, ""
    if type(value) == "string" then number, unit = value:match "^(%d+%.?%d*)([KMGT]?)$" end
    number = tonumber(number)
    return number and number >= 0 and math.tointeger(number * units[unit] // 1) or nil
end

-- A timeout (or what `word` calls it) as a deadline: nil is for ever, 0 or less is now.
function options.deadline(where, seconds, word)
    if seconds ~= nil and type(seconds) ~= "number" then
        options.misuse(where, "the %s must be a number of seconds, not %s", word or "timeout",
            options.describe(seconds))
    elseif seconds ~= seconds then
        options.misuse(where, "the %s is not a number (NaN)", word or "timeout")
    end
    return core.deadline(seconds)
end

return options
