-- list_spec.lua: mp.list: values by position that processes share.
local helper = require "spec.helper"
local mp = require "luamp"

local function list_of(values)
    local l = mp.list()
    l:extend(values)
    return l
end

local function contents(l)
    local all = {}
    for i, v in pairs(l) do all[i] = v end
    return all
end

describe("a list", function()
    it("has what was put, of any sendable value", function()
        local values = { 1, -1, 1 << 59, 1 << 60, -(1 << 60),
            -(1 << 60) - 1, math.maxinteger, math.mininteger, 1.5, -0.0, true,
            false, "", "short", ("x"):rep(64), ("y"):rep(100000), { 1, { 2 } } }
        local l = mp.list()
        for _, v in ipairs(values) do l:insert(v) end
        for i, v in ipairs(values) do
            assert.same(v, l[i])
            assert.equal(math.type(v), math.type(l[i]))
        end
        assert.equal(#values, #l)
        assert.same(values, contents(l))
    end)

    it("gives copies, and nil outside", function()
        local l = list_of { { n = 1 } }
        l[1].n = 2
        assert.same({ n = 1 }, l[1])
        assert.same({ nil, nil, nil, nil, nil }, { l[0], l[2], l[-1], l[1.5], l[true] })
        assert.same({ n = 1 }, l[1.0])
    end)

    it("is assigned up to one beyond its end", function()
        local l = mp.list()
        l[1] = "a"
        l[2] = { "b" }
        l[1] = { "c" }
        l[2] = 5
        l[3.0] = 6
        assert.same({ { "c" }, 5, 6 }, contents(l))
        helper.misuse("mp.list: l[i] = value: position 5 is out of bounds", function() l[5] = 1 end)
        helper.misuse("mp.list: l[i] = value: position 0 is out of bounds", function() l[0] = 1 end)
        helper.misuse("mp.list: l[i] = value: a list cannot hold nil", function() l[1] = nil end)
        helper.misuse("mp.list: l[i] = value: a position must be an integer, not the string \"x\"",
            function() l.x = 1 end)
        helper.misuse("mp.list: l[i] = value: a position must be an integer, not 1.5", function() l[1.5] = 1 end)
        helper.misuse("mp.list: 'append' is no method: values are read by their positions, and added by insert",
            function() l:append(1) end)
        assert.same({ { "c" }, 5, 6 }, contents(l))
    end)

    it("inserts and removes as table does", function()
        local l, t = mp.list(), {}
        for i = 1, 20 do
            l:insert(i)
            table.insert(t, i)
        end
        for _, i in ipairs { 1, 5, 22, 24, 1, 12 } do
            l:insert(i, { i })
            table.insert(t, i, { i })
        end
        assert.same(t, contents(l))
        for _, i in ipairs { 1, 25, 12, 2, 1, 5 } do assert.same(table.remove(t, i), l:remove(i)) end
        assert.same(table.remove(t), l:remove())
        assert.same(table.remove(t, nil), l:remove(nil))
        assert.same(t, contents(l))
        assert.is_nil(l:remove(#l + 1))
        while #t > 0 do assert.same(table.remove(t), l:remove()) end
        assert.same({ nil, nil, nil }, { l:remove(), l:remove(0), l:remove(1) })
        assert.equal(0, #l)
    end)

    it("raises where table does, and nothing is changed", function()
        local l = list_of { 1, 2, 3 }
        helper.misuse("mp.list: insert: position 5 is out of bounds", function() l:insert(5, "x") end)
        helper.misuse("mp.list: insert: position 0 is out of bounds", function() l:insert(0, "x") end)
        helper.misuse("mp.list: remove: position 5 is out of bounds", function() l:remove(5) end)
        helper.misuse("mp.list: remove: position 0 is out of bounds", function() l:remove(0) end)
        helper.misuse("mp.list: remove: position -1 is out of bounds", function() l:remove(-1) end)
        helper.misuse("mp.list: insert: a list cannot hold nil", function() l:insert(nil) end)
        helper.misuse("mp.list: insert: a list cannot hold nil", function() l:insert(1, nil) end)
        helper.misuse("mp.list: insert: expected a value, or a position and a value", function() l:insert() end)
        helper.misuse('mp.list: insert: a position must be an integer, not the string "1"',
            function() l:insert("1", 1) end)
        helper.misuse("mp.list: l[i] = value: a list cannot hold nil", function() table.remove(l) end)
        helper.misuse("mp.list: takes no arguments: it is filled with insert(value), or with extend(list)",
            function() mp.list { 1 } end)
        assert.same({ 1, 2, 3 }, contents(l))
    end)

    it("is extended by a list, and cleared", function()
        collectgarbage()
        local before = mp.memory().kinds.entries.count
        local l = list_of { 1, "a", { 2 } }
        l:extend { "b", 3 }
        l:extend {}
        assert.same({ 1, "a", { 2 }, "b", 3 }, contents(l))
        helper.misuse("mp.list: extend: expected a list of values, not nil", function() l:extend(nil) end)
        helper.misuse("mp.list: extend: expected a list of values, not mp.list", function() l:extend(l) end)
        helper.misuse("mp.list: extend: the table has keys, and no values in order", function() l:extend { a = 1 } end)
        helper.fails({ kind = "unsendable" }, l.extend, l, { 1, 2, io.stdout })
        assert.equal(5, #l)
        l:clear()
        assert.same({ 0, {} }, { #l, contents(l) })
        assert.equal(before, mp.memory().kinds.entries.count)
        l:insert "again"
        assert.same({ "again" }, contents(l))
    end)

    it("is gone over by pairs as it was, and by ipairs as it is", function()
        local l = list_of { 1, 2, 3 }
        local seen = {}
        for i, v in pairs(l) do
            seen[i] = v
            l:insert(v * 10)
        end
        assert.same({ 1, 2, 3 }, seen)
        assert.equal(6, #l)
        local n = 0
        for i in ipairs(l) do
            n = n + 1
            if i < 10 then l:insert(i) end
        end
        assert.equal(15, n)
    end)

    it("is a queue of any length, and gives back what it took", function()
        local n = helper.sanitized and 5000 or 50000
        collectgarbage()
        local before = mp.memory().used
        local l = mp.list()
        for i = 1, n do l:insert("value" .. i) end
        for i = 1, n - 10 do assert(l:remove(1) == "value" .. i) end
        assert.equal("value" .. n, l[10])
        assert.is_true(mp.memory().kinds.tables.bytes <= 1024)
        for i = 1, n do
            l:insert(i)
            l:remove(1)
        end
        assert.equal(10, #l)
        for i = 1, 100 do l:insert(1, i) end
        assert.same({ 100, 1, n }, { l[1], l[100], l[110] })
        l = nil -- luacheck: ignore
        collectgarbage()
        assert.equal(before, mp.memory().used)
    end)

    it("prints its length, and is closed for this process alone", function()
        local l = list_of { 1 }
        assert.matches("^mp%.list: 0x%x+ %(1%)$", tostring(l))
        l:close()
        l:close()
        assert.matches("^mp%.list: 0x%x+ %(closed%)$", tostring(l))
        helper.misuse("mp.list: []: it is closed in this process", function() return l[1] end)
        helper.misuse("mp.list: []: it is closed in this process", function() for i in ipairs(l) do print(i) end end)
    end)
end)

describe("a list among processes", function()
    it("is one for all, and holds the objects in its values", function()
        collectgarbage()
        local before = mp.memory().kinds.queues.count
        local l = mp.list()
        local p <close> = helper.started(function(given)
            local q = mp.queue()
            q:put "item"
            given:insert { q }
            given:insert(1, "first")
        end, l)
        p:result()
        assert.equal("first", l[1])
        do
            local q = l[2][1]
            assert.equal(q, l[2][1])
            assert.equal("item", q:get(0))
            assert.equal(q, l:remove(2)[1])
        end
        collectgarbage()
        assert.equal(before, mp.memory().kinds.queues.count)
    end)

    it("loses nothing and gives nothing twice", function()
        local l, taken = mp.list(), mp.list()
        local n, processes = helper.sanitized and 100 or 500, {}
        for i = 1, 2 do
            processes[#processes + 1] = helper.started(function(given, from, count)
                for k = 1, count do
                    local v = from * 100000 + k
                    if k % 3 == 0 then given:insert(1, v) else given:insert(v % 2 == 0 and v or { v }) end
                end
            end, l, i, n)
            processes[#processes + 1] = helper.started(function(given, out, count)
                local got = 0
                while got < count do
                    local v = got % 2 == 0 and given:remove() or nil
                    if v == nil and #given > 0 then
                        local ok, w = pcall(given.remove, given, 1)
                        v = ok and w or nil
                    end
                    if v ~= nil then
                        got = got + 1
                        out:insert(type(v) == "table" and v[1] or v)
                    end
                end
            end, l, taken, n)
        end
        for _, p in ipairs(processes) do p:result() p:close() end
        local all = contents(taken)
        table.sort(all)
        local wanted = {}
        for i = 1, 2 do
            for k = 1, n do wanted[#wanted + 1] = i * 100000 + k end
        end
        assert.same(wanted, all)
        assert.equal(0, #l)
    end)

    it("is extended at one moment", function()
        local l, over = mp.list(), mp.queue()
        local p <close> = helper.started(function(given, stop)
            while stop:is_empty() do
                given:extend { 1, 2, 3 }
                if #given > 300 then given:clear() end
            end
        end, l, over)
        for _ = 1, helper.sanitized and 200 or 2000 do
            local all = contents(l)
            assert.equal(0, #all % 3)
            for i, v in ipairs(all) do assert(v == (i - 1) % 3 + 1) end
        end
        over:put(true)
        p:result()
    end)

    it("raises where memory is at its limit, and loses nothing", function()
        local result = helper.script_run [[
            local l = mp.list()
            mp.memory { limit = "4M" }
            local n, ok, e = 0, true, nil
            while ok do
                ok, e = pcall(l.insert, l, ("x"):rep(1000))
                if ok then n = n + 1 end
            end
            print(e:match "mp.list: insert: .*")
            print(#l == n, n > 1000, pcall(l.extend, l, { 1, ("y"):rep(2 << 20) }))
            print(#l == n, l[n] == ("x"):rep(1000))
            for _ = 1, n do l:remove() end
            l:insert(("x"):rep(1000))
            print(#l)]]
        assert.same({ 0, "" }, { result.status, result.stderr })
        local lines = {}
        for line in result.stdout:gmatch "[^\n]+" do lines[#lines + 1] = line end
        assert.equal("mp.list: insert: not enough memory to share (the family's own limit)", lines[1])
        assert.matches("^true\ttrue\tfalse\t.*mp.list: extend: not enough memory to share", lines[2])
        assert.same({ "true\ttrue", "1" }, { lines[3], lines[4] })
    end)
end)
