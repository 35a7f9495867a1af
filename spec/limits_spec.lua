-- limits_spec.lua: the option `limits` of mp.process, for functions and commands.
local helper = require "spec.helper"
local mp = require "luamp"

local misuse = helper.misuse

local is_root = helper.run "id -u".stdout == "0\n"
local as_user = is_root and { "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups" } or {}

-- What a process with these options leaves: its results, or its error object.
local function outcome(options)
    options.stderr = options.stderr or "null"
    local p <close> = mp.process(options):start()
    local results = table.pack(pcall(p.result, p))
    return table.unpack(results, 2, results.n)
end

-- The soft and the hard limit of a text as /proc/PID/limits.
local function of_text(text, name)
    return text:match(name:gsub("%-", "%%-") .. "%s+(%S+)%s+(%S+)")
end

local function read(path)
    local file <close> = io.open(path)
    return file:read "a"
end

local names = {
    memory = "Max data size", cpu = "Max cpu time", files = "Max open files",
    processes = "Max processes", core = "Max core file size",
}

-- The soft and the hard limit that a function, and that a command, finds set at its first line.
local function of_function(limits, name)
    local text = outcome { limits = limits, target = function() return read "/proc/self/limits" end }
    return of_text(text, names[name])
end

local function of_command(limits, name)
    return of_text(outcome { limits = limits, command = { "cat", "/proc/self/limits" }, stdout = "capture" }.stdout,
        names[name])
end

-- Runs a script by an ordinary user: from stdin, as a test's folder is its user's
-- alone. `before` comes first.
local function run_as_user(text, before)
    helper.needs_reachable_host(as_user)
    return helper.run(("exec %s %s %s -"):format(table.concat(as_user, " "), before or "", helper.host),
        { stdin = helper.with_method("local mp = require 'luamp'\n" .. text) })
end

