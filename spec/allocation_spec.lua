-- allocation_spec.lua: Lua's memory is short at any allocation of a call of a shared object, from there to
-- the call's end. The call raises that, or has all that it needs; the object can be used after, nothing is
-- held or being updated that the call says to have failed to get, and nothing is left in shared memory.
--
-- Allocations of children and of the C library: faults/memory_spec.
local helper = require "spec.helper"

-- run(n, f, ...): as pcall, with the first n allocations and no more; whether one failed comes second.
local source = [[
#include <lua.h>
#include <lauxlib.h>

static lua_Alloc old;
static void *old_data;
static long left = -1; /* of the allocations that succeed; -1: all do */
static int failed;

static void *allocate(void *data, void *block, size_t before, size_t size) {
    (void)data;
    if (left >= 0 && size > 0 && (block == NULL || size > before)) {
        if (left == 0) {
            failed = 1;
            return NULL;
        }
        left--;
    }
    return old(old_data, block, before, size);
}

static int run(lua_State *L) {
    const long n = (long)luaL_checkinteger(L, 1);
    lua_remove(L, 1);
    luaL_checkstack(L, 100, NULL);
    old = lua_getallocf(L, &old_data);
    lua_setallocf(L, allocate, NULL);
    failed = 0;
    left = n;
    const int rc = lua_pcall(L, lua_gettop(L) - 1, LUA_MULTRET, 0);
    left = -1;
    lua_setallocf(L, old, old_data);
    lua_pushboolean(L, rc == LUA_OK);
    lua_insert(L, 1);
    lua_pushboolean(L, failed);
    lua_insert(L, 2);
    return lua_gettop(L);
}

int luaopen_shortage(lua_State *L) {
    lua_pushcfunction(L, run);
    return 1;
}
]]

