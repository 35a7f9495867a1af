-- luamp.life: what a process is to itself, from its birth to its end.
--
-- The functions enter, caught, refused, finish, failed, leave and at_end are
-- called by the binding at the turns of a process's life; see binding/life.c.
-- Modules that most processes never need are required where they are used.
--
-- A process's state is a table that process.lua made (see there); this module
-- knows the state of the process that runs it, and of the one that started it.

local core = require "luamp.core"
local errors = require "luamp.errors"

local life = {}

local randomseed, random = math.randomseed, math.random

-- All that changes in the life of this process, and nothing else: one table, so
-- that it lies together in memory, where every fork has to copy what changes.
--   this       the state of the process that runs this
--   creator    the state of the one that started it, in a child
--   hooks      of mp.atexit
--   seed       of mp.seed, for what this process starts
--   running    list of the children that have not been seen to end
--   swept      how far process.sweep has come in it
--   named      how many process objects it has made
--   started    how many processes it has started
--   oom_kills  what the cgroup had counted when this was last looked at
local now = {}
life.now = now

-- `this` comes last: an error in between (of a debug hook) leaves it to begin anew.
local function begin(this, creator)
    now.running, now.swept, now.named, now.started = {}, 0, 0, 0
    now.hooks, now.creator, now.oom_kills = {}, creator, nil
    now.this = this
end

-- The state of the process that runs this. A process that a foreign fork (not
-- ours) made is a main process, and knows nothing of what was its parent's.
function life.own()
    if not now.this or now.this.pid ~= core.getpid() then
        begin({ given_name = "main", pid = core.getpid(), daemon = false, role = "self" }, nil)
    end
    return now.this
end

-- A process's name; most are never asked for, and made only then: process-1,
-- and process-1:1 for what that one starts.
function life.name(s)
    if not s.given_name then s.given_name = "process-" .. life.lineage(s) end
    return s.given_name
end

-- The numbers that lead from the main process to this one: 1:1.
function life.lineage(s)
    local above = s.maker and s.maker.number and life.lineage(s.maker) .. ":" or ""
    return above .. s.number
end

-- f runs at the end of this process, newest first.
function life.atexit(f)
    life.own()
    now.hooks[#now.hooks + 1] = f
end

-- What this process starts repeats from here on.
function life.seed(n)
    life.own()
    now.seed, now.started = n, 0
    randomseed(n)
end

-- Random numbers differ from the parent's, and repeat when it was given a seed.
local function reseed(order)
    if not now.seed then
        randomseed(core.random_integers())
        return
    end
    randomseed(now.seed, order)
    local own = random(0)
    randomseed(now.seed, order)
    now.seed = own
end

-- First in the child: the parent's children, hooks and counts are not its own.
local function enter(s)
    local parent = now.this -- as it was before the fork
    s.role, s.status, s.pid = "self", "running", core.getpid()
    begin(s, { given_name = parent.given_name, number = parent.number, maker = parent.maker,
        pid = parent.pid, daemon = parent.daemon, role = "creator" })
    if s.keep then core.close_private(s.keep) end
    for _, fd in ipairs(s.opened) do core.close(fd) end
    for key, value in pairs(s.options.env or {}) do core.set_env(key, value or nil) end
    reseed(s.order)
end

-- The message handler of the target: everything about an error, while its frames stand.
local function caught(value)
    local own = life.own()
    return errors.caught(value, life.name(own), own.pid, errors.traceback(2))
end

-- Leaves word that the results (a table with n) cannot be sent: because of a
-- value among them, or for the reason that the system gave.
local function refused(values, reason, too_large)
    local advice = too_large and " (the limit of file sizes, ulimit -f, holds for results that wait)" or ""
    local message = reason and "cannot send the results: " .. reason .. advice
        or require "luamp.culprit" (values, values.n, "result %d")
    core.leave_outcome("unsent", errors.new {
        kind = "unsendable", message = message, process = life.name(life.own()), pid = now.this.pid,
    })
end

-- The error's value travels when it can; its text always does.
local function leave_error(e)
    if core.leave_outcome("error", e) then return end
    local plain = {}
    for key, value in next, e do plain[key] = value end
    plain.value = nil
    core.leave_outcome("error", errors.new(plain))
end

local function report(text)
    core.report("luamp: " .. text .. "\n")
end

local function run_hooks()
    life.own()
    while #now.hooks > 0 do
        local ok, e = xpcall(table.remove(now.hooks), caught)
        if not ok then report("an atexit hook failed: " .. tostring(e)) end
    end
end

-- Lua's words for memory that was short, with the reason that is known.
local function explain(e)
    local limits = now.this.options and now.this.options.limits
    if e.message == "not enough memory" and limits and limits.memory then
        e.message = ("not enough memory (limit of %s)"):format(limits.memory)
    end
    return e
end

local function fail(e)
    if not errors.is_error(e) then
        e = explain(errors.caught(e, life.name(life.own()), now.this.pid, ""))
    end
    leave_error(e)
    if core.interrupted_lately() then return end
    if e.process and e.pid ~= now.this.pid then -- it was reported where it was raised
        report(("process '%s' (pid %d) failed by what happened in process '%s' (pid %d): %s"):format(
            life.name(now.this), now.this.pid, e.process, e.pid, e.message))
    else
        report(tostring(e))
    end
end

-- What is left of pipes to children can neither be written nor read any more,
-- and who waits at their other end is not to wait for ever.
local function close_pipes()
    for _, s in ipairs(now.running) do
        for _, file in pairs(s.files) do
            if io.type(file) == "file" then file:close() end
        end
    end
end

local function end_lua()
    run_hooks()
    close_pipes()
end

-- Last in the child: its error for the parent, then its own end.
local function finish(_, ok, e)
    if not ok then fail(e) end
    end_lua()
    core.end_children(not ok)
    return ok and 0 or 1
end

-- os.exit in a child.
local function leave(status)
    end_lua()
    core.end_children(true)
    core.leave(status)
end

core.set_hooks {
    enter = enter, caught = caught, refused = refused, finish = finish, failed = fail,
    leave = leave, at_end = end_lua,
}

return life
