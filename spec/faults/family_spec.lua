-- A process is killed at each step of the family's protocol (src/engine/family.h);
-- those that are left go on, and the records of the dead are given back.
--
-- Needs the build with fault points: LUAMP_FAULT names the point where a process
-- kills itself, "point:n" the n-th time that it passes one of that name.
local helper = require "spec.helper"
local driver = require "spec.driver"

-- Where the victim is: a child that leaves an outcome, or one that starts
-- processes itself; "birth" is in every child before its first step.
local points = {
    ["family.birth.B1"] = "creator", ["family.birth.B2"] = "creator",
    ["family.birth.B3"] = "creator", ["family.birth.B4"] = "creator",
    ["family.child.C1"] = "newborn", ["family.child.C2"] = "newborn",
    ["family.put.P1"] = "child", ["family.put.P2"] = "child", ["family.put.P3"] = "child",
    ["family.leave.L1"] = "child",
    ["family.free.F1"] = "creator", ["family.free.F2"] = "creator",
}

-- The survivors' work, before and after: processes with outcomes of each size.
local script = [[
local mp = require "luamp"
local core = require "luamp.core"
local role, point = arg[1], arg[2]
local big = ("x"):rep(100000)

local function work()
    local list = {}
    for i = 1, 5 do
        list[i] = mp.process { target = function() return i, big end }:start()
    end
    for i = 1, 5 do
        local n, text = list[i]:result()
        assert(n == i and text == big)
        list[i]:close()
    end
end

-- Dies while it starts children, reads what they left and lets go of them.
local function creator()
    for _ = 1, 3 do
        local child = mp.process { target = function()
            core.set_env("LUAMP_FAULT", nil)
            return big
        end }:start()
        child:result()
        child:close()
    end
end

local victims = {
    creator = function() return mp.process { env = { LUAMP_FAULT = point }, target = creator } end,
    child = function()
        return mp.process { env = { LUAMP_FAULT = point }, target = function() return big end }
    end,
    newborn = function() return mp.process { target = function() return big end } end,
}

work()
local before = core.members()
if role == "newborn" then core.set_env("LUAMP_FAULT", point) end
for _ = 1, 10 do
    local victim = victims[role]():start()
    local ok, e = pcall(victim.result, victim, 20)
    print(ok, ok or e.kind, not ok and e.signal)
    victim:close()
end
core.set_env("LUAMP_FAULT", nil)
work()
print(core.members() - before, "whole")
]]

local function killed_at(point, role)
    local result = helper.run(("timeout 60 %s %s %s %s"):format(helper.host, helper.script(script), role, point))
    assert.same({ 0, "" }, { result.status, result.stderr })
    assert.equal(("false\tsignal\tSIGKILL\n"):rep(10) .. "0\twhole\n", result.stdout)
end

describe("ten processes killed at", function()
    for point, role in pairs(points) do
        it(("%s (%s): the others go on, and as many more start"):format(point, role), function()
            killed_at(point, role)
        end)
    end
end)

describe("the main process killed at", function()
    for point, role in pairs(points) do
        if role == "creator" then
            it(point .. " takes its children with it", function()
                local killed = driver.signalled {
                    script = ([[
                        local mp = require "luamp"
                        for _ = 1, 4 do mp.process(function() while true do end end):start() end
                        print "ready"
                        io.stdout:flush()
                        require "luamp.core".set_env("LUAMP_FAULT", %q)
                        for _ = 1, 2 do
                            local child = mp.process(function() return ("x"):rep(1000) end):start()
                            child:result()
                            child:close()
                        end
                    ]]):format(point),
                    signal = "CONT",
                }
                assert.equal(137, killed.status)
                helper.wait_until(function() return #driver.group(killed.group) == 0 end,
                    "the end of all children", 0.5)
            end)
        end
    end
end)

describe("the table of points", function()
    it("is that of the source and of its head comment", function()
        local text = helper.read "src/engine/family.c"
        local found = {}
        for point in text:gmatch 'mp_fault%("([^"]+)"%)' do found[point] = true end
        for point in pairs(points) do assert.is_true(found[point], point) end
        for point in pairs(found) do assert.is_string(points[point], point) end
        local head = helper.read "src/engine/family.h"
        for point in pairs(points) do
            assert.is_truthy(head:find(point:match " ?(%u%d)$" .. " ", 1, true), point)
        end
    end)
end)
