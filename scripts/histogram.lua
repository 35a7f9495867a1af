-- histogram.lua FILE...: how long the words of files are, counted by a pool into one shared array.
--
-- The workers read the files in pieces and count each for itself; then they add to the array, which is
-- atomic, so nothing comes back to the parent and nothing is merged there. The longest word's length is a
-- shared value, which is raised by `cas`: it is written only if nobody else has changed it since it was read.
--
--   luamp scripts/histogram.lua LICENSE README.md

local mp = require "luamp"

local MOST <const> = 20 -- letters; longer words count as such of so many
local WIDTH <const> = 40 -- of the longest bar

local function fail(message)
    io.stderr:write("histogram: ", message, "\n")
    os.exit(1)
end

if #arg == 0 then fail "no file is given; usage: histogram.lua FILE..." end

local lengths, longest = mp.array("integer", MOST), mp.value "integer"

local function count(text)
    local counts, most = {}, 0
    for word in text:gmatch "%a+" do
        local n = math.min(#word, MOST)
        counts[n] = (counts[n] or 0) + 1
        most = math.max(most, #word)
    end
    for n, words in pairs(counts) do lengths:add(n, words) end
    local seen
    repeat seen = longest:get() until most <= seen or longest:cas(seen, most)
end

local pool <close> = mp.pool()
for _, path in ipairs(arg) do
    local ok, e = pcall(function() pool:each(count, mp.chunks(path)) end)
    if not ok then fail(mp.is_error(e) and e.message or e:gsub("^.-:%d+: ", "")) end
end

local sum, most = lengths:sum(), lengths:max()
if sum == 0 then fail "there is no word in it" end
for n, words in ipairs(lengths) do
    if words > 0 then print(("%3d %6d %s"):format(n, words, ("#"):rep(math.ceil(words / most * WIDTH)))) end
end
print(("%d words, the longest of %d letters"):format(sum, longest:get()))
