-- luamp.log: mp.log, lines about what happens, from all processes of a family.
--
-- A line is a list of fields, as key=value: the time, the level, the process, in a worker the task, the message, and
-- what the call was given. A value that has more than plain characters stands in quotes, so a line is one line. Each is
-- written at once and in one piece, in its turn among the processes, to stderr or to the end of a file.
--
-- What is set up holds for this process and those that it starts from then on, by whatever method. The environment
-- variable LUAMP_LOG names a level that goes before the one that a script sets up.

local core = require "luamp.core"
local life = require "luamp.life"
local options = require "luamp.options"

local LONGEST <const> = 16384 -- bytes of a value
local DEEPEST <const> = 3 -- tables within tables
local severity = { debug = 10, info = 20, warn = 30, error = 40, off = 50 }
local names = { "debug", "info", "warn", "error" }
local own_keys = { time = true, level = true, process = true, task = true, msg = true }

local stderr, next, type = io.stderr, next, type
local threshold -- what is less severe is off; nil before it is known
local opened, opened_by -- the file, and the process that opened it
local settings = {} -- level, file: as they were set up here, or by who started this process

-- --- values ---------------------------------------------------------------------

local escapes = { ["\n"] = "\\n", ["\t"] = "\\t", ["\r"] = "\\r", ["\""] = "\\\"", ["\\"] = "\\\\" }

local function escape(char)
    return escapes[char] or ("\\x%02x"):format(char:byte())
end

-- Text as it stands in a line. UTF-8 stays as it is, other bytes from 128 on do not.
local function quote(text)
    if #text > LONGEST then text = text:sub(1, LONGEST) .. "..." end
    if text:find "^[%w_./:@%%+,;!?*#$&~^|<>()%[%]{}'%-]+$" then return text end
    text = text:gsub('[%c"\\\127]', escape)
    if not utf8.len(text) then text = text:gsub("[\128-\255]", escape) end
    return '"' .. text .. '"'
end

local function sorted(keys)
    table.sort(keys, function(a, b)
        local are_numbers = type(a) == "number" and type(b) == "number"
        if are_numbers then return a < b end
        if (type(a) == "number") ~= (type(b) == "number") then return type(a) == "number" end
        return tostring(a) < tostring(b)
    end)
    return keys
end

local text_of

