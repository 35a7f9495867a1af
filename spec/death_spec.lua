-- death_spec.lua: how a process ended, told by its parent and on stderr.
local helper = require "spec.helper"
local mp = require "luamp"

local started, result_of, error_of = helper.started, helper.result_of, helper.error_of
local script = helper.script_run

describe("a process that left by os.exit", function()
    it("has an error of kind exit when the status is not 0", function()
        local e = error_of(function() os.exit(3) end)
        assert.equal("exit", e.kind)
        assert.equal(3, e.exitcode)
        assert.is_truthy(e.message:find "3")
        assert.equal("exit", error_of(function() os.exit(false) end).kind)
        assert.equal(0, select("#", result_of(function() os.exit(true) end)))
        local p <close> = started(os.exit, true)
        p:join()
        assert.is_nil(p.error)
    end)

    it("flushes what it wrote, in files of its own as well", function()
        local path = helper.tmpdir() .. "/f"
        local p <close> = mp.process { stdout = "capture", target = function()
            local file = io.open(path, "w")
            file:write "in file"
            io.write "on stdout"
            os.exit(0)
        end }:start()
        p:join()
        assert.equal("on stdout", p.stdout)
        assert.equal("in file", helper.read(path))
    end)

    it("from within pcall, a coroutine and a hook", function()
        assert.equal(4, error_of(function() pcall(function() os.exit(4) end) end).exitcode)
        assert.equal(4, error_of(function() coroutine.wrap(os.exit)(4) end).exitcode)
        assert.equal(4, error_of(function()
            debug.sethook(function() os.exit(4) end, "", 1)
            while true do end
        end).exitcode)
    end)
end)

describe("a process killed by a signal", function()
    -- A sanitizer takes SIGSEGV for a fault of the program.
    local last = helper.sanitized and "SIGUSR2" or "SIGSEGV"
    for _, signal in ipairs { "SIGKILL", "SIGTERM", "SIGABRT", "SIGUSR1", "SIGHUP", "SIGPIPE", last } do
        it("tells that it was " .. signal, function()
            local p <close> = started(mp.sleep, 60)
            p:signal(signal)
            local e = helper.fails({ kind = "signal", signal = signal }, p.result, p)
            assert.equal(p.exitcode, e.exitcode)
            assert.is_true(e.exitcode < 0)
            assert.is_truthy(e.message:find(p.name, 1, true))
            assert.is_truthy(e.message:find(signal, 1, true))
            assert.is_nil(e.message:find "memory")
        end)
    end

    it("after it left its results has none", function()
        local p <close> = started(function()
            mp.atexit(function() os.execute("kill -KILL " .. mp.getpid()) mp.sleep(60) end)
            return 1
        end)
        helper.fails({ kind = "signal", signal = "SIGKILL" }, p.result, p)
    end)
end)

-- A sanitizer reports requests that are too large, and does not start under a limit.
local without_sanitizer = helper.sanitized and function() end or it

