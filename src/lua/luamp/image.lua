-- luamp.image: processes in a fresh interpreter: the start methods forkserver and spawn.
--
-- `start` sends what a process is to be, which arrival.lua makes so in the new process.
--
-- An order has two parts. The settings are plain data, in a frame: who the process is, and what
-- a script has set up that others look at (package.path, package.cpath, arg). The
-- values are the registered objects, the function and its arguments. So a script is
-- not run again, and needs no guard: what its function uses goes with it.
--
-- Which program is run anew: the one that this process runs, if that is luamp or a
-- Lua interpreter; otherwise an interpreter along PATH, which loads this very module.

local core = require "luamp.core"
local errors = require "luamp.errors"
local life = require "luamp.life"
local look_for_modules = require "luamp.modules"

local image = {}

local now = life.now

-- --- what is run ------------------------------------------------------------

local interpreters = { "lua5.4", "lua-5.4", "lua54", "lua" }

local load_module = "local f, e = package.loadlib(%q, 'luaopen_luamp_child') if not f then error(e, 0) end f()"

-- Every place where PATH may have a program of one of the names.
local function along_path(names)
    local places = {}
    for _, name in ipairs(names) do
        for folder in ((os.getenv "PATH" or "/usr/local/bin:/usr/bin:/bin") .. ":"):gmatch "([^:]*):" do
            places[#places + 1] = (folder == "" and "." or folder) .. "/" .. name
        end
    end
    return places
end

-- The paths and the command line of an image, and what it is called in an error.
-- /proc/self/exe is the program that runs, also when its file has been replaced.
local function find_image()
    local executable = core.executable() or "/proc/self/exe" -- without /proc it cannot be found
    local script = type(arg) == "table" and type(rawget(arg, 0)) == "string" and rawget(arg, 0) or nil
    local name = executable:gsub(" %(deleted%)$", ""):match ".*/(.*)"
    if core.is_program() or name == "luamp" then
        return { "/proc/self/exe" }, { executable, "--luamp-child", script }, executable
    end
    local library = core.library()
    if not library then
        return along_path { "luamp" }, { "luamp", "--luamp-child", script }, "luamp (along PATH)"
    end
    local words = { "-E", "-e", load_module:format(library) }
    if name == "lua" or name:find "^lua%-?5%.?4$" then
        return { "/proc/self/exe" }, { executable, table.unpack(words) }, executable
    end
    local what = ("%s (along PATH, for %s is no Lua interpreter)"):format(table.concat(interpreters, ", "), executable)
    return along_path(interpreters), { "lua", table.unpack(words) }, what
end

-- --- what is sent -----------------------------------------------------------

-- A process's numbers, from the first below the main process to its own.
local function numbers_of(s)
    local list = {}
    while s and s.number do
        table.insert(list, 1, s.number)
        s = s.maker
    end
    return list
end

local function identity(s)
    return { name = s.given_name, numbers = numbers_of(s), pid = s.pid, daemon = s.daemon }
end

local function script_arguments()
    if type(arg) ~= "table" then return nil end
    local copy = {}
    for i, value in next, arg do
        local kind = type(value)
        if math.type(i) == "integer" and (kind == "string" or kind == "number") then copy[i] = value end
    end
    return copy
end

local function as_text(value)
    return type(value) == "string" and value or nil
end

local function settings(s)
    return core.frame(core.encode {
        self = identity(s), creator = identity(life.own()), order = s.order, in_scope = s.scope ~= nil,
        env = s.options.env, limits = s.options.limits, seed = now.seed, method = now.method,
        path = as_text(package.path), cpath = as_text(package.cpath), arg = script_arguments(), log = now.log,
    })
end

local function cannot_send(s)
    local values = table.move(s.args, 1, s.args.n or #s.args, 2, { s.target })
    local message = require "luamp.culprit" (values, 1 + (s.args.n or #s.args), function(i)
        return i == 1 and "the target" or ("argument %d"):format(i - 1)
    end, true) or "cannot send the target or its arguments: they changed meanwhile"
    local own = life.own()
    errors.raise(errors.new { kind = "unsendable", process = life.name(own), pid = own.pid, message = message },
        life.name(own), own.pid)
end

-- The registered objects that can be sent, each by itself.
local function sendable(registered)
    local some = {}
    for name, object in next, registered do
        if core.can_send_fresh(object) then some[name] = object end
    end
    return some
end

local function explain(message, code, what)
    if code == "EFBIG" then
        message = message .. " (the limit of file sizes, ulimit -f, holds for what a fresh interpreter shares, too)"
    end
    if code == "ECONNRESET" then return ("forkserver: %s ended before it was ready"):format(what), code end
    if not message:find "^command:" then return message, code end
    return ("the interpreter %s: %s"):format(what, message:sub(#"command: " + 1)), code
end

-- Starts the process of a state by that method. Returns true, or nil, message, error name;
-- raises the error object for what cannot be sent.
function image.start(s, spec, method)
    local paths, argv, what = find_image()
    local env = method == "spawn" and require "luamp.command".environment(s.options.env) or {}
    local library = core.library()
    if library and not core.can_read(library) then
        return nil, library .. ": the module's file is gone, and cannot be loaded anew", "ENOENT"
    end
    look_for_modules(s.options.cwd ~= nil)
    local given, n = settings(s), s.args.n or #s.args
    local registered = core.registered()
    local ok, message, code = core.fresh(s.handle, spec, method, paths, argv, env, given, registered, s.target,
        table.unpack(s.args, 1, n))
    if ok == nil and not message and next(registered) then
        ok, message, code = core.fresh(s.handle, spec, method, paths, argv, env, given, sendable(registered), s.target,
            table.unpack(s.args, 1, n))
    end
    if ok then return true end
    if not message then cannot_send(s) end
    return nil, explain(message, code, what)
end

return image
