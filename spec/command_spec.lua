-- command_spec.lua: programs as processes: the option `command` of mp.process.
local helper = require "spec.helper"
local mp = require "luamp"

local misuse = helper.misuse

-- A process that runs the program with these options, started.
local function run(command, options)
    options = options or {}
    options.command = command
    return mp.process(options):start()
end

local function sh(text, options)
    return run({ "sh", "-c", text }, options)
end

-- What a program that ends well writes to its stdout.
local function output_of(command, options)
    options = options or {}
    options.stdout = "capture"
    local p <close> = run(command, options)
    return p:result().stdout
end

-- The error object of a program, which must fail.
local function error_of(command, options)
    local p <close> = run(command, options)
    local e = helper.fails({}, p.result, p)
    assert.is_true(mp.is_error(e))
    return e, p
end

-- A start that must fail at the caller's line with this text, and leave nothing.
local function fails_to_start(text, options)
    local p = mp.process(options)
    local e = misuse("mp.process: cannot start '" .. p.name .. "': ", function() p:start() end)
    assert.is_truthy(e:find(text), e)
    assert.is_nil(p.pid)
    assert.is_false(p:is_alive())
    assert.same({}, mp.active_children())
    p:close()
end

-- The value of a line of /proc/PID/status.
local function status_line(pid, name)
    return helper.read(("/proc/%d/status"):format(pid)):match(name .. ":%s+(%S+)")
end

-- The program `cat`, which has begun its work, and ends with its stdin.
local function cat(options)
    options = options or {}
    options.stdin, options.stdout = "pipe", "pipe"
    local p = run({ "cat" }, options)
    assert(p.stdin:write "ready\n":flush())
    assert.equal("ready", p.stdout:read "l")
    return p
end

