-- luamp.crew: the workers of a pool, and the board that they take tasks from.
--
-- A crew knows processes and what runs on them; what the tasks are about is dispatch.lua's.
-- What dispatch.lua and submit.lua know of workers are the methods here; there may be workers of
-- another kind behind the same ones (serial.lua has one, which is this process itself, `running` a task): a function
-- is kept once (keep), tasks are put (put, feed), ends come back (collect), workers are lost (look).
--
-- A worker's number is its lane of the board. Who comes in the place of another one has its number.
--
--   Loss      is seen at each look, 20 times a second at least. What the dead worker had done counts,
--             what it had begun is lost, and everything else is done by others.
--   Renewal   a new worker comes at once; where processes cannot be made, later, by and by. A crew
--             whose workers cannot live is broken, and says why: so many have ended within some seconds
--             before they served, or before a task had ended in them while tasks waited; and meanwhile
--             no task has come to an end in any worker. While it is made, one that ends in `init` is enough.

local core = require "luamp.core"
local errors = require "luamp.errors"
local life = require "luamp.life"
local outcome = require "luamp.outcome"
local process = require "luamp.process"
local statistics = require "luamp.statistics"
local worker = require "luamp.worker"

local board = core.board
local crew = {}
local methods = {}
crew.meta = { __index = methods }

local LOOK <const> = 0.05 -- seconds
local STOPPED <const>, SPARED <const> = 0.2, 1 -- seconds without a look, after which no limit is kept for so long
local MOST_FAILED_STARTS <const>, MOST_FRUITLESS <const>, WINDOW <const> = 8, 16, 60 -- deaths, within seconds
local FIRST_DELAY <const>, LONGEST_DELAY <const> = 0.01, 1 -- seconds

-- --- workers --------------------------------------------------------------------

-- A worker's function is sent by its name, whatever was sent before, and also when somebody has emptied
-- package.loaded since, as test frameworks do.
local named

local function name_workers()
    if named and package.loaded["luamp.worker"] == worker then return end
    package.loaded["luamp.worker"], named = worker, true
    core.renew_names(false)
end

-- Starts the process of a worker. Raises what mp.process says, in the name of c.where.
local function start(c, w)
    board.open_lane(c.board, w.id)
    name_workers()
    local given = {}
    for key, value in next, c.process_options do given[key] = value end
    given.target, given.args, given.daemon = worker.main, { c.handle, w.id, c.given }, true
    given.name = ("%s.%d"):format(c.name, w.id + (c.given.first or 0))
    if c.relay then given.args[4] = c.relay:open(w, given) end
    w.process = process.state(process.new(given))
    w.process.where = c.where
    w.state, w.is_overdue, w.overran = "starts", nil, nil
    local ok, e = pcall(w.process.object.start, w.process.object)
    local has_started = w.process.status ~= "new"
    if c.relay and not has_started then c.relay:close(w) end
    if has_started then board.employ(c.board, w.id, core.member(w.process.handle)) else w.process = nil end
    if not ok then error(e, 0) end
end

-- The next start is to be later: what keeps it from starting now may end.
local function postpone(w)
    w.state = "waits"
    w.delay = math.min(LONGEST_DELAY, (w.delay or FIRST_DELAY / 2) * 2)
    w.due = core.clock() + w.delay
end

-- Where a worker cannot be started one is later. What is raised when one was started is the script's: Ctrl-C, or the
-- error of a handler that has run in between.
local function restart(c, w)
    local ok, e = pcall(start, c, w)
    if ok then return end
    if not w.process then postpone(w) end
    if w.process or errors.is_error(e) and e.kind == "interrupted" then error(e, 0) end
end

-- A new crew of n workers, none of which may serve yet.
function crew.new(n, name, given, process_options)
    process.note_oom_kills()
    local b, handle = board.new()
    local c = setmetatable({ b, board = b, handle = handle, name = name, given = given, n = 0, workers = {},
        process_options = process_options, restarts = 0, failed_starts = {}, last_look = core.clock(),
        n_ends = 0, fruitless = {}, spares_until = 0, broken = nil, is_closing = false,
        running = false, is_made = false, cpu_of_gone = 0, peak_of_gone = 0 }, crew.meta)
    if given.output then c.relay = require "luamp.relay".new(c, given) end
    local ok, e = pcall(c.resize, c, n, "mp.pool")
    if not ok then
        c:kill()
        error(e, 0)
    end
    return c
