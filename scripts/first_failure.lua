-- first_failure.lua: several things at once, of which none is of use without
-- the others.
--
-- A scope waits for all that was started in it. The first failure ends it: the
-- rest are stopped, the function's own wait ends, and the failure is raised.
--
--   luamp scripts/first_failure.lua

local mp = require "luamp"

-- Stands for a download: seconds that it takes, and what it meets at the end.
local function fetch(name, seconds, problem)
    mp.sleep(seconds)
    if problem then error(("%s: %s"):format(name, problem), 0) end
    return #name
end

local function fetch_all(list)
    return mp.scope(function(s)
        local running, sizes = {}, {}
        for i, item in ipairs(list) do running[i] = s:start(fetch, table.unpack(item)) end
        for i, p in ipairs(running) do sizes[i] = p:result() end
        return table.concat(sizes, " ")
    end)
end

local function show(title, list)
    local began = mp.clock()
    local ok, result = pcall(fetch_all, list)
    print(title, ok, mp.is_error(result) and result.message or result)
    print("", mp.clock() - began < 10 and "in time" or "late", #mp.active_children() .. " left")
end

show("all well", { { "index", 0.1 }, { "styles", 0.2 }, { "logo", 0 } })
show("one fails", { { "index", 60 }, { "styles", 0.1, "404 Not Found" }, { "logo", 60 } })
