-- luamp.cluster: a crew whose workers are on several hosts.
--
-- The workers of this host are a crew as ever (crew.lua), `inner`; those of another are a crew there, served by that
-- host (host.lua, which has the messages). The methods are those of crew.lua, so the pool's ledger knows nothing of
-- hosts. Calls have the numbers that the inner board gives them; tasks here its slots, those on other hosts slots from
-- FIRST_SLOT on. A host's workers have the numbers after those of the hosts before it, which a
-- resize may change; in mp.worker.id a worker has the number that it began with.
--
--   Credit   a host is given two chunks for each of its workers, and more when it has sent back some; this host's
--            board no more than its workers can begin. What is left waits with the ledger, for whoever is free.
--   Sharing  when nothing is left to be put and a worker has nothing to do, hosts that have more than their workers run
--            are asked for some of it, and this host's board is: single tasks go to another place in the bytes that
--            were kept, stretches of batches go back to the ledger.
--   Loss     a host whose link has ended is lost for good. What it had is done by others: batches go back to
--            the ledger, single tasks are sent again from here, in the bytes that were kept for that. So a task may
--            run twice, where its host was lost; it has one end all the same, for of a lost host nothing is heard.
--            What is lost with a worker is the task's failure, as on this host, and its host's affair.
--   Objects  that the processes of a host share cannot be sent to another.

local core = require "luamp.core"
local crew = require "luamp.crew"
local errors = require "luamp.errors"
local host = require "luamp.host"
local hosts = require "luamp.hosts"
local look_for_modules = require "luamp.modules"
local options = require "luamp.options"
local placing = require "luamp.placing"
local side = require "luamp.side"

local link = core.link
local cluster = {}
local methods = {}
cluster.meta = { __index = methods }

for _, part in ipairs { placing.methods, (require "luamp.cluster_figures") } do
    for name, method in next, part do methods[name] = method end
end

local LOOK <const> = 0.05 -- seconds

local n_pools = 0

-- A crew of n workers on those hosts. One that gets none is told of all the same: a resize may bring some, which are to
-- know the calls by the same ids.
function cluster.new(n, name, given, process_options, list)
    local shared, orders = side.shares(n, list), {}
    n_pools = n_pools + 1
    given.reach = "far"
    local c = setmetatable({ n = n, n_here = 0, name = name, given = given, number = n_pools, hosts = list,
        process_options = process_options, others = {}, by_rank = {}, restarts = 0, counts = {}, ids = {},
        by_slot = {}, next_slot = side.FIRST_SLOT, again = {}, broken = nil, running = false, is_closing = false,
        is_cluster = true, reach = "far", n_told = 0, token = 0, read = {}, fed = {} }, cluster.meta)
    if given.output == "ordered" and list[2] then
        options.misuse("mp.pool", "option 'output' cannot be \"ordered\" on several hosts")
    end
    c.farewell = link.message("kill", c.number)
    side.by_number[c.number] = c
    look_for_modules(false)
    local first = 0
    for i, h in ipairs(list) do -- an order may be refused: before any process is made
        if h.is_here then c.n_here = shared[i] else orders[i] = side.order(c, h, shared[i], first) end
        first = first + shared[i]
    end
    c.inner = crew.new(c.n_here, name, given, process_options)
    c.relay, c.workers = c.inner.relay, setmetatable({}, { __index = c.inner.workers })
    first = 0
    for i, h in ipairs(list) do
        if orders[i] then side.open(c, h, shared[i], first, orders[i]) end
        first = first + shared[i]
    end
    return c
end

-- --- functions ----------------------------------------------------------------------

-- keep(mode, f, reader, is_measured): the number of the call; false when there are too many; nil for one that cannot
-- be sent.
function methods.keep(c, mode, f, reader, is_measured)
    look_for_modules(false)
    local bytes = link.message(f)
    if not bytes then return nil end
    local call = c.inner:keep(mode, f, reader, is_measured)
    if not call then return call end
    local id = c.inner:call_id(call)
    c.ids[call], c.counts[call] = id, { n_done = 0, n_nil = 0 }
    for _, s in ipairs(c.others) do
        if s.state ~= "gone" then side.send(s, "keep", c.number, id, mode, reader, is_measured, bytes) end
    end
    return call
end

function methods.unkeep(c, call)
    local id = c.ids[call]
    c.inner:unkeep(call)
    c.ids[call], c.counts[call], c.read[call], c.fed[call] = nil, nil, nil, nil
    placing.forget(c, call)
    for _, s in ipairs(c.others) do
        for _, task in ipairs(side.list_out(s, id)) do side.note_in(c, task) end
        s.open[id], s.batches[id] = nil, nil
        if s.state ~= "gone" then side.send(s, "unkeep", c.number, id) end
    end
