-- forkserver_spec.lua: what a forkserver lacks or has become, and what its creator does
-- then: nothing runs twice, nothing hangs, nothing is left.
local helper = require "spec.helper"

local is_root = helper.run "id -u".stdout == "0\n"
local user = 40000 + math.random(20000) -- whose processes are this file's alone
local as_user = ("setpriv --reuid=%d --regid=%d --clear-groups"):format(user, user)

-- What Lua has no words for.
local kit = [[
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
static int result(lua_State *L, long rc) { lua_pushinteger(L, rc < 0 ? -errno : rc); return 1; }
static pid_t pid_at(lua_State *L) { return (pid_t)luaL_checkinteger(L, 1); }
/* limit(pid, "files" | "processes", soft, hard) */
static int limit(lua_State *L) {
    int which = *luaL_checkstring(L, 2) == 'f' ? RLIMIT_NOFILE : RLIMIT_NPROC;
    struct rlimit l = {(rlim_t)luaL_checkinteger(L, 3), (rlim_t)luaL_checkinteger(L, 4)};
    return result(L, prlimit(pid_at(L), which, &l, NULL));
}
/* fill(n): opens all descriptors but n; empty(): closes them */
static int filled[4096], n_filled;
static int fill(lua_State *L) {
    while ((filled[n_filled] = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0)
        n_filled++;
    for (lua_Integer n = luaL_checkinteger(L, 1); n > 0 && n_filled > 0; n--)
        close(filled[--n_filled]);
    return 0;
}
static int empty(lua_State *L) {
    (void)L;
    while (n_filled > 0)
        close(filled[--n_filled]);
    return 0;
}
static int become(lua_State *L) { return result(L, setuid((uid_t)luaL_checkinteger(L, 1))); }
static int ignore_children(lua_State *L) { (void)L; signal(SIGCHLD, SIG_IGN); return 0; }
static int reap(lua_State *L) { return result(L, waitpid(-1, NULL, luaL_optinteger(L, 1, WNOHANG))); }
static int kill_(lua_State *L) { return result(L, kill(pid_at(L), (int)luaL_checkinteger(L, 2))); }
/* fork(): a fork that luamp does not know of */
static int fork_(lua_State *L) { return result(L, fork()); }
/* run(text): in another state of this process; returns what it does, or its error */
static int run(lua_State *L) {
    lua_State *other = luaL_newstate();
    luaL_openlibs(other);
    if (luaL_dostring(other, luaL_checkstring(L, 1)))
        lua_error((lua_pushfstring(L, "%s", lua_tostring(other, -1)), L));
    lua_pushstring(L, lua_tostring(other, -1));
    lua_close(other);
    return 1;
}
/* hold(pid): has the socket of that process open that stands first from 10 on */
static int hold(lua_State *L) {
    long pidfd = syscall(SYS_pidfd_open, pid_at(L), 0);
    prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
    for (int i = 10; i < 20; i++) {
        struct stat s;
        long fd = syscall(SYS_pidfd_getfd, pidfd, i, 0);
        if (fd >= 0 && fstat((int)fd, &s) == 0 && S_ISSOCK(s.st_mode))
            return result(L, fd);
        if (fd >= 0)
            close((int)fd);
    }
    return result(L, -1);
}
static const luaL_Reg functions[] = {{"limit", limit}, {"fill", fill}, {"empty", empty}, {"become", become},
    {"ignore_children", ignore_children}, {"reap", reap}, {"kill", kill_}, {"hold", hold}, {"fork", fork_},
    {"run", run}, {NULL, NULL}};
int luaopen_kit(lua_State *L) { luaL_newlib(L, functions); return 1; }
]]

-- What the scripts share: processes that say in a file that they ran, and a look at servers.
local first = [[
local kit, lfs, core = require "kit", require "lfs", require "luamp.core"
mp.set_start_method "forkserver"
local log = os.tmpname() -- where any user may have one
local remove <close> = setmetatable({}, { __close = function() os.remove(log) end })
local function once(value)
    local file <close> = io.open(log, "a")
    file:write "x"
    return value
end
local function runs() -- since it was asked last
    local file <close> = io.open(log)
    local n = #file:read "a"
    io.open(log, "w"):close()
    return n
end
local function started(options)
    options.target, options.args = options.target or once, options.args or { "value" }
    return mp.process(options):start()
end
local function value_of(options)
    local p <close> = started(options or {})
    return p:result(20)
end
-- The pids of this process's forkservers, and how many of them are zombies.
local function servers()
    local list, zombies = {}, 0
    for pid in lfs.dir "/proc" do
        local file <close> = pid:find "^%d+$" and io.open("/proc/" .. pid .. "/stat") or nil
        local comm, state, parent = (file and file:read "a" or ""):match "%((.*)%) (%a) (%d+)"
        if math.tointeger(parent) == mp.getpid() and comm:find "^luamp%-server" then
            table.insert(list, math.tointeger(pid))
            zombies = zombies + (state == "Z" and 1 or 0)
        elseif math.tointeger(parent) == mp.getpid() and state == "Z" then
            zombies = zombies + 1
        end
    end
    return list, zombies
end
]]

-- The script, run by `uid` if it is another's, prints this and nothing else.
local function prints(expected, text, uid)
    local path = helper.library("kit", kit)
    local script = helper.script(("local mp = require 'luamp'\nif %d ~= 0 then require 'kit'.become(%d) end\n")
        :format(uid or 0, uid or 0) .. first .. text)
    local result = helper.run(("timeout 40 %s %s"):format(helper.host, script), { env = { LUA_CPATH = path } })
    assert.same({ 0, expected, "" }, { result.status, result.stdout, result.stderr })
end

describe("where descriptors are used up", function()
    it("a start succeeds or says so, has run no function that it denies, and leaves nothing", function()
        prints("true\ttrue\ttrue\t0\n", [[
            kit.limit(0, "files", 64, 64)
            value_of() -- what a first start makes for good
            runs()
            local n_failed, n_good, is_true = 0, 0, true
            for free = 0, 9 do
                for _, options in ipairs { {}, { args = { ("x"):rep(100000) } } } do
                    core.set_env("ANOTHER_SERVER", tostring(free) .. #(options.args or "")) -- none is there
                    kit.fill(free)
                    local ok, p = pcall(started, options)
                    kit.empty()
                    if ok then p:result(20) p:close() end
                    n_good, n_failed = n_good + (ok and 1 or 0), n_failed + (ok and 0 or 1)
                    is_true = is_true and (ok or p:find("Too many open files", 1, true) ~= nil)
                    mp.sleep(0.01) -- as long as a function needs that nobody knows of
                    is_true = is_true and runs() == (ok and 1 or 0)
                end
            end
            print(is_true, n_failed >= 4, n_good >= 4, select(2, servers()))]])
    end)

    it("in the server, a start that brings some says so, and one that brings none succeeds", function()
        prints("value\nfalse\ttrue\t0\nvalue\t1\nvalue\n", [[
            print(value_of())
            local server = servers()[1]
            kit.limit(server, "files", 4, 4096)
            runs()
            local ok, e = pcall(started, { cwd = "/", stdout = "null", limits = { core = 0 } })
            print(ok, e:find("Too many open files", 1, true) ~= nil, runs())
            print(value_of(), runs())
            kit.limit(server, "files", 64, 4096)
            print(value_of { cwd = "/", stdout = "null", limits = { core = 0 } })]])
    end)
end)

it("a server that may not fork says so, and serves again when it may", function()
    if is_root then helper.needs_reachable_host { as_user } end
    prints("value\nfalse\ttrue\t0\nvalue\t1\n", [[
        print(value_of())
        kit.limit(servers()[1], "processes", 1, 4096)
        runs()
        local ok, e = pcall(started, {})
        print(ok, e:find("forkserver: Resource temporarily unavailable", 1, true) ~= nil, runs())
        kit.limit(servers()[1], "processes", 4096, 4096)
        print(value_of(), #servers())]], is_root and user or 0)
end)

it("a creator that has become another user has a server of that one, and ends", function()
    if not is_root then return pending "only root can become another" end
    helper.needs_reachable_host { as_user }
    prints("1\n0\n2\t1\t0\n", ([[
        print(value_of { target = function() return 1 end })
        os.remove(log)
        print(kit.become(%d))
        print(value_of { target = function() return 2 end }, #servers(), (select(2, servers())))]]):format(user))
end)

describe("a server that is killed between two starts", function()
    local ways = {
        ["is replaced"] = "",
        ["and reaped by other code is replaced"] = "while kit.reap(0) < 0 do end",
        ["where SIGCHLD is ignored is replaced"] = "kit.ignore_children()",
        ["whose socket others hold is replaced"] = "assert(kit.hold(server) > 0)",
    }
    for what, code in pairs(ways) do
        it(what, function()
            local before = what:find "reaped" and "" or code
            local after = what:find "reaped" and code or ""
            prints("value\nvalue\ttrue\t2\t1\t0\n7\n", ([[
                local running = started { stdin = "pipe", target = function() io.read "a" os.exit(7) end }
                print(value_of())
                local server = servers()[1]
                %s
                kit.kill(server, 9)
                %s
                local at = mp.clock()
                io.write(value_of(), "\t")
                print(mp.clock() - at < 15, runs(), #servers(), (select(2, servers())))
                running.stdin:close()
                running:join(20)
                print(running.exitcode)]]):format(before, after))
        end)
    end
end)

it("one that is stopped goes on when it is needed, and goes with its creator", function()
    prints("value\nvalue\t1\n", [[
        print(value_of())
        kit.kill(servers()[1], 19)
        print(value_of(), #servers())
        kit.kill(servers()[1], 19)]])
end)

it("a child of it that is killed is seen dead by others, and so goes what it runs", function()
    prints("true\n", [[
        local p = started { target = function()
            local pipe <close> = io.popen "echo $$; exec sleep 1000"
            local file <close> = io.open(log, "w")
            file:write(pipe:read "l", "\n")
            file:close()
            pipe:read "l"
        end }
        local text
        repeat
            local file <close> = io.open(log)
            text = file:read "L"
        until text and text:find "\n"
        kit.kill(p.pid, 9)
        local until_ = mp.clock() + 5
        local gone
        repeat -- luamp is not called: nobody reaps the child
            local file <close> = io.open(("/proc/%d/stat"):format(text))
            gone = not file or (file:read "a" or ""):find "%) [ZX]" ~= nil
        until gone or mp.clock() > until_
        print(gone)
        p:join()]])
end)

it("a fork that luamp does not know of has a forkserver of its own", function()
    prints("value\t1\nvalue\t1\nvalue\t1\n", [[
        print(value_of(), #servers())
        local pid = kit.fork()
        if pid == 0 then
            local mine = #servers() == 0 and value_of()
            print(mine, #servers())
            os.exit(true, true)
        end
        while kit.reap(0) ~= pid do end
        print(value_of(), #servers())]])
end)

it("states of one process have one, or one each, and serve each other's processes no ill", function()
    prints("value\n5\nvalue\n5\nvalue\ntrue\n", [[
        print(value_of())
        for _ = 1, 2 do
            print(kit.run "local p = require 'luamp'.process { start_method = 'forkserver', target = \
                function() return 5 end } return tostring(p:start():result())")
            print(value_of())
        end
        print(select(2, servers()) == 0)]])
end)

it("a child of it has no descriptor that it was not given", function()
    prints(("memfd:luamp-family\tmemfd:luamp-outcomes\n"):rep(3), [[
        local function descriptors()
            local list = {}
            for fd in require "lfs".dir "/proc/self/fd" do
                local target = require "lfs".symlinkattributes("/proc/self/fd/" .. fd, "target")
                if target and tonumber(fd) and tonumber(fd) > 2 and not target:find "/fd$" then
                    list[#list + 1] = target:match "[^/ ]+"
                end
            end
            table.sort(list)
            return table.unpack(list)
        end
        for _, options in ipairs { {}, { args = { ("x"):rep(100000) } },
            { cwd = "/", stdin = "null", stdout = "capture", limits = { core = 0 } } } do
            options.target = descriptors
            print(value_of(options))
        end]])
end)
