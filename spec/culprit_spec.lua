-- culprit_spec.lua: the words for what cannot be sent, and that they agree with the codec.
require "spec.helper"
require "luamp"
local core = require "luamp.core"
local culprit = require "luamp.culprit"

local encode = core.encode
local error_meta = debug.getregistry()["luamp.error"]

local f = coroutine.create(print)
local c_function = coroutine.wrap(print)

local instead = "; send what it yields or returns instead"
local by_name = " that no module exports; put it into a module that is loaded there, or register it by mp.register"
local open_there = "; send what it was made from, or open it in the process that uses it"
local plain_data = "; send the plain data, and set the metatable where it arrives"

local function about(...)
    return culprit(table.pack(...), select("#", ...), "result %d")
end

-- The words for a value, which must be what the codec refuses.
local function expect(words, ...)
    assert.is_nil((encode(...)))
    assert.equal("cannot send " .. words, about(...))
end

local function with_meta(meta, t)
    return setmetatable(t or {}, meta)
end

describe("the culprit", function()
    it("may be a value itself", function()
        expect("result 1: it is a coroutine" .. instead, f)
        expect("result 2: it is a coroutine" .. instead, nil, f, c_function)
        expect("result 1: it is a C function" .. by_name, c_function)
        expect("result 1: it is an open file" .. open_there, io.stdout)
    end)

    it("is found by its path", function()
        expect("result 1: opts.cache[3].conn is an open file" .. open_there,
            { opts = { cache = { 1, 2, { conn = io.stdout } } } })
        expect("result 1: [2] is a coroutine" .. instead, { 1, f })
        expect("result 1: [2][3] is a coroutine" .. instead, { 1, { 1, 2, f } })
        expect("result 2: x.y is a coroutine" .. instead, { {} }, { x = { y = f } })
    end)

    it("is found by the shortest path", function()
        expect("result 1: b.x is a coroutine" .. instead,
            { a = { { { f } }, y = { z = { f } } }, b = { x = f }, c = { { { f } } } })
        expect("result 2: x is a coroutine" .. instead, { { f } }, { x = f })
    end)

    it("may be a key, or in one", function()
        expect("result 1: a key of opts is a coroutine" .. instead, { opts = { [f] = 1 } })
        expect("result 1: one of its keys is a C function" .. by_name, { [c_function] = 1 })
        expect("result 1: x[1] of a key of opts is a coroutine" .. instead, { opts = { [{ x = { f } }] = 1 } })
        expect("result 1: x of one of its keys is a coroutine" .. instead, { [{ x = f }] = 1 })
        expect("result 1: opts[table].x is a coroutine" .. instead, { opts = { [{}] = { x = f } } })
    end)

    it("may be a metatable, or in one", function()
        expect("result 1: the metatable of opts.p has __gc" .. plain_data, { opts = { p = with_meta { __gc = true } } })
        expect("result 1: its metatable has __close" .. plain_data, with_meta { __close = f })
        expect("result 1: the metatable of [1] (db.conn) has __gc" .. plain_data,
            { with_meta { __name = "db.conn", __gc = f } })
        expect("result 1: __index of the metatable of opts is a coroutine" .. plain_data,
            { opts = with_meta { __index = f } })
        expect("result 1: __index.get of its metatable is a coroutine" .. plain_data,
            with_meta { __index = { get = f } })
        expect("result 1: x of the metatable of __index of the metatable of opts is a coroutine" .. plain_data,
            { opts = with_meta { __index = with_meta { x = f } } })
        expect("result 1: the metatable of its metatable has __gc" .. plain_data, with_meta(with_meta { __gc = 0 }))
        expect("result 1: the metatable of a key of x has __gc" .. plain_data,
            { x = { [with_meta { __gc = f }] = 1 } })
    end)

    it("is looked for without a metamethod", function()
        local asked = {}
        local odd = with_meta { __eq = function() asked[1] = "__eq" end, __index = function() asked[2] = "__index" end }
        expect("result 1: x of its metatable is a coroutine" .. plain_data, with_meta(rawset(odd, "x", f)))
        assert.same({}, asked)
    end)

    it("may be in an error object, whose metatable is not asked", function()
        assert.is_nil(about(with_meta(error_meta)))
        expect("result 1: value.x is a coroutine" .. instead, with_meta(error_meta, { value = { x = f } }))
    end)

    it("has keys of every kind on its path", function()
        expect('result 1: ["a b"]["1x"][true][1.5][-7]._x1[""] is a coroutine' .. instead,
            { ["a b"] = { ["1x"] = { [true] = { [1.5] = { [-7] = { _x1 = { [""] = f } } } } } } })
        expect([[result 1: ["a\n\"\\\x01\x7F"] is a coroutine]] .. instead, { ['a\n"\\\1\127'] = f })
        expect('result 1: ["é"] is a coroutine' .. instead, { ["é"] = f })
        expect([[result 1: ["\xFFa\xC3"] is a coroutine]] .. instead, { ["\xffa\xc3"] = f })
        expect('result 1: ["' .. ("k"):rep(40) .. '..."] is a coroutine' .. instead, { [("k"):rep(41)] = f })
        expect('result 1: ["' .. ("k"):rep(39) .. '..."] is a coroutine' .. instead, { [("k"):rep(39) .. "éé"] = f })
        expect("result 1: " .. ("k"):rep(40) .. " is a coroutine" .. instead, { [("k"):rep(40)] = f })
    end)

    it("is called as its metatable says", function()
        local closed = io.tmpfile()
        closed:close()
        expect("result 1: it is a closed file" .. open_there, closed)
        debug.setmetatable(c_function, { __name = "function" })
        expect("result 1: it is a C function" .. by_name, c_function)
        debug.setmetatable(c_function, nil)
    end)

    it("may be as deep as memory allows", function()
        local t = { f }
        for _ = 1, 100000 do
            t = { n = t }
        end
        local half = ("n."):rep(20):sub(1, -2)
        expect("result 1: " .. half .. " ... " .. (".n"):rep(19) .. "[1] is a coroutine" .. instead, t)
        t = { f }
        for _ = 1, 100000 do
            t = with_meta(t)
        end
        local meta = "the metatable of "
        local words = "[1] of " .. meta:rep(4):sub(1, -5) .. " ... " .. meta:rep(4) .. "its metatable is "
        expect("result 1: " .. words .. "a coroutine" .. plain_data, t)
    end)

    it("is named with the root that the caller names", function()
        assert.equal("cannot send argument 2: it is a C function" .. by_name,
            culprit({ 1, c_function }, 2, "argument %d"))
        assert.equal("cannot send item: x is a C function" .. by_name, culprit({ { x = c_function } }, 1, function()
            return "item"
        end))
    end)

    it("is not there when all can be sent", function()
        local t = with_meta({ __index = { 1 }, __mode = "k" }, { 1, "x", 0 / 0, __gc = 1, [true] = false })
        t[t] = t
        assert.is_nil(about(t, nil, 1))
        assert.is_nil(about())
    end)
end)

