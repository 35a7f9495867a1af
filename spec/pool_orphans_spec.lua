-- What a task has started goes with it, by whatever end; and a pool with all that it has goes with its
-- owner. LUAMP_SPEC_SEED makes the same choices again.
local helper = require "spec.helper"
local driver = require "spec.driver"
local mp = require "luamp"

local seed = math.tointeger(tonumber(os.getenv "LUAMP_SPEC_SEED" or os.time()))

-- A task's own end by that signal: what it is told to do at once.
local function die(signal)
    os.execute(("kill -%s %d"):format(signal, mp.getpid()))
    while true do mp.sleep(1000) end
end

describe("the processes that a task has started go with it:", function()
    -- Starts one of each, and says so in files; then does what it is told.
    local function with_children(dir, how)
        local function note(name, pid)
            local file <close> = io.open(dir .. "/new " .. name, "w")
            file:write(pid)
            file:close()
            os.rename(dir .. "/new " .. name, dir .. "/" .. name)
        end
        note("command", mp.process { command = { "sleep", "1000" } }:start().pid)
        note("function", mp.process { target = function()
            note("its child", mp.process { command = { "sleep", "1000" } }:start().pid)
            mp.sleep(1000)
        end }:start().pid)
        while not io.open(dir .. "/its child") do mp.sleep(0.002) end
        os.execute(("sleep 1000 >/dev/null 2>&1 & echo $! >'%s/background'"):format(dir))
        note("worker", mp.getpid())
        if how == "end" then return "ended" end
        if how == "error" then error "wrong" end
        if how == "kill" then die "KILL" end
        if how == "exit" then os.exit(3) end
        mp.sleep(1000)
    end

    local function pids(dir)
        local found = {}
        for _, name in ipairs { "command", "function", "its child", "background" } do
            local ok, text = pcall(helper.read, dir .. "/" .. name)
            found[#found + 1] = ok and math.tointeger(tonumber(text)) or nil
        end
        return found
    end

    local function are_gone(dir)
        return function()
            for _, pid in ipairs(pids(dir)) do
                if helper.alive(pid) then return false end
            end
            return true
        end
    end

    -- f(pool, future, dir) makes it end.
    local function check(how, n, f, options)
        local dir = helper.tmpdir()
        local pool <close> = mp.pool(2)
        options = options or {}
        options.target, options.args = with_children, { dir, how }
        local future = pool:submit(options)
        f(pool, future, dir)
        assert.equal(n, #pids(dir))
        helper.wait_until(are_gone(dir), "the end of what the task started", 1)
    end

    local function started(pool, dir)
        helper.wait_until(function()
            pool:stats()
            local file = io.open(dir .. "/worker")
            return file and file:close()
        end, "the task")
    end

    it("at its end", function()
        check("end", 4, function(_, future)
            assert.equal("ended", future:result(20))
        end)
        check("error", 4, function(_, future)
            helper.fails("wrong", future.result, future, 20)
        end)
    end)

    it("when its worker is killed or leaves", function()
        check("kill", 4, function(_, future)
            helper.fails({ kind = "signal", signal = "SIGKILL" }, future.result, future, 20)
        end)
        check("exit", 4, function(_, future)
            helper.fails({ kind = "exit", exitcode = 3 }, future.result, future, 20)
        end)
    end)

    it("when it is cancelled", function()
        check("wait", 4, function(pool, future, dir)
            started(pool, dir)
            assert.is_true(future:cancel())
            assert.equal(9, pool:apply(function() return 9 end))
        end)
    end)

    it("when it has run for too long", function()
        check("wait", 4, function(_, future)
            helper.fails({ kind = "timeout" }, future.result, future, 20)
        end, { timeout = 1 })
    end)

    it("when the pool is terminated", function()
        check("wait", 4, function(pool, future, dir)
            started(pool, dir)
            pool:terminate()
            helper.fails({ kind = "cancelled" }, future.result, future)
        end)
    end)
end)

it("a pool that is terminated has nothing any more, whatever it had to do", function()
    local result = helper.script_run [[
        local function usage()
            collectgarbage()
            collectgarbage()
            local kinds = mp.memory().kinds
            return ("%d boards, %d messages, %d structures, %d handles"):format(kinds.boards.count,
                kinds.messages.count, kinds.structures.count, kinds.handles.count)
        end
        local function use()
            local pool = mp.pool(2)
            local list = pool:map_async(function(text) mp.sleep(1000) end, { ("x"):rep(1000), ("y"):rep(1000), 3, 4 })
            local one = pool:submit(function() end)
            pool:terminate()
            print(list.error.kind, one.error.kind)
        end
        mp.pool(1):terminate()
        local before = usage()
        use()
        print(before == usage() or usage())]]
    assert.same({ status = 0, stdout = "cancelled\tcancelled\ntrue\n", stderr = "" }, result)
end)

describe("the owner of a pool, during a map,", function()
    -- Its workers are at work in every way when it is ready.
    local family = [[
        local mp = require "luamp"
        local pool = mp.pool { workers = 4 }
        local function work(i)
            if i == 1 then
                mp.process { command = { "sleep", "1000" } }:start()
                mp.process { target = function() mp.sleep(1000) end }:start()
                mp.sleep(0.02)
                print "ready"
                io.stdout:flush()
                mp.sleep(1000)
            elseif i == 2 then
                while true do end
            elseif i == 3 then
                os.execute(("kill -STOP %d"):format(mp.getpid()))
            elseif i % 50 == 0 then
                os.exit(1)
            end
            return ("x"):rep(i % 300)
        end
        local function map() return pool:map(work, mp.range(1, 1 << 40), { on_error = "collect" }) end
    ]]

    local function is_gone(group)
        return function() return #driver.group(group) == 0 end
    end

    local function assert_ended(result, status, word)
        assert.equal(status, result.status)
        assert.matches("^[^\n]*luam?p?[0-9.]*: " .. word .. "\n$", result.stderr)
        helper.wait_until(is_gone(result.group), "the end of all", 0.5)
    end

    it("is interrupted by Ctrl-C: status 130, one line, nobody left", function()
        for _, alone in ipairs { false, true } do
            for round = 1, 5 do
                assert_ended(driver.signalled { script = family .. "map()", signal = "INT", alone = alone,
                    delay = round * 0.02 }, 130, "interrupted")
            end
        end
    end)

    it("is ended by SIGTERM: status 143, one line, nobody left", function()
        assert_ended(driver.signalled { script = family .. "map()", signal = "TERM", alone = true, delay = 0.05 },
            143, "interrupted by SIGTERM")
    end)

    it("is killed, and takes all with it within 500 ms, at any moment", function()
        math.randomseed(seed)
        for round = 1, 20 do
            local killed = driver.signalled { script = family .. "map()", signal = "KILL", alone = true,
                delay = math.random() * 0.1 }
            assert.equal(137, killed.status)
            helper.wait_until(is_gone(killed.group), ("the end of round %d with seed %d"):format(round, seed), 0.5)
        end
    end)

    it("catches Ctrl-C, and the pool goes on", function()
        local result = driver.signalled { script = family .. [[
            local ok, e = pcall(map)
            print(ok, e.kind, e.signal)
            local list = pool:map(function(i) return i * i end, mp.range(1, 100))
            print(#list, list[100])
            local ends = mp.clock() + 10
            while pool:stats().running > 0 and mp.clock() < ends do mp.wait({}, 0.01) end
            print(pool:stats().running)
            pool:close()
            print(pool:join(20))]], signal = "INT", delay = 0.05 }
        assert.same({ 0, "false\tinterrupted\tSIGINT\n100\t10000\n0\ntrue\n", "" },
            { result.status, result.stdout, result.stderr })
        helper.wait_until(is_gone(result.group), "the end of all", 0.5)
    end)
end)
