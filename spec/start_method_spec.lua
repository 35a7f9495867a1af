-- start_method_spec.lua: what is special about the start methods, and what a process
-- finds in a fresh interpreter. All that holds under each method alike is in the other
-- specs of processes, which run under each; the forkserver's own life is in fresh_image_spec.
local helper = require "spec.helper"
local mp = require "luamp"

local misuse = helper.misuse
local part = helper.sanitized and 10 or 1 -- of what is large: a sanitizer takes its time for it
local every, fresh = { "fork", "forkserver", "spawn" }, { "forkserver", "spawn" }

-- What one process by that method returns that runs f.
local function result_by(method, f, ...)
    local p <close> = mp.process { target = f, args = table.pack(...), start_method = method, stderr = "null" }:start()
    return p:result()
end

-- A text that no two images share: the kernel gives each exec random addresses.
local function image()
    local file <close> = io.open("/proc/self/auxv", "rb")
    return file:read "a"
end

-- A script's output, for each fresh method, in which `method` is its name.
local function outputs(text, options, before)
    local all = {}
    for i, method in ipairs(fresh) do
        local run = helper.script_run(("local method = %q\nmp.set_start_method(method)\n%s"):format(method, text),
            before, options)
        all[i] = run.stderr .. run.stdout
    end
    return all
end

local function each_says(expected, text, options, before)
    assert.same({ expected, expected }, outputs(text, options, before))
end

-- Where Lua finds the module "attributes": setenv(name, value), umask(mask), dup2(from, to).
local function attributes()
    return helper.library("attributes", [[
        #include <lua.h>
        #include <lauxlib.h>
        #include <stdlib.h>
        #include <sys/stat.h>
        #include <unistd.h>
        static int set_env(lua_State *L) {
          return setenv(luaL_checkstring(L, 1), luaL_checkstring(L, 2), 1);
        }
        static int set_mask(lua_State *L) {
          lua_pushinteger(L, umask((mode_t)luaL_checkinteger(L, 1)));
          return 1;
        }
        static int dup_file(lua_State *L) {
          luaL_Stream *f = luaL_checkudata(L, 1, LUA_FILEHANDLE);
          lua_pushinteger(L, dup2(fileno(f->f), (int)luaL_checkinteger(L, 2)));
          return 1;
        }
        int luaopen_attributes(lua_State *L) {
          luaL_Reg all[] = {{"setenv", set_env}, {"umask", set_mask}, {"dup2", dup_file}, {0, 0}};
          luaL_newlib(L, all);
          return 1;
        }]])
end

