-- advice_spec.lua: what pool:stats() advises, each piece where its cause is, and none where that is not.
-- Where time must be lost or used for certain, tasks sleep: that takes as long on a machine that is busy.
local helper = require "spec.helper"
local pools = require "spec.pools"
local mp = require "luamp"

local with_pool, numbers = pools.with, pools.numbers

-- The piece of that kind, and all of them as a text.
local function advised(pool, kind)
    local stats = pool:stats()
    local texts, found = { tostring(stats) }, nil
    for _, piece in ipairs(stats.advice) do
        assert.equal(piece.text, tostring(piece))
        assert.is_true(piece.share > 0 and piece.share <= 1, piece.text)
        assert.is_truthy(texts[1]:find("\n  - " .. piece.text, 1, true))
        if piece.kind == kind then found = piece end
    end
    return found, texts[1]
end

local function has(pool, kind)
    local piece, report = advised(pool, kind)
    return assert(piece, "no advice about " .. kind .. " in\n" .. report)
end

local function has_none(pool, kind)
    local piece = advised(pool, kind)
    assert.is_nil(piece, piece and piece.text)
end

describe("of tasks that are too small", function()
    it("is told when they are handed out one by one", function()
        with_pool(2, function(pool)
            pool:map(math.abs, numbers(200000), { chunksize = 1 }) -- a fast machine ends a tenth of it unnoticed
            local piece = has(pool, "chunks")
            assert.equal(200000, piece.evidence.tasks)
            assert.is_true(piece.evidence.wait > 0 and piece.evidence.mean > 0 and piece.evidence.mean < 2e-4)
            assert.matches("^tasks are small: 200000 of them took %S+ [un]s each, and for each one workers waited "
                .. "%S+ [un]s more, %d+ %% of their time%. pool:map was given chunksize = 1: leave that out, or "
                .. "give it %d+$", piece.text)
            has_none(pool, "idle")
        end)
    end)

    it("is told when they are submitted one by one, and when a loop takes each result", function()
        with_pool(2, function(pool)
            local futures = {}
            pool:map(math.abs, { 1, 2, 3 })
            for i = 1, 20000 do futures[i] = pool:submit(math.abs, i) end
            mp.all(futures)
            assert.matches("pool:map hands out many at once, which 'submit' does not$", has(pool, "chunks").text)
        end)
        with_pool(2, function(pool)
            for _ in pool:imap(math.abs, numbers(200000)) do end
            assert.matches("Let a task of pool:imap do the work of %d+ of these", has(pool, "chunks").text)
        end)
    end)

    it("is not told of a few, nor of tasks that take their time", function()
        with_pool(2, function(pool)
            pool:map(math.abs, numbers(90), { chunksize = 1 })
            has_none(pool, "chunks")
        end)
        with_pool(2, function(pool)
            pool:map(mp.sleep, (function()
                local list = {}
                for i = 1, 200 do list[i] = 0.002 end
                return list
            end)(), { chunksize = 1 })
            has_none(pool, "chunks")
        end)
    end)
end)

