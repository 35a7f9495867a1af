-- either_spec.lua: functions of modules that a script made by hand, which go by name and by
-- value: through the codec and home from processes.
local helper = require "spec.helper"
local mp = require "luamp"
local core = require "luamp.core"
local culprit = require "luamp.culprit"

local globals = debug.getregistry()[2] -- LUA_RIDX_GLOBALS

-- Made from text, a function has the environment of a script, and not busted's.
local function make(text, ...)
    return assert(load(text, "=made", "t", globals))(...)
end

-- Calls f with these modules loaded, and `name` none of them.
local function with_modules(modules, f)
    for name, module in pairs(modules) do package.loaded[name] = module end
    local ok, e = pcall(f)
    for name in pairs(modules) do package.loaded[name] = nil end
    assert(ok, e)
end

-- The message of values that are made while the sender has the modules.
local function message_of(modules, ...)
    local message
    local values = table.pack(...)
    with_modules(modules, function() message = assert(core.encode(table.unpack(values, 1, values.n))) end)
    return message
end

local function decode(message)
    return core.decode(message, true)
end

-- What arrives where the modules are others.
local function at(modules, message)
    local values
    with_modules(modules, function() values = table.pack(decode(message)) end)
    return table.unpack(values, 1, values.n)
end

local function fails_there(words, modules, message)
    with_modules(modules, function()
        local ok, e = pcall(decode, message)
        assert.is_false(ok)
        assert.equal(1, tostring(e):find(words, 1, true), e)
    end)
end

local counter = [[local n = 5 return function() n = n + 1 return n end, function() return n end]]

local function sent_as(...)
    local results = table.pack(make "return function(...) return { ... } end", ...)
    return setmetatable({}, { __mp_send = function() return table.unpack(results, 1, results.n) end })
end

