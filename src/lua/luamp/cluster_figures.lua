-- luamp.cluster_figures: what a pool on several hosts (cluster.lua) tells of itself: methods of that crew.
--
-- What workers here do is known at any moment; what others do their hosts tell when they are asked, for pool:stats(),
-- and at the end. In between the last figures hold.

local core = require "luamp.core"
local hosts = require "luamp.hosts"
local side = require "luamp.side"
local statistics = require "luamp.statistics"

local methods = {}

local LOOK <const>, ANSWER <const> = 0.05, 2 -- seconds: of a wait, and that figures of a host may take

-- Asks the hosts how they are: what they say comes to `last` of each.
local function ask(c)
    c.token = c.token + 1
    for _, s in ipairs(c.others) do
        if s.state == "serves" then side.send(s, "tell", c.number, c.token) end
    end
    c:tell()
    local deadline = core.clock() + ANSWER
    for _, s in ipairs(c.others) do
        while s.state == "serves" and s.last_token ~= c.token and not s.host.is_lost and core.clock() < deadline do
            core.poll({ hosts.set() }, core.deadline(LOOK))
            side.read_hosts(c)
            for i = #s.inbox, 1, -1 do
                local message = s.inbox[i]
                if message[2] == "told" then
                    s.last_token = message[4]
                    side.note_figures(s, message[5])
                    table.remove(s.inbox, i)
                end
            end
        end
    end
end

function methods.state_of(c)
    local list, running = c.inner:state_of()
    if not c.is_closing then ask(c) end
    c.restarts = c.inner.restarts
    for _, s in ipairs(c.others) do
        local last = s.last or { workers = {}, running = 0, restarts = 0 }
        for _, w in ipairs(s.host.is_lost and {} or statistics.copies(last.workers)) do
            list[#list + 1] = w
        end
        running, c.restarts = running + last.running, c.restarts + last.restarts
    end
    return list, running
end

function methods.share(c)
    local sums = { c.inner:share() }
    for _, s in ipairs(c.others) do
        for i, n in ipairs(s.last and s.last.share or {}) do sums[i] = sums[i] + n end
    end
    return table.unpack(sums)
end

function methods.slowest(c)
    local list = c.inner:slowest()
    for _, s in ipairs(c.others) do
        local ahead = s.last and math.floor((core.clock() - s.last.now) * 1e9) or 0 -- of its clock
        for _, slow in ipairs(s.last and s.last.slowest or {}) do
            slow.worker, slow.began = side.worker_number(s, slow.worker), slow.began + ahead
            list[#list + 1] = slow
        end
        if s.last then s.last.slowest = {} end
    end
    return list
end

function methods.usage(c)
    local cpu, peak = c.inner:usage()
    for _, s in ipairs(c.others) do
        local its, most = table.unpack(s.last and s.last.usage or { 0, 0 })
        cpu, peak = cpu + its, math.max(peak, most)
    end
    return cpu, peak
end

function methods.times(c, id) return c.inner:times(id) end
function methods.tail(c, from) return c.inner:tail(from) end

function methods.is_busy(c, id)
    if id <= c.n_here then return c.inner:is_busy(id) end
    for _, s in ipairs(c.others) do
        if id > s.first and id <= s.first + s.n then return s.n_out >= id - s.first end
    end
    return false
end

return methods
