-- random_spec.lua: the random numbers of processes differ, and repeat with mp.seed.
local helper = require "spec.helper"
local mp = require "luamp"

local function numbers()
    return math.random(0), math.random(0)
end

-- What n processes draw, one after the other or all at once.
local function drawn_by(n, f)
    local list = {}
    for i = 1, n do list[i] = mp.process { target = f or numbers }:start() end
    for i, p in ipairs(list) do
        list[i] = table.concat({ p:result() }, " ")
        p:close()
    end
    return list
end

local function assert_all_differ(list)
    local seen = {}
    for _, text in ipairs(list) do
        assert.is_nil(seen[text], text)
        seen[text] = true
    end
end

-- A child draws, and so do two of its own children.
local function nested()
    return table.concat({ numbers() }, " "), table.unpack(drawn_by(2))
end

describe("the random numbers of processes", function()
    -- The seed is the whole script's, so it is set in a process of its own.
    local function apart(f, ...)
        local p <close> = mp.process { target = f, args = { ... } }
        return p:start():result()
    end

    it("differ from each other's and from the parent's", function()
        local list = drawn_by(8)
        list[9] = table.concat({ numbers() }, " ")
        assert_all_differ(list)
    end)

    it("differ although the parent called math.randomseed", function()
        local lists = apart(function()
            local both = {}
            for i = 1, 2 do
                math.randomseed(42)
                both[i] = drawn_by(3)
            end
            return both
        end)
        table.move(lists[2], 1, 3, 4, lists[1])
        assert_all_differ(lists[1])
    end)

    it("leave the parent's own as they were", function()
        local same = apart(function()
            math.randomseed(42)
            local a = { numbers() }
            math.randomseed(42)
            drawn_by(2)
            local b = { numbers() }
            return a[1] == b[1] and a[2] == b[2]
        end)
        assert.is_true(same)
    end)

    it("repeat by order of start with mp.seed", function()
        local function run(seed)
            mp.seed(seed)
            local own = table.concat({ numbers() }, " ")
            local list = drawn_by(5)
            list[6] = own
            return list
        end
        local a, b, c = apart(run, 7), apart(run, 7), apart(run, 8)
        assert.same(a, b)
        assert_all_differ(a)
        table.move(a, 1, 6, 7, c)
        assert_all_differ(c)
    end)

    it("repeat when mp.seed is called again in the same process", function()
        local same = apart(function()
            mp.seed(7)
            local a = { drawn_by(3), { numbers() } }
            mp.seed(7)
            local b = { drawn_by(3), { numbers() } }
            for i = 1, 2 do
                for j, text in ipairs(a[i]) do
                    if text ~= b[i][j] then return false end
                end
            end
            return true
        end)
        assert.is_true(same)
    end)

    it("repeat whatever the parent draws, or the children before did", function()
        local function run(extra)
            mp.seed(3)
            for _ = 1, extra do math.random() end
            local first = drawn_by(1, function()
                for _ = 1, extra do math.random() end
                return 0
            end)
            assert(#first == 1)
            return drawn_by(2)
        end
        assert.same(apart(run, 0), apart(run, 10))
    end)

    it("repeat in nested processes, which differ as well", function()
        local function run(seed)
            mp.seed(seed)
            local p, q = mp.process { target = nested }:start(), mp.process { target = nested }:start()
            local list = { p:result() }
            return table.move({ q:result() }, 1, 3, 4, list)
        end
        local a, b = apart(run, 5), apart(run, 5)
        assert.same(a, b)
        assert.equal(6, #a)
        assert_all_differ(a)
    end)

    it("are not moved by a start that fails, or a process that is only made", function()
        local function run(bad)
            mp.seed(3)
            if bad then
                mp.process { target = print }:close()
                assert(not pcall(function() mp.process { target = print, cwd = "/no/such/folder" }:start() end))
            end
            return drawn_by(2)
        end
        assert.same(apart(run, false), apart(run, true))
    end)

    it("repeat from run to run of a script", function()
        local path = helper.script [[
            local mp = require "luamp"
            mp.seed(2026)
            print(math.random(0))
            for i = 1, 3 do print(mp.process { target = math.random, args = { 0 } }:start():result()) end]]
        local first = helper.run(helper.host .. " " .. path)
        assert.equal(4, select(2, first.stdout:gsub("\n", "")))
        assert.same(first, helper.run(helper.host .. " " .. path))
    end)

    it("are seeded by integers alone", function()
        for _, bad in ipairs { "1", 1.5, {}, true } do
            local line = debug.getinfo(1, "l").currentline + 1
            local e = helper.fails("mp.seed", function() mp.seed(bad) end)
            assert.is_truthy(e:find("random_spec.lua:" .. line .. ":", 1, true), e)
        end
        helper.fails("mp.seed", function() mp.seed() end)
    end)
end)
