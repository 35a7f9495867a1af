-- cluster_net_spec.lua: a job over three hosts with a real network between them (network.lua), through which mpirun
-- starts its daemons and the ranks speak TCP.
local helper = require "spec.helper"
local launcher = require "spec.launcher"
local network = require "spec.network"

local host, it_spans, script_that = network.host, network.it, network.script_that

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
    local net = network.all
    local env = { OMPI_MCA_plm_rsh_agent = path, OMPI_MCA_plm_rsh_no_tree_spawn = "1", OMPI_MCA_btl = "tcp,self",
        OMPI_MCA_oob_tcp_if_include = net, OMPI_MCA_btl_tcp_if_include = net, LUAMP_HOST_TIMEOUT = "2",
        LUAMP_MPIRUN_GRACE = "1" }
    options.env = env
    options.options = ("--host %s:1,%s:1,%s:1 --bind-to none"):format(host(1), host(2), host(3))
    return launcher[options.is_watched and "watched" or "run"](text, options)
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
