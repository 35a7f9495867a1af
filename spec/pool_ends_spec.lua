-- pool_ends_spec.lua: what a pool that has ended leaves: its memory goes, its futures are asked; and
-- pools that end in the middle of their own work.
local helper = require "spec.helper"
local pools = require "spec.pools"
local mp = require "luamp"

local failure = pools.failure

local function square(x) return x * x end

-- What the family shares, while nothing is collected.
local function used_after(f)
    collectgarbage()
    collectgarbage "stop"
    local before = mp.memory().used
    f()
    local after = mp.memory().used
    collectgarbage "restart"
    return after - before
end

describe("the memory of a pool", function()
    local kept = {}

    after_each(function() kept = {} end)

    for how, finish in pairs {
        ["joined"] = function(pool) pool:close() pool:join() end,
        ["terminated"] = function(pool) pool:terminate() end,
    } do
        it("that was " .. how .. " is given back, and what it has done is known still", function()
            assert.equal(0, used_after(function()
                local pool = mp.pool(2)
                local future = pool:submit(square, 5)
                assert.same({ 4, 9 }, pool:map(square, { 2, 3 }))
                assert.equal(25, future:result())
                finish(pool)
                kept = { pool, future }
            end))
            local pool, future = table.unpack(kept)
            local stats = pool:stats()
            assert.same({ 3, 0, 0, 0 }, { stats.done, stats.failed, stats.queued, stats.running })
            assert.same({ "idle", "idle", 3 },
                { stats.workers[1].state, stats.workers[2].state, stats.workers[1].tasks + stats.workers[2].tasks })
            assert.same({}, mp.wait({ pool:pollfd() }, 0))
            assert.same({ future }, mp.wait({ future }, 0))
            assert.same({ future:pollfd() }, mp.wait({ future:pollfd() }, 0))
            finish(pool)
        end)
    end

    it("of mp.map is given back, too", function()
        assert.equal(0, used_after(function() assert.same({ 4, 9 }, mp.map(square, { 2, 3 })) end))
    end)
end)

describe("a worker that has left", function()
    it("rings for its pool's owner no more", function()
        local pool <close> = mp.pool(2)
        local slow, fd = pool:submit(mp.sleep, 60), pool:pollfd()
        local last = pool:stats().workers[2].pid
        pool:resize(1)
        slow:cancel()
        local other, n = pool:submit(mp.sleep, 60), 0
        helper.wait_until(function() return pool:stats() and not io.open("/proc/" .. last) end, "one worker")
        local over = mp.clock() + 0.5
        repeat n = n + #mp.wait({ fd }, 0.1) until mp.clock() > over
        other:cancel()
        assert.is_true(n < 50, n)
    end)
end)

-- That a pool may end where its own work is in the middle of something.
describe("a pool that is terminated by", function()
    local function sender_of(pool)
        return setmetatable({}, { __mp_send = function()
            pool:terminate()
            return tonumber, "3"
        end })
    end
    local function fail() error "no" end
    local function cancelled(...) failure({ kind = "cancelled" }, ...) end

    it("a hook of a task's retries fails the task as cancelled", function()
        local pool = mp.pool(2)
        local retries = { n = 3, when = function() pool:terminate() return true end }
        local future = pool:submit { target = fail, retries = retries }
        assert.is_true(future:wait())
        cancelled(future.result, future)
        pool = mp.pool(2)
        retries.when = function() pool:terminate() return true end
        cancelled(pool.map, pool, fail, { 1, 2 }, { retries = retries })
    end)

    it("what is sent with a task takes no task any more", function()
        local pool = mp.pool(2)
        local future = pool:submit(square, sender_of(pool))
        assert.is_true(future:is_cancelled())
        pool = mp.pool(2)
        pool:submit(square, 2):wait()
        local ok, e = pcall(pool.submit, pool, square, sender_of(pool))
        assert.is_true(ok and e:is_cancelled() or not ok and tostring(e):find "terminated" ~= nil, tostring(e))
        pool = mp.pool(2)
        cancelled(pool.map, pool, square, { 1, sender_of(pool), 3 })
    end)

    it("its input ends the call", function()
        local pool = mp.pool(2)
        local n = 0
        cancelled(pool.map, pool, square, function()
            n = n + 1
            if n == 3 then pool:terminate() end
            return n
        end)
        pool = mp.pool(2)
        local list = setmetatable({ n = 5 }, { __index = function(_, i)
            if i == 3 then pool:terminate() end
            return i
        end })
        cancelled(pool.map, pool, square, list)
    end)

    it("a finalizer leaves its futures to be asked", function()
        local Owner = { __gc = function(owner) owner.pool:terminate() end }
        for _ = 1, 20 do
            local futures = {}
            do
                local owner = setmetatable({ pool = mp.pool(2) }, Owner)
                for i = 1, 100 do futures[i] = owner.pool:submit(string.rep, "x", 2000 + i) end
            end
            for i = 1, 100 do
                local ok, e = pcall(futures[i].result, futures[i])
                assert.is_true(ok and #e == 2000 + i or mp.is_error(e) and e.kind == "cancelled", tostring(e))
            end
        end
        collectgarbage() -- the last ones
    end)
end)