end

-- Starts workers for the call `where`, or lets the last ones go. When one cannot be started, there are as many as
-- before.
function methods.resize(c, n, where)
    local before = c.n
    c.where = where
    for id = before + 1, n do
        local w = c.workers[id]
        if not w then
            w = { id = id, tasks = 0 }
            c.workers[id] = w
            local ok, e = pcall(start, c, w)
            if not w.process then c.workers[id] = nil end
            if not ok then
                c:resize(before, where)
                error(e, 0)
            end
        end
        w.is_leaving = nil
        c.n = id
    end
    for id = n + 1, c.n do
        local w = c.workers[id]
        w.is_leaving = true
        if w.process then board.dismiss(c.board, id) else c.workers[id] = nil end -- which was to come later
    end
    c.n = n
end

local function is_up(c, w)
    if w.state == "starts" then
        local state = board.lane(c.board, w.id)
        if state == "serves" then w.state, w.delay = "serves", nil end
        if state == "refuses" then w.state = "refuses" end
    end
    return w.state ~= "starts" and w.state ~= "waits"
end

-- Whether every worker serves; else looks at them. Raises why one does not.
function methods.are_up(c, hear)
    local all = true
    for _, w in pairs(c.workers) do all = is_up(c, w) and all end
    for _, w in pairs(c.workers) do
        if w.state == "refuses" then error(board.refusal(c.board, w.id), 0) end
    end
    c.is_made = c.is_made or all
    if all then return true end
    c:look(hear)
    if c.broken then error(c.broken, 0) end
    return false
end

-- Waits until that is so.
function methods.await_up(c, hear)
    while not c:are_up(hear) do c:await(1, core.deadline()) end
end

-- --- loss -----------------------------------------------------------------------

-- Where so many workers have ended like that no other will do better.
local function give_up(c, w, e, n, what)
    local who = n == 1 and "a worker has ended" or ("%d workers have ended within %d s"):format(n, WINDOW)
    c.broken = errors.new { kind = e.kind, signal = e.signal, exitcode = e.exitcode, process = e.process,
        pid = e.pid, value = e.value, traceback = e.traceback, worker = w.id,
        message = ("%s before %s %s: %s"):format(who, n == 1 and "it" or "they", what, e.message) }
end

