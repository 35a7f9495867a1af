-- luamp.figures: how far something is: its rate, the time that is left, and the texts that tell it.
--
-- A gauge is fed how much is done, at any moments. The rate is that of late, over ten seconds at least and a quarter
-- of the time so far, so that it follows what changes and does not jump; at first it is the mean. What a journal had
-- from before is done, and says nothing of how fast the rest goes: the rate is without it.
--
-- A line fits into its columns at any price: what matters least is left out.

local figures = {}

local exp, floor, max, min = math.exp, math.floor, math.max, math.min

-- --- gauges ----------------------------------------------------------------------

local LEAST_MEMORY <const>, PART <const> = 10, 4 -- seconds; of the time so far

function figures.gauge(now)
    return { begun = now, at = now, done = 0, failed = 0, n = 0, time = 0, busy = 0, busy_time = 0,
        known = 0 }
end

-- So many are done by now, of which so many have failed; `busy`: the share of the workers that run something, or nil;
-- `known`: how many of those that are done were known from before, or nil: none.
function figures.feed(g, now, done, failed, busy, known)
    local passed = max(now - g.at, 0)
    local keep = exp(-passed / max(LEAST_MEMORY, (now - g.begun) / PART))
    known = known or 0
    g.n, g.time = g.n * keep + max(0, done - g.done - (known - g.known)), g.time * keep + passed
    if busy then g.busy, g.busy_time = g.busy * keep + busy * passed, g.busy_time * keep + passed end
    g.at, g.done, g.failed, g.known = now, done, failed, known
end

-- What a script is told: done, total or nil, failed, rate per second, eta or nil and elapsed in seconds, busy or nil.
function figures.read(g, total)
    local rate = g.time > 0 and g.n / g.time or 0.0
    local left = total and total - g.done
    local eta = left and (left <= 0 and 0.0 or rate > 0 and left / rate) or nil
    return { done = g.done, total = total, failed = g.failed, rate = rate, eta = eta, elapsed = g.at - g.begun,
        busy = g.busy_time > 0 and g.busy / g.busy_time or nil }
end

-- --- texts -----------------------------------------------------------------------

local LONGEST <const> = 9999 * 86400 -- seconds, that are told apart: there is no end of what a stall makes of a rate

