-- rwlock_spec.lua: mp.rwlock: who reads and writes together, who goes first, what becomes of a dead
-- one's shares, misuse; its sides in mp.wait, scopes and the report of a deadlock. sync_kills_spec
-- kills many.
local helper = require "spec.helper"
local mp = require "luamp"
local waking = require "spec.waking"

local misuse, started, result_of = helper.misuse, helper.started, helper.result_of

local MOMENT <const> = 1 -- seconds that what takes 100 ms at most may take on a busy machine

local function end_of(p, how)
    if how then p[how](p) end
    p:join()
    p:close()
end

-- A process that has the side until it is ended, or the event is set.
local function holder(side, stop)
    local has = mp.event()
    local p = started(function(s, e, stopped)
        s:acquire()
        e:set()
        if stopped then stopped:wait() s:release() else mp.sleep(100) end
    end, side, has, stop)
    assert.is_true(has:wait(20))
    return p
end

-- A process that waits for the side, says "got", and has it until the event is set.
local function waiter(side, said, word, stop)
    local p = started(function(s, q, w, e)
        s:acquire()
        q:put(w)
        if e then e:wait() end
        s:release()
    end, side, said, word, stop)
    return p
end

local function is_in_line(side, n)
    helper.wait_until(function() return tostring(side):find((", %d waiting%%)$"):format(n)) end, n .. " in line")
end

