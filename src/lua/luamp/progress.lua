-- luamp.progress: how far a pool's calls and loops are, for who watches.
--
-- A meter is one call, or one loop of mp.progress. It is drawn at the foot of the terminal on standard error
-- (engine/footer.h), told by a line every ten seconds where there is none, or given to a function of the script's;
-- at its end there is a receipt. All meters of a process share one line.
--
-- Promise: only the process that makes a call draws it, at most ten times a second and while it waits in luamp, and
-- a worker draws nothing. No task costs anything for it: what is counted is counted anyway, and between two
-- drawings there is a look at the clock each time that the pool takes results in. However a call ends, nothing of
-- its line stays on the screen.

local core = require "luamp.core"
local figures = require "luamp.figures"
local life = require "luamp.life"
local options = require "luamp.options"
local putting = require "luamp.putting"

local progress = {}

local clock = core.clock

local PERIOD <const> = 0.1 -- seconds between two drawings
local PLAIN_PERIOD <const> = 10 -- and between two lines
local WIDEST <const> = 160 -- columns
local MOST_LANES <const> = 64 -- workers that are looked at for one drawing

-- --- the terminal ------------------------------------------------------------------

local function env(name)
    local value = os.getenv(name)
    return value ~= "" and value or nil
end

-- Whether the terminal breaks lines anew when its width changes: these are known not to.
local function reflows()
    local term = env "TERM" or ""
    if env "TMUX" then return true end
    return not (env "XTERM_VERSION" or term:find "^linux" or term:find "^rxvt" or term:find "^screen")
end

local function style()
    local locale = env "LC_ALL" or env "LC_CTYPE" or env "LANG" or ""
    return { has_utf8 = locale:lower():find "utf%-?8" ~= nil, has_color = not env "NO_COLOR" }
end

-- How many columns a line may take; nil where none can be drawn. Three stay free: some terminals break a full line,
-- and Ctrl-C is echoed behind it.
local function columns()
    local n = core.columns()
    if not n or not env "TERM" or env "TERM" == "dumb" then return nil end
    if n == 0 then n = math.tointeger(tonumber(env "COLUMNS")) or 80 end
    return math.max(0, math.min(n - 3, WIDEST))
end

-- --- all meters of this process -----------------------------------------------------

-- Those that share the line. A forked child has none of its parent's.
local shown = { pid = 0, due = 0 }

local function mine()
    if shown.pid ~= core.getpid() then shown = { pid = core.getpid(), due = 0 } end
    return shown
end

-- A worker's calls, and what a task of LUAMP_BACKEND=serial does.
local function is_in_worker()
    local mp = package.loaded.luamp -- which test frameworks take away
    return life.now.worker_of ~= nil or type(mp) == "table" and mp.worker ~= nil
end

local function update(m, now)
    figures.feed(m.gauge, now, m:count())
    return figures.read(m.gauge, m:total())
end

local function draw(width, now)
    local list = {}
    for i, m in ipairs(shown) do list[i] = { label = m.label, figures = update(m, now) } end
    local text, cells = figures.row(list, width, style())
    core.show_footer(text, cells, reflows())
end

local function say_plainly(now)
    for _, m in ipairs(shown) do
        if now >= m.plain_due then
            m.plain_due = now + PLAIN_PERIOD
            core.report(figures.plain(m.label, update(m, now)))
        end
    end
end

-- Draws what is due.
local function show(now)
    if now < shown.due then return end
    shown.due = now + PERIOD
    local width = columns()
    if width then draw(width, now) else say_plainly(now) end
end

