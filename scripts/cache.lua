-- cache.lua: what one worker of a pool has worked out serves all.
--
-- The sum of a number's divisors, that of the sum, and so on: of some numbers that leads to 1, of
-- others back to the number itself (6 at once, 220 by way of 284). Many lead by the same numbers, and
-- the divisors of each are looked for once: the sums lie in a cache that the workers share. Who asks
-- for one that another is working out waits for it; when the cache is full, what was used least
-- recently makes room.
--
--   luamp scripts/cache.lua [NUMBERS [ENTRIES]]

local mp = require "luamp"

local count, entries = tonumber(arg[1]) or 3000, tonumber(arg[2]) or 2000
local largest, longest = 1000000, 40
local sums, counted = mp.cache(entries), mp.dict()

local function sum_of_divisors(n)
    counted:add "worked out"
    local sum = 1
    for d = 2, math.floor(math.sqrt(n)) do
        if n % d == 0 then sum = sum + d + (d * d < n and n // d or 0) end
    end
    return sum
end

-- How many steps lead from n back to n, or nil.
local function way_back(n)
    local m, asked = n, 0
    for step = 1, longest do
        m, asked = sums:get_or(m, sum_of_divisors), asked + 1
        if m == n or m == 1 or m > largest then
            counted:add("asked for", asked)
            return m == n and step or nil
        end
    end
    counted:add("asked for", asked)
end

local pool <close> = mp.pool(4)
for i, step in pool:imap(way_back, mp.range(2, count)) do
    if step then print(("%d comes back after %d"):format(i + 1, step)) end
end
local is_much_less = counted:get "asked for" > 2 * counted:get "worked out"
print("sums asked for, and worked out:", is_much_less and "more than twice as many" or "not twice as many")
print("entries:", #sums <= entries and "no more than may be" or "too many")
