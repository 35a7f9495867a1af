-- Writes JSON. A table with items, and an empty one, is an array; one with
-- names is an object, whose names come out in order. Numbers keep every bit.
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

return json
