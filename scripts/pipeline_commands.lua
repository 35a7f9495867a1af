-- pipeline_commands.lua: programs and a Lua function in one pipeline.
--
-- `stdin = other.stdout` hands a pipe over: the new process alone has it then,
-- so each sees the end of its input when the one before it has ended, and a
-- writer whose reader has ended first is told by SIGPIPE.
--
--   luamp scripts/pipeline_commands.lua

local mp = require "luamp"

-- What `seq 1 20 | (a Lua function) | sort -rn | head -n 3` would be.
local numbers = mp.process { command = { "seq", 1, 20 }, stdout = "pipe" }:start()
local squares = mp.process { stdin = numbers.stdout, stdout = "pipe", target = function()
    for line in io.lines() do
        local n = math.tointeger(line)
        if n % 2 == 1 then print(n * n) end
    end
end }:start()
local sorted = mp.process { command = { "sort", "-rn" }, stdin = squares.stdout, stdout = "pipe" }:start()
local top = mp.process { command = { "head", "-n", 3 }, stdin = sorted.stdout, stdout = "capture" }:start()

print "the greatest odd squares:"
io.write(top:result().stdout)

-- A writer without an end, and a reader that has enough after one line.
local yes = mp.process { command = { "yes" }, stdout = "pipe" }:start()
local head = mp.process { command = { "head", "-n", 1 }, stdin = yes.stdout, stdout = "capture" }:start()
io.write("\nof yes, one line: ", head:result().stdout)
yes:join()
print("and yes was ended by " .. yes.error.signal)
