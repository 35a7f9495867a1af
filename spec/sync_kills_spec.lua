-- Of 8 processes at the same rwlocks, barriers and conditions one after the other is killed:
-- spec/soak/together.lua says what must hold. LUAMP_KILLS says how many are; LUAMP_SPEC_SEED, which is
-- printed when it fails, makes the same choices again.
local helper = require "spec.helper"

local many = helper.host == helper.luamp and not helper.sanitized and 600 or 200
local kills = math.tointeger(tonumber(os.getenv "LUAMP_KILLS" or many))
local seed = math.tointeger(tonumber(os.getenv "LUAMP_SPEC_SEED" or os.time()))

it(("%d kills leave rwlocks, barriers, conditions to others (LUAMP_SPEC_SEED=%d)"):format(kills, seed), function()
    local result = helper.run(("timeout %d %s spec/soak/together.lua kills %d %d"):format(100 + kills // 5, helper.host,
        kills, seed))
    assert.same({ 0, "" }, { result.status, result.stderr })
    local n = 0
    for k in result.stdout:gmatch ": (%d+) kills\n" do n = n + math.tointeger(k) end
    assert.equal(kills, n)
    assert.matches("\nend\n$", result.stdout)
end)
