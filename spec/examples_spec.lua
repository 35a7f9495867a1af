-- examples_spec.lua: every script of scripts/ does what it says, and its page
-- shows what it prints.
local helper = require "spec.helper"
local lfs = require "lfs"

local root = lfs.currentdir()
local page = helper.read "scripts/README.md"
local host = helper.quote(helper.host)

-- A sanitizer reports that memory ran out, which killed.lua wants, and it may
-- report nothing else.
local function check_sanitizer(folder)
    for name in lfs.dir(folder) do
        if name:find "^sanitizer" then
            local report = helper.read(folder .. "/" .. name)
            assert.equal("", (report:gsub("==%d+==WARNING: AddressSanitizer failed to allocate[^\n]*\n", "")))
        end
    end
end

-- Runs a command line like `luamp scripts/primes.lua 10`, where `luamp` is the
-- host, in a folder from which it sees what the page's commands need.
local function run(command, env)
    local cwd = helper.tmpdir()
    for _, name in ipairs { "scripts", "LICENSE" } do
        assert(lfs.link(root .. "/" .. name, cwd .. "/" .. name, true))
    end
    env = env or {}
    env.ASAN_OPTIONS = ("%s:log_path=%s/sanitizer"):format(os.getenv "ASAN_OPTIONS" or "", cwd)
    command = command:gsub("^luamp", (host:gsub("%%", "%%%%")))
    local result = helper.run(command, { cwd = cwd, env = env })
    check_sanitizer(cwd)
    result.cwd = cwd
    return result
end

-- The same for a script alone, as if the machine had n CPUs.
local function run_with(n, script, ...)
    local words = {}
    for i, word in ipairs { ... } do
        words[i] = helper.quote(word)
    end
    local pretence = ([["require('luamp').cpu_count = function() return %d end"]]):format(n)
    return run(("luamp -e %s scripts/%s %s"):format(pretence, script, table.concat(words, " ")))
end

local function succeeds(result)
    assert.equal("", result.stderr)
    assert.equal(0, result.status)
    return result.stdout
end

local function files(folder, pattern)
    local found = {}
    for name in lfs.dir(folder) do
        if name:find(pattern) then
            table.insert(found, folder .. "/" .. name)
        end
    end
    table.sort(found)
    return found
end

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
    return "^" .. text:gsub("%p", "%%%0"):gsub("PID", "%%d+"):gsub("CPUS", "%%d+") .. "$"
end

describe("the page of the examples", function()
    local scripts = files("scripts", "%.lua$")
    local spec = helper.read "spec/examples_spec.lua"

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

describe("timeout.lua", function()
    it("ends what is slow and nothing else", function()
        local text = succeeds(run "luamp scripts/timeout.lua")
        assert.is_truthy(text:find "^ended meanwhile:\ttrue\ttrue\nquick\tin time\tdone\n", text)
        local _, n = text:gsub("\ttimeout\tit ran longer than its timeout of 0%.%d s\n", "")
        assert.equal(3, n)
    end)
end)
