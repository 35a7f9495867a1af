-- process_spec.lua: the life of a process: start, names, exit codes, signals,
-- who may use it, and what misuse says. Its children's end is in process_end_spec.
local helper = require "spec.helper"
local mp = require "luamp"

-- A child that is told what to do: it answers each line of its stdin by f(line)
-- on its stdout, and returns at the end of its stdin.
local function told(f, options)
    options = options or {}
    options.stdin, options.stdout = "pipe", "pipe"
    options.target = function()
        for line in io.lines() do
            io.write(tostring(f(line)), "\n")
            io.flush()
        end
        return "done"
    end
    return mp.process(options)
end

local function ask(p, line)
    assert(p.stdin:write(line, "\n"))
    assert(p.stdin:flush())
    return p.stdout:read "l"
end

local function release(p)
    p.stdin:close()
    assert.is_true(p:join())
    p:close()
end

-- Starts one that does nothing until the end of its stdin, and certainly runs.
local function held(options)
    local p = told(function(line) return line end, options):start()
    assert.equal("up", ask(p, "up"))
    return p
end

local result_of = helper.result_of

local misuse = helper.misuse

describe("the life of a process:", function()
    it("new, running, ended, closed", function()
        local p = told(function(line) return line:upper() end)
        assert.is_false(p:is_alive())
        assert.is_nil(p.pid)
        assert.is_nil(p.exitcode)
        assert.is_nil(p.error)
        assert.is_truthy(tostring(p):find "^mp.process: 0x%x+ %('process%-%d+', new%)$")
        assert.equal(p, p:start())
        assert.equal("HELLO", ask(p, "hello"))
        assert.is_true(p:is_alive())
        assert.equal("integer", math.type(p.pid))
        assert.is_true(helper.alive(p.pid))
        assert.is_nil(p.exitcode)
        assert.is_nil(p.error)
        assert.is_truthy(tostring(p):find("running, pid " .. p.pid, 1, true))
        assert.same({ nil, "timeout" }, { p:join(0) })
        assert.same({ nil, "timeout" }, { p:join(0.01) })
        p.stdin:close()
        assert.is_true(p:join())
        assert.is_true(p:join())
        assert.is_true(p:join(0))
        assert.is_false(p:is_alive())
        assert.equal(0, p.exitcode)
        assert.equal("done", p:result())
        assert.is_truthy(tostring(p):find("ended, pid " .. p.pid, 1, true))
        p:close()
        p:close()
        assert.is_truthy(tostring(p):find "closed")
    end)

    it("runs nothing before start, and ends unstarted as well", function()
        local ran = helper.tmpdir() .. "/ran"
        local p = mp.process { target = function() helper.write(ran, "") end }
        mp.sleep(0.02)
        assert.is_nil(io.open(ran))
        p:close()
        p:close()
        misuse("is closed", function() p:start() end)
    end)

    it("the end is seen without a join", function()
        local p = mp.process { target = function() end }:start()
        helper.wait_until(function() return not p:is_alive() end, "the end")
        assert.equal(0, p.exitcode)
        local q = mp.process { target = function() os.exit(7) end }:start()
        helper.wait_until(function() return q.exitcode end, "an exit code")
        assert.equal(7, q.exitcode)
        assert.equal("exit", q.error.kind)
        p:close()
        q:close()
    end)

    it("the child has its own copy of everything", function()
        local n, t = 1, { x = 1 }
        local a, b = result_of(function()
            n, t.x, fresh_global = n + 1, "changed", true -- luacheck: ignore
            return n, t.x
        end)
        assert.same({ 2, "changed" }, { a, b })
        assert.same({ 1, 1 }, { n, t.x })
        assert.is_nil(rawget(_G, "fresh_global"))
    end)

    it("arguments arrive, nil and many of them too", function()
        assert.same({ n = 3, nil, 2, nil }, table.pack(result_of(function(...) return ... end, nil, 2, nil)))
        assert.equal(0, result_of(function(...) return select("#", ...) end))
        local many = {}
        for i = 1, 20000 do many[i] = i end
        local function count(...) return select("#", ...), (select(-1, ...)) end
        local p <close> = mp.process { target = count, args = many }
        assert.same({ 20000, 20000 }, { p:start():result() })
    end)

    it("the target may be anything that can be called", function()
        local callable = setmetatable({}, { __call = function(_, x) return x * 2 end })
        assert.equal(14, result_of(callable, 7))
        assert.equal("5", result_of(tostring, 5))
        local p <close> = mp.process(function() return "short" end)
        assert.equal("short", p:start():result())
    end)

    it("starts from a coroutine, and from within pcall and sort", function()
        local co = coroutine.wrap(function()
            local p = mp.process { target = function() return coroutine.isyieldable(), 1 end }:start()
            coroutine.yield(p)
            return p:result()
        end)
        local p = co()
        assert.is_true(p:join())
        assert.same({ false, 1 }, { co() })
        p:close()
        local got
        table.sort({ 2, 1 }, function(a, b)
            got = got or result_of(function() return "sorted" end)
            return a < b
        end)
        assert.equal("sorted", got)
    end)

    it("has a current process in a child, whose parent is this one", function()
        local here = mp.getpid()
        assert.equal("main", mp.current_process().name)
        assert.equal(here, mp.current_process().pid)
        assert.equal(mp.current_process(), mp.current_process())
        assert.is_true(mp.current_process():is_alive())
        assert.is_nil(mp.parent_process())
        local p = mp.process {
            name = "worker",
            target = function()
                local me, parent = mp.current_process(), mp.parent_process()
                return me.name, me.pid == mp.getpid(), me:is_alive(), parent.name, parent.pid, mp.getppid(),
                    parent:is_alive(), select(2, parent:join(0.01)), #mp.active_children()
            end,
        }:start()
        assert.same({ "worker", true, true, "main", here, here, true, "timeout", 0 }, { p:result() })
        assert.not_equal(here, p.pid)
        p:close()
    end)

    it("processes start processes, whose results come home", function()
        local function depth(n)
            if n == 0 then return mp.current_process().name, mp.getpid() end
            local p = mp.process { target = depth, args = { n - 1 } }:start()
            return mp.getpid(), p:result()
        end
        local results = table.pack(result_of(depth, 4))
        assert.equal(6, results.n)
        assert.is_truthy(results[5]:find "^process%-%d+:1:1:1:1$", results[5])
        local seen = { [mp.getpid()] = true }
        for _, i in ipairs { 1, 2, 3, 4, 6 } do
            assert.is_nil(seen[results[i]])
            seen[results[i]] = true
        end
    end)

    it("lists its children in the order of their start, and reaps", function()
        assert.same({}, mp.active_children())
        local a, b = held(), held()
        assert.same({ a, b }, mp.active_children())
        local gone = a.pid
        a:kill()
        helper.wait_until(function() return not helper.alive(gone) end, "its death")
        assert.same({ b }, mp.active_children())
        assert.same({ b.pid }, helper.children())
        release(b)
        assert.same({}, mp.active_children())
        a:close()
    end)

    it("a child whose object is dropped runs on and leaves no zombie", function()
        do
            local p = held()
            p:signal "SIGSTOP"
            p.stdin:close()
            p.stdout:close()
            p:signal "SIGCONT"
        end
        collectgarbage()
        collectgarbage()
        helper.wait_until(function() return #mp.active_children() == 0 end, "its end")
        assert.same({}, helper.children())
    end)

    it("those that nobody asks about are reaped by later starts", function()
        for _ = 1, 50 do mp.process { target = function() end }:start() end
        helper.wait_until(function()
            local alive = 0
            for _, pid in ipairs(helper.children()) do alive = alive + (helper.alive(pid) and 1 or 0) end
            return alive == 0
        end, "the end of all")
        mp.process { target = function() end }:start()
        local left = #helper.children()
        helper.wait_until(function() return #mp.active_children() == 0 end, "their end")
        assert.is_true(left <= 1, left .. " children are left")
    end)

    it("hundreds of them come and go", function()
        local function fds()
            local n = 0
            for _ in pairs(helper.fds()) do n = n + 1 end
            return n
        end
        local before = fds()
        for _ = 1, 20 do
            local list = {}
            for i = 1, 20 do
                list[i] = mp.process { target = function() return i end }:start()
            end
            for i, p in ipairs(list) do
                assert.equal(i, p:result())
                p:close()
            end
        end
        assert.equal(before, fds())
    end)
end)

describe("the name of a process", function()
    it("is process-N, or as given", function()
        local first = mp.process { target = print }
        local second = mp.process { target = print }
        local n = tonumber(first.name:match "^process%-(%d+)$")
        assert.equal("process-" .. n + 1, second.name)
        local named = mp.process { target = print, name = "loader" }
        assert.equal("loader", named.name)
        assert.is_truthy(tostring(named):find("'loader'", 1, true))
    end)

    it("tells in a child who started it", function()
        local mine = mp.process { target = function() return mp.process { target = print }.name end }
        assert.equal(mine.name .. ":1", mine:start():result())
        mine:close()
    end)
end)

describe("the end code of a process", function()
    local cases = {
        { 0, function() return 5 end },
        { 1, function() error "x" end, "error" },
        { 1, function() error() end, "error" },
        { 0, function() os.exit() end },
        { 0, function() os.exit(0) end },
        { 0, function() os.exit(true) end },
        { 0, function() os.exit(true, true) end },
        { 1, function() os.exit(false) end, "exit" },
        { 3, function() os.exit(3) end, "exit" },
        { 3, function() os.exit(3, true) end, "exit" },
        { 255, function() os.exit(255) end, "exit" },
        { 1, function() os.exit(257) end, "exit" },
        { 4, function() coroutine.wrap(function() os.exit(4) end)() end, "exit" },
        { 5, function() pcall(os.exit, 5) end, "exit" },
        { 6, function() setmetatable({}, { __gc = function() os.exit(6) end }) collectgarbage() end, "exit" },
        { -9, function() mp.current_process() os.execute("kill -KILL " .. mp.getpid()) mp.sleep(9) end, "signal" },
        { -15, function() os.execute("kill " .. mp.getpid()) mp.sleep(9) end, "signal" },
    }
    for i, case in ipairs(cases) do
        it(("%d: %d"):format(i, case[1]), function()
            local p = mp.process { target = case[2], stderr = "null" }:start()
            assert.is_true(p:join(10))
            assert.equal(case[1], p.exitcode)
            assert.equal(case[3], p.error and p.error.kind)
            p:close()
        end)
    end

    it("an os.exit that was saved before the module came leaves the child as well", function()
        helper.needs_fork "a stock function that was replaced has no name"
        local result = helper.run(helper.host .. " " .. helper.script [[
            local exit = os.exit
            local mp = require "luamp"
            local kept <close> = setmetatable({}, { __close = function() print "closed" end })
            for _, status in ipairs { 0, 3 } do
                for _, close in ipairs { false, true } do
                    local p = mp.process { target = function() io.write "out " exit(status, close) end }:start()
                    p:join()
                    print(p.exitcode, p.error and p.error.kind)
                end
            end]])
        assert.equal("out 0\tnil\nout 0\tnil\nout 3\texit\nout 3\texit\nclosed\n", result.stdout)
        assert.equal("", result.stderr)
        assert.equal(0, result.status)
    end)
end)

describe("signals to a process:", function()
    it("terminate, kill, signal and stop", function()
        for signal, act in pairs {
            SIGTERM = function(p) return p:terminate() end,
            SIGKILL = function(p) return p:kill() end,
            SIGUSR1 = function(p) return p:signal "SIGUSR1" end,
        } do
            local p = held()
            assert.is_true(act(p))
            assert.is_true(p:join(10))
            assert.is_true(p.exitcode < 0)
            assert.equal(signal, p.error.signal)
            assert.equal("signal", p.error.kind)
            assert.is_truthy(p.error.message:find(signal, 1, true))
            p:close()
        end
        local p = held()
        p:stop()
        assert.is_false(p:is_alive())
        assert.equal(-15, p.exitcode)
        p:close()
    end)

    it("do no harm when it has ended", function()
        local p = mp.process { target = function() end }:start()
        local ended = p.pid
        helper.wait_until(function() return not helper.alive(ended) end, "its end")
        for _ = 1, 2 do
            assert.is_false(p:terminate())
            assert.is_false(p:kill())
            assert.is_false(p:signal "SIGTERM")
            assert.is_false(p:stop())
            assert.equal(0, p.exitcode)
        end
        p:close()
    end)

    it("a stopped one is alive, and stop ends it by SIGKILL after the grace", function()
        local p = held()
        p:signal "SIGSTOP"
        helper.wait_until(function()
            return helper.read("/proc/" .. p.pid .. "/stat"):find ") T "
        end, "its stop")
        assert.is_true(p:is_alive())
        local t = mp.clock()
        p:stop(0.1)
        assert.is_true(mp.clock() - t >= 0.1)
        assert.is_false(p:is_alive())
        assert.equal(-9, p.exitcode)
        p:close()
    end)

    it("one that ignores SIGTERM is killed after the grace", function()
        local result = helper.run(("trap '' TERM; exec %s %s"):format(helper.host, helper.script [[
            local mp = require "luamp"
            local p = mp.process { target = function() print "up" io.flush() mp.sleep(60) end, stdout = "pipe" }:start()
            p.stdout:read "l"
            local t = mp.clock()
            p:terminate()
            print(p:join(0.05))
            p:stop(0.2)
            print(p.exitcode, mp.clock() - t >= 0.25, mp.clock() - t < 2)]]))
        assert.equal("nil\ttimeout\n-9\ttrue\ttrue\n", result.stdout)
    end)

    it("what the process started itself ends with it", function()
        for _, how in ipairs { "kill", "terminate", "stop" } do
            local p = told(function()
                local child = mp.process { stdout = "pipe", target = function()
                    local grandchild = mp.process { target = mp.sleep, args = { 60 } }:start()
                    print(grandchild.pid)
                    io.flush()
                    grandchild:join()
                end }:start()
                return child.pid .. " " .. child.stdout:read "l"
            end):start()
            local child, grandchild = ask(p, "start"):match "(%d+) (%d+)"
            assert.is_true(helper.alive(child) and helper.alive(grandchild))
            p[how](p)
            p:join()
            local t = mp.clock()
            helper.wait_until(function()
                return not helper.alive(child) and not helper.alive(grandchild)
            end, "the end of both after " .. how)
            assert.is_true(mp.clock() - t < 0.5)
            p:close()
        end
    end)
end)

describe("a process belongs to who made it:", function()
    it("in others its methods raise and name the owner", function()
        helper.needs_fork "the child has the object as an upvalue"
        local p = held { name = "theirs" }
        local calls = { "join", "result", "terminate", "kill", "stop", "is_alive", "pollfd", "close", "start" }
        local told_all = result_of(function()
            local texts = {}
            for _, call in ipairs(calls) do
                local ok, e = pcall(p[call], p)
                texts[call] = not ok and e or "went well"
            end
            return texts
        end)
        for _, call in ipairs(calls) do
            assert.is_truthy(told_all[call]:find("'theirs' belongs to process 'main' (pid " .. mp.getpid(), 1, true),
                call .. ": " .. told_all[call])
        end
        assert.is_true(p:is_alive())
        release(p)
    end)

    it("a child cannot be joined by itself, its parent by join only", function()
        local texts = { result_of(function()
            local me, parent = mp.current_process(), mp.parent_process()
            local list = {}
            for i, call in ipairs {
                function() me:join() end, function() me:result() end, function() me:kill() end,
                function() me:start() end, function() me:close() end,
                function() parent:kill() end, function() parent:result() end, function() parent:close() end,
            } do
                list[i] = select(2, pcall(call)) or "went well"
            end
            return table.unpack(list)
        end) }
        for i, text in ipairs(texts) do
            assert.is_truthy(text:find "mp%.process: .*process '", i .. ": " .. tostring(text))
        end
        assert.equal(8, #texts)
    end)

    it("collecting its copy in a child leaves it alone", function()
        helper.needs_fork "the child has a copy of the object"
        local p = held()
        result_of(function()
            p = nil
            collectgarbage()
            collectgarbage()
        end)
        assert.equal("still", ask(p, "still"))
        release(p)
    end)
end)

describe("misuse is told at the caller's line:", function()
    local p

    it("calls that a new process does not have", function()
        p = mp.process { target = print, name = "p" }
        misuse("'p' has not been started", function() p:join() end)
        misuse("'p' has not been started", function() p:result() end)
        misuse("'p' has not been started", function() p:terminate() end)
        misuse("'p' has not been started", function() p:kill() end)
        misuse("'p' has not been started", function() p:signal "SIGTERM" end)
        misuse("'p' has not been started", function() p:stop() end)
        misuse("'p' has not been started", function() p:pollfd() end)
        misuse("'p' has not been started", function() mp.wait({ p }, 0) end)
    end)

    it("a second start, close while it runs", function()
        p = held { name = "p" }
        misuse("'p' has been started already", function() p:start() end)
        misuse("'p' cannot be closed while it runs", function() p:close() end)
        p.stdin:close()
        p:join()
        misuse("'p' has been started already", function() p:start() end)
        p:close()
        misuse("'p' is closed", function() p:start() end)
        misuse("'p' is closed", function() p:join() end)
        misuse("'p' is closed", function() p:result() end)
        misuse("'p' is closed", function() p:is_alive() end)
        misuse("'p' is closed", function() p:kill() end)
        misuse("'p' is closed", function() mp.wait { p } end)
    end)

    it("timeouts and graces", function()
        p = held()
        for _, bad in ipairs { "1", {}, true, 0 / 0 } do
            misuse("timeout", function() p:join(bad) end)
            misuse("timeout", function() p:result(bad) end)
            misuse("timeout", function() mp.wait({ p }, bad) end)
            misuse("stop", function() p:stop(bad) end)
            misuse("mp.sleep", function() mp.sleep(bad) end)
        end
        misuse("mp.sleep", function() mp.sleep() end)
        assert.is_true(p:is_alive())
        release(p)
    end)

    it("signals", function()
        p = held()
        misuse("'SIGFOO'", function() p:signal "SIGFOO" end)
        misuse("signal", function() p:signal(15) end)
        misuse("signal", function() p:signal() end)
        misuse("signal", function() p:signal "" end)
        assert.is_true(p:is_alive())
        release(p)
    end)

    it("fields", function()
        p = mp.process { target = print }
        misuse("'name' is read-only", function() p.name = "q" end)
        misuse("mp.process{name=", function() p.name = "q" end)
        misuse("mp.process{daemon=", function() p.daemon = true end)
        misuse("'pid' is read-only", function() p.pid = 1 end)
        misuse("'exitcode' is read-only", function() p.exitcode = 1 end)
        misuse("'colour'", function() p.colour = 1 end)
        assert.is_nil(p.colour)
    end)

    it("methods without their object", function()
        p = mp.process { target = print }
        misuse("p:join", function() p.join() end)
        misuse("p:start", function() p.start {} end)
        misuse("p:result", function() p.result(io.stdout) end)
        misuse("p:close", function() p.close() end)
        misuse("p:is_alive", function() p.is_alive(1) end)
    end)

    it("hooks", function()
        misuse("mp.atexit", function() mp.atexit() end)
        misuse("mp.atexit", function() mp.atexit(1) end)
    end)
end)
