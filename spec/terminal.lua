-- terminal.lua: a program at a terminal, for the specs that type and look.
--
-- The terminal is a real one: `script` runs the program in a pseudo-terminal,
-- whose keys come through a pipe; what it shows is in a file.
local helper = require "spec.helper"

local Session = {}
Session.__index = Session

local launch = [[
    sh -c 'echo $$ >pid; exec script -qec "$COMMAND" /dev/null' >screen 2>&1
    echo $? >ended; mv ended status]]

-- Runs a shell's command line in a terminal; `$L` is luamp, `$HOST` the host.
-- What still runs when the session is closed loses its terminal, and so ends by
-- SIGHUP.
local function open(command, env)
    local dir = helper.tmpdir()
    local lines = { "cd " .. dir, "unset LUA_INIT LUA_INIT_5_4" }
    env = env or {}
    env.L, env.HOST, env.COMMAND = helper.luamp, helper.host, command or "exec $L"
    env.TERM, env.SHELL = "xterm", "/bin/sh"
    for name, value in pairs(env) do
        table.insert(lines, ("export %s=%s"):format(name, helper.quote(value)))
    end
    table.insert(lines, launch)
    local keys = assert(io.popen(table.concat(lines, "\n"), "w"))
    keys:setvbuf "no"
    return setmetatable({ dir = dir, seen = 0, keys = keys }, Session)
end

function Session:screen()
    local file <close> = io.open(self.dir .. "/screen", "rb")
    return file and file:read "a" or ""
end

-- Waits until the terminal has shown the text, after what was waited for
-- before, and returns what it has shown in between.
function Session:expect(text)
    local first, last, screen
    local found = pcall(helper.wait_until, function()
        screen = self:screen()
        first, last = screen:find(text, self.seen + 1, true)
        return first
    end, text)
    assert(found, ("waited in vain for %q on the terminal, which has shown %q"):format(text, screen))
    local between = screen:sub(self.seen + 1, first - 1)
    self.seen = last
    return between
end

function Session:type(text)
    self.keys:write(text)
end

-- Types a line at the prompt, and waits for a line that answers.
function Session:line(text, answer)
    self:expect "> "
    self:type(text .. "\r")
    self:expect("\n" .. answer .. "\r\n")
end

-- Types the lines of a statement. One without printing characters is a key.
function Session:statement(lines)
    for i, line in ipairs(lines) do
        self:expect(i == 1 and "> " or ">> ")
        self:type(line:find "%C" and line .. "\r" or line)
    end
    self:expect "\n"
end

local function status_of(session)
    local file <close> = io.open(session.dir .. "/status")
    return file and file:read "n"
end

-- Waits for the end and returns the exit status of the command.
function Session:status()
    return helper.wait_until(function() return status_of(self) end, "the end of the program")
end

function Session:__close()
    if not status_of(self) then
        os.execute("kill -KILL $(cat " .. self.dir .. "/pid) 2>/dev/null")
    end
    self.keys:close()
end

return open
