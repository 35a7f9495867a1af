-- cpu_spec.lua: how many CPUs a process may use: by affinity, by the quota of
-- its control groups, and by LUAMP_CPUS.
local helper = require "spec.helper"
local lfs = require "lfs"
local mp = require "luamp"
local cgroup = require "luamp.cgroup"

-- What mp.cpu_count answers in a process of its own.
local function count(options)
    options = options or {}
    local run = helper.run((options.by or "") .. " " .. helper.host .. " -",
        { env = { LUAMP_CPUS = options.limit or false }, stdin = "print(require 'luamp'.cpu_count())" })
    assert.equal("", run.stderr)
    return tonumber(run.stdout)
end

describe("mp.cpu_count", function()
    it("is at least 1 and at most all", function()
        local n = mp.cpu_count()
        assert.equal("integer", math.type(n))
        assert.is_true(n >= 1 and n <= mp.cpu_count { all = true })
        assert.equal(n, mp.cpu_count {})
        assert.equal(n, mp.cpu_count { all = false })
        assert.equal("integer", math.type(mp.cpu_count { all = true }))
        assert.equal("integer", math.type(mp.cpu_count { physical = true }))
        assert.is_true(mp.cpu_count { physical = true } >= 1)
        assert.is_true(mp.cpu_count { physical = true } <= mp.cpu_count { all = true })
    end)

    it("of all is the machine's, whatever this process may use", function()
        local pipe <close> = io.popen "getconf _NPROCESSORS_ONLN"
        local online = pipe:read "n"
        assert.equal(online, mp.cpu_count { all = true })
        local run = helper.run("taskset -c 0 " .. helper.host .. " -", { stdin = [[
            print(require 'luamp'.cpu_count { all = true }, require 'luamp'.cpu_count())]] })
        assert.equal(online .. "\t1\n", run.stdout)
    end)

    it("follows the affinity, now and in children", function()
        assert.equal(1, count { by = "taskset -c 0" })
        if mp.cpu_count() > 1 then
            assert.equal(2, count { by = "taskset -c 0,1" })
        end
        local p <close> = mp.process { target = mp.cpu_count, cpus = { 0 } }
        assert.equal(1, p:start():result())
    end)

    it("is no more than LUAMP_CPUS, which limits and does not raise", function()
        local n = count()
        assert.equal(1, count { limit = "1" })
        assert.equal(n, count { limit = "1000" })
        assert.equal(n, count { limit = tostring(n) })
        assert.equal(n, count { limit = "" })
    end)

    it("raises when LUAMP_CPUS is no positive integer", function()
        for _, bad in ipairs { "0", "-1", "two", "1.5", "1e1", "0x2", " ", "2 CPUs", "99999999999999999999" } do
            local run = helper.run(helper.host .. " -", { env = { LUAMP_CPUS = bad }, stdin = [[
                local mp = require "luamp"
                print(pcall(mp.cpu_count))
                print(mp.cpu_count { all = true } > 0)]] })
            local first, second = run.stdout:match "^([^\n]*)\n([^\n]*)\n$"
            assert.equal("true", second, run.stderr)
            assert.is_truthy(first:find "^false\tstdin:2: mp.cpu_count: LUAMP_CPUS ", first)
            assert.is_truthy(first:find("'" .. bad .. "'", 1, true), first)
        end
    end)

    it("says what its options are", function()
        helper.fails("(did you mean 'physical'?)", mp.cpu_count, { fysical = true })
        local text = "^[^:]*cpu_spec.lua:%d+: mp.cpu_count: option 'all' must be a boolean"
        helper.fails(text, function() mp.cpu_count { all = 1 } end)
        helper.fails("mp.cpu_count", function() mp.cpu_count(2) end)
        helper.fails("mp.cpu_count", function() mp.cpu_count "all" end)
    end)
end)

