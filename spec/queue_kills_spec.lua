-- Among 4 processes that put and 4 that get, one after the other is killed at a random moment:
-- spec/soak/queues.lua says what must hold. LUAMP_KILLS says how many are; LUAMP_SPEC_SEED,
-- which is printed when it fails, makes the same choices again.
local helper = require "spec.helper"

local many = helper.host == helper.luamp and not helper.sanitized and 2000 or 200
local kills = math.tointeger(tonumber(os.getenv "LUAMP_KILLS" or many))
local seed = math.tointeger(tonumber(os.getenv "LUAMP_SPEC_SEED" or os.time()))

it(("%d kills among putters and getters leave the queue whole (LUAMP_SPEC_SEED=%d)"):format(kills, seed), function()
    local result = helper.run(("timeout %d %s spec/soak/queues.lua kills %d %d"):format(100 + kills, helper.host, kills,
        seed))
    assert.same({ 0, "" }, { result.status, result.stderr })
    local n = 0
    for k, items in result.stdout:gmatch ": (%d+) kills, (%d+) items, " do
        n = n + math.tointeger(k)
        assert.is_true(math.tointeger(items) > 0)
    end
    assert.equal(kills, n)
    assert.matches("end\n$", result.stdout)
end)
