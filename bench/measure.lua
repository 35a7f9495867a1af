-- Interleaved measuring: every round runs the yardstick, luamp and each peer
-- once, so that each ratio is one between neighbours in time. What the machine
-- does to one of them in a minute, it does to all.
local shell = require "shell"

local measure = {}

-- A failure of a program that was to be measured; nothing else is one.
local function fail(c, why)
    error(string.format("row %s, %s: %s", c.row.id, c.name, why), 0)
end

local function contender(row, kind, name, argv, count)
    return { row = row, kind = kind, name = name, argv = argv, count = count or row.count }
end

local function of_luamp(folder, args, setup)
    return { setup.luamp, ("%s/%s/luamp.lua"):format(setup.bench, folder), table.unpack(args) }
end

local function of_yardstick(row, args, setup)
    local base = row.base or {}
    local folder = base.folder or row.folder
    args = base.args or args
    if base.host == "luamp" then return of_luamp(folder, args, setup) end
    if base.host then
        local host = setup.hosts[base.host] or error(("row %s needs %s"):format(row.id, base.host), 0)
        return { host.path, ("%s/%s/luamp.lua"):format(setup.bench, folder), table.unpack(args) }
    end
    return { setup.build .. "/" .. folder, table.unpack(args) }
end

-- The contenders of a row, the yardstick first and luamp second. `setup` has
-- `luamp`, `build` and `bench` (paths) and `hosts` (as machine.find tells).
function measure.contenders(row, setup)
    local folder = setup.bench .. "/" .. row.folder .. "/"
    local args = row.args or {}
    local list = {
        contender(row, "yardstick", row.yardstick, of_yardstick(row, args, setup)),
        contender(row, "luamp", "luamp", of_luamp(row.folder, args, setup)),
    }
    for _, peer in ipairs(row.peers) do
        local host = setup.hosts[peer.host]
        if host then
            local name = peer.host .. ", " .. peer.label
            local argv = peer.host == "C" and { list[1].argv[1] } or { host.path, folder .. peer.file }
            table.move(peer.args or {}, 1, #(peer.args or {}), #argv + 1, argv)
            local c = contender(row, "peer", name, argv, peer.count)
            c.lead = peer.lead
            list[#list + 1] = c
        end
    end
    return list
end

local function lines(text)
    local list = {}
    for line in text:gmatch("[^\n]+") do list[#list + 1] = line end
    return list
end

-- All but the last in any order: which of two processes prints first is open.
local function same_output(text, expected)
    local got, want = lines(text), { table.unpack(expected) }
    if got[#got] ~= want[#want] then return false end
    table.sort(got)
    table.sort(want)
    return table.concat(got, "\n") == table.concat(want, "\n")
end

-- A program that is fast because it does something else is not measured.
function measure.check(c)
    if not c.row.output then return end
    local text, failure = shell.read(c.argv)
    if not text then fail(c, "failed: " .. failure) end
    if not same_output(text, c.row.output) then fail(c, "it printed\n" .. text) end
end

-- One round's part of a contender: the seconds of one operation.
local function sample(c, setup)
    local argv = { table.unpack(setup.prefix) }
    local count = string.format("%d", math.max(1, c.count // setup.divisor))
    if c.row.how == "whole" then table.move({ setup.build .. "/timer", count }, 1, 2, #argv + 1, argv) end
    table.move(c.argv, 1, #c.argv, #argv + 1, argv)
    if c.row.how == "loop" then argv[#argv + 1] = count end
    local text, failure = shell.read(argv)
    if not text then fail(c, "failed: " .. failure) end
    local seconds = tonumber(text)
    if not seconds or not (seconds > 0 and seconds < math.huge) then
        fail(c, "it printed no time but\n" .. text)
    end
    return seconds
end

-- Gives each contender its `seconds`, one number a round.
function measure.rounds(contenders, rounds, setup)
    for _, c in ipairs(contenders) do
        measure.check(c)
        c.seconds = {}
    end
    for round = 1, rounds do
        for _, c in ipairs(contenders) do c.seconds[round] = sample(c, setup) end
    end
end

return measure
