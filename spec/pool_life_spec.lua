-- pool_life_spec.lua: how pools end, by close, terminate, scope, collection or the end of the script;
-- resize and stats; pools in other processes, and what tasks start themselves.
local helper = require "spec.helper"
local driver = require "spec.driver"
local pools = require "spec.pools"
local mp = require "luamp"

local misuse, fails = helper.misuse, helper.fails
local with_pool, drained, numbers, failure = pools.with, pools.drained, pools.numbers, pools.failure
local await_end, pids_of = pools.await_end, pools.pids_of

local function square(x) return x * x end

local function assert_gone(pids)
    for _, pid in ipairs(pids) do assert.is_false(helper.alive(pid), "worker " .. pid .. " lives") end
end

-- A task that says that it runs, and waits to be let go.
local function held(begun, gate)
    begun:put(mp.getpid())
    gate:get()
    return "done"
end

describe("pool:close and join", function()
    it("let the pool finish what it has, and take nothing new", function()
        helper.needs_one_host "shares a queue with its tasks"
        local pool, begun, gate = mp.pool(2), mp.queue(), mp.queue()
        local pids, futures = pids_of(pool), {}
        for i = 1, 5 do futures[i] = pool:submit(held, begun, gate) end
        for _ = 1, 2 do pool:submit(square, 2) end
        pool:close()
        pool:close()
        for _, call in ipairs { "map", "submit", "apply", "imap", "resize", "map_async" } do
            fails(call .. ": the pool is closed", pool[call], pool, print, { 1 })
        end
        misuse("mp.pool: submit: the pool is closed", function() pool:submit(square, 2) end)
        assert.same({ nil, "timeout" }, { pool:join(0.05) })
        for _ = 1, 5 do gate:put(true) end
        assert.is_true(pool:join())
        assert.is_true(pool:join(0))
        assert_gone(pids)
        for i = 1, 5 do assert.equal("done", futures[i]:result(0)) end
        assert.matches("closed%)$", tostring(pool))
        assert.equal(7, pool:stats().done)
    end)

    it("join is misuse while it is open", function()
        with_pool(1, function(pool)
            misuse("mp.pool: join: the pool is open: close or terminate it before", function() pool:join() end)
            misuse("pool:join: the timeout", function() pool:close() pool:join("long") end)
        end)
    end)
end)

describe("pool:terminate", function()
    it("stops all at once; what was not done fails as cancelled", function()
        helper.needs_one_host "shares a queue with its tasks"
        local pool, begun, gate = mp.pool(2), mp.queue(), mp.queue()
        local pids, futures = pids_of(pool), {}
        local done = pool:submit(square, 3)
        assert.equal(9, done:result())
        for i = 1, 4 do futures[i] = pool:submit(held, begun, gate) end
        futures[5] = pool:map_async(held, { begun, begun })
        begun:get()
        pool:terminate()
        assert_gone(pids)
        for i = 1, 5 do
            assert.is_true(futures[i]:is_done() and futures[i]:is_cancelled())
            failure({ kind = "cancelled" }, futures[i].result, futures[i])
        end
        assert.equal(9, done:result())
        pool:terminate()
        assert.is_true(pool:join(0))
        fails("the pool is terminated", pool.map, pool, square, { 1 })
    end)

    it("also ends a closed one that drains", function()
        helper.needs_one_host "shares a queue with its tasks"
        local pool, begun, gate = mp.pool(1), mp.queue(), mp.queue()
        local fut = pool:submit(held, begun, gate)
        begun:get()
        pool:close()
        pool:terminate()
        failure({ kind = "cancelled" }, fut.result, fut)
    end)
end)

