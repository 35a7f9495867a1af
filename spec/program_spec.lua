-- program_spec.lua: the program luamp is stock lua, to the letter, and more.
--
-- Each command line below runs under both, in a folder of its own, and must
-- print the same on both streams and end with the same status. `$L` is the
-- program. Only its name and luamp's own line of version are evened out.
local helper = require "spec.helper"

local files = {
    ["args.lua"] = [[
        local low, high = 0, 0
        for i in pairs(arg) do low, high = math.min(i, low), math.max(i, high) end
        for i = low, high do print(i, i == 0 and "script" or arg[i]) end
        print("...", select("#", ...), ...)]],
    ["error.lua"] = "local function inner() error 'in a file' end\nlocal function outer() inner() end\nouter()\n",
    ["syntax.lua"] = "print 'never'\nx = = 1\n",
    ["shebang.lua"] = "#!/usr/bin/env lua\nprint('line', debug.getinfo(1).currentline)\nerror 'x'",
    ["bom.lua"] = "\xEF\xBB\xBF#!/usr/bin/env lua\nprint 'bom'\n",
    ["comment.lua"] = "# only this line is skipped\n# and not this one\n",
    ["bytes.luac"] = string.dump(load("print('bytecode', ...)", "=bytes")),
    ["cut.luac"] = string.dump(load "print(1)"):sub(1, 30),
    ["mod.lua"] = "return { name = 'mod', args = { ... } }",
    ["mod-v2.lua"] = "return { name = 'mod-v2' }",
    ["nothing.lua"] = "loaded_nothing = true",
    ["bad.lua"] = "error 'the module fails'",
    ["init.lua"] = "print('init', ...) from_init = true",
    ["read.lua"] = "print(io.read()) print(io.read 'n') print(io.read 'a')",
    ["returns.lua"] = "return 1, 2, 3",
    ["-dash.lua"] = "print('dash', arg[0], arg[-1])",
    ["-"] = "print 'the file of that name'",
    ["with space.lua"] = "error 'here'",
}

-- A folder with those of the files that the text mentions.
local function folder(text)
    local dir = helper.tmpdir()
    for name, content in pairs(files) do
        if text:find(name:match "^[^.]+", 1, true) then
            helper.write(dir .. "/" .. name, content)
        end
    end
    return dir
end

local clean = {
    LUA_INIT = false, LUA_INIT_5_4 = false, LUA_PATH = false, LUA_PATH_5_4 = false,
    LUA_CPATH = false, LUA_CPATH_5_4 = false, TERM = "dumb", INPUTRC = "/dev/null",
}

local function run_under(program, command, options)
    local env = { L = program }
    for name, value in pairs(clean) do env[name] = value end
    for name, value in pairs(options.env or {}) do env[name] = value end
    local cwd = folder(command .. (env.LUA_INIT or ""))
    local result = helper.run(command, { stdin = options.stdin, env = env, cwd = cwd })
    local name = program:gsub("%p", "%%%0")
    result.stdout = result.stdout:gsub(name, "lua"):gsub("luamp %d+%.%d+%.%d+\n", "")
    result.stderr = result.stderr:gsub(name, "lua")
    return result
end

-- A case is a command line, or a table of one and its `stdin` and `env`.
local function compare(what, cases)
    describe("is stock lua in " .. what .. ":", function()
        for _, case in ipairs(cases) do
            case = type(case) == "table" and case or { case }
            local name = case[1]
            for key, value in pairs(case.env or {}) do name = ("%s=%s %s"):format(key, value, name) end
            if case.stdin then name = ("%s <<< %q"):format(name, case.stdin) end
            it(name:gsub("\n", "n"), function()
                local stock = run_under(helper.lua, case[1], case)
                assert.same(stock, run_under(helper.luamp, case[1], case))
            end)
        end
    end)
end

local function with_env(command, env)
    return { command, env = env }
end

-- Lines typed into the interactive mode through a pipe.
local function typed(lines, command)
    return { command or "$L -i", stdin = lines }
end

