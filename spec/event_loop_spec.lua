-- event_loop_spec.lua: event loops take queues, pipe ends, processes, pools and futures as they are: luv and cqueues.
local helper = require "spec.helper"
local lfs = require "lfs"
local luv = require "luv"
local pools = require "spec.pools"
local mp = require "luamp"

local has_cqueues, cqueues = pcall(require, "cqueues")

luv.new_timer():close() -- the descriptors of luv's loop, which it keeps
luv.new_signal():close()
luv.run()

-- Calls f(poll) in luv's loop whenever the object is ready.
local function on_ready(object, f)
    local poll = luv.new_poll(object:pollfd())
    poll:start(object:events(), function() f(poll) end)
    return poll
end

-- What luv's loop says of a descriptor now.
local function readable(fd)
    local poll, ready = luv.new_poll(fd), false
    poll:start("r", function() ready = true end)
    luv.run "nowait"
    poll:close()
    luv.run "nowait"
    return ready
end

local function finish(p)
    p:join()
    assert.equal(0, p.exitcode)
    p:close()
end

-- Puts 1 to n one by one, when it is told to; when who waits for it sleeps by then.
local function put_when_told(go, q, n)
    for i = 1, n do
        go:get()
        mp.sleep(0.002)
        q:put(i)
    end
end

describe("pollfd", function()
    it("is one descriptor for each object, readable when mp.wait would list it", function()
        local q, a, b = mp.queue(), mp.pipe()
        for _, case in ipairs {
            { q, function() q:put(1) end, function() q:get() end },
            { a, function() b:send(1) end, function() a:recv() end },
            { b, function() a:send(1) end, function() b:recv(0) end },
        } do
            local object, give, take = table.unpack(case)
            local fd = object:pollfd()
            assert.same({ "r", fd }, { object:events(), object:pollfd() })
            for _ = 1, 3 do
                assert.is_false(readable(fd))
                give()
                assert.is_true(readable(fd))
                assert.same({ object }, mp.wait({ object }, 0))
                give()
                take()
                assert.is_true(readable(fd))
                take()
                assert.is_false(readable(fd))
                assert.same({}, mp.wait({ object }, 0))
            end
        end
        a:close()
        b:close()
    end)

    it("stays readable at the end: of a closed queue, of a stream", function()
        local q, a, b = mp.queue(), mp.pipe()
        local fds = { q:pollfd(), a:pollfd() }
        q:put(1)
        q:close()
        b:send(1)
        b:close()
        for _ = 1, 3 do
            for _, fd in ipairs(fds) do assert.is_true(readable(fd)) end
            q:get(0)
            a:recv(0)
        end
        a:close()
    end)

    it("is not readable any more when another process was faster, after a look", function()
        local q = mp.queue()
        local fd = q:pollfd()
        q:put(1)
        finish(helper.started(function(from) return from:get() end, q))
        local looks = { function() q:get(0) end, function() q:is_empty() end, function() mp.wait({ q }, 0) end }
        for _, look in ipairs(looks) do
            look()
            assert.is_false(readable(fd))
            q:put(1)
            assert.is_true(readable(fd))
            finish(helper.started(function(from) return from:get() end, q))
        end
    end)

    it("goes with the object, also when that is collected", function()
        local a, b = mp.pipe()
        local fd = a:pollfd()
        assert.is_not_nil(helper.fds()[fd])
        a:close()
        assert.is_nil(helper.fds()[fd])
        b:close()
        local function dropped() return mp.queue():pollfd() end
        fd = dropped()
        collectgarbage()
        collectgarbage()
        assert.is_nil(helper.fds()[fd])
    end)

    it("raises for what never has anything, or is closed", function()
        local reader, writer = mp.pipe { duplex = false }
        helper.misuse("mp.pipe: pollfd: this end only sends", function() writer:pollfd() end)
        reader:close()
        helper.misuse("mp.pipe: pollfd: it is closed in this process", function() reader:pollfd() end)
        helper.misuse("mp.queue: pollfd: it must be called with a colon", function() mp.queue().pollfd {} end)
        writer:close()
    end)

    it("is a child's own, which neither takes from its parent's nor adds to it", function()
        local function counter(fd)
            local file <close> = assert(io.open("/proc/self/fdinfo/" .. fd))
            return file:read "a":match "eventfd%-id:%s*(%d+)"
        end
        local q, back = mp.queue(), mp.queue()
        local fd = q:pollfd()
        local p = helper.started(function(queue, answers)
            local own = queue:pollfd()
            local poll = require "luv".new_poll(own)
            poll:start("r", function()
                answers:put { queue:get(0), counter(own) }
                poll:close()
            end)
            answers:put "looks"
            require "luv".run()
            answers:put(queue:get())
        end, q, back)
        assert.equal("looks", back:get())
        q:put(1)
        local item, id = table.unpack(back:get())
        assert.equal(1, item)
        assert.is_not_nil(id)
        assert.not_equal(counter(fd), id)
        q:put(2)
        assert.equal(2, back:get())
        finish(p)
        assert.same({}, mp.wait({ q }, 0))
        assert.is_false(readable(fd))
    end)
end)

