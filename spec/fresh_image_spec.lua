-- fresh_image_spec.lua: the forkserver's life, and the programs that fresh images are made of.
local helper = require "spec.helper"
local driver = require "spec.driver"
local mp = require "luamp"

-- For scripts: the pid of the own forkserver.
local own_server = [[
    local function server()
        local pipe <close> = io.popen("pgrep -x -P " .. mp.getpid() .. " luamp-server")
        return pipe:read "n"
    end
    ]]

-- One process of the forkserver, started, that answers each line of its stdin by its exit code.
local function waiting()
    return mp.process { start_method = "forkserver", stdin = "pipe", stdout = "pipe", target = function()
        print "up"
        io.flush()
        os.exit(io.read "n")
    end }:start()
end

local function end_with(p, status)
    assert.equal("up", p.stdout:read "l")
    p.stdin:write(status, "\n")
    p.stdin:close()
    assert.is_true(p:join(10))
    assert.equal(status, p.exitcode)
    p:close()
end

local function own_pid(method)
    local p <close> = mp.process { target = mp.getpid, start_method = method or "forkserver" }:start()
    assert.equal(p.pid, p:result())
end

local function server()
    return (select(2, helper.children()))
end

describe("the forkserver", function()
    it("is one for all starts, and no child that anybody sees", function()
        own_pid()
        local first = server()
        for _ = 1, 5 do own_pid() end
        assert.equal(first, server())
        assert.same({}, mp.active_children())
        assert.same({}, helper.children())
    end)

    it("that is killed is made anew by the next start; its processes do not notice", function()
        local p = waiting()
        for status = 3, 5 do
            local before = server()
            os.execute("kill -KILL " .. before)
            local q = waiting()
            assert.not_equal(before, server())
            end_with(p, status)
            p = q
        end
        end_with(p, 0)
        own_pid()
    end)

    it("that is stopped goes on when it is needed", function()
        local p, before = waiting(), server()
        for status = 3, 5 do
            os.execute("kill -STOP " .. before)
            local q = waiting()
            assert.equal(before, server())
            end_with(p, status)
            p = q
        end
        end_with(p, 0)
    end)

    it("that is taken by a wait for any child is made anew", function()
        own_pid()
        local path = helper.library("taker", [[
            #include <lua.h>
            #include <lauxlib.h>
            #include <signal.h>
            #include <sys/wait.h>
            static int take(lua_State *L) {
              pid_t pid = (pid_t)luaL_checkinteger(L, 1);
              kill(pid, SIGKILL);
              lua_pushboolean(L, waitpid(pid, 0, 0) == pid);
              return 1;
            }
            int luaopen_taker(lua_State *L) { lua_pushcfunction(L, take); return 1; }]])
        local take = assert(package.loadlib(path:match ";([^;]*)%?%.so$" .. "taker.so", "luaopen_taker"))()
        assert.is_true(take(server()))
        own_pid()
    end)

    it("leaves no descriptor and no zombie behind, however often it is made anew", function()
        local function count()
            local n = 0
            for _ in pairs(helper.fds()) do n = n + 1 end
            return n
        end
        own_pid()
        local before = count()
        for _ = 1, 20 do
            os.execute("kill -KILL " .. server())
            own_pid()
        end
        assert.equal(before, count())
        assert.same({}, helper.children())
    end)

    it("cannot be reached by others: its sockets have no names", function()
        own_pid()
        local lfs, sockets = require "lfs", 0
        local folder = "/proc/" .. server() .. "/fd/"
        local all = helper.read "/proc/net/unix"
        for name in lfs.dir(folder) do
            local inode = (lfs.symlinkattributes(folder .. name, "target") or ""):match "^socket:%[(%d+)%]$"
            local line = inode and tonumber(name) > 2 and all:match("[^\n]* " .. inode .. "[^\n]*")
            if line then
                sockets = sockets + 1
                assert.matches(" " .. inode .. "%s*$", line)
            end
        end
        assert.equal(1, sockets)
    end)

    it("is its creator's own: a child has another, which ends with it", function()
        own_pid()
        local mine = server()
        for _, method in ipairs { "fork", "forkserver", "spawn" } do
            local p <close> = mp.process { start_method = method, stdin = "pipe", stdout = "pipe", target = function()
                mp.process { target = mp.getpid, start_method = "forkserver" }:start():join()
                print "up"
                io.flush()
                io.read "l"
            end }:start()
            assert.equal("up", p.stdout:read "l")
            local theirs = select(2, helper.children(p.pid))
            assert.is_truthy(theirs)
            assert.not_equal(mine, theirs)
            p.stdin:close()
            p:join()
            helper.wait_until(function() return not helper.alive(theirs) end, "the end of the child's", 0.5)
            assert.equal(mine, server())
        end
    end)

    it("lets a detached process of its processes live on, and of spawned ones, as fork does", function()
        for _, outer in ipairs { "forkserver", "spawn" } do
            for _, inner in ipairs { "fork", "forkserver", "spawn" } do
                local dir = helper.tmpdir()
                local p <close> = mp.process { start_method = outer, args = { dir }, target = function(path)
                    os.execute "true" -- so that somebody looks for what it leaves
                    mp.process { start_method = inner, detached = true, stdout = "null", target = function()
                        while not io.open(path .. "/go on") do mp.sleep(0.005) end
                        io.open(path .. "/done", "w"):close()
                    end }:start()
                    os.execute("sleep 1000 & echo $! >" .. path .. "/orphan")
                end }:start()
                assert.is_true(p:join(10))
                local orphan = math.tointeger(tonumber(helper.read(dir .. "/orphan")))
                helper.wait_until(function() return not helper.alive(orphan) end, "the end of what is not detached")
                helper.write(dir .. "/go on", "")
                helper.wait_until(function() return io.open(dir .. "/done") end, outer .. ": the detached " .. inner)
            end
        end
    end)

    it("survives a Ctrl-C that its creator catches", function()
        local killed = driver.signalled { signal = "INT", script = [[
            local mp = require "luamp"
            ]] .. own_server .. [[
            mp.set_start_method "forkserver"
            local p = mp.process { target = function() mp.sleep(0.5) return "whole" end }:start()
            local before = server()
            print "ready"
            io.flush()
            local _, e = pcall(mp.sleep, 60)
            print(e.kind, p:result(), mp.process(mp.getpid):start():result() > 0, server() == before)]] }
        assert.same({ 0, "interrupted\twhole\ttrue\ttrue\n" }, { killed.status, killed.stdout }, killed.stderr)
    end)

    for how, status in pairs { [""] = 0, ["os.exit(3)"] = 3, ["error 'oops'"] = 1, ["os.exit(3, true)"] = 3 } do
        it("is gone at the end of its creator, by " .. (how ~= "" and how or "the script's end"), function()
            local run = helper.script_run(own_server .. [[
                mp.process { target = print, start_method = "forkserver" }:start():join()
                print(server())
                io.flush()
                ]] .. how)
            assert.equal(status, run.status)
            local pid = math.tointeger(run.stdout:match "(%d+)\n$")
            assert.is_truthy(pid, run.stdout .. run.stderr)
            helper.wait_until(function() return not helper.alive(pid) end, "its end", 0.5)
        end)
    end

    it("is gone with all that it has made when its creator is killed, also while it is stopped", function()
        for _, before in ipairs { "", "os.execute('kill -STOP ' .. server())" } do
            local killed = driver.signalled { signal = "KILL", alone = true, script = [[
                local mp = require "luamp"
                ]] .. own_server .. [[
                local p = mp.process { start_method = "forkserver", target = mp.sleep, args = { 60 } }:start()
                ]] .. before .. [[
                print "ready"
                io.flush()
                p:join()]] }
            assert.equal(137, killed.status)
            helper.wait_until(function() return #driver.group(killed.group) == 0 end, "the end of all", 0.5)
        end
    end)
end)

describe("a fresh image is made", function()
    local both = [[
        for _, method in ipairs { "forkserver", "spawn" } do
            local p = mp.process { start_method = method, target = function(x)
                return x, mp.process { start_method = method, target = function() return "inner" end }:start():result()
            end, args = { method } }
            local ok, e = pcall(p.start, p)
            print(ok and table.concat({ p:result() }, " ") or e)
        end]]
    local well = "forkserver inner\nspawn inner\n"

    -- A program that has the interpreter as a library, and runs the script that it is given.
    local function embedding(name)
        local dir = helper.tmpdir()
        helper.write(dir .. "/host.c", [[
            #include <lua.h>
            #include <lauxlib.h>
            #include <lualib.h>
            #include <stdio.h>
            int main(int argc, char **argv) {
              lua_State *L = luaL_newstate();
              luaL_openlibs(L);
              if (argc != 2 || luaL_dofile(L, argv[1]) != LUA_OK)
                return fprintf(stderr, "%s\n", lua_tostring(L, -1)), 1;
              lua_close(L);
              return 0;
            }]])
        local built = helper.run(("cc -O1 $(pkg-config --cflags lua5.4 || pkg-config --cflags lua) host.c -o %s "
            .. "-Wl,-E $(pkg-config --libs lua5.4 || pkg-config --libs lua)"):format(name), { cwd = dir })
        assert.same({ 0, "" }, { built.status, built.stderr })
        return dir .. "/" .. name
    end

    if not helper.sanitized then
        it("of an interpreter along PATH, if the module is in another program", function()
            for _, name in ipairs { "host", "luahost" } do
                local program = embedding(name)
                local script = helper.script("local mp = require 'luamp'\n" .. both)
                assert.same({ status = 0, stdout = well, stderr = "" }, helper.run(program .. " " .. script))
                local run = helper.run(program .. " " .. script, { env = { PATH = "/nowhere" } })
                local _, n = run.stdout:gsub("cannot start 'process%-%d': the interpreter lua5%.4, [^\n]* "
                    .. "%(along PATH, for /[^\n]*/" .. name .. " is no Lua interpreter%): "
                    .. "No such file or directory\n", "")
                assert.equal(2, n, run.stdout)
            end
        end)

        it("of the module's file, and tells when it is gone", function()
            local dir = helper.tmpdir()
            helper.write(dir .. "/luamp.so", helper.read(os.getenv "LUAMP_BUILD" .. "/module/luamp.so"))
            local run = helper.run(("%s %s"):format(helper.lua, helper.script(([[
                local mp = require "luamp"
                mp.process { target = print, start_method = "forkserver" }:start():join()
                os.remove "%s/luamp.so"
                ]]):format(dir) .. both)), { env = { LUA_CPATH = dir .. "/?.so" } })
            local line = ("cannot start 'process-%%d': %s/luamp.so: "
                .. "the module's file is gone, and cannot be loaded anew\n")
                :format(dir)
            for i = 2, 3 do
                assert.is_truthy(run.stdout:find(line:format(i), 1, true), run.stdout .. run.stderr)
            end
        end)
    end

    it("of the program that runs, also when its file is gone or another", function()
        for _, upgrade in ipairs { "", "helper('exit 1')" } do
            local dir = helper.tmpdir()
            helper.write(dir .. "/luamp", helper.read(helper.luamp))
            assert(os.execute("chmod 755 " .. dir .. "/luamp"))
            local run = helper.run(dir .. "/luamp " .. helper.script(([[
                local mp = require "luamp"
                local path = "%s/luamp"
                local function helper(text)
                    local file <close> = io.open(path, "w")
                    file:write("#!/bin/sh\n", text, "\n")
                    os.execute("chmod 755 " .. path)
                end
                assert(helper and os.remove(path))
                ]]):format(dir) .. upgrade .. "\n" .. both))
            assert.same({ status = 0, stdout = well, stderr = "" }, run)
        end
    end)

    it("by luamp alone: nobody else can ask for one", function()
        local child = helper.run(helper.luamp .. " --luamp-child")
        local unknown = helper.run(helper.luamp .. " --luamp-chilt")
        assert.matches("^[^\n]*: unrecognized option '%-%-luamp%-child'\n", child.stderr)
        assert.same({ unknown.status, unknown.stdout, (unknown.stderr:gsub("chilt", "child")) },
            { child.status, child.stdout, child.stderr })
        local path = os.getenv "LUAMP_BUILD" .. "/module/luamp.so"
        if not helper.sanitized then
            local run = helper.run(("%s -e 'package.loadlib(%q, [[luaopen_luamp_child]])()'"):format(helper.lua, path))
            assert.matches("luaopen_luamp_child: not started by luamp", run.stderr)
            assert.equal(1, run.status)
        end
    end)
end)
