-- console_spec.lua: the prompt of luamp's interactive mode, at a terminal.
local helper = require "spec.helper"
local open = require "spec.terminal"

local up, left, delete_back, escape = "\27[A", "\27[D", "\127", "\27"
local ctrl_c, ctrl_d, ctrl_r, ctrl_z = "\3", "\4", "\18", "\26"

describe("at a terminal", function()
    it("both versions greet", function()
        local session <close> = open()
        session:expect "luamp "
        session:expect "\r\nLua 5.4."
        session:line("1 + 1", "2")
        session:expect "> "
        session:type(ctrl_d)
        assert.equal(0, session:status())
    end)

    it("a line can be edited", function()
        local session <close> = open()
        session:line("prinx(11 * 11)" .. left:rep(9) .. delete_back .. "t", "121")
        session:line("1" .. "\1" .. "20 + " .. "\5" .. "1", "31")
        session:line("7 + " .. "\t" .. "1", "8")
    end)

    it("a character of several bytes is one", function()
        local session <close> = open()
        session:line('#"h\u{e9}\u{20ac}\u{fc}' .. delete_back .. '"', "6")
        session:line('#"\xff\u{e9}"', "2")
        session:line('utf8.codepoint "\u{1f600}"', "128512")
    end)

    it("earlier statements come back, whole", function()
        local session <close> = open()
        session:line("21 * 2", "42")
        session:line(up, "42")
        session:statement { "for i = 5, 6 do", "print(i)", "end" }
        session:expect "5\r\n6\r\n"
        session:expect "> "
        session:type(up .. "\r")
        session:expect "\n5\r\n6\r\n"
    end)

    it("what was typed is found again", function()
        local session <close> = open()
        session:line("'a mark'", "a mark")
        session:line("2", "2")
        session:line(ctrl_r .. "mark" .. escape .. "\5", "a mark")
    end)

    it("the user's own keys hold", function()
        local home = helper.tmpdir()
        helper.write(home .. "/.editrc", 'luamp:bind -s "^X" "6 * 7"\n')
        local session <close> = open(nil, { HOME = home })
        session:line("\24", "42")
    end)

    it("a prompt may have colours and lines", function()
        local session <close> = open()
        session:expect "> "
        session:type "_PROMPT = 'first\\n\\1\\27[32m\\2second\\1\\27[0m\\2> '\r"
        session:expect "first\r\n\27[32msecond\27[0m> "
        session:type("11" .. left .. "0\r")
        session:expect "\r\27[10G" -- to the column behind the prompt's eight and the 1
        session:expect "\n101\r\n"
    end)

    it("the terminal is the chunk's while one runs", function()
        local session <close> = open()
        session:expect "> "
        session:type "os.execute 'stty -a'\r"
        session:expect " icanon "
        session:line("io.read()\rtyped", "typed")
        session:line("os.setlocale()", "C")
    end)

    it("a resized window is followed", function()
        local session <close> = open()
        session:expect "> "
        session:type "os.execute 'stty cols 60; tty'\r"
        session:expect "\n/dev"
        local tty = "/dev" .. session:expect "\r\n"
        session:expect "> "
        session:type(("x"):rep(50))
        session:expect(("x"):rep(50))
        assert(os.execute("stty cols 30 -F " .. tty))
        session:expect("\27[1A\r\27[J> " .. ("x"):rep(28))
        session:type "\21'wide'\r"
        session:expect "\nwide\r\n"
    end)

    it("Ctrl-Z stops the job, and the line comes back with it", function()
        local session <close> = open("bash --norc --noprofile -i", { PS1 = "$ " })
        session:expect "$ "
        session:type "$L\r"
        session:expect "> "
        session:type "'kept"
        session:expect "'kept"
        session:type(ctrl_z)
        session:expect "Stopped"
        session:expect "$ "
        session:type "stty -a; fg\r"
        session:expect " icanon "
        session:expect "> 'kept"
        session:type "!'\r"
        session:expect "\nkept!\r\n"
    end)

    it("Ctrl-D ends the program and leaves the terminal as it was", function()
        local session <close> = open "$L; echo status $?; stty -a"
        session:expect "> "
        session:type(ctrl_d)
        session:expect "status 0\r\n"
        session:expect " icanon "
        session:expect " echo "
        assert.equal(0, session:status())
    end)

    it("Ctrl-D in a statement leads back to the prompt", function()
        local session <close> = open()
        session:statement { "for i = 1, 2 do", ctrl_d }
        session:line("7", "7")
    end)
end)