describe("luv", function()
    it("runs a queue, a pipe end and a process in one loop, each called when there is something", function()
        local q, here, there = mp.queue(), mp.pipe()
        local p = helper.started(function(queue, e)
            for i = 1, 3 do
                mp.sleep(0.02)
                queue:put(i)
                mp.sleep(0.02)
                e:send(-i)
            end
        end, q, there)
        local seen, calls = { queue = {}, pipe = {}, process = {} }, 0
        local function note(from, value, last, poll)
            calls = calls + 1
            table.insert(seen[from], value)
            if value == last then poll:close() end
        end
        on_ready(q, function(poll) note("queue", q:get(0), 3, poll) end)
        on_ready(here, function(poll) note("pipe", here:recv(0), -3, poll) end)
        on_ready(p, function(poll) note("process", "ended", "ended", poll) end)
        luv.run()
        assert.same({ queue = { 1, 2, 3 }, pipe = { -1, -2, -3 }, process = { "ended" } }, seen)
        assert.is_true(calls <= 10, calls .. " calls")
        finish(p)
        here:close()
        there:close()
    end)

    it("is woken, and does not poll", function()
        local N <const> = 100
        local go, q = mp.queue(), mp.queue()
        local p = helper.started(put_when_told, go, q, N)
        local calls, got, cpu, t = 0, 0, os.clock(), mp.clock()
        go:put(true)
        on_ready(q, function(poll)
            calls = calls + 1
            if not q:get(0) then return end
            got = got + 1
            if got == N then poll:close() else go:put(true) end
        end)
        luv.run()
        assert.equal(N, got)
        assert.is_true(calls <= N + 20, calls .. " calls")
        assert.is_true(mp.clock() - t < N * 0.02, "as slow as looks 20 times a second")
        assert.is_true(os.clock() - cpu < 1)
        finish(p)
    end)

    it("takes each item once, however many loops watch one queue", function()
        local N <const>, ROUNDS <const> = 6, 20
        local q, back = mp.queue(), mp.queue()
        local list = {}
        local function watch(from, to)
            local uv = require "luv"
            local poll, n = uv.new_poll(from:pollfd()), 0
            poll:start("r", function()
                local v, word = from:get(0)
                if v then
                    n = n + 1
                    to:put(v)
                elseif word == "closed" then
                    poll:close()
                end
            end)
            to:put "ready"
            uv.run()
            return n
        end
        for i = 1, N do list[i] = helper.started(watch, q, back) end
        for _ = 1, N do assert.equal("ready", back:get()) end
        for i = 1, ROUNDS do
            for _ = 1, N do q:put(i) end
            for _ = 1, N do assert.equal(i, back:get()) end
        end
        q:close()
        local sum = 0
        for _, p in ipairs(list) do
            sum = sum + p:result()
            p:close()
        end
        assert.equal(N * ROUNDS, sum)
    end)

    it("meets the end of a stream whose last holder was killed", function()
        local here, there = mp.pipe()
        local p = helper.started(function(e)
            e:send "holds it"
            mp.sleep(100)
        end, there)
        assert.equal("holds it", here:recv())
        there:close()
        local word, t
        on_ready(here, function(poll)
            word = select(2, here:recv(0))
            if word == "closed" then poll:close() end
        end)
        local timer = luv.new_timer()
        timer:start(100, 0, function()
            t = mp.clock()
            p:kill()
            timer:close()
        end)
        luv.run()
        assert.equal("closed", word)
        assert.is_true(mp.clock() - t < 1)
        p:join()
        p:close()
        here:close()
    end)

    it("runs a child's loop, under every start method", function()
        for _, method in ipairs { "fork", "forkserver", "spawn" } do
            local q, back = mp.queue(), mp.queue()
            local p = mp.process { start_method = method, target = function(from, to)
                local uv = require "luv"
                local poll = uv.new_poll(from:pollfd())
                poll:start(from:events(), function()
                    local v = from:get(0)
                    if v then to:put(v) end
                    if v == 2 then poll:close() end
                end)
                uv.run()
            end, args = { q, back } }:start()
            for i = 1, 2 do
                q:put(i)
                assert.equal(i, back:get())
            end
            finish(p)
        end
    end)
end)

