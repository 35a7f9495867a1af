-- lanes.lua COUNT: the mean time of a lane (a thread with a Lua state and all
-- libraries, as a luamp child has) from start to join, in seconds.
local lanes = require "lanes".configure()

local count = tonumber(arg[1])
local WARM_UP = 5

local lane = lanes.gen("*", function() return true end)

for _ = 1, WARM_UP do assert(lane():join()) end
local start = lanes.now_secs()
for _ = 1, count do assert(lane():join()) end
print(string.format("%.9f", (lanes.now_secs() - start) / count))
