-- terminal_spec.lua: a family at a terminal, and the keys that are typed there.
local helper = require "spec.helper"
local open = require "spec.terminal"

local ctrl_c, ctrl_z = "\3", "\26"

-- A session in which an interactive shell runs the script under the host, and says its status.
local function run(script)
    local session = open("bash --norc --noprofile -i", { PS1 = "$ " })
    session:expect "$ "
    session:type("$HOST " .. script .. "; echo status $?\r")
    return session
end

-- The processes of the session's foreground job, by the name of its script, and
-- those of them that are in one of the states. A forkserver only waits, and goes on with it.
local function count(script, states)
    local pgid = helper.run("pgrep -o -f " .. helper.quote(helper.host .. " " .. script)).stdout:match "%d+"
    local list = helper.run(("pgrep -l -g %s %s"):format(pgid, states and "-r " .. states or "")).stdout
    return select(2, list:gsub("luamp%-server\n", ""):gsub("\n", ""))
end

local function ends(script)
    local others = script:gsub(".$", "[%0]") -- a pattern, so that it does not find itself
    helper.wait_until(function() return helper.run("pgrep -f " .. others).status == 1 end, "the end of all", 1)
end

-- Functions and a program, of which each works until it finds the file "go".
local family = [[
local mp = require "luamp"
local function found()
    local file <close> = io.open "go"
    return file
end
local function work()
    local rounds = 0
    while not found() do rounds = rounds + 1 end
    return "worked"
end
local a, b = mp.process(work):start(), mp.process { target = work, timeout = 60 }:start()
local program = mp.process { command = { "sh", "-c", "until test -e go; do :; done; echo ran" }, stdout = "capture" }
program:start()
print "ready"
io.stdout:flush()
]]

describe("at a terminal", function()
    it("Ctrl-Z stops functions and programs, and with fg they go on", function()
        local script = helper.script(family .. "print(a:result(), b:result(), program:result().stdout)")
        local session <close> = run(script)
        session:expect "ready\r\n"
        session:type(ctrl_z)
        session:expect "Stopped"
        session:expect "$ "
        helper.wait_until(function() return count(script, "R,S,D") == 0 end, "the stop of all")
        assert.equal(4, count(script, "T"))
        session:type "touch go; fg\r"
        session:expect "worked\tworked\tran"
        session:expect "$ "
    end)

    it("Ctrl-Z and kill leave nothing", function()
        local script = helper.script(family .. "a:join()")
        local session <close> = run(script)
        session:expect "ready\r\n"
        session:type(ctrl_z)
        session:expect "Stopped"
        session:expect "$ "
        session:type "kill -KILL %1\r"
        session:expect "$ "
        ends(script)
    end)

    it("Ctrl-C ends all, and says so in one line", function()
        local script = helper.script(family .. "program:join()")
        local session <close> = run(script)
        session:expect "ready\r\n"
        session:type(ctrl_c)
        assert.matches("^^C[^\n]*: interrupted\r\n$", session:expect "status 130\r\n")
        session:expect "$ "
        ends(script)
    end)

    it("Ctrl-C calls a handler, and ends programs alone", function()
        local script = helper.script([[require "luamp".on_signal("INT", print)]] .. "\n" .. family .. [[
            program:join()
            print(a:is_alive(), b:is_alive(), program.error.signal)
            io.open("go", "w"):close()
            print(a:result(), b:result())]])
        local session <close> = run(script)
        session:expect "ready\r\n"
        session:type(ctrl_c)
        session:expect "SIGINT\r\ntrue\ttrue\tSIGINT\r\nworked\tworked\r\nstatus 0\r\n"
    end)

    it("functions and programs read what is typed", function()
        local script = helper.script [[
            local mp = require "luamp"
            local function ask(name) io.write(name, "? ") io.flush() return io.read() end
            print(mp.process { target = ask, args = { "function" } }:start():result())
            print(mp.process { command = { "sh", "-c", "printf 'program? '; read x; echo $x" }, stdout = "inherit" }
                :start():result().exitcode)
            print(ask "main")]]
        local session <close> = run(script)
        for _, name in ipairs { "function", "program", "main" } do
            session:expect(name .. "? ")
            session:type(name .. "'s\r")
            session:expect("\n" .. name .. "'s\r\n")
        end
    end)
end)
