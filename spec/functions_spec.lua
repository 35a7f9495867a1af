-- functions_spec.lua: functions and objects with names through the codec and home
-- from a process.
--
-- A spec's own functions have an environment of busted's; what is sent here is
-- made from text, and has the environment of a script.
local helper = require "spec.helper"
local mp = require "luamp"
local core = require "luamp.core"

local globals = debug.getregistry()[2] -- LUA_RIDX_GLOBALS

local function quiet() end

local function trip(...)
    return core.decode(assert(core.encode(...)), true)
end

local function make(text, ...)
    return assert(load(text, "=made", "t", globals))(...)
end

local function same(value)
    assert.is_true(rawequal(value, (trip(value))))
end

-- A module for as long as the test runs.
local function with_module(name, module, f)
    package.loaded[name] = module
    local ok, e = pcall(f)
    package.loaded[name] = nil
    assert(ok, e)
end

describe("a Lua function", function()
    it("does what it did, with constants, parameters and varargs", function()
        local f = trip(make [[return function(a, ...) return a, select("#", ...), "text", 1.5, ... end]])
        assert.same({ 1, 2, "text", 1.5, nil, 3, n = 6 }, table.pack(f(1, nil, 3)))
    end)

    it("brings its upvalues, which are its own from then on", function()
        local set, get = make [[local n = { 5 } return function(x) n = x end, function() return n end]]
        local other = trip(get)
        assert.same({ 5 }, other())
        set(6)
        assert.same({ 5 }, other())
        assert.is_nil(trip(make "local n return function() return n end")())
    end)

    it("shares upvalues with other functions of the message", function()
        local set, list = trip(make [[
            local n, m = 1, 2
            return function(x, y) n, m = x, y end, { function() return m, n end, { function() return n end } }]])
        set(10, 20)
        assert.same({ 20, 10 }, { list[1]() })
        assert.equal(10, list[2][1]())
    end)

    it("keeps its identity, and that of what its upvalues hold", function()
        local t = {}
        local f = make("local t = ... return function() return t end", t)
        t.f = f
        local back = trip(t)
        assert.is_true(rawequal(back, back.f()))
        local a, b, both = trip(f, f, { [f] = f })
        assert.is_true(rawequal(a, b) and rawequal(both[a], a))
    end)

    it("may be recursive, also by another", function()
        assert.equal(3628800, trip(make [[
            local function fact(n) return n < 2 and 1 or n * fact(n - 1) end
            return fact]])(10))
        local even = trip(make [[
            local even, odd
            function even(n) return n == 0 or odd(n - 1) end
            function odd(n) return n > 0 and even(n - 1) end
            return even]])
        assert.same({ true, false }, { even(10), even(11) })
    end)

    it("may hold functions within, and be as deep in others as memory allows", function()
        local adder = trip(make "return function(a) return function(b) return function(c) return a + b + c end end end")
        assert.equal(6, adder(1)(2)(3))
        local count = trip(make [[
            local f = { n = 0 }
            for _ = 1, 100000 do local inner = f f = function() return inner end end
            return f]])
        local n = 0
        while type(count) == "function" do count, n = count(), n + 1 end
        assert.same({ 100000, { n = 0 } }, { n, count })
        local mixed = trip(make [[
            local t = { last = true }
            for _ = 1, 10000 do
                local inner = t
                t = setmetatable({}, { __index = { f = function() return inner end } })
            end
            return t]])
        for _ = 1, 10000 do mixed = mixed.f() end
        assert.is_true(mixed.last)
    end)

    it("has the globals of the receiver", function()
        globals.some_global = "there"
        local f = trip(make "return function() return some_global, _G, _ENV end")
        local value, g, env = f()
        globals.some_global = nil
        assert.same({ "there", true, true }, { value, rawequal(g, globals), rawequal(env, globals) })
    end)

    it("has an environment of its own, if that is what it had", function()
        local f, env = trip(make [[
            local _ENV = { x = 1 }
            return function() x = x + 1 return x end, _ENV]])
        assert.same({ 2, 3, 3 }, { f(), f(), env.x })
    end)

    it("keeps the names and lines that a traceback tells", function()
        local f = trip(make "local function inner()\n error 'here'\n end\n return function() inner() end")
        local text = select(2, xpcall(f, debug.traceback))
        assert.matches("^made:2: here\n.*made:2: in upvalue 'inner'.*made:4: in function <made:4>", text)
    end)

    it("stripped of debug information stays that", function()
        local f = make [[local n = 3 return load(string.dump(function(x) return x end, true)) ]]
        assert.equal(4, trip(f)(4))
    end)

    it("brings its code once, however many have it", function()
        local list = make [[
            local list = {}
            for i = 1, 1000 do list[i] = function() return i end end
            return list]]
        local message = core.encode(list)
        assert.is_true(#message < 1000 * 20 + #string.dump(list[1]), #message)
        for i, f in ipairs(core.decode(message, true)) do assert.equal(i, f()) end
        local one, two = trip(make "return function() return 1 end, function() return 2 end")
        assert.same({ 1, 2 }, { one(), two() })
    end)

    it("may stand behind a table that grew wide, and one that is moved", function()
        local wide = { make "return function() return 0 end" }
        for i = 2, 600 do wide[i] = make "return function() return 0 end" end
        wide.inner = { table.unpack(wide) }
        local message = core.encode(wide)
        assert.equal(1, select(2, message:gsub("=made", "")))
        local back = core.decode(message, true)
        for i = 1, 600 do assert.equal(0, back[i]() + back.inner[i]()) end
    end)

    it("may be a key, and in a metatable", function()
        local f = make "return function() return 'key' end"
        local key, value = next(trip { [f] = 1 })
        assert.same({ "key", 1 }, { key(), value })
        local object = trip(make [[
            local class = {}
            class.__index = class
            function class:name() return self.n .. "!" end
            class.__tostring = class.name
            return setmetatable({ n = "it" }, class)]])
        assert.same({ "it!", "it!" }, { object:name(), tostring(object) })
    end)
end)

describe("the globals that a function uses", function()
    local function with_globals(given, f)
        for name, value in pairs(given) do globals[name] = value end
        local ok, e = pcall(f, function()
            for name in pairs(given) do globals[name] = nil end
        end)
        for name in pairs(given) do globals[name] = nil end
        assert(ok, e)
    end

    it("come with it, with those that they use, where the receiver has none", function()
        with_globals({ a_number = 5, a_table = { 1, 2 }, unused_name = 1,
            a_function = make "return function(x) return x + a_number end" }, function(forget)
            local message = core.encode(make "return function(x) return a_function(x) + #a_table end")
            assert.is_nil(message:find("unused_name", 1, true))
            forget()
            assert.equal(8, core.decode(message, true)(1))
            assert.same({ 5, { 1, 2 } }, { globals.a_number, globals.a_table })
        end)
    end)

    it("stay what they are where the receiver has them", function()
        with_globals({ a_number = 5 }, function()
            local message = core.encode(make "return function() return a_number end")
            globals.a_number = 6
            assert.equal(6, core.decode(message, true)())
        end)
    end)

    it("are found in functions within, under many constants, and in none of another environment", function()
        local many = {}
        for i = 1, 300 do many[i] = ("x = 'c%d'"):format(i) end
        for _, code in ipairs {
            "return function() return function() return function() return a_number end end end",
            "local x return function() " .. table.concat(many, " ") .. " return a_number end",
        } do
            with_globals({ a_number = 5 }, function(forget)
                local message = core.encode(make(code))
                forget()
                local f = core.decode(message, true)
                for _ = 1, 4 do f = type(f) == "function" and f() or f end
                assert.equal(5, f)
            end)
        end
        with_globals({ a_number = 5 }, function()
            local message = core.encode(make "local _ENV = {} return function() return a_number, 'a_number' end")
            assert.same({}, { message:find("a_number\5", 1, true) })
        end)
    end)

    it("are left out if they cannot be sent, and the rest comes", function()
        with_globals({ a_file = io.stdout, a_coroutine = coroutine.create(print), a_number = 5 }, function(forget)
            local message = core.encode(make "return function() return a_file, a_coroutine, a_number end")
            forget()
            assert.same({ nil, nil, 5, n = 3 }, table.pack(core.decode(message, true)()))
        end)
    end)

    it("share tables and upvalues with the values of the message", function()
        with_globals({ a_table = { 1 } }, function(forget)
            local message = core.encode(make "return function() return a_table end", globals.a_table)
            forget()
            local f, t = core.decode(message, true)
            assert.is_true(rawequal(f(), t))
        end)
    end)
end)

describe("by name", function()
    it("go modules, their functions, and what Lua has", function()
        same(print)
        same(string)
        same(string.format)
        same(globals)
        same(mp)
        same(mp.process)
        local f = trip(make "local find = string.find return function() return find end")
        assert.equal(string.find, f())
    end)

    it("goes what a module exports: functions, light userdata, metatables, and no other table", function()
        local cjson = require "cjson"
        same(cjson.null)
        same(cjson.encode)
        local meta = { __index = {}, __gc = quiet }
        local module = { f = make "return function() end", meta = meta, data = { 1 } }
        with_module("some.module", module, function()
            same(module)
            same(module.f)
            assert.equal(meta, debug.getmetatable(trip(setmetatable({}, meta))))
            assert.is_false(rawequal(module.data, trip(module.data)))
            local a, b = trip(module, { module.f })
            assert.is_true(rawequal(a, module) and b[1] == module.f)
        end)
    end)

    it("goes what came into a module later, and not what was there before", function()
        local module = {}
        with_module("some.module", module, function()
            trip(make "return function() end")
            module.f = make "return function() return 1 end"
            same(module.f)
            local old = module.f
            module.f = make "return function() return 2 end"
            local back = trip(old)
            assert.same({ false, 1 }, { rawequal(back, old), back() })
            same(module.f)
        end)
    end)

    it("goes an object of a class that is a module", function()
        local class = {}
        class.__index = class
        with_module("some.class", class, function()
            assert.equal(class, getmetatable(trip(setmetatable({}, class))))
        end)
    end)

    it("goes what is registered, also a function, a userdata and one with a finalizer", function()
        local meta, f, file = { __gc = quiet }, make "return function() end", io.tmpfile()
        assert.equal(meta, mp.register("spec.meta", meta))
        mp.register("spec.f", f)
        mp.register("spec.file", file)
        same(meta)
        same(f)
        same(file)
        assert.equal(meta, getmetatable(trip(setmetatable({}, meta))))
        mp.register("spec.f", f)
        helper.misuse("mp.register: 'spec.f' is the name of another object", function() mp.register("spec.f", meta) end)
        helper.misuse("mp.register: expected a name, not a table", function() mp.register {} end)
        helper.misuse("mp.register: 'x': expected a table, function or userdata, not nothing",
            function() mp.register "x" end)
        helper.misuse("mp.register: 'x': expected a table, function or userdata, not the string \"y\"",
            function() mp.register("x", "y") end)
        file:close()
    end)

    it("goes not what only Lua itself could make", function()
        for _, value in ipairs { coroutine.wrap(print), io.stdout, coroutine.create(print) } do
            assert.is_nil((core.encode(value)))
        end
    end)

    it("is loaded by the receiver, who tells if it cannot", function()
        local path = helper.tmpdir()
        helper.write(path .. "/loaded_there.lua", "return { f = function() return 'found' end }")
        local result = helper.script_run(([[
            package.path = %q .. "/?.lua"
            local p = mp.process(function() return require "loaded_there".f end):start()
            print(package.loaded.loaded_there, p:result() == package.loaded.loaded_there.f, p:result()())
            local q = mp.process(function()
                package.loaded.made_there = { f = function() end }
                return package.loaded.made_there
            end):start()
            local ok, e = pcall(q.result, q)
            print(ok, e.kind, e.message:match "^[^\n]*")]]):format(path))
        assert.equal("nil\ttrue\tfound\nfalse\tunsendable\tcannot receive the results: "
            .. "module 'made_there' not found:\n", result.stdout, result.stderr)
    end)
end)

describe("a message from outside the family", function()
    it("may hold no code and no name", function()
        for _, value in ipairs { print, string, make "return function() end", setmetatable({}, { __index = string }),
            { { make "return function() end" } } } do
            local ok, e = pcall(core.decode, core.frame(core.encode(value)))
            assert.same({ false, "not a luamp message" }, { ok, e })
        end
    end)
end)

describe("a process", function()
    it("returns functions, which its parent may call", function()
        local result = helper.script_run [[
            local n = 5
            local function make() local n = n return function(x) n = n + x return n end end
            local add = mp.process(make):start():result()
            print(add(1), add(2), n)
            print(mp.process(function() return string.rep, { mp.sleep } end):start():result() == string.rep)
            local p = mp.process(function() error { f = function() return "kept" end } end):start()
            p:join()
            print(p.error.value.f())]]
        assert.same({ 0, "6\t8\t5\ntrue\nkept\n" }, { result.status, result.stdout })
    end)
end)
