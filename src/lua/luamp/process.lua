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
--   outcome    what the child left, read once when first asked for; see outcome.lua
--   sent       the signals that it was sent from here
--   scope      the scope that started it, if one did, and its place there; see scope.lua

local core = require "luamp.core"
local errors = require "luamp.errors"
local options = require "luamp.options"
local life = require "luamp.life"
local outcome = require "luamp.outcome"
local process_options = require "luamp.process_options"

local process = {}

local WHERE = "mp.process"
local misuse = options.misuse
local unpack = table.unpack
local now = life.now
local name_of = life.name

local none = process_options.none
local check_options = process_options.check
local class = { __name = WHERE }
local methods = {}

-- --- states -----------------------------------------------------------------

local function new_object(state)
    state.object = core.object(class, state)
    return state.object
end

-- The state of `p` for a call: raises for what is no process, closed, or of others.
local function state_of(p, call)
    local s = core.state(p, class)
    if not s then
        misuse(WHERE, "'%s' must be called on a process, as in p:%s()", call, call)
    elseif s.status == "closed" then
        misuse(WHERE, "process '%s' is closed", name_of(s))
    elseif s.owner and s.owner ~= core.getpid() and s ~= life.own() then
        misuse(WHERE, "process '%s' belongs to process '%s' (pid %d), which alone can use it",
            name_of(s), name_of(s.maker), s.owner)
    end
    return s
end

-- The same for calls that need a child: started, and not the caller itself.
local function child_of(p, call)
    local s = state_of(p, call)
    if s == life.own() then
        misuse(WHERE, "process '%s' cannot call '%s' on itself", name_of(s), call)
    elseif s.role == "creator" then
        misuse(WHERE, "process '%s' started this one, which cannot call '%s' on it", name_of(s), call)
    elseif s.status == "new" then
        misuse(WHERE, "process '%s' has not been started", name_of(s))
    elseif s.status == "running" and core.is_held(s.handle) == nil then
        misuse(WHERE, "process '%s' is being started, and this is a finalizer", name_of(s))
    end
    return s
end

-- --- the constructor --------------------------------------------------------

local function copy_args(args)
    if not args then return none end
    local n = args.n or #args
    return table.move(args, 1, n, 1, { n = n })
end

