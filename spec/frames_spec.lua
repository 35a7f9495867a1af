-- A child never comes back into its parent's frames, however it ends.
local helper = require "spec.helper"

-- A spec file whose tests start a process that ends like this, inside `it`.
local function count_endings(ending)
    local dir = helper.tmpdir()
    helper.write(dir .. "/inner_spec.lua", ([[
        local saved_exit = os.exit
        local mp = require "luamp"
        describe("outer", function()
            for _, name in ipairs { "first", "second" } do
                it(name, function()
                    local child = mp.process { stderr = "null", target = function()
                        local _ = saved_exit
                        %s
                    end }:start()
                    assert.is_true(child:join())
                end)
            end
        end)
    ]]):format(ending))
    helper.write(dir .. "/busted.lua", "require 'busted.runner' { standalone = false }")
    local result = helper.run(helper.host .. " busted.lua --ignore-lua --output=TAP inner_spec.lua", { cwd = dir })
    local _, reports = result.stdout:gsub("ok %d", "")
    return { reports = reports, plans = select(2, result.stdout:gsub("1%.%.2", "")), status = result.status }
end

describe("a busted file that starts processes inside `it` reports each test once when the child", function()
    local endings = {
        ["returns"] = "return 1",
        ["raises an error"] = "error 'x'",
        ["raises a table"] = "error {}",
        ["raises an error in a coroutine"] = "coroutine.wrap(function() error 'x' end)()",
        ["raises an error in __gc"] = "setmetatable({}, { __gc = function() error 'x' end }) collectgarbage()",
        ["fails an assertion of busted"] = "assert.equal(1, 2)",
        ["calls os.exit"] = "os.exit(0)",
        ["calls os.exit in a coroutine"] = "coroutine.wrap(function() os.exit(true) end)()",
        ["calls os.exit and closes the state"] = "os.exit(0, true)",
        ["calls an os.exit that was saved before"] = "saved_exit(0)",
        ["calls a saved os.exit and closes the state"] = "saved_exit(0, true)",
        ["calls a saved os.exit in a coroutine"] = "coroutine.wrap(function() saved_exit(3, true) end)()",
        ["yields"] = "coroutine.yield()",
        ["runs out of stack"] = "local function f() return 1 + f() end f()",
        ["runs out of memory"] = "string.rep('x', 1 << 46)",
        ["raises what cannot be told as text"] =
            "local mt = { __tostring = function() error 'y' end } error(setmetatable({}, mt))",
    }
    for what, ending in pairs(endings) do
        it(what, function()
            assert.same({ reports = 2, plans = 1, status = 0 }, count_endings(ending))
        end)
    end
end)

describe("an error on an unprotected thread", function()
    -- lua_newthread and a call on it, as a C library might do.
    it("ends the child, not a call of its parent's", function()
        local path = helper.library("fresh", [[
            #include <lua.h>
            #include <lauxlib.h>
            static int call(lua_State *L) {
                lua_State *fresh = lua_newthread(L);
                lua_pushvalue(L, 1);
                lua_xmove(L, fresh, 1);
                lua_call(fresh, 0, 0);
                return 0;
            }
            int luaopen_fresh(lua_State *L) { lua_pushcfunction(L, call); return 1; }
        ]])
        local script = helper.script [[
            local mp = require "luamp"
            local call = require "fresh"
            local ok, e = pcall(function()
                local child = mp.process { stderr = "null", target = function()
                    call(function() error("on a fresh thread", 0) end)
                end }:start()
                return child:result()
            end)
            print(mp.parent_process() == nil, ok, e.kind, e.message)
        ]]
        local result = helper.run(helper.host .. " " .. script, { env = { LUA_CPATH = path } })
        assert.same({ status = 0, stderr = "", stdout = "true\tfalse\terror\ton a fresh thread\n" }, result)
    end)
end)

describe("what a parent left open", function()
    -- What the parent has is closed or finalized once, in the parent.
    local function ends_once(what, object)
        for _, ending in ipairs {
            "return", "error 'x'", "os.exit(0)", "os.exit(0, true)", "saved_exit(0, true)",
            "coroutine.wrap(function() saved_exit(0, true) end)()",
        } do
            local result = helper.run(helper.host .. " " .. helper.script([[
                local saved_exit = os.exit
                local mp = require "luamp"
                local main = mp.getpid()
                local function tell()
                    io.stdout:write(mp.getpid() == main and "in main" or "in a child", "\n")
                end
                local object ]] .. object .. [[
                mp.process { stderr = "null", target = function() ]] .. ending .. [[ end }:start():join()
                print(object ~= nil)
            ]]))
            assert.same({ what, ending, "true\nin main\n" }, { what, ending, result.stdout })
        end
    end

    it("is not closed in a child, whatever ends it", function()
        ends_once("closed", "<close> = setmetatable({}, { __close = tell })\n")
    end)

    it("is not finalized in a child, whatever ends it", function()
        ends_once("finalized", "= setmetatable({}, { __gc = tell })\n")
    end)

    it("os.exit gives a child's status, also when it was saved before the module was loaded", function()
        for call, status in pairs {
            ["os.exit()"] = 0, ["os.exit(true)"] = 0, ["os.exit(false)"] = 1, ["os.exit(7)"] = 7,
            ["os.exit(7, true)"] = 7, ["saved_exit(8)"] = 8, ["saved_exit(9, true)"] = 9,
            ["saved_exit(false, true)"] = 1, ["os.exit(256 + 3)"] = 3, ["os.exit(7.0)"] = 7,
        } do
            local result = helper.run(helper.host .. " " .. helper.script([[
                local saved_exit = os.exit
                local mp = require "luamp"
                local child = mp.process(function() local _ = saved_exit ]] .. call .. [[ end):start()
                child:join()
                print(child.exitcode)
            ]]))
            assert.same({ call, status .. "\n" }, { call, result.stdout })
        end
    end)
end)
