-- luamp.process: a Lua function in a process of its own.
--
-- A process object is a userdata whose state is a table here. The same state
-- serves on both sides of the fork: in the parent it is a child's, in the child
-- it is the process's own (mp.current_process gives that very object).
--
--   status     new -> running -> ended -> closed, new -> closed
--   owner      the pid of the process that made the object: only there may it
--              be used; in others its methods raise and say whose it is
--   handle     the engine's hold on the child, from start to close
--   outcome    what the child left, read once when first asked for
--
-- The functions enter, caught, finish, leave and at_end are called by the
-- binding at the turns of a process's life; see binding/process.c.

local core = require "luamp.core"
local errors = require "luamp.errors"
local options = require "luamp.options"
local cgroup = require "luamp.cgroup"
local culprit = require "luamp.culprit"
local streams = require "luamp.streams"

local process = {}

local WHERE = "mp.process"
local misuse = options.misuse
local randomseed, random = math.randomseed, math.random
local unpack = table.unpack

local none = {}        -- an empty table that stays empty
local class = { __name = WHERE }
local methods = {}

local this             -- the state of the process that runs this
local created          -- the state of the one that started it, in a child
local running = {}     -- state -> true: children that have not been seen to end
local n_named, n_started = 0, 0
local hooks = {}       -- mp.atexit
local seed             -- of mp.seed, for what this process starts
local oom_before       -- the cgroup's count of kills for memory

-- --- states -----------------------------------------------------------------

local function new_object(state)
    state.object = core.object(class, state)
    return state.object
end

-- The process that runs this, as a state.
local function own_state()
    if not this then
        this = { name = "main", pid = core.getpid(), daemon = false, role = "self" }
        new_object(this)
    end
    return this
end

-- The state of `p` for a call: raises for what is no process, closed, or of others.
local function state_of(p, call)
    local s = core.state(p, class)
    if not s then
        misuse(WHERE, "%s must be called on a process, as in p:%s(...)", call, call)
    elseif s.status == "closed" then
        misuse(WHERE, "process '%s' is closed", s.name)
    elseif s.owner and s.owner ~= core.getpid() and s ~= this then
        misuse(WHERE, "process '%s' belongs to process '%s' (pid %d), which alone can use it",
            s.name, s.owner_name, s.owner)
    end
    return s
end

-- The same for calls that need a child: started, and not the caller itself.
local function child_of(p, call)
    local s = state_of(p, call)
    if s == this then
        misuse(WHERE, "a process cannot %s itself (process '%s')", call, s.name)
    elseif s.role == "creator" then
        misuse(WHERE, "process '%s' started this one, which cannot %s it", s.name, call)
    elseif s.status == "new" then
        misuse(WHERE, "process '%s' has not been started", s.name)
    end
    return s
end

-- --- the constructor --------------------------------------------------------

local known = {
    target = "callable", args = "table", name = "text", daemon = "boolean",
    detached = "boolean", start_method = "text", env = "table", cwd = "text",
    stdin = "text", stdout = "text", stderr = "text", cpus = "table", nice = "integer",
    command = "table", limits = "table", timeout = "number",
}

local absent = { command = true, limits = true, timeout = true }

local function check_method(where, method)
    if method == "spawn" or method == "forkserver" then
        misuse(where, "start method '%s' is not available in %s, 'fork' is", method, process.version)
    elseif method ~= "fork" then
        misuse(where, "unknown start method '%s' (there are 'fork', 'forkserver' and 'spawn')", method)
    end
end

local function check_env(env)
    for key, value in next, env do
        if type(key) ~= "string" or key == "" or key:find("[=%z]") then
            misuse(WHERE, "option 'env': %s is no name of a variable", tostring(key))
        elseif value ~= false and (type(value) ~= "string" or value:find("%z")) then
            misuse(WHERE, "option 'env': the value of '%s' must be a string, or false to unset it", key)
        end
    end
end

local function check_cpus(cpus)
    if #cpus == 0 then misuse(WHERE, "option 'cpus' must name at least one CPU") end
    for i = 1, #cpus do
        local cpu = math.tointeger(cpus[i])
        if not cpu or cpu < 0 or cpu > 1023 then
            misuse(WHERE, "option 'cpus' must be a list of numbers from 0 to 1023, not '%s'",
                tostring(cpus[i]))
        end
    end
