-- crowd_spec.lua: many processes: at once, one after the other, and killed at birth.
local helper = require "spec.helper"
local mp = require "luamp"

local scale = helper.sanitized and 10 or 1

local function resident()
    return tonumber(helper.read("/proc/self/status"):match "VmRSS:%s+(%d+)")
end

local function count(t)
    local n = 0
    for _ in pairs(t) do n = n + 1 end
    return n
end

-- In a script of its own, because thousands of descriptors are opened.
describe("a crowd:", function()
    it("5,000 live processes, each started, answering and reaped", function()
        local result = helper.script_run(([[
            local n, list = %d, {}
            for i = 1, n do
                list[i] = mp.process { target = function()
                    io.read(1) -- all wait for the end of this
                    return i, mp.getpid()
                end }:start()
            end
            local alive = 0
            for _, p in ipairs(list) do alive = alive + (p:is_alive() and 1 or 0) end
            print("live", alive, #mp.active_children())
            io.stderr:write "go\n"
            local right = 0
            for i, p in ipairs(list) do
                local answer, pid = p:result()
                right = right + (answer == i and pid == p.pid and 1 or 0)
            end
            print("right", right, #mp.active_children())
        ]]):format(5000 // scale), "mkfifo gate; exec <>gate; (sleep 0; while ! grep -q live out 2>/dev/null; do :; done) &")
        assert.same({}, { result.status ~= 0 and result.stderr or nil })
    end)

    it("10,000 starts make neither descriptors nor memory grow", function()
        local function starts(n)
            for i = 1, n do
                local p <close> = mp.process { target = function() return i end }:start()
                assert(p:result() == i)
            end
            collectgarbage()
        end
        starts(500)
        local fds, memory = count(helper.fds()), resident()
        starts(10000 // scale)
        assert.equal(fds, count(helper.fds()))
        assert.is_true(resident() - memory < 4096, "grew by KiB: " .. resident() - memory)
    end)

    it("100 children killed at once right after their start", function()
        local list = {}
        for i = 1, 100 do
            list[i] = mp.process { target = function() while true do end end, daemon = true }:start()
            list[i]:kill()
        end
        for _, p in ipairs(list) do
            assert.is_true(p:join(10))
            assert.same({ -9, "signal" }, { p.exitcode, p.error.kind })
            p:close()
        end
        assert.same({}, mp.active_children())
    end)
end)
