-- property_spec.lua: random values of all kinds go through the codec and home from processes, and come back as
-- copies; or they are refused with the way to what stands in it, and go when that is gone.
--
-- LUAMP_SPEC_SEED repeats the values of a run, LUAMP_ROUNDS says how many graphs there are.
local helper = require "spec.helper"
local alike = require "spec.alike"
local values = require "spec.values"
local mp = require "luamp"
local core = require "luamp.core"

local seed = math.tointeger(tonumber(os.getenv "LUAMP_SPEC_SEED")) or os.time()
local rounds = math.tointeger(tonumber(os.getenv "LUAMP_ROUNDS")) or helper.sanitized and 30 or 100
local error_meta = debug.getregistry()["luamp.error"]
local find_culprit = require "luamp.culprit"

-- The same on both sides: what has a name.
local function is_same(object)
    return rawequal(object, error_meta) or core.name_of(object) ~= nil or core.name_of(object, true) ~= nil
end

local function assert_alike(a, b, what)
    core.renew_names()
    assert.is_true(alike(a, b, is_same), what)
end

-- Long ways in some, and very long ones in a few.
local depths = { 98, 99, 100, 101, 102, 199, 200, 201, 500, 3000 }

local function graph_of(round)
    math.randomseed(seed + round)
    return values.graph {
        functions = round % 3 > 0, long = round % 4 == 0,
        deep = round % 100 == 20 and 100000 or round % 5 == 0 and depths[math.random(#depths)],
    }
end

-- Calls f for each round; whatever goes wrong there is told with what repeats it.
local function each_round(first, last, f)
    for round = first, last do
        local ok, e = xpcall(f, debug.traceback, round)
        assert.is_true(ok, ("LUAMP_SPEC_SEED=%d, round %d: %s"):format(seed, round, e))
    end
    math.randomseed()
end

describe(("random values (LUAMP_SPEC_SEED=%d)"):format(seed), function()
    it("come back through the codec, with and without a list of all objects", function()
        each_round(1, rounds, function(round)
            local objects, list = graph_of(round)
            local back = table.pack(core.decode(assert(core.encode(table.unpack(list, 1, list.n))), true))
            assert_alike(list, back, "without a list")
            back = table.pack(core.decode(assert(core.encode(objects, list)), true))
            assert_alike({ n = 2, objects, list }, back, "with a list")
        end)
    end)

    it("come where the module that one of the functions is in is not known", function()
        local n = 0
        each_round(1, rounds, function(round)
            local objects, list = graph_of(round)
            local made = package.loaded["spec.made"]
            local message = assert(core.encode(objects, list))
            package.loaded["spec.made"] = nil
            local back = table.pack(core.decode(message, true))
            assert_alike({ n = 2, objects, list }, back, "with a list")
            n = n + (made and 1 or 0)
        end)
        assert.is_true(n >= rounds // 10, n .. " had such a function")
    end)

    it("come home from processes", function()
        local size = 50
        each_round(0, (rounds - 1) // size, function(batch)
            local sent = {}
            for i = 1, math.min(size, rounds - size * batch) do sent[i] = { graph_of(size * batch + i) } end
            if helper.method ~= "fork" then package.loaded["spec.made"] = nil end -- there it is not
            local p <close> = mp.process { target = table.unpack, args = { sent } }
            local back = table.pack(p:start():result())
            assert.equal(#sent, back.n)
            for i = 1, #sent do assert_alike(sent[i], back[i], "graph " .. i) end
        end)
    end)

    it("hold every kind", function()
        local seen = {}
        each_round(1, 60, function(round)
            for _, object in ipairs(graph_of(round)) do
                local meta = debug.getmetatable(object)
                seen[type(object)] = true
                seen[rawequal(meta, error_meta) and "error" or meta and "meta" or "plain"] = true
                for key, value in next, type(object) == "table" and object or {} do
                    seen["key " .. type(key)], seen[math.type(value) or type(value)] = true, true
                end
            end
        end)
        for _, kind in ipairs { "table", "function", "error", "meta", "plain", "integer", "float", "string", "boolean",
            "key table", "key function", "key string", "key number", "key boolean" } do
            assert.is_true(seen[kind], kind)
        end
    end)
end)

-- Follows a path such as next[3]["two words"].bad, as far as it consists of such steps alone.
local function follow(value, path)
    path = path:find "^%[" and path or "." .. path
    while path ~= "" do
        local name, rest = path:match "^%.([%a_][%w_]*)(.*)$"
        local index, after = path:match "^%[(%-?%d+)%](.*)$"
        if not (name or index) or type(value) ~= "table" then return nil end
        value, path = rawget(value, name or math.tointeger(index)), rest or after
    end
    return value
end

describe("random values with something that cannot be sent", function()
    local followed = 0

    -- The graph with a culprit in a table that the last value leads to.
    local function spoiled(round)
        local _, list = graph_of(round)
        local t = { list[list.n] }
        local place = math.random(2) == 1 and t or { t }
        list[list.n] = place
        return list, values.spoil(t)
    end

    -- The message names the value by its number, what the culprit is, and the way there.
    local function assert_told(text, list, culprit, told, root)
        assert.equal(1, text:find("cannot send ", 1, true), text)
        assert.is_truthy(text:find(told, 1, true), text .. "\nshould say: " .. told)
        local number, path = text:match(("^cannot send %s (%%d+): ([^ ]+) is "):format(root or "result"))
        local found = path and follow(list[math.tointeger(number)], path)
        if found ~= nil then
            assert.is_true(rawequal(found, culprit), text)
            followed = followed + 1
        end
    end

    it("are refused with the way there, and go without it", function()
        each_round(1, rounds, function(round)
            local list, culprit, told, undo = spoiled(round)
            local message, found = core.encode(table.unpack(list, 1, list.n))
            assert.is_nil(message)
            assert.is_true(rawequal(culprit, found), tostring(found))
            assert_told(find_culprit(list, list.n, "result %d"), list, culprit, told)
            undo()
            assert.is_nil(find_culprit(list, list.n, "result %d"))
            assert.is_string((core.encode(table.unpack(list, 1, list.n))))
        end)
        assert.is_true(followed >= rounds // 10, followed .. " paths were followed")
    end)

    it("are refused as results of a process, and only there", function()
        each_round(1, math.max(rounds // 10, 1), function(round)
            local list, culprit, told, undo = spoiled(round)
            local p <close> = mp.process { target = table.unpack, args = { list, 1, list.n }, start_method = "fork" }
            local e = helper.fails({ kind = "unsendable" }, function() p:start():result() end)
            assert.equal(0, p.exitcode)
            assert_told(e.message, list, culprit, told)
            undo()
            local q <close> = mp.process { target = table.unpack, args = { list, 1, list.n }, start_method = "fork" }
            assert_alike(list, table.pack(q:start():result()), "without the culprit")
        end)
    end)

    for _, method in ipairs { "forkserver", "spawn" } do
        it("are refused as arguments, and go and come back without it: " .. method, function()
            each_round(1, math.max(rounds // 10, 1), function(round)
                local list, culprit, told, undo = spoiled(round)
                package.loaded["spec.made"] = nil
                local function all(...) return ... end
                local p <close> = mp.process { target = all, args = list, start_method = method }
                local e = helper.fails({ kind = "unsendable" }, p.start, p)
                assert_told(e.message, list, culprit, told, "argument")
                undo()
                assert_alike(list, table.pack(p:start():result()), "without the culprit")
            end)
        end)
    end
end)

describe("a copy that is not alike is found", function()
    local function make(text)
        return load(text, "=made", "t", debug.getregistry()[2])()
    end

    it("whatever differs", function()
        local one, f = {}, make "local n = 1 return function() return n end"
        local shared = { make "local n = 1 return function() return n end, function() return n end" }
        local apart = { make "local n, m = 1, 1 return function() return n end, function() return m end" }
        local other = { make "local n = 1 return function() return n end, function() return n end" }
        for i, pair in ipairs {
            { { 1 }, { 1.0 } }, { { 0.0 }, { -0.0 } }, { { "a" }, { "b" } }, { { {} }, { { x = 1 } } },
            { { true }, {} }, { { one, one }, { {}, {} } }, { { {}, {} }, { one, one } }, { { one }, { one } },
            { { setmetatable({}, {}) }, { {} } }, { { setmetatable({}, { 1 }) }, { setmetatable({}, { 2 }) } },
            { { [{}] = 1 }, {} }, { { f }, { make "local n = 2 return function() return n end" } },
            { { f }, { make "local n = 1 return function() return n + 0 end" } }, { { f }, { f } },
            { { f }, { print } }, { shared, apart }, { apart, shared },
        } do
            assert.is_false(alike(pair[1], pair[2], is_same), "pair " .. i)
        end
        assert.is_true(alike(shared, other, is_same))
        assert.is_true(alike({ { x = 1 }, 0 / 0, print }, { { x = 1 }, 0 / 0, print }, is_same))
    end)
end)
