-- What members of a family write to one stream arrives whole, once.
local helper = require "spec.helper"

local LINES = 10000

-- Eight children write numbered lines of one width, by print or io.write.
local writers = [[
local mp = require "luamp"
local how, width, lines = arg[1], math.tointeger(arg[2]), math.tointeger(arg[3])
io.write "buffered before the start\n"
local list = {}
for k = 1, 8 do
    list[k] = mp.process { target = function()
        local filler = string.rep(string.char(96 + k), width)
        for i = 1, lines do
            local line = (k .. " " .. i .. " " .. filler):sub(1, width - 1)
            if how == "print" then print(line) else io.write(line, "\n") end
        end
    end }:start()
end
for k = 1, 8 do assert(list[k]:join() and list[k].exitcode == 0) end
]]

-- Reads what they wrote: says what is torn, missing or doubled.
local checker = [[
local width, lines = math.tointeger(arg[1]), math.tointeger(arg[2])
local next_of, bad = {}, 0
assert(io.read "L" == "buffered before the start\n", "the first line")
for line in io.lines() do
    local k, i = line:match "^(%d) (%d+) "
    k, i = math.tointeger(k), math.tointeger(i)
    local filler = k and string.rep(string.char(96 + k), width)
    local whole = k and line == (k .. " " .. i .. " " .. filler):sub(1, width - 1)
    if whole and i == (next_of[k] or 1) then next_of[k] = i + 1 else bad = bad + 1 end
end
local missing = 0
for k = 1, 8 do missing = missing + lines + 1 - (next_of[k] or 1) end
print(bad, missing)
]]

describe("eight children that write lines", function()
    for _, how in ipairs { "print", "io.write" } do
        for _, width in ipairs { 60, 5000 } do
            for _, sink in ipairs { "a pipe", "a file" } do
                it(("by %s, %d bytes wide, into %s: none torn, missing or doubled")
                    :format(how, width, sink), function()
                    local write = ("%s %s %s %d %d"):format(helper.host, helper.script(writers),
                        how, width, LINES)
                    local check = ("%s %s %d %d"):format(helper.lua, helper.script(checker), width, LINES)
                    local result = sink == "a pipe" and helper.run(write .. " | " .. check)
                        or helper.run(write .. " >sink && " .. check .. " <sink; rm sink",
                            { cwd = helper.tmpdir() })
                    assert.same({ status = 0, stdout = "0\t0\n", stderr = "" }, result)
                end)
            end
        end
    end
end)

local function run(text, after)
    return helper.run(helper.host .. " " .. helper.script('local mp = require "luamp"\n' .. text)
        .. (after or ""))
end

