-- queue_memory_spec.lua: the memory of queues and pipes: what is dropped comes back, and where
-- there is none the caller is told, and the queue is as good as before.
local helper = require "spec.helper"

-- Runs a script in a family of its own; what it prints.
local function printed(text, before)
    local result = helper.script_run(text, before)
    assert.same({ 0, "" }, { result.status, result.stderr })
    return result.stdout
end

-- A sanitizer needs the addresses for itself, and takes a tenth of the rounds.
local rounds = helper.sanitized and 100000 or 1000000

describe("memory", function()
    it("stays flat over a million queues made and dropped", function()
        local flat = printed(([[
            local most, heap = 0, 0
            for i = 1, %d do
                local q = mp.queue()
                if i %% 4 == 0 then q:put(i) end
                if i %% 1000 == 0 then
                    most, heap = math.max(most, mp.memory().backed), math.max(heap, collectgarbage "count")
                end
            end
            collectgarbage()
            local now = mp.memory()
            print(most < 16 << 20, heap < 16 << 10, now.kinds.queues.count <= 1, now.kinds.handles.count <= 1)]])
            :format(rounds))
        assert.equal("true\ttrue\ttrue\ttrue\n", flat)
    end)

    it("stays flat over many that lie in other queues, and over pipes", function()
        local flat = printed(([[
            local most, box = 0, mp.queue()
            for i = 1, %d do
                local q = mp.queue()
                q:put("item")
                box:put { q, mp.pipe() }
                q = nil
                if box:get()[1]:get() ~= "item" then error "lost" end
                if i %% 1000 == 0 then most = math.max(most, mp.memory().backed) end
            end
            collectgarbage()
            print(most < 64 << 20, mp.memory().kinds.queues.count)]]):format(rounds // 20))
        assert.equal("true\t1\n", flat)
    end)

    -- Where 64, which are taken at once, end with a segment, what must be taken alone begins the next.
    it("of items is theirs until they are taken", function()
        assert.equal("whole\n", printed [[
            local at_once, numbers = 64, {}
            for n = 1, 1200 do -- more than a segment has
                numbers[n] = n
                local q, other = mp.queue(), mp.queue()
                q:put_many(numbers)
                q:put { alone = q, n = n }
                for _ = 1, n - at_once do q:get() end
                q:get_many(at_once + 1)
                for _ = 1, 4 do other:put(("y"):rep(15000)) end
                local item = q:get()
                if item.n ~= n or item.alone ~= q then error("item " .. n) end
            end
            print "whole"]])
    end)

    it("stays flat over a process that is given one queue after the other", function()
        local flat = printed [[
            local there, back, most = mp.queue(), mp.queue(), 0
            local p = mp.process(function()
                for q in there:iter() do
                    back:put(q:get())
                end
            end):start()
            for i = 1, 20000 do
                local q = mp.queue()
                q:put(i)
                there:put(q)
                assert(back:get() == i)
                if i % 1000 == 0 then most = math.max(most, mp.memory().backed) end
            end
            there:close()
            p:result()
            p:close()
            collectgarbage()
            print(most < 64 << 20, mp.memory().kinds.queues.count <= 3)]]
        assert.equal("true\ttrue\n", flat)
    end)

    it("stays flat over many large items, and over their queues with them in", function()
        local flat = printed [[
            local q, most = mp.queue(), 0
            local large = ("x"):rep(3 << 20)
            for i = 1, 300 do
                q:put(large)
                q:put(i)
                assert(#q:get() == #large and q:get() == i)
                most = math.max(most, mp.memory().backed)
            end
            for i = 1, 300 do
                mp.queue():put(large)
                most = math.max(most, mp.memory().backed)
                if i % 10 == 0 then collectgarbage() end
            end
            collectgarbage()
            print(most < 256 << 20, mp.memory().used < 1 << 20, mp.memory().kinds.messages.count)]]
        assert.equal("true\ttrue\t0\n", flat)
    end)

    it("comes back from a process that was killed with large items on their way", function()
        local flat = printed [[
            for i = 1, 8 do
                local q, told = mp.queue(1), mp.queue()
                q:put(1)
                local p = mp.process(function()
                    local item = ("x"):rep(64 << 20)
                    told:put "now"
                    q:put(item)
                end):start()
                told:get()
                mp.sleep(0.01 * i)
                p:kill()
                p:join()
                p:close()
                assert(q:get(0) == 1)
                assert(q:put(2, 1))
            end
            collectgarbage()
            print(mp.memory().used < 1 << 20, mp.memory().kinds.messages.count)]]
        assert.equal("true\t0\n", flat)
    end)

    it("of garbage is found when there is no other", function()
        assert.equal("true\t1048576\n", printed [[
            mp.memory { limit = "16M" }
            collectgarbage "stop"
            for i = 1, 1000 do
                mp.queue():put(("x"):rep(1 << 20))
                mp.pipe():send "x"
            end
            local q = mp.queue()
            print(q:put(("x"):rep(1 << 20)), #q:get())]])
    end)
end)

describe("mp.memory", function()
    it("says what there is, by kind, in bytes", function()
        assert.equal("0\t0\ntrue\ttrue\ttrue\n1\t2\t1\t1\ntrue\n", printed [[
            local m = mp.memory()
            print(m.used, m.kinds.queues.count)
            local q, a, b = mp.queue(), mp.pipe { duplex = false }
            q:put(("x"):rep(100000))
            local n = mp.memory()
            print(n.used > 100000, n.backed >= n.used, n.limit >= n.backed)
            local k = n.kinds
            print(k.messages.count, k.pipe_ends.count, k.queues.count - 1, mp.is_error(k) and 0 or 1)
            local sum = 0
            for _, kind in pairs(k) do sum = sum + kind.bytes end
            print(sum == n.used)]])
    end)

    it("misuse", function()
        local mp, misuse = require "luamp", helper.misuse
        misuse("mp.memory: expected a table of options, not 5", function() mp.memory(5) end)
        misuse("mp.memory: unknown option 'limits' (did you mean 'limit'?)", function() mp.memory { limits = 5 } end)
        local text = "mp.memory: option 'limit' must be a number of bytes from 1 on, or a text as \"512M\" (K, M, G, T)"
        misuse(text, function() mp.memory { limit = 0 } end)
        misuse(text, function() mp.memory { limit = "x" } end)
        misuse(text, function() mp.memory { limit = false } end)
    end)
end)

-- Fills a queue until it is refused; then it must be good, and whatever comes next.
local fill = [[
    local q, n = mp.queue(), 0
    local ok, e
    repeat
        ok, e = pcall(function() q:put(("x"):rep(1 << 19)) end)
        n = n + (ok and 1 or 0)
    until not ok or n == 2000
    print(e)
    print(n > 1, #q == n)
    print(pcall(function() mp.queue():put_many { ("y"):rep(1 << 20), ("y"):rep(1 << 20) } end))
    print(pcall(function() return mp.pipe():send(("y"):rep(1 << 20)) end))
    assert(#q:get() == 1 << 19)
    assert(#q:get() == 1 << 19)
    assert(q:put(("z"):rep(1 << 19)))
    local p = mp.process(function()
        local k = 0
        for item in function() return (q:get(0)) end do k = k + #item end
        return k
    end):start()
    print(p:result() == (n - 1) << 19, #q)
    for i = 1, n do q:put(("x"):rep(1 << 19)) end
    print(#q == n)
]]

local function expect(reason, text)
    local lines = {}
    for line in text:gmatch "[^\n]+" do lines[#lines + 1] = line end
    local function tells(line, where)
        assert.equal(where .. ": not enough memory to share" .. reason, (line or ""):match ":%d+: (.*)")
    end
    tells(lines[1], "mp.queue: put")
    assert.equal("true\ttrue", lines[2])
    tells(lines[3], "mp.queue: put_many")
    tells(lines[4], "mp.pipe: send")
    assert.same({ "true\t0", "true" }, { lines[5], lines[6] })
end

describe("where there is no more memory the caller is told, and the queue stays good:", function()
    it("by the family's own limit", function()
        expect(" (the family's own limit)", printed("mp.memory { limit = '64M' }" .. fill))
    end)

    it("by the family's own limit, in children and set by one", function()
        local text = "mp.queue: put: not enough memory to share (the family's own limit)"
        assert.equal("true\tfalse\t" .. text .. "\ntrue\n", printed [[
            local q = mp.queue()
            mp.process(function() mp.memory { limit = "8M" } end):start():join()
            local ok, e = mp.process(function()
                return pcall(function() q:put(("x"):rep(16 << 20)) end)
            end):start():result()
            print(mp.memory().limit == 8 << 20, ok, (e:gsub("^.-:%d+: ", "")))
            mp.memory { limit = "64M" }
            print(q:put(("x"):rep(16 << 20)))]])
    end)

    it("by the limit of file sizes", function()
        expect(" (the limit of file sizes, ulimit -f)", printed(fill, "ulimit -f 60000"))
    end)

    if not helper.sanitized then
        it("by the limit of addresses", function()
            expect("", printed(fill, "ulimit -v 500000"))
        end)

        it("from the first queue on, where not even one has room", function()
            local text = printed([[
                print(select(2, pcall(function() mp.queue() end)):match ":%d+: (.*)")
                print(select(2, pcall(function() mp.pipe() end)):match ":%d+: (.*)")
                print(mp.process(function() return "as ever" end):start():result())]], "ulimit -v 110000")
            assert.equal("mp.queue: not enough memory to share\nmp.pipe: not enough memory to share\nas ever\n", text)
        end)
    end

    it("in a file too small for the family's page, where memory has no file", function()
        assert.equal("true\t100\t1048576\n", printed([[
            local q = mp.queue()
            local p = mp.process(function() for _ = 1, 100 do q:put(("x"):rep(1 << 20)) end return true end):start()
            print(p:result(), #q, #q:get())]], "ulimit -f 100"))
    end)
end)

it("a message that finds no memory for a handle in it leaves all as it was", function()
    local result = helper.script_run [[
        local q = mp.queue()
        for _ = 1, 3 do
            mp.memory { limit = "3M" }
            local n = 0
            while pcall(q.put, q, { q }) do n = n + 1 end
            for _ = 1, n do assert(q:get()[1] == q) end
            mp.memory { limit = "64M" }
        end
        local list = {}
        for i = 1, 20000 do list[i] = mp.queue() end
        for i = 1, 20000 do list[i]:put(i) end
        for i = 1, 20000 do assert(list[i]:get() == i) end
        list = nil
        collectgarbage()
        print(#q, mp.memory().kinds.queues.count, mp.memory().kinds.messages.count)]]
    assert.same({ 0, "0\t1\t0\n", "" }, { result.status, result.stdout, result.stderr })
end)
