-- luamp.lua OPERATION CASE COUNT: the mean time of encoding or decoding a value, in seconds.
--
-- The message is made a Lua string here, as by the peers; between processes it goes where
-- it is needed without that copy.
require "luamp"
local core = require "luamp.core"
local run = dofile(arg[0]:match "^(.*)/" .. "/cases.lua")

local function decode(message)
    return core.decode(message, true)
end

run(arg, core.encode, decode)
