-- victims.lua: small scripts for the sweeps, in which processes are killed
-- and memory is short.
--
--   victims.lua functions | results | commands | ends | queues | cells | heap | pools | forkserver | spawn
--
-- A script is steps, each a test of its own: one that fails says why, in a line
-- on stdout, and the next begin as if nothing had been. So a line "end" says that
-- luamp served to the last, and that all has been well when nothing else stands
-- before it. Processes start one after the other: their numbers mean something.
local mp = require "luamp"

local function fail(what, ...)
    error(what .. ": " .. table.concat({ ... }, " "), 0)
end

local function check(what, expected, found)
    if expected ~= found then fail(what, "expected", tostring(expected), "and got", tostring(found)) end
end

-- What f raises, as text.
local function failure(what, f, ...)
    local ok, e = pcall(f, ...)
    if ok then fail(what, "did not fail") end
    return tostring(e), e
end

local function start(options)
    options.stderr = options.stderr or "null"
    return mp.process(options):start()
end

local large = ("0123456789abcdef"):rep(20000)

local scripts = {}

scripts.functions = {
    { "a small result", function()
        local p <close> = start { args = { 1, 2 }, target = function(...)
            return select("#", ...), { "two", { 3 } }
        end }
        local n, list = p:result()
        check("number", 2, n)
        check("list", 3, list[2][1])
    end },
    { "a large result", function()
        local p <close> = start { target = function() return large, { large .. "!" } end }
        local text, list = p:result()
        check("text", true, text == large)
        check("list", true, list[1] == large .. "!")
    end },
    { "an error", function()
        local p <close> = start { target = function() error { code = 7 } end }
        local text, e = failure("a child that raises", p.result, p)
        if e.kind ~= "error" or type(e.value) ~= "table" then fail("error", text) end
        check("code", 7, e.value.code)
    end },
    { "an unsendable result", function()
        local p <close> = start { target = function() return coroutine.create(print) end }
        local text, e = failure("a coroutine", p.result, p)
        if e.kind ~= "unsendable" or not text:find "coroutine" then fail("unsendable", text) end
    end },
    { "a child's child", function()
        local p <close> = start { target = function()
            local inner <close> = start { target = function() return large end }
            return inner:result(), "outer"
        end }
        local text, word = p:result()
        check("text", true, text == large)
        check("word", "outer", word)
    end },
    { "an environment", function()
        local p <close> = start { env = { VICTIM = "value" }, target = function() return os.getenv "VICTIM" end }
        check("variable", "value", p:result())
    end },
}

-- Whose stack is full of results, and grows to encode them.
scripts.results = {
    { "many results", function()
        local list = {}
        for i = 1, 5000 do list[i] = i end
        local p <close> = start { target = function() return table.unpack(list) end }
        check("number", 5000, select("#", p:result()))
    end },
}

-- The result of a command, whose own stderr is captured.
local function run(options)
    options.stdout, options.stderr = options.stdout or "capture", options.stderr or "capture"
    local p <close> = start(options)
    return p:result()
end

scripts.commands = {
    { "a captured command", function()
        local result = run { command = { "sh", "-c", "echo out; echo err >&2" } }
        check("stdout", "out\n", result.stdout)
        check("stderr", "err\n", result.stderr)
    end },
    { "pipes", function()
        local p <close> = start { command = { "cat" }, stdin = "pipe", stdout = "pipe" }
        p.stdin:write "to and fro\n"
        p.stdin:close()
        local line = p.stdout:read "l"
        p:result()
        check("line", "to and fro", line)
    end },
    { "a pipeline", function()
        local first <close> = start { command = { "printf", "a\\nb\\n" }, stdout = "pipe" }
        local second <close> = start { command = { "tr", "ab", "xy" }, stdin = first.stdout, stdout = "capture" }
        local result = second:result()
        first:result() -- which would have no reader if the second was killed
        check("text", "x\ny\n", result.stdout)
    end },
    { "a program that is missing", function()
        local p <close> = mp.process { command = { "/no/such/program" }, stdout = "null" }
        local text = failure("it", function() p:start():result() end)
        if not text:find("No such file or directory", 1, true) then fail("missing", text) end
    end },
    { "a command's time limit", function()
        local p <close> = start { command = { "sleep", "1000" }, timeout = 0.02 }
        local text, e = failure("it", p.result, p)
        if e.kind ~= "timeout" then fail("time limit", text) end
    end },
    { "a function's limits", function()
        local p <close> = start { limits = { files = 64, core = 0 }, timeout = 100, stdout = "capture",
            target = function() io.write "written" return "kept" end }
        check("result", "kept", p:result())
        check("stdout", "written", p.stdout)
    end },
    { "a function's commands", function()
        local p <close> = start { target = function()
            local pipe <close> = assert(io.popen "echo by popen")
            local line = pipe:read "l"
            local _, how, code = pipe:close()
            check("io.popen", "exit 0", how .. " " .. code)
            _, how, code = os.execute "true"
            check("os.execute", "exit 0", how .. " " .. code)
            return line
        end }
        check("line", "by popen", p:result())
    end },
}

