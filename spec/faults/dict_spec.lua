-- A process is killed at each step of what it does with dicts, caches (src/engine/dict.h), lists
-- (list.h) and their tables (table.h), the first and each further time that it comes there; and
-- at each step of the memory's (arena.h) meanwhile.
--
-- A victim goes through the steps of a scenario, each of which it tells of in a log. Nobody else uses
-- the object meanwhile. Another object, with which the parent does the same, says what is to be left:
-- each key, or the list, as it was before the step in which the victim died, or after it. All of it
-- can be changed then, and when it is gone the memory is what it was.
--
-- Needs the build with fault points. LUAMP_SWEEP=all: every time, and not a sample.
local helper = require "spec.helper"
local sweep = require "spec.faults.sweep"

-- The header with the table of steps; the sources that have them; the points.
local tables = {
    { head = "dict", sources = { "dict", "edit", "stripe", "recency" }, points = {
        ["dict.put"] = "P1 P2 P3 P4", ["dict.word"] = "W1", ["dict.grow"] = "G1 G2 G3", ["dict.clear"] = "C1 C2 C3",
        ["dict.update"] = "U1 U2" } },
    { head = "list", sources = { "list" }, points = {
        ["list.put"] = "P1 P2 P3 P4", ["list.take"] = "T1 T2 T3 T4", ["list.move"] = "M1 M2 M3" } },
    { head = "table", sources = { "table" }, points = { ["table.free"] = "E1 E2" } },
}

