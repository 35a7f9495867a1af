-- luamp.arrays: how values, arrays and buffers in shared memory are made.
--
-- What is done with them is done in C (the binding's cells.c and buffer.c). Here is what they are
-- made of: types, lengths, names.

local core = require "luamp.core"
local options = require "luamp.options"

local arrays = {}

local misuse, describe = options.misuse, options.describe

local function type_of(where, name)
    local number = core.cell_types[name]
    if number then return number end
    if type(name) ~= "string" then
        misuse(where, "the name of a type is expected, as \"int32\" or \"double\", not %s", describe(name))
    end
    if #name == 1 then -- a code of C's or Python's, which is near to any name
        misuse(where, "unknown type '%s': it is int8 to int64, uint8 to uint64, float, double, integer or number", name)
    end
    misuse(where, "unknown type '%s' (did you mean '%s'?)", name, (options.nearest(name, core.cell_types)))
end

local function nothing_else(where, what, ...)
    if select("#", ...) > 0 then misuse(where, "expected %s, and nothing else", what) end
end

-- mp.value(type, [init])
function arrays.value(kind, init, ...)
    nothing_else("mp.value", "a type and a number", ...)
    return core.new_value(type_of("mp.value", kind), init)
end

-- mp.array(type, n or list)
function arrays.array(kind, given, ...)
    local number = type_of("mp.array", kind)
    nothing_else("mp.array", "a type, and a length or a list", ...)
    if type(given) == "table" then
        if rawlen(given) == 0 and next(given) ~= nil then misuse("mp.array", "the table has keys, and no elements") end
        return core.new_array(number, given)
    end
    local n = type(given) == "number" and math.tointeger(given)
    if not n or n < 0 then
        misuse("mp.array", "a length, an integer from 0 on, or a list is expected, not %s", describe(given))
    end
    return core.new_array(number, n)
end

local function bytes_of(what, size)
    local n = options.bytes(size)
    if not n or n < 1 or (type(size) == "number" and n ~= size) then
        misuse("mp.buffer", "%s must be a number of bytes from 1 on, or a text as \"512M\" (K, M, G, T), not %s",
            what, describe(size))
    end
    return n
end

local known = { name = "string", size = "any", create = "boolean" }

local function named(given)
    local size = given.size ~= nil and bytes_of("option 'size'", given.size) or nil
    if given.name:find "\0" then misuse("mp.buffer", "option 'name' must be without zero bytes") end
    if not given.create then return core.open_named(given.name, size) end
    if not size then misuse("mp.buffer", "option 'size' is missing: with 'create' one is made") end
    return core.make_named(given.name, size)
end

-- mp.buffer(size), mp.buffer{size=}, mp.buffer{name=, size=, create=true}, mp.buffer{name=}
function arrays.buffer(given, ...)
    nothing_else("mp.buffer", "a number of bytes or a table of options", ...)
    if type(given) ~= "table" then return core.new_bytes(bytes_of("the size", given)) end
    options.check("mp.buffer", given, known)
    if given.name ~= nil then return named(given) end
    if given.create then misuse("mp.buffer", "option 'name' is missing: with 'create' one of that name is made") end
    if given.size == nil then misuse("mp.buffer", "option 'size' or 'name' is missing") end
    return core.new_bytes(bytes_of("option 'size'", given.size))
end

return arrays
