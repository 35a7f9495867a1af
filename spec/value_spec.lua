-- value_spec.lua: mp.value: one number that processes share, and what is atomic about it.
local helper = require "spec.helper"
local mp = require "luamp"

local misuse, started, result_of = helper.misuse, helper.started, helper.result_of

local integers = {
    int8 = { -128, 127 }, uint8 = { 0, 255 }, int16 = { -32768, 32767 }, uint16 = { 0, 65535 },
    int32 = { -2 ^ 31 | 0, 2 ^ 31 - 1 | 0 }, uint32 = { 0, 2 ^ 32 - 1 | 0 },
}
local words = { int64 = true, uint64 = true, integer = true }
local floats = { float = true, double = true, number = true }

-- Runs f(i) in so many processes; all must end well.
local function together(n, f)
    local processes = {}
    for i = 1, n do processes[i] = started(f, i) end
    for _, p in ipairs(processes) do
        p:result()
        p:close()
    end
end

after_each(function()
    helper.wait_until(function()
        collectgarbage()
        return mp.memory().kinds.values.count == 0
    end, "the end of all values")
end)

describe("mp.value", function()
    it("is 0 at first, of each type", function()
        for _, types in ipairs { integers, words } do
            for name in pairs(types) do assert.equal("0", tostring(mp.value(name):get())) end
        end
        for name in pairs(floats) do
            assert.same({ "float", 0.0 }, { math.type(mp.value(name):get()), mp.value(name):get() })
        end
    end)

    it("holds what it was made with, and what was set", function()
        for name, range in pairs(integers) do
            for _, n in ipairs(range) do
                local v = mp.value(name, n)
                assert.equal(n, v:get())
                v:set(1)
                assert.equal(1, v:get())
                v:set(n + 0.0)
                assert.equal("integer", math.type(v:get()))
                assert.equal(n, v:get())
            end
        end
        for name in pairs(words) do
            for _, n in ipairs { math.mininteger, -1, math.maxinteger } do assert.equal(n, mp.value(name, n):get()) end
        end
        for name in pairs(floats) do
            for _, x in ipairs { 0.5, -0.0, 1 / 0, -1 / 0, 2 ^ 20 } do
                assert.equal(("%a"):format(x), ("%a"):format(mp.value(name, x):get()))
            end
            local nan = mp.value(name, 0 / 0):get()
            assert.is_true(nan ~= nan)
            assert.equal("7.0", tostring(mp.value(name, 7):get()))
        end
    end)

    it("of type float rounds to the nearest, and refuses what is beyond its greatest", function()
        local v = mp.value("float", 0.1)
        assert.equal(string.unpack("f", string.pack("f", 0.1)), v:get())
        v:set(1e-60)
        assert.equal(0.0, v:get())
        local greatest = string.unpack("f", "\xff\xff\x7f\x7f")
        v:set(greatest)
        misuse("mp.value: set: 1e+39 does not fit float (up to 3.40", function() v:set(1e39) end)
        misuse("mp.value: set: -1e+39 does not fit float", function() v:set(-1e39) end)
        assert.equal(greatest, v:get())
    end)

    it("refuses what does not fit, and names it and the type", function()
        for name, range in pairs(integers) do
            local v = mp.value(name, 1)
            local words_for = ("does not fit %s (%d to %d)"):format(name, range[1], range[2])
            for _, n in ipairs { range[1] - 1, range[2] + 1, 2.0 ^ 40, 1.5, math.mininteger } do
                misuse(("mp.value: set: %s %s"):format(n, words_for), function() v:set(n) end)
            end
            misuse("mp.value: set: NaN " .. words_for, function() v:set(0 / 0) end)
            misuse(("mp.value: %d "):format(range[2] + 1) .. words_for, function() mp.value(name, range[2] + 1) end)
            assert.equal(1, v:get())
        end
        local v = mp.value("int64", 1)
        misuse('mp.value: set: the string "5" does not fit int64', function() v:set "5" end)
        misuse("mp.value: set: nil does not fit int64", function() v:set(nil) end)
        misuse(('the string "%s" does not'):format(("x"):rep(40)), function() v:set(("x"):rep(50)) end)
        misuse('the string "ab" does not', function() v:set("ab\0" .. ("x"):rep(50)) end)
        misuse("mp.value: set: true does not fit int64", function() v:set(true) end)
        misuse("mp.value: set: table does not fit int64", function() v:set {} end)
        misuse("mp.value: set: inf does not fit int64", function() v:set(1 / 0) end)
        misuse("does not fit int64", function() v:set(2.0 ^ 63) end)
        misuse("does not fit uint64", function() mp.value("uint64", 2.0 ^ 63) end)
        misuse('mp.value: set: the string "5" does not fit double', function() mp.value "double":set "5" end)
        assert.equal(1, v:get())
    end)

    it("adds, and says what it is then", function()
        local v = mp.value("integer", 5)
        assert.equal(7, v:add(2))
        assert.equal(3, v:add(-4.0))
        assert.equal(3, v:get())
        local x = mp.value("number", 0.5)
        assert.equal(0.75, x:add(0.25))
        assert.equal(1.75, x:add(1))
        local f = mp.value("float", 1)
        assert.equal(string.unpack("f", string.pack("f", 1.1)), f:add(0.1))
    end)

    it("adds around at 64 bits, as Lua does", function()
        for name in pairs(words) do
            local v = mp.value(name, math.maxinteger)
            assert.equal(math.mininteger, v:add(1))
            assert.equal(math.maxinteger, v:add(-1))
        end
    end)

    it("is as it was when adding would leave the type", function()
        for name, range in pairs(integers) do
            local v = mp.value(name, range[2])
            local text = ("would leave %s (%d to %d)"):format(name, range[1], range[2])
            misuse("mp.value: add: adding 1 " .. text, function() v:add(1) end)
            misuse(text, function() v:add(math.maxinteger) end)
            assert.equal(range[2], v:get())
            v:set(range[1])
            misuse(text, function() v:add(-1) end)
            misuse(text, function() v:add(math.mininteger) end)
            assert.equal(range[1], v:get())
        end
        local v = mp.value("uint8", 200)
        assert.equal(100, v:add(-100))
        misuse("mp.value: add: 0.5 does not fit uint8", function() v:add(0.5) end)
        misuse('mp.value: add: the string "1" does not fit uint8', function() v:add "1" end)
        local f = mp.value("float", 3e38)
        misuse("mp.value: add: adding 3e+38 would leave float", function() f:add(3e38) end)
        assert.equal(string.unpack("f", string.pack("f", 3e38)), f:get())
        assert.equal(1 / 0, f:add(1 / 0))
    end)

    it("is changed by cas when it is what was expected", function()
        for name in pairs(integers) do
            local v = mp.value(name, 5)
            assert.is_true(v:cas(5, 6))
            assert.is_false(v:cas(5, 7))
            assert.equal(6, v:get())
            assert.is_true(v:cas(6.0, 7))
        end
        for name in pairs(floats) do
            local v = mp.value(name, 0.1)
            assert.is_true(v:cas(0.1, -0.0))
            assert.is_true(v:cas(0, 0 / 0)) -- as `==` has it
            assert.is_false(v:cas(0, 1))
            assert.is_true(v:cas(0 / 0, 2)) -- what was read is found again
            assert.equal(2.0, v:get())
        end
        local v = mp.value("int8", 5)
        misuse("mp.value: cas: 300 does not fit int8", function() v:cas(300, 1) end)
        misuse("mp.value: cas: 300 does not fit int8", function() v:cas(5, 300) end)
        misuse("mp.value: cas: nil does not fit int8", function() v:cas(5) end)
        assert.equal(5, v:get())
    end)

    it("says its type and number", function()
        assert.matches("^mp%.value: 0x%x+ %(int16 %-3%)$", tostring(mp.value("int16", -3)))
        assert.matches("^mp%.value: 0x%x+ %(double 0%.5%)$", tostring(mp.value("number", 0.5)))
        assert.matches("^mp%.value: 0x%x+ %(int64 1%)$", tostring(mp.value("integer", 1)))
    end)

    it("is closed for this process, and harmlessly again", function()
        local v <close> = mp.value("int8", 1)
        v:close()
        v:close()
        for _, method in ipairs { "get", "set", "add", "cas" } do
            misuse(("mp.value: %s: it is closed in this process"):format(method), function() v[method](v, 1, 1) end)
        end
        assert.matches("^mp%.value: 0x%x+ %(closed%)$", tostring(v))
    end)

    it("tells misuse at the caller's line", function()
        misuse("mp.value: unknown type 'int33' (did you mean 'int32'?)", function() mp.value "int33" end)
        misuse("mp.value: unknown type 'i': it is int8 to int64, uint8", function() mp.value "i" end)
        misuse("mp.value: unknown type 'floot' (did you mean 'float'?)", function() mp.value("floot", 1) end)
        misuse("mp.value: the name of a type is expected, as \"int32\" or \"double\", not 5",
            function() mp.value(5) end)
        misuse("not nothing", function() mp.value() end)
        misuse("mp.value: expected a type and a number, and nothing else", function() mp.value("int8", 1, 2) end)
            local v = mp.value "int8"
        misuse("mp.value: get: it must be called with a colon, on such an object", function() v.get() end)
        misuse("mp.value: get: it must be called with a colon", function() v.get(mp.queue()) end)
        misuse("mp.value: its fields cannot be assigned ('x')", function() v.x = 1 end)
        misuse("there is nothing to be waited for", function() mp.wait { v } end)
    end)
end)

