-- Among 4 processes at a dict, a cache or a list, one after the other is killed at a random moment:
-- spec/soak/dicts.lua says what must hold. LUAMP_KILLS says how many are; LUAMP_SPEC_SEED, which is
-- printed when it fails, makes the same choices again.
local helper = require "spec.helper"

local many = helper.host == helper.luamp and not helper.sanitized and 2000 or 100
local kills = math.tointeger(tonumber(os.getenv "LUAMP_KILLS" or many))
local seed = math.tointeger(tonumber(os.getenv "LUAMP_SPEC_SEED" or os.time()))

it(("%d kills leave dicts, caches and lists whole (LUAMP_SPEC_SEED=%d)"):format(kills, seed), function()
    local result = helper.run(("timeout %d %s spec/soak/dicts.lua kills %d %d"):format(100 + kills, helper.host, kills,
        seed))
    assert.same({ 0, "" }, { result.status, result.stderr })
    local n, sorts = 0, 0
    for k in result.stdout:gmatch ": (%d+) kills\n" do
        n, sorts = n + math.tointeger(k), sorts + 1
    end
    assert.is_true(n >= kills and sorts >= 4)
    assert.matches("end\n$", result.stdout)
end)
