-- barrier.lua [FILE]: heat spreads over a plate, in lockstep by several processes.
--
-- Each process has a band of rows of its own. In each step it needs the rows at the edges of its
-- neighbours' bands as they were before: so all wait at a barrier until the last one is done with the
-- step, and the last one counts it, in the barrier's action, before any goes on. The edges go from
-- neighbour to neighbour by pipes. Without FILE the image of the plate at the end is heat.ppm.
--
--   luamp scripts/barrier.lua

local mp = require "luamp"

local WIDTH, HEIGHT, STEPS, WORKERS = 240, 160, 200, 4

-- The plate's edge is cold; in it is a hot ring, and a hot spot beside it.
local function heat_at(x, y)
    local from_ring = math.abs(math.sqrt((x - 90) ^ 2 + (y - 80) ^ 2) - 45)
    local from_spot = math.sqrt((x - 190) ^ 2 + (y - 60) ^ 2)
    return (from_ring < 6 or from_spot < 14) and 1.0 or 0.0
end

local function new_row(y, at)
    local row = {}
    for x = 1, WIDTH do row[x] = at(x, y) end
    return row
end

-- The row after one step, from itself and its neighbours.
local function spread(above, row, below)
    local new = { 0.0, [WIDTH] = 0.0 }
    for x = 2, WIDTH - 1 do
        new[x] = row[x] + 0.24 * (row[x - 1] + row[x + 1] + above[x] + below[x] - 4 * row[x])
    end
    return new
end

local function cold() return 0.0 end

-- Simulates the rows of a band, whose neighbours are at the ends of pipes, or cold.
local function simulate(first, last, up, down, barrier)
    local rows, edge = {}, new_row(0, cold)
    for y = first, last do rows[#rows + 1] = new_row(y, heat_at) end
    for _ = 1, STEPS do
        if up then up:send(rows[1]) end
        if down then down:send(rows[#rows]) end
        local above, below = up and up:recv() or edge, down and down:recv() or edge
        local new = {}
        for i, row in ipairs(rows) do new[i] = spread(rows[i - 1] or above, row, rows[i + 1] or below) end
        rows = new
        assert(barrier:wait())
    end
    return rows
end

-- From black over red and yellow to white.
local function colour(heat)
    local function shade(from) return math.floor(255 * math.max(0, math.min(1, 3 * heat - from))) end
    return string.char(shade(0), shade(1), shade(2))
end

local steps = mp.queue()
local barrier = mp.barrier { parties = WORKERS, action = function() steps:put(mp.getpid()) end }
local bands, up = {}, nil
for i = 1, WORKERS do
    local above, down, next_up = up, nil, nil
    if i < WORKERS then down, next_up = mp.pipe() end
    up = next_up
    bands[i] = mp.process {
        target = simulate,
        args = { HEIGHT * (i - 1) // WORKERS + 1, HEIGHT * i // WORKERS, above or false, down or false, barrier },
    }:start()
end

local path = arg[1] or "heat.ppm"
local file <close> = assert(io.open(path, "wb"))
file:write(("P6\n%d %d\n255\n"):format(WIDTH, HEIGHT))
local sum = 0.0
for _, band in ipairs(bands) do
    for _, row in ipairs(band:result()) do
        for x = 1, WIDTH do
            sum = sum + row[x]
            file:write(colour(row[x]))
        end
    end
    band:close()
end
print(("%s: %d x %d pixels, %d steps by %d processes in lockstep, %.1f of heat are left"):format(path, WIDTH, HEIGHT,
    #steps, WORKERS, sum))
