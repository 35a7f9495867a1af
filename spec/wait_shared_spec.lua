-- wait_shared_spec.lua: mp.wait for queues and pipe ends, mixed with processes and descriptors.
local driver = require "spec.driver"
local helper = require "spec.helper"
local luv = require "luv"
local mp = require "luamp"

local misuse = helper.misuse

local function timed(f, ...)
    local t = mp.clock()
    local result = f(...)
    return mp.clock() - t, result
end

local function finish(...)
    for _, p in ipairs { ... } do
        p:join()
        assert.equal(0, p.exitcode)
        p:close()
    end
end

local function end_all(...)
    for _, p in ipairs { ... } do
        p:kill()
        p:join()
        p:close()
    end
end

describe("mp.wait for what is shared", function()
    it("lists what is ready, in the list's order, and takes nothing", function()
        local q, ranked, a, b = mp.queue(), mp.priority_queue(), mp.pipe()
        local list = { a, q, ranked, b }
        assert.same({}, mp.wait(list, 0))
        ranked:put("x", 1)
        assert.same({ ranked }, mp.wait(list))
        b:send(1)
        assert.same({ a, ranked }, mp.wait(list))
        q:put(1)
        a:send(2)
        for _ = 1, 3 do assert.same({ a, q, ranked, b }, mp.wait(list)) end
        assert.same({ q, q }, mp.wait { q, q })
        assert.same({ 1, "x", 1, 2 }, { q:get(0), ranked:get(0), a:recv(0), (b:recv(0)) })
        assert.same({}, mp.wait(list, 0))
        a:close()
        b:close()
    end)

    it("mixes them with processes and descriptors, and is woken by each", function()
        local q, a, b = mp.queue(), mp.pipe()
        local fds = luv.pipe()
        local p = mp.process { target = function() io.read "a" end, stdin = "pipe" }:start()
        local list = { q, a, p, fds.read }
        local acts = {
            { q, "q:put(1)", function() q:get(0) end }, { a, "b:send(1)", function() a:recv(0) end },
            { fds.read, "write", function() luv.fs_read(fds.read, 1) end }, { p, "end", function() end },
        }
        for _, act in ipairs(acts) do
            local go = mp.queue()
            local helper_process = helper.started(function(from, queue, e, what)
                from:get()
                mp.sleep(0.05)
                if what == "q:put(1)" then queue:put(1) elseif what == "b:send(1)" then e:send(1) end
            end, go, q, b, act[2])
            go:put(true)
            if act[2] == "write" then luv.fs_write(fds.write, "x") elseif act[2] == "end" then p.stdin:close() end
            assert.same({ act[1] }, mp.wait(list))
            act[3]()
            finish(helper_process)
        end
        luv.fs_close(fds.read)
        luv.fs_close(fds.write)
        finish(p)
        a:close()
        b:close()
    end)

    it("takes hundreds, and finds the one", function()
        local N <const> = 200
        local list, puts, ends = {}, {}, {}
        for i = 1, N do
            if i % 3 == 0 then
                local a, b = mp.pipe()
                list[i], puts[i] = a, b
                ends[#ends + 1], ends[#ends + 2] = a, b
            else
                list[i] = mp.queue()
                puts[i] = list[i]
            end
        end
        local go = mp.queue()
        local p = helper.started(function(from, objects)
            for i in from:iter() do
                local object = objects[i]
                if i % 3 == 0 then object:send(i) else object:put(i) end
            end
        end, go, puts)
        for _, i in ipairs { 1, 3, 57, 100, 198, 199, 200 } do
            go:put(i)
            assert.same({ list[i] }, mp.wait(list))
            assert.equal(i, i % 3 == 0 and list[i]:recv(0) or list[i]:get(0))
        end
        go:close()
        finish(p)
        assert.same({}, mp.wait(list, 0.01))
        for _, e in ipairs(ends) do e:close() end
    end)

    it("costs no time of the CPU", function()
        local list = {}
        for i = 1, 10 do list[i] = mp.queue() end
        local cpu = os.clock()
        local t = timed(mp.wait, list, 1)
        assert.is_true(t >= 1)
        assert.is_true(os.clock() - cpu < 0.2)
    end)

    it("is woken, and does not wait for its next look", function()
        local N <const> = 100
        local there, back, idle = mp.queue(), mp.queue(), mp.queue()
        local p = helper.started(function(from, to)
            for v in from:iter() do
                mp.sleep(0.002) -- until the other one sleeps
                to:put(v)
            end
        end, there, back)
        local t = timed(function()
            for i = 1, N do
                there:put(i)
                assert.same({ back }, mp.wait { idle, back })
                assert.equal(i, back:get(0))
            end
        end)
        assert.is_true(t < N * 0.02, "as slow as looks 20 times a second")
        there:close()
        finish(p)
    end)

    it("never ends early, and gives an empty list", function()
        local q, a, b = mp.queue(), mp.pipe()
        for _, timeout in ipairs { 0.001, 0.0105, 0.12 } do
            local t, ready = timed(mp.wait, { q, a }, timeout)
            assert.same({}, ready)
            assert.is_true(t >= timeout)
            assert.is_true(t < timeout + 1)
        end
        a:close()
        b:close()
    end)

    it("wakes all who wait at one queue, of whom each item has one", function()
        for _, n in ipairs { 2, 6 } do
            local q, waits, got = mp.queue(), mp.queue(), mp.queue()
            local list = {}
            for i = 1, n do
                list[i] = helper.started(function(from, ready, to)
                    ready:put(true)
                    local v
                    repeat
                        assert(mp.wait({ from })[1] == from)
                        v = from:get(0)
                    until v
                    to:put(v)
                end, q, waits, got)
            end
            for _ = 1, n do waits:get() end
            assert.same({ nil, "timeout" }, { got:get(0.1) })
            for i = 1, n do
                q:put(i)
                local t, v = timed(got.get, got, 10)
                assert.equal(i, v)
                assert.is_true(t < 5)
                assert.same({ nil, "timeout" }, { got:get(0.01) })
            end
            finish(table.unpack(list))
        end
    end)

    it("is ended by a close, and lists what is closed and drained from then on", function()
        local q, ready = mp.queue(), mp.queue()
        local p = helper.started(function(object, to)
            to:put "waits"
            local list = mp.wait { object, mp.queue() }
            to:put { #list, list[1] == object, select(2, object:get(0)) }
        end, q, ready)
        assert.equal("waits", ready:get())
        assert.same({ nil, "timeout" }, { ready:get(0.1) })
        q:close()
        assert.same({ 1, true, "closed" }, ready:get())
        finish(p)
        for _ = 1, 2 do assert.same({ q }, mp.wait({ q }, 0)) end
    end)

    it("lists an end of a pipe whose other end was closed", function()
        local a, b = mp.pipe()
        b:send "last"
        b:close()
        assert.same({ a }, mp.wait { a })
        assert.equal("last", a:recv(0))
        assert.same({ a }, mp.wait { a })
        assert.same({ nil, "closed" }, { a:recv(0) })
        a:close()
    end)

    it("meets the end of a stream within a second after its last holder was killed", function()
        local a, b = mp.pipe()
        local holders = {}
        for i = 1, 2 do
            holders[i] = helper.started(function(e)
                e:send "holds it"
                mp.sleep(100)
            end, b)
            assert.equal("holds it", a:recv())
        end
        b:close()
        holders[1]:kill()
        assert.same({}, mp.wait({ a }, 0.3))
        holders[2]:kill()
        local t, ready = timed(mp.wait, { a, mp.queue() }, 10)
        assert.same({ a }, ready)
        assert.is_true(t < 1)
        assert.same({ nil, "closed" }, { a:recv(0) })
        end_all(table.unpack(holders))
        a:close()
    end)

    it("meets it in a child, too, whose parent reaps nobody", function()
        local a, b = mp.pipe()
        local ready = mp.queue()
        local holder = helper.started(function(e)
            e:send "holds it"
            mp.sleep(100)
        end, b)
        assert.equal("holds it", a:recv())
        b:close()
        local p = helper.started(function(e, to)
            to:put(#mp.wait({ e }, 0))
            to:put(#mp.wait { e })
        end, a, ready)
        assert.equal(0, ready:get())
        local till = mp.clock() + 5
        luv.kill(holder.pid, "sigkill")
        while mp.clock() < till and #ready == 0 do end -- computes
        assert.equal(1, ready:get(0))
        finish(p)
        end_all(holder)
        a:close()
    end)

    it("goes on after a handler, and raises what that raises", function()
        local q = mp.queue()
        local count = 0
        local function shoot()
            return assert(io.popen(("sleep 0.1; kill -USR1 %d"):format(mp.getpid())))
        end
        mp.on_signal("SIGUSR1", function() count = count + 1 end)
        local t, ready
        do
            local _ <close> = shoot()
            t, ready = timed(mp.wait, { q }, 0.4)
        end
        assert.same({ {}, 1 }, { ready, count })
        assert.is_true(t >= 0.4)
        mp.on_signal("SIGUSR1", function() error("from the handler", 0) end)
        do
            local _ <close> = shoot()
            helper.fails("from the handler", mp.wait, { q })
        end
        mp.on_signal("SIGUSR1", nil)
    end)

    it("in a scope is ended by a failure there", function()
        local q = mp.queue()
        local t = timed(helper.fails, "nothing will come", mp.scope, function(s)
            s:start(function() error("nothing will come", 0) end)
            mp.wait { q }
        end)
        assert.is_true(t < 5)
    end)

    it("takes an object that was inherited, and holds it from then on", function()
        helper.needs_fork "others have the objects of their arguments from the beginning"
        local q, done, a, b = mp.queue(), mp.queue(), mp.pipe()
        rawset(_G, "an_end", b) -- where what a child is to hold is not looked for
        local p = mp.process { target = function()
            q:put(#mp.wait({ an_end }, 0)) -- luacheck: ignore
            done:get()
        end }:start()
        rawset(_G, "an_end", nil)
        assert.equal(0, q:get())
        b:close()
        assert.is_false(a:poll())
        done:put(true)
        finish(p)
        assert.same({ a }, mp.wait({ a }, 1))
        a:close()
    end)

    it("is ended at once by Ctrl-C", function()
        local run = driver.signalled { signal = "INT", script = [[
            local mp = require "luamp"
            local q, a, b = mp.queue(), mp.pipe()
            mp.process { target = mp.sleep, args = { 60 } }:start() -- or it were a deadlock
            print "ready"
            io.stdout:flush()
            mp.wait { q, a, b }]], asleep = true }
        assert.equal(130, run.status)
        assert.is_true(run.seconds < 2)
    end)

    it("refuses what never has anything, is closed, or is no list", function()
        local reader, writer = mp.pipe { duplex = false }
        local q = mp.queue()
        misuse("mp.wait: item 2, an mp.pipe: this end only sends", function() mp.wait({ q, writer }, 0) end)
        misuse("mp.wait: expected a list, not one object", function() mp.wait(q) end)
        misuse("mp.wait: expected a list, not one object", function() mp.wait(reader, 0) end)
        reader:close()
        misuse("mp.wait: item 1, an mp.pipe: it is closed in this process", function() mp.wait({ reader }, 0) end)
        misuse("mp.wait: item 1 is a userdata; it waits for", function() mp.wait({ io.stdout }, 0) end)
        writer:close()
    end)
end)