describe("pollfd of a pool and its futures", function()
    -- The kernel alone is asked: a call of luamp would take the work in.
    local function becomes_readable(fd)
        local deadline = luv.hrtime() + 20e9
        repeat local is = readable(fd) until is or luv.hrtime() > deadline
        return readable(fd)
    end

    local function held(begun, gate)
        begun:put(mp.getpid())
        return gate:get()
    end

    it("is readable when a task has ended, and not when that was taken in", function()
        pools.with(1, function(pool)
            local begun, gate = mp.queue(), mp.queue()
            local fd = pool:pollfd()
            for i = 1, 3 do
                local fut = pool:submit(held, begun, gate)
                begun:get()
                mp.wait({}, 0)
                assert.is_false(readable(fd))
                gate:put(i)
                assert.is_true(becomes_readable(fd))
                mp.wait({}, 0)
                assert.is_false(readable(fd))
                assert.equal(i, fut:result(0))
                assert.equal(4, pool:apply(math.abs, -4))
                assert.is_false(readable(fd))
            end
            assert.equal(fd, pool:pollfd())
        end)
    end)

    it("of a future is readable for the end of its own task, and stays so", function()
        pools.with(2, function(pool)
            local begun, gates = mp.queue(), { mp.queue(), mp.queue() }
            local futures, fds = {}, {}
            for i = 1, 2 do
                futures[i] = pool:submit(held, begun, gates[i])
                begun:get()
                fds[i] = futures[i]:pollfd()
            end
            local other = pool:pollfd()
            gates[1]:put "one"
            assert.is_true(becomes_readable(fds[1]))
            assert.is_false(readable(fds[2]))
            assert.equal("one", futures[1]:result(0))
            assert.is_true(readable(fds[1]))
            assert.is_false(readable(fds[2]) or readable(other))
            futures[2]:cancel()
            assert.is_true(readable(fds[2]))
            assert.is_true(readable(futures[1]:pollfd()))
            local late = pool:map_async(math.abs, { -1 })
            late:wait()
            assert.is_true(readable(late:pollfd()))
        end)
    end)

    it("is readable when a worker has died", function()
        pools.with(1, function(pool)
            local begun, gate = mp.queue(), mp.queue()
            local fut = pool:submit(held, begun, gate)
            local pid = begun:get()
            local fds = { pool:pollfd(), fut:pollfd() }
            assert.is_false(readable(fds[1]) or readable(fds[2]))
            helper.run("kill -KILL " .. pid)
            assert.is_true(becomes_readable(fds[1]))
            assert.is_true(becomes_readable(fds[2]))
            pools.failure({ kind = "signal" }, fut.result, fut)
            helper.wait_until(function() -- the next worker serves, and that was heard
                mp.wait({}, 0)
                return not readable(fds[1])
            end, "the end of the news")
        end)
    end)

    it("is readable when it is time for a further run", function()
        pools.with(1, function(pool)
            local fut = pool:submit { target = function()
                return mp.worker.attempt == 2 and "again" or error "once more"
            end, retries = { n = 1, backoff = 0.2 } }
            local fd, t = fut:pollfd(), mp.clock()
            helper.wait_until(function() return becomes_readable(fd) and fut:is_done() end, "the result")
            assert.equal("again", fut:result(0))
            assert.is_true(mp.clock() - t < 10)
        end)
    end)

    it("ends with them", function()
        local function n_events()
            local n = 0
            for name in lfs.dir "/proc/self/fd" do
                local what = lfs.symlinkattributes("/proc/self/fd/" .. name, "target")
                n = n + (what and what:find "eventfd" and 1 or 0)
            end
            return n
        end
        local before = n_events()
        pools.with(1, function(pool)
            for _ = 1, 20 do assert.is_true(pool:submit(math.abs, 1):pollfd() > 2) end
            pool:pollfd()
            assert.is_true(n_events() >= before + 2)
        end)
        collectgarbage()
        collectgarbage()
        assert.equal(before, n_events())
    end)
end)

