-- luamp.scope: processes that end with a block: mp.scope(f).
--
-- f is given a scope, by which it starts processes, the members. The call returns
-- when f has returned and every member has ended. The first failure that nobody
-- asked for stops the other members as soon as it is seen, ends the waits of f,
-- and is raised in the end, whatever f makes of it.
--
--   Seen    A member's end is seen by any look at it: a wait of f polls the
--           members beside what it waits for, and process.lua tells the scope of
--           each end (`hear`) before anybody else can know of it. So no failure
--           is missed, and the first one seen is the one that counts.
--   Waits   A wait belongs to the scopes whose function is being executed: those
--           entered on a thread that runs, or that has resumed the one that runs.
--           One whose coroutine has yielded does not meddle with other code. A
--           coroutine that is dropped while it is suspended in a scope leaves its
--           members to the end of the script.
--   Order   An interruption (Ctrl-C) goes before everything, then what failed
--           first. What f raises counts as later than a member that had ended by
--           then, and what members do after they were told to end counts as nothing.
--
-- A member's child reports no error on stderr (life.lua): it is raised here.

local core = require "luamp.core"
local errors = require "luamp.errors"
local life = require "luamp.life"
local options = require "luamp.options"
local outcome = require "luamp.outcome"
local process = require "luamp.process"
local sharing = require "luamp.sharing"

local WHERE = "mp.scope"
local GRACE_AFTER_FAILURE, GRACE_AT_END = 0.5, 5 -- seconds from SIGTERM to SIGKILL
local SIGKILL, SIGTERM = 9, 15
local misuse = options.misuse
local now = life.now
local running, status = coroutine.running, coroutine.status

local class = { __name = WHERE }
local methods = {}

-- --- members ----------------------------------------------------------------

-- A member that may live; a start that was broken off has made none.
local function is_running(member)
    return member.status == "running" and core.is_held(member.handle)
end

-- Sends a signal to all members, once.
local function tell(scope, number)
    for _, member in ipairs(scope.members) do
        if is_running(member) and not outcome.was_sent(member, number) then
            outcome.note_signal(member, number)
            core.signal(member.handle, number)
        end
    end
end

-- Asks the members to end, and sets the time when they must have done so.
local function tell_to_end(scope, grace)
    scope.deadline = scope.deadline or core.deadline(grace)
    tell(scope, SIGTERM)
end

-- A member has ended: process.lua calls this, perhaps again if it was interrupted.
local function hear(member)
    local scope = member.scope
    life.take(scope.members, member, "place")
    if not scope.failure and outcome.is_failure(member) then
        scope.failure = outcome.of(member).error
        tell_to_end(scope, GRACE_AFTER_FAILURE)
    end
end

