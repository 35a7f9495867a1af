-- Ctrl-C between the wait for a key and its read, with libedit and without.
local helper = require "spec.helper"
local open = require "spec.terminal"

local forget = helper.luamp:gsub("[^/]*$", "forget.so")

local function is_heard(environment)
    local file = helper.tmpdir() .. "/now"
    environment.FORGET = file
    local session <close> = open(("exec env LD_PRELOAD=%s $L"):format(forget), environment)
    session:expect "> "
    helper.write(file, "")
    session:type "x"
    session:type(environment.LD_LIBRARY_PATH and "\r" or "")
    session:expect "\n"
    session:line("7", "7")
    assert.is_nil(io.open(file))
end

describe("Ctrl-C that comes with a key", function()
    it("is heard by libedit", function()
        is_heard {}
    end)

    -- As in the specs of the console: there are no such libraries.
    it("is heard without libedit", function()
        local dir = helper.tmpdir()
        helper.write(dir .. "/libedit.so.2", "")
        helper.write(dir .. "/libedit.so.0", "")
        is_heard { LD_LIBRARY_PATH = dir }
    end)
end)
