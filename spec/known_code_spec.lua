-- known_code_spec.lua: the code of a function goes to a forkserver once, however many processes
-- it is sent to, and arrives as it is; a new forkserver is taught anew.
local helper = require "spec.helper"
require "luamp"
local core = require "luamp.core"

-- Writes a line for each packet that the process sends: what it is by its first byte, and its length.
local wire = [[
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
ssize_t sendmsg(int fd, const struct msghdr *m, int flags) {
    ssize_t (*real)(int, const struct msghdr *, int) = dlsym(RTLD_NEXT, "sendmsg");
    ssize_t n = real(fd, m, flags);
    int log = open(getenv("WIRE"), O_WRONLY | O_APPEND | O_CLOEXEC);
    if (n > 0 && log >= 0)
        dprintf(log, "%s %zd\n", *(char *)m->msg_iov[0].iov_base == '1' ? "order" : "lesson", n);
    close(log);
    return n;
}
]]

-- What scripts share: starts by the forkserver, and what was sent since it was asked last.
local first = [[
mp.set_start_method "forkserver"
local core = require "luamp.core"
local function value_of(f, ...)
    local p <close> = mp.process { target = f, args = table.pack(...), stderr = "null" }:start()
    return p:result(20)
end
-- The lengths of the packets, and how much they are together.
local function sent()
    local lessons, orders, bytes = {}, {}, 0
    for line in io.lines(os.getenv "WIRE") do
        local what, n = line:match "^(%a+) (%d+)$"
        table.insert(what == "order" and orders or lessons, math.tointeger(n))
        bytes = bytes + n
    end
    io.open(os.getenv "WIRE", "w"):close()
    return lessons, orders, bytes
end
local function server()
    local pipe <close> = io.popen("pgrep -x -P " .. mp.getpid() .. " luamp-server")
    return pipe:read "n"
end
local function signal_server(name)
    local before = server()
    os.execute(("kill -%s %d"):format(name, before))
end
-- A function with that many bytes of code, and some.
local function large(n, value)
    return load(("local s = %q return function(...) return %d, #s, ... end"):format(("x"):rep(n), value), "=large")()
end
local function large_code(n, value)
    return load(("return #%q, %d"):format(("x"):rep(n), value), "=large")
end
]]

local function prints(expected, text)
    if helper.sanitized then pending "a sanitizer has to be loaded before what looks at packets" end
    local folder = helper.library("wire", wire):match ";([^;]*)/%?%.so$"
    local log = folder .. "/log"
    helper.write(log, "")
    local script = helper.script("local mp = require 'luamp'\n" .. first .. text)
    local result = helper.run(("timeout 60 %s %s"):format(helper.host, script),
        { env = { LD_PRELOAD = folder .. "/wire.so", WIRE = log } })
    assert.same({ 0, expected, "" }, { result.status, result.stdout, result.stderr })
end

