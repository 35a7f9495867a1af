-- queues.lua: putters and getters at one queue, of which again and again one is killed.
--
--   luamp spec/soak/queues.lua [kills N | seconds N] [SEED]
--
-- 4 processes put and 4 get: items of 1 byte to 1 MiB, one by one or many at once, some with
-- a handle of a queue in them. One is killed at a random moment and another takes its place,
-- for so many kills or for so long, through rounds with queues of each sort. Each process says in
-- a file what it has put, or got whole. After each round:
--
--   nothing was got twice, or damaged, or out of a putter's order
--   what was put and not got is no more than what dying getters had in hand
--   a queue that is drained is empty, and what it had of memory is back
--
-- Prints its seed at first, for the same choices again, and a line for each round. Ends with status 1
-- and the reason when something is wrong.
local mp = require "luamp"

local what, amount, seed = arg[1] or "kills", tonumber(arg[2] or 500), math.tointeger(arg[3] or os.time())
local random = math.random
math.randomseed(seed)
print("LUAMP_SPEC_SEED=" .. seed)
io.stdout:setvbuf "line"

local kills_of_round, batch, patience = 250, 8, 10
local dir -- of the round's files

local function fail(...)
    io.stderr:write(("seed %d: "):format(seed), string.format(...), "\n")
    os.exit(1)
end

