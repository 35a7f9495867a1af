-- luamp.advice: what follows from the figures of a pool (statistics.lua), in words, and the report that is printed.
--
-- Advice is given where it would matter: for what has cost a good part of the workers' time while there was something
-- to do, and enough of it to notice. Each piece has its evidence, and says what to do. Two pieces never blame the same
-- time: what a tail has cost is no idleness, and workers that wait for tasks which are too small do not idle.

local core = require "luamp.core"
local cpu = require "luamp.cpu"
local life = require "luamp.life"

local advice = {}

-- Both go by name when they are sent.
advice.meta = { __name = "mp.pool.stats" }
advice.piece = { __name = "mp.pool.advice", __tostring = function(piece) return piece.text end }

-- --- words for figures --------------------------------------------------------------

local function seconds(s)
    if s < 1e-6 then return ("%.0f ns"):format(s * 1e9) end
    if s < 1e-3 then return ("%.1f us"):format(s * 1e6) end
    if s < 1 then return ("%.1f ms"):format(s * 1e3) end
    return (s < 100 and "%.2f s" or "%.0f s"):format(s)
end

local function bytes(n)
    for _, unit in ipairs { "bytes", "KiB", "MiB" } do
        if n < 1024 then return (unit == "bytes" and "%.0f %s" or "%.1f %s"):format(n, unit) end
        n = n / 1024
    end
    return ("%.1f GiB"):format(n)
end

local function percent(share)
    return ("%.0f %%"):format(100 * share)
end

local function count(n, what)
    return ("%.0f %s%s"):format(n, what, n == 1 and "" or "s")
end

-- --- advice -------------------------------------------------------------------------

local NOTABLE <const> = 0.02 -- seconds of all workers together

local function piece(kind, share, evidence, text, ...)
    return setmetatable({ kind = kind, share = share, evidence = evidence, text = text:format(...) }, advice.piece)
end

local LARGE <const> = 16 * 1024 -- bytes for each task

local function payloads(f)
    local per_task = (f.given + f.returned) / math.max(1, f.tasks)
    local share = f.send / (f.send + f.work)
    if f.send < NOTABLE or share < 0.2 or per_task < LARGE then return end
    return piece("payloads", share, { send = f.send, work = f.work, given = f.given, returned = f.returned,
        tasks = f.tasks }, "payloads are large: packing and unpacking took workers %s, %s of the time in which they "
        .. "were busy; a task was given %s and gave %s. Give tasks a path, a range or mp.chunks in place of the data, "
        .. "share it in an mp.buffer or mp.array, or let 'init' make what all of them need", seconds(f.send),
        percent(share), bytes(f.given / f.tasks), bytes(f.returned / f.tasks))
end

local FEW <const>, SMALL <const>, WORTH <const> = 100, 200e-6, 1e-3 -- tasks; seconds of one, and of those together

-- What to do about tasks that are too small.
local function enlarge(f, mean)
    local main
    for _, kind in pairs(f.calls) do
        if not main or kind.tasks > main.tasks then main = kind end
    end
    local wanted = WORTH // mean + 1
    if not main or f.submitted > main.tasks then
        return "pool:map hands out many at once, which 'submit' does not"
    elseif main.chunksize and main.chunksize < wanted then
        return ("%s was given chunksize = %d: leave that out, or give it %.0f"):format(main.where, main.chunksize,
            wanted)
    end
    return ("Let a task of %s do the work of %.0f of these, or call the function without a pool"):format(main.where,
        wanted)
end

local function chunks(f)
    local mean, wait = f.busy / math.max(1, f.tasks), f.waited / math.max(1, f.tasks)
    local share = f.waited / f.total
    if f.tasks < FEW or mean <= 0 or mean > SMALL or share < 0.25 then return end
    return piece("chunks", share, { tasks = f.tasks, mean = mean, wait = wait }, "tasks are small: %d of them took %s "
        .. "each, and for each one workers waited %s more, %s of their time. %s", f.tasks, seconds(mean),
        seconds(wait), percent(share), enlarge(f, mean))
end

-- What kept the last workers of a call busy.
local function shorten(w)
    if not w.took or w.took < w.longest / 2 then
        return "Smaller tasks end closer together"
    elseif w.group and w.group > 1 then
        return ("The %d items from item %d on took %s together: a smaller 'chunksize' divides them"):format(w.group,
            w.task, seconds(w.took))
    elseif w.began > w.elapsed / 4 then
        return ("Its task %d, which took %s, was begun after %s: the option 'weight' lets heavy ones begin first")
            :format(w.task, seconds(w.took), seconds(w.began))
    end
    return ("Its task %d alone took %s: it is to be divided, no order helps"):format(w.task, seconds(w.took))
