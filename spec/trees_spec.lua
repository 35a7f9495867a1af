-- trees_spec.lua: what a process has started by any means goes with it.
--
-- The programs of a test sleep for a number of seconds that is the test's own:
-- by it they are found among all processes, whoever their parent has become.
local helper = require "spec.helper"
local lfs = require "lfs"
local mp = require "luamp"

local kills = math.tointeger(tonumber(os.getenv "LUAMP_KILLS" or 25))
local limit = helper.sanitized and 2 or 0.5 -- seconds

local made = 0
local function fresh_marker()
    made = made + 1
    return ("9%05d%03d"):format(mp.getpid(), made)
end

-- The processes whose command line has the marker; zombies have none.
local function found(marker)
    local list = {}
    for pid in lfs.dir "/proc" do
        local file <close> = pid:find "^%d+$" and io.open("/proc/" .. pid .. "/cmdline") or nil
        if file and (file:read "a" or ""):find(marker, 1, true) then list[#list + 1] = math.tointeger(pid) end
    end
    return list
end

local function runs(marker, n)
    helper.wait_until(function() return #found(marker) >= n end, n .. " processes of " .. marker)
end

local function gone(marker)
    local at = mp.clock()
    helper.wait_until(function() return #found(marker) == 0 end, "the end of all of " .. marker, limit)
    return mp.clock() - at
end

-- A shell's command line that leaves one program behind and waits for another.
local function two_sleeps(marker)
    return ("sleep %s & sleep %s"):format(marker, marker)
end

describe("what a process runs ends with it:", function()
    local ways = {
        ["by os.execute"] = function(line) os.execute(line) end,
        ["by io.popen"] = function(line) io.popen(line):read "a" end,
        ["as a command"] = function(line) mp.process { command = { "sh", "-c", line } }:start():join() end,
        ["in a child of its own"] = function(line)
            mp.process { target = function() os.execute(line) end }:start():join()
        end,
        ["in sessions of their own"] = function(line) os.execute("setsid sh -c '" .. line .. "'") end,
    }
    local ends = {
        kill = function(p) p:kill() end,
        terminate = function(p) p:terminate() end,
        stop = function(p) p:stop(0.1) end,
    }
    for way, run in pairs(ways) do
        for name, finish in pairs(ends) do
            it(way .. ", by " .. name, function()
                local marker = fresh_marker()
                local p <close> = mp.process { target = run, args = { two_sleeps(marker) }, daemon = true,
                    stderr = "null" }:start()
                runs(marker, 2)
                finish(p)
                p:join()
                gone(marker)
            end)
        end
    end

    it("also while its parent computes", function()
        local marker = fresh_marker()
        local p <close> = mp.process { target = os.execute, args = { two_sleeps(marker) } }:start()
        runs(marker, 2)
        p:kill()
        local until_ = mp.clock() + limit
        repeat until mp.clock() > until_ -- luamp is not called: nobody reaps the child
        assert.same({}, found(marker))
        p:join()
    end)

    it("by its timeout", function()
        local marker = fresh_marker()
        local p <close> = mp.process { command = { "sh", "-c", two_sleeps(marker) }, timeout = 0.3 }:start()
        runs(marker, 2)
        assert.equal("timeout", helper.fails({}, p.result, p).kind)
        gone(marker)
    end)

    it("when it ends in order and leaves some behind", function()
        for _, options in ipairs {
            { command = { "sh", "-c" } }, { target = function(line) os.execute(line) end },
        } do
            local marker = fresh_marker()
            local line = ("sleep %s & sleep 0.3"):format(marker)
            if options.command then options.command[3] = line else options.args = { line } end
            local p <close> = mp.process(options):start()
            runs(marker, 1)
            p:result()
            gone(marker)
        end
    end)

    it("and no sooner: another child's end does not touch it", function()
        local marker = fresh_marker()
        local p <close> = mp.process { target = os.execute, args = { two_sleeps(marker) }, daemon = true }:start()
        runs(marker, 2)
        for _ = 1, 20 do
            mp.process { command = { "true" } }:start():join()
            mp.sleep(0.02)
        end
        assert.is_true(#found(marker) >= 2)
        p:kill()
        gone(marker)
    end)
end)

describe("a child that becomes a program", function()
    it("lives on as that, and ends with what it has started", function()
        local path = helper.library("become", [[
            #include <lua.h>
            #include <lauxlib.h>
            #include <unistd.h>
            static int become(lua_State *L) {
                execl("/bin/sh", "sh", "-c", luaL_checkstring(L, 1), (char *)0);
                return 0;
            }
            int luaopen_become(lua_State *L) { lua_pushcfunction(L, become); return 1; }]])
        local marker = fresh_marker()
        local result = helper.script_run(([[
            local become = require "become"
            mp.process { command = { "true" } }:start():join() -- so there is a keeper
            local p = mp.process { target = become, args = { %q } }:start()
            mp.sleep(1)
            print(p:is_alive(), #io.popen("pgrep -fx 'sleep %s'"):read "a" > 4)
            p:kill()
            mp.sleep(%g)
            os.execute("pgrep -fx 'sleep %s'")
        ]]):format(two_sleeps(marker), marker, limit, marker), nil, { env = { LUA_CPATH = path } })
        assert.same({ "true\ttrue\n", "" }, { result.stdout, result.stderr })
    end)
end)

describe("what the main process runs by os.execute", function()
    it("is left alone, as in stock lua", function()
        local marker = fresh_marker()
        helper.script_run(([[
            local p <close> = mp.process { command = { "true" } }:start()
            p:join()
            os.execute "sleep %s >/dev/null 2>&1 &"
        ]]):format(marker))
        mp.sleep(limit)
        local left = found(marker)
        os.execute("pkill -KILL -f 'sleep " .. marker .. "'")
        assert.equal(1, #left)
    end)
end)

-- A whole family: functions, programs, and what these start, at three depths.
local family = [[
    local marker = arg[1]
    local line = ("sleep %s & sleep %s"):format(marker, marker)
    local function start(options)
        local ok, p = pcall(function() return mp.process(options):start() end)
        return ok and p
    end
    start { command = { "sh", "-c", line } }
    start { target = os.execute, args = { line } }
    start { target = function() io.popen(line):read "a" end }
    start { target = function()
        start { target = function() os.execute("setsid sh -c '" .. line .. "'") end }
        start { command = { "sh", "-c", "(" .. line .. ")" } }
        mp.sleep(1000)
    end }
    for _ = 1, tonumber(arg[2]) do start { command = { "sleep", marker } } end
    io.write "ready\n" io.flush()
    while true do math.sin(1) end
]]

-- Starts the family and kills its main process `delay` seconds later. No luamp
-- of this process has a hand in that: its keeper is not to do the work.
local function kill_main(script, marker, delay, commands)
    helper.run(("%s %s %s %d >/dev/null 2>&1 & sleep %f; kill -KILL $!"):format(
        helper.host, script, marker, commands or 0, delay))
end

describe("SIGKILL of the main process", function()
    it(("at %d random moments leaves nothing behind"):format(kills), function()
        local script = helper.script("local mp = require 'luamp'\n" .. family)
        local seed = os.time()
        math.randomseed(seed)
        local full = 0
        for i = 1, kills do
            local marker = fresh_marker()
            kill_main(script, marker, math.random() * (helper.sanitized and 0.6 or 0.08))
            full = full + (#found(marker) > 5 and 1 or 0)
            local ok, e = pcall(gone, marker)
            assert.is_true(ok, ("round %d of seed %d: %s"):format(i, seed, tostring(e)))
        end
        assert.is_true(full > 0, "no round had a whole family to kill")
    end)

    it("with 200 commands in flight", function()
        local script = helper.script("local mp = require 'luamp'\n" .. family)
        local marker = fresh_marker()
        local pid = helper.run(("%s %s %s 200 >/dev/null 2>&1 & echo $!"):format(
            helper.host, script, marker)).stdout
        runs(marker, 209)
        os.execute("kill -KILL " .. pid)
        gone(marker)
    end)

    it("under a load of four busy processes for each CPU", function()
        local busy = {}
        for i = 1, 4 * mp.cpu_count() do
            busy[i] = mp.process { target = function() while true do math.sin(1) end end }:start()
        end
        local script = helper.script("local mp = require 'luamp'\n" .. family)
        local ok, e = pcall(function()
            for _ = 1, math.max(3, kills // 10) do
                local marker = fresh_marker()
                kill_main(script, marker, 0.1 + math.random() * 0.5)
                gone(marker)
            end
        end)
        for _, p in ipairs(busy) do
            p:kill()
            p:join()
            p:close()
        end
        assert.is_true(ok, tostring(e))
    end)
end)

describe("a detached process", function()
    it("survives the main process, with what it runs", function()
        local marker = fresh_marker()
        local result = helper.script_run(([[
            local marker = %q
            mp.process { command = { "sleep", marker }, detached = true, stdout = "null", stderr = "null" }:start()
            local p = mp.process { detached = true, stdout = "null", stderr = "null",
                target = function() os.execute("sleep " .. marker .. "; :") end }:start()
            while #io.popen("pgrep -fx 'sleep " .. marker .. "'"):read "a" < 4 do mp.sleep(0.01) end
            os.exit(0)
        ]]):format(marker))
        assert.same({ 0, "" }, { result.status, result.stderr })
        mp.sleep(limit)
        local left = #found(marker)
        os.execute(("pkill -KILL -f 'sleep %s'"):format(marker))
        helper.wait_until(function() return #found(marker) == 0 end, "the end of what was detached")
        assert.is_true(left >= 2)
    end)
end)

describe("the keeper", function()
    it("is one, made when it is needed, made anew when it was killed, and gone at the end", function()
        local result = helper.script_run [[
            local function mine()
                local list = {}
                for pid in io.popen "pgrep luamp-keeper":lines() do
                    local file = io.open("/proc/" .. pid .. "/cmdline")
                    if file and file:read "a":find(arg[0], 1, true) then list[#list + 1] = pid end
                end
                return list
            end
            mp.process(function() end):start():join()
            print(#mine())
            for _ = 1, 3 do mp.process { command = { "true" } }:start():join() end
            local first = mine()
            print(#first)
            os.execute("kill -KILL " .. first[1])
            while #mine() > 0 do mp.sleep(0.01) end
            mp.process { command = { "true" } }:start():join()
            print(#mine(), mine()[1] ~= first[1])
        ]]
        assert.same({ "0\n1\n1\ttrue\n", "" }, { result.stdout, result.stderr })
    end)

    it("is gone when the main process is killed that has just started a program with a time limit", function()
        local script = helper.script [[
            local mp = require "luamp"
            mp.process { command = { "sleep", "60" }, timeout = 60 }:start()
            os.execute "kill -KILL $PPID"
        ]]
        for _ = 1, 5 do
            assert.equal(137, helper.run(("%s %s"):format(helper.host, script)).status)
            helper.wait_until(function()
                return helper.run(("pgrep -f '%s[a]'"):format(script:sub(1, -2))).status == 1
            end, "its end", 2)
        end
    end)

    it("holds no descriptor of anybody, and is nobody's child", function()
        local script = helper.script [[
            local mp = require "luamp"
            local lfs = require "lfs"
            local file = io.open(arg[0])
            local function line_of(pid) -- of a stranger's keeper that has gone meanwhile: nothing
                local line <close> = io.open("/proc/" .. pid .. "/cmdline")
                return line and line:read "a" or ""
            end
            mp.process { command = { "cat" }, stdin = "pipe" }:start():stop(0.01)
            for pid in io.popen "pgrep luamp-keeper":lines() do
                local of_ours = line_of(pid):find(arg[0], 1, true)
                for fd in lfs.dir(of_ours and "/proc/" .. pid .. "/fd" or "/proc/self/task") do
                    local target = lfs.symlinkattributes("/proc/" .. pid .. "/fd/" .. fd, "target")
                    if of_ours and fd:find "%d" then print(fd, target) end
                end
            end
            print(file)
        ]]
        local result = helper.run(helper.host .. " " .. script)
        assert.same({ 0, "" }, { result.status, result.stderr })
        local others = result.stdout:gsub("%d+\tanon_inode:%[pidfd%]\n", "")
        assert.matches("^0\t/dev/null\n1\t/dev/null\n2\t/dev/null\nfile ", others)
        for _, pid in ipairs(helper.children()) do
            assert.is_falsy(helper.read("/proc/" .. pid .. "/stat"):find "luamp-keeper")
        end
    end)

    it("is made anew by what needs it: an end, whose leavings go as ever", function()
        local endings = {
            "p:kill() p:join() mp.sleep(5)",
            "p:kill() while p:is_alive() do end io.popen('sleep 5'):close()", -- no wait that would look at the keeper
            "os.exit(3)",
        }
        for _, ending in ipairs(endings) do
            local marker, seen = fresh_marker(), helper.tmpdir() .. "/seen"
            local script = helper.script(([[
                local mp = require "luamp"
                local p = mp.process { command = { "sh", "-c", "sleep %s & wait" } }:start()
                while not io.open "%s" do mp.sleep(0.01) end
                for pid in io.popen "pgrep luamp-keeper":lines() do
                    local file = io.open("/proc/" .. pid .. "/cmdline")
                    if file and file:read "a":find(arg[0], 1, true) then
                        os.execute(("kill -KILL %%d; while test -e /proc/%%d/exe; do :; done"):format(pid, pid))
                    end
                end
                %s]]):format(marker, seen, ending))
            os.execute(("%s %s >/dev/null 2>&1 &"):format(helper.host, script))
            runs(marker, 2)
            helper.write(seen, "")
            helper.wait_until(function() return #found(marker) == 0 end, "the end of all", 3)
            os.execute(("pkill -f '%s[a]'"):format(script:sub(1, -2)))
            helper.wait_until(function()
                return helper.run(("pgrep -f '%s[a]'"):format(script:sub(1, -2))).status == 1
            end, "its end")
        end
    end)

    it("does not keep its creator's memory", function()
        if helper.sanitized then
            pending "a sanitizer's own memory is among it"
            return
        end
        local result = helper.script_run [[
            local text = ("x"):rep(64 << 20)
            local function line_of(pid)
                local line <close> = io.open("/proc/" .. pid .. "/cmdline")
                return line and line:read "a" or ""
            end
            mp.process { command = { "true" } }:start():join()
            for pid in io.popen "pgrep luamp-keeper":lines() do
                if line_of(pid):find(arg[0], 1, true) then
                    local rss
                    local deadline = mp.clock() + 5
                    repeat
                        rss = tonumber(io.open("/proc/" .. pid .. "/status"):read "a":match "VmRSS:%s+(%d+)")
                        mp.sleep(0.01)
                    until rss < 16384 or mp.clock() > deadline
                    print(#text, rss < 16384)
                end
            end
        ]]
        assert.same({ "67108864\ttrue\n", "" }, { result.stdout, result.stderr })
    end)
end)
