-- sweep.lua: runs of victims.lua in which something goes wrong, for the two sweeps.
--
-- A run is under killat (see killat.c), which says how it ended and what was
-- left. LUAMP_SWEEP=all takes every point there is. Otherwise a sweep takes a
-- sample, evenly spread and another one in each run: LUAMP_SPEC_SEED, which is
-- printed, takes the same again.
local helper = require "spec.helper"

local sweep = {
    all = os.getenv "LUAMP_SWEEP" == "all",
    seed = math.tointeger(tonumber(os.getenv "LUAMP_SPEC_SEED")) or os.time(),
    limit = 20, -- seconds for a script, which needs less than one
    grace = 0.5, -- seconds for what the main process leaves, as promised
}

local random = math.random
math.randomseed(sweep.seed)
print("LUAMP_SPEC_SEED=" .. sweep.seed)

sweep.killat = (os.getenv "LUAMP_BUILD" or "build/faults") .. "/killat"

-- Runs a script of victims.lua under killat. Options: `script` (a name, or `file`, the path
-- of another script); `process` and `point` for killat; `ranges` and `entries` for its instructions, and
-- `steps`, a file for their addresses, and `signal`, a number in place of SIGKILL's;
-- `env`, of the host alone. Returns killat's report, with
-- `ending` ("exit:0"), `left` (0, or who), `processes` (name to points and comm),
-- stdout, stderr; and `ran`, how often each function has run of those that tell.
function sweep.run(options)
    local dir = helper.tmpdir()
    local report, log = dir .. "/report", dir .. "/log"
    helper.write(log, "")
    local words = { "env", "KILLAT_RANGES=" .. (options.ranges or ""), "KILLAT_ENTRIES=" .. (options.entries or ""),
        "KILLAT_STEPS=" .. (options.steps or ""), "KILLAT_SIGNAL=" .. (options.signal or ""),
        sweep.killat, report, sweep.limit, sweep.grace, options.process, options.point, "env",
        helper.quote("VICTIM_LOG=" .. log) }
    for name, value in pairs(options.env or {}) do
        words[#words + 1] = helper.quote(name .. "=" .. value)
    end
    for _, word in ipairs { helper.host, options.file or "spec/faults/victims.lua", options.script } do
        words[#words + 1] = helper.quote(word)
    end
    local result = helper.run(table.concat(words, " "))
    assert(result.status == 0, result.stderr)
    local text = helper.read(report)
    local ending, killed, at, left = text:match "^end=(%S+) killed=(%d) at=(%S+) left=(%d+) "
    local processes = {}
    for name, points, comm in text:gmatch "([%d.]+) points=(%d+) comm=(%C*)" do
        processes[name] = { points = math.tointeger(points), comm = comm }
    end
    for name, steps in text:gmatch "([%d.]+) steps=(%d+)" do
        processes[name] = processes[name] or {}
        processes[name].steps = math.tointeger(steps)
    end
    local ran = {}
    for name in helper.read(log):gmatch "[^\n]+" do ran[name] = (ran[name] or 0) + 1 end
    return {
        ran = ran, ending = ending, killed = killed == "1", at = at,
        left = math.tointeger(left) == 0 and 0 or text:match "\n(left .*)",
        processes = processes, stdout = result.stdout, stderr = result.stderr,
    }
end

-- Where the program has the code of these sources of the engine, or of another folder, by the linker's
-- map, for killat: the ranges, and the functions in them that others call.
function sweep.ranges(sources, folder)
    local map = helper.read((os.getenv "LUAMP_BUILD" or "build/faults") .. "/luamp.map")
    local ranges, entries = {}, {}
    local pattern = "\n %%.text%%S*%%s+0x(%%x+)%%s+0x(%%x+) %%S*/%s/(%%w+)%%.c%%.o([%%s%%w_]*)"
    for from, size, source, symbols in map:gmatch(pattern:format(folder or "engine")) do
        if sources[source] and tonumber(size, 16) > 0 then
            ranges[#ranges + 1] = ("%x-%x"):format(tonumber(from, 16), tonumber(from, 16) + tonumber(size, 16))
            for at in symbols:gmatch "0x(%x+) +mp_[%w_]+" do entries[#entries + 1] = ("%x"):format(tonumber(at, 16)) end
        end
    end
    return table.concat(ranges, ","), table.concat(entries, ",")
end

local no_stores = { "^cmp[bwlq]?$", "^test", "^bt[wlq]?$", "^lea", "^nop", "^j", "^call", "comis", "^prefetch",
    "^push" }

-- Whether an instruction, as objdump writes it, may change memory that others see: it stores
-- somewhere, or has a lock; but on the stack nobody looks.
local function may_store(text)
    local operation, operands = text:match "^(%S+)%s*(.-)%s*$"
    if operation == "lock" or operation == "xchg" or operation == "rep" or operation:find "^stos" then return true end
    for _, pattern in ipairs(no_stores) do
        if operation:find(pattern) then return false end
    end
    return operands:find "%)$" ~= nil and not operands:find "%(%%rsp[^%)]*%)$"
end

-- Of the steps whose addresses lie in that file, those before which shared memory is in a state of
-- its own: before and behind each that may change it. Their numbers, in order; and how many steps.
function sweep.changes(path)
    local program = (os.getenv "LUAMP_BUILD" or "build/faults") .. "/luamp"
    local stores, points, n, last = {}, {}, 0, 0
    local listing = helper.run("objdump -d --no-show-raw-insn " .. program).stdout
    for address, text in listing:gmatch "\n%s+(%x+):%s+([^\n]+)" do stores[address] = may_store(text) end
    for address in helper.read(path):gmatch "%x+" do
        n = n + 1
        assert(stores[address] ~= nil, address)
        if stores[address] then
            if last < n then points[#points + 1] = n end
            points[#points + 1], last = n + 1, n + 1
        end
    end
    return points, n
end

-- What the steps of a script said that did not go well, by their names; nil when
-- it did not come to its end.
function sweep.failures(result)
    local failures, ended = {}, false
    for line in result.stdout:gmatch "[^\n]+" do
        local step, reason = line:match "^(.-): (.*)$"
        if step then failures[step] = reason end
        ended = ended or line == "end"
    end
    return ended and failures or nil
end

-- Of the numbers 1 to n about `wanted`, half of that in the daily run, one from each stretch of
-- equal length; all of them when the sweep is to be whole.
function sweep.sample(n, wanted)
    local list = {}
    if not helper.is_everything then wanted = math.max(math.min(wanted, 8), wanted // 2) end
    local stretch = sweep.all and 1 or math.max(1, n / wanted)
    for from = 0, n - 1, stretch do
        local last = math.min(n, from + stretch)
        list[#list + 1] = math.min(n, 1 + math.floor(from + random() * (last - from)))
    end
    return list
end

-- The names of a table of processes, in order.
function sweep.names(processes)
    local names = {}
    for name in pairs(processes) do names[#names + 1] = name end
    table.sort(names)
    return names
end

return sweep
