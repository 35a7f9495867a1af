-- values.lua: random values of every kind that can be sent, and of those that cannot. The same
-- seed gives the same values.
--
-- A graph is a list of objects, tables and functions, and of values that lead into it. Each object
-- may hold any other, so there are shared ones, cycles and long ways of every kind.

local globals = debug.getregistry()[2] -- what a function that is sent has as its environment
local error_meta = debug.getregistry()["luamp.error"]

local values = {}

local function pick(list)
    return list[math.random(#list)]
end

local integers = { 0, 1, -1, -32, -33, 127, 128, 255, 256, 32767, 32768, -32768, -32769, 1 << 31, (1 << 31) - 1,
    -(1 << 31), -(1 << 31) - 1, 1 << 53, math.maxinteger, math.mininteger }
local floats = { 0.0, -0.0, 1.0, -1.5, 0 / 0, -(0 / 0), 1 / 0, -1 / 0, 5e-324, -2.2250738585072009e-308, 2.0 ^ 53,
    1.7976931348623157e308 }
local lengths = { 0, 1, 2, 5, 39, 40, 41, 62, 63, 64, 65, 255, 256, 257 }
local long_lengths = { 32767, 32768, 32769, 65535, 65536, 65537, 100000 }
local names = { "a", "next", "_", "x1", "two words", "with \"quotes\"", "zero\0byte", "\xff\xfe", "__index", "__name",
    "__metatable", "__call", "__eq", "__len" }

local scalars = {
    function() return pick(integers) + math.random(-1, 1) end,
    function() return math.random(0) >> math.random(0, 63) end,
    function() return pick(floats) end,
    function() return (string.unpack("n", string.pack("j", math.random(0)))) end,
    function() return math.random(2) == 1 end,
    function() return pick(names) end,
    function() return string.char(math.random(0, 255)):rep(pick(lengths)) end,
}

local function scalar(g)
    if g.has_long and math.random(100) == 1 then return string.char(math.random(97, 99)):rep(pick(long_lengths)) end
    return pick(scalars)()
end

-- What travels by its name.
local function named_things()
    local list = { print, string, string.format, globals, require "luamp", require("luamp").process, next }
    local has_cjson, cjson = pcall(require, "cjson")
    if has_cjson then table.move({ cjson, cjson.null, cjson.encode }, 1, 3, #list + 1, list) end
    return list
end

-- Each makes functions that share variables, the last of which sets these.
local groups = {
    [[local a, b
      return function(...) return a, b, ... end, function() return b, a end, function(x, y) a, b = x, y end]],
    [[local a, b
      local function count(n) if n == 0 then return a end return count(n - 1) end
      return count, function() return function() return function() b = b end end end, function(x, y) a, b = x, y end]],
    [[local even, odd, a
      function even(n) return n == 0 or odd(n - 1) end
      function odd(n) return n > 0 and even(n - 1) end
      return even, odd,
          function(...) local t <const>, n <close> = { ... }, nil a = t[1] or string.format("%d", #t) end]],
    [[local _ENV = { tostring = tostring }
      return function(n) x = n y = tostring(n) end, function(v) x = v end]],
    [[return function(x) goto done ::done:: return x and print, 1 << 40, 1.5e300, "]] .. ("k"):rep(100) .. [["  end]],
}

local function add_functions(g)
    local made = table.pack(assert(load(pick(groups), pick { "=made", "@file.lua", "text" }, "t", globals))())
    table.move(made, 1, made.n, #g.objects + 1, g.objects)
end

-- One of the functions is in a module that has no file.
local function export(g)
    local functions = {}
    for _, object in ipairs(g.objects) do
        if type(object) == "function" then functions[#functions + 1] = object end
    end
    package.loaded["spec.made"] = #functions > 0 and math.random(2) == 1 and { f = pick(functions) } or nil
end

local function anything(g)
    local kind = math.random(20)
    if kind == 1 and g.named then return pick(g.named) end
    return kind <= 8 and pick(g.objects) or scalar(g)
end

local function key(g)
    local k = anything(g)
    return k == k and k or "nan"
end

-- A few, and now and then more than a byte can count.
local function number()
    local kind = math.random(40)
    return kind == 1 and math.random(250, 600) or kind < 20 and 0 or math.random(6)
end

local function fill_table(g, t)
    for i = 1, number() do t[i] = anything(g) end
    for _ = 1, number() do t[key(g)] = anything(g) end
    if math.random(8) == 1 then t[math.random(3)] = nil end
    local meta = math.random(12)
    if meta == 1 then
        debug.setmetatable(t, error_meta)
    elseif meta <= 3 then
        debug.setmetatable(t, pick(g.tables))
    end
end

local function fill_function(g, f)
    for i = 1, math.huge do
        local name, value = debug.getupvalue(f, i)
        if not name then break end
        if name ~= "_ENV" and type(value) ~= "function" then debug.setupvalue(f, i, anything(g)) end
    end
end

local links = {
    function(t) return { t } end,
    function(t) return { next = t, last = false } end,
    function(t) return { [t] = true } end,
    function(t) return debug.setmetatable({}, t) end,
    function(t) return { { {}, t }, 0 } end,
}

local function closure(t)
    return { load("local t = ... return function() return t end", "=link", "t", globals)(t) }
end

-- n tables around t, in one way or in many.
local function chain(g, t, n)
    local ways = g.named and { closure, table.unpack(links) } or links
    local way = math.random(3) > 1 and pick(ways)
    for _ = 1, n do t = (way or pick(ways))(t) end
    return t
end

-- graph{ n =, functions =, long =, deep = }: the objects to begin with, at most; whether there are functions
-- and names, long strings, and chains of that many. A function may be in a module "spec.made", until the next
-- graph. Returns the list of objects, and that of the values.
function values.graph(options)
    local g = { objects = {}, tables = {}, has_long = options.long, named = options.functions and named_things() }
    for _ = 1, math.random(options.n or 30) do
        if options.functions and math.random(4) == 1 then
            add_functions(g)
        else
            g.tables[#g.tables + 1] = {}
            g.objects[#g.objects + 1] = g.tables[#g.tables]
        end
    end
    if #g.tables == 0 then g.tables[1], g.objects[#g.objects + 1] = {}, {} end
    for _, object in ipairs(g.objects) do
        (type(object) == "table" and fill_table or fill_function)(g, object)
    end
    export(g)
    if options.deep then g.objects[#g.objects + 1] = chain(g, pick(g.tables), options.deep) end
    local n = math.random(0, 4)
    local list = { n = n + 1, [n + 1] = g.objects[#g.objects] }
    for i = 1, n do list[i] = math.random(6) > 1 and anything(g) or nil end
    return g.objects, list
end

local function quiet() end

-- What cannot be sent, and what is told of it.
local unsendable = {
    function() return coroutine.create(print), "is a coroutine" end,
    function() return string.gmatch("a", "a"), "is a C function that no module exports" end,
    function() return coroutine.wrap(print), "is a C function that no module exports" end,
    function() return io.stdout, "is an open file" end,
    function() return require("luamp").process { target = print }, "is a userdata" end,
}

-- A way from an object to another value: puts it there, and takes it away again.
local places = {
    function(t, v) t.bad = v return function() t.bad = nil end end,
    function(t, v) t[#t + 1] = v return function() t[#t] = nil end end,
    function(t, v) t[v] = "value" return function() t[v] = nil end end,
    function(t, v) t[-1] = { 1, { bad = v } } return function() t[-1] = nil end end,
    function(t, v) t.bad = closure(v)[1] return function() t.bad = nil end end,
    function(t, v) t.bad = setmetatable({}, { bad = v }) return function() t.bad = nil end end,
}

-- spoil(t): puts something that cannot be sent into the table. Returns what, what is told of it,
-- and a function that takes it away.
function values.spoil(t)
    if math.random(5) == 1 then
        local event = pick { "__gc", "__close" }
        local meta = { [event] = quiet }
        rawset(t, "bad", setmetatable({}, meta))
        return meta, "has " .. event, function() rawset(t, "bad", nil) end
    end
    local before = debug.getmetatable(t)
    debug.setmetatable(t, nil)
    local value, told = pick(unsendable)()
    local undo = pick(places)(t, value)
    debug.setmetatable(t, before)
    return value, told, function()
        debug.setmetatable(t, nil)
        undo()
        debug.setmetatable(t, before)
    end
end

return values