-- Adds a death to those of its kind, by their times: how many there are within the window. A task that has come to
-- an end since then shows that workers can live.
local function count(c, deaths)
    local now = core.clock()
    if deaths.n_ends ~= c.n_ends then
        for i = #deaths, 1, -1 do deaths[i] = nil end
        deaths.n_ends = c.n_ends
    end
    deaths[#deaths + 1] = now
    while deaths[1] < now - WINDOW do table.remove(deaths, 1) end
    return #deaths
end

-- A worker has died, that had served or not. While the pool is made, `init` is not to fail a second time.
local function note_death(c, w, e, was)
    if was == "refuses" and not c.is_made then
        c.broken = e
    elseif was ~= "serves" and c.given.init and not c.is_made then
        give_up(c, w, e, 1, "served")
    elseif was ~= "serves" then
        local n = count(c, c.failed_starts)
        if n >= MOST_FAILED_STARTS then give_up(c, w, e, n, "served") end
    elseif board.n_ended(c.board, w.id) == 0 and c:n_waiting() > 0 then
        local n = count(c, c.fruitless)
        if n >= MOST_FRUITLESS then give_up(c, w, e, n, "began a task that waited") end
    end
end

-- Why the worker's process has ended: an error object.
local function cause_of(s)
    local o = outcome.of(s)
    return o.error or errors.new { kind = "exit", exitcode = 0, process = life.name(s), pid = s.pid,
        message = ("process '%s' (pid %d) exited with status 0"):format(life.name(s), s.pid) }
end

-- What a worker that has gone had used.
local function note_usage(c, s)
    local cpu, peak = core.cpu_time(s.handle)
    c.cpu_of_gone, c.peak_of_gone = c.cpu_of_gone + cpu, math.max(c.peak_of_gone, peak)
end

-- The worker's process has ended: hear(...) is told of what it did and what is lost.
local function bury(c, w, hear)
    local s = w.process
    local was = w.state
    local e = was == "refuses" and board.refusal(c.board, w.id) or cause_of(s)
    w.cause, w.overran, w.words = e, core.overran(s.handle), board.words(c.board, w.id)
    statistics.ended(c, w)
    if c.relay then c.relay:close(w) end
    board.bury(c.board, w.id)
    c:collect(c.lists, c.arrivals, c.futures, hear)
    if not w.is_leaving then note_death(c, w, e, was) end
    w.tasks = w.tasks + board.n_ended(c.board, w.id)
    note_usage(c, s)
    s.object:close()
    w.process, w.state = nil, "gone"
end

-- Another one comes in its place: at once, or later if it never served.
local function replace(c, w, has_served)
    if w.is_leaving or c.is_closing or c.broken then
        if w.is_leaving then c.workers[w.id] = nil end
        return
    end
    c.restarts = c.restarts + 1
    if has_served then restart(c, w) else postpone(w) end
end

-- Kills a worker whose task has run for too long. The keeper does so, too, when nobody looks here; and
-- it alone knows whether this process was stopped (Ctrl-Z) when it has not looked for a while.
local function end_overdue(c, w)
    if c.last_look < c.spares_until then return end
    local _, _, _, slot, due = board.lane(c.board, w.id)
    if due and due > 0 and core.clock() * 1e9 >= due and board.doom(c.board, slot) then
        w.is_overdue = true
        core.signal(w.process.handle, 9)
    end
end

-- Looks at all workers: who has ended is buried, and another one comes.
function methods.look(c, hear)
    local now = core.clock()
    if now - c.last_look > STOPPED then c.spares_until = now + SPARED end
    c.last_look = now
    for _, w in pairs(c.workers) do
        if w.process and process.has_ended(w.process) then
            is_up(c, w)
            local has_served = w.state == "serves"
            bury(c, w, hear)
            replace(c, w, has_served)
        elseif w.process then
            is_up(c, w)
            end_overdue(c, w)
        elseif w.state == "waits" and w.due <= c.last_look then
            restart(c, w)
        end
    end
end

-- Whether a worker is on its way, or is to come later.
function methods.is_renewing(c)
    for _, w in pairs(c.workers) do
        if w.state == "starts" or w.state == "waits" then return true end
    end
    return false
end

function methods.needs_look(c)
    return core.clock() - c.last_look >= LOOK / 2
end

-- Kills a worker, for what runs there is not wanted any more.
function methods.kill_worker(c, id)
    local w = c.workers[id]
    if w and w.process then
        outcome.note_signal(w.process, 9)
        core.signal(w.process.handle, 9)
    end
end

-- --- tasks ----------------------------------------------------------------------

-- keep(...), unkeep(call), put(call, limit, chunk, excluded, attempt, index, ...), put_parcel(the same,
-- parcel), feed(the same, last, list, most, goes_on), split(), spare(has_parcel), apply(as put, deadline, ...),
-- tell(n), room(), retract(slot), recall(slot), runner(slot), doom(slot), n_waiting(), n_unheard(call),
-- withdraw(call), doom_call(call), is_running(call), has_tasks(call), n_done(call),
-- arrived(call, index, arrivals), watch([is_for_others]), plan(seconds), call_id(call), times(id), share(),
-- tail(from), slowest(): what binding/board.c and its neighbours say. For a bar that is drawn now and then share() is
-- enough: how many nanoseconds all workers together were busy so far, and how many they waited.
for _, name in ipairs { "keep", "unkeep", "put", "put_parcel", "feed", "split", "spare", "apply", "tell", "room",
    "retract", "recall", "runner", "doom", "n_waiting", "n_unheard", "withdraw", "doom_call", "is_running",
    "has_tasks", "n_done", "arrived", "watch", "plan", "call_id", "times", "share", "tail", "slowest" } do
    methods[name] = board[name] -- which finds the board in the crew
end

-- collect(lists, arrivals, futures, hear): the same, and how many have ended is counted. A crew that works for another
-- host tells hear of all of them, in the bytes that its workers have sent.
function methods.collect(c, lists, arrivals, futures, hear)
    local n
    if c.is_for_others then
        n = board.forward(c.board, hear)
    else
        n = board.collect(c.board, lists, arrivals, futures, hear)
    end
    c.n_ends = c.n_ends + n
    return n
end

-- Tasks are to have time limits.
function methods.keep_limits()
    board.keep_limits()
end

local function first_alive(c)
    for _, w in pairs(c.workers) do
        if w.process then return w end
    end
end

-- Waits for news, at most until the next look is due: true, or false; nil after a signal. Where the
-- workers are let go, the end of one is all that can be waited for, and calls for a look.
function methods.await(c, quota, deadline)
    deadline = math.min(deadline, core.deadline(LOOK))
    local w = c.is_closing and first_alive(c)
    if not w then return board.await(c.board, quota, deadline) end
    if core.await(w.process.handle, deadline) ~= nil then return false end
end

-- --- the end --------------------------------------------------------------------

-- Lets the workers go when they have done what is there.
function methods.close(c)
    c.is_closing = true
    board.close(c.board)
end

-- Whether no worker is left.
function methods.is_gone(c)
    for _, w in pairs(c.workers) do
        if w.process then return false end
    end
    return true
end

-- Ends all workers at once, and waits for that.
function methods.kill(c)
    c.is_closing = true
    for _, w in pairs(c.workers) do
        if w.process and w.process.status == "running" then c:kill_worker(w.id) end
    end
    for _, w in pairs(c.workers) do
        local s = w.process
        if s and s.status ~= "new" then
            while s.status == "running" and not process.has_ended(s) do core.await(s.handle, core.deadline()) end
            statistics.ended(c, w)
            note_usage(c, s)
            s.object:close()
        end
        if s then w.tasks = w.tasks + board.n_ended(c.board, w.id) end
        if c.relay then c.relay:close(w, true) end
        w.process, w.state = nil, "gone"
    end
end

-- The same from the finalizer of its pool.
methods.abandon = methods.kill

local gone = {}

-- Gives the board back, when no worker is left and no task: its memory is the next pool's at once, and
-- not when this one is collected. A descriptor of it stays good for an event loop, so then it stays.
function methods.leave(c)
    c.final = statistics.final(c)
    if c.relay then c.relay:leave() end
    board.forget(c.board)
    c[1], c.board, c.handle = nil, nil, nil
    setmetatable(c, gone.meta)
end

-- What is asked of a crew that has left.
function gone.leave() end
function gone.kill() end
function gone.plan() end
function gone.tell() end
function gone.split() end
function gone.look() end
function gone.is_gone() return true end
function gone.is_renewing() return false end
function gone.needs_look() return false end
function gone.collect() return 0 end
function gone.n_waiting() return 0 end
function gone.await() return false end

function gone.watch(c)
    c.bell = c.bell or board.bell()
    return board.bell_fd(c.bell)
end

function gone.call_id() return 0 end
function gone.share(c) return table.unpack(c.final.share) end
function gone.tail() return 0, 0, 0 end
function gone.slowest(c) return c.final.slowest end
function gone.state_of(c) return statistics.copies(c.final.workers), 0 end

gone.meta = { __index = setmetatable(gone, crew.meta) }

-- Whether the worker runs something.
function methods.is_busy(c, id)
    return select(2, board.lane(c.board, id)) ~= nil
end

-- The same of one that is there. While it ends there is a moment in which its memory has gone, and it has not.
local function usage_of(s)
    local cpu, peak = core.usage(s.pid)
    if peak ~= 0 and not process.has_ended(s) then return cpu or 0, peak or 0 end
    core.await(s.handle, core.deadline(LOOK))
    if process.has_ended(s) then return core.cpu_time(s.handle) end
    return cpu or 0, peak or 0
end

-- What all workers have used so far, those that have gone included: seconds of CPU time with what they have started
-- and waited for, and the most bytes that one had resident.
function methods.usage(c)
    local cpu, peak = c.cpu_of_gone, c.peak_of_gone
    for _, w in pairs(c.workers) do
        local its, most = 0, 0
        if w.process then its, most = usage_of(w.process) end
        cpu, peak = cpu + its, math.max(peak, most)
    end
    return cpu, peak
end

-- What the workers are: a list, and how many of them run something.
function methods.state_of(c)
    local list, running = {}, 0
    for id = 1, c.n do
        local w = c.workers[id]
        local _, call = board.lane(c.board, id)
        if call then running = running + 1 end
        list[id] = statistics.of_worker(c, w, { id = id, pid = w.process and w.process.pid,
            state = call and "busy" or "idle",
            tasks = w.tasks + (w.process and board.n_ended(c.board, id) or 0) })
    end
    return list, running
end

return crew