describe("a <close> variable", function()
    it("drains the pool when its block is left normally", function()
        helper.needs_one_host "shares a queue with its tasks"
        local seen = mp.queue()
        local pids
        do
            local pool <close> = mp.pool(2)
            pids = pids_of(pool)
            for i = 1, 10 do
                pool:submit(function(x)
                    mp.sleep(0.01)
                    seen:put(x)
                end, i)
            end
        end
        assert_gone(pids)
        local list = drained(seen)
        table.sort(list)
        assert.same(numbers(10), list)
    end)

    it("terminates it where a coroutine is closed that has yielded in its end", function()
        local pool
        local co = coroutine.create(function()
            local p <close> = mp.pool(1)
            pool = p
            p:submit(math.abs, -1):on_done(function() coroutine.yield "in the hook" end)
            p:submit(mp.sleep, 60)
        end)
        assert.same({ true, "in the hook" }, { coroutine.resume(co) })
        local pids = pids_of(pool)
        assert.is_true(coroutine.close(co))
        assert_gone(pids)
        assert.matches("terminated", tostring(pool))
    end)

    it("terminates it after an error, which goes through", function()
        helper.needs_one_host "shares a queue with its tasks"
        local begun, gate, t = mp.queue(), mp.queue(), mp.clock()
        local pids, fut
        fails("the script's own", function()
            local pool <close> = mp.pool(2)
            pids = pids_of(pool)
            fut = pool:submit(held, begun, gate)
            begun:get()
            error "the script's own"
        end)
        assert.is_true(mp.clock() - t < 30)
        assert_gone(pids)
        assert.is_true(fut:is_cancelled())
    end)

    it("terminates it when a handler's error or Ctrl-C ends the wait there", function()
        for signal, words in pairs { USR1 = "the handler's", INT = "interrupted" } do
            local run = helper.script_run(([[
                mp.on_signal("SIGUSR1", function() error("the handler's", 0) end)
                local pids, fut = {}, nil
                print(pcall(function()
                    local pool <close> = mp.pool(2)
                    for i, w in ipairs(pool:stats().workers) do pids[i] = w.pid end
                    local begun, gate = mp.queue(), mp.queue()
                    fut = pool:submit(function()
                        begun:put(true)
                        mp.sleep(60)
                    end)
                    begun:get()
                    pool:submit(function(pid)
                        gate:get()
                        os.execute("sleep 0.1; kill -%s " .. pid)
                    end, mp.getpid())
                    local _ <close> = setmetatable({}, { __close = function() gate:put(true) end })
                end))
                print(fut:is_cancelled())
                for _, pid in ipairs(pids) do print(os.execute("kill -0 " .. pid .. " 2>/dev/null")) end]])
                :format(signal))
            assert.matches("^false\t[^\n]*" .. words, run.stdout)
            assert.matches("\ntrue\nnil\texit\t1\nnil\texit\t1\n$", run.stdout)
        end
    end)
end)

