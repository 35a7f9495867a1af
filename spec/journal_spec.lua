-- The option journal of a pool's calls, and mp.journal. Programs are run, and run again, in a folder of their own; what
-- their tasks do there they tell in a file.
local helper = require "spec.helper"
local journals = require "spec.journals"

local run, good, query = journals.run, journals.good, journals.query

-- --- what is answered -------------------------------------------------------------

-- Each prints what comes of a call of six tasks, and the tasks tell of their items.
local calls = {
    map = [[local list = call("map", function(i) tell(i) return i * 2 end, ITEMS, { journal = J })
        for _, v in ipairs(list) do print(v) end]],
    starmap = [[local list = call("starmap", function(a, b) tell(a) return a * b end, PAIRS, { journal = J })
        for _, v in ipairs(list) do print(v) end]],
    imap = [[for i, a, b in call("imap", function(i) tell(i) return i, nil, "x" end, ITEMS, { journal = J }) do
        print(i, a, b) end]],
    imap_unordered = [[local list = {}
        for i, a in call("imap_unordered", function(i) tell(i) return -i end, ITEMS, { journal = J }) do list[i] = a end
        for _, v in ipairs(list) do print(v) end]],
    each = [[print(call("each", function(i) tell(i) end, ITEMS, { journal = J }))]],
    filter = [[for _, v in ipairs(call("filter", function(i) tell(i) return i % 2 == 0 end, ITEMS, { journal = J })) do
        print(v) end]],
    find = [[print(call("find", function(i) tell(i) return i > 20 end, ITEMS, { journal = J }))]],
    reduce = [[print(call("reduce", function(a, i) tell(i) return a + i end, ITEMS, 0, function(a, b) return a + b end,
        { journal = J, chunksize = 2 }))]],
}

local inputs = {
    ["a list"] = "{ 1, 2, 3, 4, 5, 6 }",
    ["a range"] = "mp.range(1, 6)",
    ["a function"] = "(function() local n = 0 return function() n = n + 1 return n < 7 and n or nil end end)()",
}

local lists = { ["a list"] = "{ {1, 2}, {2, 3}, {3, 4}, {4, 5}, {5, 6}, {6, 7} }" }

local forms = {
    ["pool:"] = "local pool <close> = mp.pool(2) local function call(name, ...) return pool[name](pool, ...) end\n",
    ["mp."] = "local function call(name, ...) return mp[name](...) end\n",
}

