-- retry.lua: tasks that fail, and are run again or not.
--
-- A task is begun once, unless further runs are asked for. A run that follows a failure is in another
-- worker if there is one; a worker that has died has been replaced by then. `when` is asked in the
-- parent, and what fails for good stops the call, or is collected.
--
--   luamp scripts/retry.lua

local mp = require "luamp"

-- Stands for a service: each of these needs another number of attempts.
local function ask(name)
    local attempt = mp.worker.attempt
    if name == "slow" and attempt == 1 then mp.sleep(60) end
    if name == "shaky" and attempt < 3 then error("503 busy", 0) end
    if name == "deadly" and attempt == 1 then os.execute("kill -KILL " .. mp.getpid()) end
    if name == "wrong" then error("404 not found", 0) end
    return ("%s: answered at attempt %d"):format(name, attempt)
end

local function is_worth_it(e)
    return not e.message:find "404"
end

local pool <close> = mp.pool(3)
local answers, errors = pool:map(ask, { "steady", "shaky", "slow", "deadly", "wrong" }, {
    timeout = 2, on_error = "collect", retries = { n = 3, backoff = 0.05, when = is_worth_it },
})
for i = 1, 5 do print(i, answers[i]) end
for _, e in ipairs(errors) do print(("task %d, attempt %d: %s"):format(e.task, e.attempt, e.message)) end

local stats = pool:stats()
print("run again:", stats.retried, "workers replaced:", stats.restarts)
