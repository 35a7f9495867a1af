-- examples_spec.lua: every script of scripts/ does what it says, and its page
-- shows what it prints.
local helper = require "spec.helper"
local driver = require "spec.driver"
local example = require "spec.example"
local lfs = require "lfs"
local mp = require "luamp"

local root, run, run_with = example.root, example.run, example.run_with
local succeeds, files = example.succeeds, example.files
local page = helper.read "scripts/README.md"
local host = helper.quote(helper.host)

-- The page

-- The blocks of a script on the page: {command=, output=}.
local function blocks(name)
    local start = page:find("\n## " .. name, 1, true)
    local section = start and page:sub(start + 1):match "^[^\n]*\n(.-\n)%f[#\0]#?#?" or ""
    local found = {}
    for command, output in section:gmatch "\n```\n%$ ([^\n]*)\n(.-\n?)```\n" do
        table.insert(found, { command = command, output = output })
    end
    return found
end

-- What may differ from run to run or from Lua to Lua: which of two processes
-- prints first, and what a traceback calls a function.
local function settled(text)
    return (text:gsub("(the square[^\n]*\n)(the cube[^\n]*\n)", "%2%1"):gsub("(\n\t[^\n]-): in [^\n]*", "%1"))
end

-- The words on the page that stand for numbers, as a pattern.
local function pattern_of(text)
    return "^" .. text:gsub("%p", "%%%0"):gsub("PID", "%%d+"):gsub("CPUS", "%%d+")
        :gsub("TIME", "[%%d.]+ [mun]?s"):gsub("NUMBER", "[%%d.]+") .. "$"
end

