-- Of 8 processes at the same locks, semaphores and events one after the other is killed, mostly while it
-- holds a lock: spec/soak/locks.lua says what must hold. LUAMP_KILLS says how many are (20000, for
-- example); LUAMP_SPEC_SEED, which is printed when it fails, makes the same choices again.
local helper = require "spec.helper"

local many = helper.host == helper.luamp and not helper.sanitized and 1500 or 300
local kills = math.tointeger(tonumber(os.getenv "LUAMP_KILLS" or many))
local seed = math.tointeger(tonumber(os.getenv "LUAMP_SPEC_SEED" or os.time()))

it(("%d kills among holders leave the locks to the next ones (LUAMP_SPEC_SEED=%d)"):format(kills, seed), function()
    local result = helper.run(("timeout %d %s spec/soak/locks.lua kills %d %d"):format(100 + kills // 10, helper.host,
        kills, seed))
    assert.same({ 0, "" }, { result.status, result.stderr })
    local n, told = 0, 0
    for k, t in result.stdout:gmatch ": (%d+) kills, (%d+) told, " do n, told = n + k, told + t end
    assert.equal(kills, n)
    assert.is_true(told > kills / 4, result.stdout) -- the others had given it back meanwhile
    local median, most = result.stdout:match ": median ([%d.]+) ms, 99 of 100 within ([%d.]+) ms\nend\n$"
    assert.is_true(tonumber(median) < 100, median) -- which is promised of each; a machine may be busy
    assert.is_true(tonumber(most) < 1000, most)
end)
