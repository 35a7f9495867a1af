-- helper.lua: what the specs share, and the watch over what a test leaves.
--
-- busted runs it before any spec (see .busted); a spec asks for it by
-- `require "spec.helper"`. spec/host has prepared the environment.
--
-- The watch: around each `it` it compares children, zombies included, open
-- descriptors, and the entries of /dev/shm and of TMPDIR. What is new after
-- the test is a leak, and the test fails. luamp makes a few descriptors at
-- the first start and keeps them for good, so one process is started before
-- the first test, and no leak needs to be excused.
local busted = require "busted"
local lfs = require "lfs"

local helper = {
    luamp = os.getenv "LUAMP",
    lua = os.getenv "LUA",
    sanitized = (os.getenv "LUAMP_SANITIZE" or "") ~= "",
    is_everything = os.getenv "LUAMP_TESTS" == "all", -- and not the daily run (spec/all)
}
helper.method = os.getenv "LUAMP_START_METHOD" or "fork" -- of the processes that say nothing of it
helper.host = os.getenv "LUAMP_HOST" == "luamp" and helper.luamp or helper.lua
package.loaded["spec.helper"] = helper

for _, name in ipairs { "describe", "it", "pending", "setup", "teardown", "before_each", "after_each", "assert" } do
    _G[name] = busted[name] -- see busted.lua
end

-- Files and folders

function helper.read(path)
    local file <close> = assert(io.open(path, "rb"))
    return file:read "a"
end

function helper.write(path, text)
    local file <close> = assert(io.open(path, "wb"))
    assert(file:write(text))
end

local function entries(path)
    local found = {}
    if lfs.attributes(path, "mode") == "directory" then
        for name in lfs.dir(path) do
            if name ~= "." and name ~= ".." then
                found[name] = name
            end
        end
    end
    return found
end

local function remove(path)
    if lfs.symlinkattributes(path, "mode") == "directory" then
        for name in pairs(entries(path)) do
            remove(path .. "/" .. name)
        end
        lfs.rmdir(path)
    else
        os.remove(path)
    end
end

local base -- the folder of the running test, made when it first asks for one
local made = 0

local function fresh(kind)
    if not base then
        local pipe <close> = io.popen [[mktemp -d "${TMPDIR:-/tmp}/XXXXXX"]]
        base = assert(pipe:read "l", "mktemp made no folder")
    end
    made = made + 1
    return ("%s/%s-%d"):format(base, kind, made)
end

-- An empty folder that goes with the test.
function helper.tmpdir()
    local path = fresh "dir"
    assert(lfs.mkdir(path))
    return path
end

-- A script's text in which the line that loads luamp as `mp` sets this run's start method, too.
function helper.with_method(text)
    if helper.method == "fork" then return text end
    return (text:gsub("local mp = require (['\"])luamp%1", ("%%0; mp.set_start_method '%s'"):format(helper.method), 1))
end

-- The path of a file with this text, a Lua script for example, that goes with the test.
function helper.script(text)
    local path = fresh "script" .. ".lua"
    helper.write(path, helper.with_method(text))
    return path
end

-- Commands

function helper.quote(word)
    return "'" .. word:gsub("'", "'\\''") .. "'"
end

-- Runs a shell's command line to its end. Options: `stdin` (a text, empty by
-- default), `env` (name to text; false unsets), `cwd`. Returns a table of
-- `status`, as the shell tells it (128 + n for signal n), `stdout`, `stderr`.
function helper.run(command, options)
    options = options or {}
    local dir = helper.tmpdir()
    helper.write(dir .. "/stdin", options.stdin or "")
    local lines = { ("exec <%s/stdin >%s/stdout 2>%s/stderr"):format(dir, dir, dir) }
    if options.cwd then
        table.insert(lines, "cd " .. helper.quote(options.cwd))
    end
    for name, value in pairs(options.env or {}) do
        table.insert(lines, value and ("export %s=%s"):format(name, helper.quote(value)) or "unset " .. name)
    end
    table.insert(lines, command)
    local _, how, code = os.execute(table.concat(lines, "\n"))
    return {
        status = how == "signal" and 128 + code or code,
        stdout = helper.read(dir .. "/stdout"),
        stderr = helper.read(dir .. "/stderr"),
    }
end

-- Waiting

-- Asks until the answer is true, and returns it. This is the one wait of the
-- specs that nothing ends but the clock: `limit` seconds, 10 by default.
function helper.wait_until(predicate, what, limit)
    local mp = require "luamp"
    limit = (limit or 10) * (helper.sanitized and 3 or 1)
    local deadline = mp.clock() + limit
    repeat
        local answer = predicate()
        if answer then
            return answer
        end
        mp.sleep(0.002)
    until mp.clock() > deadline
    busted.fail(("waited %g s in vain for: %s"):format(limit, what), 2)
