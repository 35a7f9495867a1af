-- luamp.lua KIND COUNT: the time of a count of the words of a text of 200 MB, in seconds: by one loop over its pieces
-- (`serial`), or by a pool with a worker for each CPU (`pool`); the mean of COUNT. BENCH_QUICK: of 4 MB.
local mp = require "luamp"

local kind, count = arg[1], tonumber(arg[2])
local PIECE <const> = 1 << 20
local n_pieces = os.getenv "BENCH_QUICK" and 4 or 200

local path <close> = setmetatable({ name = os.tmpname() }, { __close = function(path) os.remove(path.name) end })

-- Lines of twelve words; some words are frequent, and most are not. No two pieces are alike.
local function write_text()
    local file <close> = assert(io.open(path.name, "w"))
    math.randomseed(1)
    for _ = 1, n_pieces do
        local lines, size = {}, 0
        while size < PIECE do
            local words = {}
            for i = 1, 12 do words[i] = ("w%d"):format(20000 ^ math.random() // 1) end
            local line = table.concat(words, " ") .. "\n"
            size = size + #line
            lines[#lines + 1] = line
        end
        file:write(table.concat(lines))
    end
end

local function count_text(text)
    local counts = {}
    for word in text:gmatch "%w+" do counts[word] = (counts[word] or 0) + 1 end
    return counts
end

local function merge(total, counts)
    for word, n in pairs(counts) do total[word] = (total[word] or 0) + n end
end

local run = {}

-- A piece ends in the middle of a line: the rest of that is read with it.
function run.serial()
    local file <close> = assert(io.open(path.name))
    local total = {}
    for text, rest in function() return file:read(PIECE, "L") end do
        merge(total, count_text(text .. (rest or "")))
    end
    return total
end

function run.pool()
    local total = {}
    local pool <close> = mp.pool()
    for _, counts in pool:imap_unordered(count_text, mp.chunks(path.name)) do merge(total, counts) end
    return total
end

write_text()
local start, total = mp.clock(), nil
for _ = 1, count do total = run[kind]() end
local seconds = (mp.clock() - start) / count

local size, n = 0, 0
for word, times in pairs(total) do size, n = size + times * (#word + 1), n + times end
local file <close> = assert(io.open(path.name))
assert(size == file:seek "end" and n % 12 == 0)
print(string.format("%.9f", seconds))
