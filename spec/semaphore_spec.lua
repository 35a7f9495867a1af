-- semaphore_spec.lua: mp.semaphore and mp.bounded_semaphore: units, whose they are and what becomes of
-- them when their process ends, bounds, waiting, misuse. What is common to all that is acquired is in
-- lock_spec; lock_kills_spec kills many holders.
local helper = require "spec.helper"
local mp = require "luamp"
local waking = require "spec.waking"

local misuse, started, result_of = helper.misuse, helper.started, helper.result_of

local MOMENT <const> = 1 -- seconds that what takes 100 ms at most may take on a busy machine

local kinds = { ["mp.semaphore"] = mp.semaphore, ["mp.bounded_semaphore"] = mp.bounded_semaphore }

local function each(n, f)
    for name, make in pairs(kinds) do f(make(n), name, make) end
end

-- A process that acquires n units and has them until it is ended, or `go` is set.
local function holder(s, n, go)
    local q = mp.queue()
    local p = started(function(semaphore, units, queue, e)
        for _ = 1, units do semaphore:acquire() end
        queue:put(true)
        e:wait()
    end, s, n, q, go or mp.event())
    q:get()
    return p
end

local function end_of(p, how)
    if how then p[how](p) end
    p:join()
    p:close()
end

local function becomes(s, n)
    helper.wait_until(function()
        s:acquire(0.06) -- a look at who is alive
        s:release()
        return s:value() == n
    end, "the units that come back")
end

describe("the options of a semaphore:", function()
    it("a number of units, a table, or nothing, which is one", function()
        for name, make in pairs(kinds) do
            assert.equal(1, make():value())
            assert.equal(1, make {}:value())
            assert.equal(3, make(3):value())
            assert.equal(0, make(0):value())
            assert.equal(2, make { value = 2.0 }:value())
            assert.equal(math.maxinteger, make(math.maxinteger):value())
            local text = " must be an integer from 0 on, not "
            helper.fails(name .. ": the number of units" .. text .. "-1", make, -1)
            helper.fails(name .. ": the number of units" .. text .. "1.5", make, 1.5)
            helper.fails(name .. ": option 'value'" .. text .. 'the string "3"', make, { value = "3" })
            helper.fails(name .. ": unknown option 'valeu' (did you mean 'value'?)", make, { valeu = 1 })
            helper.fails(name .. ": expected a number of units or a table of options, and nothing else", make, 1, 2)
        end
        misuse("mp.semaphore: the number of units must be an integer from 0 on, not -1",
            function() mp.semaphore(-1) end)
    end)
end)