-- mp.process(options), or mp.process(f): a process object; nothing runs yet.
function process.new(given, ...)
    if given == package.loaded.luamp then
        misuse(WHERE, "it is called with a dot, and not as mp:process")
    elseif select("#", ...) > 0 then
        misuse(WHERE, "expected one table of options; arguments of the function go into its option 'args'")
    end
    if type(given) == "function" then given = { target = given } end
    if type(given) ~= "table" then
        misuse(WHERE, "expected a table of options or a function, not %s", options.describe(given))
    end
    check_options(WHERE, given)
    local own = life.own()
    now.named = now.named + 1
    local daemon = given.daemon
    if daemon == nil then daemon = own.daemon end
    return new_object { -- with every field that it will have: a table that never grows
        status = "new", role = "child", owner = own.pid, maker = own, daemon = daemon,
        given_name = given.name, number = now.named,
        detached = given.detached or false, target = given.target, args = copy_args(given.args),
        options = process_options.keep(given), object = nil, slot = nil, pid = nil, handle = nil, order = nil,
        exitcode = nil, stolen = nil, sent = 0, oom = nil, outcome = nil, files = none, captured = none, keep = nil,
        opened = none, handed = none, overran = nil, scope = nil, place = nil,
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
    misuse(s.where or WHERE, "cannot start '%s': %s", name_of(s), reason)
end

-- What the engine is told; descriptors that are opened for it are in s.opened.
local function make_spec(s)
    local given = s.options
    local spec = { detached = s.detached and 1 or 0, daemon = s.daemon and 1 or 0,
        nice = given.nice, cpus = given.cpus, timeout = given.timeout }
    if given.limits then
        local ok, message = process_options.limit(given.limits, spec)
        if not ok then return nil, message, "EPERM" end
    end
    if given.cwd then
        local fd, message, code = core.open(given.cwd, "folder")
        if not fd then return nil, "cwd: " .. message, code end
        spec.cwd, s.opened[1] = fd, fd
    end
    return require "luamp.streams".open(s, spec)
end

local function is_plain(s)
    return s.options == none and not s.detached and not s.daemon
end

-- Starts the child: a function by fork or in a fresh image, a program by exec.
local function launch(s)
    local spec, failure, code = none, nil, nil
    if not is_plain(s) then spec, failure, code = make_spec(s) end
    if not spec then return nil, failure, code end
    if s.options.command then return require "luamp.command".start(s, spec) end
    local n, method = s.args.n or #s.args, s.options.start_method or now.method
    if n > 1000 and not core.has_room(n) then return nil, ("%d arguments are too many for Lua's stack"):format(n) end
    if method ~= "fork" then return require "luamp.image".start(s, spec, method) end
    s.keep = core.has_private() and kept_files(s) or nil
    return core.fork(s.handle, spec, s, s.target, s.args, n, core.ends_in(s.target, s.args, n))
end

-- Forks. The child is among the running before there is one, and off the list if
-- there is none: whatever interrupts this, it is known. A finalizer that runs
-- meanwhile and looks at the running leaves it alone. Returns whether there is
-- one; and why not, with the error's name, or what was raised and "raised".
local function fork(s)
    if not is_plain(s) then s.opened, s.files, s.captured, s.handed = {}, {}, {}, {} end
    s.order = now.started + 1
    s.handle = core.handle()
    life.put(now.running, s, "slot")
    s.status = "running"
    local called, ok, failure, code = core.launch(s.handle, launch, s)
    local born = core.is_held(s.handle)
    if not born then
        s.status, s.handle = "new", nil
        life.take(now.running, s, "slot")
    end
    if not called then return born, ok, "raised" end
    return born, failure, code
end

-- What was opened for the child alone.
local function close_opened(s)
    while #s.opened > 0 do core.close(table.remove(s.opened)) end
end

local function drop_streams(s)
    close_opened(s)
    if s.files ~= none then require "luamp.streams".drop(s) end
end

-- Forks, and once more if what was short could be had after all: descriptors up
-- to the hard limit, or what children held that nobody has asked for.
local function fork_or_make_room(s)
    local born, failure, code = fork(s)
    close_opened(s)
    if born then return born, failure, code end
    drop_streams(s)
    local swept = (code == "EMFILE" or code == "EAGAIN") and process.sweep(#now.running) > 0
    if swept or (code == "EMFILE" and core.raise_file_limit()) then return fork_or_make_room(s) end
    return born, failure, code
end

-- What the parent keeps of a child that was born.
local function note_birth(s)
    now.started = s.order
    s.pid = core.pid(s.handle)
    s.target, s.args, s.keep = nil, nil, nil
    if s.handed ~= none then require "luamp.streams".started(s) end
end

function methods.start(p)
    local s = state_of(p, "start")
    if s.status ~= "new" then misuse(WHERE, "process '%s' has been started already", name_of(s)) end
    core.went_on()
    process.sweep(2)
    local born, failure, code = fork_or_make_room(s)
    if born then note_birth(s) end
    if code == "raised" and (born or type(failure) ~= "string") then error(failure, 0) end
    if not born then fail_to_start(s, failure) end
    core.serve_signals()
    return p
end

-- --- the end, seen by the parent --------------------------------------------

-- From now on it is known what the kernel kills for memory in this cgroup.
local function note_oom_kills()
    now.oom_kills = now.oom_kills or require "luamp.cgroup".oom_kills() or 0
end

-- Whether it has killed since the last look.
local function oom_kills_rose()
    local before = now.oom_kills
    now.oom_kills = require "luamp.cgroup".oom_kills() or 0
    return before ~= nil and now.oom_kills > before
end

-- Its scope hears of the end before anybody else can see it, and so in any case.
local function settle(s)
    if s.status == "ended" then return end -- by the wait itself, which looks at a scope's processes, too
    s.exitcode, s.stolen = core.exitcode(s.handle)
    s.oom = s.exitcode == -9 and not outcome.was_sent(s, 9) and oom_kills_rose()
    s.overran = s.options.timeout ~= nil and core.overran(s.handle)
    life.take(now.running, s, "slot")
    if next(s.captured) then require "luamp.streams".settle(s) end
    if s.scope then s.scope.hear(s) end
    s.status = "ended"
end

-- Whether the child has ended, without waiting. A start that an error (Ctrl-C's,
-- or of a debug hook) broke off before there was a child has not happened.
local function has_ended(s)
    note_oom_kills()
    local is_held = s.status ~= "running" or core.is_held(s.handle)
    if is_held == nil then return false end
    if not is_held then
        life.take(now.running, s, "slot")
        s.status, s.handle = "new", nil
    elseif s.status == "running" and core.await(s.handle, 0) then
        settle(s)
    end
    return s.status == "ended"
end

-- Looks at the running children, in turn, until it has met `n` that do run; so
-- those that nobody asks for are reaped as others start. Returns how many had ended.
function process.sweep(n)
    local ended, running = 0, now.running
    while n > 0 and #running > 0 do
        now.swept = now.swept < #running and now.swept + 1 or 1
        if has_ended(running[now.swept]) then
            ended, now.swept = ended + 1, now.swept - 1 -- another one is in its place now
        else
            n = n - 1
        end
    end
    return ended
end

-- Waits for the end until the deadline. A signal ends one round of waiting, with
-- what it set off: its handler may have seen the end, and closed it. The first wait, which
-- the child uses for its work, is the time to look what the kernel has counted.
-- By core.await as `wait` no failure in a scope ends it.
local function await(s, deadline, wait)
    note_oom_kills()
    while s.status ~= "ended" do
        if s.status == "closed" then misuse(WHERE, "process '%s' is closed", name_of(s)) end
        local ended = (wait or life.await)(s.handle, deadline)
        if ended then
            settle(s)
        elseif ended == false then
            return false
        end
    end
    return true
end

-- --- methods ----------------------------------------------------------------

-- The creator is no child: its life word is looked at 20 times a second.
local function await_creator(deadline)
    while core.creator() do
        local look = math.min(deadline, core.deadline(0.05))
        if life.poll({}, look) and look == deadline then return not core.creator() end
    end
    return true
end

function methods.join(p, timeout)
    local s = state_of(p, "join")
    local deadline = options.deadline("mp.process:join", timeout)
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
    if s == life.own() then return true end
    if s.role == "creator" then return core.creator() end
    return not has_ended(s) and s.status == "running"
end

-- They are kept: where less is on the stack, they may be had.
local function too_many(s, n)
    errors.raise(errors.new {
        kind = "unsendable", process = name_of(s), pid = s.pid, exitcode = s.exitcode,
        message = ("cannot receive the results: %d values are too many for Lua's stack"):format(n),
    }, name_of(life.own()), life.own().pid)
end

function methods.result(p, timeout)
    local s = child_of(p, "result")
    if not await(s, options.deadline("mp.process:result", timeout)) then
        errors.raise(errors.new {
            kind = "pending", process = name_of(s), pid = s.pid,
            message = ("the result of process '%s' (pid %d) is still pending"):format(name_of(s), s.pid),
        }, name_of(life.own()), life.own().pid)
    end
    local o = outcome.of(s)
    if o.error then errors.raise(o.error, name_of(life.own()), life.own().pid) end
    if not core.has_room(o.values.n) then too_many(s, o.values.n - 1) end
    return unpack(o.values, 2, o.values.n)
end

local function send(s, number)
    if has_ended(s) then return false end
    outcome.note_signal(s, number)
    return core.signal(s.handle, number)
end

function methods.signal(p, name)
    local s = child_of(p, "signal")
    local number = type(name) == "string" and core.signal_number(name)
    if not number then
        misuse("mp.process:signal", "there is no signal '%s'; one is named as \"SIGUSR1\"", tostring(name))
    end
    return send(s, number)
end

function methods.terminate(p)
    return send(child_of(p, "terminate"), core.signal_number "SIGTERM")
end

function methods.kill(p)
    return send(child_of(p, "kill"), core.signal_number "SIGKILL")
end

-- SIGTERM, SIGKILL after the grace (seconds); returns when it has ended.
local function stop(s, grace, wait)
    local was_alive = send(s, core.signal_number "SIGTERM")
    if not await(s, core.deadline(grace), wait) then
        send(s, core.signal_number "SIGKILL")
        await(s, core.deadline(), wait)
    end
    return was_alive
end

function methods.stop(p, grace)
    local s = child_of(p, "stop")
    options.deadline("mp.process:stop", grace, "grace")
    return stop(s, grace or 5)
end

function methods.close(p)
    local s = core.state(p, class)
    if s and s.status == "closed" then return end
    s = state_of(p, "close")
    if s == life.own() or s.role == "creator" then misuse(WHERE, "process '%s' is not a child", name_of(s)) end
    if s.status == "running" and not has_ended(s) then
        misuse(WHERE, "process '%s' cannot be closed while it runs", name_of(s))
    end
    drop_streams(s)
    if s.handle then core.close_handle(s.handle) end
    s.status, s.handle, s.outcome = "closed", nil, nil
end

-- A descriptor that is readable from the end on, the same until close.
function methods.pollfd(p)
    local s = child_of(p, "pollfd")
    has_ended(s)
    return core.pollfd(s.handle)
end

function methods.events(p)
    child_of(p, "events")
    return "r"
end

-- --- fields -----------------------------------------------------------------

local fields = {}

function fields.name(s) return name_of(s) end
function fields.pid(s)
    return s.pid or (s.handle and core.is_held(s.handle) and core.pid(s.handle) or nil) -- before its note
end
function fields.daemon(s) return s.daemon end

function fields.exitcode(s)
    if s.role == "child" and s.status == "running" then has_ended(s) end
    return s.exitcode
end

function fields.error(s)
    if s.role ~= "child" or not has_ended(s) then return nil end
    local o = outcome.of(s)
    return o.failed and o.error or nil
end

for _, name in ipairs { "stdin", "stdout", "stderr" } do
    fields[name] = function(s)
        if s.role == "child" and s.status == "running" then has_ended(s) end
        return s.files and s.files[name]
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
    if process_options.is_known(key) then
        misuse(WHERE, "field '%s' is read-only; it is given as an option: mp.process{%s=...}", key, key)
    elseif fields[key] or methods[key] then
        misuse(WHERE, "field '%s' is read-only", key)
    end
    misuse(WHERE, "a process has no field '%s'", tostring(key))
end

class.__tostring = function(p)
    local s = core.state(p, class)
    local phase = s.status or "running"
    if s.role == "creator" then
        phase = core.creator() and "running" or "ended"
    elseif phase == "running" and s.role == "child" and s.owner == core.getpid() and has_ended(s) then
        phase = "ended"
    end
    return ("mp.process: %s ('%s', %s%s)"):format(core.address(p), name_of(s), phase,
        s.pid and ", pid " .. s.pid or "")
end

-- The end of a <close> variable: joined (a daemon stopped); stopped after an error, also of that wait.
class.__close = function(p, e)
    local s = core.state(p, class)
    if s.owner ~= core.getpid() or s.status ~= "running" then return end
    for _, file in pairs(s.files) do
        if io.type(file) == "file" then file:close() end
    end
    local ok, failure = e == nil, nil
    if ok then
        ok, failure = pcall(s.daemon and stop or await, s, s.daemon and 5 or core.deadline())
    end
    if not ok then
        stop(s, 0.5, core.await)
        if e == nil then error(failure, 0) end
    end
end

-- --- module functions -------------------------------------------------------

function process.current()
    local s = life.own()
    return s.object or new_object(s)
end

function process.parent()
    local s = now.creator
    return s and (s.object or new_object(s))
end

-- The children that live, in order of their start. Those that ended are reaped.
function process.active()
    life.own()
    local list = {}
    table.move(now.running, 1, #now.running, 1, list)
    table.sort(list, function(a, b) return a.order < b.order end)
    local alive = {}
    for _, s in ipairs(list) do
        if not has_ended(s) and s.status == "running" then alive[#alive + 1] = s.object end
    end
    return alive
end

function process.atexit(f)
    if not options.is_callable(f) then
        misuse("mp.atexit", "expected a function, not %s", options.describe(f))
    end
    life.atexit(f)
    return f
end

function process.seed(n)
    local seed = type(n) == "number" and math.tointeger(n)
    if not seed then misuse("mp.seed", "expected an integer, not %s", options.describe(n)) end
    life.seed(seed)
end

function process.set_start_method(method)
    if type(method) ~= "string" then
        misuse("mp.set_start_method", "expected a name, not %s", options.describe(method))
    end
    process_options.check_method("mp.set_start_method", method)
    now.method = method
end

function process.get_start_method()
    return now.method
end

-- For mp.wait: what to look at for `item`, if it is a process: its descriptor,
-- or true when it has ended; nil for what is no process.
function process.descriptor(item)
    if not core.state(item, class) then return nil end
    local s = child_of(item, "mp.wait")
    return has_ended(s) or core.pidfd(s.handle)
end

-- For mp.scope: the state behind a process object, and whether it has ended.
function process.state(p)
    return core.state(p, class)
end

process.has_ended = has_ended
process.note_oom_kills = note_oom_kills

return process
