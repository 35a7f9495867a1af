-- cluster_values_spec.lua: what functions and items are on another host: the same as on one, whatever was sent before.
local launcher = require "spec.launcher"

local it_spans, prints = launcher.it, launcher.prints

describe("what another host was sent before", function()
    it_spans("does not stay there: globals are as they are now, of calls, init and items", function()
        prints("1 11 1\n2 12 2\n3 13 3\n", [[
            for step = 1, 3 do
                factor, shift = step, step
                local one = mp.map(function(i) return i * factor end, { 1 }, { hosts = { 1 } })[1]
                local function init(a) got = a + shift end
                local pool <close> = mp.pool { hosts = { 1 }, init = init, initargs = { 10 } }
                local of_init = pool:apply(function() return got end)
                of_items = step
                local list = pool:map(function(f) return f() end, { function() return of_items end })
                print(one .. " " .. of_init .. " " .. list[1])
            end
        ]])
    end)
end)

describe("what __mp_send makes", function()
    it_spans("is made by the worker, so it may be what goes no further: an open file", function()
        prints("file file file\n", [[
            local meta = {}
            function meta.__mp_send(o) return function(path) return io.open(path) end, o.path end
            local function of(path) return setmetatable({ path = path }, meta) end
            local pool <close> = mp.pool { hosts = { 1 } }
            local items = {}
            for i = 1, 20 do items[i] = of "/dev/null" end
            local list = pool:map_async(io.type, items):result(10)
            local upvalue = of "/dev/null"
            print(list[1] .. " " .. list[20] .. " "
                .. pool:map_async(function() return io.type(upvalue) end, { 1 }):result(10)[1])
        ]])
    end)

    it_spans("may fail there, which is each task's failure", function()
        prints("3 1 unsendable\n", [[
            local function refuses() error("not here", 0) end
            local conn = setmetatable({}, { __mp_send = function() return refuses end })
            local pool <close> = mp.pool { hosts = { 1 } }
            local list, failed = pool:map(function(i) return i end, { 1, conn, 3 }, { on_error = "collect" })
            local e = select(2, pcall(pool.map, pool, function() return conn end, { 1 }))
            assert(e.message:find "cannot receive the function: .*not here")
            print(list[3] .. " " .. #failed .. " " .. e.kind)
        ]])
    end)
end)

describe("a message of a host", function()
    it_spans("stays whole while it is read, though what is read asks the same host for more", function()
        prints("10\n", [[
            local pool <close> = mp.pool { hosts = { 1 } }
            local other <close> = mp.pool { hosts = { 1 } }
            local function text(i) return ("y"):rep(60000) .. i end
            package.loaded.ask = function() -- where the result is received
                local n = 0
                for i, got in ipairs(other:map(text, mp.range(1, 20), { chunksize = 1 })) do
                    n = n + (got == text(i) and 1 or 0)
                end
                return n
            end
            local function asks() return package.loaded.ask() end
            local function work(i)
                return { i == 5 and setmetatable({}, { __mp_send = function() return asks end }) or i, text(i) }
            end
            local n = 0
            for i, result in ipairs(pool:map(work, mp.range(1, 10), { chunksize = 1 })) do
                n = n + (result[1] == (i == 5 and 20 or i) and result[2] == text(i) and 1 or 0)
            end
            print(n)
        ]])
    end)
end)
