-- pool_examples_spec.lua: the scripts of scripts/ about pools do what they say. That their page shows what
-- they print is examples_spec.lua's.
local helper = require "spec.helper"
local example = require "spec.example"
local lfs = require "lfs"
local mp = require "luamp"

local root, run, succeeds, files = example.root, example.run, example.succeeds, example.files

describe("squares.lua", function()
    it("gives the squares in order, by each call", function()
        assert.equal([[
a loop:         9 1 16 1 25 81
mp.map:         9 1 16 1 25 81
pool:map:       9 1 16 1 25 81
by two values:  3 4 9
those above 10: 4 5 9
item 1:         10 x 10 = 100
item 2:         20 x 20 = 400
item 3:         30 x 30 = 900
]], succeeds(run "luamp scripts/squares.lua"))
    end)
end)

describe("mandelbrot_pool.lua", function()
    local function draw(script)
        local result = run(("luamp scripts/%s image.ppm"):format(script), { LUAMP_CPUS = "2" })
        return helper.read(result.cwd .. "/image.ppm"), succeeds(result)
    end

    it("draws what mandelbrot.lua draws", function()
        local image, said = draw "mandelbrot_pool.lua"
        assert.matches("^image.ppm: 720 x 480 pixels, by [12] workers\n$", said)
        assert.is_true(image == draw "mandelbrot.lua")
    end)
end)

