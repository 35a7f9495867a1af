-- scope_spec.lua: mp.scope: what it returns, what it raises, and that no member
-- is left behind. Scopes in scopes, coroutines and children: scope_nesting_spec.
local helper = require "spec.helper"
local driver = require "spec.driver"
local mp = require "luamp"

local misuse = helper.misuse

-- A member that runs for a minute, unless it is ended.
local function idle(s)
    return s:start(mp.sleep, 60)
end

-- A member that fails `seconds` from now.
local function failing(s, seconds, value)
    return s:start(function()
        mp.sleep(seconds)
        error(value or "it failed", 0)
    end)
end

-- Whether the process ends within ten seconds; asked without a wait of luamp.
local function ends(p)
    local deadline, pid = mp.clock() + 10, p.pid
    repeat until not helper.alive(pid) or mp.clock() > deadline
    return not helper.alive(pid)
end

-- The error that the scope of f raises, long before what it started would end, with no child left.
local function error_of_scope(f, expected)
    local t = mp.clock()
    local e = helper.fails(expected or {}, mp.scope, f)
    assert.is_true(mp.clock() - t < 50, "it took " .. mp.clock() - t)
    assert.same({}, mp.active_children())
    return e
end

describe("mp.scope", function()
    it("returns what the function returns, when all that it started has ended", function()
        local p
        local results = table.pack(mp.scope(function(s)
            p = s:start(function(...)
                mp.sleep(0.1)
                return select("#", ...), ...
            end, "a", nil, nil)
            return nil, p:is_alive(), nil
        end))
        assert.same({ n = 3, nil, true, nil }, results)
        assert.same({ 0, false }, { p.exitcode, p:is_alive() })
        assert.same({ 3, "a", nil, nil }, { p:result() })
        p:close()
    end)

    it("may start nothing, and calls what can be called", function()
        local callable = setmetatable({}, { __call = function(_, s) return tostring(s) end })
        assert.matches("^mp.scope: 0x%x+ %(0 running%)$", mp.scope(callable))
        assert.equal("called", mp.scope(function(s)
            return s:start(setmetatable({}, { __call = function(_, word) return word end }), "called"):result()
        end))
    end)

    it("starts functions and programs by a process's options", function()
        local out = mp.scope(function(s)
            local words = s:start { command = { "printf", "b\na\n" }, stdout = "pipe", name = "words" }
            local sorted = s:start { command = { "sort" }, stdin = words.stdout, stdout = "capture" }
            local p = s:start { target = select, args = { 2, "x", nil, n = 3 }, env = { A = "1" } }
            assert.equal("words", words.name)
            assert.equal(2, select("#", "x", p:result()))
            return sorted:result().stdout
        end)
        assert.equal("a\nb\n", out)
    end)

    it("closes what members read from, and leaves what they wrote to be read", function()
        local p = mp.scope(function(s)
            local p = s:start { command = { "cat" }, stdin = "pipe", stdout = "pipe" }
            p.stdin:write "through"
            return p
        end)
        assert.equal("through", p.stdout:read "a")
        p:close()
    end)

    it("shows how many members run", function()
        local kept
        mp.scope(function(s)
            kept = s
            idle(s)
            local p = idle(s)
            assert.matches("%(2 running%)$", tostring(s))
            p:stop()
            assert.matches("%(1 running%)$", tostring(s))
            for _, other in ipairs(mp.active_children()) do other:kill() end
        end)
        assert.matches("%(ended%)$", tostring(kept))
    end)

    it("waits for many members, and stops many", function()
        local n = helper.sanitized and 100 or helper.is_everything and 1000 or 200
        assert.equal(n, mp.scope(function(s)
            for _ = 1, n do s:start(mp.sleep, 0.01) end
            return n
        end))
        error_of_scope(function(s)
            for _ = 1, n do idle(s) end
            failing(s, 0)
            mp.sleep(60)
        end, "it failed")
    end)
end)

