-- wordcount_pool.lua FILE-OR-FOLDER...: the most frequent words of files of any size, by a pool.
--
-- A small file is one task. A large one is read in pieces of whole lines, `mp.chunks`, by the workers
-- themselves: the parent never has the text, and no more tables of counts than the pool may be ahead by.
--
--   luamp scripts/wordcount_pool.lua /usr/share/common-licenses

local mp = require "luamp"

local WORD = "[%w\128-\255]+" -- letters and digits, and what UTF-8 makes others of
local SHOWN = 10

local function fail(message)
    io.stderr:write("wordcount: ", message, "\n")
    os.exit(1)
end

-- The files that are meant, with those that lie in folders.
local function list(paths)
    local command = { "find", "-H" }
    for _, path in ipairs(paths) do command[#command + 1] = path:gsub("^%-", "./-") end
    table.move({ "-type", "f", "-print0" }, 1, 3, #command + 1, command)
    local find = mp.process { command = command, stdout = "capture", stderr = "capture" }:start()
    find:join()
    if find.error then fail(find.error.value.stderr:gsub("\n$", "")) end
    local found = {}
    for path in find.stdout:gmatch "([^\0]+)\0" do found[#found + 1] = path end
    return found
end

local function count_text(text)
    local counts = {}
    for word in text:lower():gmatch(WORD) do counts[word] = (counts[word] or 0) + 1 end
    return counts
end

local function count_file(path)
    local file <close> = assert(io.open(path, "rb"))
    return count_text(file:read "a")
end

local function merge(total, counts)
    for word, n in pairs(counts) do total[word] = (total[word] or 0) + n end
end

local function count(paths)
    local pool <close> = mp.pool()
    local small, total = {}, {}
    for _, path in ipairs(paths) do
        local pieces = mp.chunks(path)
        if #pieces > 1 then
            for _, counts in pool:imap_unordered(count_text, pieces) do merge(total, counts) end
        else
            small[#small + 1] = path
        end
    end
    for _, counts in pool:imap_unordered(count_file, small) do merge(total, counts) end
    return total
end

-- The words, the most frequent first, and how many there are in all.
local function rank(counts)
    local words, total = {}, 0
    for word, n in pairs(counts) do
        words[#words + 1] = word
        total = total + n
    end
    table.sort(words, function(a, b)
        if counts[a] ~= counts[b] then return counts[a] > counts[b] end
        return a < b
    end)
    return words, total
end

if #arg == 0 then fail "no file is given; usage: wordcount_pool.lua FILE-OR-FOLDER..." end
local paths = list(arg)
local ok, counts = pcall(count, paths)
if not ok then fail(mp.is_error(counts) and counts.message or counts) end

local words, total = rank(counts)
for i = 1, math.min(SHOWN, #words) do
    print(("%8d  %s"):format(counts[words[i]], words[i]))
end
print(("%d words, %d different; files: %d"):format(total, #words, #paths))
