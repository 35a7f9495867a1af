-- array_spec.lua: mp.array: elements, ranges and bulk operations, in one process and in several.
local helper = require "spec.helper"
local mp = require "luamp"

local misuse, started, result_of = helper.misuse, helper.started, helper.result_of

local types = { "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float", "double" }
local is_float = { float = true, double = true }
local sizes = { int8 = 1, uint8 = 1, int16 = 2, uint16 = 2, int32 = 4, uint32 = 4, int64 = 8, uint64 = 8, float = 4,
    double = 8 }

-- A list of n numbers that each type holds, all different up to 100, in no order.
local function numbers(n)
    local list = {}
    for i = 1, n do list[i] = (i * 37 + 11) % 101 end
    return list
end

local function list_of(a)
    return a:get()
end

local function assert_all(a, x, i, j)
    if i <= j then assert.same({ x, x }, { (a:min(i, j)), (a:max(i, j)) }) end
end

after_each(function()
    helper.wait_until(function()
        collectgarbage()
        return mp.memory().kinds.arrays.count == 0
    end, "the end of all arrays")
end)

describe("mp.array", function()
    it("of a length is all 0", function()
        for _, name in ipairs(types) do
            local a = mp.array(name, 1000)
            assert.equal(1000, #a)
            assert.equal(is_float[name] and "0.0" or "0", tostring(a[1]))
            assert.same({ 0, 0, 0 }, { a:sum(), (a:min()), (a:max()) })
        end
        assert.equal(0, #mp.array("int8", 0))
        assert.equal(3, #mp.array("int8", 3.0))
        local again = mp.array("double", 100000) -- memory that was used before
        again:fill(1)
        again:close()
        assert.equal(0.0, mp.array("double", 100000):sum())
    end)

    it("of a list has its elements", function()
        for _, name in ipairs(types) do
            local list = numbers(100)
            local a = mp.array(name, list)
            assert.equal(100, #a)
            for i = 1, 100 do assert.equal(list[i], a[i]) end
            assert.same(list, list_of(a))
        end
        assert.same({}, list_of(mp.array("double", {})))
        assert.same({ 1, -1 }, list_of(mp.array("integer", { 1.0, -1 })))
    end)

    it("is read and written by index from 1", function()
        for _, name in ipairs(types) do
            local a = mp.array(name, 5)
            for i = 1, 5 do a[i] = i * 10 end
            assert.equal(30, a[3])
            assert.equal(30, a[3.0])
            a[5.0] = 7.0
            assert.equal(is_float[name] and "7.0" or "7", tostring(a[5]))
            assert.is_nil(a[6])
        end
    end)

    it("refuses other indices, and names them", function()
        local a = mp.array("int32", { 1, 2, 3 })
        misuse("mp.array: index 0 is outside 1 to 3", function() return a[0] end)
        misuse("mp.array: index -1 is outside 1 to 3", function() return a[-1] end)
        misuse("mp.array: index 5 is outside 1 to 3", function() return a[5] end)
        for _, i in ipairs { math.mininteger, math.maxinteger, 5.0, -1.0 } do
            misuse(("mp.array: index %d is outside 1 to 3"):format(i), function() return a[i] end)
        end
        misuse("mp.array: 1.5 is no index, and no method's name", function() return a[1.5] end)
        misuse("mp.array: NaN is no index, and no method's name", function() return a[0 / 0] end)
        misuse("mp.array: nil is no index, and no method's name", function() return a[nil] end)
        misuse('mp.array: the string "x" is no index, and no method\'s name', function() return a.x end)
        misuse('mp.array: the string "1" is no index, and no method\'s name', function() return a["1"] end)
        misuse("mp.array: index 4 is outside 1 to 3", function() a[4] = 1 end)
        misuse("mp.array: index 0 is outside 1 to 3", function() a[0] = 1 end)
        misuse('mp.array: the string "sum" is no index: only elements can be assigned', function() a.sum = 1 end)
        misuse("mp.array: 1.5 is no index: only elements can be assigned", function() a[1.5] = 1 end)
        assert.same({ 1, 2, 3 }, list_of(a))
        assert.equal("function", type(a.sum))
    end)

    it("refuses what does not fit, names it, the type and the index, and is as it was", function()
        local a = mp.array("uint8", { 1, 2, 3 })
        for _, bad in ipairs { -1, 256, 1.5, 2.0 ^ 60 } do
            misuse(("mp.array: %s does not fit uint8 (0 to 255), at index 2"):format(bad), function() a[2] = bad end)
        end
        misuse('mp.array: the string "7" does not fit uint8 (0 to 255), at index 3', function() a[3] = "7" end)
        misuse("mp.array: nil does not fit uint8 (0 to 255), at index 3", function() a[3] = nil end)
        misuse("mp.array: set: 256 does not fit uint8 (0 to 255), at index 3", function() a:set(2, { 9, 256 }) end)
        misuse("mp.array: set: nil does not fit uint8 (0 to 255), at index 2", function() a:set(1, { 9, nil, 9 }) end)
        misuse("mp.array: fill: -1 does not fit uint8 (0 to 255)", function() a:fill(-1) end)
        misuse("mp.array: add: adding 254 would leave uint8 (0 to 255), at index 2", function() a:add(2, 254) end)
        misuse("mp.array: add: 0.5 does not fit uint8 (0 to 255), at index 2", function() a:add(2, 0.5) end)
        misuse("mp.array: cas: 256 does not fit uint8 (0 to 255), at index 2", function() a:cas(2, 2, 256) end)
        misuse("mp.array: find: 256 does not fit uint8 (0 to 255)", function() a:find(256) end)
        misuse("mp.array: 300 does not fit uint8 (0 to 255), at index 2", function() mp.array("uint8", { 1, 300 }) end)
        assert.same({ 1, 2, 3 }, list_of(a))
    end)

    it("is gone through by ipairs, pairs and a numeric loop", function()
        local a = mp.array("int16", { 5, 6, 7 })
        for _, each in ipairs { ipairs, pairs } do
            local seen = {}
            for i, x in each(a) do seen[i] = x end
            assert.same({ 5, 6, 7 }, seen)
        end
        for _ in pairs(mp.array("int16", 0)) do error "there is nothing" end
    end)

    it("adds to an element, and swaps it", function()
        for _, name in ipairs(types) do
            local a = mp.array(name, { 1, 2, 3 })
            assert.equal(12, a:add(2, 10))
            assert.equal(2, a:add(2, -10))
            assert.is_true(a:cas(3, 3, 5))
            assert.is_false(a:cas(3, 3, 6))
            assert.same({ 1, 2, 5 }, list_of(a))
        end
        local a = mp.array("uint64", { -1 })
        assert.equal(0, a:add(1, 1))
        misuse("mp.array: add: index 2 is outside 1 to 1", function() a:add(2, 1) end)
        misuse("mp.array: cas: index 0 is outside 1 to 1", function() a:cas(0, 1, 1) end)
        misuse("mp.array: add: nil is no index", function() a:add() end)
    end)

    it("says its length and type", function()
        assert.matches("^mp%.array: 0x%x+ %(3 of int8%)$", tostring(mp.array("int8", 3)))
        assert.matches("^mp%.array: 0x%x+ %(0 of double%)$", tostring(mp.array("number", 0)))
    end)

    it("is closed for this process, and harmlessly again", function()
        local a <close> = mp.array("int8", 3)
        local sum = a.sum
        a:close()
        a:close()
        misuse("mp.array: []: it is closed in this process", function() return a[1] end)
        misuse("mp.array: []: it is closed in this process", function() a[1] = 1 end)
        misuse("mp.array: #: it is closed in this process", function() return #a end)
        misuse("mp.array: sum: it is closed in this process", function() sum(a) end)
        misuse("mp.array: copy: it is closed in this process", function() mp.array("int8", 3):copy(a) end)
        assert.matches("^mp%.array: 0x%x+ %(closed%)$", tostring(a))
    end)

    it("tells misuse at the caller's line", function()
        misuse("mp.array: unknown type 'doubel' (did you mean 'double'?)", function() mp.array("doubel", 1) end)
        misuse("mp.array: a length, an integer from 0 on, or a list is expected, not -1",
            function() mp.array("int8", -1) end)
        misuse("is expected, not nothing", function() mp.array "int8" end)
        misuse("is expected, not 1.5", function() mp.array("int8", 1.5) end)
        misuse('is expected, not the string "5"', function() mp.array("int8", "5") end)
        misuse("mp.array: the table has keys, and no elements", function() mp.array("int8", { a = 1 }) end)
        misuse("and nothing else", function() mp.array("int8", 1, 2) end)
        misuse("mp.array: not enough memory to share", function() mp.array("double", math.maxinteger) end)
        misuse("mp.array: not enough memory to share", function() mp.array("double", 1 << 50) end)
        local a = mp.array("int8", 3)
        misuse("mp.array: sum: it must be called with a colon, on such an object", function() a.sum() end)
        misuse("mp.array: set: a list is expected, not 5", function() a:set(1, 5) end)
        misuse("mp.array: copy: an mp.array is expected to copy from", function() a:copy { 1 } end)
        local meta = debug.getmetatable(a)
        for _, other in ipairs { io.stdout, 5, {}, mp.value "int8" } do
            for _, event in ipairs { "__index", "__newindex", "__len", "__pairs", "__tostring" } do
                assert.is_false((pcall(meta[event], other, 1, 1)))
            end
        end
    end)
end)

describe("a range", function()
    local a
    before_each(function() a = mp.array("int32", { 1, 2, 3, 4, 5 }) end)
    after_each(function() a = nil end)

    it("goes from the first to the last by default, and may be empty", function()
        assert.same({ 1, 2, 3, 4, 5 }, a:get())
        assert.same({ 3, 4, 5 }, a:get(3))
        assert.same({ 2, 3 }, a:get(2, 3))
        assert.same({ 1, 2 }, a:get(nil, 2))
        assert.same({}, a:get(3, 2))
        assert.same({}, a:get(6))
        assert.same({}, a:get(1, 0))
        assert.same({ 2, 3 }, a:get(2.0, 3.0))
    end)

    it("is within the array", function()
        misuse("mp.array: get: index 0 is outside 1 to 5", function() a:get(0) end)
        misuse("mp.array: get: index 7 is outside 1 to 5", function() a:get(7) end)
        misuse("mp.array: get: index 6 is outside 1 to 5", function() a:get(1, 6) end)
        misuse("mp.array: get: index -1 is outside 1 to 5", function() a:get(1, -1) end)
        misuse('mp.array: sum: the string "1" is no index', function() a:sum "1" end)
        misuse("mp.array: fill: index 6 is outside 1 to 5", function() a:fill(0, 2, 6) end)
        misuse("mp.array: sort: index 9 is outside 1 to 5", function() a:sort(9) end)
        assert.same({ 1, 2, 3, 4, 5 }, a:get())
    end)

    it("is set by a list, or nothing of it", function()
        a:set(2, { 20, 30 })
        a:set(5, { 50 })
        a:set(6, {})
        assert.same({ 1, 20, 30, 4, 50 }, a:get())
        misuse("mp.array: set: 2 elements have no room from index 5 on, in an array of 5",
            function() a:set(5, { 1, 2 }) end)
        misuse("mp.array: set: index 7 is outside 1 to 5", function() a:set(7, {}) end)
        assert.same({ 1, 20, 30, 4, 50 }, a:get())
    end)
end)

describe("bulk operations", function()
    it("fill a range of any place and length", function()
        for _, name in ipairs(types) do
            local a, list = mp.array(name, 100), {}
            for i = 1, 100 do list[i] = 0 end
            for first = 1, 20 do
                for _, n in ipairs { 0, 1, 2, 3, 5, 8, 13, 33, 80 } do
                    local x = (first + n) % 100
                    a:fill(x, first, first + n - 1)
                    for i = first, first + n - 1 do list[i] = x end
                end
            end
            assert.same(list, list_of(a))
        end
        local whole = mp.array("double", 10)
        whole:fill(0.5)
        assert.equal(5.0, whole:sum())
    end)

    it("copy ranges of any place and length, also over themselves", function()
        for _, name in ipairs(types) do
            local from, list = mp.array(name, numbers(150)), numbers(150)
            local to, copied = mp.array(name, 150), {}
            for i = 1, 150 do copied[i] = 0 end
            for at = 1, 12 do
                for _, n in ipairs { 0, 1, 2, 7, 8, 9, 40, 100, 130 } do
                    local first = (at * 5 + n) % 9 + 1
                    to:copy(from, first, first + n - 1, at)
                    table.move(list, first, first + n - 1, at, copied)
                    assert.same(copied, list_of(to))
                    from:copy(from, first, first + n - 1, at)
                    table.move(list, first, first + n - 1, at)
                    assert.same(list, list_of(from))
                end
            end
        end
    end)

    it("copy the whole of an array by default", function()
        local a, b = mp.array("int8", { 1, 2, 3 }), mp.array("int8", 4)
        b:copy(a)
        assert.same({ 1, 2, 3, 0 }, list_of(b))
        b:copy(a, 2)
        assert.same({ 2, 3, 3, 0 }, list_of(b))
        b:copy(a, nil, nil, 2)
        assert.same({ 2, 1, 2, 3 }, list_of(b))
        misuse("mp.array: copy: 3 elements have no room from index 3 on, in an array of 4",
            function() b:copy(a, 1, 3, 3) end)
        misuse("mp.array: copy: index 4 is outside 1 to 3", function() b:copy(a, 1, 4) end)
        misuse("mp.array: copy: index 6 is outside 1 to 4", function() b:copy(a, 1, 3, 6) end)
        assert.same({ 2, 1, 2, 3 }, list_of(b))
    end)

    it("copy between types what fits, or nothing", function()
        for _, from in ipairs(types) do
            for _, to in ipairs(types) do
                local a, b = mp.array(from, numbers(50)), mp.array(to, 50)
                b:copy(a)
                assert.same(numbers(50), list_of(b))
                assert.equal(is_float[to] and "float" or "integer", math.type(b[1]))
            end
        end
        local b = mp.array("int8", { 7, 7, 7 })
        for _, case in ipairs { { "int16", 128 }, { "double", 0.5 }, { "double", 1e300 }, { "uint64", -129 },
            { "float", 1 / 0 } } do
            local a = mp.array(case[1], { 1, case[2], 3 })
            misuse(("mp.array: copy: %s does not fit int8 (-128 to 127), at index 2"):format(case[2]),
                function() b:copy(a) end)
            assert.same({ 7, 7, 7 }, list_of(b))
        end
        misuse("mp.array: copy: NaN does not fit int8", function() b:copy(mp.array("double", { 0 / 0 })) end)
        misuse("mp.array: copy: 1e+300 does not fit float",
            function() mp.array("float", 1):copy(mp.array("double", { 1e300 })) end)
        misuse("does not fit int64", function() mp.array("int64", 1):copy(mp.array("double", { 2.0 ^ 63 })) end)
        local words = mp.array("uint64", 1)
        words:copy(mp.array("int64", { -1 }))
        assert.same({ -1 }, list_of(words))
        words:copy(mp.array("int8", { -1 }))
        assert.same({ -1 }, list_of(words))
        words:copy(mp.array("double", { -2.0 ^ 63 }))
        assert.same({ math.mininteger }, list_of(words))
    end)

    it("add up", function()
        for _, name in ipairs(types) do
            local a = mp.array(name, numbers(99))
            local sum, part = 0, 0
            for i, x in ipairs(numbers(99)) do
                sum = sum + x
                part = part + (i > 10 and i < 50 and x or 0)
            end
            assert.same({ sum, part }, { a:sum(), a:sum(11, 49) })
            assert.equal(is_float[name] and "0.0" or "0", tostring(a:sum(5, 4)))
        end
        assert.equal(-128, mp.array("int8", { -127, -1 }):sum())
        assert.equal(math.mininteger, mp.array("int64", { math.maxinteger, 1 }):sum())
    end)

    it("find the least, the greatest and a given one, and the first of each", function()
        for _, name in ipairs(types) do
            local a = mp.array(name, { 5, 3, 9, 3, 9, 0, 100, 0, 100, 7 })
            assert.same({ 0, 6 }, { a:min() })
            assert.same({ 100, 7 }, { a:max() })
            assert.same({ 3, 2 }, { a:min(1, 5) })
            assert.same({ 9, 3 }, { a:max(2, 5) })
            assert.same({ 7, 10 }, { a:max(10) })
            assert.same({ 2, 4, 7 }, { a:find(3), a:find(3, 3), a:find(100) })
            assert.is_nil(a:find(3, 5))
            assert.is_nil(a:find(8))
            assert.equal(0, select("#", a:min(3, 2)) - 1)
            assert.is_nil((a:max(3, 2)))
        end
        assert.same({ -128, 2 }, { mp.array("int8", { 127, -128 }):min() })
        assert.same({ -1, 1 }, { mp.array("uint64", { -1, 5 }):max() }) -- its bits are the greatest
        assert.same({ -5.5, 2 }, { mp.array("double", { -1, -5.5, 0 / 0 }):min() })
        local nans = mp.array("float", { 0 / 0, 2, 0 / 0, 1 })
        assert.same({ 2, 2 }, { nans:max() })
        assert.is_nil((mp.array("double", { 0 / 0 }):min()))
        assert.same({ 1, 3 }, { nans:find(0 / 0), nans:find(0 / 0, 2) })
        assert.equal(1, mp.array("float", { 0.1 }):find(0.1))
        assert.equal(1, mp.array("double", { -0.0 }):find(0))
    end)

    it("sort a range, of any numbers", function()
        for _, name in ipairs(types) do
            local a, list = mp.array(name, numbers(101)), numbers(101)
            a:sort()
            table.sort(list)
            assert.same(list, list_of(a))
            a:set(1, { 5, 4, 3, 2, 1 })
            a:sort(2, 4)
            assert.same({ 5, 2, 3, 4, 1 }, a:get(1, 5))
            a:sort(5, 4)
            a:sort(5, 5)
            assert.same({ 5, 2, 3, 4, 1 }, a:get(1, 5))
        end
        local function sorted(name, list)
            local a = mp.array(name, list)
            a:sort()
            return list_of(a)
        end
        assert.same({ math.mininteger, -1, 0, 1, math.maxinteger },
            sorted("int64", { 1, -1, math.maxinteger, 0, math.mininteger }))
        assert.same({ 0, 1, math.maxinteger, math.mininteger, -1 },
            sorted("uint64", { 1, -1, math.maxinteger, 0, math.mininteger }))
        assert.same({ -128, -1, 0, 127 }, sorted("int8", { 127, -1, 0, -128 }))
        for _, name in ipairs { "float", "double" } do
            local list = sorted(name, { 0 / 0, 3, -1 / 0, -0.5, -(0 / 0), 1 / 0, 0.25, -100 })
            assert.same({ -1 / 0, -100, -0.5, 0.25, 3, 1 / 0 }, { table.unpack(list, 1, 6) })
            assert.is_true(list[7] ~= list[7] and list[8] ~= list[8])
        end
    end)

    it("are right over random numbers, places and types", function()
        math.randomseed(tonumber(os.getenv "LUAMP_SPEC_SEED" or 42))
        for _ = 1, 300 do
            local name, n = types[math.random(#types)], math.random(0, 300)
            local list = {}
            for i = 1, n do list[i] = math.random(0, 127) end
            local a = mp.array(name, list)
            local i = math.random(1, n + 1)
            local j = math.random(i - 1, n)
            local part = table.move(list, i, j, 1, {})
            local sum = 0
            for _, x in ipairs(part) do sum = sum + x end
            assert.equal(sum, a:sum(i, j))
            table.sort(part)
            assert.equal(part[1], (a:min(i, j)))
            assert.equal(part[#part], (a:max(i, j)))
            a:sort(i, j)
            assert.same(part, a:get(i, j))
            table.move(part, 1, #part, i, list)
            assert.same(list, list_of(a))
        end
    end)
end)

describe("an array that several processes have", function()
    it("loses no addition, in any element of any type", function()
        local arrays, rounds = {}, helper.sanitized and 300 or 3000
        for i, name in ipairs(types) do arrays[i] = mp.array(name, 9) end
        local processes = {}
        for i = 1, 4 do
            processes[i] = started(function()
                for round = 1, rounds do
                    for _, a in ipairs(arrays) do
                        for at = 1, 9 do a:add(at, round % 2 == 0 and -1 or 1) end
                    end
                end
                for _, a in ipairs(arrays) do
                    for at = 1, 9 do a:add(at, at) end
                end
            end)
        end
        for _, p in ipairs(processes) do
            p:result()
            p:close()
        end
        for _, a in ipairs(arrays) do assert.same({ 4, 8, 12, 16, 20, 24, 28, 32, 36 }, list_of(a)) end
    end)

    it("is written by one and read by another, which sees what was written before a sign", function()
        local a, turn, rounds = mp.array("int64", 1000), mp.value "integer", helper.sanitized and 50 or 300
        local p = started(function()
            for round = 1, rounds do
                repeat until turn:get() == 2 * round - 1
                if a:sum() ~= 1000 * round or a:min() ~= round then error("round " .. round) end
                turn:set(2 * round)
            end
        end)
        for round = 1, rounds do
            a:fill(round)
            turn:set(2 * round - 1)
            helper.wait_until(function() return turn:get() == 2 * round end, "the other's turn")
        end
        p:result()
        p:close()
    end)

    it("has elements that are whole, whoever is killed while they are written", function()
        local n = 1 << 16
        for _, name in ipairs { "int16", "int32", "int64", "double" } do
            local low, high = 0x11, 0x22 -- in each byte of an element
            local function pattern(byte)
                if name == "double" then return (string.unpack("d", string.char(byte):rep(8))) end
                local x = 0
                for _ = 1, sizes[name] do x = x << 8 | byte end
                return x
            end
            local a, b, c = mp.array(name, n + 1), mp.array(name, n + 1), mp.array(name, n + 1)
            b:fill(pattern(low))
            c:fill(pattern(high))
            a:fill(pattern(low))
            for round = 1, 6 do
                local ready = mp.value "integer"
                local p = started(function()
                    ready:set(1)
                    while true do
                        a:copy(b, 1, n, 2)
                        a:fill(pattern(high))
                        a:copy(c, 2, n + 1, 1)
                        a:fill(pattern(low), 2)
                    end
                end)
                helper.wait_until(function() return ready:get() == 1 end, "the writer")
                mp.sleep(0.001 * round)
                p:kill()
                p:join()
                p:close()
                a:sort()
                local at = a:find(pattern(high)) or n + 2 -- where those that are new begin
                assert_all(a, pattern(low), 1, at - 1)
                assert_all(a, pattern(high), at, n + 1)
            end
        end
    end)

    it("never shows half of an element to who reads meanwhile", function()
        local n = 4099
        local a, b, stop = mp.array("int64", n), mp.array("int64", n), mp.value "integer"
        local ones, twos = 0x1111111111111111, 0x2222222222222222
        a:fill(ones)
        b:fill(twos)
        local p = started(function()
            while stop:get() == 0 do
                a:copy(b, 2, n, 1)
                a:fill(ones)
                a[n // 2] = twos
            end
        end)
        for _ = 1, helper.sanitized and 50 or 300 do
            local min, max = a:min(), a:max()
            assert.is_true((min == ones or min == twos) and (max == ones or max == twos))
            for _, x in ipairs(a:get(1, 100)) do assert.is_true(x == ones or x == twos) end
        end
        stop:set(1)
        p:result()
        p:close()
    end)

    it("is sorted from what it was, and killing who sorts leaves what was, or what comes", function()
        local n = 20000
        for i = 1, 4 do
            local a, ready = mp.array("int32", n), mp.value "integer"
            for k = 1, n do a[k] = n - k + 1 end
            local p = started(function()
                ready:set(1)
                a:sort()
            end)
            helper.wait_until(function() return ready:get() == 1 end, "who sorts")
            mp.sleep(0.0003 * i)
            p:kill()
            p:join()
            p:close()
            for k, x in ipairs(a) do assert.is_true(x == k or x == n - k + 1) end
        end
    end)

    it("travels, and is the same one", function()
        local a, q = mp.array("int8", 3), mp.queue()
        q:put { a }
        local back = result_of(function()
            local mine = q:get()[1]
            mine[2] = 22
            mine:add(3, 33)
            return mine
        end)
        assert.is_true(back == a)
        assert.same({ 0, 22, 33 }, list_of(a))
        local made = result_of(function() return mp.array("double", { 0.5 }) end)
        assert.equal(0.5, made[1])
    end)

    it("counts in mp.memory, and goes when nobody has it", function()
        collectgarbage()
        local before = mp.memory().kinds.arrays
        assert.equal(0, before.count)
        local a = mp.array("double", 100000)
        local kinds = mp.memory().kinds
        assert.equal(1, kinds.arrays.count)
        assert.is_true(kinds.arrays.bytes >= 800000 and kinds.arrays.bytes < 900000)
        local p = started(function()
            a[1] = 1
            a:close()
        end)
        p:result()
        p:close()
        assert.equal(1.0, a[1])
        a = nil -- luacheck: ignore
        collectgarbage()
        assert.equal(0, mp.memory().kinds.arrays.count)
    end)
end)
