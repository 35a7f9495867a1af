-- seed.lua: messages to begin a fuzzer's corpus with, one in each file of a folder: some by hand,
-- whose names begin with "hand", and random ones.
--
--   spec/host spec/fuzz/seed.lua FOLDER [NUMBER]
--
-- What is worth keeping of the random ones is for `spec/fuzz/run --keep` to find.
local core = require "luamp" and require "luamp.core"
local values = require "spec.values"

-- The tags of src/binding/wire.h.
local NIL, INT64, FLOAT, STRING16, STRING64 = "\xa0", "\xa5", "\xa6", "\xa7", "\xa8"
local TABLE, TABLE64, META, ERROR, DEFER, REF = "\xa9", "\xaa", "\xab", "\xac", "\xad", "\xae"
local NAMED, FUNCTION, LATER, CODE, UPVALUE, GLOBAL = "\xaf", "\xb0", "\xb1", "\xb2", "\xb3", "\xb4"
local EMPTY, GC, CLOSE = TABLE .. "\0\0", TABLE .. "\0\1\xc4__gc\1", TABLE .. "\0\1\xc7__close\1"

local function words(...)
    return string.pack(("<I8"):rep(select("#", ...)), ...)
end

-- A message with a trailer: the numbers of values, their bytes and items, of objects, items and METAs.
local function linked(n, body, ...)
    return string.char(0x80 | n) .. body .. words(...)
end

local by_hand = {
    "", "\0", "\1" .. NIL, "\x7f" .. words(3) .. "\1\2\3", "\1" .. INT64 .. words(-1), "\1" .. FLOAT .. words(-1),
    "\1" .. STRING16 .. "\3\0abc", "\1" .. STRING64 .. words(3) .. "abc", "\1" .. TABLE64 .. words(2, 0) .. "\1\2",
    "\1" .. TABLE64 .. words(0, 1 << 40) .. "\1\2", "\1" .. TABLE .. "\0\1" .. FLOAT .. words(0x7ff8 << 48) .. "\1",
    linked(2, EMPTY .. REF .. "\0", 1, 0, 0), linked(1, DEFER .. "\0" .. TABLE .. "\1\0\5", 1, 1, 0),
    linked(1, TABLE .. "\2\0" .. DEFER .. DEFER .. "\1" .. EMPTY .. "\2" .. META .. EMPTY .. REF .. "\1", 3, 2, 1),
    linked(1, (META .. EMPTY):rep(99) .. EMPTY, 0, 0, 99), "\1" .. (TABLE .. "\1\0"):rep(99) .. EMPTY,
    "\1" .. (ERROR .. TABLE .. "\1\0"):rep(9) .. ERROR .. EMPTY,
    "\1" .. NAMED .. "\xc7mstring", "\1" .. TABLE .. "\1\0" .. NAMED .. "\xc1g", "\1" .. LATER .. "\0",
    "\1" .. FUNCTION .. "\0" .. CODE .. "\4\0\0\0\27Lua", "\1" .. UPVALUE .. "\0",
    linked(1, EMPTY .. GLOBAL .. "\xc1x\1", 1, 1, 0),
}
for _, meta in ipairs { GC, CLOSE } do
    by_hand[#by_hand + 1] = linked(1, META .. EMPTY .. meta, 0, 0, 1)
    by_hand[#by_hand + 1] = linked(2, META .. EMPTY .. EMPTY .. META .. EMPTY .. meta, 0, 0, 2)
    by_hand[#by_hand + 1] = linked(1, META .. EMPTY .. DEFER .. "\1" .. meta, 2, 1, 1)
end

local function write(name, bytes)
    local file <close> = assert(io.open(arg[1] .. "/" .. name, "wb"))
    assert(file:write(bytes))
end

by_hand[#by_hand + 1] = core.frame "\1\1"

for i, bytes in ipairs(by_hand) do write(("hand-%02d"):format(i), bytes) end

for seed = 1, tonumber(arg[2]) or 3000 do
    math.randomseed(seed)
    local _, list = values.graph {
        n = seed % 7 + 1, functions = seed % 10 == 0, deep = seed % 10 == 1 and math.random(90, 210),
    }
    local message = core.encode(table.unpack(list, 1, list.n))
    if message and #message <= 512 then write(seed, message) end
end