describe("a semaphore", function()
    it("lets as many in as it has units", function()
        each(2, function(s)
            local inside, most, done, processes = mp.semaphore(100), mp.queue(), mp.queue(), {}
            for i = 1, 5 do
                processes[i] = started(function(semaphore, count, greatest, queue)
                    for _ = 1, 20 do
                        semaphore:acquire()
                        count:acquire()
                        greatest:put(100 - count:value())
                        mp.sleep(0)
                        count:release()
                        semaphore:release()
                    end
                    queue:put(true)
                end, s, inside, most, done)
            end
            for _ = 1, 100 do assert.is_true(most:get() <= 2) end
            for _ = 1, 5 do done:get() end
            for _, p in ipairs(processes) do end_of(p) end
            assert.same({ 2, 100 }, { s:value(), inside:value() })
        end)
    end)

    it("gives true, and nil and a word when time ends first", function()
        each(1, function(s, name)
            assert.matches("^" .. name .. ": 0x%x+ %(1", tostring(s))
            assert.same({ true }, { s:acquire() })
            for _, timeout in ipairs { 0, -1, 0.2 } do
                local t = mp.clock()
                assert.same({ nil, "timeout" }, { s:acquire(timeout) })
                assert.is_true(mp.clock() - t >= timeout)
            end
            assert.same({ nil, "timeout" }, { s:hold(0) })
            assert.equal(0, s:value())
            s:release()
            assert.same({ true }, { s:acquire(0) })
            assert.matches(name == "mp.semaphore" and " %(0%)$" or " %(0/1%)$", tostring(s))
        end)
    end)

    it("wakes who waits when a unit comes, and as many as come", function()
        each(1, function(s)
            local function wait(semaphore)
                semaphore:acquire()
                semaphore:release()
            end
            assert.is_true(waking.median(s, s.acquire, wait, s.release) < waking.soon)
            local function wait_for_several(semaphore)
                mp.wait { semaphore, mp.queue() }
            end
            assert.is_true(waking.median(s, s.acquire, wait_for_several, s.release) < waking.soon)
        end)
        local s, out, processes = mp.semaphore(0), mp.queue(), {}
        for i = 1, 3 do
            processes[i] = started(function(semaphore, queue)
                queue:put(semaphore:acquire())
                mp.sleep(100)
            end, s, out)
        end
        s:release(2)
        assert.same({ true, true }, { out:get(), (out:get()) })
        assert.same({ nil, "timeout" }, { out:get(0.2) })
        s:release()
        assert.is_true(out:get())
        for _, p in ipairs(processes) do end_of(p, "kill") end
    end)

    it("has with and hold, which give the unit back", function()
        each(1, function(s)
            assert.equal(0, s:with(function() return s:value() end))
            helper.fails("inside", s.with, s, error, "inside")
            assert.equal(1, s:value())
            do
                local held <close> = s:hold()
                assert.is_truthy(held)
                assert.equal(0, s:value())
            end
            assert.equal(1, s:value())
            assert.is_nil(s.is_locked)
        end)
    end)

    it("stays as it is when a child collects what its parent holds", function()
        helper.needs_fork "of what a child inherits"
        each(1, function(s)
            local held = s:hold()
            end_of(started(function()
                held = nil -- luacheck: ignore
                collectgarbage()
                collectgarbage()
            end))
            assert.equal(0, s:value())
            do local its <close> = held end -- luacheck: ignore
            assert.equal(1, s:value())
        end)
    end)

    it("is the same in each process, also after its maker's end", function()
        local q = mp.queue()
        end_of(started(function(queue) queue:put { mp.semaphore(3) } end, q))
        local s = q:get()[1]
        assert.equal(3, s:value())
        assert.equal(2, result_of(function(semaphore)
            semaphore:acquire()
            return semaphore:value()
        end, s))
        assert.equal(0, result_of(function(t)
            for _ = 1, 3 do t.s:acquire() end
            return t.s:value()
        end, { s = s }))
    end)
end)

describe("a unit", function()
    it("is its process's: what that acquired comes back when it ends, in any way, without a word", function()
        local ways = { function() os.exit(0) end, function() os.exit(3) end, function() error "x" end, function() end }
        each(3, function(s)
            for _, how in ipairs { "kill", "terminate" } do
                local p = holder(s, 2)
                assert.equal(1, s:value())
                end_of(p, how)
                becomes(s, 3)
            end
            for _, f in ipairs(ways) do
                end_of(started(function(semaphore, leave)
                    for _ = 1, 3 do semaphore:acquire() end
                    leave()
                end, s, f))
                assert.same({ true }, { s:acquire() })
                s:release()
                becomes(s, 3)
            end
        end)
    end)

    it("comes back within a moment to who waits", function()
        each(1, function(s)
            local p = holder(s, 1)
            local t = mp.clock()
            p:kill()
            assert.same({ true }, { s:acquire() })
            assert.is_true(mp.clock() - t < MOMENT)
            end_of(p)
            s:release()
        end)
    end)

    it("that was released is no more its process's", function()
        each(2, function(s)
            local go, q = mp.event(), mp.queue()
            local p = started(function(semaphore, e, queue)
                semaphore:acquire()
                semaphore:acquire()
                semaphore:release()
                queue:put(true)
                e:wait()
            end, s, go, q)
            q:get()
            assert.equal(1, s:value())
            end_of(p, "kill")
            becomes(s, 2)
        end)
    end)

    it("that a process has not is added", function()
        local s = mp.semaphore(0)
        s:release()
        s:release(3)
        assert.equal(4, s:value())
        assert.is_nil(result_of(function(semaphore) semaphore:release(2) end, s))
        assert.equal(6, s:value())
        s:acquire()
        s:release(3) -- one that it has, and two
        assert.equal(8, s:value())
        end_of(started(function(semaphore) semaphore:acquire() semaphore:release(5) end, s))
        assert.equal(12, s:value())
    end)

    it("comes back when a handle is closed or lost", function()
        each(2, function(_, _, make)
            for _, loses in ipairs { "close", "collect" } do
                local q, go = mp.queue(), mp.event()
                local p = started(function(f, way, queue, e)
                    local own = f(2)
                    own:acquire()
                    queue:put(own)
                    e:wait()
                    if way == "close" then own:close() else own = nil end -- luacheck: ignore
                    collectgarbage()
                    collectgarbage()
                    queue:put "lost"
                    mp.sleep(100)
                end, make, loses, q, go)
                local s = q:get()
                assert.equal(1, s:value())
                go:set()
                assert.equal("lost", q:get())
                assert.equal(2, s:value())
                end_of(p, "kill")
            end
        end)
    end)
end)

