-- dicts.lua: processes at one dict, cache or list, of which again and again one is killed.
--
--   luamp spec/soak/dicts.lua [kills N | seconds N] [SEED]
--
-- 4 processes change it and read it, by all of its methods: values of 1 byte to 64 KiB, numbers, some
-- with a handle of a queue in them. One is killed at a random moment and another takes its place,
-- for so many kills or for so long, through rounds with structures of each sort. After each kill:
--
--   what it holds is whole, counts are those of what is there, and all of it can be changed
--   a key that a process alone has written has the last value that it told of, or the one after
--   counters have what was added, but perhaps for what the dead did last
--
-- and after each round the memory is what it was. Prints its seed at first, for the same choices
-- again, and a line for each round. Ends with status 1 and the reason when something is wrong.
local mp = require "luamp"

local what, amount, seed = arg[1] or "kills", tonumber(arg[2] or 500), math.tointeger(arg[3] or os.time())
local random = math.random
math.randomseed(seed)
print("LUAMP_SPEC_SEED=" .. seed)
io.stdout:setvbuf "line"

local n_workers, kills_of_round, patience = 4, 250, 10
local dir -- of the round's files

local function fail(...)
    io.stderr:write(("seed %d: "):format(seed), string.format(...), "\n")
    os.exit(1)
end

