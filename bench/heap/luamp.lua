-- luamp.lua KIND [MIB] COUNT: over a table of ten million small tables, some 1 GiB, or of so many that they take MIB.
-- BENCH_QUICK: of a fiftieth.
--   start      the mean time of a start and a join, in seconds
--   first      the time of the first one
--   read       the part of that heap that a child has made its own when it has read all of it...
--   allocate   ...and a daemon that has made three times as many tables, of which none stays
local mp = require "luamp"

local kind, mib, count = arg[1], arg[3] and tonumber(arg[2]) or 1024, tonumber(arg[#arg])
local n = 10000000 * mib // 1024 // (os.getenv "BENCH_QUICK" and 50 or 1)
local list = {}
for i = 1, n do list[i] = { i } end

local function shared()
    local file <close> = io.open "/proc/self/smaps_rollup"
    local text = file:read "a"
    return (text:match "Shared_Clean:%s+(%d+)" + text:match "Shared_Dirty:%s+(%d+)") * 1024
end

local work = {}

function work.read()
    local sum = 0
    for i = 1, n do sum = sum + list[i][1] end
    assert(sum == n * (n + 1) // 2)
end

function work.allocate()
    local t
    for i = 1, 3 * n do t = { i } end
    assert(t[1] == 3 * n)
end

-- The part that the child shares no more; at least a page, of which there is no part.
local function dirtied(f)
    local before = shared()
    f()
    return math.max(before - shared(), 4096) / (collectgarbage "count" * 1024)
end

local function start_join()
    mp.process(function() end):start():join()
end

if work[kind] then
    local p = mp.process { target = dirtied, args = { work[kind] }, daemon = kind == "allocate" }
    print(string.format("%.9f", p:start():result()))
else
    if kind == "first" then count = 1 end
    local start = mp.clock()
    for _ = 1, count do start_join() end
    print(string.format("%.9f", (mp.clock() - start) / count))
end