-- A table without a __tostring of its own: {1, 2, name=value}.
local function text_of_table(t, depth)
    if depth >= DEEPEST then return "{...}" end
    local keys, parts, length = {}, {}, 0
    for key in next, t do keys[#keys + 1] = key end
    for i, key in ipairs(sorted(keys)) do
        if length > LONGEST then
            parts[#parts + 1] = "..."
            break
        end
        local value = text_of(rawget(t, key), depth + 1)
        if type(rawget(t, key)) == "string" then value = quote(value) end
        parts[#parts + 1] = key == i and value or ("%s=%s"):format(text_of(key, depth + 1), value)
        length = length + #parts[#parts]
    end
    return "{" .. table.concat(parts, ", ") .. "}"
end

function text_of(value, depth)
    if type(value) == "string" then return value end
    local mt = type(value) == "table" and debug.getmetatable(value)
    if type(value) == "table" and not (mt and (mt.__tostring or mt.__name)) then return text_of_table(value, depth) end
    local ok, text = pcall(tostring, value)
    return ok and text or ("<%s whose __tostring fails>"):format(type(value))
end

-- --- lines ----------------------------------------------------------------------

local function add(parts, key, value)
    parts[#parts + 1] = ("%s=%s"):format(key, quote(text_of(value, 0)))
end

-- A key has letters, digits and _ . - only, and is not one of the line's own.
local function key_of(key)
    key = tostring(key):gsub("[^%w_.%-]", "_")
    return own_keys[key] and key .. "_" or key
end

local function add_fields(parts, fields)
    local keys = {}
    for key in next, fields do keys[#keys + 1] = key end
    for _, key in ipairs(sorted(keys)) do add(parts, key_of(key), fields[key]) end
end

-- Both tables' fields; the second one's go before.
local function merged(a, b)
    if not a or not b then return a or b end
    local all = {}
    for key, value in next, a do all[key] = value end
    for key, value in next, b do all[key] = value end
    return all
end

local function line_of(level, message, fields)
    local seconds, milliseconds = core.wall()
    local parts = { ("time=%s.%03dZ"):format(os.date("!%Y-%m-%dT%H:%M:%S", seconds), milliseconds) }
    add(parts, "level", level)
    add(parts, "process", life.name(life.own()))
    local worker = package.loaded.luamp and package.loaded.luamp.worker
    local task = worker and worker.task
    if task then add(parts, "task", task) end
    add(parts, "msg", message)
    if fields then add_fields(parts, fields) end
    return table.concat(parts, " ") .. "\n"
end

-- The file to write to, which each process in a fresh interpreter opens for itself; a fork has its parent's.
local function destination()
    if not settings.file then return stderr end
    if opened and opened_by == settings.file then return opened end
    local file, message = io.open(settings.file, "ab")
    if not file then return nil, message end
    file:setvbuf "no"
    opened, opened_by = file, settings.file
    return file
end

-- Writes the line: true; or nil and why not.
local function write(level, message, fields)
    local file, why = destination()
    if not file then return nil, why end
    local ok
    ok, why = file:write(line_of(level, message, fields))
    if not ok then return nil, why end
    return true
end

-- --- levels ---------------------------------------------------------------------

local function check_level(where, what, level)
    if type(level) == "string" and severity[level] then return level end
    options.misuse(where, "%s must be 'debug', 'info', 'warn', 'error' or 'off', not %s%s", what,
        options.describe(level), type(level) == "string" and options.meant(level, severity) or "")
end

-- The level that holds, once it is known what that is.
local function find_threshold(where)
    local of_environment = os.getenv "LUAMP_LOG"
    if of_environment == "" then of_environment = nil end
    local level = of_environment and check_level(where, "LUAMP_LOG", of_environment) or settings.level or "info"
    threshold = severity[level]
    return threshold
end

local function fail(where, fields)
    options.misuse(where, "fields are a table, as { file = name }, not %s", options.describe(fields))
end

-- A logger in another process is that one's mp.log, with these fields.
local function arrived(fields)
    local own = package.loaded.luamp.log
    return fields and own.bind(fields) or own
end

-- The functions of a logger, each line of which has these fields.
local function logger(l, bound, where)
    setmetatable(l, { __name = "mp.log", __mp_send = function() return arrived, bound end })
    for _, name in ipairs(names) do
        local least, called = severity[name], where .. "." .. name
        l[name] = function(message, fields)
            if least < (threshold or find_threshold(called)) then return end
            if fields ~= nil and type(fields) ~= "table" then fail(called, fields) end
            return write(name, message, merged(bound, fields))
        end
    end
    function l.bind(fields)
        if type(fields) ~= "table" then fail(where .. ".bind", fields) end
        return logger({}, merged(bound, merged({}, fields)), where)
    end
    function l.is_enabled(level)
        if level == "off" then options.misuse(where .. ".is_enabled", "'off' is no level of a line") end
        level = check_level(where .. ".is_enabled", "the level", level)
        return severity[level] >= (threshold or find_threshold(where .. ".is_enabled"))
    end
    return l
end

-- --- setting up -----------------------------------------------------------------

-- mp.log.configure{level=, file=}: what is not given stays; file = false is stderr again.
local function configure(given)
    local where = "mp.log.configure"
    if type(given) ~= "table" then
        options.misuse(where, "expected a table of options, not %s", options.describe(given))
    end
    options.check(where, given, { level = "text", file = "any" })
    local level = given.level and check_level(where, "option 'level'", given.level)
    local path = given.file
    if path then
        if type(path) ~= "string" or path == "" then
            options.misuse(where, "option 'file' must be a path, or false, not %s", options.describe(path))
        end
        local file, message = io.open(path, "ab")
        if not file then options.misuse(where, "option 'file': %s", message) end
        file:setvbuf "no"
        if path:sub(1, 1) ~= "/" then path = core.folder() .. "/" .. path end
        opened, opened_by = file, path
    end
    if level then settings.level = level end
    if path ~= nil then settings.file = path or nil end
    life.now.log = settings
    find_threshold(where)
end

-- What a process in a fresh interpreter has been sent of this.
settings = life.now.log or settings

return logger({ configure = configure }, nil, "mp.log")
