-- luamp.process_options: the options of mp.process, checked and kept.

local core = require "luamp.core"
local options = require "luamp.options"

local process_options = {}

local WHERE = "mp.process"
local VERSION = "luamp " .. core.version
local misuse = options.misuse

local known = {
    target = "callable", args = "table", name = "text", daemon = "boolean",
    detached = "boolean", start_method = "text", env = "table", cwd = "text",
    stdin = "stream", stdout = "stream", stderr = "stream", cpus = "table", nice = "integer",
    command = "table", limits = "table", timeout = "number",
}

-- Raises unless there is such a start method, and it is available.
function process_options.check_method(where, method)
    if method == "spawn" or method == "forkserver" then
        misuse(where, "start method '%s' is not available in %s, 'fork' is", method, VERSION)
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
        local cpu = cpus[i]
        if math.type(cpu) ~= "integer" or cpu < 0 or cpu > 1023 then
            misuse(WHERE, "option 'cpus' must be a list of numbers from 0 to 1023, not '%s'",
                tostring(cpus[i]))
        end
    end
end

local function check_args(args)
    local n = args.n
    if n ~= nil and (math.type(n) ~= "integer" or n < 0 or n > 900000) then
        misuse(WHERE, "option 'args': its field n must be the number of arguments, at most 900000")
    end
end

local stream_kinds = { inherit = true, null = true, pipe = true, capture = true }
local streams = { stdin = true, stdout = true, stderr = true }

-- A word that is nearly one of the kinds, or a stream's name, would quietly make a file.
local function check_stream(name, value)
    if io.type(value) then
        if io.type(value) == "closed file" then misuse(WHERE, "option '%s' is a closed file", name) end
    elseif name == "stdin" and value == "capture" then
        misuse(WHERE, "option 'stdin' cannot be 'capture', which is for outputs")
    elseif streams[value] then
        misuse(WHERE, "option '%s' cannot be '%s'; a file of that name is './%s'", name, value, value)
    elseif not stream_kinds[value] then
        local kind, distance = options.nearest(value, stream_kinds)
        if distance <= 2 then
            misuse(WHERE, "option '%s' is '%s' (did you mean '%s'? a file of that name is './%s')",
                name, value, kind, value)
        end
    end
end

local function check_command(given)
    local command = given.command
    if given.target ~= nil then
        misuse(WHERE, "options 'target' and 'command': there can be one of them")
    elseif given.args ~= nil then
        misuse(WHERE, "option 'args' is for a function; the arguments of a program stand in 'command'")
    elseif #command == 0 then
        misuse(WHERE, "option 'command' must be a list: the program, and its arguments")
    end
    for key, word in next, command do
        local kind = type(word)
        if math.type(key) ~= "integer" or key < 1 or key > #command then
            misuse(WHERE, "option 'command' is a list, and has the key %s", tostring(key))
        elseif (kind ~= "string" and kind ~= "number") or tostring(word):find "%z" then
            misuse(WHERE, "option 'command': word %d must be a string without zero bytes, not %s", key,
                options.describe(word))
        elseif key == 1 and word == "" then
            misuse(WHERE, "option 'command': the program's name is empty")
        end
    end
end

local units = { [""] = 1, K = 2 ^ 10, M = 2 ^ 20, G = 2 ^ 30, T = 2 ^ 40 }

-- Bytes of a number, or of a text as "512M"; nil for what is neither.
local function bytes(value)
    local number, unit = value, ""
    if type(value) == "string" then number, unit = value:match "^(%d+%.?%d*)([KMGT]?)$" end
    number = tonumber(number)
    return number and number >= 0 and math.tointeger(number * units[unit] // 1) or nil
end

local function count(value)
    local n = type(value) == "number" and math.tointeger(value)
    return n and n >= 0 and n or nil
end

-- What each limit may be, as the engine takes it.
local limits = {
    memory = { bytes, "a number of bytes, or a text as \"512M\"" },
    core = { bytes, "a number of bytes, or a text as \"512M\"" },
    files = { count, "a count" },
    processes = { count, "a count" },
    cpu = { function(v) return type(v) == "number" and v > 0 and v < 1e9 and math.ceil(v) or nil end,
        "a number of seconds above 0" },
}

local function check_limits(given)
    for name, value in next, given do
        local limit = limits[name]
        if not limit then
            misuse(WHERE, "option 'limits': unknown limit '%s' (did you mean '%s'?)", tostring(name),
                (options.nearest(tostring(name), limits)))
        elseif not limit[1](value) then
            misuse(WHERE, "option 'limits': %s must be %s, not %s", name, limit[2], options.describe(value))
        end
    end
end

-- The limits as the engine takes them, into its spec. Returns nil and why, if
-- the kernel would not hold one.
function process_options.limit(given, spec)
    for name, value in next, given do spec[name] = limits[name][1](value) end
    if spec.processes and core.is_root() then
        return nil, "limits: 'processes' has no effect for root"
    end
    return spec
end

-- Raises unless the table is one of options that mp.process takes.
function process_options.check(given)
    options.check(WHERE, given, known)
    if given.command then
        check_command(given)
    elseif given.target == nil then
        misuse(WHERE, "option 'target' is missing: the function to run (or 'command', a program)")
    end
    if given.limits then check_limits(given.limits) end
    if given.timeout and (given.timeout <= 0 or given.timeout ~= given.timeout) then
        misuse(WHERE, "option 'timeout' must be a number of seconds above 0, not %s", given.timeout)
    end
    if given.name and given.name:find "%c" then -- names stand in reports, on one line
        misuse(WHERE, "option 'name' must have no control characters, as %q has", given.name)
    end
    if given.start_method then process_options.check_method(WHERE, given.start_method) end
    if given.args then check_args(given.args) end
    if given.env then check_env(given.env) end
    if given.cpus then check_cpus(given.cpus) end
    if given.nice and (given.nice < -40 or given.nice > 40) then
        misuse(WHERE, "option 'nice' must be a number from -40 to 40, not %d", given.nice)
    end
    for _, name in ipairs { "stdin", "stdout", "stderr" } do
        if given[name] then check_stream(name, given[name]) end
    end
end

-- What the start needs of the options, as they are now: the caller may use the
-- table again. Most processes need nothing.
local kept_options = { "env", "cwd", "stdin", "stdout", "stderr", "cpus", "nice", "command", "limits", "timeout" }

local none = {} -- stays empty

function process_options.keep(given)
    local copy = none
    for _, key in ipairs(kept_options) do
        local value = given[key]
        if value ~= nil then
            if copy == none then copy = {} end
            copy[key] = value
            if type(value) == "table" then
                copy[key] = {}
                for k, v in next, value do copy[key][k] = v end
            end
        end
    end
    return copy
end

-- Whether a field of a process is given as an option.
function process_options.is_known(key)
    return known[key] ~= nil
end

process_options.none = none

return process_options