describe("a rwlock", function()
    it("lets many read at once", function()
        local rw, stop = mp.rwlock(), mp.event()
        local a, b = holder(rw.read, stop), holder(rw.read, stop)
        assert.is_true(rw.read:acquire(0))
        assert.same({ nil, "timeout" }, { result_of(function(w) return w:acquire(0) end, rw.write) })
        rw.read:release()
        stop:set()
        end_of(a)
        end_of(b)
        assert.is_true(rw.write:acquire(0))
    end)

    it("lets one write, alone", function()
        local rw = mp.rwlock()
        local p = holder(rw.write)
        local t = mp.clock()
        assert.same({ nil, "timeout" }, { rw.read:acquire(0.2) })
        assert.same({ nil, "timeout" }, { rw.write:acquire(0) })
        assert.is_true(mp.clock() - t >= 0.2)
        end_of(p, "kill")
        local value, q = mp.queue(), mp.queue()
        value:put(0)
        local processes = {}
        for i = 1, 4 do
            processes[i] = started(function(l, v)
                for _ = 1, 100 do
                    if i % 2 == 0 then
                        l.write:with(function() v:put(v:get() + 1) end)
                    else
                        l.read:with(function() if #v ~= 1 then error "a reader among writers" end end)
                    end
                end
                q:put "done"
            end, rw, value)
        end
        for _ = 1, 4 do assert.equal("done", q:get(60)) end
        for _, process in ipairs(processes) do end_of(process) end
        assert.equal(200, value:get())
    end)

    it("lets no new reader pass a writer that waits, and no new writer pass a reader that does", function()
        local rw, said, stop, last = mp.rwlock(), mp.queue(), mp.event(), mp.event()
        local first = holder(rw.read, stop)
        local processes = { waiter(rw.write, said, "writer") }
        is_in_line(rw.write, 1)
        processes[2] = waiter(rw.read, said, "reader", last)
        is_in_line(rw.read, 1)
        processes[3] = waiter(rw.write, said, "second writer")
        is_in_line(rw.write, 2)
        assert.same({ nil, "timeout" }, { rw.read:acquire(0) })
        assert.same({ nil, "timeout" }, { said:get(0.2) })
        stop:set()
        assert.same({ "writer", "reader" }, { said:get(20), (said:get(20)) })
        assert.same({ nil, "timeout" }, { said:get(0.2) })
        last:set()
        assert.equal("second writer", said:get(20))
        for _, p in ipairs(processes) do end_of(p) end
        end_of(first)
    end)

    it("lets no new writer pass a reader whose turn it is", function()
        local rw, said = mp.rwlock(), mp.queue()
        rw.write:acquire()
        local p = waiter(rw.read, said, "reader")
        is_in_line(rw.read, 1)
        p:signal "SIGSTOP"
        rw.write:release()
        assert.same({ nil, "timeout" }, { rw.write:acquire(0) })
        p:signal "SIGCONT"
        assert.equal("reader", said:get(20))
        end_of(p)
        assert.is_true(rw.write:acquire(20))
    end)

    it("lets a writer in among readers without an end, and a reader among writers", function()
        for side, other in pairs { read = "write", write = "read" } do
            local rw, stop, turns = mp.rwlock(), mp.event(), mp.semaphore(0)
            local processes = {}
            for i = 1, 3 do
                processes[i] = started(function(l, e, s)
                    while not e:is_set() do
                        l:acquire()
                        s:release()
                        for _ = 1, 1000 do end
                        l:release()
                    end
                end, rw[side], stop, turns)
            end
            for _ = 1, 20 do
                turns:acquire()
                assert.is_true(rw[other]:acquire(20))
                rw[other]:release()
            end
            stop:set()
            for _, p in ipairs(processes) do end_of(p) end
        end
    end)

    it("may be read again by its reader, while a writer waits", function()
        local rw, said = mp.rwlock(), mp.queue()
        rw.read:acquire()
        local p = waiter(rw.write, said, "writer")
        is_in_line(rw.write, 1)
        assert.is_true(rw.read:acquire(5))
        rw.read:release()
        assert.is_nil(said:get(0.1))
        rw.read:release()
        assert.equal("writer", said:get(20))
        end_of(p)
    end)

    it("may be read by its writer, also when that writes no more", function()
        local rw = mp.rwlock()
        rw.write:acquire()
        assert.is_true(rw.read:acquire(0))
        rw.write:release()
        assert.is_true(result_of(function(l)
            return l.read:with(function() return true end) and not l.write:acquire(0)
        end, rw))
        rw.read:release()
        assert.is_true(result_of(function(l) return (l.write:acquire(0)) end, rw))
    end)

    it("wakes who waits for it", function()
        local rw = mp.rwlock()
        for _, side in pairs { rw.read, rw.write } do
            local function wait(s)
                s:acquire()
                s:release()
            end
            local function prepare() rw.write:acquire() end
            local median = waking.median(side, prepare, wait, function() rw.write:release() end)
            assert.is_true(median < waking.soon)
        end
    end)

    it("is the same in each process, and its sides travel alone", function()
        local rw, q = mp.rwlock(), mp.queue()
        q:put { rw, rw.read }
        local got = q:get()
        assert.equal(rw, got[1])
        assert.equal(rw.read, got[2])
        rw.write:acquire()
        assert.same({ false, false, true }, { result_of(function(r, t)
            return r:acquire(0) or false, t[1].read:acquire(0) or false, t[1].read == r
        end, rw.read, { rw }) })
        local p = started(function(queue) queue:put(mp.rwlock()) end, q)
        end_of(p)
        local made = q:get()
        assert.is_true(made.write:acquire(0))
    end)

    it("prints who has it", function()
        local rw = mp.rwlock()
        assert.matches("^mp.rwlock: 0x%x+ %(write %(free%), read %(free%)%)$", tostring(rw))
        assert.matches("^mp.rwlock.write: 0x%x+ %(free%)$", tostring(rw.write))
        rw.read:acquire()
        assert.matches("^mp.rwlock.read: 0x%x+ %(1 held%)$", tostring(rw.read))
        assert.same({ true, false }, { rw.read:is_locked(), rw.write:is_locked() })
        rw.read:release()
        rw.write:acquire()
        assert.matches("%(held by process 'main' %(pid " .. mp.getpid() .. "%)%)$", tostring(rw.write))
        assert.same({ false, true }, { rw.read:is_locked(), rw.write:is_locked() })
        rw.write:release()
        rw:close()
        assert.matches("%(write %(closed%), read %(closed%)%)$", tostring(rw))
    end)
end)

describe("a process that ends", function()
    it("while it writes is told of once, to who comes next on either side, soon", function()
        for _, side in ipairs { "read", "write" } do
            for how, f in pairs {
                kill = function(l) l:acquire() mp.sleep(100) end, exit = function(l) l:acquire() os.exit(3) end,
                ["return"] = function(l) l:acquire() end, error = function(l) l:acquire() error "no" end,
            } do
                local rw = mp.rwlock()
                local p = started(f, rw.write)
                helper.wait_until(function() return how ~= "kill" or rw.write:is_locked() end, "the writer")
                if how == "kill" then p:kill() else p:join() end
                local t = mp.clock()
                assert.same({ true, "abandoned" }, { rw[side]:acquire() }, how)
                assert.is_true(mp.clock() - t < MOMENT)
                end_of(p)
                rw[side]:release()
                assert.same({ true }, { rw.read:acquire() })
                rw.read:release()
                assert.same({ true }, { rw.write:acquire() })
            end
        end
    end)

    it("while it reads gives its shares back without a word", function()
        local rw = mp.rwlock()
        local p = started(function(l, said)
            l.read:acquire()
            l.read:acquire()
            said:set()
            mp.sleep(100)
        end, rw, mp.event())
        helper.wait_until(function() return tostring(rw.read):find "2 held" end, "the reader")
        p:kill()
        local t = mp.clock()
        assert.same({ true }, { rw.write:acquire() })
        assert.is_true(mp.clock() - t < MOMENT)
        end_of(p)
    end)

    it("after it was told has told nobody else: the next is told again", function()
        local rw = mp.rwlock()
        end_of(holder(rw.write), "kill")
        local p = started(function(r)
            local _, word = r:acquire()
            if word ~= "abandoned" then error "not told" end
            os.exit(3)
        end, rw.read)
        p:join()
        assert.equal(3, p.exitcode)
        p:close()
        assert.same({ true, "abandoned" }, { rw.write:acquire() })
    end)

    -- What a scope that fails was told is told again, to the same process perhaps, which reads still.
    it("while it reads, and is told twice of a death, has its shares and no more", function()
        for how, leaves in pairs { exit = function() os.exit(3) end, release = function(r)
            r:release()
            r:release()
            local ok, e = pcall(r.release, r)
            if ok or not e:find("does not hold it", 1, true) then error("a share too many: " .. tostring(e)) end
        end } do
            local rw = mp.rwlock()
            end_of(holder(rw.write), "kill")
            local p = started(function(r, f)
                pcall(r.with, r, function()
                    r:acquire()
                    error "what it was told is lost"
                end)
                local _, word = r:acquire()
                if word ~= "abandoned" then error "not told again" end
                f(r)
            end, rw.read, leaves)
            p:join(20)
            assert.equal(how == "exit" and 3 or 0, p.exitcode, tostring(p.error))
            p:close()
            assert.equal("mp.rwlock.read: (free)", (tostring(rw.read):gsub(" 0x%x+", "")))
            assert.same({ true, how == "exit" and "abandoned" or nil }, { rw.write:acquire(20) })
        end
    end)

    it("while it reads, and has left what it was told to the next, has nothing to tell", function()
        local rw, go = mp.rwlock(), mp.event()
        end_of(holder(rw.write), "kill")
        local p = started(function(r, e)
            pcall(r.with, r, function()
                r:acquire()
                error "what it was told is lost"
            end)
            e:set()
            mp.sleep(100)
        end, rw.read, go)
        assert.is_true(go:wait(20))
        assert.same({ true, "abandoned" }, { rw.read:acquire(20) })
        rw.read:release()
        end_of(p, "kill")
        assert.same({ true }, { rw.write:acquire(20) })
    end)

    it("while it waits to write keeps nobody out", function()
        local rw, said = mp.rwlock(), mp.queue()
        rw.read:acquire()
        local p = waiter(rw.write, said, "writer")
        is_in_line(rw.write, 1)
        p:kill()
        local q = waiter(rw.read, said, "reader")
        local t = mp.clock()
        assert.equal("reader", said:get(20))
        assert.is_true(mp.clock() - t < MOMENT)
        end_of(p)
        end_of(q)
    end)
end)

describe("a writer that gives up waiting keeps nobody out", function()
    local function keeps_nobody_out(give_up)
        local rw, said = mp.rwlock(), mp.queue()
        rw.read:acquire()
        local p = started(function(l, q)
            give_up(l, q)
            mp.sleep(100)
        end, rw, said)
        helper.wait_until(function() return tostring(rw.write):find "1 waiting" end, "the writer")
        local q = waiter(rw.read, said, "reader")
        is_in_line(rw.read, 1)
        local list = { said:get(20), (said:get(20)) }
        table.sort(list)
        assert.same({ "given up", "reader" }, list)
        end_of(p, "kill")
        end_of(q)
    end

    it("at its limit", function()
        keeps_nobody_out(function(l, q)
            l.write:acquire(0.5)
            q:put "given up"
        end)
    end)

    it("by an error of a signal's handler", function()
        keeps_nobody_out(function(l, q)
            mp.on_signal("SIGALRM", function() error "enough" end)
            local p <close> = mp.process { command = { "sh", "-c", "sleep 0.5; kill -ALRM " .. mp.getpid() } }
            p:start()
            assert(not pcall(l.write.acquire, l.write))
            q:put "given up"
            p:join()
        end)
    end)

    it("by a failure of its scope", function()
        keeps_nobody_out(function(l, q)
            pcall(mp.scope, function(s)
                s:start { target = function() mp.sleep(0.5) error "failed" end, stderr = "null" }
                l.write:acquire()
            end)
            q:put "given up"
        end)
    end)
end)

describe("a side of a rwlock", function()
    it("held by a process that asks again raises, also with a limit", function()
        local rw = mp.rwlock()
        rw.write:acquire()
        local text = ": this process holds it, and would wait for itself"
        misuse("mp.rwlock.write: acquire" .. text, function() rw.write:acquire() end)
        misuse("mp.rwlock.write: hold" .. text, function() rw.write:hold(0) end)
        rw.write:release()
        rw.read:acquire()
        text = ": this process reads, and would wait for itself"
        misuse("mp.rwlock.write: acquire" .. text, function() rw.write:acquire(0) end)
        misuse("mp.rwlock.write: with" .. text, function() rw.write:with(print) end)
    end)

    it("is released by its holder only", function()
        local rw = mp.rwlock()
        misuse("mp.rwlock.read: release: this process does not hold it", function() rw.read:release() end)
        misuse("mp.rwlock.write: release: this process does not hold it", function() rw.write:release() end)
    end)

    it("is held for a scope, and for a function", function()
        local rw = mp.rwlock()
        do
            local _ <close> = rw.write:hold()
            assert.is_true(rw.write:is_locked())
        end
        assert.is_false(rw.write:is_locked())
        assert.same({ 1, 2 }, { rw.read:with(function(...) return ... end, 1, 2) })
        helper.fails("inside", rw.write.with, rw.write, error, "inside")
        assert.is_false(rw.write:is_locked())
    end)

    it("is ready in mp.wait, and its descriptor readable, when it can be had", function()
        local rw, stop = mp.rwlock(), mp.event()
        assert.same({ rw.read, rw.write }, mp.wait({ rw.read, rw.write }, 0))
        local p = holder(rw.read, stop)
        assert.same({ rw.read }, mp.wait({ rw.read, rw.write }, 0))
        stop:set()
        assert.same({ rw.write }, mp.wait({ rw.write }, 20))
        end_of(p)
        p = holder(rw.write)
        assert.same({}, mp.wait({ rw.read, rw.write }, 0))
        local fd = rw.read:pollfd()
        assert.equal("r", rw.read:events())
        p:kill()
        assert.same({ fd }, mp.wait({ fd }, 20))
        assert.same({ rw.read, rw.write }, mp.wait({ rw.read, rw.write }, 20))
        end_of(p)
    end)

    it("stands in the report of a deadlock", function()
        local run = helper.script_run [[
            local rw = mp.rwlock()
            rw.read:acquire()
            local p = mp.process { name = "other", target = function(l) l.write:acquire() end, args = { rw } }:start()
            while not tostring(rw.write):find "1 waiting" do mp.sleep(0.01) end
            p:join()]]
        assert.equal(1, run.status)
        assert.matches("deadlock, nobody can go on:", run.stderr)
        assert.matches("process 'other' %(pid %d+%) waits for mp.rwlock.write: ", run.stderr)
    end)
end)

describe("mp.rwlock", function()
    it("takes nothing, and its fields are read-only", function()
        misuse("mp.rwlock: it takes no options and no arguments", function() mp.rwlock(1) end)
        local rw = mp.rwlock()
        misuse("mp.rwlock: its fields cannot be assigned ('read')", function() rw.read = 1 end)
        misuse("mp.rwlock.read: its fields cannot be assigned ('x')", function() rw.read.x = 1 end)
        rw:close()
        misuse("mp.rwlock.read: acquire: it is closed in this process", function() rw.read:acquire() end)
    end)

    it("leaves no memory behind", function()
        local function count()
            collectgarbage()
            collectgarbage()
            local kinds = mp.memory().kinds
            return { kinds.rwlocks.count, kinds.read_sides.count }
        end
        local before = count()
        do
            local rw = mp.rwlock()
            end_of(started(function(read) read:acquire() end, rw.read))
            assert.is_true(mp.rwlock().read:acquire())
        end
        assert.same(before, count())
    end)
end)
