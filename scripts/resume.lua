-- resume.lua: a long run that goes on where it was: kill it, by `kill -9` even, and start it again.
--
-- Its journal holds what each task has returned. The same script takes from there what is finished, and runs the
-- rest; a change of the function makes all run again. `sqlite3 resume.db 'select * from tasks'` shows it, also while
-- the script runs.
--
--   luamp scripts/resume.lua [STRETCHES [JOURNAL]]

local mp = require "luamp"

local n, path = tonumber(arg[1] or 40), arg[2] or "resume.db"

local STRETCH <const> = 2500

-- The number of that stretch with the longest way to 1, and how long that is: halve it, or take it by 3 and add 1.
local function longest(stretch)
    local most, best = 0, nil
    for start = (stretch - 1) * STRETCH + 1, stretch * STRETCH do
        local steps, k = 0, start
        while k ~= 1 do
            k, steps = k % 2 == 0 and k // 2 or 3 * k + 1, steps + 1
        end
        if steps > most then most, best = steps, start end
    end
    return best, most
end

local most, best = 0, nil
for _, start, steps in mp.imap(longest, mp.range(1, n), { journal = path }) do
    if steps > most then most, best = steps, start end -- what comes here is in the journal
end

local journal <close> = mp.journal(path)
local call = journal:calls()[1]
print(("%d stretches: %d known from before, %d run now"):format(n, call.answered, n - call.answered))
print(("below %d the longest way has %d: %d steps"):format(n * STRETCH + 1, best, most))
