-- collector_spec.lua: what a child and its parent copy of a large heap, and whose the collector's mode is.
--
-- What is copied is what is no longer shared, by the kernel's own count (smaps): a process's new memory
-- is private from the start. Pages of files are not counted: those of a program that has just been built are
-- dirty until the system has written them out, which may be at any moment.
local helper = require "spec.helper"

local N = helper.sanitized and 200000 or 4500000 -- tables, of 112 bytes: 500 MB
local FEW = 250000 -- 28 MB

-- The beginning of the scripts: a table of n tables, and functions for the children.
local function prelude(n)
    return ([[
        local n, is_sanitized = %d, %s
        local list = {}
        for i = 1, n do list[i] = { i, x = i } end
        local heap = collectgarbage "count"

        local function shared()
            local kib, is_file = 0
            for line in io.lines "/proc/self/smaps" do
                local inode = line:match "^%%x+%%-%%x+ %%S+ %%x+ %%x+:%%x+ (%%d+)"
                if inode then is_file = inode ~= "0" end
                kib = kib + (not is_file and line:match "^Shared_%%a+:%%s+(%%d+)" or 0)
            end
            return kib
        end

        -- How many percent of the heap f() makes its own, in what this process shares with others.
        local function copied_by(f, ...)
            local before = shared()
            f(...)
            return is_sanitized and 0 or (before - shared()) / heap * 100
        end

        local function read()
            local sum = 0
            for i = 1, n do sum = sum + list[i].x + list[i][1] end
            for _, t in ipairs(list) do for _, v in pairs(t) do sum = sum + v end end
            assert(sum == n * (n + 1) * 2)
        end

        local function allocate(k)
            for i = 1, k do local t = { i } end
        end

        local function in_child(options, f, ...)
            options.target, options.args = copied_by, { f, ... }
            return mp.process(options):start():result()
        end

        local function copies(what, percent, most)
            print(what, percent <= most and "few" or ("%%.2f %%%%"):format(percent))
        end
    ]]):format(n, helper.sanitized)
end

local function run(n, text, before)
    local result = helper.script_run(prelude(n) .. text, before)
    assert.same({ 0, "" }, { result.status, result.stderr })
    return result.stdout
end