-- Each case: how the object is made, and readied; the call; and what is wrong with it after a failure.
local script = [=[
local mp = require "luamp"
local run = require "shortage"

local long, q = ("x"):rep(300), nil -- a queue, which each try makes
local cases = {}

local function after_a_death(f)
    return function(o)
        local p = mp.process { stderr = "null", args = { o }, target = function(x)
            f(x)
            os.exit(3)
        end }:start()
        p:join()
        p:close()
    end
end

local function is_free(l) return l:is_locked() and "it is held" end

local function empty()
    for _ = 1, #q do q:get() end
end

for _, kind in ipairs { "lock", "rlock" } do
    local ready = after_a_death(function(l) l:acquire() end)
    cases[kind .. ".acquire"] = { mp[kind], ready, function(l) return l:acquire() end, is_free }
    cases[kind .. ".with"] = { mp[kind], ready, function(l) return l:with(function() return {} end) end, is_free }
    cases[kind .. ".hold"] = { mp[kind], ready, function(l) local _ <close> = l:hold(1) end, is_free }
end
for _, side in ipairs { "read", "write" } do
    cases["rwlock." .. side] = { mp.rwlock, after_a_death(function(rw) rw.write:acquire() end),
        function(rw) return rw[side]:acquire() end, function(rw) return is_free(rw[side]) end }
end
cases["rwlock.send"] = { mp.rwlock, empty, function(rw) q:put { rw } return q:get() end, function(rw)
    empty()
    q:put(rw)
    return q:get() ~= rw and "it does not come back"
end }
cases["semaphore"] = { mp.semaphore, empty, function(s) return s:acquire(1) end,
    function(s) return s:value() ~= 1 and "a unit is lost" end }

local function is_held(c)
    if not tostring(c):find "%(0 waiting, .*held by" then return tostring(c) end
    c:release()
end
local function acquire(c) c:acquire() end
cases["condition.wait"] = { mp.condition, acquire, function(c) return c:wait(0) end, is_held }
cases["condition.wait_for"] = { mp.condition, acquire,
    function(c) return c:wait_for(function() return false end, 0) end, is_held }

local function is_left(b) return b:waiting() > 0 and "it waits still" end
cases["barrier"] = { function() return mp.barrier(2) end, empty, function(b) return b:wait(0.001) end, is_left }
cases["barrier.action"] = { function() return mp.barrier { parties = 1, action = function() return {} end } end,
    empty, function(b) return b:wait() end, is_left }

local keys = { "number", "text", "table", "handle", "new" }
local function is_open(d)
    for _, key in ipairs(keys) do
        local ok, e = pcall(d.set, d, key, 1)
        if not ok then return e end
    end
end
local function filled(make)
    return function()
        local d = make()
        for i, value in ipairs { 1, long, { 1, { 2 } }, { q } } do d:set(keys[i], value) end
        return d
    end
end
local calls = {
    get = function(d) for _, key in ipairs(keys) do d:get(key) end end,
    set = function(d) for i, value in ipairs { 2.5, { long }, q, { { q } }, 1 } do d:set(keys[i], value) end end,
    remove = function(d) for _, key in ipairs(keys) do d:remove(key) end end,
    update = function(d) for _, key in ipairs(keys) do d:update(key, function(v) return { v, { q } } end) end end,
    add = function(d) return d:add "number", d:add("new", 2), d:add("number", 0.5) end,
    pairs = function(d)
        local all = {}
        for k, v in pairs(d) do all[k] = v end
        return d:keys(), #d, tostring(d)
    end,
}
for kind, make in pairs { dict = mp.dict, cache = function() return mp.cache { size = 10, ttl = 1000 } end } do
    for method, call in pairs(calls) do cases[kind .. "." .. method] = { filled(make), empty, call, is_open } end
end
cases["cache.get_or"] = { function() return mp.cache(3) end, empty,
    function(d) return d:get_or("new", function(key) return { key, long } end) end, is_open }

local function list()
    local l = mp.list()
    l:extend { 1, long, { 1 }, { q }, 5 }
    return l
end
local function is_usable(l)
    l:insert(1, { 1 })
    for _ = 1, #l do l:remove(1) end
    return #l > 0 and "it is not empty"
end
for method, call in pairs {
    get = function(l) return l[1], l[2], l[3], l[4] end,
    put = function(l) l[1], l[2], l[3], l[6] = long, { q }, 1, { 6 } end,
    insert = function(l)
        l:insert(long)
        l:insert(1, { q })
        l:insert(3, { 3 })
    end,
    remove = function(l) return l:remove(4), l:remove(3), l:remove(2), l:remove() end,
    extend = function(l) l:extend { 1, long, { q }, { 5 } } end,
    pairs = function(l)
        local all = {}
        for i, v in pairs(l) do all[i] = v end
        for i, v in ipairs(l) do all[i] = v end
    end,
} do cases["list." .. method] = { list, empty, call, is_usable } end

cases["array"] = { function() return mp.array("int32", 100) end, empty, function(a)
    a:set(1, { 1, 2, 3 })
    a:sort()
    return a:get(), tostring(a)
end, function(a) a:fill(0) end }
cases["make"] = { function() return {} end, empty, function(made)
    for i, kind in ipairs { "lock", "rlock", "semaphore", "event", "rwlock", "condition", "dict", "list" } do
        made[i] = mp[kind]()
    end
    made[9] = mp.barrier { parties = 2, action = function() return q end }
    made[10], made[11], made[12] = mp.array("int8", { 1 }), mp.buffer(10), mp.cache(5)
    q:put(made)
    return q:get()
end, empty }

local function usage()
    collectgarbage()
    collectgarbage()
    local words = {}
    for kind, its in pairs(mp.memory().kinds) do words[#words + 1] = kind .. " " .. its.count end
    table.sort(words)
    return table.concat(words, ", ")
end

local function try(name, n)
    local make, ready, call, wrong = table.unpack(cases[name])
    q = mp.queue()
    local o = make()
    ready(o)
    collectgarbage()
    collectgarbage "stop"
    local ok, has_failed, e = run(n, call, o)
    collectgarbage "restart"
    if not ok and not tostring(e):find "not enough memory" then error(e, 0) end
    e = not ok and wrong(o)
    if e then error(("%s at allocation %d: %s"):format(name, n, e), 0) end
    q:close()
    return has_failed
end

for _, name in ipairs(arg) do
    try(name, 1 << 30) -- what is made once
    local before, n = usage(), 0
    while try(name, n) do
        local after = usage()
        if after ~= before then
            error(("%s: after allocation %d there are %s, before: %s"):format(name, n, after, before), 0)
        end
        n = n + 1
    end
    print(name, n)
end
]=]

-- The cases of each kind, and how many allocations a call of them has at least in all.
local of_dicts = { "get", "set", "remove", "update", "add", "pairs" }
local kinds = {
    lock = { 0, { "acquire", "with", "hold" } }, rlock = { 0, { "acquire", "with", "hold" } },
    rwlock = { 20, { "read", "write", "send" } }, semaphore = { 0 }, condition = { 0, { "wait", "wait_for" } },
    barrier = { 0, { "action" } }, dict = { 20, of_dicts }, cache = { 20, of_dicts, "get_or" },
    list = { 20, { "get", "put", "insert", "remove", "extend", "pairs" } }, array = { 2 }, make = { 40 },
}

describe("without memory at any allocation it fails well, or not at all:", function()
    for kind, case in pairs(kinds) do
        it(kind, function()
            local words = { table.unpack(case[2] or { kind }) }
            for i = 1, case[2] and #words or 0 do words[i] = kind .. "." .. words[i] end
            if kind == "barrier" then words[#words + 1] = kind end
            if case[3] then words[#words + 1] = kind .. "." .. case[3] end
            local result = helper.run(("timeout 100 %s %s %s"):format(helper.host, helper.script(script),
                table.concat(words, " ")), { env = { LUA_CPATH = helper.library("shortage", source) } })
            assert.same({ 0, "" }, { result.status, result.stderr })
            local total, n = 0, 0
            for points in result.stdout:gmatch "\t(%d+)\n" do total, n = total + math.tointeger(points), n + 1 end
            assert.equal(#words, n)
            assert.is_true(total >= case[1], result.stdout)
        end)
    end
end)
