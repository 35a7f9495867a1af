-- pool_submit_spec.lua: submitted tasks that wait for room, for their turn or for a further run.
local helper = require "spec.helper"
local pools = require "spec.pools"
local mp = require "luamp"

local with_pool, drained, failure = pools.with, pools.drained, pools.failure

-- Keeps a worker busy until something is put into the queue that it returns, and the task's future.
local function occupied(pool)
    local begun, gate = mp.queue(), mp.queue()
    local fut = pool:submit(function()
        begun:put(true)
        gate:get()
    end)
    begun:get()
    return gate, fut
end

-- Submits three tasks, and changes what they are made of; after the last one, that is gone.
local function changing(pool, given)
    local futures, list, n = {}, { words = {} }
    for i = 1, 3 do
        n, list.words[1] = i, "word " .. i
        list.q = mp.queue()
        list.q:put(i)
        futures[i] = pool:submit { target = function(t, short)
            if mp.worker.attempt < 1 + (given.retries or 0) then error "once more" end
            return ("%d %s %s %d"):format(n, t.words[1], short, t.q:get(0))
        end, args = { list, i % 2 }, priority = given.priority, retries = given.retries }
    end
    n, list.words, list.q = 0, nil, nil
    collectgarbage()
    return futures, n
end

local as_submitted = { "1 word 1 1 1", "2 word 2 0 2", "3 word 3 1 3" }

describe("what a task is made of is as it was at the call", function()
    it("where the task waits because of its priority", function()
        helper.needs_one_host "shares a queue with its tasks"
        with_pool(1, function(pool)
            local gate = occupied(pool)
            local futures = changing(pool, { priority = 1 })
            gate:put(true)
            assert.same(as_submitted, mp.all(futures))
        end)
    end)

    it("where it comes back from the board, for a more urgent one", function()
        helper.needs_one_host "shares a queue with its tasks"
        with_pool(1, function(pool)
            local gate = occupied(pool)
            local futures = changing(pool, {})
            local short = pool:submit(string.rep, "ab", 2) -- lies in the slot itself
            local urgent = pool:submit { target = function() return "urgent" end, priority = -1 }
            collectgarbage()
            gate:put(true)
            assert.same({ "urgent", "abab" }, mp.all { urgent, short })
            assert.same(as_submitted, mp.all(futures))
        end)
    end)

    it("where there is no room on the board", function()
        helper.needs_one_host "shares a queue with its tasks"
        with_pool(1, function(pool)
            local gate = occupied(pool)
            for _ = 1, 4200 do pool:submit(math.abs, 1) end
            local futures = changing(pool, {})
            gate:put(true)
            assert.same(as_submitted, mp.all(futures))
        end)
    end)

    for _, given in ipairs { { retries = 2 }, { retries = 1, priority = 1 } } do
        it("in further runs" .. (given.priority and ", with priorities" or ""), function()
            helper.needs_one_host "shares a queue with its tasks"
            with_pool(2, function(pool) assert.same(as_submitted, mp.all((changing(pool, given)))) end)
        end)
    end

    it("or the future fails: with the culprit, whatever becomes of that", function()
        helper.needs_one_host "shares a queue with its tasks"
        with_pool(1, function(pool)
            local gate = occupied(pool)
            local list = { coroutine.create(print) }
            local fut = pool:submit { target = print, args = { 1, list }, priority = 1 }
            list[1] = nil
            assert.is_true(fut:is_done())
            local e = failure({ kind = "unsendable", task = 2 }, fut.result, fut)
            assert.matches("cannot send argument 2", e.message, 1, true)
            gate:put(true)
        end)
    end)

    it("without workers, too", function()
        local run = helper.script_run([[
            local pool <close> = mp.pool(1)
            local t = { 1 }
            local futures = { pool:submit(function(x) return x[1] end, t),
                pool:submit { target = function(x) return x[1] .. mp.worker.attempt == "22" or error "no" end,
                    args = { (function() t[1] = 2 return t end)() }, priority = -1, retries = 1 } }
            t[1] = 3
            print(table.unpack(mp.all(futures)))]], nil, { env = { LUAMP_BACKEND = "serial" } })
        assert.same({ "1\ttrue\n", "" }, { run.stdout, run.stderr })
    end)

    it("and is freed", function()
        helper.needs_one_host "shares a queue with its tasks"
        with_pool(1, function(pool)
            local function round()
                local gate = occupied(pool)
                local futures = {}
                for i = 1, 50 do
                    futures[i] = pool:submit { target = function(q, s) return q ~= nil and #s end,
                        args = { mp.queue(), ("x"):rep(1000) }, priority = i % 3, retries = 1 }
                end
                for i = 1, 50, 7 do futures[i]:cancel() end
                gate:put(true)
                for i = 2, 7 do assert.equal(1000, futures[i]:result()) end
                mp.wait(futures)
                for _, fut in ipairs(futures) do fut:wait() end
            end
            for _ = 1, 20 do round() end -- the memory has grown to what it takes
            collectgarbage()
            local before = mp.memory().used
            for _ = 1, 60 do round() end
            collectgarbage()
            assert.is_true(mp.memory().used <= before + 500000, mp.memory().used - before)
        end)
    end)
end)