describe("cqueues", function()
    local function loop(...)
        if not has_cqueues then pending "cqueues is not installed" end
        local controller = cqueues.new()
        for _, f in ipairs { ... } do controller:wrap(f) end
        assert(controller:loop())
        controller:close()
    end

    it("takes a queue, a pipe end and a process as they are", function()
        local go, q, here, there = mp.queue(), mp.queue(), mp.pipe()
        local p
        local seen, turns = {}, 0
        loop(function()
            p = helper.started(function(from, queue, e)
                for i = 1, 3 do
                    from:get()
                    queue:put(i)
                    e:send(-i)
                end
            end, go, q, there)
            for i = 1, 3 do
                go:put(true)
                repeat
                    turns = turns + 1
                    cqueues.poll(q)
                    seen[i] = q:get(0)
                until seen[i]
            end
        end, function()
            for i = 1, 3 do
                repeat
                    turns = turns + 1
                    cqueues.poll(here)
                    seen[3 + i] = here:recv(0)
                until seen[3 + i]
            end
            cqueues.poll(p)
            assert.is_true(p:join(0))
        end, function()
            cqueues.sleep(0.02)
            seen.timer = true
        end)
        assert.same({ 1, 2, 3, -1, -2, -3, timer = true }, seen)
        assert.is_true(turns <= 20, turns .. " turns")
        finish(p)
        here:close()
        there:close()
    end)

    it("is woken, and does not poll", function()
        local N <const> = 100
        local go, q = mp.queue(), mp.queue()
        local p = helper.started(put_when_told, go, q, N)
        local t = mp.clock()
        loop(function()
            for i = 1, N do
                go:put(true)
                cqueues.poll(q)
                assert.equal(i, q:get(1))
            end
        end)
        assert.is_true(mp.clock() - t < N * 0.02, "as slow as looks 20 times a second")
        finish(p)
    end)
end)

describe("SIGURG, by which processes wake each other,", function()
    it("harms nobody: who waits, computes, reads, or is in a loop", function()
        local kill = assert(package.loadlib(helper.killer():match "([^;]*)%?%.so$" .. "killer.so", "luaopen_killer"))()
        local q, a, b = mp.queue(), mp.pipe()
        local p = mp.process { stdin = "pipe", target = function(queue, e)
            queue:put "ready"
            local from = queue:pollfd()
            local sum = 0
            for i = 1, 20000000 do sum = sum + i % 3 end
            mp.sleep(0.1)
            return from ~= nil, sum, io.read(), e:recv(), #mp.wait({ e }, 0.1)
        end, args = { q, a } }:start()
        assert.equal("ready", q:get())
        local fd = q:pollfd()
        for _ = 1, 20 do
            kill(p.pid, 23, 100)
            kill(mp.getpid(), 23, 10)
        end
        p.stdin:write "a line\n"
        p.stdin:close()
        kill(p.pid, 23, 100)
        b:send "a message"
        kill(p.pid, 23, 100)
        assert.same({ true, 20000001, "a line", "a message", 0 }, { p:result() })
        assert.is_false(readable(fd))
        finish(p)
        a:close()
        b:close()
    end)

    it("cannot be had by a handler", function()
        helper.misuse("mp.on_signal: SIGURG is luamp's own", function() mp.on_signal("SIGURG", print) end)
    end)
end)
