-- luamp.lua COUNT: the mean time of one of COUNT processes that live at once, in seconds.
local mp = require "luamp"

local count = tonumber(arg[1])

local function wait()
    mp.sleep(1000)
end

local start = mp.clock()
local list = {}
for i = 1, count do list[i] = mp.process { target = wait }:start() end
for i = 1, count do list[i]:kill() end
for i = 1, count do list[i]:join() end
print(string.format("%.9f", (mp.clock() - start) / count))
