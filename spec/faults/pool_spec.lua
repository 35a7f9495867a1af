-- A worker of a pool is killed at each step of what it does with the board that its tasks lie on
-- (src/engine/board.h), also in batches (src/engine/batch.h), the first and each further time that it
-- comes there, and so is who comes in its place; and its owner is killed or stopped at each of its own.
-- What then holds is what the table of steps says.
--
-- Needs the build with fault points. LUAMP_SWEEP=all: every time, and not a sample.
local helper = require "spec.helper"
local driver = require "spec.driver"
local sweep = require "spec.faults.sweep"
local mp = require "luamp"

-- What becomes of the task in hand: "others" do it (or what more was taken), it is "lost", or "answered";
-- and whether its function has run.
local of_workers = {
    ["board.take.T1"] = { fate = "others" },
    ["board.take.T2"] = { fate = "lost", has_run = false },
    ["board.finish.F1"] = { fate = "lost", has_run = true },
    ["board.finish.F2"] = { fate = "lost", has_run = true },
    ["board.finish.F3"] = { fate = "answered" },
    ["board.finish.F4"] = { fate = "answered" },
}
local in_batches = {
    ["board.take.T2"] = { fate = "others" },
    ["batch.begin.K1"] = { fate = "lost", has_run = false },
    ["batch.leave.K2"] = { fate = "lost", has_run = true },
    ["batch.leave.K3"] = { fate = "answered" },
    ["board.finish.F3"] = { fate = "answered" },
    ["board.finish.F4"] = { fate = "answered" },
}
local of_owner = { ["board.put.P1"] = "nothing", ["board.put.P2"] = "ready", ["board.put.P3"] = "ready" }

-- Of what a worker does in the arena with its results: whether the task is lost depends on the result.
local in_arena = { "arena.alloc.A1", "arena.alloc.A2", "arena.alloc.A3", "arena.hold.H1", "arena.hold.H2",
    "arena.hold.H3" }