-- The bytes of an item: no two items of a length have the same.
local function body(putter, n, size)
    local unit = string.pack("<I4I4", putter, n)
    return (unit:rep((size + 7) // 8)):sub(1, size)
end

local function random_size()
    return math.floor(2 ^ (random() * 20))
end

local function open(number)
    local file = assert(io.open(("%s/%d"):format(dir, number), "w"))
    file:setvbuf "no"
    return file
end

local function is_closed(e)
    return mp.is_error(e) and e.kind == "closed"
end

local function new_item(putter, n)
    local size = random_size()
    local item = { putter, n, size, body(putter, n, size) }
    if random(20) == 1 then
        item[5] = mp.queue()
        item[5]:put(n)
    end
    return item
end

-- Puts until the queue is closed; the file has a word for each item that went in.
local function putter(q, is_ranked, number)
    local file, n = open(number), 0
    local ok, e = pcall(function()
        while true do
            local went = 1
            if is_ranked or random(3) > 1 then
                if is_ranked then q:put(new_item(number, n + 1), n + 1) else q:put(new_item(number, n + 1)) end
            else
                local list = {}
                for i = 1, random(batch) do list[i] = new_item(number, n + i) end
                went = q:put_many(list)
            end
            n = n + went
            file:write(string.pack("<I4", n))
        end
    end)
    if not ok and not is_closed(e) then error(e, 0) end
end

local function check(item)
    local from, n, size, bytes, inner = table.unpack(item, 1, 5)
    if bytes ~= body(from, n, size) then error(("item %d of putter %d is damaged"):format(n, from), 0) end
    if inner then
        if inner:get(0) ~= n then error(("the queue in item %d of putter %d is not its"):format(n, from), 0) end
        inner = nil -- luacheck: ignore
    end
    return string.pack("<I4I4", from, n)
end

-- Gets until the queue is drained; the file has two words for each item that came out whole.
local function getter(q, number)
    local file = open(number)
    while true do
        local list, word
        if random(3) > 1 then
            local item
            item, word = q:get()
            list = item and { item }
        else
            list, word = q:get_many(random(batch))
        end
        if not list then
            if word ~= "closed" then error("a getter's wait ended: " .. tostring(word), 0) end
            return
        end
        local words = {}
        for i, item in ipairs(list) do words[i] = check(item) end
        file:write(table.concat(words))
    end
end

-- The files

local function read(number)
    local file <close> = io.open(("%s/%d"):format(dir, number), "r")
    return file and file:read "a" or ""
end

local function last_put(number)
    local text = read(number)
    local whole = #text - #text % 4
    return whole > 0 and (string.unpack("<I4", text, whole - 3)) or 0
end

-- Adds what a getter has got to `got`, by putter.
local function add_got(number, got)
    local text, last = read(number), {}
    for at = 1, #text - 7, 8 do
        local from, n = string.unpack("<I4I4", text, at)
        got[from] = got[from] or {}
        if got[from][n] then fail("item %d of putter %d was got twice", n, from) end
        if n <= (last[from] or 0) then
            fail("getter %d: item %d of putter %d comes after %d", number, n, from, last[from])
        end
        got[from][n], last[from] = true, n
    end
    return #text // 8
end

-- How many items are missing that were put. Of those after the last that the putter
-- told of, some may be there: it was killed before it could say so.
local function missing(number, got)
    local n = 0
    for i = 1, last_put(number) do
        if not (got[number] and got[number][i]) then n = n + 1 end
    end
    return n
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
    { "a queue", function() return mp.queue { maxsize = 100 } end },
    { "a queue bounded by bytes", function() return mp.queue { maxbytes = 3 << 20 } end },
    { "a queue of few", function() return mp.queue(1) end },
    { "a priority queue", function() return mp.priority_queue { maxsize = 200 } end, is_ranked = true },
}

local function start(f, ...)
    return mp.process { target = f, args = table.pack(...) }:start()
end

local function join(p, doing)
    if not p:join(patience) then fail("%s hangs, %s", p.name, doing) end
    local e = p.error
    if e and e.signal ~= "SIGKILL" then fail("%s: %s", p.name, tostring(e)) end
    p:close()
end

-- Counts what has happened in the queue: that it goes on is seen from that.
local function progress(workers)
    local n = 0
    for _, w in pairs(workers) do n = n + #read(w.number) end
    return n
end

local function goes_on(workers)
    local before, deadline = progress(workers), mp.clock() + patience
    repeat
        mp.sleep(0.001)
        if progress(workers) ~= before then return end
    until mp.clock() > deadline
    fail("nothing happens for %g s", patience)
end

local function round(maker, is_over)
    local pipe <close> = io.popen [[mktemp -d "${TMPDIR:-/tmp}/XXXXXX"]]
    dir = assert(pipe:read "l", "mktemp made no folder")
    local before = usage()
    local kills, n_got, lost, n_dead_getters = 0, 0, 0, 0
    do
        local q <close> = maker[2]()
        local workers, number = {}, 0
        local putters, getters = {}, {}
        local function begin(slot)
            number = number + 1
            local puts = slot <= 4
            table.insert(puts and putters or getters, number)
            local p = puts and start(putter, q, maker.is_ranked, number) or start(getter, q, number)
            workers[slot] = { process = p, number = number }
        end
        for slot = 1, 8 do begin(slot) end
        while not is_over(kills) do
            mp.sleep(random() ^ 3 * 0.02)
            local slot = random(8)
            workers[slot].process:kill()
            if random(2) == 1 then goes_on(workers) end -- before anybody is told
            join(workers[slot].process, "killed")
            kills = kills + 1
            n_dead_getters = n_dead_getters + (slot > 4 and 1 or 0)
            begin(slot)
            if kills % 50 == 0 then goes_on(workers) end
        end
        q:close()
        for slot = 1, 8 do join(workers[slot].process, "at the end") end
        if #q ~= 0 then fail("%d items are left in a queue that is drained", #q) end
        local got = {}
        for _, getter_number in ipairs(getters) do n_got = n_got + add_got(getter_number, got) end
        for _, putter_number in ipairs(putters) do lost = lost + missing(putter_number, got) end
        if lost > n_dead_getters * batch then
            fail("%d items are missing after the death of %d getters", lost, n_dead_getters)
        end
    end
    local after = usage()
    if after ~= before then fail("memory: %s before, and %s after", before, after) end
    os.execute("rm -rf '" .. dir .. "'")
    print(("%s: %d kills, %d items, %d went with dying getters"):format(maker[1], kills, n_got, lost))
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