end

function methods.call_id(c, call) return c.inner:call_id(call) end

function methods.keep_limits(c)
    c.inner:keep_limits()
    for _, s in ipairs(c.others) do side.send(s, "limits", c.number) end
end

-- --- ends ----------------------------------------------------------------------------------

-- One result goes into the call's list.
local function put_result(c, call, list, index, result)
    local count, arrivals = c.counts[call], c.arrivals[call]
    if result == nil then result, count.n_nil = list[0], count.n_nil + 1 end
    list[index], count.n_done = result, count.n_done + 1
    if arrivals then c.inner:arrived(call, index, arrivals) end
end

local function tell(c, task, ...)
    local whose = c.futures[task.slot + 1]
    if not task.last then c.futures[task.slot + 1] = nil end
    if whose == nil then whose = task.call end
    c.hear(whose, ...)
end

-- The same of what a task has returned or raised, or of what kept its message from being read, which an interruption
-- is to go on from.
local function tell_values(c, s, task, index, kind, id, attempt, ok, ...)
    local e = ...
    if not ok then
        tell(c, task, index, "damaged", id, attempt, e)
        if type(e) ~= "string" then error(e, 0) end
        return
    end
    local list = kind == host.DONE and select("#", ...) == 1 and c.futures[task.slot + 1] == nil and c.lists[task.call]
    if list and c.counts[task.call] then return put_result(c, task.call, list, index, e) end
    if kind == host.FAILED and errors.is_error(e) then e.host = s.host.name end
    tell(c, task, index, kind == host.DONE and "done" or "failed", id, attempt, ...)
end

-- What a task has come to, as its host has told: a result into the call's list, or all of it to hear.
local function deliver(c, s, task, index, kind, worker, attempt, ...)
    local id, value = worker == 0 and 0 or side.worker_number(s, worker), ...
    if kind <= host.FAILED then
        return tell_values(c, s, task, index, kind, id, attempt, ...)
    elseif kind == host.UNBEGUN then
        return tell(c, task, index, "unbegun", id, attempt, value)
    end
    value.id = id
    rawset(c.workers, id, value)
    tell(c, task, index, "lost", id, attempt)
end

-- One of a stretch, or more that have not begun: whether nothing more of it is out.
local function note_ended(task, index, kind, value)
    local n = kind == host.UNBEGUN and value or 1
    for i = index, index + n - 1 do task.ended[i] = true end
    return side.note_ended(task, n)
end

