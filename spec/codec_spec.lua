-- codec_spec.lua: values through the codec and back. decode_spec has random ones, and bytes that are no message.
require "spec.helper"
require "luamp"
local core = require "luamp.core"
local util = require "luassert.util"

local encode = core.encode

-- As of one who cannot know that the message is the family's.
local function decode(message)
    return core.decode(core.frame(message))
end
local error_meta = debug.getregistry()["luamp.error"]

local function trip(...)
    return decode(assert(encode(...)))
end

local function bits(number)
    return string.pack("d", number)
end

local function float(pattern)
    return (string.unpack("<d", string.pack("<I8", pattern)))
end

-- As assert.same, for values too large to be printed.
local function assert_alike(expected, value)
    assert.is_true((util.deepcompare(expected, value)))
end

-- n tables in one another: the outermost, and the innermost.
local function chain(n, key)
    local innermost = { last = true }
    local t = innermost
    for _ = 2, n do
        t = { [key] = t }
    end
    return t, innermost
end

-- The innermost table, and how many there are.
local function follow(t, key)
    local n = 1
    while t[key] do
        t, n = t[key], n + 1
    end
    return t, n
end

describe("numbers, booleans and strings", function()
    it("keep integers integers", function()
        local edges = { 0, 1, 31, 32, 33, 127, 128, 255, 256, 32767, 32768, 65535, 1 << 31, 1 << 32, 1 << 53 }
        for _, edge in ipairs(edges) do
            for _, i in ipairs { edge, -edge, edge - 1, -edge - 1, edge + 1 } do
                local back = trip(i)
                assert.equal(i, back)
                assert.equal("integer", math.type(back))
            end
        end
        assert.equal(math.maxinteger, trip(math.maxinteger))
        assert.equal(math.mininteger, trip(math.mininteger))
    end)

    it("keep floats to the bit", function()
        for _, f in ipairs {
            0.0, -0.0, 1.0, -1.5, 0.1, 2.0 ^ 53, 5e-324, -2.2250738585072014e-308, math.huge, -math.huge, math.pi,
            float(0x7ff8000000000000), float(0xfff8000000000000), float(0x7ff8dead0000beef), float(0xfff0000000000001),
        } do
            local back, inside = trip(f, { f })
            assert.equal("float", math.type(back))
            assert.equal(bits(f), bits(back))
            assert.equal(bits(f), bits(inside[1]))
        end
    end)

    it("keep strings of any bytes and length", function()
        local all = {}
        for byte = 0, 255 do
            all[#all + 1] = string.char(byte)
        end
        all = table.concat(all)
        for _, len in ipairs { 0, 1, 62, 63, 64, 255, 256, 257, 32766, 32767, 32768, 32769, 65536, 1 << 20 } do
            local s = all:rep(len // 256 + 1):sub(1, len)
            assert.is_true(trip(s) == s)
            assert.is_true(trip({ { [s] = s } })[1][s] == s)
        end
    end)

    it("keep true, false and nil", function()
        assert.same({ true, false, nil, true, n = 4 }, table.pack(trip(true, false, nil, true)))
    end)
end)

describe("the values of a message", function()
    it("keep their number, with nils among and after them", function()
        for _, n in ipairs { 0, 1, 2, 126, 127, 128, 1000, 100000 } do
            local values = {}
            for i = 1, n do
                if i % 3 > 0 then
                    values[i] = i
                end
            end
            local back = table.pack(trip(table.unpack(values, 1, n)))
            assert.equal(n, back.n)
            local same = true
            for i = 1, n do
                same = same and back[i] == values[i]
            end
            assert.is_true(same)
        end
    end)

    it("are not changed", function()
        local meta = { __index = { y = 2 } }
        local t = setmetatable({ 1, 2, nil, 4, x = { 5 } }, meta)
        t.t = t
        encode(t)
        assert.equal(meta, getmetatable(t))
        local copy = {}
        for k, v in next, t do
            copy[k] = v
        end
        assert.same({ 1, 2, [4] = 4, x = { 5 }, t = t }, copy)
    end)
end)

describe("tables", function()
    it("keep keys of every kind", function()
        local key = { "key" }
        local t = {
            [1] = "one", [0] = "zero", [-1] = "minus one", [1 << 40] = "large", [1.5] = "half", [-math.huge] = "least",
            [true] = "true", [false] = "false", [""] = "empty", ["a\0b"] = "zero byte", [key] = "table",
        }
        local back, its = trip(t, key)
        assert.equal("table", back[its])
        assert.same(key, its)
        t[key], back[its] = nil, nil
        assert.same(t, back)
    end)

    it("keep false and empty ones", function()
        assert.same({ false, { false }, {}, { {} }, x = false }, trip { false, { false }, {}, { {} }, x = false })
    end)

    it("keep holes", function()
        for _, t in ipairs {
            { nil, 2 }, { 1, nil, 3 }, { 1, 2, nil, 4, nil, nil, 7, x = 1 }, { [2] = 2 }, { [3] = 3, [1] = 1 },
            { [0] = 0, 1, 2 }, { 1, [1000] = 1000 }, { [-1] = -1, [2 ^ 53] = 0 },
        } do
            assert.same(t, trip(t))
        end
    end)

    it("keep every number of items and fields", function()
        for _, n in ipairs { 0, 1, 2, 127, 128, 254, 255, 256, 257, 1000, 70000 } do
            local items, fields, mixed = {}, {}, {}
            for i = 1, n do
                items[i], fields["k" .. i] = i, i
                mixed[i], mixed["k" .. i] = i, -i
            end
            local a, b, c = trip(items, fields, mixed)
            assert_alike(items, a)
            assert_alike(fields, b)
            assert_alike(mixed, c)
        end
    end)

    it("keep wide ones in wide ones, with long strings among them", function()
        local long = ("x"):rep(40000)
        local function wide(depth)
            local t = {}
            for i = 1, 300 do
                t[i], t["k" .. i] = i, i % 50 == 0 and long .. depth .. i or i
            end
            t[100] = depth > 1 and wide(depth - 1) or long
            t.last = depth > 1 and wide(depth - 1) or long
            return t
        end
        local t = wide(4)
        assert_alike(t, trip(t))
        assert_alike({ t, t }, { trip(t, t) })
    end)

    it("come with room for just what they hold", function()
        local t = {}
        for i = 1, 1000 do
            t[i] = i
        end
        local message = core.frame(encode(t))
        collectgarbage()
        collectgarbage "stop"
        local before = collectgarbage "count"
        t = core.decode(message)
        local taken = (collectgarbage "count" - before) * 1024
        collectgarbage "restart"
        assert.equal(1000, #t)
        assert.is_true(taken < 1000 * 16 + 200, taken .. " bytes")
    end)
end)

describe("references", function()
    it("to one table stay shared, in a value and among values", function()
        local one = { 1 }
        local a, b = trip({ one, one, x = { one } }, one)
        assert.equal(b, a[1])
        assert.equal(b, a[2])
        assert.equal(b, a.x[1])
        assert.same({ 1 }, b)
    end)

    it("to equal tables stay apart", function()
        local a, b = trip({ 1 }, { 1 })
        assert.is_false(a == b)
    end)

    it("may be cyclic, and lead to a table from its own key", function()
        local t, u = {}, {}
        t.t, t[t], t.u, u.t, u[u] = t, t, u, t, "u"
        local back = trip(t)
        assert.equal(back, back.t)
        assert.equal(back, back[back])
        assert.equal(back, back.u.t)
        assert.equal("u", back.u[back.u])
    end)

    it("to a long string carry it once", function()
        local long = ("x"):rep(100000)
        local message = encode({ long, long, k = long }, long)
        assert.is_true(#message < 100100)
        local t, s = decode(message)
        assert.is_true(t[1] == long and t[2] == long and t.k == long and s == long)
    end)

    it("may be many", function()
        local one, t = { "one" }, {}
        for i = 1, 70000 do
            t[i] = i % 2 == 0 and one or { i }
        end
        local back, same = trip(t), true
        for i = 2, 70000, 2 do
            same = same and back[i] == back[2] and back[i - 1][1] == i - 1
        end
        assert.is_true(same)
    end)
end)

describe("depth", function()
    for _, n in ipairs { 98, 99, 100, 101, 102, 103, 199, 200, 201, 202, 300, 301, 302, 1000 } do
        it(n .. " comes back as it went", function()
            for _, key in ipairs { 1, "next" } do
                local t, innermost = chain(n, key)
                local back, last = trip(t, innermost)
                local found, count = follow(back, key)
                assert.equal(n, count)
                assert.equal(last, found)
                assert.is_true(last.last)
                last, back = trip(innermost, t)
                assert.equal(last, (follow(back, key)))
            end
        end)
    end

    it("may be in keys", function()
        local t = {}
        for _ = 1, 350 do
            t = { [t] = 1 }
        end
        local n, back = 0, trip(t)
        while next(back) do
            n, back = n + 1, next(back)
        end
        assert.equal(350, n)
    end)

    it("may be in metatables", function()
        local t = {}
        for i = 1, 350 do
            t = setmetatable({ i }, t)
        end
        local back = trip(t)
        for i = 350, 1, -1 do
            assert.equal(i, back[1])
            back = getmetatable(back)
        end
        assert.is_nil(getmetatable(back))
    end)

    it("may lie between two references to one table, and cyclic", function()
        local t, innermost = chain(250, "next")
        innermost.first, innermost.self, innermost[innermost] = t, innermost, t
        t.innermost, t[innermost] = innermost, "key"
        local back = trip(t)
        local last = follow(back, "next")
        assert.equal(back, last.first)
        assert.equal(last, last.self)
        assert.equal(back, last[last])
        assert.equal(last, back.innermost)
        assert.equal("key", back[last])
    end)

    it("may be where the tables are wide", function()
        local t = {}
        for i = 1, 300 do
            t[i], t["k" .. i] = { i }, setmetatable({ i }, { i })
        end
        for i = 1, 99 do
            t = { i, t }
        end
        t = { t, { t } }
        local back = trip(t)
        assert_alike(t, back)
        assert.is_true(back[1] == back[2][1])
    end)

    it("may be a million", function()
        local back = trip((chain(1000000, "next")))
        local last, n = follow(back, "next")
        assert.equal(1000000, n)
        assert.is_true(last.last)
    end)

    it("may be a million where hardly a C call is left", function()
        local t, count = (chain(1000000, 1))
        local function nest()
            string.gsub("x", "x", function()
                pcall(nest)
                if not count then
                    local ok, back = pcall(trip, t)
                    if ok then
                        count = select(2, follow(back, 1))
                    elseif not back:find "C stack overflow" then
                        count = back
                    end
                end
            end)
        end
        nest()
        assert.equal(1000000, count)
    end)
end)

describe("metatables", function()
    it("travel by value and stay shared", function()
        local meta = { __index = { y = 1 }, name = "m" }
        local t, m = trip({ setmetatable({ x = 1 }, meta), setmetatable({ x = 2 }, meta) }, meta)
        assert.equal(1, t[1].y)
        assert.equal(m, getmetatable(t[1]))
        assert.equal(m, getmetatable(t[2]))
        assert.is_nil(rawget(t[1], "y"))
        assert.is_false(m == meta)
        t = trip { m = meta, t = setmetatable({}, meta) }
        assert.equal(t.m, getmetatable(t.t))
    end)

    it("may be all that there is", function()
        local t = {}
        for _ = 1, 300 do
            t = setmetatable({}, t)
        end
        local n, back = 0, trip(t)
        while getmetatable(back) do
            n, back = n + 1, getmetatable(back)
        end
        assert.equal(300, n)
    end)

    it("may be cyclic, have metatables, and be their own", function()
        local meta = {}
        meta.__index = meta
        setmetatable(meta, meta)
        local t = setmetatable({}, meta)
        meta.t = t
        local m = getmetatable(trip(t))
        assert.equal(m, getmetatable(m))
        assert.equal(m, rawget(m, "__index"))
        assert.equal(m, getmetatable(rawget(m, "t")))
    end)

    it("keep tables weak, with what something else holds", function()
        local held = {}
        local weak = setmetatable({ held, {}, x = held }, { __mode = "v" })
        local back, its = trip(weak, held)
        collectgarbage()
        assert.equal("v", getmetatable(back).__mode)
        assert.equal(its, back[1])
        assert.equal(its, back.x)
        assert.is_nil(back[2])
    end)

    it("are seen behind __metatable", function()
        local back = trip(setmetatable({}, { __metatable = "hidden", x = 1 }))
        assert.equal("hidden", getmetatable(back))
        assert.equal(1, debug.getmetatable(back).x)
    end)

    it("are never asked", function()
        local called = {}
        local meta = setmetatable({}, {
            __index = function(_, event)
                called[#called + 1] = event
            end,
        })
        for _, event in ipairs { "__index", "__newindex", "__pairs", "__len", "__eq", "__call", "__tostring" } do
            meta[event] = function()
                called[#called + 1] = event
            end
        end
        assert.is_string((encode(setmetatable({ 1, 2, x = 3 }, meta))))
        assert.same({}, called)
        local spill = {}
        local t, its = trip({ setmetatable({ 1, x = 2, t = {} }, { __newindex = spill, __index = spill }) }, spill)
        assert.same({}, its)
        assert.equal(2, rawget(t[1], "x"))
    end)

    it("of strings and numbers are nobody's business", function()
        debug.setmetatable(0, { __index = print })
        local back = trip(5)
        debug.setmetatable(0, nil)
        assert.equal(5, back)
    end)
end)

describe("error objects", function()
    it("get the metatable of their receiver", function()
        local e = setmetatable({ kind = "error", message = "m", value = { 1 } }, error_meta)
        local back, nested = trip(e, { { e } })
        assert.equal(error_meta, debug.getmetatable(back))
        assert.equal(back, nested[1][1])
        assert.equal("m", rawget(back, "message"))
        assert.same({ 1 }, rawget(back, "value"))
    end)

    it("may be cyclic and deep", function()
        local e = setmetatable({}, error_meta)
        e.value = e
        local t = e
        for _ = 1, 205 do
            t = setmetatable({ value = t, e = e }, error_meta)
        end
        local back = trip(t)
        for _ = 1, 205 do
            assert.equal(error_meta, debug.getmetatable(back))
            back = rawget(back, "value")
        end
        assert.equal(error_meta, debug.getmetatable(back))
        assert.equal(back, rawget(back, "value"))
    end)
end)

describe("encode", function()
    it("refuses, and returns the culprit itself", function()
        local co, with_gc, with_close = coroutine.create(print), { __gc = true }, { __close = 1 }
        local f, wrapped = coroutine.create(print), coroutine.wrap(print)
        local deep, innermost = chain(450, "next")
        innermost.f = f
        for _, case in ipairs {
            { f, f }, { wrapped, { wrapped } }, { co, { x = { co } } }, { io.stdout, { [io.stdout] = 1 } },
            { f, { [f] = f } },
            { with_gc, setmetatable({}, with_gc) }, { with_close, { { setmetatable({}, with_close) } } },
            { f, setmetatable({}, { __index = f }) }, { f, setmetatable({}, setmetatable({}, { f })) },
            { with_gc, setmetatable({}, setmetatable({}, with_gc)) }, { f, deep }, { f, { { { {} } }, { {}, {} }, f } },
            { f, setmetatable({ value = f }, error_meta) }, { f, function() return f end },
        } do
            local culprit, value = case[1], case[2]
            local message, found = encode("good", { "good" }, value)
            assert.is_nil(message)
            assert.is_true(rawequal(culprit, found), tostring(found))
            assert.same({ 1, { 2 } }, { trip(1, { 2 }) })
        end
    end)

    it("takes a table with a __gc field, which is no metatable", function()
        assert.same({ __gc = 1, __close = 2 }, trip { __gc = 1, __close = 2 })
    end)

    it("goes on well after it ran out of stack", function()
        local deep = chain(90, 1)
        local raised = 0
        for room = 20, 1000, 49 do
            local args = table.pack(pcall(function()
                return select("#", encode(deep, table.unpack({}, 1, 999900 - room)))
            end))
            if not args[1] then
                raised = raised + 1
            end
            assert.same({ 1, { 2 } }, trip { 1, { 2 } })
        end
        assert.is_true(raised > 0)
    end)

    it("may be called by finalizers meanwhile", function()
        local long = ("y"):rep(50000)
        local expected = { 1, { long, { x = long .. "2" } }, "z" }
        local finalized = 0
        local function litter()
            setmetatable({}, {
                __gc = function()
                    assert(decode(encode({ long .. "3", { {} } }, chain(150, 1)))[1] == long .. "3")
                    finalized = finalized + 1
                end,
            })
        end
        for i = 1, 300 do
            litter()
            if i % 10 == 0 then
                assert(not encode(chain(150, 1), io.stdout))
            end
            assert.same({ expected, i }, { trip(expected, i) })
        end
        collectgarbage()
        assert.equal(300, finalized)
    end)
end)
