-- luamp.lua COUNT: the mean time of an external program, in seconds.
local mp = require "luamp"

local count = tonumber(arg[1])
local WARM_UP = 5

local function run()
    local p <close> = mp.process { command = { "/bin/true" } }:start()
    assert(p:result().exitcode == 0)
end

for _ = 1, WARM_UP do run() end
local start = mp.clock()
for _ = 1, count do run() end
print(string.format("%.9f", (mp.clock() - start) / count))