describe("the CPU quota", function()
    -- A tree of files below an empty folder: path to text.
    local function tree(files)
        local root = helper.tmpdir()
        for path, text in pairs(files) do
            local folder = root
            for part in path:gmatch "([^/]+)/" do
                folder = folder .. "/" .. part
                lfs.mkdir(folder)
            end
            helper.write(root .. path, text)
        end
        return root
    end

    local mount2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
    local mount1 = "33 25 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
    local other = "22 1 259:2 / / rw,relatime shared:1 - ext4 /dev/root rw\n"
        .. "24 22 0:5 / /proc rw - proc proc rw\n"

    local function v2(path, files)
        local all = { ["/proc/self/cgroup"] = "0::" .. path .. "\n", ["/proc/self/mountinfo"] = other .. mount2 }
        for name, text in pairs(files) do all["/sys/fs/cgroup" .. name] = text end
        return cgroup.cpu_quota(tree(all))
    end

    local function v1(path, files, mount)
        local all = {
            ["/proc/self/cgroup"] = "12:memory:/elsewhere\n4:cpu,cpuacct:" .. path .. "\n1:name=systemd:/x\n0::/y\n",
            ["/proc/self/mountinfo"] = other .. (mount or mount1),
        }
        for name, text in pairs(files) do all["/sys/fs/cgroup/cpu,cpuacct" .. name] = text end
        return cgroup.cpu_quota(tree(all))
    end

    it("of version 2 is that of cpu.max", function()
        assert.equal(1.5, v2("/", { ["/cpu.max"] = "150000 100000\n" }))
        assert.equal(0.5, v2("/a", { ["/a/cpu.max"] = "50000 100000\n" }))
        assert.equal(2, v2("/a.slice/b-1.scope", { ["/a.slice/b-1.scope/cpu.max"] = "20000 10000\n" }))
        assert.is_nil(v2("/a", { ["/a/cpu.max"] = "max 100000\n" }))
        assert.is_nil(v2("/a", {}))
    end)

    it("of version 2 is the least on the way up", function()
        assert.equal(1, v2("/a/b/c", {
            ["/a/cpu.max"] = "100000 100000\n",
            ["/a/b/cpu.max"] = "max 100000\n",
            ["/a/b/c/cpu.max"] = "400000 100000\n",
        }))
        assert.equal(3, v2("/a/b/c", { ["/a/cpu.max"] = "300000 100000\n", ["/other/cpu.max"] = "1000 100000\n" }))
    end)

    it("of version 1 is cfs_quota over cfs_period", function()
        assert.equal(2.5, v1("/", { ["/cpu.cfs_quota_us"] = "250000\n", ["/cpu.cfs_period_us"] = "100000\n" }))
        assert.equal(0.2, v1("/a/b", { ["/a/b/cpu.cfs_quota_us"] = "10000\n", ["/a/b/cpu.cfs_period_us"] = "50000\n" }))
        assert.is_nil(v1("/a", { ["/a/cpu.cfs_quota_us"] = "-1\n", ["/a/cpu.cfs_period_us"] = "100000\n" }))
        assert.equal(1, v1("/a/b", {
            ["/a/cpu.cfs_quota_us"] = "100000\n", ["/a/cpu.cfs_period_us"] = "100000\n",
            ["/a/b/cpu.cfs_quota_us"] = "-1\n", ["/a/b/cpu.cfs_period_us"] = "100000\n",
        }))
    end)

    it("in a container, whose group is the root of the mount, is found there", function()
        local id = "/docker/0123456789abcdef"
        local two = { ["/cpu.cfs_quota_us"] = "200000\n", ["/cpu.cfs_period_us"] = "100000\n" }
        local inner = { ["/inner/cpu.cfs_quota_us"] = "200000\n", ["/inner/cpu.cfs_period_us"] = "100000\n" }
        local mount = "33 25 0:29 " .. id .. " /sys/fs/cgroup/cpu,cpuacct ro master:9 - cgroup cgroup rw,cpu,cpuacct\n"
        assert.equal(2, v1(id, two, mount))
        assert.equal(2, v1(id .. "/inner", inner, mount))
        assert.equal(2, v1(id, two))
        assert.equal(2, v2("/", { ["/cpu.max"] = "200000 100000\n" }))
        assert.equal(2, v2("/../../outside", { ["/cpu.max"] = "200000 100000\n" }))
    end)

    it("is found where version 1 and 2 are mounted side by side", function()
        local hybrid = "30 23 0:26 / /sys/fs/cgroup/unified rw shared:4 - cgroup2 cgroup2 rw\n" .. mount1
        local files = { ["/a/cpu.cfs_quota_us"] = "200000\n", ["/a/cpu.cfs_period_us"] = "100000\n" }
        assert.equal(2, v1("/a", files, hybrid))
    end)

    it("is found where cpu is mounted alone, or at an unusual place", function()
        local root = tree {
            ["/proc/self/cgroup"] = "2:cpu:/a\n",
            ["/proc/self/mountinfo"] = "33 25 0:29 / /my\\040groups rw - cgroup none rw,cpu\n",
            ["/my groups/a/cpu.cfs_quota_us"] = "300000\n",
            ["/my groups/a/cpu.cfs_period_us"] = "100000\n",
        }
        assert.equal(3, cgroup.cpu_quota(root))
    end)

    it("is found whatever colons and spaces the group's name has", function()
        assert.equal(2, v2("/a:b c", { ["/a:b c/cpu.max"] = "200000 100000\n" }))
    end)

    it("is none where there are no groups, or nonsense", function()
        assert.is_nil(cgroup.cpu_quota(tree {}))
        assert.is_nil(cgroup.cpu_quota(tree { ["/proc/self/cgroup"] = "0::/\n" }))
        assert.is_nil(cgroup.cpu_quota(tree { ["/proc/self/mountinfo"] = other .. mount2 }))
        local nonsense = { ["/proc/self/cgroup"] = "\0\n::\n", ["/proc/self/mountinfo"] = "x - y\n\n" }
        assert.is_nil(cgroup.cpu_quota(tree(nonsense)))
        assert.is_nil(v2("/a", { ["/a/cpu.max"] = "" }))
        assert.is_nil(v2("/a", { ["/a/cpu.max"] = "100000 0\n" }))
        assert.is_nil(v1("/a", { ["/a/cpu.cfs_quota_us"] = "100000\n" }))
    end)

    it("of a real group bounds mp.cpu_count, rounded up", function()
        local group = ("/sys/fs/cgroup/cpu/luamp-spec-%d"):format(mp.getpid())
        if mp.cpu_count() < 2 or not os.execute("mkdir " .. group .. " 2>/dev/null") then
            pending "needs two CPUs and a cpu cgroup (version 1) that this user may write"
            return
        end
        local all = count()
        local function within(quota)
            helper.write(group .. "/cpu.cfs_quota_us", tostring(quota))
            return count { by = ("echo $$ >%s/cgroup.procs; exec"):format(group) }
        end
        local results = { within(100000), within(50000), within(100001), within(1000000), within(-1) }
        helper.wait_until(function() return os.execute("rmdir " .. group) end, "the end of the group")
        assert.same({ 1, 1, math.min(all, 2), all, all }, results)
    end)
end)

