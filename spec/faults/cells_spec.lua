-- Values, arrays and buffers whose users are killed: at each step of what the arena does for them
-- (src/engine/arena.h), at those of making a named one (named.h), and, in writing to many elements, at each
-- instruction that stores (killat.c steps it): an element is as it was, or as it was to be.
--
-- Needs the build with fault points. LUAMP_SWEEP=all: every instruction and time, and not a sample.
local helper = require "spec.helper"
local lfs = require "lfs"
local sweep = require "spec.faults.sweep"

-- --- the arena ---------------------------------------------------------------

local points = { "arena.alloc.A1", "arena.alloc.A2", "arena.alloc.A3", "arena.free.F1", "arena.free.F2",
    "arena.free.F3", "arena.hold.H1", "arena.hold.H2", "arena.hold.H3", "arena.move.M1", "arena.move.M2",
    "arena.move.M3" }

it("a process that is killed while it makes, sends and drops them leaves nothing", function()
    local result = helper.script_run(([[
        local most = %d
        local function use(q, given)
            local v, a, b = mp.value "int8", mp.array("double", 20000), mp.buffer(300)
            v:add(1)
            a[2] = 1
            q:put { v, a, b, given }
            local back = q:get()
            back[2]:fill(5)
            v:close()
            a:close()
        end
        local function count()
            collectgarbage()
            local kinds = mp.memory().kinds
            return kinds.values.count + kinds.arrays.count + kinds.buffers.count
        end
        local function run(point, n)
            local q, given = mp.queue(), mp.array("int8", 9)
            local p = mp.process { env = { LUAMP_FAULT = point .. ":" .. n }, target = use, args = { q, given },
                stderr = "null" }:start()
            p:join()
            local code = p.exitcode
            p:close()
            given:fill(1)
            if given:sum() ~= 9 then error "the other's array" end
            return code
        end
        for point in ("%s"):gmatch "%%S+" do
            local n = 1
            while n <= most and run(point, n) == -9 do
                if count() ~= 0 then error(point .. ":" .. n .. " leaves " .. count()) end
                n = n + 1
            end
            print(point, n > 1)
        end]]):format(sweep.all and 1000 or 8, table.concat(points, " ")))
    assert.same({ 0, "" }, { result.status, result.stderr })
    assert.equal(table.concat(points, "\ttrue\n") .. "\ttrue\n", result.stdout)
end)

-- --- named ones ----------------------------------------------------------------

