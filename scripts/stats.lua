-- stats.lua: where a pool's time goes: its report, and what follows from the advice in it.
--
-- The workers count what they spend their time on. pool:stats() gives that, the slowest tasks with their
-- inputs, errors by their messages, and advice, each piece with its figures; printed, it is a report.
--
--   luamp scripts/stats.lua [report]

local mp = require "luamp"

-- Stands for work that takes as long as the image is large.
local seconds = { panorama = 0.6 }
local function duration(name) return seconds[name] or 0.04 end

local function resize(name)
    mp.sleep(duration(name))
    if name:find "7" then error("no pixels in " .. name, 0) end
end

local images = {}
for i = 1, 19 do images[i] = "photo " .. i end
images[20] = "panorama"

local function run(options)
    local pool <close> = mp.pool(2)
    pool:map(resize, images, options)
    return pool:stats()
end

-- What is said of tails, or nil.
local function of_tails(stats)
    for _, piece in ipairs(stats.advice) do
        if piece.kind == "tails" then return piece.text end
    end
end

local stats = run { chunksize = 1, on_error = "collect" }
print(arg[1] == "report" and stats or of_tails(stats))

stats = run { chunksize = 1, on_error = "collect", weight = duration }
print("the largest first, tails are", of_tails(stats) and "long" or "short")
