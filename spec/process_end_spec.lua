-- process_end_spec.lua: what becomes of children when their process, the script
-- or a <close> scope ends, and of daemons and detached ones; atexit hooks.
local helper = require "spec.helper"
local mp = require "luamp"

local result_of = helper.result_of

-- Runs a script under this host, which ends by itself.
local function script(text, options)
    return helper.script_run(text, nil, options)
end

describe("a process that ends with children of its own", function()
    it("joins them after its target's return", function()
        local p = mp.process { target = function()
            mp.process { target = function() mp.sleep(0.1) io.write "child " end }:start()
            io.write "parent "
            io.flush()
        end, stdout = "capture" }:start()
        p:join()
        assert.equal("parent child ", p.stdout)
        p:close()
    end)

    it("stops its daemons", function()
        local t = mp.clock()
        result_of(function() mp.process { target = mp.sleep, args = { 60 }, daemon = true }:start() end)
        assert.is_true(mp.clock() - t < 5)
    end)

    it("stops them after an error and after os.exit", function()
        for _, how in ipairs { error, os.exit } do
            local p = mp.process { target = function()
                mp.process { target = mp.sleep, args = { 60 } }:start()
                how(3)
            end, stderr = "null" }:start()
            assert.is_true(p:join(10))
            p:close()
        end
    end)
end)

describe("the end of the script", function()
    it("joins children and stops daemons", function()
        local result = script [[
            mp.process { target = mp.sleep, args = { 60 }, daemon = true }:start()
            mp.process { target = function() mp.sleep(0.1) print "joined" end }:start()
            print "end"]]
        assert.same({ status = 0, stdout = "end\njoined\n", stderr = "" }, result)
    end)

    for how, status in pairs { ["os.exit(3)"] = 3, ["os.exit(true, true)"] = 0, ["error 'oops'"] = 1 } do
        it("stops all at " .. how, function()
            local t = mp.clock()
            local result = script([[
                local p = mp.process { target = mp.sleep, args = { 60 } }:start()
                print(p.pid)
                mp.atexit(function() print "hook" end)
                ]] .. how)
            local pid = result.stdout:match "^(%d+)\nhook\n$"
            assert.is_truthy(pid, result.stdout)
            assert.is_false(helper.alive(pid))
            assert.equal(status, result.status)
            assert.is_true(mp.clock() - t < 5)
        end)
    end

    it("runs atexit hooks newest first, each process its own, and all despite errors", function()
        local result = script [[
            mp.atexit(function() print "first" end)
            mp.atexit(function() error "bad hook" end)
            mp.atexit(function() print "last" end)
            local p = mp.process { target = function()
                mp.atexit(function() print "child" end)
            end }:start()
            p:join()
            print "end"]]
        assert.equal("child\nend\nlast\nfirst\n", result.stdout)
        assert.equal(0, result.status)
        assert.is_truthy(result.stderr:find "bad hook")
    end)

    it("runs the hooks of a child that leaves by os.exit or an error", function()
        for _, how in ipairs { os.exit, error } do
            local p = mp.process { target = function()
                mp.atexit(function() io.write "hook" end)
                how(3)
            end, stdout = "capture", stderr = "null" }:start()
            p:join()
            assert.equal("hook", p.stdout)
            p:close()
        end
    end)

    it("leaves a detached one alone, which sees that its parent is gone", function()
        local dir = helper.tmpdir()
        local path = helper.script(([[
            local mp = require "luamp"
            local dir = %q
            local p = mp.process { detached = true, stdout = "pipe", stderr = "null", target = function()
                local parent = mp.parent_process()
                local alive = parent:is_alive()
                print "up"
                io.flush()
                local joined = parent:join(10)
                local file = io.open(dir .. "/t", "w")
                file:write(tostring(alive), " ", tostring(joined), " ", tostring(parent:is_alive()))
                file:close()
                os.rename(dir .. "/t", dir .. "/done")
            end }:start()
            assert(p.stdout:read "l" == "up")
            print(p.pid)]]):format(dir))
        local run = helper.run(helper.host .. " " .. path)
        assert.equal(0, run.status)
        local pid = run.stdout:match "%d+"
        helper.wait_until(function() return io.open(dir .. "/done") end, "the detached one"):close()
        assert.equal("true true false", helper.read(dir .. "/done"))
        helper.wait_until(function() return not helper.alive(pid) end, "its end")
    end)
end)

