-- relayed.lua: what the specs of relayed output share: scripts that are run, and their lines.
local busted = require "busted"
local helper = require "spec.helper"

local relayed = {}

-- Runs a script, which must end well: its stdout; and its stderr, if that was to be something.
function relayed.output_of(text, before, options)
    local result = helper.script_run(text, before, options)
    busted.assert.equal(0, result.status, result.stderr)
    if not (options or {}).has_stderr then busted.assert.equal("", result.stderr) end
    return result.stdout, result.stderr
end

-- The lines of a text, the last of which must have an end.
function relayed.lines_of(text)
    local list = {}
    busted.assert.is_true(text == "" or text:sub(-1) == "\n", "no end of a line at the end")
    for line in text:gmatch "([^\n]*)\n" do list[#list + 1] = line end
    return list
end

-- The list itself, in order.
function relayed.sorted(list)
    table.sort(list)
    return list
end

return relayed