-- Processes in a fresh interpreter, by that method. Each that runs says so, in a line
-- of the file that VICTIM_LOG names: a step's functions run once, whatever happens.
local function fresh(method)
    local function once(name)
        local path = os.getenv "VICTIM_LOG"
        local log <close> = path and io.open(path, "a")
        if log then log:write(name, "\n") end
    end
    local function begin(options)
        options.start_method = method
        return start(options)
    end
    return {
        { "a small result", function()
            local p <close> = begin { args = { 1, 2 }, target = function(...)
                once "small"
                return select("#", ...), { "two", { 3 } }
            end }
            local n, list = p:result()
            check("number", 2, n)
            check("list", 3, list[2][1])
        end },
        { "large arguments", function()
            local p <close> = begin { args = { large, { large } }, target = function(text, list)
                once "large"
                return list[1] .. "!", text
            end }
            local text, again = p:result()
            check("text", true, text == large .. "!")
            check("argument", true, again == large)
        end },
        { "options", function()
            local p <close> = begin { cwd = "/", stdin = "null", stdout = "capture", timeout = 100,
                env = { VICTIM = "value" }, limits = { files = 64, core = 0 }, target = function()
                    once "options"
                    io.write "written"
                    assert(io.open "proc/version"):close() -- from the folder /
                    return os.getenv "VICTIM"
                end }
            check("variable", "value", p:result())
            check("stdout", "written", p.stdout)
        end },
        { "two in a row", function()
            local first <close> = begin { target = function() once "first" return 1 end }
            local second <close> = begin { target = function() once "second" return 2 end }
            local a, b = first:result(), second:result()
            check("sum", 3, a + b)
        end },
        { "a child's child by the other method", function()
            local other = method == "spawn" and "forkserver" or "spawn"
            local p <close> = begin { args = { large }, target = function(text)
                once "outer"
                local inner <close> = start { start_method = other, args = { text }, target = function(given)
                    once "inner"
                    return given
                end }
                return inner:result(), "outer"
            end }
            local text, word = p:result()
            check("text", true, text == large)
            check("word", "outer", word)
        end },
        { "an error", function()
            local p <close> = begin { target = function()
                once "error"
                error { code = 7 }
            end }
            local text, e = failure("a child that raises", p.result, p)
            if e.kind ~= "error" or type(e.value) ~= "table" then fail("error", text) end
            check("code", 7, e.value.code)
        end },
        { "a scope", function()
            mp.set_start_method(method)
            local sum = mp.scope(function(s)
                local a = s:start(function() once "a" return 1 end)
                local b = s:start(function() once "b" return 2 end)
                return a:result() + b:result()
            end)
            check("sum", 3, sum)
        end },
        { "what the end sees to", function()
            begin { daemon = true, target = function() mp.sleep(1000) end }
            begin { target = function() once "last" end }
        end },
    }
end

scripts.forkserver = fresh "forkserver"
scripts.spawn = fresh "spawn"

