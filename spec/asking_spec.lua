-- asking_spec.lua: who only asks about an object, and does not wait there, sees what a death has changed,
-- also while nobody else looks: here the parent of the dead one, which would reap it, is busy elsewhere.
local helper = require "spec.helper"

-- What an expression about the object o is at last, which is asked for until it is what it should be; by one
-- that has killed another, which had called `does`, when `is_on` was true.
local function seen(make, does, is_on, asks)
    local done = helper.tmpdir() .. "/done"
    local result = helper.script_run(([[
        local o, q = %s, mp.queue()
        local dead = mp.process { stderr = "null", target = function()
            q:put(mp.getpid())
            %s
            mp.sleep(100)
        end }:start()
        local asking = mp.process { target = function()
            local pid, deadline, is_there, word = q:get(), mp.clock() + 20, nil, nil
            local function is_late() return mp.clock() > deadline end
            repeat until %s or is_late()
            os.execute("kill -KILL " .. pid)
            deadline = mp.clock() + 10
            repeat
                is_there, word = %s
            until is_there or is_late()
            io.open("%s", "w"):close()
            return word
        end }:start()
        os.execute "i=0; while [ ! -e %s ] && [ $i -lt 300 ]; do sleep 0.1; i=$((i+1)); done"
        print(asking:result(20))
        dead:join()
    ]]):format(make, does, is_on, asks, done, done))
    assert.same({ 0, "" }, { result.status, result.stderr })
    return (result.stdout:gsub(" 0x%x+", ""))
end

describe("without a wait a death is seen by", function()
    it("the value of a semaphore, and its text", function()
        assert.equal("1\n", seen("mp.semaphore(1)", "o:acquire()", "o:value() == 0", "o:value() == 1, o:value()"))
        assert.equal("mp.bounded_semaphore: (2/2)\n", seen("mp.bounded_semaphore(2)", "o:acquire()",
            "o:value() == 1", "tostring(o):find '2/2', tostring(o)"))
    end)

    it("the number of those that wait at a barrier, and its text", function()
        assert.equal("0\n", seen("mp.barrier(2)", "o:wait()", "o:waiting() == 1", "o:waiting() == 0, o:waiting()"))
        assert.equal("mp.barrier: (broken)\n", seen("mp.barrier(2)", "o:wait()", "o:waiting() == 1",
            "tostring(o):find 'broken', tostring(o)"))
        assert.equal("true\n", seen("mp.barrier(2)", "o:wait()", "o:waiting() == 1", "o:is_broken(), o:is_broken()"))
    end)

    it("the text of a condition", function()
        assert.matches("^mp.condition: %(0 waiting, ", seen("mp.condition()", "o:with(o.wait, o)",
            "tostring(o):find '1 waiting'", "tostring(o):find '0 waiting', tostring(o)"))
    end)

    it("a lock and the sides of a rwlock, and their texts", function()
        assert.equal("mp.lock: (abandoned)\n", seen("mp.lock()", "o:acquire()", "o:is_locked()",
            "not o:is_locked(), tostring(o)"))
        assert.equal("mp.rwlock.write: (free)\n", seen("mp.rwlock().write", "o:acquire()", "o:is_locked()",
            "tostring(o):find 'free', tostring(o)"))
        assert.equal("mp.rwlock.read: (free)\n", seen("mp.rwlock().read", "o:acquire()", "o:is_locked()",
            "not o:is_locked(), tostring(o)"))
    end)
end)
