-- cluster_map.lua [N]: which numbers up to N are perfect, by all CPUs of all hosts.
--
-- The same script runs on one machine and on many: under mpirun or srun a pool has workers on each host, and
-- nothing here asks whether it is so. What it prints at the end on stderr is only for who wants to see it.
--
--   luamp scripts/cluster_map.lua [N]
--   luamp-mpirun -np 3 --oversubscribe luamp scripts/cluster_map.lua 10000

local mp = require "luamp"

local n = math.tointeger(tonumber(arg[1] or 9000))
if not n or n < 1 then
    io.stderr:write("cluster_map: N must be a count from 1 on\n")
    os.exit(2)
end

local function is_perfect(number)
    local sum = 1
    for divisor = 2, math.floor(math.sqrt(number)) do
        if number % divisor == 0 then
            local other = number // divisor
            sum = sum + divisor + (other ~= divisor and other or 0)
        end
    end
    return number > 1 and sum == number
end

local pool <close> = mp.pool()
print("perfect: " .. table.concat(pool:filter(is_perfect, mp.range(1, n)), ", "))

for _, host in ipairs(mp.hosts()) do
    io.stderr:write(("host %d: %s, %d CPUs%s\n"):format(host.rank, host.name, host.cpus, host.lost and ", lost" or ""))
end
