-- A signal of mp.on_signal that comes at any system call of a script whose pool loses a worker meanwhile: what
-- its handler raises is the script's, and not taken for a failure of a worker, or of a task.
--
-- Signals that come before there is a handler end the script, and so does its error outside of the pcall.
local helper = require "spec.helper"
local sweep = require "spec.faults.sweep"

local SIGUSR1 <const> = 10
local SAMPLE <const> = os.getenv "LUAMP_SWEEP" == "all" and 1 or 2

local script = [[
local mp = require "luamp"
local has_run = false
mp.on_signal("USR1", function() has_run = true error("the handler's", 0) end)
local ok, e = pcall(function()
    local pool <close> = mp.pool(1)
    local _, e = pcall(pool.apply, pool, os.exit, 3)
    if e == "the handler's" then error(e, 0) end
    pool:apply(math.abs, -1)
end)
print(has_run, ok, e)
]]

-- What a run may say.
local heard, unheard = "true\tfalse\tthe handler's\n", "false\ttrue\tnil\n"

it("what a handler raises is the script's, wherever its signal comes while workers die and come", function()
    local file = helper.script(script)
    local function run(point)
        return sweep.run { file = file, script = "handler", process = point == 0 and "all" or "0", point = point,
            signal = SIGUSR1 }
    end
    local sound = run(0)
    assert.same({ "exit:0", unheard, "" }, { sound.ending, sound.stdout, sound.stderr })
    local n, n_heard = sound.processes["0"].points, 0
    for point = 1, n, SAMPLE do
        local result = run(point)
        local where = ("at point %d (%s)"):format(point, result.at)
        if result.ending == "exit:1" then
            assert.matches("^[^\n]*: the handler's\n", result.stderr, nil, nil, where)
        elseif result.ending ~= "signal:10" then
            assert.equal("exit:0", result.ending, where .. ": " .. result.stderr)
            assert.is_true(result.stdout == heard or result.stdout == unheard, where .. ": " .. result.stdout)
            if result.stdout == heard then n_heard = n_heard + 1 end
        end
        assert.equal(0, result.left, where)
    end
    assert.is_true(n_heard * SAMPLE > 100, n_heard)
end)
