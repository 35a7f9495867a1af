-- pool_left_spec.lua: calls of a pool that end before all their results were taken: by a failing input, by
-- cancelling, by a loop that is left, and by an iterator that nobody has any more.
local helper = require "spec.helper"
local pools = require "spec.pools"
local mp = require "luamp"

local with_pool, numbers, failure = pools.with, pools.numbers, pools.failure

local function same(x) return x end

-- Numbers as the input of a call, which raises after n of them.
local function broken_after(n, e)
    local i = 0
    return function()
        i = i + 1
        if i > n then error(e, 0) end
        return i
    end
end

describe("an input that raises", function()
    it("is the failure of the future of map_async, and of no other wait", function()
        with_pool(2, function(pool)
            for _, on_error in ipairs { "stop", "collect" } do
                local fut = pool:map_async(same, broken_after(10, "it broke"), { window = 4, on_error = on_error })
                local other = pool:submit(mp.sleep, 0.05)
                assert.is_true(other:wait())
                local e = failure({ kind = "error", message = "it broke" }, fut.result, fut)
                assert.equal("it broke", e.value)
            end
            local fut = pool:map_async(same, broken_after(0, nil))
            failure({ message = "nil" }, fut.result, fut)
        end)
    end)

    it("is a list's, too, and no other call has it", function()
        helper.needs_one_host "shares a queue with its tasks"
        local function broken(e)
            return setmetatable({ n = 1000 }, { __index = function(_, i)
                if i == 30 then error(e, 0) end
                return i
            end })
        end
        with_pool(2, function(pool)
            for _, options in ipairs { { chunksize = 1 }, { window = 8 }, {} } do
                local counts = mp.queue()
                local function count(i) counts:put(i) end
                local fut = pool:map_async(count, broken "it broke", options)
                assert.equal(7, pool:apply(math.abs, -7))
                failure({ kind = "error", message = "it broke" }, fut.result, fut)
                helper.fails("it broke", pool.each, pool, count, broken "it broke", options)
                helper.fails("it broke", pool.reduce, pool, same, broken "it broke", 0, nil, options)
                local seen = {}
                for i in function() return (counts:get(0)) end do seen[i] = (seen[i] or 0) + 1 end
                for i, n in pairs(seen) do assert.is_true(n <= 2, i .. " came too often") end
            end
        end)
    end)

    it("is raised by its own loop, after what came before, and not by another one", function()
        with_pool(2, function(pool)
            local e = { code = 7 }
            local other, last = pool:imap(same, broken_after(3, e)), 0
            assert.same(numbers(100), pool:map(same, mp.range(1, 100)))
            local ok, raised = pcall(function()
                for i in other do last = i end
            end)
            assert.same({ false, true }, { ok, rawequal(e, raised) })
            assert.is_true(last <= 3)
        end)
    end)
end)

