-- A process is killed at each step of what it does with rwlocks (src/engine/rwlock.h), barriers
-- (barrier.h) and conditions (condition.h), and of the changes of words that these make (change.h), the
-- first and each further time that it comes there. The others go on, at once, with what is whole.
--
-- Needs the build with fault points.
local helper = require "spec.helper"

-- The header with the table of steps, and the points.
local tables = {
    change = { ["change.make"] = "M1 M2 M3" },
    rwlock = { ["rwlock.acquire"] = "A1 A2", ["rwlock.release"] = "R1" },
    barrier = { ["barrier.wait"] = "W1 W2 W3", ["barrier.act"] = "A1", ["barrier.break"] = "B1" },
    condition = { ["condition.wait"] = "W1 W2 W3", ["condition.notify"] = "N1" },
}

local function names_of(points)
    local list = {}
    for change, steps in pairs(points) do
        for step in steps:gmatch "%S+" do list[#list + 1] = change .. "." .. step end
    end
    table.sort(list)
    return list
end

-- A victim and its partner, the main process; then what must hold.
local script = [=[
local kind, point, who = arg[1], arg[2], arg[3]
local mp = require "luamp"
local LIMIT <const> = 5

local function start(f, n, ...)
    return mp.process { stderr = "null", env = { LUAMP_FAULT = n and ("%s:%d"):format(point, n) or "" }, target = f,
        args = { ... } }:start()
end

local function check(condition, ...)
    if not condition then error(table.concat({ ... }, " "), 0) end
    return condition
end

-- Until it holds, or the victim is dead.
local function wait_until(p, holds)
    local deadline = mp.clock() + LIMIT
    while p:is_alive() and not holds() do
        check(mp.clock() < deadline, "the victim hangs")
        mp.sleep(0.001)
    end
end

local function waiting(o) return math.tointeger(tostring(o):match "(%d+) waiting") or 0 end

local kinds = {}

function kinds.rwlock(n)
    local rw <close> = mp.rwlock()
    rw.write:acquire()
    local p = start(function(l)
        l.read:acquire()
        l.read:acquire()
        l.read:release()
        l.read:release()
        l.write:acquire()
        l.read:acquire()
        l.write:release()
        l.read:release()
        l.write:acquire(0)
        l.write:release()
    end, n, rw)
    wait_until(p, function() return waiting(rw.read) == 1 end)
    rw.write:release()
    check(p:join(20), "the victim hangs")
    check(rw.write:acquire(LIMIT), "nobody can write: " .. tostring(rw))
    check(not rw.read:is_locked(), "a share is left: " .. tostring(rw))
    rw.write:release()
    local got, word = rw.read:acquire(LIMIT)
    check(got and not word, "nobody can read: " .. tostring(rw))
    rw.read:release()
    check(waiting(rw.read) + waiting(rw.write) == 0, "somebody stands in line: " .. tostring(rw))
    return p
end

function kinds.barrier(n)
    local b <close> = mp.barrier { parties = 2, action = who == "actor" and function() end or nil }
    local p = start(function(x)
        for i = 1, 3 do
            while i % 2 == 1 and x:waiting() == 0 and not x:is_broken() do mp.sleep(0.001) end
            x:wait()
        end
        x:wait(0)
    end, n, b)
    for i = 1, 3 do
        if i % 2 == 0 then wait_until(p, function() return b:waiting() == 1 end) end
        local place, word = b:wait(LIMIT)
        check(place or word == "broken", "no place")
        check(i > 1 or place or not p:is_alive() or p:join(LIMIT), "it is broken, and nobody died")
    end
    check(p:join(20), "the victim hangs")
    b:reset()
    check(not b:is_broken() and b:waiting() == 0, "it is not whole: " .. tostring(b))
    local q = start(function(x) return x:wait(LIMIT) end, nil, b)
    check(b:wait(LIMIT), "no round is whole: " .. tostring(b))
    check(q:result(LIMIT), "no round is whole for others")
    q:close()
    return p
end

function kinds.condition(n)
    local c <close> = mp.condition()
    local p = start(function(x)
        local _ <close> = x:hold()
        x:wait()
        x:wait(0.01)
        x:notify(2)
    end, n, c)
    local other = start(function(x)
        local _ <close> = x:hold()
        return x:wait()
    end, nil, c)
    wait_until(p, function() return waiting(c) == 2 end)
    wait_until(other, function() return waiting(c) >= 1 end)
    if waiting(c) == 2 then c:with(function() c:notify(2) end) end
    check(p:join(20), "the victim hangs")
    check(c:acquire(LIMIT), "the lock is stuck")
    c:notify_all()
    c:release()
    check(other:result(LIMIT), "another one was not told")
    other:close()
    check(waiting(c) == 0, "somebody waits: " .. tostring(c))
    return p
end

local n, code, kills = 0, nil, -1
repeat
    n = n + math.max(1, n // 2) -- the first times, and some further on
    local ok, p = pcall(kinds[kind], n)
    if not ok then error(("killed at %s:%d: %s"):format(point, n, tostring(p)), 0) end
    code = p.exitcode
    p:close()
    if code ~= 0 and code ~= -9 then error(("status %d at %s:%d"):format(code, point, n), 0) end
    kills = kills + 1
until code == 0
print(kills)
]=]

-- Runs the script of which the words are given: how often somebody was killed.
local function run(...)
    local words = table.concat({ ... }, " ")
    local result = helper.run(("timeout 100 %s %s %s"):format(helper.host, helper.script(script), words))
    assert.same({ 0, "" }, { result.status, result.stderr }, words)
    return math.tointeger(tonumber(result.stdout))
end

describe("a process that is killed at any step, whenever it comes there, leaves whole", function()
    for _, case in ipairs { { "rwlock" }, { "barrier" }, { "barrier", "actor" }, { "condition" } } do
        local kind, who = case[1], case[2] or ""
        it(("a %s %s"):format(kind, who), function()
            local total = 0
            for _, header in ipairs { "change", kind } do
                for _, point in ipairs(names_of(tables[header])) do
                    local n = run(kind, point, who)
                    -- of the ways of a barrier each run has some
                    assert.is_true(n > 0 or kind == "barrier", point)
                    total = total + n
                end
            end
            assert.is_true(total >= 6, total)
        end)
    end

    it("a barrier in whose action it was to be", function()
        assert.is_true(run("barrier", "barrier.act.A1", "actor") > 0)
        assert.is_true(run("barrier", "barrier.break.B1") > 0)
        assert.is_true(run("barrier", "barrier.wait.W1") > 0)
        assert.is_true(run("barrier", "barrier.wait.W2") > 0)
        assert.is_true(run("barrier", "barrier.wait.W3") > 0)
    end)
end)

describe("a process that is killed while it gives back what a dead one had leaves whole", function()
    for _, step in ipairs { "M1", "M2", "M3" } do
        it("a rwlock, at " .. step, function()
            local result = helper.script_run(([[
                local rw, q = mp.rwlock(), mp.queue()
                local p = mp.process { stderr = "null", env = { LUAMP_FAULT = "change.make.%s" }, target = function()
                    local dead = mp.process { stderr = "null", env = { LUAMP_FAULT = "" }, target = function()
                        rw.write:acquire()
                        os.execute("kill -KILL " .. mp.getpid())
                    end }
                    dead:start():join()
                end }:start()
                p:join()
                print(p.exitcode, rw.read:acquire(1))
                rw.read:release()
                print(rw.write:acquire(1))]]):format(step))
            assert.same({ 0, "", "-9\ttrue\tabandoned\ntrue\n" }, { result.status, result.stderr, result.stdout })
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
