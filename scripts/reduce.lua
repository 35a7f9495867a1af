-- reduce.lua: many values made one, in parallel.
--
-- The input is cut into chunks. Each begins with a copy of the identity, to which `f(acc, item)` adds the
-- items; what the chunks come to is combined from left to right. So the identity must be neutral
-- (0 for a sum, "" for a text), and the order of the input is kept.
--
--   luamp scripts/reduce.lua

local mp = require "luamp"

local pool <close> = mp.pool(3)

print("sum:", pool:reduce(function(sum, n) return sum + n end, mp.range(1, 100000), 0))
print("in order:", pool:reduce(function(text, letter) return text .. letter end, ("parallel"):gmatch ".", ""))
print("greatest:", pool:reduce(math.max, { 3, 1, 4, 1, 5, 9, 2, 6 }, -math.huge))

-- What a chunk comes to may be of another kind than its items: then `combine` makes one of two.
local none = { n = 0, sum = 0, squares = 0 }

local function add(acc, x)
    acc.n, acc.sum, acc.squares = acc.n + 1, acc.sum + x, acc.squares + x * x
    return acc
end

local function combine(a, b)
    return { n = a.n + b.n, sum = a.sum + b.sum, squares = a.squares + b.squares }
end

local all = pool:reduce(add, mp.range(1, 99), none, combine)
local mean = all.sum / all.n
print("values:", all.n, "mean:", mean, "variance:", all.squares / all.n - mean * mean)
print("untouched:", none.n)
