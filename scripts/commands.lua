-- commands.lua: external programs side by side, one of which fails.
--
-- A command is a list of words, which no shell looks at. Its result is a table;
-- one that fails raises an error object that carries that table, and whose text
-- ends with what the program wrote last to its stderr.
--
--   luamp scripts/commands.lua

local mp = require "luamp"

local commands = {
    { "printf", "%s|", "two words", "*", "$HOME", "" },
    { "sh", "-c", "echo 'no room' >&2; exit 3" },
    { "expr", 6, "*", 7 },
    { "no-such-program" },
}

-- All run at once; one that cannot be run is told when it is started.
local started = {}
for i, command in ipairs(commands) do
    local p = mp.process { command = command, stdout = "capture", stderr = "capture", name = command[1] }
    local ok, e = pcall(p.start, p)
    started[i] = ok and p or e
end

for i, p in ipairs(started) do
    local name = commands[i][1]
    if type(p) == "string" then
        print(name, "not started", p:match "cannot start.*")
    else
        local ok, result = pcall(p.result, p)
        if ok then
            print(name, result.exitcode, (result.stdout:gsub("\n$", "")))
        else
            print(name, result.value.exitcode, result.kind .. ": " .. result.value.stderr:gsub("\n$", ""))
        end
    end
end
