-- event_spec.lua: mp.event: set, clear, is_set and wait, among processes that are killed, in mp.wait,
-- event loops and scopes.
local helper = require "spec.helper"
local mp = require "luamp"
local waking = require "spec.waking"

local misuse, started, result_of = helper.misuse, helper.started, helper.result_of

local function end_of(p, how)
    if how then p[how](p) end
    p:join()
    p:close()
end

describe("an event", function()
    it("is set until it is cleared, for all processes", function()
        local e = mp.event()
        assert.is_false(e:is_set())
        assert.matches("^mp.event: 0x%x+ %(not set%)$", tostring(e))
        for _ = 1, 2 do
            assert.equal(0, select("#", e:set()))
            assert.is_true(e:is_set())
            assert.is_true(result_of(function(event) return event:is_set() end, e))
        end
        assert.matches(" %(set%)$", tostring(e))
        for _ = 1, 2 do
            assert.equal(0, select("#", result_of(function(event) return event:clear() end, e)))
            assert.is_false(e:is_set())
        end
    end)

    it("that is set lets each wait go on, at once", function()
        local e = mp.event()
        e:set()
        for _ = 1, 3 do assert.same({ true }, { e:wait() }) end
        assert.same({ true }, { e:wait(0) })
        assert.is_true(result_of(function(event) return event:wait() end, e))
    end)

    it("that is not gives nil and a word when time ends first, not earlier", function()
        local e = mp.event()
        for _, timeout in ipairs { 0, -1, 0.2 } do
            local t = mp.clock()
            assert.same({ nil, "timeout" }, { e:wait(timeout) })
            assert.is_true(mp.clock() - t >= timeout)
        end
    end)

    it("wakes all that wait", function()
        local e = mp.event()
        local function wait_for_several(event)
            mp.wait { event, mp.queue() }
        end
        assert.is_true(waking.median(e, e.clear, function(event) event:wait() end, e.set) < waking.soon)
        assert.is_true(waking.median(e, e.clear, wait_for_several, e.set) < waking.soon)
        local processes = {}
        e:clear()
        for i = 1, 5 do processes[i] = started(function(event) return event:wait() end, e) end
        mp.sleep(0.05)
        e:set()
        for _, p in ipairs(processes) do
            assert.is_true(p:result())
            end_of(p)
        end
    end)

    it("that is cleared at once has been seen by all that waited", function()
        local e, ready, processes = mp.event(), mp.queue(), {}
        for i = 1, 3 do
            processes[i] = started(function(event, queue)
                queue:put(true)
                return event:wait(3)
            end, e, ready)
            ready:get()
        end
        mp.sleep(0.05) -- they wait
        for _, p in ipairs(processes) do
            p:signal "SIGSTOP"
            helper.wait_until(function() return helper.read("/proc/" .. p.pid .. "/stat"):find "%) T " end, "the stop")
        end
        e:set()
        e:clear()
        for _, p in ipairs(processes) do p:signal "SIGCONT" end
        for _, p in ipairs(processes) do
            assert.is_true((p:result()))
            end_of(p)
        end
        assert.same({ nil, "timeout" }, { e:wait(0) })
    end)

    it("goes on working when waiters and setters are killed", function()
        local e = mp.event()
        for _ = 1, 20 do
            local p = started(function(event) event:wait() end, e)
            local s = started(function(event) while true do event:set() event:clear() end end, e)
            mp.sleep(math.random() / 100)
            end_of(p, "kill")
            end_of(s, "kill")
            e:clear()
            local waiter = started(function(event) return event:wait() end, e)
            mp.sleep(0.002)
            e:set()
            assert.is_true(waiter:result())
            end_of(waiter)
        end
    end)

    it("is the same in each process, also after its maker's end", function()
        local q = mp.queue()
        end_of(started(function(queue) local e = mp.event() e:set() queue:put { e } end, q))
        local e = q:get()[1]
        assert.is_true(e:is_set())
        q:put(e)
        assert.equal(e, q:get())
    end)
end)

describe("mp.wait and event loops:", function()
    it("an event is ready while it is set", function()
        local e = mp.event()
        assert.same({}, mp.wait({ e }, 0))
        e:set()
        assert.same({ e }, mp.wait { e })
        e:clear()
        assert.same({}, mp.wait({ e }, 0))
        assert.equal("r", e:events())
        local fd = e:pollfd()
        assert.equal(fd, e:pollfd())
        assert.same({}, mp.wait({ fd }, 0.1))
        local p = started(function(event) mp.sleep(0.1) event:set() end, e)
        assert.same({ e }, mp.wait { e })
        assert.same({ fd }, mp.wait({ fd }, 10))
        end_of(p)
        e:clear()
        assert.same({}, mp.wait({ fd }, 0))
    end)

    it("in a scope, a failure of what it started ends the wait, and a moment's set does", function()
        local e = mp.event()
        helper.fails("the failure", mp.scope, function(s)
            s:start(function() mp.sleep(0.1) error "the failure" end)
            e:wait()
        end)
        for _, timeout in ipairs { 20, false } do
            local ready = mp.queue()
            assert.is_true(mp.scope(function(s)
                s:start(function()
                    ready:get()
                    mp.sleep(0.1)
                    e:set()
                    e:clear()
                    mp.sleep(0.2)
                end)
                ready:put(true)
                return (e:wait(timeout or nil))
            end))
        end
    end)
end)

it("a wait for an event that nobody can set is a deadlock, and is told", function()
    local e = mp.event()
    local report = helper.fails({ kind = "deadlock" }, e.wait, e)
    assert.is_truthy(report.message:find("waits for " .. tostring(e), 1, true))
end)

describe("misuse:", function()
    it("an event takes no options, a timeout is a number, a handle that is closed is gone", function()
        misuse("mp.event: it takes no options and no arguments", function() mp.event(true) end)
        local e = mp.event {}
        misuse("mp.event: wait: the timeout must be a number of seconds, not string", function() e:wait "1" end)
        misuse("mp.event: wait: the timeout is not a number (NaN)", function() e:wait(0 / 0) end)
        misuse("mp.event: set: it must be called with a colon, on such an object", function() e.set() end)
        misuse("mp.event: is_set: it must be called with a colon", function() e.is_set(mp.queue()) end)
        misuse("mp.event: its fields cannot be assigned ('flag')", function() e.flag = 1 end)
        e:close()
        e:close()
        misuse("mp.event: wait: it is closed in this process", function() e:wait() end)
        assert.matches("%(closed%)$", tostring(e))
    end)
end)

it("an event is given back when nobody has it", function()
    local function count()
        collectgarbage()
        collectgarbage()
        return mp.memory().kinds.events.count
    end
    local before = count()
    local e = mp.event()
    assert.equal(before + 1, count())
    end_of(started(function(event) event:set() end, e))
    e = nil -- luacheck: ignore
    assert.equal(before, count())
end)
