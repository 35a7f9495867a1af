-- sending_spec.lua: objects with a hook __mp_send through the codec and home from a
-- process. A hook and what it returns are made from text here, as in functions_spec.
local helper = require "spec.helper"
local mp = require "luamp"
local core = require "luamp.core"
local culprit = require "luamp.culprit"

local encode = core.encode
local globals = debug.getregistry()[2] -- LUA_RIDX_GLOBALS

local function trip(...)
    return core.decode(assert(encode(...)), true)
end

local function make(text, ...)
    return assert(load(text, "=made", "t", globals))(...)
end

-- What the receiver makes: its arguments, with n.
local pack = make [[return function(...) return { made = true, n = select("#", ...), ... } end]]

local function hooked(hook, object)
    return setmetatable(object or {}, { __mp_send = hook })
end

-- An object that goes as pack(...).
local function sent_as(...)
    local results = table.pack(pack, ...)
    return hooked(function() return table.unpack(results, 1, results.n) end)
end

-- The words for values, which must be what the codec refuses.
local function expect(words, ...)
    assert.is_nil((encode(...)))
    assert.equal("cannot send " .. words, culprit(table.pack(...), select("#", ...), "result %d"))
end

-- What the receiver says whose function fails.
local function fails_there(words, ...)
    local message = assert(encode(...))
    local ok, e = pcall(core.decode, message, true)
    assert.same({ false, words }, { ok, e })
end