describe("a stream", function()
    it("gives what one call writes whole although calls of others are shorter", function()
        local result = run([[
            local long, list = ("x"):rep(60000) .. "\n", {}
            for k = 1, 4 do
                list[k] = mp.process { target = function()
                    for _ = 1, 300 do
                        if k == 1 then io.write(long) io.flush() else print "short" end
                    end
                end }:start()
            end
        ]], " | sort | uniq -c | awk '{ print $1, length($2) }'")
        assert.equal("900 5\n300 60000\n", result.stdout)
    end)

    it("is not written twice when output was buffered before a start", function()
        local result = run([[
            io.write "once "
            mp.process { target = function() io.write "child " end }:start():join()
            io.write "after\n"
        ]], " | cat")
        assert.equal("once child after\n", result.stdout)
    end)

    it("is not written twice when it could not be written before the start", function()
        local result = run([[
            local file = io.open("/dev/full", "w")
            io.output(file)
            file:setvbuf("full", 65536)
            io.write "lost"
            mp.process { target = function() end }:start():join()
            print "on"
            os.exit(0)
        ]])
        assert.equal("on\n", result.stdout)
    end)

    it("keeps the order of calls of one process", function()
        local result = run([[
            mp.process { target = function()
                io.write "a"
                print "b"
                io.stdout:write("c", 1, " ", 2.5, "\n")
                io.write(("d"):rep(10000), "\n")
                print "e"
            end }:start():join()
        ]], " | cat")
        assert.equal("ab\nc1 2.5\n" .. ("d"):rep(10000) .. "\ne\n", result.stdout)
    end)

    it("is shared by children that write to a file of their parent's", function()
        helper.needs_fork "open files are inherited"
        local path = helper.tmpdir() .. "/log"
        local result = run(([[
            local file = io.open(%q, "w")
            local list = {}
            for k = 1, 4 do
                list[k] = mp.process { target = function()
                    for i = 1, 2000 do file:write(("x"):rep(97), k, "\n") end
                end }:start()
            end
            for k = 1, 4 do list[k]:join() end
        ]]):format(path))
        assert.same({ status = 0, stdout = "", stderr = "" }, result)
        local n = 0
        for line in io.lines(path) do
            n = n + 1
            assert.matches("^x+%d$", line)
            assert.equal(98, #line)
        end
        assert.equal(8000, n)
    end)

    it("stays where it was put by seek after long writes", function()
        local path = helper.tmpdir() .. "/file"
        local result = run(([[
            local sleeper = mp.process { target = function() mp.sleep(1000) end }:start()
            local file = io.open(%q, "w+")
            file:write(("a"):rep(10000))
            file:seek("set", 5)
            file:write(("b"):rep(6000))
            print(file:seek(), file:seek("end"))
            file:write "c"
            file:seek("set", 0)
            local text = file:read "a"
            print(#text, text:sub(1, 7), text:sub(6004, 6007), text:sub(-2))
            sleeper:stop()
        ]]):format(path))
        assert.equal("6005\t10000\n10001\taaaaabb\tbbaa\tac\n", result.stdout)
    end)
end)

describe("writing has stock lua's results and errors", function()
    -- Each is run alone, where the stock functions work, and with a child.
    local cases = {
        'return io.write("x") == io.stdout',
        'return io.stdout:write("x") == io.stdout',
        'return pcall(io.write, "x", {})',
        'return pcall(io.write, nil)',
        'return pcall(io.stdout.write, io.stdout, 1, print)',
        'return pcall(io.stdout.write, "x")',
        'return pcall(print, setmetatable({}, { __tostring = function() return 1 end }))',
        'return io.write(1, " ", 1.0, " ", 1e100, " ", -0.0, " ", 2^63, " ", math.mininteger)',
        'print(1, 1.0, nil, true, "x\\0y", setmetatable({}, { __name = "thing" }) ~= nil)',
        'print()',
        'local f = io.open("/dev/full", "w") f:setvbuf "no" return f:write("x")',
        'local f = io.open("/dev/full", "w") f:write("x") return f:flush()',
        'local f = io.open("/dev/full", "w") f:write("x") return f:close()',
        'local f = io.open("/dev/full", "w") return f:write(("x"):rep(100000))',
        'local f = io.tmpfile() f:close() return pcall(f.write, f, "x")',
        'io.output():close() return pcall(io.write, "x")',
        'local f = io.open("/dev/null") return f:write("x")',
        'return io.stdout:setvbuf("full", 100), io.write("x"), io.flush(), io.stdout:seek() ~= 1',
    }

    for _, case in ipairs(cases) do
        it(case, function()
            local show = ([[
                local function describe(...)
                    local list = table.pack(...)
                    for i = 1, list.n do list[i] = tostring(list[i]):gsub("0x%%x+", "ADDRESS") end
                    io.stderr:write("\n", table.concat(list, "|"), "\n")
                end
                describe((function() %s end)())
            ]]):format(case)
            local alone = run(show)
            local shared = run([[
                local child = mp.process { daemon = true, target = function() mp.sleep(1000) end }:start()
            ]] .. show)
            alone.stderr, shared.stderr = alone.stderr:gsub("script%-%d+", "S"), shared.stderr:gsub("script%-%d+", "S")
            assert.same(alone, shared)
        end)
    end
end)

describe("the report of an uncaught error", function()
    it("is one whole each, of many children at once", function()
        local result = run([[
            for k = 1, 40 do
                mp.process { name = "p" .. k, target = function() error(("x"):rep(500)) end }:start()
            end
        ]])
        local n = 0
        for name, pid in result.stderr:gmatch("luamp: process '(p%d+)' %(pid (%d+)%) failed: [^\n]+: x+\n"
            .. "stack traceback:\n\t%[C%]: in function 'error'\n\t[^\n]+\n") do
            n = n + (name ~= "" and pid ~= "" and 1 or 0)
        end
        assert.equal(40, n)
        assert.equal(0, result.status)
    end)
end)