describe("a limit is in force before the first line:", function()
    for name, case in pairs {
        cpu = { 7, "7", "8" }, files = { 33, "33", "33" }, core = { 4096, "4096", "4096" },
    } do
        it(name, function()
            assert.same({ case[2], case[3] }, { of_function({ [name] = case[1] }, name) })
            assert.same({ case[2], case[3] }, { of_command({ [name] = case[1] }, name) })
        end)
    end

    it("memory, in bytes and with a unit", function()
        for _, given in ipairs { 512 << 20, "512M", "0.5G", tostring(512 << 20), "524288K" } do
            assert.same({ tostring(512 << 20), tostring(512 << 20) }, { of_command({ memory = given }, "memory") })
        end
        local soft, hard = of_function({ memory = "512M" }, "memory")
        assert.equal(soft, hard)
        assert.is_true(tonumber(soft) > 512 << 20) -- beyond what it inherited
    end)

    it("all together, and those of a function hold for what it starts", function()
        local limits = { memory = "1G", cpu = 9, files = 50, core = 0 }
        for name, hard in pairs { cpu = "10", files = "50", core = "0" } do
            assert.equal(hard, (select(2, of_function(limits, name))))
            assert.equal(hard, (select(2, of_command(limits, name))))
        end
        local inner = outcome { limits = { files = 40 }, target = function() return of_command({}, "files") end }
        assert.equal("40", inner)
    end)

    it("and this process has none of it", function()
        local before = helper.read "/proc/self/limits"
        outcome { limits = { memory = "1G", cpu = 9, files = 50, core = 0 }, target = function() end }
        outcome { limits = { memory = "1G", cpu = 9, files = 50, core = 0 }, command = { "true" } }
        assert.equal(before, helper.read "/proc/self/limits")
    end)

    it("and cannot be lifted", function()
        local lift = table.move({ "sh", "-c", "ulimit -n 100 2>/dev/null || echo refused; ulimit -n" },
            1, 3, #as_user + 1, { table.unpack(as_user) })
        local limits = { files = 30 }
        assert.equal("refused\n30\n", outcome { command = lift, limits = limits, stdout = "capture" }.stdout)
        assert.equal("refused\n30\n", outcome { limits = limits, target = function()
            return mp.process { command = lift, stdout = "capture" }:start():result().stdout
        end })
    end)
end)

describe("the limit of memory", function()
    it("raises 'not enough memory', and says which limit", function()
        local e = outcome { limits = { memory = "64M" }, target = function() return #("x"):rep(200 << 20) end }
        assert.equal("error", e.kind)
        assert.is_truthy(e.message:find "not enough memory %(limit of .*64", e.message)
    end)

    it("can be caught, and leaves the process well", function()
        local ok, text, n = outcome { limits = { memory = "64M" }, target = function()
            local ok, text = pcall(string.rep, "x", 200 << 20)
            return ok, text, #("x"):rep(10 << 20)
        end }
        assert.same({ false, 10 << 20 }, { ok, n })
        assert.is_truthy(text:find "not enough memory")
    end)

    it("is new memory: what was inherited does not count", function()
        local heap = {}
        for i = 1, 200 do heap[i] = ("%d"):format(i):rep(1 << 20) end -- some 500 MB
        local n = outcome { limits = { memory = "64M" }, target = function() return #("x"):rep(24 << 20) end }
        assert.equal(24 << 20, n)
        local e = outcome { limits = { memory = "64M" }, target = function() return #("x"):rep(100 << 20) end }
        assert.is_truthy(tostring(e):find "not enough memory")
        assert.equal(200, #heap)
    end)

    it("holds for a command", function()
        local script = "local ok, e = pcall(string.rep, 'x', 200 << 20) print(ok, ok or e)"
        local function run(limits)
            return outcome { command = { helper.lua, "-e", script }, limits = limits, stdout = "capture" }.stdout
        end
        assert.equal("false\tnot enough memory\n", run { memory = "64M" })
        assert.is_truthy(run():find "^true")
    end)

    it("is not blamed for another failure", function()
        local e = outcome { limits = { memory = "64M" }, target = function() error "not enough" end }
        assert.is_nil(e.message:find "limit of")
        if helper.sanitized then return end -- a sanitizer reports such a failure
        local zeros = outcome { target = function() return #io.open "/dev/zero":read(1 << 50) end }
        assert.is_truthy(zeros.message:find "not enough memory")
        assert.is_nil(zeros.message:find "limit of")
    end)
end)

describe("the limit of CPU time", function()
    it("ends a function and a command, and is told", function()
        local function busy() while true do end end
        local all = {
            mp.process { target = busy, limits = { cpu = 1 }, stderr = "null" }:start(),
            mp.process { command = { "sh", "-c", "while :; do :; done" }, limits = { cpu = 1 } }:start(),
        }
        for _, p in ipairs(all) do
            local e = helper.fails({ kind = "signal", signal = "SIGXCPU", exitcode = -24 }, p.result, p, 60)
            assert.equal(("process '%s' (pid %d) was killed by SIGXCPU: it has used up its CPU time (limit of 1 s)")
                :format(p.name, p.pid), e.message)
            p:close()
        end
    end)

    it("ends one that ignores SIGXCPU a second later, and is told", function()
        local e = outcome { command = { "sh", "-c", "trap '' XCPU; while :; do :; done" }, limits = { cpu = 1 } }
        assert.same({ "signal", "SIGKILL" }, { e.kind, e.signal })
        assert.is_truthy(e.message:find("was killed by SIGKILL: it has used up its CPU time (limit of 1 s)", 1, true))
    end)

    it("is not blamed for another's signal, and does not count while it waits", function()
        local e = outcome { command = { "sh", "-c", "kill -KILL $$" }, limits = { cpu = 1 } }
        assert.is_nil(e.message:find "CPU")
        assert.equal("rested", outcome { limits = { cpu = 1 }, target = function()
            mp.sleep(1.2)
            return "rested"
        end })
    end)
end)

describe("the limit of files", function()
    it("bounds what a function can open", function()
        local n, why = outcome { limits = { files = 30 }, target = function()
            local held = {}
            while true do
                local file, text = io.open "/dev/null"
                if not file then return #held, text end
                held[#held + 1] = file
            end
        end }
        assert.is_true(n > 0 and n < 28, n)
        assert.is_truthy(why:find "Too many open files")
    end)

    it("that is too low for a program is that program's failure", function()
        local e = outcome { command = { "cat", "/dev/null" }, limits = { files = 3 }, stderr = "capture" }
        assert.equal("exit", e.kind)
        assert.is_truthy(e.value.stderr ~= "")
    end)
end)

describe("the limit of processes", function()
    it("has no effect for root, which is told at the start", function()
        if not is_root then
            pending "this user is not root"
            return
        end
        for _, options in ipairs { { target = print }, { command = { "true" } } } do
            options.limits = { processes = 10 }
            local p = mp.process(options)
            misuse("mp.process: cannot start '" .. p.name .. "': limits: 'processes' has no effect for root",
                function() p:start() end)
            p:close()
        end
    end)

    it("bounds an ordinary user's processes", function()
        local result = run_as_user [[
            local p = mp.process { limits = { processes = 1 }, target = function()
                local q = mp.process { target = print }
                return select(2, pcall(q.start, q))
            end }:start()
            print(p:result())
            local q = mp.process { command = { "sh", "-c", "true & wait" }, limits = { processes = 1 },
                stderr = "capture" }:start()
            local e = select(2, pcall(q.result, q))
            print(e.kind, e.value.stderr)]]
        assert.equal(0, result.status, result.stderr)
        local expected = "cannot start '[^']*': [^\n]*Resource temporarily unavailable\nexit\t.*[Ff]ork"
        assert.is_truthy(result.stdout:find(expected), result.stdout)
    end)
end)

describe("a limit that cannot be set fails the start:", function()
    it("one above the hard limit, by an ordinary user", function()
        local result = run_as_user([[
            for _, options in ipairs { { target = print }, { command = { "true" } } } do
                for _, limits in ipairs { { files = 200 }, { core = 2000000 }, { cpu = 5000 }, { memory = "200T" } } do
                    options.limits, options.name = limits, "p"
                    local p = mp.process(options)
                    print(select(2, pcall(p.start, p)))
                end
            end
            print(#mp.active_children())]],
            "prlimit --nofile=100:100 --core=0:1000000 --cpu=1000:1000 --data=90000000000000")
        local lines = {}
        for _ = 1, 2 do
            for _, what in ipairs { "files", "core files", "CPU time", "memory" } do
                lines[#lines + 1] = ("stdin:6: mp.process: cannot start 'p': limit of %s: Operation not permitted\n")
                    :format(what)
            end
        end
        assert.equal(table.concat(lines) .. "0\n", (result.stdout:gsub("luamp: ", "")), result.stderr)
    end)
end)

describe("wrong limits are told:", function()
    it("names and what is no table", function()
        misuse("option 'limits' must be a table", function() mp.process { target = print, limits = 5 } end)
        misuse("option 'limits': unknown limit 'memry' (did you mean 'memory'?)",
            function() mp.process { target = print, limits = { memry = 5 } } end)
        misuse("option 'limits': unknown limit '1'", function() mp.process { target = print, limits = { 5 } } end)
        misuse("unknown option 'limit' (did you mean 'limits'?)",
            function() mp.process { target = print, limit = {} } end)
    end)

    it("values", function()
        for _, wrong in ipairs { -1, "5X", "x", "", "-5M", true, {}, 1e30, 0 / 0, math.huge, "1e400" } do
            misuse("option 'limits': memory must be a number of bytes, or a text as \"512M\" (K, M, G, T), not ",
                function() mp.process { target = print, limits = { memory = wrong } } end)
            misuse("option 'limits': core must be",
                function() mp.process { target = print, limits = { core = wrong } } end)
        end
        for _, wrong in ipairs { -1, 1.5, "5", true, 0 / 0, math.huge } do
            misuse("option 'limits': files must be a count, not ",
                function() mp.process { target = print, limits = { files = wrong } } end)
            misuse("option 'limits': processes must be a count, not ",
                function() mp.process { target = print, limits = { processes = wrong } } end)
        end
        for _, wrong in ipairs { 0, -1, "5", true, 0 / 0, math.huge } do
            misuse("option 'limits': cpu must be a number of seconds above 0, not ",
                function() mp.process { target = print, limits = { cpu = wrong } } end)
        end
    end)
end)