function figures.duration(seconds)
    seconds = min(seconds, LONGEST)
    local whole = floor(seconds + 0.5)
    if seconds < 9.95 then return ("%.1f s"):format(seconds) end
    if whole < 60 then return ("%d s"):format(whole) end
    if whole < 3600 then return ("%d:%02d"):format(whole // 60, whole % 60) end
    if whole < 86400 then return ("%d:%02d:%02d"):format(whole // 3600, whole // 60 % 60, whole % 60) end
    return ("%d d %d h"):format(whole // 86400, whole // 3600 % 24)
end

-- Three digits that count, and a letter for thousands (of `base`).
local function short(value, base)
    local letters, i = { "", "k", "M", "G", "T" }, 1
    while value >= 999.5 and i < #letters do value, i = value / base, i + 1 end
    return (value < 9.95 and i > 1 and "%.1f%s" or "%.0f%s"):format(value, letters[i])
end

function figures.bytes(n)
    return (short(n, 1024):gsub("k", "K"))
end

function figures.rate(rate)
    if rate < 1 then return figures.duration(1 / rate) .. " each" end
    if rate < 9.95 then return ("%.1f/s"):format(rate) end
    return (rate < 9999.5 and ("%.0f"):format(rate) or short(rate, 1000)) .. "/s"
end

-- Characters that take two columns, or none: pairs of the first and the last.
local wide = { 0x1100, 0x115F, 0x2E80, 0xA4CF, 0xAC00, 0xD7A3, 0xF900, 0xFAFF, 0xFE30, 0xFE6F, 0xFF00, 0xFF60,
    0xFFE0, 0xFFE6, 0x1F300, 0x1F64F, 0x1F680, 0x1F6FF, 0x1F900, 0x1F9FF, 0x20000, 0x3FFFD }
local none = { 0x0300, 0x036F, 0x200B, 0x200F, 0xFE00, 0xFE0F }

local function is_among(list, code)
    for i = 1, #list, 2 do
        if code >= list[i] and code <= list[i + 1] then return true end
    end
    return false
end

local function cells_of(code)
    return is_among(wide, code) and 2 or is_among(none, code) and 0 or 1
end

-- How many columns a text takes.
function figures.cells(text)
    local n = 0
    for _, code in utf8.codes(text) do n = n + cells_of(code) end
    return n
end

-- A text that takes one row and no more columns than that, and does nothing to a terminal.
function figures.clip(text, columns)
    text = text:gsub("[%c\127]", " ")
    if not utf8.len(text) then text = text:gsub("[\128-\255]", "?") end
    if figures.cells(text) <= columns then return text end
    local n = 0
    for at, code in utf8.codes(text) do
        n = n + cells_of(code)
        if n > columns - 3 then return text:sub(1, at - 1) .. ("."):rep(max(0, min(3, columns))) end
    end
end

-- --- lines -----------------------------------------------------------------------

local order = { "label", "bar", "percent", "count", "rate", "left", "failed", "busy" }
local dispensable = { "busy", "rate", "bar", "left", "count", "failed", "label", "percent" } -- the first one goes first
local LEAST_BAR <const>, LARGEST_BAR <const> = 10, 40
local GAP <const> = 2

-- The texts of all fields but the bar.
local function fields_of(label, f)
    return {
        label = label,
        percent = f.total and ("%3d%%"):format(f.total > 0 and f.done * 100 // f.total or 100),
        count = f.total and ("%d/%d"):format(f.done, f.total) or tostring(f.done),
        rate = f.rate > 0 and figures.rate(f.rate) or nil,
        left = f.eta and figures.duration(f.eta) .. " left" or not f.total and figures.duration(f.elapsed) or nil,
        failed = f.failed > 0 and f.failed .. " failed" or nil,
        busy = f.busy and ("%.0f%% busy"):format(f.busy * 100),
    }
end

-- In columns: those of the texts, and of the gaps between them and the bar.
local function width_of(fields)
    local n, cells = fields.bar and 1 or 0, 0
    for _, name in ipairs(order) do
        local text = name ~= "bar" and fields[name]
        if text then n, cells = n + 1, cells + figures.cells(text) end
    end
    return cells + GAP * max(0, n - 1)
end

-- Leaves out what does not fit; the bar takes what is left.
local function fit(fields, columns)
    for i = 1, #dispensable + 1 do
        local spare = columns - width_of(fields)
        if spare >= (fields.bar and LEAST_BAR or 0) then
            fields.bar = fields.bar and min(LARGEST_BAR, spare)
            return
        end
        fields[dispensable[i]] = nil
    end
end

local function paint(style, color, text)
    return style.has_color and text ~= "" and ("\27[%sm%s\27[0m"):format(color, text) or text
end

local CYAN <const>, DIM <const>, RED <const> = "36", "2", "31"

local function bar(style, width, done, total)
    local part = total > 0 and min(1, done / total) or 1
    if not style.has_utf8 then
        local n = floor(part * width)
        return paint(style, CYAN, ("#"):rep(n)) .. paint(style, DIM, ("."):rep(width - n))
    end
    local halves = floor(part * width * 2)
    local n, half = halves // 2, halves % 2
    return paint(style, CYAN, ("━"):rep(n) .. ("╸"):rep(half)) .. paint(style, DIM, ("─"):rep(width - n - half))
end

-- One line about so many columns, and how many it takes. style: {has_utf8=, has_color=}.
function figures.line(label, f, columns, style)
    local fields = fields_of(figures.clip(label, max(8, columns // 3)), f)
    fields.bar = f.total ~= nil
    fit(fields, columns)
    local cells, texts = width_of(fields) + (fields.bar or 0), {}
    if fields.bar then fields.bar = bar(style, fields.bar, f.done, f.total) end
    if fields.failed then fields.failed = paint(style, RED, fields.failed) end
    for _, name in ipairs(order) do
        if fields[name] then texts[#texts + 1] = fields[name] end
    end
    return table.concat(texts, (" "):rep(GAP)), cells
end

local LEAST_SHARE <const> = 16

-- One line about several things: each has its share, as far as there is room, and of the rest is said how many it is.
-- list: of {label=, figures=}.
function figures.row(list, columns, style)
    local between = style.has_utf8 and " │ " or " | "
    local n = max(1, min(#list, (columns + 3) // (LEAST_SHARE + 3)))
    local rest = #list > n and ("%s+%d"):format(between, #list - n) or ""
    if figures.cells(rest) > columns then rest = "" end
    local share = (columns - figures.cells(rest) - 3 * (n - 1)) // n
    local texts, cells = {}, figures.cells(rest) + 3 * (n - 1)
    for i = 1, n do
        local text, its = figures.line(list[i].label, list[i].figures, share, style)
        texts[i], cells = text, cells + its
    end
    return table.concat(texts, between) .. rest, cells
end

-- The same for one thing, for what is no terminal.
function figures.plain(label, f)
    local fields, texts = fields_of(nil, f), {}
    for _, name in ipairs(order) do
        if fields[name] then texts[#texts + 1] = (fields[name]:gsub("^ +", "")) end
    end
    return ("%s: %s\n"):format(figures.clip(label, 80), table.concat(texts, ", "))
end

local function precise(seconds)
    return seconds < 9.95 and ("%.2f s"):format(seconds) or figures.duration(seconds)
end

-- What is said at the end. r: {word=, is_complete=, cpu=, peak=, has_failures=, is_parallel=}.
function figures.receipt(label, f, r)
    local of = not r.is_complete and (f.total and " of " .. f.total or " of an unknown number of") or ""
    local texts = { ("%d%s %s%s"):format(f.done, of, r.word, of == "" and f.done == 1 and "" or "s") }
    if r.has_failures then texts[#texts + 1] = f.failed .. " failed" end
    texts[#texts + 1] = precise(f.elapsed)
    local speedup = r.is_parallel and f.elapsed > 0 and (" (%.1fx)"):format(r.cpu / f.elapsed) or ""
    texts[#texts + 1] = ("CPU %s%s"):format(precise(r.cpu), speedup)
    texts[#texts + 1] = "peak memory " .. figures.bytes(r.peak)
    return ("%s: %s\n"):format(figures.clip(label, 80), table.concat(texts, ", "))
end

return figures