-- Maps again and again, whose workers all die the n-th time that they come to the point, for n = 1, 2, ...
-- until none comes there so often. Says at the end how many have died.
local script = [[
local mp = require "luamp"
local point, fate, has_run, most, log = arg[1], arg[2], arg[3], tonumber(arg[4]), arg[5]
local timeout = tonumber(arg[6]) -- what has one goes alone
local N <const>, WORKERS <const> = 40, 3

local function check(ok, ...)
    if ok then return end
    print(string.format(...))
    os.exit(1)
end

local function usage()
    collectgarbage()
    collectgarbage()
    local words = {}
    for name, kind in pairs(mp.memory().kinds) do
        words[#words + 1] = ("%s %d/%d"):format(name, kind.count, kind.bytes)
    end
    table.sort(words)
    return table.concat(words, ", ")
end

-- Short and long; each tenth has a handle of a queue with an item.
local function work(item)
    local i = type(item) == "table" and item.i or item
    mp.worker.file:write(i, " ")
    local text = ("%d;"):format(i)
    if i % 10 == 0 then
        local q = mp.queue()
        q:put(i)
        return { text, q }
    end
    return i % 2 == 0 and text:rep(i * 20) or i
end

local function is_answer(i, answer)
    local text = ("%d;"):format(i)
    if i % 10 ~= 0 then return answer == (i % 2 == 0 and text:rep(i * 20) or i) end
    local q <close> = answer[2]
    return answer[1] == text and q:get(0) == i
end

local function init(path)
    local file = io.open(path, "a")
    file:setvbuf "no"
    mp.worker.file = file
end

local input = {}
for i = 1, N do input[i] = i % 3 == 0 and { i = i, text = ("x"):rep(i * 20) } or i end

mp.pool(1):terminate()
local memory = usage()

-- Whether anybody has died.
local function run(n, options)
    local where = ("%s:%d, %s"):format(point, n, options.retries and "retries" or options.chunksize or "plain")
    io.open(log, "w"):close()
    options.on_error, options.timeout = "collect", timeout
    local has_died
    do
        local ok, pool = pcall(mp.pool, { workers = WORKERS, init = init, initargs = { log },
            env = { LUAMP_FAULT = ("%s:%d"):format(point, n) } })
        if not ok then -- they come there before they serve
            check(fate == "any" and pool.signal == "SIGKILL", "%s: %s", where, tostring(pool))
            return true
        end
        local _ <close> = pool
        local list, failures = pool:map(work, input, options)
        local runs, lost, pids = {}, {}, {}
        for i in io.open(log):read "a":gmatch "(%d+) " do
            i = math.tointeger(i)
            runs[i] = (runs[i] or 0) + 1
        end
        for _, e in ipairs(failures) do
            check(e.kind == "signal" and e.signal == "SIGKILL" and e.attempt == 1 + (options.retries or 0),
                "%s: task %d, attempt %d: %s", where, e.task, e.attempt, tostring(e))
            check(not lost[e.task] and not pids[e.pid], "%s: two failures of task %d", where, e.task)
            lost[e.task], pids[e.pid] = true, true
        end
        for i = 1, N do
            check((list[i] == nil) == (lost[i] or false), "%s: task %d is answered %s", where, i,
                lost[i] and "twice" or "by nothing")
            check(lost[i] or is_answer(i, list[i]), "%s: task %d is answered by another's result", where, i)
            check(lost[i] or runs[i], "%s: task %d has a result, and did not run", where, i)
            check((runs[i] or 0) <= 1 + (options.retries or 0), "%s: task %d ran too often", where, i)
            check(not lost[i] or fate == "any" or (runs[i] == nil) == (has_run == "false"),
                "%s: task %d is lost at another step", where, i)
        end
        list = nil -- luacheck: ignore
        usage()
        local n_left = mp.memory().kinds.messages.count
        check(n_left == 0, "%s: %d blocks are left", where, n_left)
        local stats = pool:stats()
        check(fate == "lost" or fate == "any" or #failures + stats.retried == 0, "%s: %d tasks are lost", where,
            #failures + stats.retried)
        check(fate ~= "lost" or #failures + stats.retried >= stats.restarts, "%s: %d lost, and %d workers", where,
            #failures + stats.retried, stats.restarts)
        has_died = stats.restarts > 0
    end
    local after = usage()
    check(after == memory, "%s: memory: %s before, and %s after", where, memory, after)
    return has_died
end

local n, kills, stride = tonumber(arg[7] or 1), 0, 1
while kills < most do
    local has_died = run(n, { chunksize = n % 2 == 0 and 7 or nil })
    if not has_died then break end
    run(n, { retries = 2 })
    kills, n = kills + 1, n + stride
    if most < 1000 and n > 4 then stride = stride * 2 end
end
print("killed", kills)
]]

-- Which time is the first: where a task is left to others, all workers would die at the first time before any task
-- had ended, and the pool may give up. At the second each has ended what it had taken.
local function first_of(step)
    return step.fate == "others" and 2 or 1
end

local function names_of(points)
    local list = {}
    for name in pairs(points) do list[#list + 1] = name end
    table.sort(list)
    return list
end

-- How often workers were killed there.
local function kill(point, fate, has_run, timeout, first)
    local result = helper.run(("timeout 200 %s %s %s %s %s %d %s %s %s"):format(helper.host, helper.script(script),
        point, fate, has_run, sweep.all and 1000000 or 8, helper.tmpdir() .. "/log", timeout or "nil", first or 1))
    assert.same({ 0, "" }, { result.status, result.stderr }, result.stdout)
    return math.tointeger(result.stdout:match "^killed\t(%d+)\n$" or error(result.stdout))
end

describe("a worker that is killed, whenever it comes there, at", function()
    for _, point in ipairs(names_of(of_workers)) do
        local step = of_workers[point]
        it(("%s: its task is %s"):format(point, step.fate == "others" and "done by others" or step.fate), function()
            assert.is_true(kill(point, step.fate, tostring(step.has_run), 1000, first_of(step)) > 0)
        end)
    end

    for _, point in ipairs(names_of(in_batches)) do
        local step = in_batches[point]
        local what = step.fate == "others" and "done by others" or step.fate
        it(("%s, in a batch: its task is %s"):format(point, what), function()
            assert.is_true(kill(point, step.fate, tostring(step.has_run), nil, first_of(step)) > 0)
        end)
    end

    it("a point before any task of theirs: the pool gives up, and says why", function()
        local result = helper.run(("timeout 100 %s %s"):format(helper.host, helper.script [[
            local pool = require "luamp".pool { workers = 2, env = { LUAMP_FAULT = "board.take.T2:1" } }
            local ok, e = pcall(pool.map, pool, math.abs, { 1, 2, 3 })
            print(ok, e.kind, e.signal, e.message:match "^%d+ workers have ended within 60 s before they began a task")
            print(select(2, pcall(pool.map, pool, math.abs, { 1 })).signal)]]))
        assert.same({ 0, "false\tsignal\tSIGKILL\t16 workers have ended within 60 s before they began a task\n"
            .. "SIGKILL\n" }, { result.status, result.stdout }, result.stderr)
    end)

    for _, timeout in ipairs { 1000, false } do
        it("steps in the arena: each task is answered once, and the memory is whole, " .. (timeout and "alone"
            or "in batches"), function()
            local n = 0
            for _, point in ipairs(in_arena) do n = n + kill(point, "any", "nil", timeout) end
            assert.is_true(n > 20, n)
        end)
    end
end)

-- --- a worker's instructions ----------------------------------------------------------

-- Its second and third task end, and its third and fourth are begun, under killat.
local stepped = [[
local mp = require "luamp"
local how, chunksize = arg[1]:match "^(%a+) (%d)$"
local function usage()
    collectgarbage()
    collectgarbage()
    local kinds = mp.memory().kinds
    return ("%d messages, %d structures, %d handles"):format(kinds.messages.count, kinds.structures.count,
        kinds.handles.count)
end
local function answer_to(i) return how == "short" and i or ("%d;"):format(i):rep(1000) end
local function work(i)
    if i == 4 then os.remove "/killat/end" end
    local answer = answer_to(i)
    if i == 2 then os.remove "/killat/begin" end
    return answer
end
local function map()
    local pool <close> = mp.pool(1)
    local list, failures = pool:map(work, mp.range(1, 6), { on_error = "collect", chunksize = tonumber(chunksize) })
    local e = failures[1]
    for i = 1, 6 do
        if e and e.task == i then
            assert(list[i] == nil and e.signal == "SIGKILL" and i >= 2 and i <= 4, i)
        else
            assert(list[i] == answer_to(i), i)
        end
    end
    assert(failures[2] == nil and mp.memory().kinds.messages.count == 0)
    return pool:stats().restarts, #failures
end
mp.pool(1):terminate()
local before = usage()
local restarts, n_failed = map()
local after = usage()
assert(before == after, after)
assert(n_failed <= restarts)
print "well"
]]

describe("a worker that is killed at any instruction of the engine, while it ends and begins tasks with", function()
    local sources = { board = true, ends = true, lane = true, batch = true, arena = true, guard = true, hold = true,
        spans = true, gate = true, family = true }
    for _, how in ipairs { "short 1", "long 1", "short 6", "long 6" } do
        it(how .. " results together, leaves all whole", function()
            if helper.host ~= helper.luamp then pending "by the program alone" end
            if helper.run("uname -m").stdout ~= "x86_64\n" then pending "on x86-64 alone" end
            local file = helper.script(stepped)
            local ranges, entries = sweep.ranges(sources)
            local function run(point, steps)
                return sweep.run { file = file, script = how, process = "all", point = "i" .. point, ranges = ranges,
                    entries = entries, steps = steps }
            end
            local steps = helper.tmpdir() .. "/steps"
            local sound = run(0, steps)
            assert.same({ "exit:0", "well\n", "" }, { sound.ending, sound.stdout, sound.stderr })
            local changes = sweep.changes(steps)
            assert.is_true(#changes > 20, #changes)
            local points, kills = sweep.sample(#changes, 30), 0
            for _, i in ipairs(points) do
                local point = changes[i]
                local result = run(point)
                assert.same({ "exit:0", 0, "well\n", "" }, { result.ending, result.left, result.stdout, result.stderr },
                    ("%s: at instruction %d (%s)"):format(how, point, result.at))
                kills = kills + (result.killed and 1 or 0)
            end
            assert.is_true(kills >= #points * 0.7, kills .. " kills")
        end)
    end
end)

-- --- the owner --------------------------------------------------------------------------

-- A map of so many items, each of which says in the log when it has begun.
local owner = [[
local mp = require "luamp"
local log = arg[1]
local pool <close> = mp.pool { workers = 2, env = { LUAMP_FAULT = false }, init = function()
    mp.worker.file = io.open(log, "a")
    mp.worker.file:setvbuf "no"
    io.stdout:setvbuf "no"
end }
local list = pool:map(function(i)
    mp.worker.file:write(i, " ")
    if i == 1 then print "ready" end
    return i * i
end, mp.range(1, 20), { chunksize = 1 })
for i = 1, 20 do assert(list[i] == i * i) end
pool:close()
print(pool:join(20))
]]

local function begun(log)
    local found = {}
    for i in helper.read(log):gmatch "(%d+) " do
        assert.is_nil(found[i])
        found[i] = true
    end
    return found
end

local function is_gone(group)
    return function() return #driver.group(group) == 0 end
end

describe("the owner of a pool, at the n-th", function()
    for _, point in ipairs(names_of(of_owner)) do
        for _, n in ipairs { 1, 7, 20 } do
            local what = of_owner[point]
            it(("%s:%d, is stopped: its task is %s"):format(point, n, what == "ready" and what or "none"), function()
                local dir = helper.tmpdir()
                helper.write(dir .. "/log", "")
                local p <close> = mp.process { command = { helper.host, helper.script(owner), dir .. "/log" },
                    env = { LUAMP_FAULT = ("%s:%d=19"):format(point, n) }, stdout = "capture", daemon = true }:start()
                helper.wait_until(function()
                    return helper.read(("/proc/%d/stat"):format(p.pid)):match "%) (%a)" == "T"
                end, "its stop")
                local last = what == "ready" and n or n - 1
                helper.wait_until(function()
                    local found = begun(dir .. "/log")
                    for i = 1, last do
                        if not found[tostring(i)] then return false end
                    end
                    return true
                end, "what is ready")
                mp.sleep(0.12) -- in which all slots are looked at twice
                assert.is_nil(begun(dir .. "/log")[tostring(last + 1)])
                p:signal "CONT"
                assert.equal("ready\ntrue\n", p:result(20).stdout)
            end)
        end

        it(point .. ", is killed: all go with it", function()
            for _, n in ipairs { 1, 2, 20 } do
                local dir = helper.tmpdir()
                helper.write(dir .. "/log", "")
                local result = helper.run(("setsid sh -c 'echo $$; exec %s %s %s/log'"):format(helper.host,
                    helper.script(owner), dir), { env = { LUAMP_FAULT = ("%s:%d"):format(point, n) } })
                assert.equal(137, result.status, result.stderr)
                local group = math.tointeger(tonumber(result.stdout:match "^%d+"))
                helper.wait_until(is_gone(group), "the end of all", 0.5)
                local found = begun(dir .. "/log")
                assert.is_nil(found[tostring(of_owner[point] == "ready" and n + 1 or n)])
            end
        end)
    end
end)

-- --- the table --------------------------------------------------------------------------

it("the table of points of board.h and batch.h is that of their sources", function()
    local wanted, found, listed = {}, {}, {}
    for _, points in ipairs { of_workers, in_batches, of_owner } do
        for name in pairs(points) do wanted[name] = true end
    end
    for _, source in ipairs { "board", "lane", "batch" } do
        for point in helper.read("src/engine/" .. source .. ".c"):gmatch '"(%l+%.%l+%.%u%d)"' do found[point] = true end
    end
    for _, header in ipairs { "board", "batch" } do
        local change
        for line in helper.read(("src/engine/%s.h"):format(header)):gmatch "[^\n]+" do
            change = line:match "^%*%*   (%l+) +%u%d " or change
            local step = line:match "^%*%*   %l+ +(%u%d) " or line:match "^%*%*         +(%u%d) "
            if step then listed[("%s.%s.%s"):format(header, change, step)] = true end
        end
    end
    assert.same(names_of(wanted), names_of(found))
    assert.same(names_of(wanted), names_of(listed))
end)
