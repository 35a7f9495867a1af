-- cluster_slurm_spec.lua: a job under srun, by a small Slurm that is made for it: a controller here, and a daemon on
-- each of three hosts (network.lua).
local helper = require "spec.helper"
local launcher = require "spec.launcher"
local network = require "spec.network"

local COMMANDS <const> = "slurmctld slurmd munged srun"
local CONTROLLER_PORT <const>, DAEMON_PORT <const> = 16817, 16818

local function must(result)
    assert.equal(0, result.status, result.stderr)
    return result
end

-- The daemons take their own view of the folder that PMIx makes its files in: on real hosts it is not the same one.
local function configure(dir)
    local of = { DIR = dir, CONTROLLER = must(helper.run "hostname").stdout:match "%S+", ADDRESS = network.address(254),
        PORT = CONTROLLER_PORT, DAEMON_PORT = DAEMON_PORT }
    local text = ([[
ClusterName=luamp
SlurmctldHost={CONTROLLER}({ADDRESS})
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={DIR}/munge.socket
SlurmctldPort={PORT}
SlurmdPort={DAEMON_PORT}
StateSaveLocation={DIR}/state
SlurmdSpoolDir={DIR}/%n
SlurmctldPidFile={DIR}/controller.pid
SlurmdPidFile={DIR}/%n.pid
SlurmctldLogFile={DIR}/controller.log
SlurmdLogFile={DIR}/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
ReturnToService=2
]]):gsub("{([%u_]+)}", of)
    for i = 1, 3 do
        text = text .. ("NodeName=%s NodeAddr=%s CPUs=2 State=UNKNOWN\n"):format(network.host(i), network.address(i))
    end
    helper.write(dir .. "/slurm.conf", text .. "PartitionName=all Nodes=ALL Default=YES State=UP\n")
    helper.write(dir .. "/cgroup.conf", "CgroupPlugin=cgroup/v1\n") -- which needs none to be mounted
    helper.write(dir .. "/mpi.conf", ("PMIxCliTmpDirBase=%s/tmp\n"):format(dir))
end

local function start(dir)
    local lines = { "set -e", "cd " .. dir, "umask 077", "head -c 1024 /dev/urandom >key", "umask 022", "mkdir tmp",
        "munged --force --key-file=$PWD/key --socket=$PWD/munge.socket --pid-file=$PWD/munge.pid "
            .. "--log-file=$PWD/munge.log --seed-file=$PWD/munge.seed", "slurmctld -c" }
    for i = 1, 3 do
        local name = network.host(i)
        lines[#lines + 1] = ("mkdir tmp.%d\nip netns exec %s unshare --uts --mount sh -c "
            .. "'hostname %s; mount --bind tmp.%d tmp; exec slurmd -N %s'"):format(i, name, name, i, name)
    end
    must(helper.run(table.concat(lines, "\n"), { env = { SLURM_CONF = dir .. "/slurm.conf" } }))
end

-- Ends all daemons, and what they have left.
local function stop(dir)
    helper.run(([[
        cd %s
        for file in *.pid; do kill $(cat $file); done
        for i in $(seq 100); do
            left=
            for file in *.pid; do kill -0 $(cat $file) && left=1; done
            [ -n "$left" ] || break
            sleep 0.1
        done
        ip netns pids %s; ip netns pids %s; ip netns pids %s]]):format(dir, network.host(1), network.host(2),
        network.host(3)) .. " | xargs -r kill -KILL")
end

local function it_spans(what, test)
    network.it(what, function()
        local dir = helper.tmpdir()
        configure(dir)
        start(dir)
        local ok, e = pcall(test, dir)
        stop(dir)
        if not ok then error(e, 0) end
    end, COMMANDS)
end

local function run(dir, text, options)
    options = options or {}
    return launcher.run(text, { launcher = "srun", options = "--mpi=pmix -N3 " .. (options.options or ""),
        limit = options.limit, env = { SLURM_CONF = dir .. "/slurm.conf", OMPI_MCA_btl = "tcp,self",
            OMPI_MCA_btl_tcp_if_include = network.all, LUAMP_HOST_TIMEOUT = "2" } })
end

describe("a job under srun", function()
    it_spans("runs the script once, and has each task for a host", function(dir)
        local result = run(dir, [[
            local names = {}
            for i, h in ipairs(mp.hosts()) do names[i] = h.rank .. " " .. h.name:sub(-2) .. " " .. h.cpus end
            print(table.concat(names, ", "))
            local pool <close> = mp.pool()
            print(#pool:map(function(i) return i end, mp.range(1, 1000)))
        ]])
        assert.same({ 0, "0 h1 2, 1 h2 2, 2 h3 2\n1000\n" }, { result.status, result.stdout }, result.stderr)
    end)

    it_spans("goes on when a rank is killed, and srun tells its signal", function(dir)
        local result = run(dir, network.script_that "kill -KILL AGENT SERVER", { options = "-K0 --no-kill" })
        assert.same({ 137, "h1, h2 lost, h3\n" }, { result.status, result.stdout }, result.stderr)
        assert.matches("luamp: host " .. network.host(2) .. " %(rank 1%) is lost", result.stderr)
    end)

    -- srun itself then waits for the daemon's answer, for more than a minute.
    it_spans("goes on when a host's daemon dies with its rank", function(dir)
        local result = run(dir, network.script_that "kill -KILL DAEMON AGENT SERVER", { options = "-K0 --no-kill",
            limit = 15 })
        assert.equal("h1, h2 lost, h3\n", result.stdout, result.stderr)
        assert.matches("luamp: host " .. network.host(2) .. " %(rank 1%) is lost", result.stderr)
    end)
end)

describe("a batch script of Slurm", function()
    it_spans("without srun is one process, and a pool is of its host", function(dir)
        local path = helper.script 'print(#mp.hosts()) print(#mp.pool(2):map(math.abs, { -1, -2 }))'
        helper.write(dir .. "/job", "#!/bin/sh\n" .. helper.host .. " " .. path .. "\n")
        local result = helper.run(("timeout 30 sbatch --wait -N3 -n3 -o %s/out %s/job"):format(dir, dir),
            { env = { SLURM_CONF = dir .. "/slurm.conf" } })
        assert.equal(0, result.status, result.stderr)
        assert.equal("1\n2\n", helper.read(dir .. "/out"))
    end)
end)
