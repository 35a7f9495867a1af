-- timeout_spec.lua: the option `timeout` of mp.process, in force whatever the parent does.
local helper = require "spec.helper"
local mp = require "luamp"

local misuse = helper.misuse
local slack = helper.sanitized and 6 or 2

-- The error object of a process that overruns its limit, and how long that took.
local function overrun(options)
    options.stderr = options.stderr or "null"
    local began = mp.clock()
    local p <close> = mp.process(options):start()
    local e = helper.fails({ kind = "timeout" }, p.result, p, 30)
    assert.equal(p.exitcode, e.exitcode)
    assert.equal("timeout", p.error.kind)
    return e, mp.clock() - began
end

-- A shell's loop that writes the time, in seconds, to a file until it is ended.
local ticking = "while :; do date +%%s.%%N >>%s; sleep 0.02; done"

local function ticks(path)
    local times = {}
    for line in io.lines(path) do times[#times + 1] = tonumber(line) end
    return times
end

local function gone(pid)
    return function() return not helper.alive(pid) end
end

describe("a process that runs longer than its timeout", function()
    for what, options in pairs {
        ["a function that waits"] = { target = mp.sleep, args = { 60 } },
        ["a function that computes"] = { target = function() while true do end end },
        ["a function in a C call"] = { target = os.execute, args = { "sleep 60" } },
        ["a command"] = { command = { "sleep", "60" } },
    } do
        it("is ended, and says so: " .. what, function()
            options.timeout, options.name = 0.2, "slow"
            local e, took = overrun(options)
            assert.is_true(took >= 0.2 and took < 0.2 + slack, took)
            assert.equal(("process 'slow' (pid %d) ran longer than its timeout of 0.2 s"):format(e.pid), e.message)
            assert.same({ "SIGTERM", -15 }, { e.signal, e.exitcode })
        end)
    end

    it("has left what it wrote, in the error's value", function()
        local e = overrun { command = { "sh", "-c", "echo out; sleep 60" }, stdout = "capture", timeout = 0.5 }
        assert.same({ exitcode = -15, stdout = "out\n" }, e.value)
    end)

    it("and ends by itself when it is told to has overrun it, too", function()
        local e = overrun { command = { "sh", "-c", "trap 'exit 3' TERM; sleep 60 & wait" }, timeout = 0.5 }
        assert.same({ 3, nil }, { e.exitcode, e.signal })
    end)

    it("is ended though the keeper was killed, when its parent waits for it", function()
        local result = helper.script_run [[
            local p = mp.process { command = { "sleep", "60" }, timeout = 0.5 }:start()
            for pid in io.popen "pgrep luamp-keeper":lines() do
                local file <close> = io.open("/proc/" .. pid .. "/cmdline")
                if file and file:read "a":find(arg[0], 1, true) then os.execute("kill -KILL " .. pid) end
            end
            local _, e = pcall(p.result, p, 30)
            print(e.kind)
        ]]
        assert.same({ "timeout\n", "" }, { result.stdout, result.stderr })
    end)

    it("is ended though the keeper was killed, in any wait, also after a scope", function()
        local result = helper.script_run [[
            mp.scope(function() end)
            local function kill_keeper()
                for pid in io.popen "pgrep luamp-keeper":lines() do
                    local file <close> = io.open("/proc/" .. pid .. "/cmdline")
                    if file and file:read "a":find(arg[0], 1, true) then
                        os.execute("kill -KILL " .. pid)
                        while io.open("/proc/" .. pid .. "/stat") do mp.sleep(0.001) end
                    end
                end
            end
            local waits = {
                function(p) return p:join(30) end,
                function(p) return #mp.wait({ p }, 30) end,
                function(p) mp.sleep(3) return not p:is_alive() end,
                function() return not pcall(mp.scope, function(s)
                    s:start { command = { "sleep", "60" }, timeout = 0.5 }
                    kill_keeper()
                    mp.sleep(20)
                end) end,
            }
            for _, wait in ipairs(waits) do
                local p = mp.process { command = { "sleep", "60" }, timeout = 0.5 }:start()
                kill_keeper()
                print(wait(p), (p:join(0)))
            end
        ]]
        assert.same({ "true\ttrue\n1\ttrue\ntrue\ttrue\ntrue\ttrue\n", "" }, { result.stdout, result.stderr })
    end)

    it("is ended though it was stopped at its birth", function()
        local stopped = {}
        for i = 1, 20 do
            stopped[i] = mp.process { target = mp.sleep, args = { 60 }, timeout = 0.05 }:start()
            stopped[i]:signal "SIGSTOP"
        end
        for _, p in ipairs(stopped) do
            assert.is_true(p:join(20))
            assert.same({ "timeout", "SIGKILL" }, { p.error.kind, p.error.signal })
            p:close()
        end
    end)

    it("is killed 5 s later if it ignores SIGTERM, or is stopped", function()
        local began = mp.clock()
        local deaf = mp.process { command = { "sh", "-c", "trap '' TERM; while :; do sleep 0.1; done" },
            timeout = 0.4 }:start()
        local stopped = mp.process { command = { "sleep", "60" }, timeout = 0.4 }:start()
        local halted = mp.process { target = mp.sleep, args = { 60 }, timeout = 0.4, stderr = "null" }:start()
        stopped:signal "SIGSTOP"
        halted:signal "SIGSTOP"
        for _, p in ipairs { deaf, stopped, halted } do
            local e = helper.fails({ kind = "timeout" }, p.result, p, 20)
            local took = mp.clock() - began
            assert.is_true(took >= 5.4 and took < 5.4 + slack, took)
            assert.same({ -9, "SIGKILL" }, { e.exitcode, e.signal })
            p:close()
        end
    end)
end)

describe("a timeout", function()
    it("is in force while the parent computes", function()
        local path = helper.tmpdir() .. "/ticks"
        local result = helper.script_run(([[
            local began = mp.clock()
            local p = mp.process { command = { "sh", "-c", %q }, timeout = 0.5 }:start()
            local q = mp.process { target = function() while true do end end, timeout = 0.5 }:start()
            local pid = q.pid
            while mp.clock() - began < 2.5 do end
            local file <close> = io.open("/proc/" .. pid .. "/stat")
            print(file:read "a":match "%%) (%%a)")
            print(p.error.kind, q.error.kind)]]):format(ticking:format(path)))
        assert.same({ status = 0, stdout = "Z\ntimeout\ttimeout\n", stderr = "" }, result)
        local times = ticks(path)
        local lived = times[#times] - times[1]
        assert.is_true(lived < 2, lived) -- and not for as long as the parent computes
        assert.is_true(#times > 2)
    end)

    it("hurts nobody who ends in time", function()
        local p <close> = mp.process { target = function() return "in time" end, timeout = 30 }:start()
        assert.equal("in time", p:result())
        local q <close> = mp.process { command = { "sleep", "0.3" }, timeout = 2 }:start()
        assert.same({ exitcode = 0 }, q:result())
        assert.is_nil(q.error)
        local r <close> = mp.process { command = { "sh", "-c", "kill -TERM $$" }, timeout = 30 }:start()
        helper.fails({ kind = "signal", signal = "SIGTERM" }, r.result, r)
        local s <close> = mp.process { target = function() return "for ever" end, timeout = math.huge }:start()
        assert.equal("for ever", s:result())
    end)

    it("of one that has ended hits nobody who comes after it", function()
        for _ = 1, 20 do
            local short <close> = mp.process { command = { "true" }, timeout = 0.3 }:start()
            short:join()
        end
        local long <close> = mp.process { command = { "sleep", "0.6" } }:start()
        local longer <close> = mp.process { target = mp.sleep, args = { 0.6 }, timeout = 30 }:start()
        assert.same({ exitcode = 0 }, long:result())
        assert.is_nil(longer:result())
        assert.equal(0, longer.exitcode)
    end)

    it("may be tiny", function()
        for _ = 1, 10 do
            local _, took = overrun { command = { "sleep", "60" }, timeout = 0.001 }
            assert.is_true(took < slack, took)
        end
        local _, took = overrun { target = mp.sleep, args = { 60 }, timeout = 1e-9 }
        assert.is_true(took < slack, took)
    end)

    it("counts from the start, not from the making", function()
        local p <close> = mp.process { command = { "sleep", "0.1" }, timeout = 0.5 }
        mp.sleep(0.6)
        assert.same({ exitcode = 0 }, p:start():result())
    end)

    it("is kept for many at once", function()
        local all, began = {}, mp.clock()
        for i = 1, 100 do
            all[i] = mp.process { timeout = 0.3 + i % 10 / 100,
                command = i % 2 == 0 and { "sleep", "60" } or nil,
                target = i % 2 == 1 and mp.sleep or nil, args = i % 2 == 1 and { 60 } or nil }:start()
        end
        local started = mp.clock()
        for _, p in ipairs(all) do
            helper.fails({ kind = "timeout" }, p.result, p, 30)
            p:close()
        end
        assert.is_true(mp.clock() - started < 0.5 + slack * 2, mp.clock() - began)
    end)

    it("ends the tree of a command and of a function", function()
        local tree = "sleep 60 & echo $!; wait"
        local p <close> = mp.process { command = { "sh", "-c", tree }, stdout = "pipe", timeout = 0.4 }:start()
        local q <close> = mp.process { stdout = "pipe", timeout = 0.4, stderr = "null", target = function()
            print(mp.process { command = { "sh", "-c", tree }, stdout = "pipe" }:start().stdout:read "n")
            print(mp.process { target = mp.sleep, args = { 60 } }:start().pid)
            io.flush()
            os.execute "sleep 60 & echo $!; wait"
        end }:start()
        local pids = { p.stdout:read "n", q.stdout:read("n", "n", "n") }
        assert.equal(4, #pids)
        p:join()
        q:join()
        assert.same({ "timeout", "timeout" }, { p.error.kind, q.error.kind })
        for _, pid in ipairs(pids) do helper.wait_until(gone(pid), "the end of what it started", 0.5) end
    end)

    it("holds in a child, whatever that is doing", function()
        local path = helper.tmpdir() .. "/ticks"
        local kind = helper.result_of(function()
            local p = mp.process { command = { "sh", "-c", ticking:format(path) }, timeout = 0.3 }:start()
            local ends = mp.clock() + 1.5
            while mp.clock() < ends do end
            return p.error.kind
        end)
        assert.equal("timeout", kind)
        local times = ticks(path)
        assert.is_true(times[#times] - times[1] < 1.1, times[#times] - times[1])
    end)

    for what, options in pairs {
        command = [[command = { "sleep", "60" }]], ["function"] = [[target = mp.sleep, args = { 60 }]],
    } do
        it("holds for a detached " .. what .. ", also when its parent is gone", function()
            local result = helper.script_run(([[
                print(mp.process { %s, detached = true, timeout = 0.5, stdout = "null", stderr = "null" }:start().pid)
            ]]):format(options))
            local pid = tonumber(result.stdout)
            assert.is_true(helper.alive(pid))
            helper.wait_until(gone(pid), "its end", 0.5 + slack)
        end)
    end

    it("waits while its parent is stopped, as by Ctrl-Z", function()
        local main <close> = mp.process { stdout = "pipe", stdin = "pipe", command = { helper.host, helper.script [[
            local mp = require "luamp"
            local p = mp.process { command = { "sleep", "60" }, timeout = 0.5 }:start()
            print(p.pid)
            io.flush()
            p:join()
            print(p.error.kind)]] } }:start()
        local pid = main.stdout:read "n"
        main:signal "SIGSTOP"
        mp.sleep(1.2)
        assert.is_true(helper.alive(pid))
        main:signal "SIGCONT"
        helper.wait_until(gone(pid), "the end of the timed process", 1 + slack)
        assert.is_true(main:join(10))
        assert.equal("\ntimeout\n", main.stdout:read "a")
    end)

    it("must be a number of seconds above 0", function()
        for _, wrong in ipairs { 0, -1, 0 / 0 } do
            misuse("option 'timeout' must be a number of seconds above 0, not ",
                function() mp.process { target = print, timeout = wrong } end)
        end
        misuse("option 'timeout' must be a number", function() mp.process { target = print, timeout = "5" } end)
    end)
end)
