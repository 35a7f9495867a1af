-- A process is killed at each system call of its own: the main process, each of
-- its children and of theirs, the keeper, programs, forkservers and what is run anew.
-- The scripts of victims.lua go on with what is left, or end; nothing waits for the dead.
local helper = require "spec.helper"
local sweep = require "spec.faults.sweep"

-- How many points of a process a sample has: of the main process, of a forkserver, of
-- others, and of others where many processes are as like as a program and itself.
local of_main, of_server, of_others, of_many = 60, 40, 12, 5

local function is_server(known)
    return known.comm == "luamp-server"
end

-- What a step may say whose process was killed.
local told = { "SIGKILL", "signal 9" }

local function is_about_the_kill(reason)
    for _, text in ipairs(told) do
        if reason:find(text, 1, true) then return true end
    end
    return false
end

-- Runs the script with the process killed at each point of a sample, and asserts
-- by check(result) what came of it. Returns the numbers of runs and of kills.
local function kill_at_points(script, name, known, check, wanted)
    local points = sweep.sample(known.points, name == "0" and of_main or is_server(known) and of_server or wanted)
    local kills = 0
    for _, point in ipairs(points) do
        local result = sweep.run { script = script, process = name, point = point }
        local where = ("%s: %s (%s) killed at %d (%s): "):format(script, name, known.comm, point, result.at)
        assert.not_equal("hang:0", result.ending, where .. result.stdout)
        assert.equal(0, result.left, where .. "processes are left")
        assert.equal("", result.stderr, where)
        if result.killed then
            kills = kills + 1
            check(result, where)
        end
    end
    return #points, kills
end

-- Calls and signals lie a little differently in every run, so the last points may be missed. Which of two
-- workers does what differs much more.
local function assert_most(runs, kills, part)
    assert.is_true(kills >= runs * (part or 0.7), ("%d of %d were killed"):format(kills, runs))
end

-- No start is carried out twice.
local function assert_none_ran_again(result, where)
    for name, n in pairs(result.ran) do assert.equal(1, n, where .. name) end
end

local function main_is_gone(result, where)
    assert.equal("signal:9", result.ending, where)
    assert_none_ran_again(result, where)
end

-- One step at most fails, and says why; the others go well.
local function script_goes_on(result, where)
    assert.equal("exit:0", result.ending, where)
    local failures = sweep.failures(result)
    assert.is_table(failures, where .. "it came to no end")
    local step, reason = next(failures)
    assert.is_nil(step and next(failures, step), where .. result.stdout)
    assert.is_true(step == nil or is_about_the_kill(reason), where .. result.stdout)
    assert_none_ran_again(result, where)
end

local function nothing_is_seen(sound)
    return function(result, where)
        assert.same({ "exit:0", {}, sound.ran }, { result.ending, sweep.failures(result), result.ran }, where)
    end
end

for _, script in ipairs { "functions", "commands", "ends", "queues", "pools", "forkserver", "spawn" } do
    local is_fresh = script == "forkserver" or script == "spawn"
    local are_many = is_fresh or script == "pools"

    describe("the script of " .. script .. ", when at any system call", function()
        local all

        before_each(function()
            all = all or sweep.run { script = script, process = "all", point = 0 }
        end)

        it("nobody is killed, goes well", function()
            assert.same({ "exit:0", 0, "", {} }, { all.ending, all.left, all.stderr, sweep.failures(all) })
            assert.equal(is_fresh, all.ran.small == 1 and all.ran.last == 1)
            assert_none_ran_again(all, "")
        end)

        it("its main process is killed, takes all with it", function()
            assert_most(kill_at_points(script, "0", all.processes["0"], main_is_gone, of_main))
        end)

        it("another process is killed, goes on and says so, or does not know if it is a forkserver", function()
            local runs, kills, n, servers = 0, 0, 0, 0
            for _, name in ipairs(sweep.names(all.processes)) do
                local known = all.processes[name]
                if name ~= "0" then
                    local check = is_server(known) and nothing_is_seen(all) or script_goes_on
                    local r, k = kill_at_points(script, name, known, check, are_many and of_many or of_others)
                    runs, kills, n = runs + r, kills + k, n + 1
                    servers = servers + (is_server(known) and 1 or 0)
                end
            end
            assert.is_true(n >= 7, n .. " processes")
            assert.equal(is_fresh and 1 or 0, servers)
            assert_most(runs, kills, script == "pools" and 0.25)
        end)
    end)
end

it("when the keeper is killed in its birth, another takes its place", function()
    for _, process in ipairs { "0.1", "0.1.1" } do -- who makes it, and itself
        local result = sweep.run { script = "commands", process = process, point = 1 }
        assert.same({ true, "exit:0", {} }, { result.killed, result.ending, sweep.failures(result) })
    end
    local all = sweep.run { script = "commands", process = "all", point = 0 }
    assert.equal("luamp-keeper", all.processes["0.1.1"].comm)
end)

describe("the sweep", function()
    it("sees a process that is left", function()
        local report = helper.tmpdir() .. "/report"
        helper.run(("%s %s 5 0.1 none 0 sh -c 'sleep 1000 &'"):format(sweep.killat, report))
        assert.is_truthy(helper.read(report):find("^end=exit:0 killed=0 at=%S+ left=1 "))
    end)

    it("sees one that hangs", function()
        local report = helper.tmpdir() .. "/report"
        helper.run(("%s %s 0.1 5 none 0 sleep 1000"):format(sweep.killat, report))
        assert.is_truthy(helper.read(report):find("^end=hang:0 "))
    end)
end)
