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

describe("threads of other code", function()
    it("may make states with the allocator of the state that luamp is in", function()
        local result = run [[
            print(foreign.threads())
            print(mp.process(foreign.threads):start():result())
        ]]
        assert.same({ status = 0, stderr = "", stdout = "true\ntrue\n" }, result)
    end)
end)
