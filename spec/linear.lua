-- linear.lua: whether a history of calls, made by several processes at a time, is linearizable: whether
-- each call can have happened at one moment between its begin and its end, so that all results are
-- those of the model. (J. M. Wing and C. Gong, 1993; with the states that were seen kept, after
-- G. Lowe, 2017.)
--
-- A history is a list of calls: { began=, ended=, op=, arg=, result= }, the times by one clock. A
-- model has `start`, a state, and `step(state, call)`: the state after it, or nil when it cannot have
-- had that result. States are values that are equal when they are alike: strings or numbers.
local linear = {}

-- Which calls are done: all before `first`, and of those from there on some.
local function name_of(done, first, last, state)
    local bits = {}
    for i = first, last do bits[#bits + 1] = done[i] and "1" or "0" end
    return ("%d:%s:%s"):format(first, table.concat(bits), tostring(state))
end

-- Returns true, or false and how many calls the longest order had.
function linear.check(history, model)
    local calls = table.move(history, 1, #history, 1, {})
    table.sort(calls, function(a, b) return a.began < b.began end)
    local done, seen, longest = {}, {}, 0

    -- `last`: the last one that is done.
    local function search(first, last, n, state)
        if n == #calls then return true end
        longest = math.max(longest, n)
        while done[first] do first = first + 1 end
        local name = name_of(done, first, last, state)
        if seen[name] then return false end
        seen[name] = true
        local first_end = math.huge -- a call that begins after another one's end comes after it
        for i = first, #calls do
            local call = calls[i]
            if call.began > first_end then break end
            if not done[i] then
                first_end = math.min(first_end, call.ended)
                local after = model.step(state, call)
                if after ~= nil then
                    done[i] = true
                    if search(first, math.max(last, i), n + 1, after) then return true end
                    done[i] = nil
                end
            end
        end
        return false
    end

    if search(1, 0, 0, model.start) then return true end
    return false, longest
end

-- A key of a dict: a number, or false where there is none.
linear.key = { start = false }
local of_key = {}
function of_key.set(_, call) return call.arg or false end
function of_key.get(state, call) if (call.result or false) == state then return state end end
function of_key.remove(state, call) if (call.result or false) == state then return false end end
function of_key.add(state, call)
    if call.result == (state or 0) + call.arg then return call.result end
end
function linear.key.step(state, call) return of_key[call.op](state, call) end

-- A queue: its items, as "1 2 3 ".
linear.queue = { start = "" }
function linear.queue.step(state, call)
    if call.op == "put" then return state .. call.arg .. " " end
    if call.result == nil then return state == "" and state or nil end
    local head = call.result .. " "
    return state:sub(1, #head) == head and state:sub(#head + 1) or nil
end

-- A list to which all is appended, and whose first or last is taken: the same, and from behind.
linear.list = { start = "" }
function linear.list.step(state, call)
    if call.op ~= "pop" then return linear.queue.step(state, call) end
    if call.result == nil then return state == "" and state or nil end
    local tail = " " .. call.result .. " "
    return (" " .. state):sub(-#tail) == tail and state:sub(1, #state - #tail + 1) or nil
end

return linear
