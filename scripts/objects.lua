-- objects.lua: objects with metatables travel; whether they are of the same
-- class on the other side depends on whether that has a name.
--
--   luamp scripts/objects.lua

local mp = require "luamp"

local function run(f, ...)
    return mp.process { target = f, args = { ... } }:start():result()
end

-- A class with a name: the object gets the class that the receiver has under it.
-- (A class that is a module, or a field of one, has a name without that.)
local Account = mp.register("example.Account", {})
Account.__index = Account
Account.__eq = function(a, b) return a.owner == b.owner and a.balance == b.balance end

function Account.new(owner, balance)
    return setmetatable({ owner = owner, balance = balance }, Account)
end

function Account:deposit(amount)
    self.balance = self.balance + amount
    return self
end

print "A registered class"
local account = Account.new("Ada", 100)
local richer = run(account.deposit, account, 50)
print("of the same class:", getmetatable(richer) == Account)
print("balances:", account.balance, richer.balance)
print("equal after the same:", account:deposit(50) == richer)

-- A class without a name travels along, by value: the object works, and has a
-- class of its own.
local Point = {}
Point.__index = Point
Point.__tostring = function(p) return ("(%g, %g)"):format(p.x, p.y) end

function Point:moved(by)
    return setmetatable({ x = self.x + by, y = self.y + by }, Point)
end

print "\nA class without a name"
local list = run(function()
    local p = setmetatable({ x = 1, y = 2 }, Point)
    return { p, p:moved(10), first = p }
end)
print("they work:", list[1], list[2], list[2]:moved(0.5))
print("of the same class:", getmetatable(list[1]) == Point)
print("of one class with each other:", getmetatable(list[1]) == getmetatable(list[2]))
print("still one object:", list.first == list[1])

-- An open file means nothing in another process, nor does a coroutine or what a
-- C library has made.
print "\nA userdata"
local ok, e = pcall(run, function()
    return { name = "LICENSE", lines = { file = io.open "LICENSE" } }
end)
print(ok, e.kind)
print(e.message)

-- An object may say itself how it travels: __mp_send gives a function and its
-- arguments, the receiver calls it and takes its result.
local Reader = mp.register("example.Reader", {})
Reader.__index = Reader

function Reader.open(path, at)
    local file = assert(io.open(path))
    file:seek("set", at)
    return setmetatable({ path = path, file = file }, Reader)
end

function Reader:__mp_send()
    return Reader.open, self.path, self.file:seek()
end

print "\nAn object that says how it travels"
local reader = run(function()
    local r = Reader.open("LICENSE", 0)
    print("first line, there:", r.file:read())
    r.file:read()
    return r
end)
print("third line, here:", reader.file:read())
print("of the same class:", getmetatable(reader) == Reader)
