-- lock_spec.lua: mp.lock and mp.rlock: who holds them, how long one waits, what becomes of a holder
-- that ends, misuse; and in mp.wait, event loops and the report of a deadlock. Scopes are in hold_spec,
-- semaphores and events have specs of their own; lock_kills_spec kills many holders.
local helper = require "spec.helper"
local mp = require "luamp"
local waking = require "spec.waking"

local misuse, started, result_of = helper.misuse, helper.started, helper.result_of

local MOMENT <const> = 1 -- seconds that what takes 100 ms at most may take on a busy machine

local kinds = { ["mp.lock"] = mp.lock, ["mp.rlock"] = mp.rlock }

local function each(f)
    for name, make in pairs(kinds) do f(make(), name, make) end
end

-- A process that holds the lock until it is ended, or `stop` is set.
local function holder(l, stop)
    local p = started(function(lock, e)
        lock:acquire()
        e:wait()
    end, l, stop or mp.event())
    helper.wait_until(function() return l:is_locked() end, "the holder")
    return p
end

local function end_of(p, how)
    if how then p[how](p) end
    p:join()
    p:close()
end

local function is_free(l) return result_of(function(lock) return (lock:acquire(0)) end, l) == true end

describe("a lock", function()
    it("is held by one process at a time", function()
        each(function(l)
            local q, processes = mp.queue(), {}
            for i = 1, 4 do
                processes[i] = started(function(lock, queue)
                    for _ = 1, 50 do
                        lock:acquire()
                        queue:put "in"
                        mp.sleep(0)
                        queue:put "out"
                        lock:release()
                    end
                end, l, q)
            end
            for _ = 1, 200 do assert.same({ "in", "out" }, { q:get(), (q:get()) }) end
            for _, p in ipairs(processes) do end_of(p) end
            assert.is_false(l:is_locked())
        end)
    end)

    it("gives true, and nil and a word when time ends first, not earlier", function()
        each(function(l)
            assert.same({ true }, { l:acquire() })
            l:release()
            assert.same({ true }, { l:acquire(0) })
            l:release()
            local p = holder(l)
            for _, timeout in ipairs { 0, -1, 0.2 } do
                local t = mp.clock()
                assert.same({ nil, "timeout" }, { l:acquire(timeout) })
                assert.is_true(mp.clock() - t >= timeout)
            end
            assert.same({ nil, "timeout" }, { l:hold(0) })
            end_of(p, "kill")
        end)
    end)

    it("wakes who waits when it is released", function()
        each(function(l)
            local function wait(lock)
                lock:acquire()
                lock:release()
            end
            assert.is_true(waking.median(l, l.acquire, wait, l.release) < waking.soon)
            local function wait_for_several(lock)
                mp.wait { lock, mp.queue() }
            end
            assert.is_true(waking.median(l, l.acquire, wait_for_several, l.release) < waking.soon)
        end)
    end)

    it("says whether it is locked, and by whom", function()
        each(function(l, name)
            assert.is_false(l:is_locked())
            assert.matches("^" .. name .. ": 0x%x+ %(free%)$", tostring(l))
            l:acquire()
            assert.is_true(l:is_locked())
            local by_main = "%(held by process 'main' %(pid " .. mp.getpid() .. "%)%)$"
            assert.matches("^" .. name .. ": 0x%x+ " .. by_main, tostring(l))
            assert.matches(by_main, result_of(tostring, l))
            l:release()
            local p = mp.process { name = "keeper", target = function(lock) lock:acquire() mp.sleep(100) end,
                args = { l }, stderr = "null" }:start()
            helper.wait_until(function() return l:is_locked() end, "the holder")
            assert.matches(" %(held by process 'keeper' %(pid " .. p.pid .. "%)%)$", tostring(l))
            assert.matches(" %(held by process " .. p.pid .. "%)$", result_of(tostring, l))
            end_of(p, "kill")
            assert.matches(" %(abandoned%)$", tostring(l))
            assert.is_false(l:is_locked())
        end)
    end)

    it("is the same in each process, as an argument, in an item, in a table and after its maker's end", function()
        each(function(l, _, make)
            l:acquire()
            assert.same({ nil, "timeout" }, { result_of(function(t) return t[1]:acquire(0) end, { l }) })
            local q = mp.queue()
            q:put { lock = l }
            assert.equal(l, q:get().lock)
            local made = started(function(f, queue) queue:put(f()) end, make, q)
            end_of(made)
            local other = q:get()
            assert.is_true(is_free(other))
            assert.same({ true, "abandoned" }, { other:acquire() })
            l:release()
        end)
    end)

    it("is one holder's in all coroutines of a process", function()
        local l, r = mp.lock(), mp.rlock()
        coroutine.wrap(function() l:acquire() r:acquire() end)()
        helper.fails("would wait for itself", l.acquire, l)
        assert.is_true(r:acquire())
        l:release()
        r:release()
        r:release()
    end)
end)