describe("the first failure in a scope", function()
    it("stops the others, and is raised as the error object it is", function()
        local pids, failed = {}, nil
        local e = error_of_scope(function(s)
            for i = 1, 5 do pids[i] = idle(s).pid end
            failed = failing(s, 0.05, { code = 7 })
            mp.sleep(60)
        end)
        assert.is_true(mp.is_error(e))
        assert.same({ "error", 7, failed.name, failed.pid, 1 }, { e.kind, e.value.code, e.process, e.pid, e.exitcode })
        for _, pid in ipairs(pids) do assert.is_false(helper.alive(pid)) end
        assert.equal("error", failed.error.kind)
        local text = tostring(e)
        assert.matches("scope_spec.lua:%d+: in .-\nreached process 'main' at:\n.*scope_spec.lua:%d+: in ", text)
        assert.is_nil(text:find("luamp.scope", 1, true), text)
    end)

    local others = {
        ["os.exit(3)"] = { { kind = "exit", exitcode = 3 }, function() os.exit(3) end },
        ["a signal"] = { { kind = "signal", signal = "SIGKILL" },
            function() os.execute("kill -KILL " .. mp.getpid()) end },
        ["a program's status"] = { { kind = "exit", exitcode = 3 }, { command = { "sh", "-c", "exit 3" } } },
        ["a time limit"] = { { kind = "timeout" }, { target = mp.sleep, args = { 60 }, timeout = 0.1 } },
        ["a time limit, with status 0"] = { { kind = "timeout", exitcode = 0 },
            { command = { "sh", "-c", "trap 'exit 0' TERM; sleep 60 & wait" }, timeout = 0.3 } },
    }
    for how, case in pairs(others) do
        it("may be " .. how, function()
            error_of_scope(function(s)
                s:start(case[2])
                idle(s)
                mp.sleep(60)
            end, case[1])
        end)
    end

    -- Each waits for what does not come, given the scope and a member.
    local waits = {
        ["mp.sleep"] = function() mp.sleep(60) end,
        ["join of another"] = function(_, p) p:join() end,
        ["join of another, with a timeout"] = function(_, p) p:join(60) end,
        ["join of the one that fails"] = function(s) failing(s, 0.1):join() end,
        ["result of another"] = function(_, p) p:result() end,
        ["result of the one that fails"] = function(s) failing(s, 0.1):result() end,
        ["join of a process that is no member"] = function()
            local p <close> = mp.process { target = mp.sleep, args = { 60 } }:start()
            p:join()
        end,
        ["the end of a <close> variable"] = function()
            local _ <close> = mp.process { target = mp.sleep, args = { 60 } }:start()
        end,
        ["stop"] = function()
            local p <close> = mp.process { stdout = "pipe",
                command = { "sh", "-c", "trap '' TERM; echo; while :; do sleep 0.1; done" } }:start()
            p.stdout:read()
            p:stop(60)
        end,
        ["mp.wait for processes"] = function(_, p) mp.wait { p } end,
        ["mp.wait for a descriptor"] = function()
            local p <close> = mp.process { command = { "sleep", 60 } }:start()
            mp.wait { p:pollfd() }
        end,
        ["mp.wait for nothing"] = function() mp.wait({}, 60) end,
        ["join in a coroutine"] = function(_, p) coroutine.wrap(function() p:join() end)() end,
        ["the end of the scope"] = function() end,
    }
    for what, wait in pairs(waits) do
        it("ends " .. what .. " at once", function()
            local t = mp.clock()
            error_of_scope(function(s)
                local p = idle(s)
                failing(s, 0.1)
                wait(s, p)
            end, { kind = "error", message = "it failed" })
            assert.is_true(mp.clock() - t < 10)
        end)
    end

    it("ends a child's wait for its creator", function()
        helper.fails("it failed", helper.result_of, function()
            mp.scope(function(s)
                failing(s, 0.1)
                mp.parent_process():join()
            end)
        end)
    end)

    it("is raised by each wait and start, and at the end, whoever swallows it", function()
        local raised = {} -- what is found here is looked at outside: an assertion's error would be swallowed
        error_of_scope(function(s)
            local p = failing(s, 0)
            for _, call in ipairs { { mp.sleep, 60 }, { mp.sleep, 0 }, { p.result, p }, { mp.wait, {}, 60 },
                { s.start, s, print } } do
                local ok, e = pcall(table.unpack(call))
                table.insert(raised, ok or e.message)
            end
        end, { message = "it failed" })
        assert.same({ "it failed", "it failed", "it failed", "it failed", "it failed" }, raised)
    end)

    it("stops the others when it is seen, whatever the function does then", function()
        local stopped
        error_of_scope(function(s)
            local other = idle(s)
            failing(s, 0)
            pcall(mp.sleep, 60)
            stopped = ends(other)
        end, "it failed")
        assert.is_true(stopped)
    end)

    it("is not what the function makes of it, but that itself", function()
        error_of_scope(function(s)
            failing(s, 0)
            if not pcall(mp.sleep, 60) then error "something else" end
        end, "it failed")
        local own
        local e = error_of_scope(function(s)
            local p = failing(s, 0)
            own = helper.fails("it failed", p.result, p)
            error(own)
        end)
        assert.equal(own, e)
    end)

    it("stops what was being started when it was seen", function()
        local left
        error_of_scope(function(s)
            ends(failing(s, 0))
            pcall(s.start, s, mp.sleep, 60)
            local deadline = mp.clock() + 10
            repeat left = #mp.active_children() until left == 0 or mp.clock() > deadline
        end, "it failed")
        assert.equal(0, left)
    end)

    it("is noticed where a process is merely asked about, or closed", function()
        local stopped
        error_of_scope(function(s)
            local other = idle(s)
            local p = failing(s, 0)
            if ends(p) and not p:is_alive() then p:close() end
            stopped = ends(other)
        end, "it failed")
        assert.is_true(stopped)
    end)

    it("is raised in the end of a function that never waits", function()
        local other
        error_of_scope(function(s)
            other = idle(s)
            ends(failing(s, 0))
        end, "it failed")
        assert.equal(-15, other.exitcode)
    end)

    it("is the one that came first", function()
        error_of_scope(function(s)
            for i = 1, 8 do failing(s, i / 4, "failure " .. i) end
        end, { message = "failure 1" })
        error_of_scope(function(s)
            s:start { command = { "sh", "-c", "trap 'exit 9' TERM; sleep 60 & wait" } }
            failing(s, 0.3, "the first")
        end, "the first")
    end)

    it("may be a daemon's", function()
        error_of_scope(function(s)
            ends(s:start { target = error, args = { "it failed" }, daemon = true })
        end, "it failed")
    end)

    it("comes before an error of the function that came later", function()
        error_of_scope(function(s)
            ends(failing(s, 0))
            error "the second"
        end, "it failed")
    end)

    it("kills half a second later what does not mind SIGTERM", function()
        local t = mp.clock()
        local e = error_of_scope(function(s)
            local p = s:start { stdout = "pipe",
                command = { "sh", "-c", "trap '' TERM; echo; while :; do sleep 0.05; done" } }
            p.stdout:read()
            t = mp.clock()
            failing(s, 0)
        end)
        assert.is_true(mp.clock() - t >= 0.5)
        assert.equal("it failed", e.message)
    end)

    it("takes the members' own children with them", function()
        local pid
        error_of_scope(function(s)
            local p = s:start { stdout = "pipe", target = function()
                print(mp.process { target = mp.sleep, args = { 60 } }:start().pid)
                io.stdout:flush()
                mp.sleep(60)
            end }
            pid = math.tointeger(p.stdout:read())
            assert.is_true(helper.alive(pid))
            failing(s, 0)
        end)
        helper.wait_until(function() return not helper.alive(pid) end, "the grandchild's end", 2)
    end)
end)