describe("the kills for memory", function()
    local function count_in(files)
        local root = helper.tmpdir()
        for path, text in pairs(files) do
            os.execute("mkdir -p " .. helper.quote(root .. path:match "^(.*)/"))
            helper.write(root .. path, text)
        end
        return cgroup.oom_kills(root)
    end

    it("are counted by version 2 in memory.events", function()
        assert.equal(2, count_in {
            ["/proc/self/cgroup"] = "0::/user/job\n",
            ["/proc/self/mountinfo"] = "30 23 0:26 / /cg rw - cgroup2 cgroup2 rw\n",
            ["/cg/user/job/memory.events"] = "low 0\nhigh 0\nmax 9\noom 3\noom_kill 2\noom_group_kill 0\n",
        })
    end)

    it("are counted by version 1 in memory.oom_control", function()
        assert.equal(5, count_in {
            ["/proc/self/cgroup"] = "4:memory:/job\n1:name=systemd:/\n0::/\n",
            ["/proc/self/mountinfo"] = "30 23 0:26 / /cg/memory rw - cgroup cgroup rw,memory\n",
            ["/cg/memory/job/memory.oom_control"] = "oom_kill_disable 0\nunder_oom 0\noom_kill 5\n",
        })
    end)

    it("are not known where no group counts them", function()
        assert.is_nil(count_in { ["/proc/self/cgroup"] = "0::/\n" })
        assert.is_nil(count_in {
            ["/proc/self/cgroup"] = "4:memory:/job\n",
            ["/proc/self/mountinfo"] = "30 23 0:26 / /cg/memory rw - cgroup cgroup rw,memory\n",
            ["/cg/memory/job/memory.oom_control"] = "oom_kill_disable 0\nunder_oom 0\n",
        })
    end)
end)