describe("the page of the examples", function()
    local scripts = files("scripts", "%.lua$")
    local spec = helper.read "spec/examples_spec.lua" .. helper.read "spec/pool_examples_spec.lua"

    it("lists every script, which a spec here is about and whose head says how to run it", function()
        assert.is_true(#scripts >= 6)
        for _, path in ipairs(scripts) do
            local name = path:match "[^/]*$"
            local text = helper.read(path)
            assert.is_true(#blocks(name) > 0, path)
            assert.is_truthy(spec:find(('\ndescribe("%s"'):format(name), 1, true), path)
            assert.equal(1, text:find("-- " .. name, 1, true), path)
            assert.is_truthy(text:find("\n--   luamp " .. path, 1, true), path)
        end
    end)

    for _, path in ipairs(scripts) do
        local name = path:match "[^/]*$"
        it("shows what " .. name .. " prints", function()
            for _, block in ipairs(blocks(name)) do
                local result = run(block.command)
                assert.equal(0, result.status, result.stderr)
                local shown, printed = settled(block.output), settled(result.stdout)
                if not printed:find(pattern_of(shown)) then
                    assert.equal(shown, printed)
                end
            end
        end)
    end
end)

-- The scripts

describe("cpu_count.lua", function()
    it("tells the machine's CPUs, and fewer where the process may use fewer", function()
        local function figures(env)
            local text = succeeds(run("luamp scripts/cpu_count.lua", env))
            local usable, all, cores = text:match "(%d+)\n[^\n]* (%d+)\n[^\n]* (%d+)\n$"
            return tonumber(usable), tonumber(all), tonumber(cores)
        end
        local usable, all, cores = figures()
        assert.equal(tonumber(helper.run("getconf _NPROCESSORS_ONLN").stdout), all)
        assert.is_true(1 <= usable and usable <= all)
        assert.is_true(1 <= cores and cores <= all)
        assert.equal(1, (figures { LUAMP_CPUS = "1" }))
    end)
end)

describe("cube_square.lua", function()
    local function print_all()
        return succeeds(run "luamp scripts/cube_square.lua")
    end

    it("prints DONE after what the process printed", function()
        local first = "One after the other\nthe cube of 10 is 1000\nDONE\nthe square of 10 is 100\nDONE"
        assert.equal(first, print_all():match "^(.-)\n\n")
    end)

    it("has processes that are alive between start and end", function()
        local states = {}
        for state in print_all():gmatch "alive [^\n]*" do
            table.insert(states, state)
        end
        assert.same({
            "alive before the start:\tfalse\tfalse",
            "alive in between:\ttrue\ttrue",
            "alive after the join:\tfalse\tfalse",
        }, states)
    end)

    it("has processes with pids of their own", function()
        local seen, parents = {}, {}
        for pid, parent in print_all():gmatch "process (%d+), a child of process (%d+)" do
            assert.not_equal(pid, parent)
            seen[pid], parents[parent] = true, true
        end
        assert.equal(2, #require("pl.tablex").keys(seen))
        assert.equal(1, #require("pl.tablex").keys(parents))
    end)
end)

describe("histogram.lua", function()
    -- How many words there are of each length, up to 20, and how long the longest is.
    local function counted(paths)
        local counts, longest = {}, 0
        for _, path in ipairs(paths) do
            for word in helper.read(path):gmatch "%a+" do
                local n = math.min(#word, 20)
                counts[n] = (counts[n] or 0) + 1
                longest = math.max(longest, #word)
            end
        end
        return counts, longest
    end

    it("counts what a loop counts, of files of any size", function()
        local dir = helper.tmpdir()
        local text = helper.read "README.md"
        helper.write(dir .. "/large", text:rep((3 << 20) // #text)) -- of several pieces
        helper.write(dir .. "/one line", ("word and "):rep(300000) .. ("x"):rep(77))
        local paths, words = files(dir, "%a"), {}
        for i, path in ipairs(paths) do words[i] = helper.quote(path) end
        local printed = succeeds(run("luamp scripts/histogram.lua LICENSE " .. table.concat(words, " ")))
        local counts, longest = counted { "LICENSE", table.unpack(paths) }
        local found = {}
        for n, count in printed:gmatch "%f[^\n\0] *(%d+) +(%d+) #+\n" do
            found[math.tointeger(n)] = math.tointeger(count)
        end
        assert.same(counts, found)
        assert.equal(tostring(longest), printed:match "the longest of (%d+) letters\n$")
    end)

    it("says what it cannot count", function()
        for command, expected in pairs {
            ["luamp scripts/histogram.lua"] = "no file is given; usage: histogram.lua FILE...",
            ["luamp scripts/histogram.lua no/such"] = "mp.chunks: cannot read no/such: No such file or directory",
            ["luamp scripts/histogram.lua /dev/null"] = "there is no word in it",
        } do
            local result = run(command)
            assert.same({ 1, "", "histogram: " .. expected .. "\n" }, { result.status, result.stdout, result.stderr })
        end
    end)
end)

describe("primes.lua", function()
    it("counts right, however many processes share the range", function()
        for limit, expected in pairs {
            [0] = { 0, "none", 0 },
            [1] = { 0, "none", 0 },
            [2] = { 1, 2, 0 },
            [10] = { 4, 7, 2 },
            [100] = { 25, 97, 8 },
            [1000] = { 168, 997, 35 },
            [100000] = { 9592, 99991, 1224 },
        } do
            for _, n in ipairs { 1, 7 } do
                local text = succeeds(run_with(n, "primes.lua", tostring(limit)))
                assert.same({ tostring(expected[1]), tostring(expected[2]), tostring(expected[3]), tostring(n) },
                    { text:match ":%s+(%w+)\n[^\n]-:%s+(%w+)\n[^\n]-:%s+(%w+)\n[^\n]-:%s+(%w+)\n$" })
            end
        end
    end)

    it("takes nothing but a whole number", function()
        for _, word in ipairs { "x", "1.5", "-1" } do
            local result = run_with(1, "primes.lua", word)
            assert.same({ 1, "usage: primes.lua [N], a whole number\n" }, { result.status, result.stderr })
        end
    end)
end)

describe("mandelbrot.lua", function()
    local WIDTH, HEIGHT = 720, 480

    local function draw(n)
        local result = run_with(n, "mandelbrot.lua", "image.ppm")
        succeeds(result)
        return helper.read(result.cwd .. "/image.ppm")
    end

    it("draws the set, the same by any number of processes", function()
        local image = draw(1)
        local size, pixels = image:match "^P6\n(%d+ %d+)\n255\n(.*)$"
        assert.equal(WIDTH .. " " .. HEIGHT, size)
        assert.equal(WIDTH * HEIGHT * 3, #pixels)
        local inside = 0
        for pixel in pixels:gmatch "..." do
            inside = inside + (pixel == "\0\0\0" and 1 or 0)
        end
        local area = inside * 0.005 ^ 2
        assert.is_true(1.50 < area and area < 1.55, "an area of " .. area)
        assert.is_true(image == draw(5))
    end)

    it("fails at once when the file cannot be written", function()
        local result = run_with(1, "mandelbrot.lua", "/nowhere/image.ppm")
        assert.equal(1, result.status)
        assert.is_truthy(result.stderr:find("/nowhere/image.ppm: No such file or directory", 1, true))
    end)
end)

describe("killed.lua", function()
    it("reports each uncaught error once, and nothing else", function()
        local result = run "luamp scripts/killed.lua"
        assert.equal(0, result.status)
        local reports, lines = {}, 0
        for line in result.stderr:gmatch "[^\n]+" do
            local report = line:match "^luamp: process '[^']*' %(pid %d+%) failed: (.*)$"
            if report then
                table.insert(reports, (report:gsub("^scripts/killed.lua:%d+: ", "")))
            elseif not line:find "^\t" and line ~= "stack traceback:" then
                lines = lines + 1
            end
        end
        assert.same(
            { "the disk is full", "(error object is a table value)", "stack overflow", "not enough memory" },
            reports
        )
        assert.equal(0, lines, result.stderr)
    end)
end)

describe("wordcount.lua", function()
    -- The same count by other programs, one after the other.
    local function serial(paths, n)
        local list = {}
        for i, path in ipairs(paths) do
            list[i] = helper.quote(path)
        end
        local counted = helper.run(([[
            export LC_ALL=C
            for file in %s; do cat "$file"; echo; done |
                tr A-Z a-z | tr -cs 'a-z0-9\200-\377' '\n' | sed '/^$/d' |
                sort | uniq -c | sort -k1,1nr -k2,2]]):format(table.concat(list, " "))).stdout
        local bytes = 0
        for _, path in ipairs(paths) do
            bytes = bytes + lfs.attributes(path, "size")
        end
        local top, words, different = {}, 0, 0
        for count, word in counted:gmatch " *(%d+) ([^\n]*)\n" do
            words, different = words + tonumber(count), different + 1
            if different <= 10 then
                table.insert(top, ("%8d  %s\n"):format(count, word))
            end
        end
        return table.concat(top) .. ("%d words, %d different; bytes: %d, files: %d, processes: %d\n"):format(
            words, different, bytes, #paths, n)
    end

    local function agrees(paths, n)
        local result = run_with(n, "wordcount.lua", table.unpack(paths))
        assert.equal(serial(paths, n), succeeds(result))
    end

    local function written(...)
        local paths, dir = {}, helper.tmpdir()
        for i, text in ipairs { ... } do
            paths[i] = dir .. "/" .. i
            helper.write(paths[i], text)
        end
        return paths
    end

    it("counts real text as other programs do", function()
        local paths = {}
        for _, folder in ipairs { root .. "/src/engine", root .. "/spec", "/usr/share/common-licenses" } do
            for _, path in ipairs(lfs.attributes(folder) and files(folder, "") or {}) do
                if lfs.attributes(path, "mode") == "file" then
                    table.insert(paths, path)
                end
            end
        end
        assert.is_true(#paths > 20)
        for _, n in ipairs { 1, 2, 7 } do
            agrees(paths, n)
        end
        agrees({ paths[1] }, 4)
    end)

    it("counts a program's bytes, which hardly have lines", function()
        agrees({ helper.luamp }, 3)
    end)

    it("counts files that are empty, or end without the end of a line", function()
        agrees(written "", 3)
        agrees(written("", "a", "", "b a\nA", ""), 2)
        agrees(written("one two\n", "two", "\n\n", "three two\n"), 5)
        agrees(written("x y z"), 9)
    end)

    it("counts a line longer than a part once", function()
        local long = ("word "):rep(1000)
        agrees(written(long), 4)
        agrees(written("a\n" .. long .. "\nb", long), 5)
    end)

    it("counts right wherever the cuts fall", function()
        for length = 1, 40, 3 do
            local text = ("ab c\n\nd efg\n"):rep(4):sub(1, length)
            agrees(written(text, text), length % 7 + 2)
        end
    end)

    it("says which file it cannot read, and counts nothing then", function()
        for path, reason in pairs { ["no/such file"] = "No such file or directory", ["/"] = "Is a directory" } do
            local result = run_with(2, "wordcount.lua", "LICENSE", path)
            assert.equal(1, result.status)
            assert.equal("", result.stdout)
            assert.equal(("wordcount: %s: %s\n"):format(path, reason), result.stderr)
        end
        assert.equal(1, run_with(2, "wordcount.lua").status)
    end)
end)

describe("commands.lua", function()
    it("tells of each program what became of it", function()
        local lines = {}
        for line in succeeds(run "luamp scripts/commands.lua"):gmatch "[^\n]+" do
            table.insert(lines, (line:gsub("\t.*cannot start", "\tcannot start")))
        end
        assert.same({
            "printf\t0\ttwo words|*|$HOME||",
            "sh\t3\texit: no room",
            "expr\t0\t42",
            "no-such-program\tcannot start 'no-such-program': command 'no-such-program': No such file or directory",
        }, lines)
    end)
end)

describe("pipeline_commands.lua", function()
    it("prints what a shell's pipeline would, and ends a writer that nobody reads", function()
        local text = succeeds(run "luamp scripts/pipeline_commands.lua")
        local shells = helper.run "seq 1 20 | awk '$1 % 2 { print $1 * $1 }' | sort -rn | head -n 3".stdout
        assert.equal(1, text:find("the greatest odd squares:\n" .. shells, 1, true))
        assert.is_truthy(text:find "of yes, one line: y\nand yes was ended by SIGPIPE\n$")
    end)
end)

describe("limits.lua", function()
    it("reaches each limit, and says which", function()
        local text = succeeds(run "luamp scripts/limits.lua")
        assert.is_truthy(text:find("not enough memory (limit of 64M)\n", 1, true), text)
        assert.is_truthy(text:find("SIGXCPU: it has used up its CPU time (limit of 1 s)\n", 1, true), text)
        assert.is_truthy(text:find("a command\t32\n", 1, true), text)
    end)
end)

describe("first_failure.lua", function()
    it("gives all sizes, or the failure long before the rest would have ended", function()
        assert.equal("all well\ttrue\t5 6 4\n\tin time\t0 left\n"
            .. "one fails\tfalse\tstyles: 404 Not Found\n\tin time\t0 left\n",
            succeeds(run "luamp scripts/first_failure.lua"))
    end)
end)

describe("restart.lua", function()
    it("starts what failed again, later each time, until it succeeds or is given up", function()
        local t = mp.clock()
        local text = succeeds(run "luamp scripts/restart.lua")
        assert.is_true(mp.clock() - t >= 0.1 + 0.2 + 0.4 + 0.1 + 0.2)
        local ways = {}
        for way in text:gmatch "\nworker failed: (.-)\n" do table.insert(ways, way) end
        assert.same({ "it exited with status 3", "it was killed by SIGKILL" }, ways)
        assert.is_truthy(text:find("\nresult:\tstep 4\n", 1, true), text)
        assert.equal(2, select(2, text:gsub("hopeless failed", "")))
        assert.is_truthy(text:find "\ngiven up:\tfalse\tno way\n$", text)
    end)
end)

describe("signals.lua", function()
    for _, signal in ipairs { "INT", "TERM", "HUP" } do
        it("ends in order at SIG" .. signal, function()
            local result = driver.signalled { signal = signal, alone = signal ~= "INT", script = ([=[
                local mp = require "luamp"
                local wait = mp.wait
                function mp.wait(list)
                    mp.wait = wait
                    print "ready"
                    io.stdout:flush()
                    return wait(list)
                end
                dofile "%s/scripts/signals.lua"]=]):format(root) }
            assert.same({ 0, ("asked to end by:\tSIG%s\nall that had begun is finished:\ttrue\n"):format(signal) },
                { result.status, result.stdout })
        end)
    end
end)

describe("chat.lua", function()
    local function chat(lines)
        return succeeds(helper.run(("printf '%%s\\n' %s | %s scripts/chat.lua"):format(lines, host)))
    end

    it("passes on what stdin says and the guests answer, line by line", function()
        assert.equal("you: one\nAnna: ONE?\nBen: '?ENO', Anna\nyou: two\nAnna: TWO?\nBen: '?OWT', Anna\n"
            .. "Anna heard 4 lines\nBen heard 4 lines\n", chat "one two")
    end)

    it("goes on without a guest that has left", function()
        assert.equal("Anna has left: signal\nyou: one\nBen heard 1 lines\n", chat "'/kick Anna' one")
        assert.equal("Ben has left: signal\nAnna has left: signal\nyou: one\nyou: two\n",
            chat "'/kick Ben' '/kick Anna' one two")
    end)

    it("ends with stdin", function()
        assert.equal("Anna heard 0 lines\nBen heard 0 lines\n", succeeds(run "luamp scripts/chat.lua"))
    end)
end)

describe("timeout.lua", function()
    it("ends what is slow and nothing else", function()
        local text = succeeds(run "luamp scripts/timeout.lua")
        assert.is_truthy(text:find "^ended meanwhile:\ttrue\ttrue\nquick\tin time\tdone\n", text)
        local _, n = text:gsub("\ttimeout\tit ran longer than its timeout of 0%.%d s\n", "")
        assert.equal(3, n)
    end)
end)

describe("closures.lua", function()
    it("calls what came home, each with what it holds", function()
        local text = succeeds(run "luamp scripts/closures.lua")
        for _, line in ipairs {
            "total:\t42", "there and here:\t2\t1", "factorial, is_even:\t3628800\ttrue", "area:\t9 cm2\tcm2",
            "composed:\t6\tnil\ta\tnil", "false\tunsendable",
        } do
            assert.is_truthy(text:find("\n" .. line .. "\n", 1, true), text)
        end
        local where = text:match "\ncannot send upvalue log of function scripts/closures.lua:(%d+): it is an open file"
        local lines = {}
        for line in io.lines "scripts/closures.lua" do table.insert(lines, line) end
        assert.is_truthy(lines[tonumber(where)]:find("return function(text) log:write", 1, true))
    end)
end)

describe("spawn.lua", function()
    it("starts processes in all ways, and prints what its page says", function()
        local text = succeeds(run "luamp scripts/spawn.lua")
        local shown = helper.read "scripts/README.md":match "%$ luamp scripts/spawn%.lua\n(.-)```"
        assert.equal(shown, text)
    end)
end)

describe("objects.lua", function()
    it("keeps the class that has a name, and brings the other along", function()
        local text = succeeds(run "luamp scripts/objects.lua")
        local same = {}
        for word in text:gmatch "of the same class:\t(%l+)\n" do table.insert(same, word) end
        assert.same({ "true", "false", "true" }, same)
        for _, line in ipairs {
            "balances:\t100\t150", "equal after the same:\ttrue", "they work:\t(1, 2)\t(11, 12)\t(11.5, 12.5)",
            "of one class with each other:\ttrue", "still one object:\ttrue", "false\tunsendable",
            "third line, here:\tCopyright (c) 2026 the luamp authors",
        } do
            assert.is_truthy(text:find("\n" .. line .. "\n", 1, true), text)
        end
        assert.is_truthy(text:find("\ncannot send result 1: lines.file is an open file; ", 1, true), text)
    end)
end)

describe("producer_consumer.lua", function()
    it("loses and doubles no number, however many share them", function()
        local text = succeeds(run "luamp scripts/producer_consumer.lua")
        assert.equal("all is there, and done:\ttrue\t0 left\nnumbers that were looked at:\t10000\n"
            .. "the longest way to 1:\t261 steps from 6171\n", text)
    end)
end)

describe("pipeline.lua", function()
    -- The same by other programs, one after the other.
    local function serial(paths)
        local list = {}
        for i, path in ipairs(paths) do list[i] = helper.quote(path) end
        local counted = helper.run(([[
            export LC_ALL=C
            for file in %s; do cat "$file"; echo; done |
                tr A-Z a-z | tr -cs a-z '\n' | awk 'length >= 6' |
                sort | uniq -c | sort -k1,1nr -k2,2]]):format(table.concat(list, " "))).stdout
        local top, words, different = {}, 0, 0
        for n, word in counted:gmatch " *(%d+) ([^\n]*)\n" do
            words, different = words + tonumber(n), different + 1
            if different <= 5 then top[different] = ("%8d  %s\n"):format(n, word) end
        end
        return table.concat(top) .. ("%d words of 6 letters or more, %d different\n"):format(words, different)
    end

    it("counts real text as other programs do, by any number of processes", function()
        local paths = files(root .. "/src/engine", "%.[ch]$")
        table.move(files(root .. "/spec", "%.lua$"), 1, 20, #paths + 1, paths)
        for _, n in ipairs { 1, 3 } do
            assert.equal(serial(paths), succeeds(run_with(n, "pipeline.lua", table.unpack(paths))))
        end
        local empty = helper.tmpdir() .. "/empty"
        helper.write(empty, "")
        assert.equal(serial { empty }, succeeds(run_with(2, "pipeline.lua", empty)))
    end)

    it("stops all stages when one fails, and says why", function()
        for path, reason in pairs { ["no/such"] = "No such file or directory", ["/"] = "Is a directory" } do
            local result = run_with(2, "pipeline.lua", "LICENSE", path)
            assert.same({ 1, "" }, { result.status, result.stdout })
            assert.matches("^pipeline: scripts/pipeline%.lua:%d+: [^\n]*" .. reason .. "\n$", result.stderr)
        end
        assert.equal(1, run_with(2, "pipeline.lua").status)
    end)
end)

describe("cache.lua", function()
    it("finds what comes back, and works out each sum once", function()
        local said = succeeds(run "luamp scripts/cache.lua")
        for _, line in ipairs { "6 comes back after 1", "220 comes back after 2", "496 comes back after 1" } do
            assert.is_truthy(said:find(line .. "\n", 1, true))
        end
        assert.matches("more than twice as many\nentries:\tno more than may be\n$", said)
    end)

    it("works with a cache that is too small for its numbers", function()
        local said = succeeds(run "luamp scripts/cache.lua 300 5")
        assert.matches("^6 comes back after 1\n28 comes back after 1\n220 comes back after 2\n", said)
        assert.matches("entries:\tno more than may be\n$", said)
    end)
end)

describe("priority.lua", function()
    it("does what is most urgent first", function()
        local names = {}
        for name in succeeds(run "luamp scripts/priority.lua"):gmatch "doing\t([^\n]*)" do names[#names + 1] = name end
        assert.same({ "put out the fire", "open the mail", "call the doctor", "pay a bill", "answer a letter",
            "answer another letter", "sweep the floor" }, names)
    end)
end)

describe("counter.lua", function()
    it("loses updates without a lock, and none with one or as an atomic", function()
        assert.equal("without a lock, updates are lost:\ttrue\nwith one, none is:\t100\nwith one, for a scope:\t100\n"
            .. "an atomic needs none:\t100\n", succeeds(run "luamp scripts/counter.lua"))
    end)
end)

describe("bank.lua", function()
    it("puts right what a killed clerk has left, once, and loses no money", function()
        assert.equal("the lock is held by the clerk:\ttrue\nin the book:\t270\nwho comes next is told:\tabandoned\n"
            .. "the lock is held by the clerk:\ttrue\nwho comes next is told:\tabandoned\nin the book:\t95 90 115\n"
            .. "after all transfers:\t300\n", succeeds(run "luamp scripts/bank.lua"))
    end)
end)

describe("barrier.lua", function()
    it("takes each step once, loses no step of a neighbour, and draws a picture", function()
        local result = run "luamp scripts/barrier.lua"
        assert.equal("heat.ppm: 240 x 160 pixels, 200 steps by 4 processes in lockstep, 3992.6 of heat are left\n",
            succeeds(result))
        local image = helper.read(result.cwd .. "/heat.ppm")
        assert.equal("P6\n240 160\n255\n", image:sub(1, 15))
        assert.equal(15 + 3 * 240 * 160, #image)
    end)
end)
