-- luamp.host: a host that serves the pools of a script on another one (cluster.lua).
--
-- Each pool there has a crew here, with its own workers: a task is put on its board as it came, in the bytes of the
-- message, and what comes of it goes back. The script's side keeps account; this one knows no more than which call
-- has which number here. Both keep functions in the same order, so calls have the same ids on all hosts: random
-- numbers of a seed, which depend on them, are the same everywhere. A call that the script has done with keeps its
-- number here until nothing of it is on the board: the end of a worker that was killed for it may come late.
--
-- Messages to here, all but the first with the pool's number:
--   open      number, options (see cluster.lua)    a crew is made: `up`, or `refused` with the error
--   keep      id, mode, reader, is_measured, bytes of the function, which the workers decode
--   unkeep    id
--   put       id, limit, chunk, excluded, attempt, index; the tail: the values
--   feed      id, limit, chunk, attempt, first, last, most, goes_on; the tail: a list of the items
--   drop      id, index         the task is not wanted any more; nor are with `withdraw` (id) all of a call
--   spare     n                 so many tasks are wanted back that nobody has begun: as `ended`, and then `spared`
--   resize    n, first         so many workers, with the pool's numbers after that one
--   limits                      tasks are to have time limits
--   tell                        what the pool did so far: `told`
--   close, kill                 as of a crew; in the end comes `gone`
--
-- Messages from here: hello {build=, name=, cpus=, pid=}; and with the pool's number up; refused, error; ended, list
-- of ends, each as id, index, how, worker, attempt, value; end, one with its value as a tail that is decoded;
-- spared, n; told, token, figures; broken, error; gone, figures.

local core = require "luamp.core"
local crew = require "luamp.crew"
local errors = require "luamp.errors"
local hosts = require "luamp.hosts"
local life = require "luamp.life"

local link = core.link
local host = {}

-- How a task has ended, as it goes over a link, and what the value is.
host.DONE = 1 -- its results, in a message
host.FAILED = 2 -- the error, in a message
host.LOST = 3 -- a table: why its worker has ended, and its last words
host.UNBEGUN = 4 -- how many from that one on have not begun

local LOOK <const> = 0.05 -- seconds
local MOST_ENDS <const> = 500 -- in one message
local LARGE <const> = 8192 -- bytes of what a task has come to, which goes by itself

local pools = {} -- by number
local script -- the link

local function send(...)
    link.send(script, hosts.message("luamp", function() return "a result" end, ...))
end

-- --- ends -------------------------------------------------------------------------

local function give_ends(p)
    if not p.ends[1] then return end
    send("ended", p.number, p.ends)
    p.ends = {}
end

local kinds = { done = host.DONE, failed = host.FAILED, lost = host.LOST, unbegun = host.UNBEGUN }

-- As an error object that can be sent: without its value, if that cannot.
local function as_error(e)
    if not errors.is_error(e) then return errors.new { kind = "error", message = tostring(e) } end
    if link.message(e) then return e end
    local plain = {}
    for key, value in next, e do plain[key] = value end
    plain.value = nil
    return errors.new(plain)
end

local function cause_of(p, id)
    local w = p.crew.workers[id]
    return { cause = w.cause and as_error(w.cause), overran = w.overran, words = w.words, is_overdue = w.is_overdue }
end

-- hear of a crew: call is the number here.
local function hear(p, call, index, how, id, attempt, value)
    local of_call = p.slots[call]
    if of_call then of_call[index] = nil end
    if how == "lost" then value = cause_of(p, id) end
    if type(value) == "string" and #value > LARGE then
        link.send(script, link.message("end", p.number, p.ids[call], index, kinds[how], id, attempt), value, true)
        return
    end
    local ends = p.ends
    local n = #ends
    ends[n + 1], ends[n + 2], ends[n + 3], ends[n + 4], ends[n + 5], ends[n + 6] =
        p.ids[call], index, kinds[how], id, attempt, value
    if n >= 6 * MOST_ENDS then give_ends(p) end
end

-- --- figures -----------------------------------------------------------------------

local function figures(p)
    local c = p.crew
    local workers, running = c:state_of()
    return { workers = workers, running = running, share = { c:share() }, slowest = c:slowest(), now = core.clock(),
        usage = { c:usage() }, restarts = c.restarts }
end

-- --- tasks -------------------------------------------------------------------------

-- Whether the task went to the board.
local function put(p, task)
    local number = p.numbers[task.id]
    if not number then return true end -- the call is over
    local slot = p.crew:put_parcel(number, task.limit, task.chunk, task.excluded, task.attempt, task.index, task.bytes)
    if not slot then return false end
    p.slots[number][task.index] = slot
    return true
end