describe("daemons", function()
    it("are inherited", function()
        local function daemons()
            return mp.current_process().daemon, mp.process { target = print }.daemon,
                mp.process { target = print, daemon = false }.daemon
        end
        local a = mp.process { target = daemons, daemon = true }:start()
        assert.same({ true, true, false }, { a:result() })
        local b = mp.process { target = daemons }:start()
        assert.same({ false, false, false }, { b:result() })
        assert.is_true(a.daemon)
        assert.is_false(b.daemon)
        a:close()
        b:close()
    end)
end)

describe("a <close> scope", function()
    it("joins a process", function()
        local p
        do
            local q <close> = mp.process { target = function() mp.sleep(0.05) end }:start()
            p = q
        end
        assert.is_false(p:is_alive())
        assert.equal(0, p.exitcode)
        p:close()
    end)

    it("stops a daemon", function()
        local p
        do
            local q <close> = mp.process { target = mp.sleep, args = { 60 }, daemon = true }:start()
            p = q
        end
        assert.equal(-15, p.exitcode)
        p:close()
    end)

    it("stops it after an error, which goes on", function()
        local p
        helper.fails("^mine$", function()
            local q <close> = mp.process { target = mp.sleep, args = { 60 } }:start()
            p = q
            error("mine", 0)
        end)
        assert.is_false(p:is_alive())
        assert.is_true(p.exitcode < 0)
        p:close()
    end)

    it("is harmless for one that is new, closed or another's", function()
        do
            local new <close> = mp.process { target = print } -- luacheck: ignore
            local closed <close> = mp.process { target = print }
            closed:close()
        end
        local p = mp.process { target = io.read, stdin = "pipe" }:start()
        if helper.method == "fork" then -- a process cannot be sent
            assert.equal("ok", result_of(function()
                local q <close> = p -- luacheck: ignore
                return "ok"
            end))
        end
        assert.is_true(p:is_alive())
        p.stdin:close()
        p:join()
        p:close()
    end)
end)

