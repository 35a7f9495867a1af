-- luamp.life: what a process is to itself, from its birth to its end.
--
-- The functions enter, caught, refused, finish, failed, leave, at_end and serve are
-- called by the binding at the turns of a process's life; see binding/life.c.
-- Modules that most processes never need are required where they are used.
--
-- A process's state is a table that process.lua made (see there); this module
-- knows the state of the process that runs it, and of the one that started it.

local core = require "luamp.core"
local errors = require "luamp.errors"

local life = {}

local randomseed, random = math.randomseed, math.random
local find, format = string.find, string.format -- for errors, as in errors.lua

-- All that changes in the life of this process, and nothing else: one table, so
-- that it lies together in memory, where every fork has to copy what changes.
--   this       the state of the process that runs this
--   creator    the state of the one that started it, in a child
--   hooks      of mp.atexit
--   seed       of mp.seed, for what this process starts
--   method     how it starts processes that say nothing of that
--   running    list of the children that have not been seen to end
--   swept      how far process.sweep has come in it
--   named      how many process objects it has made
--   started    how many processes it has started
--   n_pools    how many pools without a seed of their own it has made
--   scopes     the innermost mp.scope that each thread runs; nil when there is none
--   open_scopes  a set of all that have not been left; nil before the first
--   beside     pools of which something goes on beside the script; nil when there are none
--   worker_of  in a worker of a pool: the module, which has the field `worker`
--   cpu_divisor  in a worker: how many have to share the CPUs with it
--   pools      a weak set of those that mp.pool made; nil before the first
--   log        what mp.log.configure was given; nil before that
--   oom_kills  what the cgroup had counted when this was last looked at
local now = { method = "fork" }
life.now = now

-- `this` comes last: an error in between (of a debug hook) leaves it to begin anew.
local function begin(this, creator)
    now.running, now.swept, now.named, now.started, now.n_pools = {}, 0, 0, 0, 0
    now.hooks, now.creator, now.oom_kills, now.scopes, now.open_scopes = {}, creator, nil, nil, nil
    now.beside, now.pools = nil, nil
    core.wait_in_lua(false)
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

-- What every wait waits by: as core.poll. In a scope it looks at the processes
-- there as well (life.watch, which scope.lua brings), and may raise a failure.
function life.poll(fds, deadline)
    life.own()
    local poll = now.scopes and life.watch or core.poll
    if now.beside then return life.poll_beside(poll, fds, deadline) end
    return poll(fds, deadline)
end

-- Says whether waits in the engine have to come here.
function life.wait_in_lua()
    core.wait_in_lua(now.scopes ~= nil or now.beside ~= nil)
end

-- The same for the end of one child: as core.await.
function life.await(handle, deadline)
    local fd = core.pidfd(handle)
    if not (now.scopes or now.beside) or not fd then return core.await(handle, deadline) end
    local ready = life.poll({ fd }, deadline)
    if ready and ready[1] then return core.await(handle, deadline) end
    return ready and false
end

-- Lists in no order: an item knows its place there, and the last one takes it when it goes.
function life.put(list, item, place)
    item[place] = #list + 1
    list[#list + 1] = item
end

function life.take(list, item, place)
    if not item[place] then return end
    local last = list[#list]
    list[item[place]], last[place] = last, item[place]
    list[#list], item[place] = nil, nil
end

-- f runs at the end of this process, newest first.
function life.atexit(f)
    life.own()
    now.hooks[#now.hooks + 1] = f
end

-- What this process starts repeats from here on.
function life.seed(n)
    life.own()
    now.seed, now.started, now.n_pools = n, 0, 0
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
    if now.worker_of then now.worker_of.worker, now.worker_of = nil, nil end -- what a worker starts is none
    begin(s, { given_name = parent.given_name, number = parent.number, maker = parent.maker,
        pid = parent.pid, daemon = parent.daemon, role = "creator" })
    if s.keep then core.close_private(s.keep) end
    for _, fd in ipairs(s.opened) do core.close(fd) end
    for key, value in pairs(s.options.env or {}) do assert(core.set_env(key, value or nil)) end
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
        or "cannot send the results: they changed meanwhile"
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

-- Runs the handlers of what signals have arrived while the process ends, and
-- reports an error of theirs. The exit status that it asks for, or 0.
local function serve()
    local ok, e = xpcall(core.run_handlers, caught)
    if ok then return 0 end
    report((e.kind == "interrupted" and "" or "a handler of mp.on_signal failed: ") .. tostring(e))
    return e.kind == "interrupted" and e.exitcode or 1
end

-- Lua's words for memory that was short, with the reason that is known.
function life.explain(e)
    local limits = now.this.options and now.this.options.limits
    if limits and limits.memory and find(e.message, "^not enough memory") then
        e.message = format("%s (limit of %s)", e.message, limits.memory)
    end
    return e
end

local function fail(e)
    if not errors.is_error(e) then
        e = life.explain(errors.caught(e, life.name(life.own()), now.this.pid, ""))
    end
    leave_error(e)
    if now.this.scope or core.interrupted_lately() then return end -- a scope raises it in the parent
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

-- A failure in a scope that was not left, because its coroutine was dropped or never
-- resumed, is raised by nobody.
local function report_scopes()
    for scope in pairs(now.open_scopes or {}) do
        local failure = life.failure_of(scope)
        if failure then report(tostring(failure)) end
    end
end

-- The pools that are there; what fails there is reported, and the rest of the end goes on.
-- Returns the signal's number after an interruption, and 0 after another failure (a deadlock, for example).
local function end_pools(failed)
    if not now.pools or now.this.pid ~= core.getpid() then return nil end
    local ok, e = pcall(life.end_pools, failed)
    if ok then return nil end
    report(tostring(e))
    return errors.is_error(e) and e.kind == "interrupted" and core.signal_number(e.signal) or 0
end

-- failed: 0 or false after a normal end of the script.
local function end_lua(failed)
    local signal
    if failed ~= -1 then signal = end_pools(failed ~= 0 and failed ~= false) end
    run_hooks()
    close_pipes()
    report_scopes()
    core.hide_footer()
    return signal
end

-- Last in the child: its error for the parent, then its own end.
local function finish(_, ok, e)
    if not ok then fail(e) end
    local failure = end_lua(not ok)
    local status = core.end_children(not ok)
    return (not ok or failure == 0 and status == 0) and 1 or status
end

-- os.exit in a child.
local function leave(status)
    end_lua(true)
    core.end_children(true)
    core.leave(status)
end

core.set_hooks {
    enter = enter, caught = caught, refused = refused, finish = finish, failed = fail,
    leave = leave, at_end = end_lua, serve = serve,
}

return life
