-- pool_apply_spec.lua: pool:apply: a task and its results, soon or late, alone or beside others.
local helper = require "spec.helper"
local pools = require "spec.pools"
local mp = require "luamp"

local with_pool, failure = pools.with, pools.failure

local function square(x) return x * x end

local function fail(word) error(word, 0) end

-- Waits, and gives the rest back.
local function later(seconds, ...)
    mp.sleep(seconds)
    return ...
end

describe("pool:apply", function()
    it("gives all results, and raises the failure", function()
        with_pool(1, function(pool)
            assert.same({ n = 3, 1, nil, nil }, table.pack(pool:apply(function(x) return x, nil, nil end, 1)))
            local e = failure({ kind = "error", message = "bad", task = 2 }, pool.apply, pool, fail, "bad")
            assert.matches("pool_apply_spec.lua", e.traceback)
            failure({ kind = "exit", exitcode = 2 }, pool.apply, pool, os.exit, 2)
        end)
    end)

    it("gives what is one value or none, short or long, soon or late", function()
        helper.needs_one_host "shares a queue with its tasks"
        with_pool(2, function(pool)
            local list = { 7, "short", ("long"):rep(100000), false, { 1, { 2 } }, 0.5 }
            for _, value in ipairs(list) do
                for _, seconds in ipairs { 0, 0.01 } do
                    assert.same({ n = 1, value }, table.pack(pool:apply(later, seconds, value)))
                end
            end
            assert.same({ n = 1 }, table.pack(pool:apply(later, 0, nil)))
            assert.same({ n = 0 }, table.pack(pool:apply(later, 0)))
            assert.same({ n = 0 }, table.pack(pool:apply(later, 0.01)))
            local q = pool:apply(function()
                local made = mp.queue()
                made:put "from the task"
                return made
            end)
            assert.equal("from the task", (q:get(0)))
            assert.equal("by value", pool:apply(function() return function() return "by value" end end)())
            failure({ kind = "error", message = "late" }, pool.apply, pool, function()
                later(0.01)
                error("late", 0)
            end)
        end)
    end)

    it("counts its tasks, and tells them their numbers", function()
        with_pool(2, function(pool)
            for i = 1, 1000 do
                assert.equal(i * i, pool:apply(square, i)) -- which is known there; the others are sent each time
            end
            assert.equal(1001, pool:apply(function() return mp.worker.task end))
            assert.equal(1002, pool:submit(function() return mp.worker.task end):result())
            assert.equal(1003, pool:apply(load 'return require "luamp".worker.task'))
            local stats = pool:stats()
            assert.same({ 1003, 0, 0 }, { stats.done, stats.failed, stats.running })
            assert.equal(1003, stats.workers[1].tasks + stats.workers[2].tasks)
        end)
    end)

    it("takes no result of others, which go on", function()
        helper.needs_one_host "shares a queue with its tasks"
        with_pool(2, function(pool)
            local gate = mp.queue()
            local waits = pool:submit(function() return gate:get() end)
            local soon = pool:submit(square, 3)
            assert.equal(16, pool:apply(square, 4))
            assert.equal(9, soon:result())
            local all = pool:map_async(square, { 1, 2, 3 })
            assert.equal(25, pool:apply(square, 5))
            assert.same({ 1, 4, 9 }, all:result())
            gate:put "let go"
            assert.equal("let go", waits:result())
            assert.equal(36, pool:apply(square, 6))
        end)
    end)

    it("takes no result of a call that goes on: the one before its own in the only worker", function()
        helper.needs_one_host "shares a queue with its tasks"
        with_pool(1, function(pool)
            local gate, n = mp.queue(), 0
            for i, x in pool:imap(function(i) return i == 2 and gate:get() or i end, { 1, 2 }, { chunksize = 1 }) do
                assert.equal(i == 2 and "let go" or i, x)
                n = i
                if i == 1 then
                    gate:put "let go"
                    assert.equal(100, pool:apply(square, 10))
                end
            end
            assert.equal(2, n)
        end)
    end)

    it("is not reached by what a task that was cancelled gives", function()
        with_pool(1, function(pool)
            for _ = 1, 50 do
                local fut = pool:submit(function() return "of another" end)
                fut:cancel()
                assert.equal(4, pool:apply(square, 2))
            end
        end)
    end)

    it("does not see that idle workers have died", function()
        with_pool(2, function(pool)
            for _ = 1, 5 do
                for _, w in ipairs(pool:stats().workers) do
                    if w.pid then helper.run("kill -KILL " .. w.pid) end -- else its successor is on its way
                end
                for i = 1, 20 do assert.equal(i * i, pool:apply(square, i)) end
            end
        end)
    end)

    it("runs again in another worker what has failed", function()
        with_pool({ workers = 2, retries = 1 }, function(pool)
            local first, second = pool:apply(function()
                if mp.worker.attempt == 1 then error "once" end
                return mp.worker.attempt, mp.worker.id
            end)
            assert.same({ 2, "integer" }, { first, math.type(second) })
            assert.equal(1, pool:stats().retried)
        end)
    end)

    it("leaves nothing in shared memory", function()
        with_pool(1, function(pool)
            pool:apply(string.rep, "x", 100000)
            local before = mp.memory().used
            for _ = 1, 200 do assert.equal(100000, #pool:apply(string.rep, "x", 100000)) end
            assert.is_true(mp.memory().used <= before + 200000)
        end)
    end)
end)
