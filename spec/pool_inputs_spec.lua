-- pool_inputs_spec.lua: what the calls of a pool take their items from: lists, mp.range, queues,
-- mp.chunks, functions; and what they refuse.
local helper = require "spec.helper"
local pools = require "spec.pools"
local mp = require "luamp"

local misuse, fails = helper.misuse, helper.fails
local both, with_pool, numbers = pools.both, pools.with, pools.numbers

local function square(x) return x * x end
local function same(x) return x end

describe("a list as input:", function()
    both("map calls f for each place up to n, also where nil is", function(call)
        local f = function(...) return select("#", ...) .. type((...)) end
        assert.same({ "1number", "1nil", "1nil" }, call("map", f, { 1, nil, nil, n = 3 }))
        assert.same({ "1nil", "1nil" }, call("map", f, { n = 2 }))
        assert.same({ "1number" }, call("map", f, { 1, 2, 3, n = 1 }))
        assert.same({}, call("map", f, { 1, 2, n = 0 }))
        assert.same({ "1number", "1string" }, call("map", f, table.pack(1, "x")))
    end)

    both("filter counts by n, too", function(call)
        assert.same({ 2, 4 }, call("filter", function(x) return x end, { nil, 2, nil, 4, n = 4 }))
        assert.equal(3, call("each", same, { n = 3 }))
    end)

    both("map: n that is no count is a key like any other", function(call)
        assert.same({ 1, 2 }, call("map", same, { 1, 2, n = "many" }))
        assert.same({ 1, 2 }, call("map", same, { 1, 2, n = -1, name = "x" }))
        assert.same({ 1, 2 }, call("map", same, { 1, 2, [0] = "script", [-1] = "lua" })) -- as `arg` is
    end)

    both("map reads it by index, also through a metatable", function(call)
        local proxy = setmetatable({}, {
            __len = function() return 3 end,
            __index = function(_, i) return i <= 3 and 10 * i or nil end,
        })
        assert.same({ 10, 20, 30 }, call("map", same, proxy))
    end)
end)

