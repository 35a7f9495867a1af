-- bench/run: that it measures, that its table says what was measured, and that
-- it tells a program's failure. No time is judged here.
local helper = require "spec.helper"
local cjson = require "cjson"
local report = dofile "bench/report.lua"
local json = dofile "bench/json.lua"

-- The yardsticks are built once for this file; bench/run would otherwise write
-- into the tree, which may belong to another user.
local build

local function bench(arguments, env)
    env = env or {}
    env.BENCH_BUILD = build
    return helper.run("bench/run " .. arguments, { env = env })
end

-- The row's line of a contender in the printed table.
local function line_of(text, row, name)
    local block = text:match("\nrow " .. row .. ":.-\n\n")
    for line in block:gmatch "[^\n]+" do
        if line:match "^  (.-)  +[%d.]+ " == name then return line end
    end
end

-- The numbers of a line: the median, then each `median [quartile quartile]`.
local function numbers_of(line)
    local list = { tonumber(line:match "^  .-  +([%d.]+) ") }
    for median, q1, q3 in line:gmatch "([%d.]+) %[([%d.]+) ([%d.]+)%]" do
        table.insert(list, { median = tonumber(median), q1 = tonumber(q1), q3 = tonumber(q3) })
    end
    return list
end

-- A printed number has three digits that count, and below 1 two behind the point.
local function assert_printed(expected, printed)
    assert.is_near(expected, printed, math.max(0.006 * expected, 0.0051))
end

-- `spread` is that of above[i] / below[i], over three rounds.
local function assert_spread(spread, above, below, printed)
    local list = {}
    for i = 1, 3 do list[i] = above[i] / below[i] end
    table.sort(list)
    local expected = { q1 = (list[1] + list[2]) / 2, median = list[2], q3 = (list[2] + list[3]) / 2 }
    for name, value in pairs(expected) do
        assert.is_near(value, spread[name], 1e-9 * value)
        assert_printed(value, printed[name])
    end
end

local function shown(seconds, unit)
    local rate = ({ ["M/s"] = 1e-6, ["k/s"] = 1e-3 })[unit]
    return rate and rate / seconds or seconds * ({ ns = 1e9, us = 1e6, ms = 1e3, s = 1 })[unit]
end

local subjects = { queue = "queues", pool = "pools", cpu_map = "pools", cells = "cells", dict = "dicts", heap = "heaps",
    alloc = "heaps", cluster = "clusters" }

