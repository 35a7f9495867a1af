-- options_spec.lua: every option of mp.process, and what is said of wrong ones.
local helper = require "spec.helper"
local mp = require "luamp"

-- What one process with these options returns that runs f.
local function result_of(f, options)
    options.target = f
    local p <close> = mp.process(options)
    return p:start():result()
end

local misuse = helper.misuse

-- A start with these options must fail with this text at the caller's line, and leave nothing.
local function fails_to_start(text, options)
    local ran = helper.tmpdir() .. "/ran"
    options.target = function() helper.write(ran, "") end
    local p = mp.process(options)
    local e = misuse("mp.process: cannot start '" .. p.name .. "'", function() p:start() end)
    assert.is_truthy(e:find(text), e)
    assert.is_false(p:is_alive())
    assert.is_nil(p.pid)
    assert.same({}, mp.active_children())
    assert.same({}, helper.children())
    assert.is_nil(io.open(ran))
    p:close()
end

local function read(path)
    local file <close> = io.open(path)
    return file:read "a"
end

local function as_root()
    local pipe <close> = io.popen "id -u"
    return pipe:read "n" == 0
end

describe("env", function()
    it("adds, overrides and unsets, also for the child's commands", function()
        local function look()
            local pipe <close> = io.popen "echo $LUAMP_SPEC_A:${HOME-none}:$PATH"
            return os.getenv "LUAMP_SPEC_A", os.getenv "HOME", pipe:read "l"
        end
        local a, home, shell = result_of(look, { env = { LUAMP_SPEC_A = "x=y z", HOME = false } })
        assert.equal("x=y z", a)
        assert.is_nil(home)
        assert.equal("x=y z:none:" .. os.getenv "PATH", shell)
        assert.is_nil(os.getenv "LUAMP_SPEC_A")
        assert.is_truthy(os.getenv "HOME")
        assert.equal("", (result_of(look, { env = { LUAMP_SPEC_A = "" } })))
    end)

    it("is inherited by what the child starts", function()
        local inner = result_of(function()
            return mp.process { target = os.getenv, args = { "LUAMP_SPEC_A" } }:start():result()
        end, { env = { LUAMP_SPEC_A = "1" } })
        assert.equal("1", inner)
    end)

    it("must name variables and give strings", function()
        misuse("'env'", function() mp.process { target = print, env = { ["a=b"] = "c" } } end)
        misuse("'env'", function() mp.process { target = print, env = { [""] = "c" } } end)
        misuse("'env'", function() mp.process { target = print, env = { "c" } } end)
        misuse("'X'", function() mp.process { target = print, env = { X = 1 } } end)
        misuse("'X'", function() mp.process { target = print, env = { X = true } } end)
        misuse("'X'", function() mp.process { target = print, env = { X = "a\0b" } } end)
    end)
end)

describe("cwd", function()
    local function pwd()
        local pipe <close> = io.popen "pwd -P"
        return pipe:read "l"
    end

    it("is the child's folder, and not this process's", function()
        local here, dir = pwd(), helper.tmpdir()
        assert.equal(dir, result_of(pwd, { cwd = dir }))
        assert.equal("/", result_of(pwd, { cwd = "/" }))
        assert.equal(here, pwd())
        assert.equal(here, result_of(pwd, { cwd = "." }))
    end)

    it("is looked up at the start, relative to this process", function()
        local dir = helper.tmpdir()
        local p = mp.process { target = pwd, cwd = dir .. "/later" }
        assert(os.execute("mkdir " .. dir .. "/later"))
        assert.equal(dir .. "/later", p:start():result())
        p:close()
    end)

    it("that is not there, or no folder, fails the start", function()
        fails_to_start("cwd: /no/such/folder: No such file or directory$", { cwd = "/no/such/folder" })
        fails_to_start("cwd: /etc/passwd: Not a directory$", { cwd = "/etc/passwd" })
    end)

    it("that this user may not enter fails the start", function()
        if as_root() then
            pending "root may enter any folder"
            return
        end
        fails_to_start("cwd: .*Permission denied$", { cwd = "/root" })
    end)
end)

