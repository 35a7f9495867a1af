-- cube_square.lua: the first steps with processes.
--
-- Two functions print the cube and the square of a number, each in a process
-- of its own: first one after the other, then both at once, then telling which
-- process they run in.
--
--   luamp scripts/cube_square.lua

local mp = require "luamp"

local function print_cube(n)
    print("the cube of " .. n .. " is " .. n * n * n)
end

local function print_square(n)
    print("the square of " .. n .. " is " .. n * n)
end

print "One after the other"
for _, target in ipairs { print_cube, print_square } do
    local p = mp.process { target = target, args = { 10 } }
    p:start()
    p:join()
    print "DONE"
end

-- Each waits for the end of its standard input, which is the word to go: so
-- both are certainly alive when they are asked in between.
local function when_told(f, n)
    io.read "a"
    f(n)
end

print "\nBoth at once"
local cube = mp.process { target = when_told, args = { print_cube, 10 }, stdin = "pipe" }
local square = mp.process { target = when_told, args = { print_square, 10 }, stdin = "pipe" }
print("alive before the start:", cube:is_alive(), square:is_alive())
cube:start()
square:start()
print("alive in between:", cube:is_alive(), square:is_alive())
cube.stdin:close()
square.stdin:close()
cube:join()
square:join()
print("alive after the join:", cube:is_alive(), square:is_alive())

local function with_pid(f, n)
    f(n)
    return mp.getpid()
end

print "\nWho is who"
local parent = mp.getpid()
for _, target in ipairs { print_cube, print_square } do
    local p = mp.process { target = with_pid, args = { target, 10 } }:start()
    print("printed by process " .. p:result() .. ", a child of process " .. parent)
end