describe("the code of a function", function()
    it("goes to the forkserver once", function()
        prints("2000\t1\n1\t1\ttrue\n2000\t1\t5\n2000\t1\t6\n0\t2\ttrue\ttrue\n", [[
            local f = large_code(2000, 1)
            local code = #string.dump(f)
            print(value_of(f))
            local lessons, orders, bytes = sent()
            print(#lessons, #orders, lessons[1] > code)
            local function both(x) return select(1, f()), select(2, f()), x end
            value_of(both, 5) -- brings code of its own
            sent()
            print(value_of(both, 5))
            print(value_of(both, 6))
            local again, later, less = sent()
            print(#again, #later, less / 2 < bytes - code, later[1] < code)]])
    end)

    it("is the same for all closures of it, whose upvalues go each time", function()
        prints("1\t1\n2\t0\nthree\t0\n", [[
            local function make(x) return function() return x end end
            for _, value in ipairs { 1, 2, "three" } do print(value_of(make(value)), #sent()) end]])
    end)

    it("is another if a line or a name is", function()
        prints("one:2: no\t1\none:5: no\t1\ntwo:2: no\t1\none:2: no\t0\none:5: no\t0\ntwo:2: no\t0\n", [[
            local text = "return function()\nlocal x = 1 error 'no' return x\nend"
            local list = { load(text, "=one")(), load("\n\n\n" .. text, "=one")(), load(text, "=two")() }
            for _ = 1, 2 do
                for i, f in ipairs(list) do
                    local ok, e = pcall(value_of, f)
                    assert(not ok and e.traceback:find(({ "one:2:", "one:5:", "two:2:" })[i], 1, true), e.traceback)
                    print(e.message, #sent())
                end
            end]])
    end)

    it("is referred to where functions share it, deep in tables, and in functions", function()
        prints(("150\t150\t3\t7\ttrue\n"):rep(2) .. "0\n", [[
            local function make(n) return function() n = n + 1 return n end, function() return n end end
            local inc, get = make(2)
            local other_inc, other_get = make(7)
            local function nested(n) return n > 0 and nested(n - 1) + 1 or 0 end
            local chain = get
            for _ = 1, 150 do
                local inner = chain
                chain = { function() return inner end, ("s"):rep(40000) }
            end
            local function target(list, c, ...)
                local n = 0
                while type(c) == "table" do c, n = c[1](), n + 1 end
                list[1]()
                return n, nested(150), list[2]() + 0, list[4](), rawequal(c, list[2]) and ... == "end"
            end
            for _ = 1, 2 do
                sent()
                print(value_of(target, { inc, get, other_inc, other_get }, chain, "end"))
            end
            print(#sent())]])
    end)

    it("goes in the message by spawn", function()
        prints("2000\t1\n0\t0\n", [[
            mp.set_start_method "spawn"
            print(value_of(large_code(2000, 1)))
            local lessons, orders = sent()
            print(#lessons, #orders)]])
    end)

    it("of more functions than one packet, or the socket, has room for arrives", function()
        prints("3000\t4501500\ttrue\n3000\t4501500\n0\n", [[
            local list = {}
            for i = 1, 3000 do list[i] = load("return " .. i .. ", 'some text that makes it longer'", "=" .. i) end
            local function target(all)
                local sum = 0
                for i, f in ipairs(all) do sum = sum + f() assert(debug.getinfo(f, "S").source == "=" .. i) end
                return #all, sum
            end
            local n, sum = value_of(target, list)
            print(n, sum, #sent() > 10)
            print(value_of(target, list))
            print(#sent())]])
    end)
end)

describe("a forkserver that takes the place of another", function()
    it("is taught anew what messages refer to, whatever became of the other", function()
        prints("1\t2000\t2\n" .. ("1\t2000\t1\ttrue\n"):rep(4), [[
            local f, g = large(2000, 1), large_code(3000, 2)
            local n, len = value_of(f)
            value_of(g)
            print(n, len, #sent())
            for _, renew in ipairs {
                function() signal_server "KILL" end,
                function() core.set_env("ANOTHER", "server") end,
                function() signal_server "KILL" os.execute("sleep 0.05") end,
                function() core.set_env("ANOTHER", "third") end,
            } do
                renew()
                n, len = value_of(f)
                local lessons = sent()
                print(n, len, #lessons, lessons[1] > 3000)
            end]])
    end)

    it("and is a child's own is taught, too", function()
        prints("1\t2000\t0\n1\t2000\t1\n1\t2000\t1\n1\t2000\t0\n", [[
            local f = large(2000, 1)
            value_of(f)
            sent()
            local function start()
                local n, len = value_of(f)
                return n, len, #sent()
            end
            print(start())
            for _, method in ipairs { "fork", "spawn" } do
                local p <close> = mp.process { target = start, start_method = method }:start()
                print(p:result())
            end
            print(start())]])
    end)

    it("that is stopped learns when it goes on, also what is more than the socket has room for", function()
        prints("1000\t500500\n", [[
            value_of(function() end)
            signal_server "STOP"
            local list = {}
            for i = 1, 1000 do list[i] = load("return " .. i .. ", '" .. ("x"):rep(500) .. "'", "=" .. i) end
            print(value_of(function(all)
                local sum = 0
                for _, f in ipairs(all) do sum = sum + f() end
                return #all, sum
            end, list))]])
    end)
end)

it("what a forkserver knows is bounded, and more goes in the messages", function()
    prints(("true\n"):rep(10) .. "true\ttrue\n", [[
        local size, taught = 1 << 20, 0
        local list = {}
        for i = 1, 5 do list[i] = large_code(size, i) end
        for _ = 1, 2 do
            for i, f in ipairs(list) do
                local n, value = value_of(f)
                for _, length in ipairs((sent())) do taught = taught + length end
                print(n == size and value == i)
            end
        end
        print(taught > 3 * size, taught < 4 * size + 200 * 300)]])
end)

describe("a message by hand", function()
    it("finds code in a child of a forkserver by its place and its hash, and not by one of them", function()
        prints("1\t0\t0\n", [[
            local f = large_code(100, 7)
            print(value_of(function(g)
                local code = string.dump(g)
                local hash = 0xcbf29ce484222325 ~ #code
                code = code .. ("\0"):rep(7)
                for at = 1, #code - 7, 8 do
                    hash = (hash ~ string.unpack("<i8", code, at)) * 0x100000001b3
                    hash = hash ~ hash >> 29
                end
                local function finds(place, h)
                    local known = "\xb8" .. string.pack("<I4i8", place, h)
                    local ok, back = pcall(core.decode, "\1\xb0\1" .. known .. "\xa0", true)
                    return ok and select(2, back()) == 7 and 1 or 0
                end
                local right, wrong, none = 0, 0, 0
                for place = 0, 1000 do
                    right, wrong = right + finds(place, hash), wrong + finds(place, hash ~ 1)
                    none = none + finds(place, 0) + finds(place | 1 << 31, hash)
                end
                return right, wrong, none
            end, f))]])
    end)

    it("that refers to code which was not taught is refused", function()
        for place = 0, 40 do
            local known = "\xb8" .. string.pack("<I4I8", place, place * 8)
            assert.same({ false, "not a luamp message" }, { pcall(core.decode, "\1\xb0\0" .. known, true) })
        end
        assert.same({ false, "not a luamp message" }, { pcall(core.decode, "\1\xb0\0\xb8\1\0\0", true) })
        assert.same({ false, "not a luamp message" },
            { pcall(core.decode, core.frame("\1\xb0\0\xb8" .. ("\0"):rep(12))) })
    end)
end)