scripts.ends = {
    { "hooks", function()
        mp.atexit(function() print "hook" end)
        local p <close> = start { stdout = "capture", stderr = "capture", target = function()
            mp.atexit(function() print "a child's hook" end)
        end }
        p:result()
        check("stderr", "", p.stderr)
        check("hook", "a child's hook\n", p.stdout)
    end },
    { "a detached process", function()
        local p <close> = start { detached = true, target = function() mp.sleep(0.2) end }
        p:kill()
        if not p:join(20) then fail("join", "it did not end") end
        if p.exitcode ~= -9 then p:result() end
    end },
    { "a scope", function()
        local sum = mp.scope(function(s)
            local a, b = s:start(function() return 1 end), s:start(function() return 2 end)
            return a:result() + b:result()
        end)
        check("sum", 3, sum)
    end },
    { "a handler", function()
        local got
        mp.on_signal("USR1", function(name) got = name end)
        local p <close> = start { command = { "kill", "-USR1", tostring(mp.getpid()) } }
        p:result()
        check("name", "SIGUSR1", got)
        mp.on_signal("USR1", nil)
    end },
    { "a variable that is left by an error", function()
        local text = failure("it", function()
            local p <close> = start { target = function() while true do mp.sleep(1000) end end }
            error(("left %s"):format(p.name), 0)
        end)
        if not text:find "^left " then fail("scope", text) end
    end },
    { "a wait", function()
        local quick <close> = start { target = function() end }
        local slow <close> = start { daemon = true, target = function() mp.sleep(1000) end }
        local ready = mp.wait { quick, slow }
        check("ready", true, ready[1] == quick or ready[1] == slow)
        if slow:join(0) then slow:result() end
    end },
    { "a stop", function()
        local p <close> = start { target = function() mp.sleep(1000) end }
        p:stop(5)
        if p.exitcode ~= -15 and p.exitcode ~= -9 then p:result() end
    end },
    { "what the end sees to", function()
        start { daemon = true, target = function() mp.sleep(1000) end }
        start { target = function() mp.sleep(0.02) end }
    end },
}

-- What a process puts; one that was killed before raises here what came of it.
local function answer(p, get)
    local value = get(0.2)
    if value == nil and p:join(20) then value = get(0) end
    if value == nil then p:result() end
    return value
end

local function getter(q)
    return function(timeout) return (q:get(timeout)) end
end

