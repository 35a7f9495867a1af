-- types_spec.lua: docs/luamp.d.lua declares what the module has, all of it and
-- nothing else, and says of every name what it is.
local helper = require "spec.helper"
local mp = require "luamp"

-- Reading the declarations

-- Splits "fun(a, b):c  the rest" behind the type.
local function split_type(text)
    local depth = 0
    for at = 1, #text do
        local char = text:sub(at, at)
        if char:find "[(<{]" then
            depth = depth + 1
        elseif char:find "[)>}]" then
            depth = depth - 1
        elseif char == " " and depth == 0 then
            return text:sub(1, at - 1), text:sub(at + 1)
        end
    end
    return text, ""
end

local reading = {} -- what to do with a line, by its annotation

function reading.class(state, rest)
    state.class = { doc = state.doc, fields = {}, methods = {} }
    state.found.classes[rest:match "^[%w_.]+"] = state.class
end

function reading.field(state, rest)
    local name, optional, after = rest:match "^([%w_]+)(%??) (.*)$"
    local kind = split_type(after)
    state.class.fields[name] = { doc = state.doc, type = kind .. optional }
    return ""
end

function reading.alias(state, rest)
    state.alias = { doc = state.doc, values = {} }
    state.found.aliases[rest] = state.alias
end

function reading.param(state, rest)
    local name, after = rest:match "^([%w_.]+)%?? (.*)$"
    local _, text = split_type(after)
    table.insert(state.params, { name = name, text = text })
    return state.doc
end

reading["return"] = function(state, rest)
    local _, text = split_type(rest)
    table.insert(state.returns, text)
    return state.doc
end

function reading.operator() end

local function declare(state, owner, name, params)
    local class = state.found.classes[owner == "mp" and "mp" or "mp." .. owner]
    class.methods[name] = { doc = state.doc, params = state.params, returns = state.returns, signature = params }
end

-- A line of prose adds to `doc`; an annotation uses it up, or keeps it by
-- returning it; a blank line, or one of code, ends all that was being read.
local function read_line(state, line)
    local tag, rest = line:match "^%-%-%-@(%w+) ?(.*)$"
    if tag then
        local act = assert(reading[tag] or tag == "meta" and function() end, "unknown annotation: " .. line)
        state.doc = act(state, rest) or ""
    elseif line:find "^%-%-%-|" then
        local value, text = line:match '^%-%-%-| "(%w+)" # (.+)$'
        state.alias.values[assert(value, line)] = text
    elseif line:find "^%-%-%-" then
        state.doc = (state.doc .. " " .. line:sub(4)):gsub("^ ", "")
    else
        local owner, name, params = line:match "^function ([%w_]+)[.:]([%w_]+)%((.-)%) end$"
        if owner then
            declare(state, owner, name, params)
        end
        state.doc, state.params, state.returns = "", {}, {}
    end
end

local function read(text)
    local state = { found = { classes = {}, aliases = {} }, doc = "", params = {}, returns = {} }
    for line in text:gmatch "([^\n]*)\n" do
        read_line(state, line)
    end
    return state.found
end

local text = helper.read "docs/luamp.d.lua"
local declared = read(text)
local classes = declared.classes

-- Looking into the module

local function upvalue(f, wanted)
    for i = 1, math.huge do
        local name, value = debug.getupvalue(f, i)
        if name == wanted then
            return value
        end
        assert(name, "the module keeps no '" .. wanted .. "' where it is looked for")
    end
end

local index = debug.getmetatable(mp.current_process()).__index
local check_options = upvalue(require "luamp.process".new, "check_options")
local scope_methods = mp.scope(function(s) return debug.getmetatable(s).__index end)

-- The methods of objects that are made in C.
local of_class = {}
for name, object in pairs { queue = mp.queue(), priority_queue = mp.priority_queue(), pipe = mp.pipe(),
    value = mp.value "int8", buffer = mp.buffer(1), lock = mp.lock(), rlock = mp.rlock(),
    semaphore = mp.semaphore(), bounded_semaphore = mp.bounded_semaphore(), event = mp.event() } do
    of_class[name] = debug.getmetatable(object).__index
