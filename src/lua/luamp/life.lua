-- luamp.life: what a process is to itself, from its birth to its end.
--
-- The functions enter, caught, refused, finish, failed, leave and at_end are
-- called by the binding at the turns of a process's life; see binding/life.c.
-- A process's state is a table that process.lua made (see there); this module
-- knows the state of the process that runs it, and of the one that started it.

local core = require "luamp.core"
local errors = require "luamp.errors"
local culprit = require "luamp.culprit"

local life = {}

local randomseed, random = math.randomseed, math.random

local this      -- the state of the process that runs this
local created   -- the state of the one that started it, in a child
local hooks = {}
local seed      -- of mp.seed, for what this process starts
local on_enter  -- lets process.lua forget what was the parent's

-- The state of the process that runs this.
function life.own()
    this = this or { name = "main", pid = core.getpid(), daemon = false, role = "self" }
    return this
end

-- The state of its creator, nil in a main process.
function life.creator()
    return created
end

function life.on_enter(f)
    on_enter = f
end

-- f runs at the end of this process, newest first.
function life.atexit(f)
    hooks[#hooks + 1] = f
end

-- What this process starts repeats from here on.
function life.seed(n)
    seed = n
    randomseed(n)
end

-- Random numbers differ from the parent's, and repeat when it was given a seed.
local function reseed(order)
    if not seed then
        randomseed(core.random_integers())
        return
    end
    randomseed(seed, order)
    local own = random(0)
    randomseed(seed, order)
    seed = own
end

-- First in the child: the parent's children, hooks and counts are not its own.
local function enter(s)
    local parent = life.own()
    created = { name = parent.name, pid = parent.pid, daemon = parent.daemon, role = "creator" }
    this, s.role, s.status, s.pid = s, "self", "running", core.getpid()
    hooks = {}
    on_enter()
    if s.keep then core.close_private(s.keep) end
    for _, fd in ipairs(s.opened) do core.close(fd) end
    for key, value in pairs(s.options.env or {}) do core.set_env(key, value or nil) end
    reseed(s.order)
end

-- The message handler of the target: everything about an error, while its frames stand.
local function caught(value)
    local own = life.own()
    return errors.caught(value, own.name, own.pid, errors.traceback(2))
end

-- Leaves word that the results (a table with n) cannot be sent: because of a
-- value among them, or for the reason that the system gave.
local function refused(values, reason)
    local message = reason and "cannot send the results: " .. reason
        or culprit(values, values.n, "result %d")
    core.leave_outcome("unsent", errors.new {
        kind = "unsendable", message = message, process = this.name, pid = this.pid,
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
    while #hooks > 0 do
        local ok, e = xpcall(table.remove(hooks), caught)
        if not ok then report("an atexit hook failed: " .. tostring(e)) end
    end
end

local function fail(e)
    if not errors.is_error(e) then e = errors.caught(e, this.name, this.pid, "") end
    leave_error(e)
    if not core.interrupted_lately() then report(tostring(e)) end
end

-- Last in the child: its error for the parent, then its own end.
local function finish(_, ok, e)
    if not ok then fail(e) end
    run_hooks()
    core.end_children(not ok)
    return ok and 0 or 1
end

-- os.exit in a child.
local function leave(status)
    run_hooks()
    core.end_children(true)
    core.leave(status)
end

core.set_hooks {
    enter = enter, caught = caught, refused = refused, finish = finish, failed = fail,
    leave = leave, at_end = run_hooks,
}

return life
