-- cluster_spec.lua: pools over the hosts of a job, which are ranks of this machine here.
local helper = require "spec.helper"
local launcher = require "spec.launcher"

local it_spans, printed, prints = launcher.it, launcher.printed, launcher.prints

describe("a job of several ranks", function()
    it_spans("runs the script once, and has each rank for a host", function()
        prints("0 2 false\n1 2 false\n2 2 false\n6\n", [[
            local names = {}
            for _, h in ipairs(mp.hosts()) do
                print(h.rank .. " " .. h.cpus .. " " .. tostring(h.lost))
                assert(h.name == io.open "/proc/sys/kernel/hostname":read "l")
            end
            local pool <close> = mp.pool()
            print(#pool:stats().workers)
        ]])
    end)

    it_spans("has workers on all hosts, which are processes of their own", function()
        prints("6 6\n", [[
            local pool <close> = mp.pool()
            local pids, n = {}, 0
            repeat -- until each has had a task
                for _, pid in ipairs(pool:map(function() mp.sleep(0.01) return mp.getpid() end, mp.range(1, 60),
                    { chunksize = 1 })) do
                    if not pids[pid] then pids[pid], n = true, n + 1 end
                end
            until n == 6
            local of_hosts = 0
            for _, w in ipairs(pool:stats().workers) do of_hosts = of_hosts + (pids[w.pid] and 1 or 0) end
            print(n .. " " .. of_hosts)
        ]])
    end)

    it_spans("may be of one rank, which is then the only host", function()
        prints("1 2\n", [[
            local pool <close> = mp.pool()
            print(#mp.hosts() .. " " .. #pool:stats().workers)
        ]], { n = 1 })
    end)

    it_spans("gives a pool the hosts that it asks for, by name or rank, or none but the script's own", function()
        prints("2 2 4\n", [[
            local function size(given)
                local pool <close> = mp.pool(given)
                return #pool:stats().workers
            end
            print(size { engine = "local" } .. " " .. size { hosts = { 1, 1 } } .. " " .. size { hosts = { 0, 2 } })
        ]])
    end)

    it_spans("works with one host alone that is not the script's", function()
        prints("vm: 1 4 9\n", [[
            local pool <close> = mp.pool { hosts = { 2 } }
            print("vm: " .. table.concat(pool:map(function(i) return i * i end, { 1, 2, 3 }), " "))
        ]])
    end)

    it_spans("ends with the script's status", function()
        assert.equal(3, launcher.run("mp.map(print, {}) os.exit(3)").status)
        assert.equal(3, launcher.watched("mp.map(print, {}) os.exit(3)").status)
        assert.equal(0, launcher.watched("mp.map(print, {})").status)
    end)

    it_spans("ends with a failure where luamp-mpirun was not told how the script ended", function()
        local result = launcher.watched("print 'it ran'", { env = { LUAMP_MPI_PLUGIN = "/none" } })
        assert.same({ 1, "" }, { result.status, result.stdout })
        assert.matches("luamp%-mpirun: the script has not come to its end", result.stderr)
        result = launcher.watched("os.exit(0)", { host = helper.lua }) -- is no luamp
        assert.equal(1, result.status)
    end)

    it_spans("of one rank, or of none, ends with its status too", function()
        assert.equal(3, launcher.watched("os.exit(3)", { n = 1 }).status)
        assert.equal(3, launcher.watched("os.exit(3)", { env = { LUAMP_ENGINE = "local" } }).status)
    end)

    it_spans("has the options of mpirun that stand before luamp, and not the script's", function()
        local function told(words)
            return helper.run(("%s %s/bin/luamp-mpirun %s"):format(helper.host, launcher.root, words),
                { env = { LUAMP_MPIRUN_PROGRAM = "echo" } }).stdout:match "%-%-map%-by ppr:1:node" ~= nil
        end
        assert.is_true(told "--hostfile h luamp job.lua -n 10")
        assert.is_true(told "/x/luamp job.lua --map-by 3")
        assert.is_false(told "--wdir /x/luamp -np 3 luamp job.lua")
        assert.is_false(told "luamp job.lua : -np 2 luamp job.lua")
    end)

    it_spans("is not launched where there is no mpirun, which is told in a line", function()
        local result = launcher.watched("print 'it ran'", { env = { LUAMP_MPIRUN_PROGRAM = "/none/mpirun" } })
        assert.same({ 127, "", "luamp-mpirun: cannot run /none/mpirun, of Open MPI: No such file or directory\n" },
            { result.status, result.stdout, result.stderr })
    end)

    it_spans("that does not begin is told of, for then mpirun may wait for ever", function()
        local result = launcher.watched("print 'it ran'", { host = "/none/luamp", limit = 5,
            env = { LUAMP_MPIRUN_PATIENCE = "0.5" } })
        assert.matches("luamp%-mpirun: luamp has not begun within 0%.5 s: it may be that a host does not have the "
            .. "program, or is not reached\n", result.stderr)
        result = launcher.watched("mp.sleep(4.2) print 'it ran'", { env = { LUAMP_MPIRUN_PATIENCE = "4" } })
        assert.same({ 0, "it ran\n", "" }, { result.status, result.stdout, result.stderr })
    end)

    it_spans("leaves no process and no file, also after the script's error", function()
        local result = launcher.run "mp.pool():apply(mp.sleep, 0) error 'of the script'"
        assert.equal(1, result.status)
        assert.matches("of the script", result.stderr)
    end)

    it_spans("hears Ctrl-C and ends", function()
        local result = launcher.run [[
            local pool = mp.pool()
            pool:apply(mp.sleep, 0)
            mp.process { command = { "kill", "-INT", tostring(mp.getppid()) } }:start() -- what its launcher sends
            mp.sleep(60)
        ]]
        assert.is_true(result.status ~= 0)
        assert.matches("interrupted\n", result.stderr)
    end)
end)

describe("what runs on other hosts", function()
    -- The same script, as it is and as a job: the same output, to the byte.
    local scripts = {
        ["all calls"] = [[
            local list = {}
            for i = 1, 500 do list[i] = i end
            local factor, nested = 3, { by = { 7 } }
            local function times(i) return i * factor + nested.by[1] end
            print(table.concat(mp.map(times, list), " "))
            print(table.concat(mp.filter(function(i) return i % 7 == 0 end, list), " "))
            print(mp.find(function(i) return i > 400 end, list))
            print(mp.reduce(function(a, b) return a + b end, list, 0))
            print(table.concat(mp.starmap(math.max, { { 1, 2 }, { 5, 4 }, { 3 } }), " "))
            for i, a, b in mp.imap(function(i) return i, -i end, { 5, 6, 7 }) do print(i, a, b) end
            local sum = 0
            for _, v in mp.imap_unordered(times, list) do sum = sum + v end
            print(sum)
            mp.each(function() end, list)
            local holes = mp.map(function(i) if i % 2 == 0 then return i end end, list)
            print(holes.n, holes[1], holes[2], holes[500])
            local pool <close> = mp.pool(6)
            print(pool:apply(function(...) return select("#", ...), ... end, nil, 2, nil))
            local futures = {}
            for i = 1, 200 do futures[i] = pool:submit(times, i) end
            local all = mp.all(futures)
            print(#all, all[1], all[200])
            print(pool:map_async(times, list):result()[500])]],
        ["random numbers of a seed"] = [[
            mp.seed(7)
            local function random() return math.random(1000) end
            print(table.concat(mp.map(random, mp.range(1, 40), { chunksize = 1 }), " "))
            local pool <close> = mp.pool { seed = 3 }
            for _ = 1, 2 do
                print(table.concat(pool:map(function() return math.random(1000) end, mp.range(1, 40)), " "))
            end
            print(pool:apply(math.random, 1000), (pool:submit(math.random, 1000):result()))]],
        ["failures"] = [[
            local list, failures = mp.map(function(i)
                if i % 10 == 0 then error({ code = i }) end
                return i
            end, mp.range(1, 100), { on_error = "collect", chunksize = 3 })
            print(list.n, #failures)
            for _, e in ipairs(failures) do print(e.kind, e.task, e.attempt, e.value.code) end
            local tries = mp.map(function(i)
                if mp.worker.attempt < 3 then error "again" end
                return i + mp.worker.attempt
            end, mp.range(1, 20), { retries = 2, chunksize = 1 })
            print(table.concat(tries, " "))]],
        ["chunks of a file"] = [[
            local path = os.tmpname()
            local file = io.open(path, "w")
            for i = 1, 5000 do file:write("line ", i, "\n") end
            file:close()
            print(mp.reduce(function(n, text) return n + select(2, text:gsub("\n", "")) end, mp.chunks(path, 1000), 0,
                function(a, b) return a + b end))
            os.remove(path)]],
        ["init, exit and a maximum of tasks"] = [[
            local dir = os.getenv "DIR"
            local pool <close> = mp.pool { workers = 6, init = function(a) shift = a end, initargs = { 100 },
                max_tasks = 5 }
            print(table.concat(pool:map(function(i) return i + shift end, mp.range(1, 100), { chunksize = 1 }), " "))]],
    }
    for what, text in pairs(scripts) do
        it_spans("is as on one: " .. what, function()
            local alone = helper.script_run(text)
            assert.same({ 0, "" }, { alone.status, alone.stderr })
            prints(alone.stdout, text)
        end)
    end

    it_spans("has a module that a function requires, from where the script has it", function()
        local dir = helper.tmpdir()
        helper.write(dir .. "/of_the_script.lua", "return { double = function(x) return 2 * x end }")
        prints("2 4 6\n", ([[
            package.path = %q .. "/?.lua;" .. package.path
            local of = require "of_the_script"
            local pool <close> = mp.pool { hosts = { 1 } }
            print(table.concat(pool:map(of.double, { 1, 2, 3 }), " "))
        ]]):format(dir))
    end)

    it_spans("says which module is missing", function()
        local said = printed [[
            local pool <close> = mp.pool { hosts = { 1 } }
            print(select(2, pcall(pool.map, pool, function() return require "gone" end, { 1 })))
        ]]
        assert.matches("in task 1: [^\n]*: module 'gone' not found:\n", said)
    end)

    it_spans("can share no object of this host, which the error names", function()
        local said = printed [[
            local q, d = mp.queue(), mp.dict()
            local pool <close> = mp.pool()
            local function told(...) print((tostring(select(2, pcall(...))):match "^[^\n]*")) end
            told(pool.map, pool, function() return q end, { 1 })
            told(pool.map, pool, tostring, { 1, 2, { at = { d } } }) -- the first ones may run
            told(pool.apply, pool, print, q)
            local fut = pool:submit(print, 1, d)
            told(fut.result, fut)
            told(mp.pool, { init = print, initargs = { q } })
        ]]
        local shared = " shared by the processes of this host %%(mp.%s%%); send what it holds; "
            .. "on another host it is not there\n"
        local queue, dict = shared:format "queue", shared:format "dict"
        assert.matches("^pool:map: cannot send upvalue q of function [^\n]*: it is" .. queue
            .. "pool:map: task 3: cannot send item: at%[1%] is" .. dict
            .. "task 1: pool:apply: cannot send argument 1: it is" .. queue
            .. "task 2: pool:submit: cannot send argument 2: it is" .. dict
            .. "mp.pool: cannot send the options of the pool: given.initargs%[1%] is" .. queue .. "$", said)
    end)

    it_spans("can return no object that a host shares, also on this host", function()
        local said = printed [[
            for rank = 0, 1 do
                local pool <close> = mp.pool { hosts = { rank } }
                local ok, e = pcall(pool.map, pool, function(i) return i, i == 2 and { at = mp.queue() } end, { 1 })
                print(ok, e[1])
                ok, e = pcall(pool.apply, pool, function(i) return i, { at = mp.queue() } end, 1)
                print(e.kind, e.task, (e.message:gsub("%d+$", "")))
                print((table.concat(pool:map(math.abs, { -1, -2 }), " ")))
            end
        ]]
        local of_each = "true\t1\nunsendable\t1\tcannot send result 2: at is shared by the processes of this host "
            .. "%(mp.queue%); send what it holds; on another host it is not there\n1 2\n"
        assert.matches("^" .. of_each .. of_each .. "$", said)
    end)

    it_spans("fails alone where its result cannot be had on the script's host, be it small or large", function()
        local said = printed [[
            local function maker(i, size)
                local function refuses() error("not on this host", 0) end
                local conn = setmetatable({}, { __mp_send = function() return refuses end })
                return i == 2 and { ("x"):rep(size), conn } or i
            end
            local pool <close> = mp.pool { hosts = { 1 } }
            for _, size in ipairs { 1, 9000 } do
                local list, failed = pool:map(function(i) return maker(i, size) end, { 1, 2, 3 },
                    { on_error = "collect", chunksize = 1 })
                local e = failed[1] or failed[2]
                print(list[1], e.kind, e.task, list[3])
                print((tostring(e):match "^[^\n]*"))
                local fut = pool:submit(maker, 2, size)
                print((tostring(select(2, pcall(fut.result, fut))):match "^[^\n]*"))
            end
        ]]
        assert.equal(4, select(2, said:gsub("not on this host", "")), said)
        assert.matches("^1\tunsendable\t2\t3\n[^\n]*result[^\n]*: not on this host\n", said)
    end)

    it_spans("tells its errors with the host and both tracebacks", function()
        local said = printed [[
            local pool <close> = mp.pool { hosts = { 1 } }
            local ok, e = pcall(pool.map, pool, function(i) error "on the way" end, { 1 })
            print(e.host == mp.hosts()[2].name, e.task, e.process == e.host .. ":worker." .. e.worker)
            print(e)
        ]]
        assert.matches("^true\t1\ttrue\nprocess '[^']+:worker%.%d' %(pid %d+%) failed in task 1: [^\n]*: on the way\n"
            .. "stack traceback:\n.*\nreached process 'main' at:\nstack traceback:\n", said)
    end)

    it_spans("is lost with its worker alone, is told so, and may be retried", function()
        prints("signal SIGKILL 1\n1 4\n1\n", [[
            local pool <close> = mp.pool { hosts = { 1 } }
            local function dies(i)
                if mp.worker.attempt == 1 then os.execute("kill -KILL " .. mp.getpid()) end
                return i
            end
            local ok, e = pcall(pool.map, pool, dies, { 1 })
            print(e.kind .. " " .. e.signal .. " " .. e.task)
            print(table.concat(pool:map(dies, { 1, 4 }, { retries = 1, chunksize = 1 }), " "))
            print(pool:apply(function() return 1 end))
        ]])
    end)

    it_spans("keeps time limits, and can be cancelled", function()
        prints("timeout\ntrue\ncancelled\n2\n", [[
            local pool <close> = mp.pool { hosts = { 1 } }
            local ok, e = pcall(pool.map, pool, mp.sleep, { 60 }, { timeout = 0.1 })
            print(e.kind)
            local fut = pool:submit(mp.sleep, 60)
            print(fut:cancel())
            print(fut.error.kind)
            print(pool:apply(math.max, 1, 2))
        ]])
    end)

    it_spans("ends with a pool that is garbage", function()
        prints("6\n", [[
            local pids = {}
            for _, w in ipairs(mp.pool():stats().workers) do pids[#pids + 1] = w.pid end
            collectgarbage()
            for _, pid in ipairs(pids) do
                while io.open("/proc/" .. pid) do mp.sleep(0.01) end -- those of other hosts are not waited for
            end
            print(#pids)
        ]])
    end)

    it_spans("waits for no host when its pool is garbage", function()
        prints("collected\n", [[
            local pid = mp.map(function() return mp.getppid() end, { 1 }, { hosts = { 1 } })[1] -- which serves there
            local pool = mp.pool { hosts = { 1 } }
            os.execute("kill -STOP " .. pid)
            local began = mp.clock()
            pool = nil
            collectgarbage()
            local took = mp.clock() - began
            os.execute("kill -CONT " .. pid)
            print(took < 20 and "collected" or took)
        ]], { env = { LUAMP_HOST_TIMEOUT = "40" } })
    end)

    it_spans("has its own host alone in tasks and processes, wherever they run", function()
        prints(("1 false "):rep(4) .. "3\n", [[
            local function look()
                local ok, e = pcall(mp.pool, { hosts = { 1 } })
                assert(tostring(e):find("there is no host 1; there are ", 1, true), tostring(e))
                return #mp.hosts() .. " " .. tostring(ok)
            end
            local _, e = pcall(mp.pool, { hosts = { "far" } })
            local name = mp.hosts()[1].name
            local all = ("there are %s (rank 0), %s (rank 1), %s (rank 2)"):format(name, name, name)
            assert(tostring(e):find(all, 1, true), tostring(e))
            local said = { mp.process { target = function() mp.pool() return look() end }:start():result() }
            for rank = 0, 2 do
                local pool <close> = mp.pool { hosts = { rank } }
                said[#said + 1] = pool:apply(look)
            end
            print(table.concat(said, " ") .. " " .. #mp.hosts())
        ]])
    end)

    it_spans("loses no message of a pool while another becomes garbage", function()
        prints("intact\n", [[
            local pool = mp.pool { hosts = { 1 } }
            local function many() -- whose decoding lasts for some cycles of the collector
                local list = {}
                for i = 1, 50000 do list[i] = { i, { i } } end
                return list
            end
            for _ = 1, 8 do
                mp.pool { hosts = { 1 } }:close()
                local list = pool:apply(many)
                for i = 1, 50000 do assert(list[i][1] == i and list[i][2][1] == i) end
            end
            print "intact"
        ]])
    end)

    it_spans("grows and shrinks with its pool", function()
        prints("6 3 12\n", [[
            local pool <close> = mp.pool()
            local function size()
                mp.sleep(0)
                return #pool:stats().workers
            end
            local sizes = { size() }
            pool:resize(3)
            sizes[2] = size()
            pool:resize(12)
            sizes[3] = size()
            assert(#pool:map(math.abs, mp.range(1, 1000), { chunksize = 1 }) == 1000)
            print(table.concat(sizes, " "))
        ]])
    end)

    it_spans("is journalled: finished tasks are not run again", function()
        local dir = helper.tmpdir()
        local text = ([[
            local dir = %q
            local list = mp.map(function(i)
                io.open(dir .. "/ran", "a"):write(i, "\n")
                return i * i
            end, mp.range(1, 50), { journal = dir .. "/journal", chunksize = 1 })
            print(table.concat(list, " "))
        ]]):format(dir)
        local once = printed(text)
        prints(once, text)
        local _, n = helper.read(dir .. "/ran"):gsub("\n", "")
        assert.equal(50, n)
    end)

    it_spans("tells its progress, and its part of the statistics", function()
        local result = launcher.run [[
            local pool <close> = mp.pool()
            pool:map(function(i) mp.sleep(0.01) return i end, mp.range(1, 100), { progress = "work", chunksize = 1 })
            local tasks, on_others = 0, 0
            for _, w in ipairs(pool:stats().workers) do
                tasks = tasks + w.tasks
                if w.host then on_others = on_others + w.tasks end
            end
            print(tasks, on_others > 0, pool:stats().done)
        ]]
        assert.same({ 0, "100\ttrue\t100\n" }, { result.status, result.stdout })
        assert.matches("work.*100 tasks", result.stderr)
    end)

    it_spans("writes to the job's output, by lines with a tag if that is asked for", function()
        local said = printed [[
            local pool <close> = mp.pool { hosts = { 1 }, output = "line", tag = "{name}> " }
            pool:map(function(i) print("task " .. i) end, { 1, 2, 3 }, { chunksize = 1 })
        ]]
        local lines = {}
        for name, line in said:gmatch "([^\n]-)%.%d+> ([^\n]*)\n" do
            lines[#lines + 1] = name:gsub(".*:", "") .. " " .. line
        end
        table.sort(lines)
        assert.same({ "worker task 1", "worker task 2", "worker task 3" }, lines)
    end)
end)

describe("the examples of clusters", function()
    local function as_a_job(script)
        local result = launcher.run(nil, { path = launcher.root .. "/scripts/" .. script, cwd = launcher.root })
        assert.equal(0, result.status, result.stderr)
        return result
    end

    it_spans("cluster_map.lua, as a job", function()
        local result = as_a_job "cluster_map.lua 9000"
        assert.equal("perfect: 6, 28, 496, 8128\n", result.stdout)
        assert.matches("^host 0: %S+, 2 CPUs\nhost 1: %S+, 2 CPUs\nhost 2: %S+, 2 CPUs\n$", result.stderr)
    end)

    it_spans("cluster_wordcount.lua, as a job", function()
        local shown = helper.read "scripts/README.md":match "%$ luamp scripts/cluster_wordcount%.lua LICENSE\n(.-)```"
        assert.equal(shown, as_a_job "cluster_wordcount.lua LICENSE".stdout)
    end)
end)

describe("what goes to another host", function()
    local scale = helper.is_everything and 1 or 10 -- a tenth in the daily run

    it_spans(("%d tasks of 1 MiB each way"):format(1000 // scale), function()
        prints("ok\n", ([[
            local n = %d
            local pool <close> = mp.pool()
            local block = ("x"):rep(1 << 20)
            local function numbered(i) return ("%%08d"):format(i):rep(1 << 17) end
            for i, text in pool:imap(numbered, mp.range(1, n)) do assert(text == numbered(i)) end
            local sizes = pool:map(function(text) return #text end, setmetatable({}, { __index = function(_, i)
                return i <= n and block or nil end, __len = function() return n end }), { chunksize = 1 })
            print(#sizes == n and "ok")
        ]]):format(1000 // scale), { limit = 250 })
    end)

    it_spans(("%d empty tasks"):format(1000000 // scale), function()
        prints(1000000 // scale .. "\n", ([[
            local pool <close> = mp.pool()
            print(#pool:map(function(i) return i end, mp.range(1, %d)))
        ]]):format(1000000 // scale), { limit = 250 })
    end)

    it_spans(("a function with %d MB of upvalues, once for each host"):format(50 // scale), function()
        prints("true\n2.0\n", ([[
            local block = ("x"):rep(%d * 1000000)
            local function f(i) return #block + i end
            local pool <close> = mp.pool()
            local function n_read() -- by the agent of this host: what goes to the two others
                return tonumber(io.open("/proc/" .. mp.getppid() .. "/io"):read "a":match "rchar: (%%d+)")
            end
            local before = n_read()
            local list = pool:map(f, mp.range(1, 200), { chunksize = 1 })
            print(list[200] == #block + 200)
            print(("%%.1f"):format((n_read() - before) / #block))
        ]]):format(50 // scale), { limit = 250 })
    end)
end)

describe("a job that is launched wrongly", function()
    local function refused(words, options)
        local result = launcher.run("print 'it ran'", options)
        assert.equal("", result.stdout)
        assert.is_true(result.status ~= 0)
        assert.matches(words, result.stderr)
    end

    it_spans("has no plug-in: each rank says so, and none runs the script", function()
        refused("luamp: there are several ranks, and the plug%-in for MPI cannot be loaded: /none", {
            env = { LUAMP_MPI_PLUGIN = "/none" } })
    end)

    it_spans("has something else for a plug-in", function()
        refused("libc%.so%.6 is no plug%-in of luamp", { env = { LUAMP_MPI_PLUGIN = "libc.so.6" } })
    end)

    it_spans("is of another MPI", function()
        local result = helper.run(("env PMI_SIZE=4 PMI_RANK=1 %s -e 'print(1)'"):format(helper.host))
        assert.same({ 1, "" }, { result.status, result.stdout })
        assert.matches("luamp: there are several ranks %(PMI_SIZE%), of no launcher that luamp knows", result.stderr)
    end)

    it_spans("asks for an engine that there is not, or that nobody has started", function()
        refused("luamp: LUAMP_ENGINE must be 'local' or 'mpi', not 'quantum'", { env = { LUAMP_ENGINE = "quantum" } })
        local result = helper.run(helper.host .. " -e 'print(1)'", { env = { LUAMP_ENGINE = "mpi" } })
        assert.equal("luamp: LUAMP_ENGINE=mpi: no launcher has started this process (mpirun, or srun --mpi=pmix)\n",
            result.stderr)
        assert.equal(1, result.status)
    end)

    it_spans("has a wrong time", function()
        refused("luamp: LUAMP_HOST_TIMEOUT must be a number of seconds from 0.1 on, not 'soon'", {
            env = { LUAMP_HOST_TIMEOUT = "soon" } })
    end)

    it_spans("has another build of luamp among the ranks", function()
        local other = helper.tmpdir() .. "/luamp"
        helper.run(("cp %s %s; cp %s %s; printf x >>%s"):format(helper.host, other, launcher.plugin,
            other:gsub("/luamp$", "/"), other))
        local script = helper.script "local mp = require 'luamp' print(pcall(mp.pool))"
        local result = launcher.run(nil, { n = 1, path = ("%s : -np 1 %s %s"):format(script, other, script) })
        assert.matches("runs another build of luamp than .*: the same is to be on all hosts", result.stdout)
    end)

    it_spans("starts a stock interpreter", function()
        refused("luamp: 3 ranks of a launcher would each run this script: let it start luamp",
            { host = helper.lua, path = helper.script "require 'luamp' print 'it ran'" })
    end)

    it_spans("wants N copies, and has them", function()
        prints("1\n1\n1\n", "print(#mp.hosts())", { env = { LUAMP_ENGINE = "local" } })
    end)
end)

describe("pools without a launcher", function()
    it("are of this host, which mp.hosts tells", function()
        local mp = require "luamp"
        local list = mp.hosts()
        assert.same({ 1, 0, mp.cpu_count(), false }, { #list, list[1].rank, list[1].cpus, list[1].lost })
        assert.equal(io.open "/proc/sys/kernel/hostname":read "l", list[1].name)
    end)

    it("refuse hosts and engines that there are not", function()
        local mp = require "luamp"
        helper.misuse('mp.pool: option \'engine\' must be "local" or "mpi", not the string "tcp"',
            function() mp.pool { engine = "tcp" } end)
        helper.misuse('option \'engine\' cannot be "mpi": no launcher has started this script (mpirun, srun)',
            function() mp.pool { engine = "mpi" } end)
        helper.misuse("option 'hosts': there is no host the string \"far\"; there are ",
            function() mp.pool { hosts = { "far" } } end)
        helper.misuse("option 'hosts' is not for engine \"local\"",
            function() mp.pool { hosts = { 0 }, engine = "local" } end)
    end)
end)

describe("an agent", function()
    it_spans("burns no CPU while there is nothing to do", function()
        local said = printed [[
            local function ticks(pid)
                local user, system = io.open("/proc/" .. pid .. "/stat"):read "a":match("%) %S" .. (" %S+"):rep(10)
                    .. " (%d+) (%d+)")
                return user + system
            end
            local pool = mp.pool()
            pool:map(math.abs, mp.range(1, 100))
            local parent = mp.getppid()
            mp.sleep(0.2)
            local before, at = ticks(parent), mp.clock()
            mp.sleep(2)
            print((ticks(parent) - before) / 100 / (mp.clock() - at))
            pool:close()
            pool:join()
        ]]
        assert.is_true(tonumber(said) < 0.3, said)
    end)
end)
