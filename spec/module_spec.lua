-- The module in a stock lua5.4, and both hosts under valgrind.
local helper = require "spec.helper"

local valgrind = "valgrind -q --error-exitcode=99 --leak-check=no "

describe("require \"luamp\"", function()
    if not helper.sanitized then
        it("in stock lua ends with status 0 under valgrind", function()
            local result = helper.run(valgrind .. helper.lua .. [[ -e 'require "luamp"']])
            assert.same({ status = 0, stdout = "", stderr = "" }, result)
        end)

        it("in the program ends with status 0 under valgrind", function()
            local result = helper.run(valgrind .. helper.luamp .. [[ -e 'require "luamp"']])
            assert.same({ status = 0, stdout = "", stderr = "" }, result)
        end)

        it("sends metatables of metatables from a small stack", function()
            local result = helper.run(valgrind .. helper.lua .. [[ -e '
                local core = require "luamp" and require "luamp.core"
                local t = {}
                for i = 1, 250 do t = setmetatable({ i }, t) end
                local back = coroutine.wrap(function() return core.decode(core.encode(t), true) end)()
                print(getmetatable(getmetatable(back))[1])']])
            assert.same({ status = 0, stdout = "248\n", stderr = "" }, result)
        end)

        it("survives being unloaded while objects are alive", function()
            local result = helper.run(valgrind .. helper.lua .. [[ -e '
                local mp = require "luamp"
                keep = mp.process(print)
                file = io.tmpfile()
                setmetatable({}, { __gc = function() print(tostring(keep):match "^mp.process") end })']])
            assert.same({ status = 0, stdout = "mp.process\n", stderr = "" }, result)
        end)
    end

    it("gives the same table each time, and sets no global but in the program", function()
        local result = helper.run(helper.host .. [[ -e '
            local before = {}
            for name in pairs(_G) do before[name] = true end
            local mp = require "luamp"
            for name in pairs(_G) do assert(before[name], name) end
            package.loaded.luamp = nil
            print(mp == require "luamp", mp._VERSION)']])
        assert.equal("true\tluamp " .. helper.read("VERSION"), result.stdout)
    end)

    it("is one with its parts that are loaded after a script has cleared package.loaded", function()
        local result = helper.run(helper.host .. [[ -e '
            local mp = require "luamp"
            local p = mp.process(function() return "done" end):start()
            for name in pairs(package.loaded) do
                if name:find "^luamp%." then package.loaded[name] = nil end
            end
            print(#mp.wait { p }, p:result())']])
        assert.same({ status = 0, stdout = "1\tdone\n", stderr = "" }, result)
    end)

    if helper.host == helper.lua then
        it("works in further states of one process, one after the other and side by side", function()
            local path = helper.library("states", [[
                #include <lualib.h>
                #include <lauxlib.h>
                static int run(lua_State *L) {
                    lua_State *other = luaL_newstate();
                    luaL_openlibs(other);
                    lua_pushboolean(L, luaL_dostring(other, luaL_checkstring(L, 1)) == LUA_OK);
                    lua_pushstring(L, lua_tostring(other, -1));
                    lua_close(other);
                    return 2;
                }
                int luaopen_states(lua_State *L) { lua_pushcfunction(L, run); return 1; }
            ]])
            local script = helper.script [[
                local mp, run = require "luamp", require "states"
                local code = [=[
                    local mp = require "luamp"
                    return mp.process(function() return "other" end):start():result()
                ]=]
                local child = mp.process(function() return "first" end):start()
                print(run(code))
                print(child:result())
                print(run(code))
                print(mp.process(function() return select(2, run(code)) end):start():result())
            ]]
            local result = helper.run(helper.host .. " " .. script, { env = { LUA_CPATH = path } })
            assert.same({ status = 0, stderr = "", stdout = "true\tother\nfirst\ntrue\tother\nother\n" }, result)
        end)
    end
end)
