-- Memory that is short for what the family shares: by luamp's own limit, by the limits of the
-- process. It is an error at the caller, never a signal, and the queue is as good as before.
-- And a process that is killed while it puts or gets much gives it back.
local helper = require "spec.helper"

-- A queue that is filled until there is no more; then what it has, and whether it goes on.
local fill = [[
local q = mp.queue()
q:put "first"
local function fill(size)
    for i = 1, 400000 do
        local ok, e = pcall(q.put, q, ("x"):rep(size))
        if not ok then return i - 1, e end
    end
    return "no end"
end
local function drain(size)
    local n = 0
    for item in function() return q:get(0) end do
        assert(item == ("x"):rep(size))
        n = n + 1
    end
    return n
end
assert(q:get() == "first")
]]

local function run(text, before)
    local result = helper.script_run(fill .. text, before)
    assert.same({ 0, "" }, { result.status, result.stderr })
    return result.stdout
end

it("luamp's own limit is an error at the caller, whatever the size of items, and the queue is good", function()
    local said = run [[
        local backed = mp.memory { limit = "3M" }.backed
        for _, size in ipairs { 1 << 20, 40000, 3000, 500, 10, 200000 } do
            local n, e = fill(size)
            assert(math.type(n) == "integer" and n > 0 and n < 400000, n)
            print(size, (tostring(e):match "^[^\n]*":gsub("^[^ ]*:%d+: ", "")))
            assert(#q == n and drain(size) == n)
            assert(q:put "again" and q:get() == "again")
        end
        assert(mp.memory().backed <= math.max(backed, 3 << 20))
        for _, make in ipairs { mp.queue, mp.priority_queue, mp.pipe } do
            local list = {}
            local ok, e
            repeat
                ok, e = pcall(function() list[#list + 1] = { make() } end)
            until not ok
            print((tostring(e):gsub("^[^ ]*:%d+: ", "")))
            list = nil
            collectgarbage()
            collectgarbage()
        end
        local p = mp.process(function() return pcall(q.put, q, ("x"):rep(4 << 20)) end):start()
        print((select(2, p:result()):gsub("^[^ ]*:%d+: ", "")))
        mp.memory { limit = "64M" }
        assert(q:put(("x"):rep(4 << 20)) and #q:get() == 4 << 20)
        print "good"]]
    local words = "not enough memory to share (the family's own limit)\n"
    local wanted = {}
    for _, size in ipairs { 1 << 20, 40000, 3000, 500, 10, 200000 } do
        wanted[#wanted + 1] = size .. "\tmp.queue: put: " .. words
    end
    assert.equal(table.concat(wanted) .. "mp.queue: " .. words .. "mp.priority_queue: " .. words .. "mp.pipe: " .. words
        .. "mp.queue: put: " .. words .. "good\n", said)
end)

for _, limit in ipairs { "ulimit -f 100000", "ulimit -f 60000" } do
    it(("by %q it is an error at the caller, and the queue is good"):format(limit), function()
        assert.equal("mp.queue: put: not enough memory to share (the limit of file sizes, ulimit -f)\ngood\n", run([[
            local n, e = fill(1 << 20)
            assert(n ~= "no end", n)
            print((tostring(e):gsub("^[^ ]*:%d+: ", "")))
            assert(#q == n and drain(1 << 20) == n)
            assert(q:put "again" and q:get() == "again")
            print "good"]], limit))
    end)
end

it("where no file may have a length, memory is shared all the same", function()
    local script = helper.script("local mp = require 'luamp'\n" .. fill .. [[
        local p = mp.process(function() return q:put(("x"):rep(5 << 20)) end):start()
        assert(p:result() and #q:get(1) == 5 << 20)
        print "ok"]])
    local result = helper.run(("sh -c 'ulimit -f 0; exec %s %s' | cat"):format(helper.host, script))
    assert.same({ 0, "", "ok\n" }, { result.status, result.stderr, result.stdout })
end)

for _, does in ipairs { "put", "get" } do
    it(("of a process that is killed in a %s of 64 MiB nothing is left, and nobody hangs"):format(does), function()
        assert.equal("whole\n", run([[
            local function used()
                collectgarbage()
                collectgarbage()
                return mp.memory().used
            end
            -- What the system has given, and the arena does not know of.
            local function unknown()
                local pipe <close> = io.popen(("for fd in /proc/%d/fd/*; do case $(readlink $fd) in *luamp-family*) "
                    .. "stat -L -c %%b $fd; break; esac; done"):format(mp.getpid()))
                return pipe:read "n" * 512 - mp.memory().backed
            end
            local much = ("x"):rep(64 << 20)
            local unknown_before = unknown()
            local before = used()
            math.randomseed(]] .. os.time() .. [[)
            for _ = 1, 20 do
                if "]] .. does .. [[" == "get" then q:put(much) end
                local p = mp.process(function()
                    if "]] .. does .. [[" == "get" then q:get() else q:put(much) end
                    mp.sleep(1000)
                end):start()
                mp.sleep(math.random() * 0.06)
                p:kill()
                p:join()
                local item = q:get(0)
                assert(item == nil or item == much)
                item = nil -- luacheck: ignore
                assert(q:put "small" and q:get(1) == "small")
                p:close()
                assert(used() == before, used() - before)
            end
            assert(unknown() - unknown_before < 4 << 20, unknown() - unknown_before)
            print "whole"]]))
    end)
end

it("below a control group's limit it is an error at the caller, for several at once, and nobody is killed", function()
    if helper.sanitized then pending "a sanitizer keeps what is freed" end
    local enter, remove = helper.memory_group(192 << 20)
    local result = helper.script_run([[
        local q, list = mp.queue(), {}
        for i = 1, 4 do
            list[i] = mp.process(function()
                local item, n = ("x"):rep(1 << 20), 0
                local ok, e
                repeat ok, e = pcall(q.put, q, item) n = n + 1 until not ok or n > 400
                return n, (tostring(e):match "^[^\n]*":gsub("^[^ ]*:%d+: ", ""))
            end):start()
        end
        local sum = 0
        for _, p in ipairs(list) do
            local n, words = p:result()
            assert(words == "mp.queue: put: not enough memory to share", words)
            sum = sum + n - 1
        end
        assert(#q == sum and sum > 3, sum)
        for _ = 1, sum do assert(#q:get() == 1 << 20) end
        assert(q:put "again" and q:get() == "again")
        print "good"]], enter)
    remove()
    assert.same({ 0, "good\n", "" }, { result.status, result.stdout, result.stderr })
end)
