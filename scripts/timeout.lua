-- timeout.lua: how long a process may run.
--
-- At its limit a process gets SIGTERM, and five seconds later SIGKILL, with all
-- that it has started; also while this process computes and looks at nobody.
--
--   luamp scripts/timeout.lua

local mp = require "luamp"

local function show(title, p)
    local ok, result = pcall(p.result, p)
    if ok then
        print(title, "in time", result.stdout or result)
    else
        print(title, result.kind, (result.message:gsub("process .- %(pid %d+%)", "it")))
    end
end

local quick = mp.process { timeout = 30, target = function() return "done" end }:start()
local slow = mp.process { timeout = 0.2, target = mp.sleep, args = { 60 } }:start()
local program = mp.process { timeout = 0.3, command = { "sleep", 60 } }:start()

-- Nobody waits for them meanwhile.
local began = mp.clock()
repeat until mp.clock() - began > 1

print("ended meanwhile:", not slow:is_alive(), not program:is_alive())
show("quick", quick)
show("slow", slow)
show("program", program)

-- It may use the word to end in order; it has overrun its time none the less.
local orderly = mp.process { timeout = 0.3, stdout = "capture",
    command = { "sh", "-c", "trap 'echo tidied up; exit 0' TERM; sleep 60 & wait" } }:start()
show("orderly", orderly)
io.write("it wrote: ", orderly.stdout)