-- Adds what to poll for the members of the scope that run, which are listed
-- beside; both lists. Backwards, because those that do not run are taken out.
local function watch_members(scope, fds, watched)
    for i = #scope.members, 1, -1 do
        local member = scope.members[i]
        local fd = is_running(member) and core.pidfd(member.handle)
        if fd then
            fds[#fds + 1], watched[#watched + 1] = fd, member
        elseif not process.has_ended(member) and member.status ~= "running" then
            life.take(scope.members, member, "place")
        end
    end
    return fds, watched
end

-- --- failures ---------------------------------------------------------------

local function raise(failure)
    local own = life.own()
    errors.raise(failure, life.name(own), own.pid)
end

-- Calls visit(scope) for each scope whose function is being executed.
local function each_scope(visit, ...)
    for thread, scope in next, now.scopes do
        local is_executed = status(thread) == "running" or status(thread) == "normal"
        while is_executed and scope do
            visit(scope, ...)
            scope = scope.outer
        end
    end
end

local function raise_failure(scope)
    if scope.failure then raise(scope.failure) end
end

-- Waits for a moment, or until the deadline: as core.poll; and whether the deadline
-- was in that moment. A finalizer may reap what is waited for just before.
local function poll_shortly(fds, deadline)
    process.note_oom_kills()
    local moment = core.deadline(0.05)
    return core.poll(fds, math.min(deadline, moment)), deadline <= moment
end

-- One round of a wait: which of `fds` are ready, as core.poll; and whether it is to
-- go on. Raises a failure that is known by then.
local function look(fds, deadline)
    local all, watched = table.move(fds, 1, #fds, 1, {}), {}
    each_scope(watch_members, all, watched)
    each_scope(raise_failure)
    local ready, is_over = poll_shortly(all, deadline)
    if not ready then return nil end
    local own = {}
    for _, i in ipairs(ready) do
        if i <= #fds then own[#own + 1] = i else process.has_ended(watched[i - #fds]) end
    end
    each_scope(raise_failure)
    return own, #own == 0 and not (is_over and #ready == 0)
end

-- What life.poll is while there are scopes.
function life.watch(fds, deadline)
    local ready, goes_on
    repeat ready, goes_on = look(fds, deadline) until not goes_on
    return ready
end

-- --- the end ----------------------------------------------------------------

-- Waits for all members until the deadline; nothing but an interruption ends this.
local function await_all(scope, deadline)
    while true do
        local fds, watched = watch_members(scope, {}, {})
        if not fds[1] then return end
        local ready, is_over = poll_shortly(fds, deadline)
        for _, i in ipairs(ready or {}) do process.has_ended(watched[i]) end
        if ready and not ready[1] and is_over then return end
    end
end

-- Those that have ended before are not told to end.
local function end_in_order(scope, grace)
    await_all(scope, core.deadline(0))
    tell_to_end(scope, grace)
    await_all(scope, scope.deadline)
end

-- Ends all members: by SIGTERM; by SIGKILL those that are left after the grace,
-- or when an interruption comes in it. Waits for them.
local function stop(scope, grace)
    local ok, interruption = pcall(end_in_order, scope, grace)
    tell(scope, SIGKILL)
    await_all(scope, core.deadline())
    if not ok then error(interruption, 0) end
end

-- Leaves the scope, and no member behind; in a process that a foreign fork made
-- inside it there is nothing to do. An interrupted call is done again by the
-- variable of `run`.
local function leave(scope, grace)
    if scope.owner ~= core.getpid() then return end
    if not scope.has_ended then
        now.scopes[scope.thread] = scope.outer
        if next(now.scopes) == nil then
            now.scopes = nil
            life.wait_in_lua()
        end
        now.open_scopes[scope] = nil
    end
    scope.has_ended = true
    stop(scope, grace)
end

-- Leaves by an error: a failure that came first is raised in its place, if the error
-- is not what f had of it, by a wait or by `result`.
local function leave_failed(scope, e)
    leave(scope, GRACE_AFTER_FAILURE)
    if e ~= nil and scope.failure and not errors.tells_of(e, scope.failure) then raise(scope.failure) end
end

local function fail(scope, e)
    leave_failed(scope, e)
    error(e, 0)
end

-- Waits for all but the daemons, as f would. Who reads what f wrote sees its end.
local function await_workers(scope)
    for _, member in ipairs(scope.members) do
        if io.type(member.files.stdin) == "file" then member.files.stdin:close() end
    end
    local function has_workers()
        local _, watched = watch_members(scope, {}, {})
        for _, member in ipairs(watched) do
            if not scope.daemons[member] then return true end
        end
        return false
    end
    local function look_at_workers()
        local ready = look({}, core.deadline())
        return not has_workers() or ready and false
    end
    if has_workers() then sharing.wait_for_ever(look_at_workers) end
    raise_failure(scope)
end

local function finish(scope, ok, ...)
    if not ok then fail(scope, (...)) end
    if scope.owner ~= core.getpid() then return ... end
    local waited, e = pcall(await_workers, scope)
    if not waited then fail(scope, e) end
    leave(scope, GRACE_AT_END)
    raise_failure(scope) -- of a daemon, that nobody had looked at
    return ...
end

-- --- the scope --------------------------------------------------------------

local closing = { __close = leave_failed }

local function enter()
    local own, thread = life.own(), running()
    now.scopes = now.scopes or setmetatable({}, { __mode = "k" })
    local scope = setmetatable({ owner = own.pid, maker = own, thread = thread, outer = now.scopes[thread],
        members = {}, daemons = {}, hear = hear, failure = nil, deadline = nil, has_ended = false }, closing)
    now.scopes[thread] = scope
    life.wait_in_lua()
    now.open_scopes = now.open_scopes or {}
    now.open_scopes[scope] = true
    return scope
end

-- What has failed by now in a scope that was not left.
function life.failure_of(scope)
    await_all(scope, core.deadline(0))
    return scope.failure
end

-- mp.scope(f). An error of f is left to the variable, so that a traceback has where
-- it was raised; but in a coroutine, which closes its variables late or never when
-- it fails, it is caught.
local function run(f, ...)
    if f == package.loaded.luamp then
        misuse(WHERE, "it is called with a dot, and not as mp:scope")
    elseif not options.is_callable(f) then
        misuse(WHERE, "expected a function, not %s", options.describe(f))
    elseif select("#", ...) > 0 then
        misuse(WHERE, "expected one function; it is called with the scope alone")
    end
    local scope <close> = enter()
    local object, _, is_main = core.object(class, scope), running()
    if is_main then return finish(scope, true, f(object)) end
    return finish(scope, pcall(f, object))
end

local function scope_of(object, call)
    local scope = core.state(object, class)
    if not scope then
        misuse(WHERE, "'%s' must be called on a scope, as in s:%s()", call, call)
    elseif scope.owner ~= core.getpid() then
        misuse(WHERE, "the scope belongs to process '%s' (pid %d), which alone can use it",
            life.name(scope.maker), scope.owner)
    elseif scope.has_ended then
        misuse(WHERE, "the scope has ended")
    end
    return scope
end

-- s:start(f, ...) or s:start(options): a member, started. A process that cannot
-- be started raises here, and is no failure of the scope if f catches that.
function methods.start(object, given, ...)
    local scope = scope_of(object, "start")
    if options.is_callable(given) then
        given = { target = given, args = table.pack(...) }
    elseif type(given) ~= "table" then
        misuse(WHERE, "expected a function or a table of options, not %s", options.describe(given))
    elseif select("#", ...) > 0 then
        misuse(WHERE, "expected one table of options; arguments of the function go into its option 'args'")
    elseif given.detached then
        misuse(WHERE, "option 'detached': a process that may outlive its scope is started by mp.process")
    end
    raise_failure(scope)
    local p = process.new(given)
    local member = process.state(p)
    scope.daemons[member] = given.daemon or nil
    member.scope = scope
    life.put(scope.members, member, "place")
    p:start()
    if scope.failure then tell_to_end(scope, GRACE_AFTER_FAILURE) end -- one that the start has seen
    raise_failure(scope)
    return p
end

class.__index = methods

class.__newindex = function(_, key)
    misuse(WHERE, "a scope has no field '%s' that could be set", tostring(key))
end

class.__tostring = function(object)
    local scope = core.state(object, class)
    local is_mine = scope.owner == core.getpid()
    if is_mine then await_all(scope, core.deadline(0)) end
    local phase = scope.has_ended and "ended" or is_mine and #scope.members .. " running" or "of another process"
    return ("mp.scope: %s (%s)"):format(core.address(object), phase)
end

return run
