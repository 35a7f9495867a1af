-- buffer_spec.lua: mp.buffer without a name: bytes that processes share; and how C modules come to the
-- memory of buffers, arrays and values (include/luamp.h).
local helper = require "spec.helper"
local lfs = require "lfs"
local mp = require "luamp"

local misuse, started, result_of = helper.misuse, helper.started, helper.result_of

after_each(function()
    helper.wait_until(function()
        collectgarbage()
        local kinds = mp.memory().kinds
        return kinds.buffers.count == 0 and kinds.arrays.count == 0
    end, "the end of all buffers")
end)

describe("mp.buffer", function()
    it("is all zero bytes at first", function()
        for _, size in ipairs { 1, 40, 4096, 1 << 20 } do
            local b = mp.buffer(size)
            assert.equal(size, #b)
            assert.equal(("\0"):rep(size), b:read())
        end
        assert.equal(4096, #mp.buffer "4K")
        assert.equal(1 << 20, #mp.buffer { size = "1M" })
        assert.equal(7, #mp.buffer { size = 7.0 })
    end)

    it("is read as string.sub reads", function()
        local text = "0123456789"
        local b = mp.buffer(#text)
        b:write(1, text)
        assert.equal(text, b:read())
        local places = { 1, 2, 5, 10, 11, 12, 0, -1, -2, -10, -11, math.maxinteger, math.mininteger, 3.0 }
        for _, i in ipairs(places) do
            assert.equal(text:sub(i), b:read(i))
            for _, j in ipairs(places) do assert.equal(text:sub(i, j), b:read(i, j)) end
        end
        assert.equal(text:sub(1, 4), b:read(nil, 4))
    end)

    it("is written where there is room, or not at all", function()
        local b = mp.buffer(10)
        b:write(1, "abc")
        b:write(8, "xyz")
        b:write(11, "")
        b:write(5.0, "\0\255")
        local whole = "abc\0\0\255\0xyz"
        assert.equal(whole, b:read())
        misuse("mp.buffer: write: 4 bytes have no room from 8 on, in a buffer of 10", function() b:write(8, "1234") end)
        misuse("mp.buffer: write: 1 bytes have no room from 0 on", function() b:write(0, "1") end)
        misuse("have no room from -1 on", function() b:write(-1, "1") end)
        misuse("have no room from 12 on", function() b:write(12, "") end)
        misuse("have no room from " .. math.mininteger, function() b:write(math.mininteger, "1") end)
        misuse("have no room from " .. math.maxinteger, function() b:write(math.maxinteger, "1") end)
        misuse("mp.buffer: write: nil is no index", function() b:write() end)
        misuse('mp.buffer: write: the string "1" is no index', function() b:write("1", "1") end)
        misuse("mp.buffer: write: a string is expected, not 5", function() b:write(1, 5) end)
        misuse("mp.buffer: read: 1.5 is no index", function() b:read(1.5) end)
        misuse("mp.buffer: read: 1.5 is no index", function() b:read(1, 1.5) end)
        assert.equal(whole, b:read())
    end)

    it("holds strings of any length", function()
        local b = mp.buffer(3 << 20)
        for _, len in ipairs { 0, 1, 40, 41, 255, 256, 257, 100000, 3 << 20 } do
            local text = ("x"):rep(len)
            b:write(1, text)
            assert.is_true(b:read(1, len) == text)
        end
    end)

    it("says its size, and has no name", function()
        local b = mp.buffer(5)
        assert.matches("^mp%.buffer: 0x%x+ %(5 bytes%)$", tostring(b))
        misuse("mp.buffer: unlink: it has no name", function() b:unlink() end)
    end)

    it("is closed for this process, and harmlessly again", function()
        local b <close> = mp.buffer(5)
        b:close()
        b:close()
        for _, method in ipairs { "read", "write", "unlink" } do
            misuse(("mp.buffer: %s: it is closed in this process"):format(method), function() b[method](b, 1, "") end)
        end
        misuse("mp.buffer: #: it is closed in this process", function() return #b end)
        assert.matches("^mp%.buffer: 0x%x+ %(closed%)$", tostring(b))
    end)

    it("tells misuse at the caller's line", function()
        for _, size in ipairs { 0, -1, 1.5, "x", true } do
            misuse("must be a number of bytes from 1 on, or a text as \"512M\" (K, M, G, T), not ",
                function() mp.buffer(size) end)
        end
        misuse("mp.buffer: the size must be a number of bytes from 1 on", function() mp.buffer() end)
        misuse("mp.buffer: option 'size' must be a number of bytes", function() mp.buffer { size = -1 } end)
        misuse("mp.buffer: unknown option 'sise' (did you mean 'size'?)", function() mp.buffer { sise = 1 } end)
        misuse("mp.buffer: option 'size' or 'name' is missing", function() mp.buffer {} end)
        misuse("mp.buffer: option 'name' is missing", function() mp.buffer { size = 1, create = true } end)
        misuse("and nothing else", function() mp.buffer(1, 2) end)
        misuse("mp.buffer: not enough memory to share", function() mp.buffer "512T" end)
        local b = mp.buffer(5)
        misuse("mp.buffer: read: it must be called with a colon, on such an object", function() b.read() end)
        misuse("mp.buffer: field 'size' is read-only; it is given as an option: mp.buffer{size=...}",
            function() b.size = 1 end)
        misuse("mp.buffer: its fields cannot be assigned ('x')", function() b.x = 1 end)
        for _, other in ipairs { io.stdout, 5, {}, mp.value "int8" } do
            local meta = debug.getmetatable(b)
            meta.__gc(other)
            meta.__close(other)
            for _, event in ipairs { "__newindex", "__len", "__tostring" } do
                assert.is_false((pcall(meta[event], other, 1, 1)))
            end
        end
    end)

    it("travels, and counts in mp.memory", function()
        local b, q = mp.buffer(100000), mp.queue()
        local kinds = mp.memory().kinds
        assert.equal(1, kinds.buffers.count)
        assert.is_true(kinds.buffers.bytes >= 100000 and kinds.buffers.bytes < 110000)
        q:put(b)
        local back, made = result_of(function()
            local mine = q:get()
            mine:write(99991, "from there")
            local own = mp.buffer(3)
            own:write(1, "own")
            return mine, own
        end)
        assert.is_true(back == b)
        assert.equal("from there", b:read(-10))
        assert.equal("own", made:read())
    end)

    it("gives short strings that are sound while others write", function()
        local b, stop = mp.buffer(8), mp.value "integer"
        local p = started(function()
            while stop:get() == 0 do
                b:write(1, "aaaaaaaa")
                b:write(1, "bbbbbbbb")
            end
        end)
        for _ = 1, helper.sanitized and 2000 or 50000 do
            local s = b:read()
            local parts = {}
            for c in s:gmatch "." do parts[#parts + 1] = c end
            if table.concat(parts) ~= s then error "two strings of the same bytes differ" end
        end
        stop:set(1)
        p:result()
        p:close()
    end)
end)

-- A C module that sums doubles, fills bytes, adds atomically, and tells what it was given.
local source = [[
#include <luamp.h>
#include <string.h>
static int describe(lua_State *L) {
    luamp_memory m;
    luamp_checkmemory(L, 1, &m);
    lua_pushinteger(L, m.type);
    lua_pushinteger(L, (lua_Integer)m.size);
    lua_pushinteger(L, (lua_Integer)m.n);
    lua_pushinteger(L, (lua_Integer)m.bytes);
    lua_pushboolean(L, (uintptr_t)m.pointer % 64 == 0);
    return 5;
}
static int total(lua_State *L) {
    luamp_memory m;
    luamp_checkmemory(L, 1, &m);
    luaL_argcheck(L, m.type == LUAMP_DOUBLE, 1, "an array of double expected");
    double sum = 0;
    for (size_t i = 0; i < m.n; i++)
        sum += ((const double *)m.pointer)[i];
    lua_pushnumber(L, sum);
    return 1;
}
static int put(lua_State *L) {
    luamp_memory m;
    size_t len;
    luamp_checkmemory(L, 1, &m);
    const char *s = luaL_checklstring(L, 2, &len);
    memcpy(m.pointer, s, len < m.bytes ? len : m.bytes);
    return 0;
}
static int increment(lua_State *L) {
    luamp_memory m;
    luamp_checkmemory(L, 1, &m);
    for (lua_Integer n = luaL_checkinteger(L, 2); n > 0; n--)
        __atomic_add_fetch((int64_t *)m.pointer, 1, __ATOMIC_SEQ_CST);
    return 0;
}
static int why(lua_State *L) {
    luamp_memory m;
    lua_pushstring(L, luamp_tomemory(L, 1, &m));
    lua_pushinteger(L, lua_gettop(L));
    return 2;
}
int luaopen_lump(lua_State *L) {
    static const luaL_Reg functions[] = {{"describe", describe}, {"total", total}, {"put", put},
                                         {"increment", increment}, {"why", why}, {NULL, NULL}};
    luaL_newlib(L, functions);
    return 1;
}
]]

describe("a C module", function()
    local before, lump

    setup(function() before = package.cpath end)

    teardown(function() package.cpath = before end)

    before_each(function()
        if lump then return end
        local include = lfs.currentdir() .. "/include"
        local quoted = source:gsub("<luamp.h>", function() return ('"%s/luamp.h"'):format(include) end)
        package.cpath = helper.library("lump", quoted) .. ";" .. before
        lump = require "lump"
    end)

    it("has the memory of a value, an array and a buffer, and knows what it is", function()
        for i, name in ipairs { "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float",
            "double" } do
            local size = ({ 1, 1, 2, 2, 4, 4, 8, 8, 4, 8 })[i]
            assert.same({ i - 1, size, 10, 10 * size, true }, { lump.describe(mp.array(name, 10)) })
            assert.same({ i - 1, size, 1, size, true }, { lump.describe(mp.value(name)) })
        end
        assert.same({ 1, 1, 1000, 1000, true }, { lump.describe(mp.buffer(1000)) })
        local empty = { lump.describe(mp.array("double", 0)) }
        assert.same({ 0, 0 }, { empty[3], empty[4] })
    end)

    it("reads and writes what Lua does", function()
        local a = mp.array("double", { 1.5, 2, 3 })
        assert.equal(6.5, lump.total(a))
        a[1] = 10
        assert.equal(15.0, lump.total(a))
        local b = mp.buffer(10)
        lump.put(b, "from C")
        assert.equal("from C\0\0\0\0", b:read())
        local v = mp.value("integer", 40)
        lump.increment(v, 2)
        assert.equal(42, v:get())
    end)

    it("adds atomically to what Lua adds to, in other processes, too", function()
        local v, n = mp.value "integer", helper.sanitized and 20000 or 200000
        local by_c = helper.method == "fork" and started(function() lump.increment(v, n) end)
        local by_lua = started(function()
            for _ = 1, n do v:add(1) end
        end)
        lump.increment(v, n)
        by_lua:result()
        by_lua:close()
        if by_c then
            by_c:result()
            by_c:close()
        end
        assert.equal((by_c and 3 or 2) * n, v:get())
    end)

    it("is told when there is none", function()
        local expected = "value, array or buffer of luamp expected"
        for _, other in ipairs { 5, "x", {}, io.stdout, mp.process(print),
            setmetatable({}, { ["luamp.memory"] = 5 }) } do
            assert.same({ expected, 2 }, { lump.why(other) })
        end
        assert.same({ expected, 2 }, { lump.why(mp.queue()) })
        assert.same({ expected, 2 }, { lump.why(nil) })
        helper.fails("(an array of double expected)", lump.total, mp.array("int8", 1))
        helper.fails("bad argument #1 to", lump.total, io.stdout)
        local a <close> = mp.array("double", 1)
        a:close()
        helper.fails("(it is closed in this process)", lump.total, a)
    end)

    it("finds the header where luamp was installed", function()
        local rules = helper.read(os.getenv "LUAMP_BUILD" .. "/cmake_install.cmake")
        local place, file = rules:match 'DESTINATION "([^"]*)" TYPE FILE FILES "([^"]*/luamp%.h)"'
        assert.equal("${CMAKE_INSTALL_PREFIX}/include", place)
        assert.equal(helper.read "include/luamp.h", helper.read(file))
    end)

    it("is compiled without a warning", function()
        local dir = helper.tmpdir()
        helper.write(dir .. "/a.c", "#include <luamp.h>\nint f(lua_State *L);\n"
            .. "int f(lua_State *L) { luamp_memory m; luamp_checkmemory(L, 1, &m); return m.type; }\n")
        local flags = "-Wall -Wextra -Wconversion -Wshadow -Wstrict-prototypes -pedantic -Werror -fsyntax-only "
            .. "$(pkg-config --cflags lua5.4 || pkg-config --cflags lua) -I" .. lfs.currentdir() .. "/include a.c"
        for _, standard in ipairs { "c99", "c11" } do
            local result = helper.run(("cc -std=%s %s"):format(standard, flags), { cwd = dir })
            assert.same({ 0, "" }, { result.status, result.stderr })
        end
        if helper.run("command -v c++").status ~= 0 then return end
        local result = helper.run("c++ -x c++ " .. flags:gsub("%-Wstrict%-prototypes", ""), { cwd = dir })
        assert.same({ 0, "" }, { result.status, result.stderr })
    end)
end)
