-- luamp.lua KIND COUNT: the mean time, in seconds, of what is done with numbers in shared memory: the
-- addition to a counter (`add`), an element read (`element`) or written (`assign`), the copying of
-- 1 MiB of them (`copy`).
local mp = require "luamp"

local kind, count = arg[1], tonumber(arg[2])

local counter, array = mp.value "integer", mp.array("double", { 1, 2, 3 })
local from, to = mp.array("double", 1 << 17), mp.array("double", 1 << 17)
from:fill(1)
to:fill(2)

local run = {}

function run.add(n)
    for _ = 1, n do counter:add(1) end
end

function run.element(n)
    local x
    for _ = 1, n do x = array[1] end
    return x
end

function run.assign(n)
    for _ = 1, n do array[1] = 1 end
end

function run.copy(n)
    for _ = 1, n do to:copy(from) end
end

run[kind](count // 10 + 1)
local start = mp.clock()
run[kind](count)
print(("%.12f"):format((mp.clock() - start) / count))
