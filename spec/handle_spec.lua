-- handle_spec.lua: a handle of a shared object that comes while the one before, which is garbage, is
-- still to be finalized: what the process does by the new one is not ended with the old one.
local helper = require "spec.helper"
local mp = require "luamp"

local garbage = { __gc = function() end }

local function address(o) return tostring(o):match "0x%x+" end

-- A new handle of the object that the function makes, by a queue, while one before waits for its
-- finalizer, which runs with the next full collection; automatic ones are stopped.
local function second_handle(make, q)
    local new
    collectgarbage "stop"
    collectgarbage("incremental", 200, 100, 8)
    local first = (function()
        local o = make()
        q:put(o)
        return address(o)
    end)()
    for _ = 1, 20000 do setmetatable({}, garbage) end -- some finalizers run with each step,
    setmetatable({}, { __gc = function() new = q:get() end }) -- the one of what was made last first
    repeat collectgarbage("step", 0) until new
    assert.are_not_equal(first, address(new))
    return new
end

-- Updates a key, while which the first handle ends: the key is still this process's to update.
local function updates(make, method)
    collectgarbage()
    collectgarbage()
    local q = mp.queue()
    local d = second_handle(make, q)
    local handles = mp.memory().kinds.handles.count
    local value = d[method](d, "k", function()
        collectgarbage()
        assert.equal(handles - 1, mp.memory().kinds.handles.count)
        helper.fails("this process is updating that key", d.set, d, "k", 100)
        return 1
    end)
    assert.same({ 1, 1 }, { value, d:get "k" })
    assert.equal(2, helper.result_of(function(o) return o:add "k" end, d))
    q:close()
end

local mode
before_each(function() mode = collectgarbage "incremental" end)

after_each(function()
    collectgarbage("incremental", 200, 100, 13) -- as Lua begins
    collectgarbage(mode)
    collectgarbage "restart"
end)

describe("an update by a handle that came while the one before was collected is whole, of", function()
    it("a dict", function()
        updates(function()
            local d = mp.dict()
            d:set("k", 0)
            return d
        end, "update")
    end)

    it("a cache", function()
        updates(function() return mp.cache(3) end, "get_or")
    end)
end)
