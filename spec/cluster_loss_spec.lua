-- cluster_loss_spec.lua: a job some of whose processes are killed, stopped or cut off.
--
-- Each rank is an agent, which speaks MPI, and its child; the workers are children of that. A script of these specs
-- finds them by its workers' parents.
local helper = require "spec.helper"
local launcher = require "spec.launcher"

local it_spans = launcher.it

-- A map of 60 tasks, in which that is done to the first host that is not the script's, after some of them; the results
-- are checked. `does`: a shell's command, in which AGENT and SERVER are that host's processes.
local function script_that(does)
    return ([[
        local list = {}
        for i = 1, 60 do list[i] = i end
        local function parent_of(pid)
            return math.tointeger(io.open("/proc/" .. pid .. "/status"):read "a":match "PPid:%%s*(%%d+)")
        end
        local pool = mp.pool()
        local a_worker
        for _, w in ipairs(pool:stats().workers) do
            if w.host and not a_worker then a_worker = w.pid end
        end
        local function of(what)
            local server = parent_of(a_worker)
            return what == "server" and server or parent_of(server)
        end
        local server, agent = of "server", of "agent"
        local fut = pool:map_async(function(i)
            mp.sleep(0.02)
            return i * i
        end, list, { chunksize = 1 })
        mp.sleep(0.1)
        os.execute((%q):gsub("%%a+", { AGENT = agent, SERVER = server }))
        local results = fut:result()
        for i = 1, 60 do assert(results[i] == i * i) end
        local lost = 0
        for _, h in ipairs(mp.hosts()) do lost = lost + (h.lost and 1 or 0) end
        print(#results, lost, pool:apply(math.max, 1, 2))
        pool:close()
        pool:join()
        io.stdout:flush()
        os.exit(7)
    ]]):format(does)
end

local function loses_one(does, options)
    options = options or {}
    options.env = options.env or { LUAMP_HOST_TIMEOUT = "2", LUAMP_MPIRUN_GRACE = "1" }
    local result = launcher.watched(script_that(does), options)
    assert.same({ 7, "60\t1\t2\n" }, { result.status, result.stdout }, result.stderr)
    assert.matches("luamp: host %S+ %(rank %d%) is lost: it ended, or was silent for too long; its tasks are done by "
        .. "others\n", result.stderr)
end

describe("a host is given up, and its tasks are done by others:", function()
    it_spans("its serving process is killed", function() loses_one "kill -KILL SERVER" end)
    it_spans("its agent is killed", function() loses_one "kill -KILL AGENT" end)
    it_spans("both are", function() loses_one "kill -KILL AGENT SERVER" end)
    it_spans("it is silent, and goes when it finds itself alone", function()
        loses_one "kill -STOP AGENT; { sleep 6; kill -CONT AGENT; } >/dev/null 2>&1 </dev/null &"
    end)
end)

describe("what happens to a host that is only slow", function()
    it_spans("is nothing, while its agent speaks: its tasks are waited for", function()
        local result = launcher.run([[
            local pool <close> = mp.pool { hosts = { 1 } }
            print(pool:apply(function() mp.sleep(1.5) return "slow" end))
        ]], { env = { LUAMP_HOST_TIMEOUT = "0.5" } })
        assert.same({ 0, "slow\n", "" }, { result.status, result.stdout, result.stderr })
    end)
end)

-- The process that serves the workers of the first other host, with a pool of that host alone.
local find_server = [[
    local pool = mp.pool { hosts = { 1 } }
    local server = io.open("/proc/" .. pool:stats().workers[1].pid .. "/status"):read "a":match "PPid:%s*(%d+)"
]]

describe("a host whose serving process", function()
    it_spans("is killed is told as lost, also while no pool asks it for anything", function()
        local result = launcher.watched(find_server .. [[
            assert(not mp.hosts()[2].lost)
            os.execute("kill -KILL " .. server)
            local start = mp.clock()
            repeat mp.sleep(0.01) until mp.hosts()[2].lost or mp.clock() - start > 20
            print(mp.hosts()[2].lost, mp.hosts()[3].lost)
            pool:terminate()
        ]], { env = { LUAMP_HOST_TIMEOUT = "2", LUAMP_MPIRUN_GRACE = "1" } })
        assert.equal("true\tfalse\n", result.stdout, result.stderr)
    end)

    it_spans("does not hear the script's end is ended by its agent", function()
        local result = launcher.run(find_server .. [[
            os.execute("kill -STOP " .. server)
            os.exit(0, false)
        ]], { env = { LUAMP_HOST_TIMEOUT = "1" }, limit = 30 })
        assert.matches("^luamp: host %S+ does not say that its workers have ended\n", result.stderr)
        assert.matches("Process name: %[%[%d+,1%],1%]\n%s+Exit code:%s+137\n", result.stderr)
    end)
end)

describe("the script's own rank", function()
    it_spans("may be killed, either of its processes: luamp-mpirun ends with a failure", function()
        local env = { LUAMP_HOST_TIMEOUT = "2", LUAMP_MPIRUN_GRACE = "1" }
        for _, whose in ipairs { "getppid", "getpid" } do
            local result = launcher.watched(([[
                mp.pool():apply(mp.sleep, 0)
                os.execute("kill -KILL " .. mp.%s())
                mp.sleep(60)
            ]]):format(whose), { env = env })
            assert.is_true(result.status ~= 0 and result.status ~= 124, result.status)
        end
    end)

    -- The job is run again, and again, until it ends by itself: no task that was told of is run a second time.
    it_spans("may be killed: what its journal has is not run again", function()
        local dir = helper.tmpdir()
        local text = ([[
            local dir = %q
            local n = 0
            local function told(figures)
                if figures.done >= 10 and not io.open(dir .. "/killed") then
                    io.open(dir .. "/killed", "w"):close()
                    os.execute("kill -KILL " .. mp.getpid())
                end
            end
            local list = mp.map(function(i)
                mp.sleep(0.01)
                io.open(dir .. "/ran", "a"):write(i, "\n")
                return i * i
            end, mp.range(1, 60), { journal = dir .. "/journal", chunksize = 1, progress = told })
            print(#list, list[60])
        ]]):format(dir)
        assert.is_true(launcher.run(text).status ~= 0)
        assert.is_truthy(io.open(dir .. "/killed"))
        local again = launcher.run(text)
        assert.same({ 0, "60\t3600\n" }, { again.status, again.stdout })
        local journal <close> = require "luamp".journal(dir .. "/journal")
        local _, n = helper.read(dir .. "/ran"):gsub("\n", "")
        assert.is_true(n < 120, n)
        assert.equal(60, journal:counts().done)
    end)
end)

describe("mpirun without recovery", function()
    it_spans("ends the job when a rank dies, and no process stays", function()
        local script = helper.script(script_that "kill -KILL AGENT SERVER")
        local result = launcher.run(nil, { path = script, env = { LUAMP_HOST_TIMEOUT = "2" } })
        assert.is_true(result.status ~= 0)
        helper.wait_until(function()
            return helper.run(("pgrep -f 'luamp %s$'"):format(script)).stdout == ""
        end, "the end of all ranks")
    end)
end)
