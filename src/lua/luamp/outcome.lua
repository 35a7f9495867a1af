-- luamp.outcome: what a process that has ended has left, and what that means.
--
-- It is read when it is first asked for, and kept in the process's state:
--
--   values   the results, after the word "result", as table.pack has them
--   error    the error object that `result` raises
--   failed   whether the process failed: false for results that it had and that
--            could not be sent

local core = require "luamp.core"
local errors = require "luamp.errors"
local life = require "luamp.life"

local outcome = {}

local name_of = life.name

-- Signals that this process has sent to a child, one bit each.
function outcome.note_signal(s, number)
    s.sent = s.sent | 1 << (number - 1)
end

function outcome.was_sent(s, number)
    return s.sent & 1 << (number - 1) ~= 0
end

-- Whether it failed, and nobody had asked for that end: by SIGTERM, after which
-- a process may end as it likes, or by the very signal that it died of.
function outcome.is_failure(s)
    local asked = outcome.was_sent(s, 15) or (s.exitcode < 0 and outcome.was_sent(s, -s.exitcode))
    return not asked and (s.exitcode ~= 0 or s.overran)
end

-- Whether the kernel has ended it for its limit of CPU time.
local function spent_its_time(s, signal)
    local limit = s.options.limits and s.options.limits.cpu
    if not limit then return false end
    return signal == "SIGXCPU"
        or (signal == "SIGKILL" and not outcome.was_sent(s, 9) and core.cpu_time(s.handle) >= limit)
end

local function describe_death(s, signal)
    local text = ("process '%s' (pid %d) "):format(name_of(s), s.pid)
    if s.overran then
        return text .. ("ran longer than its timeout of %g s"):format(s.options.timeout)
    elseif s.stolen then
        return text .. "was killed, and other code took its status"
    end
    text = text .. "was killed by " .. signal
    if s.oom then
        text = text .. ": out of memory (its cgroup's oom_kill count rose)"
    elseif spent_its_time(s, signal) then
        text = text .. (": it has used up its CPU time (limit of %g s)"):format(s.options.limits.cpu)
    end
    return text
end

-- The error object of one that was killed, or had to be ended.
local function death(s)
    local signal = s.exitcode < 0 and core.signal_name(-s.exitcode) or nil
    return errors.new { kind = s.overran and "timeout" or "signal", signal = signal,
        message = describe_death(s, signal) }
end

local function exit(s, has_entered)
    local command = s.options.command
    local what = command and (": command '%s'"):format(command[1])
        or not has_entered and ": its fresh interpreter never came to its function, and" or ""
    return errors.new { kind = "exit", message = ("process '%s' (pid %d)%s exited with status %d"):format(
        name_of(s), s.pid, what, s.exitcode) }
end

local function identify(s, e)
    e.process, e.pid, e.exitcode = e.process or name_of(s), e.pid or s.pid, e.exitcode or s.exitcode
    return e
end

-- Of a program: its result, which a failure carries.
local function read_command(s)
    local result = require "luamp.command".result(s)
    local e = (s.overran or s.exitcode < 0) and death(s) or s.exitcode ~= 0 and exit(s)
    if not e then return { values = { n = 2, "result", result } } end
    e.value = result
    return { error = identify(s, e), failed = true }
end

-- What the child left, as a list; or why that cannot be had here: a module that it
-- names is not to be found, for example.
local function received(s)
    local ok, left = pcall(core.outcome, s.handle)
    if ok then return left end
    if type(left) ~= "string" or left == "not enough memory" then error(left, 0) end
    return { "unsent", errors.new { kind = "unsendable", message = "cannot receive the results: " .. left } }
end

local function read(s)
    if s.options.command then return read_command(s) end
    if s.overran or s.exitcode < 0 then return { error = identify(s, death(s)), failed = true } end
    local has_entered = core.has_entered(s.handle)
    local left = received(s)
    if left[1] == "error" or left[1] == "unsent" then
        return { error = identify(s, left[2]), failed = left[1] == "error" }
    elseif left[1] == "words" then
        return { error = identify(s, errors.caught(left[2], name_of(s), s.pid, "")), failed = true }
    elseif s.exitcode ~= 0 or not has_entered then
        return { error = identify(s, exit(s, has_entered)), failed = true }
    end
    return { values = left }
end

function outcome.of(s)
    s.outcome = s.outcome or read(s)
    return s.outcome
end

return outcome
