-- locks.lua: processes at the same locks, semaphores and events, of which again and again one is killed,
-- mostly one that holds a lock.
--
--   luamp spec/soak/locks.lua [kills N | seconds N] [SEED]
--
-- 8 processes acquire and release, set, clear and wait without end. The holder of a lock, or any of
-- them, is killed at a random moment, and another takes its place; every eighth time not before
-- somebody else has the lock, so that nobody but its waiters can have noticed. Each process
-- says in a file when it had a lock and when it was about to release it. After each round:
--
--   nobody was stuck: each wait has ended long before its limit
--   no two had a lock at once
--   who got a lock after one that was killed with it was told so, and nobody was told so without a kill
--   all units are back, and all memory
--
-- Prints its seed at first, for the same choices again, and a line for each round; at the end how long it
-- took then, from the kill on, until the next one had the lock. Ends with status 1 and the reason when
-- something is wrong.
local mp = require "luamp"

local what, amount, seed = arg[1] or "kills", tonumber(arg[2] or 500), math.tointeger(arg[3] or os.time())
local random = math.random
math.randomseed(seed)
print("LUAMP_SPEC_SEED=" .. seed)
io.stdout:setvbuf "line"

local WORKERS <const>, UNITS <const>, PATIENCE <const> = 8, 3, 30
local kills_of_round = 250
local dir -- of the round's files

local function fail(...)
    io.stderr:write(("seed %d: "):format(seed), string.format(...), "\n")
    os.exit(1)
end

local record = "<I1I1d" -- of a file: the lock, what, and when
local ACQUIRED <const>, ABANDONED <const>, RELEASES <const> = 0, 1, 2

-- Mostly asleep: so the one that kills finds a CPU.
local function pass_time()
    if random(3) == 1 then
        for _ = 1, random(2000) do end
    else
        mp.sleep(random() / 1000)
    end
end

-- What a process does at one of the locks.
local function use_lock(file, l, i)
    local got, word = l:acquire(PATIENCE)
    if not got then error(("lock %d: %s"):format(i, l), 0) end
    file:write(record:pack(i, word and ABANDONED or ACQUIRED, mp.clock()))
    if i % 2 == 0 and random(2) == 1 then l:with(pass_time) else pass_time() end
    file:write(record:pack(i, RELEASES, mp.clock()))
    l:release()
end

local function use_semaphore(s)
    if not s:acquire(PATIENCE) then error("a unit: " .. tostring(s), 0) end
    pass_time()
    s:release()
end

local function use_event(e)
    if random(4) > 1 then
        e:set()
        if random(2) == 1 then e:clear() end
    elseif not e:wait(PATIENCE) then
        error "an event"
    end
end

