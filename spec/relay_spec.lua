-- relay_spec.lua: what the workers of a pool write, by the pool's options `output` and `tag`.
local helper = require "spec.helper"
local mp = require "luamp"
local relayed = require "spec.relayed"

local misuse = helper.misuse

local output_of, lines_of, sorted = relayed.output_of, relayed.lines_of, relayed.sorted

describe("the options output and tag", function()
    it("are checked where the pool is made", function()
        misuse("mp.pool: option 'output' must be \"inherit\", \"line\", \"group\" or \"ordered\", not the string "
            .. "\"lines\" (did you mean 'line'?)", function() mp.pool { output = "lines" } end)
        misuse("mp.pool: option 'output' must be a string", function() mp.pool { output = true } end)
        misuse("mp.pool: option 'tag': unknown field '{tsk}' (did you mean 'task'?)",
            function() mp.pool { output = "line", tag = "{tsk}: " } end)
        misuse("mp.pool: option 'tag' must be true, or the text before each line, as \"{name} {task}: \", not 3",
            function() mp.pool { output = "line", tag = 3 } end)
        misuse("mp.pool: option 'tag' must be true", function() mp.pool { output = "line", tag = "a\n" } end)
        misuse("mp.pool: option 'tag' is for output that is relayed, and 'output' is \"inherit\"",
            function() mp.pool { output = "inherit", tag = true } end)
        misuse("mp.map: option 'output' must be", function() mp.map(print, { 1 }, { output = "no" }) end)
    end)
end)

