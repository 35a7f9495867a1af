-- report.lua: what a journal tells of a run: how long tasks took, which were the slowest, what failed, and why.
--
-- A journal is a database of SQLite, so other programs can ask it, too, as the last lines do by sqlite3 where that is
-- installed.
--
--   luamp scripts/report.lua [JOURNAL]

local mp = require "luamp"

local path = arg[1] or "report.db"

-- Stands for work of many kinds: some of it is slow, and some fails.
local function fetch(name)
    if name:find "^old" then error("410 gone: " .. name, 0) end
    if name:find "^lost" then error("404 not found: " .. name, 0) end
    mp.sleep(name == "large" and 0.2 or 0.01)
    local n = 0
    for i = 1, 200000 do n = n + i % 7 end
    return #name + n
end

local names = { "first", "second", "old map", "large", "lost key", "third", "lost dog", "fourth" }
mp.map(fetch, names, { journal = path, key = function(name) return name end, on_error = "collect", workers = 2 })

local journal <close> = mp.journal(path)
local counts = journal:counts()
print(("%d tasks: %d done, %d failed"):format(counts.done + counts.failed, counts.done, counts.failed))

local tasks, cpu, workers = {}, 0, {}
for task in journal:tasks() do
    tasks[#tasks + 1], cpu = task, cpu + task.cpu
    workers[task.worker] = (workers[task.worker] or 0) + task.ended - task.started
end
table.sort(tasks, function(a, b) return a.ended - a.started > b.ended - b.started end)
local slowest = tasks[1]
print(("slowest: %s, %s"):format(slowest.key, slowest.ended - slowest.started >= 0.2 and "0.2 s or more" or "quick"))
print("CPU time was counted:", cpu > 0, "workers were busy:", #workers == 2)

-- Failures by what they say, without the part that differs.
local reasons, order = {}, {}
for task in journal:failures() do
    local reason = task.text:match "^[^:]*"
    if not reasons[reason] then
        reasons[reason] = {}
        order[#order + 1] = reason
    end
    table.insert(reasons[reason], task.key)
end
table.sort(order)
for _, reason in ipairs(order) do
    table.sort(reasons[reason])
    print(("%d x %s: %s"):format(#reasons[reason], reason, table.concat(reasons[reason], ", ")))
end

local query = "select kind, count(*) from tasks where status = 'failed' group by kind"
local has_sqlite = os.execute "command -v sqlite3 >/dev/null"
local answer = has_sqlite and mp.process { command = { "sqlite3", path, query }, stdout = "capture" }:start():result()
print("sqlite3 says:", answer and answer.stdout:gsub("\n", "") or "(it is not installed)")
