-- restart.lua: a worker that is started again when it fails, later each time.
--
-- Supervision is a loop: wait for the end, look at it, decide. The pause doubles
-- with each failure, so that a worker that cannot live does not keep the machine
-- busy; after so many the last failure is raised.
--
--   luamp scripts/restart.lua

local mp = require "luamp"

-- Runs what the options say until it ends well, at most `restarts` times anew;
-- its results.
local function supervise(options, restarts)
    local pause = 0.1
    for attempt = 0, restarts do
        local p = mp.process(options):start()
        p:join()
        if not p.error or attempt == restarts then return p:result() end -- which raises the failure
        print(("%s failed: %s"):format(p.name, (p.error.message:gsub("process .- %(pid %d+%)", "it"))))
        print(("  again in %.1f s"):format(pause))
        mp.sleep(pause)
        pause = pause * 2
    end
end

-- What the worker has to do is in a file, and so outlives it.
local path = os.tmpname()

local function next_step()
    local file <close> = assert(io.open(path, "a+"))
    file:write "."
    file:seek "set"
    return #file:read "a"
end

local function worker()
    local step = next_step()
    if step == 1 then error("no connection", 0) end
    if step == 2 then os.exit(3) end
    if step == 3 then os.execute("kill -KILL " .. mp.getpid()) end
    return "step " .. step
end

print("result:", supervise({ name = "worker", target = worker, stderr = "null" }, 5))
os.remove(path)

local ok, e = pcall(supervise, { name = "hopeless", target = error, args = { "no way" }, stderr = "null" }, 2)
print("given up:", ok, e.message)