-- The bytes of a value: no two values of a length have the same.
local function body(from, n, size)
    return (string.pack("<I4I4", from, n):rep((size + 7) // 8)):sub(1, size)
end

local function new_value(from, n)
    local size = math.floor(2 ^ (random() * 16))
    local value = { from, n, size, body(from, n, size) }
    if random(10) == 1 then
        value[5] = mp.queue()
        value[5]:put(n)
    end
    return value
end

-- Which value it is; raises when it is damaged.
local function check(value)
    local from, n, size, bytes = table.unpack(value, 1, 4)
    if bytes ~= body(from, n, size) then error(("value %d of %d is damaged"):format(n, from), 0) end
    if value[5] and #value[5] ~= 1 then error(("the queue in value %d of %d is not its"):format(n, from), 0) end
    return n
end

-- What a worker has done, in a file: 4 bytes for each number that it told.
local function teller(number, name)
    local file = assert(io.open(("%s/%d.%s"):format(dir, number, name), "w"))
    file:setvbuf "no"
    return function(n) file:write(string.pack("<I4", n)) end
end

local function told(number, name)
    local file <close> = io.open(("%s/%d.%s"):format(dir, number, name), "r")
    local text = file and file:read "a" or ""
    local n, last = #text // 4, 0
    if n > 0 then last = string.unpack("<I4", text, n * 4 - 3) end
    return n, last
end

local function check_all(d)
    local n = 0
    for key, value in pairs(d) do
        if type(value) == "table" then
            check(value)
        elseif math.type(value) ~= "integer" then
            error(("key %s has %s"):format(key, value), 0)
        end
        n = n + 1
    end
    return n
end

-- Dicts and caches

local function dict_worker(d, number, has)
    local own, added, updated = teller(number, "own"), teller(number, "added"), teller(number, "updated")
    local n = 0
    local function any() return "key" .. random(40) end
    local acts = {
        function() n = n + 1 d:set("own" .. number, new_value(number, n)) own(n) end,
        function() d:add "added" added(1) end,
        function() d:update("updated", function(v) return (v or 0) + 1 end) updated(1) end,
        function() d:set(any(), new_value(number, n)) end,
        function() d:set(random(1000) * 1.5, n) end,
        function() local v = d:get(any()) if v then check(v) end end,
        function() d:remove(any()) end,
        function() d:remove(random(1000) * 1.5) end,
        function()
            d:update(any(), function(v) return v and check(v) and random(3) > 1 and v or new_value(number, n) end)
        end,
        function() d:update(any(), function(v) if v then check(v) end end) end,
        function() if random(10) == 1 then check_all(d) end end,
        function() if #d < 0 or #d:keys() < 0 then error "no count" end end,
        has.clear and function() if random(10) == 1 then d:clear() end end or function() end,
        has.get_or and function()
            check(d:get_or(any(), function() return new_value(number, n) end))
        end or function() end,
    }
    while true do acts[random(#acts)]() end
end

local function check_dict(d, numbers, has)
    local n = check_all(d)
    local count, keys = #d, #d:keys()
    if not (has.ends and keys <= count and count <= n or keys == n and count == n) then
        fail("there are %d keys, the count is %d, and %d are told", n, count, keys)
    end
    if has.size and n > has.size then fail("%d entries where %d may be", n, has.size) end
    if has.clear or has.get_or then return end
    local sums, last = { added = 0, updated = 0 }, {}
    for _, number in ipairs(numbers) do
        for name in pairs(sums) do sums[name] = sums[name] + told(number, name) end
        local _, own = told(number, "own")
        local value = d:get("own" .. number)
        last[number] = value and check(value) or 0
        if last[number] ~= own and last[number] ~= own + 1 then
            fail("worker %d told of value %d, and %d is there", number, own, last[number])
        end
    end
    for name, sum in pairs(sums) do
        local value = d:get(name) or 0
        if value < sum or value > sum + #numbers then fail("%s: %d were told, and it is %d", name, sum, value) end
    end
end

-- Nobody waits for a dead one's update.
local function touch_dict(d)
    local began = mp.clock()
    for i = 1, 40 do d:update("key" .. i, function(v) return v end) end
    for _, name in ipairs { "added", "updated" } do d:add(name, 0) end
    if mp.clock() - began > patience then fail("an update took %g s", mp.clock() - began) end
end

-- Lists

local function list_worker(l, number)
    local put, taken = teller(number, "put"), teller(number, "taken")
    local n = 0
    local function new() n = n + 1 return new_value(number, n) end
    local function take(v)
        if v and type(v) == "table" then check(v) taken(1) end
    end
    local acts = { -- others change it meanwhile: a position may be there no more
        function() l:insert(new()) put(1) end,
        function() l:insert(1, new()) put(1) end,
        function() pcall(l.insert, l, random(20), random(1000)) end,
        function() l:extend { new(), random(1000), new() } put(1) put(1) end,
        function() local v = l[random(20)] if type(v) == "table" then check(v) end end,
        function() take(l:remove()) end,
        function() if #l > 0 then local ok, v = pcall(l.remove, l, 1) take(ok and v) end end,
        function() local ok, v = pcall(l.remove, l, random(20)) take(ok and v) end,
        function() pcall(function() l[random(20)] = random(1000) end) end,
        function() if random(10) == 1 then check_all(l) end end,
        function() while #l > 60 do take(l:remove(random(2) == 1 and 1 or nil)) end end,
    }
    while true do acts[random(#acts)]() end
end

local function check_list(l)
    local n, seen = 0, {}
    for i, value in pairs(l) do
        n = n + 1
        if i ~= n then fail("item %d comes as the %dth", i, n) end
        if type(value) == "table" then
            local name = value[1] .. ":" .. check(value)
            if seen[name] then fail("item %s is there twice", name) end
            seen[name] = true
        end
    end
    if #l ~= n then fail("there are %d items, and the count is %d", n, #l) end
end

local function touch_list(l)
    l:insert(1)
    local value = l:remove()
    if type(value) == "table" then check(value) end
end

-- A round

local function usage()
    collectgarbage()
    collectgarbage()
    local words = {}
    for name, kind in pairs(mp.memory().kinds) do
        words[#words + 1] = ("%s %d/%d"):format(name, kind.count, kind.bytes)
    end
    table.sort(words)
    return table.concat(words, ", ")
end

local makers = {
    { "a dict", mp.dict, dict_worker, check_dict, touch_dict, {} },
    { "a dict that is cleared", mp.dict, dict_worker, check_dict, touch_dict, { clear = true } },
    { "a list", mp.list, list_worker, check_list, touch_list, {}, quiet = true },
    { "a cache", function() return mp.cache(20) end, dict_worker, check_dict, touch_dict,
        { clear = true, get_or = true, size = 20 } },
    { "a cache of little time", function() return mp.cache { size = 30, ttl = 0.01 } end, dict_worker, check_dict,
        touch_dict, { get_or = true, size = 30, ends = true } },
}

local function join(p, doing)
    if not p:join(patience) then fail("%s hangs, %s", p.name, doing) end
    local e = p.error
    if e and e.signal ~= "SIGKILL" then fail("%s: %s", p.name, tostring(e)) end
    p:close()
end

local function round(maker, is_over)
    local pipe <close> = io.popen [[mktemp -d "${TMPDIR:-/tmp}/XXXXXX"]]
    dir = assert(pipe:read "l", "mktemp made no folder")
    local before = usage()
    local kills, numbers = 0, {}
    do
        local _, make, work, check_now, touch, has = table.unpack(maker)
        local object <close> = make()
        local workers, number = {}, 0
        local function begin(slot)
            number = number + 1
            numbers[#numbers + 1] = number
            workers[slot] = mp.process { target = work, args = { object, number, has } }:start()
        end
        for slot = 1, n_workers do begin(slot) end
        while not is_over(kills) do
            mp.sleep(random() ^ 3 * 0.01)
            local slot = random(n_workers)
            workers[slot]:kill()
            if random(2) == 1 then touch(object) end -- before anybody is told
            join(workers[slot], "killed")
            kills = kills + 1
            begin(slot)
            if kills % 10 == 0 then -- all stop, so that nothing changes meanwhile
                for s = 1, n_workers do workers[s]:kill() end
                for s = 1, n_workers do join(workers[s], "killed with the others") end
                touch(object)
                check_now(object, numbers, has)
                for s = 1, n_workers do begin(s) end
                kills = kills + n_workers
            end
        end
        for slot = 1, n_workers do workers[slot]:kill() end
        for slot = 1, n_workers do join(workers[slot], "at the end") end
        touch(object)
        check_now(object, numbers, has)
    end
    local after = usage()
    if after ~= before then fail("memory: %s before, and %s after", before, after) end
    os.execute("rm -rf '" .. dir .. "'")
    print(("%s: %d kills"):format(maker[1], kills))
    return kills
end

local began, killed, n = mp.clock(), 0, 0
local function is_over()
    if what == "seconds" then return mp.clock() - began >= amount end
    return killed >= amount
end
local share = what == "seconds" and amount / #makers or math.ceil(amount / #makers)
while not is_over() do
    local round_began, killed_before = mp.clock(), killed
    killed = killed_before + round(makers[n % #makers + 1], function(kills)
        if what == "seconds" then
            return mp.clock() - round_began >= math.min(share, 30) or mp.clock() - began >= amount
        end
        return kills >= math.min(share, kills_of_round, amount - killed_before)
    end)
    n = n + 1
end
print "end"
