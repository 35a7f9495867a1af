-- waking.lua: how soon who waits goes on when another process has made that so.
--
-- A waiter looks itself every 50 ms, so a wake-up that nobody sends is late, and no more. The waiter
-- sleeps for certain when it is woken, and has most of its look before it.
local helper = require "spec.helper"
local mp = require "luamp"

local ROUNDS <const> = 9

-- The median time, in seconds, from when wake(object) began until wait(object) had returned in
-- another process; prepare(object) makes it wait. Below `waking.soon` it was woken.
local function waking(object, prepare, wait, wake)
    local go, ready, woken, list = mp.queue(), mp.queue(), mp.queue(), {}
    local p = helper.started(function(o, f, g, r, w)
        for _ = 1, ROUNDS do
            g:get()
            r:put(true)
            f(o)
            w:put(mp.clock())
        end
    end, object, wait, go, ready, woken)
    for i = 1, ROUNDS do
        prepare(object)
        go:put(true)
        ready:get()
        mp.sleep(0.005)
        local start = mp.clock()
        wake(object)
        list[i] = woken:get() - start
    end
    p:join()
    p:close()
    table.sort(list)
    return list[ROUNDS // 2 + 1]
end

return { median = waking, soon = 0.025 }
