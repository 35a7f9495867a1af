-- luamp.errors: the error object, which is what a failure of a process is.
--
-- A table with the metatable that the codec knows, so that it keeps its nature
-- when it travels. `calls` lists the tracebacks of the calls that raised it on
-- its way, each with the process where that was. An object that was handed out
-- is never changed: raising makes a copy that knows one call more.

local core = require "luamp.core"

local errors = {}

local meta = core.error_metatable

-- A task that spoils the libraries of its process harms itself, but not what is told of it.
local getmetatable, traceback = debug.getmetatable, debug.traceback
local find, format, gmatch, sub = string.find, string.format, string.gmatch, string.sub
local concat, move = table.concat, table.move
local error, ipairs, next, pcall, setmetatable, tostring, type =
    error, ipairs, next, pcall, setmetatable, tostring, type

function errors.is_error(value)
    return type(value) == "table" and getmetatable(value) == meta
end

-- A new error object from its fields.
function errors.new(fields)
    return setmetatable(fields, meta)
end

-- The traceback of the caller's script: without the library's own frames, and
-- without the C functions (pcall) that those call.
function errors.traceback(level)
    local lines, ours = {}, false
    for line in gmatch(traceback("", level + 1), "[^\n]+") do
        ours = find(line, "^\tluamp:") ~= nil or (ours and line == "\t(...tail calls...)")
        if not ours then
            lines[#lines + 1] = line
        elseif #lines > 0 and find(lines[#lines], "^\t%[C%]:") then
            lines[#lines] = nil
        end
    end
    return concat(lines, "\n")
end

-- A copy that knows one call more: in the process `name`, at that traceback. A
-- process that is the last of the list already has told its part.
local function with_call(e, name, pid, text)
    local calls = e.calls or {}
    local last = calls[#calls]
    if last and last.process == name and last.pid == pid then return e end
    local copy = {}
    for k, v in next, e do copy[k] = v end
    copy.calls = move(calls, 1, #calls, 1, {})
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
    local mt = getmetatable(value)
    if type(mt) == "table" and mt.__tostring then
        local ok, text = pcall(tostring, value)
        if ok then return text end
    end
    return format("(error object is a %s value)", kind)
end

-- What a process raised, as an error object: for a message handler, which
-- passes the traceback, and for the errors that Lua gives no handler (memory).
function errors.caught(value, process, pid, text)
    if errors.is_error(value) then
        local has_frames = text ~= nil and find(text, "\n")
        return has_frames and with_call(value, process, pid, text) or value
    end
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

-- Which task of a pool the error is of, or nil.
local function task_of(e)
    if not e.task then return nil end
    return format((e.attempt or 1) > 1 and "task %d, attempt %d" or "task %d", e.task, e.attempt)
end

-- Whether the message names the task, or, of a group, its first item.
local function names_task(e)
    return find(e.message, "task " .. e.task, 1, true) or find(e.message, "item " .. e.task, 1, true)
end

local function headline(e)
    local task = task_of(e)
    if e.kind == "error" and e.process then
        return format("process '%s' (pid %d) failed%s: %s", e.process, e.pid, task and " in " .. task or "", e.message)
    end
    return task and not names_task(e) and task .. ": " .. e.message or e.message
end

-- Whether what was raised is an interruption, or tells of the failure: as an error
-- object, or as the text that an interpreter's message handler has made of one.
function errors.tells_of(e, failure)
    if errors.is_error(e) then
        return e.kind == "interrupted"
            or (e.kind == failure.kind and e.pid == failure.pid and e.process == failure.process)
    elseif type(e) ~= "string" then
        return false
    end
    local words = headline(failure)
    return e == "interrupted" or find(e, "^interrupted by SIG%u+$") ~= nil or sub(e, 1, #words) == words
end

-- The last lines that a failed program wrote to its captured stderr.
local function last_words(e)
    local text = not e.traceback and type(e.value) == "table" and e.value.stderr
    local lines = {}
    for line in gmatch(type(text) == "string" and text or "", "[^\n]+") do lines[#lines + 1] = "\t" .. line end
    return concat(lines, "\n", math.max(1, #lines - 9))
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
        lines[#lines + 1] = format("reached process '%s' at:", call.process)
        lines[#lines + 1] = call.traceback
    end
    return concat(lines, "\n")
end

meta.__concat = function(a, b)
    return tostring(a) .. tostring(b)
end

meta.__name = "mp.error"

return errors
