-- readme_spec.lua: what README.md shows and names is so, and what docs/what-travels.md shows.
--
-- A block of Lua begins with its file's name in a comment. The next block of
-- text is what it prints, on stdout and stderr together.
local helper = require "spec.helper"
local cjson = require "cjson"
local lfs = require "lfs"
local mp = require "luamp"

local page = helper.read "README.md"
local setup = helper.read "setup"

-- The fenced blocks of a page, in order: {language=, text=}.
local function blocks(markdown)
    local found = {}
    for language, text in ("\n" .. markdown:gsub("<!%-%-.-%-%->", "")):gmatch "\n```(%a+)\n(.-\n)```\n" do
        table.insert(found, { language = language, text = text })
    end
    return found
end

-- The page without its blocks.
local prose = ("\n" .. page):gsub("\n```%a+\n.-\n```\n", "\n")

-- From one headline to the next.
local function section(title)
    local _, last = prose:find("\n#+ " .. title .. "\n")
    assert(last, "no section " .. title)
    return prose:sub(last, (prose:find("\n#+ ", last) or 0) - 1)
end

-- Pids and addresses differ from run to run; what a traceback calls a function,
-- from Lua to Lua.
local function settled(text)
    return (text:gsub("pid %d+", "pid PID"):gsub("0x%x+", "ADDRESS"):gsub("(\n\t[^\n]-): in [^\n]*", "%1"))
end

local function run(name, text)
    local cwd = helper.tmpdir()
    helper.write(cwd .. "/" .. name, text)
    return helper.run(helper.quote(helper.host) .. " " .. name .. " 2>&1", { cwd = cwd })
end

for _, path in ipairs { "README.md", "docs/what-travels.md" } do
    describe("a script of " .. path, function()
        local markdown = helper.read(path)
        local all, scripts = blocks(markdown), 0
        for i, block in ipairs(all) do
            if block.language == "lua" then
                scripts = scripts + 1
                local name = block.text:match "^%-%- ([%w_]+%.lua)\n"
                it((name or "number " .. scripts) .. " prints what is shown", function()
                    assert.is_truthy(name, "its first line is not its name")
                    assert.equal("text", all[i + 1] and all[i + 1].language)
                    local result = run(name, block.text)
                    assert.equal(settled(all[i + 1].text), settled(result.stdout))
                    assert.equal(0, result.status)
                end)
            end
        end

        it("is there", function()
            assert.is_true(scripts >= 3)
        end)

        it("and its text name nothing of the module that is not there", function()
            for name in (markdown:gsub("### Not in this version\n.-\n## ", "")):gmatch "%f[%w]mp%.([%w_]+)" do
                assert.is_truthy(name == "worker" or rawget(mp, name), name) -- mp.worker is there in workers
            end
        end)
    end)
end

