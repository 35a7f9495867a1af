-- example.lua: how the specs of the examples run a script of scripts/.
local helper = require "spec.helper"
local lfs = require "lfs"

local example = { root = lfs.currentdir() }

local host = helper.quote(helper.host)

-- A sanitizer reports that memory ran out, which killed.lua wants, and it may
-- report nothing else.
local function check_sanitizer(folder)
    for name in lfs.dir(folder) do
        if name:find "^sanitizer" then
            local report = helper.read(folder .. "/" .. name)
            assert.equal("", (report:gsub("==%d+==WARNING: AddressSanitizer failed to allocate[^\n]*\n", "")))
        end
    end
end

-- Runs a command line like `luamp scripts/primes.lua 10`, where `luamp` is the
-- host, in a folder from which it sees what the page's commands need.
function example.run(command, env)
    local cwd = helper.tmpdir()
    for _, name in ipairs { "scripts", "LICENSE" } do
        assert(lfs.link(example.root .. "/" .. name, cwd .. "/" .. name, true))
    end
    env = env or {}
    env.ASAN_OPTIONS = ("%s:log_path=%s/sanitizer"):format(os.getenv "ASAN_OPTIONS" or "", cwd)
    command = command:gsub("^luamp", (host:gsub("%%", "%%%%")))
    local result = helper.run(command, { cwd = cwd, env = env })
    check_sanitizer(cwd)
    result.cwd = cwd
    return result
end

-- The same for a script alone, as if the machine had n CPUs.
function example.run_with(n, script, ...)
    local words = {}
    for i, word in ipairs { ... } do
        words[i] = helper.quote(word)
    end
    local pretence = ([["require('luamp').cpu_count = function() return %d end"]]):format(n)
    return example.run(("luamp -e %s scripts/%s %s"):format(pretence, script, table.concat(words, " ")))
end

function example.succeeds(result)
    assert.equal("", result.stderr)
    assert.equal(0, result.status)
    return result.stdout
end

function example.files(folder, pattern)
    local found = {}
    for name in lfs.dir(folder) do
        if name:find(pattern) then
            table.insert(found, folder .. "/" .. name)
        end
    end
    table.sort(found)
    return found
end

return example
