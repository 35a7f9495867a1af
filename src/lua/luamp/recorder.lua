-- luamp.recorder: what a call with a journal has of it: finds what is answered there, records what ends, and keeps
-- results back until they are committed.
--
-- A task is known by the number of its call among those of the script with that journal, by its key, and by digests
-- of its item and of the function (fingerprint.lua). When all are the same, its result is taken from there, and it
-- is not put. Failures are recorded, and run again.
--
-- A result that has come is held, and counts as a task that is out (call.n_out), so the call does not end before.
-- It goes to the call's `done` when the transaction with it is committed: at once when nothing else of the call is
-- out; else when as much time has gone by since the last commit that this one takes a tenth of it, after 100 ms in any
-- case, and from 1,000 results on.
--
-- When the journal fails the call ends with that error, which has the results that it has in memory.

local core = require "luamp.core"
local errors = require "luamp.errors"
local fingerprint = require "luamp.fingerprint"
local journal_file = require "luamp.journal_file"
local options = require "luamp.options"

local recorder = {}
local methods = {}
local meta = { __index = methods }

local misuse = options.misuse
local sql = core.journal

local MOST_HELD <const>, LONGEST_HELD <const> = 1000, 0.1 -- results, seconds
local SHARE <const> = 10 -- of the time between two commits, that one may take

-- The error object of a journal that has failed, for the call to end with: it has the results that are in memory.
local function failure_of(r, words)
    local call, results = r.call, {}
    if call.list and not call.is_stream then
        for index, result in next, call.list do results[index] = result end
    end
    for _, held in ipairs(r.held) do
        results[held.index] = r.is_whole and table.pack(table.unpack(held, 1, held.n)) or held[1]
    end
    return errors.new { kind = "error", message = ("%s: %s"):format(call.where, words), value = { results = results } }
end

-- --- the call in the journal ------------------------------------------------------

local BEGIN <const> = [[INSERT OR REPLACE INTO calls (call, run, name, place, function_hash, items, started)
    VALUES (?, ?, ?, ?, ?, ?, ?)]]

-- Where a function stands, for readers.
local function place_of(f)
    if type(f) ~= "function" then return nil end
    local info = debug.getinfo(f, "S")
    return info.what ~= "C" and ("%s:%d"):format(info.short_src, info.linedefined) or nil
end

-- Gives the call, which is prepared and not begun, a recorder. mode: how workers call the script's function f.
function recorder.attach(call, mode, f, seed)
    local file, words = journal_file.acquire(call.journal)
    if not file then journal_file.misuse(call.where, words) end
    file.n_calls = file.n_calls + 1
    local r = setmetatable({ call = call, file = file, number = file.n_calls, held = {}, failed = {}, n_held = 0,
        n_given = 0, is_committed = false, due = math.huge, last_commit = 0, cost = 0, known = {},
        keys = call.key and {}, n_answered = 0, is_whole = mode == "all" }, meta)
    local ok, e = pcall(function()
        r.function_hash = fingerprint.of_function(f, mode, call.source.in_worker,
            call.identity and call.identity[1], seed)
        local done
        done, words = file:execute(BEGIN, r.number, file.run, call.where, place_of(f), r.function_hash, call.source.n,
            sql.now())
        if done == nil then misuse(call.where, "%s", words) end
    end)
    if not ok then
        file:release()
        error(e, 0)
    end
    call.recorder = r
    local failed, finished = call.failed, call.finished
    call.failed = function(_, index, e_of_task)
        r:fail(index, e_of_task)
        if failed then failed(call, index, e_of_task) end
    end
    call.finished = function()
        r:leave()
        if finished then finished(call) end
    end
end

-- --- what is known of a task ------------------------------------------------------

-- The items of a group, which a worker knows by their numbers.
local function group_of(source, range)
    local group = { n = range[2] - range[1] + 1 }
    for i = range[1], range[2] do group[i - range[1] + 1] = source.list[i] end
    return group
end

-- The item that the function is given: what was put may be its number.
local function item_of(call, index, item)
    if not call.is_inherited then return item end
    if call.group then return group_of(call.source.items, call.source.list[index]) end
    return call.source.list[index]
end

-- A piece of a file is what the file holds now.
local function state_of(r, item)
    if not r.call.source.in_worker then return nil end
    r.state = r.state or sql.state_of(r.call.group and item[1].path or item.path) or ""
    return r.state
end

-- The key of an item, which no other one has in the call.
local function key_of(r, index, item)
    if not r.keys then return index end
    local key = r.call.key(item, index)
    local kind = type(key)
    if kind ~= "string" and kind ~= "number" or key ~= key then
        error(("%s: option 'key': of item %d it gave %s, and no string or number"):format(r.call.where, index,
            options.describe(key)), 0)
    end
    local other = r.keys[key]
    if other and other ~= index then
        error(("%s: option 'key': items %d and %d have the same key, %s"):format(r.call.where, other, index,
            options.describe(key)), 0)
    end
    r.keys[key] = index
    return key
end

local FIND <const> = [[SELECT result FROM tasks WHERE call = ? AND key = ? AND status = 'done' AND function_hash = ?
    AND argument_hash = ? AND result IS NOT NULL]]

local function accept(r, index, ok, ...)
    if not ok then
        error(failure_of(r, ("journal '%s' is damaged: the result of task %d: %s"):format(r.file.path, index, ...)), 0)
    end
    if r.call.saved and not r.call.keeps_items then r.call.saved[index] = nil end
    r.call.done(r.call, index, ...)
    r.n_answered, r.call.n_ended = r.n_answered + 1, r.call.n_ended + 1
    return true
end