describe("an object with __mp_send", function()
    it("is what the function makes from the arguments", function()
        local back = trip(sent_as(1, "x", { 2 }))
        assert.same({ made = true, n = 3, 1, "x", { 2 } }, back)
        assert.is_nil(getmetatable(back))
        assert.same({ made = true, n = 0 }, trip(sent_as()))
        assert.same({ made = true, n = 4, nil, false, [4] = nil }, trip(sent_as(nil, false, nil, nil)))
        local many = {}
        for i = 1, 100000 do many[i] = i end
        assert.equal(100000, trip(sent_as(table.unpack(many))).n)
    end)

    it("is given to its hook, alone", function()
        local given
        local object = hooked(function(...) given = table.pack(...) return pack end)
        trip(object)
        assert.equal(1, given.n)
        assert.is_true(rawequal(object, given[1]))
    end)

    it("may become a value of any type but nil, false too", function()
        local get = make "return function(...) return ... end"
        for _, value in ipairs { 5, 1.5, "text", ("long"):rep(20000), true, print, string } do
            local back = trip { hooked(function() return get, value end) }
            assert.is_true(rawequal(value, back[1]))
        end
        local no = hooked(function() return get, false end)
        assert.same({ { false, x = { false } }, false }, { trip({ no, x = { no } }, no) })
        fails_there("the function that __mp_send returned gave nil", hooked(function() return get, nil end))
    end)

    it("is one object at the receiver, wherever it stands in the message", function()
        local calls = 0
        local object = hooked(function() calls = calls + 1 return pack end)
        local a, b, c = trip({ object, x = { object } }, object, setmetatable({ [object] = 1 }, { f = object }))
        assert.is_true(a.made == nil and b.made)
        for _, same in ipairs { a[1], a.x[1], (next(c)), getmetatable(c).f } do assert.is_true(rawequal(b, same)) end
        assert.equal(1, calls)
    end)

    it("may be an upvalue, and in a global", function()
        local f = trip(make("local x = ... return function() return x end", sent_as(1)))
        assert.equal(1, f()[1])
        globals.a_table = { sent_as(2) }
        local message = encode(make "return function() return a_table end")
        globals.a_table = nil
        f = core.decode(message, true)
        assert.equal(2, f()[1][1])
        globals.a_table = nil
    end)

    it("shares what it needs with others, and with the rest of the message", function()
        local shared = { "shared" }
        local a, b, c = trip(sent_as(shared), { sent_as(shared, shared) }, shared)
        assert.is_true(rawequal(a[1], c) and rawequal(b[1][1], c) and rawequal(b[1][2], c))
        local f, g = make "local n = 0 return function() n = n + 1 return n end, function() return n end"
        local d, get = trip(sent_as(f), g)
        d[1]()
        assert.equal(1, get())
    end)

    it("finds its arguments whole: deep ones, metatables, and globals", function()
        local deep = setmetatable({}, { __index = { x = "found" } })
        for _ = 1, 300 do deep = { deep } end
        globals.a_number = 5
        local look = make [[return function(t)
            while t[1] do t = t[1] end
            return { t.x, a_number }
        end]]
        local message = encode({ deep }, hooked(function() return look, deep end))
        globals.a_number = nil
        local d, back = core.decode(message, true)
        globals.a_number = nil
        assert.same({ "found", 5 }, back)
        assert.equal("table", type(d[1][1]))
    end)

    it("may need others, which are made before it", function()
        local inner = sent_as "inner"
        local outer = sent_as({ inner }, sent_as(inner))
        local i, o = trip(inner, { x = outer })
        assert.is_true(rawequal(o.x[1][1], i) and rawequal(o.x[2][1], i))
        local chain = sent_as()
        for _ = 2, 200 do chain = sent_as(chain) end
        local back, n = trip(chain), 0
        while back do back, n = back[1], n + 1 end
        assert.equal(200, n)
    end)

    it("may stand in a chain as deep as memory allows", function()
        local chain = false
        for i = 1, 100000 do chain = { chain, i % 100 == 0 and sent_as(i) or nil } end
        local back, n, sum = trip(chain), 0, 0
        while back do
            n, sum = n + 1, sum + (back[2] and back[2][1] or 0)
            back = back[1]
        end
        assert.same({ 100000, 100 * 1000 * 1001 // 2 }, { n, sum })
    end)

    it("is what the field of the metatable itself says, and not what that inherits", function()
        local class = { __mp_send = function() return pack, "class" end }
        class.__index = class
        local derived = setmetatable({}, class)
        derived.__index = derived
        assert.equal("class", trip(setmetatable({}, class))[1])
        local object = hooked(nil, { 1 })
        getmetatable(object).__index = { __mp_send = error }
        assert.same({ 1 }, trip(object))
        -- derived is an object of class: as a metatable it is what its hook makes
        assert.is_true(getmetatable(trip(setmetatable({}, derived))).made)
    end)

    it("may have __gc and __close in its metatable, which does not travel", function()
        local object = setmetatable({}, { __gc = string.len, __close = print, __mp_send = function() return pack end })
        assert.is_true(trip(object).made)
        assert.is_true(getmetatable(trip(setmetatable({}, object))).made)
    end)

    it("goes by its name if it has one", function()
        local object = hooked(error)
        mp.register("spec.sending.named", object)
        assert.is_true(rawequal(object, trip(object)))
    end)

    it("may be an error object's value, and not one itself", function()
        local e = setmetatable({ value = sent_as(1) }, core.error_metatable)
        assert.equal(1, trip(e).value[1])
    end)

    it("that is a metatable becomes a table, or the receiver says what not", function()
        local one = make "return function() return 1 end"
        fails_there("__mp_send of a metatable made a number", setmetatable({}, hooked(function() return one end)))
    end)

    it("costs nothing where there is none", function()
        local t = setmetatable({ 1, { 2 } }, { __index = {} })
        assert.equal(2 + 2 * 3 + 2 + 2 * 3 + 8 + 24, #encode(t))
        assert.is_nil(core.refused_hooks())
    end)
end)

describe("a userdata with __mp_send", function()
    it("is made anew by a function of its module", function()
        local cpath = helper.library("counter", [[
            #include <lua.h>
            #include <lauxlib.h>
            static int new(lua_State *L) {
              lua_Integer *n = lua_newuserdatauv(L, sizeof *n, 0);
              *n = luaL_checkinteger(L, 1);
              luaL_setmetatable(L, "counter");
              return 1;
            }
            static int get(lua_State *L) {
              lua_Integer *n = luaL_checkudata(L, 1, "counter");
              lua_pushinteger(L, (*n)++);
              return 1;
            }
            static int send(lua_State *L) {
              lua_Integer *n = luaL_checkudata(L, 1, "counter");
              lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
              lua_getfield(L, -1, "counter");
              lua_getfield(L, -1, "new");
              lua_pushinteger(L, *n);
              return 2;
            }
            int luaopen_counter(lua_State *L) {
              static const luaL_Reg functions[] = {{"new", new}, {"get", get}, {NULL, NULL}};
              luaL_newmetatable(L, "counter");
              lua_pushcfunction(L, send);
              lua_setfield(L, -2, "__mp_send");
              lua_pushcfunction(L, get);
              lua_setfield(L, -2, "__gc");
              luaL_newlib(L, functions);
              return 1;
            }]])
        local result = helper.script_run([[
            local a, b = mp.process(function()
                local counter = require "counter"
                local c = counter.new(5)
                counter.get(c)
                return c, { c, { [c] = true } }
            end):start():result()
            local get = package.loaded.counter.get
            print(get(a), get(b[1]), rawequal(a, b[1]), b[2][a])]], "export LUA_CPATH=" .. helper.quote(cpath))
        assert.same({ 0, "6\t7\ttrue\ttrue\n", "" }, { result.status, result.stdout, result.stderr })
    end)

    it("goes by its name if it has one, also twice", function()
        local file = io.tmpfile()
        mp.register("spec.sending.file", file)
        local a, b = trip({ file }, file)
        assert.is_true(rawequal(a[1], file) and rawequal(b, file))
        file:close()
    end)
end)

describe("a hook", function()
    it("that raises is told with its message", function()
        local object = hooked(make "return function() error 'not connected' end")
        expect("result 1: its __mp_send failed: made:1: not connected", object)
        expect("result 2: opts.conn: its __mp_send failed: made:1: not connected", 1, { opts = { conn = object } })
        expect("result 1: its __mp_send failed: words", hooked(function() error("words", 0) end))
        expect("result 1: its __mp_send failed: (error object is a table value)", hooked(function() error {} end))
        expect("result 1: its __mp_send failed: attempt to call a boolean value", hooked(true))
        expect("result 1: argument 1 from __mp_send of x: its __mp_send failed: made:1: not connected",
            { x = sent_as(object) })
    end)

    it("has to return a function", function()
        local has_to = ": its __mp_send has to return a function first, not "
        expect("result 1" .. has_to .. "nothing", hooked(function() end))
        expect("result 1" .. has_to .. 'the string "x"', hooked(function() return "x", pack end))
        local callable = setmetatable({}, { __call = pack })
        expect("result 1: [1]" .. has_to .. "a table", { hooked(function() return callable end) })
    end)

    it("that returns what cannot be sent is told with the path there", function()
        local file = " is an open file; send what it was made from, or open it in the process that uses it"
        expect("result 1: file of argument 2 from __mp_send of opts.conn" .. file,
            { opts = { conn = sent_as(1, { file = io.stdout }) } })
        expect("result 1: argument 1 from its __mp_send" .. file, sent_as(io.stdout))
        expect("result 1: a key of argument 1 from __mp_send of a key of x" .. file,
            { x = { [sent_as { [io.stdout] = 1 }] = 1 } })
        expect("result 1: the function from its __mp_send is a C function that no module exports; "
            .. "put it into a module that is loaded there, or register it by mp.register",
            hooked(function() return (coroutine.wrap(print)) end))
    end)

    it("that needs its own object is refused", function()
        local object, t = nil, {}
        object = hooked(function() return pack, { object } end)
        expect("result 1: x: what its __mp_send returned holds it again", { x = object })
        t.child = hooked(function() return pack, t end)
        expect("result 1: child: what its __mp_send returned holds it again", t)
        local a, b
        a, b = hooked(function() return pack, b end), hooked(function() return pack, a end)
        expect("result 1: what its __mp_send returned holds it again", b)
        -- by a way that was walked before the object was met
        local list = { {}, hooked(function(o) return pack, o.first end) }
        list[1].back, list[2].first = list, list[1]
        expect("result 1: [2]: what its __mp_send returned holds it again", list)
    end)

    it("that comes to no end is refused", function()
        local no_end = "its __mp_send comes to no end: more than 200 are called, each for what another one returned"
        local function endless() return pack, hooked(endless) end
        expect("result 1: a: " .. no_end, { a = hooked(endless) })
        local chain = sent_as()
        for _ = 2, 201 do chain = sent_as(chain) end
        expect("result 1: " .. no_end, chain)
        local function twice() return pack, hooked(twice), hooked(twice) end
        assert.is_nil((encode(hooked(twice))))
    end)

    it("is called once, also for what hooks added, and not for ever", function()
        local t, n, calls = {}, 0, 0
        t.first = hooked(function()
            calls = calls + 1
            t.late = hooked(function() t.later = sent_as "later" return pack, "late" end)
            return pack
        end)
        local back = trip(t)
        assert.same({ true, "late", "later", 1 }, { back.first.made, back.late[1], back.later[1], calls })
        local function add()
            n = n + 1
            t[n] = hooked(add)
            return pack
        end
        t.x = hooked(add)
        expect("result 1: it is changed by each __mp_send that is called for it", t)
    end)

    it("may take out of the values what was there, itself too", function()
        local t = {}
        for i = 1, 100 do
            t[i] = hooked(function()
                for k in pairs(t) do t[k] = nil end
                collectgarbage()
                return pack, i
            end)
        end
        assert.same({}, trip(t))
    end)

    it("may collect, encode and decode", function()
        local list = {}
        for i = 1, 50 do
            list[i] = hooked(function()
                collectgarbage()
                local s = ("x"):rep(100000) .. i
                return make "return function(s, t) return { s:sub(-2), t[1][1] } end", s, trip { sent_as(i) }
            end)
        end
        for i, back in ipairs(trip(list)) do assert.same({ ("x" .. i):sub(-2), i }, back) end
    end)

    it("that sends its own object is refused there, and goes on", function()
        local object, words
        object = hooked(function()
            words = not encode { object } and culprit({ { object } }, 1, "item %d")
            return pack, "sent"
        end)
        assert.equal("sent", trip(object)[1])
        assert.equal("cannot send item 1: [1]: its __mp_send sends it itself", words)
    end)

    it("may send others whose hooks send others, until C has no more stack", function()
        local deepest, n = nil, 0
        local function deeper()
            return hooked(function()
                n = n + 1
                local message, object = encode(deeper())
                deepest = deepest or not message and culprit({ object }, 1, "item %d")
                return pack, n
            end)
        end
        assert.is_true(trip(deeper()).made)
        assert.matches("^cannot send item 1: its __mp_send failed: .*C stack overflow", deepest)
    end)

    it("that is interrupted, or has no memory, is no culprit", function()
        local e = setmetatable({ kind = "interrupted", message = "interrupted" }, core.error_metatable)
        local ok, raised = pcall(encode, hooked(function() error(e) end))
        assert.is_true(not ok and rawequal(e, raised))
        ok, raised = pcall(encode, hooked(function() error("not enough memory", 0) end))
        assert.same({ false, "not enough memory" }, { ok, raised })
        local message = encode(hooked(function() return error, e end))
        ok, raised = pcall(core.decode, message, true)
        assert.same({ false, "interrupted" }, { ok, raised.kind })
    end)

    it("cannot yield", function()
        local object = hooked(function() return coroutine.yield(pack) end)
        expect("result 1: its __mp_send failed: attempt to yield from outside a coroutine", object)
        coroutine.wrap(function()
            expect("result 1: its __mp_send failed: attempt to yield across a C-call boundary", object)
        end)()
    end)

    it("in a global that cannot be sent leaves out that global", function()
        local function check(value, expected)
            globals.a_table = value
            local message = encode(make "return function() return a_table, 1 end", sent_as(2))
            globals.a_table = nil
            assert.is_truthy(message)
            local f, made = core.decode(message, true)
            assert.equal(2, made[1])
            assert.same({ expected, 1, n = 2 }, table.pack(f()))
            globals.a_table = nil
        end
        check({ hooked(error) }, nil)
        check({ { hooked(function() return pack, io.stdout end) } }, nil)
        check({ sent_as(1), io.stdout }, nil)
        check({ 1, sent_as(5) }, { 1, { made = true, n = 1, 5 } })
        globals.a_class = {}
        local uses_class = make "return function() return { a_class } end"
        globals.a_class.instance = hooked(function() return uses_class end)
        local message = encode(globals.a_class.instance)
        globals.a_class = nil
        assert.same({}, core.decode(message, true))
    end)
end)

describe("what the receiver calls", function()
    it("may fail, in words", function()
        fails_there("the function that __mp_send returned failed: made:1: no room",
            hooked(function() return make "return function() error 'no room' end" end))
        local yields = hooked(function() return coroutine.yield end)
        fails_there("the function that __mp_send returned failed: attempt to yield from outside a coroutine", yields)
        coroutine.wrap(function()
            fails_there("the function that __mp_send returned failed: attempt to yield across a C-call boundary",
                yields)
        end)()
        local e = setmetatable({ message = "a failure" }, core.error_metatable)
        fails_there("the function that __mp_send returned failed: a failure", hooked(function() return error, e end))
    end)

    it("may do what it likes", function()
        local wild = make [[return function(core, t, other, message)
            collectgarbage()
            t.x, other[1], t[1] = core.decode(message, true), nil, nil
            setmetatable(t, { __index = other })
            collectgarbage()
            return t
        end]]
        local t, other = { { 1 } }, { { 2 } }
        local list = { t, other }
        for i = 1, 50 do
            list[#list + 1] = hooked(function() return wild, core, t, other, encode(sent_as(i)) end)
        end
        local back = trip(list)
        assert.is_true(rawequal(back[1], back[52]))
        assert.same({ 50, nil, nil }, { back[1].x[1], back[1][1], back[2][1] })
    end)

    it("is called only for a message of the family", function()
        local ok, e = pcall(core.decode, core.frame(encode(sent_as(1))))
        assert.same({ false, "not a luamp message" }, { ok, e })
    end)

    it("stands in a section that is whole", function()
        local message = encode(sent_as { 1, setmetatable({}, { x = 1 }) }, sent_as "x")
        for len = 0, #message - 1 do
            assert.same({ false, "not a luamp message" }, { pcall(core.decode, message:sub(1, len), true) })
        end
        local numbers = hooked(function() return table.concat, { 1, 2 } end)
        message = encode(numbers, { numbers })
        for at = 1, #message do
            for byte = 0, 255 do
                local changed = message:sub(1, at - 1) .. string.char(byte) .. message:sub(at + 1)
                local back = table.pack(pcall(core.decode, changed, true))
                assert.is_true(back[1] or type(back[2]) == "string")
            end
        end
    end)
end)

describe("a process", function()
    it("returns objects with hooks, also of its own children", function()
        local result = helper.script_run [[
            Point = {}
            Point.__index = Point
            function Point.new(x) return setmetatable({ x = x }, Point) end
            function Point:__mp_send() return Point.new, self.x end
            local p, list = mp.process(function()
                local inner = mp.process(function() return Point.new(1) end):start():result()
                return inner, { inner, Point.new(2) }
            end):start():result()
            print(getmetatable(p) == Point, p.x, list[1] == p, list[2].x)]]
        assert.same({ 0, "true\t1\ttrue\t2\n", "" }, { result.status, result.stdout, result.stderr })
    end)

    it("says whose hook failed, and where a function failed", function()
        local e = helper.error_of(function() return 1, { conn = hooked(function() error("closed", 0) end) } end)
        assert.same({ "unsendable", "cannot send result 2: conn: its __mp_send failed: closed", 0 },
            { e.kind, e.message, e.exitcode })
        e = helper.error_of(function() return hooked(function() return error, "there" end) end)
        assert.same({ "unsendable", "cannot receive the results: the function that __mp_send returned failed: there" },
            { e.kind, e.message })
    end)

    it("may be asked for its results, and closed, by what it returned", function()
        local result = helper.script_run [[
            local asked = 0
            function ask() -- a global: it is the receiver's own
                asked = asked + 1
                if asked == 1 then print(pcall(p.result, p)) end
                p:close()
                mp.process(function() return 1 end):start():join()
                return "done"
            end
            p = mp.process(function()
                local call = load "return function() return ask() end" ()
                return setmetatable({}, { __mp_send = function() return call end })
            end):start()
            print(p:result())]]
        assert.same({ 0, "true\tdone\ndone\n", "" }, { result.status, result.stdout, result.stderr })
    end)
end)
