-- future_spec.lua: single tasks of a pool: submit in all its forms, and map_async; and futures.
local helper = require "spec.helper"
local pools = require "spec.pools"
local mp = require "luamp"

local misuse, fails = helper.misuse, helper.fails
local with_pool, drained, numbers, failure = pools.with, pools.drained, pools.numbers, pools.failure
local await_end = pools.await_end

local function square(x) return x * x end

local function fail(word) error(word, 0) end

-- A task that says that it runs, by its process, and waits to be let go.
local function held(begun, gate, result)
    begun:put(mp.getpid())
    gate:get()
    return result
end

describe("pool:submit", function()
    it("takes a function and its arguments, also nil, and gives all results", function()
        with_pool(2, function(pool)
            local fut = pool:submit(function(...) return select("#", ...), nil, ... end, "a", nil, nil)
            assert.same({ n = 5, 3, nil, "a", nil, nil }, table.pack(fut:result()))
            assert.same({ n = 5, 3, nil, "a", nil, nil }, table.pack(fut:result()))
            assert.same({ n = 0 }, table.pack(pool:submit(function() end):result()))
            assert.equal("ABC", pool:submit(string.upper, "abc"):result())
            local callable = setmetatable({}, { __call = function(_, x) return x end })
            assert.equal("called", pool:submit(callable, "called"):result())
        end)
    end)

    it("takes a table of options", function()
        with_pool(2, function(pool)
            assert.equal(3, pool:submit { target = select, args = { "#", 1, nil, nil, n = 4 } }:result())
            assert.equal(0, pool:submit { target = function(...) return select("#", ...) end }:result())
            assert.equal(2, pool:submit { target = function() return mp.worker.attempt end, retries = 1 }
                :result() + 1)
            assert.equal(3, pool:submit { retries = { n = 5 }, target = function()
                return mp.worker.attempt == 3 and 3 or error "again"
            end }:result())
            local fut = pool:submit { target = mp.sleep, args = { 60 }, timeout = 0.2 }
            local e = failure({ kind = "timeout", attempt = 1 }, fut.result, fut)
            assert.matches("pool:submit", e.message, 1, true)
        end)
    end)

    it("runs programs: their result is a process's", function()
        with_pool(2, function(pool)
            local fut = pool:submit { command = { "sh", "-c", "echo out; echo err >&2" }, stdout = "capture",
                stderr = "capture" }
            assert.same({ exitcode = 0, stdout = "out\n", stderr = "err\n" }, fut:result())
            assert.same({ exitcode = 0 }, pool:submit { command = { "true" } }:result())
            local path = helper.tmpdir() .. "/out"
            pool:submit { command = { "echo", 1.5, 7 }, stdout = path }:result()
            assert.equal("1.5 7\n", helper.read(path))
            fut = pool:submit { command = { "sh", "-c", "echo words >&2; exit 3" }, stderr = "capture" }
            local e = failure({ kind = "exit", exitcode = 3 }, fut.result, fut)
            assert.same({ exitcode = 3, stderr = "words\n" }, e.value)
            fut = pool:submit { command = { "/no/such/program" } }
            fails("No such file or directory", fut.result, fut)
            fut = pool:submit { command = { "sleep", "60" }, timeout = 0.2 }
            failure({ kind = "timeout" }, fut.result, fut)
        end)
    end)

    it("sends its function and arguments as they are at the call", function()
        with_pool(1, function(pool)
            local list, futures, n = {}, {}
            for i = 1, 3 do
                n, list[1] = i, 10 * i
                futures[i] = pool:submit(function(t) return n + t[1] end, list)
            end
            assert.same({ 11, 22, 33 }, mp.all(futures))
        end)
    end)

    it("takes more tasks than there is room for", function()
        with_pool(2, function(pool)
            local futures = {}
            for i = 1, 4500 do futures[i] = pool:submit(square, i) end
            for i, x in ipairs(mp.all(futures)) do if x ~= i * i then error(i) end end
        end)
    end)

    it("what cannot be sent is the future's failure, with the culprit", function()
        with_pool(1, function(pool)
            local co = coroutine.create(print)
            for words, fut in pairs {
                ["argument 2"] = pool:submit(print, 1, co),
                ["argument 1"] = pool:submit { target = print, args = { { co } } },
                ["upvalue co of function"] = pool:submit(function() return co end),
                ["result 2"] = pool:submit(function() return 1, coroutine.create(print) end),
            } do
                local e = failure({ kind = "unsendable" }, fut.result, fut)
                assert.matches("cannot send " .. words, e.message, 1, true)
            end
            assert.equal(4, pool:apply(square, 2))
        end)
    end)

    it("names misuse at the caller's line", function()
        with_pool(1, function(pool)
            misuse("pool:submit: expected a function, not nothing", function() pool:submit() end)
            misuse("pool:submit: one of the options 'target' and 'command' is wanted", function() pool:submit {} end)
            misuse("pool:submit: one of the options 'target' and 'command' is wanted",
                function() pool:submit { target = print, command = { "true" } } end)
            misuse("pool:submit: option 'args' is for a function",
                function() pool:submit { command = { "true" }, args = { 1 } } end)
            misuse("pool:submit: unknown option 'prority' (did you mean 'priority'?)",
                function() pool:submit { target = print, prority = 1 } end)
            misuse("pool:submit: option 'priority'", function() pool:submit { target = print, priority = 0 / 0 } end)
            misuse("pool:submit: option 'timeout'", function() pool:submit { target = print, timeout = -1 } end)
            misuse("pool:submit: option 'command'", function() pool:submit { command = {} } end)
            misuse("pool:submit: option 'stdout' cannot be 'stderr'",
                function() pool:submit { command = { "true" }, stdout = "stderr" } end)
            misuse("pool:submit: option 'stdout' cannot be 'pipe', which nobody would read",
                function() pool:submit { command = { "true" }, stdout = "pipe" } end)
            misuse("pool:submit: option 'stderr' cannot be 'pipe'",
                function() pool:submit { command = { "true" }, stderr = "pipe" } end)
            misuse("pool:submit: option 'stdout' is for a program",
                function() pool:submit { target = print, stdout = "capture" } end)
            misuse("pool:apply: expected a function, not 7", function() pool:apply(7) end)
            misuse("'submit' must be called on a pool", function() pool.submit(print) end)
        end)
    end)
end)