end

local function tails(f)
    local share, w = f.lost / f.total, f.worst
    if share < 0.1 or f.lost < NOTABLE or not w then return end
    return piece("tails", share, { lost = f.lost, longest = w.longest, elapsed = w.elapsed, call = w.where,
        task = w.task, took = w.took, began = w.began }, "calls end slowly: workers that "
        .. "had nothing left to do waited for the others for %s, %s of the time; in a %s of %s, which took %s, up to "
        .. "%s. %s", seconds(f.lost), percent(share), w.where, count(w.tasks, "task"), seconds(w.elapsed),
        seconds(w.longest), shorten(w))
end

-- What they have waited for.
local function occupy(f)
    if f.unused >= f.waited / 2 then
        local n = math.max(1, math.floor(f.n - f.unused / math.max(f.active, NOTABLE) + 0.5))
        return ("Calls had fewer tasks than there are workers: %s would do, or smaller tasks")
            :format(count(n, "worker"))
    elseif f.own >= 0.5 then
        return ("This process did other things for %s of it: what it does between tasks, as in a loop's body or to "
            .. "make the input, is better done in them"):format(percent(f.own))
    end
    return "Fewer workers would do"
end

local function idle(f)
    local share = f.waited / f.total
    if share < 0.4 or f.waited < NOTABLE then return end
    return piece("idle", share, { waited = f.waited, total = f.total, active = f.active, unused = f.unused,
        own = f.own }, "workers had nothing to do for %s of %s, %s of the time in which there was something to do. %s",
        seconds(f.waited), seconds(f.total), percent(share), occupy(f))
end

-- Who waits for a CPU could run all the time, or nearly.
local function cpus(f)
    local used = f.active > 0 and math.min(f.cpu, f.busy) / f.active or 0
    local share = f.delay / math.max(f.busy, NOTABLE)
    if not f.cpus or f.n <= f.cpus or f.busy < NOTABLE then return end
    local evidence = { workers = f.n, cpus = f.cpus, delay = f.delay, busy = f.busy, used = used }
    if share >= 0.2 and f.delay + f.cpu >= 0.8 * f.busy then
        return piece("cpu", math.min(1, share), evidence, "%s share %s: they waited for one for %s while they were "
            .. "busy for %s. %s would do", count(f.n, "worker"), count(f.cpus, "CPU"), seconds(f.delay),
            seconds(f.busy), count(f.cpus, "worker"))
    elseif used > 1.1 * f.cpus then
        return piece("cpu", 1 - f.cpus / used, evidence, "%s used %.1f CPUs at once, and this process is to use %d "
            .. "(by its affinity, its control group or LUAMP_CPUS). %s would do", count(f.n, "worker"), used, f.cpus,
            count(f.cpus, "worker"))
    end
end

