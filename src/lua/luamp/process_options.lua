-- luamp.process_options: the options of mp.process, checked and kept.

local core = require "luamp.core"
local options = require "luamp.options"

local process_options = {}

local misuse = options.misuse

local known = {
    target = "callable", args = "table", name = "text", daemon = "boolean",
    detached = "boolean", start_method = "text", env = "table", cwd = "text",
    stdin = "stream", stdout = "stream", stderr = "stream", cpus = "table", nice = "integer",
    command = "table", limits = "table", timeout = "number",
}

local methods = { fork = true, forkserver = true, spawn = true }

-- Raises unless there is such a start method.
function process_options.check_method(where, method)
    if not methods[method] then
        misuse(where, "unknown start method '%s' (there are 'fork', 'forkserver' and 'spawn')", method)
    end
end

local function check_env(where, env)
    for key, value in next, env do
        if type(key) ~= "string" or key == "" or key:find("[=%z]") then
            misuse(where, "option 'env': %s is no name of a variable", tostring(key))
        elseif value ~= false and (type(value) ~= "string" or value:find("%z")) then
            misuse(where, "option 'env': the value of '%s' must be a string, or false to unset it", key)
        end
    end
end

local function check_cpus(where, cpus)
    if #cpus == 0 then misuse(where, "option 'cpus' must name at least one CPU") end
    for i = 1, #cpus do
        local cpu = cpus[i]
        if math.type(cpu) ~= "integer" or cpu < 0 or cpu > 1023 then
            misuse(where, "option 'cpus' must be a list of numbers from 0 to 1023, not '%s'",
                tostring(cpus[i]))
        end
    end
end

local function check_args(where, args)
    local n = args.n
    if n ~= nil and (math.type(n) ~= "integer" or n < 0 or n > 900000) then
        misuse(where, "option 'args': its field n must be the number of arguments, at most 900000")
    end
end

local stream_kinds = { inherit = true, null = true, pipe = true, capture = true }
local streams = { stdin = true, stdout = true, stderr = true }

-- A word that is nearly one of the kinds, or a stream's name, would quietly make a file.
local function check_stream(where, name, value)
    if io.type(value) then
        if io.type(value) == "closed file" then misuse(where, "option '%s' is a closed file", name) end
    elseif name == "stdin" and value == "capture" then
        misuse(where, "option 'stdin' cannot be 'capture', which is for outputs")
    elseif streams[value] then
        misuse(where, "option '%s' cannot be '%s'; a file of that name is './%s'", name, value, value)
    elseif not stream_kinds[value] then
        local kind, distance = options.nearest(value, stream_kinds)
        if distance <= 2 then
            misuse(where, "option '%s' is '%s' (did you mean '%s'? a file of that name is './%s')",
                name, value, kind, value)
        end
    end
end

local function check_command(where, given)
    local command = given.command
    if given.target ~= nil then
        misuse(where, "options 'target' and 'command': there can be one of them")
    elseif given.start_method then
        misuse(where, "option 'start_method' is for a function; a program is always a fresh image")
    elseif given.args ~= nil then
        misuse(where, "option 'args' is for a function; the arguments of a program stand in 'command'")
    elseif #command == 0 then
        misuse(where, "option 'command' must be a list: the program, and its arguments")
    end
    for key, word in next, command do
        local kind = type(word)
        if math.type(key) ~= "integer" or key < 1 or key > #command then
            misuse(where, "option 'command' is a list, and has the key %s", tostring(key))
        elseif (kind ~= "string" and kind ~= "number") or tostring(word):find "%z" then
            misuse(where, "option 'command': word %d must be a string without zero bytes, not %s", key,
                options.describe(word))
        elseif key == 1 and word == "" then
            misuse(where, "option 'command': the program's name is empty")
        end
    end
    for i = 1, #command do
        if command[i] == nil then misuse(where, "option 'command': word %d is nil", i) end
    end
end

local function count(value)
    local n = type(value) == "number" and math.tointeger(value)
    return n and n >= 0 and n or nil
end

-- What each limit may be, as the engine takes it.
local limits = {
    memory = { options.bytes, "a number of bytes, or a text as \"512M\" (K, M, G, T)" },
    core = { options.bytes, "a number of bytes, or a text as \"512M\" (K, M, G, T)" },
    files = { count, "a count" },
    processes = { count, "a count" },
    cpu = { function(v) return type(v) == "number" and v > 0 and v < 1e9 and math.ceil(v) or nil end,
        "a number of seconds above 0" },
}

local function check_limits(where, given)
    for name, value in next, given do
        local limit = limits[name]
        if not limit then
            misuse(where, "option 'limits': unknown limit '%s'%s", tostring(name),
                options.meant(tostring(name), limits))
        elseif not limit[1](value) then
            misuse(where, "option 'limits': %s must be %s, not %s", name, limit[2], options.describe(value))
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

-- Raises unless what the table says of a process's surroundings can be. `where`: the call that was given it.
function process_options.check_surroundings(where, given)
    if given.limits then check_limits(where, given.limits) end
    if given.name and given.name:find "%c" then -- names stand in reports, on one line
        misuse(where, "option 'name' must have no control characters, as %q has", given.name)
    end
    if given.start_method then process_options.check_method(where, given.start_method) end
    if given.env then check_env(where, given.env) end
    if given.cpus then check_cpus(where, given.cpus) end
    if given.nice and (given.nice < -40 or given.nice > 40) then
        misuse(where, "option 'nice' must be a number from -40 to 40, not %d", given.nice)
    end
end

-- Raises unless the table is one of options that mp.process takes. `where`: the call that was given it.
function process_options.check(where, given)
    if type(given.command) == "string" then
        misuse(where, "option 'command' must be a list, as { \"ls\", \"-l\" }: no shell reads %s",
            options.describe(given.command))
    end
    options.check(where, given, known)
    if given.command then
        check_command(where, given)
    elseif given.target == nil then
        misuse(where, "option 'target' is missing: the function to run (or 'command', a program)")
    end
    if given.timeout and (given.timeout <= 0 or given.timeout ~= given.timeout) then
        misuse(where, "option 'timeout' must be a number of seconds above 0, not %s", given.timeout)
    end
    process_options.check_surroundings(where, given)
    if given.args then check_args(where, given.args) end
    for _, name in ipairs { "stdin", "stdout", "stderr" } do
        if given[name] then check_stream(where, name, given[name]) end
    end
end

-- What the start needs of the options, as they are now: the caller may use the
-- table again. Most processes need nothing.
local kept_options = { "env", "cwd", "stdin", "stdout", "stderr", "cpus", "nice", "command", "limits", "timeout",
    "start_method" }

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
