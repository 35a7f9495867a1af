-- network.lua: three hosts with a real network between them, for the specs of clusters: network namespaces of this
-- machine.
--
-- Each has a name of its own, and an address on a bridge. Only root may make such hosts.
local helper = require "spec.helper"
local launcher = require "spec.launcher"
local mp = require "luamp"

local network = {}

local prefix = ("m%d"):format(mp.getpid()) -- of the hosts' names, and of interfaces
local subnet = mp.getpid() % 250

function network.address(i) return ("10.77.%d.%d"):format(subnet, i) end

-- All addresses of the hosts, as Open MPI is told.
network.all = network.address(0) .. "/24"

function network.host(i) return prefix .. "h" .. i end

local function make()
    local lines = { "set -e", ("ip link add %sbr type bridge"):format(prefix),
        ("ip addr add %s/24 dev %sbr"):format(network.address(254), prefix), ("ip link set %sbr up"):format(prefix) }
    for i = 1, 3 do
        local of = { PREFIX = prefix, HOST = network.host(i), I = tostring(i), ADDRESS = network.address(i) }
        lines[#lines + 1] = ([[
            ip netns add HOST
            ip link add PREFIXvI type veth peer name eth0 netns HOST
            ip link set PREFIXvI master PREFIXbr up
            ip -n HOST addr add ADDRESS/24 dev eth0
            ip -n HOST link set eth0 up
            ip -n HOST link set lo up]]):gsub("%u+", of)
    end
    return helper.run(table.concat(lines, "\n"))
end

-- A host whose daemon was killed may have processes left, with which its network would stay.
local function remove()
    for i = 1, 3 do
        helper.run(("ip link del %sv%d; ip netns pids %s | xargs -r kill -KILL; ip netns del %s"):format(prefix, i,
            network.host(i), network.host(i)))
    end
    helper.run(("ip link del %sbr"):format(prefix))
end

local function missing(commands)
    if launcher.missing() then return launcher.missing() end
    for command in ("ip unshare " .. (commands or "")):gmatch "%S+" do
        if helper.run("command -v " .. command).status ~= 0 then return "needs " .. command end
    end
    if helper.run "test $(id -u) -eq 0".status ~= 0 then return "only root makes hosts" end
end

-- `it`, with the hosts there while it runs, where they can be made and there are those commands.
function network.it(what, test, commands)
    it(what, function()
        local why = missing(commands)
        if why then return pending(why) end
        local made = make()
        if made.status ~= 0 then
            remove()
            return pending("no network can be made here: " .. made.stderr)
        end
        local ok, e = pcall(test)
        remove()
        if not ok then error(e, 0) end
    end)
end

-- A script that maps 60 numbers slowly, and meanwhile does that to the second host: a shell's command, in which SERVER
-- and AGENT are its processes, DAEMON that which started them, and HOST its name. Prints the hosts, and which are lost.
-- more: options of the map, as text.
function network.script_that(does, more)
    local name = network.host(2)
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
    ]]):format(name, name, more or "", does)
end

return network