it("a process that is killed while it makes a named one leaves none, or a whole one", function()
    for step, expected in pairs { N1 = "nil\n", N2 = "1000\t1000\ttrue\n" } do
        local name = ("luamp-faults-%d-%s"):format(os.time(), step)
        local result = helper.script_run(([[
            local p = mp.process { env = { LUAMP_FAULT = "named.make.%s" }, stderr = "null", target = function()
                mp.buffer { name = "%s", size = 1000, create = true }
            end }:start()
            p:join()
            assert(p.exitcode == -9)
            local ok, b = pcall(mp.buffer, { name = "%s" })
            if ok then print(#b, #b:read(), b:unlink()) else print(nil) end]]):format(step, name, name))
        assert.same({ 0, "", expected }, { result.status, result.stderr, result.stdout }, step)
        assert.is_nil(lfs.attributes("/dev/shm/" .. name))
    end
end)

it("a process that is killed at any system call of making and unlinking one leaves none, or a whole one", function()
    local script = helper.script [[
        local mp = require "luamp"
        local name = arg[1]
        local p = mp.process { stderr = "null", target = function()
            local b = mp.buffer { name = name, size = 1000, create = true }
            b:write(1, ("x"):rep(1000))
            b:unlink()
        end }:start()
        p:join()
        p:close()
        local ok, b = pcall(mp.buffer, { name = name })
        local is_half = ok and (#b ~= 1000 or #b:read() ~= 1000)
        if ok then b:unlink() end
        ok, b = nil, nil
        collectgarbage()
        print(is_half, mp.memory().kinds.named_buffers.count)]]
    local function run(process, point)
        local name = ("luamp-sweep-%d-%d"):format(os.time(), point)
        local result = sweep.run { file = script, script = name, process = process, point = point }
        assert.is_nil(lfs.attributes("/dev/shm/" .. name))
        assert.same({ "exit:0", 0, "false\t0\n", "" },
            { result.ending, result.left, result.stdout, result.stderr }, ("at %s (%s)"):format(point, result.at))
        return result
    end
    local n = run("all", 0).processes["0.1"].points
    assert.is_true(n > 30, n .. " points")
    local kills = 0
    for _, point in ipairs(sweep.sample(n, 25)) do kills = kills + (run("0.1", point).killed and 1 or 0) end
    assert.is_true(kills > 0)
end)

-- --- elements -------------------------------------------------------------------

-- An operation by its name, on an array: what that is before, and what it has to be then, is known.
local script = [[
local mp = require "luamp"
local kind, operation = arg[1]:match "^(%S+) (%S+)$"
local N <const> = 45

-- The numbers of a list in which each byte differs from those of its neighbours.
local function numbers(first)
    local size, list = math.tointeger(kind:match "%d+") // 8, {}
    for i = 1, N do
        local x = 0
        for k = 1, size do x = x << 8 | (first + i * 7 + k * 3) % 128 end
        list[i] = x
    end
    return list
end

local old = numbers(1)
local new = numbers(60)
local a, b = mp.array(kind, old), mp.array(kind, new)
local from_floats = mp.array("double", N)
for i = 1, N do from_floats[i] = i end

local operations = {
    copy = function() a:copy(b) end,
    up = function() a:copy(a, 5, N, 1) end,
    down = function() a:copy(a, 1, N - 6, 7) end,
    aside = function() a:copy(b, 2, N - 1, 1) end,
    fill = function() a:fill(new[1], 2) end,
    set = function() a:set(1, new) end,
    sort = function() a:sort() end,
    convert = function() a:copy(from_floats) end,
}

-- What it comes to, in a process that nobody kills.
local expected = mp.process { target = function()
    a = mp.array(kind, old)
    operations[operation]()
    return a:get()
end }:start():result()

local p = mp.process { stderr = "null", target = function()
    os.remove "/killat/begin"
    operations[operation]()
    os.remove "/killat/end"
end }:start()
p:join()
local n = 0
for i = 1, N do
    if a[i] ~= old[i] and a[i] ~= expected[i] then error(("[%d] = %x"):format(i, a[i])) end
    n = n + (a[i] == expected[i] and 1 or 0)
end
print(p.exitcode, p.exitcode == -9 or n == N)
]]

local operations = { "int64 copy", "int64 set", "int64 sort", "int32 up", "int32 down", "int32 aside", "int32 fill",
    "int16 copy", "int16 fill", "int16 convert" }

-- Of each operation's instructions so many, from its last ones: sorting begins in memory of its own.
local wanted, last = 6, sweep.all and math.huge or 150

local function run(name, point, steps)
    local ranges, entries = sweep.ranges { cells = true, bulk = true }
    return sweep.run { file = helper.script(script), script = name, process = "all", point = "i" .. point,
        ranges = ranges, entries = entries, steps = steps }
end

describe("who is killed at any instruction of", function()
    for _, name in ipairs(operations) do
        it(name .. " leaves each element old or new", function()
            if helper.host ~= helper.luamp then pending "by the program alone" end
            if helper.run("uname -m").stdout ~= "x86_64\n" then pending "on x86-64 alone" end
            local steps = helper.tmpdir() .. "/steps"
            local sound = run(name, 0, steps)
            assert.same({ "exit:0", "0\ttrue\n", "" }, { sound.ending, sound.stdout, sound.stderr })
            local changes = sweep.changes(steps)
            assert.is_true(#changes > 5, #changes)
            local n = math.min(#changes, last)
            for _, i in ipairs(sweep.sample(n, wanted)) do
                i = #changes - n + i
                local result = run(name, changes[i])
                assert.same({ "exit:0", 0, "-9\ttrue\n", "" },
                    { result.ending, result.left, result.stdout, result.stderr },
                    ("%s at instruction %d (%s): "):format(name, changes[i], result.at))
            end
        end)
    end
end)
