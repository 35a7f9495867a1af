-- A process is killed at each step of what it does with the memory that the family shares
-- (src/engine/arena.h), with queues and pipes (queue.h) and with the heap of a priority
-- queue (priority.h), the first and each further time that it comes there. What is left
-- and how that is known: traffic.lua.
--
-- Needs the build with fault points. LUAMP_SWEEP=all: every time, and not a sample.
local helper = require "spec.helper"
local sweep = require "spec.faults.sweep"

-- The header with the table of steps; the sources that have them; the points.
local tables = {
    { head = "arena", sources = { "arena", "guard", "hold" }, points = {
        ["arena.alloc"] = "A1 A2 A3", ["arena.free"] = "F1 F2 F3", ["arena.hold"] = "H1 H2 H3",
        ["arena.move"] = "M1 M2 M3", ["arena.grow"] = "G1 G2 G3", ["arena.trim"] = "T1 T2" } },
    { head = "queue", sources = { "queue", "record" }, points = {
        ["queue.put"] = "P1 P2 P3 P4 P5 P6", ["queue.get"] = "G1 G2 G3 G4 G5 G6", ["queue.done"] = "D1 D2" } },
    { head = "priority", sources = { "priority" }, points = { ["priority.change"] = "C1 C2 C3 C4" } },
}

