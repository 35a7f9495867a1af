-- condition_spec.lua: mp.condition: who is told and in which order, the lock that a wait gives up and
-- has back, what becomes of notifications of the dead, misuse; in scopes, interrupted waits and the
-- report of a deadlock. sync_kills_spec kills many.
local helper = require "spec.helper"
local mp = require "luamp"
local waking = require "spec.waking"

local misuse, started, result_of = helper.misuse, helper.started, helper.result_of

local MOMENT <const> = 1 -- seconds that what takes 100 ms at most may take on a busy machine

local function n_waiting(c) return math.tointeger(tostring(c):match "%((%d+) waiting") end

local function are_waiting(c, n)
    helper.wait_until(function() return n_waiting(c) == n end, n .. " waiters")
end

local function wait(c, timeout)
    local _ <close> = c:hold()
    return c:wait(timeout)
end

-- Processes that wait there, one behind the other.
local function waiters(c, n, f)
    local list, before = {}, n_waiting(c)
    for i = 1, n do
        list[i] = started(f or wait, c)
        are_waiting(c, before + i)
    end
    return list
end

local function notify(c, n)
    c:with(function() c:notify(n) end)
end

local function ended(list)
    local n = 0
    for _, p in ipairs(list) do n = n + (p:is_alive() and 0 or 1) end
    return n
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

local function end_of(p, how)
    if how then p[how](p) end
    p:join()
    p:close()
end

describe("a condition", function()
    it("tells one by default, the first that waits, or more, or all", function()
        local c = mp.condition()
        local list = waiters(c, 6)
        notify(c)
        assert.same({ { true } }, results { table.remove(list, 1) })
        notify(c, 2)
        assert.same({ { true }, { true } }, results { table.remove(list, 1), table.remove(list, 1) })
        mp.sleep(0.2)
        assert.same({ 0, 3 }, { ended(list), n_waiting(c) })
        c:with(c.notify_all, c)
        assert.same({ { true }, { true }, { true } }, results(list))
    end)

    it("tells nobody later who comes after", function()
        local c = mp.condition()
        notify(c, 5)
        notify(c, 0)
        assert.same({ nil, "timeout" }, { wait(c, 0.1) })
    end)

    it("gives up its lock in a wait, whatever its depth, and has it back after", function()
        for _, l in ipairs { mp.lock(), mp.rlock() } do
            local c = mp.condition(l)
            local p = started(function(x, lock, is_recursive)
                lock:acquire()
                if is_recursive then lock:acquire() end
                local word = x:wait()
                if is_recursive then lock:release() end
                local held = tostring(lock):find "held by" ~= nil
                lock:release()
                return word, held, lock:is_locked()
            end, c, l, tostring(l):find "rlock" ~= nil)
            are_waiting(c, 1)
            assert.is_true(l:acquire(20))
            c:notify()
            l:release()
            assert.same({ { true, true, false } }, results { p })
        end
    end)

    it("has the lock back also when time ends first, not earlier", function()
        local c = mp.condition()
        c:acquire()
        local t = mp.clock()
        assert.same({ nil, "timeout" }, { c:wait(0.2) })
        assert.is_true(mp.clock() - t >= 0.2)
        assert.same({ nil, "timeout" }, { c:wait(0) })
        assert.is_false(result_of(function(x) return x:acquire(0) or false end, c))
        c:release()
        assert.is_true(result_of(function(x) return (x:acquire(0)) end, c))
    end)

    it("is acquired, held and released as its lock is", function()
        local l = mp.lock()
        local c = mp.condition(l)
        assert.is_true(c:acquire())
        assert.is_true(l:is_locked())
        misuse("mp.lock: acquire: this process holds it", function() c:acquire() end)
        l:release()
        do
            local _ <close> = c:hold(0)
            assert.is_true(l:is_locked())
        end
        assert.same({ 1, 2 }, { c:with(function(...) return ... end, 1, 2) })
        assert.is_false(l:is_locked())
        misuse("mp.lock: release: this process does not hold it", function() c:release() end)
        local own = mp.condition()
        own:acquire()
        assert.is_true(own:acquire())
        own:release()
        own:release()
    end)

    it("loses nothing between giving the lock up and sleeping", function()
        local c, q = mp.condition(), mp.queue()
        local p = started(function(x, queue)
            local _ <close> = x:hold()
            for _ = 1, 2000 do
                queue:put "now"
                x:wait()
            end
            return "done"
        end, c, q)
        for _ = 1, 2000 do
            q:get()
            notify(c)
        end
        assert.same({ { "done" } }, results { p })
    end)

    it("wakes whom it tells", function()
        local c = mp.condition()
        local function prepare() end
        local median = waking.median(c, prepare, function(x) x:with(x.wait, x) end,
            function(x)
                while not tostring(x):find "%(1 waiting" do end
                x:with(x.notify, x)
            end)
        assert.is_true(median < waking.soon)
    end)

    it("is the same in each process, with its lock", function()
        local l = mp.lock()
        local c, q = mp.condition(l), mp.queue()
        q:put { c, l }
        local got = q:get()
        assert.same({ c, l }, { got[1], got[2] })
        c:acquire()
        assert.is_false(result_of(function(x) return x:acquire(0) or false end, c))
        c:release()
        local p = started(function(queue) queue:put(mp.condition()) end, q)
        end_of(p)
        local made = q:get()
        assert.is_true(made:acquire(0))
        assert.matches("^mp.condition: 0x%x+ %(0 waiting, mp.rlock: 0x%x+ %(held by process 'main' ", tostring(made))
        made:close()
        assert.matches("%(closed%)$", tostring(made))
    end)
end)

