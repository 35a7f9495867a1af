-- luamp.cgroup: what the control groups of this process say, version 1 and 2:
-- the CPU quota, and how often the kernel killed for memory.
--
-- A limit may stand in any group above the process's own, so the whole way up
-- is read. Where a container shows its group as the root of the mount, the
-- path in /proc/self/cgroup leads nowhere below the mount; then the mount's
-- root itself is the group.

local cgroup = {}

local function read(path)
    local file = io.open(path)
    if not file then return nil end
    local text = file:read("a")
    file:close()
    return text
end

-- The groups of this process: for version 2 under the name "", for version 1
-- under each controller's name ("cpu", "memory"), by /proc/self/cgroup.
local function groups(root)
    local list = {}
    for names, path in (read(root .. "/proc/self/cgroup") or ""):gmatch("%d+:([^:\n]*):([^\n]*)") do
        for name in (names .. ","):gmatch("([^,]*),") do list[name] = path end
    end
    return list
end

local function unescape(text)
    return (text:gsub("\\(%d%d%d)", function(octal) return string.char(tonumber(octal, 8)) end))
end

-- Where the hierarchies are mounted, and which part of them, by mountinfo.
local function mounts(root)
    local list = {}
    for line in (read(root .. "/proc/self/mountinfo") or ""):gmatch("[^\n]+") do
        local part, point, kind, options =
            line:match("^%d+ %d+ %S+ (%S+) (%S+) .- %- (%S+) %S+ (%S+)")
        local mount = part and { root = unescape(part), point = root .. unescape(point) }
        if kind == "cgroup2" then
            list[""] = list[""] or mount
        elseif kind == "cgroup" then
            for name in options:gmatch("[^,]+") do list[name] = list[name] or mount end
        end
    end
    return list
end

-- The folders of the process's group for a controller, from its own upward.
local function folders(root, controller)
    local path = groups(root)[controller]
    local mount = path and mounts(root)[controller]
    if not path or not mount then return {} end
    if mount.root ~= "/" and path:sub(1, #mount.root) == mount.root then
        path = path:sub(#mount.root + 1)
    end
    local list = {}
    while path ~= "" and path ~= "/" do
        list[#list + 1] = mount.point .. path
        path = path:match("^(.*)/[^/]*$") or ""
    end
    list[#list + 1] = mount.point
    return list
end

local function quota_of(folder)
    local v2 = read(folder .. "/cpu.max")
    local quota, period
    if v2 then
        quota, period = v2:match("^(%d+) (%d+)")
    else
        quota = (read(folder .. "/cpu.cfs_quota_us") or ""):match("^%d+")
        period = (read(folder .. "/cpu.cfs_period_us") or ""):match("^%d+")
    end
    quota, period = tonumber(quota), tonumber(period)
    return quota and period and period > 0 and quota / period or nil
end

-- The least CPU quota on the way up, in CPUs (a float), or nil without one.
-- `root` is where the system's files are ("" for the real ones).
function cgroup.cpu_quota(root)
    local least
    for _, controller in ipairs { "", "cpu" } do
        for _, folder in ipairs(folders(root or "", controller)) do
            local quota = quota_of(folder)
            if quota and (not least or quota < least) then least = quota end
        end
    end
    return least
end

local function find_oom_file(root)
    for controller, name in pairs { [""] = "memory.events", memory = "memory.oom_control" } do
        for _, folder in ipairs(folders(root, controller)) do
            local path = folder .. "/" .. name
            if (read(path) or ""):find "oom_kill %d" then return path end
        end
    end
    return false
end

local oom_files = {} -- by root: the file that counts, false where none does

-- How many processes of this group the kernel has killed for memory, or nil
-- where no group tells. `root` as above.
function cgroup.oom_kills(root)
    root = root or ""
    if oom_files[root] == nil then oom_files[root] = find_oom_file(root) end
    local path = oom_files[root]
    return path and tonumber((read(path) or ""):match "oom_kill (%d+)") or nil
end

return cgroup
