-- A signal of mp.on_signal that comes at any instruction of the code that sets hooks for it and takes
-- them back (killat.c steps that) is handled, by itself or with the one that is being handled, and leaves the
-- script's debug hook as it was.
--
-- By the program alone, whose map the linker writes: under stock Lua the same code lies in a module.
local helper = require "spec.helper"
local sweep = require "spec.faults.sweep"

local SIGUSR1 <const> = 10

-- Whether it was handled, and the next one too, and the hook is what it was.
local script = [[
local kill, mp = require "killer", require "luamp"
local function hook() end
local handled = 0
debug.sethook(hook, "", 1000000)
mp.on_signal("USR1", function() handled = handled + 1 end)
local function step(n) return n + 1 end
os.remove "/killat/begin"
kill(mp.getpid(), 10)
for i = 1, 3 do step(i) end
os.remove "/killat/end"
for i = 1, 3 do step(i) end
local seen = handled
kill(mp.getpid(), 10)
for i = 1, 3 do step(i) end
local now, mask, count = debug.gethook()
print(seen == 1 or seen == 2, handled == seen + 1, now == hook, mask, count)
]]

-- The functions of that range, among them those that the kernel and Lua call.
local function functions_in(range)
    local from, to = range:match "^(%x+)-(%x+)$"
    local list = {}
    local program = (os.getenv "LUAMP_BUILD" or "build/faults") .. "/luamp"
    for at in helper.run("nm --defined-only " .. program).stdout:gmatch "0*(%x+) [tT] %S+\n" do
        local address = tonumber(at, 16)
        if address >= tonumber(from, 16) and address < tonumber(to, 16) then list[#list + 1] = at end
    end
    return table.concat(list, ",")
end

local good = "true\ttrue\ttrue\t\t1000000\n"

it("a signal at any instruction that changes hooks is handled, and leaves them as they were", function()
    if helper.host ~= helper.luamp then pending "by the program alone" end
    if helper.run("uname -m").stdout ~= "x86_64\n" then pending "on x86-64 alone" end
    local range = sweep.ranges({ interrupt = true }, "binding")
    local entries, file, env = functions_in(range), helper.script(script), { LUA_CPATH = helper.killer() }
    local function run(point)
        return sweep.run { file = file, script = "hooks", process = "0", point = "i" .. point, ranges = range,
            entries = entries, signal = SIGUSR1, env = env }
    end
    local sound = run(0)
    assert.same({ "exit:0", good, "" }, { sound.ending, sound.stdout, sound.stderr })
    local n = sound.processes["0"].steps
    assert.is_true(n > 100, n)
    for point = 1, n do
        local result = run(point)
        assert.same({ "exit:0", true, good, "" },
            { result.ending, result.killed, result.stdout, result.stderr },
            ("at instruction %d (%s)"):format(point, result.at))
    end
end)
