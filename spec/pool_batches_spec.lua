-- pool_batches_spec.lua: many small tasks of a map that go to a worker together: each is one task all the
-- same, and none waits for another worker's slow one.
local helper = require "spec.helper"
local pools = require "spec.pools"
local mp = require "luamp"

local with_pool, numbers, drained, failure = pools.with, pools.numbers, pools.drained, pools.failure

-- How often each number was told of.
local function counts(q)
    local found = {}
    for _, i in ipairs(drained(q)) do found[i] = (found[i] or 0) + 1 end
    return found
end

local function once(n)
    local list = {}
    for i = 1, n do list[i] = 1 end
    return list
end

describe("tasks that go together", function()
    it("are shared with a worker that has nothing to do, where one of them is slow", function()
        helper.needs_one_host "shares a queue with its tasks"
        for _, chunksize in ipairs { false, 7, 100 } do
            with_pool(2, function(pool)
                local gate, done = mp.queue(), mp.queue()
                local fut = pool:map_async(function(i)
                    if i == 1 then return gate:get() end
                    done:put(i)
                    if #done == 99 then gate:put "let go" end
                    return i
                end, numbers(100), { chunksize = chunksize or nil })
                local list = fut:result(20)
                assert.same({ "let go", 2, 100 }, { list[1], list[2], list[100] })
                local expected = once(100)
                expected[1] = nil
                assert.same(expected, counts(done))
            end)
        end
    end)

    it("are each begun once, and one is lost with its worker", function()
        helper.needs_one_host "shares a queue with its tasks"
        with_pool(2, function(pool)
            local begun = mp.queue()
            local list, failures = pool:map(function(i)
                begun:put(i)
                if i % 50 == 7 then os.execute("kill -KILL " .. mp.getpid()) end
                return -i
            end, numbers(200), { on_error = "collect" })
            assert.same(once(200), counts(begun))
            assert.equal(4, #failures)
            for k, e in ipairs(failures) do
                assert.same({ "signal", "SIGKILL", 50 * k - 43 }, { e.kind, e.signal, e.task })
            end
            for i = 1, 200 do assert.equal(i % 50 ~= 7 and -i or nil, list[i]) end
            assert.same({ 200, 196, 4 }, { list.n, pool:stats().done, pool:stats().failed })
        end)
    end)

    it("fail each by itself, or stop the call at the first", function()
        with_pool(2, function(pool)
            local function odd(i)
                if i % 3 == 0 then error({ i = i }, 0) end
                return i
            end
            local list, failures = pool:map(odd, numbers(100), { on_error = "collect" })
            assert.equal(33, #failures)
            for k, e in ipairs(failures) do assert.same({ "error", 3 * k, 3 * k }, { e.kind, e.task, e.value.i }) end
            for i = 1, 100 do assert.equal(i % 3 ~= 0 and i or nil, list[i]) end
            local e = failure({ kind = "error" }, pool.map, pool, odd, numbers(100))
            assert.same({ 0, e.task }, { e.task % 3, e.value.i })
            assert.same({ 1, 4, 9 }, pool:map(function(x) return x * x end, numbers(3)))
            local runs = pool:map(function(i)
                if i % 10 == 0 and mp.worker.attempt == 1 then error "once" end
                return mp.worker.attempt
            end, numbers(50), { retries = 1 })
            for i = 1, 50 do assert.equal(i % 10 == 0 and 2 or 1, runs[i]) end
        end)
    end)

    it("give results of any size, and handles", function()
        helper.needs_one_host "shares a queue with its tasks"
        with_pool(2, function(pool)
            pool:map(math.abs, numbers(100))
            local before = mp.memory().kinds
            local list = pool:map(function(i)
                if i % 10 == 0 then
                    local q = mp.queue()
                    q:put(i)
                    return q
                end
                if i % 3 == 0 then return ("x"):rep(i * 100) end
                if i % 7 ~= 0 then return { i } end
            end, numbers(200))
            for i = 1, 200 do
                if i % 10 == 0 then
                    assert.equal(i, (list[i]:get(0)))
                    list[i]:close()
                elseif i % 3 == 0 then
                    assert.equal(i * 100, #list[i])
                else
                    assert.same(i % 7 ~= 0 and { i } or nil, list[i])
                end
            end
            assert.equal(200, list.n)
            local after = mp.memory().kinds
            for _, kind in ipairs { "messages", "structures" } do
                assert.same({ kind, before[kind].count }, { kind, after[kind].count })
            end
        end)
        collectgarbage()
        assert.same({ 0, 0 }, { mp.memory().kinds.handles.count, mp.memory().kinds.queues.count })
    end)

    it("are given items of any kind; one that cannot be sent is the failure of its task", function()
        with_pool(2, function(pool)
            local items = {}
            for i = 1, 60 do items[i] = i % 4 == 0 and { i } or i % 5 == 0 and ("y"):rep(i * 50) or i end
            items[33] = coroutine.create(print)
            local list, failures = pool:map(type, items, { on_error = "collect" })
            assert.same({ 1, 33, "unsendable" }, { #failures, failures[1].task, failures[1].kind })
            for i = 1, 60 do assert.equal(i ~= 33 and type(items[i]) or nil, list[i]) end
        end)
    end)

    -- By one worker: with another one that has nothing to do some would be shared, and so sent a second time.
    it("are encoded once each: the hook of an item that does not fit into a batch is called once", function()
        helper.needs_one_host "counts encodings: other hosts need another one"
        with_pool(1, function(pool)
            local n, called, items = 4000, {}, {}
            local function size_of(i) return i % 200 == 0 and 2000 or i % 50 end -- of a batch, 1,024 at most
            local meta = { __mp_send = function(item)
                called[item.i] = (called[item.i] or 0) + 1
                return table.concat, { ("x"):rep(size_of(item.i)) }
            end }
            for i = 1, n do items[i] = setmetatable({ i = i }, meta) end
            local lens = pool:map(function(text) return #text end, items)
            for i = 1, n do assert.equal(size_of(i), lens[i]) end
            assert.same(once(n), called)
        end)
    end)

    it("are no more than a worker may do", function()
        with_pool({ workers = 2, max_tasks = 3 }, function(pool)
            local pids = {}
            for _, pid in ipairs(pool:map(mp.getpid, numbers(50))) do pids[pid] = (pids[pid] or 0) + 1 end
            for _, n in pairs(pids) do assert.is_true(n <= 3, n) end
        end)
    end)

    it("know their numbers, and have random numbers of their own", function()
        local function numbered(i) return mp.worker.task == i and math.random(1 << 40) end
        local expected
        for _, case in ipairs { { 1, 1 }, { 1 }, { 3 }, { 2, 10 } } do
            with_pool({ workers = case[1], seed = 7 }, function(pool)
                local list = pool:map(numbered, numbers(100), { chunksize = case[2] })
                expected = expected or list
                assert.same(expected, list)
            end)
        end
    end)

    it("are counted one by one", function()
        helper.needs_one_host "shares a queue with its tasks"
        with_pool(2, function(pool)
            local begun, gate = mp.queue(), mp.queue()
            local fut = pool:map_async(function()
                begun:put(true)
                return gate:get()
            end, numbers(50))
            begun:get()
            begun:get()
            local stats = pool:stats()
            assert.same({ 48, 2, 0 }, { stats.queued, stats.running, stats.done })
            for _ = 1, 50 do gate:put(1) end
            assert.equal(50, #fut:result())
            stats = pool:stats()
            assert.same({ 0, 0, 50, 50 },
                { stats.queued, stats.running, stats.done, stats.workers[1].tasks + stats.workers[2].tasks })
        end)
    end)

    it("are stopped together, and leave nothing", function()
        helper.needs_one_host "shares a queue with its tasks"
        with_pool(2, function(pool)
            local begun, gate = mp.queue(), mp.queue()
            local function used()
                local kinds = mp.memory().kinds
                return kinds.messages.count + kinds.structures.count
            end
            assert.equal(3, pool:apply(math.abs, -3))
            local before = used()
            local fut = pool:map_async(function()
                begun:put(true)
                return gate:get()
            end, numbers(500))
            begun:get()
            assert.is_true(fut:cancel())
            assert.equal(5, pool:apply(math.abs, -5))
            helper.wait_until(function() return pool:stats().restarts > 0 and used() == before end, "the end of all")
            assert.is_true(#begun < 10)
        end)
    end)

    it("need no more memory for millions", function()
        local result = helper.script_run(([[
            local most = 0
            local pool <close> = mp.pool(2)
            local n = 0
            pool:each(function() end, mp.range(1, %d))
            local list = pool:map(function(i) return i end, mp.range(1, %d))
            assert(#list == %d and list[#list] == #list)
            print(mp.memory().backed < 8 << 20)]]):format(20000, helper.sanitized and 50000 or 1000000,
            helper.sanitized and 50000 or 1000000))
        assert.same({ 0, "true\n", "" }, { result.status, result.stdout, result.stderr })
    end)
end)