describe("what is no failure of a scope", function()
    it("is an end that was asked for", function()
        assert.equal("done", mp.scope(function(s)
            local list = { idle(s), idle(s), idle(s), idle(s) }
            list[1]:terminate()
            list[2]:kill()
            list[3]:stop()
            list[4]:signal "SIGUSR1"
            local orderly = s:start { stdout = "pipe",
                command = { "sh", "-c", "trap 'exit 9' TERM; echo; sleep 60 & wait" } }
            orderly.stdout:read()
            orderly:terminate()
            orderly:join()
            for _, p in ipairs(list) do p:join() end
            assert.same({ -15, -9, -15, -10, 9 }, { list[1].exitcode, list[2].exitcode, list[3].exitcode,
                list[4].exitcode, orderly.exitcode })
            helper.fails({ kind = "signal" }, list[1].result, list[1])
            mp.sleep(0)
            return "done"
        end))
    end)

    it("but a signal that did not end it asks for nothing", function()
        error_of_scope(function(s)
            local p = failing(s, 0.2)
            p:signal "SIGCONT"
            p:join()
        end, "it failed")
        local killed
        error_of_scope(function(s)
            local p = failing(s, 0)
            killed = ends(p) and p:kill()
        end, "it failed")
        assert.is_false(killed)
    end)

    it("is a result that cannot be sent", function()
        mp.scope(function(s)
            local p = s:start(function() return io.stdout end)
            helper.fails({ kind = "unsendable" }, p.result, p)
            mp.sleep(0)
        end)
    end)

    it("is a timeout of a wait", function()
        mp.scope(function(s)
            local p = idle(s)
            assert.same({ nil, "timeout" }, { p:join(0.01) })
            assert.same({}, mp.wait({ p }, 0.01))
            helper.fails({ kind = "pending" }, p.result, p, 0.01)
            p:kill()
        end)
    end)

    it("is a process that cannot be started, if the function catches that", function()
        mp.scope(function(s)
            helper.fails("command 'no-such-program': No such file", s.start, s, { command = { "no-such-program" } })
            assert.equal(1, s:start(math.abs, -1):result())
        end)
        assert.equal("done", mp.scope(function(s)
            s:start { target = mp.sleep, args = { 60 }, daemon = true }
            pcall(s.start, s, { command = { "no-such-program" } })
            return "done"
        end))
    end)

    it("is a daemon, which is stopped when the others have ended", function()
        local daemon, worker
        assert.equal("done", mp.scope(function(s)
            daemon = s:start { target = mp.sleep, args = { 60 }, daemon = true }
            worker = s:start(mp.sleep, 0.2)
            return "done"
        end))
        assert.same({ -15, 0 }, { daemon.exitcode, worker.exitcode })
    end)

    it("nor are a daemon's members daemons of the scope", function()
        local p = mp.process { daemon = true, target = function()
            return mp.scope(function(s)
                local member = s:start(function()
                    mp.sleep(0.2)
                    return "worked"
                end)
                return member
            end):result()
        end }:start()
        assert.equal("worked", p:result())
    end)
end)

