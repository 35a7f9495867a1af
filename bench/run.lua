-- The order of business of bench/run, which calls it under luamp:
--   run.lua LUAMP BUILD [OPTION...] [ROW...]
-- Exit status: 0 when everything was measured, whatever the figures; 1 when a
-- program failed; 2 when the command line is wrong.
local bench = arg[0]:match("^(.*)/[^/]*$") or "."
package.path = bench .. "/?.lua;" .. package.path

local chart = require "chart"
local json = require "json"
local machine = require "machine"
local measure = require "measure"
local report = require "report"
local rows = require "rows"
local shell = require "shell"

local usage = [[
usage: bench/run [OPTION...] [ROW...]
  ROW...         rows of the table to measure (default: all)
  --rounds N     rounds (default: 21)
  --quick        3 short rounds: shows that all runs, measures nothing
  --cpus LIST    pins every program to these CPUs, for example 0 or 0,1; 0/1 besides
                 has who puts on the first and who gets on the second (rows 11 to 13),
                 or a pool's owner there and its workers here (rows 5 to 10)
  --json FILE    where the raw numbers go (default: bench/results/TIME.json)
  --draw FILE    measures nothing, but draws the chart of such raw numbers
  --svg FILE     where the chart goes (default: docs/bench.svg)
]]

local function misuse(why)
    io.stderr:write("bench/run: ", why, "\n", usage)
    os.exit(2)
end

local flags = {
    ["--rounds"] = function(options, value)
        options.rounds = math.tointeger(tonumber(value))
        if not options.rounds or options.rounds < 1 then misuse "--rounds takes a count of at least 1" end
    end,
    ["--cpus"] = function(options, value)
        if not machine.cpus(value) then misuse "--cpus takes a list such as 0 or 0,1 or 0-3 or 0/1" end
        options.cpus = value
    end,
}
for _, name in ipairs { "json", "draw", "svg" } do
    flags["--" .. name] = function(options, value)
        options[name] = value or misuse("--" .. name .. " takes a file")
    end
end

local function row_named(id)
    for _, row in ipairs(rows) do
        if row.id == id then return row end
    end
    misuse("there is no row " .. id)
end

