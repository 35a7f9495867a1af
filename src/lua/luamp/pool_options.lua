-- luamp.pool_options: the options of mp.pool and of its calls, checked and taken apart.

local core = require "luamp.core"
local cpu = require "luamp.cpu"
local life = require "luamp.life"
local options = require "luamp.options"
local progress = require "luamp.progress"

local pool_options = {}

local misuse = options.misuse

local known = {
    workers = "any", init = "callable", initargs = "table", exit = "callable", max_tasks = "integer",
    max_rss = "any", timeout = "number", retries = "any", name = "text", cpus = "table", seed = "integer",
    limits = "table", env = "table", nice = "integer", start_method = "text",
    output = "text", tag = "any", engine = "text", hosts = "table",
}

local of_call = {
    chunksize = "integer", timeout = "number", retries = "any", on_error = "text", window = "integer",
    weight = "callable", journal = "text", key = "callable", progress = "any",
}

local of_task = {
    target = "callable", command = "table", args = "table", timeout = "number", retries = "any",
    priority = "number", stdout = "stream", stderr = "stream",
}

-- How many CPUs there are for a pool of this process, which may be one of several workers; or of those hosts.
local function cpus_of(list)
    local n = 0
    if not list then return math.max(1, cpu.count() // (life.now.cpu_divisor or 1)) end
    for _, h in ipairs(list) do n = n + h.cpus end
    return n
end

-- A number of workers; "50%" is a part of the CPUs, of those hosts if that is said.
function pool_options.workers(where, given, list)
    local percent = type(given) == "string" and tonumber(given:match "^(%d+%.?%d*)%%$")
    if percent and percent > 0 then return math.max(1, math.ceil(cpus_of(list) * percent / 100)) end
    local n = type(given) == "number" and math.tointeger(given)
    if not n or n < 1 or n > 4096 then
        misuse(where, "the number of workers must be an integer from 1 to 4096, or a part of the CPUs as \"50%%\", "
            .. "not %s", options.describe(given))
    end
    return n
end

local of_either = {}
for _, list in ipairs { known, of_call } do
    for key, kind in next, list do of_either[key] = kind end
end

-- The options of a call that has a pool of its own: those of the pool, and those of the call.
function pool_options.divide(where, given)
    if given ~= nil and type(given) ~= "table" then
        misuse(where, "expected a table of options, not %s", options.describe(given))
    end
    given = given or {}
    options.check(where, given, of_either)
    local of_pool, of_the_call = {}, {}
    for key, value in next, given do
        (of_call[key] and of_the_call or of_pool)[key] = value
    end
    return of_pool, of_the_call
end

-- LUAMP_BACKEND=serial: no workers, everything in this process.
function pool_options.is_serial()
    local backend = os.getenv "LUAMP_BACKEND"
    if backend == nil or backend == "" or backend == "process" then return false end
    if backend ~= "serial" then
        misuse("mp.pool", "LUAMP_BACKEND must be 'serial' or 'process', not '%s'", backend)
    end
    return true
end

local SHORTEST <const> = 1e-9 -- seconds: the clock has no shorter ones

local function check_timeout(where, timeout)
    if timeout and (timeout <= 0 or timeout ~= timeout) then
        misuse(where, "option 'timeout' must be a number of seconds above 0, not %s", timeout)
    end
    return timeout and math.max(timeout, SHORTEST)
end

local retry_known = { n = "integer", backoff = "number", when = "callable" }

local function check_retries(where, given)
    if given == nil then return nil end
    local n = type(given) == "number" and math.tointeger(given)
    if n then given = { n = n } end
    if type(given) ~= "table" then
        misuse(where, "option 'retries' must be a count or a table {n=, backoff=, when=}, not %s",
            options.describe(given))
    end
    options.check(where .. ": retries", given, retry_known)
    if not given.n or given.n < 0 then misuse(where, "option 'retries': n must be a count") end
    local backoff = given.backoff or 0
    if not (backoff >= 0 and backoff < math.huge) then
        misuse(where, "option 'retries': backoff must be a number of seconds from 0 on, not %s", backoff)
    end
    return { n = given.n, backoff = given.backoff, when = given.when }
end

local function at_least_one(where, name, value)
    if value and value < 1 then misuse(where, "option '%s' must be an integer from 1 on, not %d", name, value) end
    return value
end

-- With mp.seed, pools differ from each other, and repeat by the order in which they are made.
local function seed_of_process()
    life.own()
    life.now.n_pools = life.now.n_pools + 1
    return life.now.seed and life.now.seed ~ (life.now.n_pools * 0xD1B54A32D192ED03)
end

-- The hosts of a pool, or nil: it is one of this host alone, with no account of others.
function pool_options.hosts(where, given)
    local engine = given.engine
    if engine and engine ~= "local" and engine ~= "mpi" then
        misuse(where, "option 'engine' must be \"local\" or \"mpi\", not %s", options.describe(engine))
    elseif engine == "local" and given.hosts then
        misuse(where, "option 'hosts' is not for engine \"local\"")
    end
    local are_there = core.link.rank() ~= nil
    if engine == "mpi" and not are_there then
        misuse(where, "option 'engine' cannot be \"mpi\": no launcher has started this script (mpirun, srun)")
    end
    if engine == "local" or pool_options.is_serial() or not (are_there or given.hosts) then return nil end
    return require "luamp.hosts".chosen(where, given.hosts)
end

-- The options of a pool: how many workers, what concerns the pool, and what their processes; and its hosts.
function pool_options.split(where, given)
    options.check(where, given, known)
    require "luamp.process_options".check_surroundings(where, given)
    local list = pool_options.hosts(where, given)
    local n = given.workers == nil and cpus_of(list) or pool_options.workers(where, given.workers, list)
    local own = { init = given.init, initargs = given.initargs, exit = given.exit,
        seed = given.seed or seed_of_process(), name = given.name or "worker",
        timeout = check_timeout(where, given.timeout), retries = check_retries(where, given.retries),
        max_tasks = at_least_one(where, "max_tasks", given.max_tasks),
        cpu_divisor = (life.now.cpu_divisor or 1) * n }
    if given.output or given.tag then require "luamp.relay".check(where, given, own) end
    if given.max_rss ~= nil then
        own.max_rss = options.bytes(given.max_rss)
        if not own.max_rss or own.max_rss < 1 then
            misuse(where, "option 'max_rss' must be a number of bytes, or a text as \"512M\", not %s",
                options.describe(given.max_rss))
        end
    end
    return n, own, { cpus = given.cpus, limits = given.limits, env = given.env, nice = given.nice,
        start_method = given.start_method }, list
end

local LARGEST_CHUNK <const> = 1 << 30

-- The fields of a call, from its options and the pool's.
function pool_options.call(where, given, defaults)
    if given ~= nil and type(given) ~= "table" then
        misuse(where, "expected a table of options, not %s", options.describe(given))
    end
    given = given or {}
    options.check(where, given, of_call)
    if given.on_error and given.on_error ~= "stop" and given.on_error ~= "collect" then
        misuse(where, "option 'on_error' must be \"stop\" or \"collect\", not %s", options.describe(given.on_error))
    end
    if given.key and not given.journal then misuse(where, "option 'key' is for a call with a journal") end
    local chunksize = at_least_one(where, "chunksize", given.chunksize)
    return { chunksize = chunksize and math.min(chunksize, LARGEST_CHUNK), on_error = given.on_error or "stop",
        timeout = check_timeout(where, given.timeout) or defaults.timeout, weight = given.weight,
        journal = given.journal, key = given.key,
        retries = check_retries(where, given.retries) or defaults.retries,
        window = at_least_one(where, "window", given.window), progress = progress.check(where, given.progress) }
end

-- What each task costs, of a reduction all items of a group together.
local function weights_of(where, call)
    local items, size, weights = call.source.items or call.source, call.group or 1, {}
    for i = 1, items.n do
        local w, k = call.weight(items.list[i], i), (i - 1) // size + 1
        if type(w) ~= "number" or w ~= w then
            misuse(where, "option 'weight': of item %d it gave %s, and no number", i, options.describe(w))
        end
        weights[k] = (weights[k] or 0) + w
    end
    return weights
end

-- Heavy items start first: the order in which the numbers go. Where results are taken in the order of the input,
-- that holds within stretches as long as the window: the first one is not to wait for the last.
function pool_options.arrange(where, call)
    if not call.weight then return end
    local source = call.source
    if not source.list or source.in_worker then
        misuse(where, "option 'weight' needs an input whose items are all there: a list")
    end
    local weights, order = weights_of(where, call), {}
    local stretch = call.taken and not call.arrivals and call.window or source.n
    for i = 1, source.n do order[i] = i end
    table.sort(order, function(a, b)
        local of_a, of_b = (a - 1) // stretch, (b - 1) // stretch
        if of_a ~= of_b then return of_a < of_b end
        if weights[a] ~= weights[b] then return weights[a] > weights[b] end
        return a < b
    end)
    call.order = order
end

-- A task has no stream of its own, but the program of one.
local function check_stream(where, given, name)
    if given[name] ~= nil and not given.command then
        misuse(where, "option '%s' is for a program; a function is called by a worker, which has its own", name)
    elseif given[name] == "pipe" then
        misuse(where, "option '%s' cannot be 'pipe', which nobody would read; 'capture' gives the text", name)
    end
end

-- A single task, from the options of submit.
function pool_options.task(where, given, defaults, run_command)
    options.check(where, given, of_task)
    if (given.target == nil) == (given.command == nil) then
        misuse(where, "one of the options 'target' and 'command' is wanted")
    elseif given.command and given.args then
        misuse(where, "option 'args' is for a function; the arguments of a program stand in 'command'")
    end
    for _, name in ipairs { "stdout", "stderr" } do check_stream(where, given, name) end
    if given.priority and given.priority ~= given.priority then
        misuse(where, "option 'priority' is not a number (NaN)")
    end
    local terms = { where = where, priority = given.priority or 0,
        timeout = check_timeout(where, given.timeout) or defaults.timeout,
        retries = check_retries(where, given.retries) or defaults.retries }
    if given.command then
        local command = { command = table.move(given.command, 1, #given.command, 1, {}), stdout = given.stdout,
            stderr = given.stderr }
        require "luamp.process_options".check(where, command)
        return terms, run_command, command
    end
    local args = given.args or {}
    return terms, given.target, table.unpack(args, 1, args.n or #args)
end

return pool_options
