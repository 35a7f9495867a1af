-- pool_calls_spec.lua: what the calls of a pool give and raise: map and its like, each also as
-- mp.NAME. Their options and how tasks travel are in pool_tasks_spec, what they read from in
-- pool_inputs_spec, the pool itself in pool_spec.
local helper = require "spec.helper"
local pools = require "spec.pools"
local mp = require "luamp"

local both, with_pool, collected, drained = pools.both, pools.with, pools.collected, pools.drained
local numbers, failure, await_end = pools.numbers, pools.failure, pools.await_end

local function square(x) return x * x end
local function is_even(x) return x % 2 == 0 end
local function add(a, b) return a + b end

describe("the results of", function()
    both("map are each call's first, in input order, whatever order they come in", function(call)
        helper.needs_one_host "shares a queue with its tasks"
        local first_may_go = mp.queue()
        assert.same({ 1, 4, 9, 16 }, call("map", function(x)
            if x == 2 then first_may_go:get() end
            if x == 3 then first_may_go:put(true) end
            return x * x, "no more"
        end, { 1, 2, 3, 4 }, { chunksize = 1 }))
        assert.same({ 1, 4, 9, 16 }, call("map", square, { 1, 2, 3, 4 }, { weight = square })) -- the last one first
    end)

    both("map have n only where one is nil", function(call)
        assert.same({ 1, 4 }, call("map", square, { 1, 2 }))
        assert.same({ nil, 2, nil, n = 3 }, call("map", function(x) if is_even(x) then return x end end, { 1, 2, 3 }))
        assert.same({ n = 2 }, call("map", function() end, { 1, 2 }))
        assert.same({ false, false }, call("map", function() return false end, { 1, 2 }))
    end)

    both("map are right for very many items", function(call)
        local results = call("map", square, numbers(20000))
        assert.equal(20000, #results)
        for i = 1, 20000 do if results[i] ~= i * i then error(i) end end
    end)

    both("map are whole, whatever can be sent", function(call)
        helper.needs_one_host "shares a queue with its tasks"
        local q = mp.queue()
        local shared = { 1 }
        local values = call("map", function(x) return x end,
            { "text\0", { shared, shared }, 1.5, false, math.mininteger, q, print })
        assert.same({ "text\0", { { 1 }, { 1 } }, 1.5, false, math.mininteger }, table.move(values, 1, 5, 1, {}))
        assert.equal(values[2][1], values[2][2])
        values[6]:put "through it"
        assert.equal("through it", q:get(0))
        assert.equal(print, values[7])
    end)

    both("starmap: lists are arguments, and n of a list is honoured", function(call)
        local f = function(...) return select("#", ...) .. tostring((...)) end
        assert.same({ "21", "0nil", "3nil" }, call("starmap", f, { { 1, 2 }, {}, { nil, nil, nil, n = 3 } }))
    end)

    both("imap: the index and all results, in order", function(call)
        assert.same({ { 1, 1, nil, "a" }, { 2, 2, nil, "a" }, { 3, 3, nil, "a" } },
            collected(call, "imap", function(x) return x, nil, "a" end, numbers(3)))
        local hundred = collected(call, "imap", function() end, numbers(100))
        for i = 1, 100 do assert.same({ i }, hundred[i]) end
    end)

    both("imap_unordered: those first that finish first, each once", function(call)
        helper.needs_one_host "shares a queue with its tasks"
        local gate, seen = mp.queue(), {}
        for i, x in call("imap_unordered", function(x)
            if x == 1 then gate:get() end
            return -x
        end, numbers(50), { chunksize = 1 }) do
            if #seen == 0 then
                assert.not_equal(1, i)
                gate:put(true)
            end
            assert.equal(-i, x)
            seen[#seen + 1] = i
        end
        table.sort(seen)
        assert.same(numbers(50), seen)
    end)

    for _, name in ipairs { "imap", "imap_unordered" } do
        both(name .. ": of many results that are nil each is given once", function(call)
            local sum = 0
            for i, x in call(name, function() return nil end, mp.range(1, 5000)) do
                assert.is_nil(x)
                sum = sum + i
            end
            assert.equal(5000 * 5001 // 2, sum)
        end)

        both(name .. " are not compared by their own metamethods", function(call)
            local asked = { __eq = function() error "it is asked" end }
            for i, t in call(name, function(x) return setmetatable({ x }, asked) end, { 1, 2 }) do
                assert.equal(i, t[1])
            end
        end)
    end

    both("each: how many there were", function(call)
        helper.needs_one_host "shares a queue with its tasks"
        local q = mp.queue()
        assert.equal(30, call("each", function(x) q:put(x) end, numbers(30)))
        local seen = drained(q)
        table.sort(seen)
        assert.same(numbers(30), seen)
    end)

    both("filter: the items themselves, in order", function(call)
        local items = { { 4 }, { 3 }, { 2 }, { 1 } }
        local kept = call("filter", function(t) return is_even(t[1]) and "yes" end, items)
        assert.equal(2, #kept)
        assert.is_true(kept[1] == items[1] and kept[2] == items[3])
        assert.same({ false }, call("filter", function(x) return x == false end, { 1, false, 2 }))
    end)

    both("find: the first in input order, though another is found before it", function(call)
        helper.needs_one_host "shares a queue with its tasks"
        local gate = mp.queue()
        local item, index = call("find", function(x)
            if x == "b" then gate:get() end
            if x == "c" then gate:put(true) end
            return x ~= "a"
        end, { "a", "b", "c", "d" }, { chunksize = 1 })
        assert.same({ "b", 2 }, { item, index })
        assert.is_nil((call("find", is_even, { 1, 3 })))
    end)

    both("find: a failure counts before what is found, and not behind it, whichever comes first", function(call)
        helper.needs_one_host "shares a queue with its tasks"
        local gate = mp.queue()
        local e = helper.fails({ kind = "error", task = 2, message = "bad" }, call, "find", function(x)
            if x == 2 then
                gate:get()
                error("bad", 0)
            end
            if x == 3 then gate:put(true) end
            return x == 3
        end, { 1, 2, 3 }, { chunksize = 1 })
        assert.is_true(mp.is_error(e))
        assert.same({ 1, 1 }, { call("find", function(x)
            if x == 1 then return gate:get() end
            gate:put(true)
            error("bad", 0)
        end, { 1, 2 }, { chunksize = 1 }) })
    end)

    both("find: an item that is false or nil can be found, too", function(call)
        assert.same({ n = 2, false, 2 }, table.pack(call("find", function(x) return not x end, { 1, false, 3 })))
        assert.same({ n = 2, nil, 2 }, table.pack(call("find", function(x) return not x end, { 1, nil, 3, n = 3 })))
    end)

    both("find: it stops what is behind", function(call)
        helper.needs_one_host "shares a queue with its tasks"
        local n, begun = 0, mp.queue()
        local item, index = call("find", function(x)
            begun:put(x)
            return x == 10
        end, function()
            n = n + 1
            return n
        end)
        assert.same({ 10, 10 }, { item, index })
        assert.is_true(#begun < 20000, #begun .. " were begun")
    end)

    both("reduce: combined in input order, whatever the chunks", function(call)
        local letters = {}
        for i = 1, 50 do letters[i] = string.char(64 + i) end
        for _, size in ipairs { 1, 3, 50, 99, false } do
            assert.equal(table.concat(letters), call("reduce", function(a, b) return a .. b end, letters, "", nil,
                { chunksize = size or nil }))
        end
    end)

    both("reduce: in one chunk, however large that may be", function(call)
        assert.same({ 6, 6 }, { call("reduce", add, { 1, 2, 3 }, 0, nil, { chunksize = math.maxinteger }),
            call("reduce", add, mp.range(1, 3), 0, nil, { chunksize = math.maxinteger - 1 }) })
    end)

    both("reduce: each chunk has its own copy of the identity", function(call)
        local identity = { n = 0, words = {} }
        local sum = call("reduce", function(acc, x)
            acc.n, acc.words[#acc.words + 1] = acc.n + 1, x
            return acc
        end, numbers(40), identity, function(left, right)
            table.move(right.words, 1, #right.words, #left.words + 1, left.words)
            return { n = left.n + right.n, words = left.words }
        end, { chunksize = 7 })
        assert.same({ n = 40, words = numbers(40) }, sum)
        assert.same({ n = 0, words = {} }, identity)
    end)

    both("all are what they should be of no items", function(call)
        assert.same({}, call("map", square, {}))
        assert.same({}, call("starmap", square, { n = 0 }))
        assert.same({}, collected(call, "imap", square, {}))
        assert.same({}, collected(call, "imap_unordered", square, function() end))
        assert.equal(0, call("each", square, {}))
        assert.same({}, call("filter", square, {}))
        assert.is_nil((call("find", square, {})))
        assert.equal("neutral", call("reduce", square, {}, "neutral"))
    end)
end)

describe("a failure in", function()
    both("map is raised as an error object that tells of the task", function(call)
        local e = failure({ kind = "error", task = 3, attempt = 1 }, call, "map", function(x)
            if x == 3 then error({ code = 7 }) end
            return x
        end, numbers(5))
        assert.equal(7, e.value.code)
        assert.matches("worker%.%d$", e.process)
        assert.not_equal(mp.getpid(), e.pid)
        assert.matches("pool_calls_spec.lua:%d+: in ", e.traceback)
        assert.matches("reached process 'main' at:\n.*pool_calls_spec.lua", tostring(e))
    end)

    local ends = {
        error = { function() error("it is bad", 0) end, { kind = "error", message = "it is bad" } },
        ["os.exit"] = { function() os.exit(3) end, { kind = "exit", exitcode = 3 } },
        ["os.exit with status 0"] = { function() os.exit(true) end, { kind = "exit", exitcode = 0 } },
        ["a signal"] = { function() os.execute("kill -KILL " .. mp.getpid()) mp.sleep(60) end,
            { kind = "signal", signal = "SIGKILL" } },
        ["its timeout"] = { function() mp.sleep(60) end, { kind = "timeout" } },
        ["what cannot be sent"] = { function() return coroutine.create(print) end, { kind = "unsendable" } },
    }
    for how, case in pairs(ends) do
        both("map by " .. how .. " is one of its task alone", function(call)
            local results, errors = call("map", function(x, ...)
                if x == 4 then return case[1](x, ...) end
                return x * x
            end, numbers(20), { on_error = "collect", timeout = how == "its timeout" and 0.3 or 30 })
            assert.equal(1, #errors)
            case[2].task, case[2].attempt = 4, 1
            for field, value in pairs(case[2]) do assert.equal(value, errors[1][field], field) end
            assert.is_truthy(errors[1].pid and errors[1].process)
            for i = 1, 20 do assert.equal(i ~= 4 and i * i or nil, results[i]) end
            assert.equal(20, results.n)
        end)
    end

    both("map: collected, in input order; none is an empty list", function(call)
        local results, errors = call("map", function(x)
            if is_even(x) then error("even", 0) end
            return x
        end, { 2, 1, 4, 3, 6 }, { on_error = "collect", chunksize = 1 })
        assert.same({ nil, 1, nil, 3, nil, n = 5 }, results)
        assert.same({ 1, 3, 5 }, { errors[1].task, errors[2].task, errors[3].task })
        assert.same({ { 1 }, {} }, { call("map", square, { 1 }, { on_error = "collect" }) })
    end)

    both("each, filter and starmap is collected, too", function(call)
        local n, errors = call("each", error, { "a", "b" }, { on_error = "collect" })
        assert.same({ 2, 2 }, { n, #errors })
        local kept, failed = call("filter", function(x) return x == 2 or error("no", 0) end, { 1, 2 },
            { on_error = "collect" })
        assert.same({ { 2 }, 1, 1 }, { kept, #failed, failed[1].task })
        local list, bad = call("starmap", add, { { 1, 2 }, { 1 } }, { on_error = "collect" })
        assert.same({ { 3, nil, n = 2 }, 1, 2 }, { list, #bad, bad[1].task })
    end)

    for _, name in ipairs { "imap", "imap_unordered" } do
        both(name .. ": collected, it is i, nil, err", function(call)
            local seen = {}
            for i, value, e in call(name, function(x)
                if x == 2 then error("two", 0) end
                return x, "second"
            end, numbers(3), { on_error = "collect" }) do
                seen[i] = { value, mp.is_error(e) and e.task or e }
            end
            assert.same({ { 1, "second" }, { nil, 2 }, { 3, "second" } }, seen)
        end)

        both(name .. " is raised from the loop", function(call)
            failure({ kind = "error", task = 5, message = "five" }, function()
                for _ in call(name, function(x) if x == 5 then error("five", 0) end end, numbers(100)) do end
            end)
        end)
    end

    both("reduce, find and filter is raised", function(call)
        failure({ message = "no" }, call, "reduce", function() error("no", 0) end, { 1 }, 0)
        failure({ message = "no", task = 57 }, call, "reduce", function(acc, x)
            return x == 57 and error("no", 0) or acc
        end, numbers(100), 0)
        local e = failure({ kind = "exit", task = 51 }, call, "reduce", function(acc, x)
            return x == 57 and os.exit(3) or acc
        end, numbers(100), 0, nil, { chunksize = 50 })
        assert.matches("^the group from item 51 on of %a+[:.]reduce, in worker %d was lost: ", e.message)
        failure({ message = "no", task = 2 }, call, "find", function(x) return x == 2 and error("no", 0) end, { 1, 2 })
        failure({ message = "no", task = 1 }, call, "filter", function() error("no", 0) end, { 1 })
    end)

    it("reduce: an item that cannot be sent, or the identity, is named", function()
        with_pool(1, function(pool)
            local items, co = numbers(100), coroutine.create(print)
            items[60] = co
            local e = failure({ kind = "unsendable", task = 60 }, pool.reduce, pool, math.max, items, 0)
            assert.matches("pool:reduce: task 60: cannot send item: it is a coroutine", e.message, 1, true)
            e = failure({ kind = "unsendable", task = 1 }, pool.reduce, pool, is_even, { 1 }, co)
            assert.matches("pool:reduce: task 1: cannot send identity: it is a coroutine", e.message, 1, true)
        end)
    end)

    it("names its task in its text, once, and the run if it was not the first", function()
        with_pool(1, function(pool)
            local function headline(...)
                return tostring(failure({}, ...)):match "^[^\n]*"
            end
            local function bad() error("bad", 0) end
            assert.matches("^process 'worker.1' %(pid %d+%) failed in task 2: bad$",
                headline(pool.map, pool, function(x) return x == 2 and bad() end, { 1, 2 }))
            assert.matches("^process 'worker.1' %(pid %d+%) failed in task 1, attempt 3: bad$",
                headline(pool.map, pool, bad, { 1 }, { retries = 2 }))
            local program = pool:submit { command = { "false" } }
            assert.matches("^task %d+: process '[^']*' %(pid %d+%): command 'false' exited with status 1$",
                headline(program.result, program))
            assert.matches("^task 2 of pool:map, in worker 1 was lost: ",
                headline(pool.map, pool, function(x) return x == 2 and os.exit(1) end, { 1, 2 }, { chunksize = 1 }))
            assert.matches("^task 1: cannot send result 1: ", headline(pool.map, pool, coroutine.create, { bad }))
            assert.matches("^pool:map: task 1: cannot send item: ", headline(pool.map, pool, bad, { io.stdout }))
        end)
    end)

    it("find behind what is found does not count", function()
        helper.needs_one_host "shares a queue with its tasks"
        with_pool(2, function(pool)
            local failed = mp.queue()
            local item, index = pool:find(function(x)
                if x == 1 then failed:get() return true end
                failed:put(true)
                error("behind", 0)
            end, { 1, 2 }, { chunksize = 1, on_error = "collect" })
            assert.same({ 1, 1 }, { item, index })
        end)
    end)

    both("map stops the call, and the tasks that run", function(call)
        helper.needs_one_host "shares a queue with its tasks"
        local begun, t = mp.queue(), mp.clock()
        failure({ message = "stop it", task = 1 }, call, "map", function(x)
            if x == 1 then
                begun:get()
                error("stop it", 0)
            end
            begun:put(mp.getpid())
            begun:put(mp.getpid())
            mp.sleep(60)
        end, numbers(1000), { chunksize = 1 })
        assert.is_true(mp.clock() - t < 30)
        local pids = drained(begun)
        assert.is_true(#pids > 0 and #pids <= 5, #pids .. " times a task told of itself")
        for _, pid in ipairs(pids) do
            await_end(pid)
        end
    end)

    it("map: of those known, the earliest in input order is raised", function()
        local dir = helper.tmpdir()
        local function exists(name)
            local file <close> = io.open(dir .. "/" .. name)
            return file ~= nil
        end
        with_pool(2, function(pool)
            -- Worker 1 fails in 3, then begins 4; after that worker 2 fails in 1 or 2, then begins 5.
            local fut = pool:map_async(function(x)
                local function tell(name) io.open(dir .. "/" .. name, "w"):close() end
                local function await(other)
                    repeat mp.sleep(0.002) until exists(other)
                end
                if x < 3 and mp.worker.id == 1 then return await "other" end
                if x == 3 then error("later", 0) end
                tell(x < 3 and "other" or x)
                if x < 3 then
                    await(4)
                    error("earlier", 0)
                end
                mp.sleep(60)
            end, numbers(5), { chunksize = 1 })
            local deadline = mp.clock() + 20
            repeat until exists(5) or mp.clock() > deadline -- no luamp call: nothing is taken in
            local e = failure({ message = "earlier" }, fut.result, fut)
            assert.is_true(e.task < 3)
        end)
    end)

    it("map leaves the pool as it was", function()
        with_pool(2, function(pool)
            for _ = 1, 20 do
                failure({ task = 1 }, pool.map, pool, function() error "no" end, { 1 })
                assert.same({ 1, 4, 9 }, pool:map(square, { 1, 2, 3 }))
            end
        end)
    end)

    it("many tasks that kill their workers: everything else is begun once and has its result", function()
        helper.needs_one_host "shares a queue with its tasks"
        local n = helper.sanitized and 60 or 200
        with_pool(2, function(pool)
            local begun = mp.queue()
            local results, errors = pool:map(function(x)
                begun:put(x)
                if x % 20 == 0 then os.execute("kill -KILL " .. mp.getpid()) mp.sleep(60) end
                return -x
            end, numbers(n), { on_error = "collect" })
            assert.equal(n // 20, #errors)
            for i = 1, n do assert.equal(i % 20 ~= 0 and -i or nil, results[i]) end
            local seen = drained(begun)
            table.sort(seen)
            assert.same(numbers(n), seen)
        end)
    end)
end)