describe("output = \"line\"", function()
    it("gives whole lines of all workers and their programs, each stream to its own", function()
        local out, err = output_of([[
            mp.map(function(i)
                for part in ("line %d of task\n"):format(i):gmatch "..?" do
                    io.write(part)
                    io.stdout:flush()
                end
                io.stderr:write("error ", i, "\n")
                os.execute("echo program " .. i .. "; echo its error " .. i .. " >&2")
                local f = io.popen("cat", "w")
                f:write("piped ", i, "\n")
                f:close()
                local p = mp.process { command = { "sh", "-c", "echo command " .. i } }
                p:start():join()
            end, { 1, 2, 3, 4 }, { output = "line", workers = 4 })]], nil, { has_stderr = true })
        local expected, expected_err = {}, {}
        for i = 1, 4 do
            for _, what in ipairs { "line %d of task", "program %d", "piped %d", "command %d" } do
                expected[#expected + 1] = what:format(i)
            end
            for _, what in ipairs { "error %d", "its error %d" } do
                expected_err[#expected_err + 1] = what:format(i)
            end
        end
        assert.same(sorted(expected), sorted(lines_of(out)))
        assert.same(sorted(expected_err), sorted(lines_of(err)))
    end)

    it("breaks no line of many workers that write parts of lines", function()
        local out = output_of [[
            mp.each(function(i)
                for k = 1, 500 do
                    io.write(i, " ", k)
                    io.stdout:flush()
                    io.write(" ", ("x"):rep(i * 7 % 50), " end\n")
                    if k % 3 == 0 then io.stdout:flush() end
                end
            end, mp.range(1, 8), { output = "line", workers = 4, chunksize = 1 })]]
        local next_of = {}
        for _, line in ipairs(lines_of(out)) do
            local i, k, x = line:match "^(%d) (%d+) (x*) end$"
            assert.is_truthy(i, line)
            i = math.tointeger(i)
            next_of[i] = (next_of[i] or 0) + 1
            assert.same({ next_of[i], i * 7 % 50 }, { math.tointeger(k), #x })
        end
        for i = 1, 8 do assert.equal(500, next_of[i]) end
    end)

    it("gives all that killed workers wrote, and ends the line that they did not", function()
        local out = output_of [[
            local pool = mp.pool { workers = 2, output = "line" }
            local _, errors = pool:map(function(i)
                print("begun " .. i)
                io.write("last words of ", i)
                io.stdout:flush()
                if i % 3 == 0 then os.execute("kill -9 $PPID") end
                io.write("; it lives\n")
            end, mp.range(1, 30), { on_error = "collect", chunksize = 1 })
            io.write(#errors, " were killed\n")
            pool:close()
            pool:join()]]
        local counts = {}
        for _, line in ipairs(lines_of(out)) do
            local what = line:gsub("%d+", "N")
            counts[what] = (counts[what] or 0) + 1
        end
        assert.same({ ["begun N"] = 30, ["last words of N"] = 10, ["last words of N; it lives"] = 20,
            ["N were killed"] = 1 }, counts)
    end)

    it("keeps the order in which a worker writes to stdout and stderr, also around programs", function()
        local out = output_of([[
            mp.each(function()
                for k = 1, 50 do
                    print("out " .. k)
                    io.stderr:write("err ", k, "\n")
                    io.write("buffered ", k, "\n")
                    io.stderr:write("again ", k, "\n")
                    if k % 10 == 0 then
                        print "before it"
                        os.execute "echo program >&2"
                        print "after it"
                    end
                end
            end, { 1 }, { output = "line", workers = 1 })]], "exec 2>&1")
        local expected = {}
        for k = 1, 50 do
            for _, what in ipairs { "out ", "err ", "buffered ", "again " } do expected[#expected + 1] = what .. k end
            if k % 10 == 0 then
                table.insert(expected, "before it")
                table.insert(expected, "program")
                table.insert(expected, "after it")
            end
        end
        assert.same(expected, lines_of(out))
    end)

    it("is out before anybody has the results, by each way to get them", function()
        local path = helper.tmpdir() .. "/out"
        local result = helper.script_run(([[
            local function count()
                local n = 0
                for _ in io.lines(%q) do n = n + 1 end
                return n
            end
            local function f(i) print(i) return i end
            local pool = mp.pool { workers = 2, output = "line" }
            local seen = {}
            pool:map(f, mp.range(1, 10))
            seen[#seen + 1] = count()
            for i = 1, 20 do pool:apply(f, i) end
            seen[#seen + 1] = count()
            for i = 1, 10 do pool:submit(f, i):result() end
            seen[#seen + 1] = count()
            for i in pool:imap(f, mp.range(1, 10), { window = 1 }) do
                assert(count() >= 40 + i)
            end
            mp.map(f, mp.range(1, 5), { output = "line" })
            seen[#seen + 1] = count()
            io.stderr:write(table.concat(seen, " "))
            pool:close()
            pool:join()]]):format(path), "exec >" .. path)
        assert.same({ 0, "10 30 40 55" }, { result.status, result.stderr })
    end)

    it("comes while a task runs, within the owner's waits for the pool or for other things", function()
        for _, wait in ipairs { "pool:map(talk, { 1 })",
            "local fut = pool:submit(talk) while not has_ended() do mp.sleep(0.01) end fut:result()" } do
            local path = helper.tmpdir() .. "/out"
            local result = helper.script_run(([[
                local path = %q
                local function talk()
                    print "hello" -- and goes on when that has arrived
                    repeat
                        mp.sleep(0.005)
                        local f = assert(io.open(path))
                        local text = f:read "a"
                        f:close()
                    until text == "hello\n"
                end
                local function has_ended() return mp.wait({}, 0) and pool_is_idle() end
                local pool = mp.pool { workers = 1, output = "line" }
                function pool_is_idle() return pool:stats().running == 0 and pool:stats().queued == 0 end
                %s
                pool:close()
                pool:join()]]):format(path, wait), "exec >" .. path)
            assert.same({ 0, "" }, { result.status, result.stderr })
        end
    end)

    it("is the same as the tasks wrote, whatever the size and the bytes", function()
        local out = output_of [[
            local bytes = {}
            for i = 0, 255 do bytes[#bytes + 1] = string.char(i) end
            local all = table.concat(bytes)
            mp.each(function()
                for _ = 1, 2000 do io.write(all:rep(16)) end -- 8 MiB, of lines with any bytes
                io.write("x", ("y"):rep(3 << 20), "\n") -- longer than any buffer
                for _ = 1, 5 do io.write(("z"):rep(1 << 20)) io.stdout:flush() end
            end, { 1 }, { output = "line" })]]
        local bytes = {}
        for i = 0, 255 do bytes[#bytes + 1] = string.char(i) end
        local expected = table.concat(bytes):rep(32000) .. "x" .. ("y"):rep(3 << 20) .. "\n"
            .. ("z"):rep(5 << 20) .. "\n"
        assert.is_true(out == expected, ("%d bytes in place of %d"):format(#out, #expected))
    end)
end)

describe("a worker whose output is relayed", function()
    it("does not wait for its owner, whatever it writes", function()
        local dir = helper.tmpdir()
        local out = output_of(([[
            local dir = %q
            local pool = mp.pool { workers = 1, output = "line" }
            local fut = pool:submit(function()
                for _ = 1, 300 do io.write(("x"):rep(99999), "\n") end
                io.stdout:flush()
                assert(io.open(dir .. "/written", "w")):close()
            end)
            repeat -- without a call of luamp's
                os.execute "sleep 0.01"
                local f = io.open(dir .. "/written")
            until f and f:close()
            fut:result()
            pool:close()
            pool:join()]]):format(dir))
        assert.equal(30000000, #out)
    end)

    it("begins no other task while 64 MiB are unread", function()
        local dir = helper.tmpdir()
        output_of(([[
            local dir = %q
            local function touch(name) assert(io.open(dir .. "/" .. name, "w")):close() end
            local function is_there(name)
                local f = io.open(dir .. "/" .. name)
                return f and f:close()
            end
            local pool = mp.pool { workers = 1, output = "line" }
            local futures = {}
            futures[1] = pool:submit(function()
                for _ = 1, 70 do io.write(("x"):rep((1 << 20) - 1), "\n") end
                io.stdout:flush()
                touch "first"
            end)
            futures[2] = pool:submit(function() touch "second" end)
            repeat os.execute "sleep 0.01" until is_there "first"
            os.execute "sleep 0.3"
            assert(not is_there "second")
            for _, fut in ipairs(futures) do fut:result() end
            assert(is_there "second")
            pool:close()
            pool:join()]]):format(dir), "exec >/dev/null")
    end)

    it("goes on when one line is longer than that, and its end is still to come", function()
        local dir = helper.tmpdir()
        output_of([[
            local pool = mp.pool { workers = 1, output = "line" }
            local fut = pool:map_async(function(i)
                if i == 4 then io.write "\n" end
                for _ = 1, i < 4 and 35 or 0 do io.write(("x"):rep(1 << 20)) end
                io.stdout:flush()
            end, { 1, 2, 3, 4, 5 }, { chunksize = 1 })
            fut:result(50)
            print "end"
            pool:close()
            pool:join()]], "exec >" .. dir .. "/out")
        local lengths = {}
        for _, line in ipairs(lines_of(helper.read(dir .. "/out"))) do lengths[#lengths + 1] = #line end
        assert.same({ 105 << 20, 3 }, lengths)
    end)

    it("gives the memory of what was given out back", function()
        output_of([[
            local function used() return require "luamp.core".relay.memory(1) end
            local pool = mp.pool { workers = 1, output = "line" }
            pool:apply(function() for _ = 1, 20 do io.write(("x"):rep((1 << 20) - 1), "\n") end end)
            pool:apply(function() end)
            local n = pool:apply(used)
            assert(n <= 2 << 20, n)
            pool:close()
            pool:join()]], "exec >/dev/null")
    end)

    it("keeps what it wrote where a program begins its stream anew, which is refused", function()
        local out = output_of([[
            mp.each(function()
                print "before"
                print(os.execute "(echo anew > /dev/stdout) 2>/dev/null || exit 7")
                os.execute "echo more >> /dev/stdout; echo and more >&1"
            end, { 1 }, { output = "line" })]])
        assert.same({ "before", "nil\texit\t7", "more", "and more" }, lines_of(out))
    end)

    it("may have another file in the place of its stdout", function()
        local out = output_of [[
            local pool = mp.pool { workers = 1, output = "group" }
            pool:map(function(i)
                print("task " .. i)
                if i == 2 then
                    require "luamp.core".close(1) -- as a C module may
                    other = assert(io.open(arg[0])) -- is descriptor 1 now, and longer than what was written
                end
            end, { 1, 2 }, { chunksize = 1 })
            print(select("#", pool:map(function() end, { 1, 2, 3 }, { chunksize = 1 })))
            pool:close()
            pool:join()]]
        assert.same({ "task 1", "task 2", "1" }, lines_of(out))
    end)

    it("keeps the last lines of stderr for an error object, too", function()
        local _, err = output_of([[
            local _, errors = mp.map(function()
                io.stderr:write "it was like this\n"
                os.execute "kill -9 $PPID"
            end, { 1 }, { output = "group", on_error = "collect" })
            assert(tostring(errors[1]):find("it was like this", 1, true), tostring(errors[1]))]], nil,
            { has_stderr = true })
        assert.equal("it was like this\n", err)
    end)
end)

describe("output = \"group\"", function()
    it("keeps what each task has written together, with both streams in their order", function()
        local out = output_of([[
            mp.each(function(i)
                for k = 1, 20 do
                    print(i, k, "out")
                    io.stderr:write(i, "\t", k, "\terr\n")
                    if k == 10 then mp.sleep(0.01) end
                end
            end, mp.range(1, 12), { output = "group", workers = 4, chunksize = 1 })]], "exec 2>&1")
        local lines, seen, at = lines_of(out), {}, 1
        assert.equal(12 * 40, #lines)
        while at <= #lines do
            local i = lines[at]:match "^(%d+)\t"
            assert.is_nil(seen[i])
            seen[i] = true
            for k = 1, 20 do
                assert.equal(("%s\t%d\tout"):format(i, k), lines[at])
                assert.equal(("%s\t%d\terr"):format(i, k), lines[at + 1])
                at = at + 2
            end
        end
    end)

    it("gives it when the task has ended, and not before", function()
        local path = helper.tmpdir() .. "/out"
        local result = helper.script_run(([[
            local gate, begun = mp.queue(), mp.queue()
            local pool = mp.pool { workers = 2, output = "group" }
            local function talk(name, waits)
                print(name .. " begins")
                if waits then begun:put(true) gate:get() end
                print(name .. " ends")
            end
            local slow = pool:submit(talk, "slow", true)
            begun:get()
            pool:apply(math.abs, 1) -- what is there is looked at now
            pool:submit(talk, "quick"):result()
            gate:put(true)
            slow:result()
            pool:close()
            pool:join()]]):format(path), "exec >" .. path)
        assert.same({ 0, "" }, { result.status, result.stderr })
        assert.equal("quick begins\nquick ends\nslow begins\nslow ends\n", helper.read(path))
    end)

    it("is of init and exit, and of what is killed, groups as well", function()
        local out = output_of [[
            local pool = mp.pool { workers = 1, output = "group", tag = "{task} ", init = function() print "init" end,
                exit = function() print "exit" end }
            pool:map(function(i)
                io.write("task ", i)
                if i == 2 then io.stdout:flush() os.execute "kill -9 $PPID" end
                io.write "\n"
            end, { 1, 2, 3 }, { chunksize = 1, on_error = "collect" })
            pool:close()
            pool:join()]]
        assert.same({ "- init", "1 task 1", "2 task 2", "- init", "3 task 3", "- exit" }, lines_of(out))
    end)

    it("of what fails and is run again, one group for each run", function()
        local out = output_of [[
            mp.map(function(i)
                print("task " .. i .. ", run " .. mp.worker.attempt)
                if mp.worker.attempt < 3 then error "again" end
            end, { 1 }, { output = "group", tag = "{task}.{attempt} ", retries = 2, workers = 1 })]]
        assert.same({ "1.1 task 1, run 1", "1.2 task 1, run 2", "1.3 task 1, run 3" }, lines_of(out))
    end)
end)