local function work(locks, semaphores, e, stop, number)
    local file <close> = assert(io.open(("%s/%d"):format(dir, number), "w"))
    file:setvbuf "no"
    while not stop:is_set() do
        local i = random(10)
        if i <= 7 then
            i = random(#locks)
            use_lock(file, locks[i], i)
        elseif i <= 9 then
            use_semaphore(semaphores[random(#semaphores)])
        else
            use_event(e)
        end
    end
    e:set() -- and nobody waits any more
end

-- The pid of who has the lock, if it lives.
local function holder_of(l)
    return math.tointeger(tostring(l):match "held by .-(%d+)%)")
end

local function start(round)
    round.number = round.number + 1
    local args = { round.locks, round.semaphores, round.event, round.stop, round.number }
    local p = mp.process { target = work, args = args }:start()
    round.workers[p.pid] = p
end

local function reap(p)
    p:join()
    if p.exitcode ~= 0 and p.exitcode ~= -9 then fail("a process failed: %s", tostring(p.error)) end
    p:close()
end

-- Kills the holder of one of the locks, or another one.
local function kill(round, is_watched)
    local i = random(#round.locks)
    local l, pid = round.locks[i]
    if is_watched or random(10) > 1 then
        repeat
            round.event:set() -- all may wait
            pid = holder_of(l)
        until round.workers[pid]
    else
        pid = next(round.workers)
    end
    local p = round.workers[pid]
    round.workers[pid] = nil
    round.kills[#round.kills + 1] = { mp.clock(), is_watched and i }
    p:kill()
    local deadline = mp.clock() + PATIENCE
    while is_watched and holder_of(l) == pid do
        if mp.clock() > deadline then fail("a dead one has the lock: %s", l) end
    end
    return p
end

-- The round's records by lock, each { lock, what, when }, in the order of time.
local function records(round)
    local lists = {}
    for i = 1, #round.locks do lists[i] = {} end
    for number = 1, round.number do
        local file = io.open(("%s/%d"):format(dir, number), "rb")
        local text, at = file and file:read "a" or "", 1
        if file then file:close() end
        while at + record:packsize() <= #text + 1 do
            local r = { record:unpack(text, at) }
            r.by, at = number, r[4]
            table.insert(lists[r[1]], r)
        end
    end
    for _, list in ipairs(lists) do table.sort(list, function(a, b) return a[3] < b[3] end) end
    return lists
end

-- Notes how long before that moment the last kill was, if that was watched, at the lock.
local function note_latency(round, i, moment)
    local last
    for _, one in ipairs(round.kills) do
        if one[1] > moment then break end
        last = one
    end
    if not last then fail "a lock was abandoned before anybody was killed" end
    if last[2] == i then table.insert(round.latencies, moment - last[1]) end
end

-- Checks one lock's records; returns how often somebody was told that it was abandoned.
local function check_lock(round, i, list)
    local holder, n_told = nil, 0
    for _, r in ipairs(list) do
        if r[2] == RELEASES then
            if r.by ~= holder then fail("lock %d: process %d released what %s had", i, r.by, tostring(holder)) end
            holder = nil
        else
            if holder and r[2] ~= ABANDONED then fail("lock %d: %d and %d had it at once", i, holder, r.by) end
            if r[2] == ABANDONED then
                n_told = n_told + 1
                note_latency(round, i, r[3])
            end
            holder = r.by
        end
    end
    return n_told
end

local function check(round, before)
    local told = 0
    for i, list in ipairs(records(round)) do told = told + check_lock(round, i, list) end
    if told > #round.kills then fail("%d kills, and %d times it was told", #round.kills, told) end
    for i, s in ipairs(round.semaphores) do
        if s:value() ~= UNITS then fail("semaphore %d: %s", i, s) end
    end
    for i, l in ipairs(round.locks) do
        l:acquire() -- the last one's word, perhaps
        l:release()
        if l:is_locked() or select(2, l:acquire()) then fail("lock %d is not free: %s", i, l) end
        l:close()
    end
    for _, o in ipairs { round.event, round.stop, table.unpack(round.semaphores) } do o:close() end
    local after = mp.memory().kinds
    for kind, count in pairs(before) do
        if after[kind].count ~= count.count then
            fail("%d %s are left of %d", after[kind].count, kind, count.count)
        end
    end
    return told
end

local function new_round()
    return {
        locks = { mp.lock(), mp.rlock() }, semaphores = { mp.semaphore(UNITS), mp.bounded_semaphore(UNITS) },
        event = mp.event(), stop = mp.event(), number = 0, workers = {}, kills = {}, latencies = {},
    }
end

local function run_round(n, deadline)
    local before, round = mp.memory().kinds, new_round()
    for _ = 1, WORKERS do start(round) end
    for i = 1, n do
        reap(kill(round, i % 8 == 0))
        start(round)
        if mp.clock() > deadline then break end
    end
    round.stop:set()
    for _, p in pairs(round.workers) do reap(p) end
    return round, check(round, before)
end

-- In a folder that goes with the round.
local function with_folder(f, ...)
    local pipe <close> = io.popen [[mktemp -d "${TMPDIR:-/tmp}/XXXXXX"]]
    dir = pipe:read "l"
    local results = table.pack(f(...))
    os.execute("rm -rf '" .. dir .. "'")
    return table.unpack(results)
end

local function number_of(list, share)
    table.sort(list)
    return list[math.max(1, math.ceil(#list * share))] * 1000
end

local latencies, kills, deadline = {}, 0, math.huge
if what == "seconds" then amount, deadline = math.huge, mp.clock() + amount end
for number = 1, math.huge do
    local round, told = with_folder(run_round, math.min(kills_of_round, amount - kills), deadline)
    kills = kills + #round.kills
    for _, l in ipairs(round.latencies) do latencies[#latencies + 1] = l end
    print(("round %d: %d kills, %d told, %d processes"):format(number, #round.kills, told, round.number))
    if kills >= amount or mp.clock() > deadline then break end
end
print(("from a kill until the next one had the lock: median %.3f ms, 99 of 100 within %.3f ms"):format(
    number_of(latencies, 0.5), number_of(latencies, 0.99)))
print "end"
