-- tasks.lua: what is done in row 19, the same for luamp, for the yardstick and for GNU parallel,
-- which runs this file: `tasks.lua KIND INDEX` does one task.
--
-- A task is so many steps of a loop, which take as long as the machine takes for them: the times
-- are those of a machine that does one in 12 ns. KIND is
--   long     50 ms each
--   short    100 us each
--   tiny     10 us each
--   uneven   50 us, but of every hundred tasks one, somewhere, 100 times that
local tasks = {}

local steps <const> = { long = 4200000, short = 8400, tiny = 840, uneven = 4200 }

function tasks.run(n)
    local x = 1
    for i = 1, n do x = (x * 31 + i) % 1000003 end
    return x
end

-- The tasks' steps.
function tasks.list(kind, count)
    local list = {}
    for i = 1, count do list[i] = steps[kind] end
    math.randomseed(19)
    for first = 1, kind == "uneven" and count or 0, 100 do
        local heavy = first + math.random(0, 99)
        if list[heavy] then list[heavy] = 100 * list[heavy] end
    end
    return list
end

-- One half of a list, each with as much to do: every other task, or, where they are uneven, every
-- other hundred.
function tasks.half(kind, list, which)
    local size, half = kind == "uneven" and 100 or 1, {}
    for i, n in ipairs(list) do
        if (i - 1) // size % 2 == which then half[#half + 1] = n end
    end
    return half
end

function tasks.run_all(list)
    for _, n in ipairs(list) do tasks.run(n) end
end

if arg and arg[0]:find "tasks%.lua$" then
    tasks.run(tasks.list(arg[1], tonumber(arg[2]))[tonumber(arg[2])])
end

return tasks
