-- init_spec.lua: the program as process 1, in a pid namespace of its own.
local helper = require "spec.helper"

-- Runs a script as process 1 of a new pid namespace, with a /proc of that.
local function contained(text, after)
    if os.execute "unshare --pid --fork --mount-proc true 2>/dev/null" ~= true then
        return nil
    end
    local script = helper.script("local mp = require 'luamp'\n" .. text)
    return helper.run(("unshare --pid --fork --mount-proc %s %s %s"):format(helper.luamp, script, after or ""))
end

local function check(text, expected, after)
    local result = contained(text, after)
    if not result then
        pending "this user may make no pid namespace"
        return
    end
    assert.same(expected, result)
end

describe("as process 1 the program", function()
    it("runs the script in a child, and ends as that does", function()
        check("print(mp.getpid() ~= 1, mp.getppid(), mp.parent_process()) os.exit(7)",
            { status = 7, stdout = "true\t1\tnil\n", stderr = "" })
        check("os.execute('kill -KILL ' .. mp.getpid())", { status = 137, stdout = "", stderr = "" })
    end)

    it("reaps strangers", function()
        check([[
            local p = mp.process { command = { "sh", "-c", "for i in 1 2 3 4 5; do (sleep 0.01 &); done" } }
            p:start():join()
            os.execute("for i in 1 2 3 4 5; do (sleep 0.01 &); done")
            local function left()
                local pipe <close> = io.popen "ps -eo stat=,comm= | grep -E '^Z|sleep'"
                return #pipe:read "a"
            end
            while left() > 0 do mp.sleep(0.01) end
            print "clean"
        ]], { status = 0, stdout = "clean\n", stderr = "" })
    end)

    it("passes signals on", function()
        check([[
            mp.atexit(function() print "in order" end)
            mp.process { command = { "sleep", "1000" } }:start()
            os.execute "kill -TERM 1"
            mp.sleep(1000)
        ]], { status = 143, stdout = "in order\n", stderr = helper.luamp .. ": interrupted by SIGTERM\n" })
    end)
end)