-- The rows that can be measured here.
local function possible()
    local list = {}
    for _, row in ipairs(rows) do
        if not row.needs or os.execute("command -v " .. row.needs .. " >/dev/null") then list[#list + 1] = row end
    end
    return list
end

local function parse(words)
    local options, i = { rows = {} }, 1
    while words[i] do
        local word = words[i]
        if word == "--help" then
            io.write(usage)
            os.exit(0)
        elseif word == "--quick" then
            options.quick = true
        elseif flags[word] then
            i = i + 1
            flags[word](options, words[i])
        elseif word:find("^%-") then
            misuse("unknown option " .. word)
        else
            table.insert(options.rows, row_named(word))
        end
        i = i + 1
    end
    options.rounds = options.rounds or (options.quick and 3 or 21)
    if #options.rows == 0 then options.rows = possible() end
    return options
end

-- What stands before each command.
local function prefix(cpus, quick)
    local words = quick and { "env", "BENCH_QUICK=1" } or {}
    if not cpus then return words end
    return table.move({ "env", "BENCH_CPUS=" .. cpus, "taskset", "-c", (cpus:gsub("/", ",")) }, 1, 5, #words + 1, words)
end

-- The hosts of the rows' peers, and of yardsticks: those that are here by name, and two
-- lists of what to say.
local function find_hosts(wanted)
    local hosts, seen, present, absent = {}, {}, {}, {}
    for _, row in ipairs(wanted) do
        local list = { table.unpack(row.peers) }
        if row.base and row.base.host then list[#list + 1] = row.base end
        for _, peer in ipairs(list) do
            local host = peer.host
            if not seen[host] and host ~= "luamp" then
                seen[host] = true
                hosts[host] = machine.find(host)
                local found = hosts[host]
                table.insert(found and present or absent,
                    found and { name = host, version = found.version, path = found.path } or host)
            end
        end
    end
    return hosts, present, absent
end

local function say(format, ...)
    io.write(string.format(format, ...), "\n")
    io.flush()
end

local function ping_pong(build, where)
    local seconds, pair = machine.ping_pong(build, where)
    if not seconds then return "one CPU, so none", nil end
    return string.format("%s between CPUs %s", report.amount(seconds, "ns"), pair), seconds
end

local function say_head(result, trip)
    local where, words = result.machine, {}
    for i, peer in ipairs(result.peers) do words[i] = peer.name .. " " .. peer.version end
    say("%s; %d rounds, interleaved; medians of the rounds' ratios [and quartiles]%s", result.luamp,
        result.rounds, result.quick and "; quick, so that the figures mean little" or "")
    say("machine    %s; %s", where.system, where.model)
    say("CPUs       online %s, allowed %s, pinned: %s; governor: %s", where.online, where.allowed,
        where.pinned, where.governor)
    say("placement  spin ping-pong at start: %s", trip)
    say("load       %s at start", where.load)
    say("peers      %s; absent: %s", #words > 0 and table.concat(words, ", ") or "none",
        #result.absent > 0 and table.concat(result.absent, ", ") or "none")
end

local function measure_row(row, result, setup)
    local contenders = measure.contenders(row, setup)
    measure.rounds(contenders, result.rounds, setup)
    local judged = report.judge(row, contenders)
    table.insert(result.rows, judged)
    say("\n%s", table.concat(report.lines(judged), "\n"))
end

local function open(path, mode)
    local file, why = io.open(path, mode)
    return file or error(why, 0)
end

-- Where the raw numbers go. That it can be written is found out before
-- anything is measured, not after.
local function destination(path)
    if not path then
        shell.read({ "mkdir", "-p", bench .. "/results" }, true)
        path = bench .. "/results/" .. os.date("!%Y%m%dT%H%M%SZ") .. ".json"
    end
    open(path, "a"):close()
    return path
end

-- After each row, so that none is lost by one that fails.
local function save(result, path)
    local file = open(path, "w")
    assert(file:write(json.encode(result)))
    assert(file:close())
end

local function draw(options)
    local file <close> = open(options.draw, "r")
    local result = json.decode(file:read "a")
    if type(result) ~= "table" or not result.rows then error(options.draw .. " holds no raw numbers", 0) end
    local path = options.svg or bench .. "/../docs/bench.svg"
    local out = open(path, "w")
    assert(out:write(chart.draw(result)))
    assert(out:close())
    say("chart: %s", path)
end

local function main(luamp, build, words)
    local options = parse(words)
    if options.draw then return draw(options) end
    local path = destination(options.json)
    local hosts, present, absent = find_hosts(options.rows)
    local result = {
        luamp = require "luamp"._VERSION, started = os.date("!%Y-%m-%dT%H:%M:%SZ"),
        rounds = options.rounds, quick = options.quick or false,
        machine = machine.describe(options.cpus), peers = present, absent = absent, rows = {},
    }
    local setup = {
        luamp = luamp, build = build, bench = bench, hosts = hosts,
        prefix = prefix(options.cpus, options.quick),
        divisor = options.quick and 10 or 1,
    }
    local trip
    trip, result.machine.ping_pong_at_start = ping_pong(build, result.machine)
    say_head(result, trip)
    for _, row in ipairs(options.rows) do
        measure_row(row, result, setup)
        save(result, path)
    end
    trip, result.machine.ping_pong_at_end = ping_pong(build, result.machine)
    say("\nplacement  spin ping-pong at end: %s", trip)
    save(result, path)
    say("raw numbers: %s", path)
end

local ok, why = pcall(main, arg[1], arg[2], { table.unpack(arg, 3) })
if not ok then
    io.stderr:write("bench/run: ", tostring(why), "\n")
    os.exit(1)
end
