-- luamp.pool: workers that run a function over many inputs: mp.pool, and the calls of it.
--
-- The workers are a crew (crew.lua); which task goes when, and what becomes of it, is dispatch.lua's
-- and submit.lua's. Here are the options, and what each call makes of the results.

local advice = require "luamp.advice"
local calls = require "luamp.calls"
local core = require "luamp.core"
local crew = require "luamp.crew"
local dispatch = require "luamp.dispatch"
local errors = require "luamp.errors"
local future = require "luamp.future"
local inputs = require "luamp.inputs"
local life = require "luamp.life"
local options = require "luamp.options"
local pool_options = require "luamp.pool_options"
local serial = require "luamp.serial"
local worker = require "luamp.worker"

local pool = {}

local WHERE = "mp.pool"
local misuse = options.misuse
local class = { __name = WHERE }
local straight = core.future.straightener(class)
local methods = {}

local function raise(e)
    local own = life.own()
    errors.raise(e, life.name(own), own.pid)
end

-- --- the pool -------------------------------------------------------------------

-- The state of a pool for a call, which must be one of this process, and open if it takes tasks.
local function state_of(object, call, takes_tasks)
    local p, pid = core.state(object, class)
    if not p then
        misuse(WHERE, "'%s' must be called on a pool, as in pool:%s()", call, call)
    elseif p.owner ~= pid then
        misuse(WHERE, "the pool belongs to process %d, which alone can use it", p.owner)
    elseif p.crew.running then
        misuse(WHERE, "%s: a task cannot use the pool that runs it", call)
    elseif takes_tasks and p.phase ~= "open" then
        misuse(WHERE, "%s: the pool is %s", call, p.phase)
    end
    if takes_tasks and p.crew.broken then raise(p.crew.broken) end
    return p
end

local function kind_of_crew(list)
    if pool_options.is_serial() then return serial end
    return list and require "luamp.cluster" or crew
end

-- A pool, all of whose workers serve. `from`: what they inherit, of the call that it is made for.
local function make(where, given, from)
    local workers, own, of_processes, list = pool_options.split(where, given)
    if from and from.source.n and given.workers == nil then workers = math.max(1, math.min(workers, from.source.n)) end
    own.from = from
    local p = { owner = core.getpid(), phase = "open", from = from, ends = nil,
        defaults = { where = "pool:submit", timeout = own.timeout, retries = own.retries, priority = 0 },
        of_apply = { where = "pool:apply", timeout = own.timeout, retries = own.retries, priority = 0 } }
    p.crew = kind_of_crew(list).new(workers, own.name, own, of_processes, list)
    p.dispatch = dispatch.new(p.crew, p.defaults)
    p[1] = p.dispatch.submissions -- where `straight` finds it
    local ok, e = pcall(p.crew.await_up, p.crew, p.dispatch.hear)
    if not ok then
        p.crew:kill()
        if errors.is_error(e) and e.kind ~= "interrupted" then raise(e) end
        error(e, 0)
    end
    p.object = core.object(class, p)
    p.dispatch.object = p.object -- so it is not collected while something goes on
    life.now.pools = life.now.pools or setmetatable({}, { __mode = "kv" })
    life.now.pools[p] = p.object
    return p
end

-- mp.pool([workers]), mp.pool(options)
function pool.new(given, ...)
    if given == package.loaded.luamp then
        misuse(WHERE, "it is called with a dot, and not as mp:pool")
    elseif select("#", ...) > 0 then
        misuse(WHERE, "expected a number of workers or a table of options, and nothing else")
    end
    if type(given) ~= "table" then given = { workers = given } end
    return make(WHERE, given, nil).object
end

-- --- calls ----------------------------------------------------------------------

-- pool:map(f, input, [options]) and its like: see calls.lua. pool:reduce has more arguments.
for _, name in ipairs { "map", "starmap", "each", "filter", "find", "reduce", "imap", "imap_unordered", "map_async" } do
    local where = "pool:" .. name
    methods[name] = function(object, ...)
        return calls[name](state_of(object, name, true), where, ...)
    end
