-- log_spec.lua: mp.log, lines of key=value fields from all processes.
local helper = require "spec.helper"
local mp = require "luamp"

local misuse = helper.misuse

-- The lines of a text without their times, which are checked.
local function lines_of(text)
    local list = {}
    assert.is_true(text == "" or text:sub(-1) == "\n", "no end of a line at the end")
    for line in text:gmatch "([^\n]*)\n" do
        local time, rest = line:match "^time=(%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d%.%d%d%dZ) (.*)$"
        assert.is_truthy(time, line)
        list[#list + 1] = rest
    end
    return list
end

-- What a script logs to stderr, and what it prints.
local function logged(text, before)
    local result = helper.script_run("local log = mp.log\n" .. text, before)
    assert.equal(0, result.status, result.stderr)
    return lines_of(result.stderr), result.stdout
end

local function sorted(list)
    table.sort(list)
    return list
end

describe("mp.log", function()
    it("writes the level, the process, the message, and the fields in their order", function()
        assert.same({
            "level=info process=main msg=started",
            'level=warn process=main msg="disk is nearly full" free=1.5 path=/var/log',
            "level=error process=main msg=42 code=7 ok=false",
        }, (logged [[
            log.info "started"
            log.warn("disk is nearly full", { path = "/var/log", free = 1.5 })
            assert(log.error(42, { ok = false, code = 7 }) == true)]]))
    end)

    it("has the time of the wall clock, in UTC", function()
        local before = os.time()
        local result = helper.script_run("mp.log.info 'now'", "export TZ=Asia/Tokyo")
        local after = os.time()
        local t = {}
        t.year, t.month, t.day, t.hour, t.min, t.sec = result.stderr:match "^time=(%d+)-(%d+)-(%d+)T(%d+):(%d+):(%d+)"
        for key, value in pairs(t) do t[key] = math.tointeger(value) end
        local utc = os.time(os.date("!*t", before)) - before -- what os.time makes of fields that are UTC
        t.isdst = os.date("!*t", before).isdst
        local time = os.time(t) - utc
        assert.is_true(before <= time and time <= after, result.stderr)
    end)

    it("quotes a value so that a line is one line, and can be read again", function()
        local values = { "", " ", "two words", 'say "hi"', "C:\\x", "a=b", "one\ntwo\r\n\ttabbed", "gr\u{fc}n",
            "\xff\xfe\u{fc}",            "\0\27[31m\127", "plain_text-1.5/x@y:z%+,", "'" }
        local parts = {}
        for i, value in ipairs(values) do parts[i] = ("v%02d = %q"):format(i, value) end
        local lines = logged(("log.info('x', { %s })"):format(table.concat(parts, ", ")))
        assert.equal(1, #lines)
        assert.is_truthy(utf8.len(lines[1]))
        local rest, n = lines[1]:match "^level=info process=main msg=x (.*)$", 0
        while rest ~= "" do
            local key, after = rest:match "^v(%d%d)=(.*)$"
            assert.is_truthy(key, rest)
            local text, behind
            if after:sub(1, 1) == '"' then
                local last = 2
                while after:sub(last, last) ~= '"' do last = last + (after:sub(last, last) == "\\" and 2 or 1) end
                text, behind = load("return " .. after:sub(1, last))(), after:sub(last + 1)
            else
                text, behind = after:match "^([^ ]*)(.*)$"
                assert.is_nil(text:find '["=\\%c]')
            end
            n = n + 1
            assert.equal(values[math.tointeger(key)], text)
            rest = behind:gsub("^ ", "")
        end
        assert.equal(#values, n)
    end)

    it("shows tables, and what has a text of its own, and survives what raises", function()
        local lines = logged [[
            local loop = { 1 }
            loop.again = loop
            local class = { __tostring = function() return "an object" end }
            local bad = setmetatable({}, { __tostring = function() error "no" end })
            log.info("x", { a = { 1, 2, { "deep" } }, b = { name = "two words", n = 1 }, c = {}, d = loop,
                e = setmetatable({}, class), f = bad, g = true, h = math.huge, i = 2^53 | 0 })
            log.info("long", { text = ("y"):rep(100000) })
            local many = {}
            for i = 1, 1e5 do many[i] = i end
            log.info("many", { many = many })
            log.info(nil)]]
        assert.equal(table.concat({
            'level=info process=main msg=x a="{1, 2, {deep}}" b="{n=1, name=\\"two words\\"}" c={}',
            'd="{1, again={1, again={1, again={...}}}}" e="an object" f="<table whose __tostring fails>" g=true h=inf',
            "i=9007199254740992" }, " "), lines[1])
        assert.is_true(#lines[2] < 17000 and #lines[3] < 40000)
        assert.equal("level=info process=main msg=nil", lines[4])
    end)

    it("makes keys of other names such as can stand in a line, and none that is its own", function()
        assert.same({ "level=info process=main msg=x 1=list a_b=1 level_=high msg_=mine task_=t __ber=2" },
            (logged [[
                log.info("x", { "list", ["a b"] = 1, level = "high", msg = "mine", task = "t", ["über"] = 2 })]]))
    end)

    it("is misused at the caller's line", function()
        misuse("mp.log.info: fields are a table, as { file = name }, not 3", function() mp.log.info("x", 3) end)
        misuse("mp.log.bind: fields are a table", function() mp.log.bind "x" end)
        misuse("mp.log.is_enabled: the level must be 'debug', 'info', 'warn', 'error' or 'off', not the string "
            .. "\"warning\" (did you mean 'warn'?)", function() mp.log.is_enabled "warning" end)
        misuse("mp.log.is_enabled: 'off' is no level of a line", function() mp.log.is_enabled "off" end)
        misuse("mp.log.configure: expected a table of options, not the string \"debug\"",
            function() mp.log.configure "debug" end)
        misuse("mp.log.configure: option 'level' must be 'debug', 'info', 'warn', 'error' or 'off', not the string "
            .. "\"inf\" (did you mean 'info'?)", function() mp.log.configure { level = "inf" } end)
        misuse("mp.log.configure: unknown option 'levle' (did you mean 'level'?)",
            function() mp.log.configure { levle = "info" } end)
        misuse("mp.log.configure: option 'file' must be a path, or false, not 3",
            function() mp.log.configure { file = 3 } end)
        misuse("mp.log.configure: option 'file': /no/such/folder/x: No such file or directory",
            function() mp.log.configure { file = "/no/such/folder/x" } end)
    end)

    it("tells when a line finds no room", function()
        local _, out = logged [[
            log.configure { file = "/dev/full" }
            print(log.info "x")]]
        assert.matches("^nil\tNo space left on device", out)
    end)
end)

describe("levels", function()
    it("leave out what is less severe: info by default, else as set up, or as LUAMP_LOG says first", function()
        local all = [[for _, level in ipairs { "debug", "info", "warn", "error" } do
            log[level](level)
            io.write(tostring(log.is_enabled(level)), " ")
        end]]
        local function run(text, before)
            local lines, out = logged(text, before)
            local levels = {}
            for i, line in ipairs(lines) do levels[i] = line:match "msg=(.*)" end
            return table.concat(levels, " "), out
        end
        assert.same({ "info warn error", "false true true true " }, { run(all) })
        assert.same({ "debug info warn error", "true true true true " },
            { run("log.configure { level = 'debug' } " .. all) })
        assert.same({ "error", "false false false true " }, { run("log.configure { level = 'error' } " .. all) })
        assert.same({ "", "false false false false " }, { run("log.configure { level = 'off' } " .. all) })
        assert.same({ "warn error", "false false true true " },
            { run("log.configure { level = 'debug' } " .. all, "export LUAMP_LOG=warn") })
        assert.same({ "info warn error", "false true true true " }, { run(all, "export LUAMP_LOG=") })
    end)

    it("raise for a LUAMP_LOG that is none, at the first line", function()
        local result = helper.script_run("mp.log.debug 'x'", "export LUAMP_LOG=verbose")
        assert.equal(1, result.status)
        assert.matches("script%-%d+%.lua:2: mp%.log%.debug: LUAMP_LOG must be 'debug', 'info', 'warn', 'error' "
            .. 'or .off., not the string "verbose"', result.stderr)
    end)

    it("that are off touch nothing of what they are given", function()
        local touched = 0
        local value = setmetatable({}, { __tostring = function() touched = touched + 1 return "" end,
            __index = function() touched = touched + 1 end })
        mp.log.debug(value, { value = value })
        mp.log.debug("x", "not even misuse is looked at")
        assert.equal(0, touched)
    end)
end)

describe("a bound logger", function()
    it("has fields in every line, which the line's own go before", function()
        assert.same({
            "level=info process=main msg=a job=7 user=eve",
            "level=info process=main msg=b job=8 user=eve x=1",
            "level=warn process=main msg=c job=7 step=2 user=eve",
            "level=info process=main msg=d",
        }, (logged [[
            local fields = { job = 7, user = "eve" }
            local job = log.bind(fields)
            fields.job = "changed later"
            job.info "a"
            job.info("b", { job = 8, x = 1 })
            job.bind { step = 2 }.warn "c"
            log.info "d"]]))
    end)

    it("travels, and so do mp.log and its functions, alone and in what uses them", function()
        assert.same(sorted {
            "level=info process=kid msg=bound job=7", "level=info process=kid msg=log",
            "level=info process=kid msg=function", "level=info process=kid msg=argument job=7 step=1",
        }, sorted((logged [[
            local job, info = log.bind { job = 7 }, log.info
            local args = { job.bind { step = 1 } }
            local p = mp.process { name = "kid", start_method = "spawn", args = args, target = function(given)
                job.info "bound"
                log.info "log"
                info "function"
                given.info "argument"
            end }
            p:start()
            p:join()]])))
    end)
end)

describe("a process", function()
    it("is named, and so is a worker's task, by every start method", function()
        for _, method in ipairs { "fork", "forkserver", "spawn" } do
            local lines = logged(([[
                mp.set_start_method %q
                log.configure { level = "debug" }
                mp.process { target = function()
                    mp.log.debug "unnamed"
                    mp.process { target = function() mp.log.debug "below" end, name = "below" }:start():join()
                end }:start():join()
                local pool = mp.pool { workers = 1, name = "crawler", init = function() mp.log.debug "init" end }
                pool:each(function(i) mp.log.debug("task", { i = i }) end, { "a", "b" }, { chunksize = 1 })
                pool:close()
                pool:join()]]):format(method))
            assert.same({
                "level=debug process=process-1 msg=unnamed",
                "level=debug process=below msg=below",
                "level=debug process=crawler.1 msg=init",
                "level=debug process=crawler.1 task=1 msg=task i=a",
                "level=debug process=crawler.1 task=2 msg=task i=b",
            }, lines, method)
        end
    end)

    it("writes to the file that was set up, at its end, wherever it is started and whatever folder it is in", function()
        for _, method in ipairs { "fork", "forkserver", "spawn" } do
            local dir = helper.tmpdir()
            helper.write(dir .. "/run.log", "time=2020-01-01T00:00:00.000Z level=info process=main msg=earlier\n")
            local lines = logged(([[
                mp.set_start_method %q
                log.configure { file = "run.log", level = "warn" }
                log.warn "main"
                local p = mp.process { target = function()
                    mp.log.info "too little"
                    mp.log.warn "child"
                end, cwd = "/", name = "kid" }
                p:start():join()
                assert(p.exitcode == 0)
                log.configure { file = false }
                log.warn "stderr again"]]):format(method), "cd " .. helper.quote(dir))
            assert.same({ "level=warn process=main msg=\"stderr again\"" }, lines)
            assert.same({ "level=info process=main msg=earlier", "level=warn process=main msg=main",
                "level=warn process=kid msg=child" }, lines_of(helper.read(dir .. "/run.log")), method)
        end
    end)

    it("breaks no other's line, in a file, in a pipe and through a relay", function()
        local script = [[
            local mp = require "luamp"
            if arg[1] then mp.log.configure { file = arg[1] } end
            mp.each(function(k)
                for i = 1, 300 do mp.log.info("line", { k = k, i = i, x = ("x"):rep((i * 37) %% 5000) }) end
            end, mp.range(1, 8), { workers = 8, chunksize = 1, output = %s })]]
        local path = helper.tmpdir() .. "/log"
        for _, case in ipairs { { "nil", "%s %s", "stderr" }, { "nil", "%s %s " .. path, path },
            { "nil", "{ %s %s 2>&1 >&3 | cat >&2; } 3>&1", "stderr" }, { "'line'", "%s %s", "stderr" } } do
            local script_path = helper.script(script:format(case[1]))
            local result = helper.run(case[2]:format(helper.host, script_path))
            assert.equal(0, result.status, result.stderr)
            local text = case[3] == "stderr" and result.stderr or helper.read(path)
            local next_of = {}
            for _, line in ipairs(lines_of(text)) do
                local task, i, k, x = line:match(
                    "^level=info process=worker%.%d task=(%d) msg=line i=(%d+) k=(%d) x=(.*)$")
                assert.is_truthy(task, line)
                i = math.tointeger(i)
                next_of[k] = (next_of[k] or 0) + 1
                assert.same({ next_of[k], k }, { i, task })
                assert.equal(i * 37 % 5000 == 0 and '""' or ("x"):rep(i * 37 % 5000), x)
            end
            for k = 1, 8 do assert.equal(300, next_of[tostring(k)]) end
        end
    end)
end)
