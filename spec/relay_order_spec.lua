-- relay_order_spec.lua: what workers write, in the order of the input, after deaths, with tags; and who gives it out.
local helper = require "spec.helper"
local mp = require "luamp"
local relayed = require "spec.relayed"

local output_of, lines_of, sorted = relayed.output_of, relayed.lines_of, relayed.sorted

-- Both write the same, the loop's for what a pool is to write in order.
local function as_a_loop(task, options, n)
    local loop = output_of(("local function f(i) %s end for i = 1, %d do pcall(f, i) end"):format(task, n))
    local pool = output_of(([[
        local function f(i) %s end
        mp.map(f, mp.range(1, %d), { output = "ordered", workers = 4, on_error = "collect", %s })]])
        :format(task, n, options))
    assert.is_true(#loop > 0)
    assert.equal(loop, pool)
end

describe("output = \"ordered\"", function()
    it("is what a loop writes, byte by byte", function()
        as_a_loop([[io.write(i, ";") if i % 7 == 0 then print() end]], "", 3000)
        as_a_loop([[
            local t = os.clock()
            while os.clock() - t < (13 - i) * 0.002 do end
            print(i)
            os.execute("echo program " .. i)
            if i % 3 == 0 then error "fails" end
            io.write("\tand ", ("x"):rep(i * 10000), "\n")]], "chunksize = 1", 12)
    end)

    it("waits for a task that is run again, and leaves one out that was killed for good", function()
        local out = output_of [[
            local _, errors = mp.map(function(i)
                local n = mp.worker.attempt
                if i == 2 and n > 1 then mp.sleep(0.1) end -- the others are done by then
                print(i, n)
                if i == 1 and n == 1 then os.execute "kill -9 $PPID" end
                if i == 2 and n < 3 then error "again" end
                if i == 5 then os.execute "kill -9 $PPID" end
            end, mp.range(1, 8), { output = "ordered", workers = 3, chunksize = 1, retries = 2, on_error = "collect" })
            print(#errors, errors[1].task)]]
        assert.same({ "1\t1", "1\t2", "2\t1", "2\t2", "2\t3", "3\t1", "4\t1", "5\t1", "5\t2", "5\t3", "6\t1", "7\t1",
            "8\t1", "1\t5" }, lines_of(out))
    end)

    it("holds for each call by itself, and for items that start in another order", function()
        local out = output_of [[
            local pool = mp.pool { workers = 2, output = "ordered" }
            local function f(s) print(s) end
            local a, b = {}, {}
            for i = 1, 40 do a[i], b[i] = "a" .. i, "b" .. i end
            local first = pool:map_async(f, a, { weight = function(_, i) return i end })
            local second = pool:map_async(f, b)
            first:result()
            second:result()
            pool:close()
            pool:join()]]
        local n = { a = 0, b = 0 }
        for _, line in ipairs(lines_of(out)) do
            local which, i = line:match "^(.)(%d+)$"
            n[which] = n[which] + 1
            assert.equal(n[which], math.tointeger(i))
        end
        assert.same({ a = 40, b = 40 }, n)
    end)

    it("leaves nothing out of a call that ends before its time", function()
        local out = output_of [[
            local found = mp.find(function(i) print(i) return i == 5 end, mp.range(1, 100), { output = "ordered",
                workers = 1, chunksize = 1 })
            assert(found == 5)
            local ok = pcall(mp.map, function(i)
                print("map " .. i)
                if i == 1 then mp.sleep(60) end
                assert(i < 4, "no more")
            end, mp.range(1, 4), { output = "ordered", workers = 2, chunksize = 1 })
            assert(not ok)]]
        local lines, of_map = lines_of(out), {}
        for at, line in ipairs(lines) do
            if line:find "^map" then of_map[#of_map + 1] = line else assert.equal(tostring(at), line) end
        end
        assert.is_true(#lines >= 9)
        assert.same({ "map 1", "map 2", "map 3", "map 4" }, of_map)
    end)
end)

describe("any output", function()
    -- The lines of each run of each task, in order. A run writes 20 lines, each in two parts, if it is not killed
    -- in between, which depends on its numbers.
    local function runs()
        local list = {}
        for i = 1, 200 do
            local n, has_died = 0, true
            while has_died do
                local lines
                n, lines, has_died = n + 1, {}, false
                for k = 1, 20 do
                    has_died = has_died or (i * 31 + n * 17 + k * 7) % 97 == 0
                    lines[k] = ("%d %d %d%s"):format(i, n, k, has_died and "" or " end")
                    if has_died then break end
                end
                list[#list + 1] = lines
            end
        end
        return list
    end

    local script = [[
        mp.each(function(i)
            local n = mp.worker.attempt
            for k = 1, 20 do
                io.write(i, " ", n, " ", k)
                io.stdout:flush()
                if (i * 31 + n * 17 + k * 7) %% 97 == 0 then os.execute "kill -9 $PPID" end
                io.write " end\n"
            end
        end, mp.range(1, 200), { output = %q, workers = 4, chunksize = 1, retries = 20 })]]

    it("is all there and whole when many workers are killed in the middle of lines, and in its order", function()
        local all, expected = runs(), {}
        for _, lines in ipairs(all) do table.move(lines, 1, #lines, #expected + 1, expected) end
        assert.is_true(#all > 230)
        assert.same(expected, lines_of(output_of(script:format "ordered")))
        local in_groups = lines_of(output_of(script:format "group"))
        local group_at, at = {}, 1
        for _, lines in ipairs(all) do group_at[lines[1]] = lines end
        while at <= #in_groups do
            local lines = group_at[in_groups[at]]
            assert.same(lines, table.move(in_groups, at, at + #(lines or {}) - 1, 1, {}))
            at = at + #lines
        end
        assert.same(sorted(expected), sorted(in_groups))
        assert.same(expected, sorted(lines_of(output_of(script:format "line"))))
    end)
end)

describe("a tag", function()
    it("begins each line, and names the worker, its process or the task", function()
        local out = output_of [[
            local pool = mp.pool { workers = 1, output = "line", tag = true, name = "crawler",
                init = function() print "ready" end }
            pool:map(function(i) io.write("task ", i, "\nand more\n\n") end, { 1, 2 })
            pool:close()
            pool:join()
            mp.each(function(i) print(i) end, { 7, 8 }, { tag = "{worker}/{task}/{attempt}% ", workers = 1 })
            mp.each(function(i) io.write(i) end, { 7, 8 }, { output = "ordered", tag = "{task}: " })
            mp.each(function() print(mp.getpid()) end, { 1 }, { tag = "{pid} " })]]
        local lines = lines_of(out)
        local pid = table.remove(lines)
        assert.equal(pid:match "^%d+" .. " " .. pid:match "%d+$", pid)
        assert.same({ "[crawler.1] ready", "[crawler.1] task 1", "[crawler.1] and more", "[crawler.1] ",
            "[crawler.1] task 2", "[crawler.1] and more", "[crawler.1] ", "1/1/1% 7", "1/2/1% 8", "1: 7", "2: 8" },
            lines)
    end)

    it("stands once in a line, also where its parts are of both streams' turns or come apart", function()
        local out = output_of([[
            mp.each(function()
                io.write "a"
                io.stdout:flush()
                io.stderr:write "e\n"
                io.write "b"
                io.stdout:flush()
                mp.sleep(0.12) -- more than two looks
                io.write("c\n", ("d"):rep(1 << 20), "\n")
            end, { 1 }, { output = arg[1], tag = "> " })]], "exec 2>&1; set -- group")
        assert.equal("> e\n> abc\n> " .. ("d"):rep(1 << 20) .. "\n", out)
    end)
end)

describe("the owner of a pool", function()
    it("says once that its own stream takes no more, and goes on", function()
        local _, err = output_of([[
            local list = mp.map(function(i) print(i) io.stderr:write(i, "\n") return i * i end, { 1, 2, 3 },
                { output = "ordered", chunksize = 1 })
            assert(list[3] == 9)]], "exec >/dev/full", { has_stderr = true })
        assert.equal("luamp: the output of the workers of pool 'worker' is lost: stdout: No space left on device\n"
            .. "1\n2\n3\n", err)
    end)

    it("drops what is for a stream that it has closed", function()
        local _, err = output_of([[
            local list = mp.map(function(i) print(i) io.stderr:write(i, "\n") return i end, { 1, 2 },
                { output = "line", workers = 1 })
            assert(list[2] == 2)]], "exec >&-", { has_stderr = true })
        assert.equal("1\n2\n", err)
    end)

    it("gives what it wrote itself before what comes after that", function()
        local out = output_of [[
            local pool = mp.pool { workers = 1, output = "line" }
            io.write "owner, buffered\n"
            pool:each(print, { "worker" })
            io.write "owner again\n"
            pool:close()
            pool:join()]]
        assert.same({ "owner, buffered", "worker", "owner again" }, lines_of(out))
    end)

    it("gives what is there when it ends all at once, or its script does", function()
        local out = output_of [[
            local begun = mp.queue()
            local function talk(name)
                io.write(name, " line\n", name, " rest")
                io.stdout:flush()
                begun:put(1)
                mp.sleep(60)
            end
            for _, mode in ipairs { "line", "group", "ordered" } do
                local pool = mp.pool { workers = 1, output = mode }
                pool:submit(talk, mode)
                begun:get()
                pool:terminate()
                print("terminated")
            end
            left = mp.pool { workers = 1, output = "line" }
            left:submit(talk, "left")
            begun:get()
            os.exit(0, true)]]
        local expected = {}
        for _, mode in ipairs { "line", "group", "ordered" } do
            for _, what in ipairs { mode .. " line", mode .. " rest", "terminated" } do
                expected[#expected + 1] = what
            end
        end
        expected[#expected + 1], expected[#expected + 2] = "left line", "left rest"
        assert.same(expected, lines_of(out))
    end)

    it("is interrupted like any other, and its workers' lines are whole", function()
        for _, mode in ipairs { "line", "group" } do
            local path = helper.tmpdir() .. "/out"
            local result = helper.script_run(([[
                mp.map(function(i)
                    for k = 1, math.huge do
                        print(i, k, "end")
                        if i == 1 and k == 1000 then os.execute("kill -INT " .. mp.getppid()) end
                    end
                end, { 1, 2 }, { output = %q, workers = 2 })]]):format(mode), "exec >" .. path)
            assert.equal(130, result.status)
            assert.equal(1, select(2, result.stderr:gsub("\n", "")), result.stderr)
            local lines = lines_of(helper.read(path))
            local n_torn = 0
            for _, line in ipairs(lines) do n_torn = n_torn + (line:find "^%d\t%d+\tend$" and 0 or 1) end
            assert.is_true(#lines >= 1000 and n_torn <= 2, n_torn .. " lines are torn, of two workers")
        end
    end)

    it("may be a worker itself, or have no workers", function()
        local text = [[
            mp.each(function(i)
                mp.each(function(k) print(i, k) end, { 1, 2 }, { output = "ordered", tag = "in: ", workers = 2 })
            end, { 1, 2, 3 }, { output = "ordered", workers = 2 })]]
        local out = output_of(text)
        assert.equal("in: 1\t1\nin: 1\t2\nin: 2\t1\nin: 2\t2\nin: 3\t1\nin: 3\t2\n", out)
        assert.equal((out:gsub("in: ", "")), output_of(text, "export LUAMP_BACKEND=serial"))
    end)

    it("has workers replaced, added and let go as ever", function()
        local out = output_of [[
            local pool = mp.pool { workers = 1, output = "ordered", max_tasks = 2 }
            local function f(i) print(i) return i end
            assert(#pool:map(f, mp.range(1, 9), { chunksize = 1 }) == 9)
            pool:resize(3)
            pool:map(f, mp.range(10, 20))
            pool:resize(1)
            pool:map(f, mp.range(21, 30))
            pool:close()
            pool:join()]]
        local expected = {}
        for i = 1, 30 do expected[i] = tostring(i) end
        assert.same(expected, lines_of(out))
    end)

    it("keeps no descriptor of it", function()
        for _, mode in ipairs { "line", "group", "ordered" } do
            local before = helper.fds()
            local pool = mp.pool { workers = 3, output = mode, max_tasks = 5 }
            pool:map(function(i) return i end, mp.range(1, 50), { chunksize = 1 })
            pool:close()
            pool:join()
            assert.same(before, helper.fds())
        end
    end)
end)
