-- luamp.lua KIND WORKERS COUNT: the mean time, in seconds, of one of what a pool of so many
-- workers does: to be opened, closed and joined (`open`), or to run a task that doubles an
-- integer, by `map` with its default chunks, by the same with chunks of one (`map1`), by `imap`
-- and `imap_unordered` with chunks of one, by `submit` (all, then the results), by `apply` (one
-- after the other); or a task that gives a string back, of 1 KiB (`kib`) or 1 MiB (`mib`), by
-- map. With BENCH_CPUS=A/B the pool's owner runs on CPU A and its workers on B.
local mp = require "luamp"

local kind, n_workers, count = arg[1], tonumber(arg[2]), tonumber(arg[3])
local MOST <const> = kind == "submit" and 20000 or 100000 -- tasks of a call

local function twice(x) return 2 * x end

local function same(x) return x end

local function integers(n)
    local list = {}
    for i = 1, n do list[i] = i end
    return list
end

-- No two are alike, so that none is sent in the place of another.
local function strings(size)
    return function(n)
        local list = {}
        for i = 1, n do list[i] = ("%08d"):format(i) .. ("x"):rep(size - 8) end
        return list
    end
end

local function map(f, options)
    return function(pool, list)
        local results = pool:map(f, list, options)
        assert(#results == #list and results[#list] == f(list[#list]))
    end
end

local function iterate(name)
    return function(pool, list)
        local sum = 0
        for _, result in pool[name](pool, twice, list, { chunksize = 1 }) do sum = sum + result end
        assert(sum == #list * (#list + 1))
    end
end

local run = { map = map(twice), map1 = map(twice, { chunksize = 1 }), kib = map(same), mib = map(same),
    imap = iterate "imap", imap_unordered = iterate "imap_unordered" }

function run.submit(pool, list)
    local futures, sum = {}, 0
    for i, item in ipairs(list) do futures[i] = pool:submit(twice, item) end
    for _, future in ipairs(futures) do sum = sum + future:result() end
    assert(sum == #list * (#list + 1))
end

function run.apply(pool, list)
    for _, item in ipairs(list) do assert(pool:apply(twice, item) == 2 * item) end
end

local inputs = { kib = strings(1 << 10), mib = strings(1 << 20) }

local function open(cpu)
    return mp.pool { workers = n_workers, cpus = cpu and { cpu } }
end

local function time_open(cpu)
    local start
    for i = -4, count do
        if i == 1 then start = mp.clock() end
        local pool = open(cpu)
        pool:close()
        pool:join()
    end
    return (mp.clock() - start) / count
end

local function time_tasks(cpu)
    local pool <close> = open(cpu)
    local make, n = inputs[kind] or integers, math.min(count, MOST)
    local list = make(n)
    run[kind](pool, make(math.max(1, n // 10)))
    local start = mp.clock()
    for _ = 1, count // n do run[kind](pool, list) end
    return (mp.clock() - start) / (count // n * n)
end

local time = kind == "open" and time_open or time_tasks
local cpus = { (os.getenv "BENCH_CPUS" or ""):match "^(%d+)/(%d+)$" }
local seconds
if cpus[1] then
    local owner = mp.process { target = time, args = { math.tointeger(cpus[2]) }, cpus = { math.tointeger(cpus[1]) } }
    seconds = owner:start():result()
else
    seconds = time()
end
print(("%.12f"):format(seconds))
