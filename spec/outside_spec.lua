-- outside_spec.lua: bytes from outside the family come in a frame, and one that was changed is refused
-- before anything is decoded.
--
-- LUAMP_SPEC_SEED repeats the values of a run.
local helper = require "spec.helper"
local values = require "spec.values"
require "luamp"
local core = require "luamp.core"

local seed = math.tointeger(tonumber(os.getenv "LUAMP_SPEC_SEED")) or os.time()

-- CRC-32C, bit by bit.
local function crc32c(bytes)
    local sum = 0xffffffff
    for i = 1, #bytes do
        sum = sum ~ bytes:byte(i)
        for _ = 1, 8 do sum = sum >> 1 ~ (sum & 1) * 0x82f63b78 end
    end
    return sum ~ 0xffffffff
end

local function frame_by_hand(payload)
    local head = "luampfrm" .. string.pack("<I4I4I8", 0, 1, #payload)
    return "luampfrm" .. string.pack("<I4I4I8", crc32c(head .. payload), 1, #payload) .. payload
end

-- Why a frame is refused in which that byte is another.
local function words_for(at)
    return "not a luamp frame: " .. (at <= 8 and "it does not begin as one" or at <= 12 and "its checksum is wrong"
        or at <= 16 and "its version is another" or at <= 24 and "its length is wrong" or "its checksum is wrong")
end

local function with_bits(bytes, at, bits)
    return bytes:sub(1, at - 1) .. string.char(bytes:byte(at) ~ bits) .. bytes:sub(at + 1)
end

describe("a frame", function()
    it("is what frame.h says", function()
        assert.equal(0xe3069283, crc32c "123456789") -- its check value
        for len = 0, 40 do
            local payload = ("\xff0123456789abcdef"):rep(3):sub(1, len)
            assert.equal(frame_by_hand(payload), core.frame(payload))
        end
        for byte = 0, 255 do
            for len = 0, 7 do
                local payload = string.char(byte) .. ("\0"):rep(len)
                assert.equal(frame_by_hand(payload), core.frame(payload))
            end
        end
        assert.equal("value", core.decode(frame_by_hand(core.encode "value")))
    end)

    it("is demanded: a message alone is refused, and so is a frame where the message is the family's", function()
        local message = core.encode { ("x"):rep(100) }
        helper.fails("not a luamp frame: it does not begin as one", core.decode, message)
        assert.same({ false, "not a luamp message" }, { pcall(core.decode, core.frame(message), true) })
    end)

    it("of another version is refused, although it is sound", function()
        local payload = core.encode(1)
        local head = "luampfrm" .. string.pack("<I4I4I8", 0, 2, #payload)
        local frame = "luampfrm" .. string.pack("<I4I4I8", crc32c(head .. payload), 2, #payload) .. payload
        helper.fails("not a luamp frame: its version is another", core.decode, frame)
    end)
end)

-- What a frame that is not refused might load or call. It is by name for the sender only.
local seen = {}
local function note(what)
    return function(...)
        seen[#seen + 1] = what
        return ...
    end
end

local spied = {
    called = load("local note = ... return function(...) return note(...) end")(note "a function's call"),
    meta = setmetatable({}, { __name = "spied" }),
}
local hooked = setmetatable({}, { __mp_send = function() return spied.called, 1 end })

-- Messages of at most 400 bytes: of data of all kinds; by way of a module, a function and a section.
local function samples(n)
    package.loaded["spec.spied"] = spied
    core.renew_names()
    local list = {
        core.encode(), core.encode(1, "two", nil, 3.5), core.encode(spied, { spied.called }), core.encode(hooked, "x"),
        core.encode(print, string, load "return 1"), core.encode({ load "return x" }, ("m"):rep(100)),
    }
    math.randomseed(seed)
    while #list < n do
        local _, given = values.graph { n = 4, functions = #list % 2 == 0 }
        local message = core.encode(table.unpack(given, 1, given.n))
        if message and #message <= 400 then list[#list + 1] = message end
    end
    math.randomseed()
    package.loaded["spec.spied"] = nil
    core.renew_names()
    return list
end

-- Calls f while all that loads modules or code is watched, and a module waits.
local function watched(f)
    local searchers, plain_load = table.move(package.searchers, 1, #package.searchers, 1, {}), load
    seen = {}
    for i, searcher in ipairs(searchers) do
        package.searchers[i] = function(...) return searcher(note "a module is looked for" (...)) end
    end
    package.preload["spec.spied"] = function()
        note "a module was loaded" ()
        return spied
    end
    _G.load = function(...) return plain_load(note "code was loaded" (...)) end
    local ok, e = pcall(f)
    _G.load = plain_load
    package.preload["spec.spied"], package.loaded["spec.spied"] = nil, nil
    table.move(searchers, 1, #searchers, 1, package.searchers)
    assert(ok, e)
end

-- What a call of decode raises, and how much was called, itself included.
local function refused(bytes)
    local calls = 0
    debug.sethook(function() calls = calls + 1 end, "c")
    local ok, e = pcall(core.decode, bytes)
    debug.sethook()
    assert(not ok, "it was accepted")
    return e, calls
end

local _, own_calls = refused ""

-- The same, and nothing else was called.
local function refusal(bytes)
    local e, calls = refused(bytes)
    assert(calls == own_calls, "something was called")
    return e
end

describe(("a frame from outside (LUAMP_SPEC_SEED=%d)"):format(seed), function()
    it("with any one bit changed is refused, with the reason, before anything is loaded", function()
        local frames = samples(helper.sanitized and 8 or 20)
        watched(function()
            for _, message in ipairs(frames) do
                local frame = core.frame(message)
                for at = 1, #frame do
                    for bit = 0, 7 do
                        assert.equal(words_for(at), refusal(with_bits(frame, at, 1 << bit)))
                    end
                end
            end
            assert.same({}, seen)
        end)
    end)

    it("that is cut anywhere, or goes on, is refused, with the reason, before anything is loaded", function()
        local frames = samples(helper.sanitized and 8 or 20)
        watched(function()
            for _, message in ipairs(frames) do
                local frame = core.frame(message)
                for len = 0, #frame - 1 do
                    assert.equal("not a luamp frame: its length is wrong", refusal(frame:sub(1, len)))
                end
                for byte = 0, 255 do
                    assert.equal("not a luamp frame: its length is wrong", refusal(frame .. string.char(byte)))
                end
            end
            assert.same({}, seen)
        end)
    end)

    it("with any bits changed within 32 in a row is refused, before anything is loaded", function()
        local frames = samples(12)
        math.randomseed(seed)
        watched(function()
            for round = 1, helper.sanitized and 2000 or 20000 do
                local frame = core.frame(frames[round % #frames + 1])
                local first = math.random(0, 8 * #frame - 33)
                local changed = frame
                for i = 0, 31 do
                    local bit = first + i
                    if i == 0 or math.random(2) == 1 then
                        changed = with_bits(changed, bit // 8 + 1, 1 << bit % 8)
                    end
                end
                assert(refusal(changed):find "^not a luamp frame: it")
            end
            assert.same({}, seen)
        end)
        math.randomseed()
    end)

    it("that is sound is data or refused, and nothing is loaded", function()
        local messages = samples(6)
        watched(function()
            for i, message in ipairs(messages) do
                local back = table.pack(pcall(core.decode, core.frame(message)))
                if i <= 2 then
                    assert.is_true(back[1])
                else
                    assert.same({ false, "not a luamp message", n = 2 }, back)
                end
            end
            assert.same({}, seen)
        end)
    end)

    it("would be seen to load and to call", function()
        local list = samples(6)
        watched(function()
            core.decode(list[3], true)
            assert.same({ "a module is looked for", "a module was loaded" }, seen)
            package.loaded["spec.spied"], seen = nil, {}
            core.decode(list[4], true)
            assert.equal("a function's call", seen[#seen])
        end)
    end)
end)

describe("the settings of a fresh image", function()
    for _, method in ipairs { "forkserver", "spawn" } do
        it("that were damaged on the way are refused, and its function is not called: " .. method, function()
            local result = helper.script_run(([[
                local core = require "luamp.core"
                local frame = core.frame
                local function with(change)
                    core.frame = function(message) return change(frame(message)) end
                    local p = mp.process { start_method = %q, stderr = "null", target = function() print "called" end }
                    local ok, e = pcall(function() p:start():result() end)
                    print(p.exitcode, ok, e.kind, e.message)
                end
                with(function(f) return f:sub(1, -2) .. string.char(f:byte(-1) ~ 1) end)
                with(function(f) return f:sub(1, -2) end)
                with(function(f) return f:sub(25) end)
                with(function(f) return f end)]]):format(method))
            assert.equal("1\tfalse\terror\tnot a luamp frame: its checksum is wrong\n"
                .. "1\tfalse\terror\tnot a luamp frame: its length is wrong\n"
                .. "1\tfalse\terror\tnot a luamp frame: it does not begin as one\n"
                .. "called\n", result.stdout:gsub("called\n.*$", "called\n"), result.stderr)
        end)
    end
end)