scripts.queues = {
    { "items to and fro", function()
        local q <close> = mp.queue()
        local r <close> = mp.queue()
        local p <close> = start { target = function()
            for item in q:iter() do r:put(item * 2) end
        end }
        for i = 1, 3 do
            q:put(i)
            check("item", 2 * i, answer(p, getter(r)))
        end
        q:close()
        p:result()
    end },
    { "a long item of a process that has ended", function()
        local q <close> = mp.queue()
        local p <close> = start { target = function() q:put(large) end }
        check("item", true, answer(p, getter(q)) == large)
        p:result()
        check("length", 0, #q)
    end },
    { "many at once", function()
        local q <close> = mp.queue { maxsize = 10 }
        local p <close> = start { target = function()
            local list = {}
            for i = 1, 30 do list[i] = i end
            return q:put_many(list)
        end }
        for i = 1, 30 do check("item", i, answer(p, getter(q))) end
        check("number", 30, p:result())
    end },
    { "a queue in an item", function()
        local q <close> = mp.queue()
        local p <close> = start { target = function()
            local inner = mp.queue()
            inner:put "inside"
            q:put(inner)
        end }
        local inner <close> = answer(p, getter(q))
        check("item", "inside", inner:get(0))
    end },
    { "priorities", function()
        local q <close> = mp.priority_queue()
        local p <close> = start { target = function()
            for i = 1, 3 do q:put(i, -i) end
        end }
        p:result()
        check("items", "3 2 1", q:get(0) .. " " .. q:get(0) .. " " .. q:get(0))
    end },
    { "what is done", function()
        local q <close> = mp.queue()
        local p <close> = start { target = function()
            q:get()
            q:task_done()
        end }
        q:put "task"
        local ok = q:join(0.2) or (p:join(20) and q:join(0))
        if not ok then p:result() end
        p:result()
    end },
    { "a pipe to its end", function()
        local a, b = mp.pipe()
        local p <close> = start { target = function() b:send(b and "sent") end }
        b:close()
        check("item", "sent", answer(p, function(timeout) return (a:recv(timeout)) end))
        p:result()
        local _, word = a:recv(20)
        check("end", "closed", word)
        a:close()
    end },
    { "memory", function()
        collectgarbage()
        collectgarbage()
        local kinds = mp.memory().kinds
        for _, name in ipairs { "messages", "structures", "pipe_ends" } do check(name, 0, kinds[name].count) end
    end },
}

-- One pool serves most steps: who is killed is replaced, and the failure of one task at most.
scripts.cells = {
    { "a value", function()
        local v = mp.value("int32", 5)
        local p <close> = start { target = function() return v:add(1) end }
        check("result", 6, p:result())
        check("value", 6, v:get())
    end },
    { "an array", function()
        local a = mp.array("double", { 3, 1, 2 })
        local p <close> = start { args = { a }, target = function(given)
            given:sort()
            return table.concat(given:get(), " "), mp.array("int8", { 7 })
        end }
        local text, other = p:result()
        check("order", "1.0 2.0 3.0", text)
        check("other", 7, other[1])
        check("sum", 6.0, a:sum())
    end },
    { "a buffer", function()
        local b = mp.buffer(100000)
        local p <close> = start { target = function() b:write(50001, large:sub(1, 50000)) end }
        p:result()
        check("bytes", large:sub(1, 50000), b:read(50001))
    end },
    { "a named buffer", function()
        local name = "luamp-victim-" .. mp.getpid()
        local ok, e = pcall(function()
            local b <close> = mp.buffer { name = name, size = 1000, create = true }
            local p <close> = start { target = function() mp.buffer { name = name }:write(1, "there") end }
            p:result()
            check("bytes", "there", b:read(1, 5))
            check("unlinked", true, b:unlink())
        end)
        os.remove("/dev/shm/" .. name)
        if not ok then error(e, 0) end
    end },
}

-- Beyond the first megabytes, where memory comes in spans, in the script and in its child.
scripts.heap = {
    { "a heap of its own", function()
        local list = {}
        for i = 1, 80000 do list[i] = { i } end
        local text = large:rep(4)
        local p <close> = start { target = function()
            local own = {}
            for i = 1, 80000 do own[i] = { list[i][1] } end
            return #own, own[80000][1], #text:rep(2)
        end }
        local n, last, len = p:result()
        check("number", 80000, n)
        check("last", 80000, last)
        check("length", #text * 2, len)
        for i = 1, 80000 do check("table", i, list[i][1]) end
    end },
}

local function square(i) return i * i end

local pool

scripts.pools = {
    { "a map", function()
        pool = mp.pool(2)
        local list = pool:map(square, mp.range(1, 20))
        check("number", 20, #list)
        check("result", 400, list[20])
    end },
    { "long items and results", function()
        local list = pool:map(function(text) return text .. "!" end, { large, "short", large })
        check("number", 3, #list)
        check("text", true, list[3] == large .. "!")
    end },
    { "all results of one", function()
        local a, b, c = pool:apply(function(...) return select("#", ...), nil, ... end, "x")
        check("results", "1 nil x", ("%s %s %s"):format(a, b, c))
    end },
    { "errors that are collected", function()
        local list, failures = pool:map(function(i)
            if i % 3 == 0 then error { code = i } end
            return i
        end, mp.range(1, 9), { on_error = "collect" })
        for i = 1, 9 do
            if i % 3 ~= 0 and list[i] ~= i then error(failures[1], 0) end
        end
        check("failures", 3, #failures)
        check("code", 9, failures[3].value.code)
    end },
    { "retries", function()
        local list, failures = pool:map(square, mp.range(1, 20), { retries = 2, on_error = "collect" })
        check("number", 20, #list)
        check("failures", 0, #failures)
    end },
    { "one by one", function()
        local n = 0
        for i, result in pool:imap(square, mp.range(1, 20)) do n = n + (result == i * i and 1 or 0) end
        check("number", 20, n)
    end },
    { "a task that runs for too long", function()
        local text, e = failure("it", pool.map, pool, function() mp.sleep(1000) end, { 1 }, { timeout = 0.02 })
        if e.kind ~= "timeout" then fail("time limit", text) end
    end },
    { "futures", function()
        local slow = pool:submit(function() mp.sleep(1000) end)
        local quick = pool:submit(square, 3)
        check("result", 9, quick:result(20))
        if not slow:cancel() then slow:result() end
    end },
    { "what a task starts", function()
        check("result", 7, pool:apply(function()
            local p <close> = start { target = function() return 7 end }
            return p:result()
        end))
    end },
    { "its end", function()
        pool:close()
        check("join", true, pool:join(20))
    end },
    { "the turns of a worker", function()
        local short <close> = mp.pool { workers = 1, init = function() mp.worker.n = 0 end, exit = function() end,
            max_tasks = 2 }
        local list = short:map(function()
            mp.worker.n = mp.worker.n + 1
            return mp.worker.n
        end, mp.range(1, 4), { retries = 2 })
        check("number", 4, #list)
        short:terminate()
    end },
    { "memory", function()
        pool = nil
        collectgarbage()
        collectgarbage()
        local kinds = mp.memory().kinds
        for _, name in ipairs { "messages", "structures", "handles" } do check(name, 0, kinds[name].count) end
    end },
}

for _, step in ipairs(scripts[arg[1]]) do
    local ok, e = pcall(step[2])
    if not ok then print(("%s: %s"):format(step[1], (tostring(e):gsub("\n.*", "")))) end
end
print "end"
