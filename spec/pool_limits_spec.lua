-- pool_limits_spec.lua: what a pool's worker keeps beside its tasks; time limits of any length; and calls whose
-- inputs have more memory than there is.
local helper = require "spec.helper"
local pools = require "spec.pools"
local mp = require "luamp"

local with_pool = pools.with

describe("what runs beside a worker's tasks", function()
    it("is the worker's if its init has started it, and goes with the worker", function()
        local pid
        with_pool({ workers = 1, init = function()
            mp.worker.child = mp.process { command = { "sleep", "1000" } }:start()
        end }, function(pool)
            for _ = 1, 3 do
                local is_alive
                pid, is_alive = pool:apply(function() return mp.worker.child.pid, mp.worker.child:is_alive() end)
                assert.is_true(is_alive)
            end
            assert.is_true(helper.alive(pid))
        end)
        helper.wait_until(function() return not helper.alive(pid) end, "its end", 1)
    end)

    it("may be a pool of its own, whose workers stay", function()
        with_pool({ workers = 1, init = function() mp.worker.pool = mp.pool(1) end }, function(pool)
            local first = pool:apply(function() return mp.worker.pool:apply(mp.getpid) end)
            for _ = 1, 3 do
                assert.equal(first, pool:apply(function() return mp.worker.pool:apply(mp.getpid) end))
            end
        end)
    end)

    it("is nobody's if a task has started it detached", function()
        with_pool(1, function(pool)
            local pid = pool:apply(function()
                return mp.process { command = { "sleep", "1000" }, detached = true }:start().pid
            end)
            assert.equal(2, pool:apply(math.abs, -2))
            assert.is_true(helper.alive(pid))
            helper.run("kill -KILL " .. pid)
        end)
    end)

    it("without workers is the script's", function()
        local result = helper.script_run([[
            local p = mp.process { command = { "sleep", "1000" } }:start()
            local pool <close> = mp.pool(1)
            print(pool:apply(math.abs, -1), p:is_alive())
            print(pool:apply(function() return mp.process { command = { "sleep", "1000" } }:start().pid end) > 0)
            print(#mp.active_children(), p:is_alive())
            p:kill()]], nil, { env = { LUAMP_BACKEND = "serial" } })
        assert.same({ 0, "1\ttrue\ntrue\n1\ttrue\n", "" }, { result.status, result.stdout, result.stderr })
    end)
end)

it("a time limit of any length is none of a short one", function()
    with_pool(1, function(pool)
        for _, timeout in ipairs { math.huge, 1e300, 1e10, 1e9, 1000 } do
            assert.same({ 1, 2 }, pool:map(math.abs, { -1, -2 }, { timeout = timeout }))
            assert.equal(3, pool:submit { target = math.abs, args = { -3 }, timeout = timeout }:result())
        end
    end)
end)

describe("inputs that take more memory than there is", function()
    local function expect(text, code)
        local result = helper.script_run([[
            mp.memory { limit = "24M" }
            local n = 80
            local text = ("x"):rep(1 << 20)
            local pool <close> = mp.pool(2)
            local function len(x) return #x end
        ]] .. code)
        assert.same({ 0, text, "" }, { result.status, result.stdout, result.stderr })
    end

    it("wait until there is some again: a list's", function()
        expect("80\t83886080\n", [[
            local list, sum = {}, 0
            for i = 1, n do list[i] = text end
            local lens = pool:map(len, list)
            for _, l in ipairs(lens) do sum = sum + l end
            print(#lens, sum)]])
    end)

    it("...a function's, of which none is lost", function()
        expect("80\t80\n", [[
            local i, sum = 0, 0
            local lens = pool:map(function(x) return tonumber(x:sub(1, 8)) end, function()
                i = i + 1
                return i <= n and ("%08d"):format(i) .. text or nil
            end)
            for k, l in ipairs(lens) do sum = sum + (k == l and 1 or 0) end
            print(#lens, sum)]])
    end)

    it("...and single tasks'", function()
        expect("80\ttrue\n", [[
            local futures, sum = {}, 0
            for i = 1, n do futures[i] = pool:submit(len, text) end
            for i = 1, n do sum = sum + futures[i]:result() end
            print(#futures, sum == n << 20)]])
    end)

    it("are told of where one alone is too large, and the pool goes on", function()
        local function told(kind, what)
            return ("false\t%s\t%s: not enough memory to share (the family's own limit)\n"):format(kind, what)
        end
        expect(told("table", "pool:map: task 2") .. told("table", "pool:each: task 1")
            .. told("string", "pool:submit: task 1") .. told("table", "pool:map_async: task 2")
            .. told("table", "pool:submit: task 3") .. "3\ttrue\n", [[
            local long = text:rep(30)
            local function try(f, ...)
                local ok, e = pcall(f, ...)
                print(ok, type(e), (mp.is_error(e) and e.message or e):match "pool:.*")
            end
            try(pool.map, pool, len, { "x", long })
            local results, errors = pool:map(len, { "x", long, "yy" }, { on_error = "collect" })
            assert(results[1] == 1 and results[3] == 2 and errors[1].task == 2 and #errors == 1)
            local given = false
            try(pool.each, pool, len, function()
                given = not given
                return given and long or nil
            end)
            try(pool.submit, pool, len, long)
            local map = pool:map_async(len, { "x", long })
            assert(pool:apply(math.abs, -3) == 3) -- and no other wait has it
            try(map.result, map)
            local fut = pool:submit { target = len, args = { long }, priority = 1 }
            try(fut.result, fut)
            print(pool:apply(math.abs, -3), pool:stats().queued == 0)]])
    end)
end)

it("a task whose worker the kernel has killed for memory says so, and the others go on", function()
    if helper.sanitized then pending "a sanitizer needs more memory than the group has" end
    local enter, remove = helper.memory_group(192 << 20)
    local result = helper.script_run([[
        local pool <close> = mp.pool(2)
        local function work(i)
            local t = {}
            for k = 1, i == 7 and 1e9 or 1 do t[k] = ("x"):rep(100000) .. k end
            return i
        end
        for _ = 1, 2 do -- each death is told of by its own count
            local list, failures = pool:map(work, mp.range(1, 30), { on_error = "collect" })
            local e = failures[1]
            assert(#failures == 1 and list[6] == 6 and list[7] == nil and list[30] == 30)
            local words = ("task 7 of pool:map, in worker %d was lost: process 'worker.%d' (pid %d) was killed by "
                .. "SIGKILL: out of memory (its cgroup's oom_kill count rose)"):format(e.worker, e.worker, e.pid)
            print(e.kind, e.signal, e.exitcode, e.task, e.message == words and "so" or e.message)
        end
        local ok, e = pcall(pool.apply, pool, function()
            os.execute("kill -KILL " .. mp.getpid())
            mp.sleep(60)
        end)
        print(ok, e.signal, e.message:find "out of memory")]], enter)
    remove()
    assert.same({ 0, ("signal\tSIGKILL\t-9\t7\tso\n"):rep(2) .. "false\tSIGKILL\tnil\n", "" },
        { result.status, result.stdout, result.stderr })
end)

-- Where Lua finds the module "short": after `skipped` more, short(size, n, skipped) lets n allocations of so many
-- bytes or more fail; at the end of a script short(0, 0, 0) takes it away.
local function short_memory()
    return helper.library("short", [[
        #include <lua.h>
        #include <lauxlib.h>
        static lua_Alloc allocate;
        static size_t least;
        static lua_Integer n, skipped;
        static void *allocate_or_fail(void *ud, void *block, size_t old, size_t size) {
          if (n > 0 && size >= least && (block == NULL || size > old) && skipped-- <= 0) {
            n--;
            return NULL;
          }
          return allocate(ud, block, old, size);
        }
        static int fail(lua_State *L) {
          void *ud;
          least = (size_t)luaL_checkinteger(L, 1);
          n = luaL_checkinteger(L, 2);
          skipped = luaL_checkinteger(L, 3);
          lua_Alloc now = lua_getallocf(L, &ud);
          if (now != allocate_or_fail)
            allocate = now;
          lua_setallocf(L, n > 0 ? allocate_or_fail : allocate, ud);
          return 0;
        }
        int luaopen_short(lua_State *L) {
          lua_pushcfunction(L, fail);
          return 1;
        }]])
end

describe("a result for whose place there is no memory", function()
    -- Lua tries twice: two failures are one of a call.
    local function run(text)
        local result = helper.script_run([[
            local short = require "short"
            local pool <close> = mp.pool(1)
            local n, i, n_short = 6000, 0, 0
            local function input()
                i = i + 1
                if i <= n then return i end
            end
            local function until_it_works(f, ...)
                while true do
                    local result = table.pack(pcall(f, ...))
                    if result[1] then return table.unpack(result, 2, result.n) end
                    assert(tostring(result[2]):find "not enough memory", result[2])
                    n_short = n_short + 1
                end
            end
        ]] .. text .. " short(0, 0, 0)", nil, { env = { LUA_CPATH = short_memory() } })
        assert.same({ 0, "1\ttrue\ttrue\n", "" }, { result.status, result.stdout, result.stderr })
    end

    it("is there later: in the list of a map", function()
        run [[
            local fut = pool:map_async(function(x) return 2 * x end, input)
            short(100000, 2, 0)
            local list = until_it_works(fut.result, fut, 20)
            local is_whole = #list == n
            for k = 1, n do is_whole = is_whole and list[k] == 2 * k end
            pool:close()
            print(n_short, is_whole, pool:join(20))]]
    end)

    it("...and among the arrivals of imap_unordered", function()
        run [[
            local results = { pool:imap_unordered(function(x) return 2 * x end, input, { window = n }) }
            short(100000, 2, 1) -- the list grows first
            repeat local stats = until_it_works(pool.stats, pool) until stats.done == n
            local seen, n_seen = {}, 0
            for k, result in table.unpack(results) do
                assert(result == 2 * k and not seen[k])
                seen[k], n_seen = true, n_seen + 1
            end
            print(n_short, n_seen == n, pool:stats().queued == 0)]]
    end)
end)
