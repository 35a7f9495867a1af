-- mp.on_signal: a handler runs wherever the script is, and nothing is lost by it.
local helper = require "spec.helper"
local driver = require "spec.driver"
local mp = require "luamp"

local misuse = helper.misuse

local function signal_self(name)
    os.execute(("kill -%s %d"):format(name, mp.getpid()))
end

-- A started child that sends this process the signal so often, then returns "sent".
-- What comes while this process is late is one signal.
local function sender(name, times)
    return helper.started(function()
        for _ = 1, times do
            mp.sleep(0.02)
            os.execute(("kill -%s %d"):format(name, mp.getppid()))
        end
        mp.sleep(0.02)
        return "sent"
    end)
end

describe("a handler of mp.on_signal", function()
    local names
    before_each(function()
        names = {}
        mp.on_signal("USR1", function(name) names[#names + 1] = name end)
    end)
    after_each(function()
        mp.on_signal("USR1", nil)
        mp.on_signal("USR2", nil)
    end)

    it("is called with the signal's name at the next instruction", function()
        signal_self "USR1"
        assert.same({ "SIGUSR1" }, names)
    end)

    it("is called for the names of real-time signals", function()
        for _, name in ipairs { "SIGRTMIN", "SIGRTMIN+3" } do
            local got
            mp.on_signal(name, function(n) got = n end)
            signal_self(name:gsub("SIG", ""))
            mp.on_signal(name, nil)
            assert.equal(name, got)
        end
    end)

    it("may be anything that can be called", function()
        mp.on_signal("USR1", setmetatable({}, { __call = function(_, name) names[1] = name end }))
        signal_self "USR1"
        assert.same({ "SIGUSR1" }, names)
    end)

    local waits = {
        join = function(p) return p:join() end,
        ["join with a timeout"] = function(p) return p:join(1000) end,
        result = function(p) return p:result() == "sent" end,
        ["mp.wait"] = function(p) return mp.wait { p }[1] == p end,
        ["a join in a coroutine"] = function(p) return coroutine.wrap(p.join)(p) end,
    }
    for name, wait in pairs(waits) do
        it("is called during a wait, which goes on: " .. name, function()
            local p <close> = sender("USR1", 3)
            local alive
            mp.on_signal("USR1", function(signal)
                names[#names + 1], alive = signal, p:is_alive()
            end)
            assert.is_true(wait(p))
            assert.is_true(alive)
            assert.matches("^SIGUSR1[ SIGUR1]*$", table.concat(names, " "))
        end)
    end

    it("does not shorten mp.sleep", function()
        local p <close> = sender("USR1", 3)
        local before = mp.clock()
        mp.sleep(0.3)
        assert.is_true(mp.clock() - before >= 0.3)
        p:join()
        assert.is_true(#names >= 1 and #names <= 3)
    end)

    it("is called in a child that waits for its creator", function()
        local child <close> = helper.started(function()
            local got
            mp.on_signal("USR1", function(name) got = name end)
            mp.process { command = { "sh", "-c", "sleep 0.05; kill -USR1 $PPID" } }:start()
            local ended, why = mp.parent_process():join(1)
            return got, ended, why
        end)
        assert.same({ "SIGUSR1", nil, "timeout", n = 3 }, table.pack(child:result()))
    end)

    it("ends a wait by the error that it raises, whatever that is", function()
        local value = {}
        mp.on_signal("USR1", function() error(value) end)
        for name, wait in pairs(waits) do
            local p <close> = sender("USR1", 1)
            local ok, e = pcall(wait, p)
            assert.same({ name, false, true }, { name, ok, e == value })
            assert.is_true(p:join())
        end
        mp.on_signal("USR1", function() error "told" end)
        local q <close> = sender("USR1", 1)
        assert.matches("^[^\n]*spec/signals_spec.lua:%d+: told$", helper.fails("told", mp.sleep, 1000))
        q:join()
    end)

    it("ends a loop by the error that it raises, also a coroutine's", function()
        mp.on_signal("USR1", function() error("out", 0) end)
        local p <close> = sender("USR1", 1)
        assert.equal("out", helper.fails("out", function() while true do end end))
        p:join()
        local q <close> = sender("USR1", 1)
        assert.equal("out", helper.fails("out", coroutine.wrap(function() while true do end end)))
        q:join()
    end)

    it("is called once more for what arrives while it runs", function()
        local depth, deepest = 0, 0
        mp.on_signal("USR1", function(name)
            depth = depth + 1
            deepest = math.max(deepest, depth)
            names[#names + 1] = name
            if #names == 1 then
                for _ = 1, 5 do signal_self "USR1" end
                mp.sleep(0.05)
            end
            depth = depth - 1
        end)
        signal_self "USR1"
        assert.same({ "SIGUSR1", "SIGUSR1" }, names)
        assert.equal(1, deepest)
    end)

    it("is interrupted by another signal's", function()
        mp.on_signal("USR2", function(name) names[#names + 1] = name end)
        mp.on_signal("USR1", function(name)
            signal_self "USR2"
            names[#names + 1] = name
        end)
        signal_self "USR1"
        assert.same({ "SIGUSR2", "SIGUSR1" }, names)
    end)

    it("may start, join and close processes", function()
        mp.on_signal("USR1", function()
            local p <close> = helper.started(function() return "in the handler" end)
            names[1] = p:result()
        end)
        local p <close> = sender("USR1", 1)
        assert.equal("sent", p:result())
        assert.same({ "in the handler" }, names)
    end)

    it("that closes what is waited for ends the wait with an error that says so", function()
        for _, call in ipairs { "join", "result", "stop" } do
            local p = mp.process { stdout = "pipe", target = function()
                mp.on_signal("TERM", false)
                io.write "ready\n"
                io.flush()
                mp.sleep(1000)
            end }:start()
            p.stdout:read()
            local killer <close> = sender("USR1", 1)
            mp.on_signal("USR1", function()
                p:kill()
                p:join()
                p:close()
            end)
            local text = helper.fails("is closed", function() p[call](p) end)
            assert.matches("^[^\n]*spec/signals_spec.lua:%d+: mp.process: process 'process%-%d+' is closed$", text)
            killer:join()
        end
    end)

    it("may not yield, which is told", function()
        mp.on_signal("USR1", function() coroutine.yield() end)
        helper.fails("attempt to yield", function() signal_self "USR1" end)
        local co = coroutine.create(function() signal_self "USR1" end)
        assert.same({ false, "attempt to yield across a C-call boundary" }, { coroutine.resume(co) })
    end)

    it("puts a debug hook of the script back", function()
        local function hook() end
        debug.sethook(hook, "l", 7)
        signal_self "USR1"
        local now, mask, count = debug.gethook()
        debug.sethook()
        assert.same({ hook, "l", 7, { "SIGUSR1" } }, { now, mask, count, names })
    end)

    it("runs in a wait inside a finalizer", function()
        local p <close> = sender("USR1", 1)
        local done
        setmetatable({}, { __gc = function() done = p:join() end })
        collectgarbage()
        assert.same({ true, { "SIGUSR1" } }, { done, names })
    end)

    it("of SIGCHLD takes no child's end away", function()
        local ends = 0
        mp.on_signal("CHLD", function() ends = ends + 1 end)
        local p <close> = helper.started(function() return 7 end)
        local value = p:result()
        mp.on_signal("CHLD", nil)
        assert.equal(7, value)
        assert.is_true(ends > 0)
    end)

    it("stands until another takes its place, false or nil; each call gives what stood before", function()
        local first, second = function() end, function() end
        mp.on_signal("USR1", first)
        assert.equal(first, mp.on_signal("SIGUSR1", second))
        assert.equal(second, mp.on_signal("USR1", false))
        assert.is_false(mp.on_signal("USR1", nil))
        assert.is_nil(mp.on_signal("USR1"))
    end)
end)

describe("mp.on_signal", function()
    it("ignores a signal with false, and restores with nil what was there before", function()
        local result = helper.script_run [[
            local function signal() os.execute("kill -USR1 " .. mp.getpid()) end
            mp.on_signal("USR1", error)
            mp.on_signal("USR1", false)
            signal()
            print "ignored"
            io.stdout:flush()
            mp.on_signal("USR1", nil)
            signal()
            print "never"]]
        assert.same({ 128 + 10, "ignored\n" }, { result.status, result.stdout })
    end)

    it("is about this process alone: a child begins with the actions from before", function()
        local result = helper.script_run [[
            mp.on_signal("USR1", false)
            mp.on_signal("TERM", function() error "the parent's" end)
            for _, name in ipairs { "USR1", "TERM" } do
                local p = mp.process(function() mp.sleep(1000) end):start()
                p:signal(name)
                p:join()
                local q = mp.process { command = { "sh", "-c", "kill -" .. name .. " $$" } }:start()
                q:join()
                print(p.error.signal, q.error.signal)
            end
            print(mp.process(function() return mp.on_signal("USR1", print) end):start():result())]]
        assert.same({ 0, "SIGUSR1\tSIGUSR1\nSIGTERM\tSIGTERM\nnil\n", "" },
            { result.status, result.stdout, result.stderr })
    end)

    it("leaves to commands what was ignored before the program began", function()
        local result = helper.script_run([[
            mp.on_signal("USR1", print)
            print(mp.process { command = { "sh", "-c", "kill -USR1 $$; echo alive" }, stdout = "capture" }
                :start():result().stdout)
            mp.on_signal("USR1", nil)
            os.execute("kill -USR1 " .. mp.getpid())
            print "alive"]], "trap '' USR1")
        assert.same({ 0, "alive\n\nalive\n" }, { result.status, result.stdout })
    end)

    it("gives a child an orderly end at SIGTERM, if it asks for one", function()
        local p <close> = helper.started(function()
            mp.on_signal("TERM", function() os.exit(5) end)
            os.execute("kill -TERM " .. mp.getpid())
        end)
        p:join()
        assert.equal(5, p.exitcode)
    end)

    it("says what it cannot do, at the caller's line", function()
        misuse("mp.on_signal: there is no signal 'NOPE'", function() mp.on_signal("NOPE", print) end)
        misuse("mp.on_signal: there is no signal 'INT\0x'", function() mp.on_signal("INT\0x", print) end)
        misuse("mp.on_signal: there is no signal 'sigusr1'; one is named as \"SIGUSR1\"",
            function() mp.on_signal("sigusr1", print) end)
        misuse("mp.on_signal: there is no signal named by 10", function() mp.on_signal(10, print) end)
        misuse("mp.on_signal: there is no signal named by nothing", function() mp.on_signal() end)
        misuse("mp.on_signal: expected a function, false or nil, not true", function() mp.on_signal("USR1", true) end)
        misuse("mp.on_signal: expected a function, false or nil, not the string \"f\"",
            function() mp.on_signal("USR1", "f") end)
        misuse("mp.on_signal: SIGKILL cannot be handled", function() mp.on_signal("KILL", print) end)
        misuse("mp.on_signal: SIGSTOP cannot be handled", function() mp.on_signal("SIGSTOP", false) end)
        misuse("mp.on_signal: SIGSEGV tells of a fault", function() mp.on_signal("SEGV", print) end)
        misuse("mp.on_signal: SIGCHLD cannot be ignored", function() mp.on_signal("CHLD", false) end)
    end)
end)

describe("a handler in place of an interruption", function()
    it("is what Ctrl-C and SIGTERM call, and nobody is ended", function()
        for signal in pairs { INT = true, TERM = true, HUP = true } do
            local result = driver.signalled { script = ([[
                local mp = require "luamp"
                local p = mp.process { stdin = "pipe", target = function() return io.read() end }:start()
                mp.on_signal("%s", function(name)
                    print(name)
                    p.stdin:write "whole\n":flush()
                end)
                print "ready"
                io.stdout:flush()
                print(p:result())]]):format(signal), signal = signal, alone = signal ~= "INT" }
            assert.same({ 0, "SIG" .. signal .. "\nwhole\n", "" }, { result.status, result.stdout, result.stderr })
        end
    end)

    it("gives way to it again with nil", function()
        local result = driver.signalled { script = [[
            local mp = require "luamp"
            mp.on_signal("INT", print)
            mp.on_signal("INT", nil)
            print "ready"
            io.stdout:flush()
            mp.sleep(1000)]], signal = "INT" }
        assert.equal(130, result.status)
        assert.matches(": interrupted\n$", result.stderr)
    end)

    it("that loops for ever is ended by Ctrl-C", function()
        local result = driver.signalled { script = [[
            local mp = require "luamp"
            mp.on_signal("USR1", function()
                print "ready"
                io.stdout:flush()
                while true do end
            end)
            os.execute("kill -USR1 " .. mp.getpid())]], signal = "INT" }
        assert.equal(130, result.status)
        assert.matches(": interrupted\n$", result.stderr)
    end)
end)

-- The stock interpreter has closed its state when it waits for what is left.
if helper.host == helper.luamp then
    describe("a handler while the program waits for its last children", function()
        local last = [[
            mp.process { stdin = "pipe", target = function()
                io.read() -- until the script has ended
                os.execute("kill -TERM " .. mp.getppid())
                mp.sleep(%s)
            end }:start()
            mp.on_signal("TERM", function(name) print(name) io.stdout:flush() %s end)]]

        it("runs, and the wait goes on", function()
            local result = helper.script_run(last:format("0.2", ""))
            assert.same({ 0, "SIGTERM\n", "" }, { result.status, result.stdout, result.stderr })
        end)

        it("ends them by an error, which is reported and makes the status 1", function()
            local result = helper.script_run(last:format("1000", "error 'enough'"))
            assert.same({ 1, "SIGTERM\n" }, { result.status, result.stdout })
            assert.matches("^luamp: a handler of mp.on_signal failed: [^\n]*: enough\n", result.stderr)
        end)

        it("is called no more after one has failed, and the signal does no harm", function()
            local result = helper.script_run [[
                local main = mp.getpid()
                mp.process { stdin = "pipe", target = function()
                    mp.on_signal("TERM", false)
                    io.read()
                    for _ = 1, 20 do os.execute("kill -USR1 " .. main .. "; sleep 0.01") end
                    mp.sleep(60)
                end }:start()
                mp.on_signal("USR1", function(name) print(name) io.stdout:flush() error "enough" end)]]
            assert.same({ 1, "SIGUSR1\n" }, { result.status, result.stdout })
            assert.matches("^luamp: a handler of mp.on_signal failed: [^\n]*: enough\n", result.stderr)
        end)

        it("may end the program by os.exit", function()
            local result = helper.script_run(last:format("1000", "os.exit(7)"))
            assert.same({ 7, "SIGTERM\n", "" }, { result.status, result.stdout, result.stderr })
        end)

        it("may start and join others", function()
            local result = helper.script_run(last:format("0.2",
                "print(mp.process(function() return 'another' end):start():result())"))
            assert.same({ 0, "SIGTERM\nanother\n", "" }, { result.status, result.stdout, result.stderr })
        end)

        it("is interrupted by Ctrl-C with status 130", function()
            local result = helper.script_run(last:format("1000",
                "mp.process { command = { 'kill', '-INT', '' .. mp.getpid() } }:start() while true do end"))
            assert.same({ 130, "SIGTERM\n", "luamp: interrupted\n" }, { result.status, result.stdout, result.stderr })
        end)
    end)
end

describe("a handler in a child that waits for its last children", function()
    it("runs, and an error there makes the child's status 1", function()
        for word, code in pairs { ["print(name)"] = 0, ["error 'enough'"] = 1 } do
            local result = helper.script_run(([[
                local p = mp.process(function()
                    mp.on_signal("USR1", function(name) %s end)
                    mp.process { stdin = "pipe", target = function()
                        io.read() -- until the child's function has ended
                        os.execute("kill -USR1 " .. mp.getppid())
                        mp.sleep(0.1)
                    end }:start()
                end):start()
                p:join()
                print(p.exitcode)]]):format(word))
            assert.equal((code == 0 and "SIGUSR1\n" or "") .. code .. "\n", result.stdout)
            assert.matches(code == 1 and "a handler of mp.on_signal failed: .*enough" or "^$", result.stderr)
        end
    end)
end)

describe("a storm of signals", function()
    local function storm(code)
        return helper.script_run([[
            local handled = 0
            mp.on_signal("USR1", function() handled = handled + 1 end)
            local main = mp.getpid()
            local storm = mp.process { daemon = true, command = { "sh", "-c",
                "while kill -USR1 " .. main .. " 2>/dev/null; do :; done" } }:start()
        ]] .. code)
    end

    it("with a handler lets a join of 1 s end in time", function()
        local result = storm [[
            local p = mp.process(function() mp.sleep(1000) end):start()
            local before = mp.clock()
            print(p:join(1))
            local took = mp.clock() - before
            storm:kill()
            storm:join()
            p:kill()
            print(took >= 1 and took < 3, handled > 0)]]
        assert.same({ 0, "nil\ttimeout\ntrue\ttrue\n", "" }, { result.status, result.stdout, result.stderr })
    end)

    it("leaves debug hooks as they were, and the next signal is handled", function()
        local set = 'debug.sethook(hook, "", 1000000)'
        for _, code in ipairs { { "", "" }, { set, "" }, { set, set } } do
            local result = helper.script_run(([[
                local kill = require "killer"
                local function hook() end
                local handled, main = 0, mp.getpid()
                %s
                local before = { debug.gethook() }
                mp.on_signal("USR1", function() handled = handled + 1 end)
                local p
                local function step(n) return n + 1 end
                while handled < 8000 or p:is_alive() do
                    if not p or not p:is_alive() then p = mp.process(function() kill(main, 10, 50000) end):start() end
                    coroutine.wrap(function() for i = 1, 100 do step(i) end end)()
                    for i = 1, 100 do step(i) end
                    %s
                end
                p:join()
                local seen = handled
                kill(main, 10)
                for i = 1, 2 do step(i) end
                local after = { debug.gethook() }
                print(seen > 0, handled == seen + 1, #before == #after, before[1] == after[1], before[3] == after[3])
                ]]):format(table.unpack(code)), nil, { env = { LUA_CPATH = helper.killer() } })
            assert.same({ 0, "true\ttrue\ttrue\ttrue\ttrue\n", "" }, { result.status, result.stdout, result.stderr })
        end
    end)

    it("finds the library's own code never in the middle of something", function()
        local result = helper.script_run([[
            local kill = require "killer"
            local handled, inside = 0, 0
            local main, pid = coroutine.running(), mp.getpid()
            mp.on_signal("USR1", function()
                handled = handled + 1
                local at = debug.getinfo(main, 0, "S").source
                if at:find "^=luamp:" then inside = inside + 1 end
            end)
            local p
            while handled < 8000 or p:is_alive() do
                if not p or not p:is_alive() then p = mp.process(function() kill(pid, 10, 20000) end):start() end
                for _ = 1, 100 do mp.process { name = "x", args = { 1, 2, 3 }, target = print } end
            end
            print(inside, handled > 0)]], nil, { env = { LUA_CPATH = helper.killer() } })
        assert.same({ 0, "0\ttrue\n", "" }, { result.status, result.stdout, result.stderr })
    end)

    it("whose handler starts and joins processes breaks nothing of what goes on", function()
        local result = helper.script_run [[
            local mine, handled, inside = 0, 0, 0
            local main = coroutine.running()
            local function work(n)
                local p = mp.process { target = function(x) return x, { x } end, args = { n },
                    stdout = n % 2 == 0 and "capture" or nil }:start()
                local x, list = p:result()
                assert(x == n and list[1] == n and p.exitcode == 0 and p.error == nil)
                p:close()
            end
            local list = {}
            mp.on_signal("USR1", function()
                handled = handled + 1
                local at = debug.getinfo(main, 0, "S").source
                if at:find "^=luamp:" then inside = inside + 1 end
                work(handled)
                list[#list + 1] = mp.process(function() end):start()
                if handled == 150 then mp.on_signal("USR1", false) end -- or all time goes into handlers
            end)
            local storm = mp.process { command = { "sh", "-c",
                "while kill -USR1 " .. mp.getpid() .. " 2>/dev/null; do :; done" } }:start()
            while handled < 150 or mine == 0 do
                mine = mine + 1
                work(mine)
                mp.active_children()
                if mine % 5 == 0 then mp.wait({ storm }, 0.001) end
            end
            storm:kill()
            storm:join()
            for _, p in ipairs(list) do p:join() p:close() end
            print(inside, #mp.active_children(), #list == handled, mine > 0)]]
        assert.same({ 0, "0\t0\ttrue\ttrue\n", "" }, { result.status, result.stdout, result.stderr })
    end)
end)
