-- budget_spec.lua: how much memory may still be taken, by a program made of the engine's part alone.
local helper = require "spec.helper"
local mp = require "luamp"

local MIB = 1 << 20
local root = os.execute "test $(id -u) -eq 0"

local program -- its bytes, once it is built

local function build(folder)
    local path = folder .. "/budget"
    if program then
        helper.write(path, program)
        assert(os.execute("chmod 755 " .. path))
        return
    end
    local made = helper.run("cc -static -std=gnu11 -D_GNU_SOURCE -O2 -Isrc -o " .. path
        .. " spec/engine/budget.c src/engine/budget.c")
    assert.equal(0, made.status, made.stderr)
    program = helper.read(path)
end

local function numbers(run)
    assert.equal(0, run.status, run.stderr)
    local list = {}
    for line in run.stdout:gmatch "[^\n]+" do list[#list + 1] = math.tointeger(tonumber(line)) end
    return table.unpack(list)
end

-- What it says where these files are all there is.
local function left(files)
    local folder = helper.tmpdir()
    build(folder)
    for path, text in pairs(files) do
        assert(os.execute(("mkdir -p '%s'"):format((folder .. path):match "^(.*)/")))
        helper.write(folder .. path, text)
    end
    return (numbers(helper.run(("chroot %s /budget"):format(folder))))
end

local function it_for_root(what, test)
    it(what, function()
        if not root then
            pending "needs root, for another root folder"
            return
        end
        test()
    end)
end

local mount1 = "35 31 0:32 / /cg/memory rw,relatime - cgroup cgroup rw,memory\n"
local mount2 = "30 23 0:26 / /cg rw shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
local no_limit = "9223372036854771712\n"

describe("the budget of memory", function()
    it_for_root("is what the machine has available, less a reserve", function()
        assert.equal(1024 * MIB - 64 * MIB, left {
            ["/proc/meminfo"] = "MemTotal: 4194304 kB\nMemFree: 1 kB\nMemAvailable: 1048576 kB\nSwapFree: 99999 kB\n" })
        assert.equal(0, left { ["/proc/meminfo"] = "MemTotal: 4194304 kB\nMemAvailable: 60000 kB\n" })
    end)

    it_for_root("has no bound where nothing can be read", function()
        assert.equal(math.maxinteger, left {})
        assert.equal(math.maxinteger, left {
            ["/proc/self/cgroup"] = "\0\n::\n4:memory\n", ["/proc/self/mountinfo"] = "x - y\n - cgroup2\n\n" })
    end)

    it_for_root("is what the group has left in version 2, on the whole way up", function()
        local files = {
            ["/proc/self/cgroup"] = "0::/user/job\n",
            ["/proc/self/mountinfo"] = "24 1 0:5 / /proc rw - proc proc rw\n" .. mount2,
            ["/cg/user/job/memory.max"] = "max\n",
            ["/cg/user/job/memory.high"] = "max\n",
            ["/cg/user/job/memory.current"] = "1000\n",
        }
        assert.equal(math.maxinteger, left(files))
        files["/cg/user/memory.max"] = 256 * MIB .. "\n"
        files["/cg/user/memory.current"] = 100 * MIB .. "\n"
        files["/cg/user/memory.stat"] = "file 1\ninactive_file " .. 10 * MIB .. "\n"
        assert.equal((256 - 100 + 10 - 8) * MIB, left(files))
        files["/cg/user/job/memory.high"] = 64 * MIB .. "\n"
        assert.equal(60 * MIB - 1000, left(files))
        files["/cg/user/memory.current"] = 250 * MIB .. "\n"
        assert.equal((256 - 250 + 10 - 8) * MIB, left(files))
        files["/cg/user/memory.stat"] = nil
        assert.equal(0, left(files))
    end)

    it_for_root("is what the group has left in version 1", function()
        local files = {
            ["/proc/self/cgroup"] = "5:devices:/x\n4:hugetlb,memory:/job\n0::/\n",
            ["/proc/self/mountinfo"] = mount2 .. mount1,
            ["/cg/memory/job/memory.limit_in_bytes"] = no_limit,
            ["/cg/memory/job/memory.usage_in_bytes"] = "5\n",
        }
        assert.equal(math.maxinteger, left(files))
        files["/cg/memory/job/memory.limit_in_bytes"] = 128 * MIB .. "\n"
        files["/cg/memory/job/memory.stat"] = "inactive_file 1\ntotal_inactive_file 7\n"
        assert.equal(124 * MIB - 5 + 7, left(files))
    end)

    it_for_root("is read where a container shows its part only", function()
        local files = {
            ["/proc/self/cgroup"] = "0::/docker/1/in\n",
            ["/proc/self/mountinfo"] = "30 23 0:26 /docker/1 /my\\040cg ro - cgroup2 cgroup rw\n",
            ["/my cg/in/memory.max"] = 128 * MIB .. "\n",
            ["/my cg/in/memory.current"] = "0\n",
        }
        assert.equal(124 * MIB, left(files))
        for _, path in ipairs { "/", "/elsewhere/2", "/../2", "/docker/12" } do
            assert.equal(60 * MIB, left {
                ["/proc/self/cgroup"] = "0::" .. path .. "\n",
                ["/proc/self/mountinfo"] = "30 23 0:26 /docker/1 /cg ro - cgroup2 cgroup rw\n",
                ["/cg/memory.max"] = 64 * MIB .. "\n",
                ["/cg/memory.current"] = "0\n",
            }, path)
        end
    end)

    it("is less by what is taken in a real group", function()
        local group = ("/sys/fs/cgroup/memory/luamp-spec-%d"):format(mp.getpid())
        if not os.execute(("mkdir %s 2>/dev/null"):format(group)) then
            pending "needs a memory cgroup (version 1) that this user may write"
            return
        end
        local folder = helper.tmpdir()
        build(folder)
        local run = helper.run(([[
            echo %d >%s/memory.limit_in_bytes && echo $$ >%s/cgroup.procs && exec %s/budget %d]])
            :format(128 * MIB, group, group, folder, 100 * MIB))
        helper.wait_until(function() return os.execute("rmdir " .. group) end, "the end of the group")
        local before, after, child = numbers(run)
        assert.is_true(before > 110 * MIB and before <= 124 * MIB, run.stdout)
        assert.is_true(math.abs(before - after - 100 * MIB) < 4 * MIB, run.stdout)
        assert.is_true(math.abs(after - child) < 4 * MIB, run.stdout)
    end)
end)
