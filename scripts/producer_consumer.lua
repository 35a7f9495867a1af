-- producer_consumer.lua: some processes make work, others do it.
--
-- A bounded queue lies between them: who is too fast waits. `put` has delivered when it returns,
-- so a producer may end at once; `task_done` and `join` tell when all is done, and `close` that
-- nothing more comes, which ends the consumers' loops.
--
--   luamp scripts/producer_consumer.lua

local mp = require "luamp"

local work, results = mp.queue(10), mp.queue()

local function produce(from, to)
    for n = from, to do work:put(n) end
end

-- The length of Collatz' sequence from n down to 1.
local function steps(n)
    local count = 0
    while n > 1 do
        n, count = n % 2 == 0 and n // 2 or 3 * n + 1, count + 1
    end
    return count
end

local function consume(name)
    local done, longest, start = 0, -1, nil
    for n in work:iter() do
        local count = steps(n)
        if count > longest then longest, start = count, n end
        done = done + 1
        work:task_done()
    end
    results:put { name = name, done = done, longest = longest, start = start }
end

local producers, consumers = {}, {}
for i = 1, 3 do
    consumers[i] = mp.process { target = consume, args = { "consumer " .. i } }:start()
end
for i = 1, 2 do
    producers[i] = mp.process { target = produce, args = { (i - 1) * 5000 + 1, i * 5000 } }:start()
end

for _, p in ipairs(producers) do p:join() end
print("all is there, and done:", work:join(), #work .. " left")
work:close()

local total, best = 0, { longest = -1 }
for _ = 1, #consumers do
    local r = results:get()
    total = total + r.done
    if r.longest > best.longest then best = r end
end
print("numbers that were looked at:", total)
print("the longest way to 1:", best.longest .. " steps from " .. best.start)
