-- luamp.lua KIND PUTTERS GETTERS COUNT: the mean time, in seconds, of passing one through a
-- queue: an integer (`each`; `many`: a thousand with each call), a string of 1 MiB
-- (`strings`), an integer there and back through two queues (`trip`). With BENCH_CPUS=A/B
-- putters run on CPU A and getters on B.
local mp = require "luamp"

local kind, n_putters, n_getters, count = arg[1], tonumber(arg[2]), tonumber(arg[3]), tonumber(arg[4])
local BATCH <const> = 1000
local STRINGS <const> = 16 -- in the queue at once, as in the yardstick's ring

local queue = mp.queue(kind == "strings" and STRINGS or nil)
local back, ready, go = mp.queue(), mp.queue(), mp.queue()

local put, get = {}, {}

function put.each(n)
    for i = 1, n do queue:put(i) end
end

function get.each(n)
    for _ = 1, n do queue:get() end
end

function put.many(n)
    local list = {}
    for i = 1, BATCH do list[i] = i end
    for _ = 1, n // BATCH do queue:put_many(list) end
end

function get.many(n)
    n = n // BATCH * BATCH
    while n > 0 do n = n - #queue:get_many(math.min(n, BATCH)) end
end

function put.strings(n)
    local string = ("x"):rep(1 << 20)
    for _ = 1, n do queue:put(string) end
end

get.strings = get.each

function put.trip(n)
    for i = 1, n do
        queue:put(i)
        back:get()
    end
end

function get.trip(n)
    for _ = 1, n do back:put(queue:get()) end
end

-- A process: n of its own, after a warm-up, when all are ready.
local function work(f, n)
    f(n // 10)
    ready:put(true)
    go:get()
    local start = mp.clock()
    f(n)
    return start, mp.clock()
end

local cpus = { (os.getenv "BENCH_CPUS" or ""):match "^(%d+)/(%d+)$" }
local share = math.max(10, count // (10 * n_putters * n_getters) * 10)
local processes = {}
for i = 1, n_putters + n_getters do
    local is_putter = i <= n_putters
    local cpu = math.tointeger(tonumber(cpus[is_putter and 1 or 2]))
    local f, n = (is_putter and put or get)[kind], share * (is_putter and n_getters or n_putters)
    processes[i] = mp.process { target = work, args = { f, n }, cpus = cpu and { cpu } }:start()
end
for _ = 1, #processes do ready:get() end
for _ = 1, #processes do go:put(true) end
local first, last = math.huge, 0
for _, p in ipairs(processes) do
    local start, stop = p:result()
    first, last = math.min(first, start), math.max(last, stop)
end
print(("%.12f"):format((last - first) / (share * n_putters * n_getters)))
