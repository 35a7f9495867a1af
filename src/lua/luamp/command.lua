-- luamp.command: a program as a process: the option `command` of mp.process.
--
-- The argument list goes to the program as it is: no shell looks at it. What
-- execvp would look for along PATH is looked for along the PATH that the
-- program itself gets; a relative name with a slash, from its folder.

local core = require "luamp.core"

local command = {}

-- The entries "NAME=value" of a program's environment: ours, with `changes`.
function command.environment(changes)
    local ours = core.environment()
    if not changes then return ours end
    local list = {}
    for _, entry in ipairs(ours) do
        if changes[entry:match "^[^=]*"] == nil then list[#list + 1] = entry end
    end
    for name, value in next, changes do
        if value then list[#list + 1] = name .. "=" .. value end
    end
    return list
end

-- Where a program of that name may be, given the changes of its environment.
local function places(name, changes)
    if name:find("/", 1, true) then return { name } end
    local path = changes and changes.PATH
    if path == nil then path = os.getenv "PATH" end
    local list = {}
    for folder in ((path or "/usr/local/bin:/usr/bin:/bin") .. ":"):gmatch "([^:]*):" do
        list[#list + 1] = (folder == "" and "." or folder) .. "/" .. name
    end
    return list
end

-- Starts the program of a process's state. Returns true, or nil, message, error name.
function command.start(s, spec)
    local argv, changes = s.options.command, s.options.env
    local ok, message, code = core.exec(s.handle, spec, places(argv[1], changes), argv, command.environment(changes))
    if ok then return true end
    return nil, (message:gsub("^command:", function() return ("command '%s':"):format(argv[1]) end)), code
end

-- What a program that has ended has left: its exit code, and the texts that were captured.
function command.result(s)
    local result = { exitcode = s.exitcode }
    for name, text in pairs(s.files) do
        if type(text) == "string" then result[name] = text end
    end
    return result
end

return command
