-- Processes and threads that other code makes beside luamp's own.
local helper = require "spec.helper"

-- A C module: fork() itself; and states in other threads that take their memory
-- from this state's allocator, as libraries of threads make them.
local source = [[
#include <lualib.h>
#include <lauxlib.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
static int fork_(lua_State *L) {
    lua_pushinteger(L, fork());
    return 1;
}
static int wait_(lua_State *L) {
    int status;
    waitpid((pid_t)luaL_checkinteger(L, 1), &status, 0);
    lua_pushinteger(L, WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
    return 1;
}
struct job { lua_Alloc alloc; void *data; int ok; };
static void *run(void *arg) {
    struct job *job = arg;
    lua_State *L = lua_newstate(job->alloc, job->data);
    luaL_openlibs(L);
    job->ok = luaL_dostring(L, "local t = {} for i = 1, 200000 do t[i % 1000] = { ('x'):rep(i % 100) } end") == LUA_OK;
    lua_close(L);
    return NULL;
}
static int threads(lua_State *L) {
    enum { N = 4 };
    struct job jobs[N];
    pthread_t ids[N];
    for (int i = 0; i < N; i++) {
        jobs[i].alloc = lua_getallocf(L, &jobs[i].data);
        pthread_create(&ids[i], NULL, run, &jobs[i]);
    }
    int ok = 1;
    for (int i = 0; i < N; i++) {
        pthread_join(ids[i], NULL);
        ok = ok && jobs[i].ok;
    }
    lua_pushboolean(L, ok);
    return 1;
}
static const luaL_Reg functions[] = {{"fork", fork_}, {"wait", wait_}, {"threads", threads}, {NULL, NULL}};
int luaopen_foreign(lua_State *L) {
    luaL_newlib(L, functions);
    return 1;
}
]]

-- Runs a script that may require "foreign".
local function run(code)
    return helper.script_run([[
        local foreign = require "foreign"
        io.stdout:setvbuf "no"
    ]] .. code, nil, { env = { LUA_CPATH = helper.library("foreign", source) } })
end

describe("a process that other code forks", function()
    it("is a main process of its own, with a family of its own", function()
        local result = run [[
            local before = mp.process(function() mp.sleep(60) end):start()
            local pid = foreign.fork()
            if pid == 0 then
                print(mp.parent_process() == nil, #mp.active_children(), mp.current_process().pid == mp.getpid())
                print(mp.process(function() return "its own" end):start():result())
                print(select(2, pcall(before.join, before)):match "belongs to process 'main'")
                os.exit(7)
            end
            print(foreign.wait(pid), before:is_alive())
            before:kill()
        ]]
        assert.same({ status = 0, stderr = "", stdout = "true\t0\ttrue\nits own\n"
            .. "belongs to process 'main'\n7\ttrue\n" }, result)
    end)

    it("inside a child may return from the child's function, and leaves nothing in its place", function()
        local result = run [[
            local p = mp.process(function()
                local pid = foreign.fork()
                if pid == 0 then return "the copy" end
                return foreign.wait(pid), "the child"
            end):start()
            print(p:result())
        ]]
        assert.same({ status = 0, stderr = "", stdout = "0\tthe child\n" }, result)
    end)
end)

describe("a process that other code forks in a scope", function()
    it("has no part in it, whatever it does there", function()
        local result = run [[
            local pid
            print(pcall(mp.scope, function(s)
                local p = s:start(mp.sleep, 0.3)
                pid = foreign.fork()
                if pid > 0 then return p:join() end
                print(select(2, pcall(s.start, s, print)):match "belongs to process 'main'")
                mp.sleep(0.01)
                if foreign.fork() == 0 then error("raised", 0) end
                return "returned"
            end))
            print(pid > 0 and foreign.wait(pid))
        ]]
        assert.equal("", result.stderr)
        local lines = {}
        for line in result.stdout:gmatch "[^\n]+" do lines[line] = (lines[line] or 0) + 1 end
        assert.same({ ["belongs to process 'main'"] = 1, ["true\treturned"] = 1, ["false\traised"] = 1,
            ["true\ttrue"] = 1, ["false"] = 2, ["0"] = 1 }, lines)
    end)
end)

describe("threads of other code", function()
    it("may make states with the allocator of the state that luamp is in", function()
        local result = run [[
            print(foreign.threads())
            print(mp.process(foreign.threads):start():result())
        ]]
        assert.same({ status = 0, stderr = "", stdout = "true\ntrue\n" }, result)
    end)
end)

-- The program has luamp in itself, and the module would be another one there.
if helper.host ~= helper.luamp then
    describe("two Lua states of a program", function()
        it("have one owner of signals, whose handlers run while the other one waits", function()
            local path = helper.library("states", [[
                #include <lualib.h>
                #include <lauxlib.h>
                static int run(lua_State *L) {
                  lua_State *other = luaL_newstate();
                  luaL_openlibs(other);
                  int ok = luaL_dostring(other, luaL_checkstring(L, 1)) == LUA_OK;
                  lua_pushboolean(L, ok);
                  lua_pushstring(L, lua_tostring(other, -1));
                  lua_close(other);
                  return 2;
                }
                int luaopen_states(lua_State *L) { lua_pushcfunction(L, run); return 1; }]])
            local result = helper.script_run([[
                local run = require "states"
                local code = [=[local mp = require "luamp"
                    os.execute("kill -USR1 " .. mp.getpid())
                    mp.sleep(0.1)
                    return select(2, pcall(mp.on_signal, "USR2", print))]=]
                mp.on_signal("USR1", print)
                print(run(code))
                mp.on_signal("USR1", function() error("told", 0) end)
                print(run(code))
                print(pcall(mp.sleep, 0))
                mp.on_signal("USR1", print)
                os.execute("kill -USR1 " .. mp.getpid())]], nil, { env = { LUA_CPATH = path } })
            assert.same({ 0, "SIGUSR1\n"
                .. "true\t[string \"local mp = require \"luamp\"...\"]:4: mp.on_signal: SIGUSR2: "
                .. "another Lua state of this program has handlers: Device or resource busy\n"
                .. "false\ttold\ntrue\nSIGUSR1\n", "" }, { result.status, result.stdout, result.stderr })
        end)
    end)
end
