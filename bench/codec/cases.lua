-- cases.lua: the values that are encoded and decoded, and the loop in which they are:
-- the same for luamp, for each peer (Lua 5.4 and LuaJIT), and for the yardstick, which
-- calls its C functions by it. A value that comes back as another is not measured.
--
-- The time is that of the CPU, which every Lua can tell; nothing here waits.
local cases = {}

function cases.fields()
    return { id = 4711, name = "pear", price = 0.25, ripe = true, origin = "Lake Constance" }
end

-- 100 records of ten fields.
function cases.nested()
    local list = {}
    for i = 1, 100 do
        list[i] = { id = i, name = "record " .. i, price = i + 0.25, ripe = i % 2 == 0, origin = "Lake Constance",
            x = -i, y = 1000 * i, z = 100000 * i, kind = "fruit", weight = i / 4 }
    end
    return list
end

function cases.integers()
    local list = {}
    for i = 1, 1000000 do list[i] = i end
    return list
end

function cases.string()
    return ("0123456789abcdef"):rep(65536)
end

function cases.closure()
    local a, b, c, d, e, f, g, h, i, j = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
    return function(x) return a + b * x + c - d + e * x - f + g - h + i * x - j end
end

local function same(a, b)
    if type(a) ~= type(b) then return false end
    if type(a) == "function" then return a(3) == b(3) end
    if type(a) ~= "table" then return a == b end
    for key, value in pairs(a) do
        if not same(value, b[key]) then return false end
    end
    for key in pairs(b) do
        if a[key] == nil then return false end
    end
    return true
end

-- run({ OPERATION, CASE, COUNT }, encode, decode): prints the mean time of one, in seconds.
return function(words, encode, decode)
    local operation, case, count = words[1], words[2], tonumber(words[3])
    local value = cases[case]()
    local bytes = encode(value)
    assert(same(value, decode(bytes)), "it came back as something else")
    local f, argument = encode, value
    if operation == "decode" then f, argument = decode, bytes end
    for _ = 1, math.ceil(count / 10) do f(argument) end
    collectgarbage()
    local start = os.clock()
    for _ = 1, count do f(argument) end
    print(("%.12f"):format((os.clock() - start) / count))
end
