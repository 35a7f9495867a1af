-- closures.lua: functions travel, with what they hold and what they use.
--
-- What a process returns is sent, functions as well: their code, their upvalues
-- and the globals that they use and the receiver lacks. A process begins as a
-- copy of its parent, so its own function and arguments may be anything.
--
--   luamp scripts/closures.lua

local mp = require "luamp"

local function run(f, ...)
    return mp.process { target = f, args = { ... } }:start():result()
end

print "Two functions that share a variable, made in another process"
local add, total = run(function()
    local sum = 0
    return function(x) sum = sum + x end, function() return sum end
end)
add(20)
add(22)
print("total:", total())

print "\nA copy of a variable, which each process changes for itself"
local n = 1
local get = run(function()
    n = 2
    return function() return n end
end)
print("there and here:", get(), n)

print "\nRecursion, also by way of each other"
local factorial, is_even = run(function()
    local function product(k) return k < 2 and 1 or k * product(k - 1) end
    local even, odd
    function even(k) return k == 0 or odd(k - 1) end
    function odd(k) return k > 0 and even(k - 1) end
    return product, even
end)
print("factorial, is_even:", factorial(10), is_even(10))

-- luacheck: globals unit square
print "\nGlobals that the function uses, where the receiver has none of that name"
local area = run(function()
    unit = "cm2"
    function square(x) return x * x end
    return function(x) return square(x) .. " " .. unit end
end)
print("area:", area(3), unit)

print "\nFunctions as arguments, any number of them, and as the result"
local function compose(...)
    local functions = { ... }
    return function(...)
        local values = table.pack(...)
        for _, f in ipairs(functions) do values = table.pack(f(table.unpack(values, 1, values.n))) end
        return table.unpack(values, 1, values.n)
    end
end
local count_and_double = run(compose, function(...) return select("#", ...), ... end, function(k, ...)
    return k * 2, ...
end)
print("composed:", count_and_double(nil, "a", nil))

-- What cannot be sent is refused as a whole, and by name: nothing arrives that is half of it.
print "\nA function that holds what cannot be sent"
local log = io.stderr
local ok, e = pcall(run, function()
    return function(text) log:write(text, "\n") end
end)
print(ok, e.kind)
print(e.message)