describe("a value that several processes have", function()
    it("loses no addition, of any type", function()
        local rounds = helper.sanitized and 2000 or 20000
        local values = {}
        for _, types in ipairs { words, floats, { int32 = 1, uint32 = 1 } } do
            for name in pairs(types) do values[#values + 1] = mp.value(name) end
        end
        local small = { int8 = mp.value "int8", uint8 = mp.value "uint8", int16 = mp.value "int16",
            uint16 = mp.value "uint16" }
        together(4, function()
            for _ = 1, rounds do
                for _, v in ipairs(values) do v:add(1) end
            end
            for _ = 1, 30 do
                for _, v in pairs(small) do v:add(1) end
            end
            for _ = 1, rounds do -- of narrow ones also up and down
                for _, v in pairs(small) do
                    v:add(1)
                    v:add(-1)
                end
            end
        end)
        for _, v in ipairs(values) do assert.equal(4 * rounds, v:get()) end
        for _, v in pairs(small) do assert.equal(120, v:get()) end
    end)

    it("counts eight times a million exactly", function()
        local rounds = helper.sanitized and 100000 or 1000000
        local v = mp.value "integer"
        together(8, function()
            for _ = 1, rounds do v:add(1) end
        end)
        assert.equal(8 * rounds, v:get())
    end)

    it("is changed by one cas at a time", function()
        local v, rounds = mp.value "double", helper.sanitized and 2000 or 20000
        together(4, function()
            for _ = 1, rounds do
                local x
                repeat x = v:get() until v:cas(x, x + 0.5)
            end
        end)
        assert.equal(2.0 * rounds, v:get())
    end)

    it("stays at its greatest, whoever adds at once", function()
        local v, refused = mp.value "uint8", mp.value "integer"
        together(4, function()
            for _ = 1, 100 do
                if not pcall(v.add, v, 1) then refused:add(1) end
            end
        end)
        assert.same({ 255, 400 - 255 }, { v:get(), refused:get() })
    end)

    it("travels by arguments, upvalues, results, queues and pipes, and is the same", function()
        local v, q = mp.value "integer", mp.queue()
        local a, b = mp.pipe()
        q:put { v }
        a:send(v)
        local p = helper.started(function(inside)
            v:add(1)
            inside.v:add(10)
            q:get()[1]:add(100)
            b:recv():add(1000)
            return { v, inside.v }
        end, { v = v })
        local back = p:result()
        p:close()
        assert.is_true(back[1] == v and back[2] == v)
        assert.equal(1111, v:get())
    end)

    it("is whole when a process that adds is killed at any moment", function()
        local v, sum = mp.value "double", 0
        for i = 1, 10 do
            local p = started(function()
                while true do v:add(1) end
            end)
            helper.wait_until(function() return v:get() > sum end, "an addition")
            mp.sleep(i % 3 * 0.001)
            p:kill()
            p:join()
            p:close()
            local now = v:get()
            assert.is_true(now > sum and now == now // 1)
            sum = now
        end
        assert.equal(sum + 1, v:add(1))
    end)

    it("is there as long as one has it", function()
        local v = result_of(function() return mp.value("int16", 77) end)
        assert.equal(77, v:get())
        assert.equal(1, mp.memory().kinds.values.count)
        local q = mp.queue()
        q:put(v)
        v = nil -- luacheck: ignore
        collectgarbage()
        assert.equal(77, q:get():get())
    end)
end)
