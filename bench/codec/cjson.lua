-- cjson.lua OPERATION CASE COUNT: the mean time of encoding or decoding a value, in seconds.
local cjson = require "cjson"
local run = dofile(arg[0]:match "^(.*)/" .. "/cases.lua")

run(arg, cjson.encode, cjson.decode)
