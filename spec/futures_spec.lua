-- futures_spec.lua: waits for several futures of pools.
local helper = require "spec.helper"
local pools = require "spec.pools"
local mp = require "luamp"

local misuse = helper.misuse
local with_pool, failure = pools.with, pools.failure

local function square(x) return x * x end

local function fail(word) error(word, 0) end

-- A task that says that it runs, by its process, and waits to be let go.
local function held(begun, gate, result)
    begun:put(mp.getpid())
    gate:get()
    return result
end

describe("several futures:", function()
    it("mp.as_completed gives each once, as they end", function()
        helper.needs_one_host "shares a queue with its tasks"
        with_pool(2, function(pool)
            local begun, gate = mp.queue(), mp.queue()
            local slow = pool:submit(held, begun, gate, "slow")
            begun:get()
            local futures, seen = { slow }, {}
            for i = 2, 5 do futures[i] = pool:submit(square, i) end
            for fut in mp.as_completed(futures) do
                seen[#seen + 1] = fut:result()
                if #seen == 4 then gate:put(true) end
            end
            assert.equal("slow", table.remove(seen))
            table.sort(seen)
            assert.same({ 4, 9, 16, 25 }, seen)
            for _ in mp.as_completed {} do error "there is none" end
        end)
    end)

    it("mp.as_completed raises kind pending when time ends first", function()
        with_pool(2, function(pool)
            local slow, fast = pool:submit(mp.sleep, 60), pool:submit(square, 1)
            local seen = {}
            failure({ kind = "pending" }, function()
                for fut in mp.as_completed({ slow, fast }, 0.5) do seen[#seen + 1] = fut end
            end)
            assert.same({ 1, true }, { #seen, seen[1] == fast })
            slow:cancel()
        end)
    end)

    it("mp.wait gives those that have ended, in the order of the list", function()
        with_pool(2, function(pool)
            local a, b, c = pool:submit(mp.sleep, 60), pool:submit(fail, "x"), pool:submit(square, 1)
            assert.same({}, mp.wait({ a }, 0.02))
            assert.same({}, mp.wait({ a }, 0))
            local ready = mp.wait { a, b, c }
            assert.is_true(#ready >= 1)
            b:wait()
            c:wait()
            ready = mp.wait { a, c, b }
            assert.is_true(#ready == 2 and ready[1] == c and ready[2] == b)
            a:cancel()
            assert.is_true(mp.wait({ a }, 0)[1] == a)
            assert.is_nil((b.error or {}).none)
        end)
    end)

    it("mp.wait takes them together with other things", function()
        helper.needs_one_host "shares a queue with its tasks"
        with_pool(2, function(pool)
            local q, begun, gate = mp.queue(), mp.queue(), mp.queue()
            local fut = pool:submit(held, begun, gate)
            begun:get()
            assert.same({}, mp.wait({ q, fut }, 0.02))
            q:put(1)
            assert.is_true(mp.wait { q, fut }[1] == q and #mp.wait { fut, q } == 1)
            q:get()
            gate:put(true)
            assert.is_true(mp.wait({ q, fut }, 20)[1] == fut)
            q:put(2)
            assert.equal(2, #mp.wait { fut, q })
            local p <close> = mp.process { target = mp.sleep, args = { 60 } }:start()
            local other = pool:submit(mp.sleep, 0.02)
            assert.is_true(mp.wait({ p, other }, 20)[1] == other)
            p:kill()
        end)
    end)

    it("mp.all gives first results in the order of the list", function()
        helper.needs_one_host "shares a queue with its tasks"
        with_pool(2, function(pool)
            local begun, gate = mp.queue(), mp.queue()
            local a, b, c = pool:submit(held, begun, gate, "a"), pool:submit(square, 2), pool:submit(function() end)
            begun:get()
            failure({ kind = "pending" }, mp.all, { a, b }, 0.05)
            gate:put(true)
            assert.same({ "a", 4 }, mp.all { a, b })
            assert.same({ "a", nil, 4, n = 3 }, mp.all { a, c, b })
            assert.same({}, mp.all {})
        end)
    end)

    it("mp.all looks at each once, however often one ends", function()
        helper.needs_one_host "counts what the pool of one host costs"
        pools.with(2, function(pool)
            local futures, n = {}, 0
            for i = 1, 1000 do futures[i] = pool:submit(function() mp.sleep(0.0005) end) end
            debug.sethook(function() n = n + 100 end, "", 100) -- of Lua's instructions
            local ok, e = pcall(mp.all, futures)
            debug.sethook()
            assert.is_true(ok, e)
            assert.is_true(n < 1e6, n)
        end)
    end)

    it("mp.as_completed looks at few for each that ends", function()
        helper.needs_one_host "counts what the pool of one host costs"
        pools.with(2, function(pool)
            local futures, n, seen = {}, 0, 0
            for i = 1, 1000 do futures[i] = pool:submit(function() mp.sleep(0.0005) end) end
            debug.sethook(function() n = n + 100 end, "", 100) -- of Lua's instructions
            local ok, e = pcall(function()
                for _ in mp.as_completed(futures) do seen = seen + 1 end
            end)
            debug.sethook()
            assert.is_true(ok, e)
            assert.equal(1000, seen)
            assert.is_true(n < 1e6, n)
        end)
    end)

    it("one future in the place of a list is misuse", function()
        with_pool(1, function(pool)
            local fut = pool:submit(square, 2)
            misuse("mp.all: expected a list of futures", function() mp.all(fut) end)
            misuse("mp.as_completed: expected a list of futures", function() mp.as_completed(fut) end)
            misuse("mp.wait: expected a list", function() mp.wait(fut, 0.1) end)
            assert.equal(4, fut:result())
        end)
    end)

    it("mp.all raises the first failure, without waiting for the others", function()
        with_pool(2, function(pool)
            local slow, t = pool:submit(mp.sleep, 60), mp.clock()
            failure({ message = "bad" }, mp.all, { slow, pool:submit(fail, "bad") })
            assert.is_true(mp.clock() - t < 30)
            slow:cancel()
            failure({ kind = "cancelled" }, mp.all, { slow })
        end)
    end)

    it("may be of several pools", function()
        with_pool(1, function(one)
            with_pool(1, function(two)
                assert.same({ 1, 4, 9 }, mp.all { one:submit(square, 1), two:submit(square, 2), one:submit(square, 3) })
                local slow, n = one:submit(mp.sleep, 60), 0
                assert.equal(1, #mp.wait { slow, two:submit(square, 2) })
                for fut in mp.as_completed { two:submit(square, 2), one:submit(square, 3), slow } do
                    n = n + 1
                    if n == 1 then
                        assert.equal(4, fut:result())
                        slow:cancel()
                    end
                end
                assert.equal(3, n)
            end)
        end)
    end)

    it("misuse is told", function()
        misuse("mp.all: expected a list of futures, not nothing", function() mp.all() end)
        misuse("mp.all: item 1 is 5, and no future", function() mp.all { 5 } end)
        misuse("mp.as_completed: item 1 is a table, and no future", function() mp.as_completed { {} } end)
        misuse("mp.as_completed: the timeout", function() mp.as_completed({}, "long") end)
    end)
end)
