-- cpu_count.lua: how many processes are worth starting here.
--
-- The first figure is what this process may use: the least of its affinity
-- mask, the quota of its container and LUAMP_CPUS. The others are the machine's.
--
--   luamp scripts/cpu_count.lua
--   LUAMP_CPUS=1 luamp scripts/cpu_count.lua

local mp = require "luamp"

print("CPUs for this process:  " .. mp.cpu_count())
print("CPUs of the machine:    " .. mp.cpu_count { all = true })
print("cores of the machine:   " .. mp.cpu_count { physical = true })
