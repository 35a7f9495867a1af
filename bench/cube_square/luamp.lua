-- The example of two processes that print.
local mp = require "luamp"

local function print_cube(n) print("Cube: " .. n * n * n) end
local function print_square(n) print("Square: " .. n * n) end

local cube = mp.process { target = print_cube, args = { 10 } }
local square = mp.process { target = print_square, args = { 10 } }
cube:start()
square:start()
cube:join()
square:join()
print("DONE")
