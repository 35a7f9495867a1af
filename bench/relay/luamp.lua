-- luamp.lua MODE TAG COUNT: the mean time of 1 MiB of lines that two workers write and their pool's owner gives out,
-- into a pipe that another process reads, in seconds, the pool's start included. TAG: yes or no.
local mp = require "luamp"

local mode, is_tagged, count = arg[1], arg[2] == "yes", tonumber(arg[3])
local SIDES <const> = 2

local function write(mib)
    local bytes = (("x"):rep(63) .. "\n"):rep(1 << 14)
    for _ = 1, mib do io.write(bytes) end
end

local function own(mib)
    mp.each(write, { mib, mib }, { workers = SIDES, chunksize = 1, output = mode, tag = is_tagged or nil })
end

local function relay(mib)
    local begun, total = mp.clock(), 0
    local p <close> = mp.process { target = own, args = { mib // SIDES }, stdout = "pipe" }:start()
    for bytes in function() return p.stdout:read(1 << 20) end do total = total + #bytes end
    p:result()
    local expected = mib // SIDES * SIDES << 20
    assert(is_tagged and total > expected or total == expected)
    return (mp.clock() - begun) / mib
end

relay(SIDES)
print(string.format("%.9f", relay(count)))
