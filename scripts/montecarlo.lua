-- montecarlo.lua [SAMPLES]: pi by chance, and yet the same digits each time.
--
-- With a seed, the random numbers of a task depend on the seed, the call and the number of the task: not
-- on which worker has it, nor on how many there are, nor on the moment.
--
--   luamp scripts/montecarlo.lua

local mp = require "luamp"

local TASKS = 40
local samples = math.tointeger(tonumber(arg[1] or 400000))
if not samples or samples < TASKS then
    io.stderr:write(("usage: montecarlo.lua [SAMPLES], a whole number from %d on\n"):format(TASKS))
    os.exit(1)
end

-- How many of so many random points of a square lie in the circle.
local function throw(n)
    local inside = 0
    for _ = 1, n do
        local x, y = math.random(), math.random()
        if x * x + y * y < 1 then inside = inside + 1 end
    end
    return inside
end

local function estimate(workers, seed)
    local pool <close> = mp.pool { workers = workers, seed = seed }
    local n = samples // TASKS
    local inside = 0
    for _, k in ipairs(pool:map(function() return throw(n) end, mp.range(1, TASKS))) do inside = inside + k end
    return 4 * inside / (TASKS * n)
end

local first = estimate(1, 42)
for _, workers in ipairs { 1, 2, 5 } do
    print(("workers: %d  pi: %.6f"):format(workers, estimate(workers, 42)))
    assert(estimate(workers, 42) == first)
end
print("another seed:", estimate(2, 43) ~= first)
