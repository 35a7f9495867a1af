-- squares.lua: a loop over numbers, and the same by a pool.
--
-- `mp.map` forks workers for the one call. A pool keeps its workers, so that many calls have use of
-- them. Results come in the order of the input, whichever worker was first.
--
--   luamp scripts/squares.lua

local mp = require "luamp"

local function square(n)
    return n * n
end

local numbers, squares = { 3, 1, 4, 1, 5, 9 }, {}
for i, n in ipairs(numbers) do squares[i] = square(n) end
print("a loop:         " .. table.concat(squares, " "))
print("mp.map:         " .. table.concat(mp.map(square, numbers), " "))

local pool <close> = mp.pool(2)
print("pool:map:       " .. table.concat(pool:map(square, numbers), " "))
print("by two values:  " .. table.concat(pool:starmap(math.max, { { 3, 1 }, { 4, 1 }, { 5, 9 } }), " "))
print("those above 10: " .. table.concat(pool:filter(function(n) return square(n) > 10 end, numbers), " "))
for i, n, its_square in pool:imap(function(n) return n, square(n) end, mp.range(10, 30, 10)) do
    print(("item %d:         %d x %d = %d"):format(i, n, n, its_square))
end