describe("a start method", function()
    it("must be one that there is", function()
        local there = "(there are 'fork', 'forkserver' and 'spawn')"
        misuse("mp.process: unknown start method 'frok' " .. there,
            function() mp.process { target = print, start_method = "frok" } end)
        misuse("mp.process: option 'start_method' must be a",
            function() mp.process { target = print, start_method = 1 } end)
        misuse("mp.set_start_method: unknown start method 'thread' " .. there,
            function() mp.set_start_method "thread" end)
        misuse("mp.set_start_method: expected a name, not nothing", function() mp.set_start_method() end)
        misuse("mp.set_start_method: expected a name, not a table", function() mp.set_start_method {} end)
    end)

    it("is for a function: a command has none", function()
        for _, method in ipairs(every) do
            misuse("option 'start_method' is for a function; a program is always a fresh image",
                function() mp.process { command = { "true" }, start_method = method } end)
        end
    end)

    it("is fork by default, another one's after set_start_method, and its own by the option", function()
        local images = {}
        local function by(option) return result_by(option, image) end
        local own, before = image(), mp.get_start_method()
        for _, method in ipairs(every) do
            mp.set_start_method(method)
            assert.equal(method, mp.get_start_method())
            images[method] = by()
            assert.equal(own, by "fork")
            assert.not_equal(own, by "spawn")
        end
        mp.set_start_method(before)
        assert.equal(own, images.fork)
        assert.not_equal(own, images.forkserver)
        assert.not_equal(own, images.spawn)
        assert.not_equal(images.spawn, images.forkserver)
        assert.equal(images.forkserver, by "forkserver") -- one image for all
        assert.equal("fork\n", helper.run(helper.host .. " -", {
            stdin = "print(require 'luamp'.get_start_method())" }).stdout)
    end)

    it("is inherited by children of each method, and theirs", function()
        local expected = ("%s %s\n"):rep(9)
        local words = {}
        for _ = 1, 3 do
            for _, method in ipairs(every) do table.move({ method, method }, 1, 2, #words + 1, words) end
        end
        local run = helper.script_run [[
            local all = { "fork", "forkserver", "spawn" }
            for _, option in ipairs(all) do
                for _, method in ipairs(all) do
                    mp.set_start_method(method)
                    print(mp.process { start_method = option, target = function()
                        return mp.get_start_method() .. " " .. mp.process(mp.get_start_method):start():result()
                    end }:start():result())
                end
            end]]
        assert.equal(expected:format(table.unpack(words)), run.stdout, run.stderr)
    end)

    it("changes nothing about names, family and order", function()
        local run = helper.script_run [[
            local all = { "fork", "forkserver", "spawn" }
            local function look(others)
                local me, above = mp.current_process(), mp.parent_process()
                local lines = { ("%s below %s, %s, %d children"):format(me.name, above.name,
                    me.pid == mp.getpid() and above.pid == mp.getppid() and above:is_alive(), #mp.active_children()) }
                for _, method in ipairs(others) do
                    local p = mp.process { target = look, args = { {} }, start_method = method }:start()
                    lines[#lines + 1] = p:result()
                end
                return table.concat(lines, "\n")
            end
            for _, method in ipairs(all) do
                local p = mp.process { target = look, args = { all }, start_method = method }:start()
                local child = mp.active_children()[1]
                print(p:result())
                assert(child == p)
            end
            print(mp.process { target = look, args = { {} }, name = "mine", start_method = "spawn" }:start():result())]]
        local lines = {}
        for i = 1, 3 do
            lines[#lines + 1] = ("process-%d below main, true, 0 children\n"):format(i)
            for j = 1, 3 do
                lines[#lines + 1] = ("process-%d:%d below process-%d, true, 0 children\n"):format(i, j, i)
            end
        end
        lines[#lines + 1] = "mine below main, true, 0 children\n"
        assert.equal(table.concat(lines), run.stdout, run.stderr)
    end)

    it("changes nothing about the numbers that mp.seed makes repeat", function()
        local seen = {}
        for _, method in ipairs(every) do
            local run = helper.script_run(([[
                mp.set_start_method %q
                mp.seed(42)
                local function draw() return math.random(0) end
                for _ = 1, 2 do
                    print(mp.process(function() return draw(), mp.process(draw):start():result() end):start():result())
                end]]):format(method))
            assert.matches("^%-?%d+\t%-?%d+\n%-?%d+\t%-?%d+\n$", run.stdout, run.stderr)
            seen[run.stdout] = true
        end
        assert.is_truthy(next(seen))
        assert.is_nil(next(seen, (next(seen))))
    end)
end)

describe("a fresh interpreter", function()
    it("has the script's package.path, package.cpath and arg", function()
        local path = helper.script [[
            local mp = require "luamp"
            package.path, package.cpath = "/a/?.lua;" .. package.path, package.cpath .. ";/b/?.so"
            arg[3] = { "not plain" }
            for _, method in ipairs { "forkserver", "spawn" } do
                print(mp.process { start_method = method, target = function(path, cpath)
                    return package.path == path, package.cpath == cpath, arg[0], arg[1], arg[2], arg[3], #arg
                end, args = { package.path, package.cpath } }:start():result())
            end]]
        local run = helper.run(("%s %s one 'two words'"):format(helper.host, path))
        local line = ("true\ttrue\t%s\tone\ttwo words\tnil\t2\n"):format(path)
        assert.equal(line .. line, run.stdout, run.stderr)
    end)

    it("does not run the script again, nor LUA_INIT", function()
        each_says("init\nonce\ndone\n", [[
            print "once"
            print(mp.process(function() return "done" end):start():result())]],
            { env = { LUA_INIT = "print 'init' io.flush()" } })
    end)

    it("has the registered objects, also beside one that cannot be sent", function()
        each_says("true\ttrue\ttrue\nfine\n", [[
            local class, call, t = { __name = "class" }, function() end, {}
            mp.register("class", class)
            mp.register("call", call)
            local function look() return class, call, setmetatable({}, class) end
            local c, f, object = mp.process(look):start():result()
            print(c == class, f == call, getmetatable(object) == class)
            mp.register("file", io.stdout)
            mp.register("coroutines", { coroutine.create(print) })
            print(mp.process(function() return "fine" end):start():result())]])
    end)

    it("takes the parent's folder, environment, file mask, niceness and streams as they are now", function()
        local dir = helper.tmpdir()
        each_says("", ([[
            local set, lfs = require "attributes", require "lfs"
            local function look()
                local me, pipe = {}, io.popen "pwd; umask; echo $A_VARIABLE; nice"
                for line in pipe:lines() do me[#me + 1] = line end
                pipe:close()
                print(table.concat(me, " ", 2))
                return me[1]
            end
            local out = assert(io.open("%s/" .. method, "w"))
            local function go() return mp.process(look):start():result() end
            set.umask(18)
            set.dup2(out, 1)
            assert(go() == lfs.currentdir())
            assert(lfs.mkdir("%s/of-" .. method) and lfs.chdir("%s/of-" .. method))
            assert(go() == "%s/of-" .. method)
            set.umask(23)
            go()
            set.setenv("A_VARIABLE", "a value")
            go()
            os.execute("renice -n 1 -p " .. mp.getpid() .. " >/dev/null")
            go()
            assert(mp.process { target = os.getenv, args = { "A_VARIABLE" },
                env = { A_VARIABLE = false } }:start():result() == nil)
            assert(mp.process { target = os.getenv, args = { "A_VARIABLE" },
                env = { A_VARIABLE = "x" } }:start():result() == "x")
            assert(mp.process { target = os.getenv, args = { "A_VARIABLE" } }:start():result() == "a value")
        ]]):format(dir, dir, dir, dir), { env = { LUA_CPATH = attributes() } })
        local nice = math.tointeger(helper.run "nice".stdout)
        for _, method in ipairs(fresh) do
            assert.equal(("0022  %d\n0022  %d\n0027  %d\n0027 a value %d\n0027 a value %d\n")
                :format(nice, nice, nice, nice, nice + 1), helper.read(dir .. "/" .. method))
        end
    end)

    it("gets any arguments: many, nil, large ones", function()
        local function count(...) return select("#", ...), ... end
        for _, method in ipairs(fresh) do
            assert.same({ 4, nil, 2, nil, nil, n = 5 }, table.pack(result_by(method, count, nil, 2, nil, nil)))
            local many = {}
            for i = 1, 200000 // part do many[i] = i end
            local n, last = result_by(method, function(...) return select("#", ...), (select(-1, ...)) end,
                table.unpack(many))
            assert.same({ #many, #many }, { n, last })
            local numbers = {}
            for i = 1, 1000000 // part do numbers[i] = i end
            local text = ("0123456789"):rep((10 << 20) // part)
            local function look(s, t) return #s, s:sub(-10), #t, t[#t] end
            assert.same({ #text, "0123456789", #numbers, #numbers }, { result_by(method, look, text, numbers) })
        end
    end)

    it("does not have its parent's heap", function()
        local heap = {}
        for i = 1, 20 do heap[i] = ("x"):rep(10 << 20) end
        for _, method in ipairs(fresh) do
            assert.is_true(result_by(method, function() return collectgarbage "count" end) < 10 << 10)
        end
        assert.equal(20, #heap)
    end)

    it("does not count against its limit of memory what its parent has", function()
        local text = ("x"):rep(300 << 20)
        for _, method in ipairs(fresh) do
            local p <close> = mp.process { start_method = method, limits = { memory = "100M" }, stderr = "null",
                target = function()
                    local fits = #("x"):rep(20 << 20)
                    return fits, #("x"):rep(200 << 20)
                end }:start()
            assert.equal("not enough memory (limit of 100M)", helper.fails({ kind = "error" }, p.result, p).message)
        end
        assert.equal(300 << 20, #text)
    end)

    it("needs a limit of file sizes that the family's memory fits in", function()
        local reason = ": File too large (the limit of file sizes, ulimit -f, holds for what a fresh interpreter "
            .. "shares, too)"
        for _, method in ipairs(fresh) do
            local run = helper.script_run(([[
                local p = mp.process { target = print, start_method = %q }
                print(pcall(p.start, p))
                print(mp.process { target = function() return "fork" end, start_method = "fork" }:start():result())]])
                :format(method), "ulimit -f 100")
            assert.matches("^false\t[^\n]*cannot start 'process%-1': [^\n]*\nfork\n$", run.stdout, run.stderr)
            assert.is_truthy(run.stdout:find(reason, 1, true), run.stdout)
        end
    end)
end)

describe("what cannot be sent is raised by start, which may be tried again:", function()
    local function fails_then_works(text, p, mend)
        local e = helper.fails({ kind = "unsendable" }, p.start, p)
        assert.equal("cannot send " .. text, e.message:sub(1, #text + 12))
        assert.is_nil(p.pid)
        assert.is_false(p:is_alive())
        assert.same({}, mp.active_children())
        mend()
        assert.equal("mended", p:start():result())
        p:close()
    end

    for _, method in ipairs(fresh) do
        it("a target's upvalue, an argument, the target itself, by " .. method, function()
            local src = debug.getinfo(1, "S").short_src
            local held = { deep = { io.stdout } }
            fails_then_works(("upvalue held of function %s:"):format(src),
                mp.process { start_method = method, target = function() return held and "mended" end },
                function() held = {} end)
            local arg = { cache = { {}, { conn = coroutine.create(print) } } }
            fails_then_works("argument 2: cache[2].conn is a coroutine",
                mp.process { start_method = method, args = { 1, arg },
                    target = function(_, t) return t and "mended" end },
                function() arg.cache[2].conn = nil end)
            local object = setmetatable({ io.stdin }, { __call = function() return "mended" end })
            fails_then_works("the target: [1] is an open file", mp.process { start_method = method, target = object },
                function() object[1] = nil end)
        end)
    end

    it("a global that the function uses", function()
        each_says("unsendable\tcannot send global used\n2\n", [[
            used = { io.stdout, 2 }
            local p = mp.process(function() return used[2] end)
            local e = select(2, pcall(p.start, p))
            print(e.kind, e.message:match "^cannot send global used")
            used[1] = 1
            print(p:start():result())]])
    end)

    it("is an error object that names the sender", function()
        local e = helper.fails({ kind = "unsendable" }, function()
            mp.process { target = print, args = { io.stdout }, start_method = "spawn" }:start()
        end)
        assert.equal("cannot send argument 1: it is an open file; "
            .. "send what it was made from, or open it in the process that uses it", e.message)
        assert.same({ mp.current_process().name, mp.getpid() }, { e.process, e.pid })
        assert.matches("start_method_spec.lua:", tostring(e))
    end)
end)

describe("a module travels", function()
    local function with(files)
        local dir = helper.tmpdir()
        for name, text in pairs(files) do helper.write(dir .. "/" .. name, text) end
        return { env = { LUA_PATH = dir .. "/?.lua;;" } }, dir
    end

    it("by name if it is on the path, by value if it was made by hand", function()
        each_says("of the file\tchanged\nby hand\n", [[
            local m = require "m"
            m.value = "changed"
            local value = m.value
            package.loaded.byhand = { say = function() return "by hand" end }
            local byhand = require "byhand"
            print(mp.process(function() return m.value, value end):start():result())
            print(mp.process(function() return byhand.say() end):start():result())]],
            (with { ["m.lua"] = "return { value = 'of the file' }" }))
    end)

    it("by name, and tells when it is gone, or fails there", function()
        for text, expected in pairs {
            ["os.remove(path)"] = "module 'm' not found",
            ["local f = io.open(path, 'w') f:write 'error \"broken now\"' f:close()"] = "m.lua:1: broken now",
        } do
            for _, method in ipairs(fresh) do
                local options, dir = with { ["m.lua"] = "return { f = print }" }
                local run = helper.script_run(([[
                    local m, path = require "m", "%s/m.lua"
                    local kept = m.f
                    mp.process { target = print, start_method = "%s", args = { m } }:start():join()
                    %s
                    local p = mp.process { start_method = "%s", target = function() return m end, stderr = "null" }
                    local started, why = pcall(p.start, p)
                    local ok, e = pcall(p.result, p)
                    print(started, ok, e.kind, e.message)]]):format(dir, method, text, method), nil, options)
                assert.matches("true\tfalse\tunsendable\tcannot receive the arguments: ", run.stdout, run.stderr)
                assert.is_truthy(run.stdout:find(expected, 1, true), run.stdout)
            end
        end
    end)
end)

describe("descriptors", function()
    -- All that a process finds open, by what they are.
    local function open_ones()
        local lfs, list = require "lfs", {}
        for name in lfs.dir "/proc/self/fd" do
            local target = lfs.symlinkattributes("/proc/self/fd/" .. name, "target")
            if (tonumber(name) or 0) > 2 and target and not target:find "^/proc/" then
                list[#list + 1] = target:gsub("%d+", "N")
            end
        end
        table.sort(list)
        return table.concat(list, " ")
    end

    it("a fresh process has but the family's, and its commands none", function()
        local file <close> = io.open "/etc/passwd"
        local family = result_by("spawn", open_ones)
        assert.matches("^/memfd:luamp%-family %(deleted%)", family)
        assert.is_nil(family:find("passwd", 1, true))
        assert.is_nil(family:find("socket", 1, true))
        assert.is_nil(family:find("order", 1, true))
        assert.equal(family, result_by("forkserver", open_ones))
        assert.is_truthy(file)
        for _, method in ipairs(fresh) do
            assert.equal("0 1 2 3", result_by(method, function() -- 3 is the listing's own
                local pipe <close> = io.popen "ls /proc/self/fd | tr '\\n' ' '"
                return (pipe:read "a":gsub(" $", ""))
            end))
        end
    end)
end)
