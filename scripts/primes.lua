-- primes.lua [N]: counts the primes up to N (a million without it).
--
-- The numbers are cut into ranges, one for each CPU, and each range goes to a
-- process. A process returns several results, as any Lua function may: how
-- many primes it found, how many of them are the larger of twins, the last one.
--
--   luamp scripts/primes.lua

local mp = require "luamp"

local function is_prime(n)
    if n % 2 == 0 then return n == 2 end
    for divisor = 3, math.floor(math.sqrt(n)), 2 do
        if n % divisor == 0 then return false end
    end
    return n > 1
end

local function count_primes(from, to)
    local primes, twins, last = 0, 0, nil
    for n = from, to do
        if is_prime(n) then
            primes, last = primes + 1, n
            if is_prime(n - 2) then twins = twins + 1 end
        end
    end
    return primes, twins, last
end

local limit = math.tointeger(tonumber(arg[1] or 1000000))
if not limit or limit < 0 then
    io.stderr:write("usage: primes.lua [N], a whole number\n")
    os.exit(1)
end

local ranges = {}
local n = mp.cpu_count()
for i = 1, n do
    local from, to = limit * (i - 1) // n + 1, limit * i // n
    ranges[i] = mp.process { target = count_primes, args = { from, to } }:start()
end

local primes, twins, largest = 0, 0, nil
for _, range in ipairs(ranges) do
    local more_primes, more_twins, last = range:result()
    primes, twins, largest = primes + more_primes, twins + more_twins, last or largest
end
print("primes up to " .. limit .. ":  " .. primes)
print("the largest of them:   " .. (largest or "none"))
print("pairs of twins:        " .. twins)
print("processes:             " .. n)
