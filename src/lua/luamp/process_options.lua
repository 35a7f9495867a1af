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
    stdin = "text", stdout = "text", stderr = "text", cpus = "table", nice = "integer",
    command = "table", limits = "table", timeout = "number",
}

local absent = { command = true, limits = true, timeout = true }

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
    if name == "stdin" and value == "capture" then
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

-- Raises unless the table is one of options that mp.process takes.
function process_options.check(given)
    options.check(WHERE, given, known)
    for key in next, absent do
        if given[key] ~= nil then
            misuse(WHERE, "option '%s' is not available in %s", key, VERSION)
        end
    end
    if given.target == nil then misuse(WHERE, "option 'target' is missing: the function to run") end
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
local kept_options = { "env", "cwd", "stdin", "stdout", "stderr", "cpus", "nice" }

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
