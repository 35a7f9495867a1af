-- luamp.signals: what a signal does to this process.
--
-- A handler is called at the next instruction of the script, or at once in a wait
-- of the library's; see binding/interrupt.c. It belongs to the process that set
-- it: its children begin with the actions that were there before the first one.

local core = require "luamp.core"
local options = require "luamp.options"

local signals = {}

local WHERE = "mp.on_signal"
local misuse = options.misuse

local FAULT = "tells of a fault in the program itself, after which no handler could run"
local KERNEL = "cannot be handled: the kernel alone acts on it"

-- Why a signal can have no handler.
local refused = {
    SIGKILL = KERNEL, SIGSTOP = KERNEL,
    SIGURG = "is luamp's own: by it processes wake each other",
    SIGSEGV = FAULT, SIGBUS = FAULT, SIGFPE = FAULT, SIGILL = FAULT, SIGABRT = FAULT,
}

-- mp.on_signal(name, f): f(name) is called when the signal arrives; false ignores
-- it, nil restores what was there before. Returns what stood before: a function,
-- false or nil.
function signals.on(name, f)
    local number = type(name) == "string" and core.signal_number(name)
    if not number then
        misuse(WHERE, "there is no signal %s; one is named as \"SIGUSR1\"",
            type(name) == "string" and ("'%s'"):format(name) or "named by " .. options.describe(name))
    elseif f ~= nil and f ~= false and not options.is_callable(f) then
        misuse(WHERE, "expected a function, false or nil, not %s", options.describe(f))
    end
    local full = core.signal_name(number)
    if refused[full] then
        misuse(WHERE, "%s %s", full, refused[full])
    elseif full == "SIGCHLD" and f == false then
        misuse(WHERE, "SIGCHLD cannot be ignored: the ends of children would be lost")
    end
    local done, before = core.on_signal(number, f)
    if not done then misuse(WHERE, "%s: %s", full, before) end
    return before
end

return signals
