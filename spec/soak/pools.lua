-- pools.lua: calls of a pool whose workers are killed, die, leave, raise and overrun.
--
--   luamp spec/soak/pools.lua [kills N | seconds N | notices N] [SEED]
--
-- With `notices` it only measures after how long the death of a worker is noticed, N times each while nothing
-- else happens and while results keep coming: median and 99th percentile, from the moment before the worker
-- kills itself. The owner looks every 50 ms. Else in each round there is a pool of some workers, and some
-- calls at a time: maps, maps beside the script, iterators, single tasks. Each task has an item of 1 byte
-- to 256 KiB and is told what to do: give as much, raise, leave, die, sleep for too long, give a handle or
-- what a child gave. Meanwhile workers are killed, calls cancelled, and the pool made larger or smaller, at
-- random. What a task must come to follows from
-- its item alone:
--
--   its result, or its failure after all attempts; or, if its worker was killed, that
--   none is begun twice in one attempt, and none is answered by another's result
--
-- and after each round all memory is back and no process is left.
--
-- Prints its seed at first, for the same choices again, and a line for each round. Ends with status 1
-- and the reason when something is wrong.
local mp = require "luamp"

local what, amount, seed = arg[1] or "kills", tonumber(arg[2] or 300), math.tointeger(arg[3] or os.time())
local random = math.random
math.randomseed(seed)
print("LUAMP_SPEC_SEED=" .. seed)
io.stdout:setvbuf "line"

local patience = 20
local log -- of the round: which attempts of tasks have begun

local function fail(...)
    io.stderr:write(("seed %d: "):format(seed), string.format(...), "\n")
    os.exit(1)
end

-- --- tasks ----------------------------------------------------------------------

