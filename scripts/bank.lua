-- bank.lua: clerks who move money between accounts, of whom two are killed: one in the midst of it.
--
-- The lock of a killed process is not stuck: the next one gets it, and is told by the word
-- "abandoned" that what it guards may be half done. Who writes down what was before, and takes that away
-- when all is done, can put that right: where there is no note, nothing was begun.
--
--   luamp scripts/bank.lua

local mp = require "luamp"

local ACCOUNTS <const>, START <const>, CLERKS <const>, TRANSFERS <const> = 3, 100, 4, 50
local book, note = os.tmpname(), os.tmpname()
local lock = mp.lock()

local function read(path)
    local file <close> = assert(io.open(path))
    local balances = {}
    for i = 1, ACCOUNTS do balances[i] = file:read "n" end
    return balances
end

-- In one step, whenever the writer is killed: the new file takes the place of the old one.
local function write(path, balances)
    local file <close> = assert(io.open(path .. ".new", "w"))
    file:write(table.concat(balances, " "), "\n")
    file:close()
    assert(os.rename(path .. ".new", path))
end

-- As it was before a transfer that is half done, if one is.
local function put_right()
    local file = io.open(note)
    if not file then return end
    file:close()
    write(book, read(note))
end

local function total()
    local sum = 0
    for _, balance in ipairs(read(book)) do sum = sum + balance end
    return sum
end

local function transfer(from, to, amount, in_between)
    local held <close>, word = lock:hold() -- luacheck: ignore held
    if word == "abandoned" then
        print("who comes next is told:", word)
        put_right()
    end
    local balances = read(book)
    write(note, balances)
    balances[from] = balances[from] - amount
    write(book, balances)
    if in_between then in_between() end
    balances[to] = balances[to] + amount
    write(book, balances)
    os.remove(note)
end

local opened = {}
for i = 1, ACCOUNTS do opened[i] = START end
write(book, opened)
os.remove(note)

-- A clerk who is killed when it says that it has come so far.
local function kill_clerk(work)
    local has_come = mp.event()
    local clerk = mp.process { name = "clerk", target = work, args = { function()
        has_come:set()
        mp.sleep(60)
    end } }:start()
    has_come:wait()
    print("the lock is held by the clerk:", tostring(lock):find("held by process 'clerk'", 1, true) ~= nil)
    clerk:kill()
    clerk:join()
end

-- It has taken, and not given yet.
kill_clerk(function(stay) transfer(1, 2, 30, stay) end)
print("in the book:", total())
transfer(2, 3, 10)

-- It has just got the lock: what was done before stays.
kill_clerk(function(stay) lock:with(stay) end)
transfer(1, 3, 5)
print("in the book:", table.concat(read(book), " "))

mp.scope(function(s)
    for _ = 1, CLERKS do
        s:start(function()
            for _ = 1, TRANSFERS do transfer(math.random(ACCOUNTS), math.random(ACCOUNTS), math.random(50)) end
        end)
    end
end)
print("after all transfers:", total())

os.remove(book)
