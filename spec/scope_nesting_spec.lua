-- scope_nesting_spec.lua: scopes in scopes, in coroutines and in children.
local helper = require "spec.helper"
local mp = require "luamp"

local function idle(s)
    return s:start(mp.sleep, 60)
end

local function failing(s, seconds, message)
    return s:start(function()
        mp.sleep(seconds)
        error(message, 0)
    end)
end

-- Waits, without looking at any child, until that one has ended.
local function await_quietly(p)
    local pid = p.pid
    repeat until not helper.alive(pid)
end

local function assert_no_children()
    assert.same({}, mp.active_children())
end

describe("a scope in a scope", function()
    it("ends first, and gives its results to the outer one's function", function()
        local inner, outer
        assert.equal(3, mp.scope(function(s)
            outer = s:start(mp.sleep, 0.2)
            local n = mp.scope(function(t)
                inner = t:start(function() return 1 end)
                return 1
            end)
            assert.equal(0, inner.exitcode)
            return n + 2
        end))
        assert.equal(0, outer.exitcode)
    end)

    it("is ended by a failure of the outer one, which is raised", function()
        local member, code, seen
        helper.fails({ kind = "error", message = "outer" }, mp.scope, function(s)
            failing(s, 0.2, "outer")
            seen = helper.fails("outer", mp.scope, function(t)
                member = idle(t)
                mp.sleep(60)
            end)
            code = member.exitcode
        end)
        assert.same({ "outer", -15 }, { seen.message, code })
        assert_no_children()
    end)

    it("is ended by it also where it waits for its members", function()
        local member
        helper.fails({ message = "outer" }, mp.scope, function(s)
            failing(s, 0.2, "outer")
            mp.scope(function(t) member = idle(t) end)
        end)
        assert.equal(-15, member.exitcode)
        assert_no_children()
    end)

    it("fails alone, if the outer one's function catches that", function()
        local p
        assert.equal("went on", mp.scope(function(s)
            p = s:start(mp.sleep, 0.3)
            helper.fails({ message = "inner" }, mp.scope, function(t)
                failing(t, 0, "inner")
                mp.sleep(60)
            end)
            mp.sleep(0)
            return "went on"
        end))
        assert.equal(0, p.exitcode)
    end)

    it("passes a failure on through all of them", function()
        local pids = {}
        local function nested(depth)
            mp.scope(function(s)
                pids[depth] = idle(s).pid
                if depth < 5 then nested(depth + 1) else failing(s, 0.1, "deepest") end
                mp.sleep(60)
            end)
        end
        helper.fails({ message = "deepest" }, nested, 1)
        for _, pid in ipairs(pids) do assert.is_false(helper.alive(pid)) end
        assert_no_children()
    end)

    it("may start members of the outer one", function()
        local p
        mp.scope(function(s)
            mp.scope(function() p = s:start(mp.sleep, 0.2) end)
            assert.is_true(p:is_alive())
        end)
        assert.equal(0, p.exitcode)
    end)
end)

