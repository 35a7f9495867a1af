-- cmsgpack.lua OPERATION CASE COUNT: the mean time of encoding or decoding a value, in seconds.
local cmsgpack = require "cmsgpack"
local run = dofile(arg[0]:match "^(.*)/" .. "/cases.lua")

run(arg, cmsgpack.pack, cmsgpack.unpack)
