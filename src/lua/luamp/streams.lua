-- luamp.streams: the options stdin, stdout and stderr of a process.
--
--   "inherit"   the parent's own (the default)      "null"   nothing
--   "pipe"      p.stdin, p.stdout, p.stderr: Lua files of the parent
--   "capture"   the whole text, when it has ended; for the two outputs
--   a file      that file; one of another process is handed over: the new
--               process alone has it then, so that the end of the one is seen
--               by the other
--   else        a path: read, or made empty and then appended to, so that two
--               processes may write to one file
--
-- The parent's ends are private files: no child holds them, so the end of a
-- stream is seen when its only writer ends. Captured text goes to an anonymous
-- file: a child never waits for its parent to read.

local core = require "luamp.core"

local streams = {}

local names = { "stdin", "stdout", "stderr" }

-- Each kind opens its stream: returns the child's descriptor, or nil, message;
-- it may set a file or a captured descriptor in the state.
local open = {}

function open.inherit()
    return -1
end

function open.null(_, name)
    return core.open("/dev/null", name == "stdin" and "read" or "write")
end

function open.pipe(s, name)
    local reading, writing, code = core.pipe()
    if not reading then return nil, writing, code end
    local is_input = name == "stdin"
    local mine, childs = is_input and writing or reading, is_input and reading or writing
    s.opened[#s.opened + 1] = childs
    s.files[name] = assert(core.open_stream(mine, is_input and "w" or "r"))
    return childs
end

function open.capture(s, name)
    local fd, message, code = core.memory_file()
    if not fd then return nil, message, code end
    s.captured[name] = fd
    return core.duplicate(fd)
end

local function open_file(s, _, file)
    local fd, message, code = core.share_stream(file)
    if fd and code == "pipe" then s.handed[#s.handed + 1] = file end
    return fd, message, code
end

local function open_path(_, name, path)
    return core.open(path, name == "stdin" and "read" or "write")
end

-- Opens what the process's options ask for into the engine's spec. Returns the
-- spec, or nil and the reason. What the child alone needs is put in s.opened,
-- the parent's files in s.files, descriptors to be read in s.captured.
function streams.open(s, spec)
    local opened = s.opened
    for _, name in ipairs(names) do
        local kind = s.options[name] or "inherit"
        local opener = open[kind] or (io.type(kind) and open_file) or open_path
        local fd, message, code = opener(s, name, kind)
        if not fd then return nil, name .. ": " .. message, code end
        if fd >= 0 then spec[name] = fd end
        if fd >= 0 and opened[#opened] ~= fd then opened[#opened + 1] = fd end
    end
    return spec
end

-- The process runs: what was handed over to it is its own.
function streams.started(s)
    for _, file in ipairs(s.handed) do file:close() end
    s.handed = {}
end

-- The process has ended: captured text is read.
function streams.settle(s)
    for name, fd in pairs(s.captured) do
        s.files[name], s.captured[name] = core.read_file(fd), nil
        core.close(fd)
    end
end

-- Closes what is left of the parent's side.
function streams.drop(s)
    for name, file in pairs(s.files) do
        if io.type(file) == "file" then file:close() end
        s.files[name] = nil
    end
    for name, fd in pairs(s.captured) do
        core.close(fd)
        s.captured[name] = nil
    end
end

return streams
