-- luamp.lua KIND PROCESSES COUNT: the mean time, in seconds, of one call of a dict that so many
-- processes share: `set` and `get` of a number by a thousand keys, `update`, by 1, of one of them.
local mp = require "luamp"

local kind, n_processes, count = arg[1], tonumber(arg[2]), tonumber(arg[3])
local KEYS <const> = 1000

local dict, ready, go = mp.dict(), mp.queue(), mp.queue()
for i = 1, KEYS do dict:set(i, 0) end

local calls = {}

function calls.set(first, n)
    for i = first, first + n - 1 do dict:set(i % KEYS + 1, i) end
end

function calls.get(first, n)
    for i = first, first + n - 1 do dict:get(i % KEYS + 1) end
end

local function one_more(n) return n + 1 end

function calls.update(first, n)
    for i = first, first + n - 1 do dict:update(i % KEYS + 1, one_more) end
end

-- A process: n of its own, after a warm-up, when all are ready.
local function work(f, first, n)
    f(first, n // 10)
    ready:put(true)
    go:get()
    local start = mp.clock()
    f(first, n)
    return start, mp.clock()
end

local share = math.max(10, count // (10 * n_processes) * 10)
local processes = {}
for i = 1, n_processes do
    processes[i] = mp.process { target = work, args = { calls[kind], i * KEYS // n_processes, share } }:start()
end
for _ = 1, n_processes do ready:get() end
for _ = 1, n_processes do go:put(true) end
local first, last = math.huge, 0
for _, p in ipairs(processes) do
    local start, stop = p:result()
    first, last = math.min(first, start), math.max(last, stop)
end
print(("%.12f"):format((last - first) / (share * n_processes)))
