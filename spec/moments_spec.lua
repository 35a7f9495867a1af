-- moments_spec.lua: a signal at any moment of a busy family ends it in order, or
-- is handled in order. LUAMP_ROUNDS says how many moments (40).
local helper = require "spec.helper"
local driver = require "spec.driver"

local rounds = math.tointeger(tonumber(os.getenv "LUAMP_ROUNDS" or 40))

-- All that luamp does, again and again; a failure that an interruption of one of
-- its programs brings is not the end.
local busy = [[
local mp = require "luamp"
local function add(n, more)
    for i = 1, more do n = n + i end
    return n, { n }
end
local steps = {
    function() assert(mp.process { target = add, args = { 1, 100 } }:start():result() == 5051) end,
    function() mp.process { command = { "true" } }:start():result() end,
    function()
        local p = mp.process { command = { "echo", "word" }, stdout = "capture" }:start()
        assert(p:result().stdout == "word\n")
    end,
    function()
        local p <close> = mp.process { target = mp.sleep, args = { 60 }, timeout = 60, daemon = true }:start()
        mp.wait({ p }, 0.001)
        p:stop()
    end,
    function()
        coroutine.wrap(function()
            mp.scope(function(s)
                s:start(add, 1, 1000)
                assert(s:start(add, 2, 1):result() == 3)
            end)
        end)()
    end,
    function() mp.process(function() mp.process(mp.getpid):start() return ("x"):rep(1 << 17) end):start():join() end,
    function() mp.sleep(0.001) end,
}
local told = {}
local function step(i)
    local ok, e = pcall(steps[i % #steps + 1])
    if not ok and (e == told or e.kind == "interrupted") then error(e, 0) end
end
]]

-- Runs `code` after it, and sends it the signal at a random moment. The group
-- has no member left when the main process has ended.
local function round(signal, alone, code)
    local delay = math.random() * (helper.sanitized and 0.4 or 0.1)
    local result = driver.signalled { script = busy .. code, signal = signal, alone = alone, delay = delay }
    helper.wait_until(function() return #driver.group(result.group) == 0 end, "the end of the group", 1)
    result.where = ("SIG%s after %.4f s"):format(signal, delay)
    return result
end

describe("at a random moment", function()
    it(("Ctrl-C and SIGTERM end a family, %d times"):format(rounds), function()
        for i = 1, rounds do
            local signal = i % 2 == 0 and "INT" or "TERM"
            local result = round(signal, signal == "TERM", [[
                print "ready"
                io.stdout:flush()
                for i = 1, math.huge do step(i) end]])
            assert.same({ result.where, signal == "INT" and 130 or 143, "" },
                { result.where, result.status, result.stdout }, result.stderr)
            assert.matches("^[^\n]*: interrupted[^\n]*\n$", result.stderr)
            assert.is_true(result.seconds < 5, result.where)
        end
    end)

    for what, set in pairs {
        ["with a handler"] = [[mp.on_signal("TERM", function() error { kind = "interrupted" } end)]],
        ["without"] = "",
    } do
        it(("a signal that arrives as a wait begins ends it, %s, %d times"):format(what, 3 * rounds), function()
            local result = helper.script_run(([[
                local kill = require "killer"
                local main = mp.getpid()
                local sender = mp.process { daemon = true, stdin = "pipe", target = function()
                    while io.read(1) do
                        for _ = 1, math.random(1000) do math.sin(1) end
                        kill(main, 15)
                    end
                end }:start()
                local many = {}
                for i = 1, 2000 do many[i] = sender:pollfd() end
                %s
                for i = 1, %d do
                    local before = mp.clock()
                    local ok, e = pcall(function()
                        sender.stdin:write "x":flush()
                        mp.wait(many, 3) -- which looks at each before it begins to wait
                    end)
                    if ok or e.kind ~= "interrupted" then print(i, ok, e) end
                    if mp.clock() - before > 2 then print(i, "was waited out") end
                end
                print "all"]]):format(set, 3 * rounds), nil, { env = { LUA_CPATH = helper.killer() } })
            assert.same({ 0, "all\n", "" }, { result.status, result.stdout, result.stderr })
        end)
    end

    it(("a handler is called, and its error ends what is done, %d times"):format(rounds), function()
        for _ = 1, rounds do
            local result = round("USR1", true, [[
                mp.on_signal("USR1", function() error(told) end)
                print "ready"
                io.stdout:flush()
                local ok, e = pcall(function() for i = 1, math.huge do step(i) end end)
                print(ok, e == told)
                print(pcall(steps[1]))
                for _, p in ipairs(mp.active_children()) do p:stop() end
                print(#mp.active_children())]])
            assert.same({ result.where, 0, "false\ttrue\ntrue\n0\n", "" },
                { result.where, result.status, result.stdout, result.stderr })
        end
    end)
end)
