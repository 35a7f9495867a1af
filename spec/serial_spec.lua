-- serial_spec.lua: LUAMP_BACKEND=serial: the pool's tasks in the script's own process, for debugging.
local helper = require "spec.helper"

-- A script that shows what each call gives, and what a script can see of its tasks.
local script = [[
    local function show(...)
        local list = table.pack(...)
        for i = 1, list.n do
            local x = list[i]
            if mp.is_error(x) then
                x = ("%s %s %s %s"):format(x.kind, x.task, x.attempt, x.message)
            elseif type(x) == "table" then
                local t = {}
                for k = 1, math.max(#x, x.n or 0) do t[k] = tostring(mp.is_error(x[k]) and x[k].message or x[k]) end
                x = "{" .. table.concat(t, " ") .. "}" .. (x.n or "")
            end
            list[i] = tostring(x)
        end
        print(table.concat(list, " | "))
    end
    local function square(x) return x * x, "second" end
    local function fail(x) if x == 2 then error("two", 0) end return x end

    do
        local left = mp.queue()
        local pool <close> = mp.pool { workers = 1, seed = 5, init = function(q, word)
            mp.worker.word = word
            q:put "init"
        end, initargs = { left, "made" }, exit = function() left:put "exit" end }
        show(left:get(0))
        show(pool:map(square, { 1, 2, 3 }))
        show(pool:map(function(x) if x then return x end end, { 1, nil, 3, n = 3 }))
        show(pool:starmap(select, { { "#", nil, n = 2 }, { 2, "a", "b" } }))
        for i, a, b in pool:imap(square, mp.range(1, 3)) do show(i, a, b) end
        for i, a, e in pool:imap_unordered(fail, { 1, 2, 3 }, { on_error = "collect" }) do show(i, a, e) end
        for i in pool:imap(square, mp.range(1, 1000000)) do if i == 3 then break end end
        show(pool:each(square, ("a b"):gmatch "%a" and { 1, 2 }))
        show(pool:filter(function(x) return x > 1 end, { 1, 2, 3 }))
        show(pool:find(function(x) return x > 1 end, { 1, 2, 3 }))
        show(pool:reduce(function(a, b) return a .. b end, { "a", "b", "c" }, ""))
        show(pcall(pool.map, pool, fail, { 1, 2, 3 }))
        show(pool:map(fail, { 1, 2, 3 }, { on_error = "collect" }))
        show(pool:map(function() return mp.worker.attempt == 2 or error "no" end, { 1 }, { retries = 1 }))
        show(pool:map(function() return mp.worker.word .. mp.worker.id .. mp.worker.task end, { 1, 2 }))
        show(pool:map(function() return math.random(1000) end, { 1, 2, 3 }))
        local n = 0
        local function count() n = n + 1 return n end
        show(pool:map(count, { 1, 2, 3 }))
        show(pool:map(count, { 1, 2 }), n)
        local t = { 1 }
        pool:map(function(x) x[1] = 2 t[1] = 3 end, { t })
        show(t)
        show(pcall(pool.map, pool, square, { 1, coroutine.create(print) }))
        show(pcall(pool.map, pool, function() return coroutine.create(print) end, { 1 }))
        show(pool:apply(square, 3))
        show(pcall(pool.apply, pool, error, "bad"))
        local futures = { pool:submit(square, 2), pool:submit { target = fail, args = { 2 } },
            pool:map_async(square, { 1, 2 }), pool:submit { command = { "echo", "out" }, stdout = "capture" } }
        futures[1]:on_done(function(f) show("done", f:result()) end)
        show(futures[1]:wait(), futures[1]:is_done(), futures[1]:result())
        mp.sleep(0)
        show(pcall(mp.all, futures))
        show(futures[3]:result())
        show(futures[4]:result().stdout)
        local third = pool:submit(square, 4)
        show(#mp.wait { third })
        for f in mp.as_completed { third } do show(f:result()) end
        local stats = pool:stats()
        show(stats.workers[1].state, stats.failed, stats.retried, stats.queued, stats.running)
        show(mp.worker)
        pool:close()
        show(pool:join())
        show(left:get(0))
    end
    show(mp.map(square, { 1, 2 }, { workers = 1 }))
    local n, t, unsent, forked = 0, { x = 0 }, coroutine.create(print), { workers = 1, start_method = "fork" }
    show(mp.map(function(t) t.x, n = t.x + 1, n + 10 return t.x + n end, { t, t, { x = 5 } }, forked), n, t.x)
    show(mp.map(function(x) if x == t then t.x = 7 end return type(x), t.x end, { t, unsent }, forked), t.x)
    show(mp.map(type, mp.range(1, 2)), mp.filter(function(x) return x.x end, { t, {} }, forked)[1] == t)
    show(pcall(mp.pool, { workers = 1, init = function() error("init", 0) end }))
    show(pcall(mp.pool, 0))
]]

describe("LUAMP_BACKEND=serial", function()
    it("gives the same results", function()
        local path = helper.script("local mp = require 'luamp'\n" .. script)
        local function run(backend)
            return helper.run(("exec %s %s"):format(helper.host, path), { env = { LUAMP_BACKEND = backend } })
        end
        local expected, serial = run "process", run "serial"
        assert.same({ 0, "" }, { expected.status, expected.stderr })
        assert.is_true(select(2, expected.stdout:gsub("\n", "")) > 40)
        assert.same(expected, serial)
    end)

    it("has the real stack: a task is called by the script, in its own process", function()
        local text = [[
            local function culprit() error "it is here" end
            local function task() culprit() end
            local function caller()
                local e = select(2, pcall(mp.map, task, { 1 }, { workers = 1 }))
                print(e.pid == mp.getpid(), e.traceback)
            end
            caller()]]
        local serial = helper.script_run(text, nil, { env = { LUAMP_BACKEND = "serial" } }).stdout
        assert.matches("^true\tstack traceback:\n", serial)
        assert.matches("in upvalue 'culprit'.*in function <.*in [%a ]+'caller'.*in main chunk", serial)
        local apart = helper.script_run(text, nil, { env = { LUAMP_BACKEND = false } }).stdout
        assert.matches("^false\t", apart)
        assert.is_nil(apart:find("main chunk", 1, true))
    end)

    it("lets no task use the pool that runs it, nor wait for it, and another one", function()
        local run = helper.script_run([[
            pool = mp.pool(1)
            fut = pool:submit(math.abs, -1)
            local tasks = { function() return pool:apply(math.abs, -1) end,
                function() return pool:submit { target = math.abs, args = { -1 }, priority = 1 } end,
                function() return pool:map(math.abs, { -1 }) end, function() return pool:resize(2) end,
                function() return pool:terminate() end, function() return pool:close() end,
                function() return later:result() end,
                function() return mp.scope(function() return later:result() end) end,
                function() return mp.map(math.abs, { -1 })[1] end }
            for _, task in ipairs(tasks) do
                local call = pool:submit(task)
                later = pool:submit(math.abs, -1)
                local ok, e = pcall(call.result, call)
                print(ok, ok and e or e.message:match "mp%.pool: (.*)")
            end
            print(fut:result(), pool:map(math.abs, { -1 })[1])
            pool:close()
            print(pool:join())]], nil, { env = { LUAMP_BACKEND = "serial" } })
        local expected = {}
        for i, name in ipairs { "apply", "submit", "map", "resize", "terminate", "close" } do
            expected[i] = ("false\t%s: a task cannot use the pool that runs it\n"):format(name)
        end
        assert.same({ table.concat(expected) .. ("false\ta task cannot wait for the pool that runs it\n"):rep(2)
            .. "true\t1\n1\t1\ntrue\n", "" }, { run.stdout, run.stderr })
    end)

    it("is interrupted with the task that runs, which has failed then, and goes on", function()
        local run = helper.script_run([[
            local pool = mp.pool(1)
            local function task(i)
                if i == 2 then
                    io.popen("kill -INT " .. mp.getpid()):close()
                    while true do end
                end
                return i
            end
            local a, b, map = pool:submit(task, 2), pool:submit(task, 3), nil
            print(pcall(a.result, a))
            print(pcall(a.result, a, 5))
            print(b:result(5))
            print(pcall(pool.map, pool, task, { 1, 2, 3 }))
            map = pool:map_async(task, { 1, 2, 3 })
            print(pcall(map.result, map))
            print(pcall(map.result, map, 5))
            print(pool:stats().queued, #pool:map(task, { 1, 3 }))
            pool:close()
            print(pool:join(5))]], nil, { env = { LUAMP_BACKEND = "serial" } })
        local interrupted = "false\tinterrupted\n"
        assert.same({ 0, interrupted:rep(2) .. "3\n" .. interrupted:rep(3) .. "0\t2\ntrue\n", "" },
            { run.status, run.stdout, run.stderr })
    end)

    it("is the only other word that is known", function()
        local run = helper.script_run("mp.pool(1)", nil, { env = { LUAMP_BACKEND = "threads" } })
        assert.equal(1, run.status)
        assert.matches("LUAMP_BACKEND must be 'serial' or 'process', not 'threads'", run.stderr, 1, true)
        assert.equal(0, helper.script_run("mp.pool(1)", nil, { env = { LUAMP_BACKEND = "" } }).status)
    end)
end)
