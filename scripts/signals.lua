-- signals.lua: an orderly end.
--
-- Jobs run without end, a few at once. At Ctrl-C, SIGTERM or SIGHUP no further one
-- begins, and those that have begun are finished; SIGUSR1 tells how it goes. With
-- a number of seconds the script sends itself both signals after that time.
--
--   luamp scripts/signals.lua [SECONDS]

local mp = require "luamp"

local begun, finished, reason = 0, 0, nil

for _, name in ipairs { "SIGINT", "SIGTERM", "SIGHUP" } do
    mp.on_signal(name, function() reason = reason or name end)
end

mp.on_signal("SIGUSR1", function()
    print("goes on:", finished > 0 and finished < begun)
end)

local function job(n)
    mp.sleep(0.05)
    return n * n
end

if arg[1] then
    local code = 'sleep "$1"; kill -USR1 $PPID; sleep 0.1; kill -TERM $PPID'
    mp.process { command = { "sh", "-c", code, "sh", arg[1] }, daemon = true }:start()
end

local running = {}
repeat
    while not reason and #running < 4 do
        begun = begun + 1
        table.insert(running, mp.process { target = job, args = { begun } }:start())
    end
    local _ = mp.wait(running) -- goes on after a handler
    for i = #running, 1, -1 do
        if not running[i]:is_alive() then
            assert(table.remove(running, i):result())
            finished = finished + 1
        end
    end
until reason and #running == 0

print("asked to end by:", reason)
print("all that had begun is finished:", begun == finished)