end
of_class.array = select(2, debug.getupvalue(debug.getmetatable(mp.array("int8", 1)).__index, 1))

-- Those of pools and futures.
local pool = mp.pool(1)
of_class.future = select(2, debug.getupvalue(debug.getmetatable(pool:submit(math.abs, 1)).__index, 1))
pool:terminate()
of_class.pool = debug.getmetatable(pool).__index
of_class.journal = upvalue(require "luamp.journal", "class").__index

-- The function whose parameters are those of a method, and how many others it has before them.
local function implementation(class, name, f)
    local call = class == "pool" and require "luamp.calls"[name]
    if call then return call, 2 end -- of the pool's state and the call's name
    return f, 1
end

local function names(set)
    local list = {}
    for name in pairs(set) do
        table.insert(list, name)
    end
    table.sort(list)
    return list
end

-- Every function that is declared: name as a user would say it, declaration, the function itself.
local function each_function()
    local list = {}
    for name, declaration in pairs(classes.mp.methods) do
        table.insert(list, { "mp." .. name, declaration, mp[name], 0 })
    end
    for name, declaration in pairs(classes["mp.process"].methods) do
        table.insert(list, { "process:" .. name, declaration, mp.current_process()[name], 1 })
    end
    for name, declaration in pairs(classes["mp.scope"].methods) do
        table.insert(list, { "scope:" .. name, declaration, scope_methods[name], 1 })
    end
    for _, class in ipairs { "logger", "log" } do
        for name, declaration in pairs(classes["mp." .. class].methods) do
            table.insert(list, { "log." .. name, declaration, mp.log[name], 0 })
        end
    end
    for class, methods in pairs(of_class) do
        for name, declaration in pairs(classes["mp." .. class].methods) do
            table.insert(list, { class .. ":" .. name, declaration, implementation(class, name, methods[name]) })
        end
    end
    table.sort(list, function(a, b) return a[1] < b[1] end)
    local i = 0
    return function()
        i = i + 1
        return table.unpack(list[i] or {})
    end
end

-- A journal in which one task is done, and one has failed.
local function journal_of_two()
    local path = helper.tmpdir() .. "/run.db"
    local made = helper.script_run(("mp.map(function(i) if i == 1 then error 'bad' end return i end, { 1, 2 }, "
        .. "{ journal = %q, on_error = 'collect' })"):format(path))
    assert.same({ 0, "" }, { made.status, made.stderr })
    return mp.journal(path)
end

