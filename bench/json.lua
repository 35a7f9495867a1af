-- Writes JSON, and reads it. A table with items, and an empty one, is an array; one
-- with names is an object, whose names come out in order. Numbers keep every bit.
-- What is read is what was written here: there is no null.
local json = {}

local escapes = { ['"'] = '\\"', ["\\"] = "\\\\" }

local function quote(s)
    return '"' .. s:gsub('[%c"\\]', function(c)
        return escapes[c] or string.format("\\u%04x", c:byte())
    end) .. '"'
end

-- The shorter of two forms that read back as the same number.
local function float(x)
    local short = string.format("%.15g", x)
    return tonumber(short) == x and short or string.format("%.17g", x)
end

local function names(t)
    local list = {}
    for name in pairs(t) do list[#list + 1] = name end
    table.sort(list)
    return list
end

local write

local function write_array(out, t, indent)
    local flat = type(t[1]) ~= "table"
    local inner = indent .. "  "
    for i, item in ipairs(t) do
        out[#out + 1] = (i == 1 and "[" or ",") .. (flat and " " or "\n" .. inner)
        write(out, item, inner)
    end
    out[#out + 1] = (flat and " " or "\n" .. indent) .. "]"
end

local function write_object(out, t, indent)
    local inner = indent .. "  "
    for i, name in ipairs(names(t)) do
        out[#out + 1] = (i == 1 and "{\n" or ",\n") .. inner .. quote(name) .. ": "
        write(out, t[name], inner)
    end
    out[#out + 1] = "\n" .. indent .. "}"
end

function write(out, value, indent)
    if type(value) == "string" then
        out[#out + 1] = quote(value)
    elseif math.type(value) == "float" then
        out[#out + 1] = float(value)
    elseif type(value) ~= "table" then
        out[#out + 1] = tostring(value)
    elseif next(value) == nil then
        out[#out + 1] = "[]"
    elseif value[1] ~= nil then
        write_array(out, value, indent)
    else
        write_object(out, value, indent)
    end
end

function json.encode(value)
    local out = {}
    write(out, value, "")
    return table.concat(out) .. "\n"
end

local unescaped = { b = "\b", f = "\f", n = "\n", r = "\r", t = "\t" }

local function unquote(s)
    return (s:gsub("\\(.)(%x?%x?%x?%x?)", function(c, hex)
        if c == "u" then return utf8.char(tonumber(hex, 16)) end
        return (unescaped[c] or c) .. hex
    end))
end

local read

-- Items up to `close`, each of which read_item(at) takes in and returns what follows it.
local function read_items(text, at, close, read_item)
    at = text:match("^%s*()", at)
    while text:sub(at, at) ~= close do
        at = text:match("^%s*()", read_item(at))
        local separator = text:sub(at, at)
        if separator == "," then
            at = text:match("^%s*()", at + 1)
        elseif separator ~= close then
            error(("byte %d of the text is no JSON"):format(at), 0)
        end
    end
    return at + 1
end

local function read_array(text, at)
    local list = {}
    return list, read_items(text, at, "]", function(i)
        list[#list + 1], i = read(text, i)
        return i
    end)
end

local function read_object(text, at)
    local object = {}
    return object, read_items(text, at, "}", function(i)
        local name, value
        name, i = read(text, i)
        value, i = read(text, text:match("^%s*:()", i) or #text + 1)
        object[name] = value
        return i
    end)
end

-- The end of a string whose first byte is at `at`.
local function end_of_string(text, at)
    local last = text:find('["\\]', at)
    while last and text:sub(last, last) == "\\" do last = text:find('["\\]', last + 2) end
    return last or error("a string has no end", 0)
end

function read(text, at)
    local first
    first, at = text:match("^%s*(.?)()", at)
    if first == "[" then return read_array(text, at) end
    if first == "{" then return read_object(text, at) end
    if first == '"' then
        local last = end_of_string(text, at)
        return unquote(text:sub(at, last - 1)), last + 1
    end
    local word, next_at = text:match("^([%w.+-]+)()", at - 1)
    local value = ({ ["true"] = true, ["false"] = false })[word]
    if value == nil then value = tonumber(word) end
    if value == nil then error(("byte %d of the text is no JSON"):format(at - 1), 0) end
    return value, next_at
end

function json.decode(text)
    return (read(text, 1))
end

return json