describe("a plain lock", function()
    it("acquired by its holder raises, also with a limit", function()
        local l = mp.lock()
        local text = ": this process holds it, and would wait for itself"
        l:acquire()
        misuse("mp.lock: acquire" .. text, function() l:acquire() end)
        misuse("mp.lock: acquire" .. text, function() l:acquire(0) end)
        misuse("mp.lock: hold" .. text, function() l:hold() end)
        misuse("mp.lock: with" .. text, function() l:with(print) end)
        assert.is_true(l:is_locked())
        l:release()
        assert.is_true(is_free(l))
    end)
end)

describe("a recursive lock", function()
    it("is free when it was released as often as it was acquired", function()
        local r = mp.rlock()
        for _ = 1, 3 do assert.is_true(r:acquire()) end
        r:with(function() assert.is_true(r:is_locked()) end)
        for i = 1, 3 do
            assert.equal(false, is_free(r), i)
            r:release()
        end
        assert.is_true(is_free(r))
    end)
end)

describe("to release", function()
    it("is for the holder alone", function()
        each(function(l, name)
            misuse(name .. ": release: this process does not hold it", function() l:release() end)
            local p = holder(l)
            misuse(name .. ": release: this process does not hold it", function() l:release() end)
            end_of(p, "kill")
            misuse(name .. ": release: this process does not hold it", function() l:release() end)
            l:acquire()
            local text = result_of(function(lock) return tostring(select(2, pcall(lock.release, lock))) end, l)
            assert.matches("does not hold it", text)
            l:release()
        end)
    end)
end)

-- The ways in which a process ends.
local ways = {
    { "is killed", function() end, "kill" },
    { "is terminated", function() end, "terminate" },
    { "returns", function() return true end },
    { "raises", function() error "x" end },
    { "exits", function() os.exit(0) end },
    { "exits with a failure", function() os.exit(3) end },
}

describe("the holder's end:", function()
    for _, way in ipairs(ways) do
        it("when it " .. way[1] .. ", the next one is told at once, and only that one", function()
            each(function(l)
                local p = started(function(lock, f)
                    lock:acquire()
                    if not f() then mp.sleep(100) end
                end, l, way[2])
                helper.wait_until(function() return l:is_locked() or not p:is_alive() end, "the holder")
                local waiter = started(function(lock) return lock:acquire() end, l)
                if way[3] then p[way[3]](p) end
                local t = mp.clock()
                assert.same({ true, "abandoned" }, { waiter:result() })
                assert.is_true(mp.clock() - t < MOMENT)
                end_of(waiter)
                end_of(p)
                assert.same({ true, "abandoned" }, { l:acquire() }) -- the waiter has ended with it
                l:release()
                assert.same({ true }, { l:acquire() })
                l:release()
            end)
        end)
    end

    it("a hold is told, too, and who does not wait", function()
        each(function(l)
            end_of(holder(l), "kill")
            do
                local held <close>, word = l:hold(0)
                assert.equal("abandoned", word)
                assert.is_truthy(held)
            end
            assert.same({ true }, { l:acquire(0) })
            l:release()
            end_of(holder(l), "kill")
            for _ = 1, 2 do assert.equal("ok", l:with(function() return "ok" end)) end -- which cannot tell it
            assert.is_false(l:is_locked())
            assert.same({ true, "abandoned" }, { l:acquire(0) })
            l:release()
            assert.same({ true }, { l:acquire(0) })
            l:release()
        end)
    end)

    it("so has a holder that closed its handle, or lost it", function()
        each(function(_, _, make)
            for _, loses in ipairs { "close", "collect" } do
                local q, go = mp.queue(), mp.event()
                local p = started(function(f, way, queue, e)
                    local own = f()
                    own:acquire()
                    queue:put(own)
                    e:wait()
                    if way == "close" then own:close() else own = nil end -- luacheck: ignore
                    collectgarbage()
                    collectgarbage()
                    queue:put "lost"
                    mp.sleep(100)
                end, make, loses, q, go)
                local l = q:get()
                assert.same({ nil, "timeout" }, { l:acquire(0) })
                go:set()
                assert.equal("lost", q:get())
                assert.same({ true, "abandoned" }, { l:acquire(0) })
                assert.is_true(p:is_alive())
                end_of(p, "kill")
            end
        end)
    end)

    it("a handle that comes while the one before is collected holds on for it", function()
        local q, again = mp.queue(), nil
        q:put(mp.rlock())
        do
            local l = q:get()
            q:put(l)
            l:acquire()
        end
        setmetatable({}, { __gc = function() -- made later, so that its finalizer comes first
            again = q:get()
            again:acquire()
        end })
        collectgarbage()
        collectgarbage()
        assert.is_true(again:is_locked())
        again:release()
        again:release()
        assert.is_true(is_free(again))
    end)

    it("what it holds several times is free at once", function()
        local r = mp.rlock()
        local p = started(function(lock) for _ = 1, 3 do lock:acquire() end end, r)
        end_of(p)
        assert.same({ true, "abandoned" }, { r:acquire() })
        r:release()
        assert.is_true(is_free(r))
    end)

    it("no other process's is its: a lock that a child inherited stays its parent's", function()
        helper.needs_fork "of what a child inherits"
        local l = mp.lock()
        l:acquire()
        for _, f in ipairs { function() end, function() l:close() end, function() l = nil collectgarbage() end } do
            end_of(started(f))
            assert.is_true(l:is_locked())
        end
        l:release()
        local held = l:hold()
        end_of(started(function()
            held = nil -- luacheck: ignore
            collectgarbage()
            collectgarbage()
        end))
        assert.is_true(l:is_locked())
        do local its <close> = held end -- luacheck: ignore
    end)
end)

