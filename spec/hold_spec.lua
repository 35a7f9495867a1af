-- hold_spec.lua: what is acquired for as long as a function runs (with) or a variable lasts (hold), and
-- how that ends; told of locks (lock_spec).
local helper = require "spec.helper"
local mp = require "luamp"

local misuse = helper.misuse

local function each(f)
    for name, make in pairs { ["mp.lock"] = mp.lock, ["mp.rlock"] = mp.rlock } do f(make(), name, make) end
end

describe("with", function()
    it("gives all results, and its arguments to the function", function()
        each(function(l)
            local got = table.pack(l:with(function(...)
                assert.is_true(l:is_locked())
                return select("#", ...), ...
            end, 1, nil, nil))
            assert.same({ 3, 1, nil, nil, n = 4 }, got)
            assert.equal(0, select("#", l:with(function() end)))
            assert.equal("called", l:with(setmetatable({}, { __call = function() return "called" end })))
            assert.is_false(l:is_locked())
        end)
    end)

    it("releases after an error, which goes on as it was", function()
        each(function(l)
            local e = {}
            local ok, caught = pcall(l.with, l, error, e)
            assert.is_false(ok)
            assert.equal(e, caught)
            assert.is_false(l:is_locked())
            local _, trace = xpcall(l.with, debug.traceback, l, function() error "deep" end)
            assert.matches("deep.*hold_spec.lua:%d+: in function", trace)
            assert.is_false(l:is_locked())
        end)
    end)

    it("holds on while its function yields, and releases when the coroutine is closed", function()
        each(function(l)
            local co = coroutine.create(function(...)
                return l:with(function(...) return coroutine.yield(...) end, ...)
            end)
            assert.same({ true, 1, 2 }, { coroutine.resume(co, 1, 2) })
            assert.is_true(l:is_locked())
            assert.same({ true, 3, nil, 4 }, { coroutine.resume(co, 3, nil, 4) })
            assert.is_false(l:is_locked())
            co = coroutine.create(function() l:with(coroutine.yield) end)
            coroutine.resume(co)
            assert.is_true(l:is_locked())
            assert.is_true(coroutine.close(co))
            assert.is_false(l:is_locked())
        end)
    end)

    it("says so when its function has released or closed it, unless that fails itself", function()
        each(function(l, name, make)
            helper.fails(name .. ": release: this process does not hold it", l.with, l, function() l:release() end)
            helper.fails("its own", l.with, l, function() l:release() error "its own" end)
            local other = make()
            helper.fails(name .. ": release: it is closed in this process", other.with, other,
                function() other:close() end)
        end)
    end)

    it("wants a function, and holds nothing without one", function()
        local l = mp.lock()
        misuse("mp.lock: with: expected a function, not nil", function() l:with(nil) end)
        misuse("mp.lock: with: expected a function, not table", function() l:with {} end)
        assert.is_false(l:is_locked())
    end)
end)

describe("hold", function()
    it("lasts as long as its variable", function()
        each(function(l)
            do
                local held <close> = l:hold()
                assert.is_truthy(held)
                assert.is_true(l:is_locked())
            end
            assert.is_false(l:is_locked())
            pcall(function()
                local held <close> = l:hold(1) -- luacheck: ignore
                error "x"
            end)
            assert.is_false(l:is_locked())
        end)
    end)

    it("ends also when what it gave is collected, and but once", function()
        local l = mp.lock()
        l:hold()
        collectgarbage()
        collectgarbage()
        assert.is_false(l:is_locked())
        local held = l:hold()
        do local again <close> = held end -- luacheck: ignore
        l:acquire()
        held = nil -- luacheck: ignore
        collectgarbage()
        assert.is_true(l:is_locked())
        l:release()
    end)

    it("is one process's: it is not sent", function()
        local q, l = mp.queue(), mp.lock()
        local held <close> = l:hold()
        helper.fails({ kind = "unsendable" }, q.put, q, held)
    end)
end)
