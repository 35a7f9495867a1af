-- A process is killed at each instruction of the code that changes what the family shares
-- (killat.c steps it), in one put, one get, one of each with a priority, one that sends a
-- handle, one task that is done, and while objects are made and end. What is left and how
-- that is known: traffic.lua.
--
-- What it leaves differs before and behind each instruction that may store to memory which others
-- see: those are the points. LUAMP_SWEEP=all takes them all; otherwise a sample. By the program
-- alone, whose map the linker writes: under stock Lua the same code lies in a module.
local helper = require "spec.helper"
local sweep = require "spec.faults.sweep"

local wanted = 30 -- of each operation's instructions

-- With a second word it is killed not in the scenario's steps but while it takes an item and
-- sweeps and mends what another has left that died there.
local script = [[
local traffic = dofile "spec/faults/traffic.lua"
local mp = require "luamp"
local name, elsewhere = arg[1]:match "^(%S+) after (%S+)$"
local options = {}
if elsewhere then
    options = { more_taken = true, settles = 3, wrap = function(f, from) return function()
        local dead = mp.process { env = { LUAMP_FAULT = elsewhere }, target = f, stderr = "null" }:start()
        dead:join(20)
        os.remove "/killat/begin"
        if from.get then from:get(0) else from:recv(0) end
        dead:close()
        os.remove "/killat/end"
    end end }
end
print(pcall(traffic.run, name or arg[1], os.getenv "VICTIM_LOG" .. ".steps", options))
]]

local operations = { "one_put", "one_long_put", "one_crossing_put", "one_get", "one_long_get", "one_crossing_get",
    "one_ranked_put", "one_growing_put", "one_ranked_get", "one_handle", "one_handle_get", "one_done", "one_object",
    "one_pipe", "one_ranked_object", "long after queue.put.P2:2", "ranks after priority.change.C3:2",
    "ranks after priority.change.C4:4", "handles after queue.get.G4", "objects after arena.alloc.A3:5",
    "pipes after arena.hold.H2:5", "tasks after queue.done.D2:2", "growth after arena.grow.G2" }

local sources = { arena = true, guard = true, hold = true, lock = true, pipe = true, priority = true, queue = true,
    record = true, spans = true, gate = true, watch = true, deadlock = true, family = true }

local function run(name, point, steps)
    local ranges, entries = sweep.ranges(sources)
    return sweep.run { file = helper.script(script), script = name, process = "all", point = "i" .. point,
        ranges = ranges, entries = entries, steps = steps }
end

-- Those of the one process that is stepped.
local function steps_of(result)
    local n
    for _, process in pairs(result.processes) do
        assert(not (n and process.steps), "two processes are stepped")
        n = n or process.steps
    end
    return assert(n, "no process is stepped")
end

describe("a process that is killed at any instruction of", function()
    for _, name in ipairs(operations) do
        it(name .. " leaves all whole", function()
            if helper.host ~= helper.luamp then pending "by the program alone" end
            if helper.run("uname -m").stdout ~= "x86_64\n" then pending "on x86-64 alone" end
            local steps = helper.tmpdir() .. "/steps"
            local sound = run(name, 0, steps)
            assert.same({ "exit:0", "true\t0\n", "" }, { sound.ending, sound.stdout, sound.stderr })
            local n = steps_of(sound)
            local changes, n_traced = sweep.changes(steps)
            assert.equal(n, n_traced)
            assert.is_true(n > 100 and #changes > 10, #changes)
            local points = sweep.sample(#changes, wanted)
            print(("%s: %d instructions, %d points, %d taken"):format(name, n, #changes, #points))
            local kills = 0
            for _, i in ipairs(points) do
                local point = changes[i]
                local result = run(name, point)
                local where = ("%s at instruction %d (%s): "):format(name, point, result.at)
                local code = result.killed and -9 or 0
                assert.same({ "exit:0", 0, ("true\t%d\n"):format(code), "" },
                    { result.ending, result.left, result.stdout, result.stderr }, where)
                kills = kills + (result.killed and 1 or 0)
            end
            assert.is_true(kills >= #points * 0.7, kills .. " kills")
        end)
    end
end)
