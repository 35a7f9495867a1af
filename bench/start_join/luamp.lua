-- luamp.lua [METHOD] COUNT: the mean time of a start and a join by that start method, or by
-- the default one, in seconds.
local mp = require "luamp"

local count = tonumber(arg[#arg])
local method = arg[2] and arg[1]
local WARM_UP = 5

local function nothing() end

local function start_join()
    local p = mp.process { target = nothing, start_method = method }
    p:start()
    p:join()
    assert(p.exitcode == 0)
end

for _ = 1, WARM_UP do start_join() end
local start = mp.clock()
for _ = 1, count do start_join() end
print(string.format("%.9f", (mp.clock() - start) / count))