describe("wordcount_pool.lua", function()
    -- The lines of words, and both counts.
    local function counted(command)
        local text = succeeds(run(command))
        local top, words, different = text:match "^(.-)(%d+) words, (%d+) different;[^\n]*\n$"
        return { top, words, different }
    end

    local function quoted(paths)
        local words = {}
        for i, path in ipairs(paths) do words[i] = helper.quote(path) end
        return table.concat(words, " ")
    end

    it("counts what wordcount.lua counts, small files and large ones", function()
        local dir = helper.tmpdir()
        local text = helper.read "README.md"
        helper.write(dir .. "/large", text:rep((3 << 20) // #text)) -- of several pieces
        helper.write(dir .. "/one line", ("word and "):rep(300000))
        helper.write(dir .. "/empty", "")
        helper.write(dir .. "/-small", "not the end")
        local paths = files(dir, "%a")
        assert.same(counted("luamp scripts/wordcount.lua " .. quoted(paths)),
            counted("luamp scripts/wordcount_pool.lua " .. quoted(paths)))
    end)

    it("takes folders with all that lies in them", function()
        local text = succeeds(run("luamp scripts/wordcount_pool.lua LICENSE " .. helper.quote(root .. "/src/engine")))
        local paths = files(root .. "/src/engine", "%.[ch]$")
        assert.equal(#paths + 1, tonumber(text:match "files: (%d+)\n$"))
        assert.same(counted("luamp scripts/wordcount.lua LICENSE " .. quoted(paths)),
            counted("luamp scripts/wordcount_pool.lua LICENSE " .. helper.quote(root .. "/src/engine")))
    end)

    it("says which file it cannot read, and counts nothing then", function()
        local result = run "luamp scripts/wordcount_pool.lua LICENSE no/such"
        assert.same({ 1, "" }, { result.status, result.stdout })
        assert.matches("^wordcount: find: [^\n]*no/such[^\n]*: No such file or directory\n$", result.stderr)
        result = run "luamp scripts/wordcount_pool.lua"
        assert.equal(1, result.status)
        assert.matches("usage: wordcount_pool.lua FILE%-OR%-FOLDER", result.stderr)
    end)
end)

describe("downloads.lua", function()
    local expected = "index.html  13 bytes, at run 1\nstyle.css   19 bytes, at run 1\n"
        .. "late.png    6 bytes, at run 2\nnever.js    given up after 3 runs: exit\nruns again: 3\n"

    -- A folder for PATH with those programs and no others.
    local function only(names)
        local dir = helper.tmpdir()
        for name in names:gmatch "%S+" do
            local path = helper.run("command -v " .. name).stdout:gsub("\n$", "")
            assert(lfs.link(path, dir .. "/" .. name, true))
        end
        return dir
    end

    it("tries again what is late, and gives up what is never there", function()
        assert.equal(expected, succeeds(run "luamp scripts/downloads.lua"))
    end)

    it("does without curl, and leaves nothing behind", function()
        local result = run("luamp scripts/downloads.lua", { PATH = only "sh cp mkdir rm" })
        assert.equal(expected, succeeds(result))
        assert.same({ result.cwd .. "/LICENSE", result.cwd .. "/scripts" }, files(result.cwd, "%a"))
    end)

    it("fetches the URLs of the command line into this folder", function()
        if helper.run("command -v curl").status ~= 0 then pending "curl is not installed" end
        local dir = helper.tmpdir()
        helper.write(dir .. "/page.html", "hello")
        local result = run(("luamp scripts/downloads.lua file://%s/page.html file://%s/none"):format(dir, dir))
        local said = succeeds(result)
        assert.matches("/page.html 5 bytes, at run 1\n[^\n]*/none given up after 3 runs: exit\nruns again: 2\n$", said)
        assert.equal("hello", helper.read(result.cwd .. "/page.html"))
    end)

    it("does not run again what cannot be run", function()
        local result = run("luamp scripts/downloads.lua http://127.0.0.1/x", { PATH = only "sh" })
        assert.equal("http://127.0.0.1/x given up after 1 runs: error\nruns again: 0\n", succeeds(result))
    end)
end)

describe("montecarlo.lua", function()
    it("comes to the same by any number of workers, and near pi", function()
        local text = succeeds(run "luamp scripts/montecarlo.lua 200000")
        local n, pi = 0, nil
        for workers, estimate in text:gmatch "workers: (%d)  pi: ([%d.]+)\n" do
            n = n + 1
            pi = pi or estimate
            assert.equal(pi, estimate, workers)
        end
        assert.equal(3, n)
        assert.is_true(math.abs(tonumber(pi) - math.pi) < 0.05, pi)
        assert.matches("another seed:\ttrue\n$", text)
        assert.equal(text, succeeds(run "luamp scripts/montecarlo.lua 200000"))
    end)

    it("takes nothing but a whole number", function()
        local result = run "luamp scripts/montecarlo.lua 1.5"
        assert.same({ 1, "usage: montecarlo.lua [SAMPLES], a whole number from 40 on\n" },
            { result.status, result.stderr })
    end)
end)

describe("retry.lua", function()
    it("runs again what is worth it, and says which attempt it was", function()
        local text = succeeds(run "luamp scripts/retry.lua")
        assert.equal("1\tsteady: answered at attempt 1\n2\tshaky: answered at attempt 3\n"
            .. "3\tslow: answered at attempt 2\n4\tdeadly: answered at attempt 2\n5\tnil\n"
            .. "task 5, attempt 1: 404 not found\nrun again:\t4\tworkers replaced:\t2\n", text)
    end)
end)

describe("resume.lua", function()
    local WAY <const> = "below 100001 the longest way has 77031: 350 steps\n"

    it("goes on where it was killed", function()
        local dir = helper.tmpdir()
        local path = dir .. "/run.db"
        local command = ("exec %s %s/scripts/resume.lua 40 %s"):format(helper.quote(helper.host), root, path)
        local p <close> = mp.process { command = { "sh", "-c", command }, stdout = "null" }:start()
        local known = helper.wait_until(function()
            local ok, j = pcall(mp.journal, path)
            local n = ok and j:counts().done or 0
            if ok then j:close() end
            return n >= 3 and n
        end, "some results in the journal", 60)
        p:kill()
        p:join()
        local before, now = succeeds(run("luamp scripts/resume.lua 40 " .. path))
            :match("^40 stretches: (%d+) known from before, (%d+) run now\n" .. WAY .. "$")
        assert.is_true(tonumber(before) >= known)
        assert.equal(40, before + now)
        assert.equal("40 stretches: 40 known from before, 0 run now\n" .. WAY,
            succeeds(run("luamp scripts/resume.lua 40 " .. path)))
    end)
end)

describe("report.lua", function()
    it("tells of a run, and of the failures alone that it runs again", function()
        local path = helper.tmpdir() .. "/run.db"
        local first = succeeds(run("luamp scripts/report.lua " .. path))
        assert.is_truthy(first:find("^8 tasks: 5 done, 3 failed\nslowest: large, 0.2 s or more\n"), first)
        assert.is_truthy(first:find "\n2 x 404 not found: lost dog, lost key\n1 x 410 gone: old map\n")
        assert.is_truthy(succeeds(run("luamp scripts/report.lua " .. path)):find "^8 tasks: 5 done, 3 failed\n")
        local query = ("sqlite3 %s 'select sum(run = 1), sum(run = 2) from tasks'"):format(path)
        assert.equal("5|3\n", helper.run(query).stdout)
    end)
end)

describe("progress.lua", function()
    it("says how far it is, and what it has cost", function()
        local result = run "luamp scripts/progress.lua 100"
        assert.equal(0, result.status)
        assert.equal("27 was looked at, and the line has made room for these words\n"
            .. "100 of 100 done, 0 failed; the most steps: 118\n", result.stdout)
        assert.matches("^numbers: 100 tasks, 0 failed, [^\n]*\nthe most: 100 items, [^\n]*\n$", result.stderr)
        assert.equal(1, run "luamp scripts/progress.lua none".status)
    end)
end)

describe("logs.lua", function()
    local function ran(command, env)
        local text = succeeds(run(command, env))
        return text:match "^(.-)(logged[^\n]*\n)(.*)$"
    end

    it("gives the output of each task in order, and logs what LUAMP_LOG lets through", function()
        local tagged, _, log = ran "luamp scripts/logs.lua"
        local expected = {}
        for i, house in ipairs { { "villa", 3 }, { "castle", 1 }, { "hut", 2 } } do
            table.insert(expected, ("%d| %s:\n"):format(i, house[1]))
            for room = 1, house[2] do table.insert(expected, ("%d|   room %d is clean\n"):format(i, room)) end
            table.insert(expected, i .. "|   the cellar is a program\n")
            if i == 2 then table.insert(expected, "2|   what was th\n") end
        end
        assert.equal(table.concat(expected), tagged)
        assert.equal([[
level=error process=main msg="not finished" house=castle signal=SIGKILL
level=info process=inspector.N task=1 msg=done house=villa
level=info process=inspector.N task=3 msg=done house=hut
level=warn process=inspector.N task=2 msg="steps on the stairs" at=midnight heard="{creak, creak}" house=castle
]], log)
        local same, _, more = ran("luamp scripts/logs.lua", { LUAMP_LOG = "debug" })
        assert.equal(tagged, same)
        local begin = "level=debug process=inspector%.N task=%d msg=begins house=%l+ rooms=%d\n"
        assert.equal(3, select(2, more:gsub(begin, "")))
        local _, _, less = ran("luamp scripts/logs.lua", { LUAMP_LOG = "error" })
        assert.equal('level=error process=main msg="not finished" house=castle signal=SIGKILL\n', less)
    end)

    it("leaves the log in the file that was named", function()
        local result = run "luamp scripts/logs.lua run.log"
        succeeds(result)
        assert.equal(4, select(2, helper.read(result.cwd .. "/run.log"):gsub("time=[^\n]*\n", "")))
    end)
end)

describe("search.lua", function()
    it("finds the first number, and looks at none that is far behind it", function()
        for steps, n in pairs { [-1] = 1, [1] = 2, [111] = 27, [261] = 6171, [350] = 77031 } do
            local text = succeeds(run("luamp scripts/search.lua " .. steps))
            assert.equal(n, tonumber(text:match "^from (%d+) it is %d+ steps\n$"), text)
        end
        assert.equal(1, run "luamp scripts/search.lua x".status)
    end)
end)

describe("reduce.lua", function()
    it("makes one value of many, in order", function()
        local text = succeeds(run "luamp scripts/reduce.lua")
        assert.equal("sum:\t5000050000\nin order:\tparallel\ngreatest:\t9\n"
            .. "values:\t99\tmean:\t50.0\tvariance:\t816.66666666667\nuntouched:\t0\n", text)
    end)
end)

describe("stats.lua", function()
    it("prints a report, whose advice helps", function()
        local text = succeeds(run "luamp scripts/stats.lua report")
        assert.matches("^2 workers, 18 tasks done, 2 failed, in ", text)
        assert.matches('\nslowest tasks\n[^\n]+ pool:map task 20, worker %d: "panorama" %(scripts/stats.lua:14%)\n',
            text)
        assert.matches("\nerrors\n +2  no pixels in photo # %(", text)
        assert.matches("the option 'weight' lets heavy ones begin first\n.*the largest first, tails are\tshort\n$",
            text)
    end)
end)

describe("cluster_map.lua", function()
    it("finds perfect numbers, and refuses what is none", function()
        local result = run "luamp scripts/cluster_map.lua"
        assert.same({ 0, "perfect: 6, 28, 496, 8128\n" }, { result.status, result.stdout })
        assert.matches("^host 0: %S+, %d+ CPUs\n$", result.stderr)
        result = run "luamp scripts/cluster_map.lua none"
        assert.same({ 2, "cluster_map: N must be a count from 1 on\n" }, { result.status, result.stderr })
    end)
end)

describe("cluster_wordcount.lua", function()
    it("counts words, and wants a file", function()
        local shown = helper.read "scripts/README.md":match "%$ luamp scripts/cluster_wordcount%.lua LICENSE\n(.-)```"
        assert.equal(shown, example.succeeds(run "luamp scripts/cluster_wordcount.lua LICENSE"))
        local result = run "luamp scripts/cluster_wordcount.lua"
        assert.same({ 2, "cluster_wordcount: which file?\n" }, { result.status, result.stderr })
    end)
end)
