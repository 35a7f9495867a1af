-- luamp.statistics: what a pool's time went into, which of its tasks took longest, and how others failed.
--
-- What workers spend their time on they count themselves, in their lanes of the board (engine/times.h): the crew
-- gives that out (times, share, tail, slowest). Here is the rest: what the system knows of their processes, and the
-- ledger of the owner, which knows when there was something to do at all, what the calls were, and their errors.
-- What follows from the figures, in words, is advice.lua's.
--
-- The workers have nothing to do between two calls, and that is nobody's fault: such gaps are counted, and taken off
-- the time that they have waited. Nobody looks at the workers for that: in a gap all of them wait.

local core = require "luamp.core"
local life = require "luamp.life"

local statistics = {}
local methods = {}
local meta = { __index = methods }

local NANO <const> = 1e-9
local MOST_NAMES <const> = 1000 -- of functions, that are remembered
local MOST_GROUPS <const> = 100 -- of errors
local LONGEST <const> = 200 -- bytes of a message
local SHORT <const> = 1e-3 -- seconds: nobody asks what such a tail came from

-- --- processes --------------------------------------------------------------------

local function read(pid, name)
    local file <close> = io.open("/proc/" .. pid .. "/" .. name)
    return file and file:read "a" or ""
end

-- CPU time by the clock of ticks, where the kernel does not tell it exactly.
local function ticks(pid)
    local user, system = read(pid, "stat"):match("%) %S" .. (" %S+"):rep(10) .. " (%d+) (%d+)")
    return user and (tonumber(user) + tonumber(system)) / 100 or 0
end

-- Of a process that lives: seconds of CPU time; the most memory that it has had at once, in bytes, or nil; and the
-- seconds in which it could have run and had no CPU, 0 where the kernel does not tell.
function statistics.usage(pid)
    local cpu, delay = read(pid, "schedstat"):match "^(%d+) (%d+)"
    local peak = read(pid, "status"):match "VmHWM:%s*(%d+) kB"
    return cpu and cpu * NANO or ticks(pid), peak and math.tointeger(peak) * 1024 or nil,
        delay and delay * NANO or 0
end

-- The worker's process has ended: what it has used counts from now on with that of those after it. A fresh image has
-- from the kernel the peak of who has started it: that is told by being no larger.
function statistics.ended(c, w)
    local cpu, peak = core.cpu_time(w.process.handle)
    local own = 0
    if (c.process_options.start_method or life.now.method) == "spawn" then
        own = select(2, statistics.usage(core.getpid())) or 0
    end
    w.cpu = (w.cpu or 0) + cpu
    if peak > own then w.rss = math.max(w.rss or 0, peak) end
    core.board.ended(c.board, w.id)
end

-- Adds to what is told of a worker what its time went into.
function statistics.of_worker(c, w, told)
    local start, init, wait, work, send, _, _, _, delayed = c:times(w.id)
    local cpu, peak, delay = 0, nil, 0
    if told.pid then cpu, peak, delay = statistics.usage(told.pid) end
    w.rss = math.max(w.rss or 0, peak or 0)
    told.start, told.init, told.wait = start * NANO, init * NANO, wait * NANO
    told.work, told.send = work * NANO, send * NANO
    told.cpu, told.delay, told.rss = (w.cpu or 0) + cpu, delayed * NANO + delay, w.rss > 0 and w.rss or nil
    return told
end

-- What a crew gives out when its board is gone: as it was then. And that, with tables of its own.
function statistics.final(c)
    return { workers = (c:state_of()), share = { c:share() }, slowest = c:slowest() }
end

function statistics.copies(list)
    local copied = {}
    for i, from in ipairs(list) do
        copied[i] = {}
        for key, value in next, from do copied[i][key] = value end
    end
    return copied
end

-- --- the ledger -------------------------------------------------------------------

-- For a dispatch.
function statistics.new(d)
    return setmetatable({ d = d, made = core.clock(), ended = nil, depth = 0, left = nil, gaps = 0, gap_time = 0,
        names = {}, n_names = 0, calls = {}, lost = 0, unused = 0, worst = nil,
        groups = {}, n_groups = 0, slowest = {} }, meta)
end

-- From now on there is something to do, until as many times it is said that there is nothing any more.
function methods.enter(st)
    st.depth = st.depth + 1
    if st.depth > 1 then return end
    if st.left then
        local gap = core.clock() - st.left
        st.gap_time, st.gaps = st.gap_time + gap, st.gaps + gap * st.d.crew.n
    else
        local _, idle = st.d.crew:share()
        st.gap_time, st.gaps = core.clock() - st.made, idle * NANO
    end
end

function methods.leave(st)
    st.depth = st.depth - 1
    if st.depth == 0 then st.left = core.clock() end
end

-- The pool has ended: no time passes for it any more.
function methods.finish(st)
    st.ended = st.ended or core.clock()
end

local function place_of(f)
    if type(f) ~= "function" then return nil end
    local info = debug.getinfo(f, "S")
    return info.what ~= "C" and ("%s:%d"):format(info.short_src, info.linedefined) or nil
end

-- Where names become many, those of calls that have ended go, when what they are wanted for is known.
local function forget_names(st)
    st.slowest = st:slow_tasks()
    local kept, n = {}, 0
    for _, call in ipairs(st.d.active) do
        local id = st.d.crew:call_id(call.call)
        if not kept[id] then n = n + 1 end
        kept[id] = st.names[id]
    end
    st.names, st.n_names = kept, n
