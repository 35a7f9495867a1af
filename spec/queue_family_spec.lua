-- queue_family_spec.lua: queues between processes: how they travel, who delivers what and in
-- which order, signals, and processes of other code.
local helper = require "spec.helper"
local driver = require "spec.driver"
local mp = require "luamp"

local started, result_of = helper.started, helper.result_of

local function join_all(processes)
    for _, p in ipairs(processes) do
        p:result()
        p:close()
    end
end

local function n_queues()
    collectgarbage()
    collectgarbage()
    return mp.memory().kinds.queues.count
end

describe("a queue travels", function()
    after_each(function()
        helper.wait_until(function() return n_queues() == 0 end, "the end of all queues")
    end)

    it("as an argument, in one, and as an upvalue", function()
        local q = mp.queue()
        join_all {
            started(function(a) a:put "argument" end, q),
            started(function(t) t.x[1]:put "in an argument" end, { x = { q } }),
            started(function() q:put "upvalue" end),
        }
        local list = q:get_many(10)
        table.sort(list)
        assert.same({ "argument", "in an argument", "upvalue" }, list)
    end)

    it("as a result, made by the child, which has ended", function()
        local q, again, t = result_of(function()
            local made = mp.queue(2)
            made:put "from the child"
            return made, made, { made }
        end)
        assert.is_true(rawequal(q, again) and rawequal(q, t[1]))
        assert.matches("%(1/2%)$", tostring(q))
        assert.equal("from the child", (q:get()))
        assert.is_true(q:put(1))
        q = result_of(function(x) return x end, q)
        assert.is_true(rawequal(q, again))
    end)

    it("as a result of which nobody asks", function()
        local p = started(function() return mp.queue() end)
        p:join()
        assert.equal(1, n_queues())
        p:close()
    end)

    it("as a result of many that are dropped once, while others look after the dead", function()
        local over, n = mp.queue(), 20
        local function look_after_the_dead()
            local reader, writer = mp.pipe()
            reader:pollfd()
            while #over == 0 do reader:recv(0) end
            writer:close()
        end
        local lookers = { started(look_after_the_dead), started(look_after_the_dead) }
        for _ = 1, 200 do
            local list = result_of(function()
                local made = {}
                for i = 1, n do
                    made[i] = mp.queue()
                    made[i]:put(i)
                end
                return made
            end)
            for i = 1, n do assert.equal(i, (list[i]:get(0))) end
        end
        over:put "done"
        join_all(lookers)
        over:close()
    end)

    it("in an error's value", function()
        local e = helper.error_of(function()
            local made = mp.queue()
            made:put "item"
            error { q = made }
        end)
        assert.equal("item", (e.value.q:get()))
    end)

    it("through a queue, with its sender gone", function()
        local q = mp.queue()
        join_all { started(function()
            local made = mp.queue()
            made:put { made, 1 }
            q:put(made)
            q:put { deep = { [made] = true } }
            q:put(function() return made end)
        end) }
        local made = q:get()
        local t = q:get()
        assert.is_true(rawequal(made, (next(t.deep))))
        assert.is_true(rawequal(made, q:get()()))
        assert.is_true(rawequal(made, made:get()[1]))
    end)

    it("to a process that has dropped it, as a new handle", function()
        local q, other = mp.queue(), mp.queue()
        other:put(q)
        q:put "item"
        do local dropped <close> = q end -- luacheck: ignore
        local again = other:get()
        assert.is_false(rawequal(q, again))
        assert.equal("item", (again:get(0)))
        helper.misuse("it is closed in this process", function() q:get(0) end)
        other:put(again)
        assert.is_true(rawequal(again, (other:get())))
    end)

    it("and in a message of bytes that name another place is refused where there is none", function()
        local core = require "luamp.core"
        local q = mp.queue()
        local message = core.encode { q }
        assert.is_true(rawequal(q, core.decode(message, true)[1]))
        local refused = 0
        for at = 1, #message do
            for byte = 0, 255 do
                local ok, back = pcall(core.decode, message:sub(1, at - 1) .. string.char(byte) .. message:sub(at + 1),
                    true)
                refused = refused + (ok and type(back) == "table" and 0 or 1)
            end
        end
        assert.is_true(refused > 1000, refused)
    end)

    it("through itself", function()
        local q = mp.queue()
        q:put(q)
        q:put { q, q }
        assert.is_true(rawequal(q, (q:get())))
        local t = q:get()
        assert.is_true(rawequal(q, t[1]) and rawequal(q, t[2]))
    end)

    it("over many processes in a row", function()
        local function pass(n, q)
            if n == 0 then
                q:put("end")
                return q
            end
            return mp.process { target = pass, args = { n - 1, q } }:start():result()
        end
        local q = mp.queue()
        assert.is_true(rawequal(q, result_of(pass, 5, q)))
        assert.equal("end", (q:get()))
    end)

    it("by fork to a child that uses it when its maker has dropped it", function()
        helper.needs_fork "a fresh process holds what has come to it"
        local gate, q = mp.queue(), mp.queue()
        q:put "still there"
        local p <close> = started(function()
            gate:get()
            return q:get()
        end)
        q = nil -- luacheck: ignore
        collectgarbage()
        gate:put "go"
        assert.equal("still there", p:result())
    end)

    it("by fork to a child that uses it when others have dropped it, and it has seen the last one's death", function()
        helper.needs_fork "what is inherited"
        local ready, go, told = mp.queue(), mp.queue(), mp.queue()
        local held = { mp.queue() }
        local holder = started(function()
            held[1]:put "from the holder"
            ready:put(true)
            mp.sleep(60)
        end)
        local p = started(function()
            go:get()
            local before = n_queues()
            told:get(2) -- in which the dead are looked for
            local after, others = n_queues(), {}
            for i = 1, 20 do
                others[i] = mp.queue()
                others[i]:put "another's"
            end
            held[1]:put "from the child"
            return before - after, held[1]:get(), held[1]:get()
        end)
        ready:get()
        held[1] = nil
        collectgarbage()
        assert.is_true(os.execute("kill -KILL " .. holder.pid))
        go:put(true)
        assert.same({ 0, "from the holder", "from the child" }, { p:result() })
        p:close()
        assert.is_true(holder:join())
        holder:close()
    end)
end)

