-- Ctrl-C, SIGTERM and SIGHUP end a family, at once and from wherever it is.
local helper = require "spec.helper"
local driver = require "spec.driver"

local family = [[
local mp = require "luamp"
for i = 1, 8 do
    mp.process { target = function() while true do end end }:start()
end
local first = mp.active_children()[1]
print "ready"
io.stdout:flush()
]]

-- Where it runs, and where it waits.
local loops = {
    ["a loop"] = "while true do end",
    ["a coroutine's loop"] = "coroutine.wrap(function() while true do end end)()",
    ["a coroutine in a coroutine"] = [[
        coroutine.wrap(function() coroutine.wrap(function()
            local n = 0
            while true do n = n + 1 end
        end)() end)()]],
    ["a loop after a coroutine"] = "coroutine.wrap(function() end)() while true do end",
    ["a __close handler of a coroutine"] = [[
        local co = coroutine.create(function()
            local x <close> = setmetatable({}, { __close = function() while true do end end })
            coroutine.yield()
        end)
        coroutine.resume(co)
        error(select(2, coroutine.close(co)), 0)]],
}
local waits = {
    ["join"] = "first:join()",
    ["join in a coroutine"] = "coroutine.wrap(function() first:join() end)()",
    ["result"] = "first:result()",
    ["stop"] = [[
        local is_set_up = mp.event()
        local slow = mp.process(function()
            mp.on_signal("SIGTERM", function() mp.sleep(0.3) os.exit() end)
            is_set_up:set()
            mp.sleep(1000)
        end):start()
        is_set_up:wait()
        slow:stop(1000)]],
    ["sleep"] = "mp.sleep(1000)",
    ["mp.wait"] = "mp.wait(mp.active_children())",
    ["a condition's wait whose lock another process keeps"] = [[
        local c = mp.condition()
        c:acquire()
        mp.process(function() c:acquire() c:notify() while true do end end):start()
        c:wait()]],
    ["the join at the end of the script"] = "",
}

-- Where luamp does not see which thread runs: functions that were saved before
-- it was loaded (in the program, which has loaded it before, they are its own).
local unseen = {
    ["sleep in a coroutine resumed by a saved function"] = "saved_wrap(function() mp.sleep(1000) end)()",
    ["join in a coroutine resumed by a saved function"] = "saved_wrap(function() first:join() end)()",
    ["a loop after a coroutine in which the module was loaded"] = [[
        saved_wrap(function()
            package.loaded.luamp = nil
            require "luamp"
        end)()
        collectgarbage()
        while true do end]],
    ["a __close handler of a coroutine that failed"] = [[
        coroutine.wrap(function()
            local x <close> = setmetatable({}, { __close = function() while true do end end })
            error "x"
        end)()]],
    ["a join inside a finalizer, after which it is raised"] = [[
        setmetatable({}, { __gc = function() pcall(first.join, first) end })
        while true do collectgarbage() end]],
}

local function is_gone(group)
    return function() return #driver.group(group) == 0 end
end

-- One line: the host's name and the word.
local function assert_ended(result, status, word)
    assert.equal(status, result.status)
    assert.matches("^[^\n]*luam?p?[0-9.]*: " .. word .. "\n$", result.stderr)
    assert.is_true(result.seconds < (helper.sanitized and 5 or 1), result.seconds)
    helper.wait_until(is_gone(result.group), "the end of all children", 0.5)
end

describe("Ctrl-C with 8 children in", function()
    for place, code in pairs(loops) do
        it(place .. ": status 130, one line, nobody left, under 1 s", function()
            assert_ended(driver.signalled { script = family .. code, signal = "INT", delay = 0.05 },
                130, "interrupted")
        end)
    end

    for place, code in pairs(waits) do
        it(place .. ": status 130, one line, nobody left, under 1 s", function()
            assert_ended(driver.signalled { script = family .. code, signal = "INT", asleep = true },
                130, "interrupted")
        end)
    end
end)

describe("Ctrl-C with 8 children where luamp cannot see the running thread, in", function()
    for place, code in pairs(unseen) do
        it(place, function()
            local script = "local saved_wrap = coroutine.wrap\n" .. family .. code
            assert_ended(driver.signalled { script = script, signal = "INT", delay = 0.05 }, 130, "interrupted")
        end)
    end

    it("a loop of coroutines, at any moment", function()
        local seed = os.time()
        math.randomseed(seed)
        for round = 1, 20 do
            local result = driver.signalled { script = family .. [[
                while true do
                    coroutine.wrap(function() coroutine.yield(coroutine.wrap(function() end)()) end)()
                end]], signal = "INT", delay = math.random() * 0.02 }
            assert.same({ 130, round, seed }, { result.status, round, seed })
        end
    end)
end)

describe("a signal to the main process alone", function()
    it("SIGTERM ends the family with status 143", function()
        local result = driver.signalled { script = family .. "mp.sleep(1000)", signal = "TERM", alone = true }
        assert_ended(result, 143, "interrupted by SIGTERM")
    end)

    it("SIGHUP ends the family with status 129", function()
        local result = driver.signalled { script = family .. "while true do end", signal = "HUP", alone = true }
        assert_ended(result, 129, "interrupted by SIGHUP")
    end)

    it("runs the atexit hooks", function()
        local result = driver.signalled {
            script = "require 'luamp'.atexit(function() print 'hook' end)\n" .. family .. "mp.sleep(1000)",
            signal = "TERM", alone = true,
        }
        assert.equal("hook\n", result.stdout)
        assert.equal(143, result.status)
    end)
end)

