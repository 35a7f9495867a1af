-- luamp.submit: single tasks of a pool, each with a future.
--
-- A function that is the same whenever it is sent goes to the board once, however often it is submitted;
-- others go with their tasks. A task is its future (future.lua); of those on the board `futures` has each at
-- its slot + 1, where it finds what came of it, and false in the place of one that was cancelled and runs yet.
-- While the board has no room they wait here, encoded as they were at the call: in the order in which they
-- came (`fresh`), or, with priorities and what is to be run again, the lowest one first (`heap`); what is to be
-- run again at a certain time waits for that (`later`). Where priorities differ, the board has but a few at a
-- time (`out`), and a task of a lower one goes ahead of those that were not begun.

local core = require "luamp.core"
local errors = require "luamp.errors"
local future = require "luamp.future"
local life = require "luamp.life"
local options = require "luamp.options"

local submit = {}
local methods = {}
local meta = { __index = methods }

local NOT_KEPT <const> = 0
local MOST_KEPT <const> = 500 -- functions
local ANSWER <const> = 0.002 -- seconds that the task of `apply` has alone
local FEW <const> = 64 -- tasks that may come to wait between two looks
local BOARD <const>, OWN_TERMS <const> = 1, 5
local unpack, globals, rawget = table.unpack, _G, rawget
local set, is_met = core.future.set, core.future.is_met

-- The items are what the straight way needs (future.c): the board, or nil; what is known of functions; the
-- futures; and the terms of tasks that may go it.
function submit.new(d, terms)
    local kept, needs, futures = setmetatable({}, { __mode = "k" }), {}, {}
    local s = setmetatable({ d.crew.board, kept, needs, futures, terms, d = d, n = 0, n_settled = 0, n_out = 0,
        kept = kept, n_kept = 0, needs = needs, futures = futures, is_straight = false, fresh = {}, first = 1,
        last = 0, heap = {}, later = {}, out = setmetatable({}, { __mode = "v" }), has_priorities = false,
        is_full = false, in_question = nil }, meta)
    return s
end

-- --- the order of those that wait -------------------------------------------------

local FIRST_RUN <const> = { attempt = 1, excluded = 0, due = 0 }

local function is_more_urgent(a, b)
    if a.terms.priority ~= b.terms.priority then return a.terms.priority < b.terms.priority end
    return a.number < b.number
end

local function is_due_before(a, b)
    return a.again.due < b.again.due
end

