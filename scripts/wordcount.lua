-- wordcount.lua FILE...: the most frequent words of files, counted in parallel.
--
-- The files, one after the other, are cut by bytes into as many parts as there
-- are CPUs. Each part goes to a process, which opens the files itself, counts,
-- and returns its table; the parent adds the tables up. The cuts fall anywhere,
-- and yet no line is cut: a line belongs to the part in which it begins.
--
--   luamp scripts/wordcount.lua /usr/share/common-licenses/*

local mp = require "luamp"

local WORD = "[%w\128-\255]+" -- letters and digits, and what UTF-8 makes others of
local SHOWN = 10

local function fail(message)
    io.stderr:write("wordcount: ", message, "\n")
    os.exit(1)
end

local function size_of(path)
    local file, message = io.open(path, "rb")
    if not file then fail(message) end
    local _, unreadable = file:read(0) -- a folder can be opened, but not read
    local size, unseekable = file:seek "end"
    file:close()
    if unreadable or not size then fail(path .. ": " .. (unreadable or unseekable)) end
    return size
end

-- Cuts the files into n parts; a part is a list of pieces {path=, from=, to=}.
local function cut(paths, n)
    local sizes, total = {}, 0
    for i, path in ipairs(paths) do
        sizes[i] = size_of(path)
        total = total + sizes[i]
    end
    local parts, start = {}, 0 -- where the file begins in the whole
    for k = 1, n do parts[k] = {} end
    for i, path in ipairs(paths) do
        for k = 1, n do
            local from = math.max(total * (k - 1) // n - start, 0)
            local to = math.min(total * k // n - start, sizes[i])
            if from < to then table.insert(parts[k], { path = path, from = from, to = to }) end
        end
        start = start + sizes[i]
    end
    return parts, total
end

-- Goes to the first line that begins at `from` or after it, and returns where that is.
local function seek_line(file, from)
    if from == 0 then return 0 end
    file:seek("set", from - 1)
    file:read "l"
    return file:seek()
end

local function count_piece(piece, counts)
    local file <close> = assert(io.open(piece.path, "rb"))
    local at = seek_line(file, piece.from)
    for line in file:lines "L" do
        if at >= piece.to then break end
        for word in line:lower():gmatch(WORD) do
            counts[word] = (counts[word] or 0) + 1
        end
        at = at + #line
    end
end

local function count_part(pieces)
    local counts = {}
    for _, piece in ipairs(pieces) do count_piece(piece, counts) end
    return counts
end

local function merge(total, counts)
    for word, n in pairs(counts) do total[word] = (total[word] or 0) + n end
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

if #arg == 0 then fail "no file is given; usage: wordcount.lua FILE..." end
local parts, bytes = cut(arg, mp.cpu_count())

local processes = {}
for i, pieces in ipairs(parts) do
    processes[i] = mp.process { target = count_part, args = { pieces } }:start()
end
local counts = {}
for _, p in ipairs(processes) do merge(counts, p:result()) end

local words, total = rank(counts)
for i = 1, math.min(SHOWN, #words) do
    print(("%8d  %s"):format(counts[words[i]], words[i]))
end
print(("%d words, %d different; bytes: %d, files: %d, processes: %d"):format(
    total, #words, bytes, #arg, #processes))