describe("a function of a module without a file", function()
    it("is the receiver's own, wherever it stands, if it has one", function()
        local f, theirs = make(counter), make "return function() return 'theirs' end"
        local deep = f
        for _ = 1, 300 do deep = { deep } end
        local message = message_of({ ["hand.made"] = { f = f } }, f, { f, [f] = f }, deep, f)
        local a, b, c, d = at({ ["hand.made"] = { f = theirs } }, message)
        for _ = 1, 300 do c = c[1] end
        for _, it in ipairs { a, b[1], b[theirs], c, d } do assert.is_true(rawequal(theirs, it)) end
    end)

    it("comes by value if it has none, as one object with its upvalues", function()
        local inc, get = make(counter)
        local message = message_of({ hand = { inc = inc } }, { get, inc }, inc, { [inc] = get })
        for _, modules in ipairs { {}, { hand = {} }, { hand = make "return function() end" }, { hand = true } } do
            local list, f, keys = at(modules, message)
            assert.is_true(rawequal(list[2], f) and keys[f] == list[1])
            assert.same({ 6, 7, 7 }, { f(), f(), list[1]() })
        end
        inc()
        assert.equal(6, get())
    end)

    it("shares upvalues with others by name and with closures, in any order", function()
        local inc, get = make(counter)
        local add, show = make "local n = { 1 } return function() n[1] = n[1] + 1 end, function() return n end"
        local modules = { hand = { inc = inc, get = get, add = add } }
        for _, order in ipairs { { inc, get, add, show }, { show, add, get, inc } } do
            local back = table.pack(at({}, message_of(modules, table.unpack(order))))
            local by = {}
            for i, f in ipairs(order) do by[f] = back[i] end
            by[inc]()
            by[add]()
            assert.same({ 6, { 2 } }, { by[get](), by[show]() })
        end
        local theirs = make "return function() return 'theirs' end"
        local a, b = at({ hand = { inc = theirs } }, message_of({ hand = { inc = inc } }, get, inc))
        assert.is_true(a() == 5 and rawequal(b, theirs))
        b, a = at({ hand = { inc = theirs } }, message_of({ hand = { inc = inc } }, inc, get))
        assert.is_true(a() == 5 and rawequal(b, theirs))
    end)

    it("may be recursive, and be a module itself", function()
        local text = "local function fact(n) return n < 2 and 1 or n * fact(n - 1) end return fact"
        local fact, its = make(text), make(text)
        assert.equal(3628800, at({}, message_of({ hand = { its = its } }, its))(10))
        local f, g = at({}, message_of({ hand = fact }, { fact }, fact))
        assert.is_true(rawequal(f[1], g) and g(10) == 3628800)
        assert.is_true(rawequal(print, (at({ hand = print }, message_of({ hand = fact }, fact)))))
        local even, odd = make [[
            local even, odd
            function even(n) return n == 0 or odd(n - 1) end
            function odd(n) return n > 0 and even(n - 1) end
            return even, odd]]
        local back = at({}, message_of({ hand = { even = even, odd = odd } }, { odd }))
        assert.same({ false, true }, { back[1](10), back[1](11) })
    end)

    it("may stand deeper than a hundred levels, and hold what does", function()
        local held = { "held" }
        for _ = 1, 250 do held = { held } end
        local f = make("local t = ... return function() return t end", held)
        for depth = 97, 103 do
            local deep = f
            for _ = 1, depth do deep = { deep } end
            local back, own = at({}, message_of({ hand = { f = f } }, deep, f))
            for _ = 1, depth do back = back[1] end
            assert.is_true(rawequal(back, own))
            local inner = back()
            for _ = 1, 250 do inner = inner[1] end
            assert.same({ "held" }, inner)
            local theirs = make "return function() end"
            back = at({ hand = { f = theirs } }, message_of({ hand = { f = f } }, deep, held))
            for _ = 1, depth do back = back[1] end
            assert.is_true(rawequal(back, theirs))
        end
        local n, g, modules = 0, make "return function() return false end", {}
        for i = 1, 1000 do
            g = make("local inner = ... return function() return inner end", g)
            modules["hand" .. i] = { g = g }
        end
        local back = at({}, message_of(modules, g))
        while back do back, n = back(), n + 1 end
        assert.equal(1001, n)
    end)

    it("brings the globals that it uses", function()
        globals.a_number = 5
        local f = make "return function() return a_number end"
        local message = message_of({ hand = { f = f } }, f)
        globals.a_number = nil
        assert.equal(5, at({}, message)())
        globals.a_number = nil
    end)

    it("goes by its name alone if its value cannot be sent", function()
        local log = make("local f = ... return function() return f end", io.stdout)
        local deep = io.stdout
        for _ = 1, 300 do deep = { deep } end
        local far = make("local t = ... return function() return t end", deep)
        local ok = make("local log, t = ... return function() return log, t end", log, { far, 5 })
        local modules = { hand = { log = log, far = far, ok = ok } }
        local message = message_of(modules, log, { far }, ok)
        local a, b, c = at(modules, message)
        assert.is_true(rawequal(a, log) and rawequal(b[1], far) and rawequal(c, ok))
        fails_there("module 'hand' not found:", {}, message)
        fails_there("module 'hand' has no field 'far' here", { hand = { log = log } }, message)
        -- of that which can be sent the value is there
        local g, t = at({ hand = { log = print, far = next } }, message_of(modules, ok))()
        assert.same({ print, { next, 5 } }, { g, t })
        with_modules(modules, function() assert.is_nil(culprit({ log, { far }, ok }, 3, "result %d")) end)
    end)

    it("hides nothing that cannot be sent by another way", function()
        local f = make("local t = ... return function() return t end", { io.stdout })
        local t = select(2, debug.getupvalue(f, 1))
        with_modules({ hand = { f = f } }, function()
            for _, values in ipairs { { f, t }, { t, f } } do
                local message, found = core.encode(table.unpack(values))
                assert.is_nil(message)
                assert.is_true(rawequal(found, io.stdout))
                assert.matches("^cannot send result %d: %[1%] is an open file;", culprit(values, 2, "result %d"))
            end
        end)
    end)

    it("needs nothing of what its value names where it is there by name", function()
        local other = { __gc = type }
        local parts = { other, setmetatable({}, other), { [other] = 1 }, { { setmetatable({}, other) } } }
        for _ = 1, 300 do parts = { parts } end
        local f = make("local y, t = ... return function() return y, t end", other, parts)
        local modules = { hand = { f = f }, other = other }
        local theirs = { hand = { f = print } }
        assert.equal(print, (at(theirs, message_of(modules, f))))
        assert.same({ print, { print } }, { at(theirs, message_of(modules, f, { f })) })
        local needing = { { f, { other } }, { { other }, f }, { f, parts }, { parts, f }, { f, parts[1][1] } }
        for _, values in ipairs(needing) do
            fails_there("module 'other' not found:", theirs, message_of(modules, table.unpack(values)))
        end
        fails_there("module 'other' not found:", {}, message_of(modules, f))
        local a, b = at({ hand = { f = print }, other = other }, message_of(modules, f, { other }))
        assert.is_true(a == print and rawequal(b[1], other))
        local g = make("local f = ... return function() return f end", f)
        modules.more = { g = g }
        assert.equal(next, (at({ more = { g = next } }, message_of(modules, g))))
        assert.equal(print, at({ hand = { f = print } }, message_of(modules, g))())
        local half = { hand = { f = print }, more = {} }
        local back, x = at(half, message_of(modules, g, f))
        assert.same({ print, print }, { back(), x })
    end)

    it("is taken from package.preload, where it waits", function()
        local f = make(counter)
        local message = message_of({ hand = { f = f } }, f)
        package.preload.hand = function() return { f = print } end
        assert.equal(print, (at({}, message)))
        package.loaded.hand = nil
        package.preload.hand = function() error("not now", 0) end
        fails_there("not now", {}, message)
        package.preload.hand = nil
    end)

    it("may come by what a hook returned, and bring what has one", function()
        local f = make("local t = ... return function() return t end", sent_as(1))
        assert.same({ 1 }, at({}, message_of({ hand = { f = f } }, f))())
        local a = at({ hand = { f = print } }, message_of({ hand = { f = f } }, { f }))
        assert.equal(print, a[1])
        local new = make "return function(x) return { x = x } end"
        local object = setmetatable({}, { __mp_send = function() return new, 7 end })
        local back, own = at({}, message_of({ hand = { new = new } }, object, new))
        assert.same({ { x = 7 }, { x = 8 } }, { back, own(8) })
    end)

    it("goes by its name alone if a hook in its value fails, or needs it", function()
        local calls = 0
        local bad = setmetatable({}, { __mp_send = function() calls = calls + 1 error "no" end })
        local f = make("local t = ... return function() return t end", { { bad } })
        local g = make("local t = ... return function() return t end", { sent_as(1), io.stdout })
        local message = message_of({ hand = { f = f, g = g } }, f, sent_as(2), { g })
        local a, b, c = at({ hand = { f = print, g = next } }, message)
        assert.same({ print, { 2 }, { next } }, { a, b, c })
        assert.equal(1, calls)
        local object, class = {}, {}
        class.new = make("local object = ... return function(x) return { x, object } end", object)
        setmetatable(object, { __mp_send = function() return class.new, 3 end })
        message = message_of({ hand = class }, object)
        assert.same({ 3, n = 1 }, (at({ hand = { new = table.pack } }, message)))
        fails_there("module 'hand' not found:", {}, message)
    end)

    it("comes only from the family", function()
        local f = make(counter)
        local message = message_of({ hand = { f = f } }, f)
        assert.same({ false, "not a luamp message" }, { pcall(core.decode, core.frame(message)) })
    end)
end)