describe("a scope in a coroutine", function()
    it("may yield, and ends when the function returns", function()
        local p
        local co = coroutine.wrap(function()
            return mp.scope(function(s)
                p = s:start(mp.sleep, 0.1)
                local word = coroutine.yield "yielded"
                return word, "returned"
            end)
        end)
        assert.equal("yielded", co())
        assert.same({ "in", "returned" }, { co "in" })
        assert.equal(0, p.exitcode)
    end)

    it("leaves other waits alone while it is suspended, and then fails", function()
        local p, other
        local co = coroutine.create(function()
            mp.scope(function(s)
                p, other = idle(s), idle(s)
                coroutine.yield()
            end)
        end)
        coroutine.resume(co)
        os.execute("kill -KILL " .. p.pid)
        await_quietly(p)
        mp.sleep(0.01)
        assert.same({ p }, mp.wait { p })
        assert.is_true(p:join())
        assert.is_true(other:join(10), "it was not stopped when the failure was seen")
        local ok, e = coroutine.resume(co)
        assert.is_false(ok)
        assert.same({ "signal", p.pid }, { e.kind, e.pid })
        assert_no_children()
    end)

    it("whose function is resumed again waits as before", function()
        local co = coroutine.create(function()
            mp.scope(function(s)
                local p = idle(s)
                coroutine.yield(p)
                mp.sleep(60)
            end)
        end)
        local _, p = coroutine.resume(co)
        os.execute("kill -KILL " .. p.pid)
        local ok, e = coroutine.resume(co)
        assert.same({ false, "signal" }, { ok, e.kind })
        assert_no_children()
    end)

    it("that fails by an error of its own stops its members", function()
        local p
        local ok, e = coroutine.resume(coroutine.create(function()
            mp.scope(function(s)
                p = idle(s)
                error("oops", 0)
            end)
        end))
        assert.same({ false, "oops", -15 }, { ok, e, p.exitcode })
        assert_no_children()
    end)

    it("that is closed stops its members", function()
        local p
        local co = coroutine.create(function()
            mp.scope(function(s)
                p = idle(s)
                coroutine.yield()
            end)
        end)
        coroutine.resume(co)
        assert.is_true(coroutine.close(co))
        assert.equal(-15, p.exitcode)
        assert_no_children()
    end)

    it("that is dropped takes nothing with it", function()
        local p
        coroutine.wrap(function()
            mp.scope(function(s)
                p = s:start(mp.sleep, 0.2)
                coroutine.yield()
            end)
        end)()
        collectgarbage()
        collectgarbage()
        assert.is_true(p:join())
        assert.equal(0, p.exitcode)
    end)

    it("ends in any order with others", function()
        local pids = {}
        local function task(name, seconds)
            return coroutine.wrap(function()
                return mp.scope(function(s)
                    pids[name] = s:start(mp.sleep, seconds).pid
                    coroutine.yield()
                    return name
                end)
            end)
        end
        local a, b, c = task("a", 0.3), task("b", 0.1), task("c", 0.2)
        a() b() c()
        assert.equal("b", b())
        assert.is_false(helper.alive(pids.b))
        assert.equal("a", a())
        assert.equal("c", c())
        assert_no_children()
    end)

    it("belongs to waits in the coroutines that it resumes", function()
        local asleep = coroutine.wrap(function()
            coroutine.yield()
            mp.sleep(60)
        end)
        asleep()
        helper.fails({ message = "it failed" }, mp.scope, function(s)
            failing(s, 0.1, "it failed")
            coroutine.wrap(function() asleep() end)()
        end)
        assert_no_children()
    end)
end)

describe("a scope in a child", function()
    it("raises its failure there, as the child's own", function()
        local p <close> = helper.started(function()
            mp.scope(function(s)
                idle(s)
                failing(s, 0.1, "it failed")
                mp.sleep(60)
            end)
        end)
        local e = helper.fails({ message = "it failed", process = p.name .. ":2" }, p.result, p)
        assert.matches("reached process 'process%-%d+' at:\n.*\nreached process 'main' at:\n", tostring(e))
        assert.equal(1, p.exitcode)
    end)

    it("passes a failure on to the parent's scope, with the tracebacks of both", function()
        local result = helper.script_run [[
            local ok, e = pcall(mp.scope, function(s)
                s:start { name = "middle", target = function()
                    mp.scope(function(t)
                        t:start { name = "inner", target = error, args = { "it failed" } }
                        mp.sleep(60)
                    end)
                end }
                mp.sleep(60)
            end)
            print(ok, e.process, e.message, select(2, tostring(e):gsub("reached process", "")), e.exitcode)]]
        assert.same({ status = 0, stdout = "false\tinner\tit failed\t2\t1\n", stderr = "" }, result)
    end)

    it("is not the parent's: what a member waits for, no other member ends", function()
        mp.scope(function(s)
            local p = s:start(function()
                local q = mp.process { target = os.exit, args = { 3 } }:start()
                q:join()
                mp.sleep(0.01)
                return q.exitcode
            end)
            assert.equal(3, p:result())
        end)
    end)
end)

describe("a scope that is never left", function()
    it("has its failure reported at the end of the script", function()
        local result = helper.script_run [[
            local co = coroutine.wrap(function()
                mp.scope(function(s)
                    coroutine.yield(s:start(error, "nobody raised this", 0))
                end)
            end)
            local p = co()
            while p:is_alive() do mp.sleep(0.01) end
            co = nil
            collectgarbage()]]
        assert.same({ 0, "" }, { result.status, result.stdout }, result.stderr)
        assert.matches("^luamp: process 'process%-1' %(pid %d+%) failed: nobody raised this\n", result.stderr)
    end)
end)
