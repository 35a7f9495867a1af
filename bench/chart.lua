-- The chart of a table's rows, as SVG: how fast luamp is, where C's yardstick is 1, beside its
-- target and its fastest peer there. The scale is logarithmic.
--
-- Everything is shown as speed, so that longer is better, also where the table shows times. The
-- colours are for light and for dark, with a ground of their own, whatever page it stands on.
local report = require "report"

local chart = {}

local WIDTH <const>, LEFT <const>, RIGHT <const> = 980, 370, 180
local NAME <const> = 62 -- where a row's name begins
local TOP <const>, BOTTOM <const>, ROW <const> = 104, 16, 38
local PLOT <const> = WIDTH - LEFT - RIGHT

local style <const> = [[
<style>
text { font: 12px system-ui, sans-serif; fill: #1b1f24; stroke: #ffffff; stroke-width: 3px; paint-order: stroke }
.title { font-size: 16px; font-weight: 600 }
.small { font-size: 10.5px; fill: #59636e }
.axis { text-anchor: middle }
.ground { fill: #ffffff }
.luamp { fill: #1f6feb }
.peer { fill: #afb8c1 }
.grid { stroke: #d8dee4 }
.one { stroke: #1b1f24 }
.target { fill: #1b1f24 }
.missed { fill: #cf222e }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3; stroke: #0d1117 }
.small { fill: #9da7b3 }
.ground { fill: #0d1117 }
.luamp { fill: #58a6ff }
.peer { fill: #59636e }
.grid { stroke: #2b323b }
.one { stroke: #e6edf3 }
.target { fill: #e6edf3 }
.missed { fill: #ff7b72 }
}
</style>]]

local entities = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;" }

local function escape(text)
    return (text:gsub('[&<>"]', entities))
end

-- --- what is shown ----------------------------------------------------------------

-- A contender's speed, in those of the yardstick.
local function speed(row, c)
    return row.ratio_of == "speed" and c.ratio.median or 1 / c.ratio.median
end

-- The speed that is luamp's goal, or nil.
local function goal(row, luamp)
    local t, yardstick = luamp.target, row.contenders[1].median
    if not t then return nil end
    if t.unit then return yardstick / t.bound end
    if t.sign == ">=" then return t.bound end
    return 1 / (t.bound + (t.plus or 0) / yardstick)
end

local function fastest_peer(row)
    local best
    for _, c in ipairs(row.contenders) do
        if c.kind == "peer" and (not best or c.lead.median < best.lead.median) then best = c end
    end
    return best
end

local function entry(row)
    local luamp, peer = row.contenders[2], fastest_peer(row)
    return {
        id = row.id, name = row.name, against = row.contenders[1].name,
        luamp = speed(row, luamp), goal = goal(row, luamp),
        is_missed = luamp.target ~= nil and luamp.target.verdict ~= "ok",
        peer = peer and speed(row, peer), peer_name = peer and peer.name,
    }
end

-- The powers of ten between which all lies; 1 is always there.
local function range(entries)
    local least, most = 1, 1
    for _, e in ipairs(entries) do
        least = math.min(least, e.luamp, e.goal or 1, e.peer or 1)
        most = math.max(most, e.luamp, e.goal or 1, e.peer or 1)
    end
    return math.min(-1, math.floor(math.log(least, 10))), math.max(1, math.ceil(math.log(most, 10)))
end

-- --- the drawing ------------------------------------------------------------------

local function text(out, x, y, class, words)
    out[#out + 1] = ('<text x="%.1f" y="%.1f" class="%s">%s</text>'):format(x, y, class, escape(words))
end

local function rectangle(out, x, y, width, height, class)
    out[#out + 1] = ('<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" class="%s"/>'):format(x, y, width,
        height, class)
end

local raised <const> = { ["-"] = "⁻", ["0"] = "⁰", ["1"] = "¹", ["2"] = "²", ["3"] = "³", ["4"] = "⁴", ["5"] = "⁵",
    ["6"] = "⁶", ["7"] = "⁷", ["8"] = "⁸", ["9"] = "⁹" }

local function power(exponent)
    if math.abs(exponent) > 3 then return "10" .. ("%d"):format(exponent):gsub(".", raised) end
    return exponent == 0 and "1 = C" or exponent > 0 and ("%d"):format(10 ^ exponent)
        or ("1/%d"):format(10 ^ -exponent)
end

local function draw_axis(out, place, lowest, highest, height)
    for exponent = lowest, highest do
        local x = place(10.0 ^ exponent)
        out[#out + 1] = ('<path d="M%.1f %d V%d" class="%s"/>'):format(x, TOP - 6, height - BOTTOM,
            exponent == 0 and "one" or "grid")
        text(out, x, TOP - 12, "small axis", power(exponent))
    end
end

local function draw_legend(out)
    rectangle(out, LEFT, 59, 18, 10, "luamp")
    text(out, LEFT + 24, 68, "", "luamp")
    rectangle(out, LEFT + 90, 60, 18, 8, "peer")
    text(out, LEFT + 114, 68, "", "fastest peer")
    rectangle(out, LEFT + 210, 56, 3, 16, "target")
    text(out, LEFT + 220, 68, "", "target")
end

local function draw_luamp(out, e, y, place)
    local x = place(e.luamp)
    rectangle(out, LEFT, y + 4, x - LEFT, 12, "luamp")
    local verdict = e.is_missed and " target missed" or ""
    if e.goal then
        local at = place(e.goal)
        rectangle(out, at - 1.5, y + 2, 3, 16, e.is_missed and "missed" or "target")
        x = math.max(x, at)
    end
    text(out, x + 6, y + 14, "", report.number(e.luamp) .. verdict)
end

local function draw_peer(out, e, y, place)
    if not e.peer then return end
    local x = place(e.peer)
    rectangle(out, LEFT, y + 20, x - LEFT, 9, "peer")
    text(out, x + 6, y + 28, "small", report.number(e.peer) .. " " .. e.peer_name)
end

local function draw_row(out, e, y, place)
    text(out, 12, y + 14, "small", e.id)
    text(out, NAME, y + 14, "", e.name)
    text(out, NAME, y + 28, "small", "against " .. e.against)
    draw_luamp(out, e, y, place)
    draw_peer(out, e, y, place)
end

local function subtitle(result)
    local words = ("%s, %s, %s; medians of %d rounds"):format(result.luamp, result.started:sub(1, 10),
        result.machine.model, result.rounds)
    return result.quick and words .. "; quick, so that the figures mean little" or words
end

-- The chart of what bench/run has saved, as a text.
function chart.draw(result)
    local entries = {}
    for i, row in ipairs(result.rows) do entries[i] = entry(row) end
    local lowest, highest = range(entries)
    local height = TOP + ROW * #entries + BOTTOM
    local function place(value)
        return LEFT + PLOT * (math.log(value, 10) - lowest) / (highest - lowest)
    end
    local out = {
        ('<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" role="img">')
            :format(WIDTH, height, WIDTH, height),
        "<title>luamp against C and its peers: speeds, where C's is 1</title>", style,
    }
    rectangle(out, 0, 0, WIDTH, height, "ground")
    text(out, 12, 26, "title", "How fast luamp is, where C is 1")
    text(out, 12, 44, "small", subtitle(result))
    draw_legend(out)
    draw_axis(out, place, lowest, highest, height)
    for i, e in ipairs(entries) do draw_row(out, e, TOP + ROW * (i - 1), place) end
    out[#out + 1] = "</svg>\n"
    return table.concat(out, "\n")
end

return chart
