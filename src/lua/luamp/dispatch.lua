-- luamp.dispatch: the ledger of a pool: what its workers were given, and what becomes of it.
--
-- A call is one map, or one future: a function, a source of items, and what is known of each item
-- by its number. The ledger of all that is here, in the owner's own memory; the board (crew.lua)
-- only carries it.
--
-- Promise: each task of a call ends in one result or one error object. A task is begun once, unless
-- the call allows further runs; a worker's death is the failure of the one task that it had begun.
--
--   put      tasks go to the board (putting.lua says which, and when)
--   ended    a result goes to the call's list, or to its `done`; a failure is run again, or
--            counts, by the call's options
--   stopped  what was not begun comes back from the board, and who runs something of it is killed;
--            a result may come all the same

local core = require "luamp.core"
local errors = require "luamp.errors"
local failures = require "luamp.failures"
local life = require "luamp.life"
local options = require "luamp.options"
local progress = require "luamp.progress"
local putting = require "luamp.putting"
local sharing = require "luamp.sharing"
local statistics = require "luamp.statistics"
local submit = require "luamp.submit"
local future = require "luamp.future"

local dispatch = {}
local methods = {}
dispatch.meta = { __index = methods }

-- --- calls ----------------------------------------------------------------------

local MOST_TOGETHER <const> = 1024

-- How many tasks of the call may go as a batch: of those whose results all come at the end.
local function most_together(call)
    if not call.list or call.is_stream or call.arrivals or call.timeout or call.order or call.identity
        or call.chunksize == 1 or call.recorder or not call.source.list and not call.is_inherited then return 0 end
    return math.min(call.chunksize or MOST_TOGETHER, MOST_TOGETHER)
end

-- Whether each end must be told of, for the item to be let go: those that are read might have no end.
local function is_told(call)
    return call.saved and not call.is_stream and (call.retries or call.keeps_items)
end

local function into_list(call, index, value)
    call.list[index], call.has_holes = value, call.has_holes or value == nil
end

