-- spawn.lua: the three ways in which a process begins, and what each takes along.
--
--   luamp scripts/spawn.lua
--
--   fork        a copy of this process, with all that it has: nothing is sent
--   forkserver  a fork of a small process that stands by, with a fresh interpreter;
--               it costs the same however large this one has become
--   spawn       a fresh interpreter in a fresh image of the program
--
-- What a function needs goes with it: arguments, upvalues, the globals that it uses.
-- The script is not run again, so it needs no guard against starting itself.
-- luacheck: globals greet unused

local mp = require "luamp"

local methods = { "fork", "forkserver", "spawn" }

local function run(method, f, ...)
    return mp.process { target = f, args = { ... }, start_method = method }:start():result()
end

print "This line is printed once."

-- An upvalue, and a global that only this script has.
local greeting = "hello"
function greet(name) return greeting .. ", " .. name end

print "\nA function comes with what it uses"
for _, method in ipairs(methods) do
    print(method, run(method, function(name) return greet(name) .. "!" end, method))
end

-- What it does not use is not there: a fresh interpreter has the standard globals.
unused = "set by the script"

print "\nWhat it does not use stays here"
for _, method in ipairs(methods) do
    print(method, run(method, function() return rawget(_G, "un" .. "used") end))
end

-- An open connection, a file or a large cache in this process is no burden there;
-- and it cannot be sent: start says so.
local log = io.tmpfile()

print "\nWhat cannot be sent is refused before there is a process"
for _, method in ipairs(methods) do
    local ok, e = pcall(run, method, function() return io.type(log) end)
    print(method, ok, ok and e or e.message)
end

-- All that a process starts itself may begin in another way than by fork.
mp.set_start_method "forkserver"
print("\nFrom now on: " .. mp.get_start_method())
local numbers = {}
for i = 1, 3 do numbers[i] = mp.process { target = function() return i * i end }:start() end
for i, p in ipairs(numbers) do print(i, p:result()) end
