-- mandelbrot_pool.lua [FILE]: draws the Mandelbrot set as mandelbrot.lua does, by a pool.
--
-- Each row is a task, and the pool deals them out: rows in the middle take longest, and nobody needs to
-- know. `imap` gives the rows in order while others are still being rendered, so each is written as it
-- comes, and the image is never in memory as a whole. Without FILE the image is mandelbrot.ppm.
--
--   luamp scripts/mandelbrot_pool.lua

local mp = require "luamp"

local WIDTH, HEIGHT = 720, 480
local LIMIT = 300 -- of iterations
local LEFT, TOP, STEP = -2.4, 1.2, 0.005

-- After how many steps of z -> z*z + c its size is beyond all bounds, as a
-- number without jumps; nil if it stays small.
local function escape(x, y)
    local re, im = 0.0, 0.0
    for i = 1, LIMIT do
        local re2, im2 = re * re, im * im
        if re2 + im2 > 64 then return i - math.log(math.log(re2 + im2) / 2, 2) end
        re, im = re2 - im2 + x, 2 * re * im + y
    end
end

-- From dark blue over white and gold to dark blue, round and round.
local function colour(n)
    if not n then return "\0\0\0" end
    local phase = 1.7 * math.log(math.max(n, 1))
    local function shade(shift) return math.floor(127.5 - 127.5 * math.cos(phase + shift)) end
    return string.char(shade(0), shade(0.25), shade(0.75))
end

local function render(row)
    local pixels, y = {}, TOP - (row - 0.5) * STEP
    for column = 1, WIDTH do
        pixels[column] = colour(escape(LEFT + (column - 0.5) * STEP, y))
    end
    return table.concat(pixels)
end

local path = arg[1] or "mandelbrot.ppm"
local file <close> = assert(io.open(path, "wb"))
local pool <close> = mp.pool()

file:write(("P6\n%d %d\n255\n"):format(WIDTH, HEIGHT))
for _, pixels in pool:imap(render, mp.range(1, HEIGHT)) do file:write(pixels) end
print(("%s: %d x %d pixels, by %d workers"):format(path, WIDTH, HEIGHT, #pool:stats().workers))
