-- luamp.lua PROGRAM MODE COUNT: Lua that allocates, under any host: trees, strings or both and more (mixed), with
-- the collector in that mode. The mean CPU time of a run, in seconds.
local kind, mode, count = arg[1], arg[2], tonumber(arg[3])

local function tree(depth)
    if depth == 0 then return {} end
    return { tree(depth - 1), tree(depth - 1) }
end

local function size(t)
    return t[1] and 1 + size(t[1]) + size(t[2]) or 1
end

local programs = {}

function programs.trees()
    local long, n = tree(13), 0
    for depth = 4, 12, 4 do
        for _ = 1, 1 << (15 - depth) do n = n + size(tree(depth)) end
    end
    assert(size(long) == (1 << 14) - 1 and n > 0)
end

function programs.strings()
    local seen, n = {}, 0
    for i = 1, 150000 do
        local key = ("%d:%x"):format(i % 20000, i)
        local line = key .. (" "):rep(i % 60) .. key:upper()
        seen[key] = #line
        for word in line:gmatch "%S+" do n = n + #word end
    end
    assert(n > 0 and next(seen))
end

function programs.mixed()
    local queue, index = {}, {}
    for i = 1, 200000 do
        local item = { id = i, name = "item " .. i, tags = { i % 7, i % 11 }, at = function() return i end }
        index[item.name] = item
        queue[#queue + 1] = item
        if #queue > 5000 then
            local old = table.remove(queue)
            index[old.name] = nil
            queue[i % 5000 + 1].next = old.tags
        end
    end
    assert(#queue == 5000 and next(index))
end

collectgarbage(mode)
local run = programs[kind]
local start = os.clock()
for _ = 1, count do run() end
print(string.format("%.9f", (os.clock() - start) / count))