compare("its options", {
    [[$L -e 'print(1)']],
    [[$L -e'print(1)' -e "print(2)"]],
    [[$L -e 'a = 1' -e 'print(a, ...)' args.lua x y]],
    [[$L -e '' args.lua]],
    [[$L -e 'return 1']],
    [[$L -l mod -e 'print(mod.name, #mod.args, mod.args[1])']],
    [[$L -lmod -e 'print(mod.name)' args.lua]],
    [[$L -l g=mod -e 'print(g.name, mod)']],
    [[$L -lg=mod -e 'print(g.name, mod)']],
    [[$L -l mod-v2 -e 'print((mod or _G["mod-v2"]).name)']],
    [[$L -l nothing -e 'print(nothing, loaded_nothing)']],
    [[$L -l string -e 'print(string.format("%d", 7))']],
    [[$L -l missing -e 'print "not reached"']],
    [[$L -l g=missing]],
    [[$L -l bad]],
    [[$L -l syntax]],
    [[$L -e 'require = nil' -l mod]],
    [[$L -v]],
    [[$L -v -v]],
    [[$L -v -e 'print(1)']],
    [[$L -v args.lua a]],
    [[$L -E -e 'print(debug.getregistry().LUA_NOENV)']],
    [[$L -E -v -W]],
    [[$L -W -e 'warn("a ", "warning")']],
    [[$L -e 'warn "a warning"' -W -e 'warn "another"']],
    [[$L -e 'warn "@on" warn "one" warn "@off" warn "two" warn "@none"']],
    [[$L -- args.lua -e x]],
    [[$L -- -dash.lua]],
    [[$L -- -]],
    [[$L -e 'print(1)' -- args.lua --]],
    [[$L -e 'print(1)' --]],
    { [[$L --]], stdin = "print(#arg, arg[1], ...)" },
})

compare("wrong options", {
    [[$L -x]],
    [[$L --version]],
    [[$L --help]],
    [[$L -e]],
    [[$L -e -v]],
    [[$L -l]],
    [[$L -l -- mod]],
    [[$L -vv]],
    [[$L -i2]],
    [[$L -Ex]],
    [[$L -Wall]],
    [[$L -v -x]],
    [[$L -e 'print "not reached"' -x]],
    [[$L -ex]],
    [[$L -e 'x =']],
    [[$L -e 'error "x"' -e 'print "not reached"' args.lua]],
    with_env([[$L -x]], { LUA_INIT = "print 'not reached'" }),
    [[ln -s "$L" ./prog; ./prog -x; ./prog -e 'error "x"']],
    [[ln -s "$L" ./prog; PATH=.:$PATH prog -e 'print(arg[0]) error "x"']],
})

compare("arguments", {
    [[$L args.lua]],
    [[$L args.lua a '' 'b c' -e --]],
    [[$L -W -E args.lua 1 2]],
    [[$L -e 'print(arg[0] == arg[-2], #arg)']],
    { [[$L - a b]], stdin = files["args.lua"] },
    { [[$L -W - a]], stdin = files["args.lua"] },
    [[$L -e 'arg = nil' args.lua]],
    [[$L -e 'arg = {"x", "y"; n = 1}' -e 'print(#arg)' returns.lua]],
    [[$L -e 'arg = {[0] = "", "x", "y"}' args.lua a]],
    [[$L -e 'setmetatable(arg, {__len = function() return 3 end})' args.lua a]],
    [[$L -e 'setmetatable(arg, {__len = function() return "x" end})' args.lua a]],
    [[$L -e 'setmetatable(arg, {__len = function() return 1e8 end})' args.lua a]],
    [[$L args.lua $(seq 1 3000) | tail -n 1 | wc]],
})

compare("scripts", {
    [[$L missing.lua a]],
    [[$L .]],
    [[$L error.lua]],
    [[$L './with space.lua']],
    [[$L syntax.lua]],
    [[$L shebang.lua]],
    [[$L bom.lua]],
    [[$L comment.lua]],
    [[$L bytes.luac a b]],
    [[$L cut.luac]],
    [[$L returns.lua]],
    [[$L /dev/null]],
    [[$L "$PWD/error.lua" 2>&1 | sed "s|$PWD|.|"]],
    { [[$L read.lua]], stdin = "first\n 0x10 rest\nof it" },
})

compare("programs on stdin", {
    { [[$L]], stdin = "print(1, ...) print(arg[0] ~= nil, #arg)" },
    { [[$L]], stdin = "" },
    { [[$L -]], stdin = "" },
    { [[$L]], stdin = "#!shebang\nprint(2)" },
    { [[$L]], stdin = "error 'x'" },
    { [[$L -]], stdin = "error 'x'" },
    { [[$L -]], stdin = "x = = 1" },
    { [[$L]], stdin = "x = = 1" },
    { [[$L -e 'print(1)']], stdin = "print 'not reached'" },
    { [[$L -W]], stdin = "warn 'x'" },
    { [[$L -]], stdin = "print(io.read())\nthe rest" },
    [[$L < bytes.luac]],
    [[$L - < bom.lua]],
    [[$L < .]],
    [[$L - < .]],
    { [[$L -e 'print(dofile())']], stdin = "return 'from', 'stdin'" },
    { [[$L -e 'debug.debug() print "on"']], stdin = "x = 1\nerror 'y'\nprint(x)\ncont\n" },
})

