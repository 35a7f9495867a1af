-- cluster_net_spec.lua: a job over three hosts with a real network between them: network namespaces of this machine.
--
-- Each has a name of its own, and an address on a bridge, through which mpirun starts its daemons and the ranks speak
-- TCP. Only root may make such hosts.
local helper = require "spec.helper"
local launcher = require "spec.launcher"
local mp = require "luamp"

local prefix = ("m%d"):format(mp.getpid()) -- of the hosts' names, and of interfaces
local NET = "10.77.%d.%d"
local subnet = mp.getpid() % 250

local function shell(line)
    return helper.run(line)
end

local function host(i) return prefix .. "h" .. i end

local function make_hosts()
    local lines = { "set -e", ("ip link add %sbr type bridge"):format(prefix),
        ("ip addr add %s/24 dev %sbr"):format(NET:format(subnet, 254), prefix), ("ip link set %sbr up"):format(prefix) }
    for i = 1, 3 do
        local of = { PREFIX = prefix, HOST = host(i), I = tostring(i), ADDRESS = NET:format(subnet, i) }
        lines[#lines + 1] = ([[
            ip netns add HOST
            ip link add PREFIXvI type veth peer name eth0 netns HOST
            ip link set PREFIXvI master PREFIXbr up
            ip -n HOST addr add ADDRESS/24 dev eth0
            ip -n HOST link set eth0 up
            ip -n HOST link set lo up]]):gsub("%u+", of)
    end
    return shell(table.concat(lines, "\n"))
end

local function remove_hosts()
    for i = 1, 3 do shell("ip netns del " .. host(i)) end
    shell(("ip link del %sbr"):format(prefix))
end

-- What starts a daemon on a host, as ssh would.
local agent = [[#!/bin/sh
host=$1; shift
exec ip netns exec "$host" unshare --uts sh -c 'hostname "$0"; exec sh -c "$*"' "$host" "$@"
]]

local function run(text, options)
    options = options or {}
    local path = helper.tmpdir() .. "/agent"
    helper.write(path, agent)
    os.execute("chmod +x " .. path)
    local net = NET:format(subnet, 0) .. "/24"
    local env = { OMPI_MCA_plm_rsh_agent = path, OMPI_MCA_plm_rsh_no_tree_spawn = "1", OMPI_MCA_btl = "tcp,self",
        OMPI_MCA_oob_tcp_if_include = net, OMPI_MCA_btl_tcp_if_include = net, LUAMP_HOST_TIMEOUT = "2",
        LUAMP_MPIRUN_GRACE = "1" }
    options.env = env
    options.options = ("--host %s:1,%s:1,%s:1 --bind-to none"):format(host(1), host(2), host(3))
    return launcher[options.is_watched and "watched" or "run"](text, options)
end

local function missing()
    if launcher.missing() then return launcher.missing() end
    if shell("test $(id -u) -eq 0 && command -v ip unshare").status ~= 0 then return "only root makes hosts, by ip" end
end

local function it_spans(what, test)
    it(what, function()
        if missing() then return pending(missing()) end
        local made = make_hosts()
        if made.status ~= 0 then
            remove_hosts()
            return pending("no network can be made here: " .. made.stderr)
        end
        local ok, e = pcall(test)
        remove_hosts()
        if not ok then error(e, 0) end
    end)
end

-- Maps 60 numbers slowly, and meanwhile does that to the second host: a shell's command, in which SERVER and AGENT are
-- its processes, DAEMON that which started them, and HOST its name.
local function script_that(does, more)
    return ([[
        local list = {}
        for i = 1, 60 do list[i] = i end
        local function parent_of(pid)
            return io.open("/proc/" .. pid .. "/status"):read "a":match "PPid:%%s*(%%d+)"
        end
        local pool = mp.pool()
        local of = { HOST = %q }
        for _, w in ipairs(pool:stats().workers) do
            if w.host == %q then of.SERVER = parent_of(w.pid) end
        end
        of.AGENT = parent_of(of.SERVER)
        of.DAEMON = parent_of(of.AGENT)
        local fut = pool:map_async(function(i)
            mp.sleep(0.03)
            return i * i
        end, list, { chunksize = 1 %s })
        mp.sleep(0.2)
        os.execute((%q):gsub("%%u+", of))
        local results = fut:result()
        for i = 1, 60 do assert(results[i] == i * i) end
        local names = {}
        for i, h in ipairs(mp.hosts()) do names[i] = h.name:sub(-2) .. (h.lost and " lost" or "") end
        print(table.concat(names, ", "))
        pool:close()
        pool:join()
    ]]):format(host(2), host(2), more or "", does)
end

describe("a job over a network", function()
    it_spans("has three hosts with their names, and works on all of them", function()
        local result = run [[
            local seen = {}
            local pool <close> = mp.pool()
            for _, name in ipairs(pool:map(function()
                mp.sleep(0.01)
                return io.open "/proc/sys/kernel/hostname":read "l"
            end, mp.range(1, 200), { chunksize = 1 })) do seen[name:sub(-2)] = true end
            print(seen.h1, seen.h2, seen.h3)
            local text = ("x"):rep(3 << 20)
            print(#pool:map(function(i) return text .. i end, mp.range(1, 9), { chunksize = 1 }))
        ]]
        assert.same({ 0, "true\ttrue\ttrue\n9\n", "" }, { result.status, result.stdout, result.stderr })
    end)

    for what, does in pairs {
        ["a host's link is cut"] = "ip -n HOST link set eth0 down",
        ["a rank is killed"] = "kill -KILL AGENT SERVER",
    } do
        it_spans("goes on when " .. what, function()
            local result = run(script_that(does), { is_watched = true })
            assert.same({ 0, "h1, h2 lost, h3\n" }, { result.status, result.stdout }, result.stderr)
            assert.matches("luamp: host " .. host(2) .. " %(rank 1%) is lost", result.stderr)
        end)
    end

    -- Open MPI may end the job: what is recorded by then is not run again.
    it_spans("goes on when a host's daemon dies, or by its journal where it was", function()
        local journal = helper.tmpdir() .. "/journal"
        local keeps = (", journal = %q"):format(journal)
        local result = run(script_that("kill -KILL DAEMON AGENT SERVER", keeps), { is_watched = true })
        local recorded <close> = mp.journal(journal)
        if result.status == 0 then
            assert.equal("h1, h2 lost, h3\n", result.stdout)
        else
            assert.is_true(recorded:counts().done < 60)
            local again = run(script_that(":", keeps), { is_watched = true })
            assert.same({ 0, "h1, h2, h3\n" }, { again.status, again.stdout }, again.stderr)
        end
        assert.equal(60, recorded:counts().done)
    end)
end)
