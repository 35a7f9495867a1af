-- luamp.wait: waiting for several things at once, and for time alone.
--
-- Each round of a wait ends with a signal, too, when what it set off has run; the
-- deadline stays.

local core = require "luamp.core"
local life = require "luamp.life"
local options = require "luamp.options"
local process = require "luamp.process"

local wait = {}

local WHERE = "mp.wait"
local misuse, describe = options.misuse, options.describe

local is_future = core.future.is

-- The descriptor to look at for the item at position i, or true if it is ready.
local function descriptor_of(item, i)
    if is_future(item) then return require "luamp.future".watch(item) end
    local watched, why = core.watch(item)
    if watched then return watched elseif why then misuse(WHERE, "item %d, %s: %s", i, describe(item), why) end
    local known = process.descriptor(item)
    if known then
        process.note_oom_kills()
        return known
    end
    local fd = type(item) == "number" and math.tointeger(item)
    if not fd then
        misuse(WHERE, "item %d is %s; it waits for processes, shared objects, futures and descriptors", i,
            describe(item))
    elseif not core.is_open(fd) then
        misuse(WHERE, "item %d: there is no open descriptor %d", i, fd)
    end
    return fd
end

-- Whether what was ready is so still: another process may have taken an item.
local function is_ready(item)
    if is_future(item) then return require "luamp.future".is_ready(item) end
    return not core.is_shared(item) or core.is_ready(item)
end

-- What the items wait for: a list of descriptors (-1: that one is ready), which are ready, and
-- whether some are, and how often to look meanwhile: for something shared, at who is alive.
local function look_at(items)
    local fds, ready, any, pause = {}, {}, false, nil
    for i = 1, #items do
        local fd = descriptor_of(items[i], i)
        ready[i], any = fd == true, any or fd == true
        fds[i] = fd == true and -1 or fd
        if core.is_shared(items[i]) or is_future(items[i]) then pause = 0.05 end
    end
    return fds, ready, any, pause
end

-- Whether nothing but other processes of the family can make one of them ready.
local function are_ours(items)
    for _, item in ipairs(items) do
        if type(item) == "number" then return false end
    end
    return true
end

-- The items that are ready now, or have become so until the deadline, or, of what is shared,
-- after a look at who is alive, or after the longest time; nil when a signal came. And whether the
-- deadline has passed.
local function ready_items(items, deadline, longest)
    local fds, ready, any, pause = look_at(items)
    local moment = any and 0 or math.min(deadline, core.deadline(pause or longest))
    local positions = life.poll(fds, moment)
    if not positions then
        if pause then core.sweep_shared() end -- the timer of a pollfd may end each poll before its look
        return nil
    end
    for _, i in ipairs(positions) do ready[i] = true end
    local list = {}
    for i = 1, #items do
        if ready[i] and is_ready(items[i]) then list[#list + 1] = items[i] end
    end
    if pause and not list[1] then core.sweep_shared() end
    return list, moment == deadline or deadline <= 0
end

local function are_futures(items)
    for i = 1, #items do
        if not is_future(items[i]) then return false end
    end
    return items[1] ~= nil
end

-- mp.wait(items, [timeout]): those that are ready, in the order of the list.
function wait.any(items, timeout)
    if core.is_shared(items) or is_future(items) or process.descriptor(items) then
        misuse(WHERE, "expected a list, not one object: mp.wait{object}")
    elseif type(items) ~= "table" then
        misuse(WHERE, "expected a list of processes, shared objects, futures and descriptors, not %s",
            options.describe(items))
    elseif #items == 0 and timeout == nil then
        misuse(WHERE, "an empty list without a timeout would wait for ever")
    end
    if are_futures(items) then return require "luamp.future".ready(items, timeout) end
    local deadline = options.deadline(WHERE, timeout)
    local is_for_ever = deadline == core.deadline() and are_ours(items)
    local ready, is_over
    local function look()
        ready, is_over = ready_items(items, deadline, is_for_ever and 0.2 or nil)
        return ready and (ready[1] ~= nil or is_over)
    end
    if not is_for_ever then
        repeat until look()
    elseif not look() then
        require "luamp.sharing".wait_for_ever(look)
    end
    return ready
end

-- mp.sleep(seconds)
function wait.sleep(seconds)
    if type(seconds) ~= "number" then
        misuse("mp.sleep", "expected a number of seconds, not %s", options.describe(seconds))
    end
    local deadline = options.deadline("mp.sleep", seconds, "time")
    repeat until life.poll({}, deadline)
end

return wait
