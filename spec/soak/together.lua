-- together.lua: processes at the same rwlocks, barriers and conditions, of which again and again one is
-- killed at a random moment, and another takes its place.
--
--   luamp spec/soak/together.lua [kills N | seconds N] [SEED]
--
-- 8 processes read and write, wait for each other at barriers, with and without an action, which they make
-- whole when it is broken, and bring items and fetch them at conditions:
--
--   nobody is stuck: each wait ends long before its limit
--   who writes is alone: two numbers that it changes one after the other are alike for everybody else,
--   unless a writer's death was told
--   who waits for an item is told of one
--
-- After each round nobody waits or has anything, a round of each barrier is whole, a notification arrives,
-- and all memory is back.
--
-- Prints its seed at first, for the same choices again, and a line for each round. Ends with status 1 and
-- the reason when something is wrong.
local mp = require "luamp"

local what, amount, seed = arg[1] or "kills", tonumber(arg[2] or 500), math.tointeger(arg[3] or os.time())
local random = math.random
math.randomseed(seed)
print("LUAMP_SPEC_SEED=" .. seed)
io.stdout:setvbuf "line"

local WORKERS <const>, PATIENCE <const>, KILLS_OF_ROUND <const> = 8, 30, 200

local function fail(...)
    io.stderr:write(("seed %d: "):format(seed), string.format(...), "\n")
    os.exit(1)
end

-- Mostly asleep: so the one that kills finds a CPU.
local function pass_time()
    if random(3) == 1 then
        for _ = 1, random(2000) do end
    else
        mp.sleep(random() / 1000)
    end
end

local use = {}

local function acquire(o, side)
    local got, word = side:acquire(PATIENCE)
    if not got then error("stuck: " .. tostring(o), 0) end
    return word
end

-- The two numbers of a rwlock are the elements 1 and 2, and 3 is 1 when it is known that they may differ.
local function write(rw, side, numbers)
    local word = acquire(rw, side)
    if not word and numbers[3] == 0 and numbers[1] ~= numbers[2] then
        error("what a writer changes is half done, and nobody was told", 0)
    end
    numbers[2] = numbers[1]
    numbers[3] = 0
    numbers:add(1, 1)
    pass_time()
    numbers:add(2, 1)
    side:release()
end

-- Some reader has been told; and if it has died before it said so, the next one is.
local function hear_of_it(rw, side, numbers)
    local deadline = mp.clock() + PATIENCE
    while numbers[3] == 0 do
        if mp.clock() > deadline then error("somebody writes while another reads", 0) end
        if acquire(rw, side) then numbers[3] = 1 end
        side:release()
    end
end

function use.rwlock(rw, numbers)
    if random(3) == 1 then return write(rw, rw.write, numbers) end
    if acquire(rw, rw.read) then numbers[3] = 1 end
    if numbers[1] ~= numbers[2] then hear_of_it(rw, rw.read, numbers) end
    pass_time()
    rw.read:release()
end

-- Those that wait may all be at others: whoever finds nobody there goes on after a moment.
function use.barrier(b)
    local place, word = b:wait(0.5)
    if not place then
        if word ~= "broken" then error("not broken: " .. tostring(b), 0) end
        b:reset()
    end
end

-- In its lock: what a dead one had not told yet is told.
local function tell_for_the_dead(c, word)
    if word == "abandoned" then c:notify_all() end
end

local function bring(c, items)
    tell_for_the_dead(c, acquire(c, c))
    items:add(1, 1)
    c:notify()
    c:release()
end

-- Some bring an item, and some wait for one, which is told to one of them.
function use.condition(c, items, stop)
    if random(2) == 1 then return bring(c, items) end
    tell_for_the_dead(c, acquire(c, c))
    while items[1] == 0 and not stop:is_set() do
        local is_told, word, more = c:wait(PATIENCE)
        if not is_told then error(("nobody was told: %s %s"):format(c, word), 0) end
        tell_for_the_dead(c, more or word)
    end
    if items[1] > 0 then items:add(1, -1) end
    c:release()
end

