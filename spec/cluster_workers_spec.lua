-- cluster_workers_spec.lua: the workers of a pool on several hosts: how many there are, and their numbers.
local launcher = require "spec.launcher"

local it_spans, prints = launcher.it, launcher.prints

describe("a pool on several hosts", function()
    it_spans("has as many workers as it was told, with numbers from 1 on, also where hosts had none before", function()
        prints("1\n3: 1 2 3 4 5 6\n2: 1 2\n3: 1 2 3 4 5 6 7 8 9 10 11 12\n3: 1 2 3\n1 2 3\n", [[
            local pool <close> = mp.pool { workers = 1, hosts = { 2, 0, 1 } }
            local function count_hosts() -- by the processes that serve there
                local parents, n = {}, 0
                for _, pid in ipairs(pool:map(function() mp.sleep(0.01) return mp.getppid() end, mp.range(1, 60))) do
                    n = n + (parents[pid] and 0 or 1)
                    parents[pid] = true
                end
                io.write(n, ": ")
            end
            local function tell()
                local ids = {}
                for i, w in ipairs(pool:stats().workers) do ids[i] = w.id end
                print(table.concat(ids, " "))
            end
            tell()
            for _, n in ipairs { 6, 2, 12, 3 } do
                pool:resize(n)
                assert(#pool:map(math.abs, mp.range(1, 500)) == 500)
                count_hosts()
                tell()
            end
            pool:close()
            pool:join()
            tell()
        ]])
    end)

    it_spans("has random numbers by its seed also on hosts that came later", function()
        local text = [[
            local pool <close> = mp.pool { workers = 1, seed = 5 }
            local function random() return math.random(1000) end
            pool:map(random, { 1, 2 })
            pool:resize(6)
            print(table.concat(pool:map(random, mp.range(1, 40), { chunksize = 1 }), " "))
        ]]
        prints(require "spec.helper".script_run(text).stdout, text)
    end)

    it_spans("does what it was given, though its hosts have no workers any more", function()
        prints("true 60\n1\n", [[
            local pool <close> = mp.pool()
            local futures = {}
            for i = 1, 60 do futures[i] = pool:submit(function() mp.sleep(0.02) return i end) end
            pool:resize(1)
            local ok, list = pcall(mp.all, futures, 10)
            print(tostring(ok) .. " " .. (ok and #list or tostring(list)))
            if not ok then pool:terminate() end
            local deadline = mp.clock() + 5
            repeat until #pool:stats().workers == 1 or mp.clock() > deadline
            print(#pool:stats().workers)
        ]])
    end)

    it_spans("has for each worker a number of its own, which its process is named by", function()
        prints("6 6\n", [[
            local pool <close> = mp.pool()
            local ids, names, n, n_names = {}, {}, 0, 0
            repeat
                for _, id in ipairs(pool:map(function()
                    mp.sleep(0.01)
                    return { mp.worker.id, mp.current_process().name:match "%d+$" }
                end, mp.range(1, 60), { chunksize = 1 })) do
                    local number, name = table.unpack(id)
                    if not ids[number] then ids[number], n = true, n + 1 end
                    if not names[name] then names[name], n_names = true, n_names + 1 end
                end
                local has_all = true
                for _, w in ipairs(pool:stats().workers) do has_all = has_all and w.tasks > 0 end
            until has_all
            print(n .. " " .. n_names)
        ]])
    end)

    it_spans("has its workers that were replaced, and each is counted", function()
        prints("1 1\n", [[
            local pool <close> = mp.pool { hosts = { 1 } }
            pcall(pool.apply, pool, function() os.execute("kill -KILL " .. mp.getpid()) end)
            print(pool:apply(math.abs, -1) .. " " .. pool:stats().restarts)
        ]])
    end)
end)

describe("the list of hosts", function()
    it_spans("is there at the next call, when a handler has raised an error while they were waited for", function()
        prints("false from outside\n3\n", [[
            mp.on_signal("SIGUSR1", function() error("from outside", 0) end)
            local rings = mp.process { command = { "sh", "-c", "sleep 0.02; kill -USR1 " .. mp.getpid() } }
            rings:start()
            local ok, e = pcall(function()
                mp.hosts() -- which wait until MPI has begun
                mp.sleep(5)
            end)
            rings:join()
            print(tostring(ok) .. " " .. tostring(e))
            print(#mp.hosts())
        ]])
    end)

    it_spans("has the own host alone in a child of the script, and in a task", function()
        prints("3 1 1 false\n", [[
            local n = #mp.hosts()
            local p = mp.process { target = function()
                return #mp.hosts(), (pcall(mp.pool, { hosts = { 1 } }))
            end }
            local of_child, is_there = p:start():result()
            local pool <close> = mp.pool { hosts = { 0 } }
            print(n .. " " .. of_child .. " " .. pool:apply(function() return #mp.hosts() end) .. " "
                .. tostring(is_there))
        ]])
    end)
end)

describe("a host's init that fails", function()
    it_spans("with a value that cannot be sent tells its error without it, and the host goes on", function()
        prints("error nil true\n1\n", [[
            local function fails() error { q = mp.queue() } end
            local ok, e = pcall(mp.pool, { hosts = { 1 }, init = fails })
            print(e.kind .. " " .. tostring(e.value) .. " " .. tostring(mp.is_error(e)))
            local pool <close> = mp.pool { hosts = { 1 } }
            print(pool:apply(math.abs, -1))
        ]])
    end)
end)

describe("a job", function()
    it_spans("gives up a pool at once while its workers start on other hosts, which serve others meanwhile", function()
        prints("false stop\ntrue\n", [[
            mp.pool { hosts = { 1 } }:close()
            mp.on_signal("SIGUSR1", function() error("stop", 0) end)
            local rings = mp.process { command = { "sh", "-c", "sleep 0.5; kill -USR1 " .. mp.getpid() } }
            rings:start()
            local ok, e = pcall(mp.pool, { hosts = { 1 }, init = function() mp.sleep(30) end })
            print(tostring(ok) .. " " .. tostring(e))
            local pool <close> = mp.pool { hosts = { 1 } }
            rings:join()
            print(pool:submit(math.abs, -1):result(10) == 1)
        ]])
    end)

    it_spans("ends with its script, though a process of that goes on which is detached", function()
        local result = launcher.run([[
            local p = mp.process { target = function() mp.sleep(40) end, detached = true, stdin = "null",
                stdout = "null", stderr = "null" }
            p:start()
            print(p.pid)
        ]], { limit = 20 })
        os.execute("kill -KILL " .. result.stdout)
        assert.equal(0, result.status)
    end)
end)
