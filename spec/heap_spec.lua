-- heap_spec.lua: the heap for Lua states: alone against a model, at its limits, and what mp.memory tells of it.
local helper = require "spec.helper"
local mp = require "luamp"

local MIB = 1 << 20

-- --- the heap alone -----------------------------------------------------------

local program -- its bytes, once it is built

-- Runs spec/engine/heap.c, built with the engine's own sources.
local function heap(arguments)
    local path = helper.tmpdir() .. "/heap"
    if program then
        helper.write(path, program)
        assert(os.execute("chmod 755 " .. path))
    else
        local made = helper.run(("cc -std=gnu11 -D_GNU_SOURCE -O1 -g -Isrc -fsanitize=undefined"
            .. " -fno-sanitize-recover=all -o %s spec/engine/heap.c src/engine/heap.c src/engine/region.c"
            .. " src/engine/sys.c -ldl"):format(path))
        assert.same({ 0, "" }, { made.status, made.stderr })
        program = helper.read(path)
    end
    return helper.run(path .. " " .. arguments)
end

describe("the heap alone keeps what a model of it says,", function()
    local seed = tostring(os.time())
    for _, case in ipairs {
        { "by allocations at random", "random", 50000 },
        { "in children that go on with what they inherited", "forks", 12000 },
        { "where memory cannot be opened at times", "short", 50000 },
        { "where no addresses can be reserved", "nowhere", 20000 },
    } do
        it(case[1], function()
            for _, of in ipairs { "1", seed } do
                local run = heap(("%s %s %d"):format(case[2], of, helper.is_everything and case[3] or case[3] // 4))
                assert.same({ status = 0, stdout = "good\n", stderr = "" }, run, "by seed " .. of)
            end
        end)
    end

    it("and where a limit leaves a page at a time", function()
        assert.same({ status = 0, stdout = "good\n", stderr = "" }, heap "narrow")
    end)

    it("and is one region of 60 GiB in few mappings", function()
        assert.same({ status = 0, stdout = "good\n", stderr = "" }, heap "wide")
    end)
end)

-- --- at its limits --------------------------------------------------------------

-- Fills memory with what `make` (code) makes until there is none, then goes on with less; prints how the failure was
-- told, whether there were so many KiB at least, and that all that is left is as it was made.
local function filled(make, before, least)
    return helper.script_run(([[
        local function make(i) return %s end
        local function fill(list)
            for i = 1, math.huge do list[i] = make(i) end
        end
        local function check(list)
            local right = 0
            for i = 1, #list do right = right + (make(i) == list[i] and 1 or 0) end
            return right == #list
        end
        for round = 1, 2 do
            local list = {}
            local ok, e = pcall(fill, list)
            print(ok, e, collectgarbage "count" > %d)
            for i = #list, #list // 4, -1 do list[i] = nil end
            collectgarbage()
            print(check(list))
        end
        collectgarbage()
        print(#("x"):rep(1 << 20))]]):format(make, least), before)
end

local strings = { small = "tostring(i) .. (' '):rep(500)", large = "tostring(i):rep(50000)" }

if not helper.sanitized then
    for kind, make in pairs(strings) do
        for what, case in pairs { -- the region is a quarter of the addresses: then malloc goes on
            ["ulimit -v"] = { "ulimit -v 200000", 100000 }, ["ulimit -d"] = { "ulimit -d 100000", 50000 },
            ["what is left by limits of addresses below the region"] = { "ulimit -v 12000", 1000 },
        } do
            it(("by %s %s strings end in 'not enough memory', and leave all well"):format(what, kind), function()
                local run = filled(make, table.unpack(case))
                assert.same({ 0, "" }, { run.status, run.stderr })
                assert.equal(("false\tnot enough memory\ttrue\ntrue\n"):rep(2) .. "1048576\n", run.stdout)
            end)
        end
    end

    it("a limit of a process's memory is reached by tables, too, and leaves it well", function()
        local p <close> = mp.process { limits = { memory = "64M" }, target = function()
            local list = {}
            local ok, e = pcall(function() for i = 1, math.huge do list[i] = { i } end end)
            local n = #list
            for i = 1, n do assert(list[i][1] == i) end
            for i = n, 1000, -1 do list[i] = nil end
            collectgarbage()
            local more = {}
            for i = 1, n // 4 do more[i] = { i } end
            return ok, e, n, #more == n // 4
        end }:start()
        local ok, e, n, is_well = p:result()
        assert.same({ false, "not enough memory", true }, { ok, e, is_well })
        assert.is_true(n > 300000 and n < 900000, n)
    end)
end

local function available()
    return tonumber(helper.read "/proc/meminfo":match "MemAvailable:%s+(%d+)") >> 10
end

it("a heap of 4 GiB is one", function()
    if helper.sanitized then pending "a sanitizer has its own heap" end
    if available() < 8 << 10 then pending "needs 8 GiB of memory that is free" end
    local run = helper.script_run [[
        local list = {}
        for i = 1, 4200 do list[i] = ("%08d"):format(i):rep(1 << 17) end
        for i = 1, #list do assert(list[i]:sub(-8) == ("%08d"):format(i) and #list[i] == 1 << 20) end
        print(collectgarbage "count" > 4 << 20, mp.memory().heap.held > 4 << 30)
        for i = 1, #list, 2 do list[i] = nil end
        collectgarbage()
        print(collectgarbage "count" < 2200 << 10, list[4200]:sub(1, 8))]]
    assert.same({ status = 0, stdout = "true\ttrue\ntrue\t00004200\n", stderr = "" }, run)
end)

-- --- what it keeps -------------------------------------------------------------

it("a heap that shrinks and stays small gives its memory back, and one that grows again does not", function()
    if helper.sanitized then pending "a sanitizer has its own heap" end
    local run = helper.script_run [[
        local function rss()
            local f <close> = io.open "/proc/self/smaps_rollup"
            return tonumber(f:read "a":match "Rss:%s+(%d+)") / 1024
        end
        local function fill()
            local list = {}
            for i = 1, 600000 do list[i] = { i } end
            return list
        end
        local child = mp.process(function()
            local list = fill()
            local full = rss()
            list = nil
            collectgarbage()
            mp.event():wait(10.5)
            return rss() < full / 2
        end):start()
        local list = fill()
        local full = rss()
        list = nil
        collectgarbage()
        print(rss() > full / 2, mp.memory().heap.used < 16 << 20)
        mp.sleep(10.5) -- it comes when that long is over
        print(rss() < full / 2, child:result())
        local held = mp.memory().heap.held
        print(rss() < full / 2, held < 24 << 20)
        for _ = 1, 3 do -- most is free only for a moment
            list = nil
            collectgarbage()
            list = fill()
            mp.sleep(2)
        end
        list = nil
        collectgarbage()
        print(mp.memory().heap.held > 32 << 20, rss() > full / 2)]]
    assert.same({ status = 0, stdout = "true\ttrue\ntrue\ttrue\ntrue\ttrue\ntrue\ttrue\n", stderr = "" }, run)
end)

describe("mp.memory().heap", function()
    it("tells what this process has itself, and what it inherited", function()
        local list = {}
        for i = 1, 60000 do list[i] = { i } end
        local mine = mp.memory().heap
        local theirs = helper.result_of(function() return mp.memory().heap end)
        assert.is_true(mine.lua > 2 * MIB and theirs.lua > 2 * MIB)
        if helper.sanitized then
            assert.same({ 0, 0, 0, 0 }, { mine.used, mine.held, theirs.inherited, theirs.dirtied })
            return
        end
        assert.is_true(mine.used > 2 * MIB and mine.held >= mine.used)
        assert.is_true(theirs.inherited >= mine.used and theirs.used < MIB, theirs.used)
        assert.is_true(theirs.dirtied < MIB, theirs.dirtied)
        assert.equal(60000, #list)
    end)

    it("tells what a child has copied of it", function()
        if helper.sanitized then pending "a sanitizer has its own heap" end
        local list = {}
        for i = 1, 100000 do list[i] = { i } end
        assert.equal(100000, #list)
        local before, after, n = helper.result_of(function()
            local before = mp.memory().heap.dirtied
            for i = 1, 100000 do list[i][1] = 0 end
            return before, mp.memory().heap.dirtied, mp.memory().heap.inherited
        end)
        assert.is_true(after - before > 1500000 and after <= n, ("%d to %d of %d"):format(before, after, n))
    end)

    it("is none of what the family shares", function()
        local usage = mp.memory()
        for _, name in ipairs { "used", "backed", "limit" } do assert.equal("integer", math.type(usage[name])) end
        assert.equal("table", type(usage.kinds))
        helper.misuse("mp.memory: unknown option 'heap'", function() mp.memory { heap = 5 } end)
    end)
end)

-- --- states ----------------------------------------------------------------------

if helper.host ~= helper.luamp then -- the module's library is not the program's
    it("states on other threads have malloc's, whatever they load", function()
        local path = helper.library("threads", [[
            #include <lualib.h>
            #include <lauxlib.h>
            #include <pthread.h>
            enum { N = 4 };
            static const char *code;
            static void *run(void *is_good) {
                lua_State *L = luaL_newstate();
                luaL_openlibs(L);
                if (luaL_dostring(L, code) == LUA_OK)
                    *(int *)is_good = 1;
                else
                    lua_writestringerror("%s\n", lua_tostring(L, -1));
                lua_close(L);
                return NULL;
            }
            static int run_threads(lua_State *L) {
                int are_good[N] = {0}, n = 0;
                pthread_t ids[N];
                code = luaL_checkstring(L, 1);
                for (int i = 0; i < N; i++)
                    pthread_create(&ids[i], NULL, run, &are_good[i]);
                for (int i = 0; i < N; i++) {
                    pthread_join(ids[i], NULL);
                    n += are_good[i];
                }
                lua_pushinteger(L, n);
                return 1;
            }
            int luaopen_threads(lua_State *L) { lua_pushcfunction(L, run_threads); return 1; }]])
        local script = helper.script [==[
            local mp, threads = require "luamp", require "threads"
            local own = {}
            for i = 1, 50000 do own[i] = { i } end
            print(threads [[
                local mp, list = require "luamp", {}
                for round = 1, 5 do
                    for i = 1, 50000 do list[i] = { i, ("x"):rep(i % 100) } end
                end
                for i = 1, 50000 do assert(list[i][1] == i and #list[i][2] == i % 100) end]])
            for i = 1, 50000 do assert(own[i][1] == i) end]==]
        local result = helper.run(helper.host .. " " .. script, { env = { LUA_CPATH = path } })
        assert.same({ status = 0, stderr = "", stdout = "4\n" }, result)
    end)
end

it("states side by side have it together, and what one leaves is the other's", function()
    local path = helper.library("pair", [[
        #include <lualib.h>
        #include <lauxlib.h>
        static lua_State *other;
        static int open(lua_State *L) {
            (void)L;
            other = luaL_newstate();
            luaL_openlibs(other);
            return 0;
        }
        static int run(lua_State *L) {
            lua_pushboolean(L, luaL_dostring(other, luaL_checkstring(L, 1)) == LUA_OK);
            lua_pushstring(L, lua_tostring(other, -1));
            return 2;
        }
        static int close(lua_State *L) { (void)L; lua_close(other); return 0; }
        int luaopen_pair(lua_State *L) {
            static const luaL_Reg functions[] = {{"open", open}, {"run", run}, {"close", close}, {NULL, NULL}};
            luaL_newlib(L, functions);
            return 1;
        }]])
    local script = helper.script [[
        local early = {} -- from before the heap changes over
        for i = 1, 20000 do early[i] = { i } end
        local mp, pair = require "luamp", require "pair"
        package.loaded.luamp = nil
        assert(mp == require "luamp")
        local code = [=[
            local mp = require "luamp"
            list = list or {}
            for i = 1, 100000 do list[i] = { i, tostring(i) } end
            for i = 1, 100000 do assert(list[i][1] == i and list[i][2] == tostring(i)) end
            return #list]=]
        for round = 1, 3 do
            pair.open()
            print(pair.run(code))
            for i = 1, 20000 do early[i][2] = { i } end
            local late = {}
            for i = 1, 50000 do late[i] = tostring(i) end
            print(pair.run(code))
            print(pair.run "return require 'luamp'.process(function() return #list end):start():result()")
            pair.close()
            for i = 1, 20000 do assert(early[i][1] == i and early[i][2][1] == i) end
            for i = 1, 50000 do assert(late[i] == tostring(i)) end
            early[round] = { round, { round } }
            collectgarbage()
        end]]
    local result = helper.run(helper.host .. " " .. script, { env = { LUA_CPATH = path } })
    if helper.host == helper.luamp then -- the module's library is not the program's
        assert.same({ 0, "" }, { result.status, result.stderr })
        return
    end
    assert.same({ status = 0, stderr = "", stdout = "true\t100000\ntrue\t100000\ntrue\t100000\n" }, {
        status = result.status, stderr = result.stderr,
        stdout = result.stdout:sub(1, #result.stdout // 3) })
end)
