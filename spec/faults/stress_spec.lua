-- The engine's rooms under the sanitizers (spec/engine/*_stress.c): in threads, and in processes of which one
-- after the other is killed. LUAMP_STRESS says for how many seconds each (4).
local helper = require "spec.helper"

local seconds = tonumber(os.getenv "LUAMP_STRESS" or 4)
local build = os.getenv "LUAMP_BUILD" or "build/faults"

-- What a stress tells in its last line, "ok N N...", are numbers of what it has done: so many, each more than that.
-- told: one more, where processes are killed, of who was told of that: some were.
local rooms = { queue = { "queues", 2, 100 }, cells = { "numbers", 2, 100 }, dict = { "dicts and lists", 1, 100 },
    lock = { "locks", 3, 20, told = true }, together = { "rwlocks, barriers and conditions", 4, 20, told = true } }

for room, what in pairs(rooms) do
    for _, kind in ipairs { "threads", "processes" } do
        it(("the %s in %s are without a fault that the sanitizers see"):format(what[1], kind), function()
            local seed = math.tointeger(tonumber(os.getenv "LUAMP_SPEC_SEED" or os.time()))
            local command = ("timeout %d %s/%s_stress_%s %g %d"):format(100 + seconds // 1, build, room, kind, seconds,
                seed)
            local result = helper.run(command, { env = { TSAN_OPTIONS = "suppressions=spec/engine/suppressions" } })
            assert.same({ 0, "" }, { result.status, result.stderr }, "LUAMP_SPEC_SEED=" .. seed)
            local counts = {}
            for number in result.stdout:match "\nok ([^\n]*)\n$":gmatch "%d+" do
                counts[#counts + 1] = math.tointeger(number)
            end
            for i = 1, what[2] do assert.is_true(counts[i] > what[3], result.stdout) end
            if what.told and kind == "processes" then assert.is_true(counts[what[2] + 1] > 0, result.stdout) end
        end)
    end
end
