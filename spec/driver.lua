-- driver.lua: a script under the host that is sent a signal while it runs.
--
-- The script says when it is ready, by a line "ready" on stdout. It leads a
-- process group of its own, to which its children belong; and its signals have
-- their default actions, while a shell ignores SIGINT for what it starts in the
-- background.
local lfs = require "lfs"
local helper = require "spec.helper"

local driver = {}

-- The processes of a group, zombies left out.
function driver.group(pgid)
    local found = {}
    for name in lfs.dir "/proc" do
        local file <close> = name:find "^%d+$" and io.open("/proc/" .. name .. "/stat") or nil
        local state, group = (file and file:read "a" or ""):match ".*%) (%a) %d+ (%d+)"
        if math.tointeger(group) == pgid and state ~= "Z" and state ~= "X" then
            found[#found + 1] = math.tointeger(name)
        end
    end
    return found
end

local command = [[
mkfifo ready
setsid env --default-signal=INT,QUIT %s %s %s >ready 2>errors &
main=$!
exec 3<ready
read line <&3
%s
sleep %s
before=$(date +%%s%%N)
kill -s %s -- %s$main
cat <&3 >output
wait $main
echo $? $main $(( ($(date +%%s%%N) - before) / 1000000 ))
]]

local sleeps = 'until grep -q "^State:.S" /proc/$main/status; do sleep 0.01; done'

-- Runs the script (a text) with arguments, and sends the signal ("INT"), to its
-- group or with `alone` to the main process only, `delay` seconds after it was
-- ready, or, with `asleep`, after it has come to wait. Returns its status as a
-- shell tells it, what it wrote after "ready", and its group's number; `seconds`
-- from the signal to the end of its output, which its children share.
function driver.signalled(options)
    local dir = helper.tmpdir()
    local result = helper.run(command:format(helper.host, helper.script(options.script),
        options.arguments or "", options.asleep and sleeps or "", options.delay or 0, options.signal,
        options.alone and "" or "-"), { cwd = dir, env = options.env })
    local status, group, ms = result.stdout:match "(%d+) (%d+) (%d+)"
    assert(status, "the driver failed: " .. result.stdout .. result.stderr)
    return {
        status = math.tointeger(status), group = math.tointeger(group),
        seconds = tonumber(ms) / 1000, stdout = helper.read(dir .. "/output"),
        stderr = helper.read(dir .. "/errors"),
    }
end

return driver
