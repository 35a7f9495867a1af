-- outcome_spec.lua: what a process leaves: results of any number and size, or
-- an error object that tells everything.
local helper = require "spec.helper"
local mp = require "luamp"

local started, result_of, error_of = helper.started, helper.result_of, helper.error_of
local script = helper.script_run

describe("the results of a process", function()
    it("are as many as the target returned", function()
        assert.equal(0, select("#", result_of(function() end)))
        assert.equal(1, select("#", result_of(function() return nil end)))
        assert.same({ n = 3, false, nil, nil }, table.pack(result_of(function() return false, nil, nil end)))
        local many = {}
        for i = 1, 1000000 do many[i] = i end
        for _, n in ipairs { 50000, 250000, 900000, 999800 } do
            local p = started(function() return table.unpack(many, 1, n) end)
            assert.equal(n, select("#", p:result()))
            assert.equal(n, (select(-1, p:result())))
            p:close()
        end
        assert.equal(0, select("#", result_of(function() os.exit(0) end)))
    end)

    it("are more than Lua's stack has room for, which is told, and is no end of them", function()
        local many = table.move({ 1 }, 1, 1, 600000)
        local function below(n, f) -- f called with n values on the stack
            local function call(...) return (f()), ... end
            return (call(table.unpack(many, 1, n)))
        end
        local p <close> = started(function() return table.unpack(many, 1, 600000) end)
        assert.equal(600000, select("#", p:result()))
        local e = helper.fails({ kind = "unsendable" }, function()
            below(450000, function() return select("#", p:result()) end)
        end)
        local words = "cannot receive the results: 600000 values are too many for Lua's stack"
        assert.same({ words, p.name, p.pid, 0 }, { e.message, e.process, e.pid, e.exitcode })
        assert.equal(600000, below(200000, function() return select("#", p:result()) end))
        local q <close> = started(function() return table.unpack(many, 1, 600000) end)
        e = helper.fails({ kind = "unsendable" }, function()
            below(450000, function() return select("#", q:result()) end)
        end)
        assert.same({ words, q.pid, nil }, { e.message, e.pid, q.error })
        e = error_of(function() return table.unpack(many, 1, 999950) end)
        assert.same({ "error", "too many results" }, { e.kind, e.message:match "too many results$" })
    end)

    it("may be asked for again, and then are the same", function()
        local p <close> = started(function() return { 1 }, "x" end)
        local t, x = p:result()
        assert.same({ { 1 }, "x" }, { t, x })
        assert.equal(t, (p:result()))
        assert.equal("x", select(2, p:result(0)))
    end)

    it("keep numbers to the bit, strings of any bytes, and tables as they are", function()
        local bytes = {}
        for i = 0, 255 do bytes[i + 1] = string.char(i) end
        local all = table.concat(bytes)
        local values = {
            0, -0.0, 1, 1.0, -1, math.maxinteger, math.mininteger, math.pi, 5e-324, math.huge, -math.huge,
            2 ^ 53, 1e308, "", all, all:rep(100), true, false,
        }
        local got = result_of(function() return values end)
        assert.equal(#values, #got)
        for i, v in ipairs(values) do
            assert.equal(math.type(v), math.type(got[i]))
            assert.equal(v, got[i])
            if math.type(v) == "float" then
                assert.equal(string.pack("n", v), string.pack("n", got[i]))
            end
        end
        local nan = result_of(function() return string.unpack("n", string.pack("I8", 0x7ff8dead0000beef)) end)
        assert.equal(0x7ff8dead0000beef, (string.unpack("I8", string.pack("n", nan))))
        assert.equal("1/-inf", "1/" .. 1 / result_of(function() return -0.0 end))
    end)

    it("keep what is shared, and cycles, across results too", function()
        local a, b, c = result_of(function()
            local shared = { "s" }
            local loop = { shared, shared }
            loop.me, loop[loop] = loop, loop
            return shared, loop, { [shared] = loop }
        end)
        assert.equal(a, b[1])
        assert.equal(a, b[2])
        assert.equal(b, b.me)
        assert.equal(b, b[b])
        assert.equal(b, c[a])
    end)

    it("may be a chain of a million tables", function()
        local t = result_of(function()
            local t
            for _ = 1, 1000000 do t = { t } end
            return t
        end)
        local n = 0
        while t do t, n = t[1], n + 1 end
        assert.equal(1000000, n)
    end)

    for _, size in ipairs { 0, 1, 359, 360, 361, 4095, 4096, 4097, 65536, 1 << 20 } do
        it(("may be %d bytes long"):format(size), function()
            local text = result_of(function() return ("0123456789abcdef"):rep(size // 16) .. ("x"):rep(size % 16) end)
            assert.equal(size, #text)
            assert.is_true(text == ("0123456789abcdef"):rep(size // 16) .. ("x"):rep(size % 16))
        end)
    end

    it("of 100 MB do not keep the child, which nobody reads", function()
        local size = 100 * 1000 * 1000
        local p <close> = started(function() return ("x"):rep(size), "end" end)
        local pid = p.pid
        helper.wait_until(function() return not helper.alive(pid) end, "its end, unread", 30)
        assert.is_true(p:join())
        assert.equal(0, p.exitcode)
        for _ = 1, 2 do
            local text, last = p:result()
            assert.equal(size, #text)
            assert.equal("x", text:sub(-1))
            assert.equal("end", last)
        end
        p:close()
        collectgarbage()
    end)

    it("give their memory back when they are read, or their process closed or collected", function()
        local lfs = require "lfs"
        local function held() -- bytes of the family's memory file
            for fd, target in pairs(helper.fds()) do
                if target:find "memfd:luamp%-outcomes" then
                    return lfs.attributes("/proc/self/fd/" .. fd, "blocks") * 512
                end
            end
        end
        local function ended()
            local p = started(function() return ("x"):rep(1 << 20) end)
            p:join()
            return p
        end
        assert.equal(0, held())
        local p = ended()
        assert.is_true(held() >= 1 << 20)
        p:result()
        assert.equal(0, held())
        p:close()
        ended():close()
        assert.equal(0, held())
        local kept = { ended() }
        assert.is_true(#kept == 1 and held() >= 1 << 20)
        kept[1] = nil
        collectgarbage()
        collectgarbage()
        assert.equal(0, held())
    end)

    it("of many at once stay apart, in whatever order they are read", function()
        local list = {}
        for i = 1, 30 do
            list[i] = started(function() return (string.char(64 + i)):rep(i * 1000), i end)
        end
        for i = #list, 1, -1 do
            local text, n = list[i]:result()
            assert.equal(i, n)
            assert.is_true(text == (string.char(64 + i)):rep(i * 1000))
            list[i]:close()
        end
    end)

    it("are pending until the end", function()
        local p <close> = mp.process { target = function() return io.read "l" end, stdin = "pipe" }:start()
        for _, timeout in ipairs { 0, -1, 0.02 } do
            local e = helper.fails({ kind = "pending" }, p.result, p, timeout)
            assert.equal(p.name, e.process)
            assert.equal(p.pid, e.pid)
            assert.is_truthy(tostring(e):find(p.name, 1, true))
        end
        p.stdin:write "late\n"
        p.stdin:close()
        assert.equal("late", p:result())
    end)

    it("that are not read, or not even joined for, leave nothing behind", function()
        for _ = 1, 3 do
            local p = started(function() return ("x"):rep(1 << 20) end)
            p:join()
            p:close()
            started(function() return ("x"):rep(1 << 20) end)
        end
        collectgarbage()
        helper.wait_until(function() return #mp.active_children() == 0 end, "their end")
    end)
end)

-- It is in memory three times at most: with its maker, on the way, and where it is read.
describe("a string of 3 GB", function()
    local size = 3000000000

    -- By one concatenation, which takes no memory besides.
    local function make()
        local b = ("0123456789abcdef"):rep(size // 12 // 16)
        return "first" .. b .. b .. b .. b .. b .. b .. b .. b .. b .. b .. b .. b .. "last"
    end

    -- Its length, and bytes from both ends and from around 2 GiB.
    local function look_at(text)
        local seen = { #text, text:sub(1, 5), text:sub(-4) }
        for _, at in ipairs { 0, (1 << 31) - 16, 1 << 31, size - 16 } do seen[#seen + 1] = text:sub(at + 6, at + 21) end
        return seen
    end

    local block = "0123456789abcdef"
    local whole = { size + 9, "first", "last", block, block, block, block }

    local function look_for_memory()
        if helper.sanitized then pending "a sanitizer keeps what is freed" end
        if not helper.is_everything then pending "LUAMP_TESTS=all has it" end
        local available = helper.read "/proc/meminfo":match "MemAvailable:%s+(%d+)"
        if tonumber(available) < 10 << 20 then pending "needs 10 GiB" end
    end

    after_each(function() collectgarbage() end)

    -- It takes its time: one way for each start method. Under fork, no argument is sent.
    if helper.method == "fork" then
        it("may be a result, among others", function()
            look_for_memory()
            local p <close> = started(function() return "before", { make() }, "after" end)
            local before, list, after = p:result()
            assert.same({ "before", "after" }, { before, after })
            assert.same(whole, look_at(list[1]))
        end)
    else
        it("may be an argument, among others", function()
            look_for_memory()
            local p <close> = started(function(before, list, after) return before, look_at(list[1]), after end,
                "before", { make() }, "after")
            assert.same({ "before", whole, "after" }, { p:result() })
        end)
    end
end)

describe("of results that cannot be sent", function()
    local cases = {
        ["a coroutine"] = { function() return 1, coroutine.create(print) end, "result 2: it is a coroutine" },
        ["an open file"] = { function() return { a = { io.stdout } } end, "result 1: a[1] is an open file" },
        ["a process"] = { function() return { p = mp.process { target = print } } end,
            "result 1: p is a userdata (mp.process)" },
        ["a function's upvalue"] = { function() local out = io.stdout return { f = function() return out end } end,
            "upvalue out of function " .. debug.getinfo(1, "S").short_src .. ":" },
        ["a key"] = { function() return { [io.stdout] = 1 } end, "result 1: one of its keys is an open file" },
    }
    for what, case in pairs(cases) do
        it(what .. " is told at result alone", function()
            local p <close> = started(case[1])
            assert.is_true(p:join())
            assert.equal(0, p.exitcode)
            assert.is_nil(p.error)
            local e = helper.fails({ kind = "unsendable" }, p.result, p)
            local text = "cannot send " .. case[2]
            assert.equal(text, e.message:sub(1, #text))
            assert.equal(p.name, e.process)
            assert.equal(p.pid, e.pid)
            assert.equal(0, e.exitcode)
            helper.fails({ kind = "unsendable" }, p.result, p)
        end)
    end

    it("because there is no room for them, too", function()
        local run = script([[
            local p = mp.process { target = function() return ("x"):rep(50 << 20) end }:start()
            print(p:join(), p.exitcode, p.error)
            local ok, e = pcall(p.result, p)
            print(ok, e.kind, e.message)]], "ulimit -f 40000")
        local expected = "^true\t0\tnil\nfalse\tunsendable\t[^\n]*File too large"
        assert.is_truthy(run.stdout:find(expected), run.stdout .. run.stderr)
    end)
end)

describe("an error in a process", function()
    it("comes with its message, value, place and both tracebacks", function()
        local function inner_function() error "oops" end
        local function outer_function() inner_function() return 1 end
        local e = error_of(function() outer_function() return 1 end)
        assert.equal("error", e.kind)
        assert.is_truthy(e.message:find "outcome_spec.lua:%d+: oops$")
        assert.equal(e.message, e.value)
        assert.equal(1, e.exitcode)
        assert.is_nil(e.signal)
        assert.is_truthy(e.traceback:find "inner_function")
        assert.is_truthy(e.traceback:find "outer_function")
        assert.is_nil(e.traceback:find "luamp:")
        assert.is_nil(e.traceback:find "busted")
        local report = tostring(e)
        for _, part in ipairs { e.message, e.process, tostring(e.pid), e.traceback, "error_of" } do
            assert.is_truthy(report:find(part, 1, true), report)
        end
        assert.equal(report .. "!", e .. "!")
        assert.equal("!" .. report, "!" .. e)
        assert.equal("12" .. report, 12 .. e)
    end)

    it("is on p.error without any call's traceback, and may be raised again", function()
        local p <close> = started(error, "plain")
        p:join()
        assert.equal("plain", p.error.message)
        local first = helper.fails({ message = "plain" }, p.result, p)
        local second = helper.fails({ message = "plain" }, p.result, p)
        assert.equal(first.traceback, second.traceback)
        assert.equal(#tostring(first), #tostring(second))
        assert.is_true(#tostring(p.error) < #tostring(first))
    end)

    local values = {
        ["nil"] = { nil, "nil" },
        ["a number"] = { 42, "42" },
        ["false"] = { false, "boolean" },
        ["an empty string"] = { "", "" },
        ["a string with a zero"] = { "a\0b", "a\0b" },
        ["a table"] = { { code = 7, list = { 1, 2 } }, "table" },
    }
    for what, case in pairs(values) do
        it("may be " .. what, function()
            local e = error_of(function() error(case[1], 0) end)
            assert.same(case[1], e.value)
            assert.equal("error", e.kind)
            assert.equal("string", type(e.message))
            assert.is_truthy(e.message:find(case[2], 1, true), e.message)
            assert.is_truthy(tostring(e):find(e.process, 1, true))
        end)
    end

    it("may be an object with __tostring, which makes its message", function()
        local e = error_of(function()
            error(setmetatable({ x = 1 }, { __tostring = function(t) return "object " .. t.x end }))
        end)
        assert.equal("object 1", e.message)
        e = error_of(function() error(setmetatable({}, { __tostring = function() error "again" end })) end)
        assert.equal("string", type(e.message))
        e = error_of(function() error(setmetatable({}, { __tostring = function() return 1 end })) end)
        assert.equal("string", type(e.message))
        e = error_of(function() error(setmetatable({}, { __name = "my.error" })) end)
        assert.equal("string", type(e.message))
    end)

    it("whose value cannot be sent comes by its message", function()
        for _, f in ipairs {
            function() error(io.stdout) end,
            function() error { coroutine.create(print) } end,
            function() error(setmetatable({ f = print }, { __tostring = function() return "text" end })) end,
        } do
            local e = error_of(f)
            assert.equal("error", e.kind)
            assert.equal("string", type(e.message))
            assert.is_truthy(e.traceback:find "outcome_spec")
        end
    end)

    it("may come from anywhere: a coroutine, a call of nil, C, a deep stack", function()
        assert.is_truthy(error_of(function() coroutine.wrap(function() error "in coroutine" end)() end)
            .message:find "in coroutine")
        assert.is_truthy(error_of(function() local x = nil; x() end).message:find "attempt to call a nil value") -- luacheck: ignore
        assert.is_truthy(error_of(string.rep).message:find "bad argument #1")
        local function deep() return 1 + deep() end
        assert.is_truthy(error_of(deep).message:find "stack overflow")
        assert.is_truthy(error_of(function() local s = "x" s:rep(1e10, "x"):rep(1e10) end).message ~= "")
        local function wide(n) return pcall(function() return wide(n + 1) end) end
        assert.is_true(result_of(function() return (wide(1)) end) ~= nil)
    end)
end)

describe("an error object", function()
    it("raised again in another process keeps its fields and gains a traceback", function()
        local p <close> = mp.process { name = "outer", stderr = "null", target = function()
            local q = mp.process { name = "inner", stderr = "null", target = function() error { code = 5 } end }:start()
            local function asks_inner() q:result() return 1 end
            asks_inner()
        end }:start()
        local e = helper.fails({ kind = "error", process = "inner" }, p.result, p)
        assert.equal(5, e.value.code)
        assert.not_equal(p.pid, e.pid)
        local report = tostring(e)
        assert.is_truthy(report:find("asks_inner", 1, true), report)
        assert.is_truthy(report:find("'outer'", 1, true), report)
        assert.is_truthy(report:find("'main'", 1, true), report)
        assert.equal(1, select(2, report:gsub("process 'outer'", "")), report)
    end)

    it("tells why, also when the library itself found no room", function()
        local function depth(n)
            if n == 0 then return "bottom" end
            return mp.process { target = depth, args = { n - 1 }, stderr = "null" }:start():result()
        end
        assert.equal("bottom", result_of(depth, 100))
        local p <close> = started(depth, 250)
        local ok, e = pcall(p.result, p)
        if not ok then -- Lua bounds the depth of C calls, and the copies of its state keep theirs
            assert.equal("error", e.kind)
            assert.is_truthy(e.message:find "C stack overflow", e.message)
        end
    end)

    it("of any kind is sent as a result and in tables", function()
        local e = result_of(function()
            local q = mp.process { target = os.exit, args = { 3 } }:start()
            q:join()
            return { q.error }
        end)[1]
        assert.is_true(mp.is_error(e))
        assert.equal("exit", e.kind)
        assert.equal(3, e.exitcode)
        local p <close> = started(error, e)
        local again = helper.fails({ kind = "exit", exitcode = 3, pid = e.pid }, p.result, p)
        assert.equal(e.process, again.process)
        assert.equal(1, p.exitcode)
    end)

    it("is told from others", function()
        for _, other in ipairs { 1, "error", {}, { kind = "error" }, print, io.stdout } do
            assert.is_false(mp.is_error(other))
        end
        assert.is_false(mp.is_error(nil))
        assert.is_false(mp.is_error())
    end)

    it("can be concatenated with anything that prints", function()
        local e = error_of(error, "x", 0)
        assert.equal(tostring(e) .. tostring(e), e .. e)
        assert.equal("1" .. tostring(e), 1 .. e)
    end)
end)