end

-- The function that has that number with the crew is of a call `where`.
function methods.name(st, call, where, f, group)
    if st.n_names >= MOST_NAMES then forget_names(st) end
    st.names[st.d.crew:call_id(call)], st.n_names = { call = where, f = place_of(f), group = group }, st.n_names + 1
end

-- A call begins, and ends: what its end has cost.
function methods.begin_call(st, call)
    st:name(call.call, call.where, call.f, call.group)
    st:enter()
    call.began = core.clock()
end

local function note_kind(st, call)
    local kind = st.calls[call.where] or { where = call.where, tasks = 0 }
    st.calls[call.where] = kind
    kind.tasks, kind.chunksize = kind.tasks + call.n_ended, call.chunksize
end

-- Of the call's tasks that which took longest.
local function slowest_of(st, call)
    local id = st.d.crew:call_id(call.call)
    for _, slow in ipairs(st.d.crew:slowest()) do
        if slow.call_id == id then return slow end
    end
end

-- At its end, if nothing else goes on: who waits had nothing left to do. Short of these are workers for which it had
-- nothing from the start.
local function note_tail(st, call)
    local crew = st.d.crew
    local elapsed = core.clock() - call.began
    local lost, longest, n_unused = crew:tail(math.floor(call.began * 1e9))
    lost, longest = lost * NANO, longest * NANO
    st.lost, st.unused = st.lost + lost, st.unused + n_unused * elapsed
    if lost < SHORT or st.worst and st.worst.lost >= lost then return end
    local slow = slowest_of(st, call)
    local first = slow and (call.group and (slow.task - 1) * call.group + 1 or slow.task)
    st.worst = { where = call.where, tasks = call.n_ended, elapsed = elapsed, lost = lost, longest = longest,
        group = call.group, task = first, took = slow and slow.took * NANO,
        began = slow and slow.began * NANO - call.began }
end

function methods.end_call(st, call)
    note_kind(st, call)
    if call.phase == "ended" and not st.d.active[1] and st.d.submissions:is_idle() then note_tail(st, call) end
    st:leave()
end

-- --- errors -----------------------------------------------------------------------

-- Messages that differ in nothing but numbers, where these say no line of a file, are of one kind.
local function kind_of(message)
    local line = message:match "^[^\n]*":sub(1, LONGEST)
    local place, rest = line:match "^([^%s:]+:%d+: )(.*)$"
    return (place or "") .. (rest or line):gsub("%d+", "#"), line
end

-- A run of a task of that call has failed so.
function methods.failed(st, call, e)
    local kind, line = kind_of(tostring(e.message))
    local group = st.groups[kind]
    if not group and st.n_groups >= MOST_GROUPS then kind, line = "other messages", "other messages" end
    group = st.groups[kind]
    if group then
        group.count = group.count + 1
        if group.message ~= line then group.message = kind end
        return
    end
    st.n_groups = st.n_groups + 1
    st.groups[kind] = { message = line, count = 1, kind = e.kind, task = e.task, worker = e.worker,
        attempt = e.attempt, call = call.where, number = st.n_groups }
end

-- --- what is told -----------------------------------------------------------------

-- The groups, the largest first.
function methods.errors(st)
    local list = {}
    for _, group in pairs(st.groups) do list[#list + 1] = group end
    table.sort(list, function(a, b)
        if a.count ~= b.count then return a.count > b.count end
        return a.number < b.number
    end)
    list = statistics.copies(list)
    for _, group in ipairs(list) do group.number = nil end
    return list
end

local function named(st, slow)
    local name = st.names[slow.call_id] or { call = "pool:submit" }
    return { call = name.call, f = name.f, task = name.group and (slow.task - 1) * name.group + 1 or slow.task,
        attempt = slow.attempt, worker = slow.worker, seconds = slow.took * NANO,
        began = slow.began * NANO - st.made, input = slow.input ~= "" and slow.input or nil }
end

-- Which task it is: a worker begins one at a time.
local function key_of(worker, began)
    return ("%d %.9f"):format(worker, began)
end

local MOST_SLOW <const> = 5

-- The tasks that took longest, the longest first; those whose names were forgotten are known already.
function methods.slow_tasks(st)
    local list, seen = table.move(st.slowest, 1, #st.slowest, 1, {}), {}
    for _, slow in ipairs(list) do seen[key_of(slow.worker, slow.began)] = true end
    for _, slow in ipairs(st.d.crew:slowest()) do
        if not seen[key_of(slow.worker, slow.began * NANO - st.made)] then list[#list + 1] = named(st, slow) end
    end
    table.sort(list, function(a, b) return a.seconds > b.seconds end)
    return table.move(list, 1, MOST_SLOW, 1, {})
end

-- How long there was something to do; of that how long workers were busy and how long they had nothing to do, in
-- seconds of all of them together.
function methods.active(st)
    local busy, idle = st.d.crew:share()
    local now = st.ended or core.clock()
    local gap = st.left and st.depth == 0 and now - st.left or 0
    if not st.left and st.depth == 0 then return 0, busy * NANO, 0 end
    return math.max(0, now - st.made - st.gap_time - gap), busy * NANO,
        math.max(0, idle * NANO - st.gaps - gap * st.d.crew.n)
end

return statistics
