-- luajit.lua OPERATION CASE COUNT: the mean time of encoding or decoding a value by
-- LuaJIT's string.buffer, in seconds.
local buffer = require "string.buffer"
local run = dofile(arg[0]:match "^(.*)/" .. "/cases.lua")

run(arg, buffer.encode, buffer.decode)
