-- killed.lua: what one sees when a process does not end well.
--
-- Each process here ends in a way of its own. `result` raises an error object
-- whose fields say which way it was; the field `error` of the process has them
-- without raising, and is nil if the process itself did nothing wrong. A
-- process reports its own uncaught error, with the traceback, on stderr.
--
--   luamp scripts/killed.lua
--   luamp scripts/killed.lua 2>/dev/null

local mp = require "luamp"

local function start(target)
    return mp.process { target = target }:start()
end

local function tell(name, value)
    print(("  %-10s %s"):format(name, value))
end

local function show(title, p)
    print(title)
    local _, e = pcall(p.result, p)
    for _, field in ipairs { "kind", "message", "signal" } do
        if e[field] then tell(field, e[field]) end
    end
    tell("p.exitcode", p.exitcode)
    tell("p.error", p.error and p.error.kind)
    return e
end

local first = show("an error that nobody catches", start(function()
    error "the disk is full"
end))

local e = show("a raised table", start(function()
    error { code = 28, path = "/tmp/x" }
end))
tell("value", e.value.code .. ", " .. e.value.path)

show("os.exit", start(function()
    os.exit(3)
end))

local sleeper = start(function()
    mp.sleep(60)
end)
sleeper:kill()
show("a kill from outside", sleeper)

show("recursion without an end", start(function()
    local function deeper() return 1 + deeper() end
    print(deeper())
end))

show("more memory than there is", start(function()
    local zeros <close> = io.open "/dev/zero"
    return #zeros:read(1 << 50)
end))

show("a result that cannot be sent", start(function()
    return { name = "generator", thread = coroutine.create(print) }
end))

print "\nThe first error object as text, which is a complete report:"
print(first)
