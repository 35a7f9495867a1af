-- luamp.wait: waiting for several things at once, and for time alone.
--
-- Each round of a wait ends with a signal, too: then Lua code runs, and with it
-- whatever the signal set off; the deadline stays.

local core = require "luamp.core"
local options = require "luamp.options"
local process = require "luamp.process"

local wait = {}

local WHERE = "mp.wait"
local misuse = options.misuse

-- The descriptor to look at for the item at position i, or true if it is ready.
local function descriptor_of(item, i)
    local known = process.descriptor(item)
    if known then return known end
    local fd = type(item) == "number" and math.tointeger(item)
    if not fd then
        misuse(WHERE, "item %d is a %s; it waits for processes and descriptors", i, type(item))
    elseif not core.is_open(fd) then
        misuse(WHERE, "item %d: there is no open descriptor %d", i, fd)
    end
    return fd
end

-- The items that are ready now, or have become so until the deadline; nil when
-- a signal came.
local function ready_items(items, deadline)
    local fds, ready, any = {}, {}, false
    for i = 1, #items do
        local fd = descriptor_of(items[i], i)
        ready[i], any = fd == true, any or fd == true
        fds[i] = fd == true and -1 or fd
    end
    local positions = core.poll(fds, any and 0 or deadline)
    if not positions then return nil end
    for _, i in ipairs(positions) do ready[i] = true end
    local list = {}
    for i = 1, #items do
        if ready[i] then list[#list + 1] = items[i] end
    end
    return list
end

-- mp.wait(items, [timeout]): those that are ready, in the order of the list.
function wait.any(items, timeout)
    if process.descriptor(items) then
        misuse(WHERE, "expected a list, not a process: mp.wait{p}")
    elseif type(items) ~= "table" then
        misuse(WHERE, "expected a list of processes and descriptors, not %s", options.describe(items))
    elseif #items == 0 and timeout == nil then
        misuse(WHERE, "an empty list without a timeout would wait for ever")
    end
    local deadline = options.deadline(WHERE, timeout)
    local ready
    repeat ready = ready_items(items, deadline) until ready
    return ready
end

-- mp.sleep(seconds)
function wait.sleep(seconds)
    if type(seconds) ~= "number" then
        misuse("mp.sleep", "expected a number of seconds, not %s", options.describe(seconds))
    end
    local deadline = options.deadline("mp.sleep", seconds, "time")
    repeat until core.poll({}, deadline)
end

return wait