describe("a map_async of which nothing runs", function()
    it("is cancelled, and never done", function()
        helper.needs_one_host "shares a queue with its tasks"
        with_pool(1, function(pool)
            local begun, gate, seen = mp.queue(), mp.queue(), {}
            local before = pool:submit(function() begun:put(true) gate:get() end)
            begun:get()
            for _, on_error in ipairs { "stop", "collect" } do
                local fut = pool:map_async(same, { 1, 2, 3 }, { on_error = on_error })
                fut:on_done(function(f) seen[#seen + 1] = f:is_cancelled() and f.error.kind end)
                assert.same({ true, true, true, false },
                    { fut:cancel(), fut:is_cancelled(), fut:is_done(), fut:cancel() })
                failure({ kind = "cancelled" }, fut.result, fut)
            end
            assert.same({ "cancelled", "cancelled" }, seen)
            gate:put(true)
            before:result()
        end)
    end)
end)

describe("an iterator", function()
    for _, holder in ipairs { "local", "global" } do
        it("in a " .. holder .. " variable that is not used up keeps nobody at the script's end", function()
            local r = helper.script_run((holder == "local" and "local it\n" or "") .. [[
                local pool = mp.pool(2)
                it = pool:imap(function(x) return x end, mp.range(1, 1000))
                it()
                print(it())]])
            assert.same({ 0, "2\t2\n", "" }, { r.status, r.stdout, r.stderr })
        end)
    end

    for _, name in ipairs { "imap", "imap_unordered" } do
        it("of " .. name .. " in a coroutine that nobody has any more ends with it", function()
            with_pool(2, function(pool)
                local held = { coroutine.wrap(function()
                    for i in pool[name](pool, same, mp.range(1, 1000)) do coroutine.yield(i) end
                end) }
                assert.is_truthy(held[1]())
                assert.is_true(pool:stats().queued > 0)
                held[1] = nil
                collectgarbage()
                collectgarbage()
                helper.wait_until(function() return pool:stats().queued == 0 end, "the end of the call")
                assert.same({ 1, 2 }, pool:map(same, { 1, 2 }))
            end)
        end)
    end

    it("whose pool is joined gives what had come, and then says so", function()
        local pool <close> = mp.pool(2)
        local short = pool:imap(same, { 1, 2 }, { window = 2 })
        local long = pool:imap(same, mp.range(1, 1000), { window = 5 })
        pool:close()
        assert.is_true(pool:join(30))
        assert.same({ { 1, 1 }, { 2, 2 } }, { { short() }, { short() } })
        assert.is_nil(short())
        for i = 1, 5 do assert.equal(i, (long())) end
        failure({ kind = "cancelled", message = "pool:imap: the pool has ended before its results were taken" }, long)
    end)

    it("over a queue that nobody closes keeps nobody who joins its pool, once that is empty", function()
        helper.needs_one_host "shares a queue with its tasks"
        with_pool(2, function(pool)
            local q <close> = mp.queue()
            q:put(3)
            local it = pool:imap(function(x) return x * x end, q, { window = 100 })
            assert.same({ 1, 9 }, { it() })
            local fut = pool:submit(function() -- what puts still is waited for
                mp.sleep(0.2)
                q:put(4)
            end)
            pool:close()
            assert.is_true(pool:join(20))
            assert.is_true(fut:is_done())
            assert.same({ 2, 16 }, { it() })
            failure({ kind = "cancelled", message = "pool:imap: the pool has ended before its results were taken" }, it)
        end)
    end)

    it("whose pool is terminated says so", function()
        local pool <close> = mp.pool(1)
        local step = pool:imap(same, mp.range(1, 1000))
        step()
        pool:terminate()
        failure({ kind = "cancelled" }, function() while step() do end end)
    end)

    it("that an error keeps from being returned, wherever that comes, is none that stays", function()
        with_pool(1, function(pool)
            local n, is_through = 0, false
            repeat
                n = n + 1
                local ok, e = pcall(function()
                    debug.sethook(function()
                        debug.sethook()
                        error("now", 0)
                    end, "", n)
                    pool:imap(same, mp.range(1, 1000))
                    debug.sethook()
                    is_through = true
                end)
                assert.is_true(ok or e == "now", e)
            until is_through
            assert.is_true(n > 50)
            collectgarbage()
            collectgarbage()
            pool:stats()
            assert.equal(0, pool:stats().queued)
        end)
    end)

    it("is its process's own", function()
        with_pool(1, function(pool)
            local step = pool:imap(same, mp.range(1, 10))
            step()
            local child <close> = mp.process { start_method = "fork", target = function()
                return select(2, pcall(step))
            end }:start()
            assert.matches("the pool belongs to process " .. mp.getpid() .. ", which alone can use it", child:result())
            assert.same({ 2, 2 }, { step() })
        end)
    end)
end)

describe("after a failure", function()
    for _, name in ipairs { "imap", "imap_unordered" } do
        for _, n in ipairs { 1, 2 } do
            it(("%s of %d results gives such as came, or nothing"):format(name, n), function()
                helper.needs_one_host "relies on what its worker takes by itself"
                with_pool(1, function(pool)
                    local begun, seen, till = helper.script "", {}, os.time() + 30
                    local step = pool[name](pool, function(x)
                        local file <close> = io.open(begun, "a")
                        file:write(x)
                        if x == 2 then error("two", 0) end
                        return table.unpack({ 10 * x, x }, 1, n)
                    end, mp.range(1, 4), { chunksize = 1, window = 4 })
                    assert.equal(1, (step()))
                    -- So 3 has ended; nothing of that was taken in here, for that is no wait of luamp.
                    repeat until helper.read(begun):find "4" or os.time() > till
                    failure({ message = "two", task = 2 }, function()
                        for i, a, b in step do seen[#seen + 1] = { i, a, b } end
                    end)
                    if name == "imap" then return assert.same({}, seen) end
                    assert.is_true(#seen == 1 or #seen == 2)
                    for i, values in ipairs(seen) do
                        assert.same({ i + 2, 10 * (i + 2), n == 2 and i + 2 or nil }, values)
                    end
                end)
            end)
        end
    end

    it("one whose result cannot be had here is given out once", function()
        with_pool(1, function(pool)
            local seen = {}
            for i, value, e in pool:imap_unordered(function()
                local here = mp.getpid()
                return setmetatable({}, { __mp_send = function()
                    return function() return mp.getpid() == here or error("not here", 0) end
                end })
            end, { 1, 2 }, { on_error = "collect" }) do
                seen[i] = { value, mp.is_error(e) and e.kind }
            end
            assert.same({ { nil, "unsendable" }, { nil, "unsendable" } }, seen)
        end)
    end)
end)