-- Whether all of a stretch did; else the rest of it stays to be fed.
local function feed(p, task)
    local number = p.numbers[task.id]
    if not number then return true end
    local following = p.crew:feed(number, task.limit, task.chunk, 0, task.attempt, task.first, task.last, task.items,
        task.most, task.goes_on)
    task.first = following
    return following > task.last
end

-- What waits here for room on the board goes there, in the order in which it came.
local function pump(p)
    local did = false
    while p.waiting[p.first] do
        local task = p.waiting[p.first]
        if not (task.items and feed or put)(p, task) then break end
        p.waiting[p.first], p.first, did = nil, p.first + 1, true
    end
    if p.waiting[p.first] == nil then p.waiting, p.first, p.last = {}, 1, 0 end
    if did then p.crew:tell(1 << 20) end
end

local function line_up(p, task)
    p.last = p.last + 1
    p.waiting[p.last] = task
end

-- --- messages ----------------------------------------------------------------------

local on = {}

-- What a relay asks for calls of a list: all are.
local every_call = setmetatable({}, { __index = function() return true end })

local function new_pool(number, o)
    -- 0: functions that are not kept
    local p = { number = number, ends = {}, ids = { [0] = 0 }, numbers = { [0] = 0 }, slots = { [0] = {} },
        parting = {}, waiting = {}, first = 1, last = 0 }
    p.hear = function(...) hear(p, ...) end
    o.given.host = hosts.name()
    p.crew = crew.new(o.n, o.name, o.given, o.process_options)
    p.crew.is_for_others = true
    p.crew.lists, p.crew.arrivals, p.crew.futures = {}, {}, {}
    if p.crew.relay then p.crew.relay:attach { by_call = every_call } end
    return p
end

-- Raises what ends this process, and no more.
local function check_interruption(e)
    if errors.is_error(e) and e.kind == "interrupted" then error(e, 0) end
end

function on.open(number, o)
    package.path, package.cpath, life.now.seed, life.now.method, life.now.log = o.path, o.cpath, o.seed, o.method, o.log
    for name, object in next, o.registered do core.register(name, object) end
    local ok, p = pcall(new_pool, number, o)
    if ok then
        pools[number] = p
    else
        check_interruption(p)
        send("refused", number, as_error(p))
    end
end

-- Whether all workers of a pool serve. While they start the process goes on serving others, and hears if the pool is
-- not wanted any more.
local function are_up(p)
    if p.is_up then return true end
    local ok, e = pcall(p.crew.are_up, p.crew, p.hear)
    if ok and e then
        p.is_up = true
        send("up", p.number)
    elseif not ok then
        check_interruption(e)
        p.crew:kill()
        pools[p.number] = nil
        send("refused", p.number, as_error(e))
    end
    return p.is_up
end

-- The workers decode it: what it is made of, and the globals that it sets, are theirs alone.
function on.keep(p, id, mode, reader, is_measured, bytes)
    local number = p.crew:keep(mode, bytes, reader, is_measured)
    assert(number, "luamp: too many functions")
    p.numbers[id], p.ids[number], p.slots[number] = number, id, {}
end

function on.put(p, id, limit, chunk, excluded, attempt, index, bytes)
    line_up(p, { id = id, limit = limit, chunk = chunk, excluded = excluded, attempt = attempt, index = index,
        bytes = bytes })
end