describe("the words of a command", function()
    it("arrive as they are: no shell looks at them", function()
        local words = { "", " ", "a b", "'", '"', "$HOME", "`id`", "*", "a\nb", ";", "\\", "-n", "\t", "\xff", "~", "" }
        local command = { "printf", "<%s>" }
        for _, word in ipairs(words) do command[#command + 1] = word end
        assert.equal("<" .. table.concat(words, "><") .. ">", output_of(command))
    end)

    it("may be numbers", function()
        assert.equal("<1><2.5><-3>", output_of { "printf", "<%s>", 1, 2.5, -3 })
    end)

    it("may be many, and too many are told", function()
        local command = { "sh", "-c", "echo $#" }
        for i = 4, 10000 do command[i] = "word" end
        assert.equal("9996\n", output_of(command))
        fails_to_start("command 'true': Argument list too long$", { command = { "true", ("x"):rep(1 << 20) } })
    end)

    it("are those at the time when the process was made", function()
        local command = { "echo", "before" }
        local p <close> = mp.process { command = command, stdout = "capture" }
        command[2] = "after"
        assert.equal("before\n", p:start():result().stdout)
    end)
end)

describe("the result of a command", function()
    it("is a table of its exit code and the texts that were captured", function()
        local p <close> = sh("echo out; echo err >&2", { stdout = "capture", stderr = "capture" })
        assert.same({ exitcode = 0, stdout = "out\n", stderr = "err\n" }, p:result())
        assert.same(p:result(), p:result())
        assert.same({ "out\n", "err\n", 0 }, { p.stdout, p.stderr, p.exitcode })
        assert.is_nil(p.error)
        local q <close> = run { "true" }
        assert.same({ exitcode = 0 }, q:result())
    end)

    it("of one that fails is an error object that carries it", function()
        local e, p = error_of({ "sh", "-c", "echo out; echo err >&2; exit 7" },
            { stdout = "capture", stderr = "capture", name = "seven" })
        assert.equal("exit", e.kind)
        assert.same({ exitcode = 7, stdout = "out\n", stderr = "err\n" }, e.value)
        assert.same({ "seven", p.pid, 7, nil }, { e.process, e.pid, e.exitcode, e.signal })
        assert.equal(("process 'seven' (pid %d): command 'sh' exited with status 7"):format(p.pid), e.message)
        assert.same({ "exit", 7 }, { p.error.kind, p.error.value.exitcode })
        assert.equal(7, p.exitcode)
    end)

    it("of one that a signal killed is one too", function()
        local e, p = error_of({ "sh", "-c", "echo out; kill -KILL $$" }, { stdout = "capture" })
        assert.same({ "signal", "SIGKILL", -9, -9 }, { e.kind, e.signal, e.exitcode, p.exitcode })
        assert.same({ exitcode = -9, stdout = "out\n" }, e.value)
        assert.is_truthy(e.message:find "was killed by SIGKILL$")
    end)

    it("is pending until it has ended", function()
        local p <close> = cat()
        helper.fails({ kind = "pending" }, p.result, p, 0)
        assert.same({ nil, "timeout" }, { p:join(0) })
        assert.is_true(p:is_alive())
        p.stdin:close()
        assert.same({ exitcode = 0 }, p:result())
        assert.is_false(p:is_alive())
    end)

    it("that failed tells the last lines of its stderr", function()
        local e = error_of({ "sh", "-c", "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do echo line $i >&2; done; exit 1" },
            { stderr = "capture" })
        local report = tostring(e)
        assert.is_truthy(report:find("exited with status 1\nits stderr ends with:\n\tline 3\n", 1, true), report)
        assert.is_truthy(report:find("\tline 12\n", 1, true), report)
        assert.is_nil(report:find("line 2\n", 1, true))
        assert.is_nil(tostring((error_of { "false" })):find "stderr")
    end)

    it("goes on to other processes whole", function()
        local p <close> = helper.started(function()
            sh("echo why >&2; exit 3", { stderr = "capture", name = "inner" }):result()
        end)
        local e = helper.fails({}, p.result, p)
        assert.same({ "exit", "inner", 3 }, { e.kind, e.process, e.value.exitcode })
        assert.equal("why\n", e.value.stderr)
        assert.same({ exitcode = 0, stdout = "x\n" }, helper.result_of(function()
            return run({ "echo", "x" }, { stdout = "capture" }):result()
        end))
    end)
end)

describe("a program that cannot be run is named at the start", function()
    it("when it is missing", function()
        local path = { PATH = "/no/such:/usr/bin:/bin" }
        fails_to_start("command 'no%-such%-program': No such file or directory$",
            { command = { "no-such-program" }, env = path })
        local shut = helper.tmpdir()
        assert(os.execute("chmod 600 " .. shut)) -- nobody but root may search it
        fails_to_start("command 'no%-such%-program': No such file or directory$",
            { command = { "no-such-program" }, env = { PATH = shut .. ":/usr/bin" } })
        fails_to_start("command '/no/such': No such file or directory$", { command = { "/no/such", "x" } })
        fails_to_start("command '%%s': No such file or directory$", { command = { "%s" }, env = path })
    end)

    it("when it is no program: not executable, a folder, of no format", function()
        local dir = helper.tmpdir()
        helper.write(dir .. "/plain", "#!/bin/sh\n")
        fails_to_start("command '.*/plain': Permission denied$", { command = { dir .. "/plain" } })
        fails_to_start("command 'plain': Permission denied$", { command = { "plain" }, env = { PATH = dir } })
        fails_to_start("': Permission denied$", { command = { dir } })
        fails_to_start("/x': No such file or directory$", { command = { dir .. "/plain/x" } })
        helper.write(dir .. "/text", "echo no shebang\n")
        assert(os.execute("chmod +x " .. dir .. "/text"))
        fails_to_start("command '.*/text': Exec format error$", { command = { dir .. "/text" } })
        helper.write(dir .. "/lost", "#!/no/such/interpreter\n")
        assert(os.execute("chmod +x " .. dir .. "/lost"))
        fails_to_start("command '.*/lost': No such file or directory$", { command = { dir .. "/lost" } })
    end)

    it("and so are a folder and streams that are not there", function()
        fails_to_start("cwd: /no/such: No such file or directory$", { command = { "true" }, cwd = "/no/such" })
        for _, name in ipairs { "stdin", "stdout", "stderr" } do
            fails_to_start(name .. ": /no/such/x: No such file or directory$",
                { command = { "true" }, [name] = "/no/such/x" })
        end
        fails_to_start("cpus: Invalid argument$", { command = { "true" }, cpus = { 1000 } })
    end)

    it("and can be started again when it is there", function()
        local path = helper.tmpdir() .. "/prog"
        local p <close> = mp.process { command = { path }, stdout = "capture", stdin = "pipe", stderr = "pipe" }
        helper.fails("No such file", p.start, p)
        helper.write(path, "#!/bin/sh\necho there now\n")
        assert(os.execute("chmod +x " .. path))
        assert.equal("there now\n", p:start():result().stdout)
    end)
end)

describe("the environment of a command", function()
    it("is this process's, with changes", function()
        local text = output_of({ "env" }, { env = { LUAMP_A = "1 = 2\n3", HOME = false, TMPDIR = "changed" } })
        assert.is_truthy(("\n" .. text):find("\nLUAMP_A=1 = 2\n3\n", 1, true))
        assert.is_nil(("\n" .. text):find "\nHOME=")
        assert.is_truthy(("\n" .. text):find "\nTMPDIR=changed\n")
        assert.is_truthy(("\n" .. text):find("\nPATH=" .. os.getenv "PATH" .. "\n", 1, true))
        assert.is_truthy(("\n" .. output_of { "env" }):find "\nHOME=")
    end)

    it("has the PATH along which the program is looked for", function()
        local dir = helper.tmpdir()
        helper.write(dir .. "/true", "#!/bin/sh\necho mine\n")
        helper.write(dir .. "/plain", "")
        assert(os.execute("chmod +x " .. dir .. "/true"))
        assert.equal("mine\n", output_of({ "true" }, { env = { PATH = "/no/such:" .. dir } }))
        assert.equal("mine\n", output_of({ "true" }, { env = { PATH = ":" }, cwd = dir }))
        assert.equal("mine\n", output_of({ "./true" }, { cwd = dir }))
        assert.equal("x\n", output_of({ "echo", "x" }, { env = { PATH = false } }))
        fails_to_start("command 'true': No such", { command = { "true" }, env = { PATH = "/no/such" } })
    end)

    it("carries the family's tag, unless it is detached", function()
        assert.is_truthy(output_of({ "env" }):find "^LUAMP_FAMILY_%w+=%w+")
        local function tags(options)
            local _, n = ("\n" .. output_of({ "env" }, options)):gsub("\nLUAMP_FAMILY_", "")
            return n
        end
        assert.equal(1, tags())
        assert.equal(0, tags { detached = true })
        assert.equal(1, helper.result_of(tags))
        assert.equal(0, helper.result_of(tags, { detached = true }))
    end)

    it("is tagged in a child's os.execute, and not in the main process's", function()
        local result = helper.script_run [[
            mp.process { command = { "true" } }:start():join()
            os.execute "env | grep -c ^LUAMP_FAMILY_"
            mp.process { target = function() os.execute "env | grep -c ^LUAMP_FAMILY_" end }:start():join()
        ]]
        assert.same({ status = 0, stdout = "0\n1\n", stderr = "" }, result)
    end)
end)

describe("options of any process hold for a command:", function()
    it("cwd", function()
        local dir = helper.tmpdir()
        assert.equal(dir .. "\n", output_of({ "pwd", "-P" }, { cwd = dir }))
    end)

    it("nice and cpus", function()
        local p <close> = cat { nice = 3, cpus = { 0 } }
        assert.equal("0", status_line(p.pid, "Cpus_allowed_list"))
        local function nice(pid)
            local after = helper.read(("/proc/%s/stat"):format(pid)):match ".*%) (.*)"
            return tonumber((after:gsub("%S+ ", "", 16):match "%S+"))
        end
        assert.equal(nice "self" + 3, nice(p.pid))
        p.stdin:close()
    end)

    it("name, and the object's text", function()
        local p <close> = cat { name = "the cat" }
        assert.equal("the cat", p.name)
        assert.is_truthy(tostring(p):find("('the cat', running, pid " .. p.pid .. ")", 1, true))
        assert.equal(p, mp.active_children()[1])
        p.stdin:close()
    end)

    it("detached: a session of its own", function()
        local function session(options)
            return tonumber((output_of({ "cat", "/proc/self/stat" }, options):match "%) %S+ %S+ %S+ (%S+)"))
        end
        local p <close> = run({ "cat", "/proc/self/stat" }, { stdout = "capture", detached = true })
        assert.equal(p.pid, tonumber((p:result().stdout:match "%) %S+ %S+ %S+ (%S+)")))
        assert.equal(tonumber((helper.read "/proc/self/stat":match "%) %S+ %S+ %S+ (%S+)")), session())
    end)
end)

describe("the streams of a command", function()
    it("are inherited, after what this process wrote before", function()
        local result = helper.script_run([[
            io.write "before "
            io.stderr:write "before "
            local p <close> = mp.process { command = { "sh", "-c", "cat; echo err >&2" } }:start()
            p:join()
            io.write "after"]], nil, { stdin = "in " })
        assert.same({ status = 0, stdout = "before in after", stderr = "before err\n" }, result)
    end)

    it("may be nothing", function()
        local p <close> = sh("cat; echo out; echo err >&2", { stdin = "null", stdout = "null", stderr = "null" })
        assert.same({ exitcode = 0 }, p:result())
    end)

    it("may be paths", function()
        local dir = helper.tmpdir()
        helper.write(dir .. "/in", "given")
        local p <close> = sh("cat; echo err >&2",
            { stdin = dir .. "/in", stdout = dir .. "/out", stderr = dir .. "/err" })
        p:result()
        assert.equal("given", helper.read(dir .. "/out"))
        assert.equal("err\n", helper.read(dir .. "/err"))
    end)

    it("may be pipes: Lua files of this process", function()
        local p <close> = sh("cat; echo err >&2", { stdin = "pipe", stdout = "pipe", stderr = "pipe" })
        assert(p.stdin:write "one\ntwo\n":close())
        assert.same({ "one", "two", nil }, { p.stdout:read("l", "l", "l") })
        assert.equal("err\n", p.stderr:read "a")
        assert.same({ exitcode = 0 }, p:result())
        local q <close> = run({ "wc", "-c" }, { stdin = "pipe", stdout = "capture" })
        assert(q.stdin:write(("x"):rep(300000)):close())
        assert.equal(300000, tonumber(q:result().stdout))
    end)

    it("may be captured, also while this process computes", function()
        local p <close> = sh("head -c 5000000 /dev/zero; echo end >&2", { stdout = "capture", stderr = "capture" })
        local deadline = mp.clock() + 20
        repeat until not helper.alive(p.pid) or mp.clock() > deadline
        assert.is_false(helper.alive(p.pid))
        local result = p:result(0)
        assert.is_true(result.stdout == ("\0"):rep(5000000))
        assert.equal("end\n", result.stderr)
    end)

    it("may be open files, which go on where this process is", function()
        local dir = helper.tmpdir()
        helper.write(dir .. "/in", "first\nsecond\nthird\n")
        local input <close> = io.open(dir .. "/in")
        local output <close> = io.open(dir .. "/out", "w")
        assert.equal("first", input:read "l")
        output:write "head\n"
        local p <close> = sh("cat; echo err >&2", { stdin = input, stdout = output, stderr = output })
        p:result()
        output:write "tail\n"
        output:close()
        assert.equal("head\nsecond\nthird\nerr\ntail\n", helper.read(dir .. "/out"))
        assert.equal("file", io.type(input))
    end)

    it("are as separate when this process has none of its own", function()
        local result = helper.run(helper.host .. " " .. helper.script [[
            local mp = require "luamp"
            local p = mp.process { command = { "sh", "-c", "cat; echo err >&2" },
                stdin = "pipe", stdout = "capture", stderr = "capture" }:start()
            p.stdin:write "in"
            p.stdin:close()
            local r = p:result()
            os.exit(r.stdout == "in" and r.stderr == "err\n" and 42 or 1)]] .. " <&- >&- 2>&-")
        assert.equal(42, result.status)
    end)
end)

describe("a pipeline", function()
    it("of three ends one after the other", function()
        local a <close> = run({ "printf", "b\nc\na\n" }, { stdout = "pipe" })
        local b <close> = run({ "sort" }, { stdin = a.stdout, stdout = "pipe" })
        local c <close> = run({ "tr", "a-z", "A-Z" }, { stdin = b.stdout, stdout = "capture" })
        assert.equal("A\nB\nC\n", c:result().stdout)
        assert.same({ 0, 0 }, { a:result().exitcode, b:result().exitcode })
        assert.equal("closed file", io.type(a.stdout))
        assert.equal("closed file", io.type(b.stdout))
    end)

    it("whose reader ends first ends its writer, by SIGPIPE", function()
        local yes <close> = run({ "yes" }, { stdout = "pipe" })
        local head <close> = run({ "head", "-n", "1" }, { stdin = yes.stdout, stdout = "capture" })
        assert.equal("y\n", head:result().stdout)
        local e = helper.fails({ kind = "signal", signal = "SIGPIPE" }, yes.result, yes, 10)
        assert.equal(-13, e.exitcode)
    end)

    it("meets the end although other commands were started meanwhile", function()
        local a <close> = run({ "cat" }, { stdin = "pipe", stdout = "pipe" })
        local other <close> = cat()
        local b <close> = run({ "wc", "-c" }, { stdin = a.stdout, stdout = "capture" })
        local another <close> = cat()
        a.stdin:write "four"
        a.stdin:close()
        assert.equal(4, tonumber(b:result(10).stdout))
        other.stdin:close()
        another.stdin:close()
    end)

    it("may have functions in it", function()
        local a <close> = run({ "printf", "1\n2\n3\n" }, { stdout = "pipe" })
        local b <close> = mp.process { stdin = a.stdout, stdout = "pipe", target = function()
            for line in io.lines() do print(line * 10) end
        end }:start()
        local c <close> = run({ "tac" }, { stdin = b.stdout, stdout = "capture" })
        assert.equal("30\n20\n10\n", c:result().stdout)
    end)
end)

describe("signals and a command:", function()
    it("terminate, kill and signal end it, and do nothing afterwards", function()
        for call, exitcode in pairs { terminate = -15, kill = -9 } do
            local p <close> = run { "sleep", "60" }
            assert.is_true(p[call](p))
            p:join()
            assert.equal(exitcode, p.exitcode)
            assert.is_false(p[call](p))
        end
        local p <close> = run { "sleep", "60" }
        assert.is_true(p:signal "SIGUSR1")
        helper.fails({ kind = "signal", signal = "SIGUSR1" }, p.result, p)
    end)

    it("stop ends one that ignores SIGTERM, with all that it started", function()
        local p <close> = sh("trap '' TERM; sleep 60 & echo $!; wait; sleep 60", { stdout = "pipe" })
        local grandchild = p.stdout:read "n"
        assert.is_true(p:stop(0.1))
        assert.equal(-9, p.exitcode)
        helper.wait_until(function() return not helper.alive(grandchild) end, "the grandchild's end", 0.5)
        local q <close> = run { "sleep", "60" }
        assert.is_true(q:stop())
        assert.equal(-15, q.exitcode)
    end)

    it("SIGINT has its default action, whatever this process does about it", function()
        local result = helper.script_run [[
            local p = mp.process { command = { "sleep", "60" } }:start()
            os.execute("kill -INT " .. p.pid)
            p:join()
            print(p.exitcode)
            print(mp.process { target = function()
                local q = mp.process { command = { "sh", "-c", "kill -INT $$; sleep 60" } }:start()
                q:join()
                return q.exitcode
            end }:start():result())]]
        assert.same({ status = 0, stdout = "-2\n-2\n", stderr = "" }, result)
    end)

    it("what is ignored stays ignored, and nothing is blocked", function()
        local result = helper.script_run([[
            mp.process { command = { "cat", "/proc/self/status" } }:start():join()]], "trap '' USR1 HUP")
        local function mask(name) -- of the signals up to 31: those above are the C library's
            return tonumber(result.stdout:match("Sig" .. name .. ":%s+(%x+)"), 16) & 0x7fffffff
        end
        assert.same({ 0, 1 << 9 | 1 << 0, 0 }, { mask "Blk", mask "Ign", mask "Cgt" })
        result = { stdout = output_of { "cat", "/proc/self/status" } }
        assert.same({ 0, 0, 0 }, { mask "Blk", mask "Ign", mask "Cgt" })
    end)

    it("mp.wait and pollfd tell its end", function()
        local p <close> = cat()
        local q <close> = cat()
        assert.same({}, mp.wait({ p, q }, 0))
        assert.equal("r", p:events())
        assert.same({}, mp.wait({ p:pollfd() }, 0))
        p.stdin:close()
        assert.equal(p, mp.wait({ p, q }, 10)[1])
        assert.equal(1, #mp.wait({ p:pollfd() }, 10))
        q.stdin:close()
    end)
end)

describe("the end of its parent", function()
    it("waits for a command, and stops a daemon", function()
        local result = helper.script_run [[
            mp.process { command = { "sleep", "60" }, daemon = true }:start()
            mp.process { command = { "sh", "-c", "sleep 0.2; echo joined" } }:start()
            print "end"]]
        assert.same({ status = 0, stdout = "end\njoined\n", stderr = "" }, result)
    end)

    it("by an error or os.exit stops it, and leaves a detached one alone", function()
        for how, status in pairs { ["error 'oops'"] = 1, ["os.exit(3)"] = 3 } do
            local result = helper.script_run([[
                print(mp.process { command = { "sleep", "60" } }:start().pid)
                print(mp.process { command = { "sleep", "60" }, detached = true,
                    stdout = "null", stderr = "null" }:start().pid)
                ]] .. how)
            local pid, detached = result.stdout:match "^(%d+)\n(%d+)\n$"
            assert.equal(status, result.status)
            assert.is_false(helper.alive(pid))
            assert.is_true(helper.alive(detached))
            assert(os.execute("kill " .. detached))
        end
    end)

    it("by SIGKILL takes it along, with what it started", function()
        local dir = helper.tmpdir()
        local result = helper.script_run(([[
            local p = mp.process { command = { "sh", "-c", "sleep 60 & echo $! >%s/pid; wait" } }:start()
            while not io.open "%s/pid" do mp.sleep(0.005) end
            while not io.open "%s/pid":read "n" do mp.sleep(0.005) end
            print(p.pid, io.open "%s/pid":read "n")
            io.stdout:flush()
            os.execute("kill -KILL " .. mp.getpid())]]):gsub("%%s", dir))
        local pid, grandchild = result.stdout:match "^(%d+)\t(%d+)\n"
        helper.wait_until(function() return not helper.alive(pid) and not helper.alive(grandchild) end,
            "the end of both", 0.5)
    end)

    it("of a <close> scope waits for it, or after an error stops it", function()
        local p
        do
            local inner <close> = sh "sleep 0.1"
            p = inner
        end
        assert.equal(0, p.exitcode)
        p:close()
        pcall(function()
            local inner <close> = run { "sleep", "60" }
            p = inner
            error "oops"
        end)
        assert.equal(-15, p.exitcode)
        p:close()
    end)
end)

describe("what a command does not get:", function()
    local opener = [[
        #include <fcntl.h>
        #include <lua.h>
        static int open_some(lua_State *L) {
            for (int i = 0; i < 20; i++)
                lua_pushboolean(L, open("/dev/null", O_RDWR) >= 0); /* without O_CLOEXEC */
            return 1;
        }
        int luaopen_opener(lua_State *L) {
            lua_pushcfunction(L, open_some);
            return 1;
        }]]

    it("a descriptor but 0, 1, 2, whoever opened it", function()
        local result = helper.script_run([[
            local lfs = require "lfs"
            local file <close> = io.open("/dev/null")
            require "opener" ()
            local running <close> = mp.process { target = io.read, stdin = "pipe" }:start()
            local function look()
                local p <close> = mp.process { command = { "cat" }, stdin = "pipe", stdout = "pipe" }:start()
                p.stdin:write "ready\n":flush()
                p.stdout:read "l"
                local found = {}
                for name in lfs.dir("/proc/" .. p.pid .. "/fd") do found[#found + 1] = name:match "%d+" end
                table.sort(found)
                p.stdin:close()
                print(table.concat(found, " "))
            end
            look()
            mp.process { target = look }:start():join()
            running.stdin:close()
        ]], nil, { env = { LUA_CPATH = helper.library("opener", opener) } })
        assert.same({ status = 0, stdout = "0 1 2\n0 1 2\n", stderr = "" }, result)
    end)

    it("the limit of descriptors that this process has raised for itself", function()
        local result = helper.script_run([[
            local held = {}
            repeat
                local file = io.open "/dev/null"
                held[#held + 1] = file
            until not file
            local p <close> = mp.process { command = { "sh", "-c", "ulimit -Sn; ulimit -Hn" }, stdout = "capture" }
            io.write(p:start():result().stdout)
            local own = io.popen "ulimit -Sn":read "n"
            print(own > 40)]], "ulimit -Sn 40; ulimit -Hn 300")
        assert.same({ status = 0, stdout = "40\n300\ntrue\n", stderr = "" }, result)
    end)
end)

describe("wrong options of a command are told:", function()
    it("what it is", function()
        misuse("options 'target' and 'command': there can be one of them",
            function() mp.process { target = print, command = { "true" } } end)
        misuse("option 'args' is for a function; the arguments of a program stand in 'command'",
            function() mp.process { command = { "echo" }, args = { "x" } } end)
        misuse("option 'command' must be a list: the program, and its arguments",
            function() mp.process { command = {} } end)
        misuse("option 'command' must be a list, as", function() mp.process { command = "echo x" } end)
        misuse("unknown option 'comand' (did you mean 'command'?)",
            function() mp.process { comand = { "true" } } end)
        misuse("option 'target' is missing: the function to run (or 'command', a program)",
            function() mp.process { name = "x" } end)
    end)

    it("its words", function()
        misuse("option 'command': the program's name is empty", function() mp.process { command = { "" } } end)
        misuse("option 'command': word 2 must be a string without zero bytes, not true",
            function() mp.process { command = { "echo", true } } end)
        misuse("option 'command': word 2 must be a string without zero bytes",
            function() mp.process { command = { "echo", "a\0b" } } end)
        misuse("option 'command': word 2 must be a string", function() mp.process { command = { "a", {} } } end)
        misuse("option 'command' is a list, and has the key x",
            function() mp.process { command = { "echo", x = 1 } } end)
    end)

    it("its fields, which are read-only", function()
        local p = mp.process { command = { "true" } }
        misuse("field 'command' is read-only; it is given as an option: mp.process{command=...}",
            function() p.command = {} end)
        misuse("has not been started", function() p:join() end)
        p:close()
    end)
end)