describe("a priority", function()
    it("goes ahead of tasks that were lined up, wherever these were", function()
        helper.needs_one_host "shares a queue with its tasks"
        with_pool(2, function(pool) -- one worker is kept busy, and the other one has all the rest
            local gates, begun = { mp.queue(), mp.queue() }, mp.queue()
            local busy = {}
            for i, gate in ipairs(gates) do
                busy[i] = pool:submit(function() begun:put "busy" gate:get() end)
                assert.equal("busy", begun:get())
            end
            for _, priority in ipairs { 5, 5, 1 } do
                pool:submit { target = function() begun:put(priority) end, priority = priority }
            end
            gates[1]:put(true)
            assert.same({ 1, 5, 5 }, { begun:get(), begun:get(), begun:get() })
            gates[2]:put(true)
            mp.all(busy)
        end)
    end)

    it("lets the lowest begin first, and equal ones in the order of submission", function()
        helper.needs_one_host "shares a queue with its tasks"
        with_pool(1, function(pool)
            local begun, gate, order = mp.queue(), mp.queue(), mp.queue()
            local first, futures = pool:submit(held, begun, gate), {}
            begun:get()
            for i, priority in ipairs { 5, 1, 3, 1, false, -2.5, 5 } do
                futures[i] = pool:submit { target = function(x) order:put(x) end, args = { i },
                    priority = priority or nil }
            end
            gate:put(true)
            first:result()
            mp.all(futures)
            assert.same({ 6, 5, 2, 4, 3, 1, 7 }, drained(order))
        end)
    end)

    it("goes ahead of what waits on the board, also when that is full", function()
        helper.needs_one_host "shares a queue with its tasks"
        with_pool(1, function(pool)
            local begun, gate, order = mp.queue(), mp.queue(), mp.queue()
            pool:submit(held, begun, gate)
            begun:get()
            local futures = {}
            for i = 1, 4200 do futures[i] = pool:submit(function() if i < 3 then order:put(i) end end) end
            futures[4201] = pool:submit { target = function() order:put "urgent" end, priority = -1 }
            gate:put(true)
            mp.all(futures)
            assert.same({ "urgent", 1, 2 }, drained(order))
        end)
    end)
end)

