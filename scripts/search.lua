-- search.lua [STEPS]: the first number from which the way to 1 is so long.
--
-- Collatz' sequence halves an even number, and triples an odd one and adds 1. `find` gives the first
-- number in the order of the input that will do, whichever was found first, and when it is known,
-- nothing that comes behind it is looked at any more: the range may be as long as one likes.
--
--   luamp scripts/search.lua

local mp = require "luamp"

local wanted = math.tointeger(tonumber(arg[1] or 350))
if not wanted then
    io.stderr:write "usage: search.lua [STEPS], a whole number\n"
    os.exit(1)
end

local function steps(n)
    local count = 0
    while n > 1 do
        n, count = n % 2 == 0 and n // 2 or 3 * n + 1, count + 1
    end
    return count
end

local n = mp.find(function(n) return steps(n) >= wanted end, mp.range(1, 1000000000))
print(("from %d it is %d steps"):format(n, steps(n)))
