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

local scales = { us = 1e6, ms = 1e3 }

local function assert_contender(c, row, text)
    assert.are.equal(3, #c.seconds)
    for _, seconds in ipairs(c.seconds) do assert.is_true(seconds > 0) end
    local name = c.kind == "yardstick" and "yardstick: " .. c.name or c.name
    local line = assert(line_of(text, row.id, name), "no line of " .. name)
    local printed = numbers_of(line)
    assert_printed(c.median * scales[row.unit], printed[1])
    if c.kind ~= "yardstick" then
        assert_spread(c.ratio, c.seconds, row.contenders[1].seconds, printed[2])
    end
    if c.kind == "peer" then assert_spread(c.lead, c.seconds, row.contenders[2].seconds, printed[3]) end
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

describe("bench/run", function()
    setup(function()
        local pipe <close> = io.popen "mktemp -d"
        build = assert(pipe:read "l")
    end)

    teardown(function()
        os.execute("rm -rf " .. helper.quote(build))
    end)

    it("prints a table that its raw numbers bear out", function()
        local path = helper.tmpdir() .. "/raw.json"
        local run = bench("--quick --json " .. path)
        assert.are.equal("", run.stderr)
        assert.are.equal(0, run.status)
        local raw = cjson.decode(helper.read(path))
        assert.are.same({ "1", "4" }, { raw.rows[1].id, raw.rows[2].id })
        for _, row in ipairs(raw.rows) do
            local luamp = row.contenders[2]
            assert.are.equal("yardstick", row.contenders[1].kind)
            assert.are.equal("luamp", luamp.name)
            for _, c in ipairs(row.contenders) do assert_contender(c, row, run.stdout) end
            local verdict = luamp.ratio.median <= luamp.target.bound and "ok" or "MISSED"
            assert.are.equal(verdict, luamp.target.verdict)
            assert.is_truthy(line_of(run.stdout, row.id, "luamp"):find(" " .. verdict .. "$"))
        end
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
        for _, arguments in ipairs { "--fast", "--rounds 0", "--cpus x", "--json", "99" } do
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
end)