local function work(round)
    local kinds = { "rwlock", "barrier", "condition" }
    while not round.stop:is_set() do
        local kind, i = kinds[random(3)], random(2)
        use[kind](round[kind][i], round.numbers[kind][i], round.stop)
    end
end

local function start(round)
    local p = mp.process { target = work, args = { round.shared } }:start()
    round.workers[p.pid] = p
end

local function reap(p)
    p:join()
    if p.exitcode ~= 0 and p.exitcode ~= -9 then fail("a process failed: %s", tostring(p.error)) end
    p:close()
end

local function kill(round)
    local pids = {}
    for pid in pairs(round.workers) do pids[#pids + 1] = pid end
    table.sort(pids)
    local p = round.workers[pids[random(#pids)]]
    round.workers[p.pid] = nil
    p:kill()
    reap(p)
end

local checks = {}

function checks.rwlock(rw)
    for _, side in ipairs { rw.write, rw.read, rw.write } do
        if not side:acquire(1) then fail("it is not free: %s", rw) end
        side:release()
    end
    if select(2, rw.read:acquire(1)) then fail "it was told twice" end
    rw.read:release()
    if tostring(rw):find "waiting" or rw.read:is_locked() then fail("somebody is there: %s", rw) end
    rw:close()
end

function checks.barrier(b)
    b:reset()
    if b:is_broken() or b:waiting() ~= 0 then fail("it is not whole: %s", b) end
    local p <close> = mp.process { target = function(x) return x:wait(PATIENCE) end, args = { b } }:start()
    if not b:wait(PATIENCE) or not p:result(PATIENCE) then fail("no round is whole: %s", b) end
    b:close()
end

function checks.condition(c)
    if not tostring(c):find "%(0 waiting" then fail("somebody waits: %s", c) end
    local p <close> = mp.process { target = function(x) return x:with(x.wait, x, PATIENCE) end, args = { c } }:start()
    while not tostring(c):find "%(1 waiting" do mp.sleep(0.001) end
    c:with(c.notify, c)
    if not p:result(PATIENCE) then fail("nobody is told: %s", c) end
    c:close()
end

local function new_round()
    local numbers = { rwlock = {}, barrier = {}, condition = {} }
    for i = 1, 2 do
        numbers.rwlock[i], numbers.condition[i] = mp.array("int64", 3), mp.array("int64", 1)
    end
    return { workers = {}, shared = {
        rwlock = { mp.rwlock(), mp.rwlock() },
        barrier = { mp.barrier(2), mp.barrier { parties = 2, action = pass_time } },
        condition = { mp.condition(), mp.condition(mp.lock()) }, stop = mp.event(), numbers = numbers,
    } }
end

-- All may wait for items.
local function help(shared)
    for i, c in ipairs(shared.condition) do bring(c, shared.numbers.condition[i]) end
end

local function run_kills(n, deadline)
    local round = new_round()
    for _ = 1, WORKERS do start(round) end
    local kills = 0
    while kills < n and mp.clock() < deadline do
        pass_time()
        kill(round)
        start(round)
        help(round.shared)
        kills = kills + 1
    end
    round.shared.stop:set()
    for _, c in ipairs(round.shared.condition) do c:with(c.notify_all, c) end
    for _, p in pairs(round.workers) do reap(p) end
    for kind, check in pairs(checks) do
        for _, object in ipairs(round.shared[kind]) do check(object) end
    end
    return kills
end

local function run_round(n, deadline)
    local before = mp.memory().kinds
    local kills = run_kills(n, deadline)
    collectgarbage()
    collectgarbage()
    local after = mp.memory().kinds
    for kind, count in pairs(before) do
        if after[kind].count ~= count.count then fail("%d %s are left of %d", after[kind].count, kind, count.count) end
    end
    return kills
end

local kills, deadline = 0, math.huge
if what == "seconds" then amount, deadline = math.huge, mp.clock() + amount end
for number = 1, math.huge do
    local n = run_round(math.min(KILLS_OF_ROUND, amount - kills), deadline)
    kills = kills + n
    print(("round %d: %d kills"):format(number, n))
    if kills >= amount or mp.clock() > deadline then break end
end
print "end"