-- All rows of the table whose programs lie in the folders of queues, of pools, of cells, or in others; by id.
local function ids(subject)
    local list = {}
    for _, row in ipairs(dofile "bench/rows.lua") do
        if (subjects[row.folder] or "others") == subject then list[#list + 1] = row.id end
    end
    return list
end

-- That luamp's line ends with the verdict on the row's target, if it has one.
local function assert_verdict(luamp, row, text)
    local target = luamp.target
    if not target then return end
    local value = target.unit and luamp.median or luamp.ratio.median
    local bound = target.bound
    if target.plus then
        local excess = {}
        for i, seconds in ipairs(luamp.seconds) do excess[i] = seconds - bound * row.contenders[1].seconds[i] end
        table.sort(excess)
        value, bound = excess[2], target.plus
    end
    local meets = target.sign == "<=" and value <= bound or target.sign == ">=" and value >= bound
    local verdict = meets and "ok" or "MISSED"
    assert.are.equal(verdict, target.verdict)
    assert.is_truthy(line_of(text, row.id, "luamp"):find(" " .. verdict .. "$"))
end

local function assert_contender(c, row, text)
    assert.are.equal(3, #c.seconds)
    for _, seconds in ipairs(c.seconds) do assert.is_true(seconds > 0) end
    local name = c.kind == "yardstick" and "yardstick: " .. c.name or c.name
    local line = assert(line_of(text, row.id, name), "no line of " .. name)
    local printed = numbers_of(line)
    assert_printed(shown(c.median, row.unit), printed[1])
    local yardstick = row.contenders[1].seconds
    if c.kind ~= "yardstick" and row.ratio_of == "speed" then
        assert_spread(c.ratio, yardstick, c.seconds, printed[2])
    elseif c.kind ~= "yardstick" then
        assert_spread(c.ratio, c.seconds, yardstick, printed[2])
    end
    if c.kind == "peer" then assert_spread(c.lead, c.seconds, row.contenders[2].seconds, printed[3]) end
end

local function assert_row(row, text)
    local luamp = row.contenders[2]
    assert.are.equal("yardstick", row.contenders[1].kind)
    assert.are.equal("luamp", luamp.name)
    for _, c in ipairs(row.contenders) do assert_contender(c, row, text) end
    assert_verdict(luamp, row, text)
end

-- Of these rows the daily run measures those at the places, the first four for example.
local function some(wanted, places)
    if helper.is_everything then return wanted end
    local list = {}
    for _, place in ipairs(places) do list[#list + 1] = wanted[place] end
    return list
end

local function measured(arguments)
    local path = helper.tmpdir() .. "/raw.json"
    local run = bench(("--quick --json %s %s"):format(path, arguments))
    assert.are.equal("", run.stderr)
    assert.are.equal(0, run.status)
    local raw, found = cjson.decode(helper.read(path)), {}
    for i, row in ipairs(raw.rows) do found[i] = row.id end
    return raw, found, run.stdout
end

local function assert_times(raw)
    for _, row in ipairs(raw.rows) do
        assert.are.equal("luamp", row.contenders[2].name)
        for _, c in ipairs(row.contenders) do assert.is_true(c.seconds[1] > 0) end
    end
end

-- A row in which the yardstick takes 1 s in each of its three rounds.
local function judged(target, luamp, peers)
    local contenders = {
        { name = "c", kind = "yardstick", seconds = { 1, 1, 1 } },
        { name = "luamp", kind = "luamp", seconds = luamp },
    }
    for i, peer in ipairs(peers or {}) do contenders[i + 2] = peer end
    return report.judge({ id = "9", name = "row", unit = "s", target = target }, contenders)
end

-- What the daily run leaves out.
local function it_seldom(what, test)
    it(what, function()
        if not helper.is_everything then return pending "LUAMP_TESTS=all has it" end
        test()
    end)
end

describe("bench/run", function()
    setup(function()
        local pipe <close> = io.popen "mktemp -d"
        build = assert(pipe:read "l")
    end)

    teardown(function()
        os.execute("rm -rf " .. helper.quote(build))
    end)

    it("prints a table that its raw numbers bear out", function()
        local wanted = ids "others"
        assert.are.same({ "0", "1", "3", "3s" }, { table.unpack(wanted, 1, 4) })
        wanted = some(wanted, { 1, 2, 5, #wanted })
        local raw, found, text = measured(table.concat(wanted, " "))
        assert.are.same(wanted, found)
        for _, row in ipairs(raw.rows) do assert_row(row, text) end
    end)

    it("measures what goes through queues: one at a time, there and back, and by the megabyte", function()
        assert.are.same({ "11", "11b", "11m41", "11m14", "11m44", "12", "13" }, ids "queues")
        local raw, found, text = measured "11 12 13"
        assert.are.same({ "11", "12", "13" }, found)
        for _, row in ipairs(raw.rows) do assert_row(row, text) end
        assert.are.same({ "speed", "time", "speed" },
            { raw.rows[1].ratio_of, raw.rows[2].ratio_of, raw.rows[3].ratio_of })
        assert.are.equal("C, pipe", raw.rows[3].contenders[3].name)
    end)

    it("measures numbers in shared memory: one at a time, and by the megabyte", function()
        local raw, found, text = measured(table.concat(ids "cells", " "))
        assert.are.same({ "15", "16", "16w", "16b" }, found)
        for _, row in ipairs(raw.rows) do assert_row(row, text) end
        assert.are.equal("speed", raw.rows[4].ratio_of)
    end)

    it_seldom("measures batches and crowds at queues, with the two sides on a CPU each", function()
        local cpus = ("%s/%s"):format(helper.read("/proc/self/status"):match "Cpus_allowed_list:%s*(%d+).-(%d*)\n")
        if not cpus:find "%d/%d" then pending "there is one CPU only" end
        local raw, found = measured("--rounds 1 --cpus " .. cpus .. " 11b 11m41 11m14 11m44")
        assert.are.same({ "11b", "11m41", "11m14", "11m44" }, found)
        assert.are.equal(cpus, raw.machine.pinned)
        assert_times(raw)
    end)

    it_seldom("measures a large heap: its starts, what children copy of it, and Lua that allocates", function()
        local wanted = ids "heaps"
        assert.are.equal("2 2b 2g16 2g64 2g256 17 17a 18ti 18si 18mi 18tg 18sg 18mg", table.concat(wanted, " "))
        local raw, found, text = measured("--rounds 1 " .. table.concat(wanted, " "))
        assert.are.same(wanted, found)
        local by_id = {}
        for _, row in ipairs(raw.rows) do
            by_id[row.id] = row
            assert.are.equal("luamp", row.contenders[2].name)
            for _, c in ipairs(row.contenders) do assert.is_true(c.seconds[1] > 0) end
        end
        assert.are.equal("lua5.4", by_id["18ti"].contenders[1].name)
        assert.is_truthy(text:find("row 17: .-luamp  +[%d.]+ %%"))
        local part = by_id["17a"].contenders[2].seconds[1]
        assert.is_true(part < 0.02, ("a daemon copied %g of the heap"):format(part))
    end)

    it_seldom("measures clusters: tasks for other hosts, where there is an MPI", function()
        local wanted = ids "clusters"
        assert.are.equal("23 23t 23m 23n 23l", table.concat(wanted, " "))
        if not os.execute "command -v mpirun >/dev/null" then pending "needs mpirun" end
        wanted = some(wanted, { 1, 5 })
        local raw, found = measured("--rounds 1 " .. table.concat(wanted, " "))
        assert.are.same(wanted, found)
        assert_times(raw)
    end)

    it_seldom("measures dicts: each kind of call, by one process and more", function()
        assert.are.equal("16ds1 16ds2 16ds8 16dg1 16dg2 16dg8 16du1 16du2 16du8", table.concat(ids "dicts", " "))
        local raw, found = measured "--rounds 1 16ds1 16dg2 16du8"
        assert.are.same({ "16ds1", "16dg2", "16du8" }, found)
        assert_times(raw)
    end)

    it("measures what pools do: tasks of all kinds, payloads, work for two CPUs, a worker killed", function()
        local wanted = ids "pools"
        assert.are.equal("5 6 6k 6m 7 6g100 6g1000 6g10000 8 8u 9 10 10w2 19 19s 19u 19k 19b",
            table.concat(wanted, " "))
        wanted = some(wanted, { 1, 2, 4 })
        local raw, found = measured("--rounds 1 " .. table.concat(wanted, " "))
        assert.are.same(wanted, found)
        assert_times(raw)
    end)

    it("judges what is granted besides by what its raw numbers bear out", function()
        local raw, _, text = measured "10 19k"
        assert.are.equal(0.5e-6, raw.rows[1].contenders[2].target.plus)
        assert.are.equal("luamp, none killed", raw.rows[2].contenders[1].name)
        for _, row in ipairs(raw.rows) do assert_row(row, text) end
    end)

    it("puts the owner of a pool on one CPU, and its workers on another", function()
        local first, second = helper.read("/proc/self/status"):match "Cpus_allowed_list:%s*(%d+)%D(%d+)"
        if not first then pending "there is one CPU only" end
        local cpus = first .. "/" .. second
        local raw = measured("--rounds 1 --cpus " .. cpus .. " 7 10")
        assert.are.equal(cpus, raw.machine.pinned)
        assert.are.equal(2, #raw.rows)
    end)

    it("says which peers are here, which are not, and where the CPUs lie", function()
        local path = helper.tmpdir() .. "/raw.json"
        local run = bench("--quick --rounds 1 --cpus 0 4 --json " .. path)
        assert.are.equal(0, run.status, run.stderr)
        local raw = cjson.decode(helper.read(path))
        local named = {}
        for _, peer in ipairs(raw.peers) do
            named[peer.name] = true
            assert.is_truthy(run.stdout:find(peer.name .. " " .. peer.version, 1, true))
        end
        for _, name in ipairs(raw.absent) do named[name] = true end
        assert.are.same({ python3 = true, perl = true, node = true }, named)
        assert.is_truthy(run.stdout:find "\nplacement .*one CPU")
        assert.are.equal("0", raw.machine.pinned)
        assert.are.equal(1, #raw.rows)
    end)

    it("fails, and names the program, when one fails or prints something else", function()
        local dir = helper.tmpdir()
        local function perl(text)
            helper.write(dir .. "/perl", "#!/bin/sh\n[ $1 = -MTime::HiRes ] && { printf '" .. dir
                .. "/perl\\n5\\n'; exit; }\n" .. text)
            os.execute("chmod +x " .. dir .. "/perl")
            return bench("--quick --rounds 1 4 --json " .. dir .. "/raw.json",
                { PATH = dir .. ":" .. os.getenv "PATH" })
        end
        local run = perl "exit 3"
        assert.are.equal(1, run.status)
        assert.is_truthy(run.stderr:find "row 4, perl, fork: failed: .*exit 3")
        run = perl "echo Cube: 999; echo Square: 100; echo DONE"
        assert.are.equal(1, run.status)
        assert.is_truthy(run.stderr:find "row 4, perl, fork: it printed\nCube: 999")
    end)

    it("finds out before it measures that the numbers cannot be kept", function()
        local run = bench("--json " .. helper.tmpdir() .. "/none/raw.json")
        assert.are.equal(1, run.status)
        assert.are.equal("", run.stdout)
        assert.is_truthy(run.stderr:find "^bench/run: .*/none/raw.json: No such file or directory\n$")
    end)

    it("refuses what it does not know", function()
        for _, arguments in ipairs { "--fast", "--draw", "--svg",
            "--rounds 0", "--cpus x", "--cpus 0/1/2", "--json", "99" } do
            local run = bench(arguments)
            assert.are.equal(2, run.status)
            assert.is_truthy(run.stderr:find "usage: bench/run")
        end
    end)
end)

describe("bench/report", function()
    it("takes the median of the rounds' ratios, not the ratio of medians", function()
        local result = report.judge({ id = "9", name = "row", unit = "s", target = { at_most = 2 } }, {
            { name = "c", kind = "yardstick", seconds = { 1, 2, 10 } },
            { name = "luamp", kind = "luamp", seconds = { 3, 2, 11 } },
        })
        assert.are.equal(1.1, result.contenders[2].ratio.median)
    end)

    it("interpolates quartiles", function()
        assert.are.equal(2.5, report.quantile({ 4, 1, 3, 2 }, 0.5))
        assert.are.equal(1.75, report.quantile({ 4, 1, 3, 2 }, 0.25))
        assert.are.equal(7, report.quantile({ 7 }, 0.75))
    end)

    it("judges by time where a target is a bound from above", function()
        local luamp = judged({ at_most = 1.5 }, { 1.5, 1.5, 1.5 }).contenders[2]
        assert.are.same({ sign = "<=", bound = 1.5, verdict = "ok" }, luamp.target)
        luamp = judged({ at_most = 1.5 }, { 1.6, 1.6, 1.6 }).contenders[2]
        assert.are.equal("MISSED", luamp.target.verdict)
    end)

    it("judges by speed where a target is a bound from below", function()
        local result = judged({ at_least = 0.5 }, { 2, 2, 2 })
        assert.are.equal("speed", result.ratio_of)
        assert.are.equal(0.5, result.contenders[2].ratio.median)
        assert.are.equal("ok", result.contenders[2].target.verdict)
        result = judged({ at_least = 0.5 }, { 3, 3, 3 })
        assert.are.equal("MISSED", result.contenders[2].target.verdict)
    end)

    it("judges by seconds where the goal is a time, and not at all where there is none", function()
        local luamp = judged({ within = 1.5 }, { 1.5, 1, 2 }).contenders[2]
        assert.are.same({ sign = "<=", bound = 1.5, unit = "s", verdict = "ok" }, luamp.target)
        local result = judged({ within = 1.5 }, { 1.6, 1.6, 1.6 })
        assert.is_truthy(report.lines(result)[4]:find "<= 1.50 s MISSED$")
        assert.is_nil(judged(nil, { 1, 1, 1 }).contenders[2].target)
    end)

    it("judges what a time goes beyond its bound where some is granted besides", function()
        local target = { at_most = 3, plus = 0.5 }
        local result = judged(target, { 3.5, 3.4, 9 })
        assert.are.same({ sign = "<=", bound = 3, plus = 0.5, plus_unit = "s", verdict = "ok" },
            result.contenders[2].target)
        assert.is_truthy(report.lines(result)[4]:find "<= 3x %+ 0.50 s ok$")
        assert.are.equal("MISSED", judged(target, { 3.6, 3.4, 9 }).contenders[2].target.verdict)
    end)

    it("judges luamp's lead over a peer, and only where one is promised", function()
        local result = judged({ at_most = 2 }, { 2, 2, 2 }, {
            { name = "slow", kind = "peer", seconds = { 20, 20, 20 }, lead = 10 },
            { name = "fast", kind = "peer", seconds = { 19, 19, 19 }, lead = 10 },
            { name = "shown", kind = "peer", seconds = { 1, 1, 1 } },
        }).contenders
        assert.are.same({ sign = ">=", bound = 10, verdict = "ok" }, result[3].target)
        assert.are.equal("MISSED", result[4].target.verdict)
        assert.is_nil(result[5].target)
        assert.are.equal(0.5, result[5].lead.median)
    end)

    it("shows times and rates in the row's unit", function()
        assert.are.equal("71.2 us", report.amount(71.23e-6, "us"))
        assert.are.equal("1525 us", report.amount(1525e-6, "us"))
        assert.are.equal("14.0 M/s", report.amount(1 / 14e6, "M/s"))
    end)
end)

describe("bench/json", function()
    it("writes what cjson reads back", function()
        local value = {
            text = 'a "quoted" \\ line\nand \1', none = {}, yes = true,
            numbers = { 0.1, 1e-9, 1 / 3, 5 }, rows = { { id = "1" }, { id = "2" } },
        }
        assert.are.same(value, cjson.decode(json.encode(value)))
    end)

    it("reads what it wrote, and what cjson wrote", function()
        local value = {
            text = 'a "quoted" \\ line\nand \1, \\u0041', empty = "", yes = true, no = false,
            numbers = { 0.25, -1e-9, 1.5e300, 5 }, rows = { { id = "1" }, { id = "ä", none = {} } },
        }
        assert.are.same(value, json.decode(json.encode(value)))
        assert.are.same(value, json.decode(cjson.encode(value)))
    end)

    it("says where a text is none", function()
        for text, words in pairs { ["[1 2]"] = "byte 4 of the text is no JSON", ['{"a" 1}'] = "byte 7 of the text",
            ['["ab\\"]'] = "a string has no end", [""] = "byte 0 of the text", ["[1"] = "byte 3 of the text" } do
            assert.error_matches(function() json.decode(text) end, "^" .. words)
        end
    end)
end)

-- The raw numbers of a run that never was.
local function made_up()
    local function row(id, unit, target, luamp, peers)
        local contenders = {
            { name = "a <yardstick> & more", kind = "yardstick", seconds = { 1e-6 } },
            { name = "luamp", kind = "luamp", seconds = { luamp } },
        }
        for _, peer in ipairs(peers) do
            contenders[#contenders + 1] = { name = peer[1], kind = "peer", seconds = { peer[2] } }
        end
        return report.judge({ id = id, name = "row " .. id, unit = unit, target = target }, contenders)
    end
    return { luamp = "luamp 9.8.7", started = "2026-01-02T03:04:05Z", rounds = 1, quick = false,
        machine = { model = "a machine" }, rows = {
            row("1", "us", { at_most = 2 }, 2e-6, { { "slow, fork", 1e-3 }, { "fast, fork", 1e-4 } }),
            row("2", "M/s", { at_least = 0.8 }, 2e-6, { { "other, queue", 2e-5 } }),
            row("3", "us", { at_most = 3, plus = 1e-6 }, 4e-6, {}),
            row("4", "us", nil, 0.5e-6, {}),
        } }
end

-- The elements of an XML text, each with its name, attributes and text. Asserts that it is well-formed.
local function elements(xml)
    local list, open = {}, {}
    for before, slash, name, attributes, closed in xml:gmatch "([^<]*)<(/?)([%w]+)([^<>]-)(/?)>" do
        assert.is_nil(before:gsub("&%a+;", ""):find "[&>]")
        if slash == "/" then
            local element = table.remove(open)
            assert.are.equal(element.name, name)
            element.text = before
        else
            local element = { name = name }
            local rest = attributes:gsub('%s+([%w:-]+)="([^"<]*)"', function(key, value)
                assert.is_nil(element[key])
                element[key] = tonumber(value) or value
                return ""
            end)
            assert.are.equal("", rest)
            list[#list + 1] = element
            if closed == "" then open[#open + 1] = element end
        end
    end
    assert.are.equal(0, #open)
    assert.are.equal("", (xml:gsub("[^<]*<[^<>]*>", ""):gsub("%s", "")))
    return list
end

-- Those of a class, but for what stands in the legend, above the axis.
local function of_class(list, class)
    local found, top = {}, 0
    for _, element in ipairs(list) do
        if element.class == "small axis" then top = element.y end
        if element.class == class and top > 0 then found[#found + 1] = element end
    end
    return found
end

describe("the chart", function()
    local function draw(text)
        local dir = helper.tmpdir()
        helper.write(dir .. "/raw.json", text)
        local run = helper.run(("%s bench/run.lua luamp build --draw '%s/raw.json' --svg '%s/chart.svg'"):format(
            helper.host, dir, dir))
        return run, dir .. "/chart.svg"
    end

    it("is drawn from a file of raw numbers, and has its labels", function()
        local run, path = draw(json.encode(made_up()))
        assert.are.same({ status = 0, stderr = "", stdout = "chart: " .. path .. "\n" }, run)
        local list, texts = elements(helper.read(path)), {}
        assert.are.equal("svg", list[1].name)
        assert.are.equal("http://www.w3.org/2000/svg", list[1].xmlns)
        for _, element in ipairs(list) do
            if element.name == "text" then texts[element.text] = true end
        end
        for _, words in ipairs { "row 1", "row 2", "row 3", "row 4", "against a &lt;yardstick&gt; &amp; more", "luamp",
            "fastest peer", "target", "1 = C", "1/100", "10", "0.50", "0.50 target missed", "0.25", "2.00",
            "0.0100 fast, fork", "0.0500 other, queue",
            "luamp 9.8.7, 2026-01-02, a machine; medians of 1 rounds" } do
            assert.is_true(texts[words], "no text: " .. words)
        end
        assert.is_nil(texts["0.0010 slow, fork"])
    end)

    it("has bars and targets as long as the speeds, where C's is 1", function()
        local _, path = draw(json.encode(made_up()))
        local list, at = elements(helper.read(path)), {}
        for _, element in ipairs(list) do
            if element.class == "small axis" then at[element.text] = element.x end
        end
        local decade = at["1 = C"] - at["1/10"]
        local function place(speed) return at["1 = C"] + decade * math.log(speed, 10) end
        local bars, targets, missed = of_class(list, "luamp"), of_class(list, "target"), of_class(list, "missed")
        for i, speed in ipairs { 0.5, 0.5, 0.25, 2 } do
            assert.is_near(place(speed), bars[i].x + bars[i].width, 0.2)
        end
        assert.are.equal(2, #targets)
        assert.is_near(place(0.5), targets[1].x + 1.5, 0.2)
        assert.is_near(place(0.25), targets[2].x + 1.5, 0.2)
        assert.are.equal(1, #missed)
        assert.is_near(place(0.8), missed[1].x + 1.5, 0.2)
    end)

    it("has colours for light and for dark", function()
        local _, path = draw(json.encode(made_up()))
        local style = helper.read(path):match "<style>(.*)</style>"
        local light, dark = style:match "^(.-)@media %(prefers%-color%-scheme: dark%) {(.*)}"
        for _, class in ipairs { "text", "%.small", "%.ground", "%.luamp", "%.peer", "%.grid", "%.one", "%.target",
            "%.missed" } do
            local one, other = light:match("\n" .. class .. " (%b{})"), dark:match("\n" .. class .. " (%b{})")
            assert.is_truthy(one and other, class)
            assert.are_not.equal(one, other)
        end
    end)

    it("is not drawn from what holds no raw numbers, or is none", function()
        local run = draw "{}"
        assert.are.equal(1, run.status)
        assert.is_truthy(run.stderr:find "^bench/run: .*/raw.json holds no raw numbers\n$")
        run = draw "rows"
        assert.are.same({ status = 1, stdout = "", stderr = "bench/run: byte 1 of the text is no JSON\n" }, run)
    end)
end)
