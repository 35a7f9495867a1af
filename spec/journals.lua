-- journals.lua: what the specs of journals share: programs that are run, and run again, in a folder of their own, whose
-- tasks tell in a file there that they run.
local busted = require "busted"
local helper = require "spec.helper"
local lfs = require "lfs"

local journals = {}

-- The beginning of each program: tasks tell of themselves by `tell`.
local HEAD <const> = [[
local mp = require "luamp"
local function tell(word)
    local file <close> = assert(io.open("ran", "a"))
    file:setvbuf "no"
    file:write(tostring(word), "\n")
end
local J = "run.db"
]]

-- Runs a program in the folder: what helper.run gives, with `ran`, the sorted words of its tasks in one string.
-- Options: those of helper.run; `before`, what its shell does first; `prefix`, what stands before its command.
function journals.run(dir, text, options)
    options = options or {}
    options.cwd = dir
    os.remove(dir .. "/ran")
    helper.write(dir .. "/script.lua", helper.with_method(HEAD .. text))
    local result = helper.run((options.before or ":") .. "; " .. (options.prefix or "") .. helper.host .. " script.lua",
        options)
    local words = {}
    local file <close> = io.open(dir .. "/ran")
    for word in file and file:lines() or function() end do words[#words + 1] = word end
    table.sort(words)
    result.ran = table.concat(words, " ")
    return result
end

-- The same for one that succeeds: what it prints, and what ran.
function journals.good(dir, text, options)
    local result = journals.run(dir, text, options)
    busted.assert.equal("", result.stderr)
    busted.assert.equal(0, result.status)
    return result.stdout, result.ran
end

function journals.query(dir, sql)
    local result = helper.run("sqlite3 run.db " .. helper.quote(sql), { cwd = dir })
    busted.assert.same({ 0, "" }, { result.status, result.stderr })
    return result.stdout
end

-- The files of a folder that belong to a journal.
function journals.files_of(dir)
    local found = {}
    for name in lfs.dir(dir) do
        if name:find "%.db" then found[#found + 1] = name end
    end
    table.sort(found)
    return table.concat(found, " ")
end

return journals