describe("out of memory", function()
    without_sanitizer("of Lua is an error like others", function()
        local e = error_of(function() local file <close> = io.open "/dev/null" return file:read(1 << 46) end)
        assert.equal("error", e.kind)
        assert.is_truthy(e.message:find "not enough memory", e.message)
        assert.is_truthy(tostring(e):find "not enough memory")
    end)

    without_sanitizer("under a limit of the address space too", function()
        local run = script([[
            local p = mp.process { target = function()
                local t = {}
                for i = 1, 1e9 do t[i] = ("x"):rep(10000) .. i end
            end }:start()
            local ok, e = pcall(p.result, p)
            print(ok, e.kind, e.message, e.exitcode)]], "ulimit -v 100000")
        assert.equal("false\terror\tnot enough memory\t1\n", run.stdout, run.stderr)
        assert.is_truthy(run.stderr:find "process%-1.*not enough memory", run.stderr)
    end)

    it("by the kernel's hand is told", function()
        local enter, remove = helper.memory_group(80000000)
        local run = helper.script_run([[
            for i = 1, 2 do
                local p = mp.process { target = function()
                    local t = {}
                    for i = 1, 1e9 do t[i] = ("x"):rep(100000) .. i end
                end }:start()
                local ok, e = pcall(p.result, p)
                print(ok, e.kind, e.signal, e.exitcode, e.message:find "out of memory" ~= nil)
                local q = mp.process { target = mp.sleep, args = { 60 } }:start()
                q:kill()
                q:join()
                print(q.error.message:find "out of memory")
            end
            -- Asked late, and in the other order: it is told of the right one.
            local q = mp.process { target = mp.sleep, args = { 60 } }:start()
            q:kill()
            q:join()
            local p = mp.process { target = function()
                local t = {}
                for i = 1, 1e9 do t[i] = ("x"):rep(100000) .. i end
            end }:start()
            p:join()
            print(q.error.message:find "out of memory", p.error.message:find "out of memory" ~= nil)
            ]], enter)
        remove()
        local once = "false\tsignal\tSIGKILL\t-9\ttrue\nnil\n"
        assert.equal(once .. once .. "nil\ttrue\n", run.stdout, run.stderr)
    end)
end)

describe("the first death by the kernel's hand is told of as such", function()
    for how, wait in pairs {
        ["is_alive"] = "while p:is_alive() do mp.sleep(0.01) end",
        ["mp.wait"] = "mp.wait { p }",
        ["mp.wait with other things"] = "mp.wait { mp.queue(), p }",
        ["a scope"] = "pcall(mp.scope, function(s) p:close() p = s:start(eat) mp.sleep(60) end)",
    } do
        it("to who has only looked by " .. how, function()
            local enter, remove = helper.memory_group(80000000)
            local run = helper.script_run(([[
                local function eat()
                    mp.sleep(0.2)
                    local t = {}
                    for i = 1, 1e9 do t[i] = ("x"):rep(100000) .. i end
                end
                local p = mp.process { target = eat }
                if %q ~= "a scope" then p:start() end
                %s
                print(p.error.signal, p.error.message:find "out of memory" ~= nil)]]):format(how, wait), enter)
            remove()
            assert.equal("SIGKILL\ttrue\n", run.stdout, run.stderr)
        end)
    end
end)

