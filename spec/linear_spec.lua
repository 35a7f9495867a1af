-- linear_spec.lua: histories of dicts, lists and queues among processes are linearizable: each call
-- happens at one moment between its begin and its end.
local helper = require "spec.helper"
local linear = require "spec.linear"
local mp = require "luamp"

local function call(began, ended, op, arg, result)
    return { began = began, ended = ended, op = op, arg = arg, result = result }
end

describe("the checker", function()
    it("takes what is in order, and what can be put in one", function()
        assert.is_true(linear.check({}, linear.key))
        assert.is_true(linear.check({ call(1, 2, "set", 1), call(3, 4, "get", nil, 1), call(5, 6, "remove", nil, 1),
            call(7, 8, "get"), call(9, 10, "add", 2, 2) }, linear.key))
        assert.is_true(linear.check({ call(1, 10, "set", 1), call(2, 3, "get"),
            call(4, 5, "get", nil, 1) }, linear.key))
        assert.is_true(linear.check({ call(1, 10, "set", 1), call(1, 10, "set", 2), call(2, 3, "get", nil, 2),
            call(4, 5, "get", nil, 1) }, linear.key))
        assert.is_true(linear.check({ call(1, 5, "put", 1), call(1, 5, "put", 2), call(2, 6, "get", nil, 2),
            call(7, 8, "get", nil, 1), call(9, 10, "get") }, linear.queue))
        assert.is_true(linear.check({ call(1, 2, "put", 1), call(3, 4, "put", 12), call(5, 6, "pop", nil, 12),
            call(7, 8, "get", nil, 1), call(9, 10, "pop") }, linear.list))
    end)

    it("refuses a history that is not linearizable", function()
        for name, history in pairs {
            ["a read of what was replaced"] = { call(1, 2, "set", 1), call(3, 4, "set", 2), call(5, 6, "get", nil, 1) },
            ["a write that is not seen"] = { call(1, 2, "set", 1), call(3, 4, "get") },
            ["a lost addition"] = { call(1, 5, "add", 1, 1), call(2, 6, "add", 1, 1) },
            ["a value from nowhere"] = { call(1, 2, "get", nil, 5) },
            ["a new value and then the old one"] = { call(1, 2, "set", 1), call(3, 20, "set", 2),
                call(4, 5, "get", nil, 2),
                call(6, 7, "get", nil, 1) },
            ["a value that is removed twice"] = { call(1, 2, "set", 1), call(3, 8, "remove", nil, 1),
                call(3, 8, "remove", nil, 1) },
        } do
            assert.is_false(linear.check(history, linear.key), name)
        end
        for name, history in pairs {
            ["the second before the first"] = { call(1, 2, "put", 1), call(3, 4, "put", 2), call(5, 6, "get", nil, 2) },
            ["an item twice"] = { call(1, 2, "put", 1), call(3, 6, "get", nil, 1), call(4, 7, "get", nil, 1) },
            ["nothing where there is an item"] = { call(1, 2, "put", 1), call(3, 4, "get") },
            ["an item before it was put"] = { call(1, 2, "get", nil, 1), call(3, 4, "put", 1) },
        } do
            assert.is_false(linear.check(history, linear.queue), name)
            assert.is_false(linear.check(history, linear.list), name)
        end
        assert.is_false(linear.check({ call(1, 2, "put", 1), call(3, 4, "put", 2), call(5, 6, "pop", nil, 1) },
            linear.list))
    end)

    it("refuses what an addition of two steps can do, recorded from two processes", function()
        local d, turns, back = mp.dict(), mp.queue(), mp.queue()
        local p <close> = helper.started(function(given, from, to)
            from:get()
            local began = mp.clock()
            given:set("k", (given:get "k" or 0) + 1)
            local one = { began = began, ended = mp.clock(), op = "add", arg = 1, result = 1 }
            to:put "done"
            return one
        end, d, turns, back)
        local began = mp.clock()
        local old = d:get "k" or 0
        turns:put "go"
        back:get()
        d:set("k", old + 1)
        local mine = { began = began, ended = mp.clock(), op = "add", arg = 1, result = old + 1 }
        assert.is_false(linear.check({ mine, p:result() }, linear.key))
    end)
end)

