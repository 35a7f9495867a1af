-- A program with a journal is killed at any moment, and run again, until it is done: its results are those of a serial
-- run, nothing that it was given is forgotten, and no task runs again whose success was recorded. LUAMP_KILLS says how
-- many are killed; LUAMP_SPEC_SEED, which is printed when it fails, makes the same choices again.
local helper = require "spec.helper"

local many = helper.host == helper.luamp and not helper.sanitized and helper.method == "fork" and 200 or 40
local kills = math.tointeger(tonumber(os.getenv "LUAMP_KILLS" or many))
local seed = math.tointeger(tonumber(os.getenv "LUAMP_SPEC_SEED" or os.time()))

-- Does the work: tasks tell that they run in one file, and the script what it was given in another, byte for byte.
local victim <const> = [[
local mp = require "luamp"
local how, n = arg[1], tonumber(arg[2])

local function note(name, i) -- the files are others in each run: their names are no upvalues of the tasks
    local file <close> = assert(io.open(os.getenv(name), "a"))
    file:setvbuf "no"
    file:write(("<I4"):pack(i))
end

local function work(i)
    note("RAN", i)
    local x = 0
    for k = 1, i * 7919 % 3000 do x = x + k end
    return i % 3 == 0 and ("%d;"):format(i):rep(i % 50) or x
end

local options, list = { journal = "run.db", workers = 2 }, {}
if how == "map" then
    list = mp.map(work, mp.range(1, n), options)
else
    for i, v in mp.imap_unordered(work, mp.range(1, n), options) do
        note("GIVEN", i)
        list[i] = v
    end
end
for i = 1, n do list[i] = tostring(list[i]) end
io.write(table.concat(list, "\n"))
]]

local driver <const> = [[
local host, kills, seed, dir = arg[1], tonumber(arg[2]), tonumber(arg[3]), arg[4]
local kill = require "killer"
local N <const> = 400
local FILES <const> = { "run.db", "run.db-wal", "run.db-shm", "run.db-journal" }
math.randomseed(seed)

local function check(ok, ...)
    if ok then return end
    io.stderr:write(("seed %d: "):format(seed), string.format(...), "\n")
    os.exit(1)
end

local function read(path)
    local file <close> = io.open(path, "rb")
    return file and file:read "a" or ""
end

-- The numbers in a file of them.
local function numbers(path)
    local list, text = {}, read(path)
    for at = 1, #text - 3, 4 do list[#list + 1] = ("<I4"):unpack(text, at) end
    return list
end

local function serial()
    local list = {}
    for i = 1, N do
        local x = 0
        for k = 1, i * 7919 % 3000 do x = x + k end
        list[i] = tostring(i % 3 == 0 and ("%d;"):format(i):rep(i % 50) or x)
    end
    return table.concat(list, "\n")
end

local wanted = serial()

-- The tasks that are recorded as done.
local function recorded()
    local there = io.open(dir .. "/run.db")
    local done = {}
    if not there or there:seek "end" == 0 then return done end
    there:close()
    local ok, j = pcall(mp.journal, dir .. "/run.db")
    check(ok or tostring(j):find "is empty", "%s", j)
    if not ok then return done end -- it was killed before there were tables
    for t in j:tasks() do
        check(t.status == "done", "task %d has failed: %s", t.task, t.text)
        done[t.task] = true
    end
    j:close()
    return done
end

local function count(set)
    local n = 0
    for _ in pairs(set) do n = n + 1 end
    return n
end

-- Runs the victim, and kills it when so many tasks have run, or it is done: whether that was so.
local function run(how, k, r)
    local names = { dir .. "/ran" .. r, dir .. "/given" .. r }
    local p = mp.process { command = { host, dir .. "/victim.lua", how, N }, cwd = dir,
        env = { RAN = names[1], GIVEN = names[2] }, stdout = dir .. "/out", stderr = dir .. "/err" }:start()
    while p:is_alive() and #read(names[1]) < 4 * k do mp.sleep(0.0005) end
    mp.sleep(math.random() ^ 4 * (k == 0 and 0.1 or 0.01))
    kill(p.pid, 9)
    p:join()
    check(p.exitcode == 0 or p.exitcode == -9, "it ended by %d: %s", p.exitcode, read(dir .. "/err"))
    check(p.exitcode == -9 or read(dir .. "/out") == wanted, "the results are others")
    return p.exitcode == 0
end

local n_killed, n_whole, n_again, longest = 0, 0, 0, 0
while n_killed < kills do
    local how = n_whole % 2 == 0 and "map" or "imap_unordered"
    local known, r, before = {}, 0, {}
    repeat
        r = r + 1
        known[r] = before
        local k = math.random(0, 3) == 0 and 0 or math.random(N) // math.random(1, 8)
        local is_whole = run(how, k, r)
        n_killed = n_killed + (is_whole and 0 or 1)
        local now = recorded()
        for i in pairs(before) do check(now[i], "task %d was recorded, and is forgotten", i) end
        for _, i in ipairs(numbers(dir .. "/given" .. r)) do
            check(now[i], "task %d was given, and is not recorded", i)
        end
        before = now
    until is_whole or n_killed == kills
    if count(before) < N then
        r = r + 1
        known[r] = before
        run(how, N + 1, r)
    end
    check(count(recorded()) == N, "%d of %d tasks are recorded at the end", count(recorded()), N)
    for k = 1, r do
        for _, i in ipairs(numbers(dir .. "/ran" .. k)) do
            check(not known[k][i], "run %d: task %d ran again, whose result was recorded", k, i)
        end
        n_again = n_again + #numbers(dir .. "/ran" .. k)
        os.remove(dir .. "/ran" .. k)
        os.remove(dir .. "/given" .. k)
    end
    n_whole, longest = n_whole + 1, math.max(longest, r)
    for _, name in ipairs(FILES) do os.remove(dir .. "/" .. name) end
end
check(longest > 1, "none was killed before it was done")
check(n_again >= n_whole * N, "%d tasks were run for %d journals", n_again, n_whole)
print(("killed %d"):format(n_killed))
]]

describe("a journal", function()
    it("loses nothing that was recorded, and lets nothing of it run again, when its program is killed", function()
        local dir = helper.tmpdir()
        helper.write(dir .. "/victim.lua", helper.with_method(victim))
        local result = helper.run(("LUA_CPATH=%s %s %s %s %d %d %s"):format(helper.quote(helper.killer()), helper.host,
            helper.script("local mp = require 'luamp'\n" .. driver), helper.host, kills, seed, dir))
        assert.equal("", result.stderr)
        assert.same({ "killed " .. kills .. "\n", 0 }, { result.stdout, result.status })
    end)
end)