describe("a bounded semaphore", function()
    it("refuses more units than it began with, one and many, and changes nothing", function()
        local b = mp.bounded_semaphore(2)
        local text = "mp.bounded_semaphore: release: it would have more units than it began with"
        misuse(text, function() b:release() end)
        b:acquire()
        misuse(text, function() b:release(2) end)
        assert.equal(1, b:value())
        b:release()
        assert.equal(2, b:value())
        assert.matches(" %(2/2%)$", tostring(b))
        assert.matches("more units", result_of(function(s) return select(2, pcall(s.release, s)) end, b))
    end)

    it("has no more when a unit that another has released comes back", function()
        local b = mp.bounded_semaphore(2)
        local p = holder(b, 1)
        b:release()
        assert.equal(2, b:value())
        end_of(p, "kill")
        b:acquire()
        b:acquire()
        assert.same({ nil, "timeout" }, { b:acquire(0.2) })
        b:release(2)
        assert.equal(2, b:value())
    end)
end)

describe("misuse:", function()
    it("the number of units to release, and how many there can be", function()
        local s = mp.semaphore(math.maxinteger)
        local text = "mp.semaphore: release: the number of units must be an integer from 1 on, not "
        misuse(text .. "0", function() s:release(0) end)
        misuse(text .. "-1", function() s:release(-1) end)
        misuse(text .. "1.5", function() s:release(1.5) end)
        misuse(text .. "string", function() s:release "1" end)
        misuse("mp.semaphore: release: it would have more units than it can have", function() s:release() end)
        misuse("mp.semaphore: field 'value' is read-only; it is given as an option: mp.semaphore{value=...}",
            function() s.value = 1 end)
        s:close()
        s:close()
        misuse("mp.semaphore: acquire: it is closed in this process", function() s:acquire() end)
        misuse("mp.semaphore: value: it is closed in this process", function() s:value() end)
        assert.matches("%(closed%)$", tostring(s))
    end)
end)

describe("mp.wait and event loops:", function()
    it("a semaphore is ready when a unit is free, also one that comes back", function()
        each(1, function(s)
            assert.same({ s }, mp.wait { s })
            assert.equal("r", s:events())
            local p = holder(s, 1)
            local fd = s:pollfd()
            assert.same({}, mp.wait({ s, fd }, 0.1))
            p:kill()
            local t = mp.clock()
            assert.same({ fd }, mp.wait({ fd }, 10))
            assert.same({ s }, mp.wait({ s }, 10))
            assert.is_true(mp.clock() - t < MOMENT)
            end_of(p)
            s:acquire()
            assert.same({}, mp.wait({ fd }, 0))
            s:release()
            local go = mp.event()
            p = started(function(semaphore, e)
                semaphore:acquire()
                e:set()
                mp.sleep(0.1)
                semaphore:release()
            end, s, go)
            go:wait()
            assert.same({}, mp.wait({ s }, 0))
            assert.same({ s }, mp.wait { s })
            end_of(p)
        end)
    end)

    it("in a scope, a failure of what it started ends the wait for a unit", function()
        local s = mp.semaphore(0)
        helper.fails("the failure", mp.scope, function(scope)
            scope:start(function() mp.sleep(0.1) error "the failure" end)
            s:acquire()
        end)
        mp.scope(function(scope)
            scope:start(function() mp.sleep(0.1) s:release() end)
            assert.is_true(s:acquire())
        end)
    end)
end)

it("a wait for a unit that nobody can bring is a deadlock, and is told", function()
    local s = mp.semaphore(0)
    local e = helper.fails({ kind = "deadlock" }, s.acquire, s)
    assert.is_truthy(e.message:find("waits for " .. tostring(s), 1, true))
end)

it("a semaphore is given back when nobody has it", function()
    local function count()
        collectgarbage()
        collectgarbage()
        local n = mp.memory().kinds
        return n.semaphores.count + n.bounded_semaphores.count
    end
    local before = count()
    each(2, function(s) end_of(holder(s, 1), "kill") end)
    assert.equal(before, count())
end)
