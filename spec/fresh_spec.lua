-- A process in a fresh interpreter, by forkserver or spawn: what it has, and what
-- goes with it at its end.
local lfs = require "lfs"
local helper = require "spec.helper"

local methods = { "fork", "forkserver", "spawn" }
local fresh = { "forkserver", "spawn" }

-- Runs a script with the arguments under this host.
local function run(text, ...)
    local words = { helper.host, helper.script("local mp = require 'luamp'\n" .. text) }
    for _, word in ipairs { ... } do words[#words + 1] = word end
    return helper.run(table.concat(words, " "))
end

local function succeeds(expected, text, ...)
    assert.same({ status = 0, stdout = expected, stderr = "" }, run(text, ...))
end

describe("what ends with a fresh process, or not:", function()
    for _, outer in ipairs(methods) do
        for _, inner in ipairs(methods) do
            it(("programs of one by %s in one by %s, when main is killed"):format(inner, outer), function()
                local path = helper.tmpdir() .. "/pid"
                local result = helper.run(("%s %s %s %s %s"):format(helper.host, helper.script [[
                    local mp = require "luamp"
                    local outer, inner, path = table.unpack(arg)
                    mp.process { start_method = outer, args = { inner, path }, target = function(method, file)
                        mp.process { start_method = method, args = { file }, target = function(name)
                            os.execute(("sh -c 'echo $$ >@.new; mv @.new @; exec sleep 1000'"):gsub("@", name))
                        end }:start():join()
                    end }:start()
                    while not io.open(path) do mp.sleep(0.005) end
                    os.execute("kill -KILL " .. mp.getpid())]], outer, inner, path))
                assert.equal(137, result.status, result.stderr)
                local pid = math.tointeger(helper.read(path))
                helper.wait_until(function() return not helper.alive(pid) end, "the program's end", 1)
            end)

            it(("a detached one by %s lives on after one by %s that ran programs"):format(inner, outer), function()
                local path = helper.tmpdir() .. "/"
                succeeds("done\n", [[
                    local outer, inner, path = table.unpack(arg)
                    mp.process { start_method = outer, args = { inner, path }, target = function(method, folder)
                        os.execute "true" -- there is a keeper from here on
                        mp.process { detached = true, start_method = method, args = { folder }, target = function(place)
                            while not io.open(place .. "go") do mp.sleep(0.005) end
                            io.open(place .. "done", "w"):close()
                        end }:start()
                    end }:start():join()
                    -- What the keeper would kill it has killed when it has ended a program of another.
                    local p = mp.process { target = function()
                        os.execute(("sh -c 'sleep 1000 & echo $! >%spid'"):format(path))
                    end }:start()
                    p:join()
                    local pid = io.open(path .. "pid"):read()
                    while io.open("/proc/" .. pid .. "/stat") do mp.sleep(0.005) end
                    io.open(path .. "go", "w"):close()
                    for _ = 1, 1000 do
                        if io.open(path .. "done") then print "done" break end
                        mp.sleep(0.01)
                    end]], outer, inner, path)
            end)
        end
    end
end)

describe("a function in a fresh interpreter", function()
    for _, method in ipairs(methods) do
        it("finds the globals that it uses, whatever they are called: " .. method, function()
            succeeds("x=3\t1\t2\ttrue\n", [[
                unpack, fmt = table.unpack, string.format
                local format, old = string.format, print
                string.shout = function(text) return text:upper() .. "!" end
                local shout = string.shout
                local function target(t)
                    return fmt("x=%d", 3), format("%d", 1), select(2, unpack(t)), shout "a" == "A!"
                end
                local p = mp.process { target = target, args = { { 1, 2 } }, start_method = arg[1] }
                old(p:start():result())]], method)
        end)

        it("finds them when its environment is its last upvalue: " .. method, function()
            succeeds("2485\tseen\n", [[
                local names, sum = {}, {}
                for i = 1, 70 do names[i] = ("v%d = %d"):format(i, i) sum[i] = "v" .. i end
                local locals = {}
                for i, text in ipairs(names) do locals[i] = "local " .. text end
                used = "seen"
                local make = load(table.concat(locals, "\n") .. "\nreturn function() return "
                    .. table.concat(sum, " + ") .. ", used end")
                print(mp.process { target = make(), start_method = arg[1] }:start():result())]], method)
        end)
    end

    it("gives the memory of its arguments back when they are not used any more", function()
        if helper.sanitized then return pending "a sanitizer keeps what is freed" end
        for _, method in ipairs(fresh) do
            succeeds("true\n", [[
                local p = mp.process { args = { ("x"):rep(100 << 20) }, start_method = arg[1], target = function(text)
                    text = #text
                    collectgarbage()
                    local status = io.open "/proc/self/status":read "a"
                    return tonumber(status:match "VmRSS:%s*(%d+)") < 60 << 10, text
                end }
                print((p:start():result()))]], method)
        end
    end)

    it("finds modules from another folder, or has their functions by value", function()
        local dir = helper.tmpdir()
        helper.write(dir .. "/made.lua", "local M = { n = 0 } function M.next() M.n = M.n + 1 return M.n end return M")
        for _, method in ipairs(fresh) do
            local result = helper.run(("%s %s %s"):format(helper.host, helper.script [[
                local mp = require "luamp"
                package.path = "./?.lua;" .. package.path
                local made = require "made"
                for _, cwd in ipairs { ".", "/" } do
                    print(mp.process { target = made.next, cwd = cwd, start_method = arg[1] }:start():result())
                end]], method), { cwd = dir })
            assert.same({ status = 0, stdout = "1\n1\n", stderr = "" }, result)
        end
    end)
end)

describe("an interpreter that is to be run anew", function()
    if helper.sanitized then return end -- other hosts than luamp cannot load the module
    -- A host that is no interpreter: it runs the script that is its first argument, and no option.
    local function host(name)
        local dir = helper.tmpdir()
        helper.write(dir .. "/host.c", [[
            #include <lua.h>
            #include <lauxlib.h>
            #include <lualib.h>
            #include <stdio.h>
            #include <stdlib.h>
            int main(int argc, char **argv) {
                lua_State *L = luaL_newstate();
                luaL_openlibs(L);
                if (argc < 1 || luaL_dofile(L, getenv("HOST_SCRIPT")) != LUA_OK) {
                    fprintf(stderr, "%s\n", lua_tostring(L, -1));
                    return 1;
                }
                lua_close(L);
                return 0;
            }]])
        local built = helper.run(("cc -O1 host.c -o %s -rdynamic $(pkg-config --cflags --libs lua5.4 || "
            .. "pkg-config --cflags --libs lua)"):format(name), { cwd = dir })
        assert.same({ 0, "" }, { built.status, built.stderr })
        return dir .. "/" .. name
    end

    local script = [[
        local mp = require "luamp"
        io.stderr:write "begun\n"
        for _, method in ipairs { "forkserver", "spawn" } do
            local ok, value = pcall(function()
                return mp.process { target = function() return 42 end, start_method = method }:start():result()
            end)
            print(ok, ok and value or (tostring(value):gsub("\n.*", ""):gsub("^%S+:%d+: ", "")))
        end]]

    it("is not a host that looks like one: a lua5.4 along PATH is", function()
        for _, name in ipairs { "host", "luanti", "luatex" } do
            local path = helper.script(script)
            local result = helper.run(host(name), { env = { HOST_SCRIPT = path } })
            assert.same({ status = 0, stdout = "true\t42\ntrue\t42\n", stderr = "begun\n" }, result)
        end
    end)

    it("that comes to no function is told, also when it ends well", function()
        local dir = helper.tmpdir()
        helper.write(dir .. "/lua5.4", "#!/bin/sh\nexit 0\n")
        os.execute("chmod 755 " .. dir .. "/lua5.4")
        local env = { HOST_SCRIPT = helper.script(script), PATH = dir .. ":" .. os.getenv "PATH" }
        local result = helper.run(host "host", { env = env })
        assert.matches("\nfalse\t.*its fresh interpreter never came to its function, and exited with status 0\n",
            result.stdout, result.stderr)
    end)

    it("is named when there is none", function()
        local env = { HOST_SCRIPT = helper.script(script), PATH = helper.tmpdir() }
        local result = helper.run(host "host", { env = env })
        local told = result.stdout:gsub("for %S*/host", "for HOST"):gsub("process%-%d", "NAME")
        local line = "false\tmp.process: cannot start 'NAME': the interpreter lua5.4, lua-5.4, lua54, lua "
            .. "(along PATH, for HOST is no Lua interpreter): No such file or directory\n"
        assert.equal(line .. line, told)
        assert.same({ 0, "begun\n" }, { result.status, result.stderr })
    end)
end)

describe("a forkserver", function()
    it("tells why it could not fork", function()
        if lfs.attributes("/proc/self", "uid") ~= 0 then return pending "needs root, to become an ordinary user" end
        local user = { "setpriv", "--reuid", "65431", "--clear-groups" }
        helper.needs_reachable_host(user)
        local text = [[
            local mp = require "luamp"
            mp.set_start_method "forkserver"
            local p = mp.process(function() return 1 end):start()
            p:result()
            local list, ok, e = {}, true, nil
            while ok and #list < 20 do
                ok, e = pcall(function() list[#list + 1] = mp.process(function() mp.sleep(60) end):start() end)
            end
            print(ok, e)
            for _, q in ipairs(list) do q:kill() q:join() end
            print(mp.process(function() return "again" end):start():result())]]
        local command = ("%s bash -c 'ulimit -u 8; exec %s -'"):format(table.concat(user, " "), helper.host)
        local result = helper.run(command, { stdin = text })
        local told = "^false\t.*: forkserver: Resource temporarily unavailable\nagain\n$"
        assert.matches(told, result.stdout, result.stderr)
    end)
end)