function on.feed(p, id, limit, chunk, attempt, first, last, most, goes_on, bytes)
    local ok, list = pcall(core.decode, bytes, true)
    if not ok then
        check_interruption(list)
        for index = first, last do
            table.move({ id, index, host.FAILED, 0, attempt, link.message(errors.new { kind = "unsendable",
                message = "cannot receive the item: " .. tostring(list) }) }, 1, 6, #p.ends + 1, p.ends)
        end
        return
    end
    line_up(p, { id = id, limit = limit, chunk = chunk, attempt = attempt, first = first, last = last, most = most,
        goes_on = goes_on, items = table.move(list, 1, last - first + 1, first, {}) })
end

-- It may wait, lie on the board, or run.
function on.drop(p, id, index)
    local number = p.numbers[id]
    for i = p.first, p.last do
        local task = p.waiting[i]
        if task and task.id == id and task.index == index then task.id = -1 end -- which nobody has
    end
    local slot = number and p.slots[number][index]
    if not slot then return end
    p.slots[number][index] = nil
    if not p.crew:retract(slot) then
        local worker = p.crew:doom(slot)
        if worker then p.crew:kill_worker(worker) end
    end
end

function on.withdraw(p, id)
    local number = p.numbers[id]
    if not number then return end
    for i = p.first, p.last do
        if p.waiting[i] and p.waiting[i].id == id then p.waiting[i].id = -1 end
    end
    p.crew:withdraw(number)
    for _, worker in ipairs(p.crew:doom_call(number)) do p.crew:kill_worker(worker) end
end

-- What there is of it yet is not wanted, nor will be.
function on.unkeep(p, id)
    on.withdraw(p, id)
    local number = p.numbers[id]
    if number then p.numbers[id], p.parting[number] = nil, true end
end

-- Functions go when nothing of them is left on the board.
local function part(p)
    for number in next, p.parting do
        if not p.crew:has_tasks(number) then
            p.crew:unkeep(number)
            p.ids[number], p.slots[number], p.parting[number] = nil, nil, nil
        end
    end
end

-- The task, or stretch, that is to be begun last, and is not any more: its call's id, its indexes, and the attempt.
local function take_last(p)
    while p.waiting[p.last] do
        local task = p.waiting[p.last]
        p.waiting[p.last], p.last = nil, p.last - 1
        if p.numbers[task.id] then
            return task.id, task.first or task.index, task.last or task.index, task.attempt
        end
    end
    local call, first, last, attempt = p.crew:spare(false)
    if not call then return nil end
    p.slots[call][first] = nil
    return p.ids[call], first, last or first, attempt
end

function on.spare(p, n)
    local n_given = 0
    while n_given < n do
        local id, first, last, attempt = take_last(p)
        if not id then break end
        n_given = n_given + last - first + 1
        table.move({ id, first, host.UNBEGUN, 0, attempt, last - first + 1 }, 1, 6, #p.ends + 1, p.ends)
    end
    give_ends(p)
    send("spared", p.number, n_given)
end

function on.resize(p, n, first)
    p.crew.given.first = first
    local ok, e = pcall(p.crew.resize, p.crew, n, "pool:resize")
    if ok then return end
    check_interruption(e)
    core.report(("luamp: host %s: %s\n"):format(hosts.name(), e))
end

function on.limits(p) p.crew:keep_limits() end

function on.tell(p, token) send("told", p.number, token, figures(p)) end

function on.close(p)
    p.is_closing = true
end

function on.kill(p)
    p.crew:kill()
    p.is_killed = true
end

local function act(op, number, ...)
    if op == "open" then return on.open(number, ...) end
    local p = pools[number]
    if p then on[op](p, ...) end
end

-- Takes all messages that are there; false when the script is gone.
local function take_messages()
    while true do
        local message = table.pack(link.take(script))
        if message[1] == nil then return true elseif message[1] == false then return false end
        if message[2] == nil then error("luamp: a message of rank 0 cannot be read: " .. tostring(message[3]), 0) end
        act(table.unpack(message, 2, message.n))
    end
end

-- --- the loop ----------------------------------------------------------------------

local function leave(p)
    local last = figures(p)
    pools[p.number] = nil
    if not p.is_killed then p.crew:leave() end
    send("gone", p.number, last)
end

local function look_after(p)
    if p.is_killed then return leave(p) end
    if not are_up(p) then return end
    p.crew:collect({}, {}, {}, p.hear)
    if p.crew:needs_look() or next(p.parting) then p.crew:look(p.hear) end
    part(p)
    pump(p)
    if p.is_closing and not p.crew.is_closing and p.waiting[p.first] == nil then p.crew:close() end
    give_ends(p)
    if p.crew.broken and not p.is_broken then
        p.is_broken = true
        send("broken", p.number, as_error(p.crew.broken))
    end
    if (p.crew.is_closing or p.crew.broken) and p.crew:is_gone() then leave(p) end -- a resize may bring some again
end

-- What is waited for: messages, and news of the workers. A crew that starts or is let go is looked at more often.
local function wait(set)
    local fds, longest = { set }, next(pools) and LOOK or math.huge
    for _, p in pairs(pools) do
        if p.crew.is_closing or not p.is_up then longest = 0.005 end
        if not p.crew.is_closing then fds[#fds + 1] = p.crew:watch() end
    end
    local deadline = longest < math.huge and core.deadline(longest) or core.deadline()
    if not core.poll(fds, deadline) then core.serve_signals() end
end

local function serve_script()
    script = link.new(link.stream(0))
    local set = assert(link.set())
    assert(link.join(script, set))
    send("hello", hosts.hello())
    while true do
        link.flush(script)
        wait(set)
        if not take_messages() then return end
        for _, p in pairs(pools) do look_after(p) end
    end
end

-- Serves until the script has ended: the body of a rank above 0. A signal that ends it is its launcher's, who knows of
-- it.
function host.serve()
    life.own()
    local ok, e = pcall(serve_script)
    for _, p in pairs(pools) do p.crew:kill() end
    if ok then return end
    if errors.is_error(e) and e.kind == "interrupted" then os.exit(e.exitcode) end
    error(errors.is_error(e) and tostring(e) or e, 0)
end

return host