-- m: {label=, word=, has_failures=, is_parallel=} and the functions count() -> what figures.feed is fed; total();
-- usage() -> seconds of CPU time, bytes.
local function start(m)
    local now = clock()
    m.gauge, m.pid, m.plain_due = figures.gauge(now), core.getpid(), now + PLAIN_PERIOD
    m.cpu = m:usage()
    local all = mine()
    if not all[1] then all.due = now + PERIOD end
    if columns() then core.claim_footer() end
    all[#all + 1] = m
    return m
end

-- The end of a meter: a receipt in its place, once.
local function finish(m, is_complete)
    if m.is_over or m.pid ~= core.getpid() then return end
    m.is_over = true
    for i, other in ipairs(shown) do
        if other == m then
            table.remove(shown, i)
            break
        end
    end
    if not shown[1] then core.hide_footer() end
    local f = update(m, clock())
    local cpu, peak = m:usage()
    core.report(figures.receipt(m.label, f, { word = m.word, has_failures = m.has_failures, is_complete = is_complete,
        is_parallel = m.is_parallel, cpu = cpu - m.cpu, peak = peak }))
end

-- --- calls of pools --------------------------------------------------------------

-- The option `progress`, if it is one.
function progress.check(where, given)
    if given == nil or type(given) == "boolean" or options.is_callable(given) then return given or nil end
    if type(given) == "string" and given ~= "" then return given end
    options.misuse(where, "option 'progress' must be true, a label or a function, not %s", options.describe(given))
end

-- How many tasks have ended. In a batch that runs a failure is one of them that may be run again: the number stays
-- where it was, then, until the others have come so far.
local function n_done(d, call, m)
    if call.phase ~= "active" then return call.n_ended end
    m.most = math.max(m.most, call.n_ended + d.crew:n_unheard(call.call))
    return m.most
end

-- Of some workers, the next ones each time, how many run something.
local function busy_share(d, m)
    if d.crew.is_serial then return nil end
    local n_looked, n_busy = math.min(d.crew.n, MOST_LANES), 0
    for _ = 1, n_looked do
        m.lane = m.lane % d.crew.n + 1
        if d.crew:is_busy(m.lane) then n_busy = n_busy + 1 end
    end
    return n_looked > 0 and n_busy / n_looked or nil
end

-- A reduction's tasks are groups, and what is counted are their items.
local function in_items(call, n)
    if not call.group then return n end
    local items = call.source.items
    return math.min(n * call.group, items.n or items.n_read or n * call.group)
end

local function total_of(call)
    if call.group then return call.source.items.n or call.last and call.source.items.n_read end
    return call.last
end

local function new_meter(d, call)
    return { label = type(call.progress) == "string" and call.progress or call.where:match "[^.:]+$", word =
        call.group and "item" or "task", has_failures = true, is_parallel = not d.crew.is_serial, lane = 0,
        most = 0,
        count = function(m)
            return in_items(call, n_done(d, call, m)), #call.failures, busy_share(d, m), call.recorder
                and in_items(call, call.recorder.n_answered)
        end,
        total = function() return total_of(call) end,
        usage = function() return d.crew:usage() end }
end

local function drop(d, call)
    for i, other in ipairs(d.metered) do
        if other == call then
            table.remove(d.metered, i)
            break
        end
    end
    if not d.metered[1] then d.metered = nil end
end

-- The call begins.
function progress.begin(d, call)
    local is_told = options.is_callable(call.progress)
    if not is_told and is_in_worker() then return end
    local m = new_meter(d, call)
    if is_told then m.gauge, m.tell = figures.gauge(clock()), call.progress else start(m) end
    call.meter, d.metered = m, d.metered or {}
    d.metered[#d.metered + 1] = call
    d.meters_due = d.metered[2] and d.meters_due or clock() + PERIOD
end

-- Tells the script's function. What it raises ends the call.
local function tell(d, call, now)
    local m = call.meter
    if m.is_telling then return end
    m.is_telling = true
    local ok, e = pcall(m.tell, update(m, now))
    m.is_telling = false
    if ok then return end
    call.has_told_in_vain = true
    if call.phase == "active" then putting.break_call(d, call, e) else call.broken = e or tostring(e) end
end

-- A moment in which something of the pool has been looked at.
function progress.look(d)
    local now = clock()
    if now < d.meters_due then return end
    d.meters_due = now + PERIOD
    for _, call in ipairs(table.move(d.metered, 1, #d.metered, 1, {})) do
        if call.meter and call.meter.tell then tell(d, call, now) end
    end
    if shown[1] and shown.pid == core.getpid() then show(now) end
end

-- The call has ended, and takes no results any more.
function progress.finish(d, call)
    local m = call.meter
    if not m then return end
    drop(d, call)
    if m.tell and not call.broken then tell(d, call, clock()) end
    call.meter = nil
    if not m.tell then finish(m, call.phase == "ended") end
end

-- Nobody waits for the call's end any more: an error goes on, and its words are to have a line of their own.
function progress.leave(call)
    if call.meter and not call.meter.tell then finish(call.meter, false) end
end

-- --- loops -----------------------------------------------------------------------

-- What leaving the loop does: also what the iterator's own last value does.
local leaving = {}

leaving.__close = function(l, e)
    finish(l.meter, false)
    local mt = debug.getmetatable(l.closing)
    if mt and mt.__close then mt.__close(l.closing, e) end
end

-- A loop that was not left, in a coroutine for example, has gone.
leaving.__gc = function(l)
    finish(l.meter, false)
end

local function next_item(list, i)
    i = i + 1
    if i <= (list.n or #list) then return i, list[i] end
end

local function count_keys(t)
    local n = 0
    for _ in next, t do n = n + 1 end
    return n
end

-- How many steps a loop over that has, if that is known.
local function length_of(iterator, state)
    if type(state) ~= "table" then return nil end
    if iterator == next then return count_keys(state) end
    return iterator == ipairs {} and #state or nil
end

local function check_label(label)
    if label == nil or type(label) == "string" then return label end
    options.misuse("mp.progress", "the label must be a string, not %s", options.describe(label))
end

-- The parts of a loop: iterator, state, control, closing, total, label.
local function parts_of(iterator, a, b, c)
    if type(iterator) == "table" and not options.is_callable(iterator) then
        return next_item, iterator, 0, nil, a or iterator.n or #iterator, check_label(b)
    elseif not options.is_callable(iterator) then
        options.misuse("mp.progress", "expected an iterator or a list, not %s", options.describe(iterator))
    elseif a == nil or type(a) == "number" then
        return iterator, nil, nil, c, a, check_label(b)
    end
    return iterator, a, b, c, length_of(iterator, a), nil
end

local function check_total(total)
    if total == nil then return nil end
    local n = type(total) == "number" and math.tointeger(total)
    if n and n >= 0 then return n end
    options.misuse("mp.progress", "the total must be a count, not %s", options.describe(total))
end

local function loop_meter(total, label)
    local pid = core.getpid()
    return { label = label or "loop", word = "item", n = -1,
        count = function(m) return math.max(m.n, 0), 0 end,
        total = function(m) return total and math.max(total, m.n) end,
        usage = function() return core.usage(pid) end }
end

-- mp.progress(iterator, [total, [label]]), mp.progress(list, ...): the same loop, watched. What the iterator gives
-- comes through; an item is done when the next one is asked for.
function progress.over(...)
    local iterator, state, control, closing, total, label = parts_of(...)
    total = check_total(total)
    if is_in_worker() then return iterator, state, control, closing end
    local m = start(loop_meter(total, label))
    local function passed(first, ...)
        if first == nil then finish(m, true) end
        return first, ...
    end
    return function(s, c)
        m.n = m.n + 1
        local now = clock()
        if now >= shown.due and shown.pid == m.pid then show(now) end
        return passed(iterator(s, c))
    end, state, control, setmetatable({ meter = m, closing = closing }, leaving)
end

return progress
