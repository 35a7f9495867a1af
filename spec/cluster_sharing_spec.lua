-- cluster_sharing_spec.lua: what nobody has begun is shared among the workers of all hosts.
local helper = require "spec.helper"
local launcher = require "spec.launcher"

local it_spans, prints = launcher.it, launcher.prints

describe("tasks", function()
    -- A task that is `held` ends when all others have: none of them may wait behind it, wherever it runs.
    local held = [[
        local folder <const>, n_held <const>, n <const> = arg[1], 2, 40
        local function there(i) return io.open(folder .. "/" .. i) ~= nil end
        local function work(i)
            if i > n_held then
                io.open(folder .. "/" .. i, "w"):close()
                return i
            end
            for other = n_held + 1, n do
                while not there(other) do mp.sleep(0.005) end
            end
            return i
        end
        local pool <close> = mp.pool { workers = 3 }
    ]]

    local function ends(code)
        prints("820\n", held .. code, { arguments = helper.tmpdir(), env = { LUAMP_CPUS = "1" } })
    end

    for _, chunksize in ipairs { "nil", "1", "4", "20" } do
        it_spans("of a map that others wait behind share these, chunksize " .. chunksize, function()
            ends(([[
                local sum = 0
                for _, i in ipairs(pool:map(work, mp.range(1, n), { chunksize = %s })) do sum = sum + i end
                print(sum)
            ]]):format(chunksize))
        end)
    end

    for what, code in pairs {
        ["of an iterator"] = "for _, i in pool:imap_unordered(work, mp.range(1, n)) do sum = sum + i end",
        ["with tables"] = [[
            local function of_table(t) return work(t[1]) end
            local list = {}
            for i = 1, n do list[i] = { i } end
            for _, i in ipairs(pool:map(of_table, list, { chunksize = 1 })) do sum = sum + i end]],
        ["that were submitted"] = [[
            local futures = {}
            for i = 1, n do futures[i] = pool:submit(work, i) end
            for _, i in ipairs(mp.all(futures)) do sum = sum + i end]],
        ["that are functions"] = [[
            local futures = {}
            for i = 1, n do
                local function own() return work(i) end
                futures[i] = pool:submit { target = own, retries = 1 }
            end
            for _, i in ipairs(mp.all(futures)) do sum = sum + i end]],
    } do
        it_spans(what .. " do not wait behind one that runs", function()
            ends("local sum = 0\n" .. code .. "\nprint(sum)")
        end)
    end

    it_spans("that wait are moved as they were given, and made by their workers alone", function()
        prints("old\twas here\t2\tnil\tnil\n", [[
            x, gone = "old", "was here"
            local meta = { __mp_send = function() return function() was_received = true return 1 end end }
            local object = setmetatable({}, meta)
            local pool <close> = mp.pool { hosts = { 0, 1 }, workers = 2 }
            local slow, short = pool:submit(mp.sleep, 60), pool:submit(mp.sleep, 0.2)
            local futures = {}
            for i = 1, 4 do -- one at least waits here
                futures[i] = pool:submit(function() return object, x, gone, mp.worker.id end)
            end
            x, gone = "new", nil
            for i = 1, 4 do
                local _, its_x, its_gone, id = futures[i]:result(30)
                if i == 4 then print(its_x, its_gone, id, gone, was_received) end
            end
            slow:cancel()
        ]], { env = { LUAMP_CPUS = "1" } })
    end)

    it_spans("go to a free worker of another host, and wait for none here that is not ready", function()
        prints("2\n", [[
            local pool = mp.pool { hosts = { 0, 1 }, workers = 2, initargs = { arg[1] .. "/init" },
                init = function(path)
                    if mp.worker.id ~= 1 then return end
                    if io.open(path) then mp.sleep(60) else io.open(path, "w"):close() end
                end }
            while pcall(pool.apply, pool, function() os.exit(mp.worker.id == 1 and 3 or 0) end) do end
            print(pool:apply(function() return mp.worker.id end))
            pool:terminate()
        ]], { arguments = helper.tmpdir() })
    end)

    it_spans("are shared also while one of the hosts says nothing", function()
        prints("true\n", [[
            local pid = mp.map(function() return mp.getppid() end, { 1 }, { hosts = { 1 } })[1] -- which serves there
            local pool = mp.pool { workers = 3 }
            local slow = { pool:submit(mp.sleep, 60), pool:submit(mp.sleep, 60), pool:submit(mp.sleep, 1) }
            local futures = {}
            for i = 1, 3 do futures[i] = pool:submit(math.abs, -i) end
            os.execute("kill -STOP " .. pid)
            print(#mp.wait({ futures[1] }, 20) == 1) -- which waits here
            os.execute("kill -CONT " .. pid)
            for _, fut in ipairs(slow) do fut:cancel() end
            pool:terminate()
        ]], { env = { LUAMP_CPUS = "1", LUAMP_HOST_TIMEOUT = "60" } })
    end)
end)
