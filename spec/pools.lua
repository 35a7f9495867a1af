-- pools.lua: what the specs of pools share: tests of a call in both of its forms, and small functions.
local busted = require "busted"
local helper = require "spec.helper"
local mp = require "luamp"

local pools = {}

-- Calls test(pool), and waits for the pool's end. After a failure that is terminated here, for
-- busted's message handler keeps the error from a <close> variable.
function pools.with(given, test)
    local pool <close> = mp.pool(given)
    local ok, e = pcall(test, pool)
    if ok then return end
    pool:terminate()
    error(e, 0)
end

-- A call in both of its forms: of a pool, and with a pool that is made for it.
local forms = {
    ["pool:"] = function(test)
        pools.with(2, function(pool)
            test(function(name, ...) return pool[name](pool, ...) end)
        end)
    end,
    ["mp."] = function(test)
        test(function(name, ...) return mp[name](...) end)
    end,
}

-- A test of both forms, which has a function call(name, ...); `what` begins with the call's name.
function pools.both(what, test)
    for form, with in pairs(forms) do
        it(form .. what, function() with(test) end)
    end
end

-- Everything that the loop over an iterator gives: lists.
function pools.collected(call, name, ...)
    local list = {}
    for i, a, b, c in call(name, ...) do list[#list + 1] = { i, a, b, c } end
    return list
end

-- Everything that is in the queue.
function pools.drained(q)
    local list = {}
    for value in function() return (q:get(0)) end do list[#list + 1] = value end
    return list
end

function pools.numbers(n)
    local list = {}
    for i = 1, n do list[i] = i end
    return list
end

-- Calls f, which must fail with an error object that has these fields.
function pools.failure(fields, f, ...)
    local e = helper.fails(fields, f, ...)
    busted.assert.is_true(mp.is_error(e))
    return e
end

-- The processes of the pool's workers.
function pools.pids_of(pool)
    local pids = {}
    for i, w in ipairs(pool:stats().workers) do pids[i] = w.pid end
    return pids
end

-- Waits until that process has ended.
function pools.await_end(pid)
    helper.wait_until(function() return not helper.alive(pid) end, "the end of process " .. pid)
end

return pools
