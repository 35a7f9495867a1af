-- logs.lua: what tasks write and log, in order, and who it was.
--
-- A pool gives out what its workers write: here the output of each task stands together, in the order of the
-- input, as if a loop had written it, also that of the program which a task runs, and the last words of a task
-- that is killed. Log lines are of all processes; they go to a file here, whose name may be given.
-- LUAMP_LOG=debug shows more of them.
--
--   luamp scripts/logs.lua [FILE]

local mp = require "luamp"

local path = arg[1] or os.tmpname()
mp.log.configure { file = path, level = "info" }

local function check(house)
    local log = mp.log.bind { house = house.name }
    log.debug("begins", { rooms = house.rooms })
    print(house.name .. ":")
    for room = 1, house.rooms do
        mp.sleep((4 - room) / 100) -- stands for work: the first ones take longest
        print("  room " .. room .. " is clean")
    end
    os.execute("echo '  the cellar is a program'")
    if house.is_haunted then
        log.warn("steps on the stairs", { at = "midnight", heard = { "creak", "creak" } })
        io.write "  what was th"
        io.stdout:flush()
        os.execute("kill -KILL " .. mp.getpid())
    end
    log.info "done"
end

local houses = {
    { name = "villa", rooms = 3 },
    { name = "castle", rooms = 1, is_haunted = true },
    { name = "hut", rooms = 2 },
}

local pool <close> = mp.pool { workers = 3, output = "ordered", tag = "{task}| ", name = "inspector" }
local _, errors = pool:map(check, houses, { on_error = "collect" })
mp.log.error("not finished", { house = houses[errors[1].task].name, signal = errors[1].signal })

print "logged, without the times, and whichever worker it was:"
local lines = {}
for line in io.lines(path) do
    lines[#lines + 1] = line:gsub("^time=%S+ ", ""):gsub("process=inspector%.%d", "process=inspector.N")
end
table.sort(lines)
for _, line in ipairs(lines) do print(line) end
if not arg[1] then os.remove(path) end
