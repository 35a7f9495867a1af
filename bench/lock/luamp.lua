-- luamp.lua KIND COUNT: the mean time, in seconds, of acquiring and releasing a lock. KIND: `free`,
-- by one process, or `contended`, by two at once. With BENCH_CPUS=A/B the one runs on CPU A and the
-- other on B.
local mp = require "luamp"

local kind, count = arg[1], tonumber(arg[2])
local n_processes = kind == "free" and 1 or 2
local share = count // n_processes + 10
local ready, go = mp.queue(), mp.queue()

local function run(lock, n)
    for _ = 1, n do lock:acquire() lock:release() end
end

-- A process: its own pairs, after a warm-up, when all are ready.
local function work(lock)
    run(lock, share // 10)
    ready:put(true)
    go:get()
    local start = mp.clock()
    run(lock, share)
    return start, mp.clock()
end

local cpus = { (os.getenv "BENCH_CPUS" or ""):match "^(%d+)/(%d+)$" }
local lock, processes = mp.lock(), {}
for i = 1, n_processes do
    local cpu = math.tointeger(tonumber(cpus[i]))
    processes[i] = mp.process { target = work, args = { lock }, cpus = cpu and { cpu } }:start()
end
for _ = 1, n_processes do ready:get() end
for _ = 1, n_processes do go:put(true) end
local first, last = math.huge, 0
for _, p in ipairs(processes) do
    local start, stop = p:result()
    first, last = math.min(first, start), math.max(last, stop)
end
print(("%.12f"):format((last - first) / (share * n_processes)))
