-- progress_spec.lua: what a terminal shows of a pool's calls and of loops, while they go on and afterwards.
local helper = require "spec.helper"
local mp = require "luamp"
local open = require "spec.screen"

-- What the scripts begin with. wait(name): until there is that file.
local head = [[
local mp = require "luamp"
local function wait(name)
    while true do
        local file <close> = io.open(name)
        if file then return end
        mp.sleep(0.01)
    end
end
]]

local function screen(text, options)
    return open(head .. text, options)
end

-- The last row, and all others.
local function foot(rows)
    return rows[#rows], table.concat(rows, "\n", 1, #rows - 1)
end

local BAR = "[\226\128-\191]+" -- as a pattern

-- What differs from run to run: numbers, and with their lengths that of the bar.
local function settled(text)
    text = text:gsub(BAR, "━")
    return (text:gsub("%d[%d.:]*[KMGk]?", "#"):gsub("# s", "#"):gsub("# each", "#/s"):gsub(" +", " "))
end

local page = helper.read "docs/progress.md"

-- The page's picture of that name is what the screen shows; LUAMP_PICTURES names a folder to which that goes.
local function is_pictured(name, rows)
    local text = table.concat(rows, "\n")
    local folder = os.getenv "LUAMP_PICTURES"
    if folder then return helper.write(folder .. "/" .. name, text .. "\n") end
    local picture = page:match("<!%-%- screen: " .. name .. " %-%->\n```text\n(.-)\n```")
    assert(picture, "docs/progress.md has no picture of " .. name)
    assert.equal(settled(picture), settled(text))
end

describe("the line of a call", function()
    it("stands below what workers print, each of whose lines is whole", function()
        local s <close> = screen [[
            local pool <close> = mp.pool(2)
            pool:map(function(i)
                if i > 6 then wait "go" end
                print("line " .. i .. " of worker " .. mp.worker.id)
            end, mp.range(1, 10), { progress = "resize", chunksize = 1 })]]
        local rows = s:await "resize .* 60%%  6/10 .* 100%% busy"
        local last, above = foot(rows)
        assert.matches("^resize  " .. BAR .. "   60%%  6/10  .*/s  .* s left  %d+%% busy$", last)
        assert.equal(7, #rows)
        for i = 1, 6 do assert.matches("line " .. i .. " of worker [12]\n", above .. "\n") end
        is_pictured("lines", rows)
        s:touch "go"
        rows = s:await "status 0"
        assert.equal(12, #rows)
        for i = 1, 10 do assert.matches("^line %d+ of worker [12]$", rows[i]) end
        assert.matches("^resize: 10 tasks, 0 failed, [%d.]+ s, CPU [%d.]+ s %([%d.]+x%), peak memory [%d.]+[KMG]$",
            rows[11])
        is_pictured("receipt", { rows[11] })
    end)

    it("counts the tasks of a batch that runs, and failures", function()
        local s <close> = screen [[
            local pool <close> = mp.pool(1)
            pool:map(function(i)
                if i == 3 then error("no", 0) end
                if i > 13 then wait "go" end
            end, mp.range(1, 40), { progress = true, on_error = "collect" })]]
        s:await("map  " .. BAR .. "   32%%  13/40  .*  1 failed  100%% busy")
        s:touch "go"
        s:await "map: 40 tasks, 1 failed, .*\nstatus 0"
    end)

    it("is broken by no change of the width, and fits into it", function()
        local s <close> = screen [[
            local pool <close> = mp.pool(2)
            for i = 1, 12 do print("above " .. i) end
            pool:each(function(i)
                if i == 1 then error("no", 0) end
                if i == 5 then wait "more" print "more" end
                wait "go"
            end, mp.range(1, 8), { progress = "a label of some words", on_error = "collect", chunksize = 1 })]]
        local rows = s:await "12%%  1/8 .* 1 failed"
        is_pictured("wide", { rows[13] })
        for _, columns in ipairs { 50, 30, 16, 60, 12, 80 } do
            s:resize(columns)
            local resized = mp.clock()
            helper.wait_until(function()
                rows = s:rows()
                return #rows == 13 and rows[13]:find "12%%" and utf8.len(rows[13]) < columns
                    and mp.clock() > resized + 0.4 -- until then tmux may keep a next change from the program
            end, "a line of " .. columns .. " columns")
            for i = 1, 12 do assert.equal("above " .. i, rows[i]) end
            if columns == 30 then is_pictured("narrow", { rows[13] }) end
        end
        s:touch "go"
        s:touch "more"
        rows = s:await "status 0"
        assert.equal("more", rows[13])
        assert.equal(1, rows[14]:find "a label of some words: 8 tasks, 1 failed, ")
    end)

    it("has no percent before the number of items is known", function()
        local s <close> = screen [[
            local items = mp.queue()
            local p = mp.process(function()
                items:put_many { 1, 2, 3, 4 }
                wait "end"
                items:put_many { 5, 6 }
                items:close()
            end):start()
            local pool <close> = mp.pool(2)
            pool:each(function(i) if i == 6 then wait "go" end end, items, { progress = "rows" })]]
        is_pictured("unknown", s:await "^rows  4  [^%%]*/s  [%d.]+ s  %d+%% busy$")
        s:touch "end"
        s:await("^rows  " .. BAR .. "   83%%  5/6  ")
        s:touch "go"
        s:await "^rows: 6 tasks, 0 failed.*\nstatus 0"
    end)

    it("says nothing of what a worker's own pools do, and all that this process does at once", function()
        local s <close> = screen [[
            local pool <close> = mp.pool(2)
            local inner = pool:map_async(function(i)
                mp.map(function() end, { 1, 2, 3 }, { workers = 1, progress = "in a worker" })
                for _ in mp.progress(ipairs { 1, 2 }) do end
                if i > 2 then wait "go" end
            end, { 1, 2, 3, 4 }, { progress = "first", chunksize = 1 })
            local other <close> = mp.pool(1)
            other:map(function(i) if i > 1 then wait "go" end end, { 1, 2, 3 }, { progress = "second", chunksize = 1 })
            inner:result()]]
        local rows = s:await "first .* 50%%  2/4.* │ second .* 33%%  1/3"
        assert.equal(1, #rows)
        is_pictured("two", rows)
        s:touch "go"
        rows = s:await "status 0"
        assert.equal(3, #rows)
        table.sort(rows)
        assert.matches("^first: 4 tasks,", rows[1])
        assert.matches("^second: 3 tasks,", rows[2])
    end)

    it("has no colours where none are wanted", function()
        for _, wish in ipairs { "", "1" } do
            local s <close> = screen([[
                mp.each(function(i) if i > 1 then wait "go" end end, { 1, 2 }, { workers = 1, progress = true })]],
                { env = { NO_COLOR = wish } })
            s:await("each  " .. BAR .. "   50%%")
            assert.equal(wish == "", s:text(true):find "\27%[36m━" ~= nil)
            if wish == "1" then assert.is_nil(s:text(true):find "\27") end
        end
    end)

    it("is drawn with plain letters where the locale has no others", function()
        local s <close> = screen([[
            mp.each(function(i) if i > 1 then wait "go" end end, { 1, 2 }, { workers = 1, progress = true })]],
            { env = { LANG = "C", NO_COLOR = "1" } })
        is_pictured("plain", s:await "each  #+%.+   50%%")
    end)
end)

describe("text that ends no line", function()
    it("is whole with what comes after it, with the line below", function()
        local s <close> = screen [[
            local pool <close> = mp.pool(1)
            pool:each(function(i)
                if i == 1 then
                    io.write "first "
                    io.flush()
                    wait "second"
                    io.write "second "
                    io.flush()
                    wait "third"
                    print "third"
                    wait "go"
                    print "more"
                end
            end, { 1, 2 }, { progress = true, chunksize = 1 })]]
        is_pictured("open", s:await("^first\neach  .*" .. BAR .. "    0%%  0/2 "))
        s:touch "second"
        s:await "^first second\neach  "
        s:touch "third"
        s:await "^first second third\neach  "
        s:touch "go"
        s:await "^first second third\nmore\neach: 2 tasks, .*\nstatus 0$"
    end)

    it("may be at the last row of the screen", function()
        local s <close> = screen([[
            for i = 1, 8 do print(i) end
            local pool <close> = mp.pool(1)
            pool:each(function()
                io.write "open "
                io.flush()
                wait "go"
                print "end"
            end, { 1 }, { progress = true })]], { rows = 5 })
        s:await "^1\n2\n3\n4\n5\n6\n7\n8\nopen\neach  "
        s:touch "go"
        s:await "\n6\n7\n8\nopen end\neach: .*\nstatus 0$"
    end)

    it("that was there before stays", function()
        local s <close> = screen [[
            io.write "before "
            io.flush()
            mp.each(function(i)
                if i > 1 then wait "go" end
            end, { 1, 2 }, { workers = 1, progress = true })
            print "after"]]
        s:await "^before\neach  .*1/2"
        s:touch "go"
        s:await "^before\neach: 2 tasks, .*\nafter\nstatus 0$"
    end)

    it("stands above the receipt", function()
        local s <close> = screen [[
            mp.each(function(i)
                io.write("part ", i)
                io.flush()
                wait "go"
            end, { 1 }, { workers = 1, progress = true })
            io.write "and "
            print "more"]]
        s:await "^part 1\neach  "
        s:touch "go"
        s:await "^part 1\neach: 1 task, [^\n]*\nand more\nstatus 0$"
    end)

    it("may be a question, which is answered at its place", function()
        local s <close> = screen [[
            for i in mp.progress(ipairs { 1, 2, 3 }) do
                if i == 2 then
                    mp.sleep(0.2)
                    io.write "name? "
                    io.flush()
                    print("hello, " .. io.read())
                end
                if i == 3 then mp.sleep(0.2) end
            end]]
        assert.same({ "name?" }, s:await "name%?")
        s:type "you Enter"
        local rows = s:await "status 0"
        assert.same({ "name? you", "hello, you" }, { rows[1], rows[2] })
        assert.matches("^loop: 3 items, ", rows[3])
    end)
end)

describe("the terminal", function()
    it("is of one process at a time, and of the next when that is killed", function()
        local s <close> = screen [[
            local function draw(label)
                mp.each(function(i) if i > 1 then wait(label) end end, { 1, 2 }, { workers = 1, progress = label })
            end
            local p = mp.process { args = { "inner" }, stderr = "inherit", target = draw }:start()
            wait "kill"
            local outer = mp.pool(1)
            outer:map_async(function() wait "go" end, { 1 }, { progress = "outer" })
            mp.sleep(0.3)
            print "both"
            wait "dead"
            p:kill()
            p:join()
            outer:close()
            outer:join()]]
        s:await "^inner  .*50%%  1/2 "
        s:touch "kill"
        for _ = 1, 20 do -- the other one's turn never comes
            assert.matches("^both\ninner  [^\n]*1/2[^\n]*$", table.concat(s:await "both\ninner", "\n"))
        end
        s:touch "dead"
        s:await("^both\nouter  " .. BAR .. "    0%%  0/1 ")
        s:touch "go"
        s:await "^both\nouter: 1 task, .*\nstatus 0$"
    end)

    it("shows whole lines of workers that are killed while they print", function()
        local s <close> = screen([[
            local pool <close> = mp.pool(3)
            pool:each(function(i)
                print("line " .. i)
                if i % 3 == 0 then os.execute("kill -KILL " .. mp.getpid()) end
                if i == 40 then wait "go" end
            end, mp.range(1, 40), { progress = true, chunksize = 1, on_error = "collect" })]], { rows = 50 })
        local last, above = foot(s:await "97%%  39/40 .* 13 failed")
        assert.matches("^each  ", last)
        local _, n = (above .. "\n"):gsub("line %d+\n", "")
        assert.equal(40, n)
        assert.equal(41, #s:rows())
        s:touch "go"
        s:await "status 0"
    end)

    it("is another job's while the script is in the background", function()
        local s <close> = screen([[
            mp.each(function()
                wait "tick"
                mp.sleep(0.5)
                io.open("tock", "w"):close()
                wait "go"
            end, { 1 }, { workers = 1, progress = "job" })]], { shell = "PS1='$ ' bash --norc --noprofile -i" })
        s:await "%$$"
        s:type "'$HOST $SCRIPT' Enter"
        s:await "job  .*0/1"
        s:type "C-z"
        s:await "Stopped.*%$$"
        s:type "bg Enter"
        s:await "bg\n.*&\n%$$"
        s:touch "tick"
        s:await_file "tock"
        assert.equal("$", foot(s:rows()))
        s:type "fg Enter"
        s:await "job  [^\n]*0/1[^\n]*$"
        s:touch "go"
        s:await "\njob: 1 task, [^\n]*\n%$$"
    end)

    it("may be held, and the work goes on", function()
        local s <close> = screen [[
            mp.each(function(i)
                if i == 2 then wait "held" mp.sleep(0.5) end
                if i == 5 then io.open("tock", "w"):close() end
                if i > 5 then wait "go" end
            end, mp.range(1, 6), { workers = 1, progress = "held", window = 1 })]] -- no task without this process
        s:await "held  .*1/6"
        s:type "C-s"
        s:touch "held"
        s:await_file "tock"
        s:type "C-q"
        s:await "held  .*5/6"
        s:touch "go"
        s:await "held: 6 tasks, .*\nstatus 0$"
    end)
end)

describe("a call that does not end well", function()
    it("leaves its receipt above the error", function()
        local s <close> = screen([[
            local pool <close> = mp.pool(1)
            pool:map(function(i)
                if i == 5 then wait "go" error("bad", 0) end
                if i > 5 then wait "never" end
            end, mp.range(1, 9), { progress = "doomed", chunksize = 1 })]], { columns = 120 })
        s:await "doomed  .*44%%  4/9"
        s:touch "go"
        local rows = s:await "status 1"
        assert.matches("^doomed: 5 of 9 tasks, 1 failed, ", rows[1])
        assert.matches("task 5: bad$", rows[2])
        is_pictured("stopped", { rows[1] })
    end)

    it("leaves it when it is interrupted", function()
        local s <close> = screen [[
            pool = mp.pool(1) -- which does not end before the error is told
            pool:map(function(i) if i == 5 then wait "go" end end, mp.range(1, 9), { progress = true, chunksize = 1 })]]
        s:await "map  .*44%%  4/9"
        s:type "C-c"
        local rows = s:await "status 130"
        assert.matches("^map: 4 of 9 tasks, 0 failed, ", rows[1])
        assert.matches(": interrupted$", rows[2])
        assert.equal(3, #rows)
    end)

    it("leaves it when the loop over its results is left", function()
        local s <close> = screen [[
            local pool <close> = mp.pool(1)
            for i in pool:imap(function(i) if i > 2 then wait "go" end end, mp.range(1, 9), { progress = true }) do
                print(i)
                if i == 2 then
                    wait "leave"
                    break
                end
            end
            print "left"]]
        s:await "^1\n2\nimap  "
        s:touch "leave"
        s:await "^1\n2\nimap: 2 of 9 tasks, 0 failed, .*\nleft\nstatus 0$"
    end)

    it("leaves nothing when its script ends by an error elsewhere, or by os.exit", function()
        local beside = [[
            local pool = mp.pool(1)
            pool:map_async(function(i) wait "go" end, { 1, 2, 3 }, { progress = "beside" })
            mp.sleep(0.5)
            wait "exit"
            ]]
        local loop = [[
            for i in mp.progress(mp.range(1, 3), nil, "beside") do
                mp.sleep(0.2)
                if i == 2 then wait "exit" os.exit(3) end
            end]]
        local texts = { beside .. "os.exit(3)", loop }
        if helper.host == helper.luamp then texts[3] = beside .. "error({})" end -- stock lua's words stand behind it
        for _, text in ipairs(texts) do
            local s <close> = screen(text)
            s:await "beside  .*[01]/3"
            s:touch "exit"
            local shown = table.concat(s:await "status [13]", "\n")
            assert.is_nil(shown:find("busy", 1, true) or shown:find("left", 1, true), shown)
        end
    end)
end)

describe("mp.progress", function()
    it("draws a loop, whose prints stand above", function()
        local s <close> = screen [[
            for i, word in mp.progress(ipairs { "a", "b", "c", "d" }) do
                print(i, word)
                if i == 3 then
                    mp.sleep(0.2)
                    print "three"
                end
                if i == 4 then
                    mp.sleep(0.2)
                    print "four"
                    wait "go"
                end
            end]]
        local rows = s:await("four\nloop  " .. BAR .. "   75%%  3/4 ")
        assert.same({ "1       a", "2       b", "3       c", "three", "4       d", "four" },
            table.move(rows, 1, 6, 1, {}))
        s:touch "go"
        rows = s:await "status 0"
        assert.matches("^loop: 4 items, [%d.]+ s, CPU [%d.]+ s, peak memory [%d.]+[KMG]$", rows[7])
        assert.equal(8, #rows)
        is_pictured("loop", { rows[7] })
    end)
end)

describe("what is no terminal", function()
    it("gets a line every ten seconds, and the receipt", function()
        local run = helper.script_run [[
            mp.each(function(i) if i > 3 then mp.sleep(11) end end, { 1, 2, 3, 4 }, { workers = 1, progress = "long",
                chunksize = 1 })
            mp.each(function(i) end, { 1, 2, 3, 4 }, { workers = 1, progress = true })]]
        assert.equal("", run.stdout)
        local first, second, third = run.stderr:match "^([^\n]*)\n([^\n]*)\n([^\n]*)\n$"
        assert.matches("^long: 75%%, 3/4, [%d.]+ s each, [%d.]+ s left, 100%% busy$", first)
        assert.matches("^long: 4 tasks, 0 failed, 1%d s, CPU [%d.]+ s %(0.0x%), peak memory [%d.]+[KM]$", second)
        assert.matches("^each: 4 tasks, 0 failed, 0", third)
    end)

    it("is also a terminal that cannot move its cursor", function()
        local s <close> = screen([[
            mp.each(function(i) if i == 2 then mp.sleep(0.5) end end, { 1, 2 }, { workers = 1, progress = true })
            print "end"]], { env = { TERM = "dumb" } })
        local rows = s:await "status 0"
        assert.matches("^each: 2 tasks, ", rows[1])
        assert.same({ 3, "end" }, { #rows, rows[2] })
    end)
end)

describe("docs/progress.md", function()
    local n = 0
    for name, text, printed in page:gmatch "\n```lua\n%-%- ([%w_]+%.lua)\n(.-\n)```\n()" do
        n = n + 1
        it("shows what " .. name .. " prints", function()
            local run = helper.run(("%s %s"):format(helper.quote(helper.host), helper.script(text)))
            local shown = page:match("^\n```text\n(.-\n)```\n", printed)
            assert.equal(shown or "2500\n", run.stdout) -- the first one is followed by what a terminal shows
            assert.same({ 0, n }, { run.status, 3 })
        end)
    end
end)