describe("mp.wait and event loops:", function()
    it("a lock is ready when it is free, when this process has it, and when its holder is dead", function()
        each(function(l)
            assert.same({ l }, mp.wait { l })
            assert.equal("r", l:events())
            l:acquire()
            assert.same({ l }, mp.wait { l })
            l:release()
            local stop = mp.event()
            local p = holder(l, stop)
            local fd = l:pollfd()
            assert.same({}, mp.wait({ l, fd }, 0.1))
            stop:set()
            assert.same({ l }, mp.wait { l })
            assert.same({ fd }, mp.wait({ fd }, 10))
            end_of(p)
            assert.same({ true, "abandoned" }, { l:acquire() })
            l:release()
            p = holder(l)
            assert.same({}, mp.wait({ fd }, 0))
            assert.equal(fd, l:pollfd())
            assert.same({}, mp.wait({ l, fd }, 0))
            p:kill()
            local t = mp.clock()
            assert.same({ fd }, mp.wait({ fd }, 10))
            assert.same({ l }, mp.wait({ l }, 10))
            assert.is_true(mp.clock() - t < MOMENT)
            end_of(p)
        end)
    end)

    it("a descriptor is readable until this process looks, whatever others do", function()
        each(function(l)
            local q = mp.queue()
            local fd = l:pollfd()
            assert.same({ fd }, mp.wait({ fd }, 0))
            local p = started(function(lock, queue)
                lock:acquire()
                queue:put(true)
                mp.sleep(100)
            end, l, q)
            q:get()
            assert.same({ fd }, mp.wait({ fd }, 0))
            assert.same({ nil, "timeout" }, { l:acquire(0) })
            assert.same({}, mp.wait({ fd }, 0))
            end_of(p, "kill")
        end)
    end)

    it("in a scope, a failure of what it started ends the wait for a lock", function()
        each(function(l)
            local p = holder(l)
            local t = mp.clock()
            helper.fails("the failure", mp.scope, function(s)
                s:start(function() mp.sleep(0.1) error "the failure" end)
                l:acquire()
            end)
            assert.is_true(mp.clock() - t < 10)
            local word
            mp.scope(function(s)
                s:start(mp.sleep, 0.3)
                p:kill()
                word = select(2, l:acquire())
            end)
            assert.equal("abandoned", word)
            end_of(p)
        end)
    end)
end)

describe("a deadlock", function()
    it("of two processes with two locks is told, naming both and what they hold", function()
        local a, b, both = mp.lock(), mp.rlock(), mp.queue()
        local function first_then(first, second, queue)
            first:acquire()
            queue:put(true)
            while #queue < 2 do mp.sleep(0.01) end
            second:acquire()
        end
        local p, q = started(first_then, a, b, both), started(first_then, b, a, both)
        local e = helper.fails({ kind = "deadlock" }, p.join, p)
        local function line(x, l, y)
            return ("process '%s' (pid %d) waits for %s: 0x"):format(x.name, x.pid, l),
                ("(held by process '%s' (pid %d))"):format(y.name, y.pid)
        end
        for _, case in ipairs { { p, "mp.rlock", q }, { q, "mp.lock", p } } do
            local from, to = line(table.unpack(case))
            local at = select(2, e.message:find(from, 1, true))
            assert.is_truthy(at, e.message)
            assert.is_truthy(e.message:find(to, at, true), e.message)
        end
        end_of(p, "kill")
        end_of(q, "kill")
    end)

    it("is none while the holder goes on", function()
        local l, stop = mp.lock(), mp.event()
        local p = holder(l, stop)
        local helper_process = started(function(e) mp.sleep(1.5) e:set() end, stop)
        assert.same({ true, "abandoned" }, { l:acquire() })
        l:release()
        end_of(helper_process)
        end_of(p)
    end)
end)

