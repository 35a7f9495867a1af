-- decode_spec.lua: random values come back as they went, and bytes that are no message are refused.
local helper = require "spec.helper"
local make_values = require "spec.values"
require "luamp"
local core = require "luamp.core"

local encode = core.encode
local error_meta = debug.getregistry()["luamp.error"]

-- A message that is not the family's comes in a frame, whatever is in that.
local function decode(message, is_ours)
    return core.decode(is_ours and message or core.frame(message), is_ours)
end

local function trip(...)
    return decode(assert(encode(...)))
end

local function bits(number)
    return string.pack("d", number)
end

local function float(pattern)
    return (string.unpack("<d", string.pack("<I8", pattern)))
end

-- Random graphs. Each table has a number of its own in the field "id", so that
-- two graphs can be compared although tables are keys in them.

local strings = { "", "a", "id2", ("s"):rep(63), ("m"):rep(64), ("l"):rep(300), ("b"):rep(40000) }

local function scalar()
    local kind = math.random(6)
    if kind == 1 then
        return math.random(0) >> math.random(0, 63)
    elseif kind == 2 then
        return math.random(-200, 200)
    elseif kind == 3 then
        return float(math.random(0))
    elseif kind == 4 then
        return strings[math.random(#strings)] .. (math.random(2) == 1 and "" or math.random(100))
    end
    return kind == 5
end

local function anything(pool)
    return math.random(3) == 1 and pool[math.random(#pool)] or scalar()
end

local function fill(t, pool)
    for i = 1, math.random(10) == 1 and math.random(400) or math.random(0, 5) do
        t[i] = anything(pool)
    end
    for _ = 1, math.random(10) == 1 and math.random(400) or math.random(0, 5) do
        local key = anything(pool)
        if key == key and key ~= "id" then
            t[key] = anything(pool)
        end
    end
end

local function graph(seed)
    math.randomseed(seed)
    local pool = {}
    for i = 1, math.random(300) do
        pool[i] = { id = i }
    end
    for i, t in ipairs(pool) do
        fill(t, pool)
        t.next = pool[i + 1] or false
        local meta = math.random(12)
        if meta <= 2 then
            setmetatable(t, meta == 1 and error_meta or pool[math.random(#pool)])
        end
    end
    return pool[1], pool[math.random(#pool)], scalar()
end

local function like_scalar(a, b)
    if math.type(a) == "float" then
        return math.type(b) == "float" and bits(a) == bits(b)
    end
    return a == b and math.type(a) == math.type(b)
end

-- Whether b is a as a graph: one table for each table, with the same in it.
local function like(a, b)
    local twin, its_twin, queue = {}, {}, {}
    local function meet(x, y)
        if type(x) ~= "table" or type(y) ~= "table" then
            return like_scalar(x, y)
        end
        if twin[x] == nil and its_twin[y] == nil then
            twin[x], its_twin[y] = y, x
            queue[#queue + 1] = x
        end
        return twin[x] == y
    end
    local ok = meet(a, b)
    for _, x in ipairs(queue) do
        local y, n, by_id = twin[x], 0, {}
        for key in next, y do
            n = n + 1
            if type(key) == "table" then
                by_id[rawget(key, "id")] = key
            end
        end
        for key, value in next, x do
            n = n - 1
            local its = type(key) == "table" and by_id[rawget(key, "id")] or key
            ok = ok and (type(key) ~= "table" or meet(key, its)) and meet(value, rawget(y, its))
        end
        local meta, its_meta = debug.getmetatable(x), debug.getmetatable(y)
        ok = ok and n == 0 and (meta == error_meta and its_meta == meta or meet(meta, its_meta))
    end
    return ok
end

describe("random graphs", function()
    local first = tonumber(os.getenv "LUAMP_SPEC_SEED") or os.time()

    it(("come back as they went (LUAMP_SPEC_SEED=%d)"):format(first), function()
        for seed = first, first + (helper.sanitized and 10 or 30) do
            local a, b, c = graph(seed)
            local values = { a, b, c }
            local back = { trip(a, b, c) }
            assert.is_true(like(values, back), "seed " .. seed)
        end
        math.randomseed()
    end)

    it("are told apart when one thing differs", function()
        local a = { id = 1, { id = 2 }, x = 0.0 }
        assert.is_true(like(a, { id = 1, { id = 2 }, x = 0.0 }))
        for _, b in ipairs {
            { id = 1, { id = 3 }, x = 0.0 }, { id = 1, { id = 2 }, x = -0.0 }, { id = 1, { id = 2 }, x = 0 },
            { id = 1, { id = 2 } }, { id = 1, { id = 2 }, x = 0.0, y = 1 },
            { id = 1, setmetatable({ id = 2 }, {}), x = 0.0 },
        } do
            assert.is_false(like(a, b))
        end
        local twice = { { id = 1, { id = 2 }, x = 0.0 }, { id = 1, { id = 2 }, x = 0.0 } }
        assert.is_true(like(twice, twice))
        assert.is_false(like({ a, a }, twice))
        assert.is_false(like(twice, { a, a }))
    end)
end)

-- Bytes, as src/binding/wire.h describes them.

local NIL, INT16, INT32, INT64, FLOAT = "\xa0", "\xa3", "\xa4", "\xa5", "\xa6"
local STRING16, STRING64, TABLE, TABLE64 = "\xa7", "\xa8", "\xa9", "\xaa"
local META, ERROR, DEFER, REF = "\xab", "\xac", "\xad", "\xae"
local EMPTY = TABLE .. "\0\0"
local GC, CLOSE = "\xc4__gc", "\xc7__close"

local function words(...)
    return string.pack(("<I8"):rep(select("#", ...)), ...)
end

-- A message with a trailer: the number of values, their bytes and items, and
-- the numbers of objects, items and METAs.
local function linked(n, body, objects, items, metas)
    return string.char(0x80 | n) .. body .. words(objects, items, metas)
end

local function refused(bytes)
    local ok, err = pcall(decode, bytes)
    assert.is_false(ok, ("%q"):format(bytes:sub(1, 100)))
    assert.equal("not a luamp message", err)
end

-- Changed bytes are refused, or are the message of something that can be sent.
local function harmless(bytes)
    local values = table.pack(pcall(decode, bytes))
    if not values[1] then
        assert(values[2] == "not a luamp message", values[2])
        return false
    end
    local again = assert(encode(table.unpack(values, 2, values.n)))
    assert(select("#", decode(again)) == values.n - 1)
    return true
end

-- Messages with all there is in the format: one as the codec makes them, one by hand.
local function rich()
    local t = { 1, -1, 200, -40000, 1 << 40, 0.5, true, false, "short", ("m"):rep(70), { {}, { 1 } }, x = { y = "z" } }
    local meta = { __index = { z = 1 }, __mode = "k" }
    t.self, t[t], t[1.5], t[true] = t, t, setmetatable({}, meta), setmetatable({ t }, meta)
    t.error = setmetatable({ message = "m", value = t }, error_meta)
    return encode(t, nil, t, "end")
end

local by_hand = linked(3,
    TABLE .. "\3\1" .. DEFER .. REF .. "\1" .. STRING64 .. words(3) .. "abc" .. "\xc1k" .. ERROR .. TABLE .. "\0\0"
        .. META .. TABLE64 .. words(1, 1) .. "\7\xc1x\1" .. DEFER .. NIL
        .. "\1" .. TABLE .. "\1\0" .. REF .. "\4"
        .. "\5" .. META .. TABLE .. "\0\1\xc6__mode\xc1k" .. REF .. "\5",
    6, 2, 2)

describe("a message by hand", function()
    it("is what wire.h says", function()
        local t, n = decode("\2" .. TABLE .. "\2\1\1" .. FLOAT .. bits(0.5) .. "\xc1a\xc0" .. INT16 .. "\0\x80")
        assert.same({ 1, 0.5, a = "" }, t)
        assert.equal(-32768, n)
        local a, m, none = decode(by_hand)
        assert.equal(m, a[1][1])
        assert.equal(a[1], a[2])
        assert.equal("abc", a[3])
        assert.equal(error_meta, debug.getmetatable(a.k))
        assert.equal("k", getmetatable(m).__mode)
        assert.equal(getmetatable(m), getmetatable(getmetatable(m)))
        assert.is_nil(none)
        assert.equal(3, select("#", decode(by_hand)))
    end)
end)

describe("bytes", function()
    it("without a whole value are refused", function()
        for _, bytes in ipairs {
            "", "\1", "\2\1", "\0\0", "\1\1\1", "\x7f", "\x7f\0\0\0", "\1\xc5abc", "\1\xff" .. ("x"):rep(62),
            "\1" .. INT16 .. "\0", "\1" .. INT32 .. "\0\0\0", "\1" .. INT64 .. "\0\0\0\0\0\0\0", "\1" .. FLOAT .. "\0",
            "\1" .. STRING16, "\1" .. STRING16 .. "\xff\xff", "\1" .. STRING64 .. words(5) .. "abcd", "\1" .. META,
            "\1" .. STRING64 .. words(1 << 63) .. "abcd", "\1" .. STRING64 .. words(-1) .. "abcd", "\1" .. STRING64,
            "\1" .. TABLE, "\1" .. TABLE .. "\0", "\1" .. TABLE .. "\1\0", "\1" .. TABLE .. "\0\1\1", "\1" .. ERROR,
            "\1" .. TABLE64 .. words(0), "\1" .. TABLE64 .. words(1, 0), "\1" .. REF, "\x81", "\x81" .. words(0, 0),
        } do
            refused(bytes)
        end
    end)

    it("with an unknown tag are refused", function()
        for tag = 0xaf, 0xbf do
            refused("\1" .. string.char(tag))
            refused("\1" .. string.char(tag) .. EMPTY)
        end
    end)

    it("that promise more than there is are refused before memory is taken", function()
        local large = { 5, 900000, 1 << 20, 1 << 40, 1 << 62, 1 << 63, -1, -8 }
        collectgarbage()
        collectgarbage "stop"
        local before = collectgarbage "count"
        for _, n in ipairs(large) do
            refused("\x7f" .. words(n) .. "\1\1\1")
            refused("\1" .. TABLE64 .. words(n, 0) .. "\1\1\1")
            refused("\1" .. TABLE64 .. words(0, n) .. "\1\1\1")
            refused("\1" .. TABLE64 .. words(n, n) .. "\1\1\1")
            refused(linked(1, EMPTY, n, 0, 0))
            refused(linked(1, EMPTY, 1, n, 0))
            refused(linked(1, EMPTY, 1, 0, n))
            refused(linked(1, DEFER .. "\0" .. TABLE64 .. words(n, n), 1, 1, 0))
        end
        local taken = collectgarbage "count" - before
        collectgarbage "restart"
        assert.is_true(taken < 4000, taken .. " KiB")
    end)

    it("that promise to several tables what only one can have are refused", function()
        refused("\1" .. TABLE .. "\3\0" .. TABLE .. "\3\0\1\1\1")
        collectgarbage()
        local before = collectgarbage "count"
        refused("\1" .. (TABLE64 .. words(1 << 19, 0)):rep(100) .. ("\1"):rep(1 << 20))
        assert.is_true(collectgarbage "count" - before < 25000)
    end)

    it("with nil in a table, or nil or NaN as a key, are refused", function()
        refused("\1" .. TABLE .. "\1\0" .. NIL)
        refused("\1" .. TABLE .. "\0\1" .. NIL .. "\1")
        refused("\1" .. TABLE .. "\0\1\1" .. NIL)
        for _, nan in ipairs { 0x7ff8000000000000, 0xfff8000000000000, 0x7ff0000000000001 } do
            refused("\1" .. TABLE .. "\0\1" .. FLOAT .. bits(float(nan)) .. "\1")
        end
        assert.same({ [1] = 1 }, decode("\1" .. TABLE .. "\0\1" .. FLOAT .. bits(1.0) .. "\1"))
    end)

    it("with a reference to nothing are refused", function()
        assert.equal(2, #{ decode(linked(2, EMPTY .. REF .. "\0", 1, 0, 0)) })
        refused("\2" .. EMPTY .. REF .. "\0")
        for _, number in ipairs {
            "\1", "\x9f", INT64 .. words(-1), INT64 .. words(1 << 63), FLOAT .. words(0), "\xc0",
        } do
            refused(linked(2, EMPTY .. REF .. number, 1, 0, 0))
        end
        refused(linked(1, REF .. "\0", 1, 0, 0))
        refused(linked(2, REF .. "\0" .. EMPTY, 1, 0, 0))
    end)

    it("with deferred tables that do not come, or items for none, are refused", function()
        assert.same({ 5 }, decode(linked(1, DEFER .. "\0" .. TABLE .. "\1\0\5", 1, 1, 0)))
        refused("\1" .. DEFER)
        refused(linked(1, DEFER, 1, 0, 0))
        refused(linked(1, DEFER, 1, 1, 0))
        refused(linked(1, DEFER .. "\0", 1, 1, 0))
        refused(linked(1, DEFER .. "\0\1", 1, 1, 0))
        refused(linked(1, DEFER .. "\0" .. DEFER, 1, 1, 0))
        refused(linked(1, DEFER .. "\0" .. REF .. "\0", 1, 1, 0))
        refused(linked(1, DEFER .. "\1" .. EMPTY, 1, 1, 0))
        refused(linked(1, DEFER .. "\0" .. EMPTY .. "\0" .. EMPTY, 1, 1, 0))
        refused(linked(1, EMPTY .. "\0" .. EMPTY, 1, 1, 0))
        refused(linked(2, STRING64 .. words(1) .. "x" .. DEFER .. "\0" .. EMPTY, 2, 1, 0))
    end)

    it("with wrong counts in the trailer are refused", function()
        for _, change in ipairs { { 1, 0, 0 }, { -1, 0, 0 }, { 0, 1, 0 }, { 0, -1, 0 }, { 0, 0, 1 }, { 0, 0, -1 } } do
            refused(by_hand:sub(1, -25) .. words(6 + change[1], 2 + change[2], 2 + change[3]))
        end
    end)

    it("with a metatable that is none, or has a finalizer, are refused", function()
        assert.equal("table", type(getmetatable(decode(linked(1, META .. EMPTY .. EMPTY, 0, 0, 1)))))
        refused("\1" .. META .. EMPTY .. EMPTY)
        refused(linked(1, META .. EMPTY .. "\1", 0, 0, 1))
        refused(linked(1, META .. EMPTY .. STRING64 .. words(1) .. "x", 0, 0, 1))
        refused(linked(1, META .. "\1" .. EMPTY, 0, 0, 1))
        refused(linked(1, META .. META .. EMPTY .. EMPTY .. EMPTY, 0, 0, 2))
        refused(linked(1, META .. ERROR .. EMPTY .. EMPTY, 0, 0, 1))
        refused("\1" .. ERROR .. "\1")
        for _, name in ipairs { GC, CLOSE } do
            refused(linked(1, META .. EMPTY .. TABLE .. "\0\1" .. name .. "\1", 0, 0, 1))
            refused(linked(1, META .. EMPTY .. DEFER .. "\1" .. TABLE .. "\0\1" .. name .. EMPTY, 3, 1, 1))
            refused(linked(1, META .. TABLE .. "\0\1" .. name .. "\1" .. REF .. "\0", 1, 0, 1))
            refused(linked(2, META .. EMPTY .. EMPTY .. META .. EMPTY .. TABLE .. "\0\1" .. name .. "\1", 0, 0, 2))
        end
    end)

    it("are refused where tables lie deeper in one another than the codec writes them", function()
        for _, outer in ipairs { TABLE .. "\1\0", TABLE .. "\0\1\1", ERROR .. TABLE .. "\1\0" } do
            assert.equal("table", type(decode("\1" .. outer:rep(99) .. EMPTY)))
            refused("\1" .. outer:rep(100) .. EMPTY)
            refused("\1" .. outer:rep(1000000) .. EMPTY)
        end
        assert.equal("table", type(decode(linked(1, (META .. EMPTY):rep(99) .. EMPTY, 0, 0, 99))))
        refused(linked(1, (META .. EMPTY):rep(100) .. EMPTY, 0, 0, 100))
    end)

    it("that are cut, or go on, are refused", function()
        for _, message in ipairs { rich(), by_hand } do
            for len = 0, #message - 1 do
                refused(message:sub(1, len))
            end
            for byte = 0, 255 do
                refused(message .. string.char(byte))
            end
        end
    end)

    it("changed anywhere are refused, or are something that can be sent", function()
        local accepted, all = 0, 0
        for _, message in ipairs { rich(), by_hand } do
            for at = 1, #message do
                local before, after = message:sub(1, at - 1), message:sub(at + 1)
                for byte = 0, 255 do
                    all = all + 1
                    accepted = accepted + (harmless(before .. string.char(byte) .. after) and 1 or 0)
                end
            end
        end
        assert.is_true(0 < accepted and accepted < all)
    end)

    it("at random are refused, or are something that can be sent", function()
        local seed = tonumber(os.getenv "LUAMP_SPEC_SEED") or os.time()
        math.randomseed(seed)
        for _ = 1, 20000 do
            local bytes = {}
            for i = 1, math.random(40) do
                bytes[i] = math.random(3) == 1 and math.random(0, 255) or math.random(0xa0, 0xaf)
            end
            bytes[1] = math.random(0, 3)
            local ok, err = pcall(harmless, string.char(table.unpack(bytes)))
            assert.is_true(ok, ("LUAMP_SPEC_SEED=%d: %s"):format(seed, err))
        end
        math.randomseed()
    end)
end)

describe("a section", function()
    local SEND, SENT, pack = "\xb5", "\xb6", "\xaf\xcbxtable\0pack"

    -- Of a message of the family.
    local function not_ours(bytes)
        assert.same({ false, "not a luamp message" }, { pcall(decode, bytes, true) })
    end

    it("is what wire.h says", function()
        local a, b, n = decode(linked(3, SEND .. "\2" .. pack .. DEFER .. NIL .. "\1" .. TABLE .. "\1\0\7" .. SENT
            .. SEND .. "\1" .. REF .. "\0" .. REF .. "\2" .. SENT .. REF .. "\2" .. REF .. "\3" .. "\5", 4, 1, 0), true)
        assert.same({ { { 7 }, n = 2 }, 5 }, { a, n })
        assert.is_true(b.n == 1 and rawequal(a, b[1]))
    end)

    it("that is not whole, or has no function, is refused", function()
        for _, section in ipairs {
            SEND, SEND .. "\0", SEND .. "\0" .. SENT, SEND .. "\0" .. pack, SEND .. "\1" .. pack .. SENT, SENT,
            SEND .. "\0" .. pack .. "\1" .. SENT, SEND .. "\0" .. EMPTY .. SENT, SEND .. "\0" .. NIL .. SENT,
            SEND .. SENT, SEND .. "\x9f" .. pack .. SENT, SEND .. INT64 .. words(-1) .. pack .. SENT,
            SEND .. "\xc0" .. pack .. SENT, SEND .. "\0" .. pack .. SENT .. SEND, SEND .. "\0" .. pack .. SENT .. SENT,
            SEND .. "\0" .. pack .. SEND .. "\0" .. pack .. SENT .. SENT, SEND .. FLOAT .. bits(0) .. pack .. SENT,
        } do
            not_ours("\1" .. section .. "\5")
            not_ours(linked(1, section .. "\5", 4, 1, 0))
        end
        assert.equal(5, decode("\1" .. SEND .. "\0" .. pack .. SENT .. "\5", true))
        not_ours("\1\5" .. SEND .. "\0" .. pack .. SENT)
        not_ours("\1" .. TABLE .. "\1\0" .. SEND .. "\0" .. pack .. SENT .. "\5")
        refused("\1" .. SEND .. "\0" .. pack .. SENT .. "\5")
    end)

    it("that promises more arguments than there are is refused before memory is taken", function()
        collectgarbage()
        collectgarbage "stop"
        local before = collectgarbage "count"
        for _, n in ipairs { 100, 900000, 1 << 20, 1 << 40, 1 << 62, 1 << 63, -1 } do
            not_ours("\1" .. SEND .. INT64 .. words(n) .. pack .. ("\1"):rep(50) .. SENT .. "\5")
            not_ours("\1" .. SEND .. "\1" .. pack .. TABLE64 .. words(n, n) .. SENT .. "\5")
        end
        local taken = collectgarbage "count" - before
        collectgarbage "restart"
        assert.is_true(taken < 4000, taken .. " KiB")
    end)
end)

describe("a function that goes by name and by value", function()
    local EITHER, NAMED, FUNCTION, LATER, CODE, UPVALUE = "\xb7", "\xaf", "\xb0", "\xb1", "\xb2", "\xb3"
    local name = "\xc7xhand\0f"
    local code = CODE .. string.pack("<s4", string.dump(load "local x = 1 return function() return x end" ()))
    local value = FUNCTION .. "\1" .. code .. NIL

    -- As the receiver sees it that has no such module, and that which has.
    local function each_receiver(f)
        f()
        package.loaded.hand = { f = print }
        local ok, e = pcall(f, print)
        package.loaded.hand = nil
        assert(ok, e)
    end

    it("is what wire.h says", function()
        each_receiver(function(own)
            local f = decode("\1" .. EITHER .. name .. value, true)
            assert.equal(own, own and f or f())
            for _, message in ipairs {
                linked(2, EITHER .. name .. FUNCTION .. "\1" .. code .. REF .. "\0" .. REF .. "\0", 4, 0, 0),
                linked(2, EITHER .. name .. LATER .. "\1" .. code .. REF .. "\0" .. "\1" .. REF .. "\0", 4, 1, 0),
            } do
                local a, b = decode(message, true)
                assert.is_true(rawequal(a, b))
                assert.equal(own or a, own and a or a())
            end
            local _, g = decode(linked(2, EITHER .. name .. FUNCTION .. "\1" .. code .. "\7" .. FUNCTION .. "\1" .. REF
                .. "\2" .. UPVALUE .. "\3", 5, 0, 0), true)
            assert.equal(7, g())
        end)
    end)

    it("that is not whole, or has no name or no function, is refused", function()
        local bad = {
            EITHER, EITHER .. name, EITHER .. name .. EMPTY, EITHER .. EMPTY .. value, EITHER .. "\5" .. value,
            EITHER .. name .. EITHER .. name .. value, EITHER .. name .. NAMED .. "\xc8mstring", EITHER .. name .. code,
            EITHER .. STRING64 .. words(7) .. "xhand\0f" .. value, EITHER .. value, EITHER .. name .. NIL,
            EITHER .. name .. FUNCTION .. "\0" .. code, EITHER .. name .. FUNCTION .. "\2" .. code .. NIL .. NIL,
            EITHER .. name .. LATER .. "\1" .. code, EITHER .. name .. FUNCTION .. "\1" .. code .. UPVALUE .. "\0",
            EITHER .. name .. FUNCTION .. "\1" .. code .. REF .. "\4", EITHER .. name .. REF .. "\0",
            EITHER .. name .. FUNCTION .. "\1" .. code .. UPVALUE .. "\1",
        }
        for len = 1, #value do bad[#bad + 1] = EITHER .. name .. value:sub(1, len - 1) end
        each_receiver(function()
            for i, bytes in ipairs(bad) do
                for _, message in ipairs { "\1" .. bytes, linked(1, bytes, 4, 0, 0), linked(1, bytes, 4, 1, 0) } do
                    assert.same({ false, "not a luamp message" }, { pcall(decode, message, true) }, i)
                end
            end
        end)
        refused("\1" .. EITHER .. name .. value)
    end)
end)

-- A message is from outside if the family has not written it itself. Its frame is sound here: outside_spec has others.
describe("a message from outside, with any one bit changed and cut anywhere,", function()
    local seed = tonumber(os.getenv "LUAMP_SPEC_SEED") or os.time()

    -- Messages of at most 400 bytes: of data, and of functions and names, which outside are none.
    local function sample(n)
        local list = { by_hand, encode(1, "two"), encode(print, { string }), encode { string, "and data" } }
        math.randomseed(seed)
        while #list < n do
            local _, given = make_values.graph { n = 4, functions = #list % 2 == 0 }
            local message = encode(table.unpack(given, 1, given.n))
            if message and #message <= 400 then list[#list + 1] = message end
        end
        math.randomseed()
        return list
    end

    -- The answer of decode, and how much was called meanwhile.
    local function watched(bytes)
        local calls = 0
        debug.sethook(function() calls = calls + 1 end, "c")
        local answer = table.pack(pcall(decode, bytes))
        debug.sethook()
        return answer, calls
    end

    local is_plain = { boolean = true, number = true, string = true, table = true, ["nil"] = true }

    -- Nothing but data, in metatables too, none of which has a finalizer.
    local function assert_plain(values)
        local seen, queue = {}, {}
        local function meet(value)
            assert(is_plain[type(value)], type(value))
            if type(value) == "table" and not seen[value] then seen[value], queue[#queue + 1] = true, value end
        end
        for i = 2, values.n do meet(values[i]) end
        for _, t in ipairs(queue) do
            local meta = debug.getmetatable(t)
            if not rawequal(meta, error_meta) then
                meet(meta)
                assert(not meta or rawget(meta, "__gc") == nil and rawget(meta, "__close") == nil)
            end
            for key, value in next, t do
                meet(key)
                meet(value)
            end
        end
    end

    local function modules_and_globals()
        local n = 0
        for _ in next, package.loaded do n = n + 1 end
        for _ in next, debug.getregistry()[2] do n = n + 1 end
        return n
    end

    it(("is refused or plain data, and nothing is loaded or run (LUAMP_SPEC_SEED=%d)"):format(seed), function()
        local messages = sample(helper.sanitized and 10 or 30)
        local before = modules_and_globals()
        local _, own_calls = watched "\0"
        local refusals, accepted = 0, 0
        local function look_at(bytes)
            local answer, calls = watched(bytes)
            assert(calls == own_calls, "something was called")
            if answer[1] then
                accepted = accepted + 1
                assert_plain(answer)
            else
                refusals = refusals + 1
                assert(answer[2] == "not a luamp message", answer[2])
            end
        end
        for _, message in ipairs(messages) do
            for at = 1, #message do
                look_at(message:sub(1, at - 1))
                for bit = 0, 7 do
                    local changed = string.char(message:byte(at) ~ 1 << bit)
                    look_at(message:sub(1, at - 1) .. changed .. message:sub(at + 1))
                end
            end
        end
        assert.equal(before, modules_and_globals())
        assert.is_true(refusals > 100 and accepted > 100, refusals .. " were refused, " .. accepted .. " not")
    end)
end)

describe("decode", function()
    it("wants a string", function()
        helper.fails("string expected", core.decode, {})
        helper.fails("string expected", core.decode)
        helper.fails("string expected", core.frame, {})
    end)
end)
