-- dict_spec.lua: mp.dict: values by keys that processes share.
local helper = require "spec.helper"
local mp = require "luamp"

local function sorted(list)
    table.sort(list, function(a, b) return tostring(a) < tostring(b) end)
    return list
end

local function contents(d)
    local all = {}
    for k, v in pairs(d) do all[k] = v end
    return all
end

describe("a dict", function()
    it("has what was set, of any sendable value, and nothing else", function()
        local d = mp.dict()
        local values = { 1, -5, math.maxinteger, math.mininteger, 1.5, -0.0, 1 / 0, true, false, "",
            "short", ("x"):rep(64),
            ("y"):rep(100000), "nul\0in", { 1, 2, { a = "b" } }, { [1.5] = true } }
        for i, v in ipairs(values) do d:set(i, v) end
        for i, v in ipairs(values) do
            assert.same(v, d:get(i))
            assert.equal(math.type(v), math.type(d:get(i)))
        end
        assert.equal(1 / values[6], 1 / d:get(6)) -- -0.0
        assert.is_nil(d:get "another")
        assert.equal(#values, #d)
    end)

    it("keeps NaN as a value", function()
        local d = mp.dict()
        d:set("nan", 0 / 0)
        local v = d:get "nan"
        assert.is_true(v ~= v)
    end)

    it("gives a copy, of which changes are not seen", function()
        local d = mp.dict()
        local own = { n = 1 }
        d:set("t", own)
        own.n = 2
        d:get("t").n = 3
        assert.same({ n = 1 }, d:get "t")
        assert.are_not.equal(d:get "t", d:get "t")
    end)

    it("takes an integer and its float as one key, and 0 and -0.0", function()
        local d = mp.dict()
        d:set(1, "one")
        d:set(1.0, "uno")
        d:set(0, "zero")
        d:set(-0.0, "null")
        d:set(2 ^ 53, "large")
        assert.equal(3, #d)
        assert.same({ "uno", "null", "large" }, { d:get(1), d:get(0), d:get(1 << 53) })
        assert.equal("integer", math.type(sorted(d:keys())[2]))
    end)

    it("tells keys of different types apart", function()
        local d = mp.dict()
        for i, key in ipairs { "1", 1, 1.5, "1.5", true, "true", false, "" } do d:set(key, i) end
        assert.same({ 1, 2, 3, 4, 5, 6, 7, 8 }, { d:get "1", d:get(1), d:get(1.5), d:get "1.5", d:get(true),
            d:get "true",
            d:get(false), d:get "" })
        assert.equal(8, #d)
        for _, key in ipairs(d:keys()) do assert.is_not_nil(d:get(key)) end
    end)

    it("takes long keys and such with zeros", function()
        local d = mp.dict()
        local long = ("k"):rep(100000)
        d:set(long .. "1", 1)
        d:set(long .. "2", 2)
        d:set("a\0b", 3)
        assert.same({ 1, 2, 3 }, { d:get(long .. "1"), d:get(long .. "2"), d:get "a\0b" })
        assert.is_nil(d:get "a")
    end)

    it("refuses keys that are nil, NaN or of another type", function()
        local d = mp.dict()
        helper.misuse("mp.dict: set: a key cannot be nil", function() d:set(nil, 1) end)
        helper.misuse("mp.dict: get: a key cannot be nil", function() mp.lock():with(d.get, d) end)
        helper.misuse("mp.dict: set: a key cannot be NaN", function() d:set(0 / 0, 1) end)
        helper.misuse("mp.dict: add: a key must be a string, a number or a boolean, not table",
            function() d:add({}) end)
        helper.misuse("mp.dict: set: expected a key and a value (nil removes)", function() d:set "k" end)
        assert.equal(0, #d)
    end)

    it("removes by set of nil, and remove gives the old value", function()
        local d = mp.dict()
        d:set("a", { 1 })
        d:set("b", false)
        d:set("c", "x")
        d:set("a", nil)
        assert.is_nil(d:get "a")
        assert.is_false(d:remove "b")
        assert.equal("x", d:remove "c")
        assert.is_nil(d:remove "c")
        d:set("c", nil)
        assert.equal(0, #d)
    end)

    it("adds from 0 on as Lua adds, and gives the new value", function()
        local d = mp.dict()
        assert.same({ 1, 3, 3.5, 2.5 }, { d:add "n", d:add("n", 2), d:add("n", 0.5), d:add("n", -1) })
        assert.equal("integer", math.type(d:add("i", 5)))
        assert.equal("float", math.type(d:add("f", 5.0)))
        d:set("max", math.maxinteger)
        assert.equal(math.mininteger, d:add "max")
        assert.equal(4, #d)
    end)

    it("raises where what is added to, or what is added, is no number, and nothing is changed", function()
        local d = mp.dict()
        d:set("s", "5")
        d:set("b", true)
        helper.misuse("mp.dict: add: the value of key 's' is not a number", function() d:add "s" end)
        helper.misuse("mp.dict: add: the value of key 'b' is not a number", function() d:add("b", 1.5) end)
        helper.misuse("mp.dict: add: what is added must be a number, not string", function() d:add("n", "1") end)
        assert.same({ s = "5", b = true }, contents(d))
    end)

    it("updates a key by a function of its value, whose result is the new one", function()
        local d = mp.dict()
        assert.same({ "first" }, d:update("k", function(v)
            assert.is_nil(v)
            return { "first" }
        end))
        assert.equal(2, d:update("k", function(v)
            assert.same({ "first" }, v)
            return 2
        end))
        assert.equal(3, d:update("k", function(v) return v + 1 end))
        assert.equal(3, d:get "k")
        assert.is_nil(d:update("k", function() end)) -- nil removes
        assert.is_nil(d:update("never", function() return nil end))
        assert.equal(0, #d)
        assert.same({}, d:keys())
    end)

    it("is as it was when the function of an update raises, whose error goes on as it was", function()
        local d = mp.dict()
        d:set("k", "old")
        local raised = setmetatable({}, { __name = "mine" })
        for _, key in ipairs { "k", "absent" } do
            assert.equal(raised, select(2, pcall(d.update, d, key, function() error(raised) end)))
        end
        assert.same({ k = "old" }, contents(d))
        assert.equal(1, #d)
        d:set("k", "new") -- nobody updates it any more
        d:set("absent", 1)
        assert.same({ k = "new", absent = 1 }, contents(d))
        local co = coroutine.create(d.update) -- of which nobody closes anything
        assert.same({ false, raised }, { coroutine.resume(co, d, "k", function() error(raised) end) })
        d:set("k", "newer")
        assert.equal("newer", d:get "k")
    end)

    it("is as it was when the function of an update yields, which it may not", function()
        local d = mp.dict()
        d:set("k", "old")
        local co = coroutine.create(function() d:update("k", function() coroutine.yield() end) end)
        local ok, e = coroutine.resume(co)
        assert.is_false(ok)
        assert.matches("attempt to yield across a C%-call boundary", e)
        d:set("k", "new")
        assert.equal("new", d:get "k")
    end)

    it("is as it was when the function of an update returns what cannot be sent", function()
        local d = mp.dict()
        d:set("k", "old")
        helper.fails({ kind = "unsendable" }, d.update, d, "k", function() return io.stdout end)
        assert.equal("old", d:get "k")
        d:set("k", "new")
        assert.equal("new", d:get "k")
    end)

    it("can be used in the function of an update: other keys as ever, the same one to read", function()
        local d = mp.dict()
        d:set("a", 1)
        d:update("a", function(v)
            d:set("b", 2)
            d:update("c", function() return d:add("b", 1) end)
            assert.equal(1, d:get "a")
            assert.same({ a = 1, b = 3, c = 3 }, contents(d))
            assert.equal(3, #d)
            local busy = "this process is updating that key: it could only wait for itself"
            helper.fails("mp.dict: set: " .. busy, d.set, d, "a", 5)
            helper.fails("mp.dict: set: " .. busy, d.set, d, "a", nil)
            helper.fails("mp.dict: remove: " .. busy, d.remove, d, "a")
            helper.fails("mp.dict: add: " .. busy, d.add, d, "a")
            helper.misuse("mp.dict: update: " .. busy, function() d:update("a", print) end)
            helper.fails("mp.dict: clear: " .. busy, d.clear, d)
            return v + 10
        end)
        assert.same({ a = 11, b = 3, c = 3 }, contents(d))
    end)

    it("that is closed in the function of an update has the old value", function()
        local d = mp.dict()
        local box = mp.queue()
        d:set("k", "old")
        box:put(d)
        helper.fails("mp.dict: it was closed meanwhile", d.update, d, "k", function()
            d:close()
            return "new"
        end)
        local other = box:get()
        assert.equal("old", other:get "k")
        other:set("k", "new")
        assert.equal("new", other:get "k")
    end)

    it("takes a function to update by", function()
        local d = mp.dict()
        helper.misuse("mp.dict: update: expected a key and a function, not nothing", function() d:update "k" end)
        helper.misuse("mp.dict: update: a key cannot be nil", function() d:update(nil, print) end)
    end)

    it("gives its keys as a list, and clears", function()
        local d = mp.dict()
        for _, key in ipairs { "a", 2, 2.5, true } do d:set(key, 1) end
        assert.same({ 2, 2.5, "a", true }, sorted(d:keys()))
        d:clear()
        assert.same({ 0, nil, {} }, { #d, d:get "a", d:keys() })
        d:clear()
        d:set("a", 1)
        assert.same({ a = 1 }, contents(d))
    end)

    it("is gone over as it was when that began", function()
        local d = mp.dict()
        for i = 1, 100 do d:set(i, i * i) end
        local n, sum = 0, 0
        for k, v in pairs(d) do
            n, sum = n + 1, sum + v
            d:set(k, nil)
            d:set(k + 1000, 0)
        end
        assert.same({ 100, 338350 }, { n, sum })
        assert.equal(100, #d)
    end)

    it("raises when it is indexed, and names get and set", function()
        local d = mp.dict()
        local advice = "values are read with get(key) and written with set(key, value)"
        helper.misuse("mp.dict: 'x' is no method: " .. advice, function() return d.x end)
        helper.misuse("mp.dict: '1' is no method: " .. advice, function() return d[1] end)
        helper.misuse("mp.dict: 'x' cannot be assigned: " .. advice, function() d.x = 1 end)
        helper.misuse("mp.dict: takes no arguments: it is filled with set(key, value)",
            function() mp.dict { a = 1 } end)
    end)

    it("refuses what cannot be sent, and keeps what it had", function()
        local d = mp.dict()
        d:set("k", "old")
        local e = helper.fails({ kind = "unsendable" }, d.set, d, "k", { { coroutine.create(print) } })
        assert.matches("cannot send item: %[1%]%[1%] is a coroutine", e.message)
        assert.equal("old", d:get "k")
    end)

    it("prints its size, and is closed for this process alone", function()
        local d = mp.dict()
        d:set(1, 1)
        assert.matches("^mp%.dict: 0x%x+ %(1%)$", tostring(d))
        d:close()
        d:close()
        assert.matches("^mp%.dict: 0x%x+ %(closed%)$", tostring(d))
        helper.misuse("mp.dict: get: it is closed in this process", function() d:get(1) end)
        helper.misuse("mp.dict: set: it must be called with a colon, on such an object", function() d.set(1, 2) end)
    end)

    it("cannot be waited for, and says so", function()
        helper.fails("there is nothing to be waited for", mp.wait, { mp.dict() }, 0)
    end)

    it("grows to many keys, and gives back what they took", function()
        local n = helper.sanitized and 5000 or 50000
        collectgarbage()
        local before = mp.memory()
        local d = mp.dict()
        for i = 1, n do d:set("key" .. i, i) end
        assert.equal(n, #d)
        for i = 1, n, 97 do assert.equal(i, d:get("key" .. i)) end
        for i = 1, n do d:remove("key" .. i) end
        assert.equal(0, #d)
        local emptied = mp.memory()
        assert.equal(before.kinds.entries.count, emptied.kinds.entries.count)
        assert.is_true(emptied.kinds.tables.bytes <= 64 * 512) -- a small one for each stripe
        for i = 1, n do d:set(i, { i }) end
        d = nil -- luacheck: ignore
        collectgarbage()
        local after = mp.memory()
        assert.equal(before.used, after.used)
    end)
end)

describe("a dict among processes", function()
    it("is one for all, however it came there", function()
        local d, box = mp.dict(), mp.queue()
        d:set("from", "parent")
        local p <close> = helper.started(function(given, q)
            given:set("seen", given:get "from")
            local own = mp.dict()
            own:set("made", "in the child")
            given:set("inner", { own })
            q:put(own)
        end, d, box)
        p:result()
        assert.equal("parent", d:get "seen")
        local inner = d:get("inner")[1]
        assert.equal("in the child", inner:get "made")
        assert.equal(inner, box:get())
        inner:set("made", 2)
        assert.equal(2, d:get("inner")[1]:get "made")
    end)

    it("holds the objects in its values, until they go", function()
        collectgarbage()
        local before = mp.memory().kinds.queues.count
        local d = mp.dict()
        do
            local q = mp.queue()
            q:put "item"
            d:set("q", { q, q })
            d:set("plain", q)
        end
        collectgarbage()
        assert.equal(before + 1, mp.memory().kinds.queues.count)
        do
            local both = d:get "q"
            assert.equal(both[1], both[2])
            assert.equal(both[1], d:remove "plain")
            for _, v in pairs(d) do assert.equal(both[1], v[1]) end
        end
        d:set("q", 1)
        collectgarbage()
        assert.equal(before, mp.memory().kinds.queues.count)
    end)

    it("is freed with all that is in it when the last handle is gone", function()
        local function used()
            collectgarbage()
            return mp.memory().used
        end
        local before = used()
        do
            local d = mp.dict()
            for i = 1, 100 do d:set(i, { mp.queue(), mp.dict(), ("x"):rep(i * 100) }) end
            local p <close> = helper.started(function(given) return #given end, d)
            assert.equal(100, p:result())
        end
        assert.equal(before, used())
    end)

    it("counts, adds and updates without loss", function()
        local d = mp.dict()
        local n, processes = helper.sanitized and 300 or 2000, {}
        for i = 1, 4 do
            processes[i] = helper.started(function(given, count)
                for _ = 1, count do
                    given:add "added"
                    given:update("updated", function(v) return (v or 0) + 1 end)
                end
            end, d, n)
        end
        for _, p in ipairs(processes) do p:result() p:close() end
        assert.same({ added = 4 * n, updated = 4 * n }, contents(d))
    end)

    -- One writes a pair of keys, the first before the second: whoever sees both together sees no second
    -- that is newer than the first.
    it("is gone over at one moment", function()
        local d, over = mp.dict(), mp.queue()
        for i = 1, 3000 do d:set(i, i) end -- so that it takes a while
        local p <close> = helper.started(function(given, stop)
            local i = 0
            while stop:is_empty() do
                i = i + 1
                given:set("first", i)
                given:set("second", i)
            end
        end, d, over)
        helper.wait_until(function() return d:get "second" end, "the first pair")
        for _ = 1, helper.sanitized and 50 or 300 do
            local all = contents(d)
            assert.is_true(all.first - all.second == 0 or all.first - all.second == 1)
        end
        over:put(true)
        p:result()
    end)

    it("makes others wait for the key that is updated, not those who read it or are at other keys", function()
        local d, into, out = mp.dict(), mp.queue(), mp.queue()
        d:set("k", 1)
        d:set("other", 1)
        local p <close> = helper.started(function(given, a, b)
            given:update("k", function(v)
                a:put "in"
                b:get()
                return v + 1
            end)
            b:get() -- its end is not what the others wait for
        end, d, into, out)
        into:get()
        assert.equal(1, d:get "k")
        assert.same({ k = 1, other = 1 }, contents(d))
        d:set("other", 2)
        local waiters = {}
        for i, act in ipairs {
            function(given) given:add("k", 10) end,
            function(given) given:update("k", function(v) return v + 100 end) end,
        } do
            waiters[i] = helper.started(act, d)
        end
        assert.same({ nil, "timeout" }, { waiters[1]:join(0.2) })
        assert.same({ nil, "timeout" }, { waiters[2]:join(0) })
        assert.equal(1, d:get "k")
        out:put "go on"
        for _, w in ipairs(waiters) do w:result() w:close() end
        assert.equal(112, d:get "k")
        out:put "end"
        p:result()
    end)

    it("makes set, remove and clear wait for an update", function()
        for name, after in pairs { set = 7, remove = 0, clear = 0 } do
            local d, into, out = mp.dict(), mp.queue(), mp.queue()
            local p <close> = helper.started(function(given, a, b)
                given:update("k", function()
                    a:put "in"
                    b:get()
                    return 5
                end)
            end, d, into, out)
            into:get()
            local w <close> = helper.started(function(given, method)
                if method == "clear" then return given:clear() end
                return given[method](given, "k", 7)
            end, d, name)
            assert.same({ nil, "timeout" }, { w:join(0.15) })
            out:put "go on"
            assert.same({ name == "remove" and 5 or nil }, { w:result() })
            p:result()
            assert.equal(after, d:get "k" or 0)
        end
    end)

    it("has the old value when a process is killed in its update, and others go on within 100 ms", function()
        for _, old in ipairs { 1, "none" } do
            local d, into = mp.dict(), mp.queue()
            if old ~= "none" then d:set("k", old) end
            local p <close> = helper.started(function(given, a)
                given:update("k", function()
                    a:put "in"
                    mp.sleep(60)
                    return "new"
                end)
            end, d, into)
            into:get()
            local w <close> = helper.started(function(given, a)
                a:put "waits"
                local v = given:update("k", function(v) return { v } end)
                a:put(mp.clock())
                return v
            end, d, into)
            into:get()
            assert.same({ nil, "timeout" }, { w:join(0.1) })
            local killed = mp.clock()
            p:kill()
            local took = into:get() - killed
            assert.same({ old ~= "none" and old or nil }, w:result())
            assert.is_true(took < (helper.sanitized and 1 or 0.5), took) -- 100 ms on a machine that is not busy
            p:join()
            assert.equal(1, #d)
        end
    end)

    it("has nothing of a process that was killed while it updated a key that was not there", function()
        local d, into = mp.dict(), mp.queue()
        local p <close> = helper.started(function(given, a)
            given:update("k", function()
                a:put "in"
                mp.sleep(60)
            end)
        end, d, into)
        into:get()
        assert.same({ 0, nil, {} }, { #d, d:get "k", d:keys() })
        p:kill()
        p:join()
        p:close()
        helper.wait_until(function() return mp.memory().kinds.entries.count == 0 end, "the entry to go")
        assert.equal(0, #d)
    end)

    it("tells of processes that wait for each other's updates", function()
        local result = helper.script_run [[
            local d, there = mp.dict(), mp.queue()
            local function cross(mine, other)
                d:update(mine, function()
                    there:put(mine)
                    while there:get(10) == mine do there:put(mine) mp.sleep(0.01) end
                    d:set(other, 1)
                end)
            end
            local p = mp.process { target = cross, args = { "a", "b" }, stderr = "null" }:start()
            local ok, e = pcall(cross, "b", "a")
            print(ok, e.kind)
            print((e.message:gsub("0x%x+ ", ""):gsub("pid %d+", "pid"):gsub("process '[^']*'", "process")))]]
        assert.same({ 0, "" }, { result.status, result.stderr })
        assert.matches("^false\tdeadlock\ndeadlock, nobody can go on:\n", result.stdout)
        local _, n = result.stdout:gsub("waits for the end of an update of mp%.dict: %(0%)", "")
        assert.equal(2, n)
    end)

    it("ends a wait for an update when a signal's handler raises", function()
        helper.needs_fork "the signal comes from a process that knows this one's pid"
        local d, into, out = mp.dict(), mp.queue(), mp.queue()
        local p <close> = helper.started(function()
            d:update("k", function()
                into:put "in"
                out:get()
                return 1
            end)
        end)
        into:get()
        local pid = mp.getpid()
        mp.on_signal("SIGUSR1", function() error "handled" end)
        local s <close> = helper.started(function()
            mp.sleep(0.1)
            os.execute("kill -USR1 " .. pid)
        end)
        helper.fails("handled", d.set, d, "k", 2)
        mp.on_signal("SIGUSR1", nil)
        out:put "go on"
        p:result()
        s:result()
        assert.equal(1, d:get "k")
    end)

    it("ends a wait for an update when a scope fails", function()
        local d = mp.dict()
        local e = helper.fails({}, mp.scope, function(s)
            local into = mp.queue()
            s:start { target = function(given, q)
                given:update("k", function()
                    q:put "in"
                    mp.sleep(60)
                end)
            end, args = { d, into } }
            into:get()
            s:start(function()
                mp.sleep(0.1)
                error "failed beside"
            end)
            d:set("k", 1)
        end)
        assert.matches("failed beside", e.message)
    end)

    it("raises where memory is at its limit, and loses nothing", function()
        local result = helper.script_run [[
            local d = mp.dict()
            mp.memory { limit = "4M" }
            local n, ok, e = 0, true, nil
            while ok do
                ok, e = pcall(d.set, d, n + 1, ("x"):rep(1000))
                if ok then n = n + 1 end
            end
            print(e:match "mp.dict: set: .*")
            local whole = #d == n
            for i = 1, n do whole = whole and d:get(i) == ("x"):rep(1000) end
            print(whole, n > 1000, pcall(d.update, d, 1, function() return ("y"):rep(100000) end))
            print(d:get(1) == ("x"):rep(1000))
            for i = 1, n do d:remove(i) end
            d:set("k", ("x"):rep(1000))
            print(#d)]]
        assert.same({ 0, "" }, { result.status, result.stderr })
        local lines = {}
        for line in result.stdout:gmatch "[^\n]+" do lines[#lines + 1] = line end
        assert.equal("mp.dict: set: not enough memory to share (the family's own limit)", lines[1])
        assert.matches("^true\ttrue\tfalse\t.*mp.dict: update: not enough memory to share", lines[2])
        assert.same({ "true", "1" }, { lines[3], lines[4] })
    end)

    it("that holds itself lives until the family ends, as a queue does", function()
        local result = helper.script_run [[
            local d = mp.dict()
            d:set("self", d)
            print(d:get "self" == d)
            d = nil
            collectgarbage()
            print(mp.memory().kinds.dicts.count)]]
        assert.same({ 0, "", "true\n1\n" }, { result.status, result.stderr, result.stdout })
    end)
end)
