-- luamp.lua KIND [killed | barred] COUNT: the mean time, in seconds, of a task of row 19 by the map of a
-- pool of two workers; `killed`: while one of the workers is killed every 100 ms; `barred`: while a bar is
-- drawn on a terminal.
local mp = require "luamp"
local bench = arg[0]:match "^(.*)/[^/]*$"
local tasks = dofile(bench .. "/tasks.lua")

local kind, is_killed, is_barred, count = arg[1], arg[2] == "killed", arg[2] == "barred", tonumber(arg[#arg])

if is_barred and not os.getenv "BENCH_ON_TERMINAL" then -- the number goes past the terminal
    local command = ("'%s' '%s' %s barred %d >&3"):format(arg[-1], arg[0], kind, count)
    os.exit(os.execute(("BENCH_ON_TERMINAL=1 script -qec \"%s\" /dev/null 3>&1 >/dev/null </dev/null"):format(command)))
end

local pids, stop = mp.queue(), mp.queue()

local function tell_pid() pids:put(mp.getpid()) end

-- Kills who has been there for longest, and so each in its turn; until it is told to stop, for a
-- command of its own that outlives it would find no worker any more.
local function kill()
    while not stop:get(0.1) do
        local pid = pids:get(0)
        if pid then os.execute(("kill -KILL %d"):format(pid)) end
    end
end

local pool = mp.pool { workers = 2, init = tell_pid, retries = 1000 }
local list = tasks.list(kind, count)
pool:map(tasks.run, tasks.list("short", 100))
local killer = mp.process { target = kill, daemon = true }
if is_killed then killer:start() end
local start = mp.clock()
local results = pool:map(tasks.run, list, { progress = is_barred })
local seconds = mp.clock() - start
assert(#results == count)
if is_killed then
    stop:put(true)
    killer:join()
    assert(seconds < 0.5 or pool:stats().restarts > 0, "none was killed")
end
pool:terminate()
print(("%.12f"):format(seconds / count))
