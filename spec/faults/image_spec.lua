-- The forkserver is killed, or stopped, at each step of a request (src/engine/image.h).
-- The start that is under way succeeds, and so do the next; each function runs once;
-- and children that run do not know.
--
-- Needs the build with fault points. LUAMP_FAULT is every forkserver's: each dies when
-- it passes the point for the n-th time.
local helper = require "spec.helper"
local mp = require "luamp"
local driver = require "spec.driver"

local points = { ["image.serve.S1"] = true, ["image.serve.S2"] = true, ["image.serve.S3"] = true }

-- Six orders one after the other, of which the first runs until all others have ended.
-- The servers that were there after each start are told apart by their pids.
local script = [[
local mp = require "luamp"
local lfs = require "lfs"
local log = arg[1]
mp.set_start_method "forkserver"

local function once(i)
    local file <close> = io.open(log, "a")
    file:write(i, "\n")
    return i
end

local FORKED = 0x40 -- of the kernel's flags: has not run exec; so is a child that has the server's name yet
local servers, n_servers = {}, 0
local function look()
    for pid in lfs.dir "/proc" do
        local file <close> = pid:find "^%d+$" and io.open("/proc/" .. pid .. "/stat") or nil
        local comm, parent, flags = (file and file:read "a" or "")
            :match "%((.*)%) %a (%d+) %d+ %d+ %d+ %-?%d+ (%d+)"
        local is_its = comm == "luamp-server" and math.tointeger(parent) == mp.getpid()
        if is_its and tonumber(flags) & FORKED == 0 and not servers[pid] then
            servers[pid], n_servers = true, n_servers + 1
        end
    end
end

local running = mp.process { stdin = "pipe", target = function()
    once(1)
    io.read "a"
    os.exit(7)
end }:start()
look()
for i = 2, 6 do
    local options = i % 2 == 0 and { target = once, args = { i } }
        or { target = function(n, text) return once(n), #text end, args = { i, ("x"):rep(100000) }, cwd = "/" }
    local p <close> = mp.process(options):start()
    look()
    assert(p:result(20) == i)
end
running.stdin:close()
running:join(20)
print(running.exitcode, n_servers)
]]

local function run(fault)
    local log = helper.tmpdir() .. "/log"
    local result = helper.run(("timeout 60 %s %s %s"):format(helper.host, helper.script(script), log),
        { env = { LUAMP_FAULT = fault } })
    assert.same({ 0, "" }, { result.status, result.stderr }, fault)
    local ran = {}
    for line in helper.read(log):gmatch "[^\n]+" do ran[#ran + 1] = line end
    table.sort(ran)
    assert.same({ "1", "2", "3", "4", "5", "6" }, ran, fault)
    local status, n = result.stdout:match "^(%d+)\t(%d+)\n$"
    assert.equal("7", status)
    return math.tointeger(n)
end

describe("a forkserver", function()
    for point in pairs(points) do
        it(("that dies at %s of every second order is replaced, and nobody sees it"):format(point), function()
            assert.is_true(run(point .. ":2") >= 3)
        end)

        it(("that is stopped at %s goes on"):format(point), function()
            assert.equal(1, run(point .. ":2=19"))
        end)

        it(("that is stopped at %s goes with its creator, and with it the child that it makes"):format(point),
            function()
                for _ = 1, 5 do
                    local killed = driver.signalled {
                        script = [[
                            local mp = require "luamp"
                            mp.set_start_method "forkserver"
                            print "ready"
                            io.stdout:flush()
                            mp.process { target = mp.sleep, args = { 1000 } }:start():join()]],
                        signal = "KILL", alone = true, delay = math.random() * 0.06,
                        env = { LUAMP_FAULT = point .. ":1=19" },
                    }
                    assert.same({ 137, "" }, { killed.status, killed.stderr })
                    helper.wait_until(function() return #driver.group(killed.group) == 0 end, "the end of all", 1)
                end
            end)
    end

    -- The second lesson comes with the third order: what is in the first two is taught by one.
    it("that dies at image.serve.S0 is replaced by one that is taught all, and nobody sees it", function()
        assert.equal(2, run "image.serve.S0:2")
    end)

    it("that is stopped at image.serve.S0 goes on", function()
        assert.equal(1, run "image.serve.S0:2=19")
    end)

    for _, point in ipairs { "image.serve.S2", "image.serve.S3" } do
        it(("that dies at %s of every order is replaced, and nobody sees it"):format(point), function()
            run(point .. ":1")
        end)
    end

    it("that never lives to make a child is given up, and one that does takes its place", function()
        local result = helper.script_run([[
            mp.set_start_method "forkserver"
            local function target() print "ran" return 1 end
            print(pcall(function() mp.process(target):start() end))
            require "luamp.core".set_env("LUAMP_FAULT", nil)
            print(mp.process(target):start():result())]], nil, { env = { LUAMP_FAULT = "image.serve.S1:1" } })
        assert.same({ 0, "" }, { result.status, result.stderr })
        assert.matches("^false\t[^\n]*: mp.process: cannot start 'process%-1': forkserver: [^\n]* ended before it was "
            .. "ready\n"
            .. "ran\n1\n$", result.stdout)
    end)
end)

describe("a detached process of a fresh image", function()
    it("has its time limit, though it is stopped at its birth and its creator is gone", function()
        local result = helper.script_run([[
            print(mp.process { target = mp.sleep, args = { 60 }, start_method = "spawn", detached = true, timeout = 0.1,
                env = { LUAMP_FAULT = "family.child.C1:1=19" }, stdout = "null", stderr = "null" }:start().pid)]])
        local pid = tonumber(result.stdout)
        helper.wait_until(function() return helper.read(("/proc/%d/stat"):format(pid)):find "%) T" end, "its stop", 5)
        local ends = mp.clock() + 0.5 -- the keeper looks at it meanwhile, more than once
        while mp.clock() < ends do end
        os.execute("kill -CONT " .. pid)
        helper.wait_until(function() return not helper.alive(pid) end, "its end", 3)
    end)
end)

describe("the table of points", function()
    it("is that of the source and of its head comment", function()
        local found = {}
        for point in helper.read "src/engine/image.c":gmatch 'mp_fault%("([^"]+)"%)' do found[point] = true end
        points["image.serve.S0"] = true
        assert.same(points, found)
        local head = helper.read "src/engine/image.h"
        for point in pairs(points) do
            assert.is_truthy(head:find(point:match "%u%d$" .. " ", 1, true), point)
        end
    end)
end)
