-- pipeline.lua FILE...: the stages of a job, each in a process of its own, joined by queues.
--
-- One stage reads lines, several take the words out of them, and one counts. The queues are
-- bounded, so the files may be larger than memory: no stage runs far ahead of the next. What
-- goes through a queue is a batch, which costs little more than a single line. A stage that
-- fails stops the others, because they run in one scope.
--
--   luamp scripts/pipeline.lua LICENSE

local mp = require "luamp"

local BATCH, AHEAD, LEAST = 200, 4, 6 -- lines; batches in a queue; letters of a word that counts

local function read(paths, lines)
    for _, path in ipairs(paths) do
        local file <close> = assert(io.open(path))
        local batch = {}
        for line in file:lines() do
            batch[#batch + 1] = line
            if #batch == BATCH then
                lines:put(batch)
                batch = {}
            end
        end
        lines:put(batch)
    end
    lines:close()
end

local function split(lines, words)
    for batch in lines:iter() do
        local found = {}
        for _, line in ipairs(batch) do
            for word in line:lower():gmatch "%l+" do
                if #word >= LEAST then found[#found + 1] = word end
            end
        end
        words:put(found)
    end
end

local function count(words)
    local counts, n = {}, 0
    for found in words:iter() do
        for _, word in ipairs(found) do counts[word] = (counts[word] or 0) + 1 end
        n = n + #found
    end
    return counts, n
end

local function run(paths)
    return mp.scope(function(s)
        local lines, words, splitters = mp.queue(AHEAD), mp.queue(AHEAD), {}
        s:start(read, paths, lines)
        for i = 1, mp.cpu_count() do splitters[i] = s:start(split, lines, words) end
        local counter = s:start(count, words)
        for _, p in ipairs(splitters) do p:join() end
        words:close()
        return counter:result()
    end)
end

if #arg == 0 then
    io.stderr:write "usage: pipeline.lua FILE...\n"
    os.exit(1)
end
local ok, counts, n = pcall(run, arg)
if not ok then
    io.stderr:write("pipeline: ", mp.is_error(counts) and counts.message or tostring(counts), "\n")
    os.exit(1)
end

local list = {}
for word in pairs(counts) do list[#list + 1] = word end
table.sort(list, function(a, b) return counts[a] > counts[b] or (counts[a] == counts[b] and a < b) end)
for i = 1, math.min(5, #list) do print(("%8d  %s"):format(counts[list[i]], list[i])) end
print(("%d words of %d letters or more, %d different"):format(n, LEAST, #list))