describe("the culprit in a function", function()
    local where = debug.getinfo(1, "S").short_src

    local function of(name, fn)
        return ("upvalue %s of function %s:%d: "):format(name, where, debug.getinfo(fn, "S").linedefined)
    end

    it("is named by the upvalue, with its path there", function()
        local conn, opts, other = io.stdout, { list = { 1, f } }, nil
        local function first() return conn end
        local function second() return opts end
        local function third() return other end
        other = { run = first }
        expect(of("conn", first) .. "it is an open file" .. open_there, first)
        expect(of("opts", second) .. "list[2] is a coroutine" .. instead, { { second } })
        expect(of("conn", first) .. "it is an open file" .. open_there, 1, third)
        expect(of("conn", first) .. "it is an open file" .. open_there, with_meta { __index = first })
    end)

    it("is named by the upvalue's number if the function has no debug information", function()
        local conn = io.stdout
        local function fn() return conn end
        local bare = load(string.dump(fn, true))
        debug.setupvalue(bare, 1, io.stdout)
        expect(of(1, fn):gsub("function .*:(%d+: )$", "function ?:%1") .. "it is an open file" .. open_there, bare)
    end)

    it("is no culprit when it has a name", function()
        local write, globals = io.write, debug.getregistry()[2]
        assert.is_nil(about(string.format, globals, string, function() return write, globals end))
    end)
end)

describe("the codec and the culprit", function()
    it("agree, for random values", function()
        local seed = tonumber(os.getenv "LUAMP_SPEC_SEED") or os.time()
        math.randomseed(seed)
        local bad = { f, c_function, io.stdout, function() return f end }
        local function closure(x) return function() return x, print end end
        local metas = {
            {}, { __index = {} }, { __gc = 1 }, { __close = false }, { __index = f }, { __name = "x" },
            with_meta { __gc = f }, error_meta,
        }
        local refusals = 0
        for i = 1, 3000 do
            local pool = {}
            for k = 1, 8 do
                pool[k] = {}
            end
            for _, t in ipairs(pool) do
                t[1], t[2], t.x = pool[math.random(8)], math.random(), pool[math.random(8)]
                t[pool[math.random(8)]] = math.random(40) == 1 and bad[math.random(#bad)] or true
                if math.random(40) == 1 then
                    t[bad[math.random(#bad)]] = 1
                end
                if math.random(10) == 1 then
                    t.closure = closure(math.random(40) == 1 and bad[math.random(#bad)] or pool[math.random(8)])
                end
                if math.random(30) == 1 then
                    setmetatable(t, math.random(2) == 1 and metas[math.random(#metas)] or pool[math.random(8)])
                end
            end
            local sent, found = encode(pool[1], pool[2]), about(pool[1], pool[2])
            assert.equal(sent == nil, found ~= nil, ("LUAMP_SPEC_SEED=%d, value %d: %s"):format(seed, i, found))
            refusals = refusals + (found and 1 or 0)
        end
        math.randomseed()
        assert.is_true(300 < refusals and refusals < 2700, refusals)
    end)
end)