describe("a call with a journal", function()
    for form, head in pairs(forms) do
        for name, text in pairs(calls) do
            for what, input in pairs(name == "starmap" and lists or inputs) do
                it(("answers what is finished: %s%s of %s"):format(form, name, what), function()
                    local dir = helper.tmpdir()
                    local program = head .. text:gsub("ITEMS", input):gsub("PAIRS", input)
                    local first, ran = good(dir, program)
                    assert.equal("1 2 3 4 5 6", ran)
                    local second, again = good(dir, program)
                    assert.equal(first, second)
                    assert.equal("", again)
                    assert.equal("run.db", journals.files_of(dir))
                end)
            end
        end
    end

    it("runs the rest: what failed, what was never begun, and what is new", function()
        local dir = helper.tmpdir()
        local text = [[
            local items = {}
            for i = 1, tonumber(os.getenv "N") do items[i] = i end
            local list, errors = mp.map(function(i)
                tell(i)
                if i == 3 and os.getenv "BAD" then error("bad " .. i, 0) end
                return i * 2
            end, items, { journal = J, workers = 2, on_error = "collect" })
            print(list[1], list[3], list[#items], #errors, errors[1] and errors[1].message)]]
        local out, ran = good(dir, text, { env = { N = "4", BAD = "1" } })
        assert.equal("2\tnil\t8\t1\tbad 3\n", out)
        assert.equal("1 2 3 4", ran)
        assert.equal("done||1|2\nfailed|error|1|bad 3\n",
            query(dir, "select status, kind, attempt, text from tasks where key in (1, 3) order by key"))
        out, ran = good(dir, text, { env = { N = "6" } })
        assert.equal("2\t6\t12\t0\tnil\n", out)
        assert.equal("3 5 6", ran)
        assert.equal("6|3\n", query(dir, "select items, answered from calls"))
    end)

    it("gives results as they were: of all kinds, none, and many", function()
        local dir = helper.tmpdir()
        local text = [[
            local loop = { name = "loop" }
            loop.self = loop
            local answers = { 1, 1.0, -0.0, 0 / 0, math.huge, "a\0b\xFF", ("x"):rep(100000), true, false, loop,
                setmetatable({ 1 }, { __len = function() return 42 end }) }
            for i, a, b, c in mp.imap(function(i) tell(i) return answers[i], nil, i end, mp.range(1, 10),
                { journal = J }) do
                print(i, type(a) == "table" and a.self == a and a.name or type(a) == "string" and #a .. a:sub(1, 3)
                    or a, math.type(a), b, c)
            end
            print(select("#", mp.map(function() tell "nil" end, { 1, 2 }, { journal = J })))
            print(mp.map(function() tell "nil" end, { 1, 2 }, { journal = J }).n)]]
        local first, ran = good(dir, text)
        assert.equal("1 10 2 3 4 5 6 7 8 9 nil nil nil nil", ran)
        assert.is_truthy(first:find("10\tloop\tnil\tnil\t10\n", 1, true), first)
        local second, again = good(dir, text)
        assert.equal("", again)
        assert.equal(first, second)
    end)

    it("runs again what gives more than plain data, and says so", function()
        local dir = helper.tmpdir()
        local text = [[
            local list = mp.map(function(i) tell(i) return i == 2 and print or i end, { 1, 2 }, { journal = J })
            print(list[1], list[2] == print)]]
        for _, wanted in ipairs { "1 2", "2" } do
            local out, ran = good(dir, text)
            assert.equal("1\ttrue\n", out)
            assert.equal(wanted, ran)
        end
        assert.equal("done|1|(not recorded, and runs again: it is more than plain data)\n",
            query(dir, "select status, result is null, text from tasks where key = 2"))
    end)

    it("says which result cannot be sent by its place, as without a journal", function()
        local text = [[
            for _, options in ipairs { {}, { journal = J } } do
                options.on_error, options.workers = "collect", 1
                local _, errors = mp.map(function() return coroutine.create(print) end, { 1 }, options)
                print((errors[1].message:match "^cannot send result %d: it is a %a+"))
                for _, _, e in mp.imap(function() return 1, coroutine.create(print) end, { 1 }, options) do
                    print((e.message:match "^cannot send result %d: it is a %a+"))
                end
            end]]
        local words = "cannot send result 1: it is a coroutine\ncannot send result 2: it is a coroutine\n"
        for _, backend in ipairs { "process", "serial" } do
            assert.equal(words .. words, (good(helper.tmpdir(), text, { env = { LUAMP_BACKEND = backend } })))
        end
    end)

    it("keeps the calls of a program apart by their order", function()
        local dir = helper.tmpdir()
        local text = [[
            local function f(i) tell(i) return mp.getpid() end
            local a, b = mp.map(f, { 1 }, { journal = J }), mp.map(f, { 1 }, { journal = J })
            print(a[1] == b[1])]]
        assert.equal("false\n", (good(dir, text)))
        local out, ran = good(dir, text)
        assert.same({ "false\n", "" }, { out, ran })
        assert.equal("1|mp.map\n2|mp.map\n", query(dir, "select call, name from calls"))
    end)

    it("is shared by calls that go on at the same time", function()
        local dir = helper.tmpdir()
        local text = [[
            local pool <close> = mp.pool(2)
            local function f(i) tell(i) return i end
            local a = pool:map_async(f, { 1, 2, 3 }, { journal = J })
            local b = pool:map_async(f, { 4, 5, 6 }, { journal = "./run.db" })
            local c = pool:map(f, { 7 }, { journal = J })
            print(#a:result(), #b:result(), #c)]]
        assert.equal("3\t3\t1\n", (good(dir, text)))
        local out, ran = good(dir, text)
        assert.same({ "3\t3\t1\n", "" }, { out, ran })
    end)

    it("counts what is answered as done, and not for the rate of the rest", function()
        local dir = helper.tmpdir()
        local text = [[
            local greatest, last = 0, nil
            mp.map(function(i) if i > 300 then mp.sleep(0.1) end return i end, mp.range(1, tonumber(os.getenv "N")),
                { journal = J, workers = 1, progress = function(p) greatest, last = math.max(greatest, p.rate), p end })
            print(last.done, greatest > 0 and greatest < 20)]]
        assert.equal("300\tfalse\n", (good(dir, text, { env = { N = "300" } })))
        assert.equal("310\ttrue\n", (good(dir, text, { env = { N = "310" } })))
    end)

    it("works in this process alone, too", function()
        local dir, options = helper.tmpdir(), { env = { LUAMP_BACKEND = "serial" } }
        local text = [[
            local function f(i) tell(i) if i == 2 then error("bad", 0) end return i end
            local list, errors = mp.map(f, { 1, 2, 3 }, { journal = J, on_error = "collect" })
            print(list[3], #errors)]]
        assert.same({ "3\t1\n", "1 2 3" }, { good(dir, text, options) })
        assert.same({ "3\t1\n", "2" }, { good(dir, text, options) })
        assert.equal("2\n", query(dir, [[select count(*) from tasks where status = 'done'
            and started <= ended and cpu >= 0 and memory > 1000000]]))
    end)

    it("records the last of several attempts, and how it went", function()
        local dir = helper.tmpdir()
        good(dir, [[
            mp.map(function(i)
                tell(i)
                if i == 1 and mp.worker.attempt < 3 then error "again" end
                local x = 0
                for k = 1, 3e6 do x = x + k end
                return i
            end, { 1, 2 }, { journal = J, workers = 2, retries = 5 })]])
        assert.equal("done|3|1|1|1\ndone|1|1|1|1\n", query(dir, [[select status, attempt, worker in (1, 2), cpu > 0.001,
            started < ended and memory > 1000000 from tasks order by key]]))
    end)

    it("records the death of a worker", function()
        local dir = helper.tmpdir()
        good(dir, [[
            local function f(i) if i == 2 then os.execute("kill -KILL " .. mp.getpid()) end return i end
            mp.map(f, { 1, 2, 3 }, { journal = J, workers = 2, on_error = "collect" })]])
        assert.equal("failed|signal|1|1\n", query(dir, [[select status, kind, started is null, ended is not null
            from tasks where key = 2]]))
    end)

    it("reduces the same groups by any number of workers", function()
        local dir = helper.tmpdir()
        local text = [[
            local function f(a, i) tell "item" return a + i end
            print(mp.reduce(f, mp.range(1, 200), 0, function(a, b) return a + b end,
                { journal = J, workers = tonumber(os.getenv "N") }))]]
        local out, ran = good(dir, text, { env = { N = "1" } })
        assert.equal("20100\n", out)
        assert.equal(200, select(2, ran:gsub("item", "")))
        assert.same({ "20100\n", "" }, { good(dir, text, { env = { N = "3" } }) })
    end)

    it("knows an unchanged piece of a file", function()
        local dir = helper.tmpdir()
        helper.write(dir .. "/words", ("a b c\n"):rep(100))
        local text = [[
            local n = 0
            for _, k in mp.imap(function(text) tell "piece" return select(2, text:gsub("%a", "")) end,
                mp.chunks("words", 200), { journal = J }) do n = n + k end
            print(n)]]
        assert.same({ "300\n", "piece piece piece" }, { good(dir, text) })
        assert.same({ "300\n", "" }, { good(dir, text) })
        helper.write(dir .. "/words", ("a b d\n"):rep(99) .. "a\n\n\n\n\n")
        assert.same({ "298\n", "piece piece piece" }, { good(dir, text) })
    end)
end)

-- --- what runs again --------------------------------------------------------------

describe("a task runs again", function()
    -- Runs a program, then another one on its journal: what ran in the second.
    local function ran_after(before, after)
        local dir = helper.tmpdir()
        good(dir, before)
        return select(2, good(dir, after))
    end

    local plain = [[mp.map(function(i) tell(i) return i + 1 end, { 1, 2, 3 }, { journal = J })]]

    it("when its item has changed, and no other one does", function()
        assert.equal("5", ran_after(plain, (plain:gsub("2, 3", "5, 3"))))
    end)

    it("when an item deep in a table has changed, in whatever order the table is", function()
        local text = [[
            local function item(x) local t = {} for i = 1, 50 do t["k" .. i] = i end
                t.deep = { { x = x, [true] = 1, [2.5] = {} } } t.deep.self = t.deep return t end
            mp.map(function(t) tell(t.deep[1].x) return 1 end, { item(1), item(2), item(3) }, { journal = J })]]
        assert.equal("", ran_after(text, text))
        assert.equal("7", ran_after(text, (text:gsub("item%(2%)", "item(7)"))))
    end)

    it("when its function has changed", function()
        assert.equal("1 2 3", ran_after(plain, (plain:gsub("i %+ 1", "i + 2"))))
        assert.equal("1 2 3", ran_after(plain, (plain:gsub("i %+ 1", "i - 1"))))
    end)

    it("but not when that stands elsewhere, or has other names", function()
        assert.equal("", ran_after(plain, "\n-- a comment\n\nlocal other = 1\n" .. plain:gsub("%f[%w]i%f[%W]", "n")))
        local nested = [[mp.map(function(i) local function inner(k)
            return k end tell(i) return inner(i) end, { 1 }, { journal = J })]]
        assert.equal("", ran_after(nested, "\n" .. nested:gsub("%(k%)%s+return", "(k) return")))
    end)

    it("when an upvalue has changed, or one of a function that it calls", function()
        local text = [[
            local factor = 2
            local function double(x) return x * factor end
            mp.map(function(i) tell(i) return double(i) end, { 1, 2 }, { journal = J })]]
        assert.equal("", ran_after(text, text))
        assert.equal("1 2", ran_after(text, (text:gsub("factor = 2", "factor = 3"))))
        assert.equal("1 2", ran_after(text, (text:gsub("x %* factor", "x + factor"))))
    end)

    it("when a global function that it calls has changed", function()
        local text = [[
            function helper(x) return x * 2 end
            mp.map(function(i) tell(i) return helper(i) end, { 1, 2 }, { journal = J })]]
        assert.equal("", ran_after(text, text))
        assert.equal("1 2", ran_after(text, (text:gsub("x %* 2", "x * 3"))))
    end)

    it("when the random numbers are others", function()
        local text = [[
            mp.map(function(i) tell(i) return math.random(1 << 30) end, { 1, 2 }, { journal = J, seed = 1 })]]
        assert.equal("", ran_after(text, text))
        assert.equal("1 2", ran_after(text, (text:gsub("seed = 1", "seed = 2"))))
    end)

    it("but not because of what differs from run to run", function()
        local text = [[
            local file, thread, q = io.tmpfile(), coroutine.create(print), mp.queue()
            local json = require "cjson"
            local function f(i)
                tell(i)
                return type(file) .. type(thread) .. tostring(q ~= nil) .. json.encode { #i }
            end
            mp.map(f, { { 1, q }, { 2 } }, { journal = J, start_method = "fork" })]]
        assert.equal("", ran_after(text, text))
    end)
end)

-- --- keys -------------------------------------------------------------------------

describe("a key", function()
    local text = [[
        local items = {}
        for name in os.getenv "ITEMS":gmatch "%a" do items[#items + 1] = { name = name } end
        local list = mp.map(function(item) tell(item.name) return item.name .. item.name end, items,
            { journal = J, key = function(item, i) assert(items[i] == item) return item.name end })
        print(table.concat(list, " "))]]

    it("is what a task is known by, wherever it stands", function()
        local dir = helper.tmpdir()
        assert.same({ "aa bb cc\n", "a b c" }, { good(dir, text, { env = { ITEMS = "abc" } }) })
        assert.same({ "dd cc aa\n", "d" }, { good(dir, text, { env = { ITEMS = "dca" } }) })
        assert.equal("a\nb\nc\nd\n", query(dir, "select key from tasks order by key"))
    end)

    it("cannot be that of two items", function()
        local result = run(helper.tmpdir(), text, { env = { ITEMS = "abca" } })
        assert.equal(1, result.status)
        local words = [[mp.map: option 'key': items 1 and 4 have the same key, the string "a"]]
        assert.is_truthy(result.stderr:find(words, 1, true), result.stderr)
    end)

    for name, call in pairs {
        ["must be a string or a number"] = { "key = function() return {} end, journal = J",
            "mp.map: option 'key': of item 1 it gave a table, and no string or number" },
        ["is for a call with a journal"] = { "key = print", "mp.map: option 'key' is for a call with a journal" },
        ["may raise"] = { "key = function() error('no key', 0) end, journal = J", "no key" },
    } do
        it(name, function()
            local result = run(helper.tmpdir(), ("mp.map(print, { 1 }, { %s })"):format(call[1]))
            assert.equal(1, result.status)
            assert.is_truthy(result.stderr:find(call[2], 1, true), result.stderr)
        end)
    end
end)

-- --- when a result is given -------------------------------------------------------

describe("a result", function()
    it("is given after it was committed, and before others of its call have come", function()
        local dir = helper.tmpdir()
        local out = good(dir, [[
            local seen = mp.event()
            local function f(i) if i > 1 then seen:wait() end return i end
            local pool <close> = mp.pool(2)
            for i, v in pool:imap(f, { 1, 2, 3, 4 }, { journal = J }) do
                local j <close> = mp.journal(J)
                local found = 0
                for t in j:tasks() do if t.task == i and t.result == v then found = found + 1 end end
                print(i, v, found)
                seen:set()
            end]])
        assert.equal("1\t1\t1\n2\t2\t1\n3\t3\t1\n4\t4\t1\n", out)
    end)

    it("that has come together with a failure, which ends the call, is kept", function()
        local dir = helper.tmpdir()
        local result = run(dir, [[
            mp.map(function(i) return i == 5 and error("bad", 0) or i end, mp.range(1, 40), { journal = J })]],
            { env = { LUAMP_BACKEND = "serial" } }) -- which runs ten tasks before it looks what came of them
        assert.equal(1, result.status)
        assert.equal("4|1\n", query(dir, [[select sum(status = 'done'), sum(status = 'failed') from tasks
            where key <= 5]]))
    end)

    it("that has come is kept when the call ends before its time", function()
        for _, how in ipairs { "error 'left'", "break", "os.exit(false, true)",
            "os.execute('kill -INT ' .. mp.getpid())" } do
            local dir = helper.tmpdir()
            local text = ([[
                local pool <close> = mp.pool(1)
                local n = 0
                for i in pool:imap(function(i) tell(i) return i end, mp.range(1, 5), { journal = J, window = 2 }) do
                    n = n + 1
                    if n == 3 and os.getenv "LEAVE" then %s end
                end]]):format(how)
            run(dir, text, { env = { LEAVE = "1" } })
            assert.equal("3\n", query(dir, "select count(*) from tasks where status = 'done' and key <= 3"), how)
            assert.is_truthy(("4 5"):find(select(2, good(dir, text)) .. "$"), how)
        end
    end)
end)
