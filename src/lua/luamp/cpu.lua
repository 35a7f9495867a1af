-- luamp.cpu: how many CPUs this process may use.

local core = require "luamp.core"
local options = require "luamp.options"
local cgroup = require "luamp.cgroup"

local cpu = {}

local function lines(path)
    local file = io.open(path)
    if not file then return "" end
    local text = file:read("a")
    file:close()
    return text
end

-- "0-3,8" counted.
local function count_ranges(text)
    local n = 0
    for first, last in text:gmatch("(%d+)%-?(%d*)") do
        n = n + (last ~= "" and tonumber(last) - tonumber(first) or 0) + 1
    end
    return n
end

local function online()
    local n = count_ranges(lines("/sys/devices/system/cpu/online"))
    return n > 0 and n or core.affinity_count()
end

-- Cores and not hardware threads: CPUs with the same core_cpus are one core.
local function physical()
    local seen, n = {}, 0
    for id = 0, 8191 do
        local topology = ("/sys/devices/system/cpu/cpu%d/topology/"):format(id)
        local core_of = lines(topology .. "thread_siblings_list")
        if core_of ~= "" and not seen[core_of] then
            seen[core_of], n = true, n + 1
        elseif core_of == "" and id >= online() then
            break
        end
    end
    return n > 0 and n or online()
end

local function limit_of_environment()
    local text = os.getenv("LUAMP_CPUS")
    if not text or text == "" then return nil end
    local n = text:match("^%d+$") and math.tointeger(tonumber(text))
    if not n or n < 1 then
        options.misuse("mp.cpu_count", "LUAMP_CPUS must be a positive integer, not '%s'", text)
    end
    return n
end

local known = { all = "boolean", physical = "boolean" }

-- mp.cpu_count: the least of the affinity mask, the cgroup quota rounded up and
-- LUAMP_CPUS; of the whole machine with all=true, its cores with physical=true.
function cpu.count(given)
    if given ~= nil then
        if type(given) ~= "table" then
            options.misuse("mp.cpu_count", "the options must be a table, not a %s", type(given))
        end
        options.check("mp.cpu_count", given, known)
        if given.physical then return physical() end
        if given.all then return online() end
    end
    local n = core.affinity_count()
    local quota = cgroup.cpu_quota()
    if quota then n = math.min(n, math.ceil(quota)) end
    return math.max(1, math.min(n, limit_of_environment() or n))
end

return cpu
