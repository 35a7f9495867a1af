-- mandelbrot.lua [FILE]: draws the Mandelbrot set, as an image in the format PPM.
--
-- The image is cut into bands of rows, and a process renders each. Rows in the
-- middle take longest, so there are more bands than CPUs, and a new process
-- begins whenever one has ended. A band's pixels come back as one string of
-- bytes. Without FILE the image is mandelbrot.ppm; most image viewers show it.
--
--   luamp scripts/mandelbrot.lua

local mp = require "luamp"

local WIDTH, HEIGHT = 720, 480
local ROWS = 24 -- of a band
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

local function render(first, last)
    local pixels = {}
    for row = first, last do
        local y = TOP - (row - 0.5) * STEP
        for column = 1, WIDTH do
            pixels[#pixels + 1] = colour(escape(LEFT + (column - 0.5) * STEP, y))
        end
    end
    return table.concat(pixels)
end

local path = arg[1] or "mandelbrot.ppm"
local file <close> = assert(io.open(path, "wb"))

-- One process for each band, and as many at a time as there are CPUs.
local bands, alive = {}, {}
for first = 1, HEIGHT, ROWS do
    if #alive == mp.cpu_count() then mp.wait(alive) end
    local p = mp.process { target = render, args = { first, math.min(first + ROWS - 1, HEIGHT) } }
    bands[#bands + 1] = p:start()
    alive = mp.active_children()
end

file:write(("P6\n%d %d\n255\n"):format(WIDTH, HEIGHT))
for _, band in ipairs(bands) do file:write(band:result()) end
print(("%s: %d x %d pixels, rendered by %d processes"):format(path, WIDTH, HEIGHT, #bands))
