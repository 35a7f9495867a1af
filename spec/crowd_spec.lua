-- crowd_spec.lua: many processes: at once, one after the other, and killed at birth.
local helper = require "spec.helper"
local mp = require "luamp"

local scale = (helper.sanitized or not helper.is_everything) and 10 or 1 -- fewer starts in the daily run

local function resident()
    return tonumber(helper.read("/proc/self/status"):match "VmRSS:%s+(%d+)")
end

local function count(t)
    local n = 0
    for _ in pairs(t) do n = n + 1 end
    return n
end

-- In a script of its own, because thousands of descriptors are opened.
describe("a crowd:", function()
    local n_live = helper.sanitized and 500 or helper.is_everything and 5000 or 1500 -- descriptors: more than 1,024
    it(n_live .. " live processes, each started, answering and reaped", function()
        local n, gate = n_live, helper.tmpdir() .. "/gate"
        local result = helper.script_run(([[
            local n, gate = %d, %q
            local list = {}
            for i = 1, n do
                list[i] = mp.process { target = function()
                    io.open(gate):close() -- once somebody opens it for writing
                    return i, mp.getpid()
                end }:start()
            end
            local alive = 0
            for _, p in ipairs(list) do alive = alive + (p:is_alive() and 1 or 0) end
            print(alive, #mp.active_children())
            local open <close> = io.open(gate, "w")
            local right = 0
            for i, p in ipairs(list) do
                local answer, pid = p:result()
                right = right + (answer == i and pid == p.pid and 1 or 0)
            end
            print(right, #mp.active_children())
        ]]):format(n, gate), "ulimit -Sn 1024; mkfifo " .. gate)
        assert.same({ 0, "", ("%d\t%d\n%d\t0\n"):format(n, n, n) }, { result.status, result.stderr, result.stdout })
    end)

    it("an old handle does not hit a new process of its pid", function()
        local path = helper.library("forks", [[
            #define _GNU_SOURCE
            #include <lua.h>
            #include <lauxlib.h>
            #include <signal.h>
            #include <stdio.h>
            #include <sys/wait.h>
            #include <unistd.h>
            /* The next child is to have that pid: whoever may not say so has to try them all. */
            static void ask_for(pid_t pid) {
                FILE *last = fopen("/proc/sys/kernel/ns_last_pid", "w");
                if (last != NULL) fprintf(last, "%d", (int)pid - 1), fclose(last);
            }
            /* until(pid, n): forks up to n times, until a child has that pid; that one stays. */
            static int until(lua_State *L) {
                pid_t wanted = (pid_t)luaL_checkinteger(L, 1), pid = 0;
                for (lua_Integer n = luaL_checkinteger(L, 2); n > 0 && pid != wanted; n--) {
                    ask_for(wanted);
                    pid = _Fork();
                    if (pid == 0) {
                        if (getpid() == wanted) pause();
                        _exit(0);
                    }
                    if (pid != wanted) waitpid(pid, NULL, 0);
                }
                lua_pushboolean(L, pid == wanted);
                return 1;
            }
            /* finish(pid): kills that one; what had happened to it before. */
            static int finish(lua_State *L) {
                int status;
                pid_t pid = (pid_t)luaL_checkinteger(L, 1);
                lua_pushboolean(L, waitpid(pid, &status, WNOHANG) == 0);
                kill(pid, SIGKILL);
                waitpid(pid, &status, 0);
                return 1;
            }
            int luaopen_forks(lua_State *L) {
                lua_newtable(L);
                lua_pushcfunction(L, until), lua_setfield(L, -2, "until_pid");
                lua_pushcfunction(L, finish), lua_setfield(L, -2, "finish");
                return 1;
            }]])
        local result = helper.script_run([[
            local forks = require "forks"
            local p = mp.process { command = { "true" } }:start()
            p:join()
            local q = mp.process(function() end):start()
            q:join()
            for _, old in ipairs { p, q } do
                if not forks.until_pid(old.pid, 100000) then print "none" os.exit(0) end
                print(old:kill(), old:terminate(), old:signal "SIGKILL", old:is_alive(), forks.finish(old.pid))
            end
        ]], nil, { env = { LUA_CPATH = path } })
        assert.equal("", result.stderr)
        if result.stdout:find "none" then -- there are more pids, or somebody else has that one
            pending "no process got the pid within 100,000 forks"
            return
        end
        local harmless = "false\tfalse\tfalse\tfalse\ttrue\n"
        assert.equal(harmless .. harmless, result.stdout)
    end)

    it(10000 // scale .. " starts make neither descriptors nor memory grow", function()
        local function starts(n)
            for i = 1, n do
                local p <close> = mp.process { target = function() return i end }:start()
                assert(p:result() == i)
            end
            collectgarbage()
        end
        starts(500)
        local fds, memory = count(helper.fds()), resident()
        starts(10000 // scale)
        assert.equal(fds, count(helper.fds()))
        assert.is_true(resident() - memory < 4096, "grew by KiB: " .. resident() - memory)
    end)

    it("100 children killed at once right after their start", function()
        local list = {}
        for i = 1, 100 do
            list[i] = mp.process { target = function() while true do end end, daemon = true }:start()
            list[i]:kill()
        end
        for _, p in ipairs(list) do
            assert.is_true(p:join(10))
            assert.same({ -9, "signal" }, { p.exitcode, p.error.kind })
            p:close()
        end
        assert.same({}, mp.active_children())
    end)
end)