describe("wait_for", function()
    it("waits until its function says so, and gives what that says", function()
        local c, q = mp.condition(), mp.queue()
        local p = started(function(x, queue)
            local _ <close> = x:hold()
            return x:wait_for(function() return #queue >= 3 and "three" end)
        end, c, q)
        for i = 1, 3 do
            are_waiting(c, 1)
            q:put(i)
            c:with(c.notify_all, c)
        end
        assert.same({ { "three" } }, results { p })
        c:acquire()
        assert.equal(7, c:wait_for(function() return 7 end))
    end)

    it("gives up when time ends first, after a last look", function()
        local c = mp.condition()
        c:acquire()
        local n, t = 0, mp.clock()
        assert.same({ nil, "timeout" }, { c:wait_for(function() n = n + 1 return false end, 0.2) })
        assert.is_true(mp.clock() - t >= 0.2)
        assert.equal(2, n)
        assert.equal("late", c:wait_for(function() n = n + 1 return n == 4 and "late" end, 0.1))
        helper.fails("no answer", c.wait_for, c, function() error "no answer" end, 1)
    end)
end)

describe("a notification", function()
    it("is not spent on one that has died, or given up, before", function()
        local c = mp.condition()
        local list = waiters(c, 1)
        local late = started(wait, c, 0.3)
        are_waiting(c, 2)
        local last = started(wait, c)
        are_waiting(c, 3)
        list[1]:kill()
        helper.wait_until(function() return not helper.alive(list[1].pid) end, "its death")
        assert.same({ nil, "timeout" }, { late:result(20) })
        late:close()
        notify(c)
        assert.same({ { true } }, results { last })
        end_of(list[1])
    end)

    it("of one that dies before it has the lock back goes to the next", function()
        local c = mp.condition()
        local list = waiters(c, 2)
        c:acquire()
        c:notify()
        list[1]:kill()
        helper.wait_until(function() return not helper.alive(list[1].pid) end, "its death")
        c:release()
        local t = mp.clock()
        assert.same({ true }, { list[2]:result(20) })
        assert.is_true(mp.clock() - t < MOMENT)
        list[2]:close()
        end_of(list[1])
    end)

    it("of one whose wait ends with an error goes to the next", function()
        local c = mp.condition()
        local list = waiters(c, 1, function(x)
            mp.on_signal("SIGUSR1", function() error "enough" end)
            local _ <close> = x:hold()
            local ok, e = pcall(x.wait, x)
            return ok, tostring(e):match "enough"
        end)
        list[2] = waiters(c, 1)[1]
        c:acquire()
        c:notify()
        list[1]:signal "SIGUSR1"
        mp.sleep(0.05)
        c:release()
        assert.same({ { false, "enough" }, { true } }, results(list))
    end)

    it("is not lost with a notifier that is killed after it", function()
        local c = mp.condition()
        local list = waiters(c, 1)
        local p = started(function(x)
            x:acquire()
            x:notify()
            os.exit(3)
        end, c)
        p:join()
        p:close()
        assert.same({ { true, "abandoned" } }, results(list))
    end)
end)

describe("a wait", function()
    it("tells that the lock was abandoned", function()
        local c = mp.condition()
        c:acquire()
        local p = started(function(x) x:acquire() mp.sleep(100) end, c)
        local q = started(function(x, process)
            while not tostring(x):find("held by process.*" .. process) do mp.sleep(0.01) end
            mp.sleep(0.3)
            os.execute("kill -KILL " .. process)
        end, c, p.pid)
        assert.same({ nil, "timeout", "abandoned" }, { c:wait(0.2) })
        end_of(q)
        end_of(p)
    end)

    it("that is ended by an error has the lock back, for the scope that holds it", function()
        local c, said = mp.condition(), nil
        local e = helper.fails({ kind = "error" }, mp.scope, function(s)
            s:start { target = function(x)
                while not tostring(x):find "%(1 waiting" do mp.sleep(0.01) end
                error "failed"
            end, args = { c }, stderr = "null" }
            local _ <close> = c:hold()
            local _, failure = pcall(c.wait, c)
            said = tostring(c)
            error(failure, 0)
        end)
        assert.matches("failed", tostring(e))
        assert.matches("held by process 'main'", said)
        assert.is_true(result_of(function(x) return (x:acquire(0)) end, c))
    end)

    it("whose lock another one keeps hears an error, and goes on without it", function()
        local c = mp.condition()
        local p = waiters(c, 1, function(x)
            mp.on_signal("SIGUSR1", function() error("heard", 0) end)
            x:acquire()
            local _, e = pcall(x.wait, x)
            return e, select(2, pcall(x.release, x))
        end)[1]
        c:acquire()
        c:notify() -- so that it has but to get the lock back
        p:signal "SIGUSR1"
        local heard, misuse_then = table.unpack(results { p }[1])
        assert.equal("heard", heard)
        assert.matches("release: this process does not hold it", misuse_then)
        c:release()
    end)

    it("whose lock another one keeps hears a failure of its scope", function()
        local c, kept, began = mp.condition(), mp.event(), mp.clock()
        local e = helper.fails({ kind = "error" }, mp.scope, function(s)
            s:start(function(x)
                while not tostring(x):find "%(1 waiting" do mp.sleep(0.01) end
                x:acquire()
                x:notify()
                kept:set()
                mp.sleep(100)
            end, c)
            s:start(function()
                kept:wait()
                error "failed"
            end)
            wait(c)
        end)
        assert.matches("failed", tostring(e))
        assert.is_true(mp.clock() - began < 20)
    end)

    it("touches nothing more when a handler has closed both", function()
        local e, n = result_of(function()
            local l, others, n = mp.lock(), {}, 0
            local c = mp.condition(l)
            c:acquire()
            mp.on_signal("SIGUSR1", function()
                c:close()
                l:close()
                for i = 1, 200 do others[i] = mp.lock() end -- one of them where that was
            end)
            os.execute(("(sleep 0.2; kill -USR1 %d) &"):format(mp.getpid()))
            local _, e = pcall(c.wait, c, 20)
            for _, other in ipairs(others) do n = n + (other:is_locked() and 1 or 0) end
            return e, n
        end)
        assert.matches("condition_spec.lua:%d+: mp.condition: it was closed meanwhile$", e)
        assert.equal(0, n)
    end)

    it("goes on after a signal's handler", function()
        local c = mp.condition()
        local p = waiters(c, 1, function(x)
            local n = 0
            mp.on_signal("SIGUSR1", function() n = n + 1 end)
            local word = wait(x)
            return n, word
        end)[1]
        p:signal "SIGUSR1"
        mp.sleep(0.2)
        notify(c)
        assert.same({ { 1, true } }, results { p })
    end)

    it("in a scope is told, too", function()
        local c = mp.condition()
        assert.same({ true }, { mp.scope(function(s)
            s:start(function(x)
                while not tostring(x):find "%(1 waiting" do mp.sleep(0.01) end
                x:with(x.notify, x)
            end, c)
            return wait(c)
        end) })
    end)
end)

describe("mp.condition", function()
    it("takes a lock and nothing else", function()
        local text = "mp.condition: expected an mp.lock or mp.rlock that is open, and nothing else; the first is "
        misuse(text .. "1", function() mp.condition(1) end)
        misuse(text, function() mp.condition(mp.lock(), 1) end)
        misuse(text .. "an mp.event", function() mp.condition(mp.event()) end)
        misuse(text, function() mp.condition(mp.rwlock().write) end)
        misuse(text, function() local l = mp.lock() l:close() mp.condition(l) end)
    end)

    it("raises in a process that does not hold its lock", function()
        local c = mp.condition()
        local text = ": this process does not hold its lock"
        misuse("mp.condition: wait" .. text, function() c:wait() end)
        misuse("mp.condition: wait_for" .. text, function() c:wait_for(print) end)
        misuse("mp.condition: notify" .. text, function() c:notify() end)
        misuse("mp.condition: notify_all" .. text, function() c:notify_all() end)
        c:acquire()
        helper.fails("mp.condition: notify" .. text, result_of, function(x) x:notify() end, c)
        helper.fails("does not hold its lock", c.wait_for, c, function() c:release() end)
    end)

    it("names what is wrong with arguments", function()
        local c = mp.condition()
        c:acquire()
        misuse("mp.condition: notify: the number must be an integer from 0 on, not -1", function() c:notify(-1) end)
        misuse("mp.condition: notify: the number must be an integer from 0 on, not 1.5", function() c:notify(1.5) end)
        misuse("mp.condition: notify: the number must be an integer from 0 on, not NaN", function() c:notify(0 / 0) end)
        misuse("mp.condition: notify: the number must be an integer from 0 on, not the string \"x\"",
            function() c:notify "x" end)
        misuse("mp.condition: wait: the timeout must be a number of seconds", function() c:wait "1" end)
        misuse("mp.condition: wait_for: expected a function, not no value", function() c:wait_for() end)
        misuse("mp.condition: its fields cannot be assigned ('x')", function() c.x = 1 end)
        c:close()
        misuse("mp.condition: wait: it is closed in this process", function() c:wait() end)
    end)

    it("stands in the report of a deadlock", function()
        local run = helper.script_run [[
            local c = mp.condition()
            c:acquire()
            c:wait()]]
        assert.equal(1, run.status)
        assert.matches("deadlock, nobody can go on:", run.stderr)
        assert.matches("process 'main' %(pid %d+%) waits for mp.condition: 0x%x+ %(1 waiting", run.stderr)
    end)

    it("leaves no memory behind", function()
        local function count()
            collectgarbage()
            collectgarbage()
            local kinds = mp.memory().kinds
            return { kinds.conditions.count, kinds.rlocks.count, kinds.barriers.count }
        end
        local before = count()
        do
            local c, b = mp.condition(), mp.barrier { parties = 1, action = function() end }
            end_of(started(function(x, y) x:acquire() y:wait() end, c, b))
        end
        assert.same(before, count())
    end)
end)