end

-- What workers that are forked for the call inherit of it.
local function inherited(name, where, f, input)
    local source = inputs.source(where, input)
    local from = { source = source, list = source.list }
    if source.list and pool_options.is_serial() then f, from.list = serial.inherited(f, source.list) end
    if source.list then
        local mode, g = calls.as_called(name, f, source)
        from.f, from.is_whole = worker.function_of(mode, g, source.in_worker)
    end
    return from
end

local function finish(p, ok, ...)
    local has_ended, failure = ok, ...
    if ok then
        has_ended, failure = pcall(function()
            p.phase = "closed"
            p.crew:close()
            p.dispatch:await(function() return p.crew:is_gone() end, core.deadline())
        end)
    end
    p.crew:kill()
    p.phase = "terminated"
    if not has_ended then
        p.dispatch:give_up(errors.new { kind = "cancelled", message = "the call has failed" }, true)
    end
    p.dispatch:leave()
    if not has_ended then error(failure, 0) end
    return ...
end

-- The call goes on, if there is one.
local function begun(p, ok, ...)
    if not ok then finish(p, ok, ...) end
    return ...
end

-- mp.NAME(f, input, ...): the same by a pool that is forked for this call.
local function once(name, f, input, ...)
    local where = "mp." .. name
    if not options.is_callable(f) then misuse(where, "expected a function, not %s", options.describe(f)) end
    local rest = table.pack(...)
    local at = name == "reduce" and 3 or 1
    inputs.source(where, input) -- is checked before the options are: map(f, pairs(t)) gives those as well
    if name == "reduce" then calls.check_combine(where, rest[2], rest[3]) end
    local of_pool, of_call = pool_options.divide(where, rest[at])
    rest[at], rest.n = rest[at] and of_call, math.max(rest.n, at)
    local method = of_pool.start_method or life.now.method
    local is_here = pool_options.hosts(where, of_pool) == nil -- others inherit nothing
    local from = method == "fork" and is_here and inherited(name, where, f, input) or nil
    local p = make(where, of_pool, from)
    p.is_of_call = true
    local is_iterator = name == "imap" or name == "imap_unordered"
    if is_iterator then p.ends = function() if p.phase == "open" then finish(p, true) end end end
    return (is_iterator and begun or finish)(p, pcall(calls[name], p, where, f, input, table.unpack(rest, 1, rest.n)))
end

for _, name in ipairs { "map", "starmap", "each", "filter", "find", "reduce", "imap", "imap_unordered" } do
    pool[name] = function(f, input, ...) return once(name, f, input, ...) end
end

-- --- single tasks -----------------------------------------------------------------

local function run_command(given)
    local p <close> = require "luamp.process".new(given)
    p:start()
    return p:result()
end

local function check_function(where, f)
    if type(f) ~= "function" and not options.is_callable(f) then
        misuse(where, "expected a function, not %s", options.describe(f))
    end
end

local function submit_task(p, terms, f, ...)
    if terms.timeout then p.crew:keep_limits() end
    return p.dispatch.submissions:add(p, terms, f, ...)
end

-- pool:submit(f, ...), pool:submit(options): a future.
function methods.submit(object, f, ...)
    local fut = straight(object, f, ...)
    if fut then return fut end
    local p = state_of(object, "submit", true)
    if type(f) == "table" and not options.is_callable(f) then
        return submit_task(p, pool_options.task("pool:submit", f, p.defaults, run_command))
    end
    check_function("pool:submit", f)
    return submit_task(p, p.defaults, f, ...)
end

-- pool:apply(f, ...): all of its results.
function methods.apply(object, f, ...)
    local p = state_of(object, "apply", true)
    check_function("pool:apply", f)
    if p.defaults.timeout then p.crew:keep_limits() end
    local is_done, fut = p.dispatch.submissions:apply(p, p.of_apply, f, ...)
    if is_done then return fut end -- its result, then
    local ok, e = pcall(fut.wait, fut)
    if not ok then
        p.dispatch:stop(fut)
        error(e, 0)
    end
    return fut:result()
