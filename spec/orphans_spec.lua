-- Nothing outlives its owner: children, grandchildren, files, shared memory.
local helper = require "spec.helper"
local driver = require "spec.driver"

-- A family that is busy in every way: processes start, leave results of any
-- size, are killed, and have children of their own that compute or wait.
local family = [[
local mp = require "luamp"
print "ready"
io.stdout:flush()
local function busy() while true do end end
local function parent()
    mp.process { target = busy, daemon = true }:start()
    local waiting = mp.process { target = function() mp.sleep(1000) end }:start()
    mp.process { target = function() return ("x"):rep(100000) end }:start():result()
    waiting:join()
end
while true do
    local a = mp.process { target = parent }:start()
    mp.process { target = function() return ("x"):rep(300000) end }:start():result()
    a:kill()
    a:join()
end
]]

local function is_gone(group)
    return function() return #driver.group(group) == 0 end
end

describe("a main process that is killed", function()
    it("takes its children and grandchildren with it within 500 ms, at any moment", function()
        local seed = os.time()
        math.randomseed(seed)
        for round = 1, 40 do
            local killed = driver.signalled {
                script = family, signal = "KILL", alone = true, delay = math.random() * 0.06,
            }
            assert.equal(137, killed.status)
            helper.wait_until(is_gone(killed.group),
                ("the end of round %d with seed %d"):format(round, seed), 0.5)
        end
    end)

    it("takes them with it while it is stopped, too", function()
        local killed = driver.signalled {
            script = family, signal = "STOP $main; kill -s KILL", alone = true, delay = 0.05,
        }
        helper.wait_until(is_gone(killed.group), "the end of the family", 0.5)
    end)

    it("leaves detached processes alone", function()
        local dir = helper.tmpdir()
        local killed = driver.signalled {
            script = ([[
                local mp = require "luamp"
                mp.process { detached = true, target = function()
                    local mark = "%s/"
                    io.open(mark .. "begun", "w"):close()
                    while not io.open(mark .. "go on") do mp.sleep(0.005) end
                    local file <close> = io.open(mark .. "done", "w")
                    file:write(tostring(mp.parent_process():is_alive()))
                end, stdout = "null", stderr = "null" }:start()
                while not io.open("%s/begun") do mp.sleep(0.005) end
                print "ready"
                io.stdout:flush()
                mp.sleep(1000)
            ]]):format(dir, dir),
            signal = "KILL", alone = true,
        }
        assert.equal(137, killed.status)
        helper.write(dir .. "/go on", "")
        helper.wait_until(function()
            local file = io.open(dir .. "/done")
            local text = file and file:read "a"
            if file then file:close() end
            return text == "false"
        end, "the detached process, which is to go on and to see that its parent is gone")
    end)
end)

describe("the end of a script", function()
    local function ends(text)
        return helper.run(helper.host .. " " .. helper.script(text))
    end

    it("joins the children", function()
        local result = ends [[
            local mp = require "luamp"
            mp.process { target = function() mp.sleep(0.2) print "child" end }:start()
            print "main"
        ]]
        assert.same({ status = 0, stdout = "main\nchild\n", stderr = "" }, result)
    end)

    it("stops daemons", function()
        local result = ends [[
            local mp = require "luamp"
            mp.process { daemon = true, target = function() mp.sleep(1000) end }:start()
        ]]
        assert.same({ status = 0, stdout = "", stderr = "" }, result)
    end)

    it("stops all children after an uncaught error", function()
        local result = ends [[
            local mp = require "luamp"
            mp.process { target = function() mp.sleep(1000) end }:start()
            error "wrong"
        ]]
        assert.equal(1, result.status)
        assert.matches("wrong", result.stderr)
    end)

    it("stops all children at os.exit, and leaves with its status", function()
        for _, call in ipairs { "os.exit(7)", "os.exit(7, true)" } do
            local result = ends([[
                local mp = require "luamp"
                mp.process { target = function() mp.sleep(1000) end }:start()
            ]] .. call)
            assert.same({ status = 7, stdout = "", stderr = "" }, result)
        end
    end)

    it("stops those that do not mind SIGTERM, too", function()
        local script = helper.script [[
            local mp = require "luamp"
            mp.process { target = function() mp.sleep(1000) end }:start()
            os.exit(3)
        ]]
        local result = helper.run(("trap '' TERM; %s %s"):format(helper.host, script))
        assert.same({ status = 3, stdout = "", stderr = "" }, result)
    end)

    it("runs atexit hooks, newest first, in each case", function()
        for _, last in ipairs { "", "os.exit(0)", "os.exit(0, true)", "error('wrong', 0)" } do
            local result = ends([[
                local mp = require "luamp"
                mp.atexit(function() print "first" end)
                mp.atexit(function() error("broken hook", 0) end)
                mp.atexit(function() print "last" end)
            ]] .. last)
            assert.equal("last\nfirst\n", result.stdout)
            assert.matches("luamp: an atexit hook failed: .*broken hook", result.stderr)
            assert.equal(last:find "error" and 1 or 0, result.status)
        end
    end)

    it("runs hooks that can still use children, and start some", function()
        local result = ends [[
            local mp = require "luamp"
            local p = mp.process(function() mp.sleep(1000) end):start()
            local q = mp.process(function() return "result" end):start()
            q:join()
            mp.atexit(function()
                print(#mp.active_children(), p:kill(), p:join(), p.exitcode)
                print(mp.process(function() return "new" end):start():result())
            end)
        ]]
        assert.same({ status = 0, stdout = "1\ttrue\ttrue\t-9\nnew\n", stderr = "" }, result)
    end)

    it("closes pipes to its children, which would wait for their end", function()
        for _, last in ipairs { "", "do local q <close> = p end" } do
            local result = ends([[
                local mp = require "luamp"
                local p = mp.process { stdin = "pipe", target = function()
                    io.stderr:write(io.read "a", " read to the end\n")
                end }:start()
                p.stdin:write "hello"
                local loud = mp.process { stdout = "pipe", target = function()
                    io.write(("x"):rep(1 << 20))
                end }:start()
            ]] .. last)
            assert.same({ status = 0, stdout = "", stderr = "hello read to the end\n" }, result)
        end
    end)

    it("runs a child's own hooks at the child's end, and not its parent's", function()
        local result = ends [[
            local mp = require "luamp"
            mp.atexit(function() print "main" end)
            for _, last in ipairs { function() end, os.exit, function() error "x" end } do
                mp.process { target = function()
                    mp.atexit(function() print "child" end)
                    last()
                end, stderr = "null" }:start():join()
            end
        ]]
        assert.same({ status = 0, stdout = "child\nchild\nchild\nmain\n", stderr = "" }, result)
    end)
end)