local n_processes = 4

-- The calls of some processes that begin together, each n of what `act` chooses.
local function record(object, act, n)
    local gate, processes, history = mp.queue(), {}, {}
    for i = 1, n_processes do
        processes[i] = helper.started(function(o, from, number)
            math.randomseed(number * 7919 + os.time())
            local calls = {}
            from:get()
            for k = 1, n do
                local one = act(o, number * 1000000 + k)
                calls[k] = one
            end
            return calls
        end, object, gate, i)
    end
    for _ = 1, n_processes do gate:put "go" end
    for _, p in ipairs(processes) do
        table.move(p:result(), 1, n, #history + 1, history)
        p:close()
    end
    return history
end

local function assert_linear(history, model, what)
    local ok, longest = linear.check(history, model)
    if not ok then
        table.sort(history, function(a, b) return a.began < b.began end)
        local lines = {}
        for i = math.max(1, longest - 10), math.min(#history, longest + 10) do
            local c = history[i]
            lines[#lines + 1] = ("%.9f to %.9f: %s(%s) -> %s"):format(c.began, c.ended, c.op, c.arg, c.result)
        end
        error(("%s: no order of %d calls, the longest one has %d\n%s"):format(what, #history, longest,
            table.concat(lines, "\n")), 0)
    end
end

local rounds, calls = helper.sanitized and 3 or 10, 50 -- where many overlap, orders are many

describe("a history", function()
    local function dict_act(d, unique)
        local key, act = "key" .. math.random(3), math.random(6)
        local op, arg, result
        local began = mp.clock()
        if act == 1 then
            op, arg = "set", unique
            d:set(key, unique)
        elseif act == 2 then
            op, result = "remove", d:remove(key)
        elseif act == 3 then
            op, arg, result = "add", 3, d:add(key, 3)
        elseif act == 4 then
            op, arg, result = "add", 5, d:update(key, function(v) return (v or 0) + 5 end)
        elseif act == 5 then
            op = "get"
            for k, v in pairs(d) do if k == key then result = v end end
        else
            op, result = "get", d:get(key)
        end
        return { began = began, ended = mp.clock(), op = op, arg = arg, result = result, key = key }
    end

    for name, make in pairs { dict = mp.dict, cache = function() return mp.cache(100) end } do
        it("of each key of a " .. name .. " is linearizable", function()
            for _ = 1, rounds do
                local by_key = {}
                for _, c in ipairs(record(make(), dict_act, calls)) do
                    by_key[c.key] = by_key[c.key] or {}
                    table.insert(by_key[c.key], c)
                end
                for key, history in pairs(by_key) do assert_linear(history, linear.key, key) end
            end
        end)
    end

    it("of a queue is linearizable", function()
        for _ = 1, rounds do
            assert_linear(record(mp.queue(), function(q, unique)
                local began = mp.clock()
                if math.random(2) == 1 then
                    q:put(unique)
                    return { began = began, ended = mp.clock(), op = "put", arg = unique }
                end
                local result = q:get(0)
                return { began = began, ended = mp.clock(), op = "get", result = result }
            end, calls), linear.queue, "queue")
        end
    end)

    it("of a list is linearizable", function()
        for _ = 1, rounds do
            assert_linear(record(mp.list(), function(l, unique)
                local began = mp.clock()
                local act = math.random(4)
                local op, result
                if act <= 2 then
                    l:insert(unique)
                    return { began = began, ended = mp.clock(), op = "put", arg = unique }
                elseif act == 3 then
                    op, result = "pop", l:remove()
                else
                    op = "get"
                    local ok, v = pcall(l.remove, l, 1)
                    result = ok and v or nil
                end
                return { began = began, ended = mp.clock(), op = op, result = result }
            end, calls), linear.list, "list")
        end
    end)
end)