local function names_of(points)
    local list = {}
    for change, steps in pairs(points) do
        for step in steps:gmatch "%S+" do list[#list + 1] = change .. "." .. step end
    end
    table.sort(list)
    return list
end

local all = {}
for _, t in ipairs(tables) do
    for _, name in ipairs(names_of(t.points)) do all[#all + 1] = name end
end

-- Kills at each point of a list, in the scenario: says how often at each, and what went wrong.
local script = [[
local name, kind, most, path = arg[1], arg[2], tonumber(arg[3]), arg[4]
local traffic = dofile "spec/faults/traffic.lua"
local mp = require "luamp"

-- Who is killed: the victim at the point; or one that joins a victim, which died elsewhere,
-- and sweeps and mends what that has left.
local function run(point, elsewhere)
    if kind == "short" then -- an item whose handle finds no place where it came is gone
        return traffic.run(name, path, { env = { LUAMP_FAULT = point }, more_taken = name == "handles" }) - 16
    end
    if kind == "victim" then return traffic.run(name, path, { env = { LUAMP_FAULT = point } }) end
    return traffic.run(name, path, {
        env = { LUAMP_FAULT = point }, more_taken = true, settles = 3,
        wrap = function(f, from) return function()
            local dead = mp.process { env = { LUAMP_FAULT = elsewhere }, target = f, stderr = "null" }:start()
            dead:join(20)
            if from.get then from:get(0) else from:recv(0) end
            dead:close()
        end end })
end

-- The first time, the second, ... until it does not come there so often; in larger strides further on.
local function each_time(point, elsewhere)
    local n, stride = 1, 1
    for kills = 0, most do
        local ok, code = pcall(run, ("%s:%d"):format(point, n), elsewhere)
        if not ok then
            local after = elsewhere and " after " .. elsewhere or ""
            print(("%s: killed at %s:%d%s: %s"):format(name, point, n, after, code))
            return
        end
        if kind == "short" and n < 25 then -- once may be made up for by a look for garbage: it goes on
            code = code == -16 and -9 or code
        end
        if code ~= -9 then -- of memory that is short 7 - 16
            if code ~= (kind == "short" and -16 or 0) and kind ~= "sweeper" then
                print(("%s at %s:%d: status %s"):format(name, point, n, code))
            end
            if kills > 0 then print("killed", point, kills) end
            return
        end
        n = n + stride
        if most < 1000 and n > 8 then stride = stride * 2 end
    end
    print("killed", point, most)
end

for point in arg[5]:gmatch "%S+" do
    if not arg[6]:find "%S" then
        each_time(point)
    else
        for elsewhere in arg[6]:gmatch "%S+" do each_time(point, elsewhere) end
    end
end
print "end"
]]

-- Returns the points at which there were kills.
local function kill(name, kind, points, elsewhere)
    local log = helper.tmpdir() .. "/log"
    local result = helper.run(("timeout 500 %s %s %s %s %d %s '%s' '%s'"):format(helper.host, helper.script(script),
        name, kind, sweep.all and 1000000 or 12, log, table.concat(points, " "), table.concat(elsewhere or {}, " ")))
    local killed = {}
    local said = result.stdout:gsub("killed\t(%S+)\t%d+\n", function(point)
        killed[point] = true
        return ""
    end)
    assert.same({ 0, "", "end\n" }, { result.status, result.stderr, said })
    return killed
end

local reached = {}

describe("a process that is killed at any step, whenever it comes there, with", function()
    local scenarios = { "short", "long", "mixed", "batches", "crossing", "bounded", "ranks", "tasks", "pipe",
        "handles", "objects", "pipes", "ranked_objects" }
    for _, name in ipairs(scenarios) do
        it(name .. " leaves all whole", function()
            local n = 0
            for point in pairs(kill(name, "victim", all)) do
                reached[point] = true
                n = n + 1
            end
            assert.is_true(n > 0)
        end)
    end

    it("what makes the arena grow leaves all whole", function()
        for step = 1, 3 do -- what one run has grown serves the next: each has an arena of its own
            local points = { "arena.grow.G" .. step, "arena.trim.T1", "arena.trim.T2" }
            for point in pairs(kill("growth", "victim", points)) do
                reached[point] = true
            end
        end
    end)

    it("these is killed at each of them", function()
        for _, point in ipairs(all) do assert.is_true(reached[point], point) end
    end)
end)

it("a task whose end a process began before it was killed is done, and another is abandoned", function()
    for point, said in pairs { D1 = "true\tabandoned\n", D2 = "true\n" } do
        local result = helper.script_run(([[
            local q = mp.queue()
            q:put "task"
            local p <close> = mp.process { env = { LUAMP_FAULT = "queue.done.%s" }, stderr = "null", target = function()
                q:get()
                q:task_done()
            end }:start()
            p:join()
            assert(p.exitcode == -9)
            p:close()
            print(q:join(1))]]):format(point))
        assert.same({ 0, "", said }, { result.status, result.stderr, result.stdout }, point)
    end
end)

describe("memory that is short at any allocation, of", function()
    for _, name in ipairs { "long", "mixed", "crossing", "bounded", "ranks", "pipe", "handles", "objects", "pipes",
        "ranked_objects" } do
        it(name .. " is an error at the caller, who can try again", function()
            assert.same({ ["arena.memory"] = true }, kill(name, "short", { "arena.memory" }))
        end)
    end
end)

-- Who mends is killed as well.
local cases = {
    long = { "queue.put.P1", "queue.put.P4", "queue.get.G2:2", "queue.get.G4" },
    crossing = { "queue.put.P4:4", "queue.get.G4" },
    ranks = { "priority.change.C1:4", "priority.change.C3:2", "priority.change.C4:4", "queue.put.P4:3",
        "queue.get.G3" },
    handles = { "arena.hold.H2:3", "queue.put.P1", "queue.get.G4" },
    objects = { "arena.alloc.A3:4", "queue.get.G4", "arena.move.M2" },
    pipes = { "arena.hold.H1:4", "arena.move.M1", "arena.move.M3:2", "arena.free.F2:4" },
    tasks = { "queue.done.D2:2", "queue.get.G3:2" },
}

describe("a process that is killed while it sweeps and mends what a dead one left of", function()
    for name, elsewhere in pairs(cases) do
        it(name .. " leaves all whole", function()
            local points = {}
            for _, point in ipairs(all) do
                if not point:find "^queue.put" then points[#points + 1] = point end
            end
            kill(name, "sweeper", points, elsewhere)
        end)
    end
end)

it("a process that is killed while it sweeps what one left that made the arena grow leaves all whole", function()
    for _, elsewhere in ipairs { "arena.grow.G1", "arena.grow.G2", "arena.grow.G3:2" } do
        for _, point in ipairs { "arena.grow.G3", "arena.free.F1", "arena.free.F3", "queue.get.G4" } do
            kill("growth", "sweeper", { point }, { elsewhere })
        end
    end
end)

describe("the table of points", function()
    for _, t in ipairs(tables) do
        it("of " .. t.head .. ".h is that of its sources", function()
            local found = {}
            for _, source in ipairs(t.sources) do
                for point in helper.read("src/engine/" .. source .. ".c"):gmatch '"(%l+%.%l+%.%u%d)"' do
                    found[point] = true
                end
            end
            local wanted = names_of(t.points)
            local list = {}
            for point in pairs(found) do list[#list + 1] = point end
            table.sort(list)
            assert.same(wanted, list)
            local listed = {}
            local change
            for line in helper.read("src/engine/" .. t.head .. ".h"):gmatch "[^\n]+" do
                change = line:match "^%*%*   (%l+) +%u%d " or change
                local step = line:match "^%*%*   %l+ +(%u%d) " or line:match "^%*%*         +(%u%d) "
                if step then listed[#listed + 1] = ("%s.%s.%s"):format(t.head, change, step) end
            end
            table.sort(listed)
            assert.same(wanted, listed)
        end)
    end
end)