compare("LUA_INIT and the paths", {
    with_env([[$L args.lua a]], { LUA_INIT = "print('init', arg[1], ...)" }),
    with_env([[$L -e 'print(1)']], { LUA_INIT = "print 'general'", LUA_INIT_5_4 = "print 'special'" }),
    with_env([[$L -e 'print(from_init)']], { LUA_INIT = "@init.lua" }),
    with_env([[$L -e 'print "not reached"']], { LUA_INIT = "@missing.lua" }),
    with_env([[$L -e 'print "not reached"']], { LUA_INIT = "@syntax.lua" }),
    with_env([[$L -e 'print "not reached"']], { LUA_INIT = "x = = 1" }),
    with_env([[$L -e 'print "not reached"']], { LUA_INIT = "error 'in init'" }),
    with_env([[$L -e 'print "not reached"']], { LUA_INIT_5_4 = "error {}" }),
    with_env([[$L -e 'print(1)']], { LUA_INIT = "", LUA_INIT_5_4 = "" }),
    with_env([[$L -v]], { LUA_INIT = "print 'after the version'" }),
    with_env([[$L -E -e 'print(package.path, package.cpath)']],
        { LUA_INIT = "print 'not reached'", LUA_PATH = "x", LUA_CPATH = "y" }),
    [[$L -e 'print(package.path, package.cpath, package.config)']],
    with_env([[$L -e 'print(package.path)']], { LUA_PATH = "a/?.lua;;b/?.lua" }),
    with_env([[$L -e 'print(package.path)']], { LUA_PATH = "general", LUA_PATH_5_4 = "special" }),
    with_env([[$L -e 'print(package.cpath)']], { LUA_CPATH = ";;" }),
    with_env([[$L -e 'print(package.cpath)']], { LUA_CPATH = "general", LUA_CPATH_5_4 = "special;;" }),
    with_env([[$L -l missing]], { LUA_PATH = "?.x", LUA_CPATH = "?.y" }),
})

compare("uncaught errors", {
    [[$L -e 'error "x"']],
    [[$L -e 'error("x", 0)']],
    [[$L -e 'local function f() error("x", 2) end f()']],
    [[$L -e 'error()']],
    [[$L -e 'error(42)']],
    [[$L -e 'error(4.5)']],
    [[$L -e 'error(true)']],
    [[$L -e 'error {}']],
    [[$L -e 'error(print)']],
    [[$L -e 'error(coroutine.create(print))']],
    [[$L -e 'error(io.stdout)' 2>&1 | sed 's/(0x.*)/(address)/']],
    [[$L -e 'error(setmetatable({}, {__tostring = function() return "told" end}))']],
    [[$L -e 'error(setmetatable({}, {__tostring = function() return 42 end}))']],
    [[$L -e 'error(setmetatable({}, {__tostring = function() error "y" end}))']],
    [[$L -e 'error(setmetatable({}, {__name = "Named"}))']],
    [[$L -e 'error "two\nlines"']],
    [[$L -e 'error "cut\0here"']],
    [[$L -e 'error(("long"):rep(5000))']],
    [[$L -e 'local t = {} t.x.y = 1']],
    [[$L -e 'undefined.field()']],
    [[$L -e 'local s = "x" s:missing()']],
    [[$L -e 'print(1 + {})']],
    [[$L -e 'print({} < {})']],
    [[$L -e 'print("a" .. nil)']],
    [[$L -e 'print(1 // 0)']],
    [[$L -e 'string.rep()']],
    [[$L -e '("x"):rep(1 << 62)']],
    [[$L -e 'assert(false)']],
    [[$L -e 'assert(nil, "told")']],
    [[$L -e 'assert(false, {})']],
    [[$L -e 'local function f() return error "x" end local function g() return f() end g()']],
    [[$L -e 'coroutine.wrap(function() error "x" end)()']],
    [[$L -e 'coroutine.wrap(function() error {} end)()']],
    [[$L -e 'local function f() return 1 + f() end f()']],
    [[$L -e 'local function f(n) if n == 0 then error "deep" end f(n - 1) return 1 end f(100)']],
    [[$L -e 'local function f() return pcall(f) end print(f())']],
    [[$L -e 'local function f(s) return s:gsub(".", f) end f "x"']],
    [[$L -e 'local f <close> = setmetatable({}, {__close = function(_, e) print(e) end}) error "x"']],
    [[$L -e 'local f <close> = setmetatable({}, {__close = function() error "y" end}) error "x"']],
    [[$L -e 'print(xpcall(error, function(e) return e .. "!" end, "x"))']],
    [[$L -e 'table.sort({3, 2, 1, 4}, function() error "x" end)']],
    [[$L -e 'load("error \"x\"", "@name.lua")()']],
    [[$L -e 'load("error \"x\"", "code\nlines")()']],
    [[$L -e 'goto nowhere']],
    [[$L -e 'local x <const> = 1; x = 2']],
    [[$L -e 'x = "unfinished']],
})