describe("the declared names", function()
    it("are those of the module", function()
        local found = {}
        for name in pairs(classes.mp.methods) do
            found[name] = "function"
        end
        for name, field in pairs(classes.mp.fields) do
            if not field.type:find "%?$" then -- mp.worker is there in workers
                found[name] = classes[field.type] and "table" or field.type
            end
        end
        local real = {}
        for name, value in pairs(mp) do
            real[name] = type(value)
        end
        assert.same(real, found)
    end)

    it("are the methods and fields of a process", function()
        local class = classes["mp.process"]
        assert.same(names(upvalue(index, "methods")), names(class.methods))
        assert.same(names(upvalue(index, "fields")), names(class.fields))
        local p = mp.process(print)
        for name in pairs(class.methods) do
            assert.equal("function", type(p[name]), name)
        end
    end)

    it("are the methods of a scope", function()
        assert.same(names(scope_methods), names(classes["mp.scope"].methods))
        assert.same({}, classes["mp.scope"].fields)
    end)

    it("are the functions and options of mp.log", function()
        local bound = mp.log.bind {}
        assert.same(names(bound), names(classes["mp.logger"].methods))
        bound.configure = true
        assert.same(names(mp.log), names(bound))
        assert.same({ "configure" }, names(classes["mp.log"].methods))
        local levels = declared.aliases["mp.log.level"].values
        assert.same(names(upvalue(upvalue(mp.log.configure, "check_level"), "severity")), names(levels))
        local known = classes["mp.log.options"].fields
        assert.same({ "file", "level" }, names(known))
        for name in pairs(known) do
            helper.fails("mp.log.configure: option '" .. name .. "'", mp.log.configure, { [name] = "/no/folder/x" })
        end
    end)

    it("are the methods of queues and pipes", function()
        assert.same(names(of_class.queue), names(classes["mp.queue"].methods))
        assert.same(names(of_class.queue), names(of_class.priority_queue))
        assert.same(names(of_class.pipe), names(classes["mp.pipe"].methods))
        for name in pairs(classes["mp.priority_queue"].methods) do
            assert.is_not_nil(of_class.queue[name], name)
        end
    end)

    it("are the methods of values, arrays and buffers, their options and types", function()
        for _, class in ipairs { "value", "array", "buffer" } do
            assert.same(names(of_class[class]), names(classes["mp." .. class].methods))
            assert.same({}, classes["mp." .. class].fields)
        end
        local known = upvalue(require "luamp.arrays".buffer, "known")
        assert.same(names(known), names(classes["mp.buffer.options"].fields))
        local types = declared.aliases["mp.cell_type"].values
        for name in pairs(types) do assert.equal(1, mp.value(name, 1):get()) end
        assert.same(names(require "luamp.core".cell_types), names(types))
    end)

    it("are the methods of locks, semaphores and events", function()
        for _, class in ipairs { "lock", "semaphore", "event" } do
            assert.same(names(of_class[class]), names(classes["mp." .. class].methods))
        end
        assert.same(names(of_class.lock), names(of_class.rlock))
        assert.same(names(of_class.semaphore), names(of_class.bounded_semaphore))
        for name in pairs(classes["mp.semaphore.options"].fields) do mp.semaphore { [name] = 1 } end
    end)

    it("are the options of queues and pipes, and what mp.memory tells", function()
        for name in pairs(classes["mp.queue.options"].fields) do mp.queue { [name] = 1 } end
        for name in pairs(classes["mp.pipe.options"].fields) do mp.pipe { [name] = true } end
        local known = upvalue(upvalue(require "luamp.sharing".queue, "queue"), "known")
        assert.same(names(known), names(classes["mp.queue.options"].fields))
        assert.same(names(mp.memory()), names(classes["mp.memory.usage"].fields))
    end)

    it("are the methods and fields of pools and futures", function()
        for _, class in ipairs { "pool", "future" } do
            assert.same(names(of_class[class]), names(classes["mp." .. class].methods))
        end
        assert.same({ "error" }, names(classes["mp.future"].fields))
        assert.same({}, classes["mp.pool"].fields)
    end)

    it("are the methods of a journal, and the fields of what it tells", function()
        local j <close> = journal_of_two()
        assert.same(names(of_class.journal), names(classes["mp.journal"].methods))
        local fields = {}
        for task in j:tasks() do
            for name in pairs(task) do fields[name] = true end
        end
        assert.same(names(fields), names(classes["mp.journal.task"].fields))
        assert.same(names(j:calls()[1]), names(classes["mp.journal.call"].fields))
        assert.same(names(j:counts()), names(classes["mp.journal.counts"].fields))
    end)

    it("are the options of pools, of their calls and of tasks", function()
        local pool_options = require "luamp.pool_options"
        for class, known in pairs {
            options = upvalue(pool_options.split, "known"), call_options = upvalue(pool_options.call, "of_call"),
            task = upvalue(pool_options.task, "of_task"),
            retries = upvalue(upvalue(pool_options.call, "check_retries"), "retry_known"),
        } do
            assert.same(names(known), names(classes["mp.pool." .. class].fields), class)
        end
        assert.same(names(upvalue(require "luamp.relay".check, "modes")),
            names(declared.aliases["mp.pool.output"].values))
    end)

    it("are what a pool tells of itself, and a worker of itself", function()
        local busy <close> = mp.pool(1)
        busy:apply(math.abs, 1)
        local stats = busy:stats()
        assert.same(names(stats), names(classes["mp.pool.stats"].fields))
        assert.same(names(stats.workers[1]), names(classes["mp.pool.worker_stats"].fields))
        local has = busy:map(function(name) return math.type(mp.worker[name]) end, names(classes["mp.worker"].fields))
        assert.same({ "integer", "integer", "integer" }, has)
    end)

    it("are the options of mp.process that can be used", function()
        local usable = upvalue(check_options, "known")
        assert.same(names(usable), names(classes["mp.process.options"].fields))
    end)

    it("are the options of mp.cpu_count", function()
        assert.same(names(upvalue(require "luamp.cpu".count, "known")), names(classes["mp.cpu_count.options"].fields))
    end)

    it("are the kinds and fields of the errors that there are", function()
        local script = helper.script [[
            local mp = require "luamp"
            local function start(f) return mp.process(f):start() end
            local sleeper = start(function() mp.sleep(60) end)
            local function show(f, ...)
                local ok, e = pcall(f, ...)
                assert(not ok and mp.is_error(e), e)
                assert(type(tostring(e)) == "string" and type(e .. "") == "string")
                for key, value in pairs(e) do print(e.kind, key, math.type(value) or type(value)) end
            end
            local function result(f) show(sleeper.result, start(f)) end
            result(function() error {} end)
            result(function() os.exit(2) end)
            result(function() return io.stdout end)
            local pool = mp.pool(1)
            local given_up = pool:submit(mp.sleep, 60)
            given_up:cancel()
            show(given_up.result, given_up)
            show(pool.map, pool, error, { "no" })
            pool:terminate()
            local slow = mp.process { target = mp.sleep, args = { 60 }, timeout = 0.01 }:start()
            show(slow.result, slow)
            show(sleeper.result, sleeper, 0)
            sleeper:kill()
            show(sleeper.result, sleeper)
            local empty = mp.queue()
            show(empty.get, empty)
            local parent = mp.getpid()
            local q = mp.queue()
            q:close()
            show(q.put, q, 1)
            show(function() start(function() os.execute("kill -INT " .. parent) mp.sleep(60) end):join() end)
            for _, p in ipairs(mp.active_children()) do p:kill() end
        ]]
        local result = helper.run(helper.host .. " " .. script)
        assert.equal(0, result.status, result.stderr)
        local kinds, fields = {}, {}
        for kind, key, class in result.stdout:gmatch "(%w+)\t(%w+)\t(%w+)\n" do
            kinds[kind] = true
            fields[key] = class
        end
        assert.same(names(declared.aliases["mp.error.kind"].values), names(kinds))
        fields.calls = nil -- the tracebacks of the calls, which belong to the text
        fields.host = "string" -- of a task on another host: see cluster_spec.lua
        assert.same(names(fields), names(classes["mp.error"].fields))
        for name, field in pairs(classes["mp.error"].fields) do
            local class = field.type:gsub("%?$", "")
            assert.is_true(class == "any" or class == "mp.error.kind" or class == fields[name], name)
        end
    end)

    it("have the parameters that the functions take", function()
        for name, declaration, f, self in each_function() do
            local info = debug.getinfo(f, "uS")
            if info.what == "Lua" then
                local last = declaration.params[#declaration.params]
                local more = last and last.name == "..." and 1 or 0
                assert.is_true(more == 0 or info.isvararg, name)
                assert.equal(info.nparams - self, #declaration.params - more, name)
            end
        end
    end)
end)

describe("every name", function()
    local function is_sentence(doc, name)
        assert.is_truthy(doc:find "^[%u`].* .*%.$", ("%s is not explained: '%s'"):format(name, doc))
    end

    it("is explained in a sentence", function()
        for class_name, class in pairs(classes) do
            is_sentence(class.doc, class_name)
            for name, entry in pairs(class.fields) do
                is_sentence(entry.doc, class_name .. "." .. name)
            end
            for name, entry in pairs(class.methods) do
                is_sentence(entry.doc, class_name .. "." .. name)
            end
        end
        for name, alias in pairs(declared.aliases) do
            is_sentence(alias.doc, name)
        end
    end)

    it("of a function tells its parameters and results", function()
        for name, declaration in each_function() do
            local params = {}
            for i, param in ipairs(declaration.params) do
                params[i] = param.name
                assert.is_truthy(param.text:find "%l+ %l+", name .. " says nothing of " .. param.name)
            end
            assert.equal(declaration.signature, table.concat(params, ", "), name)
            local returns_nothing = declaration.doc:find "Returns nothing%.$" ~= nil
            assert.equal(returns_nothing, #declaration.returns == 0, name .. " says nothing of its results")
            for _, words in ipairs(declaration.returns) do
                assert.is_truthy(words:find "^[%l_.]+ .", name .. " does not name and explain its results")
            end
        end
    end)

    it("that returns nothing returns nothing", function()
        local p, taken = mp.process(function() end), mp.queue()
        taken:put(1)
        taken:get()
        local held = mp.lock()
        held:acquire()
        local open <close> = mp.pool(1)
        local other <close> = mp.pool(1)
        local calls = {
            ["mp.sleep"] = { 0 },
            ["mp.seed"] = { 1 },
            ["mp.set_start_method"] = { "fork" },
            ["log.configure"] = { {} },
            ["process:close"] = { p },
            ["queue:close"] = { mp.queue() },
            ["queue:task_done"] = { taken },
            ["pipe:close"] = { (mp.pipe()) },
            ["value:set"] = { mp.value "int8", 1 },
            ["value:close"] = { mp.value "int8" },
            ["array:set"] = { mp.array("int8", 1), 1, {} },
            ["array:fill"] = { mp.array("int8", 1), 1 },
            ["array:copy"] = { mp.array("int8", 1), mp.array("int8", 1) },
            ["array:sort"] = { mp.array("int8", 1) },
            ["array:close"] = { mp.array("int8", 1) },
            ["buffer:write"] = { mp.buffer(1), 1, "" },
            ["buffer:close"] = { mp.buffer(1) },
            ["lock:release"] = { held },
            ["lock:close"] = { mp.lock() },
            ["semaphore:release"] = { mp.semaphore() },
            ["semaphore:close"] = { mp.semaphore() },
            ["event:set"] = { mp.event() },
            ["event:clear"] = { mp.event() },
            ["event:close"] = { mp.event() },
            ["pool:close"] = { open },
            ["pool:resize"] = { other, 2 },
            ["journal:close"] = { journal_of_two() },
            ["pool:terminate"] = { other },
        }
        for name, declaration, f in each_function() do
            if #declaration.returns == 0 then
                assert.equal(0, select("#", f(table.unpack(calls[name]))), name)
                calls[name] = nil
            end
        end
        assert.same({}, calls)
    end)
end)

describe("the declarations", function()
    it("are Lua, for the module and the program's global", function()
        assert.is_truthy(text:find "^%-%-%-@meta luamp\n")
        local env = {}
        env._G = env
        local module = assert(load(text, "=luamp.d.lua", "t", env))()
        assert.same(names(classes.mp.methods), names(module))
        assert.equal(module, env.mp)
    end)

    it("are read with everything that stands there", function()
        local found = read [[
---About it.
---@class mp
---Of words
---and more.
---@field word? table<string, string>|nil
local mp = {}

-- a comment

---What it does.
---@param a fun(x, y): z what a is
---@param ... any  the rest
---@return true|nil ok whether
function mp.f(a, ...) end
]]
        assert.same({
            doc = "About it.",
            fields = { word = { doc = "Of words and more.", type = "table<string, string>|nil?" } },
            methods = {
                f = {
                    doc = "What it does.",
                    params = { { name = "a", text = "z what a is" }, { name = "...", text = " the rest" } },
                    returns = { "ok whether" },
                    signature = "a, ...",
                },
            },
        }, found.classes.mp)
    end)
end)
