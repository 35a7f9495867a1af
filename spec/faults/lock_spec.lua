-- A process is killed at each step of what it does with locks (src/engine/mutex.h), semaphores
-- (semaphore.h) and events (event.h), the first and each further time that it comes there. Who has not
-- done it yet has not, and who has holds, has given back, or has set; then that is its death's.
--
-- Needs the build with fault points.
local helper = require "spec.helper"

-- The header with the table of steps, and the points.
local tables = {
    mutex = { ["mutex.acquire"] = "A1 A2", ["mutex.release"] = "R1", ["mutex.abandon"] = "B1" },
    semaphore = { ["semaphore.change"] = "S1 S2 S3 S4" },
    event = { ["event.set"] = "E1" },
}

local function names_of(points)
    local list = {}
    for change, steps in pairs(points) do
        for step in steps:gmatch "%S+" do list[#list + 1] = change .. "." .. step end
    end
    table.sort(list)
    return list
end

-- A victim goes through its steps; what it has said in the log is done. After its death the next one
-- has all, at once, and is told what it should be.
local script = [=[
local kind, point, elsewhere = arg[1], arg[2], arg[3]
local mp = require "luamp"
local LIMIT <const> = 1

local steps = {}

-- Each step with what holds after it: how often the lock is held; or the units that the victim has, and
-- how many it has added.
local lock_steps = {
    { "acquire", 1 }, { "release", 0 }, { "with", 0 }, { "hold", 0 }, { "acquire", 1 }, { "close", 0 },
}
local rlock_steps = {
    { "acquire", 1 }, { "acquire", 2 }, { "release", 1 }, { "with", 1 }, { "release", 0 }, { "hold", 0 },
    { "acquire", 1 }, { "close", 0 },
}
local semaphore_steps = {
    { "acquire", 1, 0 }, { "acquire", 2, 0 }, { "release", 1, 0 }, { "with", 1, 0 }, { "acquire", 2, 0 },
    { "release3", 0, 1 }, { "acquire", 1, 1 }, { "close", 0, 1 },
}
local bounded_steps = {
    { "acquire", 1, 0 }, { "hold", 1, 0 }, { "release", 0, 0 }, { "acquire", 1, 0 }, { "close", 0, 0 },
}
local all = { lock = lock_steps, rlock = rlock_steps, semaphore = semaphore_steps, bounded_semaphore = bounded_steps }

function steps.acquire(o) assert(o:acquire(LIMIT)) end
function steps.release(o) o:release() end
function steps.release3(o) o:release(3) end
function steps.with(o) o:with(function() end) end
function steps.hold(o) local held <close> = assert(o:hold(LIMIT)) end
function steps.close(o) o:close() end

local function units(o) return o.value and o:value() end

-- Runs the victim: how many steps it has done.
local function run(o, n)
    local log = mp.queue()
    local p = mp.process { stderr = "null", env = { LUAMP_FAULT = ("%s:%d"):format(point, n) }, target = function()
        for i, step in ipairs(all[kind]) do
            steps[step[1]](o)
            log:put(i)
        end
    end }:start()
    if not p:join(20) then error("the victim hangs", 0) end
    local code = p.exitcode
    p:close()
    return #log, code
end

-- The states before and after a step that is not whole.
local function is_either(value, a, b) return value == a or value == b end

local function check_lock(o, done, n_steps)
    local got, word = o:acquire(LIMIT)
    if not got then error("the lock is stuck: " .. tostring(o), 0) end
    local before = done > 0 and all[kind][done][2] or 0
    local after = done < n_steps and all[kind][done + 1]
    local held = before > 0
    -- within a step: as before, as after, or, in one that acquires and releases, in between
    if done == n_steps and not word then error("a closed handle's lock is not abandoned", 0) end
    if done < n_steps and point:find "acquire" and not word then error("not abandoned", 0) end
    if done < n_steps and point:find "release" and word then error("abandoned, and was released", 0) end
    if done < n_steps and point:find "abandon" and not (held and word and after[1] == "close") then
        error("the handle's end is not told", 0)
    end
    o:release()
    if select(2, o:acquire(LIMIT)) then error("told twice", 0) end
    o:release()
    if o:is_locked() then error("it is locked", 0) end
end

local N <const> = 3

local function check_semaphore(o, done, n_steps)
    local before, after = done > 0 and all[kind][done][3] or 0, all[kind][math.min(done + 1, n_steps)][3]
    local value = o:value()
    if not is_either(value, N + before, N + after) then
        error(("%d units after %d steps, should be %d or %d"):format(value, done, N + before, N + after), 0)
    end
    if before ~= after and value ~= N + (point:find "S1" and before or after) then
        error("the change is half done: " .. value, 0)
    end
    for _ = 1, value do
        if not o:acquire(LIMIT) then error("a unit is missing", 0) end
    end
    if o:acquire(0) then error("a unit is there twice", 0) end
    o:release(value)
end

local n = 0
repeat
    n = n + 1
    local o <close> = mp[kind](kind:find "semaphore" and N or nil)
    local done, code = run(o, n)
    if code ~= 0 and code ~= -9 then error(("status %d at %s:%d"):format(code, point, n), 0) end
    local ok, e = pcall(o.value and check_semaphore or check_lock, o, done, #all[kind])
    if not ok then error(("killed at %s:%d, after %d steps: %s"):format(point, n, done, e), 0) end
until code == 0
print(n - 1)
]=]

-- Runs the script of which the words are given: what it prints.
local function run(words)
    local result = helper.run(("timeout 100 %s %s %s"):format(helper.host, helper.script(script), words))
    assert.same({ 0, "" }, { result.status, result.stderr }, words)
    return math.tointeger(tonumber(result.stdout))
end

local reached = {}

describe("a process that is killed at any step, whenever it comes there, leaves whole", function()
    for kind, header in pairs { lock = "mutex", rlock = "mutex", semaphore = "semaphore",
        bounded_semaphore = "semaphore" } do
        it("a " .. kind, function()
            for _, point in ipairs(names_of(tables[header])) do
                if run(kind .. " " .. point) > 0 then reached[point] = true end
                assert.is_true(reached[point], point)
            end
        end)
    end

    it("an event", function()
        local result = helper.script_run [[
            local e = mp.event()
            local p = mp.process { stderr = "null", env = { LUAMP_FAULT = "event.set.E1" },
                target = function() e:set() end }:start()
            p:join()
            print(p.exitcode, e:is_set(), e:wait(1))
            p:close()]]
        assert.same({ 0, "", "-9\ttrue\ttrue\n" }, { result.status, result.stderr, result.stdout })
    end)
end)

-- The first one is killed with the object, and the second one in finishing that for it.
describe("a process that is killed while it gives back what a dead one had leaves whole", function()
    for _, case in ipairs {
        { "lock", "acquire", "mutex.abandon.B1" }, { "rlock", "acquire", "mutex.abandon.B1" },
        { "semaphore", "acquire", "semaphore.change.S1" }, { "semaphore", "acquire", "semaphore.change.S2" },
        { "semaphore", "acquire", "semaphore.change.S3" }, { "bounded_semaphore", "acquire", "semaphore.change.S4" },
        { "semaphore", "half", "semaphore.change.S3" },
    } do
        it(("a %s (%s, %s)"):format(table.unpack(case)), function()
            local result = helper.script_run(([[
                local kind, how, point = "%s", "%s", "%s"
                local o, q = mp[kind](kind:find "semaphore" and 2 or nil), mp.queue()
                local p = mp.process { stderr = "null", target = function()
                    local dead = mp.process { stderr = "null",
                        env = { LUAMP_FAULT = how == "half" and "semaphore.change.S2:2" or "" },
                        target = function()
                            o:acquire()
                            if how == "half" then o:release() end
                            os.execute("kill -KILL " .. mp.getpid())
                        end }
                    dead:start():join()
                    q:put(dead.exitcode)
                end, env = { LUAMP_FAULT = point } }:start()
                p:join()
                print(p.exitcode, q:get(0))
                p:close()
                local got, word = o:acquire(1)
                print(got, word, not o.value or o:acquire(1), o.value and o:acquire(0))]]):format(table.unpack(case)))
            local said = case[1]:find "semaphore" and "true\tnil\ttrue\tnil\n" or "true\tabandoned\ttrue\tnil\n"
            assert.same({ 0, "", true }, { result.status, result.stderr, result.stdout:find("^%-9\t") ~= nil })
            assert.equal(said, result.stdout:match "\n(.*)$")
        end)
    end
end)

describe("the table of points", function()
    for header, points in pairs(tables) do
        it("of " .. header .. ".h is that of its source", function()
            local wanted, found, list, listed, change = names_of(points), {}, {}, {}, nil
            for point in helper.read("src/engine/" .. header .. ".c"):gmatch '"(%l+%.%l+%.%u%d)"' do
                found[point] = true
            end
            for point in pairs(found) do list[#list + 1] = point end
            table.sort(list)
            assert.same(wanted, list)
            for line in helper.read("src/engine/" .. header .. ".h"):gmatch "[^\n]+" do
                change = line:match "^%*%*   (%l+) +%u%d " or change
                local step = line:match "^%*%*   %l+ +(%u%d) " or line:match "^%*%*         +(%u%d) "
                if step then listed[#listed + 1] = ("%s.%s.%s"):format(header, change, step) end
            end
            table.sort(listed)
            assert.same(wanted, listed)
        end)
    end
end)