describe("a result that cannot be had", function()
    it("for want of memory is the failure of its task", function()
        if helper.sanitized then pending "a sanitizer's memory has no limit" end
        local p <close> = mp.process { limits = { memory = "200M" }, target = function()
            local pool, held = mp.pool(1), {}
            local fut = pool:submit(string.rep, "x", 40 << 20)
            repeat
                local ok, text = pcall(string.rep, #held .. "", 4 << 20)
                held[#held + 1] = ok and text or nil
            until not ok
            held[#held], held[#held - 1], held[#held - 2] = nil, nil, nil
            collectgarbage()
            local ended = fut:wait(20)
            local e = fut.error
            for i = #held, 1, -1 do held[i] = nil end
            collectgarbage()
            local next = pool:apply(math.abs, -4)
            pool:close()
            return ended, e and e.kind, e and e.message, next, pool:join(20), pool:stats().failed
        end }
        assert.same({ true, "unsendable", "cannot receive the result: not enough memory", 4, true, 1 },
            { p:start():result() })
    end)

    it("because Ctrl-C came in between fails, and the wait is interrupted", function()
        local run = helper.script_run [[
            local pool = mp.pool(1)
            local fut = pool:submit(function()
                return setmetatable({}, { __mp_send = function()
                    return function()
                        io.popen("kill -INT " .. mp.getpid()):close()
                        mp.sleep(60)
                    end
                end })
            end)
            local ok, e = pcall(fut.wait, fut)
            print(ok, e.kind, fut:is_done(), fut.error.kind)
            pool:close()
            print(pool:join(20))]]
        assert.same({ "false\tinterrupted\ttrue\tinterrupted\ntrue\n", "" }, { run.stdout, run.stderr })
    end)
end)

describe("a function that is submitted again", function()
    local names = { "later_here", "later_there" }

    after_each(function()
        for _, name in ipairs(names) do _G[name] = nil end
    end)

    local calls = {
        apply = function(pool, f, ...) return pool:apply(f, ...) end,
        submit = function(pool, f, ...) return pool:submit(f, ...):result() end,
    }
    for name, call in pairs(calls) do
        it("brings the globals that it needs by then: " .. name, function()
            local function use(x)
                local function inner() return later_there or "none" end -- luacheck: ignore 113
                return later_here and later_here(math.abs(x)) or "none", inner() -- luacheck: ignore 113
            end
            with_pool(1, function(pool)
                for _ = 1, 3 do assert.same({ "none", "none" }, { call(pool, use, -1) }) end
            end)
            with_pool(1, function(pool)
                assert.same({ "none", "none" }, { call(pool, use, -1) })
                _G.later_here = function(x) return x + 1 end
                assert.same({ 2, "none" }, { call(pool, use, -1) })
                _G.later_there = "there"
                assert.same({ 2, "there" }, { call(pool, use, -1) })
            end)
            with_pool(1, function(pool) -- there from the beginning
                assert.same({ 2, "there" }, { call(pool, use, -1) })
            end)
        end)
    end

    it("brings them though nothing was waited for in between", function()
        local function use() return later_here or "none" end -- luacheck: ignore 113
        with_pool(1, function(pool)
            local futures = {}
            for i = 1, 4 do
                futures[i] = pool:submit(use)
                if i == 3 then _G.later_here = "here" end
            end
            assert.same({ "none", "none", "none", "here" }, mp.all(futures))
        end)
    end)
end)

describe("a priority", function()
    it("costs no more where many wait", function()
        helper.needs_one_host "shares a queue with its tasks"
        with_pool(1, function(pool)
            local function instructions(n)
                local count = 0
                debug.sethook(function() count = count + 1 end, "", 100)
                for _ = 1, n do pool:submit { target = math.abs, args = { 1 }, priority = 1 } end
                debug.sethook()
                return count
            end
            local gate = occupied(pool)
            local few = instructions(200)
            instructions(2000)
            local many = instructions(200)
            assert.is_true(many < 3 * few, many .. " for " .. few)
            gate:put(true)
        end)
    end)
end)

describe("a task that is to be run again", function()
    it("goes by its priority when its time has come", function()
        helper.needs_one_host "shares a queue with its tasks"
        with_pool(1, function(pool)
            local order, gate = mp.queue(), occupied(pool)
            local urgent = pool:submit { target = function()
                order:put "urgent"
                if mp.worker.attempt == 1 then error "once more" end
            end, priority = -10, retries = { n = 1, backoff = 0.05 } }
            local futures = { urgent }
            for i = 1, 60 do
                futures[i + 1] = pool:submit { target = function()
                    order:put(i)
                    mp.sleep(0.01)
                end, priority = 10 }
            end
            gate:put(true)
            mp.all(futures)
            local list = drained(order)
            assert.equal("urgent", table.remove(list, 1))
            local place
            for i, what in ipairs(list) do place = what == "urgent" and i or place end
            assert.is_true(place < 40, "it came at place " .. place)
        end)
    end)

    it("may be cancelled by who is asked whether it is", function()
        for _, answer in ipairs { true, false } do
            with_pool(1, function(pool)
                local fut
                fut = pool:submit { target = error, args = { "bad" }, retries = { n = 1, when = function()
                    assert(fut:cancel())
                    return answer
                end } }
                failure({ kind = "cancelled" }, fut.result, fut)
                assert.same({ true, false }, { fut:is_cancelled(), fut:cancel() })
                assert.equal(4, pool:apply(math.abs, -4))
                pool:close()
                assert.is_true(pool:join(20))
                local stats = pool:stats()
                assert.same({ 1, 0, 0 }, { stats.done, stats.retried, stats.queued })
            end)
        end
    end)

    it("lets others go ahead while its time has not come", function()
        with_pool(1, function(pool)
            local fut = pool:submit { target = function()
                return mp.worker.attempt == 2 and "again" or error "once more"
            end, priority = -1, retries = { n = 1, backoff = 0.3 } }
            for i = 1, 10 do
                assert.equal(i, pool:submit { target = math.abs, args = { -i }, priority = 5 }:result())
            end
            assert.is_false(fut:is_done())
            assert.equal("again", fut:result())
        end)
    end)
end)