end

-- Errors

local function matches(err, expected)
    if type(expected) == "table" then
        for field, value in pairs(expected) do
            if err[field] ~= value then
                return false
            end
        end
        return true
    end
    local text = tostring(err)
    return text:find(expected, 1, true) or text:find(expected)
end

-- Calls f and returns what it raised, which must be the expected error: one
-- whose text holds the string or matches the pattern, or, for a table, one
-- with these fields.
function helper.fails(expected, f, ...)
    local results = table.pack(pcall(f, ...))
    if results[1] then
        busted.fail("expected an error, got " .. results.n - 1 .. " results", 2)
    end
    local err = results[2]
    if not matches(err, expected) then
        local wish = type(expected) == "string" and expected or require("pl.pretty").write(expected)
        busted.fail(("expected the error\n  %s\ngot\n  %s"):format(wish, tostring(err)), 2)
    end
    return err
end

-- The call, a function on one line, must raise this text at that line.
function helper.misuse(text, call)
    local at = debug.getinfo(call, "S")
    local e = helper.fails(text, call)
    local place = ("%s:%d: "):format(at.short_src, at.linedefined)
    if type(e) ~= "string" or e:sub(1, #place) ~= place then
        busted.fail(("expected misuse at %s, got\n  %s"):format(place, tostring(e)), 2)
    end
    return e
end

-- Scripts and processes

-- Runs a script with `mp` under this host; `before` is what the shell does first.
function helper.script_run(text, before, options)
    local path = helper.script("local mp = require 'luamp'\n" .. text)
    return helper.run(("%s; exec %s %s"):format(before or ":", helper.host, path), options)
end

-- A process that runs f, started; its own reports are not shown.
function helper.started(f, ...)
    return require "luamp".process { target = f, args = table.pack(...), stderr = "null" }:start()
end

-- What one process returns that runs f.
function helper.result_of(f, ...)
    local p <close> = helper.started(f, ...)
    return p:result()
end

-- The error object of a process that runs f.
function helper.error_of(f, ...)
    local p <close> = helper.started(f, ...)
    local e = helper.fails({}, p.result, p)
    busted.assert.is_true(require "luamp".is_error(e))
    busted.assert.same({ p.name, p.pid, p.exitcode }, { e.process, e.pid, e.exitcode })
    return e
end

-- Builds a C library that Lua can load; returns a LUA_CPATH that finds it.
function helper.library(name, source)
    local dir = helper.tmpdir()
    helper.write(("%s/%s.c"):format(dir, name), source)
    local built = helper.run(("cc -O1 -pthread -shared -fPIC $(pkg-config --cflags lua5.4 || "
        .. "pkg-config --cflags lua) %s.c -o %s.so"):format(name, name), { cwd = dir })
    busted.assert.same({ 0, "" }, { built.status, built.stderr })
    return ("%s;%s/?.so"):format(os.getenv "LUA_CPATH" or ";;", dir)
end

-- A test of what only a fork can do is pending under the other start methods.
function helper.needs_fork(why)
    if helper.method ~= "fork" then pending("by fork alone: " .. why) end
end

-- A test that means nothing where the pool's workers are on several hosts, that is as a job, is pending there.
function helper.needs_one_host(why)
    if #require "luamp".hosts() > 1 then pending("on one host alone: it " .. why) end
end

-- A test that runs the host by another user is pending where that one cannot reach
-- it: a tree may lie where only root can read. `user` is the command's beginning.
function helper.needs_reachable_host(user)
    local reaches = helper.run(("%s %s -e 'require [[luamp]]'"):format(table.concat(user, " "), helper.host))
    if reaches.status ~= 0 then pending "an ordinary user cannot reach the host here" end
end

-- A control group with so many bytes of memory, for one script: what the script's shell is to do first, and a
-- function that removes the group when all have left it. The test is pending where there can be none.
function helper.memory_group(bytes)
    local path = ("/sys/fs/cgroup/memory/luamp-spec-%d"):format(require "luamp".getpid())
    if not lfs.mkdir(path) then pending "needs a memory cgroup (version 1) that this user may write" end
    return ("echo %d >%s/memory.limit_in_bytes && echo $$ >%s/cgroup.procs"):format(bytes, path, path), function()
        helper.wait_until(function() return lfs.rmdir(path) end, "the end of all in the group", 5)
    end
end

-- Where Lua finds the module "killer": killer(pid, signal) sends a signal's number;
-- with a third argument so often, each some microseconds after the one before.
function helper.killer()
    return helper.library("killer", [[
        #include <lua.h>
        #include <lauxlib.h>
        #include <signal.h>
        static int send(lua_State *L) {
          pid_t pid = (pid_t)luaL_checkinteger(L, 1);
          int signo = (int)luaL_checkinteger(L, 2);
          lua_Integer n = luaL_optinteger(L, 3, 1);
          for (lua_Integer i = 0; i < n; i++) {
            kill(pid, signo);
            for (volatile lua_Integer pause = i * 7 % 3000; n > 1 && pause > 0; pause--)
              continue;
          }
          return 0;
        }
        int luaopen_killer(lua_State *L) { lua_pushcfunction(L, send); return 1; }]])
end

-- Processes and descriptors

local function status_of(pid)
    local file <close> = io.open("/proc/" .. pid .. "/stat")
    local text = file and file:read "a"
    if text then
        local state, parent = text:match ".*%) (%a) (%d+)"
        return state, math.tointeger(parent), math.tointeger(text:match "^%d+")
    end
end

-- Whether the process runs: a zombie does not.
function helper.alive(pid)
    local state = status_of(pid)
    return state ~= nil and state ~= "Z" and state ~= "X"
end

-- A forkserver belongs to the process that has it, and stays until that ends.
local function is_server(pid)
    local file <close> = io.open("/proc/" .. pid .. "/comm")
    return file ~= nil and file:read "l" == "luamp-server"
end

-- The children of a process (by default this one), zombies included; and its forkserver.
function helper.children(pid)
    pid = pid or select(3, status_of "self")
    local found, server = {}, nil
    for name in lfs.dir "/proc" do
        local child = math.tointeger(name)
        local _, parent = status_of(child or "none")
        if parent == pid and is_server(child) then
            server = child
        elseif parent == pid then
            table.insert(found, child)
        end
    end
    return found, server
end

-- The open descriptors of this process: number to what it is.
function helper.fds()
    local found = {}
    for name in lfs.dir "/proc/self/fd" do
        local target = lfs.symlinkattributes("/proc/self/fd/" .. name, "target")
        if target and not target:find "^/proc/%d+/fd$" then
            found[math.tointeger(name)] = target
        end
    end
    return found
end

-- The watch

-- Those of /dev/shm, without what luamp never makes: other programs' semaphores, and an MPI's segments.
local function shared_files()
    local found = entries "/dev/shm"
    for name in pairs(found) do
        if name:find "^sem%." or name:find "^vader_segment%." then found[name] = nil end
    end
    return found
end

local function state()
    collectgarbage()
    collectgarbage()
    local children = {}
    local pids, server = helper.children()
    for _, pid in ipairs(pids) do
        children[pid] = status_of(pid) == "Z" and "zombie" or "running"
    end
    return {
        ["child"] = children,
        ["descriptor"] = helper.fds(),
        ["/dev/shm/"] = shared_files(),
        ["TMPDIR/"] = entries(os.getenv "TMPDIR"),
    }, server
end

-- A forkserver that is new has brought this process one of each.
local function leave_out_servers(before, after)
    for _, kind in ipairs { "^socket:", "^anon_inode:%[pidfd%]$" } do
        for number, what in pairs(after) do
            if what:find(kind) and before[number] ~= what then
                after[number] = nil
                break
            end
        end
    end
end

local function leaks(before, after)
    local found = {}
    for kind, now in pairs(after) do
        for key, what in pairs(now) do
            local was = before[kind][key]
            if was ~= what and not (kind == "child" and was) then
                table.insert(found, ("%s %s (%s)"):format(kind, key, what))
            end
        end
    end
    table.sort(found)
    return found
end

pcall(function()
    local mp = require "luamp"
    mp.set_start_method(helper.method)
    mp.process { target = function() end }:start():join()
    mp.hosts() -- the links to other ranks, if there are any
end)

local before, server_before, name
local declare = pending -- a test that is none, in a file; within a test the same name ends it

busted.subscribe({ "test", "start" }, function(element)
    name = element.name
    if element.env then _G.pending = element.env.pending end
    return nil, true
end)

busted.subscribe({ "test", "end" }, function()
    _G.pending = declare
    return nil, true
end)

busted.before_each(function()
    before, server_before = state()
end)

busted.after_each(function()
    if base then
        remove(base)
        base = nil
    end
    local after, server = state()
    if server ~= server_before then leave_out_servers(before.descriptor, after.descriptor) end
    local found = leaks(before, after)
    for pid in pairs(after.child) do
        if not before.child[pid] then
            os.execute("kill -KILL " .. pid) -- or the file would wait for it at its end
        end
    end
    if #found > 0 then
        busted.fail(("'%s' left behind: %s"):format(name, table.concat(found, ", ")))
    end
end)

return helper