describe("the README", function()
    -- The first folders of what is made by building and installing.
    local made = { build = true, bin = true, lib = true, share = true }
    local endings = { lua = true, md = true, json = true, c = true }

    local function is_path(word)
        return word:find "^[%w_.%-][%w_./%-]*$"
            and not made[word:match "^[^/]*"]
            and (word:find "/" or endings[word:match "%.(%l+)$"])
    end

    it("names no file that is not there", function()
        local n = 0
        for word in prose:gmatch "`([^`\n]+)`" do
            if is_path(word) then
                n = n + 1
                assert.is_truthy(lfs.attributes(word), word)
            end
        end
        assert.is_true(n > 10, "only " .. n .. " paths found")
    end)

    it("shows the tree as it is", function()
        local listed = {}
        for cell in section("How it is made"):gmatch "\n| (`[^|]*) |" do
            for path in cell:gmatch "`([^`]+)`" do
                assert.is_truthy(lfs.attributes(path), path)
                listed[path:match "^[^/]*"] = true
            end
        end
        for name in lfs.dir "." do
            if lfs.attributes(name, "mode") == "directory" and name:find "^%l+$" and not made[name] then
                assert.is_true(listed[name], name)
            end
        end
    end)

    it("links to nothing that is not there", function()
        local n = 0
        for target in prose:gmatch "%]%(([^)%s]+)%)" do
            if not target:find "^%a+:" then
                n = n + 1
                assert.is_truthy(lfs.attributes((target:gsub("#.*", ""))), target)
            end
        end
        assert.is_true(n > 0)
    end)

    it("begins with the two commands, and gives setup no word that it does not know", function()
        local first = blocks(page)[1]
        assert.is_truthy(first.text:find "^%./setup run .*\n%./setup test ")
        for verb in page:gmatch "%./setup (%l+)" do
            assert.is_truthy(setup:find("#   ./setup " .. verb, 1, true), verb)
        end
    end)

    it("names every name of the module, and no other", function()
        local there = section "What there is"
        local python = section "For those who know Python's multiprocessing"
        for name in pairs(mp) do
            assert.is_truthy(there:find("mp%." .. name .. "%f[^%w_]"), name)
        end
        for name in (there .. python):gmatch "%f[%w]p:([%l_]+)%(" do
            local p = mp.process(function() end)
            assert.equal("function", type(p[name]), name)
        end
    end)

    it("names every option of a process that there is", function()
        local options = section("What there is"):match "`mp%.process{(.-)}`"
        local values = {
            target = print, args = {}, name = "n", daemon = true, detached = true, start_method = "fork", env = {},
            cwd = "/", stdin = "null", stdout = "null", stderr = "null", cpus = { 0 }, nice = 0,
            timeout = 1, limits = {},
        }
        local n = 0
        for name in options:gmatch "([%l_]+)=" do
            n = n + 1
            assert.is_not_nil(values[name], name)
            mp.process { target = print, [name] = values[name] }
        end
        assert.equal(#require("pl.tablex").keys(values), n)
    end)

    local function upvalue(f, wanted)
        for i = 1, math.huge do
            local name, value = debug.getupvalue(f, i)
            if name == wanted then return value end
            assert(name, "there is no '" .. wanted .. "' where it is looked for")
        end
    end

    it("names every option of a pool, of its calls and of a task, and no other", function()
        local there, pool_options = section "What there is", require "luamp.pool_options"
        for pattern, known in pairs {
            ["`mp%.pool{(.-)}`"] = upvalue(pool_options.split, "known"),
            ["\n| options of a call | (.-) |\n"] = upvalue(pool_options.call, "of_call"),
            ["`pool:submit{(.-)}`"] = upvalue(pool_options.task, "of_task"),
        } do
            local listed = {}
            for name in there:match(pattern):gsub("{[^}]*}", ""):gmatch "([%l_]+)=" do
                listed[name] = known[name] or "unknown"
            end
            assert.same(known, listed)
        end
    end)

    it("names every method of pools and futures, and no other", function()
        local there, pool = section "What there is", mp.pool(1)
        local of_future = select(2, debug.getupvalue(debug.getmetatable(pool:submit(math.abs, 1)).__index, 1))
        pool:terminate()
        for what, methods in pairs {
            pool = debug.getmetatable(pool).__index,
            f = of_future,
        } do
            local listed = what == "pool" and { pollfd = methods.pollfd, events = methods.events } or {}
            for name in there:gmatch("%f[%w]" .. what .. ":([%l_]+)") do listed[name] = methods[name] or "none" end
            assert.same(methods, listed)
        end
    end)

    it("calls absent what is", function()
        local absent = section "Not in this version"
        assert.is_truthy(absent:find "`mp%.%l+`")
        for name in absent:gmatch "`mp%.(%l+)`" do assert.is_nil(mp[name], name) end
    end)

    it("lists the packages that setup installs", function()
        local wanted, listed = {}, {}
        for list in setup:gmatch '\ndebian_%l+="([^"]*)"' do
            for package in list:gmatch ":(%S+)" do
                wanted[package] = true
            end
        end
        for cell in section("What it depends on"):gmatch "\n| (`[^|]*) |" do
            for package in cell:gmatch "`([^`]+)`" do
                listed[package] = true
            end
        end
        assert.same(wanted, listed)
    end)

    it("lists the presets that there are", function()
        local presets = cjson.decode(helper.read "CMakePresets.json")
        local wanted, listed = {}, {}
        for _, preset in ipairs(presets.configurePresets) do
            if not preset.hidden then
                wanted[preset.name] = true
            end
        end
        for name in section("Building and testing by hand"):gmatch "\n| `(%l+)` |" do
            listed[name] = true
        end
        assert.same(wanted, listed)
        wanted[presets.workflowPresets[1].name] = true
        for name in page:gmatch "%-%-preset (%l+)" do
            assert.is_truthy(wanted[name], name)
        end
    end)

    it("speaks of the version that this is, in the news", function()
        assert.is_truthy(helper.read("NEWS.md"):find("\n## " .. mp._VERSION:match "%S+$" .. "\n", 1, true))
    end)
end)
