-- luamp.journal: mp.journal(path): what is in the journal of a call, for reading.
--
-- It may be read while a program writes to it: what is committed is seen. An iterator takes one task after the other
-- from the file, and holds nothing in between.

local core = require "luamp.core"
local errors = require "luamp.errors"
local journal_file = require "luamp.journal_file"
local options = require "luamp.options"

local WHERE = "mp.journal"
local misuse = options.misuse

local class = { __name = WHERE }
local methods = {}

-- The state of an open journal of this process.
local function state_of(object, call)
    local j, pid = core.state(object, class)
    if not j then
        misuse(WHERE, "'%s' must be called on a journal, as in journal:%s()", call, call)
    elseif j.pid ~= pid then
        misuse(WHERE, "the journal was opened by process %d, which alone can use it", j.pid)
    elseif not j.db then
        misuse(WHERE, "%s: the journal is closed", call)
    end
    return j
end

local function check_number(call, number)
    if number ~= nil and math.type(number) ~= "integer" then
        misuse(WHERE, "%s: expected the number of a call, not %s", call, options.describe(number))
    end
    return number
end

-- Columns of the next row; nothing: there is none. Raises what went wrong.
local function row(j, text, ...)
    local results = table.pack(journal_file.row(j.path, j.db, text, ...))
    if results[1] == nil then error(errors.new { kind = "error", message = WHERE .. ": " .. results[2] }, 0) end
    if results[1] then return table.unpack(results, 2, results.n) end
end

-- --- tasks ----------------------------------------------------------------------

local NEXT <const> = [[SELECT rowid, call, key, task, status, kind, text, result, worker, attempt, started, ended, cpu,
    memory, run FROM tasks WHERE rowid > ?1 AND (?2 IS NULL OR call = ?2) AND (?3 IS NULL OR status = ?3)
    ORDER BY rowid LIMIT 1]]

-- What came of a task, from its bytes.
local function decoded(j, t, bytes)
    local results = table.pack(pcall(core.decode, bytes))
    if not results[1] then
        local words = ("%s: journal '%s' is damaged: task %d of call %d: %s"):format(WHERE, j.path, t.task, t.call,
            results[2])
        error(errors.new { kind = "error", message = words }, 0)
    end
    return table.pack(table.unpack(results, 2, results.n))
end

local function task_of(j, call, key, task, status, kind, text, bytes, worker, attempt, started, ended, cpu, memory, run)
    local t = { call = call, key = key, task = task, status = status, kind = kind, text = text, worker = worker,
        attempt = attempt, started = started, ended = ended, cpu = cpu, memory = memory, run = run }
    local results = bytes and decoded(j, t, bytes)
    if status == "failed" then
        t.error = results and results[1] or errors.new { kind = kind, message = text, task = task, attempt = attempt,
            worker = worker }
    elseif results then
        t.result, t.results = results[1], results
    end
    return t
end

local function iterate(object, name, call, status)
    state_of(object, name)
    check_number(name, call)
    local last = 0
    return function()
        local j = state_of(object, name)
        local function took(rowid, ...)
            if rowid == nil then return nil end
            last = rowid
            return task_of(j, ...)
        end
        return took(row(j, NEXT, last, call, status))
    end
end

-- journal:tasks([call]): an iterator over tasks, in the order in which they were recorded.
function methods.tasks(object, call)
    return iterate(object, "tasks", call, nil)
end

-- journal:failures([call]): those that have failed.
function methods.failures(object, call)
    return iterate(object, "failures", call, "failed")
end

-- --- calls ----------------------------------------------------------------------

-- journal:counts([call]): how many tasks are done, and how many have failed.
function methods.counts(object, call)
    local j = state_of(object, "counts")
    check_number("counts", call)
    local done, failed = row(j, [[SELECT count(*) FILTER (WHERE status = 'done'),
        count(*) FILTER (WHERE status = 'failed') FROM tasks WHERE ?1 IS NULL OR call = ?1]], call)
    return { done = done, failed = failed }
end

local CALL <const> = [[SELECT call, run, name, place, items, answered, started, ended FROM calls WHERE call > ?
    ORDER BY call LIMIT 1]]

-- journal:calls(): a list of the calls that there were.
function methods.calls(object)
    local j = state_of(object, "calls")
    local list = {}
    local function add(call, run, name, place, items, answered, started, ended)
        if call == nil then return nil end
        list[#list + 1] = { call = call, run = run, name = name, place = place, items = items, answered = answered,
            started = started, ended = ended }
        return call
    end
    local last = 0
    while last do last = add(row(j, CALL, last)) end
    return list
end

-- --- its life ---------------------------------------------------------------------

local function close(j)
    if not j.db or j.pid ~= core.getpid() then return end
    core.journal.close(j.db)
    j.db = nil
end

-- journal:close(): twice is harmless.
function methods.close(object)
    local j = core.state(object, class)
    if not j then misuse(WHERE, "'close' must be called on a journal, as in journal:close()") end
    close(j)
end

class.__close = function(object) close(core.state(object, class)) end
class.__index = methods

class.__newindex = function(_, key)
    misuse(WHERE, "a journal has no field '%s' that could be set", tostring(key))
end

class.__tostring = function(object)
    local j = core.state(object, class)
    return ("mp.journal: %s (%s%s)"):format(core.address(object), j.path, j.db and "" or ", closed")
end

-- mp.journal(path)
return function(path, ...)
    if type(path) ~= "string" or select("#", ...) > 0 then
        misuse(WHERE, "expected the path of a journal%s", type(path) == "string" and ", and nothing else"
            or ", not " .. options.describe(path))
    end
    local db, words = journal_file.open(path)
    if not db then journal_file.misuse(WHERE, words) end
    return core.object(class, { path = path, db = db, pid = core.getpid() })
end