describe("mp.range", function()
    -- What a numeric for gives.
    local function loop(a, b, step)
        local list = {}
        for i = a, b, step or 1 do list[#list + 1] = i end
        return list
    end

    local function types(list)
        local kinds = {}
        for i, x in ipairs(list) do kinds[i] = math.type(x) end
        return kinds
    end

    for _, given in ipairs { { 1, 5 }, { 0, 0 }, { 3, 1 }, { -2, 2 },
        { 1, 10, 3 }, { 5, 1, -1 }, { 5, 1, -2 }, { 1, 5, -1 },
        { 0, 1, 0.25 }, { 1, 0, -0.5 }, { 0.5, 3 }, { 1, 2.5 }, { 2, 1, 0.5 }, { -1, -2, -0.125 }, { 1, 4, 1.5 },
        { math.maxinteger - 2, math.maxinteger }, { math.mininteger, math.mininteger + 3, 2 },
        { 0, 2000 * (1 << 43) - 1, 1 << 43 }, { 0, 1 - 2000 * (1 << 43), -(1 << 43) }, { 3, -3, -4 },
        { 1.0, 3 }, { 1, 3, 1.0 }, { 1, 3.9 }, { 0, 0.3, 0.1 }, { 0, 0.6, 0.1 }, { 1, 0, -0.01 }, { 0, 300, 0.1 },
        { 3, 0.5, -1 }, { 1, -math.huge }, { -1, math.huge, -1 },
        { math.maxinteger - 2, math.huge }, { math.mininteger, math.maxinteger, math.maxinteger },
        { math.maxinteger, math.mininteger, math.mininteger }, { 2 ^ 53, 2 ^ 53 + 4, 2 } } do
        it(("(%s) is what a numeric for gives"):format(table.concat(given, ", ")), function()
            local expected, r = loop(table.unpack(given)), mp.range(table.unpack(given))
            local list = mp.map(same, r, { workers = 1 })
            assert.same(expected, list)
            assert.same(types(expected), types(list))
            assert.same({ #expected, expected[1] }, { #r, r[1] })
            assert.is_nil(r[#r + 1])
        end)
    end

    it("of floats is so from any place on", function()
        local expected, r = loop(0, 1000, 0.1), mp.range(0, 1000, 0.1)
        assert.equal(#expected, #r)
        for _, i in ipairs { #r, 1, 1024, 1025, 1026, 3000, 2999, 5500, #r - 1 } do assert.equal(expected[i], r[i]) end
        assert.same({ n = 4, nil, nil, nil, nil }, { n = 4, r[0], r[#r + 1], r[1.5], r.x })
    end)

    both("each takes a large one without a list of it", function(call)
        local sum = call("reduce", function(a, b) return a + b end, mp.range(1, 1000000), 0)
        assert.equal(500000500000, sum)
    end)

    it("refuses what is no range", function()
        misuse("mp.range: the first number must be a number, not nothing", function() mp.range() end)
        misuse("mp.range: the last number must be a number, not the string \"9\"", function() mp.range(1, "9") end)
        misuse("mp.range: the step is 0", function() mp.range(1, 2, 0) end)
        misuse("mp.range: the step must be a number, not true", function() mp.range(1, 2, true) end)
        misuse("mp.range: the last number must be a number", function() mp.range(1, 0 / 0) end)
        misuse("mp.range: it would have no end", function() mp.range(1, math.huge) end)
        misuse("mp.range: it would have no end", function() mp.range(math.mininteger, math.maxinteger) end)
        misuse("mp.range: it would have no end", function() mp.range(0.5, math.huge) end)
        misuse("mp.range: it would have no end", function() mp.range(-math.huge, 1) end)
        misuse("mp.range: it would have no end", function() mp.range(2.0 ^ 53, 2.0 ^ 53 + 4) end)
        misuse("mp.range: it would have no end, or more than 4294967296 floats", function() mp.range(0, 1, 1e-12) end)
    end)
end)

describe("a queue as input:", function()
    both("map takes what is in it until it is closed and drained", function(call)
        local q = mp.queue()
        q:put_many { 1, false, 3 }
        q:close()
        assert.same({ 1, false, 3 }, call("map", same, q))
        assert.same({}, call("map", same, q))
    end)

    both("map takes the least of a priority queue first", function(call)
        local q = mp.priority_queue()
        for _, x in ipairs { 3, 1, 2 } do q:put(x, x) end
        q:close()
        assert.same({ 1, 2, 3 }, call("map", same, q))
    end)

    for _, name in ipairs { "map", "imap", "each", "filter", "reduce" } do
        it(name .. " goes on while another process fills it", function()
            local q = mp.queue()
            local filler <close> = helper.started(function()
                for i = 1, 20 do
                    mp.sleep(0.005)
                    q:put(i)
                end
                q:close()
            end)
            with_pool(2, function(pool)
                if name == "imap" then
                    local n = 0
                    for i, x in pool:imap(square, q) do
                        n = n + 1
                        assert.same({ n, n * n }, { i, x })
                    end
                    assert.equal(20, n)
                elseif name == "reduce" then
                    assert.equal(210, pool:reduce(function(a, b) return a + b end, q, 0))
                else
                    local f = name == "filter" and function() return true end or same
                    local result = pool[name](pool, f, q)
                    assert.same(name == "each" and 20 or numbers(20), result)
                end
            end)
            filler:join()
        end)
    end

    for _, name in ipairs { "map", "reduce" } do
        it(name .. " goes on while another task of the pool fills it", function()
            helper.needs_one_host "shares a queue with its tasks"
            with_pool(2, function(pool)
                local q = mp.queue()
                pool:submit(function()
                    for i = 1, 100 do q:put(i) end
                end):on_done(function() q:close() end)
                if name == "map" then return assert.same(numbers(100), pool:map(same, q)) end
                assert.equal(5050, pool:reduce(function(a, b) return a + b end, q, 0))
            end)
        end)
    end

    it("imap gives a result before the next item is there", function()
        local q = mp.queue()
        q:put(1)
        with_pool(2, function(pool)
            local seen = 0
            for i in pool:imap(same, q) do
                seen = i
                if i < 5 then q:put(i + 1) else q:close() end
            end
            assert.equal(5, seen)
        end)
    end)

    it("may be filled by the tasks themselves", function()
        helper.needs_one_host "shares a queue with its tasks"
        local q = mp.queue()
        local left = mp.queue()
        for _ = 1, 15 do left:put(true) end
        q:put(3)
        assert.equal(15, mp.each(function(depth)
            for _ = 1, 2 do if depth > 0 then q:put(depth - 1) end end
            left:get()
            if #left == 0 then q:close() end
        end, q, { workers = 1 }))
    end)
end)

describe("a function as input:", function()
    both("map takes its first value, until that is nil", function(call)
        local n = 0
        assert.same({ 1, false, 3 }, call("map", same, function()
            n = n + 1
            if n == 2 then return false, "more" end
            if n < 4 then return n, "more" end
        end))
        assert.equal(4, n)
    end)

    both("map takes io.lines and gmatch", function(call)
        local path = helper.script "one\ntwo\n\nfour"
        assert.same({ 3, 3, 0, 4 }, call("map", string.len, io.lines(path)))
        assert.same({ "A", "B", "C" }, call("map", string.upper, ("a b c"):gmatch "%a"))
    end)

    both("reduce asks it no more after its end", function(call)
        local path = helper.script "one\ntwo\n\nfour"
        assert.equal("onetwofour", call("reduce", function(a, b) return a .. b end, io.lines(path), ""))
    end)

    it("cannot yield out of the call, and may have a coroutine of its own", function()
        with_pool(1, function(pool)
            local outer = coroutine.wrap(function() return pcall(pool.map, pool, same, coroutine.yield) end)
            assert.same({ false, "attempt to yield across a C-call boundary" }, { outer() })
            local inner = coroutine.wrap(function() return pool:map(same, coroutine.wrap(function()
                for i = 1, 3 do coroutine.yield(i) end
            end)) end)
            assert.same({ 1, 2, 3 }, inner())
            assert.equal("x", pool:apply(same, "x"))
        end)
    end)

    both("map raises what a coroutine does as it is", function(call)
        for _, e in ipairs { "bad", "x:1: bad" } do
            local input = coroutine.wrap(function()
                coroutine.yield(1)
                error(e, 0)
            end)
            assert.same({ false, e }, { pcall(call, "map", same, input) })
            local outer = coroutine.wrap(function()
                return pcall(call, "map", same, coroutine.wrap(function() error(e, 0) end))
            end)
            assert.same({ false, e }, { outer() })
        end
    end)

    both("imap reads it in this process, and not all at once", function(call)
        local here, read = mp.getpid(), 0
        for i, x in call("imap", square, function()
            assert(mp.getpid() == here)
            read = read + 1
            return read
        end, { window = 5 }) do
            assert.equal(i * i, x)
            if i == 30 then break end
        end
        assert.is_true(read >= 30 and read <= 35, read .. " were read")
    end)

    both("map raises what it raises, and stops", function(call)
        local n = 0
        assert.equal("no more of it", fails("no more of it", call, "map", same, function()
            n = n + 1
            if n == 10 then error("no more of it", 0) end
            return n
        end))
        assert.equal(10, n)
    end)

    both("map: what can be called is a function", function(call)
        local n = 0
        assert.same({ 1, 2 }, call("map", same, setmetatable({}, { __call = function()
            n = n + 1
            return n < 3 and n or nil
        end })))
    end)
end)

describe("items that are read", function()
    local WINDOW <const>, LAST <const> = 20, 3000

    -- A function as input: new tables, up to the last; and how many of them there were at once, and KiB of all.
    local function tables()
        local n, alive, most = 0, setmetatable({}, { __mode = "k" }), { items = 0, kib = {} }
        return function()
            n = n + 1
            if n > LAST then return nil end
            if n % 500 == 0 then
                collectgarbage()
                local count = 0
                for _ in pairs(alive) do count = count + 1 end
                most.items = math.max(most.items, count)
                most.kib[#most.kib + 1] = collectgarbage "count"
            end
            local item = { n }
            alive[item] = true
            return item
        end, most
    end

    for _, name in ipairs { "map", "each", "imap", "imap_unordered", "filter", "find" } do
        for _, retries in ipairs { 0, 1 } do
            both(("%s: are let go with their tasks (%d retries)"):format(name, retries), function(call)
                local input, most = tables()
                local options = { window = WINDOW, retries = retries > 0 and retries or nil, on_error = "collect" }
                local function f(t) return t[1] == LAST end
                if name:find "imap" then
                    for i, is_last in call(name, f, input, options) do assert.equal(i == LAST, is_last) end
                else
                    local result, second = call(name, f, input, options)
                    if name == "find" then assert.same({ { LAST }, LAST }, { result, second }) end
                    if name == "filter" then assert.same({ { LAST } }, result) end
                    if name == "map" then assert.same({ LAST, false, true }, { #result, result[1], result[LAST] }) end
                end
                assert.is_true(most.items <= 2 * WINDOW, most.items .. " were there at once")
                if name == "find" then
                    assert.is_true(most.kib[#most.kib] - most.kib[2] < 20, table.concat(most.kib, " "))
                end
            end)
        end
    end

    both("map: nil and failures among the results of what is run again", function(call)
        local n = 0
        local function numbered() n = n + 1 return n <= 5 and n or nil end
        assert.same({ 1, nil, 3, nil, 5, n = 5 }, call("map", function(x)
            if x % 2 == 1 then return x end
        end, numbered, { retries = 1 }))
        n = 0
        local results, errors = call("map", function(x)
            if x == 2 then error("two", 0) end
            return mp.worker.attempt == (x == 4 and 2 or 1) and x or error("again", 0)
        end, numbered, { retries = 1, on_error = "collect" })
        assert.same({ { 1, nil, 3, 4, 5, n = 5 }, 1, 2 }, { results, #errors, errors[1].attempt })
    end)
end)

describe("mp.chunks", function()
    -- A file of lines of all lengths up to the longest, without a last newline if so wished.
    local function file_of(n, has_end)
        local lines = {}
        for i = 1, n do lines[i] = (string.char(97 + i % 26)):rep((i * 7) % 41) .. i end
        local path = helper.tmpdir() .. "/lines"
        helper.write(path, table.concat(lines, "\n") .. (has_end and "\n" or ""))
        return path, lines
    end

    -- The lines of all pieces, in order.
    local function lines_of(pieces)
        local lines = {}
        for _, piece in ipairs(pieces) do
            local whole = (piece == "" or piece:sub(-1) == "\n") and piece or piece .. "\n"
            for line in whole:gmatch "(.-)\n" do lines[#lines + 1] = line end
        end
        return lines
    end

    for _, has_end in ipairs { true, false } do
        it("gives every line once, in order, for all sizes, " .. (has_end and "with" or "without")
            .. " a newline at the end", function()
            local path, lines = file_of(60, has_end)
            local length = #helper.read(path)
            with_pool(2, function(pool)
                for _, size in ipairs { 1, 2, 3, 7, 16, 41, 42, 64, 333, length - 1, length, length + 1, "1M" } do
                    local pieces = pool:map(same, mp.chunks(path, size))
                    assert.equal(helper.read(path), table.concat(pieces), size)
                    assert.same(lines, lines_of(pieces))
                end
            end)
        end)
    end

    it("gives what io.lines gives, of lines that are empty or longer than many pieces", function()
        local path = helper.tmpdir() .. "/odd"
        helper.write(path, "\n\n" .. ("long"):rep(5000) .. "\n\nx\n\r\n\0\n" .. ("y"):rep(70))
        local expected = {}
        for line in io.lines(path) do expected[#expected + 1] = line end
        for _, size in ipairs { 1000, 4096, 20005, "1K" } do
            assert.same(expected, lines_of(mp.map(same, mp.chunks(path, size))))
        end
    end)

    both("map, reduce, filter and find have the text", function(call)
        local path, lines = file_of(100, true)
        assert.equal(#lines, call("reduce", function(n, text)
            return n + select(2, text:gsub("\n", ""))
        end, mp.chunks(path, 50), 0, function(a, b) return a + b end))
        local pieces = call("filter", function(text) return text ~= "" end, mp.chunks(path, 50))
        assert.same(lines, lines_of(pieces))
        local piece, index = call("find", function(text) return text:find("50\n", 1, true) end, mp.chunks(path, 50))
        assert.matches("50\n", piece, 1, true)
        assert.is_true(index > 1)
        assert.equal(#mp.chunks(path, 50), call("each", same, mp.chunks(path, 50)))
    end)

    it("reads in the worker, never here", function()
        local path = file_of(10, true)
        local chunks = mp.chunks(path, 10)
        with_pool(1, function(pool)
            local here = mp.getpid()
            local texts = pool:map(function(text) return mp.getpid() ~= here and text end, chunks)
            assert.equal(helper.read(path), table.concat(texts))
            os.remove(path)
            pools.failure({ kind = "error", task = 1 }, pool.map, pool, same, chunks)
        end)
    end)

    for _, name in ipairs { "filter", "find" } do
        both(name .. " has the text from the worker, and reads nothing here", function(call)
            local path = file_of(30, true)
            local whole = helper.read(path)
            local result = call(name, function(text)
                os.remove(path)
                return text:find "30"
            end, mp.chunks(path))
            assert.equal(whole, name == "find" and result or result[1])
        end)
    end

    both("map: an empty file has none", function(call)
        local path = helper.script ""
        assert.equal(0, #mp.chunks(path))
        assert.same({}, call("map", same, mp.chunks(path)))
    end)

    it("refuses what it cannot read, and sizes that are none", function()
        local dir = helper.tmpdir()
        misuse("mp.chunks: cannot read " .. dir .. "/none: No such file or directory",
            function() mp.chunks(dir .. "/none") end)
        misuse("mp.chunks: " .. dir .. " is no file", function() mp.chunks(dir) end)
        misuse("mp.chunks: expected the path of a file, not nothing", function() mp.chunks() end)
        misuse("mp.chunks: /proc/self/maps does not say how long it is: io.lines gives its lines",
            function() mp.chunks("/proc/self/maps") end)
        assert.equal(0, #mp.chunks("/dev/null"))
        misuse("mp.chunks: the size must be a number of bytes from 1 on", function() mp.chunks("/dev/null", 0) end)
        misuse("mp.chunks: the size must be a number of bytes from 1 on", function() mp.chunks("/dev/null", "big") end)
    end)
end)

describe("what is no input", function()
    it("is refused at the caller's line, with advice", function()
        with_pool(1, function(pool)
            misuse("pool:map: the input is the function 'pairs'; give it the table",
                function() pool:map(same, pairs) end)
            misuse("pool:map: the input is the function 'ipairs'; give it the table",
                function() pool:map(same, ipairs { 1 }) end)
            misuse("pool:imap: the input is the function 'next'", function() pool:imap(same, pairs { 1 }) end)
            misuse("mp.each: the input is the function 'next'", function() mp.each(same, pairs { 1 }) end)
            misuse("pool:each: the input is a table with keys and no items: a list is wanted (of its keys",
                function() pool:each(same, { a = 1, b = 2 }) end)
            misuse("the input must be a list, a range, a queue, chunks or a function, not nothing",
                function() pool:map(same) end)
            misuse("the input must be a list, a range, a queue, chunks or a function, not 7",
                function() pool:filter(same, 7) end)
            misuse("the input must be", function() pool:find(same, "text") end)
            misuse("the input must be", function() pool:map(same, (mp.pipe())) end)
            misuse("the input must be", function() pool:reduce(same, io.stdout, 0) end)
        end)
        local hole = { 1, 2 }
        hole[7] = 7
        misuse("mp.map: the input is a list of 2 items, and has one at 7: give it 'n'",
            function() mp.map(same, hole) end)
        hole.n = 7
        assert.equal(7, mp.map(same, hole)[7])
        misuse("mp.map: the input is a table with keys and no items", function() mp.map(same, { a = 1 }) end)
        misuse("mp.imap: the input must be", function() mp.imap(same, true) end)
    end)
end)
