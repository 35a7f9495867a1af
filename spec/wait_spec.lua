-- wait_spec.lua: waiting for processes and descriptors, and for time alone.
local helper = require "spec.helper"
local luv = require "luv"
local mp = require "luamp"

luv.new_timer():close() -- the descriptors of luv's loop, which it keeps
luv.new_signal():close()
luv.run()

-- A child that runs until the end of its stdin.
local function held(options)
    options = options or {}
    options.target, options.stdin = function() io.read "a" end, "pipe"
    return mp.process(options):start()
end

local function release(...)
    for _, p in ipairs { ... } do
        if io.type(p.stdin) == "file" then p.stdin:close() end
        p:join()
        p:close()
    end
end

local misuse = helper.misuse

-- How long f took, and its results.
local function timed(f, ...)
    local t = mp.clock()
    local results = table.pack(f(...))
    return mp.clock() - t, table.unpack(results, 1, results.n)
end

-- Asks without end whether a descriptor is readable, by luv.
local function readable(fd)
    local poll, ready = luv.new_poll(fd), false
    poll:start("r", function() ready = true end)
    luv.run "nowait"
    poll:close()
    luv.run "nowait"
    return ready
end

describe("mp.wait", function()
    it("gives those that have ended, in the list's order", function()
        local a, b, c = held(), held(), held()
        assert.same({}, mp.wait({ a, b, c }, 0))
        assert.same({}, mp.wait({ a, b, c }, -1))
        c.stdin:close()
        assert.same({ c }, mp.wait { a, b, c })
        a.stdin:close()
        a:join()
        assert.same({ a, c }, mp.wait({ a, b, c }))
        assert.same({ c, a }, mp.wait({ c, b, a }, 0))
        assert.same({ a, a }, mp.wait({ a, a, b }, 1))
        assert.is_false(a:is_alive())
        assert.is_true(b:is_alive())
        release(a, b, c)
    end)

    it("ends when one of them ends, which it waits for", function()
        local a = held()
        local b = mp.process { target = mp.sleep, args = { 0.1 } }:start()
        local t, ready = timed(mp.wait, { a, b }, 10)
        assert.same({ b }, ready)
        assert.is_true(t < 5)
        assert.equal(0, b.exitcode)
        release(a)
        b:close()
    end)

    it("gives an empty list at the timeout, and never before", function()
        local a = held()
        for _, timeout in ipairs { 0.001, 0.0105, 0.05 } do
            local t, ready, second = timed(mp.wait, { a }, timeout)
            assert.same({}, ready)
            assert.is_nil(second)
            assert.is_true(t >= timeout)
            assert.is_true(t < timeout + 1)
        end
        release(a)
    end)

    it("takes descriptors beside processes", function()
        local a = held()
        local q = held { stdout = "pipe" }
        local pipe = luv.pipe()
        assert.same({}, mp.wait({ a, pipe.read }, 0))
        luv.fs_write(pipe.write, "x")
        assert.same({ pipe.read }, mp.wait { a, pipe.read })
        assert.same({ pipe.read }, mp.wait({ pipe.read, a }, 0))
        assert.same({ pipe.read * 1.0 }, mp.wait({ pipe.read * 1.0 }, 0))
        luv.fs_read(pipe.read, 1)
        assert.same({}, mp.wait({ a, pipe.read }, 0))
        luv.fs_close(pipe.write)
        assert.same({ pipe.read }, mp.wait({ a, pipe.read }, 1))
        luv.fs_close(pipe.read)
        release(a, q)
    end)

    it("of an empty list is a wait for time, and without one raises", function()
        local t, ready = timed(mp.wait, {}, 0.02)
        assert.same({}, ready)
        assert.is_true(t >= 0.02)
        assert.same({}, mp.wait({}, 0))
        misuse("mp.wait: an empty list", function() mp.wait {} end)
    end)

    it("says what it does not take", function()
        misuse("mp.wait: item 1", function() mp.wait({ "x" }, 0) end)
        misuse("mp.wait: item 2", function() mp.wait({ 0, {} }, 0) end)
        misuse("mp.wait: item 1", function() mp.wait({ io.stdout }, 0) end)
        misuse("mp.wait: item 1", function() mp.wait({ 0.5 }, 0) end)
        misuse("mp.wait: item 1", function() mp.wait({ -1 }, 0) end)
        misuse("mp.wait: item 1", function() mp.wait({ 999 }, 0) end)
        misuse("mp.wait: item 1", function() mp.wait({ 1 << 32 }, 0) end)
        misuse("mp.wait: item 1", function() mp.wait({ "1" }, 0) end)
        misuse("mp.wait", function() mp.wait() end)
        misuse("mp.wait", function() mp.wait(5) end)
        misuse("timeout", function() mp.wait({ 0 }, "1") end)
        misuse("itself", function() mp.wait({ mp.current_process() }, 0) end)
    end)

    it("takes a process itself only in a list", function()
        local p = held()
        misuse("mp.wait", function() mp.wait(p) end)
        local pool <close> = mp.pool(1)
        local fut = pool:submit(math.abs, -1)
        misuse("mp.wait: expected a list, not one object", function() mp.wait(fut, 0.1) end)
        release(p)
    end)

    it("takes hundreds", function()
        local list = {}
        for i = 1, 300 do
            list[i] = mp.process { target = function() return i end }:start()
        end
        local left = table.move(list, 1, #list, 1, {})
        while #left > 0 do
            local done = {}
            for _, p in ipairs(mp.wait(left)) do done[p] = true end
            assert.is_truthy(next(done))
            for i = #left, 1, -1 do
                if done[left[i]] then table.remove(left, i) end
            end
        end
        for i, p in ipairs(list) do
            assert.equal(i, p:result(0))
            p:close()
        end
    end)
end)

describe("pollfd of a process", function()
    it("is readable when mp.wait lists it, and from then on", function()
        local p = held()
        assert.equal("r", p:events())
        local fd = p:pollfd()
        assert.equal("integer", math.type(fd))
        assert.equal(fd, p:pollfd())
        assert.is_false(readable(fd))
        assert.same({}, mp.wait({ fd }, 0))
        p.stdin:close()
        assert.same({ fd }, mp.wait { fd })
        assert.is_true(readable(fd))
        assert.same({ p }, mp.wait({ p }, 0))
        p:join()
        assert.is_true(readable(fd))
        assert.equal(fd, p:pollfd())
        p:close()
        assert.is_nil(helper.fds()[fd])
    end)

    it("asked for after the end is readable at once", function()
        local p = mp.process { target = function() end }:start()
        p:join()
        assert.is_true(readable(p:pollfd()))
        assert.same({ p:pollfd() }, mp.wait({ p:pollfd() }, 0))
        p:close()
    end)

    it("goes with a process that was collected", function()
        local function pollfd_of_dropped()
            local p = mp.process { target = function() end }:start()
            p:join()
            return p:pollfd()
        end
        local fd = pollfd_of_dropped()
        collectgarbage()
        collectgarbage()
        assert.is_nil(helper.fds()[fd])
    end)

    it("drives a loop of luv", function()
        local p = mp.process { target = mp.sleep, args = { 0.05 } }:start()
        local poll, order = luv.new_poll(p:pollfd()), {}
        local timer = luv.new_timer()
        timer:start(10, 0, function()
            table.insert(order, "timer")
            timer:close()
        end)
        poll:start(p:events(), function()
            table.insert(order, "process")
            poll:close()
        end)
        luv.run()
        assert.same({ "timer", "process" }, order)
        assert.is_true(p:join(0))
        p:close()
    end)
end)

describe("a timeout", function()
    it("of a join is never early", function()
        local p = held()
        for _, timeout in ipairs { 0.0001, 0.001, 0.0123, 0.05 } do
            local t, ok, word = timed(p.join, p, timeout)
            assert.is_nil(ok)
            assert.equal("timeout", word)
            assert.is_true(t >= timeout)
            assert.is_true(t < timeout + 1)
        end
        release(p)
    end)

    it("may be nothing, less, or for ever", function()
        local p = held()
        assert.is_true((timed(p.join, p, 0)) < 0.5)
        assert.is_true((timed(p.join, p, -math.huge)) < 0.5)
        p.stdin:close()
        assert.is_true(p:join(math.huge))
        local q = mp.process { target = mp.sleep, args = { 0.01 } }:start()
        assert.is_true(q:join(1e300))
        q:close()
        p:close()
    end)

    it("costs no time of the CPU", function()
        local p = held()
        local cpu = os.clock()
        p:join(0.3)
        mp.wait({ p }, 0.3)
        mp.sleep(0.3)
        assert.is_true(os.clock() - cpu < 0.05)
        release(p)
    end)

    it("holds through a storm of signals", function()
        local usr1, n, go = luv.new_signal(), 0, helper.tmpdir() .. "/go"
        usr1:start("sigusr1", function() n = n + 1 end) -- a handler, so that system calls are interrupted
        helper.write(go, "")
        local storm = mp.process { target = function(pid)
            os.execute(("while [ -e '%s' ]; do kill -USR1 %d; done"):format(go, pid))
        end, args = { mp.getpid() } }
        local p = held()
        storm:start()
        for _, wait in ipairs {
            function(t) assert.same({ nil, "timeout" }, { p:join(t) }) end,
            function(t) assert.same({}, mp.wait({ p }, t)) end,
            function(t) mp.sleep(t) end,
            function(t) helper.fails({ kind = "pending" }, p.result, p, t) end,
        } do
            local t = timed(wait, 0.2)
            assert.is_true(t >= 0.2)
            assert.is_true(t < 1.2)
        end
        os.remove(go)
        storm:join()
        storm:close()
        luv.run "nowait"
        assert.is_true(n > 100)
        usr1:close()
        luv.run "nowait"
        release(p)
    end)
end)

describe("mp.sleep", function()
    it("sleeps as long as told, or not at all", function()
        for _, s in ipairs { 0.001, 0.02, 1 / 3 * 0.1 } do
            local t = timed(mp.sleep, s)
            assert.is_true(t >= s)
            assert.is_true(t < s + 1)
        end
        assert.is_true(timed(mp.sleep, 0) < 0.5)
        assert.is_true(timed(mp.sleep, -5) < 0.5)
        assert.equal(0, select("#", mp.sleep(0)))
    end)
end)

describe("mp.clock", function()
    it("goes forward, in seconds, and is one for all processes", function()
        local a = mp.clock()
        assert.equal("float", math.type(a))
        local p = mp.process { target = mp.clock }:start()
        local b = p:result()
        p:close()
        local c = mp.clock()
        assert.is_true(a < b and b < c)
        assert.is_true(c - a < 5)
        mp.sleep(0.1)
        assert.is_true(mp.clock() - c >= 0.1)
        local uptime = tonumber(helper.read("/proc/uptime"):match "%S+")
        assert.is_true(uptime >= mp.clock() - 1)
    end)
end)