describe("a status that other code took", function()
    -- A module that waits for any child, as other people's modules do, until those with the pids have ended.
    local function thief()
        local dir = helper.tmpdir()
        helper.write(dir .. "/thief.c", [[
            #include <signal.h>
            #include <sys/wait.h>
            #include <unistd.h>
            int lua_gettop(void *L);
            long long lua_tointegerx(void *L, int index, int *is_one);
            int luaopen_thief(void *L) {
                for (int i = 1; i <= lua_gettop(L); i++)
                    while (kill(lua_tointegerx(L, i, 0), 0) == 0)
                        if (waitpid(-1, 0, WNOHANG) <= 0)
                            usleep(1000);
                return 0;
            }]])
        assert(os.execute(("cc -shared -fPIC -o %s/thief.so %s/thief.c"):format(dir, dir)))
        return assert(package.loadlib(dir .. "/thief.so", "luaopen_thief"))
    end

    it("by wait for any child: results, errors and exit codes are whole", function()
        local steal = thief()
        local good, bad, exit = started(function() return "result" end), started(error, "oops"), started(os.exit, 7)
        steal(good.pid, bad.pid, exit.pid)
        assert.is_false(good:is_alive())
        assert.is_true(good:join(1))
        assert.equal("result", good:result())
        assert.same({ 0, 1, 7 }, { good.exitcode, bad.exitcode, exit.exitcode })
        assert.is_truthy(bad.error.message:find "oops")
        assert.equal("exit", exit.error.kind)
        assert.is_false(good:kill())
        for _, p in ipairs { good, bad, exit } do p:close() end
    end)

    it("of a killed one: a signal, which is not known", function()
        local steal = thief()
        local p <close> = started(mp.sleep, 60)
        p:signal "SIGUSR1"
        steal(p.pid)
        local e = helper.fails({ kind = "signal" }, p.result, p)
        assert.is_truthy(e.message:find("other code took", 1, true), e.message)
        assert.is_true(p.exitcode < 0)
    end)

    it("or that the kernel did not keep, because SIGCHLD is ignored", function()
        local run = script([[
            local p = mp.process { target = function() return "result" end }:start()
            print(p:join(), p.exitcode, p:result())
            local q = mp.process { target = os.exit, args = { 7 } }:start()
            print(q:join(), q.exitcode, q.error.kind)
            local r = mp.process { target = mp.sleep, args = { 60 } }:start()
            print(r:is_alive(), r:join(0.05))
            r:kill()
            print(r:join(5), r.exitcode, r.error.kind, r:is_alive())
            local s = mp.process { target = mp.sleep, args = { 60 } }:start()
            print(s:stop(), #mp.active_children())]], "trap '' CHLD")
        assert.equal("true\t0\tresult\ntrue\t7\texit\ntrue\tnil\ttimeout\ntrue\t-9\tsignal\tfalse\ntrue\t0\n",
            run.stdout, run.stderr)
        assert.equal(0, run.status)
    end)
end)

describe("the report of an uncaught error", function()
    it("is one, whole, with name and pid, on the child's stderr", function()
        local p <close> = mp.process { name = "broken", stderr = "capture", target = function()
            local function thrower() error "oops" end
            thrower()
        end }:start()
        p:join()
        local report = p.stderr
        local head = "^luamp: process 'broken' %(pid " .. p.pid .. "%)[^\n]*oops\nstack traceback:\n"
        assert.is_truthy(report:find(head), report)
        assert.is_truthy(report:find "thrower")
        assert.is_truthy(report:find "\n$")
        assert.is_nil(report:find "\n\n")
        assert.equal(1, select(2, report:gsub("oops", "")))
    end)

    it("is told once, by the process where it was raised, and again where it goes uncaught", function()
        local run = script [[
            local p = mp.process { name = "child", target = function() error "oops" end }:start()
            p:result()]]
        assert.equal(1, run.status)
        assert.equal(2, select(2, run.stderr:gsub("oops", "")), run.stderr)
        assert.is_truthy(run.stderr:find("in main chunk", 1, true))
    end)

    it("of many at once are not mixed", function()
        local run = script [[
            local list = {}
            for i = 1, 20 do
                list[i] = mp.process { name = "p" .. i, target = function() error(("x"):rep(3000) .. i, 0) end }:start()
            end
            for i, p in ipairs(list) do p:join() end]]
        local n = 0
        for name, text, i in run.stderr:gmatch "luamp: process '(p%d+)' %(pid %d+%) failed: (x+)(%d+)\n" do
            n = n + (name == "p" .. i and #text == 3000 and 1 or 0)
        end
        assert.equal(20, n, run.stderr)
    end)

    it("is not made for exits, signals, and errors that were caught", function()
        local p <close> = mp.process { stderr = "capture", target = function()
            pcall(error, "caught")
            os.exit(3)
        end }:start()
        p:join()
        assert.equal("", p.stderr)
    end)

    it("is made once: a process that fails by another's error says whose", function()
        local run = script [[
            mp.process { name = "outer", target = function()
                mp.process { name = "inner", target = function() error("first", 0) end }:start():result()
            end }:start():join()
        ]]
        local _, whole = run.stderr:gsub("stack traceback:", "")
        assert.equal(1, whole, run.stderr)
        assert.matches("luamp: process 'inner' %(pid %d+%) failed: first\n", run.stderr)
        assert.matches("luamp: process 'outer' %(pid %d+%) failed by what happened in process 'inner' "
            .. "%(pid %d+%): first\n$", run.stderr)
    end)
end)