describe("an error in a scope's function", function()
    it("is raised as it is, when all are stopped", function()
        local value, p, worse = {}, nil, nil
        assert.equal(value, error_of_scope(function(s)
            p = idle(s)
            worse = s:start { stdout = "pipe", command = { "sh", "-c", "trap 'exit 9' TERM; echo; sleep 60 & wait" } }
            worse.stdout:read()
            error(value)
        end))
        assert.same({ -15, 9 }, { p.exitcode, worse.exitcode })
        error_of_scope(function(s)
            idle(s)
            s:start { command = { "no-such-program" } }
        end, "cannot start 'process%-[%d:]+': command 'no%-such%-program'")
        assert.is_nil(error_of_scope(function(s)
            idle(s)
            error()
        end))
    end)

    it("closes the function's variables before the members are stopped", function()
        error_of_scope(function(s)
            local p = idle(s)
            local _ <close> = setmetatable({}, { __close = function() assert(p:is_alive(), "too early") end })
            error "in time"
        end, "in time")
    end)
end)

describe("a member's uncaught error", function()
    it("is not reported by the member", function()
        local result = helper.script_run [[
            print(select(2, pcall(mp.scope, function(s)
                s:start(error, "first")
                s:start(error, {})
            end)).kind)]]
        assert.same({ status = 0, stdout = "error\n", stderr = "" }, result)
    end)

    it("that nobody catches is reported once, by the host", function()
        local result = helper.script_run [[mp.scope(function(s) s:start(error, "oops") end)]]
        assert.equal(1, result.status)
        local _, n = result.stderr:gsub("oops", "")
        assert.equal(1, n, result.stderr)
        assert.matches("^%S+: process 'process%-1' %(pid %d+%) failed: oops\n", result.stderr)
        assert.matches("reached process 'main' at:\nstack traceback:\n\t[^\n]*%.lua:2: in main chunk\n", result.stderr)
    end)

    it("is reported by what the member itself started", function()
        local result = helper.script_run [[
            mp.scope(function(s)
                s:start(function() mp.process { target = error, args = { "inner" } }:start() end)
            end)]]
        assert.equal(0, result.status)
        assert.matches("^luamp: process 'process%-1:1' %(pid %d+%) failed: inner", result.stderr)
    end)
end)

describe("an error of the function", function()
    it("has the traceback of where it was raised", function()
        local result = helper.script_run [[
            local function deep() local x return x.y end
            local function mid() deep() return 1 end
            mp.scope(function(s)
                s:start(mp.sleep, 60)
                mid()
            end)]]
        assert.equal(1, result.status)
        assert.matches("index a nil value %(local 'x'%)\n.*in upvalue 'deep'\n.*in upvalue 'mid'\n", result.stderr)
    end)
end)

