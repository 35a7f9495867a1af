-- The file of a journal: whose it is, what becomes of it when something is wrong, and mp.journal, which reads it.
local helper = require "spec.helper"
local journals = require "spec.journals"
local lfs = require "lfs"

local run, good, query = journals.run, journals.good, journals.query

local is_root = helper.run "id -u".stdout == "0\n"
local as_user = is_root and { "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups" } or {}

local plain <const> = [[
print(#mp.map(function(i) tell(i) return i * 2 end, mp.range(1, 6), { journal = J, workers = 2 }))]]

-- The program must fail with these words at its line, and leave the files of the folder as they are.
local function refused(dir, words, text, options)
    local function state()
        local list = {}
        for name in lfs.dir(dir) do
            if name:find "%.db" and lfs.attributes(dir .. "/" .. name, "mode") == "file" then
                local path = dir .. "/" .. name
                list[#list + 1] = { name, helper.read(path), lfs.attributes(path, "modification") }
            end
        end
        return list
    end
    local before = state()
    local result = run(dir, text or plain, options)
    assert.equal(1, result.status)
    assert.is_truthy(result.stderr:find("script.lua:8: " .. words, 1, true), result.stderr)
    assert.same(before, state())
    assert.equal("", result.ran)
end

describe("a file that is no journal", function()
    for what, case in pairs {
        ["a text"] = { "printf 'these are my notes' >run.db", "is no journal of luamp, and stays as it is" },
        ["a short text"] = { "printf x >run.db", "is no journal of luamp, and stays as it is" },
        ["another database"] = { "sqlite3 run.db 'create table mine (x); insert into mine values (1)'",
            "is a database of another program, and stays as it is" },
        ["a database with a log"] = { "sqlite3 run.db 'pragma journal_mode=wal; create table mine (x)' >run.txt",
            "is a database of another program, and stays as it is" },
        ["a folder"] = { "mkdir run.db", "is no file" },
        ["a pipe"] = { "mkfifo run.db", "is no file" },
    } do
        it("stays as it is: " .. what, function()
            local dir = helper.tmpdir()
            helper.run(case[1], { cwd = dir })
            refused(dir, ("mp.map: journal 'run.db' %s\n"):format(case[2]))
            refused(dir, ("mp.journal: journal 'run.db' %s\n"):format(case[2]), "mp.journal(J)")
        end)
    end

    it("may be an empty one, which becomes a journal", function()
        local dir = helper.tmpdir()
        helper.write(dir .. "/run.db", "")
        assert.equal("6\n", (good(dir, plain)))
        assert.same({ "6\n", "" }, { good(dir, plain) })
    end)

    it("may be one whose program was killed while it was made", function()
        local dir = helper.tmpdir()
        good(dir, plain)
        query(dir, "drop table runs; drop table calls; drop table tasks; vacuum")
        assert.is_truthy(run(dir, "mp.journal(J)").stderr:find("mp.journal: journal 'run.db' is empty\n", 1, true))
        assert.same({ "6\n", "1 2 3 4 5 6" }, { good(dir, plain) })
    end)

    it("is said to be of a newer luamp", function()
        local dir = helper.tmpdir()
        good(dir, plain)
        query(dir, "pragma user_version = 2")
        refused(dir, "mp.map: journal 'run.db' was made by a newer luamp, and stays as it is\n")
    end)
end)

describe("a damaged journal", function()
    local many <const> = [[mp.each(function(i) tell "x" return ("r"):rep(2000) end, mp.range(1, 100), { journal = J })]]

    it("stays as it is", function()
        local dir = helper.tmpdir()
        good(dir, (many:gsub("each", "map")))
        local file = assert(io.open(dir .. "/run.db", "r+b"))
        file:seek("set", 5 * 4096)
        file:write(("z"):rep(4096))
        file:close()
        refused(dir, "mp.map: journal 'run.db' is damaged: ", plain)
        refused(dir, "mp.journal: journal 'run.db' is damaged: ", "mp.journal(J)")
    end)

    it("is known by a table that is not there", function()
        local dir = helper.tmpdir()
        good(dir, plain)
        query(dir, "drop table tasks")
        refused(dir, "mp.map: journal 'run.db' is damaged: no such table: tasks")
    end)

    it("ends the call at a result that is none", function()
        local dir = helper.tmpdir()
        good(dir, plain)
        query(dir, "update tasks set result = x'00' where key = 3")
        local text = [[
            local ok, e = pcall(mp.map, function(i) tell(i) return i * 2 end, mp.range(1, 6),
                { journal = J, workers = 2 })
            print(ok, mp.is_error(e), e.message, e.value.results[2])
            print(pcall(function() for t in mp.journal(J):tasks() do assert(t.result == t.task * 2) end end))]]
        local out, ran = good(dir, text)
        assert.equal("", ran)
        for _, words in ipairs { "false\ttrue\tmp.map: journal 'run.db' is damaged: the result of task 3: ",
            "\t4\nfalse\tmp.journal: journal 'run.db' is damaged: task 3 of call 1: " } do
            assert.is_truthy(out:find(words, 1, true), out)
        end
    end)
end)

-- --- who writes -------------------------------------------------------------------

-- What a program runs in the middle of a call: another program on the same journal. It prints what that says.
local second <const> = [[
local function second()
    local pipe <close> = io.popen("HOST second.lua 2>&1; echo $?")
    return pipe:read "a"
end
]]

local function with_second(dir, text)
    helper.write(dir .. "/second.lua", [[local mp = require "luamp"
        local ok, e = pcall(mp.map, tostring, { 1 }, { journal = "run.db" })
        print(ok, (tostring(e):gsub("process %d+", "process N")))]])
    return (second:gsub("HOST", (helper.host:gsub("%%", "%%%%"))) .. text)
end

local USED <const> = "false\tsecond.lua:2: mp.map: journal 'run.db' is in use by process N\n0\n"

describe("a journal that is written to", function()
    it("is refused to a second program, and the first one goes on", function()
        local dir = helper.tmpdir()
        local out = good(dir, with_second(dir, [[
            for i in mp.imap(function(i) return i end, mp.range(1, 4), { journal = J }) do
                if i == 2 then io.write(second()) end
            end
            io.write(second())]]))
        assert.equal(USED .. USED, out)
        assert.equal("true", run(dir, "dofile 'second.lua'").stdout:match "^%w+")
        assert.equal("4\n", query(dir, "select count(*) from tasks where call = 1 and key <= 4"))
    end)

    it("stays locked when the program closes another descriptor of the file, and when a child ends", function()
        local dir = helper.tmpdir()
        local out = good(dir, with_second(dir, [[
            for i in mp.imap(function(i) return i end, mp.range(1, 4), { journal = J }) do
                for _, name in ipairs { J, J .. "-wal" } do assert(io.open(name)):close() end
                local function child() collectgarbage() collectgarbage() end
                mp.process { start_method = "fork", target = child }:start():join()
                if i == 2 then io.write(second()) end
            end]]))
        assert.equal(USED, out)
    end)

    it("is the parent's: a child can neither use its connection nor have another", function()
        local dir = helper.tmpdir()
        local out = good(dir, [[
            local reader
            for i in mp.imap(function(i) return i end, mp.range(1, 3), { journal = J }) do
                reader = reader or mp.journal(J)
                mp.process { start_method = "fork", target = function()
                    for _, f in ipairs {
                        function() mp.map(tostring, { 1 }, { journal = J }) end,
                        function() mp.journal(J) end,
                        function() reader:counts() end,
                    } do
                        print((select(2, pcall(f)):gsub("process %d+", "process N")))
                    end
                    reader:close()
                    collectgarbage()
                end }:start():join()
                break
            end
            print(reader:counts().done >= 1)]])
        assert.equal([[
script.lua:13: mp.map: journal 'run.db' is in use by process N, from which this one was forked
script.lua:14: mp.journal: journal 'run.db' is in use by process N, from which this one was forked
script.lua:15: mp.journal: the journal was opened by process N, which alone can use it
true
]], out)
    end)

    it("is the same by whatever path and link, also when that was there before the file", function()
        local dir = helper.tmpdir()
        helper.run("ln -s run.db link.db; mkdir sub; ln -s ../run.db sub/link.db", { cwd = dir })
        local out = good(dir, [[
            for _, path in ipairs { "link.db", J, "./sub/../run.db", "sub/link.db" } do
                print(mp.map(function(i) return i end, { 7 }, { journal = path })[1])
            end]])
        assert.equal("7\n7\n7\n7\n", out)
        assert.equal("4|1\n", query(dir, "select count(*), count(distinct run) from tasks"))
    end)

    it("may be one of many, more than descriptors were allowed for", function()
        local dir = helper.tmpdir()
        local out = good(dir, [[
            for i = 1, 30 do mp.map(function(x) return x end, { i }, { journal = i .. ".db", workers = 1 }) end
            local readers = {}
            for i = 1, 30 do readers[i] = mp.journal(i .. ".db") end
            print(readers[30]:counts().done)]], { before = "ulimit -Sn 64" })
        assert.equal("1\n", out)
    end)

    it("has no descriptor that programs inherit", function()
        local dir = helper.tmpdir()
        local out = good(dir, [[
            for i in mp.imap(function(i) return i end, mp.range(1, 3), { journal = J }) do
                os.execute "ls -l /proc/self/fd >&2; ls -l /proc/self/fd | grep -c 'run.db'"
                break
            end]], { before = "exec 2>/dev/null" })
        assert.equal("0\n", out)
    end)

    it("may be read by others meanwhile", function()
        local dir = helper.tmpdir()
        local out = good(dir, [[
            for i in mp.imap(function(i) return i end, mp.range(1, 3), { journal = J }) do
                os.execute [=[sqlite3 run.db "select min(3, count(*)) from tasks"]=]
            end]])
        assert.is_truthy(out:find "^[123]\n[23]\n3\n$", out)
    end)

    it("is refused where another program has it for writing", function()
        local dir = helper.tmpdir()
        good(dir, plain)
        local text = [[
            local other = io.popen("sqlite3 run.db >/dev/null", "w")
            other:write("begin immediate;\n.shell touch locked\n")
            other:flush()
            while not io.open "locked" do mp.sleep(0.01) end
            print(pcall(mp.map, function(i) return i end, { 1 }, { journal = J }))
            other:close()]]
        assert.equal("false\tscript.lua:12: mp.map: journal 'run.db' is in use by another program\n", (good(dir, text)))
    end)
end)

-- --- when it cannot be written ----------------------------------------------------

describe("a journal that cannot be written", function()
    local results <const> = [[
        local text = ("r"):rep(5000)
        local ok, e = pcall(mp.map, function(i) return text .. i end, mp.range(1, 200),
            { journal = PATH, workers = 2 })
        print(ok, mp.is_error(e), e.kind, e.message)
        local n, right = 0, true
        for i, r in pairs(e.value.results) do n, right = n + 1, right and r == text .. i end
        print(n > 0 and n <= 200, right)
        local q = mp.map(function(i) return i end, { 1, 2 })
        print(#q)]]

    it("because a file may not be so long, ends the call, which has its results", function()
        local dir = helper.tmpdir()
        local out = good(dir, (results:gsub("PATH", "J")), { before = "ulimit -f 400" })
        assert.equal("false\ttrue\terror\tmp.map: journal 'run.db' cannot be written: disk I/O error\n"
            .. "true\ttrue\n2\n", out)
        local n = tonumber(query(dir, "select count(*) from tasks"))
        assert.is_true(n < 200)
        assert.equal("ok\n", query(dir, "pragma integrity_check"))
        assert.equal("200\n", (good(dir, [[
            local text = ("r"):rep(5000)
            print(#mp.map(function(i) return text .. i end, mp.range(1, 200), { journal = J, workers = 2 }))]])))
    end)

    it("because the disk is full, ends the call, which has its results", function()
        if not is_root or helper.run "unshare -m true".status ~= 0 then pending "needs a file system of its own" end
        local dir = helper.tmpdir()
        lfs.mkdir(dir .. "/small")
        local out = good(dir, (results:gsub("PATH", "'small/run.db'")), {
            prefix = "exec unshare -m sh -c 'mount -t tmpfs -o size=400k none small && exec \"$0\" \"$@\"' " })
        assert.equal("false\ttrue\terror\tmp.map: journal 'small/run.db' cannot be written: database or disk is full\n"
            .. "true\ttrue\n2\n", out)
    end)

    it("because the disk is full from the start, ends the call before a task has begun", function()
        if not is_root or helper.run "unshare -m true".status ~= 0 then pending "needs a file system of its own" end
        local dir = helper.tmpdir()
        lfs.mkdir(dir .. "/small")
        local out = good(dir, [[
            local ok, e = pcall(mp.map, function() os.execute "touch begun" end, { 1, 2 }, { journal = 'small/run.db' })
            print(ok, e)
            print(io.open "begun", #mp.map(tostring, { 1, 2 }))]], {
            prefix = "exec unshare -m sh -c 'mount -t tmpfs -o size=16k none small; head -c 20000 /dev/zero "
                .. ">small/filled 2>/dev/null; exec \"$0\" \"$@\"' " })
        assert.equal("false\tscript.lua:8: mp.map: journal 'small/run.db' cannot be written: database or disk is full\n"
            .. "nil\t2\n", out)
    end)

    it("because it has gone, ends the call, which has its results", function()
        for _, what in ipairs { "J", "J .. '-wal'" } do
            local dir = helper.tmpdir()
            local out = good(dir, ([[
                local ok, e = pcall(mp.map, function(i)
                    if i == 50 then os.remove(%s) end
                    return i
                end, mp.range(1, 50), { journal = J, workers = 1 })
                print(ok, e.message)
                for i, value in pairs(e.value.results) do assert(i == value) end
                print(next(e.value.results) ~= nil) -- those that had come
                print(pcall(mp.map, tostring, { 1 }, { journal = J }))]]):format(what))
            assert.equal("false\tmp.map: journal 'run.db' was removed or replaced while it was in use\n"
                .. "true\ntrue\ttable: ", (out:gsub("0x.*", "")))
        end
    end)

    it("ends an iterator, after what was committed, and it has the rest", function()
        local dir = helper.tmpdir()
        local out = good(dir, [[
            local list = {}
            local ok, e = pcall(function()
                for i, a, b in mp.imap(function(i) return i, "b" end, mp.range(1, 30), { journal = J, workers = 1 }) do
                    list[i] = a
                    if i == 10 then os.remove(J) end
                end
            end)
            print(ok, e.message)
            local i, rest = next(e.value.results)
            print(#list >= 10, i > #list, rest[1] == i, rest[2], rest.n)]])
        assert.equal("false\tmp.imap: journal 'run.db' was removed or replaced while it was in use\n"
            .. "true\ttrue\ttrue\tb\t2\n", out)
    end)

    it("because its folder is read-only, is refused at the call", function()
        local dir = helper.tmpdir()
        helper.needs_reachable_host(as_user)
        good(dir, plain)
        os.remove(dir .. "/ran") -- while that is possible
        helper.run("chmod 444 run.db; p=$PWD; while [ -n \"$p\" ]; do chmod a+rx \"$p\"; p=${p%/*}; done; chmod 555 .",
            { cwd = dir })
        local options = { prefix = table.concat(as_user, " ") .. " " }
        local function at(path) return ("mp.map(tostring, { 1 }, { journal = '%s' })"):format(path) end
        refused(dir, "mp.map: journal 'new.db' cannot be made: Permission denied\n", at "new.db", options)
        refused(dir, "mp.map: journal 'run.db' cannot be written: Permission denied\n", at "run.db", options)
        helper.run("chmod 666 run.db", { cwd = dir })
        refused(dir, "mp.map: journal 'run.db' cannot be written: attempt to write a readonly database\n", at "run.db",
            options)
        assert.equal("6\n", (good(dir, "print(mp.journal(J):counts().done)", options)))
        helper.run("chmod 755 .", { cwd = dir })
        assert.equal("run.db", journals.files_of(dir))
        refused(dir, "mp.map: journal 'no/such.db' cannot be made: No such file or directory\n", at "no/such.db")
    end)

    it("because SQLite is not there, is refused at the call", function()
        if helper.sanitized then pending "what is preloaded comes before the sanitizer" end
        local dir = helper.tmpdir()
        local built = helper.library("nosqlite", [[
            #define _GNU_SOURCE
            #include <dlfcn.h>
            #include <stddef.h>
            #include <string.h>
            void *dlopen(const char *path, int mode) {
                static void *(*real)(const char *, int);
                *(void **)&real = dlsym(RTLD_NEXT, "dlopen");
                return real(path != NULL && strstr(path, "sqlite3") != NULL ? "/no/libsqlite3.so.0" : path, mode);
            }]]):match ";([^;]*)/%?%.so$" .. "/nosqlite.so"
        refused(dir, "mp.map: journal 'run.db' SQLite is not there", plain, { env = { LD_PRELOAD = built } })
        assert.equal("", journals.files_of(dir))
    end)
end)

-- --- reading ----------------------------------------------------------------------

describe("mp.journal", function()
    it("gives tasks, failures, counts and calls", function()
        local dir = helper.tmpdir()
        local out = good(dir, [[
            mp.map(function(i) if i == 2 then error({ code = 7 }) end return i == 3 and { i } or i end, { 1, 2, 3 },
                { journal = J, workers = 1, on_error = "collect" })
            local function key(v) return v end
            for _ in mp.imap(function(i) return i, "b" end, { "x" }, { journal = J, key = key }) do end
            local j <close> = mp.journal(J)
            for t in j:tasks() do
                print(t.call, t.key, t.task, t.status, t.kind, type(t.result) == "table" and t.result[1] or t.result,
                    t.results and t.results.n, t.worker, t.attempt, t.started <= t.ended, t.cpu >= 0, t.memory > 0,
                    t.run, t.text)
            end
            for t in j:failures() do
                print(t.task, mp.is_error(t.error), t.error.kind, t.error.value.code, t.error.task,
                    #t.error.traceback > 0)
            end
            for t in j:tasks(2) do print(t.key, t.result, t.results[2]) end
            for _, c in ipairs { j:counts(), j:counts(1), j:counts(2), j:counts(3) } do print(c.done, c.failed) end
            for _, c in ipairs(j:calls()) do
                print(c.call, c.name, c.place, c.items, c.answered, c.run, c.ended >= c.started)
            end
            print((tostring(j):gsub("0x%x+", "ADDRESS")))
            j:close()
            j:close()
            print((tostring(j):gsub("0x%x+", "ADDRESS")))]])
        assert.is_truthy(out:find("1\t1\t1\tdone\tnil\t1\t1\t1\t1\ttrue\ttrue\ttrue\t1\t1\n", 1, true), out)
        assert.is_truthy(out:find("1\t3\t3\tdone\tnil\t3\t1\t1\t1\ttrue\ttrue\ttrue\t1\t{3}\n", 1, true), out)
        assert.is_truthy(out:find("1\t2\t2\tfailed\terror\tnil\tnil\t1\t1\ttrue\ttrue\ttrue\t1\t", 1, true), out)
        local _, last = out:find("2\tx\t1\tdone\tnil\tx\t2\t%d+\t1\ttrue\ttrue\ttrue\t1\tx, b\n")
        assert.equal([[
2	true	error	7	2	true
x	x	b
3	1
2	1
1	0
0	0
1	mp.map	script.lua:8	3	0	1	true
2	mp.imap	script.lua:11	1	0	1	true
mp.journal: ADDRESS (run.db)
mp.journal: ADDRESS (run.db, closed)
]], out:sub(last + 1))
        assert.equal("run.db", journals.files_of(dir))
    end)

    it("reads what a killed program has left", function()
        local dir = helper.tmpdir()
        local result = run(dir, [[
            for i in mp.imap(function(i) return i end, mp.range(1, 9), { journal = J }) do
                if i == 5 then os.execute("kill -KILL " .. mp.getpid()) end
            end]])
        assert.equal(137, result.status)
        local out = good(dir, "print(mp.journal(J):counts().done >= 5)")
        assert.equal("true\n", out)
    end)

    for name, case in pairs {
        ["of a file that is not there"] = { "mp.journal 'none.db'", "mp.journal: journal 'none.db' is not there" },
        ["of something that is no path"] = { "mp.journal(7)", "mp.journal: expected the path of a journal, not 7" },
        ["of more than a path"] = { "mp.journal(J, 1)",
            "mp.journal: expected the path of a journal, and nothing else" },
        ["of a call's number"] = { "mp.journal(J):tasks 'x'",
            "mp.journal: tasks: expected the number of a call, not" },
        ["after its end"] = { "local j = mp.journal(J) j:close() j:counts()",
            "mp.journal: counts: the journal is closed" },
        ["without an object"] = { "mp.journal(J).calls {}",
            "mp.journal: 'calls' must be called on a journal, as in journal:calls()" },
        ["by a new field"] = { "mp.journal(J).x = 1", "mp.journal: a journal has no field 'x' that could be set" },
        ["in an option"] = { "mp.map(print, { 1 }, { journal = true })", "mp.map: option 'journal' must be a string" },
    } do
        it("misused " .. name .. " says so", function()
            local dir = helper.tmpdir()
            good(dir, plain)
            refused(dir, case[2], case[1])
        end)
    end
end)

describe("the page on long runs", function()
    local page = helper.read "docs/long-runs.md"

    it("names every table and column, and no other", function()
        local dir = helper.tmpdir()
        good(dir, plain)
        local wanted = query(dir, [[select m.name || '.' || c.name from sqlite_master m, pragma_table_info(m.name) c
            where m.type = 'table' order by 1]])
        local listed, of_table = {}, nil
        for name, columns in page:match "\n| table | column |.-\n\n":gmatch "\n|([^|]*)| (`[^|]*) |" do
            of_table = name:match "`(%l+)`" or of_table
            for column in columns:gmatch "`([%l_]+)`" do listed[#listed + 1] = of_table .. "." .. column end
        end
        table.sort(listed)
        assert.equal(wanted, table.concat(listed, "\n") .. "\n")
        assert.equal("1819631981|1\n", query(dir, "select * from pragma_application_id, pragma_user_version"))
        assert.is_truthy(page:find("`PRAGMA application_id` is 1819631981, `user_version` is 1", 1, true))
    end)

    it("shows what can be asked", function()
        local dir = helper.tmpdir()
        good(dir, [[mp.map(function(i) if i == 1 then error("bad", 0) end end, { 1, 2 },
            { journal = "convert.db", on_error = "collect" })]])
        local lua, shell = page:match "\n```lua\n(local j.-)```\n", page:match "\n```sh\n(.-)```\n"
        local asked = helper.run(shell, { cwd = dir })
        assert.same({ 0, "" }, { asked.status, asked.stderr })
        assert.is_truthy(asked.stdout:find "^[12]|%d[%d.e-]*\n[12]|%d[%d.e-]*\nbad|1\n$", asked.stdout)
        assert.equal("1\t1\tbad\n", (good(dir, lua)))
    end)
end)
