-- What the measurements were taken on: the machine, where its CPUs lie, how
-- busy it was, and which peers it has.
local shell = require "shell"

local machine = {}

-- "0-2,5" gives { 0, 1, 2, 5 }, and "0/1" { 0, 1 }; nil when it is no such list.
function machine.cpus(text)
    local list = {}
    text = (text or ""):gsub("^(%d+)/(%d+)$", "%1,%2")
    for part in text:gmatch("[^,]+") do
        local first, last = part:match("^(%d+)%-(%d+)$")
        first = tonumber(first or part:match("^%d+$"))
        if not first then return nil end
        for cpu = first, tonumber(last) or first do list[#list + 1] = cpu end
    end
    return #list > 0 and list or nil
end

local function field(path, pattern)
    for line in io.lines(path) do
        local value = line:match(pattern)
        if value then return value end
    end
end

function machine.describe(pinned)
    local frequency = "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"
    return {
        system = shell.read({ "uname", "-srm" }):gsub("\n$", ""),
        model = field("/proc/cpuinfo", "^model name%s*:%s*(.*)") or "unknown",
        online = shell.line("/sys/devices/system/cpu/online") or "unknown",
        allowed = field("/proc/self/status", "^Cpus_allowed_list:%s*(.*)") or "unknown",
        governor = shell.line(frequency) or "not told",
        load = shell.line("/proc/loadavg"),
        pinned = pinned or "no",
    }
end

-- The seconds of a spin ping-pong between the first two CPUs that the programs
-- may use, and the two; nil when there is one CPU only.
function machine.ping_pong(build, where)
    local cpus = machine.cpus(where.pinned) or machine.cpus(where.allowed) or {}
    if #cpus < 2 then return nil end
    local a, b = string.format("%d", cpus[1]), string.format("%d", cpus[2])
    local text, failure = shell.read { build .. "/placement", a, b }
    return assert(tonumber(text), failure), a .. "-" .. b
end

-- How to ask each host for the program that really runs (python3 on the PATH
-- may be a script that looks for it, which would count as Python's start) and
-- for its version.
local hosts = {
    C = { "sh", "-c", "echo cc; cc -dumpfullversion" },
    python3 = { "python3", "-c", [[
import sys, multiprocessing
print(sys.executable)
print(sys.version.split()[0])]] },
    perl = { "perl", "-MTime::HiRes", "-e", [[print "$^X\n", substr($^V, 1), "\n"]] },
    node = { "node", "-p", "process.execPath + '\\n' + process.versions.node" },
    erlang = { "erl", "-noshell", "-eval", [[
io:format("escript~n~s~n", [erlang:system_info(otp_release)]), halt().]] },
    mce = { "perl", "-MMCE::Map", "-MTime::HiRes", "-e", [[print "$^X\n$MCE::Map::VERSION\n"]] },
    -- Another program of that name is no peer.
    parallel = { "sh", "-c", [[
command -v perl
parallel --version | sed -n '1s/^GNU parallel //p']] },
    lanes = { "lua5.4", "-e", [[
local lanes = require "lanes"
print "lua5.4"
print((lanes.ABOUT or lanes.configure().ABOUT).version)]] },
    lua = { "lua5.4", "-e", [[print("lua5.4") print((_VERSION:gsub("^%S+ ", "")))]] },
    -- The python that a system's packages are for may be another than the one on the PATH.
    mpi4py = { "sh", "-c", [[
for python in python3 /usr/bin/python3; do
    $python -c 'import sys, mpi4py; print(sys.executable); print(mpi4py.__version__)' 2>&- && exit
done]] },
    cjson = { "lua5.4", "-e", [[print("lua5.4") print(require "cjson"._VERSION)]] },
    cmsgpack = { "lua5.4", "-e", [[print("lua5.4") print((require "cmsgpack"._VERSION:gsub("^%S+ ", "")))]] },
    luajit = { "luajit", "-e", [[require "string.buffer" print("luajit") print((jit.version:gsub("^%S+ ", "")))]] },
}

-- { path =, version = } of a host, or nil when it is not here.
function machine.find(host)
    local text = shell.read(hosts[host], true)
    local path, version = (text or ""):match("([^\n]+)\n([^\n]+)\n")
    return path and { path = path, version = version }
end

return machine
