-- luamp.lua KIND COUNT: the mean time, in seconds, of one task of a pool whose two workers are on two other
-- hosts: one integer is doubled of many (`rate`), or of one at a time, by one host (`trip`); a string is given back, of
-- 1 MiB (`mib`) or 16 (`mib16`). `host` is a task of a pool with the engine of hosts on this one alone, and `local` of
-- one as ever, each of two workers, with the default chunks. Started by itself it runs mpirun.
local mp = require "luamp"

local kind, count = arg[1], tonumber(arg[2])

if not os.getenv "LUAMP_RANK" then
    local command = ("OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 LUAMP_CPUS=1 LUAMP_ENGINE=mpi mpirun "
        .. "--oversubscribe --bind-to none -np %d '%s' '%s' %s %d"):format(
        (kind == "host" or kind == "local") and 1 or 3, arg[-1], arg[0], kind, count)
    os.exit(os.execute(command))
end

local given = { trip = { hosts = { 1 } }, host = { workers = 2 }, ["local"] = { workers = 2, engine = "local" } }
local pool <close> = mp.pool(given[kind] or { hosts = { 1, 2 } })

local function twice(x) return 2 * x end

local function same(x) return x end

local size = ({ mib = 1 << 20, mib16 = 16 << 20 })[kind]

local function run(n)
    if kind == "trip" then
        for i = 1, n do assert(pool:apply(twice, i) == 2 * i) end
    elseif size then
        local text = ("x"):rep(size)
        local items = setmetatable({}, { __len = function() return n end, __index = function(_, i)
            return i <= n and text or nil end })
        local sizes = 0
        for _, result in pool:imap_unordered(same, items, { chunksize = 1 }) do sizes = sizes + #result end
        assert(sizes == n * size)
    else
        local list = {}
        for i = 1, n do list[i] = i end
        local chunk = kind == "rate" and 1 or nil
        local results = pool:map(twice, list, { chunksize = chunk })
        assert(#results == n and results[n] == 2 * n)
    end
end

run(20)
local start = mp.clock()
run(count)
print(("%.9f"):format((mp.clock() - start) / count))
