-- barrier_spec.lua: mp.barrier: who is let go and when, what breaks it and what makes it whole, its
-- action, misuse; in scopes, interrupted waits and the report of a deadlock. sync_kills_spec kills many.
local helper = require "spec.helper"
local mp = require "luamp"
local waking = require "spec.waking"

local misuse, started, result_of = helper.misuse, helper.started, helper.result_of

local MOMENT <const> = 1 -- seconds that what takes 100 ms at most may take on a busy machine

local function is_waiting(b, n)
    helper.wait_until(function() return b:waiting() == n end, n .. " in the barrier")
end

local function wait(b, timeout) return b:wait(timeout) end

-- Processes that wait there, which have come one after the other.
local function waiters(b, n, f)
    local list, before = {}, b:waiting()
    for i = 1, n do
        list[i] = started(f or wait, b)
        is_waiting(b, before + i)
    end
    return list
end

local function results(list)
    local all = {}
    for i, p in ipairs(list) do
        all[i] = table.pack(p:result(20))
        all[i].n = nil
        p:close()
    end
    return all
end

local broken = { nil, "broken" }

describe("a barrier", function()
    it("lets its processes go when the last has come, and tells each its place", function()
        local b = mp.barrier(3)
        local list = waiters(b, 2)
        assert.is_false(mp.wait({ list[1] }, 0.1)[1] ~= nil)
        assert.equal(3, b:wait())
        assert.same({ { 1 }, { 2 } }, results(list))
        assert.same({ 0, 3, false }, { b:waiting(), b.parties, b:is_broken() })
    end)

    it("is there for the next round at once, whoever has not left the last one", function()
        local b, q = mp.barrier(2), mp.queue()
        local function work(barrier, queue)
            for round = 1, 500 do
                queue:put(round)
                barrier:wait()
                if #queue % 2 ~= 0 and #queue < 2 * round then error "somebody is ahead by a round" end
            end
            return "done"
        end
        local list = { started(work, b, q), started(work, b, q) }
        assert.same({ { "done" }, { "done" } }, results(list))
        for i = 1, 1000 do assert.equal((i + 1) // 2, q:get(0)) end
    end)

    it("of one lets it go", function()
        assert.equal(1, mp.barrier(1):wait(0))
    end)

    it("may have more processes than parties", function()
        local b = mp.barrier(2)
        local list = {}
        for i = 1, 6 do list[i] = started(wait, b) end
        local places = {}
        for _, r in ipairs(results(list)) do places[r[1]] = (places[r[1]] or 0) + 1 end
        assert.same({ 3, 3 }, places)
    end)

    it("wakes who waits", function()
        local b = mp.barrier(2)
        local median = waking.median(b, function() end, wait, wait)
        assert.is_true(median < waking.soon)
    end)

    it("is the same in each process, and prints how many wait", function()
        local b, q = mp.barrier(2), mp.queue()
        q:put { b }
        assert.equal(b, q:get()[1])
        assert.matches("^mp.barrier: 0x%x+ %(0/2%)$", tostring(b))
        local list = waiters(b, 1)
        assert.matches("%(1/2%)$", tostring(b))
        assert.matches("%(1/2%)$", result_of(tostring, b))
        b:abort()
        assert.matches("%(broken%)$", tostring(b))
        assert.same({ broken }, results(list))
        b:close()
        b:close()
        assert.matches("%(closed%)$", tostring(b))
    end)
end)

describe("a barrier breaks for all", function()
    it("when the time of one has passed, not earlier", function()
        local b = mp.barrier(3)
        local list = waiters(b, 1)
        local t = mp.clock()
        assert.same(broken, { b:wait(0.2) })
        assert.is_true(mp.clock() - t >= 0.2)
        assert.same({ broken }, results(list))
        assert.is_true(b:is_broken())
        assert.same(broken, { b:wait() })
        assert.equal(0, b:waiting())
    end)

    it("at once with a limit of 0 unless all are there", function()
        local b = mp.barrier(2)
        assert.same(broken, { b:wait(0) })
        b:reset()
        local list = waiters(b, 1)
        assert.equal(2, b:wait(0))
        assert.same({ { 1 } }, results(list))
    end)

    it("by the limit that it was made with, unless a wait has one", function()
        local b = mp.barrier { parties = 2, timeout = 0.1 }
        local p = started(function(barrier) return barrier:wait(20) end, b)
        is_waiting(b, 1)
        mp.sleep(0.3)
        assert.equal(2, b:wait())
        assert.same({ { 1 } }, results { p })
        assert.same(broken, { b:wait() })
    end)

    it("by abort", function()
        local b = mp.barrier(3)
        local list = waiters(b, 2)
        b:abort()
        assert.same({ broken, broken }, results(list))
        assert.is_true(b:is_broken())
    end)

    it("by the death of one that waits, soon", function()
        for _, how in ipairs { "kill", "terminate" } do
            local b = mp.barrier(3)
            local list = waiters(b, 2)
            list[1][how](list[1])
            helper.wait_until(function() return not helper.alive(list[1].pid) end, "its death")
            local t = mp.clock()
            assert.same(broken, { b:wait() })
            assert.same({ broken }, results { list[2] })
            assert.is_true(mp.clock() - t < MOMENT)
            list[1]:join()
            list[1]:close()
        end
    end)

    it("not by that of one that waits no more", function()
        local b = mp.barrier(2)
        local list = waiters(b, 1, function(barrier) barrier:wait() mp.sleep(100) end)
        b:wait()
        list[1]:kill()
        list[1]:join()
        list[1]:close()
        list = waiters(b, 1)
        assert.equal(2, b:wait(20))
        assert.same({ { 1 } }, results(list))
    end)

    it("by an error of a signal's handler in a wait, but not by a signal", function()
        local b = mp.barrier(2)
        local function with_handler(barrier, e)
            local n = 0
            mp.on_signal("SIGUSR1", function()
                n = n + 1
                if e then error "enough" end
            end)
            local ok, place = pcall(barrier.wait, barrier)
            return n, ok, ok and place
        end
        local p = started(with_handler, b)
        is_waiting(b, 1)
        p:signal "SIGUSR1"
        mp.sleep(0.2)
        assert.equal(2, b:wait(20))
        assert.same({ { 1, true, 1 } }, results { p })
        p = started(with_handler, b, true)
        is_waiting(b, 1)
        p:signal "SIGUSR1"
        assert.same({ { 1, false, false } }, results { p })
        assert.same(broken, { b:wait(20) })
    end)

    it("by the failure of a scope whose function waits in it", function()
        local b = mp.barrier(2)
        local e = helper.fails({ kind = "error" }, mp.scope, function(s)
            s:start { target = function(barrier)
                while barrier:waiting() ~= 1 do mp.sleep(0.01) end
                error "failed"
            end, args = { b }, stderr = "null" }
            b:wait()
        end)
        assert.matches("failed", tostring(e))
        assert.is_true(b:is_broken())
    end)

    it("by Ctrl-C in a wait", function()
        local run = require "spec.driver".signalled { signal = "INT", alone = true, asleep = true, script = [[
            local mp = require "luamp"
            local b = mp.barrier(2)
            local ok, e = pcall(function()
                print "ready"
                io.flush()
                b:wait(20)
            end)
            print(ok, e.kind, b:is_broken())]] }
        assert.equal("false\tinterrupted\ttrue\n", run.stdout)
    end)
end)

describe("reset", function()
    it("makes a broken barrier whole", function()
        local b = mp.barrier(2)
        b:abort()
        b:reset()
        assert.is_false(b:is_broken())
        local list = waiters(b, 1)
        assert.equal(2, b:wait())
        results(list)
    end)

    it("breaks the round of those that wait, and no other", function()
        local b = mp.barrier(3)
        local list = waiters(b, 2)
        b:reset()
        assert.is_false(b:is_broken())
        assert.same({ broken, broken }, results(list))
        list = waiters(b, 2)
        assert.equal(3, b:wait(20))
        assert.same({ { 1 }, { 2 } }, results(list))
    end)

    it("lets nobody into the next round before the slow ones have left the broken one", function()
        local b = mp.barrier(2)
        local slow = waiters(b, 1)[1]
        slow:signal "SIGSTOP"
        b:reset()
        local list = { started(wait, b), started(wait, b) }
        assert.is_nil(mp.wait({ list[1], list[2] }, 0.3)[1])
        slow:signal "SIGCONT"
        assert.same({ broken }, results { slow })
        local places = results(list)
        assert.equal(3, places[1][1] + places[2][1])
    end)
end)

describe("the action of a barrier", function()
    it("runs in the last to come, before any is let go", function()
        local q = mp.queue()
        local b = mp.barrier { parties = 3, action = function() mp.sleep(0.1) q:put(mp.getpid()) end }
        local function work(barrier, queue)
            local place = barrier:wait()
            return place, #queue, mp.getpid()
        end
        local list = waiters(b, 2, function(barrier) return work(barrier, q) end)
        local p = started(work, b, q)
        local all = results { list[1], list[2], p }
        for place = 1, 3 do assert.same({ place, 1 }, { all[place][1], all[place][2] }) end
        assert.equal(all[3][3], q:get())
    end)

    it("keeps what it changed from round to round, in each process", function()
        local q, n = mp.queue(), 0
        local b = mp.barrier { parties = 1, action = function() n = n + 1 q:put(n) end }
        b:wait()
        b:wait()
        assert.equal(2, n)
        local p = started(function(barrier) barrier:wait() barrier:wait() end, b)
        results { p }
        local list = q:get_many(10)
        assert.same({ 1, 2 }, { list[1], list[2] })
        assert.equal(list[3] + 1, list[4])
    end)

    it("that raises breaks the barrier, and raises there", function()
        local b = mp.barrier { parties = 2, action = function() error { code = 7 } end }
        local list = waiters(b, 1)
        local ok, e = pcall(b.wait, b)
        assert.same({ false, 7 }, { ok, e.code })
        assert.same({ broken }, results(list))
        assert.is_true(b:is_broken())
    end)

    it("breaks the barrier when its process dies in it, or leaves", function()
        for how, f in pairs { kill = function() mp.sleep(100) end, exit = function() os.exit(3) end } do
            local b = mp.barrier { parties = 2, action = f }
            local list = waiters(b, 1)
            local p = started(wait, b)
            if how == "kill" then
                is_waiting(b, 2)
                p:kill()
            end
            assert.same({ broken }, results(list))
            p:join()
            p:close()
        end
    end)

    it("does not keep others from their time limits", function()
        local go = mp.event()
        local b = mp.barrier { parties = 2, action = function() go:wait() end }
        local p = started(function(barrier) return barrier:wait(0.2) end, b)
        is_waiting(b, 1)
        local last = started(wait, b)
        assert.same({ broken }, results { p })
        go:set()
        assert.same({ broken }, results { last })
    end)

    it("cannot wait there itself", function()
        local b
        b = mp.barrier { parties = 1, action = function() local _ = b and b:wait() end }
        helper.fails("mp.barrier: wait: this process waits there already", b.wait, b)
    end)

    it("must be sendable", function()
        local co = coroutine.create(print)
        helper.fails({ kind = "unsendable" }, mp.barrier, { parties = 2, action = function() return co end })
    end)
end)

describe("mp.barrier", function()
    it("names what is wrong with its options", function()
        misuse("mp.barrier: the number of processes must be an integer from 1 on, not 0", function() mp.barrier(0) end)
        misuse("mp.barrier: the number of processes must be an integer from 1 on, not nothing",
            function() mp.barrier() end)
        misuse("mp.barrier: option 'parties' must be an integer from 1 on, not nothing", function() mp.barrier {} end)
        misuse("mp.barrier: option 'action' must be a function, not 7",
            function() mp.barrier { parties = 1, action = 7 } end)
        misuse("mp.barrier: option 'timeout' must be a number of seconds",
            function() mp.barrier { parties = 1, timeout = "1" } end)
        misuse("mp.barrier: unknown option 'party' (did you mean 'parties'?)", function() mp.barrier { party = 2 } end)
        misuse("and nothing else", function() mp.barrier(1, 2) end)
    end)

    it("has read-only fields, and says so when it is closed", function()
        local b = mp.barrier(2)
        misuse("mp.barrier: field 'parties' is read-only", function() b.parties = 3 end)
        misuse("mp.barrier: wait: the timeout must be a number of seconds, not string", function() b:wait "1" end)
        b:close()
        misuse("mp.barrier: wait: it is closed in this process", function() b:wait() end)
        helper.fails("mp.barrier: parties: it is closed", function() return b.parties end)
    end)

    it("is not for mp.wait, and stands in the report of a deadlock", function()
        local b = mp.barrier(2)
        misuse("mp.wait: item 1, an mp.barrier: there is nothing to be waited for", function() mp.wait { b } end)
        local run = helper.script_run [[
            local b = mp.barrier(3)
            local p = mp.process { name = "other", target = function(x) x:wait() end, args = { b } }:start()
            b:wait()]]
        assert.equal(1, run.status)
        assert.matches("deadlock, nobody can go on:", run.stderr)
        assert.matches("process 'main' %(pid %d+%) waits for mp.barrier: 0x%x+ %(2/3%)", run.stderr)
        assert.matches("process 'other' %(pid %d+%) waits for mp.barrier: ", run.stderr)
    end)
end)
