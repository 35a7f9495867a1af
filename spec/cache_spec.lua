-- cache_spec.lua: mp.cache: a dict of so many entries, or that live so long.
local helper = require "spec.helper"
local mp = require "luamp"

local function keys(c)
    local list = c:keys()
    table.sort(list)
    return list
end

describe("a cache", function()
    it("is used as a dict is", function()
        local c = mp.cache(100)
        c:set("a", { 1 })
        c:set(1.0, "x")
        assert.same({ 1 }, c:get "a")
        assert.equal("x", c:get(1))
        assert.equal(3, c:add("n", 3))
        assert.equal(4, c:update("n", function(v) return v + 1 end))
        assert.equal(3, #c)
        assert.same({ 1 }, c:remove "a")
        c:set("n", nil)
        assert.same({ 1 }, c:keys())
        helper.misuse("mp.cache: add: the value of key '1' is not a number", function() c:add(1) end)
        for k, v in pairs(c) do assert.same({ 1, "x" }, { k, v }) end
        c:clear()
        assert.equal(0, #c)
        assert.matches("^mp%.cache: 0x%x+ %(0/100%)$", tostring(c))
        helper.misuse("mp.cache: 'x' is no method: values are read with get(key) and written with set(key, value)",
            function() return c.x end)
        helper.misuse("mp.cache: 'size' is read-only; it is given as an option: mp.cache{size=...}",
            function() c.size = 5 end)
    end)

    it("is of no use when it is closed", function()
        local c = mp.cache(1)
        c:close()
        helper.misuse("mp.cache: pairs: it is closed in this process", function() pairs(c) end)
    end)

    it("takes a size, a time to live or both, and says what is wrong with others", function()
        helper.misuse("mp.cache: expected a number of entries or a table of options, not nothing",
            function() mp.cache() end)
        helper.misuse("mp.cache: give it a size, a ttl or both: without one it is a dict (mp.dict)",
            function() mp.cache {} end)
        helper.misuse("mp.cache: the greatest number of entries must be an integer from 1 on, not 0",
            function() mp.cache(0) end)
        helper.misuse("mp.cache: option 'size' must be an integer from 1 on, not 1.5",
            function() mp.cache { size = 1.5 } end)
        helper.misuse("mp.cache: option 'ttl' must be a number of seconds above 0, not 0",
            function() mp.cache { ttl = 0 } end)
        helper.misuse("mp.cache: option 'ttl' must be a number of seconds above 0, not",
            function() mp.cache { ttl = 0 / 0 } end)
        helper.misuse("mp.cache: unknown option 'tll' (did you mean 'ttl'?)", function() mp.cache { tll = 1 } end)
        helper.misuse("mp.cache: not enough memory to share", function() mp.cache(1 << 40) end)
    end)

    it("keeps its size: what was used least recently goes", function()
        local c = mp.cache(3)
        for _, k in ipairs { "a", "b", "c" } do c:set(k, k) end
        c:get "a"
        c:set("d", "d")
        assert.same({ "a", "c", "d" }, keys(c))
        c:set("c", "new")
        c:set("e", "e")
        assert.same({ "c", "d", "e" }, keys(c))
        c:add("n", 1)
        assert.same({ "c", "e", "n" }, keys(c))
        c:update("c", function(v) return v end)
        c:set("f", 1)
        assert.same({ "c", "f", "n" }, keys(c))
        c:add("n", 1)
        c:get_or("g", function() return 1 end)
        assert.same({ "f", "g", "n" }, keys(c))
        c:get_or("f", error)
        c:set("h", 1)
        assert.same({ "f", "g", "h" }, keys(c))
        assert.equal(3, #c)
    end)

    it("knows the order of use after many uses of some", function()
        local c = mp.cache(3)
        for _, k in ipairs { "a", "b", "c" } do c:set(k, k) end
        for _ = 1, 1000 do
            c:get "b"
            c:get "a"
        end
        c:set("d", 1)
        assert.same({ "a", "b", "d" }, keys(c))
        c:set("e", 1)
        assert.same({ "a", "d", "e" }, keys(c))
        c:set("f", 1)
        assert.same({ "d", "e", "f" }, keys(c))
    end)

    it("keeps to the order of use as a model does, over many uses", function()
        local random, size = math.random, 17
        math.randomseed(os.time())
        local c, order, values = mp.cache(size), {}, {} -- order: the last one was used last
        local function use(k)
            for i, key in ipairs(order) do
                if key == k then table.remove(order, i) break end
            end
            order[#order + 1] = k
        end
        for n = 1, helper.sanitized and 1000 or 20000 do
            local k, act = random(40), random(10)
            if act <= 4 then
                assert.same(values[k], c:get(k))
                if values[k] ~= nil then use(k) end
            elseif act == 5 then
                c:remove(k)
                values[k] = nil
                for i, key in ipairs(order) do
                    if key == k then table.remove(order, i) break end
                end
            else
                values[k] = random(2) == 1 and n or { n }
                c:set(k, values[k])
                use(k)
                if #order > size then values[table.remove(order, 1)] = nil end
            end
        end
        local left = {}
        for k, v in pairs(c) do left[k] = v end
        assert.same(values, left)
        assert.equal(#order, #c)
    end)

    it("forgets what has lived its time, and gives back what that took", function()
        local c = mp.cache { ttl = 0.1 }
        c:set("a", ("x"):rep(1000))
        c:set("b", 2)
        assert.same({ ("x"):rep(1000), 2, 2 }, { c:get "a", c:get "b", #c })
        helper.wait_until(function() return #c == 0 end, "their end")
        assert.same({ nil, nil, {} }, { c:get "a", c:remove "b", c:keys() })
        for _ in pairs(c) do error "there is something" end
        assert.equal(5, c:add("b", 5)) -- from 0 on
        c:set("c", 1)
        helper.wait_until(function() return c:get "c" == nil end, "its end")
        local before = mp.memory().kinds.entries.count
        for i = 1, 100 do c:set(i, 1) end
        helper.wait_until(function() return #c == 0 end, "their end")
        for i = 1, 300 do c:set("again", i) end -- which looks at some of the others
        assert.is_true(mp.memory().kinds.entries.count <= before + 1)
    end)

    it("keeps what may live for ever, or as good as that", function()
        for _, ttl in ipairs { math.huge, 1e300, 2 ^ 63, math.maxinteger, 1e11, 9.2e9 } do
            local c = mp.cache { ttl = ttl }
            c:set("a", "x")
            c:add("n", 2)
            assert.same({ ttl, "x", 2, 2 }, { ttl, c:get "a", c:get "n", #c })
        end
    end)

    it("lets an entry live anew when it is set, and not when it is read or added to", function()
        local c = mp.cache { size = 10, ttl = 0.3 }
        local began = mp.clock()
        c:set("set", 1)
        c:set("read", 1)
        c:set("added", 1)
        local has_type = false
        repeat
            c:set("set", 2)
            c:get "read"
            if c:get "added" and not has_type and mp.clock() > began + 0.2 then
                c:add("added", 0.5) -- another type: another entry
                has_type = true
            elseif c:get "added" then
                c:add("added", 0)
            end
            mp.sleep(0.01)
        until mp.clock() > began + 0.35
        assert.same({ nil, nil }, { c:get "read", c:get "added" })
        c:set("set", 3)
        assert.equal(3, c:get "set")
    end)

    it("counts hits, misses and evictions", function()
        local c = mp.cache(2)
        c:get "a"
        c:set("a", 1)
        c:get "a"
        c:get_or("a", error)
        c:get_or("b", function() return 1 end)
        c:set("c", 1)
        assert.same({ hits = 2, misses = 2, evictions = 1 }, c:stats())
    end)

    it("computes what is not there, by a function of the key", function()
        local c = mp.cache(10)
        local calls = 0
        local function double(k)
            calls = calls + 1
            return k .. k
        end
        assert.same({ "aa", "aa", "bb" }, { c:get_or("a", double), c:get_or("a", double), c:get_or("b", double) })
        assert.equal(2, calls)
        assert.is_false(c:get_or("no", function() return false end))
        assert.is_false(c:get_or("no", error))
        assert.is_nil(c:get_or("nil", function() end)) -- is not kept
        assert.equal(1, c:get_or("nil", function() return 1 end))
        local raised = {}
        assert.equal(raised, select(2, pcall(c.get_or, c, "e", function() error(raised) end)))
        assert.equal(2, c:get_or("e", function() return 2 end))
        helper.misuse("mp.cache: get_or: this process is updating that key: it could only wait for itself",
            function() c:get_or("x", function() return c:get_or("x", print) end) end)
        helper.misuse("mp.cache: get_or: expected a key and a function, not nothing", function() c:get_or "x" end)
        assert.equal(5, #c)
    end)

    it("computes a key by others, 90 deep, and is as before where that is too deep", function()
        assert.same({ 90, false, "C stack overflow", 0, "free" }, { helper.result_of(function()
            local c = mp.cache(1000)
            local function depth(n) return n == 0 and 0 or c:get_or(n - 1, depth) + 1 end
            local deep = depth(90)
            c:clear()
            local ok, e = pcall(depth, 300)
            local left = #c
            c:set(299, "free")
            return deep, ok, e, left, c:get(299)
        end) })
    end)

    it("keeps an entry that is updated, also when it is full of others", function()
        local c = mp.cache(2)
        c:set("a", 1)
        c:update("a", function(v)
            for i = 1, 10 do c:set(i, i) end
            assert.equal(v, c:get "a")
            return v + 1
        end)
        assert.equal(2, c:get "a")
        assert.equal(2, #c)
        c:get_or("new", function()
            for i = 1, 10 do c:set(i, i) end
            return "n"
        end)
        assert.same({ "n", 2 }, { c:get "new", #c })
    end)
end)

describe("a cache among processes", function()
    it("computes a key at most once at a time: others wait for what comes", function()
        local c, calls = mp.cache(10), mp.queue()
        local processes = {}
        for i = 1, 4 do
            processes[i] = helper.started(function(given, told)
                return given:get_or("k", function()
                    told:put(mp.getpid())
                    mp.sleep(0.2)
                    return { "made by", mp.getpid() }
                end)
            end, c, calls)
        end
        local answers = {}
        for i, p in ipairs(processes) do
            answers[i] = p:result()
            p:close()
        end
        assert.equal(1, #calls)
        local pid = calls:get()
        for _, a in ipairs(answers) do assert.same({ "made by", pid }, a) end
    end)

    it("lets another compute a key when the one that did is killed", function()
        local c, into = mp.cache(10), mp.queue()
        local p <close> = helper.started(function(given, q)
            given:get_or("k", function()
                q:put "in"
                mp.sleep(60)
            end)
        end, c, into)
        into:get()
        local w <close> = helper.started(function(given, q)
            q:put "waits"
            return given:get_or("k", function() return "second" end)
        end, c, into)
        into:get()
        assert.same({ nil, "timeout" }, { w:join(0.1) })
        p:kill()
        assert.equal("second", w:result())
        assert.equal("second", c:get "k")
        p:join()
    end)

    it("is one for all, keeps its size, and is freed with all that is in it", function()
        local function used()
            collectgarbage()
            return mp.memory().used
        end
        local before = used()
        do
            local c = mp.cache(50)
            local processes = {}
            for i = 1, 3 do
                processes[i] = helper.started(function(given, from)
                    for k = 1, 500 do given:set(from * 1000 + k % 60, { mp.queue(), k }) end
                end, c, i)
            end
            for _, p in ipairs(processes) do p:result() p:close() end
            assert.equal(50, #c)
            local n = 0
            for _, v in pairs(c) do n = n + (math.type(v[2]) == "integer" and 1 or 0) end
            assert.equal(50, n)
        end
        assert.equal(before, used())
    end)
end)
