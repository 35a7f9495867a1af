-- luamp.failures: what the failure of a pool's task is for the script, and what follows from it.

local core = require "luamp.core"
local errors = require "luamp.errors"

local failures = {}

-- Of several failures the first one in the order of the input.
function failures.earliest(list)
    local first = list[1]
    for _, e in ipairs(list) do
        if e.task < first.task then first = e end
    end
    return first
end

-- The number of an item: of a reduction each task has a group of them, and knows which one of it that is.
local function item_number(call, index, place)
    return call.group and (index - 1) * call.group + (place or 1) or index
end

local function ordinal(call, index, attempt)
    local text = (call.group and "the group from item %d on" or "task %d"):format(item_number(call, index))
    return attempt > 1 and ("%s, attempt %d,"):format(text, attempt) or text
end

-- The error object of a task whose worker has died in it.
local function lost(call, index, w, attempt)
    local cause = w.cause or errors.new { kind = "exit", message = "its worker has ended" }
    local kind, message = cause.kind, cause.message
    local which = ("%s of %s, in worker %d"):format(ordinal(call, index, attempt), call.where, w.id)
    if call.timeout and (w.is_overdue or w.overran) then
        kind, message = "timeout", ("%s ran longer than its timeout of %g s"):format(which, call.timeout)
    else
        message = ("%s was lost: %s"):format(which, message)
    end
    return errors.new { kind = kind, signal = cause.signal, exitcode = cause.exitcode, process = cause.process,
        pid = cause.pid, message = message, value = w.words and w.words ~= "" and { stderr = w.words } or cause.value }
end

-- What a task's failure is for the script: the error object, and what it happened to.
function failures.describe(d, call, index, how, id, attempt, value)
    local w = d.crew.workers[id]
    local e
    if (how == "failed" or how == "damaged") and errors.is_error(value) then
        e = value
    elseif how == "lost" then
        e = lost(call, index, w, attempt)
    else
        e = errors.new { kind = how == "failed" and "error" or "unsendable",
            message = how == "failed" and tostring(value) or "cannot receive the result: " .. tostring(value) }
    end
    e.task, e.worker, e.attempt, e.item = item_number(call, index, e.item), id, attempt, nil
    if call.recorder then call.recorder.measures = e.measures end
    e.measures = nil
    d.statistics:failed(call, e)
    return e
end

-- What cannot be sent of the task's item, and why: of a group the place of that one in it as well.
local function culprit_of(call, item)
    local function words_for(value, name)
        local can_be_sent = call.reach and core.link.message or core.encode
        return not can_be_sent(value) and require "luamp.culprit" ({ value }, 1, function() return name end, call.reach)
    end
    local words = call.identity and words_for(call.identity[1], "identity")
    if words or not call.group then return words or words_for(item, "item") end
    for place = 1, item.n or 0 do
        words = words_for(item[place], "item")
        if words then return words, place end
    end
end

-- The error object of a task whose item cannot be sent. words: why, if that is known.
function failures.unsendable(call, index, item, words)
    local place
    if not words then words, place = culprit_of(call, item) end
    index = item_number(call, index, place)
    return errors.new { kind = "unsendable", task = index, attempt = 1,
        message = ("%s: task %d: %s"):format(call.where, index, words or "it changed meanwhile") }
end

-- Whether a task that has failed so is to be run again. The error of a function that is asked for that
-- is the task's failure in its place; an interruption there is for the script: it comes third.
function failures.wants_again(retries, e, attempt)
    if not retries or attempt > retries.n then return false, e end
    if not retries.when then return true, e end
    local ok, answer = pcall(retries.when, e)
    if ok then return answer, e end
    if errors.is_error(answer) and answer.kind == "interrupted" then return false, e, answer end
    local failure = errors.caught(answer)
    failure.task, failure.worker, failure.attempt = e.task, e.worker, e.attempt
    return false, failure
end

return failures
