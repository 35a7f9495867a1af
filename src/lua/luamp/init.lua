-- luamp: what `require "luamp"` gives. Names only; the work is elsewhere.
--
-- What every process needs is loaded with it (life.lua hands its hooks to the binding). The
-- rest is loaded when it is first used: a process in a fresh interpreter may use none of it.

local core = require "luamp.core"
local errors = require "luamp.errors"
require "luamp.life"

local mp = {
    _VERSION = "luamp " .. core.version,

    process = function(given, ...) return require "luamp.process".new(given, ...) end,
    current_process = function() return require "luamp.process".current() end,
    parent_process = function() return require "luamp.process".parent() end,
    active_children = function() return require "luamp.process".active() end,
    atexit = function(f) return require "luamp.process".atexit(f) end,
    seed = function(n) return require "luamp.process".seed(n) end,
    set_start_method = function(method) return require "luamp.process".set_start_method(method) end,
    get_start_method = function() return require "luamp.process".get_start_method() end,
    wait = function(items, timeout) return require "luamp.wait".any(items, timeout) end,
    sleep = function(seconds) return require "luamp.wait".sleep(seconds) end,
    hosts = function() return require "luamp.hosts".describe() end,
    cpu_count = function(given) return require "luamp.cpu".count(given) end,
    on_signal = function(name, f) return require "luamp.signals".on(name, f) end,
    scope = function(f, ...) return require "luamp.scope"(f, ...) end,
    register = function(name, object) return require "luamp.register"(name, object) end,
    queue = function(given, ...) return require "luamp.sharing".queue(given, ...) end,
    priority_queue = function(given, ...) return require "luamp.sharing".priority_queue(given, ...) end,
    pipe = function(given) return require "luamp.sharing".pipe(given) end,
    value = function(kind, init, ...) return require "luamp.arrays".value(kind, init, ...) end,
    array = function(kind, given, ...) return require "luamp.arrays".array(kind, given, ...) end,
    buffer = function(given, ...) return require "luamp.arrays".buffer(given, ...) end,
    lock = function(...) return require "luamp.synchronising".lock(...) end,
    rlock = function(...) return require "luamp.synchronising".rlock(...) end,
    semaphore = function(given, ...) return require "luamp.synchronising".semaphore(given, ...) end,
    bounded_semaphore = function(given, ...)
        return require "luamp.synchronising".bounded_semaphore(given, ...)
    end,
    event = function(...) return require "luamp.synchronising".event(...) end,
    rwlock = function(...) return require "luamp.synchronising".rwlock(...) end,
    barrier = function(given, ...) return require "luamp.synchronising".barrier(given, ...) end,
    condition = function(l, ...) return require "luamp.synchronising".condition(l, ...) end,
    memory = function(given) return require "luamp.sharing".memory(given) end,
    pool = function(given, ...) return require "luamp.pool".new(given, ...) end,
    map = function(f, input, given) return require "luamp.pool".map(f, input, given) end,
    starmap = function(f, input, given) return require "luamp.pool".starmap(f, input, given) end,
    imap = function(f, input, given) return require "luamp.pool".imap(f, input, given) end,
    imap_unordered = function(f, input, given) return require "luamp.pool".imap_unordered(f, input, given) end,
    each = function(f, input, given) return require "luamp.pool".each(f, input, given) end,
    filter = function(f, input, given) return require "luamp.pool".filter(f, input, given) end,
    find = function(f, input, given) return require "luamp.pool".find(f, input, given) end,
    reduce = function(f, input, identity, combine, given)
        return require "luamp.pool".reduce(f, input, identity, combine, given)
    end,
    journal = function(path, ...) return require "luamp.journal"(path, ...) end,
    range = function(a, b, step) return require "luamp.inputs".range(a, b, step) end,
    chunks = function(path, size) return require "luamp.inputs".chunks(path, size) end,
    progress = function(iterator, total, label, ...)
        return require "luamp.progress".over(iterator, total, label, ...)
    end,
    as_completed = function(futures, timeout) return require "luamp.future".as_completed(futures, timeout) end,
    all = function(futures, timeout) return require "luamp.future".all(futures, timeout) end,
    dict = function(...) return require "luamp.sharing".dict(...) end,
    list = function(...) return require "luamp.sharing".list(...) end,
    cache = function(given, ...) return require "luamp.sharing".cache(given, ...) end,
    clock = core.clock,
    getpid = core.getpid,
    getppid = core.getppid,
    is_error = errors.is_error,
}

-- The first calls of a stack make its frames: now, so that they lie together in
-- memory, and a fork has one page of them to copy and not many.
local function deepen(n)
    return n == 0 or (deepen(n - 1) and true)
end
deepen(30)

-- mp.log is a table, which is filled in when it is first used. Its functions travel as those of luamp.log.
mp.log = setmetatable({}, {
    __index = function(log, key)
        local filled = require "luamp.log"
        for name, f in next, filled do log[name] = f end
        return setmetatable(log, getmetatable(filled))[key]
    end,
    __mp_send = function() return function() return package.loaded.luamp.log end end,
})

core.on_interruption(errors.interrupted)
if not core.is_program() and (os.getenv "OMPI_COMM_WORLD_SIZE" or os.getenv "PMIX_RANK") then
    require "luamp.hosts".refuse_copies()
end

return mp