local function names_of(points)
    local list = {}
    for change, steps in pairs(points) do
        for step in steps:gmatch "%S+" do list[#list + 1] = change .. "." .. step end
    end
    table.sort(list)
    return list
end

local all = {}
for _, t in ipairs(tables) do
    for _, name in ipairs(names_of(t.points)) do all[#all + 1] = name end
end
local of_memory = { "arena.alloc.A1", "arena.alloc.A2", "arena.alloc.A3", "arena.free.F1", "arena.free.F2",
    "arena.free.F3", "arena.hold.H1", "arena.hold.H2", "arena.hold.H3", "arena.move.M1", "arena.move.M2",
        "arena.move.M3" }

local script = [[
local name, points, elsewheres, most, path = arg[1], arg[2], arg[3], tonumber(arg[4]), arg[5]
local is_older = arg[6] == "older"
local mp = require "luamp"

local long = ("x"):rep(3000)

-- By one step after the other; a value with a handle is told by what lies in that queue.
local function handle(n)
    local q = mp.queue()
    q:put(n)
    return { q }
end

local dict_steps = {
    function(d) d:set("a", 1) end,
    function(d) d:set("a", 2) end,
    function(d) d:set("a", long) end,
    function(d) d:set("b", handle(1)) end,
    function(d) d:set("b", handle(2)) end,
    function(d) d:add("n") end,
    function(d) d:add("n", 5) end,
    function(d) d:add("n", 0.5) end,
    function(d) d:update("n", function(v) return v + 1 end) end,
    function(d) d:update("a", function(v) return { v } end) end,
    function(d) d:update("new", function() return "made" end) end,
    function(d) d:update("none", function() end) end,
    function(d) pcall(d.update, d, "a", error) end,
    function(d) pcall(d.update, d, "none", error) end,
    function(d) d:update("new", function() end) end,
    function(d) d:remove "a" end,
    function(d) d:remove "b" end,
}
local full_steps = {}
for i = 1, 30 do full_steps[i] = function(d) d:set(i, i % 3 == 0 and { i } or i) end end
for i = 1, 25 do full_steps[30 + i] = function(d) d:set(i, nil) end end
for i = 1, 9 do full_steps[55 + i] = function(d) d:set(i, i) end end
full_steps[65] = function(d) d:set("handle", handle(3)) end
full_steps[66] = function(d) d:clear() end

local list_steps = {
    function(l) l:insert(1) end,
    function(l) l:insert(long) end,
    function(l) l:insert(1, { 3 }) end,
    function(l) l:insert(2, handle(4)) end,
    function(l) l[1] = "five" end,
    function(l) l[2] = 6 end,
    function(l) l[5] = handle(5) end,
    function(l) l:remove(3) end,
    function(l) l:remove(1) end,
    function(l) l:insert(1, "seven") end,
    function(l) l:remove(1) end,
    function(l) l:remove() end,
}
for i = 1, 20 do list_steps[#list_steps + 1] = function(l) l:insert(i % 2 == 0 and i or { i }) end end
for _ = 1, 18 do list_steps[#list_steps + 1] = function(l) l:remove(2) end end
list_steps[#list_steps + 1] = function(l) l:insert(handle(8)) end
list_steps[#list_steps + 1] = function(l) l:clear() end

local scenarios = {
    dict = { make = mp.dict, steps = dict_steps },
    full = { make = mp.dict, steps = full_steps },
    cache = { make = function() return mp.cache(5) end, steps = dict_steps },
    full_cache = { make = function() return mp.cache(7) end, steps = full_steps },
    short_cache = { make = function() return mp.cache { ttl = 1000 } end, steps = dict_steps },
    list = { make = mp.list, steps = list_steps, is_list = true },
    -- Of objects that nobody else has.
    own = { make = mp.dict, steps = { function(d)
        for _, make in ipairs { mp.dict, function() return mp.cache(3) end } do
            local o <close> = make()
            for i = 1, 20 do o:set(i, handle(i)) end
        end
        local l <close> = mp.list()
        for i = 1, 20 do l:insert(handle(i)) end
        d:set("a", 1)
    end } },
}
local scenario = scenarios[name]

local function text(value)
    if type(value) ~= "table" then return ("%s %s"):format(math.type(value) or type(value), tostring(value)) end
    if type(value[1]) ~= "userdata" then return "{" .. text(value[1]) .. "}" end
    local n = value[1]:get(0)
    if n then value[1]:put(n) end
    return "a queue with " .. tostring(n)
end

local function snapshot(o)
    local found, n = {}, 0
    for k, v in pairs(o) do found[k], n = text(v), n + 1 end
    return found, n
end

-- What is there after each number of steps.
local expected = {}
do
    local o <close> = scenario.make()
    for i = 0, #scenario.steps do
        if i > 0 then scenario.steps[i](o) end
        expected[i] = snapshot(o)
    end
end

local function same(a, b)
    for k, v in pairs(a) do if b[k] ~= v then return false end end
    for k, v in pairs(b) do if a[k] ~= v then return false end end
    return true
end

-- Each key has its old or its new value: of a step that changes one alone, all do.
local function is_between(found, old, new)
    for k in pairs(old) do if found[k] ~= old[k] and found[k] ~= new[k] then return false end end
    for k in pairs(new) do if found[k] ~= old[k] and found[k] ~= new[k] then return false end end
    for k in pairs(found) do if old[k] == nil and new[k] == nil then return false end end
    return true
end

local function usage()
    collectgarbage()
    collectgarbage()
    local words = {}
    for kind, its in pairs(mp.memory().kinds) do words[#words + 1] = ("%s %d/%d"):format(kind, its.count, its.bytes) end
    table.sort(words)
    return table.concat(words, ", ")
end

local function work(o)
    local log <close> = io.open(path, "w")
    log:setvbuf "no"
    for _, step in ipairs(scenario.steps) do
        step(o)
        log:write "."
    end
end

-- Nobody waits for the dead.
local function touch(o)
    if scenario.is_list then -- slots that are not in use are to stay as they are
        if #o > 0 then o[1], o[#o] = o[1], o[#o] end
        return
    end
    for _, key in ipairs { "a", "b", "n", "new", "none", 1, 2 } do o:update(key, function(v) return v end) end
end

local function check(o, n)
    local found, count = snapshot(o)
    local old, new = expected[n], expected[n + 1] or expected[n]
    local fits = scenario.is_list and (same(found, old) or same(found, new)) or is_between(found, old, new)
    if not fits then error(("after %d steps it is neither old nor new"):format(n), 0) end
    if #o ~= count then error(("the count is %d, and there are %d"):format(#o, count), 0) end
    if name:find "cache" then -- all that is there makes room
        for i = 1, 20 do o:set("filler" .. i, i) end
        if name == "full_cache" and #o ~= 7 or name == "cache" and #o ~= 5 then error(#o .. " entries", 0) end
        if not o:get "filler20" or not o:get "filler16" then error("the last ones are gone", 0) end
    end
    found = snapshot(o)
    touch(o)
    if not same((snapshot(o)), found) then error("it is another one after a touch", 0) end
    o:clear()
    if #o ~= 0 then error("it cannot be cleared", 0) end
    if scenario.is_list then o:extend { "touched", { 1 } } else o:set("touched", { 1 }) end
    if #o == 0 then error("it takes nothing", 0) end
end

local function fill(o, from, to)
    for i = from, to do o:set(i, "value " .. i) end
end

local function is_dead(pid)
    local stat <close> = assert(io.open(("/proc/%d/stat"):format(pid)))
    return stat:read "a":find "%) Z" ~= nil
end

local function victim(fault, ...)
    return mp.process { env = { LUAMP_FAULT = fault }, args = table.pack(...), stderr = "null", target = work }
end

-- Who sweeps and mends what another one left, which it started.
local function nested(o, point, elsewhere)
    return mp.process { env = { LUAMP_FAULT = point }, stderr = "null", target = function()
        local dead = victim(elsewhere, o):start()
        dead:join(20)
        for _ = 1, 3 do touch(o) end
        dead:close()
    end }
end

-- The first one began before who sweeps it, and is swept by the caller before that one is.
local function beside(o, point, elsewhere)
    local mine, theirs = mp.pipe()
    local first = mp.process { env = { LUAMP_FAULT = elsewhere }, args = { o, theirs }, stderr = "null",
        target = function(object, e)
            e:recv(20)
            work(object)
        end }:start()
    theirs:close()
    return mp.process { env = { LUAMP_FAULT = point }, args = { mine, o }, stderr = "null",
        target = function(e, object)
            e:send "go"
            e:recv(20) -- until nobody has the other end: who sees that sweeps the dead
            touch(object)
        end }, first
end

local function end_of(p)
    if not p:join(20) then error("it hangs", 0) end
    local code = p.exitcode
    p:close()
    return code
end

-- What another dict has, in memory that was freed, stays as it is.
local function other_is_whole(other)
    for i = 1, 200 do
        if other:get(i) ~= "value " .. i then error("what was freed is freed once more", 0) end
    end
end

-- The status of who was to be killed.
local function run(point, elsewhere)
    local before, code = usage(), nil
    do
        local other <close> = mp.dict()
        do
            local o <close> = scenario.make()
            os.remove(path)
            local p, first = victim(point, o), nil
            if elsewhere then p, first = (is_older and beside or nested)(o, point, elsewhere) end
            p:start()
            if first then
                while not is_dead(p.pid) do mp.sleep(0.005) end -- which sweeps nobody
                end_of(first)
            end
            fill(other, 1, 100)
            code = end_of(p)
            fill(other, 101, 200)
            other_is_whole(other)
            local file <close> = io.open(path)
            check(o, file and #file:read "a" or 0)
        end
        collectgarbage()
        other_is_whole(other)
        fill(other, 1, 200)
        other_is_whole(other)
    end
    local after = usage()
    if after ~= before then error(("memory: %s before, %s after"):format(before, after), 0) end
    return code
end

local function each_time(point, elsewhere)
    local n, stride = 1, 1
    for kills = 0, most do
        local ok, code = pcall(run, ("%s:%d"):format(point, n), elsewhere)
        if not ok then
            local after = elsewhere and " after " .. elsewhere or ""
            print(("%s: killed at %s:%d%s: %s"):format(name, point, n, after, code))
            return
        end
        if code ~= -9 then
            if code ~= 0 then print(("%s at %s:%d: status %s"):format(name, point, n, code)) end
            if kills > 0 then print("killed", point, kills) end
            return
        end
        n = n + stride
        if most < 1000 and n > 8 then stride = stride * 2 end
    end
    print("killed", point, most)
end

for point in points:gmatch "%S+" do
    if not elsewheres:find "%S" then each_time(point) end
    for elsewhere in elsewheres:gmatch "%S+" do each_time(point, elsewhere) end
end
print "end"
]]

-- Returns the points at which there were kills.
local function kill(name, points, elsewheres, order)
    local log = helper.tmpdir() .. "/log"
    local result = helper.run(("timeout 300 %s %s %s '%s' '%s' %d %s %s"):format(helper.host,
        helper.script(script), name,
        table.concat(points, " "), table.concat(elsewheres or {}, " "), sweep.all and 1000000 or order and 3 or 10, log,
        order or ""))
    local killed = {}
    local said = result.stdout:gsub("killed\t(%S+)\t%d+\n", function(point)
        killed[point] = true
        return ""
    end)
    assert.same({ 0, "", "end\n" }, { result.status, result.stderr, said })
    return killed
end

local reached = {}

describe("a process that is killed at any step, whenever it comes there, with", function()
    for _, name in ipairs { "dict", "full", "cache", "full_cache", "short_cache", "list", "own" } do
        it(name .. " leaves all whole", function()
            for point in pairs(kill(name, all)) do reached[point] = true end
        end)
    end

    it("these is killed at each of them", function()
        for _, point in ipairs(all) do assert.is_true(reached[point], point) end
    end)
end)

describe("a process that is killed at any step of the memory's, with", function()
    for _, name in ipairs { "dict", "cache", "list", "own" } do
        it(name .. " leaves all whole", function()
            assert.is_not_nil(next(kill(name, of_memory)))
        end)
    end
end)

-- Who mends is killed as well.
local cases = {
    dict = { "dict.put.P1:4", "dict.put.P2:5", "dict.put.P3:6", "dict.update.U1:1", "dict.update.U1:3" },
    full = { "dict.grow.G1:3", "dict.grow.G2:4", "dict.clear.C2:3", "table.free.E1:2" },
    full_cache = { "dict.put.P2:9", "dict.grow.G2:1", "dict.clear.C2" },
    list = { "list.put.P2:2", "list.move.M1:3", "list.move.M2:4", "list.take.T2", "table.free.E2" },
}

describe("a process that is killed while it sweeps and mends what a dead one left of", function()
    for name, elsewheres in pairs(cases) do
        it(name .. " leaves all whole", function()
            local points = { "dict.put.P1", "dict.put.P2", "dict.put.P4", "dict.update.U1", "table.free.E1",
                "table.free.E2", "list.put.P2", "list.take.T2", "list.move.M2", "arena.free.F1", "arena.free.F3",
                "arena.hold.H2", "arena.move.M2" }
            kill(name, points, elsewheres)
        end)
    end
end)

it("a process that is killed while it sweeps one that is swept by another then leaves all whole", function()
    for name, elsewheres in pairs { full = { "dict.clear.C3", "table.free.E1:3" },
        dict = { "dict.update.U1:3" }, list = { "table.free.E2" } } do
        local points = { "table.free.E1", "table.free.E2", "dict.put.P2" }
        assert.is_not_nil(next(kill(name, points, elsewheres, "older")))
    end
end)

describe("the table of points", function()
    for _, t in ipairs(tables) do
        it("of " .. t.head .. ".h is that of its sources", function()
            local found = {}
            for _, source in ipairs(t.sources) do
                for point in helper.read("src/engine/" .. source .. ".c"):gmatch '"(%l+%.%l+%.%u%d)"' do
                    found[point] = true
                end
            end
            local wanted, list = names_of(t.points), {}
            for point in pairs(found) do list[#list + 1] = point end
            table.sort(list)
            assert.same(wanted, list)
            local listed, change = {}, nil
            for line in helper.read("src/engine/" .. t.head .. ".h"):gmatch "[^\n]+" do
                change = line:match "^%*%*   (%l+) +%u%d " or change
                local step = line:match "^%*%*   %l+ +(%u%d) " or line:match "^%*%*         +(%u%d) "
                if step then listed[#listed + 1] = ("%s.%s.%s"):format(t.head, change, step) end
            end
            table.sort(listed)
            assert.same(wanted, listed)
        end)
    end
end)