-- ...: of what a task has returned or raised whether it could be decoded, and that; else one value.
local function take_end(c, s, id, index, kind, worker, attempt, ...)
    local task = side.find_out(s, id, index)
    if not task or not task.last and task.attempt ~= attempt then return 0 end -- it was given up
    if not task.last or note_ended(task, index, kind, (...)) then side.note_in(c, task) end
    if kind == host.UNBEGUN and not task.last then
        c.again[#c.again + 1] = task
        return 0
    end
    deliver(c, s, task, index, kind, worker, attempt, ...)
    return kind == host.UNBEGUN and 0 or 1
end

local on = {}

function on.up(_, s) s.state, s.credit = "serves", s.credit + 2 * s.n end

function on.refused(_, s, e) s.state, s.why = "refused", e end

-- What is raised within keeps its place here: the ends after that one come the next time.
function on.ended(c, s, ends)
    local n = 0
    while ends[ends.at or 1] do
        local i = ends.at or 1
        ends.at = i + 6
        local id, index, kind, worker, attempt, value = table.unpack(ends, i, i + 5)
        if kind <= host.FAILED then
            n = n + take_end(c, s, id, index, kind, worker, attempt, pcall(core.decode, value, true))
        else
            n = n + take_end(c, s, id, index, kind, worker, attempt, value)
        end
    end
    return n
end

on["end"] = take_end

function on.spared(_, s, n) side.note_spared(s, n) end

function on.told(_, s, token, figures)
    s.last_token = token
    side.note_figures(s, figures)
end

-- Its workers cannot live. Others may do better; where there are none, that is why.
function on.broken(c, s, e)
    s.state, s.why = "broken", e
    c.must_look = true
end

-- Of one that is broken its tasks are to be given up yet.
function on.gone(_, s, figures)
    if s.state ~= "broken" then s.state = "gone" end
    side.note_figures(s, figures)
end

-- What is in the inboxes, and how many tasks have ended.
local function act_on_messages(c)
    local n = 0
    for _, s in ipairs(c.others) do
        while s.inbox[1] do -- it stays until it is done with: what is raised within is not to lose it
            local message = s.inbox[1]
            n = n + (on[message[2]](c, s, table.unpack(message, 4, message.n)) or 0)
            if s.inbox[1] == message then table.remove(s.inbox, 1) end
        end
    end
    return n
end

-- A single task goes to another place: there its future finds it under another number, if that is here.
local function put_again(c, task)
    local place = placing.next_place(c, task.excluded)
    if not place then return false end
    if place ~= true then
        side.put_there(c, place, task)
        return true
    end
    local slot = c.inner:put_parcel(task.call, task.limit, task.chunk, task.excluded, task.attempt, task.index,
        task.bytes)
    if not slot then return false end
    c.n_told = c.n_told + 1
    local fut = c.futures[task.slot + 1]
    if fut ~= nil then c.futures[slot + 1], c.futures[task.slot + 1] = fut, nil end
    if fut then core.future.set(fut, "slot", slot) end
    return true
end

function methods.feed_again(c)
    while c.again[1] and put_again(c, c.again[1]) do table.remove(c.again, 1) end
    c:tell()
end

-- collect(lists, arrivals, futures, hear): how many tasks have ended.
function methods.collect(c, lists, arrivals, futures, hear)
    c.lists, c.arrivals, c.futures, c.hear = lists, arrivals, futures, hear
    local n = c.inner:collect(lists, arrivals, futures, hear)
    side.read_hosts(c)
    n = n + act_on_messages(c)
    if c.again[1] then c:feed_again() end
    return n
end

function methods.arrived(c, ...) return c.inner:arrived(...) end

function methods.n_done(c, call)
    local n, n_nil = c.inner:n_done(call)
    local count = c.counts[call]
    if not count then return n, n_nil end
    return n + count.n_done, n_nil + count.n_nil
end

-- --- loss --------------------------------------------------------------------------------

-- Stretches of a batch that have not come back go to the ledger again.
local function give_back(task, hear)
    local first
    for index = task.index, task.last + 1 do
        local is_out = index <= task.last and not task.ended[index]
        if is_out and not first then first = index end
        if first and not is_out then
            hear(task.call, first, "unbegun", 0, task.attempt, index - first)
            first = nil
        end
    end
end

local function give_up(c, s, hear)
    local list = side.list_out(s)
    s.state = s.host.is_lost and "lost" or s.state
    s.n_asked = 0
    table.sort(list, function(a, b) return a.slot < b.slot end)
    for _, task in ipairs(list) do
        side.note_in(c, task)
        if task.last then give_back(task, hear) else c.again[#c.again + 1] = task end
    end
end

-- Where no worker can live any more.
local function is_hopeless(c)
    for _, s in ipairs(c.others) do
        if s.n > 0 and (s.state == "serves" or s.state == "starts") then return false end
    end
    return c.n_here == 0 or c.inner.broken ~= nil
end

local function tell_loss(s)
    local why = s.host.is_lost and s.host.why
        or ("host %s is given up: %s"):format(s.host.name, errors.is_error(s.why) and s.why.message or tostring(s.why))
    core.report(("luamp: %s; its tasks are done by others\n"):format(why))
end

function methods.look(c, hear)
    c.inner:look(hear)
    c.must_look = false
    for _, s in ipairs(c.others) do
        local is_new = s.host.is_lost and s.state ~= "lost" and s.state ~= "gone"
        if is_new or s.state == "broken" then
            if not (c.is_closing and s.n_out == 0) then tell_loss(s) end
            give_up(c, s, hear)
            s.state = "lost"
        end
    end
    if c.again[1] then c:feed_again() end
    if is_hopeless(c) and not c.is_closing then
        c.broken = c.inner.broken or errors.new { kind = "error", message = "no host of the pool is left" }
    end
end

local function is_any_out(c)
    for _, s in ipairs(c.others) do
        if s.n_out > 0 or s.host.is_lost and s.state ~= "lost" then return true end
    end
    return false
end

function methods.needs_look(c) return c.must_look or c.inner:needs_look() end

local function are_others_over(c)
    for _, s in ipairs(c.others) do
        if not side.is_over(s) then return false end
    end
    return true
end

-- Whether something will come that no process of this host does.
function methods.is_renewing(c)
    return c.inner:is_renewing() or c.again[1] ~= nil or is_any_out(c) or c.is_closing and not are_others_over(c)
end

-- --- waiting -------------------------------------------------------------------------------

-- Waits until every worker of each host serves. Raises why one does not; a host that is lost meanwhile is given up.
function methods.await_up(c, hear)
    for _, s in ipairs(c.others) do hosts.flush(s.host) end
    c.inner.lists, c.inner.arrivals, c.inner.futures = c.lists, c.arrivals, c.futures
    c.inner:await_up(hear)
    for _, s in ipairs(c.others) do
        while s.state == "starts" and not s.host.is_lost do
            if not core.poll({ hosts.set() }, core.deadline(LOOK)) then core.serve_signals() end
            side.read_hosts(c)
            act_on_messages(c)
        end
        if s.state == "refused" then error(s.why, 0) end
    end
end

local function first_alive(c)
    for _, w in pairs(c.inner.workers) do
        if w.process then return w end
    end
end

-- Waits for news: true, or false at the next look; nil after a signal.
function methods.await(c, quota, deadline)
    if not c.is_closing and not is_any_out(c) then return c.inner:await(quota, deadline) end
    local fds = { hosts.set() }
    local w = c.is_closing and first_alive(c)
    if not c.is_closing then
        fds[2] = c.inner:watch()
    elseif w then
        fds[2] = core.pidfd(w.process.handle)
    end
    local ready = core.poll(fds, math.min(deadline, core.deadline(LOOK)))
    return ready and ready[1] ~= nil and not (w and ready[1] == 2)
end

function methods.watch(c, is_for_others)
    local fd = c.inner:watch(is_for_others)
    if fd < 0 or c.has_left then return fd end -- for nothing comes any more
    c.set = c.set or assert(link.set())
    if c.watched ~= fd then
        link.add(c.set, fd)
        if not c.watched then link.add(c.set, hosts.set()) end
        c.watched = fd
    end
    return c.set
end

local function close_set(c)
    if c.set then core.close(c.set) end
    c.set, c.watched = nil, nil
end

function methods.plan(c, ...) return c.inner:plan(...) end

-- --- the end ---------------------------------------------------------------------------------

function methods.resize(c, n, where)
    local able, first = {}, 0
    for _, h in ipairs(c.hosts) do
        if h.is_here or c.by_rank[h.rank].state == "serves" and not h.is_lost then able[#able + 1] = h end
    end
    for i, share in ipairs(able[1] and side.shares(n, able) or {}) do
        if able[i].is_here then
            c.inner:resize(share, where)
            c.n_here = share
        else
            side.resize(c, c.by_rank[able[i].rank], share, first)
        end
        first = first + share
    end
    for id in next, c.workers do c.workers[id] = nil end -- of others, whose numbers may be this host's now
    c.n = n
    c:tell()
end

function methods.close(c)
    c.is_closing = true
    c.inner:close()
    for _, s in ipairs(c.others) do side.send(s, "close", c.number) end
    c:tell()
end

function methods.is_gone(c)
    return c.inner:is_gone() and are_others_over(c)
end

local function kill_all(c)
    c.is_closing, c.is_over = true, true
    for _, s in ipairs(c.others) do
        if not side.is_over(s) then hosts.send(s.host, c.farewell) end
        for _, task in ipairs(side.list_out(s)) do side.note_in(c, task) end
    end
    c:tell()
    c.inner:kill()
    c.again = {}
end

local function await_gone(c, s, deadline)
    while not side.is_over(s) and core.clock() < deadline do
        core.poll({ hosts.set() }, core.deadline(LOOK))
        side.read_hosts(c)
        for _, message in ipairs(s.inbox) do
            if message[2] == "gone" then side.note_figures(s, message[4]) end
            if message[2] == "gone" or message[2] == "refused" then s.state = "gone" end
        end
        s.inbox = {}
    end
    if side.is_over(s) then return end
    s.state = "gone"
    core.report(("luamp: host %s does not say that its workers have ended\n"):format(s.host.name))
end

-- Ends all workers at once, and waits for that; for a host whose process is stuck as long as for one that is silent.
function methods.kill(c)
    kill_all(c)
    local deadline = core.clock() + hosts.patience()
    for _, s in ipairs(c.others) do await_gone(c, s, deadline) end
    close_set(c)
end

-- The same from a finalizer, which may run while another pool's message is being taken: nothing is read here, so the
-- ends of the workers on other hosts are not waited for.
function methods.abandon(c)
    side.by_number[c.number] = nil
    kill_all(c)
    close_set(c)
end

function methods.leave(c)
    c.inner:leave()
    c.has_left = true
    close_set(c)
    side.by_number[c.number] = nil
end

return cluster
