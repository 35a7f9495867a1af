-- pool_spec.lua: mp.pool: its options, its workers and their turns, its end. What its calls give is in
-- pool_calls_spec and pool_tasks_spec, futures are in future_spec.
local helper = require "spec.helper"
local pools = require "spec.pools"
local mp = require "luamp"

local misuse, fails = helper.misuse, helper.fails
local with_pool, drained, numbers, failure = pools.with, pools.drained, pools.numbers, pools.failure
local await_end, pids_of = pools.await_end, pools.pids_of

local function square(x) return x * x end

-- What one task of a new pool gives that runs f.
local function in_worker(given, f, ...)
    local pool <close> = mp.pool(given)
    return pool:apply(f, ...)
end

-- Runs a script; what it writes to each stream.
local function script(text, env)
    local run = helper.script_run(text, nil, { env = env })
    return run.stdout, run.stderr, run.status
end

describe("mp.pool", function()
    it("has so many workers, by a number or an option", function()
        for _, given in ipairs { 3, { workers = 3 }, { workers = 3.0 } } do
            with_pool(given, function(pool)
                local workers = pool:stats().workers
                assert.equal(3, #workers)
                for i, w in ipairs(workers) do
                    assert.same({ i, "idle", 0 }, { w.id, w.state, w.tasks })
                    assert.is_true(helper.alive(w.pid) and w.pid ~= mp.getpid())
                end
                assert.matches("^mp.pool: 0x%x+ %(3 workers, open%)$", tostring(pool))
            end)
        end
    end)

    it("has as many as there are CPUs, or a part of those, rounded up", function()
        helper.needs_one_host "counts the CPUs of one host"
        local cpus = mp.cpu_count()
        for part, n in pairs { ["50%"] = (cpus + 1) // 2, ["1%"] = 1, ["100%"] = cpus, ["250%"] = (5 * cpus + 1) // 2,
            ["33.4%"] = math.ceil(cpus * 0.334) } do
            with_pool(part, function(pool) assert.equal(n, #pool:stats().workers) end)
            with_pool({ workers = part }, function(pool) assert.equal(n, #pool:stats().workers) end)
        end
        with_pool(nil, function(pool) assert.equal(cpus, #pool:stats().workers) end)
        with_pool({}, function(pool) assert.equal(cpus, #pool:stats().workers) end)
        local out = script("local pool <close> = mp.pool() print(#pool:stats().workers)", { LUAMP_CPUS = "1" })
        assert.equal("1\n", out)
    end)

    it("is made by any start method after package.loaded was emptied, as busted does between files", function()
        local out, err = script [[
            for _, method in ipairs { "spawn", "forkserver", "fork" } do
                for _ = 1, 2 do
                    local pool <close> = mp.pool { workers = 1, start_method = method }
                    print(pool:apply(math.abs, -3))
                    for name in pairs(package.loaded) do
                        if name:find "^luamp%." then package.loaded[name] = nil end
                    end
                end
            end]]
        assert.same({ ("3\n"):rep(6), "" }, { out, err })
    end)

    it("returns when they are up: init has run in each", function()
        helper.needs_one_host "shares a queue with its tasks"
        local up = mp.queue()
        with_pool({ workers = 3, init = function(q) mp.sleep(0.1) q:put(mp.worker.id) end, initargs = { up } },
            function()
                local ids = drained(up)
                table.sort(ids)
                assert.same({ 1, 2, 3 }, ids)
            end)
    end)

    it("does no worse than its tasks one after the other: each task is run once", function()
        helper.needs_one_host "shares a queue with its tasks"
        with_pool(2, function(pool)
            local seen = mp.queue()
            pool:each(function(x) seen:put(x) end, numbers(500))
            local list = drained(seen)
            table.sort(list)
            assert.same(numbers(500), list)
        end)
    end)

    it("names misuse at the caller's line", function()
        local count = "mp.pool: the number of workers must be an integer from 1 to 4096, or a part of the CPUs as "
            .. [["50%", not ]]
        misuse(count .. "0", function() mp.pool(0) end)
        misuse(count .. "-1", function() mp.pool { workers = -1 } end)
        misuse(count .. "1.5", function() mp.pool(1.5) end)
        misuse(count .. 'the string "many"', function() mp.pool "many" end)
        misuse(count .. 'the string "0%"', function() mp.pool "0%" end)
        misuse(count .. 'the string "-50%"', function() mp.pool "-50%" end)
        misuse(count .. "true", function() mp.pool(true) end)
        misuse("mp.pool: unknown option 'worker' (did you mean 'workers'?)", function() mp.pool { worker = 1 } end)
        misuse("mp.pool: option 'init' must be a function, not 1", function() mp.pool { init = 1 } end)
        misuse("mp.pool: option 'initargs' must be a table", function() mp.pool { initargs = 1 } end)
        misuse("mp.pool: option 'max_tasks' must be an integer from 1 on, not 0",
            function() mp.pool { max_tasks = 0 } end)
        misuse("mp.pool: option 'max_rss' must be a number of bytes", function() mp.pool { max_rss = "big" } end)
        misuse("mp.pool: option 'timeout' must be a number of seconds above 0", function() mp.pool { timeout = 0 } end)
        misuse("mp.pool: option 'retries' must be a count or a table", function() mp.pool { retries = true } end)
        misuse("mp.pool: retries: unknown option 'wen' (did you mean 'when'?)",
            function() mp.pool { retries = { wen = print } } end)
        misuse("mp.pool: option 'seed' must be an integer", function() mp.pool { seed = 0.5 } end)
        misuse("mp.pool: it is called with a dot, and not as mp:pool", function() mp:pool(2) end) -- luacheck: ignore
        misuse("mp.pool: expected a number of workers or a table of options, and nothing else",
            function() mp.pool(2, print) end)
        misuse("mp.pool: option 'nice' must be an integer", function() mp.pool { workers = 1, nice = "much" } end)
        misuse("mp.pool: option 'nice' must be a number from -40", function() mp.pool { workers = 1, nice = 100 } end)
        misuse("mp.pool: option 'limits': unknown limit 'memry'", function() mp.pool { limits = { memry = 1 } } end)
        misuse("mp.pool: option 'limits': memory must be", function() mp.pool { limits = { memory = "big" } } end)
        misuse("mp.pool: option 'cpus' must name at least one CPU", function() mp.pool { cpus = {} } end)
        misuse("mp.pool: option 'cpus' must be a list of numbers", function() mp.pool { cpus = { "all" } } end)
        misuse("mp.pool: option 'env': the value of 'A' must be", function() mp.pool { env = { A = 1 } } end)
        misuse("mp.pool: option 'name' must have no control", function() mp.pool { name = "a\nb" } end)
        misuse("mp.pool: unknown start method 'frok'", function() mp.pool { start_method = "frok" } end)
        misuse("mp.map: option 'nice' must be a number", function() mp.map(math.abs, { 1 }, { nice = 100 }) end)
    end)

    it("has read-only fields", function()
        with_pool(1, function(pool)
            misuse("workers", function() pool.workers = 2 end)
            assert.is_nil(pool.workers)
        end)
    end)

    it("raises what keeps its workers from starting, and leaves none", function()
        local e = fails("cpu", mp.pool, { workers = 2, cpus = { 100000 } })
        assert.is_string(e)
        assert.same({}, mp.active_children())
    end)

    it("raises at the call when there are too few descriptors", function()
        local path = helper.script [[
            local mp = require "luamp"
            local ok, e = pcall(mp.pool, 100)
            print(ok, (tostring(e):match "Too many open files"), #mp.active_children())]]
        local run = helper.run(("ulimit -n 64; exec %s %s"):format(helper.host, path))
        assert.equal("false\tToo many open files\t0\n", run.stdout)
    end)
end)

describe("init", function()
    it("gets its arguments, also nil, and makes what tasks use", function()
        assert.equal("3 1 nil 3", in_worker({ workers = 1, initargs = { 1, nil, 3, n = 3 }, init = function(...)
            mp.worker.made = ("%d %s %s %s"):format(select("#", ...), ...)
        end }, function() return mp.worker.made end))
    end)

    local ends = {
        ["an error"] = { function() error { code = 7 } end, { kind = "error" } },
        ["os.exit"] = { function() os.exit(3) end, { kind = "exit", exitcode = 3 } },
        ["a signal"] = { function() os.execute("kill -KILL " .. mp.getpid()) mp.sleep(60) end,
            { kind = "signal", signal = "SIGKILL" } },
    }
    for how, case in pairs(ends) do
        it("that ends by " .. how .. " raises its error object from the constructor", function()
            local e = failure(case[2], mp.pool, { workers = 3, init = case[1] })
            assert.matches("^worker%.%d$", e.process)
            if e.kind == "error" then
                assert.equal(7, e.value.code)
                assert.matches("pool_spec.lua:%d+: in ", e.traceback)
            end
            assert.same({}, mp.active_children())
        end)
    end

    it("that fails in one of several raises that", function()
        local e = failure({ kind = "error", message = "third" }, mp.pool, { workers = 3, init = function()
            if mp.worker.id == 3 then error("third", 0) end
        end })
        assert.matches("worker%.3$", e.process)
    end)

    it("that fails with more than there is memory for is told with what there is room for", function()
        local out, err = script [[
            mp.memory { limit = "16M" }
            for _, e in ipairs { ("e"):rep(30e6), { ("e"):rep(30e6) } } do
                local ok, e = pcall(mp.pool, { workers = 2, init = function() error(e, 0) end })
                print(ok, e.kind, #e.message, e.message:sub(1, 30))
            end]]
        assert.same({ "false\terror\t1000\t" .. ("e"):rep(30) .. "\n"
            .. "false\terror\t31\t(error object is a table value\n", "" }, { out, err })
    end)

    it("that fails is told once: nothing is on stderr, and mp.NAME raises it, too", function()
        local out, err = script [[
            local given = { workers = 4, init = function() error("it is bad", 0) end }
            local ok, e = pcall(mp.pool, given)
            print(ok, e.message)
            ok, e = pcall(mp.map, print, { 1 }, given)
            print(ok, e.message)]]
        assert.same({ "false\tit is bad\nfalse\tit is bad\n", "" }, { out, err })
    end)
end)

describe("exit", function()
    it("runs in each worker when the pool is closed, and has what init made", function()
        helper.needs_one_host "shares a queue with its tasks"
        local left = mp.queue()
        with_pool({ workers = 3, init = function(q) mp.worker.q = q end, initargs = { left },
            exit = function() mp.worker.q:put(mp.worker.id) end }, function(pool)
            pool:each(square, numbers(10))
            assert.equal(0, #left)
        end)
        local ids = drained(left)
        table.sort(ids)
        assert.same({ 1, 2, 3 }, ids)
    end)

    it("does not run when it is terminated", function()
        helper.needs_one_host "shares a queue with its tasks"
        local left = mp.queue()
        local pool = mp.pool { workers = 2, exit = function() left:put(1) end }
        pool:terminate()
        assert.equal(0, #left)
    end)

    it("runs when a worker is replaced", function()
        helper.needs_one_host "shares a queue with its tasks"
        local left = mp.queue()
        with_pool({ workers = 1, max_tasks = 2, exit = function() left:put(mp.getpid()) end }, function(pool)
            local pids = pool:map(mp.getpid, numbers(4))
            assert.equal(pids[2], left:get(10))
        end)
        assert.is_true(#left >= 1)
    end)
end)

describe("a worker", function()
    it("is replaced after max_tasks, and its number is taken over", function()
        with_pool({ workers = 1, max_tasks = 2 }, function(pool)
            local pids = pool:map(function() return { mp.getpid(), mp.worker.id } end, numbers(6))
            for i = 1, 6 do
                assert.equal(1, pids[i][2])
                assert.equal(pids[(i + 1) // 2 * 2 - 1][1], pids[i][1])
            end
            assert.is_true(pids[1][1] ~= pids[3][1] and pids[3][1] ~= pids[5][1])
            assert.is_true(pool:stats().restarts >= 2)
            assert.is_false(helper.alive(pids[1][1]))
        end)
    end)

    it("is replaced after max_tasks that failed, too", function()
        with_pool({ workers = 1, max_tasks = 1 }, function(pool)
            local _, errors = pool:map(error, { "a", "b" }, { on_error = "collect" })
            assert.not_equal(errors[1].pid, errors[2].pid)
        end)
    end)

    it("that has grown beyond max_rss is replaced between tasks", function()
        if helper.sanitized then pending "memory is not what it seems" end
        with_pool({ workers = 1, max_rss = "200M" }, function(pool)
            local function pid() return mp.getpid() end
            local first = pool:apply(pid)
            assert.equal(first, pool:apply(pid))
            assert.equal(first, pool:apply(function()
                mp.worker.kept = ("x"):rep(300 << 20)
                return mp.getpid()
            end))
            helper.wait_until(function() return pool:apply(pid) ~= first end, "another worker")
            assert.is_true(pool:apply(function() return mp.worker.kept == nil end))
        end)
    end)

    it("that dies without a task is replaced", function()
        with_pool(2, function(pool)
            local pids = pids_of(pool)
            os.execute("kill -KILL " .. pids[1])
            await_end(pids[1])
            helper.wait_until(function() return pids_of(pool)[1] ~= pids[1] end, "another worker")
            assert.equal(20, pool:each(square, numbers(20)))
            assert.same({ pids[2], 1 }, { pids_of(pool)[2], pool:stats().restarts })
        end)
    end)

    it("that is replaced over and over because init fails now breaks the pool, which says why", function()
        local flag = helper.tmpdir() .. "/flag"
        local pool <close> = mp.pool { workers = 1, init = function()
            local file <close> = io.open(flag)
            if file then error("init fails now", 0) end
        end }
        helper.write(flag, "")
        failure({ kind = "exit" }, pool.map, pool, os.exit, { 1 })
        local e = helper.wait_until(function()
            local ok, e = pcall(pool.apply, pool, square, 2)
            return not ok and tostring(e):find "init fails now" and e
        end, "an error that says why")
        assert.is_true(mp.is_error(e))
    end)

    it("has its name, environment, nice value, and start method", function()
        local function about()
            local stat = io.open "/proc/self/stat":read "a"
            local words = {}
            for word in stat:match "%) (.*)":gmatch "%S+" do words[#words + 1] = word end
            return mp.current_process().name, os.getenv "POOL_WORD", math.tointeger(tonumber(words[17]))
        end
        local own = select(3, about())
        assert.same({ "crunch.1", "there", math.min(19, own + 3) },
            { in_worker({ workers = 1, name = "crunch", env = { POOL_WORD = "there" }, nice = 3 }, about) })
        assert.equal("worker.1", (in_worker(1, about)))
    end)

    it("has its CPUs and limits", function()
        local mine = math.tointeger(io.open "/proc/self/status":read "a":match "Cpus_allowed_list:%s*(%d+)")
        assert.equal(1, in_worker({ workers = 1, cpus = { mine } }, mp.cpu_count))
        if helper.sanitized then return end
        local pool <close> = mp.pool { workers = 1, limits = { memory = "64M" } }
        local e = failure({ kind = "error" }, pool.apply, pool, string.rep, "x", 200 << 20)
        assert.matches("not enough memory", e.message)
        assert.equal(4, pool:apply(square, 2))
    end)

    it("knows itself and its task by mp.worker, which is nil elsewhere", function()
        assert.is_nil(mp.worker)
        with_pool(2, function(pool)
            local seen = pool:map(function() return { mp.worker.id, mp.worker.task, mp.worker.attempt } end, numbers(9))
            for i, w in ipairs(seen) do
                assert.is_true(w[1] == 1 or w[1] == 2)
                assert.same({ i, 1 }, { w[2], w[3] })
            end
        end)
        assert.is_nil(mp.worker)
    end)

    it("keeps what a task put into mp.worker", function()
        with_pool(1, function(pool)
            pool:apply(function() mp.worker.cache = { 7 } end)
            assert.equal(7, pool:apply(function() return mp.worker.cache[1] end))
        end)
    end)
end)

describe("random numbers with a seed", function()
    local function draw(_, x) return math.random(0) ~ (x or 0) end

    -- What two calls, a reduction and some single tasks draw.
    local function drawn(given)
        local pool <close> = mp.pool(given)
        local list = { pool:map(draw, numbers(7)), pool:map(draw, numbers(7), { chunksize = 3 }),
            pool:reduce(draw, numbers(30), 0, function(a, b) return a * 3 ~ b end), {} }
        for i = 1, 4 do list[4][i] = pool:submit(draw) end
        list[4] = mp.all(list[4])
        return list
    end

    it("are the same for any number of workers, and differ by seed, call and index", function()
        local one = drawn { workers = 1, seed = 42 }
        assert.same(one, drawn { workers = 3, seed = 42 })
        assert.same(one, drawn { workers = 2, seed = 42, max_tasks = 2 })
        local seen = {}
        for _, list in ipairs { one[1], one[2], one[4], drawn({ workers = 1, seed = 43 })[1] } do
            for _, x in ipairs(list) do
                assert.is_nil(seen[x])
                seen[x] = true
            end
        end
    end)

    it("are the same in a further run of the task", function()
        helper.needs_one_host "shares a queue with its tasks"
        local f = function(q)
            q:put(math.random(0))
            if mp.worker.attempt == 1 then error "again" end
        end
        local q = mp.queue()
        with_pool({ workers = 2, seed = 1, retries = 1 }, function(pool) pool:apply(f, q) end)
        assert.equal(q:get(0), q:get(0))
    end)

    it("differ from run to run without one", function()
        assert.not_same(drawn { workers = 2 }, drawn { workers = 2 })
        assert.not_equal(in_worker(1, draw), in_worker(1, draw))
    end)

    it("repeat by call and index with mp.seed, also those of what a task starts", function()
        local function run(workers)
            return helper.result_of(function()
                mp.seed(7)
                local first <close> = mp.pool(workers)
                local second <close> = mp.pool(workers)
                local lists = {}
                for i, pool in ipairs { first, second } do
                    lists[i] = pool:map(function()
                        local p <close> = mp.process { target = math.random, args = { 0 } }:start()
                        return math.random(0), p:result()
                    end, { 1, 2, 3 })
                    lists[i + 2] = pool:map(function()
                        return mp.process { target = math.random, args = { 0 } }:start():result()
                    end, { 1, 2, 3 })
                end
                return lists
            end)
        end
        local a = run(1)
        assert.same(a, run(2))
        assert.not_same(a[1], a[2])
        assert.not_same(a[3], a[4])
    end)
end)
