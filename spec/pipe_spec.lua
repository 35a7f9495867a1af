-- pipe_spec.lua: mp.pipe: two ends, what goes between them, who holds one, and the end.
local helper = require "spec.helper"
local mp = require "luamp"

local misuse, started, result_of = helper.misuse, helper.started, helper.result_of

local MIB = 1 << 20

local function closed(f, ...)
    return helper.fails({ kind = "closed", message = "mp.pipe: send: it is closed" }, f, ...)
end

-- The end of the stream, after what lies there. It is waited for: a limit of time is none of the promise.
local function ends(e)
    assert.same({ nil, "closed" }, { e:recv(30) })
    assert.is_true(e:poll())
    assert.same({ nil, "closed" }, { e:recv(0) })
end

local function is_open(e)
    assert.same({ nil, "timeout" }, { e:recv(0.12) }) -- two looks at who is alive
    assert.is_false(e:poll())
end

local function release(p)
    p:kill()
    p:join()
    p:close()
end

-- A process that does f(...) and then nothing; it is there and has done so.
local function held(f, ...)
    local told = mp.queue()
    local p = started(function(...)
        if f then f(...) end
        told:put "ready"
        mp.sleep(60)
    end, ...)
    assert.equal("ready", (told:get(30)))
    return p
end

after_each(function()
    helper.wait_until(function()
        collectgarbage()
        local kinds = mp.memory().kinds
        return kinds.pipe_ends.count == 0 and kinds.queues.count == 0
    end, "the end of all pipes")
end)