compare("the end of a script", {
    [[$L -e 'os.exit()']],
    [[$L -e 'os.exit(true)']],
    [[$L -e 'os.exit(false)']],
    [[$L -e 'os.exit(3)']],
    [[$L -e 'os.exit(256 + 7)']],
    [[$L -e 'os.exit(-1)']],
    [[$L -e 'os.exit "x"']],
    [[$L -e 'io.write "no newline" os.exit(2)']],
    [[$L -e 'coroutine.wrap(function() os.exit(4) end)()']],
    [[$L -e 'x = setmetatable({}, {__gc = function() print "gc" end}) os.exit(0)']],
    [[$L -e 'x = setmetatable({}, {__gc = function() print "gc" end}) os.exit(5, true)']],
    [[$L -e 'local x <close> = setmetatable({}, {__close = function() print "closed" end}) os.exit(true, true)']],
    [[$L -e 'local x <close> = setmetatable({}, {__close = function() error "y" end}) os.exit(6, true)']],
    [[$L -e 'local x <close> = setmetatable({}, {__close = function() print "closed" end}) os.exit(true)']],
    [[$L -e 'x = setmetatable({}, {__gc = function() print "gc" end})']],
    [[$L -e 'x = setmetatable({}, {__gc = function() error "in gc" end})']],
    [[$L -W -e 'x = setmetatable({}, {__gc = function() error "in gc" end})']],
    [[$L -W -e 'setmetatable({}, {__gc = function() error {} end}) collectgarbage()']],
    [[$L -e 'x = setmetatable({}, {__gc = function() os.exit(7) end}) error "first"']],
    [[$L -e 'io.stdout:setvbuf "full" io.write "out" io.stderr:write "err" error "x"' 2>&1]],
    [[$L -e 'io.stdout:close() print(io.type(io.stdout))']],
    [[$L -e 'os.execute "kill -KILL $PPID"; while true do end']],
    [[$L -e 'print(os.execute "exit 3")' -e 'print(io.popen("exit 4"):close())']],
})