describe("goes by its name alone", function()
    local function is_named(modules, ...)
        return not message_of(modules, ...):find("=made", 1, true)
    end

    it("a function of a module that has a file, also when the paths change, and what is registered", function()
        local path, old = helper.tmpdir(), package.path
        helper.write(path .. "/with_a_file.lua", "return {}")
        local f = make(counter)
        local modules = { with_a_file = { f = f } }
        assert.is_false(is_named(modules, f))
        package.path = path .. "/?.lua;" .. old
        local first, second = is_named(modules, f), is_named(modules, f)
        package.path = old
        assert.same({ true, true, false }, { first, second, is_named(modules, f) })
        mp.register("spec.either.f", f)
        assert.is_true(is_named(modules, f))
    end)

    it("all else that a module made by hand has", function()
        local meta = { __gc = type }
        local module = { write = io.write, meta = meta, null = require "cjson".null }
        with_modules({ hand = module }, function()
            local a, b, c, d = decode(core.encode(module, setmetatable({}, meta), module.write, module.null))
            assert.same({ module, meta, io.write, module.null }, { a, getmetatable(b), c, d })
        end)
        fails_there("module 'hand' not found:", {}, message_of({ hand = module }, module))
    end)
end)

describe("a process", function()
    it("returns functions of modules that it made", function()
        local result = helper.script_run [[
            local function results_of(f) return mp.process(f):start():result() end
            package.loaded.both = { f = function() return "mine" end }
            print(results_of(function()
                package.loaded.both = { f = function() return "the child's" end }
                return package.loaded.both.f
            end) == package.loaded.both.f)
            local inc, get = results_of(function()
                local n = 5
                package.loaded.made = { inc = function() n = n + 1 end, get = function() return n end }
                return package.loaded.made.inc, package.loaded.made.get
            end)
            inc()
            print(get(), package.loaded.made)
            local p = mp.process(function()
                local out = io.stdout
                package.loaded.made = { log = function() out:write() end }
                return { package.loaded.made.log }
            end):start()
            local ok, e = pcall(p.result, p)
            print(ok, e.kind, e.message:match "^[^\n]*")
            print(results_of(function()
                local out = io.stdout
                package.loaded.both = { f = function() out:write() end }
                return package.loaded.both.f
            end) == package.loaded.both.f)]]
        assert.equal("true\n6\tnil\nfalse\tunsendable\tcannot receive the results: module 'made' not found:\ntrue\n",
            result.stdout, result.stderr)
    end)

    it("looks for modules only when it meets such a function", function()
        local result = helper.script_run [[
            local found = package.loaded["luamp.core"].found_modules()
            local core = package.loaded["luamp.core"]
            core.encode(print, string.format, mp.process, function() return 1 end, { {} })
            print(next(found))
            package.loaded.hand = { f = function() end }
            core.encode(package.loaded.hand.f)
            print(found.hand, found.string)]]
        assert.equal("nil\nfalse\ttrue\n", result.stdout, result.stderr)
    end)
end)

describe("a global that cannot be sent", function()
    it("is left out also for what lies more than a hundred levels deep in it", function()
        globals.a_table = { io.stdout }
        for _ = 1, 300 do globals.a_table = { globals.a_table } end
        local message = core.encode(make "return function() return a_table, 1 end")
        globals.a_table = nil
        assert.is_string(message)
        assert.same({ nil, 1, n = 2 }, table.pack(decode(message)()))
    end)
end)