-- How Ctrl-C and its like are met, with the editor and without.
local function interruptions(environment)
    it("Ctrl-C discards the line", function()
        local session <close> = open(nil, environment())
        session:expect "> "
        session:type "lost = 1"
        session:expect "1"
        session:type(ctrl_c)
        session:line("lost", "nil")
    end)

    it("Ctrl-C discards the lines of a statement", function()
        local session <close> = open(nil, environment())
        session:statement { "lost = {", "1,", ctrl_c }
        session:line("lost", "nil")
    end)

    it("Ctrl-C is heard within an escape sequence", function()
        local session <close> = open(nil, environment())
        session:expect "> "
        session:type "'x"
        session:expect "x"
        session:type(escape)
        session:type(ctrl_c)
        session:line("7", "7")
    end)

    it("Ctrl-C ends a chunk with one line", function()
        local session <close> = open(nil, environment())
        for _, loop in ipairs {
            "while true do end",
            "coroutine.wrap(function() while true do end end)()",
            "mp.sleep(100)",
        } do
            session:expect "> "
            session:type("print 'it runs' " .. loop .. "\r")
            session:expect "\nit runs\r\n"
            session:type(ctrl_c)
            assert.equal("^C", (session:expect "interrupted\r\n"))
        end
        session:line("'back'", "back")
    end)

    it("after Ctrl-C the program has not failed", function()
        local session <close> = open(nil, environment())
        session:expect "> "
        session:type "print 'it runs' while true do end\r"
        session:expect "\nit runs\r\n"
        session:type(ctrl_c)
        session:expect "interrupted\r\n> "
        session:type "os.exit(3)\r"
        assert.equal(3, session:status())
    end)

    for name, status in pairs { TERM = 143, HUP = 129 } do
        it("SIG" .. name .. " ends the program", function()
            local session <close> = open("$L; echo status $?; stty -a", environment())
            session:expect "> "
            session:type "os.execute 'echo $PPID'\r"
            session:expect "\n"
            local pid = session:expect "\r\n"
            session:expect "> "
            assert(os.execute(("kill -%s %d"):format(name, pid)))
            session:expect(("status %d\r\n"):format(status))
            session:expect " icanon "
        end)

        it("SIG" .. name .. " ends the program out of a chunk", function()
            local session <close> = open("$L; echo status $?", environment())
            session:expect "> "
            session:type(("os.execute 'kill -%s $PPID' while true do end\r"):format(name))
            session:expect(("\ninterrupted by SIG%s\r\nstatus %d\r\n"):format(name, status))
        end)
    end
end

describe("with libedit", function()
    interruptions(function() return {} end)
end)

-- Where libedit is missing, which these stand for: they are no libraries.
describe("without libedit", function()
    local function without()
        local dir = helper.tmpdir()
        helper.write(dir .. "/libedit.so.2", "")
        helper.write(dir .. "/libedit.so.0", "")
        return { LD_LIBRARY_PATH = dir }
    end

    interruptions(without)

    it("lines are read plainly", function()
        local session <close> = open(nil, without())
        session:line("7", "7")
        session:statement { "for i = 5, 6 do", "print(i)", "end" }
        session:expect "5\r\n6\r\n"
        session:expect "> "
        session:type(ctrl_d)
        assert.equal(0, session:status())
    end)
end)
