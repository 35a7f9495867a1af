-- chat.lua: a room that waits for several at once: for its guests, for their leaving, and for you.
--
-- Each guest is a process at its end of a pipe. What one says goes to all others. You
-- say the words of the command line, which a process types, or what stdin has; your turn
-- comes when nobody is left to answer. A line `/kick NAME` ends a guest's process.
--
--   luamp scripts/chat.lua [LINE...]

local mp = require "luamp"

local YOU <const> = "you"

-- Hears everybody, and answers one of them, until the room is closed.
local function visit(pipe, partner, answer)
    local heard = 0
    for message in function() return (pipe:recv()) end do
        heard = heard + 1
        if message.from == partner then pipe:send(answer(message.text)) end
    end
    return heard
end

local guests = {} -- by name, by the room's end of the pipe and by process

local function enter(name, partner, answer)
    local here, there = mp.pipe()
    local p = mp.process { name = name, target = visit, args = { there, partner, answer } }:start()
    local guest = { name = name, partner = partner, pipe = here, far_end = there, process = p, is_here = true }
    for _, key in ipairs { name, here, p } do guests[key] = guest end
    guests[#guests + 1] = guest
end

enter("Anna", YOU, function(text) return text:upper() .. "?" end)
enter("Ben", "Anna", function(text) return "'" .. text:reverse() .. "', Anna" end)

local function each_present(f)
    for _, guest in ipairs(guests) do
        if guest.is_here then f(guest) end
    end
end

-- Passes on what somebody says. Returns whether someone will answer.
local function say(from, text)
    print(from .. ": " .. text)
    local is_answered = false
    each_present(function(guest)
        if guest.name == from then return end
        guest.pipe:send { from = from, text = text }
        is_answered = is_answered or guest.partner == from
    end)
    return is_answered
end

local function leave(guest)
    guest.is_here = false
    guest.process:join()
    print(guest.name .. " has left: " .. (guest.process.error and guest.process.error.kind or "in peace"))
end

-- Where your lines come from: a queue that another process fills, or stdin, without a
-- buffer in which a line could lie that no wait sees.
local source, next_line
if #arg > 0 then
    source = mp.queue()
    mp.process { target = function(lines)
        source:put_many(lines)
        source:close()
    end, args = { table.move(arg, 1, #arg, 1, {}) } }:start()
    next_line = function() return (source:get()) end
else
    io.stdin:setvbuf "no"
    source, next_line = 0, io.read
end

local is_your_turn, is_open = true, true

local function take_turn()
    local line = next_line()
    local kicked = line and guests[line:match "^/kick (.+)$"]
    if not line then
        is_open = false
    elseif kicked then
        kicked.process:kill()
        is_your_turn = false -- until it has left
    else
        is_your_turn = not say(YOU, line)
    end
end

while is_open do
    local list = {}
    each_present(function(guest)
        table.insert(list, guest.pipe)
        table.insert(list, guest.process)
    end)
    if is_your_turn then table.insert(list, source) end
    for _, ready in ipairs(mp.wait(list)) do
        local guest = guests[ready]
        if ready == source then
            take_turn()
        elseif ready == guest.process then
            leave(guest)
            is_your_turn = true
        elseif guest.is_here then
            is_your_turn = not say(guest.name, guest.pipe:recv())
        end
    end
end

each_present(function(guest) guest.pipe:close() end)
each_present(function(guest) print(guest.name .. " heard " .. guest.process:result() .. " lines") end)
