-- A program with a journal is killed at each system call of its own, from its start to its end: the journal's file, its
-- log and its locks are made and left in between. The same program, run again, does the rest.
local helper = require "spec.helper"
local sweep = require "spec.faults.sweep"

local wanted = 80 -- points of a sample

local victim <const> = [[
local mp = require "luamp"
local function work(i)
    local file <close> = assert(io.open(os.getenv "VICTIM_LOG", "a"))
    file:write(i, "\n")
    return i * i
end
local list, n = {}, 0
for i, v in mp.imap_unordered(work, mp.range(1, 8), { journal = os.getenv "J", workers = 1 }) do
    list[i], n = v, n + 1
    if n % 3 == 0 then mp.map(work, { n * 100 }, { journal = os.getenv "J", workers = 1 }) end
end
print(table.concat(list, " "))
]]

local RESULT <const> = "1 4 9 16 25 36 49 64\n"

-- The tasks that are recorded in the journal, which is looked at in a copy.
local function recorded(dir)
    local found = {}
    local text = helper.run("mkdir -p copy && cp run.db* copy/ && sqlite3 copy/run.db "
        .. "\"select text from tasks where status = 'done'\"", { cwd = dir }).stdout
    for square in text:gmatch "%d+" do found[("%d"):format(math.sqrt(square) // 1)] = true end
    return found
end

-- Runs the program once more: what has run in it.
local function run_again(dir, file, where)
    local log = dir .. "/log"
    helper.write(log, "")
    local result = helper.run(("%s %s"):format(helper.host, file), { env = { J = dir .. "/run.db", VICTIM_LOG = log } })
    assert.same({ 0, RESULT, "" }, { result.status, result.stdout, result.stderr }, where)
    local ran = {}
    for name in helper.read(log):gmatch "%d+" do ran[name] = (ran[name] or 0) + 1 end
    return ran
end

it("a program that is killed at any system call goes on where its journal ends", function()
    local file = helper.script(victim)
    local function at(point, process, dir)
        return sweep.run { file = file, script = "-", process = process, point = point, env = { J = dir .. "/run.db" } }
    end
    local all = at(0, "all", helper.tmpdir())
    assert.same({ "exit:0", 0, "", RESULT }, { all.ending, all.left, all.stderr, all.stdout })
    local points = sweep.sample(all.processes["0"].points, wanted)
    local kills, partial = 0, 0
    for _, point in ipairs(points) do
        local dir = helper.tmpdir()
        local result = at(point, "0", dir)
        local where = ("killed at %d (%s): "):format(point, result.at)
        assert.same({ 0, "" }, { result.left, result.stderr }, where)
        local known = recorded(dir)
        local ran = run_again(dir, file, where)
        local n = 0
        for name in pairs(known) do
            assert.is_nil(ran[name], where .. "task " .. name .. " ran again")
            n = n + 1
        end
        for name, times in pairs(ran) do assert.equal(1, times, where .. "task " .. name) end
        kills = kills + (result.killed and 1 or 0)
        partial = partial + (n > 0 and next(ran) and 1 or 0)
    end
    assert.is_true(kills >= #points * 0.6, ("%d of %d were killed"):format(kills, #points))
    assert.is_true(partial > 0 or not sweep.all, "none was killed between two commits")
end)
