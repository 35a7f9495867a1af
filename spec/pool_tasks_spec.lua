-- pool_tasks_spec.lua: the options of a pool's calls, misuse of them, leaving a loop early, and what
-- tasks are made of: functions and items.
local helper = require "spec.helper"
local pools = require "spec.pools"
local mp = require "luamp"

local misuse, fails = helper.misuse, helper.fails
local both, with_pool, collected, drained = pools.both, pools.with, pools.collected, pools.drained
local numbers, failure, await_end = pools.numbers, pools.failure, pools.await_end

local function square(x) return x * x end
local function add(a, b) return a + b end

describe("the option retries", function()
    both("map runs a task that has failed again, so often", function(call)
        local f = function(x)
            if mp.worker.attempt < x then error("not yet", 0) end
            return mp.worker.attempt
        end
        assert.same({ 1, 2, 3 }, call("map", f, { 1, 2, 3 }, { retries = 2 }))
        failure({ message = "not yet", task = 1, attempt = 3 }, call, "map", f, { 4 }, { retries = 2 })
        failure({ attempt = 1 }, call, "map", f, { 4 }, { retries = 0 })
    end)

    both("imap holds for a worker that dies, too", function(call)
        assert.same({ { 1, 2 } }, collected(call, "imap", function()
            if mp.worker.attempt == 1 then os.exit(1) end
            return mp.worker.attempt
        end, { "x" }, { retries = 1 }))
    end)

    it("runs it in the same worker where all others are busy", function()
        helper.needs_one_host "shares a queue with its tasks"
        with_pool(2, function(pool)
            local go, seen = mp.queue(), mp.queue()
            local busy = pool:submit(function()
                seen:put(mp.worker.id)
                go:get()
            end)
            local id = seen:get()
            local ids = pool:map(function()
                if mp.worker.attempt == 1 then error "again" end
                return mp.worker.id
            end, { 1 }, { retries = 1 })
            assert.same({ 3 - id }, ids)
            go:put(true)
            busy:result()
        end)
    end)

    it("runs it in another worker, if there is one", function()
        helper.needs_one_host "shares a queue with its tasks"
        local f = function(seen)
            if mp.worker.attempt == 1 then seen:put(mp.worker.id) error "again" end
            return mp.worker.id
        end
        for workers = 1, 2 do
            with_pool(workers, function(pool)
                local seen = mp.queue()
                local id = pool:map(f, { seen }, { retries = 1 })[1]
                assert.equal(workers == 1, seen:get(0) == id)
            end)
        end
    end)

    both("map asks `when` in this process whether that error is worth it", function(call)
        local asked, here = {}, mp.getpid()
        local _, errors = call("map", function(x) error(x .. mp.worker.attempt, 0) end, { "a", "b" },
            { on_error = "collect", retries = { n = 2, when = function(e)
                asked[#asked + 1] = mp.is_error(e) and mp.getpid() == here and e.message
                return e.message:find "a" ~= nil
            end } })
        assert.same({ "a3", "b1" }, { errors[1].message, errors[2].message })
        table.sort(asked)
        assert.same({ "a1", "a2", "b1" }, asked)
    end)

    both("map waits `backoff` seconds, twice as long each time", function(call)
        helper.needs_one_host "shares a queue with its tasks"
        local at = mp.queue()
        call("map", function()
            at:put(mp.clock())
            if mp.worker.attempt < 4 then error "again" end
        end, { 1 }, { retries = { n = 3, backoff = 0.05 } })
        local t = drained(at)
        assert.equal(4, #t)
        for i = 1, 3 do assert.is_true(t[i + 1] - t[i] >= 0.05 * 2 ^ (i - 1), t[i + 1] - t[i]) end
    end)

    it("of the pool holds for all calls that say nothing of it", function()
        with_pool({ workers = 1, retries = { n = 1 } }, function(pool)
            local f = function(least) return mp.worker.attempt >= least or error("no", 0) end
            assert.same({ true }, pool:map(f, { 2 }))
            assert.is_true(pool:apply(f, 2))
            assert.same({ true }, pool:map(f, { 3 }, { retries = 2 }))
            failure({ attempt = 1 }, pool.map, pool, f, { 2 }, { retries = 0 })
            assert.same({ 3, 4 }, { pool:stats().done, pool:stats().retried })
        end)
    end)

    for name, begin in pairs {
        map_async = "function(pool, f, retries) return pool:map_async(f, { 1 }, { retries = retries }) end",
        submit = "function(pool, f, retries) return pool:submit { target = f, args = { 1 }, retries = retries } end",
    } do
        for _, answer in ipairs { true, false } do
            it(("may cancel the task when it is asked, and says %s: %s"):format(answer, name), function()
                with_pool(1, function(pool)
                    local fut
                    fut = load("return " .. begin)()(pool, function() error("no", 0) end, { n = 3, when = function()
                        assert(fut:cancel())
                        return answer
                    end })
                    assert.is_true(fut:wait(20))
                    assert.is_true(fut:is_cancelled())
                    local stats = pool:stats()
                    assert.same({ 0, 0, 0 }, { stats.retried, stats.failed, stats.queued })
                end)
            end)
        end

        it("may be interrupted by Ctrl-C when it is asked: that is the script's, the failure the task's: " .. name,
            function()
                local run = helper.script_run(([[
                    local pool <close> = mp.pool(1)
                    local fut = (%s)(pool, function() error("no", 0) end, { n = 3, when = function()
                        io.popen("kill -INT " .. mp.getpid()):close()
                        mp.sleep(60)
                    end })
                    local ok, e = pcall(fut.wait, fut, 20)
                    print(ok, e.kind, fut:wait(20), fut.error.kind, fut.error.message, pool:apply(math.abs, -2))]])
                    :format(begin))
                assert.same({ "false\tinterrupted\ttrue\terror\tno\t2\n", "" }, { run.stdout, run.stderr })
            end)
    end
end)

describe("the options of a call:", function()
    both("map: chunksize changes nothing of the results", function(call)
        for _, size in ipairs { 1, 7, 1000 } do
            assert.same({ 1, 4, 9, 16, 25, 36, 49, 64, 81, 100 }, call("map", square, numbers(10),
                { chunksize = size }))
        end
    end)

    for _, name in ipairs { "imap", "imap_unordered" } do
        both(name .. ": window bounds what is read ahead", function(call)
            local read, taken, most = 0, 0, 0
            for _ in call(name, square, function()
                if read == 50 then return nil end
                read = read + 1
                most = math.max(most, read - taken)
                return read
            end, { window = 3 }) do
                taken = taken + 1
            end
            assert.same({ 50, 50 }, { read, taken })
            assert.is_true(most <= 3, most .. " were read ahead")
        end)

        both(name .. ": it is bounded if nobody says anything", function(call)
            local read, taken = 0, 0
            for _ in call(name, square, function()
                read = read + 1
                return read
            end) do
                taken = taken + 1
                if taken == 100 then break end
            end
            assert.is_true(read < 10000, read .. " were read for 100 results")
        end)
    end

    both("map: window is taken, too", function(call)
        assert.same({ 1, 4, 9, 16, 25 }, call("map", square, numbers(5), { window = 2 }))
        local n = 0
        assert.equal(40, call("each", square, function() n = n + 1 return n <= 40 and n or nil end, { window = 1 }))
    end)

    it("weight lets the heavy ones start first, and is asked in this process", function()
        with_pool(1, function(pool)
            local n, asked = 0, {}
            local turns = pool:map(function()
                n = n + 1
                return n
            end, { 1, 30, 2.5, 30 }, { chunksize = 1, weight = function(item, index)
                asked[index] = item
                return item
            end })
            assert.same({ 1, 30, 2.5, 30 }, asked)
            assert.same({ 4, 1, 3, 2 }, turns)
        end)
    end)

    both("imap_unordered: weight and a window go together", function(call)
        local sum = 0
        for i, x in call("imap_unordered", square, mp.range(1, 50), { window = 3, weight = square }) do
            assert.equal(i * i, x)
            sum = sum + i
        end
        assert.equal(1275, sum)
    end)

    it("weight holds within the window where results are taken in order", function()
        helper.needs_one_host "shares a queue with its tasks"
        with_pool(1, function(pool)
            local begun = mp.queue()
            for i, x in pool:imap(function(x)
                begun:put(x)
                return x
            end, mp.range(1, 6), { window = 3, weight = square }) do
                assert.equal(i, x)
            end
            assert.same({ 3, 2, 1, 6, 5, 4 }, pools.drained(begun))
            local n = 0
            for i in pool:imap(square, mp.range(1, 5000), { weight = square }) do
                n = n + 1
                assert.equal(n, i)
            end
            assert.equal(5000, n)
            assert.same({ 9, 3 }, { pool:find(function(x) return x == 9 end, { 1, 4, 9, 16 },
                { window = 2, weight = square }), 3 })
            assert.equal(4100, (pool:find(function(x) return x == 4100 end, mp.range(1, 5000), { weight = square })))
        end)
    end)

    it("weight of reduce is asked of items, and a group costs as much as all of its", function()
        helper.needs_one_host "shares a queue with its tasks"
        with_pool(1, function(pool)
            local asked, begun = {}, mp.queue()
            assert.equal(7, pool:reduce(function(acc, x)
                begun:put(x)
                return acc + x
            end, numbers(5), 0, math.max, { chunksize = 2, weight = function(item, index)
                asked[index] = item
                return item
            end }))
            assert.same(numbers(5), asked)
            assert.same({ 3, 4, 5, 1, 2 }, pools.drained(begun))
        end)
        assert.equal(15, mp.reduce(function(acc, x) return acc + x end, numbers(5), 0, nil,
            { workers = 2, weight = square }))
    end)

    both("map: a window may be as large as one likes", function(call)
        local results = call("map", square, mp.range(1, 6000), { window = math.maxinteger, chunksize = 1 })
        assert.equal(6000, #results)
    end)

    it("timeout counts from the beginning of each run", function()
        with_pool({ workers = 1, timeout = 0.5 }, function(pool)
            assert.equal(8, pool:each(function() mp.sleep(0.15) end, numbers(8)))
            local e = failure({ kind = "timeout", task = 2 }, pool.map, pool, mp.sleep, { 0, 60 })
            assert.matches("0.5 s", e.message, 1, true)
            assert.equal(1, pool:each(function() mp.sleep(0.7) end, { 1 }, { timeout = 30 }))
        end)
    end)

    it("timeout waits while the owner is stopped, as by Ctrl-Z", function()
        local main <close> = mp.process { stdout = "pipe", command = { helper.host, helper.script [[
            local mp = require "luamp"
            local begun = mp.queue()
            local pool = mp.pool(1)
            local f = pool:submit { target = function()
                begun:put(true)
                mp.sleep(2)
                return "done"
            end, timeout = 0.5 }
            begun:get()
            print "begun"
            io.flush()
            local ok, result = pcall(f.result, f)
            print(ok and result or result.kind)]] } }:start()
        assert.equal("begun", main.stdout:read "l")
        main:signal "SIGSTOP"
        mp.sleep(1.7) -- for so long
        main:signal "SIGCONT"
        assert.equal("done", main.stdout:read "l")
        assert.is_true(main:join(10))
    end)

    it("timeout may be as short as it likes", function()
        with_pool(1, function(pool)
            for _, timeout in ipairs { 1e-46, 1e-300, 5e-324 } do
                failure({ kind = "timeout", task = 1 }, pool.map, pool, mp.sleep, { 60 }, { timeout = timeout })
            end
        end)
    end)

    it("misuse is told at the caller's line", function()
        local calls = { "map", "starmap", "imap", "imap_unordered", "each", "filter", "find", "reduce" }
        with_pool(1, function(pool)
            misuse("pool:map: expected a function, not nothing", function() pool:map(nil, {}) end)
            for name, form in pairs { ["pool:"] = function(call, ...) return pool[call](pool, ...) end,
                ["mp."] = function(call, ...) return mp[call](...) end } do -- of several the first is told
                for _, call in ipairs(calls) do
                    fails(name .. call .. ": expected a function, not 5", form, call, 5, 7, 8, 9)
                    fails(name .. call .. ": the input must be", form, call, square, 7, 8, 9)
                end
                fails(name .. "reduce: 'combine' must be", form, "reduce", square, {}, 0, 9, 9)
            end
            misuse("pool:map: unknown option 'chunk_size' (did you mean 'chunksize'?)",
                function() pool:map(square, {}, { chunk_size = 1 }) end)
            misuse("pool:map: option 'chunksize' must be", function() pool:map(square, {}, { chunksize = 0 }) end)
            misuse("pool:imap: option 'window' must be", function() pool:imap(square, {}, { window = 0 }) end)
            misuse("pool:each: option 'on_error' must be",
                function() pool:each(square, {}, { on_error = "ignore" }) end)
            misuse("pool:filter: option 'timeout' must be", function() pool:filter(square, {}, { timeout = 0 }) end)
            misuse("pool:map: option 'retries'", function() pool:map(square, {}, { retries = -1 }) end)
            for _, backoff in ipairs { -1, 0 / 0, math.huge } do
                misuse("pool:map: option 'retries': backoff must be a number of seconds from 0 on",
                    function() pool:map(square, {}, { retries = { n = 1, backoff = backoff } }) end)
            end
            misuse("pool:map: retries: unknown option 'count'",
                function() pool:map(square, {}, { retries = { count = 1 } }) end)
            misuse("pool:map: option 'weight': of item 1 it gave",
                function() pool:map(square, { 1 }, { weight = tostring }) end)
            misuse("pool:map: option 'weight' needs", function() pool:map(square, io.lines, { weight = print }) end)
            misuse("pool:map: expected a table of options, not 2", function() pool:map(square, {}, 2) end)
            misuse("pool:imap: expected a table of options, not 2", function() pool:imap(square, {}, 2) end)
            misuse("pool:resize: the number of workers", function() pool:resize() end)
            failure({ message = "an item of starmap must be a list of arguments, and this is a number", task = 1 },
                pool.starmap, pool, square, { 5 })
            misuse("pool:reduce: the options come after 'combine'",
                function() pool:reduce(add, {}, 0, { chunksize = 1 }) end)
            misuse("mp.pool: 'map' must be called on a pool", function() pool.map(square, {}) end)
        end)
        misuse("mp.map: expected a function, not a table", function() mp.map({}, {}) end)
        misuse("mp.map: unknown option 'chunksiz' (did you mean 'chunksize'?)",
            function() mp.map(math.abs, { 1 }, { chunksiz = 1 }) end)
        misuse("mp.map: unknown option 'worker' (did you mean 'workers'?)",
            function() mp.map(square, {}, { worker = 1 }) end)
        misuse("mp.each: the number of workers must be", function() mp.each(square, {}, { workers = 0 }) end)
        for _, name in ipairs { "map", "imap", "imap_unordered" } do
            misuse("option 'window' must be", function() mp[name](square, {}, { workers = 1, window = -1 }) end)
            assert.same({}, mp.active_children())
        end
    end)

    it("mp.NAME takes a pool's, too", function()
        helper.needs_one_host "shares a queue with its tasks"
        local left = mp.queue()
        local results, errors = mp.map(function(x)
            return x and mp.worker.made .. os.getenv "OF_POOL" or error("no", 0)
        end, { true, false }, { workers = 1, init = function(word) mp.worker.made = word end, initargs = { "m" },
            exit = function() left:put(mp.worker.id) end, env = { OF_POOL = "e" }, on_error = "collect" })
        assert.same({ "me", 1 }, { results[1], #errors })
        assert.equal(1, left:get(0))
    end)
end)

describe("several calls of one pool", function()
    it("may go on at once, up to a thousand", function()
        helper.needs_one_host "shares a queue with its tasks"
        with_pool(1, function(pool)
            local begun, gate = mp.queue(), mp.queue()
            local held = pool:submit(function()
                begun:put(true)
                return gate:get()
            end)
            begun:get()
            local futures = {}
            for i = 1, 1000 do futures[i] = pool:map_async(square, { i }) end
            local words = "pool:map_async: too many calls of the pool at once"
            local function more() return pool:map_async(square, { #futures + 1 }) end
            misuse(words, function() while true do futures[#futures + 1] = more() end end)
            gate:put "let go"
            for i, result in ipairs(mp.all(futures)) do assert.equal(i * i, result[1]) end
            assert.equal("let go", held:result())
            assert.same({ 4 }, pool:map_async(square, { 2 }):result())
        end)
    end)

    it("may be made in a loop", function()
        with_pool(2, function(pool)
            for i, x in pool:imap(square, numbers(10)) do
                assert.same({ i * i + 1 }, pool:map(function(y) return y + 1 end, { x }))
            end
        end)
    end)

    it("wait for nothing in the functions that the pool itself calls, but may be of another pool", function()
        with_pool(2, function(pool)
            local words = "cannot wait for the same pool"
            fails(words, pool.map, pool, square, function() return pool:apply(square, 2) end)
            fails(words, pool.map, pool, error, { "a" },
                { retries = { n = 1, when = function() return pool:apply(square, 2) end } })
            with_pool(1, function(other)
                local n = 0
                assert.same({ 1, 16, 81 }, pool:map(square, function()
                    n = n + 1
                    return n <= 3 and other:apply(square, n) or nil
                end))
            end)
            assert.same({ 4 }, pool:map(square, { 2 }))
        end)
    end)

    it("may be loops side by side, in coroutines", function()
        with_pool(2, function(pool)
            local function results(f)
                return coroutine.wrap(function()
                    for _, x in pool:imap(f, numbers(30)) do coroutine.yield(x) end
                end)
            end
            local a, b = results(square), results(function(x) return -x end)
            for i = 1, 30 do assert.same({ i * i, -i }, { a(), b() }) end
            assert.is_nil(a() or b())
        end)
    end)

    it("are not harmed by an error of a function that is called here", function()
        with_pool(2, function(pool)
            local function bad() error("the script's own", 0) end
            local fut = pool:submit(function() mp.sleep(0.1) return "whole" end)
            for _, given in ipairs { { retries = { n = 1, when = bad } }, { weight = bad } } do
                fails("the script's own", pool.map, pool, error, { "a", "b" }, given)
            end
            assert.equal("the script's own", fails("own", pool.each, pool, square, bad))
            assert.same({ 1, 4 }, pool:map(square, { 1, 2 }))
            assert.equal("whole", fut:result())
        end)
    end)

    it("carry large items and results", function()
        with_pool(2, function(pool)
            local text = ("0123456789"):rep(300000)
            for _, result in pool:imap(function(s) return s .. s end, { text, text, text }) do
                assert.is_true(result == text .. text)
            end
        end)
    end)
end)

describe("leaving the loop", function()
    for _, name in ipairs { "imap", "imap_unordered" } do
        both(name .. " early cancels the rest, and stops what runs", function(call)
            helper.needs_one_host "shares a queue with its tasks"
            local begun, pid, n = mp.queue(), nil, 0
            for i in call(name, function(x)
                if x == 1 then return end
                begun:put(mp.getpid())
                mp.sleep(60)
            end, function()
                n = n + 1
                return n
            end, { chunksize = 1 }) do
                assert.equal(1, i)
                pid = begun:get()
                if pid then break end
            end
            await_end(pid)
            assert.is_true(n < 10000)
        end)
    end

    both("imap by an error does the same, and the error goes through", function(call)
        helper.needs_one_host "shares a queue with its tasks"
        local begun, t = mp.queue(), mp.clock()
        fails("enough", function()
            for _ in call("imap", function(x)
                begun:put(x)
                if x > 1 then mp.sleep(60) end
            end, numbers(10), { chunksize = 1 }) do
                error "enough"
            end
        end)
        assert.is_true(mp.clock() - t < 30 and #begun <= 4)
    end)

    it("leaves the pool as it was", function()
        with_pool(2, function(pool)
            for _ = 1, 10 do
                for i in pool:imap(square, numbers(1000)) do if i == 3 then break end end
                assert.same({ 4 }, pool:map(square, { 2 }))
            end
        end)
    end)
end)

describe("a function", function()
    it("keeps what it changes in its upvalues for the call, and no longer", function()
        with_pool(1, function(pool)
            local n = 0
            local function count()
                n = n + 1
                return n
            end
            assert.same({ 1, 2, 3, 4, 5 }, pool:map(count, numbers(5), { chunksize = 2 }))
            assert.same({ 1, 2 }, pool:map(count, numbers(2)))
            assert.equal(0, n)
            n = 10
            assert.same({ 11 }, pool:map(count, { 1 }))
        end)
    end)

    it("finds the globals that its worker lacks, which were made after the pool", function()
        with_pool(1, function(pool)
            -- luacheck: push ignore 111 113
            function later_helper(x) return x .. later_word end
            later_word = "!"
            local ok, results = pcall(pool.map, pool, function(x) return later_helper(x) end, { "a" })
            later_helper, later_word = nil, nil
            -- luacheck: pop
            assert.is_true(ok, tostring(results))
            assert.same({ "a!" }, results)
        end)
    end)

    it("does not see globals that changed after the pool was made", function()
        helper.needs_fork "the workers inherit them"
        _G.changing = "before"
        with_pool(1, function(pool)
            _G.changing = "after"
            local results = pool:map(function() return changing end, { 1 }) -- luacheck: ignore
            _G.changing = nil
            assert.same({ "before" }, results)
        end)
    end)

    it("is anything that can be called", function()
        with_pool(1, function(pool)
            local callable = setmetatable({ 10 }, { __call = function(self, x) return self[1] + x end })
            assert.same({ 11 }, pool:map(callable, { 1 }))
            assert.same({ "1" }, pool:map(tostring, { 1 }))
        end)
    end)

    it("that cannot be sent is refused, with the culprit", function()
        with_pool(1, function(pool)
            local co = coroutine.create(print)
            local e = failure({ kind = "unsendable" }, pool.map, pool, function() return co end, { 1 })

            assert.matches("^pool:map: cannot send upvalue co of function .*pool_tasks_spec.lua:%d+: it is a cor",
                e.message)
            assert.same({ 1 }, pool:map(square, { 1 }))
        end)
    end)
end)

describe("an item", function()
    it("that cannot be sent is the failure of its task, with the culprit", function()
        with_pool(2, function(pool)
            local items = { 1, { a = { io.stdout } }, 3 }
            local e = failure({ kind = "unsendable", task = 2 }, pool.map, pool, square, items)
            assert.matches("pool:map: task 2: cannot send item: a[1] is an open file", e.message, 1, true)
            local results, errors = pool:map(square, { 1, print, coroutine.create(print), 3 }, { on_error = "collect" })
            assert.same({ 1, 9 }, { results[1], results[4] })
            assert.same({ 2, 3 }, { errors[1].task, errors[2].task })
            assert.same({ "error", "unsendable" }, { errors[1].kind, errors[2].kind })
            failure({ kind = "unsendable", task = 2 }, function()
                for _ in pool:imap(square, { 1, coroutine.create(print) }) do end
            end)
        end)
    end)

    it("of mp.map is inherited: it need not be sendable", function()
        helper.needs_one_host "has an item that only a fork inherits"
        helper.needs_fork "nothing is sent in"
        local co = coroutine.wrap(function(x) coroutine.yield(x) end)
        local files = { io.stdout, coroutine.create(print) }
        assert.same({ "userdata", "thread" }, mp.map(function(x) return co and type(x) end, files))
        assert.same({ "userdata", "thread" }, mp.map(function(x) return type(x) end, files, { chunksize = 1,
            workers = 1 }))
    end)

    it("that is a result's culprit is named", function()
        with_pool(1, function(pool)
            local e = failure({ kind = "unsendable", task = 1 }, pool.map, pool,
                function() return { deep = { coroutine.create(print) } } end, { 1 })
            assert.matches("cannot send result 1: deep[1] is a coroutine", e.message, 1, true)
        end)
    end)
end)