local function advise(f)
    local list = { payloads(f), nil }
    if f.total >= NOTABLE then
        list[#list + 1] = tails(f)
        list[#list + 1] = chunks(f) or idle(f)
    end
    list[#list + 1] = cpus(f)
    table.sort(list, function(a, b) return a.share > b.share end)
    return list
end

-- --- figures ------------------------------------------------------------------------

-- How many CPUs there are for this pool's process, or nil if that cannot be said.
local function n_cpus()
    local ok, n = pcall(cpu.count)
    return ok and math.max(1, n // (life.now.cpu_divisor or 1)) or nil
end

-- What the advice goes by: the pool's ledger, and sums over its workers.
local function gather(d, stats)
    local st = d.statistics
    local active, busy, waited = st:active()
    local _, _, tasks, given, returned, own_wait = d.crew:share()
    local f = { n = d.crew.n, active = active, busy = busy, total = busy + waited, tasks = tasks, given = given,
        returned = returned, lost = math.min(st.lost, waited), unused = st.unused, worst = st.worst, calls = st.calls,
        submitted = d.submissions.n, own = active > 0 and math.max(0, 1 - own_wait * 1e-9 / active) or 0,
        cpus = n_cpus(),
        work = 0, send = 0, cpu = 0, delay = 0 }
    f.waited = waited - f.lost
    for _, w in ipairs(stats.workers) do
        f.work, f.send, f.cpu = f.work + w.work, f.send + w.send, f.cpu + w.cpu
        f.delay = f.delay + math.max(0, w.delay - w.start - w.init) -- not what was before any task
    end
    return f
end

-- Adds to what pool:stats() tells of the tasks what their time went into.
function advice.complete(d, stats)
    local st, f = d.statistics, gather(d, stats)
    stats.elapsed, stats.active = (st.ended or core.clock()) - st.made, f.active
    stats.busy = f.total > 0 and f.busy / f.total or 0
    stats.given, stats.returned = f.given, f.returned
    stats.slowest, stats.errors, stats.advice = st:slow_tasks(), st:errors(), advise(f)
    return setmetatable(stats, advice.meta)
end

-- --- the report ---------------------------------------------------------------------

local MOST_WORKERS <const> = 16 -- of which each has its line

local function head(stats)
    local line = ("%s, %s done"):format(count(#stats.workers, "worker"), count(stats.done, "task"))
    for _, name in ipairs { "failed", "running", "queued" } do
        if stats[name] > 0 then line = ("%s, %d %s"):format(line, stats[name], name) end
    end
    if stats.retried > 0 then line = line .. ", " .. count(stats.retried, "further run") end
    if stats.restarts > 0 then line = line .. ", " .. count(stats.restarts, "worker") .. " replaced" end
    return ("%s, in %s; there was something to do for %s, and workers were busy for %s of that"):format(line,
        seconds(stats.elapsed), seconds(stats.active), percent(stats.busy))
end

local columns = { "start", "init", "wait", "work", "send", "cpu" }

local function row(name, tasks, w)
    local cells = {}
    for i, column in ipairs(columns) do cells[i] = ("%9.3f"):format(w[column]) end
    return ("%6s %9s %s %9s"):format(name, tasks, table.concat(cells, " "), w.rss and bytes(w.rss) or "-")
end

local function sum(workers)
    local all = { tasks = 0 }
    for _, column in ipairs(columns) do all[column] = 0 end
    for _, w in ipairs(workers) do
        all.tasks, all.rss = all.tasks + w.tasks, math.max(all.rss or 0, w.rss or 0)
        for _, column in ipairs(columns) do all[column] = all[column] + w[column] end
    end
    return all
end

local function add_workers(lines, stats)
    local all = sum(stats.workers)
    lines[#lines + 1] = ("%6s %9s %9s %9s %9s %9s %9s %9s %9s"):format("worker", "tasks", "start s", "init s", "wait s",
        "work s", "send s", "cpu s", "memory")
    for i = 1, math.min(#stats.workers, MOST_WORKERS) do
        local w = stats.workers[i]
        lines[#lines + 1] = row(w.id, w.tasks, w)
    end
    if #stats.workers > MOST_WORKERS then lines[#lines + 1] = ("%6s"):format("...") end
    if #stats.workers > 1 then lines[#lines + 1] = row("all", all.tasks, all) end
end

local function add_slowest(lines, stats)
    if stats.slowest[1] then lines[#lines + 1] = "slowest tasks" end
    for _, slow in ipairs(stats.slowest) do
        lines[#lines + 1] = ("%10s  %s task %d, worker %d%s%s%s"):format(seconds(slow.seconds), slow.call, slow.task,
            slow.worker, slow.attempt > 1 and (", attempt %d"):format(slow.attempt) or "",
            slow.input and ": " .. slow.input or "", slow.f and " (" .. slow.f .. ")" or "")
    end
end

local MOST_ERRORS <const> = 10

local function add_errors(lines, stats)
    if stats.errors[1] then lines[#lines + 1] = "errors" end
    for i = 1, math.min(#stats.errors, MOST_ERRORS) do
        local e = stats.errors[i]
        local example = e.task and (" (%s task %d%s)"):format(e.call, e.task,
            e.worker and (", worker %d"):format(e.worker) or "") or ""
        lines[#lines + 1] = ("%10d  %s%s"):format(e.count, e.message, example)
    end
    if #stats.errors > MOST_ERRORS then
        lines[#lines + 1] = ("%10s  %s more"):format("...", count(#stats.errors - MOST_ERRORS, "message"))
    end
end

-- The report: a text of some lines, without a newline at its end.
advice.meta.__tostring = function(stats)
    local lines = { head(stats) }
    add_workers(lines, stats)
    add_slowest(lines, stats)
    add_errors(lines, stats)
    if stats.advice[1] then lines[#lines + 1] = "advice" end
    for _, given in ipairs(stats.advice) do lines[#lines + 1] = "  - " .. given.text end
    return table.concat(lines, "\n")
end

return advice
