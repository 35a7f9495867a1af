-- luamp: what `require "luamp"` gives. Names only; the work is elsewhere.

local core = require "luamp.core"
local errors = require "luamp.errors"
local options = require "luamp.options"
local process = require "luamp.process"
local wait = require "luamp.wait"

local mp = {
    _VERSION = "luamp " .. core.version,

    process = process.new,
    current_process = process.current,
    parent_process = process.parent,
    active_children = process.active,
    wait = wait.any,
    atexit = process.atexit,
    seed = process.seed,
    sleep = wait.sleep,
    set_start_method = process.set_start_method,
    get_start_method = process.get_start_method,

    cpu_count = function(given) -- loaded when it is asked for
        return require "luamp.cpu".count(given)
    end,
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

core.on_interruption(errors.interrupted)

-- Names that the manual of a later release has: asking for one says so.
local later = { on_signal = true, scope = true }

return setmetatable(mp, {
    __index = function(_, name)
        if later[name] then
            options.misuse("mp." .. name, "it is not available in %s", mp._VERSION)
        end
        return nil
    end,
})