describe("mp.pipe", function()
    it("goes both ways", function()
        local a, b = mp.pipe()
        for from, to in pairs { [a] = b, [b] = a } do
            assert.is_false(to:poll())
            assert.is_true(from:send { 1, x = "y" })
            assert.is_true(to:poll())
            assert.is_false(from:poll())
            assert.same({ 1, x = "y" }, (to:recv()))
            assert.same({ nil, "timeout" }, { to:recv(0) })
            assert.same({ nil, "timeout" }, { to:recv(-1) })
        end
    end)

    it("of one way has an end that receives and one that sends", function()
        local r, w = mp.pipe { duplex = false }
        assert.is_true(w:send "x")
        assert.equal("x", (r:recv()))
        misuse("mp.pipe: send: this end only receives", function() r:send "x" end)
        misuse("mp.pipe: recv: this end only sends", function() w:recv() end)
        misuse("mp.pipe: poll: this end only sends", function() w:poll() end)
        local a = mp.pipe { duplex = true }
        assert.is_true(a:send "x")
    end)

    it("keeps the boundaries of messages", function()
        local r, w = mp.pipe { duplex = false }
        local sizes = { 0, 1, 2047, 2048, 2049, 65536, 100000, 3 }
        for _, size in ipairs(sizes) do w:send(("x"):rep(size)) end
        for _, size in ipairs(sizes) do assert.equal(size, #r:recv()) end
        assert.is_false(r:poll())
        for _, value in ipairs { false, true, 0, "", 1.5 } do
            w:send(value)
            assert.is_true(rawequal(value, (r:recv())))
        end
    end)

    it("takes no nil, nor what cannot be sent", function()
        local a, b = mp.pipe()
        misuse("mp.pipe: send: nil is no item", function() a:send(nil) end)
        misuse("mp.pipe: send: nil is no item", function() a:send() end)
        local e = helper.fails({ kind = "unsendable" }, a.send, a, { f = { io.stdout } })
        assert.matches("^cannot send item: f%[1%] is an open file", e.message)
        assert.is_false(b:poll())
    end)

    it("has a timeout that is never early", function()
        local r, w = mp.pipe { duplex = false }
        w:send(("x"):rep(2 * MIB))
        for _, seconds in ipairs { 0.001, 0.07 } do
            local t = mp.clock()
            assert.same({ nil, "timeout" }, { w:send("y", seconds) })
            assert.is_true(mp.clock() - t >= seconds)
            r:recv()
            t = mp.clock()
            assert.same({ nil, "timeout" }, { r:recv(seconds) })
            assert.is_true(mp.clock() - t >= seconds)
            w:send(("x"):rep(2 * MIB))
        end
        assert.same({ nil, "timeout" }, { w:send("y", 0) })
        misuse("mp.pipe: send: the timeout is not a number (NaN)", function() w:send(1, 0 / 0) end)
        misuse("mp.pipe: recv: the timeout must be a number of seconds, not table", function() r:recv {} end)
    end)

    it("misuse", function()
        misuse("mp.pipe: unknown option 'duples' (did you mean 'duplex'?)", function() mp.pipe { duples = 1 } end)
        misuse("mp.pipe: option 'duplex' must be a boolean, not 1", function() mp.pipe { duplex = 1 } end)
        misuse("mp.pipe: expected a table of options, not false", function() mp.pipe(false) end)
        local a = mp.pipe()
        misuse("mp.pipe: field 'duplex' is read-only; it is given as an option: mp.pipe{duplex=...}",
            function() a.duplex = true end)
        misuse("mp.pipe: its fields cannot be assigned ('send')", function() a.send = print end)
        misuse("mp.pipe: send: it must be called with a colon, on such an object", function() a.send(1, 2) end)
        misuse("mp.pipe: recv: it must be called with a colon, on such an object", function() a.recv(mp.queue()) end)
    end)

    it("shows itself", function()
        local r, w = mp.pipe { duplex = false }
        w:send(1)
        assert.matches("^mp%.pipe: 0x%x+ %(1 unread%)$", tostring(r))
        assert.matches("^mp%.pipe: 0x%x+ %(sends%)$", tostring(w))
        w:close()
        assert.matches("^mp%.pipe: 0x%x+ %(closed%)$", tostring(w))
    end)
end)

describe("what lies unread in a pipe", function()
    it("is no more than 1 MiB, and each way has its own", function()
        local a, b = mp.pipe()
        for from, to in pairs { [a] = b, [b] = a } do
            local n, piece = 0, ("x"):rep(64 << 10)
            while n < 100 and from:send(piece, 0) do n = n + 1 end
            assert.is_true(n == 16 or n == 15, n) -- a message is a little larger than its string
            assert.same({ nil, "timeout" }, { from:send(piece, 0.01) })
            to:recv()
            assert.is_true(from:send(piece, 0))
        end
    end)

    it("is one larger message alone", function()
        local r, w = mp.pipe { duplex = false }
        local large = ("y"):rep(3 * MIB)
        assert.is_true(w:send("small", 0))
        assert.same({ nil, "timeout" }, { w:send(large, 0) })
        assert.equal("small", (r:recv()))
        assert.is_true(w:send(large, 0))
        assert.same({ nil, "timeout" }, { w:send("small", 0) })
        assert.is_true(large == r:recv())
        assert.is_true(w:send("small", 0))
    end)

    it("lets a sender go on as it is read", function()
        local r, w = mp.pipe { duplex = false }
        local p <close> = started(function()
            for i = 1, 40 do w:send { i, ("x"):rep(100000) } end
            w:send(("z"):rep(2 * MIB))
            w:send "last"
        end)
        w:close()
        for i = 1, 40 do assert.equal(i, r:recv()[1]) end
        assert.equal(2 * MIB, #r:recv())
        assert.equal("last", (r:recv()))
        ends(r)
        p:result()
    end)
end)

describe("close", function()
    it("drains, then is the end, for the other end", function()
        local a, b = mp.pipe()
        a:send(1)
        a:send(2)
        a:close()
        a:close()
        assert.same({ 1, 2 }, { b:recv(), (b:recv()) })
        ends(b)
        closed(b.send, b, 1)
        closed(b.send, b, 1, 0)
        for _, method in ipairs { "send", "recv", "poll" } do
            misuse(("mp.pipe: %s: it is closed in this process"):format(method), function() a[method](a, 1) end)
        end
    end)

    it("wakes who waits at the other end", function()
        local a, b = mp.pipe()
        local told = mp.queue()
        local receiver = started(function() told:put(1) return b:recv() end)
        local c, d = mp.pipe()
        c:send(("x"):rep(2 * MIB))
        local sender = started(function() told:put(1) c:send "more" end)
        told:get()
        told:get()
        mp.sleep(0.05)
        a:close()
        d:close()
        assert.same({ nil, "closed" }, { receiver:result() })
        closed(sender.result, sender)
        receiver:close()
        sender:close()
    end)

    it("comes with a <close> variable, and with collection", function()
        local a, b = mp.pipe()
        do local end_of_it <close> = a end -- luacheck: ignore
        ends(b)
        local _, d = mp.pipe()
        _ = nil -- luacheck: ignore
        collectgarbage()
        ends(d)
    end)
end)

describe("a child holds", function()
    local function of_one_way()
        return mp.pipe { duplex = false }
    end

    it("the ends in its arguments, and in their tables", function()
        for _, wrap in ipairs {
            function(w) return w end,
            function(w) return { { x = w } } end,
            function(w) return { [w] = true } end,
            function(w) return setmetatable({}, { __index = { w } }) end,
            function(w) return function() return w end end,
        } do
            local r, w = of_one_way()
            local p = held(nil, wrap(w))
            w:close()
            is_open(r)
            release(p)
            ends(r)
        end
    end)

    it("those beside large tables, too", function()
        local r, w = of_one_way()
        local large = {}
        for i = 1, 200000 do large[i] = { i } end
        local p = held(nil, { large, { { w } } }, large)
        w:close()
        is_open(r)
        release(p)
        ends(r)
    end)

    it("by fork those that a search of 100,000 tables and functions comes to, the nearest first", function()
        helper.needs_fork "what travels is found at any depth"
        local r, w = of_one_way()
        local chain = w
        for _ = 1, 100010 do chain = { chain } end
        local p = held(nil, chain)
        w:close()
        ends(r)
        release(p)
    end)

    it("the ends in its function's upvalues", function()
        local r, w = of_one_way()
        local told = mp.queue()
        local inner = { function() return w end }
        local p = started(function()
            told:put "ready"
            mp.sleep(60)
            return inner
        end)
        told:get()
        w:close()
        is_open(r)
        release(p)
        ends(r)
    end)

    it("them from its start on, before it has done anything", function()
        for _ = 1, 20 do
            local r, w = of_one_way()
            local p = started(function(e) e:send "sent" end, w)
            w:close()
            assert.equal("sent", (r:recv(30)))
            ends(r)
            p:join()
            p:close()
        end
    end)

    it("those that it uses later, and no others", function()
        helper.needs_fork "a fresh process has no other ends"
        local r, w = of_one_way()
        local r2, w2 = of_one_way()
        rawset(_G, "an_end", w)
        rawset(_G, "unused", w2)
        local p = held(function() an_end:send "used" end) -- luacheck: ignore
        rawset(_G, "an_end", nil)
        rawset(_G, "unused", nil)
        w:close()
        w2:close()
        ends(r2)
        assert.equal("used", (r:recv()))
        is_open(r)
        release(p)
        ends(r)
    end)

    it("one until it closes it or drops it", function()
        for _, let_go in ipairs {
            function(e) e:close() end,
            function(e) local x <close> = e end, -- luacheck: ignore
        } do
            local r, w = of_one_way()
            local p = held(let_go, w)
            w:close()
            ends(r)
            release(p)
        end
    end)

    it("what its own child holds, too, and both have to let go", function()
        local r, w = of_one_way()
        local told = mp.queue()
        local p = started(function(e)
            local inner = mp.process(function()
                told:put(mp.getpid())
                mp.sleep(60)
                return e
            end):start()
            e:close()
            inner:join()
        end, w)
        told:get()
        w:close()
        is_open(r)
        release(p)
        ends(r)
    end)

    it("nothing if it could not be started", function()
        local r, w = of_one_way()
        local before = mp.memory().kinds.handles.count
        local p = mp.process { target = print, args = { w }, limits = { files = 1 << 40 } }
        helper.fails("cannot start", p.start, p)
        p:close()
        assert.equal(before, mp.memory().kinds.handles.count)
        w:close()
        ends(r)
    end)
end)

describe("the last holder's end", function()
    it("is that of the stream, and soon so when it was killed", function()
        local best = math.huge
        for _ = 1, 3 do
            local a, b = mp.pipe()
            local p = held(function(e) e:send "before" end, b)
            b:close()
            p:kill()
            local t = mp.clock()
            assert.equal("before", (a:recv(30)))
            assert.same({ nil, "closed" }, { a:recv(30) })
            best = math.min(best, mp.clock() - t)
            closed(a.send, a, 1)
            p:join()
            p:close()
        end
        assert.is_true(best < (helper.sanitized and 2 or 1), best) -- what it takes when the machine is full
    end)

    it("ends the wait of a sender", function()
        local a, b = mp.pipe()
        local p = held(nil, b)
        b:close()
        a:send(("x"):rep(2 * MIB))
        local killer <close> = started(function(pid) os.execute("kill -KILL " .. pid) end, p.pid)
        closed(a.send, a, "more")
        killer:join()
        release(p)
    end)

    it("comes by return, os.exit and errors", function()
        for _, ending in ipairs {
            function() return true end, function() os.exit(1) end, function() error("failed", 0) end,
        } do
            local a, b = mp.pipe()
            local p = started(function(e)
                e:send(1)
                return ending()
            end, b)
            b:close()
            assert.equal(1, (a:recv(30)))
            ends(a)
            p:join()
            p:close()
        end
    end)

    it("frees what lies unread", function()
        local a, b = mp.pipe()
        a:send(("x"):rep(4 * MIB))
        a:close()
        b:close()
        assert.is_true(mp.memory().used < MIB)
    end)
end)

describe("an end travels", function()
    it("through a queue and a pipe, and is held while it lies there", function()
        local q, a, b = mp.queue(), mp.pipe()
        local r, w = mp.pipe { duplex = false }
        q:put { w }
        w:close()
        is_open(r)
        a:send(q:get()[1])
        collectgarbage()
        is_open(r)
        local back = b:recv()
        assert.is_true(back:send "through all")
        assert.equal("through all", (r:recv()))
        back:close()
        ends(r)
    end)

    it("through its own pipe", function()
        local a, b = mp.pipe()
        a:send(b)
        assert.is_true(rawequal(b, (b:recv())))
        a:send(a)
        b:send "waits"
        a:close()
        local again = b:recv()
        assert.is_false(rawequal(a, again))
        assert.equal("waits", (again:recv()))
        assert.is_true(again:send "still there")
        assert.equal("still there", (b:recv()))
    end)

    it("as a result, and as its child's argument and answer", function()
        local r = result_of(function()
            local r, w = mp.pipe { duplex = false }
            w:send "from the child"
            return r
        end)
        assert.equal("from the child", (r:recv()))
        ends(r)
        local a, b = mp.pipe()
        local p <close> = started(function(e)
            local there, here = mp.pipe()
            e:send(there)
            there:close()
            for value in function() return (here:recv()) end do here:send(value * 2) end
        end, b)
        b:close()
        local there = a:recv()
        for i = 1, 100 do
            there:send(i)
            assert.equal(2 * i, (there:recv()))
        end
        there:close()
        p:result()
        ends(a)
    end)

    it("and what lies in a pipe that nobody can read is gone with it", function()
        local a, b = mp.pipe()
        local r, w = mp.pipe { duplex = false }
        a:send(w)
        w:close()
        is_open(r)
        a:close()
        b:close()
        ends(r)
    end)
end)

describe("many processes at one pipe", function()
    it("lose and double nothing", function()
        local r, w = mp.pipe { duplex = false }
        local senders, receivers = {}, {}
        for s = 1, 3 do
            senders[s] = started(function()
                for i = 1, 200 do w:send { s, i, ("x"):rep(i * 20) } end
            end)
        end
        local counts = mp.queue()
        for k = 1, 3 do
            receivers[k] = started(function()
                local last, n = { 0, 0, 0 }, 0
                for message in function() return (r:recv()) end do
                    if message[2] <= last[message[1]] or #message[3] ~= message[2] * 20 then error "not in order" end
                    last[message[1]], n = message[2], n + 1
                end
                counts:put(n)
            end)
        end
        w:close()
        r:close()
        for _, list in ipairs { senders, receivers } do
            for _, p in ipairs(list) do
                p:result()
                p:close()
            end
        end
        assert.equal(600, counts:get(0) + counts:get(0) + counts:get(0))
    end)
end)

describe("an end", function()
    for _, method in ipairs { "forkserver", "spawn" } do
        it("that a process was given by " .. method .. " and never received is held no more", function()
            local a, b = mp.pipe()
            local p = mp.process { start_method = method, target = function() mp.sleep(60) end, args = { b } }:start()
            b:close()
            p:kill()
            p:join() -- and the process object stays
            assert.same({ nil, "closed" }, { a:recv(5) })
            p:close()
        end)
    end

    it("may be closed by a handler while it waits", function()
        local result = helper.script_run [[
            local a, b = mp.pipe()
            mp.on_signal("USR1", function() a:close() b:close() end)
            local p = mp.process { command = { "sh", "-c", "sleep 0.2; kill -USR1 " .. mp.getpid() } }:start()
            print(pcall(a.recv, a))
            p:join()]]
        assert.same({ 0, "" }, { result.status, result.stderr })
        assert.matches("^false\t[^\n]*:5: mp.pipe: it was closed meanwhile\n$", result.stdout)
    end)

    it("that waits for room in a scope waits for as much as its message needs, and hears of a failure", function()
        local e = helper.fails({ kind = "error" }, mp.scope, function(s)
            local _, writer = mp.pipe { duplex = false }
            writer:send(("x"):rep(700000))
            s:start(function() mp.sleep(0.2) error("it failed", 0) end)
            writer:send(("x"):rep(700000))
        end)
        assert.equal("it failed", e.message)
    end)
end)