local function push(heap, fut, goes_before)
    local i = #heap + 1
    while i > 1 and goes_before(fut, heap[i // 2]) do
        heap[i], i = heap[i // 2], i // 2
    end
    heap[i] = fut
end

local function pop(heap, goes_before)
    local first, last = heap[1], table.remove(heap)
    if first == last then return first end
    local i, n = 1, #heap
    while 2 * i <= n do
        local child = 2 * i
        if child < n and goes_before(heap[child + 1], heap[child]) then child = child + 1 end
        if not goes_before(heap[child], last) then break end
        heap[i], i = heap[child], child
    end
    heap[i] = last
    return first
end

-- Takes the first of those that wait in the order in which they came.
local function shift(s)
    local fut = s.fresh[s.first]
    s.fresh[s.first] = nil
    if s.first == s.last then s.first, s.last = 1, 0 else s.first = s.first + 1 end
    return fut
end

local function line_up(s, fut)
    if s.has_priorities then return push(s.heap, fut, is_more_urgent) end
    s.last = s.last + 1
    s.fresh[s.last] = fut
end

-- What was not begun comes back from the board, to wait its turn here.
local function recall(s, fut)
    local parcel = s.d.crew:recall(fut.slot)
    if not parcel then return end
    s.out[fut.number], s.futures[fut.slot + 1], s.n_out = nil, nil, s.n_out - 1
    set(fut, "slot", nil)
    set(fut, "parcel", parcel)
    if fut.signal then core.board.bell_at(fut.signal) end
    push(s.heap, fut, is_more_urgent)
end

-- Those that are less urgent come back from the board.
local function make_way(s, priority)
    for _, fut in pairs(s.out) do
        if fut.slot and fut.terms.priority > priority then recall(s, fut) end
    end
end

-- From now on priorities matter: also to those that wait already, wherever that is.
local function heed_priorities(s)
    s.has_priorities, s.n_out = true, 0
    while s.first <= s.last do push(s.heap, shift(s), is_more_urgent) end
    for _, fut in pairs(s.futures) do
        s.n_out = s.n_out + 1
        if fut then s.out[fut.number] = fut end
    end
    make_way(s, -math.huge)
end

-- --- functions ------------------------------------------------------------------

-- Whether nothing in it can change, and whether it has an environment, in which much can.
local function is_constant(f)
    if type(f) ~= "function" then return false end
    local name, value = debug.getupvalue(f, 1)
    return name == nil or name == "_ENV" and value == globals and debug.getupvalue(f, 2) == nil, name ~= nil
end

-- The globals that the function uses, names and values in turn, and at 0 how many these are; nil where some of
-- them are to go with it.
local function needs_of(f)
    if core.globals_of(f)[1] then return nil end
    local needs, n, names, at = {}, 0, core.names_used(f), 1
    while at <= #names do
        local name
        name, at = string.unpack("=s4", names, at)
        needs[n + 1], needs[n + 2], n = name, rawget(globals, name), n + 2
    end
    needs[0] = n
    return needs
end

-- Keeps the function on the board, if it can be: its number.
local function keep(s, f)
    local is, has_environment = is_constant(f)
    if not is or s.n_kept >= MOST_KEPT then return NOT_KEPT end
    local needs = has_environment and needs_of(f)
    local call = needs ~= nil and s.d.crew:keep("all", f) or NOT_KEPT
    s.kept[f] = call -- also where it is not: to find that out takes long
    if call == NOT_KEPT then return call end
    s.needs[call], s.n_kept = needs, s.n_kept + 1
    s.d.statistics:name(call, "pool:submit", f)
    return call
end

-- The function's number on the board; NOT_KEPT: it goes with the task.
local function number_of(s, f)
    local call = s.kept[f] or keep(s, f)
    local needs = s.needs[call]
    if not needs or is_met(needs) then return call end
    s.kept[f] = NOT_KEPT -- what it needs has changed, and may again
    return NOT_KEPT
end

-- --- putting --------------------------------------------------------------------

-- One more is to be done: it is on the board, or waits here.
local function open(s)
    s.n_settled = s.n_settled - 1
end

-- Nothing of it is to be done any more.
local function settle(s, fut)
    s.n_settled = s.n_settled + 1
    set(fut, "slot", nil)
    if fut.parcel then set(fut, "parcel", nil) end
end

-- There is no memory for what waits here, nor will there be.
local function give_up(s, fut, words)
    settle(s, fut)
    s.d.n_failed = s.d.n_failed + 1
    local e = errors.new { kind = "unsendable",
        message = ("%s: task %d: %s"):format(fut.terms.where, fut.number, words) }
    e.task, e.attempt = fut.number, fut.again and fut.again.attempt or 1
    s.d.statistics:failed(fut.terms, e)
    future.failed(fut, e)
    return true
end

-- Puts what waits here: false when there is no room.
local function put(s, fut)
    local run = fut.again or FIRST_RUN
    local slot, words = s.d.crew:put_parcel(fut.kept, fut.terms.timeout, 1, run.excluded, run.attempt, fut.number,
        fut.parcel)
    if words then return give_up(s, fut, words) end
    if not slot then
        s.is_full = true
        return false
    end
    set(fut, "slot", slot)
    s.futures[slot + 1], s.n_out = fut, s.n_out + 1
    if s.has_priorities then s.out[fut.number] = fut end
    s.d.n_put = s.d.n_put + 1
    if fut.signal then core.board.bell_at(fut.signal, slot) end
    if not fut.terms.retries then set(fut, "parcel", nil) end
    return true
end

-- How many may be on the board and not begun.
local function has_room(s)
    return not s.has_priorities or s.n_out < 2 * s.d.crew.n
end

local function feed_heap(s)
    local heap, later = s.heap, s.later
    while later[1] and later[1].again.due <= core.clock() do push(heap, pop(later, is_due_before), is_more_urgent) end
    while heap[1] and has_room(s) do
        if heap[1].parcel and not put(s, heap[1]) then return false end
        pop(heap, is_more_urgent)
    end
    return true
end

function methods.feed(s)
    s.is_full = false
    if (s.heap[1] or s.later[1]) and not feed_heap(s) then return end
    while s.first <= s.last do
        local fut = s.fresh[s.first]
        if fut.parcel and not put(s, fut) then return end
        shift(s)
    end
end

-- The task cannot be sent: its function or one of its arguments.
local function refuse(s, fut, f, ...)
    local values = { n = select("#", ...) + 1, f, ... }
    local words = require "luamp.culprit" (values, values.n, function(i)
        return i == 1 and "its function" or ("argument %d"):format(i - 1)
    end, s.d.crew.reach) or "it changed meanwhile"
    s.d.n_failed = s.d.n_failed + 1
    local e = errors.new { kind = "unsendable", message = fut.terms.where .. ": " .. words }
    e.task, e.attempt = fut.number, 1
    s.d.statistics:failed(fut.terms, e)
    future.failed(fut, e)
end

-- What was sent with the task has ended its pool.
local function end_with_pool(fut)
    future.failed(fut, errors.new { kind = "cancelled", message = fut.terms.where .. " was cancelled" }, true)
end

-- The values as they wait; nil where they cannot be sent to each host that the pool has.
local function parcel_of(crew, ...)
    if crew.pack then return crew:pack(...) end
    return core.pack(...)
end

-- The task, as it is now, waits until it is its turn and there is room: perhaps at once, before less
-- urgent ones. While the board is full one looks now and then whether something has ended there.
local function wait_in_line(s, fut, f, ...)
    local d = s.d
    local parcel
    if fut.kept ~= NOT_KEPT then parcel = parcel_of(d.crew, ...) else parcel = parcel_of(d.crew, f, ...) end
    if not parcel then return refuse(s, fut, f, ...) end
    if fut.pool.phase ~= "open" then return end_with_pool(fut) end
    set(fut, "parcel", parcel)
    open(s)
    line_up(s, fut)
    if s.has_priorities then make_way(s, fut.terms.priority) end
    if s.is_full and not s.has_priorities then
        if s.last % FEW == 0 then d:take_in() end
    elseif not d.is_busy then
        d.n_put = 0
        s:feed()
        if d.n_put > 0 then d.crew:tell(d.n_put) end
    end
end

-- Whether the next task like this one may go straight to the board, until the pool's next round.
local function may_go_straight(s, terms)
    return terms == s[OWN_TERMS] and not terms.retries and not terms.timeout and s.d.is_beside and s[BOARD] ~= nil
end

-- Adds a task: f(...), on those terms (where=, timeout=, retries=, priority=). Its future. One that nothing can
-- want a second time goes to the board without a parcel, if there is room.
function methods.add(s, pool, terms, f, ...)
    local d, call = s.d, number_of(s, f)
    local fut = future.new(pool, terms, call)
    local slot, number, words = false, s.n + 1, nil -- now: to make it may have collected what submits tasks
    s.n, s.n_settled = number, s.n_settled + 1 -- until it is open
    set(fut, "number", number)
    if terms.priority ~= 0 and not s.has_priorities then heed_priorities(s) end
    local is_next = not (d.is_busy or terms.retries or s.has_priorities or s.heap[1] or s.last > 0)
    if is_next and call ~= NOT_KEPT then
        slot, words = d.crew:put(call, terms.timeout, 1, 0, 1, number, ...)
    elseif is_next then
        slot, words = d.crew:put(call, terms.timeout, 1, 0, 1, number, f, ...)
    end
    if words and pool.phase ~= "open" then
        end_with_pool(fut)
    elseif words then
        options.misuse(terms.where, "task %d: %s", number, words)
    elseif slot then
        open(s)
        set(fut, "slot", slot)
        s.futures[slot + 1], s.n_out = fut, s.n_out + 1
        d.crew:tell(1)
    elseif slot == nil then
        refuse(s, fut, f, ...)
    else
        s.is_full = s.is_full or is_next
        wait_in_line(s, fut, f, ...)
    end
    if not d.is_beside and fut.phase == "pending" then d:run_beside() end
    s.is_straight = slot and may_go_straight(s, terms)
    return fut
end

-- Whether no other end can come, and nothing besides is to be looked after: pending futures, too, run
-- beside the script. What was cancelled and is being ended comes as lost, at a look.
local function is_alone(s, terms)
    local d, now = s.d, life.now
    return not d.active[1] and not d.is_busy and not terms.timeout and not now.scopes and not now.beside
        and not d.is_watched and d.crew.apply ~= nil
end

-- The task f(...) as the only one: true and its result, if that comes soon and is one value; else false
-- and its future.
function methods.apply(s, pool, terms, f, ...)
    if s.d.crew:needs_look() then s.d:pump() end
    local call = not terms.retries and is_alone(s, terms) and number_of(s, f) or NOT_KEPT
    if call == NOT_KEPT then return false, s:add(pool, terms, f, ...) end
    local number = s.n + 1
    local is_done, value, ended = s.d.crew:apply(call, nil, 1, 0, 1, number, core.deadline(ANSWER), ...)
    if is_done == nil then return false, s:add(pool, terms, f, ...) end
    s.n = s.n + 1 -- others may have come meanwhile
    if is_done then
        s.n_settled = s.n_settled + 1
        s.d.n_done = s.d.n_done + 1
        return true, value
    end
    local fut = future.new(pool, terms, call)
    set(fut, "number", number)
    if not ended then set(fut, "slot", value) end
    s.n_out = s.n_out + 1
    if ended then
        s:heard(fut, number, unpack(ended, 1, ended.n))
    else
        s.futures[value + 1] = fut
        if s.has_priorities then s.out[number] = fut end
    end
    s.d:run_beside()
    return false, fut
end

-- --- ends -----------------------------------------------------------------------

-- It is to be run again, by another worker than that, when its backoff is over.
local function run_again(s, fut, attempt, id)
    local backoff = fut.terms.retries.backoff or 0
    s.d.n_retried = s.d.n_retried + 1
    set(fut, "again", { attempt = attempt + 1, excluded = id, due = core.clock() + backoff * 2 ^ (attempt - 1) })
    if backoff > 0 then push(s.later, fut, is_due_before) else push(s.heap, fut, is_more_urgent) end
end

-- A task that ran has ended; or, where `fut` is true, so many have, and their futures know.
function methods.heard(s, fut, number, how, id, attempt, ...)
    local n = fut == true and number or 1
    s.n_out, s.is_full = s.n_out - n, false
    if fut == true then
        s.n_settled, s.d.n_done = s.n_settled + n, s.d.n_done + n
        return
    end
    if not fut or fut.phase ~= "pending" then return end -- it was cancelled, or its pool terminated in between
    if how == "done" then
        settle(s, fut)
        s.d.n_done = s.d.n_done + 1
        return future.done(fut, ...)
    end
    set(fut, "slot", nil)
    if fut.signal then core.board.bell_at(fut.signal) end
    local terms = fut.terms
    local failure = s.d.describe(s.d, terms, number, how, id, attempt, ...)
    s.in_question = fut
    local again, e, interruption = s.d.wants_again(terms.retries, failure, attempt)
    s.in_question = nil
    local is_wanted = fut.phase == "pending" -- and was not cancelled by who was asked
    if is_wanted and again then
        run_again(s, fut, attempt, id)
    elseif is_wanted then
        settle(s, fut)
        s.d.n_failed = s.d.n_failed + 1
        future.failed(fut, e)
    end
    if interruption then error(interruption, 0) end
end

-- The task is not wanted any more: false when it has ended already.
function methods.cancel(s, fut)
    if fut.phase ~= "pending" then return false end
    if fut.slot and s.d.crew:retract(fut.slot) then
        s.n_out, s.futures[fut.slot + 1], s.out[fut.number] = s.n_out - 1, nil, nil
    elseif fut.slot then
        local id = s.d.crew:doom(fut.slot)
        if not id then return false end
        s.futures[fut.slot + 1], s.out[fut.number] = false, nil
        s.d.crew:kill_worker(id)
    end
    settle(s, fut)
    return true
end

-- All that is left fails so, or is cancelled.
function methods.fail_all(s, e, is_cancelled)
    local all = { s.in_question }
    for _, list in ipairs { s.heap, s.later, s.fresh, s.futures } do
        for _, fut in pairs(list) do all[#all + 1] = fut or nil end
    end
    for place in pairs(s.futures) do s.futures[place] = nil end
    s.heap, s.later, s.fresh, s.first, s.last, s.is_straight = {}, {}, {}, 1, 0, false
    for _, fut in ipairs(all) do
        if fut.phase == "pending" then
            settle(s, fut)
            future.failed(fut, e, is_cancelled)
        end
    end
end

-- --- questions ------------------------------------------------------------------

-- How many wait here for room on the board.
function methods.n_waiting(s)
    local n = 0
    for _, list in ipairs { s.heap, s.later, table.move(s.fresh, s.first, s.last, 1, {}) } do
        for _, fut in ipairs(list) do
            if fut.parcel then n = n + 1 end
        end
    end
    return n
end

function methods.next_due(s)
    return s.later[1] and s.later[1].again.due
end

function methods.is_idle(s)
    return s.n == s.n_settled
end

return submit
