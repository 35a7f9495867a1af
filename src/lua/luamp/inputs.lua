-- luamp.inputs: what a pool's calls take their items from.
--
-- An input is read as what is read of it is wanted, never at once. Each kind becomes a source:
--
--   n           how many items there are; nil: that is known at the end
--   list        a table that has them all, by their numbers; else
--   read        a function that gives the next item, then nil (a source that waits is given how
--               long it may: seconds; it gives nil and "wait" when there is none yet)
--   in_worker   what a worker makes an item of; nil: itself

local core = require "luamp.core"
local options = require "luamp.options"

local inputs = {}

local misuse = options.misuse

local range_meta = { __name = "mp.range" }
local chunks_meta = { __name = "mp.chunks" }

-- --- mp.range -----------------------------------------------------------------

local MOST <const> = 2 ^ 53

local function check_number(name, value)
    if type(value) ~= "number" or value ~= value then
        misuse("mp.range", "%s must be a number, not %s", name, options.describe(value))
    end
    return value
end

-- How often a step goes into a distance, both as integers without a sign.
local function quotient(distance, step)
    if step < 0 then return math.ult(distance, step) and 0 or 1 end
    local q = (distance >> 1) // step << 1
    return math.ult(distance - q * step, step) and q or q + 1
end

-- How many numbers an integer loop has; its bound may be a float.
local function count_integers(a, b, step)
    if math.type(b) == "float" then
        local bound = math.tointeger(step > 0 and math.floor(b) or math.ceil(b))
        b = bound or (b > 0 and math.maxinteger or math.mininteger)
        if not bound and (b > 0) ~= (step > 0) then return 0 end
    end
    if step > 0 and a > b or step < 0 and a < b then return 0 end
    local n = step > 0 and quotient(b - a, step) or quotient(a - b, -step)
    return n >= 0 and n + 1 or MOST
end

local STRETCH <const> = 1024
local MOST_FLOATS <const> = 2 ^ 32

