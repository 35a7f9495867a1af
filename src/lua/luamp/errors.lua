-- luamp.errors: the error object, which is what a failure of a process is.
--
-- A table with the metatable that the codec knows, so that it keeps its nature
-- when it travels. `calls` lists the tracebacks of the calls that raised it on
-- its way, each with the process where that was. An object that was handed out
-- is never changed: raising makes a copy that knows one call more.

local core = require "luamp.core"

local errors = {}

local meta = core.error_metatable
local traceback = debug.traceback

function errors.is_error(value)
    return type(value) == "table" and debug.getmetatable(value) == meta
end

-- A new error object from its fields.
function errors.new(fields)
    return setmetatable(fields, meta)
end

-- The traceback of the caller's script: without the library's own frames.
function errors.traceback(level)
    local lines = {}
    for line in traceback("", level + 1):gmatch("[^\n]+") do
        if not line:find("^\tluamp:") then lines[#lines + 1] = line end
    end
    return table.concat(lines, "\n")
end

-- A copy that knows one call more: in the process `name`, at that traceback. A
-- process that is the last of the list already has told its part.
local function with_call(e, name, pid, text)
    local calls = e.calls or {}
    local last = calls[#calls]
    if last and last.process == name and last.pid == pid then return e end
    local copy = {}
    for k, v in next, e do copy[k] = v end
    copy.calls = table.move(calls, 1, #calls, 1, {})
    copy.calls[#calls + 1] = { process = name, pid = pid, traceback = text }
    return setmetatable(copy, meta)
end

-- Raises the error object in the process `name`; the traceback of the script's
-- call goes with it.
function errors.raise(e, name, pid)
    error(with_call(e, name, pid, errors.traceback(2)), 0)
end

local function describe(value)
    local kind = type(value)
    if kind == "string" or kind == "number" then return tostring(value) end
    local mt = debug.getmetatable(value)
    if type(mt) == "table" and mt.__tostring then
        local ok, text = pcall(tostring, value)
        if ok then return text end
    end
    return ("(error object is a %s value)"):format(kind)
end

-- What a process raised, as an error object: for a message handler, which
-- passes the traceback, and for the errors that Lua gives no handler (memory).
function errors.caught(value, process, pid, text)
    if errors.is_error(value) then return with_call(value, process, pid, text) end
    return errors.new {
        kind = "error", message = describe(value), value = value,
        traceback = text, process = process, pid = pid,
    }
end

-- The error object of an interruption by SIGINT ("interrupted"), SIGTERM, SIGHUP.
function errors.interrupted(signal)
    return errors.new {
        kind = "interrupted", signal = signal, exitcode = 128 + core.signal_number(signal),
        message = signal == "SIGINT" and "interrupted" or "interrupted by " .. signal,
        traceback = errors.traceback(2),
    }
end

local function headline(e)
    if e.kind ~= "error" or not e.process then return e.message end
    return ("process '%s' (pid %d) failed: %s"):format(e.process, e.pid, e.message)
end

-- The last lines that a failed program wrote to its captured stderr.
local function last_words(e)
    local text = not e.traceback and type(e.value) == "table" and e.value.stderr
    local lines = {}
    for line in (type(text) == "string" and text or ""):gmatch "[^\n]+" do lines[#lines + 1] = "\t" .. line end
    return table.concat(lines, "\n", math.max(1, #lines - 9))
end

-- The whole report: what happened, where, and which calls brought it here.
meta.__tostring = function(e)
    if e.kind == "interrupted" then
        core.told(e.signal)
        return e.message
    end
    local lines = { headline(e) }
    if e.traceback and e.traceback ~= "" then lines[2] = e.traceback end
    local words = last_words(e)
    if words ~= "" then lines[2] = "its stderr ends with:\n" .. words end
    for _, call in ipairs(e.calls or {}) do
        lines[#lines + 1] = ("reached process '%s' at:"):format(call.process)
        lines[#lines + 1] = call.traceback
    end
    return table.concat(lines, "\n")
end

meta.__concat = function(a, b)
    return tostring(a) .. tostring(b)
end

meta.__name = "mp.error"

return errors