describe("an interruption", function()
    -- `interrupted(f)` calls f protected, and is interrupted there.
    local function run(code)
        return driver.signalled { script = [[
            local mp = require "luamp"
            local function interrupted(f, ...)
                return pcall(function(...)
                    print "ready"
                    io.stdout:flush()
                    return f(...)
                end, ...)
            end
        ]] .. code, signal = "INT" }
    end

    it("is an error object that can be caught, and the program goes on", function()
        local result = run [[
            local ok, e = interrupted(mp.sleep, 1000)
            print(ok, mp.is_error(e), e.kind, e.signal, e.message)
            print(mp.process { target = function() return "on" end }:start():result())
        ]]
        assert.same({ "false\ttrue\tinterrupted\tSIGINT\tinterrupted\non\n", "", 0 },
            { result.stdout, result.stderr, result.status })
    end)

    it("does not reach the children's functions", function()
        local result = run [[
            local child = mp.process { target = function() mp.sleep(0.3) return "whole" end }:start()
            interrupted(mp.sleep, 1000)
            print(child:result())
        ]]
        assert.same({ "whole\n", "", 0 }, { result.stdout, result.stderr, result.status })
    end)

    it("puts a debug hook of the script back", function()
        local result = run [[
            local function hook() end
            debug.sethook(hook, "l", 7)
            interrupted(function() while true do end end)
            local now, mask, count = debug.gethook()
            print(now == hook, mask, count)
        ]]
        assert.equal("true\tl\t7\n", result.stdout)
    end)

    it("kills at once when a second one comes before the first is taken", function()
        local result = driver.signalled { script = [[
            local mp = require "luamp"
            print "ready"
            io.stdout:flush()
            string.rep("x", 1 << 30):find(("x?"):rep(40) .. ("x"):rep(40) .. "y")
        ]], signal = "INT -- -$main; sleep 0.2; kill -s INT" }
        assert.equal(130, result.status)
    end)

    it("that was caught does not count when the script fails later for another reason", function()
        local result = run [[
            interrupted(mp.sleep, 1000)
            error("another reason", 0)
        ]]
        assert.equal(1, result.status)
        assert.matches("another reason", result.stderr)
    end)

    it("leaves signals ignored that were ignored when the program began", function()
        local script = helper.script [[
            local mp = require "luamp"
            os.execute("kill -HUP " .. mp.getpid())
            mp.sleep(0.05)
            print "alive"
        ]]
        local result = helper.run(("trap '' HUP; %s %s"):format(helper.host, script))
        assert.same({ status = 0, stdout = "alive\n", stderr = "" }, result)
    end)
end)

describe("an interruption inside the fork itself", function()
    local path
    before_each(function()
        -- Signals are blocked during a fork: this one arrives when it is over, before `start` is.
        path = helper.library("interrupting", [[
            #include <lua.h>
            #include <pthread.h>
            #include <signal.h>
            #include <unistd.h>
            static int left;
            static void parent(void) { if (left > 0 && left-- == 1) kill(getpid(), SIGINT); }
            static int at(lua_State *L) { left = (int)lua_tointeger(L, 1); return 0; }
            int luaopen_interrupting(lua_State *L) {
                pthread_atfork(0, parent, 0);
                lua_pushcfunction(L, at);
                return 1;
            }]])
    end)

    it("is raised by start as what it is, and the child that was born is known", function()
        helper.needs_fork "pthread_atfork knows of no other"
        local result = helper.script_run([[
            local at = require "interrupting"
            for _, options in ipairs { {}, { stdout = "capture", nice = 1 } } do
                options.target = function() return "done" end
                local p = mp.process(options)
                at(1)
                local ok, e = pcall(p.start, p)
                print(ok, mp.is_error(e) and e.kind, p.pid == e.pid, #mp.active_children() <= 1, p:result())
                print(pcall(p.start, p))
                p:close()
            end
        ]], nil, { env = { LUA_CPATH = path } })
        local once = "false\tinterrupted\tfalse\ttrue\tdone\nfalse\t[^\n]*has been started already\n"
        assert.matches("^" .. once .. once .. "$", result.stdout)
        assert.same({ 0, "" }, { result.status, result.stderr })
    end)

    it("ends the family when nobody catches it", function()
        helper.needs_fork "pthread_atfork knows of no other"
        local result = helper.script_run([[
            require "interrupting" (1)
            mp.process { target = function() mp.sleep(1000) end }:start()
        ]], nil, { env = { LUA_CPATH = path } })
        assert.equal(130, result.status)
        assert.matches("^[^\n]*: interrupted\n$", result.stderr)
    end)
end)

describe("a child that interrupts its parent whenever it is told to stop", function()
    for last, status in pairs { [""] = 130, ["os.exit(3)"] = 3 } do
        it("does not keep it, after " .. (last ~= "" and last or "the script's end"), function()
            local result = helper.script_run(([[
                local p = mp.process { daemon = true, command = { "sh", "-c",
                    "trap 'kill -INT $PPID' TERM; echo ready; while :; do sleep 0.01; done" },
                    stdout = "pipe" }:start()
                p.stdout:read()
                %s]]):format(last))
            assert.equal(status, result.status)
            assert.is_true(#result.stderr < 200, result.stderr)
        end)
    end
end)
