-- forkserver_kills_spec.lua: a forkserver that is killed or stopped at random moments,
-- while its creator starts one process after the other: each function runs once, and
-- ends as it should. LUAMP_KILLS says how many signals there are (25).
local helper = require "spec.helper"
local driver = require "spec.driver"

local kills = math.tointeger(tonumber(os.getenv "LUAMP_KILLS" or 25))
local seed = math.tointeger(tonumber(os.getenv "LUAMP_SPEC_SEED")) or os.time()

-- The killer is a forked child, which looks for its parent's forkserver. Between two
-- signals a function has run, in whose line of the log it sees that: so no start has
-- to do with more than two.
local script = [[
local log, kills, seed = arg[1], tonumber(arg[2]), tonumber(arg[3])
local kill, lfs = require "killer", require "lfs"
local main = mp.getpid()

local FORKED = 0x40 -- of the kernel's flags: has not run exec; so is a child that has the server's name yet

local function server()
    for pid in lfs.dir "/proc" do
        local file <close> = pid:find "^%d+$" and io.open("/proc/" .. pid .. "/stat") or nil
        local comm, state, parent, flags = (file and file:read "a" or "")
            :match "%((.*)%) (%a) (%d+) %d+ %d+ %d+ %-?%d+ (%d+)"
        local is_its = comm == "luamp-server" and math.tointeger(parent) == main
        if is_its and state ~= "Z" and tonumber(flags) & FORKED == 0 then
            return math.tointeger(pid)
        end
    end
end

local killer = mp.process { start_method = "fork", target = function()
    math.randomseed(seed)
    local file, killed, stopped, seen = io.open(log), 0, 0, 0
    repeat
        repeat
            mp.sleep(math.random() * 0.01)
            local size = file:seek "end"
        until size > seen
        local pid = server()
        if pid then
            local stops = math.random(4) == 1
            kill(pid, stops and 19 or 9)
            stopped, killed = stopped + (stops and 1 or 0), killed + (stops and 0 or 1)
            seen = file:seek "end"
        end
    until killed + stopped >= kills
    return killed, stopped
end }:start()

local function work(i, text)
    local file <close> = io.open(log, "a")
    file:write(i, "\n")
    if i % 3 == 0 then os.exit(i % 100) end
    if i % 3 == 1 then mp.sleep(0.005) end
    return i, #text
end

local running, n = {}, 0
local function finish(p, i)
    p:join(30)
    assert(p.exitcode == (i % 3 == 0 and i % 100 or 0), ("%d ended with %s"):format(i, p.exitcode))
    if i % 3 ~= 0 then
        local a, b = p:result()
        assert(a == i and b == (i % 5 == 0 and 100000 or 1), ("%d: %s, %s"):format(i, a, b))
    end
    p:close()
end
repeat
    n = n + 1
    running[n] = mp.process { start_method = "forkserver", stderr = n % 2 == 0 and "null" or nil,
        target = work, args = { n, ("x"):rep(n % 5 == 0 and 100000 or 1) } }:start()
    if n > 3 then finish(running[n - 3], n - 3) running[n - 3] = nil end
until not killer:is_alive()
for i = n - 2, n do finish(running[i], i) end
print(main, n, killer:result())
]]

describe("a forkserver", function()
    it(("at %d random moments killed or stopped is not missed, and leaves nothing"):format(kills), function()
        local log = helper.tmpdir() .. "/log"
        helper.write(log, "")
        local text = helper.script("local mp = require 'luamp'\n" .. script)
        local where = "LUAMP_SPEC_SEED=" .. seed
        local result = helper.run(("timeout %d setsid -w %s %s %s %d %d"):format(30 + kills, helper.host, text,
            log, kills, seed), { env = { LUA_CPATH = helper.killer() } })
        assert.same({ 0, "" }, { result.status, result.stderr }, where)
        local group, n, killed = result.stdout:match "^(%d+)\t(%d+)\t(%d+)\t%d+\n$"
        assert.is_true(math.tointeger(killed) > kills // 3, where)
        local ran, expected = {}, {}
        for line in helper.read(log):gmatch "[^\n]+" do ran[#ran + 1] = math.tointeger(line) end
        for i = 1, math.tointeger(n) do expected[i] = i end
        table.sort(ran)
        assert.same(expected, ran, where)
        group = math.tointeger(group)
        helper.wait_until(function() return #driver.group(group) == 0 end, "the end of all", 1)
    end)
end)

-- A family of all methods whose main process is killed.
local family = [[
    local mp = require "luamp"
    print "ready"
    io.stdout:flush()
    local function start(method, target, ...)
        return mp.process { start_method = method, target = target, args = { ... } }:start()
    end
    local large = ("x"):rep(100000)
    while true do
        start("forkserver", mp.sleep, 1000)
        start("spawn", mp.sleep, 1000)
        start("forkserver", function(text)
            start("spawn", mp.sleep, 1000)
            start("forkserver", mp.sleep, 1000)
            start("fork", mp.sleep, #text)
            mp.sleep(1000)
        end, large)
    end
]]

it(("SIGKILL of the main process at %d random moments leaves nothing"):format(kills), function()
    math.randomseed(seed)
    for i = 1, kills do
        local killed = driver.signalled { script = family, signal = "KILL", alone = true,
            delay = math.random() * (helper.sanitized and 0.5 or 0.1) }
        assert.same({ 137, "" }, { killed.status, killed.stderr })
        helper.wait_until(function() return #driver.group(killed.group) == 0 end,
            ("the end of all, in round %d of LUAMP_SPEC_SEED=%d"):format(i, seed), 0.5)
    end
end)
