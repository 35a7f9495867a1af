-- luamp.placing: where the tasks of a pool on several hosts go (cluster.lua), and how they are taken back.
--
-- Here are methods of that crew, those of crew.lua for tasks. What another host could not have is not given to this
-- one either: whether a task can be done is not to be chance.

local core = require "luamp.core"
local hosts = require "luamp.hosts"
local side = require "luamp.side"

local link = core.link
local placing = {}
local methods = {}
placing.methods = methods

local NOT_KEPT <const> = 0

-- --- whose turn it is ---------------------------------------------------------------

local function has_room_here(c)
    return c.n_here > 0 and c.inner:n_waiting() < c.n_here
end

-- How many workers of this host have nothing to do, but for that one. One that starts has.
local function n_idle_here(c, excluded)
    local n = 0
    for id = 1, c.n_here do
        local w = c.inner.workers[id]
        if w and w.state == "serves" and id ~= excluded and not c.inner:is_busy(id) then n = n + 1 end
    end
    return n
end

-- The other host with room that the task goes to, if it goes to one, and whether a worker there has nothing to do.
local function best_side(c, excluded)
    local best, is_idle, most
    for _, s in ipairs(c.others) do
        local has_excluded = excluded > s.first and excluded <= s.first + s.n
        local idles = side.n_idle(s) > (has_excluded and 1 or 0)
        local share = has_excluded and s.n == 1 and 0 or s.credit / math.max(1, s.n)
        local is_better = not best or idles and not is_idle or idles == is_idle and share > most
        if s.state == "serves" and s.credit > 0 and is_better then best, is_idle, most = s, idles, share end
    end
    return best, is_idle
end

-- Where the next task goes: true is here, a side another host; nil when nobody is free. A worker that has nothing to do
-- comes before one that is to take it later, this host before others, and then who has room for most. Who is not to
-- take it (`excluded`, or 0) counts for nothing, where there is anybody else.
function placing.next_place(c, excluded)
    local best, is_idle = best_side(c, excluded)
    if not has_room_here(c) then return best end
    if n_idle_here(c, excluded) > c.inner:n_waiting() then return true end
    if is_idle or best and c.n_here == 1 and excluded == 1 then return best end
    return true
end

function methods.room(c)
    local n = c.n_here > 0 and math.max(0, c.n_here - c.inner:n_waiting()) or 0
    for _, s in ipairs(c.others) do
        if s.state == "serves" then n = n + math.max(0, s.credit) end
    end
    return n
end

-- --- putting --------------------------------------------------------------------------

local plain = { number = true, string = true, boolean = true, ["nil"] = true }

-- pack(...): the values as any host may have them, or nil: what another one could not is not given to this one either,
-- for that would be chance.
function methods.pack(_, ...) return link.message(...) or nil end

local function put_there(c, s, call, limit, chunk, excluded, attempt, index, bytes)
    local slot = side.new_slot(c)
    local id = call == NOT_KEPT and 0 or c.ids[call]
    side.put_there(c, s, { slot = slot, call = call, id = id, limit = limit, chunk = chunk,
        excluded = excluded, attempt = attempt, index = index, bytes = bytes })
    return slot
end

-- put_parcel(call, limit, chunk, excluded, attempt, index, bytes): the slot, or false when there is no room.
function methods.put_parcel(c, call, limit, chunk, excluded, attempt, index, bytes)
    local place = not c.is_over and placing.next_place(c, excluded)
    if not place then return false end
    if place ~= true then return put_there(c, place, call, limit, chunk, excluded, attempt, index, bytes) end
    c.n_told = c.n_told + 1
    return c.inner:put_parcel(call, limit, chunk, excluded, attempt, index, bytes)
end

-- Items are read, and hooks of what is sent run, while a task is made: these may end the pool. Then there is no place.
local ENDED <const> = "the pool was terminated"

-- put(call, limit, chunk, excluded, attempt, index, ...): the slot; false when there is no room; nil for what cannot be
-- sent, and why, if that is no matter of the values.
function methods.put(c, call, limit, chunk, excluded, attempt, index, ...)
    if not placing.next_place(c, excluded) then return false end
    local bytes = c:pack(...)
    if c.is_over then return nil, ENDED end
    if not bytes then return nil end
    return c:put_parcel(call, limit, chunk, excluded, attempt, index, bytes)
end

local function read_item(list, index) return list[index] end

-- The list as it is to be read here: an item of one with a metatable, which may be made as it is read, is kept from
-- then on until it has gone. One that comes back is read again, as on one host.
local function read_once(c, call, list)
    if getmetatable(list) == nil then return list end
    c.read[call] = c.read[call] or setmetatable({}, { __index = function(kept, index)
        local item = list[index]
        rawset(kept, index, item)
        return item
    end })
    return c.read[call]
end

local function forget_items(list, from, last)
    if getmetatable(list) == nil then return end
    for index = from, last do list[index] = nil end
end

local MOST_LOOKED_AT <const> = 64 -- tables of an item

