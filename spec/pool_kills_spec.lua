-- The workers of a pool are killed, stop, leave, and are short of what they need: each task is
-- answered once, and nothing is left. LUAMP_KILLS says how many are killed under the maps, and while idle;
-- LUAMP_SPEC_SEED, which is printed when it fails, makes the same choices again.
local helper = require "spec.helper"
local driver = require "spec.driver"
local mp = require "luamp"

local is_root = helper.run "id -u".stdout == "0\n"
local many = helper.is_everything and helper.host == helper.luamp and not helper.sanitized and helper.method == "fork"
    and 5000 or 1000
local kills = math.tointeger(tonumber(os.getenv "LUAMP_KILLS" or many))
local seed = math.tointeger(tonumber(os.getenv "LUAMP_SPEC_SEED" or os.time()))

-- --- any worker, at any moment ------------------------------------------------------

-- Maps, while a child kills one worker after the other, one for 20 tasks. Each task writes to a log when
-- it begins and when it ends. From that the child knows whom it may kill, and takes nobody twice; and from
-- that and the list of the dead follows what each map must answer.
local under_kills = [[
local mode, kills, seed, dir = arg[1], tonumber(arg[2]), tonumber(arg[3]), arg[4]
local kill, lfs = require "killer", require "lfs"
local WORKERS <const>, TASKS <const> = 8, 2000 -- TASKS: of each map
local READY <const>, BEGUN <const>, ENDED <const> = 0, 1, 2
local record = "<I4I4I4I4" -- pid, task, attempt, one of these

local function check(ok, ...)
    if ok then return end
    io.stderr:write(("seed %d: "):format(seed), string.format(...), "\n")
    os.exit(1)
end

local function tail(name, from)
    local file <close> = io.open(dir .. "/" .. name, "rb")
    if not file then return "" end
    file:seek("set", from)
    return file:read "a"
end

local function n_files()
    local n = 0
    for _ in lfs.dir "/proc/self/fd" do n = n + 1 end
    return n
end

local function usage()
    collectgarbage()
    collectgarbage()
    local words = {}
    for name, kind in pairs(mp.memory().kinds) do
        words[#words + 1] = ("%s %d/%d"):format(name, kind.count, kind.bytes)
    end
    table.sort(words)
    return table.concat(words, ", ")
end

-- --- the tasks, and who kills ---

local function init(path)
    local file = assert(io.open(path, "a"))
    file:setvbuf "no"
    local pid = mp.getpid()
    function mp.worker.note(i, what) file:write(record:pack(pid, i, mp.worker.attempt or 0, what)) end
    mp.worker.note(0, READY)
end

-- What a task gives: of any length from 0 to some thousand bytes, or a number.
local function answer_to(i)
    return i % 3 == 0 and ("%d;"):format(i):rep(i % 400) or i * 3
end

local function work(item)
    local i = type(item) == "table" and item.i or item
    mp.worker.note(i, BEGUN)
    local answer
    for _ = 1, 1 + i % 5 do answer = answer_to(i) end
    mp.worker.note(i, ENDED)
    return answer
end

local function kill_workers()
    math.randomseed(seed)
    local file, at = assert(io.open(dir .. "/dead", "a")), 0
    file:setvbuf "no"
    local alive, list, n, spares_new = {}, {}, 0, false
    repeat
        local due = math.random(2 * 20 * 2) - 1 -- records, of which a task has two
        repeat
            mp.sleep(math.random() ^ 3 * 0.002)
            local text = tail("log", at)
            text = text:sub(1, #text - #text % 16)
            for i = 1, #text, 16 do
                local pid, _, _, what = record:unpack(text, i)
                if what == READY then list[#list + 1] = pid end
                alive[pid] = what
            end
            at, due = at + #text, due - #text // 16
        until due <= 0 and list[1]
        local i = math.random(#list)
        local pid = list[i]
        local is_new = alive[pid] == READY
        if not (is_new and spares_new) then -- some die before they serve, but not one after the other
            table.remove(list, i)
            file:write(("<I4"):pack(pid))
            kill(pid, 9)
            n, spares_new = n + 1, is_new
        end
    until n == kills
end

-- --- what a map must answer ---

local dead, n_dead, at = {}, 0, 0

-- What the log and the list of the dead say of a map, by task: the pids that began it, by attempt; which
-- attempt ended; and which was the last. Of one that was killed at once there is nothing.
local function news()
    local text = tail("dead", 4 * n_dead)
    for i = 1, #text - 3, 4 do
        dead[("<I4"):unpack(text, i)], n_dead = true, n_dead + 1
    end
    text = tail("log", at)
    at = at + #text
    check(#text % 16 == 0, "the log has half a record")
    local begun, ended, last = {}, {}, {}
    for i = 1, #text, 16 do
        local pid, task, attempt, what = record:unpack(text, i)
        if what == BEGUN then
            begun[task] = begun[task] or {}
            check(not begun[task][attempt], "attempt %d of task %d began twice", attempt, task)
            begun[task][attempt], last[task] = pid, math.max(attempt, last[task] or 0)
        elseif what == ENDED then
            ended[task] = attempt
        end
    end
    return begun, ended, last
end

local failed = {} -- pids whose death was the failure of a task

local function check_failure(e, first)
    check(e.kind == "signal" and e.signal == "SIGKILL" and e.exitcode == -9 and e.attempt == 1
        and math.type(e.worker) == "integer" and e.worker >= 1 and e.worker <= WORKERS,
        "a failure is %s: %s", e.kind, tostring(e))
    check(dead[e.pid], "task %d failed by the death of %d, which was not killed", e.task, e.pid)
    check(not failed[e.pid], "the death of %d was the failure of two tasks", e.pid)
    failed[e.pid] = true
    local words = ("task %d of pool:map, in worker %d was lost: process 'worker.%d' (pid %d) was killed by SIGKILL")
        :format(e.task, e.worker, e.worker, e.pid)
    check(e.message == words, "%s\nand not\n%s", e.message, words)
    return first + e.task
end

-- Each task has a result or, without retries, one failure: when its worker died before it had ended.
local function check_map(first, list, failures)
    local begun, ended, final = news()
    local lost, last, n_again = {}, 0, 0
    for _, e in ipairs(failures) do
        check(e.task > last, "task %d is told of after %d", e.task, last)
        last = e.task
        lost[check_failure(e, first)] = e
    end
    for i = first + 1, first + TASKS do
        local answer, e = list[i - first], lost[i]
        check((answer == nil) == (e ~= nil), "task %d is answered %s", i, e and "twice" or "by nothing")
        check(e or answer == answer_to(i), "task %d is answered by another's result", i)
        local pids = begun[i] or {}
        check(e == nil or pids[1] == nil or pids[1] == e.pid, "task %d is lost by another's death", i)
        local n = final[i] or 0
        check(e or n > 0 and ended[i] == n, "task %d has a result, and its attempt %d did not end", i, n)
        check(mode == "retries" or n <= 1, "task %d was begun %d times", i, n)
        for k = 1, n - 1 do check(not pids[k] or dead[pids[k] ], "task %d ran again, and nobody was killed", i) end
        n_again = n_again + math.max(0, n - 1)
    end
    for i in pairs(lost) do check(i > first and i <= first + TASKS, "task %d is not of the map", i) end
    return n_again
end

local function input_of(first)
    local list = {}
    for i = 1, TASKS do
        list[i] = i % 4 == 0 and { i = first + i, text = ("x"):rep(i % 500) } or first + i
    end
    return list
end

local function serve()
    local pool <close> = mp.pool { workers = WORKERS, init = init, initargs = { dir .. "/log" } }
    local options = { on_error = "collect", retries = mode == "retries" and 30 or nil }
    pool:map(print, {})
    local messages = mp.memory().kinds.messages.count
    local killer <close> = mp.process { start_method = "fork", target = kill_workers }:start()
    local n, n_failed, n_again = 0, 0, 0
    repeat
        local list, failures = pool:map(work, input_of(n), options)
        n_again = n_again + check_map(n, list, failures)
        n, n_failed = n + TASKS, n_failed + #failures
    until not killer:is_alive()
    killer:result()
    check(mode ~= "retries" or n_failed == 0, "%d tasks failed, retries and all", n_failed)
    local list = pool:map(work, input_of(n)) -- by those that are left, whom nobody kills
    n_again = n_again + check_map(n, list, {})
    n = n + TASKS
    local deadline = mp.clock() + 10
    while pool:stats().restarts < kills and mp.clock() < deadline do mp.wait({}, 0.01) end
    local stats = pool:stats()
    local told = ("%d done, %d failed, %d retried, %d restarts"):format(stats.done, stats.failed, stats.retried,
        stats.restarts)
    local wanted = ("%d done, %d failed, %d retried, %d restarts"):format(n - n_failed, n_failed, n_again, kills)
    check(told == wanted, "%s, and not %s", told, wanted)
    local left = mp.memory().kinds.messages.count
    check(left == messages, "%d messages are on the board before, and %d after", messages, left)
    print(("%d tasks, %d failed, %d again"):format(n, n_failed, n_again))
end

mp.process { target = function() end }:start():join()
mp.pool(1):terminate()
local memory, files = usage(), n_files()
serve()
check(memory == usage(), "memory: %s before, and %s after", memory, usage())
check(files == n_files(), "%d descriptors before, and %d after", files, n_files())
check(#mp.active_children() == 0, "children are left")
local file <close> = io.open "/proc/self/stat"
print("end", file:read "a":match "%) %a %d+ (%d+)")
]]

describe(("many kills of workers (LUAMP_SPEC_SEED=%d)"):format(seed), function()
    for mode, n_kills in pairs { collect = kills, retries = math.max(1, kills // 5) } do
        it(("under maps: %d, %s"):format(n_kills, mode), function()
            local script = helper.script("local mp = require 'luamp'\n" .. under_kills)
            local result = helper.run(("setsid timeout --foreground %d %s %s %s %d %d %s"):format(100 + n_kills // 10,
                helper.host, script, mode, n_kills, seed, helper.tmpdir()), { env = { LUA_CPATH = helper.killer() } })
            assert.same({ 0, "" }, { result.status, result.stderr })
            local n, failed, again, group = result.stdout:match "^(%d+) tasks, (%d+) failed, (%d+) again\nend\t(%d+)\n$"
            assert.is_true(math.tointeger(n) >= 10 * n_kills, result.stdout)
            assert.is_true(math.tointeger(failed) + math.tointeger(again) > n_kills / 20, result.stdout)
            helper.wait_until(function() return #driver.group(math.tointeger(group)) == 0 end, "the end of all", 0.5)
        end)
    end
end)

-- --- helpers ----------------------------------------------------------------------------

-- A task's own end by that signal: what it is told to do at once.
local function die(signal)
    os.execute(("kill -%s %d"):format(signal, mp.getpid()))
    while true do mp.sleep(1000) end
end

-- What a map of the items 1 to n gives under on_error="collect", of which all but one give themselves;
-- the error object of that one. Another map shows that all workers are there again.
local function one_failure(options, n, failing, f, call_options)
    local pool <close> = mp.pool(options)
    call_options = call_options or {}
    call_options.on_error = "collect"
    local list, failures = pool:map(f, mp.range(1, n), call_options)
    assert.equal(1, #failures)
    for i = 1, n do assert.equal(i ~= failing and i or nil, list[i]) end
    local e = failures[1]
    assert.same({ failing, true }, { e.task, mp.is_error(e) })
    local stats = pool:stats()
    assert.same({ n - 1, 1 }, { stats.done, stats.failed })
    local again = pool:map(f, mp.range(n + 1, 2 * n))
    for i = 1, n do assert.equal(n + i, again[i]) end
    return e, stats
end

-- --- one worker's end -------------------------------------------------------------------

describe("a task whose worker", function()
    it("is killed by it each time fails after the attempts that it is allowed, among 1,000 good ones", function()
        local log = helper.tmpdir() .. "/log"
        local e, stats = one_failure(4, 1001, 500, function(i)
            if i ~= 500 then return i end
            local file <close> = io.open(log, "a")
            file:write(mp.worker.attempt, " ", mp.getpid(), "\n")
            file:flush()
            die "KILL"
        end, { retries = 3 })
        local attempts, pids, last = {}, {}, nil
        for attempt, pid in helper.read(log):gmatch "(%d+) (%d+)\n" do
            assert.is_nil(pids[pid])
            attempts[#attempts + 1], pids[pid], last = attempt, true, math.tointeger(pid)
        end
        assert.same({ "1", "2", "3", "4" }, attempts)
        assert.same({ 4, last, 3 }, { e.attempt, e.pid, stats.retried })
        local words = ("task 500, attempt 4, of pool:map, in worker %d was lost: process 'worker.%d' (pid %d) was "
            .. "killed by SIGKILL"):format(e.worker, e.worker, e.pid)
        assert.same({ "signal", "SIGKILL", -9, words }, { e.kind, e.signal, e.exitcode, e.message })
    end)

    it("is killed fails with what that was: task, worker, process, signal, attempt", function()
        -- A sanitizer reports SIGSEGV itself.
        for signal, code in pairs { SIGKILL = -9, SIGTERM = -15, SIGSEGV = not helper.sanitized and -11 or nil } do
            local dir = helper.tmpdir()
            local e = one_failure({ workers = 2, name = "cook" }, 30, 7, function(i)
                if i ~= 7 then return i end
                local file = io.open(dir .. "/victim", "w")
                file:write(mp.getpid(), " ", mp.worker.id)
                file:close()
                die(signal:sub(4))
            end)
            local pid, id = helper.read(dir .. "/victim"):match "(%d+) (%d+)"
            assert.same({ kind = "signal", signal = signal, exitcode = code, task = 7, attempt = 1,
                pid = math.tointeger(pid), worker = math.tointeger(id), process = "cook." .. id,
                message = ("task 7 of pool:map, in worker %d was lost: process 'cook.%d' (pid %d) was killed by %s")
                    :format(id, id, pid, signal) }, setmetatable(e, nil))
        end
    end)

    it("leaves by os.exit fails with its status, whatever that is", function()
        for given, code in pairs { [3] = 3, [0] = 0, [true] = 0, [false] = 1 } do
            local e = one_failure(2, 30, 7, function(i)
                if i == 7 then os.exit(given, i % 2 == 1) end
                return i
            end)
            assert.same({ "exit", code, 7, 1 }, { e.kind, e.exitcode, e.task, e.attempt })
            assert.equal(("task 7 of pool:map, in worker %d was lost: process 'worker.%d' (pid %d) exited with "
                .. "status %d"):format(e.worker, e.worker, e.pid, code), e.message)
        end
    end)

    it("is stopped is ended by its timeout", function()
        local e = one_failure(2, 30, 7, function(i)
            if i == 7 then die "STOP" end
            return i
        end, { timeout = helper.sanitized and 1 or 0.3 })
        assert.same({ "timeout", 7, 1 }, { e.kind, e.task, e.attempt })
        assert.matches("^task 7 of pool:map, in worker %d ran longer than its timeout of %S+ s$", e.message)
        assert.is_false(helper.alive(e.pid))
    end)

    it("is killed after another one overran there has not overrun", function()
        local pool <close> = mp.pool(1)
        helper.fails({ kind = "timeout" }, pool.map, pool, function() mp.sleep(1000) end, { 1 }, { timeout = 0.1 })
        helper.fails({ kind = "signal", signal = "SIGKILL" }, pool.map, pool, function() die "KILL" end, { 1 },
            { timeout = 1000 })
    end)

    it("is killed for a call that is not wanted any more was not in another call's task", function()
        local pool <close> = mp.pool(2)
        local function work(i)
            for k = 1, 2000 do i = i + k end
            return i
        end
        math.randomseed(seed)
        for round = 1, helper.sanitized and 20 or 200 do
            local unwanted = pool:map_async(work, mp.range(1, 1000))
            local other = pool:map_async(work, mp.range(1, 400), { on_error = "collect" })
            mp.sleep(math.random() * 0.004)
            unwanted:cancel()
            local list, failures = other:result(20)
            assert.same({ 400, 0 }, { #list, #failures }, ("round %d, seed %d"):format(round, seed))
        end
    end)

    it("has no more memory than its limit fails alone, and the worker goes on", function()
        if helper.sanitized then pending "a sanitizer's memory has no limit" end
        local e, stats = one_failure({ workers = 2, limits = { memory = "64M" } }, 30, 7, function(i)
            if i == 7 then return #("x"):rep(200 << 20) end
            return i
        end)
        assert.same({ "error", 7, 1, 0 }, { e.kind, e.task, e.attempt, stats.restarts })
        assert.matches("not enough memory %(limit of 64M%)$", e.message)
    end)
end)

describe("the death of a worker", function()
    -- When the task's death was noticed, in seconds after it; f(pool, task, is_over) maps.
    local function delay_of(f)
        local path = helper.tmpdir() .. "/moment"
        local pool <close> = mp.pool(3)
        local noticed = f(pool, function(i)
            if i ~= 20 then return i end
            local file = io.open(path, "w")
            file:write(mp.clock())
            file:close()
            die "KILL"
        end)
        return noticed - tonumber(helper.read(path))
    end

    it("is noticed within a second while results keep coming", function()
        local delay = delay_of(function(pool, f)
            local ends, i = mp.clock() + 5, 0
            local function more()
                i = i + 1
                return mp.clock() < ends and i or nil
            end
            for _, _, e in pool:imap_unordered(f, more, { on_error = "collect" }) do
                if e then return mp.clock() end
            end
            error "it was not noticed"
        end)
        assert.is_true(delay < 1, delay)
    end)

    it("is noticed within a second while nothing else happens", function()
        local delay = delay_of(function(pool, f)
            helper.fails({ kind = "signal" }, pool.apply, pool, f, 20)
            return mp.clock()
        end)
        assert.is_true(delay < 1, delay)
    end)

    local idle_kills = os.getenv "LUAMP_KILLS" and kills or helper.sanitized and 200 or 1000

    it(("that is idle is noticed by no call: %d of them"):format(idle_kills), function()
        local n = 8
        local marks = helper.tmpdir() .. "/marks" -- a byte for each that is up
        local pool <close> = mp.pool { workers = n, init = function()
            local file <close> = io.open(marks, "a")
            file:write "."
        end }
        local function square(i) return i * i end
        local killed, round = 0, 0
        local function are_up()
            pool:stats()
            return #helper.read(marks) == n + killed
        end
        repeat
            round = round + 1
            local pids = {}
            helper.wait_until(are_up, "all workers")
            for i, w in ipairs(pool:stats().workers) do
                assert.equal("idle", w.state)
                pids[i] = (i < n or round % 2 == 0) and i <= idle_kills - killed and w.pid or nil
            end
            assert(os.execute("kill -KILL " .. table.concat(pids, " ")))
            killed = killed + #pids
            if round % 3 == 0 then pool:map(square, { 1 }) end
            for i, result in ipairs(pool:map(square, mp.range(1, 24))) do assert.equal(i * i, result) end
        until killed == idle_kills
        helper.wait_until(are_up, "all workers")
        local stats = pool:stats()
        assert.same({ 0, 0, idle_kills }, { stats.failed, stats.retried, stats.restarts })
    end)
end)

describe("workers that end before they serve", function()
    it("end the making of the pool, with the reason: with an init the first one does", function()
        local path = helper.tmpdir() .. "/tries"
        for _, case in ipairs {
            { function() die "KILL" end, { kind = "signal", signal = "SIGKILL", exitcode = -9 } },
            { function() os.exit(4) end, { kind = "exit", exitcode = 4 } },
            { function() os.exit(0) end, { kind = "exit", exitcode = 0 } },
        } do
            local function init()
                local file <close> = io.open(path, "a")
                file:write(mp.worker.id)
                file:flush()
                case[1]()
            end
            helper.write(path, "")
            local e = helper.fails(case[2], mp.pool, { workers = 2, init = init })
            assert.is_true(mp.is_error(e))
            assert.matches("^a worker has ended before it served: process 'worker%.%d' %(pid %d+%) ", e.message)
            local tries = helper.read(path) -- by each worker one, at most
            assert.is_true(#tries == 1 or tries == "12" or tries == "21", tries)
        end
    end)

    it("later end the pool and all that it has, with the reason", function()
        local dir = helper.tmpdir()
        local pool <close> = mp.pool { workers = 2, init = function()
            local file = io.open(dir .. "/mark")
            if file then os.exit(5) end
        end }
        assert.equal(4, pool:apply(function(i) return i * i end, 2))
        local beside = pool:submit(function() mp.sleep(1000) end)
        local e = helper.fails({ kind = "exit", exitcode = 5 }, pool.map, pool, function()
            io.open(dir .. "/mark", "w"):close()
            os.exit(3)
        end, mp.range(1, 100), { on_error = "collect", retries = 1000 })
        assert.matches("^8 workers have ended within 60 s before they served: ", e.message)
        helper.fails({ kind = "exit", exitcode = 5 }, beside.result, beside)
        helper.fails({ kind = "exit", exitcode = 5 }, pool.map, pool, print, { 1 })
        pool:terminate()
    end)
end)

describe("workers that end before they serve, others of which serve,", function()
    -- A pool of two workers, one of which is killed again and again and comes back, while the other one's
    -- successors end at once; f() is called meanwhile, until the pool is broken or there were `most` kills.
    local function kill_one(most, f)
        local marks = helper.tmpdir() .. "/marks"
        local pool <close> = mp.pool { workers = 2, init = function()
            local file <close> = io.open(marks, "a")
            file:write(mp.worker.id)
            file:flush()
            if mp.worker.id == 2 and io.open(marks .. ".2") then os.exit(5) end
        end }
        io.open(marks .. ".2", "w"):close()
        os.execute("kill -KILL " .. pool:stats().workers[2].pid)
        local function n_marks(id) return select(2, helper.read(marks):gsub(id, "")) end
        local e
        for n = 1, most do
            local before, pid = n_marks "2", pool:stats().workers[1].pid
            os.execute("kill -KILL " .. pid)
            helper.wait_until(function()
                local w = pool:stats().workers[1]
                e = select(2, pcall(pool.resize, pool, 2))
                return e or n_marks "1" == n + 1 and w.pid and w.pid ~= pid and n_marks "2" > before
            end, "both to come again")
            if e then break end
            f(pool)
        end
        pool:terminate()
        return e
    end

    it("end the pool", function()
        local e = kill_one(12, function() end)
        assert.same({ "exit", 5, 2 }, { e.kind, e.exitcode, e.worker })
        assert.matches("^8 workers have ended within 60 s before they served: ", e.message)
    end)

    it("end no pool whose tasks come to their end", function()
        assert.is_nil(kill_one(9, function(pool)
            assert.equal(2, pool:apply(math.abs, -2))
        end))
    end)
end)

describe("where no process can be made", function()
    local as_user = is_root and { "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups" } or {}

    local function run(text)
        helper.needs_fork "a forkserver has limits of its own"
        helper.needs_reachable_host(as_user)
        return helper.run(("timeout 60 %s %s -"):format(table.concat(as_user, " "), helper.host), { stdin = [[
            local mp = require "luamp"
            local main = mp.getpid()
            local function set_limit(text)
                return os.execute(("prlimit --pid %d --nproc=%s:"):format(main, text))
            end
            local pipe <close> = io.popen(("prlimit --pid %d --nproc --output SOFT --noheadings"):format(main))
            local limit = pipe:read "l":match "%S+"
            local function alive(pool)
                local n = 0
                for _, w in ipairs(pool:stats().workers) do n = n + (w.pid and 1 or 0) end
                return n
            end
        ]] .. text })
    end

    it("the others go on, and the lost worker comes back when it can", function()
        local result = run [[
            local pool <close> = mp.pool(3)
            assert(set_limit(1))
            print(pcall(pool.resize, pool, 5))
            local list, failures = pool:map(function(i)
                if i == 10 then
                    os.execute(("kill -KILL %d"):format(mp.getpid()))
                    mp.sleep(1000)
                end
                return i
            end, mp.range(1, 100), { on_error = "collect" })
            print(#failures, failures[1].task, failures[1].signal)
            local ends = mp.clock() + 0.5 -- it is tried again meanwhile
            while mp.clock() < ends do
                print(alive(pool), #pool:map(function(i) mp.sleep(0.01) return i end, mp.range(1, 20)))
            end
            assert(pool:apply(set_limit, limit))
            ends = mp.clock() + 10
            while alive(pool) < 3 and mp.clock() < ends do mp.wait({}, 0) end
            print(alive(pool), #pool:map(function(i) return i end, mp.range(1, 100)))
            pool:close()
            print(pool:join(20))]]
        assert.same({ 0, "" }, { result.status, result.stderr })
        assert.matches("^false\t[^\n]*pool:resize: cannot start 'worker.4': [^\n]*"
            .. "Resource temporarily unavailable\n1\t10\tSIGKILL\n", result.stdout)
        local rest = result.stdout:match "SIGKILL\n(.*)":gsub("2\t20\n", "")
        assert.equal("3\t100\ntrue\n", rest)
    end)

    it("a pool waits that has no worker any more: that is no deadlock", function()
        local result = run [[
            local pool <close> = mp.pool(1)
            os.execute(("(sleep 1; prlimit --pid %d --nproc=%s:) </dev/null >/dev/null 2>&1 &"):format(main, limit))
            assert(set_limit(1))
            local list, failures = pool:map(function(i)
                if i == 10 then
                    os.execute(("kill -KILL %d"):format(mp.getpid()))
                    mp.sleep(1000)
                end
                return i
            end, mp.range(1, 100), { on_error = "collect" })
            print(#list, #failures, failures[1].signal)]]
        assert.same({ status = 0, stdout = "100\t1\tSIGKILL\n", stderr = "" }, result)
    end)
end)
