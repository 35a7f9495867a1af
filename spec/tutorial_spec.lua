-- tutorial_spec.lua: what docs/tutorial-pools.md shows is so, by every start method.
--
-- A block of Lua begins with its file's name in a comment. The next block of text is what it prints, on
-- stdout and stderr together; one that begins with "$ " is what that command line prints.
local helper = require "spec.helper"
local mp = require "luamp"

local page = helper.read "docs/tutorial-pools.md"

-- The scripts, in order: {name=, text=, shown=, command=}.
local scripts = {}
for name, text, rest in page:gmatch "\n```lua\n%-%- ([%w_]+%.lua)\n(.-\n)```\n()" do
    local shown = page:match("^\n```text\n(.-\n)```\n", rest)
    local command, printed = (shown or ""):match "^%$ ([^\n]*)\n(.*)$"
    table.insert(scripts, { name = name, text = ("-- %s\n%s"):format(name, text), shown = printed or shown,
        command = command or "luamp " .. name })
end

-- Pids, addresses, and which worker it was differ from run to run; what a traceback calls a function,
-- from Lua to Lua.
local function settled(text)
    return (text:gsub("pid %d+", "pid PID"):gsub("0x%x+", "ADDRESS"):gsub("worker([. ])%d+", "worker%1N")
        :gsub("(\n\t[^\n]-): in [^\n]*", "%1"))
end

-- Runs a command line like `NAME=value luamp x.lua` in a folder where that script is.
local function run(script, env)
    local cwd = helper.tmpdir()
    helper.write(cwd .. "/" .. script.name, helper.with_method(script.text))
    local before, after = script.command:match "^(.-)%f[%w]luamp( .*)$"
    return helper.run(("%s%s%s 2>&1"):format(before, helper.quote(helper.host), after), { cwd = cwd, env = env })
end

describe("the tutorial of pools", function()
    for _, script in ipairs(scripts) do
        it("shows what " .. script.name .. " prints", function()
            assert.is_truthy(script.shown, "no output follows")
            local result = run(script)
            assert.equal(settled(script.shown), settled(result.stdout))
            assert.equal(0, result.status)
        end)
    end

    it("is right that the results are the same with LUAMP_BACKEND=serial", function()
        local n = 0
        for _, script in ipairs(scripts) do
            if ("loop inputs calls errors collect init reduce chunks seeds"):find(script.name:match "^%w+") then
                n = n + 1
                assert.equal(settled(script.shown), settled(run(script, { LUAMP_BACKEND = "serial" }).stdout))
            end
        end
        assert.equal(9, n)
    end)

    it("has no block that is not checked", function()
        local n = { lua = 0, text = 0 }
        for language in page:gmatch "\n```(%l+)\n" do n[language] = (n[language] or 0) + 1 end
        assert.same({ lua = #scripts, text = #scripts }, n)
        assert.is_true(#scripts >= 10)
    end)

    it("names nothing that is not there", function()
        local pool <close> = mp.pool(1)
        local future = pool:submit(math.abs, 1)
        for name in page:gmatch "%f[%w]mp%.([%w_]+)" do
            assert.is_truthy(name == "NAME" or name == "worker" or rawget(mp, name), name)
        end
        for name in page:gmatch "%f[%w]pool:([%l_]+)" do assert.is_function(pool[name], name) end
        for name in page:gmatch "%f[%w]f:([%l_]+)%(" do assert.is_function(future[name], name) end
    end)

    it("lists the options of a call, all of them", function()
        local pool <close> = mp.pool(1)
        local values = { chunksize = 100, timeout = 2, retries = 2, on_error = "collect", window = 50,
            weight = function() return 1 end }
        local rows = page:match "\n## Options\n.-\n|[-|]+|\n(.-)\n\n"
        local listed = {}
        for name in rows:gmatch "`([%l_]+) = " do listed[name] = values[name] end
        assert.same(values, listed)
        assert.same({ 1, 2 }, (pool:map(math.abs, { -1, -2 }, values)))
        local told = page:match "wrong name is told at once: `(.-)`"
        helper.misuse(told, function() pool:map(print, {}, { chunksiz = 1 }) end)
    end)

    it("says where the options of reduce stand, and so does each call", function()
        local pool <close> = mp.pool(1)
        local shown = page:match "come after `combine`: `pool(:reduce%(f, input, 0, nil, .-)`"
        assert.equal(":reduce(f, input, 0, nil, { chunksize = 100 })", shown)
        local advice = "the options come after 'combine': give nil before them"
        helper.misuse(advice, function() pool:reduce(math.max, { 1 }, 0, { chunksize = 100 }) end)
        helper.misuse(advice, function() mp.reduce(math.max, { 1 }, 0, { workers = 1 }) end)
        assert.equal(2, pool:reduce(math.max, { 1, 2 }, 0, nil, { chunksize = 100 }))
        assert.equal(2, mp.reduce(math.max, { 1, 2 }, 0, nil, { chunksize = 100, workers = 1 }))
    end)
end)
