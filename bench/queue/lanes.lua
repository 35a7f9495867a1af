-- lanes.lua KIND COUNT: the mean time, in seconds, of passing one from a lane to the main
-- one by a linda: an integer (`each`; `many`: a thousand with each call), a string of 1 MiB
-- (`strings`), an integer there and back (`trip`).
local lanes = require "lanes".configure()

local kind, count = arg[1], tonumber(arg[2])
local BATCH <const> = 1000

local linda = lanes.linda()
linda:limit("there", 4096)

local function put(kind_of, n)
    if kind_of == "many" then
        local list = {}
        for i = 1, 1000 do list[i] = i end
        for _ = 1, n // 1000 do linda:send("there", table.unpack(list)) end
    elseif kind_of == "strings" then
        local string = ("x"):rep(1 << 20)
        for _ = 1, n do linda:send("there", string) end
    elseif kind_of == "trip" then
        for i = 1, n do
            linda:send("there", i)
            linda:receive "back"
        end
    else
        for i = 1, n do linda:send("there", i) end
    end
    return true
end

local function get(n)
    if kind == "many" then
        for _ = 1, n // BATCH do linda:receive(linda.batched, "there", BATCH) end
        return
    end
    for _ = 1, n do
        local _, value = linda:receive "there"
        if kind == "trip" then linda:send("back", value) end
    end
end

local function run(n)
    local lane = lanes.gen("*", put)(kind, n)
    get(n)
    assert(lane:join())
end

if kind == "strings" then linda:limit("there", 16) end
run(math.max(BATCH, count // 10))
local start = lanes.now_secs()
run(count)
print(("%.12f"):format((lanes.now_secs() - start) / count))
