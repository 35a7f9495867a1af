-- shared_property_spec.lua: dicts and lists do what plain tables do, over many random calls.
-- LUAMP_SPEC_SEED, which is printed when it fails, makes the same calls again.
local helper = require "spec.helper"
local mp = require "luamp"

local seed = math.tointeger(tonumber(os.getenv "LUAMP_SPEC_SEED" or os.time()))
local random = math.random
local calls = helper.sanitized and 2000 or 20000

local function random_value()
    local kind = random(7)
    if kind == 1 then return random(0) end
    if kind == 2 then return random() * 2 ^ random(-50, 70) end
    if kind == 3 then return random(2) == 1 end
    if kind == 4 then return ("s"):rep(random(0, 80)) .. random(100) end
    if kind == 5 then return ("l"):rep(math.floor(2 ^ (random() * 14))) end
    if kind == 6 then return { random(100), { random(100) }, a = ("t"):rep(random(100)) } end
    return random(-10, 10)
end

local function random_key()
    local kind = random(5)
    if kind == 1 then return random(30) end
    if kind == 2 then return random(30) + 0.0 end
    if kind == 3 then return random(30) / 4 end
    if kind == 4 then return random(2) == 1 end
    return "key" .. random(30)
end

local function contents(object)
    local all = {}
    for k, v in pairs(object) do all[k] = v end
    return all
end

local function size(t)
    local n = 0
    for _ in pairs(t) do n = n + 1 end
    return n
end

local dict_calls = {
    function(d, t) local k, v = random_key(), random_value() d:set(k, v) t[k] = v end,
    function(d, t) local k, v = random_key(), random_value() d:set(k, v) t[k] = v end,
    function(d, t) local k = random_key() d:set(k, nil) t[k] = nil end,
    function(d, t) local k = random_key() assert.same(t[k], (d:get(k))) end,
    function(d, t) local k = random_key() assert.same(t[k], (d:remove(k))) t[k] = nil end,
    function(d, t)
        local k, by = random_key(), random(2) == 1 and random(10) or random()
        if t[k] == nil or type(t[k]) == "number" then
            t[k] = (t[k] or 0) + by
            local sum = d:add(k, by)
            assert.is_true(sum == t[k] or sum ~= sum and t[k] ~= t[k])
            assert.equal(math.type(t[k]), math.type(sum))
        else
            helper.fails("is not a number", d.add, d, k, by)
        end
    end,
    function(d, t)
        local k, new = random_key(), random(3) > 1 and random_value() or nil
        d:update(k, function(old)
            assert.same(t[k], old)
            return new
        end)
        t[k] = new
    end,
    function(d, t) assert.equal(size(t), #d) end,
    function(d, t)
        if random(50) > 1 then return end
        assert.same(t, contents(d))
        assert.equal(size(t), #d:keys())
        if random(3) == 1 then
            d:clear()
            for k in pairs(t) do t[k] = nil end
        end
    end,
}

local list_calls = {
    function(l, t) local v = random_value() l:insert(v) table.insert(t, v) end,
    function(l, t) local i, v = random(#t + 1), random_value() l:insert(i, v) table.insert(t, i, v) end,
    function(l, t) local v = random_value() l:insert(1, v) table.insert(t, 1, v) end,
    function(l, t) local i, v = random(#t + 1), random_value() l[i] = v t[i] = v end,
    function(l, t) local i = random(0, #t + 2) assert.same(t[i], (l[i])) end,
    function(l, t) assert.same(table.remove(t), (l:remove())) end,
    function(l, t) local i = random(#t + 1) assert.same(table.remove(t, i), (l:remove(i))) end,
    function(l, t) assert.same(table.remove(t, 1), (l:remove(1))) end,
    function(l, t)
        local more = {}
        for i = 1, random(0, 4) do more[i] = random_value() end
        l:extend(more)
        table.move(more, 1, #more, #t + 1, t)
    end,
    function(l, t) assert.equal(#t, #l) end,
    function(l, t)
        if random(50) > 1 then return end
        assert.same(t, contents(l))
        if random(5) == 1 then
            l:clear()
            for i = #t, 1, -1 do t[i] = nil end
        end
    end,
}

for name, its in pairs { dict = { mp.dict, dict_calls }, list = { mp.list, list_calls } } do
    it(("a %s does what a table does (LUAMP_SPEC_SEED=%d)"):format(name, seed), function()
        math.randomseed(seed)
        collectgarbage()
        local before = mp.memory().used
        do
            local object <close>, t = its[1](), {}
            for _ = 1, calls do its[2][random(#its[2])](object, t) end
            assert.same(t, contents(object))
        end
        assert.equal(before, mp.memory().used)
    end)
end