-- How many numbers a float loop has, and the first of each stretch of them: each is the sum of all steps before.
local function count_floats(a, b, step)
    local n, marks = 0, {}
    if step > 0 and a > b or step < 0 and a < b then return 0, marks end
    local steps = (b - a) / step
    if steps ~= steps or steps >= MOST_FLOATS or a + step == a or b - step == b then
        misuse("mp.range", "it would have no end, or more than %d floats", MOST_FLOATS)
    end
    for x = a, b, step do
        if n % STRETCH == 0 then marks[#marks + 1] = x end
        n = n + 1
    end
    return n, marks
end

-- mp.range(a, b, [step]): the numbers from a to b, as a numeric for has them.
function inputs.range(a, b, step)
    check_number("the first number", a)
    check_number("the last number", b)
    step = step == nil and 1 or check_number("the step", step)
    if step == 0 then misuse("mp.range", "the step is 0") end
    local are_integers = math.type(a) == "integer" and math.type(step) == "integer"
    local n, marks = (are_integers and count_integers or count_floats)(a, b, step)
    if n >= MOST then misuse("mp.range", "it would have no end") end
    return setmetatable({ first = a, step = step, n = math.tointeger(n), marks = marks or false, at = 0 }, range_meta)
end

-- The i-th number of a range of floats: from the last one that was asked for on, or from the mark before it.
local function float_at(r, i)
    local at, x, step = r.at, r.last, r.step
    if at == 0 or i < at or i - at > STRETCH then
        local k = (i - 1) // STRETCH
        at, x = k * STRETCH + 1, r.marks[k + 1]
    end
    for _ = at + 1, i do x = x + step end
    r.at, r.last = i, x
    return x
end

range_meta.__len = function(r) return r.n end

range_meta.__index = function(r, i)
    if math.type(i) ~= "integer" or i < 1 or i > rawget(r, "n") then return nil end
    if r.marks then return float_at(r, i) end
    return r.first + (i - 1) * r.step
end

-- --- mp.chunks ----------------------------------------------------------------

local DEFAULT_SIZE <const> = 1 << 20

-- mp.chunks(path, [size]): pieces of a text file, of about that many bytes, each of whole lines.
function inputs.chunks(path, size)
    if type(path) ~= "string" then
        misuse("mp.chunks", "expected the path of a file, not %s", options.describe(path))
    end
    local bytes = size == nil and DEFAULT_SIZE or options.bytes(size)
    if not bytes or bytes < 1 then
        misuse("mp.chunks", "the size must be a number of bytes from 1 on, or a text as \"4M\", not %s",
            options.describe(size))
    end
    local file <close> = io.open(path, "rb") or misuse("mp.chunks", "cannot read %s",
        select(2, io.open(path, "rb")))
    local _, why = file:read(0) -- a folder can be opened, but not read
    local length = not why and file:seek "end"
    if not length then
        misuse("mp.chunks", "%s is no file that can be read at any place%s", path, why and ": " .. why or "")
    elseif length == 0 and file:seek "set" and file:read(1) then
        misuse("mp.chunks", "%s does not say how long it is: io.lines gives its lines", path)
    end
    return setmetatable({ path = path, size = bytes, n = (length + bytes - 1) // bytes }, chunks_meta)
end

chunks_meta.__len = function(c) return c.n end

-- Skips what belongs to the piece before: a line that begins there.
local function skip_line(file, from)
    if from == 0 then return 0 end
    file:seek("set", from - 1)
    local rest = file:read "L"
    return from - 1 + #(rest or "")
end

-- The whole lines that begin in the i-th piece. Called in the worker.
function inputs.read_chunk(c)
    local file <close> = assert(io.open(c.path, "rb"))
    local from = skip_line(file, c.from)
    if from >= c.from + c.size then return "" end
    file:seek("set", from)
    local text = file:read(c.from + c.size - from) or ""
    if #text == c.from + c.size - from and text:sub(-1) ~= "\n" then
        text = text .. (file:read "L" or "")
    end
    return text
end

local function source_of_chunks(c)
    local list = setmetatable({}, { __index = function(_, i)
        return { path = c.path, from = (i - 1) * c.size, size = c.size }
    end })
    return { n = c.n, list = list, in_worker = "chunk" }
end

-- --- others -------------------------------------------------------------------

local queues = { ["mp.queue"] = true, ["mp.priority_queue"] = true }

local function source_of_queue(queue)
    return { read = function(timeout)
        local item, word = queue:get(timeout)
        if item == nil and word == "timeout" then return nil, "wait" end
        return item
    end }
end

-- What f returns first. It runs in the middle of a pool's work, and cannot yield out of that. It is called by C,
-- so that no line of this file is told with an error of coroutine.wrap.
local function first_of(f)
    local ok, item
    if coroutine.isyieldable() then
        string.gsub("", "", function() ok, item = pcall(f) end)
    else
        ok, item = pcall(f)
    end
    if not ok then error(item, 0) end
    return item
end

local function source_of_function(f)
    return { read = function() return first_of(f) end }
end

local LOOKS <const> = 16

-- Raises for a list with a hole, behind which items would be left out. A look at the few keys that come after the
-- last item, without a scan: in a list that was filled in order there is none. Other keys are as good as in Lua.
local function check_whole(where, t, n)
    local key = n
    for _ = 1, LOOKS do
        key = next(t, key)
        if key == nil then return end
        if math.type(key) == "integer" and key > n then
            misuse(where, "the input is a list of %d items, and has one at %d: give it 'n', the number of items, or "
                .. "leave no hole", n, key)
        end
    end
end

local function source_of_table(where, t)
    local n = rawget(t, "n")
    if math.type(n) == "integer" and n >= 0 then return { n = n, list = t } end
    n = #t
    if n == 0 and options.is_callable(t) then return source_of_function(t) end
    if n == 0 and next(t) ~= nil then
        misuse(where, "the input is a table with keys and no items: a list is wanted (of its keys, for example)")
    end
    if n > 0 and not getmetatable(t) then check_whole(where, t, n) end
    return { n = n, list = t }
end

local iterators = { [pairs] = "pairs", [ipairs] = "ipairs", [next] = "next", [ipairs {}] = "ipairs" }

-- The source of an input, for the call `where`.
function inputs.source(where, input)
    local mt = debug.getmetatable(input)
    if iterators[input] then
        misuse(where, "the input is the function '%s'; give it the table, or a list", iterators[input])
    elseif mt == chunks_meta then
        return source_of_chunks(input)
    elseif mt == range_meta then
        return { n = input.n, list = input }
    elseif mt and queues[mt.__name] and core.is_shared(input) then
        return source_of_queue(input)
    elseif type(input) == "table" then
        return source_of_table(where, input)
    elseif options.is_callable(input) then
        return source_of_function(input)
    end
    misuse(where, "the input must be a list, a range, a queue, chunks or a function, not %s",
        options.describe(input))
end

return inputs
