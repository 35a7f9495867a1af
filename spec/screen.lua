-- screen.lua: what a program's terminal shows, for the specs that look at it.
--
-- The terminal is tmux's, which does what real ones do with what a program writes: it moves the cursor, scrolls,
-- breaks lines anew when its width changes. It has a server of its own, which ends with the session.
local helper = require "spec.helper"

local Screen = {}
Screen.__index = Screen

-- Without SHELL tmux takes the user's own, which may be one that lets nobody in.
local function tmux(self, command)
    local env = { TMUX_TMPDIR = self.dir, SHELL = "/bin/sh" }
    local result = helper.run("tmux -L luamp -u -f /dev/null " .. command, { env = env })
    assert.same({ 0, "" }, { result.status, result.stderr }, command)
    return result.stdout
end

-- Runs the script under the host in a terminal. Options: columns (80), rows (20), env: name to text, false unsets;
-- shell: its command line in place of the script's, where `$HOST` is the host and `$SCRIPT` the script. When it has
-- ended the screen says its status.
local function open(script, options)
    options = options or {}
    local self = setmetatable({ dir = helper.tmpdir(), columns = options.columns or 80 }, Screen)
    local lines = { "cd " .. self.dir, "unset LUA_INIT LUA_INIT_5_4 NO_COLOR LC_ALL LC_CTYPE", "export LANG=C.UTF-8" }
    for name, value in pairs(options.env or {}) do
        lines[#lines + 1] = value and ("export %s=%s"):format(name, helper.quote(value)) or "unset " .. name
    end
    lines[#lines + 1] = ("export HOST=%s SCRIPT=%s"):format(helper.quote(helper.host),
        helper.quote(helper.script(script)))
    lines[#lines + 1] = "trap : INT" -- Ctrl-C is the script's
    lines[#lines + 1] = (options.shell or "$HOST $SCRIPT") .. "\necho \"status $?\"\nexec cat >/dev/null"
    helper.write(self.dir .. "/run", table.concat(lines, "\n") .. "\n")
    tmux(self, ("new-session -d -x %d -y %d 'exec sh %s/run'"):format(self.columns, options.rows or 20, self.dir))
    return self
end

-- The rows of the screen and of what has scrolled away, without those that are empty at its end; with `has_colors` as
-- bytes for a terminal.
function Screen:rows(has_colors)
    local rows = {}
    local text = tmux(self, "capture-pane -p -S -" .. (has_colors and " -e" or "")):gsub("[ \n]*$", "")
    for row in (text .. "\n"):gmatch "(.-)[ ]*\n" do rows[#rows + 1] = row end
    return rows
end

function Screen:text(has_colors)
    return table.concat(self:rows(has_colors), "\n")
end

-- Waits until the screen's text matches the pattern, and returns its rows.
function Screen:await(pattern)
    local found = pcall(helper.wait_until, function() return self:text():find(pattern) end, pattern)
    local rows = self:rows()
    assert(found, ("waited in vain for %q on the terminal, which shows\n%s"):format(pattern, table.concat(rows, "\n")))
    return rows
end

function Screen:resize(columns)
    tmux(self, ("resize-window -x %d"):format(columns))
    self.columns = columns
end

-- Types keys, by tmux's names for them.
function Screen:type(keys)
    tmux(self, "send-keys " .. keys)
end

-- What the scripts wait for: the file of that name.
function Screen:touch(name)
    helper.write(self.dir .. "/" .. name, "")
end

-- Waits until the script has made that file.
function Screen:await_file(name)
    helper.wait_until(function()
        local file <close> = io.open(self.dir .. "/" .. name)
        return file
    end, name)
end

function Screen:__close()
    tmux(self, "kill-server")
    helper.wait_until(function()
        return helper.run("tmux -L luamp has-session", { env = { TMUX_TMPDIR = self.dir } }).status ~= 0
    end, "the end of the terminal")
end

return open
