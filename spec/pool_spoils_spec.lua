-- pool_spoils_spec.lua: tasks that spoil what their worker is: its hooks, its libraries, its memory.
local helper = require "spec.helper"
local pools = require "spec.pools"

local with_pool, failure = pools.with, pools.failure

describe("a task that spoils its worker", function()
    it("by a debug hook harms itself alone: the hook goes with it, and what init had set is back", function()
        local function init() debug.sethook(function() end, "c") end
        local function raising()
            debug.sethook(function() error("from the hook", 0) end, "l")
            local x = 1
            return x
        end
        local function silent() debug.sethook(function() end, "l") end
        local function mask() return select(2, debug.gethook()) or "none" end
        for _, given in ipairs { { workers = 1 }, { workers = 1, init = init } } do
            with_pool(given, function(pool)
                local expected = given.init and "c" or "none"
                for _ = 1, 2 do
                    failure({ kind = "error", message = "from the hook" }, pool.apply, pool, raising)
                    assert.equal(expected, pool:apply(mask))
                    pool:apply(silent)
                    assert.equal(expected, pool:apply(mask))
                end
                failure({ message = "from the hook", task = 1 }, pool.map, pool, raising, { 1, 2 })
                assert.same({ expected, expected }, pool:map(mask, { 1, 2 }))
            end)
        end
    end)

    it("by what it makes of the libraries does not change what is told of its errors", function()
        with_pool(1, function(pool)
            local e = failure({ kind = "error", message = "the real problem" }, pool.apply, pool, function()
                for _, library in ipairs { string, table, debug } do
                    for key in next, library do library[key] = nil end
                end
                error("the real problem", 0)
            end)
            assert.matches("pool_spoils_spec", e.traceback)
        end)
    end)

    it("by an error for which there is no memory is told so", function()
        local out = helper.script_run([[
            mp.memory { limit = "16M" }
            local pool <close> = mp.pool(1)
            print(select(2, pcall(pool.apply, pool, function() error(("e"):rep(30e6)) end)).message)
            print(pool:apply(math.abs, -1))]])
        assert.same({ "the task has failed, and its error cannot be told: cannot send the results: "
            .. "not enough memory to share (the family's own limit)\n1\n", "" }, { out.stdout, out.stderr })
    end)
end)
