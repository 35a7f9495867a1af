-- named_buffer_spec.lua: mp.buffer{name=}: memory under a name in /dev/shm, between programs that do not
-- know each other, and within a family.
local helper = require "spec.helper"
local lfs = require "lfs"
local mp = require "luamp"

local misuse, started, result_of = helper.misuse, helper.started, helper.result_of

local is_root = helper.run("id -u").stdout == "0\n"
local USER <const> = 65534
local as_user = is_root and { "setpriv", "--reuid=" .. USER, "--regid=" .. USER, "--clear-groups" } or {}

local count = 0
local left = {} -- paths that go with the test

-- A name that nobody else has, and where its file is.
local function fresh()
    count = count + 1
    local name = ("luamp-spec-%d-%d"):format(mp.getpid(), count)
    left[#left + 1] = "/dev/shm/" .. name
    return name, "/dev/shm/" .. name
end

local function made(size)
    local name, path = fresh()
    return mp.buffer { name = name, size = size or 100, create = true }, name, path
end

local function mode_of(path)
    return helper.run("stat -c '%a %u %s %F' " .. path).stdout
end

after_each(function()
    for _, path in ipairs(left) do os.execute("rm -rf " .. path) end
    left = {}
    helper.wait_until(function()
        collectgarbage()
        return mp.memory().kinds.named_buffers.count == 0
    end, "the end of all named buffers")
end)

describe("mp.buffer{name=, create=true}", function()
    it("makes a file of just these bytes, for its user alone", function()
        local name, path = fresh()
        local old = helper.run("umask").stdout
        local b = mp.buffer { name = name, size = 100, create = true }
        assert.equal(("600 %s 100 regular file\n"):format(helper.run("id -u").stdout:match "%d+"), mode_of(path))
        assert.equal(helper.run("umask").stdout, old)
        assert.equal(100, #b)
        assert.equal(("\0"):rep(100), b:read())
        b:write(3, "abc")
        assert.equal("\0\0abc" .. ("\0"):rep(95), helper.read(path))
        helper.write(path, ("x"):rep(100))
        assert.equal(("x"):rep(100), b:read())
    end)

    it("has all of its memory from the beginning", function()
        local _, _, path = made(1 << 20)
        local blocks = math.tointeger(tonumber(helper.run("stat -c '%b' " .. path).stdout))
        assert.is_true(blocks * 512 >= 1 << 20)
    end)

    it("is read and written as one without a name", function()
        local b = made(10)
        b:write(1, "0123456789")
        for _, i in ipairs { 1, 3, 10, 11, 0, -1, -3, -10, -11 } do
            for _, j in ipairs { 1, 3, 10, 11, 0, -1, -3, -10, -11 } do
                assert.equal(("0123456789"):sub(i, j), b:read(i, j))
            end
        end
        misuse("mp.buffer: write: 2 bytes have no room from 10 on, in a buffer of 10", function() b:write(10, "ab") end)
        misuse("have no room from 0 on", function() b:write(0, "a") end)
        b:write(11, "")
        assert.equal("0123456789", b:read())
        local large = made(3 << 20)
        local text = ("y"):rep(3 << 20)
        large:write(1, text)
        assert.is_true(large:read() == text)
    end)

    it("says its size and name", function()
        local b, name = made(7)
        assert.matches("^mp%.buffer: 0x%x+ %(7 bytes, '" .. name:gsub("%p", "%%%0") .. "'%)$", tostring(b))
        misuse("mp.buffer: field 'name' is read-only; it is given as an option", function() b.name = "x" end)
    end)

    it("raises where the name is taken, by whatever, and leaves that alone", function()
        local b, name, path = made(10)
        b:write(1, "mine")
        misuse(("mp.buffer: cannot make '%s': File exists"):format(name),
            function() mp.buffer { name = name, size = 20, create = true } end)
        assert.equal("mine\0\0\0\0\0\0", helper.read(path))
        for _, make in ipairs { "ln -s /nowhere %s", "mkdir %s", "mkfifo %s" } do
            local taken, at = fresh()
            os.execute(make:format(at))
            misuse(("mp.buffer: cannot make '%s': File exists"):format(taken),
                function() mp.buffer { name = taken, size = 20, create = true } end)
        end
    end)

    it("raises for what is no name, and says so", function()
        for _, name in ipairs { "", ".", "..", "a/b", "/a" } do
            misuse(("'%s': that is no name of a file: it must not be '.', '..', or contain '/'"):format(name),
                function() mp.buffer { name = name, size = 20, create = true } end)
            misuse("that is no name of a file", function() mp.buffer { name = name } end)
        end
        local long = ("n"):rep(256)
        misuse("File name too long", function() mp.buffer { name = long, size = 20, create = true } end)
        misuse("File name too long", function() mp.buffer { name = long } end)
        misuse("mp.buffer: option 'name' must be without zero bytes", function() mp.buffer { name = "a\0b" } end)
        misuse("mp.buffer: option 'name' must be a string, not 5", function() mp.buffer { name = 5 } end)
        misuse("mp.buffer: option 'create' must be a boolean", function() mp.buffer { name = "a", create = 1 } end)
        misuse("mp.buffer: option 'size' is missing: with 'create' one is made",
            function() mp.buffer { name = "a", create = true } end)
    end)

    it("leaves nothing when it raises", function()
        local name, path = fresh()
        misuse(("mp.buffer: cannot make '%s': not enough memory"):format(name),
            function() mp.buffer { name = name, size = "512T", create = true } end)
        assert.is_nil(lfs.attributes(path))
        local result = helper.script_run(([[
            local ok, e = pcall(mp.buffer, { name = "%s", size = "64M", create = true })
            print(ok, e)]]):format(name), "ulimit -f 20000")
        assert.matches("^false\t.-not enough memory to share %(the limit of file sizes, ulimit %-f%)\n$", result.stdout)
        assert.is_nil(lfs.attributes(path))
    end)

    it("raises when the mount is full, and does not die of it later", function()
        local mount = helper.run "unshare --mount true"
        if mount.status ~= 0 then pending "no mount of one's own here" end
        local script = helper.script [[
            local mp = require "luamp"
            print(pcall(mp.buffer, { name = "large", size = "2M", create = true }))
            local b = mp.buffer { name = "small", size = "512K", create = true }
            b:write(1, ("x"):rep(512 << 10))
            print(#b:read(), b:unlink())
            print(pcall(mp.buffer, { name = "large", size = "1536K", create = true }))]]
        local result = helper.run(("unshare --mount sh -c 'mount -t tmpfs -o size=1M tmpfs /dev/shm && exec %s %s'")
            :format(helper.host, script))
        assert.equal("", result.stderr)
        local lines = {}
        for line in result.stdout:gmatch "[^\n]+" do lines[#lines + 1] = line end
        assert.matches("^false\t.*mp%.buffer: cannot make 'large': No space left on device$", lines[1])
        assert.equal("524288\ttrue", lines[2])
        assert.matches("^false\t.*cannot make 'large': No space left on device$", lines[3])
    end)
end)

describe("mp.buffer{name=}", function()
    it("attaches what there is, of whatever size", function()
        local b, name, path = made(10)
        b:write(1, "shared")
        local c = mp.buffer { name = name }
        assert.equal(10, #c)
        assert.equal("shared", c:read(1, 6))
        c:write(7, "back")
        assert.equal("sharedback", b:read())
        assert.equal(10, #mp.buffer { name = name, size = 10 })
        local other, at = fresh()
        helper.write(at, "made by another program")
        os.execute("chmod 600 " .. at)
        assert.equal("made by another program", mp.buffer { name = other }:read())
        assert.equal(10, lfs.attributes(path, "size"))
    end)

    it("of no bytes has none, and is as good", function()
        local name, path = fresh()
        helper.write(path, "")
        local b = mp.buffer { name = name }
        assert.same({ 0, "" }, { #b, b:read() })
        b:write(1, "")
        misuse("have no room from 1 on, in a buffer of 0", function() b:write(1, "x") end)
    end)

    it("finds descriptors that garbage has", function()
        local name = fresh()
        local result = helper.script_run(([[
            collectgarbage "stop"
            local b = mp.buffer { name = "%s", size = 10, create = true }
            for _ = 1, 100 do mp.buffer { name = "%s" } end
            print(b:unlink())]]):format(name, name), "ulimit -n 60")
        assert.same({ 0, "", "true\n" }, { result.status, result.stderr, result.stdout })
    end)

    it("raises for what is not there, and for another size", function()
        local _, name = made(10)
        local none = fresh()
        misuse(("mp.buffer: cannot attach '%s': No such file or directory"):format(none),
            function() mp.buffer { name = none } end)
        misuse(("mp.buffer: cannot attach '%s': it has 10 bytes, and not 11"):format(name),
            function() mp.buffer { name = name, size = 11 } end)
    end)

    it("raises for what is no regular file, and does not touch it", function()
        local _, target = made(10)
        for make, text in pairs {
            ["ln -s " .. target .. " %s"] = "it is a symbolic link",
            ["ln -s /nowhere %s"] = "it is a symbolic link",
            ["mkdir %s"] = "it is no regular file",
            ["mkfifo %s"] = "it is no regular file",
        } do
            local name, path = fresh()
            os.execute(make:format(path))
            misuse(("mp.buffer: cannot attach '%s': %s"):format(name, text), function() mp.buffer { name = name } end)
        end
    end)

    it("raises for another user's, for root and for others", function()
        if not is_root then pending "only root can make a file another user's" end
        local name, path = fresh()
        helper.write(path, "theirs")
        os.execute(("chown %d %s; chmod 666 %s"):format(USER, path, path))
        misuse(("mp.buffer: cannot attach '%s': it belongs to another user"):format(name),
            function() mp.buffer { name = name } end)
        helper.needs_reachable_host(as_user)
        local _, mine = made(10)
        local result = helper.run(("%s %s -e %s"):format(table.concat(as_user, " "), helper.host, helper.quote(([[
            local mp = require "luamp"
            print(mp.buffer{ name = "%s" }:read())
            print(select(2, pcall(mp.buffer, { name = "%s" })))]]):format(name, mine))))
        assert.equal(("theirs\nmp.buffer: cannot attach '%s': it belongs to another user\n"):format(mine),
            (result.stdout:gsub("[^\n]*: (mp%.buffer:)", "%1")) .. result.stderr)
    end)

    it("works as an ordinary user", function()
        helper.needs_reachable_host(as_user)
        local name, path = fresh()
        local result = helper.run(("%s %s -e %s"):format(table.concat(as_user, " "), helper.host, helper.quote(([[
            local mp = require "luamp"
            local b = mp.buffer{ name = "%s", size = 5, create = true }
            local p = mp.process{ start_method = "spawn", args = { b }, target = function(b) b:write(1, "hello") end }
            p:start():join()
            print(mp.buffer{ name = "%s" }:read(), b:unlink())]]):format(name, name))))
        assert.equal("hello\ttrue\n", result.stdout .. result.stderr)
        assert.is_nil(lfs.attributes(path))
    end)

    it("is another program's, which ends and leaves it", function()
        local name, path = fresh()
        local result = helper.script_run(([[
            local b = mp.buffer { name = "%s", size = 100, create = true }
            b:write(1, "I was here")]]):format(name))
        assert.same({ 0, "" }, { result.status, result.stderr })
        local b = mp.buffer { name = name }
        assert.equal("I was here", b:read(1, 10))
        assert.is_true(b:unlink())
        assert.is_nil(lfs.attributes(path))
    end)

    it("is left by a killed creator, whole, and can be attached and unlinked", function()
        local name, path = fresh()
        local p = started(function()
            local b = mp.buffer { name = name, size = 1 << 20, create = true }
            b:write(1, "left")
            mp.sleep(60)
        end)
        helper.wait_until(function()
            local ok, b = pcall(mp.buffer, { name = name })
            return ok and #b == 1 << 20 and b:read(1, 4) == "left"
        end, "the buffer")
        p:kill()
        p:join()
        p:close()
        local b = mp.buffer { name = name }
        assert.equal("left", b:read(1, 4))
        assert.is_true(b:unlink())
        assert.is_nil(lfs.attributes(path))
    end)

    it("never sees one that is half made", function()
        local name, path = fresh()
        local size, rounds = 4 << 20, helper.sanitized and 10 or 40
        local stop = mp.value "integer"
        local p = started(function()
            local n = 0
            while stop:get() == 0 do
                local ok, b = pcall(mp.buffer, { name = name })
                if ok then
                    n = n + 1
                    if #b ~= size then error("it has " .. #b) end
                    b:close()
                end
            end
            return n
        end)
        for _ = 1, rounds do
            local b <close> = mp.buffer { name = name, size = size, create = true }
            mp.sleep(0.001)
            assert.is_true(b:unlink())
        end
        stop:set(1)
        assert.is_true(p:result() >= 0)
        p:close()
        assert.is_nil(lfs.attributes(path))
    end)
end)

describe("unlink", function()
    it("removes the name, once; who has the memory keeps it", function()
        local b, name, path = made(10)
        local c = mp.buffer { name = name }
        assert.is_true(b:unlink())
        assert.is_nil(lfs.attributes(path))
        assert.is_false(b:unlink())
        assert.is_false(c:unlink())
        b:write(1, "still")
        assert.equal("still", c:read(1, 5))
        misuse("No such file or directory", function() mp.buffer { name = name } end)
    end)

    it("leaves a file alone that has the name since", function()
        local b, name = made(10)
        assert.is_true(b:unlink())
        local new = mp.buffer { name = name, size = 20, create = true }
        assert.is_false(b:unlink())
        assert.equal(20, #mp.buffer { name = name })
        assert.is_true(new:unlink())
    end)

    it("is not done by the end of a handle", function()
        local b, name = made(10)
        b:close()
        b:close()
        misuse("mp.buffer: read: it is closed in this process", function() b:read() end)
        misuse("mp.buffer: unlink: it is closed in this process", function() b:unlink() end)
        assert.equal(10, #mp.buffer { name = name })
    end)
end)

describe("a named buffer in a family", function()
    it("travels, by whatever way, also when it has no name any more", function()
        local b, q = made(100), mp.queue()
        b:write(1, "before")
        assert.equal("before", (result_of(function(mine) return mine:read(1, 6) end, b)))
        assert.is_true(b:unlink())
        q:put(b)
        local back = result_of(function(inherited)
            local mine = q:get()
            if inherited ~= mine then error "two handles" end
            mine:write(1, "after!")
            return mine
        end, b)
        assert.is_true(back == b)
        assert.equal("after!", b:read(1, 6))
    end)

    it("travels by any start method, when it has no name any more", function()
        local b = made(10)
        b:unlink()
        for _, method in ipairs { "fork", "forkserver", "spawn" } do
            local q = mp.queue()
            local p <close> = mp.process { start_method = method, target = function()
                local mine = q:get()
                mine:write(1, method)
                return mine:read(1, #method)
            end }:start()
            q:put(b)
            assert.equal(method, p:result())
            assert.equal(method, b:read(1, #method))
        end
    end)

    it("travels from process to process, when the first one is gone", function()
        local b = made(10)
        b:unlink()
        local q, told, go = mp.queue(), mp.queue(), mp.queue()
        local first = started(function(mine)
            mine:write(1, "handed on")
            q:put(mine)
            go:get()
        end, b)
        local second = started(function()
            local mine = q:get()
            told:put "there"
            go:get()
            q:put(mine)
            go:get()
        end)
        assert.equal("there", told:get())
        b:close()
        b = nil -- luacheck: ignore
        collectgarbage()
        first:kill()
        first:join()
        first:close()
        go:put(1)
        assert.equal("handed on", (q:get():read(1, 9)))
        go:put(2)
        second:result()
        second:close()
    end)

    it("that nobody has any more cannot be had, and says why", function()
        local q = mp.queue()
        local name = fresh()
        local p = started(function()
            local b = mp.buffer { name = name, size = 10, create = true }
            b:unlink()
            q:put(b)
        end)
        p:result()
        p:close()
        local b = q:get()
        misuse(("mp.buffer: cannot have '%s': it was unlinked, and no process of the family that has it was found")
            :format(name), function() b:read() end)
        misuse("it was unlinked", function() b:write(1, "x") end)
        assert.equal(10, #b)
        -- nor is another one taken for it
        local new = mp.buffer { name = name, size = 10, create = true }
        misuse("it was unlinked", function() b:read() end)
        new:unlink()
    end)

    it("keeps no descriptor when it is gone", function()
        local before = 0
        for _ in pairs(helper.fds()) do before = before + 1 end
        for _ = 1, 50 do
            local b = made(10)
            local c <close> = mp.buffer { name = tostring(b):match "'(.-)'" }
            assert.equal(10, #c)
            b:unlink()
            b:close()
        end
        local after = 0
        for _ in pairs(helper.fds()) do after = after + 1 end
        assert.equal(before, after)
        assert.equal("table", type(mp.memory().kinds.named_buffers))
    end)

    it("whose file was made shorter says so, and kills nobody", function()
        local b, name, path = made(10000)
        b:write(1, ("x"):rep(10000))
        os.execute(": > " .. path)
        misuse(("mp.buffer: cannot read '%s': its file was made shorter by somebody"):format(name),
            function() b:read() end)
        misuse(("mp.buffer: cannot write to '%s': its file was made shorter by somebody"):format(name),
            function() b:write(1, "x") end)
        assert.equal(0, lfs.attributes(path, "size"))
        assert.equal(10000, #b)
    end)

    it("has memory for C modules, which is the file", function()
        local before = package.cpath
        package.cpath = helper.library("mapped", ([[
            #include "%s/include/luamp.h"
            #include <string.h>
            static int put(lua_State *L) {
                luamp_memory m;
                luamp_checkmemory(L, 1, &m);
                memcpy(m.pointer, "from C", 6);
                lua_pushinteger(L, (lua_Integer)m.bytes);
                lua_pushinteger(L, m.type == LUAMP_UINT8);
                return 2;
            }
            int luaopen_mapped(lua_State *L) { lua_pushcfunction(L, put); return 1; }]]):format(lfs.currentdir()))
        local put = require "mapped"
        package.cpath, package.loaded.mapped = before, nil
        local b, _, path = made(5000)
        assert.same({ 5000, 1 }, { put(b) })
        assert.same({ 5000, 1 }, { put(b) })
        assert.equal("from C", b:read(1, 6))
        assert.equal("from C", helper.read(path):sub(1, 6))
        b:close()
        helper.fails("(it is closed in this process)", put, b)
    end)
end)
