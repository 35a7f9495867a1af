-- counter.lua: a number that several processes count up, without a lock, with one, and as an atomic.
--
-- To add one is to read, to add and to write. Who reads before another one has written writes over
-- what that has added: an update is lost. A lock lets one at a time do all three. A number in shared
-- memory needs none: to add there is one step.
--
--   luamp scripts/counter.lua

local mp = require "luamp"

local PROCESSES <const>, ROUNDS <const> = 4, 25
local path = os.tmpname() -- of the file that has the number

local function read()
    local file <close> = assert(io.open(path))
    return file:read "n"
end

-- In one step: who reads meanwhile finds the old file or the new one.
local function write(n)
    local new = path .. mp.getpid()
    local file <close> = assert(io.open(new, "w"))
    file:write(n)
    file:close()
    assert(os.rename(new, path))
end

local function add_one()
    local n = read()
    mp.sleep(0.0002) -- others come in between
    write(n + 1)
end

-- Starts the processes, each of which calls the function so often, and waits for all.
local function count(f)
    local go = mp.event()
    write(0)
    mp.scope(function(s)
        for _ = 1, PROCESSES do
            s:start(function()
                go:wait() -- all begin at once
                for _ = 1, ROUNDS do f() end
            end)
        end
        go:set()
    end)
    return read()
end

local lock = mp.lock()

print("without a lock, updates are lost:", count(add_one) < PROCESSES * ROUNDS)

print("with one, none is:", count(function()
    lock:with(add_one)
end))

-- The same for a part of a function, whatever ends that.
print("with one, for a scope:", count(function()
    local held <close> = lock:hold() -- luacheck: ignore
    add_one()
end))

local atomic = mp.value("integer", 0)
count(function() atomic:add(1) end)
print("an atomic needs none:", atomic:get())

os.remove(path)