describe("stdin", function()
    it("'null' is empty", function()
        assert.same({ "", nil }, { result_of(function() return io.read "a", io.read(1) end, { stdin = "null" }) })
    end)

    it("a path is read from its beginning", function()
        local path = helper.tmpdir() .. "/in"
        helper.write(path, "one\ntwo\n")
        for _ = 1, 2 do
            local lines = { result_of(function() return io.read("l", "l", "l") end, { stdin = path }) }
            assert.same({ "one", "two", nil }, lines)
        end
    end)

    it("'pipe' is written by the parent, and ends when it is closed", function()
        local p <close> = mp.process { target = function() return io.read "a" end, stdin = "pipe" }:start()
        assert.equal("file", io.type(p.stdin))
        assert(p.stdin:write(("x"):rep(100000)))
        p.stdin:close()
        assert.equal(100000, #p:result())
    end)

    it("'pipe' ends although other children were started meanwhile", function()
        local p <close> = mp.process { target = function() return io.read "a" end, stdin = "pipe" }:start()
        local q <close> = mp.process { target = function() return io.read "a" end, stdin = "pipe" }:start()
        p.stdin:write "for p"
        p.stdin:close()
        assert.is_true(p:join(5))
        assert.equal("for p", p:result())
        q.stdin:close()
        assert.equal("", q:result())
    end)

    it("'pipe' has not what this process's own stdin has buffered", function()
        local run = helper.run(helper.host .. " " .. helper.script [[
            local mp = require "luamp"
            print(io.read "l")
            local p = mp.process { target = function() return io.read "a" end, stdin = "pipe" }:start()
            p.stdin:write "piped"
            p.stdin:close()
            print(p:result())
            local q = mp.process { target = function() return io.read "a" end, stdin = "null" }:start()
            print("<" .. q:result() .. ">")
            print(io.read "l")]], { stdin = "first\nsecond\n" })
        assert.equal("first\npiped\n<>\nsecond\n", run.stdout, run.stderr)
    end)

    it("'inherit' is this process's own", function()
        local run = helper.run(helper.host .. " " .. helper.script [[
            local mp = require "luamp"
            print(mp.process { target = io.read, args = { "a" } }:start():result())]], { stdin = "first\nsecond" })
        assert.equal("first\nsecond\n", run.stdout, run.stderr)
    end)

    it("cannot be captured, and must be there", function()
        misuse("'stdin' cannot be 'capture'", function() mp.process { target = print, stdin = "capture" } end)
        fails_to_start("stdin: /no/such/file: No such file or directory$", { stdin = "/no/such/file" })
    end)
end)

describe("stdout and stderr", function()
    local function talk(n)
        io.stdout:write "out "
        io.stderr:write "err "
        os.execute "echo cmd; echo cmderr >&2"
        io.stdout:write(("x"):rep(n or 0))
    end

    it("'capture' is the whole text, once it has ended", function()
        local p <close> = mp.process { target = talk, args = { 300000 }, stdout = "capture", stderr = "capture" }
        assert.is_nil(p.stdout)
        p:start():join()
        assert.equal("err cmderr\n", p.stderr)
        assert.equal(#"out cmd\n" + 300000, #p.stdout)
        assert.equal(p.stdout, p.stdout)
    end)

    it("'capture' is nil while it runs, and there without a join", function()
        local p <close> = mp.process { stdin = "pipe", stdout = "capture", target = function()
            print "x"
            io.flush()
            io.read()
        end }:start()
        assert.is_nil(p.stdout)
        p.stdin:close()
        helper.wait_until(function() return p.stdout end, "the text")
        assert.equal("x\n", p.stdout)
    end)

    it("'capture' has what a killed process wrote", function()
        local p <close> = mp.process { stdout = "capture", target = function()
            print "x"
            io.flush()
            io.write "y"
            io.flush()
            os.execute("kill -9 " .. mp.getpid())
            mp.sleep(60)
        end }
        p:start():join()
        assert.equal("x\ny", p.stdout)
        assert.equal(-9, p.exitcode)
    end)

    it("'pipe' is read by the parent, to its end", function()
        local p <close> = mp.process { target = talk, stdout = "pipe", stderr = "pipe" }:start()
        assert.equal("err cmderr\n", p.stderr:read "a")
        assert.equal("cmd\nout ", p.stdout:read "a")
        assert.is_true(p:join())
    end)

    it("'pipe' ends with its child although others live", function()
        local p = mp.process { target = function() print "p" end, stdout = "pipe" }:start()
        local q = mp.process { target = function() io.read() end, stdin = "pipe", stdout = "pipe" }:start()
        assert.equal("p\n", p.stdout:read "a")
        q.stdin:close()
        assert.equal("", q.stdout:read "a")
        for _, each in ipairs { p, q } do
            each:join()
            each:close()
        end
    end)

    it("'null' is nothing", function()
        local run = helper.run(helper.host .. " " .. helper.script [[
            local mp = require "luamp"
            local p = mp.process { stdout = "null", stderr = "null", target = function()
                print "x" io.stderr:write "y" os.execute "echo z; echo z >&2" error "report"
            end }:start()
            p:join()
            print(p.exitcode, p.stdout, p.stderr)]])
        assert.same({ status = 0, stdout = "1\tnil\tnil\n", stderr = "" }, run)
    end)

    it("a path is made empty, and then shared", function()
        local path = helper.tmpdir() .. "/out"
        helper.write(path, ("old"):rep(100))
        local p <close> = mp.process { target = talk, stdout = path, stderr = path }:start()
        p:join()
        local text = helper.read(path)
        assert.is_nil(text:find "old")
        for _, part in ipairs { "out ", "err ", "cmd\n", "cmderr\n" } do
            assert.is_truthy(text:find(part, 1, true), text)
        end
        assert.equal(#"out err cmd\ncmderr\n", #text)
    end)

    it("a path that cannot be written fails the start", function()
        fails_to_start("stdout: /no/such/file: No such file or directory$", { stdout = "/no/such/file" })
        fails_to_start("stderr: /etc: Is a directory$", { stderr = "/etc", stdout = "pipe", stdin = "pipe" })
    end)

    it("that took not all are told of, and the exit code says so", function()
        for _, leave in ipairs { function() end, function() os.exit(0) end } do
            local p <close> = mp.process { stdout = "/dev/full", stderr = "capture", target = function()
                io.write "lost"
                leave()
            end }:start()
            p:join()
            assert.equal(1, p.exitcode)
            assert.is_truthy(p.stderr:find "lost: No space left on device", p.stderr)
        end
    end)

    it("that found no room end their writer by SIGXFSZ; what was captured by then is there", function()
        for _, what in ipairs {
            [[command = { "head", "-c", "60000000", "/dev/zero" }]],
            [[target = function() io.write(("x"):rep(60000000)) end]],
        } do
            local run = helper.script_run(([[
                local p = mp.process { %s, stdout = "capture", stderr = "capture" }:start()
                print(p:join(10), p.error.kind, p.error.signal,
                    #p.stdout > 0 and #p.stdout < 60000000)]]):format(what), "ulimit -f 40000")
            assert.same({ 0, "true\tsignal\tSIGXFSZ\ttrue\n" }, { run.status, run.stdout }, run.stderr)
        end
    end)

    it("what this process had buffered is not in them", function()
        local run = helper.run(helper.host .. " " .. helper.script [[
            local mp = require "luamp"
            io.write "parent "
            local p = mp.process { target = function() io.write "child" end, stdout = "capture" }:start()
            p:join()
            print("<" .. p.stdout .. ">")]])
        assert.equal("parent <child>\n", run.stdout, run.stderr)
    end)

    it("are kept apart when this process has none of its own", function()
        local run = helper.run(helper.host .. " " .. helper.script [[
            local mp = require "luamp"
            local p = mp.process { stdin = "pipe", stdout = "capture", stderr = "capture", target = function()
                io.stdout:write("out", io.read "l")
                io.stderr:write "err"
            end }:start()
            p.stdin:write "in\n"
            p.stdin:close()
            p:join()
            os.exit(p.stdout == "outin" and p.stderr == "err" and 42 or 1)]] .. " <&- >&- 2>&-")
        assert.equal(42, run.status)
    end)

    it("are closed with the process", function()
        local p = mp.process { target = io.read, stdin = "pipe", stdout = "pipe", stderr = "pipe" }:start()
        local files = { p.stdin, p.stdout, p.stderr }
        p.stdin:close()
        p:join()
        p:close()
        for _, file in ipairs(files) do assert.equal("closed file", io.type(file)) end
    end)
end)

describe("cpus", function()
    it("bind the child alone", function()
        local before = mp.cpu_count()
        assert.equal(1, result_of(mp.cpu_count, { cpus = { 0 } }))
        local list = result_of(function()
            return read("/proc/self/status"):match "Cpus_allowed_list:%s*(%S+)"
        end, { cpus = { 0 } })
        assert.equal("0", list)
        assert.equal(before, mp.cpu_count())
    end)

    it("must be a list of numbers from 0", function()
        misuse("'cpus'", function() mp.process { target = print, cpus = {} } end)
        misuse("'cpus'", function() mp.process { target = print, cpus = { -1 } } end)
        misuse("'cpus'", function() mp.process { target = print, cpus = { 0.5 } } end)
        misuse("'cpus'", function() mp.process { target = print, cpus = { "x" } } end)
        misuse("'cpus'", function() mp.process { target = print, cpus = { 1 << 40 } } end)
        misuse("'cpus'", function() mp.process { target = print, cpus = 0 } end)
    end)

    it("that are not there fail the start", function()
        fails_to_start("cpus: Invalid argument$", { cpus = { 1000 } })
    end)
end)

describe("nice", function()
    local function niceness()
        return tonumber((read("/proc/self/stat"):match "%) (.*)":gsub("%S+ ", "", 16):match "%S+"))
    end

    it("is added to the child's, and the child's children's", function()
        local before = niceness()
        assert.equal(before + 3, result_of(niceness, { nice = 3 }))
        assert.equal(before + 5, result_of(function()
            return mp.process { target = niceness, nice = 2 }:start():result()
        end, { nice = 3 }))
        assert.equal(before, niceness())
        assert.equal(before, result_of(niceness, { nice = 0 }))
    end)

    it("below 0 is root's, others are refused", function()
        if as_root() then
            assert.equal(niceness() - 2, result_of(niceness, { nice = -2 }))
        else
            fails_to_start("nice: Operation not permitted$", { nice = -2 })
        end
    end)

    it("must be an integer", function()
        misuse("'nice' must be an integer", function() mp.process { target = print, nice = 1.5 } end)
        misuse("'nice' must be an integer", function() mp.process { target = print, nice = "1" } end)
    end)
end)

describe("args", function()
    it("are as many as n says", function()
        local function count(...) return select("#", ...), ... end
        assert.same({ 3, nil, nil, nil }, { result_of(count, { args = { n = 3 } }) })
        assert.same({ 1, "a" }, { result_of(count, { args = { "a", "b", n = 1 } }) })
        assert.equal(0, (result_of(count, { args = { "a", n = 0 } })))
        assert.equal(0, (result_of(count, {})))
        misuse("'args'", function() mp.process { target = print, args = { n = -1 } } end)
        misuse("'args'", function() mp.process { target = print, args = { n = "x" } } end)
        misuse("'args'", function() mp.process { target = print, args = "x" } end)
    end)

    it("and the function may hold anything, for nothing is copied", function()
        helper.needs_fork "coroutines and files are inherited"
        local co = coroutine.wrap(function() coroutine.yield "from a coroutine" end)
        local file <close> = io.open "/etc/passwd"
        local first = io.open("/etc/passwd"):read "l"
        local got = table.pack(result_of(function(f) return co(), f:read "l" end, { args = { file } }))
        assert.same({ "from a coroutine", first, n = 2 }, got)
    end)

    it("may be as many as Lua's stack has room for, with every start method", function()
        local result = helper.script_run [[
            local many = { "#" }
            for i = 2, 900000 do many[i] = i end
            local function start(method)
                return mp.process { target = select, args = many, start_method = method }:start():result()
            end
            local function below(f, ...) return (f()), ... end -- f called with values on the stack
            for _, method in ipairs { "fork", "forkserver", "spawn" } do
                print(start(method), pcall(below, function() return start(method) end, table.unpack(many, 1, 200000)))
            end]]
        local ends = "899999\tfalse\t[^\n]*: 900000 arguments are too many for Lua's stack\n"
        assert.matches("^" .. ends:rep(3) .. "$", result.stdout, nil, result.stderr)
    end)

    it("beyond reason are refused", function()
        for _, n in ipairs { 1 << 30, 1 << 32, 1 << 40, math.maxinteger } do
            helper.fails("argument", function()
                local p <close> = mp.process { target = print, args = { n = n }, stdout = "null" }
                p:start()
            end)
        end
    end)
end)

describe("what is easily mistaken", function()
    it("is told: a colon, arguments beside the table, a list that is a process", function()
        misuse("it is called with a dot", function() mp:process { target = print } end)
        misuse("arguments of the function go into its option 'args'", function() mp.process(print, 1) end)
        local p <close> = mp.process { target = function() end }:start()
        misuse("mp.wait: expected a list, not one object: mp.wait{object}", function() mp.wait(p) end)
    end)

    it("is told: a stream's name, or nearly a kind, in place of a path", function()
        misuse("'stderr' cannot be 'stdout'; a file of that name is './stdout'",
            function() mp.process { target = print, stderr = "stdout" } end)
        misuse("'stdout' is 'captrue' (did you mean 'capture'? a file of that name is './captrue')",
            function() mp.process { target = print, stdout = "captrue" } end)
        assert.truthy(mp.process { target = print, stdout = "./pipes", stderr = "log" })
    end)

    it("is no matter: options and arguments that change after the process was made", function()
        local given = { target = function(...) return ... end, args = { 1, { 2 } } }
        local p <close> = mp.process(given)
        given.args[1], given.args = 9, nil
        local a, b = p:start():result()
        assert.same({ 1, { 2 } }, { a, b })
    end)

    it("is told: too few descriptors, also when the limit is below ten", function()
        for _, limit in ipairs { 5, 9, 12 } do
            local result = helper.script_run([[
                local p, held = mp.process(print), {}
                repeat local file = io.open "/dev/null"; held[#held + 1] = file until not file
                print(pcall(p.start, p))
                held[#held]:close() -- one, which is not enough
                print(pcall(p.start, p))]], "ulimit -n " .. limit)
            local told = "false\t[^\n]*cannot start 'process%-1': fork: Too many open files\n"
            assert.matches("^" .. told .. told .. "$", result.stdout)
        end
    end)
end)

describe("a pipe to a child that has ended", function()
    it("is an error of the call, and no signal that ends its parent", function()
        local result = helper.run(helper.host .. " " .. helper.script [[
            local mp = require "luamp"
            local p = mp.process { stdin = "pipe", target = function() end }:start()
            p:join()
            print(p.stdin:write "short" == p.stdin, p.stdin:flush())
            print(p.stdin:write(("x"):rep(100000)))
            local q = mp.process { stdin = "pipe", target = function() end }:start()
            q:join()
            q.stdin:write "left in the buffer"
            print(q.stdin:close())
        ]])
        assert.same({ status = 0, stderr = "", stdout = "true\tnil\tBroken pipe\t32\n"
            .. "nil\tBroken pipe\t32\nnil\tBroken pipe\t32\n" }, result)
    end)
end)

describe("the options table", function()
    it("is read when the process is made", function()
        local options = { target = function() return os.getenv "X" end, env = { X = "1" }, name = "a" }
        local p <close> = mp.process(options)
        options.target, options.name, options.env, options.cwd = print, "b", { X = 5 }, "/no/such/folder"
        assert.equal("a", p.name)
        assert.is_true(pcall(p.start, p))
        assert.equal("1", p:result())
    end)

    it("must name its options rightly", function()
        local text = "mp.process: unknown option 'tarjet' (did you mean 'target'?)"
        misuse(text, function() mp.process { tarjet = print } end)
        misuse("(did you mean 'daemon'?)", function() mp.process { target = print, deamon = true } end)
        misuse("(did you mean 'stdout'?)", function() mp.process { target = print, stdou = "null" } end)
        misuse("(did you mean 'args'?)", function() mp.process { target = print, arg = {} } end)
        misuse("(did you mean 'name'?)", function() mp.process { target = print, Name = "x" } end)
        misuse("(did you mean 'cwd'?)", function() mp.process { target = print, cdw = "/" } end)
        helper.fails("unknown option 'foo'$", mp.process, { target = print, foo = 1 }) -- nothing is near
        helper.fails("unknown limit 'x'$", mp.process, { target = print, limits = { x = 1 } })
        misuse("unknown option ''", function() mp.process { target = print, [""] = 1 } end)
        misuse("unknown option 'a%d'", function() mp.process { target = print, ["a%d"] = 1 } end)
        misuse("key 1", function() mp.process { target = print, print } end)
    end)

    it("must give each the right type", function()
        misuse("'target' must be a function, not the string \"print\"", function() mp.process { target = "print" } end)
        misuse("'target' is missing", function() mp.process {} end)
        misuse("'name' must be a string", function() mp.process { target = print, name = 1 } end)
        misuse("'name' must be", function() mp.process { target = print, name = "" } end)
        misuse("'name' must have no control characters", function() mp.process { target = print, name = "a\nb" } end)
        misuse("'daemon' must be a boolean, not 1", function() mp.process { target = print, daemon = 1 } end)
        misuse("'detached' must be a boolean", function() mp.process { target = print, detached = "yes" } end)
        misuse("'env' must be a table", function() mp.process { target = print, env = "x" } end)
        misuse("'cwd' must be a string", function() mp.process { target = print, cwd = {} } end)
        misuse("'stdout' must be a string, not empty and without zero bytes, or a file, not a table",
            function() mp.process { target = print, stdout = {} } end)
        misuse("'stderr' must be a string", function() mp.process { target = print, stderr = 1 } end)
        misuse("mp.process: expected a table", function() mp.process() end)
        misuse("mp.process: expected a table", function() mp.process(1) end)
        misuse("mp.process: expected a table", function() mp.process "x" end)
    end)
end)

describe("what is not there", function()
    it("is nil", function()
        assert.is_nil(mp.proces)
        assert.is_truthy(mp._VERSION:find "^luamp %d+%.%d+")
    end)
end)

describe("detached", function()
    it("has a session of its own, and can be joined like any other", function()
        local function session()
            return tonumber((read("/proc/self/stat"):match "%) %S+ %S+ %S+ (%S+)")), mp.getpid()
        end
        local own, pid = result_of(session, { detached = true })
        assert.equal(pid, own)
        local shared = result_of(session, {})
        assert.equal((session()), shared)
    end)
end)

describe("a start that fails", function()
    it("for want of descriptors is told, and leaves what was started", function()
        local run = helper.run("ulimit -n 40; exec " .. helper.host .. " " .. helper.script [[
            local mp = require "luamp"
            local list, e = {}, nil
            repeat
                local p = mp.process { target = io.read, stdin = "pipe" }
                local ok, text = pcall(p.start, p)
                if ok then list[#list + 1] = p else e = text end
            until e or #list > 100
            print(e)
            for _, p in ipairs(list) do p.stdin:close() end
            for _, p in ipairs(list) do assert(p:join() and p.exitcode == 0) p:close() end
            print(mp.process { target = function() return "again" end }:start():result())]])
        local expected = "cannot start 'process%-%d+': [^\n]*Too many open files\nagain\n"
        assert.is_truthy(run.stdout:find(expected), run.stdout .. run.stderr)
    end)

    it("for want of processes is told", function()
        local user = as_root() and "setpriv --reuid=65534 --regid=65534 --clear-groups" or ""
        helper.needs_reachable_host { user }
        local run = helper.run(("exec %s prlimit --nproc=1 %s -"):format(user, helper.host), {
            stdin = helper.with_method [[
            local mp = require "luamp"
            for _, what in ipairs { { target = print }, { command = { "true" } } } do
                local p = mp.process(what)
                local ok, e = pcall(p.start, p)
                print(e)
                print(p:is_alive(), #mp.active_children())
            end]] })
        local expected = "[^\n]*cannot start 'process%%-1': %s: Resource temporarily unavailable\nfalse\t0\n"
        local both = expected:format "fork" .. expected:format "keeper":gsub("%-1", "-2")
        assert.matches("^" .. both .. "$", run.stdout, run.stderr)
    end)

    it("can be tried again", function()
        local path = helper.tmpdir() .. "/in"
        local p <close> = mp.process { target = io.read, args = { "a" }, stdin = path }
        helper.fails("No such file", p.start, p)
        helper.write(path, "there now")
        assert.equal("there now", p:start():result())
    end)
end)
