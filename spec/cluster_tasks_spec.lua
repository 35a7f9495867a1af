-- cluster_tasks_spec.lua: what is promised of tasks and pools holds where the workers are on several hosts, too.
local launcher = require "spec.launcher"

local it_spans, printed, prints = launcher.it, launcher.printed, launcher.prints

describe("tasks of a pool over several hosts", function()
    it_spans("may end their pool by what they are made of, as on one host", function()
        prints("cancelled\ncancelled\ntrue\n", [[
            local function told(...) print(select(2, pcall(...)).kind) end
            local pool = mp.pool(6)
            local list = setmetatable({ n = 5 }, { __index = function(_, i)
                if i == 3 then pool:terminate() end
                return i
            end })
            told(pool.map, pool, math.abs, list)
            local sender = setmetatable({}, { __mp_send = function() pool:terminate() return tonumber, "3" end })
            pool = mp.pool(6)
            told(pool.map, pool, math.abs, { 1, sender, 3 })
            pool = mp.pool(6)
            pool:submit(math.abs, 2):wait()
            local ok, fut = pcall(pool.submit, pool, math.abs, sender)
            print(ok and fut:is_cancelled())
        ]])
    end)

    it_spans("leave what is known of them with a pool that has ended, however often it is asked", function()
        prints(("6 6 12 true\n"):rep(4), [[
            for _, how in ipairs { "terminate", "close" } do
                local pool = mp.pool(6)
                pool:map(math.abs, mp.range(1, 12), { chunksize = 1 })
                local done = pool:submit(math.abs, 1)
                done:wait()
                pool[how](pool)
                pool:join()
                for _ = 1, 2 do
                    local ids, n, tasks = {}, 0, 0
                    for _, w in ipairs(pool:stats().workers) do
                        ids[w.id], n, tasks = true, n + 1, tasks + w.tasks
                    end
                    local n_ids = 0
                    for id in pairs(ids) do n_ids = n_ids + (id <= 6 and 1 or 0) end
                    print(n .. " " .. n_ids .. " " .. tasks - 1 .. " " .. tostring(#mp.wait({ done:pollfd() }, 0) == 1))
                end
            end
        ]])
    end)

    it_spans("are refused with the culprit, also when they may run again or wait", function()
        local said = printed [[
            local q = mp.queue()
            local pool <close> = mp.pool(6)
            for _ = 1, 12 do -- wherever it would go
                local ok, e = pcall(function()
                    return pool:submit { target = math.abs, args = { 1, q }, retries = 1 }:result()
                end)
                print((tostring(e):match "^[^\n]*"))
            end
        ]]
        assert.equal(12, select(2, said:gsub("pool:submit: cannot send argument 2: it is shared by the processes of "
            .. "this host %(mp.queue%); send what it holds; on another host it is not there\n", "")), said)
    end)

    it_spans("go to a worker of another host that has nothing to do, and not behind one that runs here", function()
        prints("done\n", [[
            local pool = mp.pool { workers = 2, hosts = { 0, 1 } }
            pool:submit(mp.sleep, 60)
            repeat until pool:stats().workers[1].state == "busy"
            print(pool:submit(math.abs, -1):wait(20) and "done" or "waits")
            pool:terminate()
        ]])
    end)

    it_spans("have items that are read once where their list makes them, by whichever host", function()
        prints(("500\t500\n60\t60\n7\tlist\n"):rep(2), [[
            local function counting(n, make)
                local reads = {}
                return setmetatable({}, { __len = function() return n end, __index = function(_, i)
                    if i > n then return nil end
                    reads[#reads + 1] = i
                    return make(i)
                end }), reads
            end
            local function total(value) return type(value) == "table" and value[1] or value() end
            for rank = 0, 1 do
                local pool <close> = mp.pool { hosts = { rank }, workers = 1, engine = "mpi" }
                local list, reads = counting(500, function(i) return { i } end)
                print(#pool:map(total, list, { chunksize = 5 }), #reads)
                list, reads = counting(60, function(i) return function() return i end end)
                print(#pool:map(total, list, { chunksize = 1 }), #reads)
                list, reads = counting(20, function(i) return i == 7 and error("list", 0) or { i } end)
                local ok, e = pcall(pool.map, pool, total, list, { chunksize = 4 })
                print(not ok and reads[#reads], e)
            end
        ]])
    end)

    it_spans("of a call that is stopped end for nobody, whatever goes on meanwhile", function()
        prints("1000 10\n", [[
            local pool <close> = mp.pool { hosts = { 1 }, workers = 2 }
            local function fails(i)
                if i == 1 then error("stops", 0) end
                mp.sleep(60)
            end
            local function same(i) return i end
            local n_futures, n_calls = 0, 0
            for _ = 1, 10 do
                local stopped, futures = pool:map_async(fails, { 1, 2 }, { chunksize = 1 }), {}
                for i = 1, 100 do futures[i] = pool:submit(same, i) end
                pcall(stopped.result, stopped)
                for i = 1, 100 do n_futures = n_futures + (futures[i]:result(30) == i and 1 or 0) end
                pcall(pool.map, pool, fails, { 1, 2 }, { chunksize = 1 })
                local list = pool:map(function(i) mp.sleep(0.02) return i end, { 1, 2 }, { chunksize = 1 })
                n_calls = n_calls + list[2] - list[1]
            end
            print(n_futures .. " " .. n_calls)
        ]])
    end)

    it_spans("are cancelled though they run in workers that a resize lets go", function()
        prints("4 true\n", [[
            local pool = mp.pool { hosts = { 0, 1 }, workers = 4 }
            local futures, n = {}, 0
            for i = 1, 4 do futures[i] = pool:submit(mp.sleep, 60) end
            repeat until pool:stats().running == 4
            pool:resize(2)
            for i = 1, 4 do n = n + (futures[i]:cancel() and 1 or 0) end
            pool:close()
            print(n .. " " .. tostring(pool:join(20)))
        ]])
    end)

    it_spans("run again in another worker while one is free, on whichever host", function()
        prints("0\n", [[
            local pool <close> = mp.pool { hosts = { 0, 1 }, workers = 4 }
            local n_same, first = 0, nil
            local function f()
                if mp.worker.attempt == 1 then error(mp.worker.id) end
                return mp.worker.id
            end
            local slow = pool:submit(mp.sleep, 60)
            for _ = 1, 20 do
                local id = pool:submit { target = f, retries = { n = 1, when = function(e)
                    first = e.value
                    return true
                end } }:result()
                if id == first then n_same = n_same + 1 end
            end
            slow:cancel()
            print(n_same)
        ]])
    end)
end)
