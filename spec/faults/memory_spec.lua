-- Memory is short at each allocation: of the C library and of the heap for Lua,
-- in the main process, in each child that it forks and in what is run anew; once, which Lua mostly
-- makes up for by collecting its garbage; twice, so that the call fails; and from
-- there on, for ever. Scripts and processes: victims.lua.
local helper = require "spec.helper"
local sweep = require "spec.faults.sweep"

-- How many of a process's allocations of a kind a sample has. Those of the C library are
-- few in the program, where they are luamp's own.
local wanted = { libc = 100, heap = 20 }
local few = 10

-- The scripts of fresh interpreters have many processes, and each is run anew: a part of that.
local parts = { forkserver = 0.2, spawn = 0.2 }

local build = os.getenv "LUAMP_BUILD" or "build/faults"
local counts = { 1, 2, 2 ^ 31 | 0 } -- once, twice, for ever

-- The words of an error that is about memory; and how stock Lua says that it could not
-- load the module, or unpack a list, for want of it.
local told = { "not enough memory", "Cannot allocate memory", "too many results to unpack",
    "module 'luamp' not found", "error loading module 'luamp'",
    "its fresh interpreter never came to its function, and exited with status 1" } -- which has said why on stderr

-- Runs a script with `count` allocations failing, from `first` on. Returns the
-- result, with the records that nomemory.c has left, by the names of processes:
-- how many allocations of each kind, and how many have failed.
local function run(script, process, kind, first, count)
    local path = helper.tmpdir() .. "/records"
    helper.write(path, ("\0"):rep(65536))
    local result = sweep.run {
        script = script, process = "none", point = 0,
        env = {
            LD_PRELOAD = build .. "/nomemory.so",
            NOMEMORY = ("%s %s %s %d %d"):format(path, process, kind, first, count),
        },
    }
    local text = helper.read(path)
    result.records = {}
    for i = 1, string.unpack("<I4", text) do
        local name, libc, heap, failed = string.unpack("<c40xxxxxxxxxxxxI4I4I4", text, i * 64 + 1)
        result.records[name:match "^[^\0]*"] = { libc = libc, heap = heap, failed = failed }
    end
    return result
end

local function is_about_memory(text)
    for _, words in ipairs(told) do
        if text:find(words, 1, true) then return true end
    end
    return false
end

-- It goes on to its end, with errors about memory at most, or ends by one.
local function assert_ends_well(result, where)
    local output = where .. result.stdout .. result.stderr
    assert.equal(0, result.left, where .. "processes are left")
    if result.ending ~= "exit:0" then
        assert.equal("exit:1", result.ending, output)
        assert.is_true(is_about_memory(result.stderr), output)
        return
    end
    local failures = sweep.failures(result)
    assert.is_table(failures, output)
    for _, reason in pairs(failures) do
        assert.is_true(is_about_memory(reason), output)
    end
end

-- How often allocations fail at each point of a sample: of few points each way, of many
-- one way each.
local function plan(script, kind, made)
    local list = {}
    for _, first in ipairs(sweep.sample(made, wanted[kind] * (parts[script] or 1))) do
        if sweep.all or made <= few then
            for _, count in ipairs(counts) do list[#list + 1] = { first, count } end
        else
            list[#list + 1] = { first, counts[math.random(#counts)] }
        end
    end
    return list
end

-- Fails allocations of one process, of one kind; returns how many runs there were, and how
-- many of them had a failure.
local function fail_as_planned(script, process, kind, made)
    local runs, short = 0, 0
    for _, step in ipairs(plan(script, kind, made)) do
        local first, count = table.unpack(step)
        local result = run(script, process, kind, first, count)
        local where = ("%s: %s without memory of %s at %d, for %d: "):format(script, process, kind, first, count)
        assert_ends_well(result, where)
        local record = result.records[process]
        runs, short = runs + 1, short + (record and record.failed > 0 and 1 or 0)
    end
    return runs, short
end

it("without memory at its first allocations, a child with many results says so", function()
    for first = 1, 64 do -- the stack grows in the first of them
        assert_ends_well(run("results", "0.1", "heap", first, 2), "without memory at " .. first)
    end
end)

for _, script in ipairs { "functions", "commands", "ends", "queues", "cells", "heap", "forkserver", "spawn" } do
    it("without memory at any allocation, the script of " .. script .. " goes on or says so", function()
        local all = run(script, "0", "libc", 1, 0)
        assert.same({ "exit:0", {} }, { all.ending, sweep.failures(all) })
        local runs, short = 0, 0
        for _, process in ipairs(sweep.names(all.records)) do
            for _, kind in ipairs { "libc", "heap" } do
                local n, k = fail_as_planned(script, process, kind, all.records[process][kind])
                runs, short = runs + n, short + k
            end
        end
        local least = helper.is_everything and 100 or 50 -- of half a sample
        assert.is_true(runs >= least and short >= runs * 0.7, ("%d of %d runs had a failure"):format(short, runs))
    end)
end
