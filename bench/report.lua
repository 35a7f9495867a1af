-- From seconds to the table: ratios, their quartiles, targets and verdicts.
--
-- A ratio is made within each round and the median is taken over the rounds,
-- never the other way round: what disturbed a round disturbs one ratio only.
local report = {}

-- The quantile q of a list, interpolated between neighbours.
function report.quantile(list, q)
    local sorted = table.move(list, 1, #list, 1, {})
    table.sort(sorted)
    local at = 1 + q * (#sorted - 1)
    local below = math.floor(at)
    local above = math.min(below + 1, #sorted)
    return sorted[below] + (at - below) * (sorted[above] - sorted[below])
end

-- The median and the quartiles of above[round] / below[round].
local function ratio(above, below)
    local list = {}
    for round in ipairs(above) do list[round] = above[round] / below[round] end
    return {
        median = report.quantile(list, 0.5),
        q1 = report.quantile(list, 0.25),
        q3 = report.quantile(list, 0.75),
    }
end

-- A target as the table shows it, and whether `value` meets it.
local function judge(result, value, sign, bound)
    local meets
    if sign == "<=" then meets = value <= bound else meets = value >= bound end
    result.target = { sign = sign, bound = bound, verdict = meets and "ok" or "MISSED" }
end

-- Where a time is granted besides, it is what luamp's exceeds the bound by that is judged.
local function judge_excess(result, yardstick, target, unit)
    local list = {}
    for round, seconds in ipairs(result.seconds) do list[round] = seconds - target.at_most * yardstick[round] end
    judge(result, report.quantile(list, 0.5), "<=", target.plus)
    result.target.bound, result.target.plus, result.target.plus_unit = target.at_most, target.plus, unit
end

local function judge_luamp(result, yardstick, target, unit)
    if target.plus then
        judge_excess(result, yardstick, target, unit)
    elseif target.at_most then
        judge(result, result.ratio.median, "<=", target.at_most)
    elseif target.at_least then
        judge(result, result.ratio.median, ">=", target.at_least)
    elseif target.within then
        judge(result, result.median, "<=", target.within)
        result.target.unit = unit
    end
end

local function constant(value, n)
    local list = {}
    for i = 1, n do list[i] = value end
    return list
end

-- What was measured of one row, as plain data: for each contender its seconds,
-- `ratio` (against the yardstick, in time or in speed as the row says; the
-- yardstick's own is against its median, and tells how quiet it was), for a
-- peer also `lead` (how many times as fast luamp was), and `target`, whose bound
-- is a ratio, or seconds when it has the row's `unit`, and which may grant seconds
-- besides (`plus`, shown in `plus_unit`). The first contender is the
-- yardstick, the second luamp.
function report.judge(row, contenders)
    local yardstick, luamp = contenders[1].seconds, contenders[2].seconds
    local goal = row.target or {}
    local by_speed = goal.at_least ~= nil
    local results = {}
    for i, c in ipairs(contenders) do
        local result = { name = c.name, kind = c.kind, seconds = c.seconds }
        result.median = report.quantile(c.seconds, 0.5)
        local base = c.kind == "yardstick" and constant(result.median, #yardstick) or yardstick
        result.ratio = by_speed and ratio(base, c.seconds) or ratio(c.seconds, base)
        if c.kind == "luamp" then judge_luamp(result, yardstick, goal, row.unit) end
        if c.kind == "peer" then
            result.lead = ratio(c.seconds, luamp)
            if c.lead then judge(result, result.lead.median, ">=", c.lead) end
        end
        results[i] = result
    end
    return {
        id = row.id, name = row.name, unit = row.unit,
        ratio_of = by_speed and "speed" or "time", contenders = results,
    }
end

-- Three digits that count, and never an exponent.
function report.number(x)
    if x >= 99.95 then return string.format("%.0f", x) end
    if x >= 9.995 then return string.format("%.1f", x) end
    if x >= 0.1 then return string.format("%.2f", x) end
    return string.format("%.4f", x)
end

local scales = { ns = 1e9, us = 1e6, ms = 1e3, s = 1, ["/s"] = 1, ["k/s"] = 1e-3, ["M/s"] = 1e-6, ["%"] = 100 }

-- Seconds in a row's unit; a unit that ends in /s shows a rate.
function report.amount(seconds, unit)
    local base = unit:find("/s", 1, true) and 1 / seconds or seconds
    return report.number(base * scales[unit]) .. " " .. unit
end

function report.spread(r)
    if not r then return "" end
    local n = report.number
    return string.format("%s [%s %s]", n(r.median), n(r.q1), n(r.q3))
end

local function target(t)
    if not t then return "" end
    local bound = t.unit and report.amount(t.bound, t.unit) or string.format("%.3gx", t.bound)
    if t.plus then bound = bound .. " + " .. report.amount(t.plus, t.plus_unit) end
    return string.format("%s %s %s", t.sign, bound, t.verdict)
end

local layout = "  %-34s %11s   %-22s %-22s %s"

-- The lines of one row.
function report.lines(result)
    local against = result.ratio_of == "time" and "x yardstick's time" or "x yardstick's speed"
    local heading = "row " .. result.id .. ": " .. result.name
    local list = { heading, layout:format("", "median", against, "luamp leads by", "target") }
    for _, c in ipairs(result.contenders) do
        local name = c.kind == "yardstick" and "yardstick: " .. c.name or c.name
        local line = layout:format(name, report.amount(c.median, result.unit), report.spread(c.ratio),
            report.spread(c.lead), target(c.target))
        list[#list + 1] = line:gsub("%s+$", "")
    end
    return list
end

return report
