-- priority.lua: work that is done in the order of its importance, not of its coming.
--
-- From a priority queue comes first what has the lowest number; of one number, what was put
-- first. What is put meanwhile overtakes what waits.
--
--   luamp scripts/priority.lua

local mp = require "luamp"

local jobs = mp.priority_queue()

local function work()
    for job in jobs:iter() do
        print("doing", job.name)
        for _, next_job in ipairs(job.leads_to or {}) do
            jobs:put(next_job, next_job.priority)
            print("", "which leads to " .. next_job.name)
        end
        jobs:task_done()
    end
end

jobs:put({ name = "sweep the floor" }, math.huge)
jobs:put({ name = "answer a letter" }, 5)
jobs:put({ name = "open the mail", leads_to = {
    { name = "pay a bill", priority = 3 },
    { name = "call the doctor", priority = -1 },
} }, 2)
jobs:put({ name = "answer another letter" }, 5)
jobs:put({ name = "put out the fire" }, -math.huge)
print("waiting:", #jobs)

local worker = mp.process(work):start()
jobs:join()
jobs:close()
worker:join()
print("left:", #jobs)