-- Adds a call. Its fields, but for those of the options:
--   where, f, mode    what it is, for errors; its function, and how workers call it (worker.lua)
--   source, next      where items come from, and which number is next; `last`: of the last one
--   call              the function's number with the crew
--   list              takes single results, by their numbers; done(call, index, values...) others
--   saved             items that were read and are still wanted, by their numbers; nil: the source has them
--   arrivals          takes the numbers of results, in the order of their arrival; or nil
--   n_out, n_ended    tasks on the board, and tasks that have ended
--   most              tasks that may go as a batch: results come when it ends; 0: none do
--   rest              stretches of those that have come back unbegun: a list of {first, last}
--   again             tasks that are to be run again: a list of {due, index, attempt, excluded}
--   failures          error objects, in the order of their arrival
--   is_short          its input was asked last, and had no item just then
--   taken             of an iterator, how many results were taken from it; is_abandoned: nobody has that any more
--   broken            what ended it that is no failure of a task: what its input raised, or the pool's end
--   reach             "far": where its crew has workers on other hosts
--   recorder          of a call with a journal (recorder.lua): keeps results back until they are committed
function methods.add(d, call)
    d.n_calls = d.n_calls + 1
    call.number = d.n_calls
    call.next, call.n_out, call.n_ended, call.n_listed, call.last = 1, 0, 0, 0, call.source.n
    call.failures, call.again, call.rest, call.reach = {}, {}, {}, d.crew.reach
    call.most = most_together(call)
    call.call = d.crew:keep(call.mode, call.f, call.source.in_worker, call.recorder ~= nil)
    if call.call == false then options.misuse(call.where, "too many calls of the pool at once") end
    if not call.call then
        local message = require "luamp.culprit" ({ call.f }, 1, "function", call.reach)
        error(errors.new { kind = "unsendable", message = call.where .. ": " .. message }, 0)
    end
    if call.timeout then d.crew:keep_limits() end
    call.done = call.done or into_list
    if not is_told(call) then d.lists[call.call] = call.list end
    d.arrivals[call.call], d.by_call[call.call] = call.arrivals, call
    d.active[#d.active + 1], call.phase = call, "active"
    d.statistics:begin_call(call)
    if call.progress then progress.begin(d, call) end
    if d.is_watched then d:run_beside() end
end

local function drop(d, call)
    for i, other in ipairs(d.active) do
        if other == call then
            table.remove(d.active, i)
            break
        end
    end
    d.statistics:end_call(call)
    d.crew:unkeep(call.call)
    d.lists[call.call], d.arrivals[call.call], d.by_call[call.call] = nil, nil, nil
    if call.meter then progress.finish(d, call) end
    if call.finished then call:finished() end
end

-- Ends the call when nothing more of it can come.
function methods.settle(d, call)
    if call.recorder then call.recorder:look(d) end
    if d.by_call[call.call] ~= call then return end -- its pool was terminated in between
    if call.list then
        local n_done, n_nil = d.crew:n_done(call.call)
        local n = n_done - call.n_listed
        call.has_holes = call.has_holes or n_nil > 0
        call.n_listed, call.n_out = call.n_listed + n, call.n_out - n
        call.n_ended, d.n_done = call.n_ended + n, d.n_done + n
    end
    if call.phase == "active" and putting.is_exhausted(call) and call.n_out == 0 and #call.again == 0 then
        call.phase = "ended"
        drop(d, call)
    elseif call.phase == "stopping" and call.n_out == 0 then
        call.phase = "stopped"
        drop(d, call)
    end
end

-- Ends the call before its time: nothing of it is to be begun any more, and nothing runs on.
function methods.stop(d, call)
    if future.is_future(call) then return d.submissions:cancel(call) end
    if call.phase ~= "active" then return false end
    call.phase, call.again, call.rest, call.stopped_in = "stopping", {}, {}, d.n_rounds
    call.n_out = call.n_out - d.crew:withdraw(call.call)
    for _, id in ipairs(d.crew:doom_call(call.call)) do d.crew:kill_worker(id) end
    d:settle(call)
    return true
end

-- Takes in what has come of it; a call that nobody takes from any more is stopped.
local function look_at(d, call)
    if not (call.is_abandoned and d:stop(call)) then d:settle(call) end
end

-- --- ends -----------------------------------------------------------------------

-- Whether a worker has begun something of it.
function methods.is_running(d, call)
    if future.is_future(call) then return call.slot and d.crew:runner(call.slot) ~= nil end
    return d.crew:is_running(call.call)
end

local function run_again(d, call, index, attempt, id)
    local backoff = call.retries.backoff or 0
    local delay = backoff > 0 and backoff * 2 ^ (attempt - 1) or 0
    d.n_retried = d.n_retried + 1
    table.insert(call.again, { due = core.clock() + delay, index = index, attempt = attempt + 1, excluded = id })
end

-- A task has failed for good.
function methods.fail(d, call, index, e)
    call.n_ended, d.n_failed = call.n_ended + 1, d.n_failed + 1
    call.failures[#call.failures + 1] = e
    if call.saved then call.saved[index] = nil end
    if call.failed then call.failed(call, index, e) end
    if call.on_error ~= "collect" then d:stop(call) end
end

-- Tasks that were on the board and not begun: they are to be put again.
function methods.take_back(d, call, first, last)
    call.n_out = call.n_out - (last - first + 1)
    if call.phase == "active" then call.rest[#call.rest + 1] = { first, last } else d:settle(call) end
end

-- A task has ended. whose: the number of its call, or what stands for it among the futures (submit.lua).
local function heard(d, whose, index, how, id, attempt, ...)
    if math.type(whose) ~= "integer" then return d.submissions:heard(whose, index, how, id, attempt, ...) end
    local call = d.by_call[whose]
    if not call then return end -- all was given up before
    if how == "unbegun" then return d:take_back(call, index, index + ... - 1) end
    call.n_out = call.n_out - 1
    if how == "done" then -- also after a failure: who takes results may have those that came all the same
        call.n_ended, d.n_done = call.n_ended + 1, d.n_done + 1
        if call.saved and not call.keeps_items then call.saved[index] = nil end
        if call.recorder then call.recorder:hold(d, index, id, attempt, ...) else call.done(call, index, ...) end
    end
    if call.phase ~= "active" then
        if how == "failed" and call.stopped_in == d.n_rounds then -- it is known by then
            call.failures[#call.failures + 1] = failures.describe(d, call, index, how, id, attempt, ...)
        end
        return d:settle(call)
    end
    if how == "done" then return end
    local failure = failures.describe(d, call, index, how, id, attempt, ...)
    local again, e, interruption = failures.wants_again(call.retries, failure, attempt)
    if call.phase == "active" and again then
        run_again(d, call, index, attempt, id)
    elseif call.phase == "active" then -- and was not cancelled by who was asked
        d:fail(call, index, e)
    end
    if interruption then error(interruption, 0) end
end

-- How many tasks nobody has begun, of inputs whose length is known.
function methods.n_waiting(d)
    local n = d.crew:n_waiting() + d.submissions:n_waiting()
    for _, call in ipairs(d.active) do
        local is_open = call.phase == "active" and call.last ~= nil
        n = n + #call.again + (is_open and call.last - call.next + 1 or 0)
    end
    return n
end

-- --- beside the script ------------------------------------------------------------

-- There is something that goes on while the script does other things: its waits look after that, too.
function methods.run_beside(d)
    if not life.now.beside then
        life.now.beside = {}
        life.wait_in_lua()
    end
    life.now.beside[d] = true
    if not d.is_beside then d.statistics:enter() end
    d.is_beside = true
    if d.is_watched then d:plan() end
end

local function is_idle(d)
    return not d.active[1] and not d.ended[1] and d.submissions:is_idle()
end

-- Nothing does any more.
local function leave_if_idle(d)
    local beside = life.now.beside
    if not beside or not beside[d] or not is_idle(d) then return end
    beside[d], d.is_beside = nil, false
    d.statistics:leave()
    if next(beside) then return end
    life.now.beside = nil
    life.wait_in_lua()
end

-- Waits for the descriptors as life.poll does without this, and for all that goes on beside.
function life.poll_beside(poll, fds, deadline)
    while true do
        local all, list = table.move(fds, 1, #fds, 1, {}), {}
        for d in pairs(life.now.beside or {}) do
            d:pump()
            if (life.now.beside or {})[d] then list[#list + 1] = d end
        end
        for _, d in ipairs(list) do all[#all + 1] = d.crew:watch() end
        local ready = poll(all, math.min(deadline, core.deadline(0.05)))
        if not ready then return nil end
        local own = {}
        for _, i in ipairs(ready) do
            if i <= #fds then own[#own + 1] = i end
        end
        for _, d in ipairs(list) do d:pump() end
        if own[1] or core.clock() * 1e9 >= deadline then return own end
    end
end

-- --- the loop -------------------------------------------------------------------

-- For a crew; single tasks are on those terms, if nothing else is said.
function dispatch.new(crew, terms)
    local d = setmetatable({ crew = crew, active = {}, by_call = {}, lists = {}, arrivals = {}, n_calls = 0, n_done = 0,
        n_failed = 0, n_retried = 0, n_put = 0, n_rounds = 0, is_busy = false, is_beside = false, is_watched = false,
        ended = {}, unasked = {}, describe = failures.describe, wants_again = failures.wants_again }, dispatch.meta)
    d.statistics = statistics.new(d)
    d.submissions = submit.new(d, terms)
    d.futures = d.submissions.futures
    d.hear = function(...) heard(d, ...) end
    crew.lists, crew.arrivals, crew.futures = d.lists, d.arrivals, d.futures
    if crew.relay then crew.relay:attach(d) end
    return d
end

-- Fails all that there is.
function methods.give_up(d, e, is_cancelled)
    for i = #d.active, 1, -1 do
        local call = d.active[i]
        call.phase, call.broken, call.is_cancelled = "stopped", e, is_cancelled
        drop(d, call)
    end
    d.submissions:fail_all(e, is_cancelled)
    leave_if_idle(d)
end

-- Whether nothing of the call goes on. Its window is full, or its queue empty.
local function is_at_rest(call)
    return call.taken and call.n_out == 0 and not call.again[1] and (call.is_short or putting.headroom(call) <= 0)
end

-- Whether nothing of the pool goes on but reading of queues that are empty: no task of it puts an item there.
local function are_at_rest(d)
    for _, call in ipairs(d.active) do
        if not is_at_rest(call) then return false end
    end
    return d.submissions:is_idle()
end

-- Ends calls that could go on only if somebody took from them: at the pool's end nobody does.
function methods.give_up_untaken(d)
    local are_resting = are_at_rest(d)
    for i = #d.active, 1, -1 do
        local call = d.active[i]
        if is_at_rest(call) and (are_resting or putting.headroom(call) <= 0) then
            call.broken = errors.new { kind = "cancelled",
                message = call.where .. ": the pool has ended before its results were taken" }
            d:stop(call)
        end
    end
end

-- Calls what futures that have ended were given for that, outside of the pool's own work.
function methods.run_ended(d)
    while d.ended[1] and not d.is_busy do
        if not future.run_hook(d.ended[1]) then table.remove(d.ended, 1) end
    end
end

-- When something is to be done without news, in seconds of the clock.
local function next_moment(d)
    local due = d.submissions:next_due() or math.huge
    for _, call in ipairs(d.active) do
        for _, task in ipairs(call.again) do due = math.min(due, task.due) end
        if call.recorder then due = math.min(due, call.recorder.due) end
    end
    return due
end

-- For the descriptors: when there will be something to do though no worker tells anything; none at all
-- for a pool of which nothing is wanted.
function methods.plan(d)
    local due = next_moment(d)
    if d.crew:is_renewing() then due = math.min(due, core.clock() + 0.05) end
    d.crew:plan(is_idle(d) and -1 or due < math.huge and due or 0)
end

local function go_round(d, must_look)
    d.crew:collect(d.lists, d.arrivals, d.futures, d.hear)
    for i = #d.active, 1, -1 do look_at(d, d.active[i]) end
    if must_look or d.crew:needs_look() then d.crew:look(d.hear) end
    if d.crew.broken then d:give_up(d.crew.broken) end
    putting.feed(d)
end

-- Takes in what there is, and puts what can be put. What handlers do meanwhile does not come in between.
function methods.take_in(d, must_look)
    if d.is_busy then return end
    d.is_busy = true
    d.n_rounds, d.submissions.is_straight = d.n_rounds + 1, false
    local ok, e = pcall(go_round, d, must_look)
    d.is_busy = false
    if not ok then error(e, 0) end
end

-- The same, and what is to be done when something has ended.
function methods.pump(d, must_look)
    if d.is_busy then return end
    d:take_in(must_look)
    if d.metered then progress.look(d) end
    d:run_ended()
    leave_if_idle(d)
    if d.is_watched then d:plan() end
end

-- The pool's descriptor, for an event loop: whose calls of luamp look after what goes on then.
function methods.pollfd(d)
    d.is_watched = true
    if not is_idle(d) then d:run_beside() end
    d:pump()
    return d.crew:watch(true)
end

-- No worker is left, and nothing will come.
function methods.leave(d)
    d.statistics:finish()
    if is_idle(d) and not d.is_watched then d.crew:leave() end
end

-- Of how many ends each worker tells once: while they come fast, of many together.
local function quota(d, call)
    if not call or not call.list or call.taken or call.most > 0 then return 1 end
    return math.max(1, math.min(256, call.n_out // (4 * math.max(1, d.crew.n))))
end

-- When something is to be done without news.
local function next_due(d, deadline)
    return math.min(deadline, core.deadline(math.max(0, next_moment(d) - core.clock())))
end

-- Whether this process will do something for the pool by and by that others may wait for: that is no deadlock.
local function has_plans(d)
    return next_moment(d) < math.huge or d.crew:is_renewing()
end

-- Whether it will do so for any pool of which something goes on beside the script.
function life.has_plans()
    for d in pairs(life.now.beside or {}) do
        if has_plans(d) then return true end
    end
    return false
end

-- Whether there was news before the next look is due; nil after a signal. Other pools go on meanwhile.
local function await_news(d, deadline, call)
    for other in pairs(life.now.beside or {}) do
        if other ~= d then other:pump() end
    end
    local moment = next_due(d, deadline)
    if not life.now.scopes then return d.crew:await(quota(d, call), moment) end
    local ready = life.watch({ d.crew:watch() }, math.min(moment, core.deadline(0.05)))
    return ready and ready[1] ~= nil
end

-- Waits until is_over() or the deadline: whether it is.
function methods.await(d, is_over, deadline, call)
    if d.is_busy then
        options.misuse("mp.pool", "a function that gives the input, or says whether to run a task again, "
            .. "cannot wait for the same pool")
    elseif d.crew.running then
        options.misuse("mp.pool", "a task cannot wait for the pool that runs it")
    end
    local function look() -- true when it is over, false after a look in vain, nil when something came
        local news = await_news(d, deadline, call)
        if news == nil then return nil end
        d:pump(not news)
        if is_over() then return true elseif news or has_plans(d) then return nil end
        return false
    end
    d:pump()
    if is_over() then return true end
    if deadline == core.deadline() then
        if not look() then sharing.wait_for_ever(look) end
        return true
    end
    repeat
        if core.clock() * 1e9 >= deadline then return false end
    until look()
    return true
end

return dispatch
