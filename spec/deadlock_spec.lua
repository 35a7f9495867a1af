-- deadlock_spec.lua: when nobody can go on, the main process is told, by whom and for what each waits;
-- and never else. The main process is the one that runs this.
local helper = require "spec.helper"
local mp = require "luamp"

-- What a wait raised, which must be the report of a deadlock.
local function deadlock_of(wait, ...)
    return helper.fails({ kind = "deadlock" }, wait, ...)
end

-- The lines of a report, without its first one: "pid: waits ...", in order.
local function lines_of(e)
    local list = {}
    assert.equal("deadlock, nobody can go on:", e.message:match "^[^\n]*")
    for who, what in e.message:gmatch "\n\t(.-) (waits [^\n]*)" do
        list[#list + 1] = ("%s: %s"):format(who:match "%(pid (%d+)%)$" or who:match "^process (%d+)$", what)
    end
    table.sort(list)
    return list
end

local function sorted(...)
    local list = { ... }
    table.sort(list)
    return list
end

local function waits(pid, text)
    return ("%d: waits %s"):format(pid, text)
end

local function get(q) return q:get() end

local function finish(p)
    p:join()
    assert.equal(0, p.exitcode)
    p:close()
end

describe("a deadlock is told", function()
    it("to a main process that waits alone, for what it waits for", function()
        local q, full, held = mp.queue(), mp.queue(1), mp.queue()
        local a, b = mp.pipe()
        full:put(1)
        held:put(1)
        local long = ("x"):rep(1 << 18)
        while b:send(long, 0) do end
        local pid = mp.getpid()
        for _, case in ipairs {
            { q.get, q, "for an item of " .. tostring(q) }, { full.put, full, "for room in " .. tostring(full), 2 },
            { held.join, held, "until all of " .. tostring(held) .. " is done" },
            { q.get_many, q, "for an item of " .. tostring(q), 5 }, { q:iter(), nil, "for an item of " .. tostring(q) },
            { b.recv, b, "for an item of " .. tostring(b) }, { b.send, b, "for room in " .. tostring(b), long },
        } do
            local e = deadlock_of(case[1], case[2], case[4])
            assert.same({ waits(pid, case[3]) }, lines_of(e))
            assert.same({ "main", pid }, { e.process, e.pid })
        end
        a:close()
        b:close()
    end)

    it("to one that waits for a process", function()
        local q = mp.queue()
        local p = mp.process { target = get, args = { q }, name = "getter" }:start()
        for _, wait in ipairs { p.join, p.result } do
            local e = deadlock_of(wait, p)
            assert.same(sorted(waits(mp.getpid(), ("for the end of process 'getter' (pid %d)"):format(p.pid)),
                waits(p.pid, "for an item of " .. tostring(q))), lines_of(e))
            assert.is_truthy(e.message:find(("process 'getter' (pid %d) waits"):format(p.pid), 1, true))
        end
        q:put "for you"
        assert.equal("for you", p:result())
        finish(p)
    end)

    it("when grandchildren wait, too, for each other and for what is unknown here", function()
        local q, pids = mp.queue(), mp.queue()
        local p = helper.started(function(from, to)
            local own, mine = mp.pipe()
            local child = mp.process { target = function(e)
                to:put(mp.getpid())
                return e:recv()
            end, args = { own } }:start()
            local others = mp.process { target = get, args = { from } }:start()
            to:put(others.pid)
            others:join()
            mine:send "go"
            child:join()
        end, q, pids)
        local one, two = pids:get(), pids:get()
        local e = deadlock_of(p.join, p)
        local list, text = lines_of(e), table.concat(lines_of(e), "\n")
        assert.equal(4, #list, text)
        for _, pid in ipairs { mp.getpid(), p.pid, one, two } do
            assert.is_truthy(text:find(("%d: waits"):format(pid), 1, true), text)
        end
        assert.is_truthy(text:find("for an item of a pipe that is unknown here", 1, true), text)
        assert.is_truthy(text:find("for an item of " .. tostring(q), 1, true), text)
        q:put(1)
        finish(p)
    end)

    it("when they wait for several things", function()
        local q, a, b = mp.queue(), mp.pipe()
        local p = helper.started(function(from, e) return #mp.wait { from, e } end, q, a)
        for _, list in ipairs { { p }, { p, q }, { b } } do
            assert.same(sorted(waits(mp.getpid(), "for one of several things"),
                waits(p.pid, "for one of several things")), lines_of(deadlock_of(mp.wait, list)))
        end
        q:put(1)
        assert.same({ p }, mp.wait { p })
        assert.equal(1, p:result())
        finish(p)
        a:close()
        b:close()
    end)

    it("to a scope, whose function waits or has returned, and ends what was started there", function()
        local q = mp.queue()
        local e = deadlock_of(mp.scope, function(s)
            s:start(get, q)
            q:get()
        end)
        assert.equal(2, #lines_of(e))
        e = deadlock_of(mp.scope, function(s)
            s:start(get, q)
            s:start(get, q)
        end)
        assert.equal(3, #lines_of(e))
        assert.same({}, mp.active_children())
    end)

    it("in a process of a batch that has half gone in", function()
        local q = mp.queue(2)
        deadlock_of(q.put_many, q, { 1, 2, 3, 4 })
        assert.equal(2, #q)
    end)

    it("again and again, and things go on when there is something", function()
        local q, answers = mp.queue(), mp.queue()
        local p = helper.started(function(from, to)
            for v in from:iter() do to:put(v) end
        end, q, answers)
        for i = 1, 3 do
            deadlock_of(answers.get, answers)
            q:put(i)
            assert.equal(i, answers:get())
        end
        q:close()
        finish(p)
    end)

    it("when one that could have gone on was killed", function()
        local q = mp.queue()
        local p = helper.started(mp.sleep, 100)
        local other = helper.started(get, q)
        local _ <close> = assert(io.popen(("sleep 0.3; kill -KILL %d"):format(p.pid)))
        local e = deadlock_of(q.get, q)
        assert.equal(2, #lines_of(e))
        p:join()
        p:close()
        q:put(1)
        finish(other)
    end)

    it("when a program has run that nobody has waited for", function()
        local p = mp.process { command = { "true" } }:start()
        deadlock_of(mp.queue().get, mp.queue())
        assert.is_true(p:join())
    end)

    it("when some were killed at their birth, and are not forgotten yet", function()
        local cpu = helper.read "/proc/self/status":match "Cpus_allowed_list:%s*(%d+)" -- one: a child runs later
        local run = helper.script_run([[
            local q, list = mp.queue(), {}
            for i = 1, 50 do
                list[i] = mp.process { target = function() q:get() end }:start()
                list[i]:kill()
                list[i]:join()
            end
            local ok, e = pcall(q.get, q)
            print(e.kind, #list)]], "taskset -cp " .. cpu .. " $$ >taskset.log", { cwd = helper.tmpdir() })
        assert.same({ 0, "deadlock\t50\n" }, { run.status, run.stdout })
    end)

    it("by an error that can be sent and raised again", function()
        local q = mp.queue()
        local e = deadlock_of(q.get, q)
        q:put(e)
        local again = q:get()
        assert.is_true(mp.is_error(again))
        assert.same({ e.kind, e.message }, { again.kind, again.message })
    end)

    it("at the end of a script that waits for its pools, whose status is 1 then", function()
        if helper.host ~= helper.luamp then pending "the program alone waits for them" end
        local run = helper.script_run [[
            local q, pool = mp.queue(), mp.pool(1)
            pool:submit(function() return q:get() end)
            mp.atexit(function() print "hook" end)]]
        assert.same({ 1, "hook\n" }, { run.status, run.stdout })
        assert.matches("^luamp: deadlock, nobody can go on:\n", run.stderr)
        assert.matches("process 'worker.1' %(pid %d+%) waits for an item of mp.queue", run.stderr)
    end)

    it("by a script that ends with it: one report, and status 1", function()
        local run = helper.script_run [[
            local q = mp.queue()
            local p = mp.process { target = function() q:get() end, name = "worker" }:start()
            p:join()]]
        assert.equal(1, run.status)
        assert.is_truthy(run.stderr:find "deadlock, nobody can go on:\n\tprocess 'main' %(pid %d+%) waits for the end ",
            run.stderr)
        assert.is_truthy(run.stderr:find "\n\tprocess 'worker' %(pid %d+%) waits for an item of mp.queue: ", run.stderr)
    end)
end)

-- What main gets from the queue when f(q, ...), in a process of its own, is all that goes on.
local function got_by(f, ...)
    local q = mp.queue()
    local p = helper.started(f, q, ...)
    local value = q:get()
    finish(p)
    return value
end

local LONG <const> = 1.5 -- seconds, in which a deadlock would be told several times

-- What ends the last wait of a script's main process, which somebody outside interrupts.
local function end_of(script)
    local run = helper.script_run(([[
        local q = mp.queue()
        local function get() return q:get() end
        local outside <close> = io.popen(("sleep %g; kill -INT %%d"):format(mp.getpid()))
        %s
        local ok, e = pcall(q.get, q)
        print(e.kind)
        os.exit(true)]]):format(LONG, script), "mkfifo f; exec <>f", { cwd = helper.tmpdir() })
    assert.same({ "", "interrupted\n" }, { run.stderr, run.stdout })
end

describe("no deadlock is told while somebody can go on:", function()
    -- A process has lost its life, and takes its time to end, as a very large one does: its first
    -- thread ends at once, and another one later.
    it("a main process whose child is about to have ended", function()
        local cpath = package.cpath
        package.cpath = helper.library("linger", [[
            #define _GNU_SOURCE
            #include <lua.h>
            #include <pthread.h>
            #include <sys/syscall.h>
            #include <unistd.h>
            static void *live_on(void *arg) {
              usleep(1500000);
              syscall(SYS_exit_group, 7);
              return arg;
            }
            static int linger(lua_State *L) {
              pthread_t thread;
              if (pthread_create(&thread, NULL, live_on, NULL) == 0)
                syscall(SYS_exit, 0);
              return 0;
            }
            int luaopen_linger(lua_State *L) { lua_pushcfunction(L, linger); return 1; }]])
        local linger, q = require "linger", mp.queue()
        for _, wait in ipairs { function(p) return p:join() end, function(p) return mp.wait { p, q }[1] == p end } do
            local p = helper.started(linger)
            assert.is_true(wait(p))
            assert.is_true(p:join())
            assert.equal(7, p.exitcode)
            p:close()
        end
        package.cpath = cpath
    end)

    it("one that sleeps and puts then", function()
        assert.equal(1, got_by(function(q)
            mp.sleep(2)
            q:put(1)
        end))
    end)

    it("one that computes", function()
        assert.equal(1, got_by(function(q)
            local till = mp.clock() + LONG
            while mp.clock() < till do end
            q:put(1)
        end))
    end)

    it("one that computes after it has waited", function()
        local go = mp.queue()
        local q = mp.queue()
        local p = helper.started(function(from, to)
            from:get()
            local till = mp.clock() + LONG
            while mp.clock() < till do end
            to:put(1)
        end, go, q)
        deadlock_of(q.get, q)
        go:put(1)
        assert.equal(1, q:get())
        finish(p)
    end)

    it("one that waits with a timeout", function()
        assert.equal("timeout", got_by(function(q)
            local _, word = mp.queue():get(LONG)
            q:put(word)
        end))
    end)

    it("one that waits for several things", function()
        assert.equal(0, got_by(function(q)
            local reader, writer = mp.pipe()
            q:put(#mp.wait({ mp.queue(), reader }, LONG))
            writer:close()
        end))
    end)

    it("one that reads", function()
        local fifo = helper.tmpdir() .. "/fifo"
        os.execute("mkfifo " .. fifo)
        local _ <close> = assert(io.popen(("{ sleep %g; echo line; } >%s"):format(LONG, fifo)))
        assert.equal("line", got_by(function(q, path)
            local file <close> = assert(io.open(path))
            q:put(file:read())
        end, fifo))
    end)

    it("one that starts others, which are just being born", function()
        assert.equal(1, got_by(function(q)
            local till = mp.clock() + LONG
            while mp.clock() < till do
                local p <close> = mp.process { target = function() end }:start()
                p:join()
            end
            q:put(1)
        end))
    end)

    it("a program", function()
        local q = mp.queue()
        local other = helper.started(get, q)
        local p = mp.process { command = { "sleep", tostring(LONG) } }:start()
        assert.is_true(p:join())
        p:close()
        q:put(1)
        finish(other)
    end)

    it("the grandchild of one that waits for it", function()
        assert.equal(1, got_by(function(q)
            local p <close> = mp.process { target = function()
                mp.sleep(LONG)
                q:put(1)
            end }:start()
            p:join()
        end))
    end)

    it("a handler of a signal, which may come", function()
        end_of "mp.on_signal('SIGUSR1', function() q:put(1) end)"
        end_of "mp.process { target = function() mp.on_signal('SIGUSR1', print) get() end, daemon = true }:start()"
    end)

    it("one that has a time limit", function()
        end_of "mp.process { target = get, timeout = 60 }:start()"
    end)

    -- A task that fails first, and puts an item when it is run again.
    local function second_run(q)
        return { target = function()
            if mp.worker.attempt == 1 then error "not yet" end
            q:put "item"
        end, retries = { n = 1, backoff = 1 } }
    end

    it("this process, which is to run a task of a pool again, whatever it waits for meanwhile", function()
        local q = mp.queue()
        local a <close> = mp.pool(1)
        local b <close> = mp.pool(1)
        local function waits_for_get(wait)
            b:submit(second_run(q))
            assert.equal("item", wait())
        end
        waits_for_get(function() return q:get() end)
        waits_for_get(function() return mp.wait { q }[1]:get() end)
        waits_for_get(function() return a:submit(get, q):result() end)
        waits_for_get(function() return a:apply(get, q) end)
        waits_for_get(function() return mp.all { a:submit(get, q), b:submit(math.abs, 1) }[1] end)
        waits_for_get(function() return mp.scope(function(s) return s:start(get, q):result() end) end)
        waits_for_get(function()
            local p <close> = helper.started(get, q)
            p:join()
            return p:result()
        end)
    end)

    it("this process, which is to run a task of an iterator again while the loop's body waits for it", function()
        local q = mp.queue()
        local pool <close> = mp.pool(1)
        local task, got = second_run(q), {}
        for i in pool:imap(function(i) return i == 1 or task.target() end, { 1, 2 }, { retries = task.retries }) do
            if i == 1 then got[1] = q:get() end
        end
        assert.same({ "item" }, got)
    end)

    it("a descriptor among several things", function()
        end_of "local ok, e = pcall(mp.wait, { q, 0 }) print(e.kind) os.exit(true)"
    end)

    it("one that is detached", function()
        end_of "local p = mp.process { target = get, detached = true }:start() mp.atexit(function() p:kill() end)"
    end)

    it("nobody but an interruption, where the main process does not wait for ever", function()
        local q = mp.queue()
        local p = helper.started(get, q)
        assert.same({ nil, "timeout" }, { p:join(LONG) })
        assert.same({ nil, "timeout" }, { q:get(LONG) })
        assert.same({}, mp.wait({ q, p }, LONG))
        q:put(1)
        finish(p)
    end)
end)

describe("in a long game of waits without time limits", function()
    -- Six processes pass balls on, at random, some of them late, until a time; then each drops what it
    -- has. All the others wait meanwhile, most of the time for so long that they say so.
    it("a deadlock is told at the end, and not before", function()
        local N <const>, BALLS <const>, SECONDS <const> = 6, 2, 4
        local queues, done, players = {}, mp.queue(), {}
        for i = 1, N do queues[i] = mp.queue(1) end
        local till = mp.clock() + SECONDS
        local function play(i)
            while true do
                local ball = queues[i]:get()
                if math.random() < 0.3 then mp.sleep(math.random() * 0.4) end
                if mp.clock() < till then
                    queues[(i + math.random(N - 1) - 1) % N + 1]:put(ball + 1) -- not its own, which may be full
                else
                    done:put(ball)
                end
            end
        end
        for i = 1, N do players[i] = mp.process { target = play, args = { i }, stderr = "null" }:start() end
        for i = 1, BALLS do queues[i]:put(1) end
        for _ = 1, BALLS do assert.is_true(done:get() > 1) end
        assert.is_true(mp.clock() >= till)
        assert.equal(N + 1, #lines_of(deadlock_of(done.get, done)))
        for _, p in ipairs(players) do
            p:kill()
            p:join()
            p:close()
        end
    end)
end)