describe("Ctrl-C in a scope", function()
    local places = {
        ["a wait of the function"] = { "mp.sleep(60)" },
        ["a loop of the function"] = { "while true do end" },
        ["the wait for its members"] = { "" },
        ["the stop of a daemon that does not mind SIGTERM"] = { "", [[{ daemon = true, stdout = "pipe",
            command = { "sh", "-c", "trap '' TERM INT; echo; while :; do sleep 0.1; done" } }.stdout:read()]] },
        ["a wait in a coroutine of the function"] = { "coroutine.wrap(mp.sleep)(60)" },
        ["a scope in it"] = { "mp.scope(function(s) s:start(mp.sleep, 60) end)" },
    }
    for place, case in pairs(places) do
        it("stops all, in " .. place, function()
            local result = driver.signalled { signal = "INT", delay = 0.1, script = ([[
                local mp = require "luamp"
                mp.scope(function(s)
                    s:start %s
                    print "ready"
                    io.stdout:flush()
                    %s
                end)]]):format(case[2] or "(mp.sleep, 60) s:start { command = { 'sleep', 60 } }", case[1]) }
            assert.equal(130, result.status, result.stderr)
            assert.matches("^%S+: interrupted\n$", result.stderr)
            helper.wait_until(function() return #driver.group(result.group) == 0 end, "the end of all", 2)
        end)
    end

    it("is raised by it when all have ended, and goes before their ends", function()
        for _ = 1, 20 do
            local result = driver.signalled { signal = "INT", script = [[
                local mp = require "luamp"
                local ok, e = pcall(mp.scope, function(s)
                    for _ = 1, 4 do s:start { command = { "sleep", 60 } } end
                    print "ready"
                    io.stdout:flush()
                end)
                print(ok, e.kind, #mp.active_children())]] }
            assert.same({ 0, "false\tinterrupted\t0\n", "" }, { result.status, result.stdout, result.stderr })
        end
    end)
end)

describe("os.exit in a scope's function", function()
    for _, arguments in ipairs { "3", "3, true" } do
        it("ends the program and the members: os.exit(" .. arguments .. ")", function()
            local result = helper.script_run(([[
                mp.scope(function(s)
                    print(s:start(mp.sleep, 60).pid)
                    os.exit(%s)
                end)]]):format(arguments))
            assert.same({ 3, "" }, { result.status, result.stderr })
            assert.is_false(helper.alive(math.tointeger(result.stdout)))
        end)
    end
end)

describe("misuse of a scope", function()
    it("is told at the caller's line", function()
        misuse("mp.scope: expected a function, not nothing", function() mp.scope() end)
        misuse("mp.scope: expected a function, not a table", function() mp.scope {} end)
        misuse("mp.scope: it is called with a dot", function() mp:scope(print) end)
        misuse("mp.scope: expected one function; ", function() mp.scope(print, 1) end)
        mp.scope(function(s)
            misuse("mp.scope: 'start' must be called on a scope, as in s:start()", function() s.start(print) end)
            misuse("mp.scope: expected a function or a table of options, not nothing", function() s:start() end)
            misuse("mp.scope: expected a function or a table of options, not 7", function() s:start(7) end)
            misuse("mp.scope: expected one table of options", function() s:start({ target = print }, 1) end)
            misuse("unknown option 'tarjet' (did you mean 'target'?)", function() s:start { tarjet = print } end)
            misuse("mp.scope: option 'detached'", function() s:start { target = print, detached = true } end)
            misuse("cannot start 'x': cwd: ", function() s:start { target = print, name = "x", cwd = "/no/x" } end)
            misuse("mp.scope: a scope has no field 'x'", function() s.x = 1 end)
            assert.is_nil(s.x)
            assert.matches("%(0 running%)$", tostring(s))
        end)
    end)

    it("is its use after its end", function()
        local kept = mp.scope(function(s) return s end)
        misuse("mp.scope: the scope has ended", function() kept:start(print) end)
        pcall(mp.scope, function(s)
            kept = s
            error()
        end)
        misuse("mp.scope: the scope has ended", function() kept:start(print) end)
    end)

    it("is its use in another process", function()
        helper.needs_fork "the child has the scope as an upvalue"
        mp.scope(function(s)
            local p = s:start(function() return pcall(s.start, s, print) end)
            local ok, e = p:result()
            assert.is_false(ok)
            assert.matches("%(of another process%)$", s:start(function() return tostring(s) end):result())
            assert.matches("mp.scope: the scope belongs to process 'main' %(pid " .. mp.getpid() .. "%)", e)
        end)
    end)
end)
