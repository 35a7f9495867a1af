-- downloads.lua [URL...]: several downloads at once, each tried again when it fails.
--
-- A task of a pool may be a program. It has a time limit of its own, and more runs when it fails, each
-- after a longer pause; `when` hears of every failure, and says whether another run makes sense.
--
-- URLs are fetched by curl into this folder. Without them, and so without a network, files of a folder
-- stand for a server, by curl or cp: one is there after the first failure only, and one is never.
--
--   luamp scripts/downloads.lua

local mp = require "luamp"

local AT_ONCE, RUNS = 4, 3

local function write(path, text)
    local file <close> = assert(io.open(path, "wb"))
    file:write(text)
end

local function size_of(path)
    local file <close> = assert(io.open(path, "rb"))
    return file:seek "end"
end

-- A download: what it is called, where it goes, by which program, and how often that has failed.
local function by_curl(name, url, to)
    local command = { "curl", "--silent", "--show-error", "--fail", "--location", "--output", to, url }
    return { name = name, to = to, command = command, failures = 0 }
end

local function by_cp(name, from, to)
    return { name = name, to = to, command = { "cp", from, to }, failures = 0 }
end

-- A folder with some files, and downloads of these.
local function play(folder)
    local has_curl = os.execute "command -v curl >/dev/null"
    assert(os.execute("mkdir " .. folder))
    write(folder .. "/index.html", "<p>hello</p>\n")
    write(folder .. "/style.css", "p { color: green }\n")
    local list = {}
    for i, name in ipairs { "index.html", "style.css", "late.png", "never.js" } do
        local from, to = folder .. "/" .. name, folder .. "/fetched-" .. name
        list[i] = has_curl and by_curl(name, "file://" .. from, to) or by_cp(name, from, to)
    end
    list[3].at_failure = function() write(folder .. "/late.png", "pixels") end
    return list
end

local function submit(pool, d)
    local function is_worth_it(e)
        d.failures = d.failures + 1
        if d.at_failure then d.at_failure() end
        return e.kind == "exit" or e.kind == "timeout" -- and not when there is no such program
    end
    return pool:submit { command = d.command, stderr = "capture", timeout = 60,
        retries = { n = RUNS - 1, backoff = 0.1, when = is_worth_it } }
end

local downloads, folder = {}, nil
for i, url in ipairs(arg) do downloads[i] = by_curl(url, url, url:match "[^/]+$" or "index.html") end
if not arg[1] then
    folder = os.tmpname() .. ".server"
    downloads = play(folder)
end

local pool <close> = mp.pool(AT_ONCE)
local futures = {}
for i, d in ipairs(downloads) do futures[i] = submit(pool, d) end
for i, f in ipairs(futures) do
    local d = downloads[i]
    f:wait()
    if f.error then
        print(("%-11s given up after %d runs: %s"):format(d.name, f.error.attempt, f.error.kind))
    else
        print(("%-11s %d bytes, at run %d"):format(d.name, size_of(d.to), d.failures + 1))
    end
end
print("runs again: " .. pool:stats().retried)
if folder then os.execute(("rm -r %s %s"):format(folder, folder:gsub("%.server$", ""))) end