-- The bytes of a task's item or result: no two of a length are the same.
local function body(call, i, size)
    local unit = string.pack("<I4I4", call, i)
    return (unit:rep((size + 7) // 8)):sub(1, size)
end

local function random_size()
    return math.floor(2 ^ (random() * 18))
end

-- What a task may be told to do; where a number of 100 is below the first, it is that.
local sorts = { { 3, "raise" }, { 4, "exit" }, { 6, "die" }, { 7, "sleep" }, { 10, "child" }, { 20, "handle" },
    { 100, "give" } }

local function random_sort(call)
    local n = random(0, 99)
    for _, sort in ipairs(sorts) do
        if n < sort[1] then return sort[2] ~= "sleep" and sort[2] or call.timeout and "sleep" or "give" end
    end
end

local function new_item(call, i)
    local size = random_size()
    return { call = call.number, i = i, does = random_sort(call), text = body(call.number, i, size), size = size,
        result = random_size() }
end

local does = {}

function does.give(item) return body(item.call, item.i, item.result) end
function does.raise(item) error { i = item.i } end
function does.exit(item) os.exit(item.i % 3) end
function does.sleep() mp.sleep(1000) end

function does.die()
    os.execute(("kill -KILL %d 2>/dev/null"):format(mp.getpid()))
    mp.sleep(1000)
end

function does.child(item)
    local p <close> = mp.process { target = function() return body(item.call, item.i, item.result) end }:start()
    return p:result()
end

function does.handle(item)
    local q = mp.queue()
    q:put(body(item.call, item.i, item.result))
    return q
end

local function init(path)
    mp.worker.log = io.open(path, "a")
    mp.worker.log:setvbuf "no"
end

local function work(item)
    mp.worker.log:write(string.pack("<I4I4I4", item.call, item.i, mp.worker.attempt))
    if item.text ~= body(item.call, item.i, item.size) then error "the item is damaged" end
    return does[item.does](item)
end

-- --- what must come of them -------------------------------------------------------

local killed = {} -- pids

local function check_result(item, result)
    local name = ("task %d of call %d (%s)"):format(item.i, item.call, item.does)
    if item.does == "handle" then
        if not tostring(result):find "^mp.queue" then fail("%s gives %s", name, tostring(result)) end
        local q <close> = result
        result = q:get(0)
    elseif item.does ~= "give" and item.does ~= "child" then
        fail("%s has a result", name)
    end
    if result ~= body(item.call, item.i, item.result) then fail("%s has another's result, or a damaged one", name) end
end

local function is_expected(item, call, e)
    if e.kind == "signal" then
        return e.signal == "SIGKILL" and (item.does == "die" or killed[e.pid] ~= nil)
    end
    return item.does == "raise" and e.kind == "error" and type(e.value) == "table" and e.value.i == item.i
        or item.does == "exit" and e.kind == "exit" and e.exitcode == item.i % 3
        or call.timeout ~= nil and e.kind == "timeout" -- a machine may be as slow as that
        or item.does == "child" and e.kind == "signal"
end

local function check_failure(item, call, e)
    if e.attempt ~= 1 + call.retries or e.task ~= (call.task or item.i) or not is_expected(item, call, e) then
        fail("task %d of call %d (%s, %d retries) failed in attempt %s as task %s: %s %s", item.i, item.call, item.does,
            call.retries, e.attempt, e.task, e.kind, tostring(e))
    end
end

local function check_list(call, list, failures)
    local lost = {}
    for _, e in ipairs(failures) do
        if lost[e.task] then fail("task %d of call %d failed twice", e.task, call.number) end
        lost[e.task] = e
    end
    for i, item in ipairs(call.items) do
        if (list[i] == nil) ~= (lost[i] ~= nil) then
            fail("task %d of call %d is answered %s", i, call.number, lost[i] and "twice" or "by nothing")
        end
        if lost[i] then check_failure(item, call, lost[i]) else check_result(item, list[i]) end
    end
end

local function check_log()
    local file <close> = io.open(log, "rb")
    local text, seen = file:read "a", {}
    for at = 1, #text - 11, 12 do
        local record = text:sub(at, at + 11)
        if seen[record] then fail("attempt %d of task %d of call %d began twice", select(3, ("<I4I4I4"):unpack(record)),
            select(2, ("<I4I4I4"):unpack(record)), (("<I4I4I4"):unpack(record))) end
        seen[record] = true
    end
    return #text // 12
end

-- --- calls ----------------------------------------------------------------------

local n_calls = 0

local function new_call(n)
    n_calls = n_calls + 1
    local call = { number = n_calls, retries = random(3) == 1 and random(3) or 0,
        timeout = random(8) == 1 and 0.3 or nil, chunksize = random(3) == 1 and random(20) or nil, items = {} }
    for i = 1, n do call.items[i] = new_item(call, i) end
    return call
end

local function options_of(call)
    return { retries = call.retries, timeout = call.timeout, chunksize = call.chunksize, on_error = "collect" }
end

-- Each begins a call; what it returns is outstanding: its future is checked when that has ended.
local begin = {}

function begin.map(pool)
    local call = new_call(random(40))
    check_list(call, pool:map(work, call.items, options_of(call)))
end

function begin.map_async(pool)
    local call = new_call(random(80))
    call.future = pool:map_async(work, call.items, options_of(call))
    return call
end

function begin.submit(pool)
    local call = new_call(1)
    call.future = pool:submit { target = work, args = { call.items[1] }, retries = call.retries,
        timeout = call.timeout }
    return call
end
begin.submit_more = begin.submit

-- In order; the loop is left early, now and then.
function begin.imap(pool)
    local call, at = new_call(random(40)), 0
    local last = random(2) == 1 and random(#call.items) or #call.items
    for i, result, e in pool:imap(work, call.items, options_of(call)) do
        at = at + 1
        if i ~= at then fail("imap gives %d in place of %d", i, at) end
        if e then check_failure(call.items[i], call, e) else check_result(call.items[i], result) end
        if at == last then break end
    end
    if at ~= last then fail("imap ends after %d of %d", at, last) end
end

local kinds = {}
for name in pairs(begin) do kinds[#kinds + 1] = name end
table.sort(kinds)

local function finish(call)
    if not call.future:wait(patience) then fail("call %d (%s) hangs", call.number, tostring(call.future)) end
    local e = call.future.error
    if call.is_cancelled then
        if not e or e.kind ~= "cancelled" then fail("call %d was cancelled, and is not", call.number) end
    elseif #call.items > 1 or not e then
        if e then fail("call %d failed: %s", call.number, tostring(e)) end
        local list, failures = call.future:result()
        if failures then check_list(call, list, failures) else check_result(call.items[1], list) end
    else
        call.task = e.task
        check_failure(call.items[1], call, e)
    end
end

-- --- a round --------------------------------------------------------------------

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

local next_idle = 0 -- one that has nothing to do does not serve yet, perhaps: these die now and then

local function kill_one(pool)
    local workers = pool:stats().workers
    local w = workers[random(#workers)]
    local is_idle = w.state == "idle"
    if not w.pid or killed[w.pid] or is_idle and mp.clock() < next_idle then return 0 end
    if is_idle then next_idle = mp.clock() + 0.2 end
    killed[w.pid] = true
    os.execute(("kill -KILL %d 2>/dev/null"):format(w.pid))
    return 1
end

local function take(outstanding)
    local i = random(#outstanding)
    local call = outstanding[i]
    outstanding[i] = outstanding[#outstanding]
    outstanding[#outstanding] = nil
    return call
end

local function step(pool, outstanding)
    local n = random(100)
    if n <= 30 and #outstanding < 8 then
        outstanding[#outstanding + 1] = begin[kinds[random(#kinds)]](pool)
    elseif n <= 72 then
        return kill_one(pool)
    elseif n <= 75 then
        pool:resize(random(6))
    elseif n <= 80 and outstanding[1] then
        local call = take(outstanding)
        call.is_cancelled = call.future:cancel()
        finish(call)
    elseif n <= 90 and outstanding[1] then
        finish(take(outstanding))
    else
        mp.sleep(random() ^ 3 * 0.02)
    end
    return 0
end

local function end_well(pool, outstanding)
    for _, call in ipairs(outstanding) do finish(call) end
    local stats = pool:stats()
    if stats.queued + stats.running > 0 then
        fail("%d tasks are queued and %d run when all is done", stats.queued, stats.running)
    end
    pool:close()
    if not pool:join(patience) then fail "the pool does not end" end
end

local function end_at_once(pool, outstanding)
    pool:terminate()
    for _, call in ipairs(outstanding) do
        local e = call.future.error
        call.is_cancelled = e ~= nil and e.kind == "cancelled"
        finish(call)
    end
end

-- What it has is gone when it returns.
local function serve(is_over)
    local pool <close> = mp.pool { workers = random(6), init = init, initargs = { log },
        max_tasks = random(3) == 1 and random(40) or nil }
    local outstanding, kills = {}, 0
    for _ = 1, 150 do
        if is_over(kills) then break end
        kills = kills + step(pool, outstanding)
    end
    if random(4) > 1 then end_well(pool, outstanding) else end_at_once(pool, outstanding) end
    return kills
end

local function round(is_over)
    local pipe <close> = io.popen [[mktemp "${TMPDIR:-/tmp}/XXXXXX"]]
    log = assert(pipe:read "l", "mktemp made no file")
    local before, first = usage(), n_calls
    killed = {}
    local kills = serve(is_over)
    local after = usage()
    if after ~= before then fail("memory: %s before, and %s after", before, after) end
    if #mp.active_children() > 0 then fail "processes are left" end
    print(("%d kills, %d calls, %d runs of tasks"):format(kills, n_calls - first, check_log()))
    os.remove(log)
    return kills
end

-- --- notices --------------------------------------------------------------------

-- Seconds from the end of a worker until wait() has told of it, in order.
local function delays(n, workers, wait)
    local path = os.tmpname()
    local pool <close> = mp.pool { workers = workers }
    local list = {}
    for i = 1, n do
        local noticed = wait(pool, function()
            local file <close> = io.open(path, "w")
            file:setvbuf "no"
            local kill = ("kill -KILL %d"):format(mp.getpid())
            file:write(mp.clock())
            os.execute(kill)
            mp.sleep(1000)
        end)
        local file <close> = io.open(path)
        list[i] = noticed - file:read "n"
    end
    os.remove(path)
    table.sort(list)
    return list
end

local function by_apply(pool, die)
    pcall(pool.apply, pool, die)
    return mp.clock()
end

local function by_loop(pool, die)
    local function die_at_20(i)
        if i == 20 then die() end
        return i
    end
    for _, _, e in pool:imap_unordered(die_at_20, mp.range(1, 1 << 40), { on_error = "collect" }) do
        if e then return mp.clock() end
    end
end

local function measure_notices(n)
    for _, case in ipairs { { "nothing else happens", 1, by_apply }, { "results keep coming", 3, by_loop } } do
        local list = delays(n, case[2], case[3])
        local function at(part) return 1000 * list[math.max(1, math.ceil(part * n))] end
        print(("a worker's death while %s is noticed after %.1f ms (median), %.1f ms (p99), %.1f ms at most, of %d")
            :format(case[1], at(0.5), at(0.99), at(1), n))
    end
end

if what == "notices" then
    measure_notices(math.tointeger(amount))
    return
end

mp.pool(1):terminate()
local began, kills = mp.clock(), 0
local function is_over()
    if what == "seconds" then return mp.clock() - began >= amount end
    return kills >= amount
end
while not is_over() do
    kills = kills + round(function(of_round)
        return what == "seconds" and is_over() or what == "kills" and kills + of_round >= amount
    end)
end
print "end"