describe("a pool that nobody has any more", function()
    it("ends when it is collected", function()
        local pids
        do
            local pool = mp.pool(2)
            pids = pids_of(pool)
        end
        helper.wait_until(function()
            collectgarbage()
            return not helper.alive(pids[1]) and not helper.alive(pids[2])
        end, "the end of its workers")
    end)

    it("stays while a future of it is kept", function()
        local fut = mp.pool(1):submit(function()
            mp.sleep(0.1)
            return "it"
        end)
        collectgarbage()
        collectgarbage()
        assert.equal("it", fut:result())
    end)

    it("of mp.map stays during the call, whatever is collected", function()
        local n = 0
        assert.equal(20, mp.each(square, function()
            collectgarbage()
            n = n + 1
            return n <= 20 and n or nil
        end))
        local list = {}
        for i, x in mp.imap(square, numbers(20)) do
            collectgarbage()
            list[i] = x
        end
        assert.equal(20, #list)
    end)
end)

describe("at the end of the script", function()
    local function run(text)
        local r = helper.script_run([[
            local pool = mp.pool { workers = 2, exit = function() io.write "left\n" end }
            for i = 1, 3 do pool:submit(function() mp.sleep(0.05) io.write "done\n" end) end ]] .. text)
        return r.stdout, r.stderr, r.status
    end

    -- Stock lua has thrown the pool away before luamp knows of the end.
    local function needs_program()
        if helper.host ~= helper.luamp then pending "by the program alone" end
    end

    it("a pool finishes what it has, and its workers leave", function()
        needs_program()
        local out, err, status = run ""
        assert.same({ "done\ndone\ndone\nleft\nleft\n", "", 0 }, { out, err, status })
    end)

    it("and after the end of a child's function, too", function()
        local q = mp.queue()
        helper.result_of(function()
            local pool = mp.pool(1)
            for i = 1, 3 do pool:submit(function() mp.sleep(0.02) q:put(i) end) end
        end)
        assert.same({ 1, 2, 3 }, drained(q))
    end)

    for how, text in pairs { ["os.exit"] = "os.exit(3)", ["an error"] = "error 'bad'" } do
        it("which is " .. how .. ", it is stopped", function()
            local out, _, status = run("for i = 1, 5 do pool:submit(mp.sleep, 60) end " .. text)
            assert.is_nil(out:find("left", 1, true))
            assert.equal(how == "os.exit" and 3 or 1, status)
        end)
    end

    it("failures that nobody asked for are reported, and none that was", function()
        local r = helper.script_run [[
            local function fail(word) error(word, 0) end
            do
                local pool <close> = mp.pool(1)
                pool:submit(fail, "first")
                local asked, hooked = pool:submit(fail, "asked"), pool:submit(fail, "hooked")
                print(pcall(asked.result, asked))
                hooked:on_done(function() end)
                pool:submit(mp.sleep, 60):cancel()
            end
            local pool = mp.pool(1)
            local fut = pool:submit(fail, "second")
            fut:wait()]]
        assert.equal(0, r.status)
        assert.matches("nobody asked for: .-first", r.stderr)
        assert.matches("nobody asked for: .-second", r.stderr)
        assert.equal(2, select(2, r.stderr:gsub("nobody asked for", "")))
        assert.is_nil(r.stderr:find "hooked" or r.stderr:find ": asked" or r.stderr:find "cancelled")
    end)
end)

describe("a signal to the main process", function()
    local script = [[
        local mp = require "luamp"
        local pool <close> = mp.pool(2)
        local begun = mp.queue()
        local fut = pool:map_async(function()
            os.execute "sleep 60 &"
            begun:put(true)
            mp.sleep(60)
        end, { 1, 2 })
        begun:get()
        begun:get()
        print "ready"
        io.stdout:flush()
        fut:result()]]

    for signal, status in pairs { INT = 130, TERM = 143, KILL = 137 } do
        it("(" .. signal .. ") ends its pools, and what their tasks have started", function()
            local r = driver.signalled { script = script, signal = signal, alone = true }
            assert.equal(status, r.status)
            helper.wait_until(function() return #driver.group(r.group) == 0 end, "the end of all")
            if signal ~= "KILL" then assert.equal(1, select(2, r.stderr:gsub("\n", "")), r.stderr) end
        end)
    end

    it("that waits for a pool at its end is one like any other", function()
        if helper.host ~= helper.luamp then pending "by the program alone" end
        local r = driver.signalled { signal = "INT", alone = true, script = [[
            local mp = require "luamp"
            local pool = mp.pool(1)
            pool:submit(mp.sleep, 60)
            mp.atexit(function() print "hook" end)
            print "ready"
            io.stdout:flush()]], asleep = true }
        assert.same({ 130, "hook\n" }, { r.status, r.stdout })
        assert.matches("interrupted", r.stderr)
        assert.same({}, driver.group(r.group))
    end)
end)

describe("pool:resize", function()
    it("changes the number of workers", function()
        helper.needs_one_host "shares a queue with its tasks"
        with_pool(2, function(pool)
            local function n_who_work(n)
                -- Each task waits until all have begun.
                local begun, gate, futures = mp.queue(), mp.queue(), {}
                for i = 1, n do futures[i] = pool:submit(held, begun, gate) end
                local pids, n_pids = {}, 0
                for _ = 1, n do pids[begun:get()] = true end
                for _ = 1, n do gate:put(true) end
                mp.all(futures)
                for _ in pairs(pids) do n_pids = n_pids + 1 end
                return n_pids
            end
            local before = pids_of(pool)
            pool:resize(4)
            assert.equal(4, n_who_work(4))
            assert.same(before, { pids_of(pool)[1], pids_of(pool)[2] })
            local all = pids_of(pool)
            pool:resize(1)
            assert.equal(1, #pool:stats().workers)
            helper.wait_until(function()
                pool:stats()
                return not (helper.alive(all[2]) or helper.alive(all[3]) or helper.alive(all[4]))
            end, "the end of three workers")
            assert.is_true(helper.alive(all[1]))
            assert.same({ all[1], all[1] }, pool:map(mp.getpid, { 1, 2 }))
            pool:resize "100%"
            assert.equal(mp.cpu_count(), #pool:stats().workers)
            pool:resize(3)
            assert.equal(3, n_who_work(3))
        end)
    end)

    it("lets a worker that goes finish its task", function()
        helper.needs_one_host "shares a queue with its tasks"
        with_pool(2, function(pool)
            local begun, gate = mp.queue(), mp.queue()
            local a, b = pool:submit(held, begun, gate), pool:submit(held, begun, gate)
            begun:get_many(1)
            begun:get()
            pool:resize(1)
            gate:put_many { true, true }
            assert.same({ "done", "done" }, mp.all { a, b })
            assert.equal(0, pool:stats().failed)
        end)
    end)

    it("lets one go that was to come later", function()
        helper.needs_one_host "shares a queue with its tasks"
        local flag, begun = helper.tmpdir() .. "/flag", mp.queue()
        local pool <close> = mp.pool { workers = 2, init = function()
            local file <close> = io.open(flag)
            if file and mp.worker.id == 2 then os.exit(3) end
            begun:put(mp.worker.id)
        end }
        helper.write(flag, "")
        helper.run("kill -KILL " .. pids_of(pool)[2])
        helper.wait_until(function() return pool:stats().restarts >= 3 and not pids_of(pool)[2] end,
            "a worker that waits for its restart")
        pool:resize(1)
        os.remove(flag)
        drained(begun)
        local till = mp.clock() + 0.5 -- longer than it was to wait
        repeat pool:stats() until mp.clock() > till
        assert.same({ 1, {} }, { #pool:stats().workers, drained(begun) })
        pool:resize(2)
        assert.equal(2, begun:get(20))
    end)

    it("refuses what is no number of workers", function()
        with_pool(1, function(pool)
            misuse("pool:resize: the number of workers must be an integer from 1 to 4096",
                function() pool:resize(0) end)
            assert.equal(1, #pool:stats().workers)
        end)
    end)

    it("lets many go while tasks wait, which is no sign that none can live", function()
        with_pool(24, function(pool)
            pool:resize(1)
            assert.equal(8, pool:each(function() mp.sleep(0.1) end, numbers(8), { chunksize = 1 }))
            assert.equal(1, #pool:stats().workers)
        end)
    end)

    it("to more than there can be raises, and leaves as many as there were", function()
        local out = helper.script_run([[
            print(select(2, pcall(mp.pool, 200)))
            local pool <close> = mp.pool(2)
            print(select(2, pcall(pool.resize, pool, 200)))
            pool:map(mp.sleep, { 0.01, 0.01, 0.01, 0.01 })
            print(#pool:stats().workers, #pool:map(math.abs, { -1, -2, -3 }))
            while #mp.active_children() > 2 do mp.sleep(0.01) end]], "ulimit -n 60")
        assert.matches("^[^\n]-mp%.pool: cannot start 'worker%.%d+': [^\n]*\n"
            .. "[^\n]-pool:resize: cannot start 'worker%.%d+': [^\n]*\n2\t3\n$", out.stdout)
        assert.equal("", out.stderr)
    end)
end)

describe("pool:stats", function()
    it("counts what was done, failed, run again, waits and runs", function()
        helper.needs_one_host "shares a queue with its tasks"
        with_pool(2, function(pool)
            local begun, gate, futures = mp.queue(), mp.queue(), {}
            pool:map(square, numbers(10))
            pool:map(function(x) return x == 2 and error "no" end, numbers(3), { on_error = "collect" })
            pool:apply(square, 2)
            pool:submit { target = function() return mp.worker.attempt > 1 or error "no" end, retries = 1 }:result()
            for i = 1, 5 do futures[i] = pool:submit(held, begun, gate) end
            begun:get()
            begun:get()
            local stats = pool:stats()
            local tasks = stats.workers[1].tasks + stats.workers[2].tasks
            assert.same({ "busy", "busy", 16 }, { stats.workers[1].state, stats.workers[2].state, tasks })
            assert.same({ 14, 1, 1, 0, 3, 2 },
                { stats.done, stats.failed, stats.retried, stats.restarts, stats.queued, stats.running })
            for _ = 1, 5 do gate:put(true) end
            mp.all(futures)
            stats = pool:stats()
            assert.same({ 19, 1, 1, 0, 0, 0 },
                { stats.done, stats.failed, stats.retried, stats.restarts, stats.queued, stats.running })
        end)
    end)

    it("counts nothing of what was stopped, also while that is still being ended", function()
        helper.needs_one_host "shares a queue with its tasks"
        with_pool(2, function(pool)
            local begun, gate = mp.queue(), mp.queue()
            local fut = pool:map_async(function() return held(begun, gate) end, { 1, 2, 3, 4 })
            begun:get()
            assert.is_true(fut:cancel())
            local stats = pool:stats()
            assert.same({ 0, 0 }, { stats.queued, stats.running })
        end)
    end)
end)

describe("pool:pollfd", function()
    it("is readable when there is work for this process", function()
        helper.needs_one_host "shares a queue with its tasks"
        with_pool(1, function(pool)
            local begun, gate = mp.queue(), mp.queue()
            local fut = pool:submit(held, begun, gate)
            begun:get()
            assert.equal("r", pool:events())
            local fd = pool:pollfd()
            assert.is_true(math.type(fd) == "integer" and fd > 2)
            gate:put(true)
            -- mp.wait takes the work in itself: whoever asks the kernel alone sees the descriptor.
            helper.wait_until(function() return fut:is_done() or #mp.wait({ fd }, 0) == 1 end, "news")
            mp.wait({}, 0)
            assert.is_true(fut:is_done())
        end)
    end)
end)

describe("a pool of another process", function()
    it("cannot be used, and names its owner; nor can its futures", function()
        helper.needs_fork "the child inherits them"
        with_pool(1, function(pool)
            local fut = pool:submit(square, 3)
            local text = ("belongs to process %d, which alone can use it"):format(mp.getpid())
            local messages = helper.result_of(function()
                local list = {}
                for _, call in ipairs { "map", "submit", "stats", "close", "terminate", "resize", "join", "pollfd" } do
                    list[#list + 1] = select(2, pcall(pool[call], pool, square, { 1 }))
                end
                for _, call in ipairs { "result", "wait", "is_done", "cancel", "on_done" } do
                    list[#list + 1] = select(2, pcall(fut[call], fut))
                end
                list[#list + 1] = select(2, pcall(mp.all, { fut }))
                list[#list + 1] = select(2, pcall(mp.as_completed, { fut }))
                return list
            end)
            assert.equal(15, #messages)
            for _, message in ipairs(messages) do assert.matches(text, message, 1, true) end
            assert.equal(9, fut:result())
        end)
    end)

    it("is left alone when a child that has inherited it ends or collects it", function()
        helper.needs_fork "the child inherits it"
        local pool = mp.pool(1)
        helper.result_of(function()
            pool = nil
            collectgarbage()
        end)
        assert.equal(4, pool:apply(square, 2))
        pool:terminate()
    end)

    it("cannot be sent, nor can a future", function()
        with_pool(1, function(pool)
            local q, fut = mp.queue(), pool:submit(square, 1)
            assert.matches("pool", failure({ kind = "unsendable" }, q.put, q, { pool }).message, 1, true)
            assert.matches("future", failure({ kind = "unsendable" }, q.put, q, { fut }).message, 1, true)
            fut:result()
        end)
    end)
end)

describe("tasks", function()
    it("open pools of their own, within one budget of CPUs", function()
        local out = helper.script_run([[
            local function nested() local pool <close> = mp.pool() return #pool:stats().workers end
            local all = #mp.pool():stats().workers
            local pool <close> = mp.pool(1)
            local other <close> = mp.pool(all + 1)
            print(all, pool:apply(nested), other:apply(nested))
            print(pool:apply(function() return #mp.map(math.abs, { -1, -2, -3 }) end))]])
        assert.same({ ("%d\t%d\t1\n3\n"):format(mp.cpu_count(), mp.cpu_count()), "" }, { out.stdout, out.stderr })
    end)

    it("take the processes that they started with them, by whatever end", function()
        helper.needs_one_host "shares a queue with its tasks"
        with_pool(2, function(pool)
            for _, how in ipairs { "return", "error", "exit", "kill" } do
                local q = mp.queue()
                pcall(pool.apply, pool, function()
                    local p = mp.process { target = mp.sleep, args = { 60 } }:start()
                    local c = mp.process { command = { "sleep", "60" } }:start()
                    q:put_many { p.pid, c.pid }
                    if how == "error" then error "it failed" end
                    if how == "exit" then os.exit(1) end
                    if how == "kill" then os.execute("kill -KILL " .. mp.getpid()) mp.sleep(60) end
                end)
                await_end(q:get())
                await_end(q:get())
            end
            assert.equal(4, pool:apply(square, 2))
        end)
    end)

    it("take the pools that they made with them: what is left there is never done", function()
        with_pool(1, function(pool)
            local done = mp.queue()
            for _, is_broken in ipairs { false, true } do
                pcall(pool.apply, pool, function()
                    local inner, loop = mp.pool(1), mp.imap(function() done:put(true) end, mp.range(1, 1000))
                    for i = 1, 3 do inner:submit(function() mp.sleep(i / 10) done:put(i) end) end
                    if is_broken then error(loop()) end
                end)
                drained(done)
                assert.equal(0, pool:apply(function()
                    mp.sleep(0.8) -- more than the time that the rest would take
                    return #mp.active_children()
                end))
                assert.same({}, drained(done))
            end
        end)
    end)

    it("that end their worker take what a shell has left in the background with them", function()
        helper.needs_one_host "shares a queue with its tasks"
        with_pool(1, function(pool)
            local q = mp.queue()
            pcall(pool.apply, pool, function()
                local pipe = io.popen "sleep 60 >/dev/null 2>&1 & echo $!"
                q:put(math.tointeger(tonumber(pipe:read())))
                os.exit(1)
            end)
            await_end(q:get())
        end)
    end)

    it("leave the worker's next tasks alone", function()
        with_pool(1, function(pool)
            local pids = pool:map(function()
                mp.process { target = mp.sleep, args = { 60 } }:start()
                return mp.getpid() .. " " .. #mp.active_children()
            end, numbers(4))
            for i = 2, 4 do assert.equal(pids[1], pids[i]) end
            assert.matches(" 1$", pids[1])
        end)
    end)

    it("may wait for their own processes, use scopes and handlers of signals", function()
        with_pool(2, function(pool)
            assert.same({ 1, 4, 9 }, pool:map(function(x)
                return mp.scope(function(s) return s:start(function() return x * x end):result() end)
            end, { 1, 2, 3 }))
        end)
    end)
end)