describe("of payloads that are too large", function()
    local function length(s) return #s end

    it("is told with what they were and what they cost", function()
        with_pool(1, function(pool)
            local text, list = ("x"):rep(4 << 20), {}
            for i = 1, 32 do list[i] = text end
            pool:map(length, list)
            local piece = has(pool, "payloads")
            assert.is_true(piece.evidence.given >= 32 * #text and piece.evidence.send >= 0.02)
            assert.is_true(piece.share > 0.5)
            assert.matches("^payloads are large: packing and unpacking took workers %S+ m?s, %d+ %% of the time in "
                .. "which they were busy; a task was given 4%.0 MiB and gave %d+ bytes%. Give tasks a path", piece.text)
        end)
    end)

    it("is not told of large ones with work enough, nor of small ones", function()
        with_pool(1, function(pool)
            pool:map(function(s) mp.sleep(0.7) return #s end, { ("x"):rep(1 << 16), ("y"):rep(1 << 16) })
            has_none(pool, "payloads")
        end)
        with_pool(1, function(pool)
            pool:map(length, (function()
                local list = {}
                for i = 1, 20000 do list[i] = ("x"):rep(100) end
                return list
            end)())
            has_none(pool, "payloads")
        end)
    end)
end)

describe("of tails", function()
    -- Sleeps of so many seconds, and then that one.
    local function sleeps(n, s, last)
        local list = {}
        for i = 1, n do list[i] = s end
        list[#list + 1] = last
        return list
    end

    it("is told of a long task that began late", function()
        helper.needs_one_host "is about when workers of this host idled"
        with_pool(2, function(pool)
            pool:map(mp.sleep, sleeps(20, 0.04, 0.6), { chunksize = 1 })
            local piece = has(pool, "tails")
            local found = piece.evidence
            assert.same({ "pool:map", 21 }, { found.call, found.task })
            assert.is_true(found.took >= 0.6 and found.began >= 0.3 and found.longest >= 0.4 and found.lost >= 0.4)
            assert.is_true(found.longest <= found.elapsed)
            assert.matches("^calls end slowly: workers that had nothing left to do waited for the others for %S+ m?s, "
                .. "%d+ %% of the time; in a pool:map of 21 tasks, which took %S+ s, up to %S+ m?s%. Its task 21, "
                .. "which took %S+ m?s, was begun after %S+ m?s: the option 'weight' lets heavy ones begin first$",
                piece.text)
            has_none(pool, "idle")
        end)
    end)

    it("is told of one long task, which no order helps, and of a group of items", function()
        helper.needs_one_host "is about when workers of this host idled"
        with_pool(2, function(pool)
            pool:map(mp.sleep, { 0.5, 0, 0, 0.01 }, { chunksize = 1 })
            assert.matches("Its task 1 alone took 50%d.%d ms: it is to be divided, no order helps$",
                (has(pool, "tails").text:gsub("took [%d.]+ m?s: it is", "took 500.0 ms: it is")))
        end)
        with_pool(2, function(pool)
            pool:reduce(function(acc, s) mp.sleep(s) return acc end, sleeps(8, 0.1, 0), 0, nil, { chunksize = 8 })
            assert.matches("The 8 items from item 1 on took %S+ m?s together: a smaller 'chunksize' divides them$",
                has(pool, "tails").text)
        end)
    end)

    it("is not told where tasks end close together, nor of what failed or goes on beside others", function()
        with_pool(2, function(pool)
            pool:map(mp.sleep, sleeps(60, 0.03), { chunksize = 1 })
            has_none(pool, "tails")
        end)
        with_pool(2, function(pool)
            pcall(pool.map, pool, function(s)
                mp.sleep(s)
                if s > 0.2 then error "bad" end
            end, { 0, 0.3, 0 })
            has_none(pool, "tails")
        end)
        with_pool(3, function(pool)
            local long = pool:submit(mp.sleep, 0.8)
            pool:map(mp.sleep, { 0.4, 0 }, { chunksize = 1 })
            long:result()
            has_none(pool, "tails")
        end)
    end)
end)

describe("of workers that idle", function()
    it("is told where calls have fewer tasks than workers", function()
        helper.needs_one_host "is about when workers of this host idled"
        with_pool(4, function(pool)
            pool:map(mp.sleep, { 0.4 })
            local piece = has(pool, "idle")
            assert.is_true(piece.evidence.unused >= 1 and piece.share > 0.6)
            assert.matches("^workers had nothing to do for %S+ s of %S+ s, %d+ %% of the time in which there was "
                .. "something to do%. Calls had fewer tasks than there are workers: %d workers? would do, or smaller "
                .. "tasks$", piece.text)
        end)
    end)

    it("is told where the script is slow to take results, or to make the input", function()
        with_pool(2, function(pool)
            for _ in pool:imap(mp.sleep, (function()
                local list = {}
                for i = 1, 20 do list[i] = 0 end
                return list
            end)(), { window = 2 }) do mp.sleep(0.04) end
            assert.matches("This process did other things for %d+ %% of it", has(pool, "idle").text)
        end)
        with_pool(2, function(pool)
            local n = 0
            pool:each(math.abs, function()
                mp.sleep(0.04)
                n = n + 1
                return n <= 20 and n or nil
            end)
            assert.matches("This process did other things for %d+ %% of it", has(pool, "idle").text)
        end)
    end)

    it("is not told of the time between calls, nor of workers that are busy", function()
        with_pool(2, function(pool)
            for _ = 1, 3 do
                pool:map(mp.sleep, { 0.2, 0.2 }, { chunksize = 1 })
                mp.sleep(0.5)
            end
            has_none(pool, "idle")
            mp.all { pool:submit(mp.sleep, 0.2), pool:submit(mp.sleep, 0.2) }
            mp.sleep(0.5)
            local stats = pool:stats()
            assert.is_true(stats.active <= stats.elapsed - 1.9)
            has_none(pool, "idle")
            pool:close()
            pool:join()
            has_none(pool, "idle")
        end)
    end)
end)

describe("of CPUs", function()
    local script = [[
        local function spin(s) local t = os.clock() + s while os.clock() < t do end end
        local pool = mp.pool(3)
        pool:map(%s, { 0.1, 0.1, 0.1 }, { chunksize = 1 })
        for _, piece in ipairs(pool:stats().advice) do
            if piece.kind == "cpu" then print(piece.text, piece.evidence.workers, piece.evidence.cpus) end
        end]]

    local function said(f, cpus)
        local run = helper.script_run(script:format(f), nil, { env = { LUAMP_CPUS = cpus } })
        assert.same({ 0, "" }, { run.status, run.stderr })
        return run.stdout
    end

    it("is told when more workers compute than there are CPUs for them", function()
        local text = said("spin", "1")
        assert.matches("\t3\t1\n$", text)
        assert.is_true(text:find "^3 workers share 1 CPU: they waited for one for %S+ m?s while they were busy for %S+ "
            ~= nil or text:find "^3 workers used %d%.%d CPUs at once, and this process is to use 1 " ~= nil, text)
        assert.matches("%. 1 worker would do\t", text)
    end)

    it("is not told when there are enough, nor when they wait for something else", function()
        if mp.cpu_count { all = true } >= 3 then assert.equal("", said("spin", "3")) end
        assert.equal("", said("mp.sleep", "1"))
    end)
end)

describe("advice", function()
    it("is none for a pool that has done nothing, or little, and the gravest comes first", function()
        with_pool(2, function(pool)
            assert.same({}, pool:stats().advice)
            pool:map(math.abs, { 1, 2, 3 })
            assert.is_nil(advised(pool, "payloads"))
        end)
        with_pool(4, function(pool)
            pool:map(mp.sleep, { 0.5, 0.1, 0, 0 }, { chunksize = 1 })
            pool:map(mp.sleep, { 0.2 })
            local list = pool:stats().advice
            for i = 2, #list do assert.is_true(list[i - 1].share >= list[i].share) end
        end)
    end)
end)