end

local function check_args(args)
    local n = args.n
    if n ~= nil and (math.type(n) ~= "integer" or n < 0) then
        misuse(WHERE, "option 'args': its field n must be the number of arguments")
    end
end

local function check_options(given)
    options.check(WHERE, given, known)
    for key in next, absent do
        if given[key] ~= nil then
            misuse(WHERE, "option '%s' is not available in %s", key, process.version)
        end
    end
    if given.target == nil then misuse(WHERE, "option 'target' is missing: the function to run") end
    if given.start_method then check_method(WHERE, given.start_method) end
    if given.args then check_args(given.args) end
    if given.env then check_env(given.env) end
    if given.cpus then check_cpus(given.cpus) end
    streams.check(WHERE, given)
end

-- process-1, and process-1:1 for what that one starts.
local function next_name()
    n_named = n_named + 1
    local own = own_state()
    return (own.lineage and own.lineage .. ":" or "process-") .. n_named
end

-- mp.process(options), or mp.process(f): a process object; nothing runs yet.
function process.new(given)
    if type(given) == "function" then given = { target = given } end
    if type(given) ~= "table" then
        misuse(WHERE, "expected a table of options or a function, not %s",
            given == nil and "nothing" or "a " .. type(given))
    end
    check_options(given)
    local own, name = own_state(), next_name()
    local daemon = given.daemon
    if daemon == nil then daemon = own.daemon end
    return new_object { -- with every field that it will have: a table that never grows
        status = "new", role = "child", owner = own.pid, owner_name = own.name,
        name = given.name or name, lineage = name, daemon = daemon,
        detached = given.detached or false, target = given.target, args = given.args or none,
        options = given, object = nil, pid = nil, handle = nil, order = nil, exitcode = nil,
        stolen = nil, outcome = nil, files = none, captured = none, keep = nil, opened = none,
    }
end

-- --- start ------------------------------------------------------------------

-- Files that the child keeps open although they are private to their owner:
-- its arguments and the upvalues of its function.
local function kept_files(s)
    local keep = {}
    for i = 1, s.args.n or #s.args do
        if s.args[i] ~= nil then keep[s.args[i]] = true end
    end
    for i = 1, type(s.target) == "function" and 255 or 0 do
        local name, value = debug.getupvalue(s.target, i)
        if not name then break end
        if value ~= nil then keep[value] = true end
    end
    return keep
end

local function fail_to_start(s, reason)
    misuse(WHERE, "cannot start '%s': %s", s.name, reason)
end

-- What the engine is told; descriptors that are opened for it are in s.opened.
local function make_spec(s)
    local given = s.options
    local spec = { detached = s.detached and 1 or 0, daemon = s.daemon and 1 or 0,
        nice = given.nice, cpus = given.cpus }
    if given.cwd then
        local fd, message = core.open(given.cwd, "folder")
        if not fd then return nil, "cwd: " .. message end
        spec.cwd, s.opened[1] = fd, fd
    end
    return streams.open(s, spec)
end

local function is_plain(s)
    local given = s.options
    return not (s.detached or s.daemon or given.cwd or given.stdin or given.stdout or given.stderr
        or given.nice or given.cpus)
end