describe("pool:map_async", function()
    it("gives a future of what map gives", function()
        with_pool(2, function(pool)
            local futures = {}
            for i = 1, 3 do futures[i] = pool:map_async(square, numbers(i), { chunksize = 1 }) end
            assert.same({ { 1 }, { 1, 4 }, { 1, 4, 9 } }, mp.all(futures))
            assert.same({}, pool:map_async(square, {}):result())
            local n = 0
            local fut = pool:map_async(square, function() n = n + 1 return n < 50 and n or nil end)
            assert.equal(49, #fut:result())
            local results, errors = pool:map_async(fail, { "a", "b" }, { on_error = "collect" }):result()
            assert.same({ { n = 2 }, 2 }, { results, #errors })
        end)
    end)

    it("fails as map does, and is cancelled as a whole", function()
        helper.needs_one_host "shares a queue with its tasks"
        with_pool(2, function(pool)
            local fut = pool:map_async(function(x) return x == 3 and error("three", 0) end, numbers(5))
            failure({ message = "three", task = 3 }, fut.result, fut)
            local begun, gate = mp.queue(), mp.queue()
            fut = pool:map_async(function() return held(begun, gate) end, numbers(50), { chunksize = 1 })
            local pids = { begun:get(), begun:get() }
            assert.is_true(fut:is_running())
            assert.is_true(fut:cancel())
            for _, pid in ipairs(pids) do await_end(pid) end
            failure({ kind = "cancelled" }, fut.result, fut)
            assert.same({ 1 }, pool:map(square, { 1 }))
            assert.is_true(#begun <= 2)
        end)
    end)
end)

describe("a future", function()
    it("tells what becomes of its task", function()
        helper.needs_one_host "shares a queue with its tasks"
        with_pool(1, function(pool)
            local begun, gate = mp.queue(), mp.queue()
            local first, second = pool:submit(held, begun, gate, "it"), pool:submit(square, 3)
            begun:get()
            assert.same({ false, true, false }, { first:is_done(), first:is_running(), first:is_cancelled() })
            assert.same({ false, false, false }, { second:is_done(), second:is_running(), second:is_cancelled() })
            assert.is_nil(first.error)
            assert.same({ nil, "timeout" }, { first:wait(0.05) })
            assert.same({ nil, "timeout" }, { first:wait(0) })
            local e = failure({ kind = "pending" }, first.result, first, 0.05)
            assert.matches("pool:submit", e.message, 1, true)
            assert.matches("^mp.future: pool:submit %(pending%)$", tostring(first))
            gate:put(true)
            assert.is_true(first:wait())
            assert.same({ true, false, false, "it" },
                { first:is_done(), first:is_running(), first:is_cancelled(), first:result(0) })
            assert.equal(9, second:result(30))
            assert.matches("%(done%)$", tostring(second))
        end)
    end)

    it("has a descriptor that is readable when it has ended", function()
        helper.needs_one_host "shares a queue with its tasks"
        with_pool(1, function(pool)
            local begun, gate = mp.queue(), mp.queue()
            local fut = pool:submit(held, begun, gate)
            begun:get()
            local fd = fut:pollfd()
            assert.same({ "r", fd }, { fut:events(), fut:pollfd() })
            assert.same({}, mp.wait({ fd }, 0.02))
            gate:put(true)
            assert.same({ fd }, mp.wait({ fd }, 20))
            assert.is_true(fut:is_done())
            local done = pool:submit(square, 2)
            done:wait()
            assert.equal(1, #mp.wait({ done:pollfd() }, 0))
        end)
    end)

    it("has a time limit that holds while this process does other things", function()
        helper.needs_one_host "shares a queue with its tasks"
        with_pool({ workers = 1, timeout = 0.3 }, function(pool)
            local begun = mp.queue()
            local fut = pool:submit(held, begun, mp.queue())
            local pid, deadline = begun:get(), mp.clock() + 20
            repeat until not helper.alive(pid) or mp.clock() > deadline -- no wait of luamp
            assert.is_false(helper.alive(pid))
            failure({ kind = "timeout" }, fut.result, fut)
        end)
    end)

    it("has its failure in error, as result raises it", function()
        with_pool(1, function(pool)
            local fut = pool:submit(fail, "bad")
            assert.is_true(fut:wait())
            assert.is_true(fut:is_done())
            assert.is_true(mp.is_error(fut.error))
            local e = fut.error
            assert.same({ "error", "bad", 1, 1 }, { e.kind, e.message, e.task, e.attempt })
            for _ = 1, 2 do failure({ message = "bad" }, fut.result, fut) end
            assert.is_false(fut:is_cancelled())
            assert.is_false(fut:cancel())
        end)
    end)

    it("has read-only fields, and names misuse", function()
        with_pool(1, function(pool)
            local fut = pool:submit(square, 1)
            misuse("mp.future: a future has no field 'result_of' that could be set", function() fut.result_of = 1 end)
            misuse("mp.future", function() fut.error = 1 end)
            misuse("mp.future: 'result' must be called on a future, as in f:result()", function() fut.result() end)
            misuse("mp.future: wait", function() fut:wait("long") end)
            misuse("mp.future: result", function() fut:result(0 / 0) end)
            misuse("mp.future: on_done: expected a function, not nothing", function() fut:on_done() end)
            assert.equal(1, fut:result())
        end)
    end)
end)

describe("future:cancel", function()
    it("keeps a task from beginning", function()
        helper.needs_one_host "shares a queue with its tasks"
        with_pool(1, function(pool)
            local begun, gate, seen = mp.queue(), mp.queue(), mp.queue()
            local first, second = pool:submit(held, begun, gate), pool:submit(function() seen:put(true) end)
            begun:get()
            assert.is_true(second:cancel())
            assert.same({ true, true, false }, { second:is_done(), second:is_cancelled(), second:cancel() })
            failure({ kind = "cancelled" }, second.result, second)
            assert.equal("cancelled", second.error.kind)
            gate:put(true)
            first:result()
            assert.equal(4, pool:apply(square, 2))
            assert.equal(0, #seen)
            assert.equal(0, pool:stats().restarts)
        end)
    end)

    it("stops a running one, with its children", function()
        helper.needs_one_host "shares a queue with its tasks"
        with_pool(1, function(pool)
            local q = mp.queue()
            local fut = pool:submit(function()
                local p = mp.process { command = { "sleep", "60" } }:start()
                q:put_many { mp.getpid(), p.pid }
                mp.sleep(60)
            end)
            local pids = { q:get(), q:get() }
            assert.is_true(fut:cancel())
            assert.is_true(fut:is_cancelled() and not fut:is_running())
            for _, pid in ipairs(pids) do await_end(pid) end
            assert.equal(4, pool:apply(square, 2))
        end)
    end)

    it("is false when it was done already, and changes nothing", function()
        with_pool(1, function(pool)
            local fut = pool:submit(square, 3)
            fut:wait()
            assert.is_false(fut:cancel())
            assert.same({ 9, false }, { fut:result(), fut:is_cancelled() })
        end)
    end)

    it("of one that ends just then touches no other", function()
        helper.needs_one_host "shares a queue with its tasks"
        with_pool(1, function(pool)
            local begun = mp.queue()
            local function spin(seconds, q)
                if q then q:put(true) end
                local till = mp.clock() + seconds
                repeat until mp.clock() > till
                return true
            end
            for _ = 1, helper.sanitized and 20 or 100 do
                local futures = { pool:submit(spin, 0.001, begun), pool:submit(spin, 0.001), pool:submit(spin, 0.001) }
                begun:get()
                spin(0.0012 * math.random())
                futures[1]:cancel()
                assert.same({ true, true }, { futures[2]:result(), futures[3]:result() })
            end
        end)
    end)

    it("of one among many touches no other", function()
        with_pool(2, function(pool)
            local futures = {}
            for i = 1, 200 do futures[i] = pool:submit(function(x) mp.sleep(0.001) return x end, i) end
            for i = 10, 200, 10 do futures[i]:cancel() end
            for i = 1, 200 do
                if i % 10 ~= 0 then assert.equal(i, futures[i]:result()) end
                assert.is_true(futures[i]:is_done())
            end
        end)
    end)
end)

describe("future:on_done", function()
    -- Waits of luamp, each of which lets through what is put into the queue `go`.
    local waits = {
        ["mp.sleep"] = function() mp.sleep(0.05) end,
        ["q:get"] = function(q) q:get(0.05) end,
        ["mp.wait"] = function() mp.wait({}, 0.05) end,
        ["mp.wait({}, 0)"] = function() mp.wait({}, 0) end,
        ["p:join"] = function(_, p) p:join(0.05) end,
        ["another future"] = function(_, _, other) other:wait(0.05) end,
    }
    for what, wait in pairs(waits) do
        it("is called once with the future, in this process, during " .. what, function()
            helper.needs_one_host "shares a queue with its tasks"
            with_pool(2, function(pool)
                local q, p <close> = mp.queue(), mp.process { target = mp.sleep, args = { 60 }, daemon = true }:start()
                local other = pool:submit(mp.sleep, 60)
                local called, here = {}, mp.getpid()
                local fut = pool:submit(square, 3)
                fut:on_done(function(...)
                    called[#called + 1] = select("#", ...) == 1 and mp.getpid() == here and (...)
                end)
                local deadline = mp.clock() + 20
                repeat wait(q, p, other) until called[1] or mp.clock() > deadline
                for _ = 1, 3 do wait(q, p, other) end
                assert.same({ 1, true }, { #called, called[1] == fut })
                assert.equal(9, fut:result())
                other:cancel()
                p:kill()
            end)
        end)
    end

    it("is called at once when it is done already, and each function once, in order", function()
        with_pool(1, function(pool)
            local order = {}
            local fut = pool:submit(square, 3)
            fut:on_done(function() order[#order + 1] = 1 end)
            fut:on_done(function() order[#order + 1] = 2 end)
            fut:result()
            mp.wait({}, 0)
            assert.same({ 1, 2 }, order)
            fut:on_done(function(f) order[#order + 1] = f:result() end)
            assert.same({ 1, 2, 9 }, order)
        end)
    end)

    it("is called for failures and cancellation, too", function()
        with_pool(1, function(pool)
            local kinds = {}
            local function note(f) kinds[#kinds + 1] = f.error.kind end
            local fut = pool:submit(fail, "x")
            fut:on_done(note)
            fut:wait()
            mp.wait({}, 0)
            fut = pool:submit(mp.sleep, 60)
            fut:on_done(note)
            fut:cancel()
            mp.wait({}, 0)
            local map = pool:map_async(fail, { "x" })
            map:on_done(note)
            map:wait()
            mp.wait({}, 0)
            assert.same({ "error", "cancelled", "error" }, kinds)
        end)
    end)

    it("may use the pool itself", function()
        with_pool(1, function(pool)
            local result, fut = nil, pool:submit(square, 2)
            fut:on_done(function(f) result = { pool:apply(square, f:result()), pool:submit(square, 5) } end)
            helper.wait_until(function() return result end, "the function")
            assert.same({ 16, 25 }, { result[1], result[2]:result() })
        end)
    end)

    it("its error is reported, and harms nobody", function()
        local run = helper.script_run [[
            local pool <close> = mp.pool(1)
            local fut, late = pool:submit(math.abs, -3), pool:submit(math.abs, -4)
            local n = 0
            fut:on_done(function() error "the hook's error" end)
            fut:on_done(function() n = n + 1 end)
            print(fut:result(), late:result())
            mp.sleep(0)
            late:on_done(function() error { } end)
            print(n, pool:apply(math.abs, -5))]]
        assert.same({ "3\t4\n1\t5\n", 0 }, { run.stdout, run.status })
        assert.matches("on_done failed: .*the hook's error", run.stderr)
        assert.equal(2, select(2, run.stderr:gsub("on_done failed", "")))
    end)
end)

describe("a task that fails with what was cancelled in it", function()
    local function nested()
        local pool <close> = mp.pool(1)
        local fut = pool:submit(mp.sleep, 9)
        fut:cancel()
        return fut:result()
    end

    it("has failed, and was not cancelled: unasked, it is told", function()
        local out = helper.script_run([[
            local pool = mp.pool(1)
            local function nested()
                local pool <close> = mp.pool(1)
                local fut = pool:submit(mp.sleep, 9)
                fut:cancel()
                return fut:result()
            end
            local fut, map = pool:submit(nested), pool:map_async(nested, { 1 })
            fut:wait()
            map:wait()
            print(fut:is_cancelled(), fut.error.kind, map:is_cancelled(), map.error.kind)
            pool:submit(nested)
            pool:submit(mp.sleep, 60):cancel()
            pool:close()
            pool:join()]])
        assert.equal("false\tcancelled\tfalse\tcancelled\n", out.stdout)
        assert.matches("^luamp: a failure of pool:submit that nobody asked for: task 2: pool:submit was cancelled\n",
            out.stderr)
        assert.equal(1, select(2, out.stderr:gsub("nobody asked", "")))
    end)

    it("is no cancelled one for as_completed and on_done either", function()
        with_pool(1, function(pool)
            local fut, phase = pool:submit(nested), nil
            fut:on_done(function(f) phase = f:is_cancelled() end)
            for f in mp.as_completed { fut } do assert.is_false(f:is_cancelled()) end
            assert.is_false(phase)
        end)
    end)
end)

describe("functions of on_done", function()
    it("come all, also when Ctrl-C ends one of them", function()
        local out = helper.script_run [[
            local pool = mp.pool(1)
            local fut, second = pool:submit(mp.sleep, 0.05), pool:submit(mp.sleep, 0.05)
            fut:on_done(function()
                print "first"
                io.popen("kill -INT " .. mp.getpid()):close()
                while true do end
            end)
            fut:on_done(function() print "second" end)
            second:on_done(function() print "other" end)
            print(pcall(mp.all, { fut, second }))
            second:wait()
            mp.wait({}, 0)
            fut:on_done(function() print "late" end)
            pool:close()
            print(pool:join())]]
        assert.same({ "first\nfalse\tinterrupted\nsecond\nother\nlate\ntrue\n", "" }, { out.stdout, out.stderr })
    end)
end)

describe("a running task with a priority", function()
    it("that is cancelled makes way for more urgent ones, each of which runs once", function()
        helper.needs_one_host "shares a queue with its tasks"
        with_pool(1, function(pool)
            local begun, done = mp.queue(), mp.queue()
            for _ = 1, 5 do
                local fut = pool:submit { target = function() begun:put(true) mp.sleep(60) end, priority = 5 }
                begun:get()
                assert.is_true(fut:cancel())
                local urgent = {}
                for i = 1, 3 do urgent[i] = pool:submit { target = function() done:put(i) end, priority = i - 2 } end
                mp.all(urgent)
                assert.same({ 3, "cancelled" }, { #pools.drained(done), fut.error.kind })
            end
        end)
    end)
end)
