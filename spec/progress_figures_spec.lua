-- progress_figures_spec.lua: what a script is told of how far its calls and loops are, and what they have cost.
local helper = require "spec.helper"
local mp = require "luamp"
local figures = require "luamp.figures"

describe("the texts", function()
    it("of times, rates and sizes have the digits that count", function()
        local function all(f, values)
            local list = {}
            for i, value in ipairs(values) do list[i] = f(value) end
            return table.concat(list, ", ")
        end
        assert.equal("0.0 s, 9.9 s, 10 s, 1:00, 59:59, 1:00:00, 23:59:59, 1 d 0 h, 40 d 3 h, 9999 d 0 h, 9999 d 0 h",
            all(figures.duration, { 0, 9.94, 9.96, 59.6, 3599, 3600, 86399, 86400, 3466800, 1e30, math.huge }))
        assert.equal("2.0 s each, 1:40 each, 1.0/s, 9.9/s, 10/s, 9999/s, 12k/s, 3.2M/s, 9999 d 0 h each",
            all(figures.rate, { 0.5, 0.01, 1, 9.94, 9.96, 9999, 12345, 3.21e6, 1e-30 }))
        assert.equal("0, 999, 1.0K, 2.5M, 88M, 1.5G, 2.0T",
            all(figures.bytes, { 0, 999, 1024, 2.5 * 2 ^ 20, 88 * 2 ^ 20, 1.5 * 2 ^ 30, 2 ^ 41 }))
    end)

    it("of labels take one row, and say nothing to a terminal", function()
        assert.equal("a b [31m c", figures.clip("a\nb\27[31m\tc", 20))
        assert.equal("caf?? au lait", figures.clip("caf\xe9\xe9 au lait", 20))
        assert.same({ 5, 6, 1 }, { figures.cells "größe", figures.cells "日本語", figures.cells "e\u{301}" })
        assert.equal("日本...", figures.clip("日本語日本語", 8))
        assert.equal("..", figures.clip("abc", 2))
    end)

    it("of lines fit into any width", function()
        local f = { done = 7, total = 12, failed = 2, rate = 0.3, eta = 17.0, elapsed = 5, busy = 0.5 }
        for _, style in ipairs { { has_utf8 = true }, { has_utf8 = false, has_color = true } } do
            for width = 0, 200 do
                for n = 1, 4 do
                    local list = {}
                    for i = 1, n do list[i] = { label = "a label, " .. i, figures = f } end
                    local text, cells = figures.row(list, width, style)
                    assert.equal(figures.cells((text:gsub("\27%[%d+m", ""))), cells)
                    assert.is_true(cells <= width, text)
                end
            end
        end
    end)

    it("of several things leave none out without a word", function()
        local f = { done = 1, total = 2, failed = 0, rate = 1, eta = 1, elapsed = 1 }
        local list = {}
        for i = 1, 9 do list[i] = { label = "n" .. i, figures = f } end
        assert.matches("^n1 .* | n2 .* | %+7$", (figures.row(list, 40, {})))
    end)
end)

describe("the rate", function()
    it("is the mean at first, and follows what changes", function()
        local g = figures.gauge(100)
        figures.feed(g, 101, 10, 0)
        assert.same({ 10, 10.0, 9.0 }, { g.done, figures.read(g, 100).rate, figures.read(g, 100).eta })
        for i = 1, 100 do figures.feed(g, 101 + i, 10, 0) end
        assert.is_true(figures.read(g, 100).rate < 0.1)
        for i = 1, 100 do figures.feed(g, 201 + i, 10 + 20 * i, 0) end
        assert.is_true(math.abs(figures.read(g).rate - 20) < 2)
        assert.is_nil(figures.read(g).eta)
        assert.equal(0.0, figures.read(g, 2010).eta)
    end)

    it("is without what was known from before", function()
        local g = figures.gauge(0)
        figures.feed(g, 1, 1000, 0, nil, 990)
        assert.same({ 1000, 10.0, 100.0 }, { g.done, figures.read(g, 2000).rate, figures.read(g, 2000).eta })
        figures.feed(g, 2, 2000, 0, nil, 1980)
        assert.is_true(math.abs(figures.read(g).rate - 10) < 0.01)
    end)

    it("may come to next to nothing, in days in which nothing ends", function()
        local g = figures.gauge(0)
        figures.feed(g, 0.5, 1, 0)
        for i = 1, 5 * 86400 * 10, 10 do figures.feed(g, i / 10, 1, 0) end
        local f = figures.read(g, 1000000)
        assert.is_true(f.eta > 86400 * 2.0 ^ 63) -- no number of days that is an integer
        assert.matches(" 1/1000000  9999 d 0 h each  9999 d 0 h left$", (figures.line("", f, 90, {})))
    end)
end)

