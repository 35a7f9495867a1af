-- luamp.putting: which tasks of a pool's calls go to the board, and when.
--
-- The ledger is dispatch.lua's, whose calls these are. Tasks go in the order of the calls, while there is room, and
-- no further ahead of what was taken than a call's window; what came back unbegun or is to be run again goes before
-- what is new. Items of a list go by stretches, many together where their results all come at the end; those that are
-- read one by one, so that no more are read than can be put.
--
-- Inputs are the script's: what one raises ends its call, and an item that cannot be sent is the failure of its task.
-- What the journal of a call answers is not put.

local core = require "luamp.core"
local errors = require "luamp.errors"
local failures = require "luamp.failures"

local putting = {}

local MANY <const> = 1 << 40
local MOST_OUT <const> = 1 << 16 -- tasks on the board at once, in batches

local function read_item(list, index) return list[index] end

-- Whether the call has no items left that were not put.
function putting.is_exhausted(call)
    return call.last ~= nil and call.next > call.last and call.rest[1] == nil
end

-- How many tasks more the call may have ahead.
function putting.headroom(call)
    return call.window and (call.taken or call.n_ended) + call.window - call.next + 1 or MANY
end

-- An item that cannot be sent is the failure of its task. words: why, if there is no memory for it, nor will be.
local function refuse(d, call, index, item, words)
    d:fail(call, index, failures.unsendable(call, index, item, words))
    d.statistics:failed(call, call.failures[#call.failures])
end

-- Its input, or what is told of its progress, has raised something: that ends the call, whoever waits here just now.
function putting.break_call(d, call, e)
    call.broken = e or tostring(e)
    d:stop(call)
    if errors.is_error(e) and e.kind == "interrupted" then error(e, 0) end
end

-- The item, and its number; nil when its list has raised something.
local function item_at(d, call, index)
    if call.is_inherited and not call.identity then return index, index end
    if call.saved then return call.saved[index], index end
    local ok, item = pcall(read_item, call.source.list, index)
    if ok then return item, index end
    putting.break_call(d, call, item)
end

-- Puts one task: true; false when there is no room, or the call is over.
local function put(d, call, index, attempt, excluded)
    local item, is_there = item_at(d, call, index)
    local slot, words
    if not is_there then return false end
    if call.recorder and attempt == 1 then
        local ok, is_answered = pcall(call.recorder.answer, call.recorder, index, item)
        if not ok then putting.break_call(d, call, is_answered) end
        if not ok or is_answered then return ok end
    end
    if call.identity then
        slot, words = d.crew:put(call.call, call.timeout, call.chunksize, excluded, attempt, index,
            call.identity[1], item)
    else
        slot, words = d.crew:put(call.call, call.timeout, call.chunksize, excluded, attempt, index, item)
    end
    if slot == nil then
        refuse(d, call, index, item, words)
    elseif slot then
        call.n_out = call.n_out + 1
    end
    return slot ~= false
end

local function put_again(d, call)
    local at, again = core.clock(), call.again -- which is another one when the call is stopped
    for i = #again, 1, -1 do
        local task = again[i]
        if task.due <= at and call.again == again
            and put(d, call, task.index, task.attempt, task.excluded) then
            table.remove(again, i)
            d.n_put = d.n_put + 1
        end
    end
end

-- How many of n tasks go as a batch: the more, the more there are.
local function batch_of(d, call, n)
    if call.chunksize or call.most == 0 then return call.most end
    return math.max(1, math.min(call.most, n // (4 * d.crew.n)))
end

-- Puts items from `from` to `last` of its list: the first one that was not put.
local function feed_stretch(d, call, from, last)
    local list = not call.is_inherited and call.source.list or nil
    while from <= last and call.phase == "active" do
        local most = batch_of(d, call, last - from + 1)
        local to = most > 0 and math.min(last, from + 8 * most - 1) or last
        local following, is_refused, n_slots, words, has_raised, e = d.crew:feed(call.call, call.timeout,
            call.chunksize, 0, 1, from, to, list, most, call.on_error == "collect")
        call.n_out, d.n_put = call.n_out + following - from, d.n_put + n_slots
        if has_raised then
            putting.break_call(d, call, e)
        elseif is_refused or words then
            refuse(d, call, following, call.source.list[following], words)
            following = following + 1
        elseif following == from then
            break
        end
        from = following
    end
    return from
end

-- From a list: first what has come back.
local function feed_list(d, call)
    while call.rest[1] and call.phase == "active" do
        local stretch = call.rest[1]
        stretch[1] = feed_stretch(d, call, stretch[1], stretch[2])
        if stretch[1] <= stretch[2] then return end
        table.remove(call.rest, 1)
    end
    local ahead = math.min(call.most > 0 and MOST_OUT - call.n_out or MANY, putting.headroom(call))
    call.next = feed_stretch(d, call, call.next, math.min(call.last, call.next + ahead - 1))
end

-- Reads the next item of a source that has no list: true; false when there is none just now.
local function read(d, call)
    local ok, item, word = pcall(call.source.read, call.n_out > 0 and 0 or call.patience or 0.05)
    if not ok then
        putting.break_call(d, call, item)
        return false
    end
    call.is_short = item == nil and word == "wait"
    if item == nil and word ~= "wait" then call.last = call.next - 1 end
    if item == nil then return false end
    call.saved[call.next] = item
    return true
end

local function feed_others(d, call)
    while not putting.is_exhausted(call) and call.phase == "active" and putting.headroom(call) > 0
        and d.crew:room() > 0 do
        if call.saved and call.saved[call.next] == nil and not read(d, call) then return end
        if call.phase ~= "active" then return end -- by what was read
        local index = call.order and call.order[call.next] or call.next
        if not put(d, call, index, 1, 0) then return end
        if call.saved and not call.retries and not call.keeps_items then call.saved[index] = nil end
        call.next, d.n_put = call.next + 1, d.n_put + 1
    end
end

-- Where nothing is left to be put and a worker has nothing to do: what others have is shared with it.
local function split(d)
    local call, first, last = d.crew:split()
    call = d.by_call[call]
    if not call then return end
    d:take_back(call, first, last)
    feed_list(d, call)
    d.crew:tell(d.n_put)
end

-- Puts what may be put, in the order of the calls, and wakes workers for it.
function putting.feed(d)
    d.n_put = 0
    for i = 1, #d.active do
        local call = d.active[i]
        if call and call.phase == "active" then
            if call.again[1] then put_again(d, call) end
            if call.source.list and not call.order and not call.identity and not call.recorder then
                feed_list(d, call)
            else
                feed_others(d, call)
            end
            d:settle(call)
        end
    end
    d.submissions:feed()
    if d.n_put > 0 then d.crew:tell(d.n_put) elseif d.active[1] or d.crew.is_cluster then split(d) end
end

return putting