describe("an error at any instruction of a start or a join", function()
    -- A debug hook raises once, after n instructions, as Ctrl-C or a sandbox might.
    it("leaves no process unknown, and what follows works", function()
        local run = script [[
            -- The child has the hook, too, and may die of it: its report is not shown.
            local function step(n, stderr)
                local left = n
                pcall(function()
                    debug.sethook(function()
                        left = left - 1
                        if left == 0 then debug.sethook() error("the hook", 0) end
                    end, "", 1)
                    local p = mp.process { stderr = stderr, target = function() return "done" end }
                    p:start()
                    p:join()
                end)
                debug.sethook()
                return left <= 0
            end
            local n = 1
            while step(n, "null") do n = n + 1 end
            for _, p in ipairs(mp.active_children()) do assert(p:join()) end
            print(n > 100, #mp.active_children())
            print(mp.process(function() return "whole" end):start():result())
        ]]
        assert.same({ status = 0, stderr = "", stdout = "true\t0\nwhole\n" }, run)
    end)

    -- Of descriptors that were opened one may be lost, the one that was not noted yet.
    it("leaves no program unknown, and no streams open", function()
        local run = script [[
            local lfs = require "lfs"
            local function descriptors()
                local n = 0
                for _ in lfs.dir "/proc/self/fd" do n = n + 1 end
                return n
            end
            local options = {
                { command = { "true" }, stderr = "null" },
                { command = { "true" }, stdin = "pipe", stdout = "capture", stderr = "capture", cwd = "/" },
            }
            local lost = 0
            mp.process(options[1]):start():join() -- what a family has open is so now
            for _, given in ipairs(options) do
                local n, ended = 1, false
                repeat
                    collectgarbage()
                    local before, left = descriptors(), n
                    local p = mp.process(given)
                    pcall(function()
                        debug.sethook(function()
                            left = left - 1
                            if left == 0 then debug.sethook() error("the hook", 0) end
                        end, "", 1)
                        p:start()
                        p:join()
                        debug.sethook()
                    end)
                    ended = left > 0
                    if p.pid then p:join() p:close() end
                    p = nil
                    collectgarbage()
                    lost = math.max(lost, descriptors() - before)
                    n = n + 1
                until ended
            end
            print(lost <= 2, #mp.active_children())
            os.execute "pgrep -P $PPID -x true"
        ]]
        assert.same({ status = 0, stderr = "", stdout = "true\t0\n" }, run)
    end)
end)

describe("a finalizer", function()
    it("that looks at processes while one is started leaves that one alone", function()
        local run = script [[
            local bad = 0
            for _ = 1, 300 do
                setmetatable({}, { __gc = function() mp.active_children() end })
                local ok, e = pcall(function()
                    return mp.process { command = { "true" }, stdout = "capture" }:start():join()
                end)
                if not ok then bad = bad + 1 print(e) end
            end
            print(bad, #mp.active_children())
        ]]
        assert.same({ status = 0, stderr = "", stdout = "0\t0\n" }, run)
    end)

    it("that reaps what a scope waits for does not make it wait for ever", function()
        local run = script [[
            local poll = require "luamp.core".poll
            local member, other
            local function reap() -- another's descriptor is in the place of the member's then
                member:join()
                member, other = nil, mp.process { target = mp.sleep, args = { 30 } }:start()
            end
            debug.sethook(function()
                if member and debug.getinfo(2, "f").func == poll then
                    setmetatable({}, { __gc = reap })
                    collectgarbage()
                end
            end, "c")
            mp.scope(function(s) member = s:start(mp.sleep, 0.01) end)
            debug.sethook()
            print(other:is_alive())
            other:kill()
            other:join()
        ]]
        assert.same({ status = 0, stderr = "", stdout = "true\n" }, run)
    end)
end)

describe("a child that another process traces", function()
    it("has not ended before its tracer has seen that, and a join waits meanwhile", function()
        local cpath = package.cpath
        package.cpath = helper.library("tracer", [[
            #include <lauxlib.h>
            #include <lua.h>
            #include <sys/prctl.h>
            #include <sys/ptrace.h>
            #include <sys/types.h>
            static int allow(lua_State *L) {
              (void)L;
              prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY); /* where Yama asks for it */
              return 0;
            }
            static int seize(lua_State *L) {
              pid_t pid = (pid_t)luaL_checkinteger(L, 1);
              lua_pushboolean(L, ptrace(PTRACE_SEIZE, pid, 0, 0) == 0);
              return 1;
            }
            int luaopen_tracer(lua_State *L) {
              static const luaL_Reg functions[] = {{"allow", allow}, {"seize", seize}, {NULL, NULL}};
              luaL_newlib(L, functions);
              return 1;
            }]])
        local told, go = mp.queue(), mp.queue()
        local p = helper.started(function()
            require "tracer".allow()
            told:put "allowed"
            mp.sleep(60)
        end)
        assert.equal("allowed", told:get())
        local tracer = helper.started(function(pid)
            told:put(require "tracer".seize(pid))
            go:get()
        end, p.pid)
        assert.is_true(told:get())
        p:kill()
        helper.wait_until(function() return not helper.alive(p.pid) end, "the child's end")
        local before = mp.clock()
        assert.same({ nil, "timeout" }, { p:join(0.3) })
        assert.is_true(mp.clock() - before >= 0.3)
        go:put(true)
        assert.is_true(p:join(30))
        assert.equal(-9, p.exitcode)
        assert.is_true(tracer:join())
        p:close()
        tracer:close()
        package.cpath = cpath
    end)
end)
