-- queue_spec.lua: mp.queue within one process: what it takes and gives, bounds, the end, waiting,
-- misuse. Many processes, and how a queue travels, are in queue_family_spec, memory in
-- queue_memory_spec.
local helper = require "spec.helper"
local mp = require "luamp"

local misuse, started = helper.misuse, helper.started

-- Calls f, which must raise the error object of this kind.
local function kind_of(kind, f, ...)
    local e = helper.fails({ kind = kind }, f, ...)
    assert.is_true(mp.is_error(e))
    return e
end

local function filled(...)
    local q = mp.queue()
    q:put_many { ... }
    return q
end

local function drained(q)
    local list = {}
    for value in function() return (q:get(0)) end do list[#list + 1] = value end
    return list
end

-- How long f took, and its results.
local function timed(f, ...)
    local t = mp.clock()
    local results = table.pack(f(...))
    return mp.clock() - t, table.unpack(results, 1, results.n)
end

describe("the options of mp.queue:", function()
    it("none, a number of items, or a table", function()
        for _, q in ipairs { mp.queue(), mp.queue {}, mp.queue(2), mp.queue { maxsize = 2.0 },
            mp.queue { maxbytes = 1 }, mp.queue { maxbytes = "1.5K", maxsize = 1 << 53 } } do
            assert.is_true(q:put "x")
            assert.equal("x", q:get())
        end
    end)

    it("misuse is told with the option's name", function()
        local count = "must be an integer from 1 on, not "
        local bytes = "option 'maxbytes' must be a number of bytes from 1 on, or a text as \"512M\" (K, M, G, T), not "
        misuse("mp.queue: option 'maxsize' " .. count .. "0", function() mp.queue { maxsize = 0 } end)
        misuse("mp.queue: option 'maxsize' " .. count .. "1.5", function() mp.queue { maxsize = 1.5 } end)
        misuse("mp.queue: option 'maxsize' " .. count .. "inf", function() mp.queue { maxsize = math.huge } end)
        misuse("mp.queue: option 'maxsize' " .. count .. "false", function() mp.queue { maxsize = false } end)
        misuse("mp.queue: option 'maxsize' " .. count .. 'the string "3"', function() mp.queue { maxsize = "3" } end)
        misuse("mp.queue: the greatest number of items " .. count .. "-1", function() mp.queue(-1) end)
        misuse("mp.queue: the greatest number of items " .. count .. "a function", function() mp.queue(print) end)
        misuse("mp.queue: " .. bytes .. "0", function() mp.queue { maxbytes = 0 } end)
        misuse("mp.queue: " .. bytes .. "true", function() mp.queue { maxbytes = true } end)
        misuse("mp.queue: " .. bytes .. 'the string "many"', function() mp.queue { maxbytes = "many" } end)
    end)

    it("an unknown one raises and names the nearest", function()
        misuse("mp.queue: unknown option 'maxsiz' (did you mean 'maxsize'?)", function() mp.queue { maxsiz = 1 } end)
        misuse("mp.queue: unknown option 'bytes' (did you mean 'maxbytes'?)", function() mp.queue { bytes = 1 } end)
        misuse("mp.queue: options are named, and one is given for the key 1", function() mp.queue { 5 } end)
    end)
end)

describe("a queue", function()
    it("gives what was put, in that order", function()
        local q = mp.queue()
        for i = 1, 1000 do assert.is_true(q:put(i)) end
        for i = 1, 1000 do assert.equal(i, (q:get())) end
        assert.same({ nil, "timeout" }, { q:get(0) })
    end)

    it("gives copies, to the bit", function()
        local q, t = mp.queue(), { 1, x = { "y" } }
        t.self = t
        for _, value in ipairs { false, true, 0, -0.0, 1 / 0, math.mininteger, "", "a\0b", ("x"):rep(5000),
            ("long"):rep(1 << 18), print, mp } do
            q:put(value)
            local back = q:get()
            assert.is_true(rawequal(value, back))
            assert.equal(math.type(value), math.type(back))
        end
        q:put(-0.0)
        assert.equal(-math.huge, 1 / q:get())
        q:put(0 / 0)
        local nan = q:get()
        assert.is_true(nan ~= nan)
        q:put(t)
        t.x = "changed"
        local back = q:get()
        assert.is_false(rawequal(t, back))
        assert.is_true(rawequal(back, back.self))
        assert.same({ "y" }, back.x)
    end)

    it("takes items of all sizes, mixed", function()
        local q, sizes = mp.queue(), {}
        for i = 0, 18 do
            for _, more in ipairs { -1, 0, 1 } do sizes[#sizes + 1] = math.max(0, (1 << i) + more) end
        end
        for round = 1, 3 do
            for i, size in ipairs(sizes) do q:put(string.char((i + round) % 256):rep(size)) end
            for i, size in ipairs(sizes) do
                assert.is_true(string.char((i + round) % 256):rep(size) == q:get())
            end
        end
        assert.equal(0, #q)
    end)

    it("takes no nil, and false", function()
        local q = mp.queue()
        misuse("mp.queue: put: nil is no item", function() q:put(nil) end)
        misuse("mp.queue: put: nil is no item", function() q:put() end)
        misuse("mp.queue: put_many: nil is no item", function() q:put_many { 1, nil, 3 } end)
        assert.equal(0, #q)
        q:put(false)
        assert.equal(1, #q)
        assert.is_false((q:get()))
    end)

    it("refuses what cannot be sent, and stays as it is", function()
        local q = filled(1)
        local e = kind_of("unsendable", q.put, q, io.stdout)
        assert.matches("^cannot send item: it is an open file; ", e.message)
        e = kind_of("unsendable", q.put, q, { opts = { cache = { 1, 2, { conn = coroutine.create(print) } } } })
        assert.matches("^cannot send item: opts%.cache%[3%]%.conn is a coroutine", e.message)
        e = kind_of("unsendable", q.put_many, q, { 1, 2, { io.stdout }, 4 })
        assert.matches("^cannot send item: %[1%] is an open file", e.message)
        assert.same({ 1 }, drained(q))
        assert.equal(0, mp.memory().kinds.messages.count)
    end)

    it("knows how many it has", function()
        local q = mp.queue(3)
        for i = 0, 3 do
            assert.same({ i, i == 0, i == 3 }, { #q, q:is_empty(), q:is_full() })
            q:put(i, 0)
        end
        q:get()
        assert.same({ 2, false, false }, { #q, q:is_empty(), q:is_full() })
        assert.is_false(mp.queue():is_full())
    end)

    it("shows itself", function()
        local q = mp.queue(100)
        q:put_many { 1, 2, 3 }
        assert.matches("^mp%.queue: 0x%x+ %(3/100%)$", tostring(q))
        assert.matches("^mp%.queue: 0x%x+ %(1%)$", tostring(filled(1)))
        q:close()
        assert.matches("^mp%.queue: 0x%x+ %(3/100, closed%)$", tostring(q))
    end)

    it("has fields that are read-only", function()
        local q = mp.queue()
        misuse("mp.queue: field 'maxsize' is read-only; it is given as an option: mp.queue{maxsize=...}",
            function() q.maxsize = 1 end)
        misuse("mp.queue: its fields cannot be assigned ('put')", function() q.put = print end)
        misuse("mp.queue: its fields cannot be assigned ('1')", function() q[1] = 1 end)
        assert.is_nil(q.nothing)
        assert.is_false(getmetatable(q))
    end)

    it("is used by colon", function()
        local q = mp.queue()
        for _, method in ipairs { "put", "get", "put_many", "get_many", "iter", "task_done", "join", "close",
            "is_empty", "is_full" } do
            misuse(("mp.queue: %s: it must be called with a colon, on such an object"):format(method),
                function() q[method](1, 2) end)
        end
        misuse("on such an object", function() q.put(mp.pipe(), 2) end)
        misuse("on such an object", function() q.put() end)
    end)
end)

describe("a queue with bounds", function()
    it("takes no more items than it may have", function()
        local q = mp.queue(2)
        assert.is_true(q:put(1))
        assert.is_true(q:put(2))
        assert.same({ nil, "timeout" }, { q:put(3, 0) })
        assert.same({ nil, "timeout" }, { q:put(3, -1) })
        assert.equal(1, (q:get()))
        assert.is_true(q:put(3, 0))
        assert.same({ 2, 3 }, drained(q))
    end)

    it("takes no more bytes than it may have, but a larger item when it is empty", function()
        local q = mp.queue { maxbytes = "10K" }
        local piece = ("x"):rep(1000)
        local n = 0
        while q:put(piece, 0) do n = n + 1 end
        assert.is_true(n == 10 or n == 9, n)
        q:get()
        assert.is_true(q:put(piece, 0))
        local large = ("y"):rep(100000)
        assert.same({ nil, "timeout" }, { q:put(large, 0) })
        drained(q)
        assert.is_true(q:put(large, 0))
        assert.is_true(q:is_full())
        assert.same({ nil, "timeout" }, { q:put("", 0) })
        assert.is_true(large == q:get())
    end)

    it("holds both bounds", function()
        local q = mp.queue { maxsize = 3, maxbytes = 1000 }
        assert.equal(3, q:put_many({ 1, 2, 3, 4 }, 0))
        drained(q)
        assert.equal(1, q:put_many({ ("x"):rep(900), ("x"):rep(900) }, 0))
    end)

    it("lets a waiting putter go on when there is room", function()
        local q, told = mp.queue(1), mp.queue()
        q:put(1)
        local p <close> = started(function()
            told:put "here"
            return q:put(2)
        end)
        told:get()
        assert.equal(1, #q)
        assert.equal(1, (q:get()))
        assert.equal(2, (q:get()))
        assert.is_true(p:result())
    end)
end)

describe("put_many and get_many", function()
    it("put a list, and take one", function()
        local q, list = mp.queue(), {}
        for i = 1, 1000 do list[i] = i % 100 == 0 and ("x"):rep(5000) or i end
        assert.equal(1000, q:put_many(list))
        assert.equal(1000, #q)
        assert.same({ 1 }, q:get_many(1))
        assert.same({ 2, 3 }, q:get_many(2))
        local rest = q:get_many(5000)
        assert.same(table.move(list, 4, 1000, 1, {}), rest)
        assert.equal(0, q:put_many {})
        assert.equal(0, q:put_many({}, 0))
    end)

    it("say how many went in when time ran out, and those are the first", function()
        local q = mp.queue(3)
        assert.equal(3, q:put_many({ "a", "b", "c", "d", "e" }, 0.01))
        assert.equal(0, q:put_many({ "f" }, 0))
        assert.equal(0, q:put_many({ ("f"):rep(9999), "g" }, 0))
        assert.same({ "a", "b", "c" }, q:get_many(9))
        assert.equal(0, mp.memory().kinds.messages.count)
    end)

    it("go on as there is room, until all are in", function()
        local q = mp.queue(7)
        local p <close> = started(function()
            local list = {}
            for i = 1, 500 do list[i] = i end
            return q:put_many(list)
        end)
        for i = 1, 500 do assert.equal(i, (q:get())) end
        assert.equal(500, p:result())
    end)

    it("get_many takes what may fail to be had here by itself: nothing else is lost with it", function()
        local failing = setmetatable({}, { __mp_send = function() return function() error("not here", 0) end end })
        for _, q in ipairs { mp.queue(), mp.priority_queue() } do
            local is_ranked = tostring(q):find "priority"
            for i, item in ipairs { 1, 2, failing, 4, 5 } do q:put(item, is_ranked and i or nil) end
            assert.same({ 1, 2 }, q:get_many(9))
            misuse((is_ranked and "mp.priority_queue" or "mp.queue") .. ": get_many: cannot receive an item: the "
                .. "function that __mp_send returned failed: not here", function() q:get_many(9) end)
            assert.same({ 4, 5 }, q:get_many(9))
        end
    end)

    it("get_many waits for the first item only", function()
        local q = mp.queue()
        assert.same({ nil, "timeout" }, { q:get_many(5, 0) })
        assert.same({ nil, "timeout" }, { q:get_many(5, 0.01) })
        q:put(1)
        assert.same({ 1 }, q:get_many(5))
        q:close()
        assert.same({ nil, "closed" }, { q:get_many(5) })
    end)

    it("misuse", function()
        local q = mp.queue()
        local text = "mp.queue: get_many: the number of items must be an integer from 1 on, not "
        misuse(text .. "0", function() q:get_many(0) end)
        misuse(text .. "1.5", function() q:get_many(1.5) end)
        misuse(text .. "nil", function() q:get_many() end)
        misuse("mp.queue: put_many: expected a list of items, not number", function() q:put_many(1) end)
        misuse("mp.queue: put_many: expected a list of items, not no value", function() q:put_many() end)
        misuse("mp.queue: put_many: the timeout must be a number of seconds, not string",
            function() q:put_many({}, "x") end)
    end)
end)

describe("a timeout", function()
    local ways = {
        ["put"] = function(timeout) local q = mp.queue(1) q:put(1) return q:put(2, timeout) end,
        ["get"] = function(timeout) return mp.queue():get(timeout) end,
        ["get_many"] = function(timeout) return mp.queue():get_many(3, timeout) end,
        ["join"] = function(timeout) return filled(1):join(timeout) end,
    }
    for name, call in pairs(ways) do
        it("of " .. name .. " is never early, and 0 or less asks once", function()
            for _, seconds in ipairs { 0.001, 0.06, 0.13 } do
                local took, value, word = timed(call, seconds)
                assert.same({ nil, "timeout" }, { value, word })
                assert.is_true(took >= seconds, took)
                assert.is_true(took < 30, took)
            end
            for _, seconds in ipairs { 0, -1, -math.huge } do
                assert.same({ nil, "timeout" }, { call(seconds) })
            end
        end)

        it("of " .. name .. " is a number", function()
            helper.fails(("mp.queue: %s: the timeout is not a number (NaN)"):format(name), call, 0 / 0)
            helper.fails(("mp.queue: %s: the timeout must be a number of seconds, not "):format(name), call, {})
            helper.fails(("mp.queue: %s: the timeout must be a number of seconds, not string"):format(name), call, "1")
        end)
    end

    it("may be for ever in a number", function()
        local q = mp.queue()
        q:put(1, math.huge)
        assert.equal(1, (q:get(1e300)))
    end)
end)

describe("a closed queue", function()
    it("takes nothing more and gives what it has", function()
        local q = filled(1, 2)
        q:close()
        q:close()
        local e = kind_of("closed", q.put, q, 3)
        assert.equal("mp.queue: put: it is closed", e.message)
        assert.matches("^mp.queue: put: it is closed\n", tostring(e))
        kind_of("closed", q.put, q, 3, 0)
        kind_of("closed", q.put_many, q, { 3 })
        kind_of("closed", q.put_many, q, { 3 }, 0)
        assert.same({ 2, false }, { #q, q:is_empty() })
        assert.same({ 1, 2 }, { q:get(), (q:get()) })
        for _, timeout in ipairs { 0, 0.01, math.huge } do
            assert.same({ nil, "closed" }, { q:get(timeout) })
        end
        assert.same({ nil, "closed" }, { q:get() })
        assert.equal(0, #q)
    end)

    it("was full", function()
        local q = mp.queue(1)
        q:put(1)
        q:close()
        kind_of("closed", q.put, q, 2)
        kind_of("closed", q.put, q, 2, 0)
        assert.equal(1, (q:get()))
    end)

    it("ends its iterator, which gives false as well", function()
        local q = filled(1, false, 3)
        q:close()
        local list = {}
        for value in q:iter() do list[#list + 1] = value end
        assert.same({ 1, false, 3 }, list)
        for _ in q:iter() do error "none is left" end
    end)

    it("wakes those who wait", function()
        local full, empty, told = mp.queue(1), mp.queue(), mp.queue()
        full:put(1)
        local waiting = {
            started(function() told:put(1) full:put(2) end),
            started(function() told:put(1) full:put_many { 2, 3 } end),
            started(function() told:put(1) return empty:get() end),
            started(function() told:put(1) return empty:get_many(2) end),
            started(function() told:put(1) return empty:iter()(), "closed" end),
        }
        for _ = 1, #waiting do told:get() end
        mp.sleep(0.05) -- most of them wait by now; those that come later find it closed
        full:close()
        empty:close()
        for i, p in ipairs(waiting) do
            if i <= 2 then
                assert.equal("closed", kind_of("closed", p.result, p).kind)
            else
                assert.same({ nil, "closed" }, { p:result() })
            end
            p:close()
        end
        assert.equal(1, #full)
    end)
end)

describe("task_done and join", function()
    it("wait until all was taken and done", function()
        local q = mp.queue()
        assert.is_true(q:join())
        q:put_many { 1, 2 }
        assert.same({ nil, "timeout" }, { q:join(0) })
        q:get()
        q:task_done()
        assert.same({ nil, "timeout" }, { q:join(0) })
        q:get()
        assert.same({ nil, "timeout" }, { q:join(0.01) })
        assert.equal(0, select("#", q:task_done()))
        assert.same({ true }, { q:join() })
        assert.same({ true }, { q:join(0) })
    end)

    it("cannot be told more often than items were taken", function()
        local q = filled(1, 2)
        local text = "mp.queue: task_done: called more often than items were taken"
        misuse(text, function() q:task_done() end)
        q:get()
        q:task_done()
        misuse(text, function() q:task_done() end)
        q:get_many(5)
        q:task_done()
        misuse(text, function() q:task_done() end)
    end)

    it("may be called by another process than the one that took", function()
        local q = filled(1)
        q:get()
        local p <close> = started(function() q:task_done() end)
        assert.is_true(p:join())
        assert.same({ true }, { q:join(0) })
    end)

    it("lets one that waits go on", function()
        local q, told = filled(1, 2, 3), mp.queue()
        local p <close> = started(function()
            told:put "here"
            return q:join()
        end)
        told:get()
        for _ in function() return (q:get(0)) end do q:task_done() end
        assert.same({ true }, { p:result() })
    end)

    it("say once that a process ended holding items", function()
        local q = filled(1, 2, 3, 4)
        for _, ending in ipairs {
            function() q:get() q:get() q:task_done() end,
            function() q:get() os.exit(3) end,
            function() q:get() error("failed", 0) end,
        } do
            local p <close> = started(ending)
            p:join()
        end
        assert.same({ true, "abandoned" }, { q:join(10) })
        assert.same({ true }, { q:join(0) })
        q:put(5)
        q:get()
        q:task_done()
        assert.same({ true }, { q:join(0) })
    end)

    it("say it of one that dropped its handle, which could tell nothing more", function()
        local q = filled(1, 2)
        local done = mp.queue()
        local p <close> = started(function()
            local list = q:get_many(2)
            q:task_done()
            do local dropped <close> = q end -- luacheck: ignore
            done:put(#list)
            mp.sleep(60)
        end)
        assert.equal(2, (done:get()))
        assert.same({ true, "abandoned" }, { q:join(10) })
        assert.same({ true }, { q:join(0) })
        p:kill()
        p:join()
        assert.same({ true }, { q:join(0) })
    end)

    it("say it of one that was killed, also to who waits already", function()
        local q, told = filled(1), mp.queue()
        local p <close> = started(function()
            q:get()
            told:put "taken"
            mp.sleep(60)
        end)
        told:get()
        assert.same({ nil, "timeout" }, { q:join(0.01) })
        local killer <close> = started(function(pid) os.execute("kill -KILL " .. pid) end, p.pid)
        assert.same({ true, "abandoned" }, { q:join(10) })
        assert.same({ true }, { q:join(0) })
        killer:join()
        p:join()
    end)
end)

describe("the handle of a queue", function()
    it("is dropped at the end of a <close> variable; use after it raises", function()
        local kept
        do
            local q <close> = mp.queue(2)
            q:put(1)
            kept = q
        end
        kept:close() -- twice is harmless
        for _, method in ipairs { "put", "get", "put_many", "get_many", "iter", "task_done", "join",
            "is_empty", "is_full" } do
            misuse(("mp.queue: %s: it is closed in this process"):format(method), function() kept[method](kept, 1) end)
        end
        misuse("mp.queue: #: it is closed", function() return #kept end)
        assert.matches("^mp%.queue: 0x%x+ %(gone%)$", tostring(kept))
        assert.equal(0, mp.memory().kinds.queues.count)
    end)

    it("is dropped when it is collected, and what was in the queue with the last one", function()
        for _ = 1, 3 do -- through several segments, in memory that was used before
            local long = mp.queue()
            for i = 1, 100 do long:put(("x"):rep(2000 + i)) end
            for _ = 1, 100 do long:get() end
        end
        collectgarbage()
        assert.equal(0, mp.memory().kinds.queues.count)
        local q = filled(("x"):rep(100000), filled(("y"):rep(100000)), 3) -- luacheck: ignore
        assert.equal(2, mp.memory().kinds.queues.count)
        assert.equal(3, mp.memory().kinds.messages.count)
        q = nil -- luacheck: ignore
        collectgarbage()
        local kinds = mp.memory().kinds
        for _, kind in ipairs { "queues", "messages", "handles", "structures" } do
            assert.same({ kind, 0 }, { kind, kinds[kind].count })
        end
        assert.equal(0, mp.memory().used - kinds.pipe_ends.bytes)
    end)
end)

describe("code that runs in the middle of a call", function()
    it("may close what the call is about: it is not used any more", function()
        local q
        local closing = setmetatable({}, { __mp_send = function()
            local _ <close> = q
            return tostring
        end })
        for _, put in ipairs { function() q:put(closing) end, function() q:put_many { 1, closing } end } do
            q = mp.queue()
            misuse("mp.queue: it was closed meanwhile", put)
        end
        collectgarbage()
        assert.equal(0, mp.memory().kinds.queues.count)
        assert.equal(0, mp.memory().kinds.messages.count)
    end)
end)

it("what is neither an option nor an item is told", function()
    misuse("mp.queue: expected a number of items or a table of options, and nothing else",
        function() mp.queue(3, 4) end)
    misuse("mp.queue: put_many: the table has keys, and no items", function() mp.queue():put_many { a = 1 } end)
    assert.equal(0, mp.queue():put_many {})
end)

it("metamethods of queues and pipes take nothing else", function()
    for _, object in ipairs { mp.queue(), (mp.pipe()) } do
        local meta = debug.getmetatable(object)
        for _, other in ipairs { io.stdout, 5, {} } do
            meta.__gc(other)
            meta.__close(other)
            assert.is_false((pcall(meta.__newindex, other, "x", 1)))
            assert.is_false((pcall(meta.__tostring, other)))
        end
    end
end)