local write_and_tell = [['
    local ok, message, code = io.stdout:write("x"):flush()
    io.stderr:write(tostring(ok), " ", tostring(message), " ", tostring(code), "\n")']]

compare("streams that are closed or full", {
    [[$L -e ]] .. write_and_tell .. [[ >&-]],
    [[$L -e ]] .. write_and_tell .. [[ >/dev/full]],
    [[$L -e 'print(1)' >&-]],
    [[$L -e 'print(1)' >/dev/full]],
    [[$L -e 'print(io.read())' <&-]],
    [[$L -e 'print(io.read "a")' <&-]],
    [[$L <&-]],
    [[$L - <&-]],
    [[$L args.lua a <&-]],
    [[$L -e 'error "unheard"' 2>&-]],
    [[$L -e 'print(io.stderr:write "x")' 2>&-]],
    [[$L -x 2>&-]],
    [[$L -e 'os.exit(9)' <&- >&- 2>&-]],
    [[$L -v >&-]],
    [[$L -i <&-]],
    [[$L -e 'print(os.execute "cat 2>/dev/null")' <&-]],
})

compare("the interactive mode on a pipe", {
    typed "print(1)\n",
    typed "1 + 1\n'a', 'b', nil\n",
    typed "=3, 4\n",
    typed "return 5\n\n-- a comment\n;\n",
    typed "x = {\n1,\n2}\n#x\n",
    typed "for i = 1, 2 do\nprint(i)\nend\n",
    typed "local a = 1\na\n",
    typed "function f(x)\n  return x\nend f(1)\n",
    typed "x = [[\nlong\n]] x\n",
    typed "no newline at the end",
    typed "'no newline at the end'",
    typed "",
    typed "for i = 1, 2 do",
    typed "for i = 1, 2 do\n",
    typed "_PROMPT2 = '... '\nx = (\n",
    typed "x = = 1\n1\n",
    typed "x = 'open\n1\n",
    typed "error 'x'\n1\n",
    typed "error {}\nerror()\n",
    typed "error(setmetatable({}, {__tostring = function() return 'told' end}))\n",
    typed "nil.x = 1\nlocal t = nil; t.x = 1\n",
    typed "_PROMPT = 'lua> '\n_PROMPT2 = 'more> '\nx = {\n}\n",
    typed "_PROMPT = 42\n_PROMPT2 = false\nx = {\n}\n",
    typed "_PROMPT = setmetatable({}, {__tostring = function() return 'object> ' end})\n1\n",
    typed "_PROMPT = setmetatable({}, {__tostring = function() error 'x' end})\n1\n",
    typed "print = nil\n1\nx = 1\n",
    typed "print = function(...) io.write('<', select('#', ...), '>', '\\n') end\n1, nil, nil\n",
    typed "print = error\n1\n{}\n",
    typed "table.unpack({}, 1, 300)\nselect('#', table.unpack({}, 1, 300))\n",
    typed "os.exit(5)\n1\n",
    typed "warn '@on'\nwarn 'x'\n",
    typed("a, b, ...\n", "$L -i -e 'a = 1' -e 'b = 2'"),
    typed("#arg, arg[0], arg[-1] == nil\n", "$L -i args.lua x"),
    typed("'not reached'\n", "$L -i error.lua"),
    typed("'not reached'\n", "$L -i missing.lua"),
    typed("from_init\n", "LUA_INIT=@init.lua $L -i"),
    typed("mod.name\n", "$L -i -l mod"),
    typed("1\n", "$L -i -v -E -W"),
    typed("1\n", "$L -i - < returns.lua"),
    typed("(function() error 'deep' end)()\ncoroutine.wrap(error)('x')\n"),
    typed "local function f() return 1 + f() end f()\n",
    typed "m = {__close = function() print(1) end}\ndo local x <close> = setmetatable({1}, m) end\n",
})

compare("what a script finds", {
    [[$L -e 'print(_VERSION, math.type(math.maxinteger), #package.searchers)']],
    [[$L -e 'print(collectgarbage "incremental", collectgarbage "isrunning")']],
    [[$L -e 'print(collectgarbage "generational", collectgarbage("step"))']],
    [[$L -e 'print(os.setlocale(), os.setlocale(nil, "ctype"))']],
    [[$L -e 'print(debug.traceback "here")']],
    [[$L -e 'print(debug.gethook()) print(coroutine.running() ~= nil, coroutine.isyieldable())']],
    [[$L -e 'print(getmetatable("").__index == string, debug.getmetatable(print))']],
    [[$L -e 'local seen = {} for name, value in pairs(_G) do
        if name ~= "mp" then seen[#seen + 1] = name .. ":" .. type(value) end end
        table.sort(seen) print(table.concat(seen, " "))']],
    [[$L -e 'local seen = {} for name, library in pairs(package.loaded) do
        if not name:find "^luamp" then for key, value in pairs(library) do
        if key ~= "mp" then seen[#seen + 1] = name .. "." .. key .. ":" .. type(value) end end end end
        table.sort(seen) print(table.concat(seen, "\n"))']],
})

-- Runs luamp with the arguments of a shell's command line.
local function luamp(arguments, options)
    options = options or {}
    local env = { L = helper.luamp }
    for name, value in pairs(clean) do env[name] = value end
    for name, value in pairs(options.env or {}) do env[name] = value end
    return helper.run("$L " .. arguments, { stdin = options.stdin, env = env, cwd = helper.tmpdir() })
end

describe("luamp", function()
    it("names both versions", function()
        local version = require("luamp")._VERSION
        local own, stock = luamp("-v").stdout:match "^(.-\n)(.*)$"
        assert.equal(version .. "\n", own)
        assert.equal(helper.run(helper.lua .. " -v").stdout, stock)
    end)

    it("has mp before anything runs", function()
        local says = "print(mp._VERSION, mp == require 'luamp', mp == package.loaded.luamp)"
        local line = require("luamp")._VERSION .. "\ttrue\ttrue\n"
        assert.equal(line, luamp('-e "$S"', { env = { S = says } }).stdout)
        assert.equal(line, luamp('-E -e "$S"', { env = { S = says } }).stdout)
        assert.equal(line, luamp("-e ''", { env = { LUA_INIT = says } }).stdout)
        assert.equal(line, luamp("", { stdin = says }).stdout)
        assert.equal(line, luamp(helper.script(says)).stdout)
        assert.equal(line, luamp("-l luamp -e 'assert(luamp == mp)' -e \"$S\"", { env = { S = says } }).stdout)
    end)

    it("gives no file the number of a standard stream", function()
        local result = luamp [[-e 'local f <close> = io.open("f", "w") print "astray"' >&-; cat f]]
        assert.same({ status = 0, stdout = "", stderr = "" }, result)
        result = luamp [[-e 'local f <close> = io.open("f", "w") f:write("x"):flush() error "astray"' 2>&-; cat f]]
        assert.same({ status = 0, stdout = "x", stderr = "" }, result)
    end)
end)

-- Debian 12 has no posix for Lua 5.4; what is installed must load.
describe("luamp loads the C module", function()
    local uses = {
        lfs = "print(require('lfs').attributes('/', 'mode'))",
        cjson = "print(require('cjson').encode { 1, 2 })",
        posix = "print(require('posix').basename '/a/b')",
        luv = "local uv = require 'luv' uv.new_timer():start(1, 0, function() print 'rang' os.exit(0) end) uv.run()",
        ["system.core"] = "print(require('system.core').gettime() > 0)",
    }
    for name, use in pairs(uses) do
        if package.searchpath(name, package.cpath) or package.searchpath(name, package.path) then
            it(name, function()
                local env = { S = use, LUA_CPATH = false }
                local stock = helper.run(helper.lua .. ' -e "$S"', { env = env })
                assert.equal("", stock.stderr)
                assert.same(stock, luamp('-e "$S"', { env = env }))
            end)
        end
    end
end)

-- The script signals itself, so that the signal cannot come too early; and not
-- by os.execute, during which SIGINT is ignored.
local function signals_itself(name)
    return ("io.popen('kill -%s $PPID'):close() while true do end"):format(name)
end

describe("luamp, interrupted", function()
    for name, status in pairs { INT = 130, TERM = 143, HUP = 129 } do
        local script = signals_itself(name)
        local message = name == "INT" and "interrupted" or "interrupted by SIG" .. name
        local expected = { status = status, stdout = "", stderr = helper.luamp .. ": " .. message .. "\n" }

        it("by SIG" .. name .. " prints one line and ends with its status", function()
            assert.same(expected, luamp(helper.script(script)))
            assert.same(expected, luamp(helper.script("coroutine.wrap(function() " .. script .. " end)()")))
            assert.same(expected, luamp("", { stdin = script }))
            assert.same(expected, luamp("-", { stdin = script }))
        end)

        it("by SIG" .. name .. " runs nothing more", function()
            local env = { S = script }
            assert.same(expected, luamp([[-e "$S" -e 'print "more"']], { env = env }))
            assert.same(expected, luamp("-e \"print 'more'\"", { env = { LUA_INIT = script } }))
        end)
    end

    it("by Ctrl-C goes on to the next line of the interactive mode", function()
        local result = luamp("-i", { stdin = signals_itself "INT" .. "\n1 + 1\nos.exit(3)\n" })
        assert.equal("interrupted\n", result.stderr)
        assert.is_truthy(result.stdout:find("\n2\n", 1, true))
        assert.equal(3, result.status)
    end)

    it("by SIGTERM leaves the interactive mode", function()
        local result = luamp("-i", { stdin = signals_itself "TERM" .. "\n1 + 1\n" })
        assert.equal("interrupted by SIGTERM\n", result.stderr)
        assert.is_nil(result.stdout:find("\n2\n", 1, true))
        assert.equal(143, result.status)
    end)
end)

describe("an error that nobody catches", function()
    it("shows the script's calls, and none of luamp's own", function()
        local path = helper.script [[
            local mp = require "luamp"
            local function make() mp.pool { worker = 1 } end
            make()]]
        local result = luamp(path)
        assert.equal(1, result.status)
        local expected = ("%s: PATH:2: mp.pool: unknown option 'worker' (did you mean 'workers'?)\nstack traceback:\n"
            .. "\tPATH:2: in local 'make'\n\tPATH:3: in main chunk\n\t[C]: in ?\n"):format(helper.luamp)
        assert.equal((expected:gsub("PATH", path)), result.stderr)
    end)
end)
