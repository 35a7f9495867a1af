-- cluster_wordcount.lua FILE: the most frequent words of a text that all hosts can read.
--
-- The parent only cuts: a worker, on whichever host, opens the file itself, reads its piece of whole lines, counts, and
-- returns a table. Tables are added up in pairs by the workers' side of reduce, and the last ones by the parent. On a
-- cluster the file must be where every host has it, as on a shared file system.
--
--   luamp scripts/cluster_wordcount.lua LICENSE
--   luamp-mpirun -np 3 --oversubscribe luamp scripts/cluster_wordcount.lua LICENSE

local mp = require "luamp"

local SHOWN = 10
local path = arg[1]
local file = path and io.open(path)
if not file then
    io.stderr:write("cluster_wordcount: ", path and "cannot read " .. path or "which file?", "\n")
    os.exit(2)
end
local size = file:seek "end"
file:close()

local function count(counts, text)
    for word in text:lower():gmatch "[%w\128-\255]+" do counts[word] = (counts[word] or 0) + 1 end
    return counts
end

local function add(counts, more)
    for word, n in pairs(more) do counts[word] = (counts[word] or 0) + n end
    return counts
end

-- Pieces of some size, so that each host has several.
local counts = mp.reduce(count, mp.chunks(path, math.max(1000, size // 50)), {}, add)

local words = {}
for word in pairs(counts) do words[#words + 1] = word end
table.sort(words, function(a, b)
    if counts[a] ~= counts[b] then return counts[a] > counts[b] end
    return a < b
end)
for i = 1, math.min(SHOWN, #words) do print(("%5d %s"):format(counts[words[i]], words[i])) end