end

-- --- its life -------------------------------------------------------------------

local function is_idle(p)
    return p.dispatch.active[1] == nil and p.dispatch.submissions:is_idle()
end

-- pool:close(): no new tasks; the workers go when all is done.
function methods.close(object)
    local p = state_of(object, "close")
    if p.phase == "open" then p.phase = "closed" end
    p.dispatch:pump()
end

-- pool:join([timeout]): waits for the end.
function methods.join(object, timeout)
    local p = state_of(object, "join")
    local deadline = options.deadline("pool:join", timeout)
    if p.phase == "open" then misuse(WHERE, "join: the pool is open: close or terminate it before") end
    local ok = p.dispatch:await(function()
        p.dispatch:give_up_untaken()
        if p.phase == "closed" and not p.crew.is_closing and is_idle(p) then p.crew:close() end
        return p.crew:is_gone()
    end, deadline)
    if not ok then return nil, "timeout" end
    p.dispatch:leave()
    future.report_unasked(p.dispatch)
    return true
end

-- pool:terminate(): stops all at once. What was not done fails as cancelled.
function methods.terminate(object)
    local p = state_of(object, "terminate")
    if p.phase == "terminated" then return end
    p.phase = "terminated"
    p.crew:kill()
    p.dispatch:give_up(errors.new { kind = "cancelled", message = "the pool was terminated" }, true)
    p.dispatch:run_ended()
    p.dispatch:leave()
    future.report_unasked(p.dispatch)
end

-- pool:resize(n): from now on so many workers.
function methods.resize(object, n)
    local p = state_of(object, "resize", true)
    p.crew:resize(pool_options.workers("pool:resize", n), "pool:resize")
end

-- pool:stats(): what it has done, what its workers do and what their time went into, its slowest tasks, its errors,
-- and advice: see advice.lua, which makes a report of it when it is printed.
function methods.stats(object)
    local p = state_of(object, "stats")
    if p.phase ~= "terminated" then p.dispatch:pump() end
    local workers, running = p.crew:state_of()
    local d = p.dispatch
    return advice.complete(d, { workers = workers, done = d.n_done, failed = d.n_failed, retried = d.n_retried,
        restarts = p.crew.restarts, queued = d:n_waiting(), running = running })
end

-- pool:pollfd(): a descriptor that is readable when there is something to be taken in.
function methods.pollfd(object)
    return state_of(object, "pollfd").dispatch:pollfd()
end

function methods.events(object)
    state_of(object, "events")
    return "r"
end

-- A pool that nobody has any more ends.
class.__gc = function(object)
    local p = core.state(object, class)
    if p and p.owner == core.getpid() and p.phase ~= "terminated" then
        p.crew:abandon()
        future.report_unasked(p.dispatch)
    end
end

class.__index = methods

class.__newindex = function(_, key)
    misuse(WHERE, "a pool has no field '%s' that could be set", tostring(key))
end

class.__tostring = function(object)
    local p = core.state(object, class)
    return ("mp.pool: %s (%d workers, %s)"):format(core.address(object), p.crew.n, p.phase)
end

-- Ends a pool that was not joined to its end: after Ctrl-C, a handler's error, or in a coroutine that was closed.
local unfinished = { __close = function(end_of)
    if not end_of.p.crew:is_gone() then methods.terminate(end_of.p.object) end
end }

-- The end of a <close> variable: what is there is done, or after an error, nothing more.
class.__close = function(object, e)
    local p = core.state(object, class)
    if p.owner ~= core.getpid() or p.phase == "terminated" then return end
    if e ~= nil then return methods.terminate(object) end
    local _ <close> = setmetatable({ p = p }, unfinished)
    methods.close(object)
    methods.join(object)
end

-- The end of the script does for all pools what the end of a <close> variable does for one. That of a call
-- whose loop was not left has nothing more to do.
function life.end_pools(has_failed)
    for p, object in pairs(life.now.pools) do class.__close(object, has_failed or p.is_of_call) end
end

return pool
