-- traffic.lua: what victims do with queues, pipes and handles, and what must be left
-- when one of them was killed.
--
-- A scenario has an object, what lies in it at first, and the steps that a victim goes
-- through; each that is done it says in a log. Nobody else uses the object until the
-- victim is dead. So what is left is known: what a model of the object has after as many
-- steps as the log tells, or after a part of the step in which the victim died. All of
-- it must come out at once, whole and in order; what was taken counts as done; and when
-- the object is gone and the dead was let go, the memory is what it was.
local mp = require "luamp"

local traffic = { limit = 1 } -- seconds, after which survivors go on

-- The item of that number with so many bytes, which no other item has.
local function item(i, size)
    local head = ("%d;"):format(i)
    return head .. string.char(33 + i % 90):rep((size or 4) - #head)
end

local function items(n, size)
    local list = {}
    for i = 1, n do list[i] = item(i, size) end
    return list
end

-- Steps, each with what it means: the items that it puts, or how many it takes.
local function put(i, size) return { does = "put", puts = { item(i, size) } } end
local function put_many(list) return { does = "put_many", puts = list } end
local function get() return { does = "get", takes = 1 } end
local function get_many(n) return { does = "get_many", takes = n } end
local function done() return { does = "done" } end
local function rank(i, size) return { does = "rank", puts = { item(i, size) } } end
local function marked(step) step.is_marked = true return step end

local function batch(from, sizes)
    local list = {}
    for i, size in ipairs(sizes) do list[i] = item(from + i, size) end
    return list
end

-- Of ranked items the priority follows from the text: 7 of them, so that many are equal.
local function priority_of(text)
    return math.tointeger(text:match "^%d+") * 5 % 7
end

local function queue() return mp.queue() end

local long, large = 5000, 70000 -- a slab is too small for the one, pages that grow the arena for the other

traffic.scenarios = {
    short = { make = queue, first = items(3), steps = { put(11), get(), put(12), get(), get(), put(13) } },
    long = { make = queue, first = items(2, long),
        steps = { put(11, long), get(), put(12, large), get(), get(), get(), put(13, large) } },
    growth = { make = queue, first = {}, -- whose first run makes the arena grow
        steps = { put(11, 3 << 20), put(12, 3000), get(), put(13, 5 << 20), get() } },
    mixed = { make = queue, first = { item(1), item(2, long), item(3) },
        steps = { put(11, long), put(12), get(), get(), put(13, 2000), put(14, 2500), get(), get() } },
    batches = { make = queue, first = items(5, 100),
        steps = { put_many(batch(10, { 4, 4, long, 4, 700, long, 4 })), get_many(8),
            put_many(batch(20, { 4, 1500, 4 })), get_many(2), get_many(64) } },
    crossing = { make = queue, first = items(2, 400),
        steps = { put(11, 2000), put(12, 2000), put(13, 2000), put(14, 2000), put(15, 2000), put(16, 2000),
            put(17, 2000), put(18, 2000), get_many(8), put(19, 2000), put(20, 2000), get(), get(), get(), get() } },
    bounded = { make = function() return mp.queue { maxsize = 4, maxbytes = 5000 } end, first = items(2, 200),
        steps = { put(11, 400), get(), put(12, 2000), get(), get(), get(), put(13, 9000), get() } },
    ranks = { make = function() return mp.priority_queue() end, is_ranked = true, first = items(28, 40),
        steps = { rank(40), rank(41), rank(35), get(), rank(42, long), get(), rank(43), get(), get() } },
    tasks = { make = queue, first = items(5), steps = { get(), done(), get(), get(), done(), done(), get() } },
    pipe = { is_pipe = true, first = items(2, 30), steps = { put(11), get(), put(12, long), get(), get(), get() } },
    handles = { make = queue, has_handles = true, first = items(2),
        steps = { put(11), get(), put(12), get(), get(), put(13) } },
    -- Objects that nobody else knows: made, used, and let go of.
    objects = { make = queue, first = items(1), steps = { { does = "object" }, { does = "object" }, put(11) } },
    pipes = { make = queue, first = items(1), steps = { { does = "pipe_object" }, put(11) } },
    ranked_objects = { make = queue, first = items(1), steps = { { does = "ranked_object" }, put(11) } },

    -- Of one step each, for the sweep over instructions.
    one_put = { make = queue, first = items(2), steps = { marked(put(11)) } },
    one_long_put = { make = queue, first = items(2), steps = { marked(put(11, long)) } },
    one_crossing_put = { make = queue, first = items(2, 300), steps = { marked(put(11, 900)) } },
    one_get = { make = queue, first = items(3), steps = { marked(get()) } },
    one_long_get = { make = queue, first = items(2, long), steps = { marked(get()) } },
    one_crossing_get = { make = queue, first = items(3, 700), steps = { get(), marked(get()) } },
    one_ranked_put = { make = function() return mp.priority_queue() end, is_ranked = true, first = items(12),
        steps = { marked(rank(28)) } },
    one_growing_put = { make = function() return mp.priority_queue() end, is_ranked = true, first = items(32, 40),
        steps = { marked(rank(35)) } },
    one_ranked_get = { make = function() return mp.priority_queue() end, is_ranked = true, first = items(12),
        steps = { marked(get()) } },
    one_handle = { make = queue, has_handles = true, first = items(1), steps = { marked(put(11)) } },
    one_handle_get = { make = queue, has_handles = true, first = items(2), steps = { marked(get()) } },
    one_done = { make = queue, first = items(2), steps = { get(), marked(done()) } },
    one_object = { make = queue, first = items(1), steps = { marked { does = "object" } } },
    one_pipe = { make = queue, first = items(1), steps = { marked { does = "pipe_object" } } },
    one_ranked_object = { make = queue, first = items(1), steps = { marked { does = "ranked_object" } } },
}

-- The object's two sides: of a queue itself twice.
local function make(scenario)
    if scenario.is_pipe then
        local reader, writer = mp.pipe { duplex = false }
        return writer, reader
    end
    local q = scenario.make()
    return q, q
end

local function put_one(scenario, to, text)
    if scenario.is_pipe then return to:send(text, traffic.limit) end
    if scenario.is_ranked then return to:put(text, priority_of(text), traffic.limit) end
    if not scenario.has_handles then return to:put(text, traffic.limit) end
    local inner <close> = mp.queue()
    inner:put(text)
    return to:put({ inner }, traffic.limit)
end

local function get_one(scenario, from, limit)
    if scenario.is_pipe then return from:recv(limit) end
    local value, word = from:get(limit)
    if not scenario.has_handles or value == nil then return value, word end
    local inner <close> = value[1]
    return inner:get(0)
end

local does = {}

function does.put(scenario, step, to) put_one(scenario, to, step.puts[1]) end
does.rank = does.put
function does.put_many(_, step, to) to:put_many(step.puts) end
function does.get(scenario, _, _, from) get_one(scenario, from, traffic.limit) end
function does.get_many(_, step, _, from) from:get_many(step.takes, traffic.limit) end
function does.done(_, _, _, from) from:task_done() end

function does.object()
    local q <close> = mp.queue()
    q:put "short"
    q:put(("x"):rep(long))
    local other <close> = mp.queue()
    other:put(q)
    other:put(("x"):rep(1000))
    q:get()
end

function does.pipe_object()
    local a, b = mp.pipe()
    a:send(("x"):rep(long))
    a:send "short"
    b:recv()
    local q <close> = mp.queue()
    b:send(q)
    b:close()
    a:close()
end

function does.ranked_object()
    local q <close> = mp.priority_queue()
    for i = 1, 3 do q:put(("x"):rep(40), i) end
    q:get()
end

-- Where memory is short, once in a while, the caller is told so, and can try again.
local function try(f, ...)
    local ok, e = pcall(f, ...)
    if ok then return 0 end
    if not tostring(e):find("not enough memory to share", 1, true) then error(e, 0) end
    f(...)
    return 1
end

-- The victim: goes through its steps. Returns how many had to be tried again.
local function work(scenario, to, from, log)
    local n = 0
    for _, step in ipairs(scenario.steps) do
        if step.is_marked then os.remove "/killat/begin" end
        n = n + try(does[step.does], scenario, step, to, from)
        if step.is_marked then os.remove "/killat/end" end
        log:write "."
        log:flush()
    end
    return n
end

-- The model

local function insert(scenario, list, text)
    local at = #list + 1
    while scenario.is_ranked and at > 1 and priority_of(list[at - 1]) > priority_of(text) do at = at - 1 end
    table.insert(list, at, text)
end

local function same(a, b)
    if #a ~= #b then return false end
    for i = 1, #a do
        if a[i] ~= b[i] then return false end
    end
    return true
end

-- What may be left after n whole steps and a part of the next; and how many of it were
-- taken and done, at least.
local function outcomes(scenario, n)
    local list, found = {}, {}
    local taken, finished = 0, 0
    local function state()
        found[#found + 1] = { left = table.move(list, 1, #list, 1, {}), taken = taken, done = finished }
    end
    for _, text in ipairs(scenario.first) do insert(scenario, list, text) end
    for i = 0, math.min(n, #scenario.steps - 1) do
        if i == n then found = {} end
        state()
        local step = scenario.steps[i + 1]
        for _, text in ipairs(step.puts or {}) do
            insert(scenario, list, text)
            state()
        end
        for _ = 1, math.min(step.takes or 0, #list) do
            table.remove(list, 1)
            taken = taken + 1
            state()
        end
        finished = finished + (step.does == "done" and 1 or 0)
    end
    if n >= #scenario.steps then found = {} end
    state()
    return found
end

local function brief(list)
    local words = {}
    for i, text in ipairs(list) do words[i] = ("%s(%d)"):format(tostring(text):match "^[^;]*", #tostring(text)) end
    return table.concat(words, " ")
end

-- One of the outcomes, if it is what is left; one more may have been taken by a witness.
local function check_left(scenario, n, left, more_taken)
    local found = outcomes(scenario, n)
    for _, outcome in ipairs(found) do
        if same(outcome.left, left) then return outcome end
        if more_taken and same(table.move(outcome.left, 2, #outcome.left, 1, {}), left) then return outcome end
    end
    local lines = { "left: " .. brief(left) .. "\nafter " .. n .. " steps it should be one of" }
    for _, outcome in ipairs(found) do lines[#lines + 1] = brief(outcome.left) end
    error(table.concat(lines, "\n"), 0)
end

-- The check

-- All that is there; a survivor's call must not take long.
local function drain(scenario, from)
    local left = {}
    local n = not scenario.is_pipe and #from or nil
    while true do
        local began = mp.clock()
        local text, word = get_one(scenario, from, 0)
        if mp.clock() - began > traffic.limit then error("a get took too long", 0) end
        if text == nil then
            if word ~= "timeout" then error("a get ended with " .. tostring(word), 0) end
            break
        end
        left[#left + 1] = text
    end
    if n and n ~= #left then error(("it said that it has %d items, and had %d"):format(n, #left), 0) end
    return left
end

local function put_and_get(scenario, to, from)
    for _, size in ipairs { 10, 3000, 70000 } do
        local text = item(900, size)
        if not put_one(scenario, to, text) then error("a put took too long", 0) end
        local got, word = get_one(scenario, from, traffic.limit)
        if got ~= text then error("put and get again: " .. tostring(word), 0) end
    end
end

-- Items that were taken and not done are, when their process has gone.
local function check_join(q, n_left, n_more)
    for _ = 1, n_left + n_more do q:task_done() end
    local ok, word = q:join(traffic.limit)
    if not ok then error("join: " .. tostring(word), 0) end
    if pcall(q.task_done, q) then error("more was done than taken", 0) end
    return word
end

local function usage()
    collectgarbage()
    collectgarbage()
    local kinds = mp.memory().kinds
    local words = {}
    for _, name in ipairs { "structures", "messages", "handles", "queues", "pipe_ends" } do
        words[#words + 1] = ("%s %d/%d"):format(name, kinds[name].count, kinds[name].bytes)
    end
    return table.concat(words, ", ")
end

-- It may take a moment until the dead of the dead are known to be so.
local function check_usage(before, limit)
    local after
    local deadline = mp.clock() + (limit or 0)
    repeat
        after = usage()
        if after == before then return end
        local q <close> = mp.queue()
        q:get(0.06) -- in a wait the dead are looked for
    until mp.clock() > deadline
    error(("memory\n  %s\nbefore, and\n  %s\nafter"):format(before, after), 0)
end

local function read(path)
    local file <close> = assert(io.open(path))
    return file:read "a"
end

-- Runs the victim of a scenario, with that environment, and checks what is left. Returns its exitcode.
-- Options: `env`; `wrap(f)`, in place of the victim's function f its own; `more_taken`: that may
-- take one item more; `settles`: seconds until the memory is back, 0 by default.
function traffic.run(name, path, options)
    local scenario = traffic.scenarios[name]
    local before = usage()
    local code
    do
        local to, from = make(scenario)
        local _ <close> = to
        local _ <close> = from
        for _, text in ipairs(scenario.first) do put_one(scenario, to, text) end
        local log <close> = assert(io.open(path, "w"))
        local function target()
            if work(scenario, to, from, log) > 0 then os.exit(7) end
        end
        local victim = mp.process { env = options.env, stderr = "null",
            target = options.wrap and options.wrap(target, from) or target }:start()
        if not victim:join(20) then error("the victim hangs", 0) end
        code = victim.exitcode
        local n = #read(path)
        local left = drain(scenario, from)
        local outcome = check_left(scenario, n, left, options.more_taken)
        put_and_get(scenario, to, from)
        victim:close()
        if not scenario.is_pipe then
            local word = check_join(from, #left, 3)
            if not options.more_taken and (outcome.taken > outcome.done) ~= (word == "abandoned")
                and n >= #scenario.steps then
                error(("%d taken, %d done: %s"):format(outcome.taken, outcome.done, tostring(word)), 0)
            end
        end
    end
    check_usage(before, options.settles)
    return code
end

return traffic
