-- limits.lua: bounds that a process can neither exceed nor lift.
--
-- The kernel keeps them, from the first line on: memory beyond what the process
-- inherited, CPU time, open files. What happens at one is the process's own
-- failure, and the error says which limit it was.
--
--   luamp scripts/limits.lua

local mp = require "luamp"

local function show(title, options)
    options.name, options.stderr = title, "null"
    local p = mp.process(options):start()
    local ok, result = pcall(p.result, p)
    if ok then
        print(title, type(result) == "table" and result.stdout:gsub("\n$", "") or result)
    else
        print(title, result.kind, result.signal or "", (result.message:gsub("^.-%d+%) ", ""):gsub("^failed: ", "")))
    end
end

local function busy()
    while true do end
end

show("memory", { limits = { memory = "64M" }, target = function()
    return #("x"):rep(256 << 20)
end })

-- An error can be caught, and the process goes on.
show("memory caught", { limits = { memory = "64M" }, target = function()
    local ok = pcall(string.rep, "x", 256 << 20)
    return ok and "it was there" or "did without"
end })

show("cpu", { limits = { cpu = 1 }, target = busy })

show("files", { limits = { files = 32 }, target = function()
    local held = {}
    for i = 1, 100 do
        local file, why = io.open "/dev/null"
        if not file then return why end
        held[i] = file
    end
    return "it has " .. #held
end })

show("a command", { command = { "sh", "-c", "ulimit -n" }, limits = { files = 32 }, stdout = "capture" })

local ok, text = pcall(mp.process, { target = busy, limits = { memry = "64M" } })
print("a wrong one", ok, text:match "option.*")
