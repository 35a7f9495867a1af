-- together.lua: processes at the same rwlocks, barriers and conditions, of which again and again one is
-- killed at a random moment, and another takes its place.
--
--   luamp spec/soak/together.lua [kills N | seconds N] [SEED]
--
-- 8 processes read and write, wait for each other at barriers, with and without an action, which they make
-- whole when it is broken, and bring items and fetch them at conditions. Nobody may be stuck: each wait
-- ends long before its limit. After each round nobody waits or has anything, a round of each barrier is
-- whole, a notification arrives, and all memory is back.
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

function use.rwlock(rw)
    local side = random(3) == 1 and rw.write or rw.read
    if not side:acquire(PATIENCE) then error("stuck: " .. tostring(rw), 0) end
    pass_time()
    side:release()
end

-- Those that wait may all be at others: whoever finds nobody there goes on after a moment.
function use.barrier(b)
    local place, word = b:wait(0.5)
    if not place then
        if word ~= "broken" then error("not broken: " .. tostring(b), 0) end
        b:reset()
    end
end

-- Some tell, and some wait for a moment to be told.
function use.condition(c)
    local got, word = c:acquire(PATIENCE)
    if not got then error("stuck: " .. tostring(c), 0) end
    if word then c:notify_all() end
    if random(2) == 1 then
        c:notify(random(2))
    else
        c:wait(random() / 50)
    end
    c:release()
end

local function work(round)
    local kinds = { "rwlock", "barrier", "condition" }
    while not round.stop:is_set() do
        local kind = kinds[random(3)]
        use[kind](round[kind][random(2)])
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

local function run_kills(n, deadline)
    local round = { workers = {}, shared = {
        rwlock = { mp.rwlock(), mp.rwlock() },
        barrier = { mp.barrier(2), mp.barrier { parties = 2, action = pass_time } },
        condition = { mp.condition(), mp.condition(mp.lock()) }, stop = mp.event(),
    } }
    for _ = 1, WORKERS do start(round) end
    local kills = 0
    while kills < n and mp.clock() < deadline do
        pass_time()
        kill(round)
        start(round)
        kills = kills + 1
    end
    round.shared.stop:set()
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