describe("the option progress as a function", function()
    it("is given the figures while the call goes on, and at its end", function()
        local seen, began = {}, mp.clock()
        local pool <close> = mp.pool(2)
        local _, failures = pool:map(function(i)
            mp.sleep(0.02)
            if i % 10 == 0 then error("no", 0) end
        end, mp.range(1, 40), { on_error = "collect", progress = function(p) seen[#seen + 1] = p end })
        local took = mp.clock() - began
        assert.equal(4, #failures)
        assert.is_true(#seen >= 3 and #seen <= took * 10 + 2, #seen .. " in " .. took)
        for i, p in ipairs(seen) do
            assert.equal(40, p.total)
            local before = seen[i - 1] or { done = 0, failed = 0, elapsed = 0 }
            assert.is_true(p.done >= before.done and p.failed >= before.failed and p.elapsed >= before.elapsed)
            assert.is_true(p.busy >= 0 and p.busy <= 1)
            if p.rate > 0 then assert.is_true(math.abs(p.eta - (40 - p.done) / p.rate) < 1e-6) end
        end
        local last = seen[#seen]
        assert.same({ 40, 4, 0.0 }, { last.done, last.failed, last.eta })
        assert.is_true(last.elapsed <= took and last.rate > 0)
    end)

    it("ends the call by what it raises, and may ask the pool", function()
        local pool <close> = mp.pool(1)
        local told = {}
        local e = helper.fails({}, pool.map, pool, function() mp.sleep(0.05) end, mp.range(1, 1000),
            { chunksize = 1, progress = function() error(told) end })
        assert.equal(told, e)
        local n
        pool:map(function() mp.sleep(0.05) end, mp.range(1, 8), { chunksize = 1, progress = function(p)
            n = p.done < 8 and pool:apply(math.max, p.done, 1) or n
        end })
        assert.is_true(n >= 1 and n < 8)
        helper.fails("at the end", pool.map, pool, function() end, { 1, 2 }, { progress = function(p)
            if p.done == 2 then error("at the end", 0) end
        end })
        helper.fails("at the end of find", pool.find, pool, function(x) return x == 2 end, { 1, 2 },
            { progress = function() error("at the end of find", 0) end })
        assert.same({ 2 }, pool:map(function(x) return x end, { 2 }))
    end)

    it("does not go back when tasks of a batch are run again", function()
        local pool <close> = mp.pool(1)
        local seen, last = 0
        pool:map(function()
            mp.sleep(0.02)
            if mp.worker.attempt == 1 then error("again", 0) end
        end, mp.range(1, 40), { retries = 1, progress = function(p)
            assert(p.done >= seen, "it went back")
            seen, last = p.done, p
        end })
        assert.same({ 40, 0 }, { last.done, last.failed })
    end)

    it("has no total before it is known; a reduction counts items", function()
        local pool <close> = mp.pool(2)
        local last
        local function note(p) last = p end
        local n = 0
        assert.equal(5050, pool:reduce(function(a, b) return a + b end, mp.range(1, 100), 0, nil,
            { progress = note, chunksize = 7 }))
        assert.same({ 100, 100 }, { last.done, last.total })
        assert.equal(5050, pool:reduce(function(a, b) return a + b end, function()
            n = n + 1
            return n <= 100 and n or nil
        end, 0, nil, { progress = note, chunksize = 7 }))
        assert.same({ 100, 100 }, { last.done, last.total })
        local totals = {}
        pool:each(function() mp.sleep(0.01) end, coroutine.wrap(function()
            for i = 1, 40 do coroutine.yield(i) end
        end), { window = 2, progress = function(p) totals[#totals + 1] = p.total or "unknown" end })
        assert.same({ "unknown", 40 }, { totals[1], totals[#totals] })
    end)

    it("is told of every call, and by a pool without workers", function()
        local script = [[
            local pool <close> = mp.pool(2)
            local input, last = { 1, 2, 3, 4 }
            local options = { progress = function(p) last = p.done end, on_error = "collect" }
            local function f(x) return x end
            local function show(name) print(name, last) last = nil end
            pool:map(f, input, options) show "map"
            pool:starmap(f, { { 1 }, { 2 } }, options) show "starmap"
            pool:each(f, input, options) show "each"
            pool:filter(f, input, options) show "filter"
            pool:find(function(x) return x == 5 end, input, options) show "find"
            for _ in pool:imap(f, input, options) do end show "imap"
            for _ in pool:imap_unordered(f, input, options) do end show "imap_unordered"
            pool:map_async(f, input, options):result() show "map_async"
            for _, name in ipairs { "map", "each", "filter", "find" } do
                mp[name](f, input, { progress = options.progress, workers = 1 }) show("mp." .. name)
            end
            mp.reduce(function(a, b) return a + b end, input, 0, nil, options) show "mp.reduce"]]
        local expected = "map\t4\nstarmap\t2\neach\t4\nfilter\t4\nfind\t4\nimap\t4\nimap_unordered\t4\nmap_async\t4\n"
            .. "mp.map\t4\nmp.each\t4\nmp.filter\t4\nmp.find\t%d\nmp.reduce\t4\n"
        for _, backend in ipairs { "process", "serial" } do
            local run = helper.script_run(script, nil, { env = { LUAMP_BACKEND = backend } })
            assert.same({ "", 0 }, { run.stderr, run.status })
            assert.matches("^" .. expected:gsub("%%d", "\0"):gsub("%p", "%%%0"):gsub("%z", "%%d") .. "$", run.stdout)
        end
    end)

    it("must be one, or true, or a label", function()
        local pool <close> = mp.pool(1)
        helper.misuse("pool:map: option 'progress' must be true, a label or a function, not 5",
            function() pool:map(print, {}, { progress = 5 }) end)
        helper.misuse("mp.each: option 'progress' must be true, a label or a function, not the string \"\"",
            function() mp.each(print, {}, { progress = "" }) end)
        assert.same({}, pool:map(print, {}, { progress = false }))
    end)
end)

describe("the receipt", function()
    it("has the CPU time of all workers, of those that have gone and of what they have run", function()
        local run = helper.script_run [[
            local function burn(n) local c = os.clock() while os.clock() - c < n do end end
            local pool <close> = mp.pool { workers = 2, max_tasks = 1 }
            pool:map(function(i)
                if i == 1 then burn(0.3) end
                if i == 2 then os.execute "i=0; while [ $i -lt 10000 ]; do i=$((i+1)); done" end
                if i == 3 then burn(0.3) os.execute("kill -KILL " .. mp.getpid()) end
                if i == 4 then local t = ("x"):rep(50 << 20) return #t end
            end, { 1, 2, 3, 4 }, { progress = true, on_error = "collect", chunksize = 1 })]]
        local cpu, peak = ("\n" .. run.stderr)
            :match "\nmap: 4 tasks, 1 failed, .*CPU ([%d.]+) s .*peak memory (%d+)M\n$"
        assert(cpu, run.stderr)
        assert.is_true(tonumber(cpu) > 0.62 and tonumber(cpu) < 8, run.stderr)
        assert.is_true(tonumber(peak) >= 50 and tonumber(peak) < 400, run.stderr)
    end)
end)

describe("mp.progress", function()
    it("gives all that the iterator gives, for lists and iterators of each kind", function()
        local lines = helper.script_run [[
            local function all(...)
                local seen = {}
                for a, b, c in ... do seen[#seen + 1] = table.concat({ tostring(a), tostring(b), tostring(c) }, " ") end
                print(table.concat(seen, ", "))
            end
            all(mp.progress { "x", "y" })
            all(mp.progress({ "x", nil, "y", n = 3 }, nil, "label"))
            all(mp.progress(mp.range(5, 6)))
            all(mp.progress(ipairs { "x", "y" }))
            all(mp.progress(pairs { k = "v" }))
            all(mp.progress(("a b"):gmatch "%a", 2))
            all(mp.progress(function(s, c) return c < s and c + 1 or nil end, {}, 0))]]
        assert.equal("1 x nil, 2 y nil\n1 x nil, 2 nil nil, 3 y nil\n1 5 nil, 2 6 nil\n1 x nil, 2 y nil\nk v nil\n"
            .. "a nil nil, b nil nil\n", lines.stdout)
        local labels = { "loop: 2 items", "label: 3 items", "loop: 2", "loop: 2", "loop: 1 item,", "loop: 2" }
        for i, label in ipairs(labels) do
            local line = select(i, lines.stderr:match(("([^\n]*)\n"):rep(6)))
            assert.equal(1, line:find(label, 1, true), line)
        end
        assert.matches("attempt to compare", lines.stderr)
    end)

    it("closes what the iterator is to close, and says where it was left", function()
        local run = helper.script_run [[
            local file = assert(io.open("lines.txt", "w"))
            file:write "1\n2\n3\n"
            file:close()
            for line in mp.progress(io.lines "lines.txt") do if line == "2" then break end end
            print(pcall(function()
                for i in mp.progress(mp.range(1, 10)) do if i == 4 then error("in the loop", 0) end end
            end))
            local closed
            local closing = setmetatable({}, { __close = function(_, e) closed = e or "well" end })
            for _ in mp.progress(function() return nil end, nil, nil, closing) do end
            print(closed)
            os.remove "lines.txt"]]
        assert.equal("false\tin the loop\nwell\n", run.stdout)
        assert.matches("^loop: 1 of an unknown number of items, [^\n]*\nloop: 3 of 10 items, [^\n]*\nloop: 0 items",
            run.stderr)
    end)

    it("says what it cannot do", function()
        helper.misuse("mp.progress: expected an iterator or a list, not nothing", function() mp.progress() end)
        helper.misuse("mp.progress: the total must be a count, not -1", function() mp.progress(pairs, -1) end)
        helper.misuse("mp.progress: the total must be a count, not 1.5", function() mp.progress(pairs, 1.5) end)
        helper.misuse("mp.progress: the label must be a string, not 5", function() mp.progress({ 1 }, nil, 5) end)
    end)
end)