-- Whether the item is nothing but data. Others go by themselves, in bytes that a worker makes the item of: a function
-- may set globals, and what __mp_send makes may be nothing that goes on from one process to the next.
local function is_data(item)
    if plain[type(item)] then return true end
    local waiting, at = { item }, 1
    while waiting[at] ~= nil do
        local t = waiting[at]
        if type(t) ~= "table" or getmetatable(t) ~= nil or at > MOST_LOOKED_AT then return false end
        for key, value in next, t do
            if not plain[type(key)] then return false end
            if not plain[type(value)] then waiting[#waiting + 1] = value end
        end
        at = at + 1
    end
    return true
end

-- How many of the first items can be sent: their message, and that number.
local function longest_message(items, n)
    local bytes = link.message(table.move(items, 1, n, 1, {}))
    if bytes then return bytes, n end
    for i = 1, n do
        if not link.message(items[i]) then n = i - 1 break end
    end
    return n > 0 and link.message(table.move(items, 1, n, 1, {})) or nil, n
end

-- Items from `from` to `last`, as a list, and how many: up to the first one that is no data; whether the list has
-- raised something there, and that.
local function read_data(list, from, last)
    local items = {}
    for index = from, last do
        local ok, item = pcall(read_item, list, index)
        if not ok then return items, index - from, true, item end
        if not is_data(item) then return items, index - from, false end
        items[index - from + 1] = item
    end
    return items, last - from + 1, false
end

-- One item for another host, by itself: as feed_there.
local function feed_single(c, s, call, limit, chunk, attempt, index, item)
    local bytes = link.message(item)
    if c.is_over then return index, false, 0 end
    if not bytes then return index, true, 0 end
    put_there(c, s, call, limit, chunk, 0, attempt, index, bytes)
    return index + 1, false, 1
end

-- A stretch for another host: as feed of a board.
local function feed_there(c, s, call, limit, chunk, attempt, from, last, list, most, goes_on)
    local ok, first = pcall(read_item, list, from)
    if not ok then return from, false, 0, nil, true, first end
    if c.is_over then return from, false, 0 end
    if most == 0 or not is_data(first) then return feed_single(c, s, call, limit, chunk, attempt, from, first) end
    local items, n, has_raised, raised = read_data(list, from, last)
    if c.is_over then return from, false, 0 end
    local bytes, n_sent = longest_message(items, n)
    if c.is_over then return from, false, 0 end
    if n_sent == 0 then return from, true, 0 end
    side.put_there(c, s, { slot = side.new_slot(c), call = call, id = c.ids[call], limit = limit, chunk = chunk,
        excluded = 0, attempt = attempt, index = from, last = from + n_sent - 1, most = most, goes_on = goes_on,
        bytes = bytes, ended = {}, n_left = n_sent })
    return from + n_sent, false, 1, nil, has_raised and n_sent == n, raised
end

-- How many of the first items can travel; and whether reading the next one has raised something, and that. A list
-- without a metatable raises nothing.
local function count_travelling(list, from, last)
    local is_plain_list = getmetatable(list) == nil
    for index = from, last do
        local ok, item = true
        if is_plain_list then item = list[index] else ok, item = pcall(read_item, list, index) end
        if not ok then return index - from, true, item end
        if not plain[type(item)] and not link.message(item) then return index - from, false end
    end
    return last - from + 1, false
end

-- A stretch for this host: the same.
local function feed_here(c, call, limit, chunk, attempt, from, last, list, most, goes_on)
    local n, has_raised, raised = count_travelling(list, from, last)
    if c.is_over then return from, false, 0 end
    if n == 0 then return from, not has_raised, 0, nil, has_raised, raised end
    local following, is_refused, n_slots, words, raises, e = c.inner:feed(call, limit, chunk, 0, attempt, from,
        from + n - 1, list, most, goes_on)
    c.n_told = c.n_told + n_slots
    if has_raised and following == from + n then raises, e = true, raised end
    return following, is_refused, n_slots, words, raises, e
end

local function feed_place(c, place, ...)
    if place == true then return feed_here(c, ...) end
    return feed_there(c, place, ...)
end

-- feed(call, limit, chunk, excluded, attempt, from, last, list, most, goes_on): as of a board.
function methods.feed(c, call, limit, chunk, _, attempt, from, last, list, most, goes_on)
    local n_slots = 0
    list, c.fed[call] = read_once(c, call, list), true
    while from <= last and not c.is_over do
        local place = placing.next_place(c, 0)
        if not place then break end
        local to = most > 0 and math.min(last, from + most - 1) or from
        local following, is_refused, n, words, has_raised, e = feed_place(c, place, call, limit, chunk, attempt, from,
            to, list, most, goes_on)
        forget_items(list, from, following - 1)
        n_slots = n_slots + n
        if is_refused or words or has_raised or following == from then
            return following, is_refused, n_slots, words, has_raised, e
        end
        from = following
    end
    return from, false, n_slots
end

function methods.tell(c)
    if c.n_told > 0 then c.inner:tell(c.n_told) end
    c.n_told = 0
    for _, s in ipairs(c.others) do hosts.flush(s.host) end
end

-- --- sharing what nobody has begun -------------------------------------------------------

-- Asks hosts that have more than their workers run for some of it, for so many workers: for how many nobody has any.
local function ask_hosts(c, n)
    local now = core.clock()
    for _, s in ipairs(c.others) do
        local n_spare = side.n_spare(s)
        if n > 0 and n_spare > 0 and s.n_asked == 0 and s.asks_from <= now then
            side.ask(c, s, math.min(n, n_spare))
            n = n - math.min(n, n_spare)
        end
    end
    return n
end

-- A single task of this host's board, which has no slot there any more, goes to another place.
local function move(c, call, index, attempt, limit, chunk, excluded, slot, bytes)
    local task = { slot = side.new_slot(c), call = call, id = call == NOT_KEPT and 0 or c.ids[call], limit = limit,
        chunk = chunk, excluded = excluded, attempt = attempt, index = index, bytes = bytes }
    local fut = c.futures[slot + 1]
    c.futures[slot + 1] = nil
    c.futures[task.slot + 1] = fut
    if fut then core.future.set(fut, "slot", task.slot) end
    c.again[#c.again + 1] = task
    c:feed_again()
end

-- Takes back what is to be begun last on this host. What was read from a list goes back to the ledger, for it is here
-- in bytes for this host: the call, the first and the last.
local function spare_here(c)
    local call, index, last, attempt, limit, chunk, excluded, slot, bytes = c.inner:spare(true)
    if not call then return end
    if last or c.fed[call] and attempt == 1 then return call, index, last or index end
    move(c, call, index, attempt, limit, chunk, excluded, slot, bytes)
end

-- Where nothing is left to be put, workers that have nothing to do get some of what is with others: of the batches of
-- this host, of what waits on others, which these are asked for, and of what waits here. Of a batch: the call, the
-- first task of it and the last, to be put again; or nothing.
function methods.split(c)
    local call, first, last = c.inner:split()
    if call or c.again[1] or c.is_closing then return call, first, last end
    local n_there, n_spare, n_coming = 0, 0, 0
    for _, s in ipairs(c.others) do
        n_there, n_spare, n_coming = n_there + side.n_idle(s), n_spare + side.n_spare(s), n_coming + side.n_coming(s)
    end
    if n_there == 0 and n_spare == 0 then return end
    local n_waiting = c.inner:n_waiting()
    local n = ask_hosts(c, n_there + math.max(0, n_idle_here(c, 0) - n_waiting) - n_coming)
    if math.min(n, n_there, n_waiting) > 0 then return spare_here(c) end
end

-- --- what is not wanted any more --------------------------------------------------------

-- Of a task on another host it is not known whether it has begun: if it has, its worker is killed there.
function methods.retract(c, slot)
    if slot < side.FIRST_SLOT then return c.inner:retract(slot) end
    local task = c.by_slot[slot]
    if not task then
        for i, waiting in ipairs(c.again) do
            if waiting.slot == slot then
                table.remove(c.again, i)
                return true
            end
        end
        return false
    end
    side.send(task.side, "drop", c.number, task.id, task.index)
    hosts.flush(task.side.host)
    side.note_in(c, task)
    return true
end

function methods.recall(c, slot)
    return slot < side.FIRST_SLOT and c.inner:recall(slot) or nil
end

function methods.runner(c, slot)
    if slot < side.FIRST_SLOT then return c.inner:runner(slot) end
    local task = c.by_slot[slot]
    return task and task.side.first + 1 or nil
end

function methods.doom(c, slot)
    return slot < side.FIRST_SLOT and c.inner:doom(slot) or nil
end

-- Of what waits to go to another place what is of that call: how many there were.
function placing.forget(c, call)
    local n = 0
    for i = #c.again, 1, -1 do
        if c.again[i].call == call then
            table.remove(c.again, i)
            n = n + 1
        end
    end
    return n
end

function methods.withdraw(c, call)
    local n, id = c.inner:withdraw(call), c.ids[call]
    for _, s in ipairs(c.others) do
        local list = side.list_out(s, id)
        for _, task in ipairs(list) do
            n = n + side.n_left(task)
            side.note_in(c, task)
        end
        if list[1] then
            side.send(s, "withdraw", c.number, id)
            hosts.flush(s.host)
        end
    end
    return n + placing.forget(c, call)
end

function methods.doom_call(c, call) return c.inner:doom_call(call) end

function methods.is_running(c, call)
    if c.inner:is_running(call) then return true end
    for _, s in ipairs(c.others) do
        if side.list_out(s, c.ids[call])[1] then return true end
    end
    return false
end

-- The worker is of this host, as who asks knows; it may be about to leave.
function methods.kill_worker(c, id) c.inner:kill_worker(id) end

function methods.n_waiting(c)
    local n = c.inner:n_waiting() + #c.again
    for _, s in ipairs(c.others) do n = n + math.max(0, s.n_out - s.n) end
    return n
end

function methods.n_unheard(c, call) return c.inner:n_unheard(call) end

return placing