describe("over a table of 500 MB", function()
    it("children and the workers of a pool copy next to nothing, whatever they read and allocate", function()
        local many = helper.sanitized and 100000 or 30000000
        assert.equal("a reader\tfew\nwho allocates 2 M tables\tfew\nwho allocates 30 M\tfew\n"
            .. ("a worker\tfew\n"):rep(4) .. "the next process\tfew\n", run(N, ([[
            local many = %d
            copies("a reader", in_child({}, read), 0.5)
            copies("who allocates 2 M tables", in_child({}, allocate, many // 15), 2)
            copies("who allocates 30 M", in_child({ daemon = true }, allocate, many), 2)
            local pool <close> = mp.pool { workers = 4, init = function() -- here upvalues are inherited
                function mp.worker.work()
                    return copied_by(function()
                        read()
                        allocate(many // 4)
                    end)
                end
            end }
            local starts, futures = mp.barrier(4), {}
            for i = 1, 4 do
                futures[i] = pool:submit(function()
                    starts:wait()
                    return mp.worker.work()
                end)
            end
            for _, f in ipairs(futures) do copies("a worker", f:result(), 2) end
            copies("the next process", in_child({}, allocate, many // 4), 2)]]):format(many)))
    end)
end)

if helper.sanitized then return end -- its heap is not ours

describe("over a heap that is large", function()
    it("the first start makes no cycle, a pool makes a full one, and only growth makes another", function()
        assert.equal("false\tfalse\ttrue\tfalse\tfalse\tfalse\ttrue\n", run(FEW, [[
            local guards, gone, i = {}, {}, 0
            for k = 1, 7 do guards[k] = setmetatable({}, { __gc = function() gone[k] = true end }) end
            allocate(3 * n) -- now they are old
            local function has_cycle(f) -- a full one
                i = i + 1
                guards[i] = nil
                f()
                return gone[i] or false
            end
            local function lone() mp.process(function() end):start():join() end
            local function pool() local p <close> = mp.pool(1) end
            local function none() end
            print(has_cycle(none), has_cycle(lone), has_cycle(pool), has_cycle(pool), has_cycle(lone),
                (function()
                    for i = n + 1, n + n // 20 do list[i] = { i, x = i } end
                    return has_cycle(pool)
                end)(),
                (function()
                    for i = n + 1, n * 2 do list[i] = { i, x = i } end
                    return has_cycle(pool)
                end)())]]))
    end)

    it("a lone process that does not allocate more than a part of it copies nothing", function()
        assert.equal("alone\tfew\n", run(200000, [[copies("alone", in_child({}, allocate, n), 2)]]))
    end)

    it("a daemon that is started after a lone process copies nothing", function()
        assert.equal("a daemon\tfew\n", run(200000, [[
            in_child({}, read)
            copies("a daemon", in_child({ daemon = true }, allocate, n * 10), 2)]]))
    end)

    it("after a lone process that came to a collection, the next ones copy nothing", function()
        assert.equal("the first\tmuch\nthe second\tfew\nthe third\tfew\n", run(FEW, [[
            local first = in_child({}, allocate, n * 10)
            print("the first", first > 10 and "much" or first)
            copies("the second", in_child({}, allocate, n * 10), 2)
            copies("the third", in_child({}, allocate, n * 10), 2)]]))
    end)

    -- But for the pages with holes that it fills: some of the 2 MB that were garbage when the list had been made.
    it("a parent that allocates copies nothing of what its children share", function()
        assert.equal("with a daemon\tfew\nwith a lone one\tfew\n", run(FEW, [[
            local function with(options, k)
                local go, done = mp.event(), mp.event()
                options.target = function()
                    return copied_by(function()
                        go:set()
                        done:wait()
                    end)
                end
                local p <close> = mp.process(options):start()
                go:wait()
                allocate(k)
                done:set()
                return p:result()
            end
            copies("with a daemon", with({ daemon = true }, n * 10), 10)
            for i = n + 1, 2 * n do list[i] = { i, x = i } end -- is not settled any more
            copies("with a lone one", with({}, n // 8), 10)]]))
    end)

    it("a daemon copies nothing, whatever has come or gone since the last full cycle", function()
        assert.equal("grown\tfew\nreplaced\tfew\nsettled by cycles of Lua's\tfew\n", run(FEW, [[
            local function daemon(what) copies(what, in_child({ daemon = true }, allocate, n * 10), 2) end
            do local p <close> = mp.pool(1) end
            for i = n + 1, n + n // 6 do list[i] = { i, x = i } end
            daemon "grown"
            for k = 1, 5 do
                for i = k, n, 6 do list[i] = { i, x = i } end
            end
            daemon "replaced"
            list = nil
            list = {}
            for i = 1, n do list[i] = { i, x = i } end
            allocate(n * 10) -- Lua falls into full cycles
            local rest = list
            list = {}
            for i = 1, n // 6 do list[i] = { i, x = i } end
            daemon "settled by cycles of Lua's"]]))
    end)

    it("the script's own full cycle is enough before a pool", function()
        assert.equal("a daemon\tfew\n", run(FEW, [[
            collectgarbage()
            copies("a daemon", in_child({ daemon = true }, allocate, n * 10), 2)]]))
    end)

    it("a full collection in a child copies the heap, and says so here", function()
        assert.equal("much\n", run(FEW, [[
            print(in_child({}, collectgarbage) > 10 and "much" or "few")]]))
    end)
end)

describe("a collector that the script has set", function()
    for what, code in pairs {
        incremental = "collectgarbage 'incremental'", generational = "collectgarbage 'generational'",
        paused = "collectgarbage('setpause', 150)",
    } do
        it(("is left alone, as it was: %s"):format(what), function()
            local script = code .. [[
                local function has_cycle(f)
                    local collected = false
                    do setmetatable({}, { __gc = function() collected = true end }) end
                    f()
                    return collected
                end
                print(has_cycle(function() local p <close> = mp.pool(1) end))
                print(mp.process(function() return collectgarbage "generational" end):start():result())
                print(collectgarbage "generational")]]
            local mode = what == "incremental" and what or "generational"
            assert.equal(("false\n%s\n%s\n"):format(mode, mode), run(FEW, script))
        end)
    end

    it("is left alone also when that was before luamp was loaded", function()
        local script = helper.script("collectgarbage 'incremental'\nlocal mp = require 'luamp'\n" .. prelude(FEW) .. [[
            do local p <close> = mp.pool(1) end
            in_child({ daemon = true }, allocate, 10)
            print(collectgarbage "incremental")]])
        assert.same({ status = 0, stdout = "incremental\n", stderr = "" }, helper.run(helper.host .. " " .. script))
    end)

    it("and stopped does not run, in the child and after it", function()
        assert.equal("false\tfalse\t100000\n", run(FEW, [[
            collectgarbage "stop"
            local before = collectgarbage "count"
            local stays = in_child({ daemon = true }, function() assert(not collectgarbage "isrunning") end) <= 2
            do local p <close> = mp.pool(1) end
            allocate(100000)
            print(collectgarbage "isrunning", collectgarbage "count" < before, stays and 100000)]]))
    end)
end)

it("the mode that nobody has set is told as it is, whatever was started", function()
    assert.equal("generational\tincremental\ttrue\t0\n", run(FEW, [[
        do local p <close> = mp.pool(2) end
        mp.process(function() end):start():join()
        print(collectgarbage "incremental", collectgarbage "incremental", collectgarbage "isrunning",
            collectgarbage "collect")]]))
end)

it("messages of collectgarbage are Lua's own", function()
    local text = "bad argument #1 to 'collectgarbage' (invalid option 'all')"
    helper.fails(text, function() collectgarbage "all" end)
    helper.fails("bad argument #2 to 'collectgarbage' (number expected, got string)", function()
        collectgarbage("step", "x")
    end)
end)

describe("LUAMP_COLLECTOR", function()
    it("switches it off", function()
        assert.equal("much\n", run(FEW, [[
            print(in_child({ daemon = true }, allocate, n * 10) > 10 and "much" or "few")]],
            "export LUAMP_COLLECTOR=off"))
    end)

    it("is on as 'auto', and anything else is told", function()
        assert.equal("few\n", run(FEW, [[
            print(in_child({ daemon = true }, allocate, n * 10) > 10 and "much" or "few")]],
            "export LUAMP_COLLECTOR=auto"))
        assert.equal("LUAMP_COLLECTOR must be 'auto' or 'off', not 'maybe'\n", run(FEW, [[
            local ok, e = pcall(in_child, {}, read)
            print(e:match "LUAMP_COLLECTOR must.*")]], "export LUAMP_COLLECTOR=maybe"))
    end)
end)
