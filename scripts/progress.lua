-- progress.lua: how far calls and loops are, for who watches: on the terminal, in a log, or in a function of yours.
--
-- On a terminal one line of standard error says it, below what the workers print; into a file or a pipe goes a line
-- every ten seconds. When it is over a receipt tells what it has cost.
--
--   luamp scripts/progress.lua [ITEMS]

local mp = require "luamp"

local n = math.tointeger(tonumber(arg[1] or 300))
if not n or n < 1 then
    io.stderr:write "usage: progress.lua [ITEMS]\n"
    os.exit(1)
end

-- The steps that lead from a number to 1, looked for slowly.
local function steps(k)
    local count, at = 0, k
    while at ~= 1 do
        at, count = at % 2 == 0 and at // 2 or 3 * at + 1, count + 1
    end
    mp.sleep(0.002)
    if k == 27 then print "27 was looked at, and the line has made room for these words" end
    return count
end

local pool <close> = mp.pool(3)

-- A label is the line's name; true would do, and name it after the call.
local found = pool:map(steps, mp.range(1, n), { progress = "numbers" })

-- A function is given the figures, at most ten times a second and at the end.
local last
pool:each(function() mp.sleep(0.001) end, mp.range(1, n), { progress = function(p) last = p end })

-- A loop without workers: any iterator, and how many items it has if that is known; or a list.
local most = 0
for _, count in mp.progress(found, nil, "the most") do most = math.max(most, count) end
print(("%d of %d done, %d failed; the most steps: %d"):format(last.done, last.total, last.failed, most))