-- Whether the journal has the result of a task that is about to be put; the call has it then. It raises what ends
-- the call.
function methods.answer(r, index, item)
    local known = r.known[index]
    if known then return false end -- there was no room for it
    item = item_of(r.call, index, item)
    known = { key_of(r, index, item), fingerprint.of(item, state_of(r, item)) }
    local found, result = r.file:execute(FIND, r.number, known[1], r.function_hash, known[2])
    if found == nil then error(failure_of(r, result), 0) end
    if found then return accept(r, index, pcall(core.decode, result)) end
    r.known[index] = known
    return false
end

-- --- recording --------------------------------------------------------------------

local RECORD <const> = [[INSERT OR REPLACE INTO tasks (call, key, task, status, kind, text, function_hash,
    argument_hash, result, worker, attempt, started, ended, cpu, memory, run)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, CAST(? AS BLOB), ?, ?, ?, ?, ?, ?, ?)]]

-- Writes a task; true, or nil and words.
local function record(r, index, status, kind, text, result, id, attempt, started, ended, cpu, memory)
    local known = r.known[index]
    local ok, words = r.file:execute(RECORD, r.number, known[1], index, status, kind, text, r.function_hash, known[2],
        result, id, attempt, started, ended, cpu, memory, r.file.run)
    if ok == nil then return nil, words end
    return true
end

local NOT_DATA <const> = "(not recorded, and runs again: it is more than plain data)"

local function record_result(r, held)
    local result = sql.pack(table.unpack(held, 1, held.n))
    local text = fingerprint.text(table.unpack(held, 1, held.n))
    return record(r, held.index, "done", nil, result and text or NOT_DATA, result, held.id, held.attempt,
        table.unpack(held.measures, 1, 4))
end

local function record_failure(r, failed)
    local e, measures = failed.e, failed.measures or {}
    return record(r, failed.index, "failed", e.kind, e.message, sql.pack(e), e.worker, e.attempt or 1, measures[1],
        measures[2] or failed.at, measures[3], measures[4])
end

-- Writes and commits what is held: true, or nil and words.
local function write(r)
    for _, held in ipairs(r.held) do
        local ok, words = record_result(r, held)
        if not ok then return nil, words end
    end
    for _, failed in ipairs(r.failed) do
        local ok, words = record_failure(r, failed)
        if not ok then return nil, words end
    end
    local from = core.clock()
    local ok, words = r.file:commit()
    r.last_commit = core.clock()
    r.cost = r.last_commit - from
    return ok, words
end

local function nothing_held(r)
    for _, list in ipairs { r.held, r.failed } do
        for _, task in ipairs(list) do r.known[task.index] = nil end
    end
    r.call.n_out, r.n_held, r.held, r.failed, r.due = r.call.n_out - r.n_held, 0, {}, {}, math.huge
    r.is_committed, r.n_given = false, 0
end

-- The journal has failed: the call ends with that. What comes still is in the error, too.
local function give_up(r, d, words)
    local e = failure_of(r, words)
    nothing_held(r)
    r.file.is_broken, r.late = true, e.value.results
    r.call.broken = r.call.broken or e
    if d then d:stop(r.call) end
end

-- Writes what is held, and gives it out. What comes in between, an interruption, finds it in one state or the other,
-- and the next time goes on from there.
local function commit(r, d)
    local call = r.call
    if not r.is_committed then
        local ok, words = write(r)
        if not ok then return give_up(r, d, words) end
        r.is_committed = true
    end
    while d and r.n_given < r.n_held do
        local result = r.held[r.n_given + 1]
        call.done(call, result.index, table.unpack(result, 1, result.n))
        r.n_given = r.n_given + 1
    end
    nothing_held(r)
end

-- A result has come: the numbers of what worker.lua measures stand before it.
function methods.hold(r, d, index, id, attempt, started, ended, cpu, memory, ...)
    if r.is_committed then commit(r, d) end
    if r.late then
        r.late[index] = r.is_whole and table.pack(...) or ...
        return
    end
    r.held[r.n_held + 1] = { index = index, id = id, attempt = attempt, measures = { started, ended, cpu, memory },
        n = select("#", ...), ... }
    r.n_held, r.call.n_out = r.n_held + 1, r.call.n_out + 1
    if r.n_held >= MOST_HELD then
        commit(r, d)
    elseif r.n_held == 1 then
        r.due = math.min(core.clock() + LONGEST_HELD, r.last_commit + SHARE * r.cost)
    end
end

-- A task has failed for good: that is written with the next commit, and given out before.
function methods.fail(r, index, e)
    if r.late then return end
    r.failed[#r.failed + 1] = { index = index, e = e, measures = r.measures, at = sql.now() }
    r.measures = nil
    r.due = math.min(r.due, core.clock() + LONGEST_HELD)
end

-- Commits what is held if it is time for that.
function methods.look(r, d)
    local call = r.call
    if r.is_over or r.n_held == 0 and not r.failed[1] then return end
    if call.phase ~= "active" or call.n_out == r.n_held or core.clock() >= r.due then commit(r, d) end
end

local END <const> = "UPDATE calls SET ended = ?, answered = ? WHERE call = ?"

-- The call is over: what is held goes into the journal still, and this has done with that.
function methods.leave(r)
    if r.is_over then return end
    r.is_over = true
    if not r.late and (r.n_held > 0 or r.failed[1]) then commit(r, nil) end
    if not r.late then
        local ok, words = r.file:execute(END, r.call.phase == "ended" and sql.now() or nil, r.n_answered, r.number)
        if ok ~= nil then ok, words = r.file:commit() end
        if not ok then give_up(r, nil, words) end
    end
    r.file:release()
end

return recorder