local function fork(s)
    local spec, failure = none, nil
    if not is_plain(s) then
        s.opened, s.files, s.captured = {}, {}, {}
        spec, failure = make_spec(s)
    end
    if not spec then return nil, failure end
    s.keep = core.has_private() and kept_files(s) or nil
    s.order = n_started + 1
    s.handle = core.handle()
    return core.fork(s.handle, spec, s, s.target, s.args, s.args.n or #s.args)
end

function methods.start(p)
    local s = state_of(p, "start")
    if s.status ~= "new" then misuse(WHERE, "process '%s' has been started already", s.name) end
    oom_before = oom_before or cgroup.oom_kills() or 0
    core.went_on()
    local ok, failure = fork(s)
    for _, fd in ipairs(s.opened) do core.close(fd) end
    s.opened = none
    if not ok then
        streams.drop(s)
        fail_to_start(s, failure)
    end
    s.status, s.pid = "running", core.pid(s.handle)
    n_started = s.order
    running[s] = true
    s.target, s.args, s.keep = nil, nil, nil
    return p
end

-- --- in the child -----------------------------------------------------------

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
    local parent = own_state()
    created = { name = parent.name, pid = parent.pid, daemon = parent.daemon, role = "creator" }
    new_object(created)
    this, s.role, s.status, s.pid = s, "self", "running", core.getpid()
    running, hooks, n_named, n_started = {}, {}, 0, 0
    if s.keep then core.close_private(s.keep) end
    for _, fd in ipairs(s.opened) do core.close(fd) end
    for key, value in pairs(s.options.env or none) do core.set_env(key, value or nil) end
    reseed(s.order)
end

-- The message handler of the target: everything about an error, while its frames stand.
local function caught(value)
    local own = own_state()
    return errors.caught(value, own.name, own.pid, errors.traceback(2))
end

local function leave_results(...)
    local sent, refused, code = core.leave_outcome("result", ...)
    if sent then return end
    local message
    if sent == false then
        message = culprit(table.pack(...), select("#", ...), "result %d")
    else
        message = ("cannot send the results: %s (%s)"):format(refused, code)
    end
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

-- Last in the child: the outcome for the parent, then its own end.
local function finish(_, ok, ...)
    if ok then
        leave_results(...)
    else
        local e = ...
        if not errors.is_error(e) then e = errors.caught(e, this.name, this.pid, "") end
        leave_error(e)
        if not core.interrupted_lately() then report(tostring(e)) end
    end
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

core.set_hooks { enter = enter, caught = caught, finish = finish, leave = leave, at_end = run_hooks }

-- --- the end, seen by the parent --------------------------------------------

local function settle(s)
    s.status = "ended"
    running[s] = nil
    s.exitcode, s.stolen = core.exitcode(s.handle)
    streams.settle(s)
end

-- Whether the child has ended, without waiting.
local function has_ended(s)
    if s.status == "running" and core.await(s.handle, 0) then settle(s) end
    return s.status == "ended"
end

-- Waits for the end until the deadline. A signal ends one round of waiting:
-- then Lua code runs, and with it whatever the signal set off.
local function await(s, deadline)
    while s.status ~= "ended" do
        local ended = core.await(s.handle, deadline)
        if ended then
            settle(s)
        elseif ended == false then
            return false
        end
    end
    return true
end

local function is_out_of_memory(s)
    if s.exitcode ~= -9 then return false end
    local now = cgroup.oom_kills() or 0
    local rose = now > (oom_before or 0)
    oom_before = now
    return rose
end

local function death(s)
    local signal = core.signal_name(-s.exitcode)
    local text = ("process '%s' (pid %d) was killed by %s"):format(s.name, s.pid, signal)
    if s.stolen then
        text = ("process '%s' (pid %d) was killed, and other code took its status"):format(s.name, s.pid)
    elseif is_out_of_memory(s) then
        text = text .. ": out of memory (its cgroup's oom_kill count rose)"
    end
    return errors.new { kind = "signal", signal = signal, message = text }
end

local function identify(s, e)
    e.process, e.pid, e.exitcode = e.process or s.name, e.pid or s.pid, s.exitcode
    return e
end

-- Reads what the child left: {error=, values=, failed=}. `failed` is false for
-- results that could not be sent, which only `result` raises.
local function read_outcome(s)
    if s.exitcode < 0 then return { error = identify(s, death(s)), failed = true } end
    local left = table.pack(core.outcome(s.handle))
    if left[1] == "error" or left[1] == "unsent" then
        return { error = identify(s, left[2]), failed = left[1] == "error" }
    elseif s.exitcode ~= 0 then
        local e = errors.new { kind = "exit", message = ("process '%s' (pid %d) exited with status %d")
            :format(s.name, s.pid, s.exitcode) }
        return { error = identify(s, e), failed = true }
    end
    return { values = left }
end

local function outcome(s)
    s.outcome = s.outcome or read_outcome(s)
    return s.outcome
end

-- --- methods ----------------------------------------------------------------

-- The creator is no child: its life word is looked at 20 times a second.
local function await_creator(deadline)
    while core.creator() do
        local look = math.min(deadline, core.deadline(0.05))
        if core.poll({}, look) and look == deadline then return not core.creator() end
    end
    return true
end

function methods.join(p, timeout)
    local s = state_of(p, "join")
    local deadline = options.deadline("join", timeout)
    local ended
    if s.role == "creator" then
        ended = await_creator(deadline)
    else
        ended = await(child_of(p, "join"), deadline)
    end
    if ended then return true end
    return nil, "timeout"
end

function methods.is_alive(p)
    local s = state_of(p, "is_alive")
    if s == this then return true end
    if s.role == "creator" then return core.creator() end
    return s.status == "running" and not has_ended(s)
end

function methods.result(p, timeout)
    local s = child_of(p, "wait for the result of")
    if not await(s, options.deadline("result", timeout)) then
        errors.raise(errors.new {
            kind = "pending", process = s.name, pid = s.pid,
            message = ("the result of process '%s' (pid %d) is still pending"):format(s.name, s.pid),
        }, own_state().name)
    end
    local o = outcome(s)
    if o.error then errors.raise(o.error, own_state().name) end
    return unpack(o.values, 2, o.values.n)
end

local function send(s, number)
    return not has_ended(s) and core.signal(s.handle, number)
end

function methods.signal(p, name)
    local s = child_of(p, "signal")
    local number = type(name) == "string" and core.signal_number(name)
    if not number then misuse("signal", "there is no signal '%s'", tostring(name)) end
    return send(s, number)
end

function methods.terminate(p)
    return send(child_of(p, "terminate"), core.signal_number "SIGTERM")
end

function methods.kill(p)
    return send(child_of(p, "kill"), core.signal_number "SIGKILL")
end

-- SIGTERM, SIGKILL after the grace (seconds); returns when it has ended.
local function stop(s, grace)
    local was_alive = send(s, core.signal_number "SIGTERM")
    if not await(s, core.deadline(grace)) then
        send(s, core.signal_number "SIGKILL")
        await(s, core.deadline())
    end
    return was_alive
end

function methods.stop(p, grace)
    local s = child_of(p, "stop")
    options.deadline("stop", grace)
    return stop(s, grace or 5)
end

function methods.close(p)
    local s = core.state(p, class)
    if s and s.status == "closed" then return end
    s = state_of(p, "close")
    if s == this or s.role == "creator" then misuse(WHERE, "process '%s' is not a child", s.name) end
    if s.status == "running" and not has_ended(s) then
        misuse(WHERE, "process '%s' cannot be closed while it runs", s.name)
    end
    streams.drop(s)
    if s.handle then core.close_handle(s.handle) end
    if s.pollfd then core.close(s.pollfd) end
    s.status, s.handle, s.outcome, s.pollfd = "closed", nil, nil, nil
end

-- A descriptor of its own, that stays readable from the end on until close.
function methods.pollfd(p)
    local s = child_of(p, "poll")
    if not s.pollfd then
        local fd = not has_ended(s) and core.pidfd(s.handle)
        s.pollfd = fd and core.duplicate(fd) or core.ended_descriptor()
    end
    return s.pollfd
end

function methods.events(p)
    child_of(p, "poll")
    return "r"
end

-- --- fields -----------------------------------------------------------------

local fields = {}

function fields.name(s) return s.name end
function fields.pid(s) return s.pid end
function fields.daemon(s) return s.daemon end

function fields.exitcode(s)
    if s.role == "child" and s.status == "running" then has_ended(s) end
    return s.exitcode
end

function fields.error(s)
    if s.role ~= "child" or not has_ended(s) then return nil end
    local o = outcome(s)
    return o.failed and o.error or nil
end

for _, name in ipairs { "stdin", "stdout", "stderr" } do
    fields[name] = function(s)
        if s.role == "child" and s.status == "running" then has_ended(s) end
        return s.files[name]
    end
end

class.__index = function(p, key)
    local method = methods[key]
    if method then return method end
    local field = fields[key]
    if not field then return nil end
    return field(state_of(p, key))
end

class.__newindex = function(_, key)
    misuse(WHERE, known[key] and "field '%s' is read-only; it is given as an option: mp.process{%s=...}"
        or "a process has no field '%s' that could be set", key, key)
end

class.__tostring = function(p)
    local s = core.state(p, class)
    local life = s.status or "running"
    if life == "running" and s.role == "child" and s.owner == core.getpid() and has_ended(s) then
        life = "ended"
    end
    return ("mp.process: %s ('%s', %s%s)"):format(core.address(p), s.name, life,
        s.pid and ", pid " .. s.pid or "")
end

-- The end of a scope: joined (a daemon stopped), or after an error stopped.
class.__close = function(p, e)
    local s = core.state(p, class)
    if s.owner ~= core.getpid() or s.status ~= "running" then return end
    if e ~= nil then
        stop(s, 0.5)
    elseif s.daemon then
        stop(s, 5)
    else
        await(s, core.deadline())
    end
end

-- --- module functions -------------------------------------------------------

function process.current()
    return own_state().object
end

function process.parent()
    return created and created.object or nil
end

-- The children that live, in order of their start. Those that ended are reaped.
function process.active()
    local list = {}
    for s in pairs(running) do list[#list + 1] = s end
    table.sort(list, function(a, b) return a.order < b.order end)
    local alive = {}
    for _, s in ipairs(list) do
        if not has_ended(s) then alive[#alive + 1] = s.object end
    end
    return alive
end

function process.atexit(f)
    if not options.is_callable(f) then
        misuse("mp.atexit", "expected a function, not a %s", type(f))
    end
    hooks[#hooks + 1] = f
    return f
end

function process.seed(n)
    if math.type(n) ~= "integer" then
        misuse("mp.seed", "expected an integer, not %s", math.type(n) or "a " .. type(n))
    end
    seed, n_started = n, 0
    randomseed(n)
end

function process.set_start_method(method)
    if type(method) ~= "string" then
        misuse("mp.set_start_method", "expected the name of a start method, not a %s", type(method))
    end
    check_method("mp.set_start_method", method)
end

function process.get_start_method()
    return "fork"
end

function process.sleep(seconds)
    if type(seconds) ~= "number" or seconds ~= seconds then
        misuse("mp.sleep", "expected a number of seconds, not %s",
            seconds ~= seconds and "NaN" or "a " .. type(seconds))
    end
    local deadline = core.deadline(seconds)
    repeat until core.poll({}, deadline)
end

-- --- mp.wait ----------------------------------------------------------------

-- The descriptor to look at for an item of mp.wait's list, or true if it is ready.
local function descriptor_of(item, i)
    local s = core.state(item, class)
    if s then
        s = child_of(item, "wait for")
        return has_ended(s) or core.pidfd(s.handle)
    end
    local fd = math.tointeger(item)
    if not fd then
        misuse("mp.wait", "item %d is a %s; it waits for processes and descriptors", i, type(item))
    elseif fd < 0 or not core.is_open(fd) then
        misuse("mp.wait", "item %d: there is no open descriptor %d", i, fd)
    end
    return fd
end

-- The items that are ready now, or have become so until the deadline.
local function ready_items(items, deadline)
    local fds, ready, any = {}, {}, false
    for i, item in ipairs(items) do
        local fd = descriptor_of(item, i)
        ready[i], any = fd == true, any or fd == true
        fds[i] = fd == true and -1 or fd
    end
    local positions = core.poll(fds, any and 0 or deadline)
    if not positions then return nil end
    for _, i in ipairs(positions) do ready[i] = true end
    local list = {}
    for i, item in ipairs(items) do
        if ready[i] then list[#list + 1] = item end
    end
    return list
end

function process.wait(items, timeout)
    if type(items) ~= "table" then
        misuse("mp.wait", "expected a list of processes and descriptors, not a %s", type(items))
    elseif #items == 0 and timeout == nil then
        misuse("mp.wait", "an empty list without a timeout would wait for ever")
    end
    local deadline = options.deadline("mp.wait", timeout)
    local ready
    repeat ready = ready_items(items, deadline) until ready
    return ready
end

return process
