-- statistics_spec.lua: what pool:stats() tells of the workers' time, of the slowest tasks and of errors.
-- What follows from it in words is advice_spec.lua's.
local helper = require "spec.helper"
local pools = require "spec.pools"
local core = require "luamp.core"
local mp = require "luamp"

local with_pool, numbers = pools.with, pools.numbers

local MIB = 1 << 20

-- Uses so many seconds of CPU time.
local function spin(s)
    local until_then = os.clock() + s
    while os.clock() < until_then do end
end

local function sum(w)
    return w.start + w.init + w.wait + w.work + w.send
end

-- That of the slowest tasks which has that number.
local function slow(stats, task)
    for _, s in ipairs(stats.slowest) do
        if s.task == task then return s end
    end
end

local function between(low, value, high)
    assert.is_true(low <= value and value <= high, ("%s <= %s <= %s"):format(low, value, high))
end

describe("a worker's time", function()
    it("is all accounted for, from its start on", function()
        local before = mp.clock()
        with_pool({ workers = 2, init = function() spin(0.03) end }, function(pool)
            local up = mp.clock()
            pool:map(spin, { 0.03, 0.03, 0.03, 0.03 })
            local asked = mp.clock()
            local stats = pool:stats()
            local now = mp.clock()
            local work, cpu = 0, 0
            for _, w in ipairs(stats.workers) do
                assert.is_true(w.start > 0 and w.init >= 0.029 and w.wait >= 0 and w.send >= 0)
                between(asked - up, sum(w), now - before)
                work, cpu = work + w.work, cpu + w.cpu
            end
            between(0.119, work, 2 * (now - up))
            between(0.17, cpu, 2 * (now - before)) -- with what `init` has used
            between(asked - up, stats.elapsed, now - before)
            between(0, stats.active, stats.elapsed)
        end)
    end)

    it("is a wait while there is nothing to do", function()
        with_pool(1, function(pool)
            pool:map(spin, { 0.01 })
            local first = pool:stats().workers[1]
            mp.sleep(0.1)
            local second = pool:stats().workers[1]
            assert.is_true(second.wait - first.wait >= 0.099)
            assert.same({ first.work, first.send, first.init, first.start },
                { second.work, second.send, second.init, second.start })
        end)
    end)

    it("goes into a task while that runs", function()
        helper.needs_one_host "shares a queue with its tasks"
        with_pool(1, function(pool)
            local gate, begun = mp.queue(), mp.queue()
            local fut = pool:map_async(function()
                begun:put(true)
                return gate:get()
            end, { 1 })
            begun:get()
            local first, at = pool:stats().workers[1], mp.clock()
            mp.sleep(0.05)
            local passed = mp.clock() - at
            local second = pool:stats().workers[1]
            assert.is_true(second.work - first.work >= passed)
            assert.same({ "busy", first.wait }, { second.state, second.wait })
            gate:put "on"
            fut:result()
        end)
    end)

    it("goes into sending, of large items, functions and results, whose bytes are counted", function()
        for what, send in pairs {
            item = function(pool, text) return pool:map(function(s) return #s end, { text }), 1, 0 end,
            ["function"] = function(pool, text) return pool:map(function() return #text end, { 1 }), 1, 0 end,
            result = function(pool, text) return pool:map(function(n) return ("x"):rep(n) end, { #text }), 0, 1 end,
        } do
            with_pool(1, function(pool)
                pool:map(math.abs, { 1 })
                local before = pool:stats()
                local _, given, returned = send(pool, ("x"):rep(16 * MIB))
                local after = pool:stats()
                local w, v = after.workers[1], before.workers[1]
                between(given * 16 * MIB, after.given - before.given, given * 16 * MIB + 10000)
                between(returned * 16 * MIB, after.returned - before.returned, returned * 16 * MIB + 10000)
                assert.is_true(w.send - v.send > 0.0005, what) -- 32 GB/s
            end)
        end
    end)

    it("takes no look at the clock of its own for what is small", function()
        with_pool(1, function(pool)
            pool:apply(math.abs, 1) -- the function was sent, once
            local before = pool:stats().workers[1]
            for i = 1, 1000 do pool:submit(math.abs, i) end
            helper.wait_until(function() return pool:stats().done == 1001 end, "the end of all")
            local after = pool:stats().workers[1]
            assert.same({ before.send, 1001 }, { after.send, after.tasks })
            assert.is_true(after.work > before.work)
        end)
    end)

    it("costs less than 0.2 us of CPU time for each task", function()
        if os.getenv "LUAMP_SANITIZE" and os.getenv "LUAMP_SANITIZE" ~= "" then return end
        local path = helper.tmpdir() .. "/times"
        local made = helper.run("cc -std=gnu11 -D_GNU_SOURCE -O2 -Isrc -o " .. path
            .. " spec/engine/times.c src/engine/times.c src/engine/sys.c -lm")
        assert.equal(0, made.status, made.stderr)
        local run = helper.run(path)
        assert.equal(0, run.status, run.stderr)
        local batch, alone, least = run.stdout:match "^(%S+) (%S+) (%S+)\n$"
        assert.is_true(tonumber(batch) < 200 and tonumber(alone) < 200, run.stdout)
        assert.is_true(tonumber(least) > 0, run.stdout)
    end)
end)

describe("a worker's process", function()
    it("has its peak of memory told, also when it has given that back", function()
        with_pool(2, function(pool)
            local function take() return #("x"):rep(64 * MIB) end
            pool:map(function(n)
                if n == 2 then return end
                take()
                collectgarbage()
            end, { 1, 2 })
            local peaks = {}
            for i, w in ipairs(pool:stats().workers) do peaks[i] = w.rss end
            assert.is_true(math.max(peaks[1], peaks[2]) >= 64 * MIB)
            assert.is_true(math.abs(peaks[1] - peaks[2]) >= 48 * MIB)
        end)
    end)

    it("has its figures go on in those of the next one, however it dies", function()
        with_pool(1, function(pool)
            pool:map(function(n)
                mp.worker.kept = ("x"):rep(n)
                spin(0.05)
            end, { 48 * MIB })
            local first = pool:stats().workers[1]
            local _, errors = pool:map(function()
                spin(0.05)
                os.execute("kill -KILL " .. mp.getpid())
            end, { "lost" }, { on_error = "collect" })
            assert.equal("signal", errors[1].kind)
            helper.wait_until(function()
                local w = pool:stats().workers[1]
                return w.pid and w.pid ~= first.pid and w.start > first.start
            end, "the next worker")
            local second = pool:stats()
            local w = second.workers[1]
            assert.is_true(w.work >= first.work + 0.049 and w.cpu >= first.cpu + 0.045 and w.rss >= first.rss)
            assert.is_true(w.rss >= 48 * MIB)
            assert.equal(1, second.restarts)
            local lost = slow(second, 1)
            assert.is_true(lost ~= nil)
        end)
    end)

    it("has its figures stand when it was let go", function()
        local pool = mp.pool(2)
        pool:map(spin, { 0.02, 0.02, 0.02 })
        local before = pool:stats()
        pool:close()
        pool:join()
        local after = pool:stats()
        local elapsed = after.elapsed
        for i, w in ipairs(after.workers) do
            local v = before.workers[i]
            assert.same({ v.work, v.tasks, v.init, "idle" }, { w.work, w.tasks, w.init, w.state })
            assert.is_nil(w.pid)
            assert.is_true(w.cpu >= v.cpu and w.rss >= MIB and w.wait >= v.wait)
        end
        assert.equal(#before.slowest, #after.slowest)
        assert.same({ elapsed, before.done }, { pool:stats().elapsed, pool:stats().done })
    end)
end)

describe("the slowest tasks", function()
    it("are told with their inputs, the slowest first, whether tasks go together or not", function()
        for _, chunksize in ipairs { 1, 100 } do
            with_pool(2, function(pool)
                local function f(item)
                    if item.wait then mp.sleep(item.wait) end
                end
                local list = {}
                for i = 1, 300 do list[i] = { name = "image " .. i } end
                list[217].wait = 0.4
                pool:map(f, list, { chunksize = chunksize })
                local stats = pool:stats()
                assert.equal(5, #stats.slowest)
                for i = 2, 5 do assert.is_true(stats.slowest[i - 1].seconds >= stats.slowest[i].seconds) end
                local found = slow(stats, 217)
                local info = debug.getinfo(f, "S")
                assert.is_true(found.seconds >= 0.4 and found.seconds <= stats.elapsed)
                assert.is_true(found.began >= 0 and found.began + found.seconds <= stats.elapsed)
                assert.is_true(found.worker == 1 or found.worker == 2)
                assert.same({ "pool:map", info.short_src .. ":" .. info.linedefined, 1 },
                    { found.call, found.f, found.attempt })
                assert.is_true(found.input == [[{name="image 217", wait=0.4}]]
                    or found.input == [[{wait=0.4, name="image 217"}]], found.input)
            end)
        end
    end)

    it("are of any call, one that failed and a further run as well", function()
        with_pool(1, function(pool)
            pcall(pool.starmap, pool, function(s) mp.sleep(s) error "late" end, { { 0.25, "slow", true } })
            pool:submit({ target = function(s)
                mp.sleep(s)
                if mp.worker.attempt == 1 then error "again" end
            end, args = { 0.15, { 1, 2 } }, retries = 1 }):result()
            pool:reduce(function(a, b) mp.sleep(b) return a + b end, { 0, 0, 0.2 }, 0, nil, { chunksize = 2 })
            local stats = pool:stats()
            local told = {}
            for i, s in ipairs(stats.slowest) do
                told[i] = ("%s %d %d %s"):format(s.call, s.task, s.attempt, s.input)
            end
            table.sort(told)
            assert.same({ [[pool:reduce 3 1 0, {0.2, n=1}]], [[pool:starmap 1 1 {0.25, "slow", true}]],
                [[pool:submit 1 1 0.15, {1, 2}]], [[pool:submit 1 2 0.15, {1, 2}]] },
                { table.unpack(told, #told - 3) })
        end)
    end)

    it("are told of one that ran over its time, which has cost its worker", function()
        with_pool(2, function(pool)
            local _, errors = pool:map(mp.sleep, { 60, 0 }, { timeout = 0.2, on_error = "collect" })
            assert.equal("timeout", errors[1].kind)
            local found = slow(pool:stats(), 1)
            assert.same({ "60", true }, { found.input, found.seconds >= 0.199 })
        end)
    end)

    it("are those of a call long past, when there were many since", function()
        with_pool(1, function(pool)
            pool:map(function(_, s) mp.sleep(s or 0.3) end, { "first" })
            for i = 1, 1100 do pool:map(math.abs, { i }) end
            local found = pool:stats().slowest[1]
            assert.same({ "pool:map", [["first"]] }, { found.call, found.input })
            assert.is_truthy(found.f)
        end)
    end)
end)

describe("a glimpse of values", function()
    local function glimpse(...)
        return core.board.glimpse(assert(core.encode(...)))
    end

    it("is what they are written like in Lua, as far as there is room", function()
        local function f() return helper end
        for _, case in ipairs {
            { "nil, true, false", nil, true, false },
            { "0, -1, 127, 128, -40000, 70000, 9223372036854775807", 0, -1, 127, 128, -40000, 70000, math.maxinteger },
            { "0.5, -2.0, inf, 1e+100", 0.5, -2.0, math.huge, 1e100 },
            { [["", "a\"b\\", "\010\000x"]], "", 'a"b\\', "\n\0x" },
            { ('"%s"... (1048576 bytes)'):format(("x"):rep(40)), ("x"):rep(MIB) },
            { ('"%s"... (200 bytes)'):format(("é"):rep(20)), ("é"):rep(100) },
            { ('"a%s"... (201 bytes)'):format(("é"):rep(19)), "a" .. ("é"):rep(100) },
            { "{}, {1, 2, {3}}", {}, { 1, 2, { 3 } } },
            { "{a=1}, {[\"a b\"]=1}, {[2]=1}, {[true]=1}", { a = 1 }, { ["a b"] = 1 }, { [2] = 1 }, { [true] = 1 } },
            { "{1, n=3}", { 1, n = 3 } },
            { "function, 1", f, 1 },
            { "(by name), 2", string.rep, 2 },
            { "{x=1}, 3", setmetatable({ x = 1 }, { __index = { y = 2 } }), 3 },
        } do
            assert.equal(case[1], glimpse(table.unpack(case, 2, #case)))
        end
        local t = {}
        assert.equal("{}, (as before)", glimpse(t, t))
        assert.equal("(shared)", glimpse(mp.value "int8"))
        assert.equal("...", glimpse(setmetatable({}, { __mp_send = function() return tostring, 1 end })))
        assert.matches("^{1, 2, 3, .*, %d+, %.%.%.$", glimpse(numbers(1000)))
        assert.is_true(#glimpse(numbers(1000)) <= 95)
        assert.matches("%.%.%.$", glimpse(("{"):rep(30), ("x"):rep(30), ("y"):rep(30), ("z"):rep(30)))
    end)

    it("takes no more time for what is large or deep", function()
        local deep = {}
        for _ = 1, 1000 do deep = { deep } end
        assert.equal("{{{{{{{{...", glimpse(deep))
        local list = core.encode(numbers(300000))
        local before = os.clock()
        for _ = 1, 100 do core.board.glimpse(list) end
        assert.is_true(os.clock() - before < 0.02)
    end)

    it("of bytes that are no message is some text", function()
        local messages = { core.encode(1, "two", { 3, four = { 5.5 } }, function() return helper end),
            core.encode(("x"):rep(300), setmetatable({}, { x = 1 }), string.rep, { {} }) }
        for _, whole in ipairs(messages) do
            for n = 0, #whole do assert.is_true(#core.board.glimpse(whole:sub(1, n)) < 96) end
            for _ = 1, 1000 do
                local at = math.random(#whole)
                local text = core.board.glimpse(whole:sub(1, at - 1) .. string.char(math.random(0, 255))
                    .. whole:sub(at + 1))
                assert.is_true(#text < 96)
            end
        end
    end)
end)

describe("errors", function()
    it("are counted by their messages, whatever numbers are in these", function()
        with_pool(2, function(pool)
            local info = debug.getinfo(1, "Sl")
            local place = info.short_src .. ":" .. info.currentline + 3
            local function f(i)
                if i % 2 == 0 then error("bad pixel " .. i) end
                if i % 5 == 0 then error("no file", 0) end
                if i == 7 then error({ code = 3 }) end
                return i
            end
            pool:map(f, numbers(20), { on_error = "collect" })
            local errors = pool:stats().errors
            assert.equal(3, #errors)
            local first, second, third = errors[1], errors[2], errors[3]
            assert.same({ place .. ": bad pixel #", 10, "error", "pool:map", 0 },
                { first.message, first.count, first.kind, first.call, first.task % 2 })
            assert.same({ "no file", 2, true }, { second.message, second.count, second.task == 5 or second.task == 15 })
            assert.same({ 1, 7, 1 }, { third.count, third.task, third.attempt })
            assert.is_true(first.worker == 1 or first.worker == 2)
        end)
    end)

    it("of one message keep it, and those of different lines are different", function()
        with_pool(1, function(pool)
            local function f(i)
                if i > 2 then error "x 1" end
                error "x 1"
            end
            pool:map(f, numbers(3), { on_error = "collect" })
            local errors = pool:stats().errors
            assert.same({ 2, 1 }, { errors[1].count, errors[2].count })
            assert.matches(":%d+: x 1$", errors[1].message)
            assert.matches(":%d+: x 1$", errors[2].message)
        end)
    end)

    it("count each run, of further ones as well, what was killed, and what cannot be sent", function()
        with_pool(1, function(pool)
            pcall(pool.map, pool, function() error("once more", 0) end, { 1 }, { retries = 2 })
            pool:map(math.abs, { 1, coroutine.create(print), print and io.stdout }, { on_error = "collect" })
            for _ = 1, 2 do
                pcall(pool.apply, pool, function() os.execute("kill -KILL " .. mp.getpid()) end)
                pcall(pool.apply, pool, print, coroutine.create(print))
            end
            local counts = {}
            for _, e in ipairs(pool:stats().errors) do counts[e.kind .. " " .. e.message] = e.count end
            local thread = "it is a coroutine; send what it yields or returns instead"
            assert.same({ ["error once more"] = 3, ["unsendable pool:map: task 2: cannot send item: " .. thread] = 1,
                ["unsendable pool:map: task 3: cannot send item: it is an open file; send what it was made from, or "
                    .. "open it in the process that uses it"] = 1,
                ["unsendable pool:apply: cannot send argument 1: " .. thread] = 2,
                ["signal task # of pool:apply, in worker # was lost: process 'worker.#' (pid #) was killed by SIGKILL"]
                    = 2 }, counts)
        end)
    end)

    it("are kept of a hundred messages", function()
        with_pool(1, function(pool)
            pool:map(function(s) error(s, 0) end, (function()
                local list = {}
                for i = 1, 150 do list[i] = ("x"):rep(i) end
                return list
            end)(), { on_error = "collect" })
            local errors = pool:stats().errors
            assert.same({ 101, "other messages", 50 }, { #errors, errors[1].message, errors[1].count })
        end)
    end)
end)

describe("the figures of a pool", function()
    -- The kinds of all fields.
    local script = [[
        local function spin(s) local t = os.clock() + s while os.clock() < t do end end
        local pool = mp.pool { workers = 1, init = function() spin(0.01) end }
        pool:map(function(item) if item.bad then error "bad" end spin(0.005) return ("x"):rep(1000) end,
            { { n = 1 }, { n = 2, bad = true } }, { on_error = "collect" })
        pool:apply(math.abs, 1)
        local function kinds(t)
            local list = {}
            for key, value in pairs(t) do
                local kind = type(value)
                if kind == "table" and key ~= "advice" then kind = value[1] and kinds(value[1]) or "list" end
                list[#list + 1] = key .. ":" .. kind
            end
            table.sort(list)
            return "{" .. table.concat(list, " ") .. "}"
        end
        local s = pool:stats()
        print(kinds(s))
        local w, e, slow = s.workers[1], s.errors[1], nil
        for _, one in ipairs(s.slowest) do
            if one.task == 1 and one.call == "pool:map" then slow = one end
        end
        print(w.init >= 0.0099, w.work >= 0.0049, w.cpu >= 0.0149, w.rss > 1e6, w.tasks, s.given > 20,
            s.returned > 1000, e.count, e.message, e.task, e.call, #s.slowest, slow.input, slow.task, slow.call,
            slow.seconds >= 0.0049, tostring(s):match "^(.-), in")
        pool:close()
        print(pool:join(), kinds(pool:stats()) == kinds(s):gsub(" pid:number", ""))]]

    it("are the same where tasks run in the script's own process", function()
        local function run(backend)
            local done = helper.script_run(script, nil, { env = { LUAMP_BACKEND = backend } })
            assert.same({ 0, "" }, { done.status, done.stderr })
            return (done.stdout:gsub("%S*/script%-%d+", "script"))
        end
        local apart = run(false)
        assert.matches("errors:{attempt:number call:string count:number kind:string", apart)
        assert.matches("workers:{cpu:number delay:number id:number init:number pid:number rss:number send:number "
            .. "start:number state:string tasks:number wait:number work:number}", apart)
        assert.matches("true\ttrue\ttrue\ttrue\t3\ttrue\ttrue\t1\t", apart)
        assert.matches("\ntrue\ttrue\n$", apart)
        local serial = run "serial" -- whose one worker is not gone when its pool is
        assert.equal((apart:gsub("true\n$", "")), (serial:gsub("false\n$", "")))
    end)

    it("print as a report, and do so in another process that was sent them", function()
        with_pool(2, function(pool)
            pool:map(function(i) if i == 3 then error "bad" end spin(0.01) end, numbers(4), { on_error = "collect" })
            local stats = pool:stats()
            local report = tostring(stats)
            local w = stats.workers[2]
            assert.matches("^2 workers, 3 tasks done, 1 failed, in .*; there was something to do for .*, and workers "
                .. "were busy for %d+ %% of that\n", report)
            assert.is_truthy(report:find(("\n     2 %9d %9.3f"):format(w.tasks, w.start), 1, true), report)
            assert.matches("\n   all         4 ", report)
            assert.matches("\nslowest tasks\n +%S+ [mun]?s  pool:map task %d, worker %d: %d %(%S*spec/", report)
            assert.matches("\nerrors\n         1  %S*spec/statistics_spec.lua:%d+: bad %(pool:map task 3, worker %d%)",
                report)
            assert.equal("\n", report:sub(-1) == "\n" and "" or "\n")
            local received = helper.result_of(function() return tostring(stats) end)
            assert.equal(report, received)
        end)
    end)

    it("do not grow with the number of calls, and leave nothing behind", function()
        with_pool(2, function(pool)
            local function used()
                collectgarbage()
                collectgarbage()
                return collectgarbage "count"
            end
            local function call(n)
                for _ = 1, n do
                    pool:map(math.abs, { 1 })
                    pool:submit(math.abs, 1):result()
                end
            end
            call(1100)
            local before = used()
            call(1100)
            assert.is_true(used() - before < 100, used() - before)
        end)
    end)
end)