describe("between processes", function()
    it("an item is delivered when put returns, however large, and the putter exits at once", function()
        local q = mp.queue()
        local p = started(function()
            for i = 1, 100 do q:put { i, ("x"):rep(1 << 20) } end
            os.exit(0)
        end)
        assert.is_true(p:join()) -- nobody has read by now
        assert.same({ 0, 100 }, { p.exitcode, #q })
        p:close()
        for i = 1, 100 do
            local item = q:get(0)
            assert.same({ i, 1 << 20 }, { item[1], #item[2] })
        end
        local one = started(function() q:put(("y"):rep(100 << 20)) end)
        assert.is_true(one:join())
        assert.equal(100 << 20, #q:get())
        one:close()
    end)

    it("what a killed putter has put stays", function()
        local q = mp.queue()
        local p = started(function()
            q:put(1)
            q:put(("x"):rep(1 << 20))
            mp.sleep(60)
        end)
        helper.wait_until(function() return #q == 2 end, "two items")
        p:kill()
        p:join()
        assert.equal(1, (q:get(0)))
        assert.equal(1 << 20, #q:get(0))
        assert.equal(-9, p.exitcode)
        p:close()
    end)

    it("each putter's items come in its order, and the counts are exact", function()
        for _, bounds in ipairs { {}, { maxsize = 3 }, { maxbytes = 20000 } } do
            local q, results, processes = mp.queue(bounds), mp.queue(), {}
            local n, large = 300, ("x"):rep(3000)
            for putter = 1, 4 do
                processes[#processes + 1] = started(function()
                    for i = 1, n do q:put { putter, i, i % 7 == 0 and large or nil } end
                end)
            end
            local getters = {}
            for getter = 1, 4 do
                getters[getter] = started(function()
                    local list = {}
                    local function note(item)
                        if item[2] % 7 == 0 and item[3] ~= large then error "an item is torn" end
                        list[#list + 1] = item[1] * 1000 + item[2]
                    end
                    if getter % 2 == 0 then
                        for item in q:iter() do note(item) end
                    else
                        for items in function() return (q:get_many(5)) end do
                            for _, item in ipairs(items) do note(item) end
                        end
                    end
                    results:put(list)
                end)
            end
            join_all(processes)
            q:close()
            join_all(getters)
            local seen, total = {}, 0
            for _ = 1, 4 do
                local last = { 0, 0, 0, 0 }
                for _, number in ipairs(results:get(0)) do
                    local putter, i = number // 1000, number % 1000
                    assert.is_true(i > last[putter], "out of order")
                    last[putter] = i
                    assert.is_nil(seen[number])
                    seen[number], total = true, total + 1
                end
            end
            assert.same({ 4 * n, 0, true }, { total, #q, q:is_empty() })
            assert.same({ nil, "closed" }, { q:get() })
        end
    end)

    it("batches of many putters keep their order", function()
        local q, processes = mp.queue(10), {}
        for putter = 1, 3 do
            processes[putter] = started(function()
                local list = {}
                for i = 1, 500 do list[i] = { putter, i } end
                return q:put_many(list)
            end)
        end
        local last = { 0, 0, 0 }
        for _ = 1, 1500 do
            local item = q:get()
            assert.equal(last[item[1]] + 1, item[2])
            last[item[1]] = item[2]
        end
        for _, p in ipairs(processes) do assert.equal(500, p:result()) end
        join_all(processes)
        assert.equal(0, #q)
    end)

    it("any number of questions and answers go back and forth", function()
        local there, back = mp.queue(1), mp.queue(1)
        local p <close> = started(function()
            for value in there:iter() do back:put(value + 1) end
        end)
        for i = 1, 2000 do
            there:put(i)
            assert.equal(i + 1, (back:get()))
        end
        there:close()
        p:result()
    end)

    it("a list of work is waited for by join", function()
        local q, sum = mp.queue(), mp.queue()
        for i = 1, 100 do q:put(i) end
        local processes = {}
        for i = 1, 3 do
            processes[i] = started(function()
                local total = 0
                for n in q:iter() do
                    total = total + n
                    q:task_done()
                end
                sum:put(total)
            end)
        end
        assert.same({ true }, { q:join() })
        q:close()
        join_all(processes)
        assert.equal(5050, sum:get() + sum:get() + sum:get())
    end)

    it("memory is given back with the items that a killed getter has taken", function()
        local q, told = mp.queue(), mp.queue()
        local p = started(function()
            local item = q:get()
            told:put(#item)
            mp.sleep(60)
        end)
        q:put(("x"):rep(8 << 20))
        assert.equal(8 << 20, (told:get()))
        p:kill()
        p:join()
        p:close()
        assert.is_true(mp.memory().used < 1 << 20)
        assert.equal(0, mp.memory().kinds.messages.count)
    end)
end)

describe("a signal", function()
    it("runs its handler in a wait, which goes on", function()
        for _, way in ipairs {
            function(empty) return empty:get() end,
            function(empty) return empty:get_many(1)[1] end,
            function(empty) return empty:iter()() end,
            function(_, full) full:put(2) return "item" end,
            function(_, full) return full:put_many { 2, 3 } == 2 and "item" end,
            function(_, _, undone) return undone:join() and "item" end,
        } do
            local empty, full, undone, seen = mp.queue(), mp.queue(2), mp.queue(), mp.queue()
            full:put_many { 1, 1 }
            undone:put(1)
            mp.on_signal("USR1", function(name) seen:put(name) end)
            local p <close> = started(function(pid)
                for _ = 1, 3 do
                    os.execute("kill -USR1 " .. pid)
                    seen:get()
                end
                full:get_many(2)
                undone:get()
                undone:task_done()
                empty:put "item"
            end, mp.getpid())
            assert.equal("item", way(empty, full, undone))
            p:join()
            mp.on_signal("USR1")
        end
    end)

    it("may end a wait by an error of its handler: nothing is put, and nothing lost", function()
        for _, way in ipairs {
            function(empty) return empty:get() end,
            function(_, full) return full:put "not put" end,
            function(_, full) return full:put_many { "not put", ("not put"):rep(5000) } end,
            function(_, full) return full:join() end,
        } do
            local empty, full, told = mp.queue(), mp.queue(1), mp.queue()
            full:put(1)
            mp.on_signal("USR1", function() error("told", 0) end)
            local p <close> = started(function(pid)
                told:get()
                mp.sleep(0.02)
                os.execute("kill -USR1 " .. pid)
            end, mp.getpid())
            told:put "go"
            helper.fails("told", way, empty, full)
            p:join()
            mp.on_signal("USR1")
            assert.equal(1, (full:get(0)))
            assert.same({ 0, 0, 0 }, { #full, #empty, mp.memory().kinds.messages.count })
            assert.is_true(full:put(2, 0))
            empty:put(3)
            assert.equal(3, (empty:get(0)))
        end
    end)

    it("has a handler that may use the very queue", function()
        local q = mp.queue(1)
        q:put(1)
        mp.on_signal("USR1", function() q:get() end)
        local p <close> = started(function(pid) os.execute("kill -USR1 " .. pid) end, mp.getpid())
        assert.is_true(q:put(2))
        p:join()
        mp.on_signal("USR1")
        assert.equal(2, (q:get(0)))
    end)

    for place, code in pairs {
        ["get"] = "mp.queue():get()",
        ["get_many with a timeout"] = "mp.queue():get_many(5, 60)",
        ["iter"] = "for _ in mp.queue():iter() do end",
        ["put"] = "local q = mp.queue(1) q:put(1) q:put(2)",
        ["put_many"] = "mp.queue(2):put_many { 1, 2, 3 }",
        ["join"] = "local q = mp.queue() q:put(1) q:join()",
        ["get in a coroutine"] = "coroutine.wrap(function() mp.queue():get() end)()",
        ["recv"] = "local a = mp.pipe() a:recv()",
        ["send"] = "local a, b = mp.pipe() a:send(('x'):rep(2 << 20)) a:send(1)",
    } do
        it("of Ctrl-C ends the wait at once: " .. place, function()
            local result = driver.signalled { signal = "INT", asleep = true, script = [[
                local mp = require "luamp"
                local idle = mp.queue()
                for _ = 1, 3 do mp.process(function() idle:get() end):start() end
                print "ready"
                io.stdout:flush()
                ]] .. code }
            assert.equal(130, result.status)
            assert.matches("^[^\n]*: interrupted\n$", result.stderr)
            assert.is_true(result.seconds < 5, result.seconds)
        end)
    end
end)

describe("a process of other code", function()
    it("that was forked beside luamp cannot use a queue, and harms none", function()
        local path = helper.library("foreign_fork", [[
            #include <lauxlib.h>
            #include <sys/wait.h>
            #include <unistd.h>
            static int fork_(lua_State *L) { lua_pushinteger(L, fork()); return 1; }
            static int wait_(lua_State *L) { waitpid((pid_t)luaL_checkinteger(L, 1), 0, 0); return 0; }
            static const luaL_Reg functions[] = {{"fork", fork_}, {"wait", wait_}, {NULL, NULL}};
            int luaopen_foreign_fork(lua_State *L) { luaL_newlib(L, functions); return 1; }]])
        local result = helper.script_run([[
            local foreign = require "foreign_fork"
            io.stdout:setvbuf "no"
            local q, a, b = mp.queue(), mp.pipe()
            q:put(1)
            local pid = foreign.fork()
            if pid == 0 then
                for _, f in ipairs { function() q:put(2) end, function() q:get() end, function() return #q end,
                    function() a:send(1) end } do
                    print((select(2, pcall(f)):gsub("^.*:%d+: ", "")))
                end
                print(select(2, pcall(mp.queue().put, mp.queue(), q)).message)
                local own = mp.queue()
                own:put "of its own family"
                print(own:get())
                os.exit(0)
            end
            foreign.wait(pid)
            q:put(2)
            b:send "still open"
            print(#q, q:get(), q:get(), a:recv())]], nil, { env = { LUA_CPATH = path } })
        local gone = "this process is not of the family that it belongs to\n"
        assert.same({ 0, "", "mp.queue: put: " .. gone .. "mp.queue: get: " .. gone .. "mp.queue: #: " .. gone
            .. "mp.pipe: send: " .. gone }, { result.status, result.stderr, result.stdout:match "^(.*\n)cannot" })
        assert.matches("\ncannot send item: it is [^\n]*queue[^\n]*\nof its own family\n2\t1\t2\tstill open\n$",
            result.stdout)
    end)
end)
