-- luamp.arrival: a process in a fresh interpreter becomes what image.lua has sent.
--
-- `arrive` and `receive` are called by the binding (see binding/life.c).

local core = require "luamp.core"
local errors = require "luamp.errors"
local life = require "luamp.life"

local now = life.now

-- A state with those numbers, and above it the states of those that started it.
local function with_numbers(fields, numbers)
    local above
    for i = 1, #numbers - 1 do above = { number = numbers[i], maker = above } end
    fields.number, fields.maker = numbers[#numbers], above
    return fields
end

local function arrive(o)
    package.path, package.cpath = o.path, o.cpath
    rawset(_G, "arg", o.arg)
    now.seed, now.method, now.log = o.seed, o.method, o.log
    now.this = with_numbers({ given_name = o.creator.name, pid = o.creator.pid, daemon = o.creator.daemon,
        role = "self" }, o.creator.numbers)
    return { given_name = o.self.name, number = o.self.numbers[#o.self.numbers], maker = now.this,
        daemon = o.self.daemon, owner = o.creator.pid, order = o.order, scope = o.in_scope or nil,
        options = { env = o.env, limits = o.limits }, opened = {}, files = {}, captured = {}, sent = 0 }
end

-- The function and its arguments, or an error object that says why they cannot be had here.
local function receive(decode)
    local values = table.pack(pcall(decode))
    if not values[1] then
        local e = values[2]
        if type(e) ~= "string" or e == "not enough memory" then error(e, 0) end
        error(errors.new { kind = "unsendable", message = "cannot receive the arguments: " .. e,
            process = life.name(life.own()), pid = now.this.pid }, 0)
    end
    for name, object in next, values[2] do core.register(name, object) end
    return table.unpack(values, 3, values.n)
end

core.set_hook("arrive", arrive)
core.set_hook("receive", receive)