describe("a signal", function()
    it("that a handler serves does not end the wait, and an error of the handler does", function()
        local l, q = mp.lock(), mp.queue()
        local p = holder(l)
        local waiter = started(function(lock, queue)
            local n = 0
            mp.on_signal("USR1", function() n = n + 1 queue:put(n) end)
            mp.on_signal("USR2", function() error "enough" end)
            local ok, e = pcall(function()
                queue:put "ready"
                return lock:acquire()
            end)
            return ok, tostring(e), lock:is_locked()
        end, l, q)
        assert.equal("ready", q:get())
        for i = 1, 3 do
            waiter:signal "USR1"
            assert.equal(i, q:get())
            assert.same({}, mp.wait({ waiter }, 0.1))
        end
        waiter:signal "USR2"
        local ok, text, locked = waiter:result()
        assert.same({ false, true }, { ok, locked })
        assert.matches("enough", text)
        end_of(waiter)
        end_of(p, "kill")
    end)
end)

describe("misuse:", function()
    it("a lock takes no options, a timeout is a number, a handle that is closed is gone", function()
        misuse("mp.lock: it takes no options and no arguments", function() mp.lock(1) end)
        misuse("mp.rlock: it takes no options and no arguments", function() mp.rlock { name = "x" } end)
        mp.lock {}
        local l = mp.lock()
        misuse("mp.lock: acquire: the timeout must be a number of seconds, not string", function() l:acquire "1" end)
        misuse("mp.lock: acquire: the timeout is not a number (NaN)", function() l:acquire(0 / 0) end)
        misuse("mp.lock: hold: the timeout must be a number of seconds, not boolean", function() l:hold(true) end)
        misuse("mp.lock: acquire: it must be called with a colon, on such an object", function() l.acquire() end)
        misuse("mp.lock: release: it must be called with a colon", function() l.release(mp.queue()) end)
        misuse("mp.lock: its fields cannot be assigned ('locked')", function() l.locked = true end)
        l:close()
        l:close()
        assert.matches("^mp.lock: 0x%x+ %(closed%)$", tostring(l))
        misuse("mp.lock: acquire: it is closed in this process", function() l:acquire() end)
        misuse("mp.lock: with: it is closed in this process", function() l:with(print) end)
    end)
end)

it("a lock is given back when nobody has it", function()
    local function count() return mp.memory().kinds.locks.count + mp.memory().kinds.rlocks.count end
    collectgarbage()
    collectgarbage()
    local before = count()
    each(function(l) end_of(holder(l), "kill") end)
    collectgarbage()
    collectgarbage()
    assert.equal(before, count())
end)

it("a lock for which there is no memory raises, and is made when there is again", function()
    local run = helper.script_run [[
        mp.memory { limit = "2M" }
        for _, make in ipairs { mp.lock, mp.rlock, mp.semaphore, mp.bounded_semaphore, mp.event } do
            local list, ok, e = {}, nil, nil
            repeat ok, e = pcall(function() list[#list + 1] = make() end) until not ok
            list = nil
            print(tostring(e):match ": (mp%.[%l_]+: not enough memory to share)", (pcall(make)))
        end]]
    local lines = {}
    for _, name in ipairs { "lock", "rlock", "semaphore", "bounded_semaphore", "event" } do
        lines[#lines + 1] = ("mp.%s: not enough memory to share\ttrue\n"):format(name)
    end
    assert.same({ 0, table.concat(lines), "" }, { run.status, run.stdout, run.stderr })
end)

describe("a pool", function()
    it("has tasks that hold a lock, which a killed one leaves to the next", function()
        local l = mp.lock()
        local pool <close> = mp.pool(2)
        assert.same({ 1, 2, 3 }, pool:map(function(i) return l:with(function() return i end) end, { 1, 2, 3 }))
        helper.fails({ kind = "signal" }, pool.apply, pool, function(lock)
            lock:acquire()
            os.execute("kill -KILL " .. mp.getpid())
        end, l)
        assert.same({ true, "abandoned" }, { pool:apply(function(lock) return lock:acquire() end, l) })
    end)

    it("that is serial has them, too", function()
        local run = helper.script_run([[
            local l, s, e = mp.rlock(), mp.semaphore(1), mp.event()
            local list = mp.map(function(i)
                e:set()
                return l:with(function() return s:with(function() return i, e:wait() end) end)
            end, { 1, 2, 3 }, { workers = 2 })
            print(list[1], list[2], list[3], l:is_locked(), s:value())
        ]], "export LUAMP_BACKEND=serial")
        assert.same({ 0, "1\t2\t3\tfalse\t1\n", "" }, { run.status, run.stdout, run.stderr })
    end)
end)
