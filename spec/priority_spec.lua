-- priority_spec.lua: mp.priority_queue: what differs from mp.queue, which queue_spec tells.
local helper = require "spec.helper"
local mp = require "luamp"

local misuse, started = helper.misuse, helper.started

local function drained(q)
    local list = {}
    for value in function() return (q:get(0)) end do list[#list + 1] = value end
    return list
end

describe("a priority queue", function()
    it("gives the lowest first", function()
        local q = mp.priority_queue()
        for _, n in ipairs { 3, 1.5, -2, 10, 0 } do assert.is_true(q:put(n, n)) end
        assert.same({ -2, 0, 1.5, 3, 10 }, drained(q))
    end)

    it("gives those of one priority in the order in which they came", function()
        local q = mp.priority_queue()
        for i = 1, 300 do q:put(i, i % 3 // 1) end
        local list = drained(q)
        assert.equal(300, #list)
        for i = 2, 300 do
            local a, b = list[i - 1], list[i]
            assert.is_true(a % 3 < b % 3 or (a % 3 == b % 3 and a < b))
        end
    end)

    it("takes any number but NaN", function()
        local q = mp.priority_queue()
        q:put("last", math.huge)
        q:put("first", -math.huge)
        q:put("least", math.mininteger)
        q:put("most", math.maxinteger)
        q:put("zero", -0.0)
        q:put("zero again", 0)
        assert.same({ "first", "least", "zero", "zero again", "most", "last" }, drained(q))
        misuse("mp.priority_queue: put: the priority is not a number (NaN)", function() q:put(1, 0 / 0) end)
        misuse("mp.priority_queue: put: the priority must be a number, not no value", function() q:put(1) end)
        misuse("mp.priority_queue: put: the priority must be a number, not nil", function() q:put(1, nil, 5) end)
        misuse("mp.priority_queue: put: the priority must be a number, not string", function() q:put(1, "1") end)
        misuse("mp.priority_queue: put: nil is no item", function() q:put(nil, 1) end)
        assert.equal(0, #q)
    end)

    it("has the options of a queue", function()
        local q = mp.priority_queue { maxsize = 2, maxbytes = "1M" }
        q:put("b", 2)
        q:put("c", 3)
        assert.same({ nil, "timeout" }, { q:put("a", 1, 0) })
        assert.same({ nil, "timeout" }, { q:put("a", 1, 0.01) })
        assert.same({ 2, true, false }, { #q, q:is_full(), q:is_empty() })
        assert.equal("b", (q:get()))
        assert.is_true(q:put("a", 1, 0))
        assert.matches("^mp%.priority_queue: 0x%x+ %(2/2%)$", tostring(q))
        assert.same({ "a", "c" }, drained(q))
        assert.is_true(mp.priority_queue(1):put("x", 0))
        misuse("mp.priority_queue: unknown option 'maxsiz' (did you mean 'maxsize'?)",
            function() mp.priority_queue { maxsiz = 1 } end)
        misuse("mp.priority_queue: option 'maxsize' must be an integer from 1 on, not 0",
            function() mp.priority_queue { maxsize = 0 } end)
    end)

    it("is bounded by bytes", function()
        local q = mp.priority_queue { maxbytes = 5000 }
        q:put(("x"):rep(9000), 5) -- it is empty: a larger one may go in
        assert.same({ nil, "timeout" }, { q:put("a", 1, 0) })
        q:get()
        assert.is_true(q:put(("x"):rep(3000), 2, 0))
        assert.same({ nil, "timeout" }, { q:put(("y"):rep(3000), 1, 0) })
        assert.is_true(q:put("a", 1, 0))
        assert.equal("a", (q:get()))
    end)

    it("has the other methods, too", function()
        local q = mp.priority_queue()
        for i = 5, 1, -1 do q:put(i, i) end
        assert.same({ 1, 2, 3 }, { q:get(), table.unpack(q:get_many(1)), (q:get()) })
        assert.same({ nil, "timeout" }, { q:join(0) })
        for _ = 1, 3 do q:task_done() end
        misuse("mp.priority_queue: task_done: called more often than items were taken", function() q:task_done() end)
        misuse("mp.priority_queue: put_many: each item needs a priority of its own", function() q:put_many { 1 } end)
        misuse("mp.priority_queue: get: the timeout is not a number (NaN)", function() q:get(0 / 0) end)
        q:close()
        local list = {}
        for value in q:iter() do list[#list + 1] = value end
        assert.same({ 4, 5 }, list)
        helper.fails({ kind = "closed", message = "mp.priority_queue: put: it is closed" }, q.put, q, 1, 1)
        assert.same({ nil, "closed" }, { q:get() })
        helper.fails({ kind = "unsendable" }, mp.priority_queue().put, mp.priority_queue(), io.stdout, 1)
    end)

    it("get_many gives them in order", function()
        local q, all = mp.priority_queue(), {}
        for i = 1, 200 do q:put(i, -i) end
        while not q:is_empty() do
            local list = q:get_many(7)
            assert.is_true(#list <= 7)
            table.move(list, 1, #list, #all + 1, all)
        end
        for i = 1, 200 do assert.equal(201 - i, all[i]) end
    end)

    it("gives its memory back", function()
        do
            local q = mp.priority_queue()
            for i = 1, 1000 do q:put(("x"):rep(i * 10), i % 17) end
            for _ = 1, 500 do q:get() end
        end
        helper.wait_until(function()
            collectgarbage()
            return mp.memory().kinds.queues.count == 0
        end, "the end of the queue")
        assert.equal(0, mp.memory().used)
    end)
end)

-- What a queue ought to give: a list in the order of priority and arrival.
local function model()
    local list, serial = {}, 0
    return {
        put = function(value, priority)
            serial = serial + 1
            local at = #list + 1
            while at > 1 and list[at - 1].priority > priority do at = at - 1 end
            table.insert(list, at, { value = value, priority = priority, serial = serial })
        end,
        get = function() return list[1] and table.remove(list, 1).value end,
        len = function() return #list end,
    }
end

describe("any order of puts and gets", function()
    local rounds = math.tointeger(tonumber(os.getenv "LUAMP_ROUNDS")) or 60
    local seed = os.time() ~ mp.getpid()

    it("gives what a sorted list would; seed " .. seed, function()
        math.randomseed(seed)
        for _ = 1, rounds do
            local q, m = mp.priority_queue(), model()
            local spread, growth = 3 ^ math.random(0, 6) // 1, math.random()
            for step = 1, 200 do
                if math.random() < growth then
                    local priority = math.random(-spread, spread) / math.random(1, 2)
                    q:put(step, priority)
                    m.put(step, priority)
                else
                    assert.equal(m.get(), (q:get(0)), "seed " .. seed)
                end
                assert.equal(m.len(), #q)
            end
            for _ = 1, m.len() do assert.equal(m.get(), (q:get(0)), "seed " .. seed) end
        end
    end)
end)

describe("between processes a priority queue", function()
    it("loses and doubles nothing, and gives each getter what is lowest", function()
        local q, results, processes = mp.priority_queue(50), mp.queue(), {}
        for putter = 1, 4 do
            processes[putter] = started(function()
                for i = 1, 250 do q:put({ putter, i, ("x"):rep(i) }, i) end
            end)
        end
        for _ = 1, 4 do
            processes[#processes + 1] = started(function()
                for item in q:iter() do results:put(item[1] * 1000 + item[2] + (#item[3] == item[2] and 0 or 0.5)) end
            end)
        end
        for i = 1, 4 do processes[i]:result() end
        q:close()
        local seen, n = {}, 0
        for i = 5, 8 do processes[i]:result() end
        for number in function() return (results:get(0)) end do
            assert.is_nil(seen[number])
            assert.is_true(math.type(number) == "integer")
            seen[number], n = true, n + 1
        end
        assert.same({ 1000, 0 }, { n, #q })
        for _, p in ipairs(processes) do p:close() end
    end)

    it("travels, and keeps its order for who drains it", function()
        local q = helper.result_of(function()
            local made = mp.priority_queue()
            for i = 10, 1, -1 do made:put(i, i) end
            return made
        end)
        assert.matches("^mp%.priority_queue", tostring(q))
        assert.same({ 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 }, drained(q))
    end)

    it("wakes a getter for an item, and a putter for room", function()
        local q, told = mp.priority_queue(1), mp.queue()
        local p <close> = started(function()
            told:put "here"
            local first = q:get()
            told:put "got it"
            q:put("second", 1)
            return first, q:put("third", 0)
        end)
        told:get()
        q:put("first", 5)
        told:get()
        assert.same({ "second", "third" }, { q:get(), (q:get()) })
        assert.same({ "first", true }, { p:result() })
    end)

    it("goes on when a process was killed that used it", function()
        local q, told = mp.priority_queue(), mp.queue()
        local p <close> = started(function()
            for i = 1, 1000 do q:put(i, -i) end
            told:put(q:get())
            mp.sleep(60)
        end)
        assert.equal(1000, (told:get()))
        p:kill()
        p:join()
        assert.same({ nil, "timeout" }, { q:join(0) })
        for i = 999, 1, -1 do
            assert.equal(i, (q:get(0)))
            q:task_done()
        end
        assert.same({ true, "abandoned" }, { q:join(0) })
    end)
end)

it("integers and floats beyond 2^53 keep their order", function()
    local q = mp.priority_queue()
    local big = (1 << 53)
    for _, priority in ipairs { big + 2, big + 1, big, big + 0.0, math.maxinteger, math.maxinteger - 1, 2.0 ^ 63 } do
        q:put(("%s"):format(priority), priority)
    end
    local got = {}
    for i = 1, #q do got[i] = q:get() end
    assert.same({ "9007199254740992", "9.007199254741e+15", "9007199254740993", "9007199254740994",
        "9223372036854775806", "9223372036854775807", "9.2233720368548e+18" }, got)
end)
