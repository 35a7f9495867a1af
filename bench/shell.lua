-- Commands: argument lists, run through the shell that io.popen brings.
local shell = {}

local function quote(word)
    return "'" .. word:gsub("'", "'\\''") .. "'"
end

function shell.command(argv)
    local words = {}
    for i, word in ipairs(argv) do words[i] = quote(word) end
    return table.concat(words, " ")
end

-- What `argv` prints, or nil and its command and status. What it says on
-- stderr is seen by the user, unless `quiet`.
function shell.read(argv, quiet)
    local command = shell.command(argv)
    local pipe = assert(io.popen(command .. (quiet and " 2>/dev/null" or "")))
    local text = pipe:read("a")
    local ok, kind, code = pipe:close()
    if ok then return text end
    return nil, string.format("%s (%s %d)", command, kind, code)
end

-- The first line of a file without the line end, or nil.
function shell.line(path)
    local file <close> = io.open(path)
    return file and file:read("l")
end

return shell
